//! Writes the image of a zone: places first, then octets, then the templates of replies.

use std::collections::HashMap;

use super::{
    builder::{Draft, DraftRrset},
    image::{Kind, Place, RRSET_HEAD, Zone, flag, header, reversed},
    lower::LowerName,
};
use crate::{
    answer::template,
    types::{class, rtype},
};

/// What covers a name: it and everything below it is not ours to answer as it stands. With the
/// length of the name of the cut or the DNAME, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    /// Nothing.
    Open,
    /// The topmost zone cut at or above the name.
    Cut(usize),
    /// The topmost DNAME above the name.
    Dname(usize),
}

/// What a zone is beside its nodes.
pub(super) struct Frozen<'a> {
    /// Case as configured.
    pub(super) apex: &'a [u8],
    pub(super) apex_labels: usize,
    pub(super) negative_ttl: u32,
    pub(super) cover: &'a dyn Fn(&LowerName) -> Cover,
}

type Nodes = HashMap<Box<[u8]>, Draft>;

/// A node whose links are known by name.
struct Sketch<'n> {
    name: &'n [u8],
    draft: &'n Draft,
    flags: u8,
    cover: Option<&'n [u8]>,
}

/// The zone of these nodes; `None` when it is larger than places can tell.
pub(super) fn freeze(zone: &Frozen<'_>, nodes: &Nodes) -> Option<Zone> {
    let clashes = clashes(zone, nodes);
    let mut sketches: Vec<Sketch<'_>> = nodes
        .iter()
        .map(|(name, draft)| sketch(zone, nodes, name, draft, &clashes))
        .collect::<Option<_>>()?;
    sketches.sort_by_cached_key(|sketch| Box::<[u8]>::from(reversed(sketch.name).as_slice()));
    let mut places: HashMap<&[u8], Place> = HashMap::with_capacity(sketches.len());
    let mut next = header::APEX + 2 + zone.apex.len() + 4 * sketches.len();
    for sketch in &sketches {
        places.insert(sketch.name, u32::try_from(next).ok()?);
        next += sketch.octets();
    }
    let mut image = Vec::with_capacity(next + 256);
    write_header(&mut image, zone, &sketches, &places)?;
    for sketch in &sketches {
        sketch.write(&mut image, &places)?;
    }
    with_templates(image)
}

/// Labels right below the apex that the SOA's own names have: a negative answer for a name with
/// one of them is compressed in its own way.
fn clashes(zone: &Frozen<'_>, nodes: &Nodes) -> Vec<Vec<u8>> {
    let apex = zone.apex.to_ascii_lowercase();
    let soa = nodes.get(apex.as_slice());
    let soa = soa.and_then(|draft| draft.rrsets.get(&rtype::SOA)?.records.first());
    let Some(rdata) = soa else {
        return Vec::new();
    };
    let mut names = Vec::new();
    let mut rest: &[u8] = rdata;
    for _ in 0..2 {
        let (name, tail) = rest.split_at(template::name_len(rest));
        names.push(name);
        rest = tail;
    }
    let label = |name: &&[u8]| {
        let name = LowerName::from_wire(name)?;
        label_below(&name, zone.apex_labels, &apex).map(<[u8]>::to_vec)
    };
    names.iter().filter_map(label).collect()
}

/// The label of `name` right below the apex, with its length.
fn label_below<'n>(name: &'n LowerName, apex_labels: usize, apex: &[u8]) -> Option<&'n [u8]> {
    let skip = name.labels().checked_sub(apex_labels)?;
    let label = skip.checked_sub(1)?;
    let whole = name.suffix(label);
    (name.suffix(skip) == apex).then(|| whole.get(..whole.len() - apex.len()))?
}

fn sketch<'n>(
    zone: &Frozen<'_>,
    nodes: &Nodes,
    wire: &'n [u8],
    draft: &'n Draft,
    clashes: &[Vec<u8>],
) -> Option<Sketch<'n>> {
    let name = LowerName::from_wire(wire)?;
    let suffix = |octets: usize| wire.get(wire.len().checked_sub(octets)?..);
    let (cover_flag, cover) = match (zone.cover)(&name) {
        Cover::Open => (0, None),
        Cover::Cut(octets) => (flag::CUT, suffix(octets)),
        Cover::Dname(octets) => (flag::REDIRECTED, suffix(octets)),
    };
    let wildcard = LowerName::concat(b"\x01*", wire);
    let has_wildcard = wildcard.is_some_and(|wildcard| nodes.contains_key(wildcard.as_wire()));
    let apex = name.suffix(name.labels() - zone.apex_labels);
    let label = label_below(&name, zone.apex_labels, apex);
    let clash = cover.is_none() && label.is_some_and(|l| clashes.iter().any(|other| other == l));
    let set = |on: bool, flag: u8| if on { flag } else { 0 };
    let flags = cover_flag
        | set(name.labels() == zone.apex_labels, flag::APEX)
        | set(draft.rrsets.contains_key(&rtype::DNAME), flag::DNAME)
        | set(has_wildcard, flag::WILDCARD)
        | set(draft.service.is_some(), flag::SERVICE)
        | set(clash, flag::NEGATIVE);
    Some(Sketch {
        name: wire,
        draft,
        flags,
        cover,
    })
}

impl Sketch<'_> {
    /// Octets of the node with its RRsets.
    fn octets(&self) -> usize {
        let links = 4 * (self.flags >> 2).count_ones() as usize;
        let head = 1 + self.name.len() + 3 + links + 6 * self.draft.rrsets.len();
        let rrsets = self.draft.rrsets.values();
        head + rrsets
            .map(|rrset| RRSET_HEAD + records_len(rrset))
            .sum::<usize>()
    }

    fn write(&self, image: &mut Vec<u8>, places: &HashMap<&[u8], Place>) -> Option<()> {
        image.push(u8::try_from(self.name.len()).ok()?);
        image.extend_from_slice(self.name);
        image.push(self.flags);
        let types = u16::try_from(self.draft.rrsets.len()).ok()?;
        image.extend_from_slice(&types.to_le_bytes());
        let wildcard = (self.flags & flag::WILDCARD != 0).then(|| {
            let name = LowerName::concat(b"\x01*", self.name)?;
            places.get(name.as_wire()).copied()
        });
        let links = [
            self.cover.map(|name| places.get(name).copied()),
            wildcard,
            self.draft.service.map(|service| Some(service.0)),
            (self.flags & flag::NEGATIVE != 0).then_some(Some(0)),
        ];
        for link in links.into_iter().flatten() {
            image.extend_from_slice(&link?.to_le_bytes());
        }
        let mut next = image.len() + 6 * self.draft.rrsets.len();
        for (rtype, rrset) in &self.draft.rrsets {
            image.extend_from_slice(&rtype.to_le_bytes());
            image.extend_from_slice(&u32::try_from(next).ok()?.to_le_bytes());
            next += RRSET_HEAD + records_len(rrset);
        }
        for (&rtype, rrset) in &self.draft.rrsets {
            write_rrset(image, rtype, rrset)?;
        }
        Some(())
    }
}

fn records_len(rrset: &DraftRrset) -> usize {
    rrset.records.iter().map(|record| 12 + record.len()).sum()
}

fn write_rrset(image: &mut Vec<u8>, rtype: u16, rrset: &DraftRrset) -> Option<()> {
    image.push(u8::from(!template::is_plain(rtype)));
    let count = u16::try_from(rrset.records.len()).ok()?;
    image.extend_from_slice(&count.to_le_bytes());
    let length = u32::try_from(records_len(rrset)).ok()?;
    image.extend_from_slice(&length.to_le_bytes());
    image.extend_from_slice(&0_u32.to_le_bytes());
    for record in &rrset.records {
        image.extend_from_slice(&[0xc0, 0x0c]);
        image.extend_from_slice(&rtype.to_be_bytes());
        image.extend_from_slice(&class::IN.to_be_bytes());
        image.extend_from_slice(&rrset.ttl.to_be_bytes());
        image.extend_from_slice(&u16::try_from(record.len()).ok()?.to_be_bytes());
        image.extend_from_slice(record);
    }
    Some(())
}

fn write_header(
    image: &mut Vec<u8>,
    zone: &Frozen<'_>,
    sketches: &[Sketch<'_>],
    places: &HashMap<&[u8], Place>,
) -> Option<()> {
    let apex = places.get(zone.apex.to_ascii_lowercase().as_slice())?;
    let nodes = u32::try_from(sketches.len()).ok()?;
    for field in [nodes, *apex, zone.negative_ttl, 0] {
        image.extend_from_slice(&field.to_le_bytes());
    }
    image.push(u8::try_from(zone.apex_labels).ok()?);
    image.push(u8::try_from(zone.apex.len()).ok()?);
    image.extend_from_slice(zone.apex);
    for sketch in sketches {
        let place = places.get(sketch.name)?;
        image.extend_from_slice(&place.to_le_bytes());
    }
    Some(())
}

/// Appends every template and notes its place where it belongs.
fn with_templates(image: Vec<u8>) -> Option<Zone> {
    let zone = Zone::new(image.clone());
    let mut image = image;
    let mut add = |at: Place, octets: Option<Vec<u8>>| -> Option<Place> {
        let Some(octets) = octets else { return Some(0) };
        let place = u32::try_from(image.len()).ok()?;
        image.extend_from_slice(&octets);
        let field = image.get_mut(at as usize..at as usize + 4)?;
        field.copy_from_slice(&place.to_le_bytes());
        Some(place)
    };
    let at = u32::try_from(header::NEGATIVE).ok()?;
    add(at, template::negative_of(&zone))?;
    for (_, node) in zone.nodes() {
        if let Some(at) = node.negative_at() {
            add(at, template::own_negative(&zone, &node))?;
        }
        for (stored, rrset) in node.all() {
            if stored.kind == Kind::Plain {
                continue;
            }
            add(stored.template_at, template::of_rrset(&zone, &node, &rrset))?;
        }
    }
    Some(Zone::new(image))
}
