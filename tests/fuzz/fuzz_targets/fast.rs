//! The fast path says what `respond` says, octet for octet, and leaves untouched what it leaves.
//!
//! Input: an octet for the transport and the source, then the message.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use meridian_dns::{
    answer::{Meta, Outcome, Transport, respond},
    fast,
    listen::Fast,
    types::UnixTime,
};
use meridian_fuzz::SNAPSHOT;

fuzz_target!(|input: &[u8]| {
    let Some((&how, message)) = input.split_first() else {
        return;
    };
    let meta = Meta {
        source: SocketAddr::from(([192, 0, 2, how >> 1], 5300)),
        transport: if how & 1 == 0 {
            Transport::Udp
        } else {
            Transport::Tcp
        },
        now: UnixTime(1_700_000_000),
    };
    let mut slot = vec![0xee; message.len().max(1500)];
    slot[..message.len()].copy_from_slice(message);
    match fast::answer(&SNAPSHOT, &meta, &mut slot, message.len()) {
        Fast::Slow => assert_eq!(&slot[..message.len()], message, "touched"),
        Fast::Drop(reason) => {
            let slow = respond(&SNAPSHOT, message, &meta, &mut Vec::new());
            assert_eq!(slow, Outcome::Drop(reason));
        }
        Fast::Reply { len, summary } => {
            let mut out = Vec::new();
            let slow = respond(&SNAPSHOT, message, &meta, &mut out);
            assert_eq!(&slot[..len], &out[..]);
            assert_eq!(slow, Outcome::Reply(summary));
        }
    }
});
