//! One neighbour with its session and its socket.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io,
    net::{IpAddr, UdpSocket},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{
    packet::{Diagnostic, Packet, State},
    session::{Liveness, Session, Timing},
    sockets::{self, PORT},
};

/// Before sockets that could not be opened are tried again.
const RETRY: Duration = Duration::from_secs(1);
/// A neighbour that is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbor {
    /// Name of the BGP peer.
    pub name: String,
    /// Its address, on a link of ours.
    pub address: IpAddr,
    /// Our address towards it; `None`: the one that the route says.
    pub local: Option<IpAddr>,
    /// How quick.
    pub timing: Timing,
}

/// A session as `status` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// Name of the BGP peer.
    pub name: String,
    /// State on our side.
    pub state: State,
    /// What it means for BGP.
    pub liveness: Liveness,
    /// Why it last left Up; empty while it is up.
    pub diagnostic: String,
    /// Silence that ends it, in seconds; `None` before the neighbour was heard.
    pub detection_seconds: Option<f64>,
    /// Why there is no socket.
    pub problem: Option<String>,
}

/// One session with what belongs to it.
pub(super) struct Link {
    pub(super) neighbor: Neighbor,
    pub(super) session: Session,
    pub(super) sender: Option<UdpSocket>,
    /// Our address, once there is a socket.
    pub(super) local: Option<IpAddr>,
    pub(super) retry_at: Instant,
    pub(super) problem: Option<String>,
}

impl Link {
    /// RFC 5880 §6.8.6: "If the Your Discriminator field is nonzero, it MUST be used to select the
    /// session with which this BFD packet is associated." Otherwise the source address does, as on
    /// one link there is one session for each address (RFC 5881 §3). Either must be the neighbour.
    pub(super) fn takes(&self, packet: &Packet, source: IpAddr) -> bool {
        source == self.neighbor.address
            && (packet.yours == 0 || packet.yours == self.session.discriminator())
    }

    pub(super) fn open(
        &mut self,
        receivers: &mut BTreeMap<IpAddr, UdpSocket>,
        seed: u64,
        now: Instant,
    ) {
        let opened = (|| {
            let local = match self.neighbor.local {
                Some(local) => local,
                None => sockets::local_towards(self.neighbor.address)?,
            };
            if let Entry::Vacant(place) = receivers.entry(local) {
                place.insert(sockets::receiver(local)?);
            }
            Ok::<_, io::Error>((local, sockets::sender(local, (seed >> 48) as u16)?))
        })();
        match opened {
            Ok((local, sender)) => {
                self.local = Some(local);
                self.sender = Some(sender);
                self.problem = None;
            }
            Err(problem) => self.fail(&problem, now),
        }
    }

    pub(super) fn send(&mut self, packet: &Packet, now: Instant) {
        let Some(sender) = &self.sender else { return };
        match sender.send_to(&packet.encode(), (self.neighbor.address, PORT)) {
            Ok(_) => self.problem = None,
            // Our address is gone: only another socket can help.
            Err(problem) if problem.kind() == io::ErrorKind::AddrNotAvailable => {
                self.sender = None;
                self.fail(&problem, now);
            }
            // No route, or a firewall: what BFD is there to notice, and it will.
            Err(problem) => self.problem = Some(problem.to_string()),
        }
    }

    fn fail(&mut self, problem: &io::Error, now: Instant) {
        let text = problem.to_string();
        if self.problem.as_ref() != Some(&text) {
            warn!(
                peer = self.neighbor.name,
                problem = text,
                "BFD has no socket; tried again every second"
            );
        }
        self.problem = Some(text);
        self.retry_at = now + RETRY;
    }

    pub(super) fn admin_down(&mut self, now: Instant) {
        self.session.set_admin_down(true, now);
        while let Some(packet) = self.session.transmit(now) {
            self.send(&packet, now);
        }
    }

    pub(super) fn status(&self) -> Status {
        Status {
            name: self.neighbor.name.clone(),
            state: self.session.state(),
            liveness: self.session.liveness(),
            // It tells why the session last left Up: while it is up, that is history.
            diagnostic: match (self.session.state(), self.session.diagnostic()) {
                (State::Up, _) | (_, Diagnostic::NONE) => String::new(),
                (_, other) => other.to_string(),
            },
            detection_seconds: self.session.detection_time().map(|time| time.as_secs_f64()),
            problem: self.problem.clone(),
        }
    }
}
