//! Which zones a change of some files concerns.

use std::{
    collections::HashSet,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use meridian_config::{Config, Diagnostic, Diagnostics};

use super::{
    files::{Entry, Key, ZoneFiles, apex_of, apex_text},
    plan::{first_services, misnamed},
    read::Candidate,
};
use crate::zone::master::Texts;

/// What a change of files comes to.
pub(super) struct Concerned<'a> {
    config: &'a Config,
    files: &'a ZoneFiles,
    texts: &'a dyn Texts,
    firsts: Vec<u32>,
    seen: HashSet<(u32, Option<u32>, &'a OsStr)>,
    mistakes: Diagnostics,
    /// Files to be read.
    pub(super) candidates: Vec<Candidate<'a>>,
    /// What was read from files that are no more.
    pub(super) gone: Vec<&'a Entry>,
}

impl<'a> Concerned<'a> {
    /// The files among `paths`, and those that include one of them.
    ///
    /// # Errors
    /// New files whose name names no zone, and folders that have lost all of theirs.
    pub(super) fn by(
        config: &'a Config,
        files: &'a ZoneFiles,
        paths: &[PathBuf],
        texts: &'a dyn Texts,
    ) -> Result<Self, Diagnostics> {
        let mut this = Self {
            config,
            files,
            texts,
            firsts: first_services(config),
            seen: HashSet::new(),
            mistakes: Diagnostics::default(),
            candidates: Vec::new(),
            gone: Vec::new(),
        };
        this.including(paths);
        for path in paths {
            this.file(path);
        }
        this.emptied();
        match this.mistakes.is_empty() {
            true => Ok(this),
            false => Err(this.mistakes),
        }
    }

    fn including(&mut self, paths: &[PathBuf]) {
        let all = self.files.included();
        let shared: HashSet<&PathBuf> = paths.iter().filter(|path| all.contains(*path)).collect();
        if shared.is_empty() {
            return;
        }
        for entry in self.files.entries() {
            let mut included = entry.included.iter().flat_map(|all| all.iter());
            if included.any(|one| shared.contains(&one.path)) {
                self.again(entry);
            }
        }
    }

    fn file(&mut self, path: &Path) {
        let Some((folder, name)) = self.files.place(path) else {
            return;
        };
        let known = self.files.find(folder, name);
        for entry in known {
            self.again(entry);
        }
        let Some(text) = apex_text(name) else { return };
        if !known.is_empty() || !self.files.is_whole(folder) || self.texts.real(path).is_err() {
            return;
        }
        match apex_of(text) {
            Ok(apex) => self.candidates.push(Candidate {
                key: Key {
                    folder,
                    listed: None,
                    name: name.into(),
                },
                apex,
                listed: None,
                before: None,
            }),
            Err(why) => self.mistakes.0.push(misnamed(path, &why)),
        }
    }

    /// A file that was read before. One that a `[[zone]]` names has to be there.
    fn again(&mut self, entry: &'a Entry) {
        let key = &entry.key;
        if !self.seen.insert((key.folder, key.listed, &*key.name)) {
            return;
        }
        if key.listed.is_none() && self.texts.real(&self.files.path_of(entry)).is_err() {
            self.gone.push(entry);
            return;
        }
        let listed = key.listed.map(|number| number as usize);
        self.candidates.push(Candidate {
            key: key.clone(),
            apex: entry.zone.apex(),
            listed: listed.map(|n| (&self.config.zones[n], self.firsts[n])),
            before: Some(entry),
        });
    }

    /// A folder without its files may be one that has been unmounted: its zones must not vanish
    /// silently.
    fn emptied(&mut self) {
        let folders = (0_u32..).zip(self.files.folders());
        for (number, folder) in folders.filter(|(_, folder)| folder.whole) {
            let here = |entry: &&Entry| entry.key.folder == number;
            let going = self.gone.iter().filter(|entry| here(entry)).count();
            let coming = self.candidates.iter().any(|c| c.key.folder == number);
            if going == 0 || coming {
                continue;
            }
            let mut all = self.files.entries().filter(here);
            if all.nth(going).is_none() {
                let message = "this folder of zones holds no zone file any more";
                let help = "put its files back, or remove it from `zone_folders`";
                let mistake = Diagnostic::of_file(&folder.path, message, help);
                self.mistakes.0.push(mistake);
            }
        }
    }
}
