//! The same decision with everything that led to it: what `meridian explain` and the admin API
//! show. Off the query path; allocates as it likes.

mod placed;
mod told;

use std::net::IpAddr;

use meridian_config::Family;
use meridian_geo_data::{
    CellId,
    latency::{Measured, anycast_column},
};
use meridian_health_prober::{Verdict, flips_in};

pub use told::{
    Better, Candidate, Endpoint, Explanation, Held, Hybrid, LoadState, MeasuredLatency,
};

use super::{
    Decision, Steering, View,
    balance::Part,
    case::{Case, Need, Setting},
    order,
    ranking::Class,
    standing::{Field, Fielded, Inputs},
    steering::{Pop, is_inside},
    words,
};
use crate::{client::Client, types::ServiceId};
use placed::{Placed, placed, placed_by_share};

/// Decides as [`decide`](super::decide) does, and says why. `None`: there is no such service. Reads the
/// databases of the geo data: not for whoever sends a packet.
pub fn explain(
    steering: &Steering,
    view: &View,
    service: ServiceId,
    client: &Client,
    family: Family,
) -> Option<Explanation> {
    let explained = explain_briefly(steering, view, service, client, family)?;
    Some(Explanation {
        location: steering.clients.describe(explained.block.addr()),
        ..explained
    })
}

/// The same, its location without what only the files of the geo data say: it reads none, so that it
/// may be asked for over the DNS.
pub fn explain_briefly(
    steering: &Steering,
    view: &View,
    service: ServiceId,
    client: &Client,
    family: Family,
) -> Option<Explanation> {
    let setting = Setting::new(steering, view, service, family)?;
    let judged = setting.block(client);
    let decision = super::decide(steering, view, service, client, family);
    let case = setting.at(judged.place, judged.hash());
    let nothing = Inputs::default();
    let standing = view.standing();
    let field = standing.field(steering, setting.service, &nothing)?;
    let candidates = candidates(&case, &field, &decision);
    let anycast = hybrid(&case);
    // Described in the client's own family, so that it shows how the address was folded.
    let block = judged.net(client.address);
    let location = steering.clients.outline(block.addr());
    let service = case.service;
    let of_family = |address: &&IpAddr| Family::of(**address) == family;
    Some(Explanation {
        service: service.name.to_string(),
        zone: service.zone.to_string(),
        pool: case.pool.name.to_string(),
        check: case.pool.check.as_deref().map(str::to_owned),
        family,
        policy: service.policy,
        tolerance_ms: service.tolerance_ms,
        answers: service.answers,
        min_health: service.min_health,
        weights: service.weights,
        weights_in_force: field.weights(),
        not_measured: not_measured(&field),
        line: field.line(),
        exception: case
            .row
            .and_then(|row| standing.prefix(&steering.clients, row)),
        standing: held(&case, &field),
        why: words::reason(&case, &decision, (&candidates, anycast.as_ref())),
        anycast,
        client: *client,
        block,
        pinned: case
            .pinned
            .and_then(|pinned| case.pop(pinned))
            .map(|pop| pop.name.to_string()),
        fallback: case
            .pool
            .fallback
            .iter()
            .filter(of_family)
            .copied()
            .collect(),
        addresses: decision.addresses.to_vec(),
        chosen: decision
            .pop
            .and_then(|pop| steering.pop_name(pop))
            .map(str::to_owned),
        reason: decision.reason,
        level: decision.level,
        level_number: decision.level as u8,
        ttl: decision.ttl,
        ttl_why: words::ttl(&case, &decision, &candidates),
        scope: decision.scope,
        scope_why: words::scope(&case, &judged, client.origin, &decision),
        location,
        candidates,
    })
}

fn hybrid(case: &Case<'_>) -> Option<Hybrid> {
    let of_family = |address: &&IpAddr| Family::of(**address) == case.family;
    let address = *case.pool.anycast.iter().find(of_family)?;
    let standing = case.view.standing();
    let latency = &standing.inputs().latency;
    let column = latency.column(&anycast_column(&case.pool.name));
    let (figures, preferred) = row(case).map_or((&[][..], Vec::new()), |row| {
        standing.told_of(&case.steering.clients, row)
    });
    let figure = |column: u16| {
        let found = figures.iter().find(|one| one.column == column);
        found.map(|one| measured(*one))
    };
    let better = preferred.iter().find(|one| Some(one.anycast) == column);
    let better = better.and_then(|one| {
        Some(Better {
            pop: latency.columns().get(usize::from(one.pop))?.to_string(),
            latency: figure(one.pop),
            windows: one.windows,
            age_s: one.age_s,
            in_force: one.in_force,
        })
    });
    Some(Hybrid {
        address,
        margin_ms: case.pool.anycast_margin_ms,
        latency: column.and_then(figure),
        better,
    })
}

fn not_measured(field: &Field<'_>) -> Vec<&'static str> {
    let terms = [("latency", field.latency_known()), ("load", field.priced)];
    let unknown = terms.into_iter().filter(|(_, known)| !known);
    unknown.map(|(term, _)| term).collect()
}

/// The row of a case in the tables of terms: that of its cell, where it has no other.
fn row(case: &Case<'_>) -> Option<usize> {
    case.row.or(case.cell.map(|cell| cell.0 as usize))
}

fn held(case: &Case<'_>, field: &Field<'_>) -> Option<Held> {
    let (home, row) = (case.parts().first()?.member, row(case)?);
    let open = |member: &u16| {
        let pop = case.pop(*member);
        let is_open = pop.is_some_and(|pop| class(pop, case.steering, case.cell) == Class::Open);
        is_open && case.state(*member).usable
    };
    let score = |member| field.fielded(row, member).map(|one| one.score);
    let members = (0_u16..).take(case.pool.members.len());
    let best = members
        .filter(open)
        .filter_map(|member| Some((score(member)?, member)))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let own = score(home)?;
    // What clients of the place have now, in the mean: a tenth of that is the margin.
    let shared = case.parts().iter().filter(|part| open(&part.member));
    let shared = shared.filter_map(|part| Some((f32::from(part.parts), score(part.member)?)));
    let (sum, parts) = shared.fold((0.0, 0.0), |(sum, all), (parts, score)| {
        (sum + parts * score, all + parts)
    });
    let present = (parts > 0.0).then(|| sum / parts);
    let better = best.filter(|(score, member)| *member != home && *score < own);
    let name = |member: u16| Some(case.pop(member)?.name.to_string());
    Some(Held {
        home: name(home)?,
        margin_ms: field.rules().margin(present.unwrap_or(own)),
        better: better.and_then(|(_, member)| name(member)),
        better_by_ms: better.map(|(score, _)| own - score),
    })
}

/// The class of a PoP for clients of a cell.
fn class(pop: &Pop, steering: &Steering, cell: Option<CellId>) -> Class {
    match cell {
        Some(cell) => order::class(pop, steering.cell(cell)),
        None => Class::of(is_inside(&pop.fence, None, None), pop.weight.0),
    }
}

fn candidates(case: &Case<'_>, field: &Field<'_>, decision: &Decision) -> Vec<Candidate> {
    let placed = match case.parts() {
        [] => placed(case),
        _ => placed_by_share(case, field),
    };
    let mut all: Vec<Candidate> = placed
        .iter()
        .filter_map(|one| candidate(case, field, decision, one))
        .collect();
    let best = all.iter().find(|one| one.chosen).cloned();
    let held = held(case, field);
    for one in &mut all {
        one.why = words::candidate(case, decision, one, (best.as_ref(), held.as_ref()));
    }
    all
}

fn candidate(
    case: &Case<'_>,
    field: &Field<'_>,
    decision: &Decision,
    placed: &Placed,
) -> Option<Candidate> {
    let member = placed.ranked.member;
    let (pop, tested) = (case.pop(member)?, case.tested(member)?);
    let id = case.pop_id(member)?;
    let health = case.view.group(case.steering, tested);
    let state = case.state(member);
    let cells = case.steering.clients.cells();
    let cell = case.cell.and_then(|cell| cells.get(cell.0 as usize));
    let fielded = row(case).and_then(|row| field.fielded(row, member));
    let terms = fielded.map(|one| one.terms);
    let by_score = case.service.grouping_in(case.cell).is_some();
    let verdict_reason = match health {
        _ if case.view.is_taken_down(id) => "taken as down".to_owned(),
        Some(health) => health.reason.clone(),
        None if tested.check.is_none() => "not tested: the pool has no check".to_owned(),
        None => "no outcome yet".to_owned(),
    };
    let taken_down = case.view.is_taken_down(id);
    Some(Candidate {
        pop: pop.name.to_string(),
        distance_km: cell
            .map(|cell| meridian_geo_data::distance::haversine_km(cell.center, pop.location)),
        terms,
        score_ms: fielded.map(|one| one.score),
        latency: fielded.and_then(|one| one.measured).map(measured),
        load: fielded.and_then(|one| load(field, &one)),
        share: case
            .table
            .filter(|_| case.row.is_some())
            .map(|_| share(case.parts(), member)),
        weight: pop.weight.0,
        group: by_score.then_some(placed.group),
        rendezvous_rank: (by_score && placed.of > 1).then_some(placed.rank),
        verdict: if taken_down {
            Verdict::Down
        } else {
            health.map_or(Verdict::Unknown, |health| health.verdict)
        },
        verdict_reason,
        flips_in_s: health
            .filter(|_| !taken_down)
            .and_then(|health| {
                let each = health.endpoints.iter();
                flips_in(
                    each.map(|one| (one.verdict, one.flips_in)),
                    tested.min_health,
                )
            })
            .map(|time| (time.as_secs_f64() - f64::from(case.view.age_s())).max(0.0)),
        usable: state.usable,
        drained: state.drained,
        r#override: case.view.override_of(case.steering, id).cloned(),
        fenced: matches!(placed.ranked.class, Class::Fenced | Class::FencedZero),
        pinned: case.pinned == Some(member),
        endpoints: endpoints(case, decision, member),
        chosen: decision.pop == Some(id),
        excluded: !case.has_family(member) || !case.admits(member, Need::Usable),
        why: String::new(),
    })
}

fn measured(one: Measured) -> MeasuredLatency {
    MeasuredLatency {
        basis: one.basis,
        p25_ms: one.p25_ms,
        samples: one.samples,
        age_s: one.age_s,
    }
}

/// Nothing in pools where load does not count.
fn load(field: &Field<'_>, one: &Fielded) -> Option<LoadState> {
    if field.weights().load <= 0.0 {
        return None;
    }
    let counted = one.terms.load_counted_ms;
    let why = match (one.load.known, one.load.own, field.priced) {
        (true, ..) => None,
        (_, true, _) => Some(format!(
            "its load is not known any more: what its clients made before sets its price, {counted:.1} ms"
        )),
        (.., true) => Some(format!(
            "its load is not known: the mean of the pool's known PoPs, {counted:.1} ms, stands in"
        )),
        _ => Some("no load in this pool is known: the term is the same for all".to_owned()),
    };
    Some(LoadState {
        price_ms: one.terms.load_ms,
        why,
        free: one.load.free,
        ramp: one.load.ramp,
    })
}

/// Share of a place, 0 to 1.
fn share(parts: &[Part], member: u16) -> f32 {
    let sum: f32 = parts.iter().map(|part| f32::from(part.parts)).sum();
    let own = parts.iter().find(|part| part.member == member);
    own.map_or(0.0, |own| f32::from(own.parts) / sum.max(1.0))
}

fn endpoints(case: &Case<'_>, decision: &Decision, member: u16) -> Vec<Endpoint> {
    let (Some(pop), Some(tested)) = (case.pop(member), case.tested(member)) else {
        return Vec::new();
    };
    let health = case.view.group(case.steering, tested);
    let reason = |address: IpAddr| {
        let found = health.and_then(|h| h.endpoints.iter().find(|one| one.address == address));
        found.map_or_else(String::new, |one| one.reason.clone())
    };
    let checks = |address: IpAddr| {
        let found = health.and_then(|h| h.endpoints.iter().find(|one| one.address == address));
        found.map_or_else(Vec::new, |one| one.checks.clone())
    };
    let of_family = pop.endpoints.iter().enumerate();
    of_family
        .filter(|(_, address)| Family::of(**address) == case.family)
        .map(|(index, address)| Endpoint {
            address: *address,
            usable: case.view.endpoint(tested, index),
            reason: reason(*address),
            checks: checks(*address),
            given: decision.addresses.contains(address),
        })
        .collect()
}
