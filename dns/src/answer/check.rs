//! The operator's own expectations: `[[test]]` tables, run by `meridian check` and before every
//! reload.

use std::sync::Arc;

use meridian_config::{Config, Diagnostic, Diagnostics, Family, Name, SteeringTest};
use meridian_health_prober::HealthSnapshot;

use super::{NotSteered, follow};
use crate::{
    client::Client,
    steer::{Explanation, Reason, Standing, Steering, View, decide, explain},
    zone::ZoneSet,
};

/// Decides for every `[[test]]` with the PoPs it names taken as down and all others as up.
///
/// The name is looked up in `zones` as a query's is: under a `*` service it may stand in the zone file. Returns
/// a mistake for each test whose client gets another PoP first; empty when all hold.
pub fn run_tests(config: &Config, zones: &ZoneSet, steering: &Steering) -> Diagnostics {
    let health = Arc::new(HealthSnapshot::default());
    Diagnostics(
        config
            .tests
            .iter()
            .filter_map(|test| run((config, zones, steering), &health, test))
            .collect(),
    )
}

fn run(
    (config, zones, steering): (&Config, &ZoneSet, &Steering),
    health: &Arc<HealthSnapshot>,
    test: &SteeringTest,
) -> Option<Diagnostic> {
    let service = match follow(zones, &test.name, test.family) {
        Ok(followed) => followed.service,
        Err(why) => return Some(no_service(steering, test, &why)),
    };
    let view = View::with_down(
        steering,
        Arc::new(Standing::none()),
        health.clone(),
        &test.down,
    );
    let network = test.client.trunc();
    let client = Client::from_ecs(network.addr(), network.prefix_len(), network.addr());
    let decision = decide(steering, &view, service, &client, test.family);
    if decision.pop == Some(test.expect) {
        return None;
    }
    let expected = &config.pop(test.expect).name;
    let got = match decision.pop.and_then(|pop| steering.pop_name(pop)) {
        Some(name) => name.to_owned(),
        None if decision.addresses.is_empty() => "nobody".to_owned(),
        None if decision.reason == Reason::Anycast => "the anycast address".to_owned(),
        None => "the fallback".to_owned(),
    };
    let message = format!(
        "{} of {} for {} is answered by {got}, not by {expected}",
        record_type(test.family),
        test.name,
        test.client
    );
    let help = explain(steering, &view, service, &client, test.family)
        .map(|explanation| compare(&explanation, expected))
        .unwrap_or_default();
    Some(test.at.mistake(message, help))
}

/// One line: who was chosen, who was expected, and what stood between them.
fn compare(explanation: &Explanation, expected: &str) -> String {
    let find = |name: &str| explanation.candidates.iter().find(|one| one.pop == name);
    let chosen = explanation.chosen.as_deref();
    let Some(wanted) = find(expected) else {
        return format!(
            "{expected} is not in pool {}; {}",
            explanation.pool, explanation.why
        );
    };
    let duel = chosen.and_then(find).and_then(|won| {
        let (first, second) = (won.score_ms?, wanted.score_ms?);
        let plain = !wanted.excluded && !wanted.fenced && won.group? < wanted.group?;
        plain.then(|| {
            format!(
                "{} {first:.1} ms beats {expected} {second:.1} ms; ",
                won.pop
            )
        })
    });
    let place = match &explanation.location.location {
        Some(at) => format!(
            "the client is located at {:.2}, {:.2}",
            at.latitude, at.longitude
        ),
        None => "the client's location is unknown".to_owned(),
    };
    let lost = if duel.is_none() {
        format!("{expected}: {}; {}; ", wanted.why, explanation.why)
    } else {
        String::new()
    };
    format!("{}{lost}{place}", duel.unwrap_or_default())
}

fn no_service(steering: &Steering, test: &SteeringTest, why: &NotSteered) -> Diagnostic {
    let distance = |name: &Name| strsim::damerau_levenshtein(&lower(name), &lower(&test.name));
    let nearest = steering
        .services()
        .iter()
        .min_by_key(|service| distance(&service.name));
    let help = match nearest {
        Some(service) => format!("the nearest service is {}", service.name),
        None => "no zone has a service".to_owned(),
    };
    let (kind, name) = (record_type(test.family), &test.name);
    test.at
        .mistake(format!("no service answers {kind} of {name}: {why}"), help)
}

fn lower(name: &Name) -> String {
    name.to_lower().to_string()
}

fn record_type(family: Family) -> &'static str {
    match family {
        Family::V4 => "A",
        Family::V6 => "AAAA",
    }
}
