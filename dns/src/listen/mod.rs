//! Sockets: datagrams and frames in, answers out.
//!
//! ```text
//!             ┌ udp: one thread a worker, one socket a worker and address → responder ┐  fast,
//! Listeners ──┤        └ mmsg: batches, in place                                      ├→ else
//!             └ tcp: accept (one task an address) → connection (one task each) ───────┘  respond
//!                                                   └ stream: framing and deadlines, pure
//! hickory: RequestHandler over the same `respond`, for the encrypted transports
//! ```
//!
//! Everything that decides about a query stands behind [`Respond`]: the sockets know nothing of
//! zones, and a limit or filter that belongs to queries belongs there too, or a later backend would
//! miss it.
//!
//! What packet backends share is the function for one datagram ([`packet::Responder`]), not a trait
//! that looks like a socket: a backend of its own (AF_XDP) owns its loop and buffers.
//!
//! No function below a socket connects, resolves, opens a file or waits: a query makes its answer
//! and nothing else.

mod bind;
mod connections;
mod destinations;
pub mod hickory;
mod mmsg;
pub mod packet;
mod pulse;
mod responder;
mod round_trips;
mod sockets;
mod stream;
mod tcp;
mod udp;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use meridian_config::Server;
use tokio_util::sync::CancellationToken;

pub use bind::{ListenError, ListenProblem};
pub use destinations::Destinations;
pub use pulse::Pulse;
pub use round_trips::HearRoundTrips;
pub use sockets::{Bound, Handle, Kind};

use crate::{
    abuse::{Gate, Limits},
    answer::{self, Meta, Outcome, Summary, Transport},
    fast,
    metrics::{Labels, Metrics},
    query::DropReason,
    snapshot::Snapshot,
    types::UnixTime,
};

/// What stands behind every transport: one immutable value that answers queries.
///
/// [`Snapshot`] is the one of the server; tests bring others.
pub trait Respond: Send + Sync + 'static {
    /// Writes the answer to `query` into `out`, which is emptied first. Total and bounded.
    fn respond(&self, query: &[u8], meta: &Meta, out: &mut Vec<u8>) -> Outcome;

    /// Answers the query in `slot[..len]` in place, if that is quickly done; the octets are then
    /// those that [`Self::respond`] would have written. Does not allocate. After [`Fast::Slow`] the
    /// query still stands there.
    fn fast(&self, _meta: &Meta, _slot: &mut [u8], _len: usize) -> Fast {
        Fast::Slow
    }

    /// Rates of replies over UDP.
    fn limits(&self) -> &Limits {
        static OFF: Limits = Limits::OFF;
        &OFF
    }

    /// Says which queries will be answered next, for what gains by seeing several at once. It changes
    /// no answer.
    fn ahead<'q>(&self, _queries: impl Iterator<Item = &'q [u8]>) {}

    /// Names of the services and PoPs that the answers speak of.
    fn labels(&self) -> &Arc<Labels>;
}

/// What the fast path made of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fast {
    /// The reply stands in the first octets of the slot.
    Reply {
        /// So many.
        len: usize,
        /// What it says.
        summary: Summary,
    },
    /// Nothing is to be sent.
    Drop(DropReason),
    /// Not for the fast path.
    Slow,
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

    /// Takes over the sockets of a predecessor ([`Handle::sockets`]), and binds what they lack of
    /// `config`. Inherited sockets that the configuration does not name are closed.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn adopt(config: &Server, inherited: Vec<OwnedFd>) -> Result<Bound, ListenError> {
        bind::adopt(config, inherited)
    }
}

impl Bound {
    /// Answers until `shutdown` is cancelled, then answers what was received and closes; or until
    /// [`Handle::hand_over`]. Returns within a few seconds of either.
    pub async fn run<S: Respond>(
        self,
        state: Arc<ArcSwap<S>>,
        metrics: Arc<Metrics>,
        gate: Arc<Gate>,
        shutdown: CancellationToken,
    ) {
        let shared = udp::Shared {
            sockets: self.sockets.clone(),
            pulse: self.pulse,
            destinations: self.destinations.clone(),
            shutdown: shutdown.clone(),
            hand_over: self.hand_over.clone(),
        };
        let old = udp::drop_elsewhere();
        let tcp = tcp::serve(
            self.sockets,
            self.limits,
            tcp::State {
                current: state.clone(),
                old: old.clone(),
                block: metrics.block(),
            },
            tcp::Stop {
                shutdown,
                hand_over: self.hand_over,
            },
            self.round_trips,
        );
        let udp = udp::serve(shared, state, &metrics, &gate, old);
        tokio::join!(tcp, udp);
    }
}

impl Respond for Snapshot {
    fn respond(&self, query: &[u8], meta: &Meta, out: &mut Vec<u8>) -> Outcome {
        // Over UDP the worker has tried it in place.
        if meta.transport == Transport::Tcp
            && let Some(summary) = fast::answer_into(self, meta, query, out)
        {
            return Outcome::Reply(summary);
        }
        answer::respond(self, query, meta, out)
    }

    fn fast(&self, meta: &Meta, slot: &mut [u8], len: usize) -> Fast {
        fast::answer(self, meta, slot, len)
    }

    fn limits(&self) -> &Limits {
        &self.identity.limits
    }

    fn ahead<'q>(&self, queries: impl Iterator<Item = &'q [u8]>) {
        fast::ahead(self, queries);
    }

    fn labels(&self) -> &Arc<Labels> {
        self.steering.labels()
    }
}

/// Time after the cancellation in which what was received is still answered.
const DRAIN: Duration = Duration::from_secs(2);

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
