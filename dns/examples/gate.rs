//! Prints what rate limits and cookies cost a reply, in nanoseconds: off, with a valid cookie, on with
//! clients that fit into the caches and with clients from everywhere, and over the rate.
//!
//! `cargo run --release -p meridian-dns --example gate`

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use meridian_config::{RateLimit, RateLimitMode};
use meridian_dns::{
    abuse::{
        Gate, Kind, Limits,
        cookie::{Cookies, Secret, Secrets, State},
    },
    answer::Summary,
    types::UnixTime,
};

/// Calls of a round: so few that most rounds are not interrupted on a busy machine.
const CALLS: u32 = 1 << 13;
const ROUNDS: u32 = 1000;

fn reply(cookie: State) -> Summary {
    Summary {
        rcode: 0,
        qtype: 1,
        ecs: false,
        steered: None,
        truncated: false,
        kind: Kind::Answer,
        imputed: 0x1234_5678_9abc_def0,
        cookie,
    }
}

/// The best of several rounds: what is left when nothing else wants the core.
#[allow(clippy::disallowed_methods)] // a benchmark measures time
fn nanoseconds(mut call: impl FnMut(u32, Instant)) -> f64 {
    let origin = Instant::now();
    let mut round = |round: u32| -> Duration {
        let started = Instant::now();
        for n in round * CALLS..(round + 1) * CALLS {
            // A batch has one time.
            call(n, origin + Duration::from_micros(u64::from(n / 32)));
        }
        started.elapsed()
    };
    let best = (0..ROUNDS).map(&mut round).min().unwrap_or_default();
    best.as_secs_f64() * 1e9 / f64::from(CALLS)
}

fn judge(mode: RateLimitMode, rate: u32, cookie: State, source: impl Fn(u32) -> IpAddr) -> f64 {
    let limits = Limits::from(&RateLimit {
        mode,
        responses_per_second: rate,
        ..RateLimit::default()
    });
    let gate = Arc::new(Gate::random());
    gate.prepare(&limits);
    let (mut seat, reply) = (gate.seat(), reply(cookie));
    nanoseconds(|n, now| {
        let verdict = seat.judge(black_box(&limits), source(n), black_box(&reply), now);
        black_box(verdict);
    })
}

fn main() {
    const MANY: u32 = 1_000_000;
    let few = |n: u32| IpAddr::from(Ipv4Addr::from((n % 1000) << 8));
    let spread = |n: u32| IpAddr::from(Ipv4Addr::from(n.wrapping_mul(0x9e37_79b1)));
    let spread_v6 = |n: u32| {
        let word = u128::from(n.wrapping_mul(0x9e37_79b1));
        IpAddr::from(Ipv6Addr::from((word << 70) | (1 << 125)))
    };
    let (off, on) = (RateLimitMode::Off, RateLimitMode::On);
    println!("ns a reply (loop and choice of a source included)");
    println!(
        "off                         {:6.1}",
        judge(off, 200, State::Absent, few)
    );
    println!(
        "valid cookie                {:6.1}",
        judge(on, 200, State::Valid, few)
    );
    println!(
        "on, 1000 prefixes           {:6.1}",
        judge(on, MANY, State::Absent, few)
    );
    println!(
        "on, prefixes of all IPv4    {:6.1}",
        judge(on, MANY, State::Absent, spread)
    );
    println!(
        "on, prefixes of all IPv6    {:6.1}",
        judge(on, MANY, State::Absent, spread_v6)
    );
    println!(
        "over the rate, 1000 prefixes{:6.1}",
        judge(on, 1, State::Absent, few)
    );
    let secrets = Secrets::new(Secret::new([7; 16]), None);
    let server = secrets.make([1; 8], few(1), UnixTime(1000));
    let known = [&[1; 8][..], &server].concat();
    let cookies = Cookies::on(secrets, false);
    for (name, option) in [
        ("client cookie, one made", &[1; 8][..]),
        ("cookie verified", &known),
    ] {
        let cost = nanoseconds(|_, _| {
            let judged = cookies.judge(black_box(Some(option)), few(1), UnixTime(1001));
            let _ = black_box(judged);
        });
        println!("{name:28}{cost:6.1}");
    }
}
