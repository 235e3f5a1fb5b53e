//! Which of two connections stays (RFC 4271 §6.8).

use std::time::Instant;

use bytes::Bytes;

use super::{
    super::{
        SessionState,
        codec::{self, Cease, OpenMessage},
    },
    Peer, Side,
};

impl Peer {
    /// An OPEN: first resolve a collision (RFC 4271 §6.8), then let the machine have it.
    pub(super) fn opened(&mut self, now: Instant, side: Side, open: OpenMessage, octets: Bytes) {
        let acceptable = codec::is_acceptable(&open, &self.shared.local, &self.shared.peer);
        if acceptable && let Some(loser) = self.collision(side, &open) {
            self.shared.counters.collisions += 1;
            let (conn, shared) = self.parts(loser);
            if let Some(conn) = conn {
                conn.cease(
                    now,
                    shared,
                    &Cease::Collision,
                    "closed by collision resolution",
                );
            }
            if loser == side {
                return;
            }
        }
        let (conn, shared) = self.parts(side);
        if let Some(conn) = conn {
            conn.opened(now, shared, open, octets);
        }
    }

    /// The connection to close, when both would go on.
    fn collision(&self, side: Side, open: &OpenMessage) -> Option<Side> {
        match self.conn(side.other())?.state() {
            SessionState::Established => Some(side),
            SessionState::OpenConfirm => Some(self.weaker(open)),
            // Not yet: the other one's OPEN decides when it comes.
            _ => None,
        }
    }

    /// RFC 4271 §6.8: the connection opened by the higher BGP Identifier stays. RFC 6286 §2.3:
    /// among equals, that of the larger AS number.
    fn weaker(&self, open: &OpenMessage) -> Side {
        let ours = (
            u32::from(self.shared.local.router_id),
            self.shared.local.local_as,
        );
        let theirs = (u32::from(open.bgp_identifier), open.four_byte_as());
        if ours < theirs {
            Side::Dialled
        } else {
            Side::Accepted
        }
    }
}
