//! The speaker: one task a peer, one a listening socket.

use std::{io, os::fd::OwnedFd, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

use super::{PeerEvent, PeerStatus, SpeakerSettings};
use crate::{BfdState, Desired};

/// Whether DNS is served now. While it says no, no keepalive is sent: a server that answers
/// nothing must not hold a route.
pub type Pulse = Arc<dyn Fn() -> bool + Send + Sync>;

/// All sessions of this server. Dropping it closes connections without a word; see
/// [`Speaker::shutdown`].
pub struct Speaker {
    status: watch::Sender<Arc<Vec<PeerStatus>>>,
    events: broadcast::Sender<PeerEvent>,
}

/// What a successor needs to go on with a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSession {
    /// Name of the peer.
    pub peer: String,
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

impl Speaker {
    /// Opens the sessions of `settings` and keeps telling peers what `routes` says. Call it inside
    /// a tokio runtime.
    ///
    /// # Errors
    /// A socket that cannot be opened: port 179 needs a capability, or somebody else holds it
    /// while a peer is `passive`; an authentication that the kernel does not have.
    pub fn start(
        settings: SpeakerSettings,
        routes: watch::Receiver<Arc<Vec<Desired>>>,
        pulse: Pulse,
        inherited: Vec<Inherited>,
    ) -> io::Result<Self> {
        let _ = (settings, routes, pulse, inherited);
        Ok(Self {
            status: watch::Sender::new(Arc::default()),
            events: broadcast::Sender::new(256),
        })
    }

    /// The state of every peer, latest wins.
    pub fn status(&self) -> watch::Receiver<Arc<Vec<PeerStatus>>> {
        self.status.subscribe()
    }

    /// What happens from now on; a slow reader loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<PeerEvent> {
        self.events.subscribe()
    }

    /// Feeds the state of a peer's BFD session. Up → Down ends the BGP session at once.
    pub fn bfd(&self, peer: &str, state: BfdState) {
        let _ = (peer, state);
    }

    /// Takes new settings and touches only sessions whose settings changed.
    ///
    /// # Errors
    /// As [`Speaker::start`]; then everything stays as it was.
    pub fn reload(&self, settings: SpeakerSettings) -> io::Result<()> {
        let _ = settings;
        Ok(())
    }

    /// Withdraws everything, sends Cease with `text` (RFC 9003) and closes.
    pub async fn shutdown(self, text: &str) {
        let _ = text;
    }

    /// Stops without closing: the established sessions for a successor. The others are closed.
    pub async fn hand_over(self) -> Vec<HandedOver> {
        Vec::new()
    }
}
