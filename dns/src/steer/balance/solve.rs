//! Prices under which no PoP gets more than it has room for.
//!
//! While somebody is off, the model is gathered as a market, that is cleared (`clear.rs`), and the
//! model asked what this comes to. Published prices follow as far as clients may move in a tick,
//! and rest while nobody is off. Where all together have more
//! demand than room, everyone aims at the same excess, and a price that gets very high forgives
//! more and more: nothing runs away.

use super::{
    clear::Clearing,
    market::{Market, Priced},
    mend::{Borne, mended},
};

use serde::{Deserialize, Serialize};

/// Most that a price may be, ms.
pub(super) const PRICE_MAX: f32 = 3000.0;
/// From here on a price forgives excess, ms.
const FORGIVES_MS: f32 = 800.0;
/// ms for each multiple of the room forgiven.
const FORGIVEN_MS: f32 = 1000.0;
/// Excess that is none for a search.
const SOUGHT: f32 = 0.003;
/// Demand in the wrong place that is little, as a part of all: the smallest change is tried first, and of
/// a search so much of it must remain at most.
const LITTLE: f32 = 4e-4;
const WORTHWHILE: f32 = 0.6;
/// The same, from which on prices do not stop on their way where it is worse than it was, and more than
/// the smallest change is wanted even at rest.
const MUCH: f32 = 4e-3;
/// Seconds without a search after which prices are at rest.
const RESTING_S: f32 = 900.0;
/// Searches in vain after which it is made only at times, and that is once in so many steps.
const VAIN: usize = 12;
const AT_TIMES: usize = 6;
/// Times that the market is cleared in an ordinary step and after a failure, each followed by a
/// question; how many times all rows are looked at each time, about; and rows at most, in all.
const ORDINARY: (usize, usize, usize) = (2, 400, 2_000_000);
const FAILED: (usize, usize, usize) = (4, 1000, 4_000_000);
/// Times that the smallest change is looked for, each followed by a question.
const MENDED: usize = 2;
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
    /// Seconds since prices were searched.
    calm_s: f32,
    /// Steps since it found anything better.
    vain: usize,
    /// How many times more than the model a market said that is but a sample of it, by PoP.
    differs: Option<Differs>,
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
        let part = begin.misplaced / begin.demand.iter().sum::<f32>();
        if !failed
            && part < if resting { MUCH } else { LITTLE }
            && let Some(found) = mend(sellers, &begin, resting, model)?
        {
            (self.at, self.vain) = (None, 0);
            return publish(sellers, &found, &begin, model);
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
        let known = known.filter(|known| market.is_sample() && known.0.len() == sellers.len());
        let mut differs = known.unwrap_or_else(|| Differs::new(sellers.len()));
        let (looked, begun) = (market.looked(), market.looked().get());
        let mut best = None;
        for _ in 0..times {
            let room = |pop: usize, price: f32| {
                let room = f64::from(sellers.get(pop)?.room?);
                Some(room * common * differs.of(pop)? * f64::from(forgiven(price)))
            };
            let done = usize::try_from(looked.get() - begun).unwrap_or(usize::MAX);
            let left = (rounds * market.rows()).min(most.saturating_sub(done));
            let cleared = Clearing::of(&market, &room, prices, left);
            let (now, modelled) = cleared.into_parts();
            let tried = Tried::new(sellers, now.clone(), model)?;
            differs.learn(&tried.demand, &modelled);
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

/// Changes as little as it takes until nobody is off by more than is borne; `None` inside: that was not
/// found.
fn mend(
    sellers: &[Seller],
    begin: &Tried,
    resting: bool,
    model: &mut dyn Asked,
) -> Option<Option<Tried>> {
    let prices = filled(sellers, Some(&begin.prices));
    let market = model.market(&prices);
    let common = f64::from(common_excess(sellers, &begin.demand));
    let (_, rounds, most) = ORDINARY;
    let left = (rounds * market.rows()).min(most / (2 * MENDED));
    let mut differs = Differs::new(sellers.len());
    if market.is_sample() {
        let short = Priced::new(&market, prices.clone()).into_parts().1;
        differs.learn(&begin.demand, &short);
    }
    for _ in 0..MENDED {
        let room = |pop: usize, price: f32| {
            let room = f64::from(sellers.get(pop)?.room?);
            Some(room * common * differs.of(pop)? * f64::from(forgiven(price)))
        };
        let prices = prices.clone();
        let Some((prices, short)) = mended(&market, &room, prices, begin.borne(resting), left)
        else {
            break;
        };
        let tried = Tried::new(sellers, prices, model)?;
        if tried.content(sellers, resting) {
            return Some(Some(tried));
        }
        differs.learn(&tried.demand, &short);
    }
    Some(None)
}

/// How many times what the model says the market says of each PoP.
#[derive(Clone, Debug)]
struct Differs(Vec<f64>);

impl Differs {
    fn new(pops: usize) -> Self {
        Self(vec![1.0; pops])
    }

    fn of(&self, pop: usize) -> Option<f64> {
        self.0.get(pop).copied()
    }

    fn learn(&mut self, modelled: &[f32], short: &[f64]) {
        for (differs, (real, short)) in self.0.iter_mut().zip(modelled.iter().zip(short)) {
            let times = short / f64::from(*real);
            *differs = if *real > 0.0 {
                times.clamp(0.5, 2.0)
            } else {
                1.0
            };
        }
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
    // More is wrong than clients may move in a step: on a way of many steps shares go on changing under
    // prices that nobody searched.
    if begin.misplaced > MOVED * begin.demand.iter().sum::<f32>() {
        return Some(found.demand.clone());
    }
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
        let borne = self.borne(resting);
        let each = sellers.iter().zip(&self.prices).zip(&self.excess);
        each.filter_map(|((seller, price), excess)| Some((seller.room?, *price, *excess)))
            .all(|(room, price, excess)| {
                let (room, excess) = (f64::from(room), f64::from(excess));
                !borne.is_above(excess, room) && !borne.is_below(price, excess, room)
            })
    }

    fn borne(&self, resting: bool) -> Borne {
        Borne::new(resting, f64::from(self.demand.iter().sum::<f32>()))
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
