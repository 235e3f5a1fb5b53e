//! The published state of every PoP under every check, kept up to date in place.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use meridian_config::Ratio;

use crate::{EndpointHealth, GroupKey, HealthEvent, Outcome, PopHealth, Target, Verdict, quorum};

/// Text of an endpoint that has not been probed.
const NOT_PROBED: &str = "not yet probed";

pub(super) struct Groups {
    all: BTreeMap<GroupKey, PopHealth>,
    min_health: Ratio,
}

impl Groups {
    pub(super) fn new(min_health: Ratio) -> Self {
        Self {
            all: BTreeMap::new(),
            min_health,
        }
    }

    pub(super) fn all(&self) -> &BTreeMap<GroupKey, PopHealth> {
        &self.all
    }

    pub(super) fn endpoint(&self, target: &Target) -> Option<&EndpointHealth> {
        self.all.get(&target.group)?.endpoints.get(target.place)
    }

    /// Adds the endpoint of a target. Targets come in the order of their places.
    pub(super) fn add(&mut self, target: &Target, known: Option<EndpointHealth>) {
        let endpoint = known.unwrap_or_else(|| EndpointHealth {
            address: target.address,
            verdict: Verdict::Unknown,
            reason: NOT_PROBED.into(),
            since: None,
            rtt: None,
        });
        self.all
            .entry(target.group.clone())
            .or_insert_with(|| PopHealth {
                verdict: Verdict::Unknown,
                reason: NOT_PROBED.into(),
                since: None,
                endpoints: Vec::new(),
            })
            .endpoints
            .push(endpoint);
    }

    /// Judges every PoP anew, taking `since` over from the groups before where nothing changed.
    pub(super) fn judge_after(&mut self, before: &Self, wall: SystemTime) -> Vec<HealthEvent> {
        let mut events = Vec::new();
        for (key, pop) in &mut self.all {
            if let Some(old) = before.all.get(key) {
                (pop.verdict, pop.since) = (old.verdict, old.since);
            }
            events.extend(judge(key, pop, self.min_health, wall));
        }
        events
    }

    /// Writes down an outcome and the verdict after it; returns what changed.
    pub(super) fn record(
        &mut self,
        target: &Target,
        outcome: &Outcome,
        verdict: Verdict,
        held: Option<Duration>,
        wall: SystemTime,
    ) -> Vec<HealthEvent> {
        let mut events = Vec::new();
        let Some(pop) = self.all.get_mut(&target.group) else {
            return events;
        };
        let Some(endpoint) = pop.endpoints.get_mut(target.place) else {
            return events;
        };
        let reason = match held {
            Some(time) => format!(
                "{outcome}; held down for {} s, it fell too often",
                time.as_secs()
            ),
            None => outcome.to_string(),
        };
        let changed_text = endpoint.reason != reason;
        if changed_text {
            endpoint.reason = reason;
        }
        if let Outcome::Pass { rtt } = outcome {
            endpoint.rtt = Some(round(*rtt));
        }
        if endpoint.verdict != verdict {
            events.push(HealthEvent::Endpoint {
                pop: target.group.pop.clone(),
                check: target.group.check.clone(),
                address: target.address,
                from: endpoint.verdict,
                to: verdict,
                reason: endpoint.reason.clone(),
                at: wall,
            });
            endpoint.verdict = verdict;
            endpoint.since = Some(wall);
        }
        if changed_text || !events.is_empty() {
            events.extend(judge(&target.group, pop, self.min_health, wall));
        }
        events
    }
}

fn judge(
    key: &GroupKey,
    pop: &mut PopHealth,
    min_health: Ratio,
    wall: SystemTime,
) -> Option<HealthEvent> {
    let (verdict, reason) = quorum::explain(&pop.endpoints, min_health);
    pop.reason = reason;
    if pop.verdict == verdict {
        return None;
    }
    let from = std::mem::replace(&mut pop.verdict, verdict);
    pop.since = Some(wall);
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
