//! UDP: one thread for each worker, with one socket for each listen address.
//!
//! ```text
//! receive a batch → begin_batch → each: answer (else answer_slow), in place → send → again
//!      └ nothing for 100 ms: begin_batch all the same, so that no old snapshot is held
//! ```
//!
//! The sockets of an address share its port (SO_REUSEPORT); the kernel keeps a client on one of
//! them. A flood of queries competes with the prober and the admin server for the processor through
//! the kernel's scheduler, not in one task queue.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    any::Any,
    io,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
        mpsc,
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{
    DRAIN, Destinations, Pulse, Respond,
    destinations::Counter,
    mmsg::{self, BATCH, Datagrams},
    packet::{Handled, Responder, Slot},
    responder::Worker,
    sockets::{Datagram, Sockets},
};
use crate::{
    abuse::Gate,
    metrics::{Dropped, Metrics},
};

/// A worker that has nothing to do goes round after this long.
pub(super) const IDLE: Duration = Duration::from_millis(100);
/// Before a socket that gave an error is read again.
const PAUSE: Duration = Duration::from_millis(100);
/// Batches of one socket before the others of the worker get their turn.
const TURN: usize = 4;
/// Datagrams in a batch from which on it pays to look ahead.
const MANY: usize = 4;
/// Between two looks at what the kernel has dropped.
const LOOK: Duration = Duration::from_secs(1);

/// What the workers share with the rest of the server.
pub(super) struct Shared {
    pub(super) sockets: Arc<Sockets>,
    pub(super) pulse: Pulse,
    pub(super) destinations: Destinations,
    pub(super) shutdown: CancellationToken,
    pub(super) hand_over: CancellationToken,
}

/// How the workers end; a number, so that to look at it takes no lock.
#[derive(Debug, Default)]
struct Stop(AtomicU8);

impl Stop {
    const GO_ON: u8 = 0;
    /// After answering what the kernel has received.
    const DRAIN: u8 = 1;
    /// At once: what the kernel has received is somebody else's.
    const LEAVE: u8 = 2;

    fn wanted(&self) -> u8 {
        self.0.load(Relaxed)
    }
}

/// Runs the workers until `shutdown` or `hand_over`.
pub(super) async fn serve<S: Respond>(
    shared: Shared,
    state: Arc<ArcSwap<S>>,
    metrics: &Metrics,
    gate: &Arc<Gate>,
    old: mpsc::Sender<Old>,
) {
    let stop = Arc::new(Stop::default());
    let cores = cores(shared.sockets.udp.len());
    let mut done = Vec::new();
    for number in 0..shared.sockets.udp.len() {
        let (ended, wait) = oneshot::channel::<()>();
        let worker = Worker::new(state.clone(), metrics, gate.seat(), old.clone());
        let core = cores.get(number).copied();
        let (sockets, pulse) = (shared.sockets.clone(), shared.pulse.clone());
        let (destinations, stop) = (shared.destinations.counter(), stop.clone());
        let thread = std::thread::Builder::new()
            .name(format!("udp-{number}"))
            .spawn(move || {
                pin(core);
                let Some(sockets) = sockets.udp.get(number) else {
                    return;
                };
                let pulse = move |now| pulse.beat(number, now);
                Loop::new(sockets, worker, destinations, pulse, stop).run();
                drop(ended);
            });
        match thread {
            Ok(_) => done.push(wait),
            Err(problem) => error!(worker = number, %problem, "UDP worker cannot start"),
        }
    }
    let wanted = tokio::select! {
        () = shared.hand_over.cancelled() => Stop::LEAVE,
        () = shared.shutdown.cancelled() => Stop::DRAIN,
    };
    stop.0.store(wanted, Relaxed);
    for wait in done {
        // The sender is dropped, never used: an error is the end that is waited for.
        let _ = wait.await;
    }
}

/// A snapshot, or what was needed for it, that is no longer used here.
pub(super) type Old = Arc<dyn Any + Send + Sync>;

/// Old snapshots go here, so that freeing a million zones never keeps anybody from answering.
pub(super) fn drop_elsewhere() -> mpsc::Sender<Old> {
    let (sender, receiver) = mpsc::channel::<Old>();
    let thread = std::thread::Builder::new()
        .name("snapshots".into())
        .spawn(move || receiver.into_iter().for_each(drop));
    if let Err(problem) = thread {
        // Without the thread the sender fails, and the worker frees them itself.
        warn!(%problem, "old snapshots are freed by those who answer");
    }
    sender
}

/// A core for each worker where there are at least as many workers as cores. Fewer workers are left
/// to the scheduler: it knows which cores have other work, we do not.
fn cores(workers: usize) -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).map_or_else(
        |_| Vec::new(),
        |set| {
            let all = 0..CpuSet::count();
            all.filter(|core| set.is_set(*core) == Ok(true)).collect()
        },
    );
    if allowed.is_empty() || workers < allowed.len() {
        return Vec::new();
    }
    allowed.into_iter().cycle().take(workers).collect()
}

fn pin(core: Option<usize>) {
    let Some(core) = core else { return };
    let mut set = CpuSet::new();
    let done = set
        .set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    if let Err(problem) = done {
        warn!(core, %problem, "UDP worker is not pinned");
    }
}

/// The rounds of one worker.
struct Loop<'a, R, P> {
    lanes: Vec<Lane<'a>>,
    datagrams: Datagrams,
    responder: R,
    counter: Counter,
    pulse: P,
    stop: Arc<Stop>,
    looked: Option<Instant>,
}

/// One socket of a worker.
struct Lane<'a> {
    socket: &'a Datagram,
    /// The one address of the socket; `None` where it has all of the host.
    only: Option<IpAddr>,
    /// What the kernel had dropped at the last look.
    drops: u64,
}

/// What a worker's responder counts besides answers.
pub(super) trait Count {
    /// Something got no answer, so often.
    fn dropped(&mut self, why: Dropped, count: u64);
}

impl<'a, R: Responder + Count, P: Fn(Instant)> Loop<'a, R, P> {
    fn new(
        sockets: &'a [Datagram],
        responder: R,
        counter: Counter,
        pulse: P,
        stop: Arc<Stop>,
    ) -> Self {
        let lane = |socket: &'a Datagram| Lane {
            socket,
            only: Some(socket.address.ip()).filter(|ip| !ip.is_unspecified()),
            drops: mmsg::kernel_drops(&socket.socket),
        };
        let lanes: Vec<_> = sockets.iter().map(lane).collect();
        Self {
            datagrams: Datagrams::new(lanes.iter().any(|lane| lane.only.is_none())),
            lanes,
            responder,
            counter,
            pulse,
            stop,
            looked: None,
        }
    }

    fn run(mut self) {
        while self.stop.wanted() == Stop::GO_ON {
            let done = match self.lanes.len() {
                1 => self.round(0, true).map(|_| ()),
                _ => self.all_rounds(),
            };
            if let Err(problem) = done {
                warn!(%problem, "UDP socket");
                std::thread::sleep(PAUSE);
            }
        }
        if self.stop.wanted() == Stop::DRAIN {
            self.drain();
        }
    }

    /// Waits for any socket, then reads those that have something.
    fn all_rounds(&mut self) -> io::Result<()> {
        let mut ready: Vec<_> = self
            .lanes
            .iter()
            .map(|lane| mmsg::readable(&lane.socket.socket))
            .collect();
        while self.stop.wanted() == Stop::GO_ON {
            mmsg::wait(&mut ready, IDLE)?;
            if ready.iter().all(|one| one.revents == 0) {
                self.rest();
            }
            for (at, one) in ready.iter().enumerate() {
                let mut turns = if one.revents == 0 { 0 } else { TURN };
                // A batch that is not full was the last one.
                while turns > 0 && self.round(at, false)? == BATCH {
                    turns -= 1;
                }
            }
        }
        Ok(())
    }

    /// Receives and answers one batch; gives how many datagrams came.
    fn round(&mut self, lane: usize, wait: bool) -> io::Result<usize> {
        let Some(socket) = self.lanes.get(lane).map(|lane| lane.socket) else {
            return Ok(0);
        };
        match self.datagrams.receive(&socket.socket, wait) {
            Ok(count) => {
                self.answer_batch(lane, count);
                Ok(count)
            }
            Err(problem) => match problem.kind() {
                io::ErrorKind::WouldBlock => {
                    self.rest();
                    Ok(0)
                }
                // An answer sent earlier met a closed port (ICMP); nothing is wrong with this socket.
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(problem),
            },
        }
    }

    /// Answers a batch in place, and sends.
    #[allow(clippy::disallowed_methods)] // the runner reads the clock: twice a batch
    fn answer_batch(&mut self, lane: usize, count: usize) {
        let Some(&Lane { socket, only, .. }) = self.lanes.get(lane) else {
            return;
        };
        let now = Instant::now();
        (self.pulse)(now);
        self.responder.begin_batch(now);
        if let Some(destination) = only {
            self.counter.count(destination, count as u64);
        }
        if count >= MANY {
            let (responder, datagrams) = (&mut self.responder, &self.datagrams);
            // It only looks; should it panic nevertheless, answering goes on without it.
            let _ = catch_unwind(AssertUnwindSafe(|| responder.ahead(datagrams.queries())));
        }
        let mut at = 0;
        while at < count {
            // Answering is total. Should it panic nevertheless, one datagram is lost, not a worker.
            let finished = catch_unwind(AssertUnwindSafe(|| {
                while at < count {
                    at += 1;
                    self.answer_one(at - 1);
                }
            }));
            if finished.is_err() {
                self.responder.dropped(Dropped::Panic, 1);
            }
        }
        let now = Instant::now();
        self.responder.end_batch(now);
        let refused = self.datagrams.send(&socket.socket);
        if refused > 0 {
            self.responder.dropped(Dropped::SendFailed, refused as u64);
        }
        self.look(now);
    }

    fn answer_one(&mut self, at: usize) {
        let Some((arrival, slot)) = self.datagrams.datagram(at) else {
            return;
        };
        if let Some(destination) = arrival.destination {
            self.counter.count(destination, 1);
        }
        let len = slot.len;
        let reply = match self.responder.answer(
            &arrival,
            Slot {
                buf: &mut *slot.buf,
                len,
            },
        ) {
            Handled::Reply(length) => Some(length),
            Handled::Drop => None,
            Handled::Slow => self.responder.answer_slow(&arrival, slot),
        };
        if let Some(length) = reply {
            self.datagrams.reply(at, length);
        }
    }

    /// Nothing came for a while.
    #[allow(clippy::disallowed_methods)] // the runner reads the clock
    fn rest(&mut self) {
        let now = Instant::now();
        (self.pulse)(now);
        self.responder.begin_batch(now);
        self.look(now);
    }

    /// Counts what the kernel has dropped, now and then.
    fn look(&mut self, now: Instant) {
        if self.looked.is_some_and(|last| now < last + LOOK) {
            return;
        }
        self.looked = Some(now);
        for lane in &mut self.lanes {
            let drops = mmsg::kernel_drops(&lane.socket.socket);
            // The kernel counts in 32 bits.
            let more = (drops as u32).wrapping_sub(lane.drops as u32);
            lane.drops = drops;
            self.responder.dropped(Dropped::KernelBuffer, more.into());
        }
    }

    /// Answers what the kernel has already received, for a bounded time.
    #[allow(clippy::disallowed_methods)] // the runner reads the clock
    fn drain(&mut self) {
        let until = Instant::now() + DRAIN;
        for lane in 0..self.lanes.len() {
            while Instant::now() < until {
                if !matches!(self.round(lane, false), Ok(1..)) {
                    break;
                }
            }
        }
    }
}
