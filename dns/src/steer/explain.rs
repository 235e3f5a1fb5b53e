//! The same decision with everything that led to it: what `meridian explain` and the admin API
//! show. Off the query path; allocates as it likes.

use std::net::IpAddr;

use ipnet::IpNet;
use meridian_config::{Family, Policy, Ratio, Weight};
use meridian_geo_data::{
    CellId, Description,
    latency::{Basis, Line, Measured, anycast_column},
};
use meridian_health_prober::{CheckHealth, Override, Verdict, flips_in};
use serde::Serialize;

use super::{
    Decision, Level, Reason, Steering, TermWeights, Terms, View,
    balance::Part,
    case::{Case, Need, Setting},
    order,
    ranking::{Class, Ranked, group_end},
    standing::{Field, Fielded, Inputs},
    steering::{Pop, is_inside},
    words,
};
use crate::{client::Client, types::ServiceId};

/// Why a client gets what it gets.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Owner name of the service.
    pub service: String,
    /// Apex of its zone.
    pub zone: String,
    /// Name of its pool.
    pub pool: String,
    /// Name of the pool's check; `None`: its PoPs are never tested, always usable.
    pub check: Option<String>,
    /// A or AAAA.
    pub family: Family,
    /// How PoPs are ordered.
    pub policy: Policy,
    /// PoPs this close to the best share clients, milliseconds.
    pub tolerance_ms: f32,
    /// Addresses per answer.
    pub answers: usize,
    /// Share of a PoP's endpoints that must be usable.
    pub min_health: Ratio,
    /// Configured weights of the score's terms.
    pub weights: TermWeights,
    /// The weights by which the terms of this pool count, their sum 1: `load` is 0 where no PoP of
    /// the pool has a source of load.
    pub weights_in_force: TermWeights,
    /// Terms of which nothing is measured for any PoP of the pool: the latency is an estimate then,
    /// the load the same for all.
    pub not_measured: Vec<&'static str>,
    /// The line over distance by which latency is estimated where it is not measured.
    pub line: Line,
    /// The exceptional prefix that the client is in: it is judged by its own latency.
    pub exception: Option<IpNet>,
    /// Who serves this place at the moment, where anything measured has a say.
    pub standing: Option<Held>,
    /// The pool's anycast address, where it has one of the family.
    pub anycast: Option<Hybrid>,
    /// Who asks.
    pub client: Client,
    /// The addresses that are judged as one, first of them located: `scope_max`.
    pub block: IpNet,
    /// Where that is, and how that is known.
    pub location: Description,
    /// PoP that an operator network pins the client to.
    pub pinned: Option<String>,
    /// Every PoP of the pool, in this client's order of preference.
    pub candidates: Vec<Candidate>,
    /// The pool's last resort, addresses of the family.
    pub fallback: Vec<IpAddr>,
    /// What is answered, in this order; empty means NODATA.
    pub addresses: Vec<IpAddr>,
    /// PoP of the first address.
    pub chosen: Option<String>,
    /// Why this one: the label of the metric.
    pub reason: Reason,
    /// The same in words.
    pub why: String,
    /// What the choice rests on.
    pub level: Level,
    /// The level as in `meridian_steering_level`.
    pub level_number: u8,
    /// Seconds.
    pub ttl: u32,
    /// Why it is shorter than configured, in words; `None`: it is not.
    pub ttl_why: Option<String>,
    /// ECS scope prefix length of the answer.
    pub scope: u8,
    /// Why this scope, in words.
    pub scope_why: String,
}

/// Who holds a place, and what it takes to change that.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// The PoP that most clients of the place would miss: it stays until another one is better by
    /// more than the margin.
    pub home: String,
    /// By how much another's score must be better, milliseconds.
    pub margin_ms: f32,
    /// The PoP with the best score, if that is another one.
    pub better: Option<String>,
    /// By how much its score is better, milliseconds.
    pub better_by_ms: Option<f32>,
}

/// An anycast address, and what is known of it for this client.
#[derive(Clone, Debug, Serialize)]
pub struct Hybrid {
    /// The address.
    pub address: IpAddr,
    /// By how much a single PoP must be better, milliseconds; and by a tenth of what anycast takes.
    pub margin_ms: f32,
    /// The round trip to it, where it was measured.
    pub latency: Option<MeasuredLatency>,
    /// The single PoP that was measured to be better, if any was within the last day.
    pub better: Option<Better>,
}

/// A single PoP that was measured to be better than anycast.
#[derive(Clone, Debug, Serialize)]
pub struct Better {
    /// Its name.
    pub pop: String,
    /// The round trip to it.
    pub latency: Option<MeasuredLatency>,
    /// Windows of the last 24 in which it was better.
    pub windows: u32,
    /// Seconds since it was last seen to be better.
    pub age_s: u32,
    /// Whether that is enough to give its own addresses.
    pub in_force: bool,
}

/// The round trip measured between a client's prefix or cell and a PoP.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MeasuredLatency {
    /// Of whom it was measured: the prefix, a wider one, or the cell.
    pub basis: Basis,
    /// 25th percentile, milliseconds.
    pub p25_ms: f32,
    /// Samples that it rests on.
    pub samples: u32,
    /// Seconds since the newest of them.
    pub age_s: u32,
}

/// What is known of a PoP's load.
#[derive(Clone, Debug, Serialize)]
pub struct LoadState {
    /// What it costs before its weight, milliseconds; `None`: nobody knows.
    pub price_ms: Option<f32>,
    /// What is counted instead, and why, where nobody knows.
    pub why: Option<String>,
    /// Free part of its capacity that its share of clients follows.
    pub free: f32,
    /// Part of its full share that it may have while it grows.
    pub ramp: f32,
}

/// One PoP of the pool, seen by one client.
#[derive(Clone, Debug, Serialize)]
pub struct Candidate {
    /// Its name.
    pub pop: String,
    /// Distance to the client's cell; `None`: nobody knows where the client is.
    pub distance_km: Option<f64>,
    /// The score's terms.
    pub terms: Option<Terms>,
    /// The score, milliseconds; lower is better.
    pub score_ms: Option<f32>,
    /// Round trip measured, where it was.
    pub latency: Option<MeasuredLatency>,
    /// Its load, in pools where load counts.
    pub load: Option<LoadState>,
    /// Its share of the clients of this place at the moment, 0 to 1, where anything measured has
    /// a say.
    pub share: Option<f32>,
    /// Share among the PoPs within tolerance.
    pub weight: u32,
    /// Which group of PoPs within tolerance it is in, from 1; by score only.
    pub group: Option<usize>,
    /// Place among the PoPs of its group for this client's block, from 1.
    pub rendezvous_rank: Option<usize>,
    /// The prober's verdict.
    pub verdict: Verdict,
    /// Why, in the prober's words.
    pub verdict_reason: String,
    /// Least time in which its verdict could flip, in seconds; `None`: too little contradicts it.
    pub flips_in_s: Option<f64>,
    /// Whether it may be handed out: by override first, then by verdict.
    pub usable: bool,
    /// Whether an operator has drained it.
    pub drained: bool,
    /// The operator's word, shown beside the verdict.
    pub r#override: Option<Override>,
    /// Whether its fence keeps this client out.
    pub fenced: bool,
    /// Whether an operator network pins the client to it.
    pub pinned: bool,
    /// Endpoints of the family, in order.
    pub endpoints: Vec<Endpoint>,
    /// Whether the answer's first address is its.
    pub chosen: bool,
    /// Whether it could not be chosen at all, whatever its score.
    pub excluded: bool,
    /// Why it is chosen or not, in words.
    pub why: String,
}

/// One endpoint of a candidate.
#[derive(Clone, Debug, Serialize)]
pub struct Endpoint {
    /// The service address.
    pub address: IpAddr,
    /// Whether its own verdict is usable.
    pub usable: bool,
    /// Text of the last outcome, where it is tested.
    pub reason: String,
    /// Each check by itself, where the pool combines several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckHealth>,
    /// Whether the answer holds it.
    pub given: bool,
}

/// Decides as [`decide`](super::decide) does, and says why. `None`: there is no such service.
pub fn explain(
    steering: &Steering,
    view: &View,
    service: ServiceId,
    client: &Client,
    family: Family,
) -> Option<Explanation> {
    let setting = Setting::new(steering, view, service, family)?;
    let judged = setting.block(client);
    let decision = setting.decide(&judged, client.origin);
    let case = setting.at(judged.place, judged.hash());
    let nothing = Inputs::default();
    let standing = view.standing();
    let field = standing.field(steering, setting.service, &nothing)?;
    let candidates = candidates(&case, &field, &decision);
    let anycast = hybrid(&case);
    // Described in the client's own family, so that it shows how the address was folded.
    let block = judged.net(client.address);
    let location = steering.clients.describe(block.addr());
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
    let terms = [
        ("latency", field.latency_known()),
        ("load", field.load_known),
    ];
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
    let better = best.filter(|(score, member)| *member != home && *score < own);
    let name = |member: u16| Some(case.pop(member)?.name.to_string());
    Some(Held {
        home: name(home)?,
        margin_ms: field.rules().margin(best.map_or(own, |(score, _)| score)),
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

/// A PoP with its place in the client's order.
struct Placed {
    ranked: Ranked,
    /// From 1.
    group: usize,
    /// From 1, within the group.
    rank: usize,
    /// PoPs in the group.
    of: usize,
}

/// Every PoP of the pool in the client's order: the pinned one, then those that have a share of the
/// place, by bids, then the others by score.
fn placed_by_share(case: &Case<'_>, field: &Field<'_>) -> Vec<Placed> {
    let parts = case.parts();
    let mut sharing: Vec<(f64, u16)> = parts
        .iter()
        .map(|part| {
            let weight = Weight(part.parts.into());
            (case.bid(part.member, Some(weight)).value(), part.member)
        })
        .collect();
    // Stable: equal bids keep their order, as in the decision.
    sharing.sort_by(|a, b| b.0.total_cmp(&a.0));
    let ranked = |member: u16| {
        let pop = case.pop(member)?;
        Some(Ranked {
            score: field.fielded(row(case)?, member)?.score,
            member,
            class: class(pop, case.steering, case.cell),
        })
    };
    let members = (0_u16..).take(case.pool.members.len());
    let mut others: Vec<Ranked> = members
        .filter(|member| parts.iter().all(|part| part.member != *member))
        .filter_map(ranked)
        .collect();
    let name = |one: &Ranked| case.pop(one.member).map(|pop| &pop.name);
    others.sort_by(|a, b| {
        let by_score = || a.score.total_cmp(&b.score);
        let by_class = a.class.cmp(&b.class);
        by_class
            .then_with(by_score)
            .then_with(|| name(a).cmp(&name(b)))
    });
    let of = sharing.len();
    let first = sharing.iter().filter_map(|(_, member)| ranked(*member));
    let first = (1..).zip(first).map(|(rank, ranked)| Placed {
        ranked,
        group: 1,
        rank,
        of,
    });
    let others = (2..).zip(others).map(|(group, ranked)| Placed {
        ranked,
        group,
        rank: 1,
        of: 1,
    });
    let mut all: Vec<Placed> = first.chain(others).collect();
    all.sort_by_key(|one| case.pinned != Some(one.ranked.member));
    all
}

/// Every PoP of the pool in the client's order: the pinned one, then group by group by bids.
fn placed(case: &Case<'_>) -> Vec<Placed> {
    let cell = case.cell;
    let order = case
        .steering
        .whole_order(case.service, cell)
        .unwrap_or_default();
    let bid = |one: &Ranked| case.bid(one.member, None).value();
    let mut all = Vec::new();
    let (mut start, mut number) = (0, 0);
    let entries: Vec<Ranked> = order.iter().collect();
    while start < entries.len() {
        let end = group_end(&order.ranks, start, case.service.grouping_in(cell));
        let mut group = entries[start..end].to_vec();
        if group.len() > 1 {
            // Stable: equal bids keep the order of the group, as in the decision.
            group.sort_by(|a, b| bid(b).total_cmp(&bid(a)));
        }
        number += 1;
        let of = group.len();
        let place = |(rank, ranked)| Placed {
            ranked,
            group: number,
            rank,
            of,
        };
        all.extend((1..).zip(group).map(place));
        start = end;
    }
    all.sort_by_key(|one| case.pinned != Some(one.ranked.member));
    all
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
    let why = match (one.load.known, field.load_known) {
        (true, _) => None,
        (_, true) => Some(format!(
            "its load is not known: the mean of the pool's known PoPs, {:.1} ms, stands in",
            one.terms.load_counted_ms
        )),
        (_, false) => {
            Some("no load in this pool is known: the term is the same for all".to_owned())
        }
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
