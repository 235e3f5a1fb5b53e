//! Addresses of the hosts of load pages, by the system's resolver.
//!
//! That resolver blocks a thread until it ends by itself, which takes tens of seconds when its servers are
//! dead, whoever still waits for it. So at most [`LOOKUPS`] go on at the same time, one for each name, and
//! the last answer stands in for one that does not come.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use meridian_config::Config;
use tokio::{
    net::lookup_host,
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};

use super::Clock;

/// Lookups at the same time.
const LOOKUPS: usize = 16;
/// Addresses of a name that are kept, in the resolver's order.
const ADDRESSES: usize = 4;
/// How long an answer may stand in for newer ones.
const KEPT: Duration = Duration::from_secs(3600);

pub(super) type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Names and their addresses.
pub(super) struct Names {
    lookup: fn(String) -> Answer,
    room: Arc<Semaphore>,
    known: Mutex<HashMap<String, Arc<Known>>>,
}

/// A name.
#[derive(Default)]
struct Known {
    /// A lookup has begun and not ended.
    busy: AtomicBool,
    /// The last addresses and when they were told; sent anew by every lookup that ends.
    last: watch::Sender<Option<(Vec<IpAddr>, Instant)>>,
}

impl Default for Names {
    fn default() -> Self {
        Self::new(by_the_system)
    }
}

impl Names {
    pub(super) fn new(lookup: fn(String) -> Answer) -> Self {
        Self {
            lookup,
            room: Arc::new(Semaphore::new(LOOKUPS)),
            known: Mutex::default(),
        }
    }

    /// The addresses of a name; none when neither the resolver nor memory has any. A name whose addresses
    /// are remembered is waited for until half of the time is over, so that something of it is left.
    #[allow(clippy::disallowed_methods)] // a runner: it measures the network
    pub(super) async fn find(&self, host: &str, clock: Clock) -> Vec<IpAddr> {
        let known = self.known().entry(host.to_owned()).or_default().clone();
        // Before the look at `busy`: the end of a lookup that goes on is then heard.
        let mut ended = known.last.subscribe();
        if !known.busy.swap(true, Relaxed) {
            let answer = (self.lookup)(host.to_owned());
            tokio::spawn(look_up(answer, self.room.clone(), known.clone()));
        }
        let now = Instant::now();
        let fresh = |last: &Option<(Vec<IpAddr>, Instant)>| {
            let last = last.as_ref().filter(|(_, at)| now < *at + KEPT);
            last.map(|(addresses, _)| addresses.clone())
        };
        let remembered = fresh(&known.last.borrow());
        let end = match remembered {
            Some(_) => clock.part(2).end,
            None => clock.end,
        };
        let _ = timeout_at(end, ended.changed()).await;
        fresh(&known.last.borrow()).unwrap_or_default()
    }

    /// Forgets names that this configuration does not have.
    pub(super) fn retain(&self, config: &Config) {
        let pages = config.pops.iter();
        let pages = pages.filter_map(|pop| pop.load.as_ref()?.kind.page());
        let hosts: HashSet<&str> = pages.map(|page| page.host.as_str()).collect();
        self.known().retain(|host, _| hosts.contains(host.as_str()));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes on until the resolver ends, though nobody may wait any longer: its thread does as well.
#[allow(clippy::disallowed_methods)] // a runner: it measures the network
async fn look_up(answer: Answer, room: Arc<Semaphore>, known: Arc<Known>) {
    let permit = room.acquire().await;
    let found = answer.await.unwrap_or_default();
    drop(permit);
    known.busy.store(false, Relaxed);
    known.last.send_modify(|last| {
        if !found.is_empty() {
            *last = Some((found, Instant::now()));
        }
    });
}

fn by_the_system(host: String) -> Answer {
    Box::pin(async move {
        let found = lookup_host((host, 0)).await?;
        Ok(found.take(ADDRESSES).map(|found| found.ip()).collect())
    })
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // some moment to count from
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::time::{advance, sleep};

    use super::*;

    fn clock() -> Clock {
        let start = Instant::now();
        let end = start + Duration::from_secs(2);
        Clock { start, end }
    }

    /// `good` is known at once, `bad` has no address, every other name hangs for 30 s and has one then.
    fn lookup(host: String) -> Answer {
        Box::pin(async move {
            match host.as_str() {
                "good" => Ok(vec![[192, 0, 2, 1].into()]),
                "bad" => Err(io::Error::other("no such name")),
                _ => {
                    sleep(Duration::from_secs(30)).await;
                    Ok(vec![[192, 0, 2, 2].into()])
                }
            }
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_asked_once_and_remembered_when_it_ends() {
        let names = Names::new(lookup);
        assert_eq!(names.find("good", clock()).await.len(), 1);
        assert_eq!(names.find("bad", clock()).await.len(), 0);
        for _ in 0..4 {
            let begun = Instant::now();
            assert_eq!(names.find("slow", clock()).await.len(), 0);
            assert_eq!(begun.elapsed(), Duration::from_secs(2));
        }
        assert_eq!(names.room.available_permits(), LOOKUPS - 1, "one lookup");
        sleep(Duration::from_secs(30)).await;
        assert_eq!(names.room.available_permits(), LOOKUPS);
        // Another lookup hangs; what is remembered leaves half of the time.
        let begun = Instant::now();
        assert_eq!(names.find("slow", clock()).await.len(), 1);
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn lookups_are_bounded_until_they_really_end() {
        static OPEN: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        fn counted(_: String) -> Answer {
            Box::pin(async {
                let open = OPEN.fetch_add(1, Relaxed) + 1;
                MOST.fetch_max(open, Relaxed);
                sleep(Duration::from_secs(20)).await;
                OPEN.fetch_sub(1, Relaxed);
                Err(io::Error::other("no server"))
            })
        }
        let names = Arc::new(Names::new(counted));
        for round in 0..10 {
            for number in 0..200 {
                let names = names.clone();
                tokio::spawn(async move { names.find(&format!("n{number}"), clock()).await });
            }
            advance(Duration::from_secs(5)).await;
            tokio::task::yield_now().await;
            assert!(MOST.load(Relaxed) <= LOOKUPS, "round {round}");
        }
        assert_eq!(MOST.load(Relaxed), LOOKUPS);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_stands_in_for_an_hour_while_its_name_is_used() {
        static WORKS: AtomicBool = AtomicBool::new(true);
        fn until_it_breaks(_: String) -> Answer {
            Box::pin(async {
                match WORKS.load(Relaxed) {
                    true => Ok(vec![[192, 0, 2, 1].into()]),
                    false => Err(io::Error::other("no server")),
                }
            })
        }
        let names = Names::new(until_it_breaks);
        assert_eq!(names.find("a", clock()).await.len(), 1);
        WORKS.store(false, Relaxed);
        advance(KEPT - Duration::from_secs(1)).await;
        assert_eq!(names.find("a", clock()).await.len(), 1);
        advance(Duration::from_secs(1)).await;
        assert_eq!(names.find("a", clock()).await.len(), 0);
        names.retain(&crate::testing::config(&[("fra", 1)]));
        assert!(names.known().is_empty());
    }
}
