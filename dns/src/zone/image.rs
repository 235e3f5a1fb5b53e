//! One zone as it is kept for lookup: everything in one piece of memory, so that an answer touches
//! as few cache lines as possible, and sharing a zone costs one reference count.
//!
//! ```text
//! header     apex, negative TTL, template of negative answers
//! directory  places of the nodes, a name right before everything below it
//! nodes      name · flags · links · types with places · RRsets
//! templates  what follows the question in a reply, see answer/template.rs
//! ```
//!
//! What a lookup would otherwise find by walking down from the apex stands at each name already:
//! the topmost cut or DNAME that covers it, and its wildcard child. A record is kept as it stands
//! in most replies: owner `C0 0C` (the name of the question), then type, class, TTL, length and
//! uncompressed RDATA.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{cmp::Ordering, sync::Arc};

use arrayvec::ArrayVec;
use meridian_config::Name;

use super::lower::LowerName;
use crate::types::{ServiceId, rtype};

/// Where something stands in an image, in octets; 0, the header, means nothing.
pub(crate) type Place = u32;

/// Places of the header's fields; the apex follows them.
pub(super) mod header {
    pub(in super::super) const NODES: usize = 0;
    pub(in super::super) const APEX_NODE: usize = 4;
    pub(in super::super) const NEGATIVE_TTL: usize = 8;
    pub(in super::super) const NEGATIVE: usize = 12;
    pub(in super::super) const APEX: usize = 16;
}

/// Flags of a node. Those from `CUT` on say that a link stands in the node, in this order.
pub(super) mod flag {
    pub(in super::super) const APEX: u8 = 1;
    pub(in super::super) const DNAME: u8 = 2;
    /// Link: the topmost zone cut at or above the name.
    pub(in super::super) const CUT: u8 = 4;
    /// Link: the topmost DNAME above the name.
    pub(in super::super) const REDIRECTED: u8 = 8;
    /// Link: the name `*.` below this one (RFC 4592 §2.1.1).
    pub(in super::super) const WILDCARD: u8 = 16;
    /// Link: the number of the service.
    pub(in super::super) const SERVICE: u8 = 32;
    /// Link: the template of this name's own negative answer.
    pub(in super::super) const NEGATIVE: u8 = 64;
}

/// Octets before the records of an RRset: kind, count, length of all records, template.
pub(super) const RRSET_HEAD: usize = 11;
/// Octets before the RDATA of a record.
const RECORD_HEAD: usize = 12;
/// Octets of an entry in a node's table of types.
const TYPE_ENTRY: usize = 6;

/// One zone: immutable, built by [`super::ZoneBuilder`], cheap to clone.
#[derive(Clone, Debug)]
pub struct Zone {
    image: Arc<[u8]>,
}

/// An owner name or an empty non-terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'z> {
    image: &'z [u8],
    name: &'z [u8],
    flags: u8,
    types: u16,
    /// Where the links begin.
    links: usize,
}

/// How a reply can be made from an RRset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The records as they are kept are the whole answer.
    Plain,
    /// From this template; 0 where there is none.
    Compiled(Place),
}

/// An RRset as it is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored<'z> {
    pub(crate) kind: Kind,
    pub(crate) count: u16,
    /// Where [`Kind::Compiled`] keeps its place.
    pub(crate) template_at: Place,
    /// Records, owner `C0 0C`.
    pub(crate) records: &'z [u8],
}

/// The records of one owner and type.
#[derive(Clone, Copy, Debug)]
pub struct Rrset<'z> {
    /// TYPE
    pub rtype: u16,
    /// TTL in seconds.
    pub ttl: u32,
    /// Number of records.
    pub count: u32,
    records: &'z [u8],
}

impl<'z> Rrset<'z> {
    fn new(rtype: u16, stored: &Stored<'z>) -> Self {
        Self {
            rtype,
            ttl: be32(stored.records, 6),
            count: stored.count.into(),
            records: stored.records,
        }
    }

    /// The RDATA of each record: uncompressed wire form, in the order of the zone file.
    pub fn rdata(&self) -> impl Iterator<Item = &'z [u8]> + use<'z> {
        records(self.records).map(|record| record.get(RECORD_HEAD..).unwrap_or_default())
    }

    /// The RDATA of the first record.
    pub fn first(&self) -> Option<&'z [u8]> {
        self.rdata().next()
    }
}

/// The records that follow each other in `rest`, owner `C0 0C` each.
pub(crate) fn records(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = rest.get(10..RECORD_HEAD)?.first_chunk::<2>()?;
        let end = RECORD_HEAD + usize::from(u16::from_be_bytes(*length));
        let (record, tail) = rest.split_at_checked(end)?;
        rest = tail;
        Some(record)
    })
}

impl Zone {
    pub(super) fn new(image: Vec<u8>) -> Self {
        Self {
            image: image.into(),
        }
    }

    /// Whether this is the very same zone, not only an equal one.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.image, &other.image)
    }

    /// The apex, case as configured.
    pub fn apex(&self) -> Name {
        Name::from_wire(self.apex_wire()).unwrap_or_else(|_| Name::root())
    }

    /// The apex in wire form, case as configured.
    pub(crate) fn apex_wire(&self) -> &[u8] {
        let length = self.image.get(header::APEX + 1).copied().unwrap_or(0);
        let start = header::APEX + 2;
        let apex = self.image.get(start..start + usize::from(length));
        apex.unwrap_or(&[0])
    }

    /// Number of labels of the apex, the root's left out.
    pub(crate) fn apex_labels(&self) -> usize {
        self.image.get(header::APEX).copied().map_or(0, usize::from)
    }

    /// Number of names, empty non-terminals included.
    pub fn len(&self) -> usize {
        le32(&self.image, header::NODES) as usize
    }

    /// Whether the zone has no name; it always has its apex.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets that the zone takes in memory.
    pub fn octets(&self) -> usize {
        self.image.len()
    }

    /// The SOA RRset.
    pub fn soa(&self) -> Option<Rrset<'_>> {
        self.apex_node()?.rrset(rtype::SOA)
    }

    /// TTL of a negative answer, in seconds: the lower of the SOA's MINIMUM and its TTL (RFC 2308
    /// §3).
    pub fn negative_ttl(&self) -> u32 {
        le32(&self.image, header::NEGATIVE_TTL)
    }

    /// Whether a name is at or below the apex.
    pub fn contains(&self, name: &LowerName) -> bool {
        let skip = name.labels().checked_sub(self.apex_labels());
        let apex = self.apex_node();
        skip.zip(apex)
            .is_some_and(|(skip, apex)| name.suffix(skip) == apex.name)
    }

    /// The RRset of exactly this name, whether it is authoritative data or glue.
    pub fn exact(&self, name: &LowerName, rtype: u16) -> Option<Rrset<'_>> {
        self.find(name.as_wire())?.rrset(rtype)
    }

    /// Whether both are the same zone at the same place in memory.
    pub(crate) fn is_same(&self, other: &Zone) -> bool {
        Arc::ptr_eq(&self.image, &other.image)
    }

    /// What tells this zone from every other one that lives at the same time.
    pub(super) fn address(&self) -> usize {
        self.image.as_ptr().addr()
    }

    pub(crate) fn apex_node(&self) -> Option<Node<'_>> {
        self.node(le32(&self.image, header::APEX_NODE))
    }

    /// The octets from a place on.
    pub(crate) fn octets_at(&self, place: Place) -> &[u8] {
        self.image.get(place as usize..).unwrap_or_default()
    }

    /// The template of negative answers, made for the apex.
    pub(crate) fn negative(&self) -> Place {
        le32(&self.image, header::NEGATIVE)
    }

    pub(crate) fn node(&self, place: Place) -> Option<Node<'_>> {
        let (&length, rest) = self.octets_at(place).split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(length))?;
        let [flags, low, high] = *rest.first_chunk()?;
        Some(Node {
            image: &self.image,
            name,
            flags,
            types: u16::from_le_bytes([low, high]),
            links: place as usize + 1 + name.len() + 3,
        })
    }

    /// All nodes with their places: each name right before everything below it.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (Place, Node<'_>)> {
        self.nodes_from(0)
    }

    /// The nodes at or below a name (lower-cased wire form).
    pub(super) fn subtree<'z>(&'z self, top: &'z [u8]) -> impl Iterator<Item = (Place, Node<'z>)> {
        let first = self.position(top).unwrap_or_else(|free| free);
        self.nodes_from(first)
            .take_while(move |(_, node)| is_at_or_below(node.name, top))
    }

    /// The node of a name (lower-cased wire form), by halving: for what is not asked at every
    /// query, and for names that the index over all zones leaves out.
    pub(crate) fn find(&self, name: &[u8]) -> Option<Node<'_>> {
        self.node(self.find_place(name)?)
    }

    /// The place of that node.
    pub(crate) fn find_place(&self, name: &[u8]) -> Option<Place> {
        self.position(name).ok().map(|at| self.place_at(at))
    }

    fn nodes_from(&self, first: usize) -> impl Iterator<Item = (Place, Node<'_>)> {
        (first..self.len()).filter_map(|at| {
            let place = self.place_at(at);
            Some((place, self.node(place)?))
        })
    }

    fn position(&self, name: &[u8]) -> Result<usize, usize> {
        let wanted = reversed(name);
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let other = self.node(self.place_at(middle));
            match reversed(other.map_or(&[], |node| node.name)).cmp(&wanted) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    fn place_at(&self, at: usize) -> Place {
        let directory = header::APEX + 2 + self.apex_wire().len();
        le32(&self.image, directory + at * 4)
    }
}

impl<'z> Node<'z> {
    /// Lower-cased wire form.
    pub(crate) fn name(&self) -> &'z [u8] {
        self.name
    }

    pub(crate) fn is_apex(&self) -> bool {
        self.flags & flag::APEX != 0
    }

    pub(crate) fn has_dname(&self) -> bool {
        self.flags & flag::DNAME != 0
    }

    /// Neither at or below a cut nor below a DNAME.
    pub(crate) fn is_open(&self) -> bool {
        self.flags & (flag::CUT | flag::REDIRECTED) == 0
    }

    /// The topmost zone cut at or above the name.
    pub(crate) fn cut(&self) -> Option<Place> {
        self.link(flag::CUT)
    }

    /// The topmost DNAME above the name.
    pub(crate) fn redirected(&self) -> Option<Place> {
        self.link(flag::REDIRECTED)
    }

    pub(crate) fn wildcard(&self) -> Option<Place> {
        self.link(flag::WILDCARD)
    }

    pub(crate) fn service(&self) -> Option<ServiceId> {
        self.link(flag::SERVICE).map(ServiceId)
    }

    /// The template of this name's own negative answer, where it needs one.
    pub(crate) fn negative(&self) -> Option<Place> {
        self.link(flag::NEGATIVE)
    }

    /// Where the place of the name's own negative answer is kept.
    pub(super) fn negative_at(&self) -> Option<Place> {
        let at = self.link_at(flag::NEGATIVE)?;
        u32::try_from(at).ok()
    }

    /// The RRset of a type as it is kept.
    pub(crate) fn stored(&self, rtype: u16) -> Option<Stored<'z>> {
        let (_, place) = self.entries().find(|(other, _)| *other == rtype)?;
        self.at(place)
    }

    pub(crate) fn rrset(&self, rtype: u16) -> Option<Rrset<'z>> {
        self.stored(rtype).map(|stored| Rrset::new(rtype, &stored))
    }

    /// All RRsets, in rising order of types.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Stored<'z>, Rrset<'z>)> {
        self.entries().filter_map(|(rtype, place)| {
            let stored = self.at(place)?;
            Some((stored, Rrset::new(rtype, &stored)))
        })
    }

    fn entries(&self) -> impl Iterator<Item = (u16, Place)> + use<'z> {
        let start = self.links + 4 * self.link_count();
        let end = start + usize::from(self.types) * TYPE_ENTRY;
        let table = self.image.get(start..end).unwrap_or_default();
        table.chunks_exact(TYPE_ENTRY).filter_map(|entry| {
            let (rtype, place) = entry.split_first_chunk::<2>()?;
            Some((u16::from_le_bytes(*rtype), le32(place, 0)))
        })
    }

    fn at(&self, place: Place) -> Option<Stored<'z>> {
        let octets = self.image.get(place as usize..)?;
        let (&kind, rest) = octets.split_first()?;
        let (count, rest) = rest.split_first_chunk::<2>()?;
        let length = le32(rest, 0) as usize;
        let template = le32(rest, 4);
        let head = RRSET_HEAD;
        Some(Stored {
            kind: match kind {
                0 => Kind::Plain,
                _ => Kind::Compiled(template),
            },
            count: u16::from_le_bytes(*count),
            template_at: place.checked_add(7)?,
            records: octets.get(head..head + length)?,
        })
    }

    fn link_count(&self) -> usize {
        (self.flags >> 2).count_ones() as usize
    }

    fn link_at(&self, which: u8) -> Option<usize> {
        let before = (self.flags & (which - 1)) >> 2;
        let at = self.links + 4 * before.count_ones() as usize;
        (self.flags & which != 0).then_some(at)
    }

    fn link(&self, which: u8) -> Option<u32> {
        self.link_at(which).map(|at| le32(self.image, at))
    }
}

/// The labels of a name from the root on, each with its length: in the order of these, a name
/// stands right before everything below it.
pub(super) fn reversed(name: &[u8]) -> ArrayVec<u8, 255> {
    let mut starts: ArrayVec<u8, 128> = ArrayVec::new();
    let mut at = 0_usize;
    while let Some(&length) = name.get(at)
        && length != 0
        && let Ok(start) = u8::try_from(at)
        && starts.try_push(start).is_ok()
    {
        at += 1 + usize::from(length);
    }
    let mut key = ArrayVec::new();
    let mut end = at;
    for start in starts.into_iter().rev() {
        let label = name.get(usize::from(start)..end).unwrap_or_default();
        // A name has at most 255 octets.
        let _ = key.try_extend_from_slice(label);
        end = usize::from(start);
    }
    key
}

fn is_at_or_below(name: &[u8], top: &[u8]) -> bool {
    let at_label = |wire: &[u8]| {
        let mut at = 0_usize;
        while let Some(&length) = wire.get(at)
            && wire.len() - at > top.len()
        {
            at += 1 + usize::from(length);
        }
        wire.get(at..) == Some(top)
    };
    name.ends_with(top) && at_label(name)
}

pub(crate) fn le32(octets: &[u8], at: usize) -> u32 {
    let four = octets.get(at..).and_then(|rest| rest.first_chunk::<4>());
    four.map_or(0, |four| u32::from_le_bytes(*four))
}

fn be32(octets: &[u8], at: usize) -> u32 {
    let four = octets.get(at..).and_then(|rest| rest.first_chunk::<4>());
    four.map_or(0, |four| u32::from_be_bytes(*four))
}
