//! What the speaker is told: who we are, who the peers are.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use meridian_config::{Bgp, BgpAuth, BgpPeer, SecretFile};

/// The port of BGP (RFC 4271 §8.2.1).
pub const BGP_PORT: u16 = 179;

/// Everything that a [`Speaker`](super::Speaker) needs to know. Two equal values mean the same
/// sessions, so that a reload can tell which of them it has to touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeakerSettings {
    /// Our AS number.
    pub local_as: u32,
    /// Our BGP Identifier.
    pub router_id: Ipv4Addr,
    /// Proposed hold time: 0, or 3 s to 65,535 s, whole seconds (RFC 4271 §4.2).
    pub hold_time: Duration,
    /// Port on which peers may reach us; 0: not listening.
    pub listen_port: u16,
    /// The only prefixes that may ever leave this server. Others are refused at the last step,
    /// whatever asked for them. A route with BLACKHOLE (RFC 7999) may be more specific than one.
    pub prefixes: Vec<IpNet>,
    /// The sessions.
    pub peers: Vec<PeerSettings>,
    /// Decide, log and report, but open no session.
    pub dry_run: bool,
    /// Depreferencing is by the GRACEFUL_SHUTDOWN community alone, without prepending or MED:
    /// worth a word at session-up, since no peer says whether it honours it.
    pub relies_on_graceful_shutdown: bool,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// Name in the configuration, in logs and metrics.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// The port it is dialled at.
    pub port: u16,
    /// Our address towards it; `None`: the kernel chooses.
    pub local_address: Option<IpAddr>,
    /// Its AS number.
    pub remote_as: u32,
    /// Never dial, wait to be dialled.
    pub passive: bool,
    /// How segments are authenticated.
    pub auth: Auth,
    /// TTL security (RFC 5082): send 255, accept 255 only.
    pub gtsm: bool,
    /// Whether BFD runs towards it; without it a session-up lint speaks of long hold times.
    pub bfd: bool,
    /// Prefixes a peer may send us in one session before an alarm is raised. They are ignored in
    /// any case, and the session stays.
    pub import_limit: u64,
}

/// Authentication of TCP segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// None.
    #[default]
    None,
    /// There should be a key, and it could not be read: the session stays closed.
    Missing,
    /// TCP-MD5 (RFC 2385).
    Md5(Secret),
    /// TCP-AO (RFC 5925), HMAC-SHA-1-96 (RFC 5926).
    Ao {
        /// Key identifier, both directions.
        key_id: u8,
        /// The key.
        key: Secret,
    },
}

/// A key. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Longest key that the kernel takes, octets.
pub const MAX_SECRET: usize = 80;

impl Secret {
    /// Takes a key of 1 to 80 octets, else gives `None`.
    pub fn new(key: impl Into<Vec<u8>>) -> Option<Self> {
        let key = key.into();
        (1..=MAX_SECRET).contains(&key.len()).then_some(Self(key))
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl PeerSettings {
    /// A peer with the defaults of the configuration.
    pub fn new(name: &str, address: IpAddr, remote_as: u32) -> Self {
        Self {
            name: name.to_owned(),
            address,
            port: BGP_PORT,
            local_address: None,
            remote_as,
            passive: false,
            auth: Auth::None,
            gtsm: false,
            bfd: false,
            import_limit: 1000,
        }
    }

    /// Where it is dialled.
    pub fn dial_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

impl SpeakerSettings {
    /// Settings without peers and prefixes.
    pub fn new(local_as: u32, router_id: Ipv4Addr) -> Self {
        Self {
            local_as,
            router_id,
            hold_time: Duration::from_secs(9),
            listen_port: BGP_PORT,
            prefixes: Vec::new(),
            peers: Vec::new(),
            dry_run: false,
            relies_on_graceful_shutdown: false,
        }
    }

    /// The proposed hold time on the wire, seconds.
    pub(super) fn hold_seconds(&self) -> u16 {
        match self.hold_time.as_secs() {
            0 if self.hold_time.is_zero() => 0,
            // RFC 4271 §4.2: "The Hold Time MUST be either zero or at least three seconds."
            seconds => u16::try_from(seconds.max(3)).unwrap_or(u16::MAX),
        }
    }
}

impl From<&Bgp> for SpeakerSettings {
    fn from(bgp: &Bgp) -> Self {
        let relies = bgp
            .announce
            .iter()
            .any(|announce| announce.drain.prepend == 0 && announce.drain.med <= announce.med);
        Self {
            local_as: bgp.local_as,
            router_id: bgp.router_id,
            hold_time: bgp.hold_time,
            listen_port: bgp.listen_port,
            prefixes: bgp
                .announce
                .iter()
                .map(|announce| announce.prefix)
                .collect(),
            peers: bgp.peers.iter().map(PeerSettings::from).collect(),
            dry_run: bgp.dry_run,
            relies_on_graceful_shutdown: relies,
        }
    }
}

impl From<&BgpPeer> for PeerSettings {
    fn from(peer: &BgpPeer) -> Self {
        Self {
            port: peer.port,
            local_address: peer.local_address,
            passive: peer.passive,
            auth: Auth::from(&peer.auth),
            gtsm: peer.gtsm,
            bfd: peer.bfd.is_some(),
            ..Self::new(&peer.name, peer.address, peer.remote_as)
        }
    }
}

impl From<&BgpAuth> for Auth {
    fn from(auth: &BgpAuth) -> Self {
        let secret = |file: &SecretFile| file.secret.clone().and_then(|key| Secret::new(key.0));
        match auth {
            BgpAuth::Open => Self::None,
            BgpAuth::Md5(file) => secret(file).map_or(Self::Missing, Self::Md5),
            BgpAuth::Ao { key, key_id } => secret(key).map_or(Self::Missing, |key| Self::Ao {
                key_id: *key_id,
                key,
            }),
        }
    }
}
