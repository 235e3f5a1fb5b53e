//! One peer: when to dial, which connection wins, when to close. Sans-IO.
//!
//! ```text
//! inputs: dialled, accepted, received, wrote, closed, routes, pulse, bfd, cease, tick
//! outputs: effects (dial, close), octets to write, events, status, the next deadline
//! ```
//!
//! A peer has one slot for the connection that we dialled and one for that which it dialled; both
//! are filled only until the collision is resolved (RFC 4271 §6.8).

mod collision;
mod inherit;
mod settle;
mod shown;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Counters, PeerEventKind,
    codec::{self, Cease, Event, Message},
    conn::{Conn, Shared},
    jitter::Jitter,
    settings::{PeerSettings, SpeakerSettings},
};
use crate::{BfdState, Desired};

/// DNS may be unserved for this long before sessions end. Keepalives and BFD stop at once; a
/// pause as short as this is less than any detection at the peer.
const DEADMAN_GRACE: Duration = Duration::from_secs(1);

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Dialled,
    Accepted,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Dialled, Self::Accepted];

    fn other(self) -> Self {
        match self {
            Self::Dialled => Self::Accepted,
            Self::Accepted => Self::Dialled,
        }
    }
}

/// What the runner has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Open a connection and report with `dialled` or `dial_failed`.
    Dial,
    /// Give up an attempt to open one.
    StopDialling,
    /// Write these last octets if the kernel takes them, then close.
    Close(Side, Bytes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dial {
    /// Not to be dialled: passive, or stopped.
    Never,
    /// The next attempt.
    At(Instant),
    /// An attempt is under way.
    Now,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    shared: Shared,
    desired: Arc<Vec<Desired>>,
    dialled: Option<Conn>,
    accepted: Option<Conn>,
    dial: Dial,
    failures: u32,
    stopped: bool,
    unserved_since: Option<Instant>,
    unserved_alarm: bool,
    bfd: Option<BfdState>,
    last_error: Option<String>,
    /// The reason that an alarm was raised for, until a session is up.
    alarmed: Option<String>,
    effects: Vec<Effect>,
}

impl Peer {
    pub(super) fn new(
        now: Instant,
        local: Arc<SpeakerSettings>,
        peer: PeerSettings,
        desired: Arc<Vec<Desired>>,
        seed: u64,
    ) -> Self {
        let dial = if peer.passive {
            Dial::Never
        } else {
            Dial::At(now)
        };
        Self {
            shared: Shared {
                local,
                peer,
                counters: Counters::default(),
                events: Vec::new(),
                jitter: Jitter::new(seed),
                served: true,
            },
            desired,
            dialled: None,
            accepted: None,
            dial,
            failures: 0,
            stopped: false,
            unserved_since: None,
            unserved_alarm: false,
            bfd: None,
            last_error: None,
            alarmed: None,
            effects: Vec::new(),
        }
    }

    /// Our connection is open.
    pub(super) fn dialled(&mut self, now: Instant, local_address: IpAddr) {
        if self.stopped || !self.shared.served {
            self.effects
                .push(Effect::Close(Side::Dialled, Bytes::new()));
            self.dial_later(now);
            return;
        }
        self.dial = Dial::Never;
        self.dialled = Some(Conn::open(now, &mut self.shared, local_address));
        self.settle(now);
    }

    /// Our connection could not be opened.
    pub(super) fn dial_failed(&mut self, now: Instant, reason: &str) {
        self.failures = self.failures.saturating_add(1);
        self.remember(reason.to_owned());
        self.dial_later(now);
        self.settle(now);
    }

    /// The peer has opened a connection.
    ///
    /// # Errors
    /// It is not wanted: the octets to write before closing it.
    pub(super) fn accepted(&mut self, now: Instant, local_address: IpAddr) -> Result<(), Bytes> {
        let established = self.accepted.as_ref().is_some_and(Conn::is_established);
        if self.stopped || !self.shared.served || established {
            // RFC 4271 §6.8: "a connection collision with an existing BGP connection that is in
            // the Established state causes closing of the newly created connection".
            let cease = if established {
                Cease::Collision
            } else {
                Cease::Rejected
            };
            return Err(codec::octets(&Message::Notification(cease.message())));
        }
        // A peer that dials again has given up its earlier attempt.
        if let Some(earlier) = &mut self.accepted {
            earlier.end("the peer opened another connection");
            self.settle(now);
        }
        self.accepted = Some(Conn::open(now, &mut self.shared, local_address));
        self.settle(now);
        Ok(())
    }

    /// Octets of the peer.
    pub(super) fn received(&mut self, now: Instant, side: Side, octets: &[u8]) {
        let Some(conn) = self.slot(side) else { return };
        conn.rx.extend_from_slice(octets);
        self.read(now, side);
        self.settle(now);
    }

    /// The connection has ended.
    pub(super) fn closed(&mut self, now: Instant, side: Side, reason: &str) {
        let (conn, shared) = self.parts(side);
        let Some(conn) = conn else { return };
        conn.end(reason);
        conn.step(now, shared, Event::TcpConnectionFails);
        self.settle(now);
    }

    /// The kernel took `count` octets of [`Peer::unsent`].
    pub(super) fn wrote(&mut self, now: Instant, side: Side, count: usize) {
        let (conn, shared) = self.parts(side);
        let Some(conn) = conn else { return };
        conn.wrote(now, shared, count);
        self.settle(now);
    }

    /// Other routes are desired.
    pub(super) fn routes(&mut self, now: Instant, desired: Arc<Vec<Desired>>) {
        self.desired = desired;
        self.settle(now);
    }

    /// DNS is served, or not.
    pub(super) fn pulse(&mut self, now: Instant, served: bool) {
        if served == self.shared.served {
            return;
        }
        self.shared.served = served;
        self.unserved_since = (!served).then_some(now);
        if served {
            self.unserved_alarm = false;
            for side in Side::BOTH {
                let (conn, shared) = self.parts(side);
                if let Some(conn) = conn {
                    conn.served_again(now, shared);
                }
            }
        }
        self.settle(now);
    }

    /// The state of the peer's BFD session.
    pub(super) fn bfd(&mut self, now: Instant, state: BfdState) {
        let before = self.bfd.replace(state);
        // RFC 5882 §4.2: only a session that was up says something by going down, and AdminDown
        // says nothing of the path.
        if before == Some(BfdState::Up) && state == BfdState::Down {
            for side in Side::BOTH {
                let (conn, shared) = self.parts(side);
                if let Some(conn) = conn {
                    conn.end("BFD says that the path is down");
                    conn.step(now, shared, Event::BfdDown);
                }
            }
        }
        self.settle(now);
    }

    /// Changes what a session need not end for.
    pub(super) fn adjust(&mut self, now: Instant, local: Arc<SpeakerSettings>, peer: PeerSettings) {
        self.shared.local = local;
        self.shared.peer = peer;
        self.settle(now);
    }

    /// Withdraws everything, closes with `cease` and stays so.
    pub(super) fn cease(&mut self, now: Instant, cease: &Cease, reason: &str) {
        self.stopped = true;
        if self.dial == Dial::Now {
            self.effects.push(Effect::StopDialling);
        }
        self.dial = Dial::Never;
        self.last_error = Some(reason.to_owned());
        self.close_all(now, cease, reason);
    }

    /// Lets due timers act.
    pub(super) fn tick(&mut self, now: Instant) {
        for side in Side::BOTH {
            let (conn, shared) = self.parts(side);
            if let Some(conn) = conn {
                conn.tick(now, shared);
            }
        }
        if self
            .unserved_since
            .is_some_and(|since| now >= since + DEADMAN_GRACE)
            && !std::mem::replace(&mut self.unserved_alarm, true)
        {
            let text = "DNS is not served";
            if self.has_conn() {
                self.shared.alarm(format!("{text}: the session is closed"));
            }
            self.close_all(now, &Cease::Reset(text.to_owned()), text);
        }
        self.settle(now);
    }

    // ── Outputs ──────────────────────────────────────────────────────

    /// When [`Peer::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let conns = Side::BOTH.into_iter().filter_map(|side| self.conn(side));
        let dial = match self.dial {
            Dial::At(at) if self.may_dial() => Some(at),
            _ => None,
        };
        let deadman = self.unserved_since.filter(|_| !self.unserved_alarm);
        conns
            .filter_map(Conn::deadline)
            .chain(dial)
            .chain(deadman.map(|since| since + DEADMAN_GRACE))
            .min()
    }

    /// What the runner has to do; each is told once.
    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// What happened since it was asked last.
    pub(super) fn take_events(&mut self) -> Vec<PeerEventKind> {
        std::mem::take(&mut self.shared.events)
    }

    /// Octets that wait to be written.
    pub(super) fn unsent(&self, side: Side) -> &[u8] {
        self.conn(side).map_or(&[], |conn| &conn.tx)
    }

    /// Whether a connection is wanted on that side.
    pub(super) fn has(&self, side: Side) -> bool {
        self.conn(side).is_some()
    }

    // ── Inside ───────────────────────────────────────────────────────

    fn conn(&self, side: Side) -> Option<&Conn> {
        match side {
            Side::Dialled => self.dialled.as_ref(),
            Side::Accepted => self.accepted.as_ref(),
        }
    }

    fn slot(&mut self, side: Side) -> &mut Option<Conn> {
        match side {
            Side::Dialled => &mut self.dialled,
            Side::Accepted => &mut self.accepted,
        }
    }

    fn parts(&mut self, side: Side) -> (Option<&mut Conn>, &mut Shared) {
        let conn = match side {
            Side::Dialled => self.dialled.as_mut(),
            Side::Accepted => self.accepted.as_mut(),
        };
        (conn, &mut self.shared)
    }

    fn has_conn(&self) -> bool {
        self.dialled.is_some() || self.accepted.is_some()
    }

    fn may_dial(&self) -> bool {
        !self.stopped && self.shared.served && !self.has_conn()
    }

    /// Handles the whole messages that have arrived.
    fn read(&mut self, now: Instant, side: Side) {
        loop {
            let (conn, shared) = self.parts(side);
            let Some(conn) = conn.filter(|conn| conn.ended.is_none()) else {
                return;
            };
            match codec::take_message(&mut conn.rx) {
                Ok(None) => return,
                Ok(Some((Message::Open(open), octets))) => self.opened(now, side, open, octets),
                Ok(Some((message, _))) => conn.message(now, shared, message),
                Err(error) => {
                    conn.step(now, shared, Event::DecodeError(error));
                    conn.end("malformed message");
                }
            }
        }
    }

    fn close_all(&mut self, now: Instant, cease: &Cease, reason: &str) {
        for side in Side::BOTH {
            let (conn, shared) = self.parts(side);
            if let Some(conn) = conn {
                conn.cease(now, shared, cease, reason);
            }
        }
        self.settle(now);
    }
}
