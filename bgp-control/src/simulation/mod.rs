//! Several sites, one bad store, and thousands of bad days in simulated time.
//!
//! ```text
//! schedule (proptest) → world: sites with clocks of their own, messages that are late or lost
//!   each site: the real Controller and the real Lease     store: gaps, stale reads, late writes
//!   → after every event: does automation leave too few sites?
//! ```
//!
//! A failure prints the shortest schedule that still fails, and what happened in it by the second.

mod schedule;
mod store;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use schedule::{At, Fault, Setup, any_schedule, any_setup, fault};
use world::World;

static WITHDRAWALS: AtomicU64 = AtomicU64::new(0);
static REFUSALS: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);

fn check(setup: &Setup, schedule: &[At], strict: bool) -> Result<(), TestCaseError> {
    let mut world = World::new(setup, schedule, strict);
    let result = world.run();
    WITHDRAWALS.fetch_add(world.withdrawals, Ordering::Relaxed);
    REFUSALS.fetch_add(world.refusals, Ordering::Relaxed);
    LOST.fetch_add(world.permits_lost, Ordering::Relaxed);
    result.map_err(|broken| TestCaseError::fail(format!("{broken}\n{}", world.story())))
}

fn runner(cases: u32) -> proptest::test_runner::TestRunner {
    let config = ProptestConfig {
        cases,
        max_shrink_iters: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest::test_runner::TestRunner::new(config)
}

/// How many schedules to try: `MERIDIAN_SCHEDULES`, which `tests/run` sets to 10,000, else fewer.
fn schedules() -> u32 {
    let asked = std::env::var("MERIDIAN_SCHEDULES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(1_000)
}

fn told() -> String {
    format!(
        "{} automatic withdrawals, {} refusals, {} permits lost",
        WITHDRAWALS.load(Ordering::Relaxed),
        REFUSALS.load(Ordering::Relaxed),
        LOST.load(Ordering::Relaxed)
    )
}

/// Kills, partitions, operators' drains, restarts, drifting clocks: while automation keeps a site
/// away, at least `min_sites` others announce, but for the time in which nobody can know of a loss.
#[test]
fn row_2_random_fault_schedules_never_below_min_sites() {
    let strategy = (any_setup(), any_schedule(fault()));
    let run = runner(schedules()).run(&strategy, |(setup, schedule)| {
        check(&setup, &schedule, false)
    });
    if let Err(error) = run {
        panic!("{error}");
    }
    eprintln!("{} schedules: {}", schedules(), told());
    assert!(
        WITHDRAWALS.load(Ordering::Relaxed) > 1_000,
        "vacuous: {}",
        told()
    );
    assert!(
        REFUSALS.load(Ordering::Relaxed) > 1_000,
        "vacuous: {}",
        told()
    );
}

/// Without kills and operators nothing is lost but by automation: then there is no such time, and
/// the bound holds at every moment.
#[test]
fn row_2_without_kills_the_bound_holds_at_every_moment() {
    let faults = fault().prop_filter("by automation only", |fault| !fault.takes_a_site());
    let strategy = (any_setup(), any_schedule(faults));
    let run = runner(schedules() / 4).run(&strategy, |(setup, schedule)| {
        check(&setup, &schedule, true)
    });
    if let Err(error) = run {
        panic!("{error}");
    }
}

/// Facebook, October 2021: everything between the sites is cut, and all checks fail.
#[test]
fn row_2_all_links_cut_then_all_checks_fail_and_nothing_is_withdrawn() {
    for seed in 0..50 {
        let setup = Setup::plain(4, 1, 4, seed);
        let schedule = [At(50, Fault::CutAll), At(55, Fault::FailAll)];
        let mut world = World::new(&setup, &schedule, true);
        world
            .run()
            .unwrap_or_else(|broken| panic!("{broken}\n{}", world.story()));
        assert_eq!(world.announcing(), 4, "{}", world.story());
        assert_eq!(world.withdrawals, 0);
    }
}

/// All checks of all sites fail at once: all but `min_sites` go, the others stay, pinned.
#[test]
fn row_2_all_checks_fail_at_once_and_min_sites_stay_pinned() {
    for seed in 0..50 {
        for min_sites in 0..=3 {
            let setup = Setup::plain(5, min_sites, 5, seed);
            let mut world = World::new(&setup, &[At(50, Fault::FailAll)], true);
            world
                .run()
                .unwrap_or_else(|broken| panic!("{broken}\n{}", world.story()));
            let left = min_sites.max(1) as usize;
            assert_eq!(world.announcing(), left, "{}", world.story());
            assert_eq!(world.pinned(), left, "{}", world.story());
        }
    }
}

/// Only so many at a time, whatever else holds.
#[test]
fn row_3_no_more_than_max_concurrent_sites_are_away() {
    let setup = Setup::plain(6, 1, 2, 7);
    let mut world = World::new(&setup, &[At(50, Fault::FailAll)], true);
    world
        .run()
        .unwrap_or_else(|broken| panic!("{broken}\n{}", world.story()));
    assert_eq!(world.announcing(), 4, "{}", world.story());
}

/// Whatever happened: once everything is well again, every site announces.
#[test]
fn everything_heals() {
    let strategy = (any_setup(), any_schedule(fault()));
    let run = runner(schedules() / 25).run(&strategy, |(setup, mut schedule)| {
        let end = schedule.last().map_or(0, |at| at.0);
        schedule.push(At(end, Fault::HealEverything));
        schedule.push(At(end + 36_000, Fault::HealEverything));
        let mut world = World::new(&setup, &schedule, false);
        world.run().map_err(TestCaseError::fail)?;
        prop_assert_eq!(world.announcing(), setup.sites, "{}", world.story());
        Ok(())
    });
    if let Err(error) = run {
        panic!("{error}");
    }
}
