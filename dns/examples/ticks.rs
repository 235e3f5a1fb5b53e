//! What a whole tick costs: `cargo run --release -p meridian-dns --example ticks -- [SHAPE] [TICKS]`.
//!
//! 1,000 PoPs, 100 pools, 30,000 cells. Clients follow what is decided at once, and the loads are what they make. So
//! many ticks from a beginning without prices, then one after the failure of the most crowded PoP, then one after that
//! of ten more. Prints the processor time of the controller (questions to the model, gathering the market,
//! clearing it) and of the next standing.

mod shared;

use std::{error::Error, sync::Arc, time::Duration};

use meridian_config::Config;
use meridian_dns::steer::{
    Demand, Inputs, Standing, Steering,
    balance::{Balance, Market, Model, Price, Reading},
};
use meridian_geo_data::{ClientMap, latency::Latency};
use meridian_health_prober::HealthSnapshot;
use shared::{CELLS, Size, drained, mix, small, timed};

const SIZE: Size = Size {
    pops: 1_000,
    pools: 100,
    checks: 1,
};
/// Capacity of all PoPs that is asked for, as a part of what they are to carry at most.
const ASKED: f32 = 0.8;
/// Part of its capacity that a PoP is to carry.
const TARGET: f32 = 0.7;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.next();
    let ticks = arguments.next().and_then(|text| text.parse().ok());
    for shape in ["same", "allbut", "hundred"] {
        if wanted.as_deref().is_some_and(|wanted| wanted != shape) {
            continue;
        }
        let config = shared::config(SIZE, |pool, pop| match shape {
            "same" => true,
            "allbut" => pop != pool,
            _ => (pop + pool).is_multiple_of(10),
        })?;
        println!("\n{shape}: {SIZE:?}");
        World::new(&config)?.live(ticks.unwrap_or(12));
    }
    Ok(())
}

struct World<'a> {
    config: &'a Config,
    steering: Steering,
    demand: Arc<Demand>,
    capacities: Vec<f32>,
    balance: Balance,
    standing: Standing,
    now_s: f64,
}

/// A model that tells what it is asked, and how long that takes.
struct Timed<M> {
    model: M,
    questions: (usize, Duration),
    gathered: (usize, Duration),
}

impl<M: Model> Timed<M> {
    fn asked(&mut self, ask: impl FnOnce(&mut M) -> Vec<f32>) -> Vec<f32> {
        let (told, took) = timed(|| ask(&mut self.model));
        self.questions = (self.questions.0 + 1, self.questions.1 + took);
        told
    }
}

impl<M: Model> Model for Timed<M> {
    fn now(&mut self) -> Vec<f32> {
        self.asked(Model::now)
    }

    fn at(&mut self, prices: &[f32]) -> Vec<f32> {
        self.asked(|model| model.at(prices))
    }

    fn market(&mut self, prices: &[f32]) -> Market {
        let (market, took) = timed(|| self.model.market(prices));
        self.gathered = (self.gathered.0 + 1, self.gathered.1 + took);
        market
    }
}

impl<'a> World<'a> {
    fn new(config: &'a Config) -> Result<Self, Box<dyn Error>> {
        let steering = Steering::new(config, Arc::new(ClientMap::open(&config.geo)?));
        // A few cells ask for much of all.
        let cells = (0..CELLS).map(|n| 1000.0 / (1.0 + small(mix(n) % 1_000)));
        let mut world = Self {
            config,
            demand: Arc::new(Demand::new(cells.collect(), Vec::new(), Vec::new())),
            capacities: vec![1.0; config.pops.len()],
            balance: Balance::default(),
            standing: Standing::none(),
            now_s: 0.0,
            steering,
        };
        // Once with room for everybody, to know who would get how much.
        world.tick("everybody has room", &|_| false, 0.0);
        let asked = world.asked();
        let rough =
            |(n, asked): (u32, &f32)| asked.max(1e-3) * (0.3 + small(mix(n * 7) % 200) / 100.0);
        let rough: Vec<f32> = (0..).zip(&asked).map(rough).collect();
        let scale = asked.iter().sum::<f32>() / rough.iter().sum::<f32>() / ASKED / TARGET;
        world.capacities = rough.into_iter().map(|one| one * scale).collect();
        world.balance = Balance::default();
        Ok(world)
    }

    fn live(&mut self, ticks: u32) {
        for number in 1..=ticks {
            self.tick(&format!("tick {number}"), &|_| false, 1.0);
        }
        let asked = self.asked();
        let most = (0..asked.len()).max_by(|a, b| asked[*a].total_cmp(&asked[*b]));
        self.tick("one PoP fails", &|pop| Some(pop) == most, 1.0);
        self.tick("and then", &|pop| Some(pop) == most, 1.0);
        let is_down = |pop: usize| Some(pop) == most || pop % 100 == 7;
        self.tick("ten more fail", &is_down, 1.0);
        self.tick("and then", &is_down, 1.0);
    }

    /// What each PoP gets, as decided.
    fn asked(&self) -> Vec<f32> {
        let health = HealthSnapshot::default();
        let inputs = self.standing.inputs();
        self.standing.model(&self.steering, &health, inputs).now()
    }

    fn tick(&mut self, what: &str, is_down: &dyn Fn(usize) -> bool, load: f32) {
        self.now_s += 10.0;
        let health = drained(self.config, &HealthSnapshot::default(), is_down);
        let known = !self.standing.inputs().prices.is_empty();
        let carried = if known {
            self.asked()
        } else {
            vec![0.0; self.capacities.len()]
        };
        let each = carried.iter().zip(&self.capacities).enumerate();
        let readings: Vec<Reading> = each
            .map(|(pop, (carried, capacity))| Reading {
                ratio: Some(load * carried / capacity),
                target: TARGET,
                usable: !is_down(pop),
                ramp_s: 0.0,
                capacity: Some(*capacity),
                source: true,
            })
            .collect();
        let mut inputs = Inputs {
            latency: Arc::new(Latency::empty()),
            demand: self.demand.clone(),
            prices: self.standing.inputs().prices.clone(),
        };
        if !known {
            inputs.prices = vec![
                Price {
                    known: true,
                    own: true,
                    ..Price::NEUTRAL
                };
                readings.len()
            ]
            .into();
        }
        let mut model = Timed {
            model: self.standing.model(&self.steering, &health, &inputs),
            questions: (0, Duration::ZERO),
            gathered: (0, Duration::ZERO),
        };
        let (prices, all) = timed(|| self.balance.step(self.now_s, &readings, &mut model));
        let (questions, gathered) = (model.questions, model.gathered);
        inputs.prices = prices;
        let (next, standing) = timed(|| self.standing.next(&self.steering, &health, &inputs));
        self.standing = next;
        let then = self.asked();
        let fullest = then
            .iter()
            .zip(&self.capacities)
            .map(|(asked, capacity)| asked / capacity / TARGET);
        println!(
            "  {what:<20} {:>2} questions {:>8.1?}, {} gathered {:>8.1?}, cleared {:>8.1?}, standing {:>8.1?}; \
             fullest {:.3} of its target, moved {:.3}",
            questions.0,
            questions.1,
            gathered.0,
            gathered.1,
            all.saturating_sub(questions.1 + gathered.1),
            standing,
            fullest.fold(0.0, f32::max),
            self.standing.moved().moved,
        );
    }
}
