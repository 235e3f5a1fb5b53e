//! The logs of edge proxies: one thread looks at all of them once a second.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use meridian_config::Config;
use meridian_geo_data::latency::{
    Sample,
    parse::{self, MAX_LINE},
};

use super::{
    Shared,
    follow::Follower,
    intake::{BATCH, NotTaken, Source},
    lines::Line,
};

/// Time between looks.
const LOOK: Duration = Duration::from_secs(1);
/// Looks without success before it is an alarm: a log that is being rotated is gone for a moment.
const PATIENCE: u32 = 5;

/// Follows the logs that the newest configuration names, until nobody can send another one.
pub(super) fn run(config: &Config, changes: &mpsc::Receiver<Arc<Config>>, shared: &Shared) {
    let mut logs = Vec::new();
    adapt(&mut logs, config, shared);
    loop {
        let mut busy = false;
        for log in &mut logs {
            busy |= log.look(shared);
        }
        let wait = if busy { Duration::ZERO } else { LOOK };
        match changes.recv_timeout(wait) {
            Ok(config) => adapt(&mut logs, &config, shared),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}

struct Log {
    file: PathBuf,
    pop: Arc<str>,
    key: u64,
    follower: Follower,
    failures: u32,
}

/// Goes on with logs that are still named, lets go of others, begins with new ones.
fn adapt(logs: &mut Vec<Log>, config: &Config, shared: &Shared) {
    let mut before = std::mem::take(logs);
    for wanted in &config.latency.logs {
        let pop: Arc<str> = wanted.pop.name(config).into();
        let known = before.iter().position(|log| log.file == wanted.file);
        let log = match known {
            Some(at) => Log {
                pop,
                ..before.swap_remove(at)
            },
            None => Log {
                key: shared.intake.key(&wanted.file),
                follower: Follower::new(wanted.file.clone(), MAX_LINE),
                file: wanted.file.clone(),
                failures: 0,
                pop,
            },
        };
        logs.push(log);
    }
    for gone in before {
        shared.alarms.set(&gone.about(), None);
        shared.metrics.log(&gone.file.display().to_string(), None);
    }
}

impl Log {
    fn about(&self) -> String {
        format!("latency log {}", self.file.display())
    }

    /// Reads what has come; tells whether more waits.
    fn look(&mut self, shared: &Shared) -> bool {
        let mut samples: Vec<Sample> = Vec::new();
        let (key, pop) = (self.key, &self.pop);
        let looked = self.follower.look(|line| {
            let told = match line {
                Line::Whole(line) => parse::log(line),
                Line::TooLong => Err(parse::BadLine::TooLong),
            };
            match told {
                Ok(told) => samples.push(shared.sample(&told, pop)),
                Err(bad) => {
                    let bad = NotTaken::from(bad);
                    shared.intake.refuse(Source::Log, bad.as_str());
                }
            }
            if samples.len() == BATCH {
                shared
                    .intake
                    .bring(Source::Log, key, std::mem::take(&mut samples));
            }
        });
        if !samples.is_empty() {
            shared.intake.bring(Source::Log, key, samples);
        }
        self.failures = match &looked {
            Ok(_) => 0,
            Err(_) => self.failures.saturating_add(1),
        };
        let file = self.file.display().to_string();
        shared.metrics.log(&file, Some(looked.is_ok()));
        match &looked {
            Ok(_) => shared.alarms.set(&self.about(), None),
            Err(error) if self.failures >= PATIENCE => {
                let problem = format!("{} cannot be read: {error}", self.about());
                shared.alarms.set(&self.about(), Some(problem));
            }
            Err(_) => {}
        }
        looked.unwrap_or(false)
    }
}
