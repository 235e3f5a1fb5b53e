//! The one place that reads the clock.

use std::time::{Duration, Instant};

/// Nanoseconds since it was made, never 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Starts now.
    #[allow(clippy::disallowed_methods)] // measuring time is what this program is for
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds.
    pub(crate) fn now(self) -> u64 {
        self.0.elapsed().as_nanos() as u64 + 1
    }

    /// The time since it was made.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
