//! The scores of one stand under the inputs of one tick: row by row to shares, and PoP by PoP to
//! what an explanation shows.

use std::sync::Arc;

use meridian_geo_data::{
    Cell, CellId,
    latency::{Latency, Line, Measured},
};

use super::{Exceptions, Inputs, near::Near};
use crate::steer::{
    Steering,
    balance::{Offer, Part, Parts, Rules, WHOLE, share},
    demand::Demand,
    order::{class, shortest_ms},
    ranking::Class,
    steering::{Pool, Profile},
    types::{LatencySource, TermWeights, Terms},
};

/// No such column or member.
const NONE: u16 = u16::MAX;
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
    /// Whether any load is known that counts.
    pub(in crate::steer) load_known: bool,
}

/// What is known of a member's load.
#[derive(Clone, Copy, Debug)]
struct Load {
    cost: f32,
    price: f32,
    known: bool,
    free: f32,
    weight: f32,
    ramp: f32,
}

/// What is known of a PoP's load, for an explanation.
#[derive(Clone, Copy, Debug)]
pub(in crate::steer) struct LoadTold {
    pub(in crate::steer) known: bool,
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

/// What is looked at for a row; kept from row to row.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    offers: Vec<Offer>,
}

/// What a row comes to.
#[derive(Clone, Debug)]
pub(super) struct Rowed {
    pub(super) parts: Parts,
    pub(super) measured: bool,
    /// What remains of the row before, when PoPs that are not usable are left out.
    pub(super) kept: Parts,
    /// By how much the mean score is better than that, ms.
    pub(super) gain: f32,
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
        let (columns, members) = columns(steering, pool, &inputs.latency);
        let mut field = Self {
            steering,
            profile,
            pool,
            latency: &inputs.latency,
            exceptions: exceptions.clone(),
            near,
            line: inputs.latency.line(),
            rules: Rules::new(tolerance_ms),
            usable,
            columns,
            loads: Vec::new(),
            names: Vec::new(),
            by_name: Vec::new(),
            members,
            grows: false,
            load_known: false,
        };
        field.set_names();
        field.set_prices(inputs, |pop| inputs.price(pop).price_ms);
        Some(field)
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
        self.load_known || self.grows || (measured && named())
    }

    /// Sets what load costs; `price` by PoP counts where the load is known.
    pub(super) fn set_prices(&mut self, inputs: &Inputs, price: impl Fn(usize) -> f32) {
        let in_force = self.profile.weights.load > 0.0;
        let all = || self.pool.members.iter().map(|pop| pop.index());
        // Sums in the order of names: that of the configuration has no say.
        let known = || {
            let known = self.by_name.iter().copied();
            known.filter(|pop| inputs.price(*pop).known)
        };
        let mean = |of: &dyn Fn(usize) -> f32, none: f32| {
            let (sum, count) = known().fold((0.0, 0_u16), |(sum, count), pop| {
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
                let (price, free) = match told.known {
                    true => (price(pop), number(told.free, 1.0)),
                    false => (mean_price, mean_free),
                };
                // Weights are small numbers.
                #[allow(clippy::cast_precision_loss)]
                Load {
                    cost: self.profile.weights.cost(price),
                    price,
                    known: told.known,
                    free,
                    weight: weight as f32 * if in_force { free } else { 1.0 },
                    ramp: number(told.ramp, 1.0),
                }
            })
            .collect();
        self.grows = loads.iter().any(|load| load.ramp < 1.0);
        self.load_known = in_force && loads.iter().any(|load| load.known);
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

    /// What a row comes to after `previous`.
    pub(super) fn row(&self, row: usize, previous: &[Part], scratch: &mut Scratch) -> Rowed {
        let offers = &mut scratch.offers;
        offers.clear();
        let mut measured = false;
        if let Some((cell, told, _)) = self.of_row(row) {
            measured = self.load_known || told.iter().any(|one| self.member(one) != NONE);
            self.offer_few(cell, told, previous, offers);
        }
        self.judged(offers, previous, measured)
    }

    /// The way from `previous` to shares that are told.
    pub(super) fn toward(
        &self,
        row: usize,
        previous: &[Part],
        parts: Parts,
        scratch: &mut Scratch,
    ) -> Rowed {
        let offers = &mut scratch.offers;
        offers.clear();
        if let Some((cell, told, _)) = self.of_row(row) {
            for part in previous.iter().chain(&parts) {
                self.offer_once(cell, told, part.member, offers);
            }
        }
        let kept = self.kept(previous);
        Rowed {
            gain: mean(offers, &kept) - mean(offers, &parts),
            parts,
            measured: false,
            kept,
        }
    }

    /// All that can have a share of a row after `previous`, and some others.
    fn offer_few(
        &self,
        cell: CellId,
        told: &[Measured],
        previous: &[Part],
        offers: &mut Vec<Offer>,
    ) {
        self.offer_near(cell, told, offers);
        self.offer_measured(cell, told, offers);
        for part in previous {
            self.offer_once(cell, told, part.member, offers);
        }
        let needed = self.needed(offers, previous);
        let bound = self.near.map_or(f32::NEG_INFINITY, |near| {
            near.bound(cell, self.profile, &self.line)
        });
        if bound < needed {
            self.offer_rest(cell, told, previous, offers);
        }
    }

    /// What these offers come to.
    fn judged(&self, offers: &mut Vec<Offer>, previous: &[Part], measured: bool) -> Rowed {
        let kept = self.kept(previous);
        let parts = self.shared(offers, previous, &kept);
        let gain = mean(offers, &kept) - mean(offers, &parts);
        Rowed {
            parts,
            measured,
            kept,
            gain,
        }
    }

    /// The shares of a row; sorts the offers, best first.
    fn shared(&self, offers: &mut Vec<Offer>, previous: &[Part], kept: &Parts) -> Parts {
        let needed = self.needed(offers, kept);
        offers.retain(|offer| {
            offer.score_ms <= needed || previous.iter().any(|part| part.member == offer.member)
        });
        if let [only] = offers.as_slice()
            && only.usable
        {
            let member = only.member;
            let parts = WHOLE;
            return [Part { member, parts }].into_iter().collect();
        }
        let name = |offer: &Offer| self.names.get(usize::from(offer.member)).copied();
        offers.sort_unstable_by(|a, b| {
            let by_score = a.score_ms.total_cmp(&b.score_ms);
            by_score.then_with(|| name(a).cmp(&name(b)))
        });
        let before = normalised(kept);
        let parts = share(offers, &before, &self.rules);
        unrounded(kept, &parts).unwrap_or(parts)
    }

    /// What remains of a row: the shares stay in proportion.
    fn kept(&self, previous: &[Part]) -> Parts {
        let usable = |part: &&Part| self.is_usable(part.member);
        previous.iter().filter(usable).copied().collect()
    }

    /// The score up to which PoPs can have a share, or a say in it, after these shares: no farther
    /// behind the best that has grown to its full share than matters.
    fn needed(&self, offers: &[Offer], previous: &[Part]) -> f32 {
        let usable = offers.iter().filter(|offer| offer.usable);
        let grown = usable.filter(|offer| offer.ramp >= 1.0);
        let best = grown.map(|offer| offer.score_ms).reduce(f32::min);
        let reach = |best: f32| {
            let now = mean(offers, &self.kept(previous));
            self.rules.reach(best).max(self.rules.reach(now))
        };
        best.map_or(f32::INFINITY, |best| best + reach(best))
    }

    fn offer_near(&self, cell: CellId, told: &[Measured], offers: &mut Vec<Offer>) {
        let Some(near) = self.near else { return };
        for (member, distance_ms) in near.of(cell) {
            let latency = self.latency_ms(member, distance_ms, told);
            offers.extend(self.offer(member, distance_ms, latency));
        }
    }

    /// PoPs with a measurement of their own, near or not.
    fn offer_measured(&self, cell: CellId, told: &[Measured], offers: &mut Vec<Offer>) {
        for one in told {
            let member = self.member(one);
            if member != NONE {
                self.offer_once(cell, told, member, offers);
            }
        }
    }

    fn offer_once(&self, id: CellId, told: &[Measured], member: u16, offers: &mut Vec<Offer>) {
        if offers.iter().any(|offer| offer.member == member) {
            return;
        }
        let cell = self.steering.cell(id);
        let Some(pop) = self.steering.member(self.pool, member) else {
            return;
        };
        if class(pop, cell) == Class::Open {
            let distance_ms = pop.distance_ms(cell.center);
            let latency = self.latency_ms(member, distance_ms, told);
            offers.extend(self.offer(member, distance_ms, latency));
        }
    }

    /// All others that can score below what is needed.
    fn offer_rest(
        &self,
        id: CellId,
        told: &[Measured],
        previous: &[Part],
        offers: &mut Vec<Offer>,
    ) {
        let cell = self.steering.cell(id);
        let from = crate::steer::order::Vector::to(cell.center);
        let mut needed = self.needed(offers, previous);
        for (member, pop) in (0_u16..).zip(&self.pool.members) {
            let Some(pop) = self.steering.pops.get(pop.index()) else {
                continue;
            };
            let least = shortest_ms(from, pop.vector);
            let least = self.offer(member, least, self.line.at(least));
            if least.is_none_or(|least| least.score_ms > needed) {
                continue;
            }
            let before = offers.len();
            self.offer_once(id, told, member, offers);
            if offers.len() > before {
                needed = needed.min(self.needed(offers, previous));
            }
        }
    }

    fn offer(&self, member: u16, distance_ms: f32, latency_ms: f32) -> Option<Offer> {
        let load = self.loads.get(usize::from(member))?;
        let bias_ms = self.steering.member(self.pool, member)?.bias_ms;
        let weights = &self.profile.weights;
        let score_ms = weights.free_of_load(distance_ms, latency_ms, bias_ms) + load.cost;
        Some(Offer {
            member,
            score_ms,
            weight: load.weight,
            ramp: load.ramp,
            usable: self.is_usable(member),
        })
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
        let distance_ms = pop.distance_ms(cell.center);
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
        self.members.iter().any(|member| *member != NONE)
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

/// Mean score of a row, ms.
fn mean(offers: &[Offer], parts: &[Part]) -> f32 {
    let (mut sum, mut whole) = (0.0, 0.0);
    for part in parts {
        if let Some(offer) = offers.iter().find(|offer| offer.member == part.member) {
            sum += offer.score_ms * f32::from(part.parts);
            whole += f32::from(part.parts);
        }
    }
    if whole > 0.0 { sum / whole } else { 0.0 }
}

/// The same shares in parts of [`WHOLE`].
// Between 0 and 255.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn normalised(row: &Parts) -> Parts {
    let sum: u32 = row.iter().map(|part| u32::from(part.parts)).sum();
    if sum == 0 || sum == u32::from(WHOLE) {
        return row.clone();
    }
    let mut left = WHOLE;
    let mut out: Parts = row
        .iter()
        .map(|part| {
            let parts = (u32::from(part.parts) * u32::from(WHOLE) / sum) as u8;
            left = left.saturating_sub(parts);
            Part { parts, ..*part }
        })
        .collect();
    for part in out.iter_mut().take(usize::from(left)) {
        part.parts = part.parts.saturating_add(1);
    }
    out.retain(|part| part.parts > 0);
    out
}

/// The old row with the home of the new one, where both say the same but for rounding: so a PoP
/// that leaves moves nobody between the others.
// Sums of a few octets are exact.
#[allow(clippy::cast_precision_loss)]
fn unrounded(old: &Parts, new: &Parts) -> Option<Parts> {
    let sum: u32 = old.iter().map(|part| u32::from(part.parts)).sum();
    let of = |row: &Parts, member: u16| {
        let part = row.iter().find(|part| part.member == member);
        part.map_or(0.0, |part| f32::from(part.parts))
    };
    let slack = 0.5 + f32::from(WHOLE) / sum as f32;
    let close = |part: &Part| {
        let exact = of(old, part.member) * f32::from(WHOLE) / sum as f32;
        (of(new, part.member) - exact).abs() <= slack
    };
    let home = new.first()?.member;
    let at = old.iter().position(|part| part.member == home)?;
    let mut row = old.clone();
    row.get_mut(..=at)?.rotate_right(1);
    old.iter().chain(new).all(close).then_some(row)
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
