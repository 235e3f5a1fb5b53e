//! What a tick costs: `cargo run --release -p meridian-dns --example standing`.
//!
//! Prints the processor time of recomputing who serves each of 30,000 cells, for different shapes
//! of pools, at the first tick of a configuration and at later ones: with new prices, with new
//! latencies, after a verdict.

mod shared;

use std::{error::Error, hint::black_box, sync::Arc};

use meridian_config::Config;
use meridian_dns::steer::{Inputs, Standing, Steering, balance::Model as _};
use meridian_geo_data::{
    CellId, ClientMap,
    latency::{Basis, Latency, Measured, Parts},
};
use meridian_health_prober::HealthSnapshot;
use shared::{CELLS, Size, drained, health, mix, prices, small, timed};

/// Of so many cells, round trips are measured from one.
const SOME: u32 = 3;

/// Which PoPs are in which pool.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// All of them in every pool.
    Same,
    /// So many of them, others in every pool.
    Other(u32),
    /// All but one, another one for every pool.
    AllBut,
    /// All of them in every pool, each with a check of its own, by which others are down.
    Checked,
}

impl Shape {
    fn config(self, pops: u32, pools: u32) -> Result<Config, Box<dyn Error>> {
        let checks = match self {
            Self::Checked => pools,
            _ => 1,
        };
        let size = Size {
            pops,
            pools,
            checks,
        };
        shared::config(size, |pool, pop| match self {
            Self::Same | Self::Checked => true,
            Self::AllBut => pop != pool,
            Self::Other(count) => (pop + pops - pool * 7 % pops).is_multiple_of(pops / count),
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let shapes = [
        (1_000, 1, Shape::Same, SOME),
        (1_000, 100, Shape::Same, SOME),
        (1_000, 100, Shape::Other(10), SOME),
        (1_000, 100, Shape::Other(100), SOME),
        (1_000, 100, Shape::AllBut, SOME),
        (1_000, 100, Shape::AllBut, 1),
        (1_000, 100, Shape::Checked, SOME),
    ];
    let wanted = std::env::args()
        .nth(1)
        .and_then(|text| text.parse::<usize>().ok());
    for (at, (pops, pools, shape, every)) in shapes.into_iter().enumerate() {
        if wanted.is_some_and(|wanted| wanted != at) {
            continue;
        }
        let config = shape.config(pops, pools)?;
        let map = Arc::new(ClientMap::open(&config.geo)?);
        let cells = map.cells().len();
        println!("\n{pops} PoPs, {pools} pools, {shape:?}, {cells} cells, measured: 1 in {every}");
        measure(&config, map, every);
    }
    Ok(())
}

fn measure(config: &Config, map: Arc<ClientMap>, every: u32) {
    let steering = Steering::new(config, map);
    let health = match config.checks.len() {
        1 => HealthSnapshot::default(),
        // Other PoPs are down by each, one in fifty.
        _ => health(config, |at, check| (at + check).is_multiple_of(50)),
    };
    let inputs = |latency, price| inputs(config, every, (latency, price));
    let first = inputs(0, 0);
    let none = Standing::none();
    let (standing, took) = timed(|| none.next(&steering, &health, &first));
    let (tables, rows) = standing.size();
    println!("  first tick             {took:>12.1?}   {tables} tables, {rows} rows");
    println!(
        "  octets                 {:>9} KiB",
        standing.octets() / 1024
    );
    let (same, took) = timed(|| standing.next(&steering, &health, &first));
    println!("  nothing new            {took:>12.1?}");
    let prices = Inputs {
        prices: inputs(0, 1).prices,
        ..first.clone()
    };
    let (next, took) = timed(|| same.next(&steering, &health, &prices));
    println!(
        "  new prices             {took:>12.1?}   {:?}",
        next.moved()
    );
    let both = inputs(1, 2);
    let (next, took) = timed(|| next.next(&steering, &health, &both));
    println!(
        "  new latency and prices {took:>12.1?}   {:?}",
        next.moved()
    );
    let down = drained(config, &health, |at| at.is_multiple_of(50));
    let (next, took) = timed(|| next.next(&steering, &down, &both));
    println!(
        "  one PoP in 50 drained  {took:>12.1?}   {:?}",
        next.moved()
    );
    let mut model = next.model(&steering, &down, &both);
    let prices: Vec<f32> = both.prices.iter().map(|price| price.price_ms).collect();
    let (_, took) = timed(|| black_box(model.at(&prices)));
    println!("  model, one question    {took:>12.1?}");
}

/// Prices of all PoPs, and round trips from one cell in `every` to eight of them.
fn inputs(config: &Config, every: u32, (latency, price): (u32, u32)) -> Inputs {
    let columns = config.pops.iter().map(|pop| Arc::from(pop.name.as_str()));
    let pops = u32::try_from(config.pops.len()).unwrap_or(1);
    let entry = |n: u32| {
        let column = u16::try_from(mix(n) % pops).unwrap_or(0);
        let ms = 5.0 + small(mix(n + latency * 77) % 2_000) / 10.0;
        let one = Measured {
            column,
            basis: Basis::Cell,
            p25_ms: ms,
            ms,
            samples: 40,
            age_s: 5,
        };
        (CellId(n / 8 * every), one)
    };
    let latency = Latency::new(Parts {
        generation: latency.into(),
        columns: columns.collect(),
        cells: (0..CELLS / every * 8).map(entry).collect(),
        ..Parts::default()
    });
    Inputs {
        latency: Arc::new(latency),
        prices: prices(pops, price).collect(),
        demand: Arc::default(),
    }
}
