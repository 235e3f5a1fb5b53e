//! For whom a single PoP is handed out instead of a pool's anycast address: the preferences that
//! measurement has proven, by row.

use meridian_geo_data::{
    CellId, ClientMap,
    latency::{Latency, Measured, Preference, anycast_column},
};

use super::{Exceptions, Standing};
use crate::steer::{Steering, steering::Pool};

/// Rows of one pool with the PoP that their clients prefer, as its place in the pool's list; sorted
/// by row. Rows that are missing get the anycast address.
pub(super) type Preferred = Box<[(u32, u16)]>;

/// Those of every pool; empty where there are none at all.
pub(super) fn preferred(
    steering: &Steering,
    latency: &Latency,
    exceptions: &Exceptions,
) -> Box<[Preferred]> {
    let pools = steering.pools.iter();
    let all: Box<[Preferred]> = pools
        .map(|pool| of_pool(steering, pool, latency, exceptions))
        .collect();
    match all.iter().all(|one| one.is_empty()) {
        true => Box::default(),
        false => all,
    }
}

fn of_pool(
    steering: &Steering,
    pool: &Pool,
    latency: &Latency,
    exceptions: &Exceptions,
) -> Preferred {
    let column = latency.column(&anycast_column(&pool.name));
    let Some(column) = column.filter(|_| !pool.anycast.is_empty()) else {
        return Box::default();
    };
    let member = |one: &Preference| {
        let name = latency.columns().get(usize::from(one.pop))?;
        let is_it = |pop: &_| steering.pop_name(*pop) == Some(&**name);
        let at = pool.members.iter().position(is_it)?;
        u16::try_from(at)
            .ok()
            .filter(|_| one.in_force && one.anycast == column)
    };
    let cells = steering.clients.cells().len();
    let of_cells = latency.preferences().iter();
    let of_cells = of_cells
        .filter(|(cell, _)| (cell.0 as usize) < cells)
        .filter_map(|(cell, one)| Some((cell.0, member(one)?)));
    let of_prefixes = (0..exceptions.len()).filter_map(|number| {
        let (_, row) = exceptions.cell_and_row(number)?;
        let found = latency.preferred_by_row(row).iter().find_map(member)?;
        Some((u32::try_from(cells + number).ok()?, found))
    });
    let mut all: Vec<(u32, u16)> = of_cells.chain(of_prefixes).collect();
    all.sort_unstable();
    all.dedup_by_key(|(row, _)| *row);
    all.into()
}

impl Standing {
    /// What is measured of a row, and what its clients prefer to anycast addresses: for an
    /// explanation.
    pub(in crate::steer) fn told_of(
        &self,
        clients: &ClientMap,
        row: usize,
    ) -> (&[Measured], Vec<Preference>) {
        let latency = &self.inputs.latency;
        match row.checked_sub(clients.cells().len()) {
            Some(number) => match self.exceptions.cell_and_row(number) {
                Some((_, row)) => (latency.of_row(row), latency.preferred_by_row(row).to_vec()),
                None => (&[], Vec::new()),
            },
            None => {
                let cell = CellId(u32::try_from(row).unwrap_or(u32::MAX));
                let preferred = latency.preferred_by_cell(cell).iter();
                let preferred = preferred.map(|(_, one)| *one).collect();
                (latency.of_cell(cell), preferred)
            }
        }
    }
}
