//! Days of traffic, minute by minute, in simulated time.

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Arc<str> {
    text.into()
}

/// Counters that grow by these numbers.
#[derive(Default)]
struct World {
    monitor: Monitor,
    now: Observed,
    limits: Anomalies,
}

impl World {
    /// One minute with these queries by service and PoP.
    fn minute(&mut self, services: &[(&str, f64)], pops: &[(&str, f64)]) -> Vec<News> {
        for (service, count) in services {
            *self.now.services.entry(name(service)).or_default() += *count as u64;
        }
        for (pop, count) in pops {
            *self.now.pops.entry(name(pop)).or_default() += *count as u64;
        }
        self.monitor.step(self.now.clone(), &self.limits)
    }

    fn minutes(&mut self, count: u32, services: &[(&str, f64)], pops: &[(&str, f64)]) -> Vec<News> {
        (0..count)
            .flat_map(|_| self.minute(services, pops))
            .collect()
    }
}

fn told_kinds(news: &[News]) -> Vec<(Kind, &str, bool)> {
    news.iter()
        .map(|n| (n.kind, &*n.subject, n.begins))
        .collect()
}

#[test]
fn limits_are_those_of_the_configuration() {
    let strict = || World {
        limits: Anomalies {
            factor: 1.5,
            queries: 1.0,
            health_drop: 0.05,
            geo_age: std::time::Duration::from_secs(86_400),
        },
        ..World::default()
    };
    // Twice the usual, at two queries a second.
    for (mut world, told) in [(strict(), 1), (World::default(), 0)] {
        world.minutes(120, &[("www", 120.0)], &[]);
        assert_eq!(world.minutes(10, &[("www", 240.0)], &[]).len(), told);
        // One of ten endpoints; data of two days.
        world.now.health.insert(name("fra"), 1.0);
        world.minutes(60, &[], &[]);
        world.now.health.insert(name("fra"), 0.9);
        world.now.geo.insert(name("city"), 2 * 86_400);
        let news = world.minutes(10, &[], &[]);
        let kinds: Vec<Kind> = news.iter().map(|one| one.kind).collect();
        let begun = [Kind::Geo, Kind::Health]
            .iter()
            .filter(|kind| kinds.contains(kind));
        assert_eq!(begun.count(), 2 * told, "{news:?}");
    }
}

#[test]
fn a_service_with_four_times_its_queries() {
    let mut world = World::default();
    assert_eq!(world.minutes(120, &[("www", 60_000.0)], &[]), []);
    // A spike of two minutes is none.
    assert_eq!(world.minutes(2, &[("www", 240_000.0)], &[]), []);
    assert_eq!(world.minutes(30, &[("www", 60_000.0)], &[]), []);
    let news = world.minutes(10, &[("www", 240_000.0)], &[]);
    assert_eq!(told_kinds(&news), [(Kind::Queries, "www", true)]);
    assert!(
        news[0]
            .message
            .starts_with("www gets 4000 queries a second, usual are 1"),
        "{}",
        news[0].message
    );
    let shown = world.monitor.in_force();
    assert!((3.0..4.1).contains(&shown[0].factor), "{shown:?}");
    let news = world.minutes(10, &[("www", 60_000.0)], &[]);
    assert_eq!(told_kinds(&news), [(Kind::Queries, "www", false)]);
    assert_eq!(world.monitor.in_force(), []);
    // And one that hardly gets any more.
    let news = world.minutes(10, &[("www", 10_000.0)], &[]);
    assert_eq!(told_kinds(&news), [(Kind::Queries, "www", true)]);
}

#[test]
fn what_stays_becomes_usual() {
    let mut world = World::default();
    world.minutes(120, &[("www", 60_000.0)], &[]);
    let news = world.minutes(300, &[("www", 300_000.0)], &[]);
    let kinds = told_kinds(&news);
    assert_eq!(
        kinds,
        [(Kind::Queries, "www", true), (Kind::Queries, "www", false)]
    );
}

#[test]
fn little_traffic_says_nothing() {
    let mut world = World::default();
    for minute in 0..600_u32 {
        let count = f64::from(minute * 7919 % 500);
        assert_eq!(world.minutes(3, &[("www", count)], &[("fra", count)]), []);
    }
}

#[test]
fn day_and_night_are_no_anomaly() {
    let mut world = World::default();
    for minute in 0..4 * 1440_u32 {
        let turn = f64::from(minute % 1440) / 1440.0 * std::f64::consts::TAU;
        // Between a quarter and the whole, over twelve hours each way.
        let count = 60_000.0 * (0.625 + 0.375 * turn.sin());
        let news = world.minute(&[("www", count)], &[("fra", count), ("iad", 30_000.0)]);
        assert_eq!(news, [], "minute {minute}");
    }
}

#[test]
fn the_share_of_a_pop_that_is_not_known_to_be_out() {
    let mut world = World::default();
    let usual = [("fra", 40_000.0), ("iad", 40_000.0), ("nrt", 20_000.0)];
    assert_eq!(world.minutes(60, &[], &usual), []);
    let without = [("fra", 40_000.0), ("iad", 55_000.0), ("nrt", 5_000.0)];
    let news = world.minutes(5, &[], &without);
    assert_eq!(told_kinds(&news), [(Kind::Share, "nrt", true)]);
    world.minutes(10, &[], &usual);
    // Drained: no surprise.
    world.now.out.insert(name("nrt"));
    let drained = [("fra", 50_000.0), ("iad", 50_000.0), ("nrt", 0.0)];
    assert_eq!(world.minutes(30, &[], &drained), []);
    world.now.out.clear();
    let news = world.minutes(60, &[], &usual);
    assert_eq!(news, [], "and it comes back without a word");
    // However long it was away: having nobody has not become usual.
    world.now.out.insert(name("nrt"));
    assert_eq!(world.minutes(600, &[], &drained), []);
    world.now.out.clear();
    assert_eq!(world.minutes(60, &[], &usual), []);
}

#[test]
fn falling_health() {
    let mut world = World::default();
    let health = |world: &mut World, ratio: f64, minutes| {
        world.now.health.insert(name("fra"), ratio);
        world.minutes(minutes, &[], &[])
    };
    assert_eq!(health(&mut world, 1.0, 60), []);
    assert_eq!(health(&mut world, 0.9, 60), [], "one of ten");
    let news = health(&mut world, 0.7, 5);
    assert_eq!(told_kinds(&news), [(Kind::Health, "fra", true)]);
    let message = &news[0].message;
    assert!(
        message.starts_with("70 % of the endpoints of fra are usable"),
        "{message}"
    );
    let news = health(&mut world, 1.0, 5);
    assert_eq!(told_kinds(&news), [(Kind::Health, "fra", false)]);
}

#[test]
fn a_load_that_is_lost_and_found() {
    let mut world = World::default();
    let set = |world: &mut World, load: Result<(), &str>| {
        let load = load.map_err(ToOwned::to_owned);
        world.now.loads.insert(name("fra"), load);
        world.minutes(2, &[], &[])
    };
    assert_eq!(
        set(&mut world, Err("connection refused")),
        [],
        "it never worked"
    );
    assert_eq!(set(&mut world, Ok(())), []);
    let news = set(&mut world, Err("connection refused"));
    assert_eq!(told_kinds(&news), [(Kind::Load, "fra", true)]);
    assert_eq!(
        news[0].message,
        "the load of fra is no longer known: connection refused"
    );
    assert_eq!(world.monitor.in_force().len(), 1);
    let news = set(&mut world, Ok(()));
    assert_eq!(told_kinds(&news), [(Kind::Load, "fra", false)]);
    set(&mut world, Err("status 503"));
    world.now.loads.clear();
    world.minutes(1, &[], &[]);
    assert_eq!(world.monitor.in_force(), [], "no longer configured");
}

#[test]
fn geo_data_older_than_sixty_days() {
    let mut world = World::default();
    let set = |world: &mut World, days: u64| {
        world.now.geo.insert(name("city.mmdb"), days * 86_400);
        world.minutes(2, &[], &[])
    };
    assert_eq!(set(&mut world, 60), []);
    let news = set(&mut world, 61);
    assert_eq!(told_kinds(&news), [(Kind::Geo, "city.mmdb", true)]);
    assert_eq!(news[0].message, "the geo data in city.mmdb is 61 days old");
    let news = set(&mut world, 2);
    assert_eq!(told_kinds(&news), [(Kind::Geo, "city.mmdb", false)]);
}

#[test]
fn a_storm_is_told_in_a_few_lines() {
    let mut world = World::default();
    let names: Vec<String> = (0..500).map(|n| format!("s{n}")).collect();
    let all = |count: f64| {
        names
            .iter()
            .map(|n| (n.as_str(), count))
            .collect::<Vec<_>>()
    };
    world.minutes(60, &all(6000.0), &[]);
    let mut lines = 0;
    for _ in 0..10 {
        let (kept, rest) = told(world.minute(&all(60_000.0), &[]));
        lines += kept.len() + usize::from(rest > 0);
    }
    assert_eq!(world.monitor.in_force().len(), 500);
    assert!(lines <= TOLD + 1, "{lines}");
}

#[test]
fn an_end_is_not_lost_among_what_begins() {
    let news = |begins: bool| News {
        kind: Kind::Queries,
        subject: "www".into(),
        begins,
        message: String::new(),
    };
    let all: Vec<News> = (0..30).map(|n| news(n < 25)).collect();
    let (kept, rest) = told(all);
    let ends = kept.iter().filter(|one| !one.begins).count();
    assert_eq!((kept.len(), ends, rest), (TOLD + 5, 5, 15));
}

#[test]
fn counters_that_begin_anew_and_names_that_go() {
    let mut world = World::default();
    world.minutes(60, &[("www", 60_000.0)], &[]);
    world.now.services.insert(name("www"), 0);
    assert_eq!(world.minutes(10, &[("www", 60_000.0)], &[]), []);
    world.now.services.clear();
    world.minute(&[("new", 1.0)], &[]);
    assert!(
        world
            .monitor
            .series
            .keys()
            .all(|(_, subject)| &**subject == "new")
    );
}

proptest! {
    /// Whatever comes: what begins is off and not yet begun, what ends had begun, and never more
    /// often than once in three minutes.
    #[test]
    fn begins_and_ends_in_turn(counts in proptest::collection::vec(0.0_f64..1e6, 40..300)) {
        let mut world = World::default();
        let mut on = false;
        let mut quiet = 3;
        for count in counts {
            let news = world.minute(&[("www", count)], &[]);
            quiet += 1;
            prop_assert!(news.len() <= 1);
            for one in news {
                prop_assert_eq!(one.begins, !on);
                prop_assert!(quiet >= 3);
                (on, quiet) = (one.begins, 0);
            }
            let shown = world.monitor.in_force();
            prop_assert_eq!(shown.len(), usize::from(on));
            prop_assert!(shown.iter().all(|s| s.factor.is_finite()));
        }
    }
}
