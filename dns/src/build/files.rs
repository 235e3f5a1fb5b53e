//! Which zone was read from which file, and how that file looked: what a reload compares with.
//!
//! Immutable, and cut into pieces that successive states share, so that one changed file among a
//! million copies one piece.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap},
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use meridian_config::Name;
use xxhash_rust::xxh3::xxh3_64;

use crate::zone::{
    Zone,
    master::{Stamp, Texts},
};

/// Files in one piece, on average.
const PIECE: usize = 128;
/// Most pieces.
const PIECES: usize = 1 << 14;

/// What a zone file's name ends in, where the name names the zone.
const SUFFIX: &str = ".zone";

/// A folder in which zone files stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// As the operator named it.
    pub path: PathBuf,
    /// One of `zone_folders`: every `NAME.zone` in it is a zone.
    pub whole: bool,
}

/// A file that a zone includes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Included {
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
    pub(super) hash: u64,
}

/// A zone file with the zone that was read from it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) stamp: Stamp,
    /// Of the file's octets.
    pub(super) hash: u64,
    pub(super) zone: Zone,
    pub(super) included: Option<Arc<[Included]>>,
    /// Some name in the zone is a service.
    pub(super) steered: bool,
}

/// One reading of a file: several `[[zone]]` entries may name the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Index into the folders.
    pub(super) folder: u32,
    /// Index of the `[[zone]]`; `None` for a file that stands in a folder of zones.
    pub(super) listed: Option<u32>,
    pub(super) name: Box<OsStr>,
}

impl Key {
    fn order(&self, folder: u32, name: &OsStr) -> Ordering {
        (&*self.name, self.folder).cmp(&(name, folder))
    }

    fn place(&self) -> (&OsStr, u32, Option<u32>) {
        (&self.name, self.folder, self.listed)
    }
}

/// What becomes of one entry.
pub(super) enum Edit {
    Put(Entry),
    Remove(Key),
}

/// All zone files of a state.
#[derive(Clone, Debug)]
pub struct ZoneFiles {
    folders: Arc<[Folder]>,
    numbers: Arc<HashMap<PathBuf, u32>>,
    /// A power of two of them; within each the entries are in order.
    pieces: Box<[Arc<[Entry]>]>,
    /// Files that any zone includes, or did since all were read.
    included: Arc<BTreeSet<PathBuf>>,
    len: usize,
}

impl ZoneFiles {
    pub(super) fn new(folders: Arc<[Folder]>, entries: Vec<Entry>) -> Self {
        let len = entries.len();
        let count = (len / PIECE).next_power_of_two().min(PIECES);
        let mut pieces: Vec<Vec<Entry>> = Vec::new();
        pieces.resize_with(count, Vec::new);
        let mut included = BTreeSet::new();
        for entry in entries {
            note_included(&mut included, &entry);
            pieces[piece_of(&entry.key.name, count)].push(entry);
        }
        let pieces = pieces.into_iter().map(|mut piece| {
            piece.sort_unstable_by(|a, b| a.key.place().cmp(&b.key.place()));
            Arc::from(piece)
        });
        let paths = folders.iter().map(|folder| folder.path.clone());
        Self {
            numbers: Arc::new(paths.zip(0..).collect()),
            folders,
            pieces: pieces.collect(),
            included: Arc::new(included),
            len,
        }
    }

    /// The same after some edits; pieces without one are shared.
    pub(super) fn with(&self, edits: Vec<Edit>) -> Self {
        let mut next = self.clone();
        let mut by_piece: std::collections::BTreeMap<usize, Vec<Edit>> = Default::default();
        for edit in edits {
            let name = match &edit {
                Edit::Put(entry) => &entry.key.name,
                Edit::Remove(key) => &key.name,
            };
            let piece = piece_of(name, self.pieces.len());
            by_piece.entry(piece).or_default().push(edit);
        }
        for (at, edits) in by_piece {
            let mut piece = next.pieces[at].to_vec();
            for edit in edits {
                let (key, entry) = match edit {
                    Edit::Put(entry) => (entry.key.clone(), Some(entry)),
                    Edit::Remove(key) => (key, None),
                };
                if let Some(entry) = &entry
                    && entry.included.is_some()
                {
                    note_included(Arc::make_mut(&mut next.included), entry);
                }
                let found = piece.binary_search_by(|other| other.key.place().cmp(&key.place()));
                match (found, entry) {
                    (Ok(at), Some(entry)) => piece[at] = entry,
                    (Ok(at), None) => drop(piece.remove(at)),
                    (Err(at), Some(entry)) => piece.insert(at, entry),
                    (Err(_), None) => {}
                }
            }
            next.len = next.len + piece.len() - next.pieces[at].len();
            next.pieces[at] = piece.into();
        }
        next
    }

    /// Number of zone files, one that several `[[zone]]` name counted for each.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Folders in which zone files stand.
    pub fn folders(&self) -> &[Folder] {
        &self.folders
    }

    /// Files that zones include.
    pub fn included(&self) -> &BTreeSet<PathBuf> {
        &self.included
    }

    /// Whether a change of what has this name may change a zone.
    pub fn concerns(&self, path: &Path) -> bool {
        self.included.contains(path)
            || self.place(path).is_some_and(|(folder, name)| {
                !self.find(folder, name).is_empty()
                    || (self.is_whole(folder) && apex_text(name).is_some())
            })
    }

    /// Whether a zone of this file has services: its records and the configuration may have to
    /// change together.
    pub fn is_steered(&self, path: &Path) -> bool {
        self.place(path).is_some_and(|(folder, name)| {
            let mut entries = self.find(folder, name).iter();
            entries.any(|entry| entry.steered)
        })
    }

    /// Whether this is a folder of zone files.
    pub fn is_folder(&self, path: &Path) -> bool {
        self.numbers.contains_key(path)
    }

    /// Every zone file, and every file that one includes, with the hash of its octets.
    pub fn contents(&self) -> impl Iterator<Item = (PathBuf, u64)> {
        self.entries().flat_map(|entry| self.contents_of(entry))
    }

    /// What [`Self::contents`] tells of files that were read anew since `before`, and files that
    /// are no more.
    pub fn changes_since(&self, before: &Self) -> (Vec<(PathBuf, u64)>, Vec<PathBuf>) {
        let mut put = Vec::new();
        let mut gone = Vec::new();
        if self.folders != before.folders || self.pieces.len() != before.pieces.len() {
            let now: BTreeSet<PathBuf> = self.contents().map(|(path, _)| path).collect();
            put.extend(self.contents());
            gone.extend(before.contents().map(|(path, _)| path));
            gone.retain(|path| !now.contains(path));
            return (put, gone);
        }
        for (now, then) in self.pieces.iter().zip(&before.pieces) {
            if Arc::ptr_eq(now, then) {
                continue;
            }
            let known = |entry: &Entry| {
                let found = then.binary_search_by(|e| e.key.place().cmp(&entry.key.place()));
                found.is_ok_and(|at| then[at].hash == entry.hash && then[at].zone.is(&entry.zone))
            };
            for entry in now.iter().filter(|entry| !known(entry)) {
                put.extend(self.contents_of(entry));
            }
            for entry in then.iter() {
                let (folder, name) = (entry.key.folder, &entry.key.name);
                if self.find(folder, name).is_empty() {
                    gone.push(self.path_of(entry));
                }
            }
        }
        (put, gone)
    }

    /// Files that do not look as they did when they were read, that have gone, or that are new in a
    /// folder of zones.
    pub fn differing(&self, texts: &dyn Texts) -> Vec<PathBuf> {
        let mut differing = Vec::new();
        let mut last: Option<PathBuf> = None;
        for entry in self.entries() {
            let path = self.path_of(entry);
            let stale = |one: &Included| !texts.stamp(&one.path).proves(one.stamp);
            if last.as_ref() == Some(&path) {
                continue;
            }
            if !texts.stamp(&path).proves(entry.stamp)
                || entry
                    .included
                    .as_deref()
                    .is_some_and(|all| all.iter().any(stale))
            {
                differing.push(path.clone());
            }
            last = Some(path);
        }
        for (number, folder) in (0_u32..).zip(&*self.folders).filter(|(_, f)| f.whole) {
            let new =
                |name: &OsString| apex_text(name).is_some() && self.find(number, name).is_empty();
            let names = texts.list(&folder.path).unwrap_or_default();
            differing.extend(names.iter().filter(|n| new(n)).map(|n| folder.path.join(n)));
        }
        differing
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }

    /// The entries of one file.
    pub(super) fn find(&self, folder: u32, name: &OsStr) -> &[Entry] {
        let piece = &self.pieces[piece_of(name, self.pieces.len())];
        let start = piece.partition_point(|e| e.key.order(folder, name) == Ordering::Less);
        let rest = &piece[start..];
        let end = rest.partition_point(|e| e.key.order(folder, name) == Ordering::Equal);
        &rest[..end]
    }

    /// Folder and name of a path.
    pub(super) fn place<'p>(&self, path: &'p Path) -> Option<(u32, &'p OsStr)> {
        let (parent, name) = (path.parent()?, path.file_name()?);
        Some((*self.numbers.get(parent)?, name))
    }

    pub(super) fn is_whole(&self, folder: u32) -> bool {
        let folder = self.folders.get(folder as usize);
        folder.is_some_and(|folder| folder.whole)
    }

    pub(super) fn shared_folders(&self) -> Arc<[Folder]> {
        self.folders.clone()
    }

    pub(super) fn path_of(&self, entry: &Entry) -> PathBuf {
        self.folders[entry.key.folder as usize]
            .path
            .join(&*entry.key.name)
    }

    fn contents_of(&self, entry: &Entry) -> Vec<(PathBuf, u64)> {
        let included = entry.included.iter().flat_map(|all| all.iter());
        std::iter::once((self.path_of(entry), entry.hash))
            .chain(included.map(|one| (one.path.clone(), one.hash)))
            .collect()
    }
}

fn note_included(all: &mut BTreeSet<PathBuf>, entry: &Entry) {
    for one in entry.included.iter().flat_map(|all| all.iter()) {
        if !all.contains(&one.path) {
            all.insert(one.path.clone());
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // any part of the hash will do
fn piece_of(name: &OsStr, count: usize) -> usize {
    xxh3_64(name.as_bytes()) as usize & (count - 1)
}

/// The NAME of `NAME.zone`; `None` for what is no zone file. Hidden files are what editors and
/// copying tools leave.
pub(super) fn apex_text(name: &OsStr) -> Option<&[u8]> {
    let text = name.as_bytes().strip_suffix(SUFFIX.as_bytes())?;
    (!text.is_empty() && !text.starts_with(b".")).then_some(text)
}

/// The zone that a file's name names.
///
/// # Errors
/// Why it is no name of a zone.
pub(super) fn apex_of(text: &[u8]) -> Result<Name, String> {
    let name = Name::parse_bytes(text, &Name::root()).map_err(|error| error.to_string())?;
    if text == b"@" || name.labels().any(|label| label == b"*") {
        return Err("a zone's name holds no wildcard, and is written out".to_owned());
    }
    Ok(name)
}
