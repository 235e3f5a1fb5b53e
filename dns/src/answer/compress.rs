//! Name compression (RFC 1035 §4.1.4) at a bounded cost.
//!
//! The first [`MOST`] different suffixes of the names in a message are remembered, and a name
//! points to the longest one that it shares. Which place a suffix is remembered at has no say in
//! it, so that a reply can be made from pieces that were compressed beforehand. A name costs at
//! most a few hundred steps whatever stands in the message.

use arrayvec::ArrayVec;

/// Suffixes that are remembered.
pub(super) const MOST: usize = 192;
/// Places of the hash table; a power of two, more than [`MOST`].
const PLACES: usize = 256;
/// A pointer has 14 bits (RFC 1035 §4.1.4).
const POINTER_LIMIT: usize = 0x4000;
/// Most labels of a name, the root's left out.
const MAX_LABELS: usize = 127;

/// Where suffixes stand in the message written so far.
pub(super) struct Compressor {
    /// Hash and place in the message of each, in the order of appearance.
    known: ArrayVec<(u32, u16), MOST>,
    /// Numbers of entries in `known` plus one, by hash; 0 is a free place.
    places: [u8; PLACES],
}

impl Compressor {
    pub(super) fn new() -> Self {
        Self {
            known: ArrayVec::new(),
            places: [0; PLACES],
        }
    }

    /// Number of suffixes remembered.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Appends a name (uncompressed wire form), with a pointer where a suffix of it stands already.
    /// Comparison ignores case; the case of what is written is kept.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, name: &[u8]) {
        let suffixes = suffixes(name);
        let known = suffixes.iter().enumerate().find_map(|(i, &(start, hash))| {
            let suffix = name.get(usize::from(start)..)?;
            Some((i, start, self.find(out, hash, suffix)?))
        });
        let base = out.len();
        let new = match known {
            Some((i, start, offset)) => {
                out.extend_from_slice(name.get(..usize::from(start)).unwrap_or_default());
                out.extend_from_slice(&(0xc000 | offset).to_be_bytes());
                i
            }
            None => {
                out.extend_from_slice(name);
                suffixes.len()
            }
        };
        for &(start, hash) in suffixes.iter().take(new) {
            self.remember(hash, base + usize::from(start));
        }
    }

    /// Forgets suffixes at or after `length`: what stood there was taken back.
    pub(super) fn forget_from(&mut self, length: usize) {
        let kept = self
            .known
            .iter()
            .take_while(|(_, at)| usize::from(*at) < length);
        self.known.truncate(kept.count());
        self.places = [0; PLACES];
        for number in 0..self.known.len() {
            self.place(number);
        }
    }

    fn find(&self, out: &[u8], hash: u32, suffix: &[u8]) -> Option<u16> {
        for at in around(hash) {
            let number = usize::from(*self.places.get(at)?).checked_sub(1)?;
            let &(other, offset) = self.known.get(number)?;
            if other == hash && stands_at(out, offset.into(), suffix) {
                return Some(offset);
            }
        }
        None
    }

    fn remember(&mut self, hash: u32, offset: usize) {
        if offset >= POINTER_LIMIT {
            return;
        }
        let Ok(offset) = u16::try_from(offset) else {
            return;
        };
        if self.known.try_push((hash, offset)).is_ok() {
            self.place(self.known.len() - 1);
        }
    }

    fn place(&mut self, number: usize) {
        let Some(&(hash, _)) = self.known.get(number) else {
            return;
        };
        let free = around(hash).find(|at| self.places.get(*at) == Some(&0));
        if let (Some(place), Ok(number)) = (
            free.and_then(|at| self.places.get_mut(at)),
            u8::try_from(number + 1),
        ) {
            *place = number;
        }
    }
}

/// The places for a hash, in the order in which they are tried.
fn around(hash: u32) -> impl Iterator<Item = usize> {
    let first = hash as usize % PLACES;
    (first..PLACES).chain(0..first)
}

/// Start and hash of each suffix of a name, the longest first, the root left out.
fn suffixes(name: &[u8]) -> ArrayVec<(u8, u32), MAX_LABELS> {
    let mut found = ArrayVec::new();
    let mut at = 0_usize;
    while let Some(&length) = name.get(at)
        && length != 0
        && let Ok(start) = u8::try_from(at)
        && found.try_push((start, 0)).is_ok()
    {
        at += 1 + usize::from(length);
    }
    let mut hash = 0;
    let mut end = at;
    for (start, place) in found.iter_mut().rev() {
        let label = name.get(usize::from(*start)..end).unwrap_or_default();
        // FNV-1a over the label, continued from the suffix behind it.
        hash = label.iter().fold(hash ^ 0x811c_9dc5_u32, |hash, octet| {
            (hash ^ u32::from(octet.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
        });
        hash ^= hash >> 15;
        *place = hash;
        end = usize::from(*start);
    }
    found
}

/// Whether the name at `at` in the message equals `name`. Pointers lead strictly backwards, so
/// the walk ends.
fn stands_at(message: &[u8], mut at: usize, mut name: &[u8]) -> bool {
    loop {
        let Some(&length) = message.get(at) else {
            return false;
        };
        if length >= 0xc0 {
            let Some(&low) = message.get(at + 1) else {
                return false;
            };
            let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
            if target >= at {
                return false;
            }
            at = target;
            continue;
        }
        let label_end = 1 + usize::from(length);
        let (Some(here), Some(wanted)) = (message.get(at..at + label_end), name.get(..label_end))
        else {
            return false;
        };
        if !here.eq_ignore_ascii_case(wanted) {
            return false;
        }
        if length == 0 {
            return name.len() == 1;
        }
        at += label_end;
        name = name.get(label_end..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(names: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![0; 12];
        let mut compressor = Compressor::new();
        for name in names {
            compressor.write(&mut out, name);
        }
        out.split_off(12)
    }

    #[test]
    fn rfc_1035_4_1_4_pointers() {
        let com: &[u8] = b"\x07example\x03com\0";
        assert_eq!(written(&[com, com]), [com, b"\xc0\x0c"].concat());
        let www: &[u8] = b"\x03WWW\x07EXAMPLE\x03com\0";
        assert_eq!(written(&[com, www]), [com, b"\x03WWW\xc0\x0c"].concat());
        assert_eq!(
            written(&[com, www, www]),
            [com, b"\x03WWW\xc0\x0c\xc0\x19"].concat(),
            "a name that ends with a pointer is pointed at too"
        );
        assert_eq!(
            written(&[b"\0", b"\0"]),
            b"\0\0",
            "the root is never compressed"
        );
        let other: &[u8] = b"\x07example\x03org\0";
        assert_eq!(written(&[com, other]), [com, other].concat());
        assert_eq!(
            written(&[com, b"\x03com\0"]),
            [com, b"\xc0\x14"].concat(),
            "a suffix of a name"
        );
    }

    #[test]
    fn nothing_points_past_14_bits() {
        let mut out = vec![0; POINTER_LIMIT];
        let mut compressor = Compressor::new();
        compressor.write(&mut out, b"\x01a\0");
        compressor.write(&mut out, b"\x01a\0");
        assert_eq!(out[POINTER_LIMIT..], *b"\x01a\0\x01a\0");
    }

    #[test]
    fn what_was_taken_back_is_not_pointed_at() {
        let mut out = vec![0; 12];
        let mut compressor = Compressor::new();
        compressor.write(&mut out, b"\x01a\0");
        out.truncate(12);
        compressor.forget_from(12);
        compressor.write(&mut out, b"\x01a\0");
        assert_eq!(out[12..], *b"\x01a\0");
    }

    #[test]
    fn row_11_deep_names_stay_within_bounds() {
        let mut deep = [1, b'x'].repeat(127);
        deep.push(0);
        let octets = written(&[&deep, &deep]);
        assert_eq!(octets.len(), 257, "the second one is a pointer");
    }
}
