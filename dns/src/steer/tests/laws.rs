//! The laws that every decision keeps, over random worlds.

use meridian_config::{Config, Family, Policy, PopId};
use proptest::prelude::*;

use super::{
    super::{
        Decision, Inputs, Standing, Steering, View, balance::Price, decide, explain,
        steering::Service,
    },
    model,
    seeded::seeded,
    world::{FAMILIES, World, any_world, exactly, some_address, some_client, within, world},
};
use crate::client::{Client, Origin};

fn ask(world: &World, service: usize, client: &Client, family: Family) -> Decision {
    decide(
        &world.steering,
        &world.view,
        model::id(service),
        client,
        family,
    )
}

/// What must be the same inside a scope.
fn essence(decision: &Decision) -> impl PartialEq + std::fmt::Debug {
    (
        decision.addresses.clone(),
        decision.pop,
        decision.ttl,
        decision.scope,
    )
}

fn services(world: &World) -> impl Iterator<Item = (usize, &Service)> {
    world.steering.services().iter().enumerate()
}

/// Whether `scope` bits of both are the same, in one family.
fn covers(of: &Client, scope: u8, other: &Client) -> bool {
    of.address.is_ipv4() == other.address.is_ipv4()
        && within(other.address, scope, 0) == within(of.address, scope, 0)
}

/// Clients and noise to fill up host bits with.
fn clients() -> impl Strategy<Value = Vec<(Client, u128)>> {
    proptest::collection::vec((some_client(), any::<u128>()), 12)
}

proptest! {
    #![proptest_config(seeded(128))]

    /// Contract invariant 3, RFC 7871 §7.3.1.
    #[test]
    fn every_address_inside_a_scope_gets_the_same_answer(
        world in any_world(), clients in clients(), near in some_address(),
    ) {
        for (service, _) in services(&world) {
            for (client, noise) in &clients {
                for family in FAMILIES {
                    let decision = ask(&world, service, client, family);
                    let full = if client.address.is_ipv4() { 32 } else { 128 };
                    prop_assert!(decision.scope <= full);
                    let probes = [*noise, noise >> 40, noise << 40, 0, u128::MAX, noise >> 90];
                    let near = match near {
                        std::net::IpAddr::V4(v4) => u128::from(v4.to_bits()),
                        std::net::IpAddr::V6(v6) => v6.to_bits(),
                    };
                    for probe in probes.into_iter().chain([near]) {
                        let inside = exactly(within(client.address, decision.scope, probe));
                        let other = ask(&world, service, &inside, family);
                        prop_assert_eq!(essence(&decision), essence(&other), "{} and {}", client, inside);
                    }
                }
            }
        }
    }

    /// Contract invariant 3: scopes never overlap, and scope 0 means everyone.
    #[test]
    fn scopes_never_overlap_and_zero_means_everyone(world in any_world(), clients in clients()) {
        for (service, _) in services(&world) {
            for family in FAMILIES {
                let all: Vec<(Client, Decision)> =
                    clients.iter().map(|(c, _)| (*c, ask(&world, service, c, family))).collect();
                for (client, decision) in &all {
                    for (other, answer) in &all {
                        if decision.scope == 0 {
                            prop_assert_eq!(&decision.addresses, &answer.addresses);
                            prop_assert_eq!(answer.scope, 0);
                        } else if covers(client, decision.scope, other) {
                            prop_assert_eq!(essence(decision), essence(answer), "{} {}", client, other);
                        }
                    }
                }
            }
        }
    }

    /// RFC 7871 §7.1.2: opting out changes the scope, not the answer.
    #[test]
    fn opting_out_is_answered_by_source_with_scope_0(world in any_world(), address in some_address()) {
        for (service, _) in services(&world) {
            for family in FAMILIES {
                let out = Client::from_ecs([0, 0, 0, 0].into(), 0, address);
                prop_assert_eq!(out.origin, Origin::OptOut);
                let decision = ask(&world, service, &out, family);
                let plain = ask(&world, service, &Client::from_source(address), family);
                prop_assert_eq!(decision.scope, 0);
                prop_assert_eq!(decision, Decision { scope: 0, ..plain });
            }
        }
    }

    /// Contract invariants 2 and 8, and the plain model.
    #[test]
    fn never_empty_and_equal_to_the_model(world in any_world(), clients in clients()) {
        for (service, of) in services(&world) {
            let pool = world.config.pool(of.pool);
            for (client, _) in &clients {
                for family in FAMILIES {
                    let decision = ask(&world, service, client, family);
                    let (addresses, pop) = model::decide(&world, service, client, family);
                    prop_assert_eq!(&addresses[..], &decision.addresses[..], "{}", client);
                    prop_assert_eq!(pop, decision.pop);
                    let mut any = pool.fallback.clone();
                    any.extend(pool.pops.iter().flat_map(|pop| &world.config.pop(*pop).endpoints));
                    let exists = any.into_iter().any(|address| Family::of(address) == family);
                    prop_assert_eq!(decision.addresses.is_empty(), !exists);
                    prop_assert!(decision.addresses.len() <= of.answers);
                    prop_assert!(decision.addresses.iter().all(|a| Family::of(*a) == family));
                }
            }
        }
    }

    /// Between `ttl_min` and `ttl`; shorter than `ttl` only where a verdict may flip, and then at
    /// least as short as that. That it is the same inside a scope is said above.
    #[test]
    fn the_ttl_heeds_what_may_flip(world in any_world(), clients in clients()) {
        let doubts = |pop: &PopId| {
            let name = &world.config.pop(*pop).name;
            let groups = world.health.groups.iter();
            groups.filter(move |(key, _)| key.pop == *name).flat_map(|(_, group)| &group.endpoints)
        };
        for (service, of) in services(&world) {
            let pool = world.config.pool(of.pool);
            let doubted = pool.check.is_some()
                && pool.pops.iter().flat_map(doubts).any(|one| one.flips_in.is_some());
            for (client, _) in &clients {
                for family in FAMILIES {
                    let decision = ask(&world, service, client, family);
                    prop_assert!((of.ttl_min..=of.ttl).contains(&decision.ttl));
                    prop_assert!(doubted || decision.ttl == of.ttl);
                    if !doubted || decision.reason.is_last_resort() {
                        continue;
                    }
                    // An endpoint of the first PoP that is in the answer and may go down.
                    let own = decision.pop.iter().flat_map(doubts);
                    // One that is down may stand there for another PoP that shares the address.
                    let given = own.filter(|one| one.verdict.is_usable());
                    let given = given.filter(|one| decision.addresses.contains(&one.address));
                    for time in given.filter_map(|one| one.flips_in) {
                        let most = u32::try_from(time.as_secs()).unwrap().max(of.ttl_min);
                        prop_assert!(decision.ttl <= most.min(of.ttl), "{client}: {time:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn both_families_agree_on_a_pop_that_has_both(world in any_world(), clients in clients()) {
        for (service, _) in services(&world) {
            for (client, _) in &clients {
                let [v4, v6] = FAMILIES.map(|family| ask(&world, service, client, family));
                if v4.reason.is_last_resort() || v6.reason.is_last_resort() {
                    continue;
                }
                let (Some(a), Some(aaaa)) = (v4.pop, v6.pop) else { continue };
                // Only a PoP that cannot give one family now sends its two elsewhere.
                let gives = |pop, family| usable(&world, service, client, pop, family);
                prop_assert!(
                    a == aaaa || !gives(a, Family::V6) || !gives(aaaa, Family::V4),
                    "{client}: {a:?} {aaaa:?}"
                );
            }
        }
    }

    #[test]
    fn a_pop_that_goes_moves_only_its_own_clients(
        world in any_world(), clients in clients(), gone: prop::sample::Index,
    ) {
        let at = PopId(u16::try_from(gone.index(world.config.pops.len())).unwrap());
        let down = View::with_down(&world.steering, world.view.standing().clone(), world.health.clone(), &[at]);
        let mut health = (*world.health).clone();
        let word = super::world::health(&world.config, &[], &[at.index()]).overrides;
        health.overrides.extend(word);
        let drained = View::new(&world.steering, world.view.standing().clone(), health.into());
        for (service, _) in services(&world) {
            for (client, _) in &clients {
                for family in FAMILIES {
                    let before = ask(&world, service, client, family);
                    if before.pop == Some(at) {
                        continue;
                    }
                    for view in [&down, &drained] {
                        let id = model::id(service);
                        let after = decide(&world.steering, view, id, client, family);
                        prop_assert_eq!(before.pop, after.pop, "{}", client);
                        prop_assert_eq!(before.addresses.first(), after.addresses.first());
                    }
                }
            }
        }
    }

    /// Where the groups do not hang on the PoP that goes: everyone or nobody within tolerance.
    #[test]
    fn a_pop_removed_from_the_list_moves_only_its_own_clients(
        world in world(), clients in clients(), gone: prop::sample::Index,
    ) {
        let mut config = world.config.clone();
        let list = &mut config.pools[0].pops;
        if list.len() == 1 {
            return Ok(());
        }
        let gone = list.remove(gone.index(list.len()));
        // With the last source of load the load leaves the score, and all scores change.
        let loaded = |pop: &PopId| world.config.pop(*pop).load.is_some();
        if loaded(&gone) && !list.iter().any(loaded) {
            return Ok(());
        }
        let steering = Steering::new(&config, world.steering.clients.clone());
        let view = View::new(&steering, Standing::none().into(), world.health.clone());
        for (service, of) in services(&world) {
            let free = matches!(of.policy, Policy::Failover)
                || of.tolerance_ms == 0.0
                || of.tolerance_ms > 100_000.0;
            if !free {
                continue;
            }
            for (client, _) in &clients {
                for family in FAMILIES {
                    let before = ask(&world, service, client, family);
                    let after = decide(&steering, &view, model::id(service), client, family);
                    // A fallback may be reached or left when the last usable PoP goes.
                    if before.pop.is_some_and(|pop| pop != gone) {
                        prop_assert_eq!(before.pop, after.pop, "{}", client);
                    }
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_configuration_has_no_say_by_score(
        world in any_world(), clients in clients(), by: prop::sample::Index,
    ) {
        let shuffled = rotated(&world.config, by.index(world.config.pops.len()));
        let by = by.index(world.config.pops.len());
        let history = world.history.iter().map(|inputs| moved(inputs, &world.config, by)).collect();
        let other = World::new(shuffled, (*world.health).clone()).after(history);
        for (service, of) in services(&world) {
            if of.policy == Policy::Failover {
                continue;
            }
            for (client, _) in &clients {
                let located = world.steering.clients().locate(
                    super::super::block::Block::of(world.steering.clients(), None, client.address, of.scope_max).first,
                );
                if located.cell.is_none() {
                    continue;
                }
                for family in FAMILIES {
                    let one = ask(&world, service, client, family);
                    let two = ask(&other, service, client, family);
                    let name = |world: &World, pop: Option<PopId>| {
                        pop.and_then(|pop| world.steering.pop_name(pop)).map(str::to_owned)
                    };
                    prop_assert_eq!(name(&world, one.pop), name(&other, two.pop));
                    prop_assert_eq!(one.addresses, two.addresses);
                    // The scope may differ: it ends where clients of unknown place, who do follow
                    // the list, get another answer.
                    prop_assert_eq!(one.reason, two.reason);
                }
            }
        }
    }

    #[test]
    fn an_explanation_tells_what_was_decided(world in any_world(), clients in clients()) {
        for (service, of) in services(&world) {
            for (client, _) in &clients {
                for family in FAMILIES {
                    let decision = ask(&world, service, client, family);
                    let (steering, view) = (&world.steering, &world.view);
                    let told = explain(steering, view, model::id(service), client, family).unwrap();
                    prop_assert_eq!(&told.addresses[..], &decision.addresses[..]);
                    prop_assert_eq!(told.scope, decision.scope);
                    prop_assert_eq!(told.candidates.len(), world.config.pool(of.pool).pops.len());
                    let chosen: Vec<_> = told.candidates.iter().filter(|one| one.chosen).collect();
                    prop_assert_eq!(chosen.len(), usize::from(decision.pop.is_some()));
                    prop_assert!(told.candidates.iter().all(|one| !one.why.is_empty()));
                    prop_assert!(!told.why.is_empty() && !told.scope_why.is_empty());
                    let given = told.candidates.iter().flat_map(|one| &one.endpoints);
                    let given = given.filter(|one| one.given).count();
                    prop_assert!(decision.pop.is_none() || given >= decision.addresses.len());
                    serde_json::to_string(&told).unwrap();
                }
            }
        }
    }
}

/// Whether a PoP is usable with an endpoint of the family.
fn usable(world: &World, service: usize, client: &Client, pop: PopId, family: Family) -> bool {
    let (steering, view) = (&world.steering, &world.view);
    let told = explain(steering, view, model::id(service), client, family).unwrap();
    let name = steering.pop_name(pop).unwrap();
    told.candidates
        .iter()
        .any(|one| one.pop == name && !one.excluded)
}

/// The same inputs for PoPs that are listed in another order.
pub(super) fn moved(inputs: &Inputs, config: &Config, by: usize) -> Inputs {
    let price = |pop| inputs.prices.get(pop).copied().unwrap_or(Price::NEUTRAL);
    let mut prices: Vec<Price> = (0..config.pops.len()).map(price).collect();
    prices.rotate_left(by);
    Inputs {
        prices: prices.into(),
        ..inputs.clone()
    }
}

/// The same configuration with its PoPs listed in another order, in the pool too.
pub(super) fn rotated(config: &Config, by: usize) -> Config {
    let mut config = config.clone();
    let count = config.pops.len();
    config.pops.rotate_left(by);
    let moved = |pop: PopId| PopId(u16::try_from((pop.index() + count - by) % count).unwrap());
    for pop in &mut config.pools[0].pops {
        *pop = moved(*pop);
    }
    config.pools[0].pops.reverse();
    for network in &mut config.geo.networks {
        network.pop = network.pop.map(moved);
    }
    config
}
