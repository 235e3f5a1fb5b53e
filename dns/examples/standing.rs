//! What a tick costs: `cargo run --release -p meridian-dns --example standing`.
//!
//! Prints the processor time of recomputing who serves each of 30,000 cells, for different shapes
//! of pools, at the first tick of a configuration and at later ones: with new prices, with new
//! latencies, after a verdict.

use std::{error::Error, fmt::Write, fs, hint::black_box, net::IpAddr, sync::Arc, time::Duration};

use meridian_config::Config;
use meridian_dns::steer::{
    Inputs, Standing, Steering,
    balance::{Model as _, Price},
};
use meridian_geo_data::{
    CellId, ClientMap,
    latency::{Basis, Latency, Measured, Parts},
};
use meridian_health_prober::{
    EndpointHealth, GroupKey, HealthSnapshot, Override, OverrideKind, PopHealth, Verdict,
};

/// Places of the operator's networks, one cell each.
const CELLS: u32 = 30_000;
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
        let config = config(pops, pools, shape)?;
        let map = Arc::new(ClientMap::open(&config.geo)?);
        let cells = map.cells().len();
        println!("\n{pops} PoPs, {pools} pools, {shape:?}, {cells} cells, measured: 1 in {every}");
        measure(&config, map, every);
    }
    Ok(())
}

fn measure(config: &Config, map: Arc<ClientMap>, every: u32) {
    let steering = Steering::new(config, map);
    let health = health(config);
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
    let mut down = health.clone();
    for pop in config.pops.iter().step_by(50) {
        let word = Override {
            kind: OverrideKind::Drain,
            reason: String::new(),
            since: std::time::SystemTime::UNIX_EPOCH,
            until: None,
        };
        down.overrides.insert(pop.name.clone(), word);
    }
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

/// What each check says: with several, other PoPs are down by each, one in fifty.
fn health(config: &Config) -> HealthSnapshot {
    let mut all = HealthSnapshot::default();
    if config.checks.len() == 1 {
        return all;
    }
    for (number, check) in config.checks.iter().enumerate() {
        for (at, pop) in config.pops.iter().enumerate() {
            let down = (at + number).is_multiple_of(50);
            let verdict = if down { Verdict::Down } else { Verdict::Up };
            let endpoint = |address: &IpAddr| EndpointHealth {
                address: *address,
                verdict,
                reason: String::new(),
                since: None,
                rtt: None,
                flips_in: None,
                checks: Vec::new(),
            };
            let health = PopHealth {
                verdict,
                reason: String::new(),
                since: None,
                flips_in: None,
                took: None,
                endpoints: pop.endpoints.iter().map(endpoint).collect(),
            };
            let (pop, check) = (pop.name.clone(), check.name.clone());
            all.groups.insert(GroupKey { pop, check }, health);
        }
    }
    all
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
    let price = |n: u32| Price {
        // Half of them above their target, some far above.
        price_ms: (small(mix(n * 31 + price * 7) % 200) - 100.0).max(0.0) / 4.0,
        free: 0.3 + small(mix(n) % 70) / 100.0,
        ramp: 1.0,
        known: true,
        own: true,
    };
    Inputs {
        latency: Arc::new(latency),
        prices: (0..pops).map(price).collect(),
        demand: Arc::default(),
    }
}

fn small(n: u32) -> f32 {
    f32::from(u16::try_from(n).unwrap_or(0))
}

/// Spreads numbers (the finalizer of MurmurHash3).
fn mix(n: u32) -> u32 {
    let n = (n ^ (n >> 16)).wrapping_mul(0x85eb_ca6b);
    let n = (n ^ (n >> 13)).wrapping_mul(0xc2b2_ae35);
    n ^ (n >> 16)
}

fn config(pops: u32, pools: u32, shape: Shape) -> Result<Config, Box<dyn Error>> {
    let mut text = String::new();
    let checks = if matches!(shape, Shape::Checked) {
        pools
    } else {
        1
    };
    for n in 0..checks {
        writeln!(text, "[check.c{n}]\ntype = \"tcp\"\nport = 80")?;
    }
    for n in 0..CELLS {
        let (lat, lon) = place(n);
        let (a, b) = ((n >> 8) & 255, n & 255);
        writeln!(text, "[[geo.network]]\nprefix = \"20.{a}.{b}.0/24\"")?;
        writeln!(text, "latitude = {lat:.3}\nlongitude = {lon:.3}")?;
    }
    for n in 0..pops {
        let (lat, lon) = place(n * 31 + 7);
        let (high, low) = (n / 200, n % 200 + 1);
        writeln!(
            text,
            "[[pop]]\nname = \"p{n}\"\nlatitude = {lat:.3}\nlongitude = {lon:.3}"
        )?;
        writeln!(
            text,
            "endpoints = [\"198.18.{high}.{low}\"]\nload = {{ push = true }}"
        )?;
        writeln!(text, "capacity = 1000")?;
    }
    let mut services = String::from("[[zone]]\nname = \"example\"\nfile = \"example.zone\"\n");
    for n in 0..pools {
        let is_in = |pop: &u32| match shape {
            Shape::Same | Shape::Checked => true,
            Shape::AllBut => *pop != n,
            Shape::Other(count) => (pop + pops - n * 7 % pops).is_multiple_of(pops / count),
        };
        let names: Vec<String> = (0..pops)
            .filter(is_in)
            .map(|pop| format!("\"p{pop}\""))
            .collect();
        let names = names.join(",");
        writeln!(
            text,
            "[[pool]]\nname = \"q{n}\"\ncheck = \"c{}\"\npops = [{names}]",
            n % checks
        )?;
        writeln!(
            services,
            "[[zone.service]]\nname = \"s{n}\"\npool = \"q{n}\""
        )?;
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("meridian.toml");
    fs::write(&file, text + &services)?;
    fs::write(folder.path().join("example.zone"), "")?;
    Ok(meridian_config::load(&file)?)
}

/// Spread over where land is, more or less.
fn place(n: u32) -> (f64, f64) {
    let turn = f64::from(n) * 0.618_033_988_75;
    let lat = -35.0 + 95.0 * (f64::from(n) * 0.754_877_666).fract();
    (lat, -180.0 + 360.0 * turn.fract())
}

/// The time on the processor, so that a busy machine tells the same as an idle one.
fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = cpu_time();
    let value = run();
    (value, cpu_time().saturating_sub(start))
}

/// Time that this thread has spent on a processor; zero where the system does not say.
fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}
