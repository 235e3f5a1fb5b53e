//! Laws of the smallest change at rest.

use proptest::prelude::*;

use super::{
    super::{
        clear::Clearing,
        market::Priced,
        mend::{Borne, mended},
    },
    ANY, Kind, World, prices, world,
};
use crate::steer::tests::seeded::seeded;

/// As a default tolerance has it, nobody is down.
const USUAL: Kind = Kind {
    tolerance: 5.0,
    farthest: 25 * 64,
    troubled: false,
};

/// Who is off at some prices.
fn off(at: &Priced<'_>, rooms: &[f64], borne: Borne) -> Vec<usize> {
    let is_off = |pop: &usize| {
        let room = rooms[*pop];
        let excess = at.demand(*pop) - room;
        borne.is_above(excess, room) || borne.is_below(at.price(*pop), excess, room)
    };
    (0..at.pops()).filter(is_off).collect()
}

/// A market that was cleared, with the rooms that it was cleared for.
fn cleared(world: &World, begin: &[f32], witness: &[f32], spare: f64) -> (Vec<f32>, Vec<f64>) {
    let shared = world.shared(&witness[..world.pops]).into_iter();
    let rooms: Vec<f64> = shared
        .map(|one| (one + 0.002 * world.whole()) * (1.0 + spare))
        .collect();
    let market = world.market(begin);
    let room = |pop: usize, _: f32| rooms.get(pop).copied();
    let left = 1000 * world.cells.len();
    let found = Clearing::of(&market, &room, begin.to_vec(), left);
    (found.into_parts().0, rooms)
}

proptest! {
    #![proptest_config(seeded(256))]

    /// What is found leaves nobody off, and tells the demand under it; where nobody was, nothing changes.
    #[test]
    fn a_mended_market_leaves_nobody_off(
        (world, begin) in world(USUAL), witness in prices(10), spare in 0.01_f64..1.0,
        one in any::<prop::sample::Index>(), less in 0.0_f64..0.05
    ) {
        let world = world.without_previous();
        let (prices, mut rooms) = cleared(&world, &begin, &witness, spare);
        rooms[one.index(world.pops)] *= 1.0 - less;
        let market = world.market(&prices);
        let borne = Borne::new(true, world.whole());
        let before = Priced::new(&market, prices.clone());
        let room = |pop: usize, _: f32| rooms.get(pop).copied();
        let left = 1000 * world.cells.len();
        let found = mended(&market, &room, prices.clone(), borne, left);
        if off(&before, &rooms, borne).is_empty() {
            prop_assert_eq!(found.map(|found| found.0), Some(prices));
            return Ok(());
        }
        let Some((found, told)) = found else { return Ok(()) };
        prop_assert_ne!(&found, &prices);
        let after = Priced::new(&market, found);
        prop_assert_eq!(off(&after, &rooms, borne), Vec::<usize>::new());
        for (pop, told) in told.iter().enumerate() {
            let noise = 1e-5 * world.whole();
            prop_assert!((told - after.demand(pop)).abs() <= noise, "{pop}: {told}");
        }
    }

    /// Whatever the rooms are: rows are looked at no more often than was allowed, and whose room is not
    /// known keeps its price.
    #[test]
    fn mending_is_bounded(
        (world, begin) in world(ANY),
        rooms in prop::collection::vec(prop_oneof![
            4 => (0.0_f64..40.0).prop_map(Some),
            1 => Just(None),
            1 => Just(Some(0.0)),
            1 => Just(Some(f64::NAN)),
            1 => Just(Some(f64::INFINITY)),
            1 => Just(Some(-1.0)),
        ], 10),
        left in 0_usize..2_000
    ) {
        let market = world.market(&begin);
        let room = |pop: usize, _: f32| rooms[pop];
        let looked = market.looked();
        let before = looked.get();
        let found = mended(&market, &room, begin.clone(), Borne::new(true, world.whole()), left);
        let work = looked.get() - before;
        let most = (left + MOST_ROUNDS * world.cells.len()) as u64;
        prop_assert!(work <= most, "{} rows were looked at, {} are allowed", work, most);
        for (pop, price) in found.iter().flat_map(|found| found.0.iter().enumerate()) {
            prop_assert!((0.0..=super::super::solve::PRICE_MAX).contains(price), "{pop}: {price}");
            if rooms[pop].is_none() {
                prop_assert_eq!(*price, begin[pop], "{} has no room", pop);
            }
        }
    }
}

/// Times that all rows may be looked at beside what was allowed: at the beginning, and for the price
/// that was being searched when the end came.
const MOST_ROUNDS: usize = 1 + 27;
