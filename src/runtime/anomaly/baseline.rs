//! One number against its own past, minute by minute.
//!
//! # Baseline
//! `baseline += (value − baseline) / 60` each minute: the last hour counts for 63 %. A value that is
//! off is taken as the bound that it exceeds, so that an outlier moves the baseline by at most
//! a thirtieth; while an anomaly is in force, a quarter of that. So a level that stays is the usual
//! one after some hours. For the first half hour there is no baseline, only the mean so far.

/// Minutes until a baseline can be relied on.
const WARM_UP: u32 = 30;
/// Weight of a minute, as its inverse.
const MEMORY: f64 = 60.0;
/// Minutes in a row that begin or end an anomaly.
const IN_A_ROW: u32 = 3;

/// What is off, as factors of the baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Below this it is off.
    pub low: Option<f64>,
    /// Above this it is off.
    pub high: Option<f64>,
    /// From here …
    pub well_low: f64,
    /// … to here it is well again.
    pub well_high: f64,
}

/// What a minute changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// An anomaly begins.
    Begins,
    /// It ends.
    Ends,
}

/// The past of one number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    baseline: f64,
    minutes: u32,
    last: f64,
    off: bool,
    /// Minutes in a row that speak for a change.
    against: u32,
}

impl Series {
    /// What is usual; `None` during the first half hour.
    pub fn usual(&self) -> Option<f64> {
        (self.minutes >= WARM_UP).then_some(self.baseline)
    }

    /// Whether an anomaly is in force.
    pub fn is_off(&self) -> bool {
        self.off
    }

    /// The last value divided by what is usual.
    pub fn factor(&self) -> f64 {
        if self.baseline > 0.0 {
            self.last / self.baseline
        } else {
            1.0
        }
    }

    /// Takes a minute's value; with `enough` false it is too little to begin an anomaly, and one
    /// that is in force may end.
    pub fn step(&mut self, value: f64, enough: bool, bounds: Bounds) -> Change {
        self.last = value;
        let Some(usual) = self.usual() else {
            self.minutes += 1;
            self.baseline += (value - self.baseline) / f64::from(self.minutes);
            return Change::None;
        };
        let low = bounds.low.map_or(f64::NEG_INFINITY, |low| low * usual);
        let high = bounds.high.map_or(f64::INFINITY, |high| high * usual);
        let speaks = if self.off {
            let well = (bounds.well_low * usual..=bounds.well_high * usual).contains(&value);
            well || !enough
        } else {
            enough && !(low..=high).contains(&value)
        };
        // A baseline of zero must be able to grow: what is new takes its time, too.
        let taken = match usual > 0.0 {
            true => value.clamp(low, high),
            false => value / MEMORY,
        };
        let slower = if self.off { 4.0 } else { 1.0 };
        self.baseline += (taken - usual) / (slower * MEMORY);
        self.against = if speaks { self.against + 1 } else { 0 };
        if self.against < IN_A_ROW {
            return Change::None;
        }
        self.against = 0;
        self.off = !self.off;
        match self.off {
            true => Change::Begins,
            false => Change::Ends,
        }
    }
}
