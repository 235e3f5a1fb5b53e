//! What Prometheus sees of the prober. Counters are atomics that the runner holds; the series are
//! put together at scrape time from the targets of that moment, so those of a removed PoP are gone
//! with it.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus::{
    core::{Collector, Desc},
    proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType},
};
use tokio::sync::watch;

use crate::{
    HealthSnapshot, Outcome, PopHealth, Verdict,
    probe::{Certificate, Certificates},
    quorum,
};

/// Counters of one endpoint, all checks together.
#[derive(Default)]
pub(crate) struct EndpointStats {
    outcomes: [AtomicU64; Outcome::LABELS.len()],
    /// Bits of an `f64`; 0 before the first probe.
    seconds: AtomicU64,
}

impl EndpointStats {
    /// Counts one probe.
    pub(crate) fn count(&self, outcome: &Outcome, took: Duration) {
        let label = outcome.label();
        let counters = Outcome::LABELS.iter().zip(&self.outcomes);
        if let Some((_, counter)) = counters.into_iter().find(|(l, _)| **l == label) {
            counter.fetch_add(1, Relaxed);
        }
        self.seconds.store(took.as_secs_f64().to_bits(), Relaxed);
    }
}

/// PoP and address, as in the labels.
type EndpointKey = (String, IpAddr);

/// Counters of every endpoint under test.
#[derive(Default)]
pub(crate) struct Stats {
    endpoints: Mutex<BTreeMap<EndpointKey, Arc<EndpointStats>>>,
    delayed: AtomicU64,
    in_flight: AtomicU64,
}

impl Stats {
    /// Keeps the counters of these endpoints and forgets all others; returns them in order.
    pub(crate) fn keep(&self, live: impl Iterator<Item = EndpointKey>) -> Vec<Arc<EndpointStats>> {
        let mut endpoints = self
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *endpoints);
        live.map(|key| {
            let known = before.get(&key).cloned().unwrap_or_default();
            endpoints.entry(key).or_insert(known).clone()
        })
        .collect()
    }

    /// Notes what the engine counts.
    pub(crate) fn note(&self, in_flight: usize, delayed: u64) {
        self.in_flight.store(in_flight as u64, Relaxed);
        self.delayed.store(delayed, Relaxed);
    }

    fn endpoints(&self) -> BTreeMap<EndpointKey, Arc<EndpointStats>> {
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Collects every series of the prober.
pub(crate) struct HealthCollector {
    stats: Arc<Stats>,
    snapshots: watch::Receiver<Arc<HealthSnapshot>>,
    certificates: Arc<Certificates>,
    families: Vec<Desc>,
}

/// Name, help, variable labels.
pub(crate) type Family = (&'static str, &'static str, &'static [&'static str]);

const PROBES: Family = (
    "meridian_probes_total",
    "Probes that ended, by outcome.",
    &["pop", "endpoint", "outcome"],
);
const DURATION: Family = (
    "meridian_probe_duration_seconds",
    "Duration of the last probe.",
    &["pop", "endpoint"],
);
const ENDPOINT_UP: Family = (
    "meridian_endpoint_up",
    "1 when the endpoint is up, 0 when it is down; absent while nothing is known.",
    &["pop", "endpoint"],
);
const CHECK_UP: Family = (
    "meridian_check_up",
    "1 when the endpoint is up under this check alone, 0 when it is down; absent while nothing is known.",
    &["pop", "endpoint", "check"],
);
const POP_UP: Family = (
    "meridian_pop_up",
    "1 when the PoP is up, 0 when it is down; absent while nothing is known.",
    &["pop"],
);
const POP_RATIO: Family = (
    "meridian_pop_health_ratio",
    "Share of the PoP's endpoints that are not down.",
    &["pop"],
);
const CERTIFICATE: Family = (
    "meridian_check_certificate_expiry_timestamp_seconds",
    "End of the certificate that the endpoint last showed, seconds since the epoch.",
    &["pop", "endpoint", "check"],
);
const DELAYED: Family = (
    "meridian_probes_delayed_total",
    "Probes that started more than 100 ms late, mostly because too many were under way.",
    &[],
);
const IN_FLIGHT: Family = ("meridian_probes_in_flight", "Probes under way.", &[]);

impl HealthCollector {
    /// A collector over these counters and snapshots.
    ///
    /// # Errors
    /// Never in practice: the names are constants.
    pub(crate) fn new(
        stats: Arc<Stats>,
        snapshots: watch::Receiver<Arc<HealthSnapshot>>,
        certificates: Arc<Certificates>,
    ) -> Result<Self, prometheus::Error> {
        let families = [
            PROBES,
            DURATION,
            ENDPOINT_UP,
            CHECK_UP,
            POP_UP,
            POP_RATIO,
            CERTIFICATE,
            DELAYED,
            IN_FLIGHT,
        ]
        .into_iter()
        .map(|(name, help, labels)| {
            let labels = labels.iter().map(ToString::to_string).collect();
            Desc::new(name.into(), help.into(), labels, Default::default())
        })
        .collect::<Result<_, _>>()?;
        Ok(Self {
            stats,
            snapshots,
            certificates,
            families,
        })
    }
}

impl HealthCollector {
    fn ends(&self) -> Vec<Metric> {
        let all = self.certificates.all();
        let end = |one: &Certificate| {
            let labels = [&*one.group.pop, &one.address.to_string(), &one.group.check];
            gauge(&labels, CERTIFICATE, float(one.ends))
        };
        all.iter().map(end).collect()
    }
}

impl Collector for HealthCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.families.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = probes(&self.stats.endpoints());
        let snapshot = self.snapshots.borrow().clone();
        families.extend(health(&snapshot));
        families.push(family(CERTIFICATE, self.ends()));
        let delayed = self.stats.delayed.load(Relaxed);
        families.push(family(DELAYED, vec![counter(&[], DELAYED, delayed)]));
        let in_flight = self.stats.in_flight.load(Relaxed);
        families.push(family(
            IN_FLIGHT,
            vec![gauge(&[], IN_FLIGHT, float(in_flight))],
        ));
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}

fn probes(endpoints: &BTreeMap<EndpointKey, Arc<EndpointStats>>) -> Vec<MetricFamily> {
    let (mut totals, mut durations) = (Vec::new(), Vec::new());
    for ((pop, address), stats) in endpoints {
        let endpoint = address.to_string();
        for (label, count) in Outcome::LABELS.iter().zip(&stats.outcomes) {
            match count.load(Relaxed) {
                0 => {}
                some => totals.push(counter(&[pop, &endpoint, label], PROBES, some)),
            }
        }
        let seconds = f64::from_bits(stats.seconds.load(Relaxed));
        if seconds > 0.0 {
            durations.push(gauge(&[pop, &endpoint], DURATION, seconds));
        }
    }
    vec![family(PROBES, totals), family(DURATION, durations)]
}

/// Where pools rest on a PoP under several checks, the worst one shows.
fn health(snapshot: &HealthSnapshot) -> Vec<MetricFamily> {
    let mut endpoints: BTreeMap<(&str, IpAddr), Verdict> = BTreeMap::new();
    let mut pops: BTreeMap<&str, (Verdict, f64)> = BTreeMap::new();
    let mut checks: BTreeMap<(&str, IpAddr, &str), Verdict> = BTreeMap::new();
    for (
        key,
        PopHealth {
            verdict,
            endpoints: list,
            ..
        },
    ) in &snapshot.groups
    {
        for endpoint in list {
            let worst = endpoints
                .entry((&key.pop, endpoint.address))
                .or_insert(Verdict::Up);
            *worst = worse(*worst, endpoint.verdict);
            if endpoint.checks.is_empty() {
                checks.insert((&key.pop, endpoint.address, &key.check), endpoint.verdict);
            }
            for one in &endpoint.checks {
                checks.insert((&key.pop, endpoint.address, &one.check), one.verdict);
            }
        }
        let (worst, ratio) = pops.entry(&key.pop).or_insert((Verdict::Up, 1.0));
        *worst = worse(*worst, *verdict);
        *ratio = ratio.min(quorum::ratio(list));
    }
    let up = |verdict| match verdict {
        Verdict::Up => Some(1.0),
        Verdict::Down => Some(0.0),
        Verdict::Unknown => None,
    };
    let of_endpoints = endpoints.iter().filter_map(|((pop, address), &verdict)| {
        Some(gauge(
            &[pop, &address.to_string()],
            ENDPOINT_UP,
            up(verdict)?,
        ))
    });
    let of_checks = checks
        .iter()
        .filter_map(|((pop, address, check), &verdict)| {
            let address = address.to_string();
            Some(gauge(&[pop, &address, check], CHECK_UP, up(verdict)?))
        });
    let of_pops = pops
        .iter()
        .filter_map(|(pop, (verdict, _))| Some(gauge(&[pop], POP_UP, up(*verdict)?)));
    let ratios = pops
        .iter()
        .map(|(pop, (_, ratio))| gauge(&[pop], POP_RATIO, *ratio));
    vec![
        family(ENDPOINT_UP, of_endpoints.collect()),
        family(CHECK_UP, of_checks.collect()),
        family(POP_UP, of_pops.collect()),
        family(POP_RATIO, ratios.collect()),
    ]
}

fn worse(one: Verdict, other: Verdict) -> Verdict {
    match (one, other) {
        (Verdict::Down, _) | (_, Verdict::Down) => Verdict::Down,
        (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
        (Verdict::Up, Verdict::Up) => Verdict::Up,
    }
}

pub(crate) fn family((name, help, _): Family, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(if name.ends_with("_total") {
        MetricType::COUNTER
    } else {
        MetricType::GAUGE
    });
    family.set_metric(metrics);
    family
}

pub(crate) fn counter(values: &[&str], family: Family, value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(float(value));
    let mut metric = labelled(values, family);
    metric.set_counter(counter);
    metric
}

pub(crate) fn gauge(values: &[&str], family: Family, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = labelled(values, family);
    metric.set_gauge(gauge);
    metric
}

fn labelled(values: &[&str], (_, _, names): Family) -> Metric {
    let pairs = names.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).into());
        pair.set_value((*value).into());
        pair
    });
    Metric::from_label(pairs.collect())
}

#[allow(clippy::cast_precision_loss)] // counters below 2^53
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use prometheus::{Registry, TextEncoder};

    use super::*;
    use crate::{EndpointHealth, GroupKey, Reason, testing::endpoint};

    fn pop(verdict: Verdict, endpoints: Vec<EndpointHealth>) -> PopHealth {
        PopHealth {
            verdict,
            reason: String::new(),
            since: None,
            flips_in: None,
            took: None,
            endpoints,
        }
    }

    fn key(pop: &str, check: &str) -> GroupKey {
        GroupKey {
            pop: pop.into(),
            check: check.into(),
        }
    }

    fn text(registry: &Registry) -> Vec<String> {
        let text = TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(Into::into)
            .collect()
    }

    #[test]
    fn series_follow_the_targets_and_the_worst_check_shows() {
        let stats = Arc::new(Stats::default());
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let keys = [("fra".into(), address(1)), ("iad".into(), address(9))];
        let held = stats.keep(keys.clone().into_iter());
        held[0].count(
            &Outcome::Pass {
                rtt: Duration::ZERO,
            },
            Duration::from_millis(250),
        );
        let refused = Outcome::Fail {
            reason: Reason::Refused,
        };
        held[0].count(&refused, Duration::from_millis(250));
        held[1].count(&refused, Duration::from_millis(500));

        use Verdict::{Down, Unknown, Up};
        let groups = [
            (
                key("fra", "a"),
                pop(Up, vec![endpoint(1, Up), endpoint(2, Down)]),
            ),
            (
                key("fra", "b"),
                pop(Unknown, vec![endpoint(1, Up), endpoint(2, Unknown)]),
            ),
            (key("iad", "a"), pop(Down, vec![endpoint(9, Down)])),
        ];
        let snapshot = HealthSnapshot {
            generation: 1,
            groups: groups.into(),
            ..HealthSnapshot::default()
        };
        let (_sender, receiver) = watch::channel(Arc::new(snapshot));
        let registry = Registry::new();
        let collector = HealthCollector::new(stats.clone(), receiver, Arc::default()).unwrap();
        registry.register(Box::new(collector)).unwrap();
        assert_eq!(
            text(&registry),
            [
                "meridian_check_up{pop=\"fra\",endpoint=\"192.0.2.1\",check=\"a\"} 1",
                "meridian_check_up{pop=\"fra\",endpoint=\"192.0.2.1\",check=\"b\"} 1",
                "meridian_check_up{pop=\"fra\",endpoint=\"192.0.2.2\",check=\"a\"} 0",
                "meridian_check_up{pop=\"iad\",endpoint=\"192.0.2.9\",check=\"a\"} 0",
                "meridian_endpoint_up{pop=\"fra\",endpoint=\"192.0.2.1\"} 1",
                "meridian_endpoint_up{pop=\"fra\",endpoint=\"192.0.2.2\"} 0",
                "meridian_endpoint_up{pop=\"iad\",endpoint=\"192.0.2.9\"} 0",
                "meridian_pop_health_ratio{pop=\"fra\"} 0.5",
                "meridian_pop_health_ratio{pop=\"iad\"} 0",
                "meridian_pop_up{pop=\"iad\"} 0",
                "meridian_probe_duration_seconds{pop=\"fra\",endpoint=\"192.0.2.1\"} 0.25",
                "meridian_probe_duration_seconds{pop=\"iad\",endpoint=\"192.0.2.9\"} 0.5",
                "meridian_probes_delayed_total 0",
                "meridian_probes_in_flight 0",
                "meridian_probes_total{pop=\"fra\",endpoint=\"192.0.2.1\",outcome=\"pass\"} 1",
                "meridian_probes_total{pop=\"fra\",endpoint=\"192.0.2.1\",outcome=\"refused\"} 1",
                "meridian_probes_total{pop=\"iad\",endpoint=\"192.0.2.9\",outcome=\"refused\"} 1",
            ]
        );

        let again = stats.keep(keys.into_iter().take(1));
        assert!(Arc::ptr_eq(&again[0], &held[0]));
        let left = text(&registry);
        assert!(
            !left
                .iter()
                .any(|line| line.starts_with("meridian_probes_total") && line.contains("iad"))
        );
    }
}
