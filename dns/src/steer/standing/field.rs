//! The scores of one stand under the inputs of one tick: row by row to shares (`rows`), and PoP by
//! PoP to what an explanation shows.

use std::sync::Arc;

use meridian_geo_data::{
    Cell, CellId,
    latency::{Latency, Line, Measured},
};

mod rows;

pub(super) use self::rows::{Rowed, Scratch, normalised};
use super::{
    Exceptions, Inputs,
    near::{NONE, Near},
};
use crate::steer::{
    Steering,
    balance::Rules,
    demand::Demand,
    order::Vector,
    steering::{Pool, Profile},
    types::{LatencySource, TermWeights, Terms},
};

/// Most that a PoP's load may cost, ms: above it no number is meant.
const COST_MAX: f32 = 1e6;

/// One stand with everything of a tick that its scores take.
#[derive(Debug)]
pub(in crate::steer) struct Field<'a> {
    pub(super) steering: &'a Steering,
    pub(super) profile: &'a Profile,
    pub(super) pool: &'a Pool,
    latency: &'a Latency,
    exceptions: Arc<Exceptions>,
    near: Option<&'a Near>,
    /// By member of `near` the own one; `None`: they are the same.
    of_near: Option<Vec<u16>>,
    line: Line,
    pub(super) rules: Rules,
    /// By member from here on.
    pub(super) usable: Vec<bool>,
    columns: Vec<u16>,
    loads: Vec<Load>,
    /// Place among the names.
    names: Vec<u16>,
    /// The PoPs in the order of their names.
    by_name: Vec<usize>,
    /// By column: the member of that name.
    members: Vec<u16>,
    /// Whether any PoP has not grown to its full share.
    grows: bool,
    /// Whether any PoP has a price of its own that counts.
    pub(in crate::steer) priced: bool,
}

/// What is known of a member's load.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Load {
    cost: f32,
    price: f32,
    known: bool,
    own: bool,
    free: f32,
    weight: f32,
    ramp: f32,
}

/// What is known of a PoP's load, for an explanation.
#[derive(Clone, Copy, Debug)]
pub(in crate::steer) struct LoadTold {
    pub(in crate::steer) known: bool,
    /// Whether the price is its own.
    pub(in crate::steer) own: bool,
    pub(in crate::steer) free: f32,
    pub(in crate::steer) ramp: f32,
}

/// One PoP as a cell or prefix sees it.
#[derive(Clone, Copy, Debug)]
pub(in crate::steer) struct Fielded {
    pub(in crate::steer) terms: Terms,
    pub(in crate::steer) measured: Option<Measured>,
    pub(in crate::steer) score: f32,
    pub(in crate::steer) load: LoadTold,
}

impl<'a> Field<'a> {
    /// `near` may be missing where only single PoPs are asked for.
    pub(super) fn new(
        steering: &'a Steering,
        (profile, tolerance_ms): (usize, f32),
        usable: Vec<bool>,
        inputs: &'a Inputs,
        exceptions: &Arc<Exceptions>,
        near: Option<&'a Near>,
    ) -> Option<Self> {
        let profile = steering.profiles.get(profile)?;
        let pool = steering.pools.get(profile.pool.index())?;
        let scoring = (profile, tolerance_ms);
        let field = Self::over(steering, pool, scoring, usable, inputs, exceptions);
        Some(match near {
            Some(near) => field.with(near),
            None => field,
        })
    }

    /// Over a pool that need not be that of the profile.
    pub(super) fn over(
        steering: &'a Steering,
        pool: &'a Pool,
        (profile, tolerance_ms): (&'a Profile, f32),
        usable: Vec<bool>,
        inputs: &'a Inputs,
        exceptions: &Arc<Exceptions>,
    ) -> Self {
        let (columns, members) = columns(steering, pool, &inputs.latency);
        let mut field = Self {
            steering,
            profile,
            pool,
            latency: &inputs.latency,
            exceptions: exceptions.clone(),
            near: None,
            of_near: None,
            line: inputs.latency.line(),
            rules: Rules::new(tolerance_ms),
            usable,
            columns,
            loads: Vec::new(),
            names: Vec::new(),
            by_name: Vec::new(),
            members,
            grows: false,
            priced: false,
        };
        field.set_names();
        field.set_prices(inputs, |pop| inputs.price(pop).price_ms);
        field
    }

    /// With the PoPs near each cell.
    pub(super) fn with(self, near: &'a Near) -> Self {
        Self {
            near: Some(near),
            of_near: near.members_of(self.pool),
            ..self
        }
    }

    /// Whether a member's load counts as another field's member's does.
    pub(super) fn is_load_like(&self, member: u16, other: &Self, others: u16) -> bool {
        let load = self.loads.get(usize::from(member));
        load.is_some() && load == other.loads.get(usize::from(others))
    }

    /// Whether anything measured takes part in a row.
    pub(super) fn is_measured(&self, row: usize) -> bool {
        self.of_row(row)
            .is_some_and(|(_, told, _)| self.is_told(told))
    }

    fn is_told(&self, told: &[Measured]) -> bool {
        self.priced || told.iter().any(|one| self.member(one) != NONE)
    }

    /// Demand of a row.
    pub(super) fn demand(&self, demand: &Demand, row: usize) -> f32 {
        match row.checked_sub(self.steering.clients.cells().len()) {
            Some(number) => self
                .exceptions
                .prefix(number)
                .map_or(0.0, |prefix| demand.of_prefix(prefix)),
            None => u32::try_from(row).map_or(0.0, |cell| demand.of_cell(CellId(cell))),
        }
    }

    fn set_names(&mut self) {
        let all = self.pool.members.iter().enumerate();
        let mut sorted: Vec<(Option<&str>, usize, usize)> = all
            .map(|(member, pop)| (self.steering.pop_name(*pop), member, pop.index()))
            .collect();
        sorted.sort_unstable();
        self.names = vec![NONE; sorted.len()];
        for (place, (_, member, _)) in (0_u16..).zip(&sorted) {
            if let Some(slot) = self.names.get_mut(*member) {
                *slot = place;
            }
        }
        self.by_name = sorted.into_iter().map(|(_, _, pop)| pop).collect();
    }

    /// Whether anything is measured that has a say in it.
    pub(super) fn is_moved(&self) -> bool {
        // Columns may be named before anything is measured.
        let measured = !self.latency.is_empty();
        let named = || self.members.iter().any(|member| *member != NONE);
        self.priced || self.grows || (measured && named())
    }

    /// Sets what load costs; `price` by PoP counts where it is the PoP's own.
    pub(super) fn set_prices(&mut self, inputs: &Inputs, price: impl Fn(usize) -> f32) {
        let in_force = self.profile.weights.load > 0.0;
        let all = || self.pool.members.iter().map(|pop| pop.index());
        // Sums in the order of names: that of the configuration has no say.
        let own = || {
            let all = self.by_name.iter().copied();
            all.filter(|pop| inputs.price(*pop).own)
        };
        let mean = |of: &dyn Fn(usize) -> f32, none: f32| {
            let (sum, count) = own().fold((0.0, 0_u16), |(sum, count), pop| {
                (sum + of(pop), count.saturating_add(1))
            });
            if count > 0 {
                sum / f32::from(count)
            } else {
                none
            }
        };
        let price = |pop: usize| number(price(pop), COST_MAX);
        let mean_price = mean(&price, 0.0);
        let mean_free = mean(&|pop| number(inputs.price(pop).free, 1.0), 1.0);
        let loads: Vec<Load> = all()
            .map(|pop| {
                let told = inputs.price(pop);
                let weight = self.steering.pops.get(pop).map_or(0, |pop| pop.weight.0);
                let (price, free) = match told.own {
                    true => (price(pop), number(told.free, 1.0)),
                    false => (mean_price, mean_free),
                };
                // Weights are small numbers.
                #[allow(clippy::cast_precision_loss)]
                Load {
                    cost: self.profile.weights.cost(price),
                    price,
                    known: told.known,
                    own: told.own,
                    free,
                    weight: weight as f32 * if in_force { free } else { 1.0 },
                    ramp: number(told.ramp, 1.0),
                }
            })
            .collect();
        self.grows = loads.iter().any(|load| load.ramp < 1.0);
        self.priced = in_force && loads.iter().any(|load| load.own);
        self.loads = loads;
    }

    /// Rows: one for each cell, then one for each exceptional prefix.
    pub(super) fn rows(&self) -> usize {
        self.steering.clients.cells().len() + self.exceptions.len()
    }

    /// The cell of a row, and what was measured there.
    fn of_row(&self, row: usize) -> Option<(CellId, &'a [Measured], bool)> {
        let cells = self.steering.clients.cells().len();
        match row.checked_sub(cells) {
            None => {
                let cell = CellId(u32::try_from(row).ok()?);
                Some((cell, self.latency.of_cell(cell), false))
            }
            Some(number) => {
                let (cell, row) = self.exceptions.cell_and_row(number)?;
                Some((cell, self.latency.of_row(row), true))
            }
        }
    }

    fn latency_ms(&self, member: u16, distance_ms: f32, told: &[Measured]) -> f32 {
        let found = if told.is_empty() {
            None
        } else {
            self.measured(member, told)
        };
        found.map_or_else(|| self.line.at(distance_ms), |one| one.ms)
    }

    fn measured(&self, member: u16, told: &[Measured]) -> Option<Measured> {
        let column = self.columns.get(usize::from(member))?;
        let at = told.binary_search_by_key(column, |one| one.column).ok()?;
        told.get(at).copied().filter(|one| one.ms.is_finite())
    }

    /// The member that was measured.
    fn member(&self, one: &Measured) -> u16 {
        let member = self.members.get(usize::from(one.column)).copied();
        member.filter(|_| one.ms.is_finite()).unwrap_or(NONE)
    }

    fn is_usable(&self, member: u16) -> bool {
        self.usable
            .get(usize::from(member))
            .copied()
            .unwrap_or(false)
    }

    /// One PoP as a row sees it, whether it can be handed out or not.
    pub(in crate::steer) fn fielded(&self, row: usize, member: u16) -> Option<Fielded> {
        let (id, told, exceptional) = self.of_row(row)?;
        let cell: &Cell = self.steering.cell(id);
        let pop = self.steering.member(self.pool, member)?;
        let load = self.loads.get(usize::from(member))?;
        let distance_ms = pop.distance_ms(Vector::to(cell.center));
        let measured = self.measured(member, told);
        let terms = Terms {
            distance_ms,
            latency_ms: self.latency_ms(member, distance_ms, told),
            latency_from: match measured {
                None => LatencySource::Estimate,
                Some(_) if exceptional => LatencySource::Prefix,
                Some(_) => LatencySource::Cell,
            },
            load_ms: load.known.then_some(load.price),
            load_counted_ms: load.price,
            bias_ms: pop.bias_ms,
        };
        Some(Fielded {
            terms,
            measured,
            score: terms.score(&self.profile.weights),
            load: LoadTold {
                known: load.known,
                own: load.own,
                free: load.free,
                ramp: load.ramp,
            },
        })
    }

    /// The line over distance that stands in where nothing is measured.
    pub(in crate::steer) fn line(&self) -> Line {
        self.line
    }

    /// The weights in force.
    pub(in crate::steer) fn weights(&self) -> TermWeights {
        self.profile.weights
    }

    /// Whether round trips to any PoP of the pool are measured.
    pub(in crate::steer) fn latency_known(&self) -> bool {
        // Columns may be named before anything is measured.
        !self.latency.is_empty() && self.members.iter().any(|member| *member != NONE)
    }

    /// How stubborn a row is.
    pub(in crate::steer) fn rules(&self) -> &Rules {
        &self.rules
    }
}

/// By member its column, and by column its member.
fn columns(steering: &Steering, pool: &Pool, latency: &Latency) -> (Vec<u16>, Vec<u16>) {
    let mut columns = vec![NONE; pool.members.len()];
    let mut members = vec![NONE; latency.columns().len()];
    let mut sorted: Vec<(&str, u16)> = (0_u16..)
        .zip(&pool.members)
        .filter_map(|(member, pop)| Some((steering.pop_name(*pop)?, member)))
        .collect();
    sorted.sort_unstable();
    for (column, name) in (0_u16..).zip(latency.columns()) {
        let found = sorted.binary_search_by_key(&&**name, |(name, _)| name);
        let Some((_, member)) = found.ok().and_then(|at| sorted.get(at)) else {
            continue;
        };
        if let Some(slot) = columns.get_mut(usize::from(*member)) {
            *slot = column;
        }
        if let Some(slot) = members.get_mut(usize::from(column)) {
            *slot = *member;
        }
    }
    (columns, members)
}

/// What is not a number, or negative, counts as 0.
fn number(value: f32, most: f32) -> f32 {
    if value.is_finite() {
        value.clamp(0.0, most)
    } else {
        0.0
    }
}

#[cfg(test)]
pub(in crate::steer) mod tests;
