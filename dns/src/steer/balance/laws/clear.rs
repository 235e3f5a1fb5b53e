//! Laws of clearing a market: what prices it comes to, and what that may cost.

use proptest::prelude::*;

use super::{
    super::{clear::Clearing, market::Priced, solve::PRICE_MAX},
    ANY, Kind, World, prices, world,
};
use crate::steer::tests::seeded::seeded;

/// Part of its room that a PoP may be off.
const OFF: f64 = 0.005;
/// A price that is lower by so much is another one, ms.
const LOWER_MS: f32 = 0.5;

/// Shares follow scores smoothly, without a memory: the play is 0 up to scores of 50 ms.
const SMOOTH: Kind = Kind {
    tolerance: 5.0,
    farthest: 25 * 64,
    troubled: false,
};

/// Rooms that some prices leave everyone, and `spare` more.
fn rooms(world: &World, witness: &[f32], spare: f64) -> Vec<f64> {
    let shared = world.shared(witness).into_iter();
    shared
        .map(|one| (one + 0.002 * world.whole()) * (1.0 + spare))
        .collect()
}

fn enough(world: &World) -> usize {
    100_000 * world.cells.len()
}

proptest! {
    #![proptest_config(seeded(256))]

    /// Where there are prices that leave everyone within their room, such are found; and whoever has
    /// a price needs it: a lower one would bring more than there is room for.
    #[test]
    #[ignore = "a PoP beside a cell 1,000 times its size needs prices finer than SAME_MS, and a few PoPs that take clients from each other may go round"]
    fn where_there_is_room_nobody_is_above_it_and_no_price_is_for_nothing(
        (world, begin) in world(SMOOTH), witness in prices(10), spare in 0.01_f64..1.0
    ) {
        let world = world.without_previous();
        let rooms = rooms(&world, &witness[..world.pops], spare);
        let market = world.market(&begin);
        let room = |pop: usize, _: f32| rooms.get(pop).copied();
        let cleared = Clearing::of(&market, &room, begin, enough(&world));
        let asked: Vec<f64> = (0..world.pops).map(|pop| cleared.demand(pop)).collect();
        let found: Vec<f32> = (0..world.pops).map(|pop| cleared.price(pop)).collect();
        for pop in 0..world.pops {
            prop_assert!(
                asked[pop] <= rooms[pop] * (1.0 + OFF),
                "{pop} is above: {:?} of {:?} at {:?}", asked, rooms, found
            );
            let is_full = asked[pop] >= rooms[pop] * (1.0 - 2.0 * OFF);
            if is_full || found[pop] < LOWER_MS {
                continue;
            }
            let mut lower = found.clone();
            lower[pop] -= LOWER_MS;
            let then = Priced::new(&market, lower).demand(pop);
            prop_assert!(
                then >= rooms[pop] * (1.0 - 2.0 * OFF),
                "{pop} has a price for nothing: {:?} of {:?} at {:?}", asked, rooms, found
            );
        }
    }

    /// Whatever the rooms are: prices and demand are numbers within bounds, whose room is not known keeps
    /// its price, the same question has the same answer, and rows are looked at no more often than was allowed.
    #[test]
    fn whatever_the_rooms_prices_are_bounded_and_so_is_the_work(
        (world, begin) in world(ANY),
        rooms in prop::collection::vec(prop_oneof![
            4 => (0.0_f64..40.0).prop_map(Some),
            1 => Just(None),
            1 => Just(Some(0.0)),
            1 => Just(Some(f64::NAN)),
            1 => Just(Some(f64::INFINITY)),
            1 => Just(Some(f64::NEG_INFINITY)),
            1 => Just(Some(-1.0)),
            1 => Just(Some(f64::MIN_POSITIVE)),
            1 => Just(Some(f64::MAX)),
        ], 10),
        left in 0_usize..2_000
    ) {
        let market = world.market(&begin);
        let room = |pop: usize, price: f32| Some(rooms[pop]? * f64::from(1.0 + price / 1000.0));
        let run = || {
            let looked = market.looked();
            let before = looked.get();
            let cleared = Clearing::of(&market, &room, begin.clone(), left);
            (cleared.into_parts(), looked.get() - before)
        };
        let ((found, asked), work) = run();
        for (pop, (price, asked)) in found.iter().zip(&asked).enumerate() {
            prop_assert!((0.0..=PRICE_MAX).contains(price), "{pop}: {price}");
            prop_assert!(asked.is_finite(), "{pop}: {asked}");
            if rooms[pop].is_none() {
                prop_assert_eq!(*price, begin[pop], "{} has no room", pop);
            }
        }
        prop_assert_eq!((found, asked), run().0);
        let most = (left + MOST_ROUNDS * world.cells.len()) as u64;
        prop_assert!(work <= most, "{} rows were looked at, {} are allowed", work, most);
    }
}

/// Times that all rows may be looked at beside what was allowed: at the beginning, for the group and for
/// the price that were being searched when the end came, for the last part, and to change each price in that.
const MOST_ROUNDS: usize = 1 + 27 + 24 + 50 + 2 * 10;
