//! Weighted rendezvous hashing (highest random weight): who of several PoPs a block of clients
//! belongs to.
//!
//! Each PoP draws a number u in (0, 1) for the block from a hash of both, and bids −w / ln u. The
//! highest bid wins. The bids are independent, so with weights w the PoP wins w / Σw of all
//! blocks; and since a bid depends on nothing but the block and the PoP itself, a PoP that leaves
//! or joins moves only the blocks that it loses or wins.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use meridian_config::Weight;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The part of a PoP in the hash: made of its name, so that it survives reordering and reload.
pub(super) fn seed(pop: &str) -> u64 {
    xxh3_64(pop.as_bytes())
}

/// The bid of a PoP for a block; always finite and positive. Weight 0 bids like weight 1: such
/// PoPs only ever meet each other.
// 53 bits are kept on purpose: as many as an f64 between 0 and 1 holds.
#[allow(clippy::cast_precision_loss)]
pub(super) fn bid(block: &[u8; 16], seed: u64, weight: Weight) -> f64 {
    let high = xxh3_64_with_seed(block, seed) >> 11;
    // The half keeps u off 0 (and below 1: the largest is rounded to 1 − 2^-53).
    let u = (high as f64 + 0.5).min(LARGEST) / STEPS;
    -f64::from(weight.0.max(1)) / u.ln()
}

/// 2^53
const STEPS: f64 = 9_007_199_254_740_992.0;
/// 2^53 − 1
const LARGEST: f64 = 9_007_199_254_740_991.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn block(n: u32) -> [u8; 16] {
        std::net::Ipv4Addr::from_bits(n << 8)
            .to_ipv6_mapped()
            .octets()
    }

    #[test]
    fn shares_follow_weights() {
        let pops = [("a", 1), ("b", 2), ("c", 7)].map(|(name, w)| (seed(name), Weight(w)));
        let mut won = [0_u32; 3];
        for n in 0..100_000 {
            let bids = pops.map(|(seed, weight)| bid(&block(n), seed, weight));
            assert!(bids.iter().all(|bid| bid.is_finite() && *bid > 0.0));
            let best = (0..3).max_by(|a, b| bids[*a].total_cmp(&bids[*b])).unwrap();
            won[best] += 1;
        }
        // Standard deviation of a share of 10 % over 100,000 draws: about 95.
        for (won, expect) in won.into_iter().zip([10_000, 20_000, 70_000]) {
            assert!(won.abs_diff(expect) < 700, "{won} for {expect}");
        }
    }

    #[test]
    fn extremes_are_finite() {
        let u = (STEPS - 1.0 + 0.5).min(LARGEST) / STEPS;
        assert!(u < 1.0 && (-1.0 / u.ln()).is_finite());
        assert!((-f64::from(u32::MAX) / (0.5 / STEPS).ln()).is_finite());
    }
}
