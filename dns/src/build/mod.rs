//! From a checked configuration to what answers are made of: zones, steering and identity, all of
//! it or every mistake.
//!
//! ```text
//! [[zone]], zone_folders → candidates → read (on all cores, what changed) → ZoneFiles
//!                                           └ changed zones only ────────→ ZoneSet::with
//! ```
//!
//! A state is built beside the one before it and shares every zone whose files and services are
//! the same ones.

mod changed;
mod files;
mod plan;
mod read;

use std::{
    collections::{HashMap, HashSet},
    num::NonZero,
    path::PathBuf,
    sync::Arc,
};

use meridian_config::{Config, Diagnostic, Diagnostics, Name};
use meridian_geo_data::ClientMap;

pub use files::{Folder, ZoneFiles};

use crate::{
    snapshot::Identity,
    steer::Steering,
    types::rtype,
    zone::{
        Change, LowerName, Zone, ZoneSet,
        master::{Disk, Texts},
    },
};
use changed::Concerned;
use files::{Edit, Entry};
use plan::Plan;
use read::Reading;

/// The parts of a [`crate::snapshot::Snapshot`] that a configuration decides.
#[derive(Clone)]
pub struct Built {
    /// All zones.
    pub zones: Arc<ZoneSet>,
    /// All services.
    pub steering: Arc<Steering>,
    /// NSID and CHAOS.
    pub identity: Arc<Identity>,
    /// Zone files with everything they include: a change of one is a reason to reload.
    pub files: Arc<ZoneFiles>,
}

/// A state to share with.
#[derive(Clone, Copy)]
pub struct Before<'a> {
    /// What it was built from.
    pub config: &'a Config,
    /// What was built.
    pub built: &'a Built,
}

/// How zone files are read.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// Where from.
    pub texts: &'a dyn Texts,
    /// By how many threads.
    pub workers: usize,
}

/// Reads every zone file, places the services and prepares steering.
///
/// # Errors
/// Every mistake in any zone file, and every service that cannot stand where it should.
pub fn build(config: &Config, clients: Arc<ClientMap>) -> Result<Built, Diagnostics> {
    let means = Means {
        texts: &Disk::default(),
        workers: std::thread::available_parallelism().map_or(1, NonZero::get),
    };
    rebuild(config, clients, None, means)
}

/// The same, sharing with a state before whatever has not changed.
///
/// # Errors
/// As [`build`].
pub fn rebuild(
    config: &Config,
    clients: Arc<ClientMap>,
    before: Option<Before<'_>>,
    means: Means<'_>,
) -> Result<Built, Diagnostics> {
    let plan = Plan::of(config, before, means.texts)?;
    let reading = Reading {
        folders: &plan.folders,
        texts: means.texts,
        workers: means.workers,
    };
    let known: usize = plan
        .candidates
        .iter()
        .filter(|c| c.before.is_some())
        .count();
    let entries = reading.all(plan.candidates)?;
    let zones = match before {
        Some(before) => zones_after(before.built, &entries, known),
        None => Arc::new(ZoneSet::new(
            entries.iter().map(|e| Arc::new(e.zone.clone())),
        )),
    };
    let files = ZoneFiles::new(plan.folders, entries);
    if zones.len() < files.len() {
        return Err(twice(&files));
    }
    hidden_services(config, &zones)?;
    let shared = before.filter(|before| {
        std::ptr::eq(before.built.steering.clients(), &raw const *clients)
            && before.config == config
    });
    let steering = match shared {
        Some(before) => before.built.steering.clone(),
        None => Arc::new(Steering::new(config, clients)),
    };
    Ok(Built {
        zones,
        steering,
        identity: Arc::new(Identity::from(config)),
        files: Arc::new(files),
    })
}

/// The state after some files have changed, come or gone. Its zones are the ones of before, the same
/// `Arc`, when no zone is another one.
///
/// # Errors
/// Every mistake in these files; nothing has changed then.
pub fn with_files(
    config: &Config,
    before: &Built,
    paths: &[PathBuf],
    means: Means<'_>,
) -> Result<Built, Diagnostics> {
    let files = &before.files;
    let folders = files.shared_folders();
    let Concerned {
        candidates, gone, ..
    } = Concerned::by(config, files, paths, means.texts)?;
    let reading = Reading {
        folders: &folders,
        texts: means.texts,
        workers: means.workers,
    };
    let entries = reading.all(candidates)?;
    let mut changes: Vec<Change> = Vec::new();
    for entry in &gone {
        changes.push(Change::Remove(entry.zone.apex()));
    }
    let mut new = false;
    for entry in &entries {
        let same_key = |other: &&Entry| other.key == entry.key;
        let known = files.find(entry.key.folder, &entry.key.name);
        match known.iter().find(same_key) {
            Some(known) if known.zone.is(&entry.zone) => continue,
            Some(_) => {}
            None => new = true,
        }
        changes.push(put(entry));
    }
    let gone = gone
        .into_iter()
        .map(|entry| Edit::Remove(entry.key.clone()));
    let edits = gone.chain(entries.into_iter().map(Edit::Put)).collect();
    let files = Arc::new(files.with(edits));
    let zones = match changes.is_empty() {
        true => before.zones.clone(),
        false => Arc::new(before.zones.with(changes)),
    };
    if zones.len() < files.len() {
        return Err(twice(&files));
    }
    if new {
        hidden_services(config, &zones)?;
    }
    Ok(Built {
        zones,
        files,
        ..before.clone()
    })
}

fn put(entry: &Entry) -> Change {
    Change::Put(Arc::new(entry.zone.clone()))
}

/// The zones after a reading; those that are the same ones are shared.
fn zones_after(before: &Built, entries: &[Entry], known: usize) -> Arc<ZoneSet> {
    let new = |entry: &&Entry| {
        let apex = LowerName::from(&entry.zone.apex());
        let known = before.zones.find(&apex, rtype::SOA);
        !known.is_some_and(|zone| zone.is(&entry.zone))
    };
    let new: Vec<&Entry> = entries.iter().filter(new).collect();
    if new.len() > entries.len() / 8 + 1 {
        let all = entries.iter().map(|entry| Arc::new(entry.zone.clone()));
        return Arc::new(ZoneSet::new(all));
    }
    let mut changes = Vec::new();
    if known != before.zones.len() {
        let now: HashSet<Name> = entries.iter().map(|e| e.zone.apex()).collect();
        let gone = before.zones.iter().map(Zone::apex);
        changes.extend(gone.filter(|apex| !now.contains(apex)).map(Change::Remove));
    }
    changes.extend(new.into_iter().map(put));
    match changes.is_empty() {
        true => before.zones.clone(),
        false => Arc::new(before.zones.with(changes)),
    }
}

/// Two files that hold the same zone.
fn twice(files: &ZoneFiles) -> Diagnostics {
    let mut first: HashMap<Name, &Entry> = HashMap::new();
    let mut mistakes = Diagnostics::default();
    let mut entries: Vec<&Entry> = files.entries().collect();
    entries.sort_by_key(|entry| (entry.key.listed.is_none(), files.path_of(entry)));
    for entry in entries {
        let Some(earlier) = first.insert(entry.zone.apex(), entry) else {
            continue;
        };
        let message = format!(
            "the zone {} is read from {} too",
            entry.zone.apex(),
            files.path_of(earlier).display()
        );
        let help = "remove one of them; to add services to a zone of a folder, name this very \
                    file in its `[[zone]]`";
        let path = files.path_of(entry);
        mistakes.0.push(Diagnostic::of_file(path, message, help));
    }
    mistakes
}

/// A service that a zone below its own hides: the closest zone answers for a name.
fn hidden_services(config: &Config, zones: &ZoneSet) -> Result<(), Diagnostics> {
    // Among `[[zone]]` entries alone the configuration has been judged already.
    if config.zone_folders.is_empty() {
        return Ok(());
    }
    let mut mistakes = Diagnostics::default();
    for zone in &config.zones {
        for service in &zone.services {
            let Some(nearest) = zones.find(&LowerName::from(&service.name), rtype::A) else {
                continue;
            };
            if nearest.apex() != zone.name {
                let apex = nearest.apex();
                let message = format!("{} is answered from zone {apex}", service.name);
                let help = format!("move the service to zone {apex}");
                mistakes.0.push(service.at.mistake(message, help));
            }
        }
    }
    match mistakes.is_empty() {
        true => Ok(()),
        false => Err(mistakes),
    }
}

#[cfg(test)]
mod tests;
