//! The prober as others hold it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use meridian_config::Config;
use prometheus::Registry;
use tokio::{
    sync::{broadcast, watch},
    task::JoinHandle,
};

use crate::{
    HealthEvent, HealthSnapshot, KeptLoad, Level, Loads, Override, Prepared, PushError,
    engine::Engine,
    limits::Limits,
    load::{self, LoadCollector, LoadRunner},
    metrics::{HealthCollector, Stats},
    probe::{Fetcher, NetworkProbe},
    runner::{Inbox, Outputs, Runner, now},
};

/// Events kept for a listener that is behind.
const EVENTS: usize = 1024;

/// A running prober. Cheap to clone; when the last clone is dropped, probing ends.
#[derive(Clone)]
pub struct Prober(Arc<Shared>);

struct Shared {
    inbox: Arc<Inbox>,
    probe: Arc<NetworkProbe>,
    snapshots: watch::Receiver<Arc<HealthSnapshot>>,
    events: broadcast::Sender<HealthEvent>,
    stats: Arc<Stats>,
    loads: Arc<load::Shared>,
    fetcher: Arc<Fetcher>,
    newest_loads: watch::Receiver<Arc<Loads>>,
    /// Held while a configuration is handed over, so that two reloads keep their order.
    task: Mutex<Option<[JoinHandle<()>; 2]>>,
}

impl Prober {
    /// Starts probing every target of the configuration, on the current tokio runtime. The first
    /// snapshot, with every verdict Unknown, is there at once; the first probes end within about a
    /// second. Overrides that are over already end at once too, with an event.
    ///
    /// Reads the files that [`Prepared`] speaks of and blocks for that.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and I/O enabled.
    pub fn start(config: Arc<Config>, overrides: BTreeMap<String, Override>) -> Self {
        let limits = Limits::of_this_process();
        let probe = Arc::new(NetworkProbe::new(limits.kept));
        let prepared = Prepared::read(&config);
        probe.prepare(prepared.checks);
        let mut engine = Engine::new(limits.in_flight, now().instant);
        engine.set_overrides(overrides);
        engine.reload(&config, now());
        let (sender, snapshots) = watch::channel(engine.snapshot(now().instant));
        let (events, _) = broadcast::channel(EVENTS);
        let stats = Arc::new(Stats::default());
        let inbox = Arc::new(Inbox::default());
        let outputs = Outputs {
            snapshots: sender,
            events: events.clone(),
            stats: stats.clone(),
        };
        let runner = Runner::new(engine, probe.clone(), inbox.clone(), outputs);
        let (loads, fetcher) = (
            Arc::new(load::Shared::default()),
            Arc::new(Fetcher::default()),
        );
        loads.reload(&config, prepared.pages);
        let first = Arc::new(loads.loads(&snapshots.borrow()));
        inbox.set_loads(first.clone());
        let (sender, newest_loads) = watch::channel(first);
        let reader = LoadRunner::new(
            loads.clone(),
            fetcher.clone(),
            inbox.clone(),
            snapshots.clone(),
            sender,
        );
        let task = [
            tokio::spawn(watched("probing", runner.run())),
            tokio::spawn(watched("reading loads", reader.run())),
        ];
        let task = Mutex::new(Some(task));
        Self(Arc::new(Shared {
            inbox,
            probe,
            snapshots,
            events,
            stats,
            loads,
            fetcher,
            newest_loads,
            task,
        }))
    }

    /// Goes over to another configuration. Targets whose check and address stay keep verdict,
    /// counters and connections; a target whose check changed keeps its verdict until the new
    /// check decides. A snapshot with the new targets follows at once.
    ///
    /// `prepared` is what its files hold; what of it could not be read stays as it was before. Call
    /// [`crate::validate`] first, to refuse a configuration whose files cannot be read.
    pub fn reload(&self, config: Arc<Config>, prepared: Prepared) {
        let _in_order = self.0.task.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.probe.prepare(prepared.checks);
        self.0.fetcher.retain(&config);
        self.0.loads.reload(&config, prepared.pages);
        self.0.inbox.reload(config);
    }

    /// Puts these overrides in place of all earlier ones. A snapshot follows at once.
    pub fn set_overrides(&self, overrides: BTreeMap<String, Override>) {
        self.0.inbox.set_overrides(overrides);
    }

    /// The latest snapshot, and a wake-up for each newer one. A reader that is slow skips
    /// snapshots and always gets the newest.
    pub fn subscribe(&self) -> watch::Receiver<Arc<HealthSnapshot>> {
        self.0.snapshots.clone()
    }

    /// The newest loads, and a wake-up for each change, at most once a second.
    pub fn loads(&self) -> watch::Receiver<Arc<Loads>> {
        self.0.newest_loads.clone()
    }

    /// The loads of this very moment, published or not.
    pub fn newest_loads(&self) -> Loads {
        self.0.loads.loads(&self.0.snapshots.borrow())
    }

    /// Takes a load for a PoP with `load = { push = true }` from `who`. It is fresh for three of
    /// the source's intervals, as one that was read.
    ///
    /// # Errors
    /// The PoP does not take it; nothing changed.
    pub fn push_load(&self, pop: &str, level: Level, who: &str) -> Result<(), PushError> {
        self.0.loads.push(pop, level, who)
    }

    /// The last level of every load source, for another process to take up.
    pub fn keep_loads(&self) -> Vec<KeptLoad> {
        self.0.loads.keep()
    }

    /// Takes up levels that another process kept: of sources that count the same, as old as they are,
    /// and only where nothing newer is known.
    pub fn restore_loads(&self, kept: Vec<KeptLoad>) {
        self.0.loads.restore(kept);
    }

    /// Verdict changes from now on. A reader that is more than 1,024 events behind loses the
    /// oldest.
    pub fn events(&self) -> broadcast::Receiver<HealthEvent> {
        self.0.events.subscribe()
    }

    /// Adds the prober's metrics to a registry.
    ///
    /// # Errors
    /// When they are in it already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let stats = self.0.stats.clone();
        registry.register(Box::new(HealthCollector::new(
            stats,
            self.subscribe(),
            self.0.probe.certificates(),
        )?))?;
        let collector = LoadCollector::new(self.0.loads.clone(), self.loads())?;
        registry.register(Box::new(collector))
    }

    /// Ends probing, for all clones, and waits for its end. Probes under way are given up.
    pub async fn shutdown(self) {
        self.0.inbox.stop();
        self.0.loads.stop();
        let task = self
            .0
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        for task in task.into_iter().flatten() {
            // It ends by itself; a panic in it has been reported by the runtime.
            let _ = task.await;
        }
    }
}

/// Says so if probing ends by a defect: verdicts then stay as they are, which must not go unnoticed.
/// Receivers of snapshots see their channel closed.
async fn watched(what: &'static str, run: impl Future<Output = ()> + Send + 'static) {
    if tokio::spawn(run).await.is_err() {
        tracing::error!("{what} has ended by a defect; verdicts and loads stay as they are");
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.inbox.stop();
        self.loads.stop();
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::{GroupKey, Verdict, testing};

    fn config(port: u16, pops: &[(&str, u8)]) -> Arc<Config> {
        let mut config = testing::config(pops);
        config.checks[0].port = port;
        config.checks[0].interval = std::time::Duration::from_millis(100);
        Arc::new(config)
    }

    async fn wait_for(prober: &Prober, pop: &str, verdict: Option<Verdict>) {
        let key = GroupKey {
            pop: pop.into(),
            check: "edge".into(),
        };
        let mut snapshots = prober.subscribe();
        let seen = snapshots.wait_for(|s| s.groups.get(&key).map(|pop| pop.verdict) == verdict);
        seen.await.unwrap();
    }

    fn metrics(registry: &Registry) -> String {
        prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap()
    }

    /// The whole of it over real sockets: up, down, back, reload, drain, end.
    #[tokio::test]
    async fn a_life() {
        let (_kept, address) = crate::testing::keep_port([0, 0, 0, 0]);
        let listener = TcpListener::bind(address).await.unwrap();
        let prober = Prober::start(
            config(address.port(), &[("fra", 2), ("iad", 1)]),
            BTreeMap::new(),
        );
        let first = prober.subscribe().borrow().clone();
        assert_eq!(first.groups.len(), 2);
        assert!(
            first
                .groups
                .values()
                .all(|pop| pop.verdict == Verdict::Unknown)
        );
        let mut events = prober.events();
        let registry = Registry::new();
        prober.register(&registry).unwrap();
        assert!(prober.register(&registry).is_err());

        wait_for(&prober, "fra", Some(Verdict::Up)).await;
        wait_for(&prober, "iad", Some(Verdict::Up)).await;
        drop(listener);
        wait_for(&prober, "iad", Some(Verdict::Down)).await;
        let text = metrics(&registry);
        assert!(text.contains("meridian_pop_up{pop=\"iad\"} 0"), "{text}");
        assert!(
            text.contains("endpoint=\"127.0.1.1\",outcome=\"refused\""),
            "{text}"
        );

        prober.reload(config(address.port(), &[("fra", 2)]), Prepared::default());
        wait_for(&prober, "iad", None).await;
        assert!(!metrics(&registry).contains("iad"));
        let _listener = TcpListener::bind(address).await.unwrap();
        wait_for(&prober, "fra", Some(Verdict::Up)).await;
        assert!(events.try_recv().is_ok());

        let mut snapshots = prober.clone().subscribe();
        prober.clone().shutdown().await;
        snapshots.mark_unchanged();
        assert!(snapshots.changed().await.is_err());
        drop(prober);
    }

    #[tokio::test]
    async fn dropping_the_last_clone_ends_it() {
        let prober = Prober::start(config(9, &[("fra", 1)]), BTreeMap::new());
        let mut snapshots = prober.subscribe();
        drop(prober);
        while snapshots.changed().await.is_ok() {}
    }
}
