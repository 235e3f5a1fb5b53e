//! Lookups, by the section of the RFC that they test.

use std::sync::Arc;

use super::{
    Change, Lookup, LowerName, PlaceError, Zone, ZoneSet,
    index::tests::PROBES,
    set::STEPS,
    testing::{builder, zone, zone_with},
};
use crate::types::rtype;

fn lower(text: &str) -> LowerName {
    LowerName::from(&text.parse().unwrap())
}

/// What a lookup gives, in a line.
fn look(zone: &Zone, name: &str, qtype: u16) -> String {
    let text = |wire: &[u8]| meridian_config::Name::from_wire(wire).unwrap().to_string();
    match zone.lookup(&lower(name), qtype) {
        Lookup::Answer(rrset) => format!("{} x{}", rtype::type_name(rrset.rtype), rrset.count),
        Lookup::Service(service) => format!("service {}", service.0),
        Lookup::Cname(rrset) => format!("CNAME {}", text(rrset.first().unwrap())),
        Lookup::Dname { owner, .. } => format!("DNAME at {}", text(owner)),
        Lookup::Referral { owner, .. } => format!("referral {}", text(owner)),
        Lookup::NoData => "nodata".to_owned(),
        Lookup::NxDomain => "nxdomain".to_owned(),
    }
}

fn check(zone: &Zone, cases: &[(&str, u16, &str)]) {
    for (name, qtype, expected) in cases {
        let got = look(zone, name, *qtype);
        assert_eq!(&got, expected, "{name} {}", rtype::type_name(*qtype));
    }
}

const A: u16 = rtype::A;
const TXT: u16 = rtype::TXT;
const DS: u16 = rtype::DS;

#[test]
fn rfc_1034_4_3_2_plain_names() {
    let zone = zone(
        "example.com",
        "www A 192.0.2.1
         www A 192.0.2.2
         www TXT hello
         alias CNAME www
         a.b.c.d A 192.0.2.3",
    );
    check(
        &zone,
        &[
            ("www.example.com", A, "A x2"),
            ("WWW.Example.COM", TXT, "TXT x1"),
            ("www.example.com", rtype::AAAA, "nodata"),
            ("example.com", rtype::SOA, "SOA x1"),
            ("example.com", A, "nodata"),
            ("alias.example.com", A, "CNAME www.example.com."),
            ("alias.example.com", rtype::CNAME, "CNAME x1"),
            // RFC 8020, RFC 4592 §2.2.2: a name with names below it exists.
            ("b.c.d.example.com", A, "nodata"),
            ("d.example.com", A, "nodata"),
            ("x.b.c.d.example.com", A, "nxdomain"),
            ("x.y.z.d.example.com", A, "nxdomain"),
            ("nope.example.com", A, "nxdomain"),
        ],
    );
}

/// The zone of RFC 4592 §2.2.1, and what the RFC says of it.
#[test]
fn rfc_4592_2_2_1_wildcards() {
    let zone = zone(
        "example",
        "*.example. TXT this-is-a-wildcard
         *.example. MX 10 host1.example.
         sub.*.example. TXT this-is-not-a-wildcard
         host1.example. A 192.0.2.1
         _ssh._tcp.host1.example. SRV 0 0 22 host1.example.
         _ssh._tcp.host2.example. SRV 0 0 22 host1.example.
         subdel.example. NS ns.example.com.
         subdel.example. NS ns.example.net.",
    );
    check(
        &zone,
        &[
            ("host3.example", rtype::MX, "MX x1"),
            ("host3.example", A, "nodata"),
            ("foo.bar.example", TXT, "TXT x1"),
            ("host1.example", rtype::MX, "nodata"),
            ("sub.*.example", rtype::MX, "nodata"),
            ("_telnet._tcp.host1.example", rtype::SRV, "nxdomain"),
            ("host.subdel.example", A, "referral subdel.example."),
            ("ghost.*.example", rtype::MX, "nxdomain"),
            ("*.example", TXT, "TXT x1"),
            ("host2.example", TXT, "nodata"),
        ],
    );
}

#[test]
fn wildcard_aliases_services_and_empty_wildcards() {
    let zone = zone_with(
        "example.com",
        "*.alias CNAME www
         x.*.empty A 192.0.2.9
         mail TXT x
         ent.below.svc TXT x",
        &["*.svc", "@", "mail"],
    )
    .unwrap();
    check(
        &zone,
        &[
            ("a.b.alias.example.com", A, "CNAME www.example.com."),
            ("a.alias.example.com", rtype::CNAME, "CNAME x1"),
            // RFC 4592 §2.2.2: a wildcard that is an empty non-terminal matches, and has no data.
            ("a.empty.example.com", A, "nodata"),
            ("a.svc.example.com", A, "service 0"),
            ("a.svc.example.com", rtype::AAAA, "service 0"),
            ("a.svc.example.com", rtype::ANY, "service 0"),
            ("a.svc.example.com", TXT, "nodata"),
            ("*.svc.example.com", A, "service 0"),
            ("below.svc.example.com", A, "nodata"),
            ("x.below.svc.example.com", A, "nxdomain"),
            ("svc.example.com", A, "nodata"),
            ("example.com", A, "service 1"),
            ("example.com", rtype::NS, "NS x1"),
            ("mail.example.com", A, "service 2"),
            ("mail.example.com", TXT, "TXT x1"),
        ],
    );
}

#[test]
fn rfc_1034_4_2_1_cuts() {
    let zone = zone(
        "example.com",
        "sub NS ns.sub
         sub NS ns.example.net.
         sub DS signed
         sub TXT occluded
         ns.sub A 192.0.2.1
         deep.sub NS ns.elsewhere.test.
         *.sub A 192.0.2.2
         unsigned NS ns.sub",
    );
    check(
        &zone,
        &[
            ("sub.example.com", A, "referral sub.example.com."),
            ("sub.example.com", rtype::NS, "referral sub.example.com."),
            ("sub.example.com", rtype::ANY, "referral sub.example.com."),
            ("sub.example.com", TXT, "referral sub.example.com."),
            // RFC 4035 §3.1.4.1
            ("sub.example.com", DS, "DS x1"),
            ("unsigned.example.com", DS, "nodata"),
            ("ns.sub.example.com", A, "referral sub.example.com."),
            ("ns.sub.example.com", DS, "referral sub.example.com."),
            ("x.deep.sub.example.com", A, "referral sub.example.com."),
            ("x.sub.example.com", A, "referral sub.example.com."),
            ("example.com", DS, "nodata"),
        ],
    );
}

#[test]
fn rfc_6672_dnames() {
    let zone = zone(
        "example.com",
        "old DNAME new
         old TXT here
         below.old A 192.0.2.1
         cut.old NS ns.test.
         sub NS ns.test.
         dname.sub DNAME new",
    );
    check(
        &zone,
        &[
            // §2.3: the owner itself is not redirected.
            ("old.example.com", TXT, "TXT x1"),
            ("old.example.com", A, "nodata"),
            ("old.example.com", rtype::DNAME, "DNAME x1"),
            // §2.4: what stands below is occluded.
            ("below.old.example.com", A, "DNAME at old.example.com."),
            ("x.cut.old.example.com", A, "DNAME at old.example.com."),
            ("a.b.c.old.example.com", A, "DNAME at old.example.com."),
            ("a.dname.sub.example.com", A, "referral sub.example.com."),
        ],
    );
    let apex = super::testing::zone("example.org", "@ DNAME example.com.\nx A 192.0.2.1");
    check(
        &apex,
        &[
            ("example.org", rtype::SOA, "SOA x1"),
            ("x.example.org", A, "DNAME at example.org."),
            ("y.example.org", A, "DNAME at example.org."),
        ],
    );
}

#[test]
fn rfc_8482_any_is_one_rrset() {
    let zone = zone("example.com", "www TXT x\nwww A 192.0.2.1\nalias CNAME www");
    check(
        &zone,
        &[
            ("www.example.com", rtype::ANY, "A x1"),
            ("alias.example.com", rtype::ANY, "CNAME x1"),
            ("example.com", rtype::ANY, "NS x1"),
        ],
    );
}

#[test]
fn rfc_2308_5_negative_ttl() {
    assert_eq!(zone("example.com", "").negative_ttl(), 60);
    let soa = "@ 30 SOA ns.test. root.test. 1 2 3 4 60";
    assert_eq!(
        builder("example.com", soa).finish().unwrap().negative_ttl(),
        30
    );
}

#[test]
fn the_root_zone() {
    let zone = zone(".", "com. NS ns.com.\nns.com. A 192.0.2.1");
    check(
        &zone,
        &[
            (".", rtype::SOA, "SOA x1"),
            ("www.example.com.", A, "referral com."),
            ("org.", A, "nxdomain"),
        ],
    );
    let set = ZoneSet::new([zone]);
    assert!(set.find(&lower("."), DS).is_some());
    assert!(set.find(&lower("a.b"), A).is_some());
}

#[test]
fn the_nearest_zone_answers() {
    let set = ZoneSet::new([
        zone("example.com", ""),
        zone("sub.example.com", ""),
        zone("example.org", ""),
    ]);
    let find = |name: &str, qtype| {
        let zone = set.find(&lower(name), qtype);
        zone.map(|zone| zone.apex().to_string())
    };
    let some = |apex: &str| Some(format!("{apex}."));
    assert_eq!(find("example.com", A), some("example.com"));
    assert_eq!(find("a.b.EXAMPLE.com", A), some("example.com"));
    assert_eq!(find("a.sub.example.com", A), some("sub.example.com"));
    assert_eq!(find("sub.example.com", A), some("sub.example.com"));
    // RFC 4035 §3.1.4.1: the parent's side of the cut.
    assert_eq!(find("sub.example.com", DS), some("example.com"));
    assert_eq!(find("a.sub.example.com", DS), some("sub.example.com"));
    assert_eq!(
        find("example.org", DS),
        some("example.org"),
        "no parent here"
    );
    assert_eq!(find("com", A), None);
    assert_eq!(find("badexample.com", A), None);
    assert_eq!(find(".", A), None);
    assert!(ZoneSet::new([]).find(&lower("."), A).is_none());
}

#[test]
fn changes_leave_the_other_zones_alone() {
    let org = zone("example.org", "");
    let set = ZoneSet::new([org.clone(), zone("example.com", "www A 192.0.2.1")]);
    let sub = zone("sub.example.com", "");
    let after = set.with([
        Change::Put(zone("EXAMPLE.com", "new A 192.0.2.2")),
        Change::Put(sub),
        Change::Put(zone("example.net", "")),
        Change::Remove("example.net".parse().unwrap()),
        Change::Remove("nowhere.test".parse().unwrap()),
    ]);
    assert_eq!((set.len(), after.len()), (2, 3));
    let find = |set: &ZoneSet, name: &str| set.find(&lower(name), A).cloned();
    assert!(find(&after, "example.org").unwrap().is_same(&org));
    let com = find(&after, "example.com").unwrap();
    check(
        &com,
        &[
            ("new.example.com", A, "A x1"),
            ("www.example.com", A, "nxdomain"),
        ],
    );
    let apex = |set: &ZoneSet, name| find(set, name).map(|zone| zone.apex().to_string());
    assert_eq!(
        apex(&after, "a.sub.example.com").as_deref(),
        Some("sub.example.com.")
    );
    assert_eq!(
        apex(&set, "a.sub.example.com").as_deref(),
        Some("example.com.")
    );
    assert_eq!(apex(&after, "example.net"), None);
    let without = after.with([Change::Remove("sub.example.com".parse().unwrap())]);
    assert_eq!(
        apex(&without, "a.sub.example.com").as_deref(),
        Some("EXAMPLE.com.")
    );
}

#[test]
fn names_that_cannot_be_services() {
    let lines = "www A 192.0.2.1
         six AAAA 2001:db8::1
         alias CNAME www
         sub NS ns.test.
         old DNAME www";
    let place = |name: &str| zone_with("example.com", lines, &[name]).err();
    assert_eq!(place("www"), Some(PlaceError::StaticAddress));
    assert_eq!(place("six"), Some(PlaceError::StaticAddress));
    assert_eq!(place("alias"), Some(PlaceError::Alias));
    assert_eq!(place("sub"), Some(PlaceError::BelowCut));
    assert_eq!(place("x.sub"), Some(PlaceError::BelowCut));
    assert_eq!(place("x.old"), Some(PlaceError::BelowDname));
    assert_eq!(place("example.org."), Some(PlaceError::OutOfZone));
    assert_eq!(
        place("old"),
        None,
        "the owner of a DNAME may have addresses"
    );
    assert_eq!(place("@"), None);
    let twice = zone_with("example.com", lines, &["a", "A"]).err();
    assert_eq!(twice, Some(PlaceError::Taken));
}

const APEXES: [&str; 7] = [
    "example.com",
    "sub.example.com",
    "x.sub.example.com",
    "com",
    "example.org",
    "b.c.sub.example.com",
    "alias.example.com",
];

/// A zone of one of a few shapes; `shape` also numbers its data.
fn shaped(apex: &str, shape: u8) -> Arc<Zone> {
    let lines = match shape % 4 {
        0 => "",
        1 => "sub NS ns.sub\nns.sub A 192.0.2.1\nc.sub DS x\nb.c.sub A 192.0.2.2",
        2 => "*.sub A 192.0.2.3\nx.sub TXT a\na.b.c.sub A 192.0.2.4\nalias CNAME www",
        _ => "*.example A 192.0.2.5\nsub.example DNAME example.org.\nx A 192.0.2.6",
    };
    zone(apex, &format!("@ TXT shape-{shape}\n{lines}"))
}

proptest::proptest! {
    /// After any changes the index finds what a search through the zones one by one finds.
    #[test]
    fn any_changes_lead_where_the_zones_alone_lead(
        batches in proptest::collection::vec(
            proptest::collection::vec((0..APEXES.len(), proptest::option::of(0_u8..8)), 1..4),
            1..6,
        ),
    ) {
        let mut set = ZoneSet::new([]);
        let mut zones: std::collections::BTreeMap<&str, Arc<Zone>> = Default::default();
        for batch in batches {
            let mut changes = Vec::new();
            for (at, shape) in batch {
                let apex = APEXES[at];
                match shape {
                    Some(shape) => {
                        let zone = shaped(apex, shape);
                        zones.insert(apex, zone.clone());
                        changes.push(Change::Put(zone));
                    }
                    None => {
                        zones.remove(apex);
                        changes.push(Change::Remove(apex.parse().unwrap()));
                    }
                }
            }
            set = set.with(changes);
            proptest::prop_assert_eq!(set.len(), zones.len());
            proptest::prop_assert_eq!(set.iter().count(), zones.len());
            same_as(&set, &zones);
        }
    }
}

/// Asks both for every name there could be.
fn same_as(set: &ZoneSet, zones: &std::collections::BTreeMap<&str, Arc<Zone>>) {
    let labels = [
        "",
        "x.",
        "a.b.c.",
        "b.c.",
        "c.",
        "ns.",
        "nope.",
        "sub.",
        "q.sub.example.",
    ];
    for apex in APEXES.iter().chain(&["org", "test", "b.example.com"]) {
        for label in labels {
            let name = lower(&format!("{label}{apex}"));
            for qtype in [A, DS, TXT] {
                let above = |skip: usize| {
                    let of = |zone: &&Arc<Zone>| zone.apex_wire() == name.suffix(skip);
                    zones.values().find(of)
                };
                let from = |first: usize| (first..=name.labels()).find_map(above);
                let nearest = match from(0) {
                    Some(zone) if qtype == DS && zone.apex_labels() == name.labels() => {
                        from(1).or(Some(zone))
                    }
                    other => other,
                };
                let found = set.lookup(&name, qtype);
                assert_eq!(found.is_some(), nearest.is_some());
                let (Some(found), Some(zone)) = (found, nearest) else {
                    continue;
                };
                assert!(found.zone.is_same(zone));
                let expected = format!("{:?}", zone.lookup(&name, qtype));
                assert_eq!(format!("{:?}", found.lookup), expected, "{label}{apex}");
            }
        }
    }
}

/// Row 11, in probes of the index: one for a name that exists, at most [`STEPS`] more near one
/// that does, and never more than it takes to find the apex (one for each depth of apexes) and to
/// halve what is between.
#[test]
fn row_11_a_lookup_takes_a_bounded_number_of_probes() {
    let deep = "x.".repeat(120);
    let wide = format!(
        "{deep}example. A 192.0.2.1\ny.{}example. A 192.0.2.2",
        &deep[..200]
    );
    let set = ZoneSet::new([
        zone("example.", &wide),
        zone("a.example.", ""),
        zone("b.a.example.", "c TXT x"),
    ]);
    let probes = |name: &str| {
        let name = lower(name);
        PROBES.set(0);
        let found = set.seek(&name).is_some();
        (PROBES.get(), found)
    };
    assert_eq!(probes(&format!("{deep}example.")), (1, true));
    assert_eq!(probes("c.b.a.example."), (1, true));
    assert_eq!(probes("nope.a.example."), (2, true));
    let most = 1 + STEPS + 3 + 7;
    for (front, back) in [
        ("x.", "y.example."),
        ("z.", "example."),
        ("x.", "a.example."),
        ("q.", "b.a.example."),
    ] {
        for labels in 0..115 {
            let name = format!("{}{back}", front.repeat(labels));
            let (count, found) = probes(&name);
            assert!(count <= most && found, "{name}: {count}");
        }
    }
    for labels in 0..120 {
        let (count, found) = probes(&format!("{}test.", "x.".repeat(labels)));
        assert!(count <= most && !found, "{labels}: {count}");
    }
}

/// Row 11: the deepest names there are cost a handful of probes.
#[test]
fn the_deepest_names() {
    let deep = "x.".repeat(120);
    let zone = zone("example.", &format!("{deep}example. A 192.0.2.1"));
    check(
        &zone,
        &[
            (&format!("{deep}example."), A, "A x1"),
            (&format!("y.{deep}example."), A, "nxdomain"),
            (&format!("{}y.example.", "x.".repeat(119)), A, "nxdomain"),
            (&format!("{}example.", "x.".repeat(60)), A, "nodata"),
        ],
    );
}
