//! One tick: from a standing and new inputs to the next standing.

use std::sync::Arc;

use meridian_health_prober::HealthSnapshot;

use super::{
    Exceptions, Field, Inputs, Moved, Of, Standing, Table,
    before::Ground,
    common::{Common, alike, usable},
    field::{Rowed, Scratch},
    hybrid,
    limit::limit,
    near::{Near, family},
    plain::Plain,
    table::Rows,
};
use crate::steer::{Steering, layout::Layout, steering::Stand};

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

/// Everything that the tables of one tick are made of.
struct Tick<'a> {
    steering: &'a Steering,
    inputs: &'a Inputs,
    exceptions: &'a Arc<Exceptions>,
    ground: &'a Ground<'a>,
    /// By profile.
    near: &'a [Option<Arc<Near>>],
    /// By stand.
    fields: Vec<Option<Field<'a>>>,
    commons: Vec<(&'a Arc<Near>, f32, Common<'a>)>,
    made: Made,
    moved: Moved,
}

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
    /// How its members were numbered then; `None`: as now.
    numbered: Option<Vec<Option<u16>>>,
}

impl Standing {
    /// The one that follows this one, which may be of an earlier configuration.
    ///
    /// Pure: the same history of arguments gives the same standing. Takes its time; not for the
    /// query path.
    pub fn next(&self, steering: &Steering, health: &HealthSnapshot, inputs: &Inputs) -> Self {
        self.next_within(BOUNDS, steering, health, inputs)
    }

    /// The same without a limit of who may move.
    #[cfg(test)]
    pub(in crate::steer) fn next_unlimited(
        &self,
        steering: &Steering,
        health: &HealthSnapshot,
        inputs: &Inputs,
    ) -> Self {
        let moved = 1.0;
        self.next_within(Bounds { moved, ..BOUNDS }, steering, health, inputs)
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
        let fields: Vec<Option<Field<'_>>> = steering
            .stands
            .iter()
            .map(|stand| {
                let (scoring, usable) = (stand.scoring(), layout.usable(stand.roster));
                Field::new(steering, scoring, usable, inputs, &exceptions, None)
            })
            .collect();
        for (number, (stand, field)) in steering.stands.iter().zip(&fields).enumerate() {
            let is_moved = field.as_ref().is_some_and(Field::is_moved);
            let is_needed = is_moved || ground.of(steering, number, stand).table().is_some();
            if is_needed && next.octets() <= bounds.octets {
                next.fill_near(steering, stand);
            }
        }
        let near = next.near.clone();
        let room = bounds.octets.checked_sub(next.octets());
        let mut tick = Tick {
            steering,
            inputs,
            exceptions: &exceptions,
            ground: &ground,
            near: &near,
            fields,
            commons: Vec::new(),
            made: Made {
                most: bounds.moved,
                ..Made::default()
            },
            moved: Moved::default(),
        };
        for (number, stand) in steering.stands.iter().enumerate() {
            let is_room = room.is_some_and(|room| tick.made.octets <= room);
            let table = is_room.then(|| tick.table_of(number, stand)).flatten();
            tick.made.add(table);
        }
        (next.tables, next.moved) = (tick.made.tables.into(), tick.moved);
        next
    }

    /// The near PoPs of a stand's profile, and of those whose lists differ little, made when first needed.
    fn fill_near(&mut self, steering: &Steering, stand: &Stand) {
        if self.near.get(stand.profile).is_none_or(Option::is_some) {
            return;
        }
        let found = steering.profiles.get(stand.profile);
        let Some((profile, (pool, of))) = found.zip(family(steering, stand.profile)) else {
            return;
        };
        let near = Arc::new(Near::new(steering, profile, pool));
        for profile in of {
            if let Some(slot) = self.near.get_mut(profile) {
                slot.get_or_insert_with(|| near.clone());
            }
        }
    }
}

impl<'a> Tick<'a> {
    fn table_of(&mut self, number: usize, stand: &Stand) -> Option<Arc<Table>> {
        let field = self.fields.get(number)?.as_ref()?;
        let is_moved = field.is_moved();
        let before = self.ground.of(self.steering, number, stand);
        if !is_moved && before.table().is_none() {
            return None;
        }
        let key = Key {
            stand: number,
            usable: field.usable.clone(),
            before: (before.table().map(Arc::as_ptr), before.is_plain),
            numbered: before.members.clone(),
        };
        if let Some(found) = self.made.like(self.steering, stand, &key) {
            return found;
        }
        let near = self.near.get(stand.profile)?.as_ref()?;
        let common = self.common(stand, near);
        let field = self.fields.get_mut(number)?.take()?.with(near);
        let mut common = common.and_then(|at| self.commons.get_mut(at)).map(|one| {
            let mapping = one.2.mapping(near, &field);
            (&mut one.2, mapping)
        });
        let plain = plain(self.steering, number, &key.usable, self.exceptions)?;
        let mut scratch = Scratch::default();
        let bounds = (self.inputs, self.made.most);
        let (table, moved) = rows(&field, bounds, |row| {
            let previous = match is_moved && before.is_plain {
                true => plain.row(row),
                false => before.row(row),
            };
            if !is_moved {
                // Nothing is measured any more: back, no faster than away.
                return field.toward(row, &previous, plain.row(row), &mut scratch);
            }
            let taken = common
                .as_mut()
                .and_then(|(common, mapping)| common.row(row, &previous, mapping, &field));
            taken.unwrap_or_else(|| field.row(row, &previous, &mut scratch))
        });
        if let Some(slot) = self.fields.get_mut(number) {
            *slot = Some(field);
        }
        self.made.keys.push(key);
        if !is_moved && moved.wanted <= 0.0 {
            return None;
        }
        if moved.wanted > self.moved.wanted {
            self.moved = moved;
        }
        let known = before.table().into_iter();
        let known = known.chain(self.made.tables.iter().flatten());
        let known = known.into_iter().find(|known| ***known == table).cloned();
        known.or_else(|| Some(Arc::new(table)))
    }

    /// What a stand has in common with others, made for the first of them; `None`: it is alone.
    fn common(&mut self, stand: &Stand, near: &'a Arc<Near>) -> Option<usize> {
        let of = (near, stand.tolerance_ms);
        let found = self
            .commons
            .iter()
            .position(|one| alike((one.0, one.1), of));
        if found.is_some() {
            return found;
        }
        let all = || {
            let both = self.steering.stands.iter().zip(&self.fields);
            both.filter_map(|(other, field)| {
                let own = self.near.get(other.profile)?.as_ref()?;
                let field = field.as_ref()?;
                alike((own, other.tolerance_ms), of).then_some((other.profile, field))
            })
        };
        let (profile, first) = all().next()?;
        all().find(|(other, field)| *other != profile || field.usable != first.usable)?;
        let scoring = (
            self.steering.profiles.get(stand.profile)?,
            stand.tolerance_ms,
        );
        let usable = usable(near, all().map(|(_, field)| field));
        let (steering, inputs, exceptions) = (self.steering, self.inputs, self.exceptions);
        let field = Field::over(steering, &near.pool, scoring, usable, inputs, exceptions);
        let common = Common::new(field.with(near));
        self.commons.push((near, stand.tolerance_ms, common));
        Some(self.commons.len() - 1)
    }
}

impl Made {
    /// The table of a stand that has the same rows.
    fn like(&self, steering: &Steering, stand: &Stand, key: &Key) -> Option<Option<Arc<Table>>> {
        let same = |one: &&Key| {
            let other = steering.stands.get(one.stand);
            other.is_some_and(|other| other.rows_like(stand))
                && one.before == key.before
                && one.numbered == key.numbered
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
