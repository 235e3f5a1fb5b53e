//! TCP (RFC 7766): an accept loop for each address, a task for each connection.
//!
//! [`stream`](super::stream) decides about framing, bounds and deadlines,
//! [`connections`](super::connections) about how many there may be; here are the sockets and the
//! clock.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    io::{self, Read},
    net::{Shutdown, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};
use meridian_config::TcpLimits;
use socket2::SockRef;
use tokio::{
    io::Interest,
    net::{TcpListener, TcpStream},
    task::{JoinSet, coop},
    time::sleep_until,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, warn};

use super::{
    DRAIN, Fast, Respond,
    connections::{Connections, Place},
    round_trips::RoundTrips,
    sockets::Sockets,
    stream::{Expiry, Limits, Stream},
    udp::Old,
};
use crate::{
    answer::{Meta, Outcome, Transport},
    metrics::{Block, Dropped},
};

/// After an error of accept that concerns the whole process (no file descriptors, no memory).
const PAUSE: Duration = Duration::from_millis(100);
/// For the client to see the end of a connection that we end.
const FAREWELL: Duration = Duration::from_millis(200);
/// An answer longer than this is made the slow way, octets.
const SLOT: usize = 2048;
/// A buffer larger than this is given back, octets.
const KEEP: usize = 4096;
/// Beyond the drain, for the last tasks to end.
const GRACE: Duration = Duration::from_millis(500);

/// What every connection needs.
struct Context<S> {
    state: State<S>,
    limits: Limits,
    connections: Arc<Connections>,
    stop: Stop,
    round_trips: RoundTrips,
    /// Nothing is accepted any more.
    ending: CancellationToken,
    tasks: TaskTracker,
}

/// What is answered from, and counted in.
pub(super) struct State<S> {
    /// The snapshot in force.
    pub(super) current: Arc<ArcSwap<S>>,
    /// Where a snapshot goes that nobody else holds any more.
    pub(super) old: mpsc::Sender<Old>,
    pub(super) block: Arc<Block>,
}

/// How listening ends; either way the open connections are finished.
pub(super) struct Stop {
    /// After accepting what waits to be accepted.
    pub(super) shutdown: CancellationToken,
    /// At once: a successor accepts what waits.
    pub(super) hand_over: CancellationToken,
}

/// Accepts and answers until `stop`, then finishes the open connections.
pub(super) async fn serve<S: Respond>(
    sockets: Arc<Sockets>,
    limits: TcpLimits,
    state: State<S>,
    stop: Stop,
    round_trips: RoundTrips,
) {
    let context = Arc::new(Context {
        state,
        limits: Limits {
            timeout: limits.idle_timeout,
            in_flight: limits.in_flight,
        },
        connections: Connections::new(limits.connections, limits.per_client, now()),
        ending: CancellationToken::new(),
        stop,
        round_trips,
        tasks: TaskTracker::new(),
    });
    let mut loops = JoinSet::new();
    for listener in &sockets.tcp {
        match listener.try_clone().and_then(TcpListener::from_std) {
            Ok(listener) => {
                loops.spawn(accept(listener, context.clone()));
            }
            Err(problem) => error!(%problem, "TCP listener cannot run"),
        }
    }
    while loops.join_next().await.is_some() {}
    context.ending.cancel();
    context.tasks.close();
    if tokio::time::timeout(DRAIN + GRACE, context.tasks.wait())
        .await
        .is_err()
    {
        warn!(open = context.tasks.len(), "TCP connections cut off");
    }
}

async fn accept<S: Respond>(listener: TcpListener, context: Arc<Context<S>>) {
    let mut shutdown = pin!(context.stop.shutdown.cancelled());
    let mut hand_over = pin!(context.stop.hand_over.cancelled());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut hand_over => return,
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => admit(socket, peer, &context).await,
            // The client was gone before it was accepted.
            Err(problem) if is_of_the_client(&problem) => {}
            Err(problem) => {
                warn!(%problem, "TCP accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // Clients whose connection the kernel has completed may have asked already.
    while let Ok(Ok((socket, peer))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await
    {
        admit(socket, peer, &context).await;
    }
}

fn is_of_the_client(problem: &io::Error) -> bool {
    matches!(
        problem.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

async fn admit<S: Respond>(socket: TcpStream, peer: SocketAddr, context: &Arc<Context<S>>) {
    let crowded = || context.state.block.count_drop(Dropped::ConnectionLimit);
    let Some(place) = context.connections.place(peer.ip(), now(), crowded).await else {
        return;
    };
    let context = context.clone();
    let tracker = context.tasks.clone();
    tracker.spawn(async move {
        // An answer is written whole; waiting for more to fill a segment only delays it.
        let _ = socket.set_nodelay(true);
        // An error of the socket is the client's end of the conversation.
        let mut asked = false;
        let _ = converse(&socket, peer, &place, &context, &mut asked).await;
        if asked {
            context.round_trips.ends(&socket, peer.ip());
        }
    });
}

/// One connection, from its first octet to its end.
async fn converse<S: Respond>(
    socket: &TcpStream,
    peer: SocketAddr,
    place: &Place,
    context: &Context<S>,
    asked: &mut bool,
) -> io::Result<()> {
    let mut stream = Stream::new(context.limits, now());
    let mut scratch = Scratch::default();
    let mut finishing = false;
    // Made once: to wait on a token or a timer anew takes a lock that all connections share.
    let mut evicted = pin!(place.evicted().cancelled());
    let mut stop = pin!(context.ending.cancelled());
    let mut timer = pin!(sleep_until(stream.deadline().0.into()));
    loop {
        let taken = answer_ready(&mut stream, peer, &mut scratch, context);
        *asked |= taken > 0;
        write(socket, &mut stream)?;
        place.note(taken > 0, !stream.unsent().is_empty(), now());
        if stream.is_done() {
            if stream.is_broken() {
                context.state.block.count_drop(Dropped::BadFrame);
            }
            if !stream.has_peer_ended() {
                farewell(socket).await;
            }
            return Ok(());
        }
        // Room came with what was written, for queries that wait in the input: no event of the socket
        // would tell of them.
        if stream.has_ready() {
            coop::consume_budget().await;
            continue;
        }
        let (deadline, expiry) = stream.deadline();
        // A deadline usually moves away; the timer follows when it fires.
        if timer.deadline() > deadline.into() {
            timer.as_mut().reset(deadline.into());
        }
        tokio::select! {
            biased;
            () = &mut evicted => return Ok(()),
            () = &mut stop, if !finishing => {
                finishing = true;
                read_all(socket, &mut stream)?;
                stream.finish(now() + DRAIN);
            }
            ready = socket.ready(interest(&stream)) => {
                ready?;
                if stream.wants_read() {
                    read(socket, &mut stream)?;
                }
            }
            () = &mut timer => {
                if now() >= deadline {
                    expire(expiry, &context.state.block);
                    return Ok(());
                }
                timer.as_mut().reset(deadline.into());
            }
        }
        // A client that never lets us wait must not keep others waiting.
        coop::consume_budget().await;
    }
}

/// Room for one answer.
struct Scratch {
    /// Query and answer of the fast path, which wants them in one place.
    slot: [u8; SLOT],
    /// Answer of the slow path.
    reply: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            slot: [0; SLOT],
            reply: Vec::new(),
        }
    }
}

/// Answers what has come whole, all of it from one snapshot.
fn answer_ready<S: Respond>(
    stream: &mut Stream,
    peer: SocketAddr,
    scratch: &mut Scratch,
    context: &Context<S>,
) -> usize {
    let snapshot = context.state.current.load();
    let counters = context.state.block.batch(snapshot.labels());
    let meta = Meta {
        source: peer,
        transport: Transport::Tcp,
        now: super::wall_clock(),
    };
    let (started, mut answers) = (now(), 0);
    let taken = stream.answer_ready(started, |query, out| {
        // `respond` is total. Should it panic nevertheless, this connection ends.
        let answered = catch_unwind(AssertUnwindSafe(|| {
            scratch.answer(&**snapshot, &meta, query, out)
        }));
        match answered {
            Ok(Outcome::Reply(summary)) => {
                counters.record(Transport::Tcp, &summary);
                answers += 1;
                true
            }
            Ok(Outcome::Drop(reason)) => {
                counters.count_drop(reason.into());
                false
            }
            Err(_) => {
                counters.count_drop(Dropped::Panic);
                false
            }
        }
    });
    if answers > 0 {
        counters.took(now().saturating_duration_since(started), answers);
    }
    drop(counters);
    // Whoever lets go of an old snapshot last frees it: not here, where others wait.
    let snapshot = Guard::into_inner(snapshot);
    if Arc::strong_count(&snapshot) == 1 {
        // Fails only when that thread could not be started.
        let _ = context.state.old.send(snapshot);
    }
    taken
}

impl Scratch {
    /// Appends the answer to `out`.
    fn answer(
        &mut self,
        state: &impl Respond,
        meta: &Meta,
        query: &[u8],
        out: &mut Vec<u8>,
    ) -> Outcome {
        if let Some(place) = self.slot.get_mut(..query.len()) {
            place.copy_from_slice(query);
            match state.fast(meta, &mut self.slot, query.len()) {
                Fast::Reply { len, summary } => {
                    out.extend_from_slice(self.slot.get(..len).unwrap_or_default());
                    return Outcome::Reply(summary);
                }
                Fast::Drop(reason) => return Outcome::Drop(reason),
                Fast::Slow => {}
            }
        }
        self.reply.clear();
        let outcome = state.respond(query, meta, &mut self.reply);
        out.extend_from_slice(&self.reply);
        if self.reply.capacity() > KEEP {
            self.reply = Vec::new();
        }
        outcome
    }
}

fn write(socket: &TcpStream, stream: &mut Stream) -> io::Result<()> {
    while !stream.unsent().is_empty() {
        match socket.try_write(stream.unsent()) {
            Ok(octets) => stream.wrote(octets, now()),
            Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => break,
            Err(problem) => return Err(problem),
        }
    }
    Ok(())
}

/// Reads once.
fn read(socket: &TcpStream, stream: &mut Stream) -> io::Result<()> {
    match socket.try_read_buf(stream.input()) {
        Ok(0) => stream.end(),
        Ok(_) => {}
        Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => {}
        Err(problem) => return Err(problem),
    }
    Ok(())
}

/// Reads what the kernel has received, as far as the bounds allow. Asks the kernel itself: tokio
/// would only say what it has been told so far.
fn read_all(socket: &TcpStream, stream: &mut Stream) -> io::Result<()> {
    let socket = SockRef::from(socket);
    let mut buffer = [0; 4096];
    while stream.wants_read() {
        match (&*socket).read(&mut buffer) {
            Ok(0) => break,
            Ok(octets) => stream
                .input()
                .extend_from_slice(buffer.get(..octets).unwrap_or_default()),
            Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => break,
            Err(problem) => return Err(problem),
        }
    }
    Ok(())
}

/// Says that nothing more will come, and takes what the client still sends for a moment: to close
/// with octets unread resets the connection, and the last answers would be lost on their way.
async fn farewell(socket: &TcpStream) {
    let discard = async {
        let mut buffer = [0; 4096];
        loop {
            socket.readable().await?;
            match socket.try_read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => coop::consume_budget().await,
                Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => {}
                Err(problem) => return Err(problem),
            }
        }
    };
    if SockRef::from(socket).shutdown(Shutdown::Write).is_ok() {
        // Whether it ends by the client or by time, the connection is closed next.
        let _ = tokio::time::timeout(FAREWELL, discard).await;
    }
}

fn interest(stream: &Stream) -> Interest {
    match (stream.wants_read(), stream.unsent().is_empty()) {
        (true, true) => Interest::READABLE,
        (true, false) => Interest::READABLE | Interest::WRITABLE,
        (false, _) => Interest::WRITABLE,
    }
}

fn expire(expiry: Expiry, block: &Block) {
    match expiry {
        Expiry::Idle | Expiry::Finish => {}
        Expiry::HalfFrame => block.count_drop(Dropped::BadFrame),
        Expiry::SlowReader => block.count_drop(Dropped::SlowReader),
    }
}

#[allow(clippy::disallowed_methods)] // the runner reads the clock
fn now() -> Instant {
    Instant::now()
}
