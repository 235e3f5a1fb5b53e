//! An open-addressing index from names to numbers. Built once, then only read: a probe costs one
//! hash of the name and, at half load, between one and two slots, hit or miss.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use xxhash_rust::xxh3::xxh3_64;

/// A slot: part of the hash, and the number plus one (0 is empty).
type Slot = (u32, u32);

/// Index over keys that its owner keeps.
#[derive(Debug)]
pub(super) struct Table {
    /// Power of two in length, at most half full, so every probe ends at an empty slot.
    slots: Box<[Slot]>,
}

impl Table {
    /// Indexes `keys`, which are all different and fewer than 2^31.
    pub(super) fn new<'k>(keys: impl ExactSizeIterator<Item = &'k [u8]>) -> Self {
        let size = (keys.len() * 2).next_power_of_two().max(4);
        let mut slots = vec![(0, 0); size].into_boxed_slice();
        for (number, key) in (1_u32..).zip(keys) {
            let (tag, start) = place(key, size);
            let free = (0..size)
                .map(|step| (start + step) & (size - 1))
                .find(|&at| slots.get(at).is_some_and(|slot| slot.1 == 0));
            if let Some(slot) = free.and_then(|at| slots.get_mut(at)) {
                *slot = (tag, number);
            }
        }
        Self { slots }
    }

    /// The number of `key`, when `is` says that the key of a number with the same hash is it.
    pub(super) fn find(&self, key: &[u8], is: impl Fn(u32) -> bool) -> Option<u32> {
        let size = self.slots.len();
        let (tag, start) = place(key, size);
        for step in 0..size {
            let &(other, number) = self.slots.get((start + step) & (size - 1))?;
            let number = number.checked_sub(1)?;
            if other == tag && is(number) {
                return Some(number);
            }
        }
        None
    }
}

/// Tag and first slot of a key.
#[allow(clippy::cast_possible_truncation)] // both halves of the hash are meant
fn place(key: &[u8], size: usize) -> (u32, usize) {
    let hash = xxh3_64(key);
    ((hash >> 32) as u32, hash as usize & (size - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_key_and_nothing_else() {
        for count in [0_u32, 1, 2, 3, 1000] {
            let keys: Vec<Vec<u8>> = (0..count).map(|n| n.to_be_bytes().to_vec()).collect();
            let table = Table::new(keys.iter().map(Vec::as_slice));
            let find = |key: &[u8]| table.find(key, |n| keys[n as usize] == key);
            for (n, key) in (0..).zip(&keys) {
                assert_eq!(find(key), Some(n));
            }
            for n in count..count + 1000 {
                assert_eq!(find(&n.to_be_bytes()), None);
            }
        }
    }
}
