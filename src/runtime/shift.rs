//! How long clients take to leave a PoP that has died: at worst, and when it happened.
//!
//! ```text
//! death ─ detection ─ verdict ─ published ─────────── the last cached answer ends
//!         └ bound of the pool's checks      └ ttl
//! ```

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use meridian_config::{Config, Service};
use meridian_health_prober::{GroupKey, HealthSnapshot, Verdict, pool_detection_bound};

use super::describe;

/// A verdict is published this much later at most (`docs/health.md`), building aside.
const PUBLISHED_WITHIN: Duration = Duration::from_millis(20);
/// A verdict that is older did not cause what happens now.
const FRESH: Duration = Duration::from_secs(60);

/// What one failover took for one service.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shift {
    /// Owner name with the final dot.
    pub(super) service: String,
    /// From the first failed probe to answers without the PoP.
    pub(super) published: Duration,
    /// How long what was given out before may be kept after that.
    pub(super) cached: Duration,
}

/// Longest time from the death of a PoP until the last cached answer with it ends; `None`: nothing
/// tests the service's pool.
pub(super) fn bound(config: &Config, service: &Service) -> Option<Duration> {
    let detected = pool_detection_bound(config, config.pool(service.pool))?;
    Some(detected + PUBLISHED_WITHIN + ttl(service))
}

/// What the failover away from a PoP that is told now took, for each service whose pool found it
/// down by probes: `fallen` are the groups that went down with it.
pub(super) fn measured(
    config: &Config,
    health: &HealthSnapshot,
    pop: &str,
    fallen: &BTreeSet<GroupKey>,
    now: Timestamp,
) -> Vec<Shift> {
    if !fallen.iter().any(|key| key.pop == pop) {
        return Vec::new();
    }
    let services = config.zones.iter().flat_map(|zone| &zone.services);
    let shift = |service: &Service| {
        Some(Shift {
            service: service.name.to_string(),
            published: published(config, health, service, (pop, fallen), now)?,
            cached: ttl(service),
        })
    };
    services.filter_map(shift).collect()
}

fn published(
    config: &Config,
    health: &HealthSnapshot,
    service: &Service,
    (pop, fallen): (&str, &BTreeSet<GroupKey>),
    now: Timestamp,
) -> Option<Duration> {
    let pool = config.pool(service.pool);
    if !pool.pops.iter().any(|id| config.pop(*id).name == pop) {
        return None;
    }
    let key = GroupKey {
        pop: pop.to_owned(),
        check: config.check_name(pool.check.as_ref()?),
    };
    if !fallen.contains(&key) {
        return None;
    }
    let group = health.groups.get(&key)?;
    let took = group.took.filter(|_| group.verdict == Verdict::Down)?;
    let since = describe::timestamp(group.since?)?;
    // A clock that was set back says nothing of the time that has gone.
    let gone = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    (gone < FRESH).then_some(took + gone)
}

fn ttl(service: &Service) -> Duration {
    Duration::from_secs(service.steering.ttl.0.into())
}

/// Part of a sentence: how long after the first failed probe, and how long caches hold on.
pub(super) fn in_words(shifts: &[Shift]) -> Option<String> {
    let published = shifts.iter().map(|shift| shift.published).max()?;
    let cached = shifts.iter().map(|shift| shift.cached).max()?;
    Some(format!(
        "{:.1} s after the first failed probe; caches hold on for up to {} s",
        published.as_secs_f64(),
        cached.as_secs()
    ))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::SystemTime};

    use meridian_config::parse;
    use meridian_health_prober::PopHealth;

    use super::*;

    fn config() -> Config {
        let text = "[check.edge]\ntype = \"tcp\"\nport = 1\n\
            [[pop]]\nname = \"fra\"\nlatitude = 0\nlongitude = 0\nendpoints = [\"192.0.2.1\"]\n\
            [[pool]]\nname = \"edge\"\ncheck = \"edge\"\npops = [\"fra\"]\n\
            [[pool]]\nname = \"blind\"\npops = [\"fra\"]\n\
            [[zone]]\nname = \"example.com\"\nfile = \"z\"\n\
            [[zone.service]]\nname = \"www\"\npool = \"edge\"\nttl = \"20s\"\n\
            [[zone.service]]\nname = \"x\"\npool = \"blind\"\n";
        parse(text, Path::new("m.toml")).unwrap()
    }

    #[test]
    fn the_worst_case_is_detection_and_ttl() {
        let config = config();
        let bounds = config.zones[0].services.iter().map(|s| bound(&config, s));
        let www = Duration::from_millis(9_020 + 20_000);
        assert!(bounds.eq([Some(www), None]));
    }

    #[test]
    fn a_failover_is_measured_from_the_first_failed_probe() {
        let config = config();
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let at = |ms: u64| Timestamp::try_from(since + Duration::from_millis(ms)).unwrap();
        let key = || GroupKey {
            pop: "fra".into(),
            check: "edge".into(),
        };
        let health = |verdict, took: Option<u64>| {
            let pop = PopHealth {
                verdict,
                reason: String::new(),
                since: Some(since),
                flips_in: None,
                took: took.map(Duration::from_millis),
                endpoints: Vec::new(),
            };
            HealthSnapshot {
                groups: [(key(), pop)].into(),
                ..HealthSnapshot::default()
            }
        };
        let down = health(Verdict::Down, Some(2_000));
        let fallen = BTreeSet::from([key()]);
        let shifts = measured(&config, &down, "fra", &fallen, at(100));
        let expect = Shift {
            service: "www.example.com.".into(),
            published: Duration::from_millis(2_100),
            cached: Duration::from_secs(20),
        };
        assert_eq!(shifts, [expect]);
        let words = "2.1 s after the first failed probe; caches hold on for up to 20 s";
        assert_eq!(in_words(&shifts).as_deref(), Some(words));
        // Drained while it is up, down for long, or down by a reload: nothing was measured.
        for (health, pop, ms) in [
            (health(Verdict::Up, Some(2_000)), "fra", 0),
            (down.clone(), "fra", 61_000),
            (health(Verdict::Down, None), "fra", 0),
            (down.clone(), "iad", 0),
        ] {
            assert_eq!(measured(&config, &health, pop, &fallen, at(ms)), []);
        }
        // Down before what is told now.
        assert_eq!(measured(&config, &down, "fra", &BTreeSet::new(), at(0)), []);
        assert_eq!(in_words(&[]), None);
    }
}
