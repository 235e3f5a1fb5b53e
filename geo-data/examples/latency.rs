//! Measures the matrix of latency: `cargo run --release -p meridian-geo-data --example latency -- [PREFIXES]`.
//! Fills a row with 20 samples for each of so many prefixes (a million by default) by 5 PoPs.

use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use meridian_config::{Coordinates, Geo};
use meridian_geo_data::{
    ClientMap,
    latency::{Matrix, Reporter, Rules, Sample, Site},
};

const POPS: [(&str, f64, f64); 5] = [
    ("fra", 50.03, 8.57),
    ("iad", 38.94, -77.46),
    ("nrt", 35.76, 140.39),
    ("gru", -23.43, -46.47),
    ("syd", -33.95, 151.18),
];
const NOW: u64 = 1_800_000_000;
const SAMPLES: u64 = 20;

fn main() {
    let prefixes = std::env::args().nth(1);
    let prefixes: u64 = prefixes
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000);
    let geo = Geo {
        city: Vec::new(),
        asn: Vec::new(),
        networks: Vec::new(),
    };
    let clients = Arc::new(ClientMap::open(&geo).expect("the bundled data"));
    let sites = POPS.map(|(name, latitude, longitude)| Site {
        name: name.into(),
        at: Some(Coordinates {
            latitude,
            longitude,
        }),
    });
    let mut matrix = Matrix::new(Rules::default(), clients.clone(), &sites, 77);
    let before = resident_kib();
    let started = cpu_ns();
    let (taken, refused) = fill(&mut matrix, &sites, prefixes);
    let spent = (cpu_ns() - started) as f64;
    let (rows, cells) = matrix.rows();
    println!(
        "{taken} samples taken, {refused} refused, {:.0} ns each",
        spent / (taken + refused) as f64
    );
    println!(
        "{rows} rows of prefixes, {cells} of cells, {} evicted: {} MB reckoned, {} MB resident more",
        matrix.evicted(),
        matrix.octets() / 1_000_000,
        (resident_kib() - before) / 1000
    );
    for round in 0..2 {
        let started = cpu_ns();
        let latency = matrix.publish(NOW + 1700 + round);
        println!(
            "published in {:.0} ms: {} pairs of cells, {} exceptions, {} octets, {:?}",
            (cpu_ns() - started) as f64 / 1e6,
            latency.pairs(),
            latency.exceptions().len(),
            latency.octets(),
            latency.line()
        );
    }
    let started = cpu_ns();
    let mut file = Vec::new();
    matrix.save(&mut file, NOW + 1700).expect("memory");
    let saved = cpu_ns();
    let again = Matrix::load(Rules::default(), clients, &sites, 3, &file[..], NOW + 1700);
    let rows = again.expect("what was saved").rows().0;
    println!(
        "saved {} MB in {:.0} ms, loaded {rows} rows in {:.0} ms",
        file.len() / 1_000_000,
        (saved - started) as f64 / 1e6,
        (cpu_ns() - saved) as f64 / 1e6
    );
}

/// How many samples were taken, and refused.
fn fill(matrix: &mut Matrix, sites: &[Site], prefixes: u64) -> (u64, u64) {
    let (mut taken, mut refused) = (0_u64, 0_u64);
    for round in 0..SAMPLES {
        for at in 0..prefixes {
            // Spread over the unicast space.
            let bits = (0x0100_0000 + mix(at) % 0xdeff_0000) as u32 & 0xffff_ff00;
            let prefix = IpNet::V4(Ipv4Net::new_assert(bits.into(), 24));
            for (column, site) in (0..).zip(sites) {
                let noise = mix(at * 40 + round * 5 + column) % 40;
                let sample = Sample {
                    prefix,
                    pop: site.name.clone(),
                    rtt_ms: 140.0 + (mix(at + column) % 60) as f32 + noise as f32,
                    reporter: Reporter::Own,
                };
                match matrix.record(NOW + round * 80, &sample) {
                    Ok(()) => taken += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    }
    (taken, refused)
}

fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// Processor time of this process so far.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}
