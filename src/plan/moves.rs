//! Who moves where, and what it costs them.

use std::collections::BTreeMap;

use super::{
    demand::Demand,
    report::{Move, Quantiles},
    world::{Assignment, RoundTrips, Site, Sites},
};

/// Who moves where, and what it costs them.
#[derive(Debug, Default)]
pub(super) struct Moves {
    amounts: BTreeMap<(Site, Site), f64>,
    /// Added milliseconds, amount.
    added: Vec<(f32, f64)>,
}

impl Moves {
    /// Adds those who move between two assignments of everyone, `share` of each amount.
    pub(super) fn add(
        &mut self,
        demand: &Demand,
        (then, trips_then): (&Assignment, &RoundTrips<'_>),
        (now, trips_now): (&Assignment, &RoundTrips<'_>),
        share: f64,
    ) {
        let both = then.sites.iter().zip(&now.sites);
        for (asker, (from, to)) in demand.askers.iter().zip(both).filter(|(_, (a, b))| a != b) {
            let amount = asker.amount * share;
            *self.amounts.entry((*from, *to)).or_default() += amount;
            let (was, is) = (
                trips_then.between(asker.cell, *from),
                trips_now.between(asker.cell, *to),
            );
            if let (Some(was), Some(is)) = (was, is) {
                self.added.push((is - was, amount));
            }
        }
        self.added.sort_by(|a, b| a.0.total_cmp(&b.0));
    }

    /// Amount that moves.
    pub(super) fn moved(&self) -> f64 {
        self.amounts.values().sum()
    }

    /// What their estimated round trip changes by.
    pub(super) fn added(&self) -> Quantiles {
        let total: f64 = self.added.iter().map(|(_, amount)| amount).sum();
        let quantile = |share: f64| {
            let mut sum = 0.0;
            let reached = |(_, amount): &&(f32, f64)| {
                sum += amount;
                sum >= total * share * (1.0 - 1e-9)
            };
            self.added
                .iter()
                .find(reached)
                .map(|(ms, _)| f64::from(*ms))
        };
        let weighted = || {
            self.added
                .iter()
                .map(|(ms, amount)| f64::from(*ms) * amount)
                .sum::<f64>()
        };
        Quantiles {
            mean: (total > 0.0).then(|| weighted() / total),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            within_100_ms: None,
            unknown: 0.0,
        }
    }

    /// All ways, the largest first.
    pub(super) fn largest(&self, sites: &Sites, total: f64) -> Vec<Move> {
        let mut all: Vec<Move> = self
            .amounts
            .iter()
            .map(|((from, to), amount)| Move {
                from: sites.name(*from).to_owned(),
                to: sites.name(*to).to_owned(),
                share: amount / total,
            })
            .collect();
        all.sort_by(|a, b| b.share.total_cmp(&a.share));
        all
    }
}
