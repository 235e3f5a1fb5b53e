//! From records to a [`Zone`].

use std::collections::{BTreeMap, HashMap};

use meridian_config::Name;

use super::{
    freeze::{self, Cover},
    image::Zone,
    lower::LowerName,
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
    /// More than 4 GiB of names or data, or more signatures than 16 bits count.
    #[error("the zone is larger than 4 GiB, or a name in it has more than 65,535 signatures")]
    TooLarge,
}

/// A node while it grows.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) service: Option<ServiceId>,
    pub(super) rrsets: BTreeMap<u16, DraftRrset>,
}

pub(super) struct DraftRrset {
    pub(super) ttl: u32,
    pub(super) records: Vec<Box<[u8]>>,
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
        let draft = freeze::Frozen {
            apex: self.apex.as_wire(),
            apex_labels: self.apex_labels,
            negative_ttl,
            cover: &|name| self.cover(name),
        };
        freeze::freeze(&draft, &self.nodes).ok_or(BuildError::TooLarge)
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
    fn cover(&self, name: &LowerName) -> Cover {
        for skip in (0..name.labels() - self.apex_labels).rev() {
            let above = name.suffix(skip + 1);
            if self.has(above, rtype::DNAME) {
                return Cover::Dname(above.len());
            }
            let here = name.suffix(skip);
            if self.has(here, rtype::NS) {
                return Cover::Cut(here.len());
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
