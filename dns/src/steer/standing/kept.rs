//! Rows as they can be written down, and taken up by another process: pools and PoPs by name, cells by
//! place and country, exceptional prefixes by themselves.

use std::{collections::HashMap, sync::Arc};

use ipnet::IpNet;
use meridian_geo_data::{
    Cell, CellKey,
    latency::{self, Latency},
};
use serde::{Deserialize, Serialize};

use super::{Exceptions, Inputs, Of, Standing, Table, table::Rows};
use crate::steer::{
    Steering,
    balance::{MAX_PARTS, Part, Parts},
    steering::Stand,
};

/// Rows that are kept at most, of all tables; the tables past them are left out.
const MOST_ROWS: usize = 1_000_000;

/// What a standing knows of who serves whom.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// In the order of the rows.
    cells: Vec<CellKey>,
    /// Their rows follow those of the cells.
    prefixes: Vec<IpNet>,
    tables: Vec<Vec<KeptRow>>,
    stands: Vec<KeptStand>,
}

/// Members with their parts, and whether anything measured took part.
type KeptRow = (Vec<(u16, u16)>, bool);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptStand {
    pool: String,
    min_health: f64,
    tolerance_ms: f32,
    /// Names of the PoPs that the members are.
    members: Vec<String>,
    table: usize,
}

impl Standing {
    /// Its rows by name and place. Rows that several pools share are kept once; past a million rows
    /// further tables are left out.
    pub fn keep(&self) -> Kept {
        let Some(of) = &self.of else {
            return Kept::default();
        };
        let mut kept = Kept {
            cells: of.clients.cells().iter().map(Cell::key).collect(),
            prefixes: (0..self.exceptions.len())
                .filter_map(|number| self.exceptions.prefix(number))
                .collect(),
            ..Kept::default()
        };
        let mut seen: Vec<*const Table> = Vec::new();
        let mut rows = 0;
        for (stand, table) in of.stands.iter().zip(&self.tables) {
            let Some(table) = table else { continue };
            let known = seen.iter().position(|one| *one == Arc::as_ptr(table));
            let number = match known {
                Some(number) => number,
                None if rows + table.len() > MOST_ROWS => continue,
                None => {
                    rows += table.len();
                    seen.push(Arc::as_ptr(table));
                    kept.tables.push(keep_rows(table));
                    seen.len() - 1
                }
            };
            kept.stands.push(KeptStand {
                pool: stand.key.pool.to_string(),
                min_health: stand.key.min_health,
                tolerance_ms: stand.tolerance_ms,
                members: names(&of.labels.pops, &stand.key.members),
                table: number,
            });
        }
        kept
    }

    /// What another process kept, for this configuration and these geo data: until the first tick. Of
    /// `inputs` the latency is not looked at, since it is not laid out yet.
    pub fn restored(steering: &Steering, kept: &Kept, inputs: Inputs) -> Self {
        let latency = Arc::new(Latency::new(latency::Parts {
            exceptions: kept.prefixes.iter().map(|one| (*one, Vec::new())).collect(),
            ..latency::Parts::default()
        }));
        let exceptions = Arc::new(Exceptions::new(&latency, &steering.clients));
        let old_rows = old_rows(steering, kept, &exceptions);
        let mut known: Vec<(usize, Vec<Option<u16>>, Arc<Table>)> = Vec::new();
        let table = |stand: &Stand| {
            let found = kept.of(stand)?;
            let rows = kept.tables.get(found.table)?;
            let members = members(steering, found, stand);
            let same = known
                .iter()
                .find(|(number, by, _)| (*number, by) == (found.table, &members));
            if let Some((.., table)) = same {
                return Some(table.clone());
            }
            let table = Arc::new(table_of(rows, &members, &old_rows));
            known.push((found.table, members, table.clone()));
            Some(table)
        };
        let tables: Box<[_]> = steering.stands.iter().map(table).collect();
        let inputs = Inputs { latency, ..inputs };
        Self {
            inputs,
            of: Some(Of::new(steering)),
            tables,
            near: vec![None; steering.profiles.len()].into(),
            exceptions,
            ..Self::default()
        }
    }
}

impl Kept {
    /// The stand of the same pool, the one like it first.
    fn of(&self, stand: &Stand) -> Option<&KeptStand> {
        let all = || {
            let stands = self.stands.iter();
            stands.filter(|one| *one.pool == *stand.key.pool)
        };
        let alike = |one: &&KeptStand| {
            one.tolerance_ms.to_bits() == stand.tolerance_ms.to_bits()
                && (one.min_health - stand.key.min_health).abs() < 1e-9
        };
        all().find(alike).or_else(|| all().next())
    }
}

fn keep_rows(table: &Table) -> Vec<KeptRow> {
    let row = |at| {
        let parts = table.row(at).iter();
        let parts = parts.map(|part| (part.member, part.parts)).collect();
        (parts, table.is_measured(at))
    };
    (0..table.len()).map(row).collect()
}

fn names(pops: &[Arc<str>], members: &[u16]) -> Vec<String> {
    let name = |pop: &u16| pops.get(usize::from(*pop)).map(ToString::to_string);
    members
        .iter()
        .map(|pop| name(pop).unwrap_or_default())
        .collect()
}

/// New member by old one.
fn members(steering: &Steering, old: &KeptStand, stand: &Stand) -> Vec<Option<u16>> {
    let new = names(&steering.labels().pops, &stand.key.members);
    let known: HashMap<&String, u16> = new.iter().zip(0..).collect();
    let old = old.members.iter();
    old.map(|name| known.get(name).copied()).collect()
}

/// Old row by new one.
fn old_rows(steering: &Steering, kept: &Kept, exceptions: &Exceptions) -> Vec<Option<usize>> {
    let cells: HashMap<&CellKey, usize> = kept.cells.iter().zip(0..).collect();
    let prefixes: HashMap<&IpNet, usize> = kept.prefixes.iter().zip(kept.cells.len()..).collect();
    let of_cells = steering.clients.cells().iter();
    let of_cells = of_cells.map(|cell| cells.get(&cell.key()).copied());
    let of_prefixes =
        (0..exceptions.len()).map(|number| prefixes.get(&exceptions.prefix(number)?).copied());
    of_cells.chain(of_prefixes).collect()
}

fn table_of(rows: &[KeptRow], members: &[Option<u16>], old_rows: &[Option<usize>]) -> Table {
    let mut table = Rows::with_capacity(old_rows.len());
    for old in old_rows {
        let row = old.and_then(|old| rows.get(old));
        let parts = row.into_iter().flat_map(|(parts, _)| parts);
        let parts: Parts = parts
            .filter_map(|(member, parts)| {
                let member = members.get(usize::from(*member)).copied().flatten()?;
                let parts = *parts;
                (parts > 0).then_some(Part { member, parts })
            })
            .take(MAX_PARTS)
            .collect();
        table.push(&parts, row.is_some_and(|(_, measured)| *measured));
    }
    table.finish()
}
