//! The order of a pool's PoPs for one cell: computed when the cell is first asked for, kept, and
//! shared by every service with the same pool and the same way of scoring.
//!
//! # Memory
//! A kept order holds the first [`KEPT`] PoPs, and further ones only as far as the best group
//! reaches; the rest is computed again in the rare case that it is needed (all of the kept ones
//! are down). All kept orders of one [`Steering`](super::Steering) together stay below
//! [`BUDGET`]; past it an order is computed for each query, which costs about 0.1 µs a PoP.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    ops::Deref,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use meridian_geo_data::CellId;

/// PoPs kept in an order, at least. Few in tests, so that they run out often.
pub(super) const KEPT: usize = if cfg!(test) { 2 } else { 16 };
/// Octets that all kept orders together may take. Few in tests, so that it runs out in some worlds.
pub(super) const BUDGET: usize = if cfg!(test) { 2 << 10 } else { 256 << 20 };
/// Cells in one chunk of slots; a chunk is made when one of its cells is first asked for.
const CHUNK: usize = 64;

/// Where a PoP of the pool stands in the ladder for a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Inside its fence.
    Open,
    /// Inside its fence, weight 0.
    OpenZero,
    /// Outside its fence.
    Fenced,
    /// Outside its fence, weight 0.
    FencedZero,
}

impl Class {
    /// The class of a PoP.
    pub(super) fn of(inside: bool, weight: u32) -> Self {
        match (inside, weight) {
            (true, 1..) => Self::Open,
            (true, 0) => Self::OpenZero,
            (false, 1..) => Self::Fenced,
            (false, 0) => Self::FencedZero,
        }
    }
}

/// One PoP in an order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ranked {
    /// Milliseconds; lower is better. Meaningless in the configured order.
    pub(super) score: f32,
    /// Index into the pool's list.
    pub(super) member: u16,
    pub(super) class: Class,
}

/// An order, best first: by class, then by score (or the operator's order), then by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranking {
    pub(super) entries: Box<[Ranked]>,
    /// Whether no PoP of the pool is left out at the end.
    pub(super) complete: bool,
}

/// End of the group that starts at `start`: those of its class whose score is within `tolerance`
/// (ms) of its first. Without a tolerance each PoP is a group of its own.
pub(super) fn group_end(entries: &[Ranked], start: usize, tolerance: Option<f32>) -> usize {
    let (Some(first), Some(tolerance)) = (entries.get(start), tolerance) else {
        return start + 1;
    };
    let limit = first.score + tolerance;
    let rest = entries.get(start + 1..).unwrap_or(&[]);
    let same = |other: &Ranked| other.class == first.class && other.score <= limit;
    start + 1 + rest.iter().take_while(|other| same(other)).count()
}

impl Ranking {
    /// The part worth keeping: see the module's text. `tolerance` is the largest among the
    /// services that share the order. One PoP past the best group is kept, to show that the group
    /// ends there.
    fn cut(entries: Vec<Ranked>, tolerance: Option<f32>) -> Self {
        let keep = KEPT.max(group_end(&entries, 0, tolerance) + 1);
        let mut entries = entries;
        let complete = entries.len() <= keep;
        entries.truncate(keep);
        Self {
            entries: entries.into(),
            complete,
        }
    }

    /// Octets that keeping this takes, allocator overhead guessed.
    fn octets(&self) -> usize {
        size_of::<Self>() + size_of_val::<[Ranked]>(&self.entries) + 32
    }
}

/// Kept orders by cell, filled from any thread without locks.
#[derive(Debug)]
pub(super) struct Slots {
    chunks: Box<[OnceLock<Chunk>]>,
    tolerance: Option<f32>,
}

type Chunk = Box<[OnceLock<Box<Ranking>>]>;

/// An order, kept or made for this query only.
#[derive(Debug)]
pub(super) enum Order<'a> {
    Kept(&'a Ranking),
    Made(Ranking),
}

impl Deref for Order<'_> {
    type Target = Ranking;

    fn deref(&self) -> &Ranking {
        match self {
            Self::Kept(ranking) => ranking,
            Self::Made(ranking) => ranking,
        }
    }
}

impl Slots {
    /// Empty slots for `cells` cells.
    pub(super) fn new(cells: usize, tolerance: Option<f32>) -> Self {
        let chunks = (0..cells.div_ceil(CHUNK))
            .map(|_| OnceLock::new())
            .collect();
        Self { chunks, tolerance }
    }

    /// One more service shares these slots: the largest tolerance (ms) counts.
    pub(super) fn widen(&mut self, tolerance: Option<f32>) {
        if let (Some(own), Some(other)) = (&mut self.tolerance, tolerance) {
            *own = own.max(other);
        }
    }

    /// The order for `cell`; `make` computes the whole of it. `used` counts octets kept so far.
    pub(super) fn get(
        &self,
        cell: CellId,
        used: &AtomicUsize,
        make: impl FnOnce() -> Vec<Ranked>,
    ) -> Order<'_> {
        let index = cell.0 as usize;
        let Some(slot) = self.slot(index, used) else {
            return Order::Made(Ranking {
                entries: make().into(),
                complete: true,
            });
        };
        if let Some(kept) = slot.get() {
            return Order::Kept(kept);
        }
        let ranking = Ranking::cut(make(), self.tolerance);
        if !reserve(used, ranking.octets()) {
            return Order::Made(ranking);
        }
        // Where another thread was faster its order, the same one, stays.
        let octets = ranking.octets();
        if slot.set(Box::new(ranking.clone())).is_err() {
            used.fetch_sub(octets, Ordering::Relaxed);
        }
        slot.get()
            .map_or(Order::Made(ranking), |kept| Order::Kept(kept))
    }

    fn slot(&self, index: usize, used: &AtomicUsize) -> Option<&OnceLock<Box<Ranking>>> {
        let chunk = self.chunks.get(index / CHUNK)?;
        if chunk.get().is_none() {
            let octets = CHUNK * size_of::<OnceLock<Box<Ranking>>>();
            if !reserve(used, octets) {
                return None;
            }
            if chunk
                .set((0..CHUNK).map(|_| OnceLock::new()).collect())
                .is_err()
            {
                used.fetch_sub(octets, Ordering::Relaxed);
            }
        }
        chunk.get()?.get(index % CHUNK)
    }
}

/// Takes `octets` out of the budget, if there is that much left.
fn reserve(used: &AtomicUsize, octets: usize) -> bool {
    if used.fetch_add(octets, Ordering::Relaxed) + octets <= BUDGET {
        return true;
    }
    used.fetch_sub(octets, Ordering::Relaxed);
    false
}
