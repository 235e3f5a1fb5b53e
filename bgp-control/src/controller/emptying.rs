//! When a drain and the lingering after it end.
//!
//! Both are closed loops: they end when our own query rate on the prefix says that its clients
//! have left and the minimum time has passed, and both are capped, for a rate that never falls.

use std::time::{Duration, Instant};

use super::machine::{Facts, Machine};

/// Share of the rate at the beginning of a drain below which its clients count as gone.
const LEFTOVER: f64 = 0.01;

impl Machine {
    /// Why the drain is over, if it is.
    pub(super) fn emptied(&self, facts: &Facts<'_>) -> Option<String> {
        let since = self.depreferenced?;
        let (min, max) = self.drain_times();
        self.over(since, min, max, facts)
    }

    /// Why lingering is over, if it is.
    pub(super) fn lingered(&self, facts: &Facts<'_>) -> Option<String> {
        let (min, max) = self.linger_times();
        self.over(self.since, min, max, facts)
    }

    /// The least and the longest time of the wait after depreferencing.
    pub(super) fn drain_times(&self) -> (Duration, Duration) {
        let min = self.settings.drain.min_time;
        (min, self.settings.drain_max.max(min))
    }

    /// The least and the longest time of serving after the withdrawal.
    pub(super) fn linger_times(&self) -> (Duration, Duration) {
        let drain = &self.settings.drain;
        (drain.min_time.min(drain.linger), drain.linger)
    }

    /// The query rate as an operator reads it.
    pub(super) fn rate_now(&self, facts: &Facts<'_>) -> String {
        match self.fresh_rate(facts) {
            Some(rate) => format!("{rate:.1} queries/s, quiet at {:.1}", self.quiet_at()),
            None => "the query rate is not known".to_owned(),
        }
    }

    fn over(
        &self,
        since: Instant,
        min: Duration,
        max: Duration,
        facts: &Facts<'_>,
    ) -> Option<String> {
        let waited = facts.now.saturating_duration_since(since);
        if waited >= max {
            return Some(format!(
                "{} s are over, {}",
                max.as_secs(),
                self.rate_now(facts)
            ));
        }
        let quiet = self.fresh_rate(facts)? <= self.quiet_at();
        (waited >= min && quiet).then(|| self.rate_now(facts))
    }

    fn quiet_at(&self) -> f64 {
        (self.busy_rate * LEFTOVER).max(self.settings.quiet_rate)
    }

    fn fresh_rate(&self, facts: &Facts<'_>) -> Option<f64> {
        let (at, rate) = self.rate?;
        let age = facts.now.saturating_duration_since(at);
        (age <= facts.settings.timing.rate_fresh).then_some(rate)
    }
}
