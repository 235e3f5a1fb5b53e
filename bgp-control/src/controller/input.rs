//! What goes into the controller and what comes out of it.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use serde::Serialize;

use crate::{Claim, Permit, Stage};

/// Something the controller is told. Every input may come late, twice or out of order; the
/// controller looks at what it knows and the time, never at the order.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// One probe of ours through the service address ended.
    Probe {
        /// The prefix of the address.
        prefix: IpNet,
        /// Why it failed, if it did.
        result: Result<(), String>,
    },
    /// The serving threads have stopped (with the reason), or serve.
    Serving(Result<(), String>),
    /// What the prober says of a PoP.
    Verdict {
        /// The PoP's name.
        pop: String,
        /// The verdict.
        verdict: Verdict,
        /// Why.
        reason: String,
    },
    /// Zone or geo data are too old (with the reason), or fresh.
    Fresh(Result<(), String>),
    /// A dependency is out of reach (with the reason), or all are in reach.
    Dependencies(Result<(), String>),
    /// Queries a second that arrive for the prefix.
    Rate {
        /// The prefix.
        prefix: IpNet,
        /// Queries a second.
        per_second: f64,
    },
    /// The permit store answered.
    Permit {
        /// The prefix.
        prefix: IpNet,
        /// The answer.
        permit: Permit,
        /// A held permit ends here unless another answer comes.
        until: Instant,
    },
    /// The service address is on the interface, or why not.
    Address {
        /// The address.
        address: IpAddr,
        /// Why it is not there, if it is not.
        state: Result<(), String>,
    },
    /// So many peers have been sent the route.
    Sent {
        /// The prefix.
        prefix: IpNet,
        /// Established peers that were sent it.
        peers: u32,
    },
    /// Addresses of ours on the links to peers; a next hop must be one of them.
    Links(Vec<IpAddr>),
    /// Time has passed.
    Tick,
}

/// Verdict of a PoP, as the prober gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its endpoints pass.
    Up,
    /// Its endpoints fail.
    Down,
    /// Nothing is known: nothing changes.
    Unknown,
}

/// An operator's explicit word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Empty and withdraw.
    Drain {
        /// What.
        select: Select,
        /// Why, for the log.
        reason: String,
    },
    /// Withdraw at once, then linger as after a drain.
    Withdraw {
        /// What.
        select: Select,
        /// Why, for the log.
        reason: String,
    },
    /// Automation must not withdraw; announce, if need be depreferenced.
    Pin {
        /// What.
        select: Select,
        /// Why, for the log.
        reason: String,
    },
    /// Takes back a drain, a withdrawal or a pin, from any stage.
    Undo {
        /// What.
        select: Select,
    },
    /// Ask the peers to discard traffic to a host (RFC 7999).
    Blackhole {
        /// A host inside a configured prefix.
        prefix: IpNet,
        /// It ends by itself after so long.
        lasts: Duration,
        /// Why, for the log.
        reason: String,
    },
    /// Ends a blackhole early.
    EndBlackhole {
        /// The host.
        prefix: IpNet,
    },
}

/// What a command means. There is no filter whose emptiness could mean "all".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// The whole site: steering leaves it too, and sessions end at last.
    Site,
    /// These prefixes, each configured, at least one.
    Prefixes(Vec<IpNet>),
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// An empty list is not "all".
    #[error("refused: no prefix is named; name each one, or the whole site")]
    Nothing,
    /// A prefix that is not configured.
    #[error("refused: {0} is not a configured prefix")]
    Unknown(IpNet),
    /// RFC 7999 §3.3: more specific than what is announced, and in our own space.
    #[error("refused: {0} is not a host (/32 or /128) inside a configured prefix")]
    NotOurHost(IpNet),
    /// Without an end a blackhole is forgotten.
    #[error("refused: a blackhole lasts between 1 s and {} s", .0.as_secs())]
    BadDuration(Duration),
    /// Nothing to end.
    #[error("refused: {0} is not blackholed")]
    NotBlackholed(IpNet),
}

/// Why a reload was refused; everything stays as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// Too many prefixes would go.
    #[error(
        "reload refused: it drops {dropped} of {announced} announced prefixes, over {percent} %; confirm it"
    )]
    DropsTooMany {
        /// Announced prefixes that the new configuration lacks.
        dropped: usize,
        /// Announced prefixes.
        announced: usize,
        /// The limit.
        percent: u8,
    },
}

/// Something for the shell to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// [`routes`](crate::Controller::routes) has changed: hand it to the speaker.
    Publish,
    /// Put a service address on the interface.
    AddAddress(IpAddr),
    /// Take a service address off the interface.
    RemoveAddress(IpAddr),
    /// Tell the permit store what this site does with the prefix.
    Claim {
        /// The prefix.
        prefix: IpNet,
        /// The claim; it stands until the next one.
        claim: Claim,
    },
    /// Probe again at once: the last probe failed where none failed before.
    ProbeAgain(IpNet),
    /// Steering must not choose this site.
    ExcludeFromSteering,
    /// Steering may choose this site again.
    IncludeInSteering,
    /// End all sessions with Cease and this text (RFC 9003).
    Cease(String),
    /// Open the sessions again after a Cease.
    OpenSessions,
    /// For the log, the event stream and the counters.
    Event(Event),
}

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// The prefix; `None` for the site.
    pub prefix: Option<IpNet>,
    /// The stage before and after, if it changed.
    pub change: Option<(Stage, Stage)>,
    /// Why, in one of few words.
    pub cause: Cause,
    /// What happened, in a sentence.
    pub text: String,
    /// An operator should look now.
    pub alarm: bool,
}

/// Why a stage changed; the label `reason` of `bgp_transitions_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The configuration wants it so.
    Configuration,
    /// Health came back.
    Healthy,
    /// A local-fatal finding.
    LocalFatal,
    /// A site-fatal finding.
    SiteFatal,
    /// Data too old.
    Stale,
    /// An operator's word.
    Operator,
    /// The permit ended or was taken back.
    PermitLost,
    /// It flapped.
    Flapping,
    /// A dependency is out of reach, or back.
    Dependency,
    /// The last step of what was begun.
    Done,
}

impl Cause {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Healthy => "healthy",
            Self::LocalFatal => "local_fatal",
            Self::SiteFatal => "site_fatal",
            Self::Stale => "stale",
            Self::Operator => "operator",
            Self::PermitLost => "permit_lost",
            Self::Flapping => "flapping",
            Self::Dependency => "dependency",
            Self::Done => "done",
        }
    }
}

/// Everything about one prefix, for `announcements --explain`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The prefix.
    pub prefix: IpNet,
    /// Its stage.
    pub stage: Stage,
    /// For how long.
    pub stage_for: Duration,
    /// Why it is in that stage.
    pub why: String,
    /// What it waits for, if it waits.
    pub waits_for: Option<String>,
    /// The last refusal of a withdrawal, while it stands.
    pub refusal: Option<String>,
    /// In how long it may change by itself at the earliest.
    pub next_change: Option<Duration>,
    /// Why the route is not sent although it is wanted.
    pub not_sent: Option<String>,
    /// Peers that were sent it.
    pub sent_to: u32,
    /// An operator must look.
    pub alarm: bool,
}
