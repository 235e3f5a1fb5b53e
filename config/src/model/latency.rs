//! Measured latency: `[latency]`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;

use super::{Config, PoolId, PopId};

/// `[latency]`: what is kept of measured round-trip times, and where they come from beside
/// `POST /api/v1/latency`.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencySection {
    /// How long a measurement counts. Default 1 h.
    pub window: Duration,
    /// Measurements that a percentile needs at least. Default 20.
    pub min_samples: u32,
    /// Pairs of client prefix and PoP that are kept at most. Default 5,000,000.
    pub rows: u32,
    /// Measurements a second that one source may bring, on average. Default 10,000.
    pub rate: u32,
    /// Sources whose rate is watched at the same time; beyond them new ones are refused. Default
    /// 65,536.
    pub reporters: u32,
    /// Whether who may use the API is believed whatever it tells; otherwise each caller has one voice.
    /// Default true.
    pub trust_callers: bool,
    /// `[[latency.log]]`: logs of edge proxies that are followed.
    pub logs: Vec<LatencyLog>,
    /// `[latency.syslog]`: logs of edge proxies that come as datagrams.
    pub syslog: Option<LatencySyslog>,
    /// `[latency.beacon]`: measurements of browsers.
    pub beacon: Option<LatencyBeacon>,
    /// `[latency.resolvers]`: round-trip times of our own TCP connections.
    pub resolvers: Option<LatencyResolvers>,
}

impl Default for LatencySection {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(3600),
            min_samples: 20,
            rows: 5_000_000,
            rate: 10_000,
            reporters: 65_536,
            trust_callers: true,
            logs: Vec::new(),
            syslog: None,
            beacon: None,
            resolvers: None,
        }
    }
}

/// To what a round-trip time belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LatencyColumn {
    /// `"fra"`: the way to this PoP.
    Pop(PopId),
    /// `"anycast:edge"`: the way to the anycast address of this pool.
    Anycast(PoolId),
}

/// What stands before the name of a pool.
pub const ANYCAST_COLUMN: &str = "anycast:";

impl LatencyColumn {
    /// As it is written.
    pub fn name(self, config: &Config) -> String {
        match self {
            Self::Pop(pop) => config.pop(pop).name.clone(),
            Self::Anycast(pool) => format!("{ANYCAST_COLUMN}{}", config.pool(pool).name),
        }
    }
}

/// `[[latency.log]]`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LatencyLog {
    /// The file, which may come later.
    pub file: PathBuf,
    /// What its clients were connected to.
    pub pop: LatencyColumn,
}

/// `[latency.syslog]`
#[derive(Clone, Debug, PartialEq)]
pub struct LatencySyslog {
    /// UDP address to listen on.
    pub listen: SocketAddr,
    /// `[[latency.syslog.sender]]`: who may send, at least one.
    pub senders: Vec<LatencySender>,
}

/// `[[latency.syslog.sender]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencySender {
    /// Addresses that it sends from.
    pub address: IpNet,
    /// What its clients were connected to.
    pub pop: LatencyColumn,
}

/// `[latency.beacon]`
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyBeacon {
    /// Address of the endpoint, HTTP without TLS.
    pub listen: SocketAddr,
    /// Origins of the pages that may send; empty: all.
    pub origins: Vec<String>,
    /// Share of page views that measure. Default 0.01.
    pub share: f64,
    /// Measurements of one client address in a minute. Default 20.
    pub per_client: u32,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub proxies: Vec<IpNet>,
    /// `[latency.beacon.urls]`: the tiny object of each PoP, at least one, in file order.
    pub urls: Vec<(LatencyColumn, String)>,
}

/// `[latency.resolvers]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyResolvers {
    /// The PoP that this server stands in.
    pub pop: LatencyColumn,
    /// One in so many connections is looked at. Default 1.
    pub every: u32,
}
