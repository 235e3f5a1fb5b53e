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
use xxhash_rust::xxh3::xxh3_64;

/// The part of a PoP in the hash: made of its name, so that it survives reordering and reload.
pub(super) fn seed(pop: &str) -> u64 {
    xxh3_64(pop.as_bytes())
}

/// The part of a block of clients in the hash.
pub(super) fn block(octets: &[u8; 16]) -> u64 {
    xxh3_64(octets)
}

/// What a PoP bids for a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bid {
    /// The number drawn, 53 bits: as many as an f64 between 0 and 1 holds.
    drawn: u64,
    /// Weight 0 bids like weight 1: such PoPs only ever meet each other.
    weight: u32,
}

impl Bid {
    /// The bid of a PoP for a block, both as hashed above.
    pub(super) fn new(block: u64, seed: u64, weight: Weight) -> Self {
        Self {
            drawn: mix(block ^ seed) >> 11,
            weight: weight.0.max(1),
        }
    }

    /// Whether it is higher than another one. Logarithms are taken only where simpler bounds
    /// cannot tell.
    pub(super) fn is_above(self, other: Self) -> bool {
        if self.weight == other.weight {
            return self.drawn > other.drawn;
        }
        // From 1 − u ≤ −ln u ≤ (1 − u) / u: at most w / (1 − u), at least w·u / (1 − u). The
        // margin is far above what rounding does to either.
        let (u, v) = (self.u(), other.u());
        let most = f64::from(self.weight) * (1.0 - v);
        let least = f64::from(other.weight) * v * (1.0 - u);
        most >= least * (1.0 - 1e-9) && self.value() > other.value()
    }

    /// The bid as a number; always finite and positive.
    pub(super) fn value(self) -> f64 {
        -f64::from(self.weight) / self.u().ln()
    }

    // The half keeps u off 0 (and below 1: the largest is rounded to 1 − 2^-53).
    fn u(self) -> f64 {
        (number(self.drawn) + 0.5).min(LARGEST) / STEPS
    }

    /// Steps above the number drawn: at most 1 − u when divided by all steps.
    fn rest(self) -> f64 {
        number(DRAWN_MOST.saturating_sub(self.drawn))
    }
}

/// 53 bits are exact in an f64, and positive as a signed number, which is converted faster.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_wrap)]
fn number(drawn: u64) -> f64 {
    drawn as i64 as f64
}

/// The highest of several bids, which are offered one by one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Highest {
    bid: Bid,
    /// The bid as a number; 0 as long as nobody had to know.
    value: f64,
    /// A weight below this for each of the steps that a bid leaves above it is surely not higher; 0
    /// as long as the value is not known.
    least: f64,
}

impl Highest {
    pub(super) fn new(bid: Bid) -> Self {
        Self {
            bid,
            value: 0.0,
            least: 0.0,
        }
    }

    fn valued(bid: Bid, value: f64) -> Self {
        // From 1 − u ≤ −ln u: a bid is at most w / (1 − u). The margin is far above what rounding
        // does.
        let least = value * (1.0 - 1e-9) / STEPS;
        Self { bid, value, least }
    }

    pub(super) fn bid(&self) -> Bid {
        self.bid
    }

    /// Whether `other` is above all before it, and so the highest from now on. One logarithm is
    /// taken where weights differ, and one more for each bid that could be higher.
    #[inline]
    pub(super) fn is_beaten_by(&mut self, other: Bid) -> bool {
        if self.bid.weight == other.weight {
            let beaten = other.drawn > self.bid.drawn;
            if beaten {
                *self = Self::new(other);
            }
            return beaten;
        }
        if self.is_surely_above(other) {
            return false;
        }
        if self.value == 0.0 {
            *self = Self::valued(self.bid, self.bid.value());
            if self.is_surely_above(other) {
                return false;
            }
        }
        let value = other.value();
        let beaten = value > self.value;
        if beaten {
            *self = Self::valued(other, value);
        }
        beaten
    }

    #[inline]
    fn is_surely_above(&self, other: Bid) -> bool {
        f64::from(other.weight) < other.rest() * self.least
    }
}

/// Spreads every bit over all others (the finalizer of SplitMix64).
fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// 2^53
const STEPS: f64 = 9_007_199_254_740_992.0;
/// 2^53 − 1
const LARGEST: f64 = 9_007_199_254_740_991.0;
/// The same.
const DRAWN_MOST: u64 = (1 << 53) - 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_net(n: u32) -> u64 {
        let net = std::net::Ipv4Addr::from_bits(n << 8);
        block(&net.to_ipv6_mapped().octets())
    }

    fn shares(pops: [(&str, u32); 3]) -> [u32; 3] {
        let pops = pops.map(|(name, w)| (seed(name), Weight(w)));
        let mut won = [0_u32; 3];
        for n in 0..100_000 {
            let bids = pops.map(|(seed, weight)| Bid::new(of_net(n), seed, weight));
            assert!(
                bids.iter()
                    .all(|bid| bid.value().is_finite() && bid.value() > 0.0)
            );
            let best = (0..3).max_by(|a, b| bids[*a].value().total_cmp(&bids[*b].value()));
            won[best.unwrap()] += 1;
        }
        won
    }

    #[test]
    fn shares_follow_weights() {
        let won = shares([("a", 1), ("b", 2), ("c", 7)]);
        // Standard deviation of a share of 10 % over 100,000 draws: about 95.
        for (won, expect) in won.into_iter().zip([10_000, 20_000, 70_000]) {
            assert!(won.abs_diff(expect) < 700, "{won} for {expect}");
        }
        for won in shares([("fra1", 5), ("fra2", 5), ("fra3", 5)]) {
            assert!(won.abs_diff(33_333) < 700, "{won}");
        }
    }

    /// Among the blocks that one PoP wins, the others share by weight who comes second.
    #[test]
    fn who_comes_second_follows_weights_too() {
        let pops = ["a", "b", "c", "d"].map(seed);
        let mut second = [[0_u32; 4]; 4];
        for n in 0..120_000 {
            let bid = |at: usize| Bid::new(of_net(n), pops[at], Weight(1)).value();
            let mut order = [0, 1, 2, 3];
            order.sort_by(|a, b| bid(*b).total_cmp(&bid(*a)));
            second[order[0]][order[1]] += 1;
        }
        for (first, row) in second.iter().enumerate() {
            for (at, count) in row.iter().enumerate().filter(|(at, _)| *at != first) {
                assert!(count.abs_diff(10_000) < 600, "{first} {at}: {count}");
            }
        }
    }

    #[test]
    fn extremes_are_finite() {
        for drawn in [0, 1, LARGEST as u64] {
            for weight in [1, u32::MAX] {
                let bid = Bid { drawn, weight };
                assert!(bid.u() < 1.0 && bid.value().is_finite() && bid.value() > 0.0);
            }
        }
    }

    proptest! {
        #[test]
        fn the_shortcut_says_what_the_numbers_say(
            blocks: u64, seeds: (u64, u64), weights in (1..2000_u32, 1..2000_u32),
        ) {
            let one = Bid::new(blocks, seeds.0, Weight(weights.0));
            let two = Bid::new(blocks, seeds.1, Weight(weights.1));
            prop_assert_eq!(one.is_above(two), one.value() > two.value());
            prop_assert_eq!(two.is_above(one), two.value() > one.value());
        }

        #[test]
        fn the_highest_is_above_all_others(
            block: u64, bids in prop::collection::vec((any::<u64>(), 1..6_u32, 1..40_000_u32), 1..20),
        ) {
            let bid = |(seed, few, many): (u64, u32, u32)| {
                // Equal weights among others.
                Bid::new(block, seed, Weight(if many < 20_000 { few } else { many }))
            };
            let bids: Vec<Bid> = bids.into_iter().map(bid).collect();
            let mut highest = Highest::new(bids[0]);
            let mut found = 0;
            for (at, bid) in bids.iter().enumerate().skip(1) {
                if highest.is_beaten_by(*bid) {
                    found = at;
                }
            }
            let most = bids.iter().map(|bid| bid.value()).fold(0.0, f64::max);
            prop_assert_eq!(bids[found].value(), most);
        }
    }
}
