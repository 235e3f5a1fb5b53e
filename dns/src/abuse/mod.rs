//! What keeps the server from being used against others, and from being starved by one of them:
//! server cookies.
//!
//! ```text
//! COOKIE option → cookie::Cookies::judge → Judged → OPT record of the reply
//! ```
//!
//! Everything here is judged by the address that a packet came from, never by ECS: ECS is what the
//! sender says of somebody else, and costs nothing to invent.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

pub mod cookie;

/// What kind of reply it is, as rate limits tell replies apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Data, or an alias.
    Answer,
    /// The name exists, the type does not.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// NS records of a zone cut.
    Referral,
    /// Any other response code.
    Error,
}
