//! Files of a zone: read whole, and kept inside the folder of the zone file.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Component, Path, PathBuf},
};

use super::problem::{Problem, Shown};

/// The folder that a zone may include files from.
pub(super) struct Folder {
    /// As the operator named it.
    named: PathBuf,
    /// Without symbolic links.
    real: PathBuf,
}

impl Folder {
    /// The folder of a zone file; `None` when it cannot be found out.
    pub(super) fn of(zone_file: &Path) -> Option<Self> {
        let parent = zone_file.parent()?;
        let named = if parent.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            parent.to_path_buf()
        };
        let real = named.canonicalize().ok()?;
        Some(Self { named, real })
    }

    /// The path of an included file: as the operator would name it, and the real one.
    pub(super) fn resolve(&self, name: &[u8]) -> Result<(PathBuf, PathBuf), Problem> {
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
        let real = self
            .real
            .join(relative)
            .canonicalize()
            .map_err(|error| Problem::IncludeUnreadable(shown(), reason(&error)))?;
        // A symbolic link may lead out of the folder even where the name does not.
        if !real.starts_with(&self.real) {
            return Err(Problem::IncludeOutside(shown()));
        }
        Ok((self.named.join(relative), real))
    }
}

/// Reads a regular file of at most `limit` octets.
///
/// # Errors
/// The reason, as a sentence.
pub(super) fn octets(path: &Path, limit: usize) -> Result<Vec<u8>, String> {
    let told = |error| reason(&error);
    // Looked at before it is opened: opening a pipe would wait for its writer, for ever.
    let about = fs::metadata(path).map_err(told)?;
    if !about.is_file() {
        return Err("this is not a regular file".into());
    }
    let limit_u64 = u64::try_from(limit).unwrap_or(u64::MAX);
    let expected = usize::try_from(about.len().min(limit_u64)).unwrap_or(0);
    let mut octets = Vec::with_capacity(expected + 1);
    File::open(path)
        .and_then(|file| {
            file.take(limit_u64.saturating_add(1))
                .read_to_end(&mut octets)
        })
        .map_err(told)?;
    if octets.len() > limit {
        return Err(format!(
            "the texts of the zone have more than {limit} octets"
        ));
    }
    Ok(octets)
}

/// Why a file could not be read, in the words of an operator.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        kind => kind.to_string(),
    }
}
