//! Sockets: datagrams and frames in, answers out.
//!
//! ```text
//!             ┌ udp: one thread a worker, one socket a worker and address ── answer_datagram ┐
//! Listeners ──┤                                                                              ├→ respond
//!             └ tcp: accept (one task an address) → connection (one task each) ──────────────┘
//!                                                   └ stream: framing and deadlines, pure
//! hickory: RequestHandler over the same `respond`, for the encrypted transports
//! ```
//!
//! Everything that decides about a query stands behind [`Respond`]: the sockets know nothing of
//! zones, and a limit or filter that belongs to queries belongs there too, or a later backend would
//! miss it.
//!
//! **Where the fast path goes.** What packet backends share is the per-datagram function
//! [`answer_datagram`], not a trait that looks like a socket. A backend of its own (threads over
//! `recvmmsg`, AF_XDP) owns its loop and buffers, begins a [`Batch`] for each round, and calls it for
//! every datagram.
//!
//! No function below a socket connects, resolves, opens a file or waits: a query makes its answer
//! and nothing else.

mod bind;
mod connections;
pub mod hickory;
mod outbox;
mod stream;
mod tcp;
mod udp;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use meridian_config::Server;
use tokio_util::sync::CancellationToken;

pub use bind::{Bound, ListenError, ListenProblem};

use crate::{
    answer::{self, Meta, Outcome, Transport},
    metrics::{Batch, Dropped, Labels, Metrics},
    snapshot::Snapshot,
    types::UnixTime,
};

/// What stands behind every transport: one immutable value that answers queries.
///
/// [`Snapshot`] is the one of the server; tests bring others.
pub trait Respond: Send + Sync + 'static {
    /// Writes the answer to `query` into `out`, which is emptied first. Total and bounded.
    fn respond(&self, query: &[u8], meta: &Meta, out: &mut Vec<u8>) -> Outcome;

    /// Names of the services and PoPs that the answers speak of.
    fn labels(&self) -> &Arc<Labels>;
}

/// Opens the sockets of a configuration.
#[derive(Debug)]
pub struct Listeners;

impl Listeners {
    /// Binds UDP and TCP on every listen address. Nothing is answered before [`Bound::run`], so
    /// that the process can drop its privileges in between.
    ///
    /// # Errors
    /// The first address that cannot be had, with the reason and a remedy.
    pub fn bind(config: &Server) -> Result<Bound, ListenError> {
        bind::bind(config)
    }
}

impl Bound {
    /// Answers until `shutdown` is cancelled, then answers what was received and closes. Returns
    /// within a few seconds of the cancellation.
    pub async fn run<S: Respond>(
        self,
        state: Arc<ArcSwap<S>>,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
    ) {
        let tcp = tcp::serve(
            self.tcp,
            self.limits,
            state.clone(),
            metrics.block(),
            shutdown.clone(),
        );
        let udp = udp::serve(self.udp, state, &metrics, shutdown);
        tokio::join!(tcp, udp);
    }
}

impl Respond for Snapshot {
    fn respond(&self, query: &[u8], meta: &Meta, out: &mut Vec<u8>) -> Outcome {
        answer::respond(self, query, meta, out)
    }

    fn labels(&self) -> &Arc<Labels> {
        self.steering.labels()
    }
}

/// Time after the cancellation in which what was received is still answered.
const DRAIN: Duration = Duration::from_secs(2);

/// Answers one datagram: the function that every packet backend shares.
///
/// Leaves the answer in `out`; `None` when there is none. The duration that is counted is what
/// `took` gives after the answer was made.
pub fn answer_datagram<S: Respond>(
    state: &S,
    counters: &Batch<'_>,
    source: SocketAddr,
    query: &[u8],
    out: &mut Vec<u8>,
    took: impl FnOnce() -> Duration,
) -> Option<()> {
    if !is_answerable(source) {
        counters.count_drop(Dropped::BadSource);
        return None;
    }
    let meta = Meta {
        source,
        transport: Transport::Udp,
        now: wall_clock(),
    };
    answer(state, counters, query, &meta, out, took)
}

/// Answers one query of any transport and counts it.
fn answer<S: Respond>(
    state: &S,
    counters: &Batch<'_>,
    query: &[u8],
    meta: &Meta,
    out: &mut Vec<u8>,
    took: impl FnOnce() -> Duration,
) -> Option<()> {
    out.clear();
    match state.respond(query, meta, out) {
        Outcome::Reply(summary) => {
            counters.record(meta.transport, &summary, took());
            Some(())
        }
        Outcome::Drop(reason) => {
            counters.count_drop(reason.into());
            None
        }
    }
}

/// The time that cookies are dated with.
#[allow(clippy::disallowed_methods)] // the runner reads the clock
fn wall_clock() -> UnixTime {
    SystemTime::now().into()
}

/// Whether an answer could arrive there, and at one host only.
fn is_answerable(source: SocketAddr) -> bool {
    // RFC 768: "Source Port is an optional field […] If not used, a value of zero is inserted."
    if source.port() == 0 {
        return false;
    }
    match source.ip() {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
    }
}
