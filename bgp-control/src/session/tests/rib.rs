//! The Adj-RIB-Out against a router that reads with a second codec.

use std::collections::BTreeMap;

use ipnet::IpNet;
use proptest::prelude::*;

use super::{super::rib::*, second_codec::Router};
use crate::{Attributes, Desired, GRACEFUL_SHUTDOWN};

fn terms() -> Terms {
    Terms {
        local_as: 4_200_000_001,
        external: true,
        four_octet_as: true,
        ipv4: true,
        ipv6: true,
        extended_next_hop: false,
        local_address: "10.99.0.2".parse().unwrap(),
        peer_address: "10.99.0.1".parse().unwrap(),
    }
}

fn desired(prefix: &str, next_hop: &str, attributes: Option<Attributes>) -> Desired {
    Desired {
        prefix: prefix.parse().unwrap(),
        next_hop: next_hop.parse().unwrap(),
        attributes,
        reason: String::new(),
    }
}

fn allowed() -> Vec<IpNet> {
    [
        "192.0.2.0/24",
        "198.51.100.53/32",
        "2001:db8:53::/48",
        "0.0.0.0/0",
    ]
    .map(|net| net.parse().unwrap())
    .to_vec()
}

/// What is refused, and with which words.
#[test]
#[allow(clippy::too_many_lines)] // One table.
fn refusals() {
    let plain = || Some(Attributes::default());
    let blackhole = Some(Attributes {
        communities: vec![(0xffff, 666)],
        ..Attributes::default()
    });
    let v4_only = Terms {
        ipv6: false,
        ..terms()
    };
    let v6_session = Terms {
        local_address: "fd00::2".parse().unwrap(),
        peer_address: "fd00::1".parse().unwrap(),
        ..terms()
    };
    let rfc8950 = Terms {
        extended_next_hop: true,
        ..v6_session.clone()
    };
    let cases = [
        (terms(), desired("192.0.2.0/24", "0.0.0.0", plain()), ""),
        (
            terms(),
            desired("0.0.0.0/0", "0.0.0.0", plain()),
            "a default route is never announced",
        ),
        (
            terms(),
            desired("192.0.2.53/32", "0.0.0.0", plain()),
            "not a configured prefix",
        ),
        (terms(), desired("192.0.2.53/32", "0.0.0.0", blackhole), ""),
        (
            v4_only,
            desired("2001:db8:53::/48", "fd00::2", plain()),
            "the peer did not offer IPv6 unicast",
        ),
        (terms(), desired("2001:db8:53::/48", "fd00::2", plain()), ""),
        (
            terms(),
            desired("2001:db8:53::/48", "::", plain()),
            "an IPv6 route cannot have the IPv4 next hop 10.99.0.2; set an IPv6 next_hop",
        ),
        (
            v6_session.clone(),
            desired("192.0.2.0/24", "::", plain()),
            "an IPv4 route with the IPv6 next hop fd00::2 needs a peer that offers RFC 8950; set an IPv4 next_hop",
        ),
        (
            v6_session,
            desired("192.0.2.0/24", "10.99.0.2", plain()),
            "",
        ),
        (rfc8950, desired("192.0.2.0/24", "::", plain()), ""),
        (
            terms(),
            desired("192.0.2.0/24", "10.99.0.1", plain()),
            "the next hop 10.99.0.1 is the peer itself",
        ),
        (
            terms(),
            desired("192.0.2.0/24", "127.0.0.1", plain()),
            "127.0.0.1 cannot be a next hop",
        ),
        (
            terms(),
            desired("2001:db8:53::/48", "fe80::1", plain()),
            "fe80::1 cannot be a next hop",
        ),
    ];
    for (terms, route, expected) in cases {
        let speech = AdjRibOut::default().speak(std::slice::from_ref(&route), &allowed(), &terms);
        let reason = speech.refused.first().map_or("", |refused| &refused.reason);
        assert_eq!(reason, expected, "{route:?}");
        assert_eq!(speech.announced.is_empty(), !expected.is_empty());
        let mut router = Router::default();
        for message in &speech.messages {
            router.read(message, true);
        }
        assert_eq!(
            router.table.len(),
            usize::from(expected.is_empty()),
            "{route:?}"
        );
    }
}

#[test]
fn attributes_as_a_second_codec_reads_them() {
    let attributes = Attributes {
        med: 7,
        prepend: 2,
        communities: vec![GRACEFUL_SHUTDOWN, (64512, 100), GRACEFUL_SHUTDOWN],
        large_communities: vec![(4_200_000_001, 1, 2)],
    };
    let route = desired("198.51.100.53/32", "10.99.0.2", Some(attributes));
    for (external, four_octet_as) in [(true, true), (true, false), (false, true)] {
        let terms = Terms {
            external,
            four_octet_as,
            ..terms()
        };
        let speech = AdjRibOut::default().speak(std::slice::from_ref(&route), &allowed(), &terms);
        let mut router = Router::default();
        speech
            .messages
            .iter()
            .for_each(|message| router.read(message, four_octet_as));
        let seen = &router.table[&route.prefix];
        let path = if external {
            vec![4_200_000_001; 3]
        } else {
            Vec::new()
        };
        assert_eq!(seen.path, path);
        assert_eq!(
            (seen.med, seen.local_preference),
            (7, (!external).then_some(0))
        );
        assert_eq!(seen.communities, [(64512, 100), GRACEFUL_SHUTDOWN]);
        assert_eq!(seen.large_communities, [(4_200_000_001, 1, 2)]);
        assert_eq!(seen.next_hop.to_string(), "10.99.0.2");
    }
}

#[test]
fn a_path_of_256_numbers_fits_two_segments() {
    let attributes = Attributes {
        prepend: 255,
        ..Attributes::default()
    };
    let route = desired("198.51.100.53/32", "10.99.0.2", Some(attributes));
    let speech = AdjRibOut::default().speak(std::slice::from_ref(&route), &allowed(), &terms());
    let mut router = Router::default();
    speech
        .messages
        .iter()
        .for_each(|message| router.read(message, true));
    assert_eq!(router.table[&route.prefix].path.len(), 256);
}

#[test]
fn many_prefixes_take_several_messages_and_too_many_communities_none() {
    let allowed: Vec<IpNet> = (0..2000_u32)
        .map(|n| {
            IpNet::new(
                std::net::Ipv6Addr::from((0x2001_0db8_u128 << 96) | (u128::from(n) << 64)).into(),
                64,
            )
            .unwrap()
        })
        .collect();
    let route = |prefix: &IpNet, attributes| Desired {
        prefix: *prefix,
        next_hop: "fd00::2".parse().unwrap(),
        attributes: Some(attributes),
        reason: String::new(),
    };
    let all: Vec<_> = allowed
        .iter()
        .map(|prefix| route(prefix, Attributes::default()))
        .collect();
    let mut rib = AdjRibOut::default();
    let speech = rib.speak(&all, &allowed, &terms());
    assert!(speech.messages.len() > 4, "{}", speech.messages.len());
    let mut router = Router::default();
    speech
        .messages
        .iter()
        .for_each(|message| router.read(message, true));
    assert_eq!(router.table.len(), 2000);
    // A change that cannot be said withdraws what it would have replaced.
    let long = Attributes {
        communities: (0..2000).map(|n| (64512, n)).collect(),
        ..Attributes::default()
    };
    let speech = rib.speak(&[route(&allowed[0], long)], &allowed, &terms());
    speech
        .messages
        .iter()
        .for_each(|message| router.read(message, true));
    assert_eq!(router.table.len(), 0);
    assert_eq!(
        speech.refused[0].reason,
        "its attributes do not fit a message of 4096 octets"
    );
}

fn any_attributes() -> impl Strategy<Value = Attributes> {
    let communities = prop::collection::vec((0_u16..3, 0_u16..3), 0..4);
    let large = prop::collection::vec((0_u32..2, 0_u32..2, 0_u32..2), 0..3);
    (0_u32..3, 0_u8..4, communities, large).prop_map(|(med, prepend, communities, large)| {
        Attributes {
            med,
            prepend,
            communities,
            large_communities: large,
        }
    })
}

fn any_route() -> impl Strategy<Value = Desired> {
    let prefix = prop::sample::select(vec![
        "192.0.2.0/24",
        "198.51.100.53/32",
        "2001:db8:53::/48",
        "203.0.113.0/24",
        "0.0.0.0/0",
    ]);
    let next_hop = prop::sample::select(vec!["0.0.0.0", "10.99.0.2", "fd00::2", "::", "fe80::2"]);
    let attributes = prop::option::of(any_attributes());
    (prefix, next_hop, attributes)
        .prop_map(|(prefix, next_hop, attributes)| desired(prefix, next_hop, attributes))
}

proptest! {
    /// Whatever is desired one after the other, with refreshes in between: the router holds
    /// exactly what may be said of the last, and saying it again says nothing.
    #[test]
    fn the_router_holds_what_is_desired(
        steps in prop::collection::vec((prop::collection::vec(any_route(), 0..6), any::<bool>()), 1..6),
        external: bool, ipv4: bool, ipv6: bool, extended_next_hop: bool
    ) {
        let terms = Terms { external, ipv4, ipv6, extended_next_hop, ..terms() };
        let (mut rib, mut router) = (AdjRibOut::default(), Router::default());
        for (desired, refresh) in steps {
            if refresh {
                rib.refresh(super::super::codec::Family::V4);
                rib.refresh(super::super::codec::Family::V6);
            }
            let speech = rib.speak(&desired, &allowed(), &terms);
            speech.messages.iter().for_each(|message| router.read(message, true));
            prop_assert!(rib.speak(&desired, &allowed(), &terms).messages.is_empty());
            // An independent account: the last wish for a prefix that can be said.
            let mut wanted = BTreeMap::new();
            for route in desired {
                let fresh = AdjRibOut::default().speak(std::slice::from_ref(&route), &allowed(), &terms);
                if fresh.announced.contains(&route.prefix) {
                    let mut one = Router::default();
                    fresh.messages.iter().for_each(|message| one.read(message, true));
                    wanted.extend(one.table);
                }
            }
            prop_assert_eq!(&router.table, &wanted);
            prop_assert!(router.table.keys().all(|prefix| prefix.prefix_len() > 0));
            let told: Vec<_> = rib.routes().into_iter().map(|route| route.prefix).collect();
            prop_assert_eq!(told, wanted.into_keys().collect::<Vec<_>>());
        }
    }
}
