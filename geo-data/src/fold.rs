//! IPv4 addresses inside IPv6 addresses: folded into IPv4 before anything else looks at them, so
//! that a client is judged alike however its address is written.

#[cfg(test)]
use std::net::Ipv6Addr;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::Fold;

/// The ranges whose addresses hold an IPv4 address: first address, prefix length, meaning. In
/// rising order; none contains another.
pub const EMBEDDED: [(u128, u8, Fold); 4] = [
    (0x0000_0000_0000_0000_0000_ffff_0000_0000, 96, Fold::Mapped),
    (0x0064_ff9b_0000_0000_0000_0000_0000_0000, 96, Fold::Nat64),
    (0x2001_0000_0000_0000_0000_0000_0000_0000, 32, Fold::Teredo),
    (
        0x2002_0000_0000_0000_0000_0000_0000_0000,
        16,
        Fold::SixToFour,
    ),
];

/// How `address` is judged, and the address that is judged in its place.
pub fn fold(address: IpAddr) -> (Fold, IpAddr) {
    let IpAddr::V6(v6) = address else {
        return (Fold::None, address);
    };
    let bits = v6.to_bits();
    let how = EMBEDDED
        .iter()
        .find(|(base, len, _)| (bits ^ base) >> (128 - len) == 0)
        .map_or(Fold::None, |(_, _, how)| *how);
    match inside(how, bits) {
        Some(v4) => (how, IpAddr::V4(v4)),
        None => (Fold::None, address),
    }
}

/// The IPv4 address that stands in `bits` under `how`.
fn inside(how: Fold, bits: u128) -> Option<Ipv4Addr> {
    // The low 32 bits after the shift are the address; the truncation is meant.
    #[allow(clippy::cast_possible_truncation)]
    let low = |shift: u32| (bits >> shift) as u32;
    match how {
        Fold::None => None,
        Fold::Mapped | Fold::Nat64 => Some(Ipv4Addr::from_bits(low(0))),
        // RFC 3056 §2: "2002:V4ADDR::/48"
        Fold::SixToFour => Some(Ipv4Addr::from_bits(low(80))),
        // RFC 4380 §4: "the obfuscated IPv4 address of the client", each bit inverted.
        Fold::Teredo => Some(Ipv4Addr::from_bits(!low(0))),
    }
}

/// An IPv6 network that lies inside an embedded range, written as the IPv4 network it means.
/// `None`: not inside one, or narrower than one IPv4 address (6to4 beyond /48).
pub(crate) fn fold_network(prefix: IpNet) -> Folded {
    let IpNet::V6(v6) = prefix else {
        return Folded::AsIs;
    };
    let (how, IpAddr::V4(v4)) = fold(IpAddr::V6(v6.network())) else {
        return Folded::AsIs;
    };
    let range_len = EMBEDDED
        .iter()
        .find(|(_, _, fold)| *fold == how)
        .map_or(128, |(_, len, _)| *len);
    let offset = how.offset().unwrap_or(128);
    let len = v6.prefix_len();
    if len < range_len {
        return Folded::AsIs;
    }
    // Between the range's own length and the offset (Teredo's /32../95) the bits name servers
    // and ports, not clients.
    match len.checked_sub(offset) {
        Some(inner) => match Ipv4Net::new(v4, inner) {
            Ok(net) => Folded::Inside(net.trunc()),
            Err(_) => Folded::TooNarrow,
        },
        None if len == range_len => Folded::Inside(Ipv4Net::default()),
        None => Folded::TooNarrow,
    }
}

/// What an operator's IPv6 network means once addresses are folded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Folded {
    /// It is judged as written.
    AsIs,
    /// It stands for this IPv4 network.
    Inside(Ipv4Net),
    /// It tells apart addresses that hold the same IPv4 address, which nothing can honour.
    TooNarrow,
}

/// The embedded range `how` as an address range, first and last.
pub(crate) fn range_of(base: u128, len: u8) -> (u128, u128) {
    (base, base | (u128::MAX >> len))
}

/// `v4` written under `how`.
#[cfg(test)]
pub(crate) fn unfold(how: Fold, v4: Ipv4Addr) -> Option<Ipv6Addr> {
    let (base, _, _) = EMBEDDED.iter().find(|(_, _, fold)| *fold == how)?;
    let bits = u128::from(v4.to_bits());
    Some(Ipv6Addr::from_bits(match how {
        Fold::None => return None,
        Fold::Mapped | Fold::Nat64 => base | bits,
        Fold::SixToFour => base | (bits << 80),
        Fold::Teredo => base | u128::from(!v4.to_bits()),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_four_forms() {
        let table = [
            ("::ffff:192.0.2.33", Fold::Mapped),
            ("64:ff9b::192.0.2.33", Fold::Nat64),
            ("2002:c000:221::1", Fold::SixToFour),
            // RFC 4380 §4's own example form: server, flags, port, inverted client.
            ("2001:0:4136:e378:8000:63bf:3fff:fdde", Fold::Teredo),
        ];
        for (text, how) in table {
            let v4: IpAddr = "192.0.2.33".parse().unwrap();
            assert_eq!(fold(text.parse().unwrap()), (how, v4), "{text}");
        }
        for text in [
            "::192.0.2.33",
            "64:ff9b:1::1",
            "2001:1::1",
            "2003::",
            "192.0.2.1",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(fold(address), (Fold::None, address), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_unfolded_folds_back(bits: u32, which in 0..EMBEDDED.len()) {
            let (v4, how) = (Ipv4Addr::from_bits(bits), EMBEDDED[which].2);
            let v6 = unfold(how, v4).unwrap();
            prop_assert_eq!(fold(v6.into()), (how, v4.into()));
        }
    }

    #[test]
    fn networks_fold_like_addresses() {
        let inside = |text: &str| Folded::Inside(text.parse().unwrap());
        let table = [
            ("2001:db8::/32", Folded::AsIs),
            ("::/0", Folded::AsIs),
            ("2000::/3", Folded::AsIs),
            ("2002::/16", inside("0.0.0.0/0")),
            ("2002:c000:200::/40", inside("192.0.2.0/24")),
            ("2002:c000:221::/48", inside("192.0.2.33/32")),
            ("2002:c000:221:1::/64", Folded::TooNarrow),
            ("::ffff:192.0.2.0/120", inside("192.0.2.0/24")),
            ("64:ff9b::/96", inside("0.0.0.0/0")),
            ("2001::/32", inside("0.0.0.0/0")),
            ("2001:0:4136::/48", Folded::TooNarrow),
            ("2001::3fff:fd00/120", inside("192.0.2.0/24")),
        ];
        for (text, expect) in table {
            assert_eq!(fold_network(text.parse().unwrap()), expect, "{text}");
        }
    }
}
