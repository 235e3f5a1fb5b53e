//! What ticks remember, over restarts and upgrades: prices, who serves whom, demand, loads.
//!
//! ```text
//! steering.json: "meridian steering 2 CRC-32" · line end · JSON
//! ```
//!
//! PoPs, pools and services stand in it by name, cells by place, times as of the writer's clock, so it
//! fits whatever configuration comes next. What it does not know begins as in a first start.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use meridian_dns::steer::{
    self,
    balance::{Balance, Price},
};
use meridian_health_prober::KeptLoad;
use serde::{Deserialize, Serialize};

use super::book::KeptDemand;
use crate::runtime::durable;

/// The first line, but for the checksum.
const HEAD: &str = "meridian steering ";
const VERSION: &str = "2";
/// Longest file that is read, octets.
const MOST: u64 = 512 << 20;
/// Seconds after which who served whom says nothing any more.
const OLD_S: u64 = 6 * 3600;

/// What is written down.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::runtime) struct Kept {
    /// When, seconds since the epoch.
    pub(super) written_s: u64,
    /// The same on the clock that the balance is stepped by.
    pub(super) at_s: f64,
    /// Names by number.
    pub(super) pops: Vec<String>,
    pub(super) prices: Vec<Price>,
    pub(super) balance: Balance,
    pub(super) demand: KeptDemand,
    /// What counts are multiplied by.
    #[serde(default)]
    pub(super) demand_scale: f32,
    pub(super) rows: steer::Kept,
    pub(in crate::runtime) loads: Vec<KeptLoad>,
}

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is not a file of what steering remembers")]
    Foreign,
    #[error("it has version {0}, this server reads version {VERSION}")]
    Version(String),
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error("it is {0} hours old")]
    Old(u64),
}

fn path(directory: &Path) -> PathBuf {
    directory.join("steering.json")
}

/// Writes it.
///
/// # Errors
/// Those of the file system; the old file stays.
pub(super) fn write(directory: &Path, kept: &Kept) -> io::Result<()> {
    let body = serde_json::to_vec(kept)?;
    let sum = crc32fast::hash(&body);
    durable::replace(&path(directory), |file| {
        writeln!(file, "{HEAD}{VERSION} {sum:08x}")?;
        file.write_all(&body)
    })
}

/// What was written, as far as it can be used at `now_s`, seconds since the epoch; and what is wrong
/// where it cannot. One that cannot is put aside.
pub(in crate::runtime) fn read(directory: &Path, now_s: u64) -> (Option<Kept>, Option<String>) {
    let path = path(directory);
    match try_read(&path, now_s) {
        Ok(kept) => (Some(kept), None),
        Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => (None, None),
        // Nobody knows what is in it: it stays where it is, until the next write.
        Err(ReadError::Io(error)) => {
            let file = path.display();
            let problem = format!("the memory of steering in {file} cannot be read: {error}");
            (None, Some(problem))
        }
        Err(error) => {
            let what = "memory of steering";
            (None, Some(durable::put_aside(&path, what, &error)))
        }
    }
}

fn try_read(path: &Path, now_s: u64) -> Result<Kept, ReadError> {
    let mut all = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut all)?;
    let end = all.iter().take(64).position(|octet| *octet == b'\n');
    let (head, body) = end
        .and_then(|end| all.split_at_checked(end))
        .ok_or(ReadError::Foreign)?;
    let head = std::str::from_utf8(head).ok();
    let head = head.and_then(|head| head.strip_prefix(HEAD));
    let (version, sum) = head
        .and_then(|head| head.split_once(' '))
        .ok_or(ReadError::Foreign)?;
    if version != VERSION {
        return Err(ReadError::Version(version.to_owned()));
    }
    let body = body.trim_ascii_start();
    if format!("{:08x}", crc32fast::hash(body)) != sum {
        return Err(ReadError::Damaged("the checksum is wrong".to_owned()));
    }
    let kept: Kept =
        serde_json::from_slice(body).map_err(|error| ReadError::Damaged(error.to_string()))?;
    match now_s.saturating_sub(kept.written_s) {
        age if age > OLD_S => Err(ReadError::Old(age / 3600)),
        _ => Ok(kept),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_damaged_foreign_or_old_is_put_aside_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path(), 0), (None, None)));
        let kept = Kept {
            written_s: 1_800_000_000,
            pops: vec!["fra".to_owned()],
            ..Kept::default()
        };
        let good = |folder: &Path| {
            write(folder, &kept).unwrap();
            fs::read(path(folder)).unwrap()
        };
        let whole = good(folder.path());
        let (again, problem) = read(folder.path(), kept.written_s + 60);
        assert_eq!((again.unwrap().pops, problem), (kept.pops.clone(), None));
        // A clock that went back is no reason to begin anew.
        assert!(read(folder.path(), 0).0.is_some());
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let other = String::from_utf8(whole.clone()).unwrap();
        let other = other.replacen("steering 2", "steering 3", 1);
        let huge = [&b"{"[..], &[b' '; 100]].concat();
        for (content, part) in [
            (&flipped[..], "the checksum is wrong"),
            (&whole[..whole.len() - 1], "the checksum is wrong"),
            (b"meridian steering 2 00000000\n", "damaged"),
            (other.as_bytes(), "version 3"),
            (b"", "not a file"),
            (b"\xff\xff\n{}", "not a file"),
            (&huge, "not a file"),
        ] {
            fs::write(path(folder.path()), content).unwrap();
            let (none, problem) = read(folder.path(), kept.written_s);
            let problem = problem.unwrap();
            assert!(none.is_none() && problem.contains(part), "{problem}");
            assert!(!path(folder.path()).exists());
        }
        fs::create_dir(path(folder.path())).unwrap();
        let (none, problem) = read(folder.path(), kept.written_s);
        assert!(none.is_none() && problem.unwrap().contains("cannot be read"));
        fs::remove_dir(path(folder.path())).unwrap();
        good(folder.path());
        let (none, problem) = read(folder.path(), kept.written_s + 7 * 3600);
        assert!(none.is_none() && problem.unwrap().contains("7 hours old"));
    }
}
