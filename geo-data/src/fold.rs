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

/// Whether a network lies within an embedded range. No address there is judged as itself, so an
/// operator's network there could not be honoured.
pub(crate) fn embedded_network(prefix: IpNet) -> Option<Embedded> {
    let IpNet::V6(v6) = prefix else {
        return None;
    };
    let (how, IpAddr::V4(first)) = fold(IpAddr::V6(v6.network())) else {
        return None;
    };
    let (_, range_len, _) = EMBEDDED.iter().find(|(_, _, fold)| *fold == how)?;
    if v6.prefix_len() < *range_len {
        return None;
    }
    let inner = v6.prefix_len().checked_sub(how.offset()?);
    let meant = inner
        .filter(|len| *len > 0)
        .and_then(|len| Ipv4Net::new(first, len).ok());
    Some(Embedded {
        meant: meant.map(|net| net.trunc()),
    })
}

/// A network within an embedded range.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Embedded {
    /// The IPv4 network that the operator probably means.
    pub(crate) meant: Option<Ipv4Net>,
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
    fn networks_within_embedded_ranges_are_known() {
        let inside = |text: &str| {
            Some(Embedded {
                meant: text.parse().ok(),
            })
        };
        let table = [
            ("192.0.2.0/24", None),
            ("2001:db8::/32", None),
            ("::/0", None),
            ("2000::/3", None),
            ("2002::/16", inside("")),
            ("2002:c000:200::/40", inside("192.0.2.0/24")),
            ("2002:c000:221::/48", inside("192.0.2.33/32")),
            ("2002:c000:221:1::/64", inside("")),
            ("::ffff:192.0.2.0/120", inside("192.0.2.0/24")),
            ("64:ff9b::/96", inside("")),
            ("2001::/32", inside("")),
            ("2001:0:4136::/48", inside("")),
            ("2001::3fff:fd00/120", inside("192.0.2.0/24")),
        ];
        for (text, expect) in table {
            assert_eq!(embedded_network(text.parse().unwrap()), expect, "{text}");
        }
    }
}
