//! Measured round-trip times, by cell and by exceptional prefix.

use std::sync::Arc;

use ipnet::IpNet;

use crate::CellId;

/// The round trip that distance lets expect: `intercept_ms + ms_per_100km · d / 100 km`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Milliseconds at distance 0.
    pub intercept_ms: f32,
    /// Milliseconds for each 100 km.
    pub ms_per_100km: f32,
    /// Pairs of cell and PoP that it was fitted to; 0: these are the defaults.
    pub pairs: u32,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            intercept_ms: 5.0,
            ms_per_100km: 1.5,
            pairs: 0,
        }
    }
}

impl Line {
    /// Round trip over a distance, milliseconds.
    pub fn at(&self, hundred_km: f32) -> f32 {
        self.intercept_ms + self.ms_per_100km * hundred_km
    }
}

/// What was measured between one cell or prefix and one column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Index into [`Latency::columns`].
    pub column: u16,
    /// 25th percentile over the window, milliseconds.
    pub p25_ms: f32,
    /// Samples that it rests on.
    pub samples: u32,
    /// Seconds since the newest of them.
    pub age_s: u32,
    /// What counts: the percentile, decayed toward the estimate as it ages, milliseconds.
    pub ms: f32,
}

/// Everything measured, as steering sees it. Immutable, published whole.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    line: Line,
    columns: Box<[Arc<str>]>,
    cells: Box<[Box<[Measured]>]>,
    exceptions: Box<[(IpNet, u32)]>,
    rows: Box<[Box<[Measured]>]>,
    generation: u64,
}

impl Latency {
    /// Nothing is measured.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The line that estimates follow.
    pub fn line(&self) -> Line {
        self.line
    }

    /// What is measured from a cell, sorted by column.
    pub fn of_cell(&self, cell: CellId) -> &[Measured] {
        let row = self.cells.get(cell.0 as usize);
        row.map_or(&[][..], |row| row)
    }

    /// Names of PoPs, or `anycast:POOL`.
    pub fn columns(&self) -> &[Arc<str>] {
        &self.columns
    }

    /// Prefixes that differ from their cell, sorted, with their row.
    pub fn exceptions(&self) -> &[(IpNet, u32)] {
        &self.exceptions
    }

    /// What is measured from an exceptional prefix, sorted by column.
    pub fn of_row(&self, row: u32) -> &[Measured] {
        let row = self.rows.get(row as usize);
        row.map_or(&[][..], |row| row)
    }

    /// Rises with every publication.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}
