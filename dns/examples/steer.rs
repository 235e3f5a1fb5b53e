//! What a decision and a view cost: `cargo run --release -p meridian-dns --example steer -- [FILE]…`.
//!
//! Prints the processor time of a decision with few and with many PoPs and pools, first and later
//! ones apart, that of a new view after a verdict, and of the first decisions under it. With city
//! databases the clients are a million /24s at random; without, 30,000 operator networks.

mod shared;

use std::{
    error::Error,
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
use meridian_health_prober::HealthSnapshot;
use shared::{CELLS, Size, address, health, timed};

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
        let size = Size {
            pops,
            pools,
            checks,
        };
        let mut config = shared::config(size, |_, _| true)?;
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
    let up = Arc::new(health(config, |at, _| at % 50 == 7));
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
            Arc::new(health(config, |at, _| at % 50 == 8)),
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

/// The n-th of a million /24s, somewhere between 1.0.0.0 and 223.255.255.255.
fn anywhere(n: u32) -> Ipv4Addr {
    // splitmix64
    let mut z = u64::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let block = (z ^ (z >> 31)) % (223 << 16) + (1 << 16);
    Ipv4Addr::from_bits(u32::try_from(block).unwrap_or(0) << 8)
}
