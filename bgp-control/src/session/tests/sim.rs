//! Two peers and the network between them, in simulated time.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    super::{
        PeerEventKind, PeerSettings, SessionState, SpeakerSettings,
        codec::{self, Message},
        peer::{Effect, Peer, Side},
    },
    second_codec::Router,
};
use crate::{Attributes, Desired};

pub(super) const A: usize = 0;
pub(super) const B: usize = 1;

/// One of the two connections that may exist: A dialled B, or B dialled A.
#[derive(Debug, Default)]
struct Link {
    up: [bool; 2],
    /// Octets on their way to A and to B.
    wire: [VecDeque<u8>; 2],
    router: Router,
    from_a: Vec<u8>,
}

pub(super) struct Sim {
    pub(super) now: Instant,
    pub(super) start: Instant,
    pub(super) peers: [Peer; 2],
    links: [Link; 2],
    /// Packets vanish.
    pub(super) blackhole: bool,
    /// New connections are refused.
    pub(super) refuse: bool,
    /// The peer's application does not read.
    pub(super) deaf: [bool; 2],
    /// Octets the network takes for a deaf one.
    pub(super) window: usize,
    pub(super) events: [Vec<PeerEventKind>; 2],
    pub(super) dials: Vec<(usize, Duration)>,
    pub(super) most_unsent: usize,
    /// Dials wait here for a crossing, when set.
    pub(super) hold_dials: bool,
    held: Vec<usize>,
    /// Octets arrive in pieces of this size.
    pub(super) chunk: usize,
}

pub(super) fn settings(local_as: u32, router_id: [u8; 4]) -> SpeakerSettings {
    let mut settings = SpeakerSettings::new(local_as, router_id.into());
    settings.prefixes = ["192.0.2.53/32", "198.51.100.0/24", "2001:db8:53::/48"]
        .map(|net| net.parse().unwrap())
        .to_vec();
    settings
}

pub(super) fn address(who: usize) -> IpAddr {
    [[10, 99, 0, 2], [10, 99, 0, 1]][who].into()
}

pub(super) fn route(prefix: &str, attributes: Attributes) -> Desired {
    Desired {
        prefix: prefix.parse().unwrap(),
        next_hop: if prefix.contains(':') {
            "fd00::2"
        } else {
            "0.0.0.0"
        }
        .parse()
        .unwrap(),
        attributes: Some(attributes),
        reason: "test".to_owned(),
    }
}

#[allow(clippy::disallowed_methods)] // An origin for simulated time.
fn origin() -> Instant {
    Instant::now()
}

impl Sim {
    /// A site (A, AS 64512) and a router (B, AS 64500).
    pub(super) fn new() -> Self {
        Self::with(|_, _| {})
    }

    pub(super) fn with(change: impl Fn(usize, (&mut SpeakerSettings, &mut PeerSettings))) -> Self {
        let start = origin();
        let make = |who: usize| {
            let (our_as, their_as) = [(64512, 64500), (64500, 64512)][who];
            let mut local = settings(our_as, [10, 99, 0, 2 - u8::try_from(who).unwrap()]);
            let mut peer = PeerSettings::new("peer", address(1 - who), their_as);
            peer.passive = who == B;
            change(who, (&mut local, &mut peer));
            Peer::new(
                start,
                Arc::new(local),
                peer,
                Arc::default(),
                u64::try_from(who).unwrap(),
            )
        };
        Self {
            now: start,
            start,
            peers: [make(A), make(B)],
            links: [Link::default(), Link::default()],
            blackhole: false,
            refuse: false,
            deaf: [false; 2],
            window: 0,
            events: [Vec::new(), Vec::new()],
            dials: Vec::new(),
            most_unsent: 0,
            hold_dials: false,
            held: Vec::new(),
            chunk: 4096,
        }
    }

    pub(super) fn desire(&mut self, routes: Vec<Desired>) {
        self.peers[A].routes(self.now, Arc::new(routes));
        self.settle();
    }

    pub(super) fn states(&self) -> [SessionState; 2] {
        [self.peers[A].state(), self.peers[B].state()]
    }

    pub(super) fn is_up(&self) -> bool {
        self.states() == [SessionState::Established; 2]
    }

    /// What B holds, read from the octets of the connection that lives.
    pub(super) fn router(&self) -> Router {
        let live = self.links.iter().find(|link| link.up == [true; 2]);
        live.map(|link| link.router.clone()).unwrap_or_default()
    }

    /// Messages straight into A's ear.
    pub(super) fn inject(&mut self, octets: &[u8]) {
        let side = self.live_side(A);
        self.peers[A].received(self.now, side, octets);
        self.settle();
    }

    pub(super) fn live_side(&self, who: usize) -> Side {
        let link = self
            .links
            .iter()
            .position(|link| link.up == [true; 2])
            .expect("a connection");
        side(link, who)
    }

    /// A's process is replaced; connections stay.
    pub(super) fn replace_a(&mut self, peer: Peer) {
        self.peers[A] = peer;
    }

    /// The connections break with a reset.
    pub(super) fn reset(&mut self) {
        for link in 0..2 {
            for who in [A, B] {
                if std::mem::take(&mut self.links[link].up[who]) {
                    self.peers[who].closed(self.now, side(link, who), "connection lost: reset");
                }
            }
            self.links[link] = Link::default();
        }
        self.settle();
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            // The process of a deaf one stands still.
            let awake = |who: &usize| !self.deaf[*who];
            let awake: Vec<_> = [A, B].into_iter().filter(awake).collect();
            let next = awake
                .iter()
                .filter_map(|who| self.peers[*who].deadline())
                .min();
            match next.filter(|at| *at <= end) {
                Some(at) => self.now = at.max(self.now),
                None => break,
            }
            for who in awake {
                self.peers[who].tick(self.now);
            }
        }
        self.now = end;
        self.settle();
    }

    pub(super) fn run_secs(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    /// Performs effects and moves octets until nothing changes.
    pub(super) fn settle(&mut self) {
        loop {
            let mut moved = false;
            for who in [A, B] {
                for effect in self.peers[who].take_effects() {
                    moved = true;
                    self.perform(who, effect);
                }
                let events = self.peers[who].take_events();
                self.events[who].extend(events);
                moved |= self.carry(who);
            }
            if !moved {
                return;
            }
        }
    }

    fn perform(&mut self, who: usize, effect: Effect) {
        match effect {
            Effect::Dial => {
                self.dials.push((who, self.now - self.start));
                if self.hold_dials {
                    self.held.push(who);
                } else {
                    self.connect(who);
                }
            }
            Effect::StopDialling => self.held.retain(|held| *held != who),
            Effect::Close(of, last) => {
                let link = link_of(who, of);
                if !self.links[link].up[who] {
                    return;
                }
                self.links[link].up[who] = false;
                self.note(who, link, &last);
                let other = 1 - who;
                if !self.blackhole && self.links[link].up[other] {
                    self.links[link].wire[other].extend(last);
                    let rest: Vec<u8> = self.links[link].wire[other].drain(..).collect();
                    self.peers[other].received(self.now, side(link, other), &rest);
                    self.peers[other].closed(
                        self.now,
                        side(link, other),
                        "the peer closed the connection",
                    );
                }
            }
        }
    }

    /// Lets the dials that were held go through at once, so that they cross.
    pub(super) fn release_dials(&mut self) {
        self.hold_dials = false;
        for who in std::mem::take(&mut self.held) {
            self.connect(who);
        }
        self.settle();
    }

    fn connect(&mut self, who: usize) {
        let other = 1 - who;
        if self.blackhole || self.refuse {
            self.peers[who].dial_failed(self.now, "no answer");
            return;
        }
        let link = link_of(who, Side::Dialled);
        if let Err(last) = self.peers[other].accepted(self.now, address(other)) {
            self.peers[who].dialled(self.now, address(who));
            self.peers[who].received(self.now, Side::Dialled, &last);
            let reason = "the peer closed the connection";
            self.peers[who].closed(self.now, Side::Dialled, reason);
            return;
        }
        // Its earlier connection goes first.
        for effect in self.peers[other].take_effects() {
            self.perform(other, effect);
        }
        self.links[link] = Link {
            up: [true; 2],
            ..Link::default()
        };
        self.peers[who].dialled(self.now, address(who));
    }

    /// Moves octets of `who` to the other.
    fn carry(&mut self, who: usize) -> bool {
        let mut moved = false;
        for link in 0..2 {
            let mine = side(link, who);
            let unsent = self.peers[who].unsent(mine).to_vec();
            self.most_unsent = self.most_unsent.max(unsent.len());
            let other = 1 - who;
            let room = match self.deaf[other] {
                true => self
                    .window
                    .saturating_sub(self.links[link].wire[other].len()),
                false => usize::MAX,
            };
            let count = unsent.len().min(room);
            if count > 0 && self.links[link].up[who] {
                moved = true;
                self.note(who, link, &unsent[..count]);
                if !self.blackhole && self.links[link].up[other] {
                    self.links[link].wire[other].extend(&unsent[..count]);
                }
                self.peers[who].wrote(self.now, mine, count);
            }
            if !self.deaf[who] && self.links[link].up[who] && !self.links[link].wire[who].is_empty()
            {
                moved = true;
                let take = self.chunk.min(self.links[link].wire[who].len());
                let octets: Vec<u8> = self.links[link].wire[who].drain(..take).collect();
                self.peers[who].received(self.now, mine, &octets);
            }
        }
        moved
    }

    /// Reads what A says, as a router with another codec would.
    fn note(&mut self, who: usize, link: usize, octets: &[u8]) {
        if who == A && !self.blackhole {
            let link = &mut self.links[link];
            link.from_a.extend(octets);
            while link.from_a.len() >= 19 {
                let length = usize::from(u16::from_be_bytes([link.from_a[16], link.from_a[17]]));
                if link.from_a.len() < length {
                    break;
                }
                let message: Vec<u8> = link.from_a.drain(..length).collect();
                link.router.read(&message, true);
            }
        }
    }
}

/// Link 0: A dialled. Link 1: B dialled.
fn link_of(who: usize, side: Side) -> usize {
    match (who, side) {
        (A, Side::Dialled) | (B, Side::Accepted) => 0,
        _ => 1,
    }
}

fn side(link: usize, who: usize) -> Side {
    if link == who {
        Side::Dialled
    } else {
        Side::Accepted
    }
}

pub(super) fn keepalive() -> Vec<u8> {
    codec::octets(&Message::Keepalive).to_vec()
}
