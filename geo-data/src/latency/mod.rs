//! Measured latency: samples in, one immutable table out.
//!
//! ```text
//! logs, API, beacon, own TCP → Sample ─→ Matrix::record ─→ rows ─→ Matrix::publish ─→ Latency → steering
//!                                        (prefix, matrix)  (window, rows)  (publish, line)
//! ```
//!
//! Everything here is pure: times are arguments, in seconds since the epoch.

mod line;
mod matrix;
mod prefix;
mod publish;
mod published;
mod rows;
#[cfg(test)]
mod tests;
mod types;
mod window;

pub use matrix::Matrix;
pub use published::{Latency, Parts};
pub use types::*;
