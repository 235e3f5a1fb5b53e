//! What is told, by whom, and what comes of it.

use std::sync::Arc;

use ipnet::IpNet;
use meridian_config::Coordinates;
use serde::Serialize;
use thiserror::Error;

/// Shortest round trip that is believed, milliseconds.
pub const RTT_MIN_MS: f32 = 0.05;
/// Longest round trip that is believed, milliseconds.
pub const RTT_MAX_MS: f32 = 10_000.0;

/// One measured round trip between clients and a PoP.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The client: an address, or a prefix of at least /24 or /48. It is cut to that.
    pub prefix: IpNet,
    /// Name of the column: a PoP's name, or [`anycast_column`] of a pool.
    pub pop: Arc<str>,
    /// Round trip in milliseconds.
    pub rtt_ms: f32,
    /// Who says so.
    pub reporter: Reporter,
}

/// Who says that a round trip took so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reporter {
    /// The operator itself. Every sample counts.
    Own,
    /// Someone whom the operator lets tell of many clients, by a hash of who it is: an edge host, say. Ten
    /// samples in half a window count in the row of a prefix, 20 in that of a cell: enough to make a row
    /// alone, and no more than anyone else who is let.
    Caller(u64),
    /// Anyone else, by a hash of who it is (the address of a browser, say). One sample in half a
    /// window counts in a row, so that with the least number of samples for a row, 20, nobody has more than
    /// a tenth of it.
    Other(u64),
}

/// Why a sample was not counted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Refused {
    /// No PoP and no anycast pool has this name.
    #[error("no PoP has this name")]
    UnknownPop,
    /// Wider than /24 or /48.
    #[error("the prefix is wider than /24 (IPv4) or /48 (IPv6)")]
    TooWide,
    /// Not a number, zero, or longer than ten seconds.
    #[error("the round trip is not between 0.05 ms and 10 s")]
    OutOfRange,
    /// Light does not travel from there and back in this time.
    #[error("the round trip is shorter than light takes")]
    FasterThanLight,
    /// A private, local or multicast address of which the geo data knows no place.
    #[error("the client's address is not routed, and no geo.network places it")]
    Unroutable,
    /// This reporter has been heard in this half of the window.
    #[error("this reporter has been counted already")]
    Repeated,
    /// There are as many rows of cells as may be, and the sample's cell has none.
    #[error("there is no room for another cell")]
    Full,
}

impl Refused {
    /// Every reason, for registering label values before they occur.
    pub const ALL: [Self; 7] = [
        Self::UnknownPop,
        Self::TooWide,
        Self::OutOfRange,
        Self::FasterThanLight,
        Self::Unroutable,
        Self::Repeated,
        Self::Full,
    ];

    /// Stable snake_case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownPop => "unknown_pop",
            Self::TooWide => "too_wide",
            Self::OutOfRange => "out_of_range",
            Self::FasterThanLight => "faster_than_light",
            Self::Unroutable => "unroutable",
            Self::Repeated => "repeated",
            Self::Full => "full",
        }
    }
}

/// A column that samples may name.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The PoP's name, or [`anycast_column`] of a pool.
    pub name: Arc<str>,
    /// Where it is; `None` for anycast, which is nowhere in particular.
    pub at: Option<Coordinates>,
}

/// Name of the column of round trips to the anycast address of a pool.
pub fn anycast_column(pool: &str) -> Arc<str> {
    format!("anycast:{pool}").into()
}

/// How samples are judged. The defaults are those of the documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// The sliding window, seconds: samples of between half of it and all of it count in full.
    pub window_s: u32,
    /// A row with fewer samples says nothing by itself.
    pub min_samples: u16,
    /// After the window, samples lose half their weight in this time, seconds.
    pub fade_s: u32,
    /// Most rows of prefixes (prefix × PoP). When full, those longest unused go.
    pub max_rows: usize,
    /// Most rows of cells (cell × PoP). When full, those that say nothing any more go, and further cells have
    /// none.
    pub max_cells: usize,
    /// Most prefixes that may be judged by themselves.
    pub max_exceptions: usize,
    /// A prefix is judged by itself when it is off its cell by this share of it…
    pub margin_ratio: f32,
    /// … and by at least so many milliseconds.
    pub margin_ms: f32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            window_s: 3600,
            min_samples: 20,
            fade_s: 6 * 3600,
            max_rows: 5_000_000,
            max_cells: super::matrix::MAX_CELL_ROWS,
            max_exceptions: 65_536,
            margin_ratio: 0.1,
            margin_ms: 3.0,
        }
    }
}

/// Of whom a [`Measured`] was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Of the prefix itself (/24 or /48).
    Prefix,
    /// Of a wider prefix around it that geo data takes for one place (/20 or /40).
    Wider,
    /// Of the cell.
    Cell,
}

impl Basis {
    /// Stable snake_case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prefix => "prefix",
            Self::Wider => "wider",
            Self::Cell => "cell",
        }
    }
}

/// What was measured between a prefix or cell and one column.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Index into [`Latency::columns`](super::Latency::columns).
    pub column: u16,
    /// Of whom.
    pub basis: Basis,
    /// 25th percentile over the window, milliseconds.
    pub p25_ms: f32,
    /// What to reckon with, milliseconds: as samples age it goes from `p25_ms` to what would stand here
    /// without them (the cell's value, or the estimate).
    pub ms: f32,
    /// Samples that count.
    pub samples: u32,
    /// Seconds since the newest of them.
    pub age_s: u32,
}

/// What a round trip takes where none was measured: `intercept_ms + ms_per_100km · km / 100`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Milliseconds at distance 0: access networks, and hosts.
    pub intercept_ms: f32,
    /// Milliseconds for each 100 km of great circle.
    pub ms_per_100km: f32,
    /// Measured pairs of cell and PoP that it was fitted to; with 0 it is the default.
    pub pairs: u32,
}

impl Line {
    /// Round trip over a distance in hundreds of kilometres, milliseconds.
    pub fn at(&self, hundred_km: f32) -> f32 {
        self.intercept_ms + self.ms_per_100km * hundred_km
    }
}

impl Default for Line {
    /// 5 ms for the access network; 1.5 ms for 100 km, which is light in fibre on a way 1.5 times
    /// as long as the great circle.
    fn default() -> Self {
        Self {
            intercept_ms: 5.0,
            ms_per_100km: 1.5,
            pairs: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct() {
        let names: std::collections::BTreeSet<_> =
            Refused::ALL.iter().map(|one| one.as_str()).collect();
        assert_eq!(names.len(), Refused::ALL.len());
        assert_eq!(&*anycast_column("edge"), "anycast:edge");
    }

    #[test]
    fn the_default_line() {
        let line = Line::default();
        assert_eq!(line.at(0.0), 5.0);
        assert_eq!(line.at(10.0), 20.0);
    }
}
