//! A life of sources in simulated time.
#![allow(clippy::disallowed_methods)] // some moment to count from

use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::{LoadState, Reason, testing};

const PAGE: &str = "prometheus = \"http://192.0.2.10:9100/metrics\", metric = \"active\"";

fn config(pops: &[(&str, &str)], checks: &str) -> Config {
    let mut text = String::new();
    for (at, (name, keys)) in pops.iter().enumerate() {
        text.push_str(&format!(
            "[[pop]]\nname = {name:?}\nlatitude = 0\nlongitude = 0\n\
             endpoints = [\"127.0.{at}.1\", \"127.0.{at}.2\"]\n{keys}\n"
        ));
    }
    let names: Vec<_> = pops.iter().map(|(name, _)| name).collect();
    let check = match checks {
        "" => "",
        _ => "check = \"errors\"\n",
    };
    text.push_str(&format!(
        "{checks}\n[[pool]]\nname = \"edge\"\n{check}pops = {names:?}\n"
    ));
    testing::read(&text)
}

fn fra(load: &str) -> Config {
    config(
        &[("fra", &format!("capacity = 100\nload = {{ {load} }}"))],
        "",
    )
}

/// A book whose pages are answered by a script.
struct Simulation {
    book: Book,
    zero: Now,
    at: Duration,
    fetched: Vec<(Duration, String)>,
    observed: Vec<Outcome>,
    usable: f64,
}

impl Simulation {
    fn new(config: &Config) -> Self {
        let zero = Now {
            instant: Instant::now(),
            wall: SystemTime::UNIX_EPOCH,
        };
        let mut book = Book::default();
        book.reload(config, HashMap::new(), zero.instant);
        Self {
            book,
            zero,
            at: Duration::ZERO,
            fetched: Vec::new(),
            observed: Vec::new(),
            usable: 1.0,
        }
    }

    fn now(&self) -> Now {
        Now {
            instant: self.zero.instant + self.at,
            wall: self.zero.wall + self.at,
        }
    }

    /// Runs to `end`; each page comes at once.
    fn run(&mut self, end: u64, script: &dyn Fn(f64) -> Result<Page, Fault>) {
        let end = Duration::from_secs(end);
        loop {
            let now = self.now();
            for fetch in self.book.due(now.instant) {
                self.fetched.push((self.at, fetch.pop.clone()));
                let page = script(self.at.as_secs_f64());
                let (_, observed) = self.book.finish(&fetch, now.instant, page, now);
                self.observed
                    .extend(observed.into_iter().map(|o| o.outcome));
            }
            match self.book.next_wake(now.instant) {
                Some(next) if next <= self.zero.instant + end => {
                    assert!(next > now.instant, "no busy loop");
                    self.at = next - self.zero.instant;
                }
                _ => break,
            }
        }
        self.at = end;
    }

    fn load(&self) -> PopLoad {
        let loads = self.book.loads(self.now().instant, |_| self.usable);
        loads["fra"].clone()
    }
}

fn one(value: f64) -> Result<Page, Fault> {
    Ok(Page::Series(vec![Found::from([(1, value)])]))
}

fn dead() -> Result<Page, Fault> {
    Err(Fault::Source(Reason::Refused))
}

#[test]
fn a_source_that_dies_is_stale_then_unknown_and_never_zero() {
    let mut simulation = Simulation::new(&fra(PAGE));
    assert_eq!(simulation.load().state, LoadState::Unknown);
    assert_eq!(simulation.load().ratio, None);
    simulation.run(100, &|_| one(70.0));
    let load = simulation.load();
    assert_eq!((load.state, load.ratio), (LoadState::Fresh, Some(0.7)));
    assert_eq!(load.what, "active");
    assert_eq!(load.source, "http://192.0.2.10:9100/metrics");
    assert_eq!(load.problem, None);

    simulation.run(108, &|_| dead());
    let load = simulation.load();
    assert_eq!((load.state, load.ratio), (LoadState::Fresh, Some(0.7)));
    assert_eq!(load.problem.as_deref(), Some("connection refused"));
    simulation.run(120, &|_| dead());
    let load = simulation.load();
    assert_eq!((load.state, load.ratio), (LoadState::Stale, Some(0.7)));
    simulation.run(155, &|_| dead());
    let load = simulation.load();
    assert_eq!((load.state, load.ratio), (LoadState::Unknown, None));
    assert_eq!(load.value, None);
    simulation.run(165, &|_| one(10.0));
    let load = simulation.load();
    assert_eq!((load.state, load.ratio), (LoadState::Fresh, Some(0.1)));
}

#[test]
fn a_page_without_sense_is_like_no_page() {
    let mut simulation = Simulation::new(&fra(PAGE));
    simulation.run(20, &|_| one(70.0));
    let senseless: [fn(f64) -> Result<Page, Fault>; 5] = [
        |_| Ok(Page::Series(vec![Found::new()])),
        |_| Ok(Page::Series(vec![Found::from([(1, 1.0), (2, 1.0)])])),
        |_| Ok(Page::Series(vec![Found::from([(1, f64::INFINITY)])])),
        |_| Ok(Page::Series(vec![Found::from([(1, 2e15)])])),
        |_| Err(Fault::Absurd),
    ];
    for (more, page) in senseless.into_iter().enumerate() {
        simulation.run(21 + 3 * more as u64, &page);
        let load = simulation.load();
        assert_ne!(load.state, LoadState::Unknown);
        assert_eq!(load.ratio, Some(0.7), "{more}");
    }
    assert!(simulation.load().problem.is_some());
}

#[test]
fn readings_are_spread_and_never_farther_apart_than_the_interval() {
    let keys = format!("capacity = 1\nload = {{ {PAGE} }}");
    let names: Vec<String> = (0..200).map(|n| format!("pop{n}")).collect();
    let pops: Vec<_> = names.iter().map(|n| (n.as_str(), keys.as_str())).collect();
    let mut simulation = Simulation::new(&config(&pops, ""));
    simulation.run(60, &|_| one(1.0));
    let mut last: BTreeMap<&str, Duration> = BTreeMap::new();
    for (at, pop) in &simulation.fetched {
        let before = last.insert(pop, *at);
        let gap = *at - before.unwrap_or_default();
        assert!(gap <= Duration::from_secs(5), "{pop} after {gap:?}");
        assert!(
            before.is_none() || gap >= Duration::from_millis(4500),
            "{pop} after {gap:?}"
        );
    }
    assert_eq!(last.len(), 200);
    let in_one_tenth = |from: Duration| {
        let within = |at: &Duration| (from..from + Duration::from_millis(100)).contains(at);
        simulation
            .fetched
            .iter()
            .filter(|(at, _)| within(at))
            .count()
    };
    let most = (0..590)
        .map(|tenth| in_one_tenth(Duration::from_millis(tenth * 100)))
        .max();
    assert!(most < Some(60), "{most:?} of 200 within 100 ms");
}

#[test]
fn no_more_pages_at_once_than_there_is_room_for() {
    let keys = format!("load = {{ {PAGE} }}");
    let names: Vec<String> = (0..100).map(|n| format!("pop{n}")).collect();
    let pops: Vec<_> = names.iter().map(|n| (n.as_str(), keys.as_str())).collect();
    let mut simulation = Simulation::new(&config(&pops, ""));
    simulation.at = Duration::from_secs(2);
    let now = simulation.now();
    let first = simulation.book.due(now.instant);
    assert_eq!(first.len(), MAX_FETCHES);
    assert!(simulation.book.due(now.instant).is_empty());
    assert!(
        simulation.book.next_wake(now.instant).is_none(),
        "an end will wake"
    );
    for fetch in &first {
        let _ = simulation.book.finish(fetch, now.instant, dead(), now);
    }
    assert_eq!(simulation.book.due(now.instant).len(), 100 - MAX_FETCHES);
}

/// Of more sources that hang than there is room for, none keeps the others from being read.
#[test]
fn sources_that_hang_do_not_starve_the_rest() {
    let names: Vec<_> = (0..200).map(|n| format!("p{n:03}")).collect();
    let keys = format!("capacity = 1\nload = {{ {PAGE} }}");
    let pops: Vec<_> = names.iter().map(|n| (n.as_str(), keys.as_str())).collect();
    let mut simulation = Simulation::new(&config(&pops, ""));
    let hangs = |pop: &str| pop < "p170";
    let mut open: Vec<(Instant, Fetch)> = Vec::new();
    let mut read: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    while simulation.at < Duration::from_secs(120) {
        let now = simulation.now();
        let ended = open.extract_if(.., |(end, _)| *end <= now.instant);
        for (end, fetch) in ended.collect::<Vec<_>>() {
            let started = end - fetch.timeout;
            let _ = simulation.book.finish(&fetch, started, dead(), now);
        }
        for fetch in simulation.book.due(now.instant) {
            if hangs(&fetch.pop) {
                open.push((now.instant + fetch.timeout, fetch));
            } else {
                let _ = simulation.book.finish(&fetch, now.instant, one(1.0), now);
                read.entry(fetch.pop).or_default().push(simulation.at);
            }
        }
        simulation.at += Duration::from_millis(50);
    }
    for name in names.iter().filter(|name| !hangs(name)) {
        // 170 pages that take 2 s, 64 at the same time: each waits for less than 4 s beyond its interval.
        let mut times = read[name].clone();
        times.push(simulation.at);
        let widest = times.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest < Some(Duration::from_secs(9)), "{name}: {times:?}");
    }
}

/// What is told of who asks goes with the page that it was read for.
#[test]
fn a_login_never_goes_to_another_page() {
    use crate::probe::LoginError;
    let login = |token: Result<&'static str, ()>| Access {
        tls: None,
        login: Some(match token {
            Ok(token) => Ok(hyper::header::HeaderValue::from_static(token)),
            Err(()) => Err(LoginError::Content {
                file: "token".into(),
                wanted: "token",
            }),
        }),
    };
    let fra_with = |access| HashMap::from([("fra".to_owned(), access)]);
    let page = |host: &str, file: &str| {
        fra(&format!(
            "prometheus = \"http://{host}/\", metric = \"a\", token_file = {file:?}"
        ))
    };
    let mut book = Book::default();
    let mut now = Instant::now();
    let mut asked = |config: &Config, access| {
        book.reload(config, fra_with(access), now);
        now += Duration::from_secs(1);
        let fetch = book.due(now).pop().unwrap();
        let told = fetch.access.login.clone().unwrap().ok();
        now += Duration::from_secs(1);
        let wall = SystemTime::UNIX_EPOCH;
        let _ = book.finish(&fetch, now, dead(), Now { instant: now, wall });
        now += Duration::from_secs(5);
        let told = told.map(|header| header.to_str().unwrap().to_owned());
        (fetch.page.host, told)
    };
    let told = |host: &str, token: &str| (host.to_owned(), Some(token.to_owned()));
    let (old, new) = (page("192.0.2.1", "one"), page("192.0.2.2", "two"));
    assert_eq!(asked(&old, login(Ok("1"))), told("192.0.2.1", "1"));
    // Another content of the same file; then a file that cannot be read.
    assert_eq!(asked(&old, login(Ok("2"))), told("192.0.2.1", "2"));
    assert_eq!(asked(&old, login(Err(()))), told("192.0.2.1", "2"));
    // The old token is not for the new page, whose own cannot be read.
    assert_eq!(asked(&new, login(Err(()))), ("192.0.2.2".to_owned(), None));
    assert_eq!(asked(&new, login(Ok("3"))), told("192.0.2.2", "3"));
}

#[test]
fn rates_and_sums() {
    let counting = |at: f64| {
        let begin = if at < 52.0 { 0.0 } else { 52.0 };
        Ok(Page::Series(vec![Found::from([
            (1, 10.0 * (at - begin)),
            (2, 1000.0 + 30.0 * at),
        ])]))
    };
    let rate = |keys: &str, script: &dyn Fn(f64) -> Result<Page, Fault>, at| {
        let mut simulation = Simulation::new(&fra(&format!("{PAGE}, {keys}")));
        simulation.run(at, script);
        simulation.load()
    };
    let about = |load: PopLoad, right: f64| {
        assert!(
            (load.ratio.unwrap() - right).abs() < 0.03 * right,
            "{load:?}"
        );
    };
    about(rate("rate = true, sum = true", &counting, 50), 0.4);
    // One series began anew: what it lost between readings is missing, and nothing else.
    let reset = rate("rate = true, sum = true", &counting, 53)
        .ratio
        .unwrap();
    assert!((0.3..0.41).contains(&reset), "{reset}");
    about(rate("rate = \"60s\", sum = true", &counting, 200), 0.4);
    let load = rate("rate = true", &counting, 50);
    assert_eq!(load.ratio, None);
    assert!(load.problem.unwrap().contains("2 series match"));
    let load = rate("rate = true, sum = true", &counting, 1);
    assert_eq!(
        (load.state, load.problem),
        (LoadState::Unknown, None),
        "one reading only"
    );
    assert_eq!(load.what, "sum(rate(active))");
}

#[test]
fn nginx_requests_and_connections() {
    let page = |requests: f64| {
        let text = format!(
            "Active connections: 25\nserver accepts handled requests\n 1 1 {requests:.0}\n\
             Reading: 1 Writing: 4 Waiting: 20\n"
        );
        crate::load::StubStatus::read(text.as_bytes()).map(Page::Stub)
    };
    for (field, right) in [("active", 0.25), ("writing", 0.04), ("requests", 0.5)] {
        let source = format!("stub_status = \"http://192.0.2.10/\", field = {field:?}");
        let mut simulation = Simulation::new(&fra(&source));
        simulation.run(60, &|at| page(50.0 * at));
        let found = simulation.load().ratio.unwrap();
        assert!((found - right).abs() < 0.02, "{field}: {found}");
    }
}

#[test]
fn capacity_shrinks_with_the_endpoints() {
    let mut simulation = Simulation::new(&fra(PAGE));
    simulation.run(10, &|_| one(40.0));
    simulation.usable = 0.5;
    let load = simulation.load();
    assert_eq!((load.ratio, load.capacity), (Some(0.8), Some(50.0)));
    // Without a capacity it is never full.
    let config = config(&[("fra", &format!("load = {{ {PAGE} }}"))], "");
    let mut simulation = Simulation::new(&config);
    simulation.run(10, &|_| one(40.0));
    let load = simulation.load();
    assert_eq!(
        (load.ratio, load.value, load.capacity),
        (Some(0.0), Some(40.0), None)
    );
}

#[test]
fn pushed_loads() {
    let mut simulation = Simulation::new(&fra("push = true, interval = \"10s\""));
    let now = simulation.now();
    let mut push = |level| simulation.book.push("fra", level, "cron", now);
    assert_eq!(push(Level::Value(-1.0)), Err(PushError::Absurd));
    assert_eq!(push(Level::Ratio(f64::NAN)), Err(PushError::Absurd));
    assert_eq!(push(Level::Value(60.0)), Ok(()));
    assert_eq!(
        simulation.book.next_wake(now.instant),
        Some(now.instant + Duration::from_millis(30_001))
    );
    let load = simulation.load();
    assert_eq!(
        (load.ratio, load.source.as_str()),
        (Some(0.6), "push by cron")
    );
    simulation.run(31, &|_| dead());
    assert_eq!(simulation.load().state, LoadState::Stale);
    simulation.run(101, &|_| dead());
    assert_eq!(simulation.load().ratio, None);
    let now = simulation.now();
    simulation.usable = 0.5;
    simulation
        .book
        .push("fra", Level::Ratio(0.9), "cron", now)
        .unwrap();
    assert_eq!(simulation.load().ratio, Some(0.9), "taken as it is");

    let fetched = fra(PAGE);
    simulation
        .book
        .reload(&fetched, HashMap::new(), now.instant);
    let refused = PushError::NotPushed("fra".into());
    assert_eq!(
        simulation.book.push("fra", Level::Ratio(0.1), "x", now),
        Err(refused)
    );
    let bare = config(&[("fra", "load = { push = true }")], "");
    simulation.book.reload(&bare, HashMap::new(), now.instant);
    let refused = PushError::NoCapacity("fra".into());
    assert_eq!(
        simulation.book.push("fra", Level::Value(0.1), "x", now),
        Err(refused)
    );
}

#[test]
fn a_reload_keeps_what_is_the_same() {
    let mut simulation = Simulation::new(&fra(PAGE));
    simulation.run(20, &|_| one(70.0));
    let now = simulation.now();
    // Capacity alone: nothing is read anew.
    let mut config = fra(PAGE);
    config.pops[0].capacity = Some(140.0);
    simulation.book.reload(&config, HashMap::new(), now.instant);
    assert_eq!(simulation.load().ratio, Some(0.5));
    assert_eq!(simulation.book.sources["fra"].id, 1);
    // Another page of the same metric: the value stays until that is read.
    let moved = fra(&PAGE.replace("9100", "9101"));
    simulation.book.reload(&moved, HashMap::new(), now.instant);
    assert_eq!(simulation.load().ratio, Some(0.7));
    assert_eq!(simulation.book.sources["fra"].id, 2);
    // A page that was under way for the old one says nothing.
    simulation.at += Duration::from_secs(1);
    let now = simulation.now();
    let fetch = simulation.book.due(now.instant).remove(0);
    simulation.book.reload(
        &fra(&PAGE.replace("9100", "9102")),
        HashMap::new(),
        now.instant,
    );
    let _ = simulation.book.finish(&fetch, now.instant, one(1.0), now);
    assert_eq!(simulation.load().ratio, Some(0.7));
    assert_eq!(simulation.book.fetching, 0);
    // Another metric: its unit is another.
    simulation.book.reload(
        &fra(&PAGE.replace("active", "requests")),
        HashMap::new(),
        now.instant,
    );
    assert_eq!(simulation.load().ratio, None);
    simulation
        .book
        .reload(&config_without_load(), HashMap::new(), now.instant);
    assert!(simulation.book.is_empty());
}

fn config_without_load() -> Config {
    config(&[("fra", "")], "")
}

/// Requests at 10 a second, of which `share` go wrong.
fn traffic(at: f64, share: f64) -> Result<Page, Fault> {
    Ok(Page::Series(vec![
        Found::from([(1, 5.0)]),
        Found::from([(2, 10.0 * share * at)]),
        Found::from([(2, 10.0 * share * at), (3, 10.0 * (1.0 - share) * at)]),
    ]))
}

const PASSIVE: &str = "[check.errors]\ntype = \"passive\"\nmax_ratio = 0.1\nmin_requests = 20\n\
    errors = { metric = \"requests\", labels = { code = \"5*\" } }\n\
    requests = { metric = \"requests\" }";

#[test]
fn errors_of_a_passive_check() {
    let config = config(&[("fra", &format!("load = {{ {PAGE} }}"))], PASSIVE);
    let mut simulation = Simulation::new(&config);
    assert_eq!(
        simulation.book.sources["fra"]
            .wanted
            .as_ref()
            .unwrap()
            .len(),
        3
    );
    simulation.run(30, &|at| traffic(at, 0.05));
    let passes = |outcomes: &[Outcome]| outcomes.iter().all(|o| matches!(o, Outcome::Pass { .. }));
    assert!(
        matches!(simulation.observed[0], Outcome::Inconclusive { .. }),
        "one reading only"
    );
    assert!(simulation.observed.len() > 5 && passes(&simulation.observed[1..]));

    simulation.observed.clear();
    simulation.run(60, &|at| traffic(at, 0.5));
    let fails = |o: &&Outcome| {
        matches!(
            o,
            Outcome::Fail {
                reason: Reason::Errors { .. }
            }
        )
    };
    assert!(
        simulation.observed.iter().filter(fails).count() >= 5,
        "{:?}",
        simulation.observed
    );

    // A source that is silent says nothing of the PoP.
    simulation.observed.clear();
    simulation.run(90, &|_| dead());
    let silent = |o: &Outcome| {
        matches!(
            o,
            Outcome::Inconclusive {
                reason: LocalReason::Source(_)
            }
        )
    };
    assert!(simulation.observed.iter().all(silent));

    // Hardly any traffic: nothing speaks against it, so it can come back.
    simulation.run(95, &|_| traffic(1000.0, 1.0));
    simulation.observed.clear();
    simulation.run(120, &|at| traffic(1000.0 + (at - 95.0) / 10.0, 1.0));
    assert!(passes(&simulation.observed), "{:?}", simulation.observed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the source does: the ratio is a finite number from a reading, or nothing.
    #[test]
    fn any_life(pages in proptest::collection::vec(
        prop_oneof![Just(None), any::<f64>().prop_map(Some), (0.0..200.0).prop_map(Some)], 1..40,
    )) {
        let mut simulation = Simulation::new(&fra(PAGE));
        for (step, page) in pages.iter().enumerate() {
            let script = |_: f64| page.map_or_else(dead, |value| match value.is_finite() && value >= 0.0 {
                true => one(value),
                false => Err(Fault::Absurd),
            });
            simulation.run(7 * (step as u64 + 1), &script);
            let load = simulation.load();
            prop_assert_eq!(load.state == LoadState::Unknown, load.ratio.is_none());
            if let Some(ratio) = load.ratio {
                prop_assert!(ratio.is_finite() && ratio >= 0.0);
                let read = pages[..=step].iter().flatten().any(|v| (v / 100.0 - ratio).abs() <= ratio * 1e-9);
                prop_assert!(read, "{} was never read", ratio);
            }
        }
    }
}

#[test]
fn ages_are_those_of_the_clock_that_never_jumps() {
    let mut simulation = Simulation::new(&fra("push = true, interval = \"10s\""));
    let now = simulation.now();
    assert_eq!(simulation.book.ages(now.instant), []);
    let level = Level::Ratio(0.5);
    simulation.book.push("fra", level, "cron", now).unwrap();
    let later = now.instant + Duration::from_secs(7);
    let age = ("fra".to_owned(), Duration::from_secs(7));
    assert_eq!(simulation.book.ages(later), [age]);
}

#[test]
fn what_another_process_read_goes_on_aging() {
    let push = fra("push = true, interval = \"10s\"");
    let mut before = Simulation::new(&push);
    let now = before.now();
    before
        .book
        .push("fra", Level::Value(70.0), "edge", now)
        .unwrap();
    let kept = before.book.keep();
    assert_eq!(kept.len(), 1);
    let text = serde_json::to_string(&kept).unwrap();
    let again: Vec<KeptLoad> = serde_json::from_str(&text).unwrap();
    assert_eq!(again, kept);

    let state = |seconds, kept: &[KeptLoad], config: &Config| {
        let mut after = Simulation::new(config);
        after.at = Duration::from_secs(seconds);
        // Another process has another clock, and only the wall's is common.
        after.book.restore(kept.to_vec(), after.now());
        let loads = after.book.loads(after.now().instant, |_| 1.0);
        (loads["fra"].state, loads["fra"].ratio)
    };
    assert_eq!(state(5, &kept, &push), (LoadState::Fresh, Some(0.7)));
    assert_eq!(state(31, &kept, &push), (LoadState::Stale, Some(0.7)));
    assert_eq!(state(101, &kept, &push), (LoadState::Unknown, None));
    let other = fra(PAGE);
    assert_eq!(state(5, &kept, &other), (LoadState::Unknown, None));
    let nonsense = KeptLoad {
        level: Level::Ratio(-1.0),
        ..kept[0].clone()
    };
    assert_eq!(state(5, &[nonsense], &push), (LoadState::Unknown, None));

    let mut newer = Simulation::new(&push);
    newer.at = Duration::from_secs(1);
    let now = newer.now();
    newer
        .book
        .push("fra", Level::Value(20.0), "edge", now)
        .unwrap();
    newer.book.restore(kept, now);
    let loads = newer.book.loads(now.instant, |_| 1.0);
    assert_eq!(loads["fra"].ratio, Some(0.2), "what is newer stays");
}
