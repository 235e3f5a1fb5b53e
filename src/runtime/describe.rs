//! Pure descriptions of the state: what each PoP counts as, and the status document.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use meridian_config::{Config, Pool, Pop, PopId};
use meridian_health_prober::{
    CheckHealth, EndpointHealth, GroupKey, HealthSnapshot, Loads, PopHealth, PopLoad, Verdict,
};

use super::status::{CheckStatus, EndpointStatus, LoadStatus, OverrideStatus, PopState, PopStatus};

/// Every PoP as `status` shows it, in the order of the configuration. `loads` may be newer than
/// those of `health`.
pub fn pops(config: &Config, health: &HealthSnapshot, loads: &Loads) -> Vec<PopStatus> {
    (0_u16..)
        .map(PopId)
        .zip(&config.pops)
        .map(|(id, pop)| PopStatus {
            load: loads.get(&pop.name).map(load),
            ..describe(config, health, id, pop)
        })
        .collect()
}

/// What a PoP counts as: "Operator override beats verdict beats unknown".
pub fn state(config: &Config, health: &HealthSnapshot, id: PopId) -> PopState {
    let pop = config.pop(id);
    if health.overrides.contains_key(&pop.name) {
        return PopState::Drained;
    }
    match worst(config, health, id).0 {
        Verdict::Up => PopState::Up,
        Verdict::Unknown => PopState::Unknown,
        Verdict::Down => PopState::Down,
    }
}

fn describe(config: &Config, health: &HealthSnapshot, id: PopId, pop: &Pop) -> PopStatus {
    let (verdict, reason, since) = worst(config, health, id);
    PopStatus {
        name: pop.name.clone(),
        latitude: pop.location.latitude,
        longitude: pop.location.longitude,
        weight: pop.weight.0,
        state: state(config, health, id),
        verdict: verdict_name(verdict).to_owned(),
        reason,
        since: since.and_then(timestamp),
        override_: health.overrides.get(&pop.name).map(|o| OverrideStatus {
            kind: "drain".to_owned(),
            reason: o.reason.clone(),
            since: timestamp(o.since).unwrap_or(Timestamp::UNIX_EPOCH),
            until: o.until.and_then(timestamp),
        }),
        pools: pools_of(config, id).map(|p| p.name.clone()).collect(),
        load: None,
        endpoints: endpoints(config, health, id, pop),
    }
}

/// A load as it is shown.
pub fn load(load: &PopLoad) -> LoadStatus {
    LoadStatus {
        state: load.state,
        ratio: load.ratio,
        value: load.value,
        capacity: load.capacity,
        what: load.what.clone(),
        source: load.source.clone(),
        at: load.at.and_then(timestamp),
        problem: load.problem.clone(),
    }
}

fn pools_of(config: &Config, id: PopId) -> impl Iterator<Item = &Pool> {
    config
        .pools
        .iter()
        .filter(move |pool| pool.pops.contains(&id))
}

/// Names of the checks under which the PoP is tested, each once, in the order of the pools.
fn checks_of(config: &Config, id: PopId) -> Vec<String> {
    let mut names = Vec::new();
    for check in pools_of(config, id).filter_map(|pool| pool.check.as_ref()) {
        let name = config.check_name(check);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Every group of targets that the configuration has tested.
pub fn groups(config: &Config) -> Vec<GroupKey> {
    let key = |id: PopId, check: &str| GroupKey {
        pop: config.pop(id).name.clone(),
        check: check.to_owned(),
    };
    let pools = config.pools.iter();
    pools
        .filter_map(|pool| Some((pool, config.check_name(pool.check.as_ref()?))))
        .flat_map(|(pool, check)| pool.pops.iter().map(move |id| key(*id, &check)))
        .collect()
}

fn group<'a>(health: &'a HealthSnapshot, pop: &str, check: &str) -> Option<&'a PopHealth> {
    health.groups.get(&GroupKey {
        pop: pop.to_owned(),
        check: check.to_owned(),
    })
}

/// The worst verdict among the PoP's checks: Down, then Unknown, then Up.
pub(super) fn worst(
    config: &Config,
    health: &HealthSnapshot,
    id: PopId,
) -> (Verdict, String, Option<SystemTime>) {
    let pop = &config.pop(id).name;
    let checks = checks_of(config, id);
    if checks.is_empty() {
        return (Verdict::Unknown, "no check".to_owned(), None);
    }
    let badness = |verdict| match verdict {
        Verdict::Down => 2,
        Verdict::Unknown => 1,
        Verdict::Up => 0,
    };
    checks
        .iter()
        .map(|check| match group(health, pop, check) {
            Some(group) => (group.verdict, group.reason.clone(), group.since),
            None => (Verdict::Unknown, "not probed yet".to_owned(), None),
        })
        .max_by_key(|(verdict, ..)| badness(*verdict))
        .unwrap_or((Verdict::Unknown, String::new(), None))
}

fn endpoints(
    config: &Config,
    health: &HealthSnapshot,
    id: PopId,
    pop: &Pop,
) -> Vec<EndpointStatus> {
    let checks = checks_of(config, id);
    if checks.is_empty() {
        return pop
            .endpoints
            .iter()
            .map(|a| unprobed(*a, None, "no check"))
            .collect();
    }
    let mut all = Vec::new();
    for check in &checks {
        match group(health, &pop.name, check) {
            Some(group) => all.extend(group.endpoints.iter().map(|e| probed(e, check))),
            None => all.extend(
                pop.endpoints
                    .iter()
                    .map(|a| unprobed(*a, Some(check), "not probed yet")),
            ),
        }
    }
    all
}

fn probed(endpoint: &EndpointHealth, check: &str) -> EndpointStatus {
    EndpointStatus {
        address: endpoint.address,
        check: Some(check.to_owned()),
        verdict: verdict_name(endpoint.verdict).to_owned(),
        reason: endpoint.reason.clone(),
        since: endpoint.since.and_then(timestamp),
        rtt_ms: endpoint.rtt.map(milliseconds),
        checks: endpoint.checks.iter().map(one_check).collect(),
    }
}

fn one_check(one: &CheckHealth) -> CheckStatus {
    CheckStatus {
        check: one.check.clone(),
        verdict: verdict_name(one.verdict).to_owned(),
        reason: one.reason.clone(),
        since: one.since.and_then(timestamp),
        rtt_ms: one.rtt.map(milliseconds),
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn unprobed(address: std::net::IpAddr, check: Option<&str>, reason: &str) -> EndpointStatus {
    EndpointStatus {
        address,
        check: check.map(str::to_owned),
        verdict: "unknown".to_owned(),
        reason: reason.to_owned(),
        since: None,
        rtt_ms: None,
        checks: Vec::new(),
    }
}

/// The name of a verdict in JSON and on the terminal.
pub fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Up => "up",
        Verdict::Down => "down",
        Verdict::Unknown => "unknown",
    }
}

/// A system time as it is shown; `None` when out of the calendar's range.
pub fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(time).ok()
}
