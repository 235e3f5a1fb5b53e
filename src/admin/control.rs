//! What the admin API needs of the server. The runtime implements it; so do tests.

use std::{pin::Pin, sync::Arc, time::Duration};

use ipnet::IpNet;
use jiff::Timestamp;
use meridian_config::{Diagnostics, Family, Name};
use meridian_dns::answer::NotSteered;
use meridian_geo_data::latency::{Reporter, Sample};
use meridian_health_prober::Level;
use prometheus::proto::MetricFamily;

use crate::runtime::{
    events::EventLog,
    measure::{NotTaken, Outcomes},
    site::state::Announcements,
    standing::DemandReport,
    status::{LoadStatus, Status},
};

/// A boxed future, so that the trait can be used behind a pointer.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The server as the API sees it.
pub(crate) trait Control: Send + Sync + 'static {
    /// Everything at this moment.
    fn status(&self) -> Status;

    /// What happened.
    fn events(&self) -> &EventLog;

    /// Whether a configuration is loaded and queries are answered.
    fn is_ready(&self) -> bool;

    /// All metrics.
    fn metrics(&self) -> Vec<MetricFamily>;

    /// Why a client gets the answer it gets, or why no service answers the name.
    fn explain(
        &self,
        name: &Name,
        family: Family,
        client: IpNet,
    ) -> Result<serde_json::Value, NotSteered>;

    /// Where clients are, as far as it is known.
    fn demand(&self) -> DemandReport;

    /// Takes a PoP out of new answers; gives the end of the drain, if it has one.
    fn drain(
        &self,
        pop: &str,
        reason: String,
        duration: Option<Duration>,
        who: &str,
    ) -> Boxed<'_, Result<Option<Timestamp>, ControlError>>;

    /// Gives a PoP back.
    fn undrain(&self, pop: &str, who: &str) -> Boxed<'_, Result<(), ControlError>>;

    /// Takes a load that was pushed for a PoP; gives what counts now.
    fn push_load(&self, pop: &str, level: Level, who: &str) -> Result<LoadStatus, ControlError>;

    /// Reads all files again, all or nothing; says what is in force now.
    fn reload(&self, who: String) -> Boxed<'_, Result<serde_json::Value, Diagnostics>>;

    /// What is announced, and why.
    fn announcements(&self) -> Arc<Announcements>;

    /// Asks the peers to discard traffic to a host for a while and for a reason, or no longer.
    fn blackhole(
        &self,
        prefix: IpNet,
        wanted: Option<(Duration, String)>,
        who: String,
    ) -> Boxed<'_, Result<(), String>>;

    /// As whom a party reports round trips.
    fn caller(&self, party: &str) -> Reporter;

    /// Takes round trips measured elsewhere; says what became of each, in order.
    fn take_round_trips<'a>(&'a self, who: &'a str, samples: Vec<Sample>) -> Boxed<'a, Outcomes>;

    /// Counts a line that tells no round trip.
    fn refuse_round_trip(&self, why: &NotTaken);

    /// Hands over to the binary that stands where this one was started from.
    fn upgrade(&self, who: String) -> Boxed<'_, Result<serde_json::Value, String>>;
}

/// Why an override was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// No PoP has this name.
    #[error("no PoP is called {0}")]
    UnknownPop(String),
    /// There is no drain to end.
    #[error("{0} is not drained")]
    NotDrained(String),
    /// The PoP takes no such load.
    #[error("{0}")]
    NotTaken(String),
    /// It could not be kept, so it is not in force.
    #[error("{0}")]
    NotKept(String),
}
