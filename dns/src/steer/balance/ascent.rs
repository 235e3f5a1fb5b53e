//! Which way prices should go: limited-memory BFGS on the demand in the wrong place.
//!
//! Excess demand is the gradient of a concave function of the prices, the dual of the cheapest
//! flow. So a step along a direction in which it still points the same way never leads astray, and
//! what earlier steps did to it tells how steep it is: clients who are about equally far from two
//! PoPs swap them at a breath, and a whole continent moves only after tens of milliseconds.

use std::collections::VecDeque;

/// Steps remembered.
const REMEMBERED: usize = 24;
/// ms for an excess of 100 %, while nothing is remembered.
const PACE: f64 = 20.0;

/// What the last steps did.
#[derive(Clone, Debug, Default)]
pub(super) struct Slopes {
    steps: VecDeque<Step>,
}

/// One of them.
#[derive(Clone, Debug)]
struct Step {
    /// ms
    prices: Box<[f64]>,
    /// By how much the excess fell.
    fell: Box<[f64]>,
    product: f64,
}

impl Slopes {
    pub(super) fn forget(&mut self) {
        self.steps.clear();
    }

    /// Remembers a step from one place to another: prices and excess before and after.
    pub(super) fn learn(&mut self, from: (&[f32], &[f64]), to: (&[f32], &[f64])) {
        let prices = to.0.iter().zip(from.0);
        let prices: Box<[f64]> = prices.map(|(a, b)| f64::from(a - b)).collect();
        let fell = from.1.iter().zip(to.1);
        let fell: Box<[f64]> = fell.map(|(a, b)| a - b).collect();
        let product = dot(&prices, &fell);
        let sizes = (dot(&prices, &prices) * dot(&fell, &fell)).sqrt();
        if product <= 1e-6 * sizes || !product.is_finite() {
            return;
        }
        if self.steps.len() == REMEMBERED {
            self.steps.pop_front();
        }
        self.steps.push_back(Step {
            prices,
            fell,
            product,
        });
    }

    /// ms by which each price should change; `free` are those that may.
    pub(super) fn direction(&self, excess: &[f64], room: &[f64], free: &[bool]) -> Vec<f64> {
        let only = |list: &mut Vec<f64>| {
            for (one, free) in list.iter_mut().zip(free) {
                *one = if *free { *one } else { 0.0 };
            }
        };
        let mut left = excess.to_vec();
        only(&mut left);
        let mut parts = Vec::with_capacity(self.steps.len());
        for step in self.steps.iter().rev() {
            let part = dot(&step.prices, &left) / step.product;
            add(&mut left, &step.fell, -part);
            parts.push(part);
        }
        let pace = self.steps.back().map_or(PACE, |step| {
            let squares = step.fell.iter().zip(room).map(|(f, r)| f * f / r);
            (step.product / squares.sum::<f64>()).clamp(1e-3, 1e3)
        });
        let scaled = left.iter().zip(room).map(|(left, room)| pace * left / room);
        let mut way: Vec<f64> = scaled.collect();
        for (step, part) in self.steps.iter().zip(parts.iter().rev()) {
            let back = dot(&step.fell, &way) / step.product;
            add(&mut way, &step.prices, part - back);
        }
        only(&mut way);
        if dot(&way, excess) > 0.0 {
            return way;
        }
        let plain = excess.iter().zip(room).map(|(one, room)| PACE * one / room);
        let mut plain = plain.collect();
        only(&mut plain);
        plain
    }
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], what: &[f64], times: f64) {
    for (to, what) in to.iter_mut().zip(what) {
        *to += times * what;
    }
}
