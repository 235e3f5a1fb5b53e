//! Prints what many zones cost: memory, the time of one change, and a query for a name that nobody
//! asked for lately.
//!
//! `cargo run --release -p meridian-dns --example scale [ZONES] [NAMES A ZONE]`
//!
//! Each zone has an SOA, an NS and this many names with an address (3 by default: five records).

use std::{
    hint::black_box,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use meridian_config::Name;
use meridian_dns::{
    answer::{Meta, Transport},
    build::build,
    fast,
    listen::Fast,
    snapshot::Snapshot,
    steer::{Standing, View},
    types::{UnixTime, rtype},
    zone::{Change, Zone, ZoneBuilder, ZoneSet},
};
use meridian_geo_data::ClientMap;
use meridian_health_prober::HealthSnapshot;

/// The least that a server needs beside its zones.
const CONFIG: &str = r#"
    [[zone]]
    name = "unused.example"
    file = "zone"
"#;

fn main() {
    let number = |at: usize, otherwise: u32| {
        let text = std::env::args().nth(at);
        text.map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let (zones, names) = (number(1, 1_000_000), number(2, 3));
    let before = resident();
    let (set, took) = timed(|| ZoneSet::new((0..zones).map(|at| Arc::new(zone(at, names)))));
    let count = set.names();
    println!("{zones} zones, {count} names, built in {took:.1?}");
    let octets = set.octets();
    println!(
        "  {} octets a name, {} MiB in all, {} MiB more resident",
        octets / count.max(1),
        octets >> 20,
        (resident() - before) >> 10
    );
    let changed: Vec<_> = (0..20).map(|at| Arc::new(zone(at, names))).collect();
    let mut best = Duration::MAX;
    for zone in changed {
        let (after, took) = timed(|| set.with([Change::Put(zone)]));
        best = best.min(took);
        drop(after);
    }
    println!("  one zone changed in {best:.1?} at best");
    let snapshot = snapshot(set);
    for (what, front) in [("a name", "h0"), ("no such name", "nope")] {
        let [alone, together] = [1, 32].map(|batch| spread(&snapshot, zones, front, batch));
        println!("  {what:<14} {alone} ns, in batches of 32 {together} ns, zones in no order");
    }
}

/// Zone number `at`.
fn zone(at: u32, names: u32) -> Zone {
    let apex: Name = format!("zone-{at}.example").parse().expect("a name");
    let mut builder = ZoneBuilder::new(&apex);
    let soa = [
        &b"\x02h0"[..],
        apex.as_wire(),
        b"\x04root\0",
        &[0; 16],
        &[0, 0, 0, 60],
    ]
    .concat();
    builder.add(&apex, rtype::SOA, 300, &soa).expect("an SOA");
    let ns = [&b"\x02h0"[..], apex.as_wire()].concat();
    builder.add(&apex, rtype::NS, 300, &ns).expect("an NS");
    for number in 0..names {
        let owner = Name::parse(&format!("h{number}"), &apex).expect("a name");
        builder
            .add(&owner, rtype::A, 300, &number.to_be_bytes())
            .expect("an address");
    }
    builder.finish().expect("a zone")
}

fn snapshot(zones: ZoneSet) -> Snapshot {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("meridian.toml");
    std::fs::write(&path, CONFIG).expect("a configuration is written");
    let zone = "$TTL 300\n@ SOA ns root 1 2 3 4 60\n@ NS ns\nns A 192.0.2.53\n";
    std::fs::write(folder.path().join("zone"), zone).expect("a zone is written");
    let config = meridian_config::load(&path).unwrap_or_else(|error| panic!("{error}"));
    let clients = ClientMap::open(&config.geo).unwrap_or_else(|error| panic!("{error}"));
    let built = build(&config, Arc::new(clients)).unwrap_or_else(|error| panic!("{error}"));
    let view = View::new(
        &built.steering,
        Arc::new(Standing::none()),
        Arc::new(HealthSnapshot::default()),
    );
    Snapshot {
        generation: 1,
        zones: Arc::new(zones),
        steering: built.steering,
        view: Arc::new(view),
        identity: built.identity,
    }
}

/// Nanoseconds of a query, zones asked in a random order; the best of many short rounds, none of
/// which asks for a zone that the one before had in the cache.
fn spread(snapshot: &Snapshot, zones: u32, front: &str, batch: usize) -> u128 {
    const CALLS: u32 = 1000;
    let source: SocketAddr = ([192, 0, 2, 1], 5300).into();
    let meta = Meta {
        source,
        transport: Transport::Udp,
        now: UnixTime::default(),
    };
    let mut random = 1_u64;
    let mut round = || {
        let queries: Vec<Vec<u8>> = (0..CALLS)
            .map(|_| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let at = (random >> 33) % u64::from(zones);
                query(&format!("{front}.zone-{at}.example"))
            })
            .collect();
        let mut slot = [0; 512];
        let (_, took) = timed(|| {
            for queries in queries.chunks(batch) {
                if batch > 1 {
                    fast::ahead(snapshot, queries.iter().map(Vec::as_slice));
                }
                for query in queries {
                    slot[..query.len()].copy_from_slice(query);
                    let outcome = fast::answer(snapshot, &meta, &mut slot, query.len());
                    assert!(matches!(black_box(outcome), Fast::Reply { .. }));
                }
            }
        });
        took.as_nanos() / u128::from(CALLS)
    };
    (0..200).map(|_| round()).min().unwrap_or_default()
}

fn query(name: &str) -> Vec<u8> {
    let name: Name = name.parse().expect("a name");
    let mut octets = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    octets.extend(name.as_wire());
    octets.extend([0, 1, 0, 1]);
    octets
}

#[allow(clippy::disallowed_methods)] // a benchmark measures time
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let done = work();
    (done, started.elapsed())
}

/// Resident memory in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok());
    number.unwrap_or(0)
}
