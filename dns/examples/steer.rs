//! What a decision and a view cost: `cargo run --release -p meridian-dns --example steer -- [FILE]…`.
//!
//! Prints the processor time of a decision with few and with many PoPs and pools, first and later
//! ones apart, that of a new view after a verdict, and of the first decisions under it. With city
//! databases the clients are a million /24s at random; without, 30,000 operator networks.

use std::{
    error::Error,
    fmt::Write,
    fs,
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use meridian_config::{Config, Family};
use meridian_dns::{
    client::Client,
    steer::{Standing, Steering, View, decide},
    types::ServiceId,
};
use meridian_geo_data::ClientMap;
use meridian_health_prober::{EndpointHealth, GroupKey, HealthSnapshot, PopHealth, Verdict};

/// Places of the operator's networks, one cell each.
const CELLS: u32 = 30_000;
/// Clients where databases are given.
const BLOCKS: u32 = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let city: Vec<PathBuf> = std::env::args_os().skip(1).map(Into::into).collect();
    let blocks = if city.is_empty() { CELLS } else { BLOCKS };
    let address = |n: u32| match city.is_empty() {
        true => address(n),
        false => anywhere(n),
    };
    // In an order that no cache likes.
    let clients: Vec<IpAddr> = (0..blocks)
        .map(|n| address(n.wrapping_mul(7_919) % blocks).into())
        .collect();
    let mut map: Option<Arc<ClientMap>> = None;
    for (pops, pools, checks) in [(3, 1, 1), (1_000, 1, 1), (1_000, 100, 1), (1_000, 100, 100)] {
        let mut config = config(pops, pools, checks)?;
        if !city.is_empty() {
            config.geo.city.clone_from(&city);
            config.geo.networks.clear();
        }
        let opened = match map.take().filter(|_| !city.is_empty()) {
            Some(same) => same,
            None => Arc::new(ClientMap::open(&config.geo)?),
        };
        map = Some(opened.clone());
        let cells = opened.cells().len();
        println!("\n{pops} PoPs, {pools} pools, {checks} checks, {cells} cells");
        measure(&config, opened, &clients);
    }
    Ok(())
}

fn measure(config: &Config, map: Arc<ClientMap>, clients: &[IpAddr]) {
    let (steering, took) = timed(|| Steering::new(config, map));
    println!("  Steering::new          {took:>12.1?}");
    let up = Arc::new(health(config, 7));
    let (view, _) = timed(|| View::new(&steering, Arc::new(Standing::none()), up.clone()));
    let rounds = 20;
    let again = || {
        drop(black_box(View::new(
            &steering,
            Arc::new(Standing::none()),
            up.clone(),
        )))
    };
    let (_, took) = timed(|| (0..rounds).for_each(|_| again()));
    println!("  View::new              {:>12.1?}", took / rounds);
    let locate = |address: &IpAddr| {
        black_box(steering.clients().find(*address));
    };
    let per = |what: &str, took: Duration, count: usize| {
        println!(
            "  {what:<23}{:>12.1?}",
            took / u32::try_from(count).unwrap_or(u32::MAX)
        );
    };
    let rounds = (3_000_000 / clients.len()).max(1);
    let all = || clients.iter().for_each(locate);
    let (_, took) = timed(|| (0..rounds).for_each(|_| all()));
    per("location alone", took, rounds * clients.len());
    let (_, took) = timed(|| many(&steering, &view, clients));
    per("decide, first round", took, clients.len());
    let (_, took) = timed(|| (0..rounds).for_each(|_| many(&steering, &view, clients)));
    per("decide, later rounds", took, rounds * clients.len());
    // Another PoP in fifty fails: a new view, and the orders kept.
    let (next, _) = timed(|| {
        View::new(
            &steering,
            Arc::new(Standing::none()),
            Arc::new(health(config, 8)),
        )
    });
    let (_, took) = timed(|| many(&steering, &next, clients));
    per("decide, after a flip", took, clients.len());
    drop(next);
    let last = view_of_nobody(&steering, config);
    let (_, took) = timed(|| many(&steering, &last, clients));
    per("decide, all down, first", took, clients.len());
    let (_, took) = timed(|| many(&steering, &last, clients));
    per("decide, all down, later", took, clients.len());
    println!(
        "  orders kept            {:>9} KiB",
        steering.kept_octets() / 1024
    );
    println!(
        "  choices kept, two views{:>9} KiB",
        steering.chosen_octets() / 1024
    );
}

fn many(steering: &Steering, view: &View, clients: &[IpAddr]) {
    let services = u32::try_from(steering.services().len()).unwrap_or(1);
    for (n, address) in (0_u32..).zip(clients) {
        let client = Client::from_ecs(*address, 24, *address);
        black_box(decide(
            steering,
            view,
            ServiceId(n % services),
            &client,
            Family::V4,
        ));
    }
}

/// Every PoP is down.
fn view_of_nobody(steering: &Steering, config: &Config) -> View {
    let all: Vec<_> = config
        .pops
        .iter()
        .filter_map(|pop| config.pop_by_name(&pop.name))
        .collect();
    View::with_down(
        steering,
        Arc::new(Standing::none()),
        Arc::new(HealthSnapshot::default()),
        &all,
    )
}

/// The n-th operator network: a /24.
fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x1400_0000 + (n % CELLS) * 256)
}

/// The n-th of a million /24s, somewhere between 1.0.0.0 and 223.255.255.255.
fn anywhere(n: u32) -> Ipv4Addr {
    // splitmix64
    let mut z = u64::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let block = (z ^ (z >> 31)) % (223 << 16) + (1 << 16);
    Ipv4Addr::from_bits(u32::try_from(block).unwrap_or(0) << 8)
}

/// A configuration with `pops` PoPs, all of them in each of `pools` pools, which have `checks`
/// different checks, and a service for each pool.
fn config(pops: u32, pools: u32, checks: u32) -> Result<Config, Box<dyn Error>> {
    let mut text = String::new();
    for n in 0..CELLS {
        let (lat, lon) = place(n);
        let prefix = address(n);
        writeln!(text, "[[geo.network]]\nprefix = \"{prefix}/24\"")?;
        writeln!(text, "latitude = {lat:.3}\nlongitude = {lon:.3}")?;
    }
    let mut names = String::new();
    for n in 0..pops {
        let (lat, lon) = place(n * 31 + 7);
        let (high, low) = (n / 200, n % 200 + 1);
        writeln!(
            text,
            "[[pop]]\nname = \"p{n}\"\nlatitude = {lat:.3}\nlongitude = {lon:.3}"
        )?;
        writeln!(
            text,
            "endpoints = [\"198.18.{high}.{low}\", \"2001:db8::{n:x}\"]"
        )?;
        write!(names, "\"p{n}\",")?;
    }
    let mut services = String::from("[[zone]]\nname = \"example\"\nfile = \"example.zone\"\n");
    for n in 0..pools {
        if n < checks {
            writeln!(text, "[check.c{n}]\ntype = \"tcp\"\nport = 80")?;
        }
        let check = n % checks;
        writeln!(
            text,
            "[[pool]]\nname = \"q{n}\"\ncheck = \"c{check}\"\npops = [{names}]"
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

/// Every group tested, one endpoint in fifty down: every PoP of number 50 n + `down`.
fn health(config: &Config, down: usize) -> HealthSnapshot {
    let mut groups = std::collections::BTreeMap::new();
    for check in &config.checks {
        for (at, pop) in config.pops.iter().enumerate() {
            let verdict = if at % 50 == down {
                Verdict::Down
            } else {
                Verdict::Up
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
            let endpoints = pop.endpoints.iter().map(endpoint).collect();
            let key = GroupKey {
                pop: pop.name.clone(),
                check: check.name.clone(),
            };
            let reason = String::new();
            groups.insert(
                key,
                PopHealth {
                    verdict,
                    reason,
                    since: None,
                    flips_in: None,
                    took: None,
                    endpoints,
                },
            );
        }
    }
    HealthSnapshot {
        generation: 1,
        groups,
        ..HealthSnapshot::default()
    }
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
