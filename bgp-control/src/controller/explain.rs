//! Says what a prefix waits for and when it may change.

use std::time::Instant;

use crate::Stage;

use super::{
    Explanation,
    machine::{Facts, Machine, Orders},
};

impl Machine {
    /// What keeps it from being announced with its own attributes, or `None`.
    pub(super) fn hindrance(&self, facts: &Facts<'_>) -> Option<String> {
        let timing = &facts.settings.timing;
        for (address, state) in &self.addresses {
            if let Err(reason) = state {
                return Some(format!("its address {address}: {reason}"));
            }
        }
        if let Some((_, _, why)) = self.fatal(facts) {
            return Some(format!("health: {why}"));
        }
        if self.healthy_since().is_none() {
            let missing = self.health.missing(&self.settings, timing.rise);
            return Some(format!("health: {missing}"));
        }
        if self.startup_ends(facts).is_some_and(|end| facts.now < end) {
            return Some(format!(
                "the start-up delay of {} s",
                timing.startup_delay.as_secs()
            ));
        }
        self.held_down_until(facts)
            .filter(|until| facts.now < *until)
            .map(|_| {
                let hold_down = self.damping.hold_down(facts.now, timing);
                format!("the hold-down of {} s in good health", hold_down.as_secs())
            })
    }

    fn startup_ends(&self, facts: &Facts<'_>) -> Option<Instant> {
        Some(self.health.first_success()? + facts.settings.timing.startup_delay)
    }

    /// When the hold-down ends, as far as health goes on. An operator's act has none.
    fn held_down_until(&self, facts: &Facts<'_>) -> Option<Instant> {
        if self.by_operator {
            return None;
        }
        let hold_down = self.damping.hold_down(facts.now, &facts.settings.timing);
        // Serving threads that stop and go on may leave no trace in the probes.
        let since = self.healthy_since()?;
        Some(self.recovered.map_or(since, |at| at.max(since)) + hold_down)
    }

    /// Every moment at which it may have to change although no input comes.
    pub(super) fn deadlines(&self, facts: &Facts<'_>) -> Vec<Instant> {
        let timing = &facts.settings.timing;
        let mut at = Vec::with_capacity(6);
        match self.stage {
            Stage::Warmup | Stage::Pinned => {
                at.extend(self.startup_ends(facts));
                at.extend(self.held_down_until(facts));
            }
            Stage::Draining => match self.depreferenced {
                None => at.extend(self.steering_ends(facts)),
                Some(since) => {
                    let (min, max) = self.drain_times();
                    at.extend([since + min, since + max]);
                }
            },
            Stage::Lingering => {
                let (min, max) = self.linger_times();
                at.extend([self.since + min, self.since + max]);
            }
            Stage::Suppressed => at.extend(self.damping.reusable_at(timing)),
            Stage::Up | Stage::Withdrawn | Stage::Disabled => {}
        }
        at.extend(self.patience_ends(facts));
        at.extend(self.permit_ends());
        at.retain(|deadline| *deadline > facts.now);
        at
    }

    pub(super) fn explain(&self, facts: &Facts<'_>, not_sent: Option<String>) -> Explanation {
        let next = self.deadlines(facts).into_iter().min();
        Explanation {
            prefix: self.settings.prefix,
            stage: self.stage,
            stage_for: facts.now.saturating_duration_since(self.since),
            why: self.why.clone(),
            waits_for: self.waits_for(facts),
            refusal: self.refusal.map(|refusal| refusal.to_string()),
            next_change: next.map(|at| at.saturating_duration_since(facts.now)),
            not_sent,
            sent_to: self.sent,
            alarm: self.is_alarming(),
        }
    }

    fn waits_for(&self, facts: &Facts<'_>) -> Option<String> {
        let leaves = matches!(self.orders, Orders::Leave(_));
        match self.stage {
            Stage::Up if self.fatal(facts).is_some() => Some("the permit store's answer".into()),
            Stage::Up | Stage::Disabled => None,
            Stage::Withdrawn if leaves => Some("an operator's undrain".into()),
            Stage::Draining if self.depreferenced.is_none() => {
                Some("steering to send clients elsewhere".into())
            }
            Stage::Draining | Stage::Lingering => {
                Some(format!("its clients to leave: {}", self.rate_now(facts)))
            }
            Stage::Suppressed => Some("its flaps to decay".into()),
            Stage::Pinned if self.refusal.is_some() => {
                Some("health, or other sites to announce".into())
            }
            Stage::Pinned => match facts.stale {
                Some(reason) => Some(format!("fresh data: {reason}")),
                None => self.hindrance(facts),
            },
            Stage::Warmup | Stage::Withdrawn => self.hindrance(facts),
        }
    }
}
