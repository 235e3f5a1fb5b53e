//! How endpoints are tested: `[check.NAME]`.

use std::{path::PathBuf, time::Duration};

/// `[check.NAME]`
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// The key under `[check]`.
    pub name: String,
    /// What is tested.
    pub kind: CheckKind,
    /// Port of the target. Default 80 for http, 443 for https; required for tcp.
    pub port: u16,
    /// Time between probes of one target. Default 5 s.
    pub interval: Duration,
    /// A probe that takes longer fails. Default 2 s.
    pub timeout: Duration,
    /// Consecutive failures until Down. Default 3.
    pub fall: u32,
    /// Consecutive passes until Up. Default 2.
    pub rise: u32,
    /// A pass that took longer than this is a failure.
    pub max_latency: Option<Duration>,
}

impl Check {
    /// The PEM roots that it reads.
    pub fn ca_file(&self) -> Option<&PathBuf> {
        match &self.kind {
            CheckKind::Https(_, tls) => tls.ca_file.as_ref(),
            CheckKind::Http(_) | CheckKind::Tcp => None,
        }
    }

    pub(crate) fn ca_file_mut(&mut self) -> Option<&mut PathBuf> {
        match &mut self.kind {
            CheckKind::Https(_, tls) => tls.ca_file.as_mut(),
            CheckKind::Http(_) | CheckKind::Tcp => None,
        }
    }
}

/// The kind of a check with the keys that belong to it.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// Plain HTTP/1.1.
    Http(HttpCheck),
    /// HTTP/1.1 over TLS, certificate and name verified.
    Https(HttpCheck, TlsCheck),
    /// The connection is accepted.
    Tcp,
}

/// The HTTP part of a check.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCheck {
    /// `GET` (default) or `HEAD`.
    pub method: HttpMethod,
    /// Path and query. Default `/`.
    pub path: String,
    /// `Host` header. Default: the endpoint's address.
    pub host: Option<String>,
    /// Status codes that pass. Default 200..=299 as one range.
    pub status: Vec<StatusRange>,
    /// The first 64 KiB of the body must contain this.
    pub body: Option<String>,
}

/// Request method of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpMethod {
    /// GET
    Get,
    /// HEAD
    Head,
}

/// Inclusive range of status codes: `200` or `"200-299"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// First code that passes.
    pub first: u16,
    /// Last code that passes.
    pub last: u16,
}

/// The TLS part of a check.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsCheck {
    /// Server name for SNI and verification. Default: `host`, else the endpoint's address.
    pub server_name: Option<String>,
    /// PEM roots. Default: the system's.
    pub ca_file: Option<PathBuf>,
    /// Accept any certificate. Only by this key.
    pub insecure: bool,
}
