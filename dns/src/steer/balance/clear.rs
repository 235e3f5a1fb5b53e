//! Prices that clear a market: nobody is asked for more than its room, and who has a price for no
//! less.
//!
//! All prices go at once where the slopes of demand say so (`newton.rs`). That ends where demand has no
//! slope or a bend. From there whoever is asked for too much raises its own price until it is
//! not, one PoP after the other; when nobody is, whoever has a price too much lowers it. Each finds
//! its own price as exactly as it needs it, small PoPs beside large cells too. PoPs that are full and
//! meet in cells shift their prices alike, until they have their room together: a region whose PoPs push
//! clients to and fro among each other is full at any prices until these reach beyond it.

use super::{
    market::{Market, Priced, shifted},
    newton::{FIRST_MS, wrong},
    solve::PRICE_MAX,
};

/// Part of its room by which a PoP may be off.
const CLOSE: f64 = 2e-3;
/// The same, when its price is searched.
pub(super) const CLOSER: f64 = 1e-3;
/// Who is no farther below its room is full.
const FULL: f64 = 4e-3;
/// Rounds in which each PoP has its turn, at most; and those after the last part.
const ROUNDS: usize = 60;
const LAST_ROUNDS: usize = 4;
/// Rows from which on a round costs so much that it must bring something: no more of what was wrong may
/// be left than this part.
const MANY: usize = 5_000;
const SLOW: f64 = 0.8;
/// Times that all rows may be looked at for the last part, whatever was needed before.
const LAST: usize = 50;
/// How much farther than clients can go now groups reach, by turns, ms.
const FURTHER_MS: [f32; 4] = [0.0, 1.0, 4.0, 16.0];
/// First step of a price, ms; one step is so many times the one before.
const STEP_MS: f32 = 6.0;
const LONGER: f32 = 3.0;
/// Prices that are no farther apart are the same, ms.
const SAME_MS: f32 = 1e-3;
/// The same for groups, and for a price that is lowered at last.
const SAME_GROUP_MS: f32 = 0.02;
/// Prices tried for one PoP or group.
const TRIES: usize = 24;

/// What a PoP has room for, at its price; `None`: not known, its price stays.
pub(super) type Room<'a> = dyn Fn(usize, f32) -> Option<f64> + 'a;

/// A search in a market.
pub(super) struct Clearing<'a> {
    pub(super) market: &'a Market,
    pub(super) room: &'a Room<'a>,
    pub(super) now: Priced<'a>,
    pub(super) pops: usize,
    /// Rows that may still be looked at.
    pub(super) left: usize,
}

impl<'a> Clearing<'a> {
    /// A search that may look at so many rows.
    pub(super) fn new(
        market: &'a Market,
        room: &'a Room<'a>,
        now: Priced<'a>,
        left: usize,
    ) -> Self {
        let pops = now.pops();
        Self {
            market,
            room,
            now,
            pops,
            left,
        }
    }

    /// Clears a market, beginning at some prices; looks at about `left` rows, no more.
    pub(super) fn of(
        market: &'a Market,
        room: &'a Room<'a>,
        prices: Vec<f32>,
        left: usize,
    ) -> Priced<'a> {
        let pops = prices.len();
        let now = Priced::new(market, prices);
        let mut all = Self::new(market, room, now, left);
        let (mut far, mut least) = (FIRST_MS, f64::INFINITY);
        for round in 0..ROUNDS {
            all.by_slopes(&mut far);
            let rises = all.each(true);
            if !rises && !all.each(false) || all.left == 0 {
                break;
            }
            if market.rows() >= MANY {
                let wrong = wrong(&all.now, room);
                if wrong > SLOW * least {
                    break;
                }
                least = wrong;
            }
            let further = FURTHER_MS.get(round % FURTHER_MS.len());
            all.together(rises, further.copied().unwrap_or(0.0));
        }
        all.left = all.left.max(LAST * market.rows());
        (0..pops).for_each(|pop| all.lower(pop));
        // The best PoP of a cell says who else is near: with its price those of others may be too low.
        let mut rounds = 0..LAST_ROUNDS;
        while rounds.next().is_some() && all.each(true) {}
        all.now
    }

    /// Lowers a price to the least at which nobody is asked for more than its room: where shares
    /// are held as they were, a range of prices says the same, and a price too much costs latency.
    fn lower(&mut self, pop: usize) {
        let before = self.now.price(pop);
        let Some((excess, _)) = self.excess(pop).filter(|(excess, _)| *excess <= 0.0) else {
            return;
        };
        if before <= 0.0 || self.left == 0 {
            return;
        }
        let live = self.now.live(pop, 0.0);
        let mut bracket = Bracket::new(before, excess, (0.0, PRICE_MAX));
        while let Some(price) = bracket.next(SAME_GROUP_MS) {
            let Some(room) = (self.room)(pop, price) else {
                return;
            };
            bracket.learn(price, self.now.asked(&live, price) - room);
            self.left = self.left.saturating_sub(live.rows());
        }
        self.now.change(pop, bracket.above(), &live);
    }

    pub(super) fn excess(&self, pop: usize) -> Option<(f64, f64)> {
        let room = (self.room)(pop, self.now.price(pop))?;
        Some((self.now.demand(pop) - room, room))
    }

    /// Who is asked for too much raises its price; or who has a price too much lowers it. Whether
    /// there was anyone.
    fn each(&mut self, rises: bool) -> bool {
        let mut any = false;
        for pop in 0..self.pops {
            let Some((excess, room)) = self.excess(pop) else {
                continue;
            };
            let is_priced = self.now.price(pop) > 0.0;
            let is_off = match rises {
                true => excess > CLOSE * room,
                false => excess < -CLOSE * room && is_priced,
            };
            if is_off && self.left > 0 {
                any = true;
                self.one(pop, excess);
            }
        }
        any
    }

    /// Finds the price at which one PoP is asked for its room, or a bit less.
    pub(super) fn one(&mut self, pop: usize, excess: f64) {
        let before = self.now.price(pop);
        let lowest = if excess > 0.0 { before } else { 0.0 };
        let live = self.now.live(pop, lowest);
        let mut bracket = Bracket::new(before, excess, (lowest, PRICE_MAX));
        while let Some(price) = bracket.next(SAME_MS) {
            let Some(room) = (self.room)(pop, price) else {
                return;
            };
            let excess = self.now.asked(&live, price) - room;
            bracket.learn(price, excess);
            self.left = self.left.saturating_sub(live.rows());
            if excess <= 0.0 && -excess < CLOSER * room {
                break;
            }
        }
        self.now.change(pop, bracket.above(), &live);
        self.left = self.left.saturating_sub(2 * live.rows());
    }

    /// PoPs that are full and meet in cells shift their prices together.
    fn together(&mut self, rises: bool, further: f32) {
        let is_full = |pop: usize| {
            let Some((excess, room)) = self.excess(pop) else {
                return false;
            };
            let is_priced = self.now.price(pop) > 0.0;
            match rises {
                true => excess > -FULL * room,
                false => excess < FULL * room && is_priced,
            }
        };
        let full: Vec<bool> = (0..self.pops).map(is_full).collect();
        let groups = self.now.groups(&full, further);
        self.left = self.left.saturating_sub(self.market.rows());
        for group in groups {
            let each = group.iter().filter_map(|pop| self.excess(*pop));
            let (excess, room) = each.fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
            if (excess > 0.0) == rises && excess.abs() >= CLOSE * room && self.left > 0 {
                self.shift(&group, excess);
            }
        }
    }

    /// Shifts the prices of a group: up until it has no more than its room in all; down as long as
    /// none of it has.
    fn shift(&mut self, group: &[usize], excess: f64) {
        let most = group.iter().map(|pop| self.now.price(*pop));
        let lowest = if excess > 0.0 {
            0.0
        } else {
            -most.fold(0.0, f32::max)
        };
        let rows = self.now.around(group, excess > 0.0);
        // What other rows bring stays as it is.
        let here = self.now.shifted(&rows, group, 0.0);
        let mut bracket = Bracket::new(0.0, excess, (lowest, PRICE_MAX));
        while let Some(by) = bracket.next(SAME_GROUP_MS) {
            let then = self.now.shifted(&rows, group, by);
            self.left = self.left.saturating_sub(rows.len());
            let (mut sum, mut over, mut all) = (0.0, 0.0, 0.0);
            for pop in group {
                let Some((here, then)) = here.get(*pop).zip(then.get(*pop)) else {
                    continue;
                };
                let price = shifted(self.now.price(*pop), by);
                let room = (self.room)(*pop, price).unwrap_or(0.0);
                let demand = self.now.demand(*pop) + then - here;
                sum += demand - room;
                over += (demand - (1.0 + CLOSE) * room).max(0.0);
                all += room;
            }
            let off = if excess <= 0.0 && over > 0.0 {
                over
            } else {
                sum
            };
            bracket.learn(by, off);
            if off.abs() < CLOSE * all {
                break;
            }
        }
        self.now.shift(&rows, group, bracket.above());
        self.left = self.left.saturating_sub(3 * rows.len());
    }
}

/// Between which prices the excess ends.
struct Bracket {
    /// The highest price known to be too low, with its excess; and the lowest one that is not.
    low: Option<(f32, f64)>,
    high: Option<(f32, f64)>,
    bounds: (f32, f32),
    step: f32,
    tried: usize,
}

impl Bracket {
    fn new(at: f32, excess: f64, bounds: (f32, f32)) -> Self {
        let mut new = Self {
            low: None,
            high: None,
            bounds,
            step: STEP_MS,
            tried: 0,
        };
        new.learn(at, excess);
        new.tried = 0;
        new
    }

    fn learn(&mut self, at: f32, excess: f64) {
        let end = if excess > 0.0 {
            &mut self.low
        } else {
            &mut self.high
        };
        *end = Some((at, excess));
        self.tried += 1;
    }

    /// The next price to try.
    // A part of a distance.
    #[allow(clippy::cast_possible_truncation)]
    fn next(&mut self, same: f32) -> Option<f32> {
        if self.tried >= TRIES {
            return None;
        }
        let (least, most) = self.bounds;
        let (from, to) = match (self.low, self.high) {
            (Some((low, above)), Some((high, below))) => {
                let part = (above / (above - below)) as f32;
                // By halves now and then: demand is anything but straight.
                let part = if self.tried % 3 == 2 {
                    0.5
                } else {
                    part.clamp(0.05, 0.95)
                };
                return (high - low > same).then_some(low + (high - low) * part);
            }
            (Some((low, _)), None) => (low, (low + self.step).min(most)),
            (None, Some((high, _))) => (high, (high - self.step).max(least)),
            (None, None) => return None,
        };
        self.step *= LONGER;
        (from.to_bits() != to.to_bits()).then_some(to)
    }

    /// The lowest price at which there was no excess, if there is one.
    fn above(&self) -> f32 {
        self.high.or(self.low).map_or(0.0, |end| end.0)
    }
}
