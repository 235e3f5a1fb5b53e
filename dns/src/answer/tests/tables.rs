//! Replies by the section of the RFC that they test.

use super::{
    super::Transport,
    world::{Ask, Reply, World},
};
use crate::{
    steer::Reason,
    types::{ServiceId, rcode, rtype},
    zone::{
        ZoneSet,
        testing::{zone, zone_with},
    },
};

const A: u16 = rtype::A;
const EDE: u16 = 15;

fn world() -> World {
    let main = zone_with(
        "example.com",
        "www A 192.0.2.1
         www A 192.0.2.2
         alias CNAME www
         two CNAME alias
         far CNAME www.example.org.
         dead CNAME nope
         empty CNAME mail
         tosvc CNAME svc
         tosub CNAME host.sub
         toorg CNAME www.sub.hosted
         mail MX 10 mx1
         mail MX 20 mx2
         mail MX 30 mx1
         mail MX 40 svc
         mx1 A 192.0.2.3
         mx1 AAAA 2001:db8::3
         mx2 A 192.0.2.4
         _sip._udp SRV 1 2 3 mx1
         sub NS ns.sub
         sub NS ns.sibling
         sub NS mx1
         sub NS ns.example.net.
         ns.sub A 192.0.2.5
         sibling NS ns.sibling
         ns.sibling A 192.0.2.6
         old DNAME new
         host.new A 192.0.2.7
         oldorg DNAME example.org.
         *.wild TXT synthesised",
        &["svc", "@", "*.geo"],
    );
    World::new(ZoneSet::new([
        main.unwrap(),
        zone("hosted.test", ""),
        zone("sub.hosted.test", ""),
    ]))
}

fn shape(reply: &Reply) -> (u16, bool, Vec<String>, Vec<String>, Vec<String>) {
    let lines = Reply::lines;
    (
        reply.rcode(),
        reply.aa(),
        lines(&reply.answer),
        lines(&reply.authority),
        lines(&reply.additional),
    )
}

/// Asks and compares rcode, AA, answer, authority and additional.
fn check(name: &str, qtype: u16, rcode: u16, aa: bool, sections: [&[&str]; 3]) {
    let reply = world().ask(&Ask::new(name, qtype).edns(1232));
    let [answer, authority, additional] = sections.map(|lines| {
        lines
            .iter()
            .map(|line| (*line).to_owned())
            .collect::<Vec<_>>()
    });
    assert_eq!(
        shape(&reply),
        (rcode, aa, answer, authority, additional),
        "{name} {qtype}"
    );
}

const SOA: &[&str] = &["SOA 60 example.com."];

#[test]
fn rfc_1034_4_3_2_answers() {
    check(
        "www.example.com",
        A,
        0,
        true,
        [&["A 300 www.example.com."; 2], &[], &[]],
    );
    check("www.example.com", rtype::TXT, 0, true, [&[], SOA, &[]]);
    check("wild.example.com", A, 0, true, [&[], SOA, &[]]);
    check(
        "a.wild.example.com",
        rtype::TXT,
        0,
        true,
        [&["TXT 300 a.wild.example.com."], &[], &[]],
    );
    check(
        "nope.example.com",
        A,
        rcode::NXDOMAIN,
        true,
        [&[], SOA, &[]],
    );
}

#[test]
fn rfc_1034_3_6_2_aliases_stand_first_and_in_order() {
    check(
        "two.example.com",
        A,
        0,
        true,
        [
            &[
                "CNAME 300 two.example.com.",
                "CNAME 300 alias.example.com.",
                "A 300 www.example.com.",
                "A 300 www.example.com.",
            ],
            &[],
            &[],
        ],
    );
    check(
        "two.example.com",
        rtype::CNAME,
        0,
        true,
        [&["CNAME 300 two.example.com."], &[], &[]],
    );
    check(
        "two.example.com",
        rtype::ANY,
        0,
        true,
        [&["CNAME 300 two.example.com."], &[], &[]],
    );
    check(
        "far.example.com",
        A,
        0,
        true,
        [&["CNAME 300 far.example.com."], &[], &[]],
    );
    check(
        "tosub.example.com",
        A,
        0,
        true,
        [
            &["CNAME 300 tosub.example.com."],
            &["NS 300 sub.example.com."; 4],
            &[
                "A 300 ns.sub.example.com.",
                "A 300 ns.sibling.example.com.",
                "A 300 mx1.example.com.",
                "AAAA 300 mx1.example.com.",
            ],
        ],
    );
}

#[test]
fn rfc_6604_the_last_name_decides() {
    check(
        "dead.example.com",
        A,
        rcode::NXDOMAIN,
        true,
        [&["CNAME 300 dead.example.com."], SOA, &[]],
    );
    check(
        "empty.example.com",
        A,
        0,
        true,
        [&["CNAME 300 empty.example.com."], SOA, &[]],
    );
}

#[test]
fn rfc_1034_4_2_1_referrals() {
    check(
        "x.sub.example.com",
        A,
        0,
        false,
        [
            &[],
            &["NS 300 sub.example.com."; 4],
            &[
                "A 300 ns.sub.example.com.",
                "A 300 ns.sibling.example.com.",
                "A 300 mx1.example.com.",
                "AAAA 300 mx1.example.com.",
            ],
        ],
    );
    // RFC 4035 §3.1.4.1
    check("sub.example.com", rtype::DS, 0, true, [&[], SOA, &[]]);
}

#[test]
fn rfc_6672_3_1_dname() {
    check(
        "HOST.old.example.com",
        A,
        0,
        true,
        [
            &[
                "DNAME 300 old.example.com.",
                "CNAME 300 HOST.old.example.com.",
                "A 300 HOST.new.example.com.",
            ],
            &[],
            &[],
        ],
    );
    check(
        "a.b.oldorg.example.com",
        A,
        0,
        true,
        [
            &[
                "DNAME 300 oldorg.example.com.",
                "CNAME 300 a.b.oldorg.example.com.",
            ],
            &[],
            &[],
        ],
    );
    check(
        "nope.old.example.com",
        A,
        rcode::NXDOMAIN,
        true,
        [
            &[
                "DNAME 300 old.example.com.",
                "CNAME 300 nope.old.example.com.",
            ],
            SOA,
            &[],
        ],
    );
    check("old.example.com", A, 0, true, [&[], SOA, &[]]);
    check(
        "a.old.example.com",
        rtype::CNAME,
        0,
        true,
        [
            &["DNAME 300 old.example.com.", "CNAME 300 a.old.example.com."],
            &[],
            &[],
        ],
    );
}

#[test]
fn rfc_6672_3_2_overflow_is_yxdomain() {
    let world = World::new(ZoneSet::new([zone(
        "example.com",
        "o DNAME a-target-that-is-longer-than-its-owner",
    )]));
    let name = format!("{}o.example.com", "x.".repeat(115));
    let reply = world.ask(&Ask::new(&name, A).edns(1232));
    assert_eq!(
        shape(&reply),
        (
            rcode::YXDOMAIN,
            true,
            vec!["DNAME 300 o.example.com.".to_owned()],
            vec![],
            vec![]
        )
    );
}

#[test]
fn rfc_1035_3_3_9_addresses_of_mail_and_service_hosts() {
    check(
        "mail.example.com",
        rtype::MX,
        0,
        true,
        [
            &["MX 300 mail.example.com."; 4],
            &[],
            &[
                "A 300 mx1.example.com.",
                "AAAA 300 mx1.example.com.",
                "A 300 mx2.example.com.",
            ],
        ],
    );
    check(
        "_sip._udp.example.com",
        rtype::SRV,
        0,
        true,
        [
            &["SRV 300 _sip._udp.example.com."],
            &[],
            &["A 300 mx1.example.com.", "AAAA 300 mx1.example.com."],
        ],
    );
}

#[test]
fn a_wildcard_gives_addresses_of_targets_in_its_zone_only() {
    let lines = "@ MX 10 x.hosts\n@ MX 20 x.elsewhere.test.\n@ MX 30 y.sub\n\
                 * A 192.0.2.1\n*.hosts A 192.0.2.2\nsub NS y.sub\n*.sub A 192.0.2.3";
    let world = World::new(ZoneSet::new([zone("example.com", lines)]));
    let reply = world.ask(&Ask::new("example.com", rtype::MX));
    assert_eq!(
        Reply::lines(&reply.additional),
        ["A 300 x.hosts.example.com."]
    );
}

#[test]
fn steered_answers_and_their_summary() {
    let world = world();
    let reply = world.ask(&Ask::new("svc.example.com", A));
    assert_eq!(Reply::lines(&reply.answer), ["A 30 svc.example.com."; 2]);
    assert_eq!(
        reply.answer[0].rdata,
        [198, 51, 100, 7],
        "order of the decision"
    );
    let steered = reply.summary.steered.unwrap();
    assert_eq!(
        (steered.service, steered.reason),
        (ServiceId(0), Reason::Nearest)
    );
    check(
        "x.geo.example.com",
        rtype::AAAA,
        0,
        true,
        [&["AAAA 30 x.geo.example.com."], &[], &[]],
    );
    check(
        "x.geo.example.com",
        rtype::ANY,
        0,
        true,
        [&["A 30 x.geo.example.com."; 2], &[], &[]],
    );
    check("svc.example.com", rtype::MX, 0, true, [&[], SOA, &[]]);
    check(
        "example.com",
        rtype::NS,
        0,
        true,
        [&["NS 300 example.com."], &[], &[]],
    );
    check(
        "tosvc.example.com",
        rtype::AAAA,
        0,
        true,
        [
            &["CNAME 300 tosvc.example.com.", "AAAA 30 svc.example.com."],
            &[],
            &[],
        ],
    );
}

#[test]
fn a_family_without_addresses_is_nodata_with_its_scope() {
    let mut world = world();
    world.addresses.retain(std::net::IpAddr::is_ipv4);
    let ask = Ask::new("svc.example.com", rtype::AAAA).option(8, &[0, 1, 24, 0, 203, 0, 113]);
    let reply = world.ask(&ask);
    assert_eq!(Reply::lines(&reply.authority), ["SOA 60 example.com."]);
    assert_eq!(reply.option(8).unwrap()[3], 20);
    world.addresses.clear();
    world.addresses.push("2001:db8::1".parse().unwrap());
    let any = world.ask(&Ask::new("svc.example.com", rtype::ANY));
    assert_eq!(Reply::lines(&any.answer), ["AAAA 30 svc.example.com."]);
}

#[test]
fn rfc_7871_7_2_1_scope() {
    let v4: &[u8] = &[0, 1, 24, 0, 203, 0, 113];
    let v6: &[u8] = &[0, 2, 33, 0, 0x20, 1, 0xd, 0xb8, 0x80];
    let cases: &[(&str, &[u8], u8)] = &[
        ("svc.example.com", v4, 20),
        ("svc.example.com", v6, 20),
        ("tosvc.example.com", v4, 20),
        ("www.example.com", v4, 0),
        ("nope.example.com", v4, 0),
        ("elsewhere.test", v4, 0),
        // Opt-out: §7.1.2, and what `dig +subnet=0` sends.
        ("svc.example.com", &[0, 1, 0, 0], 0),
        ("svc.example.com", &[0, 2, 0, 0], 0),
        ("svc.example.com", &[0, 0, 0, 0], 0),
    ];
    for (name, option, scope) in cases {
        let reply = world().ask(&Ask::new(name, A).option(8, option));
        let mut expected = option.to_vec();
        expected[3] = *scope;
        assert_eq!(reply.option(8), Some(expected), "{name}");
        assert!(reply.summary.ecs);
    }
    // Contract, invariant 4.
    let reply = world().ask(&Ask::new("svc.example.com", A).edns(1232));
    assert_eq!(reply.options(), []);
    let wrong = Ask::new("svc.example.com", A).option(8, &[0, 1, 24, 1, 203, 0, 113]);
    let reply = world().ask(&wrong);
    assert_eq!((reply.rcode(), reply.options()), (rcode::FORMERR, vec![]));
}

#[test]
fn rfc_5001_nsid_only_when_asked() {
    let reply = world().ask(&Ask::new("www.example.com", A).option(3, &[]));
    assert_eq!(reply.options(), [(3, b"fra1".to_vec())]);
    let reply = world().ask(&Ask::new("elsewhere.test", A).option(3, &[]));
    assert_eq!(reply.option(3), Some(b"fra1".to_vec()));
}

#[test]
fn rfc_8914_extended_errors() {
    let mut world = world();
    let codes = |world: &World, name: &str, qtype: u16| -> Vec<u16> {
        let reply = world.ask(&Ask::new(name, qtype).edns(1232));
        let errors = reply.options().into_iter().filter(|(code, _)| *code == EDE);
        errors
            .map(|(_, data)| u16::from_be_bytes([data[0], data[1]]))
            .collect()
    };
    assert_eq!(codes(&world, "elsewhere.test", A), [20]);
    assert_eq!(codes(&world, "example.com", rtype::AXFR), [18]);
    assert_eq!(codes(&world, "elsewhere.test", rtype::AXFR), [20]);
    assert_eq!(codes(&world, "example.com", rtype::NXNAME), [30]);
    assert_eq!(codes(&world, "svc.example.com", A), [0; 0]);
    world.reason = Reason::LastResortDown;
    assert_eq!(codes(&world, "svc.example.com", A), [0]);
    world.identity.stale = true;
    assert_eq!(codes(&world, "svc.example.com", A), [3, 0]);
    assert_eq!(codes(&world, "www.example.com", A), [3]);
    let plain = world.ask(&Ask::new("svc.example.com", A));
    assert!(plain.opt.is_none(), "nothing without EDNS");
}

#[test]
fn types_and_classes_that_are_refused() {
    let rcode_of = |name: &str, qtype: u16, qclass: u16| {
        let reply = world().ask(&Ask::new(name, qtype).class(qclass));
        assert!(reply.answer.is_empty() && reply.authority.is_empty());
        assert!(!reply.aa());
        reply.rcode()
    };
    for (qtype, expected) in [
        (rtype::AXFR, rcode::REFUSED),
        (rtype::IXFR, rcode::REFUSED),
        (rtype::MAILA, rcode::NOTIMP),
        (rtype::MAILB, rcode::NOTIMP),
        (rtype::OPT, rcode::FORMERR),
        (rtype::TSIG, rcode::FORMERR),
        (rtype::TKEY, rcode::FORMERR),
        (rtype::NXNAME, rcode::FORMERR),
    ] {
        assert_eq!(rcode_of("example.com", qtype, 1), expected, "{qtype}");
    }
    for qclass in [0, 2, 4, 254, 255, 65535] {
        assert_eq!(
            rcode_of("example.com", A, qclass),
            rcode::REFUSED,
            "{qclass}"
        );
    }
    assert_eq!(rcode_of("example.net", A, 1), rcode::REFUSED);
    assert_eq!(rcode_of(".", rtype::NS, 1), rcode::REFUSED);
}

#[test]
fn rfc_4892_chaos() {
    let ask = |name: &str, qtype: u16| world().ask(&Ask::new(name, qtype).class(3));
    for name in ["version.bind", "VERSION.server"] {
        let reply = ask(name, rtype::TXT);
        assert_eq!(reply.rcode(), 0);
        assert_eq!(reply.answer[0].rdata, b"\x08meridian");
        assert_eq!((reply.answer[0].class, reply.answer[0].ttl), (3, 0));
    }
    assert_eq!(ask("version.bind", A).rcode(), 0);
    assert_eq!(
        ask("id.server", rtype::TXT).rcode(),
        rcode::REFUSED,
        "not configured"
    );
    assert_eq!(ask("authors.bind", rtype::TXT).rcode(), rcode::REFUSED);
    assert_eq!(ask("www.example.com", A).rcode(), rcode::REFUSED);
}

#[test]
fn rfc_8945_5_2_1_unknown_keys() {
    let mut query = Ask::new("www.example.com", A).octets();
    query[11] = 1;
    let rdata = [
        &b"\x01h\0"[..],
        &[0, 0, 1, 2, 3, 4, 1, 44, 0, 1, 9, 0xab, 0xcd, 0, 0, 0, 0],
    ];
    query.extend(b"\x01k\0\0\xfa\0\xff\0\0\0\0\0");
    query.push(20);
    query.extend(rdata.concat());
    let (summary, reply) = world().raw(Transport::Udp, &query).unwrap();
    assert_eq!(summary.rcode, rcode::NOTAUTH);
    let reply = Reply::read(&reply, summary);
    assert!(reply.answer.is_empty());
    let tsig = &reply.additional[0];
    assert_eq!((tsig.rtype, tsig.class, tsig.ttl), (rtype::TSIG, 255, 0));
    assert_eq!(
        tsig.rdata,
        [
            &b"\x01h\0"[..],
            &[0, 0, 1, 2, 3, 4, 1, 44, 0, 0, 0xab, 0xcd, 0, 17, 0, 0]
        ]
        .concat()
    );
}

#[test]
fn refusals_have_opt_when_the_query_had() {
    let mut query = Ask::new("www.example.com", A).edns(1232).octets();
    let version = query.len() - 5;
    query[version] = 1;
    let (summary, octets) = world().raw(Transport::Udp, &query).unwrap();
    let reply = Reply::read(&octets, summary);
    assert_eq!(reply.rcode(), rcode::BADVERS);
    let opt = reply.opt.unwrap();
    assert_eq!(opt.ttl, 0x0100_8000, "extended rcode, version 0, DO");
    assert_eq!(reply.octets[3] & 0x0f, 0);
}

#[test]
fn rfc_2181_9_truncation_keeps_rrsets_whole() {
    let many: String = (0..200).map(|n| format!("many A 10.0.0.{n}\n")).collect();
    let lines = format!("{many}tomany CNAME many\nmx MX 1 many\nlong TXT x\n");
    let world = World::new(ZoneSet::new([zone("example.com", &lines)]));
    let udp = world.ask(&Ask::new("tomany.example.com", A).edns(4096));
    assert!(udp.tc());
    assert_eq!(Reply::lines(&udp.answer), ["CNAME 300 tomany.example.com."]);
    assert!(udp.authority.is_empty());
    let tcp = world.ask_over(Transport::Tcp, &Ask::new("tomany.example.com", A));
    assert!(!tcp.tc());
    assert_eq!(tcp.answer.len(), 201);
    // Additional data that does not fit is no truncation.
    let mx = world.ask(&Ask::new("mx.example.com", rtype::MX));
    assert!(!mx.tc() && mx.additional.is_empty());
    let mx = world.ask_over(Transport::Tcp, &Ask::new("mx.example.com", rtype::MX));
    assert_eq!(mx.additional.len(), 200);
}

#[test]
fn rfc_9471_3_1_glue_that_is_needed_sets_tc() {
    let glue =
        |n: u32| format!("in NS ns{n}.in\nns{n}.in A 10.0.0.{n}\nns{n}.in AAAA 2001:db8::{n}\n");
    let sibling = |n: u32| format!("out NS ns{n}.in\n");
    let lines: String = (1..=12).map(|n| glue(n) + &sibling(n)).collect();
    let world = World::new(ZoneSet::new([zone("example.com", &lines)]));
    let needed = world.ask(&Ask::new("x.in.example.com", A));
    assert!(needed.tc());
    let room = world.ask(&Ask::new("x.in.example.com", A).edns(1232));
    assert!(!room.tc());
    assert_eq!(room.additional.len(), 24);
    let optional = world.ask(&Ask::new("x.out.example.com", A));
    assert!(!optional.tc());
    assert!((1..24).contains(&optional.additional.len()));
}

#[test]
fn rfc_6891_6_2_3_sizes() {
    let many: String = (0..100).map(|n| format!("many A 10.0.0.{n}\n")).collect();
    let few: String = (0..40).map(|n| format!("few A 10.0.0.{n}\n")).collect();
    let world = World::new(ZoneSet::new([zone("example.com", &(many + &few))]));
    for (name, size, truncated) in [
        ("few", Some(0), true),
        ("few", Some(512), true),
        ("few", None, true),
        ("few", Some(1232), false),
        ("many", Some(65535), true),
    ] {
        let mut ask = Ask::new(&format!("{name}.example.com"), A);
        if let Some(size) = size {
            ask = ask.edns(size);
        }
        assert_eq!(world.ask(&ask).tc(), truncated, "{name} {size:?}");
    }
}

#[test]
fn one_address_takes_49_octets_for_a_name_of_15() {
    let reply = world().ask(&Ask::new("mx2.example.com", A));
    assert_eq!(
        reply.octets.len(),
        12 + 17 + 4 + 16,
        "owner as a pointer to the question"
    );
}
