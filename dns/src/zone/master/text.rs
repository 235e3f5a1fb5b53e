//! The text of a source, and how much of it there may be.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::texts::{Octets, Stamp};

/// What one reading may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Octets of all texts together.
    pub(super) octets: usize,
    /// Records made by `$GENERATE`.
    pub(super) generated: usize,
    /// Octets of the lines made by `$GENERATE`.
    pub(super) generated_octets: usize,
}

impl Limits {
    /// For the operator's files.
    pub(super) const FILES: Self = Self {
        octets: 1 << 30,
        generated: 1_000_000,
        generated_octets: 1 << 28,
    };
    /// For text from elsewhere.
    pub(super) const TEXT: Self = Self {
        octets: 1 << 30,
        generated: 10_000,
        generated_octets: 1 << 22,
    };
}

/// The text of one source: what is read, and what is shown.
pub(super) struct SourceText {
    /// The octets where they are no UTF-8.
    raw: Option<Vec<u8>>,
    /// The same as text, octet for octet, with `?` for what is no UTF-8.
    pub(super) shown: Arc<str>,
    /// Of the file.
    pub(super) stamp: Stamp,
    /// Hash of all octets of the file.
    pub(super) hash: u64,
}

impl SourceText {
    /// Takes the octets of a file; a UTF-8 byte order mark at its start is no part of the text.
    pub(super) fn new(file: Octets) -> Self {
        let Octets { mut octets, stamp } = file;
        let hash = xxh3_64(&octets);
        if octets.starts_with(b"\xef\xbb\xbf") {
            octets.drain(..3);
        }
        match String::from_utf8(octets) {
            Ok(text) => Self {
                raw: None,
                shown: text.into(),
                stamp,
                hash,
            },
            Err(error) => {
                let raw = error.into_bytes();
                // Octet by octet, so that places stay what they are.
                let mut shown = String::with_capacity(raw.len());
                for chunk in raw.utf8_chunks() {
                    shown.push_str(chunk.valid());
                    shown.extend(chunk.invalid().iter().map(|_| '?'));
                }
                Self {
                    raw: Some(raw),
                    shown: shown.into(),
                    stamp,
                    hash,
                }
            }
        }
    }

    /// The octets to read.
    pub(super) fn octets(&self) -> &[u8] {
        self.raw.as_deref().unwrap_or(self.shown.as_bytes())
    }
}
