//! Sums over an assignment: amounts by site and the distribution of estimated round trips.

use super::{
    demand::Demand,
    world::{Assignment, RoundTrips, Site},
};

/// Width of a bin, milliseconds.
const BIN_MS: f32 = 0.1;

/// Bins of that width: up to 800 ms, far beyond any estimate.
const FINE: usize = 8000;

/// Width of the bins above, which only measured round trips are in, milliseconds.
const WIDE_MS: f32 = 10.0;

/// All bins: up to 10 s, above which nothing is taken for a round trip.
const BINS: usize = FINE + 920;

/// Amounts by round trip, in bins of 0.1 ms, above 800 ms of 10 ms.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    bins: Vec<f64>,
    sum_ms: f64,
    total: f64,
}

impl Histogram {
    /// Of nobody.
    pub(crate) fn new() -> Self {
        Self {
            bins: vec![0.0; BINS],
            sum_ms: 0.0,
            total: 0.0,
        }
    }

    /// Adds an amount (or takes a negative one away) at a round trip.
    pub(crate) fn add(&mut self, ms: f32, amount: f64) {
        let at = bin_of(ms);
        if let Some(bin) = self.bins.get_mut(at) {
            *bin += amount;
        }
        self.sum_ms += f64::from(ms) * amount;
        self.total += amount;
    }

    /// Milliseconds that this share of the clients is not above; `None` when there are none.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = self.total * share;
        let mut sum = 0.0;
        for (at, bin) in self.bins.iter().enumerate() {
            sum += bin;
            // Taking away what was added leaves rounding behind.
            if sum > 0.0 && sum >= wanted * (1.0 - 1e-9) {
                return Some(end_of(at));
            }
        }
        None
    }

    /// Mean in milliseconds; `None` when there are no clients.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.total > 0.0).then(|| self.sum_ms / self.total)
    }

    /// Share of the clients at or below so many milliseconds.
    // Whole bins: 100 ms is a bound of one.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn share_within(&self, ms: f32) -> Option<f64> {
        let upto = (ms / BIN_MS).round() as usize;
        let within: f64 = self.bins.iter().take(upto).sum();
        (self.total > 0.0).then(|| (within / self.total).min(1.0))
    }
}

/// The bin of a round trip.
// Bins are counted from 0; what is not finite becomes one end.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)]
fn bin_of(ms: f32) -> usize {
    match (ms / BIN_MS) as usize {
        fine if fine < FINE => fine,
        _ => {
            let beyond = (ms - FINE as f32 * BIN_MS) / WIDE_MS;
            (FINE + beyond as usize).min(BINS - 1)
        }
    }
}

/// Where a bin ends, milliseconds.
#[allow(clippy::cast_precision_loss)]
fn end_of(bin: usize) -> f64 {
    let fine = (bin + 1).min(FINE) as f64 * f64::from(BIN_MS);
    let wide = (bin + 1).saturating_sub(FINE) as f64 * f64::from(WIDE_MS);
    fine + wide
}

/// What an assignment comes to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tally {
    /// Amount by site.
    pub(crate) by_site: Vec<f64>,
    /// Estimated round trips of all whose place is known.
    pub(crate) rtt: Histogram,
    /// Amount that gets a last resort.
    pub(crate) last_resort: f64,
}

impl Tally {
    /// Of nobody.
    pub(crate) fn new(sites: usize) -> Self {
        Self {
            by_site: vec![0.0; sites],
            rtt: Histogram::new(),
            last_resort: 0.0,
        }
    }

    /// Adds an assignment of everyone, `share` of each amount.
    pub(crate) fn add(
        &mut self,
        demand: &Demand,
        assignment: &Assignment,
        trips: &RoundTrips<'_>,
        share: f64,
    ) {
        let decided = assignment.sites.iter().zip(&assignment.last);
        for (asker, (site, last)) in demand.askers.iter().zip(decided) {
            let amount = asker.amount * share;
            self.put(*site, trips.between(asker.cell, *site), amount);
            self.last_resort += if *last { amount } else { 0.0 };
        }
    }

    /// Share of the clients whose round trip is not known.
    pub(crate) fn unknown(&self) -> f64 {
        let all: f64 = self.by_site.iter().sum();
        if all <= 0.0 {
            return 0.0;
        }
        let share = 1.0 - self.rtt.total / all;
        // Taking away what was added leaves rounding behind.
        if share > 1e-9 { share } else { 0.0 }
    }

    /// Adds some clients of a site; a negative amount takes them away.
    pub(crate) fn put(&mut self, site: Site, ms: Option<f32>, amount: f64) {
        if let Some(sum) = self.by_site.get_mut(site as usize) {
            *sum += amount;
        }
        if let Some(ms) = ms {
            self.rtt.add(ms, amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_nobody_nothing_is_said() {
        let none = Histogram::new();
        assert_eq!(
            (none.quantile(0.5), none.mean(), none.share_within(100.0)),
            (None, None, None)
        );
    }

    #[test]
    fn a_bound_is_exact_where_bins_meet() {
        let mut rtt = Histogram::new();
        rtt.add(99.95, 3.0);
        rtt.add(100.05, 1.0);
        assert_eq!(rtt.share_within(100.0), Some(0.75));
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_a_sorted_list(
            mut all in proptest::collection::vec(
                prop_oneof![0.0..790.0_f32, 700.0..9_900.0_f32], 1..200,
            ),
            share in 0.01..1.0_f64,
        ) {
            let mut rtt = Histogram::new();
            for ms in &all {
                rtt.add(*ms, 1.0);
                rtt.add(*ms + 3.0, 5.0);
                rtt.add(*ms + 3.0, -5.0);
            }
            all.sort_by(f32::total_cmp);
            let at = ((share * all.len() as f64 * (1.0 - 1e-9)).ceil() as usize).max(1) - 1;
            let right = f64::from(all[at]);
            let got = rtt.quantile(share).unwrap();
            let wide = if right < 799.0 { 0.11 } else { 10.01 };
            prop_assert!((got - right).abs() <= wide, "{} {}", got, right);
            let mean = all.iter().map(|ms| f64::from(*ms)).sum::<f64>() / all.len() as f64;
            prop_assert!((rtt.mean().unwrap() - mean).abs() < 1e-6);
        }
    }
}
