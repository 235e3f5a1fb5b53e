//! How many octets can be drawn onto somebody else: over generated zones and queries, every reply over
//! UDP keeps to its bound, ANY brings no more than a single type would, and what a limited client gets
//! is hardly longer than its query.

use meridian_dns::abuse::slip;

use crate::{
    generate::{self, Query},
    peers::Ours,
    random::Random,
};

/// Seeds, zones of each and queries of each.
const SEEDS: [u64; 4] = [21, 34, 55, 89];
const ZONES: usize = 6;
const QUERIES: usize = 5000;
/// TYPE ANY.
const ANY: u16 = 255;
/// Types asked for beside ANY: all that the generated zones hold.
const TYPES: [u16; 12] = [1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 43, 257];
/// What a reply to a cookie holds more than the query: the server's half of it.
const COOKIE: usize = 16;

#[test]
fn row_23_amplification_is_bounded() {
    let mut worst = (0.0, String::new());
    let mut worst_cut = 0.0_f64;
    for seed in SEEDS {
        let mut random = Random::new(seed);
        let zones = generate::zones(&mut random, ZONES);
        let folder = meridian_tests::scratch();
        generate::write(&zones, folder.path());
        let ours = Ours::load(folder.path(), &zones);
        for _ in 0..QUERIES {
            let query = Query {
                tcp: false,
                ..generate::query(&mut random, &zones)
            };
            let (asked, mut reply) = (query.octets().len(), ours.ask(&query));
            let most = match query.edns {
                None => 512,
                Some(size) => usize::from(size).clamp(512, 1232),
            };
            assert!(reply.len() <= most, "{query}: {} octets", reply.len());
            let ratio = ratio(reply.len(), asked);
            if ratio > worst.0 {
                worst = (ratio, format!("{query}: {} for {asked}", reply.len()));
            }
            if query.rtype == ANY {
                let all = TYPES.map(|rtype| {
                    ours.ask(&Query {
                        rtype,
                        ..query.clone()
                    })
                    .len()
                });
                let longest = all.into_iter().max().unwrap_or_default();
                assert!(
                    reply.len() <= longest,
                    "{query}: ANY is longer than {longest}"
                );
            }
            let whole = reply.len();
            let cut = slip::cut(&mut reply, whole);
            assert!(cut <= asked + COOKIE, "{query}: {cut} octets when limited");
            worst_cut = worst_cut.max(self::ratio(cut, asked));
        }
    }
    eprintln!(
        "worst ratio {:.1} ({}); when limited {worst_cut:.2}",
        worst.0, worst.1
    );
    // 1232 octets for the 28 of the shortest query with EDNS.
    assert!(worst.0 <= 44.0, "{}", worst.1);
}

#[allow(clippy::cast_precision_loss)] // lengths of messages
fn ratio(reply: usize, query: usize) -> f64 {
    reply as f64 / query as f64
}
