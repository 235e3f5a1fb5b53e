//! Looks once a minute, and tells what the monitor finds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use meridian_health_prober::{HealthSnapshot, LoadState, Loads, Verdict};
use tokio::time::{MissedTickBehavior, interval};

use super::{AnomalyMetrics, Board, Kind, Monitor, News, Observed, told};
use crate::runtime::{
    Runtime, describe,
    events::{EventKind, NewEvent},
};

/// Time between two looks.
const MINUTE: Duration = Duration::from_secs(60);

impl Runtime {
    /// Watches for what is unlike its own past, until the server ends.
    pub(in crate::runtime) async fn watch_anomalies(self) {
        let metrics = match AnomalyMetrics::new(&self.0.registry) {
            Ok(metrics) => metrics,
            // The names are constants, registered once.
            Err(error) => return tracing::error!(%error, "anomalies are not watched"),
        };
        let (mut monitor, mut board) = (Monitor::default(), Board::default());
        let mut clock = interval(MINUTE);
        // After a pause of the machine a minute is longer, and counts as one.
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            let limits = self.0.publisher.inputs().0.config.anomalies;
            let news = monitor.step(self.observe(), &limits);
            let in_force = monitor.in_force();
            metrics.set(&news, &in_force);
            let shown = board.take(&news, &in_force, Timestamp::now());
            self.0.anomalies.store(Arc::new(shown));
            let (news, rest) = told(news);
            for one in news {
                self.record(event(one));
            }
            if rest > 0 {
                let message = format!("{rest} more anomalies began or ended in this minute");
                self.record(NewEvent::new(EventKind::Anomaly, message));
            }
        }
    }

    fn observe(&self) -> Observed {
        let (loaded, health) = self.0.publisher.inputs();
        let config = &loaded.config;
        let mut out = BTreeSet::new();
        for (id, pop) in (0_u16..).zip(&config.pops) {
            let state = describe::state(config, &health, meridian_config::PopId(id));
            if !state.is_usable() {
                out.insert(Arc::from(pop.name.as_str()));
            }
        }
        let mut observed = Observed {
            health: usable(&health),
            loads: loads(&self.0.prober.newest_loads()),
            out,
            ..Observed::default()
        };
        for ((service, pop), count) in self.0.dns_metrics.answers() {
            *observed.services.entry(service).or_default() += count;
            if !pop.is_empty() {
                *observed.pops.entry(pop).or_default() += count;
            }
        }
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
        // The bundled data is as old as the binary; only an upgrade renews it.
        let files = loaded.clients.databases().iter();
        for database in files.filter(|d| !config.geo.city.is_empty() || d.level == "asn") {
            let age = now.saturating_sub(database.build_epoch);
            let name = database.file.display().to_string();
            observed.geo.insert(name.into(), age);
        }
        observed
    }
}

/// The share of each tested PoP's endpoints that is not down; the worst of its checks.
fn usable(health: &HealthSnapshot) -> BTreeMap<Arc<str>, f64> {
    let mut shares = BTreeMap::new();
    for (key, pop) in &health.groups {
        let all = u32::try_from(pop.endpoints.len()).unwrap_or(u32::MAX);
        let down = pop.endpoints.iter().filter(|e| e.verdict == Verdict::Down);
        let up = all.saturating_sub(u32::try_from(down.count()).unwrap_or(u32::MAX));
        let share = f64::from(up) / f64::from(all.max(1));
        let least = shares.entry(Arc::from(key.pop.as_str())).or_insert(1.0_f64);
        *least = least.min(share);
    }
    shares
}

fn loads(loads: &Loads) -> BTreeMap<Arc<str>, Result<(), String>> {
    let one = |(pop, load): (&String, &meridian_health_prober::PopLoad)| {
        let known = match load.state {
            LoadState::Unknown => Err(load
                .problem
                .clone()
                .unwrap_or_else(|| "nothing was pushed lately".to_owned())),
            LoadState::Fresh | LoadState::Stale => Ok(()),
        };
        (Arc::from(pop.as_str()), known)
    };
    loads.iter().map(one).collect()
}

fn event(news: News) -> NewEvent {
    let event = NewEvent::new(EventKind::Anomaly, news.message).good(!news.begins);
    match news.kind {
        Kind::Queries => event.service(news.subject),
        Kind::Share | Kind::Health | Kind::Load => event.pop(&*news.subject),
        Kind::Geo => event,
    }
}
