//! One tick: from a standing and new inputs to the next standing.

use std::sync::Arc;

use meridian_health_prober::HealthSnapshot;

use super::{
    Exceptions, Field, Inputs, Moved, Of, Standing, Table,
    before::{Before, Ground},
    field::{Rowed, Scratch},
    hybrid,
    limit::limit,
    near::Near,
    table::Rows,
};
use crate::steer::{Steering, steering::Stand, view::Layout};

/// Octets that the rows and the near PoPs of all stands may take; those past it follow the
/// configuration alone.
const BUDGET: usize = 1 << 30;

/// A stand with all that decides its rows; equal ones are computed once.
struct Key {
    stand: usize,
    usable: Vec<bool>,
    before: Option<*const Table>,
}

impl Standing {
    /// The one that follows this one, which may be of an earlier configuration.
    ///
    /// Pure: the same history of arguments gives the same standing. Takes its time; not for the
    /// query path.
    pub fn next(&self, steering: &Steering, health: &HealthSnapshot, inputs: &Inputs) -> Self {
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
        let mut tables: Vec<Option<Arc<Table>>> = Vec::new();
        let mut keys: Vec<Key> = Vec::new();
        for (number, stand) in steering.stands.iter().enumerate() {
            let table = next.table_of(
                (steering, number, stand),
                layout.usable(stand.roster),
                &ground,
                (&mut keys, &tables),
            );
            tables.push(table);
        }
        next.tables = tables.into();
        next
    }

    fn table_of(
        &mut self,
        (steering, number, stand): (&Steering, usize, &Stand),
        usable: Vec<bool>,
        ground: &Ground<'_>,
        (keys, tables): (&mut Vec<Key>, &[Option<Arc<Table>>]),
    ) -> Option<Arc<Table>> {
        let inputs = self.inputs.clone();
        let exceptions = self.exceptions.clone();
        let sketch = Field::new(
            steering,
            stand.scoring(),
            usable.clone(),
            &inputs,
            &exceptions,
            None,
        )?;
        if !sketch.is_moved() || self.octets() > BUDGET {
            return None;
        }
        let before = ground.of(steering, number, stand);
        let key = Key {
            stand: number,
            usable,
            before: before.table().map(Arc::as_ptr),
        };
        let same = |one: &&Key| {
            let other = steering.stands.get(one.stand);
            other.is_some_and(|other| other.rows_like(stand))
                && one.before == key.before
                && one.usable == key.usable
        };
        if let Some(found) = keys.iter().find(same) {
            return tables.get(found.stand).cloned().flatten();
        }
        let near = self.near_of(steering, stand)?;
        let field = Field::new(
            steering,
            stand.scoring(),
            key.usable.clone(),
            &inputs,
            &exceptions,
            Some(&near),
        )?;
        let (table, moved) = rows(&field, &before, &inputs);
        if moved.wanted > self.moved.wanted {
            self.moved = moved;
        }
        let known = before.table().into_iter().chain(tables.iter().flatten());
        let known = known.into_iter().find(|known| ***known == table).cloned();
        keys.push(key);
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

/// All rows of one stand.
fn rows(field: &Field<'_>, before: &Before<'_>, inputs: &Inputs) -> (Table, Moved) {
    let mut scratch = Scratch::default();
    let mut all: Vec<Rowed> = (0..field.rows())
        .map(|row| field.row(row, &before.row(row), &mut scratch))
        .collect();
    let moved = limit(&mut all, |row| field.demand(&inputs.demand, row));
    let mut rows = Rows::with_capacity(all.len());
    for row in &all {
        rows.push(&row.parts, row.measured);
    }
    (rows.finish(), moved)
}
