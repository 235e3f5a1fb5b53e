//! Prices of a large configuration are found within a few ticks, whose work is counted in rows: 300 PoPs in
//! 20 lists, more rows than a market has. `dns/examples/ticks.rs` measures larger ones.
#![allow(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a simulation"
)]

use std::{
    cell::Cell, collections::VecDeque, fmt::Write as _, fs, rc::Rc, sync::Arc, time::SystemTime,
};

use meridian_config::Config;
use meridian_dns::steer::{
    Demand, Inputs, Standing, Steering,
    balance::{Balance, Market, Model, Price, Reading},
};
use meridian_geo_data::{ClientMap, latency::Latency};
use meridian_health_prober::{HealthSnapshot, Override, OverrideKind};

const POPS: u32 = 300;
const LISTS: u32 = 20;
const CELLS: u32 = 2_200;
/// Part of what all may carry that is asked for, and part of its capacity that a PoP may.
const ASKED: f32 = 0.8;
const TARGET: f32 = 0.7;
/// Ticks for which resolvers keep an answer.
const KEPT: usize = 10;

/// How full the fullest PoP may be where all targets are kept, as a part of its target.
const KEPT_WITHIN: f32 = 1.01;
/// Rows that may be looked at in a tick, and in one after a failure: what a search may and what its last part
/// takes, for a market of 40,000.
const MOST_ROWS: u64 = 2_000_000 + 2 * 20 * 40_000;
const MOST_ROWS_FAILED: u64 = 4_000_000 + 4 * 20 * 40_000;

/// Spreads numbers.
fn mix(n: u32) -> u32 {
    let n = (n ^ (n >> 16)).wrapping_mul(0x85eb_ca6b);
    let n = (n ^ (n >> 13)).wrapping_mul(0xc2b2_ae35);
    n ^ (n >> 16)
}

fn place(n: u32) -> (f64, f64) {
    let lat = -35.0 + 95.0 * (f64::from(n) * 0.754_877_666).fract();
    let lon = -180.0 + 360.0 * (f64::from(n) * 0.618_033_988_75).fract();
    (lat, lon)
}

/// Each list has all PoPs but every twentieth, another one each.
fn config() -> Config {
    let mut text = String::from("[check.c]\ntype = \"tcp\"\nport = 80\n");
    for n in 0..CELLS {
        let ((lat, lon), (high, low)) = (place(n), (n / 256, n % 256));
        let prefix = format!("20.{high}.{low}.0/24");
        write!(text, "[[geo.network]]\nprefix = \"{prefix}\"\n").unwrap();
        write!(text, "latitude = {lat:.3}\nlongitude = {lon:.3}\n").unwrap();
    }
    for n in 0..POPS {
        let ((lat, lon), (high, low)) = (place(n * 31 + 7), (n / 200, n % 200 + 1));
        write!(
            text,
            "[[pop]]\nname = \"p{n}\"\nlatitude = {lat:.3}\nlongitude = {lon:.3}\n"
        )
        .unwrap();
        writeln!(
            text,
            "endpoints = [\"198.18.{high}.{low}\", \"2001:db8::{n:x}\"]"
        )
        .unwrap();
        text += "load = { push = true }\ncapacity = 1000\n";
    }
    let mut services = String::from("[[zone]]\nname = \"example\"\nfile = \"example.zone\"\n");
    for list in 0..LISTS {
        let pops = (0..POPS).filter(|pop| pop % LISTS != list);
        let names: Vec<String> = pops.map(|pop| format!("\"p{pop}\"")).collect();
        let names = names.join(",");
        write!(
            text,
            "[[pool]]\nname = \"q{list}\"\ncheck = \"c\"\npops = [{names}]\n"
        )
        .unwrap();
        write!(
            services,
            "[[zone.service]]\nname = \"s{list}\"\npool = \"q{list}\"\n"
        )
        .unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("meridian.toml");
    fs::write(&file, text + &services).unwrap();
    fs::write(folder.path().join("example.zone"), "").unwrap();
    meridian_config::load(&file).unwrap()
}

/// A model that notes how full the fullest PoP is by each answer, and the rows that are looked at.
struct Noted<'a, M> {
    model: M,
    capacities: &'a [f32],
    fullest: Vec<f32>,
    looked: Rc<Cell<u64>>,
}

impl<M: Model> Model for Noted<'_, M> {
    fn now(&mut self) -> Vec<f32> {
        self.model.now()
    }

    fn at(&mut self, prices: &[f32]) -> Vec<f32> {
        let told = self.model.at(prices);
        self.fullest.push(fullest(&told, self.capacities));
        told
    }

    fn market(&mut self, prices: &[f32]) -> Market {
        let market = self.model.market(prices);
        self.looked = market.looked();
        market
    }
}

fn fullest(asked: &[f32], capacities: &[f32]) -> f32 {
    let each = asked.iter().zip(capacities);
    each.map(|(asked, capacity)| asked / capacity / TARGET)
        .fold(0.0, f32::max)
}

struct World {
    config: Config,
    steering: Steering,
    demand: Arc<Demand>,
    capacities: Vec<f32>,
    down: Vec<bool>,
    balance: Balance,
    standing: Standing,
    /// What was decided at the last ticks.
    decided: VecDeque<Vec<f32>>,
    now_s: f64,
}

/// What a tick came to.
#[derive(Debug)]
struct Told {
    /// How full the fullest PoP is by the best prices that were found, and as decided.
    found: f32,
    decided: f32,
    looked: u64,
}

impl World {
    fn new() -> Self {
        let config = config();
        let clients = Arc::new(ClientMap::open(&config.geo).unwrap());
        // A few cells ask for much of all.
        let cells = (0..CELLS).map(|n| 1000.0 / (1.0 + (mix(n) % 100) as f32));
        let mut world = Self {
            steering: Steering::new(&config, clients),
            config,
            demand: Arc::new(Demand::new(cells.collect(), Vec::new(), Vec::new())),
            capacities: Vec::new(),
            down: vec![false; POPS as usize],
            balance: Balance::default(),
            standing: Standing::none(),
            decided: VecDeque::new(),
            now_s: 0.0,
        };
        let free = Price {
            known: true,
            own: true,
            ..Price::NEUTRAL
        };
        let inputs = world.inputs(vec![free; POPS as usize].into());
        world.standing = world
            .standing
            .next(&world.steering, &world.health(), &inputs);
        let asked = world.asked();
        let rough =
            |(n, asked): (u32, &f32)| asked.max(1.0) * (0.3 + (mix(n * 7) % 200) as f32 / 100.0);
        let rough: Vec<f32> = (0..).zip(&asked).map(rough).collect();
        let scale = asked.iter().sum::<f32>() / rough.iter().sum::<f32>() / ASKED / TARGET;
        world.capacities = rough.into_iter().map(|one| one * scale).collect();
        world.decided.push_back(asked);
        world
    }

    fn health(&self) -> HealthSnapshot {
        let mut health = HealthSnapshot::default();
        let both = self.config.pops.iter().zip(&self.down);
        for (pop, _) in both.filter(|(_, is_down)| **is_down) {
            let word = Override {
                kind: OverrideKind::Drain,
                reason: String::new(),
                since: SystemTime::UNIX_EPOCH,
                until: None,
            };
            health.overrides.insert(pop.name.clone(), word);
        }
        health
    }

    fn inputs(&self, prices: Arc<[Price]>) -> Inputs {
        Inputs {
            latency: Arc::new(Latency::empty()),
            demand: self.demand.clone(),
            prices,
        }
    }

    /// What each PoP gets as decided, by all rows.
    fn asked(&self) -> Vec<f32> {
        let inputs = self.standing.inputs();
        let model = self.standing.model(&self.steering, &self.health(), inputs);
        model.of_all_rows().now()
    }

    fn tick(&mut self) -> Told {
        self.now_s += 10.0;
        let mut carried = vec![0.0; self.capacities.len()];
        for (sum, one) in self.decided.iter().flat_map(|one| one.iter().enumerate()) {
            carried[sum] += one / self.decided.len() as f32;
        }
        let reading = |pop: usize| Reading {
            ratio: Some(carried[pop] / self.capacities[pop]),
            target: TARGET,
            usable: !self.down[pop],
            ramp_s: 0.0,
            capacity: Some(self.capacities[pop]),
            source: true,
        };
        let readings: Vec<Reading> = (0..self.capacities.len()).map(reading).collect();
        let mut inputs = self.inputs(self.standing.inputs().prices.clone());
        let health = self.health();
        let mut model = Noted {
            model: self.standing.model(&self.steering, &health, &inputs),
            capacities: &self.capacities,
            fullest: Vec::new(),
            looked: Rc::default(),
        };
        let prices = self.balance.step(self.now_s, &readings, &mut model);
        let (fullest_at, looked) = (model.fullest, model.looked.get());
        inputs.prices = prices;
        self.standing = self.standing.next(&self.steering, &health, &inputs);
        let then = self.asked();
        let decided = fullest(&then, &self.capacities);
        self.decided.push_back(then);
        if self.decided.len() > KEPT {
            self.decided.pop_front();
        }
        Told {
            found: fullest_at.into_iter().fold(f32::INFINITY, f32::min),
            decided,
            looked,
        }
    }
}

/// Ticks that it takes at least to move everybody who is above a target, where a step moves 2 % of all.
fn least_ticks(asked: &[f32], capacities: &[f32]) -> usize {
    let each = asked.iter().zip(capacities);
    let above = each.map(|(asked, capacity)| (asked - capacity * TARGET).max(0.0));
    let part = above.sum::<f32>() / asked.iter().sum::<f32>();
    (1..).find(|ticks| *ticks as f32 * 0.02 >= part).unwrap()
}

/// The search has found what it looks for at once, and what is decided is there a few ticks after the
/// limit of who may move lets it.
#[test]
fn a_large_configuration_is_cleared_within_a_few_ticks() {
    let mut world = World::new();
    let least = least_ticks(&world.asked(), &world.capacities);
    assert!((5..=10).contains(&least), "{least} ticks make no such test");
    let mut told = Vec::new();
    while told
        .last()
        .is_none_or(|told: &Told| told.decided > KEPT_WITHIN)
    {
        let one = world.tick();
        assert!(
            one.found <= KEPT_WITHIN && one.looked <= MOST_ROWS,
            "{one:?}"
        );
        told.push(one);
        assert!(
            told.len() <= least + 4,
            "{least} ticks are needed: {told:?}"
        );
    }
    let asked = world.asked();
    let largest = (0..asked.len()).max_by(|a, b| asked[*a].total_cmp(&asked[*b]));
    world.down[largest.unwrap()] = true;
    let after = [world.tick(), world.tick()];
    let looked = after.iter().map(|one| one.looked);
    assert!(looked.max() <= Some(MOST_ROWS_FAILED), "{after:?}");
    assert!(
        after.iter().all(|one| one.found <= KEPT_WITHIN),
        "{after:?}"
    );
    assert!(after[1].decided <= KEPT_WITHIN, "{after:?}");
}
