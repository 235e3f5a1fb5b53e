//! What each PoP would get at other prices: the model that the balance looks ahead with.

use std::sync::Arc;

use meridian_config::{Family, PoolId};
use meridian_health_prober::HealthSnapshot;

use super::{Exceptions, Field, Inputs, Standing, Table, field::Scratch, near::Near};
use crate::{
    steer::{
        Demand, Steering,
        balance::{self, Market, Offer, Part, Parts},
        layout::Layout,
        steering::Stand,
    },
    types::ServiceId,
};

/// Rows looked at in one question, about; of more only some are, evenly spread.
const ROWS: usize = 200_000;

/// Rows gathered for a market, about: those with the most clients, and of the others some.
const MARKET_ROWS: usize = 20_000;

/// The stands of a standing, ready to be asked at any prices.
#[derive(Debug)]
pub struct Model<'a> {
    stands: Vec<Modelled<'a>>,
    inputs: &'a Inputs,
    /// By exceptional prefix the row that it has in the tables; `None`: they are the same.
    further: Option<Vec<usize>>,
    pops: usize,
    stride: usize,
}

#[derive(Debug)]
struct Modelled<'a> {
    stand: &'a Stand,
    field: Field<'a>,
    table: Option<&'a Arc<Table>>,
    /// What the services that follow it are asked.
    services: f32,
}

impl Standing {
    /// A model of this standing under new inputs. Knows only the stands that have rows already.
    pub fn model<'a>(
        &'a self,
        steering: &'a Steering,
        health: &HealthSnapshot,
        inputs: &'a Inputs,
    ) -> Model<'a> {
        let layout = Layout::new(steering, health, &[]);
        let (exceptions, further) = self.exceptions_of(steering, inputs);
        let mut stands: Vec<Modelled<'a>> = Vec::new();
        let mut rows = 0;
        for (number, stand) in steering.stands.iter().enumerate() {
            if is_led_elsewhere(steering, stand.pool) {
                continue;
            }
            let table = self.table(Some(number));
            let near = self.near.get(stand.profile).and_then(Option::as_ref);
            let usable = layout.usable(stand.roster);
            let services = services(steering, number, &inputs.demand);
            let same = |one: &&mut Modelled<'_>| {
                one.stand.rows_like(stand)
                    && one.field.usable == usable
                    && is_same(one.table, table)
            };
            if let Some(known) = stands.iter_mut().find(same) {
                known.services += services;
            } else if let Some(field) =
                self.field_of(steering, stand, usable, inputs, (&exceptions, near))
            {
                rows += field.rows();
                stands.push(Modelled {
                    stand,
                    field,
                    table,
                    services,
                });
            }
        }
        Model {
            stands,
            inputs,
            further,
            pops: steering.pops.len(),
            stride: (rows / ROWS).max(1),
        }
    }

    /// Who is judged apart under these inputs, and where each was until now: with its cell, if it was
    /// not known.
    fn exceptions_of(
        &self,
        steering: &Steering,
        inputs: &Inputs,
    ) -> (Arc<Exceptions>, Option<Vec<usize>>) {
        if Arc::ptr_eq(&self.inputs.latency, &inputs.latency) {
            return (self.exceptions.clone(), None);
        }
        let new = Exceptions::new(&inputs.latency, &steering.clients);
        let cells = steering.clients.cells().len();
        let row = |number| {
            let known = self.exceptions.number(new.prefix(number)?);
            let with_cell = || new.cell_and_row(number).map(|(cell, _)| cell.0 as usize);
            known.map(|old| cells + old).or_else(with_cell)
        };
        let rows = (0..new.len()).filter_map(row).collect();
        (Arc::new(new), Some(rows))
    }

    fn field_of<'a>(
        &'a self,
        steering: &'a Steering,
        stand: &Stand,
        usable: Vec<bool>,
        inputs: &'a Inputs,
        (exceptions, near): (&Arc<Exceptions>, Option<&'a Arc<Near>>),
    ) -> Option<Field<'a>> {
        let near = near?.as_ref();
        Field::new(
            steering,
            stand.scoring(),
            usable,
            inputs,
            exceptions,
            Some(near),
        )
    }
}

impl balance::Model for Model<'_> {
    /// Rows that nobody has decided yet count as they would be decided.
    fn now(&mut self) -> Vec<f32> {
        let inputs = self.inputs;
        self.sum(|pop| inputs.price(pop).price_ms, true)
    }

    /// Where clients stand now counts, as at a tick; how many may move at once does not.
    fn at(&mut self, prices: &[f32]) -> Vec<f32> {
        self.sum(|pop| prices.get(pop).copied().unwrap_or(0.0), false)
    }

    fn market(&mut self, prices: &[f32]) -> Market {
        let mut market = Market::new(self.pops);
        let chosen = Chosen::new(self);
        let mut scratch = Scratch::default();
        let mut few = 0;
        for one in &mut self.stands {
            let price = |pop: usize| prices.get(pop).copied().unwrap_or(0.0);
            one.field.set_prices(self.inputs, price);
            let law = (one.field.rules(), one.field.weights().cost(1.0));
            for row in (0..one.field.rows()).step_by(self.stride) {
                let whole = one.demand(self.inputs, row);
                let Some(times) = chosen.times(whole, &mut few) else {
                    continue;
                };
                let before = one.before(row, self.further.as_deref());
                let (offers, mut before) = one.field.offered(row, before, &mut scratch);
                one.number(offers, &mut before);
                market.add(whole * times, law, (offers, &before), prices);
            }
        }
        market
    }
}

/// Which rows a market is made of.
struct Chosen {
    /// Demand from which on a row is always in it.
    large: f32,
    /// Of the others one in so many.
    step: usize,
}

impl Chosen {
    fn new(model: &Model<'_>) -> Self {
        let rows = || {
            let all = model.stands.iter();
            all.flat_map(|one| {
                let rows = (0..one.field.rows()).step_by(model.stride);
                rows.map(|row| one.demand(model.inputs, row))
            })
        };
        // Each of them is more than a small part of all, so there are not many.
        #[allow(clippy::cast_precision_loss)]
        let large = rows().sum::<f32>() / (MARKET_ROWS / 2) as f32;
        let small = rows().filter(|one| *one > 0.0 && *one < large).count();
        let step = small.div_ceil(MARKET_ROWS / 2).max(1);
        Self { large, step }
    }

    /// How many times a row of that demand counts; `None`: it is left out.
    fn times(&self, demand: f32, few: &mut usize) -> Option<f32> {
        if demand >= self.large && demand > 0.0 {
            return Some(1.0);
        }
        if demand <= 0.0 {
            return None;
        }
        *few += 1;
        // At most as many as there are rows.
        #[allow(clippy::cast_precision_loss)]
        few.is_multiple_of(self.step).then_some(self.step as f32)
    }
}

impl Modelled<'_> {
    fn demand(&self, inputs: &Inputs, row: usize) -> f32 {
        self.field.demand(&inputs.demand, row) * self.services
    }

    /// What a row is until now; `further` are the rows of exceptional prefixes in the tables.
    fn before(&self, row: usize, further: Option<&[usize]>) -> &[Part] {
        let cells = self.field.steering.clients.cells().len();
        let was = row.checked_sub(cells).zip(further);
        let was = was.and_then(|(number, rows)| rows.get(number).copied());
        self.table
            .map_or(&[][..], |table| table.row(was.unwrap_or(row)))
    }

    /// Members of the list become numbers of PoPs.
    fn number(&self, offers: &mut Vec<Offer>, parts: &mut Parts) {
        let number = |member: u16| {
            let pop = self.field.pool.members.get(usize::from(member));
            pop.and_then(|pop| u16::try_from(pop.index()).ok())
        };
        let known = |member: &mut u16| {
            let number = number(*member);
            *member = number.unwrap_or(*member);
            number.is_some()
        };
        offers.retain_mut(|offer| known(&mut offer.member));
        parts.retain(|part| known(&mut part.member));
    }
}

impl Model<'_> {
    /// Demand of each PoP, in the unit of the demand, with the rows as they are or as they would be.
    fn sum(&mut self, price: impl Fn(usize) -> f32, as_is: bool) -> Vec<f32> {
        let mut demand = vec![0.0_f32; self.pops];
        let mut scratch = Scratch::default();
        for one in &mut self.stands {
            one.field.set_prices(self.inputs, &price);
            for row in (0..one.field.rows()).step_by(self.stride) {
                let before = one.before(row, self.further.as_deref());
                let whole = one.demand(self.inputs, row);
                if whole <= 0.0 {
                    continue;
                }
                let decided;
                let parts = if as_is && !before.is_empty() {
                    before
                } else {
                    decided = one.field.row(row, before, &mut scratch).parts;
                    &decided
                };
                let sum: f32 = parts.iter().map(|part| f32::from(part.parts)).sum();
                for part in parts {
                    let pop = one.field.pool.members.get(usize::from(part.member));
                    if let Some(slot) = pop.and_then(|pop| demand.get_mut(pop.index())) {
                        *slot += whole * f32::from(part.parts) / sum.max(1.0);
                    }
                }
            }
        }
        demand
    }
}

/// Whether BGP leads the clients of a pool, in every family: no price moves them. The load that they make
/// is learned as more load for each of the others.
fn is_led_elsewhere(steering: &Steering, pool: PoolId) -> bool {
    let Some(pool) = steering.pools.get(pool.index()) else {
        return false;
    };
    let by_anycast = |family: &Family| {
        let mut addresses = pool.anycast.iter();
        addresses.any(|address| Family::of(*address) == *family)
    };
    !pool.families.is_empty() && pool.families.iter().all(by_anycast)
}

fn is_same(one: Option<&Arc<Table>>, two: Option<&Arc<Table>>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => Arc::ptr_eq(one, two),
        _ => false,
    }
}

/// The share of all that is asked which the services of a stand are asked.
fn services(steering: &Steering, stand: usize, demand: &Demand) -> f32 {
    let all = || (0_u32..).map(ServiceId).zip(steering.services());
    let of = |(id, _): (ServiceId, _)| demand.of_service(id);
    let own = all().filter(|(_, service)| service.stand == Some(stand));
    let whole: f32 = all().map(of).sum();
    own.map(of).sum::<f32>() / whole.max(f32::MIN_POSITIVE)
}
