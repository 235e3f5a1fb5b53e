//! Cookies in replies (RFC 7873 §5), and the kind that a reply is judged by.

use std::{cell::Cell, net::IpAddr, sync::Arc};

use meridian_config::{Family, Name, RateLimit, RateLimitMode};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    super::{Meta, Outcome, Transport, opt::UDP_SIZE, plan::Steer, respond_with},
    world::{Ask, NOW, Reply, World},
};
use crate::{
    abuse::{
        Gate, Kind, Limits, Verdict,
        cookie::{Cookies, Secret, Secrets, State},
    },
    client::Client,
    steer::Decision,
    types::{ServiceId, rcode, rtype},
    zone::{ZoneSet, testing::zone_with},
};

const COOKIE: u16 = 10;
const CLIENT: [u8; 8] = *b"clientA!";

fn secrets() -> Secrets {
    Secrets::new(Secret::new([7; 16]), None)
}

fn world() -> World {
    let zone = zone_with(
        "example.com",
        "www A 192.0.2.1\n alias CNAME www\n dead CNAME nope\n sub NS ns.example.net.\n*.w A 192.0.2.2\n old DNAME w",
        &["svc"],
    );
    World::new(ZoneSet::new([zone.unwrap()]))
}

fn requiring() -> World {
    let mut world = world();
    world.identity.cookies = Cookies::on(secrets(), true);
    world
}

/// The cookie that a client at this address has from us.
fn known(source: &str) -> Vec<u8> {
    let server = secrets().make(CLIENT, source.parse().unwrap(), NOW);
    [&CLIENT[..], &server].concat()
}

fn ask(cookie: &[u8]) -> Ask {
    Ask::new("www.example.com", rtype::A).option(COOKIE, cookie)
}

/// A message without a question.
fn only(options: &[u8]) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    message.extend([0, 0, 41, 4, 208, 0, 0, 0, 0]);
    message.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
    message.extend(options);
    message
}

fn option(code: u16, data: &[u8]) -> Vec<u8> {
    let mut option = code.to_be_bytes().to_vec();
    option.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    option.extend(data);
    option
}

#[test]
fn rfc_7873_5_2_every_cookie_is_answered_with_one_that_is_valid() {
    let ours = known("192.0.2.200");
    let rows: [(&[u8], State); 5] = [
        (&CLIENT, State::ClientOnly),
        (&ours, State::Valid),
        (&known("192.0.2.201"), State::Invalid),
        (&[1; 16], State::Invalid),
        (&[1; 40], State::Invalid),
    ];
    for (sent, state) in rows {
        let reply = world().ask(&ask(sent));
        assert_eq!((reply.rcode(), reply.answer.len()), (rcode::NOERROR, 1));
        assert_eq!(reply.summary.cookie, state);
        let given = reply.option(COOKIE).unwrap();
        assert_eq!((given.len(), &given[..8]), (24, &sent[..8]));
        assert_eq!(world().ask(&ask(&given)).summary.cookie, State::Valid);
    }
    let reply = world().ask(&Ask::new("www.example.com", rtype::A).edns(1232));
    assert_eq!(reply.option(COOKIE), None);
    assert_eq!(reply.summary.cookie, State::Absent);
}

#[test]
fn rfc_7873_5_2_2_a_malformed_option_is_a_format_error() {
    for length in [0, 7, 9, 15, 41] {
        let reply = world().ask(&ask(&vec![1; length]));
        assert_eq!(reply.rcode(), rcode::FORMERR, "{length}");
        assert!(reply.answer.is_empty() && reply.options().is_empty());
        let mut off = world();
        off.identity.cookies = Cookies::OFF;
        assert_eq!(off.ask(&ask(&vec![1; length])).rcode(), rcode::NOERROR);
    }
}

#[test]
fn rfc_7873_5_2_3_badcookie_only_where_required_and_over_udp() {
    let world = requiring();
    let bad = world.ask(&ask(&CLIENT));
    assert_eq!((bad.rcode(), bad.answer.len()), (rcode::BADCOOKIE, 0));
    assert_eq!(bad.summary.kind, Kind::Error);
    let given = bad.option(COOKIE).unwrap();
    assert_eq!(world.ask(&ask(&[2; 24])).rcode(), rcode::BADCOOKIE);
    assert_eq!(world.ask(&ask(&given)).rcode(), rcode::NOERROR);
    let tcp = world.ask_over(Transport::Tcp, &ask(&CLIENT));
    assert_eq!(tcp.rcode(), rcode::NOERROR);
    assert!(tcp.option(COOKIE).is_some());
    let plain = Ask::new("www.example.com", rtype::A);
    assert_eq!(world.ask(&plain).rcode(), rcode::NOERROR);
    assert_eq!(world.ask(&plain.edns(1232)).rcode(), rcode::NOERROR);
}

#[test]
fn rfc_7873_5_3_refusals_carry_the_cookie_too() {
    let mut notify = ask(&CLIENT);
    notify.flags |= 4 << 11;
    let rows = [
        (notify, rcode::NOTIMP),
        (ask(&CLIENT).class(4), rcode::REFUSED),
        (ask(&CLIENT).option(8, &[0, 1, 24, 9]), rcode::FORMERR),
    ];
    for (query, rcode) in rows {
        let reply = world().ask(&query);
        assert_eq!(reply.rcode(), rcode);
        assert!(reply.option(COOKIE).is_some(), "{rcode}");
    }
}

#[test]
fn rfc_7873_5_4_a_query_for_a_cookie_alone() {
    let stale = known("192.0.2.201");
    let rows: [(Vec<u8>, u16); 6] = [
        (option(COOKIE, &CLIENT), rcode::NOERROR),
        (option(COOKIE, &known("192.0.2.200")), rcode::NOERROR),
        (option(COOKIE, &stale), rcode::BADCOOKIE),
        (option(COOKIE, &[1; 9]), rcode::FORMERR),
        (option(3, &[]), rcode::FORMERR),
        (Vec::new(), rcode::FORMERR),
    ];
    for world in [world(), requiring()] {
        for transport in [Transport::Udp, Transport::Tcp] {
            for (options, rcode) in &rows {
                let (summary, octets) = world.raw(transport, &only(options)).unwrap();
                let reply = Reply::read(&octets, summary);
                assert_eq!(reply.rcode(), *rcode, "{options:?}");
                assert!(reply.question.is_empty() && !reply.aa());
                let given = reply.option(COOKIE).is_some();
                assert_eq!(given, *rcode != rcode::FORMERR, "{options:?}");
            }
        }
    }
    let mut off = world();
    off.identity.cookies = Cookies::OFF;
    let (summary, _) = off
        .raw(Transport::Udp, &only(&option(COOKIE, &CLIENT)))
        .unwrap();
    assert_eq!(summary.rcode, rcode::FORMERR);
    let signed = [0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0];
    let mut message = only(&option(COOKIE, &CLIENT));
    message[11] = 2;
    message.extend(signed);
    let (summary, _) = world().raw(Transport::Udp, &message).unwrap();
    assert_eq!(summary.rcode, rcode::FORMERR);
}

/// Row 18 of the failure classes: whose address? The cookie is bound to the address that the packet
/// came from, whatever ECS says.
#[test]
fn row_18_cookies_are_judged_by_the_source_of_the_packet() {
    let ecs = [0, 1, 32, 0, 192, 0, 2, 200];
    for (address, state) in [
        ("192.0.2.200", State::Valid),
        ("192.0.2.201", State::Invalid),
    ] {
        let reply = world().ask(&ask(&known(address)).option(8, &ecs));
        assert_eq!(reply.summary.cookie, state);
        let elsewhere = [0, 1, 24, 0, 203, 0, 113];
        let reply = world().ask(&ask(&known(address)).option(8, &elsewhere));
        assert_eq!(reply.summary.cookie, state);
    }
}

/// Notes whom it steers.
struct Noting<'w>(&'w World, Cell<Option<Client>>);

impl Steer for Noting<'_> {
    fn decide(&self, service: ServiceId, client: &Client, family: Family) -> Decision {
        self.1.set(Some(*client));
        self.0.decide(service, client, family)
    }
}

/// Row 18 of the failure classes: each consumer and the address that it goes by, with and without ECS,
/// with an opt-out, and with ECS that claims to be somebody else. (Access to the admin API goes by its
/// connection, and nothing in a DNS message is an access rule.)
#[test]
fn row_18_each_consumer_and_the_address_it_goes_by() {
    let source: IpAddr = "192.0.2.200".parse().unwrap();
    let own = known("192.0.2.200");
    let theirs = known("203.0.113.9");
    let rows: [(Option<&[u8]>, &str); 4] = [
        (None, "192.0.2.200"),
        (Some(&[0, 1, 24, 0, 203, 0, 113]), "203.0.113.0"),
        (Some(&[0, 1, 0, 0]), "192.0.2.200"),
        (Some(&[0, 1, 32, 0, 203, 0, 113, 9]), "203.0.113.9"),
    ];
    let world = world();
    let limits = Limits::from(&RateLimit {
        mode: RateLimitMode::On,
        responses_per_second: 1,
        ..RateLimit::default()
    });
    for (ecs, steered) in rows {
        let gate = Arc::new(Gate::random());
        gate.prepare(&limits);
        let mut seat = gate.seat();
        for (cookie, state) in [(&own, State::Valid), (&theirs, State::Invalid)] {
            let mut query = Ask::new("svc.example.com", rtype::A).option(COOKIE, cookie);
            if let Some(ecs) = ecs {
                query = query.option(8, ecs);
            }
            let noting = Noting(&world, Cell::new(None));
            let meta = Meta {
                source: (source, 5300).into(),
                transport: Transport::Udp,
                now: NOW,
            };
            let mut out = Vec::new();
            let outcome = respond_with(&world, &noting, &query.octets(), &meta, &mut out);
            assert!(matches!(outcome, Outcome::Reply(_)));
            let Outcome::Reply(summary) = outcome else {
                continue;
            };
            // Geo: ECS, unless the client opts out.
            let client = noting.1.get().unwrap().address;
            assert_eq!(client, steered.parse::<IpAddr>().unwrap());
            // Cookie: the packet's source.
            assert_eq!(summary.cookie, state, "{ecs:?}");
            // Rates: the packet's source, whatever ECS says; a valid cookie is not charged.
            let now = gate.start();
            let verdicts = [
                seat.judge(&limits, source, &summary, now),
                seat.judge(&limits, source, &summary, now),
            ];
            let passes = verdicts.map(|verdict| verdict == Verdict::Send);
            assert_eq!(passes, [true, state == State::Valid]);
            let elsewhere = "203.0.113.9".parse().unwrap();
            let verdict = seat.judge(&limits, elsewhere, &summary, now);
            assert_eq!(verdict, Verdict::Send);
        }
    }
}

#[test]
fn a_cookie_stays_when_the_rest_of_opt_does_not_fit() {
    let mut world = world();
    world.identity.nsid = Some(vec![b'n'; 400].into());
    let long = vec!["a".repeat(60); 4].join(".");
    let name = format!("{}.example.com", &long[..240]);
    let reply = world.ask(
        &Ask::new(&name, rtype::A)
            .edns(512)
            .option(3, &[])
            .option(COOKIE, &CLIENT),
    );
    assert!(reply.option(3).is_none() && reply.option(COOKIE).is_some());
    assert!(reply.octets.len() <= usize::from(UDP_SIZE));
}

/// Name and type asked for, the kind of the reply, and the name it is put down to.
const PUT_DOWN_TO: [(&str, u16, Kind, &str); 14] = [
    ("wWw.example.com", rtype::A, Kind::Answer, "www.example.com"),
    (
        "alias.example.com",
        rtype::A,
        Kind::Answer,
        "alias.example.com",
    ),
    ("svc.example.com", rtype::A, Kind::Answer, "svc.example.com"),
    ("x.w.example.com", rtype::A, Kind::Answer, "*.w.example.com"),
    (
        "a.b.w.example.com",
        rtype::MX,
        Kind::NoData,
        "*.w.example.com",
    ),
    ("w.example.com", rtype::A, Kind::NoData, "w.example.com"),
    (
        "www.example.com",
        rtype::MX,
        Kind::NoData,
        "www.example.com",
    ),
    (
        "svc.example.com",
        rtype::TXT,
        Kind::NoData,
        "svc.example.com",
    ),
    (
        "nothing.example.com",
        rtype::A,
        Kind::NxDomain,
        "example.com",
    ),
    ("x.www.example.com", rtype::A, Kind::NxDomain, "example.com"),
    (
        "dead.example.com",
        rtype::A,
        Kind::NxDomain,
        "dead.example.com",
    ),
    (
        "a.sub.example.com",
        rtype::A,
        Kind::Referral,
        "sub.example.com",
    ),
    (
        "sub.example.com",
        rtype::A,
        Kind::Referral,
        "sub.example.com",
    ),
    (
        "x.old.example.com",
        rtype::A,
        Kind::Answer,
        "old.example.com",
    ),
];

#[test]
fn kinds_and_what_replies_are_put_down_to() {
    for (name, qtype, kind, owner) in PUT_DOWN_TO {
        let reply = world().ask(&Ask::new(name, qtype));
        assert_eq!(reply.summary.kind, kind, "{name}");
        let owner: Name = owner.parse().unwrap();
        assert_eq!(reply.summary.imputed, xxh3_64(owner.as_wire()), "{name}");
    }
    for (name, qtype) in [
        ("elsewhere.test", rtype::A),
        ("www.example.com", rtype::OPT),
    ] {
        let reply = world().ask(&Ask::new(name, qtype));
        assert_eq!(
            (reply.summary.kind, reply.summary.imputed),
            (Kind::Error, 0)
        );
    }
}
