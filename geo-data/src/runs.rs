//! How wide a prefix gets the same answer: neighbouring ranges joined by whatever the caller makes
//! of their places, lazily, eight ranges at a time.
//!
//! One bit a range says whether a new run starts there: its key differs from the key of the range
//! before, or one of the two has none. A prefix *qualifies* when it touches at most [`REACH`]
//! ranges and no run starts within it. [`widest`] gives the widest that qualifies. That is a
//! property of prefix and keys alone: it neither depends on what was asked before nor on the
//! address within the prefix, so two answers never overlap but where they are equal.
//!
//! Bits are kept in words of 64, and filled in by [`PART`]s of eight, from the address on to either
//! side until a start is found: nine keys, most often. An answer looks at a word or two, skips those
//! known to hold no start, and never looks further than [`REACH`] ranges to either side.

use std::sync::{
    OnceLock,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use crate::blocks::{Blocks, Span, Spans};

/// Ranges that a prefix may touch at most. Bounds the work of a question; where so many get the
/// same answer, one scope more or less does not matter.
pub(crate) const REACH: usize = if cfg!(test) { 150 } else { 4096 };
/// Words in one chunk.
const CHUNK: usize = if cfg!(test) { 2 } else { 64 };
/// Bits of a word that are filled in together.
const PART: usize = 8;
/// Parts of a word.
const PARTS: usize = 64 / PART;

/// Which ranges of one address family start a run. Filled from any thread without locks: whoever
/// fills a word fills in the same.
#[derive(Debug)]
pub(crate) struct Starts(Box<[OnceLock<Box<Chunk>>]>);

#[derive(Debug)]
struct Chunk {
    words: [AtomicU64; CHUNK],
    /// For each word one bit for each part that is filled.
    parts: [AtomicU8; CHUNK],
    /// One bit for each word that is filled in whole.
    filled: AtomicU64,
    /// One bit for each word that is filled in whole and not 0.
    any: AtomicU64,
}

impl Default for Chunk {
    fn default() -> Self {
        Self {
            words: [const { AtomicU64::new(0) }; CHUNK],
            parts: [const { AtomicU8::new(0) }; CHUNK],
            filled: AtomicU64::new(0),
            any: AtomicU64::new(0),
        }
    }
}

impl Starts {
    /// Nothing known yet of `ranges` ranges.
    pub(crate) fn new(ranges: usize) -> Self {
        let chunks = ranges.div_ceil(64 * CHUNK);
        Self((0..chunks).map(|_| OnceLock::new()).collect())
    }

    /// Octets when everything is filled in.
    pub(crate) fn most_octets(&self) -> usize {
        size_of_val(&*self.0) + self.0.len() * size_of::<Chunk>()
    }

    /// The 64 bits from `64 * word` on, if all of them are known.
    fn whole(&self, word: usize) -> Option<u64> {
        let chunk = self.0.get(word / CHUNK)?.get()?;
        let at = word % CHUNK;
        // Acquire and Release: who sees the mark sees the word.
        let is_filled = chunk.filled.load(Ordering::Acquire) >> at & 1 == 1;
        let kept = chunk.words.get(at).filter(|_| is_filled)?;
        Some(kept.load(Ordering::Relaxed))
    }

    /// The bits of one part of a word, at their places in it; made by `make` when they are not known.
    fn part(&self, (word, part): (usize, usize), make: impl Fn() -> u64) -> u64 {
        let Some(slot) = self.0.get(word / CHUNK) else {
            return make();
        };
        if slot.get().is_none() {
            // Nobody waits for a maker that is off its processor.
            let _ = slot.set(Box::default());
        }
        let (Some(chunk), at) = (slot.get(), word % CHUNK) else {
            return make();
        };
        let Some((kept, parts)) = chunk.words.get(at).zip(chunk.parts.get(at)) else {
            return make();
        };
        if parts.load(Ordering::Acquire) >> part & 1 == 1 {
            return kept.load(Ordering::Relaxed) & of_part(part);
        }
        let made = make();
        kept.fetch_or(made, Ordering::Relaxed);
        let mark = 1 << part;
        // Whoever puts in the last part sees what all others have put in.
        if parts.fetch_or(mark, Ordering::AcqRel) | mark == u8::MAX {
            let any = kept.load(Ordering::Relaxed) != 0;
            chunk.any.fetch_or(u64::from(any) << at, Ordering::Relaxed);
            chunk.filled.fetch_or(1 << at, Ordering::Release);
        }
        made
    }

    /// Which words of a chunk may hold a start: all but those known to be 0.
    fn worth(&self, chunk: usize) -> u64 {
        let kept = self.0.get(chunk).and_then(OnceLock::get);
        let words = kept.map_or(u64::MAX, |chunk| {
            !chunk.filled.load(Ordering::Acquire) | chunk.any.load(Ordering::Relaxed)
        });
        words & (u64::MAX >> (64 - CHUNK))
    }

    /// The last word before `word`, down to `limit`, that may hold a start.
    fn before(&self, word: usize, limit: usize) -> Option<usize> {
        let below = |at: usize| (1_u64 << at).wrapping_sub(1);
        let own = self.worth(word / CHUNK) & below(word % CHUNK);
        let others = (limit / CHUNK..word / CHUNK).rev();
        let all = std::iter::once((word / CHUNK, own))
            .chain(others.map(|chunk| (chunk, self.worth(chunk))));
        let mut found = all.filter(|(_, words)| *words != 0);
        let (chunk, words) = found.next()?;
        Some(chunk * CHUNK + words.ilog2() as usize).filter(|word| *word >= limit)
    }

    /// The first word after `word`, up to `limit`, that may hold a start.
    fn after(&self, word: usize, limit: usize) -> Option<usize> {
        let next = word + 1;
        let own = self.worth(next / CHUNK) & (u64::MAX << (next % CHUNK));
        let others = next / CHUNK + 1..=limit / CHUNK;
        let all = std::iter::once((next / CHUNK, own))
            .chain(others.map(|chunk| (chunk, self.worth(chunk))));
        let mut found = all.filter(|(_, words)| *words != 0);
        let (chunk, words) = found.next()?;
        Some(chunk * CHUNK + words.trailing_zeros() as usize).filter(|word| *word <= limit)
    }
}

/// What joining ranges takes.
pub(crate) struct Joining<'a, A: Blocks, K> {
    pub(crate) spans: &'a Spans<A>,
    pub(crate) starts: &'a Starts,
    /// Ranges with equal keys may be joined, those without none.
    pub(crate) key: K,
}

/// Length of the widest prefix with `address`, which is in `span`, that qualifies.
pub(crate) fn widest<A, K>(joining: &Joining<'_, A, K>, address: A, span: Span) -> u8
where
    A: Blocks,
    K: Fn(Span) -> Option<u64>,
{
    // Both ways begin in the same word, mostly.
    let own = joining.starts.whole(span.at / 64);
    let first = joining.start_before(span.at, own);
    let end = joining.start_after(span.at, own);
    let mut len = joining.spans.within(address, first, end);
    // Fewer ranges than that cannot be too many.
    if end - first > REACH {
        while joining.spans.touched(address, len) > REACH {
            len += 1;
        }
    }
    len
}

impl<A, K> Joining<'_, A, K>
where
    A: Blocks,
    K: Fn(Span) -> Option<u64>,
{
    /// The last range at or before `at` that starts a run, or the last one out of reach but one;
    /// `own` is the word of `at`, if it is known.
    fn start_before(&self, at: usize, own: Option<u64>) -> usize {
        let limit = (at + 1).saturating_sub(REACH);
        let mut word = at / 64;
        let mut bits = self.up_to(at, own);
        while bits == 0 {
            match self.starts.before(word, limit / 64) {
                Some(before) => word = before,
                None => return limit,
            }
            bits = self.up_to(word * 64 + 63, self.starts.whole(word));
        }
        limit.max(word * 64 + bits.ilog2() as usize)
    }

    /// The first range after `at` that starts a run, or the first one out of reach.
    fn start_after(&self, at: usize, own: Option<u64>) -> usize {
        let (next, limit) = (at + 1, (at + REACH).min(self.spans.len()));
        let mut word = next / 64;
        let first = match word == at / 64 {
            true => own,
            false => self.starts.whole(word),
        };
        let mut bits = self.from(next, first);
        while bits == 0 {
            match self.starts.after(word, limit / 64) {
                Some(after) => word = after,
                None => return limit,
            }
            bits = self.from(word * 64, self.starts.whole(word));
        }
        limit.min(word * 64 + bits.trailing_zeros() as usize)
    }

    /// The bits of the word of `at` up to there, at least the highest that is set.
    fn up_to(&self, at: usize, whole: Option<u64>) -> u64 {
        let wanted = u64::MAX >> (63 - at % 64);
        match whole {
            Some(bits) => bits & wanted,
            None => self.search((0..=at % 64 / PART).rev(), at / 64, wanted),
        }
    }

    /// The bits of the word of `at` from there on, at least the lowest that is set.
    fn from(&self, at: usize, whole: Option<u64>) -> u64 {
        let wanted = u64::MAX << (at % 64);
        match whole {
            Some(bits) => bits & wanted,
            None => self.search(at % 64 / PART..PARTS, at / 64, wanted),
        }
    }

    /// Those of the wanted bits that the first part has that has any.
    #[cold]
    fn search(&self, parts: impl Iterator<Item = usize>, word: usize, wanted: u64) -> u64 {
        let bits = |part| {
            let make = || self.fill(word * 64 + part * PART) << (part * PART);
            wanted & self.starts.part((word, part), make)
        };
        parts.map(bits).find(|bits| *bits != 0).unwrap_or(0)
    }

    /// Which of the ranges of a part start a run. Beyond the last range none does.
    fn fill(&self, first: usize) -> u64 {
        let key = |at: usize| (self.key)(self.spans.at(at));
        let end = self.spans.len().min(first + PART);
        let mut before = first.checked_sub(1).filter(|_| first < end).and_then(key);
        let mut bits = 0;
        for at in first..end {
            let own = key(at);
            if own.is_none() || own != before {
                bits |= 1 << (at - first);
            }
            before = own;
        }
        bits
    }
}

/// The bits of a part of a word.
fn of_part(part: usize) -> u64 {
    u64::from(u8::MAX) << (part * PART)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ranges::Builder;

    /// The definition, word for word.
    fn plain<A: Blocks>(
        spans: &Spans<A>,
        address: A,
        bits: u8,
        key: impl Fn(Span) -> Option<u64>,
    ) -> u8 {
        let own = key(spans.span(address));
        let qualifies = |len: &u8| {
            let first = spans.span(address.first_of_prefix(*len)).at;
            let last = spans.span(address.last_of(*len)).at;
            last - first < REACH && (first..=last).all(|at| key(spans.at(at)) == own)
        };
        (0..=bits).find(qualifies).unwrap()
    }

    proptest! {
        #[test]
        fn the_widest_prefix_that_qualifies(
            cuts in proptest::collection::btree_map(
                prop_oneof![(0..600_u32).prop_map(|n| n << 8 | 0xff), any::<u32>()], 0..12_u32, 0..700),
            keys in proptest::collection::vec(prop_oneof![20 => Just(Some(1)), 2 => Just(Some(2)), 1 => Just(None)], 13),
            addresses: Vec<u32>,
        ) {
            let mut out = Builder::new();
            for (end, value) in &cuts {
                out.push_to(*end, *value);
            }
            let ranges = out.finish(12);
            let spans = Spans::new(&ranges);
            let key = |span: Span| keys[span.value as usize].filter(|_| !span.split);
            let joining = Joining {
                spans: &spans,
                starts: &Starts::new(spans.len()),
                key,
            };
            let edges: Vec<u32> = ranges.spans().flat_map(|(start, end, _)| [start, end]).collect();
            for address in edges.into_iter().chain(addresses) {
                let span = spans.span(address);
                if key(span).is_some() {
                    let len = widest(&joining, address, span);
                    prop_assert_eq!(len, plain(&spans, address, 32, key), "{:x}", address);
                }
            }
        }
    }
}
