//! Probes every endpoint, smooths outcomes into verdicts, publishes them whole.
//!
//! ```text
//! schedule → probe → outcome → verdict → quorum → snapshot
//!                                          overrides ─┘
//!         → dns::steer (ArcSwap load)   → bgp_control::apply (watch)
//! ```

mod snapshot;

pub use snapshot::*;
