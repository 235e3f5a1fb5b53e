//! Jitter of timers, from a seed.

use std::time::Duration;

/// A small generator (SplitMix64): good enough to spread timers, and reproducible.
#[derive(Clone, Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// RFC 4271 §10: "the jitter ... by multiplying the base value ... by a random factor, which
    /// is uniformly distributed in the range from 0.75 to 1.0."
    pub(super) fn of(&mut self, base: Duration) -> Duration {
        let fraction = u32::try_from(self.next() >> 40).unwrap_or_default();
        let quarter = base / 4;
        base - quarter.mul_f64(f64::from(fraction) / f64::from(1_u32 << 24))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Wait before attempt number `failures`: half a second, doubling to four. A site that came back
/// should announce soon, so the cap is far under the 120 s of RFC 4271 §10.
pub(super) fn retry_after(failures: u32) -> Duration {
    Duration::from_millis(500 << failures.min(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4271_10_jitter_is_between_three_quarters_and_one() {
        let mut jitter = Jitter::new(7);
        let base = Duration::from_secs(3);
        let drawn: Vec<_> = (0..1000).map(|_| jitter.of(base)).collect();
        assert!(
            drawn
                .iter()
                .all(|t| (base.mul_f64(0.75)..=base).contains(t))
        );
        assert!(drawn.iter().max().unwrap() > &base.mul_f64(0.99));
        assert!(drawn.iter().min().unwrap() < &base.mul_f64(0.76));
        assert_eq!(retry_after(0), Duration::from_millis(500));
        assert_eq!(retry_after(99), Duration::from_secs(4));
    }
}
