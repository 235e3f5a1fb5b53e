//! Differential test of zone semantics: the same generated zones and queries for Meridian (asked
//! in process), Knot and NSD (over loopback). Every difference in rcode, AA, TC or sections is
//! either a mistake, and fails, or one of the reasoned [`choices`], and is counted.
//!
//! Zones come from fixed seeds and from one that is drawn each time and printed;
//! `MERIDIAN_SEED=N` runs that one alone.

mod amplification;
mod choices;
mod generate;
mod message;
mod peers;
mod random;
mod resolver;

use std::collections::BTreeMap;

use choices::Choice;
use generate::{Generated, Query};
use message::Message;
use peers::{Knot, Nsd, Ours, Peer};
use random::Random;

/// Seeds of every run.
const SEEDS: [u64; 5] = [1, 2, 3, 5, 8];
/// Zones per seed, each with a child zone that is hosted too.
const ZONES: usize = 6;
/// Queries per seed; together with the drawn seed more than 5,000.
const QUERIES: usize = 1500;
/// Differences that are printed before the test gives up.
const SHOWN: usize = 12;

#[test]
fn meridian_answers_as_knot_and_nsd_do() {
    let (Some(knotd), Some(nsd)) = (meridian_tests::peer("knotd"), meridian_tests::peer("nsd"))
    else {
        return;
    };
    let seeds = seeds();
    eprintln!("seeds {seeds:?}; MERIDIAN_SEED=N repeats one");
    let mut tally = Tally::default();
    for seed in seeds {
        let mut random = Random::new(seed);
        let zones = generate::zones(&mut random, ZONES);
        let folder = meridian_tests::scratch();
        generate::write(&zones, folder.path());
        if let Some(kept) = std::env::var_os("MERIDIAN_KEEP") {
            let kept = std::path::Path::new(&kept).join(seed.to_string());
            std::fs::create_dir_all(&kept).expect("a folder to keep zones in");
            generate::write(&zones, &kept);
        }
        let ours = Ours::load(folder.path(), &zones);
        let peers: [Box<dyn Peer>; 2] = [
            Box::new(Knot::start(&knotd, folder.path(), &zones)),
            Box::new(Nsd::start(&nsd, folder.path(), &zones)),
        ];
        for _ in 0..QUERIES {
            let query = generate::query(&mut random, &zones);
            let reply = Message::read(&ours.ask(&query));
            for peer in &peers {
                let theirs = Message::read(&peer.ask(&query));
                tally.compare(seed, peer.name(), &zones, &query, &reply, &theirs);
            }
        }
    }
    tally.finish();
}

/// The seed of the environment, or the fixed ones and one from the clock.
#[allow(clippy::disallowed_methods)] // drawn once, printed, and repeatable
fn seeds() -> Vec<u64> {
    let given = std::env::var("MERIDIAN_SEED").ok();
    if let Some(seed) = given.and_then(|text| text.parse().ok()) {
        return vec![seed];
    }
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    let drawn = since.map_or(0, |since| since.as_secs() ^ u64::from(since.subsec_nanos()));
    SEEDS.into_iter().chain([drawn]).collect()
}

/// What was compared, and what differed.
#[derive(Default)]
struct Tally {
    compared: usize,
    equal: usize,
    chosen: BTreeMap<(&'static str, &'static str), usize>,
    unexplained: usize,
    rcodes: BTreeMap<u16, usize>,
}

impl Tally {
    fn compare(
        &mut self,
        seed: u64,
        peer: &'static str,
        zones: &[Generated],
        query: &Query,
        ours: &Message,
        theirs: &Message,
    ) {
        self.compared += 1;
        *self.rcodes.entry(ours.rcode).or_default() += 1;
        if ours == theirs {
            self.equal += 1;
            return;
        }
        let (mut a, mut b) = (ours.clone(), theirs.clone());
        let mut applied = Vec::new();
        for choice in choices::ALL {
            let Choice { name, applies, .. } = choice;
            let before = (a.clone(), b.clone());
            applies(&choices::Case { peer, query, zones }, &mut a, &mut b);
            if before != (a.clone(), b.clone()) {
                applied.push(*name);
            }
        }
        if a == b {
            for name in applied {
                *self.chosen.entry((peer, name)).or_default() += 1;
            }
            return;
        }
        self.unexplained += 1;
        if self.unexplained <= SHOWN {
            eprintln!(
                "--- seed {seed}: {query}\nours:\n{ours}{peer}:\n{theirs}applied: {applied:?}"
            );
        }
    }

    fn finish(self) {
        let Self {
            compared, equal, ..
        } = self;
        eprintln!(
            "{compared} replies compared, {equal} equal as they are; ours by rcode: {:?}",
            self.rcodes
        );
        for choice in choices::ALL {
            let of = |peer| self.chosen.get(&(peer, choice.name)).copied().unwrap_or(0);
            let (knot, nsd) = (of("knot"), of("nsd"));
            eprintln!(
                "{:>6} knot {:>6} nsd  {}: {}",
                knot, nsd, choice.name, choice.reason
            );
        }
        assert_eq!(self.unexplained, 0, "differences that no choice explains");
    }
}
