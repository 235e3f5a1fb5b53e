//! How long it takes at most until a pool's PoP that has died is Down.

use std::{sync::Arc, time::Duration};

use meridian_config::{Check, CheckKind, CheckRule, Config, Pool, PoolCheck};

use crate::{detection_bound, load::KNOWN, target::paced};

/// Longest time from the death of an endpoint of any PoP of the pool until its verdict is Down, however
/// it dies; `None`: nothing tests it. With several checks it is that of the slowest: with `any` all must
/// have failed, and with `all` it may be the only one that notices.
pub fn pool_detection_bound(config: &Config, pool: &Pool) -> Option<Duration> {
    let PoolCheck { rule, checks } = pool.check.as_ref()?;
    let checks = || checks.iter().map(|id| config.check(*id));
    let active = checks().any(|check| !matches!(check.kind, CheckKind::Passive(_)));
    let waits = *rule == CheckRule::Any && active;
    let of_pops = |check: Arc<Check>| {
        let pops = pool.pops.iter();
        pops.map(move |pop| of(&paced(&check, config.pop(*pop)), waits))
    };
    checks().cloned().map(Arc::new).flat_map(of_pops).max()
}

/// A passive check is read at the interval of the load source, whatever it says. What dies between two
/// readings may still pass at the first of them, by the requests before. The exporter may die with the
/// endpoint: with `any`, the check stops speaking for it once it is silent (`waits`).
fn of(check: &Check, waits: bool) -> Duration {
    let readings = |count: u32| check.interval.saturating_mul(count.saturating_add(1));
    match check.kind {
        CheckKind::Passive(_) if waits => {
            readings(check.fall.max(KNOWN)).saturating_add(check.timeout)
        }
        CheckKind::Passive(_) => readings(check.fall).saturating_add(check.timeout),
        _ => detection_bound(check),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_slowest_check_counts() {
        let mut config = testing::pools(&[
            "\"ping\"",
            "{ all = [\"page\", \"ping\"] }",
            "{ any = [\"page\", \"ping\"] }",
        ]);
        config.checks[0].interval = Duration::from_secs(10);
        let bound = |pool: usize| pool_detection_bound(&config, &config.pools[pool]);
        let times = [9, 16, 16].map(|seconds| Some(Duration::from_secs(seconds)));
        assert_eq!([bound(0), bound(1), bound(2)], times);
        config.pools[0].check = None;
        assert_eq!(pool_detection_bound(&config, &config.pools[0]), None);
    }

    #[test]
    fn a_passive_check_needs_a_reading_more_than_it_has_to_fail() {
        let config = testing::read(
            "[check.errors]\ntype = \"passive\"\nfall = 3\n\
             errors = { metric = \"errors\" }\nrequests = { metric = \"requests\" }\n\
             [[pop]]\nname = \"fra\"\nlatitude = 0\nlongitude = 0\nendpoints = [\"127.0.0.1\"]\n\
             load = { prometheus = \"http://127.0.0.1:9/\", metric = \"active\", interval = \"10s\", timeout = \"2s\" }\n\
             [[pool]]\nname = \"edge\"\ncheck = \"errors\"\npops = [\"fra\"]\n",
        );
        let bound = pool_detection_bound(&config, &config.pools[0]);
        assert_eq!(bound, Some(Duration::from_secs(4 * 10 + 2)));
    }
}
