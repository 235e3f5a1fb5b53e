//! A new configuration over a running engine.
//!
//! # Rules
//! A target that had this PoP, check name and address before
//! 1. with the same definition of the check goes on: verdict, counters, schedule, connections;
//! 2. with another definition keeps its verdict, with counters at zero, and is probed within the
//!    first second: a reload must not make a dead PoP usable, nor a living one dead.
//!
//! A new target
//! 3. takes over the verdict of its address where every target of that address had the same one
//!    (a check or a PoP was renamed, or another check was put on it);
//! 4. else is Unknown.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use meridian_config::Config;

use super::{Action, Engine, Groups, News, Now, Tracked};
use crate::{
    EndpointHealth, GroupKey, Target, TargetId, Verdict,
    flap::Flap,
    schedule::Pace,
    target::targets,
    verdict::{Machine, Thresholds},
};

impl Engine {
    /// Takes over a configuration, the first one too.
    pub(crate) fn reload(&mut self, config: &Config, now: Now) {
        let mut known = Known::of(self);
        let mut groups = Groups::new(config);
        let mut kept = HashMap::new();
        for target in targets(config) {
            let (id, tracked, health) = match known.take(&target) {
                Some((id, mut tracked, health)) if tracked.target.same_test(&target) => {
                    tracked.target = Arc::new(target);
                    (id, tracked, Some(health))
                }
                Some((_, _, health)) => self.track(target, Some(health), now),
                None => {
                    let health = known.of_address(target.address);
                    self.track(target, health, now)
                }
            };
            groups.add(&tracked.target, health, tracked.silent);
            kept.insert(id, tracked);
        }
        let events = groups.judge_after(&self.groups, now.wall);
        self.actions.extend(events.into_iter().map(Action::Tell));
        self.targets = kept;
        self.passive = HashMap::new();
        for (id, tracked) in &self.targets {
            if tracked.target.is_passive() {
                let group = tracked.target.group.clone();
                self.passive.entry(group).or_default().push(*id);
            }
        }
        self.groups = groups;
        self.queue = self
            .targets
            .iter()
            .filter(|(_, t)| !t.target.is_passive())
            .map(|(&id, t)| Reverse((t.due, id)))
            .collect();
        self.news = News::Order;
    }

    fn track(
        &mut self,
        target: Target,
        mut health: Option<EndpointHealth>,
        now: Now,
    ) -> (TargetId, Tracked, Option<EndpointHealth>) {
        self.next_id += 1;
        // Its counters start at zero.
        if let Some(health) = &mut health {
            health.flips_in = None;
        }
        let pace = Pace::of(&target.check);
        let seed = target.seed();
        let thresholds = Thresholds {
            fall: target.check.fall.max(1),
            rise: target.check.rise.max(1),
        };
        let tracked = Tracked {
            pace,
            thresholds,
            seed,
            machine: Machine::new(health.as_ref().map_or(Verdict::Unknown, |h| h.verdict)),
            flap: Flap::default(),
            due: pace.first(now.instant, seed),
            started: 0,
            in_flight: 0,
            last_start: None,
            heard: false,
            passed: None,
            doubted: None,
            judged: now.instant,
            said: None,
            silent: false,
            target: Arc::new(target),
        };
        (TargetId(self.next_id), tracked, health)
    }
}

/// What was known before a reload.
struct Known {
    exact: HashMap<(GroupKey, IpAddr), (TargetId, Tracked, EndpointHealth)>,
    by_address: BTreeMap<IpAddr, Option<EndpointHealth>>,
}

impl Known {
    /// Takes the targets out of the engine.
    fn of(engine: &mut Engine) -> Self {
        let mut known = Self {
            exact: HashMap::new(),
            by_address: BTreeMap::new(),
        };
        for (id, tracked) in std::mem::take(&mut engine.targets) {
            let Some(health) = engine.groups.endpoint(&tracked.target).cloned() else {
                continue;
            };
            known
                .by_address
                .entry(tracked.target.address)
                .and_modify(|agreed| {
                    if agreed.as_ref().is_some_and(|a| a.verdict != health.verdict) {
                        *agreed = None;
                    }
                })
                .or_insert_with(|| Some(health.clone()));
            let key = (tracked.target.group.clone(), tracked.target.address);
            known.exact.insert(key, (id, tracked, health));
        }
        known
    }

    fn take(&mut self, target: &Target) -> Option<(TargetId, Tracked, EndpointHealth)> {
        self.exact.remove(&(target.group.clone(), target.address))
    }

    fn of_address(&self, address: IpAddr) -> Option<EndpointHealth> {
        self.by_address.get(&address).cloned().flatten()
    }
}
