//! The last good state: copies of every file that the running configuration was built from, with
//! checksums, so that a server whose files have become unreadable still boots and answers.
//!
//! ```text
//! STATE/last-good/
//!   current            name of the complete copy, replaced by rename
//!   N/manifest.json    what was copied, from where, length and CRC-32 of each
//!   N/manifest.crc     CRC-32 of the manifest
//!   N/tree/…           the files, under their absolute paths
//! ```
//!
//! A copy becomes visible only when it is whole; the one before it is removed afterwards. Files
//! that did not change are hard-linked from the copy before, so a large geo database is not
//! written again at every reload.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

/// The `last-good` folder of a state directory.
#[derive(Clone, Debug)]
pub struct LastGood {
    directory: PathBuf,
    /// One copy is made at a time.
    writer: Arc<Mutex<()>>,
}

/// A copy that was found whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Put before the absolute paths of the original files.
    pub root: PathBuf,
    /// The configuration file, as an absolute path of the original.
    pub config: PathBuf,
}

impl Restored {
    /// Where the copy of an original file stands.
    pub fn path_of(&self, original: &Path) -> PathBuf {
        below(&self.root, original)
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
            writer: Arc::default(),
        }
    }

    /// Copies all files and makes the copy the current one, if `is_valid` says so once it is
    /// whole: the files may have changed since the state was built from them.
    ///
    /// # Errors
    /// When a file cannot be read or the copy cannot be written; the copy before stays.
    pub fn save(
        &self,
        config: &Path,
        files: &[PathBuf],
        is_valid: impl FnOnce() -> bool,
    ) -> Result<(), LastGoodError> {
        let _one_at_a_time = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
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
        };
        write_manifest(&target, &manifest)?;
        if !is_valid() {
            let _ = fs::remove_dir_all(&target);
            return Ok(());
        }
        self.publish(&name)?;
        if let Some(before) = before.filter(|b| *b != name) {
            let _ = fs::remove_dir_all(self.directory.join(before));
        }
        Ok(())
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
        Ok(Some(Restored {
            root,
            config: manifest.config,
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
        last.save(&config, &[config.clone(), zone.clone()], || true)
            .unwrap();
        fs::remove_file(&zone).unwrap();
        fs::write(&config, "rubbish").unwrap();
        let restored = last.restore().unwrap().unwrap();
        assert_eq!(restored.config, config);
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
        last.save(&config, &files, || true).unwrap();
        let first = fs::metadata(last.restore().unwrap().unwrap().path_of(&zone))
            .unwrap()
            .ino();
        fs::write(&config, "config two").unwrap();
        last.save(&config, &files, || true).unwrap();
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
        last.save(&config, &[config.clone(), zone.clone()], || true)
            .unwrap();
        let missing = dir.path().join("missing");
        assert!(
            last.save(&config, &[config.clone(), missing], || true)
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
        last.save(&config, &[config.clone(), zone.clone()], || true)
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
        last.save(&config, &[config.clone(), zone.clone()], || true)
            .unwrap();
        fs::write(&config, "not what was checked").unwrap();
        last.save(&config, &[config.clone(), zone.clone()], || false)
            .unwrap();
        let restored = last.restore().unwrap().unwrap();
        let kept = fs::read_to_string(restored.path_of(&config)).unwrap();
        assert_eq!(kept, "config one");
    }

    #[test]
    fn current_cannot_point_outside() {
        let (dir, config, _, last) = world();
        last.save(&config, std::slice::from_ref(&config), || true)
            .unwrap();
        fs::write(dir.path().join("state/last-good/current"), "../../etc").unwrap();
        let error = last.restore().unwrap_err().to_string();
        assert!(error.contains("not the name of a copy"), "{error}");
    }
}
