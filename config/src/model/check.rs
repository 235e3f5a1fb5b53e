//! How endpoints are tested: `[check.NAME]`.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use crate::{Name, PassiveCheck};

/// `[check.NAME]`
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// The key under `[check]`.
    pub name: String,
    /// What is tested.
    pub kind: CheckKind,
    /// Port of the target. Default 80 for http, 443 for https and tls, 53 for dns; required for tcp
    /// and grpc; without meaning for icmp and passive.
    pub port: u16,
    /// Time between probes of one target. Default 5 s. A passive check follows the load source's.
    pub interval: Duration,
    /// A probe that takes longer fails. Default 2 s.
    pub timeout: Duration,
    /// Consecutive failures until Down. Default 3.
    pub fall: u32,
    /// Consecutive passes until Up. Default 2.
    pub rise: u32,
    /// A pass that took longer than this is a failure.
    pub max_latency: Option<Duration>,
    /// First time for which a target that goes up and down too often is held down; zero: never.
    /// Default 1 min.
    pub hold_down: Duration,
}

impl Check {
    /// The PEM roots that it reads.
    pub fn ca_file(&self) -> Option<&PathBuf> {
        self.kind.tls()?.ca_file.as_ref()
    }

    pub(crate) fn ca_file_mut(&mut self) -> Option<&mut PathBuf> {
        match &mut self.kind {
            CheckKind::Https(_, tls) | CheckKind::Tls(tls) => tls.ca_file.as_mut(),
            CheckKind::Grpc(grpc) => grpc.tls.as_mut()?.ca_file.as_mut(),
            _ => None,
        }
    }
}

/// The kind of a check with the keys that belong to it.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// Plain HTTP.
    Http(HttpCheck),
    /// HTTP over TLS, certificate and name verified.
    Https(HttpCheck, TlsCheck),
    /// The connection is accepted.
    Tcp,
    /// The TLS handshake succeeds, certificate and name verified.
    Tls(TlsCheck),
    /// A DNS server answers (RFC 1035).
    Dns(DnsCheck),
    /// An echo request is answered (RFC 792, RFC 4443 §4).
    Icmp,
    /// A program ends with 0, as monitoring plugins do.
    Exec(ExecCheck),
    /// The gRPC health checking protocol says SERVING.
    Grpc(GrpcCheck),
    /// Few errors among the requests that the PoP's load source tells of; nothing is sent to its
    /// endpoints.
    Passive(PassiveCheck),
}

impl CheckKind {
    /// The TLS part, where there is one.
    pub fn tls(&self) -> Option<&TlsCheck> {
        match self {
            Self::Https(_, tls) | Self::Tls(tls) => Some(tls),
            Self::Grpc(grpc) => grpc.tls.as_ref(),
            _ => None,
        }
    }

    /// The name of the host that the check itself gives, with a port perhaps.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Http(http) | Self::Https(http, _) => http.host.as_deref(),
            Self::Grpc(grpc) => grpc.host.as_deref(),
            _ => None,
        }
    }
}

/// The DNS part of a check.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsCheck {
    /// QNAME
    pub query: Name,
    /// QTYPE. Default A.
    pub qtype: QueryType,
    /// Default UDP.
    pub transport: ProbeTransport,
    /// RCODE that passes. Default 0, NOERROR.
    pub rcode: u16,
    /// An address that must be among the answers.
    pub answer: Option<IpAddr>,
}

/// Types that a check may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum QueryType {
    /// A
    A = 1,
    /// NS
    Ns = 2,
    /// SOA
    Soa = 6,
    /// MX
    Mx = 15,
    /// TXT
    Txt = 16,
    /// AAAA
    Aaaa = 28,
}

/// How a DNS check asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeTransport {
    /// One datagram.
    Udp,
    /// One connection.
    Tcp,
}

/// The program of a check.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecCheck {
    /// Absolute path of the program and its arguments, in which `{address}`, `{port}` and `{pop}`
    /// are replaced. Not empty.
    pub command: Vec<String>,
}

/// The gRPC part of a check.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcCheck {
    /// `service` of the request; empty: the server as a whole.
    pub service: String,
    /// `:authority`. Default: the endpoint's address and port.
    pub host: Option<String>,
    /// Over TLS; `None`: plain HTTP/2.
    pub tls: Option<TlsCheck>,
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
    /// Ask in HTTP/2: by ALPN over TLS, by prior knowledge without.
    pub http2: bool,
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
    /// A certificate that ends in fewer days is a failure.
    pub min_days: Option<u32>,
}
