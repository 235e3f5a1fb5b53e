//! What the controller is told of its site and its prefixes.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;

use crate::{Attributes, Drain, Site};

/// Settings of the controller; replaced whole by [`reload`](crate::Controller::reload).
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What the guard needs to know of the site.
    pub site: Site,
    /// The sites share a permit store. Without one nobody can count the other sites.
    pub shared_store: bool,
    /// Decide and tell, but announce nothing and ask other sites for nothing.
    pub dry_run: bool,
    /// Share of the announced prefixes, in percent, that a reload may drop without confirmation.
    pub drop_limit_percent: u8,
    /// Intervals and thresholds.
    pub timing: Timing,
    /// The prefixes; nothing else is ever announced by automation.
    pub announce: Vec<PrefixSettings>,
}

impl Settings {
    /// Settings of a site without prefixes, without a shared store, with the default timing.
    pub fn new(site: Site) -> Self {
        Self {
            site,
            shared_store: false,
            dry_run: false,
            drop_limit_percent: 50,
            timing: Timing::default(),
            announce: Vec::new(),
        }
    }
}

/// One prefix to announce.
#[derive(Clone, Debug, PartialEq)]
pub struct PrefixSettings {
    /// The prefix.
    pub prefix: IpNet,
    /// Next hop; `None` is the local address of each session.
    pub next_hop: Option<IpAddr>,
    /// Attributes while all is well.
    pub attributes: Attributes,
    /// What decides whether it is announced.
    pub health: Health,
    /// Service addresses to put on the interface and to probe; a prefix of one address has that.
    pub addresses: Vec<IpAddr>,
    /// How it is emptied.
    pub drain: Drain,
    /// A drain waits at most this long for its clients to leave, but at least its `min_time`.
    pub drain_max: Duration,
    /// Below so many queries a second on the prefix its clients have left.
    pub quiet_rate: f64,
}

impl PrefixSettings {
    /// Whether our own probes can say anything about it.
    pub(crate) fn is_probed(&self) -> bool {
        !self.addresses.is_empty()
    }
}

/// Whose health a prefix follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// This server answers on the service addresses.
    Own,
    /// The verdict of the PoP of this name, and our own probes.
    Pop(String),
}

/// Intervals and thresholds of the controller.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// From the first good sign after the start to the first announcement.
    pub startup_delay: Duration,
    /// Time in good health before a prefix is announced again; doubles with every automatic
    /// withdrawal, and halves after every [`Timing::hold_down_decay`] without one.
    pub hold_down: Duration,
    /// The hold-down never grows beyond this.
    pub hold_down_max: Duration,
    /// See [`Timing::hold_down`].
    pub hold_down_decay: Duration,
    /// Automatic withdrawals, with older ones counting less, that make a prefix Suppressed.
    pub suppress: f64,
    /// The count below which a Suppressed prefix may come back.
    pub reuse: f64,
    /// Time in which a withdrawal counts half.
    pub half_life: Duration,
    /// Passes in a row until healthy.
    pub rise: u32,
    /// Failures in a row until fatal.
    pub fall: u32,
    /// Time that steering gets to send clients elsewhere before the route changes.
    pub steering_settle: Duration,
    /// A query rate older than this says nothing.
    pub rate_fresh: Duration,
    /// Without an answer of the permit store for so long, the withdrawal counts as refused.
    pub permit_patience: Duration,
    /// An operator's blackhole ends after at most this long.
    pub blackhole_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            startup_delay: Duration::from_secs(10),
            hold_down: Duration::from_secs(10),
            hold_down_max: Duration::from_secs(600),
            hold_down_decay: Duration::from_secs(600),
            suppress: 5.0,
            reuse: 2.5,
            half_life: Duration::from_secs(900),
            rise: 3,
            fall: 2,
            steering_settle: Duration::from_secs(5),
            rate_fresh: Duration::from_secs(10),
            permit_patience: Duration::from_secs(1),
            blackhole_max: Duration::from_secs(24 * 3600),
        }
    }
}
