//! Measured latency: samples in, one immutable table out.
//!
//! ```text
//! logs, API, beacon, own TCP → Sample ─→ Matrix ──publish──→ Latency → steering
//! ```
//!
//! Everything here is pure: times are arguments, in seconds since the epoch.

mod published;
mod types;

pub use published::{Latency, Parts};
pub use types::*;
