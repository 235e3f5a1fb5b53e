//! Metrics of measured latency.

use std::{collections::BTreeMap, sync::Arc};

use meridian_geo_data::{
    CellId,
    latency::{Latency, Matrix, Refused},
};
use prometheus::{
    Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
    proto::Metric,
};

use super::intake::Source;

/// Handles of the metrics.
#[derive(Clone, Debug)]
pub(super) struct MeasureMetrics {
    samples: IntCounterVec,
    newest: GaugeVec,
    rows: IntGaugeVec,
    evicted: IntGauge,
    octets: IntGaugeVec,
    exceptions: IntGauge,
    publish_seconds: Gauge,
    line: GaugeVec,
    pops: GaugeVec,
    logs: IntGaugeVec,
    kept: Gauge,
}

impl MeasureMetrics {
    /// Creates and registers all of them.
    ///
    /// # Errors
    /// When a name is registered already.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let make = Make(registry);
        let metrics = Self {
            samples: make.counters(
                "meridian_latency_samples_total",
                "Round trips told, by where they come from and what became of them",
                &["source", "outcome"],
            )?,
            newest: make.gauges(
                "meridian_latency_newest_sample_timestamp_seconds",
                "When a source last brought a round trip that was taken, seconds since the epoch",
                "source",
            )?,
            rows: make.counts(
                "meridian_latency_rows",
                "Pairs of a client prefix, or of a cell, and a PoP with measured round trips",
                "kind",
            )?,
            evicted: make.count(
                "meridian_latency_rows_evicted",
                "Rows of prefixes that had to go for newer ones since the start",
            )?,
            octets: make.counts(
                "meridian_latency_bytes",
                "Memory of what is kept (rows) and of what steering reads (published)",
                "part",
            )?,
            exceptions: make.count(
                "meridian_latency_exceptional_prefixes",
                "Client prefixes that are judged by themselves because they are unlike their cell",
            )?,
            publish_seconds: make.gauge(
                "meridian_latency_publish_seconds",
                "Time that the newest evaluation of all rows took",
            )?,
            line: make.gauges(
                "meridian_latency_estimate_seconds",
                "The estimate where nothing was measured: at no distance (intercept), and for each 100 km",
                "part",
            )?,
            pops: make.gauges(
                "meridian_pop_latency_seconds",
                "25th percentile of round trips to a PoP, mean over cells by number of measurements",
                "pop",
            )?,
            logs: make.counts(
                "meridian_latency_log_up",
                "1 while a log that is followed can be read",
                "file",
            )?,
            kept: make.gauge(
                "meridian_latency_kept_timestamp_seconds",
                "When measured latency was last written to the state directory, seconds since the epoch",
            )?,
        };
        metrics.begin_at_zero();
        Ok(metrics)
    }

    /// Every outcome is there before it first occurs.
    fn begin_at_zero(&self) {
        for source in Source::ALL {
            let refused = Refused::ALL.iter().map(|one| one.as_str());
            for outcome in ["taken", "rate", "busy"].into_iter().chain(refused) {
                self.count(source, outcome, 0);
            }
        }
    }

    /// Counts round trips of a source with one outcome.
    pub(super) fn count(&self, source: Source, outcome: &str, count: usize) {
        self.samples
            .with_label_values(&[source.as_str(), outcome])
            .inc_by(count as u64);
    }

    /// A source has brought one that was taken, `now_s` seconds since the epoch.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn heard(&self, source: Source, now_s: u64) {
        let newest = self.newest.with_label_values(&[source.as_str()]);
        newest.set(now_s as f64);
    }

    /// What is kept and what was published of it, which took `seconds`.
    pub(super) fn published(
        &self,
        matrix: &Matrix,
        latency: &Arc<Latency>,
        cells: usize,
        seconds: f64,
    ) {
        let set = |gauges: &IntGaugeVec, label: &str, value: usize| {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            gauges.with_label_values(&[label]).set(value);
        };
        let (prefixes, of_cells) = matrix.rows();
        set(&self.rows, "prefix", prefixes);
        set(&self.rows, "cell", of_cells);
        set(&self.octets, "rows", matrix.octets());
        set(&self.octets, "published", latency.octets());
        self.evicted
            .set(i64::try_from(matrix.evicted()).unwrap_or(i64::MAX));
        let exceptions = latency.exceptions().len();
        self.exceptions
            .set(i64::try_from(exceptions).unwrap_or(i64::MAX));
        self.publish_seconds.set(seconds);
        let line = latency.line();
        let part = |name: &str, ms: f32| {
            let gauge = self.line.with_label_values(&[name]);
            gauge.set(f64::from(ms) / 1000.0);
        };
        part("intercept", line.intercept_ms);
        part("per_100km", line.ms_per_100km);
        let means = means(latency, cells).into_iter();
        let seconds: BTreeMap<String, f64> = means
            .map(|(name, ms)| (name.to_string(), ms / 1000.0))
            .collect();
        replace(&self.pops, &seconds);
    }

    /// Whether a log can be read; `None`: it is not followed any more.
    pub(super) fn log(&self, file: &str, up: Option<bool>) {
        match up {
            Some(up) => self.logs.with_label_values(&[file]).set(i64::from(up)),
            None => drop(self.logs.remove_label_values(&[file])),
        }
    }

    /// It was written, `now_s` seconds since the epoch.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn kept(&self, now_s: u64) {
        self.kept.set(now_s as f64);
    }

    #[cfg(test)]
    pub(super) fn counted(&self, source: Source, outcome: &str) -> u64 {
        let labels = [source.as_str(), outcome];
        self.samples.with_label_values(&labels).get()
    }
}

/// Sets these, and only then takes away the others: a scrape in between must not find them all gone.
fn replace(gauges: &GaugeVec, values: &BTreeMap<String, f64>) {
    for (name, value) in values {
        gauges.with_label_values(&[name]).set(*value);
    }
    for family in gauges.collect() {
        let labels = family.get_metric().iter().flat_map(Metric::get_label);
        for gone in labels.filter(|label| !values.contains_key(label.value())) {
            let _ = gauges.remove_label_values(&[gone.value()]);
        }
    }
}

/// Makes metrics, each registered.
struct Make<'a>(&'a Registry);

impl Make<'_> {
    fn register<M: Collector + Clone + 'static>(
        &self,
        metric: Result<M, prometheus::Error>,
    ) -> Result<M, prometheus::Error> {
        let metric = metric?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, label: &str) -> Result<GaugeVec, prometheus::Error> {
        self.register(GaugeVec::new(Opts::new(name, help), &[label]))
    }

    fn counts(
        &self,
        name: &str,
        help: &str,
        label: &str,
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.register(IntGaugeVec::new(Opts::new(name, help), &[label]))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        self.register(Gauge::new(name, help))
    }

    fn count(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.register(IntGauge::new(name, help))
    }
}

/// The mean of the 25th percentiles of a column, over cells, by number of measurements.
fn means(latency: &Latency, cells: usize) -> Vec<(Arc<str>, f64)> {
    let mut sums = vec![(0.0, 0.0); latency.columns().len()];
    for cell in 0..u32::try_from(cells).unwrap_or(u32::MAX) {
        for one in latency.of_cell(CellId(cell)) {
            if let Some((sum, count)) = sums.get_mut(usize::from(one.column)) {
                let samples = f64::from(one.samples);
                *sum += samples * f64::from(one.p25_ms);
                *count += samples;
            }
        }
    }
    let columns = latency.columns().iter().cloned().zip(sums);
    columns
        .filter(|(_, (_, count))| *count > 0.0)
        .map(|(name, (sum, count))| (name, sum / count))
        .collect()
}

#[cfg(test)]
mod tests {
    use meridian_geo_data::latency::{Basis, Measured, Parts};

    use super::*;

    #[test]
    fn cells_with_more_measurements_weigh_more() {
        let of = |column, p25_ms, samples| Measured {
            column,
            basis: Basis::Cell,
            p25_ms,
            ms: 0.0,
            samples,
            age_s: 0,
        };
        let latency = Latency::new(Parts {
            columns: ["fra".into(), "iad".into(), "nrt".into()].into(),
            cells: vec![
                (CellId(1), of(0, 10.0, 30)),
                (CellId(4), of(0, 50.0, 10)),
                (CellId(4), of(2, 7.0, 1)),
            ],
            ..Parts::default()
        });
        let means: Vec<_> = means(&latency, 5);
        assert_eq!(means, [("fra".into(), 20.0), ("nrt".into(), 7.0)]);
    }

    #[test]
    fn gauges_of_what_is_gone_go() {
        let gauges = GaugeVec::new(Opts::new("a", "b"), &["pop"]).unwrap();
        let shown = |values: &[(&str, f64)]| {
            let of = |(name, value): &(&str, f64)| ((*name).to_owned(), *value);
            replace(&gauges, &values.iter().map(of).collect());
            let all = gauges.collect();
            let all = all.iter().flat_map(|family| family.get_metric());
            let one = |metric: &Metric| {
                let name = metric.get_label()[0].value().to_owned();
                (name, metric.get_gauge().get_value())
            };
            all.map(one).collect::<BTreeMap<_, _>>()
        };
        let both = shown(&[("fra", 1.0), ("iad", 2.0)]);
        assert_eq!(both.len(), 2);
        assert_eq!(shown(&[("iad", 3.0)]), [("iad".to_owned(), 3.0)].into());
        assert!(shown(&[]).is_empty());
    }
}
