//! Probes every endpoint, smooths outcomes into verdicts, publishes them whole.
//!
//! ```text
//! schedule → probe → outcome → verdict → quorum → snapshot
//!                                          overrides ─┘
//!         → dns::steer (ArcSwap load)   → bgp_control::apply (watch)
//! ```
//!
//! `schedule`, `verdict` and `quorum` are functions; `engine` is the one value that holds every
//! target and puts them together, still without a clock; `runner` is the task around it, `probe`
//! the network, and [`Prober`] what others hold.

mod bound;
mod combine;
mod engine;
mod event;
mod flap;
mod limits;
mod load;
mod metrics;
mod outcome;
pub mod overrides;
mod prepare;
mod probe;
mod prober;
mod quorum;
mod runner;
mod schedule;
mod snapshot;
mod target;
#[cfg(test)]
mod testing;
mod validate;
mod verdict;

pub use bound::pool_detection_bound;
pub use combine::combine;
pub use event::HealthEvent;
pub use load::fuzz as fuzz_load_page;
pub use outcome::{CertificateFault, LocalReason, Outcome, Phase, ProtocolFault, Reason};
pub use prepare::Prepared;
pub use prober::Prober;
pub use quorum::{flips_in, judge as pop_verdict};
pub use schedule::detection_bound;
pub use snapshot::*;
pub(crate) use target::{Target, TargetId};
pub use validate::validate;
