//! The wiring: boots, publishes snapshots, reloads, keeps overrides and the last good state.
//!
//! ```text
//! files ──── load ─────→ Loaded { config, zones, steering } ─┐
//! health-prober ─ watch ────────────────────────────────────┼─ publish ─→ ArcSwap ─→ dns::listen
//! operator ─ drain/undrain ─→ overrides ─→ prober ───────────┘
//! ```
//!
//! Everything that changes goes through [`publish::Publisher`]: one writer, whole values.

pub mod anomaly;
pub mod boot;
pub mod describe;
mod durable;
pub mod events;
mod inotify;
pub mod last_good;
pub mod limits;
pub mod load;
pub mod logging;
pub mod measure;
pub mod metrics;
pub mod overrides;
pub mod privileges;
pub mod publish;
pub mod reload;
mod shift;
pub mod site;
pub mod standing;
pub mod status;
pub mod tasks;
pub mod upgrade;
pub mod watch;

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use jiff::Timestamp;
use meridian_bgp_control::Command;
use meridian_config::Config;
use meridian_dns::{
    abuse::Gate,
    listen::{Bound, Handle},
    metrics::Metrics,
    snapshot::Snapshot,
};
use meridian_geo_data::latency::{Reporter, Sample};
use meridian_health_prober::{HealthSnapshot, Level, Loads, Prober, PushError};
use prometheus::{Registry, proto::MetricFamily};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use boot::{Options, StartError};
pub use overrides::OverrideError;
pub use reload::{Cause, Reloaded};

use events::{EventKind, EventLog, NewEvent};
use last_good::LastGood;
use load::Loaded;
use measure::{Measure, NotTaken, Outcomes, Published};
use metrics::RuntimeMetrics;
use publish::{Publisher, Teller};
use site::{Site, state::Announcements};
use status::{ConfigStatus, GeoStatus, LoadStatus, Status};

/// Time in which queries still arrive after the last route is withdrawn.
const LATE: Duration = Duration::from_secs(1);

/// Time that connections and tasks get to finish when the server stops.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// A running server. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    config_path: PathBuf,
    started: Timestamp,
    /// The configuration at the start, whose addresses and users are in force until the end.
    booted: Arc<Config>,
    addresses: Vec<SocketAddr>,
    publisher: Publisher,
    prober: Prober,
    overrides: overrides::Store,
    last_good: LastGood,
    events: EventLog,
    registry: Registry,
    metrics: RuntimeMetrics,
    /// One reload at a time.
    reload: tokio::sync::Mutex<reload::Looked>,
    /// Held while a configuration is swapped, so that no health laid out for the one is published
    /// over the other.
    publishing: tokio::sync::Mutex<()>,
    condition: Mutex<Condition>,
    /// Announces prefixes, where `[bgp]` was configured at the start.
    site: OnceLock<Site>,
    /// Measures latency, from the start on.
    measure: OnceLock<Measure>,
    /// The running listeners, and where they count.
    dns: Arc<ArcSwap<Handle>>,
    dns_metrics: Arc<Metrics>,
    gate: Arc<Gate>,
    /// A copy of the admin listener, for a successor.
    admin: TcpListener,
    /// Anomalies in force at the last look.
    anomalies: ArcSwap<Vec<status::AnomalyStatus>>,
    /// What moves with measurements.
    moving: standing::Moving,
    /// One upgrade at a time.
    upgrading: tokio::sync::Mutex<()>,
    /// The process that has taken over.
    successor: OnceLock<u32>,
    /// Cancelled when it has.
    replaced: CancellationToken,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What `status` tells beside the snapshot.
#[derive(Debug, Default)]
struct Condition {
    /// Why the newest attempt to load was refused.
    refused: Option<String>,
    /// Since when there is nothing but refused attempts.
    refused_at: Option<Duration>,
    /// The kept overrides could not be used at the start.
    overrides_lost: Option<String>,
    /// The newest copy for the last good state could not be made.
    not_kept: Option<String>,
    /// What steering remembers could not be written.
    standing_not_kept: Option<String>,
    /// The files of the admin listener cannot be used.
    admin: Option<String>,
    /// The newest tick of steering failed.
    tick_failed: Option<String>,
    /// What has ended although the server runs.
    ended: Vec<String>,
}

impl Runtime {
    /// Boots: loads, binds, becomes unprivileged, starts to probe and to answer.
    ///
    /// # Errors
    /// When there is nothing to serve or no address to serve it on.
    pub async fn start(options: Options) -> Result<(Self, std::net::TcpListener), StartError> {
        boot::start(options).await
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.0.publisher.inputs().0.config.clone()
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.publisher.current().load_full()
    }

    /// The health that the snapshot in force was made of.
    pub fn health(&self) -> Arc<HealthSnapshot> {
        self.0.publisher.inputs().1
    }

    /// What happened.
    pub fn events(&self) -> &EventLog {
        &self.0.events
    }

    /// Loaded, bound and not stopping.
    pub fn is_ready(&self) -> bool {
        !self.0.stop.is_cancelled()
    }

    /// Addresses on which DNS is answered, as bound.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.0.addresses
    }

    /// Ends when the server was told to stop.
    pub async fn stopping(&self) {
        self.0.stop.cancelled().await;
    }

    /// Ends when another process has taken over.
    pub async fn replaced(&self) {
        self.0.replaced.cancelled().await;
    }

    /// The process that has taken over.
    pub fn successor(&self) -> Option<u32> {
        self.0.successor.get().copied()
    }

    /// Measured latency as of now; `None`: nothing measures.
    pub fn measured(&self) -> Option<tokio::sync::watch::Receiver<Published>> {
        self.0.measure.get().map(Measure::published)
    }

    /// As whom a party that may use the API reports.
    pub(crate) fn caller(&self, party: &str) -> Reporter {
        if self.config().latency.trust_callers {
            return Reporter::Own;
        }
        let measure = self.0.measure.get();
        measure.map_or(Reporter::Caller(0), |measure| measure.caller(party))
    }

    /// Takes round trips that came over the API; says what became of each.
    pub(crate) async fn take_round_trips(&self, who: &str, samples: Vec<Sample>) -> Outcomes {
        match self.0.measure.get() {
            Some(measure) => measure.ask(who, samples).await,
            None => vec![Err(NotTaken::Busy); samples.len()],
        }
    }

    /// Counts a line of the API that tells no round trip.
    pub(crate) fn refuse_round_trip(&self, why: &NotTaken) {
        if let Some(measure) = self.0.measure.get() {
            measure.refuse_line(why);
        }
    }

    /// Answers queries on these sockets.
    fn answer(&self, bound: Bound) {
        let inner = &self.0;
        let bound = match inner.measure.get() {
            Some(measure) => bound.telling_round_trips(measure.resolvers()),
            None => bound,
        };
        let snapshot = inner.publisher.current();
        let run = bound.run(
            snapshot,
            inner.dns_metrics.clone(),
            inner.gate.clone(),
            inner.stop.clone(),
        );
        inner.tasks.spawn(run);
    }

    /// Everything that `status` shows.
    pub fn status(&self) -> Status {
        let inner = &self.0;
        let (loaded, health) = inner.publisher.inputs();
        let snapshot = self.snapshot();
        let refused = self.condition(|condition| condition.refused.clone());
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: inner.started,
            generation: snapshot.generation,
            config: ConfigStatus {
                file: inner.config_path.display().to_string(),
                loaded: loaded.at,
                last_reload_successful: refused.is_none() && !loaded.last_good,
                refused,
                last_good: loaded.last_good,
            },
            pops: describe::pops(&loaded.config, &health, &inner.prober.newest_loads()),
            services: publish::services(&loaded, &snapshot.view, &inner.publisher.shifts()),
            geo: geo_status(&loaded),
            announcements: inner.site.get().map(|_| (*self.announcements()).clone()),
            alarms: self.alarms(&loaded),
            anomalies: inner.anomalies.load().to_vec(),
        }
    }

    /// The loads of this moment.
    pub fn loads(&self) -> Loads {
        self.0.prober.newest_loads()
    }

    /// Takes a load that was pushed for a PoP; gives what counts now.
    ///
    /// # Errors
    /// The PoP does not take it; nothing changed.
    pub fn push_load(&self, pop: &str, level: Level, who: &str) -> Result<LoadStatus, PushError> {
        let prober = &self.0.prober;
        prober.push_load(pop, level, who)?;
        let newest = prober.newest_loads();
        let load = newest.get(pop).map(describe::load);
        load.ok_or_else(|| PushError::NotPushed(pop.to_owned()))
    }

    /// What is announced, and why.
    pub fn announcements(&self) -> Arc<Announcements> {
        let site = self.0.site.get();
        site.map_or_else(Arc::default, Site::state)
    }

    /// Asks the peers to discard traffic to a host for a while and for a reason (RFC 7999), or no
    /// longer.
    ///
    /// # Errors
    /// Why nothing changed.
    pub async fn blackhole(
        &self,
        prefix: IpNet,
        wanted: Option<(Duration, String)>,
        who: &str,
    ) -> Result<(), String> {
        let site = self.0.site.get();
        let site = site.ok_or("this server announces nothing: [bgp] is not configured")?;
        let command = match wanted {
            Some((lasts, reason)) => Command::Blackhole {
                prefix,
                lasts,
                reason: format!("{who}: {reason}"),
            },
            None => Command::EndBlackhole { prefix },
        };
        site.command(command)
            .await
            .map_err(|error| error.to_string())
    }

    /// Every metric as it stands now.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let (loaded, _) = self.0.publisher.inputs();
        self.0.metrics.alarms(self.alarms(&loaded).len());
        self.0.registry.gather()
    }

    /// What needs an operator.
    fn alarms(&self, loaded: &Loaded) -> Vec<String> {
        let geo = loaded.geo_broken.as_ref();
        let last_good = "running on the last good state: the files could not be used";
        let (alarms, ended) = self.condition(|condition| {
            let alarms = [
                condition.overrides_lost.clone(),
                condition.not_kept.clone(),
                condition.standing_not_kept.clone(),
                condition.admin.clone(),
                condition.tick_failed.clone(),
                geo.map(|why| format!("geo data: {why}")),
                loaded.last_good.then(|| last_good.to_owned()),
            ];
            (alarms, condition.ended.clone())
        });
        let mut alarms: Vec<String> = alarms.into_iter().flatten().chain(ended).collect();
        alarms.extend(self.announcements().alarms.iter().cloned());
        alarms.extend(self.0.measure.get().into_iter().flat_map(Measure::alarms));
        alarms
    }

    /// Why the data count as too old: they could not be renewed for longer than `limit`.
    fn stale(&self, limit: Option<Duration>) -> Result<(), String> {
        let since = self.condition(|condition| condition.refused_at);
        match (limit, since) {
            (Some(limit), Some(since)) if monotonic().saturating_sub(since) > limit => {
                Err("the files could not be read for too long".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Stops: no new work, what was received is answered, everything ends.
    pub async fn shutdown(&self) {
        let inner = &self.0;
        if inner.stop.is_cancelled() {
            return;
        }
        self.record(NewEvent::new(
            EventKind::Stopping,
            "told to stop; answering what was received",
        ));
        if self.successor().is_none() {
            self.leave().await;
        }
        inner.stop.cancel();
        inner.tasks.close();
        if tokio::time::timeout(SHUTDOWN, inner.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some connections did not end in time and are cut");
        }
        if self.successor().is_none() {
            self.keep_for_successor().await;
        }
        inner.prober.clone().shutdown().await;
        if let Some(measure) = inner.measure.get() {
            // What was measured is the successor's, who writes it.
            measure.finish(self.successor().is_none()).await;
        }
        // Last: nobody is sent here any more, and nobody is answered.
        if let Some(site) = inner.site.get().filter(|_| self.successor().is_none()) {
            site.finish().await;
        }
    }

    /// Withdraws every prefix and answers those who come late, before anything else ends.
    async fn leave(&self) {
        let Some(site) = self.0.site.get() else {
            return;
        };
        let announced = site.state().prefixes.iter().any(|one| !one.sent.is_empty());
        site.close("the server was told to stop").await;
        if announced {
            tokio::time::sleep(LATE).await;
        }
    }

    /// Tells that the files of the admin listener cannot be used, or (`None`) that they can again.
    pub fn admin_trouble(&self, problem: Option<String>) {
        self.condition(|condition| condition.admin.clone_from(&problem));
        if let Some(problem) = problem {
            self.record(NewEvent::new(EventKind::Alarm, problem));
        }
    }

    fn record(&self, event: NewEvent) {
        self.0.events.record(Timestamp::now(), event);
    }

    fn condition<T>(&self, look: impl FnOnce(&mut Condition) -> T) -> T {
        let condition = self.0.condition.lock();
        look(&mut condition.unwrap_or_else(PoisonError::into_inner))
    }

    #[allow(clippy::disallowed_methods)] // The runtime is the runner that owns the clock.
    fn teller(&self) -> Teller<'_> {
        Teller {
            events: &self.0.events,
            metrics: &self.0.metrics,
            now: Timestamp::now(),
            clock: Instant::now,
        }
    }
}

/// Time since the first call.
#[allow(clippy::disallowed_methods)] // The runtime is the runner that owns the clock.
pub(crate) fn monotonic() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

fn geo_status(loaded: &Loaded) -> Vec<GeoStatus> {
    let seconds = |s: u64| {
        i64::try_from(s)
            .ok()
            .and_then(|s| Timestamp::from_second(s).ok())
    };
    let databases = loaded.clients.databases().iter();
    databases
        .map(|d| GeoStatus {
            file: d.file.display().to_string(),
            database_type: d.database_type.clone(),
            level: d.level.to_owned(),
            built: seconds(d.build_epoch).unwrap_or(Timestamp::UNIX_EPOCH),
        })
        .collect()
}

#[cfg(test)]
mod tests;
