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

/// A lower-cased name in wire form (RFC 4343 §3) with the places of its labels.
#[derive(Clone)]
pub struct LowerName {
    octets: [u8; MAX_NAME],
    len: usize,
    /// Where each label starts; the entry after the last label is the root's place.
    starts: [u8; MAX_LABELS + 1],
    labels: usize,
}

impl LowerName {
    /// Takes an uncompressed wire form; `None` when it is none.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        Self::join(wire, None)
    }

    /// `prefix` (labels without a root) in front of `suffix`; `None` when the result is longer
    /// than a name may be.
    pub fn concat(prefix: &[u8], suffix: &[u8]) -> Option<Self> {
        Self::join(prefix, Some(suffix))
    }

    fn join(first: &[u8], second: Option<&[u8]>) -> Option<Self> {
        let second = second.unwrap_or_default();
        let len = first.len().checked_add(second.len())?;
        let mut name = Self {
            octets: [0; MAX_NAME],
            len,
            starts: [0; MAX_LABELS + 1],
            labels: 0,
        };
        let (head, tail) = name.octets.get_mut(..len)?.split_at_mut(first.len());
        head.copy_from_slice(first);
        tail.copy_from_slice(second);
        name.octets.make_ascii_lowercase();
        name.find_labels()?;
        Some(name)
    }

    fn find_labels(&mut self) -> Option<()> {
        let mut at = 0;
        loop {
            let length = usize::from(*self.octets.get(..self.len)?.get(at)?);
            *self.starts.get_mut(self.labels)? = u8::try_from(at).ok()?;
            if length == 0 {
                return (at + 1 == self.len).then_some(());
            }
            if length > 63 {
                return None;
            }
            self.labels += 1;
            at += 1 + length;
        }
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
        Self::from_wire(name.as_wire()).unwrap_or(Self {
            octets: [0; MAX_NAME],
            len: 1,
            starts: [0; MAX_LABELS + 1],
            labels: 0,
        })
    }
}

/// Number of labels of a well-formed wire form, the root's left out.
pub(super) fn count_labels(wire: &[u8]) -> usize {
    LowerName::from_wire(wire).map_or(0, |name| name.labels())
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
