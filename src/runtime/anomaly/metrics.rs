//! What Prometheus sees of anomalies.

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{InForce, Kind, News, SHOWN};

/// Handles of the metrics.
#[derive(Clone, Debug)]
pub struct AnomalyMetrics {
    in_force: IntGaugeVec,
    begun: IntCounterVec,
    factor: GaugeVec,
}

impl AnomalyMetrics {
    /// Creates and registers all of them.
    ///
    /// # Errors
    /// When a name is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            in_force: IntGaugeVec::new(
                Opts::new("meridian_anomalies", "Anomalies in force, by kind"),
                &["kind"],
            )?,
            begun: IntCounterVec::new(
                Opts::new("meridian_anomalies_total", "Anomalies that began, by kind"),
                &["kind"],
            )?,
            factor: GaugeVec::new(
                Opts::new(
                    "meridian_anomaly_factor",
                    "What is seen divided by what is usual, while it is off (the first 100 of each kind)",
                ),
                &["kind", "subject"],
            )?,
        };
        for kind in Kind::ALL {
            metrics.in_force.with_label_values(&[kind.as_str()]);
            metrics.begun.with_label_values(&[kind.as_str()]);
        }
        registry.register(Box::new(metrics.in_force.clone()))?;
        registry.register(Box::new(metrics.begun.clone()))?;
        registry.register(Box::new(metrics.factor.clone()))?;
        Ok(metrics)
    }

    /// What began in the last minute, and what is in force.
    pub fn set(&self, news: &[News], in_force: &[InForce]) {
        for one in news.iter().filter(|one| one.begins) {
            self.begun.with_label_values(&[one.kind.as_str()]).inc();
        }
        self.factor.reset();
        for kind in Kind::ALL {
            let mine = || in_force.iter().filter(|one| one.kind == kind);
            let count = i64::try_from(mine().count()).unwrap_or(i64::MAX);
            self.in_force.with_label_values(&[kind.as_str()]).set(count);
            for one in mine().take(SHOWN) {
                let labels = [kind.as_str(), &one.subject];
                self.factor.with_label_values(&labels).set(one.factor);
            }
        }
    }
}
