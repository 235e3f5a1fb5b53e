//! Open sockets: what a running server, a new one and its successor hold in common.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    sync::{Arc, Weak},
    time::Instant,
};

use meridian_config::TcpLimits;
use tokio_util::sync::CancellationToken;

use super::{
    Destinations, Pulse,
    round_trips::{HearRoundTrips, RoundTrips},
};

/// Open sockets that nobody reads yet.
#[derive(Debug)]
pub struct Bound {
    pub(super) sockets: Arc<Sockets>,
    pub(super) limits: TcpLimits,
    pub(super) pulse: Pulse,
    pub(super) destinations: Destinations,
    pub(super) hand_over: CancellationToken,
    pub(super) round_trips: RoundTrips,
    addresses: Vec<SocketAddr>,
}

/// What is open.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// By worker.
    pub(super) udp: Vec<Vec<Datagram>>,
    pub(super) tcp: Vec<TcpListener>,
}

/// A UDP socket and its address.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) socket: UdpSocket,
    pub(super) address: SocketAddr,
}

/// What a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Datagrams.
    Udp,
    /// A listener of streams.
    Tcp,
}

impl Bound {
    /// `udp` by worker.
    #[allow(clippy::disallowed_methods)] // workers count as alive from here on
    pub(super) fn new(sockets: Sockets, limits: TcpLimits, addresses: Vec<SocketAddr>) -> Self {
        Self {
            pulse: Pulse::new(sockets.udp.len(), Instant::now()),
            sockets: Arc::new(sockets),
            limits,
            destinations: Destinations::default(),
            hand_over: CancellationToken::new(),
            round_trips: RoundTrips::default(),
            addresses,
        }
    }

    /// Tells of the round trips of TCP connections.
    #[must_use]
    pub fn telling_round_trips(mut self, hear: Arc<dyn HearRoundTrips>) -> Self {
        self.round_trips = RoundTrips(Some(hear));
        self
    }

    /// The addresses in the order of the configuration, with the ports that were chosen where the
    /// configuration said 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What remains reachable of it once it runs.
    pub fn handle(&self) -> Handle {
        Handle {
            pulse: self.pulse.clone(),
            destinations: self.destinations.clone(),
            sockets: Arc::downgrade(&self.sockets),
            hand_over: self.hand_over.clone(),
        }
    }
}

/// What the rest of the server needs of the running listeners.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Whether the UDP workers go round.
    pub pulse: Pulse,
    /// Queries over UDP by destination prefix.
    pub destinations: Destinations,
    sockets: Weak<Sockets>,
    hand_over: CancellationToken,
}

impl Handle {
    /// Copies of the open sockets, for [`Listeners::adopt`](super::Listeners::adopt) of a successor:
    /// one socket then has two owners, and lives until both have closed it. Nothing when the
    /// listeners have ended.
    ///
    /// # Errors
    /// When the process has no file descriptors left.
    pub fn sockets(&self) -> io::Result<Vec<(SocketAddr, Kind, OwnedFd)>> {
        let Some(sockets) = self.sockets.upgrade() else {
            return Ok(Vec::new());
        };
        let mut out = Vec::new();
        for datagram in sockets.udp.iter().flatten() {
            let fd = datagram.socket.try_clone()?.into();
            out.push((datagram.address, Kind::Udp, fd));
        }
        for listener in &sockets.tcp {
            let fd = listener.try_clone()?.into();
            out.push((listener.local_addr()?, Kind::Tcp, fd));
        }
        Ok(out)
    }

    /// Stops reading, and leaves what waits in the kernel to the successor that has the sockets:
    /// nothing is lost. Open TCP connections are finished as on shutdown.
    pub fn hand_over(&self) {
        self.hand_over.cancel();
    }
}
