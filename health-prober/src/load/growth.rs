//! How fast counters grow: resets handled, series that come and go left out.
//!
//! # Rules
//! 1. The growth of a series between two readings is the difference; a value below the one before
//!    means that the counter began anew, and then the value itself is the growth.
//! 2. A series that was not on the page before has no growth yet: where it began is not known.
//! 3. The growth of several series is the sum of theirs; adding values first would take the end of
//!    one series for a reset of all.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::Found;

/// Readings kept; a window holds at most 120 of them, and one that ended before it.
const KEPT: usize = 128;

/// Counters that are read again and again.
#[derive(Clone, Debug, Default)]
pub(super) struct Growth {
    last: Option<Found>,
    /// The time of each reading and the growth up to it, oldest first.
    steps: VecDeque<(Instant, f64)>,
}

impl Growth {
    /// Takes a reading; returns the growth since the one before.
    pub(super) fn take(&mut self, at: Instant, found: Found) -> Option<f64> {
        let grown = self.last.as_ref().map(|last| increase(last, &found));
        self.last = Some(found);
        let total = self.steps.back().map_or(0.0, |(_, total)| *total);
        if self.steps.len() == KEPT {
            self.steps.pop_front();
        }
        self.steps.push_back((at, total + grown.unwrap_or(0.0)));
        grown
    }

    /// Growth in a second over the last `window`, or between the last two readings where that is
    /// longer. `None` before the second reading.
    pub(super) fn rate(&self, window: Duration) -> Option<f64> {
        let (end, total) = *self.steps.back()?;
        let mut before = self.steps.iter().rev().skip(1);
        let mut begin = *before.next()?;
        for step in before {
            if end.duration_since(step.0) > window {
                break;
            }
            begin = *step;
        }
        let seconds = end.duration_since(begin.0).as_secs_f64();
        (seconds > 0.0).then(|| (total - begin.1) / seconds)
    }
}

fn increase(before: &Found, now: &Found) -> f64 {
    let one = |(series, value): (&u64, &f64)| match before.get(series) {
        Some(old) if value >= old => value - old,
        Some(_) => *value,
        None => 0.0,
    };
    now.iter().map(one).sum()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // some moment to count from
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(values: &[(u64, f64)]) -> Found {
        values.iter().copied().collect()
    }

    fn about(found: Option<f64>, right: f64) -> bool {
        found.is_some_and(|found| (found - right).abs() < 1e-9 * right.max(1.0))
    }

    #[test]
    fn rates_over_resets_gaps_and_new_series() {
        let zero = Instant::now();
        let at = |seconds| zero + Duration::from_secs(seconds);
        let mut growth = Growth::default();
        let window = Duration::from_secs(20);
        assert_eq!(growth.take(at(0), found(&[(1, 100.0), (2, 5.0)])), None);
        assert_eq!(growth.rate(window), None);
        assert!(about(
            growth.take(at(10), found(&[(1, 150.0), (2, 5.0)])),
            50.0
        ));
        assert!(about(growth.rate(window), 5.0));
        // Series 1 begins anew, 2 is gone, 3 is new.
        assert!(about(
            growth.take(at(20), found(&[(1, 30.0), (3, 1e9)])),
            30.0
        ));
        assert!(about(growth.rate(Duration::ZERO), 3.0));
        assert!(about(growth.rate(window), 4.0));
        // Three readings are missing: the growth stands over the whole time.
        assert!(about(
            growth.take(at(60), found(&[(1, 230.0), (3, 1e9)])),
            200.0
        ));
        assert!(about(growth.rate(window), 5.0));
        assert!(about(growth.take(at(60), found(&[(1, 230.0)])), 0.0));
        assert_eq!(growth.rate(Duration::ZERO), None, "no time has gone by");
    }

    proptest! {
        #[test]
        fn never_negative_never_without_end(
            readings in proptest::collection::vec((0_u64..30, 0.0_f64..1e15, 0_u64..4), 1..200),
            window in 0_u64..600,
        ) {
            let mut growth = Growth::default();
            let mut now = Instant::now();
            for (gap, value, series) in readings {
                now += Duration::from_secs(gap);
                let grown = growth.take(now, found(&[(series, value), (9, value / 2.0)]));
                prop_assert!(grown.is_none_or(|g| g.is_finite() && g >= 0.0));
                let rate = growth.rate(Duration::from_secs(window));
                prop_assert!(rate.is_none_or(|r| r.is_finite() && r >= -1e-3), "{:?}", rate);
                prop_assert!(growth.steps.len() <= KEPT);
            }
        }
    }
}
