//! How much load a modelled client makes at a PoP.
//!
//! What a PoP carries now was decided at some moment of the last minutes, at another moment for
//! each resolver. So what is expected of it lies between what is expected if all resolvers keep
//! answers for as short as they may, and for as long. Only load that neither nor anything between
//! explains says that the model is wrong.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// For how long resolvers keep answers, s: what is thought possible.
const KEPT_S: [f64; LAGS] = [30.0, 100.0, 330.0];
const LAGS: usize = 3;
/// Seconds over which readings are averaged: at least, while load is on its way, and at most.
const LEAST_S: f32 = 60.0;
const MOVING_S: f32 = 180.0;
const MOST_S: f32 = 1200.0;
/// Seconds of a first glance and of a second one, and the part by which each may be off before
/// the mean is begun anew: more than noise is.
const GLANCES: [(f32, f32); 2] = [(30.0, 0.1), (120.0, 0.04)];
/// Load is on its way where what is expected depends on the lag by more than this part.
const MOVING: f32 = 0.02;
/// Seconds in which more load than expected is believed by 63 %, and less.
const RISE_S: f32 = 40.0;
const FALL_S: f32 = 120.0;
/// Seconds of silence after which what was measured is believed by 37 %, and what others are like
/// by the rest.
const FADES_S: f32 = 6.0 * 3600.0;
/// Part by which the load may be off before it is believed.
const SLACK: f32 = 0.003;

/// What was modelled in the last minutes, once for each step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Past {
    steps: VecDeque<(f64, Box<[f32]>)>,
}

impl Past {
    /// What was in force from `since_s` to `now_s`.
    pub(super) fn push(&mut self, since_s: f64, now_s: f64, demand: Box<[f32]>) {
        let longest = KEPT_S.iter().fold(0.0_f64, |most, kept| most.max(*kept));
        self.steps.push_back((since_s, demand));
        let is_over = |at: f64| now_s - at > longest || at > now_s;
        while self.steps.front().is_some_and(|(at, _)| is_over(*at)) {
            self.steps.pop_front();
        }
    }

    pub(super) fn later(&mut self, by_s: f64) {
        self.steps.iter_mut().for_each(|(at, _)| *at += by_s);
    }

    /// What each PoP should have if all resolvers keep answers for one of the times thought
    /// possible: the mean of what was decided in that time.
    pub(super) fn expected(&self, now_s: f64, pops: usize) -> Vec<Expected> {
        let mut all = vec![Expected::default(); pops];
        for (lag, kept) in KEPT_S.iter().enumerate() {
            let begun = self.steps.partition_point(|(at, _)| now_s - at > *kept);
            let begun = begun.min(self.steps.len().saturating_sub(1));
            let count = (self.steps.len() - begun).max(1);
            for (_, demand) in self.steps.range(begun..) {
                for (expected, one) in all.iter_mut().zip(demand) {
                    if let Some(sum) = expected.get_mut(lag) {
                        *sum += one / small(count);
                    }
                }
            }
        }
        all
    }

    pub(super) fn renumbered(&self, pops: usize, old: &impl Fn(usize) -> Option<usize>) -> Self {
        let renumber = |(at, demand): &(f64, Box<[f32]>)| {
            let one = |pop| old(pop).and_then(|old| demand.get(old).copied());
            (*at, (0..pops).map(|pop| one(pop).unwrap_or(0.0)).collect())
        };
        Self {
            steps: self.steps.iter().map(renumber).collect(),
        }
    }
}

/// Demand of a PoP for each of [`KEPT_S`].
pub(super) type Expected = [f32; LAGS];

/// Load ÷ modelled demand of one PoP.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Calibration {
    /// The reading without its noise.
    mean: Option<f32>,
    /// What was expected, as late as the mean is.
    expected: Expected,
    glances: [f32; GLANCES.len()],
    /// For how long readings have been as expected, s.
    calm_s: f32,
    own: Option<f32>,
    guess: Option<f32>,
}

impl Calibration {
    pub(super) const NEW: Self = Self {
        mean: None,
        expected: [0.0; LAGS],
        glances: [0.0; GLANCES.len()],
        calm_s: 0.0,
        own: None,
        guess: None,
    };

    /// As measured, or guessed from others.
    pub(super) fn gain(&self) -> Option<f32> {
        self.own.or(self.guess)
    }

    /// As measured.
    pub(super) fn own(&self) -> Option<f32> {
        self.own
    }

    pub(super) fn guess(&mut self, guess: Option<f32>) {
        self.guess = guess.filter(|guess| guess.is_finite() && *guess > 0.0);
    }

    /// Loads are counted in another unit from now on: so many of it are one of the former.
    pub(super) fn scale(&mut self, by: f32) {
        let scaled = self.own.map(|own| own * by);
        self.own = scaled.filter(|own| own.is_finite() && *own > 0.0);
    }

    /// Some time without a reading: what was measured gets old.
    pub(super) fn fade(&mut self, passed: f32) {
        if let Some((own, guess)) = self.own.as_mut().zip(self.guess) {
            *own += (guess - *own) * (passed / FADES_S).min(1.0);
        }
    }

    /// Takes a reading, beside the demand that it should come from.
    pub(super) fn learn(&mut self, passed: f32, ratio: Option<f32>, expected: Expected) {
        let Some(ratio) = ratio else {
            self.mean = None;
            return;
        };
        let mean = self.smoothen(passed, ratio, expected);
        let (low, high) = range(&self.expected);
        if high <= 0.0 || mean <= 0.0 {
            return;
        }
        let least = mean / high * (1.0 - SLACK);
        let most = mean / low.max(f32::MIN_POSITIVE) * (1.0 + SLACK);
        let own = self.own.unwrap_or(mean / high);
        let (end, pace) = if own < least {
            (least, RISE_S)
        } else {
            (most.min(own), FALL_S)
        };
        let learned = own + (end - own) * (passed / pace).min(1.0);
        self.own = Some(learned).filter(|gain| gain.is_finite() && *gain > 0.0);
    }

    /// The mean reading; what is expected lags behind by as much.
    fn smoothen(&mut self, passed: f32, ratio: f32, expected: Expected) -> f32 {
        let Some(mean) = self.mean else {
            self.mean = Some(ratio);
            self.expected = expected;
            self.glances = [ratio; GLANCES.len()];
            self.calm_s = 0.0;
            return ratio;
        };
        let (low, high) = range(&expected);
        self.calm_s = (self.calm_s + passed).min(MOST_S);
        if high > low * (1.0 + MOVING) {
            self.calm_s = self.calm_s.min(MOVING_S);
        }
        for (glance, (pace, far)) in self.glances.iter_mut().zip(GLANCES) {
            *glance += (ratio - *glance) * (passed / pace).min(1.0);
            let own = self.own.unwrap_or(0.0);
            let is_far = *glance > own * high * (1.0 + far) || *glance < own * low * (1.0 - far);
            if is_far {
                self.calm_s = 0.0;
            }
        }
        let part = (passed / self.calm_s.max(LEAST_S)).min(1.0);
        let mean = mean + (ratio - mean) * part;
        for (late, expected) in self.expected.iter_mut().zip(expected) {
            *late += (expected - *late) * part;
        }
        self.mean = Some(mean);
        mean
    }
}

/// The least and the most of what is expected.
fn range(expected: &Expected) -> (f32, f32) {
    let all = || expected.iter().copied();
    (
        all().fold(f32::INFINITY, f32::min),
        all().fold(0.0, f32::max),
    )
}

// A number of steps.
#[allow(clippy::cast_precision_loss)]
fn small(count: usize) -> f32 {
    count as f32
}
