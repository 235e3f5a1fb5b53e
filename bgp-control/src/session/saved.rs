//! An established session between two processes.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::{
    InstalledRoute,
    settings::{PeerSettings, SpeakerSettings},
};

/// What a successor needs to go on with a session, besides its connection. Serialisable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedSession {
    /// Name of the peer.
    pub peer: String,
    /// The settings that the session was made with; with others it cannot go on.
    pub made_with: MadeWith,
    /// The peer dialled us.
    pub accepted: bool,
    /// The peer's OPEN as it came: both sides derive the same agreement from it.
    pub their_open: Vec<u8>,
    /// What the peer holds (Adj-RIB-Out).
    pub routes: Vec<InstalledRoute>,
    /// Octets that were received but not handled yet: less than one message.
    pub unread: Vec<u8>,
    /// Octets that the kernel has not taken yet.
    pub unsent: Vec<u8>,
    /// End-of-RIB has not been sent yet.
    pub end_of_rib_due: bool,
    /// Until the peer counts as silent, milliseconds.
    pub hold_left_millis: u64,
}

/// What an OPEN of ours and a connection are made of; keys are left out, since the kernel goes on
/// with those that the connection has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeWith {
    /// Our AS number.
    pub local_as: u32,
    /// Our BGP Identifier.
    pub router_id: std::net::Ipv4Addr,
    /// Our proposed hold time, seconds.
    pub hold_seconds: u16,
    /// The peer's address.
    pub address: std::net::IpAddr,
    /// The peer's AS number.
    pub remote_as: u32,
    /// TTL security.
    pub gtsm: bool,
}

impl MadeWith {
    pub(super) fn of(local: &SpeakerSettings, peer: &PeerSettings) -> Self {
        Self {
            local_as: local.local_as,
            router_id: local.router_id,
            hold_seconds: local.hold_seconds(),
            address: peer.address,
            remote_as: peer.remote_as,
            gtsm: peer.gtsm,
        }
    }
}

/// An established session on its way out.
#[derive(Debug)]
pub struct HandedOver {
    /// Its connection.
    pub fd: OwnedFd,
    /// Its state, to be serialised.
    pub session: SavedSession,
}

/// An established session on its way in: the other end of [`HandedOver`].
#[derive(Debug)]
pub struct Inherited {
    /// Its connection.
    pub fd: OwnedFd,
    /// Its state.
    pub session: SavedSession,
}

impl From<HandedOver> for Inherited {
    fn from(handed: HandedOver) -> Self {
        Self {
            fd: handed.fd,
            session: handed.session,
        }
    }
}
