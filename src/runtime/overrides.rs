//! Drain and undrain: kept on disk before they take effect, so that a kill -9 cannot lose one
//! that was acknowledged.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use meridian_health_prober::{Override, OverrideKind, overrides as file};

use super::{
    Runtime,
    describe::timestamp,
    events::{EventKind, NewEvent},
};

/// Why an override was not taken.
#[derive(Debug, thiserror::Error)]
pub enum OverrideError {
    /// No PoP of this name.
    #[error("there is no PoP {0:?}; the PoPs are: {1}")]
    NoSuchPop(String, String),
    /// Undrain of a PoP that is not drained.
    #[error("{0} is not drained")]
    NotDrained(String),
    /// Not written, so not in force either.
    #[error("the override could not be kept: {0}")]
    NotKept(file::OverridesError),
    /// Another process has read the file, and would not know of it.
    #[error("an upgrade is handing this server over: ask again in a moment")]
    HandedOver,
}

/// The overrides in force and where they are kept.
pub struct Store {
    directory: PathBuf,
    current: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    overrides: BTreeMap<String, Override>,
    /// A successor goes on with the file: nothing changes here any more.
    closed: bool,
}

impl Store {
    /// Reads what is kept. A file that is damaged or unreadable gives no override and the error, for an alarm.
    pub fn load(directory: PathBuf, now: SystemTime) -> (Self, Option<file::OverridesError>) {
        let (kept, error) = match file::load(&directory) {
            Ok(kept) => (kept, None),
            Err(error) => {
                set_aside(&error);
                (BTreeMap::new(), Some(error))
            }
        };
        let held = Held {
            overrides: in_force(kept, now),
            closed: false,
        };
        (
            Self {
                directory,
                current: Mutex::new(held),
            },
            error,
        )
    }

    /// The overrides as they stand.
    pub fn current(&self) -> BTreeMap<String, Override> {
        self.held().overrides.clone()
    }

    /// Refuses every change from now on, because a successor goes on with the file; or no longer. A change
    /// that has begun is waited for.
    pub fn close(&self, closed: bool) {
        self.held().closed = closed;
    }

    /// Takes what another process has written since, and puts it where `apply` does.
    ///
    /// # Errors
    /// The file cannot be used; what was known stays.
    fn read_again(
        &self,
        now: SystemTime,
        apply: impl FnOnce(BTreeMap<String, Override>),
    ) -> Result<(), file::OverridesError> {
        let mut held = self.held();
        let next = in_force(file::load(&self.directory)?, now);
        held.overrides.clone_from(&next);
        apply(next);
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the map: on disk first, then in memory, then where `apply` puts it. All of that is one
    /// turn, so that of two changes at the same time the later map, which has both, is applied last.
    fn change(
        &self,
        now: SystemTime,
        change: impl FnOnce(&mut BTreeMap<String, Override>) -> Result<(), OverrideError>,
        apply: impl FnOnce(BTreeMap<String, Override>),
    ) -> Result<(), OverrideError> {
        let mut held = self.held();
        if held.closed {
            return Err(OverrideError::HandedOver);
        }
        let mut next = in_force(held.overrides.clone(), now);
        change(&mut next)?;
        file::store(&self.directory, &next).map_err(OverrideError::NotKept)?;
        held.overrides.clone_from(&next);
        apply(next);
        Ok(())
    }
}

/// A damaged file may still tell a person what was drained; the next drain must not write over it.
fn set_aside(error: &file::OverridesError) {
    if let file::OverridesError::Damaged { path, .. } = error {
        let aside = path.with_extension("damaged");
        if let Err(error) = std::fs::rename(path, &aside) {
            tracing::warn!(%error, "the damaged overrides could not be set aside");
        }
    }
}

fn in_force(
    mut overrides: BTreeMap<String, Override>,
    now: SystemTime,
) -> BTreeMap<String, Override> {
    for over in file::expired(&overrides, now) {
        overrides.remove(&over);
    }
    overrides
}

impl Runtime {
    /// Empties a PoP until `undrain`, or for `duration`. Waits for the disk.
    ///
    /// # Errors
    /// When there is no such PoP or the override cannot be kept; nothing has changed then.
    pub fn drain(
        &self,
        pop: &str,
        reason: String,
        duration: Option<Duration>,
        who: &str,
    ) -> Result<Override, OverrideError> {
        self.known(pop)?;
        let now = wall_clock();
        let until = duration.and_then(|d| now.checked_add(d));
        let new = Override {
            kind: OverrideKind::Drain,
            reason,
            since: now,
            until,
        };
        let insert = |map: &mut BTreeMap<_, _>| {
            map.insert(pop.to_owned(), new.clone());
            Ok(())
        };
        self.change_overrides(now, insert)?;
        // Whoever drains anew has seen what was lost.
        self.condition(|condition| condition.overrides_lost = None);
        let end = until.and_then(timestamp).map_or(String::new(), |t| {
            t.strftime(" until %Y-%m-%dT%H:%M:%SZ").to_string()
        });
        let why = if new.reason.is_empty() {
            String::new()
        } else {
            format!(": {}", new.reason)
        };
        self.record(
            NewEvent::new(
                EventKind::Override,
                format!("{who} drained {pop}{end}{why}"),
            )
            .pop(pop),
        );
        Ok(new)
    }

    /// Ends a drain. Waits for the disk.
    ///
    /// # Errors
    /// When the PoP is not drained or the change cannot be kept; nothing has changed then.
    pub fn undrain(&self, pop: &str, who: &str) -> Result<(), OverrideError> {
        // A drain of a PoP that left the configuration can still be removed.
        self.change_overrides(wall_clock(), |map| {
            map.remove(pop)
                .map(drop)
                .ok_or_else(|| OverrideError::NotDrained(pop.to_owned()))
        })?;
        let message = format!("{who} ended the drain of {pop}");
        self.record(NewEvent::new(EventKind::Override, message).pop(pop));
        Ok(())
    }

    /// Takes up what the process before was told while this one began. Waits for the disk.
    pub(super) fn take_up_overrides(&self) {
        let apply = |all| self.0.prober.set_overrides(all);
        if let Err(error) = self.0.overrides.read_again(wall_clock(), apply) {
            let problem = format!(
                "the kept overrides cannot be read again, those of before stay in force: {error}"
            );
            self.condition(|condition| condition.overrides_lost = Some(problem.clone()));
            self.record(NewEvent::new(EventKind::Alarm, problem));
        }
    }

    /// Forgets a drain whose time is over; the prober has dropped it already.
    pub(super) fn override_ended(&self, pop: &str) {
        // Kept or not, it is no longer in force: the next start drops it by its time as well.
        if let Err(error) = self.0.overrides.change(wall_clock(), |_| Ok(()), drop) {
            tracing::warn!(%error, "an ended drain is still in the file");
        }
        let message = format!("the drain of {pop} ended by its time limit");
        self.record(NewEvent::new(EventKind::Override, message).pop(pop));
    }

    fn change_overrides(
        &self,
        now: SystemTime,
        change: impl FnOnce(&mut BTreeMap<String, Override>) -> Result<(), OverrideError>,
    ) -> Result<(), OverrideError> {
        let apply = |all| self.0.prober.set_overrides(all);
        self.0.overrides.change(now, change, apply)
    }

    fn known(&self, pop: &str) -> Result<(), OverrideError> {
        let config = self.config();
        if config.pop_by_name(pop).is_some() {
            return Ok(());
        }
        let names: Vec<_> = config.pops.iter().map(|p| p.name.as_str()).collect();
        Err(OverrideError::NoSuchPop(pop.to_owned(), names.join(", ")))
    }
}

#[allow(clippy::disallowed_methods)] // An operator's deadline is wall-clock time.
pub(super) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(now: SystemTime) -> Override {
        Override {
            kind: OverrideKind::Drain,
            reason: String::new(),
            since: now,
            until: None,
        }
    }

    /// Two drains at the same time: what is applied last has both.
    #[test]
    fn changes_at_the_same_time_are_applied_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let (store, lost) = Store::load(folder.path().to_owned(), SystemTime::UNIX_EPOCH);
        assert!(lost.is_none());
        let applied = Mutex::new(Vec::new());
        let one = |pop: String| {
            let insert = |map: &mut BTreeMap<_, _>| {
                map.insert(pop, drain(SystemTime::UNIX_EPOCH));
                Ok(())
            };
            let apply = |all: BTreeMap<_, _>| {
                // Nobody else's turn begins before this map is where it belongs.
                assert!(store.current.try_lock().is_err());
                applied.lock().unwrap().push(all.len());
            };
            store.change(SystemTime::UNIX_EPOCH, insert, apply).unwrap();
        };
        std::thread::scope(|scope| {
            for number in 0..16 {
                scope.spawn(move || one(format!("p{number}")));
            }
        });
        assert_eq!(*applied.lock().unwrap(), (1..=16).collect::<Vec<_>>());
        assert_eq!(store.current().len(), 16);
        assert_eq!(file::load(folder.path()).unwrap().len(), 16);
    }

    #[test]
    fn what_is_not_kept_is_not_applied() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::load(folder.path().to_owned(), SystemTime::UNIX_EPOCH);
        let gone = |_: &mut BTreeMap<_, _>| Err(OverrideError::NotDrained("fra".to_owned()));
        let refused = store.change(SystemTime::UNIX_EPOCH, gone, |_| unreachable!());
        assert!(matches!(refused, Err(OverrideError::NotDrained(_))));
    }

    #[test]
    fn nothing_changes_once_a_successor_goes_on_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (old, _) = Store::load(folder.path().to_owned(), SystemTime::UNIX_EPOCH);
        let (new, _) = Store::load(folder.path().to_owned(), SystemTime::UNIX_EPOCH);
        let insert = |pop: &str| {
            let pop = pop.to_owned();
            move |map: &mut BTreeMap<_, _>| {
                map.insert(pop, drain(SystemTime::UNIX_EPOCH));
                Ok(())
            }
        };
        // While the new process reads everything else.
        let change = |pop| old.change(SystemTime::UNIX_EPOCH, insert(pop), drop);
        change("fra").unwrap();
        old.close(true);
        assert!(matches!(change("iad"), Err(OverrideError::HandedOver)));
        let mut applied = BTreeMap::new();
        new.read_again(SystemTime::UNIX_EPOCH, |all| applied = all)
            .unwrap();
        assert!(applied.contains_key("fra"));
        assert_eq!(new.current(), applied);
        // It has failed: the old one goes on.
        old.close(false);
        change("iad").unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_read_again_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::load(folder.path().to_owned(), SystemTime::UNIX_EPOCH);
        let insert = |map: &mut BTreeMap<_, _>| {
            map.insert("fra".to_owned(), drain(SystemTime::UNIX_EPOCH));
            Ok(())
        };
        store.change(SystemTime::UNIX_EPOCH, insert, drop).unwrap();
        std::fs::write(folder.path().join(file::FILE), "rotten").unwrap();
        let read = store.read_again(SystemTime::UNIX_EPOCH, |_| unreachable!());
        assert!(read.is_err() && store.current().contains_key("fra"));
    }
}
