//! Metrics of the wiring: snapshots, reloads, overrides, failovers, geo data.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_geo_data::DatabaseInfo;
use meridian_health_prober::Override;
use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Handles of the metrics that the runtime sets.
#[derive(Clone, Debug)]
pub struct RuntimeMetrics {
    generation: IntGauge,
    build_seconds: Gauge,
    reload_successful: IntGauge,
    reload_timestamp: Gauge,
    geo_build: GaugeVec,
    geo_broken: IntGauge,
    alarms: IntGauge,
    overrides: IntGaugeVec,
    failovers: IntCounterVec,
}

impl RuntimeMetrics {
    /// Creates and registers all of them.
    ///
    /// # Errors
    /// When a name is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let build_info = IntGaugeVec::new(
            Opts::new("meridian_build_info", "Version running"),
            &["version"],
        )?;
        build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        registry.register(Box::new(build_info))?;
        let overrides = IntGaugeVec::new(
            Opts::new(
                "meridian_pop_override",
                "1 while an operator's override is in force",
            ),
            &["pop", "kind"],
        )?;
        let failovers = IntCounterVec::new(
            Opts::new(
                "meridian_failovers_total",
                "Times that clients left a PoP (away) or may come back to it (back)",
            ),
            &["pop", "direction"],
        )?;
        let geo_build = GaugeVec::new(
            Opts::new(
                "meridian_geo_database_build_timestamp_seconds",
                "When a geo database in use was built, seconds since the epoch",
            ),
            &["database"],
        )?;
        let metrics = Self {
            generation: IntGauge::new(
                "meridian_snapshot_generation",
                "Number of the snapshot that answers queries",
            )?,
            build_seconds: Gauge::new(
                "meridian_snapshot_build_seconds",
                "Time that building the newest snapshot took",
            )?,
            reload_successful: IntGauge::new(
                "meridian_config_last_reload_successful",
                "1 if the newest attempt to load the configuration succeeded, else 0",
            )?,
            reload_timestamp: Gauge::new(
                "meridian_config_last_reload_timestamp_seconds",
                "When the configuration in force was loaded, seconds since the epoch",
            )?,
            geo_broken: IntGauge::new(
                "meridian_geo_database_broken",
                "1 while a configured geo database cannot be read and an older copy is used",
            )?,
            alarms: IntGauge::new("meridian_alarms", "Alarms that `status` shows: see there")?,
            geo_build,
            overrides,
            failovers,
        };
        registry.register(Box::new(metrics.generation.clone()))?;
        registry.register(Box::new(metrics.build_seconds.clone()))?;
        registry.register(Box::new(metrics.reload_successful.clone()))?;
        registry.register(Box::new(metrics.reload_timestamp.clone()))?;
        registry.register(Box::new(metrics.geo_broken.clone()))?;
        registry.register(Box::new(metrics.alarms.clone()))?;
        registry.register(Box::new(metrics.geo_build.clone()))?;
        registry.register(Box::new(metrics.overrides.clone()))?;
        registry.register(Box::new(metrics.failovers.clone()))?;
        Ok(metrics)
    }

    /// A snapshot was published; `seconds` is how long it took to build.
    pub fn published(&self, generation: u64, seconds: f64) {
        self.generation
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.build_seconds.set(seconds);
    }

    /// A configuration came into force at `at`.
    pub fn loaded(&self, at: Timestamp, databases: &[DatabaseInfo], geo_broken: bool) {
        self.reload_successful.set(1);
        self.reload_timestamp.set(at.as_duration().as_secs_f64());
        self.geo_broken.set(i64::from(geo_broken));
        self.geo_build.reset();
        for database in databases {
            let name = database.file.display().to_string();
            #[allow(clippy::cast_precision_loss)]
            self.geo_build
                .with_label_values(&[&name])
                .set(database.build_epoch as f64);
        }
    }

    /// Number of alarms that hold now.
    pub fn alarms(&self, count: usize) {
        self.alarms.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A configuration was refused.
    pub fn refused(&self) {
        self.reload_successful.set(0);
    }

    /// The overrides in force, by PoP.
    pub fn overrides(&self, overrides: &BTreeMap<String, Override>) {
        self.overrides.reset();
        for pop in overrides.keys() {
            self.overrides
                .with_label_values(&[pop.as_str(), "drain"])
                .set(1);
        }
    }

    /// Clients left `pop`, or may come back to it.
    pub fn failover(&self, pop: &str, direction: &str) {
        self.failovers.with_label_values(&[pop, direction]).inc();
    }

    /// Makes both series of every PoP exist, so that a rate over the first failover is seen.
    pub fn know_pops<'a>(&self, pops: impl Iterator<Item = &'a str>) {
        for pop in pops {
            self.failovers.with_label_values(&[pop, "away"]);
            self.failovers.with_label_values(&[pop, "back"]);
        }
    }
}
