//! Sessions in simulated time.

mod fuzz;
mod rfc7606;
mod rib;
mod second_codec;
mod sim;

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use sim::{A, B, Sim, address, keepalive, route, settings};

use super::{PeerEventKind, PeerSettings, SessionState, codec::Cease, peer::Peer};
use crate::{Attributes, BfdState, Desired};

fn plain() -> Attributes {
    Attributes::default()
}

fn both_families() -> Vec<Desired> {
    vec![
        route("192.0.2.53/32", plain()),
        route("2001:db8:53::/48", plain()),
    ]
}

fn downs(sim: &Sim, who: usize) -> Vec<String> {
    let reason = |event: &PeerEventKind| match event {
        PeerEventKind::Down { reason } => Some(reason.clone()),
        _ => None,
    };
    sim.events[who].iter().filter_map(reason).collect()
}

fn alarms(sim: &Sim, who: usize) -> Vec<String> {
    let text = |event: &PeerEventKind| match event {
        PeerEventKind::Alarm { text } => Some(text.clone()),
        _ => None,
    };
    sim.events[who].iter().filter_map(text).collect()
}

fn established() -> Sim {
    let mut sim = Sim::new();
    sim.desire(both_families());
    sim.run_secs(1);
    assert!(sim.is_up(), "{:?}", sim.states());
    sim
}

#[test]
fn a_session_comes_up_says_everything_and_stays_for_an_hour() {
    let mut sim = established();
    assert_eq!(sim.router().table.len(), 2);
    assert_eq!(sim.router().ends_of_rib, 2);
    sim.run_secs(3600);
    assert!(sim.is_up());
    assert_eq!(downs(&sim, A), Vec::<String>::new());
    // Hold time 9 s: a keepalive every 2.25 s to 3 s.
    assert!(
        (1200..=1601).contains(&sim.router().keepalives),
        "{}",
        sim.router().keepalives
    );
    assert_eq!(
        sim.peers[B]
            .status(std::time::UNIX_EPOCH)
            .counters
            .prefixes_ignored,
        2
    );
}

#[test]
fn changes_are_said_once_and_withdrawals_too() {
    let mut sim = established();
    let worse = Attributes {
        med: 100,
        prepend: 3,
        communities: vec![crate::GRACEFUL_SHUTDOWN],
        ..plain()
    };
    sim.desire(vec![route("192.0.2.53/32", worse)]);
    let table = sim.router().table;
    assert_eq!(table.len(), 1);
    let seen = table.values().next().unwrap();
    assert_eq!((seen.med, seen.path.len()), (100, 4));
    assert_eq!(seen.communities, [crate::GRACEFUL_SHUTDOWN]);
    let status = sim.peers[A].status(std::time::UNIX_EPOCH);
    assert_eq!(status.routes.len(), 1);
    assert_eq!(status.counters.updates_sent, 4);
    sim.desire(Vec::new());
    assert_eq!(sim.router().table.len(), 0);
}

/// RFC 4271 §6.8, RFC 6286 §2.3.
#[test]
fn rfc_4271_6_8_crossing_connections_leave_that_of_the_higher_identifier() {
    for (a_id, b_id, winner) in [
        ([10, 0, 0, 9], [10, 0, 0, 1], A),
        ([10, 0, 0, 1], [10, 0, 0, 9], B),
        ([10, 0, 0, 5], [10, 0, 0, 5], A),
    ] {
        let mut sim = Sim::with(|who, (local, peer)| {
            local.router_id = [a_id, b_id][who].into();
            peer.passive = false;
        });
        sim.hold_dials = true;
        sim.desire(both_families());
        sim.run(Duration::from_millis(1));
        sim.release_dials();
        sim.run_secs(20);
        assert!(sim.is_up(), "{:?}", sim.states());
        let collisions: u64 = [A, B]
            .iter()
            .map(|who| {
                sim.peers[*who]
                    .status(std::time::UNIX_EPOCH)
                    .counters
                    .collisions
            })
            .sum();
        assert!(collisions >= 1, "{:?} {:?}", sim.dials, sim.events);
        // Equal identifiers: AS 64512 is the larger.
        assert_eq!(sim.live_side(winner), super::peer::Side::Dialled);
        assert_eq!(sim.router().table.len(), 2);
        assert_eq!((downs(&sim, A).len(), downs(&sim, B).len()), (0, 0));
    }
}

#[test]
fn a_second_connection_does_not_hurt_an_established_one() {
    let mut sim = established();
    let refused = sim.peers[B].accepted(sim.now, address(B));
    assert!(refused.is_err());
    sim.run_secs(30);
    assert!(sim.is_up());
}

#[test]
fn silence_ends_the_session_after_the_hold_time() {
    let mut sim = established();
    sim.blackhole = true;
    sim.run_secs(5);
    assert_eq!(sim.peers[A].state(), SessionState::Established);
    sim.run_secs(5);
    assert_eq!(
        downs(&sim, A),
        ["hold timer expired: nothing was heard from the peer"]
    );
    sim.run_secs(60);
    sim.blackhole = false;
    sim.run_secs(5);
    assert!(sim.is_up());
    assert_eq!(sim.router().table.len(), 2);
}

#[test]
fn a_dead_peer_is_tried_again_within_seconds_for_ever() {
    let mut sim = Sim::new();
    sim.refuse = true;
    sim.run_secs(600);
    let gaps: Vec<_> = sim
        .dials
        .windows(2)
        .map(|pair| pair[1].1 - pair[0].1)
        .collect();
    assert!(gaps.len() > 140, "{}", gaps.len());
    assert!(
        gaps.iter()
            .all(|gap| *gap >= Duration::from_millis(375) && *gap <= Duration::from_secs(4)),
        "{gaps:?}"
    );
    // Said once, not every time.
    assert_eq!(alarms(&sim, A), ["no answer"]);
}

/// The deadman: a server that answers no queries holds no route.
#[test]
fn no_keepalive_and_soon_no_session_while_dns_is_not_served() {
    let mut sim = established();
    sim.run_secs(10);
    let before = sim.router().keepalives;
    sim.peers[A].pulse(sim.now, false);
    sim.run(Duration::from_millis(900));
    assert!(sim.is_up());
    assert_eq!(sim.router().keepalives, before);
    sim.run(Duration::from_millis(200));
    assert_eq!(sim.peers[A].state(), SessionState::Idle);
    assert_eq!(downs(&sim, A), ["DNS is not served"]);
    let heard = downs(&sim, B);
    assert!(
        heard[0].contains("Administrative Reset (6/4): \"DNS is not served\""),
        "{heard:?}"
    );
    // Nothing is opened or accepted until it is served again.
    let dials = sim.dials.len();
    sim.run_secs(60);
    assert_eq!(sim.dials.len(), dials);
    assert!(sim.peers[A].accepted(sim.now, address(A)).is_err());
    sim.peers[A].pulse(sim.now, true);
    sim.run_secs(2);
    assert!(sim.is_up());
    assert_eq!(sim.router().table.len(), 2);
}

#[test]
fn a_short_pause_of_dns_only_delays_a_keepalive() {
    let mut sim = established();
    for _ in 0..50 {
        sim.peers[A].pulse(sim.now, false);
        sim.run(Duration::from_millis(900));
        sim.peers[A].pulse(sim.now, true);
        sim.run(Duration::from_millis(300));
    }
    assert!(sim.is_up());
    assert_eq!(downs(&sim, B), Vec::<String>::new());
    assert!(
        sim.peers[A]
            .status(std::time::UNIX_EPOCH)
            .counters
            .keepalives_withheld
            > 0
    );
}

/// RFC 9687, and invariant 9: memory stays bounded.
#[test]
fn a_peer_that_reads_nothing_costs_little_memory_and_then_its_session() {
    let mut sim = established();
    sim.deaf[B] = true;
    for med in 0..5000 {
        let routes = both_families().into_iter().map(|mut route| {
            route.attributes = Some(Attributes { med, ..plain() });
            route
        });
        sim.peers[A].routes(sim.now, Arc::new(routes.collect()));
        sim.run(Duration::from_millis(10));
        // Its keepalives still come.
        sim.inject(&keepalive());
    }
    assert!(
        sim.most_unsent < super::conn::LOW_WATER + 2 * 4096,
        "{}",
        sim.most_unsent
    );
    for _ in 0..445 {
        sim.run_secs(1);
        if sim.peers[A].state() == SessionState::Established {
            sim.inject(&keepalive());
        }
    }
    assert_eq!(
        downs(&sim, A),
        ["send hold timer expired: the peer reads nothing (RFC 9687)"]
    );
}

#[test]
fn a_slow_reader_gets_the_latest_state_in_the_end() {
    let mut sim = established();
    sim.deaf[B] = true;
    for med in 0..500 {
        sim.desire(vec![route("192.0.2.53/32", Attributes { med, ..plain() })]);
    }
    assert_eq!(
        sim.peers[A].status(std::time::UNIX_EPOCH).routes.len(),
        2,
        "not written yet"
    );
    sim.deaf[B] = false;
    sim.run_secs(1);
    let table = sim.router().table;
    assert_eq!(
        table.values().map(|seen| seen.med).collect::<Vec<_>>(),
        [499]
    );
}

#[test]
fn a_wrong_as_is_said_clearly_at_both_ends() {
    let mut sim = Sim::with(|who, (_, peer)| {
        if who == A {
            peer.remote_as = 64999;
        }
    });
    sim.run_secs(2);
    assert_eq!(
        alarms(&sim, A),
        ["wrong AS: the peer is AS 64500, configured is remote_as = 64999"]
    );
    let heard = alarms(&sim, B);
    assert!(
        heard.iter().any(|text| text
            .ends_with("wrong AS, it expects another AS number than our local_as = 64500")),
        "{heard:?}"
    );
}

#[test]
fn a_peer_that_sends_too_much_raises_one_alarm_and_keeps_its_session() {
    let mut sim = established();
    let prefixes: Vec<_> = (0..250_u32)
        .map(|n| {
            ipnet::IpNet::new(std::net::Ipv4Addr::from(0x0b00_0000 + (n << 8)).into(), 24).unwrap()
        })
        .collect();
    let announcement = super::codec::Announcement {
        family: super::codec::Family::V4,
        next_hop: address(B),
        attributes: &plain(),
        external: true,
        local_as: 64500,
        four_octet_as: true,
    };
    let messages = super::codec::announce(&announcement, &prefixes).unwrap();
    for _ in 0..100 {
        messages.iter().for_each(|message| sim.inject(message));
        sim.run_secs(1);
    }
    assert!(sim.is_up());
    let status = sim.peers[A].status(std::time::UNIX_EPOCH);
    assert_eq!(status.counters.prefixes_ignored, 25_000);
    assert_eq!(alarms(&sim, A).len(), 1, "{:?}", alarms(&sim, A));
    assert!(sim.most_unsent < 4096);
}

#[test]
fn malformed_updates_are_counted_and_garbage_ends_the_session() {
    let mut sim = established();
    let bad_origin = [
        &[0xff; 16][..],
        &[
            0,
            23 + 4 + 4 + 4,
            2,
            0,
            0,
            0,
            4,
            0x40,
            1,
            1,
            9,
            24,
            192,
            0,
            2,
            24,
            192,
            0,
            3,
        ],
    ]
    .concat();
    sim.inject(&bad_origin);
    assert!(sim.is_up());
    assert_eq!(
        sim.peers[A]
            .status(std::time::UNIX_EPOCH)
            .counters
            .treated_as_withdraw,
        1
    );
    sim.inject(&[0; 64]);
    assert_eq!(
        downs(&sim, A),
        ["we sent Message Header Error: Connection Not Synchronized (1/1)"]
    );
}

#[test]
fn shutdown_withdraws_and_says_why() {
    let mut sim = established();
    sim.peers[A].cease(
        sim.now,
        &Cease::Shutdown("maintenance \u{1b}[31m".to_owned()),
        "shutting down",
    );
    sim.settle();
    let heard = downs(&sim, B);
    assert_eq!(
        heard,
        ["the peer sent Cease: Administrative Shutdown (6/2): \"maintenance \\u{1b}[31m\""]
    );
    sim.run_secs(60);
    assert_eq!(sim.peers[A].state(), SessionState::Idle);
    assert_eq!(sim.dials.len(), 1, "a stopped session stays so");
}

#[test]
fn rfc_5882_4_bfd_ends_the_session_only_by_going_down_from_up() {
    let mut sim = established();
    for state in [
        BfdState::Down,
        BfdState::Up,
        BfdState::AdminDown,
        BfdState::Down,
    ] {
        sim.peers[A].bfd(sim.now, state);
    }
    sim.settle();
    assert!(sim.is_up());
    sim.peers[A].bfd(sim.now, BfdState::Up);
    sim.peers[A].bfd(sim.now, BfdState::Down);
    sim.settle();
    assert_eq!(downs(&sim, A), ["BFD says that the path is down"]);
    assert!(downs(&sim, B)[0].contains("(6/10)"), "{:?}", downs(&sim, B));
    sim.run_secs(3);
    assert!(sim.is_up());
}

#[test]
fn rfc_2918_4_a_refresh_says_the_routes_of_its_family_again() {
    let mut sim = established();
    let before = sim.peers[A]
        .status(std::time::UNIX_EPOCH)
        .counters
        .updates_sent;
    let refresh = [&[0xff; 16][..], &[0, 23, 5, 0, 2, 0, 1]].concat();
    sim.inject(&refresh);
    let counters = sim.peers[A].status(std::time::UNIX_EPOCH).counters;
    assert_eq!(
        (counters.updates_sent - before, counters.refreshes_answered),
        (1, 1)
    );
    assert_eq!(sim.router().table.len(), 2);
    // A family that nobody speaks is ignored (RFC 2918 §4).
    sim.inject(&[&[0xff; 16][..], &[0, 23, 5, 0, 25, 0, 70]].concat());
    assert!(sim.is_up());
}

#[test]
fn warnings_when_a_session_comes_up() {
    let mut sim = Sim::with(|_, (local, _)| {
        local.hold_time = Duration::from_secs(90);
        local.relies_on_graceful_shutdown = true;
    });
    sim.run_secs(1);
    let lint = sim.peers[A].status(std::time::UNIX_EPOCH).lint;
    assert_eq!(
        lint[0],
        "hold time 90 s and no BFD: a silent loss would keep the route up for as long"
    );
    assert!(lint[1].contains("GRACEFUL_SHUTDOWN alone"), "{lint:?}");
    let with_bfd = |_: usize, (local, peer): (&mut super::SpeakerSettings, &mut PeerSettings)| {
        local.hold_time = Duration::from_secs(90);
        peer.bfd = true;
    };
    let mut sim = Sim::with(with_bfd);
    sim.run_secs(1);
    assert_eq!(
        sim.peers[A].status(std::time::UNIX_EPOCH).lint,
        Vec::<String>::new()
    );
}

#[test]
fn a_peer_with_graceful_restart_is_worth_a_warning_and_we_never_offer_it() {
    let open = |with_gr: bool| {
        let mut capabilities = vec![2, 6, 1, 4, 0, 1, 0, 1, 2, 6, 65, 4, 0, 0, 0xfb, 0xf4];
        if with_gr {
            capabilities.extend([2, 8, 64, 6, 0, 120, 0, 1, 1, 0x80]);
            capabilities.extend([2, 9, 71, 7, 0, 1, 1, 0x80, 0, 0x0e, 0x10]);
        }
        let length = u8::try_from(capabilities.len()).unwrap();
        let mut message = vec![0xff; 16];
        message.extend([0, 29 + length, 1, 4, 0xfb, 0xf4, 0, 9, 10, 99, 0, 1, length]);
        message.extend(capabilities);
        message
    };
    for with_gr in [false, true] {
        let local = Arc::new(settings(64512, [10, 99, 0, 2]));
        let now = Sim::new().now;
        let mut peer = Peer::new(
            now,
            local,
            PeerSettings::new("tor1", address(B), 64500),
            Arc::default(),
            1,
        );
        peer.dialled(now, address(A));
        let ours = peer.unsent(super::peer::Side::Dialled).to_vec();
        // No capability 64 (RFC 4724) and no 71 (RFC 9494).
        let codes: Vec<u8> = capability_codes(&ours);
        assert_eq!(codes, [1, 1, 2, 5, 65]);
        peer.received(now, super::peer::Side::Dialled, &open(with_gr));
        peer.received(now, super::peer::Side::Dialled, &keepalive());
        assert_eq!(peer.state(), SessionState::Established);
        let lint = peer.status(std::time::UNIX_EPOCH).lint;
        assert_eq!(lint.len(), if with_gr { 2 } else { 0 }, "{lint:?}");
        let agreed = peer.status(std::time::UNIX_EPOCH).agreed.unwrap();
        assert!(agreed.ipv4_unicast && !agreed.ipv6_unicast && !agreed.route_refresh);
    }
}

/// Codes of the capabilities in an OPEN, wherever its parameters put them (RFC 5492 §4).
fn capability_codes(open: &[u8]) -> Vec<u8> {
    let (mut codes, mut rest) = (Vec::new(), &open[29..]);
    while let [2, length, after @ ..] = rest {
        let (mut inside, next) = after.split_at(usize::from(*length));
        while let [code, length, after @ ..] = inside {
            codes.push(*code);
            inside = &after[usize::from(*length)..];
        }
        rest = next;
    }
    codes
}

#[test]
fn a_successor_goes_on_without_a_flap() {
    let mut sim = established();
    sim.run_secs(7);
    let (side, saved) = sim.peers[A].save(sim.now).expect("an established session");
    assert_eq!(side, super::peer::Side::Dialled);
    let make = |local: super::SpeakerSettings| {
        let worse = vec![route("192.0.2.53/32", Attributes { med: 9, ..plain() })];
        Peer::new(
            sim.now,
            Arc::new(local),
            PeerSettings::new("peer", address(B), 64500),
            Arc::new(worse),
            3,
        )
    };
    let mut other = make(settings(64513, [10, 99, 0, 2]));
    assert_eq!(
        other.inherit(sim.now, address(A), &saved),
        Err(Cease::ConfigurationChange)
    );
    let mut successor = make(settings(64512, [10, 99, 0, 2]));
    successor
        .inherit(sim.now, address(A), &saved)
        .expect("the same settings");
    sim.replace_a(successor);
    sim.events = [Vec::new(), Vec::new()];
    sim.run_secs(60);
    assert!(sim.is_up());
    assert_eq!((downs(&sim, A).len(), downs(&sim, B).len()), (0, 0));
    // The difference to what the predecessor said is said, and nothing else.
    let table = sim.router().table;
    assert_eq!(table.values().map(|seen| seen.med).collect::<Vec<_>>(), [9]);
    assert_eq!(
        sim.peers[A]
            .status(std::time::UNIX_EPOCH)
            .counters
            .updates_sent,
        2
    );
    assert_eq!(sim.router().ends_of_rib, 2);
}

#[derive(Clone, Debug)]
enum Fault {
    Wait(u64),
    Blackhole(bool),
    Refuse(bool),
    Reset,
    Pulse(bool),
    Bfd(BfdState),
    Deaf(bool),
    Desire(Vec<(usize, u32)>),
    Refresh,
    HandOver,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (0_u64..15_000).prop_map(Fault::Wait),
        (0_u64..300).prop_map(Fault::Wait),
        any::<bool>().prop_map(Fault::Blackhole),
        any::<bool>().prop_map(Fault::Refuse),
        Just(Fault::Reset),
        any::<bool>().prop_map(Fault::Pulse),
        prop::sample::select(vec![BfdState::Up, BfdState::Down, BfdState::AdminDown])
            .prop_map(Fault::Bfd),
        any::<bool>().prop_map(Fault::Deaf),
        prop::collection::vec((0_usize..3, 0_u32..9), 0..3).prop_map(Fault::Desire),
        Just(Fault::Refresh),
        Just(Fault::HandOver),
    ]
}

fn inflict(sim: &mut Sim, fault: Fault, wanted: &mut Vec<Desired>) {
    match fault {
        Fault::Wait(millis) => sim.run(Duration::from_millis(millis)),
        Fault::Blackhole(on) => sim.blackhole = on,
        Fault::Refuse(on) => sim.refuse = on,
        Fault::Reset => sim.reset(),
        Fault::Pulse(served) => sim.peers[A].pulse(sim.now, served),
        Fault::Bfd(state) => sim.peers[A].bfd(sim.now, state),
        Fault::Deaf(on) => sim.deaf[B] = on,
        Fault::Desire(routes) => {
            let prefixes = ["192.0.2.53/32", "198.51.100.0/24", "2001:db8:53::/48"];
            *wanted = routes
                .into_iter()
                .map(|(at, med)| route(prefixes[at], Attributes { med, ..plain() }))
                .collect();
            sim.desire(wanted.clone());
        }
        Fault::Refresh => {
            if sim.is_up() && !sim.blackhole {
                sim.inject(&[&[0xff; 16][..], &[0, 23, 5, 0, 1, 0, 1]].concat());
            }
        }
        Fault::HandOver => {
            if let Some((_, saved)) = sim.peers[A].save(sim.now) {
                let local = Arc::new(settings(64512, [10, 99, 0, 2]));
                let mut peer = PeerSettings::new("peer", address(B), 64500);
                peer.passive = false;
                let mut successor = Peer::new(sim.now, local, peer, Arc::new(wanted.clone()), 5);
                if successor.inherit(sim.now, address(A), &saved).is_ok() {
                    sim.replace_a(successor);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Whatever happens: when it is over, the session comes up within seconds and the router holds
    /// exactly what is desired; and while DNS is unserved for long, there is no session.
    #[test]
    fn after_any_faults_the_router_holds_what_is_desired(
        faults in prop::collection::vec(fault(), 1..25), both_dial: bool, chunk in 1_usize..80
    ) {
        let mut sim = Sim::with(|who, (_, peer)| peer.passive = who == B && !both_dial);
        sim.chunk = chunk;
        let mut wanted = both_families();
        sim.desire(wanted.clone());
        for fault in faults {
            inflict(&mut sim, fault, &mut wanted);
            prop_assert!(sim.most_unsent < super::conn::LOW_WATER + 2 * 4096);
        }
        (sim.blackhole, sim.refuse, sim.deaf) = (false, false, [false; 2]);
        sim.peers[A].pulse(sim.now, true);
        // A half-open connection of the past may have to run into its hold time first.
        sim.reset();
        sim.run_secs(15);
        prop_assert!(sim.is_up(), "{:?}", sim.states());
        let table = sim.router().table;
        let last: std::collections::BTreeMap<_, _> = wanted
            .iter()
            .map(|route| (route.prefix, route.attributes.as_ref().unwrap().med))
            .collect();
        let seen: std::collections::BTreeMap<_, _> = table.iter().map(|(prefix, seen)| (*prefix, seen.med)).collect();
        prop_assert_eq!(seen, last);
        sim.peers[A].pulse(sim.now, false);
        sim.run_secs(2);
        prop_assert_eq!(sim.states()[A], SessionState::Idle);
        prop_assert!(sim.router().table.is_empty());
    }
}
