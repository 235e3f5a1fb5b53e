//! The packet boundary: what a backend that moves datagrams and a worker that answers them agree on.
//!
//! ```text
//! backend (recvmmsg/sendmmsg; AF_XDP later)          Responder (one a worker)
//!   a batch came          ── begin_batch(now) ─────→  loads the snapshot once
//!   it is a large one     ── ahead(queries) ───────→  fetches what they will need
//!   each datagram         ── answer(arrival, slot) ─→ Reply | Drop | Slow
//!   if Slow               ── answer_slow(…) ────────→ the same slot, the same way out
//!   the batch was handled ── end_batch(now) ────────→ counts what the batch took
//!   replies go out
//! ```
//!
//! What backends share is the function for one datagram, not a trait that looks like a socket: each
//! owns its loop and its buffers, and is generic over the responder, so nothing is dispatched at run
//! time. Limits and filters of queries stand behind [`Responder::answer`], or another backend would
//! miss them.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

/// How a datagram came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Where it came from.
    pub source: SocketAddr,
    /// The address of ours that was asked; `None` where the socket has only one.
    pub destination: Option<IpAddr>,
    /// A longer reply does not fit, octets.
    pub max_reply: u16,
}

/// Where a query stands, and where its reply goes: the same octets.
#[derive(Debug)]
pub struct Slot<'a> {
    /// The query in `buf[..len]`, and room for the reply.
    pub buf: &'a mut [u8],
    /// Length of the query.
    pub len: usize,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// The reply stands in the first octets of the slot, so many.
    Reply(usize),
    /// Nothing is to be sent.
    Drop,
    /// Not for the fast path; the slot still holds the query. [`Responder::answer_slow`] is next.
    Slow,
}

/// What answers the datagrams of one worker: no locks, nothing shared that is written.
pub trait Responder {
    /// A batch of datagrams came: all of them see one snapshot.
    fn begin_batch(&mut self, now: Instant);

    /// The batch holds these queries. Changes nothing but how fast they are answered.
    fn ahead<'q>(&mut self, queries: impl Iterator<Item = &'q [u8]>);

    /// Answers one datagram in place, without allocating.
    fn answer(&mut self, arrival: &Arrival, slot: Slot<'_>) -> Handled;

    /// Answers in place what [`Self::answer`] left; the length of the reply, if there is one.
    fn answer_slow(&mut self, arrival: &Arrival, slot: Slot<'_>) -> Option<usize>;

    /// The batch was handled; its replies go out next.
    fn end_batch(&mut self, now: Instant);
}
