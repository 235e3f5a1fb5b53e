//! One connection to a peer: octets in, octets out, timers. Sans-IO.
//!
//! The state machine of RFC 4271 §8 decides; this file keeps its timers, its buffers and the
//! Adj-RIB-Out. A peer has up to two connections while a collision is unresolved.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};

use super::{
    Agreed, Counters, InstalledRoute, PeerEventKind, RefusedRoute, SavedSession, SessionState,
    codec::{
        self, Action, Cease, Event, Family, Machine, MachineState, Message, NegotiatedSession,
        NotificationMessage, OpenMessage, RouteRefreshMessage, RouteRefreshSubtype, TimerType,
        Treatment,
    },
    jitter::Jitter,
    rib::{AdjRibOut, Terms},
    settings::{PeerSettings, SpeakerSettings},
};
use crate::Desired;

/// A peer has this long to send its OPEN; RFC 4271 §8.2.2 suggests four minutes, at which a
/// half-open connection would stand in the way of a good one.
const OPEN_WAIT: Duration = Duration::from_secs(30);

/// More is said only while less than this waits to be written, octets. With the largest message
/// it bounds what a slow reader can make us keep.
pub(super) const LOW_WATER: usize = 4096;

/// What connections of a peer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) local: Arc<SpeakerSettings>,
    pub(super) peer: PeerSettings,
    pub(super) counters: Counters,
    pub(super) events: Vec<PeerEventKind>,
    pub(super) jitter: Jitter,
    /// Whether DNS is served.
    pub(super) served: bool,
}

impl Shared {
    pub(super) fn alarm(&mut self, text: String) {
        self.events.push(PeerEventKind::Alarm { text });
    }

    fn is_external(&self) -> bool {
        self.local.local_as != self.peer.remote_as
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) machine: Machine,
    pub(super) local_address: IpAddr,
    pub(super) rx: BytesMut,
    pub(super) tx: BytesMut,
    pub(super) rib: AdjRibOut,
    pub(super) agreed: Option<Agreed>,
    pub(super) their_open: Bytes,
    /// Routes of which every octet was written.
    pub(super) installed: Vec<InstalledRoute>,
    pub(super) refused: Vec<RefusedRoute>,
    pub(super) lint: Vec<String>,
    /// Set once: why the connection has to close.
    pub(super) ended: Option<String>,
    pub(super) was_established: bool,
    pub(super) end_of_rib_due: bool,
    pub(super) hold: Option<Instant>,
    keepalive: Option<Instant>,
    keepalive_owed: bool,
    send_hold: Option<Instant>,
    received_prefixes: u64,
    alarmed: bool,
}

impl Conn {
    /// A connection that is open in TCP's sense: sends our OPEN.
    pub(super) fn open(now: Instant, shared: &mut Shared, local_address: IpAddr) -> Self {
        let mut conn = Self::idle(codec::machine(&shared.local, &shared.peer), local_address);
        // Connections are made by the caller, so the actions of this event are done already.
        let _ = conn.machine.handle_event(Event::ManualStart);
        conn.step(now, shared, Event::TcpConnectionConfirmed);
        conn
    }

    fn idle(machine: Machine, local_address: IpAddr) -> Self {
        Self {
            machine,
            local_address,
            rx: BytesMut::new(),
            tx: BytesMut::new(),
            rib: AdjRibOut::default(),
            agreed: None,
            their_open: Bytes::new(),
            installed: Vec::new(),
            refused: Vec::new(),
            lint: Vec::new(),
            ended: None,
            was_established: false,
            end_of_rib_due: false,
            hold: None,
            keepalive: None,
            keepalive_owed: false,
            send_hold: None,
            received_prefixes: 0,
            alarmed: false,
        }
    }

    /// A session that a predecessor established: the machine is led through the same OPEN.
    pub(super) fn inherited(
        now: Instant,
        shared: &mut Shared,
        local_address: IpAddr,
        saved: &SavedSession,
    ) -> Option<Self> {
        let open = codec::saved_open(&saved.their_open)?;
        let mut conn = Self::open(now, shared, local_address);
        conn.their_open = Bytes::copy_from_slice(&saved.their_open);
        conn.step(now, shared, Event::OpenReceived(open));
        conn.step(now, shared, Event::KeepaliveReceived);
        if conn.machine.state() != MachineState::Established {
            return None;
        }
        // What the steps would have said was said by the predecessor; one keepalive tells the
        // peer that somebody is there.
        conn.tx.clear();
        conn.tx.extend_from_slice(&saved.unsent);
        conn.rx.extend_from_slice(&saved.unread);
        conn.end_of_rib_due = saved.end_of_rib_due;
        conn.rib = AdjRibOut::inherited(&saved.routes);
        conn.installed = conn.rib.routes();
        conn.hold = conn
            .hold
            .map(|at| at.min(now + Duration::from_millis(saved.hold_left_millis)));
        if shared.served {
            conn.push(now, shared, &codec::octets(&Message::Keepalive));
        }
        Some(conn)
    }

    pub(super) fn state(&self) -> SessionState {
        match self.machine.state() {
            MachineState::Idle => SessionState::Idle,
            MachineState::Connect => SessionState::Connect,
            MachineState::Active => SessionState::Active,
            MachineState::OpenSent => SessionState::OpenSent,
            MachineState::OpenConfirm => SessionState::OpenConfirm,
            MachineState::Established => SessionState::Established,
        }
    }

    pub(super) fn is_established(&self) -> bool {
        self.ended.is_none() && self.machine.state() == MachineState::Established
    }

    /// The earliest timer.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.hold, self.keepalive, self.send_hold]
            .into_iter()
            .flatten()
            .min()
    }

    /// Lets due timers act.
    pub(super) fn tick(&mut self, now: Instant, shared: &mut Shared) {
        let is_due = |timer: Option<Instant>| timer.is_some_and(|at| at <= now);
        if is_due(self.hold) {
            self.hold = None;
            self.end("hold timer expired: nothing was heard from the peer");
            self.step(now, shared, Event::HoldTimerExpires);
        }
        if is_due(self.send_hold) {
            self.send_hold = None;
            // RFC 9687 §3.3: the connection is dropped; a NOTIFICATION could not be written.
            self.end("send hold timer expired: the peer reads nothing (RFC 9687)");
            self.tx.clear();
        }
        if is_due(self.keepalive) {
            self.keepalive = None;
            if shared.served {
                self.step(now, shared, Event::KeepaliveTimerExpires);
            } else {
                shared.counters.keepalives_withheld += 1;
                self.keepalive_owed = true;
            }
        }
    }

    /// DNS is served again: what was withheld is due.
    pub(super) fn served_again(&mut self, now: Instant, shared: &mut Shared) {
        if std::mem::take(&mut self.keepalive_owed) {
            self.step(now, shared, Event::KeepaliveTimerExpires);
        }
    }

    /// Passes a message other than OPEN to the machine.
    pub(super) fn message(&mut self, now: Instant, shared: &mut Shared, message: Message) {
        match message {
            Message::Keepalive => self.step(now, shared, Event::KeepaliveReceived),
            Message::Notification(said) => self.notified(now, shared, said),
            Message::Update(update) if self.is_established() => {
                shared.counters.updates_received += 1;
                let four_octet_as = self.agreed.as_ref().is_some_and(|a| a.four_octet_as);
                let treatment = codec::treatment(&update, four_octet_as, shared.is_external());
                self.judged(now, shared, treatment);
            }
            Message::Update(_) => self.step(now, shared, Event::UpdateReceived),
            Message::RouteRefresh(refresh) if self.is_established() => {
                self.refreshed(now, shared, &refresh);
            }
            // In any other state a finite state machine error (RFC 4271 §6.6), as for an UPDATE.
            Message::RouteRefresh(_) => self.step(now, shared, Event::UpdateReceived),
            // OPEN is handled with the other connection in view. Nothing else exists.
            _ => {}
        }
    }

    /// Passes the peer's OPEN to the machine.
    pub(super) fn opened(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        open: OpenMessage,
        octets: Bytes,
    ) {
        let their_as = open.four_byte_as();
        if their_as != shared.peer.remote_as {
            let expected = shared.peer.remote_as;
            self.end(&format!(
                "wrong AS: the peer is AS {their_as}, configured is remote_as = {expected}"
            ));
        }
        self.their_open = octets;
        self.step(now, shared, Event::OpenReceived(open));
    }

    /// Ends the connection with a Cease of ours.
    pub(super) fn cease(&mut self, now: Instant, shared: &mut Shared, cease: &Cease, reason: &str) {
        if self.ended.is_some() {
            return;
        }
        if self.is_established() {
            // A peer that keeps stale routes after a session must not keep these.
            let Some(terms) = self.terms(shared) else {
                return;
            };
            let speech = self.rib.speak(&[], &shared.local.prefixes, &terms);
            for message in &speech.messages {
                self.push(now, shared, message);
            }
        }
        self.notify(now, shared, cease.message());
        self.end(reason);
    }

    /// Says what brings the peer closer to `desired`, if there is room.
    pub(super) fn speak(&mut self, now: Instant, shared: &mut Shared, desired: &[Desired]) {
        if !self.is_established() || self.tx.len() >= LOW_WATER {
            return;
        }
        let Some(terms) = self.terms(shared) else {
            return;
        };
        let speech = self.rib.speak(desired, &shared.local.prefixes, &terms);
        self.refused = speech.refused;
        for message in &speech.messages {
            shared.counters.updates_sent += 1;
            self.push(now, shared, message);
        }
        if std::mem::take(&mut self.end_of_rib_due) {
            for (family, wanted) in [(Family::V4, terms.ipv4), (Family::V6, terms.ipv6)] {
                if wanted {
                    self.push(now, shared, &codec::end_of_rib(family));
                }
            }
        }
        if !speech.announced.is_empty() || !speech.withdrawn.is_empty() {
            let (announced, withdrawn) = (speech.announced, speech.withdrawn);
            shared.events.push(PeerEventKind::Sent {
                announced,
                withdrawn,
            });
        }
    }

    /// `count` octets of `tx` were taken by the kernel.
    pub(super) fn wrote(&mut self, now: Instant, shared: &Shared, count: usize) {
        self.tx.advance(count.min(self.tx.len()));
        if self.tx.is_empty() {
            self.send_hold = None;
            if self.is_established() {
                self.installed = self.rib.routes();
            }
        } else if count > 0 {
            self.send_hold = Some(now + send_hold_time(&shared.local));
        }
    }

    /// Ends the connection without saying so; the first reason stays.
    pub(super) fn end(&mut self, reason: &str) {
        self.ended.get_or_insert_with(|| reason.to_owned());
    }

    /// Feeds the machine and performs what it asks for.
    pub(super) fn step(&mut self, now: Instant, shared: &mut Shared, event: Event) {
        for action in self.machine.handle_event(event) {
            match action {
                Action::SendOpen(open) => {
                    let open = Message::Open(codec::offered(open));
                    self.push(now, shared, &codec::octets(&open));
                }
                Action::SendKeepalive => {
                    self.push(now, shared, &codec::octets(&Message::Keepalive));
                }
                Action::SendNotification(notification) => {
                    let reason = format!("we sent {}", codec::describe(&notification));
                    self.notify(now, shared, notification);
                    self.end(&reason);
                }
                Action::StartTimer(timer, seconds) => self.start_timer(now, shared, timer, seconds),
                Action::StopTimer(TimerType::Hold) => self.hold = None,
                Action::StopTimer(TimerType::Keepalive) => self.keepalive = None,
                Action::CloseTcpConnection => self.end("closed"),
                Action::SessionEstablished(negotiated) => self.established(shared, &negotiated),
                // Dialling and retrying are the peer's, not the connection's.
                _ => {}
            }
        }
    }

    fn start_timer(&mut self, now: Instant, shared: &mut Shared, timer: TimerType, seconds: u32) {
        let time = Duration::from_secs(u64::from(seconds));
        match timer {
            TimerType::Hold
                if self.machine.state() == MachineState::OpenSent && self.agreed.is_none() =>
            {
                self.hold = Some(now + time.min(OPEN_WAIT.max(shared.local.hold_time)));
            }
            TimerType::Hold => self.hold = Some(now + time),
            TimerType::Keepalive => self.keepalive = Some(now + shared.jitter.of(time)),
            _ => {}
        }
    }

    fn established(&mut self, shared: &mut Shared, negotiated: &NegotiatedSession) {
        self.agreed = Some(codec::agreed(negotiated, self.local_address));
        self.was_established = true;
        self.end_of_rib_due = true;
        self.lint = lint(shared, negotiated);
        shared.counters.established += 1;
        shared.events.push(PeerEventKind::Up {
            lint: self.lint.clone(),
        });
    }

    fn judged(&mut self, now: Instant, shared: &mut Shared, treatment: Treatment) {
        match treatment {
            Treatment::Ignored { prefixes } => self.ignored(shared, prefixes),
            Treatment::Discarded {
                attributes,
                prefixes,
            } => {
                shared.counters.attributes_discarded += attributes;
                self.ignored(shared, prefixes);
            }
            Treatment::TreatedAsWithdraw => shared.counters.treated_as_withdraw += 1,
            Treatment::Reset(notification) => {
                self.step(now, shared, Event::UpdateValidationError(notification));
                return;
            }
        }
        self.step(now, shared, Event::UpdateReceived);
    }

    /// Routes of the peer are counted and forgotten. Too many of them are the peer's mistake (no
    /// export filter), which must not cost us the session.
    fn ignored(&mut self, shared: &mut Shared, prefixes: u64) {
        shared.counters.prefixes_ignored += prefixes;
        self.received_prefixes += prefixes;
        let limit = shared.peer.import_limit;
        if self.received_prefixes > limit && !std::mem::replace(&mut self.alarmed, true) {
            shared.alarm(format!(
                "the peer sent more than {limit} prefixes; none is imported and the session stays, but its export filter towards us looks wrong"
            ));
        }
    }

    fn notified(&mut self, now: Instant, shared: &mut Shared, said: NotificationMessage) {
        shared.counters.notifications_received += 1;
        let mut reason = format!("the peer sent {}", codec::describe(&said));
        if codec::is_bad_peer_as(&said) {
            reason.push_str(&format!(
                ": wrong AS, it expects another AS number than our local_as = {}",
                shared.local.local_as
            ));
        }
        self.end(&reason);
        self.step(now, shared, Event::NotificationReceived(said));
    }

    fn refreshed(&mut self, now: Instant, shared: &mut Shared, refresh: &RouteRefreshMessage) {
        // RFC 2918 §4: a request for a family that was not agreed on is ignored. Markers of RFC
        // 7313 were not offered.
        let family = Family::of_refresh(refresh);
        let normal = refresh.subtype() == RouteRefreshSubtype::Normal;
        if let (Some(family), true) = (family, normal) {
            self.rib.refresh(family);
            shared.counters.refreshes_answered += 1;
        }
        self.step(now, shared, Event::UpdateReceived);
    }

    fn notify(&mut self, now: Instant, shared: &mut Shared, notification: NotificationMessage) {
        shared.counters.notifications_sent += 1;
        self.push(
            now,
            shared,
            &codec::octets(&Message::Notification(notification)),
        );
    }

    fn push(&mut self, now: Instant, shared: &Shared, octets: &[u8]) {
        if self.tx.is_empty() && !octets.is_empty() {
            self.send_hold = Some(now + send_hold_time(&shared.local));
        }
        self.tx.extend_from_slice(octets);
    }

    fn terms(&self, shared: &Shared) -> Option<Terms> {
        let agreed = self.agreed.as_ref()?;
        Some(Terms {
            local_as: shared.local.local_as,
            external: shared.is_external(),
            four_octet_as: agreed.four_octet_as,
            ipv4: agreed.ipv4_unicast,
            ipv6: agreed.ipv6_unicast,
            extended_next_hop: agreed.extended_next_hop,
            local_address: self.local_address,
            peer_address: shared.peer.address,
        })
    }
}

/// RFC 9687 §6: the larger of eight minutes and twice the hold time.
pub(super) fn send_hold_time(local: &SpeakerSettings) -> Duration {
    Duration::from_secs(480).max(local.hold_time * 2)
}

/// The longest hold time that needs no BFD beside it.
const SHORT_HOLD_SECONDS: u16 = 9;

/// What an operator should know of a session that has just come up.
fn lint(shared: &Shared, negotiated: &NegotiatedSession) -> Vec<String> {
    let mut warnings = codec::retention_warnings(negotiated);
    match negotiated.hold_time {
        0 if !shared.peer.bfd => warnings.push(
            "hold time 0 and no BFD: a silent loss would keep the route up for ever".to_owned(),
        ),
        seconds if seconds > SHORT_HOLD_SECONDS && !shared.peer.bfd => warnings.push(format!(
            "hold time {seconds} s and no BFD: a silent loss would keep the route up for as long"
        )),
        _ => {}
    }
    if shared.local.relies_on_graceful_shutdown {
        warnings.push(
            "draining relies on GRACEFUL_SHUTDOWN alone (RFC 8326), and no peer says whether it honours it: set drain.prepend or drain.med".to_owned(),
        );
    }
    warnings
}
