//! The runner of one peer: feeds the sans-IO peer with what sockets, clocks and channels bring.

use std::{
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::TcpStream,
    sync::{broadcast, mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use super::{
    HandedOver, Inherited, PeerEvent, PeerEventKind, PeerStatus, SessionState,
    codec::{self, Cease, Message},
    conn::send_hold_time,
    peer::{Effect, Peer, Side},
    settings::{PeerSettings, SpeakerSettings},
    socket,
};
use crate::{BfdState, Desired};

/// Counters alone are published at most this often.
const PUBLISH_EVERY: Duration = Duration::from_millis(250);
/// For the last words of a connection that closes, and for the peer to read them.
const FAREWELL: Duration = Duration::from_millis(500);

/// What the speaker asks of a peer's task.
pub(super) enum Command {
    Bfd(BfdState),
    Adjust(Arc<SpeakerSettings>, PeerSettings),
    Accepted(TcpStream),
    /// Ends the task after the last words are said.
    Cease(Cease, String),
    /// Ends the task and leaves the connection open.
    HandOver(oneshot::Sender<Option<HandedOver>>),
}

/// Where a task reports.
#[derive(Clone)]
pub(super) struct Report {
    pub(super) status: watch::Sender<Arc<Vec<PeerStatus>>>,
    pub(super) events: broadcast::Sender<PeerEvent>,
}

/// What a task reads besides its commands.
pub(super) struct Feeds {
    pub(super) routes: watch::Receiver<Arc<Vec<Desired>>>,
    pub(super) served: watch::Receiver<bool>,
    pub(super) commands: mpsc::Receiver<Command>,
}

/// One peer's task.
pub(super) struct Task {
    settings: PeerSettings,
    send_hold: Duration,
    peer: Peer,
    feeds: Feeds,
    report: Report,
    dialled: Option<TcpStream>,
    accepted: Option<TcpStream>,
    dialling: Option<JoinHandle<Result<TcpStream, String>>>,
    farewells: JoinSet<()>,
    state: SessionState,
    since: SystemTime,
    published: Option<Instant>,
    ended: bool,
}

enum Wake {
    Command(Option<Command>),
    Routes,
    Served,
    Dialled(Result<TcpStream, String>),
    Io(Side),
    Timer,
}

impl Task {
    pub(super) fn new(
        local: Arc<SpeakerSettings>,
        settings: PeerSettings,
        feeds: Feeds,
        report: Report,
        inherited: Option<Inherited>,
    ) -> Self {
        let send_hold = send_hold_time(&local);
        let desired = Arc::clone(&feeds.routes.borrow());
        let seed = wall_clock()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos());
        let seed = u64::try_from(seed & u128::from(u64::MAX)).unwrap_or_default();
        let mut peer = Peer::new(now(), local, settings.clone(), desired, seed);
        let served = *feeds.served.borrow();
        peer.pulse(now(), served);
        let mut task = Self {
            settings,
            send_hold,
            peer,
            feeds,
            report,
            dialled: None,
            accepted: None,
            dialling: None,
            farewells: JoinSet::new(),
            state: SessionState::Idle,
            since: wall_clock(),
            published: None,
            ended: false,
        };
        if let Some(inherited) = inherited {
            task.inherit(inherited);
        }
        task
    }

    /// Runs until a command ends it.
    pub(super) async fn run(mut self) {
        while !self.ended {
            self.flush();
            self.perform();
            self.publish();
            let wake = self.wake().await;
            self.handle(wake);
        }
        self.flush();
        self.perform();
        self.publish();
        self.stop_dialling();
        while self.farewells.join_next().await.is_some() {}
    }

    async fn wake(&mut self) -> Wake {
        let deadline = self.peer.deadline().map(tokio::time::Instant::from_std);
        let wants = |side| !self.peer.unsent(side).is_empty();
        let wants = [wants(Side::Dialled), wants(Side::Accepted)];
        tokio::select! {
            // What has arrived is read before a timer may take silence for granted.
            biased;
            command = self.feeds.commands.recv() => Wake::Command(command),
            Ok(()) = self.feeds.served.changed() => Wake::Served,
            Ok(()) = self.feeds.routes.changed() => Wake::Routes,
            result = joined(&mut self.dialling) => Wake::Dialled(result),
            () = ready(self.dialled.as_ref(), wants[0]) => Wake::Io(Side::Dialled),
            () = ready(self.accepted.as_ref(), wants[1]) => Wake::Io(Side::Accepted),
            () = sleep_until(deadline) => Wake::Timer,
        }
    }

    fn handle(&mut self, wake: Wake) {
        match wake {
            Wake::Command(Some(command)) => self.command(command),
            // The speaker is gone: connections close without a word.
            Wake::Command(None) => self.ended = true,
            Wake::Routes => {
                let desired = Arc::clone(&self.feeds.routes.borrow_and_update());
                self.peer.routes(now(), desired);
            }
            Wake::Served => {
                let served = *self.feeds.served.borrow_and_update();
                self.peer.pulse(now(), served);
            }
            Wake::Dialled(Ok(stream)) => self.install(Side::Dialled, stream),
            Wake::Dialled(Err(reason)) => self.peer.dial_failed(now(), &reason),
            Wake::Io(side) => self.read(side),
            Wake::Timer => self.peer.tick(now()),
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Bfd(state) => self.peer.bfd(now(), state),
            Command::Adjust(local, settings) => {
                self.settings = settings.clone();
                self.peer.adjust(now(), local, settings);
            }
            Command::Accepted(stream) => self.accept(stream),
            Command::Cease(cease, reason) => {
                self.peer.cease(now(), &cease, &reason);
                self.ended = true;
            }
            Command::HandOver(reply) => {
                // A successor that no longer listens gets nothing; then the connection closes.
                let _ = reply.send(self.hand_over());
                self.ended = true;
            }
        }
    }

    fn accept(&mut self, stream: TcpStream) {
        let Some(local) = local_address(&stream) else {
            return;
        };
        if socket::adopt(&stream, &self.settings, self.send_hold).is_err() {
            return;
        }
        match self.peer.accepted(now(), local) {
            Ok(()) => {
                self.perform();
                self.keep(Side::Accepted, stream);
            }
            Err(last) => {
                self.farewells.spawn(farewell(stream, last));
            }
        }
    }

    fn install(&mut self, side: Side, stream: TcpStream) {
        match local_address(&stream) {
            Some(local) => {
                self.peer.dialled(now(), local);
                self.keep(side, stream);
            }
            None => self
                .peer
                .dial_failed(now(), "the connection closed at once"),
        }
    }

    fn keep(&mut self, side: Side, stream: TcpStream) {
        if self.peer.has(side) {
            *self.stream(side) = Some(stream);
        }
    }

    fn inherit(&mut self, inherited: Inherited) {
        let side = if inherited.session.accepted {
            Side::Accepted
        } else {
            Side::Dialled
        };
        let Ok(stream) = socket::inherit(inherited.fd) else {
            return;
        };
        let Some(local) = local_address(&stream) else {
            return;
        };
        match self.peer.inherit(now(), local, &inherited.session) {
            Ok(()) => self.keep(side, stream),
            Err(cease) => {
                let last = codec::octets(&Message::Notification(cease.message()));
                self.farewells.spawn(farewell(stream, last));
            }
        }
    }

    fn hand_over(&mut self) -> Option<HandedOver> {
        self.flush();
        let (side, session) = self.peer.save(now())?;
        let stream = self.stream(side).take()?.into_std().ok()?;
        Some(HandedOver {
            fd: OwnedFd::from(stream),
            session,
        })
    }

    fn stream(&mut self, side: Side) -> &mut Option<TcpStream> {
        match side {
            Side::Dialled => &mut self.dialled,
            Side::Accepted => &mut self.accepted,
        }
    }

    fn read(&mut self, side: Side) {
        let mut buffer = [0; 16 * 1024];
        let Some(stream) = self.stream(side) else {
            return;
        };
        match stream.try_read(&mut buffer) {
            Ok(0) => self
                .peer
                .closed(now(), side, "the peer closed the connection"),
            Ok(count) => {
                let octets = buffer.get(..count).unwrap_or_default();
                self.peer.received(now(), side, octets);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self
                .peer
                .closed(now(), side, &format!("connection lost: {error}")),
        }
    }

    /// Writes as much as the kernel takes.
    fn flush(&mut self) {
        for side in Side::BOTH {
            loop {
                let stream = match side {
                    Side::Dialled => self.dialled.as_ref(),
                    Side::Accepted => self.accepted.as_ref(),
                };
                let (Some(stream), octets) = (stream, self.peer.unsent(side)) else {
                    break;
                };
                if octets.is_empty() {
                    break;
                }
                match stream.try_write(octets) {
                    Ok(count) => self.peer.wrote(now(), side, count),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        self.peer
                            .closed(now(), side, &format!("connection lost: {error}"));
                        break;
                    }
                }
            }
        }
    }

    fn perform(&mut self) {
        for effect in self.peer.take_effects() {
            match effect {
                Effect::Dial => {
                    let dial = socket::dial(self.settings.clone(), self.send_hold);
                    self.dialling = Some(tokio::spawn(dial));
                }
                Effect::StopDialling => self.stop_dialling(),
                Effect::Close(side, last) => {
                    if let Some(stream) = self.stream(side).take() {
                        self.farewells.spawn(farewell(stream, last));
                    }
                }
            }
        }
        while self.farewells.try_join_next().is_some() {}
    }

    fn stop_dialling(&mut self) {
        if let Some(dialling) = self.dialling.take() {
            dialling.abort();
        }
    }

    fn publish(&mut self) {
        let events = self.peer.take_events();
        let state = self.peer.state();
        let changed = state != self.state || !events.is_empty();
        if state != self.state {
            self.state = state;
            self.since = wall_clock();
        }
        let is_old = self.published.is_none_or(|at| now() >= at + PUBLISH_EVERY);
        if changed || is_old || self.ended {
            self.published = Some(now());
            let status = self.peer.status(self.since);
            self.report
                .status
                .send_if_modified(|all| replaced(all, status));
        }
        for kind in events {
            self.log(&kind);
            // Nobody has to listen.
            let _ = self.report.events.send(PeerEvent {
                peer: self.settings.name.clone(),
                kind,
            });
        }
    }

    fn log(&self, kind: &PeerEventKind) {
        let (peer, address) = (&self.settings.name, self.settings.address);
        match kind {
            PeerEventKind::Up { lint } => {
                tracing::info!(%peer, %address, "BGP session up");
                for warning in lint {
                    tracing::warn!(%peer, %address, "{warning}");
                }
            }
            PeerEventKind::Down { reason } => {
                tracing::warn!(%peer, %address, %reason, "BGP session down")
            }
            PeerEventKind::Alarm { text } => tracing::warn!(%peer, %address, "BGP: {text}"),
            PeerEventKind::Sent {
                announced,
                withdrawn,
            } => {
                tracing::info!(%peer, %address, ?announced, ?withdrawn, "BGP routes sent");
            }
        }
    }
}

/// Puts a status in its place; says whether anything is new.
fn replaced(all: &mut Arc<Vec<PeerStatus>>, status: PeerStatus) -> bool {
    let position = all.iter().position(|one| one.name == status.name);
    match position.and_then(|at| Arc::make_mut(all).get_mut(at)) {
        Some(one) if *one == status => false,
        Some(one) => {
            *one = status;
            true
        }
        // Removed by a reload meanwhile.
        None => false,
    }
}

/// Writes the last words, says that no more will come, and waits a moment for the peer to read
/// them: closing with unread input would make the kernel reset the connection and drop them.
async fn farewell(mut stream: TcpStream, last: Bytes) {
    let words = async {
        stream.write_all(&last).await?;
        stream.shutdown().await?;
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).await? > 0 {}
        io::Result::Ok(())
    };
    // A peer that is gone cannot be told.
    let _ = timeout(FAREWELL, words).await;
}

async fn ready(stream: Option<&TcpStream>, wants_to_write: bool) {
    let Some(stream) = stream else {
        return std::future::pending().await;
    };
    let interest = if wants_to_write {
        Interest::READABLE | Interest::WRITABLE
    } else {
        Interest::READABLE
    };
    // An error of the socket shows when it is read.
    let _ = stream.ready(interest).await;
}

async fn joined(
    dialling: &mut Option<JoinHandle<Result<TcpStream, String>>>,
) -> Result<TcpStream, String> {
    let Some(handle) = dialling else {
        return std::future::pending().await;
    };
    let result = handle.await.unwrap_or_else(|error| Err(error.to_string()));
    *dialling = None;
    result
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn local_address(stream: &TcpStream) -> Option<IpAddr> {
    stream.local_addr().ok().map(|address| address.ip())
}

/// The runner's clock.
#[allow(clippy::disallowed_methods)] // A runner: everything under it takes time as an argument.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time of a change of state, for people.
#[allow(clippy::disallowed_methods)] // A runner.
pub(super) fn wall_clock() -> SystemTime {
    SystemTime::now()
}
