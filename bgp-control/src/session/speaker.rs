//! The speaker: a task for each peer, one for each listening socket, one for the pulse.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    Counters, HandedOver, Inherited, PeerEvent, PeerStatus, SessionState,
    codec::Cease,
    settings::{PeerSettings, SpeakerSettings},
    socket,
    task::{Command, Feeds, Report, Task, wall_clock},
};
use crate::{BfdState, Desired};

/// Whether DNS is served now. While it says no, no keepalive is sent: a server that answers
/// nothing must not hold a route. It is asked often and must not block.
pub type Pulse = Arc<dyn Fn() -> bool + Send + Sync>;

/// How often the pulse is felt.
const PULSE_EVERY: Duration = Duration::from_millis(100);
/// Longest wait for the last words of all sessions.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// All sessions of this server. Dropping it closes connections without a word; see
/// [`Speaker::shutdown`].
pub struct Speaker {
    report: Report,
    inner: Mutex<Inner>,
    routes: watch::Receiver<Arc<Vec<Desired>>>,
    served: watch::Receiver<bool>,
    pulse: JoinHandle<()>,
}

struct Inner {
    settings: Arc<SpeakerSettings>,
    peers: HashMap<String, Running>,
    listeners: Vec<(Arc<TcpListener>, JoinHandle<()>)>,
    inbound: Inbound,
}

struct Running {
    settings: PeerSettings,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

/// Which task takes a connection from which address.
type Inbound = Arc<Mutex<HashMap<IpAddr, mpsc::Sender<Command>>>>;

impl Speaker {
    /// Opens the sessions of `settings` and keeps telling peers what `routes` says. Call it inside
    /// a tokio runtime.
    ///
    /// # Errors
    /// A socket that cannot be opened: port 179 needs a capability, or somebody else holds it
    /// while a peer is `passive`. A peer whose authentication the kernel does not have stays
    /// closed, and its status says so.
    pub fn start(
        settings: SpeakerSettings,
        routes: watch::Receiver<Arc<Vec<Desired>>>,
        pulse: Pulse,
        inherited: Vec<Inherited>,
    ) -> io::Result<Self> {
        let settings = Arc::new(settings);
        let sockets = open(&settings)?;
        let report = Report {
            status: watch::Sender::new(Arc::default()),
            events: broadcast::Sender::new(256),
        };
        let (served_sender, served) = watch::channel(pulse());
        let speaker = Self {
            report,
            inner: Mutex::new(Inner {
                settings: Arc::clone(&settings),
                peers: HashMap::new(),
                listeners: Vec::new(),
                inbound: Inbound::default(),
            }),
            routes,
            served,
            pulse: tokio::spawn(feel(pulse, served_sender)),
        };
        let mut inherited: HashMap<_, _> = inherited
            .into_iter()
            .map(|one| (one.session.peer.clone(), one))
            .collect();
        let mut inner = speaker.inner();
        speaker.show(&settings);
        if !settings.dry_run {
            for peer in socket::usable(&settings) {
                let inherited = inherited.remove(&peer.name);
                speaker.add(&mut inner, peer, inherited);
            }
        }
        inner.listen(sockets);
        drop(inner);
        Ok(speaker)
    }

    /// The state of every peer, latest wins.
    pub fn status(&self) -> watch::Receiver<Arc<Vec<PeerStatus>>> {
        self.report.status.subscribe()
    }

    /// What happens from now on; a slow reader loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<PeerEvent> {
        self.report.events.subscribe()
    }

    /// Feeds the state of a peer's BFD session. Up → Down ends the BGP session at once.
    pub fn bfd(&self, peer: &str, state: BfdState) {
        if let Some(running) = self.inner().peers.get(peer) {
            // A full channel means that the task is far behind, and with it the session.
            let _ = running.commands.try_send(Command::Bfd(state));
        }
    }

    /// Takes new settings and touches only sessions whose settings changed.
    ///
    /// # Errors
    /// As [`Speaker::start`]; then everything stays as it was.
    pub fn reload(&self, settings: SpeakerSettings) -> io::Result<()> {
        let settings = Arc::new(settings);
        let mut inner = self.inner();
        let relisten = inner.must_relisten(&settings);
        let old = Arc::clone(&inner.settings);
        if relisten {
            // The new sockets may want the addresses of the old ones.
            inner.stop_listening();
        }
        let sockets = match relisten.then(|| open(&settings)).transpose() {
            Ok(sockets) => sockets,
            Err(error) => {
                inner.listen(open(&old).unwrap_or_default());
                return Err(error);
            }
        };
        let replaced = inner.part_with_changed(&settings);
        inner.settings = Arc::clone(&settings);
        self.show(&settings);
        if !settings.dry_run {
            for peer in socket::usable(&settings) {
                if inner.peers.contains_key(&peer.name) {
                    inner.adjust(&settings, peer);
                } else {
                    self.add(&mut inner, peer, None);
                }
            }
        }
        if let Some(sockets) = sockets {
            inner.listen(sockets);
        }
        // Their last words need no waiting.
        drop(replaced);
        Ok(())
    }

    /// Withdraws everything, sends Cease with `text` (RFC 9003) and closes.
    pub async fn shutdown(self, text: &str) {
        let peers = self.take_all();
        let mut tasks = Vec::new();
        for running in peers {
            let cease = Command::Cease(Cease::Shutdown(text.to_owned()), text.to_owned());
            // An ended task has nothing to say.
            let _ = running.commands.send(cease).await;
            tasks.push(running.task);
        }
        let all = futures_util::future::join_all(tasks);
        // A peer that reads nothing must not hold us up.
        let _ = tokio::time::timeout(SHUTDOWN, all).await;
    }

    /// Stops without closing: the established sessions for a successor. The others are closed.
    pub async fn hand_over(self) -> Vec<HandedOver> {
        let mut handed = Vec::new();
        for running in self.take_all() {
            let (reply, answer) = oneshot::channel();
            if running
                .commands
                .send(Command::HandOver(reply))
                .await
                .is_ok()
            {
                handed.extend(answer.await.ok().flatten());
            }
        }
        handed
    }

    fn take_all(&self) -> Vec<Running> {
        let mut inner = self.inner();
        inner.stop_listening();
        inner.peers.drain().map(|(_, running)| running).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing in it can be left half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every configured peer has a status from the beginning.
    fn show(&self, settings: &SpeakerSettings) {
        self.report.status.send_modify(|all| {
            let known = |name: &str| all.iter().find(|one| one.name == name).cloned();
            let statuses = settings.peers.iter().map(|peer| {
                let same = known(&peer.name).filter(|one| one.address == peer.address);
                if let Some(same) = same {
                    return same;
                }
                let status = unknown(settings, peer);
                if let Some(text) = &status.last_error {
                    tracing::warn!(peer = %peer.name, "BGP: {text}");
                }
                status
            });
            *all = Arc::new(statuses.collect());
        });
    }

    fn add(&self, inner: &mut Inner, peer: &PeerSettings, inherited: Option<Inherited>) {
        let (commands, receiver) = mpsc::channel(64);
        let feeds = Feeds {
            routes: self.routes.clone(),
            served: self.served.clone(),
            commands: receiver,
        };
        let local = Arc::clone(&inner.settings);
        let task = Task::new(local, peer.clone(), feeds, self.report.clone(), inherited);
        let running = Running {
            settings: peer.clone(),
            commands: commands.clone(),
            task: tokio::spawn(task.run()),
        };
        inner.peers.insert(peer.name.clone(), running);
        let mut inbound = inner.inbound.lock().unwrap_or_else(PoisonError::into_inner);
        inbound.insert(peer.address, commands);
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.pulse.abort();
        self.inner().stop_listening();
        // The tasks end with their command channels.
    }
}

impl Inner {
    fn listen(&mut self, sockets: Vec<TcpListener>) {
        for socket in sockets {
            let socket = Arc::new(socket);
            let task = tokio::spawn(accept(Arc::clone(&socket), Arc::clone(&self.inbound)));
            self.listeners.push((socket, task));
        }
    }

    fn stop_listening(&mut self) {
        for (socket, task) in self.listeners.drain(..) {
            // The task lets go of it later than a successor may want the address.
            socket::close(&socket);
            task.abort();
        }
    }

    fn must_relisten(&self, new: &SpeakerSettings) -> bool {
        let keys = |settings: &SpeakerSettings| {
            let keys = settings
                .peers
                .iter()
                .map(|peer| (peer.address, peer.auth.clone()));
            keys.collect::<Vec<_>>()
        };
        socket::listen_addresses(&self.settings) != socket::listen_addresses(new)
            || keys(&self.settings) != keys(new)
            || self.settings.dry_run != new.dry_run
    }

    /// Ends the sessions that cannot go on under the new settings.
    fn part_with_changed(&mut self, new: &SpeakerSettings) -> Vec<Running> {
        let same_self = self.settings.local_as == new.local_as
            && self.settings.router_id == new.router_id
            && self.settings.hold_time == new.hold_time
            && self.settings.dry_run == new.dry_run;
        let stays = |running: &Running| {
            let of_name = new
                .peers
                .iter()
                .find(|peer| peer.name == running.settings.name);
            same_self && of_name.is_some_and(|peer| is_same_session(&running.settings, peer))
        };
        let gone: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, running)| !stays(running))
            .map(|(name, _)| name.clone())
            .collect();
        let mut parted = Vec::new();
        for name in gone {
            let Some(running) = self.peers.remove(&name) else {
                continue;
            };
            let exists = new.peers.iter().any(|peer| peer.name == name);
            let cease = if exists {
                Cease::ConfigurationChange
            } else {
                Cease::Deconfigured
            };
            let reason = "the configuration changed".to_owned();
            let _ = running.commands.try_send(Command::Cease(cease, reason));
            let mut inbound = self.inbound.lock().unwrap_or_else(PoisonError::into_inner);
            inbound.remove(&running.settings.address);
            parted.push(running);
        }
        parted
    }

    fn adjust(&mut self, local: &Arc<SpeakerSettings>, peer: &PeerSettings) {
        if let Some(running) = self.peers.get_mut(&peer.name) {
            running.settings = peer.clone();
            let command = Command::Adjust(Arc::clone(local), peer.clone());
            // As with BFD: a task that does not take 64 commands is beyond help.
            let _ = running.commands.try_send(command);
        }
    }
}

/// Whether a session made with `old` may go on under `new`.
fn is_same_session(old: &PeerSettings, new: &PeerSettings) -> bool {
    let PeerSettings {
        bfd, import_limit, ..
    } = new.clone();
    let old = PeerSettings {
        bfd,
        import_limit,
        ..old.clone()
    };
    old == *new
}

/// Opens the listening sockets.
fn open(settings: &SpeakerSettings) -> io::Result<Vec<TcpListener>> {
    if settings.dry_run {
        return Ok(Vec::new());
    }
    let mut sockets = Vec::new();
    for address in socket::listen_addresses(settings) {
        match socket::listen(address, settings) {
            Ok(socket) => sockets.push(socket),
            Err(error) if must_listen(settings, address) => {
                let text = format!("cannot listen for BGP peers on {address}: {error}");
                return Err(io::Error::new(error.kind(), text));
            }
            // All of its peers are dialled, and another BGP daemon may well live here.
            Err(error) => {
                tracing::info!(%address, %error, "not listening for BGP peers, only dialling")
            }
        }
    }
    Ok(sockets)
}

fn must_listen(settings: &SpeakerSettings, address: SocketAddr) -> bool {
    let of_family = |peer: &&PeerSettings| peer.address.is_ipv4() == address.is_ipv4();
    socket::usable(settings)
        .filter(of_family)
        .any(|peer| peer.passive)
}

/// Accepts connections and gives each to the task of its peer; those of strangers are closed.
async fn accept(socket: Arc<TcpListener>, inbound: Inbound) {
    loop {
        match socket.accept().await {
            Ok((stream, from)) => {
                let task = {
                    let inbound = inbound.lock().unwrap_or_else(PoisonError::into_inner);
                    inbound.get(&from.ip().to_canonical()).cloned()
                };
                if let Some(task) = task {
                    // A peer that opens connections faster than they are looked at loses some.
                    let _ = task.try_send(Command::Accepted(stream));
                }
            }
            // Out of file descriptors, most likely.
            Err(_) => tokio::time::sleep(PULSE_EVERY).await,
        }
    }
}

async fn feel(pulse: Pulse, served: watch::Sender<bool>) {
    let mut interval = tokio::time::interval(PULSE_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let now_served = pulse();
        served.send_if_modified(|before| std::mem::replace(before, now_served) != now_served);
    }
}

fn unknown(settings: &SpeakerSettings, peer: &PeerSettings) -> PeerStatus {
    let last_error = if settings.dry_run {
        Some("dry run: no session is opened".to_owned())
    } else {
        socket::refusal(peer)
    };
    PeerStatus {
        name: peer.name.clone(),
        address: peer.address,
        remote_as: peer.remote_as,
        state: SessionState::Idle,
        since: wall_clock(),
        last_error,
        agreed: None,
        routes: Vec::new(),
        refused: Vec::new(),
        lint: Vec::new(),
        counters: Counters::default(),
    }
}
