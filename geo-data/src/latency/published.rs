//! What is known of latency at one moment, for readers: immutable, swapped whole.

use std::{collections::BTreeMap, fmt, sync::Arc};

use ipnet::IpNet;

use super::{
    race::Preference,
    types::{Line, Measured},
};
use crate::CellId;

/// Measured latency at one moment. Cheap to read; made by [`Matrix::publish`](super::Matrix::publish).
#[derive(Clone, Default)]
pub struct Latency {
    generation: u64,
    line: Line,
    columns: Arc<[Arc<str>]>,
    /// Where the entries of each cell begin; one more than there are cells, or empty.
    starts: Vec<u32>,
    entries: Vec<Measured>,
    exceptions: Vec<(IpNet, u32)>,
    rows: Vec<Box<[Measured]>>,
    /// What cells prefer, sorted.
    preferences: Vec<(CellId, Preference)>,
    /// What exceptional prefixes prefer, by row.
    preferred: Vec<Box<[Preference]>>,
}

/// What a [`Latency`] is made of.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Rises with every publication.
    pub generation: u64,
    /// The estimate.
    pub line: Line,
    /// Names of the columns.
    pub columns: Arc<[Arc<str>]>,
    /// Entries of cells, in any order.
    pub cells: Vec<(CellId, Measured)>,
    /// Prefixes (/24 or /48) so unlike their cell that they are judged by themselves, in any order,
    /// each once, with what holds for them: their own where that was measured, else their cell's.
    pub exceptions: Vec<(IpNet, Vec<Measured>)>,
    /// Single PoPs that cells prefer to anycast, in any order.
    pub preferences: Vec<(CellId, Preference)>,
    /// The same of prefixes that are judged by themselves; one that is missing prefers none.
    pub preferred: Vec<(IpNet, Vec<Preference>)>,
}

impl Latency {
    /// Nothing measured.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Lays parts out for readers. Of several entries for one cell and column the first stays.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            generation,
            line,
            columns,
            mut cells,
            mut exceptions,
            mut preferences,
            preferred,
        } = parts;
        cells.sort_by_key(|(cell, one)| (*cell, one.column));
        cells.dedup_by_key(|(cell, one)| (*cell, one.column));
        let count = cells.last().map_or(0, |(cell, _)| cell.0 as usize + 1);
        let mut starts = vec![0_u32; count + 1];
        for (cell, _) in &cells {
            if let Some(after) = starts.get_mut(cell.0 as usize + 1) {
                *after += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        exceptions.sort_by_key(|(prefix, _)| *prefix);
        preferences.sort_by_key(|(cell, one)| (*cell, one.anycast));
        let mut told: BTreeMap<IpNet, Vec<Preference>> = preferred.into_iter().collect();
        let preferred = exceptions.iter().map(|(prefix, _)| {
            let mut own = told.remove(prefix).unwrap_or_default();
            own.sort_by_key(|one| one.anycast);
            own.into_boxed_slice()
        });
        let preferred = preferred.collect();
        let named = exceptions.iter().map(|(prefix, _)| *prefix).zip(0..);
        let named = named.collect();
        let rows = exceptions.into_iter().map(|(_, mut row)| {
            row.sort_by_key(|one| one.column);
            row.into_boxed_slice()
        });
        Self {
            generation,
            line,
            columns,
            starts,
            entries: cells.into_iter().map(|(_, one)| one).collect(),
            exceptions: named,
            rows: rows.collect(),
            preferences,
            preferred,
        }
    }

    /// Whether nothing at all is measured.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.exceptions.is_empty()
    }

    /// Rises with every publication.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What to reckon with where nothing was measured.
    pub fn line(&self) -> Line {
        self.line
    }

    /// Names of the columns; [`Measured::column`] is the index.
    pub fn columns(&self) -> &[Arc<str>] {
        &self.columns
    }

    /// The column of a PoP.
    pub fn column(&self, name: &str) -> Option<u16> {
        let at = self.columns.iter().position(|column| &**column == name)?;
        u16::try_from(at).ok()
    }

    /// What was measured of a cell, by column.
    pub fn of_cell(&self, cell: CellId) -> &[Measured] {
        let at = cell.0 as usize;
        let ends = self.starts.get(at).zip(self.starts.get(at + 1));
        ends.and_then(|(start, end)| self.entries.get(*start as usize..*end as usize))
            .unwrap_or(&[])
    }

    /// The prefixes that are judged by themselves, sorted, with their row.
    pub fn exceptions(&self) -> &[(IpNet, u32)] {
        &self.exceptions
    }

    /// What holds for a prefix that is judged by itself, by column.
    pub fn of_row(&self, row: u32) -> &[Measured] {
        let row = self.rows.get(row as usize);
        row.map_or(&[], |row| row)
    }

    /// The single PoPs that cells prefer to anycast, sorted by cell and column.
    pub fn preferences(&self) -> &[(CellId, Preference)] {
        &self.preferences
    }

    /// The single PoPs that a cell prefers to anycast.
    pub fn preferred_by_cell(&self, cell: CellId) -> &[(CellId, Preference)] {
        let start = self.preferences.partition_point(|(one, _)| *one < cell);
        let rest = self.preferences.get(start..).unwrap_or(&[]);
        let end = rest.partition_point(|(one, _)| *one == cell);
        rest.get(..end).unwrap_or(&[])
    }

    /// The single PoPs that a prefix which is judged by itself prefers to anycast.
    pub fn preferred_by_row(&self, row: u32) -> &[Preference] {
        let row = self.preferred.get(row as usize);
        row.map_or(&[], |row| row)
    }

    /// Pairs of cell and column that are measured.
    pub fn pairs(&self) -> usize {
        self.entries.len()
    }

    /// Octets that it takes.
    pub fn octets(&self) -> usize {
        let rows: usize = self.rows.iter().map(|row| size_of_val(&**row)).sum();
        size_of_val(&*self.starts)
            + size_of_val(&*self.entries)
            + size_of_val(&*self.exceptions)
            + size_of_val(&*self.rows)
            + size_of_val(&*self.preferences)
            + size_of_val(&*self.preferred)
            + rows
    }
}

impl fmt::Debug for Latency {
    /// Sizes only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latency")
            .field("generation", &self.generation)
            .field("line", &self.line)
            .field("columns", &self.columns)
            .field("entries", &self.entries.len())
            .field("exceptions", &self.exceptions.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Basis, *};

    fn measured(column: u16, ms: f32) -> Measured {
        Measured {
            column,
            basis: Basis::Cell,
            p25_ms: ms,
            ms,
            samples: 20,
            age_s: 0,
        }
    }

    #[test]
    fn entries_are_found_by_cell_and_column() {
        let latency = Latency::new(Parts {
            columns: ["fra".into(), "iad".into()].into(),
            cells: vec![
                (CellId(7), measured(1, 90.0)),
                (CellId(2), measured(0, 5.0)),
                (CellId(7), measured(0, 12.0)),
            ],
            ..Parts::default()
        });
        assert_eq!(latency.of_cell(CellId(2)), [measured(0, 5.0)]);
        assert_eq!(
            latency.of_cell(CellId(7)),
            [measured(0, 12.0), measured(1, 90.0)]
        );
        for none in [0, 3, 6, 8, u32::MAX - 1] {
            assert!(latency.of_cell(CellId(none)).is_empty(), "{none}");
        }
        let column = latency.column("iad").unwrap();
        assert_eq!((column, latency.pairs()), (1, 3));
    }

    #[test]
    fn exceptions_are_sorted_with_their_rows() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let latency = Latency::new(Parts {
            exceptions: vec![
                (net("2001:db8::/48"), vec![measured(0, 1.0)]),
                (
                    net("203.0.113.0/24"),
                    vec![measured(2, 3.0), measured(1, 2.0)],
                ),
            ],
            ..Parts::default()
        });
        let expect = [(net("203.0.113.0/24"), 0), (net("2001:db8::/48"), 1)];
        assert_eq!(latency.exceptions(), expect);
        assert_eq!(latency.of_row(0), [measured(1, 2.0), measured(2, 3.0)]);
        assert_eq!(latency.of_row(1), [measured(0, 1.0)]);
        assert!(latency.of_row(2).is_empty());
    }

    #[test]
    fn empty_is_empty() {
        let empty = Latency::empty();
        assert!(empty.is_empty() && empty.of_cell(CellId(0)).is_empty());
        assert!(Latency::new(Parts::default()).is_empty());
        assert_eq!(empty.line(), Line::default());
    }
}
