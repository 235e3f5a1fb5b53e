//! BFD: no datagram breaks the decoder or a session, what is decoded is encoded alike, and a
//! session answers every datagram with a bounded number of packets (RFC 5880 §6.8.6).
//!
//! Input: datagrams of 24 octets, each followed by one octet of time in units of 20 ms.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use meridian_bgp_control::bfd::{Packet, Session, State, Timing};

fuzz_target!(|data: &[u8]| {
    let timing = Timing {
        interval: Duration::from_millis(300),
        multiplier: 3,
    };
    let mut now = Instant::now();
    let mut session = Session::new(timing, 0x0102_0304, 7, now);
    let mut heard = now;
    for step in data.chunks(25) {
        let (payload, time) = step.split_at(step.len().min(24));
        now += Duration::from_millis(20) * u32::from(time.first().copied().unwrap_or(1));
        if let Ok(packet) = Packet::decode(payload) {
            assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
            session.advance(now);
            session.receive(&packet, now);
            heard = now;
        }
        session.advance(now);
        if let Some(silence) = session.detection_time() {
            assert!(now < heard + silence || session.state() != State::Up);
        }
        // The answer to a poll, and the periodic packet.
        for _ in 0..2 {
            if let Some(packet) = session.transmit(now) {
                assert_eq!(
                    Packet::decode(&packet.encode()).is_ok(),
                    packet.yours != 0 || matches!(packet.state, State::Down | State::AdminDown)
                );
            }
        }
        assert_eq!(session.transmit(now), None);
    }
});
