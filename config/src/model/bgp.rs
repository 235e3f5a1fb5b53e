//! `[bgp]`: this server as a site that announces prefixes.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

use super::PopId;

/// `[bgp]`
#[derive(Clone, Debug, PartialEq)]
pub struct Bgp {
    /// The PoP that this server stands in.
    pub site: PopId,
    /// Our AS number.
    pub local_as: u32,
    /// BGP identifier (RFC 6286: unique within the AS, not zero).
    pub router_id: Ipv4Addr,
    /// Hold time that we offer: zero, or whole seconds from 3 s on. Default 9 s.
    pub hold_time: Duration,
    /// TCP port for sessions that peers open; 0: not listening. Default 179.
    pub listen_port: u16,
    /// Where service addresses are put.
    pub interface: ServiceInterface,
    /// Sites that must go on announcing when this one withdraws by itself. Default 1.
    pub min_sites: u32,
    /// Sites that may have withdrawn by themselves at the same time. Default 1.
    pub max_concurrent: u32,
    /// This site never withdraws by itself.
    pub last_resort: bool,
    /// From the first success of the self-probe after the start to the first announcement.
    pub startup_delay: Duration,
    /// From recovery to the next announcement; doubles on repetition. Default 10 s.
    pub hold_down: Duration,
    /// Where doubling ends. Default 10 min.
    pub hold_down_max: Duration,
    /// Data that could not be renewed for so long makes the site less attractive; `None`: never.
    pub stale_after: Option<Duration>,
    /// Decide and log, but open no session and touch no address.
    pub dry_run: bool,
    /// How the server asks itself.
    pub self_probe: SelfProbe,
    /// `[[bgp.peer]]`, in file order.
    pub peers: Vec<BgpPeer>,
    /// `[[bgp.announce]]`, in file order; at most 64.
    pub announce: Vec<Announce>,
}

/// Where service addresses are put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceInterface {
    /// Addresses are somebody else's business.
    None,
    /// This interface; a dummy one is created when it does not exist.
    Named(String),
}

/// `self_probe = { interval, timeout, rise, fall }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfProbe {
    /// Time between probes. Default 1 s.
    pub interval: Duration,
    /// Time for one answer. Default 500 ms.
    pub timeout: Duration,
    /// Successes that make a prefix healthy. Default 3.
    pub rise: u32,
    /// Failures that make it unhealthy; the second follows the first at once. Default 2.
    pub fall: u32,
}

/// `[[bgp.peer]]`
#[derive(Clone, Debug, PartialEq)]
pub struct BgpPeer {
    /// Unique name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its TCP port. Default 179.
    pub port: u16,
    /// Our address of the session, of the same family; `None`: the kernel chooses.
    pub local_address: Option<IpAddr>,
    /// Its AS number; equal to `local_as` for iBGP.
    pub remote_as: u32,
    /// Wait for it to open the session.
    pub passive: bool,
    /// How segments are authenticated.
    pub auth: BgpAuth,
    /// Generalized TTL Security (RFC 5082): only packets sent with TTL 255 by a direct neighbour.
    pub gtsm: bool,
    /// Bidirectional Forwarding Detection (RFC 5881).
    pub bfd: Option<BgpBfd>,
}

/// Authentication of a session.
#[derive(Clone, Debug, PartialEq)]
pub enum BgpAuth {
    /// None.
    Open,
    /// TCP-MD5 (RFC 2385).
    Md5(SecretFile),
    /// TCP-AO (RFC 5925) with HMAC-SHA-1-96.
    Ao {
        /// The master key.
        key: SecretFile,
        /// `KeyID` in both directions.
        key_id: u8,
    },
}

/// A secret in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// The file.
    pub path: PathBuf,
    /// What stands in it, 1 to 80 octets, without the end of line. `None` when the file was not
    /// read (text alone was parsed) or has gone since the last good state was kept: the session
    /// then stays closed.
    pub secret: Option<Secret>,
}

/// Octets that are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// `bfd = { interval, multiplier }`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BgpBfd {
    /// Desired Min TX and Required Min RX interval. Default 300 ms.
    pub interval: Duration,
    /// Detect Mult. Default 3.
    pub multiplier: u8,
}

/// `[[bgp.announce]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Announce {
    /// The prefix, host bits zero, never a default route; each once.
    pub prefix: IpNet,
    /// Service addresses in it: put on the interface, asked by the self-probe. A prefix of one
    /// address has that one.
    pub addresses: Vec<IpAddr>,
    /// Next hop, of the prefix' family; `None`: the session's local address.
    pub next_hop: Option<IpAddr>,
    /// MULTI_EXIT_DISC. Default 0.
    pub med: u32,
    /// Communities (RFC 1997), sorted.
    pub communities: Vec<(u16, u16)>,
    /// Large communities (RFC 8092), sorted.
    pub large_communities: Vec<(u32, u32, u32)>,
    /// What decides about it.
    pub health: AnnounceHealth,
    /// How it is emptied.
    pub drain: DrainSettings,
}

/// What decides about a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnounceHealth {
    /// This server answers on its service addresses.
    SelfProbe,
    /// The prober's verdict on this PoP, and the self-probe.
    Pop(PopId),
}

/// `drain = { prepend, med, min_time, max_time, quiet, linger }`
#[derive(Clone, Debug, PartialEq)]
pub struct DrainSettings {
    /// Times that our AS number is prepended. Default 3.
    pub prepend: u8,
    /// MED while draining. Default 100.
    pub med: u32,
    /// At least this long before the withdrawal. Default 10 s.
    pub min_time: Duration,
    /// At most this long before it, however many clients are left. Default 60 s, and never less
    /// than twice `min_time`.
    pub max_time: Duration,
    /// Queries a second on the prefix below which its clients count as gone. Default 1.
    pub quiet: f64,
    /// At most this long serving after the withdrawal. Default 10 min.
    pub linger: Duration,
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self {
            prepend: 3,
            med: 100,
            min_time: Duration::from_secs(10),
            max_time: Duration::from_secs(60),
            quiet: 1.0,
            linger: Duration::from_secs(600),
        }
    }
}

impl Default for SelfProbe {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            rise: 3,
            fall: 2,
        }
    }
}
