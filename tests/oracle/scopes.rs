//! How many entries a resolver's cache needs: the distinct scopes that random /24s of IPv4 produce,
//! ours beside gdnsd's, for the same PoPs over the same data.
//!
//! `MERIDIAN_ORACLE_BLOCKS` sets the number of /24s; `tests/oracle/real-city` asks for a million of
//! the real database.

use std::{
    collections::{BTreeMap, HashSet},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;
use meridian_tests::{dns, peer, scratch};

use crate::{
    Answer, Meridian, ZONE,
    gdnsd::Gdnsd,
    pops,
    world::{Random, World},
};

/// What the answers to all blocks came to.
#[derive(Default)]
struct Seen {
    scopes: HashSet<Ipv4Net>,
    /// Answers by scope prefix length.
    lengths: BTreeMap<u8, u64>,
}

impl Seen {
    fn add(&mut self, block: Ipv4Addr, answer: &Answer) {
        let scope = Ipv4Net::new(block, answer.scope).expect("a scope of IPv4");
        self.scopes.insert(scope.trunc());
        *self.lengths.entry(answer.scope).or_default() += 1;
    }

    fn median(&self) -> u8 {
        let all: u64 = self.lengths.values().sum();
        let mut sum = 0;
        let reached = |(_, count): &(&u8, &u64)| {
            sum += **count;
            sum * 2 >= all
        };
        let found = self.lengths.iter().find(reached);
        found.map_or(0, |(length, _)| *length)
    }
}

#[test]
fn no_more_scopes_than_gdnsd() {
    let Some(program) = peer("gdnsd") else { return };
    let mut random = Random(20_261_121);
    let folder = scratch();
    let world = World::given(folder.path(), &mut random);
    let pops = pops();
    let count = std::env::var("MERIDIAN_ORACLE_BLOCKS");
    let count: u64 = count.ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let mut blocks = HashSet::new();
    while (blocks.len() as u64) < count {
        // 1.0.0.0 to 223.255.255.255
        let block = (1 << 16) + random.below(223 << 16);
        blocks.insert(Ipv4Addr::from_bits((block as u32) << 8));
    }
    let question = |block: Ipv4Addr| {
        let subnet = format!("{block}/24");
        dns::question(&format!("www.{ZONE}"), "A")
            .ecs(&subnet)
            .to_wire()
    };
    let ours = |steering: &str| {
        let meridian = Meridian::new(folder.path(), &world, &pops, steering);
        let mut seen = Seen::default();
        for block in &blocks {
            seen.add(*block, &meridian.ask(&question(*block)));
        }
        seen
    };
    let theirs = |limit: u8| {
        let gdnsd = Gdnsd::start(&program, folder.path(), &world, &pops, limit);
        let mut seen = Seen::default();
        for block in &blocks {
            let reply = gdnsd.ask(&question(*block)).expect("gdnsd answers");
            seen.add(*block, &Answer::of(&reply));
        }
        seen
    };
    let nearest = ours("tolerance = \"0ms\"");
    let shared = ours("tolerance = \"5ms\"");
    let best = theirs(1);
    let usual = theirs(3);
    for (who, seen) in [
        ("Meridian, the nearest PoP (tolerance 0)", &nearest),
        ("Meridian, tolerance 5 ms", &shared),
        ("gdnsd, auto_dc_limit 1: no failover", &best),
        ("gdnsd, auto_dc_limit 3, the default", &usual),
    ] {
        println!(
            "{count} random /24s: {} distinct scopes, median /{}: {who}",
            seen.scopes.len(),
            seen.median()
        );
    }
    let (mine, other) = (nearest.scopes.len(), best.scopes.len());
    assert!(mine <= other, "{mine} scopes, gdnsd {other}");
}
