//! A whole address space cut into ranges, each with one value: the form in which everything that
//! is known about addresses is laid over each other at load, and looked up per query.
//!
//! The ranges are stored by their first addresses only, in rising order from 0, so they cover the
//! space without gaps or overlaps by construction, and neighbours differ. The prefix judged alike
//! is read off a range's two ends; nothing has to keep it right by hand.

use std::fmt::Debug;

/// Bits of an address family.
pub(crate) trait Address: Copy + Ord + Debug + Send + Sync + 'static {
    /// The first address.
    const ZERO: Self;
    /// The last address.
    const MAX: Self;
    /// The address after this one; `None` after the last.
    fn next(self) -> Option<Self>;
    /// The address before this one; `None` before the first.
    fn previous(self) -> Option<Self>;
    /// Leading bits that both have in common.
    fn common(self, other: Self) -> u8;
    /// The address `count` after this one; `None` beyond the last.
    fn plus(self, count: u128) -> Option<Self>;
    /// The last address with the same first `len` bits.
    fn last_of(self, len: u8) -> Self;
    /// The first address with the same first `len` bits.
    fn first_of_prefix(self, len: u8) -> Self;
    /// The first `bits` bits as a number, `bits` at most 31.
    fn leading(self, bits: u8) -> usize;
}

macro_rules! address {
    ($kind:ty, $bits:literal) => {
        impl Address for $kind {
            const ZERO: Self = 0;
            const MAX: Self = <$kind>::MAX;
            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
            fn previous(self) -> Option<Self> {
                self.checked_sub(1)
            }
            // At most 128.
            #[allow(clippy::cast_possible_truncation)]
            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }
            fn plus(self, count: u128) -> Option<Self> {
                self.checked_add(<$kind>::try_from(count).ok()?)
            }
            fn last_of(self, len: u8) -> Self {
                self | Self::MAX.checked_shr(len.into()).unwrap_or(0)
            }
            fn first_of_prefix(self, len: u8) -> Self {
                self & !Self::MAX.checked_shr(len.into()).unwrap_or(0)
            }
            // At most 31 bits are left after the shift.
            #[allow(clippy::cast_possible_truncation)]
            fn leading(self, bits: u8) -> usize {
                if bits == 0 {
                    0
                } else {
                    (self >> ($bits - bits)) as usize
                }
            }
        }
    };
}
address!(u32, 32);
address!(u128, 128);

/// The value of a range about which nothing is known.
pub(crate) const NOTHING: u32 = u32::MAX;

/// A whole address space in ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ranges<A> {
    starts: Vec<A>,
    values: Vec<u32>,
}

impl<A: Address> Ranges<A> {
    /// The whole space with one value.
    pub(crate) fn filled(value: u32) -> Self {
        Self {
            starts: vec![A::ZERO],
            values: vec![value],
        }
    }

    /// Number of ranges, at least 1.
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// First address and value of every range.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (A, u32)> + '_ {
        self.starts.iter().copied().zip(self.values.iter().copied())
    }

    /// First address, last address and value of every range.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (A, A, u32)> + '_ {
        let ends = self
            .starts
            .iter()
            .skip(1)
            .map(|next| next.previous().unwrap_or(A::ZERO));
        self.iter()
            .zip(ends.chain(std::iter::once(A::MAX)))
            .map(|((start, value), end)| (start, end, value))
    }

    /// Both spaces at once: every address gets what `join` makes of its two values.
    pub(crate) fn with(&self, other: &Self, mut join: impl FnMut(u32, u32) -> u32) -> Self {
        let mut out = Builder::new();
        let (mut left, mut right) = (self.spans(), other.spans());
        let (mut a, mut b) = (left.next(), right.next());
        while let (Some((_, a_end, a_value)), Some((_, b_end, b_value))) = (a, b) {
            let end = a_end.min(b_end);
            out.push_to(end, join(a_value, b_value));
            if a_end == end {
                a = left.next();
            }
            if b_end == end {
                b = right.next();
            }
        }
        out.finish(NOTHING)
    }

    /// This space with `top` laid over it: where `top` says [`NOTHING`], what was there stays.
    pub(crate) fn under(&self, top: &Self) -> Self {
        self.with(top, |low, high| if high == NOTHING { low } else { high })
    }

    /// This space with every value exchanged.
    pub(crate) fn map(&self, mut exchange: impl FnMut(u32) -> u32) -> Self {
        let mut out = Builder::new();
        for (_, end, value) in self.spans() {
            out.push_to(end, exchange(value));
        }
        out.finish(NOTHING)
    }

    /// Value of the range with `address`, found by binary search; for tests and slow paths.
    pub(crate) fn get(&self, address: A) -> u32 {
        let at = self.starts.partition_point(|start| *start <= address);
        self.values
            .get(at.wrapping_sub(1))
            .copied()
            .unwrap_or(NOTHING)
    }
}

/// Builds [`Ranges`] from left to right, joining neighbours of equal value as they come.
#[derive(Debug)]
pub(crate) struct Builder<A> {
    ranges: Ranges<A>,
    /// First address not yet given a value; `None`: all have one.
    next: Option<A>,
}

impl<A: Address> Builder<A> {
    pub(crate) fn new() -> Self {
        Self {
            ranges: Ranges {
                starts: Vec::new(),
                values: Vec::new(),
            },
            next: Some(A::ZERO),
        }
    }

    /// Gives `value` to everything from the first address without one up to `end`. Does nothing
    /// when `end` already has a value.
    pub(crate) fn push_to(&mut self, end: A, value: u32) {
        let Some(start) = self.next.filter(|start| *start <= end) else {
            return;
        };
        if self.ranges.values.last() != Some(&value) {
            self.ranges.starts.push(start);
            self.ranges.values.push(value);
        }
        self.next = end.next();
    }

    /// Gives `value` to `start..=end`, and [`NOTHING`] to what was left out before.
    pub(crate) fn push(&mut self, start: A, end: A, value: u32) {
        if let Some(before) = start.previous() {
            self.push_to(before, NOTHING);
        }
        self.push_to(end, value);
    }

    /// Ends the building; what has no value yet gets `rest`.
    pub(crate) fn finish(mut self, rest: u32) -> Ranges<A> {
        self.push_to(A::MAX, rest);
        self.ranges.starts.shrink_to_fit();
        self.ranges.values.shrink_to_fit();
        self.ranges
    }
}

/// [`Ranges`] with an index over the leading bits, so that a lookup searches a few neighbours
/// instead of the whole space.
#[derive(Debug)]
pub(crate) struct Table<A: Copy> {
    entries: Box<[Entry<A>]>,
    /// For every value of the leading `index_bits` bits: the range with its first address.
    index: Vec<u32>,
    index_bits: u8,
}

/// First address and value of a range, side by side in memory: a lookup mostly waits for memory.
/// Packed, because an IPv6 address would be padded by 12 octets.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Entry<A: Copy> {
    start: A,
    value: u32,
}

impl<A: Address> Table<A> {
    /// Indexes `ranges`: about one slot a range, between 2^8 and 2^20.
    pub(crate) fn new(ranges: &Ranges<A>) -> Self {
        let wanted = usize::BITS - ranges.len().leading_zeros();
        let index_bits = u8::try_from(wanted.clamp(8, 20)).unwrap_or(8);
        let mut index = Vec::with_capacity(1 << index_bits);
        for (at, start) in ranges.starts.iter().enumerate() {
            // The slots before this start's own begin in the range before it; its own slot too,
            // unless the range starts exactly with the slot.
            let slot = start.leading(index_bits);
            let exact = starts_slot(*start, index_bits);
            let upto = if exact { slot } else { slot + 1 };
            let before = u32::try_from(at.saturating_sub(1)).unwrap_or(u32::MAX);
            while index.len() < upto {
                index.push(before);
            }
        }
        let last = u32::try_from(ranges.len().saturating_sub(1)).unwrap_or(u32::MAX);
        index.resize(1 << index_bits, last);
        let entries = ranges
            .iter()
            .map(|(start, value)| Entry { start, value })
            .collect();
        Self {
            entries,
            index,
            index_bits,
        }
    }

    /// Value of `address`, and which range it is in. Total; no allocation.
    pub(crate) fn find(&self, address: A) -> (u32, u32) {
        let slot = address.leading(self.index_bits);
        let begin = |slot: usize| self.index.get(slot).map(|at| *at as usize);
        let first = begin(slot).unwrap_or(0);
        // The range with the slot's last address is the one with the next slot's first, or before.
        let last = begin(slot + 1).map_or(self.entries.len(), |at| at + 1);
        let among = self.entries.get(first..last).unwrap_or(&[]);
        let before = among.partition_point(|entry| entry.start() <= address);
        let at = first + before.saturating_sub(1);
        let value = self.entries.get(at).map_or(NOTHING, |found| found.value);
        (value, u32::try_from(at).unwrap_or(u32::MAX))
    }

    /// Length of the widest prefix with `address` within the range that [`find`](Self::find) gave.
    pub(crate) fn alike(&self, address: A, range: u32) -> u8 {
        let at = range as usize;
        let lower = self.entries.get(at).and_then(|own| own.start().previous());
        let upper = self.entries.get(at + 1).map(Entry::start);
        // A prefix must be one bit longer than what it has in common with a neighbour outside.
        let beyond = |other: Option<A>| other.map_or(0, |other| address.common(other) + 1);
        beyond(lower).max(beyond(upper))
    }

    /// Number of ranges.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Octets that the table takes.
    pub(crate) fn octets(&self) -> usize {
        size_of_val(&*self.entries) + size_of_val(&*self.index)
    }
}

impl<A: Copy> Entry<A> {
    fn start(&self) -> A {
        self.start
    }
}

/// Whether no bit is set beyond the leading `bits`.
fn starts_slot<A: Address>(start: A, bits: u8) -> bool {
    start
        .previous()
        .is_none_or(|before| before.leading(bits) != start.leading(bits))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Cuts near each other and far apart, at aligned and odd places.
    fn cuts() -> impl Strategy<Value = Vec<(u32, u32)>> {
        let place = prop_oneof![
            any::<u32>(),
            (0u32..64).prop_map(|n| n << 26),
            (0u32..512).prop_map(|n| 0x0a00_0000 + n),
            Just(u32::MAX),
        ];
        proptest::collection::vec((place, prop_oneof![0u32..4, Just(NOTHING)]), 0..40)
    }

    fn build(cuts: &[(u32, u32)]) -> Ranges<u32> {
        let mut sorted = cuts.to_vec();
        sorted.sort_unstable();
        let mut out = Builder::new();
        for (end, value) in sorted {
            out.push_to(end, value);
        }
        out.finish(NOTHING)
    }

    fn probes(ranges: &[&Ranges<u32>], extra: &[u32]) -> Vec<u32> {
        let mut all = extra.to_vec();
        for (start, end, _) in ranges.iter().flat_map(|r| r.spans()) {
            all.extend([start, end, start + (end - start) / 2]);
        }
        all
    }

    #[test]
    fn neighbours_join() {
        let mut out = Builder::<u32>::new();
        out.push(10, 19, 1);
        out.push(20, 29, 1);
        out.push(40, 49, 2);
        let ranges = out.finish(NOTHING);
        let all: Vec<_> = ranges.iter().collect();
        assert_eq!(
            all,
            [(0, NOTHING), (10, 1), (30, NOTHING), (40, 2), (50, NOTHING)]
        );
    }

    #[test]
    fn prefix_of_the_whole_space_is_zero() {
        let table = Table::new(&Ranges::<u128>::filled(7));
        for address in [0, u128::MAX] {
            assert_eq!(table.find(address), (7, 0));
            assert_eq!(table.alike(address, 0), 0);
        }
    }

    proptest! {
        #[test]
        fn lookup_finds_the_value_and_the_widest_prefix(cuts in cuts(), extra: Vec<u32>) {
            let ranges = build(&cuts);
            let table = Table::new(&ranges);
            for address in probes(&[&ranges], &extra) {
                let (value, range) = table.find(address);
                let len = table.alike(address, range);
                prop_assert_eq!(value, ranges.get(address));
                let alike = |len: u8| {
                    let host = if len == 0 { u32::MAX } else { u32::MAX.checked_shr(len.into()).unwrap_or(0) };
                    let (first, last) = (address & !host, address | host);
                    let inside = |s: u32, e: u32| s <= last && e >= first;
                    ranges.spans().filter(|(s, e, _)| inside(*s, *e)).count() == 1
                };
                prop_assert!(alike(len));
                prop_assert!(len == 0 || !alike(len - 1), "wider would do");
            }
        }

        #[test]
        fn laying_over_keeps_what_is_not_covered(low in cuts(), top in cuts(), extra: Vec<u32>) {
            let (low, top) = (build(&low), build(&top));
            let both = low.under(&top);
            for address in probes(&[&low, &top], &extra) {
                let expect = if top.get(address) == NOTHING { low.get(address) } else { top.get(address) };
                prop_assert_eq!(both.get(address), expect);
            }
            let mut values = both.iter().map(|(_, value)| value);
            let mut before = values.next();
            for value in values {
                prop_assert!(before != Some(value), "neighbours differ");
                before = Some(value);
            }
        }
    }
}
