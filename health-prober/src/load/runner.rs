//! Feeds the book with time, pages and pushes, and hands on what it says. One task, and one short
//! task per page under way.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use meridian_config::Config;
use tokio::{
    sync::{Notify, watch},
    task::{self, JoinError, JoinSet},
    time::sleep_until,
};

use super::{Access, Book, Fault, Fetch, Page};
use crate::{
    HealthSnapshot, KeptLoad, Level, Loads, LocalReason, PushError, Verdict,
    probe::Fetcher,
    runner::{Inbox, now},
};

/// Loads are published at most this often.
const PUBLISH_GAP: Duration = Duration::from_secs(1);

/// Readings of one PoP by outcome.
type Counts = BTreeMap<&'static str, u64>;

/// What the task shares with those who push, reload and scrape.
#[derive(Default)]
pub(crate) struct Shared {
    book: Mutex<Book>,
    readings: Mutex<BTreeMap<String, Counts>>,
    notify: Notify,
    stop: AtomicBool,
}

impl Shared {
    /// Goes over to a configuration, with what was read of the files of its sources.
    pub(crate) fn reload(&self, config: &Config, access: HashMap<String, Access>) {
        let mut book = self.book();
        book.reload(config, access, now().instant);
        let mut readings = self.counts();
        readings.retain(|pop, _| book.pops().any(|known| known == pop));
        drop((book, readings));
        self.notify.notify_one();
    }

    /// Takes a pushed level.
    pub(crate) fn push(&self, pop: &str, level: Level, who: &str) -> Result<(), PushError> {
        self.book().push(pop, level, who, now())?;
        self.notify.notify_one();
        Ok(())
    }

    /// The last level of every source.
    pub(crate) fn keep(&self) -> Vec<KeptLoad> {
        self.book().keep()
    }

    /// Takes up what another process kept.
    pub(crate) fn restore(&self, kept: Vec<KeptLoad>) {
        self.book().restore(kept, now());
        self.notify.notify_one();
    }

    /// Time since the last level of every source that has had one.
    pub(crate) fn ages(&self) -> Vec<(String, Duration)> {
        self.book().ages(now().instant)
    }

    /// The loads of now.
    pub(crate) fn loads(&self, health: &HealthSnapshot) -> Loads {
        let usable = usable(health);
        let share = |pop: &str| usable.get(pop).copied().unwrap_or(1.0);
        self.book().loads(now().instant, share)
    }

    /// Ends the task.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Relaxed);
        self.notify.notify_one();
    }

    /// Readings that ended, by PoP and outcome.
    pub(crate) fn readings(&self) -> BTreeMap<String, Counts> {
        self.counts().clone()
    }

    fn count(&self, pop: &str, result: &Result<(), Fault>) {
        let label = result.as_ref().err().map_or("read", Fault::label);
        let mut counts = self.counts();
        *counts
            .entry(pop.to_owned())
            .or_default()
            .entry(label)
            .or_default() += 1;
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<String, Counts>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that reads loads.
pub(crate) struct LoadRunner {
    shared: Arc<Shared>,
    fetcher: Arc<Fetcher>,
    /// Where passive checks and snapshots are fed.
    inbox: Arc<Inbox>,
    health: watch::Receiver<Arc<HealthSnapshot>>,
    loads: watch::Sender<Arc<Loads>>,
    pages: JoinSet<Result<Page, Fault>>,
    fetches: HashMap<task::Id, (Fetch, Instant)>,
    /// When loads were last put together.
    looked: Option<Instant>,
}

impl LoadRunner {
    pub(crate) fn new(
        shared: Arc<Shared>,
        fetcher: Arc<Fetcher>,
        inbox: Arc<Inbox>,
        health: watch::Receiver<Arc<HealthSnapshot>>,
        loads: watch::Sender<Arc<Loads>>,
    ) -> Self {
        Self {
            shared,
            fetcher,
            inbox,
            health,
            loads,
            pages: JoinSet::new(),
            fetches: HashMap::new(),
            looked: None,
        }
    }

    /// Runs until told to stop. Pages under way are then given up.
    pub(crate) async fn run(mut self) {
        while !self.shared.stop.load(Relaxed) {
            let at = now().instant;
            let (due, wake) = {
                let mut book = self.shared.book();
                let due = book.due(at);
                (due, book.next_wake(at))
            };
            for fetch in due {
                self.start(fetch, at);
            }
            let later = self.publish(at);
            self.wait(wake.into_iter().chain(later).min()).await;
        }
    }

    fn start(&mut self, fetch: Fetch, at: Instant) {
        let (fetcher, page) = (self.fetcher.clone(), fetch.clone());
        let handle = self.pages.spawn(async move { fetcher.fetch(&page).await });
        self.fetches.insert(handle.id(), (fetch, at));
    }

    /// Publishes what is new; when to look again, where it is too early for that.
    fn publish(&mut self, at: Instant) -> Option<Instant> {
        if let Some(next) = self.looked.map(|before| before + PUBLISH_GAP)
            && next > at
        {
            return Some(next);
        }
        self.looked = Some(at);
        let newest = self.shared.loads(&self.health.borrow_and_update());
        if same(&self.loads.borrow(), &newest) {
            return None;
        }
        tell_turns(&self.loads.borrow(), &newest);
        let newest = Arc::new(newest);
        self.inbox.set_loads(newest.clone());
        self.loads.send_replace(newest);
        None
    }

    async fn wait(&mut self, wake: Option<Instant>) {
        let sleep = async {
            match wake {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        // Capacities follow the health of endpoints.
        let idle = self.shared.book().is_empty();
        let health = async {
            if idle || self.health.changed().await.is_err() {
                std::future::pending().await
            }
        };
        tokio::select! {
            Some(ended) = self.pages.join_next_with_id() => self.ended(ended),
            () = self.shared.notify.notified() => {}
            () = health => {}
            () = sleep => {}
        }
    }

    fn ended(&mut self, ended: Result<(task::Id, Result<Page, Fault>), JoinError>) {
        let (id, page) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), Err(Fault::Local(LocalReason::Aborted))),
        };
        let Some((fetch, started)) = self.fetches.remove(&id) else {
            return;
        };
        let (read, observed) = self.shared.book().finish(&fetch, started, page, now());
        if let Err(fault) = &read {
            tracing::debug!(pop = %fetch.pop, url = %fetch.page.url(), %fault, "load not read");
        }
        // Of a source that a reload has taken away nothing is shown any more.
        if self.shared.book().pops().any(|pop| pop == fetch.pop) {
            self.shared.count(&fetch.pop, &read);
        }
        if !observed.is_empty() {
            self.inbox.observe(observed);
        }
    }
}

/// Sources that are in another state than before: worth a line each, as single readings are not.
fn tell_turns(before: &Loads, now: &Loads) {
    for (pop, load) in now {
        let was = before.get(pop).map(|load| load.state);
        if was.is_none_or(|was| was == load.state) {
            continue;
        }
        let (state, source) = (load.state.as_str(), load.source.as_str());
        match &load.problem {
            Some(problem) => tracing::info!(%pop, state, source, %problem, "load source turned"),
            None => tracing::info!(%pop, state, source, "load source turned"),
        }
    }
}

/// Equal but for the ages, which always grow.
fn same(one: &Loads, other: &Loads) -> bool {
    let ageless = |load: &crate::PopLoad| crate::PopLoad {
        age: None,
        ..load.clone()
    };
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|((p1, l1), (p2, l2))| p1 == p2 && l1.at == l2.at && ageless(l1) == ageless(l2))
}

/// The share of each tested PoP's endpoints that is not down, under the check for which it is least.
/// A PoP without any counts as one with a single endpoint: nothing is divided by zero, and nobody is
/// sent there anyway.
fn usable(health: &HealthSnapshot) -> HashMap<&str, f64> {
    let mut shares = HashMap::new();
    for (key, pop) in &health.groups {
        let all = u32::try_from(pop.endpoints.len())
            .unwrap_or(u32::MAX)
            .max(1);
        let down = pop.endpoints.iter().filter(|e| e.verdict == Verdict::Down);
        let up = all - u32::try_from(down.count()).unwrap_or(0).min(all);
        let share = f64::from(up.max(1)) / f64::from(all);
        let least: &mut f64 = shares.entry(key.pop.as_str()).or_insert(1.0);
        *least = least.min(share);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GroupKey, LoadState, PopHealth, PopLoad, testing};

    #[test]
    fn the_share_of_usable_endpoints_under_the_worst_check() {
        use Verdict::{Down, Unknown, Up};
        let endpoint = |verdict| testing::endpoint(1, verdict);
        let group = |pop: &str, check: &str, verdicts: &[Verdict]| {
            let key = GroupKey {
                pop: pop.into(),
                check: check.into(),
            };
            let pop = PopHealth {
                verdict: Up,
                reason: String::new(),
                since: None,
                flips_in: None,
                took: None,
                endpoints: verdicts.iter().copied().map(endpoint).collect(),
            };
            (key, pop)
        };
        let health = HealthSnapshot {
            groups: [
                group("fra", "a", &[Up, Unknown, Down, Up]),
                group("fra", "b", &[Up, Down, Down, Up]),
                group("iad", "a", &[Down, Down]),
                group("nrt", "a", &[]),
            ]
            .into(),
            ..HealthSnapshot::default()
        };
        let found: BTreeMap<_, _> = usable(&health).into_iter().collect();
        assert_eq!(found, [("fra", 0.5), ("iad", 0.5), ("nrt", 1.0)].into());
    }

    #[test]
    fn a_greater_age_is_no_news() {
        let load = |age| PopLoad {
            state: LoadState::Fresh,
            ratio: Some(0.5),
            value: Some(1.0),
            capacity: Some(2.0),
            what: String::new(),
            source: String::new(),
            at: None,
            age: Some(Duration::from_secs(age)),
            problem: None,
        };
        let one: Loads = [("fra".to_owned(), load(1))].into();
        let two: Loads = [("fra".to_owned(), load(2))].into();
        let other: Loads = [("iad".to_owned(), load(2))].into();
        assert!(same(&one, &two) && !same(&one, &other) && !same(&one, &Loads::new()));
    }
}
