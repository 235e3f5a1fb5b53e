//! The part of steering that moves with what is measured: who serves each cell at the moment, and
//! in which shares. Made anew at every tick, immutable, published whole beside the health.
//!
//! ```text
//! previous Standing ─┐
//! Steering, health  ─┼─► next ─► a table for each stand ─► row of a cell or prefix ─► decide
//! latency, prices   ─┘     └──► modelled: what each PoP would get at other prices
//! ```
//!
//! * `near` — the PoPs of a pool that a cell is likely to get: made once for a configuration;
//! * `common` — rows that stands have in common whose lists or checks differ little;
//! * `exceptions` — prefixes that are judged apart from their cell;
//! * `field` — the scores of one stand under the inputs of one tick, row by row;
//! * `table` — the rows, laid out for queries;
//! * `limit` — no more clients are moved at once than others can follow;
//! * `before` — what the rows were, under an earlier configuration too; `plain` — what they were
//!   while nothing was measured;
//! * `kept` — the rows in a file, over a restart;
//! * `hybrid` — who gets a single PoP although the pool has an anycast address;
//! * `next` — all of it together; `model` — the same with other prices.
//!
//! A *stand* is a profile with a tolerance and a roster: services with the same stand share rows.
//! A stand of which nothing is measured has no table, and costs nothing.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod before;
mod common;
mod exceptions;
mod field;
mod hybrid;
mod kept;
mod limit;
mod model;
mod near;
mod next;
mod plain;
mod sample;
mod table;

use std::sync::Arc;

use ipnet::IpNet;
use meridian_geo_data::{CellId, ClientMap, PlaceId, latency::Latency};

#[cfg(test)]
pub(super) use self::field::tests::is_crowded;
use self::near::Near;
pub(super) use self::{
    exceptions::{Exceptions, Spot},
    field::{Field, Fielded},
    table::Table,
};
pub use self::{kept::Kept, model::Model};
use super::{
    Steering,
    balance::Price,
    demand::Demand,
    steering::{Service, Stand},
};
use crate::metrics::Labels;

/// What a [`Standing`] is made from, besides the one before, the configuration and the health.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Measured round-trip times.
    pub latency: Arc<Latency>,
    /// By [`PopId`](meridian_config::PopId); one that is missing is not known.
    pub prices: Arc<[Price]>,
    /// Where clients are.
    pub demand: Arc<Demand>,
}

impl Default for Inputs {
    /// Nothing is measured.
    fn default() -> Self {
        Self {
            latency: Arc::new(Latency::empty()),
            prices: Arc::new([]),
            demand: Arc::default(),
        }
    }
}

impl Inputs {
    fn price(&self, pop: usize) -> Price {
        self.prices.get(pop).copied().unwrap_or(Price::NEUTRAL)
    }
}

/// Who serves whom at the moment, as far as measured latency and load have a say. Belongs to the
/// [`Steering`] that it was made for.
#[derive(Debug, Default)]
pub struct Standing {
    inputs: Inputs,
    /// What it was made for; `None`: for any, since nothing is measured.
    of: Option<Of>,
    /// By stand; `None`: nothing is measured that has a say in it.
    tables: Box<[Option<Arc<Table>>]>,
    /// By profile; `None`: not needed yet.
    near: Box<[Option<Arc<Near>>]>,
    exceptions: Arc<Exceptions>,
    /// By pool, who prefers a single PoP to the anycast address.
    preferred: Box<[hybrid::Preferred]>,
    moved: Moved,
}

/// The configuration and geo data that a standing was made for.
#[derive(Clone, Debug)]
struct Of {
    labels: Arc<Labels>,
    clients: Arc<ClientMap>,
    stands: Arc<[Stand]>,
}

impl Of {
    fn new(steering: &Steering) -> Self {
        Self {
            labels: steering.labels().clone(),
            clients: steering.clients.clone(),
            stands: steering.stands.clone(),
        }
    }

    /// Whether both are the same steering: nothing of it is ever changed in place.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.stands, &other.stands) && Arc::ptr_eq(&self.clients, &other.clients)
    }
}

/// What a tick did, as shares of the clients of the stand where it did most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moved {
    /// Wanted to move to a better PoP.
    pub wanted: f32,
    /// Were moved.
    pub moved: f32,
}

impl Standing {
    /// Nothing is measured: every decision follows the configuration and the geo data alone.
    pub fn none() -> Self {
        Self::default()
    }

    /// What it was made from.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// What the tick that made it did.
    pub fn moved(&self) -> Moved {
        self.moved
    }

    /// Whether queries are answered the same under both, so that one need not replace the other.
    /// Explanations differ all the same.
    pub fn answers_like(&self, other: &Self) -> bool {
        let alike = |(one, two): (&Option<Arc<Table>>, &Option<Arc<Table>>)| match (one, two) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two) || one == two,
            (one, two) => one.is_none() && two.is_none(),
        };
        let same_tables = self.tables.len() == other.tables.len()
            && self.tables.iter().zip(&other.tables).all(alike);
        let neither = || self.is_none() && other.is_none();
        let same_rest = || self.exceptions == other.exceptions && self.preferred == other.preferred;
        neither() || (same_tables && same_rest())
    }

    /// Whether nothing is measured that has a say in any service.
    pub fn is_none(&self) -> bool {
        self.preferred.is_empty() && self.tables.iter().all(Option::is_none)
    }

    /// Exceptional prefixes that are judged by themselves, and those that are not, since geo data or
    /// operator networks tell their addresses apart already.
    pub fn exceptional(&self) -> (usize, usize) {
        (self.exceptions.len(), self.exceptions.unfit())
    }

    /// Stands with a table, and the rows of all of them.
    pub fn size(&self) -> (usize, usize) {
        let tables = || self.tables.iter().flatten();
        (tables().count(), tables().map(|table| table.len()).sum())
    }

    /// Octets of all of it. What several stands share is counted once.
    pub fn octets(&self) -> usize {
        let mut seen: Vec<*const Table> = Vec::new();
        let mut sum = 0;
        for table in self.tables.iter().flatten() {
            if !seen.contains(&Arc::as_ptr(table)) {
                seen.push(Arc::as_ptr(table));
                sum += table.octets();
            }
        }
        let mut shared: Vec<*const Near> = Vec::new();
        let near = self.near.iter().flatten().filter_map(|near| {
            let seen = shared.contains(&Arc::as_ptr(near));
            shared.push(Arc::as_ptr(near));
            (!seen).then(|| near.octets())
        });
        let preferred = self.preferred.iter().map(|rows| size_of_val(&**rows));
        sum + near.sum::<usize>() + preferred.sum::<usize>() + self.exceptions.octets()
    }

    /// Whose rows a service follows.
    pub(super) fn table(&self, stand: Option<usize>) -> Option<&Arc<Table>> {
        self.tables.get(stand?)?.as_ref()
    }

    /// Rows of a pool whose clients prefer a single PoP to its anycast address, sorted, with the PoP's
    /// place in the pool's list.
    pub(super) fn preferred(&self, pool: usize) -> &[(u32, u16)] {
        self.preferred.get(pool).map_or(&[], |rows| rows)
    }

    /// Prefixes judged apart from their cell.
    pub(super) fn exceptions(&self) -> &Exceptions {
        &self.exceptions
    }

    /// Places that are no places of the client map: one for each exceptional prefix.
    pub(super) fn further_places(&self) -> usize {
        if self.is_none() {
            return 0;
        }
        self.exceptions.len()
    }

    /// The place of the client map that a place is, and the row that its clients follow.
    pub(super) fn place(&self, clients: &ClientMap, place: PlaceId) -> (PlaceId, Option<usize>) {
        let beyond = (place.0 as usize).checked_sub(clients.places());
        if let Some(number) = beyond {
            let real = self.exceptions.place(number).unwrap_or(place);
            return (real, Some(clients.cells().len() + number));
        }
        let cell: Option<CellId> = clients.place(place).0;
        (place, cell.map(|cell| cell.0 as usize))
    }

    /// The scores of a service, PoP by PoP. What it was made from counts only for services that
    /// have rows: the others follow the configuration.
    pub(super) fn field<'a>(
        &'a self,
        steering: &'a Steering,
        service: &Service,
        nothing: &'a Inputs,
    ) -> Option<Field<'a>> {
        let inputs = match self.table(service.stand) {
            Some(_) => &self.inputs,
            None => nothing,
        };
        let scoring = (service.profile, service.tolerance_ms);
        let usable = Vec::new();
        Field::new(steering, scoring, usable, inputs, &self.exceptions, None)
    }

    /// The exceptional prefix that a row belongs to.
    pub(super) fn prefix(&self, clients: &ClientMap, row: usize) -> Option<IpNet> {
        let number = row.checked_sub(clients.cells().len())?;
        self.exceptions.prefix(number)
    }
}
