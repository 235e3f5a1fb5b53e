//! Pools with an anycast address: who gets it, and who a single PoP.

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use meridian_config::{Anycast, Family, PopId};
use meridian_geo_data::{
    CellId,
    latency::{Basis, Latency, Measured, Parts, Preference},
};
use meridian_health_prober::HealthSnapshot;
use proptest::prelude::*;

use super::{
    super::{
        Decision, Inputs, Level, Reason, Standing, Steering, View, block::Block, decide, explain,
        steering::is_inside,
    },
    model,
    seeded::seeded,
    world::{
        FAMILIES, World, config, exactly, health, network, parameters, pool_of, pop, some_address,
        some_client, within, world,
    },
};
use crate::client::Client;

const ADDRESSES: [&str; 2] = ["192.0.2.99", "2001:db8::99"];

fn prefers(pop: u16, in_force: bool) -> Preference {
    Preference {
        anycast: 0,
        pop,
        windows: 5,
        age_s: 60,
        in_force,
    }
}

fn measured(column: u16, ms: f32) -> Measured {
    Measured {
        column,
        basis: Basis::Cell,
        p25_ms: ms,
        ms,
        samples: 40,
        age_s: 60,
    }
}

/// Columns: the anycast address, then the PoPs by number.
fn columns(world: &World) -> Arc<[Arc<str>]> {
    let pops = world.config.pops.iter().map(|pop| Arc::from(&*pop.name));
    std::iter::once("anycast:edge".into()).chain(pops).collect()
}

/// The same world after this was measured, its pool with these anycast addresses.
fn measure(mut world: World, addresses: &[&str], parts: Parts) -> World {
    world.config.pools[0].anycast = (!addresses.is_empty()).then(|| Anycast {
        addresses: addresses.iter().map(|one| one.parse().unwrap()).collect(),
        margin: Duration::from_millis(10),
    });
    world.steering = Steering::new(&world.config, world.steering.clients.clone());
    let inputs = Inputs {
        latency: Arc::new(Latency::new(Parts {
            columns: columns(&world),
            ..parts
        })),
        ..Inputs::default()
    };
    let standing = Standing::none().next(&world.steering, &world.health, &inputs);
    world.view = View::new(&world.steering, Arc::new(standing), world.health.clone());
    world
}

fn ask(world: &World, service: usize, client: &Client, family: Family) -> Decision {
    let id = model::id(service);
    decide(&world.steering, &world.view, id, client, family)
}

/// Frankfurt and Ashburn; clients in Paris and in New York.
fn two(health_of: impl Fn(&meridian_config::Config) -> HealthSnapshot) -> World {
    let pops = vec![
        pop("fra", 50.03, 8.57, &["192.0.2.10", "2001:db8::10"]),
        pop("iad", 38.94, -77.46, &["192.0.2.20"]),
    ];
    let mut config = config(pops, vec![pool_of(2)], vec![parameters()]);
    config.geo.networks = vec![
        network("198.51.0.0/16", Some((48.86, 2.35)), None),
        network("203.0.113.0/24", Some((40.71, -74.01)), None),
        network("203.0.112.0/24", None, Some(1)),
    ];
    let health = health_of(&config);
    World::new(config, health)
}

fn cell_of(world: &World, text: &str) -> CellId {
    let located = world.steering.clients.locate(text.parse().unwrap());
    located.cell.unwrap()
}

/// Paris prefers fra, but not its 198.51.7.0/24.
fn proven(world: World) -> World {
    let paris = cell_of(&world, "198.51.0.1");
    let parts = Parts {
        cells: vec![(paris, measured(0, 40.0)), (paris, measured(1, 12.0))],
        preferences: vec![(paris, prefers(1, true))],
        exceptions: vec![(
            "198.51.7.0/24".parse().unwrap(),
            vec![measured(0, 12.0), measured(1, 40.0)],
        )],
        ..Parts::default()
    };
    measure(world, &ADDRESSES, parts)
}

/// (addresses, reason, level)
fn told(world: &World, client: &str, family: Family) -> (String, Reason, Level) {
    let decision = ask(world, 0, &exactly(client.parse().unwrap()), family);
    let addresses: Vec<String> = decision.addresses.iter().map(IpAddr::to_string).collect();
    (addresses.join(" "), decision.reason, decision.level)
}

#[test]
fn anycast_unless_a_single_pop_is_proven_better() {
    let world = proven(two(|_| HealthSnapshot::default()));
    let anycast = |address: &str| (address.to_owned(), Reason::Anycast, Level::ConfiguredOrder);
    let table = [
        ("198.51.1.1", "192.0.2.10", Reason::Unicast, Level::Measured),
        (
            "198.51.7.1",
            "192.0.2.99",
            Reason::Anycast,
            Level::ConfiguredOrder,
        ),
        (
            "203.0.113.1",
            "192.0.2.99",
            Reason::Anycast,
            Level::ConfiguredOrder,
        ),
        ("203.0.112.1", "192.0.2.20", Reason::Pinned, Level::Geo),
    ];
    for (client, address, reason, level) in table {
        let got = told(&world, client, Family::V4);
        assert_eq!(got, (address.to_owned(), reason, level), "{client}");
    }
    let six = told(&world, "198.51.1.1", Family::V6);
    assert_eq!(
        six,
        ("2001:db8::10".to_owned(), Reason::Unicast, Level::Measured)
    );
    assert_eq!(
        told(&world, "203.0.113.1", Family::V6),
        anycast("2001:db8::99")
    );
    // iad has no IPv6 address, so that its pinned clients get anycast there.
    assert_eq!(
        told(&world, "203.0.112.1", Family::V6),
        anycast("2001:db8::99")
    );
    assert_eq!(
        world.view.level(&world.steering, model::id(0)),
        Level::Measured
    );
    // The exceptional prefix has a scope of its own, which no other holds.
    let scope = |client: &str| ask(&world, 0, &exactly(client.parse().unwrap()), Family::V4).scope;
    assert_eq!((scope("198.51.7.1"), scope("198.51.6.1")), (24, 24));
    assert_eq!(scope("198.51.128.1"), 17);
}

#[test]
fn what_is_not_proven_changes_nothing() {
    let plain = two(|_| HealthSnapshot::default());
    let paris = cell_of(&plain, "198.51.0.1");
    let parts = Parts {
        preferences: vec![(paris, prefers(1, false))],
        ..Parts::default()
    };
    let world = measure(plain, &ADDRESSES, parts);
    assert_eq!(told(&world, "198.51.1.1", Family::V4).1, Reason::Anycast);
    assert_eq!(
        world.view.level(&world.steering, model::id(0)),
        Level::ConfiguredOrder
    );
    let client = exactly("198.51.1.1".parse().unwrap());
    let explained = explain(
        &world.steering,
        &world.view,
        model::id(0),
        &client,
        Family::V4,
    );
    assert_eq!(
        explained.unwrap().why,
        "the anycast address of pool edge: fra was better in 5 of the last 24 windows, which is not enough"
    );
}

#[test]
fn health_counts_for_single_pops_and_for_all_of_them() {
    let reason = |down: &[usize], drained: &[usize]| {
        let down: Vec<_> = down.iter().map(|at| (*at, vec![true; 2])).collect();
        let world = proven(two(|config| health(config, &down, drained)));
        told(&world, "198.51.1.1", Family::V4)
    };
    assert_eq!(
        reason(&[0], &[]).1,
        Reason::Anycast,
        "the preferred one is down"
    );
    assert_eq!(reason(&[], &[0]).1, Reason::Anycast, "it is drained");
    assert_eq!(reason(&[1], &[]).1, Reason::Unicast, "another one is down");
    assert_eq!(
        reason(&[0, 1], &[]).1,
        Reason::LastResortDown,
        "nobody announces"
    );
}

#[test]
fn an_explanation_shows_the_figures() {
    let world = proven(two(|_| HealthSnapshot::default()));
    let told = |client: &str| {
        let client = exactly(client.parse().unwrap());
        explain(
            &world.steering,
            &world.view,
            model::id(0),
            &client,
            Family::V4,
        )
        .unwrap()
    };
    let paris = told("198.51.1.1");
    assert_eq!(
        paris.why,
        "fra was measured to be better than the anycast address of pool edge: 12.0 ms against 40.0 ms"
    );
    let hybrid = paris.anycast.unwrap();
    let better = hybrid.better.unwrap();
    assert_eq!(hybrid.address, ADDRESSES[0].parse::<IpAddr>().unwrap());
    assert_eq!(
        (better.pop.as_str(), better.windows, better.in_force),
        ("fra", 5, true)
    );
    assert_eq!(hybrid.latency.map(|one| one.p25_ms), Some(40.0));
    let new_york = told("203.0.113.1");
    assert_eq!(
        new_york.why,
        "the anycast address of pool edge: no single PoP was measured to be better by 10 ms"
    );
    assert!(new_york.chosen.is_none() && new_york.anycast.unwrap().better.is_none());
    let why = &new_york.candidates[0].why;
    assert_eq!(why, "the pool's anycast address comes first");
}

/// /24s and /48s around what the worlds know.
const PREFIXES: [&str; 7] = [
    "10.16.33.0/24",
    "10.16.34.0/24",
    "10.200.1.0/24",
    "192.0.2.0/24",
    "203.0.113.0/24",
    "2001:db8:1::/48",
    "2001:db8:2::/48",
];

/// A world with an anycast address and random preferences, and the same without the address.
fn hybrid() -> impl Strategy<Value = (World, Vec<&'static str>)> {
    let exceptional = proptest::collection::vec(proptest::option::of(any::<u16>()), PREFIXES.len());
    let of_cells = proptest::collection::vec(proptest::option::of(any::<u16>()), 1..20);
    (world(), 1..4_usize, exceptional, of_cells, any::<u8>()).prop_map(
        |(world, families, exceptional, of_cells, named)| {
            let pops = u16::try_from(world.config.pops.len()).unwrap();
            let pop = |any: u16| prefers(1 + any % pops, !any.is_multiple_of(5));
            let cells = u32::try_from(world.steering.clients.cells().len()).unwrap();
            let preferences = (0..cells).zip(of_cells.iter().cycle());
            let preferences =
                preferences.filter_map(|(cell, one)| Some((CellId(cell), pop((*one)?))));
            let nets = PREFIXES.iter().map(|text| text.parse::<IpNet>().unwrap());
            let taken = nets.zip(exceptional).enumerate();
            let taken: Vec<_> = taken
                .filter(|(at, _)| named >> at & 1 == 1)
                .map(|(_, one)| one)
                .collect();
            let parts = Parts {
                preferences: preferences.collect(),
                exceptions: taken
                    .iter()
                    .map(|(net, _)| (*net, vec![measured(0, 30.0)]))
                    .collect(),
                preferred: taken
                    .iter()
                    .map(|(net, one)| (*net, one.iter().map(|any| pop(*any)).collect()))
                    .collect(),
                ..Parts::default()
            };
            let addresses: Vec<&str> = (0..2)
                .filter(|at| families >> at & 1 == 1)
                .map(|at| ADDRESSES[at])
                .collect();
            (measure(world, &addresses, parts), addresses)
        },
    )
}

/// What the rules say: the addresses, or `None` where the ladder goes on as without anycast.
fn plainly(
    world: &World,
    addresses: &[&str],
    service: usize,
    client: &Client,
    family: Family,
) -> Option<(Vec<IpAddr>, Option<PopId>)> {
    let addresses = addresses.iter().map(|one| one.parse().unwrap());
    let anycast = addresses
        .into_iter()
        .find(|one| Family::of(*one) == family)?;
    let of = &world.config.zones[0].services[service];
    let pool = world.config.pool(of.pool);
    let roster = world.steering.services()[service].roster;
    let roll = world.view.roll(roster);
    let usable = |member: usize, family| {
        let endpoints = &world.config.pop(pool.pops[member]).endpoints;
        endpoints.iter().any(|one| Family::of(*one) == family) && roll.answers(family).get(member)
    };
    let members = 0..pool.pops.len();
    let mut both = members
        .clone()
        .flat_map(|at| FAMILIES.map(|one| usable(at, one)));
    if !both.any(|one| one) {
        return None;
    }
    let standing = world.view.standing();
    let scope_max = of.steering.scope_max;
    let exceptions = Some(standing.exceptions());
    let block = Block::of(
        &world.steering.clients,
        exceptions,
        client.address,
        scope_max,
    );
    let (place, row) = standing.place(&world.steering.clients, block.place);
    let (cell, pinned) = world.steering.clients.place(place);
    let pinned = pinned.and_then(|pin| pool.pops.iter().position(|pop| *pop == pin));
    if pinned.is_some_and(|at| usable(at, family)) {
        return None;
    }
    let told = row.map(|row| standing.told_of(&world.steering.clients, row).1);
    let wanted = told
        .unwrap_or_default()
        .into_iter()
        .find(|one| one.in_force);
    let wanted = wanted.and_then(|one| {
        let at = pool.pops.iter().position(|pop| pop.0 + 1 == one.pop)?;
        let cell = &world.steering.clients.cells()[cell?.0 as usize];
        let fence = &world.config.pop(pool.pops[at]).serves;
        let inside = is_inside(fence, cell.country, cell.continent);
        (inside && usable(at, family)).then_some(at)
    });
    Some(match wanted {
        None => (vec![anycast], None),
        Some(at) => {
            let tested = &world.steering.tested[world.steering.rosters[roster].tested[at] as usize];
            let own = world.config.pop(pool.pops[at]).endpoints.iter().enumerate();
            let own = own.filter(|(index, one)| {
                Family::of(**one) == family && world.view.endpoint(tested, *index)
            });
            let own = own.map(|(_, one)| *one).take(of.steering.answers).collect();
            (own, Some(pool.pops[at]))
        }
    })
}

proptest! {
    #![proptest_config(seeded(48))]

    /// Contract invariant 3, RFC 7871 §7.3.1: what is in a scope gets the same, and no two overlap.
    #[test]
    fn scopes_hold((world, _) in hybrid(), clients in proptest::collection::vec((some_client(), any::<u128>()), 12), near in some_address()) {
        let near = match near {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        for service in 0..world.steering.services().len() {
            for (client, noise) in &clients {
                for family in FAMILIES {
                    let decision = ask(&world, service, client, family);
                    for probe in [*noise, noise >> 40, noise << 40, 0, u128::MAX, near] {
                        let inside = exactly(within(client.address, decision.scope, probe));
                        let other = ask(&world, service, &inside, family);
                        prop_assert_eq!(
                            (&decision.addresses, decision.pop, decision.ttl, decision.scope),
                            (&other.addresses, other.pop, other.ttl, other.scope),
                            "{} and {}", client, inside
                        );
                    }
                }
            }
        }
    }

    /// Pinned PoP, proven PoP, anycast, and the ladder as without anycast when nobody announces.
    #[test]
    fn decisions_follow_the_rules((world, addresses) in hybrid(), clients in proptest::collection::vec(some_client(), 12)) {
        for service in 0..world.steering.services().len() {
            for client in &clients {
                for family in FAMILIES {
                    let got = ask(&world, service, client, family);
                    let given = got.addresses.to_vec();
                    match plainly(&world, &addresses, service, client, family) {
                        Some((expect, pop)) => {
                            let reason = if pop.is_some() { Reason::Unicast } else { Reason::Anycast };
                            prop_assert_eq!((given, got.pop, got.reason), (expect, pop, reason), "{}", client);
                        }
                        None => prop_assert!(!matches!(got.reason, Reason::Anycast | Reason::Unicast)),
                    }
                    let told = explain(&world.steering, &world.view, model::id(service), client, family).unwrap();
                    prop_assert_eq!(told.addresses, got.addresses.to_vec());
                    prop_assert!(!told.why.is_empty());
                }
            }
        }
    }
}
