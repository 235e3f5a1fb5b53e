//! How many TCP connections there are, and which one goes when there are too many.
//!
//! At the limit a newcomer is served and another connection is closed for it: refusing newcomers
//! would let whoever holds all places keep everybody else out for as long as the idle timeout. The
//! one that goes belongs to the client that holds the most; among those of that client, one that
//! never asked anything before one that did, one that waits before one whose answers are being
//! written, and then the one that has been without progress longest. So a single client that opens
//! connections without end closes its own.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// A closed connection gives its place back within moments.
const HANDOVER: Duration = Duration::from_secs(1);

/// All open connections of all listen addresses.
#[derive(Debug)]
pub(super) struct Connections {
    places: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    began: Instant,
}

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Rises with every connection.
    id: u64,
    client: IpAddr,
    asked: AtomicBool,
    writing: AtomicBool,
    /// Milliseconds since the beginning of [`Connections`].
    progress: AtomicU64,
    /// Cancelled when the connection has to make room.
    pub(super) evicted: CancellationToken,
}

/// A place among the connections, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    all: Arc<Connections>,
    connection: Arc<Connection>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    /// Room for `limit` connections.
    pub(super) fn new(limit: usize, now: Instant) -> Arc<Self> {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            places: Arc::new(Semaphore::new(limit)),
            open: Mutex::default(),
            next: AtomicU64::new(0),
            began: now,
        })
    }

    /// A place for a connection of `client`, made by closing another one where there is none;
    /// `crowded` is called then. `None` when even that gave none in time.
    pub(super) async fn place(
        self: &Arc<Self>,
        client: IpAddr,
        now: Instant,
        crowded: impl FnOnce(),
    ) -> Option<Place> {
        let permit = match self.places.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                crowded();
                self.evict();
                let wait = self.places.clone().acquire_owned();
                tokio::time::timeout(HANDOVER, wait).await.ok()?.ok()?
            }
        };
        let id = self.next.fetch_add(1, Relaxed);
        let connection = Arc::new(Connection {
            id,
            client: block(client),
            asked: AtomicBool::new(false),
            writing: AtomicBool::new(false),
            progress: AtomicU64::new(self.milliseconds(now)),
            evicted: CancellationToken::new(),
        });
        self.open().insert(id, connection.clone());
        Some(Place {
            all: self.clone(),
            connection,
            _permit: permit,
        })
    }

    fn evict(&self) {
        let open = self.open();
        if let Some(victim) = victim(open.values()) {
            victim.evicted.cancel();
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Place {
    /// What can close this connection.
    pub(super) fn evicted(&self) -> &CancellationToken {
        &self.connection.evicted
    }

    /// Notes how the conversation goes.
    pub(super) fn note(&self, asked: bool, writing: bool, now: Instant) {
        let connection = &self.connection;
        if asked {
            connection.asked.store(true, Relaxed);
            connection
                .progress
                .store(self.all.milliseconds(now), Relaxed);
        }
        connection.writing.store(writing, Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.open().remove(&self.connection.id);
    }
}

/// The connection that goes first.
fn victim<'a>(open: impl Iterator<Item = &'a Arc<Connection>> + Clone) -> Option<&'a Connection> {
    let mut held: HashMap<IpAddr, usize> = HashMap::new();
    for connection in open.clone() {
        *held.entry(connection.client).or_default() += 1;
    }
    open.filter(|connection| !connection.evicted.is_cancelled())
        .min_by_key(|connection| {
            (
                std::cmp::Reverse(held.get(&connection.client).copied()),
                connection.asked.load(Relaxed),
                connection.writing.load(Relaxed),
                connection.progress.load(Relaxed),
                connection.id,
            )
        })
        .map(|connection| &**connection)
}

/// A host has a /64 of IPv6 to choose its address from.
fn block(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(client: &str, asked: bool, writing: bool, progress: u64) -> Arc<Connection> {
        Arc::new(Connection {
            id: 0,
            client: block(client.parse().unwrap()),
            asked: asked.into(),
            writing: writing.into(),
            progress: progress.into(),
            evicted: CancellationToken::new(),
        })
    }

    fn goes_first(open: &[Arc<Connection>]) -> usize {
        let first = victim(open.iter()).unwrap();
        open.iter()
            .position(|one| std::ptr::eq(&raw const **one, first))
            .unwrap()
    }

    #[test]
    fn who_holds_most_loses_one() {
        let quiet = connection("192.0.2.1", false, false, 0);
        let greedy = |progress| connection("192.0.2.2", true, true, progress);
        assert_eq!(goes_first(&[quiet, greedy(7), greedy(5), greedy(6)]), 2);
    }

    #[test]
    fn silent_before_idle_before_busy_and_the_oldest_of_each() {
        let of = |asked, writing, progress| connection("192.0.2.1", asked, writing, progress);
        let mut open = vec![
            of(true, true, 1),
            of(true, false, 9),
            of(true, false, 2),
            of(false, false, 8),
            of(false, false, 3),
        ];
        for expect in [4, 3, 2, 1, 0] {
            assert_eq!(goes_first(&open), expect);
            open.remove(expect);
        }
    }

    #[test]
    fn one_that_already_goes_is_not_chosen_again() {
        let one = connection("192.0.2.1", false, false, 0);
        let two = connection("192.0.2.1", false, false, 1);
        one.evicted.cancel();
        assert_eq!(goes_first(&[one.clone(), two.clone()]), 1);
        two.evicted.cancel();
        assert!(victim([one, two].iter()).is_none());
    }

    #[test]
    fn addresses_of_one_ipv6_host_count_together() {
        assert_eq!(
            block("2001:db8::1".parse().unwrap()),
            block("2001:db8::ffff:2".parse().unwrap())
        );
        assert_ne!(
            block("2001:db8::1".parse().unwrap()),
            block("2001:db8:0:1::1".parse().unwrap())
        );
    }
}
