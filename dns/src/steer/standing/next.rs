//! One tick: from a standing and new inputs to the next standing.

use std::sync::Arc;

use meridian_health_prober::HealthSnapshot;

use super::{
    Exceptions, Field, Inputs, Moved, Of, Standing, Table,
    before::Ground,
    field::{Rowed, Scratch},
    hybrid,
    limit::limit,
    near::Near,
    plain::Plain,
    table::Rows,
};
use crate::steer::{Steering, steering::Stand, view::Layout};

/// What a tick keeps to.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Octets that the rows and the near PoPs of all stands may take, about; those past it follow the
    /// configuration alone.
    octets: usize,
    /// Share of a stand's clients that may move to a better PoP.
    moved: f32,
}

const BOUNDS: Bounds = Bounds {
    octets: 1 << 30,
    moved: 0.05,
};

/// The tables of a tick in the making, by stand.
#[derive(Default)]
struct Made {
    tables: Vec<Option<Arc<Table>>>,
    keys: Vec<Key>,
    /// Of the tables, each counted once.
    octets: usize,
    /// Share of the clients that may move.
    most: f32,
}

/// A stand with all that decides its rows; equal ones are computed once.
struct Key {
    stand: usize,
    usable: Vec<bool>,
    before: (Option<*const Table>, bool),
}

impl Standing {
    /// The one that follows this one, which may be of an earlier configuration.
    ///
    /// Pure: the same history of arguments gives the same standing. Takes its time; not for the
    /// query path.
    pub fn next(&self, steering: &Steering, health: &HealthSnapshot, inputs: &Inputs) -> Self {
        self.next_within(BOUNDS, steering, health, inputs)
    }

    fn next_within(
        &self,
        bounds: Bounds,
        steering: &Steering,
        health: &HealthSnapshot,
        inputs: &Inputs,
    ) -> Self {
        let of = Of::new(steering);
        let same = self.of.as_ref().is_some_and(|old| old.is(&of));
        let exceptions = match same && Arc::ptr_eq(&self.inputs.latency, &inputs.latency) {
            true => self.exceptions.clone(),
            false => Arc::new(Exceptions::new(&inputs.latency, &steering.clients)),
        };
        let mut next = Self {
            inputs: inputs.clone(),
            of: Some(of.clone()),
            tables: Box::default(),
            near: match same {
                true => self.near.clone(),
                false => vec![None; steering.profiles.len()].into(),
            },
            exceptions: exceptions.clone(),
            preferred: hybrid::preferred(steering, &inputs.latency, &exceptions),
            moved: Moved::default(),
        };
        let ground = Ground::new(self, &of, &exceptions);
        let layout = Layout::new(steering, health, &[]);
        let mut made = Made {
            most: bounds.moved,
            ..Made::default()
        };
        for (number, stand) in steering.stands.iter().enumerate() {
            // The tables are not part of it yet.
            let is_room = next.octets() + made.octets <= bounds.octets;
            let usable = layout.usable(stand.roster);
            let table = is_room
                .then(|| next.table_of((steering, number, stand), usable, &ground, &mut made))
                .flatten();
            made.add(table);
        }
        next.tables = made.tables.into();
        next
    }

    fn table_of(
        &mut self,
        (steering, number, stand): (&Steering, usize, &Stand),
        usable: Vec<bool>,
        ground: &Ground<'_>,
        made: &mut Made,
    ) -> Option<Arc<Table>> {
        let (inputs, exceptions) = (self.inputs.clone(), self.exceptions.clone());
        let field = |usable: &[bool], near| {
            let (scoring, usable) = (stand.scoring(), usable.to_vec());
            Field::new(steering, scoring, usable, &inputs, &exceptions, near)
        };
        let is_moved = field(&usable, None)?.is_moved();
        let before = ground.of(steering, number, stand);
        if !is_moved && before.table().is_none() {
            return None;
        }
        let key = Key {
            stand: number,
            before: (before.table().map(Arc::as_ptr), before.is_plain),
            usable,
        };
        if let Some(found) = made.like(steering, stand, &key) {
            return found;
        }
        let near = self.near_of(steering, stand)?;
        let field = field(&key.usable, Some(&*near))?;
        let plain = plain(steering, number, &key.usable, &exceptions)?;
        let mut scratch = Scratch::default();
        let (table, moved) = rows(&field, (&inputs, made.most), |row| {
            match (is_moved, before.is_plain) {
                (true, true) => field.row(row, &plain.row(row), &mut scratch),
                (true, false) => field.row(row, &before.row(row), &mut scratch),
                // Nothing is measured any more: back, no faster than away.
                (false, _) => field.toward(row, &before.row(row), plain.row(row), &mut scratch),
            }
        });
        if !is_moved && moved.wanted <= 0.0 {
            made.keys.push(key);
            return None;
        }
        if moved.wanted > self.moved.wanted {
            self.moved = moved;
        }
        made.keys.push(key);
        let known = before.table().into_iter();
        let known = known.chain(made.tables.iter().flatten());
        let known = known.into_iter().find(|known| ***known == table).cloned();
        known.or_else(|| Some(Arc::new(table)))
    }

    /// The near PoPs of a stand's profile, made when first needed.
    fn near_of(&mut self, steering: &Steering, stand: &Stand) -> Option<Arc<Near>> {
        let slot = self.near.get_mut(stand.profile)?;
        if slot.is_none() {
            let profile = steering.profiles.get(stand.profile)?;
            let pool = steering.pools.get(profile.pool.index())?;
            *slot = Some(Arc::new(Near::new(steering, profile, pool)));
        }
        slot.clone()
    }
}

impl Made {
    /// The table of a stand that has the same rows.
    fn like(&self, steering: &Steering, stand: &Stand, key: &Key) -> Option<Option<Arc<Table>>> {
        let same = |one: &&Key| {
            let other = steering.stands.get(one.stand);
            other.is_some_and(|other| other.rows_like(stand))
                && one.before == key.before
                && one.usable == key.usable
        };
        let found = self.keys.iter().find(same)?;
        self.tables.get(found.stand).cloned()
    }

    fn add(&mut self, table: Option<Arc<Table>>) {
        let is = |one: &Arc<Table>| table.as_ref().is_some_and(|new| Arc::ptr_eq(one, new));
        if !self.tables.iter().flatten().any(is) {
            self.octets += table.as_ref().map_or(0, |table| table.octets());
        }
        self.tables.push(table);
    }
}

/// What the services of a stand were answered by, if it was not by rows.
fn plain<'a>(
    steering: &'a Steering,
    stand: usize,
    usable: &'a [bool],
    exceptions: &'a Exceptions,
) -> Option<Plain<'a>> {
    let mut services = steering.services().iter();
    let service = services.find(|service| service.stand == Some(stand))?;
    Some(Plain {
        steering,
        service,
        usable,
        exceptions,
    })
}

/// All rows of one stand.
fn rows(
    field: &Field<'_>,
    (inputs, most): (&Inputs, f32),
    row: impl FnMut(usize) -> Rowed,
) -> (Table, Moved) {
    let mut all: Vec<Rowed> = (0..field.rows()).map(row).collect();
    let moved = limit(&mut all, most, |row| field.demand(&inputs.demand, row));
    let mut rows = Rows::with_capacity(all.len());
    for row in &all {
        rows.push(&row.parts, row.measured);
    }
    (rows.finish(), moved)
}

#[cfg(test)]
mod tests;
