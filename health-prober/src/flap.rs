//! Holds down what goes up and down too often.
//!
//! # Why
//! An endpoint that answers every other minute passes `rise` each time, takes its clients back and
//! drops them again. Better that it stays out until it has been quiet for a while.
//!
//! # Trip
//! Every change to Down adds 1 to a penalty, which halves every [`HALF_LIFE`] (the figure of merit of
//! RFC 2439 §4.2). From the third fall in quick succession on, the target is held: passes do not
//! bring it up before the time is over.
//!
//! # Recovery
//! The time starts at the check's `hold_down` and doubles with each further point of penalty, up to
//! [`LONGEST`] times that. When it is over, the next pass brings the target up, provided that it has
//! passed `rise` times in a row by then.
//!
//! # Cold start
//! Nothing is held after a restart: that a verdict is carried over a reload does not make it flap.

use std::time::{Duration, Instant};

/// In this time without a fall the penalty halves.
const HALF_LIFE: Duration = Duration::from_secs(600);
/// Reached by three falls within two minutes, or by four within seven.
const LIMIT: f64 = 2.8;
/// The longest time held, in units of `hold_down`.
const LONGEST: u32 = 16;

/// How often a target has fallen lately.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Flap {
    penalty: f64,
    fell: Option<Instant>,
    held: Option<(Instant, Duration)>,
}

impl Flap {
    /// The verdict changed to Down. `hold_down` of zero: nothing is ever held.
    pub(crate) fn fall(&mut self, now: Instant, hold_down: Duration) {
        self.penalty = self.penalty(now) + 1.0;
        self.fell = Some(now);
        let excess = self.penalty - LIMIT;
        self.held = (excess >= 0.0 && !hold_down.is_zero()).then(|| {
            let factor = excess.floor().exp2().min(LONGEST.into());
            let time = hold_down.mul_f64(factor);
            (now + time, time)
        });
    }

    /// How long it is held in all, while it is.
    pub(crate) fn held(&self, now: Instant) -> Option<Duration> {
        self.held
            .filter(|(until, _)| now < *until)
            .map(|(_, time)| time)
    }

    /// How long it is still held, while it is.
    pub(crate) fn remaining(&self, now: Instant) -> Option<Duration> {
        self.held
            .filter(|(until, _)| now < *until)
            .map(|(until, _)| until.saturating_duration_since(now))
    }

    fn penalty(&self, now: Instant) -> f64 {
        let Some(fell) = self.fell else { return 0.0 };
        let quiet = now.saturating_duration_since(fell).as_secs_f64();
        self.penalty * (-quiet / HALF_LIFE.as_secs_f64()).exp2()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[allow(clippy::disallowed_methods)] // any instant serves as the start of simulated time
    fn start() -> Instant {
        Instant::now()
    }

    /// Falls again `up` after each time it could come up; the times held.
    fn flapping(up: Duration, falls: usize) -> Vec<Duration> {
        let (mut flap, mut now, mut times) = (Flap::default(), start(), Vec::new());
        for _ in 0..falls {
            flap.fall(now, MINUTE);
            let held = flap.held(now).unwrap_or_default();
            times.push(held);
            now += held + up;
        }
        times
    }

    #[test]
    fn the_third_fall_in_quick_succession_holds_and_the_time_grows() {
        let times = flapping(Duration::from_secs(10), 12);
        assert_eq!(times[..3], [Duration::ZERO, Duration::ZERO, MINUTE]);
        assert!(times[4] >= 2 * MINUTE, "{times:?}");
        assert!(times.iter().all(|time| *time <= LONGEST * MINUTE));
    }

    #[test]
    fn rare_falls_hold_nothing() {
        assert!(
            flapping(Duration::from_secs(900), 100)
                .iter()
                .all(Duration::is_zero)
        );
    }

    #[test]
    fn zero_turns_it_off() {
        let (mut flap, now) = (Flap::default(), start());
        for _ in 0..100 {
            flap.fall(now, Duration::ZERO);
            assert_eq!(flap.held(now), None);
        }
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_forgets(gaps in prop::collection::vec(0_u64..2000, 1..100)) {
            let (mut flap, mut now) = (Flap::default(), start());
            for gap in gaps {
                now += Duration::from_secs(gap);
                flap.fall(now, MINUTE);
                if let Some(time) = flap.held(now) {
                    prop_assert!(time <= LONGEST * MINUTE);
                    prop_assert_eq!(flap.held(now + time), None);
                }
            }
            // After a day nothing of the past is left.
            now += Duration::from_secs(86_400);
            flap.fall(now, MINUTE);
            prop_assert_eq!(flap.held(now), None);
        }
    }
}
