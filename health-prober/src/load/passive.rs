//! Errors as a check: which series of a page it takes, and what a reading says.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use meridian_config::{CheckKind, Config, LoadKind, PassiveCheck, PopId, SeriesMatch};

use super::Fault;
use crate::{LocalReason, Outcome, Reason};

/// Passive checks by number of the PoP, those of each sorted by name.
pub(super) fn passive_checks(config: &Config) -> BTreeMap<PopId, Vec<(String, PassiveCheck)>> {
    let mut all: BTreeMap<PopId, Vec<_>> = BTreeMap::new();
    for pool in &config.pools {
        for id in pool.check.iter().flat_map(|check| &check.checks) {
            let check = config.check(*id);
            let CheckKind::Passive(passive) = &check.kind else {
                continue;
            };
            for pop in &pool.pops {
                let one = (check.name.clone(), passive.clone());
                all.entry(*pop).or_default().push(one);
            }
        }
    }
    for checks in all.values_mut() {
        checks.sort_by(|(a, _), (b, _)| a.cmp(b));
        checks.dedup_by(|(a, _), (b, _)| a == b);
    }
    all
}

/// The load's own series, then errors and requests of each passive check.
pub(super) fn wanted(
    kind: &LoadKind,
    passive: &[(String, PassiveCheck)],
) -> Option<Arc<[SeriesMatch]>> {
    let LoadKind::Prometheus { series, .. } = kind else {
        return None;
    };
    let pairs = passive
        .iter()
        .flat_map(|(_, check)| [check.errors.clone(), check.requests.clone()]);
    Some(std::iter::once(series.clone()).chain(pairs).collect())
}

/// # Rules
/// Fewer requests than `min_requests` speak against nobody: a PoP that is out of answers has none,
/// and must be able to come back. If it then fails again, flap detection holds it down for growing
/// times.
pub(super) fn verdict(check: &PassiveCheck, errors: f64, requests: f64) -> Outcome {
    if requests < f64::from(check.min_requests) || errors <= check.max_ratio * requests {
        return Outcome::Pass {
            rtt: Duration::ZERO,
        };
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and saturating"
    )]
    let whole = |number: f64| number.round() as u64;
    Outcome::Fail {
        reason: Reason::Errors {
            errors: whole(errors),
            requests: whole(requests),
        },
    }
}

/// Nothing was read that could be judged.
pub(super) fn unread(fault: &Fault) -> Outcome {
    let reason = LocalReason::Source(fault.to_string());
    Outcome::Inconclusive { reason }
}

/// Growth needs a second reading.
pub(super) fn unread_first() -> Outcome {
    let reason = LocalReason::NotProbed;
    Outcome::Inconclusive { reason }
}
