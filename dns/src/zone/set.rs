//! All zones of a server: the one that is closest to a name answers for it.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::sync::Arc;

use meridian_config::Name;

use super::{
    lower::{LowerName, count_labels},
    table::Table,
    tree::Zone,
};
use crate::types::rtype;

/// What becomes of one zone of a [`ZoneSet`].
#[derive(Clone, Debug)]
pub enum Change {
    /// The zone is new, or takes the place of the one with the same apex.
    Put(Arc<Zone>),
    /// The zone of this apex is served no more.
    Remove(Name),
}

/// Zones by apex.
#[derive(Debug)]
pub struct ZoneSet {
    zones: Box<[Arc<Zone>]>,
    apexes: Box<[Box<[u8]>]>,
    table: Table,
    /// Bit n is set when some apex has n labels: only those suffixes are probed.
    depths: u128,
}

impl ZoneSet {
    /// Takes the zones of a server; of two with the same apex the first one counts.
    pub fn new(zones: impl IntoIterator<Item = Arc<Zone>>) -> Self {
        let mut kept: Vec<Arc<Zone>> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for zone in zones {
            if seen.insert(zone.apex().clone()) {
                kept.push(zone);
            }
        }
        let apexes: Box<[Box<[u8]>]> = kept
            .iter()
            .map(|zone| zone.apex().as_wire().to_ascii_lowercase().into())
            .collect();
        let depths = apexes
            .iter()
            .fold(0, |bits, apex| bits | 1 << count_labels(apex).min(127));
        Self {
            table: Table::new(apexes.iter().map(AsRef::as_ref)),
            apexes,
            zones: kept.into(),
            depths,
        }
    }

    /// These zones after some changes, made in order; what does not change is shared.
    #[must_use]
    pub fn with(&self, changes: impl IntoIterator<Item = Change>) -> Self {
        let mut changed: std::collections::HashMap<Name, Option<Arc<Zone>>> = changes
            .into_iter()
            .map(|change| match change {
                Change::Put(zone) => (zone.apex().clone(), Some(zone)),
                Change::Remove(apex) => (apex, None),
            })
            .collect();
        let mut zones = Vec::with_capacity(self.zones.len() + changed.len());
        for zone in &self.zones {
            match changed.remove(zone.apex()) {
                Some(replacement) => zones.extend(replacement),
                None => zones.push(zone.clone()),
            }
        }
        zones.extend(changed.into_values().flatten());
        Self::new(zones)
    }

    /// The zone that answers this question; `None` outside all zones.
    ///
    /// RFC 1034 §4.3.2 step 2: "Search the available zones for the zone which is the nearest
    /// ancestor to QNAME." A hosted child wins over its parent, but for DS at its apex, which
    /// stands on the parent's side of the cut (RFC 4035 §3.1.4.1): then the parent answers, when
    /// it is hosted too.
    pub fn find(&self, name: &LowerName, qtype: u16) -> Option<&Arc<Zone>> {
        let nearest = self.nearest(name, 0)?;
        if qtype == rtype::DS && nearest.apex_labels == name.labels() {
            return self.nearest(name, 1).or(Some(nearest));
        }
        Some(nearest)
    }

    fn nearest(&self, name: &LowerName, skip: usize) -> Option<&Arc<Zone>> {
        (skip..=name.labels())
            .filter(|skip| self.depths & (1 << (name.labels() - skip)) != 0)
            .find_map(|skip| self.zone_at(name.suffix(skip)))
    }

    fn zone_at(&self, apex: &[u8]) -> Option<&Arc<Zone>> {
        let is = |number: u32| {
            let other = self.apexes.get(number as usize);
            other.is_some_and(|other| other.as_ref() == apex)
        };
        self.zones.get(self.table.find(apex, is)? as usize)
    }

    /// All zones, in configuration order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Zone>> {
        self.zones.iter()
    }

    /// Number of zones.
    pub fn len(&self) -> usize {
        self.zones.len()
    }

    /// Whether there is no zone.
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }
}
