//! What the fast path takes, what it leaves, and that it leaves it untouched. That the replies are
//! those of `respond` for any query at all is what `tests/differential` shows.

use std::sync::Arc;

use meridian_config::Name;
use meridian_geo_data::ClientMap;
use meridian_health_prober::HealthSnapshot;

use super::*;
use crate::{
    abuse::cookie::{Cookies, Secret, Secrets},
    answer::{Outcome, Transport, respond},
    build::build,
    snapshot::Identity,
    steer::{Standing, View},
    types::{UnixTime, rtype},
    zone::{ZoneSet, testing::zone},
};

/// Octets of a slot.
const SLOT: usize = 4096;

fn snapshot() -> Snapshot {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meridian.toml");
    let config = "[server]\nnsid = \"n\"\n[[zone]]\nname = \"unused.test\"\nfile = \"zone\"\n";
    std::fs::write(&path, config).unwrap();
    let text = "$TTL 300\n@ SOA ns root 1 2 3 4 60\n@ NS ns\nns A 192.0.2.53\n";
    std::fs::write(folder.path().join("zone"), text).unwrap();
    let config = meridian_config::load(&path).unwrap();
    let clients = ClientMap::open(&config.geo).unwrap();
    let built = build(&config, Arc::new(clients)).unwrap();
    let view = View::new(
        &built.steering,
        Arc::new(Standing::none()),
        Arc::new(HealthSnapshot::default()),
    );
    let lines = "www A 192.0.2.1\nalias CNAME www\n*.wild A 192.0.2.2\nsub NS ns.sub\n\
                 ns.sub A 192.0.2.3\nmail MX 10 www\nold DNAME www";
    Snapshot {
        generation: 1,
        zones: Arc::new(ZoneSet::new([zone("example.com", lines)])),
        steering: built.steering,
        view: Arc::new(view),
        identity: Arc::new(Identity {
            cookies: Cookies::on(Secrets::new(Secret::new([7; 16]), None), false),
            ..(*built.identity).clone()
        }),
    }
}

fn query(name: &str, qtype: u16, options: Option<&[u8]>) -> Vec<u8> {
    let name: Name = name.parse().unwrap();
    let mut octets = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(options.is_some())];
    octets.extend(name.as_wire());
    octets.extend(qtype.to_be_bytes());
    octets.extend([0, 1]);
    if let Some(options) = options {
        octets.extend([0, 0, 41, 4, 208, 0, 0, 0x80, 0]);
        octets.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
        octets.extend(options);
    }
    octets
}

/// The length of the reply, after comparing it with that of `respond`; `None` when it is left.
fn ask(snapshot: &Snapshot, query: &[u8]) -> Option<usize> {
    let meta = Meta {
        source: "192.0.2.200:5300".parse().unwrap(),
        transport: Transport::Udp,
        now: UnixTime(1_700_000_000),
    };
    let mut slot = vec![0; SLOT.max(query.len())];
    slot[..query.len()].copy_from_slice(query);
    match answer(snapshot, &meta, &mut slot, query.len()) {
        Fast::Slow => {
            assert_eq!(&slot[..query.len()], query);
            None
        }
        Fast::Drop(_) => panic!("nothing is dropped here"),
        Fast::Reply { len, summary } => {
            let mut out = Vec::new();
            let slow = respond(snapshot, query, &meta, &mut out);
            assert_eq!((&slot[..len], slow), (&out[..], Outcome::Reply(summary)));
            Some(len)
        }
    }
}

#[test]
fn what_resolvers_ask_is_taken() {
    let snapshot = snapshot();
    let ecs: &[u8] = &[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2];
    let nsid: &[u8] = &[0, 3, 0, 0];
    let cookie: &[u8] = &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    for (name, qtype) in [
        ("wWw.example.com", rtype::A),
        ("www.example.com", rtype::AAAA),
        ("nope.example.com", rtype::A),
        ("a.b.nope.example.com", rtype::TXT),
        ("alias.example.com", rtype::A),
        ("alias.example.com", rtype::AAAA),
        ("alias.example.com", rtype::CNAME),
        ("x.wild.example.com", rtype::A),
        ("x.wild.example.com", rtype::MX),
        ("a.sub.example.com", rtype::A),
        ("sub.example.com", rtype::NS),
        ("mail.example.com", rtype::MX),
        ("example.com", rtype::SOA),
        ("example.com", rtype::NS),
    ] {
        for options in [None, Some(&[][..]), Some(ecs), Some(nsid), Some(cookie)] {
            let octets = query(name, qtype, options);
            assert!(
                ask(&snapshot, &octets).is_some(),
                "{name} {qtype} {options:?}"
            );
        }
    }
}

#[test]
fn what_is_unusual_is_left_untouched() {
    let snapshot = snapshot();
    for (name, qtype) in [
        ("www.example.com", rtype::ANY),
        ("www.example.com", rtype::AXFR),
        ("x.old.example.com", rtype::A),
        ("example.com", rtype::DS),
        ("sub.example.com", rtype::DS),
        ("www.example.org", rtype::A),
        (".", rtype::NS),
    ] {
        assert_eq!(
            ask(&snapshot, &query(name, qtype, None)),
            None,
            "{name} {qtype}"
        );
    }
    let whole = query("www.example.com", rtype::A, Some(&[]));
    for length in 0..whole.len() {
        assert_eq!(ask(&snapshot, &whole[..length]), None, "{length}");
    }
    for (at, octet) in [(2, 0x80), (2, 0x08), (5, 2), (7, 1), (9, 1), (11, 2)] {
        let mut other = whole.clone();
        other[at] = octet;
        assert_eq!(ask(&snapshot, &other), None, "{at}");
    }
}

/// Row 10 of the failure classes: options are read once, in order, two of a kind have a defined
/// meaning, and however many there are the reply repeats at most one of each kind.
#[test]
fn row_10_many_options_make_no_large_reply() {
    let snapshot = snapshot();
    let reply = |options: &[u8]| {
        ask(
            &snapshot,
            &query("www.example.com", rtype::A, Some(options)),
        )
    };
    let plain = reply(&[]).unwrap();
    assert_eq!(reply(&[0xfd, 0xe9, 0, 0].repeat(900)), Some(plain));
    assert_eq!(reply(&[0, 3, 0, 0].repeat(900)), Some(plain + 5));
    let cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(reply(&cookie.repeat(300)), Some(plain + 28));
    let ecs = [0, 8, 0, 4, 0, 1, 0, 0];
    assert_eq!(reply(&ecs), Some(plain + 8));
    assert_eq!(reply(&ecs.repeat(2)), None, "respond() says FORMERR");
}
