//! Congestion with everything that a server has: cells of a client map, lists of near PoPs, rows of two
//! pools with checks, tolerances and targets of their own, counted queries, and answers that are hashed by
//! client prefix. Resolvers ask as their caches run out; load follows from what they got.
//!
//! The balance alone is tried in many more worlds by `dns/tests/balance`.
//!
//! The figures of `docs/congestion.md`: `cargo test --release -p meridian congestion -- --nocapture`

mod run;
mod world;

use run::Run;
use world::{Size, World};

/// Ticks of half an hour; those in which the last resolver asks anew.
const HALF_HOUR: usize = 180;
const LONGEST_KEPT: usize = 31;
/// Ticks until enough has been counted to say what part of the clients a place is.
const UNCOUNTED: usize = 6;

fn world(seed: u64, pops: usize, filled: f64, hybrid: bool) -> World {
    World::new(Size {
        seed,
        pops,
        towns: pops + 30,
        filled,
        tolerance: [5, 1],
        hybrid,
    })
}

/// From nothing to rest in an hour, and then half an hour in which the goals must hold.
fn settled(world: World) -> Run {
    let mut run = Run::new(world);
    run.ticks(3 * HALF_HOUR);
    let full = if run.world.hybrid {
        run.led_full()
    } else {
        Vec::new()
    };
    let stay = run.last(HALF_HOUR, &full);
    told("at rest", &run, UNCOUNTED, &stay);
    assert!(stay.mean <= 1.0, "nobody stays above the target: {stay:?}");
    assert!(stay.peak <= 1.02, "{stay:?}");
    assert!(stay.unrest <= 0.03 && stay.turns == 0, "at rest: {stay:?}");
    bounded(&run, UNCOUNTED);
    run
}

/// Prints the figures of `docs/congestion.md`, with `--nocapture`.
fn told(what: &str, run: &Run, from: usize, stay: &run::Stay) {
    let most = run.moved[from..].iter().copied().fold(0.0, f64::max);
    let pops = run.truly().len();
    println!("{pops} PoPs {what}: {stay:?}, most moved in a tick {most:.4}");
}

/// No tick from that one on has moved more than 5 % of the clients, as far as their number was known.
fn bounded(run: &Run, from: usize) {
    let most = run.moved[from..]
        .iter()
        .fold(0.0_f64, |most, one| most.max(*one));
    assert!(most <= 0.06, "in one tick: {most}");
}

fn dies_and_is_replaced(mut run: Run) {
    let dead = run.busiest();
    let had = run.clients_of(dead);
    run.down(&[dead], &["web", "api"]);
    let died = run.tick;
    run.ticks(LONGEST_KEPT);
    assert_eq!(
        run.truly()[dead],
        0.0,
        "who is dead has nobody once answers are over"
    );
    let went = run.now_at(&had);
    assert!(
        went.iter().all(|part| *part < 0.75),
        "not all to the next one: {went:?}"
    );
    assert!(
        went.iter().filter(|part| **part > 0.05).count() >= 3,
        "{went:?}"
    );
    run.ticks(HALF_HOUR + HALF_HOUR / 2 - LONGEST_KEPT);
    let later = run.last(HALF_HOUR, &[dead]);
    let stay = run.last(HALF_HOUR / 2, &[dead]);
    println!("went to: {went:.2?}; from a quarter of an hour on: {later:?}");
    told("after a death", &run, died + 1, &stay);
    assert!(
        later.peak <= 1.15,
        "from a quarter of an hour on: {later:?}"
    );
    assert!(stay.mean <= 1.0, "nobody stays above the target: {stay:?}");
    bounded(&run, died + 1);
}

#[test]
fn eight_pops_share_clients_and_survive_the_busiest() {
    dies_and_is_replaced(settled(world(5, 8, 0.65, false)));
}

#[test]
fn twenty_four_pops_share_clients_and_survive_the_busiest() {
    dies_and_is_replaced(settled(world(2, 24, 0.65, false)));
}

#[test]
fn who_is_down_by_one_check_still_has_a_price_for_the_other_services() {
    let mut run = settled(world(1, 12, 0.75, false));
    let sick = run.busiest_of_both();
    run.down(&[sick], &["api"]);
    let fell = run.tick;
    run.ticks(2 * HALF_HOUR);
    let stay = run.last(HALF_HOUR / 2, &[]);
    told("down by one check", &run, fell + 1, &stay);
    assert!(stay.mean <= 1.0 && stay.peak <= 1.02, "{stay:?}");
    assert!(run.truly()[sick] > 0.2, "others still have it");
    bounded(&run, fell + 1);
}

#[test]
fn prices_make_room_for_clients_that_anycast_leads() {
    let run = settled(world(4, 16, 0.6, true));
    assert!(run.prices().iter().any(|price| *price > 1.0));
}
