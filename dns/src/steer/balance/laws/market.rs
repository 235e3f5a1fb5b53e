//! Laws of the market: it says what the model would say, whichever way it is asked.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    super::market::{Priced, shifted},
    ANY, Cell, Kind, WEIGHT, World, grid, world,
};
use crate::steer::tests::seeded::seeded;

/// What rounding to parts may differ by: a few parts of the whole.
const ROUNDING: f64 = 6e-5;
/// The same of sums of `f32`.
const NOISE: f64 = 1e-5;

fn demand(priced: &Priced<'_>, pops: usize) -> Vec<f64> {
    (0..pops).map(|pop| priced.demand(pop)).collect()
}

fn close(one: &[f64], other: &[f64], within: f64) -> bool {
    one.iter().zip(other).all(|(a, b)| (a - b).abs() <= within)
}

/// Prices with one of them, or those of a group, changed.
fn with(prices: &[f32], group: &[usize], to: impl Fn(f32) -> f32) -> Vec<f32> {
    let mut prices = prices.to_vec();
    for pop in group {
        prices[*pop] = to(prices[*pop]);
    }
    prices
}

/// Prices at which those that are down have the ones of the gathering: that is where they stand as
/// who says who is within tolerance.
fn asked(world: &World, gathered: &[f32], wanted: Vec<f32>) -> Vec<f32> {
    let is_down = |pop: usize| world.cells.iter().any(|cell| !cell.offers[pop].usable);
    let both = wanted.into_iter().zip(gathered).enumerate();
    both.map(|(pop, (wanted, gathered))| if is_down(pop) { *gathered } else { wanted })
        .collect()
}

/// Whether somebody is better for a cell than a PoP, and has grown in full.
fn is_led(cell: &Cell, prices: &[f32], pop: usize) -> bool {
    let own = usize::from(cell.offers[pop].member);
    let score = |at: usize| cell.offers[at].score_ms + WEIGHT * prices[at];
    let others = cell.offers.iter().enumerate().filter(|(at, _)| *at != own);
    let mut grown = others.filter(|(_, one)| one.usable && one.ramp >= 1.0);
    grown.any(|(at, _)| score(at) <= score(own))
}

/// Nobody is down, and nobody's weight is nothing.
const CALM: Kind = Kind {
    troubled: false,
    ..ANY
};

proptest! {
    #![proptest_config(seeded(256))]

    /// At the prices of the gathering and at others: what `share` gives.
    #[test]
    fn a_market_asks_what_the_law_of_sharing_gives(
        (world, gathered) in world(ANY), wanted in prop::collection::vec(grid(1600), 10)
    ) {
        let market = world.market(&gathered);
        for prices in [gathered.clone(), asked(&world, &gathered, wanted[..world.pops].to_vec())] {
            let told = demand(&Priced::new(&market, prices.clone()), world.pops);
            let right = world.shared(&prices);
            let within = ROUNDING * world.whole();
            prop_assert!(close(&told, &right, within), "{:?} {:?} at {:?}", told, right, prices);
        }
    }

    /// A PoP that grows dearer is not asked for more, whoever was served by whom. Who is not the best
    /// one anywhere takes no clients from others by that; the best one does, since those within
    /// tolerance of the best are others then, but from all of them together it takes none.
    #[test]
    fn a_dearer_pop_is_not_asked_for_more(
        (world, prices) in world(CALM), pop in any::<prop::sample::Index>(), by in grid(1600)
    ) {
        let world = world.without_previous();
        let (pop, market) = (pop.index(world.pops), world.market(&prices));
        let before = demand(&Priced::new(&market, prices.clone()), world.pops);
        let dearer = with(&prices, &[pop], |price| price + by);
        let after = demand(&Priced::new(&market, dearer.clone()), world.pops);
        let noise = NOISE * world.whole();
        prop_assert!(after[pop] <= before[pop] + noise, "{:?} {:?}", before, after);
        if world.cells.iter().all(|cell| is_led(cell, &prices, pop)) {
            for other in (0..world.pops).filter(|other| *other != pop) {
                prop_assert!(after[other] >= before[other] - noise, "{other}: {:?} {:?}", before, after);
            }
        }
        let whole: f64 = after.iter().sum();
        prop_assert!((whole - world.whole()).abs() <= noise, "{whole}");
    }

    /// One price changed, or asked about, is the market at the new prices.
    #[test]
    fn a_changed_price_is_that_of_a_new_market(
        (world, mut prices) in world(ANY),
        steps in prop::collection::vec((any::<prop::sample::Index>(), grid(1600), grid(1600)), 1..6)
    ) {
        let market = world.market(&prices);
        let noise = NOISE * world.whole();
        let mut now = Priced::new(&market, prices.clone());
        for (pop, one, other) in steps {
            let pop = pop.index(world.pops);
            let (lowest, to) = (one.min(other), one.max(other));
            let live = now.live(pop, lowest.min(prices[pop]));
            let told = now.asked(&live, to);
            prices = with(&prices, &[pop], |_| to);
            let new = Priced::new(&market, prices.clone());
            prop_assert!((told - new.demand(pop)).abs() <= noise, "{told} {}", new.demand(pop));
            now.change(pop, to, &live);
            let (is, right) = (demand(&now, world.pops), demand(&new, world.pops));
            prop_assert!(close(&is, &right, noise), "{:?} {:?}", is, right);
            prop_assert_eq!(now.price(pop), to);
        }
    }

    /// A group that shifts its prices, likewise: up by the rows that it has a share of now, down by
    /// all that it is in.
    #[test]
    fn a_shifted_group_is_that_of_a_new_market(
        (world, prices) in world(ANY), is_in in prop::collection::vec(any::<bool>(), 10),
        by in grid(1600), rises: bool
    ) {
        let group: Vec<usize> = (0..world.pops).filter(|pop| is_in[*pop]).collect();
        let by = if rises { by } else { -by };
        let market = world.market(&prices);
        let mut now = Priced::new(&market, prices.clone());
        let rows = now.around(&group, rises);
        let (here, then) = (now.shifted(&rows, &group, 0.0), now.shifted(&rows, &group, by));
        let before = demand(&now, world.pops);
        let new = Priced::new(&market, with(&prices, &group, |price| shifted(price, by)));
        let right = demand(&new, world.pops);
        let noise = NOISE * world.whole();
        for pop in 0..world.pops {
            let told = before[pop] + then[pop] - here[pop];
            prop_assert!((told - right[pop]).abs() <= noise, "{pop}: {told} {}", right[pop]);
        }
        now.shift(&rows, &group, by);
        let is = demand(&now, world.pops);
        prop_assert!(close(&is, &right, noise), "{:?} {:?}", is, right);
        for pop in 0..world.pops {
            prop_assert_eq!(now.price(pop), new.price(pop));
        }
    }

    /// Groups are the components of who meets whom, without those that meet nobody.
    #[test]
    fn groups_are_those_that_meet_directly_or_through_others(
        (world, prices) in world(ANY), is_in in prop::collection::vec(any::<bool>(), 10),
        further in grid(320)
    ) {
        let is_in = &is_in[..world.pops];
        let now = world.market(&prices);
        let now = Priced::new(&now, prices.clone());
        let meets: Vec<BTreeSet<usize>> = (0..world.cells.len())
            .map(|cell| now.near(cell, further).filter(|pop| is_in[*pop]).collect())
            .collect();
        let mut right: Vec<BTreeSet<usize>> = Vec::new();
        for start in (0..world.pops).filter(|pop| is_in[*pop]) {
            let mut all = BTreeSet::from([start]);
            loop {
                let met = meets.iter().filter(|met| !met.is_disjoint(&all));
                let more: BTreeSet<usize> = met.flatten().chain(&all).copied().collect();
                if more.len() == all.len() {
                    break;
                }
                all = more;
            }
            if all.len() > 1 && !right.contains(&all) {
                right.push(all);
            }
        }
        let told = now.groups(is_in, further);
        let told: Vec<BTreeSet<usize>> = told.into_iter().map(BTreeSet::from_iter).collect();
        prop_assert_eq!(told, right);
    }

    /// Whoever has a share of a cell is near it: nobody is left out of a group.
    #[test]
    fn who_has_a_share_is_near((world, prices) in world(ANY)) {
        let market = world.market(&prices);
        let now = Priced::new(&market, prices.clone());
        for (at, cell) in world.cells.iter().enumerate() {
            let near: Vec<usize> = now.near(at, 0.0).collect();
            for part in super::share(&cell.at(&prices), &cell.previous, &cell.rules) {
                let pop = usize::from(part.member);
                prop_assert!(near.contains(&pop), "cell {at}: {pop} is not in {:?}", near);
            }
        }
    }
}
