//! The runner over a faked network, in tokio's paused time.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use meridian_config::Config;
use tokio::{
    sync::{broadcast, watch},
    task::JoinHandle,
    time::Instant,
};

use super::*;
use crate::{GroupKey, OverrideKind, Reason, testing};

/// What the faked network does with every probe.
#[derive(Clone, Copy, PartialEq)]
enum World {
    Well,
    Refusing,
    Vanished,
    Panicking,
}

struct Fake {
    world: Mutex<World>,
    probes: AtomicUsize,
    live: AtomicUsize,
    forgotten: AtomicUsize,
}

impl Probe for Fake {
    async fn probe(&self, job: &Job) -> Outcome {
        self.probes.fetch_add(1, SeqCst);
        let world = *self.world.lock().unwrap();
        match world {
            World::Well => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Outcome::Pass {
                    rtt: Duration::from_millis(10),
                }
            }
            World::Refusing => Outcome::Fail {
                reason: Reason::Refused,
            },
            World::Vanished => {
                tokio::time::sleep(job.deadline).await;
                Outcome::Fail {
                    reason: Reason::Timeout(crate::Phase::Connect),
                }
            }
            World::Panicking => panic!("a defect in a probe"),
        }
    }

    fn retain(&self, live: &HashSet<TargetId>) {
        self.live.store(live.len(), SeqCst);
    }

    fn forget(&self, _: TargetId) {
        self.forgotten.fetch_add(1, SeqCst);
    }
}

struct Running {
    fake: Arc<Fake>,
    inbox: Arc<Inbox>,
    snapshots: watch::Receiver<Arc<HealthSnapshot>>,
    events: broadcast::Receiver<HealthEvent>,
    task: JoinHandle<()>,
}

fn start(config: &Config) -> Running {
    let fake = Arc::new(Fake {
        world: Mutex::new(World::Well),
        probes: AtomicUsize::new(0),
        live: AtomicUsize::new(0),
        forgotten: AtomicUsize::new(0),
    });
    let mut engine = Engine::new(1000, now().instant);
    engine.reload(config, now());
    let (sender, snapshots) = watch::channel(engine.snapshot(now().instant));
    let (events_sender, events) = broadcast::channel(64);
    let inbox = Arc::new(Inbox::default());
    let outputs = Outputs {
        snapshots: sender,
        events: events_sender,
        stats: Arc::new(Stats::default()),
    };
    let runner = Runner::new(engine, fake.clone(), inbox.clone(), outputs);
    let task = tokio::spawn(runner.run());
    Running {
        fake,
        inbox,
        snapshots,
        events,
        task,
    }
}

impl Running {
    fn set(&self, world: World) {
        *self.fake.world.lock().unwrap() = world;
    }

    async fn wait_for(&mut self, pop: &str, verdict: Verdict) {
        let key = GroupKey {
            pop: pop.into(),
            check: "edge".into(),
        };
        self.snapshots
            .wait_for(|s| s.groups.get(&key).is_some_and(|pop| pop.verdict == verdict))
            .await
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
#[allow(clippy::disallowed_methods)] // measures simulated time
async fn down_within_the_promise_and_up_again() {
    for (world, interval, promise) in [
        (World::Refusing, 5, 15),
        (World::Vanished, 5, 15),
        (World::Refusing, 1, 3),
        (World::Vanished, 1, 3),
    ] {
        let mut config = testing::config(&[("fra", 2)]);
        config.checks[0].interval = Duration::from_secs(interval);
        let mut running = start(&config);
        running.wait_for("fra", Verdict::Up).await;
        tokio::time::sleep(Duration::from_millis(23_456)).await;
        running.set(world);
        let death = Instant::now();
        running.wait_for("fra", Verdict::Down).await;
        assert!(
            death.elapsed() <= Duration::from_secs(promise),
            "{:?}",
            death.elapsed()
        );
        running.set(World::Well);
        running.wait_for("fra", Verdict::Up).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_frees_its_place_and_moves_no_verdict() {
    let mut running = start(&testing::config(&[("fra", 1)]));
    running.wait_for("fra", Verdict::Up).await;
    running.set(World::Panicking);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = running.fake.probes.load(SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(running.fake.probes.load(SeqCst) >= before + 10);
    running.wait_for("fra", Verdict::Up).await;
    running.set(World::Refusing);
    running.wait_for("fra", Verdict::Down).await;
}

#[tokio::test(start_paused = true)]
async fn reloads_and_overrides_are_published_and_stopping_ends_it() {
    let mut running = start(&testing::config(&[("fra", 2), ("iad", 1)]));
    assert_eq!(running.fake.live.load(SeqCst), 3);
    let drain = Override {
        kind: OverrideKind::Drain,
        reason: "new rack".into(),
        since: now().wall,
        until: None,
    };
    running
        .inbox
        .set_overrides(BTreeMap::from([("fra".into(), drain)]));
    running
        .snapshots
        .wait_for(|s| s.overrides.contains_key("fra"))
        .await
        .unwrap();
    // Many requests in a row: the last one counts.
    for _ in 0..1000 {
        running.inbox.reload(Arc::new(testing_one()));
    }
    running
        .snapshots
        .wait_for(|s| s.groups.len() == 1)
        .await
        .unwrap();
    assert_eq!(running.fake.live.load(SeqCst), 1);
    running.inbox.stop();
    running.task.await.unwrap();
    assert!(running.snapshots.changed().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_a_probe_leaves_of_a_target_that_is_gone_is_forgotten() {
    let mut running = start(&testing::config(&[("fra", 1), ("iad", 1)]));
    running.wait_for("iad", Verdict::Up).await;
    running.set(World::Vanished);
    let before = running.fake.probes.load(SeqCst);
    while running.fake.probes.load(SeqCst) == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // It ends after the reload.
    running.set(World::Well);
    let other = testing::config(&[("nrt", 1)]);
    running.inbox.reload(Arc::new(other));
    running.wait_for("nrt", Verdict::Up).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(running.fake.forgotten.load(SeqCst) >= 1);
}

fn testing_one() -> Config {
    testing::config(&[("fra", 1)])
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_is_behind_loses_the_oldest_events_only() {
    let names: Vec<String> = (0..100).map(|n| format!("pop{n}")).collect();
    let pops: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let mut running = start(&testing::config(&pops));
    for name in &names {
        running.wait_for(name, Verdict::Up).await;
    }
    let lost = running.events.recv().await.unwrap_err();
    assert_eq!(lost, broadcast::error::RecvError::Lagged(200 - 64));
    assert!(running.events.recv().await.is_ok());
}
