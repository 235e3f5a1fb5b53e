//! Reading zone files, on several cores, as far as they have changed.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use meridian_config::{self as config, Diagnostic, Diagnostics, Name};

use super::files::{Entry, Folder, Included, Key};
use crate::{
    types::{ServiceId, rtype},
    zone::{
        AddError, BuildError, PlaceError, Zone, ZoneBuilder,
        master::{self, MasterFile, Stamp, Texts},
    },
};

/// Files that a worker takes at a time.
const CHUNK: usize = 64;
/// Zones whose mistakes are told.
const ZONES_TOLD: usize = 100;

/// A file to be read, or to be found unchanged.
pub(super) struct Candidate<'a> {
    pub(super) key: Key,
    pub(super) apex: Name,
    /// The `[[zone]]`, and the number of its first service.
    pub(super) listed: Option<(&'a config::Zone, u32)>,
    /// What was read from the file before, for the same zone with the same services.
    pub(super) before: Option<&'a Entry>,
}

impl Candidate<'_> {
    fn is_steered(&self) -> bool {
        self.listed
            .is_some_and(|(zone, _)| !zone.services.is_empty())
    }
}

/// What a reading works with.
pub(super) struct Reading<'a> {
    pub(super) folders: &'a [Folder],
    pub(super) texts: &'a dyn Texts,
    pub(super) workers: usize,
}

impl Reading<'_> {
    /// One entry for each candidate, in no order.
    ///
    /// # Errors
    /// The mistakes of up to [`ZONES_TOLD`] zones.
    pub(super) fn all(&self, candidates: Vec<Candidate<'_>>) -> Result<Vec<Entry>, Diagnostics> {
        let workers = self.workers.clamp(1, candidates.len() / CHUNK + 1);
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(Vec::new());
        let work = || {
            let mut memo = HashMap::new();
            let mut read = Vec::with_capacity(candidates.len() / workers + CHUNK);
            loop {
                let start = next.fetch_add(CHUNK, Ordering::Relaxed);
                let Some(rest) = candidates.get(start..).filter(|rest| !rest.is_empty()) else {
                    return read;
                };
                for (at, candidate) in (start..).zip(rest.iter().take(CHUNK)) {
                    match self.one(candidate, &mut memo) {
                        Ok(entry) => read.push(entry),
                        Err(mistakes) => {
                            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                            failed.push((at, mistakes));
                            if failed.len() > ZONES_TOLD {
                                next.store(candidates.len(), Ordering::Relaxed);
                            }
                        }
                    }
                }
            }
        };
        let mut entries = std::thread::scope(|scope| {
            let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
            let mut read = work();
            for other in others {
                match other.join() {
                    Ok(more) => read.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            read
        });
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        if failed.is_empty() {
            entries.shrink_to_fit();
            return Ok(entries);
        }
        Err(told(failed))
    }

    /// The entry of one file: the one before, if nothing has changed.
    fn one(&self, candidate: &Candidate<'_>, memo: &mut Memo) -> Result<Entry, Diagnostics> {
        let path = self.path_of(&candidate.key);
        let mut unchanged = None;
        if let Some(before) = candidate.before
            && self.includes_unchanged(before, memo)
        {
            if self.texts.stamp(&path).proves(before.stamp) {
                return Ok(Entry {
                    key: candidate.key.clone(),
                    steered: candidate.is_steered(),
                    ..before.clone()
                });
            }
            unchanged = Some(before);
        }
        let octets = master::octets(&path, self.texts)?;
        if let Some(before) = unchanged
            && before.hash == octets.hash()
        {
            return Ok(Entry {
                key: candidate.key.clone(),
                stamp: octets.stamp,
                steered: candidate.is_steered(),
                ..before.clone()
            });
        }
        let file = master::read_octets(&path, octets, &candidate.apex, self.texts)?;
        let zone = zone_of(&file, &path, candidate)?;
        let (stamp, hash) = file
            .sources
            .first()
            .map_or((Stamp::UNKNOWN, 0), |source| (source.stamp, source.hash));
        Ok(Entry {
            key: candidate.key.clone(),
            stamp,
            hash,
            zone,
            included: included(&file),
            steered: candidate.is_steered(),
        })
    }

    fn path_of(&self, key: &Key) -> PathBuf {
        let folder = self.folders.get(key.folder as usize);
        folder.map_or_else(PathBuf::new, |folder| folder.path.join(&*key.name))
    }

    /// Whether what a zone includes looks as it did. Many zones may include the same file.
    fn includes_unchanged(&self, before: &Entry, memo: &mut Memo) -> bool {
        let mut included = before.included.iter().flat_map(|all| all.iter());
        included.all(|one| {
            let now = match memo.get(&one.path) {
                Some(now) => *now,
                None => {
                    let now = self.texts.stamp(&one.path);
                    memo.insert(one.path.clone(), now);
                    now
                }
            };
            now.proves(one.stamp)
        })
    }
}

type Memo = HashMap<PathBuf, Stamp>;

/// Mistakes in the order of the configuration.
fn told(mut failed: Vec<(usize, Diagnostics)>) -> Diagnostics {
    failed.sort_by_key(|(at, _)| *at);
    let more = failed.len() > ZONES_TOLD;
    failed.truncate(ZONES_TOLD);
    let mut mistakes = Diagnostics::default();
    for (_, found) in failed {
        mistakes.extend(found);
    }
    if more && let Some(last) = mistakes.0.last() {
        let message = format!("reading stopped after {ZONES_TOLD} zones with mistakes");
        let end = Diagnostic::of_file(&last.file, message, "mend these first");
        mistakes.0.push(end);
    }
    mistakes
}

fn included(file: &MasterFile) -> Option<Arc<[Included]>> {
    let mut all: Vec<Included> = Vec::new();
    for source in file.sources.iter().skip(1) {
        if all.iter().any(|one| one.path == source.file) {
            continue;
        }
        all.push(Included {
            path: source.file.clone(),
            stamp: source.stamp,
            hash: source.hash,
        });
    }
    (!all.is_empty()).then(|| all.into())
}

/// One zone with its services.
fn zone_of(file: &MasterFile, path: &Path, candidate: &Candidate<'_>) -> Result<Zone, Diagnostics> {
    let mut mistakes = Diagnostics::default();
    let mut builder = ZoneBuilder::new(&candidate.apex);
    for record in &file.records {
        let added = builder.add(&record.owner, record.rtype, record.ttl.0, &record.rdata);
        if let Err(error) = added {
            let help = remedy_of_add(error);
            mistakes
                .0
                .push(file.mistake(record.at, error.to_string(), help));
        }
    }
    if let Some((zone, first)) = candidate.listed {
        for (number, service) in (first..).zip(&zone.services) {
            if let Err(error) = builder.place(&service.name, ServiceId(number)) {
                mistakes.0.push(misplaced(service, error, file));
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let built = builder.finish().map_err(|error| {
        let help = match error {
            BuildError::NoSoa => "add one; every zone has exactly one",
            BuildError::TooLarge => "split it into several zones",
        };
        match candidate.listed {
            Some((zone, _)) => zone.at.mistake(error.to_string(), help),
            None => Diagnostic::of_file(path, error.to_string(), help),
        }
    })?;
    Ok(built)
}

fn remedy_of_add(error: AddError) -> &'static str {
    match error {
        AddError::OutOfZone => "move the record to the zone that its owner is in",
        AddError::WildcardNs => "delegate each name on its own",
        AddError::TooLong => "shorten it",
    }
}

/// A service that cannot be steered, with the record in its way where there is one.
fn misplaced(service: &config::Service, error: PlaceError, file: &MasterFile) -> Diagnostic {
    let help = match error {
        PlaceError::OutOfZone => "move the service to the zone that its name is in".to_owned(),
        PlaceError::BelowCut => "the servers that the NS records name answer there; remove the \
                                 delegation or the service"
            .to_owned(),
        PlaceError::BelowDname => {
            "the DNAME redirects every name below it; remove one of them".to_owned()
        }
        PlaceError::StaticAddress | PlaceError::Alias => in_the_way(service, file),
        PlaceError::Taken => "remove one of them".to_owned(),
    };
    let message = format!("{} cannot be a service: {error}", service.name);
    service.at.mistake(message, help)
}

/// Names the first static record that stands where the service should.
fn in_the_way(service: &config::Service, file: &MasterFile) -> String {
    let blocking = file.records.iter().find(|record| {
        record.owner == service.name
            && matches!(record.rtype, rtype::A | rtype::AAAA | rtype::CNAME)
    });
    let Some(record) = blocking else {
        return "remove the records from the zone file, or the service".to_owned();
    };
    let at = file.mistake(record.at, "", "");
    let (line, _) = at.position();
    let rtype = rtype::type_name(record.rtype);
    let file = at.file.display();
    format!("remove the {rtype} record at {file}:{line}, or the service")
}
