//! Any message is answered or dropped; a reply is well-formed and bounded.
//!
//! Input: an octet for the transport, then the message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian_dns::answer::Transport;
use meridian_fuzz::ask;

fuzz_target!(|input: &[u8]| {
    let Some((&transport, message)) = input.split_first() else {
        return;
    };
    let transport = if transport & 1 == 0 {
        Transport::Udp
    } else {
        Transport::Tcp
    };
    let mut out = Vec::new();
    ask(message, transport, &mut out);
});
