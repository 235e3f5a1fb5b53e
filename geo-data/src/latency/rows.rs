//! All rows of prefixes: one slab, one index of numbers, the longest unused replaced when full.

use super::window::{Window, mix};

/// Rows that are allocated together.
const CHUNK: usize = 4096;
/// Rows that are looked at to find one that can go.
const TRIED: usize = 32;
/// Marks a free slot of the index.
const FREE: u32 = u32::MAX;

/// Round trips of one prefix and column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) key: u64,
    /// The cell of the prefix's first address; [`NO_CELL`](super::prefix::NO_CELL): none.
    pub(super) cell: u32,
    pub(super) window: Window<15, 1>,
}

/// Octets of a row, without its part of the index.
pub(super) const ROW_OCTETS: usize = size_of::<Row>();

/// The rows by key.
#[derive(Debug)]
pub(super) struct Rows {
    chunks: Vec<Vec<Row>>,
    len: usize,
    index: Vec<u32>,
    seed: u64,
    /// Where the search for one that can go begins.
    hand: usize,
    /// How many had to go for others.
    pub(super) evicted: u64,
}

impl Rows {
    /// `seed` keeps others from choosing prefixes that meet in the index.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
            index: vec![FREE; 1024],
            seed,
            hand: 0,
            evicted: 0,
        }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn octets(&self) -> usize {
        self.chunks.len() * CHUNK * ROW_OCTETS + self.index.len() * size_of::<u32>()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Row> {
        self.chunks.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.chunks.iter_mut().flatten()
    }

    pub(super) fn get(&self, key: u64) -> Option<&Row> {
        let (_, at) = self.find(key)?;
        self.row(at)
    }

    /// The row with this key, an empty one if there is none; at most `max_rows` are kept.
    pub(super) fn entry(&mut self, key: u64, cell: u32, max_rows: usize) -> Option<&mut Row> {
        let at = match self.find(key) {
            Some((_, at)) => at,
            None => self.add(key, cell, max_rows)?,
        };
        let row = self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)?;
        row.cell = cell;
        Some(row)
    }

    fn add(&mut self, key: u64, cell: u32, max_rows: usize) -> Option<usize> {
        let row = Row {
            key,
            cell,
            window: Window::EMPTY,
        };
        // The index counts in 32 bits.
        let most = max_rows.clamp(1, 1 << 30);
        let at = if self.len < most {
            if (self.len + 1) * 4 > self.index.len() * 3 {
                self.grow();
            }
            let at = self.len;
            if at / CHUNK == self.chunks.len() {
                self.chunks.push(Vec::with_capacity(CHUNK));
            }
            self.chunks.get_mut(at / CHUNK)?.push(row);
            self.len += 1;
            at
        } else {
            let at = self.longest_unused();
            let old = self.row(at)?.key;
            self.forget(old);
            self.evicted += 1;
            *self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)? = row;
            at
        };
        self.note(key, at);
        Some(at)
    }

    /// Of the next few rows the one whose newest sample is the oldest.
    fn longest_unused(&mut self) -> usize {
        let len = self.len.max(1);
        let tried = (0..TRIED).map(|step| (self.hand + step) % len);
        let oldest = tried
            .min_by_key(|at| self.row(*at).map_or(u32::MAX, |row| row.window.last_s))
            .unwrap_or(0);
        self.hand = (self.hand + TRIED) % len;
        oldest
    }

    fn row(&self, at: usize) -> Option<&Row> {
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    /// Slot and row of a key.
    fn find(&self, key: u64) -> Option<(usize, usize)> {
        let mut slot = self.home(key);
        loop {
            let at = *self.index.get(slot)?;
            if at == FREE {
                return None;
            }
            if self.row(at as usize)?.key == key {
                return Some((slot, at as usize));
            }
            slot = (slot + 1) & (self.index.len() - 1);
        }
    }

    fn home(&self, key: u64) -> usize {
        // The index has at most 2³¹ slots; the truncation is meant.
        #[allow(clippy::cast_possible_truncation)]
        let hash = mix(key ^ self.seed) as usize;
        hash & (self.index.len() - 1)
    }

    fn note(&mut self, key: u64, at: usize) {
        let mask = self.index.len() - 1;
        let mut slot = self.home(key);
        while let Some(held) = self.index.get_mut(slot) {
            if *held == FREE {
                *held = u32::try_from(at).unwrap_or(FREE);
                return;
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Takes a key out of the index; those behind it move up.
    fn forget(&mut self, key: u64) {
        let Some((mut hole, _)) = self.find(key) else {
            return;
        };
        let mask = self.index.len() - 1;
        let mut slot = hole;
        loop {
            slot = (slot + 1) & mask;
            let at = self.index.get(slot).copied().unwrap_or(FREE);
            let moved = (at != FREE).then(|| self.row(at as usize)).flatten();
            let Some(row) = moved else { break };
            let home = self.home(row.key);
            // Only what may stand in the hole: its home is not between the hole and itself.
            if (slot.wrapping_sub(home) & mask) >= (slot.wrapping_sub(hole) & mask) {
                self.put(hole, at);
                hole = slot;
            }
        }
        self.put(hole, FREE);
    }

    fn put(&mut self, slot: usize, at: u32) {
        if let Some(held) = self.index.get_mut(slot) {
            *held = at;
        }
    }

    fn grow(&mut self) {
        self.index = vec![FREE; self.index.len() * 2];
        let keys: Vec<u64> = self.iter().map(|row| row.key).collect();
        for (at, key) in keys.into_iter().enumerate() {
            self.note(key, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_is_88_octets() {
        assert_eq!(ROW_OCTETS, 88);
    }

    proptest! {
        /// Rows are found as in a map, and never more of them are held than allowed.
        #[test]
        fn rows_are_found_and_bounded(
            keys in proptest::collection::vec(0..3000_u64, 1..6000), max_rows in 1..2500_usize, seed: u64,
        ) {
            let mut rows = Rows::new(seed);
            let mut last: HashMap<u64, u32> = HashMap::new();
            for (now, key) in (1_u32..).zip(keys) {
                let row = rows.entry(key, 3, max_rows).unwrap();
                prop_assert!(row.window.last_s == 0 || last.get(&key) == Some(&row.window.last_s));
                row.window.last_s = now;
                last.insert(key, now);
                prop_assert!(rows.len() <= max_rows);
            }
            prop_assert_eq!(rows.iter().count(), rows.len());
            for row in rows.iter() {
                prop_assert_eq!(last.get(&row.key), Some(&row.window.last_s));
                prop_assert_eq!(rows.get(row.key).map(|one| one.key), Some(row.key));
            }
            if last.len() <= max_rows {
                prop_assert_eq!(rows.len(), last.len());
                prop_assert_eq!(rows.evicted, 0);
            }
        }
    }
}
