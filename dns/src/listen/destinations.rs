//! How many queries came for each service prefix: what tells whether anycast traffic arrives.
//!
//! A worker counts in a block of its own. A socket with one address costs one addition a batch; only
//! a socket of all addresses looks at the destination of each datagram, and only while a prefix is
//! watched.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::{ArcSwap, Cache};
use ipnet::IpNet;

/// Prefixes watched at once.
const MOST: usize = 64;

/// Queries over UDP by destination prefix. TCP is not counted: what tells that a path carries traffic
/// is the datagrams.
#[derive(Clone, Debug, Default)]
pub struct Destinations(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    watched: Arc<ArcSwap<Watched>>,
    blocks: Mutex<Vec<Arc<Block>>>,
}

/// A prefix by the place of its counter; a prefix that stays keeps its place.
type Watched = Vec<Option<Watch>>;

#[derive(Clone, Copy, Debug)]
struct Watch {
    prefix: IpNet,
    /// What the counter of the place showed before.
    base: u64,
}

/// Counters of one worker.
#[derive(Debug)]
#[repr(align(128))]
struct Block([AtomicU64; MOST]);

impl Destinations {
    /// Watches these prefixes and no others; those that were watched before keep their counts.
    /// Beyond 64 they are ignored: gives those that are.
    pub fn watch(&self, prefixes: impl IntoIterator<Item = IpNet>) -> Vec<IpNet> {
        let mut wanted: Vec<IpNet> = prefixes.into_iter().map(|p| p.trunc()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        // Held to the end, so that of two callers one sees what the other did.
        let blocks = self.blocks();
        let mut watched = Watched::clone(&self.0.watched.load());
        watched.resize(MOST, None);
        for place in &mut watched {
            match place {
                Some(watch) if wanted.contains(&watch.prefix) => {
                    wanted.retain(|prefix| *prefix != watch.prefix);
                }
                _ => *place = None,
            }
        }
        let mut left = wanted.into_iter();
        for (at, place) in watched.iter_mut().enumerate() {
            if place.is_none() {
                *place = left.next().map(|prefix| Watch {
                    prefix,
                    base: sum(&blocks, at),
                });
            }
        }
        while watched.last().is_some_and(Option::is_none) {
            watched.pop();
        }
        self.0.watched.store(Arc::new(watched));
        left.collect()
    }

    /// Queries for addresses of `prefix` since it is watched; 0 when it is not.
    pub fn count(&self, prefix: IpNet) -> u64 {
        let prefix = prefix.trunc();
        let blocks = self.blocks();
        let watched = self.0.watched.load();
        let mut places = watched.iter().enumerate();
        places
            .find_map(|(at, place)| {
                let watch = place.filter(|watch| watch.prefix == prefix)?;
                Some(sum(&blocks, at).saturating_sub(watch.base))
            })
            .unwrap_or(0)
    }

    /// A counter for one more worker.
    pub(super) fn counter(&self) -> Counter {
        let block = Arc::new(Block([const { AtomicU64::new(0) }; MOST]));
        self.blocks().push(block.clone());
        Counter {
            watched: Cache::new(self.0.watched.clone()),
            block,
        }
    }

    fn blocks(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Block>>> {
        self.0.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where one worker counts.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    watched: Cache<Arc<ArcSwap<Watched>>, Arc<Watched>>,
    block: Arc<Block>,
}

impl Counter {
    /// Counts queries for an address of ours.
    pub(super) fn count(&mut self, destination: IpAddr, queries: u64) {
        for (place, counter) in self.watched.load().iter().zip(&self.block.0) {
            if place.is_some_and(|watch| watch.prefix.contains(&destination)) {
                counter.fetch_add(queries, Relaxed);
            }
        }
    }
}

fn sum(blocks: &[Arc<Block>], at: usize) -> u64 {
    let of = |block: &Arc<Block>| block.0.get(at).map_or(0, |count| count.load(Relaxed));
    blocks.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn workers_are_summed_and_a_prefix_that_stays_keeps_its_count() {
        let all = Destinations::default();
        let (mut one, mut two) = (all.counter(), all.counter());
        one.count(ip("192.0.2.53"), 1);
        assert_eq!(all.count(net("192.0.2.53/32")), 0);
        assert!(
            all.watch([net("192.0.2.53/32"), net("2001:db8::/48")])
                .is_empty()
        );
        one.count(ip("192.0.2.53"), 2);
        two.count(ip("192.0.2.53"), 3);
        two.count(ip("192.0.2.54"), 5);
        two.count(ip("2001:db8::53"), 7);
        assert_eq!(all.count(net("192.0.2.53/32")), 5);
        assert_eq!(all.count(net("2001:db8::1/48")), 7);
        // The first place becomes free and is taken by another: from 0 again.
        all.watch([net("2001:db8::/48"), net("198.51.100.0/24")]);
        one.count(ip("198.51.100.9"), 1);
        assert_eq!(all.count(net("198.51.100.0/24")), 1);
        assert_eq!(all.count(net("2001:db8::/48")), 7);
        assert_eq!(all.count(net("192.0.2.53/32")), 0);
    }

    #[test]
    fn too_many_are_told() {
        let all = Destinations::default();
        let many = (0..70_u8).map(|n| net(&format!("192.0.2.{n}/32")));
        assert_eq!(all.watch(many).len(), 6);
        all.counter().count(ip("192.0.2.1"), 4);
        assert_eq!(all.count(net("192.0.2.1/32")), 4);
        assert_eq!(all.watch([]), []);
        assert_eq!(all.count(net("192.0.2.1/32")), 0);
    }
}
