//! The state of the server as `meridian status` and `/api/v1/pops` show it. These types are both
//! written by the server and read by the command line.

use std::net::IpAddr;

use jiff::Timestamp;
use meridian_health_prober::LoadState;
use serde::{Deserialize, Serialize};

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the binary.
    pub version: String,
    /// When the process started to answer.
    pub started: Timestamp,
    /// Number of the snapshot in force.
    pub generation: u64,
    /// What is loaded, and from when.
    pub config: ConfigStatus,
    /// PoPs in the order of the configuration.
    pub pops: Vec<PopStatus>,
    /// Services in the order of the configuration.
    pub services: Vec<ServiceStatus>,
    /// Geo databases in use.
    pub geo: Vec<GeoStatus>,
    /// What is announced over BGP, where that is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announcements: Option<super::site::state::Announcements>,
    /// What needs an operator, newest last; empty when all is well.
    pub alarms: Vec<String>,
    /// What is unlike its own recent past, by kind and name; the first 100 of each kind.
    #[serde(default)]
    pub anomalies: Vec<AnomalyStatus>,
}

/// An anomaly in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnomalyStatus {
    /// `queries`, `share`, `health`, `load` or `geo`.
    pub kind: String,
    /// The service, PoP or database.
    pub subject: String,
    /// When it began.
    pub since: Timestamp,
    /// What is seen now divided by what is usual; for a load 0, for geo data its age divided by the
    /// `geo_age` that is allowed.
    pub factor: f64,
    /// How it was when it began, in a sentence.
    pub message: String,
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// The configuration file.
    pub file: String,
    /// When what is in force was loaded.
    pub loaded: Timestamp,
    /// Whether the newest attempt to load succeeded.
    pub last_reload_successful: bool,
    /// Why the newest attempt was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The server runs on the last good state because the files could not be read at start.
    pub last_good: bool,
}

/// One PoP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PopStatus {
    /// Its name.
    pub name: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// Its weight.
    pub weight: u32,
    /// What counts: the override, else the verdict.
    pub state: PopState,
    /// The verdict alone: `up`, `down` or `unknown`; the worst of its checks.
    pub verdict: String,
    /// Why the verdict is what it is.
    pub reason: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The operator's word.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub override_: Option<OverrideStatus>,
    /// Pools that it serves.
    pub pools: Vec<String>,
    /// Its load, where it has a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadStatus>,
    /// Its endpoints under each check; one entry per endpoint with check `null` when untested.
    pub endpoints: Vec<EndpointStatus>,
}

/// The load of a PoP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadStatus {
    /// `fresh`, `stale` (the last value is kept) or `unknown`.
    pub state: LoadState,
    /// Share of the capacity; absent while unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// The last value, in the unit of the source; absent where a ratio was pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What the endpoints that are not down can carry; absent: never full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<f64>,
    /// What is measured.
    pub what: String,
    /// Where it is read, or who pushed it.
    pub source: String,
    /// When it was read or pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Why the last reading failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a PoP counts as, after override and verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PopState {
    /// Tested and usable.
    Up,
    /// Not yet tested; usable.
    Unknown,
    /// Not usable.
    Down,
    /// Emptied by an operator.
    Drained,
}

impl PopState {
    /// The name in JSON and on the terminal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unknown => "unknown",
            Self::Down => "down",
            Self::Drained => "drained",
        }
    }

    /// Whether clients are steered to it.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Up | Self::Unknown)
    }
}

/// An operator's override as shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverrideStatus {
    /// `drain`.
    pub kind: String,
    /// Why; may be empty.
    pub reason: String,
    /// When it was given.
    pub since: Timestamp,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// One endpoint under one check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// The service address.
    pub address: IpAddr,
    /// The check; `None`: no pool tests it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// `up`, `down` or `unknown`.
    pub verdict: String,
    /// Last outcome.
    pub reason: String,
    /// Since when the verdict holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Duration of the last passed probe in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Each check by itself, where the pool combines several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckStatus>,
}

/// One endpoint under one of several checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// Its name.
    pub check: String,
    /// `up`, `down` or `unknown`.
    pub verdict: String,
    /// Last outcome.
    pub reason: String,
    /// Since when the verdict holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Duration of the last passed probe in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Owner name with the final dot.
    pub name: String,
    /// Its pool.
    pub pool: String,
    /// 0 measured, 1 geo, 2 configured order, 3 last resort.
    pub level: u8,
    /// Longest time in seconds from the death of a PoP to the end of the last cached answer with it;
    /// `None`: nothing tests its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift_bound_s: Option<f64>,
    /// The same as it was at the last failover, from the first failed probe on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift_last_s: Option<f64>,
}

/// One geo database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoStatus {
    /// File, or `bundled`.
    pub file: String,
    /// Type as the database names itself.
    pub database_type: String,
    /// `city`, `country` or `asn`.
    pub level: String,
    /// When it was built.
    pub built: Timestamp,
}
