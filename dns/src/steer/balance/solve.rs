//! Prices under which no PoP gets more than it has room for.
//!
//! Each PoP with too much demand raises its price, each with too little lowers it, by a step that
//! grows while it leads on and is halved when it went too far. The model answers what that does.
//! Prices of 0 are the least; where all together have more demand than room, everyone aims at the
//! same excess, and a price that gets very high forgives more and more: nothing runs away.

use serde::{Deserialize, Serialize};

/// Most that a price may be, ms.
const PRICE_MAX: f32 = 3000.0;
/// From here on a price forgives excess, ms.
const FORGIVES_MS: f32 = 800.0;
/// ms for each multiple of the room forgiven.
const FORGIVEN_MS: f32 = 1000.0;
/// Excess below this is none; a priced PoP may be this much below its room.
const ABOVE: f32 = 0.01;
const BELOW: f32 = 0.05;
/// ms of price for an excess of 100 %: at first, least and most.
const PACE: f32 = 20.0;
const PACE_LEAST: f32 = 0.5;
const PACE_MOST: f32 = 300.0;
/// Questions to the model in an ordinary step, and after a failure.
const ROUNDS: usize = 20;
const ROUNDS_FAILED: usize = 36;
/// Times that a step is cut when it moves too many.
const TRIES: usize = 3;
/// Most that a price changes in an ordinary step: ms, or part of it.
const STEP_MS: f32 = 25.0;
const STEP_PART: f32 = 0.1;
/// Part of all demand that may move between PoPs in an ordinary step.
const MOVED: f32 = 0.02;

/// A PoP that sells what it has room for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Seller {
    /// ms
    pub(super) price: f32,
    /// Demand that it has room for; `None`: not known, its price stays.
    pub(super) room: Option<f32>,
    /// Its load is not known: it counts with the mean price of the others.
    pub(super) neutral: bool,
    /// ms of price for an excess of 100 %.
    pub(super) pace: f32,
    /// The excess that it saw last.
    pub(super) excess: f32,
}

impl Seller {
    pub(super) const NEW: Self = Self {
        price: 0.0,
        room: None,
        neutral: true,
        pace: PACE,
        excess: 0.0,
    };
}

pub(super) type Sellers = Vec<Seller>;
type Demand = Box<[f32]>;

/// Moves prices toward where they should be; gives the demand under the new ones.
///
/// Among all prices that were tried those are taken under which the least demand is where it
/// should not be; never worse ones than before. So with a model that holds still prices come to
/// rest, whatever the steps in it.
pub(super) fn solve(
    sellers: &mut Sellers,
    failed: bool,
    model: &mut dyn FnMut(&[f32]) -> Option<Demand>,
) -> Option<Demand> {
    let before: Vec<f32> = sellers.iter().map(|seller| seller.price).collect();
    let begin = model(&filled(sellers))?;
    let mut best = Tried::new(sellers, begin.clone());
    let mut demand = begin.clone();
    for _ in 0..if failed { ROUNDS_FAILED } else { ROUNDS } {
        if !adjust(sellers, &demand) {
            break;
        }
        if !failed {
            bound(sellers, &before);
        }
        demand = model(&filled(sellers))?;
        best = best.or(Tried::new(sellers, demand.clone()));
    }
    best.apply(sellers);
    let mut tries = if failed { 0 } else { TRIES };
    while tries > 0 && moved(&begin, &best.demand) > MOVED {
        let part = (MOVED / moved(&begin, &best.demand)).min(0.8);
        for (seller, before) in sellers.iter_mut().zip(&before) {
            seller.price = before + (seller.price - before) * part;
        }
        best = Tried::new(sellers, model(&filled(sellers))?);
        tries -= 1;
    }
    Some(best.demand)
}

/// Prices and what they lead to.
struct Tried {
    prices: Vec<f32>,
    demand: Demand,
    /// Demand that is where it should not be.
    misplaced: f32,
}

impl Tried {
    fn new(sellers: &Sellers, demand: Demand) -> Self {
        let each = excesses(sellers, &demand).map(|(seller, room, excess)| {
            let missing = if seller.price > 0.0 {
                -excess - BELOW
            } else {
                0.0
            };
            room * (excess.max(0.0) + 0.3 * missing.max(0.0))
        });
        Self {
            misplaced: each.sum(),
            prices: sellers.iter().map(|seller| seller.price).collect(),
            demand,
        }
    }

    /// The better one; of equals the later.
    fn or(self, other: Self) -> Self {
        if other.misplaced <= self.misplaced {
            other
        } else {
            self
        }
    }

    fn apply(&self, sellers: &mut Sellers) {
        for (seller, price) in sellers.iter_mut().zip(&self.prices) {
            seller.price = *price;
        }
    }
}

/// One round: whether any price moved.
fn adjust(sellers: &mut Sellers, demand: &[f32]) -> bool {
    let all: Vec<f32> = excesses(sellers, demand)
        .map(|(_, _, excess)| excess)
        .collect();
    let priced = sellers.iter_mut().filter(|seller| seller.room.is_some());
    let moved = priced
        .zip(all)
        .map(|(seller, excess)| seller.adjust(excess));
    moved.fold(false, |any, one| any | one)
}

/// Room and excess of those whose room is known; what all have in common or a very high price
/// forgives is none.
fn excesses<'a>(
    sellers: &'a Sellers,
    demand: &'a [f32],
) -> impl Iterator<Item = (&'a Seller, f32, f32)> {
    let common = common_excess(sellers, demand);
    sellers
        .iter()
        .zip(demand)
        .filter_map(move |(seller, demand)| {
            let room = seller.room?;
            let forgiven = 1.0 + (seller.price - FORGIVES_MS).max(0.0) / FORGIVEN_MS;
            Some((seller, room, demand / (room * common * forgiven) - 1.0))
        })
}

impl Seller {
    fn adjust(&mut self, excess: f32) -> bool {
        let content = if self.price > 0.0 {
            -BELOW..=ABOVE
        } else {
            -1.0..=ABOVE
        };
        if content.contains(&excess) {
            self.excess = 0.0;
            return false;
        }
        // Not farther inside than it takes: who is content again moves nobody.
        let wish = if excess > 0.0 {
            excess
        } else {
            excess + 0.7 * BELOW
        };
        if self.excess * wish < 0.0 {
            self.pace *= 0.5;
        } else if wish.abs() > 0.7 * self.excess.abs() && self.excess != 0.0 {
            self.pace *= 1.5;
        }
        self.pace = self.pace.clamp(PACE_LEAST, PACE_MOST);
        self.excess = wish;
        self.price = (self.price + self.pace * wish.clamp(-0.5, 0.5)).clamp(0.0, PRICE_MAX);
        true
    }
}

/// How much more demand than room there is in all, at least 1.
fn common_excess(sellers: &Sellers, demand: &[f32]) -> f32 {
    let known = || {
        sellers
            .iter()
            .zip(demand)
            .filter_map(|(s, d)| Some((s.room?, d)))
    };
    let room: f32 = known().map(|(room, _)| room).sum();
    let demand: f32 = known().map(|(_, demand)| demand).sum();
    if room > 0.0 {
        (demand / room).max(1.0)
    } else {
        1.0
    }
}

fn bound(sellers: &mut Sellers, before: &[f32]) {
    for (seller, before) in sellers.iter_mut().zip(before) {
        let most = STEP_MS.max(before * STEP_PART);
        seller.price = seller.price.clamp((before - most).max(0.0), before + most);
    }
}

/// Part of all demand that is elsewhere, at least.
fn moved(from: &[f32], to: &[f32]) -> f32 {
    let whole: f32 = to.iter().sum();
    let differ: f32 = from.iter().zip(to).map(|(a, b)| (a - b).abs()).sum();
    differ / 2.0 / whole.max(f32::MIN_POSITIVE)
}

/// Prices, with the mean where there is none.
#[allow(clippy::cast_precision_loss)]
fn filled(sellers: &Sellers) -> Vec<f32> {
    let known = || sellers.iter().filter(|seller| !seller.neutral);
    let sum: f32 = known().map(|seller| seller.price).sum();
    let mean = sum / known().count().max(1) as f32;
    let price = |seller: &Seller| match seller.neutral {
        true => mean,
        false => seller.price,
    };
    sellers.iter().map(price).collect()
}
