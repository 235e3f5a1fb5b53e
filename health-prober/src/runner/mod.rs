//! Feeds the engine with time, outcomes and requests, and carries out its actions. One task, and
//! one short task per probe under way.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use meridian_config::Config;
use tokio::{
    sync::{Notify, broadcast, watch},
    task::{self, JoinSet},
    time::{Instant, sleep_until},
};

use crate::{
    HealthEvent, HealthSnapshot, Loads, LocalReason, Outcome, Override, TargetId, Verdict,
    engine::{Action, Engine, Job, Now},
    load::Observation,
    metrics::{EndpointStats, Stats},
    probe::Probe,
};

/// Trouble of our own is logged at most this often.
const TROUBLE_GAP: Duration = Duration::from_secs(10);

/// Readings under passive checks that wait for the runner.
const OBSERVED: usize = 65_536;

/// Requests to the runner. The latest of each kind wins, so nothing can pile up.
#[derive(Default)]
pub(crate) struct Inbox {
    letters: Mutex<Letters>,
    notify: Notify,
}

#[derive(Default)]
struct Letters {
    config: Option<Arc<Config>>,
    overrides: Option<BTreeMap<String, Override>>,
    loads: Option<Arc<Loads>>,
    observed: Vec<Observation>,
    stop: bool,
}

impl Inbox {
    pub(crate) fn reload(&self, config: Arc<Config>) {
        self.put(|letters| letters.config = Some(config));
    }

    pub(crate) fn set_overrides(&self, overrides: BTreeMap<String, Override>) {
        self.put(|letters| letters.overrides = Some(overrides));
    }

    /// Loads for the next snapshot.
    pub(crate) fn set_loads(&self, loads: Arc<Loads>) {
        self.put(|letters| letters.loads = Some(loads));
    }

    /// What readings say under passive checks. Each counts, so all are kept, up to a bound that a
    /// runner that lives never reaches.
    pub(crate) fn observe(&self, observed: Vec<Observation>) {
        self.put(|letters| {
            if letters.observed.len() < OBSERVED {
                letters.observed.extend(observed);
            }
        });
    }

    pub(crate) fn stop(&self) {
        self.put(|letters| letters.stop = true);
    }

    fn put(&self, write: impl FnOnce(&mut Letters)) {
        write(&mut self.letters.lock().unwrap_or_else(PoisonError::into_inner));
        self.notify.notify_one();
    }

    fn take(&self) -> Letters {
        std::mem::take(&mut self.letters.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where the runner publishes.
pub(crate) struct Outputs {
    pub(crate) snapshots: watch::Sender<Arc<HealthSnapshot>>,
    pub(crate) events: broadcast::Sender<HealthEvent>,
    pub(crate) stats: Arc<Stats>,
}

/// The moment now, on both clocks.
#[allow(clippy::disallowed_methods)] // a runner: the engine takes the time as an argument
pub(crate) fn now() -> Now {
    Now {
        instant: Instant::now().into_std(),
        wall: SystemTime::now(),
    }
}

/// The task that runs an engine.
pub(crate) struct Runner<P> {
    engine: Engine,
    probe: Arc<P>,
    inbox: Arc<Inbox>,
    outputs: Outputs,
    probes: JoinSet<Outcome>,
    jobs: HashMap<task::Id, Job>,
    stats: HashMap<TargetId, Arc<EndpointStats>>,
    /// When trouble of our own was last logged.
    told_trouble: Option<std::time::Instant>,
}

impl<P: Probe> Runner<P> {
    /// A runner over an engine that has its configuration.
    pub(crate) fn new(engine: Engine, probe: Arc<P>, inbox: Arc<Inbox>, outputs: Outputs) -> Self {
        let mut runner = Self {
            engine,
            probe,
            inbox,
            outputs,
            probes: JoinSet::new(),
            jobs: HashMap::new(),
            stats: HashMap::new(),
            told_trouble: None,
        };
        runner.follow_targets();
        runner
    }

    /// Runs until told to stop. Probes under way are then given up.
    pub(crate) async fn run(mut self) {
        loop {
            let letters = self.inbox.take();
            if letters.stop {
                return;
            }
            let now = now();
            self.open(letters, now);
            for action in self.engine.poll(now) {
                self.carry_out(action);
            }
            self.outputs
                .stats
                .note(self.engine.in_flight(), self.engine.delayed());
            self.wait(self.engine.next_wake(now.instant)).await;
        }
    }

    fn open(&mut self, letters: Letters, now: Now) {
        if let Some(overrides) = letters.overrides {
            self.engine.set_overrides(overrides);
        }
        if let Some(config) = letters.config {
            self.engine.reload(&config, now);
            self.follow_targets();
        }
        if let Some(loads) = letters.loads {
            self.engine.set_loads(loads);
        }
        for observed in &letters.observed {
            self.engine.observe(observed, now);
        }
    }

    /// Lets counters and connections go that belong to no target any more.
    fn follow_targets(&mut self) {
        let (ids, keys): (Vec<_>, Vec<_>) = self
            .engine
            .targets()
            .map(|(id, target)| (id, (target.group.pop.clone(), target.address)))
            .unzip();
        self.probe.retain(&ids.iter().copied().collect());
        let stats = self.outputs.stats.keep(keys.into_iter());
        self.stats = ids.into_iter().zip(stats).collect();
    }

    async fn wait(&mut self, wake: Option<std::time::Instant>) {
        let sleep = async {
            match wake {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(ended) = self.probes.join_next_with_id() => {
                self.ended(ended);
                while let Some(ended) = self.probes.try_join_next_with_id() {
                    self.ended(ended);
                }
            }
            () = self.inbox.notify.notified() => {}
            () = sleep => {}
        }
    }

    fn ended(&mut self, ended: Result<(task::Id, Outcome), task::JoinError>) {
        let (id, outcome) = match ended {
            Ok(ended) => ended,
            // A probe that panicked says nothing about its target; its slot must come back.
            Err(error) => (
                error.id(),
                Outcome::Inconclusive {
                    reason: LocalReason::Aborted,
                },
            ),
        };
        let Some(job) = self.jobs.remove(&id) else {
            return;
        };
        let now = now();
        match self.stats.get(&job.id) {
            Some(stats) => stats.count(&outcome, now.instant.duration_since(job.started)),
            // A reload has taken the target away meanwhile.
            None => self.probe.forget(job.id),
        }
        if let Outcome::Inconclusive { reason } = &outcome {
            self.tell_trouble(&job, reason, now.instant);
        }
        self.engine.finish(&job, &outcome, now);
    }

    /// Trouble of our own is for the log, but thousands of probes may meet the same.
    fn tell_trouble(&mut self, job: &Job, reason: &LocalReason, now: std::time::Instant) {
        if self
            .told_trouble
            .is_none_or(|told| now.duration_since(told) >= TROUBLE_GAP)
        {
            self.told_trouble = Some(now);
            let (group, address) = (&job.target.group, job.target.address);
            tracing::error!(pop = %group.pop, check = %group.check, %address, %reason,
                "probes cannot be carried out; verdicts stay as they are");
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Start(job) => {
                let (probe, task) = (self.probe.clone(), job.clone());
                let handle = self.probes.spawn(async move { probe.probe(&task).await });
                self.jobs.insert(handle.id(), job);
            }
            Action::Publish(snapshot) => {
                self.outputs.snapshots.send_replace(snapshot);
            }
            Action::Tell(event) => {
                log(&event);
                // Nobody listening is no error.
                let _ = self.outputs.events.send(event);
            }
        }
    }
}

fn log(event: &HealthEvent) {
    match event {
        HealthEvent::Endpoint {
            pop,
            check,
            address,
            from,
            to,
            reason,
            ..
        } => {
            tracing::info!(%pop, %check, %address, ?from, ?to, %reason, "endpoint verdict");
        }
        HealthEvent::Pop {
            pop,
            check,
            from,
            to,
            reason,
            ..
        } if *to == Verdict::Down => {
            tracing::warn!(%pop, %check, ?from, ?to, %reason, "PoP verdict");
        }
        HealthEvent::Pop {
            pop,
            check,
            from,
            to,
            reason,
            ..
        } => {
            tracing::info!(%pop, %check, ?from, ?to, %reason, "PoP verdict");
        }
        HealthEvent::Silence {
            pop,
            check,
            silent,
            reason,
            ..
        } => {
            tracing::warn!(%pop, %check, silent, %reason, "passive check");
        }
        HealthEvent::OverrideEnded { pop, ended, .. } => {
            tracing::info!(%pop, reason = %ended.reason, "override ended");
        }
    }
}
