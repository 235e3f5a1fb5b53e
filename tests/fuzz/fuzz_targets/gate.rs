//! Rate limits: whatever comes, from wherever and whenever, the gate holds back what accounts with memory
//! of their own would hold back, never charges a client with a valid cookie, and sends everything when
//! it is off.
//!
//! Input: an octet for the rate, then steps of six: prefix (two), kind, name, cookie, time in
//! sixteenths of a second.
#![no_main]

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use libfuzzer_sys::fuzz_target;
use meridian_config::{RateLimit, RateLimitMode};
use meridian_dns::{
    abuse::{Gate, Kind, Limits, Verdict, cookie::State},
    answer::Summary,
};

const SECOND: u64 = 1_000_000_000;

fuzz_target!(|input: &[u8]| {
    let Some((&rate, steps)) = input.split_first() else {
        return;
    };
    let rate = u32::from(rate).max(1);
    let config = RateLimit {
        mode: RateLimitMode::On,
        responses_per_second: rate,
        nodata_per_second: rate,
        nxdomains_per_second: rate,
        referrals_per_second: rate,
        errors_per_second: rate,
        // So small that accounts share cells.
        table_size: 128,
        ..RateLimit::default()
    };
    let window = u64::try_from(config.window.as_nanos()).expect("fits");
    let limits = Limits::from(&config);
    let start = Instant::now();
    let gate = Arc::new(Gate::new([rate as u8; 16], start));
    gate.prepare(&limits);
    let mut seat = gate.seat();
    let mut accounts: HashMap<(u16, usize, u8), u64> = HashMap::new();
    let mut now = 0_u64;
    for step in steps.chunks_exact(6) {
        let [a, b, kind, imputed, cookie, pause] = *step else {
            return;
        };
        now += u64::from(pause) * (SECOND / 16);
        let at = start + Duration::from_nanos(now);
        let kind = usize::from(kind) % Kind::ALL.len();
        let summary = Summary {
            rcode: 0,
            qtype: 1,
            ecs: false,
            steered: None,
            truncated: false,
            kind: Kind::ALL[kind],
            imputed: imputed.into(),
            cookie: State::ALL[usize::from(cookie % 4)],
        };
        let source = IpAddr::V4(Ipv4Addr::new(10, a, b, cookie));
        let verdict = seat.judge(&limits, source, &summary, at);
        assert_eq!(
            seat.judge(&Limits::OFF, source, &summary, at),
            Verdict::Send
        );
        if summary.cookie == State::Valid {
            assert_eq!(verdict, Verdict::Send);
            continue;
        }
        let paid = accounts
            .entry((u16::from_be_bytes([a, b]), kind, imputed))
            .or_default();
        let debt = paid.saturating_sub(now) + SECOND / u64::from(rate);
        assert!(debt <= SECOND || verdict != Verdict::Send);
        *paid = now + debt.min(SECOND + window);
    }
});
