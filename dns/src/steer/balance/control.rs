//! From loads to prices: one controller for all PoPs, stepped once a tick.

use std::sync::Arc;

/// Most that a price may be, ms.
const PRICE_MAX: f32 = 2000.0;
/// Longest time that counts between two steps, s.
const STEP_MAX_S: f32 = 60.0;
/// Load more than this far from the target moves a price.
const DEAD_BAND: f32 = 0.03;
/// ms a second that a price rises while the load is twice the target.
const RATE: f32 = 1.0;
/// Least free capacity that a PoP is thought to have.
const FREE_MIN: f32 = 0.1;
/// Seconds in which free capacity follows the load by 63 %.
const FREE_S: f32 = 300.0;
/// Share of its full part that a PoP begins its ramp with.
const RAMP_FROM: f32 = 0.02;
/// A load above this many times the capacity is no load but a mistake.
const ABSURD: f32 = 1000.0;

/// What is known of one PoP at a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Load ÷ capacity; `None`: not known. What is no number, negative or absurd counts as `None`.
    pub ratio: Option<f32>,
    /// Soft limit of the ratio.
    pub target: f32,
    /// Whether it may be chosen at all: neither down nor drained.
    pub usable: bool,
    /// Seconds in which it grows to its full share once it is usable again.
    pub ramp_s: f32,
    /// Its capacity in the unit of its load, to compare it with others of which nothing was
    /// measured yet; `None`: not known.
    pub capacity: Option<f32>,
}

/// What one PoP is worth at the moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// The load term of the score before its weight, ms; of an unknown PoP the mean of the known.
    pub price_ms: f32,
    /// Free part of its capacity, above 0 and at most 1; of an unknown PoP the mean of the known.
    pub free: f32,
    /// Share of its full part that it may have, above 0 and at most 1.
    pub ramp: f32,
    /// Whether its load is known.
    pub known: bool,
}

impl Price {
    /// Of a PoP of which nothing is known, where nothing is known of any.
    pub const NEUTRAL: Self = Self {
        price_ms: 0.0,
        free: 1.0,
        ramp: 1.0,
        known: false,
    };
}

/// One for each PoP, by its number.
pub type Prices = Arc<[Price]>;

/// The controller's memory.
#[derive(Clone, Debug, Default)]
pub struct Balance {
    pops: Vec<State>,
    last_s: Option<f64>,
}

/// One PoP's.
#[derive(Clone, Copy, Debug)]
struct State {
    price: f32,
    free: f32,
    known: bool,
    /// Since when it is usable, s; `None`: it is not. Long ago for those of the beginning.
    since: Option<f64>,
    ramp: f32,
}

impl State {
    const NEW: Self = Self {
        price: 0.0,
        free: 1.0,
        known: false,
        since: None,
        ramp: 1.0,
    };
}

impl Balance {
    /// The memory of another configuration: `old` gives the number that a PoP had before, and
    /// `None` for a new one, which grows by its ramp.
    pub fn renumbered(&self, pops: usize, old: impl Fn(usize) -> Option<usize>) -> Self {
        let state = |pop| old(pop).and_then(|old| self.pops.get(old).copied());
        Self {
            pops: (0..pops)
                .map(|pop| state(pop).unwrap_or(State::NEW))
                .collect(),
            last_s: self.last_s,
        }
    }

    /// One tick: takes the readings of all PoPs, by number, and gives the prices to score by.
    ///
    /// `model` tells which demand each PoP would get at given prices, in any unit. At the first
    /// step every usable PoP has its full share.
    pub fn step(
        &mut self,
        now_s: f64,
        readings: &[Reading],
        model: &mut dyn FnMut(&[f32]) -> Vec<f32>,
    ) -> Prices {
        let _ = model;
        let passed = self.last_s.map_or(0.0, |last| now_s - last);
        let passed = (passed.max(0.0) as f32).min(STEP_MAX_S);
        let first = self.last_s.is_none();
        self.last_s = Some(now_s);
        self.pops.resize(readings.len(), State::NEW);
        for (state, reading) in self.pops.iter_mut().zip(readings) {
            state.grow(now_s, reading, first);
            state.weigh(passed, reading);
        }
        self.prices()
    }

    fn prices(&self) -> Prices {
        let known = || self.pops.iter().filter(|state| state.known);
        let count = known().count() as f32;
        let mean = |of: fn(&State) -> f32, none: f32| {
            if count > 0.0 {
                known().map(of).sum::<f32>() / count
            } else {
                none
            }
        };
        let price = mean(|state| state.price, 0.0);
        let free = mean(|state| state.free, 1.0);
        let one = |state: &State| Price {
            price_ms: if state.known { state.price } else { price },
            free: if state.known { state.free } else { free },
            ramp: state.ramp,
            known: state.known,
        };
        self.pops.iter().map(one).collect()
    }
}

impl State {
    fn grow(&mut self, now_s: f64, reading: &Reading, first: bool) {
        if !reading.usable {
            self.since = None;
            return;
        }
        let since = *self
            .since
            .get_or_insert(if first { f64::MIN } else { now_s });
        let grown = (now_s - since) / f64::from(reading.ramp_s);
        // No ramp, or one that is no time at all: grown up at once.
        self.ramp = if reading.ramp_s > 0.0 {
            (grown as f32).clamp(RAMP_FROM, 1.0)
        } else {
            1.0
        };
    }

    fn weigh(&mut self, passed: f32, reading: &Reading) {
        let sane = |ratio: &f32| (0.0..=ABSURD).contains(ratio);
        let ratio = reading.ratio.filter(sane);
        self.known = ratio.is_some();
        let Some(ratio) = ratio else { return };
        let off = ratio / reading.target.clamp(0.01, 1.0) - 1.0;
        if off.abs() > DEAD_BAND {
            self.price = (self.price + RATE * passed * off.clamp(-1.0, 1.0)).clamp(0.0, PRICE_MAX);
        }
        let follow = (passed / FREE_S).min(1.0);
        self.free += ((1.0 - ratio).clamp(FREE_MIN, 1.0) - self.free) * follow;
    }
}
