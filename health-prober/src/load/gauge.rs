//! The last thing that a source said, and what its silence means.

use std::time::{Duration, Instant, SystemTime};

use crate::{Level, LoadState, engine::Now};

/// A value is kept as fresh for this many intervals.
const FRESH: u32 = 3;
/// A value counts for this many intervals; then nothing is known.
pub(crate) const KNOWN: u32 = 10;

/// The last level of a source.
#[derive(Clone, Debug, Default)]
pub(super) struct Gauge {
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    level: Level,
    /// When it came here.
    at: Now,
    /// How old it was then.
    age: Duration,
}

impl Gauge {
    /// Takes a level.
    pub(super) fn set(&mut self, level: Level, now: Now) {
        self.set_aged(level, now, Duration::ZERO);
    }

    /// Takes a level that came a while ago, to another process.
    pub(super) fn set_aged(&mut self, level: Level, now: Now, age: Duration) {
        let at = now;
        self.last = Some(Last { level, at, age });
    }

    /// The last level, known or not.
    pub(super) fn last(&self) -> Option<Level> {
        self.last.map(|last| last.level)
    }

    /// The last level with its state; nothing once it is unknown.
    pub(super) fn level(&self, interval: Duration, now: Instant) -> (LoadState, Option<Level>) {
        match self.age(now) {
            Some(age) if age <= interval * FRESH => (LoadState::Fresh, self.last()),
            Some(age) if age <= interval * KNOWN => (LoadState::Stale, self.last()),
            _ => (LoadState::Unknown, None),
        }
    }

    /// Time since the last level.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let since = |last: Last| now.saturating_duration_since(last.at.instant) + last.age;
        self.last.map(since)
    }

    /// When the last level came.
    pub(super) fn at(&self) -> Option<SystemTime> {
        let last = self.last?;
        last.at.wall.checked_sub(last.age)
    }

    /// When the state next changes by time alone.
    pub(super) fn turns(&self, interval: Duration, now: Instant) -> Option<Instant> {
        let last = self.last?;
        let left = |count| (interval * count).saturating_sub(last.age);
        let just_after = |count| last.at.instant + left(count) + Duration::from_millis(1);
        [FRESH, KNOWN]
            .map(just_after)
            .into_iter()
            .find(|turn| *turn > now)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // some moment to count from
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fresh_stale_unknown_and_never_zero() {
        let zero = Now {
            instant: Instant::now(),
            wall: SystemTime::UNIX_EPOCH,
        };
        let interval = Duration::from_secs(5);
        let mut gauge = Gauge::default();
        assert_eq!(
            gauge.level(interval, zero.instant),
            (LoadState::Unknown, None)
        );
        assert_eq!(gauge.turns(interval, zero.instant), None);
        gauge.set(Level::Value(7.0), zero);
        for (seconds, state) in [
            (0, LoadState::Fresh),
            (15, LoadState::Fresh),
            (16, LoadState::Stale),
            (50, LoadState::Stale),
            (51, LoadState::Unknown),
            (1_000_000, LoadState::Unknown),
        ] {
            let (found, level) = gauge.level(interval, zero.instant + Duration::from_secs(seconds));
            assert_eq!(found, state, "{seconds}");
            let kept = (state != LoadState::Unknown).then_some(Level::Value(7.0));
            assert_eq!(level, kept, "{seconds}");
        }
    }

    proptest! {
        /// Whoever wakes at `turns` misses no change.
        #[test]
        fn each_turn_is_announced(
            interval in 1_u64..10_000,
            at in 0_u64..200_000,
            age in prop_oneof![Just(0_u64), 0_u64..200_000],
        ) {
            let start = Instant::now();
            let (interval, now) = (Duration::from_millis(interval), start + Duration::from_millis(at));
            let mut gauge = Gauge::default();
            let came = Now { instant: start, wall: SystemTime::UNIX_EPOCH };
            gauge.set_aged(Level::Ratio(0.5), came, Duration::from_millis(age));
            let (before, _) = gauge.level(interval, now);
            match gauge.turns(interval, now) {
                Some(turn) => {
                    prop_assert!(turn > now);
                    let just_before = turn - Duration::from_millis(1);
                    if just_before > now {
                        prop_assert_eq!(gauge.level(interval, just_before).0, before);
                    }
                    prop_assert!(gauge.level(interval, turn).0 != LoadState::Fresh);
                }
                None => prop_assert_eq!(before, LoadState::Unknown),
            }
        }
    }
}
