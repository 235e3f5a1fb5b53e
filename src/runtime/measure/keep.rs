//! What was measured, over restarts.
//!
//! A file that cannot be used is put aside as `latency.bin.damaged`, for whoever wants to know why, and
//! measuring begins anew.

use std::{
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use meridian_geo_data::{
    ClientMap,
    latency::{LoadError, Matrix, Rules, Site},
};

use crate::runtime::durable;

/// The file in the state directory.
#[derive(Clone, Debug)]
pub(super) struct Keep {
    directory: PathBuf,
}

/// What a matrix is begun with.
pub(super) struct Beginning {
    pub(super) rules: Rules,
    pub(super) clients: Arc<ClientMap>,
    pub(super) sites: Vec<Site>,
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
    pub(super) fn load(&self, begin: &Beginning, now_s: u64) -> (Matrix, Option<String>) {
        let rules = begin.rules.clone();
        let (clients, sites, seed) = (begin.clients.clone(), &begin.sites, begin.seed);
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

    /// What was kept, and when (seconds since the epoch); touches nothing.
    ///
    /// # Errors
    /// Why it cannot be used, with the name of the file.
    pub(super) fn read(&self, begin: &Beginning) -> Result<(Matrix, u64), String> {
        let path = self.file();
        let refused = |error: LoadError| format!("{} cannot be used: {error}", path.display());
        let file = File::open(&path).map_err(|error| refused(LoadError::Io(error)))?;
        let written = file.metadata().and_then(|about| about.modified());
        let written = written.map_err(|error| refused(LoadError::Io(error)))?;
        let since = written.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (rules, clients) = (begin.rules.clone(), begin.clients.clone());
        let from = BufReader::new(file);
        let now_s = since.as_secs();
        Matrix::load(rules, clients, &begin.sites, begin.seed, from, now_s)
            .map(|matrix| (matrix, now_s))
            .map_err(refused)
    }

    /// Writes everything.
    ///
    /// # Errors
    /// Those of the file system; the old file stays.
    pub(super) fn save(&self, matrix: &Matrix, now_s: u64) -> io::Result<()> {
        durable::replace(&self.file(), |file| matrix.save(file, now_s))
    }

    fn put_aside(&self, error: &LoadError) -> String {
        durable::put_aside(&self.file(), "measured latency", error)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use meridian_geo_data::latency::{Reporter, Sample};

    use super::*;

    fn geo() -> meridian_config::Geo {
        meridian_config::Geo {
            city: Vec::new(),
            asn: Vec::new(),
            networks: Vec::new(),
        }
    }

    fn begin(sites: &[Site]) -> Beginning {
        Beginning {
            rules: Rules::default(),
            clients: Arc::new(ClientMap::open(&geo()).unwrap()),
            sites: sites.to_vec(),
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
            assert!(alarm.unwrap().contains("it begins anew"));
            let aside = directory.path().join("latency.bin.damaged");
            assert_eq!(fs::read(aside).unwrap(), damaged);
            assert!(!keep.file().exists());
        }
    }
}
