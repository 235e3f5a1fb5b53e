//! One writer of the snapshot: whatever changes (files, verdicts, overrides), the new whole is
//! built beside the old one and swapped in; queries load it and never wait.
//!
//! What was in force before is kept until no query uses it any more, and freed here: a packet worker
//! never frees a million zones.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use meridian_config::{PopId, Service};
use meridian_dns::{
    abuse::Gate,
    snapshot::Snapshot,
    steer::{Level, Standing, View},
    types::ServiceId,
};
use meridian_health_prober::{GroupKey, HealthSnapshot, Override, OverrideKind, Verdict};

use super::{
    describe,
    events::{EventKind, EventLog, NewEvent},
    load::Loaded,
    metrics::RuntimeMetrics,
    shift::{self, Shift},
    status::{PopState, ServiceStatus},
};

/// Builds and swaps snapshots, and tells what that changed for clients.
pub struct Publisher {
    current: Arc<ArcSwap<Snapshot>>,
    gate: Arc<Gate>,
    inputs: Mutex<Inputs>,
    retired: mpsc::Sender<Retired>,
}

/// Something that was in force: the last of it is not dropped by those who use it.
type Retired = Arc<dyn Any + Send + Sync>;

/// Time between looks at whether something retired is still in use.
const RETIRED_LOOK: Duration = Duration::from_secs(1);

/// What the snapshot in force was made of.
struct Inputs {
    loaded: Arc<Loaded>,
    health: Arc<HealthSnapshot>,
    standing: Arc<Standing>,
    /// The PoP that announces itself away, whatever its verdict.
    excluded: Option<String>,
    generation: u64,
    pops: BTreeMap<String, PopState>,
    /// By number of the service.
    levels: Vec<Level>,
    /// Seconds that the last failover took, by name of the service.
    shifts: BTreeMap<String, f64>,
}

/// What is new at a publication; the rest stays.
#[derive(Default)]
struct News {
    loaded: Option<Arc<Loaded>>,
    health: Option<Arc<HealthSnapshot>>,
    standing: Option<Arc<Standing>>,
}

impl Inputs {
    /// Health as steering sees it.
    fn steering_health(&self) -> Arc<HealthSnapshot> {
        let excluded = self.excluded.as_deref();
        excluded.map_or_else(|| self.health.clone(), |pop| without(&self.health, pop))
    }
}

impl Publisher {
    /// Publishes the first snapshot. `gate` keeps what rate limits have counted, over all of them.
    pub fn new(loaded: Arc<Loaded>, health: Arc<HealthSnapshot>, gate: Arc<Gate>) -> Self {
        let standing = Arc::new(Standing::none());
        let snapshot = build(&loaded, &health, &standing, 1);
        gate.prepare(&snapshot.identity.limits);
        let inputs = Inputs {
            pops: pop_states(&loaded, &health),
            levels: service_levels(&loaded, &snapshot.view),
            loaded,
            health,
            standing,
            excluded: None,
            generation: 1,
            shifts: BTreeMap::new(),
        };
        Self {
            current: Arc::new(ArcSwap::from_pointee(snapshot)),
            gate,
            inputs: Mutex::new(inputs),
            retired: free_in_background(),
        }
    }

    /// What listeners load from.
    pub fn current(&self) -> Arc<ArcSwap<Snapshot>> {
        self.current.clone()
    }

    /// The state and health that the snapshot in force was made of.
    pub fn inputs(&self) -> (Arc<Loaded>, Arc<HealthSnapshot>) {
        let inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        (inputs.loaded.clone(), inputs.health.clone())
    }

    /// Seconds that the last failover of each service took, where there was one.
    pub fn shifts(&self) -> BTreeMap<String, f64> {
        let inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        inputs.shifts.clone()
    }

    /// Publishes new health over the state in force, and says whether it changed who is usable.
    pub fn health(&self, health: Arc<HealthSnapshot>, teller: &Teller<'_>) -> bool {
        let news = News {
            health: Some(health),
            ..News::default()
        };
        self.publish(news, teller)
    }

    /// Lets steering leave out a PoP, or none, whatever verdicts and operators say.
    pub fn exclude(&self, pop: Option<String>, teller: &Teller<'_>) {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        inputs.excluded = pop;
        drop(inputs);
        self.publish(News::default(), teller);
    }

    /// Publishes a state of which only zones are new.
    pub fn zones(&self, loaded: Arc<Loaded>, teller: &Teller<'_>) {
        let news = News {
            loaded: Some(loaded),
            ..News::default()
        };
        self.publish(news, teller);
    }

    /// Takes a state that gives the same answers: only how its files look is new.
    pub fn looked(&self, loaded: Arc<Loaded>) {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut inputs.loaded, loaded);
        self.retire(before);
    }

    /// Publishes a new state together with the health of its targets and its standing.
    pub fn loaded(
        &self,
        loaded: Arc<Loaded>,
        health: Arc<HealthSnapshot>,
        standing: Arc<Standing>,
        teller: &Teller<'_>,
    ) {
        self.publish(
            News {
                loaded: Some(loaded),
                health: Some(health),
                standing: Some(standing),
            },
            teller,
        );
    }

    /// Publishes the standing of a tick, unless answers stay as they are or the state that it was
    /// made for is no more in force.
    pub fn standing(&self, of: &Arc<Loaded>, standing: Arc<Standing>, teller: &Teller<'_>) {
        let inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |loaded: &Loaded| Arc::ptr_eq(&loaded.built.steering, &of.built.steering);
        if same(&inputs.loaded) && !standing.answers_like(&inputs.standing) {
            let news = News {
                standing: Some(standing),
                ..News::default()
            };
            // Under the same lock: it must not meet another configuration.
            self.publish_over(inputs, news, teller);
        }
    }

    /// Lets TTLs of the snapshot in force shrink that wait for a verdict.
    pub fn grow_older(&self, now: Instant) {
        grow_older(&self.current.load().view, now);
    }

    /// The state in force, and health as steering sees it.
    pub fn steered_by(&self) -> (Arc<Loaded>, Arc<HealthSnapshot>) {
        let inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        (inputs.loaded.clone(), inputs.steering_health())
    }

    /// Says whether a PoP became usable or ceased to be.
    fn publish(&self, news: News, teller: &Teller<'_>) -> bool {
        let inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        self.publish_over(inputs, news, teller)
    }

    fn publish_over(
        &self,
        mut inputs: MutexGuard<'_, Inputs>,
        news: News,
        teller: &Teller<'_>,
    ) -> bool {
        let started = (teller.clock)();
        let only_health = news.loaded.is_none() && news.standing.is_none();
        let replace = |loaded| std::mem::replace(&mut inputs.loaded, loaded);
        let before = news.loaded.map(replace);
        let mut fallen = BTreeSet::new();
        if let Some(health) = news.health {
            fallen = newly_down(&inputs.health, &health);
            inputs.health = health;
        }
        if let Some(standing) = news.standing {
            inputs.standing = standing;
        }
        let snapshot = build(
            &inputs.loaded,
            &inputs.steering_health(),
            &inputs.standing,
            inputs.generation + 1,
        );
        // Its health may be as old as that of the view before: a tick brings none.
        grow_older(&snapshot.view, started);
        // Most news of health are round trips of probes: no reason to forget what was decided.
        let in_force = self.current.load();
        let is_told_only = only_health && {
            let (old, new) = (&in_force.view, &snapshot.view);
            let made = old.health().made.zip(new.health().made);
            let passed = made.map(|(old, new)| new.saturating_duration_since(old));
            old.answers_like(new, passed.unwrap_or_default())
        };
        drop(in_force);
        let levels = service_levels(&inputs.loaded, &snapshot.view);
        self.gate.prepare(&snapshot.identity.limits);
        if !is_told_only {
            inputs.generation += 1;
            // Swapped before anything is told: the first changed answer waits for nobody.
            self.retire(self.current.swap(Arc::new(snapshot)));
            let took = (teller.clock)().saturating_duration_since(started);
            teller
                .metrics
                .published(inputs.generation, took.as_secs_f64());
        }
        let pops = pop_states(&inputs.loaded, &inputs.health);
        let usable = |(pop, state): (&String, &PopState)| {
            let was = inputs.pops.get(pop).copied().unwrap_or(PopState::Unknown);
            was.is_usable() != state.is_usable()
        };
        let changed = pops.iter().any(usable);
        let now = Now {
            pops: &pops,
            levels: &levels,
            fallen: &fallen,
        };
        let shifts = teller.tell(&inputs, before.as_deref(), &now);
        inputs.shifts.extend(shifts);
        inputs.pops = pops;
        inputs.levels = levels;
        if let Some(before) = before {
            self.retire(before);
        }
        changed
    }

    fn retire(&self, what: Retired) {
        // Without the thread it is freed by its last user.
        let _ = self.retired.send(what);
    }
}

/// A thread that drops what nobody else uses any more; it ends when the sender is dropped.
fn free_in_background() -> mpsc::Sender<Retired> {
    let (sender, retired) = mpsc::channel::<Retired>();
    let work = move || {
        let mut in_use: Vec<Retired> = Vec::new();
        loop {
            match retired.recv_timeout(RETIRED_LOOK) {
                Ok(one) => in_use.push(one),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            in_use.extend(retired.try_iter());
            in_use.retain(|one| Arc::strong_count(one) > 1);
            if in_use.is_empty() {
                let Ok(one) = retired.recv() else { return };
                in_use.push(one);
            }
        }
    };
    let thread = thread::Builder::new().name("retired".to_owned());
    if let Err(error) = thread.spawn(work) {
        tracing::warn!(%error, "old snapshots are freed by their last user");
    }
    sender
}

fn build(
    loaded: &Loaded,
    health: &Arc<HealthSnapshot>,
    standing: &Arc<Standing>,
    generation: u64,
) -> Snapshot {
    let built = &loaded.built;
    let view = View::new(&built.steering, standing.clone(), health.clone());
    Snapshot {
        generation,
        zones: built.zones.clone(),
        steering: built.steering.clone(),
        view: Arc::new(view),
        identity: built.identity.clone(),
    }
}

/// Lets TTLs that wait for a verdict shrink with the time that has passed since the prober told of it.
fn grow_older(view: &View, now: Instant) {
    if let Some(made) = view.health().made
        && view.is_in_doubt()
    {
        view.grow_older(now.saturating_duration_since(made));
    }
}

/// The health with one PoP taken out of steering, as a drain would.
fn without(health: &HealthSnapshot, pop: &str) -> Arc<HealthSnapshot> {
    let mut health = health.clone();
    let leaving = || Override {
        kind: OverrideKind::Drain,
        reason: "its prefixes are not announced".to_owned(),
        since: SystemTime::UNIX_EPOCH,
        until: None,
    };
    health
        .overrides
        .entry(pop.to_owned())
        .or_insert_with(leaving);
    Arc::new(health)
}

/// The groups that are down now and were not before.
fn newly_down(before: &HealthSnapshot, now: &HealthSnapshot) -> BTreeSet<GroupKey> {
    let was_down = |key| {
        before
            .groups
            .get(key)
            .is_some_and(|group| group.verdict == Verdict::Down)
    };
    let down = now
        .groups
        .iter()
        .filter(|(_, group)| group.verdict == Verdict::Down);
    down.filter(|(key, _)| !was_down(key))
        .map(|(key, _)| key.clone())
        .collect()
}

fn pop_states(loaded: &Loaded, health: &HealthSnapshot) -> BTreeMap<String, PopState> {
    let config = &loaded.config;
    (0_u16..)
        .map(PopId)
        .zip(&config.pops)
        .map(|(id, pop)| (pop.name.clone(), describe::state(config, health, id)))
        .collect()
}

/// Services of a state with the ladder step that each is on, in configuration order. `shifts`: what
/// their last failovers took.
pub fn services(
    loaded: &Loaded,
    view: &View,
    shifts: &BTreeMap<String, f64>,
) -> Vec<ServiceStatus> {
    with_levels(loaded, view)
        .map(|(service, level)| ServiceStatus {
            name: service.name.to_string(),
            pool: loaded.config.pool(service.pool).name.clone(),
            level: level as u8,
            shift_bound_s: shift::bound(&loaded.config, service).map(|time| time.as_secs_f64()),
            shift_last_s: shifts.get(&service.name.to_string()).copied(),
        })
        .collect()
}

fn service_levels(loaded: &Loaded, view: &View) -> Vec<Level> {
    with_levels(loaded, view).map(|(_, level)| level).collect()
}

fn with_levels<'a>(
    loaded: &'a Loaded,
    view: &'a View,
) -> impl Iterator<Item = (&'a Service, Level)> {
    let services = loaded.config.zones.iter().flat_map(|zone| &zone.services);
    (0_u32..)
        .map(ServiceId)
        .zip(services)
        .map(|(id, service)| (service, view.level(&loaded.built.steering, id)))
}

fn level_in_words(level: Level) -> &'static str {
    match level {
        Level::Measured => "measured latency and load",
        Level::Geo => "distance",
        Level::ConfiguredOrder => "the configured order",
        Level::LastResort => "its last resort: for A or for AAAA no PoP is usable",
    }
}

/// What a publication makes of PoPs and services.
struct Now<'a> {
    pops: &'a BTreeMap<String, PopState>,
    /// By number of the service.
    levels: &'a [Level],
    /// Groups that went down with it.
    fallen: &'a BTreeSet<GroupKey>,
}

/// Where a publication is told.
pub struct Teller<'a> {
    /// Events.
    pub events: &'a EventLog,
    /// Metrics.
    pub metrics: &'a RuntimeMetrics,
    /// Now, for the event log.
    pub now: Timestamp,
    /// Monotonic clock, for the age of health and the time that building takes.
    pub clock: fn() -> Instant,
}

impl Teller<'_> {
    /// Tells what differs from the publication before; `inputs` still holds its states, and
    /// `before` what they are the states of, where that is no more in force. Returns what failovers
    /// took, by service.
    fn tell(
        &self,
        inputs: &Inputs,
        before: Option<&Loaded>,
        now: &Now<'_>,
    ) -> BTreeMap<String, f64> {
        let mut took = BTreeMap::new();
        let config = &inputs.loaded.config;
        for (pop, state) in now.pops {
            let was = inputs.pops.get(pop).copied().unwrap_or(PopState::Unknown);
            let shifts = match state {
                PopState::Down => {
                    shift::measured(config, &inputs.health, pop, now.fallen, self.now)
                }
                _ => Vec::new(),
            };
            if was.is_usable() != state.is_usable() {
                self.failover(pop, *state, &shifts);
            } else if !shifts.is_empty() {
                self.left_too(pop, &shifts);
            }
            took.extend(shifts.into_iter().map(|one| {
                let seconds = (one.published + one.cached).as_secs_f64();
                (one.service, seconds)
            }));
        }
        let steering = &inputs.loaded.built.steering;
        let then = before.map_or(steering, |before| &before.built.steering);
        let renumbered = !Arc::ptr_eq(steering, then);
        for (number, (service, level)) in (0_u32..).zip(steering.services().iter().zip(now.levels))
        {
            let number = match renumbered {
                true => then
                    .service_by_name(&service.name)
                    .filter(|id| then.service(*id).is_some_and(|s| s.name == service.name)),
                false => Some(ServiceId(number)),
            };
            let was = number.and_then(|number| inputs.levels.get(number.0 as usize));
            // A new service starts where it is; only a move is worth telling.
            if was.is_some_and(|was| was != level) {
                self.level(&service.name.to_string(), *level);
            }
        }
        self.metrics.overrides(&inputs.health.overrides);
        took
    }

    fn failover(&self, pop: &str, state: PopState, shifts: &[Shift]) {
        let (direction, mut message) = if state.is_usable() {
            (
                "back",
                format!("clients may come back to {pop} ({})", state.as_str()),
            )
        } else {
            ("away", format!("clients leave {pop} ({})", state.as_str()))
        };
        if let Some(words) = shift::in_words(shifts) {
            message = format!("{message} {words}");
        }
        self.metrics.failover(pop, direction);
        self.metrics.shifted(pop, shifts);
        let event = NewEvent::new(EventKind::Failover, message).pop(pop);
        self.record(event.good(state.is_usable()));
    }

    /// Clients of more services leave a PoP that was down for others, under another check.
    fn left_too(&self, pop: &str, shifts: &[Shift]) {
        let words = shift::in_words(shifts).unwrap_or_default();
        let message = match shifts {
            [one] => format!("clients of {} leave {pop} (down) {words}", one.service),
            more => format!(
                "clients of {} more services leave {pop} (down) {words}",
                more.len()
            ),
        };
        self.metrics.shifted(pop, shifts);
        self.record(NewEvent::new(EventKind::Failover, message).pop(pop));
    }

    fn level(&self, service: &str, level: Level) {
        let message = format!("{service} is now steered by {}", level_in_words(level));
        let event = NewEvent::new(EventKind::Steering, message).service(service);
        self.record(event.good(level != Level::LastResort));
    }

    fn record(&self, event: NewEvent) {
        self.events.record(self.now, event);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, sync::LazyLock};

    use meridian_config::Family;
    use meridian_dns::{client::Client, steer::decide};
    use meridian_health_prober::{EndpointHealth, GroupKey, PopHealth, Verdict};
    use prometheus::Registry;

    use super::*;

    #[allow(clippy::disallowed_methods)] // any moment will do
    static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

    const CONFIG: &str = r#"
[check.edge]
type = "tcp"
port = 80

[[pop]]
name = "fra"
latitude = 50
longitude = 8
endpoints = ["192.0.2.1"]

[[pop]]
name = "iad"
latitude = 39
longitude = -77
endpoints = ["192.0.2.2"]

[[pool]]
name = "edge"
check = "edge"
pops = ["fra", "iad"]

[[zone]]
name = "example.com"
file = "example.com.zone"

[[zone.service]]
name = "www"
pool = "edge"
"#;

    const ZONE: &str = "@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.53\n";

    fn loaded(folder: &Path) -> Arc<Loaded> {
        loaded_from(folder, CONFIG)
    }

    fn loaded_from(folder: &Path, text: &str) -> Arc<Loaded> {
        let file = folder.join("meridian.toml");
        fs::write(&file, text).unwrap();
        fs::write(folder.join("example.com.zone"), ZONE).unwrap();
        let loaded = super::super::load::load(&file, None, None, Timestamp::UNIX_EPOCH);
        Arc::new(loaded.unwrap())
    }

    /// Where a teller tells.
    struct Told {
        events: EventLog,
        metrics: RuntimeMetrics,
    }

    impl Told {
        fn new() -> Self {
            Self {
                events: EventLog::default(),
                metrics: RuntimeMetrics::new(&Registry::new()).unwrap(),
            }
        }

        fn teller(&self, clock: fn() -> Instant) -> Teller<'_> {
            Teller {
                events: &self.events,
                metrics: &self.metrics,
                now: Timestamp::UNIX_EPOCH,
                clock,
            }
        }
    }

    fn health(generation: u64, verdict: Verdict, rtt_ms: u64) -> Arc<HealthSnapshot> {
        let key = GroupKey {
            pop: "fra".into(),
            check: "edge".into(),
        };
        let endpoint = EndpointHealth {
            address: [192, 0, 2, 1].into(),
            verdict,
            reason: "told".into(),
            since: None,
            rtt: Some(Duration::from_millis(rtt_ms)),
            flips_in: None,
            checks: Vec::new(),
        };
        let group = PopHealth {
            verdict,
            reason: "told".into(),
            since: None,
            flips_in: None,
            took: None,
            endpoints: vec![endpoint],
        };
        Arc::new(HealthSnapshot {
            generation,
            groups: BTreeMap::from([(key, group)]),
            ..HealthSnapshot::default()
        })
    }

    /// A view that is replaced forgets what was decided, and a tick that is woken moves clients: a
    /// round trip of a probe is a reason for neither.
    #[test]
    fn a_new_round_trip_neither_replaces_the_view_nor_wakes_a_tick() {
        let folder = tempfile::tempdir().unwrap();
        let told = Told::new();
        let teller = told.teller(|| *STARTED);
        let first = health(1, Verdict::Up, 10);
        let publisher = Publisher::new(loaded(folder.path()), first, Arc::new(Gate::random()));
        let before = publisher.current().load_full();
        assert!(!publisher.health(health(2, Verdict::Up, 11), &teller));
        assert!(Arc::ptr_eq(&before, &publisher.current().load_full()));
        // What is shown is the newest all the same.
        assert_eq!(publisher.inputs().1.generation, 2);

        assert!(publisher.health(health(3, Verdict::Down, 11), &teller));
        assert!(!Arc::ptr_eq(&before, &publisher.current().load_full()));
    }

    /// What waits for a verdict counts down through the standings that ticks publish.
    #[test]
    fn a_new_standing_sets_no_ttl_back() {
        let folder = tempfile::tempdir().unwrap();
        let told = Told::new();
        let teller = told.teller(|| *STARTED + Duration::from_secs(5));
        let mut health = health(1, Verdict::Up, 10).as_ref().clone();
        health.made = Some(*STARTED);
        let groups = health.groups.values_mut();
        for endpoint in groups.flat_map(|group| &mut group.endpoints) {
            endpoint.flips_in = Some(Duration::from_secs(29));
        }
        let health = Arc::new(health);
        let loaded = loaded(folder.path());
        let publisher = Publisher::new(loaded.clone(), health.clone(), Arc::new(Gate::random()));
        let ttl = || {
            let snapshot = publisher.current().load_full();
            // A German university, as data.
            let client = Client::from_source("141.2.0.1".parse().unwrap());
            decide(
                &snapshot.steering,
                &snapshot.view,
                ServiceId(0),
                &client,
                Family::V4,
            )
            .ttl
        };
        publisher.grow_older(*STARTED + Duration::from_secs(4));
        assert_eq!(ttl(), 25);
        let standing = Arc::new(Standing::none());
        publisher.loaded(loaded, health, standing, &teller);
        assert_eq!(ttl(), 24);
    }

    #[test]
    fn a_failover_under_another_check_is_measured_while_the_pop_is_down_already() {
        let folder = tempfile::tempdir().unwrap();
        let told = Told::new();
        let teller = told.teller(|| *STARTED);
        let config = format!(
            "{CONFIG}[[zone.service]]\nname = \"ns\"\npool = \"names\"\n\
             [[pool]]\nname = \"names\"\ncheck = \"names\"\npops = [\"fra\", \"iad\"]\n\
             [check.names]\ntype = \"tcp\"\nport = 53\n"
        );
        let groups = |names: Verdict| {
            let mut health = health(1, Verdict::Down, 10).as_ref().clone();
            let key = GroupKey {
                pop: "fra".into(),
                check: "names".into(),
            };
            let mut group = health.groups.values().next().unwrap().clone();
            group.verdict = names;
            group.since = Some(SystemTime::UNIX_EPOCH);
            group.took = Some(Duration::from_secs(2));
            health.groups.insert(key, group);
            Arc::new(health)
        };
        let loaded = loaded_from(folder.path(), &config);
        let publisher = Publisher::new(loaded, groups(Verdict::Up), Arc::new(Gate::random()));
        publisher.health(groups(Verdict::Down), &teller);
        let shifts = publisher.shifts();
        assert_eq!(shifts, BTreeMap::from([("ns.example.com.".into(), 32.0)]));
        let sentences: Vec<_> = told
            .events
            .recent()
            .into_iter()
            .map(|event| event.message)
            .collect();
        let words = "clients of ns.example.com. leave fra (down) 2.0 s after the first failed probe; \
                     caches hold on for up to 30 s";
        assert_eq!(sentences.first().map(String::as_str), Some(words));
        // Nothing new, nothing measured again.
        publisher.health(groups(Verdict::Down), &teller);
        assert!(
            told.events
                .recent()
                .iter()
                .filter(|event| event.kind == EventKind::Failover)
                .count()
                == 1
        );
    }
}
