//! A server over time: who asks, what is decided, what is kept, what is read.

use std::{sync::Arc, time::SystemTime};

use meridian_config::PopId;
use meridian_dns::{
    metrics::Asked,
    steer::{Standing, View, decide},
};
use meridian_geo_data::latency::Latency;
use meridian_health_prober::{
    EndpointHealth, GroupKey, HealthSnapshot, LoadState, Loads, PopHealth, PopLoad, Verdict,
};

use super::world::{Dice, World, in_second};
use crate::runtime::standing::keeper::{Keeper, Tick};

/// Seconds of a tick.
const TICK_S: usize = 10;

/// Part of the clients that a tick says it moved, from which on all are asked for.
const LOOKED_AT: f64 = 0.03;

/// What clients were told; `None`: the anycast address.
type Told = Option<PopId>;

/// A running server with its clients.
pub(super) struct Run {
    pub(super) world: World,
    keeper: Keeper,
    standing: Arc<Standing>,
    health: Arc<HealthSnapshot>,
    pub(super) tick: usize,
    /// By crowd, what its resolver keeps.
    kept: Vec<Told>,
    /// Load ÷ capacity at each tick.
    pub(super) loads: Vec<Vec<f64>>,
    /// Part of all clients whose answer changed at each tick.
    pub(super) moved: Vec<f64>,
    dice: Dice,
}

impl Run {
    /// Begins with what is decided while nothing is measured.
    pub(super) fn new(world: World) -> Self {
        let mut run = Self {
            keeper: Keeper::default(),
            standing: Arc::default(),
            health: Arc::default(),
            tick: 0,
            kept: Vec::new(),
            loads: Vec::new(),
            moved: Vec::new(),
            dice: Dice(7),
            world,
        };
        run.kept = run.decided(&(0..run.world.crowds.len()).collect::<Vec<_>>());
        run
    }

    pub(super) fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.step();
        }
    }

    fn step(&mut self) {
        let asked = self.ask();
        let loads = self.truly();
        let tick = Tick {
            now_s: (self.tick * TICK_S) as f64,
            config: self.world.loaded.config.clone(),
            steering: self.world.loaded.built.steering.clone(),
            health: self.health.clone(),
            loads: Arc::new(self.read(&loads)),
            latency: Some(Arc::new(Latency::empty())),
            asked,
        };
        self.loads.push(loads);
        let standing = self.keeper.step(&tick);
        let before = std::mem::replace(&mut self.standing, standing);
        self.moved.push(self.moved_since(&before));
        self.tick += 1;
    }

    /// Resolvers whose answers are over ask anew.
    fn ask(&mut self) -> Vec<Asked> {
        let asks = |at: &usize| {
            let crowd = &self.world.crowds[*at];
            self.tick % crowd.kept == crowd.phase
        };
        let asking: Vec<usize> = (0..self.world.crowds.len()).filter(asks).collect();
        let told = self.decided(&asking);
        for (at, told) in asking.iter().zip(told) {
            self.kept[*at] = told;
        }
        let asked = asking.iter().map(|at| &self.world.crowds[*at]);
        asked
            .map(|crowd| Asked {
                service: crowd.service,
                client: crowd.client.address,
                answers: 1.0,
            })
            .collect()
    }

    /// What some are told at this moment.
    fn decided(&self, crowds: &[usize]) -> Vec<Told> {
        self.told_by(&self.standing, crowds)
    }

    fn told_by(&self, standing: &Arc<Standing>, crowds: &[usize]) -> Vec<Told> {
        let steering = &self.world.loaded.built.steering;
        let view = View::new(steering, standing.clone(), self.health.clone());
        let crowds = crowds.iter().map(|at| &self.world.crowds[*at]);
        let one = crowds.map(|one| decide(steering, &view, one.service, &one.client, one.family));
        one.map(|decision| decision.pop).collect()
    }

    /// What part of the clients are told otherwise than under the standing before: looked at where a tick
    /// says that it moved many.
    fn moved_since(&self, before: &Arc<Standing>) -> f64 {
        let told = f64::from(self.standing.moved().moved);
        if told < LOOKED_AT {
            return told;
        }
        let all: Vec<usize> = (0..self.world.crowds.len()).collect();
        let (old, new) = (
            self.told_by(before, &all),
            self.told_by(&self.standing, &all),
        );
        // As a server sees them: by how often they ask.
        let asks = |at: usize| 1.0 / self.world.crowds[at].kept as f64;
        let moved = all.iter().filter(|at| old[**at] != new[**at]);
        moved.map(|at| asks(*at)).sum::<f64>() / all.iter().map(|at| asks(*at)).sum::<f64>()
    }

    /// Load ÷ capacity of every PoP as resolvers have it. Anycast leads to the nearest.
    pub(super) fn truly(&self) -> Vec<f64> {
        let mut demand = vec![0.0; self.world.pops()];
        for (told, crowd) in self.kept.iter().zip(&self.world.crowds) {
            demand[told.unwrap_or(crowd.nearest).index()] += crowd.demand;
        }
        let both = demand.iter().zip(&self.world.capacity);
        both.map(|(demand, capacity)| demand / capacity).collect()
    }

    /// The same as sources tell it, with 2 % of noise. Who is dead tells nothing.
    fn read(&mut self, loads: &[f64]) -> Loads {
        let pops = self.world.loaded.config.pops.iter().zip(loads);
        let mut all = Loads::default();
        for (pop, load) in pops {
            let ratio = load * self.dice.real(0.98, 1.02);
            let load = PopLoad {
                state: LoadState::Fresh,
                ratio: Some(ratio),
                value: None,
                capacity: pop.capacity,
                what: "value".into(),
                source: "push".into(),
                at: Some(SystemTime::UNIX_EPOCH),
                age: None,
                problem: None,
            };
            let dead = self.health.groups.iter().any(|(key, health)| {
                key.pop == pop.name && key.check == "web" && !health.verdict.is_usable()
            });
            if !dead {
                all.insert(pop.name.clone(), load);
            }
        }
        all
    }

    /// Verdicts Down of these PoPs by these checks; everything else is Up.
    pub(super) fn down(&mut self, pops: &[usize], checks: &[&str]) {
        let mut health = HealthSnapshot::default();
        for (at, pop) in self.world.loaded.config.pops.iter().enumerate() {
            for check in ["web", "api"] {
                let down = pops.contains(&at) && checks.contains(&check);
                let verdict = if down { Verdict::Down } else { Verdict::Up };
                let endpoints = pop.endpoints.iter().map(|address| EndpointHealth {
                    address: *address,
                    verdict,
                    reason: String::new(),
                    since: None,
                    rtt: None,
                    flips_in: None,
                    checks: Vec::new(),
                });
                let told = PopHealth {
                    verdict,
                    reason: String::new(),
                    since: None,
                    flips_in: None,
                    took: None,
                    endpoints: endpoints.collect(),
                };
                let (pop, check) = (pop.name.clone(), check.to_owned());
                health.groups.insert(GroupKey { pop, check }, told);
            }
        }
        self.health = Arc::new(health);
    }

    /// What the last `count` ticks were like, of PoPs that are not left out.
    pub(super) fn last(&self, count: usize, without: &[usize]) -> Stay {
        let window = &self.loads[self.loads.len() - count..];
        let mut stay = Stay::default();
        let capacity = &self.world.capacity;
        for pop in (0..self.world.pops()).filter(|pop| !without.contains(pop)) {
            let target = self.world.target[pop];
            let loads = || window.iter().map(|tick| tick[pop] / target);
            let mean = loads().sum::<f64>() / count as f64;
            stay.mean = stay.mean.max(mean);
            stay.peak = stay.peak.max(loads().fold(0.0, f64::max));
            let shares = window.iter().map(|tick| {
                let all: f64 = tick
                    .iter()
                    .zip(capacity)
                    .map(|(load, size)| load * size)
                    .sum();
                tick[pop] * capacity[pop] / all
            });
            let shares: Vec<f64> = shares.collect();
            let middle = shares.iter().sum::<f64>() / count as f64;
            // Of a PoP with a handful of blocks one is more than 3 %.
            if middle * self.world.crowds.len() as f64 > 60.0 {
                let off = shares.iter().map(|share| (share - middle).abs() / middle);
                stay.unrest = stay.unrest.max(off.fold(0.0, f64::max));
                stay.turns = stay.turns.max(turns(&shares, 0.02 * middle));
            }
        }
        stay
    }

    /// PoPs that are nearly full of clients whom no price moves.
    pub(super) fn led_full(&self) -> Vec<usize> {
        let mut led = vec![0.0; self.world.pops()];
        let crowds = self.world.crowds.iter();
        for crowd in crowds.filter(|crowd| crowd.service.index() == 1) {
            led[crowd.nearest.index()] += crowd.demand;
        }
        let room = |pop: usize| self.world.capacity[pop] * self.world.target[pop];
        (0..led.len())
            .filter(|pop| led[*pop] > 0.9 * room(*pop))
            .collect()
    }

    pub(super) fn busiest(&self) -> usize {
        let load = |pop: &usize| self.truly()[*pop] * self.world.capacity[*pop];
        let pops = 0..self.world.pops();
        pops.max_by(|a, b| load(a).total_cmp(&load(b))).unwrap()
    }

    /// The same among those that answer both services.
    pub(super) fn busiest_of_both(&self) -> usize {
        let load = |pop: &usize| self.truly()[*pop] * self.world.capacity[*pop];
        let pops = (0..self.world.pops()).filter(|pop| in_second(*pop));
        pops.max_by(|a, b| load(a).total_cmp(&load(b))).unwrap()
    }

    /// Crowds that were told a PoP last.
    pub(super) fn clients_of(&self, pop: usize) -> Vec<usize> {
        let is_there = |at: &usize| self.kept[*at].is_some_and(|told| told.index() == pop);
        (0..self.kept.len()).filter(is_there).collect()
    }

    /// What part of these crowds' demand each PoP has.
    pub(super) fn now_at(&self, crowds: &[usize]) -> Vec<f64> {
        let demand = |at: &usize| self.world.crowds[*at].demand;
        let whole: f64 = crowds.iter().map(demand).sum();
        let mut parts = vec![0.0; self.world.pops()];
        for at in crowds {
            if let Some(told) = self.kept[*at] {
                parts[told.index()] += demand(at) / whole;
            }
        }
        parts
    }

    pub(super) fn prices(&self) -> Vec<f32> {
        self.keeper
            .prices()
            .iter()
            .map(|one| one.price_ms)
            .collect()
    }
}

/// Figures of a stretch of time; each the worst over all PoPs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stay {
    /// Mean load ÷ target.
    pub(super) mean: f64,
    /// Highest load ÷ target.
    pub(super) peak: f64,
    /// Farthest that a PoP's share was from its own mean, relative to it.
    pub(super) unrest: f64,
    /// Times that a share turned round after moving by more than 2 %.
    pub(super) turns: usize,
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
