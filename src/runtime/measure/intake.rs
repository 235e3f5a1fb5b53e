//! The one way in: what every source brings is limited, counted, and handed over a bounded channel.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use ipnet::IpNet;
use meridian_config::LatencySection;
use meridian_geo_data::latency::{Refused, Reporter, Sample, parse::BadLine};
use tokio::sync::{mpsc, oneshot};

use super::{metrics::MeasureMetrics, rates::Rates};
use crate::runtime::monotonic;

/// Batches that may wait for the one who counts them.
const WAITING: usize = 128;
/// Measurements in a batch at most.
pub(crate) const BATCH: usize = 1000;
/// Seconds of its rate that a source may bring at once: a whole body of the API at the default.
const BURST_S: f64 = 10.0;

/// Where measurements come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Api,
    Log,
    Syslog,
    Beacon,
    Resolver,
}

impl Source {
    pub(super) const ALL: [Self; 5] = [
        Self::Api,
        Self::Log,
        Self::Syslog,
        Self::Beacon,
        Self::Resolver,
    ];

    /// The name in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Log => "log",
            Self::Syslog => "syslog",
            Self::Beacon => "beacon",
            Self::Resolver => "resolver",
        }
    }
}

/// Why a measurement was not counted.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Its line says nothing that can be used.
    #[error("{0}")]
    Line(#[from] BadLine),
    /// It cannot be true, or is not for us.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// The source has brought too much, or there are too many sources.
    #[error("more than latency.rate from this source, or from more than latency.reporters sources")]
    Rate,
    /// There is more than can be counted.
    #[error("measurements come faster than they can be counted")]
    Busy,
}

impl NotTaken {
    /// The name in metrics and in the API.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Line(bad) => bad.as_str(),
            Self::Refused(refused) => refused.as_str(),
            Self::Rate => "rate",
            Self::Busy => "busy",
        }
    }
}

/// What became of each measurement of a batch, in order.
pub(crate) type Outcomes = Vec<Result<(), NotTaken>>;

/// Measurements on their way.
pub(super) struct Batch {
    pub(super) source: Source,
    pub(super) samples: Vec<Sample>,
    /// Who waits to hear what became of them.
    pub(super) answer: Option<oneshot::Sender<Vec<Result<(), Refused>>>>,
}

/// The way in; clones are the same.
#[derive(Clone)]
pub(super) struct Intake {
    batches: mpsc::Sender<Batch>,
    rates: Arc<Mutex<Rates<u64>>>,
    keys: RandomState,
    metrics: MeasureMetrics,
}

impl Intake {
    /// A way in, and its end.
    pub(super) fn new(
        section: &LatencySection,
        metrics: MeasureMetrics,
    ) -> (Self, mpsc::Receiver<Batch>) {
        let (batches, end) = mpsc::channel(WAITING);
        let rate = f64::from(section.rate);
        let rates = Rates::new(rate, rate * BURST_S, section.reporters as usize);
        let intake = Self {
            batches,
            rates: Arc::new(Mutex::new(rates)),
            keys: RandomState::new(),
            metrics,
        };
        (intake, end)
    }

    /// Takes over the limits of another configuration.
    pub(super) fn limit(&self, section: &LatencySection) {
        let rate = f64::from(section.rate);
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.limit(rate, rate * BURST_S, section.reporters as usize);
    }

    /// A client whose word is its own: what it lets us measure, anyone may tell. Of IPv6 the /64
    /// counts, which one host has to itself.
    pub(super) fn reporter(&self, client: IpAddr) -> Reporter {
        Reporter::Other(self.key(host(client)))
    }

    /// A number for a source, that outsiders cannot foresee.
    pub(super) fn key(&self, source: impl Hash) -> u64 {
        self.keys.hash_one(source)
    }

    /// Brings measurements and waits for what becomes of each.
    pub(super) async fn ask(&self, who: &str, samples: Vec<Sample>) -> Outcomes {
        let wanted = samples.len();
        let samples = self.admit(Source::Api, self.key(who), samples);
        let admitted = samples.len();
        let (answer, heard) = oneshot::channel();
        let batch = Batch {
            source: Source::Api,
            samples,
            answer: Some(answer),
        };
        let sent = self.batches.send(batch).await;
        let answers = match sent {
            Ok(()) => heard.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let mut outcomes: Outcomes = answers
            .into_iter()
            .map(|one| one.map_err(NotTaken::from))
            .collect();
        // Nobody counts any more: the server stops.
        outcomes.resize(admitted, Err(NotTaken::Busy));
        outcomes.resize(wanted, Err(NotTaken::Rate));
        outcomes
    }

    /// Brings measurements; the thread waits for room. False when the server stops.
    pub(super) fn bring(&self, source: Source, who: u64, samples: Vec<Sample>) -> bool {
        let samples = self.admit(source, who, samples);
        let batch = Batch {
            source,
            samples,
            answer: None,
        };
        self.batches.blocking_send(batch).is_ok()
    }

    /// Brings measurements, or drops them when there is no room.
    pub(super) fn offer(&self, source: Source, who: u64, samples: Vec<Sample>) {
        let samples = self.admit(source, who, samples);
        let count = samples.len();
        let batch = Batch {
            source,
            samples,
            answer: None,
        };
        if count > 0 && self.batches.try_send(batch).is_err() {
            self.metrics.count(source, NotTaken::Busy.as_str(), count);
        }
    }

    /// Counts what could not be read.
    pub(super) fn refuse(&self, source: Source, why: &str) {
        self.metrics.count(source, why, 1);
    }

    /// As many of them as the source may bring now.
    fn admit(&self, source: Source, who: u64, mut samples: Vec<Sample>) -> Vec<Sample> {
        let wanted = samples.len();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = rates.take(monotonic(), self.key((source, who)), wanted);
        drop(rates);
        if granted < wanted {
            let too_many = wanted - granted;
            self.metrics
                .count(source, NotTaken::Rate.as_str(), too_many);
            samples.truncate(granted);
        }
        samples
    }
}

/// The address, or the /64 of an IPv6 address.
pub(crate) fn host(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(v6) => {
            let net = IpNet::new(v6.into(), 64).map(|net| net.network());
            net.unwrap_or(v6.into())
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(count: usize) -> Vec<Sample> {
        let one = Sample {
            prefix: "203.0.113.9/32".parse().unwrap(),
            pop: "fra".into(),
            rtt_ms: 5.0,
            reporter: Reporter::Own,
        };
        vec![one; count]
    }

    fn bed(rate: u32) -> (Intake, mpsc::Receiver<Batch>, MeasureMetrics) {
        let metrics = MeasureMetrics::new(&prometheus::Registry::new()).unwrap();
        let section = LatencySection {
            rate,
            ..LatencySection::default()
        };
        let (intake, end) = Intake::new(&section, metrics.clone());
        (intake, end, metrics)
    }

    #[test]
    fn what_is_too_much_is_counted_and_dropped() {
        let (intake, mut end, metrics) = bed(1);
        intake.offer(Source::Syslog, 1, samples(12));
        assert_eq!(end.try_recv().unwrap().samples.len(), 10);
        assert_eq!(metrics.counted(Source::Syslog, "rate"), 2);
        // Another source has a rate of its own.
        for who in 0..WAITING as u64 {
            intake.offer(Source::Log, who, samples(1));
        }
        assert_eq!(metrics.counted(Source::Log, "busy"), 0);
        intake.offer(Source::Beacon, 1, samples(3));
        assert_eq!(metrics.counted(Source::Beacon, "busy"), 3);
    }

    #[tokio::test]
    async fn who_asks_hears_of_every_line() {
        let (intake, mut end, _) = bed(1);
        let count = async {
            let batch = end.recv().await.unwrap();
            let mut outcomes = vec![Ok(()); batch.samples.len()];
            outcomes[1] = Err(Refused::UnknownPop);
            batch.answer.unwrap().send(outcomes).unwrap();
        };
        let (outcomes, ()) = tokio::join!(intake.ask("me", samples(11)), count);
        assert_eq!(outcomes.len(), 11);
        assert_eq!(outcomes[1], Err(NotTaken::Refused(Refused::UnknownPop)));
        assert_eq!(outcomes[10], Err(NotTaken::Rate));
        // Nobody counts any more.
        drop(end);
        let outcomes = intake.ask("you", samples(2)).await;
        assert_eq!(outcomes, [Err(NotTaken::Busy), Err(NotTaken::Busy)]);
    }

    #[test]
    fn one_host_is_one_reporter() {
        let (intake, ..) = bed(1);
        let of = |text: &str| intake.reporter(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.2"), of("192.0.2.1"));
    }
}
