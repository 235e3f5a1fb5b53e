//! What a decision and a view cost: `cargo run --release -p meridian-dns --example steer`.
//!
//! Prints the processor time of one decision with 3 and with 1,000 PoPs, first and later ones apart,
//! and the time to lay out health for 1,000 PoPs in 100 pools.

use std::{
    error::Error,
    fmt::Write,
    fs,
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use meridian_config::{Config, Family};
use meridian_dns::{
    client::Client,
    steer::{Steering, View, decide},
    types::ServiceId,
};
use meridian_geo_data::ClientMap;
use meridian_health_prober::{EndpointHealth, GroupKey, HealthSnapshot, PopHealth, Verdict};

/// Places of the operator's networks, one cell each.
const CELLS: u32 = 30_000;

fn main() -> Result<(), Box<dyn Error>> {
    for (pops, pools, checks) in [(3, 1, 1), (1_000, 1, 1), (1_000, 100, 1), (1_000, 100, 100)] {
        let config = config(pops, pools, checks)?;
        let clients = Arc::new(ClientMap::open(&config.geo)?);
        println!(
            "\n{pops} PoPs, {pools} pools, {checks} checks, {} cells",
            clients.cells().len()
        );
        let (steering, took) = timed(|| Steering::new(&config, clients));
        println!("  Steering::new          {took:>12.1?}");
        let health = Arc::new(health(&config));
        let (view, _) = timed(|| View::new(&steering, health.clone()));
        let rounds = 200_000 / (pops * pools) + 20;
        let again = || drop(black_box(View::new(&steering, health.clone())));
        let (_, took) = timed(|| (0..rounds).for_each(|_| again()));
        println!("  View::new              {:>12.1?}", took / rounds);
        decisions(&steering, &view);
        let last = view_of_nobody(&steering, &config);
        let (_, took) = timed(|| many(&steering, &last, 30_000));
        println!("  decide, all down       {:>12.1?}", took / 30_000);
        println!(
            "  orders kept            {:>9} KiB",
            steering.kept_octets() / 1024
        );
    }
    Ok(())
}

fn decisions(steering: &Steering, view: &View) {
    let (_, took) = timed(|| many(steering, view, CELLS));
    println!("  decide, cell new       {:>12.1?}", took / CELLS);
    let locate = |n: u32| steering.clients().locate(address(n).into());
    let rounds = 20;
    let (_, took) = timed(|| {
        (0..rounds * CELLS).for_each(|n| {
            black_box(locate(n));
        });
    });
    println!(
        "  of that, the location  {:>12.1?}",
        took / (rounds * CELLS)
    );
    let (_, took) = timed(|| (0..rounds).for_each(|_| many(steering, view, CELLS)));
    println!(
        "  decide, cell known     {:>12.1?}",
        took / (rounds * CELLS)
    );
}

fn many(steering: &Steering, view: &View, count: u32) {
    for n in 0..count {
        // In an order that no cache likes.
        let address = IpAddr::from(address(n.wrapping_mul(7_919) % CELLS));
        let client = Client::from_ecs(address, 24, address);
        let service = ServiceId(n % u32::try_from(steering.services().len()).unwrap_or(1));
        black_box(decide(steering, view, service, &client, Family::V4));
    }
}

/// Every PoP is down.
fn view_of_nobody(steering: &Steering, config: &Config) -> View {
    let all: Vec<_> = config
        .pops
        .iter()
        .filter_map(|pop| config.pop_by_name(&pop.name))
        .collect();
    View::with_down(steering, Arc::new(HealthSnapshot::default()), &all)
}

/// The n-th operator network: a /24.
fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x1400_0000 + (n % CELLS) * 256)
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

/// Every group tested, one endpoint in fifty down.
fn health(config: &Config) -> HealthSnapshot {
    let mut groups = std::collections::BTreeMap::new();
    for check in &config.checks {
        for (at, pop) in config.pops.iter().enumerate() {
            let verdict = if at % 50 == 7 {
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
