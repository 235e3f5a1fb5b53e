//! Congestion without cascades: the real `share` and the real controller in simulated worlds with
//! resolvers that keep answers for 30 to 300 s, noisy readings and miscounted demand, against the
//! optimum of the linear program. Simulated time; the same worlds each time.
//!
//! The figures of `docs/congestion.md`:
//! `cargo test --release -p meridian-dns --test balance -- --ignored --nocapture`
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
struct Figures {
    stay: Stay,
    /// Most clients that moved in a tick, as a part of all.
    moved: f64,
    /// Mean latency above the optimum, as a part of it.
    gap: f64,
    gap_ms: f64,
    price: f32,
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
    let mut run = Run::new(world, seed);
    run.ticks(TICKS);
    let stay = run.last(LAST);
    let prices = run.prices.iter().map(|price| price.price_ms);
    Some(Figures {
        stay,
        moved: run.moved.iter().fold(0.0, |most, one| one.max(most)),
        gap: stay.latency / best - 1.0,
        gap_ms: stay.latency - best,
        price: prices.fold(0.0, f32::max),
    })
}

#[test]
fn loads_settle_below_the_target_near_the_optimum() {
    for (tolerance, allowed) in [(5.0, 0.5), (1.0, 0.25)] {
        for seed in 0..4 {
            let figures = live(seed, 30.0, Rules::new(tolerance)).unwrap();
            let stay = figures.stay;
            let told = format!(
                "world {seed}, {tolerance} ms: {stay:?}, gap {:.3}",
                figures.gap
            );
            assert!(stay.mean < 1.0, "{told}");
            assert!(stay.unrest < 0.1, "{told}");
            assert!(stay.turns <= 1, "{told}");
            assert!(figures.moved <= 0.05, "moved {}: {told}", figures.moved);
            assert!(figures.gap < allowed, "{told}");
        }
    }
}

#[test]
#[ignore = "prints the distribution over 100 worlds; takes minutes"]
fn distribution() {
    let loose = |tolerance_ms| Rules {
        tolerance_ms,
        margin_ratio: 0.0,
        margin_ms: 0.0,
    };
    let columns = [
        ("tolerance 5 ms", Rules::new(5.0)),
        ("tolerance 1 ms", Rules::new(1.0)),
        ("tolerance 0 ms", Rules::new(0.0)),
        ("1 ms, no hysteresis", loose(1.0)),
    ];
    let count = std::env::var("MERIDIAN_BALANCE_WORLDS").map_or(100, |text| text.parse().unwrap());
    for (name, rules) in columns {
        let all = (0..count).map(|seed| (seed, live(seed, 200.0, rules)));
        let all: Vec<(u64, Figures)> = all.filter_map(|(at, one)| Some((at, one?))).collect();
        println!("\n{name}: {} of {count} worlds have an optimum", all.len());
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
        print(&all, "highest price, ms", |f| f64::from(f.price), f64::NAN);
    }
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
