//! Whether every UDP worker still goes round: what lets the other planes notice that this one hangs.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// The last rounds of all UDP workers. An idle worker goes round at least every 100 ms.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Beats>);

#[derive(Debug)]
struct Beats {
    began: Instant,
    workers: Box<[Beat]>,
}

/// Nanoseconds since the beginning, on a cache line that one worker writes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Beat(AtomicU64);

impl Pulse {
    /// Of so many workers, all of which count as alive `now`.
    pub(super) fn new(workers: usize, now: Instant) -> Self {
        let workers = std::iter::repeat_with(Beat::default).take(workers);
        Self(Arc::new(Beats {
            began: now,
            workers: workers.collect(),
        }))
    }

    /// A worker goes round.
    pub(super) fn beat(&self, worker: usize, now: Instant) {
        if let Some(beat) = self.0.workers.get(worker) {
            let since = now.saturating_duration_since(self.0.began).as_nanos();
            beat.0
                .store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
        }
    }

    /// Whether any worker has not gone round for longer than `limit`. So it is before the workers
    /// start and after they end.
    pub fn stalled(&self, now: Instant, limit: Duration) -> bool {
        self.quiet(now) > limit
    }

    /// How long the worker that is farthest behind has not gone round.
    pub fn quiet(&self, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.0.began);
        let last = self.0.workers.iter().map(|beat| beat.0.load(Relaxed)).min();
        last.map_or(Duration::ZERO, |last| {
            since.saturating_sub(Duration::from_nanos(last))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)] // any instant will do as the beginning
    fn one_worker_that_hangs_is_enough() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let limit = Duration::from_millis(300);
        let pulse = Pulse::new(2, began);
        assert!(!pulse.stalled(at(300), limit));
        assert!(pulse.stalled(at(301), limit));
        pulse.beat(0, at(1000));
        pulse.beat(1, at(1200));
        assert!(!pulse.stalled(at(1300), limit));
        pulse.beat(1, at(1900));
        assert_eq!(pulse.quiet(at(2000)), Duration::from_secs(1));
        assert!(pulse.stalled(at(2000), limit));
        // A worker that does not exist counts for nothing.
        pulse.beat(2, at(9000));
        assert!(pulse.stalled(at(2000), limit));
        assert!(!Pulse::new(0, began).stalled(at(5000), limit));
    }
}
