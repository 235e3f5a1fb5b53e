//! What moves with measurements: a tick every few seconds turns loads, latencies and demand into
//! prices and a standing, and publishes it when answers change.
//!
//! ```text
//! workers ─ samples ─→ book ─ demand ─┐
//! prober ─ loads ─→ readings ─→ balance ─ prices ─┼─→ Standing::next ─→ publish
//! measure ─ latency ──────────────────────────────┘
//! ```
//!
//! What ticks remember is written to `state_directory` once a minute, at the end, and for a successor
//! (`file`).
//!
//! A tick runs on a thread of its own; queries see its result as one more snapshot. A changed verdict
//! is published at once with the standing that there is, and asks for a tick, which spreads the
//! clients of a lost PoP over the others.

mod book;
#[cfg(test)]
mod congestion;
pub(super) mod file;
mod held;
mod keeper;
mod readings;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use meridian_dns::{
    steer::{Standing, Steering, View, balance::Prices},
    zone::ZoneSet,
};
use meridian_geo_data::{ClientMap, latency::Latency};
use meridian_health_prober::HealthSnapshot;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, watch},
    time::MissedTickBehavior,
};

use super::{
    Runtime,
    events::{EventKind, NewEvent},
    load::Loaded,
    monotonic,
};
pub(crate) use keeper::renumbered;
use keeper::{Keeper, Tick};
pub(crate) use readings::targets;

/// Time between two ticks.
const TICK: Duration = Duration::from_secs(10);

/// Least time between two ticks, however many verdicts change.
const REST: Duration = Duration::from_millis(500);

/// Time between two writes of what is remembered. No process that only tries to take over lives as long.
const SAVE: Duration = Duration::from_secs(60);

/// Longest that the first tick waits for what was measured before the start.
const LAID_OUT: Duration = Duration::from_secs(30);

/// Longest that the first answer waits for it, where it decides between an anycast address and single PoPs.
const FIRST_ANSWER: Duration = Duration::from_secs(3);

/// What ticks remember, and what they last came to.
#[derive(Default)]
pub struct Moving {
    /// Locked for as long as a tick takes, by those who can wait.
    keeper: Mutex<Keeper>,
    /// Held while a tick is under way. A reload takes it before its turn to publish: verdicts, which
    /// wait for that turn, must not wait for a tick as well.
    pub(super) ticking: tokio::sync::Mutex<()>,
    wake: Notify,
    /// When it was last written, or tried to be.
    saved: Mutex<Duration>,
    /// Locked while it is being written.
    writing: Mutex<()>,
    newest: ArcSwap<Standing>,
    asked: ArcSwap<Vec<Asking>>,
    /// Whether there has been a tick.
    ticked: watch::Sender<bool>,
}

/// A cell that asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Asking {
    /// Its number.
    pub cell: usize,
    /// An address in it that asked, cut to its /24 or /48.
    pub client: IpAddr,
    /// Answers a second, lately.
    pub rate: f32,
}

/// Demand by cell, as `GET /api/v1/demand` tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DemandReport {
    /// What an entry stands for: `cell`.
    pub per: String,
    /// Cells that asked lately.
    pub cells: Vec<CellDemand>,
}

/// Demand of one cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellDemand {
    /// Of its centre.
    pub latitude: f64,
    /// Of its centre.
    pub longitude: f64,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// An address in it that asked, cut to its /24 or /48.
    pub client: IpAddr,
    /// Answers a second, fading with a half-life of ten minutes.
    pub queries: f32,
}

impl Moving {
    /// Asks for a tick soon.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// The newest standing. The one in force may be older where both answer alike.
    fn newest(&self) -> Arc<Standing> {
        self.newest.load_full()
    }

    /// The standing to publish a new state with. Takes its time.
    fn carried_over(
        &self,
        loaded: &Loaded,
        health: &HealthSnapshot,
        latency: Option<Arc<Latency>>,
    ) -> Arc<Standing> {
        let mut keeper = self.keeper();
        let steering = &loaded.built.steering;
        let standing = keeper.carried_over(&loaded.config, steering, health, latency);
        self.newest.store(standing.clone());
        standing
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As if a tick were at work, until it is dropped.
    #[cfg(test)]
    pub(super) fn at_work(&self) -> impl Drop {
        self.keeper()
    }

    /// Whether it is time to write.
    fn is_to_save(&self, now: Duration) -> bool {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now.saturating_sub(*saved) >= SAVE;
        if due {
            *saved = now;
        }
        due
    }

    fn step(&self, tick: &Tick) -> (Arc<Standing>, Prices) {
        let mut keeper = self.keeper();
        let standing = keeper.step(tick);
        self.newest.store(standing.clone());
        let asked = keeper.book().by_cell().into_iter();
        let asked = asked.map(|(cell, client, rate)| Asking { cell, client, rate });
        self.asked.store(Arc::new(asked.collect()));
        (standing, keeper.prices().clone())
    }
}

impl Runtime {
    /// Ticks until the server stops. What was measured before the start comes first: a tick without it
    /// would forget who was served by it.
    pub(super) async fn keep_standing(self) {
        if let Some(mut measured) = self.measured() {
            let laid_out = measured.wait_for(|published| published.is_laid_out);
            let _ = tokio::time::timeout(LAID_OUT, laid_out).await;
        }
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.0.moving.wake.notified() => {}
            }
            let runtime = self.clone();
            let under_way = self.0.moving.ticking.lock().await;
            let ticked = tokio::task::spawn_blocking(move || runtime.tick()).await;
            drop(under_way);
            self.tell_failed_tick(ticked.is_err());
            if matches!(ticked, Ok(true)) {
                // On a thread of its own: the next tick waits for no disk.
                let runtime = self.clone();
                drop(tokio::task::spawn_blocking(move || runtime.save_standing()));
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// A defect of ours that stops ticks stops no answers: it is an alarm until a tick succeeds.
    fn tell_failed_tick(&self, failed: bool) {
        let text = "a tick of steering failed inside Meridian: who serves whom stays as it is; please report it";
        let problem = failed.then(|| text.to_owned());
        let replace = |condition: &mut super::Condition| {
            std::mem::replace(&mut condition.tick_failed, problem.clone())
        };
        let before = self.condition(replace);
        if let Some(problem) = problem.filter(|_| before.is_none()) {
            self.record(NewEvent::new(EventKind::Alarm, problem));
        }
    }

    /// Waits for the first tick where it can make a difference that lasts: who was proven to be better served by
    /// a single PoP would get the anycast address until then, and keep it for a TTL.
    pub(super) async fn recall(&self) {
        let config = self.config();
        let hybrid = config.pools.iter().any(|pool| pool.anycast.is_some());
        let kept = self.0.booted.server.state_directory.join("latency.bin");
        if hybrid && kept.exists() {
            let mut ticked = self.0.moving.ticked.subscribe();
            let first = ticked.wait_for(|ticked| *ticked);
            let _ = tokio::time::timeout(FIRST_ANSWER, first).await;
        }
    }

    /// Says whether it is time to write down what is remembered.
    fn tick(&self) -> bool {
        let inner = &self.0;
        let (loaded, health) = inner.publisher.steered_by();
        let started = monotonic();
        let tick = Tick {
            now_s: started.as_secs_f64(),
            config: loaded.config.clone(),
            steering: loaded.built.steering.clone(),
            health,
            // Of this moment: those that were published may lack what was kept over a restart.
            loads: Arc::new(inner.prober.newest_loads()),
            latency: self.latency(&loaded.clients),
            asked: inner.dns_metrics.demand(),
        };
        let (standing, prices) = inner.moving.step(&tick);
        let took = monotonic().saturating_sub(started);
        let pops = loaded.config.pops.iter().map(|pop| pop.name.as_str());
        inner.metrics.balanced(pops.zip(prices.iter()));
        inner.metrics.stood(took, &standing);
        // Between the tick and here another configuration may have come into force; it has a standing
        // of its own.
        inner.publisher.standing(&loaded, standing, &self.teller());
        inner.moving.ticked.send_replace(true);
        inner.moving.is_to_save(started)
    }

    /// What is measured of the cells of these location data; nothing while it is being laid out
    /// anew for them.
    fn latency(&self, clients: &Arc<ClientMap>) -> Option<Arc<Latency>> {
        let measured = self.measured().map(|published| published.borrow().clone());
        let measured = measured.filter(|of| of.is_laid_out && Arc::ptr_eq(&of.clients, clients));
        measured.map(|of| of.latency)
    }

    /// Writes down what ticks remember. Waits for the disk.
    fn save_standing(&self) {
        let inner = &self.0;
        let writing = inner.moving.writing.lock();
        let _one = writing.unwrap_or_else(PoisonError::into_inner);
        let (mut kept, standing) = inner.moving.keeper().keep(monotonic().as_secs_f64());
        // Takes its time, and no tick waits for it.
        kept.rows = standing.keep();
        kept.loads = inner.prober.keep_loads();
        kept.written_s = wall_clock();
        let directory = &inner.booted.server.state_directory;
        let problem = file::write(directory, &kept).err();
        if problem.is_none() {
            inner.metrics.kept(kept.written_s);
        }
        let folder = directory.display();
        let told = |error| format!("the memory of steering cannot be kept in {folder}: {error}");
        let problem = problem.map(told);
        let before = self.condition(|condition| {
            std::mem::replace(&mut condition.standing_not_kept, problem.clone())
        });
        if let Some(problem) = problem.filter(|_| before.is_none()) {
            self.record(NewEvent::new(EventKind::Alarm, problem));
        }
    }

    /// The same, where others wait.
    pub(super) async fn keep_for_successor(&self) {
        let runtime = self.clone();
        let _ = tokio::task::spawn_blocking(move || runtime.save_standing()).await;
    }

    /// Goes on with what another process remembered, and publishes who served whom.
    pub(super) fn restore_standing(&self, kept: file::Kept) {
        let inner = &self.0;
        let (loaded, _) = inner.publisher.inputs();
        // A clock that went back meanwhile makes it no younger than it is.
        let age_s = Duration::from_secs(wall_clock().saturating_sub(kept.written_s));
        let then_s = monotonic().as_secs_f64() - age_s.as_secs_f64();
        let steering = &loaded.built.steering;
        let standing = {
            let mut keeper = inner.moving.keeper();
            keeper.restore(kept, &loaded.config, steering, then_s)
        };
        inner.moving.newest.store(standing.clone());
        inner.publisher.standing(&loaded, standing, &self.teller());
    }

    /// Takes up what the process before has written last: for a successor, just before it answers.
    pub(super) fn take_up(&self) {
        let directory = &self.0.booted.server.state_directory;
        let (kept, problem) = file::read(directory, wall_clock());
        if let Some(problem) = problem {
            self.record(NewEvent::new(EventKind::Alarm, problem));
        }
        if let Some(mut kept) = kept {
            self.0.prober.restore_loads(std::mem::take(&mut kept.loads));
            self.restore_standing(kept);
        }
    }

    /// The state in force with the newest standing: what explanations are made of.
    pub fn newest_view(&self) -> (Arc<ZoneSet>, Arc<Steering>, View) {
        let (loaded, health) = self.0.publisher.steered_by();
        let (zones, steering) = (loaded.built.zones.clone(), loaded.built.steering.clone());
        let made = health.made;
        let view = View::new(&steering, self.0.moving.newest(), health);
        if let Some(made) = made {
            #[allow(clippy::disallowed_methods)] // the server's clock
            view.grow_older(Instant::now().saturating_duration_since(made));
        }
        (zones, steering, view)
    }

    /// The standing with which a new state begins: worked out on a thread of its own.
    pub(super) async fn carried_over(
        &self,
        loaded: Arc<Loaded>,
        health: Arc<HealthSnapshot>,
    ) -> Arc<Standing> {
        let (runtime, none) = (self.clone(), Standing::none());
        let latency = self.latency(&loaded.clients);
        let work = move || runtime.0.moving.carried_over(&loaded, &health, latency);
        let done = tokio::task::spawn_blocking(work).await;
        // A panic in there must not take the server down: without it everyone follows the files.
        done.unwrap_or_else(|_| Arc::new(none))
    }

    /// Demand by cell, as far as it is known.
    pub fn demand(&self) -> DemandReport {
        let asked = self.0.moving.asked.load_full();
        let (loaded, _) = self.0.publisher.inputs();
        let cells = loaded.built.steering.clients().cells();
        let told = |one: &Asking| {
            let cell = cells.get(one.cell)?;
            let country = cell
                .country
                .map(|code| String::from_utf8_lossy(&code).into_owned());
            Some(CellDemand {
                latitude: cell.center.latitude,
                longitude: cell.center.longitude,
                country,
                client: one.client,
                queries: one.rate,
            })
        };
        DemandReport {
            per: "cell".to_owned(),
            cells: asked.iter().filter_map(told).collect(),
        }
    }
}

/// Seconds since the epoch: what is kept is dated with it.
pub(super) fn wall_clock() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}
