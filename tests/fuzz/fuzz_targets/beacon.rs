//! What browsers send to the beacon, and what proxies write into `X-Forwarded-For`: nothing breaks the
//! parsers, what they take is bounded, and nobody but a named proxy says who the client is.
//!
//! Input: one octet for the peer, lines of the header up to an empty one, then the body.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use meridian_geo_data::latency::report::{LONGEST, MOST, client, read};

fuzz_target!(|octets: &[u8]| {
    let Some((peer, rest)) = octets.split_first() else {
        return;
    };
    let end = rest.windows(2).position(|two| two == b"\n\n");
    let (head, body) = end.map_or((&[][..], rest), |at| (&rest[..at], &rest[at + 2..]));
    if let Some(told) = read(body) {
        assert!(body.len() <= LONGEST && told.len() <= MOST);
        assert!(told.iter().map(|(name, _)| name.len()).sum::<usize>() <= body.len());
    }
    let peer: IpAddr = match peer % 4 {
        0 => [127, 0, 0, 1].into(),
        1 => [203, 0, 113, *peer].into(),
        2 => "::ffff:127.0.0.1".parse().expect("an address"),
        _ => "2001:db8::1".parse().expect("an address"),
    };
    let proxies = ["127.0.0.0/8", "10.0.0.0/8"].map(|net| net.parse().expect("a network"));
    let lines: Vec<&str> = head
        .split(|octet| *octet == b'\n')
        .map(|line| std::str::from_utf8(line).unwrap_or("?"))
        .collect();
    let found = client(peer, lines.iter().copied(), &proxies);
    let is_proxy = |address: IpAddr| proxies.iter().any(|net: &ipnet::IpNet| net.contains(&address));
    let peer = peer.to_canonical();
    match found {
        Some(found) if is_proxy(peer) => assert!(!is_proxy(found)),
        Some(found) => assert_eq!(found, peer),
        None => assert!(is_proxy(peer)),
    }
});
