//! One zone, as it is kept for lookup: every owner name and every empty non-terminal in one hash
//! table by lower-cased wire form, RRsets as wire RDATA in one piece of memory.
//!
//! What a lookup would otherwise find by walking down from the apex stands at each name already:
//! the topmost cut or DNAME that covers it, and whether it has a wildcard child.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use meridian_config::Name;

use super::{lower::LowerName, table::Table};
use crate::types::{ServiceId, rtype};

/// Index of a node in [`Zone`].
pub(super) type NodeId = u32;

/// What covers a name: it and everything below it is not ours to answer as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    /// Nothing.
    Open,
    /// The topmost zone cut at or above the name.
    Cut(NodeId),
    /// The topmost DNAME above the name.
    Dname(NodeId),
}

/// An owner name or an empty non-terminal.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name_start: u32,
    pub(super) name_len: u8,
    /// There is a name `*.` below this one (RFC 4592 §2.1.1).
    pub(super) wildcard_child: bool,
    pub(super) has_dname: bool,
    pub(super) cover: Cover,
    pub(super) service: Option<ServiceId>,
    /// Range in `Zone::rrsets`, in rising order of types.
    pub(super) rrsets: (u32, u32),
}

/// Where an RRset lies.
#[derive(Debug)]
pub(super) struct RrsetEntry {
    pub(super) rtype: u16,
    pub(super) ttl: u32,
    pub(super) count: u32,
    /// Range in `Zone::rdata`.
    pub(super) start: u32,
    pub(super) end: u32,
}

/// One zone: immutable, built by [`super::ZoneBuilder`].
#[derive(Debug)]
pub struct Zone {
    pub(super) apex: Name,
    pub(super) apex_labels: usize,
    pub(super) names: Box<[u8]>,
    pub(super) nodes: Box<[Node]>,
    pub(super) rrsets: Box<[RrsetEntry]>,
    /// For each record its length in two octets, then its RDATA in wire form.
    pub(super) rdata: Box<[u8]>,
    pub(super) table: Table,
    pub(super) apex_node: NodeId,
    pub(super) negative_ttl: u32,
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
    data: &'z [u8],
}

impl<'z> Rrset<'z> {
    /// The RDATA of each record: uncompressed wire form, in the order of the zone file.
    pub fn rdata(&self) -> impl Iterator<Item = &'z [u8]> + use<'z> {
        let mut rest = self.data;
        std::iter::from_fn(move || {
            let (length, tail) = rest.split_first_chunk::<2>()?;
            let (one, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            rest = tail;
            Some(one)
        })
    }

    /// The RDATA of the first record.
    pub fn first(&self) -> Option<&'z [u8]> {
        self.rdata().next()
    }
}

impl Zone {
    /// The apex, case as configured.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// Whether a name is at or below the apex.
    pub fn contains(&self, name: &LowerName) -> bool {
        let skip = name.labels().checked_sub(self.apex_labels);
        skip.is_some_and(|skip| name.suffix(skip) == self.name_of(self.apex_node))
    }

    /// Number of names, empty non-terminals included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the zone has no name; it always has its apex.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The SOA RRset.
    pub fn soa(&self) -> Option<Rrset<'_>> {
        self.rrset(self.apex_node, rtype::SOA)
    }

    /// TTL of a negative answer, in seconds: the lower of the SOA's MINIMUM and its TTL (RFC 2308
    /// §3).
    pub fn negative_ttl(&self) -> u32 {
        self.negative_ttl
    }

    /// The RRset of exactly this name, whether it is authoritative data or glue.
    pub fn exact(&self, name: &[u8], rtype: u16) -> Option<Rrset<'_>> {
        self.rrset(self.node_id(name)?, rtype)
    }

    /// The RRset of exactly this name, when it is authoritative, and not steered.
    pub fn authoritative(&self, name: &[u8], rtype: u16) -> Option<Rrset<'_>> {
        let id = self.node_id(name)?;
        let node = self.node(id)?;
        (node.cover == Cover::Open).then(|| self.rrset(id, rtype))?
    }

    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    /// The node of a lower-cased name: one probe.
    pub(super) fn node_id(&self, name: &[u8]) -> Option<NodeId> {
        self.table.find(name, |id| self.name_of(id) == name)
    }

    pub(super) fn name_of(&self, id: NodeId) -> &[u8] {
        self.node(id)
            .and_then(|node| {
                let start = node.name_start as usize;
                self.names.get(start..start + usize::from(node.name_len))
            })
            .unwrap_or_default()
    }

    pub(super) fn rrsets_of(&self, id: NodeId) -> &[RrsetEntry] {
        self.node(id)
            .and_then(|node| {
                let (start, end) = node.rrsets;
                self.rrsets.get(start as usize..end as usize)
            })
            .unwrap_or_default()
    }

    pub(super) fn rrset(&self, id: NodeId, rtype: u16) -> Option<Rrset<'_>> {
        let entries = self.rrsets_of(id);
        let entry = entries.iter().find(|entry| entry.rtype == rtype)?;
        self.view(entry)
    }

    pub(super) fn view(&self, entry: &RrsetEntry) -> Option<Rrset<'_>> {
        Some(Rrset {
            rtype: entry.rtype,
            ttl: entry.ttl,
            count: entry.count,
            data: self.rdata.get(entry.start as usize..entry.end as usize)?,
        })
    }

    /// Labels that stand in front of the apex in a name at or below it.
    pub(super) fn depth_below_apex(&self, name: &LowerName) -> usize {
        name.labels().saturating_sub(self.apex_labels)
    }
}
