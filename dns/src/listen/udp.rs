//! UDP: one thread for each worker, with one socket for each listen address.
//!
//! The sockets of an address share its port (SO_REUSEPORT); the kernel keeps a client on one of
//! them. A worker is a thread of its own with a runtime of its own: a flood of queries competes with
//! the prober and the admin server for the processor through the kernel's scheduler, not in one
//! task queue.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    io::{self, IoSliceMut},
    net::IpAddr,
    os::fd::AsRawFd,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use tokio::{
    io::Interest,
    net::UdpSocket,
    sync::oneshot,
    task::{JoinSet, LocalSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{DRAIN, Respond, answer_datagram, outbox::Outbox};
use crate::metrics::{Batch, Block, Dropped, Metrics};

/// Room for one receive. The kernel may hand over several datagrams of one client as one (GRO),
/// which together are at most this long.
const RECEIVE: usize = 65_535;
/// Before a socket that gave an error is read again.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs the workers until `shutdown`.
pub(super) async fn serve<S: Respond>(
    workers: Vec<Vec<Prepared>>,
    state: Arc<ArcSwap<S>>,
    metrics: &Metrics,
    shutdown: CancellationToken,
) {
    let mut done = Vec::new();
    for (number, sockets) in workers.into_iter().enumerate() {
        let (ended, wait) = oneshot::channel::<()>();
        let (state, block, shutdown) = (state.clone(), metrics.block(), shutdown.clone());
        let thread = std::thread::Builder::new()
            .name(format!("udp-{number}"))
            .spawn(move || {
                if let Err(problem) = worker(sockets, state, block, shutdown) {
                    error!(worker = number, %problem, "UDP worker cannot run");
                }
                drop(ended);
            });
        match thread {
            Ok(_) => done.push(wait),
            Err(problem) => error!(worker = number, %problem, "UDP worker cannot start"),
        }
    }
    for wait in done {
        // The sender is dropped, never used: an error is the end that is waited for.
        let _ = wait.await;
    }
}

/// One worker: its sockets on a runtime of its own.
fn worker<S: Respond>(
    sockets: Vec<Prepared>,
    state: Arc<ArcSwap<S>>,
    block: Arc<Block>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    // The buffers of system calls hold pointers of their own and never leave this thread.
    LocalSet::new().block_on(&runtime, async move {
        let mut loops = JoinSet::new();
        for socket in sockets {
            let socket = Socket::new(socket)?;
            let (state, block, shutdown) = (state.clone(), block.clone(), shutdown.clone());
            loops.spawn_local(async move { socket.serve(&state, &block, &shutdown).await });
        }
        while loops.join_next().await.is_some() {}
        Ok(())
    })
}

/// A bound socket that is prepared to tell the destination address of each datagram.
#[derive(Debug)]
pub(super) struct Prepared {
    socket: std::net::UdpSocket,
    kernel: UdpSocketState,
}

impl Prepared {
    /// Sets the options that receiving and sending rely on.
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let kernel = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self { socket, kernel })
    }
}

/// One socket with what belongs to it.
struct Socket {
    io: UdpSocket,
    kernel: UdpSocketState,
    /// Bound to every address of the host: the answer must leave from the one that was asked.
    wildcard: bool,
}

/// Buffers of one socket, used again for every batch.
struct Buffers {
    receive: Vec<u8>,
    outbox: Outbox,
    metas: [RecvMeta; BATCH_SIZE],
}

impl Socket {
    fn new(prepared: Prepared) -> io::Result<Self> {
        let Prepared { socket, kernel } = prepared;
        let wildcard = socket.local_addr()?.ip().is_unspecified();
        let io = UdpSocket::from_std(socket)?;
        Ok(Self {
            io,
            kernel,
            wildcard,
        })
    }

    async fn serve<S: Respond>(
        &self,
        state: &ArcSwap<S>,
        block: &Block,
        shutdown: &CancellationToken,
    ) {
        let mut buffers = Buffers::new();
        // Made once: to wait on the token anew takes a lock that all workers share.
        let mut stop = pin!(shutdown.cancelled());
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                ready = self.io.readable() => if let Err(problem) = ready {
                    warn!(%problem, "UDP socket");
                    return;
                }
            }
            let received = self.io.try_io(Interest::READABLE, || buffers.receive(self));
            if let Err(problem) = self.round(received, &mut buffers, state, block) {
                warn!(%problem, "UDP socket");
                tokio::time::sleep(PAUSE).await;
            }
            // Other sockets of this worker get their turn even under a flood on this one.
            tokio::task::yield_now().await;
        }
        self.drain(&mut buffers, state, block);
    }

    /// Answers what the kernel has already received, for a bounded time. Asks the kernel itself:
    /// tokio would only say what it has been told so far.
    #[allow(clippy::disallowed_methods)] // the runner reads the clock
    fn drain<S: Respond>(&self, buffers: &mut Buffers, state: &ArcSwap<S>, block: &Block) {
        let until = Instant::now() + DRAIN;
        while Instant::now() < until {
            let received = buffers.receive(self);
            if !matches!(self.round(received, buffers, state, block), Ok(true)) {
                return;
            }
        }
    }

    /// Answers a batch that was received; `false` when there was none.
    fn round<S: Respond>(
        &self,
        received: io::Result<usize>,
        buffers: &mut Buffers,
        state: &ArcSwap<S>,
        block: &Block,
    ) -> io::Result<bool> {
        match received {
            Ok(count) => {
                self.answer_batch(buffers, count, state, block);
                Ok(true)
            }
            Err(problem) => match problem.kind() {
                io::ErrorKind::WouldBlock => Ok(false),
                // An answer sent earlier met a closed port (ICMP); nothing is wrong with this socket.
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::Interrupted => Ok(true),
                _ => Err(problem),
            },
        }
    }

    /// Answers a batch in place. One snapshot serves it, loaded once.
    #[allow(clippy::disallowed_methods)] // the runner reads the clock
    fn answer_batch<S: Respond>(
        &self,
        buffers: &mut Buffers,
        count: usize,
        state: &ArcSwap<S>,
        block: &Block,
    ) {
        let Buffers {
            receive,
            outbox,
            metas,
        } = buffers;
        let snapshot = state.load();
        let counters = block.batch(snapshot.labels());
        let mut datagrams = receive
            .chunks(RECEIVE)
            .zip(metas.iter())
            .take(count)
            .flat_map(|(octets, meta)| {
                let octets = octets.get(..meta.len).unwrap_or_default();
                octets
                    .chunks(meta.stride.max(1))
                    .map(move |one| (one, meta))
            });
        loop {
            // `respond` is total. Should it panic nevertheless, one datagram is lost, not a worker:
            // the iterator stands behind that datagram when the loop comes back.
            let finished = catch_unwind(AssertUnwindSafe(|| {
                for (query, meta) in datagrams.by_ref() {
                    let source = self.source(meta);
                    if outbox.must_go(source) {
                        self.send(outbox, &counters);
                    }
                    let Some(reply) = outbox.next() else {
                        continue;
                    };
                    let started = Instant::now();
                    let took = || started.elapsed();
                    let answered =
                        answer_datagram(&**snapshot, &counters, meta.addr, query, reply, took);
                    if answered.is_some() {
                        outbox.add(meta.addr, source);
                    }
                }
            }));
            match finished {
                Ok(()) => break,
                Err(_) => counters.count_drop(Dropped::Panic),
            }
        }
        self.send(outbox, &counters);
    }

    fn send(&self, outbox: &mut Outbox, counters: &Batch<'_>) {
        for _ in 0..outbox.send(self.io.as_raw_fd()) {
            counters.count_drop(Dropped::SendFailed);
        }
    }

    /// RFC 2181 §4.1: "servers when responding to queries using UDP must cause the reply to be sent
    /// with the source address field in the IP header set to the address that was in the
    /// destination address field of the IP header of the packet containing the query".
    fn source(&self, meta: &RecvMeta) -> Option<IpAddr> {
        meta.dst_ip.filter(|ip| self.wildcard && !ip.is_multicast())
    }
}

impl Buffers {
    fn new() -> Self {
        Self {
            receive: vec![0; RECEIVE * BATCH_SIZE],
            outbox: Outbox::new(),
            metas: [RecvMeta::default(); BATCH_SIZE],
        }
    }

    fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        let mut chunks = self.receive.chunks_mut(RECEIVE);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        socket
            .kernel
            .recv(UdpSockRef::from(&socket.io), &mut slices, &mut self.metas)
    }
}
