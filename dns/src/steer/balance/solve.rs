//! Prices under which no PoP gets more than it has room for.
//!
//! While somebody is off, the model is gathered as a market, that is cleared (`clear.rs`), and the
//! model asked what this comes to. Published prices follow as far as clients may move in a tick,
//! and rest while nobody is off. Where all together have more
//! demand than room, everyone aims at the same excess, and a price that gets very high forgives
//! more and more: nothing runs away.

use super::{clear::Clearing, market::Market};

use serde::{Deserialize, Serialize};

/// Most that a price may be, ms.
pub(super) const PRICE_MAX: f32 = 3000.0;
/// From here on a price forgives excess, ms.
const FORGIVES_MS: f32 = 800.0;
/// ms for each multiple of the room forgiven.
const FORGIVEN_MS: f32 = 1000.0;
/// Excess that is none for a search.
const SOUGHT: f32 = 0.003;
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
const BELOW_SMALL: f32 = 0.1;
const SMALL: f32 = 2e-4;
/// Demand in the wrong place that is little, as a part of all; and what must remain of it at most.
const LITTLE: f32 = 4e-4;
const WORTHWHILE: f32 = 0.6;
/// The same, from which on prices do not stop on their way where it is worse than it was.
const MUCH: f32 = 4e-3;
/// Seconds without a change of prices after which they are at rest.
const RESTING_S: f32 = 900.0;
/// Searches in vain after which it is made only at times, and that is once in so many steps.
const VAIN: usize = 12;
const AT_TIMES: usize = 6;
/// Times that the market is cleared in an ordinary step and after a failure, each followed by a
/// question; how many times all rows are looked at each time, about; and rows at most, in all.
const ORDINARY: (usize, usize, usize) = (2, 400, 2_000_000);
const FAILED: (usize, usize, usize) = (4, 1000, 4_000_000);
/// Times that a step is cut when it moves too many.
const TRIES: usize = 3;
/// Most that a price changes in an ordinary step: ms, or part of it.
const STEP_MS: f32 = 25.0;
const STEP_PART: f32 = 0.1;
/// Part of all demand that may move between PoPs in an ordinary step.
const MOVED: f32 = 0.02;

/// One limit while prices move, another one once they rest.
struct Slack {
    moving: f32,
    resting: f32,
}

/// A PoP that sells what it has room for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Seller {
    /// ms, as published.
    pub(super) price: f32,
    /// Demand that it has room for; `None`: not known, its price stays.
    pub(super) room: Option<f32>,
    /// Its price is not its own: it counts with the mean of the others.
    pub(super) neutral: bool,
}

impl Seller {
    pub(super) const NEW: Self = Self {
        price: 0.0,
        room: None,
        neutral: true,
    };
}

pub(super) type Demand = Box<[f32]>;

/// A model that says nothing where that makes no sense.
pub(super) trait Asked {
    fn at(&mut self, prices: &[f32]) -> Option<Demand>;
    fn market(&mut self, prices: &[f32]) -> Market;
}

/// What is remembered of a search from step to step.
#[derive(Clone, Debug, Default)]
pub(super) struct Search {
    /// Where the last search ended, while published prices are not there yet, ms.
    at: Option<Vec<f32>>,
    /// Seconds since a price changed.
    calm_s: f32,
    /// Steps since it found anything better.
    vain: usize,
    /// How many times more than the model a market said that is but a sample of it, by PoP.
    differs: Option<Vec<f64>>,
}

impl Search {
    /// Moves prices toward where they should be, `passed` seconds after the step before; gives the
    /// demand under the new ones.
    ///
    /// Published prices move only to such as put less demand in the wrong place. So with a model
    /// that holds still they come to rest, whatever the steps in it.
    pub(super) fn step(
        &mut self,
        sellers: &mut [Seller],
        passed: f32,
        failed: bool,
        model: &mut dyn Asked,
    ) -> Option<Demand> {
        let prices: Vec<f32> = sellers.iter().map(|one| one.price).collect();
        let begin = Tried::new(sellers, prices, model)?;
        self.calm_s += passed;
        self.vain += 1;
        let resting = self.calm_s >= RESTING_S;
        if begin.content(sellers, resting) {
            (self.at, self.vain) = (None, 0);
            return Some(begin.demand);
        }
        if failed || self.vain.is_multiple_of(VAIN) {
            self.at = None;
        }
        if !failed && self.vain > VAIN && !self.vain.is_multiple_of(AT_TIMES) {
            return Some(begin.demand);
        }
        let Some(found) = self.seek(sellers, &begin, failed, model)? else {
            return Some(begin.demand);
        };
        (self.calm_s, self.vain) = (0.0, 0);
        if failed {
            apply(sellers, &found.prices);
            return Some(found.demand);
        }
        // Prices are on their way there for several steps: the next search begins where this one ended.
        self.at = Some(found.prices.clone());
        publish(sellers, &found, &begin, model)
    }

    /// Clears the market of the model, asks the model what that comes to, and again with rooms
    /// corrected by the difference; what was found, if it is better than `begin`.
    fn seek(
        &mut self,
        sellers: &[Seller],
        begin: &Tried,
        failed: bool,
        model: &mut dyn Asked,
    ) -> Option<Option<Tried>> {
        let whole: f32 = begin.demand.iter().sum();
        // Where little is wrong only what sets most of that right is worth moving anybody.
        let little = begin.misplaced < LITTLE * whole;
        let mut wanted = begin.misplaced * if little { WORTHWHILE } else { 1.0 };
        let at = self.at.take().filter(|at| at.len() == sellers.len());
        let mut prices = filled(sellers, Some(at.as_ref().unwrap_or(&begin.prices)));
        let market = model.market(&prices);
        let common = f64::from(common_excess(sellers, &begin.demand));
        let (times, rounds, most) = if failed { FAILED } else { ORDINARY };
        // What is left out of a market is the same as the last time, about.
        let known = self.differs.take();
        let known = known.filter(|known| market.is_sample() && known.len() == sellers.len());
        let mut differs = known.unwrap_or_else(|| vec![1.0_f64; sellers.len()]);
        let (looked, begun) = (market.looked(), market.looked().get());
        let mut best = None;
        for _ in 0..times {
            let room = |pop: usize, price: f32| {
                let room = f64::from(sellers.get(pop)?.room?);
                Some(room * common * differs.get(pop)? * f64::from(forgiven(price)))
            };
            let done = usize::try_from(looked.get() - begun).unwrap_or(usize::MAX);
            let left = (rounds * market.rows()).min(most.saturating_sub(done));
            let cleared = Clearing::of(&market, &room, prices, left);
            let (now, modelled) = cleared.into_parts();
            let tried = Tried::new(sellers, now.clone(), model)?;
            for (differs, (real, short)) in
                differs.iter_mut().zip(tried.demand.iter().zip(modelled))
            {
                let times = short / f64::from(*real);
                *differs = if *real > 0.0 {
                    times.clamp(0.5, 2.0)
                } else {
                    1.0
                };
            }
            prices = now;
            let settled = tried.settled;
            if tried.misplaced < wanted {
                wanted = tried.misplaced;
                best = Some(tried);
            }
            if settled {
                self.differs = Some(differs);
                return Some(best);
            }
        }
        self.differs = Some(differs);
        // What takes longer than a step goes on at the next one.
        self.at = Some(prices);
        Some(best)
    }
}

/// Goes to what was found, as far as clients may move; but all the way where half of it would be
/// worse than what is: prices that are right together are not right in part.
fn publish(
    sellers: &mut [Seller],
    found: &Tried,
    begin: &Tried,
    model: &mut dyn Asked,
) -> Option<Demand> {
    apply(sellers, &found.prices);
    let bounded = bound(sellers, &begin.prices);
    let mut demand = match bounded {
        true => model.at(&filled(sellers, None))?,
        false => found.demand.clone(),
    };
    for _ in 0..TRIES {
        let moved = moved(&begin.demand, &demand);
        if moved <= MOVED {
            break;
        }
        let part = (MOVED / moved).min(0.8);
        for (seller, before) in sellers.iter_mut().zip(&begin.prices) {
            seller.price = before + (seller.price - before) * part;
        }
        demand = model.at(&filled(sellers, None))?;
    }
    let prices = sellers.iter().map(|one| one.price).collect();
    let cut = Tried::of(sellers, prices, demand.clone()).misplaced;
    if cut > begin.misplaced && cut > MUCH * begin.demand.iter().sum::<f32>() {
        apply(sellers, &found.prices);
        return Some(found.demand.clone());
    }
    Some(demand)
}

fn apply(sellers: &mut [Seller], prices: &[f32]) {
    for (seller, price) in sellers.iter_mut().zip(prices) {
        seller.price = *price;
    }
}

/// Prices and what they lead to.
#[derive(Clone, Debug)]
struct Tried {
    prices: Vec<f32>,
    demand: Demand,
    /// Demand above the room; negative below it, 0 where no room is known.
    excess: Vec<f32>,
    /// Demand that is where it should not be.
    misplaced: f32,
    /// Nobody is off by more than is worth a question.
    settled: bool,
}

impl Tried {
    fn new(sellers: &[Seller], prices: Vec<f32>, model: &mut dyn Asked) -> Option<Self> {
        let demand = model.at(&filled(sellers, Some(&prices)))?;
        Some(Self::of(sellers, prices, demand))
    }

    fn of(sellers: &[Seller], prices: Vec<f32>, demand: Demand) -> Self {
        let common = common_excess(sellers, &demand);
        let (mut misplaced, mut settled) = (0.0, true);
        let mut excess = Vec::with_capacity(sellers.len());
        for ((seller, price), demand) in sellers.iter().zip(&prices).zip(&demand) {
            let Some(room) = seller.room else {
                excess.push(0.0);
                continue;
            };
            // What all have in common or a very high price forgives is no excess.
            let room_now = room * common * forgiven(*price);
            let off = demand - room_now;
            excess.push(off);
            let off = off / room_now;
            let missing = if *price > 0.0 { -off } else { 0.0 };
            misplaced += room * (off - SOUGHT).max(0.3 * (missing - SOUGHT)).max(0.0);
            settled &= off <= SOUGHT && missing <= SOUGHT;
        }
        Self {
            prices,
            demand,
            excess,
            misplaced,
            settled,
        }
    }
}

impl Tried {
    /// Nobody is off by more than is worth a change.
    fn content(&self, sellers: &[Seller], resting: bool) -> bool {
        let limit = |slack: Slack| if resting { slack.resting } else { slack.moving };
        let (above, below) = (limit(ABOVE), limit(BELOW));
        let whole: f32 = self.demand.iter().sum();
        let each = sellers.iter().zip(&self.prices).zip(&self.excess);
        each.filter_map(|((seller, price), excess)| Some((seller.room?, price, *excess)))
            .all(|(room, price, excess)| {
                let missing = if *price > 0.0 { -excess } else { 0.0 };
                let is_small = missing <= SMALL * whole && missing <= BELOW_SMALL * room;
                excess <= above * room && (missing <= below * room || is_small)
            })
    }
}

/// How many times its room a PoP may have, for its price.
fn forgiven(price: f32) -> f32 {
    1.0 + (price - FORGIVES_MS).max(0.0) / FORGIVEN_MS
}

/// How much more demand than room there is in all, at least 1.
fn common_excess(sellers: &[Seller], demand: &[f32]) -> f32 {
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

/// Whether any price had to be held back.
fn bound(sellers: &mut [Seller], before: &[f32]) -> bool {
    let mut any = false;
    for (seller, before) in sellers.iter_mut().zip(before) {
        let most = STEP_MS.max(before * STEP_PART);
        let bounded = seller.price.clamp((before - most).max(0.0), before + most);
        any |= bounded.to_bits() != seller.price.to_bits();
        seller.price = bounded;
    }
    any
}

/// Part of all demand that is elsewhere, at least.
fn moved(from: &[f32], to: &[f32]) -> f32 {
    let whole: f32 = to.iter().sum();
    let differ: f32 = from.iter().zip(to).map(|(a, b)| (a - b).abs()).sum();
    differ / 2.0 / whole.max(f32::MIN_POSITIVE)
}

/// Prices, their own or given ones, with the mean where there is none.
#[allow(clippy::cast_precision_loss)]
fn filled(sellers: &[Seller], given: Option<&[f32]>) -> Vec<f32> {
    let own: Vec<f32> = match given {
        Some(given) => given.to_vec(),
        None => sellers.iter().map(|one| one.price).collect(),
    };
    let known = || sellers.iter().zip(&own).filter(|(one, _)| !one.neutral);
    let sum: f32 = known().map(|(_, price)| price).sum();
    let mean = sum / known().count().max(1) as f32;
    let both = sellers.iter().zip(&own);
    both.map(|(one, price)| if one.neutral { mean } else { *price })
        .collect()
}
