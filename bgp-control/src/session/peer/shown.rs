//! What a peer shows of itself.

use super::{
    super::{PeerStatus, SessionState},
    Dial, Peer, Side,
};

impl Peer {
    /// The state as operators see it.
    pub(in super::super) fn state(&self) -> SessionState {
        let conns = Side::BOTH.into_iter().filter_map(|side| self.conn(side));
        let best = conns.max_by_key(|conn| rank(conn.state()));
        match (best, self.dial) {
            (Some(conn), _) => conn.state(),
            (None, _) if self.stopped || !self.shared.served => SessionState::Idle,
            (None, Dial::Now) => SessionState::Connect,
            (None, _) => SessionState::Active,
        }
    }

    /// All there is to say, as of `since`, the time of the last change of state.
    pub(in super::super) fn status(&self, since: std::time::SystemTime) -> PeerStatus {
        let conns = Side::BOTH.into_iter().filter_map(|side| self.conn(side));
        let conn = conns.filter(|conn| conn.is_established()).last();
        PeerStatus {
            name: self.shared.peer.name.clone(),
            address: self.shared.peer.address,
            remote_as: self.shared.peer.remote_as,
            state: self.state(),
            since,
            last_error: self.last_error.clone(),
            agreed: conn.and_then(|conn| conn.agreed.clone()),
            routes: conn.map(|conn| conn.installed.clone()).unwrap_or_default(),
            refused: conn.map(|conn| conn.refused.clone()).unwrap_or_default(),
            lint: conn.map(|conn| conn.lint.clone()).unwrap_or_default(),
            counters: self.shared.counters,
        }
    }
}

fn rank(state: SessionState) -> u8 {
    match state {
        SessionState::Idle => 0,
        SessionState::Connect => 1,
        SessionState::Active => 2,
        SessionState::OpenSent => 3,
        SessionState::OpenConfirm => 4,
        SessionState::Established => 5,
    }
}
