//! What is measured, in a file: it outlives restarts.
//!
//! ```text
//! "MERILAT1" · version, window · columns · rows of cells, by place · rows of prefixes · preferences · CRC-32
//! ```
//!
//! Numbers are little-endian. The caller writes the file whole beside the old one and renames it.
//! A file that is damaged, foreign or of another version is refused with the reason; nothing of it
//! is taken over.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    sync::Arc,
};

use crc32fast::Hasher;
use thiserror::Error;

use super::{
    matrix::{CellWindow, MAX_CELL_ROWS, Matrix, seconds, wider_rows},
    prefix::{MAX_COLUMNS, NO_CELL, Prefix, column_of, is_wider},
    race::{Held, MAX_HELD, Subject, Whose},
    types::{Rules, Site},
    window::Window,
};
use crate::{Cell, CellKey, ClientMap};

const MAGIC: &[u8; 8] = b"MERILAT1";
const VERSION: u32 = 1;
/// Rows that a file may say it holds.
const MAX_ROWS: u32 = 1 << 30;

/// Why a file was not taken.
#[derive(Debug, Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It does not begin as such files do.
    #[error("it is not a file of measured latency")]
    Foreign,
    /// Written by another version.
    #[error("it has version {0}, this server reads version {VERSION}")]
    Version(u32),
    /// Written with another `latency.window`, so that its times do not fit.
    #[error("it was written with a window of {0} s, which is now {1} s")]
    Window(u32, u32),
    /// It breaks off, goes on behind its end, or its checksum is wrong.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

impl Matrix {
    /// Writes everything that is worth keeping, as of `now_s`.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn save(&self, to: impl Write, now_s: u64) -> io::Result<()> {
        let now_s = seconds(now_s);
        let mut out = Out {
            to,
            sum: Hasher::new(),
        };
        out.put(MAGIC)?;
        out.u32(VERSION)?;
        out.u32(self.rules.window_s)?;
        out.u64(self.generation)?;
        out.count(self.columns.len())?;
        for column in &self.columns {
            out.count(column.name.len())?;
            out.put(column.name.as_bytes())?;
        }
        self.save_cells(&mut out, now_s)?;
        let worth = || {
            let rows = self.rows.iter().chain(self.wider.iter());
            rows.filter(|row| !row.window.is_gone(now_s, &self.rules))
        };
        out.count(worth().count())?;
        for row in worth() {
            out.u64(row.key)?;
            out.window(&row.window)?;
        }
        self.save_held(&mut out)?;
        out.finish()
    }

    fn save_held<W: Write>(&self, out: &mut Out<W>) -> io::Result<()> {
        let place = |cell: u32| self.clients.cells().get(cell as usize).map(Cell::key);
        out.count(self.held.0.len())?;
        for (subject, held) in &self.held.0 {
            out.u16(subject.anycast)?;
            match subject.whose {
                Whose::Prefix(key) => {
                    out.put(&[0])?;
                    out.u64(key)?;
                }
                Whose::Cell(cell) => {
                    out.put(&[1])?;
                    out.place(place(cell).unwrap_or_default())?;
                }
            }
            out.u16(held.pop)?;
            for value in [held.first_s, held.last_s, held.windows, held.seen_s] {
                out.u32(value)?;
            }
            out.put(&[u8::from(held.in_force)])?;
        }
        Ok(())
    }

    fn save_cells<W: Write>(&self, out: &mut Out<W>, now_s: u32) -> io::Result<()> {
        let worth = || {
            let cells = self.cells.iter();
            cells.filter(|(_, window)| !window.is_gone(now_s, &self.rules))
        };
        let place = |cell: u32| self.clients.cells().get(cell as usize).map(Cell::key);
        out.count(
            worth()
                .filter(|((cell, _), _)| place(*cell).is_some())
                .count(),
        )?;
        for ((cell, column), window) in worth() {
            let Some(place) = place(*cell) else {
                continue;
            };
            out.place(place)?;
            out.u16(*column)?;
            out.window(window)?;
        }
        Ok(())
    }

    /// Reads what [`save`](Self::save) wrote. What lies in the future of `now_s` is left out, and
    /// columns that `sites` do not name rest.
    ///
    /// # Errors
    /// Why the file was refused.
    pub fn load(
        rules: Rules,
        clients: Arc<ClientMap>,
        sites: &[Site],
        seed: u64,
        from: impl Read,
        now_s: u64,
    ) -> Result<Self, LoadError> {
        let mut new = Self::new(rules, clients, &[], seed);
        let mut input = In {
            from,
            sum: Hasher::new(),
        };
        if &input.octets::<8>().map_err(foreign)? != MAGIC {
            return Err(LoadError::Foreign);
        }
        match input.u32()? {
            VERSION => {}
            other => return Err(LoadError::Version(other)),
        }
        let window_s = input.u32()?;
        if window_s != new.rules.window_s {
            return Err(LoadError::Window(window_s, new.rules.window_s));
        }
        new.generation = input.u64()?;
        let columns = new.load_columns(&mut input)?;
        let latest = seconds(now_s).saturating_add(new.rules.window_s);
        let known = new.clients.cells().iter().map(Cell::key).zip(0..).collect();
        new.load_cells(&mut input, &columns, &known, latest)?;
        new.load_rows(&mut input, &columns, latest)?;
        new.load_held(&mut input, &columns, &known)?;
        input.finish()?;
        new.set_sites(sites);
        Ok(new)
    }

    /// What the columns of the file are called here.
    fn load_columns<R: Read>(&mut self, input: &mut In<R>) -> Result<Vec<u16>, LoadError> {
        let count = input.count(MAX_COLUMNS)?;
        let mut columns = Vec::new();
        for _ in 0..count {
            let mut name = vec![0; input.count(1024)?];
            input.fill(&mut name)?;
            let name = String::from_utf8(name).map_err(|_| LoadError::Damaged("a name"))?;
            let column = self.add_column(&name.into());
            columns.push(column.ok_or(LoadError::Damaged("columns"))?);
        }
        Ok(columns)
    }

    fn load_cells<R: Read>(
        &mut self,
        input: &mut In<R>,
        columns: &[u16],
        known: &HashMap<CellKey, u32>,
        latest: u32,
    ) -> Result<(), LoadError> {
        for _ in 0..input.count(MAX_CELL_ROWS)? {
            let cell = known.get(&input.place()?);
            let column = renamed(columns, input.u16()?)?;
            let window: CellWindow = input.window()?;
            if let Some(cell) = cell.filter(|_| window.last_s <= latest) {
                self.cells.insert((*cell, column), Box::new(window));
            }
        }
        Ok(())
    }

    fn load_held<R: Read>(
        &mut self,
        input: &mut In<R>,
        columns: &[u16],
        known: &HashMap<CellKey, u32>,
    ) -> Result<(), LoadError> {
        for _ in 0..input.count(MAX_HELD)? {
            let anycast = renamed(columns, input.u16()?)?;
            let whose = match input.octets()? {
                [0] => Some(Whose::Prefix(Prefix::of_key(input.u64()?).key(0))),
                _ => known.get(&input.place()?).copied().map(Whose::Cell),
            };
            let held = Held {
                pop: renamed(columns, input.u16()?)?,
                first_s: input.u32()?,
                last_s: input.u32()?,
                windows: input.u32()?,
                seen_s: input.u32()?,
                in_force: input.octets()? != [0],
            };
            if let Some(whose) = whose {
                self.held.0.insert(Subject { anycast, whose }, held);
            }
        }
        Ok(())
    }

    fn load_rows<R: Read>(
        &mut self,
        input: &mut In<R>,
        columns: &[u16],
        latest: u32,
    ) -> Result<(), LoadError> {
        for _ in 0..input.u32()?.min(MAX_ROWS) {
            let key = input.u64()?;
            let column = renamed(columns, column_of(key))?;
            let window = input.window()?;
            let prefix = Prefix::of_key(key);
            if window.last_s > latest {
                continue;
            }
            let found = self.clients.find(prefix.first());
            let (cell, _) = self.clients.place(found.place);
            let cell = cell.map_or(NO_CELL, |cell| cell.0);
            let row = match is_wider(key) {
                true => self
                    .wider
                    .entry(prefix.wider_key(column), cell, wider_rows(&self.rules)),
                false => self
                    .rows
                    .entry(prefix.key(column), cell, self.rules.max_rows),
            };
            if let Some(row) = row {
                row.window = window;
            }
        }
        Ok(())
    }
}

/// The number here of a column there.
fn renamed(columns: &[u16], number: u16) -> Result<u16, LoadError> {
    let column = columns.get(usize::from(number)).copied();
    column.ok_or(LoadError::Damaged("a column"))
}

fn foreign(error: LoadError) -> LoadError {
    match error {
        LoadError::Damaged(_) => LoadError::Foreign,
        other => other,
    }
}

/// Writes, and sums up what it wrote.
struct Out<W> {
    to: W,
    sum: Hasher,
}

impl<W: Write> Out<W> {
    fn put(&mut self, octets: &[u8]) -> io::Result<()> {
        self.sum.update(octets);
        self.to.write_all(octets)
    }

    fn u16(&mut self, value: u16) -> io::Result<()> {
        self.put(&value.to_le_bytes())
    }

    fn u32(&mut self, value: u32) -> io::Result<()> {
        self.put(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> io::Result<()> {
        self.put(&value.to_le_bytes())
    }

    fn count(&mut self, count: usize) -> io::Result<()> {
        self.u32(u32::try_from(count).map_err(io::Error::other)?)
    }

    fn place(&mut self, (latitude, longitude, country, continent): CellKey) -> io::Result<()> {
        self.u64(latitude)?;
        self.u64(longitude)?;
        self.put(&country.unwrap_or_default())?;
        self.put(&continent.unwrap_or_default())
    }

    fn window<const KEEP: usize, const SEEN: usize>(
        &mut self,
        window: &Window<KEEP, SEEN>,
    ) -> io::Result<()> {
        self.u32(window.last_s)?;
        self.u16(window.gap)?;
        for word in window.seen {
            self.u32(word)?;
        }
        for (count, codes) in window.counts.into_iter().zip(&window.codes) {
            self.u16(count)?;
            for code in codes.iter().take(usize::from(count)) {
                self.u16(*code)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        let sum = self.sum.clone().finalize();
        self.to.write_all(&sum.to_le_bytes())?;
        self.to.flush()
    }
}

/// Reads, and sums up what it read.
struct In<R> {
    from: R,
    sum: Hasher,
}

impl<R: Read> In<R> {
    fn fill(&mut self, octets: &mut [u8]) -> Result<(), LoadError> {
        self.from.read_exact(octets).map_err(|error| match error {
            error if error.kind() == io::ErrorKind::UnexpectedEof => {
                LoadError::Damaged("it breaks off")
            }
            error => LoadError::Io(error),
        })?;
        self.sum.update(octets);
        Ok(())
    }

    fn octets<const N: usize>(&mut self) -> Result<[u8; N], LoadError> {
        let mut octets = [0; N];
        self.fill(&mut octets)?;
        Ok(octets)
    }

    fn u16(&mut self) -> Result<u16, LoadError> {
        self.octets().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, LoadError> {
        self.octets().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, LoadError> {
        self.octets().map(u64::from_le_bytes)
    }

    fn count(&mut self, most: usize) -> Result<usize, LoadError> {
        let count = self.u32()? as usize;
        let fits = count <= most;
        fits.then_some(count).ok_or(LoadError::Damaged("a count"))
    }

    fn place(&mut self) -> Result<CellKey, LoadError> {
        let code = |code: [u8; 2]| Some(code).filter(|code| *code != [0; 2]);
        let (latitude, longitude) = (self.u64()?, self.u64()?);
        Ok((
            latitude,
            longitude,
            code(self.octets()?),
            code(self.octets()?),
        ))
    }

    fn window<const KEEP: usize, const SEEN: usize>(
        &mut self,
    ) -> Result<Window<KEEP, SEEN>, LoadError> {
        let mut window = Window::EMPTY;
        window.last_s = self.u32()?;
        window.gap = self.u16()?;
        for word in &mut window.seen {
            *word = self.u32()?;
        }
        for (count, codes) in window.counts.iter_mut().zip(&mut window.codes) {
            *count = self.u16()?;
            for code in codes.iter_mut().take(usize::from(*count)) {
                *code = self.u16()?;
            }
        }
        Ok(window)
    }

    fn finish(mut self) -> Result<(), LoadError> {
        let expect = self.sum.clone().finalize();
        if self.u32()? != expect {
            return Err(LoadError::Damaged("the checksum is wrong"));
        }
        let mut one = [0];
        match self.from.read(&mut one)? {
            0 => Ok(()),
            _ => Err(LoadError::Damaged("it goes on behind its end")),
        }
    }
}
