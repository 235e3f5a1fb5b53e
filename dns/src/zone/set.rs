//! All zones of a server behind one index of names: one probe finds the name that was asked for,
//! in the zone that answers for it.
//!
//! A name is in the index once, with the zone nearest to it (RFC 1034 §4.3.2): what a zone has at
//! or below the apex of another zone here is left out and comes back when that zone goes. A change
//! of one zone touches the pieces of the index that its names are in and shares the others.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use meridian_config::Name;

use super::{
    image::{Node, Place, Zone},
    index::{Edit, Index},
    lower::LowerName,
};
use crate::types::rtype;

/// Suffixes that are probed one by one on the way to the closest encloser, before the apex is
/// looked for and the way to it is halved.
pub(super) const STEPS: usize = 4;

/// More names than the nearer caches of a processor hold.
const MANY: usize = 10_000;

/// What becomes of one zone of a [`ZoneSet`].
#[derive(Clone, Debug)]
pub enum Change {
    /// The zone is new, or takes the place of the one with the same apex.
    Put(Arc<Zone>),
    /// The zone of this apex is served no more.
    Remove(Name),
}

/// All zones.
#[derive(Clone, Debug)]
pub struct ZoneSet {
    index: Index,
    zones: usize,
    /// How many apexes have this many labels.
    depths: Box<[u32; DEPTHS]>,
    /// Bit n is set when some apex has n labels: only those suffixes can be apexes.
    mask: u128,
}

/// A name has at most 127 labels.
const DEPTHS: usize = 128;

/// Where a name stands among all names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spot<'s> {
    /// It exists.
    At(&'s Zone, Node<'s>),
    /// It does not; this is its closest encloser.
    Below(&'s Zone, Node<'s>),
}

/// Zones that change, by apex (lower-cased wire form); `None` for one that goes.
type Changes = HashMap<Box<[u8]>, Option<Zone>>;

impl ZoneSet {
    /// Takes the zones of a server; of two with the same apex the first one counts.
    pub fn new(zones: impl IntoIterator<Item = Arc<Zone>>) -> Self {
        let mut changes = Changes::new();
        let mut names = 0;
        for zone in zones {
            if let Entry::Vacant(free) = changes.entry(apex_of(&zone)) {
                names += zone.len();
                free.insert(Some(Zone::clone(&zone)));
            }
        }
        let seed = RandomState::new().hash_one(names);
        Self::empty(names, seed).changed(changes)
    }

    /// These zones after some changes, made in order. What does not change is shared: the cost is
    /// that of the names that change, and of a few of the index's pieces.
    #[must_use]
    pub fn with(&self, changes: impl IntoIterator<Item = Change>) -> Self {
        let changes = changes.into_iter().map(|change| match change {
            Change::Put(zone) => (apex_of(&zone), Some(Zone::clone(&zone))),
            Change::Remove(apex) => (apex.as_wire().to_ascii_lowercase().into(), None),
        });
        let after = self.changed(changes.collect());
        if after.index.is_crowded() {
            let whole = after.iter().map(|zone| (apex_of(zone), Some(zone.clone())));
            return Self::empty(after.index.len(), self.index.seed()).changed(whole.collect());
        }
        after
    }

    /// The zone that answers this question; `None` outside all zones.
    ///
    /// RFC 1034 §4.3.2 step 2: "Search the available zones for the zone which is the nearest
    /// ancestor to QNAME." A hosted child wins over its parent, but for DS at its apex, which
    /// stands on the parent's side of the cut (RFC 4035 §3.1.4.1): then the parent answers, when
    /// it is hosted too.
    pub fn find(&self, name: &LowerName, qtype: u16) -> Option<&Zone> {
        let nearest = self.nearest(name, 0)?;
        if qtype == rtype::DS && nearest.apex_labels() == name.labels() {
            return self.nearest(name, 1).or(Some(nearest));
        }
        Some(nearest)
    }

    /// Where a name stands; `None` outside all zones.
    pub(crate) fn seek(&self, name: &LowerName) -> Option<Spot<'_>> {
        if let Some((zone, node)) = self.index.probe(name.as_wire()) {
            return Some(Spot::At(zone, node));
        }
        for skip in 1..=name.labels().min(STEPS) {
            if let Some((zone, node)) = self.index.probe(name.suffix(skip)) {
                return Some(Spot::Below(zone, node));
            }
        }
        self.far_encloser(name)
    }

    /// Says which names will be looked up next, each at the start of its octets. Changes nothing
    /// but how fast they are found; does nothing where all names are in the caches anyway.
    pub(crate) fn expect<'q>(&self, names: impl Iterator<Item = &'q [u8]>) {
        if self.names() > MANY {
            self.index.expect(names);
        }
    }

    /// Whether no zone can have another one below it: all apexes have the same depth.
    pub(crate) fn is_flat(&self) -> bool {
        self.mask.count_ones() <= 1
    }

    /// All zones, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.index.zones()
    }

    /// Number of zones.
    pub fn len(&self) -> usize {
        self.zones
    }

    /// Whether there is no zone.
    pub fn is_empty(&self) -> bool {
        self.zones == 0
    }

    /// Number of names in the index.
    pub fn names(&self) -> usize {
        self.index.len()
    }

    /// Octets of memory that the index and the zones take.
    pub fn octets(&self) -> usize {
        self.index.octets() + self.iter().map(Zone::octets).sum::<usize>()
    }

    /// The longest existing suffix of a name that is far below everything. Between the apex and a
    /// name that exists every suffix exists (empty non-terminals do), so that halving finds it: at
    /// most 7 probes after those for the apex.
    fn far_encloser(&self, name: &LowerName) -> Option<Spot<'_>> {
        let apex = self.nearest(name, STEPS)?;
        let mut missing = STEPS;
        let mut skip = name.labels() - apex.apex_labels();
        let mut found = (apex, apex.apex_node()?);
        while skip - missing > 1 {
            let middle = missing + (skip - missing) / 2;
            match self.index.probe(name.suffix(middle)) {
                Some(spot) => (skip, found) = (middle, spot),
                None => missing = middle,
            }
        }
        Some(Spot::Below(found.0, found.1))
    }

    fn nearest(&self, name: &LowerName, skip: usize) -> Option<&Zone> {
        (skip..=name.labels())
            .filter(|skip| self.mask & (1 << (name.labels() - skip)) != 0)
            .find_map(|skip| self.apex(name.suffix(skip)))
    }

    /// The zone with this apex.
    fn apex(&self, apex: &[u8]) -> Option<&Zone> {
        let (zone, node) = self.index.probe(apex)?;
        node.is_apex().then_some(zone)
    }

    fn empty(names: usize, seed: u64) -> Self {
        Self {
            index: Index::new(names, seed),
            zones: 0,
            depths: Box::new([0; DEPTHS]),
            mask: 0,
        }
    }

    fn changed(&self, changes: Changes) -> Self {
        let mut after = Self {
            // Stands in until the new one is made.
            index: Index::new(0, 0),
            zones: self.zones,
            depths: self.depths.clone(),
            mask: 0,
        };
        for (apex, change) in &changes {
            after.count(apex, self.apex(apex).is_some(), change.is_some());
        }
        let depths = (0..).zip(after.depths.iter());
        after.mask = depths.fold(0, |mask, (depth, count)| {
            mask | u128::from(*count > 0) << depth
        });
        let move_ = Move {
            before: self,
            changes: &changes,
            mask: after.mask,
        };
        after.index = move_.index();
        after
    }

    fn count(&mut self, apex: &[u8], was: bool, is: bool) {
        let depth = LowerName::from_wire(apex).map_or(0, |name| name.labels());
        if let Some(count) = self.depths.get_mut(depth) {
            *count = *count + u32::from(is) - u32::from(was);
            self.zones = self.zones + usize::from(is) - usize::from(was);
        }
    }
}

/// From one set of zones to the next.
struct Move<'a> {
    before: &'a ZoneSet,
    changes: &'a Changes,
    /// [`ZoneSet::mask`] afterwards.
    mask: u128,
}

impl<'a> Move<'a> {
    fn index(&self) -> Index {
        let mut edit = self.before.index.edit();
        // Every slot of a zone that goes; single slots of one that stays.
        let mut gone: HashSet<usize> = HashSet::new();
        let mut hidden: HashSet<(usize, Place)> = HashSet::new();
        for (apex, change) in self.changes {
            if let Some(old) = self.before.apex(apex) {
                gone.insert(old.address());
                old.nodes().for_each(|(_, node)| edit.touch(node.name()));
            }
            if let Some(new) = change {
                self.insert(&mut edit, new, new.nodes());
            }
            if let Some(parent) = self.unchanged_parent(apex) {
                // Two changes may lie below one another: each name is taken up once.
                let touched = parent.subtree(apex);
                let touched = touched.filter(|(at, _)| hidden.insert((parent.address(), *at)));
                self.insert(&mut edit, parent, touched);
            }
        }
        edit.finish(|zone, node| {
            let zone = zone.address();
            !gone.contains(&zone) && (hidden.is_empty() || !hidden.contains(&(zone, node)))
        })
    }

    /// Takes up those names of a zone that no zone below it answers for.
    fn insert<'z>(
        &self,
        edit: &mut Edit<'_>,
        zone: &'z Zone,
        nodes: impl Iterator<Item = (Place, Node<'z>)>,
    ) {
        for (place, node) in nodes {
            if self.is_hidden(zone, node.name()) {
                edit.touch(node.name());
            } else {
                edit.insert(node.name(), zone, place);
            }
        }
    }

    /// Whether another zone's apex stands between a name and the apex of its zone.
    fn is_hidden(&self, zone: &Zone, name: &[u8]) -> bool {
        let Some(below) = self.mask.checked_shr(zone.apex_labels() as u32 + 1) else {
            return false;
        };
        // Nearly always: no apex is deeper than this one.
        if below == 0 {
            return false;
        }
        let Some(name) = LowerName::from_wire(name) else {
            return true;
        };
        let depths = zone.apex_labels() + 1..=name.labels();
        depths
            .filter(|depth| self.mask & (1 << depth) != 0)
            .any(|depth| self.zone_at(name.suffix(name.labels() - depth)).is_some())
    }

    /// The zone above an apex, unless it changes itself.
    fn unchanged_parent(&self, apex: &[u8]) -> Option<&'a Zone> {
        let name = LowerName::from_wire(apex)?;
        let depths = (0..name.labels()).rev();
        let parent = depths
            .filter(|depth| self.mask & (1 << depth) != 0)
            .find_map(|depth| self.zone_at(name.suffix(name.labels() - depth)))?;
        let apex = apex_of(parent);
        let changes = self.changes.contains_key(&apex);
        (!changes).then(|| self.before.apex(&apex))?
    }

    /// The zone that has this apex afterwards.
    fn zone_at(&self, apex: &[u8]) -> Option<&Zone> {
        match self.changes.get(apex) {
            Some(change) => change.as_ref(),
            None => self.before.apex(apex),
        }
    }
}

/// The apex as a key.
fn apex_of(zone: &Zone) -> Box<[u8]> {
    zone.apex_wire().to_ascii_lowercase().into()
}
