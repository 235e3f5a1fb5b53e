//! Master files (RFC 1035 §5) to checked records, all of a zone or none of it.
//!
//! ```text
//! text ─lex─▶ entries ─reader─▶ records ─conflicts─▶ MasterFile
//!               directives ($ORIGIN, $TTL, $INCLUDE, $GENERATE) └─ rdata (text → wire → check)
//! ```
//!
//! **TTLs.** A record's TTL is, in this order: its own; that of the last `$TTL` (RFC 2308 §4);
//! the MINIMUM of the SOA, where the SOA itself has been read without a TTL and without a `$TTL`
//! before it; the last one stated (RFC 1035 §5.1). No TTL at all is a mistake. As with BIND, a
//! `$TTL` inside an included file stays in force after it.
//!
//! **Recovery.** A mistake ends its entry and reading goes on with the next, so that all mistakes
//! are told at once, up to 100. Any mistake refuses the whole zone.
//!
//! **Bounds.** The texts of a zone together have at most 1 GiB; includes go 10 deep and number
//! 1,000; `$GENERATE` makes at most 1,000,000 records and 256 MiB of text a zone. Nothing here
//! panics on any input.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod conflicts;
mod generate;
mod include;
mod lex;
mod names;
mod problem;
pub mod rdata;
mod reader;
mod remedy;
mod text;
mod texts;
mod words;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use meridian_config::{Diagnostic, Diagnostics, Name, Ttl};

use include::Folder;
use reader::Reader;
use text::{Limits, SourceText};
pub use texts::{Disk, Octets, Stamp, Texts, content_hash};

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Index into [`MasterFile::sources`].
    pub source: u32,
    /// First octet within the text of that source.
    pub start: u32,
    /// One past the last octet.
    pub end: u32,
}

/// One record of a zone, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// Absolute owner name, case kept.
    pub owner: Name,
    /// The lowest TTL of the RRset, where the file gives several (RFC 2181 §5.2).
    pub ttl: Ttl,
    /// RR type; the class is IN.
    pub rtype: u16,
    /// RDATA in uncompressed wire form that [`rdata::check`] accepts; the case of names is kept.
    pub rdata: Box<[u8]>,
    /// Where it stands.
    pub at: Location,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As the operator named it.
    pub file: PathBuf,
    /// Its text, to show mistakes in; octets that are no UTF-8 are replaced by `?`.
    pub text: Arc<str>,
    /// How it looked before it was read.
    pub stamp: Stamp,
    /// Hash of its octets.
    pub hash: u64,
}

/// All records of a zone, in the order of the file, without duplicates.
#[derive(Clone, Debug)]
pub struct MasterFile {
    /// The records.
    pub records: Vec<RawRecord>,
    /// The zone file and every file it includes, each once: a change of any of them is a change
    /// of the zone.
    pub files: Vec<PathBuf>,
    /// What [`Location::source`] points into.
    pub sources: Vec<Source>,
}

impl MasterFile {
    /// A mistake that a later stage found about what stands at `at`.
    pub fn mistake(
        &self,
        at: Location,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Diagnostic {
        mistake(&self.sources, at, message.into(), help.into())
    }
}

fn mistake(sources: &[Source], at: Location, message: String, help: String) -> Diagnostic {
    let (file, text) = match sources.get(at.source as usize) {
        Some(source) => (source.file.clone(), source.text.clone()),
        None => (PathBuf::new(), Arc::from("")),
    };
    let end = boundary(&text, at.end as usize);
    Diagnostic {
        file,
        span: boundary(&text, at.start as usize).min(end)..end,
        source: text,
        key: String::new(),
        message,
        help,
    }
}

/// The last place up to `at` where a character starts.
fn boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Reads the zone `apex` from the master file at `path` and everything it includes.
///
/// # Errors
/// Every mistake found, up to 100, in the order of the files; nothing of the zone is kept then.
pub fn read(path: &Path, apex: &Name) -> Result<MasterFile, Diagnostics> {
    let disk = Disk::default();
    let octets = octets(path, &disk)?;
    read_octets(path, octets, apex, &disk)
}

/// The octets of the zone file at `path`, for [`read_octets`].
///
/// # Errors
/// When it cannot be read.
pub fn octets(path: &Path, texts: &dyn Texts) -> Result<Octets, Diagnostics> {
    texts.read(path, Limits::FILES.octets).map_err(|reason| {
        let message = format!("the zone file cannot be read: {reason}");
        Diagnostic::of_file(path, message, "name a readable master file").into()
    })
}

/// Reads a zone whose file has these octets; what it includes comes from `texts`.
///
/// # Errors
/// As [`read`].
pub fn read_octets(
    path: &Path,
    octets: Octets,
    apex: &Name,
    texts: &dyn Texts,
) -> Result<MasterFile, Diagnostics> {
    let folder = Folder::of(path, texts);
    let mut reader = Reader::new(apex, folder, Limits::FILES);
    reader.whole(path, SourceText::new(octets));
    reader.finish()
}

/// Reads a zone from text alone: `$INCLUDE` is refused and `$GENERATE` makes at most 10,000
/// records and 4 MiB of text. `name` stands for the file in mistakes.
///
/// # Errors
/// As [`read`].
pub fn parse(text: &[u8], name: &Path, apex: &Name) -> Result<MasterFile, Diagnostics> {
    let mut reader = Reader::new(apex, None, Limits::TEXT);
    let octets = Octets {
        octets: text.to_vec(),
        stamp: Stamp::UNKNOWN,
    };
    reader.whole(name, SourceText::new(octets));
    reader.finish()
}

#[cfg(test)]
mod tests;
