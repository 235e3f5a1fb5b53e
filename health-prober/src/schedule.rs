//! When a target is probed next: a function of what has happened and of a seed.
//!
//! # Why
//! Probes of many targets must not go out together, a dead endpoint must be noticed within a
//! bound that can be stated, and a check's own `timeout` must not stretch that bound.
//!
//! # Rules
//! * **First**: every target within the first second (or the first interval, if that is shorter),
//!   spread evenly by its seed; the second probe follows after a tenth to the whole of the
//!   interval, so that from then on the whole interval is used.
//! * **Regular**: `interval` after the last start, shortened by up to a tenth, by the seed. So
//!   `interval` is a promise: never later.
//! * **Deadline**: a probe fails after `timeout`, and at the latest after `interval`.
//! * **Suspect**: a target that is not Down becomes suspect when a probe has failed, or has been
//!   silent for half its deadline (at least *fast*) and no other has passed meanwhile. A suspect target is probed every *fast* = `interval` / 5 (at
//!   least 100 ms, at most `interval`), without waiting for probes under way, but never with
//!   more under way than are needed to reach `fall`.
//! * **Down**: regular again; the way back up needs `rise` regular passes.
//!
//! # Bound
//! From death to Down takes at most
//! `interval + max(deadline / 2, fast) + (fall − 2) · fast + deadline` for `fall` ≥ 2, and
//! `interval + deadline` for `fall` = 1: [`Pace::bound`]. With the defaults (5 s, 2 s, fall 3) that
//! is 9 s, with `interval = "1s"` 2.7 s, even when packets vanish. A refused connection needs
//! no deadline: 7 s and 1.4 s.

use std::time::{Duration, Instant};

use meridian_config::Check;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Shortest time between two probes of a suspect target.
const FAST_MIN: Duration = Duration::from_millis(100);
/// Every target is probed once within this time after it appeared.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// The durations of a check, as the schedule uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Longest time between the starts of two probes.
    pub(crate) interval: Duration,
    /// A probe that takes longer fails.
    pub(crate) deadline: Duration,
    /// Time between probes of a suspect target.
    pub(crate) fast: Duration,
    /// Consecutive failures until Down.
    pub(crate) fall: u32,
}

/// What the schedule must know about a target that has been probed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    /// When the youngest probe started.
    pub(crate) last_start: Instant,
    /// How many probes have started; makes each jitter another one.
    pub(crate) started: u64,
    /// Whether a pass came in since then; a probe under way is then no sign of silence.
    pub(crate) heard: bool,
    /// Probes under way.
    pub(crate) in_flight: u32,
    /// Failures in a row so far.
    pub(crate) failures: u32,
    /// Whether the verdict is Down.
    pub(crate) down: bool,
}

impl Pace {
    /// The pace of a check.
    pub(crate) fn of(check: &Check) -> Self {
        let interval = check.interval;
        Self {
            interval,
            deadline: check.timeout.min(interval),
            fast: (interval / 5).max(FAST_MIN).min(interval),
            fall: check.fall.max(1),
        }
    }

    /// How long a probe may be silent before the next one is sent beside it.
    fn patience(&self) -> Duration {
        (self.deadline / 2).max(self.fast)
    }

    /// Longest time from the death of an endpoint until its verdict is Down, as long as probes
    /// start when they are due.
    pub(crate) fn bound(&self) -> Duration {
        let after_first = match self.fall {
            0 | 1 => Duration::ZERO,
            fall => self
                .patience()
                .saturating_add(self.fast.saturating_mul(fall - 2)),
        };
        after_first.saturating_add(self.interval + self.deadline)
    }

    /// Shortest time in which this many more failures can come in.
    pub(crate) fn fall_in(&self, missing: u32) -> Duration {
        self.fast.saturating_mul(missing)
    }

    /// Shortest time in which this many more passes can come in: regular probes come up to a tenth
    /// early.
    pub(crate) fn rise_in(&self, missing: u32) -> Duration {
        self.interval.mul_f64(0.9).saturating_mul(missing)
    }

    /// When a new target is probed for the first time.
    pub(crate) fn first(&self, now: Instant, seed: u64) -> Instant {
        now + FIRST_WITHIN.min(self.interval).mul_f64(unit(seed, 0))
    }

    /// When the next probe starts; in the past means at once.
    pub(crate) fn next(&self, s: Situation, seed: u64) -> Instant {
        let share = if s.started == 1 { 0.9 } else { 0.1 };
        let jitter = self.interval.mul_f64(unit(seed, s.started) * share);
        let regular = s.last_start + (self.interval - jitter);
        let decided = s.failures + s.in_flight >= self.fall;
        if s.down || decided {
            return regular;
        }
        match (s.failures, s.in_flight) {
            (0, 0) => regular,
            (0, _) if s.heard => regular,
            (0, 1) => regular.min(s.last_start + self.patience()),
            _ => regular.min(s.last_start + self.fast),
        }
    }
}

/// Longest time from the death of an endpoint until its verdict under this check is Down, however it
/// dies. Probes must start when they are due: see `meridian_probes_delayed_total`.
pub fn detection_bound(check: &Check) -> Duration {
    Pace::of(check).bound()
}

/// A number in 0..1 for the `n`-th choice of a seed.
#[allow(clippy::cast_precision_loss)] // 53 bits are kept
fn unit(seed: u64, n: u64) -> f64 {
    (xxh3_64_with_seed(&n.to_le_bytes(), seed) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // any instant serves as the start of simulated time
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(interval: u64, timeout: u64, fall: u32) -> Pace {
        let interval = Duration::from_millis(interval);
        Pace {
            interval,
            deadline: Duration::from_millis(timeout).min(interval),
            fast: (interval / 5).max(FAST_MIN).min(interval),
            fall,
        }
    }

    #[test]
    fn the_bound_of_the_defaults() {
        assert_eq!(pace(5000, 2000, 3).bound(), Duration::from_secs(9));
        assert_eq!(pace(1000, 2000, 3).bound(), Duration::from_millis(2700));
        assert_eq!(pace(1000, 300, 1).bound(), Duration::from_millis(1300));
    }

    #[test]
    fn first_probes_fill_the_first_second_evenly() {
        let now = Instant::now();
        let mut tenths = [0; 10];
        for seed in 0..10_000 {
            let after = pace(5000, 2000, 3).first(now, seed) - now;
            tenths[(after.as_millis() / 100) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|&n| (850..1150).contains(&n)),
            "{tenths:?}"
        );
    }

    #[test]
    fn regular_probes_come_within_the_last_tenth_of_the_interval() {
        let now = Instant::now();
        let pace = pace(5000, 2000, 3);
        for started in 2..1000 {
            let situation = Situation {
                last_start: now,
                started,
                heard: true,
                in_flight: 0,
                failures: 0,
                down: false,
            };
            let after = pace.next(situation, 7) - now;
            assert!(after > Duration::from_millis(4499) && after <= pace.interval);
        }
    }

    /// How a dead target answers in the simulation, by the number of the probe.
    type Fate<'a> = dyn Fn(u64) -> Duration + 'a;

    /// Kills a target `alive` after its first probe and returns the time from then to Down.
    fn time_to_down(pace: Pace, seed: u64, alive: Duration, fate: &Fate<'_>) -> Duration {
        let zero = Instant::now();
        let death = zero + alive;
        let (mut due, mut started, mut failures) = (zero, 0_u64, 0);
        let (mut last_start, mut heard) = (zero, false);
        let mut under_way: Vec<(Instant, bool)> = Vec::new();
        loop {
            under_way.sort_unstable();
            let now = match under_way.first() {
                Some(&(end, passed)) if end <= due => {
                    under_way.remove(0);
                    failures = if passed { 0 } else { failures + 1 };
                    heard |= passed;
                    if failures == pace.fall {
                        return end - death;
                    }
                    end
                }
                _ => {
                    started += 1;
                    heard = false;
                    last_start = due;
                    let passed = due < death;
                    let took = if passed {
                        Duration::from_millis(1)
                    } else {
                        fate(started)
                    };
                    under_way.push((due + took.min(pace.deadline), passed));
                    due
                }
            };
            let in_flight = under_way.len() as u32;
            assert!(in_flight <= pace.fall.max(2), "too many probes under way");
            let situation = Situation {
                last_start,
                started,
                heard,
                in_flight,
                failures,
                down: false,
            };
            due = pace.next(situation, seed).max(now);
        }
    }

    #[test]
    fn defaults_keep_the_promises_of_15_and_3_seconds_even_when_packets_vanish() {
        for (interval, promise) in [(5000, 15), (1000, 3)] {
            let pace = pace(interval, 2000, 3);
            for seed in 0..200 {
                for alive in (0..interval * 2).step_by(97) {
                    let alive = Duration::from_millis(alive + 2);
                    let vanished = time_to_down(pace, seed, alive, &|_| pace.deadline);
                    let refused = time_to_down(pace, seed, alive, &|_| Duration::ZERO);
                    assert!(vanished <= Duration::from_secs(promise), "{vanished:?}");
                    assert!(refused <= pace.interval + pace.fast * 2, "{refused:?}");
                }
            }
        }
    }

    proptest! {
        /// Whatever mixture of quick and late failures, Down comes within the bound.
        #[test]
        fn the_bound_holds(
            interval in 100_u64..20_000,
            timeout in 1_u64..10_000,
            fall in 1_u32..8,
            seed: u64,
            alive in 2_u64..40_000,
            takes in proptest::collection::vec(0_u64..10_000, 16),
        ) {
            let pace = pace(interval, timeout, fall);
            let fate = |n: u64| Duration::from_millis(takes[(n % 16) as usize]);
            let took = time_to_down(pace, seed, Duration::from_millis(alive), &fate);
            prop_assert!(took <= pace.bound(), "{took:?} > {:?} {pace:?}", pace.bound());
        }
    }
}
