//! Where prices settle: the server's own controller, tick by tick, until loads stay as they are.
//!
//! ```text
//! loads ─► Balance::step ─► prices ─► Standing::next ─► modelled demand ─► loads of the next tick
//! ```
//!
//! Only where the configuration gives loads a say (a PoP with `load` and `capacity`) and the whole
//! demand is known; elsewhere every decision follows the configuration alone.

use std::sync::Arc;

use meridian_config::PopId;
use meridian_dns::steer::{
    self, Inputs, Standing, Steering,
    balance::{Balance, Reading},
};
use meridian_geo_data::fold;
use meridian_health_prober::HealthSnapshot;

use super::{demand::Demand, world::World};

/// Seconds between two ticks, as the server has it.
const TICK_S: f64 = 10.0;

/// Ticks after which it is left as it is: two hours, fewer where a tick takes long.
const MOST_TICKS: usize = 720;

/// Ticks looked at in any case: ten minutes.
const LEAST_TICKS: usize = 60;

/// Cells times ticks, about.
const MOST_CELLS: usize = 3_000_000;

/// Ticks without change that count as settled.
const STILL_TICKS: u32 = 12;

/// A share of the whole demand that counts as no change.
const STILL: f64 = 0.000_5;

/// What the controller remembers from one tick to the next.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    balance: Balance,
    standing: Arc<Standing>,
    /// Names of the PoPs that the balance numbers.
    names: Vec<String>,
    now_s: f64,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Loads have no say, or nobody knows them.
    Idle,
    /// After so many ticks.
    After(u32),
    /// Not within so many ticks.
    Not(u32),
}

impl Settled {
    /// For scripts: the word, and simulated seconds.
    pub(crate) fn told(self) -> (&'static str, Option<u32>) {
        match self {
            Self::Idle => ("idle", None),
            Self::After(ticks) => ("settled", Some(ticks * 10)),
            Self::Not(ticks) => ("unsettled", Some(ticks * 10)),
        }
    }
}

/// Runs the controller on `world` until it settles, from where `course` left it (an earlier
/// configuration, perhaps), and gives what it remembers then. `initial`: share of the demand by PoP
/// at the beginning; `load`: the whole demand in the unit of the capacities.
pub(crate) fn settle(
    world: &World,
    demand: &Demand,
    load: f64,
    course: Option<Course>,
    initial: Vec<f64>,
) -> (Course, Settled) {
    let steering = &world.steering;
    let health = out_of_service(world, None);
    let by_cell = Arc::new(by_cell(world, demand));
    let mut course = course.map_or_else(|| Course::new(world), |course| course.moved_to(world));
    let mut shares = initial;
    let mut still = 0;
    let cells = steering.clients().cells().len().max(1);
    let most = (MOST_CELLS / cells).clamp(LEAST_TICKS, MOST_TICKS);
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    for tick in 1..=most {
        course.tick(world, &health, &by_cell, &readings(world, &shares, load));
        let next = course.modelled(steering, &health);
        if next.iter().sum::<f64>() <= 0.0 {
            // Nothing follows loads.
            return (course, Settled::After(tick));
        }
        let change = next
            .iter()
            .zip(&shares)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        still = if change < STILL { still + 1 } else { 0 };
        shares = next;
        if still >= STILL_TICKS {
            return (course, Settled::After(tick));
        }
    }
    (course, Settled::Not(most))
}

/// The standing right after one more PoP has failed, before prices move: the server makes it at
/// once after a verdict.
pub(crate) fn after_failure(world: &World, standing: &Standing, pop: PopId) -> Arc<Standing> {
    let health = out_of_service(world, Some(pop));
    Arc::new(standing.next(&world.steering, &health, &standing.inputs().clone()))
}

impl Course {
    fn new(world: &World) -> Self {
        Self {
            balance: Balance::default(),
            standing: Arc::new(Standing::none(&world.steering)),
            names: names(world),
            now_s: 0.0,
        }
    }

    /// The same under another configuration.
    fn moved_to(self, world: &World) -> Self {
        let names = names(world);
        let old = |pop: usize| {
            let name = names.get(pop)?;
            self.names.iter().position(|old| old == name)
        };
        Self {
            balance: self.balance.renumbered(names.len(), old),
            standing: self.standing,
            now_s: self.now_s,
            names,
        }
    }

    /// What it came to.
    pub(crate) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    fn tick(
        &mut self,
        world: &World,
        health: &HealthSnapshot,
        by_cell: &Arc<steer::Demand>,
        readings: &[Reading],
    ) {
        self.now_s += TICK_S;
        let mut inputs = self.standing.inputs().clone();
        inputs.demand = by_cell.clone();
        let prices = {
            let mut model = self.standing.model(&world.steering, health, &inputs);
            self.balance
                .step(self.now_s, readings, &mut |prices| model.demand(prices))
        };
        inputs.prices = prices;
        self.standing = Arc::new(self.standing.next(&world.steering, health, &inputs));
    }

    /// Share of the demand by PoP.
    fn modelled(&self, steering: &Steering, health: &HealthSnapshot) -> Vec<f64> {
        let inputs: &Inputs = self.standing.inputs();
        let prices: Vec<f32> = inputs.prices.iter().map(|price| price.price_ms).collect();
        let demand = self
            .standing
            .model(steering, health, inputs)
            .demand(&prices);
        let sum: f64 = demand.iter().copied().map(f64::from).sum();
        let share = |part: f32| {
            if sum > 0.0 {
                f64::from(part) / sum
            } else {
                0.0
            }
        };
        demand.into_iter().map(share).collect()
    }
}

fn names(world: &World) -> Vec<String> {
    world
        .config
        .pops
        .iter()
        .map(|pop| pop.name.clone())
        .collect()
}

/// Health in which nobody out of service is chosen.
fn out_of_service(world: &World, also: Option<PopId>) -> HealthSnapshot {
    let ids = (0..).map(PopId).take(world.config.pops.len());
    let gone = ids.filter(|pop| !world.is_in_service(*pop) || also == Some(*pop));
    world.drained_health(gone)
}

// Loads are far from what f32 cannot hold.
#[allow(clippy::cast_possible_truncation)]
fn readings(world: &World, shares: &[f64], load: f64) -> Vec<Reading> {
    let pops = (0..).map(PopId).zip(&world.config.pops);
    pops.map(|(id, pop)| {
        let share = shares.get(id.index()).copied().unwrap_or(0.0);
        let capacity = pop.capacity.filter(|_| pop.load.is_some());
        Reading {
            ratio: capacity.map(|capacity| (share * load / capacity) as f32),
            target: world.target_load() as f32,
            usable: world.is_in_service(id),
            // What is planned for is the time after a PoP has grown.
            ramp_s: 0.0,
            capacity: capacity.map(|capacity| capacity as f32),
        }
    })
    .collect()
}

/// Amounts by cell of this world's geo data.
#[allow(clippy::cast_possible_truncation)]
fn by_cell(world: &World, demand: &Demand) -> steer::Demand {
    let clients = world.steering.clients();
    let mut sums = vec![0.0_f64; clients.cells().len()];
    for asker in &demand.askers {
        let found = clients.find(fold(asker.address).1);
        let cell = clients.place(found.place).0;
        if let Some(sum) = cell.and_then(|cell| sums.get_mut(cell.0 as usize)) {
            *sum += asker.amount;
        }
    }
    let cells = sums.into_iter().map(|sum| sum as f32).collect();
    steer::Demand::new(cells, Vec::new(), Vec::new())
}
