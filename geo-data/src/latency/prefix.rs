//! Prefixes as numbers, and which of them can be clients at all.
//!
//! ```text
//! key  bit 63 family · 62 wider · 48–61 column · 0–47 the prefix's bits (24 or 20; 48 or 40)
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::types::Refused;
use crate::fold::fold;

/// Stands for a prefix of which no cell is known.
pub(super) const NO_CELL: u32 = u32::MAX;
/// Columns that a key can tell apart.
pub(super) const MAX_COLUMNS: usize = 1 << 14;

const V6: u64 = 1 << 63;
const WIDER: u64 = 1 << 62;
const BITS: u64 = (1 << 48) - 1;

/// A client prefix, cut to /24 or /48. An IPv6 address with an IPv4 address inside is that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix(u64);

impl Prefix {
    pub(super) fn of(given: IpNet) -> Result<Self, Refused> {
        let (how, judged) = fold(given.addr());
        let inner = given.prefix_len().checked_sub(how.offset().unwrap_or(0));
        match (judged, inner) {
            (IpAddr::V4(v4), Some(24..)) => Ok(Self(u64::from(v4.to_bits() >> 8))),
            // 48 bits are left after the shift.
            #[allow(clippy::cast_possible_truncation)]
            (IpAddr::V6(v6), Some(48..)) => Ok(Self(V6 | (v6.to_bits() >> 80) as u64)),
            _ => Err(Refused::TooWide),
        }
    }

    /// The prefix of a key.
    pub(super) fn of_key(key: u64) -> Self {
        Self(key & (V6 | BITS))
    }

    /// Its first address.
    pub(super) fn first(self) -> IpAddr {
        let bits = self.0 & BITS;
        if self.0 & V6 == 0 {
            // 24 bits.
            #[allow(clippy::cast_possible_truncation)]
            let bits = (bits as u32) << 8;
            Ipv4Addr::from_bits(bits).into()
        } else {
            Ipv6Addr::from_bits(u128::from(bits) << 80).into()
        }
    }

    pub(super) fn net(self) -> IpNet {
        match self.first() {
            IpAddr::V4(v4) => Ipv4Net::new_assert(v4, 24).into(),
            IpAddr::V6(v6) => Ipv6Net::new_assert(v6, 48).into(),
        }
    }

    /// Key of its row in a column.
    pub(super) fn key(self, column: u16) -> u64 {
        self.0 | u64::from(column) << 48
    }

    /// Key of the row of the wider prefix around it.
    pub(super) fn wider_key(self, column: u16) -> u64 {
        let cut = if self.0 & V6 == 0 { 4 } else { 8 };
        self.0 >> cut << cut | WIDER | u64::from(column) << 48
    }

    /// Length of that wider prefix.
    pub(super) fn wider_len(self) -> u8 {
        if self.0 & V6 == 0 { 20 } else { 40 }
    }
}

/// Whether a key is of a wider prefix.
pub(super) fn is_wider(key: u64) -> bool {
    key & WIDER != 0
}

/// Column of a key.
pub(super) fn column_of(key: u64) -> u16 {
    (key >> 48 & 0x3fff) as u16
}

/// Whether an address can stand in no packet from the Internet: private (RFC 1918, RFC 6598,
/// RFC 4193), local or multicast.
pub(super) fn is_unrouted(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_link_local()
                || matches!(a, 0 | 127 | 224..)
                || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => {
            let [first, ..] = v6.segments();
            // Only 2000::/3 is given out (RFC 4291 §2.4); the rest is private, local or multicast.
            first >> 13 != 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Prefix, Refused> {
        Prefix::of(text.parse().unwrap())
    }

    #[test]
    fn prefixes_are_cut_folded_and_come_back() {
        let table = [
            ("203.0.113.77/32", "203.0.113.0/24"),
            ("203.0.113.0/24", "203.0.113.0/24"),
            ("2001:db8:1:2::3/128", "2001:db8:1::/48"),
            ("2001:db8:1::/48", "2001:db8:1::/48"),
            ("::ffff:203.0.113.9/128", "203.0.113.0/24"),
            ("2002:cb00:7100::/40", "203.0.113.0/24"),
        ];
        for (given, expect) in table {
            let prefix = of(given).unwrap();
            assert_eq!(prefix.net(), expect.parse::<IpNet>().unwrap(), "{given}");
            let key = prefix.key(77);
            assert_eq!((Prefix::of_key(key), column_of(key)), (prefix, 77));
            assert!(!is_wider(key) && is_wider(prefix.wider_key(77)));
            assert_eq!(column_of(prefix.wider_key(77)), 77);
        }
        for wide in ["203.0.112.0/23", "2001:db8::/47", "2002:cb00::/32", "::/0"] {
            assert_eq!(of(wide), Err(Refused::TooWide), "{wide}");
        }
        let same = |a: &str, b: &str| of(a).unwrap().wider_key(0) == of(b).unwrap().wider_key(0);
        assert!(same("203.0.112.0/24", "203.0.127.0/24"));
        assert!(!same("203.0.112.0/24", "203.0.128.0/24"));
        assert!(same("2001:db8:100::/48", "2001:db8:1ff::/48"));
        assert!(!same("2001:db8:100::/48", "2001:db8:200::/48"));
    }

    #[test]
    fn what_is_not_routed() {
        for text in [
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.0.1",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
        ] {
            assert!(is_unrouted(text.parse().unwrap()), "{text}");
        }
        for text in [
            "203.0.113.1",
            "100.128.0.1",
            "172.32.0.1",
            "2001:db8::1",
            "8.8.8.8",
        ] {
            assert!(!is_unrouted(text.parse().unwrap()), "{text}");
        }
    }
}
