//! Drain and undrain: kept on disk before they take effect, so that a kill -9 cannot lose one
//! that was acknowledged.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
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
}

/// The overrides in force and where they are kept.
pub struct Store {
    directory: PathBuf,
    current: Mutex<BTreeMap<String, Override>>,
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
        let current = in_force(kept, now);
        (
            Self {
                directory,
                current: Mutex::new(current),
            },
            error,
        )
    }

    /// The overrides as they stand.
    pub fn current(&self) -> BTreeMap<String, Override> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes the map: on disk first, then in memory.
    fn change<T>(
        &self,
        now: SystemTime,
        change: impl FnOnce(&mut BTreeMap<String, Override>) -> Result<T, OverrideError>,
    ) -> Result<(T, BTreeMap<String, Override>), OverrideError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = in_force(current.clone(), now);
        let result = change(&mut next)?;
        file::store(&self.directory, &next).map_err(OverrideError::NotKept)?;
        current.clone_from(&next);
        Ok((result, next))
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
    /// Empties a PoP until `undrain`, or for `duration`.
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
        let ((), all) = self.0.overrides.change(now, |map| {
            map.insert(pop.to_owned(), new.clone());
            Ok(())
        })?;
        self.0.prober.set_overrides(all);
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

    /// Ends a drain.
    ///
    /// # Errors
    /// When the PoP is not drained or the change cannot be kept; nothing has changed then.
    pub fn undrain(&self, pop: &str, who: &str) -> Result<(), OverrideError> {
        // A drain of a PoP that left the configuration can still be removed.
        let ((), all) = self.0.overrides.change(wall_clock(), |map| {
            map.remove(pop)
                .map(drop)
                .ok_or_else(|| OverrideError::NotDrained(pop.to_owned()))
        })?;
        self.0.prober.set_overrides(all);
        let message = format!("{who} ended the drain of {pop}");
        self.record(NewEvent::new(EventKind::Override, message).pop(pop));
        Ok(())
    }

    /// Forgets a drain whose time is over; the prober has dropped it already.
    pub(super) fn override_ended(&self, pop: &str) {
        // Kept or not, it is no longer in force: the next start drops it by its time as well.
        if let Err(error) = self.0.overrides.change(wall_clock(), |_| Ok(())) {
            tracing::warn!(%error, "an ended drain is still in the file");
        }
        let message = format!("the drain of {pop} ended by its time limit");
        self.record(NewEvent::new(EventKind::Override, message).pop(pop));
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
