//! Decides what is announced: a pure state machine for each prefix.
//!
//! ```text
//! probes, verdicts, rates, permits, addresses, time → Input ┐
//!                                  operator → Command ──────┤
//!   known facts → machine (one a prefix) → egress rules → Action, routes
//!                    │ guard: may automation withdraw here and now?
//!                    └ emptying: when has a drain done its work?
//! ```
//!
//! # Why
//! No automation may black out a prefix, and no dead server may hold a route. Both are decided
//! here, by pure functions of what is known and the time, so that every rule can be tested with
//! ten thousand bad days in simulated time.
//!
//! # Contract
//! The shell performs the actions in their order and hands every result back as an input. It calls
//! [`Controller::step`] with [`Input::Tick`] no later than [`Controller::next_deadline`].

mod damping;
mod egress;
mod emptying;
mod explain;
mod from_config;
mod health;
mod input;
mod machine;
mod operator;
mod settings;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use ipnet::IpNet;

pub use egress::{BLACKHOLE, NO_EXPORT, NotSent};
pub use input::*;
pub use settings::*;

use crate::{Attributes, Desired, Stage};

use egress::Outgoing;
use machine::{Facts, Machine, Orders};
use operator::Blackhole;

/// The controller of one site.
#[derive(Clone, Debug)]
pub struct Controller {
    settings: Settings,
    machines: Vec<Machine>,
    blackholes: Vec<Blackhole>,
    stopped: Option<String>,
    stale: Option<String>,
    dependency: Option<String>,
    links: Option<Vec<IpAddr>>,
    steering_left: Option<Instant>,
    ceased: bool,
    addresses: BTreeSet<IpAddr>,
    published: Vec<Desired>,
}

impl Controller {
    /// A controller that announces nothing yet. Its first [`Input::Tick`] yields the first actions.
    pub fn new(settings: Settings, now: Instant) -> Self {
        let machine = |prefix: &PrefixSettings| Machine::new(prefix.clone(), now);
        Self {
            machines: settings.announce.iter().map(machine).collect(),
            settings,
            blackholes: Vec::new(),
            stopped: None,
            stale: None,
            dependency: None,
            links: None,
            steering_left: None,
            ceased: false,
            addresses: BTreeSet::new(),
            published: Vec::new(),
        }
    }

    /// Takes in one input, and every step that is due.
    pub fn step(&mut self, now: Instant, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        self.take_in(now, input, &mut out);
        self.settle(now, out)
    }

    /// What this site wants announced, whatever is sent: withdrawn prefixes have no attributes.
    pub fn desired(&self) -> Vec<Desired> {
        self.wanted().map(|(desired, _)| desired).collect()
    }

    /// What the speaker gets: [`Controller::desired`] without what the egress rules or a dry run
    /// hold back.
    pub fn routes(&self) -> Vec<Desired> {
        let checked = self.wanted().map(|(mut desired, by_operator)| {
            if let Err(why) = self.check(&desired, by_operator) {
                desired.attributes = None;
                desired.reason = why.to_string();
            }
            desired
        });
        checked.collect()
    }

    /// The service addresses that must be on the interface.
    pub fn addresses(&self) -> &BTreeSet<IpAddr> {
        &self.addresses
    }

    /// The next moment at which something changes although no input comes.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let facts = self.facts(now);
        let machines = self.machines.iter().flat_map(|m| m.deadlines(&facts));
        let blackholes = self.blackholes.iter().map(|hole| hole.until);
        machines.chain(blackholes).filter(|at| *at > now).min()
    }

    /// Every prefix with its stage and what it waits for.
    pub fn explain(&self, now: Instant) -> Vec<Explanation> {
        let facts = self.facts(now);
        let explain = |machine: &Machine| {
            let not_sent = self
                .wanted_of(machine)
                .and_then(|desired| self.check(&desired, false).err())
                .map(|why| why.to_string());
            machine.explain(&facts, not_sent)
        };
        self.machines.iter().map(explain).collect()
    }

    /// Replaces the settings. Prefixes that stay keep their stage; those that go are drained.
    ///
    /// # Errors
    /// Refused, with nothing changed, when more announced prefixes would go than
    /// [`Settings::drop_limit_percent`] allows and `confirmed` is false.
    pub fn reload(
        &mut self,
        now: Instant,
        settings: Settings,
        confirmed: bool,
    ) -> Result<Vec<Action>, ReloadError> {
        let keeps = |m: &Machine| {
            settings
                .announce
                .iter()
                .any(|p| p.prefix == m.settings.prefix)
        };
        let announced = self.machines.iter().filter(|m| m.stage.is_announced());
        let dropped = announced.clone().filter(|m| !keeps(m)).count();
        let announced = announced.count();
        let percent = settings.drop_limit_percent;
        if !confirmed && dropped * 100 > announced * usize::from(percent) {
            return Err(ReloadError::DropsTooMany {
                dropped,
                announced,
                percent,
            });
        }
        self.settings = settings;
        self.reload_machines(now);
        Ok(self.settle(now, Vec::new()))
    }

    fn reload_machines(&mut self, now: Instant) {
        for machine in &mut self.machines {
            let prefix = machine.settings.prefix;
            match self.settings.announce.iter().find(|p| p.prefix == prefix) {
                Some(new) => {
                    machine.replace_settings(new.clone());
                    if matches!(&machine.orders, Orders::Leave(leave) if leave.removed) {
                        machine.orders = Orders::Run;
                    }
                }
                None => machine.remove(),
            }
        }
        let new: Vec<_> = self
            .settings
            .announce
            .iter()
            .filter(|p| self.machines.iter().all(|m| m.settings.prefix != p.prefix))
            .map(|p| Machine::new(p.clone(), now))
            .collect();
        self.machines.extend(new);
    }

    fn take_in(&mut self, now: Instant, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Probe { prefix, result } => self.probed(now, prefix, result, out),
            Input::Serving(state) => self.stopped = state.err(),
            Input::Verdict {
                pop,
                verdict,
                reason,
            } => {
                let follows = |m: &&mut Machine| m.settings.health == Health::Pop(pop.clone());
                for machine in self.machines.iter_mut().filter(follows) {
                    machine.health.verdict(now, verdict, reason.clone());
                }
            }
            Input::Fresh(state) => self.stale = state.err(),
            Input::Dependencies(state) => self.depend(state, out),
            Input::Rate { prefix, per_second } => {
                if let Some(machine) = self.machine(prefix) {
                    machine.measured(now, per_second);
                }
            }
            Input::Permit {
                prefix,
                permit,
                until,
            } => {
                if let Some(machine) = self.machine(prefix) {
                    machine.answered(permit, until);
                }
            }
            Input::Address { address, state } => self.addressed(address, &state, out),
            Input::Sent { prefix, peers } => {
                if let Some(machine) = self.machine(prefix) {
                    machine.sent = peers;
                }
            }
            Input::Links(links) => self.links = Some(links),
            Input::Tick => {}
        }
    }

    fn probed(
        &mut self,
        now: Instant,
        prefix: IpNet,
        result: Result<(), String>,
        out: &mut Vec<Action>,
    ) {
        let (rise, fall) = (self.settings.timing.rise, self.settings.timing.fall);
        let Some(machine) = self.machine(prefix) else {
            return;
        };
        let meant = machine.settings.is_probed() && machine.is_meant_to_answer();
        if meant && machine.health.probe(now, result, rise, fall) {
            out.push(Action::ProbeAgain(prefix));
        }
    }

    /// A dependency never changes a route; that withdrawals are frozen is worth an event.
    fn depend(&mut self, state: Result<(), String>, out: &mut Vec<Action>) {
        let text = match (&self.dependency, &state) {
            (None, Err(reason)) => format!("withdrawals are frozen: {reason}"),
            (Some(_), Ok(())) => "withdrawals are possible again".to_owned(),
            _ => String::new(),
        };
        self.dependency = state.err();
        if !text.is_empty() {
            out.push(site_event(
                Cause::Dependency,
                text,
                self.dependency.is_some(),
            ));
        }
    }

    /// A missing address lets the next probe fail: it is sent at once.
    fn addressed(&mut self, address: IpAddr, state: &Result<(), String>, out: &mut Vec<Action>) {
        for machine in &mut self.machines {
            let prefix = machine.settings.prefix;
            let Some(known) = machine.addresses.get_mut(&address) else {
                continue;
            };
            if known.is_ok() && state.is_err() {
                out.push(Action::ProbeAgain(prefix));
            }
            known.clone_from(state);
        }
    }

    /// Takes every step that is due, and puts the actions into the order that is safe.
    fn settle(&mut self, now: Instant, mut out: Vec<Action>) -> Vec<Action> {
        self.expire_blackholes(now, &mut out);
        let steering_left = self.leave_steering(now, &mut out);
        let mut machines = std::mem::take(&mut self.machines);
        let facts = self.facts(now);
        let mut claims = Vec::new();
        for machine in &mut machines {
            machine.advance(&facts, &mut claims);
        }
        machines.retain(|m| m.stage != Stage::Disabled);
        self.machines = machines;
        // First what is told, then routes, then claims: a permit is given back after announcing.
        let is_claim = |action: &Action| matches!(action, Action::Claim { .. });
        let (claims, events): (Vec<_>, Vec<_>) = claims.into_iter().partition(is_claim);
        out.extend(events);
        self.open_sessions(&mut out);
        let before = self.change_addresses(&mut out);
        self.publish(&mut out);
        out.extend(claims);
        if !steering_left {
            self.enter_steering(&mut out);
        }
        self.cease(&mut out);
        self.remove_addresses(&before, &mut out);
        out
    }

    /// Adds what is missing; returns the addresses of before.
    fn change_addresses(&mut self, out: &mut Vec<Action>) -> BTreeSet<IpAddr> {
        let wanted = self.wanted_addresses();
        let before = std::mem::replace(&mut self.addresses, wanted);
        let added = self.addresses.difference(&before).copied();
        out.extend(added.map(Action::AddAddress));
        before
    }

    /// Addresses go last: nobody may still be sent here by a route or a session of ours.
    fn remove_addresses(&mut self, before: &BTreeSet<IpAddr>, out: &mut Vec<Action>) {
        self.addresses = self.wanted_addresses();
        let removed: Vec<IpAddr> = before.difference(&self.addresses).copied().collect();
        for machine in &mut self.machines {
            if machine.addresses.keys().any(|a| removed.contains(a)) {
                machine.forget_addresses();
                machine.health.forget_probes();
            }
        }
        out.extend(removed.into_iter().map(Action::RemoveAddress));
    }

    fn wanted_addresses(&self) -> BTreeSet<IpAddr> {
        let needing = self.machines.iter().filter(|m| self.needs_address(m));
        needing
            .flat_map(|m| m.settings.addresses.iter().copied())
            .collect()
    }

    fn needs_address(&self, machine: &Machine) -> bool {
        match &machine.orders {
            Orders::Leave(leave) if leave.whole_site => !machine.is_gone() || !self.ceased,
            _ => !machine.is_gone(),
        }
    }

    /// A new reason alone is nothing that peers would hear of.
    fn publish(&mut self, out: &mut Vec<Action>) {
        let routes = self.routes();
        let said = |d: &Desired| (d.prefix, d.next_hop, d.attributes.clone());
        if !routes.iter().map(said).eq(self.published.iter().map(said)) {
            self.published = routes;
            out.push(Action::Publish);
        }
    }

    fn wanted(&self) -> impl Iterator<Item = (Desired, bool)> {
        let holes = self
            .blackholes
            .iter()
            .filter_map(|hole| self.hole_route(hole));
        let covered = |m: &&Machine| !m.blackholed;
        let machines = self.machines.iter().filter(covered);
        let withdrawn = |m: &Machine| Desired {
            prefix: m.settings.prefix,
            next_hop: next_hop(&m.settings),
            attributes: None,
            reason: m.why.clone(),
        };
        machines
            .map(move |m| (self.wanted_of(m).unwrap_or_else(|| withdrawn(m)), false))
            .chain(holes.map(|desired| (desired, true)))
    }

    /// The route of an announced prefix.
    fn wanted_of(&self, machine: &Machine) -> Option<Desired> {
        Some(Desired {
            prefix: machine.settings.prefix,
            next_hop: next_hop(&machine.settings),
            attributes: Some(machine.route()?),
            reason: machine.why.clone(),
        })
    }

    fn check(&self, desired: &Desired, by_operator: bool) -> Result<(), NotSent> {
        let none = Attributes::default();
        let route = Outgoing {
            prefix: desired.prefix,
            next_hop: desired.next_hop,
            attributes: desired.attributes.as_ref().unwrap_or(&none),
            by_operator,
        };
        let configured: Vec<IpNet> = self.machines.iter().map(|m| m.settings.prefix).collect();
        egress::check(&route, &configured, self.links.as_deref())?;
        if self.settings.dry_run && desired.attributes.is_some() {
            return Err(NotSent::DryRun);
        }
        Ok(())
    }

    fn facts(&self, now: Instant) -> Facts<'_> {
        Facts {
            now,
            settings: &self.settings,
            stopped: self.stopped.as_deref(),
            stale: self.stale.as_deref(),
            dependency: self.dependency.as_deref(),
            steering_left: self.steering_left,
        }
    }

    fn machine(&mut self, prefix: IpNet) -> Option<&mut Machine> {
        self.machines
            .iter_mut()
            .find(|m| m.settings.prefix == prefix)
    }
}

/// The configured next hop; unspecified stands for the local address of each session.
fn next_hop(settings: &PrefixSettings) -> IpAddr {
    let own: IpAddr = match settings.prefix {
        IpNet::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpNet::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    settings.next_hop.unwrap_or(own)
}

fn site_event(cause: Cause, text: String, alarm: bool) -> Action {
    Action::Event(Event {
        prefix: None,
        change: None,
        cause,
        text,
        alarm,
    })
}
