//! What happens when something happens: deaths, crowds, returns, silence, too much of everything. Each
//! in several worlds.

use meridian_dns::steer::balance::Rules;

use crate::{
    run::{Run, Stay},
    world::{Dice, Size, World},
};

/// Ticks in which every resolver has asked anew.
const CACHED: usize = 31;
/// Ticks after an event, of which the last third counts as what it came to.
const AFTER: usize = 360;

/// What an event did.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) seed: u64,
    /// Highest load ÷ target of any PoP, since the event or since it could be felt.
    pub(crate) peak: f64,
    /// Ticks until nobody was above the target any more.
    pub(crate) above: usize,
    /// Most that moved in a tick but that of the event.
    pub(crate) moved: f64,
    /// The last third.
    pub(crate) stay: Stay,
}

/// All events, by name; `None` where the world has no room for it.
pub(crate) type Scenario = fn(u64, f32) -> Option<Event>;
pub(crate) const ALL: [(&str, Scenario); 7] = [
    ("a PoP dies", death),
    ("three die", deaths),
    ("a crowd", crowd),
    ("a return", back),
    ("silence", silence),
    ("silence, then a crowd", silent_crowd),
    ("too much", flood),
];

/// A settled world of 8 to 80 PoPs.
fn settled(seed: u64, filled: f64, tolerance_ms: f32) -> Run {
    let mut dice = Dice(2026 + 7919 * seed);
    let pops = (8.0 * 10.0_f64.powf(dice.real(0.0, 1.0))) as usize;
    let size = Size {
        pops,
        cells: 2 * pops + 60,
        filled,
    };
    let mut world = World::new(&mut dice, size);
    world.rules = Rules::new(tolerance_ms);
    let mut run = Run::new(world, seed);
    run.ticks(480);
    run
}

/// What has happened since tick `from`; loads count from `felt` on.
fn event(seed: u64, run: &Run, from: usize, felt: usize) -> Event {
    let usable = |at: usize| run.world.pops[at].usable;
    let highest = |tick: usize| {
        let loads = run.loads[tick].iter().enumerate();
        let loads = loads.filter(|(at, _)| usable(*at)).map(|(_, load)| *load);
        loads.fold(0.0, f64::max) / run.world.target
    };
    let last = (from..run.tick).rev().find(|tick| highest(*tick) > 1.0);
    Event {
        seed,
        peak: (felt..run.tick).map(highest).fold(0.0, f64::max),
        above: last.map_or(0, |last| last + 1 - from),
        moved: run.moved[from + 1..].iter().copied().fold(0.0, f64::max),
        stay: run.last(AFTER / 3),
    }
}

/// PoPs by the demand that they carry, most first.
fn busiest(run: &Run) -> Vec<usize> {
    let loads = run.world.loads();
    let demand = |at: &usize| loads[*at] * run.world.pops[*at].capacity;
    let mut all: Vec<usize> = (0..loads.len()).collect();
    all.sort_by(|a, b| demand(b).total_cmp(&demand(a)));
    all
}

/// The busiest PoP dies; 70 % of all room was asked for.
fn death(seed: u64, tolerance_ms: f32) -> Option<Event> {
    let mut run = settled(seed, 0.7, tolerance_ms);
    let from = run.tick;
    let dead = busiest(&run)[0];
    run.world.pops[dead].usable = false;
    if run.world.filled() > 0.9 {
        return None;
    }
    run.ticks(AFTER);
    Some(event(seed, &run, from, from))
}

/// The busiest PoP and its two neighbours die; 60 % of all room was asked for.
fn deaths(seed: u64, tolerance_ms: f32) -> Option<Event> {
    let mut run = settled(seed, 0.6, tolerance_ms);
    let from = run.tick;
    let first = busiest(&run)[0];
    for at in run.world.neighbours(first, 3) {
        run.world.pops[at].usable = false;
    }
    if run.world.filled() > 0.9 {
        return None;
    }
    run.ticks(AFTER);
    Some(event(seed, &run, from, from))
}

/// Twice the demand in the largest region; counters of queries follow a minute later. Loads count
/// from when every resolver has asked anew twice.
fn crowd(seed: u64, tolerance_ms: f32) -> Option<Event> {
    let mut run = settled(seed, 0.6, tolerance_ms);
    let from = run.tick;
    gather(&mut run)?;
    Some(event(seed, &run, from, from + 2 * CACHED))
}

fn gather(run: &mut Run) -> Option<()> {
    let region = run.world.largest_region();
    let here = |cell: &&mut crate::world::Cell| cell.region == region;
    for cell in run.world.cells.iter_mut().filter(here) {
        cell.demand *= 2.0;
    }
    if run.world.filled() > 0.9 {
        return None;
    }
    run.ticks(6);
    for cell in run.world.cells.iter_mut().filter(here) {
        cell.counted *= 2.0;
    }
    run.ticks(AFTER);
    Some(())
}

/// The busiest PoP comes back after 20 minutes, with a ramp of ten.
fn back(seed: u64, tolerance_ms: f32) -> Option<Event> {
    let mut run = settled(seed, 0.7, tolerance_ms);
    let back = busiest(&run)[0];
    let full = run.world.loads()[back];
    run.world.pops[back].ramp_s = 600.0;
    run.world.pops[back].usable = false;
    if run.world.filled() > 0.9 {
        return None;
    }
    run.ticks(120);
    let from = run.tick;
    run.world.pops[back].usable = true;
    run.ticks(AFTER);
    let of = |tick: usize| run.loads[from + tick][back] / full;
    assert!(of(15) < 0.4 && of(15) < of(30) && of(30) < of(60), "{seed}");
    Some(event(seed, &run, from, from))
}

/// The busiest PoP's source falls silent.
fn silence(seed: u64, tolerance_ms: f32) -> Option<Event> {
    let mut run = settled(seed, 0.8, tolerance_ms);
    let silent = busiest(&run)[0];
    run.world.pops[silent].known = false;
    let from = run.tick;
    run.ticks(AFTER);
    assert!(!run.prices[silent].known && run.prices[silent].own);
    Some(event(seed, &run, from, from))
}

/// The busiest PoP's source falls silent, and ten minutes later a crowd comes.
fn silent_crowd(seed: u64, tolerance_ms: f32) -> Option<Event> {
    let mut run = settled(seed, 0.6, tolerance_ms);
    let silent = busiest(&run)[0];
    run.world.pops[silent].known = false;
    run.ticks(60);
    let from = run.tick;
    gather(&mut run)?;
    Some(event(seed, &run, from, from + 2 * CACHED))
}

/// 30 % more demand than room.
fn flood(seed: u64, tolerance_ms: f32) -> Option<Event> {
    let run = settled(seed, 1.3, tolerance_ms);
    let from = run.tick - 120;
    let highest = run.prices.iter().map(|price| price.price_ms);
    assert!(highest.fold(0.0, f32::max) < 3000.0);
    Some(event(seed, &run, from, from))
}

/// The highest load after an event in a world of ordinary size, and what comes of it.
fn check(name: &str, tolerance_ms: f32, highest: f64) {
    let (_, scenario) = ALL.iter().find(|one| one.0 == name).unwrap();
    for seed in [1, 2, 8] {
        let Some(event) = scenario(seed, tolerance_ms) else {
            continue;
        };
        let stay = event.stay;
        assert!(
            event.peak <= highest,
            "{name}, {tolerance_ms} ms: {event:?}"
        );
        assert!(
            event.moved <= 0.05 + 1e-6,
            "{name}, {tolerance_ms} ms: {event:?}"
        );
        assert!(
            stay.mean <= 1.0 && stay.unrest <= 0.03 && stay.turns == 0,
            "{name}, {tolerance_ms} ms: {event:?}"
        );
    }
}

#[test]
fn a_death_overloads_nobody_for_long() {
    check("a PoP dies", 5.0, 1.1);
    check("a PoP dies", 1.0, 1.1);
}

#[test]
fn a_pop_that_comes_back_grows_by_its_ramp() {
    check("a return", 5.0, 1.1);
}

#[test]
fn a_crowd_is_spread() {
    check("a crowd", 5.0, 1.25);
}

#[test]
fn a_silent_pop_keeps_the_price_that_holds_it() {
    for tolerance in [5.0, 1.0] {
        check("silence", tolerance, 1.05);
    }
    check("silence, then a crowd", 5.0, 1.25);
}

#[test]
#[ignore = "prints the distribution over 20 worlds; takes minutes"]
fn events() {
    for tolerance in [5.0, 1.0] {
        println!(
            "\n{tolerance} ms | worlds | median | p90 | worst | ticks above, median | do not settle"
        );
        let only = std::env::var("MERIDIAN_BALANCE_EVENTS").unwrap_or_default();
        for (name, scenario) in ALL.iter().filter(|one| one.0.contains(&only)) {
            let all: Vec<Event> = (0..20)
                .filter_map(|seed| scenario(seed, tolerance))
                .collect();
            let highest = all.iter().max_by(|a, b| a.peak.total_cmp(&b.peak));
            let mut peaks: Vec<f64> = all.iter().map(|event| event.peak).collect();
            peaks.sort_by(f64::total_cmp);
            let mut above: Vec<usize> = all.iter().map(|event| event.above).collect();
            above.sort_unstable();
            let at = |part: f64| peaks[((peaks.len() - 1) as f64 * part).round() as usize];
            let restless = |event: &&Event| event.stay.unrest > 0.03 || event.stay.turns > 0;
            let restless: Vec<u64> = all
                .iter()
                .filter(restless)
                .map(|event| event.seed)
                .collect();
            println!(
                "{name} | {} | {:.2} | {:.2} | {:.2} (world {}) | {} | {restless:?}",
                all.len(),
                at(0.5),
                at(0.9),
                at(1.0),
                highest.map_or(0, |event| event.seed),
                above[above.len() / 2]
            );
        }
    }
}
