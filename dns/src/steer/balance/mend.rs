//! How far from their rooms PoPs may be, and the smallest change that brings them there.
//!
//! Where noise or slow drift brings one PoP above what is borne, a search would bring all of them to
//! their rooms exactly, and what is little for a large PoP is much for the small one that takes it. So
//! where little is wrong only those who are off change their prices, and no farther than they must;
//! then those whom that pushes off, in turn.

use std::cell::Cell;

use super::{
    clear::{Clearing, Room},
    market::{Market, Priced},
};

/// How far a PoP may be above its room, and a priced one below it, before prices change: while
/// they are in motion, and once they have been at rest for a while. Who was found good enough is
/// not touched again because of a little noise.
const ABOVE: Slack = Slack {
    moving: 0.006,
    resting: 0.007,
};
const BELOW: Slack = Slack {
    moving: 0.015,
    resting: 0.04,
};
/// What a small PoP may be below its room: as a part of it, and of all demand.
const BELOW_SMALL: f64 = 0.1;
const SMALL: f64 = 2e-4;
/// Part of what is borne that is left of it where it is mended: less would be needed again soon, and more
/// moves more than must be.
const LEFT: f64 = 0.5;
/// Rounds in which each PoP that is off has its turn, at most.
const ROUNDS: usize = 8;

/// One limit while prices move, another one once they rest.
struct Slack {
    moving: f64,
    resting: f64,
}

/// How far PoPs may be off: above their rooms and, where there is a price, below them, as parts of those.
#[derive(Clone, Copy, Debug)]
pub(super) struct Borne {
    above: f64,
    below: f64,
    /// All demand.
    whole: f64,
}

impl Borne {
    pub(super) fn new(resting: bool, whole: f64) -> Self {
        let limit = |slack: Slack| if resting { slack.resting } else { slack.moving };
        Self {
            above: limit(ABOVE),
            below: limit(BELOW),
            whole,
        }
    }

    pub(super) fn is_above(&self, excess: f64, room: f64) -> bool {
        excess > self.above * room
    }

    pub(super) fn is_below(&self, price: f32, excess: f64, room: f64) -> bool {
        let missing = if price > 0.0 { -excess } else { 0.0 };
        let is_small = missing <= SMALL * self.whole && missing <= BELOW_SMALL * room;
        missing > self.below * room && !is_small
    }
}

/// Changes the prices of those only that are off by more than is borne, to where half of that is left;
/// looks at about `left` rows, no more. Prices and the demand under them, if nobody is off then.
pub(super) fn mended(
    market: &Market,
    room: &Room<'_>,
    prices: Vec<f32>,
    borne: Borne,
    left: usize,
) -> Option<(Vec<f32>, Vec<f64>)> {
    let pops = prices.len();
    let now = Priced::new(market, prices);
    // Where the PoP should come to whose turn it is.
    let part = Cell::new(1.0);
    let end = |pop: usize, price: f32| Some(part.get() * room(pop, price)?);
    let mut all = Clearing::new(market, &end, now, left);
    for _ in 0..ROUNDS {
        let mut any = false;
        for pop in 0..pops {
            let price = all.now.price(pop);
            let Some(room) = room(pop, price) else {
                continue;
            };
            let demand = all.now.demand(pop);
            if borne.is_above(demand - room, room) {
                part.set(1.0 + LEFT * borne.above);
            } else if borne.is_below(price, demand - room, room) {
                part.set(1.0 - LEFT * borne.below);
            } else {
                continue;
            }
            if all.left == 0 {
                return None;
            }
            all.one(pop, demand - part.get() * room);
            any = true;
        }
        if !any {
            return Some(all.now.into_parts());
        }
    }
    None
}
