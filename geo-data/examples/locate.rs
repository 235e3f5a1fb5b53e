//! Measures loading and lookup: `cargo run --release -p meridian-geo-data --example locate -- [FILE]…`.
//! Without a file it measures the bundled country database.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use meridian_config::Geo;
use meridian_geo_data::ClientMap;

const LOOKUPS: u32 = 5_000_000;

fn main() {
    let city = std::env::args_os().skip(1).map(Into::into).collect();
    let geo = Geo {
        city,
        asn: Vec::new(),
        networks: Vec::new(),
    };
    let before = resident_kib();
    let started = cpu_ns();
    let map = match ClientMap::open(&geo) {
        Ok(map) => map,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            std::process::exit(1);
        }
    };
    println!(
        "loaded in {:.0} ms of processor time, {} KiB more in memory",
        (cpu_ns() - started) as f64 / 1e6,
        resident_kib() - before
    );
    println!("{map:#?}");
    let spread = |seed: u64| {
        // splitmix64: all lookups differ, none is predictable.
        let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    let v4: Vec<IpAddr> = (0..1 << 20)
        .map(|n| Ipv4Addr::from_bits((spread(n) >> 32) as u32).into())
        .collect();
    measure(&map, "IPv4, anywhere", &v4);
    let v6 = (0..1 << 20).map(|n| {
        let high = 0x2400 << 48 | (spread(n) >> 6 & 0x0fff_ffff_ffff_ffff);
        Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(spread(n + 7))).into()
    });
    measure(&map, "IPv6, in 2400::/6", &v6.collect::<Vec<IpAddr>>());
}

fn measure(map: &ClientMap, what: &str, addresses: &[IpAddr]) {
    let started = cpu_ns();
    let mut known = 0_u32;
    let mut bits = 0_u64;
    for address in addresses.iter().cycle().take(LOOKUPS as usize) {
        let located = map.locate(black_box(*address));
        known += u32::from(located.cell.is_some());
        bits += u64::from(located.prefix_len);
    }
    let ns = (cpu_ns() - started) as f64 / f64::from(LOOKUPS);
    let share = f64::from(known) / f64::from(LOOKUPS) * 100.0;
    println!(
        "{what}: {ns:.0} ns a lookup, {share:.0} % known, mean prefix {:.1}",
        bits as f64 / f64::from(LOOKUPS)
    );
}

/// Time this thread has spent on a processor, as Linux tells: a busy machine does not disturb it.
fn cpu_ns() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = status.split_whitespace().next();
    first.and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

/// Memory in use by this process, as Linux tells; 0 elsewhere.
fn resident_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}
