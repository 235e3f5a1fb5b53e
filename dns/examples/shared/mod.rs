//! What the examples about steering have in common: large configurations at random, what is
//! measured in them, and the time on the processor.
#![allow(dead_code)] // each takes what it needs

pub(crate) mod flow;

use std::{error::Error, fmt::Write as _, fs, net::IpAddr, net::Ipv4Addr, time::Duration};

use meridian_config::Config;
use meridian_dns::steer::balance::Price;
use meridian_health_prober::{
    EndpointHealth, GroupKey, HealthSnapshot, Override, OverrideKind, PopHealth, Verdict,
};

/// Places of the operator's networks, one cell each.
pub(crate) const CELLS: u32 = 30_000;

/// How large a configuration is: each pool has a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) pops: u32,
    pub(crate) pools: u32,
    pub(crate) checks: u32,
}

/// A configuration of that size, in which `is_in` says whether a pool (first) has a PoP.
pub(crate) fn config(
    size: Size,
    is_in: impl Fn(u32, u32) -> bool,
) -> Result<Config, Box<dyn Error>> {
    let mut text = String::new();
    for n in 0..size.checks {
        writeln!(text, "[check.c{n}]\ntype = \"tcp\"\nport = 80")?;
    }
    for n in 0..CELLS {
        let (lat, lon) = place(n);
        let prefix = address(n);
        writeln!(text, "[[geo.network]]\nprefix = \"{prefix}/24\"")?;
        writeln!(text, "latitude = {lat:.3}\nlongitude = {lon:.3}")?;
    }
    for n in 0..size.pops {
        let (lat, lon) = place_of_pop(n);
        let (high, low) = (n / 200, n % 200 + 1);
        writeln!(text, "[[pop]]\nname = \"p{n}\"")?;
        writeln!(text, "latitude = {lat:.3}\nlongitude = {lon:.3}")?;
        writeln!(
            text,
            "endpoints = [\"198.18.{high}.{low}\", \"2001:db8::{n:x}\"]"
        )?;
        writeln!(text, "load = {{ push = true }}\ncapacity = 1000")?;
    }
    let mut services = String::from("[[zone]]\nname = \"example\"\nfile = \"example.zone\"\n");
    for n in 0..size.pools {
        let members = (0..size.pops).filter(|pop| is_in(n, *pop));
        let names: Vec<String> = members.map(|pop| format!("\"p{pop}\"")).collect();
        let (check, names) = (n % size.checks, names.join(","));
        writeln!(text, "[[pool]]\nname = \"q{n}\"\ncheck = \"c{check}\"")?;
        writeln!(text, "pops = [{names}]")?;
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

/// Where the n-th cell is, in degrees. Spread over where land is, more or less.
fn place(n: u32) -> (f64, f64) {
    let turn = f64::from(n) * 0.618_033_988_75;
    let lat = -35.0 + 95.0 * (f64::from(n) * 0.754_877_666).fract();
    (lat, -180.0 + 360.0 * turn.fract())
}

/// Where the n-th PoP is.
fn place_of_pop(n: u32) -> (f64, f64) {
    place(n * 31 + 7)
}

/// The nearest PoPs of a list, for each of these places.
pub(crate) fn nearest(
    places: impl Iterator<Item = (f64, f64)>,
    list: &[u32],
    count: usize,
) -> Vec<Vec<usize>> {
    let vector = |(lat, lon): (f64, f64)| {
        let (lat, lon) = (lat.to_radians(), lon.to_radians());
        [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()]
    };
    let near = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let pops = || list.iter().map(|pop| (*pop, vector(place_of_pop(*pop))));
    places
        .map(|cell| {
            let from = vector(cell);
            let mut all: Vec<(f64, u32)> = pops().map(|(pop, at)| (near(from, at), pop)).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0));
            all.truncate(count);
            all.into_iter().map(|(_, pop)| pop as usize).collect()
        })
        .collect()
}

/// The n-th operator network: a /24.
pub(crate) fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x1400_0000 + (n % CELLS) * 256)
}

/// Everything is tested, and by number of the PoP and of the check it is down.
pub(crate) fn health(config: &Config, is_down: impl Fn(usize, usize) -> bool) -> HealthSnapshot {
    let mut all = HealthSnapshot {
        generation: 1,
        ..HealthSnapshot::default()
    };
    for (number, check) in config.checks.iter().enumerate() {
        for (at, pop) in config.pops.iter().enumerate() {
            let verdict = match is_down(at, number) {
                true => Verdict::Down,
                false => Verdict::Up,
            };
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

/// The same with these PoPs drained by an operator.
pub(crate) fn drained(
    config: &Config,
    health: &HealthSnapshot,
    is_drained: impl Fn(usize) -> bool,
) -> HealthSnapshot {
    let mut health = health.clone();
    let pops = config.pops.iter().enumerate();
    for (_, pop) in pops.filter(|(at, _)| is_drained(*at)) {
        let word = Override {
            kind: OverrideKind::Drain,
            reason: String::new(),
            since: std::time::SystemTime::UNIX_EPOCH,
            until: None,
        };
        health.overrides.insert(pop.name.clone(), word);
    }
    health
}

/// Prices of a tick: half of the PoPs above their target, some far above.
pub(crate) fn prices(pops: u32, turn: u32) -> impl Iterator<Item = Price> {
    (0..pops).map(move |n| Price {
        price_ms: (small(mix(n * 31 + turn * 7) % 200) - 100.0).max(0.0) / 4.0,
        free: 0.3 + small(mix(n) % 70) / 100.0,
        ramp: 1.0,
        known: true,
        own: true,
    })
}

pub(crate) fn small(n: u32) -> f32 {
    f32::from(u16::try_from(n).unwrap_or(0))
}

/// Spreads numbers (the finalizer of MurmurHash3).
pub(crate) fn mix(n: u32) -> u32 {
    let n = (n ^ (n >> 16)).wrapping_mul(0x85eb_ca6b);
    let n = (n ^ (n >> 13)).wrapping_mul(0xc2b2_ae35);
    n ^ (n >> 16)
}

/// The time on the processor, so that a busy machine tells the same as an idle one.
pub(crate) fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = cpu_time();
    let value = run();
    (value, cpu_time().saturating_sub(start))
}

/// Time that this thread has spent on a processor; zero where the system does not say.
pub(crate) fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}
