//! Measured latency: samples in, one immutable table out.
//!
//! ```text
//! logs, API, beacon, own TCP → Sample ─→ Matrix::record ─→ rows ─→ Matrix::publish ─→ Latency → steering
//!       parse                            prefix, matrix      window, rows, file       publish, line
//! ```
//!
//! Everything here is pure: times are arguments, in seconds since the epoch.

mod file;
mod line;
mod matrix;
pub mod parse;
mod prefix;
mod publish;
mod published;
mod race;
pub mod report;
mod rows;
#[cfg(test)]
mod tests;
mod types;
mod window;

pub use file::LoadError;
pub use matrix::Matrix;
pub use published::{Latency, Parts};
pub use race::{Preference, Race};
pub use types::*;
