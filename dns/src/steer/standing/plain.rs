//! Who serves a place while nothing is measured: what the rows of a stand were before it had any, so
//! that clients do not jump when measurements begin.

use meridian_geo_data::CellId;

use super::Exceptions;
use crate::steer::{
    Steering,
    balance::{Offer, Parts, Rules, share},
    ranking::{Class, Ranked, Ranking, group_end},
    steering::Service,
};

/// The answers of a service by configuration and geo data alone, as rows.
#[derive(Debug)]
pub(super) struct Plain<'a> {
    pub(super) steering: &'a Steering,
    pub(super) service: &'a Service,
    /// By place in the pool's list.
    pub(super) usable: &'a [bool],
    pub(super) exceptions: &'a Exceptions,
}

impl Plain<'_> {
    /// The shares of a row: those of the first group in which anybody is usable. Empty where nobody
    /// in any group is.
    pub(super) fn row(&self, row: usize) -> Parts {
        let beyond = row.checked_sub(self.steering.clients.cells().len());
        let cell = match beyond {
            None => u32::try_from(row).ok().map(CellId),
            Some(number) => self.exceptions.cell_and_row(number).map(|(cell, _)| cell),
        };
        let begun = self.steering.order(self.service, cell);
        let found = begun.and_then(|order| self.first_group(&order));
        let whole = || {
            let order = self.steering.whole_order(self.service, cell)?;
            self.first_group(&order)
        };
        found.or_else(whole).unwrap_or_default()
    }

    /// `None`: the order is not kept as far as that.
    fn first_group(&self, order: &Ranking<'_>) -> Option<Parts> {
        let mut at = order.partition_point(|one| one.class < Class::Open);
        while order.get(at).is_some_and(|one| one.class == Class::Open) {
            let end = group_end(order, at, self.service.grouping());
            if end >= order.len() && !order.complete {
                return None;
            }
            let parts = self.shared(order.get(at..end)?);
            if !parts.is_empty() {
                return Some(parts);
            }
            at = end;
        }
        order.complete.then(Parts::new)
    }

    /// By weight alone.
    // Weights are small numbers.
    #[allow(clippy::cast_precision_loss)]
    fn shared(&self, group: &[Ranked]) -> Parts {
        let offer = |one: &Ranked| {
            let pool = self.steering.pools.get(self.service.pool.index())?;
            let pop = self.steering.member(pool, one.member)?;
            let usable = self.usable.get(usize::from(one.member))?;
            Some(Offer {
                member: one.member,
                score_ms: 0.0,
                weight: pop.weight.0 as f32,
                ramp: 1.0,
                usable: *usable,
            })
        };
        let offers: Vec<Offer> = group.iter().filter_map(offer).collect();
        share(&offers, &[], &Rules::new(0.0))
    }
}
