//! A session that goes on in another process (an upgrade).

use std::{net::IpAddr, time::Instant};

use super::{
    super::{SavedSession, codec::Cease, conn::Conn, saved::MadeWith},
    Peer, Side,
};

impl Peer {
    /// Goes on with a predecessor's session.
    ///
    /// # Errors
    /// The session was made with other settings; the caller closes it with the given Cease.
    pub(in super::super) fn inherit(
        &mut self,
        now: Instant,
        address: IpAddr,
        saved: &SavedSession,
    ) -> Result<(), Cease> {
        if saved.made_with != MadeWith::of(&self.shared.local, &self.shared.peer) {
            return Err(Cease::ConfigurationChange);
        }
        let before = (self.shared.events.len(), self.shared.counters);
        let conn = Conn::inherited(now, &mut self.shared, address, saved);
        // It is the same session as before: nothing has happened.
        self.shared.events.truncate(before.0);
        self.shared.counters = before.1;
        let conn = conn.ok_or(Cease::ConfigurationChange)?;
        let side = if saved.accepted {
            Side::Accepted
        } else {
            Side::Dialled
        };
        *self.slot(side) = Some(conn);
        self.settle(now);
        Ok(())
    }

    /// The established session for a successor.
    pub(in super::super) fn save(&self, now: Instant) -> Option<(Side, SavedSession)> {
        let side = Side::BOTH
            .into_iter()
            .find(|side| self.conn(*side).is_some_and(Conn::is_established))?;
        let conn = self.conn(side)?;
        let hold_left = conn.hold.map(|at| at.saturating_duration_since(now));
        let millis = hold_left.map_or(u64::MAX, |left| {
            u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
        });
        let saved = SavedSession {
            peer: self.shared.peer.name.clone(),
            made_with: MadeWith::of(&self.shared.local, &self.shared.peer),
            accepted: side == Side::Accepted,
            their_open: conn.their_open.to_vec(),
            routes: conn.rib.routes(),
            unread: conn.rx.to_vec(),
            unsent: conn.tx.to_vec(),
            end_of_rib_due: conn.end_of_rib_due,
            // A hold time of zero has no timer; the bound only keeps additions in range.
            hold_left_millis: millis.min(u64::from(u16::MAX) * 1000),
        };
        Some((side, saved))
    }

    // ── Inputs ───────────────────────────────────────────────────────
}
