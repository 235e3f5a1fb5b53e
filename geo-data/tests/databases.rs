//! Databases of every schema and layout, and databases that must be refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use common::{
    Files, at, cell, country, database,
    mmdb_writer::{Value, Writer, push_node},
};
use meridian_config::{Coordinates, PopId};
use meridian_geo_data::{Fold, Source, distance::haversine_km};
use proptest::prelude::*;

const TOKYO: (f64, f64) = (35.69, 139.69);
const PARIS: (f64, f64) = (48.85, 2.35);

fn tokyo() -> Value {
    Value::nested_city("JP", "AS", TOKYO.0, TOKYO.1)
}

fn paris() -> Value {
    Value::flat_city("FR", PARIS.0, PARIS.1)
}

fn near(place: Coordinates, (latitude, longitude): (f64, f64)) -> bool {
    haversine_km(
        place,
        Coordinates {
            latitude,
            longitude,
        },
    ) < 17.8
}

#[test]
fn every_schema_is_told_by_its_fields() {
    let text = |t: &str| Value::text(t);
    let records = [
        tokyo(),
        Value::flat_city("JP", TOKYO.0, TOKYO.1),
        Value::map([
            ("country", text("JP")),
            ("lat", text("35.69")),
            ("lng", text("139.69")),
        ]),
        Value::map([
            ("country_code", text("JP")),
            ("country", text("Japan")),
            ("loc", text("35.69,139.69")),
        ]),
    ];
    for record in records {
        for bits in [24, 28, 32] {
            let mut writer = Writer::new(6, "whatever it is called").record_size(bits);
            writer.insert("192.0.2.0/24".parse().unwrap(), &record);
            writer.insert("2001:db8::/32".parse().unwrap(), &record);
            let map = Files::new().city(writer.finish()).open().unwrap();
            for address in ["192.0.2.7", "2001:db8::7"] {
                let located = at(&map, address);
                let cell = cell(&map, &located).unwrap();
                assert!(near(cell.center, TOKYO), "{record:?}");
                assert_eq!((cell.country, cell.continent), (Some(*b"JP"), Some(*b"AS")));
            }
            assert_eq!(at(&map, "192.0.2.7").prefix_len, 24);
            assert_eq!(at(&map, "2001:db8::7").prefix_len, 32);
            assert_eq!(at(&map, "192.0.3.7").cell, None);
            assert_eq!(map.databases()[0].level, "city");
        }
    }
}

#[test]
fn country_records_stand_where_people_live() {
    let records = [
        Value::map([("country", Value::map([("iso_code", Value::text("CA"))]))]),
        Value::map([("country_code", Value::text("CA"))]),
        Value::map([("country", Value::text("CA"))]),
    ];
    for record in records {
        let map = Files::new()
            .city(database(4, &[("192.0.2.0/24", record)]))
            .open()
            .unwrap();
        let cell = cell(&map, &at(&map, "192.0.2.1")).unwrap().clone();
        assert!(
            haversine_km(
                cell.center,
                Coordinates {
                    latitude: 47.0,
                    longitude: -85.0
                }
            ) < 500.0
        );
        assert_eq!((cell.country, cell.continent), (Some(*b"CA"), Some(*b"NA")));
        assert_eq!(map.databases()[0].level, "country");
    }
}

#[test]
fn separate_files_for_the_two_families_and_order_of_files() {
    let files = Files::new()
        .city(database(4, &[("192.0.2.0/25", tokyo())]))
        .city(database(6, &[("2001:db8::/32", paris())]))
        .city(database(
            4,
            &[("192.0.2.0/24", paris()), ("198.51.100.0/24", paris())],
        ));
    let map = files.open().unwrap();
    assert_eq!(country(&map, "192.0.2.1"), "JP");
    assert_eq!(at(&map, "192.0.2.1").prefix_len, 25);
    assert_eq!(country(&map, "192.0.2.129"), "FR");
    assert_eq!(at(&map, "192.0.2.129").prefix_len, 25);
    assert_eq!(country(&map, "198.51.100.1"), "FR");
    assert_eq!(country(&map, "2001:db8::1"), "FR");
    assert_eq!(map.files().len(), 3);
    assert_eq!(map.databases().len(), 3);
}

/// What `geo lookup` and `explain` show is read from the file again: the one that was loaded.
#[test]
fn details_outlive_a_file_that_is_replaced_or_removed_but_not_one_that_is_overwritten() {
    let files = Files::new().city(database(4, &[("192.0.2.0/24", tokyo())]));
    let path = &files.geo.city[0];
    let map = files.open().unwrap();
    let address = "192.0.2.1".parse().unwrap();
    let first = map.describe(address);
    assert!(first.location.is_some() && first.details_gone.is_empty());

    let next = files.folder.path().join("next");
    std::fs::write(&next, database(4, &[("192.0.2.0/24", paris())])).unwrap();
    std::fs::rename(&next, path).unwrap();
    assert_eq!(map.describe(address), first, "replaced");
    std::fs::remove_file(path).unwrap();
    assert_eq!(map.describe(address), first, "removed");

    std::fs::write(path, database(4, &[("192.0.2.0/24", tokyo())])).unwrap();
    let map = files.open().unwrap();
    for overwritten in [
        Vec::new(),
        database(
            4,
            &[("198.51.100.0/24", paris()), ("192.0.2.0/24", paris())],
        ),
    ] {
        std::fs::write(path, overwritten).unwrap();
        let told = map.describe(address);
        assert_eq!(told.details_gone.as_slice(), std::slice::from_ref(path));
        assert_eq!(told.location, None);
        assert_eq!(
            (told.cell, told.cell_data, told.source),
            (first.cell, first.cell_data.clone(), first.source.clone())
        );
    }
}

#[test]
fn an_ipv4_address_inside_an_ipv6_address_is_what_counts() {
    let mut writer = Writer::new(6, "Test-City");
    writer.insert("2000::/3".parse().unwrap(), &paris());
    writer.insert("192.0.2.0/24".parse().unwrap(), &tokyo());
    writer.alias_ipv4();
    let map = Files::new().city(writer.finish()).open().unwrap();
    let table = [
        ("::ffff:192.0.2.1", Fold::Mapped, 96 + 24),
        ("64:ff9b::192.0.2.1", Fold::Nat64, 96 + 24),
        ("2002:c000:201::1", Fold::SixToFour, 16 + 24),
        (
            "2001:0:4136:e378:8000:63bf:3fff:fdfe",
            Fold::Teredo,
            96 + 24,
        ),
    ];
    for (address, fold, len) in table {
        let located = at(&map, address);
        assert_eq!((located.fold, located.prefix_len), (fold, len), "{address}");
        assert_eq!(country(&map, address), "JP", "{address}");
    }
    // Beside the embedded ranges the database counts, up to their edge.
    assert_eq!(country(&map, "2003::1"), "FR");
    assert_eq!(at(&map, "2003::1").prefix_len, 16);
    assert_eq!(at(&map, "2001:1::1").prefix_len, 32);
    // `::/96` holds the database's IPv4 addresses, which are no IPv6 clients.
    assert_eq!(at(&map, "::192.0.2.1").cell, None);
}

#[test]
fn a_record_above_the_ipv4_addresses_is_of_ipv6_only() {
    let file = database(6, &[("::/8", paris()), ("2001:db8::/32", paris())]);
    let map = Files::new().city(file).open().unwrap();
    assert_eq!(country(&map, "1::1"), "FR");
    assert_eq!(country(&map, "2001:db8::1"), "FR");
    for address in ["::1", "::192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"] {
        assert_eq!(country(&map, address), "--", "{address}");
        assert_eq!(
            map.describe(address.parse().unwrap()).location,
            None,
            "{address}"
        );
    }
}

#[test]
fn operator_networks_beat_the_database_and_the_longest_wins() {
    let files = Files::new()
        .city(database(4, &[("192.0.2.0/24", tokyo())]))
        .network("192.0.2.0/25", Some(PARIS), None)
        .network("192.0.2.64/26", None, Some(3))
        .network("203.0.113.0/24", None, Some(1))
        .network("203.0.113.128/26", Some(PARIS), Some(2))
        .network("2001:db8::/32", Some(TOKYO), None);
    let map = files.open().unwrap();
    let judge = |address: &str| {
        let located = at(&map, address);
        (
            cell(&map, &located).map(|cell| near(cell.center, TOKYO)),
            located.pinned,
            located.prefix_len,
        )
    };
    assert_eq!(judge("192.0.2.200"), (Some(true), None, 25));
    assert_eq!(judge("192.0.2.1"), (Some(false), None, 26));
    // Pinned without a place: the database still knows where it is.
    assert_eq!(judge("192.0.2.65"), (Some(true), Some(PopId(3)), 26));
    assert_eq!(judge("203.0.113.1"), (None, Some(PopId(1)), 25));
    assert_eq!(judge("203.0.113.130"), (Some(false), Some(PopId(2)), 26));
    assert_eq!(judge("2001:db8::1"), (Some(true), None, 32));
    let exact = cell(&map, &at(&map, "192.0.2.1")).unwrap();
    assert_eq!((exact.center.latitude, exact.center.longitude), PARIS);
    // The operator names no country; the nearest town does.
    assert_eq!(
        (exact.country, exact.continent),
        (Some(*b"FR"), Some(*b"EU"))
    );
}

#[test]
fn description_says_where_it_comes_from() {
    let city = Value::map([
        (
            "city",
            Value::map([("names", Value::map([("en", Value::text("Tokyo"))]))]),
        ),
        ("country", Value::map([("iso_code", Value::text("JP"))])),
        (
            "location",
            Value::map([
                ("latitude", Value::Double(TOKYO.0)),
                ("longitude", Value::Double(TOKYO.1)),
            ]),
        ),
    ]);
    let asn = Value::map([
        ("autonomous_system_number", Value::U32(64_500)),
        ("autonomous_system_organization", Value::text("EXAMPLE")),
    ]);
    let files = Files::new()
        .city(database(4, &[("192.0.2.0/24", city)]))
        .asn(database(6, &[("192.0.0.0/16", asn)]))
        .network("192.0.2.128/25", Some(PARIS), None);
    let map = files.open().unwrap();
    let one = map.describe("::ffff:192.0.2.1".parse().unwrap());
    assert_eq!(one.judged, "192.0.2.1".parse::<IpAddr>().unwrap());
    assert_eq!(one.prefix.to_string(), "::ffff:192.0.2.0/121");
    assert_eq!(one.city.as_deref(), Some("Tokyo"));
    assert_eq!(
        (one.asn, one.as_name.as_deref()),
        (Some(64_500), Some("EXAMPLE"))
    );
    assert_eq!(one.location.map(|l| (l.latitude, l.longitude)), Some(TOKYO));
    assert!(matches!(one.source, Source::Database(file) if file.ends_with("city0.mmdb")));
    let two = map.describe("192.0.2.129".parse().unwrap());
    assert_eq!(
        two.source,
        Source::Network("192.0.2.128/25".parse().unwrap())
    );
    assert_eq!(two.location.map(|l| (l.latitude, l.longitude)), Some(PARIS));
    assert_eq!(two.city, None);
    let three = map.describe("198.51.100.1".parse().unwrap());
    assert_eq!((three.source, three.location), (Source::Nothing, None));
}

#[test]
fn the_bundled_database_serves_without_any_file() {
    let map = Files::new().open().unwrap();
    let table = [
        ("133.11.0.1", "JP"),
        ("129.132.1.1", "CH"),
        ("200.160.2.3", "BR"),
        ("2001:638::1", "DE"),
        ("2001:4860:4860::8888", "US"),
        ("2002:850b:1::1", "JP"),
        ("::ffff:129.132.1.1", "CH"),
        ("127.0.0.1", "--"),
        ("fe80::1", "--"),
    ];
    for (address, code) in table {
        assert_eq!(country(&map, address), code, "{address}");
    }
    let tokyo = map.describe("133.11.0.1".parse().unwrap());
    assert_eq!(tokyo.source, Source::Database("bundled".to_owned()));
    assert!(map.files().is_empty());
    let info = &map.databases()[0];
    assert_eq!((info.level, info.ip_version), ("country", 6));
    assert!(info.build_epoch > 1_700_000_000);
}

#[test]
fn mistakes_in_records_are_refused() {
    let text = |t: &str| Value::text(t);
    let table = [
        (
            Value::flat_city("FR", 91.0, 2.0),
            "in the record of 192.0.2.0/24, `latitude` is 91, beyond ±90 degrees",
        ),
        (
            Value::flat_city("FR", f64::NAN, 2.0),
            "in the record of 192.0.2.0/24, `latitude` is NaN, beyond ±90 degrees",
        ),
        (
            Value::flat_city("FR", 1.0, f64::INFINITY),
            "in the record of 192.0.2.0/24, `longitude` is inf, beyond ±180 degrees",
        ),
        (
            Value::flat_city("FRA", 1.0, 2.0),
            "in the record of 192.0.2.0/24, `country_code` is \"FRA\", which is no two-letter country code",
        ),
        (
            Value::map([("country", Value::List(vec![]))]),
            "in the record of 192.0.2.0/24, `country` is a list, text is needed",
        ),
        (
            Value::map([("asn", text("AS1")), ("name", text("x"))]),
            "no record holds a country or a place; its fields are empty",
        ),
        (
            Value::map([("speed", text("1")), ("colour", text("x"))]),
            "no record holds a country or a place; its fields are `speed`, `colour`",
        ),
    ];
    for (record, reason) in table {
        let files = Files::new().city(database(4, &[("192.0.2.0/24", record)]));
        let expect = format!("city0.mmdb: the geo database cannot be used: {reason}");
        assert_eq!(files.refusal(), [expect]);
    }
    let not_a_map = Files::new().city(database(4, &[("192.0.2.0/24", text("FR"))]));
    assert!(not_a_map.refusal()[0].contains("the record of 192.0.2.0/24 is damaged"));
    let no_asn = Files::new().asn(database(4, &[("192.0.2.0/24", paris())]));
    assert!(no_asn.refusal()[0].contains("no record holds the number of an autonomous system"));
}

#[test]
fn every_bad_file_is_named_at_once() {
    let mut files = Files::new()
        .city(b"not a database".to_vec())
        .city(database(4, &[("192.0.2.0/24", paris())]))
        .asn(Vec::new());
    files
        .geo
        .city
        .push(files.folder.path().join("missing.mmdb"));
    files.geo.city.push(files.folder.path().to_owned());
    let refusal = files.refusal();
    assert_eq!(refusal.len(), 4, "{refusal:#?}");
    assert!(
        refusal[0].starts_with("city0.mmdb: the geo database cannot be used: it is no MaxMind DB")
    );
    assert!(
        refusal[1].starts_with("missing.mmdb: the geo database cannot be used: it cannot be read")
    );
    assert!(refusal[3].starts_with("asn0.mmdb"));
}

#[test]
fn a_network_of_embedded_addresses_is_refused() {
    let files = Files::new()
        .network("2002:c000:200::/40", Some(PARIS), None)
        .network("2001:db8::/32", Some(PARIS), None)
        .network("64:ff9b::/96", None, Some(1));
    let mistakes = files.open().unwrap_err().0;
    let shown: Vec<_> = mistakes
        .iter()
        .map(|m| format!("{}: {} ({})", m.key, m.message, m.help))
        .collect();
    let expect = [
        "geo.network[0].prefix: the addresses of 2002:c000:200::/40 are judged by the IPv4 address inside them \
         (write the IPv4 network instead: 192.0.2.0/24)",
        "geo.network[2].prefix: the addresses of 64:ff9b::/96 are judged by the IPv4 address inside them \
         (write the IPv4 networks that are meant instead)",
    ];
    assert_eq!(shown, expect);
}

#[test]
fn deep_records_end_in_an_error_not_in_the_stack() {
    for depth in [3, 100, 500, 1_500] {
        for key in ["en", "other"] {
            let nest = |inner, _| Value::map([(key, inner)]);
            let record = (0..depth).fold(Value::text("x"), nest);
            let record = Value::map([("country_code", Value::text("JP")), ("city", record)]);
            let files = Files::new().city(database(4, &[("192.0.2.0/24", record)]));
            // Refused or read, on a thread with as little stack as any.
            let _ = files.open();
        }
    }
}

/// Pointers of every length, in a data section of more than half a megabyte.
#[test]
fn texts_that_repeat_are_read_wherever_they_stand() {
    let mut writer = Writer::new(4, "Test-City");
    let long = |n: u32| Value::text(&format!("{n:05}{}", "x".repeat(400)));
    for n in 0..1500_u32 {
        let record = Value::map([
            ("filler", long(n)),
            ("country_code", Value::text("JP")),
            ("again", long(n.saturating_sub(1))),
            (
                "city",
                Value::text(if n == 1400 { "Paris in Texas" } else { "Tokyo" }),
            ),
        ]);
        let net = ipnet::Ipv4Net::new(Ipv4Addr::from_bits(0x0a00_0000 + (n << 8)), 24).unwrap();
        writer.insert(net.into(), &record);
    }
    let map = Files::new().city(writer.finish()).open().unwrap();
    for (address, city) in [
        ("10.0.1.1", "Tokyo"),
        ("10.5.120.1", "Paris in Texas"),
        ("10.5.219.1", "Tokyo"),
    ] {
        assert_eq!(country(&map, address), "JP");
        assert_eq!(
            map.describe(address.parse().unwrap()).city.as_deref(),
            Some(city)
        );
    }
}

/// A file with a tree written by hand, and one record that says France.
fn by_hand(ip_version: u16, nodes: &[(u32, u32)]) -> Vec<u8> {
    let mut file = Vec::new();
    for (left, right) in nodes {
        push_node(&mut file, 24, *left, *right);
    }
    // The rest of a sound file: separator, data and metadata, which names its number of nodes.
    let mut writer = Writer::new(ip_version, "Test").record_size(24);
    let filler = Value::map([("country_code", Value::text("FR"))]);
    let family: IpAddr = if ip_version == 4 {
        Ipv4Addr::new(0, 0, 0, 0).into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let len = u8::try_from(nodes.len())
        .unwrap()
        .min(if ip_version == 4 { 32 } else { 128 });
    writer.insert(ipnet::IpNet::new(family, len).unwrap(), &filler);
    if usize::from(len) < nodes.len() {
        writer.insert("128.0.0.0/2".parse().unwrap(), &filler);
    }
    assert_eq!(writer.node_count(), nodes.len());
    let sound = writer.finish();
    file.extend_from_slice(&sound[nodes.len() * 6..]);
    file
}

#[test]
fn hostile_trees_are_refused_and_not_followed() {
    let data = |nodes: u32| nodes + 16;
    let cycle = by_hand(4, &[(0, 0)]);
    assert!(Files::new().city(cycle).refusal()[0].contains("search tree is damaged"));
    let loop_back = by_hand(4, &[(1, data(2)), (0, data(2))]);
    assert!(Files::new().city(loop_back).refusal()[0].contains("search tree is damaged"));
    // 100 levels, both sides of each the same node below: 2^100 leaves, none with data.
    let bomb: Vec<(u32, u32)> = (1..=100).map(|next| (next, next)).collect();
    assert!(Files::new().city(by_hand(6, &bomb)).refusal()[0].contains("again and again"));
    let long: Vec<(u32, u32)> = (1..=33).map(|next| (next, data(33))).collect();
    let long = Files::new().city(by_hand(4, &long[..]));
    assert!(long.refusal()[0].contains("longer than an address"));
    let nowhere = by_hand(4, &[(5_000_000, 1)]);
    assert!(Files::new().city(nowhere).refusal()[0].contains("damaged"));
    let separator = by_hand(4, &[(1 + 3, 1)]);
    assert!(Files::new().city(separator).refusal()[0].contains("points into the separator"));
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    let whole = database(6, &[("192.0.2.0/24", tokyo()), ("2001:db8::/32", paris())]);
    for length in (0..whole.len()).step_by(5) {
        let files = Files::new().city(whole[..length].to_vec());
        assert!(files.open().is_err(), "{length} of {}", whole.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn damage_is_refused_or_harmless(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::weighted(0.2, any::<proptest::sample::Index>()),
        probes: Vec<u128>,
    ) {
        let mut file = database(6, &[
            ("192.0.2.0/24", tokyo()), ("192.0.2.128/25", paris()), ("2001:db8::/32", paris()),
            ("2001:db8:8000::/33", tokyo()),
        ]);
        for (at, octet) in &changes {
            let at = at.index(file.len());
            file[at] = *octet;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        let files = Files::new().city(file.clone()).asn(file);
        if let Ok(map) = files.open() {
            for probe in probes {
                for address in [IpAddr::V6(Ipv6Addr::from_bits(probe)), IpAddr::V4(Ipv4Addr::from_bits(probe as u32))] {
                    let located = map.locate(address);
                    prop_assert!(located.cell.is_none_or(|id| (id.0 as usize) < map.cells().len()));
                    map.describe(address);
                }
            }
        }
    }
}
