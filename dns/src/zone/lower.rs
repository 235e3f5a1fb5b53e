//! A name being looked up: lower-cased once, its suffixes at hand without allocation.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use meridian_config::Name;

/// Longest name in wire form, in octets (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;
/// Most labels of a name, the root's left out: 127 of one octet and the root are 255 octets.
const MAX_LABELS: usize = 127;
/// Octets that are lower-cased at once.
const BLOCK: usize = 32;

/// A lower-cased name in wire form (RFC 4343 §3) with the places of its labels.
#[derive(Clone)]
pub struct LowerName {
    /// Zeros after the name.
    octets: [u8; MAX_NAME + 1],
    len: usize,
    /// Where each label starts; the entry after the last label is the root's place.
    starts: [u8; MAX_LABELS + 1],
    labels: usize,
}

impl LowerName {
    /// Takes an uncompressed wire form; `None` when it is none.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        let mut name = Self::root();
        name.read(wire)?;
        (name.len == wire.len()).then_some(name)
    }

    /// Becomes the uncompressed name at the start of `octets`; `None` when there is none. Only for
    /// a [`LowerName::root`]: a name of this size is better filled in place than moved.
    #[inline]
    pub(crate) fn read(&mut self, octets: &[u8]) -> Option<()> {
        let mut at = 0_usize;
        loop {
            let length = *octets.get(at)?;
            // At most 255: checked below before the next round.
            #[allow(clippy::cast_possible_truncation)]
            {
                *self.starts.get_mut(self.labels)? = at as u8;
            }
            at += 1 + usize::from(length);
            if length == 0 {
                break;
            }
            if length > 63 || at >= MAX_NAME {
                return None;
            }
            self.labels += 1;
        }
        self.len = at;
        self.octets
            .get_mut(..at)?
            .copy_from_slice(octets.get(..at)?);
        // Octets of length are below `A`. Whole blocks are faster than the exact length.
        for block in self.octets.chunks_exact_mut(BLOCK).take(at.div_ceil(BLOCK)) {
            if let Some(block) = block.first_chunk_mut::<BLOCK>() {
                block.make_ascii_lowercase();
            }
        }
        Some(())
    }

    /// `prefix` (labels without a root) in front of `suffix`; `None` when the result is longer
    /// than a name may be.
    pub fn concat(prefix: &[u8], suffix: &[u8]) -> Option<Self> {
        let mut whole = [0; MAX_NAME];
        let len = prefix.len().checked_add(suffix.len())?;
        let (head, tail) = whole.get_mut(..len)?.split_at_mut(prefix.len());
        head.copy_from_slice(prefix);
        tail.copy_from_slice(suffix);
        Self::from_wire(whole.get(..len)?)
    }

    /// The root.
    #[inline]
    pub(crate) fn root() -> Self {
        Self {
            octets: [0; MAX_NAME + 1],
            len: 1,
            starts: [0; MAX_LABELS + 1],
            labels: 0,
        }
    }

    /// The label, with its length in front, that ends where the last octets from `end` on begin;
    /// empty at the start.
    pub(crate) fn label_before(&self, end: usize) -> &[u8] {
        let starts = self.starts.get(..self.labels).unwrap_or_default();
        let start = starts.iter().rev().find(|start| usize::from(**start) < end);
        start
            .and_then(|start| self.octets.get(usize::from(*start)..end))
            .unwrap_or_default()
    }

    /// Number of labels, the root's left out.
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// The whole wire form.
    pub fn as_wire(&self) -> &[u8] {
        self.suffix(0)
    }

    /// The wire form without its first `skip` labels; the root when there are no more.
    pub fn suffix(&self, skip: usize) -> &[u8] {
        let start = self.starts.get(skip.min(self.labels));
        let start = start.copied().map_or(0, usize::from);
        self.octets.get(start..self.len).unwrap_or(&[0])
    }

    /// Whether this name is `other` (lower-cased wire form) or below it.
    pub fn is_at_or_below(&self, other: &[u8]) -> bool {
        self.as_wire().ends_with(other) && (0..=self.labels).any(|skip| self.suffix(skip) == other)
    }

    /// The labels in front of the suffix that `skip` leaves, without a root.
    pub fn prefix(&self, skip: usize) -> &[u8] {
        let end = self.len.saturating_sub(self.suffix(skip).len());
        self.octets.get(..end).unwrap_or(&[])
    }
}

impl From<&Name> for LowerName {
    fn from(name: &Name) -> Self {
        // A `Name` is always a well-formed wire form, so the root stands in for nothing real.
        Self::from_wire(name.as_wire()).unwrap_or_else(Self::root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_and_prefixes() {
        let name = LowerName::from_wire(b"\x03WwW\x07Example\x03cOm\0").unwrap();
        assert_eq!(name.labels(), 3);
        assert_eq!(name.as_wire(), b"\x03www\x07example\x03com\0");
        assert_eq!(name.suffix(1), b"\x07example\x03com\0");
        assert_eq!(name.suffix(3), b"\0");
        assert_eq!(name.suffix(9), b"\0");
        assert_eq!(name.prefix(1), b"\x03www");
        assert_eq!(name.prefix(0), b"");
    }

    #[test]
    fn the_longest_name_and_what_is_none() {
        let mut longest = [1, b'x'].repeat(127);
        longest.push(0);
        assert_eq!(LowerName::from_wire(&longest).unwrap().labels(), 127);
        assert!(LowerName::concat(&[1, b'x'], &longest).is_none());
        for wire in [
            &b""[..],
            b"\x01",
            b"\x01a",
            b"\x01a\0\0",
            b"\xc0\x0c",
            b"\x40",
        ] {
            assert!(LowerName::from_wire(wire).is_none(), "{wire:?}");
        }
    }
}
