//! One question to steering with everything looked up that it needs.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{net::IpAddr, ops::Deref};

use meridian_config::{Family, PopId, Weight};
use meridian_geo_data::{CellId, PlaceId};

use super::{
    Steering, View,
    balance::Part,
    hash::Bid,
    layout::{Members, Roll, State},
    standing::{Exceptions, Table},
    steering::{Pool, Pop, Roster, Service, Tested, is_inside},
};
use crate::types::ServiceId;

/// A service with what is looked up for every answer of it; most are given without a [`Case`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    pub(super) steering: &'a Steering,
    pub(super) view: &'a View,
    pub(super) service: &'a Service,
    pub(super) pool: &'a Pool,
    pub(super) family: Family,
}

/// One question with everything looked up that it needs.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) on: Setting<'a>,
    pub(super) roll: &'a Roll,
    /// Who serves whom at the moment; `None`: nothing measured has a say.
    pub(super) table: Option<&'a Table>,
    /// Rows that prefer a single PoP to the pool's anycast address, with its place in the list.
    preferred: &'a [(u32, u16)],
    /// Where the client is.
    pub(super) cell: Option<CellId>,
    /// The row that its clients follow, where anything measured has a say.
    pub(super) row: Option<usize>,
    /// Place of the pinned PoP in the pool's list.
    pub(super) pinned: Option<u16>,
    /// The client's block, hashed.
    pub(super) block: u64,
}

/// Which PoPs a step lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Usable, with a usable endpoint of the family.
    Usable,
    /// Not drained; every endpoint of the family.
    NotDrained,
    /// Every endpoint of the family.
    Nothing,
}

impl<'a> Setting<'a> {
    pub(super) fn new(
        steering: &'a Steering,
        view: &'a View,
        service: ServiceId,
        family: Family,
    ) -> Option<Self> {
        let service = steering.service(service)?;
        Some(Self {
            steering,
            view,
            service,
            pool: steering.pools.get(service.pool.index())?,
            family,
        })
    }

    /// Prefixes judged apart, where that makes a difference.
    pub(super) fn exceptions(&self) -> Option<&'a Exceptions> {
        let some = self.view.exceptions()?;
        let has_rows = self.table().is_some() || !self.preferred().is_empty();
        has_rows.then_some(some)
    }

    fn table(&self) -> Option<&'a Table> {
        let table = self.view.standing().table(self.service.stand);
        table.map(|table| &**table)
    }

    fn preferred(&self) -> &'a [(u32, u16)] {
        self.view.standing().preferred(self.service.pool.index())
    }

    /// The case of a client at `place` whose block is hashed as `block`.
    pub(super) fn at(self, place: PlaceId, block: u64) -> Case<'a> {
        let clients = &self.steering.clients;
        let (table, preferred) = (self.table(), self.preferred());
        // Without any, nothing measured has a say.
        let (place, row) = match table.is_some() || !preferred.is_empty() {
            true => self.view.standing().place(clients, place),
            false => (place, None),
        };
        let (cell, pinned) = clients.place(place);
        let of_pool = |pop: PopId| self.pool.members.iter().position(|member| *member == pop);
        let pinned = pinned
            .and_then(of_pool)
            .and_then(|at| u16::try_from(at).ok());
        Case {
            on: self,
            roll: self.roll(),
            table,
            preferred,
            cell,
            row,
            pinned,
            block,
        }
    }

    /// The health of the pool's list.
    pub(super) fn roll(&self) -> &'a Roll {
        self.view.roll(self.service.roster)
    }

    fn roster(&self) -> Option<&'a Roster> {
        self.steering.rosters.get(self.service.roster)
    }

    pub(super) fn state(&self, member: u16) -> State {
        let roster = self.roster();
        let tested = roster.and_then(|roster| roster.tested.get(usize::from(member)));
        tested
            .map(|tested| self.view.state(*tested))
            .unwrap_or_default()
    }

    pub(super) fn tested(&self, member: u16) -> Option<&'a Tested> {
        let tested = self.roster()?.tested.get(usize::from(member))?;
        self.steering.tested.get(*tested as usize)
    }

    pub(super) fn pop(&self, member: u16) -> Option<&'a Pop> {
        self.steering.member(self.pool, member)
    }

    pub(super) fn pop_id(&self, member: u16) -> Option<PopId> {
        self.pool.members.get(usize::from(member)).copied()
    }

    /// Whether clients get the pool's anycast address unless they prefer a single PoP: it has one of
    /// the family, and the PoPs that announce it are not all out of use.
    pub(super) fn is_anycast(&self) -> bool {
        let of_family = |address: &IpAddr| Family::of(*address) == self.family;
        let any = |family| self.view.any(self.service.roster, family);
        self.pool.anycast.iter().any(of_family) && (any(Family::V4) || any(Family::V6))
    }

    pub(super) fn has_family(&self, member: u16) -> bool {
        let lot = self.pool.lots.get(usize::from(member));
        lot.is_some_and(|lot| lot.has(self.family))
    }
}

impl<'a> Deref for Case<'a> {
    type Target = Setting<'a>;

    fn deref(&self) -> &Setting<'a> {
        &self.on
    }
}

impl Case<'_> {
    /// The bid of a PoP for the client's block, with another weight than its own where one is given.
    pub(super) fn bid(&self, member: u16, weight: Option<Weight>) -> Bid {
        let lot = self.pool.lots.get(usize::from(member));
        let (seed, own) = lot.map_or((0, Weight(0)), |lot| (lot.seed, lot.weight));
        Bid::new(self.block, seed, weight.unwrap_or(own))
    }

    /// Whether a PoP that has the family meets the need.
    pub(super) fn admits(&self, member: u16, need: Need) -> bool {
        self.let_in(need).has(member)
    }

    /// The PoPs that meet the need where they have the family.
    pub(super) fn let_in(&self, need: Need) -> Members<'_> {
        match need {
            Need::Usable => self.roll.answers(self.family).set(),
            Need::NotDrained => self.roll.drained.unset(),
            Need::Nothing => Members::ALL,
        }
    }

    /// Who serves the place at the moment, the home first; empty where nothing measured has a say.
    pub(super) fn parts(&self) -> &[Part] {
        match (self.table, self.row) {
            (Some(table), Some(row)) => table.row(row),
            _ => &[],
        }
    }

    /// Whether anything measured took part in that.
    pub(super) fn is_measured(&self) -> bool {
        let told = self.table.zip(self.row);
        told.is_some_and(|(table, row)| table.is_measured(row))
    }

    /// The PoP that clients of the place prefer to the pool's anycast address, as measured; never
    /// one whose fence keeps them out.
    pub(super) fn preferred_pop(&self) -> Option<u16> {
        let row = u32::try_from(self.row?).ok()?;
        let at = self.preferred.binary_search_by_key(&row, |(row, _)| *row);
        let (_, member) = *self.preferred.get(at.ok()?)?;
        let cell = self.steering.clients.cells().get(self.cell?.0 as usize)?;
        let fence = &self.pop(member)?.fence;
        let inside = fence.is_open() || is_inside(fence, cell.country, cell.continent);
        (inside && self.has_family(member)).then_some(member)
    }
}
