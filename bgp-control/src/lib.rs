//! Announcements of a site's anycast prefixes over BGP.
//!
//! ```text
//! way of a route:   desired → guard → reconcile → announcer → session
//! ```
//!
//! The [`Controller`] decides and holds the [guard](may_withdraw); [`permit`] asks the other sites;
//! [`session`] tells the routers; [`bfd`] watches the way to them.
//!
//! The prober feeds it through the same published snapshot as the DNS plane; the two planes never
//! see each other.

pub mod address;
pub mod bfd;
mod controller;
mod guard;
pub mod permit;
pub mod session;
#[cfg(test)]
mod simulation;
mod types;

pub use controller::*;
pub use guard::{Permit, Refusal, Restraint, Site, may_withdraw};
pub use permit::Claim;
pub use types::*;
