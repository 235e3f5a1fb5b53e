//! A world over time: what is decided, what resolvers keep, what is measured.

use meridian_dns::steer::balance::{Balance, Market, Model, Prices, Reading};

use crate::world::{Dice, World};

/// A world as the counters of queries see it.
struct Counted<'a> {
    world: &'a World,
    published: Prices,
    asked: usize,
}

impl Model for Counted<'_> {
    fn now(&mut self) -> Vec<f32> {
        self.world.counted()
    }

    fn at(&mut self, prices: &[f32]) -> Vec<f32> {
        self.asked += 1;
        self.world.modelled(prices, &self.published)
    }

    fn market(&mut self, prices: &[f32]) -> Market {
        self.asked += 1;
        self.world.market(prices, &self.published)
    }
}

/// A running simulation.
pub(crate) struct Run {
    pub(crate) world: World,
    pub(crate) balance: Balance,
    pub(crate) prices: Prices,
    pub(crate) tick: usize,
    /// Load ÷ capacity at each tick.
    pub(crate) loads: Vec<Vec<f64>>,
    /// Part of all clients that moved at each tick.
    pub(crate) moved: Vec<f64>,
    pub(crate) latency: Vec<f64>,
    /// Questions to the model at each tick.
    pub(crate) asked: Vec<usize>,
    dice: Dice,
}

impl Run {
    /// Starts without prices, all resolvers full with what that gives.
    pub(crate) fn new(world: World, seed: u64) -> Self {
        let mut run = Self {
            world,
            balance: Balance::default(),
            prices: [].into(),
            tick: 0,
            loads: Vec::new(),
            moved: Vec::new(),
            latency: Vec::new(),
            asked: Vec::new(),
            dice: Dice(seed),
        };
        run.world.decide(&vec![
            meridian_dns::steer::balance::Price::NEUTRAL;
            run.world.pops.len()
        ]);
        run.world.fill();
        run
    }

    pub(crate) fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.step();
        }
    }

    fn step(&mut self) {
        self.world.ask(self.tick);
        let loads = self.world.loads();
        let readings: Vec<Reading> = loads
            .iter()
            .zip(&self.world.pops)
            .map(|(load, pop)| {
                let noise = 1.0 + self.world.noise * self.dice.normal();
                let known = pop.known && pop.usable;
                Reading {
                    ratio: known.then_some((load * noise).max(0.0) as f32),
                    target: self.world.target as f32,
                    usable: pop.usable,
                    ramp_s: pop.ramp_s,
                    capacity: Some(pop.capacity as f32),
                    source: true,
                }
            })
            .collect();
        let now = (self.tick * crate::world::TICK_S) as f64;
        let mut model = Counted {
            world: &self.world,
            published: self.prices.clone(),
            asked: 0,
        };
        self.prices = self.balance.step(now, &readings, &mut model);
        self.asked.push(model.asked);
        self.moved.push(self.world.decide(&self.prices));
        self.latency.push(self.world.latency());
        self.loads.push(loads);
        self.tick += 1;
    }

    /// What the last `count` ticks were like.
    pub(crate) fn last(&self, count: usize) -> Stay {
        let from = self.loads.len() - count;
        let mut stay = Stay::default();
        let demand = |tick: &[f64]| -> f64 {
            let both = tick.iter().zip(&self.world.pops);
            both.map(|(load, pop)| load * pop.capacity).sum()
        };
        for pop in 0..self.world.pops.len() {
            if !self.world.pops[pop].usable {
                continue;
            }
            let loads: Vec<f64> = self.loads[from..].iter().map(|tick| tick[pop]).collect();
            let mean = loads.iter().sum::<f64>() / count as f64;
            let most = loads.iter().fold(0.0_f64, |most, one| most.max(*one));
            stay.mean = stay.mean.max(mean / self.world.target);
            stay.peak = stay.peak.max(most / self.world.target);
            let shares: Vec<f64> = self.loads[from..]
                .iter()
                .map(|tick| tick[pop] * self.world.pops[pop].capacity / demand(tick))
                .collect();
            let middle = shares.iter().sum::<f64>() / count as f64;
            // Shares below a thousandth of all are no shares.
            if middle > 1e-3 {
                let off = shares.iter().map(|share| (share - middle).abs() / middle);
                stay.unrest = stay.unrest.max(off.fold(0.0, f64::max));
                stay.turns = stay.turns.max(turns(&shares, 0.02 * middle));
            }
        }
        stay.latency = self.latency[from..].iter().sum::<f64>() / count as f64;
        stay
    }
}

/// Figures of a stretch of time; each the worst over all PoPs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stay {
    /// Mean load ÷ target.
    pub(crate) mean: f64,
    /// Highest load ÷ target.
    pub(crate) peak: f64,
    /// Farthest that a PoP's share was from its own mean, relative to it.
    pub(crate) unrest: f64,
    /// Times that a share turned round after moving by more than 2 %.
    pub(crate) turns: usize,
    /// Mean score without prices, ms.
    pub(crate) latency: f64,
}

/// How often a curve turns round after having gone farther than `far`.
fn turns(curve: &[f64], far: f64) -> usize {
    let (mut low, mut high, mut count) = (curve[0], curve[0], 0);
    let mut rising = None;
    for one in curve {
        (low, high) = (low.min(*one), high.max(*one));
        let (up, down) = (one - low > far, high - one > far);
        if (rising != Some(true) && up) || (rising != Some(false) && down) {
            count += usize::from(rising.is_some());
            rising = Some(up);
            (low, high) = (*one, *one);
        }
    }
    count
}
