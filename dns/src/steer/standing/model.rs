//! What each PoP would get at other prices: the model that the balance looks ahead with.

use std::{ops::Range, sync::Arc};

use meridian_config::{Family, PoolId};
use meridian_health_prober::HealthSnapshot;

use super::{
    Exceptions, Field, Inputs, Standing, Table,
    field::Scratch,
    near::Near,
    sample::{Counted, Sample},
};
use crate::{
    steer::{
        Demand, Steering,
        balance::{self, Market, Offer, Part, Parts},
        layout::Layout,
        steering::Stand,
    },
    types::ServiceId,
};

/// Rows looked at in one question; of more only about so many are.
const ROWS: usize = 120_000;

/// The same of rows gathered for a market.
const MARKET_ROWS: usize = 40_000;

/// The stands of a standing, ready to be asked at any prices.
#[derive(Debug)]
pub struct Model<'a> {
    stands: Vec<Modelled<'a>>,
    inputs: &'a Inputs,
    /// By exceptional prefix the row that it has in the tables; `None`: they are the same.
    further: Option<Vec<usize>>,
    pops: usize,
    /// Those that are looked at, by stand.
    rows: Vec<Asked>,
}

/// A row that is looked at.
#[derive(Clone, Copy, Debug)]
struct Asked {
    row: u32,
    stand: u32,
    /// What it stands for, itself and others that are left out.
    counted: Counted,
    /// The same in a market; `None`: it is left out there.
    in_market: Option<f32>,
}

impl Asked {
    fn row(&self) -> usize {
        self.row as usize
    }
}

#[derive(Debug)]
struct Modelled<'a> {
    stand: &'a Stand,
    field: Field<'a>,
    table: Option<&'a Arc<Table>>,
    /// What the services that follow it are asked.
    services: f32,
    /// Its own among the rows that are looked at.
    rows: Range<usize>,
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
                stands.push(Modelled {
                    stand,
                    field,
                    table,
                    services,
                    rows: 0..0,
                });
            }
        }
        Model {
            rows: chosen(&mut stands, inputs, ROWS),
            stands,
            inputs,
            further,
            pops: steering.pops.len(),
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

impl Model<'_> {
    /// The same that looks at all rows, however many there are: to see how far a sample is from them.
    #[must_use]
    pub fn of_all_rows(mut self) -> Self {
        self.rows = chosen(&mut self.stands, self.inputs, usize::MAX);
        self
    }

    /// How many rows a question looks at.
    pub fn rows(&self) -> usize {
        self.rows.len()
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
        if self.rows.iter().any(|asked| asked.in_market.is_none()) {
            market = market.sampled();
        }
        let mut scratch = Scratch::default();
        for one in &mut self.stands {
            let price = |pop: usize| prices.get(pop).copied().unwrap_or(0.0);
            one.field.set_prices(self.inputs, price);
            let law = (one.field.rules(), one.field.weights().cost(1.0));
            for asked in self.rows.get(one.rows.clone()).unwrap_or(&[]) {
                let Some(demand) = asked.in_market else {
                    continue;
                };
                let before = one.before(asked.row(), self.further.as_deref());
                let (offers, mut before) = one.field.offered(asked.row(), before, &mut scratch);
                one.number(offers, &mut before);
                market.add(demand, law, (offers, &before), prices);
            }
        }
        market
    }
}

/// The rows that are looked at, by stand, and which of them make a market: of many some, else each that
/// anybody asks from.
fn chosen(stands: &mut [Modelled<'_>], inputs: &Inputs, most: usize) -> Vec<Asked> {
    let mut rows = asking(stands, inputs);
    if let Some(mut sample) = Sample::new(rows.iter().map(|asked| asked.counted), most) {
        rows.retain_mut(|asked| {
            let demand = sample.next(asked.counted);
            asked.counted.demand = demand.unwrap_or(0.0);
            demand.is_some()
        });
        rows.shrink_to_fit();
    }
    let mut sample = Sample::new(rows.iter().map(|asked| asked.counted), MARKET_ROWS);
    for asked in &mut rows {
        asked.in_market = match &mut sample {
            Some(sample) => sample.next(asked.counted),
            None => Some(asked.counted.demand),
        };
    }
    rows.sort_by_key(|asked| asked.stand);
    let mut first = 0;
    for (number, one) in (0_u32..).zip(stands) {
        let end = rows.partition_point(|asked| asked.stand <= number);
        one.rows = first..end;
        first = end;
    }
    rows
}

/// All rows that anybody asks from, those of one cell in all stands together: so a sample has each cell
/// about as often as it should, whichever the stand.
fn asking(stands: &[Modelled<'_>], inputs: &Inputs) -> Vec<Asked> {
    let all: usize = stands.iter().map(|one| one.field.rows()).sum();
    let longest = stands.iter().map(|one| one.field.rows()).max().unwrap_or(0);
    let mut rows = Vec::with_capacity(all);
    for row in 0..u32::try_from(longest).unwrap_or(u32::MAX) {
        let at = row as usize;
        for (stand, one) in (0_u32..).zip(stands) {
            let demand = one.field.demand(&inputs.demand, at) * one.services;
            if at >= one.field.rows() || demand <= 0.0 {
                continue;
            }
            let nearest = (all > MARKET_ROWS).then(|| one.field.nearest(at));
            let nearest = nearest.flatten().and_then(|pop| u16::try_from(pop).ok());
            let nearest = nearest.unwrap_or(0);
            rows.push(Asked {
                row,
                stand,
                counted: Counted { nearest, demand },
                in_market: None,
            });
        }
    }
    rows
}

impl Modelled<'_> {
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
            for asked in self.rows.get(one.rows.clone()).unwrap_or(&[]) {
                let before = one.before(asked.row(), self.further.as_deref());
                let whole = asked.counted.demand;
                let decided;
                let parts = if as_is && !before.is_empty() {
                    before
                } else {
                    decided = one.field.row(asked.row(), before, &mut scratch).parts;
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
