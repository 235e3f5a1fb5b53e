//! The texts of all zones in one file that only grows at its end: one changed zone among a million
//! costs one record, and a state becomes the kept one when its commit is on disk.
//!
//! ```text
//! record   kind, length of the path, length of the content, path, content, CRC-32 of it all
//! kinds    put (path, content) · remove (path) · commit (name of the copy that it belongs to)
//! ```
//!
//! What stands behind the last commit does not count, so a write that was cut short leaves the state
//! before it. When more than half of the file is superseded it is written anew.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use meridian_dns::zone::master::content_hash;

use super::{LastGoodError, io_error};

/// Octets before path and content.
const HEAD: usize = 16;
/// Octets after them.
const TAIL: usize = 4;
/// Superseded octets that nobody minds.
const SLACK: u64 = 16 << 20;
/// Longest path.
const PATH_MAX: u64 = 1 << 16;

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const COMMIT: u8 = 3;

/// Writes at the end of a pack.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    length: u64,
    /// Octets that counted when the file was last looked through.
    base: u64,
}

/// Hash of the content by hash of the path.
pub(super) type Index = HashMap<u64, u64>;

/// Contents by path.
pub(super) type Contents = HashMap<PathBuf, Box<[u8]>>;

/// The number by which an [`Index`] knows a path.
pub(super) fn number(path: &Path) -> u64 {
    content_hash(path.as_os_str().as_bytes())
}

impl Writer {
    /// Opens or creates a pack, and tells what is in it.
    ///
    /// # Errors
    /// When the disk says no.
    pub(super) fn open(path: &Path) -> Result<(Self, Index), LastGoodError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(io_error(path))?;
        let mut records = Records::new(file, path)?;
        let mut live: HashMap<u64, (u64, u64)> = HashMap::new();
        let mut pending = Vec::new();
        let mut length = 0;
        while let Some(record) = records.next()? {
            let name = content_hash(record.path.as_bytes());
            match record.kind {
                PUT => pending.push((name, Some((content_hash(record.content), record.length)))),
                REMOVE => pending.push((name, None)),
                _ => {
                    length = record.end;
                    for (name, put) in pending.drain(..) {
                        match put {
                            Some(put) => live.insert(name, put),
                            None => live.remove(&name),
                        };
                    }
                }
            }
        }
        let mut file = records.into_file();
        // What an attempt left that did not finish.
        file.set_len(length).map_err(io_error(path))?;
        file.seek(SeekFrom::End(0)).map_err(io_error(path))?;
        let writer = Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(1 << 20, file),
            length,
            base: live.values().map(|(_, length)| length).sum(),
        };
        let index = live.into_iter().map(|(name, (hash, _))| (name, hash));
        Ok((writer, index.collect()))
    }

    /// Adds or replaces a file.
    ///
    /// # Errors
    /// When the disk says no.
    pub(super) fn put(&mut self, path: &Path, content: &[u8]) -> Result<(), LastGoodError> {
        self.write(PUT, path.as_os_str(), content)
    }

    /// Takes a file out.
    ///
    /// # Errors
    /// When the disk says no.
    pub(super) fn remove(&mut self, path: &Path) -> Result<(), LastGoodError> {
        self.write(REMOVE, path.as_os_str(), &[])
    }

    /// Makes what was written count, on disk, as the zones of the copy `tree`.
    ///
    /// # Errors
    /// When the disk says no.
    pub(super) fn commit(&mut self, tree: &str) -> Result<(), LastGoodError> {
        self.write(COMMIT, OsStr::new(tree), &[])?;
        self.file.flush().map_err(io_error(&self.path))?;
        self.file.get_ref().sync_all().map_err(io_error(&self.path))
    }

    /// Whether most of the file is superseded.
    pub(super) fn is_wasteful(&self) -> bool {
        self.length > self.base * 2 + SLACK
    }

    /// Writes the file anew with what counts alone, as the zones of the copy `tree`.
    ///
    /// # Errors
    /// When the disk says no; the file is as before.
    pub(super) fn compact(self, tree: &str) -> Result<Self, LastGoodError> {
        let path = self.path;
        drop(self.file);
        let open = || File::open(&path).map_err(io_error(&path));
        // The last record of each file, by where it ends.
        let mut last: HashMap<u64, u64> = HashMap::new();
        let mut records = Records::new(open()?, &path)?;
        while let Some(record) = records.next()? {
            let name = content_hash(record.path.as_bytes());
            match record.kind {
                PUT => drop(last.insert(name, record.end)),
                REMOVE => drop(last.remove(&name)),
                _ => {}
            }
        }
        let fresh = path.with_extension("new");
        let _ = fs::remove_file(&fresh);
        let (mut writer, _) = Self::open(&fresh)?;
        let mut records = Records::new(open()?, &path)?;
        while let Some(record) = records.next()? {
            let name = content_hash(record.path.as_bytes());
            if record.kind == PUT && last.get(&name) == Some(&record.end) {
                writer.write(PUT, record.path, record.content)?;
            }
        }
        writer.base = writer.length;
        writer.commit(tree)?;
        fs::rename(&fresh, &path).map_err(io_error(&path))?;
        writer.path = path;
        Ok(writer)
    }

    fn write(&mut self, kind: u8, path: &OsStr, content: &[u8]) -> Result<(), LastGoodError> {
        let mut head = [0; HEAD];
        head[0] = kind;
        head[4..8].copy_from_slice(&u32::try_from(path.len()).unwrap_or(0).to_le_bytes());
        head[8..].copy_from_slice(&(content.len() as u64).to_le_bytes());
        let mut sum = crc32fast::Hasher::new();
        let mut write = |octets: &[u8]| {
            sum.update(octets);
            self.length += octets.len() as u64;
            self.file.write_all(octets)
        };
        write(&head)
            .and_then(|()| write(path.as_bytes()))
            .and_then(|()| write(content))
            .map_err(io_error(&self.path))?;
        self.length += TAIL as u64;
        self.file
            .write_all(&sum.finalize().to_le_bytes())
            .map_err(io_error(&self.path))
    }
}

/// The files of a pack as the newest commit for the copy `tree` has them; `None` without one.
///
/// # Errors
/// When it cannot be read.
pub(super) fn contents(path: &Path, tree: &str) -> Result<Option<Contents>, LastGoodError> {
    let open = || File::open(path).map_err(io_error(path));
    let mut end = None;
    let mut records = Records::new(open()?, path)?;
    while let Some(record) = records.next()? {
        if record.kind == COMMIT && record.path == OsStr::new(tree) {
            end = Some(record.end);
        }
    }
    let Some(end) = end else { return Ok(None) };
    let mut files = HashMap::new();
    let mut records = Records::new(open()?, path)?;
    while let Some(record) = records.next()?.filter(|record| record.end <= end) {
        let path = PathBuf::from(record.path);
        match record.kind {
            PUT => drop(files.insert(path, record.content.into())),
            REMOVE => drop(files.remove(&path)),
            _ => {}
        }
    }
    Ok(Some(files))
}

/// The paths of which `wanted` says so by their numbers.
///
/// # Errors
/// When the pack cannot be read.
pub(super) fn paths(
    path: &Path,
    wanted: impl Fn(u64) -> bool,
) -> Result<Vec<PathBuf>, LastGoodError> {
    let file = File::open(path).map_err(io_error(path))?;
    let mut found = BTreeSet::new();
    let mut records = Records::new(file, path)?;
    while let Some(record) = records.next()? {
        let path = Path::new(record.path);
        if record.kind == PUT && wanted(number(path)) {
            found.insert(path.to_owned());
        }
    }
    Ok(found.into_iter().collect())
}

/// One record, as it was read.
struct Record<'r> {
    kind: u8,
    path: &'r OsStr,
    content: &'r [u8],
    /// Octets of the whole record.
    length: u64,
    /// Where it ends in the file.
    end: u64,
}

/// Reads records up to the end, or up to the first that is not whole.
struct Records<'p> {
    file: BufReader<File>,
    path: &'p Path,
    left: u64,
    end: u64,
    octets: Vec<u8>,
}

impl<'p> Records<'p> {
    fn new(file: File, path: &'p Path) -> Result<Self, LastGoodError> {
        let left = file.metadata().map_err(io_error(path))?.len();
        Ok(Self {
            file: BufReader::with_capacity(1 << 20, file),
            path,
            left,
            end: 0,
            octets: Vec::new(),
        })
    }

    fn into_file(self) -> File {
        self.file.into_inner()
    }

    fn next(&mut self) -> Result<Option<Record<'_>>, LastGoodError> {
        let path = self.path;
        match self.read() {
            Ok(record) => Ok(record),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(io_error(path)(error)),
        }
    }

    fn read(&mut self) -> io::Result<Option<Record<'_>>> {
        if self.file.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut head = [0; HEAD];
        self.file.read_exact(&mut head)?;
        let [kind, _, _, _, a, b, c, d, content @ ..] = head;
        let path = u64::from(u32::from_le_bytes([a, b, c, d]));
        let content = u64::from_le_bytes(content);
        let length = path
            .saturating_add(content)
            .saturating_add((HEAD + TAIL) as u64);
        if !(PUT..=COMMIT).contains(&kind) || path > PATH_MAX || length > self.left {
            return Ok(None);
        }
        let (Ok(path), Ok(body)) = (usize::try_from(path), usize::try_from(path + content)) else {
            return Ok(None);
        };
        self.octets.resize(body + TAIL, 0);
        self.file.read_exact(&mut self.octets)?;
        let (body, sum) = self.octets.split_at(body);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&head);
        hasher.update(body);
        if hasher.finalize().to_le_bytes() != sum {
            return Ok(None);
        }
        self.left -= length;
        self.end += length;
        Ok(Some(Record {
            kind,
            path: OsStr::from_bytes(&body[..path]),
            content: &body[path..],
            length,
            end: self.end,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(path: &Path, tree: &str) -> Option<Vec<(String, String)>> {
        let mut all: Vec<_> = contents(path, tree)
            .unwrap()?
            .into_iter()
            .map(|(path, content)| {
                let content = String::from_utf8(content.into()).unwrap();
                (path.display().to_string(), content)
            })
            .collect();
        all.sort();
        Some(all)
    }

    fn pairs(all: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        let owned = all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        Some(owned.collect())
    }

    fn two_states(path: &Path) {
        let (mut writer, index) = Writer::open(path).unwrap();
        assert!(index.is_empty());
        writer.put(Path::new("/a"), b"one").unwrap();
        writer.put(Path::new("/b"), b"two").unwrap();
        writer.commit("1").unwrap();
        writer.put(Path::new("/a"), b"three").unwrap();
        writer.remove(Path::new("/b")).unwrap();
        writer.put(Path::new("/c"), b"").unwrap();
        writer.commit("2").unwrap();
    }

    #[test]
    fn each_copy_has_its_zones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("zones.pack");
        two_states(&path);
        assert_eq!(zones(&path, "1"), pairs(&[("/a", "one"), ("/b", "two")]));
        assert_eq!(zones(&path, "2"), pairs(&[("/a", "three"), ("/c", "")]));
        assert_eq!(zones(&path, "3"), None);
        let (_, index) = Writer::open(&path).unwrap();
        assert_eq!(index.len(), 2);
        let known = index.get(&number(Path::new("/a")));
        assert_eq!(known, Some(&content_hash(b"three")));
    }

    #[test]
    fn row_6_a_pack_cut_or_spoilt_anywhere_has_a_whole_state_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("zones.pack");
        two_states(&path);
        let whole = fs::read(&path).unwrap();
        let right = [
            pairs(&[("/a", "one"), ("/b", "two")]),
            pairs(&[("/a", "three"), ("/c", "")]),
        ];
        let check = |octets: &[u8]| {
            fs::write(&path, octets).unwrap();
            for (tree, right) in ["1", "2"].iter().zip(&right) {
                let found = zones(&path, tree);
                assert!(found.is_none() || found == *right, "{found:?}");
            }
            let (mut writer, _) = Writer::open(&path).unwrap();
            writer.put(Path::new("/a"), b"again").unwrap();
            writer.commit("9").unwrap();
            let again = zones(&path, "9").unwrap();
            assert!(again.contains(&("/a".to_owned(), "again".to_owned())));
        };
        for at in 0..whole.len() {
            check(&whole[..at]);
            let mut spoilt = whole.clone();
            spoilt[at] ^= 0x55;
            check(&spoilt);
        }
    }

    #[test]
    fn writing_anew_keeps_what_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("zones.pack");
        two_states(&path);
        let before = fs::metadata(&path).unwrap().len();
        let (writer, _) = Writer::open(&path).unwrap();
        assert!(!writer.is_wasteful());
        let mut writer = writer.compact("2").unwrap();
        assert!(fs::metadata(&path).unwrap().len() < before);
        assert_eq!(zones(&path, "2"), pairs(&[("/a", "three"), ("/c", "")]));
        writer.put(Path::new("/d"), b"four").unwrap();
        writer.commit("2").unwrap();
        let right = pairs(&[("/a", "three"), ("/c", ""), ("/d", "four")]);
        assert_eq!(zones(&path, "2"), right);
        let big = vec![b'x'; usize::try_from(SLACK).unwrap()];
        writer.put(Path::new("/big"), &big).unwrap();
        writer.put(Path::new("/big"), b"small").unwrap();
        assert!(writer.is_wasteful());
    }
}
