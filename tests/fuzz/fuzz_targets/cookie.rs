//! The COOKIE option: lengths by RFC 7873 §5.2.2, whatever is given out is taken back from the same
//! address and from no other, and a query with it gets a well-formed reply that may also be cut down.
//!
//! Input: four octets of an address, four of time, then the option's data.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use meridian_dns::{
    abuse::{
        cookie::{Cookies, Judged, Secret, Secrets, State},
        slip,
    },
    answer::Transport,
    types::UnixTime,
};
use meridian_fuzz::ask;

fuzz_target!(|input: &[u8]| {
    let Some(([address, time], option)): Option<([[u8; 4]; 2], &[u8])> = input
        .split_at_checked(8)
        .and_then(|(head, option)| Some((head.as_chunks::<4>().0.try_into().ok()?, option)))
    else {
        return;
    };
    let (source, now) = (Ipv4Addr::from(address), u32::from_be_bytes(time));
    judge(option, source, now);
    let query = query(option);
    let mut out = Vec::new();
    for transport in [Transport::Udp, Transport::Tcp] {
        let reply = ask(&query, transport, &mut out).expect("a query is answered");
        let malformed = !matches!(option.len(), 8 | 16..=40);
        let code = u16::from(reply.metadata.response_code);
        assert_eq!(code == 1, malformed);
        let whole = out.len();
        let cut = slip::cut(&mut out, whole);
        assert!(cut <= query.len() + 16);
        meridian_fuzz::decode(&out[..cut]);
    }
});

fn judge(option: &[u8], source: Ipv4Addr, now: u32) {
    let secrets = Secrets::new(Secret::new([1; 16]), [Secret::new([2; 16])]);
    let cookies = Cookies::on(secrets, true);
    let judge = |option: &[u8], source: Ipv4Addr| {
        cookies.judge(Some(option), IpAddr::V4(source), UnixTime(now))
    };
    let Ok(judged) = judge(option, source) else {
        assert!(!matches!(option.len(), 8 | 16..=40));
        return;
    };
    assert!(matches!(option.len(), 8 | 16..=40));
    assert_eq!(cookies.refuses(judged.state), judged.state != State::Valid);
    let reply = judged.reply.expect("a cookie is answered");
    assert_eq!(reply[..8], option[..8]);
    let again = judge(&reply, source).expect("ours is well-formed");
    let state = State::Valid;
    assert_eq!(
        again,
        Judged {
            state,
            reply: Some(reply)
        }
    );
    let elsewhere = judge(&reply, Ipv4Addr::from(u32::from(source) ^ 1));
    assert_eq!(elsewhere.map(|j| j.state), Ok(State::Invalid));
}

/// A query for `www.example.com` with this option.
fn query(option: &[u8]) -> Vec<u8> {
    let mut message = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01".to_vec();
    message.extend(b"\x03www\x07example\x03com\x00\x00\x01\x00\x01");
    let length = u16::try_from(option.len()).expect("short");
    message.extend(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00");
    message.extend((length + 4).to_be_bytes());
    message.extend([0, 10]);
    message.extend(length.to_be_bytes());
    message.extend(option);
    message
}
