//! Plans over small worlds with the bundled geo data, against what can be said of them by hand.

use std::sync::Arc;

use meridian_config::{Config, Coordinates, Family};
use meridian_geo_data::{
    ClientMap,
    latency::{Basis, Latency, Measured, Parts, Preference},
};

use super::{
    Addition, Change, Demand, Plan, Question, Settling, Strain, World, draw, pairs, plan,
    report::Picture,
    settle::{BOUNDS, Bounds},
    world::testing::{clients, config, config_with, without},
};

const THREE: [(&str, f64, f64); 3] = [
    ("fra", 50.03, 8.57),
    ("iad", 38.95, -77.45),
    ("nrt", 35.77, 140.39),
];

struct Bed {
    clients: Arc<ClientMap>,
    before: World,
    after: World,
    demand: Demand,
}

impl Bed {
    fn new(config: &Config, change: &Change) -> Self {
        let clients = clients();
        let after = change.apply(config, |_| true).unwrap();
        Self {
            before: World::new(config.clone(), clients.clone(), &Change::default()).unwrap(),
            after: World::new(after, clients.clone(), change).unwrap(),
            demand: Demand::by_addresses(&clients, Family::V4),
            clients,
        }
    }

    fn plan(&self, load: Option<f64>) -> (Plan, Picture) {
        plan(&Question {
            before: &self.before,
            after: &self.after,
            demand: &self.demand,
            clients: &self.clients,
            services: &pairs(&self.before, &self.after, None),
            family: Family::V4,
            load,
            failures: true,
        })
    }
}

fn share(plan: &Plan, pop: &str) -> (f64, f64) {
    let row = plan.pops.iter().find(|row| row.pop == pop).unwrap();
    (row.share_before, row.share_after)
}

#[test]
fn without_a_change_nobody_moves() {
    let (plan, _) = Bed::new(&config(&THREE), &Change::default()).plan(None);
    assert_eq!((plan.moved, plan.moves.len()), (0.0, 0));
    let sum: f64 = plan.pops.iter().map(|row| row.share_after).sum();
    assert!((sum - 1.0).abs() < 1e-9);
    assert_eq!(plan.rtt_before, plan.rtt_after);
    assert_eq!(plan.failures.len(), 3);
    assert!(
        plan.pops
            .iter()
            .all(|row| row.load_after.is_none() && row.strain == Strain::None)
    );
}

#[test]
fn a_pop_that_goes_moves_its_own_clients_and_the_failure_table_said_so() {
    let configured = config(&THREE);
    let (idle, _) = Bed::new(&configured, &Change::default()).plan(None);
    for change in [without(&["fra"], &[]), without(&[], &["fra"])] {
        let (plan, _) = Bed::new(&configured, &change).plan(None);
        let (before, after) = share(&plan, "fra");
        assert!(before > 0.1);
        assert_eq!(after, 0.0);
        assert!((plan.moved - before).abs() < 1e-9);
        assert!(plan.moves.iter().all(|one| one.from == "fra"));
        assert_eq!(plan.failures.len(), 2);
        let told = idle.failures.iter().find(|one| one.pop == "fra").unwrap();
        assert!((told.moved - plan.moved).abs() < 1e-9);
        assert_eq!(told.rtt.p50, plan.rtt_after.p50);
        assert_eq!(told.rtt.p99, plan.rtt_after.p99);
        let worst = plan
            .pops
            .iter()
            .max_by(|a, b| a.share_after.total_cmp(&b.share_after));
        assert_eq!(told.worst.as_deref(), worst.map(|row| row.pop.as_str()));
    }
}

#[test]
fn when_every_pop_fails_everyone_gets_a_last_resort() {
    let change = without(&["fra"], &["iad", "nrt"]);
    let (plan, _) = Bed::new(&config(&THREE), &change).plan(None);
    assert!((plan.last_resort_after - 1.0).abs() < 1e-9);
    assert_eq!(plan.last_resort_before, 0.0);
    assert!(plan.failures.is_empty());
    // The last of three that fails leaves nothing either.
    let (plan, _) = Bed::new(&config(&THREE), &without(&[], &["iad", "nrt"])).plan(None);
    assert_eq!(plan.failures.len(), 1);
    assert!((plan.failures[0].last_resort - 1.0).abs() < 1e-9);
}

#[test]
fn an_added_pop_takes_the_clients_near_it() {
    let change = Change {
        add: vec![Addition {
            name: "gru".to_owned(),
            location: Coordinates {
                latitude: -23.4,
                longitude: -46.5,
            },
            weight: 100,
            capacity: Some(5.0),
        }],
        ..Change::default()
    };
    let (plan, _) = Bed::new(&config(&THREE), &change).plan(Some(100.0));
    let (before, after) = share(&plan, "gru");
    assert!(before == 0.0 && after > 0.01 && (after - plan.moved).abs() < 1e-9);
    assert!(plan.rtt_after.mean < plan.rtt_before.mean);
    assert!(plan.rtt_added.p99.unwrap() < 0.0);
    let row = plan.pops.iter().find(|row| row.pop == "gru").unwrap();
    assert_eq!(row.state, "new");
    assert!((row.load_after.unwrap() - after * 100.0 / 5.0).abs() < 1e-9);
}

#[test]
fn pops_in_one_place_share_by_weight() {
    let pair = [("a", 50.0, 8.0), ("b", 50.0, 8.0)];
    let change = Change {
        weight: vec![("b".to_owned(), 300)],
        ..Change::default()
    };
    let (plan, _) = Bed::new(&config(&pair), &change).plan(None);
    let (before, after) = share(&plan, "b");
    assert!(
        (before - 0.5).abs() < 0.01 && (after - 0.75).abs() < 0.01,
        "{before} {after}"
    );
    assert!((plan.moved - 0.25).abs() < 0.01, "{}", plan.moved);
    assert!(
        plan.moves.iter().all(|one| one.to == "b"),
        "{:?}",
        plan.moves
    );
}

#[test]
fn services_that_differ_each_bring_the_same_demand() {
    let more = "[[pool]]\nname = \"one\"\npops = [\"nrt\"]\n[[zone]]\nname = \"example.net\"\n\
                file = \"z\"\n[[zone.service]]\nname = \"a\"\npool = \"one\"\n\
                [[zone.service]]\nname = \"b\"\npool = \"one\"\n";
    let bed = Bed::new(&config_with(&THREE, more), &Change::default());
    let pairs = pairs(&bed.before, &bed.after, None);
    assert_eq!(pairs.len(), 2);
    assert!((pairs[1].share - 2.0 / 3.0).abs() < 1e-9);
    let (plan, _) = bed.plan(None);
    let (alone, _) = Bed::new(&config(&THREE), &Change::default()).plan(None);
    let right = share(&alone, "nrt").1 / 3.0 + 2.0 / 3.0;
    assert!((share(&plan, "nrt").1 - right).abs() < 1e-9);
    assert_eq!(plan.services.len(), 3);
}

/// Two PoPs near each other, of which one carries little: by weight both get half of Europe, by load
/// the small one gets what it can carry.
#[test]
fn loads_have_their_say_where_the_server_knows_them() {
    let text = |config: Config, loads: bool| {
        let mut config = config;
        for (pop, capacity) in config.pops.iter_mut().zip([100.0, 1000.0]) {
            pop.capacity = Some(capacity);
            pop.load = loads.then(|| meridian_config::LoadSource {
                kind: meridian_config::LoadKind::Push,
                interval: std::time::Duration::from_secs(30),
                timeout: std::time::Duration::ZERO,
            });
        }
        config
    };
    let pair = [("small", 50.0, 8.0), ("large", 50.5, 8.5)];
    let loaded = |loads: bool| {
        let mut bed = Bed::new(&text(config(&pair), loads), &Change::default());
        let services = [(
            pairs(&bed.before, &bed.after, None)[0].after,
            Family::V4,
            1.0,
        )];
        let (course, settled) = bed.after.settle(&bed.demand, &services, Some(400.0), None);
        assert_eq!(course.is_some(), loads);
        assert_eq!(settled == Settling::Idle, !loads);
        let (plan, _) = bed.plan(Some(400.0));
        let row = plan.pops.iter().find(|row| row.pop == "small").unwrap();
        (row.load_before.unwrap(), row.load_after.unwrap())
    };
    let (before, after) = loaded(false);
    assert!(
        (before - 2.0).abs() < 0.1 && before == after,
        "{before} {after}"
    );
    let (before, after) = loaded(true);
    assert!(
        (before - 2.0).abs() < 0.1 && after < 1.2,
        "{before} {after}"
    );
}

/// The same with capacities, and loads that the server knows.
fn with_loads(mut config: Config, capacities: &[f64]) -> Config {
    for (pop, capacity) in config.pops.iter_mut().zip(capacities) {
        pop.capacity = Some(*capacity);
        pop.load = Some(meridian_config::LoadSource {
            kind: meridian_config::LoadKind::Push,
            interval: std::time::Duration::from_secs(30),
            timeout: std::time::Duration::ZERO,
        });
    }
    config
}

/// The change begins where shares had settled, with the prices of then, whatever number a PoP has in the
/// other file: a configuration that says the same moves nobody but those who drift.
#[test]
fn another_configuration_begins_where_the_first_has_settled() {
    let pops = [
        ("small", 50.0, 8.0),
        ("large", 50.5, 8.5),
        ("far", 48.0, 2.0),
        ("iad", 38.95, -77.45),
    ];
    let (mut turned, capacities) = (pops, [100.0, 600.0, 300.0, 500.0]);
    turned.reverse();
    let mut again = capacities;
    again.reverse();
    for other in [(pops, capacities), (turned, again)] {
        let first = with_loads(config(&pops), &capacities);
        let second = with_loads(config(&other.0), &other.1);
        let mut bed = Bed::new(&first, &Change::default());
        bed.after = World::new(second, bed.clients.clone(), &Change::default()).unwrap();
        let pair = pairs(&bed.before, &bed.after, None).remove(0);
        let ask = |service| [(service, Family::V4, 1.0)];
        let (demand, load) = (&bed.demand, Some(900.0));
        let (course, _) = bed.before.settle(demand, &ask(pair.before), load, None);
        let mut settles_after = |course| {
            let (_, settled) = bed.after.settle(demand, &ask(pair.after), load, course);
            match settled {
                Settling::Settled { after_s } => after_s,
                other => panic!("{other:?}"),
            }
        };
        let (from_there, from_nothing) = (settles_after(course), settles_after(None));
        assert!(
            2 * from_there <= from_nothing,
            "{from_there} {from_nothing}"
        );
        let (plan, _) = bed.plan(load);
        assert!(plan.moved < 0.005, "{} moves", plan.moved);
    }
}

/// Amounts are told in any unit: the model has no numbers for the largest and the smallest.
#[test]
fn the_unit_of_the_demand_has_no_say() {
    let config = with_loads(
        config(&[("small", 50.0, 8.0), ("large", 50.5, 8.5)]),
        &[100.0, 1000.0],
    );
    let shares = |unit: f64| {
        let mut bed = Bed::new(&config, &Change::default());
        for asker in &mut bed.demand.askers {
            asker.amount *= unit;
        }
        bed.demand.total *= unit;
        let service = pairs(&bed.before, &bed.after, None)[0].after;
        let services = [(service, Family::V4, 1.0)];
        bed.after.settle(&bed.demand, &services, Some(400.0), None);
        share(&bed.plan(Some(400.0)).0, "small").1
    };
    let right = shares(1.0);
    assert!(right < 0.3, "{right}");
    for unit in [1e-60, 1e60] {
        assert!((shares(unit) - right).abs() < 1e-3, "{unit}");
    }
}

/// There is an end in any case, by time or by work, and what came to an end before it settled says so.
#[test]
fn a_plan_ends_whatever_it_takes_to_settle() {
    let config = with_loads(
        config(&[("small", 50.0, 8.0), ("large", 50.5, 8.5)]),
        &[100.0, 1000.0],
    );
    let settled = |bounds: Bounds| {
        let mut bed = Bed::new(&config, &Change::default());
        let service = pairs(&bed.before, &bed.after, None)[0].after;
        let services = [(service, Family::V4, 1.0)];
        let asked = (&bed.demand, Some(400.0));
        bed.after.settle_within(bounds, asked, &services, None).1
    };
    let told = settled(BOUNDS);
    assert!(
        matches!(told, Settling::Settled { after_s } if after_s <= 3600),
        "{told:?}"
    );
    // No time, and no work: the tick that spends the last of it is done.
    for (bounds, right) in [
        (Bounds { ticks: 3, ..BOUNDS }, (30, false)),
        (Bounds { rows: 1, ..BOUNDS }, (10, true)),
    ] {
        let Settling::Unsettled { after_s, spent, .. } = settled(bounds) else {
            panic!("it did not settle");
        };
        assert_eq!((after_s, spent), right);
    }
}

/// What follows no measurement is load all the same: the small PoP is full with the service that gets it
/// by configured order, so nobody else is sent there.
#[test]
fn services_in_the_configured_order_weigh_in_what_settles() {
    let more = "[[pool]]\nname = \"fixed\"\npops = [\"small\"]\n[[zone]]\nname = \"example.net\"\n\
                file = \"z\"\n[[zone.service]]\nname = \"a\"\npool = \"fixed\"\npolicy = \"failover\"\n";
    let config = config_with(&[("small", 50.0, 8.0), ("large", 50.5, 8.5)], more);
    let config = with_loads(config, &[100.0, 1000.0]);
    let mut bed = Bed::new(&config, &Change::default());
    let pairs = pairs(&bed.before, &bed.after, None);
    let services: Vec<_> = pairs
        .iter()
        .map(|p| (p.after, Family::V4, p.share))
        .collect();
    let (_, settled) = bed.after.settle(&bed.demand, &services, Some(400.0), None);
    assert!(matches!(settled, Settling::Settled { .. }), "{settled:?}");
    let (plan, _) = bed.plan(Some(400.0));
    let row = plan.pops.iter().find(|row| row.pop == "small").unwrap();
    let load = row.load_after.unwrap();
    assert!((2.0..2.1).contains(&load), "{load}");
}

/// The last PoP of a pool takes the anycast address with it, and nobody is counted twice.
#[test]
fn the_failure_of_the_last_pop_is_everyones() {
    let pop = [("fra", 50.03, 8.57)];
    let mut fenced = config(&pop);
    fenced.pops[0].serves.countries = vec![*b"JP"];
    for config in [with_anycast(&pop), fenced] {
        let (plan, _) = Bed::new(&config, &Change::default()).plan(None);
        assert!(plan.last_resort_after < 1.0);
        let [one] = plan.failures.as_slice() else {
            panic!("one PoP: {:?}", plan.failures);
        };
        assert!((one.last_resort - 1.0).abs() < 1e-9, "{one:?}");
    }
}

/// Clients with an anycast address are counted as such, before and after; of those who prefer a single PoP
/// the PoP has its share.
#[test]
fn anycast_is_no_fallback() {
    let bed = Bed::new(&with_anycast(&THREE), &Change::default());
    let (plan, _) = bed.plan(None);
    assert_eq!(share(&plan, "(anycast)"), (1.0, 1.0));
    assert_eq!((plan.moved, plan.last_resort_after), (0.0, 0.0));
    let names: Vec<&str> = plan.pops.iter().map(|row| row.pop.as_str()).collect();
    assert!(!names.contains(&"(fallback)"), "{names:?}");
    // What is measured to be better is given, and shown with what was measured.
    let japan = bed.clients.locate([133, 11, 0, 0].into()).cell.unwrap();
    let measured = |column, ms| Measured {
        column,
        basis: Basis::Cell,
        p25_ms: ms,
        ms,
        samples: 50,
        age_s: 9,
    };
    let latency = Arc::new(Latency::new(Parts {
        columns: ["nrt", "anycast:edge"].map(Arc::from).into(),
        cells: vec![(japan, measured(0, 7.0)), (japan, measured(1, 90.0))],
        preferences: vec![(
            japan,
            Preference {
                anycast: 1,
                pop: 0,
                windows: 24,
                age_s: 9,
                in_force: true,
            },
        )],
        ..Parts::default()
    }));
    let mut bed = bed;
    bed.after = bed.after.with_latency(latency);
    let services = [(
        pairs(&bed.before, &bed.after, None)[0].after,
        Family::V4,
        1.0,
    )];
    let (_, settled) = bed.after.settle(&bed.demand, &services, None, None);
    assert!(matches!(settled, Settling::Settled { .. }), "{settled:?}");
    let (plan, _) = bed.plan(None);
    let (before, after) = share(&plan, "nrt");
    assert!(before == 0.0 && after > 0.01, "{after}");
    assert!((share(&plan, "(anycast)").1 + after - 1.0).abs() < 1e-9);
    assert!((plan.rtt_before.unknown - 1.0).abs() < 1e-9);
    assert!(
        (plan.rtt_after.p50.unwrap() - 7.1).abs() < 0.2,
        "only these are measured"
    );
}

/// Who gets the anycast address is measured by pool: two that say the same may differ in that.
#[test]
fn pools_with_the_same_anycast_address_are_told_apart() {
    let text = "[[pool]]\nname = \"video\"\npops = [\"fra\"]\n\
                anycast = [\"192.0.2.99\"]\n[[zone]]\nname = \"example.net\"\nfile = \"z\"\n\
                [[zone.service]]\nname = \"a\"\npool = \"video\"\n\
                [[zone.service]]\nname = \"b\"\npool = \"video\"\n";
    let mut config = config_with(&THREE[..1], text);
    config.pools[0].anycast = config.pools[1].anycast.clone();
    let bed = Bed::new(&config, &Change::default());
    let pairs = pairs(&bed.before, &bed.after, None);
    let names: Vec<usize> = pairs.iter().map(|pair| pair.names.len()).collect();
    assert_eq!(names, [1, 2]);
}

/// Two configurations together may have more PoPs than either.
#[test]
fn every_pop_of_two_configurations_has_a_place() {
    let of = |prefix: char, count: usize| {
        let mut config = config(&THREE[..1]);
        let pop = config.pops[0].clone();
        config.pops = (0..count)
            .map(|number| meridian_config::Pop {
                name: format!("{prefix}{number}"),
                ..pop.clone()
            })
            .collect();
        config
    };
    let sites = super::world::Sites::of(&of('a', 65_536), &of('b', 10));
    assert_eq!(sites.len(), 65_546);
    assert_eq!(sites.name(65_545), "b9");
    assert_eq!(sites.name(sites.nobody()), "(nobody)");
    assert!(sites.nobody() > sites.fallback());
}

/// Each service has its own limit; a PoP obeys the least of those that rest on it.
#[test]
fn the_limit_is_that_of_the_services() {
    let more = "target_load = 0.3\n[[pool]]\nname = \"one\"\npops = [\"nrt\"]\n[[zone]]\nname = \"example.net\"\n\
                file = \"z\"\n[[zone.service]]\nname = \"a\"\npool = \"one\"\ntarget_load = 0.2\n";
    let mut config = config_with(&THREE, more);
    for pop in &mut config.pops {
        pop.capacity = Some(100.0);
    }
    let bed = Bed::new(&config, &Change::default());
    let sites = super::world::Sites::of(&config, &config);
    assert_eq!(bed.before.targets(&sites)[..3], [0.3, 0.3, 0.2]);
    let (plan, _) = bed.plan(Some(90.0));
    for row in &plan.pops {
        let target = if row.pop == "nrt" { 0.2 } else { 0.3 };
        let over = row.load_after.is_some_and(|load| load > target);
        assert_eq!(over, row.strain != Strain::None, "{row:?}");
    }
    assert!(plan.pops.iter().any(|row| row.strain == Strain::OverTarget));
}

/// A configuration whose pool has an anycast address.
fn with_anycast(pops: &[(&str, f64, f64)]) -> Config {
    let more = "[[pool]]\nname = \"other\"\npops = [\"fra\"]\nanycast = [\"192.0.2.99\"]\n";
    let mut config = config_with(pops, more);
    config.pools[0].anycast = config.pools[1].anycast.clone();
    config
}

#[test]
fn the_same_plan_gives_the_same_drawing_and_it_is_well_formed() {
    let bed = Bed::new(&config(&THREE), &without(&["fra"], &[]));
    let (planned, picture) = bed.plan(None);
    let drawn = draw(&planned, &picture, &bed.after, &bed.clients);
    let (again, picture) = bed.plan(None);
    assert_eq!(drawn, draw(&again, &picture, &bed.after, &bed.clients));
    assert!(drawn.len() < 400_000);
    let elements = well_formed(&drawn);
    assert!(elements.iter().any(|name| name == "path"));
    assert_eq!(elements.iter().filter(|name| *name == "title").count(), 3);
    for name in ["fra", "iad", "nrt"] {
        assert!(drawn.contains(&format!(">{name}</text>")), "{name}");
    }
}

/// PoPs beyond the edge of the map stand on it, not among the lines below.
#[test]
fn a_pop_near_a_pole_is_on_the_map() {
    let poles = [("south", -77.85, 166.67), ("north", 82.5, -62.3), THREE[0]];
    let bed = Bed::new(&config(&poles), &Change::default());
    let (planned, picture) = bed.plan(None);
    let drawn = draw(&planned, &picture, &bed.after, &bed.clients);
    let legend = drawn.find("<g font-size=\"12.5\"").unwrap();
    let (map, below) = drawn.split_at(legend);
    let number = |text: &str, key: &str| -> f64 {
        let value = text
            .split(key)
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        value.unwrap().parse().unwrap()
    };
    let first = number(below, "cy=\"");
    for pop in ["south", "north"] {
        let mut circles = map
            .lines()
            .filter(|line| line.contains(&format!("<title>{pop} ")));
        let y = number(circles.next().unwrap(), "cy=\"");
        assert!(y > 70.0 && y < first - 15.0, "{pop} {y} {first}");
    }
}

/// Names of all elements of a document without comments, sections and instructions; every one of
/// them is closed, attributes are quoted, and no text holds markup.
fn well_formed(text: &str) -> Vec<String> {
    let (mut open, mut all) = (Vec::new(), Vec::new());
    let mut rest = text.trim_end();
    while let Some(start) = rest.find('<') {
        let between = &rest[..start];
        assert!(!between.contains('>'), "{between}");
        for entity in between.split('&').skip(1) {
            let name = entity.split(';').next().unwrap();
            assert!(["lt", "gt", "amp", "quot"].contains(&name), "{entity}");
        }
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap().to_owned();
        all.push(name.clone());
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty() && rest.is_empty(), "{open:?} {rest}");
    all
}

/// Fill of a PoP on the map.
fn fill<'a>(drawn: &'a str, pop: &str) -> &'a str {
    let told = format!("<title>{pop} ");
    let circle = drawn.lines().find(|line| line.contains(&told)).unwrap();
    circle
        .split("fill=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap()
}

#[test]
fn a_pop_keeps_its_colour_and_one_that_serves_nobody_has_none() {
    let configured = config(&[THREE[0], THREE[1], THREE[2], ("wdc", 38.95, -77.45)]);
    let drawn = |change: &Change| {
        let bed = Bed::new(&configured, change);
        let (planned, picture) = bed.plan(None);
        draw(&planned, &picture, &bed.after, &bed.clients)
    };
    let weight = |pop: &str, weight: u32| Change {
        weight: vec![(pop.to_owned(), weight)],
        ..Change::default()
    };
    let (all, light, drained) = (
        drawn(&Change::default()),
        drawn(&weight("wdc", 0)),
        drawn(&without(&["fra"], &[])),
    );
    for pop in ["iad", "nrt", "wdc"] {
        assert_eq!(fill(&all, pop), fill(&drained, pop), "{pop}");
    }
    assert_ne!(fill(&all, "wdc"), "#8a8a8a");
    assert_eq!(fill(&light, "wdc"), "#8a8a8a");
    assert!(light.contains("Grey: serves nobody.") && !light.contains("Hollow:"));
    assert_eq!(fill(&drained, "fra"), "#fff");
    assert!(drained.contains("Hollow: out of service.") && !drained.contains("Grey:"));
}
