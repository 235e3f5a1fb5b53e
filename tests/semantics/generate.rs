//! Zones and queries. Names are made of few labels, so that wildcards, empty non-terminals, cuts,
//! aliases and rewrites meet each other often.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    path::Path,
};

use crate::random::Random;

/// A zone as text, and its owner names (absolute, with a final dot).
pub(crate) struct Generated {
    pub(crate) apex: String,
    pub(crate) text: String,
    pub(crate) owners: Vec<String>,
    /// Owners of NS records below the apex.
    pub(crate) cuts: Vec<String>,
}

/// One question and how it is asked.
#[derive(Clone)]
pub(crate) struct Query {
    pub(crate) name: String,
    pub(crate) rtype: u16,
    pub(crate) edns: Option<u16>,
    pub(crate) tcp: bool,
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = if self.tcp { "tcp" } else { "udp" };
        write!(
            f,
            "{} TYPE{} {over} edns {:?}",
            self.name, self.rtype, self.edns
        )
    }
}

impl Query {
    /// The query in wire form.
    pub(crate) fn octets(&self) -> Vec<u8> {
        let mut m = vec![
            0x2a,
            0x2a,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            u8::from(self.edns.is_some()),
        ];
        let name: meridian_config::Name = self.name.parse().expect("a generated name");
        m.extend(name.as_wire());
        m.extend(self.rtype.to_be_bytes());
        m.extend([0, 1]);
        if let Some(size) = self.edns {
            m.extend([0, 0, 41]);
            m.extend(size.to_be_bytes());
            m.extend([0; 6]);
        }
        m
    }
}

const LABELS: [&str; 6] = ["a", "b", "c", "d", "mail", "*"];

/// Types with data that says nothing about names.
const PLAIN: [&str; 17] = [
    "A 192.0.2.1",
    "A 192.0.2.2",
    "A 192.0.2.3",
    "AAAA 2001:db8::1",
    "AAAA 2001:db8::2",
    "TXT \"some text\" more",
    "TXT \"another\"",
    "CAA 0 issue \"ca.example.net\"",
    "NAPTR 10 20 \"u\" \"sip+E2U\" \"!^.*$!sip:x@y!\" .",
    "SSHFP 1 1 0123456789abcdef0123456789abcdef01234567",
    "TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m",
    "URI 10 1 \"https://example.net/\"",
    "HINFO \"cpu\" \"os\"",
    "TYPE65280 \\# 4 01020304",
    "HTTPS 1 . alpn=h2",
    "DS 1 8 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
];

const SOA: &str = "SOA ns.elsewhere.test. root.elsewhere.test. 1 3600 600 86400 120";

/// Zones `z0.test.` and so on, each with a delegated and hosted child `kid.z0.test.`.
pub(crate) fn zones(random: &mut Random, count: usize) -> Vec<Generated> {
    (0..count)
        .flat_map(|n| {
            let apex = format!("z{n}.test.");
            let child = format!("kid.{apex}");
            let parent = zone(random, &apex, Some(&child));
            [parent, zone(random, &child, None)]
        })
        .chain([redirected()])
        .collect()
}

/// A zone that is redirected as a whole (RFC 6672 §2.3: DNAME at the apex).
fn redirected() -> Generated {
    let apex = "dname.test.";
    let mut draft = Draft::default();
    draft.add(apex, apex, SOA);
    draft.add(apex, apex, "NS ns.elsewhere.test.");
    draft.add(apex, apex, "DNAME host.elsewhere.test.");
    draft.add(apex, apex, "MX 10 mail.elsewhere.test.");
    finish(&draft, apex)
}

/// Records by owner and type, kept free of what a zone may not hold.
#[derive(Default)]
struct Draft {
    records: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Draft {
    fn has(&self, owner: &str, rtype: &str) -> bool {
        self.records
            .get(owner)
            .is_some_and(|types| types.contains_key(rtype))
    }

    /// Adds `TYPE DATA` unless it conflicts with what is there.
    fn add(&mut self, owner: &str, apex: &str, record: &str) {
        let (rtype, data) = record.split_once(' ').expect("TYPE DATA");
        let wildcard = owner.starts_with("*.");
        let at_apex = owner == apex;
        let cut = !at_apex && self.has(owner, "NS");
        let allowed = match rtype {
            "CNAME" => !self.records.contains_key(owner),
            "DNAME" => !wildcard && !cut && !self.has(owner, "DNAME") && !self.has_below(owner),
            "NS" => !wildcard && !self.has(owner, "DNAME"),
            "DS" => cut,
            _ => true,
        };
        let beside_alias = rtype != "CNAME" && self.has(owner, "CNAME");
        let below_dname = ancestors(owner).any(|above| self.has(above, "DNAME"));
        if allowed && !beside_alias && !below_dname {
            let types = self.records.entry(owner.to_owned()).or_default();
            types
                .entry(rtype.to_owned())
                .or_default()
                .insert(data.to_owned());
        }
    }

    fn has_below(&self, owner: &str) -> bool {
        let suffix = format!(".{owner}");
        self.records.keys().any(|other| other.ends_with(&suffix))
    }
}

/// The names above a name, the nearest first.
pub(crate) fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    let mut rest = name;
    std::iter::from_fn(move || {
        rest = rest.split_once('.')?.1;
        (!rest.is_empty()).then_some(rest)
    })
}

fn zone(random: &mut Random, apex: &str, child: Option<&str>) -> Generated {
    let mut draft = Draft::default();
    draft.add(apex, apex, SOA);
    draft.add(apex, apex, "NS ns.elsewhere.test.");
    draft.add(apex, apex, &format!("NS a.{apex}"));
    if let Some(child) = child {
        draft.add(child, apex, &format!("NS ns.{child}"));
        draft.add(&format!("ns.{child}"), apex, "A 192.0.2.77");
        draft.add(child, apex, PLAIN[16]);
    } else {
        // What the parent has as glue. Without it NSD, which keeps all zones in one tree, would
        // let the parent's glue hide a wildcard of the child.
        draft.add(&format!("ns.{apex}"), apex, "A 192.0.2.77");
    }
    for _ in 0..30 + random.below(30) {
        let owner = below(random, apex);
        let record = record(random, apex);
        draft.add(&owner, apex, &record);
    }
    add_wide(random, apex, &mut draft);
    finish(&draft, apex)
}

fn finish(draft: &Draft, apex: &str) -> Generated {
    Generated {
        text: text(draft),
        owners: draft.records.keys().cloned().collect(),
        cuts: draft
            .records
            .iter()
            .filter(|(owner, types)| *owner != apex && types.contains_key("NS"))
            .map(|(owner, _)| owner.clone())
            .collect(),
        apex: apex.to_owned(),
    }
}

/// RRsets that do not fit 512 or 1232 octets.
fn add_wide(random: &mut Random, apex: &str, draft: &mut Draft) {
    for n in 0..100 {
        draft.add(&format!("wide.{apex}"), apex, &format!("A 10.0.0.{n}"));
    }
    for n in 0..40 {
        draft.add(
            &format!("half.{apex}"),
            apex,
            &format!("AAAA 2001:db8::{n:x}"),
        );
    }
    draft.add(
        &format!("towide.{apex}"),
        apex,
        &format!("CNAME wide.{apex}"),
    );
    for n in 0..10 {
        let host = format!("ns{n}.big.{apex}");
        draft.add(&format!("big.{apex}"), apex, &format!("NS {host}"));
        draft.add(&host, apex, &format!("A 10.0.1.{n}"));
        if random.one_in(2) {
            draft.add(&host, apex, &format!("AAAA 2001:db8:1::{n:x}"));
        }
    }
}

fn below(random: &mut Random, apex: &str) -> String {
    let mut name = String::new();
    for _ in 0..random.below(4) {
        let _ = write!(name, "{}.", random.pick(&LABELS));
    }
    name + apex
}

/// A name that a record points to: mostly inside the zone.
fn target(random: &mut Random, apex: &str) -> String {
    match random.below(8) {
        0 => "host.elsewhere.test.".to_owned(),
        1 => "a.z0.test.".to_owned(),
        2 => format!("wide.{apex}"),
        _ => below(random, apex).replace("*.", "b."),
    }
}

fn record(random: &mut Random, apex: &str) -> String {
    let target = target(random, apex);
    match random.below(12) {
        0 | 1 => format!("CNAME {target}"),
        2 => format!("DNAME {target}"),
        3 | 4 => format!("NS {target}"),
        5 => format!("MX 10 {target}"),
        6 => format!("SRV 1 2 53 {target}"),
        7 => format!("PTR {target}"),
        _ => (*random.pick(&PLAIN)).to_owned(),
    }
}

fn text(draft: &Draft) -> String {
    let mut text = "$TTL 300\n".to_owned();
    let soa_first = |types: &BTreeMap<String, BTreeSet<String>>| !types.contains_key("SOA");
    let mut owners: Vec<_> = draft.records.iter().collect();
    owners.sort_by_key(|(_, types)| soa_first(types));
    for (owner, types) in owners {
        let mut types: Vec<_> = types.iter().collect();
        types.sort_by_key(|(rtype, _)| rtype.as_str() != "SOA");
        for (rtype, data) in types {
            for data in data {
                let _ = writeln!(text, "{owner} IN {rtype} {data}");
            }
        }
    }
    text
}

/// Writes each zone to `FOLDER/APEXzone`.
pub(crate) fn write(zones: &[Generated], folder: &Path) {
    for zone in zones {
        let path = folder.join(format!("{}zone", zone.apex));
        std::fs::write(path, &zone.text).expect("a zone file is written");
    }
}

/// Types that are asked for; ordinary ones more often.
const QTYPES: [u16; 27] = [
    1, 1, 1, 1, 28, 28, 2, 5, 6, 12, 15, 15, 16, 16, 33, 33, 35, 39, 43, 43, 44, 52, 65, 255, 257,
    65280, 29,
];

/// A question near something that exists.
pub(crate) fn query(random: &mut Random, zones: &[Generated]) -> Query {
    let zone = random.pick(zones);
    let mut name = match random.below(10) {
        0 => zone.apex.clone(),
        1 | 2 => below(random, &zone.apex),
        _ => random.pick(&zone.owners).clone(),
    };
    if random.one_in(3) {
        for _ in 0..=random.below(3) {
            name = format!("{}.{name}", random.pick(&["a", "b", "x", "y", "*", "mail"]));
        }
    }
    if random.one_in(12) {
        name = ancestors(&name.clone()).next().unwrap_or(".").to_owned();
    }
    if random.one_in(40) {
        name = format!("{}outside.", random.pick(&["", "a.", "test."]));
    }
    let edns = [None, Some(1232), Some(4096), Some(512)];
    Query {
        name,
        rtype: *random.pick(&QTYPES),
        edns: *random.pick(&edns),
        tcp: random.one_in(10),
    }
}
