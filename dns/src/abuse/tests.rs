//! The gate in simulated time: against a plain reference, and under floods.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use meridian_config::{RateLimit, RateLimitMode};
use proptest::prelude::*;

use super::{
    Gate, Kind, Limits, Seat, Verdict,
    cookie::State,
    limits::{Prefix, SECOND},
};
use crate::answer::Summary;

/// A reply without a cookie, put down to name number `imputed`.
fn reply(kind: Kind, imputed: u64) -> Summary {
    Summary {
        rcode: 0,
        qtype: 1,
        ecs: false,
        steered: None,
        truncated: false,
        kind,
        imputed,
        cookie: State::Absent,
    }
}

fn config(rate: u32) -> RateLimit {
    RateLimit {
        mode: RateLimitMode::On,
        responses_per_second: rate,
        nodata_per_second: rate,
        nxdomains_per_second: rate,
        referrals_per_second: rate,
        errors_per_second: rate,
        ..RateLimit::default()
    }
}

/// A gate with its clock.
struct World {
    start: Instant,
    seat: Seat,
    limits: Limits,
}

impl World {
    #[allow(clippy::disallowed_methods)] // an origin for simulated time, read once
    fn new(config: &RateLimit, key: [u8; 16]) -> Self {
        let start = Instant::now();
        let limits = Limits::from(config);
        let gate = Arc::new(Gate::new(key, start));
        gate.prepare(&limits);
        Self {
            start,
            seat: gate.seat(),
            limits,
        }
    }

    fn judge(&mut self, source: IpAddr, reply: &Summary, at: Duration) -> Verdict {
        self.seat
            .judge(&self.limits, source, reply, self.start + at)
    }

    fn passes(&mut self, source: IpAddr, reply: &Summary, at: Duration) -> bool {
        self.judge(source, reply, at) == Verdict::Send
    }
}

/// What every account would say if it had memory of its own.
#[derive(Default)]
struct Reference(HashMap<(Prefix, Option<Kind>, u64), u64>);

impl Reference {
    fn limited(&mut self, limits: &Limits, source: IpAddr, reply: &Summary, at: Duration) -> bool {
        let prefix = limits.prefix(source);
        let now = u64::try_from(at.as_nanos()).unwrap();
        let accounts = [
            (Some(reply.kind), reply.imputed, limits.cost(reply.kind)),
            (None, 0, limits.cost_of_all),
        ];
        let mut limited = false;
        for (kind, imputed, cost) in accounts.into_iter().filter(|(.., cost)| *cost != 0) {
            let paid = self.0.entry((prefix, kind, imputed)).or_default();
            let debt = paid.saturating_sub(now) + cost;
            limited |= debt > SECOND;
            *paid = now + debt.min(SECOND + limits.window);
        }
        limited
    }
}

/// Small and quick, for tests only.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end)).unwrap()
    }
}

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from(number).into()
}

#[test]
fn a_second_of_replies_at_once_then_the_rate() {
    let mut world = World::new(&config(10), [1; 16]);
    let answer = reply(Kind::Answer, 7);
    let client = address(0x0a00_0001);
    for n in 0..10 {
        assert!(world.passes(client, &answer, Duration::ZERO), "{n}");
    }
    assert!(!world.passes(client, &answer, Duration::ZERO));
    // The one that was held back is charged, too: the next passes two tenths of a second later.
    assert!(!world.passes(client, &answer, Duration::from_millis(100)));
    assert!(world.passes(client, &answer, Duration::from_millis(400)));
    // Other kinds, names and prefixes have accounts of their own; addresses of a prefix have one.
    let late = Duration::from_millis(401);
    assert!(world.passes(address(0x0a00_00ff), &answer, late));
    assert!(!world.passes(client, &answer, late));
    assert!(world.passes(address(0x0a00_0101), &answer, late));
    assert!(world.passes(client, &reply(Kind::Answer, 8), late));
    assert!(world.passes(client, &reply(Kind::NoData, 7), late));
}

#[test]
fn debts_end_after_the_window() {
    let mut world = World::new(&config(10), [1; 16]);
    let answer = reply(Kind::Answer, 7);
    for _ in 0..100_000 {
        world.judge(address(1), &answer, Duration::ZERO);
    }
    let still = Duration::from_millis(15_099);
    assert!(!world.passes(address(1), &answer, still));
    let mut world = World::new(&config(10), [1; 16]);
    for _ in 0..100_000 {
        world.judge(address(1), &answer, Duration::ZERO);
    }
    assert!(world.passes(address(1), &answer, Duration::from_millis(15_101)));
}

#[test]
fn slip_is_a_share_of_the_limited_and_none_when_zero() {
    for (slip, low, high) in [
        (0, 0, 0),
        (1, 10_000, 10_000),
        (2, 4700, 5300),
        (10, 850, 1150),
    ] {
        let mut world = World::new(&RateLimit { slip, ..config(1) }, [3; 16]);
        let answer = reply(Kind::Answer, 7);
        assert!(world.passes(address(1), &answer, Duration::ZERO));
        let verdicts: Vec<_> = (0..10_000)
            .map(|_| world.judge(address(1), &answer, Duration::ZERO))
            .collect();
        let slips = verdicts.iter().filter(|v| **v == Verdict::Slip).count();
        assert!((low..=high).contains(&slips), "{slip}: {slips}");
        assert!(verdicts.iter().all(|v| *v != Verdict::Send));
    }
}

#[test]
fn a_rate_of_zero_limits_nothing_and_all_limits_all_kinds() {
    let only_all = RateLimit {
        all_per_second: 5,
        ..config(0)
    };
    let mut world = World::new(&only_all, [1; 16]);
    let sent = Kind::ALL
        .iter()
        .cycle()
        .zip(0..100)
        .filter(|(kind, n)| world.passes(address(1), &reply(**kind, *n), Duration::ZERO));
    assert_eq!(sent.count(), 5);
    let mut world = World::new(&config(0), [1; 16]);
    assert!((0..1000).all(|_| world.passes(address(1), &reply(Kind::Answer, 1), Duration::ZERO)));
}

#[test]
fn before_the_table_is_made_nothing_is_limited_and_a_reload_keeps_what_was_counted() {
    let mut world = World::new(&RateLimit::default(), [1; 16]);
    let answer = reply(Kind::Answer, 7);
    assert!((0..1000).all(|_| world.passes(address(1), &answer, Duration::ZERO)));
    world.limits = Limits::from(&config(5));
    assert!((0..1000).all(|_| world.passes(address(1), &answer, Duration::ZERO)));
    world.seat.gate().prepare(&world.limits);
    let sent = (0..100).filter(|_| world.passes(address(1), &answer, Duration::ZERO));
    assert_eq!(sent.count(), 5);
    // New rates judge the debt of before.
    world.limits = Limits::from(&config(50));
    world.seat.gate().prepare(&world.limits);
    assert!(!world.passes(address(1), &answer, Duration::ZERO));
    world.limits = Limits::OFF;
    assert!(world.passes(address(1), &answer, Duration::ZERO));
}

/// Row 18 of the failure classes: whose address? Rates are held by the address that the packet came
/// from; a summary says nothing of ECS but that there was one, so it cannot be mistaken for it.
#[test]
fn row_18_rates_are_held_by_the_source_of_the_packet() {
    let mut world = World::new(&config(5), [1; 16]);
    let with_ecs = Summary {
        ecs: true,
        ..reply(Kind::Answer, 7)
    };
    let sent = (0..100).filter(|_| world.passes(address(1), &with_ecs, Duration::ZERO));
    assert_eq!(sent.count(), 5);
    assert!(!world.passes(address(1), &reply(Kind::Answer, 7), Duration::ZERO));
    // The same client by an IPv6 socket.
    let mapped = "::ffff:0.0.0.1".parse().unwrap();
    assert!(!world.passes(mapped, &with_ecs, Duration::ZERO));
    assert!(world.passes(address(0x0100_0000), &with_ecs, Duration::ZERO));
}

/// Row 23 of the failure classes: a flood in the name of a client, from its own prefix. With a cookie,
/// or exempt, it loses nothing; without, some of its replies tell it to come by TCP.
#[test]
fn row_23_a_flood_in_a_clients_own_name() {
    let exempt = vec!["10.0.1.0/24".parse().unwrap()];
    let limit = RateLimit {
        exempt,
        ..config(20)
    };
    let mut world = World::new(&limit, [9; 16]);
    let (victim, exempt) = (address(0x0a00_0005), address(0x0a00_0105));
    let answer = reply(Kind::Answer, 7);
    let known = Summary {
        cookie: State::Valid,
        ..answer.clone()
    };
    let (mut asked, mut told) = (0, 0);
    for n in 0..50_000_u64 {
        let at = Duration::from_micros(20 * n);
        for flooded in [victim, exempt] {
            world.judge(flooded, &answer, at);
        }
        assert!(world.passes(victim, &known, at));
        assert!(world.passes(exempt, &answer, at));
        for state in [State::ClientOnly, State::Invalid] {
            let unknown = Summary {
                cookie: state,
                ..answer.clone()
            };
            asked += 1;
            told += u32::from(world.judge(victim, &unknown, at) != Verdict::Drop);
        }
    }
    // A client tries again: of three attempts one is told with a chance of 7 in 8.
    assert!(told * 10 > asked * 4, "{told} of {asked}");
}

/// Row 23 of the failure classes: a flood from random spoofed sources. A million queries a second
/// over all of IPv4, for names that do not exist, must not cost other clients their answers, nor
/// memory.
#[test]
fn row_23_a_flood_from_random_sources_leaves_a_client_alone() {
    let limit = RateLimit {
        table_size: 1 << 16,
        ..config(20)
    };
    let mut world = World::new(&limit, [4; 16]);
    let mut random = Random(1);
    let (mut asked, mut lost) = (0_u32, 0_u32);
    // A sixteenth of the default table, so a sixteenth of the flood: 62,500 a second, for 4 s.
    for n in 0..250_000_u64 {
        let at = Duration::from_micros(16 * n);
        let spoofed = address(random.below(u32::MAX));
        world.judge(spoofed, &reply(Kind::NxDomain, 1), at);
        // A thousand clients, each asking ten times a second.
        if n % 6 == 0 {
            let client = address(0x6440_0000 + (random.below(1000) << 8));
            asked += 1;
            lost += u32::from(!world.passes(client, &reply(Kind::NxDomain, 1), at));
        }
    }
    assert!(lost * 10_000 <= asked, "{lost} of {asked}");
}

/// Row 23 of the failure classes: many spoofed prefixes, each far over its rate. They are limited;
/// clients elsewhere share hardly any fate with them, whatever the key.
#[test]
fn row_23_heavy_prefixes_do_not_starve_others() {
    let limit = RateLimit {
        table_size: 1 << 16,
        ..config(20)
    };
    for key in 0..4 {
        let mut world = World::new(&limit, [key; 16]);
        let mut random = Random(key.into());
        let (mut flood, mut sent, mut asked, mut lost) = (0_u32, 0_u32, 0_u32, 0_u32);
        // 3,000 prefixes, each with 40 queries a second of 20 allowed: 12,000 of 65,536 cells.
        for n in 0..360_000_u64 {
            let at = Duration::from_nanos(8333 * n);
            let heavy = address(0x0b00_0000 + (random.below(3000) << 8));
            let passed = world.passes(heavy, &reply(Kind::Answer, 1), at);
            if at > Duration::from_secs(2) {
                flood += 1;
                sent += u32::from(passed);
            }
            if n % 12 == 0 {
                let client = address(0x6440_0000 + (random.below(1000) << 8));
                asked += 1;
                lost += u32::from(!world.passes(client, &reply(Kind::Answer, 1), at));
            }
        }
        assert!(sent * 20 < flood, "{sent} of {flood} of the flood answered");
        assert!(lost * 200 <= asked, "key {key}: {lost} of {asked} lost");
    }
}

proptest! {
    /// With room for all, the gate says what accounts with memory of their own say.
    #[test]
    fn as_the_reference_says(
        rate in 1..100_u32, all in 0..50_u32, window in 1..20_u64, key: [u8; 16],
        steps in prop::collection::vec((0..4_u32, 0..5_usize, 0..3_u64, 0..300_000_000_u64), 1..400),
    ) {
        let limit = RateLimit {
            all_per_second: all,
            window: Duration::from_secs(window),
            ..config(rate)
        };
        let (mut world, mut reference) = (World::new(&limit, key), Reference::default());
        let mut at = Duration::from_secs(100);
        for (prefix, kind, imputed, pause) in steps {
            at += Duration::from_nanos(pause / 4);
            let (source, reply) = (address(prefix << 8), reply(Kind::ALL[kind], imputed));
            let expected = reference.limited(&world.limits, source, &reply, at);
            prop_assert_eq!(!world.passes(source, &reply, at), expected);
        }
    }

    /// However full the table is: what the reference holds back, the gate holds back.
    #[test]
    fn never_more_lenient_than_the_reference(
        rate in 1..50_u32, key: [u8; 16],
        steps in prop::collection::vec((any::<u16>(), 0..5_usize, 0..9_u64, 0..20_000_000_u64), 1..600),
    ) {
        let limit = RateLimit { table_size: 64, ..config(rate) };
        let (mut world, mut reference) = (World::new(&limit, key), Reference::default());
        let mut at = Duration::ZERO;
        for (prefix, kind, imputed, pause) in steps {
            at += Duration::from_nanos(pause);
            let source = address(u32::from(prefix % 64) << 8);
            let reply = reply(Kind::ALL[kind], imputed);
            let over = reference.limited(&world.limits, source, &reply, at);
            let passes = world.passes(source, &reply, at);
            prop_assert!(!(over && passes));
        }
    }

    /// No address, name or time breaks it, and time that seems to go back harms nobody.
    #[test]
    fn total(
        steps in prop::collection::vec((any::<u128>(), any::<bool>(), 0..5_usize, any::<u64>(), any::<u32>()), 1..200),
    ) {
        let mut world = World::new(&RateLimit { all_per_second: 3, ..config(2) }, [0; 16]);
        for (source, v4, kind, imputed, at) in steps {
            let source = if v4 {
                address(u32::try_from(source >> 96).unwrap())
            } else {
                std::net::Ipv6Addr::from(source).into()
            };
            let at = Duration::from_secs(at.into());
            world.judge(source, &reply(Kind::ALL[kind], imputed), at);
        }
    }
}

/// Two workers at one gate: together they let through what one would, but for charges lost in the
/// few nanoseconds between a load and a store.
#[test]
fn workers_share_their_accounts() {
    let limits = Limits::from(&config(1000));
    let world = World::new(&config(1000), [5; 16]);
    let gate = world.seat.gate().clone();
    let sent: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let (mut seat, limits, start) = (gate.seat(), &limits, world.start);
                scope.spawn(move || {
                    let judge = |_: &u32| {
                        let answer = reply(Kind::Answer, 1);
                        seat.judge(limits, address(1), &answer, start) == Verdict::Send
                    };
                    (0..10_000).filter(judge).count()
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum()
    });
    assert!((1000..=4000).contains(&sent), "{sent}");
}

#[test]
fn fullness_tells_of_a_table_that_is_too_small() {
    let limit = RateLimit {
        table_size: 1 << 12,
        ..config(1)
    };
    let mut world = World::new(&limit, [6; 16]);
    assert!(world.seat.gate().fullness(world.start).abs() < f64::EPSILON);
    for round in 0..3 {
        for prefix in 0..200 {
            world.judge(
                address(prefix << 8),
                &reply(Kind::Answer, round / 9),
                Duration::ZERO,
            );
        }
    }
    let fullness = world.seat.gate().fullness(world.start);
    assert!((0.1..0.3).contains(&fullness), "{fullness}");
    let later = world.start + Duration::from_secs(60);
    assert!(world.seat.gate().fullness(later).abs() < f64::EPSILON);
}
