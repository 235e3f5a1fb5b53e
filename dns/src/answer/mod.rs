//! The one function behind every transport: octets in, octets out.
//!
//! ```text
//! query::parse → refuse, or
//!     zone::ZoneSet::find → plan (chain of lookups, steer::decide) → sections → OPT → header
//! ```
//!
//! [`respond`] is total and bounded, does no input or output (row 24 of the failure classes),
//! never panics, and never answers with more than 1232 octets over UDP.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod chaos;
mod check;
mod compress;
mod explain;
mod follow;
pub(crate) mod opt;
mod plan;
mod reply;
mod sections;
pub(crate) mod template;
mod tsig;
mod writer;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use meridian_config::{Family, PopId};

use crate::{
    abuse::{Kind, cookie},
    client::Client,
    query::{self, DropReason, Parsed},
    snapshot::Snapshot,
    steer::{self, Decision, Explanation, Level, Reason},
    types::{ServiceId, UnixTime},
};
pub use check::run_tests;
pub(crate) use explain::LABEL;
pub use explain::Listed;
pub use follow::{End, Followed, NotSteered, follow};
use plan::Steer;
pub(crate) use writer::fits;
#[cfg(test)]
pub(crate) use writer::names_in;

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A frame of a stream (RFC 7766).
    Tcp,
}

impl Transport {
    /// The value of the metric label `transport`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// What is known of a query beside its octets.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Where it came from.
    pub source: SocketAddr,
    /// How it came.
    pub transport: Transport,
    /// When it came, by the wall clock: what cookies are dated with.
    pub now: UnixTime,
}

/// What became of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A reply stands in the buffer.
    Reply(Summary),
    /// Nothing is to be sent; the buffer is empty.
    Drop(DropReason),
}

/// What metrics want to know of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The whole response code, extended ones included.
    pub rcode: u16,
    /// QTYPE; 0 where no question could be read.
    pub qtype: u16,
    /// The query had a client subnet option.
    pub ecs: bool,
    /// The steering decision, when one was taken.
    pub steered: Option<Steered>,
    /// TC is set.
    pub truncated: bool,
    /// What kind of reply it is.
    pub kind: Kind,
    /// XXH3 of the name that rate limits put the reply down to, lower-cased wire form
    /// ([`crate::zone::Found::imputed`]); 0 where no zone was asked.
    pub imputed: u64,
    /// What the query's cookie is worth.
    pub cookie: cookie::State,
}

/// A steering decision, as metrics count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steered {
    /// The service.
    pub service: ServiceId,
    /// PoP of the first address; `None` for the pool's fallback and for NODATA.
    pub pop: Option<PopId>,
    /// Why this PoP.
    pub reason: Reason,
    /// What the choice rests on.
    pub level: Level,
    /// Whom it was taken for: what demand is counted by.
    pub client: IpAddr,
}

/// Answers one query. `out` is cleared first; after [`Outcome::Reply`] it holds the reply, without
/// the length that TCP puts in front.
pub fn respond(snapshot: &Snapshot, message: &[u8], meta: &Meta, out: &mut Vec<u8>) -> Outcome {
    respond_with(snapshot, snapshot, message, meta, out)
}

/// [`respond`] with the steering as an argument, for tests.
fn respond_with(
    snapshot: &impl reply::Data,
    steer: &impl Steer,
    message: &[u8],
    meta: &Meta,
    out: &mut Vec<u8>,
) -> Outcome {
    match query::parse(message) {
        Parsed::Drop(reason) => {
            out.clear();
            Outcome::Drop(reason)
        }
        Parsed::Refuse(refusal) => Outcome::Reply(reply::refuse(snapshot, &refusal, meta, out)),
        Parsed::CookieOnly(only) => Outcome::Reply(reply::cookie_only(snapshot, &only, meta, out)),
        Parsed::Query(query) => Outcome::Reply(reply::answer(snapshot, steer, &query, meta, out)),
    }
}

impl Steer for Snapshot {
    fn decide(&self, service: ServiceId, client: &Client, family: Family) -> Decision {
        steer::decide(&self.steering, &self.view, service, client, family)
    }

    fn explain(&self, service: ServiceId, client: &Client, family: Family) -> Option<Explanation> {
        // Without what the files of the geo data say: nothing here reads any.
        steer::explain_briefly(&self.steering, &self.view, service, client, family)
    }

    fn candidates(&self, service: ServiceId) -> usize {
        self.steering.candidates(service)
    }
}
