//! How many TCP connections there are, and which one goes when there are too many.
//!
//! At a limit a newcomer is served and another connection is closed for it: refusing newcomers would
//! let whoever holds all places keep everybody else out for as long as the idle timeout.
//!
//! * A client at its own limit loses one of its own.
//! * At the limit of all, the one that goes belongs to the client that holds the most.
//!
//! Among the connections of that client, one that never asked anything goes before one that did, one
//! that waits before one whose answers are being written, and then the one that has been without
//! progress longest. So whoever opens connections without end closes its own.
//!
//! Nothing here walks over all connections: clients stand in the order of how many they hold, and of
//! the connections of one client at most [`LOOKED_AT`] are compared, the oldest first. When every
//! client holds only one, the oldest of all are compared. A client is in the table only while it
//! holds a connection, so the table is bounded by the limit.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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
/// Connections compared to find the one that goes.
const LOOKED_AT: usize = 64;

/// All open connections of all listen addresses.
#[derive(Debug)]
pub(super) struct Connections {
    places: Arc<Semaphore>,
    per_client: usize,
    open: Mutex<Open>,
    next: AtomicU64,
    began: Instant,
}

/// Who holds what.
#[derive(Debug, Default)]
struct Open {
    all: BTreeMap<u64, Arc<Connection>>,
    /// By client the numbers of its connections, which rise with age.
    clients: HashMap<IpAddr, BTreeSet<u64>>,
    /// Clients by how many they hold.
    ranks: BTreeSet<(usize, IpAddr)>,
}

/// What is known of one connection.
#[derive(Debug)]
struct Connection {
    /// Rises with every connection.
    id: u64,
    client: IpAddr,
    asked: AtomicBool,
    writing: AtomicBool,
    /// Milliseconds since the beginning of [`Connections`].
    progress: AtomicU64,
    /// Cancelled when the connection has to make room.
    evicted: CancellationToken,
}

/// A place among the connections, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    all: Arc<Connections>,
    connection: Arc<Connection>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    /// Room for `limit` connections, `per_client` of one client.
    pub(super) fn new(limit: usize, per_client: usize, now: Instant) -> Arc<Self> {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            places: Arc::new(Semaphore::new(limit)),
            per_client: per_client.max(1),
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
        let client = host(client);
        let own = self.open().goes_first_of(client, self.per_client);
        let permit = match (own, self.places.clone().try_acquire_owned()) {
            (None, Ok(permit)) => permit,
            (Some(own), Ok(permit)) => {
                crowded();
                own.evicted.cancel();
                permit
            }
            (own, Err(_)) => {
                crowded();
                if let Some(victim) = own.or_else(|| self.open().goes_first()) {
                    victim.evicted.cancel();
                }
                let wait = self.places.clone().acquire_owned();
                tokio::time::timeout(HANDOVER, wait).await.ok()?.ok()?
            }
        };
        let connection = Arc::new(Connection {
            id: self.next.fetch_add(1, Relaxed),
            client,
            asked: AtomicBool::new(false),
            writing: AtomicBool::new(false),
            progress: AtomicU64::new(self.milliseconds(now)),
            evicted: CancellationToken::new(),
        });
        self.open().add(connection.clone());
        Some(Place {
            all: self.clone(),
            connection,
            _permit: permit,
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Open {
    fn add(&mut self, connection: Arc<Connection>) {
        let (id, client) = (connection.id, connection.client);
        self.all.insert(id, connection);
        let held = self.clients.entry(client).or_default();
        self.ranks.remove(&(held.len(), client));
        held.insert(id);
        self.ranks.insert((held.len(), client));
    }

    /// Of a connection that was closed, or is as good as closed.
    fn remove(&mut self, connection: &Connection) {
        let (id, client) = (connection.id, connection.client);
        self.all.remove(&id);
        let Some(held) = self.clients.get_mut(&client) else {
            return;
        };
        self.ranks.remove(&(held.len(), client));
        held.remove(&id);
        match held.len() {
            0 => drop(self.clients.remove(&client)),
            left => drop(self.ranks.insert((left, client))),
        }
    }

    /// Makes room among the connections of a client that holds `limit` of them.
    fn goes_first_of(&mut self, client: IpAddr, limit: usize) -> Option<Arc<Connection>> {
        let held = self
            .clients
            .get(&client)
            .filter(|held| held.len() >= limit)?;
        let victim = least_of(held.iter().filter_map(|id| self.all.get(id)))?;
        self.remove(&victim);
        Some(victim)
    }

    /// Makes room among all.
    fn goes_first(&mut self) -> Option<Arc<Connection>> {
        let &(most, client) = self.ranks.last()?;
        let victim = match self.clients.get(&client) {
            Some(held) if most > 1 => least_of(held.iter().filter_map(|id| self.all.get(id))),
            _ => least_of(self.all.values()),
        }?;
        self.remove(&victim);
        Some(victim)
    }
}

/// The one that is missed least, of the first few.
fn least_of<'a>(some: impl Iterator<Item = &'a Arc<Connection>>) -> Option<Arc<Connection>> {
    let first = some.take(LOOKED_AT).min_by_key(|connection| {
        (
            connection.asked.load(Relaxed),
            connection.writing.load(Relaxed),
            connection.progress.load(Relaxed),
            connection.id,
        )
    });
    first.cloned()
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
        self.all.open().remove(&self.connection);
    }
}

/// A host has a /64 of IPv6 to choose its address from.
fn host(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn connection(
        id: u64,
        client: &str,
        (asked, writing, progress): (bool, bool, u64),
    ) -> Arc<Connection> {
        Arc::new(Connection {
            id,
            client: host(client.parse().unwrap()),
            asked: asked.into(),
            writing: writing.into(),
            progress: progress.into(),
            evicted: CancellationToken::new(),
        })
    }

    fn open(connections: impl IntoIterator<Item = Arc<Connection>>) -> Open {
        let mut open = Open::default();
        connections.into_iter().for_each(|one| open.add(one));
        open
    }

    #[test]
    fn who_holds_most_loses_one() {
        let greedy = |id, progress| connection(id, "192.0.2.2", (true, true, progress));
        let quiet = connection(0, "192.0.2.1", (false, false, 0));
        let mut open = open([quiet, greedy(1, 7), greedy(2, 5), greedy(3, 6)]);
        let gone = [(); 4].map(|()| open.goes_first().unwrap().id);
        // When both hold one, the silent one goes.
        assert_eq!(gone, [2, 3, 0, 1]);
        assert!(open.goes_first().is_none());
    }

    #[test]
    fn silent_before_idle_before_busy_and_the_oldest_of_each() {
        let states = [
            (true, true, 1),
            (true, false, 9),
            (true, false, 2),
            (false, false, 8),
            (false, false, 3),
        ];
        let all = (0..).zip(states);
        let mut open = open(all.map(|(id, state)| connection(id, "192.0.2.1", state)));
        let gone = [(); 5].map(|()| open.goes_first().unwrap().id);
        assert_eq!(gone, [4, 3, 2, 1, 0]);
    }

    #[test]
    fn a_client_at_its_limit_loses_its_own() {
        let of = |id, client| connection(id, client, (true, false, id));
        let mut open = open([
            of(0, "192.0.2.1"),
            of(1, "2001:db8::1"),
            of(2, "2001:db8::2"),
        ]);
        // Addresses of one IPv6 host count together.
        let client = host("2001:db8::ffff:9".parse().unwrap());
        assert!(open.goes_first_of(client, 3).is_none());
        assert_eq!(open.goes_first_of(client, 2).unwrap().id, 1);
        assert!(open.goes_first_of(client, 2).is_none());
        let other = host("2001:db8:0:1::1".parse().unwrap());
        assert!(open.goes_first_of(other, 1).is_none());
    }

    #[test]
    fn of_a_client_with_many_connections_only_some_are_compared() {
        let of = |id| connection(id, "192.0.2.1", (id < 70, false, id));
        let mut open = open((0..10_000).map(of));
        // Those that never asked are younger than what is looked at.
        assert_eq!(open.goes_first().unwrap().id, 0);
    }

    proptest! {
        #[test]
        fn the_table_holds_what_is_open_and_nothing_else(
            steps in prop::collection::vec((0..4_u8, 0..3_u8), 0..200)
        ) {
            let mut open = Open::default();
            let mut held: Vec<Arc<Connection>> = Vec::new();
            for (id, (client, step)) in (0..).zip(steps) {
                match step {
                    0 | 1 => {
                        let one = connection(id, &format!("192.0.2.{client}"), (false, false, 0));
                        held.push(one.clone());
                        open.add(one);
                    }
                    _ => {
                        if let Some(gone) = open.goes_first() {
                            held.retain(|one| one.id != gone.id);
                            // Dropped later, as its task does.
                            open.remove(&gone);
                        }
                    }
                }
                prop_assert_eq!(open.all.len(), held.len());
                let sum: usize = open.ranks.iter().map(|(count, _)| count).sum();
                prop_assert_eq!(sum, held.len());
                prop_assert_eq!(open.ranks.len(), open.clients.len());
            }
        }
    }
}
