//! Explanations over the DNS: who gets them, what they say, and that they fit.

#![allow(clippy::panic)]

use std::{net::IpAddr, sync::Arc};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, RecordType},
};
use meridian_config::{Family, Name};
use meridian_geo_data::ClientMap;
use meridian_health_prober::HealthSnapshot;

use super::super::{Meta, Outcome, Transport, respond};
use crate::{
    build::build,
    fast,
    listen::Fast,
    snapshot::Snapshot,
    steer::{Standing, View},
    types::{UnixTime, rtype},
};

const LISTED: &str = "192.0.2.53";
const OTHER: &str = "192.0.3.53";
/// Fallback addresses and a wildcard service stand for the rest.
const ZONE: &str = "$TTL 300\n@ SOA ns root 1 2 3 4 60\n@ NS ns\nns A 192.0.2.53\n\
    www TXT \"the zone's own\"\n_explain.taken TXT \"real data\"\nalias CNAME www\n\
    again CNAME alias\nold DNAME wild\naway CNAME www.example.net.\nplain CNAME ns\nloop CNAME loop\n";

/// A snapshot with a pool of this many PoPs.
fn snapshot(pops: usize) -> Snapshot {
    let folder = tempfile::tempdir().unwrap();
    let mut config = String::from("[explain]\nclients = [\"192.0.2.0/24\", \"2001:db8::/32\"]\n");
    let names: Vec<_> = (0..pops).map(|n| format!("p{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        let (high, low) = (n / 200, n % 200 + 1);
        config.push_str(&format!(
            "[[pop]]\nname = {name:?}\nlatitude = {}\nlongitude = 8.6\n\
             endpoints = [\"198.51.{high}.{low}\", \"2001:db8:{high}::{low}\"]\n",
            50.0 - n as f64 / 100.0
        ));
    }
    config.push_str(&format!("[[pool]]\nname = \"edge\"\npops = {names:?}\n"));
    config.push_str("[[zone]]\nname = \"example.com\"\nfile = \"zone\"\n");
    for service in ["www", "taken", "*.wild"] {
        config.push_str(&format!(
            "[[zone.service]]\nname = {service:?}\npool = \"edge\"\n"
        ));
    }
    std::fs::write(folder.path().join("zone"), ZONE).unwrap();
    let path = folder.path().join("meridian.toml");
    std::fs::write(&path, config).unwrap();
    let config = meridian_config::load(&path).unwrap_or_else(|told| panic!("{told}"));
    let clients = Arc::new(ClientMap::open(&config.geo).unwrap());
    let built = build(&config, clients).unwrap_or_else(|told| panic!("{told}"));
    let standing = Arc::new(Standing::none());
    let view = View::new(
        &built.steering,
        standing,
        Arc::new(HealthSnapshot::default()),
    );
    Snapshot {
        generation: 1,
        zones: built.zones,
        steering: built.steering,
        view: Arc::new(view),
        identity: built.identity,
    }
}

fn query(name: &str, qtype: u16, options: Option<&[u8]>) -> Vec<u8> {
    let name: Name = name.parse().unwrap();
    let extra = u8::from(options.is_some());
    let mut octets = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, extra];
    octets.extend(name.as_wire());
    octets.extend(qtype.to_be_bytes());
    octets.extend([0, 1]);
    if let Some(options) = options {
        octets.extend([0, 0, 41, 4, 208, 0, 0, 0, 0]);
        octets.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
        octets.extend(options);
    }
    octets
}

/// The reply, from whichever path takes the query; both must agree.
fn ask(snapshot: &Snapshot, source: &str, transport: Transport, query: &[u8]) -> (Message, bool) {
    let meta = Meta {
        source: (source.parse::<IpAddr>().unwrap(), 5300).into(),
        transport,
        now: UnixTime(1_700_000_000),
    };
    let mut out = Vec::new();
    assert!(matches!(
        respond(snapshot, query, &meta, &mut out),
        Outcome::Reply(_)
    ));
    let most = if transport == Transport::Udp {
        1232
    } else {
        65_535
    };
    assert!(out.len() <= most);
    let mut slot = vec![0; 4096];
    slot[..query.len()].copy_from_slice(query);
    let fast = match fast::answer(snapshot, &meta, &mut slot, query.len()) {
        Fast::Reply { len, .. } => {
            assert_eq!(slot[..len], out);
            true
        }
        _ => false,
    };
    (Message::from_vec(&out).unwrap(), fast)
}

/// The character strings of each TXT record.
fn texts(reply: &Message) -> Vec<Vec<String>> {
    let records = reply.answers.iter().map(|record| {
        assert_eq!((record.record_type(), record.ttl), (RecordType::TXT, 0));
        let RData::TXT(txt) = &record.data else {
            panic!("{record}")
        };
        let strings = txt.txt_data.iter();
        strings
            .map(|one| String::from_utf8(one.to_vec()).unwrap())
            .collect()
    });
    records.collect()
}

#[test]
fn a_listed_client_is_told_at_explain() {
    let snapshot = snapshot(3);
    for name in ["_explain.www.example.com", "_ExPlain.a.wild.example.com"] {
        for options in [None, Some(&[][..])] {
            let octets = query(name, rtype::TXT, options);
            let (reply, fast) = ask(&snapshot, LISTED, Transport::Udp, &octets);
            assert!(!fast && reply.metadata.authoritative && !reply.metadata.truncation);
            let told = texts(&reply);
            assert_eq!(told.len(), 2, "A and AAAA");
            assert!(told[0][0].starts_with("A p0: "), "{told:?}");
            assert!(told[1][0].starts_with("AAAA p0: "), "{told:?}");
            if options.is_some() {
                assert!(told[0][1].contains("ttl 30 s; scope /"), "{told:?}");
                assert!(told[0][2].starts_with("p0 usable"), "{told:?}");
            }
            assert!(told.iter().flatten().all(|one| one.len() <= 255));
            assert!(
                !told.concat().concat().contains("192.0.2."),
                "no address of a client"
            );
        }
    }
}

/// As far as an answer to the alias itself would go.
#[test]
fn aliases_are_followed_and_where_they_end_is_said() {
    let snapshot = snapshot(3);
    let told = |name: &str| {
        let octets = query(name, rtype::TXT, Some(&[]));
        let (reply, _) = ask(&snapshot, LISTED, Transport::Udp, &octets);
        assert_eq!(
            reply.metadata.response_code,
            ResponseCode::NoError,
            "{name}"
        );
        texts(&reply)
    };
    for (name, service) in [
        ("_explain.alias.example.com", "www.example.com."),
        ("_explain.again.example.com", "www.example.com."),
        ("_explain.x.old.example.com", "*.wild.example.com."),
    ] {
        let all = told(name);
        assert_eq!(all.len(), 2, "A and AAAA");
        assert!(all[0][0].starts_with("A p0: "), "{all:?}");
        let end = format!("an alias of {service}, of which this is told");
        assert_eq!(all[0][1], end);
    }
    for (name, end) in [
        ("_explain.away.example.com", "www.example.net."),
        ("_explain.plain.example.com", "ns.example.com."),
        ("_explain.loop.example.com", "loop.example.com."),
    ] {
        let all = told(name);
        let begin = format!("an alias of {end}, where this answer ends");
        assert!(all.len() == 1 && all[0][0].starts_with(&begin), "{all:?}");
    }
}

/// It is another question with another answer, not another view of the zone.
#[test]
fn for_others_it_is_as_if_not_there() {
    let snapshot = snapshot(3);
    let octets = query("_explain.www.example.com", rtype::TXT, Some(&[]));
    let (reply, fast) = ask(&snapshot, OTHER, Transport::Udp, &octets);
    assert!(fast, "no detour for anybody else");
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    // Who the packet says its client is has no say.
    let ecs: &[u8] = &[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2];
    let octets = query("_explain.www.example.com", rtype::TXT, Some(ecs));
    let (reply, _) = ask(&snapshot, OTHER, Transport::Udp, &octets);
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    let (reply, _) = ask(&snapshot, LISTED, Transport::Udp, &octets);
    assert_eq!(texts(&reply).len(), 2);
    // A socket bound to :: reports IPv4 clients like this.
    let mapped = "::ffff:192.0.2.53";
    assert_eq!(
        texts(&ask(&snapshot, mapped, Transport::Udp, &octets).0).len(),
        2
    );
}

#[test]
fn the_zones_own_data_and_other_types_stay() {
    let snapshot = snapshot(3);
    let ask = |name, qtype| {
        let reply = ask(&snapshot, LISTED, Transport::Udp, &query(name, qtype, None)).0;
        (reply.metadata.response_code, reply.answers.len())
    };
    let table = [
        ("www.example.com", rtype::TXT, ResponseCode::NoError, 1),
        (
            "_explain.taken.example.com",
            rtype::TXT,
            ResponseCode::NoError,
            1,
        ),
        (
            "_explain.taken.example.com",
            rtype::A,
            ResponseCode::NoError,
            0,
        ),
        (
            "_explain.www.example.com",
            rtype::A,
            ResponseCode::NXDomain,
            0,
        ),
        (
            "_explain.alias.example.com",
            rtype::TXT,
            ResponseCode::NoError,
            2,
        ),
        (
            "_explain.ns.example.com",
            rtype::TXT,
            ResponseCode::NXDomain,
            0,
        ),
        (
            "_explain.nope.example.com",
            rtype::TXT,
            ResponseCode::NXDomain,
            0,
        ),
        ("_explain.example.org", rtype::TXT, ResponseCode::Refused, 0),
        ("_explain", rtype::TXT, ResponseCode::Refused, 0),
    ];
    for (name, qtype, rcode, answers) in table {
        assert_eq!(ask(name, qtype), (rcode, answers), "{name} {qtype}");
    }
}

/// Forged sources cannot make us explain large pools.
#[test]
fn large_pools_are_explained_over_tcp() {
    let snapshot = snapshot(65);
    let octets = query("_explain.www.example.com", rtype::TXT, Some(&[]));
    let (reply, _) = ask(&snapshot, LISTED, Transport::Udp, &octets);
    assert!(reply.metadata.truncation && reply.answers.is_empty());
    let (reply, _) = ask(&snapshot, LISTED, Transport::Tcp, &octets);
    let told = texts(&reply);
    assert_eq!(told.len(), 2);
    for record in told {
        let octets: usize = record.iter().map(|one| 1 + one.len()).sum();
        assert!(octets <= 512, "{octets}");
    }
}

/// EDNS options of a reply that are extended errors.
fn errors(reply: &[u8]) -> Vec<(u16, String)> {
    let at = reply
        .windows(5)
        .rposition(|window| window == [0, 0, 41, 4, 208])
        .unwrap();
    let mut rest = &reply[at + 11..];
    let mut found = Vec::new();
    while let [c0, c1, l0, l1, data @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        if [*c0, *c1] == [0, 15] {
            let code = u16::from_be_bytes([data[0], data[1]]);
            let text = String::from_utf8(data[2..length].to_vec()).unwrap();
            found.push((code, text));
        }
        rest = &data[length..];
    }
    found
}

/// RFC 8914 §2: INFO-CODE 0 is "Other", and EXTRA-TEXT says what.
#[test]
fn rfc_8914_reasons_beside_the_answer_when_asked_for() {
    let (small, large) = (snapshot(3), snapshot(65));
    let asking: [&[u8]; 2] = [&[0, 15, 0, 2, 0, 0], &[0, 15, 0, 0]];
    let plain: [&[u8]; 3] = [&[], &[0, 15, 0, 2, 0, 1], &[0, 15, 0, 3, 0, 0, b'x']];
    let reply = |snapshot: &Snapshot, source: &str, transport, options: &[u8]| {
        let octets = query("www.example.com", rtype::A, Some(options));
        let meta = Meta {
            source: (source.parse::<IpAddr>().unwrap(), 5300).into(),
            transport,
            now: UnixTime(1_700_000_000),
        };
        let mut out = Vec::new();
        respond(snapshot, &octets, &meta, &mut out);
        let fast = ask(snapshot, source, transport, &octets).1;
        assert_eq!(Message::from_vec(&out).unwrap().answers.len(), 1);
        (errors(&out), fast)
    };
    for options in asking {
        let (told, fast) = reply(&small, LISTED, Transport::Udp, options);
        assert!(!fast && told.len() == 1 && told[0].0 == 0, "{told:?}");
        assert!(
            told[0].1.contains("p0") && told[0].1.contains("ttl 30 s"),
            "{told:?}"
        );
        assert_eq!(
            reply(&small, OTHER, Transport::Udp, options),
            (vec![], true)
        );
        let (told, _) = reply(&large, LISTED, Transport::Udp, options);
        assert!(told[0].1.len() < 60, "only the reason: {told:?}");
    }
    for options in plain {
        assert_eq!(
            reply(&small, LISTED, Transport::Udp, options),
            (vec![], true)
        );
    }
}

#[test]
fn an_explanation_follows_what_an_answer_follows() {
    use super::super::{End, follow};

    let snapshot = snapshot(2);
    let of = |name: &str| follow(&snapshot.zones, &name.parse().unwrap(), Family::V4);
    for (name, service, aliases) in [
        ("www.example.com", "www.example.com.", ""),
        ("WWW.Example.com", "www.example.com.", ""),
        ("alias.example.com", "www.example.com.", "www.example.com."),
        (
            "again.example.com",
            "www.example.com.",
            "alias.example.com. www.example.com.",
        ),
        ("x.wild.example.com", "*.wild.example.com.", ""),
        (
            "x.old.example.com",
            "*.wild.example.com.",
            "x.wild.example.com.",
        ),
    ] {
        let found = of(name).unwrap();
        let answered = snapshot.steering.service(found.service).unwrap();
        let told: Vec<String> = found.aliases.iter().map(Name::to_string).collect();
        assert_eq!(
            (&*answered.name.to_string(), &*told.join(" ")),
            (service, aliases),
            "{name}"
        );
    }
    for (name, end, text) in [
        ("ns.example.com", End::Static, "its addresses stand"),
        (
            "plain.example.com",
            End::Static,
            "an alias of ns.example.com.; of that one: its addresses",
        ),
        (
            "away.example.com",
            End::Elsewhere,
            "an alias of www.example.net.; of that one: the answer ends",
        ),
        (
            "loop.example.com",
            End::Elsewhere,
            "an alias of loop.example.com.;",
        ),
        ("none.example.com", End::NoName, "no such name"),
        ("example.com", End::NoData, "no service and no addresses"),
        ("www.example.net", End::NoZone, "no zone"),
    ] {
        let refused = of(name).unwrap_err();
        assert_eq!(refused.why, end, "{name}");
        assert!(refused.to_string().contains(text), "{refused}");
    }
}
