//! What follows from an input: messages that are due, connections that have ended, the next dial.

use std::{sync::Arc, time::Instant};

use bytes::BytesMut;

use super::{
    super::{PeerEventKind, conn::Conn, jitter::retry_after},
    Dial, Effect, Peer, Side,
};

impl Peer {
    /// After every input: say what is due, clear what has ended, dial what is missing.
    pub(super) fn settle(&mut self, now: Instant) {
        for side in Side::BOTH {
            let desired = Arc::clone(&self.desired);
            let (conn, shared) = self.parts(side);
            if let Some(conn) = conn {
                conn.speak(now, shared, &desired);
            }
            self.clear(now, side);
        }
        let established = Side::BOTH
            .into_iter()
            .any(|side| self.conn(side).is_some_and(Conn::is_established));
        if established {
            self.failures = 0;
            self.alarmed = None;
            if self.dial == Dial::Now {
                self.dial = Dial::Never;
                self.effects.push(Effect::StopDialling);
            }
        }
        match self.dial {
            Dial::At(at) if at <= now && self.may_dial() => {
                self.dial = Dial::Now;
                self.effects.push(Effect::Dial);
            }
            _ => {}
        }
    }

    /// Removes a connection that has ended.
    pub(super) fn clear(&mut self, now: Instant, side: Side) {
        let Some(conn) = self.slot(side).take_if(|conn| conn.ended.is_some()) else {
            return;
        };
        let reason = conn.ended.clone().unwrap_or_default();
        self.effects
            .push(Effect::Close(side, BytesMut::freeze(conn.tx.clone())));
        let other_lives = self.conn(side.other()).is_some();
        if conn.was_established {
            self.shared.events.push(PeerEventKind::Down {
                reason: reason.clone(),
            });
        } else if !other_lives {
            self.failures = self.failures.saturating_add(1);
        }
        if other_lives {
            return;
        }
        if conn.was_established {
            // The event tells it.
            self.last_error = Some(reason);
        } else {
            self.remember(reason);
        }
        if self.dial != Dial::Now {
            self.dial_later(now);
        }
    }

    pub(super) fn dial_later(&mut self, now: Instant) {
        if self.stopped || self.shared.peer.passive {
            self.dial = Dial::Never;
            return;
        }
        let wait = self.shared.jitter.of(retry_after(self.failures));
        self.dial = Dial::At(now + wait);
    }

    /// Keeps why things went wrong; what is new is worth an alarm, the tenth time is not.
    pub(super) fn remember(&mut self, reason: String) {
        if self.alarmed.as_ref() != Some(&reason) && !self.stopped {
            self.shared.alarm(reason.clone());
            self.alarmed = Some(reason.clone());
        }
        self.last_error = Some(reason);
    }
}
