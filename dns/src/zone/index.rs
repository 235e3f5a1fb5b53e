//! An open-addressing index from names to the nodes of all zones, in pieces that are shared between
//! one version and the next.
//!
//! ```text
//! hash of the name ── upper half → shard ── lower half → slot ── tag equal → node, name equal → hit
//! ```
//!
//! A shard is at most three fifths full, so a probe takes between one and three slots on the
//! average, hit or miss; a slot is 24 octets, so a name costs 40. The hash has a seed of its own in
//! every index: whoever has names in a zone here cannot choose them so that they crowd one place.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::sync::Arc;

use arrayvec::ArrayVec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    image::{Node, Place, Zone},
    lower::LowerName,
};

/// Most shards.
const MAX_SHARDS: usize = 8192;
/// Names in a shard, about, where there are fewer than [`MAX_SHARDS`].
const NAMES_A_SHARD: usize = 512;

/// Names that are asked for together: a batch holds no more.
const TOGETHER: usize = 64;
/// Octets of a cache line.
const LINE: usize = 64;

/// One name in one zone; empty without a zone.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    zone: Option<Zone>,
    tag: u32,
    node: Place,
}

/// A part of the index: slots, some of them empty, at least one.
type Shard = Arc<[Slot]>;

/// First slots of names, each with the tag that is looked for.
type Slots<'i> = ArrayVec<Option<(&'i Slot, u32)>, TOGETHER>;

/// The index over all names.
#[derive(Clone, Debug)]
pub(super) struct Index {
    seed: u64,
    shards: Box<[Shard]>,
    names: usize,
}

/// What changes in an index.
pub(super) struct Edit<'i> {
    index: &'i Index,
    /// By shard: touched or not, and what comes in.
    touched: Vec<Option<Vec<Slot>>>,
}

impl Index {
    /// An empty index made for about this many names.
    pub(super) fn new(names: usize, seed: u64) -> Self {
        let shards = (names / NAMES_A_SHARD)
            .next_power_of_two()
            .clamp(1, MAX_SHARDS);
        let empty: Shard = Arc::new([Slot::default()]);
        Self {
            seed,
            shards: vec![empty; shards].into(),
            names: 0,
        }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Number of names.
    pub(super) fn len(&self) -> usize {
        self.names
    }

    /// Octets that the index itself takes, zones left out.
    pub(super) fn octets(&self) -> usize {
        let slots: usize = self.shards.iter().map(|shard| size_of_val(&**shard)).sum();
        slots + size_of_val(&*self.shards)
    }

    /// Whether there are far more names than it was made for.
    pub(super) fn is_crowded(&self) -> bool {
        let shards = self.shards.len();
        shards < MAX_SHARDS && self.names / shards > 8 * NAMES_A_SHARD
    }

    /// The node of a lower-cased name in wire form: one probe.
    #[inline]
    pub(super) fn probe(&self, name: &[u8]) -> Option<(&Zone, Node<'_>)> {
        #[cfg(test)]
        tests::PROBES.with(|probes| probes.set(probes.get() + 1));
        let (shard, tag) = self.place(name);
        let slots = self.shards.get(shard)?;
        let mut at = start(tag, slots.len());
        for _ in 0..slots.len() {
            let slot = slots.get(at)?;
            let zone = slot.zone.as_ref()?;
            if slot.tag == tag {
                let node = zone.node(slot.node)?;
                if node.name() == name {
                    return Some((zone, node));
                }
            }
            at += 1;
            if at == slots.len() {
                at = 0;
            }
        }
        None
    }

    /// Has the processor's caches hold what probes of these names (each at the start of its octets)
    /// will need: all slots are asked for before the first one is waited for, then all nodes; then
    /// the same for the parents of those that are not there, and for what says so.
    pub(super) fn expect<'q>(&self, names: impl Iterator<Item = &'q [u8]>) {
        let names: ArrayVec<&[u8], TOGETHER> = names.take(TOGETHER).collect();
        let slots: Slots<'_> = names
            .iter()
            .map(|octets| self.first_slot(octets, 0))
            .collect();
        fetch(slots.iter().flatten().map(|(slot, _)| slot.tag));
        fetch(
            slots
                .iter()
                .filter_map(|slot| Some(first_octets(hit(slot)?))),
        );
        let missing = names
            .iter()
            .zip(&slots)
            .filter(|(_, slot)| hit(slot).is_none());
        let parents: Slots<'_> = missing
            .map(|(octets, _)| self.first_slot(octets, 1))
            .collect();
        if parents.is_empty() {
            return;
        }
        fetch(parents.iter().flatten().map(|(slot, _)| slot.tag));
        fetch(
            parents
                .iter()
                .filter_map(|slot| Some(first_octets(hit(slot)?))),
        );
        let negative = |slot| {
            let (zone, _) = hit(slot)?;
            Some(first_octets((zone, zone.negative())))
        };
        fetch(parents.iter().filter_map(negative));
    }

    /// The slot that a probe of this name, its first `skip` labels left out, looks at first.
    fn first_slot(&self, octets: &[u8], skip: usize) -> Option<(&Slot, u32)> {
        let mut name = LowerName::root();
        name.read(octets)?;
        if name.labels() <= skip {
            return None;
        }
        let (shard, tag) = self.place(name.suffix(skip));
        let slots = self.shards.get(shard)?;
        Some((slots.get(start(tag, slots.len()))?, tag))
    }

    /// All zones in no particular order.
    pub(super) fn zones(&self) -> impl Iterator<Item = &Zone> {
        let slots = self.shards.iter().flat_map(|shard| shard.iter());
        slots.filter_map(|slot| {
            let zone = slot.zone.as_ref()?;
            zone.node(slot.node)?.is_apex().then_some(zone)
        })
    }

    pub(super) fn edit(&self) -> Edit<'_> {
        Edit {
            index: self,
            touched: vec![None; self.shards.len()],
        }
    }

    /// Shard and tag of a name.
    #[allow(clippy::cast_possible_truncation)] // both halves of the hash are meant
    fn place(&self, name: &[u8]) -> (usize, u32) {
        let hash = xxh3_64_with_seed(name, self.seed);
        let shard = ((hash >> 32) * self.shards.len() as u64) >> 32;
        (shard as usize, hash as u32)
    }
}

impl Edit<'_> {
    /// Takes up a name.
    pub(super) fn insert(&mut self, name: &[u8], zone: &Zone, node: Place) {
        let (shard, tag) = self.index.place(name);
        if let Some(touched) = self.touched.get_mut(shard) {
            touched.get_or_insert_default().push(Slot {
                zone: Some(zone.clone()),
                tag,
                node,
            });
        }
    }

    /// Says that the slot of a name may have to go.
    pub(super) fn touch(&mut self, name: &[u8]) {
        let (shard, _) = self.index.place(name);
        if let Some(touched) = self.touched.get_mut(shard) {
            touched.get_or_insert_default();
        }
    }

    /// The index afterwards. Slots of touched shards stay where `keep` says so; the other shards
    /// are shared.
    pub(super) fn finish(self, keep: impl Fn(&Zone, Place) -> bool) -> Index {
        let mut names = self.index.names;
        let mut shards = self.index.shards.clone();
        for (shard, incoming) in shards.iter_mut().zip(self.touched) {
            let Some(mut slots) = incoming else { continue };
            let before = shard.iter().filter(|slot| slot.zone.is_some());
            names -= before.clone().count();
            let kept = |slot: &&Slot| slot.zone.as_ref().is_some_and(|zone| keep(zone, slot.node));
            slots.extend(before.filter(kept).cloned());
            names += slots.len();
            *shard = frozen(slots);
        }
        Index {
            seed: self.index.seed,
            shards,
            names,
        }
    }
}

/// The node of a slot that has the tag that is looked for.
fn hit<'i>(slot: &Option<(&'i Slot, u32)>) -> Option<(&'i Zone, Place)> {
    let (slot, tag) = (*slot)?;
    let zone = slot.zone.as_ref().filter(|_| slot.tag == tag)?;
    Some((zone, slot.node))
}

/// A node with its RRset, or a template, seldom takes more than two cache lines.
fn first_octets((zone, place): (&Zone, Place)) -> u32 {
    let octets = zone.octets_at(place);
    u32::from(octets.first().unwrap_or(&0) ^ octets.get(LINE).unwrap_or(&0))
}

/// Reads all values, none of which depends on another, so that their cache misses overlap.
fn fetch(values: impl Iterator<Item = u32>) {
    std::hint::black_box(values.fold(0, |seen, value| seen ^ value));
}

/// The first slot for a tag.
#[allow(clippy::cast_possible_truncation)] // less than `slots`
fn start(tag: u32, slots: usize) -> usize {
    ((u64::from(tag) * slots as u64) >> 32) as usize
}

/// A shard of these slots.
fn frozen(slots: Vec<Slot>) -> Shard {
    let size = slots.len() + slots.len() * 2 / 3 + 1;
    let mut shard = vec![Slot::default(); size];
    for slot in slots {
        let from = start(slot.tag, size);
        let free = (from..size)
            .chain(0..from)
            .find(|at| shard.get(*at).is_some_and(|other| other.zone.is_none()));
        if let Some(place) = free.and_then(|at| shard.get_mut(at)) {
            *place = slot;
        }
    }
    shard.into()
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// Probes of this thread so far.
        pub(crate) static PROBES: Cell<usize> = const { Cell::new(0) };
    }

    /// The memory of millions of names hangs on it.
    #[test]
    fn a_slot_is_24_octets() {
        assert_eq!(size_of::<Slot>(), 24);
    }
}
