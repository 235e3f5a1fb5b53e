//! Hold-down before a prefix is announced again, and suppression of one that flaps.
//!
//! # Why
//! A withdrawal is never delayed. Coming back is: every come-back that fails costs clients twice,
//! and routers elsewhere may damp a route that flaps (RFC 2439).
//!
//! # Rules
//! The hold-down doubles with every automatic departure, up to its maximum, and halves after every
//! decay interval without one. Every automatic withdrawal adds 1 to a penalty that halves every
//! half-life; above `suppress` the prefix stays withdrawn until the penalty is below `reuse`.
//! What an operator does counts for nothing here.

use std::time::{Duration, Instant};

use super::Timing;

/// The memory of departures of one prefix.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damping {
    doublings: u32,
    departed: Option<Instant>,
    penalty: f64,
    penalized: Option<Instant>,
}

impl Damping {
    /// Automation left the Up stage.
    pub(crate) fn departed(&mut self, now: Instant, timing: &Timing) {
        self.doublings = match self.departed {
            None => 1,
            Some(_) => self.level(now, timing).saturating_add(1).min(32),
        };
        self.departed = Some(now);
    }

    /// Automation withdrew the route.
    pub(crate) fn withdrawn(&mut self, now: Instant, timing: &Timing) {
        self.penalty = self.penalty(now, timing) + 1.0;
        self.penalized = Some(now);
    }

    /// Whether automation has ever left the Up stage.
    pub(crate) fn has_departed(&self) -> bool {
        self.departed.is_some()
    }

    /// How long it must be healthy before it is announced again; zero before the first departure.
    pub(crate) fn hold_down(&self, now: Instant, timing: &Timing) -> Duration {
        if self.departed.is_none() {
            return Duration::ZERO;
        }
        let doubled = 1_u32
            .checked_shl(self.level(now, timing).saturating_sub(1))
            .and_then(|factor| timing.hold_down.checked_mul(factor));
        doubled
            .unwrap_or(timing.hold_down_max)
            .min(timing.hold_down_max)
    }

    /// Whether it has flapped too often to be announced.
    pub(crate) fn suppresses(&self, now: Instant, timing: &Timing) -> bool {
        self.penalty(now, timing) >= timing.suppress
    }

    /// When the penalty falls below `reuse`.
    pub(crate) fn reusable_at(&self, timing: &Timing) -> Option<Instant> {
        let since = self.penalized?;
        let half_lives = (self.penalty / timing.reuse).log2().max(0.0);
        Some(since + timing.half_life.mul_f64(half_lives))
    }

    fn level(&self, now: Instant, timing: &Timing) -> u32 {
        let Some(departed) = self.departed else {
            return 0;
        };
        let quiet = now.saturating_duration_since(departed).as_secs_f64();
        let steps = quiet / timing.hold_down_decay.as_secs_f64().max(1.0);
        // A cast of a float saturates.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        self.doublings.saturating_sub(steps as u32).max(1)
    }

    fn penalty(&self, now: Instant, timing: &Timing) -> f64 {
        let Some(since) = self.penalized else {
            return 0.0;
        };
        let age = now.saturating_duration_since(since).as_secs_f64();
        self.penalty * (-age / timing.half_life.as_secs_f64().max(1.0)).exp2()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // any instant serves as the start of simulated time
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn hold_down_doubles_from_10_s_to_10_min_and_decays() {
        let (start, timing) = (Instant::now(), Timing::default());
        let mut damping = Damping::default();
        assert_eq!(damping.hold_down(start, &timing), Duration::ZERO);
        for expected in [10, 20, 40, 80, 160, 320, 600, 600] {
            damping.departed(start, &timing);
            assert_eq!(damping.hold_down(start, &timing), seconds(expected));
        }
        for (later, expected) in [(599, 600), (600, 600), (1200, 320), (1800, 160), (9000, 10)] {
            let now = start + seconds(later);
            assert_eq!(
                damping.hold_down(now, &timing),
                seconds(expected),
                "{later}"
            );
        }
    }

    #[test]
    fn flapping_is_suppressed_until_the_penalty_has_decayed() {
        let (start, timing) = (Instant::now(), Timing::default());
        let mut damping = Damping::default();
        for _ in 0..4 {
            damping.withdrawn(start, &timing);
            assert!(!damping.suppresses(start, &timing));
        }
        damping.departed(start, &timing);
        assert!(
            !damping.suppresses(start, &timing),
            "only withdrawals count"
        );
        damping.withdrawn(start, &timing);
        assert!(damping.suppresses(start, &timing));
        assert_eq!(damping.reusable_at(&timing), Some(start + seconds(900)));
    }
}
