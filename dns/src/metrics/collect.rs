//! What Prometheus sees: the sum of all blocks, made when it asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use arc_swap::ArcSwap;
use prometheus::{
    core::{self, Desc},
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use super::{
    Dropped, Labels, Metrics,
    block::TRANSPORTS,
    tables::{BOUNDS_NS, QTYPES, RCODES},
};
use crate::{
    abuse::{Gate, Kind, cookie::State},
    snapshot::Snapshot,
    steer::Reason,
    types::ServiceId,
};

/// What the current configuration says: its labels, and the steering level of each service.
type Now = dyn Fn() -> (Arc<Labels>, Vec<u8>) + Send + Sync;

/// Sums the blocks of a [`Metrics`] at scrape.
pub struct Collector {
    metrics: Arc<Metrics>,
    gate: Arc<Gate>,
    now: Box<Now>,
    descriptions: Vec<Desc>,
}

impl Collector {
    /// Collects `metrics`, with names and levels from the current snapshot.
    ///
    /// # Errors
    /// None in practice: the names are constants.
    pub fn of_snapshots(
        metrics: Arc<Metrics>,
        snapshots: Arc<ArcSwap<Snapshot>>,
        gate: Arc<Gate>,
    ) -> Result<Self, prometheus::Error> {
        Self::new(metrics, gate, move || {
            let snapshot = snapshots.load();
            let steering = &snapshot.steering;
            let services = (0_u32..).map(ServiceId).take(steering.services().len());
            let levels = services.map(|id| snapshot.view.level(steering, id) as u8);
            (steering.labels().clone(), levels.collect())
        })
    }
}

/// Name, help and labels of everything that is collected here.
const FAMILIES: [(&str, &str, &[&str]); 9] = [
    (
        "meridian_queries_total",
        "Queries answered, by transport, question type and response code.",
        &["transport", "qtype", "rcode"],
    ),
    (
        "meridian_answers_total",
        "Steered answers, by service, PoP chosen and reason of the choice.",
        &["service", "pop", "reason"],
    ),
    (
        "meridian_query_duration_seconds",
        "Time to make an answer, from taking the query up to handing the answer out.",
        &[],
    ),
    (
        "meridian_dropped_total",
        "Datagrams, frames and connections that got no answer, by reason.",
        &["reason"],
    ),
    (
        "meridian_ecs_queries_total",
        "Queries with a client subnet (RFC 7871).",
        &[],
    ),
    (
        "meridian_cookie_queries_total",
        "Queries with a DNS cookie (RFC 7873), by what it was worth.",
        &["state"],
    ),
    (
        "meridian_rate_limited_total",
        "Replies over UDP that were over their rate, by kind and what became of them; in dry-run mode \
         what would have.",
        &["kind", "action"],
    ),
    (
        "meridian_rate_limit_table_full_ratio",
        "Share of the cells of the rate limit table that are over their rate.",
        &[],
    ),
    (
        "meridian_steering_level",
        "How well a service is steered: 0 measured, 1 geo, 2 configured order, 3 last resort.",
        &["service"],
    ),
];

impl Collector {
    /// Collects `metrics` and how full the table of `gate` is; `now` gives the current labels and the steering level of each service.
    ///
    /// # Errors
    /// None in practice: the names are constants.
    pub fn new(
        metrics: Arc<Metrics>,
        gate: Arc<Gate>,
        now: impl Fn() -> (Arc<Labels>, Vec<u8>) + Send + Sync + 'static,
    ) -> Result<Self, prometheus::Error> {
        let describe = |(name, help, labels): (&str, &str, &[&str])| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(name.into(), help.into(), labels, Default::default())
        };
        Ok(Self {
            metrics,
            gate,
            now: Box::new(now),
            descriptions: FAMILIES
                .into_iter()
                .map(describe)
                .collect::<Result<_, _>>()?,
        })
    }

    fn queries(&self) -> Vec<Metric> {
        let blocks = self.metrics.blocks();
        let mut out = Vec::new();
        for (t, transport) in TRANSPORTS.iter().enumerate() {
            for (q, qtype) in QTYPES.iter().enumerate() {
                for (r, rcode) in RCODES.iter().enumerate() {
                    let count: u64 = blocks.iter().map(|b| b.queries(t, q, r)).sum();
                    // Hundreds of series that never happen help nobody.
                    if count > 0 {
                        let labels = [
                            ("qtype", *qtype),
                            ("rcode", rcode),
                            ("transport", transport),
                        ];
                        out.push(counter(&labels, count));
                    }
                }
            }
        }
        out
    }

    fn answers(&self, labels: &Labels) -> Vec<Metric> {
        let services: BTreeSet<&str> = labels.services.iter().map(|s| &**s).collect();
        let pops: BTreeSet<&str> = labels.pops.iter().map(|p| &**p).chain([""]).collect();
        let mut sums: BTreeMap<_, [u64; Reason::ALL.len()]> = BTreeMap::new();
        for block in self.metrics.blocks() {
            block.retain(|(service, pop)| services.contains(&**service) && pops.contains(&**pop));
            for (key, counts) in block.answers() {
                let sum = sums.entry(key).or_default();
                for (sum, count) in sum.iter_mut().zip(counts.iter()) {
                    *sum += count.load(Relaxed);
                }
            }
        }
        let mut out = Vec::new();
        for ((service, pop), counts) in sums {
            for (reason, count) in Reason::ALL.iter().zip(counts) {
                if count > 0 {
                    let labels = [
                        ("pop", &*pop),
                        ("reason", reason.as_str()),
                        ("service", &*service),
                    ];
                    out.push(counter(&labels, count));
                }
            }
        }
        out
    }

    fn durations(&self) -> Vec<Metric> {
        let mut counts = vec![0_u64; BOUNDS_NS.len() + 1];
        let mut sum_ns = 0_u64;
        for block in self.metrics.blocks() {
            let (own, own_sum) = block.durations();
            counts
                .iter_mut()
                .zip(own)
                .for_each(|(sum, own)| *sum += own);
            sum_ns = sum_ns.saturating_add(own_sum);
        }
        let mut so_far = 0;
        let mut buckets = Vec::new();
        for (bound, count) in BOUNDS_NS.iter().zip(&counts) {
            so_far += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(seconds(*bound));
            bucket.set_cumulative_count(so_far);
            buckets.push(bucket);
        }
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(seconds(sum_ns));
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        vec![metric]
    }

    fn cookies(&self) -> Vec<Metric> {
        let blocks = self.metrics.blocks();
        let states = State::ALL.into_iter().filter(|s| *s != State::Absent);
        let count = |state: State| {
            let count = blocks.iter().map(|block| block.cookies(state)).sum();
            counter(&[("state", state.as_str())], count)
        };
        states.map(count).collect()
    }

    fn limited(&self) -> Vec<Metric> {
        let blocks = self.metrics.blocks();
        let mut out = Vec::new();
        for kind in Kind::ALL {
            let (mut slips, mut drops) = (0, 0);
            for [slip, drop] in blocks.iter().map(|block| block.limited(kind)) {
                slips += slip;
                drops += drop;
            }
            for (action, count) in [("slip", slips), ("drop", drops)] {
                out.push(counter(
                    &[("action", action), ("kind", kind.as_str())],
                    count,
                ));
            }
        }
        out
    }

    #[allow(clippy::disallowed_methods)] // a scrape reads the clock
    fn fullness(&self) -> Metric {
        gauge(&[], self.gate.fullness(Instant::now()))
    }

    fn dropped(&self) -> Vec<Metric> {
        let blocks = self.metrics.blocks();
        Dropped::ALL
            .into_iter()
            .map(|why| {
                let count = blocks.iter().map(|block| block.dropped(why)).sum();
                counter(&[("reason", why.as_str())], count)
            })
            .collect()
    }
}

impl core::Collector for Collector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (labels, levels) = (self.now)();
        let ecs = self.metrics.blocks().iter().map(|block| block.ecs()).sum();
        let level =
            |(service, level): (&Arc<str>, u8)| gauge(&[("service", service)], f64::from(level));
        let parts = [
            (MetricType::COUNTER, self.queries()),
            (MetricType::COUNTER, self.answers(&labels)),
            (MetricType::HISTOGRAM, self.durations()),
            (MetricType::COUNTER, self.dropped()),
            (MetricType::COUNTER, vec![counter(&[], ecs)]),
            (MetricType::COUNTER, self.cookies()),
            (MetricType::COUNTER, self.limited()),
            (MetricType::GAUGE, vec![self.fullness()]),
            (
                MetricType::GAUGE,
                labels.services.iter().zip(levels).map(level).collect(),
            ),
        ];
        FAMILIES
            .iter()
            .zip(parts)
            .filter(|(_, (_, metrics))| !metrics.is_empty())
            .map(|((name, help, _), (kind, metrics))| {
                let mut family = MetricFamily::default();
                family.set_name((*name).to_owned());
                family.set_help((*help).to_owned());
                family.set_field_type(kind);
                family.set_metric(metrics);
                family
            })
            .collect()
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

fn counter(labels: &[(&str, &str)], count: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(count as f64);
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_counter(counter);
    metric
}

fn gauge(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_gauge(gauge);
    metric
}

/// Label pairs; the caller gives them in alphabetical order, as the registry expects.
fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    labels
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect()
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meridian_config::PopId;
    use prometheus::{Registry, TextEncoder};

    use super::*;
    use crate::{
        abuse::Verdict,
        answer::{Steered, Summary, Transport},
        steer::Level,
        types::ServiceId,
    };

    fn labels(services: &[&str], pops: &[&str]) -> Arc<Labels> {
        let owned = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        Arc::new(Labels {
            services: owned(services),
            pops: owned(pops),
        })
    }

    fn summary(service: u32, pop: Option<u16>) -> Summary {
        Summary {
            rcode: 0,
            qtype: 1,
            ecs: true,
            steered: Some(Steered {
                service: ServiceId(service),
                pop: pop.map(PopId),
                reason: Reason::ALL[0],
                level: Level::Geo,
                client: [192, 0, 2, 1].into(),
            }),
            truncated: false,
            kind: Kind::Answer,
            imputed: 0,
            cookie: State::Absent,
        }
    }

    fn text(metrics: &Arc<Metrics>, labels: &Arc<Labels>) -> String {
        let registry = Registry::new();
        let labels = labels.clone();
        let now = move || (labels.clone(), vec![1; labels.services.len()]);
        let gate = Arc::new(Gate::random());
        let collector = Collector::new(metrics.clone(), gate, now).unwrap();
        registry.register(Box::new(collector)).unwrap();
        let families = registry.gather();
        TextEncoder::new().encode_to_string(&families).unwrap()
    }

    #[test]
    fn blocks_are_summed_and_named() {
        let metrics = Arc::new(Metrics::new());
        let labels = labels(&["www.example.com."], &["fra", "iad"]);
        for _ in 0..3 {
            let block = metrics.block();
            let batch = block.batch(&labels);
            batch.record(Transport::Udp, &summary(0, Some(1)));
            batch.took(Duration::from_micros(3), 1);
            batch.record(Transport::Tcp, &summary(0, None));
            batch.took(Duration::from_secs(1), 1);
            batch.count_drop(Dropped::Panic);
        }
        let mut tally = metrics.tally(&labels);
        tally.limited(Kind::NxDomain, Verdict::Slip);
        tally.limited(Kind::NxDomain, Verdict::Send);
        let known = Summary {
            cookie: State::Valid,
            ..summary(0, Some(0))
        };
        tally.record(Transport::Udp, &known);
        let text = text(&metrics, &labels);
        let reason = Reason::ALL[0].as_str();
        for line in [
            r#"meridian_queries_total{qtype="A",rcode="NOERROR",transport="udp"} 4"#.to_owned(),
            r#"meridian_queries_total{qtype="A",rcode="NOERROR",transport="tcp"} 3"#.to_owned(),
            format!(
                r#"meridian_answers_total{{pop="iad",reason="{reason}",service="www.example.com."}} 3"#
            ),
            format!(
                r#"meridian_answers_total{{pop="",reason="{reason}",service="www.example.com."}} 3"#
            ),
            r#"meridian_query_duration_seconds_bucket{le="0.000004"} 3"#.to_owned(),
            r#"meridian_query_duration_seconds_bucket{le="+Inf"} 6"#.to_owned(),
            "meridian_query_duration_seconds_count 6".to_owned(),
            r#"meridian_dropped_total{reason="panic"} 3"#.to_owned(),
            r#"meridian_rate_limited_total{action="slip",kind="nxdomain"} 1"#.to_owned(),
            r#"meridian_rate_limited_total{action="drop",kind="answer"} 0"#.to_owned(),
            r#"meridian_cookie_queries_total{state="valid"} 1"#.to_owned(),
            r#"meridian_cookie_queries_total{state="invalid"} 0"#.to_owned(),
            "meridian_rate_limit_table_full_ratio 0".to_owned(),
            r#"meridian_dropped_total{reason="bad_frame"} 0"#.to_owned(),
            "meridian_ecs_queries_total 7".to_owned(),
            r#"meridian_steering_level{service="www.example.com."} 1"#.to_owned(),
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_reload_keeps_what_stays_and_forgets_what_went() {
        let metrics = Arc::new(Metrics::new());
        let block = metrics.block();
        let before = labels(&["a.example.", "b.example."], &["fra", "iad"]);
        let batch = block.batch(&before);
        batch.record(Transport::Udp, &summary(0, Some(0)));
        batch.record(Transport::Udp, &summary(1, Some(1)));
        drop(batch);
        // `a` is gone, so `b` has a new index, and so has `iad`.
        let after = labels(&["b.example."], &["nrt", "iad", "fra"]);
        let batch = block.batch(&after);
        batch.record(Transport::Udp, &summary(0, Some(1)));
        // An index that no configuration has counts nothing and breaks nothing.
        batch.record(Transport::Udp, &summary(9, Some(9)));
        let text = text(&metrics, &after);
        let reason = Reason::ALL[0].as_str();
        let line = format!(
            r#"meridian_answers_total{{pop="iad",reason="{reason}",service="b.example."}} 2"#
        );
        assert!(text.lines().any(|l| l == line), "{text}");
        assert!(!text.contains("a.example."), "{text}");
    }

    /// Row 15 of the failure classes: names that are unescaped into metrics.
    #[test]
    fn hostile_names_stay_inside_their_label() {
        let hostile = "a\"} 1\nmeridian_queries_total 9\\.example.";
        let (metrics, labels) = (Arc::new(Metrics::new()), labels(&[hostile], &["fra"]));
        let block = metrics.block();
        block
            .batch(&labels)
            .record(Transport::Udp, &summary(0, Some(0)));
        let text = text(&metrics, &labels);
        assert!(
            !text
                .lines()
                .any(|l| l == "meridian_queries_total 9\\.example.")
        );
        let mut steered = text
            .lines()
            .filter(|l| l.starts_with("meridian_answers_total"));
        let line = steered.next().unwrap();
        let escaped = r#"service="a\"} 1\nmeridian_queries_total 9\\.example."} 1"#;
        assert!(line.ends_with(escaped), "{line}");
        assert_eq!(steered.next(), None);
    }
}
