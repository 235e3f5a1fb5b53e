//! The last good state: copies of every file that the running configuration was built from, with
//! checksums, so that a server whose files have become unreadable still boots and answers.
//!
//! ```text
//! STATE/last-good/
//!   current            name of the complete copy, replaced by rename
//!   N/manifest.json    what was copied, from where, length and CRC-32 of each
//!   N/manifest.crc     CRC-32 of the manifest
//!   N/tree/…           the files beside those of zones, under their absolute paths
//!   zones.pack         the zone files of all copies, see `pack`
//! ```
//!
//! A copy becomes visible only when it is whole; the one before it is removed afterwards. Files
//! that did not change are hard-linked from the copy before, so a large geo database is not
//! written again at every reload. Of the zones only what changed is written.

mod pack;

use std::{
    collections::{BTreeSet, HashSet},
    ffi::OsString,
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use meridian_dns::zone::master::{Octets, Stamp, Texts, content_hash};
use serde::{Deserialize, Serialize};

use super::{
    load::{self, Loaded},
    watch::Signature,
};

/// The `last-good` folder of a state directory.
#[derive(Clone)]
pub struct LastGood {
    directory: PathBuf,
    /// One copy is made at a time.
    kept: Arc<Mutex<Kept>>,
}

/// What is known of the copy on disk, so that only differences are written.
#[derive(Default)]
struct Kept {
    /// The state whose zones are in the pack.
    zones: Option<Arc<Loaded>>,
    /// Zone files that were not what that state had been read from: a newer state will come.
    missing: BTreeSet<PathBuf>,
    pack: Option<pack::Writer>,
    /// How the files beside those of zones look in the copy.
    files: Option<Signature>,
}

/// A copy that was found whole. Zones are read from it by their original paths.
#[derive(Clone, PartialEq, Eq)]
pub struct Restored {
    /// Put before the absolute paths of the original files, beside those of zones.
    pub root: PathBuf,
    /// The configuration file, as an absolute path of the original.
    pub config: PathBuf,
    zones: Arc<pack::Contents>,
}

impl fmt::Debug for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restored")
            .field("root", &self.root)
            .field("zones", &self.zones.len())
            .finish_non_exhaustive()
    }
}

impl Texts for Restored {
    fn read(&self, path: &Path, limit: usize) -> Result<Octets, String> {
        // Copies of older versions have zone files beside the others.
        let octets = match self.zones.get(path) {
            Some(octets) => octets.to_vec(),
            None => fs::read(self.path_of(path)).map_err(|error| error.to_string())?,
        };
        if octets.len() > limit {
            return Err(format!(
                "the texts of the zone have more than {limit} octets"
            ));
        }
        let stamp = Stamp::UNKNOWN;
        Ok(Octets { octets, stamp })
    }

    fn real(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.components().collect())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let in_folder = self
            .zones
            .keys()
            .filter(|path| path.parent() == Some(folder));
        let names = in_folder.filter_map(|path| path.file_name());
        Ok(names.map(ToOwned::to_owned).collect())
    }

    fn stamp(&self, _: &Path) -> Stamp {
        Stamp::UNKNOWN
    }
}

impl Restored {
    /// Where the copy of an original file stands.
    pub fn path_of(&self, original: &Path) -> PathBuf {
        below(&self.root, original)
    }

    /// The original of the file whose copy stands at `copy`.
    pub fn original_of(&self, copy: &Path) -> PathBuf {
        let inside = copy.strip_prefix(&self.root);
        inside.map_or_else(|_| copy.to_owned(), |inside| Path::new("/").join(inside))
    }
}

/// Why the last good state could not be kept or used.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// The disk said no.
    #[error("{path}: {source}")]
    Io {
        /// File or folder concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A copy does not match its checksum.
    #[error("{path}: the copy is damaged ({detail})")]
    Damaged {
        /// File concerned.
        path: PathBuf,
        /// What does not match.
        detail: &'static str,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    config: PathBuf,
    files: Vec<Entry>,
    /// The zones are in the pack.
    #[serde(default)]
    packed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    path: PathBuf,
    length: u64,
    crc32: u32,
}

impl LastGood {
    /// The folder inside `state_directory`; nothing is created yet.
    pub fn new(state_directory: &Path) -> Self {
        Self {
            directory: state_directory.join("last-good"),
            kept: Arc::default(),
        }
    }

    /// Keeps a state, if it is still the newest one and its files are the ones that it was built
    /// from; else nothing happens, as a newer state will come.
    ///
    /// # Errors
    /// When a file cannot be read or the copy cannot be written; the copy before stays.
    pub fn save(
        &self,
        config: &Path,
        loaded: &Arc<Loaded>,
        is_newest: impl Fn() -> bool,
    ) -> Result<(), LastGoodError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_newest() {
            return Ok(());
        }
        let result = self.save_state(config, loaded, &mut kept, is_newest);
        if result.is_err() {
            // What is on disk is looked at anew.
            *kept = Kept::default();
        }
        result
    }

    fn save_state(
        &self,
        config: &Path,
        loaded: &Arc<Loaded>,
        kept: &mut Kept,
        is_newest: impl Fn() -> bool,
    ) -> Result<(), LastGoodError> {
        create_private(&self.directory)?;
        let mut pack = self.pack_zones(loaded, kept)?;
        let whole = kept.missing.is_empty();
        let current = self.current_name();
        let tree = current.filter(|_| kept.files.as_ref() == Some(&loaded.seen));
        let kept_tree = match tree {
            Some(tree) if whole => {
                pack.commit(&tree)?;
                Some(tree)
            }
            _ if whole => {
                let files = load::files_to_keep(loaded);
                let is_valid = || is_newest() && loaded.watched().signature() == loaded.seen;
                self.save_files(config, &files, Some(&mut pack), is_valid)?
            }
            _ => None,
        };
        if let Some(tree) = kept_tree {
            kept.files = Some(loaded.seen.clone());
            if pack.is_wasteful() {
                pack = pack.compact(&tree)?;
            }
        }
        kept.pack = Some(pack);
        Ok(())
    }

    /// Writes the zone files that differ from those in the pack.
    fn pack_zones(
        &self,
        loaded: &Arc<Loaded>,
        kept: &mut Kept,
    ) -> Result<pack::Writer, LastGoodError> {
        let files = &loaded.built.files;
        let (mut pack, put, gone) = match (kept.pack.take(), kept.zones.take()) {
            (Some(pack), Some(before)) => {
                let (mut put, gone) = files.changes_since(&before.built.files);
                let missing = std::mem::take(&mut kept.missing);
                if !missing.is_empty() {
                    put.extend(files.contents().filter(|(path, _)| missing.contains(path)));
                }
                (pack, put, gone)
            }
            _ => self.differing(loaded)?,
        };
        kept.missing.clear();
        for path in gone {
            pack.remove(&path)?;
        }
        for (path, hash) in put {
            match fs::read(&path) {
                Ok(octets) if content_hash(&octets) == hash => pack.put(&path, &octets)?,
                _ => drop(kept.missing.insert(path)),
            }
        }
        kept.zones = Some(loaded.clone());
        Ok(pack)
    }

    /// The pack, with what it lacks and what it has too much.
    #[allow(clippy::type_complexity)]
    fn differing(
        &self,
        loaded: &Loaded,
    ) -> Result<(pack::Writer, Vec<(PathBuf, u64)>, Vec<PathBuf>), LastGoodError> {
        let (pack, mut index) = pack::Writer::open(&self.pack())?;
        let mut put = Vec::new();
        let mut seen = HashSet::new();
        for (path, hash) in loaded.built.files.contents() {
            let number = pack::number(&path);
            // Several zones may include one file.
            if seen.insert(number) && index.remove(&number) != Some(hash) {
                put.push((path, hash));
            }
        }
        let gone = match index.is_empty() {
            true => Vec::new(),
            false => pack::paths(&self.pack(), |number| index.contains_key(&number))?,
        };
        Ok((pack, put, gone))
    }

    fn pack(&self) -> PathBuf {
        self.directory.join("zones.pack")
    }

    /// Copies all files and makes the copy the current one, if `is_valid` says so once it is
    /// whole: the files may have changed since the state was built from them. Tells its name.
    fn save_files(
        &self,
        config: &Path,
        files: &[PathBuf],
        pack: Option<&mut pack::Writer>,
        is_valid: impl FnOnce() -> bool,
    ) -> Result<Option<String>, LastGoodError> {
        let before = self.current_name();
        let name = next_name(before.as_deref());
        let target = self.directory.join(&name);
        // A leftover of an attempt that did not finish.
        let _ = fs::remove_dir_all(&target);
        create_private(&target)?;
        let old = before.as_ref().and_then(|name| self.open(name).ok());
        let mut entries = Vec::with_capacity(files.len());
        for file in files {
            entries.push(self.copy(file, &target, before.as_deref(), old.as_ref())?);
        }
        let manifest = Manifest {
            config: config.to_owned(),
            files: entries,
            packed: pack.is_some(),
        };
        write_manifest(&target, &manifest)?;
        if !is_valid() {
            let _ = fs::remove_dir_all(&target);
            return Ok(None);
        }
        if let Some(pack) = pack {
            pack.commit(&name)?;
        }
        self.publish(&name)?;
        if let Some(before) = before.filter(|b| *b != name) {
            let _ = fs::remove_dir_all(self.directory.join(before));
        }
        Ok(Some(name))
    }

    /// Finds the current copy and checks it whole; `None` when there is none.
    ///
    /// # Errors
    /// When a copy exists but is damaged or unreadable.
    pub fn restore(&self) -> Result<Option<Restored>, LastGoodError> {
        let current = self.directory.join("current");
        let Some(name) = self.current_name() else {
            return match current.exists() {
                false => Ok(None),
                true => Err(LastGoodError::Damaged {
                    path: current,
                    detail: "not the name of a copy",
                }),
            };
        };
        let manifest = self.open(&name)?;
        let root = self.directory.join(&name).join("tree");
        for entry in &manifest.files {
            let path = below(&root, &entry.path);
            let (length, crc32) = checksum(&path)?;
            if (length, crc32) != (entry.length, entry.crc32) {
                return Err(LastGoodError::Damaged {
                    path,
                    detail: "length or checksum",
                });
            }
        }
        let zones = match manifest.packed {
            true => pack::contents(&self.pack(), &name)?.ok_or(LastGoodError::Damaged {
                path: self.pack(),
                detail: "it does not hold the zones of this copy",
            })?,
            false => pack::Contents::new(),
        };
        Ok(Some(Restored {
            root,
            config: manifest.config,
            zones: Arc::new(zones),
        }))
    }

    fn current_name(&self) -> Option<String> {
        let name = fs::read_to_string(self.directory.join("current")).ok()?;
        let name = name.trim();
        // Only names that `next_name` makes: never a path out of the folder.
        (!name.is_empty() && name.bytes().all(|b| b.is_ascii_digit())).then(|| name.to_owned())
    }

    fn open(&self, name: &str) -> Result<Manifest, LastGoodError> {
        let path = self.directory.join(name).join("manifest.json");
        let text = fs::read(&path).map_err(io_error(&path))?;
        let sum_path = path.with_extension("crc");
        let sum = fs::read_to_string(&sum_path).map_err(io_error(&sum_path))?;
        if sum.trim() != format!("{:08x}", crc32fast::hash(&text)) {
            return Err(LastGoodError::Damaged {
                path,
                detail: "checksum of the list",
            });
        }
        serde_json::from_slice(&text).map_err(|_| LastGoodError::Damaged {
            path,
            detail: "not a list of files",
        })
    }

    fn copy(
        &self,
        file: &Path,
        target: &Path,
        before: Option<&str>,
        old: Option<&Manifest>,
    ) -> Result<Entry, LastGoodError> {
        let to = below(&target.join("tree"), file);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(io_error(parent))?;
        }
        let (length, crc32) = checksum(file)?;
        let entry = Entry {
            path: file.to_owned(),
            length,
            crc32,
        };
        if let (Some(before), Some(old)) = (before, old)
            && old.files.contains(&entry)
        {
            let from = below(&self.directory.join(before).join("tree"), file);
            // The old copy may have rotted since: link it only when it still matches.
            if checksum(&from).is_ok_and(|sum| sum == (length, crc32))
                && fs::hard_link(&from, &to).is_ok()
            {
                return Ok(entry);
            }
        }
        fs::copy(file, &to).map_err(io_error(&to))?;
        sync(&to)?;
        if checksum(&to)? != (length, crc32) {
            return Err(LastGoodError::Damaged {
                path: to,
                detail: "changed while being copied",
            });
        }
        Ok(entry)
    }

    fn publish(&self, name: &str) -> Result<(), LastGoodError> {
        let temporary = self.directory.join("current.new");
        write_synced(&temporary, name.as_bytes())?;
        let path = self.directory.join("current");
        fs::rename(&temporary, &path).map_err(io_error(&path))?;
        sync(&self.directory)
    }
}

fn next_name(before: Option<&str>) -> String {
    let number = before
        .and_then(|b| b.parse::<u64>().ok())
        .map_or(1, |n| n.wrapping_add(1));
    number.to_string()
}

/// `path` with its root replaced by `root`; `..` cannot leave it.
fn below(root: &Path, path: &Path) -> PathBuf {
    let mut result = root.to_owned();
    for part in path.components() {
        if let Component::Normal(part) = part {
            result.push(part);
        }
    }
    result
}

fn write_manifest(target: &Path, manifest: &Manifest) -> Result<(), LastGoodError> {
    let path = target.join("manifest.json");
    let text = serde_json::to_vec_pretty(manifest).map_err(|e| LastGoodError::Io {
        path: path.clone(),
        source: io::Error::other(e),
    })?;
    write_synced(&path, &text)?;
    let sum = format!("{:08x}\n", crc32fast::hash(&text));
    write_synced(&path.with_extension("crc"), sum.as_bytes())
}

/// Creates the folder readable by its owner alone: configuration may name secrets.
fn create_private(path: &Path) -> Result<(), LastGoodError> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error(path))
}

fn checksum(path: &Path) -> Result<(u64, u32), LastGoodError> {
    let mut file = File::open(path).map_err(io_error(path))?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    let mut length = 0;
    loop {
        let read = file.read(&mut buffer).map_err(io_error(path))?;
        if read == 0 {
            return Ok((length, hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
        length += read as u64;
    }
}

fn write_synced(path: &Path, contents: &[u8]) -> Result<(), LastGoodError> {
    let mut file = File::create(path).map_err(io_error(path))?;
    file.write_all(contents).map_err(io_error(path))?;
    file.sync_all().map_err(io_error(path))
}

fn sync(path: &Path) -> Result<(), LastGoodError> {
    File::open(path)
        .and_then(|f| f.sync_all())
        .map_err(io_error(path))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> LastGoodError + use<> {
    let path = path.to_owned();
    move |source| LastGoodError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn world() -> (tempfile::TempDir, PathBuf, PathBuf, LastGood) {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("etc/meridian.toml");
        let zone = dir.path().join("etc/zones/example.zone");
        fs::create_dir_all(zone.parent().unwrap()).unwrap();
        fs::write(&config, "config one").unwrap();
        fs::write(&zone, "zone one").unwrap();
        let last = LastGood::new(&dir.path().join("state"));
        (dir, config, zone, last)
    }

    #[test]
    fn nothing_saved_is_nothing_restored() {
        let (_dir, _, _, last) = world();
        assert_eq!(last.restore().unwrap(), None);
    }

    #[test]
    fn what_was_saved_comes_back_when_the_originals_are_gone() {
        let (_dir, config, zone, last) = world();
        last.save_files(&config, &[config.clone(), zone.clone()], None, || true)
            .unwrap();
        fs::remove_file(&zone).unwrap();
        fs::write(&config, "rubbish").unwrap();
        let restored = last.restore().unwrap().unwrap();
        assert_eq!(restored.config, config);
        assert_eq!(restored.original_of(&restored.path_of(&zone)), zone);
        assert_eq!(
            fs::read_to_string(restored.path_of(&zone)).unwrap(),
            "zone one"
        );
        assert_eq!(
            fs::read_to_string(restored.path_of(&config)).unwrap(),
            "config one"
        );
    }

    #[test]
    fn unchanged_files_are_linked_and_old_copies_removed() {
        let (dir, config, zone, last) = world();
        let files = [config.clone(), zone.clone()];
        last.save_files(&config, &files, None, || true).unwrap();
        let first = fs::metadata(last.restore().unwrap().unwrap().path_of(&zone))
            .unwrap()
            .ino();
        fs::write(&config, "config two").unwrap();
        last.save_files(&config, &files, None, || true).unwrap();
        let restored = last.restore().unwrap().unwrap();
        assert_eq!(fs::metadata(restored.path_of(&zone)).unwrap().ino(), first);
        assert_eq!(
            fs::read_to_string(restored.path_of(&config)).unwrap(),
            "config two"
        );
        assert!(!dir.path().join("state/last-good/1").exists());
    }

    #[test]
    fn a_failed_save_leaves_the_copy_before() {
        let (dir, config, zone, last) = world();
        last.save_files(&config, &[config.clone(), zone.clone()], None, || true)
            .unwrap();
        let missing = dir.path().join("missing");
        assert!(
            last.save_files(&config, &[config.clone(), missing], None, || true)
                .is_err()
        );
        let restored = last.restore().unwrap().unwrap();
        assert_eq!(
            fs::read_to_string(restored.path_of(&zone)).unwrap(),
            "zone one"
        );
    }

    #[test]
    fn row_6_a_poisoned_copy_is_refused_at_every_byte() {
        let (dir, config, zone, last) = world();
        last.save_files(&config, &[config.clone(), zone.clone()], None, || true)
            .unwrap();
        let folder = dir.path().join("state/last-good/1");
        let root = last.restore().unwrap().unwrap().root;
        for file in [
            folder.join("manifest.json"),
            folder.join("manifest.crc"),
            below(&root, &zone),
        ] {
            let whole = fs::read(&file).unwrap();
            for cut in 0..whole.len() {
                // The checksum's own final newline carries nothing.
                if file.ends_with("manifest.crc") && cut + 1 == whole.len() {
                    continue;
                }
                fs::write(&file, &whole[..cut]).unwrap();
                assert!(last.restore().is_err(), "{} cut at {cut}", file.display());
            }
            fs::write(&file, &whole).unwrap();
            assert!(last.restore().unwrap().is_some());
        }
    }

    #[test]
    fn a_copy_of_files_that_changed_meanwhile_is_not_kept() {
        let (_dir, config, zone, last) = world();
        last.save_files(&config, &[config.clone(), zone.clone()], None, || true)
            .unwrap();
        fs::write(&config, "not what was checked").unwrap();
        last.save_files(&config, &[config.clone(), zone.clone()], None, || false)
            .unwrap();
        let restored = last.restore().unwrap().unwrap();
        let kept = fs::read_to_string(restored.path_of(&config)).unwrap();
        assert_eq!(kept, "config one");
    }

    #[test]
    fn current_cannot_point_outside() {
        let (dir, config, _, last) = world();
        last.save_files(&config, std::slice::from_ref(&config), None, || true)
            .unwrap();
        fs::write(dir.path().join("state/last-good/current"), "../../etc").unwrap();
        let error = last.restore().unwrap_err().to_string();
        assert!(error.contains("not the name of a copy"), "{error}");
    }
}
