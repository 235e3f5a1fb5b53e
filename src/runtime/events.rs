//! What happened: a bounded log that people, scripts and the demo follow.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// Events kept for those who ask later; older ones are in the log.
const KEPT: usize = 1000;

/// Events a slow follower may fall behind before it is told that it missed some.
const BACKLOG: usize = 256;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Rises by one with every event of this process.
    pub id: u64,
    /// When.
    pub time: Timestamp,
    /// What kind of thing.
    pub kind: EventKind,
    /// One sentence for people.
    pub message: String,
    /// The PoP concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pop: Option<String>,
    /// The endpoint concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The service concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// Kind of an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The server answers.
    Started,
    /// The server was told to stop.
    Stopping,
    /// The verdict of an endpoint changed.
    Endpoint,
    /// The verdict of a PoP changed.
    Pop,
    /// Clients leave a PoP or come back to it.
    Failover,
    /// A service moved on the ladder (geo, configured order, last resort).
    Steering,
    /// An operator's override was set, removed, or ended.
    Override,
    /// A new configuration is in force.
    Reload,
    /// A new configuration was refused; the old one stays.
    ReloadRefused,
    /// A prefix is announced, made less attractive or withdrawn, or a step on that way.
    Announcement,
    /// A BGP session came up, went down, or said something.
    Peer,
    /// Another binary takes over.
    Upgrade,
    /// Something is unlike its own past, or is as usual again.
    Anomaly,
    /// Something needs an operator.
    Alarm,
}

impl EventKind {
    /// The name in JSON, metrics and on the terminal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopping => "stopping",
            Self::Endpoint => "endpoint",
            Self::Pop => "pop",
            Self::Failover => "failover",
            Self::Steering => "steering",
            Self::Override => "override",
            Self::Reload => "reload",
            Self::ReloadRefused => "reload_refused",
            Self::Announcement => "announcement",
            Self::Peer => "peer",
            Self::Upgrade => "upgrade",
            Self::Anomaly => "anomaly",
            Self::Alarm => "alarm",
        }
    }
}

/// An event about to be recorded; the log adds id and time.
#[derive(Clone, Debug)]
pub struct NewEvent {
    kind: EventKind,
    message: String,
    pop: Option<String>,
    endpoint: Option<String>,
    service: Option<String>,
    is_good: bool,
}

impl NewEvent {
    /// An event about the server as a whole.
    pub fn new(kind: EventKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            pop: None,
            endpoint: None,
            service: None,
            is_good: false,
        }
    }

    /// Good news: not worth a warning in the log.
    #[must_use]
    pub fn good(mut self, is_good: bool) -> Self {
        self.is_good = is_good;
        self
    }

    /// The PoP it is about.
    #[must_use]
    pub fn pop(mut self, name: impl Into<String>) -> Self {
        self.pop = Some(name.into());
        self
    }

    /// The endpoint it is about.
    #[must_use]
    pub fn endpoint(mut self, address: impl ToString) -> Self {
        self.endpoint = Some(address.to_string());
        self
    }

    /// The service it is about.
    #[must_use]
    pub fn service(mut self, name: impl ToString) -> Self {
        self.service = Some(name.to_string());
        self
    }
}

/// The bounded log. Recording never blocks on a follower.
#[derive(Debug)]
pub struct EventLog {
    kept: Mutex<Kept>,
    followers: broadcast::Sender<Event>,
}

#[derive(Debug, Default)]
struct Kept {
    last_id: u64,
    events: VecDeque<Event>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            followers: broadcast::channel(BACKLOG).0,
        }
    }
}

impl EventLog {
    /// Records an event, writes it to the log and tells the followers.
    pub fn record(&self, time: Timestamp, new: NewEvent) {
        let is_good = new.is_good;
        let event = {
            // A panic while holding the lock cannot leave the ring half-written.
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.last_id += 1;
            let event = Event {
                id: kept.last_id,
                time,
                kind: new.kind,
                message: new.message,
                pop: new.pop,
                endpoint: new.endpoint,
                service: new.service,
            };
            if kept.events.len() == KEPT {
                kept.events.pop_front();
            }
            kept.events.push_back(event.clone());
            // Sent under the lock, so that followers see ids in order.
            let _ = self.followers.send(event.clone());
            event
        };
        write_log(&event, is_good);
    }

    /// The last events, oldest first.
    pub fn recent(&self) -> Vec<Event> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.events.iter().cloned().collect()
    }

    /// What was recorded so far and everything from now on, without a gap between them.
    pub fn follow(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (
            kept.events.iter().cloned().collect(),
            self.followers.subscribe(),
        )
    }
}

fn write_log(event: &Event, is_good: bool) {
    let kind = event.kind.as_str();
    let (pop, endpoint, service) = (
        event.pop.as_deref(),
        event.endpoint.as_deref(),
        event.service.as_deref(),
    );
    // Reasons come from operators and from probed hosts: no line of the log may be theirs alone.
    let message = crate::render::one_line(&event.message);
    match event.kind {
        EventKind::Alarm | EventKind::ReloadRefused if !is_good => {
            tracing::error!(kind, pop, endpoint, service, "{message}");
        }
        EventKind::Endpoint
        | EventKind::Pop
        | EventKind::Failover
        | EventKind::Steering
        | EventKind::Announcement
        | EventKind::Peer
        | EventKind::Anomaly
            if !is_good =>
        {
            tracing::warn!(kind, pop, endpoint, service, "{message}");
        }
        _ => tracing::info!(kind, pop, endpoint, service, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_and_the_ring_is_bounded() {
        let log = EventLog::default();
        for i in 0..KEPT + 5 {
            log.record(
                Timestamp::UNIX_EPOCH,
                NewEvent::new(EventKind::Pop, format!("{i}")),
            );
        }
        let events = log.recent();
        assert_eq!(events.len(), KEPT);
        assert_eq!(events.first().map(|e| e.id), Some(6));
        assert!(events.windows(2).all(|w| w[1].id == w[0].id + 1));
    }

    #[test]
    fn following_has_no_gap() {
        let log = EventLog::default();
        log.record(
            Timestamp::UNIX_EPOCH,
            NewEvent::new(EventKind::Started, "a"),
        );
        let (past, mut next) = log.follow();
        log.record(Timestamp::UNIX_EPOCH, NewEvent::new(EventKind::Reload, "b"));
        assert_eq!(past.last().map(|e| e.id), Some(1));
        assert_eq!(next.try_recv().map(|e| e.id), Ok(2));
    }

    #[test]
    fn json_names_match_as_str() {
        for kind in [
            EventKind::Started,
            EventKind::Stopping,
            EventKind::Endpoint,
            EventKind::Pop,
            EventKind::Failover,
            EventKind::Steering,
            EventKind::Override,
            EventKind::Reload,
            EventKind::ReloadRefused,
            EventKind::Announcement,
            EventKind::Peer,
            EventKind::Upgrade,
            EventKind::Anomaly,
            EventKind::Alarm,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
