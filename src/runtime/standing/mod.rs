//! What moves with measurements: a tick every few seconds turns loads, latencies and demand into
//! prices and a standing, and publishes it when answers change.
//!
//! ```text
//! workers ─ samples ─→ book ─ demand ─┐
//! prober ─ loads ─→ readings ─→ balance ─ prices ─┼─→ Standing::next ─→ publish
//! measure ─ latency ──────────────────────────────┘
//! ```
//!
//! A tick runs on a thread of its own; queries see its result as one more snapshot. A changed verdict
//! is published at once with the standing that there is, and asks for a tick, which spreads the
//! clients of a lost PoP over the others.

mod book;
mod keeper;
mod readings;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use meridian_dns::steer::{Standing, Steering, View, balance::Prices};
use meridian_geo_data::{ClientMap, latency::Latency};
use meridian_health_prober::HealthSnapshot;
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::MissedTickBehavior};

use super::{Runtime, load::Loaded, monotonic};
use keeper::{Keeper, Tick};

/// Time between two ticks.
const TICK: Duration = Duration::from_secs(10);

/// Least time between two ticks, however many verdicts change.
const REST: Duration = Duration::from_millis(500);

/// What ticks remember, and what they last came to.
#[derive(Default)]
pub struct Moving {
    /// Locked for as long as a tick takes, by those who can wait.
    keeper: Mutex<Keeper>,
    wake: Notify,
    newest: ArcSwap<Standing>,
    asked: ArcSwap<Vec<Asking>>,
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
    pub fn carried_over(&self, loaded: &Loaded, health: &HealthSnapshot) -> Arc<Standing> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = keeper.carried_over(&loaded.config, &loaded.built.steering, health);
        self.newest.store(standing.clone());
        standing
    }

    fn step(&self, tick: &Tick) -> (Arc<Standing>, Prices) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = keeper.step(tick);
        self.newest.store(standing.clone());
        let asked = keeper.book().by_cell().into_iter();
        let asked = asked.map(|(cell, client, rate)| Asking { cell, client, rate });
        self.asked.store(Arc::new(asked.collect()));
        (standing, keeper.prices().clone())
    }
}

impl Runtime {
    /// Ticks until the server stops.
    pub(super) async fn keep_standing(self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.0.moving.wake.notified() => {}
            }
            let runtime = self.clone();
            if tokio::task::spawn_blocking(move || runtime.tick())
                .await
                .is_err()
            {
                tracing::error!(
                    "a tick of steering failed inside Meridian; answers stay as they are"
                );
            }
            tokio::time::sleep(REST).await;
        }
    }

    fn tick(&self) {
        let inner = &self.0;
        let (loaded, health) = inner.publisher.steered_by();
        let started = monotonic();
        let tick = Tick {
            now_s: started.as_secs_f64(),
            config: loaded.config.clone(),
            steering: loaded.built.steering.clone(),
            health,
            loads: inner.prober.loads().borrow().clone(),
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
    }

    /// What is measured of the cells of these location data; nothing while it is being laid out
    /// anew for them.
    fn latency(&self, clients: &Arc<ClientMap>) -> Arc<Latency> {
        let measured = self.measured().map(|published| published.borrow().clone());
        let measured = measured.filter(|of| Arc::ptr_eq(&of.clients, clients));
        measured.map_or_else(Arc::default, |of| of.latency)
    }

    /// The state in force with the newest standing: what explanations are made of.
    pub fn newest_view(&self) -> (Arc<Steering>, View) {
        let (loaded, health) = self.0.publisher.steered_by();
        let steering = loaded.built.steering.clone();
        let view = View::new(&steering, self.0.moving.newest(), health);
        (steering, view)
    }

    /// The standing with which a new state begins: worked out on a thread of its own.
    pub(super) async fn carried_over(
        &self,
        loaded: Arc<Loaded>,
        health: Arc<HealthSnapshot>,
    ) -> Arc<Standing> {
        let (runtime, none) = (self.clone(), Standing::none(&loaded.built.steering));
        let work = move || runtime.0.moving.carried_over(&loaded, &health);
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
