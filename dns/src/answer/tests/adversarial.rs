//! The failure classes of the answer path: total over everything that can be asked, bounded over
//! everything that a zone can hold.

use proptest::prelude::*;

use super::{
    super::{Transport, plan::MAX_CHAIN},
    world::{Ask, Reply, World},
};
use crate::{
    types::{rcode, rtype},
    zone::{
        ZoneSet,
        testing::{zone, zone_with},
    },
};

fn kinds() -> (World, [&'static str; 9]) {
    let zone = zone_with(
        "example.com",
        "www A 192.0.2.1
         a.ent TXT x
         *.wild MX 10 www
         sub NS ns.sub
         ns.sub A 192.0.2.2
         old DNAME new
         alias CNAME www",
        &["svc"],
    );
    let names = [
        ".",
        "example.com",
        "ent.example.com",
        "x.wild.example.com",
        "x.sub.example.com",
        "svc.example.com",
        "x.old.example.com",
        "alias.example.com",
        "nope.example.com",
    ];
    (World::new(ZoneSet::new([zone.unwrap()])), names)
}

#[test]
fn row_9_every_type_at_every_kind_of_name() {
    let (world, names) = kinds();
    for name in names {
        let mut ask = Ask::new(name, 0).edns(1232);
        for qtype in 0..=u16::MAX {
            ask.qtype = qtype;
            let reply = match qtype {
                0..300 => world.ask(&ask),
                _ => world.ask_quick(&ask),
            };
            assert_ne!(reply.rcode(), rcode::SERVFAIL);
        }
    }
}

#[test]
fn row_9_every_header() {
    let (world, names) = kinds();
    for name in &names[..3] {
        for qtype in [rtype::ANY, rtype::AXFR] {
            let mut octets = Ask::new(name, qtype).octets();
            for flags in 0..=u16::MAX {
                octets[2..4].copy_from_slice(&flags.to_be_bytes());
                let outcome = world.raw(Transport::Udp, &octets);
                let Some((summary, reply)) = outcome else {
                    assert!(flags & 0x8000 != 0);
                    continue;
                };
                assert_eq!(flags & 0x8000, 0);
                let opcode = (flags >> 11) & 0xf;
                assert_eq!(summary.rcode == rcode::NOTIMP, opcode != 0);
                assert_eq!(reply[2] & 0xf9, 0x80 | (flags >> 8) as u8 & 0x79);
                assert_eq!(reply[3] & 0xf0, flags as u8 & 0x10);
            }
        }
    }
}

#[test]
fn row_11_long_chains_and_loops_end() {
    let chain: String = (0..100)
        .map(|n| format!("c{n} CNAME c{}\n", n + 1))
        .collect();
    let lines = format!(
        "{chain}self CNAME self
         a CNAME b
         b CNAME a
         *.loop CNAME x.loop
         up DNAME up.up
         ping DNAME a.pong
         pong DNAME a.ping
         one DNAME two
         two DNAME one"
    );
    let world = World::new(ZoneSet::new([zone("example.com", &lines)]));
    let answers = |name: &str| -> usize {
        let ask = Ask::new(&format!("{name}.example.com"), rtype::A);
        let reply = world.ask_over(Transport::Tcp, &ask);
        assert_eq!((reply.rcode(), reply.aa()), (0, true), "{name}");
        assert!(reply.authority.is_empty());
        reply.answer.len()
    };
    assert_eq!(answers("c0"), MAX_CHAIN);
    assert_eq!(answers("self"), 1);
    assert_eq!(answers("a"), 2);
    assert_eq!(answers("y.loop"), 2);
    assert_eq!(answers("x.up"), 2, "a DNAME that leads below itself");
    assert_eq!(
        answers("x.ping"),
        2 + MAX_CHAIN,
        "two that lead below each other"
    );
    assert_eq!(answers("x.one"), 4);
}

#[test]
fn row_11_large_rrsets_are_bounded() {
    let deep = "x.".repeat(120);
    let lines: String = (0..6000)
        .map(|n| {
            format!(
                "big A 10.1.{}.{}\nns PTR n{n}.{}y\n",
                n / 250,
                n % 250,
                &deep[..200]
            )
        })
        .collect();
    let world = World::new(ZoneSet::new([zone("example.com", &lines)]));
    for name in ["big", "ns"] {
        for (transport, qtype) in [(Transport::Tcp, rtype::A), (Transport::Tcp, rtype::PTR)] {
            let reply = world.ask_over(transport, &Ask::new(&format!("{name}.example.com"), qtype));
            assert_eq!(
                reply.tc(),
                reply.answer.is_empty() && reply.authority.is_empty()
            );
        }
    }
}

#[test]
fn row_11_names_of_127_labels() {
    let mut world = World::new(ZoneSet::new([zone(
        "x",
        "*.x. TXT hello\n*.a.x. CNAME y.x.",
    )]));
    world.scope = 24;
    let deepest = "x.".repeat(126);
    for qtype in [rtype::TXT, rtype::A, rtype::ANY] {
        let name = format!("{deepest}x");
        let reply = world.ask(&Ask::new(&name, qtype).option(3, &[]));
        assert_eq!(reply.rcode(), 0);
        world.ask(&Ask::new(&format!("{}a.x", "b.".repeat(125)), qtype));
    }
}

#[test]
fn row_15_hostile_labels_come_back_as_they_are() {
    let world = World::new(ZoneSet::new([zone("example.com", "*.w TXT x")]));
    for label in [
        &b"\"><script>"[..],
        b"a.b",
        b"\0\0",
        b"\xff\xfe",
        b"a\nb",
        b"..",
        b"*",
    ] {
        let mut ask = Ask::new("w.example.com", rtype::TXT).edns(1232);
        ask.name.insert(0, u8::try_from(label.len()).unwrap());
        ask.name.splice(1..1, label.iter().copied());
        let reply = world.ask(&ask);
        assert_eq!(reply.answer[0].owner.as_wire(), ask.name);
    }
}

/// Names of few labels, so that generated ones meet.
fn label() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("c"), Just("*")].prop_map(str::to_owned)
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(label(), 0..5).prop_map(|labels| {
        if labels.is_empty() {
            "@".to_owned()
        } else {
            labels.join(".")
        }
    })
}

/// A zone of aliases, DNAMEs, cuts and addresses, with nothing beside a CNAME.
fn lines() -> impl Strategy<Value = String> {
    let target = prop_oneof![
        name(),
        name().prop_map(|n| format!("{n}.long-label-of-a-target"))
    ];
    let kind = prop::sample::select(vec!["A 192.0.2.1", "TXT t", "CNAME", "DNAME", "NS"]);
    prop::collection::vec((name(), kind, target), 1..12).prop_map(|records| {
        let mut seen = std::collections::HashMap::new();
        let mut text = String::new();
        for (owner, kind, target) in records {
            let target = target.replace("@.", "");
            let alone = matches!(kind, "CNAME" | "DNAME");
            let wild_ns = kind == "NS" && (owner.starts_with('*') || owner == "@");
            let taken = seen.get(&owner).is_some_and(|other| *other || alone);
            if wild_ns || taken || (alone && owner == "@" && kind == "CNAME") {
                continue;
            }
            seen.insert(owner.clone(), alone);
            let needs = !kind.contains(' ');
            let data = if needs { target.as_str() } else { "" };
            text += &format!("{owner} {kind} {data}\n");
        }
        let mut unique: Vec<&str> = text.lines().collect();
        unique.sort_unstable();
        unique.dedup();
        unique.join("\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Rows 7, 11 and 12: whatever aliases and rewrites a zone holds, replies are whole, in order
    /// and bounded.
    #[test]
    fn row_12_generated_rewrites(lines in lines(), names in prop::collection::vec(name(), 1..20)) {
        let world = World::new(ZoneSet::new([zone("example.com", &lines)]));
        for name in names {
            let name = match name.as_str() {
                "@" => "example.com".to_owned(),
                _ => format!("{name}.example.com"),
            };
            for qtype in [rtype::A, rtype::CNAME, rtype::DNAME, rtype::ANY, rtype::DS] {
                for transport in [Transport::Udp, Transport::Tcp] {
                    let reply = world.ask_over(transport, &Ask::new(&name, qtype));
                    prop_assert!(reply.answer.len() <= 2 * MAX_CHAIN + 12);
                }
            }
        }
    }

    /// Row 9: any octets after the header of a query.
    #[test]
    fn row_9_any_octets(counts: [u8; 4], tail: Vec<u8>, tcp: bool) {
        let (world, _) = kinds();
        let mut octets = vec![0, 1, 0, 0];
        octets.extend(counts.iter().flat_map(|count| [0, count % 3]));
        octets.extend(tail);
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        if let Some((summary, reply)) = world.raw(transport, &octets) {
            Reply::read(&reply, summary);
        }
    }

    /// Row 10: any options, and a reply that is no larger for them than ECS and NSID make it.
    #[test]
    fn row_10_any_options(options in prop::collection::vec((0_u16..20, any::<Vec<u8>>()), 0..40)) {
        let (world, _) = kinds();
        let mut ask = Ask::new("svc.example.com", rtype::A).edns(1232);
        for (code, data) in &options {
            ask = ask.option(*code, data);
        }
        let (summary, octets) = world.raw(Transport::Udp, &ask.octets()).unwrap();
        prop_assert!(octets.len() < 200);
        Reply::read(&octets, summary);
    }
}
