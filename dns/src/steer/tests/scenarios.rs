//! Worked examples with their numbers.

use std::{net::IpAddr, sync::Arc, time::Duration};

use meridian_config::{CheckId, Config, Family, Fence, Policy, PoolCheck, PopId, Ratio, Weight};
use meridian_health_prober::{CheckHealth, HealthSnapshot, Verdict};

use super::{
    super::{
        Decision, Inputs, Level, Reason, Standing, View, balance::Price, decide, explain,
        explain_briefly,
    },
    model,
    world::{
        World, config, exactly, health, network, parameters, pool_of, pop, push, small_database,
    },
};
use crate::client::Client;

/// Frankfurt, Ashburn, Tokyo; clients in Paris, New York and Osaka, and one nobody knows.
fn three() -> Config {
    let pops = vec![
        pop("fra", 50.03, 8.57, &["192.0.2.10", "2001:db8::10"]),
        pop("iad", 38.94, -77.46, &["192.0.2.20", "2001:db8::20"]),
        pop("nrt", 35.76, 140.39, &["192.0.2.30", "2001:db8::30"]),
    ];
    config(pops, vec![pool_of(3)], vec![parameters()])
}

fn over(config: Config, health: HealthSnapshot) -> World {
    let database = small_database(&[
        ("198.51.100.0/24", ("FR", 48.86, 2.35)),
        ("203.0.113.0/24", ("US", 40.71, -74.01)),
        ("198.18.0.0/15", ("JP", 34.69, 135.50)),
        ("4.0.0.0/6", ("US", 38.94, -77.46)),
    ]);
    World::over(database, config, health)
}

const PARIS: &str = "198.51.100.0";
const NEW_YORK: &str = "203.0.113.0";
const OSAKA: &str = "198.18.0.0";

fn client(text: &str) -> Client {
    Client::from_ecs(text.parse().unwrap(), 24, text.parse().unwrap())
}

fn ask(world: &World, text: &str) -> Decision {
    decide(
        &world.steering,
        &world.view,
        model::id(0),
        &client(text),
        Family::V4,
    )
}

fn named(world: &World, decision: &Decision) -> String {
    let name = decision.pop.and_then(|pop| world.steering.pop_name(pop));
    name.unwrap_or("-").to_owned()
}

/// (PoP, reason, level, scope)
fn told(world: &World, text: &str) -> (String, Reason, Level, u8) {
    let decision = ask(world, text);
    (
        named(world, &decision),
        decision.reason,
        decision.level,
        decision.scope,
    )
}

fn up() -> HealthSnapshot {
    HealthSnapshot::default()
}

/// The worked example of docs/steering.md.
#[test]
fn the_worked_example() {
    let world = over(three(), up());
    let table = [
        (PARIS, "fra", 11, [9.04, 82.39, 128.18]),
        (NEW_YORK, "iad", 24, [82.55, 7.43, 141.98]),
        (OSAKA, "nrt", 15, [121.81, 146.41, 8.90]),
    ];
    for (address, name, scope, scores) in table {
        let expect = (name.to_owned(), Reason::Nearest, Level::Geo, scope);
        assert_eq!(told(&world, address), expect, "{address}");
        let told = explain(
            &world.steering,
            &world.view,
            model::id(0),
            &client(address),
            Family::V4,
        );
        let told = told.unwrap();
        for (name, expect) in ["fra", "iad", "nrt"].into_iter().zip(scores) {
            let one = told.candidates.iter().find(|one| one.pop == name).unwrap();
            let score = one.score_ms.unwrap();
            assert!((score - expect).abs() < 0.05, "{address} {name}: {score}");
            // 0.3 and 0.4 of 0.7: 1 ms, and 5 + 1.5 ms, for each 100 km.
            let km = one.distance_km.unwrap();
            let line = (0.3 * km / 100.0 + 0.4 * (5.0 + 1.5 * km / 100.0)) / 0.7;
            assert!((f64::from(score) - line).abs() < 0.01, "{score} {line}");
        }
    }
    let decision = ask(&world, PARIS);
    assert_eq!(
        decision.addresses.as_slice(),
        ["192.0.2.10".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(decision.ttl, 30);
}

#[test]
fn a_pop_that_is_down_hands_over_to_the_next() {
    let config = three();
    let failed = health(&config, &[(0, vec![true, true])], &[]);
    let world = over(config, failed);
    assert_eq!(
        told(&world, PARIS),
        ("iad".into(), Reason::FailedOver, Level::Geo, 11)
    );
    assert_eq!(
        told(&world, OSAKA),
        ("nrt".into(), Reason::Nearest, Level::Geo, 15)
    );
    let why = explain(
        &world.steering,
        &world.view,
        model::id(0),
        &client(PARIS),
        Family::V4,
    );
    assert_eq!(
        why.unwrap().why,
        "iad, since fra (down: tested) would come first but may not be used"
    );
}

/// The TTL while a verdict may flip: of the PoP in the answer, and of the one that was passed over.
#[test]
fn the_ttl_while_a_verdict_may_flip() {
    let config = three();
    let with = |down: &[(usize, Vec<bool>)], pop: &str, seconds: u64| {
        let mut health = health(&config, down, &[]);
        let group = health.groups.iter_mut().find(|(key, _)| key.pop == pop);
        for endpoint in &mut group.unwrap().1.endpoints {
            endpoint.flips_in = Some(std::time::Duration::from_millis(seconds * 1000 - 100));
        }
        over(config.clone(), health)
    };
    let ttl = |world: &World, text: &str| {
        let why = explain(
            &world.steering,
            &world.view,
            model::id(0),
            &client(text),
            Family::V4,
        );
        let decision = ask(world, text);
        (decision.ttl, decision.scope, why.unwrap().ttl_why)
    };
    // fra is up, and one failure speaks against it: half of the TTL is the least.
    let all_up = [(0, vec![]), (1, vec![]), (2, vec![])];
    let world = with(&all_up, "fra", 2);
    let why = "lowered from 30 s, since fra may go down within 1.9 s; never below 15 s";
    assert_eq!(ttl(&world, PARIS), (15, 11, Some(why.to_owned())));
    assert_eq!(ttl(&world, OSAKA), (30, 15, None), "nrt is in no doubt");
    assert_eq!(ttl(&with(&all_up, "fra", 20), PARIS).0, 20);
    assert_eq!(ttl(&with(&all_up, "fra", 40), PARIS).0, 30);
    // fra is down and may be back: that is for those who would have it.
    let down = [(0, vec![true, true]), (1, vec![]), (2, vec![])];
    let world = with(&down, "fra", 5);
    let why = "lowered from 30 s, since fra may come back within 4.9 s; never below 15 s";
    let paris = ttl(&world, PARIS);
    assert_eq!((paris.0, paris.2), (15, Some(why.to_owned())));
    assert_eq!(ttl(&world, NEW_YORK).0, 30);
    assert_eq!(ttl(&world, OSAKA), (30, 15, None));
    // It shrinks with the time that passes, down to the least.
    let world = with(&down, "fra", 29);
    assert!(world.view.is_in_doubt());
    for (age, left) in [(0, 29), (9, 20), (14, 15), (29, 15), (100_000, 15)] {
        world.view.grow_older(std::time::Duration::from_secs(age));
        assert_eq!(ttl(&world, PARIS).0, left, "after {age} s");
        assert_eq!(ttl(&world, OSAKA).0, 30);
    }
    // A view made later of what was told later says the same.
    let view = |health: &HealthSnapshot| {
        let standing = world.view.standing().clone();
        View::new(&world.steering, standing, Arc::new(health.clone()))
    };
    let young = view(world.view.health());
    let later = view(with(&down, "fra", 20).view.health());
    let passed = std::time::Duration::from_secs;
    let alike = |by| young.answers_like(&later, passed(by));
    assert_eq!([8, 9, 10, 12].map(alike), [true, true, true, false]);
    let sure = view(&health(&config, &down, &[]));
    assert!(!young.answers_like(&sure, passed(9)) && !sure.is_in_doubt());
    // What an operator has drained does not come back by itself.
    let mut drained = health(&config, &down, &[0]);
    for endpoint in &mut drained.groups.values_mut().next().unwrap().endpoints {
        endpoint.flips_in = Some(std::time::Duration::from_secs(5));
    }
    assert_eq!(ttl(&over(config.clone(), drained), PARIS).0, 30);
}

#[test]
fn the_ladder_of_last_resorts() {
    let all = [
        (0, vec![true, true]),
        (1, vec![true, true]),
        (2, vec![true, true]),
    ];
    let config = three();
    let down = health(&config, &all, &[]);
    let world = over(config.clone(), down);
    let as_if_healthy = ("fra".into(), Reason::LastResortDown, Level::LastResort, 11);
    assert_eq!(told(&world, PARIS), as_if_healthy);
    assert_eq!(
        world.view.level(&world.steering, model::id(0)),
        Level::LastResort
    );

    let drained = health(&config, &all, &[0]);
    let world = over(config.clone(), drained);
    assert_eq!(
        told(&world, PARIS).0,
        "iad",
        "a drained PoP comes after those that are down"
    );

    let emptied = health(&config, &all, &[0, 1, 2]);
    let world = over(config.clone(), emptied);
    assert_eq!(told(&world, PARIS).1, Reason::LastResortDrained);

    let mut with_fallback = config.clone();
    with_fallback.pools[0].fallback = vec!["192.0.2.250".parse().unwrap()];
    let down = health(&with_fallback, &all, &[]);
    let world = over(with_fallback, down);
    let expect = ("-".into(), Reason::LastResortFallback, Level::LastResort, 0);
    assert_eq!(
        told(&world, PARIS),
        expect,
        "the same for everyone: scope 0"
    );
    assert_eq!(ask(&world, PARIS).addresses[0].to_string(), "192.0.2.250");
}

#[test]
fn fences_and_their_last_resort() {
    let mut config = three();
    for pop in &mut config.pops {
        pop.serves = Fence {
            exclude_countries: vec![*b"FR"],
            ..Fence::default()
        };
    }
    let world = over(config.clone(), up());
    assert_eq!(told(&world, PARIS).1, Reason::LastResortFenced);
    assert_eq!(told(&world, NEW_YORK).0, "iad");
    config.pops[2].serves = Fence::default();
    let world = over(config, up());
    let (name, reason, level, _) = told(&world, PARIS);
    assert_eq!(
        (name.as_str(), reason, level),
        ("nrt", Reason::Nearest, Level::Geo)
    );
}

#[test]
fn weight_zero_is_for_when_nothing_else_is_left() {
    let mut config = three();
    config.pops[0].weight = Weight(0);
    let world = over(config.clone(), up());
    assert_eq!(told(&world, PARIS).0, "iad");
    let others = health(
        &config,
        &[(1, vec![true, true]), (2, vec![true, true])],
        &[],
    );
    let world = over(config, others);
    assert_eq!(
        told(&world, PARIS),
        ("fra".into(), Reason::FailedOver, Level::Geo, 1)
    );
}

#[test]
fn bias_draws_clients_from_farther_away() {
    let mut config = three();
    config.pops[1].bias_ms = 80.0;
    let world = over(config.clone(), up());
    assert_eq!(
        told(&world, PARIS),
        ("iad".into(), Reason::Nearest, Level::Geo, 24)
    );
    config.pops[1].bias_ms = 75.0;
    let world = over(config, up());
    assert_eq!(told(&world, PARIS).1, Reason::WeightShared, "7.39 and 9.04");
}

#[test]
fn pins_unknown_places_and_failover() {
    let mut config = three();
    config
        .geo
        .networks
        .push(network("198.51.100.128/25", None, Some(2)));
    let mut failover = parameters();
    failover.policy = Policy::Failover;
    config.zones[0].services[0].steering = failover;
    let world = over(config.clone(), up());
    assert_eq!(told(&world, NEW_YORK).1, Reason::ConfiguredOrder);
    // Only the pinned half of the block knows of the pin, and blocks are cut first.
    assert_eq!(told(&world, "198.51.100.128").0, "fra");
    config.zones[0].services[0].steering.scope_max.ipv4 = 25;
    let world = over(config, up());
    let pinned = ("nrt".into(), Reason::Pinned, Level::Geo, 25);
    assert_eq!(told(&world, "198.51.100.128"), pinned);
    let listed = (
        "fra".into(),
        Reason::ConfiguredOrder,
        Level::ConfiguredOrder,
        5,
    );
    assert_eq!(told(&world, NEW_YORK), listed);

    let world = over(three(), up());
    let (name, reason, level, _) = told(&world, "10.1.2.0");
    let expect = ("fra", Reason::UnknownLocation, Level::ConfiguredOrder);
    assert_eq!((name.as_str(), reason, level), expect);
}

/// RFC 7871 §7.3.1: scope 0 is for "all networks": a failover list without fences and pins.
#[test]
fn scope_zero_only_for_everyone() {
    let mut config = three();
    config.zones[0].services[0].steering.policy = Policy::Failover;
    let world = over(config.clone(), up());
    assert_eq!(told(&world, PARIS).3, 0);
    config.pops[1].serves = Fence {
        countries: vec![*b"US"],
        ..Fence::default()
    };
    let world = over(config.clone(), up());
    assert!(told(&world, PARIS).3 > 0);
    config.pops[1].serves = Fence::default();
    config.zones[0].services[0].steering.policy = Policy::Score;
    config.pools[0].pops.truncate(1);
    let world = over(config, up());
    assert_eq!(told(&world, PARIS).3, 0, "one PoP, no fence");
}

#[test]
fn weights_share_the_clients_within_tolerance() {
    let mut config = three();
    for (at, weight) in [(0, 50), (1, 100), (2, 350)] {
        config.pops[at].weight = Weight(weight);
    }
    config.zones[0].services[0].steering.tolerance = Duration::from_secs(10);
    let world = over(config, up());
    let mut won = [0_u32; 3];
    for block in 0..40_000_u32 {
        let address = IpAddr::from((0x0400_0000 + (block << 8)).to_be_bytes());
        let client = exactly(address);
        let decision = decide(
            &world.steering,
            &world.view,
            model::id(0),
            &client,
            Family::V4,
        );
        assert_eq!(
            (decision.reason, decision.scope),
            (Reason::WeightShared, 24)
        );
        won[decision.pop.unwrap().index()] += 1;
    }
    // Standard deviations of 10, 20 and 70 % over 40,000 draws: 60, 80 and 92.
    for (won, expect) in won.into_iter().zip([4_000, 8_000, 28_000]) {
        assert!(won.abs_diff(expect) < 500, "{won} for {expect}");
    }
}

#[test]
fn several_answers_take_the_best_pop_first_and_leave_out_what_is_down() {
    let mut config = three();
    config.pops[0].endpoints = ["192.0.2.10", "192.0.2.11", "192.0.2.12", "2001:db8::10"]
        .map(|a| a.parse().unwrap())
        .into();
    config.zones[0].services[0].steering.answers = 3;
    let failed = health(&config, &[(0, vec![false, true, false, true])], &[]);
    let world = over(config, failed);
    let decision = ask(&world, PARIS);
    let texts: Vec<String> = decision.addresses.iter().map(IpAddr::to_string).collect();
    assert_eq!(texts, ["192.0.2.10", "192.0.2.12", "192.0.2.20"]);
    let v6 = decide(
        &world.steering,
        &world.view,
        model::id(0),
        &client(PARIS),
        Family::V6,
    );
    assert_eq!(v6.pop, Some(PopId(1)), "no usable AAAA endpoint in fra");
    assert_eq!(v6.reason, Reason::FailedOver);
}

#[test]
fn no_address_of_the_family_is_no_data() {
    let mut config = three();
    for pop in &mut config.pops {
        pop.endpoints.retain(IpAddr::is_ipv4);
    }
    let world = over(config, up());
    let decision = decide(
        &world.steering,
        &world.view,
        model::id(0),
        &client(PARIS),
        Family::V6,
    );
    assert!(decision.addresses.is_empty());
    assert_eq!(
        (decision.reason, decision.scope),
        (Reason::NoAddressOfFamily, 0)
    );
}

#[test]
fn a_view_of_another_configuration_is_survived() {
    let world = over(three(), up());
    let mut larger = three();
    larger
        .pops
        .push(pop("syd", -33.94, 151.18, &["192.0.2.40"]));
    larger.pools[0].pops.push(PopId(3));
    let larger = over(larger, up());
    let client = client(PARIS);
    let decision = decide(
        &larger.steering,
        &world.view,
        model::id(0),
        &client,
        Family::V4,
    );
    assert_eq!(decision.pop, Some(PopId(0)));
    let none = decide(
        &world.steering,
        &larger.view,
        model::id(7),
        &client,
        Family::V4,
    );
    assert!(none.addresses.is_empty());
}

/// Orders fill in from any thread, past the budget too, and never differ.
#[test]
fn many_threads_find_the_same_orders() {
    let mut config = three();
    for n in 0..200_u8 {
        let place = (f64::from(n) / 3.0, f64::from(n) - 90.0);
        config
            .geo
            .networks
            .push(network(&format!("10.0.{n}.0/24"), Some(place), None));
    }
    let world = over(config, up());
    let all = || -> Vec<Decision> {
        (0..200)
            .map(|n| ask(&world, &format!("10.0.{n}.0")))
            .collect()
    };
    let found: Vec<Vec<Decision>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(all)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(found.iter().all(|one| *one == all()));
    let used = world.steering.kept_octets();
    assert!(used > 0 && used <= super::super::ranking::BUDGET, "{used}");
}

/// The prober's verdict is under `[steering] min_health`; a service may ask for more.
#[test]
fn a_service_with_a_min_health_of_its_own() {
    let mut config = three();
    let failed = health(&config, &[(0, vec![false, true])], &[]);
    let world = over(config.clone(), failed.clone());
    assert_eq!(
        told(&world, PARIS).0,
        "fra",
        "one of two is enough by default"
    );
    config.zones[0].services[0].steering.min_health = Ratio(0.8);
    let world = over(config, failed);
    assert_eq!(told(&world, PARIS).1, Reason::FailedOver);
    let why = explain(
        &world.steering,
        &world.view,
        model::id(0),
        &client(PARIS),
        Family::V4,
    );
    assert_eq!(
        why.unwrap().candidates[0].why,
        "down: tested, and this service asks for 80 % of its endpoints"
    );
}

/// A PoP that grows (`ramp`) shapes rows, and nothing of that is measured.
#[test]
fn growing_alone_is_no_measurement() {
    let level = |price: Price| {
        let mut config = three();
        for pop in &mut config.pops {
            pop.load = Some(push());
        }
        let world = over(config, up()).after(vec![Inputs {
            prices: vec![price; 3].into(),
            ..Inputs::default()
        }]);
        let service = world.steering.service(model::id(0)).unwrap();
        let has_table = world.view.standing().table(service.stand).is_some();
        let told = world.view.level(&world.steering, model::id(0));
        assert_eq!(ask(&world, PARIS).level, told);
        (has_table, told)
    };
    let ramp = 0.5;
    let grows = Price {
        ramp,
        ..Price::NEUTRAL
    };
    assert_eq!(level(Price::NEUTRAL), (false, Level::Geo));
    assert_eq!(level(grows), (true, Level::Geo));
    let price_ms = 10.0;
    let known = Price {
        price_ms,
        known: true,
        own: true,
        ..grows
    };
    assert_eq!(level(known), (true, Level::Measured));
}

#[test]
fn the_level_of_a_service() {
    let mut config = three();
    let world = over(config.clone(), up());
    assert_eq!(world.view.level(&world.steering, model::id(0)), Level::Geo);
    let every_v6 = (0..3).map(|at| (at, vec![false, true])).collect::<Vec<_>>();
    let no_v6 = over(config.clone(), health(&config, &every_v6, &[]));
    assert_eq!(
        no_v6.view.level(&no_v6.steering, model::id(0)),
        Level::LastResort,
        "AAAA is"
    );
    config.zones[0].services[0].steering.policy = Policy::Failover;
    let world = over(config, up());
    assert_eq!(
        world.view.level(&world.steering, model::id(0)),
        Level::ConfiguredOrder
    );
    let down = View::with_down(
        &world.steering,
        Standing::none().into(),
        world.health.clone(),
        &[PopId(0), PopId(1), PopId(2)],
    );
    assert_eq!(down.level(&world.steering, model::id(0)), Level::LastResort);
}

/// A pool that combines checks: `explain` shows each of them.
#[test]
fn each_check_of_a_pool_shows() {
    let mut config = three();
    let mut second = config.checks[0].clone();
    second.name = "ping".into();
    config.checks.push(second);
    let both = PoolCheck {
        rule: meridian_config::CheckRule::Any,
        checks: vec![CheckId(0), CheckId(1)],
    };
    for pool in &mut config.pools {
        pool.check = Some(both.clone());
    }
    let mut failed = health(&config, &[(0, vec![true, true])], &[]);
    let name = config.check_name(&both);
    failed.groups = failed
        .groups
        .into_iter()
        .map(|(mut key, mut pop)| {
            key.check = name.clone();
            pop.endpoints[0].checks = ["edge", "ping"]
                .map(|check| CheckHealth {
                    check: check.into(),
                    verdict: Verdict::Down,
                    reason: "refused".into(),
                    since: None,
                    rtt: None,
                })
                .into();
            (key, pop)
        })
        .collect();
    let world = over(config, failed);
    let told = explain(
        &world.steering,
        &world.view,
        model::id(0),
        &client(PARIS),
        Family::V4,
    );
    let told = told.unwrap();
    assert_eq!(told.check.as_deref(), Some("any(edge, ping)"));
    assert_eq!(told.chosen.as_deref(), Some("iad"));
    let fra = told.candidates.iter().find(|one| one.pop == "fra").unwrap();
    assert!(!fra.usable);
    assert_eq!(fra.endpoints[0].checks.len(), 2);
}

/// A PoP may be usable without an endpoint of a family; one that may be back counts as a PoP that may.
#[test]
fn the_ttl_while_a_family_of_a_pop_may_come_back() {
    let config = three();
    let with = |seconds: u64| {
        let down = [(0, vec![true, false]), (1, vec![]), (2, vec![])];
        let mut health = health(&config, &down, &[]);
        let group = health.groups.iter_mut().find(|(key, _)| key.pop == "fra");
        group.unwrap().1.endpoints[0].flips_in = Some(Duration::from_secs(seconds));
        over(config.clone(), health)
    };
    let world = with(5);
    let ttl = |world: &World, family| {
        let told = explain(
            &world.steering,
            &world.view,
            model::id(0),
            &client(PARIS),
            family,
        );
        let told = told.unwrap();
        (told.chosen, told.ttl, told.ttl_why)
    };
    let why = "lowered from 30 s, since an endpoint that would be in it may come back soon; never below 15 s";
    assert_eq!(
        ttl(&world, Family::V4),
        (Some("iad".into()), 15, Some(why.into()))
    );
    assert_eq!(ttl(&world, Family::V6), (Some("fra".into()), 30, None));
    assert_eq!(ttl(&with(20), Family::V4).1, 20);
}

/// Why a TTL is lowered names who may change the answer first, and nobody whom an operator holds down.
#[test]
fn a_lowered_ttl_names_who_lowers_it() {
    let config = three();
    let down = [(0, vec![true, true]), (1, vec![true, true]), (2, vec![])];
    let mut health = health(&config, &down, &[0]);
    for (pop, seconds) in [("fra", 3), ("iad", 20)] {
        let group = health.groups.iter_mut().find(|(key, _)| key.pop == pop);
        for endpoint in &mut group.unwrap().1.endpoints {
            endpoint.flips_in = Some(Duration::from_secs(seconds));
        }
    }
    let world = over(config, health);
    let told = explain(
        &world.steering,
        &world.view,
        model::id(0),
        &client(PARIS),
        Family::V4,
    );
    let told = told.unwrap();
    let why = "lowered from 30 s, since iad may come back within 20.0 s; never below 15 s";
    assert_eq!((told.ttl, told.ttl_why.as_deref()), (20, Some(why)));
}

/// Failure class 24: who asks for reasons over the DNS has no file read.
#[test]
fn row_24_a_brief_explanation_reads_no_files() {
    use std::io::Write as _;
    let database = small_database(&[("198.51.100.0/24", ("FR", 48.86, 2.35))]);
    let file = database.as_file().try_clone().unwrap();
    let shown = database.path().display().to_string();
    let world = World::over(database, three(), up());
    let told = |how: fn(&_, &_, _, &_, _) -> _| -> super::super::Explanation {
        let told: Option<_> = how(
            &world.steering,
            &world.view,
            model::id(0),
            &client(PARIS),
            Family::V4,
        );
        told.unwrap()
    };
    let whole = told(explain).location;
    assert!(whole.location.is_some() && whole.details_gone.is_empty());
    // Written to in place: whoever reads it sees that.
    let mut file = file;
    file.write_all(b"more").unwrap();
    assert_eq!(told(explain).location.details_gone.len(), 1);
    let brief = told(explain_briefly);
    assert_eq!(
        (brief.location.details_gone.len(), brief.location.cell),
        (0, whole.cell)
    );
    assert_eq!(
        brief.location.source,
        meridian_geo_data::Source::Database(shown)
    );
    assert_eq!(brief.why, told(explain).why);
}
