//! Congestion without cascades: the real `share` and the real controller in simulated worlds with
//! resolvers that keep answers for 30 to 300 s, noisy readings and miscounted demand, against the
//! optimum of the linear program. Simulated time; the same worlds each time.
//!
//! The figures of `docs/congestion.md`:
//! `cargo test --release -p meridian-dns --test balance -- --ignored --nocapture`; other worlds with
//! `MERIDIAN_BALANCE_FIRST` and `MERIDIAN_BALANCE_WORLDS`, one tolerance with
//! `MERIDIAN_BALANCE_TOLERANCE`, single events with `MERIDIAN_BALANCE_EVENTS`.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a simulation"
)]

mod optimum;
mod run;
mod scenarios;
mod world;

use meridian_dns::steer::balance::Rules;
use run::{Run, Stay};
use world::{Dice, Size, World};

/// Two hours, of which the last half hour counts.
const TICKS: usize = 720;
const LAST: usize = 180;

/// One world with its figures.
#[derive(Debug)]
struct Figures {
    stay: Stay,
    /// Most clients that moved in a tick, as a part of all.
    moved: f64,
    /// Mean latency above the optimum, as a part of it.
    gap: f64,
    gap_ms: f64,
    /// The same above what the law of sharing costs with everything known; no number: that was not found.
    lost: f64,
    price: f32,
    /// Questions to the model in a tick of the last half hour.
    asked: f64,
}

/// A world of its own for each seed: 5 to 200 PoPs, evenly on a logarithmic scale.
fn draw(seed: u64, most_pops: f64) -> World {
    let mut dice = Dice(seed);
    let pops = (5.0 * (most_pops / 5.0).powf(dice.real(0.0, 1.0))) as usize;
    let size = Size {
        pops,
        cells: 2 * pops + 60,
        filled: dice.real(0.6, 0.95),
    };
    World::new(&mut dice, size)
}

/// `None`: not even the optimum keeps everyone below the target.
fn live(seed: u64, most_pops: f64, rules: Rules) -> Option<Figures> {
    let mut world = draw(seed, most_pops);
    world.rules = rules;
    let best = optimum::optimum(&world)?;
    let shared = optimum::shared(&world, seed).unwrap_or(f64::NAN);
    let mut run = Run::new(world, seed);
    run.ticks(TICKS);
    let stay = run.last(LAST);
    let prices = run.prices.iter().map(|price| price.price_ms);
    Some(Figures {
        stay,
        moved: run.moved.iter().fold(0.0, |most, one| one.max(most)),
        gap: stay.latency / best - 1.0,
        gap_ms: stay.latency - best,
        lost: stay.latency / shared - 1.0,
        price: prices.fold(0.0, f32::max),
        asked: run.asked[TICKS - LAST..].iter().sum::<usize>() as f64 / LAST as f64,
    })
}

/// Worlds that miss a goal, by number, of the hundred of the sweep: tolerance in ms and what is missed.
/// Any change in it is a change in behaviour, and is to be told in `docs/congestion.md`.
const MISSED: [(f32, Goal, &[u64]); 2] = [
    (5.0, Goal::Latency, &[5, 21, 76]),
    (1.0, Goal::Latency, &[5, 76]),
];

/// What the simulation must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// In the mean of half an hour nobody is above the target.
    Room,
    /// Each share stays within 3 % of its mean, and never turns round by 2 %.
    Settles,
    /// No tick moves more than 5 % of all clients.
    Moves,
    /// Mean latency is within 5 % of the optimum; where the tolerance gives more than that away, of what
    /// PoPs that share cost with everything known.
    Latency,
}

impl Goal {
    const ALL: [Self; 4] = [Self::Room, Self::Settles, Self::Moves, Self::Latency];

    fn is_met(self, figures: &Figures, tolerance_ms: f32) -> bool {
        let stay = &figures.stay;
        match self {
            Self::Room => stay.mean <= 1.0,
            Self::Settles => stay.unrest <= 0.03 && stay.turns == 0,
            Self::Moves => figures.moved <= 0.05 + 1e-6,
            Self::Latency if tolerance_ms > 1.0 => figures.gap.min(figures.lost) <= 0.05,
            Self::Latency => figures.gap <= 0.05,
        }
    }
}

#[test]
fn loads_settle_below_the_target() {
    all_goals_are_met(5.0);
}

#[test]
fn loads_settle_near_the_optimum_where_little_is_given_away() {
    all_goals_are_met(1.0);
}

fn all_goals_are_met(tolerance: f32) {
    for seed in 0..4 {
        let figures = live(seed, 30.0, Rules::new(tolerance)).unwrap();
        for goal in Goal::ALL {
            assert!(
                goal.is_met(&figures, tolerance),
                "world {seed}, {tolerance} ms, {goal:?}: {:?}, moved {}, gap {}",
                figures.stay,
                figures.moved,
                figures.gap
            );
        }
    }
}

#[test]
#[ignore = "prints the distribution over 100 worlds; takes minutes"]
fn distribution() {
    let told =
        |name: &str, none: u64| std::env::var(name).map_or(none, |text| text.parse().unwrap());
    let first = told("MERIDIAN_BALANCE_FIRST", 0);
    let count = told("MERIDIAN_BALANCE_WORLDS", 100);
    let only = told("MERIDIAN_BALANCE_TOLERANCE", 0) as f32;
    let mut unexpected = false;
    for tolerance in [5.0, 1.0] {
        if only > 0.0 && (tolerance - only).abs() > 0.1 {
            continue;
        }
        let all = all_of(first..first + count, Rules::new(tolerance));
        let met = all.len();
        println!("\ntolerance {tolerance} ms: {met} of {count} worlds have an optimum");
        print(&all, "mean load / target", |f| f.stay.mean, 1.0);
        print(&all, "highest load / target", |f| f.stay.peak, 1.0);
        print(
            &all,
            "share off its mean, %",
            |f| 100.0 * f.stay.unrest,
            3.0,
        );
        print(&all, "turns", |f| f.stay.turns as f64, 0.0);
        print(&all, "moved in a tick, %", |f| 100.0 * f.moved, 5.0);
        print(&all, "above the optimum, %", |f| 100.0 * f.gap, 5.0);
        print(&all, "above the optimum, ms", |f| f.gap_ms, f64::NAN);
        print(&all, "above sharing, all known, %", |f| 100.0 * f.lost, 5.0);
        print(&all, "highest price, ms", |f| f64::from(f.price), f64::NAN);
        print(&all, "questions a tick, at last", |f| f.asked, f64::NAN);
        for goal in Goal::ALL {
            let missed = all.iter().filter(|one| !goal.is_met(&one.1, tolerance));
            let missed: Vec<u64> = missed.map(|one| one.0).collect();
            println!("{goal:?} is missed by {missed:?}");
            if (first, count) == (0, 100) {
                let known = MISSED
                    .iter()
                    .find(|one| (one.0, one.1) == (tolerance, goal));
                unexpected |= known.map_or(&[][..], |one| one.2) != missed;
            }
        }
    }
    assert!(!unexpected, "other worlds miss a goal than are known to");
}

/// Worlds that have an optimum, several at once.
fn all_of(seeds: std::ops::Range<u64>, rules: Rules) -> Vec<(u64, Figures)> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let part = |core: usize| {
        let own = seeds.clone().skip(core).step_by(cores);
        let lived = own.map(|seed| (seed, live(seed, 200.0, rules)));
        let lived = lived.inspect(|(seed, one)| println!("world {seed}: {one:?}"));
        lived.filter_map(|(at, one)| Some((at, one?))).collect()
    };
    std::thread::scope(|scope| {
        let parts = (0..cores).map(|core| scope.spawn(move || part(core)));
        let parts: Vec<_> = parts.collect();
        let mut all: Vec<_> = parts
            .into_iter()
            .flat_map(|part| -> Vec<_> { part.join().unwrap() })
            .collect();
        all.sort_by_key(|one| one.0);
        all
    })
}

fn print(all: &[(u64, Figures)], name: &str, figure: impl Fn(&Figures) -> f64, goal: f64) {
    let mut list: Vec<(f64, u64)> = all.iter().map(|(at, one)| (figure(one), *at)).collect();
    list.sort_by(|a, b| a.0.total_cmp(&b.0));
    let at = |part: f64| list[((list.len() - 1) as f64 * part).round() as usize].0;
    let missed = list.iter().filter(|(figure, _)| *figure > goal).count();
    let (median, p90, worst) = (at(0.5), at(0.9), list[list.len() - 1]);
    println!(
        "| {name} | {median:.3} | {p90:.3} | {:.3} | {missed} | (world {})",
        worst.0, worst.1
    );
}
