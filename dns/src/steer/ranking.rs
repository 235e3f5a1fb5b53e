//! The order of a pool's PoPs for one cell: computed when the cell is first asked for, kept, and
//! shared by every service with the same pool and the same way of scoring.
//!
//! # Memory
//! A kept order holds the first [`KEPT`] PoPs, eight octets each,
//! and further ones only as far as the best group and the answers of a service reach. Where those do
//! not suffice, as with all of the best group down, the first [`FURTHER`] are kept too; the rest is
//! computed again in the rare case that it is needed (all of the kept ones are down). All kept
//! orders of one [`Steering`](super::Steering) together stay below [`BUDGET`]; past it an order is
//! computed when it is needed, which is seldom too: see `choice`.
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
pub(super) const KEPT: usize = if cfg!(test) { 2 } else { 8 };
/// PoPs kept in an order of which the first [`KEPT`] did not suffice once, at least.
pub(super) const FURTHER: usize = if cfg!(test) { 4 } else { 64 };
/// Octets that all kept orders together may take. Few in tests, so that it runs out in some worlds.
pub(super) const BUDGET: usize = if cfg!(test) { 2 << 10 } else { 512 << 20 };
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
#[derive(Debug)]
pub(super) struct Ranking<'a> {
    best: Best<'a>,
    /// Whether no PoP of the pool is left out at the end.
    pub(super) complete: bool,
}

impl<'a> Ranking<'a> {
    pub(super) fn new(best: Best<'a>, complete: bool) -> Self {
        Self { best, complete }
    }
}

impl Deref for Ranking<'_> {
    type Target = [Ranked];

    fn deref(&self) -> &[Ranked] {
        &self.best
    }
}

/// End of the group that starts at `start`: those of its class whose score is within `tolerance`
/// (ms) of its first. Without a tolerance each PoP is a group of its own.
pub(super) fn group_end(ranks: &[Ranked], start: usize, tolerance: Option<f32>) -> usize {
    let (Some(first), Some(tolerance)) = (ranks.get(start), tolerance) else {
        return start + 1;
    };
    let limit = first.score + tolerance;
    let rest = ranks.get(start + 1..).unwrap_or(&[]);
    let same = |other: &Ranked| other.class == first.class && other.score <= limit;
    start + 1 + rest.iter().take_while(|other| same(other)).count()
}

/// How much of an order is worth keeping: the most that any of the services that share it wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Largest tolerance, ms; `None`: no groups.
    pub(super) tolerance: Option<f32>,
    /// Most addresses in an answer.
    pub(super) answers: usize,
}

impl Share {
    fn widen(&mut self, other: Self) {
        if let (Some(own), Some(other)) = (&mut self.tolerance, other.tolerance) {
            *own = own.max(other);
        }
        self.answers = self.answers.max(other.answers);
    }

    /// How many of the first PoPs are kept. One past the best group, to show that it ends there.
    pub(super) fn of(self, ranks: &[Ranked]) -> usize {
        let group = group_end(ranks, 0, self.tolerance);
        KEPT.max(self.answers + 1).max(group + 1).min(ranks.len())
    }
}

/// Kept orders by cell, filled from any thread without locks.
#[derive(Debug)]
pub(super) struct Slots {
    chunks: Box<[OnceLock<Chunk>]>,
    pub(super) share: Share,
}

type Chunk = Box<[OnceLock<Box<[Ranked]>>]>;

/// The best of an order, kept or made for this query only.
#[derive(Debug)]
pub(super) enum Best<'a> {
    Kept(&'a [Ranked]),
    Made(Box<[Ranked]>),
}

impl Deref for Best<'_> {
    type Target = [Ranked];

    fn deref(&self) -> &[Ranked] {
        match self {
            Self::Kept(best) => best,
            Self::Made(best) => best,
        }
    }
}

impl Slots {
    /// Empty slots for `cells` cells.
    pub(super) fn new(cells: usize, share: Share) -> Self {
        let chunks = (0..cells.div_ceil(CHUNK))
            .map(|_| OnceLock::new())
            .collect();
        Self { chunks, share }
    }

    /// One more service shares these slots.
    pub(super) fn widen(&mut self, share: Share) {
        self.share.widen(share);
    }

    /// The best of the order for `cell`, which `make` computes. `used` counts octets kept so far.
    pub(super) fn get(
        &self,
        cell: CellId,
        used: &AtomicUsize,
        make: impl FnOnce() -> Box<[Ranked]>,
    ) -> Best<'_> {
        let Some(slot) = self.slot(cell.0 as usize, used) else {
            return Best::Made(make());
        };
        if let Some(kept) = slot.get() {
            return Best::Kept(kept);
        }
        let made = make();
        // What an allocation takes besides is guessed.
        let octets = size_of_val(&*made) + 8;
        if !reserve(used, octets) {
            return Best::Made(made);
        }
        // Where another thread was faster its order, the same one, stays.
        match slot.set(made) {
            Ok(()) => {}
            Err(_) => _ = used.fetch_sub(octets, Ordering::Relaxed),
        }
        slot.get()
            .map_or(Best::Made(Box::default()), |kept| Best::Kept(kept))
    }

    fn slot(&self, index: usize, used: &AtomicUsize) -> Option<&OnceLock<Box<[Ranked]>>> {
        let chunk = self.chunks.get(index / CHUNK)?;
        if chunk.get().is_none() {
            let octets = CHUNK * size_of::<OnceLock<Box<[Ranked]>>>();
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
