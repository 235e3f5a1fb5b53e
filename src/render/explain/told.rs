//! An explanation as far as it is drawn: the JSON of the API. What an older server does not tell is absent.

use serde::Deserialize;

use crate::runtime::status::LoadStatus;

/// What is drawn of an explanation.
#[derive(Debug, Deserialize)]
pub(crate) struct Explained {
    pub(super) service: String,
    /// The name that was asked for.
    #[serde(default)]
    pub(super) asked: Option<String>,
    /// What it is an alias of, step by step.
    #[serde(default)]
    pub(super) aliases: Vec<String>,
    pub(super) pool: String,
    pub(super) check: Option<String>,
    pub(super) family: String,
    pub(super) policy: String,
    pub(super) tolerance_ms: f64,
    pub(super) not_measured: Vec<String>,
    #[serde(default)]
    pub(super) weights_in_force: Option<Weights>,
    #[serde(default)]
    pub(super) line: Option<Line>,
    #[serde(default)]
    pub(super) exception: Option<String>,
    #[serde(default)]
    pub(super) standing: Option<Held>,
    pub(super) client: Client,
    pub(super) block: String,
    pub(super) location: Location,
    pub(super) candidates: Vec<Candidate>,
    pub(super) addresses: Vec<String>,
    pub(super) chosen: Option<String>,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) anycast: Option<Anycast>,
    pub(super) why: String,
    pub(super) level_number: u8,
    pub(super) ttl: u32,
    #[serde(default)]
    pub(super) ttl_why: Option<String>,
    pub(super) scope: u8,
    pub(super) scope_why: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Anycast {
    pub(super) address: String,
    pub(super) margin_ms: f64,
    pub(super) latency: Option<Latency>,
    pub(super) better: Option<Better>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Better {
    pub(super) pop: String,
    pub(super) latency: Option<Latency>,
    pub(super) windows: u32,
    pub(super) in_force: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Latency {
    pub(super) p25_ms: f64,
    pub(super) samples: u64,
    pub(super) age_s: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Client {
    pub(super) address: String,
    pub(super) source_len: u8,
}

#[derive(Debug, Deserialize)]
pub(super) struct Location {
    pub(super) city: Option<String>,
    pub(super) location: Option<Coordinates>,
    pub(super) cell_data: Option<Area>,
    pub(super) source: Source,
}

#[derive(Debug, Deserialize)]
pub(super) struct Coordinates {
    pub(super) latitude: f64,
    pub(super) longitude: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Area {
    pub(super) country: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Source {
    pub(super) kind: String,
    pub(super) of: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Weights {
    pub(super) distance: f64,
    pub(super) latency: f64,
    pub(super) load: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Line {
    pub(super) intercept_ms: f64,
    pub(super) ms_per_100km: f64,
    pub(super) pairs: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct Held {
    pub(super) home: String,
    pub(super) margin_ms: f64,
    pub(super) better: Option<String>,
    pub(super) better_by_ms: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Terms {
    #[serde(default)]
    pub(super) distance_ms: Option<f64>,
    pub(super) latency_ms: f64,
    pub(super) latency_from: String,
    /// What the load counts for, known or not.
    #[serde(default)]
    pub(super) load_counted_ms: f64,
    #[serde(default)]
    pub(super) bias_ms: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Load {
    pub(super) price_ms: Option<f64>,
    pub(super) free: f64,
    pub(super) ramp: f64,
    /// As it is read now; absent in explanations from files.
    #[serde(default)]
    pub(super) reading: Option<LoadStatus>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Candidate {
    pub(super) pop: String,
    pub(super) distance_km: Option<f64>,
    #[serde(default)]
    pub(super) terms: Option<Terms>,
    #[serde(default)]
    pub(super) load: Option<Load>,
    #[serde(default)]
    pub(super) latency: Option<Latency>,
    pub(super) score_ms: Option<f64>,
    #[serde(default)]
    pub(super) share: Option<f64>,
    pub(super) weight: u32,
    pub(super) verdict: String,
    pub(super) drained: bool,
    pub(super) chosen: bool,
    pub(super) excluded: bool,
    pub(super) why: String,
}
