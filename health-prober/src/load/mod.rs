//! Reads how much each PoP has to do, from where its operators already count it.
//!
//! ```text
//! schedule → fetch → page (text, stub) → growth → gauge ─→ Loads → snapshot, watch
//! PUT …/load ──────────────────────────────────────┘
//!                       └→ errors ÷ requests → Outcome → Engine::observe (passive checks)
//! ```
//!
//! `text` and `stub` read pages, `growth` counters, `gauge` knows what silence means, `passive` judges
//! errors, `unit` tells what is counted, `book` is the
//! one value that holds every source, still without a clock; `runner` is the task around it and
//! [`crate::probe::Fetcher`] the network.
//!
//! # Silence
//! A source that gives nothing, or nothing that makes sense, keeps its last value: fresh for three
//! intervals, then stale, and unknown after ten. It never becomes zero: a PoP whose exporter died
//! must not look idle.

mod access;
mod book;
mod gauge;
mod growth;
mod metrics;
mod passive;
mod runner;
mod stub;
mod text;
mod unit;

use std::fmt;

use crate::{LocalReason, Outcome, Reason};

pub(crate) use access::Access;
pub(crate) use book::{Book, Fetch, Observation};
pub(crate) use gauge::KNOWN;
pub(crate) use metrics::LoadCollector;
pub(crate) use runner::{LoadRunner, Shared};
pub(crate) use stub::{STUB_LIMIT, StubStatus};
pub use text::fuzz;
pub(crate) use text::{Found, Reader};

/// What was on a page.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Page {
    /// The series of each selector, in their order.
    Series(Vec<Found>),
    /// nginx.
    Stub(StubStatus),
}

/// Why a reading gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The source's doing.
    Source(Reason),
    /// Our own.
    Local(LocalReason),
    /// The name of its host has no address.
    Resolve,
    /// What it is to be told of who asks is not known.
    Login(String),
    /// It says that the page is elsewhere.
    Redirect(u16),
    /// It wants to know who asks, or knows and refuses.
    Forbidden(u16),
    /// Compressed, which was not asked for.
    Encoded(String),
    /// More octets than a page may have.
    TooLarge,
    /// A line of the page cannot be read.
    Syntax(Box<Broken>),
    /// The page is not the one of nginx.
    NoStub,
    /// No series matches.
    NoSeries,
    /// Several series match, and the source does not add them up.
    SeveralSeries(usize),
    /// One series stands twice.
    Twice,
    /// More series match than are kept.
    TooManySeries,
    /// Not a number, negative, without end, or beyond any load.
    Absurd,
}

/// A line of a wanted metric that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Which, from 1.
    line: u64,
    /// As the configuration names it.
    metric: String,
    /// What is wrong.
    what: &'static str,
}

impl Fault {
    /// Value of the label `outcome` of a reading.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Source(reason) => Outcome::Fail {
                reason: reason.clone(),
            }
            .label(),
            Self::Local(_) => "inconclusive",
            Self::Resolve => "resolve",
            Self::Login(_) => "login",
            Self::Redirect(_) => "redirect",
            Self::Forbidden(_) => "forbidden",
            Self::Encoded(_) => "encoded",
            Self::TooLarge => "too_large",
            Self::Syntax(_) | Self::NoStub => "syntax",
            Self::NoSeries => "no_series",
            Self::SeveralSeries(_) => "several_series",
            Self::Twice => "twice",
            Self::TooManySeries => "too_many_series",
            Self::Absurd => "absurd",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(reason) => reason.fmt(f),
            Self::Local(reason) => reason.fmt(f),
            Self::Resolve => f.write_str("its host name has no address"),
            Self::Login(problem) => f.write_str(problem),
            Self::Redirect(status) => {
                write!(
                    f,
                    "status {status}: name the page that it leads to, redirects are not followed"
                )
            }
            Self::Forbidden(status) => {
                write!(
                    f,
                    "status {status}: look at `token_file` or `password_file`"
                )
            }
            Self::Encoded(coding) => {
                write!(
                    f,
                    "the page comes as {coding:?}, though only plain text was asked for"
                )
            }
            Self::TooLarge => f.write_str("the page is too large"),
            Self::Syntax(broken) => write!(
                f,
                "line {} of the page, metric {}: {}: mend the exporter, or name another metric",
                broken.line, broken.metric, broken.what
            ),
            Self::NoStub => f.write_str(
                "the page is not nginx's stub_status: name the location that has `stub_status`",
            ),
            Self::NoSeries => f.write_str("no series matches"),
            Self::SeveralSeries(count) => {
                write!(f, "{count} series match: add labels, or `sum = true`")
            }
            Self::Twice => f.write_str("one series stands twice on the page"),
            Self::TooManySeries => f.write_str("more than 4096 series match"),
            Self::Absurd => f.write_str("the value is negative, above 1e15 or no number"),
        }
    }
}
