//! All zones of a server: the one that is closest to a name answers for it.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::sync::Arc;

use super::{
    lower::{LowerName, count_labels},
    table::Table,
    tree::Zone,
};
use crate::types::rtype;

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
