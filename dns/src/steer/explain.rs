//! The same decision with everything that led to it: what `meridian explain` and the admin API
//! show. Off the query path; allocates as it likes.

use std::net::IpAddr;

use ipnet::IpNet;
use meridian_config::{Family, Policy, Ratio};
use meridian_geo_data::{Description, latency::Line};
use meridian_health_prober::{Override, Verdict, flips_in};
use serde::Serialize;

use super::{
    Decision, Level, Reason, Steering, TermWeights, Terms, View,
    block::Block,
    case::{Case, Need, Setting},
    ranking::{Class, Ranked, group_end},
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
    /// Terms that nothing measures yet; their weights have no say.
    pub not_measured: Vec<&'static str>,
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
    let judged = Block::of(&steering.clients, client.address, setting.service.scope_max);
    let decision = setting.decide(&judged, client.origin);
    let case = setting.at(judged.found.place, judged.hash());
    let candidates = candidates(&case, &decision);
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
        not_measured: vec!["latency", "load"],
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
        why: words::reason(&case, &decision, &candidates),
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

/// Every PoP of the pool in the client's order: the pinned one, then group by group by bids.
fn placed(case: &Case<'_>) -> Vec<Placed> {
    let cell = case.cell;
    let order = case
        .steering
        .whole_order(case.service, cell)
        .unwrap_or_default();
    let bid = |one: &Ranked| case.bid(one.member).value();
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

fn candidates(case: &Case<'_>, decision: &Decision) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = placed(case)
        .iter()
        .filter_map(|one| candidate(case, decision, one))
        .collect();
    let best = all.iter().find(|one| one.chosen).cloned();
    for one in &mut all {
        one.why = words::candidate(case, decision, one, best.as_ref());
    }
    all
}

fn candidate(case: &Case<'_>, decision: &Decision, placed: &Placed) -> Option<Candidate> {
    let member = placed.ranked.member;
    let (pop, tested) = (case.pop(member)?, case.tested(member)?);
    let id = case.pop_id(member)?;
    let health = case.view.group(case.steering, tested);
    let state = case.state(member);
    let cells = case.steering.clients.cells();
    let cell = case.cell.and_then(|cell| cells.get(cell.0 as usize));
    let terms = cell.map(|cell| pop.terms(cell.center, &Line::default()));
    let by_score = case.service.grouping_in(case.cell).is_some();
    let weights = case.service.weights.in_force(false);
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
        score_ms: terms.map(|terms| terms.score(&weights)),
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
            .map(|time| time.as_secs_f64()),
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

fn endpoints(case: &Case<'_>, decision: &Decision, member: u16) -> Vec<Endpoint> {
    let (Some(pop), Some(tested)) = (case.pop(member), case.tested(member)) else {
        return Vec::new();
    };
    let health = case.view.group(case.steering, tested);
    let reason = |address: IpAddr| {
        let found = health.and_then(|h| h.endpoints.iter().find(|one| one.address == address));
        found.map_or_else(String::new, |one| one.reason.clone())
    };
    let of_family = pop.endpoints.iter().enumerate();
    of_family
        .filter(|(_, address)| Family::of(**address) == case.family)
        .map(|(index, address)| Endpoint {
            address: *address,
            usable: case.view.endpoint(tested, index),
            reason: reason(*address),
            given: decision.addresses.contains(address),
        })
        .collect()
}
