//! The published state of every PoP under the check, or the checks, of its pools, kept up to date
//! in place.
//!
//! ```text
//! outcome → endpoint under one check ─┬─→ group of that check alone
//!                                     └─→ group of all(…) or any(…) → verdict by min_health
//! ```

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use meridian_config::{Config, Ratio};

use crate::{
    EndpointHealth, GroupKey, HealthEvent, Outcome, PopHealth, Target, Verdict,
    combine::{Part, combined},
    quorum,
    target::{Use, uses},
};

/// Text of an endpoint that has not been probed.
const NOT_PROBED: &str = "not yet probed";

pub(super) struct Groups {
    /// Endpoints under each check alone, by their place.
    tested: BTreeMap<GroupKey, Vec<Tested>>,
    /// What each published group rests on.
    uses: BTreeMap<GroupKey, Use>,
    /// The published groups that rest on a check of a PoP.
    used_by: BTreeMap<GroupKey, Vec<GroupKey>>,
    /// What is published, but for `flips_in`: in here it is the time at which the verdict could flip,
    /// since the engine began.
    all: BTreeMap<GroupKey, PopHealth>,
    min_health: Ratio,
}

/// An endpoint under one check.
struct Tested {
    health: EndpointHealth,
    /// Its check has fallen silent.
    silent: bool,
}

/// What an outcome says of its target.
pub(super) struct Finding<'a> {
    pub(super) outcome: &'a Outcome,
    pub(super) verdict: Verdict,
    /// While its check is silent.
    pub(super) silence: Option<Silence<'a>>,
    /// The silence began or ended.
    pub(super) turned: bool,
    /// How long it is held down, while it is.
    pub(super) held: Option<Duration>,
    /// When the verdict could flip, since the engine began.
    pub(super) flips_at: Option<Duration>,
    /// Since when probes have contradicted the verdict before.
    pub(super) doubted_for: Option<Duration>,
}

/// A passive check of which nothing has been read for long.
pub(super) struct Silence<'a> {
    /// After which time it is one.
    pub(super) limit: Duration,
    /// What was said before it.
    pub(super) said: Option<&'a Outcome>,
}

/// What an outcome changed.
#[derive(Default)]
pub(super) struct Recorded {
    pub(super) events: Vec<HealthEvent>,
    /// Something began or ceased to contradict the verdict.
    pub(super) contradiction: bool,
}

impl Groups {
    /// No groups at all.
    pub(super) fn none() -> Self {
        Self {
            tested: BTreeMap::new(),
            uses: BTreeMap::new(),
            used_by: BTreeMap::new(),
            all: BTreeMap::new(),
            min_health: Ratio(0.5),
        }
    }

    /// The groups of a configuration, still without endpoints.
    pub(super) fn new(config: &Config) -> Self {
        let uses = uses(config);
        let mut used_by: BTreeMap<GroupKey, Vec<GroupKey>> = BTreeMap::new();
        for (group, one) in &uses {
            for part in one.parts(group) {
                used_by.entry(part).or_default().push(group.clone());
            }
        }
        Self {
            uses,
            used_by,
            min_health: config.steering.min_health,
            ..Self::none()
        }
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> &BTreeMap<GroupKey, PopHealth> {
        &self.all
    }

    /// What is published at a time since the engine began: from here on every `flips_in` is what is left.
    pub(super) fn at(&self, now: Duration) -> BTreeMap<GroupKey, PopHealth> {
        let mut all = self.all.clone();
        let left = |time: &mut Option<Duration>| *time = time.map(|at| at.saturating_sub(now));
        for pop in all.values_mut() {
            left(&mut pop.flips_in);
            for endpoint in &mut pop.endpoints {
                left(&mut endpoint.flips_in);
            }
        }
        all
    }

    pub(super) fn endpoint(&self, target: &Target) -> Option<&EndpointHealth> {
        let tested = self.tested.get(&target.group)?.get(target.place)?;
        Some(&tested.health)
    }

    /// Adds the endpoint of a target. Targets come in the order of their places.
    pub(super) fn add(&mut self, target: &Target, known: Option<EndpointHealth>, silent: bool) {
        let health = known.unwrap_or_else(|| EndpointHealth {
            address: target.address,
            verdict: Verdict::Unknown,
            reason: NOT_PROBED.into(),
            since: None,
            rtt: None,
            flips_in: None,
            checks: Vec::new(),
        });
        self.tested
            .entry(target.group.clone())
            .or_default()
            .push(Tested { health, silent });
    }

    /// Puts the published groups together after the last [`Groups::add`], taking `since` over from
    /// the groups before where nothing changed.
    pub(super) fn judge_after(&mut self, before: &Self, wall: SystemTime) -> Vec<HealthEvent> {
        let mut events = Vec::new();
        for (key, one) in &self.uses {
            let old = before.all.get(key);
            let parts: Vec<_> = one.parts(key).collect();
            let places = parts.first().and_then(|part| self.tested.get(part));
            let known = |place: usize| old.and_then(|old| old.endpoints.get(place));
            let endpoints = (0..places.map_or(0, Vec::len))
                .filter_map(|place| self.endpoint_of(key, one, place, known(place), wall))
                .collect();
            let mut pop = PopHealth {
                verdict: old.map_or(Verdict::Unknown, |old| old.verdict),
                reason: NOT_PROBED.into(),
                since: old.and_then(|old| old.since),
                flips_in: None,
                took: old.and_then(|old| old.took),
                endpoints,
            };
            events.extend(judge(key, &mut pop, self.min_health, None, wall));
            self.all.insert(key.clone(), pop);
        }
        events
    }

    /// Writes down an outcome and the verdict after it; returns what changed.
    pub(super) fn record(
        &mut self,
        target: &Target,
        finding: &Finding<'_>,
        wall: SystemTime,
    ) -> Recorded {
        let mut recorded = Recorded::default();
        let endpoint = self
            .tested
            .get_mut(&target.group)
            .and_then(|endpoints| endpoints.get_mut(target.place));
        let Some(Tested {
            health: endpoint,
            silent,
        }) = endpoint
        else {
            return recorded;
        };
        *silent = finding.silence.is_some();
        let from = endpoint.verdict;
        let changed = note(endpoint, finding, wall) || finding.turned;
        if from != finding.verdict {
            recorded.events.push(HealthEvent::Endpoint {
                pop: target.group.pop.clone(),
                check: target.group.check.clone(),
                address: target.address,
                from,
                to: finding.verdict,
                reason: endpoint.reason.clone(),
                at: wall,
            });
        }
        // The silence is that of a page, and that of the whole PoP.
        if finding.turned && target.place == 0 {
            recorded.events.push(HealthEvent::Silence {
                pop: target.group.pop.clone(),
                check: target.group.check.clone(),
                silent: *silent,
                reason: endpoint.reason.clone(),
                at: wall,
            });
        }
        for key in self.used_by.get(&target.group).into_iter().flatten() {
            let Some(one) = self.uses.get(key) else {
                continue;
            };
            let known = self
                .all
                .get(key)
                .and_then(|pop| pop.endpoints.get(target.place));
            let next = self.endpoint_of(key, one, target.place, known, wall);
            let Some(pop) = self.all.get_mut(key) else {
                continue;
            };
            if let (Some(next), Some(slot)) = (next, pop.endpoints.get_mut(target.place)) {
                recorded.contradiction |= slot.flips_in.is_some() != next.flips_in.is_some();
                *slot = next;
            }
            if changed {
                recorded
                    .events
                    .extend(judge(key, pop, self.min_health, finding.doubted_for, wall));
            }
        }
        recorded
    }

    /// An endpoint as a published group shows it. `known`: as it was shown before.
    fn endpoint_of(
        &self,
        key: &GroupKey,
        one: &Use,
        place: usize,
        known: Option<&EndpointHealth>,
        wall: SystemTime,
    ) -> Option<EndpointHealth> {
        let tested = |part: &GroupKey| self.tested.get(part)?.get(place);
        if one.is_single() {
            return tested(key).map(|one| one.health.clone());
        }
        let parts: Vec<_> = one
            .parts(key)
            .filter_map(|part| {
                let Tested { health, silent } = tested(&part)?;
                Some(Part {
                    health: health.clone(),
                    check: part.check,
                    silent: *silent,
                })
            })
            .collect();
        combined(one.rule, &parts, known, wall)
    }
}

impl Silence<'_> {
    /// What it was, and why nothing newer is known.
    fn told(&self, outcome: &Outcome) -> String {
        let (said, limit) = (self.said, self.limit.as_secs_f64());
        let before = said.map_or_else(|| NOT_PROBED.to_owned(), Outcome::to_string);
        match said {
            Some(said) if said == outcome => before,
            _ => format!("{before}; then silent for more than {limit} s ({outcome})"),
        }
    }
}

/// Lays a finding over an endpoint; whether that can change a verdict or its reason.
fn note(endpoint: &mut EndpointHealth, finding: &Finding<'_>, wall: SystemTime) -> bool {
    let outcome = finding.outcome;
    let mut reason = match &finding.silence {
        Some(silence) => silence.told(outcome),
        None => outcome.to_string(),
    };
    if let Some(time) = finding.held {
        let held = format!("; held down for {} s, it fell too often", time.as_secs());
        reason.push_str(&held);
    }
    if let Outcome::Pass { rtt } = outcome
        && !rtt.is_zero()
    {
        endpoint.rtt = Some(round(*rtt));
    }
    let changed = endpoint.reason != reason
        || endpoint.verdict != finding.verdict
        || endpoint.flips_in != finding.flips_at;
    if endpoint.verdict != finding.verdict {
        endpoint.verdict = finding.verdict;
        endpoint.since = Some(wall);
    }
    endpoint.reason = reason;
    endpoint.flips_in = finding.flips_at;
    changed
}

fn judge(
    key: &GroupKey,
    pop: &mut PopHealth,
    min_health: Ratio,
    doubted_for: Option<Duration>,
    wall: SystemTime,
) -> Option<HealthEvent> {
    let (verdict, reason) = quorum::explain(&pop.endpoints, min_health);
    pop.reason = reason;
    pop.flips_in = quorum::flips_in(
        pop.endpoints.iter().map(|one| (one.verdict, one.flips_in)),
        min_health,
    );
    if pop.verdict == verdict {
        return None;
    }
    let from = std::mem::replace(&mut pop.verdict, verdict);
    pop.since = Some(wall);
    pop.took = doubted_for;
    Some(HealthEvent::Pop {
        pop: key.pop.clone(),
        check: key.check.clone(),
        from,
        to: verdict,
        reason: pop.reason.clone(),
        at: wall,
    })
}

/// Whole microseconds: finer digits are noise.
fn round(rtt: Duration) -> Duration {
    Duration::from_micros(u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX))
}
