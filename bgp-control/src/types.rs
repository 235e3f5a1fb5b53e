//! The words of the BGP plane.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Stage of one announced prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Not wanted by the configuration.
    Disabled,
    /// Healthy, waiting for rise and hold-down before it is announced.
    Warmup,
    /// Announced with its own attributes.
    Up,
    /// Announced but depreferenced (GRACEFUL_SHUTDOWN, prepend, MED) until its clients have left.
    Draining,
    /// Withdrawn, still serving those who come late.
    Lingering,
    /// Withdrawn.
    Withdrawn,
    /// Unhealthy but announced and depreferenced: automation may not withdraw it.
    Pinned,
    /// Flapped too often; withdrawn until the penalty has decayed.
    Suppressed,
}

impl Stage {
    /// Whether peers hold the route in this stage.
    pub fn is_announced(self) -> bool {
        matches!(self, Self::Up | Self::Draining | Self::Pinned)
    }
}

/// Class of a health finding; it decides what automation may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// All is well.
    Healthy,
    /// Our own sockets do not answer on the service address, or answer wrongly.
    LocalFatal,
    /// The verdict of the PoP that the prefix depends on is Down.
    SiteFatal,
    /// Zone or geo data are too old: depreference only.
    Stale,
    /// Control plane, store or other sites are out of reach: never changes routes.
    Dependency,
    /// An operator's explicit word.
    Operator,
}

/// State of a BFD session as BGP needs to know it (RFC 5880 §4.1, RFC 5882 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BfdState {
    /// Not up, and no reason to act unless it was up before.
    Down,
    /// The path forwards.
    Up,
    /// Switched off here or at the peer: says nothing of the path.
    AdminDown,
}

/// Path attributes of an announcement that we control.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// MULTI_EXIT_DISC (RFC 4271 §5.1.4).
    pub med: u32,
    /// How often our own AS number is prepended.
    pub prepend: u8,
    /// Communities (RFC 1997) as AS:value.
    pub communities: Vec<(u16, u16)>,
    /// Large communities (RFC 8092).
    pub large_communities: Vec<(u32, u32, u32)>,
}

/// GRACEFUL_SHUTDOWN (RFC 8326 §4): 65535:0.
pub const GRACEFUL_SHUTDOWN: (u16, u16) = (0xffff, 0);

impl Attributes {
    /// The same attributes made less attractive (RFC 8326 §3, and for peers that ignore it a
    /// longer path and a higher MED).
    #[must_use]
    pub fn depreferenced(&self, drain: &Drain) -> Self {
        let mut worse = self.clone();
        if !worse.communities.contains(&GRACEFUL_SHUTDOWN) {
            worse.communities.push(GRACEFUL_SHUTDOWN);
        }
        worse.prepend = worse.prepend.saturating_add(drain.prepend);
        worse.med = worse.med.max(drain.med);
        worse
    }
}

/// How a prefix is emptied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drain {
    /// Times that our AS number is prepended.
    pub prepend: u8,
    /// MED while draining.
    pub med: u32,
    /// At least this long before the withdrawal.
    pub min_time: Duration,
    /// At most this long serving after it.
    pub linger: Duration,
}

/// What peers should hold for one prefix: the desired state that reconciliation works towards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// The prefix.
    pub prefix: IpNet,
    /// Next hop; a local address on the link to the peer.
    pub next_hop: IpAddr,
    /// `None`: withdrawn.
    pub attributes: Option<Attributes>,
    /// Why, for `announcements --explain`.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depreferencing_never_makes_a_route_more_attractive() {
        let drain = Drain {
            prepend: 3,
            med: 100,
            min_time: Duration::from_secs(60),
            linger: Duration::from_secs(600),
        };
        let own = Attributes {
            med: 200,
            prepend: 254,
            ..Attributes::default()
        };
        let worse = own.depreferenced(&drain);
        assert_eq!((worse.med, worse.prepend), (200, 255));
        assert_eq!(worse.communities, [GRACEFUL_SHUTDOWN]);
        assert_eq!(worse.depreferenced(&drain).communities, [GRACEFUL_SHUTDOWN]);
    }

    #[test]
    fn announced_stages() {
        assert!(Stage::Pinned.is_announced() && Stage::Draining.is_announced());
        assert!(!Stage::Lingering.is_announced() && !Stage::Suppressed.is_announced());
    }
}
