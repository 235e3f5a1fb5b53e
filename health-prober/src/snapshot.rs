//! What the prober publishes: an immutable value, latest wins.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

/// Smoothed state after rise and fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Not yet decided; usable.
    Unknown,
    /// Usable.
    Up,
    /// Not usable.
    Down,
}

impl Verdict {
    /// Unknown counts as usable.
    pub fn is_usable(self) -> bool {
        self != Self::Down
    }
}

/// An operator's word about a PoP; it beats the verdict and is shown beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// What the operator wants.
    pub kind: OverrideKind,
    /// Why; may be empty.
    pub reason: String,
    /// When it was given.
    pub since: SystemTime,
    /// When it ends by itself.
    pub until: Option<SystemTime>,
}

/// Kind of an [`Override`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OverrideKind {
    /// Planned emptying: not chosen for new answers.
    Drain,
}

/// State of one endpoint under the check, or the checks, of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointHealth {
    /// The service address.
    pub address: IpAddr,
    /// After rise and fall.
    pub verdict: Verdict,
    /// Text of the last outcome: `pass`, or the reason of the failure.
    pub reason: String,
    /// When the verdict last changed.
    pub since: Option<SystemTime>,
    /// Duration of the last passed probe.
    pub rtt: Option<Duration>,
    /// Shortest time in which the verdict could flip, from [`HealthSnapshot::made`] on; `None` while
    /// nothing contradicts it.
    pub flips_in: Option<Duration>,
    /// Each of its checks, where there are several; empty for a single one.
    pub checks: Vec<CheckHealth>,
}

/// State of one endpoint under one of several checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckHealth {
    /// Name of the check.
    pub check: String,
    /// After rise and fall.
    pub verdict: Verdict,
    /// Text of the last outcome.
    pub reason: String,
    /// When the verdict last changed.
    pub since: Option<SystemTime>,
    /// Duration of the last passed probe.
    pub rtt: Option<Duration>,
}

/// State of one PoP under the check, or the checks, of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PopHealth {
    /// From the endpoints, by `min_health`.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub reason: String,
    /// When the verdict last changed.
    pub since: Option<SystemTime>,
    /// Shortest time in which the verdict could flip; `None` while too little contradicts it.
    pub flips_in: Option<Duration>,
    /// From the start of the first probe that spoke against the verdict before until this one;
    /// `None`: no probe did.
    pub took: Option<Duration>,
    /// In the order of the PoP's `endpoints`.
    pub endpoints: Vec<EndpointHealth>,
}

/// Names a group of targets: the PoP's endpoints under one check. Names, not indices, so that it
/// survives a reload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct GroupKey {
    /// Name of the PoP.
    pub pop: String,
    /// Name of the check, or `all(a, b)`, `any(a, b)`: [`meridian_config::Config::check_name`].
    pub check: String,
}

/// Everything known about health at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HealthSnapshot {
    /// Rises with every publication.
    pub generation: u64,
    /// The moment from which every `flips_in` counts; `None`: they stand still.
    pub made: Option<Instant>,
    /// Groups under test. A group that is absent is Unknown.
    pub groups: BTreeMap<GroupKey, PopHealth>,
    /// Operator overrides by PoP name.
    pub overrides: BTreeMap<String, Override>,
    /// The load of every PoP that has a source, as it was at this publication. A change of load
    /// alone publishes no snapshot: [`crate::Prober::loads`] has the newest.
    pub loads: Arc<Loads>,
}

/// Loads by PoP name: every PoP with a load source is in it.
pub type Loads = BTreeMap<String, PopLoad>;

/// The load of one PoP at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PopLoad {
    /// How trustworthy it is.
    pub state: LoadState,
    /// `value` ÷ `capacity`, or the ratio that was pushed; 0 without a capacity (never full).
    /// `None` exactly while the state is [`LoadState::Unknown`].
    pub ratio: Option<f64>,
    /// The last value read, in the unit of the source; kept while stale.
    pub value: Option<f64>,
    /// What the endpoints that are not down can carry, in the same unit; `None`: never full.
    pub capacity: Option<f64>,
    /// What is measured: metric and labels, or the field of `stub_status`.
    pub what: String,
    /// The source: a URL, `push`, or `push by NAME` once somebody has pushed.
    pub source: String,
    /// When the value was read.
    pub at: Option<SystemTime>,
    /// Its age at this publication.
    pub age: Option<Duration>,
    /// Why the last reading failed; `None` when it succeeded.
    pub problem: Option<String>,
}

/// How much a load says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadState {
    /// Read within three intervals.
    Fresh,
    /// Silent for more than three intervals: the last value is kept.
    Stale,
    /// Never read, or silent for more than ten intervals: the load is not known.
    Unknown,
}

impl LoadState {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
        }
    }
}

/// What a load source says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// In its own unit.
    Value(f64),
    /// Already divided by the capacity; taken as it is.
    Ratio(f64),
}

/// The last level of a source, as it can be written down for another process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptLoad {
    /// Whose.
    pub pop: String,
    /// What is counted: a level of something else is not taken up.
    pub what: String,
    /// How much.
    pub level: Level,
    /// When it was read or pushed.
    pub at: SystemTime,
    /// Who pushed it.
    pub pushed_by: Option<String>,
}

/// Why a pushed load was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The PoP is not there, or its load comes from elsewhere.
    #[error("{0} takes no pushed load: `load = {{ push = true }}` is not in its configuration")]
    NotPushed(String),
    /// A value has nothing to be divided by.
    #[error("{0} has no `capacity`: push a ratio, or configure one")]
    NoCapacity(String),
    /// Negative, or no finite number.
    #[error("the load is negative or no finite number")]
    Absurd,
}
