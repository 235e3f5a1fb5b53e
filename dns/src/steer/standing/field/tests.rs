//! The few PoPs looked at for a row against all of them.

use meridian_health_prober::HealthSnapshot;
use proptest::prelude::*;

use super::{super::before::Ground, rows::Seen, *};
use crate::steer::{
    Standing,
    balance::{MAX_PARTS, Offer},
    layout::Layout,
    standing::Of,
    steering::Stand,
    tests::{
        seeded::seeded,
        world::{World, lived, moving_world},
    },
};

/// Every PoP of the pool that a cell may get.
fn offers(field: &Field<'_>, row: usize) -> Vec<Offer> {
    let (cell, told, _) = field.of_row(row).unwrap();
    let (seen, mut offers) = (Seen::new(cell, told), Vec::new());
    for member in (0_u16..).take(field.pool.members.len()) {
        field.offer_once(&seen, member, &mut offers);
    }
    offers
}

fn field<'a>(
    steering: &'a Steering,
    health: &HealthSnapshot,
    stand: &Stand,
    inputs: &'a Inputs,
    (exceptions, near): (&Arc<Exceptions>, Option<&'a Near>),
) -> Field<'a> {
    let usable = Layout::new(steering, health, &[]).usable(stand.roster);
    Field::new(steering, stand.scoring(), usable, inputs, exceptions, near).unwrap()
}

/// Whether more PoPs may have a new share of a row of a service than it has places.
pub(in crate::steer) fn is_crowded(
    world: &World,
    standing: &Standing,
    service: usize,
    row: usize,
) -> bool {
    let stand = world.steering.services()[service].stand.unwrap();
    let stand = &world.steering.stands[stand];
    let (inputs, exceptions) = (standing.inputs(), &standing.exceptions);
    let field = field(
        &world.steering,
        &world.health,
        stand,
        inputs,
        (exceptions, None),
    );
    let mut offers = offers(&field, row);
    offers.retain(|offer| offer.usable);
    let needed = field.needed(&offers, &[]);
    offers
        .iter()
        .filter(|offer| offer.score_ms <= needed)
        .count()
        > MAX_PARTS
}

proptest! {
    #![proptest_config(seeded(128))]

    /// The few PoPs looked at for a row give the same as all PoPs of the pool.
    #[test]
    fn the_candidates_of_a_row_are_enough(world in moving_world()) {
        let (inputs, earlier) = world.history.split_last().unwrap();
        let steering = &world.steering;
        let before = lived(steering, &world.health, earlier);
        let exceptions = Arc::new(Exceptions::new(&inputs.latency, steering.clients()));
        let of = Of::new(steering);
        let ground = Ground::new(&before, &of, &exceptions);
        for (number, stand) in steering.stands.iter().enumerate() {
            let profile = &steering.profiles[stand.profile];
            let near = Near::new(steering, profile, steering.pools[profile.pool.index()].clone());
            let field = field(steering, &world.health, stand, inputs, (&exceptions, Some(&near)));
            let before = ground.of(steering, number, stand);
            for row in 0..field.rows() {
                let previous = before.row(row);
                let few = field.row(row, &previous, &mut Scratch::default());
                let (mut all, before) = (offers(&field, row), rows::Before::new(&previous, field.kept(&previous)));
                let needed = field.needed(&all, &field.kept(&previous));
                let all = field.judged(&mut all, before, needed, few.measured);
                prop_assert_eq!(&few.parts, &all.parts, "row {}, {:?}", row, previous);
                prop_assert!((few.gain - all.gain).abs() < 1e-3, "{} {}", few.gain, all.gain);
            }
        }
    }
}
