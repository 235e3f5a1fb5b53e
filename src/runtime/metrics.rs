//! Metrics of the wiring: snapshots, reloads, overrides, failovers, geo data.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use meridian_config::Config;
use meridian_dns::steer::{Standing, balance::Price};
use meridian_geo_data::DatabaseInfo;
use meridian_health_prober::Override;
use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::{
    logging::Lost,
    shift::{self, Shift},
};

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
    standing: StandingMetrics,
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

/// What the newest tick of steering came to.
#[derive(Clone, Debug)]
struct StandingMetrics {
    price: GaugeVec,
    ramp: GaugeVec,
    build_seconds: Gauge,
    octets: Gauge,
    kept: Gauge,
    wanted: Gauge,
    moved: Gauge,
    exceptions: IntGauge,
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
        registry.register(Box::new(Lost::new()?))?;
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
            standing: StandingMetrics::new(registry)?,
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

    /// Prices and ramps of the newest tick, by PoP.
    pub fn balanced<'a>(&self, pops: impl Iterator<Item = (&'a str, &'a Price)>) {
        self.standing.price.reset();
        self.standing.ramp.reset();
        for (pop, price) in pops {
            let seconds = f64::from(price.price_ms) / 1e3;
            self.standing.price.with_label_values(&[pop]).set(seconds);
            self.standing
                .ramp
                .with_label_values(&[pop])
                .set(price.ramp.into());
        }
    }

    /// What steering remembers was written, `now_s` seconds since the epoch.
    #[allow(clippy::cast_precision_loss)]
    pub fn kept(&self, now_s: u64) {
        self.standing.kept.set(now_s as f64);
    }

    /// A tick made this standing in so much time.
    // Octets and counts are far below 2^52.
    #[allow(clippy::cast_precision_loss)]
    pub fn stood(&self, took: Duration, standing: &Standing) {
        let (of, moved) = (&self.standing, standing.moved());
        of.build_seconds.set(took.as_secs_f64());
        of.octets.set(standing.octets() as f64);
        of.wanted.set(moved.wanted.into());
        of.moved.set(moved.moved.into());
        let exceptional = standing.exceptional().0;
        of.exceptions
            .set(i64::try_from(exceptional).unwrap_or(i64::MAX));
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

impl StandingMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| -> Result<Gauge, prometheus::Error> {
            let gauge = Gauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let exceptions = IntGauge::new(
            "meridian_exceptional_prefixes",
            "Measured prefixes that are steered by themselves, not as their cell",
        )?;
        registry.register(Box::new(exceptions.clone()))?;
        let of_pop = |name, help| -> Result<GaugeVec, prometheus::Error> {
            let gauge = GaugeVec::new(Opts::new(name, help), &["pop"])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        Ok(Self {
            price: of_pop(
                "meridian_pop_price_seconds",
                "Congestion price of a PoP: what its load costs in the score, before its weight",
            )?,
            ramp: of_pop(
                "meridian_pop_ramp_ratio",
                "Part of its full share that a new or recovering PoP may have",
            )?,
            build_seconds: gauge(
                "meridian_standing_build_seconds",
                "Time that the newest tick of steering took",
            )?,
            octets: gauge("meridian_standing_bytes", "Memory of the newest standing")?,
            kept: gauge(
                "meridian_standing_kept_timestamp_seconds",
                "When what steering remembers was last written to the state directory, seconds since the epoch",
            )?,
            wanted: gauge(
                "meridian_clients_to_move_ratio",
                "Share of clients that would be better elsewhere at the newest tick, in the pool where it is most",
            )?,
            moved: gauge(
                "meridian_clients_moved_ratio",
                "Share of clients that the newest tick moved, in the pool where it is most",
            )?,
            exceptions,
        })
    }
}
