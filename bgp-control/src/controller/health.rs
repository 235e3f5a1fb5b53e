//! Smooths what is found about one prefix into a finding.
//!
//! # Rules
//! 1. Probes of our own: `fall` failures in a row are local-fatal, `rise` passes in a row are
//!    good; the first failure asks for another probe at once.
//! 2. The verdict of a PoP is smoothed by the prober already: Down is site-fatal, Up is good,
//!    Unknown changes nothing.
//! 3. A prefix is healthy while everything that it needs is good.

use std::time::Instant;

use crate::Finding;

use super::{Health, PrefixSettings, Verdict};

/// What is known of one prefix's health.
#[derive(Clone, Debug, Default)]
pub(crate) struct Smoothed {
    passes: u32,
    failures: u32,
    answers_since: Option<Instant>,
    does_not_answer: Option<String>,
    pop_up_since: Option<Instant>,
    pop_down: Option<String>,
    last_failure: Option<String>,
    first_success: Option<Instant>,
}

impl Smoothed {
    /// One probe of ours ended. Returns whether to probe again at once.
    pub(crate) fn probe(
        &mut self,
        now: Instant,
        result: Result<(), String>,
        rise: u32,
        fall: u32,
    ) -> bool {
        match result {
            Ok(()) => {
                self.failures = 0;
                self.passes = self.passes.saturating_add(1);
                self.first_success.get_or_insert(now);
                if self.passes >= rise {
                    self.does_not_answer = None;
                    self.answers_since.get_or_insert(now);
                }
                false
            }
            Err(reason) => {
                self.passes = 0;
                self.failures = self.failures.saturating_add(1);
                self.last_failure = Some(reason.clone());
                if self.failures >= fall {
                    self.answers_since = None;
                    self.does_not_answer = Some(reason);
                }
                self.failures == 1 && fall > 1
            }
        }
    }

    /// The address was taken off by ourselves: that it does not answer says nothing.
    pub(crate) fn forget_probes(&mut self) {
        *self = Self {
            pop_up_since: self.pop_up_since,
            pop_down: self.pop_down.take(),
            first_success: self.first_success,
            ..Self::default()
        };
    }

    /// The prober's verdict of the PoP.
    pub(crate) fn verdict(&mut self, now: Instant, verdict: Verdict, reason: String) {
        match verdict {
            Verdict::Unknown => {}
            Verdict::Up => {
                self.pop_down = None;
                self.pop_up_since.get_or_insert(now);
                self.first_success.get_or_insert(now);
            }
            Verdict::Down => {
                self.pop_up_since = None;
                self.pop_down = Some(reason);
            }
        }
    }

    /// Since when it is healthy without a break; `None`: not known to be.
    pub(crate) fn healthy_since(&self, settings: &PrefixSettings) -> Option<Instant> {
        match (settings.is_probed(), &settings.health) {
            (true, Health::Own) => self.answers_since,
            (false, Health::Own) => None,
            (true, Health::Pop(_)) => Some(self.answers_since?.max(self.pop_up_since?)),
            (false, Health::Pop(_)) => self.pop_up_since,
        }
    }

    /// When the first good sign was seen.
    pub(crate) fn first_success(&self) -> Option<Instant> {
        self.first_success
    }

    /// The fatal finding, if there is one; the nearer one first.
    pub(crate) fn fatal(&self) -> Option<(Finding, &str)> {
        let local = self.does_not_answer.as_deref();
        let site = self.pop_down.as_deref();
        local
            .map(|reason| (Finding::LocalFatal, reason))
            .or(site.map(|reason| (Finding::SiteFatal, reason)))
    }

    /// What is missing until healthy, in words.
    pub(crate) fn missing(&self, settings: &PrefixSettings, rise: u32) -> String {
        if settings.is_probed() && self.answers_since.is_none() {
            let passes = format!("{} of {rise} passes in a row", self.passes.min(rise));
            return match &self.last_failure {
                Some(reason) => format!("{passes}, last failure: {reason}"),
                None => passes,
            };
        }
        match &settings.health {
            Health::Pop(pop) => format!("the verdict of {pop}"),
            Health::Own => "it has no address to probe".to_owned(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // any instant serves as the start of simulated time
mod tests {
    use super::*;
    use crate::controller::tests::bed::announce;

    fn probed(outcomes: &str) -> (Smoothed, Vec<bool>) {
        let (now, mut health) = (Instant::now(), Smoothed::default());
        let again = outcomes
            .chars()
            .map(|o| {
                let result = if o == '+' {
                    Ok(())
                } else {
                    Err("timeout".into())
                };
                health.probe(now, result, 3, 2)
            })
            .collect();
        (health, again)
    }

    #[test]
    fn rise_3_fall_2() {
        let own = announce("192.0.2.53/32");
        for (outcomes, healthy, fatal) in [
            ("", false, false),
            ("-", false, false),
            ("--", false, true),
            ("++", false, false),
            ("+++", true, false),
            ("+++-", true, false),
            ("+++-+-", true, false),
            ("+++--", false, true),
            ("+++--++", false, true),
            ("+++--++-", false, true),
            ("+++--+++", true, false),
        ] {
            let (health, _) = probed(outcomes);
            assert_eq!(health.healthy_since(&own).is_some(), healthy, "{outcomes}");
            assert_eq!(health.fatal().is_some(), fatal, "{outcomes}");
        }
    }

    #[test]
    fn the_first_failure_asks_for_another_probe() {
        assert_eq!(probed("+--+-").1, [false, true, false, false, true]);
    }

    #[test]
    fn a_pop_decides_together_with_our_own_probes() {
        let mut settings = announce("192.0.2.53/32");
        settings.health = Health::Pop("fra".into());
        let (mut health, _) = probed("+++");
        let now = Instant::now();
        assert_eq!(health.missing(&settings, 3), "the verdict of fra");
        health.verdict(now, Verdict::Unknown, String::new());
        assert!(health.healthy_since(&settings).is_none() && health.fatal().is_none());
        health.verdict(now, Verdict::Up, String::new());
        assert!(health.healthy_since(&settings).is_some());
        health.verdict(now, Verdict::Down, "2 of 2 endpoints fail".into());
        health.verdict(now, Verdict::Unknown, String::new());
        let down = (Finding::SiteFatal, "2 of 2 endpoints fail");
        assert_eq!(health.fatal(), Some(down));
        for _ in 0..2 {
            health.probe(now, Err("timeout".into()), 3, 2);
        }
        assert_eq!(health.fatal(), Some((Finding::LocalFatal, "timeout")));
    }

    #[test]
    fn a_wide_prefix_without_addresses_follows_its_pop_alone() {
        let mut settings = announce("192.0.2.0/24");
        settings.addresses.clear();
        settings.health = Health::Pop("fra".into());
        let (now, mut health) = (Instant::now(), Smoothed::default());
        health.verdict(now, Verdict::Up, String::new());
        assert_eq!(health.healthy_since(&settings), Some(now));
    }
}
