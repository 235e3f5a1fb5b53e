//! Decoder and state machine under any input; for the fuzz target and its replay.

use std::{net::IpAddr, sync::Arc, time::Instant};

use super::{
    PeerSettings, SessionState, SpeakerSettings,
    codec::{self, Message},
    peer::{Peer, Side},
};
use crate::{Attributes, BfdState, Desired};

/// What may never wait for a peer, octets.
const BOUND: usize = 64 * 1024;

/// Drives one peer. The first octet of each step chooses: octets on one of two connections, or
/// something else that can happen; each step lasts a while. With the lowest bit of the first octet
/// of all, the session is established before.
///
/// # Panics
/// When a promise of the peer is broken: that is the finding.
pub fn drive(data: &[u8], start: Instant) {
    let Some((mode, mut steps)) = data.split_first() else {
        return;
    };
    let mut now = start;
    let mut peer = fresh(now);
    if mode & 1 == 1 {
        establish(&mut peer, now);
    }
    while let [choice, length, rest @ ..] = steps {
        let length = usize::from(*length).min(rest.len());
        let (octets, rest) = rest.split_at(length);
        step(&mut peer, now, *choice, octets);
        now += std::time::Duration::from_millis(u64::from(*choice) * 7);
        peer.tick(now);
        let _ = (
            peer.take_effects(),
            peer.take_events(),
            peer.state(),
            peer.deadline(),
        );
        for side in Side::BOTH {
            assert!(peer.unsent(side).len() < BOUND, "unbounded output");
        }
        steps = rest;
    }
}

fn step(peer: &mut Peer, now: Instant, choice: u8, octets: &[u8]) {
    let side = if choice & 1 == 0 {
        Side::Dialled
    } else {
        Side::Accepted
    };
    match choice >> 4 {
        0..=7 => peer.received(now, side, octets),
        8 => peer.received(now, side, &framed(octets)),
        9 => peer.dialled(now, local()),
        10 => {
            let _ = peer.accepted(now, local());
        }
        11 => peer.closed(now, side, "gone"),
        12 => {
            let waiting = peer.unsent(side).len();
            peer.wrote(now, side, waiting / 2 + octets.len());
        }
        13 => peer.bfd(
            now,
            if octets.is_empty() {
                BfdState::Up
            } else {
                BfdState::Down
            },
        ),
        14 => peer.pulse(now, octets.is_empty()),
        _ => peer.routes(
            now,
            Arc::new(desired(u32::try_from(octets.len()).unwrap_or_default())),
        ),
    }
}

/// A message with a good header around `octets`, so that bodies are reached.
fn framed(octets: &[u8]) -> Vec<u8> {
    let [kind, body @ ..] = octets else {
        return Vec::new();
    };
    let mut message = vec![0xff; 16];
    let length = u16::try_from(body.len() + 19).unwrap_or(u16::MAX);
    message.extend(length.to_be_bytes());
    message.push(kind % 6);
    message.extend(body);
    message
}

fn establish(peer: &mut Peer, now: Instant) {
    peer.dialled(now, local());
    let mut open = vec![4, 0xfb, 0xf4, 0, 9, 10, 99, 0, 1, 24];
    open.extend([
        2, 6, 1, 4, 0, 1, 0, 1, 2, 6, 1, 4, 0, 2, 0, 1, 2, 6, 65, 4, 0, 0, 0xfb, 0xf4,
    ]);
    open.insert(0, 1);
    peer.received(now, Side::Dialled, &framed(&open));
    peer.received(now, Side::Dialled, &codec::octets(&Message::Keepalive));
    assert_eq!(peer.state(), SessionState::Established);
}

fn fresh(now: Instant) -> Peer {
    let mut settings = SpeakerSettings::new(64512, [10, 99, 0, 2].into());
    settings.prefixes = desired(0).into_iter().map(|route| route.prefix).collect();
    let peer = PeerSettings::new("fuzz", [10, 99, 0, 1].into(), 64500);
    Peer::new(now, Arc::new(settings), peer, Arc::new(desired(0)), 1)
}

fn desired(med: u32) -> Vec<Desired> {
    let route = |prefix: IpAddr, next_hop: IpAddr| Desired {
        prefix: prefix.into(),
        next_hop,
        attributes: Some(Attributes {
            med,
            ..Attributes::default()
        }),
        reason: String::new(),
    };
    vec![
        route([192, 0, 2, 53].into(), local()),
        route(
            [0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 1].into(),
            [0xfd00, 0, 0, 0, 0, 0, 0, 2].into(),
        ),
    ]
}

fn local() -> IpAddr {
    [10, 99, 0, 2].into()
}
