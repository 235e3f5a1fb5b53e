//! The one owner of what is measured: samples in, rows by prefix and by cell.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use meridian_config::Coordinates;

use super::{
    prefix::{MAX_COLUMNS, NO_CELL, Prefix, is_unrouted},
    race::{Entered, Holdings, Race, Whose},
    rows::Rows,
    types::{Refused, Reporter, Rules, Sample, Site},
    window::{Window, code_of, mix},
};
use crate::{Cell, CellId, CellKey, ClientMap, distance::haversine_km};

/// Rows of cells (cell × column) that are kept at most: 150 MB.
pub(super) const MAX_CELL_ROWS: usize = 500_000;
/// Time between attempts to make room among them, seconds.
const SWEEP_S: u32 = 60;
/// How far off geo data may be before a sample is refused for being faster than light, kilometres.
const GEO_ERROR_KM: f64 = 1000.0;
/// Light in a vacuum there and back, kilometres in a millisecond.
const LIGHT_KM_PER_MS: f64 = 149.9;

/// Round trips of a cell.
pub(super) type CellWindow = Window<64, 8>;

/// Everything measured within the window. One task owns it.
///
/// # Memory
/// A row of a prefix and a column takes 88 octets and 5 to 11 in the index, a row of a cell about
/// 350. [`Rules::max_rows`] bounds the former (5 million, a million prefixes by 5 PoPs: 475 MB when full),
/// a quarter of it the rows of wider prefixes, half a million those of cells. Memory is taken as rows
/// come, and not given back.
///
/// # Who can move what
/// In every row, of a prefix or a cell, a [`Reporter::Other`] counts once in half a window: with at
/// least 20 samples in the row that is a tenth of it, so that its 25th percentile stays between the 15th and the
/// 30th percentile of what all others said. One prefix counts in its cell up to 20 times in half a
/// window, whoever reports it. A [`Reporter::Caller`] counts ten times in half a window in the row of a
/// prefix, and 20 times in that of a cell, through however many prefixes.
pub struct Matrix {
    pub(super) rules: Rules,
    pub(super) clients: Arc<ClientMap>,
    pub(super) columns: Vec<Column>,
    by_name: HashMap<Arc<str>, u16>,
    pub(super) rows: Rows,
    /// Rows of wider prefixes.
    pub(super) wider: Rows,
    pub(super) cells: BTreeMap<(u32, u16), Box<CellWindow>>,
    pub(super) generation: u64,
    /// Keys (of column 0) of the prefixes that the last publication named.
    pub(super) named: HashSet<u64>,
    pub(super) races: Vec<Entered>,
    pub(super) held: Holdings,
    /// When room was last sought among the rows of cells.
    swept_s: u32,
}

/// A column, in or out of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) name: Arc<str>,
    pub(super) at: Option<Coordinates>,
    /// Samples for it are taken, and what it says is published.
    pub(super) live: bool,
}

impl Matrix {
    /// An empty one. `seed` should be drawn at random once: it keeps others from choosing prefixes that
    /// make look-ups slow. It has no say in what is published.
    pub fn new(rules: Rules, clients: Arc<ClientMap>, sites: &[Site], seed: u64) -> Self {
        let mut new = Self {
            rules,
            clients,
            columns: Vec::new(),
            by_name: HashMap::new(),
            rows: Rows::new(seed),
            wider: Rows::new(seed),
            cells: BTreeMap::new(),
            generation: 0,
            named: HashSet::new(),
            races: Vec::new(),
            held: Holdings::default(),
            swept_s: 0,
        };
        new.set_sites(sites);
        new
    }

    /// Counts a sample that came at `now_s`, seconds since the epoch.
    ///
    /// # Errors
    /// Why it was not counted; nothing has changed then.
    pub fn record(&mut self, now_s: u64, sample: &Sample) -> Result<(), Refused> {
        let (column, at) = self.live(&sample.pop).ok_or(Refused::UnknownPop)?;
        let code = code_of(sample.rtt_ms).ok_or(Refused::OutOfRange)?;
        let prefix = Prefix::of(sample.prefix)?;
        let first = prefix.first();
        let found = self.clients.find(first);
        let (cell, _) = self.clients.place(found.place);
        if cell.is_none() && is_unrouted(first) {
            return Err(Refused::Unroutable);
        }
        if self.is_too_fast(cell, at, sample.rtt_ms) {
            return Err(Refused::FasterThanLight);
        }
        let taken = Taken {
            now_s: seconds(now_s),
            code,
            reporter: sample.reporter,
            cell: cell.map_or(NO_CELL, |cell| cell.0),
        };
        let key = prefix.key(column);
        let row = self.rows.entry(key, taken.cell, self.rules.max_rows);
        let window = &mut row.ok_or(Refused::OutOfRange)?.window;
        let clock = (taken.now_s, &self.rules);
        let of_prefix = window.add(clock, key, code, taken.reporter);
        // What a caller has no say in for the prefix any more may still count for the cell.
        if !matches!(sample.reporter, Reporter::Caller(_)) {
            of_prefix?;
        }
        let mut of_cell = Err(Refused::Repeated);
        // So that one busy prefix does not speak for all around it.
        if window.current() <= self.rules.min_samples {
            if self.clients.alike(first, found) <= prefix.wider_len() {
                let key = prefix.wider_key(column);
                let most = wider_rows(&self.rules);
                if let Some(row) = self.wider.entry(key, taken.cell, most) {
                    // A reporter may have been heard there through another prefix.
                    let _ = row.window.add(clock, key, code, taken.reporter);
                }
            }
            of_cell = self.record_in_cell(&taken, column);
        }
        of_prefix.or(of_cell)
    }

    /// Takes over new geo data and new columns. Prefixes keep what was measured of them, and find their
    /// new cells; cells keep theirs where the new data has the same cell. Columns that are not named any
    /// more rest: they are kept, but neither fed nor published.
    pub fn rebase(&mut self, clients: Arc<ClientMap>, sites: &[Site]) {
        if !Arc::ptr_eq(&clients, &self.clients) {
            let old = std::mem::take(&mut self.cells);
            let new: HashMap<CellKey, u32> =
                clients.cells().iter().map(Cell::key).zip(0..).collect();
            for ((cell, column), window) in old {
                let known = self.clients.cells().get(cell as usize);
                if let Some(now) = known.and_then(|cell| new.get(&Cell::key(cell))) {
                    self.cells.insert((*now, column), window);
                }
            }
            let held = std::mem::take(&mut self.held.0);
            for (mut subject, one) in held {
                if let Whose::Cell(cell) = &mut subject.whose {
                    let known = self.clients.cells().get(*cell as usize);
                    match known.and_then(|cell| new.get(&Cell::key(cell))) {
                        Some(now) => *cell = *now,
                        None => continue,
                    }
                }
                self.held.0.insert(subject, one);
            }
            for row in self.rows.iter_mut().chain(self.wider.iter_mut()) {
                let found = clients.find(Prefix::of_key(row.key).first());
                row.cell = clients.place(found.place).0.map_or(NO_CELL, |cell| cell.0);
            }
            self.clients = clients;
        }
        self.set_sites(sites);
    }

    /// Takes over other rules. Under another window nothing that was kept has a time any more, so that it
    /// goes, but for preferences.
    pub fn set_rules(&mut self, rules: Rules) {
        if rules.window_s != self.rules.window_s {
            let seed = self.rows.seed();
            (self.rows, self.wider) = (Rows::new(seed), Rows::new(seed));
            self.cells.clear();
        }
        self.rules = rules;
    }

    /// Takes over the pools with an anycast address. Their columns, and those of their PoPs, should be among
    /// the sites.
    pub fn set_races(&mut self, races: &[Race]) {
        let entered = races.iter().filter_map(|race| {
            let number = |name: &Arc<str>| self.by_name.get(name).copied();
            Some(Entered {
                anycast: number(&race.anycast)?,
                pops: race.pops.iter().filter_map(number).collect(),
                margin_ms: race.margin_ms,
            })
        });
        self.races = entered.collect();
        // Who is not in the pool any more stands in the way of no other.
        let races = &self.races;
        self.held.0.retain(|subject, held| {
            let race = races.iter().find(|race| race.anycast == subject.anycast);
            race.is_none_or(|race| race.pops.contains(&held.pop))
        });
    }

    #[cfg(test)]
    pub(super) fn swept_s(&self) -> u32 {
        self.swept_s
    }

    /// Rows of prefixes, without the wider ones, and of cells.
    pub fn rows(&self) -> (usize, usize) {
        (self.rows.len(), self.cells.len())
    }

    /// Rows of prefixes that had to go for newer ones.
    pub fn evicted(&self) -> u64 {
        self.rows.evicted
    }

    /// Octets that it takes.
    pub fn octets(&self) -> usize {
        // A box, its key and its part of a node of the tree.
        let prefixes = self.rows.octets() + self.wider.octets();
        prefixes + self.cells.len() * (size_of::<CellWindow>() + 32)
    }

    /// The rules in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(super) fn set_sites(&mut self, sites: &[Site]) {
        self.columns.iter_mut().for_each(|one| one.live = false);
        for site in sites {
            let column = self.add_column(&site.name);
            if let Some(column) = column.and_then(|at| self.columns.get_mut(usize::from(at))) {
                (column.at, column.live) = (site.at, true);
            }
        }
    }

    /// The column with this name, a resting one if it is new; `None`: there are too many.
    pub(super) fn add_column(&mut self, name: &Arc<str>) -> Option<u16> {
        if let Some(known) = self.by_name.get(name) {
            return Some(*known);
        }
        let at = self.columns.len();
        let number = u16::try_from(at).ok().filter(|_| at < MAX_COLUMNS)?;
        self.by_name.insert(name.clone(), number);
        self.columns.push(Column {
            name: name.clone(),
            at: None,
            live: false,
        });
        Some(number)
    }

    pub(super) fn distance_km(&self, cell: u32, column: u16) -> Option<f64> {
        let from = self.clients.cells().get(cell as usize)?;
        let to = self.columns.get(usize::from(column))?.at?;
        Some(haversine_km(from.center, to))
    }

    fn live(&self, name: &Arc<str>) -> Option<(u16, Option<Coordinates>)> {
        let number = *self.by_name.get(name)?;
        let column = self.columns.get(usize::from(number))?;
        column.live.then_some((number, column.at))
    }

    fn is_too_fast(&self, cell: Option<CellId>, at: Option<Coordinates>, rtt_ms: f32) -> bool {
        let cell = cell.and_then(|cell| self.clients.cells().get(cell.0 as usize));
        let Some((cell, at)) = cell.zip(at) else {
            return false;
        };
        let km = haversine_km(cell.center, at) - GEO_ERROR_KM;
        f64::from(rtt_ms) * LIGHT_KM_PER_MS < km
    }

    /// Makes room among the rows of cells, at most once a minute: it looks at all of them.
    fn sweep(&mut self, now_s: u32) {
        if now_s.abs_diff(self.swept_s) < SWEEP_S {
            return;
        }
        self.swept_s = now_s;
        let rules = &self.rules;
        self.cells.retain(|_, window| !window.is_gone(now_s, rules));
    }

    fn record_in_cell(&mut self, taken: &Taken, column: u16) -> Result<(), Refused> {
        if taken.cell == NO_CELL {
            return Err(Refused::Repeated);
        }
        let key = (taken.cell, column);
        if !self.cells.contains_key(&key) {
            if self.cells.len() >= self.rules.max_cells {
                self.sweep(taken.now_s);
            }
            if self.cells.len() >= self.rules.max_cells {
                return Err(Refused::Full);
            }
        }
        let window = self
            .cells
            .entry(key)
            .or_insert_with(|| Box::new(CellWindow::EMPTY));
        let row = mix(u64::from(taken.cell) << 16 | u64::from(column));
        // A reporter may have been heard here through another prefix.
        window.add((taken.now_s, &self.rules), row, taken.code, taken.reporter)
    }
}

impl fmt::Debug for Matrix {
    /// Sizes only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matrix")
            .field("rules", &self.rules)
            .field("columns", &self.columns)
            .field("rows", &self.rows.len())
            .field("cells", &self.cells.len())
            .field("octets", &self.octets())
            .finish_non_exhaustive()
    }
}

/// A sample that has been judged.
struct Taken {
    now_s: u32,
    code: u16,
    reporter: Reporter,
    cell: u32,
}

/// Most rows of wider prefixes.
pub(super) fn wider_rows(rules: &Rules) -> usize {
    rules.max_rows.div_ceil(4)
}

/// Seconds since the epoch in 32 bits: enough until 2106, and what comes after stands still.
pub(super) fn seconds(now_s: u64) -> u32 {
    u32::try_from(now_s).unwrap_or(u32::MAX)
}
