//! Metrics of the wiring: snapshots, reloads, overrides, failovers, geo data.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_config::Config;
use meridian_geo_data::DatabaseInfo;
use meridian_health_prober::Override;
use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::shift::{self, Shift};

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
    shifts: Shifts,
}

/// How long clients take to leave a PoP.
#[derive(Clone, Debug)]
struct Shifts {
    bound: GaugeVec,
    service: GaugeVec,
    pop: GaugeVec,
}

impl Shifts {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let seconds = |name: &str, help: &str, label: &str| {
            let gauge = GaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            bound: seconds(
                "meridian_service_shift_bound_seconds",
                "Longest time from the death of a PoP to the end of the last cached answer with it",
                "service",
            )?,
            service: seconds(
                "meridian_service_shift_seconds",
                "The same at the last failover, from the first failed probe on",
                "service",
            )?,
            pop: seconds(
                "meridian_pop_shift_seconds",
                "Time from the first failed probe to answers without the PoP, at its last failover",
                "pop",
            )?,
        })
    }
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
            shifts: Shifts::new(registry)?,
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

    /// The worst cases of the services of a configuration that came into force.
    pub fn shift_bounds(&self, config: &Config) {
        self.shifts.bound.reset();
        for service in config.zones.iter().flat_map(|zone| &zone.services) {
            if let Some(bound) = shift::bound(config, service) {
                let name = service.name.to_string();
                let gauge = self.shifts.bound.with_label_values(&[&name]);
                gauge.set(bound.as_secs_f64());
            }
        }
    }

    /// What a failover away from `pop` took.
    pub(super) fn shifted(&self, pop: &str, shifts: &[Shift]) {
        for one in shifts {
            let whole = (one.published + one.cached).as_secs_f64();
            self.shifts
                .service
                .with_label_values(&[&one.service])
                .set(whole);
        }
        if let Some(published) = shifts.iter().map(|one| one.published).max() {
            let gauge = self.shifts.pop.with_label_values(&[pop]);
            gauge.set(published.as_secs_f64());
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
