//! The state machine of one prefix.
//!
//! ```text
//!            ┌────────── undo ─────────────────────────────────────┐
//! Disabled → Warmup ─ rise, hold-down ─→ Up ─ operator ─→ Draining → Lingering → Withdrawn
//!            ↑  ↑                        │↑                                      (operator)
//!            │  └─ rise ─ Withdrawn ←────┤│ healthy, hold-down
//!            │            (automatic)    ││
//!            └─ decayed ─ Suppressed ←───┤│          refused, stale, or the permit ended
//!                                        └┴─ Pinned  ←───────────────────────────
//! ```
//!
//! Inputs only change what is known. [`Machine::advance`] then looks at all of it and the time,
//! and takes every step that is due, so that a lost, repeated or late input cannot lead elsewhere.

use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use crate::{Attributes, Claim, Finding, Permit, Refusal, Restraint, Stage, guard::may_withdraw};

use super::{Action, Cause, Event, PrefixSettings, Settings, damping::Damping, health::Smoothed};

/// What is true of the whole site at one moment.
pub(crate) struct Facts<'a> {
    pub(crate) now: Instant,
    pub(crate) settings: &'a Settings,
    /// Why the serving threads do not serve.
    pub(crate) stopped: Option<&'a str>,
    pub(crate) stale: Option<&'a str>,
    pub(crate) dependency: Option<&'a str>,
    /// Since when steering leaves the site out.
    pub(crate) steering_left: Option<Instant>,
}

/// What operators and the configuration want of the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Orders {
    Run,
    Pin(String),
    Leave(Leave),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leave {
    pub(crate) reason: String,
    pub(crate) at_once: bool,
    pub(crate) whole_site: bool,
    /// The configuration no longer has it.
    pub(crate) removed: bool,
}

/// The answers of the permit store.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) since: Option<Instant>,
    answer: Option<(Permit, Instant)>,
}

/// One prefix.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) settings: PrefixSettings,
    pub(crate) stage: Stage,
    pub(crate) since: Instant,
    pub(crate) why: String,
    pub(crate) orders: Orders,
    pub(crate) health: Smoothed,
    pub(crate) refusal: Option<Refusal>,
    /// What is known of each service address.
    pub(crate) addresses: BTreeMap<IpAddr, Result<(), String>>,
    pub(crate) sent: u32,
    /// An operator's blackhole covers the very prefix.
    pub(crate) blackholed: bool,
    pub(super) depreferenced: Option<Instant>,
    pub(super) damping: Damping,
    pub(super) asked: Asked,
    leased: bool,
    pub(super) by_operator: bool,
    pub(super) rate: Option<(Instant, f64)>,
    pub(super) busy_rate: f64,
    claim: Claim,
    was_fatal: bool,
    /// When the last fatal finding ended.
    pub(super) recovered: Option<Instant>,
}

/// Whether a withdrawal may happen.
enum Leaving {
    Allowed,
    Refused(Refusal),
    Waiting,
}

struct Step {
    to: Stage,
    cause: Cause,
    why: String,
}

fn step(to: Stage, cause: Cause, why: impl Into<String>) -> Option<Step> {
    let why = why.into();
    Some(Step { to, cause, why })
}

impl Machine {
    pub(crate) fn new(settings: PrefixSettings, now: Instant) -> Self {
        let mut machine = Self {
            settings,
            stage: Stage::Warmup,
            since: now,
            why: "configured".to_owned(),
            orders: Orders::Run,
            health: Smoothed::default(),
            refusal: None,
            addresses: BTreeMap::new(),
            sent: 0,
            blackholed: false,
            depreferenced: None,
            damping: Damping::default(),
            asked: Asked::default(),
            leased: false,
            by_operator: false,
            rate: None,
            busy_rate: 0.0,
            claim: Claim::default(),
            was_fatal: false,
            recovered: None,
        };
        machine.forget_addresses();
        machine
    }

    /// Nothing is known of the service addresses.
    pub(crate) fn forget_addresses(&mut self) {
        let unknown = |address: &IpAddr| (*address, Err("not yet on the interface".to_owned()));
        self.addresses = self.settings.addresses.iter().map(unknown).collect();
    }

    pub(super) fn healthy_since(&self) -> Option<Instant> {
        self.health.healthy_since(&self.settings)
    }

    pub(crate) fn answered(&mut self, permit: Permit, until: Instant) {
        if self.asked.since.is_some() {
            self.asked.answer = Some((permit, until));
        }
    }

    pub(crate) fn measured(&mut self, now: Instant, per_second: f64) {
        self.rate = Some((now, per_second));
    }

    /// What peers should hold, before egress rules: `None` is withdrawn.
    pub(crate) fn route(&self) -> Option<Attributes> {
        let own = &self.settings.attributes;
        match self.stage {
            Stage::Up => Some(own.clone()),
            Stage::Draining if self.depreferenced.is_none() => Some(own.clone()),
            Stage::Draining | Stage::Pinned => Some(own.depreferenced(&self.settings.drain)),
            _ => None,
        }
    }

    /// Whether it is on its way up and nothing is known to hinder it.
    pub(crate) fn is_coming_up(&self) -> bool {
        let way = matches!(
            self.stage,
            Stage::Warmup | Stage::Draining | Stage::Lingering
        );
        way && self.health.fatal().is_none()
    }

    /// An operator or the configuration has taken it away, and nothing is left to do.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.orders, Orders::Leave(_))
            && matches!(self.stage, Stage::Withdrawn | Stage::Disabled)
    }

    /// Probes say something: we have not taken its addresses off ourselves.
    pub(crate) fn is_meant_to_answer(&self) -> bool {
        !self.is_gone() || self.addresses.values().any(Result::is_ok)
    }

    pub(crate) fn is_alarming(&self) -> bool {
        self.stage == Stage::Suppressed || (self.stage == Stage::Pinned && self.refusal.is_some())
    }

    /// Takes every step that is due.
    pub(crate) fn advance(&mut self, facts: &Facts<'_>, out: &mut Vec<Action>) {
        let fatal = self.fatal(facts).is_some();
        if std::mem::replace(&mut self.was_fatal, fatal) && !fatal {
            self.recovered = Some(facts.now);
        }
        // Each pass changes the stage; no chain of stages is longer than there are stages.
        for _ in 0..8 {
            self.ask(facts);
            self.depreference(facts, out);
            self.note_refusal(facts, out);
            let Some(step) = self.due(facts) else { break };
            self.enter(step, facts, out);
        }
        self.ask(facts);
        let claim = self.wanted_claim(facts);
        if claim != self.claim {
            self.claim = claim;
            let prefix = self.settings.prefix;
            out.push(Action::Claim { prefix, claim });
        }
    }

    fn wanted_claim(&self, facts: &Facts<'_>) -> Claim {
        let stays = !matches!(self.orders, Orders::Leave(_)) && !self.blackholed;
        Claim {
            announced: self.stage.is_announced()
                && self.sent > 0
                && stays
                && !facts.settings.dry_run,
            withdraw: self.wants_permit(facts),
        }
    }

    fn wants_permit(&self, facts: &Facts<'_>) -> bool {
        let may_ask = facts.settings.shared_store
            && !facts.settings.dry_run
            && !facts.settings.site.last_resort
            && self.orders == Orders::Run;
        let leaves =
            self.stage.is_announced() && self.fatal(facts).is_some() && facts.dependency.is_none();
        may_ask && (self.leased || leaves)
    }

    fn ask(&mut self, facts: &Facts<'_>) {
        // The permit is given back only when peers hold the route again.
        if self.leased && self.stage.is_announced() && self.sent > 0 {
            self.leased = false;
        }
        if !self.wants_permit(facts) {
            self.asked = Asked::default();
        } else if self.asked.since.is_none() {
            self.asked.since = Some(facts.now);
        }
    }

    fn permit(&self, facts: &Facts<'_>) -> Permit {
        match self.asked.answer {
            _ if !facts.settings.shared_store => Permit::NoStore,
            Some((Permit::Held { .. }, until)) if facts.now >= until => Permit::Unavailable,
            Some((permit, _)) => permit,
            None => Permit::Unavailable,
        }
    }

    /// The fatal finding, its cause and sentence.
    pub(super) fn fatal(&self, facts: &Facts<'_>) -> Option<(Finding, Cause, String)> {
        if let Some(reason) = facts.stopped {
            let why = format!("serving has stopped: {reason}");
            return Some((Finding::LocalFatal, Cause::LocalFatal, why));
        }
        let (finding, reason) = self.health.fatal()?;
        let (cause, what) = match finding {
            Finding::SiteFatal => (Cause::SiteFatal, "the PoP is down"),
            _ => (Cause::LocalFatal, "our own probes fail"),
        };
        Some((finding, cause, format!("{what}: {reason}")))
    }

    fn leaving(&self, finding: Finding, facts: &Facts<'_>) -> Leaving {
        let restraint = match (&self.orders, facts.dependency) {
            (Orders::Pin(_), _) => Restraint::Pinned,
            (_, Some(_)) => Restraint::Frozen,
            _ if facts.settings.dry_run => Restraint::DryRun,
            _ => Restraint::Free,
        };
        let unanswered = self.asked.answer.is_none()
            && self.patience_ends(facts).is_some_and(|end| facts.now < end);
        if unanswered {
            return Leaving::Waiting;
        }
        match may_withdraw(facts.settings.site, restraint, finding, self.permit(facts)) {
            Ok(()) => Leaving::Allowed,
            Err(refusal) => Leaving::Refused(refusal),
        }
    }

    pub(super) fn patience_ends(&self, facts: &Facts<'_>) -> Option<Instant> {
        Some(self.asked.since? + facts.settings.timing.permit_patience)
    }

    pub(super) fn permit_ends(&self) -> Option<Instant> {
        match self.asked.answer? {
            (Permit::Held { .. }, until) => Some(until),
            _ => None,
        }
    }

    /// Why the permit that keeps it withdrawn no longer stands.
    fn permit_lost(&self, facts: &Facts<'_>) -> Option<Refusal> {
        if !self.leased {
            return None;
        }
        let permit = self.permit(facts);
        may_withdraw(
            facts.settings.site,
            Restraint::Free,
            Finding::LocalFatal,
            permit,
        )
        .err()
    }

    fn due(&self, facts: &Facts<'_>) -> Option<Step> {
        match &self.orders {
            Orders::Leave(leave) => self.due_leaving(leave, facts),
            Orders::Run => self.due_running(facts),
            Orders::Pin(reason) if !self.stage.is_announced() => {
                step(Stage::Pinned, Cause::Operator, format!("pinned: {reason}"))
            }
            Orders::Pin(_) => self.due_running(facts),
        }
    }

    fn due_leaving(&self, leave: &Leave, facts: &Facts<'_>) -> Option<Step> {
        let cause = if leave.removed {
            Cause::Configuration
        } else {
            Cause::Operator
        };
        match self.stage {
            Stage::Up | Stage::Pinned if leave.at_once => {
                step(Stage::Lingering, cause, &leave.reason)
            }
            Stage::Up | Stage::Pinned => step(Stage::Draining, cause, &leave.reason),
            Stage::Warmup | Stage::Suppressed => step(Stage::Withdrawn, cause, &leave.reason),
            Stage::Draining if leave.at_once => step(Stage::Lingering, cause, &leave.reason),
            // The operator wants it away, and it serves nobody: nothing is worth waiting for.
            Stage::Draining if self.fatal(facts).is_some() => {
                let (_, cause, why) = self.fatal(facts)?;
                step(Stage::Lingering, cause, why)
            }
            Stage::Draining => {
                let why = self.emptied(facts)?;
                step(Stage::Lingering, Cause::Done, format!("drained: {why}"))
            }
            Stage::Lingering => {
                let why = self.lingered(facts)?;
                step(Stage::Withdrawn, cause, format!("{}: {why}", leave.reason))
            }
            Stage::Withdrawn if leave.removed => {
                step(Stage::Disabled, cause, "not in the configuration")
            }
            Stage::Withdrawn | Stage::Disabled => None,
        }
    }

    fn due_running(&self, facts: &Facts<'_>) -> Option<Step> {
        let lost = self.permit_lost(facts);
        match (self.stage, lost) {
            (Stage::Warmup | Stage::Withdrawn | Stage::Suppressed, Some(refusal)) => {
                let why = format!("announced again, the permit ended: {refusal}");
                step(Stage::Pinned, Cause::PermitLost, why)
            }
            (Stage::Disabled, _) => step(Stage::Warmup, Cause::Configuration, "configured"),
            (Stage::Warmup, _) => self.due_in_warmup(facts),
            (Stage::Up, _) => self.due_in_up(facts),
            (Stage::Pinned, _) => self.due_in_pinned(facts),
            (Stage::Draining, _) if self.fatal(facts).is_some() || facts.stale.is_some() => {
                step(Stage::Pinned, Cause::Operator, "undrained, but not healthy")
            }
            (Stage::Draining, _) => step(Stage::Up, Cause::Operator, "undrained"),
            (Stage::Lingering, _) if self.hindrance(facts).is_none() => {
                step(Stage::Up, Cause::Operator, "undrained")
            }
            (Stage::Lingering, _) => step(Stage::Warmup, Cause::Operator, "undrained"),
            (Stage::Withdrawn, _) if self.by_operator => {
                step(Stage::Warmup, Cause::Operator, "undrained")
            }
            (Stage::Withdrawn, _) => {
                self.healthy_since()?;
                if self.fatal(facts).is_some() {
                    return None;
                }
                step(Stage::Warmup, Cause::Healthy, "healthy again")
            }
            (Stage::Suppressed, _) => {
                let reusable = self.damping.reusable_at(&facts.settings.timing)?;
                if facts.now < reusable {
                    return None;
                }
                step(Stage::Withdrawn, Cause::Done, "the flaps have decayed")
            }
        }
    }

    fn due_in_warmup(&self, facts: &Facts<'_>) -> Option<Step> {
        if let Some((_, cause, why)) = self.fatal(facts) {
            // Before the first announcement there is nothing to withdraw: it stays in Warmup.
            let departed = self.damping.has_departed() && !self.by_operator;
            return departed.then_some(Step {
                to: Stage::Withdrawn,
                cause,
                why,
            });
        }
        if self.hindrance(facts).is_some() {
            return None;
        }
        match facts.stale {
            Some(reason) => step(Stage::Pinned, Cause::Stale, format!("stale: {reason}")),
            None => step(Stage::Up, Cause::Healthy, "healthy"),
        }
    }

    fn due_in_up(&self, facts: &Facts<'_>) -> Option<Step> {
        let Some((finding, cause, why)) = self.fatal(facts) else {
            let reason = facts.stale?;
            return step(Stage::Pinned, Cause::Stale, format!("stale: {reason}"));
        };
        match self.leaving(finding, facts) {
            Leaving::Waiting => None,
            Leaving::Allowed => self.withdrawal(cause, why, facts),
            Leaving::Refused(refusal) => step(Stage::Pinned, cause, format!("{why}; {refusal}")),
        }
    }

    fn due_in_pinned(&self, facts: &Facts<'_>) -> Option<Step> {
        if let Some((finding, cause, why)) = self.fatal(facts) {
            return match self.leaving(finding, facts) {
                Leaving::Allowed => self.withdrawal(cause, why, facts),
                Leaving::Waiting | Leaving::Refused(_) => None,
            };
        }
        if facts.stale.is_some() || self.hindrance(facts).is_some() {
            return None;
        }
        step(Stage::Up, Cause::Healthy, "healthy again")
    }

    fn withdrawal(&self, cause: Cause, why: String, facts: &Facts<'_>) -> Option<Step> {
        let mut damping = self.damping.clone();
        damping.withdrawn(facts.now, &facts.settings.timing);
        if damping.suppresses(facts.now, &facts.settings.timing) {
            let why = format!("flaps too often; {why}");
            return step(Stage::Suppressed, Cause::Flapping, why);
        }
        step(Stage::Withdrawn, cause, why)
    }

    /// Keeps the refusal that operators see in step with what is found now.
    fn note_refusal(&mut self, facts: &Facts<'_>, out: &mut Vec<Action>) {
        let Some((_, cause, why)) = self.fatal(facts) else {
            self.refusal = None;
            return;
        };
        if self.stage != Stage::Pinned || matches!(self.orders, Orders::Leave(_)) {
            return;
        }
        let Some(refusal) = self.refused(facts) else {
            return;
        };
        let told = self.refusal.replace(refusal);
        if told != Some(refusal) {
            self.why = format!("{why}; {refusal}");
            // One alarm a stay: why exactly it may not go can change with every question.
            out.push(self.event(None, cause, self.why.clone(), told.is_none()));
        }
    }

    fn refused(&self, facts: &Facts<'_>) -> Option<Refusal> {
        let (finding, ..) = self.fatal(facts)?;
        match self.leaving(finding, facts) {
            Leaving::Refused(refusal) => Some(refusal),
            Leaving::Allowed | Leaving::Waiting => None,
        }
    }

    fn depreference(&mut self, facts: &Facts<'_>, out: &mut Vec<Action>) {
        let Orders::Leave(leave) = &self.orders else {
            return;
        };
        if self.stage != Stage::Draining || self.depreferenced.is_some() {
            return;
        }
        if leave.whole_site && self.steering_ends(facts).is_none_or(|end| facts.now < end) {
            return;
        }
        self.depreferenced = Some(facts.now);
        let text = "steering has left; now GRACEFUL_SHUTDOWN, prepend and MED".to_owned();
        out.push(self.event(None, Cause::Operator, text, false));
    }

    /// When steering has had its time to send clients elsewhere.
    pub(super) fn steering_ends(&self, facts: &Facts<'_>) -> Option<Instant> {
        Some(facts.steering_left? + facts.settings.timing.steering_settle)
    }

    fn enter(&mut self, step: Step, facts: &Facts<'_>, out: &mut Vec<Action>) {
        let (from, now) = (self.stage, facts.now);
        let automatic = self.orders == Orders::Run && step.cause != Cause::Operator;
        let withdraws = from.is_announced() && !step.to.is_announced();
        let timing = &facts.settings.timing;
        if automatic && from == Stage::Up {
            self.damping.departed(now, timing);
        }
        if automatic && withdraws {
            self.damping.withdrawn(now, timing);
            self.leased = facts.settings.shared_store;
        }
        if matches!(self.orders, Orders::Leave(_)) {
            self.by_operator = true;
            self.leased = false;
            self.refusal = None;
        }
        if step.to == Stage::Pinned {
            self.refusal = self.permit_lost(facts).or_else(|| self.refused(facts));
            self.leased = false;
        }
        if step.to.is_announced() {
            self.by_operator = false;
        }
        if step.to == Stage::Draining {
            self.busy_rate = self.rate.map_or(0.0, |(_, rate)| rate);
            self.depreferenced = (from == Stage::Pinned).then_some(now);
        }
        self.stage = step.to;
        self.since = now;
        self.why.clone_from(&step.why);
        let alarm = self.is_alarming() && step.cause != Cause::Stale;
        out.push(self.event(Some((from, step.to)), step.cause, step.why, alarm));
    }

    fn event(
        &self,
        change: Option<(Stage, Stage)>,
        cause: Cause,
        text: String,
        alarm: bool,
    ) -> Action {
        Action::Event(Event {
            prefix: Some(self.settings.prefix),
            change,
            cause,
            text,
            alarm,
        })
    }
}
