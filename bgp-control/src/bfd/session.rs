//! One BFD session in asynchronous mode (RFC 5880 §6), without input or output: packets and the
//! time go in, packets, deadlines and changes come out.
//!
//! ```text
//!                hears Down                hears Init or Up
//!        Down ──────────────→ Init ─────────────────────────→ Up
//!          ↑ └──────────── hears Init ─────────────────────────↑
//!          └── silence for the detection time, or hears Down or AdminDown (from Init: AdminDown)
//! ```
//!
//! Both sides take the active role. The echo function, demand mode of our own and authentication
//! are not used; a neighbour that asks for demand mode is obeyed.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::packet::{Diagnostic, Packet, State};

/// RFC 5880 §6.8.3: "When bfd.SessionState is not Up, the system MUST set bfd.DesiredMinTxInterval
/// to a value of not less than one second (1,000,000 microseconds)."
const SLOW: Duration = Duration::from_secs(1);

/// What an operator says of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Shortest interval in which we send and can receive, more than zero.
    pub interval: Duration,
    /// Detect Mult: packets that may be lost in a row, plus one; at least 1.
    pub multiplier: u8,
}

/// What a session means for the protocol that relies on it (RFC 5882 §3.2, §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Liveness {
    /// Never been up: says nothing of the path. The neighbour may not run BFD.
    Unknown,
    /// The path works in both directions.
    Up,
    /// The path failed.
    Failed,
    /// One of the two operators has put the session down: says nothing of the path.
    AdminDown,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state left.
    pub from: State,
    /// The state entered.
    pub to: State,
    /// Why.
    pub diagnostic: Diagnostic,
    /// What it means.
    pub liveness: Liveness,
}

/// A session as it stands, without the clock: times are distances from a `now` of the holder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Portable {
    timing: Timing,
    state: State,
    diagnostic: Diagnostic,
    liveness: Liveness,
    mine: u32,
    remote: Remote,
    polling: bool,
    detect_in: Option<Duration>,
}

/// What the neighbour last said of itself (RFC 5880 §6.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remote {
    discriminator: u32,
    state: State,
    demand: bool,
    multiplier: u8,
    min_rx: Duration,
    min_tx: Duration,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    timing: Timing,
    state: State,
    diagnostic: Diagnostic,
    liveness: Liveness,
    mine: u32,
    remote: Remote,
    /// A poll sequence is going on (RFC 5880 §6.5).
    polling: bool,
    /// The neighbour polled: answer at once, whatever the schedule says.
    final_due: bool,
    next_tx: Instant,
    /// When silence has lasted for the detection time; `None`: nothing was heard since.
    detect_at: Option<Instant>,
    /// State of a xorshift generator, never zero.
    random: u64,
}

impl Session {
    /// A session that is down. `discriminator` is unique on this host and not 0; `seed` drives the
    /// jitter.
    pub fn new(timing: Timing, discriminator: u32, seed: u64, now: Instant) -> Self {
        Self {
            timing,
            state: State::Down,
            diagnostic: Diagnostic::NONE,
            liveness: Liveness::Unknown,
            mine: discriminator,
            remote: Remote::unheard(),
            polling: false,
            final_due: false,
            next_tx: now,
            detect_at: None,
            random: seed | 1,
        }
    }

    /// Continues a session of another process on the same socket.
    pub fn resume(portable: &Portable, seed: u64, now: Instant) -> Self {
        Self {
            timing: portable.timing,
            state: portable.state,
            diagnostic: portable.diagnostic,
            liveness: portable.liveness,
            mine: portable.mine,
            remote: portable.remote,
            polling: portable.polling,
            final_due: false,
            next_tx: now,
            // The neighbour goes on sending; what came during the move waits in the socket.
            detect_at: portable.detect_in.map(|time| now + time),
            random: seed | 1,
        }
    }

    /// What [`Self::resume`] needs.
    pub fn portable(&self, now: Instant) -> Portable {
        Portable {
            timing: self.timing,
            state: self.state,
            diagnostic: self.diagnostic,
            liveness: self.liveness,
            mine: self.mine,
            remote: self.remote,
            polling: self.polling,
            detect_in: self.detect_at.map(|at| at.saturating_duration_since(now)),
        }
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it last left Up.
    pub fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    /// What the session means for the protocol that relies on it.
    pub fn liveness(&self) -> Liveness {
        self.liveness
    }

    /// Our discriminator.
    pub fn discriminator(&self) -> u32 {
        self.mine
    }

    /// Silence of the neighbour that ends the session; `None` before it was heard.
    pub fn detection_time(&self) -> Option<Duration> {
        // RFC 5880 §6.8.4: the remote Detect Mult times the agreed transmit interval of the remote,
        // which is the greater of bfd.RequiredMinRxInterval and its last Desired Min TX Interval.
        let interval = self.timing.interval.max(self.remote.min_tx);
        (self.remote.discriminator != 0).then(|| interval * u32::from(self.remote.multiplier))
    }

    /// When [`Self::advance`] or [`Self::transmit`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let transmit = self.transmits().then_some(self.next_tx);
        [transmit, self.detect_at].into_iter().flatten().min()
    }

    /// Takes a packet that belongs to this session (RFC 5880 §6.8.6, after its checks).
    pub fn receive(&mut self, packet: &Packet, now: Instant) -> Option<Change> {
        self.remote = Remote {
            discriminator: packet.mine,
            state: packet.state,
            demand: packet.demand,
            multiplier: packet.multiplier,
            min_rx: packet.required_min_rx,
            min_tx: packet.desired_min_tx,
        };
        // "If a Poll Sequence is being transmitted by the local system and the Final (F) bit in the
        // received packet is set, the Poll Sequence MUST be terminated."
        self.polling &= !packet.final_;
        self.detect_at = self.detection_time().map(|time| now + time);
        // A shorter interval holds at once, not only after the long one has passed.
        self.next_tx = self.next_tx.min(now + self.transmit_interval());
        // "If bfd.SessionState is AdminDown, discard the packet."
        if self.state == State::AdminDown {
            return None;
        }
        let change = match (self.state, packet.state) {
            (State::Init | State::Up, State::AdminDown) | (State::Up, State::Down) => {
                self.enter(State::Down, Diagnostic::NEIGHBOR_DOWN, now)
            }
            (State::Down, State::Down) => self.enter(State::Init, self.diagnostic, now),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                self.enter(State::Up, self.diagnostic, now)
            }
            _ => None,
        };
        // "If the Poll (P) bit is set, send a BFD Control packet to the remote system with the
        // Poll (P) bit clear, and the Final (F) bit set".
        self.final_due |= packet.poll;
        change
    }

    /// Lets the detection time expire (RFC 5880 §6.8.4).
    pub fn advance(&mut self, now: Instant) -> Option<Change> {
        if self.detect_at.is_none_or(|at| now < at) {
            return None;
        }
        self.detect_at = None;
        // RFC 5880 §6.8.1, bfd.RemoteDiscr: "If a period of a Detection Time passes without the
        // receipt of a valid, authenticated BFD packet from the remote system, this variable MUST
        // be set to zero."
        self.remote = Remote::unheard();
        match self.state {
            State::Init | State::Up => self.enter(State::Down, Diagnostic::TIME_EXPIRED, now),
            State::AdminDown | State::Down => None,
        }
    }

    /// The packet that is due, if one is.
    pub fn transmit(&mut self, now: Instant) -> Option<Packet> {
        if std::mem::take(&mut self.final_due) {
            return Some(self.packet(false, true));
        }
        if !self.transmits() || now < self.next_tx {
            return None;
        }
        let interval = self.transmit_interval();
        self.next_tx = now + self.jittered(interval);
        Some(self.packet(self.polling, false))
    }

    /// An operator puts the session down, or lets it come up again.
    pub fn set_admin_down(&mut self, down: bool, now: Instant) -> Option<Change> {
        match (down, self.state) {
            (true, State::AdminDown) => None,
            (true, _) => self.enter(State::AdminDown, Diagnostic::ADMIN_DOWN, now),
            (false, State::AdminDown) => self.enter(State::Down, Diagnostic::NONE, now),
            (false, _) => None,
        }
    }

    /// Takes other timing without leaving Up (RFC 5880 §6.8.3).
    pub fn set_timing(&mut self, timing: Timing, now: Instant) {
        if timing != self.timing {
            self.timing = timing;
            self.polling = self.state == State::Up;
            self.next_tx = now;
        }
    }

    fn enter(&mut self, to: State, diagnostic: Diagnostic, now: Instant) -> Option<Change> {
        let from = std::mem::replace(&mut self.state, to);
        self.diagnostic = diagnostic;
        // Going up shortens our interval from SLOW, which a poll sequence must tell (§6.8.3).
        self.polling = to == State::Up;
        self.liveness = match (from, to) {
            (_, State::Up) => Liveness::Up,
            (_, State::AdminDown) => Liveness::AdminDown,
            // RFC 5882 §3.2: a neighbour that signals AdminDown has not lost the path, so the
            // client is not told of a failure.
            (_, State::Down) if self.remote.state == State::AdminDown => Liveness::AdminDown,
            (State::Up, State::Down) => Liveness::Failed,
            (State::AdminDown, _) => Liveness::Unknown,
            _ => self.liveness,
        };
        // §6.8.7: a packet should go at once when its contents differ from the last one.
        self.next_tx = now;
        Some(Change {
            from,
            to,
            diagnostic,
            liveness: self.liveness,
        })
    }

    /// Whether packets go out periodically (RFC 5880 §6.8.7).
    fn transmits(&self) -> bool {
        // "A system MUST NOT periodically transmit BFD Control packets if bfd.RemoteMinRxInterval
        // is zero."
        let wanted = self.remote.min_rx > Duration::ZERO;
        // "A system MUST NOT periodically transmit BFD Control packets if Demand mode is active on
        // the remote system (bfd.RemoteDemandMode is 1, bfd.SessionState is Up, and
        // bfd.RemoteSessionState is Up) and a Poll Sequence is not being transmitted."
        let demanded =
            self.remote.demand && self.state == State::Up && self.remote.state == State::Up;
        wanted && (!demanded || self.polling)
    }

    fn desired_min_tx(&self) -> Duration {
        match self.state {
            State::Up => self.timing.interval,
            _ => self.timing.interval.max(SLOW),
        }
    }

    fn transmit_interval(&self) -> Duration {
        self.desired_min_tx().max(self.remote.min_rx)
    }

    /// RFC 5880 §6.8.7: each interval is reduced by up to 25 % at random; with a Detect Mult of 1 it
    /// is between 75 and 90 % of the agreed one.
    fn jittered(&mut self, interval: Duration) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let share = (self.random >> 40) as f64 / f64::from(1_u32 << 24);
        let (least, spread) = if self.timing.multiplier == 1 {
            (0.75, 0.15)
        } else {
            (0.75, 0.25)
        };
        interval.mul_f64(least + spread * share)
    }

    fn packet(&self, poll: bool, final_: bool) -> Packet {
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll,
            final_,
            demand: false,
            multiplier: self.timing.multiplier,
            mine: self.mine,
            yours: self.remote.discriminator,
            desired_min_tx: self.desired_min_tx(),
            required_min_rx: self.timing.interval,
        }
    }
}

impl Remote {
    /// Initial values of RFC 5880 §6.8.1.
    fn unheard() -> Self {
        Self {
            discriminator: 0,
            state: State::Down,
            demand: false,
            multiplier: 1,
            min_rx: Duration::from_micros(1),
            min_tx: Duration::ZERO,
        }
    }
}
