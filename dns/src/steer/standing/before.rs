//! What a row was like at the tick before, under an earlier configuration too: pools and PoPs are
//! known again by name, cells by place and country, exceptional prefixes by themselves.

use std::{collections::HashMap, sync::Arc};

use meridian_geo_data::{Cell, CellKey, ClientMap};

use super::{Exceptions, Of, Standing, Table, near::NONE};
use crate::steer::{
    Steering,
    balance::{Part, Parts},
    steering::Stand,
};

/// The rows of one stand as they were.
#[derive(Debug)]
pub(super) struct Before<'a> {
    table: Option<&'a Arc<Table>>,
    /// New member by old one; `None`: they are the same.
    pub(super) members: Option<Vec<Option<u16>>>,
    /// It was answered by configuration and geo data alone.
    pub(super) is_plain: bool,
    ground: &'a Ground<'a>,
}

/// What all stands have in common.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    old: &'a Standing,
    same: bool,
    /// Old cell by new one; `None`: they are the same.
    cells: Option<Vec<Option<u32>>>,
    old_cells: usize,
    new_cells: usize,
    exceptions: &'a Exceptions,
}

impl<'a> Ground<'a> {
    pub(super) fn new(old: &'a Standing, of: &Of, exceptions: &'a Exceptions) -> Self {
        let clients = &of.clients;
        let before = old.of.as_ref();
        let same_map = before.is_none_or(|old| Arc::ptr_eq(&old.clients, clients));
        Self {
            old,
            same: before.is_none_or(|old| old.is(of)),
            cells: before
                .filter(|_| !same_map)
                .map(|old| cells(&old.clients, clients)),
            old_cells: before.map_or(0, |old| old.clients.cells().len()),
            new_cells: clients.cells().len(),
            exceptions,
        }
    }

    /// The rows that a stand had.
    pub(super) fn of(&'a self, steering: &Steering, number: usize, stand: &Stand) -> Before<'a> {
        if self.same {
            let table = self.old.table(Some(number));
            return Before {
                table,
                members: None,
                is_plain: table.is_none() && self.old.of.is_some(),
                ground: self,
            };
        }
        let found = self.old.of.as_ref().and_then(|old| {
            let key = &stand.key;
            let alike = |one: &&(usize, &Stand)| one.1.key.pool == key.pool;
            let all = || old.stands.iter().enumerate().filter(|one| alike(&one));
            let exact = all().find(|(_, one)| {
                one.tolerance_ms.to_bits() == stand.tolerance_ms.to_bits()
                    && one.key.min_health.to_bits() == key.min_health.to_bits()
            });
            let (at, one) = exact.or_else(|| all().next())?;
            let named = |pop: &u16| steering.labels().pops.get(usize::from(*pop));
            let known: HashMap<_, u16> = key.members.iter().map(named).zip(0..).collect();
            let new = |pop: &u16| {
                let name = old.labels.pops.get(usize::from(*pop))?;
                known.get(&Some(name)).copied()
            };
            let members: Vec<_> = one.key.members.iter().map(new).collect();
            Some((self.old.table(Some(at)), members))
        });
        let (table, members) = found.unzip();
        Before {
            table: table.flatten(),
            members,
            is_plain: matches!(table, Some(None)),
            ground: self,
        }
    }
}

impl<'a> Before<'a> {
    /// The table itself, where its rows are still the same ones.
    pub(super) fn table(&self) -> Option<&'a Arc<Table>> {
        self.table
    }

    /// Who served a row; empty where nobody knows. Who is not in the list any more stands there as
    /// [`NONE`]: its clients go at once, as those of a PoP that is down.
    pub(super) fn row(&self, row: usize) -> Parts {
        let (Some(table), Some(row)) = (self.table, self.old_row(row)) else {
            return Parts::new();
        };
        let parts = table.row(row).iter();
        match &self.members {
            None => parts.copied().collect(),
            Some(members) => parts
                .map(|part| {
                    let member = members.get(usize::from(part.member)).copied().flatten();
                    let member = member.unwrap_or(NONE);
                    Part { member, ..*part }
                })
                .collect(),
        }
    }

    fn old_row(&self, row: usize) -> Option<usize> {
        let ground = self.ground;
        let Some(number) = row.checked_sub(ground.new_cells) else {
            return ground.old_cell(row);
        };
        let prefix = ground.exceptions.prefix(number)?;
        if let Some(number) = ground.old.exceptions.number(prefix) {
            return Some(ground.old_cells + number);
        }
        // Until now it went with its cell.
        let (cell, _) = ground.exceptions.cell_and_row(number)?;
        ground.old_cell(cell.0 as usize)
    }
}

impl Ground<'_> {
    fn old_cell(&self, cell: usize) -> Option<usize> {
        match &self.cells {
            None => Some(cell),
            Some(cells) => Some(cells.get(cell).copied().flatten()? as usize),
        }
    }
}

/// Old cell by new one.
fn cells(old: &ClientMap, new: &ClientMap) -> Vec<Option<u32>> {
    let known: HashMap<CellKey, u32> = old.cells().iter().map(Cell::key).zip(0..).collect();
    let find = |cell: &Cell| known.get(&cell.key()).copied();
    new.cells().iter().map(find).collect()
}
