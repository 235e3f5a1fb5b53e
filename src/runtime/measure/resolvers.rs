//! Round trips of the TCP connections that resolvers open to this server.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use ipnet::IpNet;
use meridian_config::Config;
use meridian_dns::listen::HearRoundTrips;
use meridian_geo_data::latency::Sample;

use super::intake::{Intake, Source};

/// Hears of every connection that ends, and passes on some.
pub(super) struct Resolvers {
    intake: Intake,
    key: u64,
    settings: ArcSwapOption<Settings>,
    ended: AtomicU32,
}

struct Settings {
    pop: Arc<str>,
    every: u32,
}

impl Resolvers {
    pub(super) fn new(intake: Intake, config: &Config) -> Self {
        let new = Self {
            key: intake.key("resolvers"),
            intake,
            settings: ArcSwapOption::empty(),
            ended: AtomicU32::new(0),
        };
        new.adapt(config);
        new
    }

    /// Takes another configuration over.
    pub(super) fn adapt(&self, config: &Config) {
        let settings = config.latency.resolvers.as_ref().map(|own| Settings {
            pop: own.pop.name(config).into(),
            every: own.every,
        });
        self.settings.store(settings.map(Arc::new));
    }
}

impl HearRoundTrips for Resolvers {
    fn wants(&self) -> bool {
        let settings = self.settings.load();
        let every = settings.as_ref().map(|settings| settings.every);
        every.is_some_and(|every| {
            let ended = self.ended.fetch_add(1, Ordering::Relaxed);
            ended.is_multiple_of(every)
        })
    }

    fn hear(&self, client: IpAddr, round_trip: Duration) {
        let Some(settings) = self.settings.load_full() else {
            return;
        };
        #[allow(clippy::cast_possible_truncation, reason = "milliseconds need no more")]
        let rtt_ms = (round_trip.as_secs_f64() * 1000.0) as f32;
        let sample = Sample {
            prefix: IpNet::from(client),
            pop: settings.pop.clone(),
            rtt_ms,
            reporter: self.intake.reporter(client),
        };
        self.intake.offer(Source::Resolver, self.key, vec![sample]);
    }
}
