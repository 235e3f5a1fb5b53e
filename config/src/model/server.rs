//! The server itself: `[server]`, `[admin]` and `[log]`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// `[server]`
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// UDP and TCP on each. Default `0.0.0.0:53` and `[::]:53`.
    pub listen: Vec<SocketAddr>,
    /// UDP sockets and tasks for each listen address; 0 = one a core.
    pub workers: usize,
    /// Name server identifier (RFC 5001), also the answer to `id.server`.
    pub nsid: Option<String>,
    /// Overrides and the last good state are kept here. Default `/var/lib/meridian`.
    pub state_directory: PathBuf,
    /// User to become after binding, when started as root.
    pub user: Option<String>,
    /// Answers in class CHAOS.
    pub chaos: Chaos,
    /// `tcp = { connections, per_client, idle_timeout, in_flight }`
    pub tcp: TcpLimits,
}

/// Class CHAOS TXT answers (RFC 4892); `None` is REFUSED.
#[derive(Clone, Debug, PartialEq)]
pub struct Chaos {
    /// `version.bind` and `version.server`. Default `meridian` without a number.
    pub version: Option<String>,
    /// `hostname.bind` and `id.server`. Default: the NSID.
    pub hostname: Option<String>,
}

/// Limits of DNS over TCP.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpLimits {
    /// Connections open at once, all listen addresses together. Default 1024.
    pub connections: usize,
    /// The same of one client: an IPv4 address, or a /64 of IPv6. Default 128.
    pub per_client: usize,
    /// A connection without a query for this long is closed. Default 10 s (RFC 7766 §6.2.3).
    pub idle_timeout: Duration,
    /// Answers of one connection that may wait to be sent. Default 64.
    pub in_flight: usize,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Address of metrics and API. Default `127.0.0.1:9153`.
    pub listen: SocketAddr,
    /// File with the bearer token; required when `listen` is not loopback.
    pub token_file: Option<PathBuf>,
    /// TLS; required when `listen` is not loopback.
    pub tls: Option<AdminTls>,
}

/// `[admin] tls = { certificate, key, client_ca }`
#[derive(Clone, Debug, PartialEq)]
pub struct AdminTls {
    /// PEM certificate chain.
    pub certificate: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
    /// Client certificates signed by this CA are accepted in place of a token.
    pub client_ca: Option<PathBuf>,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `text` (default) or `json`.
    pub format: LogFormat,
    /// A tracing filter such as `info` or `meridian_dns=debug`. Default `info`.
    pub level: String,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
