//! The rows of the model in short: what each PoP is asked for at some prices, again and again.
//!
//! One question to the model costs as much as deciding all cells. A market is gathered once, and
//! then tells what one price or a few do by looking only at the rows that these have a say in.

use std::{cell::Cell, ops::Range, rc::Rc};

use super::{
    Part,
    share::{Entry, Field, Offer, Rules, groups, usable},
    solve::PRICE_MAX,
};

/// How much worse than the best one a PoP may be to be in a row, ms; and how many are in any case.
const FAR_MS: f32 = 120.0;
const LEAST: usize = 16;

/// Rows of cells, each with the PoPs that may serve it. Scores in it are free of prices.
#[derive(Clone, Debug)]
pub struct Market {
    rows: Vec<Row>,
    entries: Vec<Entry>,
    gone: Vec<f32>,
    /// By PoP the rows that it is in.
    of: Vec<Vec<usize>>,
    /// How many times the shares of a row were worked out.
    looked: Rc<Cell<u64>>,
    /// Its rows stand for others that are not in it.
    is_sample: bool,
}

#[derive(Clone, Debug)]
struct Row {
    demand: f32,
    rules: Rules,
    /// What a millisecond of a price adds to a score.
    weight: f32,
    entries: Range<usize>,
    gone: Range<usize>,
}

/// A market at some prices.
#[derive(Debug)]
pub(super) struct Priced<'a> {
    market: &'a Market,
    prices: Vec<f32>,
    demand: Vec<f64>,
    /// By row.
    leads: Vec<Lead>,
}

/// What can be said of a row at a glance.
#[derive(Clone, Copy, Debug)]
struct Lead {
    /// Best score of those that have grown in full.
    best: f32,
    /// The highest score that the mean of the shares until now may be.
    most: f32,
}

/// The rows in which a PoP can take part when its price is as low as it may become, with those
/// that matter beside it. Its own entry is the first of each.
#[derive(Debug, Default)]
pub(super) struct Live<'a> {
    rows: Vec<(usize, &'a Row, Range<usize>)>,
    entries: Vec<Entry>,
}

impl Market {
    /// Of so many PoPs, without a row.
    pub fn new(pops: usize) -> Self {
        Self {
            rows: Vec::new(),
            entries: Vec::new(),
            gone: Vec::new(),
            of: vec![Vec::new(); pops],
            looked: Rc::default(),
            is_sample: false,
        }
    }

    /// The same, of which the rows stand for others that are left out: by how much it differs from the model
    /// is then about the same at the next search.
    #[must_use]
    pub fn sampled(self) -> Self {
        Self {
            is_sample: true,
            ..self
        }
    }

    pub(super) fn is_sample(&self) -> bool {
        self.is_sample
    }

    /// How many times the shares of a row are worked out with it: counts on while it is searched.
    pub fn looked(&self) -> Rc<Cell<u64>> {
        self.looked.clone()
    }

    /// A row of some demand that is shared by `rules` among `offers` (best first), whose members are
    /// numbers of PoPs, and whose scores hold `weight` × the price in `prices`.
    pub fn add(
        &mut self,
        demand: f32,
        (rules, weight): (&Rules, f32),
        (offers, previous): (&[Offer], &[Part]),
        prices: &[f32],
    ) {
        let (first, gone) = (self.entries.len(), self.gone.len());
        let best = usable(offers, previous).map(|entry| entry.score);
        let last = best.fold(f32::INFINITY, f32::min) + FAR_MS;
        for (at, entry) in usable(offers, previous).enumerate() {
            if at >= LEAST && entry.before <= 0.0 && entry.score > last {
                continue;
            }
            let pop = usize::from(entry.member);
            if let Some((of, price)) = self.of.get_mut(pop).zip(prices.get(pop)) {
                of.push(self.rows.len());
                let score = entry.score - weight * price;
                self.entries.push(Entry { score, ..entry });
            }
        }
        self.gone.extend(groups(offers, rules.tolerance_ms));
        self.rows.push(Row {
            demand,
            rules: *rules,
            weight,
            entries: first..self.entries.len(),
            gone: gone..self.gone.len(),
        });
    }

    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// What the shares of a row are, and whose.
    fn shared<T>(
        &self,
        row: &Row,
        entries: impl Iterator<Item = Entry> + Clone,
        told: impl FnOnce(&Field, &[f32]) -> T,
    ) -> Option<T> {
        self.looked.set(self.looked.get() + 1);
        let gone = self.gone.get(row.gone.clone()).unwrap_or(&[]);
        let field = Field::of(entries, gone.iter().copied(), &row.rules)?;
        Some(told(&field, &field.shares(&row.rules)))
    }

    /// Adds what PoPs get of a row, so many times.
    fn add_row(
        &self,
        row: &Row,
        entries: impl Iterator<Item = Entry> + Clone,
        times: f64,
        demand: &mut [f64],
    ) {
        self.shared(row, entries, |field, shares| {
            for (member, share) in field.members().zip(shares) {
                if let Some(slot) = demand.get_mut(usize::from(member)) {
                    *slot += times * f64::from(row.demand * share);
                }
            }
        });
    }

    /// The entries of a row with the prices in their scores.
    fn priced<'a>(
        &'a self,
        row: &'a Row,
        prices: &'a [f32],
    ) -> impl Iterator<Item = Entry> + Clone + 'a {
        let entries = self.entries.get(row.entries.clone()).unwrap_or(&[]);
        entries.iter().map(|entry| {
            let price = prices.get(usize::from(entry.member)).copied();
            let score = entry.score + row.weight * price.unwrap_or(0.0);
            Entry { score, ..*entry }
        })
    }
}

impl Lead {
    fn new(entries: impl Iterator<Item = Entry>) -> Self {
        let none = Self {
            best: f32::INFINITY,
            most: f32::NEG_INFINITY,
        };
        entries.fold(none, |lead, one| Self {
            best: match one.ramp >= 1.0 {
                true => lead.best.min(one.score),
                false => lead.best,
            },
            most: match one.before > 0.0 {
                true => lead.most.max(one.score),
                false => lead.most,
            },
        })
    }

    /// Up to which score a PoP can have a share, or a say in it.
    fn reach(&self, row: &Row) -> f32 {
        self.best + row.rules.reach(self.most.max(self.best))
    }
}

impl<'a> Priced<'a> {
    pub(super) fn new(market: &'a Market, prices: Vec<f32>) -> Self {
        let mut demand = vec![0.0; market.of.len()];
        let mut leads = Vec::with_capacity(market.rows.len());
        for row in &market.rows {
            let entries = market.priced(row, &prices);
            leads.push(Lead::new(entries.clone()));
            market.add_row(row, entries, 1.0, &mut demand);
        }
        Self {
            market,
            prices,
            demand,
            leads,
        }
    }

    pub(super) fn pops(&self) -> usize {
        self.prices.len()
    }

    pub(super) fn price(&self, pop: usize) -> f32 {
        self.prices.get(pop).copied().unwrap_or(0.0)
    }

    pub(super) fn demand(&self, pop: usize) -> f64 {
        self.demand.get(pop).copied().unwrap_or(0.0)
    }

    /// Prices, and the demand of each PoP under them.
    pub(super) fn into_parts(self) -> (Vec<f32>, Vec<f64>) {
        (self.prices, self.demand)
    }

    /// The rows in which a PoP takes part if its price is `lowest`, those of the others as they are.
    pub(super) fn live(&self, pop: usize, lowest: f32) -> Live<'a> {
        let mut live = Live::default();
        let rows = self.market.of.get(pop).into_iter().flatten();
        for number in rows {
            let both = self.market.rows.get(*number).zip(self.leads.get(*number));
            let Some((row, lead)) = both else { continue };
            let entries = self.market.entries.get(row.entries.clone());
            let is_own = |one: &Entry| usize::from(one.member) == pop;
            let own = entries.unwrap_or(&[]).iter().find(|one| is_own(one));
            let Some(own) = own else { continue };
            let score = own.score + row.weight * lowest;
            // What clients have had is missed the more the dearer it is, so everyone's hysteresis hangs
            // on the price of whom they have been served by. Its own price may rise above that of who
            // leads now, if that is itself.
            let held = own.before > 0.0;
            if !held && score > lead.reach(row) {
                continue;
            }
            let others = || {
                let all = self.market.priced(row, &self.prices);
                all.filter(|one| !is_own(one))
            };
            let lead = Lead::new(others());
            let most = lead.most.max(score).max(lead.best.min(f32::MAX));
            let reach = lead.best + row.rules.reach(most);
            let first = live.entries.len();
            live.entries.push(*own);
            let near = others().filter(|one| held || one.before > 0.0 || one.score <= reach);
            live.entries.extend(near);
            let entries = first..live.entries.len();
            live.rows.push((*number, row, entries));
        }
        live
    }

    /// What a PoP is asked for at a price of its own.
    pub(super) fn asked(&self, live: &Live<'_>, price: f32) -> f64 {
        let one = |(_, row, range): &(usize, &Row, Range<usize>)| {
            let own = live.entries.get(range.start)?.member;
            let entries = live.priced(row, range, price);
            let share = |field: &Field, shares: &[f32]| {
                let at = field.members().position(|member| member == own);
                at.and_then(|at| shares.get(at).copied())
            };
            let share = self.market.shared(row, entries, share)??;
            Some(f64::from(row.demand * share))
        };
        live.rows.iter().filter_map(one).sum()
    }

    /// By how much the demand of PoPs changes when one price does, and how many rows were looked at.
    pub(super) fn changes(&self, pop: usize, to: f32) -> (Vec<(usize, f64)>, usize) {
        let before = self.price(pop);
        let live = self.live(pop, before.min(to));
        let mut demand = vec![0.0; self.prices.len()];
        for (_, row, range) in &live.rows {
            for (price, times) in [(before, -1.0), (to, 1.0)] {
                let entries = live.priced(row, range, price);
                self.market.add_row(row, entries, times, &mut demand);
            }
        }
        let changes = demand.into_iter().enumerate();
        let changes = changes.filter(|(_, by)| *by != 0.0).collect();
        (changes, 2 * live.rows())
    }

    /// Changes one price, and the demand that follows from it. `live` are its rows.
    pub(super) fn change(&mut self, pop: usize, to: f32, live: &Live<'_>) {
        let before = self.price(pop);
        if let Some(price) = self.prices.get_mut(pop) {
            *price = to;
        }
        for (number, row, range) in &live.rows {
            for (price, times) in [(before, -1.0), (to, 1.0)] {
                let entries = live.priced(row, range, price);
                let demand = &mut self.demand;
                self.market.add_row(row, entries, times, demand);
            }
            let lead = Lead::new(self.market.priced(row, &self.prices));
            if let Some(slot) = self.leads.get_mut(*number) {
                *slot = lead;
            }
        }
    }

    /// Rows that a group is in; where its prices only rise, those that it has a share of now or had
    /// one until now.
    pub(super) fn around(&self, group: &[usize], rises: bool) -> Vec<usize> {
        let of = group.iter().filter_map(|pop| self.market.of.get(*pop));
        let mut rows: Vec<usize> = of.flatten().copied().collect();
        rows.sort_unstable();
        rows.dedup();
        if rises {
            let mut is_in = vec![false; self.prices.len()];
            for pop in group {
                is_in
                    .get_mut(*pop)
                    .into_iter()
                    .for_each(|slot| *slot = true);
            }
            rows.retain(|number| {
                let both = self.market.rows.get(*number).zip(self.leads.get(*number));
                both.is_some_and(|(row, lead)| {
                    let reach = lead.reach(row);
                    let mut near = self.market.priced(row, &self.prices);
                    let is_in = |pop| is_in.get(usize::from(pop)) == Some(&true);
                    near.any(|one| is_in(one.member) && (one.before > 0.0 || one.score <= reach))
                })
            });
        }
        rows
    }

    /// Demand of each PoP from some rows, with the prices of a group shifted.
    pub(super) fn shifted(&self, rows: &[usize], group: &[usize], by: f32) -> Vec<f64> {
        let prices = self.with(group, by);
        let mut demand = vec![0.0; self.prices.len()];
        for row in rows.iter().filter_map(|row| self.market.rows.get(*row)) {
            let entries = self.market.priced(row, &prices);
            self.market.add_row(row, entries, 1.0, &mut demand);
        }
        demand
    }

    /// Shifts the prices of a group. `rows` are those around it.
    pub(super) fn shift(&mut self, rows: &[usize], group: &[usize], by: f32) {
        let (before, after) = (
            self.shifted(rows, group, 0.0),
            self.shifted(rows, group, by),
        );
        for (demand, (before, after)) in self.demand.iter_mut().zip(before.iter().zip(after)) {
            *demand += after - before;
        }
        self.prices = self.with(group, by);
        let all = self.market.rows.iter();
        let leads = all.map(|row| Lead::new(self.market.priced(row, &self.prices)));
        self.leads = leads.collect();
    }

    /// The prices, those of a group shifted.
    fn with(&self, group: &[usize], by: f32) -> Vec<f32> {
        let mut prices = self.prices.clone();
        for pop in group {
            if let Some(price) = prices.get_mut(*pop) {
                *price = shifted(*price, by);
            }
        }
        prices
    }

    /// Who is in a row, no farther behind the best one than those that can have a share and `further` ms.
    pub(super) fn near(&self, number: usize, further: f32) -> impl Iterator<Item = usize> {
        let both = self.market.rows.get(number).zip(self.leads.get(number));
        let near = both.into_iter().flat_map(move |(row, lead)| {
            let reach = lead.reach(row) + further;
            let near = self.market.priced(row, &self.prices);
            near.filter(move |one| one.score <= reach)
        });
        near.map(|one| usize::from(one.member))
    }

    /// PoPs of which `is_in` that meet in cells, no farther behind the best one than those that can
    /// have a share and `further` ms; only groups of several.
    pub(super) fn groups(&self, is_in: &[bool], further: f32) -> Vec<Vec<usize>> {
        let mut leads: Vec<usize> = (0..self.prices.len()).collect();
        for row in 0..self.market.rows.len() {
            let near = self.near(row, further);
            let mut near = near.filter(|pop| is_in.get(*pop).copied().unwrap_or(false));
            let Some(first) = near.next() else { continue };
            for other in near {
                let (a, b) = (leader(&mut leads, first), leader(&mut leads, other));
                if let Some(slot) = leads.get_mut(a.max(b)) {
                    *slot = a.min(b);
                }
            }
        }
        let mut groups = vec![Vec::new(); self.prices.len()];
        for (pop, _) in is_in.iter().enumerate().filter(|(_, is_in)| **is_in) {
            if let Some(group) = groups.get_mut(leader(&mut leads, pop)) {
                group.push(pop);
            }
        }
        groups.retain(|group| group.len() > 1);
        groups
    }
}

impl Live<'_> {
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The entries of a row, the own one at a price.
    fn priced<'s>(
        &'s self,
        row: &'s Row,
        range: &Range<usize>,
        price: f32,
    ) -> impl Iterator<Item = Entry> + Clone + 's {
        let entries = self.entries.get(range.clone()).unwrap_or(&[]);
        let added = (0_usize..).map(move |at| if at == 0 { row.weight * price } else { 0.0 });
        entries.iter().zip(added).map(|(one, added)| Entry {
            score: one.score + added,
            ..*one
        })
    }
}

/// A price that is shifted.
pub(super) fn shifted(price: f32, by: f32) -> f32 {
    (price + by).clamp(0.0, PRICE_MAX)
}

/// Who leads the group of a PoP; shortens the way there.
fn leader(leads: &mut [usize], pop: usize) -> usize {
    let mut at = pop;
    while let Some(next) = leads.get(at).copied().filter(|next| *next != at) {
        let further = leads.get(next).copied().unwrap_or(next);
        if let Some(slot) = leads.get_mut(at) {
            *slot = further;
        }
        at = next;
    }
    at
}
