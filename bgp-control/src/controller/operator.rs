//! What operators order: drains, pins, blackholes, and the site's own order of leaving.

use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::{Attributes, Desired};

use super::{
    Action, BLACKHOLE, Cause, Command, CommandError, Controller, NO_EXPORT, PrefixSettings, Select,
    machine::{Leave, Machine, Orders},
    next_hop, site_event,
};

/// One blackhole and its end.
#[derive(Clone, Debug)]
pub(super) struct Blackhole {
    pub(super) prefix: IpNet,
    pub(super) until: Instant,
    pub(super) reason: String,
}

impl Controller {
    /// Carries out an operator's word. It passes every guard, and it is always told as an event.
    ///
    /// # Errors
    /// Nothing changed: the command names no prefix, an unknown one, or has no end.
    pub fn command(&mut self, now: Instant, command: Command) -> Result<Vec<Action>, CommandError> {
        let mut out = Vec::new();
        match command {
            Command::Drain { select, reason } => self.leave(&select, &reason, false, &mut out)?,
            Command::Withdraw { select, reason } => self.leave(&select, &reason, true, &mut out)?,
            Command::Pin { select, reason } => {
                let orders = Orders::Pin(reason.clone());
                self.order(&select, &orders, format!("pinned: {reason}"), &mut out)?;
            }
            Command::Undo { select } => {
                self.order(&select, &Orders::Run, "undone".to_owned(), &mut out)?;
            }
            Command::Blackhole {
                prefix,
                lasts,
                reason,
            } => {
                self.blackhole(now, prefix, lasts, reason, &mut out)?;
            }
            Command::EndBlackhole { prefix } => self.end_blackhole(prefix, &mut out)?,
        }
        Ok(self.settle(now, out))
    }

    fn leave(
        &mut self,
        select: &Select,
        reason: &str,
        at_once: bool,
        out: &mut Vec<Action>,
    ) -> Result<(), CommandError> {
        let verb = if at_once { "withdrawn" } else { "drained" };
        let leave = Leave {
            reason: format!("{verb} by an operator: {reason}"),
            at_once,
            whole_site: *select == Select::Site,
            removed: false,
        };
        let text = leave.reason.clone();
        self.order(select, &Orders::Leave(leave), text, out)
    }

    /// Gives orders to explicitly named prefixes or, by its own word, to the whole site.
    fn order(
        &mut self,
        select: &Select,
        orders: &Orders,
        text: String,
        out: &mut Vec<Action>,
    ) -> Result<(), CommandError> {
        let named: Vec<IpNet> = match select {
            Select::Site => self.machines.iter().map(|m| m.settings.prefix).collect(),
            Select::Prefixes(named) if named.is_empty() => return Err(CommandError::Nothing),
            Select::Prefixes(named) => named.clone(),
        };
        let configured = |p: &IpNet| self.machines.iter().any(|m| m.settings.prefix == *p);
        if let Some(unknown) = named.iter().find(|p| !configured(p)) {
            return Err(CommandError::Unknown(*unknown));
        }
        for machine in &mut self.machines {
            let removed = matches!(&machine.orders, Orders::Leave(leave) if leave.removed);
            if named.contains(&machine.settings.prefix) && !removed {
                machine.orders = orders.clone();
            }
        }
        out.push(site_event(Cause::Operator, text, false));
        Ok(())
    }

    /// RFC 7999 §3: only by explicit action, only inside our own prefixes, and here only for a
    /// while.
    fn blackhole(
        &mut self,
        now: Instant,
        prefix: IpNet,
        lasts: Duration,
        reason: String,
        out: &mut Vec<Action>,
    ) -> Result<(), CommandError> {
        let host = prefix.prefix_len() == prefix.max_prefix_len();
        if !host || self.covering(prefix).is_none() {
            return Err(CommandError::NotOurHost(prefix));
        }
        let max = self.settings.timing.blackhole_max;
        if lasts < Duration::from_secs(1) || lasts > max {
            return Err(CommandError::BadDuration(max));
        }
        let text = format!("{prefix} is blackholed for {} s: {reason}", lasts.as_secs());
        self.blackholes.retain(|hole| hole.prefix != prefix);
        self.blackholes.push(Blackhole {
            prefix,
            until: now + lasts,
            reason,
        });
        self.mark_blackholed();
        out.push(site_event(Cause::Operator, text, true));
        Ok(())
    }

    fn end_blackhole(&mut self, prefix: IpNet, out: &mut Vec<Action>) -> Result<(), CommandError> {
        let before = self.blackholes.len();
        self.blackholes.retain(|hole| hole.prefix != prefix);
        if self.blackholes.len() == before {
            return Err(CommandError::NotBlackholed(prefix));
        }
        self.mark_blackholed();
        let text = format!("{prefix} is no longer blackholed");
        out.push(site_event(Cause::Operator, text, false));
        Ok(())
    }

    pub(super) fn expire_blackholes(&mut self, now: Instant, out: &mut Vec<Action>) {
        let (over, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.blackholes)
            .into_iter()
            .partition(|hole| now >= hole.until);
        self.blackholes = left;
        for hole in &over {
            let text = format!("{} is no longer blackholed: its time is over", hole.prefix);
            out.push(site_event(Cause::Done, text, false));
        }
        if !over.is_empty() {
            self.mark_blackholed();
        }
    }

    fn mark_blackholed(&mut self) {
        for machine in &mut self.machines {
            let own = machine.settings.prefix;
            machine.blackholed = self.blackholes.iter().any(|hole| hole.prefix == own);
        }
    }

    fn covering(&self, prefix: IpNet) -> Option<&PrefixSettings> {
        let covers = |p: &&PrefixSettings| p.prefix.prefix_len() > 0 && p.prefix.contains(&prefix);
        self.settings.announce.iter().find(covers)
    }

    pub(super) fn hole_route(&self, hole: &Blackhole) -> Option<Desired> {
        let attributes = Attributes {
            communities: vec![BLACKHOLE, NO_EXPORT],
            ..Attributes::default()
        };
        Some(Desired {
            prefix: hole.prefix,
            next_hop: next_hop(self.covering(hole.prefix)?),
            attributes: Some(attributes),
            reason: format!("blackholed by an operator: {}", hole.reason),
        })
    }

    /// Step one of a drain of the whole site. Returns whether the site is outside steering.
    pub(super) fn leave_steering(&mut self, now: Instant, out: &mut Vec<Action>) -> bool {
        let leaves = self.machines.iter().any(leaves_whole_site);
        if leaves && self.steering_left.is_none() {
            self.steering_left = Some(now);
            if !self.settings.dry_run {
                out.push(Action::ExcludeFromSteering);
            }
        }
        leaves
    }

    /// The last step of an undrain: once the prefixes are announced again, or cannot be.
    pub(super) fn enter_steering(&mut self, out: &mut Vec<Action>) {
        if self.steering_left.is_some() && !self.machines.iter().any(Machine::is_coming_up) {
            self.steering_left = None;
            if !self.settings.dry_run {
                out.push(Action::IncludeInSteering);
            }
        }
    }

    /// Sessions end when the whole site is drained and nothing lingers.
    pub(super) fn cease(&mut self, out: &mut Vec<Action>) {
        let whole = |m: &Machine| leaves_whole_site(m) && m.is_gone();
        if self.ceased || self.machines.is_empty() || !self.machines.iter().all(whole) {
            return;
        }
        self.ceased = true;
        let Some(Orders::Leave(leave)) = self.machines.first().map(|m| &m.orders) else {
            return;
        };
        out.push(Action::Cease(leave.reason.clone()));
    }

    pub(super) fn open_sessions(&mut self, out: &mut Vec<Action>) {
        if self.ceased && !self.machines.iter().all(leaves_whole_site) {
            self.ceased = false;
            out.push(Action::OpenSessions);
        }
    }
}

fn leaves_whole_site(machine: &Machine) -> bool {
    matches!(&machine.orders, Orders::Leave(leave) if leave.whole_site)
}

impl Machine {
    /// The configuration no longer has it: it is drained like by an operator, then forgotten.
    pub(super) fn remove(&mut self) {
        self.orders = Orders::Leave(Leave {
            reason: "no longer configured".to_owned(),
            at_once: false,
            whole_site: false,
            removed: true,
        });
    }

    pub(super) fn replace_settings(&mut self, settings: PrefixSettings) {
        if settings.health != self.settings.health {
            self.health = super::health::Smoothed::default();
        }
        let moved = settings.addresses != self.settings.addresses;
        self.settings = settings;
        if moved {
            let known = std::mem::take(&mut self.addresses);
            self.forget_addresses();
            for (address, state) in known {
                self.addresses.entry(address).and_modify(|new| *new = state);
            }
        }
    }
}
