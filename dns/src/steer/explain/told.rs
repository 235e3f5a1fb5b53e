//! What an explanation says.

use std::net::IpAddr;

use ipnet::IpNet;
use meridian_config::{Family, Policy, Ratio};
use meridian_geo_data::{
    Description,
    latency::{Basis, Line},
};
use meridian_health_prober::{CheckHealth, Override, Verdict};
use serde::Serialize;

use super::super::{Level, Reason, TermWeights, Terms};
use crate::client::Client;

/// Why a client gets what it gets.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Owner name of the service.
    pub service: String,
    /// Apex of its zone.
    pub zone: String,
    /// Name of its pool.
    pub pool: String,
    /// Name of the pool's check; `None`: its PoPs are never tested, always usable.
    pub check: Option<String>,
    /// A or AAAA.
    pub family: Family,
    /// How PoPs are ordered.
    pub policy: Policy,
    /// PoPs this close to the best share clients, milliseconds.
    pub tolerance_ms: f32,
    /// Addresses per answer.
    pub answers: usize,
    /// Share of a PoP's endpoints that must be usable.
    pub min_health: Ratio,
    /// Configured weights of the score's terms.
    pub weights: TermWeights,
    /// The weights by which the terms of this pool count, their sum 1: `load` is 0 where no PoP of
    /// the pool has a source of load.
    pub weights_in_force: TermWeights,
    /// Terms of which nothing is measured for any PoP of the pool: the latency is an estimate then,
    /// the load the same for all.
    pub not_measured: Vec<&'static str>,
    /// The line over distance by which latency is estimated where it is not measured.
    pub line: Line,
    /// The exceptional prefix that the client is in: it is judged by its own latency.
    pub exception: Option<IpNet>,
    /// Who serves this place at the moment, where anything measured has a say.
    pub standing: Option<Held>,
    /// The pool's anycast address, where it has one of the family.
    pub anycast: Option<Hybrid>,
    /// Who asks.
    pub client: Client,
    /// The addresses that are judged as one, first of them located: `scope_max`.
    pub block: IpNet,
    /// Where that is, and how that is known.
    pub location: Description,
    /// PoP that an operator network pins the client to.
    pub pinned: Option<String>,
    /// Every PoP of the pool, in this client's order of preference.
    pub candidates: Vec<Candidate>,
    /// The pool's last resort, addresses of the family.
    pub fallback: Vec<IpAddr>,
    /// What is answered, in this order; empty means NODATA.
    pub addresses: Vec<IpAddr>,
    /// PoP of the first address.
    pub chosen: Option<String>,
    /// Why this one: the label of the metric.
    pub reason: Reason,
    /// The same in words.
    pub why: String,
    /// What the choice rests on.
    pub level: Level,
    /// The level as in `meridian_steering_level`.
    pub level_number: u8,
    /// Seconds.
    pub ttl: u32,
    /// Why it is shorter than configured, in words; `None`: it is not.
    pub ttl_why: Option<String>,
    /// ECS scope prefix length of the answer.
    pub scope: u8,
    /// Why this scope, in words.
    pub scope_why: String,
}

/// Who holds a place, and what it takes to change that.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// The PoP that most clients of the place would miss: it stays until another one is better by
    /// more than the margin.
    pub home: String,
    /// By how much another's score must be better, milliseconds.
    pub margin_ms: f32,
    /// The PoP with the best score, if that is another one.
    pub better: Option<String>,
    /// By how much its score is better, milliseconds.
    pub better_by_ms: Option<f32>,
}

/// An anycast address, and what is known of it for this client.
#[derive(Clone, Debug, Serialize)]
pub struct Hybrid {
    /// The address.
    pub address: IpAddr,
    /// By how much a single PoP must be better, milliseconds; and by a tenth of what anycast takes.
    pub margin_ms: f32,
    /// The round trip to it, where it was measured.
    pub latency: Option<MeasuredLatency>,
    /// The single PoP that was measured to be better, if any was within the last day.
    pub better: Option<Better>,
}

/// A single PoP that was measured to be better than anycast.
#[derive(Clone, Debug, Serialize)]
pub struct Better {
    /// Its name.
    pub pop: String,
    /// The round trip to it.
    pub latency: Option<MeasuredLatency>,
    /// Windows of the last 24 in which it was better.
    pub windows: u32,
    /// Seconds since it was last seen to be better.
    pub age_s: u32,
    /// Whether that is enough to give its own addresses.
    pub in_force: bool,
}

/// The round trip measured between a client's prefix or cell and a PoP.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MeasuredLatency {
    /// Of whom it was measured: the prefix, a wider one, or the cell.
    pub basis: Basis,
    /// 25th percentile, milliseconds.
    pub p25_ms: f32,
    /// Samples that it rests on.
    pub samples: u32,
    /// Seconds since the newest of them.
    pub age_s: u32,
}

/// What is known of a PoP's load.
#[derive(Clone, Debug, Serialize)]
pub struct LoadState {
    /// What it costs before its weight, milliseconds; `None`: nobody knows.
    pub price_ms: Option<f32>,
    /// What is counted instead, and why, where nobody knows.
    pub why: Option<String>,
    /// Free part of its capacity that its share of clients follows.
    pub free: f32,
    /// Part of its full share that it may have while it grows.
    pub ramp: f32,
}

/// One PoP of the pool, seen by one client.
#[derive(Clone, Debug, Serialize)]
pub struct Candidate {
    /// Its name.
    pub pop: String,
    /// Distance to the client's cell; `None`: nobody knows where the client is.
    pub distance_km: Option<f64>,
    /// The score's terms.
    pub terms: Option<Terms>,
    /// The score, milliseconds; lower is better.
    pub score_ms: Option<f32>,
    /// Round trip measured, where it was.
    pub latency: Option<MeasuredLatency>,
    /// Its load, in pools where load counts.
    pub load: Option<LoadState>,
    /// Its share of the clients of this place at the moment, 0 to 1, where anything measured has
    /// a say.
    pub share: Option<f32>,
    /// Share among the PoPs within tolerance.
    pub weight: u32,
    /// Which group of PoPs within tolerance it is in, from 1; by score only.
    pub group: Option<usize>,
    /// Place among the PoPs of its group for this client's block, from 1.
    pub rendezvous_rank: Option<usize>,
    /// The prober's verdict.
    pub verdict: Verdict,
    /// Why, in the prober's words.
    pub verdict_reason: String,
    /// Least time in which its verdict could flip, in seconds; `None`: too little contradicts it.
    pub flips_in_s: Option<f64>,
    /// Whether it may be handed out: by override first, then by verdict.
    pub usable: bool,
    /// Whether an operator has drained it.
    pub drained: bool,
    /// The operator's word, shown beside the verdict.
    pub r#override: Option<Override>,
    /// Whether its fence keeps this client out.
    pub fenced: bool,
    /// Whether an operator network pins the client to it.
    pub pinned: bool,
    /// Endpoints of the family, in order.
    pub endpoints: Vec<Endpoint>,
    /// Whether the answer's first address is its.
    pub chosen: bool,
    /// Whether it could not be chosen at all, whatever its score.
    pub excluded: bool,
    /// Why it is chosen or not, in words.
    pub why: String,
}

/// One endpoint of a candidate.
#[derive(Clone, Debug, Serialize)]
pub struct Endpoint {
    /// The service address.
    pub address: IpAddr,
    /// Whether its own verdict is usable.
    pub usable: bool,
    /// Text of the last outcome, where it is tested.
    pub reason: String,
    /// Each check by itself, where the pool combines several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckHealth>,
    /// Whether the answer holds it.
    pub given: bool,
}
