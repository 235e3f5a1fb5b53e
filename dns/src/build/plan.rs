//! Which files a configuration asks for, and what was read from them before.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use meridian_config::{self as config, Config, Diagnostic, Diagnostics, Name};

use super::{
    Before,
    files::{Entry, Folder, Key, apex_of, apex_text},
    read::Candidate,
};
use crate::zone::master::Texts;

/// The files that a configuration asks for, and where they stand.
pub(super) struct Plan<'a> {
    pub(super) folders: Arc<[Folder]>,
    pub(super) candidates: Vec<Candidate<'a>>,
}

impl<'a> Plan<'a> {
    pub(super) fn of(
        config: &'a Config,
        before: Option<Before<'a>>,
        texts: &dyn Texts,
    ) -> Result<Self, Diagnostics> {
        let mut folders = Folders::default();
        let mut keys: Vec<(Key, Name)> = Vec::with_capacity(config.zones.len());
        let mut mistakes = Diagnostics::default();
        let mut listed: HashSet<(u32, OsString)> = HashSet::new();
        for (number, zone) in (0_u32..).zip(&config.zones) {
            let folder = folders.number(zone.file.parent().unwrap_or(Path::new("")));
            let name = zone.file.file_name().unwrap_or_default();
            if !config.zone_folders.is_empty() {
                listed.insert((folder, name.to_owned()));
            }
            let key = Key {
                folder,
                listed: Some(number),
                name: name.into(),
            };
            keys.push((key, zone.name.clone()));
        }
        for folder in &config.zone_folders {
            let number = folders.number(&folder.path);
            folders.all[number as usize].whole = true;
            match zones_in(folder, texts) {
                Ok(names) => {
                    for (name, apex) in names {
                        // What a `[[zone]]` names is that entry's.
                        if listed.contains(&(number, name.clone())) {
                            continue;
                        }
                        let key = Key {
                            folder: number,
                            listed: None,
                            name: name.into(),
                        };
                        keys.push((key, apex));
                    }
                }
                Err(found) => mistakes.extend(found),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let folders: Arc<[Folder]> = folders.all.into();
        let lookup = before.map(|before| Earlier::new(before, config, &folders));
        let firsts = first_services(config);
        let candidates = keys.into_iter().map(|(key, apex)| Candidate {
            before: lookup.as_ref().and_then(|l| l.find(&key, &apex)),
            listed: key
                .listed
                .map(|n| (&config.zones[n as usize], firsts[n as usize])),
            key,
            apex,
        });
        Ok(Self {
            candidates: candidates.collect(),
            folders,
        })
    }
}

/// Folders by number.
#[derive(Default)]
struct Folders {
    all: Vec<Folder>,
    numbers: HashMap<PathBuf, u32>,
    last: Option<u32>,
}

impl Folders {
    fn number(&mut self, path: &Path) -> u32 {
        // Entries of one folder mostly stand in a row.
        if let Some(last) = self.last
            && self.all[last as usize].path == path
        {
            return last;
        }
        let next = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(path.to_owned()).or_insert(next);
        if number == next {
            self.all.push(Folder {
                path: path.to_owned(),
                whole: false,
            });
        }
        self.last = Some(number);
        number
    }
}

/// The state before, by the keys of the new one.
struct Earlier<'a> {
    before: Before<'a>,
    config: &'a Config,
    /// Its number of each folder.
    folders: Vec<Option<u32>>,
    firsts: (Vec<u32>, Vec<u32>),
}

impl<'a> Earlier<'a> {
    fn new(before: Before<'a>, config: &'a Config, folders: &[Folder]) -> Self {
        let of = |folder: &Folder| {
            let mut known = before.built.files.folders().iter();
            let at = known.position(|other| other.path == folder.path)?;
            u32::try_from(at).ok()
        };
        Self {
            before,
            config,
            folders: folders.iter().map(of).collect(),
            firsts: (first_services(before.config), first_services(config)),
        }
    }

    /// What was read for the same zone with the same services.
    fn find(&self, key: &Key, apex: &Name) -> Option<&'a Entry> {
        let folder = (*self.folders.get(key.folder as usize)?)?;
        let built = self.before.built;
        let of_file = built.files.find(folder, &key.name).iter();
        let mut same_zone = of_file.filter(|e| e.zone.apex_wire() == apex.as_wire());
        same_zone.find(|entry| {
            let then = services(self.before.config, &self.firsts.0, entry.key.listed);
            let now = services(self.config, &self.firsts.1, key.listed);
            let names = |all: &'a [config::Service]| all.iter().map(|s| &s.name);
            names(then.1).eq(names(now.1)) && (now.1.is_empty() || then.0 == now.0)
        })
    }
}

/// The services of a `[[zone]]`, with the number of the first.
fn services<'a>(
    config: &'a Config,
    firsts: &[u32],
    listed: Option<u32>,
) -> (u32, &'a [config::Service]) {
    let at = listed.map_or(usize::MAX, |listed| listed as usize);
    match (firsts.get(at), config.zones.get(at)) {
        (Some(first), Some(zone)) => (*first, &zone.services),
        _ => (0, &[]),
    }
}

/// Services are numbered over all zones in configuration order, as steering numbers them.
pub(super) fn first_services(config: &Config) -> Vec<u32> {
    let mut first = 0_u32;
    let of = |zone: &config::Zone| {
        let this = first;
        first = first.saturating_add(u32::try_from(zone.services.len()).unwrap_or(u32::MAX));
        this
    };
    config.zones.iter().map(of).collect()
}

/// The zone files in a folder with the zones that their names name.
fn zones_in(
    folder: &config::ZoneFolder,
    texts: &dyn Texts,
) -> Result<Vec<(OsString, Name)>, Diagnostics> {
    let shown = folder.path.display();
    let names = texts.list(&folder.path).map_err(|error| {
        let message = format!("`{shown}` cannot be read: {error}");
        let help = "name a readable folder of zone files";
        folder.at.mistake(message, help)
    })?;
    let mut zones = Vec::with_capacity(names.len());
    let mut mistakes = Diagnostics::default();
    for name in names {
        let Some(text) = apex_text(&name) else {
            continue;
        };
        match apex_of(text) {
            Ok(apex) => zones.push((name, apex)),
            Err(why) => mistakes.0.push(misnamed(&folder.path.join(&name), &why)),
        }
    }
    if !mistakes.is_empty() {
        mistakes.0.sort_by(|a, b| a.file.cmp(&b.file));
        return Err(mistakes);
    }
    if zones.is_empty() {
        // It may be a folder that is not mounted: its zones must not vanish silently.
        let message = format!("`{shown}` holds no zone file");
        let help = "put a file NAME.zone there for each zone NAME, or remove the folder";
        return Err(folder.at.mistake(message, help).into());
    }
    Ok(zones)
}

pub(super) fn misnamed(path: &Path, why: &str) -> Diagnostic {
    let message = format!("the name of this file names no zone: {why}");
    Diagnostic::of_file(
        path,
        message,
        "name it after its zone, or let it not end in .zone",
    )
}
