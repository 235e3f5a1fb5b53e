//! From loads to prices: one controller for all PoPs, stepped once a tick.
//!
//! ```text
//! readings ─► ramp, free capacity                          this file
//!          ─► load per modelled client (what no lag explains)   calibrate.rs
//!          ─► prices under which no PoP is above its target     solve.rs
//! ```
//!
//! The controller does not wait for clients to move: its model tells at once what a price or a
//! death will do, and measurement only corrects the model. What is underway, because resolvers
//! still hold the answers before, is not taken for an error.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Market,
    calibrate::{Calibration, Past},
    solve::{Asked, Demand, Search, Seller},
};

/// Longest time that counts between two steps, s.
const STEP_MAX_S: f32 = 60.0;
/// Least free capacity that a PoP is thought to have.
const FREE_MIN: f32 = 0.1;
/// Seconds in which free capacity follows the load by 63 %.
const FREE_S: f32 = 300.0;
/// What is published of free capacity may be off by this part of it: it moves no one for nothing.
const FREE_SLACK: f32 = 0.1;
/// Share of its full part that a PoP begins its ramp with.
const RAMP_FROM: f32 = 0.02;
/// Part of the target that is aimed at: readings are noisy, and "above" is what must not happen.
const AIM: f32 = 0.984;
/// Without a model, ms a second for a load of twice the target, and at most; seconds that count at a
/// step.
const FELT_PACE: f32 = 0.5;
const FELT_MOST: f32 = 0.2;
const FELT_S: f32 = 10.0;
/// Part of the target below which such a price falls, and the most that it rises to, ms.
const FELT_LOW: f32 = 0.9;
const FELT_MAX_MS: f32 = 300.0;
/// When PoPs became usable that were so at the first step, s.
const LONG_AGO_S: f64 = -1e9;
/// A load above this many times the capacity is no load but a mistake.
const ABSURD: f32 = 1000.0;

/// What is known of one PoP at a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Load ÷ capacity; `None`: not known. What is no number, negative or absurd counts as `None`.
    pub ratio: Option<f32>,
    /// Soft limit of the ratio, above 0.
    pub target: f32,
    /// Whether it may be chosen at all: neither down nor drained.
    pub usable: bool,
    /// Seconds in which it grows to its full share once it is usable again.
    pub ramp_s: f32,
    /// Its capacity in the unit of its load, to compare it with others while nothing was measured
    /// of its own; `None`: not known.
    pub capacity: Option<f32>,
    /// Whether anything should tell its load. What was learned of a PoP is kept while that is
    /// silent, and forgotten where there is no such thing.
    pub source: bool,
}

/// What one PoP is worth at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// The load term of the score before its weight, ms; the mean of the others where it is not its
    /// own.
    pub price_ms: f32,
    /// Free part of its capacity, above 0 and at most 1; likewise.
    pub free: f32,
    /// Share of its full part that it may have, above 0 and at most 1.
    pub ramp: f32,
    /// Whether its load is known.
    pub known: bool,
    /// Whether price and free capacity are its own: its load is known, or was before its source fell
    /// silent.
    pub own: bool,
}

impl Price {
    /// Of a PoP of which nothing is known, where nothing is known of any.
    pub const NEUTRAL: Self = Self {
        price_ms: 0.0,
        free: 1.0,
        ramp: 1.0,
        known: false,
        own: false,
    };
}

/// What is known of where clients are.
pub trait Model {
    /// Demand of each PoP as clients are shared at the moment, in any unit.
    fn now(&mut self) -> Vec<f32>;

    /// Demand that each PoP would get at these prices (ms), all else as it is.
    fn at(&mut self, prices: &[f32]) -> Vec<f32>;

    /// The same as rows, to look for such prices in: with who may take part at prices about these.
    fn market(&mut self, prices: &[f32]) -> Market;
}

/// One for each PoP, by its number.
pub type Prices = Arc<[Price]>;

/// The controller's memory. What is written of it counts seconds as [`Balance::step`] was told them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Balance {
    pops: Vec<State>,
    past: Past,
    /// Found again after a restart.
    #[serde(skip)]
    search: Search,
    last_s: Option<f64>,
}

/// One PoP's.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct State {
    seller: Seller,
    calibration: Calibration,
    free: f32,
    /// As published.
    shown_free: f32,
    known: bool,
    /// Whether its price is its own.
    own: bool,
    /// As last told.
    #[serde(default)]
    capacity: Option<f32>,
    usable: bool,
    /// Since when it is usable, s; `None`: it is not. Long ago for those of the beginning.
    since: Option<f64>,
    ramp: f32,
}

impl State {
    const NEW: Self = Self {
        seller: Seller::NEW,
        calibration: Calibration::NEW,
        free: 1.0,
        shown_free: 1.0,
        known: false,
        own: false,
        capacity: None,
        usable: false,
        since: None,
        ramp: 1.0,
    };
}

/// A model that is believed only where it makes sense.
struct Sane<'a>(&'a mut dyn Model);

impl Asked for Sane<'_> {
    fn at(&mut self, prices: &[f32]) -> Option<Demand> {
        sane(self.0.at(prices), prices.len())
    }

    fn market(&mut self, prices: &[f32]) -> Market {
        self.0.market(prices)
    }
}

impl Balance {
    /// The memory under another configuration: `old` gives the number that a PoP had before, and
    /// `None` for a new one, which grows by its ramp.
    pub fn renumbered(&self, pops: usize, old: impl Fn(usize) -> Option<usize>) -> Self {
        let state = |pop| old(pop).and_then(|old| self.pops.get(old).copied());
        Self {
            pops: (0..pops)
                .map(|pop| state(pop).unwrap_or(State::NEW))
                .collect(),
            past: self.past.renumbered(pops, &old),
            search: Search::default(),
            last_s: self.last_s,
        }
    }

    /// The same on a clock that shows `by_s` seconds more: that of another process.
    #[must_use]
    pub fn later(mut self, by_s: f64) -> Self {
        let since = self
            .pops
            .iter_mut()
            .filter_map(|state| state.since.as_mut());
        for at in since.chain(&mut self.last_s) {
            *at += by_s;
        }
        self.past.later(by_s);
        self
    }

    /// One tick: takes the readings of all PoPs, by number, and gives the prices to score by.
    ///
    /// The model is asked a few times: at most 12 times in an ordinary step and 7 after a failure,
    /// the market among them.
    /// Where it has nothing to say (another length, no number, nobody asks anything) prices follow
    /// the readings alone, by no more than 2 ms in 10 s.
    ///
    /// At the first step every usable PoP has its full share.
    pub fn step(&mut self, now_s: f64, readings: &[Reading], model: &mut dyn Model) -> Prices {
        let passed = self.last_s.map_or(0.0, |last| (now_s - last).max(0.0));
        let last_s = self.last_s.replace(now_s);
        self.pops.resize(readings.len(), State::NEW);
        let mut failed = false;
        for (state, reading) in self.pops.iter_mut().zip(readings) {
            failed |= state.usable && !reading.usable;
            state.grow(now_s, reading, last_s.is_none());
            state.hear(reading);
        }
        let passed = seconds(passed);
        let Some(now) = sane(model.now(), readings.len()) else {
            self.feel(passed, readings);
            return self.prices();
        };
        // In force since it was decided, which is the last step.
        self.past.push(last_s.unwrap_or(now_s), now_s, now.clone());
        self.calibrate(now_s, passed, readings, &now);
        let then = self.price(passed, failed, readings, model);
        if then.is_none() {
            self.feel(passed, readings);
        }
        self.weigh(passed, readings, &then.unwrap_or(now));
        self.prices()
    }

    /// Learns how much load a modelled client makes at each PoP.
    fn calibrate(&mut self, now_s: f64, passed: f32, readings: &[Reading], now: &[f32]) {
        let expected = self.past.expected(now_s, self.pops.len());
        for ((state, reading), expected) in self.pops.iter_mut().zip(readings).zip(expected) {
            let ratio = reading.ratio.filter(|_| state.known && state.usable);
            state.calibration.learn(passed, ratio, expected);
        }
        // Load × capacity for each modelled client, over all: what a PoP is thought to do of which
        // nothing was measured yet.
        let both = || {
            let all = self.pops.iter().zip(readings).zip(now);
            all.filter(|((state, _), _)| state.known)
        };
        let capacity = |reading: &Reading| reading.capacity.filter(|one| *one > 0.0);
        let (load, demand) = both()
            .filter_map(|((state, reading), now)| {
                let gain = state.calibration.own()?;
                Some((gain * now * capacity(reading)?, *now))
            })
            .fold((0.0, 0.0), |(load, demand), one| {
                (load + one.0, demand + one.1)
            });
        let usual = (demand > 0.0).then_some(load / demand);
        for (state, reading) in self.pops.iter_mut().zip(readings) {
            let guess = usual.zip(capacity(reading));
            let guess = guess.map(|(load, capacity)| load / capacity);
            state.calibration.guess(guess);
            if !state.known {
                state.calibration.fade(passed);
            }
        }
    }

    /// Moves the prices to where the model sees nobody above the target; the demand under them.
    fn price(
        &mut self,
        passed: f32,
        failed: bool,
        readings: &[Reading],
        model: &mut dyn Model,
    ) -> Option<Box<[f32]>> {
        let sells = |(state, reading): (&State, &Reading)| {
            let gain = state
                .calibration
                .gain()
                .filter(|_| state.own && state.usable);
            let target = reading.target.clamp(0.01, 1.0);
            Seller {
                // Demand that fills it up to what is aimed at.
                room: gain.map(|gain| AIM * target / gain),
                neutral: !state.own,
                ..state.seller
            }
        };
        let mut sellers: Vec<Seller> = self.pops.iter().zip(readings).map(sells).collect();
        let then = self
            .search
            .step(&mut sellers, passed, failed, &mut Sane(model));
        for (state, seller) in self.pops.iter_mut().zip(sellers) {
            state.seller = seller;
        }
        then
    }

    /// Without a model: the price of who is above the target rises, that of who is well below falls.
    fn feel(&mut self, passed: f32, readings: &[Reading]) {
        for (state, reading) in self.pops.iter_mut().zip(readings) {
            let Some(ratio) = reading.ratio.filter(|_| state.known && state.usable) else {
                continue;
            };
            let of_target = ratio / reading.target.clamp(0.01, 1.0);
            let off = (of_target - 1.0).max(0.0) + (of_target / FELT_LOW - 1.0).min(0.0);
            let by = (FELT_PACE * off).clamp(-FELT_MOST, FELT_MOST) * passed.min(FELT_S);
            let price = state.seller.price;
            state.seller.price = (price + by).clamp(0.0, price.max(FELT_MAX_MS));
        }
    }

    /// Free capacity follows the load that will be, once what is decided has reached everyone.
    fn weigh(&mut self, passed: f32, readings: &[Reading], then: &[f32]) {
        for ((state, reading), demand) in self.pops.iter_mut().zip(readings).zip(then) {
            let gain = state.calibration.gain().map(|gain| gain * demand);
            let load = gain.or(reading.ratio.filter(|_| state.known));
            let Some(load) = load.filter(|_| state.own && state.usable) else {
                continue;
            };
            let follow = (passed / FREE_S).min(1.0);
            state.free += ((1.0 - load).clamp(FREE_MIN, 1.0) - state.free) * follow;
            let (least, most) = (
                state.free / (1.0 + FREE_SLACK),
                state.free * (1.0 + FREE_SLACK),
            );
            state.shown_free = state.shown_free.clamp(least, most.min(1.0));
        }
    }

    fn prices(&self) -> Prices {
        let own = || self.pops.iter().filter(|state| state.own);
        let count = own().count();
        let mean = |of: fn(&State) -> f32, none: f32| {
            let sum: f32 = own().map(of).sum();
            if count > 0 { sum / small(count) } else { none }
        };
        let price = mean(|state| state.seller.price, 0.0);
        let free = mean(|state| state.shown_free, 1.0);
        let one = |state: &State| Price {
            price_ms: if state.own { state.seller.price } else { price },
            free: if state.own { state.shown_free } else { free },
            ramp: state.ramp,
            known: state.known,
            own: state.own,
        };
        self.pops.iter().map(one).collect()
    }
}

impl State {
    /// What is known of it, and whether that or what was known before makes its price.
    fn hear(&mut self, reading: &Reading) {
        let sane = |ratio: &f32| (0.0..=ABSURD).contains(ratio);
        self.known = reading.ratio.is_some_and(|ratio| sane(&ratio));
        if !self.known && !reading.source {
            self.seller = Seller::NEW;
            self.calibration = Calibration::NEW;
        }
        let capacity = reading.capacity.filter(|one| one.is_finite() && *one > 0.0);
        let before = self.capacity;
        self.capacity = capacity.or(before);
        if let Some((before, now)) = before.zip(capacity)
            && !self.known
        {
            // The same load is another part of it. Of a known one the next readings tell that.
            self.calibration.scale(before / now);
        }
        // Of a dead PoP without a load it says nothing.
        let remembered = reading.usable && self.calibration.own().is_some();
        self.own = self.known || remembered;
    }

    // A part of a ramp.
    #[allow(clippy::cast_possible_truncation)]
    fn grow(&mut self, now_s: f64, reading: &Reading, first: bool) {
        self.usable = reading.usable;
        if !reading.usable {
            // Known beforehand: the model must not think that all of it comes back at once.
            self.ramp = if reading.ramp_s > 0.0 { RAMP_FROM } else { 1.0 };
            self.since = None;
            return;
        }
        let begun = if first { LONG_AGO_S } else { now_s };
        let since = *self.since.get_or_insert(begun);
        let grown = (now_s - since) / f64::from(reading.ramp_s);
        // No ramp, or one that is no time at all: grown up at once.
        self.ramp = if reading.ramp_s > 0.0 {
            (grown as f32).clamp(RAMP_FROM, 1.0)
        } else {
            1.0
        };
    }
}

/// What the model says, if it makes sense.
fn sane(demand: Vec<f32>, pops: usize) -> Option<Box<[f32]>> {
    let numbers = demand.iter().all(|one| one.is_finite() && *one >= 0.0);
    let fits = demand.len() == pops && numbers && demand.iter().sum::<f32>() > 0.0;
    fits.then(|| demand.into())
}

// A minute at most.
#[allow(clippy::cast_possible_truncation)]
fn seconds(passed: f64) -> f32 {
    (passed as f32).min(STEP_MAX_S)
}

// A number of PoPs.
#[allow(clippy::cast_precision_loss)]
fn small(count: usize) -> f32 {
    count as f32
}
