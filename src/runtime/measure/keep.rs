//! What was measured, over restarts.
//!
//! ```text
//! save: latency.bin.new → fsync → rename to latency.bin → fsync of the folder
//! ```
//!
//! After `kill -9` the file holds the old state or the new one. One that cannot be used is put aside as
//! `latency.bin.damaged`, for whoever wants to know why, and measuring begins anew.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use meridian_geo_data::{
    ClientMap,
    latency::{LoadError, Matrix, Rules, Site},
};

/// The file in the state directory.
#[derive(Clone, Debug)]
pub(super) struct Keep {
    directory: PathBuf,
}

/// What a matrix is begun with.
pub(super) struct Beginning<'a> {
    pub(super) rules: Rules,
    pub(super) clients: Arc<ClientMap>,
    pub(super) sites: &'a [Site],
    pub(super) seed: u64,
}

impl Keep {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.join("latency.bin")
    }

    /// What was kept, or an empty matrix, and why it is empty though something was kept.
    pub(super) fn load(&self, begin: &Beginning<'_>, now_s: u64) -> (Matrix, Option<String>) {
        let rules = begin.rules.clone();
        let (clients, sites, seed) = (begin.clients.clone(), begin.sites, begin.seed);
        let empty = || Matrix::new(rules.clone(), clients.clone(), sites, seed);
        let file = match File::open(self.file()) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (empty(), None),
            Err(error) => return (empty(), Some(self.put_aside(&LoadError::Io(error)))),
        };
        let (rules, clients) = (rules.clone(), clients.clone());
        match Matrix::load(rules, clients, sites, seed, file, now_s) {
            Ok(matrix) => (matrix, None),
            Err(error) => (empty(), Some(self.put_aside(&error))),
        }
    }

    /// Writes everything.
    ///
    /// # Errors
    /// Those of the file system; the old file stays.
    pub(super) fn save(&self, matrix: &Matrix, now_s: u64) -> io::Result<()> {
        let new = self.directory.join("latency.bin.new");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(&new)?;
        let mut file = BufWriter::with_capacity(1 << 18, file);
        matrix.save(&mut file, now_s)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&new, self.file())?;
        File::open(&self.directory)?.sync_all()
    }

    fn put_aside(&self, error: &LoadError) -> String {
        let aside = self.directory.join("latency.bin.damaged");
        let kept = match fs::rename(self.file(), &aside) {
            Ok(()) => format!("it is kept as {}", aside.display()),
            Err(error) => format!("it cannot be put aside: {error}"),
        };
        let file = self.file();
        format!(
            "the measured latency in {} cannot be used, measuring begins anew: {error}; {kept}",
            file.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use meridian_geo_data::latency::{Reporter, Sample};

    use super::*;

    fn geo() -> meridian_config::Geo {
        meridian_config::Geo {
            city: Vec::new(),
            asn: Vec::new(),
            networks: Vec::new(),
        }
    }

    fn begin(sites: &[Site]) -> Beginning<'_> {
        Beginning {
            rules: Rules::default(),
            clients: Arc::new(ClientMap::open(&geo()).unwrap()),
            sites,
            seed: 7,
        }
    }

    #[test]
    fn what_is_kept_comes_back_and_what_is_damaged_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let keep = Keep::new(directory.path());
        let sites = [Site {
            name: "fra".into(),
            at: None,
        }];
        let now_s = 1_800_000_000;
        let (mut matrix, alarm) = keep.load(&begin(&sites), now_s);
        assert_eq!((matrix.rows(), alarm), ((0, 0), None));
        let sample = Sample {
            prefix: "8.8.8.0/24".parse().unwrap(),
            pop: "fra".into(),
            rtt_ms: 50.0,
            reporter: Reporter::Own,
        };
        matrix.record(now_s, &sample).unwrap();
        keep.save(&matrix, now_s).unwrap();
        let (again, alarm) = keep.load(&begin(&sites), now_s + 60);
        assert_eq!((again.rows(), alarm), (matrix.rows(), None));
        let whole = fs::read(keep.file()).unwrap();
        for damaged in [&whole[..whole.len() / 2], b"", &[0; 64]] {
            fs::write(keep.file(), damaged).unwrap();
            let (empty, alarm) = keep.load(&begin(&sites), now_s);
            assert_eq!(empty.rows(), (0, 0));
            assert!(alarm.unwrap().contains("measuring begins anew"));
            let aside = directory.path().join("latency.bin.damaged");
            assert_eq!(fs::read(aside).unwrap(), damaged);
            assert!(!keep.file().exists());
        }
    }
}
