//! Sessions with routers and what watches the way to them, as one thing: opened, reloaded, closed and
//! handed over together.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use meridian_bgp_control::{
    BfdState, Desired,
    bfd::{self, Bfd, Liveness},
    session::{HandedOver, Inherited, PeerEvent, PeerStatus, Speaker, SpeakerSettings},
};
use meridian_config::Bgp;
use tokio::sync::{broadcast, mpsc, watch};

use super::settings;

/// Before sockets that could not be opened are tried again.
const RETRY: Duration = Duration::from_secs(5);

/// True while DNS is served.
pub(super) type Pulse = Arc<dyn Fn() -> bool + Send + Sync>;

/// Sessions on their way from one process to another.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Passed {
    /// Established BGP sessions.
    pub(in crate::runtime) sessions: Vec<Inherited>,
    /// BFD, when it runs.
    pub(in crate::runtime) bfd: Option<bfd::HandedOver>,
}

/// What the routers hear.
type Routes = watch::Sender<Arc<Vec<Desired>>>;

/// Sessions, open or not.
pub(super) struct Sessions {
    routes: Routes,
    pulse: Pulse,
    speaker: Option<Speaker>,
    bfd: Option<Bfd>,
    status: Option<watch::Receiver<Arc<Vec<PeerStatus>>>>,
    events: Option<broadcast::Receiver<PeerEvent>>,
    liveness: mpsc::UnboundedReceiver<(String, Liveness)>,
    report: mpsc::UnboundedSender<(String, Liveness)>,
    retry_at: Option<Instant>,
    /// Why they are not open, or not as configured.
    pub(super) problem: Option<String>,
}

/// What came from the sessions.
#[derive(Debug)]
pub(super) enum News {
    /// Some status has changed.
    Status,
    /// Something happened.
    Event(PeerEvent),
    /// BFD changed its mind about a peer.
    Liveness(String, Liveness),
}

impl Sessions {
    /// None open yet.
    pub(super) fn new(pulse: Pulse) -> Self {
        let (report, liveness) = mpsc::unbounded_channel();
        Self {
            routes: watch::Sender::new(Arc::default()),
            pulse,
            speaker: None,
            bfd: None,
            status: None,
            events: None,
            liveness,
            report,
            retry_at: None,
            problem: None,
        }
    }

    /// Opens them, and goes on with those that were passed.
    pub(super) fn open(&mut self, bgp: &Bgp, passed: Passed, now: Instant) {
        if self.speaker.is_some() {
            return;
        }
        let started = Speaker::start(
            SpeakerSettings::from(bgp),
            self.routes.subscribe(),
            self.pulse.clone(),
            passed.sessions,
        );
        match started {
            Ok(speaker) => {
                self.status = Some(speaker.status());
                self.events = Some(speaker.events());
                self.speaker = Some(speaker);
                (self.problem, self.retry_at) = (None, None);
            }
            Err(error) => {
                self.problem = Some(format!("BGP sessions cannot be opened: {error}"));
                self.retry_at = Some(now + RETRY);
                return;
            }
        }
        let report = self.report.clone();
        let neighbors = settings::neighbors(bgp);
        let bfd = Bfd::start(
            neighbors,
            passed.bfd,
            self.pulse.clone(),
            seed(),
            move |peer, change| {
                // The receiver lives as long as the sessions.
                let _ = report.send((peer.to_owned(), change.liveness));
            },
        );
        match bfd {
            Ok(bfd) => self.bfd = Some(bfd),
            Err(error) => self.problem = Some(format!("BFD cannot be started: {error}")),
        }
    }

    /// Tries again what could not be opened.
    pub(super) fn retry(&mut self, bgp: &Bgp, now: Instant) {
        if self.retry_at.is_some_and(|at| now >= at) {
            self.open(bgp, Passed::default(), now);
        }
    }

    /// Tells the routers.
    pub(super) fn publish(&self, routes: Vec<Desired>) {
        self.routes.send_replace(Arc::new(routes));
    }

    /// Takes other settings; sessions whose settings stay are not touched.
    pub(super) fn reload(&mut self, bgp: &Bgp) {
        if let Some(speaker) = &self.speaker {
            self.problem = match speaker.reload(SpeakerSettings::from(bgp)) {
                Ok(()) => None,
                Err(error) => Some(format!("the old BGP sessions stay: {error}")),
            };
        }
        if let Some(bfd) = &self.bfd {
            bfd.reload(settings::neighbors(bgp));
        }
    }

    /// Withdraws everything, says Cease with this text (RFC 9003), and closes.
    pub(super) async fn close(&mut self, text: &str) {
        self.retry_at = None;
        if let Some(speaker) = self.speaker.take() {
            speaker.shutdown(text).await;
        }
        // After the sessions: a neighbour that hears of AdminDown first learns nothing of the end.
        if let Some(bfd) = self.bfd.take() {
            bfd.shutdown();
        }
        (self.status, self.events) = (None, None);
    }

    /// Stops without a word.
    pub(super) async fn hand_over(&mut self) -> Passed {
        let handed = match self.speaker.take() {
            Some(speaker) => speaker.hand_over().await,
            None => Vec::new(),
        };
        (self.status, self.events, self.retry_at) = (None, None, None);
        Passed {
            sessions: handed.into_iter().map(HandedOver::into).collect(),
            bfd: self.bfd.take().and_then(Bfd::hand_over),
        }
    }

    /// The status of every peer.
    pub(super) fn peers(&self) -> Arc<Vec<PeerStatus>> {
        let status = self.status.as_ref();
        status.map_or_else(Arc::default, |status| status.borrow().clone())
    }

    /// The status of every BFD session.
    pub(super) fn bfd(&self) -> Arc<Vec<bfd::Status>> {
        let bfd = self.bfd.as_ref();
        bfd.map_or_else(Arc::default, |bfd| bfd.status().borrow().clone())
    }

    /// The next thing that they tell. For ever pending while none is open.
    pub(super) async fn news(&mut self) -> News {
        tokio::select! {
            Some((peer, liveness)) = self.liveness.recv() => News::Liveness(peer, liveness),
            () = changed(&mut self.status) => News::Status,
            event = next(&mut self.events) => News::Event(event),
        }
    }

    /// Feeds what BFD says.
    pub(super) fn alive(&self, peer: &str, liveness: Liveness) {
        let state = match liveness {
            Liveness::Up => BfdState::Up,
            Liveness::Unknown | Liveness::Failed => BfdState::Down,
            Liveness::AdminDown => BfdState::AdminDown,
        };
        if let Some(speaker) = &self.speaker {
            speaker.bfd(peer, state);
        }
    }
}

async fn changed<T>(receiver: &mut Option<watch::Receiver<T>>) {
    if let Some(open) = receiver
        && open.changed().await.is_ok()
    {
        return;
    }
    *receiver = None;
    std::future::pending().await
}

async fn next(receiver: &mut Option<broadcast::Receiver<PeerEvent>>) -> PeerEvent {
    if let Some(open) = receiver {
        loop {
            match open.recv().await {
                Ok(event) => return event,
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => break,
            }
        }
    }
    *receiver = None;
    std::future::pending().await
}

/// RFC 5880 §6.8.1: discriminators should differ from run to run. Nothing depends on their being
/// unknown.
#[allow(clippy::disallowed_methods)] // a seed, not a time
fn seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    #[allow(clippy::cast_possible_truncation)] // the low bits are the ones that differ
    let nanos = since.map_or(0, |time| time.as_nanos() as u64);
    nanos ^ (u64::from(std::process::id()) << 32)
}
