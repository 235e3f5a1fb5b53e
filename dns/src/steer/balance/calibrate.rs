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
/// Seconds in which a reading is followed by 63 %; in which it is for a first glance; and in which
/// it is where the first glance is far off.
const SMOOTH_S: f32 = 180.0;
const GLANCE_S: f32 = 30.0;
/// From here on it is far off, as a part: more than noise.
const FAR: f32 = 0.1;
/// Seconds in which more load than expected is believed by 63 %, and less.
const RISE_S: f32 = 40.0;
const FALL_S: f32 = 120.0;
/// Part by which the load may be below what is expected of it before it is believed.
const SLACK: f32 = 0.02;

/// What was modelled in the last minutes, once for each step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Past {
    steps: VecDeque<(f64, Box<[f32]>)>,
}

impl Past {
    pub(super) fn push(&mut self, now_s: f64, demand: Box<[f32]>) {
        let longest = KEPT_S.iter().fold(0.0_f64, |most, kept| most.max(*kept));
        self.steps.push_back((now_s, demand));
        let is_over = |at: f64| now_s - at > longest || at > now_s;
        while self.steps.front().is_some_and(|(at, _)| is_over(*at)) {
            self.steps.pop_front();
        }
    }

    pub(super) fn later(&mut self, by_s: f64) {
        self.steps.iter_mut().for_each(|(at, _)| *at += by_s);
    }

    pub(super) fn latest(&self) -> Option<&[f32]> {
        self.steps.back().map(|(_, demand)| &**demand)
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
    /// The reading without its noise, and at a first glance.
    smooth: Option<(f32, f32)>,
    /// What was expected, as late as the smooth reading is.
    expected: Expected,
    own: Option<f32>,
    guess: Option<f32>,
}

impl Calibration {
    pub(super) const NEW: Self = Self {
        smooth: None,
        expected: [0.0; LAGS],
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

    /// Takes a reading, beside the demand that it should come from.
    pub(super) fn learn(&mut self, passed: f32, ratio: Option<f32>, expected: Expected) {
        let Some(ratio) = ratio else {
            self.smooth = None;
            return;
        };
        let smooth = self.smoothen(passed, ratio, expected);
        let low = self
            .expected
            .iter()
            .fold(f32::INFINITY, |low, one| low.min(*one));
        let high = self
            .expected
            .iter()
            .fold(0.0_f32, |high, one| high.max(*one));
        if high <= 0.0 || smooth <= 0.0 {
            return;
        }
        let least = smooth / high;
        let most = smooth / low.max(f32::MIN_POSITIVE) * (1.0 + SLACK);
        let own = self.own.unwrap_or(least);
        let (end, pace) = if own < least {
            (least, RISE_S)
        } else {
            (most.min(own), FALL_S)
        };
        let learned = own + (end - own) * (passed / pace).min(1.0);
        self.own = Some(learned).filter(|gain| gain.is_finite() && *gain > 0.0);
    }

    /// The reading without its noise; what is expected lags behind by as much.
    fn smoothen(&mut self, passed: f32, ratio: f32, expected: Expected) -> f32 {
        let Some((smooth, glance)) = self.smooth else {
            self.smooth = Some((ratio, ratio));
            self.expected = expected;
            return ratio;
        };
        let glance = glance + (ratio - glance) * (passed / GLANCE_S).min(1.0);
        let is_far = (glance - smooth).abs() > FAR * smooth;
        let pace = if is_far { GLANCE_S } else { SMOOTH_S };
        let part = (passed / pace).min(1.0);
        let smooth = smooth + (ratio - smooth) * part;
        for (late, expected) in self.expected.iter_mut().zip(expected) {
            *late += (expected - *late) * part;
        }
        self.smooth = Some((smooth, glance));
        smooth
    }
}

// A number of steps.
#[allow(clippy::cast_precision_loss)]
fn small(count: usize) -> f32 {
    count as f32
}
