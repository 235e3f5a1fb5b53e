//! How property tests run here: anew with every run, and again from what a failure prints.

use std::hash::{BuildHasher, RandomState};

use proptest::test_runner::{Config, RngSeed};

/// Unless `PROPTEST_RNG_SEED` or `MERIDIAN_STEER_CASES` say otherwise: a random seed, which is shown
/// where a test fails, and this many cases.
pub(in crate::steer) fn seeded(cases: u32) -> Config {
    let given = std::env::var("MERIDIAN_STEER_CASES").ok();
    let mut config = Config {
        cases: given.and_then(|text| text.parse().ok()).unwrap_or(cases),
        failure_persistence: None,
        max_shrink_iters: 4096,
        ..Config::default()
    };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(RandomState::new().hash_one(cases));
    }
    eprintln!(
        "to run it again: PROPTEST_RNG_SEED={} MERIDIAN_STEER_CASES={}",
        config.rng_seed, config.cases
    );
    config
}
