//! From records to a [`Zone`].

use std::collections::{BTreeMap, HashMap};

use meridian_config::Name;

use super::{
    lower::LowerName,
    table::Table,
    tree::{Cover, Node, NodeId, RrsetEntry, Zone},
};
use crate::types::{ServiceId, rtype};

/// Why a record cannot stand in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// The owner is not at or below the apex.
    #[error("the owner is outside the zone")]
    OutOfZone,
    /// RFC 4592 §4.2 leaves the meaning of a delegation at a wildcard open.
    #[error("an NS record at a wildcard has no defined meaning (RFC 4592 §4.2)")]
    WildcardNs,
    /// The RDATA is longer than a record can hold.
    #[error("the data is longer than 65,535 octets")]
    TooLong,
}

/// Why a name cannot be a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The name is not at or below the apex.
    #[error("the name is outside the zone")]
    OutOfZone,
    /// The name is at or below a delegation.
    #[error("the name is at or below a delegation")]
    BelowCut,
    /// The name is below a DNAME.
    #[error("the name is below a DNAME")]
    BelowDname,
    /// The zone file has A or AAAA records there.
    #[error("the zone file has static addresses at this name")]
    StaticAddress,
    /// The zone file has a CNAME there.
    #[error("the zone file has a CNAME at this name")]
    Alias,
    /// Another service has the name.
    #[error("another service has this name")]
    Taken,
}

/// Why records make no zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// RFC 1035 §5.2
    #[error("there is no SOA record at the apex")]
    NoSoa,
    /// More than 4 GiB of names or data.
    #[error("the zone is larger than 4 GiB")]
    TooLarge,
}

/// A node while it grows.
#[derive(Default)]
struct Draft {
    service: Option<ServiceId>,
    rrsets: BTreeMap<u16, DraftRrset>,
}

struct DraftRrset {
    ttl: u32,
    records: Vec<Box<[u8]>>,
}

/// Collects the records and services of a zone. Services come after the records.
pub struct ZoneBuilder {
    apex: Name,
    apex_labels: usize,
    nodes: HashMap<Box<[u8]>, Draft>,
}

impl ZoneBuilder {
    /// An empty zone.
    pub fn new(apex: &Name) -> Self {
        let lower = LowerName::from(apex);
        Self {
            apex: apex.clone(),
            apex_labels: lower.labels(),
            nodes: HashMap::from([(lower.as_wire().into(), Draft::default())]),
        }
    }

    /// Adds a record; `rdata` is uncompressed wire form. The TTL of an RRset is the lowest of its
    /// records' (RFC 2181 §5.2).
    ///
    /// # Errors
    /// The record is left out when it cannot stand in this zone.
    pub fn add(
        &mut self,
        owner: &Name,
        rtype: u16,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<(), AddError> {
        if !owner.is_at_or_below(&self.apex) {
            return Err(AddError::OutOfZone);
        }
        if rdata.len() > usize::from(u16::MAX) {
            return Err(AddError::TooLong);
        }
        if rtype == rtype::NS && owner.is_wildcard() && *owner != self.apex {
            return Err(AddError::WildcardNs);
        }
        let draft = self.node(&LowerName::from(owner));
        let rrset = draft.rrsets.entry(rtype).or_insert_with(|| DraftRrset {
            ttl,
            records: Vec::new(),
        });
        rrset.ttl = rrset.ttl.min(ttl);
        rrset.records.push(rdata.into());
        Ok(())
    }

    /// Makes a name a service.
    ///
    /// # Errors
    /// The service is left out when the name cannot be steered.
    pub fn place(&mut self, name: &Name, service: ServiceId) -> Result<(), PlaceError> {
        if !name.is_at_or_below(&self.apex) {
            return Err(PlaceError::OutOfZone);
        }
        let lower = LowerName::from(name);
        for skip in 0..lower.labels() - self.apex_labels {
            if self.has(lower.suffix(skip), rtype::NS) {
                return Err(PlaceError::BelowCut);
            }
            if self.has(lower.suffix(skip + 1), rtype::DNAME) {
                return Err(PlaceError::BelowDname);
            }
        }
        let draft = self.node(&lower);
        if draft.service.is_some() {
            Err(PlaceError::Taken)
        } else if draft.rrsets.contains_key(&rtype::CNAME) {
            Err(PlaceError::Alias)
        } else if draft.rrsets.contains_key(&rtype::A) || draft.rrsets.contains_key(&rtype::AAAA) {
            Err(PlaceError::StaticAddress)
        } else {
            draft.service = Some(service);
            Ok(())
        }
    }

    /// The finished zone.
    ///
    /// # Errors
    /// When there is no SOA, or too much of everything.
    pub fn finish(self) -> Result<Zone, BuildError> {
        let apex = LowerName::from(&self.apex);
        let negative_ttl = self.negative_ttl(&apex).ok_or(BuildError::NoSoa)?;
        let mut keys: Vec<&[u8]> = self.nodes.keys().map(AsRef::as_ref).collect();
        keys.sort_unstable();
        let table = Table::new(keys.iter().copied());
        let id_of = |name: &[u8]| -> Option<NodeId> {
            table.find(name, |id| keys.get(id as usize) == Some(&name))
        };
        let mut frozen = Frozen::default();
        for key in &keys {
            let name = LowerName::from_wire(key).ok_or(BuildError::TooLarge)?;
            let draft = self.nodes.get(*key).ok_or(BuildError::TooLarge)?;
            let wildcard = LowerName::concat(b"\x01*", key);
            let child = wildcard.is_some_and(|name| self.nodes.contains_key(name.as_wire()));
            let cover = self.cover(&name, id_of);
            frozen
                .node(key, draft, child, cover)
                .ok_or(BuildError::TooLarge)?;
        }
        let apex_node = id_of(apex.as_wire()).ok_or(BuildError::NoSoa)?;
        Ok(Zone {
            apex_labels: self.apex_labels,
            names: frozen.names.into(),
            nodes: frozen.nodes.into(),
            rrsets: frozen.rrsets.into(),
            rdata: frozen.rdata.into(),
            table,
            apex_node,
            negative_ttl,
            apex: self.apex,
        })
    }

    /// The node of a name, made together with its ancestors up to the apex.
    fn node(&mut self, name: &LowerName) -> &mut Draft {
        for skip in 1..name.labels().saturating_sub(self.apex_labels) {
            if self.nodes.contains_key(name.suffix(skip)) {
                break;
            }
            self.nodes
                .insert(name.suffix(skip).into(), Draft::default());
        }
        self.nodes.entry(name.as_wire().into()).or_default()
    }

    fn has(&self, name: &[u8], rtype: u16) -> bool {
        let draft = self.nodes.get(name);
        draft.is_some_and(|draft| draft.rrsets.contains_key(&rtype))
    }

    /// The topmost cut at or above, or DNAME above, a name; the apex is no cut.
    fn cover(&self, name: &LowerName, id_of: impl Fn(&[u8]) -> Option<NodeId>) -> Cover {
        for skip in (0..name.labels() - self.apex_labels).rev() {
            let above = name.suffix(skip + 1);
            if self.has(above, rtype::DNAME) {
                return id_of(above).map_or(Cover::Open, Cover::Dname);
            }
            let here = name.suffix(skip);
            if self.has(here, rtype::NS) {
                return id_of(here).map_or(Cover::Open, Cover::Cut);
            }
        }
        Cover::Open
    }

    /// RFC 2308 §5: min(TTL of the SOA, MINIMUM). MINIMUM is the last field (RFC 1035 §3.3.13).
    fn negative_ttl(&self, apex: &LowerName) -> Option<u32> {
        let draft = self.nodes.get(apex.as_wire())?;
        let soa = draft.rrsets.get(&rtype::SOA)?;
        let minimum = soa.records.first()?.last_chunk::<4>()?;
        Some(u32::from_be_bytes(*minimum).min(soa.ttl))
    }
}

/// The flat pieces of a zone while they grow.
#[derive(Default)]
struct Frozen {
    names: Vec<u8>,
    nodes: Vec<Node>,
    rrsets: Vec<RrsetEntry>,
    rdata: Vec<u8>,
}

impl Frozen {
    fn node(
        &mut self,
        key: &[u8],
        draft: &Draft,
        wildcard_child: bool,
        cover: Cover,
    ) -> Option<()> {
        let first = u32::try_from(self.rrsets.len()).ok()?;
        for (&rtype, rrset) in &draft.rrsets {
            let start = u32::try_from(self.rdata.len()).ok()?;
            for record in &rrset.records {
                let length = u16::try_from(record.len()).ok()?;
                self.rdata.extend_from_slice(&length.to_be_bytes());
                self.rdata.extend_from_slice(record);
            }
            self.rrsets.push(RrsetEntry {
                rtype,
                ttl: rrset.ttl,
                count: u32::try_from(rrset.records.len()).ok()?,
                start,
                end: u32::try_from(self.rdata.len()).ok()?,
            });
        }
        self.nodes.push(Node {
            name_start: u32::try_from(self.names.len()).ok()?,
            name_len: u8::try_from(key.len()).ok()?,
            wildcard_child,
            has_dname: draft.rrsets.contains_key(&rtype::DNAME),
            cover,
            service: draft.service,
            rrsets: (first, u32::try_from(self.rrsets.len()).ok()?),
        });
        self.names.extend_from_slice(key);
        Some(())
    }
}
