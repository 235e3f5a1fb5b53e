//! The same decision, written down once more as plainly as possible: every PoP, every step, whole
//! lists and sorts. What `decide` says must equal it.

use std::{cmp::Ordering, net::IpAddr};

use meridian_config::{Family, Policy, PopId, Weight};

use meridian_geo_data::latency::Line;

use super::{
    super::{block::Block, hash, order::Vector, standing::Exceptions, steering::is_inside},
    world::World,
};
use crate::{client::Client, types::ServiceId};

/// Addresses and the PoP of the first.
// One rule after the other, as the text has them: the point of it is that it is plain.
#[allow(clippy::too_many_lines)]
pub(super) fn decide(
    world: &World,
    service: usize,
    client: &Client,
    family: Family,
) -> (Vec<IpAddr>, Option<PopId>) {
    let config = &world.config;
    let of = &config.zones[0].services[service];
    let pool = config.pool(of.pool);
    let block = Block::of(
        world.steering.clients(),
        exceptions(world, service),
        client.address,
        of.steering.scope_max,
    );
    let located = world.steering.clients().locate(block.first);
    let pinned = located.pinned.filter(|pin| pool.pops.contains(pin));
    let groups = groups(world, service, &block, pinned);
    let sharing = sharing(world, service, &block);
    let usable = |pop: PopId| -> Vec<IpAddr> {
        let drained = world.health.overrides.contains_key(&config.pop(pop).name);
        let states = endpoints(world, service, pop);
        let up = states.iter().filter(|(_, up)| *up).count();
        let enough = up as f64 / states.len() as f64 >= of.steering.min_health.0;
        if drained || up == 0 || !enough {
            return Vec::new();
        }
        states
            .into_iter()
            .filter(|(_, up)| *up)
            .map(|(address, _)| address)
            .collect()
    };
    let undrained = |pop: PopId| match world.health.overrides.contains_key(&config.pop(pop).name) {
        true => Vec::new(),
        false => config.pop(pop).endpoints.clone(),
    };
    let all = |pop: PopId| config.pop(pop).endpoints.clone();
    let limit = of.steering.answers;
    let step = |class: (bool, bool), give: &dyn Fn(PopId) -> Vec<IpAddr>, sharing_too: bool| {
        let of_class = groups.iter().filter(|(own, _)| *own == class);
        let first = if sharing_too { &sharing[..] } else { &[] };
        let order = pinned
            .into_iter()
            .chain(first.iter().copied())
            .chain(of_class.flat_map(|(_, group)| group.clone()));
        take(order, give, family, limit)
    };
    let try_step =
        |class: (bool, bool), give: &dyn Fn(PopId) -> Vec<IpAddr>| step(class, give, false);
    let fallback = || {
        let all = pool
            .fallback
            .iter()
            .copied()
            .filter(|a| Family::of(*a) == family);
        let mut out: Vec<IpAddr> = Vec::new();
        for address in all {
            if !out.contains(&address) && out.len() < limit {
                out.push(address);
            }
        }
        (!out.is_empty()).then_some((out, None))
    };
    let (open, zero, fenced, fenced_zero) =
        ((true, true), (true, false), (false, true), (false, false));
    let mut found = step(open, &usable, true)
        .or_else(|| try_step(zero, &usable))
        .or_else(fallback);
    for give in [&undrained as &dyn Fn(PopId) -> Vec<IpAddr>, &all] {
        found = found
            .or_else(|| try_step(open, give))
            .or_else(|| try_step(zero, give));
    }
    for give in [&usable as &dyn Fn(PopId) -> Vec<IpAddr>, &undrained, &all] {
        found = found
            .or_else(|| try_step(fenced, give))
            .or_else(|| try_step(fenced_zero, give));
    }
    found.unwrap_or_default()
}

/// Prefixes judged apart, for services that are moved by what is measured.
pub(super) fn exceptions(world: &World, service: usize) -> Option<&Exceptions> {
    let of = &world.steering.services()[service];
    let standing = world.view.standing();
    standing.table(of.stand).map(|_| standing.exceptions())
}

/// Those who have a share of the client's place at the moment, by bid.
fn sharing(world: &World, service: usize, block: &Block) -> Vec<PopId> {
    let of = &world.steering.services()[service];
    let standing = world.view.standing();
    let (_, row) = standing.place(world.steering.clients(), block.place);
    let table = standing.table(of.stand);
    let parts = table.map_or(&[][..], |table| row.map_or(&[][..], |row| table.row(row)));
    let pool = world.config.pool(of.pool);
    let mut bids: Vec<(f64, PopId)> = parts
        .iter()
        .map(|part| {
            let pop = pool.pops[usize::from(part.member)];
            let seed = hash::seed(&world.config.pop(pop).name);
            let bid = hash::Bid::new(block.hash(), seed, Weight(part.parts.into()));
            (bid.value(), pop)
        })
        .collect();
    bids.sort_by(|a, b| b.0.total_cmp(&a.0));
    bids.into_iter().map(|(_, pop)| pop).collect()
}

/// The first `limit` different addresses of the family, and whose the first is.
fn take(
    order: impl Iterator<Item = PopId>,
    give: &dyn Fn(PopId) -> Vec<IpAddr>,
    family: Family,
    limit: usize,
) -> Option<(Vec<IpAddr>, Option<PopId>)> {
    let mut out: Vec<IpAddr> = Vec::new();
    let mut first = None;
    for pop in order {
        for address in give(pop) {
            if Family::of(address) == family && !out.contains(&address) && out.len() < limit {
                out.push(address);
                first = first.or(Some(pop));
            }
        }
    }
    (!out.is_empty()).then_some((out, first))
}

fn endpoints(world: &World, service: usize, pop: PopId) -> Vec<(IpAddr, bool)> {
    let config = &world.config;
    let pool = config.pool(config.zones[0].services[service].pool);
    let name = &config.pop(pop).name;
    let tested = pool.check.is_some();
    let group = world
        .health
        .groups
        .iter()
        .find(|(key, _)| tested && key.pop == *name);
    let up = |at: usize| group.is_none_or(|(_, group)| group.endpoints[at].verdict.is_usable());
    config
        .pop(pop)
        .endpoints
        .iter()
        .enumerate()
        .map(|(at, a)| (*a, up(at)))
        .collect()
}

/// Groups in order: whether inside the fence, whether weight > 0, members by bid.
fn groups(
    world: &World,
    service: usize,
    block: &Block,
    pinned: Option<PopId>,
) -> Vec<((bool, bool), Vec<PopId>)> {
    let config = &world.config;
    let of = &config.zones[0].services[service];
    let pool = config.pool(of.pool);
    let cells = world.steering.clients().cells();
    let cell = world
        .steering
        .clients()
        .locate(block.first)
        .cell
        .map(|cell| &cells[cell.0 as usize]);
    let class = |pop: PopId| {
        let pop = config.pop(pop);
        let inside = is_inside(
            &pop.serves,
            cell.and_then(|cell| cell.country),
            cell.and_then(|cell| cell.continent),
        );
        (inside, pop.weight.0 > 0)
    };
    let score = |pop: PopId| -> f32 {
        let id = &world.steering.pops[pop.index()];
        let terms = id.terms(Vector::to(cell.unwrap().center), &Line::default());
        let weights = &of.steering;
        let loaded = pool.pops.iter().any(|pop| config.pop(*pop).load.is_some());
        let load = if loaded { weights.load } else { 0.0 };
        let whole = weights.distance + weights.latency + load;
        let sum = weights.distance / whole * f64::from(terms.distance_ms)
            + weights.latency / whole * f64::from(terms.latency_ms);
        sum as f32 - config.pop(pop).bias_ms as f32
    };
    let by_score = cell.is_some() && of.steering.policy == Policy::Score;
    let tolerance = of.steering.tolerance.as_secs_f64() as f32 * 1000.0;
    let mut out: Vec<((bool, bool), Vec<PopId>)> = Vec::new();
    for wanted in [(true, true), (true, false), (false, true), (false, false)] {
        let mut rest: Vec<PopId> = pool
            .pops
            .iter()
            .copied()
            .filter(|pop| class(*pop) == wanted)
            .collect();
        if !by_score {
            out.extend(rest.into_iter().map(|pop| (wanted, vec![pop])));
            continue;
        }
        let name = |pop: PopId| &config.pop(pop).name;
        rest.sort_by(|a, b| {
            score(*a)
                .partial_cmp(&score(*b))
                .unwrap()
                .then_with(|| name(*a).cmp(name(*b)))
        });
        while !rest.is_empty() {
            let limit = score(rest[0]) + tolerance;
            let (mut group, after): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|pop| score(*pop) <= limit);
            rest = after;
            let bid = |pop: PopId| {
                let of = config.pop(pop);
                hash::Bid::new(block.hash(), hash::seed(&of.name), of.weight).value()
            };
            group.sort_by(|a, b| bid(*b).partial_cmp(&bid(*a)).unwrap_or(Ordering::Equal));
            out.push((wanted, group));
        }
    }
    for (_, group) in &mut out {
        group.retain(|pop| Some(*pop) != pinned);
    }
    out
}

/// Name of a service by its index.
pub(super) fn id(service: usize) -> ServiceId {
    ServiceId(u32::try_from(service).unwrap())
}
