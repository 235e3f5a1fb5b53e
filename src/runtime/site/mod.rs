//! This server as a site: announces the prefixes of its service addresses while it serves on them.
//!
//! ```text
//! config ── settings ──→ Controller (pure, bgp-control) ←─ inputs ── probe ── ask ── judge
//! prober (watch) ──────────────↑        │ actions               ↑ our own sockets
//! orders ── run (one task) ────┘        ├→ sessions (Speaker, BFD)
//!                                       ├→ addresses
//!                                       └→ events, metrics, state
//! ```
//!
//! # A thread of its own
//! The task runs on a thread with a small runtime of its own: what keeps sessions alive waits for
//! neither a reload nor an admin request, and after `server.user` only threads started by the boot
//! hold the capabilities that addresses and low ports need.

mod addresses;
mod ask;
mod judge;
mod metrics;
mod probe;
mod rates;
mod run;
mod sessions;
mod settings;
mod show;
pub mod state;
mod words;

use std::{
    io,
    net::SocketAddr,
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use meridian_bgp_control::{Command, CommandError, Stage};
use meridian_config::Config;
use meridian_dns::{listen::Handle, snapshot::Snapshot};
use meridian_health_prober::HealthSnapshot;
use tokio::sync::{mpsc, oneshot, watch};

use super::events::NewEvent;
use state::Announcements;

pub(super) use addresses::prepare;
pub(super) use metrics::SiteMetrics;
pub(super) use probe::ask_once;
pub(super) use sessions::Passed;
pub use settings::notes;
pub(super) use words::stage_name;

/// What the site needs of the rest of the server.
pub(super) struct Parts {
    /// The configuration in force; it has `[bgp]`.
    pub(super) config: Arc<Config>,
    /// What queries see.
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    /// The DNS addresses as bound.
    pub(super) listens: Vec<SocketAddr>,
    /// The running listeners; others after an upgrade that failed.
    pub(super) dns: Arc<ArcSwap<Handle>>,
    /// Verdicts and overrides.
    pub(super) health: watch::Receiver<Arc<HealthSnapshot>>,
    /// Records events.
    pub(super) tell: Arc<dyn Fn(NewEvent) + Send + Sync>,
    /// Lets steering leave this site out.
    pub(super) exclude: Arc<dyn Fn(bool) + Send + Sync>,
    /// Why the data count as too old, when they could not be renewed for so long.
    pub(super) stale: Arc<dyn Fn(Option<Duration>) -> Result<(), String> + Send + Sync>,
    /// Handles of metrics.
    pub(super) metrics: SiteMetrics,
    /// Another process announces still, and will hand its sessions over.
    pub(super) successor: bool,
}

/// Something for the task to do.
enum Order {
    Command(Command, oneshot::Sender<Result<(), CommandError>>),
    Reload(Arc<Config>),
    Close(String, oneshot::Sender<()>),
    HandOver(oneshot::Sender<Passed>),
    Adopt(Box<Passed>, oneshot::Sender<Result<(), String>>),
    Announcing(oneshot::Sender<Vec<Announcing>>),
    Freeze(bool, oneshot::Sender<()>),
    Launch(
        Box<process::Command>,
        oneshot::Sender<io::Result<process::Child>>,
    ),
    Finish(oneshot::Sender<()>),
}

/// A prefix with its stage, and why it is there.
pub(super) type Announcing = (IpNet, Stage, String);

/// Handle of the task.
pub(super) struct Site {
    orders: mpsc::UnboundedSender<Order>,
    state: watch::Receiver<Arc<Announcements>>,
}

impl Site {
    /// Starts the thread. Call it from a thread that holds the capabilities.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(parts: Parts) -> io::Result<Self> {
        let (orders, received) = mpsc::unbounded_channel();
        let (publish, state) = watch::channel(Arc::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let work = move || {
            runtime.block_on(async {
                if let Some(task) = run::Task::new(parts, publish, now()) {
                    task.run(received).await;
                }
            });
        };
        std::thread::Builder::new()
            .name("site".to_owned())
            .spawn(work)?;
        Ok(Self { orders, state })
    }

    /// What is announced, and why.
    pub(super) fn state(&self) -> Arc<Announcements> {
        self.state.borrow().clone()
    }

    /// Carries out an operator's word.
    ///
    /// # Errors
    /// Why nothing changed.
    pub(super) async fn command(&self, command: Command) -> Result<(), CommandError> {
        let asked = self.ask(|reply| Order::Command(command, reply)).await;
        asked.unwrap_or(Ok(()))
    }

    /// Takes a new configuration.
    pub(super) fn reload(&self, config: Arc<Config>) {
        self.send(Order::Reload(config));
    }

    /// Withdraws everything and says Cease with this text.
    pub(super) async fn close(&self, text: &str) {
        let _ = self.ask(|done| Order::Close(text.to_owned(), done)).await;
    }

    /// Takes the addresses off the interface, and ends.
    pub(super) async fn finish(&self) {
        let _ = self.ask(Order::Finish).await;
    }

    /// Stops all sessions without a word to the peers.
    pub(super) async fn hand_over(&self) -> Passed {
        self.ask(Order::HandOver).await.unwrap_or_default()
    }

    /// Goes on with sessions of another process, or with those handed over before.
    ///
    /// # Errors
    /// Why they cannot go on.
    pub(super) async fn adopt(&self, passed: Passed) -> Result<(), String> {
        let asked = self.ask(|done| Order::Adopt(Box::new(passed), done)).await;
        asked.unwrap_or_else(|| Err("the site's task has ended".to_owned()))
    }

    /// The stage of every prefix.
    pub(super) async fn announcing(&self) -> Vec<Announcing> {
        self.ask(Order::Announcing).await.unwrap_or_default()
    }

    /// Lets nothing that is found from now on change a route, because another process answers; or no
    /// longer.
    pub(super) async fn freeze(&self, frozen: bool) {
        let _ = self.ask(|done| Order::Freeze(frozen, done)).await;
    }

    /// Starts a program from the thread of the task, with the capabilities that this thread has.
    ///
    /// # Errors
    /// As the system says.
    pub(super) async fn launch(&self, program: process::Command) -> io::Result<process::Child> {
        let asked = self
            .ask(|reply| Order::Launch(Box::new(program), reply))
            .await;
        asked.unwrap_or_else(|| Err(io::Error::other("the site's task has ended")))
    }

    /// `None` when the task has ended.
    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.send(order(reply));
        answer.await.ok()
    }

    fn send(&self, order: Order) {
        // It ends only with the server, or by a mistake of ours, which its panic has told.
        let _ = self.orders.send(order);
    }
}

#[allow(clippy::disallowed_methods)] // when the task began
fn now() -> Instant {
    Instant::now()
}
