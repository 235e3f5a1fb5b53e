//! What is announced and why, as `meridian announcements` and `/api/v1/announcements` show it. These
//! types are both written by the server and read by the command line.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Everything about this site at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Announcements {
    /// The PoP that the server stands in; empty when it announces nothing at all.
    pub site: String,
    /// An operator has drained the PoP that the server stands in.
    pub drained: bool,
    /// Nothing is sent: the server only decides and tells.
    pub dry_run: bool,
    /// The prefixes, in the order of the configuration.
    pub prefixes: Vec<PrefixState>,
    /// Hosts whose traffic an operator has peers discard (RFC 7999).
    pub blackholes: Vec<IpNet>,
    /// The peers, in the order of the configuration.
    pub peers: Vec<PeerState>,
    /// Service addresses on the interface.
    pub addresses: Vec<AddressState>,
    /// What an operator should know before relying on it.
    pub notes: Vec<String>,
    /// What needs an operator now.
    pub alarms: Vec<String>,
}

/// One prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrefixState {
    /// The prefix.
    pub prefix: IpNet,
    /// `warmup`, `up`, `draining`, `lingering`, `withdrawn`, `pinned`, `suppressed` or `disabled`.
    pub stage: String,
    /// For how long, in seconds.
    pub stage_seconds: u64,
    /// Why it is in that stage.
    pub why: String,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Why automation was not allowed to withdraw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// In how many seconds it may change by itself at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_change_seconds: Option<f64>,
    /// Why a wanted route is not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_sent: Option<String>,
    /// What peers should hold; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<Route>,
    /// Peers that hold the route, with what they hold.
    pub sent: Vec<SentRoute>,
    /// Queries a second on the prefix; `None` while not yet measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries_per_second: Option<f64>,
    /// The last self-probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
}

/// Path attributes in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The next hop; the unspecified address stands for the local address of each session.
    pub next_hop: IpAddr,
    /// MULTI_EXIT_DISC.
    pub med: u32,
    /// Times that our AS number is prepended.
    pub prepend: u8,
    /// Communities and large communities.
    pub communities: Vec<String>,
}

/// A route that a peer holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentRoute {
    /// Name of the peer.
    pub peer: String,
    /// What it was told last.
    #[serde(flatten)]
    pub route: Route,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerState {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its AS number.
    pub remote_as: u32,
    /// State of the session, such as `established`.
    pub state: String,
    /// For how long, in seconds.
    pub state_seconds: u64,
    /// Why the last session or attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// State of BFD, where it is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<String>,
    /// Warnings found when the session came up.
    pub lint: Vec<String>,
    /// Routes that are wanted but cannot go to this peer.
    pub refused: Vec<String>,
    /// Prefixes that the peer sent; none is used.
    pub ignored: u64,
}

/// One service address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressState {
    /// The address.
    pub address: IpAddr,
    /// Why it is not on the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
