//! From rows to what readers see.
//!
//! ```text
//! rows of cells ─→ pairs ─→ line (estimate) ─→ cells: percentile, drawn to the estimate as it ages
//!                                                 │
//! rows of prefixes, where thin the wider one's ───┴→ those off their cell ─→ the most deviating 65,536
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    line::fit,
    matrix::{Matrix, seconds},
    prefix::{NO_CELL, Prefix, column_of},
    published::{Latency, Parts},
    race::{Entered, Preference, Subject, Whose},
    types::{Basis, Line, Measured},
    window::Reading,
};
use crate::CellId;

/// A prefix that was named stays so down to this share of the margin, so that none come and go.
const STAY: f32 = 0.5;
/// Trust from which a cell has a say in the line.
const FRESH: f32 = 0.5;

/// Stands for a prefix that prefers something else than its cell: those come first.
const APART: f32 = 1e9;

/// The prefixes that were compared by themselves, with their cells.
type Told = BTreeMap<Subject, u32>;

/// A row that is off its cell.
#[derive(Clone, Copy, Debug)]
struct Deviant {
    /// Of the prefix, in column 0.
    key: u64,
    cell: u32,
    /// In margins.
    by: f32,
}

impl Matrix {
    /// What is measured at `now_s`, seconds since the epoch.
    ///
    /// The same history of samples, times and geo data gives the same, whatever the seed. Takes half
    /// a second for a million rows; nothing can be recorded meanwhile.
    pub fn publish(&mut self, now_s: u64) -> Arc<Latency> {
        let now_s = seconds(now_s);
        let read = self.read_cells(now_s);
        let line = self.line(&read);
        let cells: Vec<(CellId, Measured)> = read
            .iter()
            .map(|((cell, column), reading)| {
                let base = self.estimate(&line, *cell, *column);
                let measured = measured(*column, Basis::Cell, reading, base);
                (CellId(*cell), measured)
            })
            .collect();
        let by_cell = Table {
            line,
            cells: &cells,
        };
        self.held.pass(now_s, &self.rules);
        self.race_cells(&read, now_s);
        let told = self.race_prefixes(now_s);
        let deviants = self.deviants(now_s, &by_cell, &told);
        let net = |one: &Deviant| Prefix::of_key(one.key).net();
        let exceptions = deviants.iter();
        let exceptions = exceptions.map(|one| (net(one), self.row_of(one, now_s, &by_cell)));
        let exceptions = exceptions.collect();
        let preferred = deviants.iter();
        let preferred = preferred.map(|one| (net(one), self.preferences_of(one, &told, now_s)));
        let preferred = preferred.collect();
        let preferences = self.preferences(now_s);
        self.named = deviants.iter().map(|one| one.key).collect();
        self.generation = self.generation.wrapping_add(1);
        Arc::new(Latency::new(Parts {
            generation: self.generation,
            line,
            columns: self.columns.iter().map(|one| one.name.clone()).collect(),
            cells,
            exceptions,
            preferences,
            preferred,
        }))
    }

    /// What every row of a cell says, by cell and column.
    fn read_cells(&self, now_s: u32) -> Vec<((u32, u16), Reading)> {
        self.cells
            .iter()
            .filter(|((_, column), _)| self.is_live(*column))
            .filter_map(|(key, window)| Some((*key, window.read(now_s, &self.rules)?)))
            .collect()
    }

    fn line(&self, read: &[((u32, u16), Reading)]) -> Line {
        let fresh = read.iter().filter(|(_, reading)| reading.trust >= FRESH);
        let pairs = fresh.filter_map(|((cell, column), reading)| {
            let km = self.distance_km(*cell, *column)?;
            Some((km / 100.0, f64::from(reading.p25_ms)))
        });
        fit(pairs.collect())
    }

    // Hundreds of kilometres, at most 200.
    #[allow(clippy::cast_possible_truncation)]
    fn estimate(&self, line: &Line, cell: u32, column: u16) -> Option<f32> {
        let km = self.distance_km(cell, column)?;
        Some(line.at((km / 100.0) as f32))
    }

    /// The prefixes that are judged by themselves: at most so many as the rules allow, those that are
    /// off the most.
    fn deviants(&self, now_s: u32, by_cell: &Table<'_>, told: &Told) -> Vec<Deviant> {
        let mut wider: HashMap<u64, Option<Reading>> = HashMap::new();
        let mut all = self.apart(told);
        for row in self.rows.iter() {
            let column = column_of(row.key);
            if !self.is_live(column) {
                continue;
            }
            let prefix = Prefix::of_key(row.key);
            let own = row.window.read(now_s, &self.rules);
            let reading = own.or_else(|| {
                let key = prefix.wider_key(column);
                *wider
                    .entry(key)
                    .or_insert_with(|| self.read_wider(key, now_s))
            });
            let key = prefix.key(0);
            let base = self.base(by_cell, row.cell, column);
            if let Some(by) = reading.and_then(|reading| self.deviation(key, &reading, base)) {
                let cell = row.cell;
                all.push(Deviant { key, cell, by });
            }
        }
        // Of each prefix the column that is off the most.
        all.sort_unstable_by(|a, b| a.key.cmp(&b.key).then(b.by.total_cmp(&a.by)));
        all.dedup_by_key(|one| one.key);
        if all.len() > self.rules.max_exceptions {
            all.sort_unstable_by(|a, b| b.by.total_cmp(&a.by).then(a.key.cmp(&b.key)));
            all.truncate(self.rules.max_exceptions);
        }
        all
    }

    /// The prefixes that prefer something else than their cell.
    fn apart(&self, told: &Told) -> Vec<Deviant> {
        let force = |subject: Subject| {
            let held = self.held.0.get(&subject).filter(|held| held.in_force);
            held.map(|held| held.pop)
        };
        let differs = |(subject, cell): &(&Subject, &u32)| {
            let of_cell = Subject {
                whose: Whose::Cell(**cell),
                ..**subject
            };
            force(**subject) != force(of_cell)
        };
        let deviant = |(subject, cell): (&Subject, &u32)| match subject.whose {
            Whose::Cell(_) => None,
            Whose::Prefix(key) => Some(Deviant {
                key,
                cell: *cell,
                by: APART,
            }),
        };
        told.iter().filter(differs).filter_map(deviant).collect()
    }

    /// By how many margins a reading is off what would stand in its place; `None`: not by enough, or
    /// so few samples do not show it.
    fn deviation(&self, key: u64, reading: &Reading, base: Option<f32>) -> Option<f32> {
        let Some(base) = base else {
            // Nothing else is known there. It is no reason to leave out others: without a cell it is not
            // steered by, and an anycast column alone has no say in scores.
            return Some(0.0);
        };
        let margin = (self.rules.margin_ratio * base).max(self.rules.margin_ms);
        let off = reading.trust * (reading.p25_ms - base).abs();
        let (low, high) = reading.between_ms;
        if self.named.contains(&key) {
            return (off > STAY * margin).then(|| off / margin);
        }
        (off > margin && !(low..=high).contains(&base)).then(|| off / margin)
    }

    /// Every column's figure for a prefix: its own, its wider one's, its cell's.
    fn row_of(&self, one: &Deviant, now_s: u32, by_cell: &Table<'_>) -> Vec<Measured> {
        let prefix = Prefix::of_key(one.key);
        let live = (0..).zip(&self.columns).filter(|(_, column)| column.live);
        live.filter_map(|(column, _)| {
            let Some((basis, reading)) = self.read_prefix(prefix, column, now_s) else {
                return by_cell.of(one.cell, column);
            };
            let base = self.base(by_cell, one.cell, column);
            Some(measured(column, basis, &reading, base))
        })
        .collect()
    }

    /// What is known of a prefix: its own row, or where that is thin the wider one's.
    fn read_prefix(&self, prefix: Prefix, column: u16, now_s: u32) -> Option<(Basis, Reading)> {
        let row = self.rows.get(prefix.key(column));
        let own = row.and_then(|row| row.window.read(now_s, &self.rules));
        let wider = || self.read_wider(prefix.wider_key(column), now_s);
        own.map(|reading| (Basis::Prefix, reading))
            .or_else(|| wider().map(|reading| (Basis::Wider, reading)))
    }

    fn read_wider(&self, key: u64, now_s: u32) -> Option<Reading> {
        self.wider.get(key)?.window.read(now_s, &self.rules)
    }

    /// What would stand in a prefix's place: its cell's figure, or the estimate.
    fn base(&self, by_cell: &Table<'_>, cell: u32, column: u16) -> Option<f32> {
        if cell == NO_CELL {
            return None;
        }
        let measured = by_cell.of(cell, column).map(|one| one.ms);
        measured.or_else(|| self.estimate(&by_cell.line, cell, column))
    }

    fn is_live(&self, column: u16) -> bool {
        let column = self.columns.get(usize::from(column));
        column.is_some_and(|column| column.live)
    }
}

/// Anycast against single PoPs.
impl Matrix {
    fn race_cells(&mut self, read: &[((u32, u16), Reading)], now_s: u32) {
        let of = |cell: u32, column: u16| {
            let at = read.binary_search_by_key(&(cell, column), |(key, _)| *key);
            read.get(at.ok()?).map(|(_, reading)| *reading)
        };
        for race in &self.races {
            for ((cell, column), _) in read {
                if *column != race.anycast {
                    continue;
                }
                let subject = Subject {
                    anycast: race.anycast,
                    whose: Whose::Cell(*cell),
                };
                let before = self.held.pop(subject);
                if let Some(winner) = race.winner(before, &self.rules, |column| of(*cell, column)) {
                    self.held.note(subject, winner, now_s, &self.rules);
                }
            }
        }
    }

    /// Compares for every prefix of which enough is known, and says which those are.
    fn race_prefixes(&mut self, now_s: u32) -> Told {
        let mut told = Told::new();
        if self.races.is_empty() {
            return told;
        }
        for row in self.rows.iter() {
            let column = column_of(row.key);
            let race = self.races.iter().find(|race| race.anycast == column);
            let Some(race) = race else {
                continue;
            };
            let prefix = Prefix::of_key(row.key);
            let subject = Subject {
                anycast: race.anycast,
                whose: Whose::Prefix(prefix.key(0)),
            };
            let before = self.held.pop(subject);
            let winner = race.winner(before, &self.rules, |column| {
                Some(self.read_prefix(prefix, column, now_s)?.1)
            });
            if let Some(winner) = winner {
                self.held.note(subject, winner, now_s, &self.rules);
            }
            if winner.is_some() || before.is_some() {
                told.insert(subject, row.cell);
            }
        }
        told
    }

    /// What cells prefer.
    fn preferences(&self, now_s: u32) -> Vec<(CellId, Preference)> {
        let live = |anycast| self.races.iter().any(|race| race.anycast == anycast);
        let all = self.held.0.keys().filter(|subject| live(subject.anycast));
        all.filter_map(|subject| match subject.whose {
            Whose::Cell(cell) => Some((CellId(cell), self.held.get(*subject, now_s)?)),
            Whose::Prefix(_) => None,
        })
        .collect()
    }

    /// What a prefix prefers: its own choice where it was compared by itself, else its cell's.
    fn preferences_of(&self, one: &Deviant, told: &Told, now_s: u32) -> Vec<Preference> {
        let subject = |race: &Entered, whose| Subject {
            anycast: race.anycast,
            whose,
        };
        let of = |race| {
            let own = subject(race, Whose::Prefix(one.key));
            match told.contains_key(&own) {
                true => self.held.get(own, now_s),
                false => self.held.get(subject(race, Whose::Cell(one.cell)), now_s),
            }
        };
        self.races.iter().filter_map(of).collect()
    }
}

/// What is published of cells, sorted by cell and column.
struct Table<'a> {
    line: Line,
    cells: &'a [(CellId, Measured)],
}

impl Table<'_> {
    fn of(&self, cell: u32, column: u16) -> Option<Measured> {
        let found = self
            .cells
            .binary_search_by_key(&(cell, column), |(cell, one)| (cell.0, one.column));
        Some(self.cells.get(found.ok()?)?.1)
    }
}

/// `base` is what would stand there without the reading.
fn measured(column: u16, basis: Basis, reading: &Reading, base: Option<f32>) -> Measured {
    let base = base.unwrap_or(reading.p25_ms);
    Measured {
        column,
        basis,
        p25_ms: reading.p25_ms,
        ms: base + reading.trust * (reading.p25_ms - base),
        samples: reading.samples,
        age_s: reading.age_s,
    }
}
