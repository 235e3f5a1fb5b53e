//! The table that queries search: what is known of every block of addresses (/24 in IPv4, /64 in
//! IPv6), with the few blocks that hold more than one thing worked out behind it.
//!
//! ```text
//! address → block → index → range of blocks → value ─┬─ the block is whole: done
//!                                                     └─ it is split: search the fine ranges
//! ```
//!
//! Blocks are what answers are told apart by with the usual `scope_max`, so a query stays in the
//! small table: a third of the ranges, and of IPv6 addresses only the upper half. The index of IPv4
//! is one bit a /24 and a sum for every 64 of them; that of IPv6 a search tree of 16 keys a node.

use std::{fmt::Debug, hint::black_box};

use crate::ranges::{Address, Builder, NOTHING, Ranges, Table};

/// Addresses that are waited for at the same time.
const TOUCHED: usize = 32;

/// Set in the value of a block that is split: what is left is the value of its first address.
const SPLIT: u32 = 1 << 31;

/// An address family as blocks.
pub(crate) trait Blocks: Address {
    /// Number of a block.
    type Block: Copy + Default + Ord + Debug + Send + Sync;
    /// Finds the last of many sorted numbers that is not above one.
    type Index: Index<Self::Block>;
    /// The block with an address.
    fn block(self) -> Self::Block;
    /// The first address of a block.
    fn first_of(block: Self::Block) -> Self;
    /// The last address of a block.
    fn end_of(block: Self::Block) -> Self;
}

impl Blocks for u32 {
    type Block = u32;
    type Index = Ranks;
    fn block(self) -> u32 {
        self >> 8
    }
    fn first_of(block: u32) -> Self {
        block << 8
    }
    fn end_of(block: u32) -> Self {
        block << 8 | 0xff
    }
}

impl Blocks for u128 {
    type Block = u64;
    type Index = Tree;
    // 64 bits are left after the shift.
    #[allow(clippy::cast_possible_truncation)]
    fn block(self) -> u64 {
        (self >> 64) as u64
    }
    fn first_of(block: u64) -> Self {
        Self::from(block) << 64
    }
    fn end_of(block: u64) -> Self {
        Self::from(block) << 64 | Self::from(u64::MAX)
    }
}

/// Finds the last of many sorted numbers that is not above one.
pub(crate) trait Index<B>: Debug {
    /// `starts` is sorted, without duplicates, and begins with the lowest number.
    fn new(starts: &[B]) -> Self;
    /// Index into `starts`, the same that were indexed.
    fn find(&self, starts: &[B], block: B) -> usize;
    /// The same of several at once, in `found`, as far as that goes.
    fn find_all(&self, starts: &[B], blocks: &[B], found: &mut [usize]);
}

/// A whole address space, ready to be searched.
#[derive(Debug)]
pub(crate) struct Spans<A: Blocks> {
    starts: Box<[A::Block]>,
    values: Box<[u32]>,
    index: A::Index,
    /// What is in split blocks; [`NOTHING`] elsewhere.
    fine: Table<A>,
}

/// One range of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Its place in the table.
    pub(crate) at: usize,
    /// Value of its addresses; of the first, if it is split.
    pub(crate) value: u32,
    /// It is a single block whose addresses have different values.
    pub(crate) split: bool,
}

impl<A: Blocks> Spans<A> {
    /// Sorts ranges into blocks. No value may have its highest bit set.
    pub(crate) fn new(ranges: &Ranges<A>) -> Self {
        let mut sorter = Sorter {
            starts: Vec::new(),
            values: Vec::new(),
            fine: Builder::new(),
            open: None,
        };
        ranges
            .spans()
            .for_each(|(start, end, value)| sorter.add(start, end, value));
        let starts: Box<[A::Block]> = sorter.starts.into();
        Self {
            index: A::Index::new(&starts),
            values: sorter.values.into(),
            fine: Table::new(&sorter.fine.finish(NOTHING)),
            starts,
        }
    }

    /// Number of ranges of blocks.
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Number of ranges within split blocks.
    pub(crate) fn fine_len(&self) -> usize {
        self.fine.len()
    }

    /// Octets that the table takes.
    pub(crate) fn octets(&self) -> usize {
        size_of_val(&*self.starts) + size_of_val(&*self.values) + self.fine.octets()
    }

    /// Every range of blocks in order: its first address, the first of the next range, its value (of
    /// its first address, if it is split).
    pub(crate) fn all(&self) -> impl Iterator<Item = (A, Option<A>, u32)> {
        let start = |at: usize| self.starts.get(at).map(|block| A::first_of(*block));
        let one = move |at| Some((start(at)?, start(at + 1), self.at(at).value));
        (0..self.len()).filter_map(one)
    }

    /// The range of blocks with `address`.
    pub(crate) fn span(&self, address: A) -> Span {
        self.at(self.index.find(&self.starts, address.block()))
    }

    /// Has the processor's caches hold what [`span`](Self::span) reads for these addresses.
    pub(crate) fn touch(&self, addresses: &[A]) {
        for some in addresses.chunks(TOUCHED) {
            let mut blocks = [A::Block::default(); TOUCHED];
            let mut found = [0; TOUCHED];
            for (block, address) in blocks.iter_mut().zip(some) {
                *block = address.block();
            }
            let blocks = blocks.get(..some.len()).unwrap_or_default();
            self.index.find_all(&self.starts, blocks, &mut found);
            for at in found.iter().take(some.len()) {
                black_box(self.values.get(*at).copied());
                black_box(self.starts.get(*at).copied());
            }
        }
    }

    /// The range of blocks at a place in the table.
    pub(crate) fn at(&self, at: usize) -> Span {
        let value = self.values.get(at).copied().unwrap_or(NOTHING & !SPLIT);
        Span {
            at,
            value: value & !SPLIT,
            split: value & SPLIT != 0,
        }
    }

    /// Value of an address in a span.
    pub(crate) fn value(&self, address: A, span: Span) -> u32 {
        if span.split && A::first_of(address.block()) != address {
            self.fine.find(address).0
        } else {
            span.value
        }
    }

    /// Length of the widest prefix with an address in a span whose addresses all have its value.
    pub(crate) fn alike(&self, address: A, span: Span) -> u8 {
        if span.split {
            let (_, range) = self.fine.find(address);
            return self.fine.alike(address, range);
        }
        self.within(address, span.at, span.at + 1)
    }

    /// Length of the widest prefix with `address` in the spans `first..end`.
    pub(crate) fn within(&self, address: A, first: usize, end: usize) -> u8 {
        let start = |at: usize| self.starts.get(at).map(|block| A::first_of(*block));
        let lower = start(first).and_then(Address::previous);
        // A prefix must be one bit longer than what it has in common with a neighbour outside.
        let beyond = |other: Option<A>| other.map_or(0, |other| address.common(other) + 1);
        beyond(lower).max(beyond(start(end)))
    }

    /// Number of spans that a prefix touches.
    pub(crate) fn touched(&self, address: A, len: u8) -> usize {
        let (first, last) = (address.first_of_prefix(len), address.last_of(len));
        self.span(last).at + 1 - self.span(first).at
    }
}

/// Sorts ranges into blocks, from left to right.
struct Sorter<A: Blocks> {
    starts: Vec<A::Block>,
    values: Vec<u32>,
    fine: Builder<A>,
    /// The split block that the last range ended in.
    open: Option<A::Block>,
}

impl<A: Blocks> Sorter<A> {
    fn add(&mut self, start: A, end: A, value: u32) {
        let mut start = start;
        if let Some(open) = self.open.filter(|open| *open == start.block()) {
            let upto = end.min(A::end_of(open));
            self.fine.push(start, upto, value);
            if upto != A::end_of(open) {
                return;
            }
            self.open = None;
            match upto.next().filter(|next| *next <= end) {
                Some(next) => start = next,
                None => return,
            }
        }
        // From here on the range starts with a block.
        let last = end.block();
        if A::end_of(last) == end {
            self.emit(start.block(), value);
            return;
        }
        if start.block() != last {
            self.emit(start.block(), value);
        }
        self.emit(last, value | SPLIT);
        self.fine.push(A::first_of(last), end, value);
        self.open = Some(last);
    }

    fn emit(&mut self, block: A::Block, value: u32) {
        self.starts.push(block);
        self.values.push(value);
    }
}

/// One bit a /24: whether a range starts there; and how many start before each word of bits.
#[derive(Debug)]
pub(crate) struct Ranks(Box<[Rank]>);

#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Rank {
    bits: u64,
    before: u32,
}

impl Index<u32> for Ranks {
    fn new(starts: &[u32]) -> Self {
        let mut words = vec![Rank { bits: 0, before: 0 }; 1 << 18];
        for start in starts {
            if let Some(word) = words.get_mut((*start >> 6) as usize) {
                word.bits |= 1 << (start & 63);
            }
        }
        let mut before = 0;
        for word in &mut words {
            word.before = before;
            before += { word.bits }.count_ones();
        }
        Self(words.into())
    }

    fn find(&self, _: &[u32], block: u32) -> usize {
        let Some(word) = self.0.get((block >> 6) as usize) else {
            return 0;
        };
        let upto = u64::MAX >> (63 - (block & 63));
        let starts = { word.before } + ({ word.bits } & upto).count_ones();
        (starts as usize).saturating_sub(1)
    }

    fn find_all(&self, starts: &[u32], blocks: &[u32], found: &mut [usize]) {
        for (found, block) in found.iter_mut().zip(blocks) {
            *found = self.find(starts, *block);
        }
    }
}

/// Keys in one node of the tree: two cache lines.
const NODE: usize = 16;

/// Every 16th key of the level below, from the top down; the starts themselves are the lowest.
#[derive(Debug)]
pub(crate) struct Tree(Vec<Box<[u64]>>);

impl Index<u64> for Tree {
    fn new(starts: &[u64]) -> Self {
        let mut levels: Vec<Box<[u64]>> = Vec::new();
        loop {
            let below = levels.last().map_or(starts, |level| level);
            if below.len() <= NODE {
                break;
            }
            let level = below.iter().copied().step_by(NODE).collect();
            levels.push(level);
        }
        levels.reverse();
        Self(levels)
    }

    fn find(&self, starts: &[u64], block: u64) -> usize {
        self.levels(starts)
            .fold(0, |node, level| descend(level, node, block))
    }

    // Level by level: what one address waits for, the others wait for at the same time.
    fn find_all(&self, starts: &[u64], blocks: &[u64], found: &mut [usize]) {
        found.fill(0);
        for level in self.levels(starts) {
            for (node, block) in found.iter_mut().zip(blocks) {
                *node = descend(level, *node, *block);
            }
        }
    }
}

impl Tree {
    fn levels<'a>(&'a self, starts: &'a [u64]) -> impl Iterator<Item = &'a [u64]> {
        self.0.iter().map(|level| &**level).chain([starts])
    }
}

/// The node of the level below (of the lowest: the index) that leads to a block.
fn descend(level: &[u64], node: usize, block: u64) -> usize {
    let first = node * NODE;
    let end = level.len().min(first + NODE);
    let keys = level.get(first..end).unwrap_or(&[]);
    // Counting all is faster than stopping at the right one: no branch to guess.
    let below = keys.iter().filter(|key| **key <= block).count();
    first + below.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges<A: Blocks>(mut cuts: Vec<(A, u32)>) -> Ranges<A> {
        cuts.sort_unstable();
        let mut out = Builder::new();
        for (end, value) in cuts {
            out.push_to(end, value);
        }
        out.finish(9)
    }

    fn check<A: Blocks>(ranges: &Ranges<A>, addresses: &[A]) -> Result<(), TestCaseError> {
        let (spans, plain) = (Spans::new(ranges), Table::new(ranges));
        let edges = ranges.spans().flat_map(|(start, end, _)| [start, end]);
        for address in edges.chain(addresses.iter().copied()) {
            let span = spans.span(address);
            let (value, range) = plain.find(address);
            prop_assert_eq!(spans.value(address, span), value, "{:?}", address);
            let len = plain.alike(address, range);
            prop_assert_eq!(spans.alike(address, span), len, "{:?}", address);
            prop_assert_eq!(spans.at(span.at), span);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn blocks_say_what_the_ranges_say_in_ipv4(
            cuts in proptest::collection::vec(
                (prop_oneof![any::<u32>(), 0x0a00_0000..0x0a00_1000_u32, (0..64_u32).prop_map(|n| (n << 26) | 0xff)],
                 0..4_u32), 0..40),
            addresses: Vec<u32>,
        ) {
            check(&ranges(cuts), &addresses)?;
        }

        #[test]
        fn blocks_say_what_the_ranges_say_in_ipv6(
            cuts in proptest::collection::vec((
                (0..6_u128, prop_oneof![0..4_u128, any::<u128>()], prop_oneof![Just(u128::MAX), any::<u128>()])
                    .prop_map(|(a, b, c)| a << 125 | (b & 0xff) << 64 | (c >> 64)),
                0..4_u32), 0..60),
            addresses: Vec<u128>,
        ) {
            check(&ranges(cuts), &addresses)?;
        }

        #[test]
        fn the_tree_finds_what_a_search_finds(starts: std::collections::BTreeSet<u64>, wanted: Vec<u64>) {
            let starts: Vec<u64> = std::iter::once(0).chain(starts.into_iter().filter(|s| *s > 0)).collect();
            let tree = Tree::new(&starts);
            for block in wanted.iter().chain(&starts) {
                let expect = starts.partition_point(|start| start <= block) - 1;
                prop_assert_eq!(tree.find(&starts, *block), expect);
                let mut found = [0; 3];
                tree.find_all(&starts, &[*block, 0, u64::MAX], &mut found);
                prop_assert_eq!(found[0], expect);
                prop_assert_eq!(found[2], starts.len() - 1);
            }
        }
    }

    #[test]
    fn trees_of_all_heights() {
        for count in [1_u64, 15, 16, 17, 255, 256, 257, 5_000] {
            let starts: Vec<u64> = (0..count).map(|n| n * 10).collect();
            let tree = Tree::new(&starts);
            for block in 0..count * 10 {
                assert_eq!(tree.find(&starts, block), (block / 10) as usize);
            }
        }
    }
}
