//! Where shares settle: the server's own controller, tick by tick, until they stay as they are.
//!
//! ```text
//! loads ─► Balance::step ─► prices ─► Standing::next ─► modelled demand ─► loads of the next tick
//!                  measured latency ─────┘
//! ```
//!
//! Only where something measured has a say: loads (a PoP with `load` and `capacity`, and the whole
//! demand known) or latencies; elsewhere every decision follows the configuration alone.
//!
//! There is an end in any case: an hour of simulated time, or so much work that nobody would wait
//! longer. What has not settled by then is told with the range in which it moved last.

use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
};

use meridian_config::PopId;
use meridian_dns::steer::{
    self, Inputs, Standing,
    balance::{Balance, Market, Model, Reading},
};
use meridian_geo_data::fold;
use meridian_health_prober::HealthSnapshot;
use serde::Serialize;

use super::{demand::Demand, world::World};
use crate::runtime::standing;

/// Seconds between two ticks, as the server has it.
const TICK_S: f64 = 10.0;

/// When it is left as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Ticks.
    pub(crate) ticks: u32,
    /// Rows decided or looked at, about.
    pub(crate) rows: u64,
}

/// After an hour, or after tens of seconds of work.
pub(crate) const BOUNDS: Bounds = Bounds {
    ticks: 360,
    rows: 30_000_000,
};

/// Ticks over which no change counts as settled: two minutes.
const STILL_TICKS: usize = 12;

/// A share of the whole demand that counts as no change.
const STILL: f64 = 0.000_5;

/// Ticks over which shares are watched: ten minutes.
const WATCHED: usize = 60;

/// Part of its own share by which a PoP may move up and down over that time and count as settled.
const NARROW: f64 = 0.03;

/// What the controller remembers from one tick to the next.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    balance: Balance,
    standing: Arc<Standing>,
    /// Names of the PoPs that the balance numbers.
    names: Vec<String>,
    now_s: f64,
}

/// Where it begins.
pub(crate) struct Beginning {
    /// Share of the demand by PoP.
    pub(crate) shares: Vec<f64>,
    /// The part of it that stays whatever is measured: services in the configured order, clients of
    /// whom nobody knows where they are.
    pub(crate) fixed: Vec<f64>,
    /// Part of the demand by number of the service.
    pub(crate) services: Vec<f32>,
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum Settling {
    /// Nothing measured has a say, or nobody knows it.
    #[default]
    Idle,
    /// Shares stay as they are: they changed by at most 0.05 % of the demand in two minutes, or by 3 %
    /// of themselves up and down in ten.
    Settled {
        /// Simulated seconds that it took.
        after_s: u32,
    },
    /// They do not.
    Unsettled {
        /// Simulated seconds that were looked at.
        after_s: u32,
        /// All the work that a plan may take was done before the hour was over.
        spent: bool,
        /// PoPs that moved more in the last ten minutes, the widest range first.
        ranges: Vec<Range>,
    },
}

/// Where the share of a PoP was in the last ten simulated minutes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Range {
    /// Its name.
    pub(crate) pop: String,
    /// Least share of the demand, 0 to 1.
    pub(crate) low: f64,
    /// Most.
    pub(crate) high: f64,
}

/// Shares by PoP over the last ticks.
#[derive(Default)]
struct Watched(VecDeque<Vec<f64>>);

impl Watched {
    fn push(&mut self, shares: &[f64]) {
        self.0.truncate(WATCHED - 1);
        self.0.push_front(shares.to_vec());
    }

    /// By PoP: the least and the most.
    fn ranges(&self, pops: usize) -> impl Iterator<Item = (f64, f64)> {
        self.latest(pops, WATCHED)
    }

    /// The same over the last so many.
    fn latest(&self, pops: usize, ticks: usize) -> impl Iterator<Item = (f64, f64)> {
        (0..pops).map(move |pop| {
            let of = |one: &Vec<f64>| one.get(pop).copied();
            let all = self.0.iter().take(ticks).filter_map(of);
            all.fold((f64::MAX, 0.0_f64), |(low, high), one| {
                (low.min(one), high.max(one))
            })
        })
    }

    /// Whether everyone stays where it is, since two minutes.
    fn is_still(&self, pops: usize) -> bool {
        let still = |(low, high): (f64, f64)| high - low <= STILL;
        self.0.len() > STILL_TICKS && self.latest(pops, STILL_TICKS + 1).all(still)
    }

    /// Whether everyone stays about where it is, over the whole time.
    fn is_calm(&self, pops: usize) -> bool {
        self.0.len() == WATCHED && self.ranges(pops).all(is_narrow)
    }

    /// Those who do not, the widest range first.
    fn restless(&self, names: &[String]) -> Vec<Range> {
        let all = names.iter().zip(self.ranges(names.len()));
        let wide = all.filter(|(_, range)| !is_narrow(*range));
        let mut wide: Vec<Range> = wide
            .map(|(pop, (low, high))| Range {
                pop: pop.clone(),
                low,
                high,
            })
            .collect();
        wide.sort_by(|a, b| (b.high - b.low).total_cmp(&(a.high - a.low)));
        wide
    }
}

/// Up and down by no more than a small part of the middle, or of everything.
fn is_narrow((low, high): (f64, f64)) -> bool {
    high - low <= (NARROW * (high + low)).max(STILL)
}

/// A model that counts what it is asked.
struct Counted<M> {
    model: M,
    questions: u64,
    /// Of each market that was gathered.
    looked: Vec<Rc<Cell<u64>>>,
}

impl<M: Model> Model for Counted<M> {
    fn now(&mut self) -> Vec<f32> {
        self.questions += 1;
        self.model.now()
    }

    fn at(&mut self, prices: &[f32]) -> Vec<f32> {
        self.questions += 1;
        self.model.at(prices)
    }

    fn market(&mut self, prices: &[f32]) -> Market {
        self.questions += 1;
        let market = self.model.market(prices);
        self.looked.push(market.looked());
        market
    }
}

/// Runs the controller on `world` until it settles, from where `course` left it (an earlier
/// configuration, perhaps), and gives what it remembers then. `begin`: who asks for what, and where
/// that leads at the beginning; `load`: the whole demand in the unit of the capacities, where loads have a say.
pub(crate) fn settle(
    world: &World,
    (demand, load): (&Demand, Option<f64>),
    course: Option<Course>,
    begin: Beginning,
    bounds: Bounds,
) -> (Course, Settling) {
    let health = out_of_service(world, None);
    let by_cell = Arc::new(by_cell(world, demand, begin.services));
    let mut course = match course {
        Some(course) => course.moved_to(world, &health, &by_cell),
        None => Course::new(world),
    };
    let shares_in = |course: &Course| course.shares(world, &health, &begin.fixed);
    let mut shares = shares_in(&course).unwrap_or(begin.shares);
    let mut watched = Watched::default();
    watched.push(&shares);
    let pops = world.config.pops.len();
    let targets = standing::targets(&world.config);
    let (mut rows, mut ticks) = (0, 0);
    while ticks < bounds.ticks && rows < bounds.rows {
        ticks += 1;
        let readings = readings(world, &targets, &shares, load);
        rows += course.tick(world, &health, &by_cell, &readings);
        let Some(next) = shares_in(&course) else {
            // Nothing follows what is measured.
            return (course, Settling::after(ticks));
        };
        shares = next;
        watched.push(&shares);
        if watched.is_still(pops) || watched.is_calm(pops) {
            return (course, Settling::after(ticks));
        }
    }
    let settled = Settling::Unsettled {
        after_s: seconds(ticks),
        spent: ticks < bounds.ticks,
        ranges: watched.restless(&course.names),
    };
    (course, settled)
}

impl Settling {
    fn after(ticks: u32) -> Self {
        Self::Settled {
            after_s: seconds(ticks),
        }
    }
}

/// Simulated.
fn seconds(ticks: u32) -> u32 {
    ticks.saturating_mul(10)
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
            standing: Arc::new(Standing::none()),
            names: names(world),
            now_s: 0.0,
        }
    }

    /// The same under another configuration: as after a reload or a verdict, who is where stays there at
    /// the prices of before, as far as that is possible.
    fn moved_to(
        self,
        world: &World,
        health: &HealthSnapshot,
        by_cell: &Arc<steer::Demand>,
    ) -> Self {
        let names = names(world);
        let known: HashMap<&str, usize> = self.names.iter().map(String::as_str).zip(0..).collect();
        let old = |pop: usize| known.get(names.get(pop)?.as_str()).copied();
        let prices = &self.standing.inputs().prices;
        let inputs = Inputs {
            prices: standing::renumbered(prices, &world.config, old),
            latency: world.latency.clone(),
            demand: by_cell.clone(),
        };
        let standing = self.standing.next(&world.steering, health, &inputs);
        Self {
            balance: self.balance.renumbered(names.len(), old),
            standing: Arc::new(standing),
            now_s: self.now_s,
            names,
        }
    }

    /// What it came to.
    pub(crate) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// Says how many rows were decided or looked at, about.
    fn tick(
        &mut self,
        world: &World,
        health: &HealthSnapshot,
        by_cell: &Arc<steer::Demand>,
        readings: &[Reading],
    ) -> u64 {
        self.now_s += TICK_S;
        let mut inputs = self.standing.inputs().clone();
        inputs.demand = by_cell.clone();
        inputs.latency = world.latency.clone();
        let model = self.standing.model(&world.steering, health, &inputs);
        let rows = model.rows() as u64;
        let mut model = Counted {
            model,
            questions: 0,
            looked: Vec::new(),
        };
        let prices = self.balance.step(self.now_s, readings, &mut model);
        let looked: u64 = model.looked.iter().map(|one| one.get()).sum();
        let asked = model.questions * rows;
        inputs.prices = prices;
        self.standing = Arc::new(self.standing.next(&world.steering, health, &inputs));
        looked + asked + self.standing.size().1 as u64
    }

    /// Share of the demand by PoP, with the `fixed` part of it; `None`: nobody follows what is measured.
    fn shares(&self, world: &World, health: &HealthSnapshot, fixed: &[f64]) -> Option<Vec<f64>> {
        let inputs: &Inputs = self.standing.inputs();
        let model = self.standing.model(&world.steering, health, inputs);
        let parts: Vec<f64> = { model }.now().into_iter().map(f64::from).collect();
        let is_any = parts.iter().sum::<f64>() > 0.0;
        is_any.then(|| parts.iter().zip(fixed).map(|(a, b)| a + b).collect())
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
fn readings(world: &World, targets: &[f64], shares: &[f64], load: Option<f64>) -> Vec<Reading> {
    let pops = (0..).map(PopId).zip(&world.config.pops).zip(targets);
    pops.map(|((id, pop), target)| {
        let share = shares.get(id.index()).copied().unwrap_or(0.0);
        let capacity = pop.capacity.filter(|_| pop.load.is_some());
        Reading {
            ratio: capacity
                .zip(load)
                .map(|(capacity, load)| (share * load / capacity) as f32),
            target: *target as f32,
            usable: world.is_in_service(id),
            // What is planned for is the time after a PoP has grown.
            ramp_s: 0.0,
            capacity: capacity.map(|capacity| capacity as f32),
            source: pop.load.is_some(),
        }
    })
    .collect()
}

/// Shares of the whole demand by cell of this world's geo data, and of its services: amounts can be larger,
/// or smaller, than the model has numbers for.
#[allow(clippy::cast_possible_truncation)]
fn by_cell(world: &World, demand: &Demand, services: Vec<f32>) -> steer::Demand {
    let clients = world.steering.clients();
    let mut sums = vec![0.0_f64; clients.cells().len()];
    for asker in &demand.askers {
        let found = clients.find(fold(asker.address).1);
        let cell = clients.place(found.place).0;
        if let Some(sum) = cell.and_then(|cell| sums.get_mut(cell.0 as usize)) {
            *sum += asker.amount / demand.total;
        }
    }
    let cells = sums.into_iter().map(|sum| sum as f32).collect();
    steer::Demand::new(cells, Vec::new(), services)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_by_little_is_calm_and_what_does_not_is_told() {
        let names = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let mut watched = Watched::default();
        for tick in 0..WATCHED {
            assert!(!watched.is_calm(3), "not for the whole time yet");
            assert!(!watched.is_still(3));
            let up = if tick % 2 == 0 { 0.01 } else { 0.0 };
            watched.push(&[0.39 + up, 0.6 - up, 0.01]);
        }
        assert!(watched.is_calm(3));
        watched.push(&[0.1, 0.6, 0.3]);
        assert!(!watched.is_calm(3));
        let told = watched.restless(&names);
        let range = |pop: &str, low, high| Range {
            pop: pop.to_owned(),
            low,
            high,
        };
        assert_eq!(told, [range("a", 0.1, 0.4), range("c", 0.01, 0.3)]);
        assert_eq!(watched.0.len(), WATCHED);
    }

    #[test]
    fn a_slow_drift_is_not_still() {
        let (mut drift, mut rest) = (Watched::default(), Watched::default());
        for tick in 0..30 {
            let gone = f64::from(tick) * 0.9 * STILL;
            drift.push(&[0.9 - gone, 0.1 + gone]);
            rest.push(&[0.9, 0.1]);
            assert!(!drift.is_still(2), "{tick}");
            assert_eq!(rest.is_still(2), tick >= 12);
        }
    }
}
