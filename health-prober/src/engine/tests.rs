//! Tests of the engine in simulated time.

#![allow(clippy::disallowed_methods)] // any instant serves as the start of simulated time

use meridian_config::Config;
use meridian_config::Ratio;
use proptest::prelude::*;

use super::*;
use crate::{GroupKey, OverrideKind, PopHealth, Reason, testing};

/// What a simulated target does with a probe that starts then.
type World<'a> = dyn Fn(&Target, Duration) -> (Outcome, Duration) + 'a;

/// An engine with the probes that are under way, and a clock of its own.
struct Simulation {
    engine: Engine,
    zero: Now,
    /// Time since the start.
    at: Duration,
    under_way: Vec<(Duration, Job, Outcome)>,
    events: Vec<(Duration, HealthEvent)>,
    published: Vec<(Duration, Arc<HealthSnapshot>)>,
    starts: Vec<(Duration, TargetId)>,
}

impl Simulation {
    fn new(config: &Config, most: usize) -> Self {
        let zero = Now {
            instant: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        };
        let mut engine = Engine::new(most, zero.instant);
        engine.reload(config, zero);
        Self {
            engine,
            zero,
            at: Duration::ZERO,
            under_way: Vec::new(),
            events: Vec::new(),
            published: Vec::new(),
            starts: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now {
            instant: self.zero.instant + self.at,
            wall: self.zero.wall + self.at,
        }
    }

    fn reload(&mut self, config: &Config) {
        let now = self.now();
        self.engine.reload(config, now);
    }

    fn run_until(&mut self, end: Duration, world: &World<'_>) {
        for round in 0.. {
            assert!(round < 1_000_000, "time stands still at {:?}", self.at);
            for action in self.engine.poll(self.now()) {
                match action {
                    Action::Start(job) => {
                        self.starts.push((self.at, job.id));
                        let (mut outcome, mut took) = world(&job.target, self.at);
                        if took >= job.deadline {
                            took = job.deadline;
                            let reason = Reason::Timeout(crate::Phase::Connect);
                            outcome = Outcome::Fail { reason };
                        }
                        self.under_way.push((self.at + took, job, outcome));
                    }
                    Action::Tell(event) => self.events.push((self.at, event)),
                    Action::Publish(snapshot) => self.published.push((self.at, snapshot)),
                }
            }
            self.under_way.sort_by_key(|(end, ..)| *end);
            let wake = self.engine.next_wake(self.now().instant);
            let wake = wake.map(|w| w.saturating_duration_since(self.zero.instant).max(self.at));
            let ended = self.under_way.first().map(|(end, ..)| *end);
            let next = wake.into_iter().chain(ended).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.at = end;
                return;
            };
            self.at = next;
            if ended == Some(next) {
                let (_, job, outcome) = self.under_way.remove(0);
                self.engine.finish(&job, &outcome, self.now());
            }
        }
    }

    fn pop_of(&self, check: &str) -> PopHealth {
        let key = GroupKey {
            pop: "fra".into(),
            check: check.into(),
        };
        self.engine.groups.all()[&key].clone()
    }

    fn pop(&self, name: &str) -> PopHealth {
        let key = GroupKey {
            pop: name.into(),
            check: "edge".into(),
        };
        self.engine.groups.all()[&key].clone()
    }

    fn latest(&self) -> &HealthSnapshot {
        &self.published.last().unwrap().1
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn pass() -> (Outcome, Duration) {
    (Outcome::Pass { rtt: millis(3) }, millis(3))
}

fn refuse() -> (Outcome, Duration) {
    (
        Outcome::Fail {
            reason: Reason::Refused,
        },
        millis(1),
    )
}

fn vanish() -> (Outcome, Duration) {
    (
        Outcome::Fail {
            reason: Reason::Refused,
        },
        Duration::MAX,
    )
}

#[test]
fn every_target_is_probed_within_the_first_second_and_spread() {
    let pops: Vec<String> = (0..200).map(|n| format!("pop{n}")).collect();
    let pops: Vec<(&str, u8)> = pops.iter().map(|name| (name.as_str(), 50)).collect();
    let mut simulation = Simulation::new(&testing::config(&pops), usize::MAX);
    simulation.run_until(millis(1010), &|_, _| pass());
    let mut ids: Vec<_> = simulation.starts.iter().map(|(_, id)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 10_000);
    let mut tenths = [0; 11];
    for (at, _) in &simulation.starts {
        tenths[(at.as_millis() / 100) as usize] += 1;
    }
    assert!(
        tenths[..10].iter().all(|&n| (800..1200).contains(&n)),
        "{tenths:?}"
    );
    assert!(
        simulation
            .latest()
            .groups
            .values()
            .all(|pop| pop.verdict == Verdict::Up)
    );
}

#[test]
fn a_killed_pop_is_published_as_down_within_the_promise() {
    for (interval, promise) in [(5, 15), (1, 3)] {
        for (how, death) in [(0, 20_000), (1, 20_000), (0, 21_337), (1, 23_999)] {
            let mut config = testing::config(&[("fra", 2), ("iad", 2)]);
            config.checks[0].interval = secs(interval);
            let mut simulation = Simulation::new(&config, usize::MAX);
            let world = |target: &Target, at: Duration| match how {
                _ if target.group.pop == "iad" || at < millis(death) => pass(),
                0 => refuse(),
                _ => vanish(),
            };
            simulation.run_until(secs(60), &world);
            let down = simulation
                .published
                .iter()
                .find(|(_, s)| s.groups.values().any(|pop| pop.verdict == Verdict::Down));
            let after = down.unwrap().0 - millis(death);
            assert!(after <= secs(promise), "{after:?}");
            assert_eq!(simulation.pop("iad").verdict, Verdict::Up);
            assert_eq!(simulation.pop("fra").verdict, Verdict::Down);
            let told: Vec<_> = simulation.events.iter().map(|(_, event)| event).collect();
            let downs = told.iter().filter(|event| {
                matches!(event, HealthEvent::Pop { pop, to: Verdict::Down, .. } if pop == "fra")
            });
            assert_eq!(downs.count(), 1);
        }
    }
}

#[test]
fn a_pop_that_is_down_is_still_probed_and_comes_back_after_rise() {
    let mut simulation = Simulation::new(&testing::config(&[("fra", 1)]), usize::MAX);
    let world = |_: &Target, at: Duration| match at.as_secs() {
        0..20 => pass(),
        20..60 => refuse(),
        _ => pass(),
    };
    simulation.run_until(secs(60), &world);
    assert_eq!(simulation.pop("fra").verdict, Verdict::Down);
    let probes = simulation
        .starts
        .iter()
        .filter(|(at, _)| (secs(30)..secs(60)).contains(at));
    assert!((6..=8).contains(&probes.count()));
    simulation.run_until(secs(71), &world);
    let pop = simulation.pop("fra");
    assert_eq!(
        (pop.verdict, pop.endpoints[0].reason.as_str()),
        (Verdict::Up, "pass")
    );
    assert_eq!(pop.endpoints[0].rtt, Some(millis(3)));
    assert!(pop.since.unwrap() > simulation.zero.wall + secs(60));
}

#[test]
fn a_lost_packet_moves_nothing_and_costs_few_probes() {
    let mut simulation = Simulation::new(&testing::config(&[("fra", 1)]), usize::MAX);
    // One probe in ten vanishes.
    let probes = std::cell::Cell::new(0);
    let world = |_: &Target, _| {
        probes.set(probes.get() + 1);
        if probes.get() % 10 == 0 {
            vanish()
        } else {
            pass()
        }
    };
    simulation.run_until(secs(3600), &world);
    let verdicts = simulation.events.len();
    assert_eq!(verdicts, 2, "Unknown to Up, for the endpoint and the PoP");
    let probes = simulation.starts.len();
    assert!((750..=850).contains(&probes), "{probes}");
    assert_eq!(simulation.engine.in_flight(), 0);
}

#[test]
fn a_slow_target_within_its_timeout_stays_up() {
    let mut simulation = Simulation::new(&testing::config(&[("fra", 1)]), usize::MAX);
    let slow = |_: &Target, _| (Outcome::Pass { rtt: millis(1900) }, millis(1900));
    simulation.run_until(secs(600), &slow);
    assert_eq!(simulation.pop("fra").verdict, Verdict::Up);
    assert!(simulation.starts.len() < 260, "{}", simulation.starts.len());
}

#[test]
fn trouble_of_our_own_moves_no_verdict() {
    let mut simulation = Simulation::new(&testing::config(&[("fra", 1), ("iad", 1)]), usize::MAX);
    let world = |target: &Target, at: Duration| {
        let reason = crate::LocalReason::Resources(std::io::ErrorKind::Other, Some(24));
        let ours = (Outcome::Inconclusive { reason }, Duration::ZERO);
        if at > secs(10) || target.group.pop == "iad" {
            ours
        } else {
            pass()
        }
    };
    simulation.run_until(secs(100), &world);
    assert_eq!(simulation.pop("fra").verdict, Verdict::Up);
    assert_eq!(simulation.pop("iad").verdict, Verdict::Unknown);
    assert!(
        simulation.pop("fra").endpoints[0]
            .reason
            .starts_with("not probed: ")
    );
}

#[test]
fn probes_under_way_are_capped_and_late_ones_counted() {
    let pops: Vec<String> = (0..10).map(|n| format!("pop{n}")).collect();
    let pops: Vec<(&str, u8)> = pops.iter().map(|name| (name.as_str(), 10)).collect();
    let mut simulation = Simulation::new(&testing::config(&pops), 20);
    simulation.run_until(secs(2), &|_, _| vanish());
    assert_eq!(simulation.engine.in_flight(), 20);
    simulation.run_until(secs(300), &|_, _| vanish());
    assert!(simulation.engine.in_flight() <= 20);
    assert!(simulation.engine.delayed() > 0);
    // Late, but in the end every target has had its turn.
    assert!(
        simulation
            .latest()
            .groups
            .values()
            .all(|pop| pop.verdict == Verdict::Down)
    );
    assert!(
        simulation.engine.queue.len() < 1000,
        "{}",
        simulation.engine.queue.len()
    );
}

#[test]
fn details_are_published_once_a_second_and_verdicts_within_20_ms() {
    let pops: Vec<String> = (0..50).map(|n| format!("pop{n}")).collect();
    let pops: Vec<(&str, u8)> = pops.iter().map(|name| (name.as_str(), 10)).collect();
    let mut simulation = Simulation::new(&testing::config(&pops), usize::MAX);
    let world = |_: &Target, at: Duration| {
        if at < secs(60) { pass() } else { refuse() }
    };
    simulation.run_until(secs(60), &world);
    let calm = simulation
        .published
        .iter()
        .filter(|(at, _)| *at > secs(5))
        .count();
    assert!((50..=56).contains(&calm), "{calm}");
    simulation.run_until(secs(80), &world);
    for pair in simulation.published.windows(2) {
        assert!(pair[0].1.generation < pair[1].1.generation);
        assert!(pair[1].0 - pair[0].0 >= VERDICT_GAP);
    }
    for (at, event) in &simulation.events {
        let HealthEvent::Pop { pop, check, to, .. } = event else {
            continue;
        };
        let key = GroupKey {
            pop: pop.clone(),
            check: check.clone(),
        };
        let seen = simulation
            .published
            .iter()
            .find(|(when, _)| when >= at)
            .unwrap();
        assert!(seen.0 - *at <= VERDICT_GAP);
        assert_eq!(seen.1.groups[&key].verdict, *to);
    }
}

#[test]
fn what_an_operator_does_is_published_at_once() {
    let config = testing::config(&[("fra", 1)]);
    let mut simulation = Simulation::new(&config, usize::MAX);
    simulation.run_until(secs(10), &|_, _| pass());
    let other = testing::config(&[("fra", 1), ("iad", 1)]);
    for config in [&other, &config, &other] {
        let (at, before) = (simulation.at, simulation.published.len());
        simulation.reload(config);
        simulation.run_until(at, &|_, _| pass());
        let (when, snapshot) = &simulation.published[before];
        assert_eq!((*when, snapshot.groups.len()), (at, config.pops.len()));
    }
}

#[test]
fn a_reload_keeps_what_has_not_changed() {
    let mut config = testing::config(&[("fra", 2), ("iad", 1)]);
    let mut simulation = Simulation::new(&config, usize::MAX);
    let world = |target: &Target, _| {
        if target.group.pop == "fra" {
            refuse()
        } else {
            pass()
        }
    };
    simulation.run_until(secs(30), &world);
    let before: Vec<_> = simulation.engine.targets.keys().copied().collect();
    let (fra, iad) = (simulation.pop("fra"), simulation.pop("iad"));
    let events = simulation.events.len();

    config.pops[0].weight = meridian_config::Weight(1);
    config.steering.ttl = meridian_config::Ttl(5);
    simulation.reload(&config);
    assert!(
        before
            .iter()
            .all(|id| simulation.engine.targets.contains_key(id))
    );
    assert_eq!((simulation.pop("fra"), simulation.pop("iad")), (fra, iad));
    simulation.run_until(millis(30_050), &world);
    assert_eq!(simulation.events.len(), events);

    // Another order and one endpoint more: the known ones stay what they are.
    config.pops[0].endpoints.insert(0, [127, 0, 9, 9].into());
    simulation.reload(&config);
    let verdicts: Vec<_> = simulation
        .pop("fra")
        .endpoints
        .iter()
        .map(|e| e.verdict)
        .collect();
    assert_eq!(verdicts, [Verdict::Unknown, Verdict::Down, Verdict::Down]);
    assert_eq!(simulation.pop("fra").verdict, Verdict::Down);
    simulation.run_until(secs(60), &world);
    assert_eq!(
        simulation.pop("fra").endpoints[0].reason,
        "connection refused"
    );
}

#[test]
fn a_changed_or_renamed_check_does_not_make_a_dead_pop_usable() {
    let mut config = testing::config(&[("fra", 1)]);
    let mut simulation = Simulation::new(&config, usize::MAX);
    simulation.run_until(secs(30), &|_, _| refuse());
    let id = *simulation.engine.targets.keys().next().unwrap();

    config.checks[0].port = 8080;
    simulation.reload(&config);
    assert!(!simulation.engine.targets.contains_key(&id));
    assert_eq!(simulation.pop("fra").verdict, Verdict::Down);
    simulation.run_until(secs(50), &|_, _| refuse());
    assert_eq!(simulation.pop("fra").verdict, Verdict::Down);

    config.checks[0].name = "other".into();
    simulation.reload(&config);
    simulation.run_until(secs(70), &|_, _| refuse());
    assert!(
        simulation
            .published
            .iter()
            .filter(|(at, _)| *at > secs(30))
            .all(|(_, snapshot)| {
                snapshot
                    .groups
                    .values()
                    .all(|pop| pop.verdict == Verdict::Down)
            })
    );
    simulation.run_until(secs(90), &|_, _| pass());
    assert!(
        simulation
            .latest()
            .groups
            .values()
            .all(|pop| pop.verdict == Verdict::Up)
    );
}

#[test]
fn an_outcome_of_a_former_target_is_ignored() {
    let mut config = testing::config(&[("fra", 1)]);
    let mut simulation = Simulation::new(&config, usize::MAX);
    simulation.run_until(secs(1), &|_, _| vanish());
    assert_eq!(simulation.engine.in_flight(), 1);
    config.checks[0].port = 8080;
    simulation.reload(&config);
    simulation.run_until(secs(2), &|_, _| pass());
    assert_eq!(
        simulation.engine.in_flight(),
        1,
        "it still holds its socket"
    );
    simulation.run_until(secs(3), &|_, _| pass());
    assert_eq!(simulation.engine.in_flight(), 0);
    assert_eq!(simulation.pop("fra").endpoints[0].reason, "pass");
}

#[test]
fn a_pop_or_pool_that_is_gone_is_gone_from_the_snapshot() {
    let config = testing::config(&[("fra", 2), ("iad", 1)]);
    let mut simulation = Simulation::new(&config, usize::MAX);
    simulation.run_until(secs(3), &|_, _| pass());
    simulation.reload(&testing::config(&[("fra", 1)]));
    simulation.run_until(secs(4), &|_, _| pass());
    let snapshot = simulation.latest();
    assert_eq!(snapshot.groups.len(), 1);
    assert_eq!(snapshot.groups.values().next().unwrap().endpoints.len(), 1);
}

#[test]
fn an_override_ends_by_itself_and_that_is_told_and_published() {
    let mut simulation = Simulation::new(&testing::config(&[("fra", 1)]), usize::MAX);
    let drain = |until: Option<SystemTime>| Override {
        kind: OverrideKind::Drain,
        reason: "maintenance".into(),
        since: simulation.zero.wall,
        until,
    };
    let until = simulation.zero.wall + secs(100);
    let overrides = [
        ("fra".into(), drain(Some(until))),
        ("iad".into(), drain(None)),
    ];
    simulation.engine.set_overrides(overrides.into());
    simulation.run_until(secs(99), &|_, _| pass());
    assert_eq!(simulation.latest().overrides.len(), 2);
    simulation.run_until(millis(101_100), &|_, _| pass());
    assert_eq!(
        simulation.latest().overrides.keys().collect::<Vec<_>>(),
        ["iad"]
    );
    let ended = simulation.events.iter().filter(
        |(_, event)| matches!(event, HealthEvent::OverrideEnded { pop, .. } if pop == "fra"),
    );
    assert_eq!(ended.count(), 1);
}

/// One step of a random life.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes while every endpoint of a PoP does one thing.
    Pass { seconds: u64, manners: [u8; 3] },
    /// A reload: which PoPs there are, and the check's port.
    Reload { pops: [bool; 3], port: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u64..40, prop::array::uniform3(0_u8..5))
            .prop_map(|(seconds, manners)| Step::Pass { seconds, manners }),
        1 => (prop::array::uniform3(any::<bool>()), 80_u16..82)
            .prop_map(|(pops, port)| Step::Reload { pops, port }),
    ]
}

fn life_config(pops: [bool; 3], port: u16) -> Config {
    let mut config = testing::config(&[("fra", 2), ("iad", 1), ("nrt", 3)]);
    config.checks[0].port = port;
    let mut kept = pops.iter();
    config.pools[0].pops.retain(|_| *kept.next().unwrap());
    config
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens, in whatever order: the laws that hold at every moment.
    #[test]
    fn a_random_life_obeys_the_laws(steps in prop::collection::vec(step(), 1..12)) {
        let mut simulation = Simulation::new(&life_config([true; 3], 80), usize::MAX);
        for step in steps {
            match step {
                Step::Reload { pops, port } => simulation.reload(&life_config(pops, port)),
                Step::Pass { seconds, manners } => {
                    let names = ["fra", "iad", "nrt"];
                    let world = |target: &Target, _| {
                        let pop = names.iter().position(|n| *n == target.group.pop).unwrap();
                        match manners[pop] {
                            0 => pass(),
                            1 => refuse(),
                            2 => vanish(),
                            3 if target.place == 0 => refuse(),
                            3 => pass(),
                            _ => (Outcome::Pass { rtt: millis(1500) }, millis(1500)),
                        }
                    };
                    let end = simulation.at + secs(seconds);
                    simulation.run_until(end, &world);
                }
            }
            laws(&simulation)?;
        }
        // Whatever was, everything comes back when everything is well, and that is published: at once,
        // or after the longest time that a flapping endpoint is held down.
        let end = simulation.at + secs(30) + 16 * Duration::from_secs(60);
        simulation.run_until(end, &|_, _| pass());
        let published = simulation.latest();
        prop_assert!(published.groups.values().all(|pop| pop.verdict == Verdict::Up));
        let verdicts = |groups: &BTreeMap<GroupKey, PopHealth>| -> Vec<_> {
            groups.iter().map(|(key, pop)| (key.clone(), pop.verdict)).collect()
        };
        prop_assert_eq!(verdicts(&published.groups), verdicts(simulation.engine.groups.all()));
        // Nobody waits longer than the interval for the next probe.
        let mut last: HashMap<TargetId, Duration> = HashMap::new();
        for &(at, id) in &simulation.starts {
            let before = last.insert(id, at).unwrap_or(at);
            prop_assert!(at - before <= secs(5), "{:?} after {:?}", at, before);
        }
    }
}

fn laws(simulation: &Simulation) -> Result<(), TestCaseError> {
    let engine = &simulation.engine;
    prop_assert_eq!(engine.in_flight(), simulation.under_way.len());
    let of_targets: u32 = engine
        .targets
        .values()
        .map(|tracked| tracked.in_flight)
        .sum();
    prop_assert!(of_targets as usize <= engine.in_flight());
    for tracked in engine.targets.values() {
        prop_assert!(tracked.in_flight <= 3, "no more than fall");
        let endpoint = engine.groups.endpoint(&tracked.target).unwrap();
        prop_assert_eq!(endpoint.address, tracked.target.address);
        prop_assert_eq!(endpoint.verdict, tracked.machine.verdict());
    }
    for pop in engine.groups.all().values() {
        let endpoints = pop.endpoints.iter().map(|endpoint| endpoint.verdict);
        prop_assert_eq!(pop.verdict, crate::pop_verdict(endpoints, Ratio(0.5)));
    }
    let generations = simulation
        .published
        .iter()
        .map(|(_, snapshot)| snapshot.generation);
    prop_assert!(
        generations
            .clone()
            .zip(generations.skip(1))
            .all(|(a, b)| a < b)
    );
    prop_assert!(engine.queue.len() <= 8 * engine.targets.len());
    Ok(())
}

/// Healthy and broken in turn, each for half a minute.
fn flapping(_: &Target, at: Duration) -> (Outcome, Duration) {
    if (at.as_secs() / 30).is_multiple_of(2) {
        pass()
    } else {
        refuse()
    }
}

#[test]
fn a_target_that_goes_up_and_down_is_held_down_and_comes_back_when_it_is_quiet() {
    let mut config = testing::config(&[("fra", 1)]);
    let ups = |simulation: &Simulation| {
        let is_up = |event: &HealthEvent| {
            matches!(
                event,
                HealthEvent::Pop {
                    to: Verdict::Up,
                    ..
                }
            )
        };
        simulation
            .events
            .iter()
            .filter(|(_, event)| is_up(event))
            .count()
    };
    let mut simulation = Simulation::new(&config, 10);
    simulation.run_until(secs(1200), &flapping);
    let held = ups(&simulation);
    // Twenty times healthy; the times held leave far fewer.
    assert!((3..=10).contains(&held), "{held}");
    simulation.run_until(secs(1215), &flapping);
    let pop = simulation.pop("fra");
    assert_eq!(pop.verdict, Verdict::Down);
    assert!(pop.reason.contains("held down for"), "{}", pop.reason);
    simulation.run_until(secs(1215 + 961), &|_, _| pass());
    assert_eq!(
        simulation.pop("fra").verdict,
        Verdict::Up,
        "at most 16 times 60 s"
    );
    assert_eq!(simulation.pop("fra").endpoints[0].reason, "pass");

    config.checks[0].hold_down = Duration::ZERO;
    let mut free = Simulation::new(&config, 10);
    free.run_until(secs(1200), &flapping);
    assert_eq!(ups(&free), 20, "it can be turned off");
}

/// TTLs shrink toward the end of the time held, also where one pass would be enough.
#[test]
fn who_is_held_down_says_when_that_could_end_whatever_its_rise() {
    for rise in [1, 2] {
        let mut config = testing::config(&[("fra", 1)]);
        config.checks[0].rise = rise;
        let mut sim = Simulation::new(&config, 10);
        // Three falls within two minutes, and then only passes.
        let quiet = |at: Duration| at > secs(120) || at.as_secs() % 40 < 20;
        sim.run_until(secs(140), &|_, at| {
            if quiet(at) { pass() } else { refuse() }
        });
        let pop = sim.pop("fra");
        assert!(pop.reason.contains("held down for"), "{}", pop.reason);
        // In here it is a time since the engine began.
        let left = pop.flips_in.unwrap_or_default().saturating_sub(secs(140));
        assert!(left > secs(15) && left <= secs(60), "rise {rise}: {left:?}");
    }
}

/// Pools that combine checks differently over the same two, each of which is probed once.
#[test]
fn several_checks_make_one_verdict_for_each_pool() {
    let config = testing::pools(&[
        "{ all = [\"page\", \"ping\"] }",
        "{ any = [\"ping\", \"page\"] }",
        "\"ping\"",
    ]);
    let mut sim = Simulation::new(&config, 100);
    let broken = |target: &Target, at: Duration| match target.check.name.as_str() {
        "page" if at > secs(30) => refuse(),
        _ => pass(),
    };
    let verdict = Simulation::pop_of;
    sim.run_until(secs(20), &broken);
    assert_eq!(sim.engine.targets().count(), 2, "each check once");
    assert_eq!(sim.engine.groups.all().len(), 3, "what pools rest on");
    for check in ["all(page, ping)", "any(page, ping)", "ping"] {
        assert_eq!(verdict(&sim, check).verdict, Verdict::Up, "{check}");
    }
    sim.run_until(secs(60), &broken);
    let all = verdict(&sim, "all(page, ping)");
    assert_eq!(all.verdict, Verdict::Down);
    assert!(
        all.reason.contains("page: connection refused"),
        "{}",
        all.reason
    );
    assert_eq!(all.endpoints[0].checks.len(), 2);
    for check in ["any(page, ping)", "ping"] {
        assert_eq!(verdict(&sim, check).verdict, Verdict::Up, "{check}");
    }
    let mut told = Vec::new();
    for (_, event) in &sim.events {
        match event {
            HealthEvent::Endpoint { check, to, .. } if *to == Verdict::Down => {
                told.push(format!("endpoint {check}"));
            }
            HealthEvent::Pop { check, to, .. } if *to == Verdict::Down => {
                told.push(format!("pop {check}"));
            }
            _ => {}
        }
    }
    assert_eq!(told, ["endpoint page", "pop all(page, ping)"]);

    // A reload that only turns the rule around keeps what is known of each check.
    sim.reload(&testing::pools(&["{ any = [\"page\", \"ping\"] }"]));
    assert_eq!(verdict(&sim, "any(page, ping)").verdict, Verdict::Up);
    sim.reload(&testing::pools(&["{ all = [\"page\", \"ping\"] }"]));
    assert_eq!(verdict(&sim, "all(page, ping)").verdict, Verdict::Down);
}

/// From the first failure on it is known how soon the verdict could flip, and published before it
/// does; a pass takes it back.
#[test]
fn a_contradicted_verdict_says_how_soon_it_could_flip() {
    let config = testing::config(&[("fra", 1)]);
    let mut sim = Simulation::new(&config, 100);
    sim.run_until(secs(20), &|_, _| pass());
    assert_eq!(sim.pop("fra").flips_in, None);
    let known = |sim: &Simulation| -> Vec<Option<Duration>> {
        let mut all: Vec<_> = sim
            .published
            .iter()
            .map(|(_, snapshot)| snapshot.groups.values().next().unwrap().flips_in)
            .collect();
        all.dedup();
        all
    };
    sim.published.clear();
    let first = std::cell::Cell::new(None);
    sim.run_until(secs(40), &|_, at| {
        if first.get().is_none_or(|first| first == at) {
            first.set(Some(at));
            refuse()
        } else {
            pass()
        }
    });
    assert_eq!(
        known(&sim),
        [Some(secs(2)), None],
        "two more, each after a second"
    );
    // Between probes it counts down.
    let zero = sim.zero.instant;
    while sim.pop("fra").flips_in.is_none() {
        sim.run_until(sim.at + Duration::from_millis(100), &|_, _| refuse());
    }
    let mut left = |after: u64| {
        let at = zero + sim.at + Duration::from_millis(after);
        let snapshot = sim.engine.snapshot(at);
        assert_eq!(snapshot.made, Some(at));
        let group = snapshot.groups.values().next().unwrap();
        assert_eq!(group.flips_in, group.endpoints[0].flips_in);
        group.flips_in
    };
    let now = left(0);
    assert_eq!(
        now.map(|time| time.saturating_sub(Duration::from_millis(300))),
        left(300)
    );
    assert_eq!(left(3_600_000), now.map(|_| Duration::ZERO));
    assert!(
        now.is_some_and(|time| time > Duration::from_secs(1)),
        "{now:?}"
    );
    sim.run_until(secs(50), &|_, _| pass());
    assert_eq!(sim.pop("fra").verdict, Verdict::Up);

    sim.published.clear();
    sim.run_until(secs(60), &|_, _| refuse());
    assert_eq!(sim.pop("fra").verdict, Verdict::Down);
    assert_eq!(
        known(&sim).first(),
        Some(&Some(secs(2))),
        "before it is down"
    );
    assert_eq!(known(&sim).last(), Some(&None));

    sim.published.clear();
    sim.run_until(secs(80), &|_, _| pass());
    assert_eq!(sim.pop("fra").verdict, Verdict::Up);
    assert_eq!(known(&sim), [Some(millis(4500)), None], "one more pass");
}

/// "fra" with an endpoint of two under an active check and a passive one that is read every 5 s.
fn passive_config(pools: &str) -> Config {
    testing::read(&format!(
        "[check.edge]\ntype = \"tcp\"\nport = 80\n\
         [check.errors]\ntype = \"passive\"\nfall = 3\nrise = 2\n\
         errors = {{ metric = \"errors\" }}\nrequests = {{ metric = \"requests\" }}\n\
         [[pop]]\nname = \"fra\"\nlatitude = 0\nlongitude = 0\n\
         endpoints = [\"127.0.0.1\", \"127.0.0.2\"]\n\
         load = {{ prometheus = \"http://127.0.0.1:9/\", metric = \"active\" }}\n{pools}"
    ))
}

fn few_errors() -> Outcome {
    let rtt = Duration::ZERO;
    Outcome::Pass { rtt }
}

fn failed_requests() -> Outcome {
    let (errors, requests) = (30, 100);
    let reason = crate::Reason::Errors { errors, requests };
    Outcome::Fail { reason }
}

fn no_exporter() -> Outcome {
    let reason = crate::LocalReason::Source("connection refused".into());
    Outcome::Inconclusive { reason }
}

impl Simulation {
    /// Reads the page of "fra" every 5 s until `end`, with this result.
    fn read_until(&mut self, end: u64, outcome: &Outcome, world: &World<'_>) {
        let first = self.at.as_secs() / 5 + 1;
        for at in first..=end / 5 {
            self.run_until(secs(5 * at), world);
            let observed = crate::load::Observation {
                pop: "fra".into(),
                check: "errors".into(),
                outcome: outcome.clone(),
            };
            let now = self.now();
            self.engine.observe(&observed, now);
        }
    }

    fn verdicts(&self) -> String {
        let mark = |pop: &PopHealth| match pop.verdict {
            Verdict::Up => '+',
            Verdict::Down => '-',
            Verdict::Unknown => '?',
        };
        self.engine.groups.all().values().map(mark).collect()
    }
}

/// In the order of the marks.
const EACH: &str = "[[pool]]\nname = \"a\"\ncheck = { all = [\"edge\", \"errors\"] }\npops = [\"fra\"]\n\
    [[pool]]\nname = \"b\"\ncheck = { any = [\"edge\", \"errors\"] }\npops = [\"fra\"]\n\
    [[pool]]\nname = \"c\"\ncheck = \"errors\"\npops = [\"fra\"]\n";

/// A dead exporter holds no PoP out for which another check speaks, and brings none back that only it
/// has judged.
#[test]
fn a_passive_check_that_is_silent_does_not_count() {
    let up = |_: &Target, _: Duration| pass();
    let mut sim = Simulation::new(&passive_config(EACH), 100);
    let (good, bad) = (few_errors(), failed_requests());
    // all(edge, errors), any(edge, errors), errors
    sim.read_until(30, &good, &up);
    assert_eq!(sim.verdicts(), "+++");
    sim.read_until(60, &bad, &up);
    assert_eq!(sim.verdicts(), "-+-");
    sim.read_until(105, &no_exporter(), &up);
    assert_eq!(sim.verdicts(), "-+-", "nine intervals");
    sim.read_until(110, &no_exporter(), &up);
    assert_eq!(sim.verdicts(), "++-", "ten");
    let told = "30 of 100 requests failed; then silent for more than 50 s \
                (not probed: load source: connection refused)";
    let shown = sim.pop_of("all(edge, errors)").endpoints[1].clone();
    assert_eq!(shown.reason, format!("errors: {told}"));
    assert_eq!(shown.checks[1].verdict, Verdict::Unknown);
    assert_eq!(sim.pop_of("errors").endpoints[1].reason, told);
    // Its return takes nobody out of answers while nothing speaks against them.
    sim.read_until(115, &good, &up);
    assert_eq!(sim.verdicts(), "++-", "one of two");
    sim.read_until(120, &good, &up);
    assert_eq!(sim.verdicts(), "+++");

    // Back with errors it is what it was.
    sim.read_until(150, &bad, &up);
    sim.read_until(210, &no_exporter(), &up);
    assert_eq!(sim.verdicts(), "++-");
    sim.read_until(215, &bad, &up);
    sim.run_until(secs(216), &up);
    assert_eq!(sim.verdicts(), "-+-");
    let mut told = Vec::new();
    for (at, event) in &sim.events {
        if let HealthEvent::Silence { silent, .. } = event {
            told.push((at.as_secs(), *silent));
        }
    }
    let turns = [(110, true), (120, false), (200, true), (215, false)];
    assert_eq!(told, turns, "once for the PoP, not for each endpoint");
}

/// `any` with the word of an exporter that died with its host would keep the dead host in answers.
#[test]
fn a_dead_host_with_its_exporter_is_down_under_any() {
    let dies = |_: &Target, at: Duration| if at < secs(30) { pass() } else { vanish() };
    let config = passive_config(EACH);
    let mut sim = Simulation::new(&config, 100);
    sim.read_until(30, &few_errors(), &dies);
    sim.read_until(75, &no_exporter(), &dies);
    assert_eq!(sim.verdicts(), "-++");
    let bound = crate::pool_detection_bound(&config, &config.pools[1]).unwrap();
    assert_eq!(bound, secs(57));
    sim.read_until(30 + bound.as_secs(), &no_exporter(), &dies);
    assert_eq!(sim.verdicts(), "--+");
    // A reload knows of the silence; one that has not been heard at all is silent after the same time.
    sim.reload(&config);
    assert_eq!(sim.verdicts(), "--+");
    let mut sim = Simulation::new(&config, 100);
    sim.read_until(45, &no_exporter(), &|_, _| vanish());
    assert_eq!(sim.verdicts(), "-??");
    sim.read_until(55, &no_exporter(), &|_, _| vanish());
    assert_eq!(sim.verdicts(), "--?");
}

#[test]
fn a_passive_check_is_never_probed_and_judged_by_what_is_observed() {
    let config =
        passive_config("[[pool]]\nname = \"edge\"\ncheck = \"errors\"\npops = [\"fra\"]\n");
    let mut sim = Simulation::new(&config, 10);
    let nothing = |_: &Target, _: Duration| unreachable!("nothing is sent");
    let (good, bad, silent) = (few_errors(), failed_requests(), no_exporter());
    let steps = [
        (&good, Verdict::Up),
        (&bad, Verdict::Up),
        (&bad, Verdict::Up),
        (&silent, Verdict::Up),
        (&bad, Verdict::Down),
        (&silent, Verdict::Down),
        (&good, Verdict::Down),
        (&good, Verdict::Up),
    ];
    for (step, (outcome, verdict)) in (1..).zip(steps) {
        sim.read_until(5 * step, outcome, &nothing);
        sim.run_until(secs(5 * step + 1), &nothing);
        let pop = sim.latest().groups.values().next().unwrap();
        assert_eq!(pop.verdict, verdict, "{step}: {}", pop.reason);
        assert_eq!(pop.endpoints[1].reason, outcome.to_string());
        assert_eq!(pop.endpoints[0].rtt, None);
    }
    assert!(sim.starts.is_empty());
}
