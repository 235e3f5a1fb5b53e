//! The one who counts: owns the matrix, on a thread of its own, so that evaluating millions of rows
//! or writing them to the disk keeps nobody else waiting.
//!
//! ```text
//! batches ──→ record ──→ every 30 s (the first after a quiet time: 1 s) publish ──→ watch
//!                   └──→ every 5 min and at the end save ──→ state_directory
//! reload ───→ rebase, publish at once: rows of the old geo data mean nothing to the new
//! ```

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use meridian_config::{Config, LatencyColumn, PoolId, PopId};
use meridian_geo_data::{
    ClientMap,
    latency::{Latency, Matrix, Race, Refused, Rules, Site, anycast_column},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::{
    Published,
    alarms::Alarms,
    intake::Batch,
    keep::{Beginning, Keep},
    metrics::MeasureMetrics,
};
use crate::runtime::monotonic;

/// Time between publications.
const PUBLISH: Duration = Duration::from_secs(30);
/// From the first measurement after a quiet time to its publication.
const SOON: Duration = Duration::from_secs(1);
/// Time between writes to the disk.
const SAVE: Duration = Duration::from_secs(300);

/// Something for the owner to do.
pub(super) enum Order {
    /// Another configuration or other geo data.
    Reload {
        config: Arc<Config>,
        clients: Arc<ClientMap>,
        done: oneshot::Sender<()>,
    },
    /// Write everything now.
    Save(oneshot::Sender<()>),
    /// Take what another process has written for what was measured.
    Read(oneshot::Sender<()>),
    /// End, and write everything first when asked to.
    Finish {
        save: bool,
        done: oneshot::Sender<()>,
    },
}

/// What the owner begins with.
pub(super) struct Start {
    pub(super) config: Arc<Config>,
    pub(super) clients: Arc<ClientMap>,
    pub(super) seed: u64,
    pub(super) batches: mpsc::Receiver<Batch>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) published: watch::Sender<Published>,
    pub(super) metrics: MeasureMetrics,
    pub(super) alarms: Alarms,
}

/// Runs until told to finish, or until nobody can tell it anything any more.
pub(super) async fn run(start: Start) {
    let Start {
        config,
        clients,
        seed,
        mut batches,
        mut orders,
        published,
        metrics,
        alarms,
    } = start;
    let keep = Keep::new(&config.server.state_directory);
    let begin = beginning(&config, clients.clone(), seed);
    let (matrix, problem) = keep.load(&begin, wall_clock());
    if problem.is_some() {
        alarms.set("measured latency", problem);
    }
    let mut owner = Owner {
        matrix,
        config,
        clients,
        seed,
        keep,
        published,
        metrics,
        alarms,
        last: now(),
        changed: None,
    };
    owner.matrix.set_races(&races(&owner.config));
    owner.publish();
    let mut save_at = now() + SAVE;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Reload { config, clients, done }) => {
                    owner.rebase(config, clients);
                    let _ = done.send(());
                }
                Some(Order::Read(done)) => {
                    owner.read_again();
                    let _ = done.send(());
                }
                Some(Order::Save(done)) => {
                    owner.save();
                    let _ = done.send(());
                }
                Some(Order::Finish { save, done }) => {
                    if save {
                        // What has been brought counts.
                        while let Ok(batch) = batches.try_recv() {
                            owner.count(batch);
                        }
                        owner.save();
                    }
                    let _ = done.send(());
                    return;
                }
                None => return,
            },
            Some(batch) = batches.recv() => owner.count(batch),
            () = sleep_until(owner.publish_at()) => owner.publish(),
            () = sleep_until(save_at) => {
                owner.save();
                save_at = now() + SAVE;
            }
        }
    }
}

struct Owner {
    matrix: Matrix,
    config: Arc<Config>,
    seed: u64,
    clients: Arc<ClientMap>,
    keep: Keep,
    published: watch::Sender<Published>,
    metrics: MeasureMetrics,
    alarms: Alarms,
    /// When it was last published.
    last: Instant,
    /// When the first measurement came that is not yet published.
    changed: Option<Instant>,
}

impl Owner {
    fn publish_at(&self) -> Instant {
        let regular = self.last + PUBLISH;
        match self.changed {
            Some(changed) if changed >= regular => changed + SOON,
            Some(changed) if self.published.borrow().latency.is_empty() => changed + SOON,
            _ => regular,
        }
    }

    fn count(&mut self, batch: Batch) {
        let now_s = wall_clock();
        let Batch {
            source,
            samples,
            answer,
        } = batch;
        let record = |sample| self.matrix.record(now_s, sample);
        let outcomes: Vec<Result<(), Refused>> = samples.iter().map(record).collect();
        let mut taken = 0;
        for outcome in &outcomes {
            match outcome {
                Ok(()) => taken += 1,
                Err(refused) => self.metrics.count(source, refused.as_str(), 1),
            }
        }
        if taken > 0 {
            self.metrics.count(source, "taken", taken);
            self.metrics.heard(source, now_s);
            self.changed.get_or_insert_with(now);
        }
        if let Some(answer) = answer {
            let _ = answer.send(outcomes);
        }
    }

    fn publish(&mut self) {
        let started = monotonic();
        let latency = self.matrix.publish(wall_clock());
        let took = monotonic().saturating_sub(started).as_secs_f64();
        let cells = self.clients.cells().len();
        self.metrics.published(&self.matrix, &latency, cells, took);
        self.published.send_replace(Published {
            latency,
            clients: self.clients.clone(),
            is_laid_out: true,
        });
        (self.last, self.changed) = (now(), None);
    }

    fn rebase(&mut self, config: Arc<Config>, clients: Arc<ClientMap>) {
        self.matrix.set_rules(rules(&config));
        self.matrix.rebase(clients.clone(), &sites(&config));
        self.matrix.set_races(&races(&config));
        (self.config, self.clients) = (config, clients);
        self.publish();
    }

    /// What is there already is of no use without what the other process knew; it heard the same logs.
    fn read_again(&mut self) {
        let begin = beginning(&self.config, self.clients.clone(), self.seed);
        let (matrix, problem) = self.keep.load(&begin, wall_clock());
        if problem.is_some() {
            self.alarms.set("measured latency", problem);
            return;
        }
        self.matrix = matrix;
        self.matrix.set_races(&races(&self.config));
        self.publish();
    }

    fn save(&self) {
        let now_s = wall_clock();
        let problem = self.keep.save(&self.matrix, now_s).err();
        if problem.is_none() {
            self.metrics.kept(now_s);
        }
        let folder = self.config.server.state_directory.display();
        let told = |error| format!("measured latency cannot be kept in {folder}: {error}");
        let problem = problem.map(told);
        self.alarms.set("the file of measured latency", problem);
    }
}

/// What a server has kept in its state directory, as it was when that was written, and when that was
/// (seconds since the epoch). Changes nothing there.
///
/// # Errors
/// Why it cannot be used, with the name of the file.
pub(crate) fn kept(
    config: &Config,
    clients: Arc<ClientMap>,
    directory: &Path,
) -> Result<(Arc<Latency>, u64), String> {
    let begin = Beginning {
        rules: rules(config),
        clients,
        sites: sites(config),
        seed: 0,
    };
    let (mut matrix, written_s) = Keep::new(directory).read(&begin)?;
    matrix.set_races(&races(config));
    Ok((matrix.publish(written_s), written_s))
}

/// Nothing measured yet.
pub(super) fn nothing(clients: Arc<ClientMap>) -> Published {
    Published {
        latency: Arc::new(Latency::empty()),
        clients,
        is_laid_out: false,
    }
}

fn beginning(config: &Config, clients: Arc<ClientMap>, seed: u64) -> Beginning {
    Beginning {
        rules: rules(config),
        clients,
        sites: sites(config),
        seed,
    }
}

fn rules(config: &Config) -> Rules {
    let section = &config.latency;
    Rules {
        window_s: u32::try_from(section.window.as_secs()).unwrap_or(3600),
        min_samples: u16::try_from(section.min_samples).unwrap_or(20),
        max_rows: section.rows as usize,
        ..Rules::default()
    }
}

/// What may be measured: every PoP, and the anycast addresses of pools, or that a source names.
pub(super) fn sites(config: &Config) -> Vec<Site> {
    let section = &config.latency;
    let pops = config.pops.iter().map(|pop| Site {
        name: pop.name.as_str().into(),
        at: Some(pop.location),
    });
    let mut sites: Vec<Site> = pops.collect();
    let named = section.logs.iter().map(|log| log.pop);
    let senders = section.syslog.iter().flat_map(|syslog| &syslog.senders);
    let named = named.chain(senders.map(|sender| sender.pop));
    let urls = section.beacon.iter().flat_map(|beacon| &beacon.urls);
    let named = named.chain(urls.map(|(column, _)| *column));
    let named = named.chain(section.resolvers.iter().map(|own| own.pop));
    let pools = (0..).map(PoolId).zip(&config.pools);
    let pools = pools.filter(|(_, pool)| pool.anycast.is_some());
    for column in named.chain(pools.map(|(id, _)| LatencyColumn::Anycast(id))) {
        if let LatencyColumn::Anycast(pool) = column {
            let name = anycast_column(&config.pool(pool).name);
            if !sites.iter().any(|site| site.name == name) {
                sites.push(Site { name, at: None });
            }
        }
    }
    sites
}

/// Pools whose anycast address is compared with their PoPs.
fn races(config: &Config) -> Vec<Race> {
    let hybrid = config.pools.iter().filter_map(|pool| {
        let anycast = pool.anycast.as_ref()?;
        let name = |pop: &PopId| config.pop(*pop).name.as_str().into();
        Some(Race {
            anycast: anycast_column(&pool.name),
            pops: pool.pops.iter().map(name).collect(),
            margin_ms: anycast.margin.as_secs_f32() * 1000.0,
        })
    });
    hybrid.collect()
}

/// Seconds since the epoch: what is kept is dated with it.
fn wall_clock() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}

#[allow(clippy::disallowed_methods)] // the runner reads the clock
fn now() -> Instant {
    Instant::now()
}
