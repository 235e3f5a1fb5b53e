//! What happens when something happens: deaths, crowds, returns, silence, too much of everything.

use meridian_dns::steer::balance::Rules;

use crate::{
    run::Run,
    world::{Dice, Size, World},
};

/// Ticks in which every resolver has asked anew.
const CACHED: usize = 31;

/// A settled world of 24 PoPs.
fn settled(filled: f64, tolerance_ms: f32) -> Run {
    let mut dice = Dice(2026);
    let size = Size {
        pops: 24,
        cells: 110,
        filled,
    };
    let mut world = World::new(&mut dice, size);
    world.rules = Rules::new(tolerance_ms);
    let mut run = Run::new(world, 7);
    run.ticks(480);
    run
}

/// Highest load ÷ target since tick `from`, over usable PoPs.
fn peak(run: &Run, from: usize) -> f64 {
    let usable = |at: usize| run.world.pops[at].usable;
    let loads = run.loads[from..].iter().flat_map(|tick| {
        let both = tick.iter().enumerate();
        both.filter(|(at, _)| usable(*at)).map(|(_, load)| *load)
    });
    loads.fold(0.0, f64::max) / run.world.target
}

/// PoPs by the demand that they carry, most first.
fn busiest(run: &Run) -> Vec<usize> {
    let loads = run.world.loads();
    let demand = |at: &usize| loads[*at] * run.world.pops[*at].capacity;
    let mut all: Vec<usize> = (0..loads.len()).collect();
    all.sort_by(|a, b| demand(b).total_cmp(&demand(a)));
    all
}

/// The first tick from which on nobody is above the target any more.
fn calm_after(run: &Run, from: usize) -> usize {
    (from..run.tick)
        .rev()
        .find(|tick| {
            let tick = &run.loads[*tick];
            let both = tick.iter().zip(&run.world.pops);
            both.filter(|(_, pop)| pop.usable)
                .any(|(load, _)| *load > run.world.target)
        })
        .map_or(0, |last| last + 1 - from)
}

#[test]
fn a_death_overloads_nobody() {
    for tolerance in [5.0, 1.0] {
        let mut run = settled(0.7, tolerance);
        let from = run.tick;
        let dead = busiest(&run)[0];
        run.world.pops[dead].usable = false;
        run.ticks(360);
        let stay = run.last(120);
        println!(
            "death, {tolerance} ms: peak {:.3}, then {stay:?}",
            peak(&run, from)
        );
        assert!(peak(&run, from) <= 1.02, "{}", peak(&run, from));
        assert!(
            stay.peak <= 1.0 && stay.unrest < 0.03 && stay.turns == 0,
            "{stay:?}"
        );
        let late = run.moved[from + 1..]
            .iter()
            .fold(0.0_f64, |most, one| most.max(*one));
        assert!(late <= 0.05, "{late} moved after the tick of the death");
    }
}

#[test]
fn three_deaths_at_once_overload_nobody() {
    for tolerance in [5.0, 1.0] {
        let mut run = settled(0.6, tolerance);
        let from = run.tick;
        let first = busiest(&run)[0];
        for at in run.world.neighbours(first, 3) {
            run.world.pops[at].usable = false;
        }
        run.ticks(360);
        let stay = run.last(120);
        println!(
            "3 deaths, {tolerance} ms: peak {:.3}, then {stay:?}",
            peak(&run, from)
        );
        assert!(peak(&run, from) <= 1.05, "{}", peak(&run, from));
        assert!(
            stay.peak <= 1.0 && stay.unrest < 0.03 && stay.turns == 0,
            "{stay:?}"
        );
    }
}

#[test]
fn a_crowd_in_one_region_spreads() {
    for tolerance in [5.0, 1.0] {
        let mut run = settled(0.6, tolerance);
        let (from, region) = (run.tick, run.world.largest_region());
        for cell in run
            .world
            .cells
            .iter_mut()
            .filter(|cell| cell.region == region)
        {
            cell.demand *= 2.0;
        }
        // The counters of queries follow a minute later.
        run.ticks(6);
        for cell in run
            .world
            .cells
            .iter_mut()
            .filter(|cell| cell.region == region)
        {
            cell.counted *= 2.0;
        }
        run.ticks(360);
        let stay = run.last(120);
        println!(
            "crowd, {tolerance} ms: {:.2} filled, peak {:.3}, {} ticks above, then {stay:?}",
            run.world.filled(),
            peak(&run, from),
            calm_after(&run, from),
        );
        assert!(
            stay.peak <= 1.0 && stay.unrest < 0.03 && stay.turns <= 1,
            "{stay:?}"
        );
        let most = run.moved[from..]
            .iter()
            .fold(0.0_f64, |most, one| most.max(*one));
        assert!(most <= 0.05, "{most} moved in a tick");
    }
}

#[test]
fn a_pop_that_comes_back_grows_by_its_ramp() {
    for tolerance in [5.0, 1.0] {
        let mut run = settled(0.7, tolerance);
        let back = busiest(&run)[0];
        let full = run.world.loads()[back];
        run.world.pops[back].ramp_s = 600.0;
        run.world.pops[back].usable = false;
        run.ticks(120);
        let from = run.tick;
        run.world.pops[back].usable = true;
        run.ticks(240);
        let of = |tick: usize| run.loads[from + tick][back];
        println!(
            "return, {tolerance} ms: {:.3} {:.3} {:.3} {:.3} of {full:.3}, peak {:.3}, most moved {:.3}",
            of(15),
            of(30),
            of(60),
            of(239),
            peak(&run, from),
            run.moved[from..]
                .iter()
                .fold(0.0_f64, |most, one| most.max(*one)),
        );
        assert!(of(15) < 0.4 * full && of(15) < of(30) && of(30) < of(60));
        assert!((of(239) / full - 1.0).abs() < 0.15, "{} of {full}", of(239));
        assert!(peak(&run, from) <= 1.1, "{}", peak(&run, from));
    }
}

#[test]
fn a_silent_source_neither_draws_nor_repels() {
    for tolerance in [5.0, 1.0] {
        let mut run = settled(0.8, tolerance);
        let silent = busiest(&run)[0];
        let before = run.world.loads()[silent];
        run.world.pops[silent].known = false;
        let from = run.tick;
        run.ticks(240);
        let after = run.world.loads()[silent];
        let known = run.prices.iter().filter(|price| price.known);
        let mean = known.clone().map(|price| price.price_ms).sum::<f32>() / known.count() as f32;
        println!("silent, {tolerance} ms: {before:.3} then {after:.3}, mean price {mean:.1}");
        assert!(!run.prices[silent].known);
        assert!((run.prices[silent].price_ms - mean).abs() < 0.01);
        let others = run.loads[from + CACHED..].iter().flat_map(|tick| {
            let both = tick.iter().enumerate();
            both.filter(|(at, _)| *at != silent).map(|(_, load)| *load)
        });
        assert!(others.fold(0.0, f64::max) / run.world.target <= 1.02);
    }
}

#[test]
fn more_demand_than_room_is_shared_alike() {
    for tolerance in [5.0, 1.0] {
        let run = settled(1.3, tolerance);
        let stay = run.last(120);
        let loads = run.world.loads();
        let least = loads
            .iter()
            .fold(f64::INFINITY, |least, one| one.min(least));
        let most = run
            .prices
            .iter()
            .map(|price| price.price_ms)
            .fold(0.0, f32::max);
        println!(
            "overload 1.3, {tolerance} ms: {:.3} to {:.3} of the target, price {most:.0}, {stay:?}",
            least / run.world.target,
            stay.peak,
        );
        assert!(stay.peak <= 1.3 * 1.05 && stay.unrest < 0.03, "{stay:?}");
        assert!(most < 3000.0);
    }
}
