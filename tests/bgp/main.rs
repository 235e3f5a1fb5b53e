//! Our speaker against BIRD, FRR and GoBGP, each × {plain, TCP-MD5, GTSM} × {IPv4, IPv6, both over
//! IPv4}, in network namespaces; and what goes wrong in real life, against BIRD.
//!
//! The IPv4 session carries both families and is dialled by us, the IPv6 session is dialled by the
//! router, so that both openings and the listening socket's keys are used.

use std::time::Duration;

use meridian_bgp_control::{
    Attributes, GRACEFUL_SHUTDOWN,
    session::{Auth, PeerEventKind, PeerSettings, Secret, SessionState, SpeakerSettings},
};
use meridian_tests::{
    PATIENCE,
    bgp::{
        Bed, Guard, HOST_AS, HOST_V4, HOST_V6, Host, Kind, ROUTER_AS, ROUTER_V4, ROUTER_V6, Router,
        RouterOptions, Via,
    },
    eventually,
};

const V4: &str = "192.0.2.53/32";
const V6: &str = "2001:db8:53::/48";

fn settings(guard: &Guard) -> SpeakerSettings {
    let mut settings = SpeakerSettings::new(HOST_AS, HOST_V4.parse().expect("an address"));
    settings.prefixes = [V4, V6].map(|net| net.parse().expect("a prefix")).to_vec();
    let peer = |name: &str, address: &str, local: &str, passive| {
        let mut peer = PeerSettings::new(name, address.parse().expect("an address"), ROUTER_AS);
        peer.local_address = local.parse().ok();
        peer.passive = passive;
        match guard {
            Guard::Plain => {}
            Guard::Md5(password) => {
                peer.auth = Secret::new(password.as_bytes()).map_or(Auth::Missing, Auth::Md5);
            }
            Guard::Gtsm => peer.gtsm = true,
        }
        peer
    };
    settings.peers = vec![
        peer("v4", ROUTER_V4, HOST_V4, false),
        peer("v6", ROUTER_V6, HOST_V6, true),
    ];
    settings
}

fn worse() -> Attributes {
    Attributes {
        med: 100,
        prepend: 3,
        communities: vec![GRACEFUL_SHUTDOWN],
        ..Attributes::default()
    }
}

fn plain() -> Attributes {
    Attributes::default()
}

fn up(host: &Host, peer: &str) {
    host.wait(peer, "established", |status| {
        status.state == SessionState::Established
    });
}

/// The way of a route and back: announce, depreference, withdraw, restart of the peer, hand-over
/// to a successor, shutdown with text.
fn life(kind: Kind, guard: Guard, name: &str) {
    let Some(bed) = Bed::new(name) else { return };
    let Some(mut router) = Router::start(&bed, RouterOptions::new(kind, guard.clone())) else {
        return;
    };
    let host = Host::start(&bed, settings(&guard));
    host.desire(&[(V4, plain()), (V6, plain())]);
    let sees = |router: &Router, what: &str, prefix: &str, via: Via, path_length: Option<usize>| {
        let text = format!("{kind:?}: {prefix} over {via:?} {what}");
        eventually(&text, PATIENCE, || {
            (router.route(prefix, via).map(|route| route.path_length) == path_length).then_some(())
        });
    };
    let all = [(V4, Via::V4), (V6, Via::V4), (V6, Via::V6)];
    for (prefix, via) in all {
        sees(&router, "announced", prefix, via, Some(1));
    }
    assert_eq!(
        router.route(V4, Via::V4).map(|route| route.next_hop),
        Some(HOST_V4.to_owned())
    );
    assert_eq!(
        router.route(V6, Via::V6).map(|route| route.next_hop),
        Some(HOST_V6.to_owned())
    );
    // Told after it is sent, so the router may know it first.
    host.wait("v4", "both routes", |status| status.routes.len() == 2);

    host.desire(&[(V4, worse()), (V6, worse())]);
    for (prefix, via) in all {
        sees(&router, "depreferenced", prefix, via, Some(4));
        let route = router.route(prefix, via).expect("still announced");
        assert!(route.graceful_shutdown && route.med == 100, "{route:?}");
    }

    host.desire(&[]);
    for (prefix, via) in all {
        sees(&router, "withdrawn", prefix, via, None);
    }

    host.desire(&[(V4, plain()), (V6, plain())]);
    sees(&router, "announced again", V6, Via::V6, Some(1));
    router.restart(&bed);
    for (prefix, via) in all {
        sees(
            &router,
            "back after the router's restart",
            prefix,
            via,
            Some(1),
        );
    }

    let host = hand_over(&bed, host, &router, &guard);
    sees(&router, "changed by the successor", V4, Via::V4, Some(4));
    sees(&router, "kept by the successor", V6, Via::V6, Some(1));

    host.shutdown("kernel update till noon");
    eventually("the text is in the router's log", PATIENCE, || {
        router
            .log()
            .contains("kernel update till noon")
            .then_some(())
    });
    for (prefix, via) in all {
        sees(&router, "gone", prefix, via, None);
    }
}

/// A successor goes on with both sessions; the router notices nothing but a changed route.
fn hand_over(bed: &Bed, host: Host, router: &Router, guard: &Guard) -> Host {
    up(&host, "v4");
    up(&host, "v6");
    let inherited = host.hand_over();
    assert_eq!(inherited.len(), 2);
    let before = router.log().len();
    let mut host = Host::with(bed, settings(guard), inherited);
    host.desire(&[(V4, worse()), (V6, plain())]);
    eventually("changed by the successor", PATIENCE, || {
        router
            .route(V4, Via::V4)
            .filter(|route| route.path_length == 4)
    });
    let flaps = host
        .events()
        .iter()
        .any(|event| matches!(event.kind, PeerEventKind::Down { .. }));
    assert!(!flaps, "{:?}", host.events());
    let log = router.log();
    let since = log.get(before..).unwrap_or_default();
    for sign in ["Connection closed", "ADJCHANGE", "Peer Down"] {
        assert!(!since.contains(sign), "{since}");
    }
    host
}

fn md5() -> Guard {
    Guard::Md5("correct-horse-battery".to_owned())
}

#[test]
fn bird_plain() {
    life(Kind::Bird, Guard::Plain, "bp");
}

#[test]
fn bird_md5() {
    life(Kind::Bird, md5(), "bm");
}

#[test]
fn bird_gtsm() {
    life(Kind::Bird, Guard::Gtsm, "bg");
}

#[test]
fn frr_plain() {
    life(Kind::Frr, Guard::Plain, "fp");
}

#[test]
fn frr_md5() {
    life(Kind::Frr, md5(), "fm");
}

#[test]
fn frr_gtsm() {
    life(Kind::Frr, Guard::Gtsm, "fg");
}

#[test]
fn gobgp_plain() {
    life(Kind::Gobgp, Guard::Plain, "gp");
}

#[test]
fn gobgp_md5() {
    life(Kind::Gobgp, md5(), "gm");
}

#[test]
fn gobgp_gtsm() {
    life(Kind::Gobgp, Guard::Gtsm, "gg");
}

#[test]
fn a_different_md5_password_is_named_as_a_suspect() {
    let Some(bed) = Bed::new("mm") else { return };
    let options = RouterOptions::new(Kind::Bird, Guard::Md5("theirs".to_owned()));
    let Some(_router) = Router::start(&bed, options) else {
        return;
    };
    let host = Host::start(&bed, settings(&Guard::Md5("ours".to_owned())));
    host.wait("v4", "the suspicion", |status| {
        status.last_error.as_ref().is_some_and(|text| {
            text.contains("no answer from 10.99.0.1:179 within 1 s; if the peer is up, its TCP-MD5 password differs from password_file")
        })
    });
    // BIRD dials the IPv6 session, whose segments our kernel refuses.
    host.wait("v4", "the kernel's count", |status| {
        status
            .last_error
            .as_ref()
            .is_some_and(|text| text.contains("segments for their TCP-MD5 signature"))
    });
}

#[test]
fn a_wrong_as_is_said_clearly() {
    let Some(bed) = Bed::new("wa") else { return };
    let mut options = RouterOptions::new(Kind::Bird, Guard::Plain);
    options.expects_as = 64999;
    let Some(router) = Router::start(&bed, options) else {
        return;
    };
    let mut wrong = settings(&Guard::Plain);
    wrong.peers[0].remote_as = 64501;
    let host = Host::start(&bed, wrong);
    host.wait("v4", "our view", |status| {
        status.last_error.as_ref().is_some_and(|text| {
            text == "wrong AS: the peer is AS 64500, configured is remote_as = 64501"
                || text.contains("wrong AS, it expects another AS number than our local_as = 64512")
        })
    });
    eventually("the router says it too", PATIENCE, || {
        router.log().contains("Bad peer AS").then_some(())
    });
}

#[test]
fn a_silent_blackhole_ends_the_session_and_it_comes_back() {
    let Some(bed) = Bed::new("sb") else { return };
    let mut options = RouterOptions::new(Kind::Bird, Guard::Plain);
    options.hold = 3;
    let Some(router) = Router::start(&bed, options) else {
        return;
    };
    let host = Host::start(&bed, settings(&Guard::Plain));
    host.desire(&[(V4, plain())]);
    eventually("announced", PATIENCE, || router.route(V4, Via::V4));
    bed.blackhole(true);
    eventually("gone at the router", PATIENCE, || {
        router.route(V4, Via::V4).is_none().then_some(())
    });
    host.wait("v4", "down for silence", |status| {
        let error = status.last_error.as_deref().unwrap_or_default();
        let silence = error.contains("hold timer expired") || error.contains("no answer");
        status.state != SessionState::Established && silence
    });
    bed.blackhole(false);
    eventually("announced again", PATIENCE, || router.route(V4, Via::V4));
}

#[test]
fn a_peer_that_sends_too_much_keeps_its_session() {
    let Some(bed) = Bed::new("os") else { return };
    let mut options = RouterOptions::new(Kind::Bird, Guard::Plain);
    options.exports = 5000;
    let Some(router) = Router::start(&bed, options) else {
        return;
    };
    let mut host = Host::start(&bed, settings(&Guard::Plain));
    host.desire(&[(V4, plain())]);
    host.wait("v4", "all counted", |status| {
        status.counters.prefixes_ignored >= 5000
    });
    eventually("announced", PATIENCE, || router.route(V4, Via::V4));
    let alarms = host.events().iter().filter(|event| {
        matches!(&event.kind, PeerEventKind::Alarm { text } if text.contains("more than 1000 prefixes"))
    });
    assert_eq!(alarms.count(), 1);
    assert_eq!(host.status("v4").counters.notifications_sent, 0);
    assert_eq!(host.status("v4").state, SessionState::Established);
}

/// A router that stands still reads nothing; changes meanwhile coalesce, and the last one counts.
#[test]
fn a_slow_reader_gets_the_last_state() {
    let Some(bed) = Bed::new("sr") else { return };
    let Some(router) = Router::start(&bed, RouterOptions::new(Kind::Bird, Guard::Plain)) else {
        return;
    };
    let host = Host::start(&bed, settings(&Guard::Plain));
    host.desire(&[(V4, plain())]);
    eventually("announced", PATIENCE, || router.route(V4, Via::V4));
    let signal = |signal| {
        for pid in router.pids() {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
            nix::sys::signal::kill(pid, signal).expect("it runs");
        }
    };
    signal(nix::sys::signal::Signal::SIGSTOP);
    let mut med = 0;
    while med < 500 {
        med += 1;
        host.desire(&[(V4, Attributes { med, ..plain() })]);
        // Each change alone, so that the kernel's buffers are used, too.
        std::thread::sleep(Duration::from_millis(2));
    }
    signal(nix::sys::signal::Signal::SIGCONT);
    eventually("the last state", PATIENCE, || {
        router.route(V4, Via::V4).filter(|route| route.med == med)
    });
}

/// The deadman: the process lives, DNS does not.
#[test]
fn a_server_that_serves_no_dns_holds_no_route() {
    let Some(bed) = Bed::new("dm") else { return };
    let Some(router) = Router::start(&bed, RouterOptions::new(Kind::Bird, Guard::Plain)) else {
        return;
    };
    let host = Host::start(&bed, settings(&Guard::Plain));
    host.desire(&[(V4, plain())]);
    eventually("announced", PATIENCE, || router.route(V4, Via::V4));
    host.serve(false);
    eventually("gone", PATIENCE, || {
        router.route(V4, Via::V4).is_none().then_some(())
    });
    eventually("the router knows why", PATIENCE, || {
        router.log().contains("DNS is not served").then_some(())
    });
    host.serve(true);
    eventually("announced again", PATIENCE, || router.route(V4, Via::V4));
}

/// A reload touches only the session whose settings changed.
#[test]
fn a_reload_leaves_the_other_session_alone() {
    let Some(bed) = Bed::new("rl") else { return };
    let Some(router) = Router::start(&bed, RouterOptions::new(Kind::Bird, Guard::Plain)) else {
        return;
    };
    let mut host = Host::start(&bed, settings(&Guard::Plain));
    host.desire(&[(V6, plain())]);
    eventually("announced", PATIENCE, || {
        router.route(V6, Via::V6).and(router.route(V6, Via::V4))
    });
    let mut changed = settings(&Guard::Plain);
    changed.peers[0].import_limit = 5;
    changed.peers.remove(1);
    host.reload(changed);
    eventually("its session is gone", PATIENCE, || {
        router.route(V6, Via::V6).is_none().then_some(())
    });
    assert!(router.route(V6, Via::V4).is_some());
    // It comes back, dialled by the router: the listening sockets are new by now.
    host.reload(settings(&Guard::Plain));
    eventually("its session is back", PATIENCE, || {
        router.route(V6, Via::V6)
    });
    let downs = host
        .events()
        .iter()
        .filter(|event| matches!(event.kind, PeerEventKind::Down { .. }));
    assert_eq!(
        downs.map(|event| event.peer.clone()).collect::<Vec<_>>(),
        ["v6"]
    );
}

/// RFC 5925: a session that was to be authenticated is never opened without; others go on.
#[test]
fn a_kernel_without_tcp_ao_closes_that_session_only() {
    let Some(bed) = Bed::new("ao") else { return };
    let Some(router) = Router::start(&bed, RouterOptions::new(Kind::Bird, Guard::Plain)) else {
        return;
    };
    let mut settings = settings(&Guard::Plain);
    settings.peers[0].auth = Auth::Ao {
        key_id: 1,
        key: Secret::new("a key").expect("short enough"),
    };
    let host = Host::start(&bed, settings);
    host.desire(&[(V6, plain())]);
    eventually("the other session", PATIENCE, || router.route(V6, Via::V6));
    // With TCP-AO in the kernel, BIRD, which has no key, gives no answer.
    let expected = [
        "the session stays closed: this kernel has no TCP-AO",
        "its TCP-AO key differs",
    ];
    host.wait("v4", "the reason", |status| {
        let error = status.last_error.as_deref().unwrap_or_default();
        expected.iter().any(|text| error.contains(text))
    });
    assert_ne!(host.status("v4").state, SessionState::Established);
}
