//! Overrides on disk: what an operator said must survive a crash, whole or not at all.
//!
//! ```text
//! store:  temporary file → fsync → rename over the old one → fsync of the directory
//! load:   length and CRC-32 of the first line against the rest → JSON
//! ```
//!
//! A rename is atomic, so after `kill -9` the file holds the old state or the new one. A file
//! that is cut short or rotted is an error and never an empty set of overrides: a drain that
//! vanished would send clients to a PoP that somebody is working on.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Mutex,
    time::SystemTime,
};

use crate::Override;

/// Name of the file in the state directory.
pub const FILE: &str = "overrides";
const TEMPORARY: &str = "overrides.new";
const MAGIC: &str = "meridian-overrides 1";
/// More than this is not ours: 65,535 PoPs with a reason of 200 octets each stay below.
const LIMIT: u64 = 32 << 20;

/// Two writers would share the temporary file.
static WRITER: Mutex<()> = Mutex::new(());

/// Why overrides could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum OverridesError {
    /// Reading failed; not because the file is missing.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not as it was written.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: Damage,
    },
    /// Writing failed; the former file stands.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What does not fit in a damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It is larger than anything we write.
    #[error("it is too large")]
    TooLarge,
    /// The first line is not ours.
    #[error("its first line is not readable")]
    Header,
    /// Something was cut off or added.
    #[error("its length is not the one it was written with")]
    Length,
    /// An octet changed.
    #[error("its checksum does not fit")]
    Checksum,
    /// The checksum fits, the content does not: another version wrote it.
    #[error("its content is not readable by this version")]
    Content,
}

/// Reads the overrides of a state directory. A missing file is an empty set.
///
/// # Errors
/// [`OverridesError::Read`] and [`OverridesError::Damaged`]; to be told as an alarm.
pub fn load(state_directory: &Path) -> Result<BTreeMap<String, Override>, OverridesError> {
    let path = state_directory.join(FILE);
    let mut octets = Vec::new();
    match File::open(&path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut octets)) {
        Ok(_) => decode(&octets).map_err(|what| OverridesError::Damaged { path, what }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(source) => Err(OverridesError::Read { path, source }),
    }
}

/// Puts these overrides in place of the stored ones. Blocks until they are on the disk. Creates
/// the directory where it is missing.
///
/// # Errors
/// [`OverridesError::Write`]; what was stored before is then still there.
pub fn store(
    state_directory: &Path,
    overrides: &BTreeMap<String, Override>,
) -> Result<(), OverridesError> {
    let path = state_directory.join(FILE);
    let _one_at_a_time = WRITER
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    encode(overrides)
        .and_then(|octets| replace(state_directory, &path, &octets))
        .map_err(|source| OverridesError::Write { path, source })
}

/// Names of the PoPs whose override is over at `now`.
pub fn expired(overrides: &BTreeMap<String, Override>, now: SystemTime) -> Vec<String> {
    overrides
        .iter()
        .filter(|(_, o)| o.until.is_some_and(|until| until <= now))
        .map(|(pop, _)| pop.clone())
        .collect()
}

fn replace(directory: &Path, path: &Path, octets: &[u8]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let temporary = directory.join(TEMPORARY);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Created anew and never followed: a link planted there must not be written through.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(octets)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

fn encode(overrides: &BTreeMap<String, Override>) -> io::Result<Vec<u8>> {
    let mut content = serde_json::to_vec_pretty(overrides)?;
    content.push(b'\n');
    let crc = crc32fast::hash(&content);
    let mut octets = format!("{MAGIC} {} {crc:08x}\n", content.len()).into_bytes();
    octets.append(&mut content);
    Ok(octets)
}

fn decode(octets: &[u8]) -> Result<BTreeMap<String, Override>, Damage> {
    if octets.len() as u64 > LIMIT {
        return Err(Damage::TooLarge);
    }
    let end = octets
        .iter()
        .position(|&b| b == b'\n')
        .ok_or(Damage::Header)?;
    let (header, content) = (&octets[..end], &octets[end + 1..]);
    let header = std::str::from_utf8(header).map_err(|_| Damage::Header)?;
    let numbers = header.strip_prefix(MAGIC).ok_or(Damage::Header)?;
    let (length, crc) = numbers
        .strip_prefix(' ')
        .and_then(|n| n.split_once(' '))
        .ok_or(Damage::Header)?;
    if length.parse() != Ok(content.len()) {
        return Err(Damage::Length);
    }
    if u32::from_str_radix(crc, 16) != Ok(crc32fast::hash(content)) {
        return Err(Damage::Checksum);
    }
    serde_json::from_slice(content).map_err(|_| Damage::Content)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, time::Duration};

    use super::*;
    use crate::OverrideKind;

    fn some() -> BTreeMap<String, Override> {
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
        let drain = |reason: &str, until| Override {
            kind: OverrideKind::Drain,
            reason: reason.into(),
            since,
            until,
        };
        [
            ("fra".into(), drain("new switch,\n\"rack\" 4 ä", None)),
            (
                "iad".into(),
                drain("", Some(since + Duration::from_secs(7200))),
            ),
        ]
        .into()
    }

    #[test]
    fn stored_is_what_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("not/yet/there");
        assert_eq!(load(&state).unwrap(), BTreeMap::new());
        for overrides in [some(), BTreeMap::new(), some()] {
            store(&state, &overrides).unwrap();
            assert_eq!(load(&state).unwrap(), overrides);
        }
        let mode = fs::metadata(state.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_cut_at_any_byte_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let whole = encode(&some()).unwrap();
        for length in 0..whole.len() {
            fs::write(directory.path().join(FILE), &whole[..length]).unwrap();
            let error = load(directory.path()).unwrap_err();
            assert!(
                matches!(error, OverridesError::Damaged { .. }),
                "{length}: {error}"
            );
        }
    }

    #[test]
    fn any_flipped_bit_and_anything_added_is_noticed_or_changes_nothing() {
        let whole = encode(&some()).unwrap();
        for at in 0..whole.len() * 8 {
            let mut rotted = whole.clone();
            rotted[at / 8] ^= 1 << (at % 8);
            // Upper case in the checksum is the same number.
            assert!(
                decode(&rotted).is_err() || decode(&rotted) == Ok(some()),
                "bit {at}"
            );
        }
        let mut longer = whole;
        longer.push(b'\n');
        assert_eq!(decode(&longer), Err(Damage::Length));
    }

    #[test]
    fn what_a_killed_writer_leaves_behind_does_not_matter() {
        let directory = tempfile::tempdir().unwrap();
        store(directory.path(), &some()).unwrap();
        // Killed before the rename: any prefix of the next file lies beside the good one.
        for left in ["", "meridian-overrides 1 2", "garbage"] {
            fs::write(directory.path().join(TEMPORARY), left).unwrap();
            assert_eq!(load(directory.path()).unwrap(), some());
            store(directory.path(), &some()).unwrap();
            assert_eq!(load(directory.path()).unwrap(), some());
        }
    }

    #[test]
    fn a_failed_write_leaves_the_former_file() {
        let directory = tempfile::tempdir().unwrap();
        store(directory.path(), &some()).unwrap();
        // A directory in the place of the temporary file: removing and creating both fail.
        fs::create_dir_all(directory.path().join(TEMPORARY).join("x")).unwrap();
        let error = store(directory.path(), &BTreeMap::new()).unwrap_err();
        assert!(matches!(error, OverridesError::Write { .. }));
        assert_eq!(load(directory.path()).unwrap(), some());
    }

    #[test]
    fn an_unreadable_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(FILE)).unwrap();
        assert!(matches!(
            load(directory.path()),
            Err(OverridesError::Read { .. })
        ));
    }

    #[test]
    fn expiry_is_by_the_moment_given() {
        let overrides = some();
        let until = overrides["iad"].until.unwrap();
        assert_eq!(
            expired(&overrides, until - Duration::from_nanos(1)),
            [""; 0]
        );
        assert_eq!(expired(&overrides, until), ["iad"]);
    }
}
