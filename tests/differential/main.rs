//! The fast path against `respond`: the same octets and the same account of them for every query
//! that it takes, and an untouched query for every one that it leaves.
//!
//! A few thousand queries for each server by default. A long run, with the share that was answered
//! fast:
//!
//! ```text
//! MERIDIAN_QUERIES=10000000 cargo test --release -p meridian-tests --test differential -- --nocapture
//! ```

mod query;
mod world;

use std::net::SocketAddr;

use meridian_dns::{
    answer::{Meta, Outcome, Transport, respond},
    fast,
    listen::Fast,
    snapshot::Snapshot,
};
use query::{Generator, NOW};

/// Octets of a receive buffer.
const SLOT: usize = 2048;

/// What became of the queries of one server.
#[derive(Default)]
struct Share {
    fast: u64,
    slow: u64,
}

#[test]
fn the_fast_path_says_what_respond_says() {
    let queries = number("MERIDIAN_QUERIES", 160_000);
    let seed = number("MERIDIAN_SEED", 42);
    let servers = world::servers();
    let each = queries.div_ceil(servers.len() as u64);
    let mut all = Share::default();
    for (name, snapshot) in &servers {
        let mut share = Share::default();
        let mut generator = Generator::new(&snapshot.zones, seed ^ u64::from(name.as_bytes()[0]));
        let mut buffers = (vec![0; SLOT], Vec::new());
        for _ in 0..each {
            let (octets, source) = generator.query();
            if compare(snapshot, name, &octets, source, &mut buffers) {
                share.fast += 1;
            } else {
                share.slow += 1;
            }
        }
        println!("{name:<20} {} fast, {} slow", share.fast, share.slow);
        all.fast += share.fast;
        all.slow += share.slow;
    }
    let whole = all.fast + all.slow;
    println!(
        "{whole} queries, {:.1} % fast",
        100.0 * all.fast as f64 / whole as f64
    );
    assert!(all.fast * 3 > whole, "the fast path is hardly taken");
}

/// Whether the fast path answered.
fn compare(
    snapshot: &Snapshot,
    name: &str,
    octets: &[u8],
    source: SocketAddr,
    (slot, out): &mut (Vec<u8>, Vec<u8>),
) -> bool {
    let transport = if octets.len().is_multiple_of(16) {
        Transport::Tcp
    } else {
        Transport::Udp
    };
    let meta = Meta {
        source,
        transport,
        now: NOW,
    };
    slot.fill(0xee);
    slot[..octets.len()].copy_from_slice(octets);
    let context = || format!("server `{name}`, {transport:?} from {source}: {octets:02x?}");
    match fast::answer(snapshot, &meta, slot, octets.len()) {
        Fast::Slow => {
            assert_eq!(&slot[..octets.len()], octets, "touched: {}", context());
            false
        }
        Fast::Drop(reason) => {
            let slow = respond(snapshot, octets, &meta, out);
            assert_eq!(slow, Outcome::Drop(reason), "{}", context());
            true
        }
        Fast::Reply { len, summary } => {
            let slow = respond(snapshot, octets, &meta, out);
            assert_eq!(&slot[..len], &out[..], "{}", context());
            assert_eq!(slow, Outcome::Reply(summary), "{}", context());
            assert!(
                slot[len.max(octets.len())..]
                    .iter()
                    .all(|octet| *octet == 0xee)
            );
            true
        }
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}
