//! How much each source may bring: a bucket for each, bounded in number. Pure; the caller has the
//! clock.

use std::{collections::HashMap, hash::Hash, time::Duration};

/// Time between looks for sources that have been quiet, when there is no room.
const SWEEP: Duration = Duration::from_secs(1);

/// Buckets that fill at one rate.
#[derive(Debug)]
pub(super) struct Rates<K> {
    per_second: f64,
    burst: f64,
    most: usize,
    buckets: HashMap<K, Bucket>,
    swept: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

impl<K: Eq + Hash> Rates<K> {
    /// Each source may bring `per_second` on average and `burst` at once; of at most `most` sources
    /// the rate is kept.
    pub(super) fn new(per_second: f64, burst: f64, most: usize) -> Self {
        Self {
            per_second,
            burst,
            most,
            buckets: HashMap::new(),
            swept: Duration::ZERO,
        }
    }

    /// Takes other limits over; what has been used stays used.
    pub(super) fn limit(&mut self, per_second: f64, burst: f64, most: usize) {
        (self.per_second, self.burst, self.most) = (per_second, burst, most);
    }

    /// How many of `wanted` the source may bring now. A source beyond the number that is kept gets
    /// none, until others have been quiet for long enough.
    pub(super) fn take(&mut self, now: Duration, source: K, wanted: usize) -> usize {
        if self.buckets.len() >= self.most && !self.buckets.contains_key(&source) {
            self.sweep(now);
            if self.buckets.len() >= self.most {
                return 0;
            }
        }
        let (per_second, burst) = (self.per_second, self.burst);
        let bucket = self.buckets.entry(source).or_insert(Bucket {
            tokens: burst,
            at: now,
        });
        let passed = now.saturating_sub(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * per_second).min(burst);
        bucket.at = bucket.at.max(now);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the burst"
        )]
        let granted = wanted.min(bucket.tokens.max(0.0) as usize);
        #[allow(clippy::cast_precision_loss, reason = "at most the burst")]
        let used = granted as f64;
        bucket.tokens -= used;
        granted
    }

    /// Forgets sources whose bucket is full again: they look like new ones.
    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        let (per_second, burst) = (self.per_second, self.burst);
        self.buckets.retain(|_, bucket| {
            let passed = now.saturating_sub(bucket.at).as_secs_f64();
            bucket.tokens + passed * per_second < burst
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_bucket_empties_and_fills() {
        let mut rates = Rates::new(10.0, 50.0, 4);
        assert_eq!(rates.take(at(1), "a", 40), 40);
        assert_eq!(rates.take(at(1), "a", 40), 10);
        assert_eq!(rates.take(at(1), "b", 60), 50);
        assert_eq!(rates.take(at(2), "a", 40), 10);
        // A clock that goes back gives nothing away.
        assert_eq!(rates.take(at(0), "a", 40), 0);
        assert_eq!(rates.take(at(2), "a", 40), 0);
        assert_eq!(rates.take(at(1000), "a", 1000), 50);
    }

    #[test]
    fn newcomers_wait_for_room() {
        let mut rates = Rates::new(1.0, 10.0, 2);
        assert_eq!(rates.take(at(1), 1, 10), 10);
        assert_eq!(rates.take(at(1), 2, 1), 1);
        assert_eq!(rates.take(at(1), 3, 1), 0);
        // The second is full again, the first is not.
        assert_eq!(rates.take(at(3), 3, 1), 1);
        assert_eq!(rates.take(at(3), 2, 1), 0);
        assert_eq!(rates.take(at(3), 1, 10), 2);
    }

    proptest! {
        #[test]
        fn nobody_brings_more_than_the_rate(
            asks in prop::collection::vec((0_u64..4, 0_u8..8, 0_usize..100), 0..200),
        ) {
            let mut rates = Rates::new(5.0, 20.0, 4);
            let (mut now, mut taken) = (0, HashMap::new());
            for (wait, who, wanted) in asks {
                now += wait;
                *taken.entry(who).or_insert(0) += rates.take(at(now), who, wanted);
                prop_assert!(rates.buckets.len() <= 4);
            }
            for total in taken.values() {
                prop_assert!(*total as u64 <= 20 + 5 * now);
            }
        }
    }
}
