//! Prints what one call of `respond` and of the fast path costs in a small and in a large zone, by
//! kind of answer; always the same query, so everything it needs is in the cache.
//!
//! `cargo run --release -p meridian-dns --example respond [NAMES]`

use std::{
    hint::black_box,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use meridian_config::{Config, Name};
use meridian_dns::{
    answer::{Meta, Outcome, Transport, respond},
    build::build,
    fast,
    listen::Fast,
    snapshot::Snapshot,
    steer::{Standing, View},
    types::{UnixTime, rtype},
    zone::{ServiceId, Zone, ZoneBuilder, ZoneSet},
};
use meridian_geo_data::ClientMap;
use meridian_health_prober::HealthSnapshot;

const CONFIG: &str = r#"
    [[pop]]
    name = "fra"
    latitude = 50.0
    longitude = 8.6
    endpoints = ["192.0.2.10"]
    [[pop]]
    name = "nrt"
    latitude = 35.8
    longitude = 140.4
    endpoints = ["192.0.2.20"]
    [[pool]]
    name = "edge"
    pops = ["fra", "nrt"]
    [[zone]]
    name = "example.com"
    file = "example.com.zone"
    [[zone.service]]
    name = "svc"
    pool = "edge"
"#;

/// A client cookie.
const COOKIE_ONLY: [u8; 12] = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];

fn main() {
    let names = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("meridian.toml");
    std::fs::write(&path, CONFIG).expect("a configuration is written");
    let zone = "$TTL 300\n@ SOA ns root 1 2 3 4 60\n@ NS ns\nns A 192.0.2.53\n";
    std::fs::write(folder.path().join("example.com.zone"), zone).expect("a zone is written");
    let config = meridian_config::load(&path).unwrap_or_else(|error| panic!("{error}"));
    for names in [10, names] {
        let snapshot = snapshot(&config, names);
        println!("{names} names");
        for (what, query) in queries() {
            let (slow, fast) = nanoseconds(&snapshot, &query);
            let fast = fast.map_or("-".to_owned(), |fast| fast.to_string());
            println!("  {what:<28} {slow:>6} ns  {fast:>6} ns");
        }
    }
}

fn snapshot(config: &Config, names: u32) -> Snapshot {
    let clients = ClientMap::open(&config.geo).unwrap_or_else(|error| panic!("{error}"));
    let built = build(config, Arc::new(clients)).unwrap_or_else(|error| panic!("{error}"));
    let view = View::new(
        &built.steering,
        Arc::new(Standing::none()),
        Arc::new(HealthSnapshot::default()),
    );
    Snapshot {
        generation: 1,
        zones: Arc::new(ZoneSet::new([Arc::new(large(names))])),
        steering: built.steering,
        view: Arc::new(view),
        identity: built.identity,
    }
}

/// `example.com` with this many names, a wildcard and a service.
fn large(names: u32) -> Zone {
    let apex: Name = "example.com".parse().expect("a name");
    let at = |text: &str| Name::parse(text, &apex).expect("a name");
    let mut builder = ZoneBuilder::new(&apex);
    let soa = [&b"\x02ns\0\x04root\0"[..], &[0; 16], &[0, 0, 0, 60]].concat();
    builder.add(&apex, rtype::SOA, 300, &soa).expect("an SOA");
    let records: [(&str, u16, &[u8]); 6] = [
        ("*.wild", rtype::A, &[192, 0, 2, 1]),
        ("alias", rtype::CNAME, b"\x06host-7\x07example\x03com\0"),
        ("away", rtype::CNAME, b"\x03www\x07example\x03org\0"),
        ("child", rtype::NS, b"\x02ns\x05child\x07example\x03com\0"),
        ("child", rtype::NS, b"\x02ns\x07example\x03org\0"),
        ("ns.child", rtype::A, &[192, 0, 2, 3]),
    ];
    for (owner, rtype, rdata) in records {
        builder
            .add(&at(owner), rtype, 300, rdata)
            .expect("a record");
    }
    for number in 0..names {
        let owner = at(&format!("host-{number}"));
        builder
            .add(&owner, rtype::A, 300, &number.to_be_bytes())
            .expect("an address");
    }
    builder.place(&at("svc"), ServiceId(0)).expect("a service");
    builder.finish().expect("a zone")
}

fn queries() -> Vec<(&'static str, Vec<u8>)> {
    let ecs: &[u8] = &[0, 8, 0, 7, 0, 1, 24, 0, 133, 11, 0];
    vec![
        ("plain", query("host-7.example.com", None)),
        ("plain, EDNS", query("host-7.example.com", Some(&[]))),
        ("steered", query("svc.example.com", None)),
        (
            "steered, client subnet",
            query("svc.example.com", Some(ecs)),
        ),
        (
            "EDNS, cookie",
            query("host-7.example.com", Some(&COOKIE_ONLY)),
        ),
        ("no data", query("wild.example.com", Some(&[]))),
        ("alias, in the zone", query("alias.example.com", Some(&[]))),
        ("alias, away", query("away.example.com", Some(&[]))),
        ("referral", query("www.child.example.com", Some(&[]))),
        ("wildcard", query("a.b.wild.example.com", None)),
        ("no such name", query("nope.example.com", None)),
        (
            "no such name, 120 labels",
            query(&format!("{}example.com", "x.".repeat(118)), None),
        ),
        ("not our zone", query("www.example.net", None)),
    ]
}

fn query(name: &str, options: Option<&[u8]>) -> Vec<u8> {
    let name: Name = name.parse().expect("a name");
    let mut octets = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(options.is_some())];
    octets.extend(name.as_wire());
    octets.extend([0, 1, 0, 1]);
    if let Some(options) = options {
        octets.extend([
            0,
            0,
            41,
            4,
            208,
            0,
            0,
            0,
            0,
            0,
            u8::try_from(options.len()).unwrap_or(0),
        ]);
        octets.extend(options);
    }
    octets
}

/// What `respond` and the fast path cost: the best of several rounds, which is what is left when
/// nothing else wants the core. For the fast path the copy of the query into the buffer is counted,
/// and told apart; `None` where it leaves the query to `respond`.
#[allow(clippy::disallowed_methods)] // a benchmark measures time
fn nanoseconds(snapshot: &Snapshot, query: &[u8]) -> (u128, Option<u128>) {
    const CALLS: u32 = 500;
    let source: SocketAddr = ([133, 11, 0, 1], 5300).into();
    let meta = Meta {
        source,
        transport: Transport::Udp,
        now: UnixTime::default(),
    };
    let best = |call: &mut dyn FnMut()| -> u128 {
        let mut round = || -> Duration {
            let started = Instant::now();
            for _ in 0..CALLS {
                call();
            }
            started.elapsed()
        };
        let best = (0..400).map(|_| round()).min().unwrap_or_default();
        best.as_nanos() / u128::from(CALLS)
    };
    let mut out = Vec::new();
    let slow = best(&mut || {
        let outcome = respond(snapshot, black_box(query), &meta, &mut out);
        assert!(matches!(black_box(outcome), Outcome::Reply(_)));
    });
    let mut slot = [0_u8; 2048];
    let mut fast = || {
        slot[..query.len()].copy_from_slice(black_box(query));
        black_box(fast::answer(snapshot, &meta, &mut slot, query.len()))
    };
    let taken = matches!(fast(), Fast::Reply { .. });
    let fast = taken.then(|| {
        best(&mut || {
            fast();
        })
    });
    (slow, fast)
}
