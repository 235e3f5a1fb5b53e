//! What keeps the server from being used against others, and from being starved by one of them:
//! server cookies and response rate limiting.
//!
//! ```text
//! COOKIE option → cookie::Cookies::judge → State → OPT record of the reply
//!                                            ↓
//! reply over UDP → Summary (kind, imputed name, cookie) → gate::Seat::judge → send
//!                                                                           → slip::cut
//!                                                                           → drop
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
mod gate;
mod limits;
pub mod slip;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;

pub use gate::{Gate, Seat, Verdict};
pub use limits::Limits;

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

impl Kind {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; 5] = [
        Self::Answer,
        Self::NoData,
        Self::NxDomain,
        Self::Referral,
        Self::Error,
    ];

    /// The value of the metric label `kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::NoData => "nodata",
            Self::NxDomain => "nxdomain",
            Self::Referral => "referral",
            Self::Error => "error",
        }
    }
}
