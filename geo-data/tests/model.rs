//! `locate` against a model that knows nothing of ranges: networks and records in plain lists,
//! looked through one by one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use common::{
    Files, cell,
    mmdb_writer::{Value, Writer},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use meridian_config::{Family, PopId};
use meridian_geo_data::{ClientMap, Fold};
use proptest::prelude::*;

/// Places more than a cell apart; the index is the record.
const PLACES: [(&str, f64, f64); 5] = [
    ("JP", 35.69, 139.69),
    ("FR", 48.85, 2.35),
    ("US", 40.71, -74.01),
    ("BR", -23.55, -46.63),
    // The same square as Paris, in another country.
    ("DE", 48.85, 2.35),
];

/// Places of operator networks, far from any town: no country.
const SITES: [(f64, f64); 2] = [(0.0, -30.0), (-50.0, 100.0)];

/// What an address is judged to be: country of the database or place of the network; pin.
type Judgement = (Option<(String, i64, i64)>, Option<PopId>);

#[derive(Clone, Debug)]
struct World {
    /// Lists of (prefix, place), one a file; within a file the longest prefix wins.
    files: Vec<Vec<(IpNet, usize)>>,
    networks: Vec<(IpNet, Option<usize>, Option<u16>)>,
    aliases: bool,
}

impl World {
    fn open(&self) -> (Files, ClientMap) {
        let mut files = Files::new();
        for networks in &self.files {
            let mut writer = Writer::new(6, "Test-City");
            let mut sorted = with_fillers(networks);
            sorted.sort_by_key(|(net, _)| {
                net.prefix_len() + if net.addr().is_ipv4() { 96 } else { 0 }
            });
            for (net, place) in sorted {
                writer.insert(net, &record(place));
            }
            if self.aliases {
                writer.alias_ipv4();
            }
            files = files.city(writer.finish());
        }
        for (net, site, pop) in &self.networks {
            files = files.network(&net.to_string(), site.map(|site| SITES[site]), *pop);
        }
        let map = files.open().unwrap();
        (files, map)
    }

    fn judge(&self, address: IpAddr) -> Judgement {
        let folded = fold(address).1;
        let network = self
            .networks
            .iter()
            .filter(|(net, ..)| net.contains(&folded));
        let network = network.max_by_key(|(net, ..)| net.prefix_len());
        let site = network.and_then(|(_, site, _)| *site);
        let place = match site {
            Some(site) => Some((String::new(), SITES[site])),
            None => self.files.iter().find_map(|file| {
                let all = with_fillers(file);
                // Of equal prefixes the writer keeps the later.
                let (_, place) = all
                    .iter()
                    .filter(|(net, _)| net.contains(&folded))
                    .max_by_key(|(net, _)| net.prefix_len())?;
                let (country, latitude, longitude) = PLACES[*place];
                Some((country.to_owned(), (latitude, longitude)))
            }),
        };
        let round = |(country, (lat, lon)): (String, (f64, f64))| {
            (country, lat.round() as i64, lon.round() as i64)
        };
        (
            place.map(round),
            network.and_then(|(.., pop)| pop.map(PopId)),
        )
    }

    /// Addresses at and beside every edge that anything in this world has, in all their forms.
    fn edges(&self) -> Vec<IpAddr> {
        let mut all: Vec<IpNet> = self.files.iter().flatten().map(|(net, _)| *net).collect();
        all.extend(self.networks.iter().map(|(net, ..)| *net));
        for text in ["3fff:ffff::/32", "255.255.255.255/32", "0.0.0.0/0", "::/0"] {
            all.push(text.parse().unwrap());
        }
        all.extend(
            EMBEDDED
                .iter()
                .map(|(net, _)| net.parse::<IpNet>().unwrap()),
        );
        let mut out = Vec::new();
        for net in all {
            match net {
                IpNet::V4(net) => out.extend(edges_v4(net)),
                IpNet::V6(net) => out.extend(edges_v6(net)),
            }
        }
        out
    }
}

/// One record must say something, or the file is refused.
fn with_fillers(networks: &[(IpNet, usize)]) -> Vec<(IpNet, usize)> {
    let mut all = networks.to_vec();
    for filler in ["3fff:ffff::/32", "255.255.255.255/32"] {
        all.push((filler.parse().unwrap(), 0));
    }
    all
}

fn edges_v4(net: Ipv4Net) -> Vec<IpAddr> {
    let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
    let mut out = Vec::new();
    for bits in [first, last, first.wrapping_sub(1), last.wrapping_add(1)] {
        out.push(IpAddr::V4(Ipv4Addr::from_bits(bits)));
        let v4 = u128::from(bits);
        // The bits behind the address inside are anybody's.
        for v6 in [
            0xffff_0000_0000 | v4,
            0x0064_ff9b << 96 | v4,
            0x2002 << 112 | v4 << 80,
            0x2002 << 112 | v4 << 80 | ((1 << 80) - 1),
            0x2001_0000 << 96 | u128::from(!bits),
            0x2001_0000 << 96 | 0x1234_5678_9abc_def0 << 32 | u128::from(!bits),
        ] {
            out.push(IpAddr::V6(Ipv6Addr::from_bits(v6)));
        }
    }
    out
}

fn edges_v6(net: Ipv6Net) -> Vec<IpAddr> {
    let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
    [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
        .map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
        .to_vec()
}

const EMBEDDED: [(&str, Fold); 4] = [
    ("::ffff:0:0/96", Fold::Mapped),
    ("64:ff9b::/96", Fold::Nat64),
    ("2001::/32", Fold::Teredo),
    ("2002::/16", Fold::SixToFour),
];

fn fold(address: IpAddr) -> (Fold, IpAddr) {
    let IpAddr::V6(v6) = address else {
        return (Fold::None, address);
    };
    for (net, how) in EMBEDDED {
        if net.parse::<Ipv6Net>().unwrap().contains(&v6) {
            let o = v6.octets();
            let v4 = match how {
                Fold::SixToFour => [o[2], o[3], o[4], o[5]],
                Fold::Teredo => [!o[12], !o[13], !o[14], !o[15]],
                _ => [o[12], o[13], o[14], o[15]],
            };
            return (how, IpAddr::V4(v4.into()));
        }
    }
    (Fold::None, address)
}

fn record(place: usize) -> Value {
    let (country, latitude, longitude) = PLACES[place];
    Value::flat_city(country, latitude, longitude)
}

fn judged(map: &ClientMap, address: IpAddr) -> Judgement {
    let located = map.locate(address);
    let place = cell(map, &located).map(|cell| {
        let country = cell.country.map_or_else(String::new, |code| {
            String::from_utf8_lossy(&code).into_owned()
        });
        // The centre of the cell nearest to one of the known places.
        let known = PLACES.iter().map(|(_, lat, lon)| (*lat, *lon)).chain(SITES);
        let off = |(lat, lon): (f64, f64)| {
            (cell.center.latitude - lat)
                .abs()
                .max((cell.center.longitude - lon).abs())
        };
        let (lat, lon) = known.min_by(|a, b| off(*a).total_cmp(&off(*b))).unwrap();
        (country, lat.round() as i64, lon.round() as i64)
    });
    (place, located.pinned)
}

/// Prefixes that nest, touch and surround the embedded ranges.
fn prefix() -> impl Strategy<Value = IpNet> {
    let v4 = (0u32..16, 8u8..=32, any::<u8>())
        .prop_map(|(top, len, low)| (0xc000_0200_u32 ^ (top << 6) ^ u32::from(low) << 24, len))
        .prop_map(|(bits, len)| IpNet::new(Ipv4Addr::from_bits(bits).into(), len).unwrap());
    let v6 = (
        prop_oneof![
            Just(0x2001_u128),
            Just(0x2002),
            Just(0x2003),
            Just(0x0064),
            Just(0),
            any::<u16>().prop_map(u128::from)
        ],
        0u128..16,
        1u8..=64,
    )
        .prop_map(|(top, low, len)| (top << 112 | low << 108 | low << 64, len))
        .prop_map(|(bits, len)| IpNet::new(Ipv6Addr::from_bits(bits).into(), len).unwrap());
    prop_oneof![v4, v6].prop_map(|net| net.trunc())
}

/// Prefixes an operator may write: none of addresses that are judged by another inside.
fn operator_prefix() -> impl Strategy<Value = IpNet> {
    prefix().prop_filter("is judged as itself", |net| {
        let within = |range: &str| range.parse::<IpNet>().unwrap().contains(net);
        !EMBEDDED.iter().any(|(range, _)| within(range))
    })
}

fn world() -> impl Strategy<Value = World> {
    let file = proptest::collection::vec((prefix(), 0..PLACES.len()), 0..12);
    let network = (
        operator_prefix(),
        proptest::option::of(0..SITES.len()),
        proptest::option::of(0u16..3),
    )
        .prop_filter("says something", |(_, site, pop)| {
            site.is_some() || pop.is_some()
        });
    (
        proptest::collection::vec(file, 1..3),
        proptest::collection::vec(network, 0..8),
        any::<bool>(),
    )
        .prop_map(|(files, networks, aliases)| World {
            files,
            networks,
            aliases,
        })
}

/// Whether a record inside the database's IPv4-in-IPv6 space means something else to the model:
/// the tree holds IPv4 below `::/96`, which the model keeps apart.
fn reserved(net: &IpNet) -> bool {
    match net {
        IpNet::V6(net) => net.network().to_bits() >> 32 == 0 || net.prefix_len() < 16,
        IpNet::V4(_) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn every_address_inside_the_prefix_is_judged_alike_and_no_wider_prefix_would_do(
        mut world in world(), extra: Vec<u128>, extra_v4: Vec<u32>,
    ) {
        for file in &mut world.files {
            file.retain(|(net, _)| !reserved(net));
        }
        let (_files, map) = world.open();
        let edges = world.edges();
        let mut probes = edges.clone();
        probes.extend(extra.iter().map(|bits| IpAddr::V6(Ipv6Addr::from_bits(*bits))));
        probes.extend(extra_v4.iter().map(|bits| IpAddr::V4(Ipv4Addr::from_bits(*bits))));
        for address in probes {
            let located = map.locate(address);
            let expect = world.judge(address);
            prop_assert_eq!(judged(&map, address), expect.clone(), "{}", address);
            let (how, _) = fold(address);
            prop_assert_eq!(located.fold, how);
            // Whatever changes between two addresses changes at an edge, so it is enough to ask
            // all edges inside.
            let region = IpNet::new(address, located.prefix_len).unwrap().trunc();
            for edge in edges.iter().filter(|edge| region.contains(*edge)) {
                prop_assert_eq!(world.judge(*edge), expect.clone(), "{} in {} of {}", edge, region, address);
                prop_assert_eq!(map.locate(*edge).prefix_len, located.prefix_len);
            }
            if let Some(offset) = how.offset() {
                let inside = map.locate(fold(address).1).prefix_len;
                prop_assert_eq!(located.prefix_len, offset + inside);
            } else if located.prefix_len > 0 {
                let wider = region.supernet().unwrap();
                let alike = edges
                    .iter()
                    .filter(|edge| wider.contains(*edge))
                    .all(|edge| world.judge(*edge) == expect && fold(*edge).0 == how);
                prop_assert!(!alike, "{wider} would do for {address}, not only {region}");
            }
        }
    }

    #[test]
    fn description_and_location_agree(mut world in world()) {
        for file in &mut world.files {
            file.retain(|(net, _)| !reserved(net));
        }
        let (_files, map) = world.open();
        for address in world.edges() {
            let (located, described) = (map.locate(address), map.describe(address));
            prop_assert_eq!(described.cell, located.cell);
            prop_assert_eq!(described.pinned, located.pinned);
            prop_assert_eq!(described.location.is_some(), located.cell.is_some(), "{}", address);
            prop_assert!(described.prefix.contains(&address));
        }
    }

    #[test]
    fn ranges_of_blocks_cover_the_space_and_say_what_a_query_finds(mut world in world()) {
        for file in &mut world.files {
            file.retain(|(net, _)| !reserved(net));
        }
        let (_files, map) = world.open();
        let mut all = 0;
        map.each_range(Family::V4, |range| all += range.blocks);
        prop_assert_eq!(all, 1 << 24);
        for family in [Family::V4, Family::V6] {
            let mut wrong = Vec::new();
            map.each_range(family, |range| {
                if range.blocks == 0 || map.find(range.first).place != range.place {
                    wrong.push(range);
                }
            });
            prop_assert!(wrong.is_empty(), "{:?}", wrong);
        }
    }
}
