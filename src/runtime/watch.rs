//! Notices that a named file has changed: a rename over it, an editor's write in place, a swapped
//! symbolic link somewhere above it.
//!
//! ```text
//! inotify ─→ events ─┬─ a zone file was closed or renamed into place ─→ it, at once
//!                    ├─ a zone file came, went, or has services ──────→ it, when it has settled
//!                    ├─ anything else ─→ look at the files of the configuration, let them settle
//!                    └─ the kernel's queue ran over ─→ look at everything
//! polls, seldom enough to cost nothing ─────────────→ look at everything
//! ```
//!
//! For the files of the configuration events only wake the watcher; what decides is their signature
//! (device, inode, size, times, links followed), so that a lost event costs one poll and a spurious
//! one costs nothing. A change counts once two looks in a row agree, so that a file is not read while
//! an editor writes it. Zone files may be a million: of those the events say which one to look at.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use meridian_dns::{
    build::ZoneFiles,
    zone::master::{Disk, Stamp, Texts as _},
};
use tokio::time::Instant;

use super::inotify::{Inotify, Notice};

/// Time between two looks while something is changing.
const SETTLE: Duration = Duration::from_millis(150);

/// Looks while something keeps changing before it is read anyway.
const SETTLE_LOOKS: usize = 40;

/// Time that the first change of a zone file waits for others that come with it.
const GATHER: Duration = Duration::from_millis(5);

/// Time between looks when the kernel reports nothing.
const POLL: Duration = Duration::from_secs(5);

/// Polling takes at most one part in so many of a core.
const POLL_SHARE: u32 = 200;

/// Most names that are looked at for a pattern; a configuration with as many is refused. Links that
/// lead in circles make them without number.
const PATTERN_MATCHES: usize = 8192;

/// So few zone files are looked at whenever anything happens in their folders, and links among them
/// are followed.
const FEW: usize = 4096;

/// Most zone files that wait to settle; with more, all are looked at.
const WAITING: usize = 100_000;

/// What to watch.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Files that were read, beside those of zones.
    pub files: Vec<PathBuf>,
    /// Patterns of files that would be read if they existed.
    pub patterns: Vec<PathBuf>,
    /// Zone files.
    pub zones: Option<Arc<ZoneFiles>>,
}

/// How the watched files look; equal signatures mean "nothing to do".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature(Vec<(PathBuf, Option<Look>)>);

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

/// Device, inode, size, modification and change.
type Look = (u64, u64, u64, i64, i64, i64, i64);

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
            note_folders(path, &mut folders);
        }
        if let Some(zones) = &self.zones {
            for folder in zones.folders() {
                // A link to a folder may be swapped.
                note_folders(&folder.path, &mut folders);
                folders.insert(folder.path.clone());
            }
            for path in zones.included() {
                note_folders(path, &mut folders);
            }
            // Links among more of them are found by polling.
            if zones.len() <= FEW {
                for (path, _) in zones.contents() {
                    note_folders(&path, &mut folders);
                }
            }
        }
        folders.retain(|f| f.is_dir());
        folders
    }
}

fn note_folders(path: &Path, folders: &mut BTreeSet<PathBuf>) {
    folders.extend(path.parent().map(Path::to_owned));
    let real = fs::canonicalize(path).ok();
    folders.extend(real.and_then(|real| Some(real.parent()?.to_owned())));
}

fn stamp(path: &Path) -> Option<Look> {
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

/// Zone files that looked like this when they were refused: no reason to try again.
#[derive(Clone, Debug, Default)]
pub struct Refused(BTreeMap<PathBuf, Stamp>);

impl Refused {
    /// How these files look now, as far as they have not changed since `doubt` (time since the
    /// epoch).
    pub fn now(paths: impl IntoIterator<Item = PathBuf>, doubt: Duration) -> Self {
        let disk = Disk { doubt: Some(doubt) };
        let look = |path: PathBuf| {
            let stamp = disk.stamp(&path);
            (path, stamp)
        };
        Self(paths.into_iter().map(look).collect())
    }

    /// The files.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }

    /// Those of `paths` that look different.
    fn new_among(&self, paths: Vec<PathBuf>) -> Vec<PathBuf> {
        let disk = Disk::default();
        let is_new = |path: &PathBuf| match self.0.get(path) {
            Some(then) if path.exists() => !disk.stamp(path).proves(*then),
            Some(then) => *then != Stamp::UNKNOWN,
            None => true,
        };
        paths.into_iter().filter(is_new).collect()
    }
}

/// What is known of the watched files.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// How they looked, beside those of zones.
    pub signature: Signature,
    /// Zone files that were refused.
    pub refused: Refused,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The files beside those of zones look like this now.
    Files(Signature),
    /// These zone files have changed, come or gone.
    Zones(Vec<PathBuf>),
}

/// Watches until dropped.
pub struct Watch {
    kernel: Option<Inotify>,
    /// Zone files that have changed.
    ready: BTreeSet<PathBuf>,
    /// Zone files that may be changing, and when they are looked at.
    waiting: BTreeMap<PathBuf, Instant>,
    /// Something beside zone files may have changed.
    files: bool,
    /// Any zone file may have changed.
    all: bool,
    poll: Instant,
}

impl Watch {
    /// Starts; without kernel events (no inotify instance left) it polls.
    #[allow(clippy::disallowed_methods)] // a runner
    pub fn start() -> Self {
        let kernel = Inotify::new();
        if let Err(error) = &kernel {
            tracing::warn!(%error, "no file events from the kernel; files are polled");
        }
        Self {
            kernel: kernel.ok(),
            ready: BTreeSet::new(),
            waiting: BTreeMap::new(),
            files: true,
            all: true,
            poll: Instant::now() + POLL,
        }
    }

    /// Waits until files look different from what is known and have settled.
    #[allow(clippy::disallowed_methods)] // a runner
    pub async fn changed(&mut self, watched: &Watched, known: &Known) -> Seen {
        // What changed before the folders were followed woke nobody.
        if let Some(kernel) = &mut self.kernel
            && kernel.follow(watched.folders())
        {
            (self.files, self.all) = (true, true);
        }
        loop {
            if std::mem::take(&mut self.files) {
                let seen = watched.signature();
                if seen != known.signature {
                    let seen = settle(watched, seen).await;
                    if seen != known.signature {
                        // Zone files that changed with them are read with them.
                        self.ready.clear();
                        self.waiting.clear();
                        return Seen::Files(seen);
                    }
                }
            }
            if std::mem::take(&mut self.all) {
                self.look_at_all(watched, known).await;
            }
            let now = Instant::now();
            let settled = self.waiting.iter().filter(|(_, at)| **at <= now);
            self.ready.extend(settled.map(|(path, _)| path.clone()));
            self.waiting.retain(|_, at| *at > now);
            if !self.ready.is_empty() {
                let ready = std::mem::take(&mut self.ready);
                return Seen::Zones(ready.into_iter().collect());
            }
            self.wait(watched).await;
        }
    }

    /// Waits for events, for the first file to settle, or for the next poll.
    #[allow(clippy::disallowed_methods)] // a runner
    async fn wait(&mut self, watched: &Watched) {
        let settled = self.waiting.values().min().copied();
        let next = settled.unwrap_or(self.poll).min(self.poll);
        let events = async {
            match &mut self.kernel {
                Some(kernel) => kernel.events().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            notices = events => {
                self.take(notices, watched);
                if !self.ready.is_empty() {
                    tokio::time::sleep(GATHER).await;
                    let more = self.kernel.as_mut().map(Inotify::pending).unwrap_or_default();
                    self.take(more, watched);
                }
            }
            () = tokio::time::sleep_until(next) => {
                if Instant::now() >= self.poll {
                    (self.files, self.all) = (true, true);
                }
            }
        }
    }

    #[allow(clippy::disallowed_methods)] // a runner
    fn take(&mut self, notices: Vec<Notice>, watched: &Watched) {
        let zones = watched.zones.as_deref();
        let settled = Instant::now() + SETTLE;
        for notice in notices {
            let Notice::Path { path, whole } = notice else {
                (self.files, self.all) = (true, true);
                continue;
            };
            let Some(zones) = zones else {
                self.files = true;
                continue;
            };
            if !zones.concerns(&path) {
                self.files = true;
                let name = path.file_name().map(std::ffi::OsStr::as_encoded_bytes);
                // Kubernetes swaps a link of such a name, and with it all files.
                let swapped = name.is_some_and(|name| name.starts_with(b".."));
                self.all |= zones.len() <= FEW || swapped || zones.is_folder(&path);
            } else if whole && !zones.is_steered(&path) && path.exists() {
                self.waiting.remove(&path);
                self.ready.insert(path);
            } else if !self.ready.contains(&path) {
                self.waiting.insert(path, settled);
            }
        }
        if self.waiting.len() > WAITING {
            self.waiting.clear();
            self.all = true;
        }
    }

    /// Looks at every zone file, and lets those that differ settle.
    #[allow(clippy::disallowed_methods)] // a runner
    async fn look_at_all(&mut self, watched: &Watched, known: &Known) {
        let began = Instant::now();
        if let Some(zones) = watched.zones.clone() {
            let refused = known.refused.clone();
            let look = move || refused.new_among(zones.differing(&Disk::default()));
            let differing = tokio::task::spawn_blocking(look).await.unwrap_or_default();
            let settled = Instant::now() + SETTLE;
            for path in differing {
                self.waiting.entry(path).or_insert(settled);
            }
        }
        self.poll = Instant::now() + POLL.max(began.elapsed() * POLL_SHARE);
    }
}

async fn settle(watched: &Watched, seen: Signature) -> Signature {
    let mut last = seen;
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
            ..Watched::default()
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
            ..Watched::default()
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
            patterns: vec![dir.path().join("*.toml")],
            ..Watched::default()
        };
        let empty = watched.signature();
        fs::write(dir.path().join("x.toml"), "1").unwrap();
        let full = watched.signature();
        assert_ne!(full, empty);
        fs::remove_file(dir.path().join("x.toml")).unwrap();
        assert_eq!(watched.signature(), empty);
    }
}
