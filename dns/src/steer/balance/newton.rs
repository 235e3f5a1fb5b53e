//! All prices at once, by slopes.
//!
//! What a PoP is asked for changes with its own price and with those of its neighbours. Where these
//! slopes are known, prices that clear the market follow from linear equations, in which no price is
//! below 0 and none goes farther than slopes can be believed. What a price sends away is about what
//! others get, so solving the equations in turn, again and again, comes near their solution, and that
//! looks at no row. The law of sharing has bends: up and down a slope is another one, and a step
//! that helps less than the equations say is tried again with prices that go less far. Where shares
//! are held whatever the price, there is no slope: such a PoP finds its price alone (`clear.rs`).

use super::{
    clear::{CLOSER, Clearing, Room},
    market::{Priced, shifted},
};

/// Steps in a row, at most.
const STEPS: usize = 30;
/// Farthest that a price goes in a step, ms: at most, in a first step, and when there is no more to gain.
const FAR_MS: f32 = 40.0;
pub(super) const FIRST_MS: f32 = 4.0;
const NEAR_MS: f32 = 0.1;
/// How much farther after a step that was good, and nearer after one that was poor or in vain.
const FARTHER: f32 = 2.0;
const NEARER: f32 = 0.5;
const VAIN: f32 = 0.3;
/// Parts of what the equations promise from which on a step is not in vain, not poor, and good.
const KEPT: [f64; 3] = [0.1, 0.3, 0.6];
/// Between which prices a slope is seen, ms, at most; and as a part of the step.
const APART_MS: f32 = 1.0;
const APART: f32 = 0.2;
/// Least slope that is one, as a part of the room for each ms.
const LEAST: f64 = 1e-4;
/// Times that the equations are gone through, and changes that are none, ms.
const SWEEPS: usize = 300;
const STILL_MS: f64 = 2e-3;
/// What demand counts that is missing where there is a price, and from which price on, ms.
const MISSING: f64 = 0.5;
const PRICED_MS: f64 = 1.0;

/// What a ms of a PoP's price changes of its own excess, and of that of others.
#[derive(Debug, Default)]
struct Slope {
    own: f64,
    others: Vec<(usize, f64)>,
}

/// Slopes at some prices, of those that fall and of those that rise; as far as they were needed.
struct Slopes {
    apart: f32,
    of: Vec<[Option<Slope>; 2]>,
}

/// One PoP in the equations.
#[derive(Clone, Copy, Debug)]
struct Term {
    /// Its price now, and by how much it should change, ms.
    price: f64,
    by: f64,
    /// What it has too much then, and its room; 0 where none is known.
    excess: f64,
    room: f64,
}

impl Slopes {
    fn new(pops: usize, far: f32) -> Self {
        Self {
            apart: (far * APART).min(APART_MS),
            of: (0..pops).map(|_| [None, None]).collect(),
        }
    }
}

impl Clearing<'_> {
    /// Steps by slopes, as long as they help. No price goes farther than `far` ms in the first one;
    /// how far it may go in the next one is left there.
    pub(super) fn by_slopes(&mut self, far: &mut f32) {
        *far = far.clamp(FIRST_MS, FAR_MS);
        let mut wrong = wrong(&self.now, self.room);
        let mut slopes = Slopes::new(self.pops, *far);
        for _ in 0..STEPS {
            if wrong <= 0.0 || !wrong.is_finite() || self.left == 0 || *far < NEAR_MS {
                return;
            }
            let terms = self.solved(&mut slopes, *far);
            let promised: f64 = terms.iter().map(|term| term.wrong()).sum();
            let then = Priced::new(self.market, terms.iter().map(Term::price).collect());
            self.left = self.left.saturating_sub(self.market.rows());
            let left = self::wrong(&then, self.room);
            let kept = (wrong - left) / (wrong - promised).max(f64::MIN_POSITIVE);
            let [vain, poor, good] = KEPT;
            if left < wrong && kept > vain {
                (self.now, wrong) = (then, left);
                if kept > good {
                    *far = (*far * FARTHER).min(FAR_MS);
                } else if kept < poor {
                    *far *= NEARER;
                }
                slopes = Slopes::new(self.pops, *far);
            } else {
                *far *= VAIN;
                if *far < slopes.apart {
                    slopes = Slopes::new(self.pops, *far);
                }
            }
        }
    }

    /// Solves the equations, with prices at most `far` ms away.
    fn solved(&mut self, slopes: &mut Slopes, far: f32) -> Vec<Term> {
        let term = |pop| {
            // A room that is no number says nothing.
            let known = self.excess(pop);
            let known = known.filter(|(excess, room)| excess.is_finite() && room.is_finite());
            let (excess, room) = known.unwrap_or((0.0, 0.0));
            let price = f64::from(self.now.price(pop));
            Term {
                price,
                by: 0.0,
                excess,
                room,
            }
        };
        let mut terms: Vec<Term> = (0..self.pops).map(term).collect();
        for _ in 0..SWEEPS {
            let mut most = 0.0_f64;
            for pop in 0..self.pops {
                let by = self.turn(&mut terms, slopes, pop, f64::from(far));
                most = most.max(by.unwrap_or(0.0).abs());
            }
            if most < STILL_MS {
                break;
            }
        }
        terms
    }

    /// Changes one price so that its own equation holds, as far as it may; by how much, ms.
    fn turn(
        &mut self,
        terms: &mut [Term],
        slopes: &mut Slopes,
        pop: usize,
        far: f64,
    ) -> Option<f64> {
        let term = terms.get_mut(pop).filter(|term| term.is_off())?;
        // Not across its price of now, where the slope is another one: that is for the next turn.
        let rises = term.by > 0.0 || term.by == 0.0 && term.excess > 0.0;
        let slope = self.slope(slopes, pop, rises)?;
        if slope.own > -LEAST * term.room || !slope.own.is_finite() {
            return None;
        }
        let (least, most) = match rises {
            true => (0.0, far),
            false => (-far.min(term.price), 0.0),
        };
        let to = (term.by - term.excess / slope.own).clamp(least, most);
        let by = to - term.by;
        term.by = to;
        term.excess += slope.own * by;
        for (other, slope) in &slope.others {
            if let Some(other) = terms.get_mut(*other) {
                other.excess += slope * by;
            }
        }
        Some(by)
    }

    fn slope<'s>(&mut self, slopes: &'s mut Slopes, pop: usize, rises: bool) -> Option<&'s Slope> {
        let apart = if rises { slopes.apart } else { -slopes.apart };
        let slot = slopes.of.get_mut(pop)?.get_mut(usize::from(rises))?;
        if slot.is_none() {
            *slot = Some(self.seen(pop, apart));
        }
        slot.as_ref()
    }

    /// The slope between two prices.
    fn seen(&mut self, pop: usize, apart: f32) -> Slope {
        let price = self.now.price(pop);
        let to = shifted(price, apart);
        let by = f64::from(to - price);
        let mut slope = Slope::default();
        if by == 0.0 {
            return slope;
        }
        let room = |price| (self.room)(pop, price).unwrap_or(0.0);
        let (changes, rows) = self.now.changes(pop, to);
        for (other, more) in changes {
            if other == pop {
                slope.own = (more - room(to) + room(price)) / by;
            } else {
                slope.others.push((other, more / by));
            }
        }
        self.left = self.left.saturating_sub(rows);
        slope
    }
}

impl Term {
    /// Whether it should have another price, if that may be.
    fn is_off(&self) -> bool {
        let is_full = self.excess > 0.0 || self.price + self.by > 0.0;
        self.room > 0.0 && is_full && self.excess.abs() >= 0.3 * CLOSER * self.room
    }

    // A price.
    #[allow(clippy::cast_possible_truncation)]
    fn price(&self) -> f32 {
        shifted(self.price as f32, self.by as f32)
    }

    fn wrong(&self) -> f64 {
        off(self.price(), self.excess, self.room)
    }
}

/// Demand that is where it should not be: above a room, or missing where there is a price.
pub(super) fn wrong(at: &Priced<'_>, room: &Room<'_>) -> f64 {
    let one = |pop: usize| {
        let price = at.price(pop);
        let room = room(pop, price)?;
        Some(off(price, at.demand(pop) - room, room))
    };
    (0..at.pops()).filter_map(one).sum()
}

fn off(price: f32, excess: f64, room: f64) -> f64 {
    let close = CLOSER * room;
    let priced = (f64::from(price) / PRICED_MS).min(1.0);
    let missing = MISSING * priced * (-excess - close);
    (excess - close).max(missing).max(0.0)
}
