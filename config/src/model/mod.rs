//! The checked model: what the rest of Meridian works with. Every reference is resolved to an
//! index, every quantity has a type, every default is filled in.

mod abuse;
mod bgp;
mod check;
mod latency;
mod load;
mod server;

pub use abuse::*;
pub use bgp::*;
pub use check::*;
pub use latency::*;
pub use load::*;
pub use server::*;

use std::{net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde::Serialize;

use crate::{Diagnostic, Diagnostics, Name, text::quote};

/// Index of a PoP in [`Config::pops`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct PopId(pub u16);

/// Index of a pool in [`Config::pools`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct PoolId(pub u16);

/// Index of a check in [`Config::checks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct CheckId(pub u16);

impl PopId {
    /// The index as a `usize`.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
impl PoolId {
    /// The index as a `usize`.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
impl CheckId {
    /// The index as a `usize`.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Time to live of a record, in seconds, at most 2^31 − 1 (RFC 2181 §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Ttl(pub u32);

/// Relative share of clients among PoPs within tolerance; 0 means "only when nothing else is
/// left".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Weight(pub u32);

/// A share between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
pub struct Ratio(pub f64);

/// A place on Earth, in degrees (WGS 84). Latitude −90..=90, longitude −180..=180.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Coordinates {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

/// The whole configuration of one server, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The configuration file and every file it includes, in reading order.
    pub files: Vec<PathBuf>,
    /// The patterns of `include`, joined to the configuration's directory: files that would be
    /// read if they existed.
    pub include_patterns: Vec<PathBuf>,
    /// Every other file that a key names, with the place of that key.
    pub named_files: Vec<NamedFile>,
    /// `[server]`
    pub server: Server,
    /// `[admin]`
    pub admin: Admin,
    /// `[log]`
    pub log: Log,
    /// `[cookies]`
    pub cookies: Cookies,
    /// `[rate_limit]`
    pub rate_limit: RateLimit,
    /// `[explain]`
    pub explain: Explain,
    /// `[anomalies]`
    pub anomalies: Anomalies,
    /// `[geo]`
    pub geo: Geo,
    /// `[latency]`
    pub latency: LatencySection,
    /// `[steering]`: the defaults that every service starts from.
    pub steering: Steering,
    /// `[check.NAME]`, sorted by name.
    pub checks: Vec<Check>,
    /// `[[pop]]`, in file order.
    pub pops: Vec<Pop>,
    /// `[[pool]]`, in file order.
    pub pools: Vec<Pool>,
    /// `[[zone]]`, in file order.
    pub zones: Vec<Zone>,
    /// `zone_folders`: more zones, one for each file `NAME.zone` in them.
    pub zone_folders: Vec<ZoneFolder>,
    /// `[[test]]`, in file order.
    pub tests: Vec<SteeringTest>,
    /// `[bgp]`; `None`: this server announces nothing.
    pub bgp: Option<Bgp>,
}

impl Config {
    /// The PoP of an index that this configuration gave out.
    pub fn pop(&self, id: PopId) -> &Pop {
        &self.pops[id.index()]
    }

    /// The pool of an index that this configuration gave out.
    pub fn pool(&self, id: PoolId) -> &Pool {
        &self.pools[id.index()]
    }

    /// The check of an index that this configuration gave out.
    pub fn check(&self, id: CheckId) -> &Check {
        &self.checks[id.index()]
    }

    /// How a pool's checks are called together: `edge`, or `all(a, b)`. The name of one check holds
    /// neither brackets nor commas.
    pub fn check_name(&self, check: &PoolCheck) -> String {
        let names: Vec<&str> = check
            .checks
            .iter()
            .map(|id| self.check(*id).name.as_str())
            .collect();
        match (names.as_slice(), check.rule) {
            ([one], _) => (*one).to_owned(),
            (_, CheckRule::All) => format!("all({})", names.join(", ")),
            (_, CheckRule::Any) => format!("any({})", names.join(", ")),
        }
    }

    /// Points mistakes about a file as a whole (missing, unreadable, of the wrong kind) at the
    /// key that names the file. Other mistakes stay as they are.
    pub fn blame(&self, mut found: Diagnostics) -> Diagnostics {
        for one in &mut found.0 {
            if !one.source.is_empty() {
                continue;
            }
            let named = |n: &&NamedFile| n.path == one.file;
            let same_key = |n: &&NamedFile| named(n) && n.at.key == one.key;
            let mut all = self.named_files.iter();
            if let Some(n) = all.clone().find(same_key).or_else(|| all.find(named)) {
                let message = format!("{}: {}", quote(&n.path.display().to_string()), one.message);
                *one = n.at.mistake(message, std::mem::take(&mut one.help));
            }
        }
        found
    }

    /// The PoP of this name.
    pub fn pop_by_name(&self, name: &str) -> Option<PopId> {
        let at = self.pops.iter().position(|p| p.name == name)?;
        u16::try_from(at).ok().map(PopId)
    }
}

/// A file that a key names: a zone, a database, a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The file, joined to the configuration's directory.
    pub path: PathBuf,
    /// Where the configuration names it.
    pub at: Place,
}

/// `[explain]`: who may ask the DNS itself why an answer is what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explain {
    /// Networks that queries for it come from; empty: nobody.
    pub clients: Vec<IpNet>,
}

/// `[anomalies]`: what is told as unlike the recent past.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anomalies {
    /// More than so many times what is usual, or less than that part of it; from 1.5.
    pub factor: f64,
    /// Answers a second, seen or usual, below which traffic is not judged.
    pub queries: f64,
    /// Part of the usual share of usable endpoints that may be lost.
    pub health_drop: f64,
    /// Age from which a geo database is old.
    pub geo_age: Duration,
}

impl Default for Anomalies {
    fn default() -> Self {
        Self {
            factor: 3.0,
            queries: 10.0,
            health_drop: 0.2,
            geo_age: Duration::from_secs(60 * 86_400),
        }
    }
}

/// `[geo]`
#[derive(Clone, Debug, PartialEq)]
pub struct Geo {
    /// City or country databases, in order; empty: the bundled country database.
    pub city: Vec<PathBuf>,
    /// ASN databases.
    pub asn: Vec<PathBuf>,
    /// Operator networks, beating the database.
    pub networks: Vec<GeoNetwork>,
}

/// `[[geo.network]]`
#[derive(Clone, Debug, PartialEq)]
pub struct GeoNetwork {
    /// The network, host bits zero.
    pub prefix: IpNet,
    /// Where its clients are.
    pub location: Option<Coordinates>,
    /// The PoP its clients are pinned to.
    pub pop: Option<PopId>,
}

/// Steering of a service; `[steering]` holds the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Steering {
    /// Weight of the distance term. Default 0.3.
    pub distance: f64,
    /// Weight of the latency term: measured, or estimated from the distance. Default 0.4.
    pub latency: f64,
    /// Weight of the load term; counts in pools of which a PoP has a load source. Default 0.3.
    pub load: f64,
    /// PoPs whose score is this close to the best share clients by weight. Default 5 ms.
    pub tolerance: Duration,
    /// Addresses per answer, at least 1. Default 1.
    pub answers: usize,
    /// TTL of steered answers. Default 30 s.
    pub ttl: Ttl,
    /// How far the TTL is lowered while a verdict may flip; at most `ttl`. Default half of it.
    pub ttl_min: Option<Ttl>,
    /// Share of a PoP's endpoints that must be up. Default 0.5.
    pub min_health: Ratio,
    /// Soft limit of a PoP's load ÷ capacity: above it clients move. Default 0.7.
    pub target_load: Ratio,
    /// How PoPs are ordered.
    pub policy: Policy,
    /// Longest scope prefix given out.
    pub scope_max: ScopeMax,
}

impl Steering {
    /// How far the TTL is lowered while a verdict may flip.
    pub fn ttl_min(&self) -> Ttl {
        self.ttl_min.unwrap_or(Ttl(self.ttl.0 / 2)).min(self.ttl)
    }
}

/// How the PoPs of a pool are ordered for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// By score: distance, latency, load.
    Score,
    /// By the order of the pool's list.
    Failover,
}

/// Longest ECS scope prefix, per family. Default 24 and 56.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ScopeMax {
    /// 1..=32
    pub ipv4: u8,
    /// 1..=128
    pub ipv6: u8,
}

/// `[[pop]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Pop {
    /// Short name, unique: 1–63 of `a-z 0-9 - _`.
    pub name: String,
    /// Where it stands.
    pub location: Coordinates,
    /// Share of clients among PoPs within tolerance. Default 100.
    pub weight: Weight,
    /// Subtracted from the score: draws clients from farther away; may be negative. Milliseconds.
    pub bias_ms: f64,
    /// Service addresses; at least one, each once.
    pub endpoints: Vec<IpAddr>,
    /// Which clients it may serve.
    pub serves: Fence,
    /// What it can carry, in the unit of its load source, above 0; `None`: never full.
    pub capacity: Option<f64>,
    /// Where its load is read.
    pub load: Option<LoadSource>,
    /// Time in which it grows to its full share after recovery or first use. Default 0.
    pub ramp: Duration,
}

/// `serves = { continents, countries, exclude_countries }`. Empty lists fence nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    /// Two-letter continent codes, upper case: AF AN AS EU NA OC SA.
    pub continents: Vec<[u8; 2]>,
    /// ISO 3166-1 alpha-2 codes, upper case.
    pub countries: Vec<[u8; 2]>,
    /// ISO 3166-1 alpha-2 codes, upper case.
    pub exclude_countries: Vec<[u8; 2]>,
}

impl Fence {
    /// Whether nothing is fenced.
    pub fn is_open(&self) -> bool {
        self.continents.is_empty() && self.countries.is_empty() && self.exclude_countries.is_empty()
    }
}

/// `[[pool]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Unique name.
    pub name: String,
    /// How its endpoints are tested; `None`: never tested, always usable.
    pub check: Option<PoolCheck>,
    /// Its PoPs, in the operator's order, each once.
    pub pops: Vec<PopId>,
    /// Last resort when every PoP is down; may be empty.
    pub fallback: Vec<IpAddr>,
    /// `anycast`: what clients get unless a single PoP was measured to be better.
    pub anycast: Option<Anycast>,
}

/// `anycast` and `anycast_margin` of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anycast {
    /// One address of either family or both.
    pub addresses: Vec<IpAddr>,
    /// By how much a PoP's own address must be better. Default 10 ms.
    pub margin: Duration,
}

/// `check = "edge"`, `check = { all = ["a", "b"] }` or `check = { any = ["a", "b"] }`: under which
/// checks an endpoint is tested, and how their verdicts are combined.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolCheck {
    /// How. Without meaning for a single check.
    pub rule: CheckRule,
    /// At least one, ascending, each once.
    pub checks: Vec<CheckId>,
}

/// How the verdicts of several checks are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckRule {
    /// Every check must hold.
    All,
    /// One check that holds is enough.
    Any,
}

impl PoolCheck {
    /// One check alone.
    pub fn one(check: CheckId) -> Self {
        Self {
            rule: CheckRule::All,
            checks: vec![check],
        }
    }
}

/// `[[zone]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// The apex.
    pub name: Name,
    /// RFC 1035 master file.
    pub file: PathBuf,
    /// Where the name stands, for messages about the zone's services.
    pub at: Place,
    /// `[[zone.service]]`, in file order.
    pub services: Vec<Service>,
}

/// An entry of `zone_folders`: every file `NAME.zone` in it is the zone NAME. What is in it shows
/// only when the zones are read.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneFolder {
    /// The folder, joined to the configuration's directory.
    pub path: PathBuf,
    /// Where it is named.
    pub at: Place,
}

/// A place in the configuration, kept so that later stages can point at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// File of the entry.
    pub file: PathBuf,
    /// Text of that file.
    pub source: std::sync::Arc<str>,
    /// Byte range of the value.
    pub span: std::ops::Range<usize>,
    /// Key path.
    pub key: String,
}

impl Place {
    /// A mistake that a later stage found about what stands here.
    pub fn mistake(&self, message: impl Into<String>, help: impl Into<String>) -> Diagnostic {
        Diagnostic {
            file: self.file.clone(),
            source: self.source.clone(),
            span: self.span.clone(),
            key: self.key.clone(),
            message: message.into(),
            help: help.into(),
        }
    }
}

/// `[[zone.service]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Absolute owner name (the wildcard label included, when given).
    pub name: Name,
    /// The PoPs that may answer.
    pub pool: PoolId,
    /// `[steering]` with the service's own keys laid over it.
    pub steering: Steering,
    /// Where it stands.
    pub at: Place,
}

/// `[[test]]`: the operator's own expectation.
#[derive(Clone, Debug, PartialEq)]
pub struct SteeringTest {
    /// The service asked for.
    pub name: Name,
    /// A or AAAA. Default A.
    pub family: Family,
    /// The client prefix (an address alone is /32 or /128).
    pub client: IpNet,
    /// PoPs taken as down.
    pub down: Vec<PopId>,
    /// The PoP that must answer.
    pub expect: PopId,
    /// Where it stands.
    pub at: Place,
}

/// Address family of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Family {
    /// A
    #[serde(rename = "A")]
    V4,
    /// AAAA
    #[serde(rename = "AAAA")]
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}
