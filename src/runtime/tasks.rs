//! The tasks of a running server: each takes something from one side and hands it to the other.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use meridian_health_prober::{HealthEvent, HealthSnapshot, Verdict};
use tokio::{
    sync::{broadcast, watch as channel},
    time::MissedTickBehavior,
};

use super::{
    Cause, Runtime,
    describe::verdict_name,
    events::{EventKind, NewEvent},
    reload::refused_zones,
    watch::{Seen, Watch},
};

impl Runtime {
    /// Starts all of them; they end with the server.
    pub(super) fn spawn_tasks(&self) {
        let health = self.0.prober.subscribe();
        let events = self.0.prober.events();
        self.spawn("publishing verdicts", self.clone().publish_health(health));
        self.spawn("telling verdicts", self.clone().tell_verdicts(events));
        self.spawn("watching files", self.clone().follow_files());
        self.spawn("watching for anomalies", self.clone().watch_anomalies());
    }

    /// Starts the ticks: last, when there is something that measures.
    pub(super) fn spawn_ticks(&self) {
        self.spawn("steering by measurements", self.clone().keep_standing());
        self.spawn("counting TTLs down", self.clone().count_down());
    }

    /// A task for as long as the server runs. Should a defect of ours end it, that is an alarm: the rest goes
    /// on, and nobody would notice.
    pub(super) fn spawn(
        &self,
        what: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let (stop, runtime) = (self.0.stop.clone(), self.clone());
        let task = tokio::spawn(async move { stop.run_until_cancelled(task).await });
        self.0.tasks.spawn(async move {
            if task.await.is_err_and(|error| error.is_panic()) {
                runtime.has_ended(what);
            }
        });
    }

    /// Tells that something has ended which only the server's end should end.
    fn has_ended(&self, what: &'static str) {
        let problem = format!("{what} has ended by a defect of Meridian: restart the server");
        self.condition(|condition| condition.ended.push(problem.clone()));
        self.record(NewEvent::new(EventKind::Alarm, problem));
    }

    /// Every new health snapshot becomes a new snapshot of the DNS plane; latest wins, so nothing
    /// can pile up.
    async fn publish_health(self, mut health: channel::Receiver<Arc<HealthSnapshot>>) {
        // The first value may have been published before we looked.
        health.mark_changed();
        while health.changed().await.is_ok() {
            let _turn = self.0.publishing.lock().await;
            let newest = health.borrow_and_update().clone();
            if self.0.publisher.health(newest, &self.teller()) {
                self.0.moving.wake();
            }
        }
        // It ends only with the server, or by a mistake of ours.
        self.has_ended("probing, so that verdicts stay as they are,");
    }

    /// While a verdict may flip soon, TTLs say so more shortly with each second. Nothing is published for
    /// that: the view in force is told how old its health is.
    async fn count_down(self) {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = seconds.tick().await;
            self.0.publisher.grow_older(now.into_std());
        }
    }

    async fn tell_verdicts(self, mut events: broadcast::Receiver<HealthEvent>) {
        loop {
            match events.recv().await {
                Ok(event) => self.tell_health(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(
                        missed,
                        "verdict changes came faster than they could be told"
                    );
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    fn tell_health(&self, event: HealthEvent) {
        match event {
            HealthEvent::Endpoint {
                pop,
                check,
                address,
                from,
                to,
                reason,
                ..
            } => {
                let change = Change {
                    check: &check,
                    from,
                    to,
                    reason: &reason,
                };
                self.record(endpoint_event(&pop, address, &change));
            }
            HealthEvent::Pop {
                pop,
                check,
                from,
                to,
                reason,
                ..
            } => {
                let change = Change {
                    check: &check,
                    from,
                    to,
                    reason: &reason,
                };
                self.record(pop_event(&pop, &change));
            }
            HealthEvent::Silence {
                pop,
                check,
                silent,
                reason,
                ..
            } => self.record(silence_event(&pop, &check, silent, &reason)),
            HealthEvent::OverrideEnded { pop, .. } => {
                let runtime = self.clone();
                // It waits for the disk.
                self.0
                    .tasks
                    .spawn_blocking(move || runtime.override_ended(&pop));
            }
        }
    }

    async fn follow_files(self) {
        let mut watch = Watch::start();
        let (loaded, _) = self.0.publisher.inputs();
        if loaded.last_good {
            let began = loaded.at.into();
            let refused = refused_zones(loaded, began).await;
            self.0.reload.lock().await.refused = refused;
        }
        loop {
            let (watched, known) = {
                let looked = self.0.reload.lock().await;
                (self.watched(&looked.also), looked.known())
            };
            // The mistakes are in log, events, metrics and status.
            match watch.changed(&watched, &known).await {
                Seen::Zones(paths) => drop(self.reload_zones(paths).await),
                // A signal or the API may have loaded the same change meanwhile.
                Seen::Files(seen) if self.0.reload.lock().await.signature == seen => {}
                Seen::Files(_) => drop(self.reload(Cause::FileChange).await),
            }
        }
    }
}

fn endpoint_event(pop: &str, address: IpAddr, change: &Change<'_>) -> NewEvent {
    let message = format!("{pop} {address} {change}");
    NewEvent::new(EventKind::Endpoint, message)
        .pop(pop)
        .endpoint(address)
        .good(change.to.is_usable())
}

fn pop_event(pop: &str, change: &Change<'_>) -> NewEvent {
    NewEvent::new(EventKind::Pop, format!("{pop} {change}"))
        .pop(pop)
        .good(change.to.is_usable())
}

fn silence_event(pop: &str, check: &str, silent: bool, reason: &str) -> NewEvent {
    let turned = match silent {
        true => "is silent and does not count beside other checks",
        false => "counts again",
    };
    NewEvent::new(
        EventKind::Pop,
        format!("{pop} check {check} {turned}: {reason}"),
    )
    .pop(pop)
    .good(!silent)
}

/// A change of a verdict in words.
struct Change<'a> {
    check: &'a str,
    from: Verdict,
    to: Verdict,
    reason: &'a str,
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (verdict_name(self.from), verdict_name(self.to));
        write!(
            f,
            "is {to}, was {from} (check {}): {}",
            self.check, self.reason
        )
    }
}
