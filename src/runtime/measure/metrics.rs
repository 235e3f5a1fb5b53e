//! Metrics of measured latency.

use std::sync::Arc;

use meridian_geo_data::{
    CellId,
    latency::{Latency, Matrix, Refused},
};
use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

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
        let gauges =
            |name: &str, help: &str, label: &str| IntGaugeVec::new(Opts::new(name, help), &[label]);
        let floats =
            |name: &str, help: &str, label: &str| GaugeVec::new(Opts::new(name, help), &[label]);
        let metrics = Self {
            samples: IntCounterVec::new(
                Opts::new(
                    "meridian_latency_samples_total",
                    "Round trips told, by where they come from and what became of them",
                ),
                &["source", "outcome"],
            )?,
            newest: floats(
                "meridian_latency_newest_sample_timestamp_seconds",
                "When a source last brought a round trip that was taken, seconds since the epoch",
                "source",
            )?,
            rows: gauges(
                "meridian_latency_rows",
                "Pairs of a client prefix, or of a cell, and a PoP with measured round trips",
                "kind",
            )?,
            evicted: IntGauge::new(
                "meridian_latency_rows_evicted",
                "Rows of prefixes that had to go for newer ones since the start",
            )?,
            octets: gauges(
                "meridian_latency_bytes",
                "Memory of what is kept (rows) and of what steering reads (published)",
                "part",
            )?,
            exceptions: IntGauge::new(
                "meridian_latency_exceptional_prefixes",
                "Client prefixes that are judged by themselves because they are unlike their cell",
            )?,
            publish_seconds: Gauge::new(
                "meridian_latency_publish_seconds",
                "Time that the newest evaluation of all rows took",
            )?,
            line: floats(
                "meridian_latency_estimate_seconds",
                "The estimate where nothing was measured: at no distance (intercept), and for each 100 km",
                "part",
            )?,
            pops: floats(
                "meridian_pop_latency_seconds",
                "25th percentile of round trips to a PoP, mean over cells by number of measurements",
                "pop",
            )?,
            logs: gauges(
                "meridian_latency_log_up",
                "1 while a log that is followed can be read",
                "file",
            )?,
            kept: Gauge::new(
                "meridian_latency_kept_timestamp_seconds",
                "When measured latency was last written to the state directory, seconds since the epoch",
            )?,
        };
        metrics.register(registry)?;
        for source in Source::ALL {
            metrics.count(source, "taken", 0);
            for refused in Refused::ALL {
                metrics.count(source, refused.as_str(), 0);
            }
            for ours in ["rate", "busy"] {
                metrics.count(source, ours, 0);
            }
        }
        Ok(metrics)
    }

    fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.samples.clone()))?;
        registry.register(Box::new(self.newest.clone()))?;
        registry.register(Box::new(self.rows.clone()))?;
        registry.register(Box::new(self.evicted.clone()))?;
        registry.register(Box::new(self.octets.clone()))?;
        registry.register(Box::new(self.exceptions.clone()))?;
        registry.register(Box::new(self.publish_seconds.clone()))?;
        registry.register(Box::new(self.line.clone()))?;
        registry.register(Box::new(self.pops.clone()))?;
        registry.register(Box::new(self.logs.clone()))?;
        registry.register(Box::new(self.kept.clone()))
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
        self.pops.reset();
        for (name, ms) in means(latency, cells) {
            self.pops.with_label_values(&[&name]).set(ms / 1000.0);
        }
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
}
