//! Where the load of a PoP is read: `load = { … }` of `[[pop]]`.

use std::{path::PathBuf, time::Duration};

use crate::TlsCheck;

/// `load` of a PoP.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadSource {
    /// Where the value comes from.
    pub kind: LoadKind,
    /// Time between two readings; for pushed load the longest time between two pushes. A source
    /// is stale after three of them. Default 5 s, for pushed load 30 s.
    pub interval: Duration,
    /// A reading that takes longer fails. Default 2 s, at most the interval. Nothing for pushed
    /// load.
    pub timeout: Duration,
}

/// Kinds of load sources.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadKind {
    /// A page in the Prometheus text format.
    Prometheus {
        /// The page.
        page: LoadPage,
        /// Which series.
        series: SeriesMatch,
        /// Growth of a counter in a second, over this time; zero: between two readings. `None`:
        /// the value itself.
        rate: Option<Duration>,
        /// Add the series that match up; otherwise just one may match.
        sum: bool,
    },
    /// The page of nginx's `stub_status`.
    StubStatus {
        /// The page.
        page: LoadPage,
        /// Which of its numbers.
        field: StubField,
    },
    /// `PUT /api/v1/pops/{pop}/load`.
    Push,
}

impl LoadKind {
    /// The page that is fetched; `None` for pushed load.
    pub fn page(&self) -> Option<&LoadPage> {
        match self {
            Self::Prometheus { page, .. } | Self::StubStatus { page, .. } => Some(page),
            Self::Push => None,
        }
    }

    pub(crate) fn page_mut(&mut self) -> Option<&mut LoadPage> {
        match self {
            Self::Prometheus { page, .. } | Self::StubStatus { page, .. } => Some(page),
            Self::Push => None,
        }
    }
}

/// A page that is fetched with GET.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadPage {
    /// Name or address, an IPv6 address without brackets.
    pub host: String,
    /// Default 80, for https 443.
    pub port: u16,
    /// Path and query, starts with `/`.
    pub path: String,
    /// Over TLS, with these settings.
    pub tls: Option<TlsCheck>,
    /// How it is asked for by name.
    pub login: Option<LoadLogin>,
}

/// The file with what a page asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadLogin {
    /// One line, sent as it is: `Authorization: Bearer` (RFC 6750).
    Token(PathBuf),
    /// One line `user:password`: `Authorization: Basic` (RFC 7617).
    Password(PathBuf),
}

impl LoadLogin {
    /// The file.
    pub fn file(&self) -> &PathBuf {
        match self {
            Self::Token(file) | Self::Password(file) => file,
        }
    }
}

impl LoadPage {
    /// The URL, as it is shown.
    pub fn url(&self) -> String {
        let (scheme, standard) = match self.tls {
            Some(_) => ("https", 443),
            None => ("http", 80),
        };
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        let path = &self.path;
        if self.port == standard {
            format!("{scheme}://{host}{path}")
        } else {
            format!("{scheme}://{host}:{}{path}", self.port)
        }
    }

    /// The PEM roots that it reads.
    pub fn ca_file(&self) -> Option<&PathBuf> {
        self.tls.as_ref()?.ca_file.as_ref()
    }
}

/// Series of one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesMatch {
    /// Name of the metric.
    pub metric: String,
    /// Labels that a series must have; others do not matter.
    pub labels: Vec<LabelMatch>,
}

/// One label of a [`SeriesMatch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMatch {
    /// Name of the label.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The value need only begin so (`"5*"` in the configuration).
    pub prefix: bool,
}

impl LabelMatch {
    /// Whether a value of this label is meant.
    pub fn accepts(&self, value: &str) -> bool {
        match self.prefix {
            true => value.starts_with(&self.value),
            false => value == self.value,
        }
    }
}

/// A number on the page of `stub_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StubField {
    /// Open connections. Default.
    Active,
    /// Connections over which a request is read.
    Reading,
    /// Connections over which a response is written.
    Writing,
    /// Connections that wait for a request.
    Waiting,
    /// Requests in a second, from the counter.
    Requests,
}

/// The passive part of a check: errors that the PoP's load source tells of.
#[derive(Clone, Debug, PartialEq)]
pub struct PassiveCheck {
    /// Counters of what went wrong.
    pub errors: SeriesMatch,
    /// Counters of everything.
    pub requests: SeriesMatch,
    /// Share of errors between two readings that is still a pass. Default 0.05.
    pub max_ratio: f64,
    /// Fewer requests between two readings say nothing, and pass. Default 20.
    pub min_requests: u32,
}
