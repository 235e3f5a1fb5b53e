//! The thread that runs all sessions: sockets, clock, and the pulse.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{IpAddr, UdpSocket},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread::JoinHandle,
    time::Instant,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::watch;
use tracing::info;

use super::{
    link::{Link, Neighbor, Status},
    packet::Packet,
    session::{Change, Portable, Session},
    sockets,
};

/// Datagrams taken from one socket before the others have their turn.
const TURN: usize = 64;

/// Everything of the sessions that another process needs to go on without a pause.
#[derive(Debug)]
pub struct HandedOver {
    /// In words; belongs to `sockets` by position.
    pub sessions: Vec<(Neighbor, Portable)>,
    /// Local addresses of the sockets that receive: they stand behind those of the sessions.
    pub receivers: Vec<IpAddr>,
    /// First the sending socket of each session, then the receiving ones.
    pub sockets: Vec<OwnedFd>,
}

/// Is told every change.
type Report = Box<dyn Fn(&str, Change) + Send>;

/// True while DNS is served.
pub type Pulse = Arc<dyn Fn() -> bool + Send + Sync>;

/// Handle of the thread. Dropping it ends all sessions as [`Bfd::shutdown`] does.
#[derive(Debug)]
pub struct Bfd {
    commands: Sender<Command>,
    wake: UnixStream,
    status: watch::Receiver<Arc<Vec<Status>>>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Reload(Vec<Neighbor>),
    HandOver(Sender<HandedOver>),
    Stop,
}

impl Bfd {
    /// Starts the thread. `report` is called in it with the name of the peer at every change and
    /// must not wait.
    ///
    /// # Errors
    /// The thread or its wake-up socket cannot be had. Sockets of sessions are tried again for ever.
    pub fn start(
        neighbors: Vec<Neighbor>,
        inherited: Option<HandedOver>,
        pulse: Pulse,
        seed: u64,
        report: impl Fn(&str, Change) + Send + 'static,
    ) -> io::Result<Self> {
        let (commands, orders) = mpsc::channel();
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (publish, status) = watch::channel(Arc::default());
        let mut runner = Runner {
            links: Vec::new(),
            receivers: BTreeMap::new(),
            random: seed | 1,
            pulse,
            report: Box::new(report),
            publish,
        };
        let thread = std::thread::Builder::new()
            .name("bfd".into())
            .spawn(move || {
                runner.adopt(inherited);
                runner.reload(neighbors);
                runner.run(&orders, woken);
            })?;
        Ok(Self {
            commands,
            wake,
            status,
            thread: Some(thread),
        })
    }

    /// All sessions, as they stand.
    pub fn status(&self) -> watch::Receiver<Arc<Vec<Status>>> {
        self.status.clone()
    }

    /// Takes other neighbours. Sessions that stay are not disturbed.
    pub fn reload(&self, neighbors: Vec<Neighbor>) {
        self.send(Command::Reload(neighbors));
    }

    /// Stops here without a word to the neighbours, so that another process can go on.
    pub fn hand_over(mut self) -> Option<HandedOver> {
        let (reply, sessions) = mpsc::channel();
        self.send(Command::HandOver(reply));
        let sessions = sessions.recv().ok();
        self.join();
        sessions
    }

    /// Tells the neighbours AdminDown, which is no failure to them, and ends.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn send(&self, command: Command) {
        // An error in either means that the thread has ended: there is nobody left to tell.
        let _ = self.commands.send(command);
        let _ = (&self.wake).write(&[1]);
    }

    fn stop(&mut self) {
        self.send(Command::Stop);
        self.join();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Bfd {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop();
        }
    }
}

struct Runner {
    links: Vec<Link>,
    receivers: BTreeMap<IpAddr, UdpSocket>,
    random: u64,
    pulse: Pulse,
    report: Report,
    publish: watch::Sender<Arc<Vec<Status>>>,
}

impl Runner {
    fn run(&mut self, orders: &Receiver<Command>, mut woken: UnixStream) {
        loop {
            self.wait(&woken);
            let mut drained = [0; 64];
            while woken.read(&mut drained).is_ok_and(|count| count > 0) {}
            loop {
                match orders.try_recv() {
                    Ok(Command::Reload(neighbors)) => self.reload(neighbors),
                    Ok(Command::HandOver(reply)) => {
                        let _ = reply.send(self.take());
                        return;
                    }
                    Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => {
                        self.admin_down();
                        return;
                    }
                    Err(mpsc::TryRecvError::Empty) => break,
                }
            }
            // First what was heard: after a pause of this process (SIGSTOP, a busy host) the
            // packets of the neighbour wait in the socket, and it is not silent.
            self.receive();
            self.work();
            self.publish();
        }
    }

    /// Waits for a packet, a command, or the next deadline.
    fn wait(&self, woken: &UnixStream) {
        let now = now();
        let next = self.links.iter().filter_map(|link| match link.sender {
            Some(_) => link.session.deadline(),
            None => Some(link.retry_at),
        });
        let timeout = next.min().map_or(PollTimeout::NONE, |at| {
            // Rounded up, or the last millisecond would be spent without sleep.
            let millis = at.saturating_duration_since(now).as_micros().div_ceil(1000);
            PollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX))
        });
        let mut fds: Vec<PollFd<'_>> = std::iter::once(woken.as_fd())
            .chain(self.receivers.values().map(AsFd::as_fd))
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        // An interruption by a signal is one more turn.
        let _ = poll(&mut fds, timeout);
    }

    fn receive(&mut self) {
        let now = now();
        for socket in self.receivers.values() {
            for _ in 0..TURN {
                let datagram = match sockets::receive(socket) {
                    Ok(Some(datagram)) => datagram,
                    Ok(None) => continue,
                    Err(_) => break,
                };
                let Ok(packet) = Packet::decode(datagram.payload()) else {
                    continue;
                };
                let link = self
                    .links
                    .iter_mut()
                    .find(|link| link.takes(&packet, datagram.source));
                if let Some(link) = link
                    && let Some(change) = link.session.receive(&packet, now)
                {
                    tell(&self.report, &link.neighbor, change);
                }
            }
        }
    }

    fn work(&mut self) {
        let now = now();
        for number in 0..self.links.len() {
            let seed = self.random();
            let Some(link) = self.links.get_mut(number) else {
                return;
            };
            if link.sender.is_none() && link.retry_at <= now {
                link.open(&mut self.receivers, seed, now);
            }
            if let Some(change) = link.session.advance(now) {
                tell(&self.report, &link.neighbor, change);
            }
            // A poll is answered beside the schedule, so there may be two packets.
            while link.sender.is_some()
                && let Some(packet) = link.session.transmit(now)
            {
                // Deadman: see the module. The session itself goes on, only nothing is sent.
                if (self.pulse)() {
                    link.send(&packet, now);
                }
            }
        }
    }

    fn publish(&self) {
        let status: Vec<Status> = self.links.iter().map(Link::status).collect();
        self.publish.send_if_modified(|before| {
            let changed = **before != status;
            if changed {
                *before = Arc::new(status);
            }
            changed
        });
    }

    fn adopt(&mut self, inherited: Option<HandedOver>) {
        let Some(HandedOver {
            sessions,
            receivers,
            sockets,
        }) = inherited
        else {
            return;
        };
        let now = now();
        let mut sockets = sockets.into_iter().map(UdpSocket::from);
        for (neighbor, portable) in sessions {
            let Some(sender) = sockets.next() else { return };
            let session = Session::resume(&portable, self.random(), now);
            self.links.push(Link {
                local: sender.local_addr().ok().map(|address| address.ip()),
                sender: Some(sender),
                neighbor,
                session,
                retry_at: now,
                problem: None,
            });
        }
        self.receivers = receivers.into_iter().zip(sockets).collect();
    }

    fn reload(&mut self, neighbors: Vec<Neighbor>) {
        let now = now();
        let mut before = std::mem::take(&mut self.links);
        for neighbor in neighbors {
            let same = |link: &Link| {
                let (old, new) = (&link.neighbor, &neighbor);
                (&old.name, old.address, old.local) == (&new.name, new.address, new.local)
            };
            if let Some(place) = before.iter().position(same) {
                let mut link = before.swap_remove(place);
                link.session.set_timing(neighbor.timing, now);
                link.neighbor = neighbor;
                self.links.push(link);
                continue;
            }
            let discriminator = self.discriminator();
            let session = Session::new(neighbor.timing, discriminator, self.random(), now);
            self.links.push(Link {
                neighbor,
                session,
                sender: None,
                local: None,
                retry_at: now,
                problem: None,
            });
        }
        for mut link in before {
            link.admin_down(now);
        }
        let used: Vec<IpAddr> = self.links.iter().filter_map(|link| link.local).collect();
        self.receivers.retain(|local, _| used.contains(local));
    }

    /// Gives everything away.
    fn take(&mut self) -> HandedOver {
        let now = now();
        let mut sessions = Vec::new();
        let mut sockets: Vec<OwnedFd> = Vec::new();
        for link in std::mem::take(&mut self.links) {
            // A session without a socket has nothing to go on with.
            if let Some(sender) = link.sender {
                sessions.push((link.neighbor, link.session.portable(now)));
                sockets.push(sender.into());
            }
        }
        let (receivers, receiving): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.receivers).into_iter().unzip();
        sockets.extend(receiving.into_iter().map(OwnedFd::from));
        HandedOver {
            sessions,
            receivers,
            sockets,
        }
    }

    fn admin_down(&mut self) {
        let now = now();
        for link in &mut self.links {
            link.admin_down(now);
        }
    }

    /// RFC 5880 §6.8.1: bfd.LocalDiscr "MUST be unique across all BFD sessions on this system, and
    /// nonzero", and should be random.
    fn discriminator(&mut self) -> u32 {
        loop {
            let candidate = (self.random() >> 32) as u32;
            let taken = |link: &Link| link.session.discriminator() == candidate;
            if candidate != 0 && !self.links.iter().any(taken) {
                return candidate;
            }
        }
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

fn tell(report: &dyn Fn(&str, Change), neighbor: &Neighbor, change: Change) {
    let (from, to) = (change.from, change.to);
    info!(peer = neighbor.name, ?from, ?to, reason = %change.diagnostic, "BFD");
    report(&neighbor.name, change);
}

#[allow(clippy::disallowed_methods)] // the runner reads the clock
fn now() -> Instant {
    Instant::now()
}
