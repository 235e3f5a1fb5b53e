//! Announcements of a site's anycast prefixes over BGP.
//!
//! ```text
//! way of a route:   desired → guard → reconcile → announcer → session
//! ```
//!
//! This crate holds so far the pure types of that way and the guard that decides whether an
//! automatic withdrawal may happen. No session is opened and no route is sent: the speaker, BFD,
//! addresses and the controller come with the anycast work, and the configuration refuses
//! `[bgp]` until then.
//!
//! The prober feeds it through the same published snapshot as the DNS plane; the two planes never
//! see each other.

pub mod bfd;
mod guard;
pub mod session;
mod types;

pub use guard::{Permit, Refusal, Site, may_withdraw};
pub use types::*;
