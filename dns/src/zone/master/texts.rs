//! Where the texts of zones come from: the operator's files, or what is kept of them.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use xxhash_rust::xxh3::xxh3_64;

/// How a file looked: device, inode, size and times in one number. Equal stamps mean the same
/// content; 0 is equal to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(u64);

impl Stamp {
    /// Of which nobody knows what it stands for.
    pub const UNKNOWN: Self = Self(0);

    /// Whether it says that the content is the one of `other`.
    pub fn proves(self, other: Self) -> bool {
        self.0 != 0 && self == other
    }
}

impl From<&fs::Metadata> for Stamp {
    fn from(about: &fs::Metadata) -> Self {
        let parts = [
            about.dev(),
            about.ino(),
            about.size(),
            about.mtime().cast_unsigned(),
            about.mtime_nsec().cast_unsigned(),
            about.ctime().cast_unsigned(),
            about.ctime_nsec().cast_unsigned(),
        ];
        Self(xxh3_64(parts.map(u64::to_le_bytes).as_flattened()).max(1))
    }
}

/// The octets of a file, and how it looked before they were read.
#[derive(Clone, Debug)]
pub struct Octets {
    /// All of them.
    pub octets: Vec<u8>,
    /// Taken before reading, so that a change meanwhile shows at the next look.
    pub stamp: Stamp,
}

impl Octets {
    /// Hash of all octets.
    pub fn hash(&self) -> u64 {
        content_hash(&self.octets)
    }
}

/// Hash by which contents of files are compared.
pub fn content_hash(octets: &[u8]) -> u64 {
    xxh3_64(octets)
}

/// Where the texts of zones come from.
pub trait Texts: Sync {
    /// Reads a regular file of at most `limit` octets.
    ///
    /// # Errors
    /// The reason, as a sentence.
    fn read(&self, path: &Path, limit: usize) -> Result<Octets, String>;

    /// The path without symbolic links.
    ///
    /// # Errors
    /// When there is nothing of that name.
    fn real(&self, path: &Path) -> io::Result<PathBuf>;

    /// Names of what stands in a folder, in no order.
    ///
    /// # Errors
    /// When it cannot be read.
    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>>;

    /// How a file looks now.
    fn stamp(&self, path: &Path) -> Stamp;
}

/// The operator's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk {
    /// Time since the epoch. Of files that changed then or later no stamp is taken: file systems
    /// stamp with a clock of coarse steps, so another change may leave no trace.
    pub doubt: Option<Duration>,
}

impl Disk {
    fn stamp_of(self, about: &fs::Metadata) -> Stamp {
        let seconds = u64::try_from(about.ctime()).unwrap_or_default();
        let nanos = u32::try_from(about.ctime_nsec()).unwrap_or_default();
        match self.doubt {
            Some(doubt) if Duration::new(seconds, nanos) >= doubt => Stamp::UNKNOWN,
            _ => Stamp::from(about),
        }
    }
}

impl Texts for Disk {
    fn read(&self, path: &Path, limit: usize) -> Result<Octets, String> {
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
        let stamp = self.stamp_of(&about);
        Ok(Octets { octets, stamp })
    }

    fn real(&self, path: &Path) -> io::Result<PathBuf> {
        path.canonicalize()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    }

    fn stamp(&self, path: &Path) -> Stamp {
        fs::metadata(path).map_or(Stamp::UNKNOWN, |about| self.stamp_of(&about))
    }
}

/// Why a file could not be read, in the words of an operator.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        kind => kind.to_string(),
    }
}
