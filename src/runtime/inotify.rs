//! File events of the kernel: which names in which folders.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, InotifyEvent, WatchDescriptor};
use tokio::sync::mpsc;

/// Batches of events that may wait; when there are more the kernel's own queue fills.
const BATCHES: usize = 64;

/// What the kernel told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Something happened to this name.
    Path {
        /// Folder and name.
        path: PathBuf,
        /// It is there as a whole: its writer has closed it, or it was renamed into place.
        whole: bool,
    },
    /// Something was lost, or a folder itself has changed.
    Lost,
}

/// Folders that are followed. A thread of its own waits for the kernel; it ends with this.
pub(super) struct Inotify {
    kernel: Arc<nix::sys::inotify::Inotify>,
    events: mpsc::Receiver<Vec<InotifyEvent>>,
    /// The kernel has one descriptor for a folder, however many paths lead to it.
    folders: HashMap<WatchDescriptor, BTreeSet<PathBuf>>,
    followed: BTreeMap<PathBuf, WatchDescriptor>,
}

impl Inotify {
    /// An instance that follows nothing.
    ///
    /// # Errors
    /// When the user has no instance left.
    pub(super) fn new() -> io::Result<Self> {
        let kernel = nix::sys::inotify::Inotify::init(InitFlags::IN_CLOEXEC)?;
        let kernel = Arc::new(kernel);
        let (sender, events) = mpsc::channel(BATCHES);
        let reader = kernel.clone();
        let work = move || {
            while let Ok(batch) = reader.read_events() {
                if sender.blocking_send(batch).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("inotify".to_owned())
            .spawn(work)?;
        Ok(Self {
            kernel,
            events,
            folders: HashMap::new(),
            followed: BTreeMap::new(),
        })
    }

    /// Follows these folders and no others; tells whether one of them was not followed before.
    pub(super) fn follow(&mut self, folders: BTreeSet<PathBuf>) -> bool {
        let gone: Vec<PathBuf> = self.followed.keys().cloned().collect();
        for path in gone.into_iter().filter(|path| !folders.contains(path)) {
            self.forget(&path);
        }
        let mut new = false;
        for path in folders {
            // A link of this name may lead elsewhere now: the kernel gives the descriptor that a
            // folder has already.
            match self.kernel.add_watch(&path, interests()) {
                Ok(descriptor) => {
                    if self.followed.get(&path) == Some(&descriptor) {
                        continue;
                    }
                    self.forget(&path);
                    new = true;
                    let paths = self.folders.entry(descriptor).or_default();
                    paths.insert(path.clone());
                    self.followed.insert(path, descriptor);
                }
                Err(error) => {
                    tracing::warn!(folder = %path.display(), %error, "folder is polled");
                }
            }
        }
        new
    }

    fn forget(&mut self, path: &PathBuf) {
        let Some(descriptor) = self.followed.remove(path) else {
            return;
        };
        if let Some(paths) = self.folders.get_mut(&descriptor) {
            paths.remove(path);
            if paths.is_empty() {
                self.folders.remove(&descriptor);
                let _ = self.kernel.rm_watch(descriptor);
            }
        }
    }

    /// Waits for events.
    pub(super) async fn events(&mut self) -> Vec<Notice> {
        let Some(batch) = self.events.recv().await else {
            return std::future::pending().await;
        };
        let mut notices = Vec::new();
        self.note_all(batch, &mut notices);
        notices.extend(self.pending());
        notices
    }

    /// The events that have come.
    pub(super) fn pending(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        while let Ok(batch) = self.events.try_recv() {
            self.note_all(batch, &mut notices);
        }
        notices
    }

    fn note_all(&mut self, batch: Vec<InotifyEvent>, notices: &mut Vec<Notice>) {
        for event in batch {
            self.note(event, notices);
        }
    }

    fn note(&mut self, event: InotifyEvent, notices: &mut Vec<Notice>) {
        let Some(name) = event.name else {
            if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                let Some(paths) = self.folders.remove(&event.wd) else {
                    // Not followed any more, by our own will.
                    return;
                };
                for path in paths {
                    self.followed.remove(&path);
                }
            }
            notices.push(Notice::Lost);
            return;
        };
        let whole = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO;
        let whole = event.mask.intersects(whole);
        for folder in self.folders.get(&event.wd).into_iter().flatten() {
            let path = folder.join(&name);
            notices.push(Notice::Path { path, whole });
        }
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        self.events.close();
        // The thread wakes when a folder is let go.
        if let Ok(descriptor) = self.kernel.add_watch(Path::new("/"), interests()) {
            let _ = self.kernel.rm_watch(descriptor);
        }
    }
}

/// No event for reading a file: the server itself does that.
fn interests() -> AddWatchFlags {
    AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVE
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    /// Collects until `end` has come.
    async fn told(inotify: &mut Inotify, end: impl Fn(&Notice) -> bool) -> Vec<Notice> {
        let mut all = Vec::new();
        while !all.iter().any(&end) {
            let more = tokio::time::timeout(Duration::from_secs(180), inotify.events()).await;
            all.extend(more.expect("events"));
        }
        all
    }

    fn is(name: &str, wanted: bool) -> impl Fn(&Notice) -> bool {
        move |notice| match notice {
            Notice::Path { path, whole } => path.ends_with(name) && *whole == wanted,
            Notice::Lost => false,
        }
    }

    #[tokio::test]
    async fn tells_what_is_whole_and_what_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut inotify = Inotify::new().unwrap();
        let folders = BTreeSet::from([dir.path().to_owned()]);
        assert!(inotify.follow(folders.clone()));
        assert!(!inotify.follow(folders));
        fs::write(dir.path().join("a"), "1").unwrap();
        // Reading wakes nobody.
        fs::read(dir.path().join("a")).unwrap();
        fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        fs::remove_file(dir.path().join("b")).unwrap();
        let notices = told(&mut inotify, is("b", false)).await;
        let count = |name, whole| notices.iter().filter(|n| is(name, whole)(n)).count();
        assert_eq!([count("a", true), count("b", true)], [1, 1]);
        // Created, moved away; removed.
        assert_eq!([count("a", false), count("b", false)], [2, 1]);
    }

    #[tokio::test]
    async fn a_folder_that_goes_is_told_and_followed_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("zones");
        fs::create_dir(&folder).unwrap();
        let mut inotify = Inotify::new().unwrap();
        let folders = BTreeSet::from([folder.clone()]);
        assert!(inotify.follow(folders.clone()));
        fs::remove_dir(&folder).unwrap();
        // Both that it has gone and that it is not followed any more.
        while inotify.followed.contains_key(&folder) {
            told(&mut inotify, |notice| *notice == Notice::Lost).await;
        }
        fs::create_dir(&folder).unwrap();
        assert!(inotify.follow(folders));
        fs::write(folder.join("a"), "1").unwrap();
        told(&mut inotify, is("a", true)).await;
    }

    #[tokio::test]
    async fn a_swapped_link_to_a_folder_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["v1", "v2"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let link = dir.path().join("zones");
        std::os::unix::fs::symlink("v1", &link).unwrap();
        let mut inotify = Inotify::new().unwrap();
        let folders = BTreeSet::from([link.clone()]);
        assert!(inotify.follow(folders.clone()));
        std::os::unix::fs::symlink("v2", dir.path().join("next")).unwrap();
        fs::rename(dir.path().join("next"), &link).unwrap();
        assert!(inotify.follow(folders));
        fs::write(dir.path().join("v2/a"), "1").unwrap();
        let notices = told(&mut inotify, is("a", true)).await;
        let path = link.join("a");
        assert!(notices.contains(&Notice::Path { path, whole: true }));
    }
}
