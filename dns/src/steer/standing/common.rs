//! Rows that stands have in common whose lists of PoPs, or whose checks, differ little: worked out
//! once over all their PoPs together, and taken over wherever a row would come out the same.
//!
//! A row is a function of where its clients were, and of the PoPs that can have a share of it or a say
//! in it. So it is that of another stand where both were served alike before, where
//! the load of all its PoPs counts the same, and where all that had a say are in the list, usable or not as there. The list is part of
//! what the common row looked at, so nobody else can come in.

use std::{ops::Range, sync::Arc};

use super::{
    field::{Field, Rowed, Scratch},
    near::{NONE, Near},
};
use crate::steer::balance::{Part, Parts};

/// The rows of several stands, by place in the list of all their PoPs.
#[derive(Debug)]
pub(super) struct Common<'a> {
    field: Field<'a>,
    rows: Vec<Option<Known>>,
    /// Members with a say, row after row.
    say: Vec<u16>,
    scratch: Scratch,
}

/// One row as it was worked out.
#[derive(Debug)]
struct Known {
    before: Parts,
    rowed: Rowed,
    say: Range<usize>,
}

/// How one stand's list lies in that of all.
#[derive(Debug)]
pub(super) struct Mapping {
    /// By own member that in the list of all.
    common: Vec<u16>,
    /// By member in the list of all the own one.
    own: Vec<u16>,
    /// By member in the list of all: it is in the own one, and the same is known of it.
    same: Vec<bool>,
}

impl<'a> Common<'a> {
    /// `field` must be over the list of `near`.
    pub(super) fn new(field: Field<'a>) -> Self {
        Self {
            rows: (0..field.rows()).map(|_| None).collect(),
            field,
            say: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// How the list of `own` lies in that of all.
    pub(super) fn mapping(&self, near: &Near, own: &Field<'_>) -> Mapping {
        let all = (0_u16..).take(near.pool.members.len());
        let places = near.members_of(own.pool);
        let places = places.unwrap_or_else(|| all.clone().collect());
        let mut common = vec![NONE; own.pool.members.len()];
        for (at, place) in all.clone().zip(&places) {
            if let Some(slot) = common.get_mut(usize::from(*place)) {
                *slot = at;
            }
        }
        let usable =
            |field: &Field<'_>, member: u16| field.usable.get(usize::from(member)).copied();
        // Whose load counts otherwise could come in without having had a say, so then nothing is taken over.
        let is_listed = |(_, place): &(u16, &u16)| **place != NONE;
        let loads_alike = all
            .clone()
            .zip(&places)
            .filter(is_listed)
            .all(|(at, place)| own.is_load_like(*place, &self.field, at));
        let same = all.zip(&places).map(|(at, place)| {
            let both = (usable(own, *place), usable(&self.field, at));
            loads_alike && both.0.is_some() && both.0 == both.1
        });
        Mapping {
            common,
            same: same.collect(),
            own: places,
        }
    }

    /// What a row of the stand comes to after `before`; `None`: that must be worked out for the stand
    /// alone.
    pub(super) fn row(
        &mut self,
        row: usize,
        before: &[Part],
        mapping: &Mapping,
        own: &Field<'_>,
    ) -> Option<Rowed> {
        if self.rows.get(row)?.is_none() {
            self.work_out(row, map(before, &mapping.common)?);
        }
        let known = self.rows.get(row)?.as_ref()?;
        let common = |member: u16| mapping.common.get(usize::from(member)).copied();
        let alike = |(own, known): (&Part, &Part)| {
            own.parts == known.parts && common(own.member) == Some(known.member)
        };
        let same = |member: &u16| mapping.same.get(usize::from(*member)) == Some(&true);
        let is_same = before.len() == known.before.len()
            && before.iter().zip(&known.before).all(alike)
            && self.say.get(known.say.clone())?.iter().all(same);
        if !is_same {
            return None;
        }
        Some(Rowed {
            parts: map(&known.rowed.parts, &mapping.own)?,
            kept: map(&known.rowed.kept, &mapping.own)?,
            measured: own.is_measured(row),
            gain: known.rowed.gain,
            moves: known.rowed.moves,
        })
    }

    fn work_out(&mut self, row: usize, before: Parts) {
        let rowed = self.field.row(row, &before, &mut self.scratch);
        let start = self.say.len();
        self.say.extend(self.scratch.members());
        if let Some(slot) = self.rows.get_mut(row) {
            *slot = Some(Known {
                before,
                rowed,
                say: start..self.say.len(),
            });
        }
    }
}

/// Which PoPs of `near` can be handed out, by the first of the stands that lists them.
pub(super) fn usable<'a>(near: &Near, fields: impl Iterator<Item = &'a Field<'a>>) -> Vec<bool> {
    let mut usable: Vec<Option<bool>> = vec![None; near.pool.members.len()];
    for field in fields {
        let places = near.members_of(field.pool);
        for (at, slot) in usable
            .iter_mut()
            .enumerate()
            .filter(|(_, slot)| slot.is_none())
        {
            let place = match &places {
                Some(places) => places.get(at).copied().map(usize::from),
                None => Some(at),
            };
            *slot = place.and_then(|place| field.usable.get(place)).copied();
        }
    }
    usable.into_iter().map(Option::unwrap_or_default).collect()
}

/// Whether both mean the same list and tolerance.
pub(super) fn alike(one: (&Arc<Near>, f32), other: (&Arc<Near>, f32)) -> bool {
    Arc::ptr_eq(one.0, other.0) && one.1.to_bits() == other.1.to_bits()
}

/// The same shares by another list; `None`: somebody is not in it.
fn map(parts: &[Part], to: &[u16]) -> Option<Parts> {
    let mut mapped = Parts::new();
    for part in parts {
        let member = to.get(usize::from(part.member)).copied();
        let member = member.filter(|member| *member != NONE)?;
        mapped.try_push(Part { member, ..*part }).ok()?;
    }
    Some(mapped)
}

#[cfg(test)]
mod tests {
    use meridian_config::PoolId;
    use proptest::prelude::*;

    use crate::steer::{
        Steering,
        tests::{
            seeded::seeded,
            world::{lived, moving_world},
        },
    };

    proptest! {
        #![proptest_config(seeded(128))]

        /// Services whose lists and checks differ a little come out as each does alone.
        #[test]
        fn nobody_minds_what_others_have_in_common(
            world in moving_world(),
            without: [prop::sample::Index; 4], turned: bool, unchecked: bool,
        ) {
            let mut config = world.config.clone();
            let pool = config.pools[0].clone();
            config.pools = (0..without.len()).map(|number| {
                let mut pool = meridian_config::Pool { name: format!("q{number}"), ..pool.clone() };
                if number > 0 && pool.pops.len() > 1 {
                    let at = without[number].index(pool.pops.len());
                    pool.pops.remove(at);
                }
                if number == 2 && turned {
                    pool.pops.reverse();
                }
                if number == 3 && unchecked {
                    pool.check = None;
                }
                pool
            }).collect();
            let service = config.zones[0].services[0].clone();
            let services: Vec<_> = (0_u16..4).map(|number| meridian_config::Service {
                name: format!("s{number}.example.").parse().unwrap(),
                pool: PoolId(number),
                ..service.clone()
            }).collect();
            config.zones[0].services = services.clone();
            let of = |config: &meridian_config::Config| Steering::new(config, world.steering.clients.clone());
            let all = of(&config);
            let together = lived(&all, &world.health, &world.history);
            for (number, service) in services.into_iter().enumerate() {
                config.zones[0].services = vec![service];
                let one = of(&config);
                let alone = lived(&one, &world.health, &world.history);
                let stand = |of: &Steering, at: usize| of.services()[at].stand;
                let own = together.table(stand(&all, number));
                prop_assert_eq!(own, alone.table(stand(&one, 0)), "service {}", number);
            }
        }
    }
}
