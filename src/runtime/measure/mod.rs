//! Measured latency: where round trips come from, who counts them, who reads what comes of it.
//!
//! ```text
//! admin: POST /api/v1/latency ─┐
//! logs (one thread) ───────────┤
//! syslog (one task) ───────────┼→ intake ─ bounded channel ─→ owner (one thread) ─ watch ─→ steering
//! beacon (one listener) ───────┤  limits, counts              Matrix, keep                  metrics
//! dns: TCP connections ────────┘
//! ```
//!
//! Nothing here can stop an answer: a source that is lost is an alarm and a metric, and what was
//! measured ages.

mod alarms;
mod beacon;
mod follow;
mod intake;
mod keep;
pub(crate) mod lines;
mod logs;
mod metrics;
mod owner;
mod rates;
mod resolvers;
mod syslog;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc as threads},
    time::Duration,
};

use meridian_config::{Config, LatencySection};
use meridian_dns::listen::HearRoundTrips;
use meridian_geo_data::{
    ClientMap,
    latency::{Latency, Reporter, Sample, parse::Told},
};
use prometheus::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use intake::{BATCH, NotTaken, Outcomes, host};

use alarms::{Alarms, Tell};
use intake::Intake;
use metrics::MeasureMetrics;
use owner::Order;
pub(crate) use owner::kept;
use resolvers::Resolvers;

/// For writing everything down at the end.
const LAST: Duration = Duration::from_secs(10);

/// What is known, and for which cells.
#[derive(Clone)]
pub struct Published {
    /// The table that steering reads.
    pub latency: Arc<Latency>,
    /// Its cells are those of this location data.
    pub clients: Arc<ClientMap>,
    /// False before the first publication: what was measured before the start is still being read.
    pub is_laid_out: bool,
}

/// Sockets that had to be opened before the process became unprivileged.
#[derive(Default)]
pub(super) struct Opened {
    syslog: Option<(SocketAddr, std::net::UdpSocket)>,
    beacon: Option<(SocketAddr, std::net::TcpListener)>,
}

/// Opens what can be opened; the rest is tried again later, and told.
pub(super) fn open(section: &LatencySection) -> Opened {
    let syslog = section.syslog.as_ref().map(|syslog| syslog.listen);
    let beacon = section.beacon.as_ref().map(|beacon| beacon.listen);
    Opened {
        syslog: syslog.and_then(|at| Some((at, syslog::bind(at).ok()?))),
        beacon: beacon.and_then(|at| Some((at, beacon::bind(at).ok()?))),
    }
}

/// What measuring needs of the rest of the server.
pub(super) struct Parts<'a> {
    pub(super) config: Arc<Config>,
    pub(super) clients: Arc<ClientMap>,
    pub(super) registry: &'a Registry,
    pub(super) opened: Opened,
    pub(super) tell: Tell,
    pub(super) stop: CancellationToken,
    pub(super) tasks: &'a TaskTracker,
}

/// Why measuring cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// No thread for it.
    #[error("measuring latency cannot be started: {0}")]
    Thread(#[from] io::Error),
    /// Metrics clash: a mistake of ours.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Everything that measures.
pub(super) struct Measure {
    intake: Intake,
    alarms: Alarms,
    orders: mpsc::Sender<Order>,
    published: watch::Receiver<Published>,
    settings: watch::Sender<Arc<Config>>,
    logs: threads::Sender<Arc<Config>>,
    resolvers: Arc<Resolvers>,
}

/// What every source needs.
#[derive(Clone)]
struct Shared {
    intake: Intake,
    alarms: Alarms,
    metrics: MeasureMetrics,
}

impl Shared {
    /// What a log says of a client, as a measurement that the client may have had a hand in.
    fn sample(&self, told: &Told<'_>, pop: &Arc<str>) -> Sample {
        let client = told.client.addr().to_canonical();
        let whole = told.client.prefix_len() == told.client.max_prefix_len();
        Sample {
            prefix: if whole { client.into() } else { told.client },
            pop: pop.clone(),
            rtt_ms: told.rtt_ms,
            reporter: self.intake.reporter(client),
        }
    }
}

impl Measure {
    /// Starts everything that the configuration asks for.
    pub(super) fn start(parts: Parts<'_>) -> Result<Self, MeasureError> {
        let metrics = MeasureMetrics::new(parts.registry)?;
        let alarms = Alarms::new(parts.tell);
        let (intake, batches) = Intake::new(&parts.config.latency, metrics.clone());
        let (orders, ordered) = mpsc::channel(4);
        let nothing = owner::nothing(parts.clients.clone());
        let (publish, published) = watch::channel(nothing);
        let start = owner::Start {
            config: parts.config.clone(),
            clients: parts.clients,
            seed: intake.key("seed"),
            batches,
            orders: ordered,
            published: publish,
            metrics: metrics.clone(),
            alarms: alarms.clone(),
        };
        let shared = Shared {
            intake: intake.clone(),
            alarms: alarms.clone(),
            metrics,
        };
        own_thread(start)?;
        let logs = log_thread(parts.config.clone(), shared.clone())?;
        let (settings, changed) = watch::channel(parts.config.clone());
        let spawn = |task: Boxed| {
            let stop = parts.stop.clone();
            parts
                .tasks
                .spawn(async move { stop.run_until_cancelled(task).await });
        };
        let Opened { syslog, beacon } = parts.opened;
        let datagrams = syslog::run(changed.clone(), syslog, shared.clone());
        spawn(Box::pin(datagrams));
        spawn(Box::pin(beacon::run(changed, beacon, shared)));
        let resolvers = Resolvers::new(intake.clone(), &parts.config);
        Ok(Self {
            intake,
            alarms,
            orders,
            published,
            settings,
            logs,
            resolvers: Arc::new(resolvers),
        })
    }

    /// What is known, as soon as there is more of it.
    pub(super) fn published(&self) -> watch::Receiver<Published> {
        self.published.clone()
    }

    /// Who hears of the ends of TCP connections.
    pub(super) fn resolvers(&self) -> Arc<dyn HearRoundTrips> {
        self.resolvers.clone()
    }

    /// A party that may use the API: it may tell of many clients, and has one voice.
    pub(super) fn caller(&self, party: &str) -> Reporter {
        Reporter::Caller(self.intake.key(party))
    }

    /// Measurements that came over the API, from someone who may change this server's state.
    pub(super) async fn ask(&self, who: &str, samples: Vec<Sample>) -> Outcomes {
        self.intake.ask(who, samples).await
    }

    /// Counts a line of the API that says nothing.
    pub(super) fn refuse_line(&self, why: &NotTaken) {
        self.intake.refuse(intake::Source::Api, why.as_str());
    }

    /// What needs an operator.
    pub(super) fn alarms(&self) -> Vec<String> {
        self.alarms.all()
    }

    /// Another configuration or other geo data comes into force. Returns when what is known is laid out for
    /// its cells, or after a while.
    pub(super) async fn reload(&self, config: Arc<Config>, clients: Arc<ClientMap>) {
        self.intake.limit(&config.latency);
        self.resolvers.adapt(&config);
        let _ = self.logs.send(config.clone());
        self.settings.send_replace(config.clone());
        self.order(|done| Order::Reload {
            config,
            clients,
            done,
        })
        .await;
    }

    /// Reads again what another process has written since.
    pub(super) async fn read_again(&self) {
        self.order(Order::Read).await;
    }

    /// Gives an order, and waits until it is done; false when that takes too long.
    async fn order(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) -> bool {
        let (done, heard) = oneshot::channel();
        match self.orders.send(order(done)).await {
            Ok(()) => tokio::time::timeout(LAST, heard).await.is_ok(),
            // It has ended.
            Err(_) => true,
        }
    }

    /// Writes everything to the disk.
    pub(super) async fn save(&self) {
        self.order(Order::Save).await;
    }

    /// Ends; `save`: and writes everything to the disk.
    pub(super) async fn finish(&self, save: bool) {
        if !self.order(|done| Order::Finish { save, done }).await {
            tracing::warn!("measured latency could not be written in time");
        }
    }
}

type Boxed = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn own_thread(start: owner::Start) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let alarms = start.alarms.clone();
    let work = move || runtime.block_on(owner::run(start));
    thread(
        "latency",
        "measured latency is counted no more",
        alarms,
        work,
    )
}

fn log_thread(config: Arc<Config>, shared: Shared) -> io::Result<threads::Sender<Arc<Config>>> {
    let (logs, changes) = threads::channel();
    let alarms = shared.alarms.clone();
    let work = move || logs::run(&config, &changes, &shared);
    let lost = "the logs of [[latency.log]] are followed no more";
    thread("latency-logs", lost, alarms, work)?;
    Ok(logs)
}

/// A thread for as long as the server runs. Should a defect of ours end it, that is an alarm: everything else
/// goes on, and nobody would notice.
fn thread(
    name: &'static str,
    lost: &'static str,
    alarms: Alarms,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let work = move || {
        // Nothing of what it leaves behind is looked at again.
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            let problem = format!("{lost}, by a defect of Meridian: restart the server");
            alarms.set(name, Some(problem));
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)?;
    Ok(())
}
