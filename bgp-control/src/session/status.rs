//! What the speaker tells: the state of each session, and events.

use std::{net::IpAddr, time::SystemTime};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Attributes;

/// State of a session (RFC 4271 §8.2.2), as operators know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Not trying; a reason stands beside it.
    #[default]
    Idle,
    /// A connection is being opened.
    Connect,
    /// Waiting for the next attempt, or to be dialled.
    Active,
    /// Our OPEN is sent.
    OpenSent,
    /// The peer's OPEN is accepted.
    OpenConfirm,
    /// Routes flow.
    Established,
}

impl SessionState {
    /// The word in `status` and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connect => "connect",
            Self::Active => "active",
            Self::OpenSent => "open_sent",
            Self::OpenConfirm => "open_confirm",
            Self::Established => "established",
        }
    }
}

/// All there is to say of one peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its AS number in the configuration.
    pub remote_as: u32,
    /// State of the session.
    pub state: SessionState,
    /// When it came into this state.
    pub since: SystemTime,
    /// Why the last session or attempt ended; text of peers is escaped.
    pub last_error: Option<String>,
    /// What was agreed; of an established session only.
    pub agreed: Option<Agreed>,
    /// Routes that the peer holds from us: written to its connection in this session.
    pub routes: Vec<InstalledRoute>,
    /// Routes that are wanted but cannot go to this peer, with the reason.
    pub refused: Vec<RefusedRoute>,
    /// Warnings found when the session came up.
    pub lint: Vec<String>,
    /// Counters since the speaker started.
    pub counters: Counters,
}

/// What both OPENs agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Agreed {
    /// Our address of the connection.
    pub local_address: IpAddr,
    /// The peer's BGP Identifier.
    pub peer_router_id: std::net::Ipv4Addr,
    /// Hold time, seconds; 0: no keepalives.
    pub hold_time_seconds: u16,
    /// IPv4 unicast routes may be sent.
    pub ipv4_unicast: bool,
    /// IPv6 unicast routes may be sent.
    pub ipv6_unicast: bool,
    /// IPv4 routes with IPv6 next hops may be sent (RFC 8950).
    pub extended_next_hop: bool,
    /// AS numbers of four octets (RFC 6793).
    pub four_octet_as: bool,
    /// Route refresh (RFC 2918).
    pub route_refresh: bool,
}

/// A route as the peer was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledRoute {
    /// The prefix.
    pub prefix: IpNet,
    /// The next hop on the wire.
    pub next_hop: IpAddr,
    /// Its attributes.
    pub attributes: Attributes,
}

/// A wanted route that is not sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedRoute {
    /// The prefix.
    pub prefix: IpNet,
    /// Why.
    pub reason: String,
}

/// Counters of one peer since the speaker started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Sessions that reached Established.
    pub established: u64,
    /// UPDATEs sent.
    pub updates_sent: u64,
    /// UPDATEs received, all ignored.
    pub updates_received: u64,
    /// Prefixes that the peer announced to us; none is imported.
    pub prefixes_ignored: u64,
    /// UPDATEs with an error that RFC 7606 treats as a withdrawal.
    pub treated_as_withdraw: u64,
    /// Malformed attributes that RFC 7606 discards.
    pub attributes_discarded: u64,
    /// NOTIFICATIONs sent.
    pub notifications_sent: u64,
    /// NOTIFICATIONs received.
    pub notifications_received: u64,
    /// Route refreshes answered.
    pub refreshes_answered: u64,
    /// Connections closed by collision resolution (RFC 4271 §6.8).
    pub collisions: u64,
    /// Keepalives that were due and withheld because DNS was not served.
    pub keepalives_withheld: u64,
}

/// Something that happened to a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerEvent {
    /// Name of the peer.
    pub peer: String,
    /// What happened.
    #[serde(flatten)]
    pub kind: PeerEventKind,
}

/// Kinds of [`PeerEvent`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PeerEventKind {
    /// The session is established.
    Up {
        /// Warnings of the session-up lint.
        lint: Vec<String>,
    },
    /// The session has ended.
    Down {
        /// Why; text of peers is escaped.
        reason: String,
    },
    /// Something goes on that an operator should see: a peer that sends too much, a wrong AS, an
    /// authentication failure, a server that serves no DNS.
    Alarm {
        /// What it is.
        text: String,
    },
    /// What the peer holds now differs from before.
    Sent {
        /// Prefixes announced or changed.
        announced: Vec<IpNet>,
        /// Prefixes withdrawn.
        withdrawn: Vec<IpNet>,
    },
}
