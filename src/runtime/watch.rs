//! Notices that a named file has changed: a rename over it, an editor's write in place, a swapped
//! symbolic link somewhere above it.
//!
//! Events of the kernel only wake the watcher; what decides is the signature of the files (device,
//! inode, size, times, links followed), so that a lost event costs one poll and a spurious one
//! costs nothing. A change counts once two looks in a row agree, so that a file is not read while
//! an editor writes it.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// Time between two looks while something is changing.
const SETTLE: Duration = Duration::from_millis(150);

/// Looks while something keeps changing before it is read anyway.
const SETTLE_LOOKS: usize = 40;

/// Time between looks when the kernel reports nothing.
const POLL: Duration = Duration::from_secs(5);

/// Most names that are looked at for a pattern; a configuration with as many is refused. Links that
/// lead in circles make them without number.
const PATTERN_MATCHES: usize = 8192;

/// What to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Files that were read.
    pub files: Vec<PathBuf>,
    /// Patterns of files that would be read if they existed.
    pub patterns: Vec<PathBuf>,
}

/// How the watched files look; equal signatures mean "nothing to do".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature(Vec<(PathBuf, Option<Stamp>)>);

impl Signature {
    /// With the earlier looks of those files that were looked at earlier: what was read in between
    /// may be either, so a difference has to show.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        for (path, stamp) in &mut self.0 {
            if let Ok(at) = earlier.0.binary_search_by(|(other, _)| other.cmp(path))
                && let Some((_, before)) = earlier.0.get(at)
            {
                *stamp = *before;
            }
        }
        self
    }

    /// Forgets how files looked that changed at or after `start`, the moment at which reading them
    /// began: what was read may be older than what was looked at, so the next look must differ.
    #[must_use]
    pub fn doubting(mut self, start: SystemTime) -> Self {
        let since_epoch = |t: SystemTime| t.duration_since(SystemTime::UNIX_EPOCH).ok();
        let start = since_epoch(start).unwrap_or_default();
        for (_, stamp) in &mut self.0 {
            let changed = stamp.map(|(.., s, ns)| {
                let seconds = u64::try_from(s).unwrap_or_default();
                Duration::new(seconds, u32::try_from(ns).unwrap_or_default())
            });
            if changed.is_some_and(|changed| changed >= start) {
                *stamp = None;
            }
        }
        self
    }
}

type Stamp = (u64, u64, u64, i64, i64, i64, i64);

impl Watched {
    /// Looks at every file now.
    pub fn signature(&self) -> Signature {
        let mut paths: BTreeSet<PathBuf> = self.files.iter().cloned().collect();
        for pattern in &self.patterns {
            if let Some(found) = pattern.to_str().and_then(|p| glob::glob(p).ok()) {
                paths.extend(found.take(PATTERN_MATCHES).flatten());
            }
        }
        Signature(paths.into_iter().map(|p| (p.clone(), stamp(&p))).collect())
    }

    /// Folders in which a change shows. For a link, the folder of the link and that of its target.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let mut folders = BTreeSet::new();
        for path in self.files.iter().chain(&self.patterns) {
            folders.extend(path.parent().map(Path::to_owned));
            folders.extend(
                fs::canonicalize(path)
                    .ok()
                    .and_then(|p| Some(p.parent()?.to_owned())),
            );
        }
        folders.retain(|f| f.is_dir());
        folders
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let m = fs::metadata(path).ok()?;
    Some((
        m.dev(),
        m.ino(),
        m.size(),
        m.mtime(),
        m.mtime_nsec(),
        m.ctime(),
        m.ctime_nsec(),
    ))
}

/// Watches until dropped.
pub struct Watch {
    kernel: Option<notify::RecommendedWatcher>,
    woken: mpsc::Receiver<()>,
    folders: BTreeSet<PathBuf>,
}

impl Watch {
    /// Starts; without kernel events (no inotify instance left) it polls.
    pub fn start() -> Self {
        let (wake, woken) = mpsc::channel(1);
        let kernel = notify::recommended_watcher(move |_: notify::Result<notify::Event>| {
            // Full means that the watcher is about to look anyway.
            let _ = wake.try_send(());
        });
        if let Err(error) = &kernel {
            tracing::warn!(%error, "no file events from the kernel; files are polled");
        }
        Self {
            kernel: kernel.ok(),
            woken,
            folders: BTreeSet::new(),
        }
    }

    /// Waits until the files look different from `known` and have settled; returns how they look.
    pub async fn changed(&mut self, watched: &Watched, known: &Signature) -> Signature {
        self.follow(watched);
        // What changed before the folders were followed woke nobody.
        let mut look_at_once = watched.signature() != *known;
        loop {
            tokio::select! {
                () = std::future::ready(()), if std::mem::take(&mut look_at_once) => {}
                Some(()) = self.woken.recv() => {}
                () = tokio::time::sleep(POLL) => {}
            }
            let settled = settle(watched).await;
            if settled != *known {
                return settled;
            }
        }
    }

    fn follow(&mut self, watched: &Watched) {
        let Some(kernel) = &mut self.kernel else {
            return;
        };
        let folders = watched.folders();
        for gone in self.folders.difference(&folders) {
            let _ = kernel.unwatch(gone);
        }
        for new in folders.difference(&self.folders) {
            if let Err(error) = kernel.watch(new, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %new.display(), %error, "folder is polled");
            }
        }
        self.folders = folders;
    }
}

async fn settle(watched: &Watched) -> Signature {
    let mut last = watched.signature();
    for _ in 0..SETTLE_LOOKS {
        tokio::time::sleep(SETTLE).await;
        let now = watched.signature();
        if now == last {
            break;
        }
        last = now;
    }
    last
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn one(path: PathBuf) -> Watched {
        Watched {
            files: vec![path],
            patterns: Vec::new(),
        }
    }

    #[test]
    fn a_rename_over_shows() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        fs::write(&file, "1").unwrap();
        let watched = one(file.clone());
        let before = watched.signature();
        assert_eq!(watched.signature(), before);
        fs::write(dir.path().join("b"), "2").unwrap();
        fs::rename(dir.path().join("b"), &file).unwrap();
        assert_ne!(watched.signature(), before);
    }

    #[test]
    fn a_change_between_two_looks_shows_at_the_third() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        fs::write(&old, "1").unwrap();
        let first = one(old.clone()).signature();
        fs::write(&old, "12").unwrap();
        fs::write(&new, "1").unwrap();
        let both = Watched {
            files: vec![new.clone(), old],
            patterns: Vec::new(),
        };
        let second = both.signature().since(&first);
        assert_ne!(second, both.signature());
        let known = one(new.clone()).signature();
        assert_eq!(one(new).signature().since(&second), known);
        // A clock that was set back makes every change look recent, but not for ever.
        let doubted = known.clone().doubting(SystemTime::UNIX_EPOCH);
        assert_ne!(doubted, known);
        assert_eq!(doubted.since(&known), known);
    }

    #[test]
    fn a_swapped_link_above_the_file_shows() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["..1", "..2"] {
            fs::create_dir(dir.path().join(version)).unwrap();
            fs::write(dir.path().join(version).join("m.toml"), "same").unwrap();
        }
        symlink("..1", dir.path().join("..data")).unwrap();
        symlink("..data/m.toml", dir.path().join("m.toml")).unwrap();
        let watched = one(dir.path().join("m.toml"));
        let before = watched.signature();
        symlink("..2", dir.path().join("..tmp")).unwrap();
        fs::rename(dir.path().join("..tmp"), dir.path().join("..data")).unwrap();
        assert_ne!(watched.signature(), before);
        assert!(watched.folders().contains(dir.path()));
    }

    #[test]
    fn a_file_that_changed_while_it_was_read_shows() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        fs::write(&file, "1").unwrap();
        let watched = one(file.clone());
        let now = watched.signature();
        let changed = fs::metadata(&file).unwrap().modified().unwrap();
        let second = Duration::from_secs(1);
        assert_eq!(now.clone().doubting(changed + second), now);
        assert_ne!(now.clone().doubting(changed), now);
        assert_ne!(now.clone().doubting(changed - second), now);
    }

    #[test]
    fn a_new_file_under_a_pattern_and_a_lost_file_show() {
        let dir = tempfile::tempdir().unwrap();
        let watched = Watched {
            files: vec![],
            patterns: vec![dir.path().join("*.toml")],
        };
        let empty = watched.signature();
        fs::write(dir.path().join("x.toml"), "1").unwrap();
        let full = watched.signature();
        assert_ne!(full, empty);
        fs::remove_file(dir.path().join("x.toml")).unwrap();
        assert_eq!(watched.signature(), empty);
    }
}
