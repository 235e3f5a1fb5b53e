//! The client subnet option: a wrong one is a format error, a right one is echoed, and every
//! address inside the scope of an answer gets the same answer (RFC 7871 §7.2.1).
//!
//! Input: one octet that picks the name and the type, 16 octets that move the address within the
//! scope, then the option's data.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Message, ResponseCode};
use libfuzzer_sys::fuzz_target;
use meridian_dns::answer::Transport;
use meridian_fuzz::ask;

/// OPTION-CODE of the client subnet.
const ECS: u16 = 8;
const NAMES: [&[u8]; 4] = [
    b"\x03www\x07example\x03com\x00",
    b"\x07example\x03com\x00",
    b"\x01x\x04apps\x07example\x03com\x00",
    b"\x04mail\x07example\x03com\x00",
];

fn query(pick: u8, option: &[u8]) -> Vec<u8> {
    let mut message = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01".to_vec();
    message.extend(NAMES[usize::from(pick & 3)]);
    message.extend([0, if pick & 4 == 0 { 1 } else { 28 }, 0, 1]);
    let length = u16::try_from(option.len()).expect("short");
    message.extend(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00");
    message.extend((length + 4).to_be_bytes());
    message.extend(ECS.to_be_bytes());
    message.extend(length.to_be_bytes());
    message.extend(option);
    message
}

/// An independent reading of RFC 7871 §6: whether the option is well-formed.
fn well_formed(option: &[u8]) -> bool {
    let [0, family, source, 0, address @ ..] = option else {
        return false;
    };
    let bits = match family {
        0 => 0,
        1 => 32,
        2 => 128,
        _ => return false,
    };
    let stray = |at: usize| at >= usize::from(*source) && address[at / 8] & (0x80 >> (at % 8)) != 0;
    *source <= bits
        && address.len() == usize::from(source.div_ceil(8))
        && !(0..address.len() * 8).any(stray)
}

/// The data of the option in a reply.
fn echoed(out: &[u8]) -> Option<Vec<u8>> {
    // The OPT record is the last one here: its head, which nothing before it in these replies holds.
    let at = out.windows(11).position(|w| w[..3] == [0, 0, 0x29])?;
    let mut rest = &out[at + 11..];
    while let [a, b, c, d, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*c, *d]));
        if u16::from_be_bytes([*a, *b]) == ECS {
            return Some(tail[..length].to_vec());
        }
        rest = &tail[length..];
    }
    None
}

fn addresses(reply: &Message) -> Vec<String> {
    reply.answers.iter().map(ToString::to_string).collect()
}

/// The address of the option with all bits beyond `scope` taken from `other`.
fn moved(option: &[u8], scope: u8, other: &[u8]) -> IpAddr {
    let bit = |octets: &[u8], at: usize| {
        octets
            .get(at / 8)
            .is_some_and(|o| o & (0x80 >> (at % 8)) != 0)
    };
    let mut octets = [0_u8; 16];
    for at in 0..128 {
        let from = if at < usize::from(scope) {
            &option[4..]
        } else {
            other
        };
        if bit(from, at) {
            octets[at / 8] |= 0x80 >> (at % 8);
        }
    }
    match option[1] {
        1 => IpAddr::V4(Ipv4Addr::from([octets[0], octets[1], octets[2], octets[3]])),
        _ => IpAddr::V6(Ipv6Addr::from(octets)),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&pick, rest)) = input.split_first() else {
        return;
    };
    let Some((other, option)) = rest.split_at_checked(16) else {
        return;
    };
    let mut out = Vec::new();
    let reply =
        ask(&query(pick, option), Transport::Udp, &mut out).expect("a question is answered");
    if !well_formed(option) {
        assert_eq!(
            reply.metadata.response_code,
            ResponseCode::FormErr,
            "{option:02x?}"
        );
        return;
    }
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    let echo = echoed(&out).expect("the option is echoed");
    let scope = echo[3];
    assert_eq!(
        (&echo[..3], &echo[4..]),
        (&option[..3], &option[4..]),
        "echo"
    );
    let source = option[2];
    if source == 0 {
        assert_eq!(scope, 0, "RFC 7871 §7.1.2: an opt-out has scope 0");
        return;
    }
    // Contract: everything inside the scope is answered alike.
    let address = moved(option, scope, other);
    let (family, octets) = match address {
        IpAddr::V4(address) => (1, address.octets().to_vec()),
        IpAddr::V6(address) => (2, address.octets().to_vec()),
    };
    let mut whole = vec![0, family, u8::try_from(octets.len() * 8).expect("short"), 0];
    whole.extend(octets);
    let again = ask(&query(pick, &whole), Transport::Udp, &mut out).expect("answered");
    if scope > source {
        // The question was less exact than the answer: only the prefix asked for is known.
        return;
    }
    assert_eq!(
        addresses(&reply),
        addresses(&again),
        "scope {scope} of {address}"
    );
    let scope_again = echoed(&out).expect("echoed")[3];
    assert_eq!(scope, scope_again, "scopes overlap at {address}");
});
