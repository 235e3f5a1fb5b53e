//! The zone as a whole: what may not stand together, duplicates, and TTLs of RRsets.

use std::{borrow::Cow, cmp::Ordering, collections::HashSet};

use meridian_config::{Name, Ttl};
use xxhash_rust::xxh3::xxh3_64;

use super::{Location, RawRecord, rdata};
use crate::{
    answer::fits,
    types::rtype::{CNAME, DNAME, NS, NSEC, NSEC3, RRSIG, SOA},
};

/// Octets of a record beside its data, where the owner is a pointer (RFC 1035 §4.1.3, §4.1.4).
const RECORD_HEAD: usize = 12;
/// Octets that a message has for the records of one answer: 65,535 less those of the header and of
/// the shortest question and OPT record.
const RRSET_MAX: usize = 65_535 - 12 - 5 - 11;

/// Why records cannot make a zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Conflict {
    #[error("`{0}` is not inside the zone {1}")]
    OutOfZone(Name, Name),
    #[error("the zone {0} has no SOA record at its apex")]
    NoSoa(Name),
    #[error("the zone {0} has no NS record at its apex")]
    NoNs(Name),
    #[error("`{0}` is not the apex of the zone, so it cannot have an SOA record")]
    SoaBelowApex(Name),
    #[error("`{0}` has a second {1} record")]
    Second(Name, rdata::TypeName),
    #[error("`{0}` has a CNAME record beside other data")]
    CnameBeside(Name),
    #[error("`{0}` has a DNAME record beside the NS records of a delegation")]
    DnameBesideNs(Name),
    #[error("`{0}` stands below `{1}`, which has a DNAME record")]
    BelowDname(Name, Name),
    #[error("`{0}` has more {1} data than a reply can hold")]
    TooLarge(Name, rdata::TypeName),
    #[error("the wildcard `{0}` has NS records")]
    WildcardNs(Name),
    #[error("the wildcard `{0}` has a DNAME record")]
    WildcardDname(Name),
}

impl Conflict {
    /// What would be right.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::OutOfZone(..) => {
                "end names below the apex without a dot, or with the full name and a dot; check \
                 $ORIGIN"
            }
            Self::NoSoa(_) => "add one: @ SOA PRIMARY MAILBOX SERIAL REFRESH RETRY EXPIRE MINIMUM",
            Self::NoNs(_) => "add one for each name server: @ NS ns1.example.net.",
            Self::SoaBelowApex(_) => "keep one SOA record, at the apex",
            Self::Second(..) => "keep one of them",
            Self::CnameBeside(_) => "keep either the CNAME or the other records (RFC 1034 3.6.2)",
            Self::DnameBesideNs(_) => "keep either the DNAME or the NS records (RFC 6672 2.3)",
            Self::BelowDname(..) => "remove either the DNAME or what is below it (RFC 6672 2.4)",
            Self::TooLarge(..) => {
                "a reply has at most 65,535 octets, over TCP too: shorten or remove records"
            }
            Self::WildcardNs(_) => "delegate names without a wildcard (RFC 4592 4.2)",
            Self::WildcardDname(_) => "redirect names without a wildcard (RFC 4592 4.4)",
        }
    }
}

/// Drops duplicate records, evens out the TTLs of each RRset, and finds what may not stand
/// together. What is missing is told only of a `complete` reading.
pub(super) fn resolve(
    records: &mut Vec<RawRecord>,
    apex: &Name,
    complete: bool,
) -> Vec<(Location, Conflict)> {
    let mut found = Vec::new();
    for record in records.iter() {
        if !record.owner.is_at_or_below(apex) {
            let conflict = Conflict::OutOfZone(record.owner.clone(), apex.clone());
            found.push((record.at, conflict));
        }
    }
    let order = by_owner(records);
    let mut duplicates = HashSet::new();
    let mut lower: Vec<(usize, Ttl)> = Vec::new();
    for owner in order.chunk_by(|&(_, a), &(_, b)| same_owner(records, a, b)) {
        let owner: Vec<usize> = sorted_by_type(owner, records);
        for rrset in owner.chunk_by(|&a, &b| rtype(records, a) == rtype(records, b)) {
            if rrset.len() > 1 {
                find_duplicates(records, rrset, &mut duplicates);
                lowest_ttl(records, rrset, &mut lower);
            }
            too_large(records, rrset, &duplicates, &mut found);
        }
        judge_owner(records, &owner, &duplicates, apex, &mut found);
    }
    below_dname(records, &mut found);
    if complete {
        missing(records, apex, &mut found);
    }
    for (at, ttl) in lower {
        if let Some(record) = records.get_mut(at) {
            record.ttl = ttl;
        }
    }
    if !duplicates.is_empty() {
        let mut at = 0..;
        records.retain(|_| at.next().is_some_and(|at| !duplicates.contains(&at)));
    }
    found
}

/// Indices of the records, those of one owner in a row. Ordered by hash: nothing depends on the
/// order of the owners.
fn by_owner(records: &[RawRecord]) -> Vec<(u64, usize)> {
    let mut lower = Vec::with_capacity(255);
    let mut order: Vec<_> = records
        .iter()
        .enumerate()
        .map(|(at, record)| {
            lower.clear();
            lower.extend(record.owner.as_wire().iter().map(u8::to_ascii_lowercase));
            (xxh3_64(&lower), at)
        })
        .collect();
    order.sort_unstable_by(|&(hash_a, a), &(hash_b, b)| {
        hash_a.cmp(&hash_b).then_with(|| {
            match (records.get(a), records.get(b)) {
                // Names of equal hash are nearly always equal.
                (Some(x), Some(y)) if x.owner != y.owner => {
                    let lower = |name: &Name| name.as_wire().to_ascii_lowercase();
                    lower(&x.owner).cmp(&lower(&y.owner))
                }
                _ => Ordering::Equal,
            }
            .then(a.cmp(&b))
        })
    });
    order
}

fn same_owner(records: &[RawRecord], a: usize, b: usize) -> bool {
    match (records.get(a), records.get(b)) {
        (Some(a), Some(b)) => a.owner == b.owner,
        _ => false,
    }
}

fn rtype(records: &[RawRecord], at: usize) -> u16 {
    records.get(at).map_or(0, |record| record.rtype)
}

fn sorted_by_type(owner: &[(u64, usize)], records: &[RawRecord]) -> Vec<usize> {
    let mut owner: Vec<usize> = owner.iter().map(|&(_, at)| at).collect();
    owner.sort_unstable_by_key(|&at| (rtype(records, at), at));
    owner
}

/// RFC 2181 §5: records of one RRset with equal data are one record. Names in the data are
/// compared without case.
fn find_duplicates(records: &[RawRecord], rrset: &[usize], duplicates: &mut HashSet<usize>) {
    let mut seen: HashSet<Cow<'_, [u8]>> = HashSet::with_capacity(rrset.len());
    for &at in rrset {
        if let Some(record) = records.get(at)
            && !seen.insert(rdata::folded(record.rtype, &record.rdata))
        {
            duplicates.insert(at);
        }
    }
}

/// RFC 2181 §5.2: "the TTLs of all RRs in an RRSet must be the same"; where they are not, the
/// lowest is used for all. Signatures of different types share an owner and a type, but are no
/// RRset.
fn lowest_ttl(records: &[RawRecord], rrset: &[usize], lower: &mut Vec<(usize, Ttl)>) {
    let ttls = || rrset.iter().filter_map(|&at| Some((at, records.get(at)?)));
    let Some(lowest) = ttls().map(|(_, record)| record.ttl).min() else {
        return;
    };
    for (at, record) in ttls() {
        if record.ttl != lowest && record.rtype != RRSIG {
            lower.push((at, lowest));
        }
    }
}

/// An RRset is answered whole or not at all (RFC 2181 §5), and over TCP the length of a message has
/// 16 bits. Names may be compressed, so where it takes more room without, the reply itself is tried.
fn too_large(
    records: &[RawRecord],
    rrset: &[usize],
    duplicates: &HashSet<usize>,
    found: &mut Vec<(Location, Conflict)>,
) {
    let all = || {
        let distinct = rrset.iter().filter(|at| !duplicates.contains(at));
        distinct.filter_map(|&at| records.get(at))
    };
    let mut octets = 0;
    let past = all().find(|record| {
        octets += RECORD_HEAD + record.rdata.len();
        octets > RRSET_MAX
    });
    // Signatures of different types share an owner and a type, but are no RRset.
    let Some(record) = past.filter(|record| record.rtype != RRSIG) else {
        return;
    };
    let rdata = all().map(|record| &*record.rdata);
    if !fits(record.owner.as_wire(), record.rtype, rdata) {
        let name = rdata::type_name(record.rtype);
        let conflict = Conflict::TooLarge(record.owner.clone(), name);
        found.push((record.at, conflict));
    }
}

fn judge_owner(
    records: &[RawRecord],
    owner: &[usize],
    duplicates: &HashSet<usize>,
    apex: &Name,
    found: &mut Vec<(Location, Conflict)>,
) {
    let mut first: [Option<&RawRecord>; 4] = [None; 4];
    let mut other = false;
    for record in owner
        .iter()
        .filter(|at| !duplicates.contains(at))
        .filter_map(|&at| records.get(at))
    {
        let slot = match record.rtype {
            CNAME => 0,
            DNAME => 1,
            SOA => 2,
            NS => 3,
            _ => {
                other |= !matches!(record.rtype, RRSIG | NSEC);
                continue;
            }
        };
        let name = || record.owner.clone();
        let type_name = rdata::type_name(record.rtype);
        if record.rtype == SOA && record.owner != *apex {
            found.push((record.at, Conflict::SoaBelowApex(name())));
        }
        if record.owner.is_wildcard() {
            match record.rtype {
                NS => found.push((record.at, Conflict::WildcardNs(name()))),
                DNAME => found.push((record.at, Conflict::WildcardDname(name()))),
                _ => {}
            }
        }
        match first.get_mut(slot) {
            Some(Some(_)) if record.rtype != NS => {
                found.push((record.at, Conflict::Second(name(), type_name)));
            }
            Some(empty @ None) => *empty = Some(record),
            _ => {}
        }
    }
    let [cname, dname, soa, ns] = first;
    if let Some(cname) = cname
        && (other || dname.is_some() || soa.is_some() || ns.is_some())
    {
        found.push((cname.at, Conflict::CnameBeside(cname.owner.clone())));
    }
    if let (Some(dname), Some(_)) = (dname, ns)
        && dname.owner != *apex
    {
        found.push((dname.at, Conflict::DnameBesideNs(dname.owner.clone())));
    }
}

/// RFC 6672 §2.4: "Resource records MUST NOT exist at any subdomain of the owner of a DNAME RR";
/// the records of a signed zone's own hashed names, below an apex DNAME, are not meant.
fn below_dname(records: &[RawRecord], found: &mut Vec<(Location, Conflict)>) {
    let dnames: HashSet<Vec<u8>> = records
        .iter()
        .filter(|record| record.rtype == DNAME)
        .map(|record| record.owner.as_wire().to_ascii_lowercase())
        .collect();
    if dnames.is_empty() {
        return;
    }
    for record in records {
        if matches!(record.rtype, NSEC3 | RRSIG) {
            continue;
        }
        let wire = record.owner.as_wire().to_ascii_lowercase();
        let mut rest: &[u8] = &wire;
        while let Some(parent) = rest
            .first()
            .filter(|&&length| length > 0)
            .and_then(|&length| rest.get(1 + usize::from(length)..))
        {
            rest = parent;
            if dnames.contains(parent)
                && let Ok(above) = Name::from_wire(parent)
            {
                let conflict = Conflict::BelowDname(record.owner.clone(), above);
                found.push((record.at, conflict));
                break;
            }
        }
    }
}

fn missing(records: &[RawRecord], apex: &Name, found: &mut Vec<(Location, Conflict)>) {
    let has = |rtype| {
        records
            .iter()
            .any(|record| record.rtype == rtype && record.owner == *apex)
    };
    let start = Location {
        source: 0,
        start: 0,
        end: 0,
    };
    if !has(SOA) {
        found.push((start, Conflict::NoSoa(apex.clone())));
    }
    if !has(NS) {
        found.push((start, Conflict::NoNs(apex.clone())));
    }
}
