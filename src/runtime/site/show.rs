//! What the task shows to those who look: one whole value, latest wins.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use meridian_config::ServiceInterface;

use super::{
    run::{Task, clock},
    settings,
    state::Announcements,
    words,
};

/// What is shown is never older.
const SHOWN: Duration = Duration::from_millis(500);

impl Task {
    pub(super) fn is_shown_late(&self) -> bool {
        clock().saturating_duration_since(self.shown_at) >= SHOWN
    }

    /// Publishes what is shown; nobody who looks waits for this task.
    pub(super) fn show(&mut self) {
        self.shown_at = clock();
        let next = self.describe();
        self.state.send_if_modified(|before| {
            let changed = **before != next;
            if changed {
                *before = Arc::new(next);
            }
            changed
        });
    }

    fn describe(&self) -> Announcements {
        let (peers, bfd) = (self.sessions.peers(), self.sessions.bfd());
        let desired = self.controller.desired();
        let explained = self.controller.explain(clock());
        let prefix = |one: &meridian_bgp_control::Explanation| {
            words::prefix(
                one,
                desired.iter().find(|route| route.prefix == one.prefix),
                &peers,
                self.rates.last(one.prefix),
                self.last_probe.get(&one.prefix).cloned(),
            )
        };
        let now = wall_clock();
        let mut alarms: Vec<String> = explained
            .iter()
            .filter(|one| one.alarm)
            .map(|one| {
                let why = one.refusal.as_ref().unwrap_or(&one.why);
                format!("{} is {}: {why}", one.prefix, words::stage_name(one.stage))
            })
            .collect();
        alarms.extend(self.sessions.problem.clone());
        alarms.extend(self.reload_refused.clone());
        alarms.extend(self.interface.problem());
        let (addresses, more) = self.interface.show();
        let mut notes = settings::notes(&self.config);
        notes.extend(more);
        Announcements {
            site: self.site().to_owned(),
            drained: self.drained.is_some(),
            dry_run: self.bgp.dry_run,
            prefixes: explained.iter().map(prefix).collect(),
            blackholes: words::blackholes(&desired),
            peers: peers.iter().map(|p| words::peer(p, &bfd, now)).collect(),
            addresses: match self.bgp.interface {
                ServiceInterface::None => Vec::new(),
                ServiceInterface::Named(_) => addresses,
            },
            notes,
            alarms,
        }
    }
}

#[allow(clippy::disallowed_methods)] // to say how long ago something happened
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
