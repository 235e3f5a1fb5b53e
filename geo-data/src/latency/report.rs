//! What a browser says in the beacon's report, and who it is.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

/// Longest report, octets.
pub const LONGEST: usize = 2048;
/// Measurements that are taken of one report.
pub const MOST: usize = 16;

/// Reads `{"fra":12.3,"iad":90.1}`: milliseconds by name. `None`: it is something else.
pub fn read(body: &[u8]) -> Option<Vec<(String, f32)>> {
    if body.len() > LONGEST {
        return None;
    }
    let told: BTreeMap<String, f32> = serde_json::from_slice(body).ok()?;
    Some(told.into_iter().take(MOST).collect())
}

/// The client behind trusted proxies: the last address in `X-Forwarded-For` that is none of them.
/// What stands before it the client may have written itself.
pub fn client<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
    proxies: &[IpNet],
) -> Option<IpAddr> {
    let trusted = |address: &IpAddr| proxies.iter().any(|net| net.contains(address));
    let peer = peer.to_canonical();
    if !trusted(&peer) {
        return Some(peer);
    }
    for entry in forwarded.rev().flat_map(|line| line.rsplit(',')) {
        // A proxy that writes something else cannot be asked for more.
        let address = address(entry.trim())?;
        if !trusted(&address) {
            return Some(address);
        }
    }
    None
}

/// An address, with or without brackets and port.
fn address(text: &str) -> Option<IpAddr> {
    let socket = || text.parse::<std::net::SocketAddr>().ok().map(|s| s.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let found = text.parse().ok().or_else(socket).or_else(bracketed)?;
    Some(IpAddr::to_canonical(&found))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reports_are_read_within_bounds() {
        let told = read(br#"{"fra":12.3,"iad":90}"#).unwrap();
        assert_eq!(told, [("fra".to_owned(), 12.3), ("iad".to_owned(), 90.0)]);
        for bad in [
            "",
            "[]",
            "{\"fra\":\"1\"}",
            "{\"fra\":null}",
            "{\"fra\":1} x",
        ] {
            assert_eq!(read(bad.as_bytes()), None, "{bad}");
        }
        let many: Vec<String> = (0..100).map(|n| format!("\"{n}\":1")).collect();
        let many = format!("{{{}}}", many.join(","));
        assert_eq!(read(many.as_bytes()).unwrap().len(), MOST);
        assert_eq!(read(&[b' '; LONGEST + 1]), None);
    }

    #[test]
    fn row_18_only_trusted_proxies_say_who_the_client_is() {
        let proxies: Vec<IpNet> = ["127.0.0.1/32", "10.0.0.0/8"]
            .map(|net| net.parse().unwrap())
            .to_vec();
        let who = |peer: &str, forwarded: &[&str]| {
            let found = client(peer.parse().unwrap(), forwarded.iter().copied(), &proxies);
            found.map_or("nobody".to_owned(), |address| address.to_string())
        };
        for (peer, forwarded, expect) in [
            ("203.0.113.9", &[][..], "203.0.113.9"),
            ("203.0.113.9", &["198.51.100.1"], "203.0.113.9"),
            ("127.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            (
                "::ffff:127.0.0.1",
                &["1.1.1.1, 198.51.100.1, 10.1.1.1"],
                "198.51.100.1",
            ),
            (
                "127.0.0.1",
                &["1.1.1.1", "198.51.100.1:4711"],
                "198.51.100.1",
            ),
            ("127.0.0.1", &["[2001:db8::1]:80"], "2001:db8::1"),
            ("127.0.0.1", &["[2001:db8::1], 10.0.0.1"], "2001:db8::1"),
            ("127.0.0.1", &["1.1.1.1, unknown"], "nobody"),
            ("127.0.0.1", &["10.0.0.1"], "nobody"),
            ("127.0.0.1", &[], "nobody"),
        ] {
            assert_eq!(who(peer, forwarded), expect, "{peer} {forwarded:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_them(body: Vec<u8>, text in "[{}\":,.0-9a-z\\[\\]\\\\ ]{0,200}") {
            for octets in [&body[..], text.as_bytes()] {
                let _ = read(octets);
            }
            let proxies = ["0.0.0.0/0".parse().unwrap()];
            prop_assert_eq!(client([127, 0, 0, 1].into(), [text.as_str()].into_iter(), &proxies)
                .filter(IpAddr::is_ipv4), None);
        }
    }
}
