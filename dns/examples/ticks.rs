//! What a whole tick costs: `cargo run --release -p meridian-dns --example ticks -- [SHAPE] [TICKS]`.
//!
//! 1,000 PoPs, 100 pools, 30,000 cells. Resolvers keep answers for 100 s, and the loads are what they make. So
//! many ticks from a beginning without prices, then some after the failure of the most crowded PoP, then some after that
//! of ten more. Prints the processor time of the controller (questions to the model, gathering the market,
//! clearing it) and of the next standing; of the search what the model says of the prices that it found, before any
//! limit of moving; and of what was decided how full the fullest PoP is with all rows, however many the model
//! looks at. Before that how little it could be by the largest flow from cells to the PoPs nearest to them.

mod shared;

use std::{collections::VecDeque, error::Error, sync::Arc, time::Duration};

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
/// Ticks for which resolvers keep an answer.
const KEPT: usize = 10;
/// Ticks after a failure.
const AFTER: u32 = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.next();
    let ticks = arguments.next().and_then(|text| text.parse().ok());
    for shape in ["same", "allbut", "hundred"] {
        if wanted.as_deref().is_some_and(|wanted| wanted != shape) {
            continue;
        }
        let is_in = |pool: u32, pop: u32| match shape {
            "same" => true,
            "allbut" => pop != pool,
            _ => (pop + pool).is_multiple_of(10),
        };
        let config = shared::config(SIZE, is_in)?;
        println!("\n{shape}: {SIZE:?}");
        let mut world = World::new(&config)?;
        for count in [2, 4, 8] {
            // Lists of all but one are as good as one of all.
            let lists = if shape == "hundred" { 10 } else { 1 };
            let is_in = |list, pop| shape != "hundred" || is_in(list, pop);
            world.tell_least(count, lists, is_in);
        }
        world.live(ticks.unwrap_or(12));
    }
    Ok(())
}

struct World<'a> {
    config: &'a Config,
    clients: Arc<ClientMap>,
    steering: Steering,
    demand: Arc<Demand>,
    capacities: Vec<f32>,
    /// Demand of all, as the model counts it.
    whole: f64,
    balance: Balance,
    standing: Standing,
    /// What was decided at the last ticks.
    decided: VecDeque<Vec<f32>>,
    now_s: f64,
}

/// What a cell asks: a few ask for much of all.
fn demand(cell: u32) -> f32 {
    1000.0 / (1.0 + small(mix(cell) % 1_000))
}

/// A model that tells what it is asked, and how long that takes.
struct Timed<'a, M> {
    model: M,
    capacities: &'a [f32],
    /// How full the fullest PoP was by each answer.
    fullest: Vec<f32>,
    questions: (usize, Duration),
    gathered: (usize, Duration),
}

impl<M: Model> Timed<'_, M> {
    fn asked(&mut self, ask: impl FnOnce(&mut M) -> Vec<f32>) -> Vec<f32> {
        let (told, took) = timed(|| ask(&mut self.model));
        self.questions = (self.questions.0 + 1, self.questions.1 + took);
        self.fullest.push(fullest(&told, self.capacities));
        told
    }
}

impl<M: Model> Model for Timed<'_, M> {
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
        let clients = Arc::new(ClientMap::open(&config.geo)?);
        let steering = Steering::new(config, clients.clone());
        let cells = (0..CELLS).map(demand);
        let mut world = Self {
            config,
            demand: Arc::new(Demand::new(cells.collect(), Vec::new(), Vec::new())),
            capacities: vec![1.0; config.pops.len()],
            whole: 0.0,
            balance: Balance::default(),
            standing: Standing::none(),
            decided: VecDeque::new(),
            now_s: 0.0,
            clients,
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
        world.whole = asked.iter().map(|one| f64::from(*one)).sum();
        (world.balance, world.decided) = (Balance::default(), VecDeque::from([asked]));
        Ok(world)
    }

    fn live(&mut self, ticks: u32) {
        for number in 1..=ticks {
            self.tick(&format!("tick {number}"), &|_| false, 1.0);
        }
        let asked = self.asked();
        let most = (0..asked.len()).max_by(|a, b| asked[*a].total_cmp(&asked[*b]));
        for number in 0..AFTER {
            self.tick(
                &format!("one PoP failed {number}"),
                &|pop| Some(pop) == most,
                1.0,
            );
        }
        let is_down = |pop: usize| Some(pop) == most || pop % 100 == 7;
        for number in 0..AFTER {
            self.tick(&format!("ten more failed {number}"), &is_down, 1.0);
        }
    }

    /// Tells how little the fullest PoP can have if each cell may use so many of its nearest PoPs.
    fn tell_least(&self, count: usize, lists: u32, is_in: impl Fn(u32, u32) -> bool) {
        let mut cells = Vec::new();
        for list in 0..lists {
            let pops: Vec<u32> = (0..SIZE.pops).filter(|pop| is_in(list, *pop)).collect();
            let cells_of = self.clients.cells().iter().take(CELLS as usize);
            let places = cells_of.map(|cell| (cell.center.latitude, cell.center.longitude));
            let each = (0..CELLS).zip(shared::nearest(places, &pops, count));
            let asked = |cell| f64::from(demand(cell)) / f64::from(lists);
            cells.extend(each.map(|(cell, near)| (asked(cell), near)));
        }
        let rooms = self.capacities.iter().map(|one| f64::from(one * TARGET));
        let rooms: Vec<f64> = rooms.collect();
        // The model counts in the same unit, but for what services have of it.
        let scale = self.whole / cells.iter().map(|(asked, _)| asked).sum::<f64>();
        cells.iter_mut().for_each(|(asked, _)| *asked *= scale);
        match shared::flow::fullest(&cells, &rooms) {
            Some(least) => println!(
                "  with the {count} nearest PoPs the fullest has at least {least:.2} of its target"
            ),
            None => println!("  with the {count} nearest PoPs some have no room at all"),
        }
    }

    /// What each PoP gets, as decided.
    fn asked(&self) -> Vec<f32> {
        let health = HealthSnapshot::default();
        let inputs = self.standing.inputs();
        let model = self.standing.model(&self.steering, &health, inputs);
        model.of_all_rows().now()
    }

    fn tick(&mut self, what: &str, is_down: &dyn Fn(usize) -> bool, load: f32) {
        self.now_s += 10.0;
        let health = drained(self.config, &HealthSnapshot::default(), is_down);
        let known = !self.standing.inputs().prices.is_empty();
        let mut carried = vec![0.0; self.capacities.len()];
        for decided in &self.decided {
            for (sum, one) in carried.iter_mut().zip(decided) {
                *sum += one / small(u32::try_from(self.decided.len()).unwrap_or(1));
            }
        }
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
        let (model, made) = timed(|| self.standing.model(&self.steering, &health, &inputs));
        let mut model = Timed {
            model,
            capacities: &self.capacities,
            fullest: Vec::new(),
            questions: (0, Duration::ZERO),
            gathered: (0, Duration::ZERO),
        };
        let (prices, all) = timed(|| self.balance.step(self.now_s, &readings, &mut model));
        let (questions, gathered) = (model.questions, model.gathered);
        // Of what is in force, of the beginning, and of what was found.
        let found = model.fullest.iter().skip(2).copied();
        let found = found.fold(f32::INFINITY, f32::min);
        inputs.prices = prices;
        let (next, standing) = timed(|| self.standing.next(&self.steering, &health, &inputs));
        self.standing = next;
        let then = self.asked();
        let full = fullest(&then, &self.capacities);
        self.decided.push_back(then);
        if self.decided.len() > KEPT {
            self.decided.pop_front();
        }
        let ms = |time: Duration| time.as_millis();
        println!(
            "  {what:<17} {} questions {:>4} ms, {} gathered {:>3} ms, cleared {:>4} ms, standing {:>4} ms, all {:>4} ms; \
             found {found:.3}, decided {full:.3} of the target, moved {:.3}",
            questions.0,
            ms(questions.1 + made),
            gathered.0,
            ms(gathered.1),
            ms(all.saturating_sub(questions.1 + gathered.1)),
            ms(standing),
            ms(all + made + standing),
            self.standing.moved().moved,
        );
    }
}

/// How full the fullest PoP is, as a part of its target.
fn fullest(asked: &[f32], capacities: &[f32]) -> f32 {
    let each = asked.iter().zip(capacities);
    each.map(|(asked, capacity)| asked / capacity / TARGET)
        .fold(0.0, f32::max)
}
