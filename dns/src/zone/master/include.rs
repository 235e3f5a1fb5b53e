//! Files of a zone: kept inside the folder of the zone file.

use std::path::{Component, Path, PathBuf};

use super::{
    problem::{Problem, Shown},
    texts::{Octets, Texts, reason},
};

/// The folder that a zone may include files from.
pub(super) struct Folder<'z> {
    texts: &'z dyn Texts,
    /// As the operator named it.
    named: PathBuf,
    /// Without symbolic links; found out when something is included.
    real: Option<PathBuf>,
}

impl<'z> Folder<'z> {
    /// The folder of a zone file; `None` when it has none.
    pub(super) fn of(zone_file: &Path, texts: &'z dyn Texts) -> Option<Self> {
        let parent = zone_file.parent()?;
        let named = if parent.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            parent.to_path_buf()
        };
        Some(Self {
            texts,
            named,
            real: None,
        })
    }

    /// The path of an included file: as the operator would name it, and the real one.
    pub(super) fn resolve(&mut self, name: &[u8]) -> Result<(PathBuf, PathBuf), Problem> {
        let shown = || Shown::new(name);
        let relative = std::str::from_utf8(name)
            .map(Path::new)
            .map_err(|_| Problem::IncludeUnreadable(shown(), "the name is not UTF-8".into()))?;
        let inside = relative
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside {
            return Err(Problem::IncludeOutside(shown()));
        }
        let unreadable = |error| Problem::IncludeUnreadable(shown(), reason(&error));
        let folder = match &self.real {
            Some(real) => real,
            None => {
                let real = self.texts.real(&self.named).map_err(unreadable)?;
                self.real.insert(real)
            }
        };
        let real = self
            .texts
            .real(&folder.join(relative))
            .map_err(unreadable)?;
        // A symbolic link may lead out of the folder even where the name does not.
        if !real.starts_with(folder) {
            return Err(Problem::IncludeOutside(shown()));
        }
        Ok((self.named.join(relative), real))
    }

    /// Reads a file that [`Self::resolve`] found.
    pub(super) fn read(&self, real: &Path, limit: usize) -> Result<Octets, String> {
        self.texts.read(real, limit)
    }

    /// The zone file itself without symbolic links, by which an include of it is known.
    pub(super) fn real(&self, path: &Path) -> Option<PathBuf> {
        self.texts.real(path).ok()
    }
}
