//! The block of addresses that is judged as one, and the scope that follows from it.
//!
//! ```text
//! address → fold → cut to scope_max → first address of the block → ClientMap → scope
//! ```
//!
//! Cutting comes first: whatever is decided afterwards is the same for the whole block, and no
//! scope needs to be longer than `scope_max`.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use meridian_config::ScopeMax;
use meridian_geo_data::{ClientMap, EMBEDDED, Found, PlaceId, fold};

use super::{
    hash,
    standing::{Exceptions, Spot},
};

/// The smallest set of addresses told apart, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// The first address, after folding: what is located and hashed.
    pub(super) first: IpAddr,
    /// What is known of it.
    pub(super) found: Found,
    /// Where it is judged: the place found, or that of the exceptional prefix that it is in.
    pub(super) place: PlaceId,
    /// Length of the exceptional prefix that it is in.
    exception: Option<u8>,
    /// Length of the shortest prefix around that holds no exceptional one.
    beside: u8,
    /// Bits before `first` in the client's own family: 96 or 16 where an IPv4 address stands
    /// inside an IPv6 one.
    offset: u8,
    /// Length of the block in the family of `first`.
    len: u8,
    /// Whether it is as long as `scope_max` has it, so that it may be joined with others.
    joinable: bool,
    /// Whether no block is longer than /24, so that a /24 is judged by its first address.
    pub(super) by_first_address: bool,
}

impl Block {
    /// The block that `address` lies in. Of `exceptions` those count that a block cannot hold.
    pub(super) fn of(
        clients: &ClientMap,
        exceptions: Option<&Exceptions>,
        address: IpAddr,
        scope_max: ScopeMax,
    ) -> Self {
        let (how, judged) = fold(address);
        let (len, joinable) = match judged {
            IpAddr::V4(_) => (scope_max.ipv4.min(32), true),
            IpAddr::V6(v6) => {
                let shortest = beside_embedded(v6);
                let len = shortest.max(scope_max.ipv6).min(128);
                (len, shortest <= scope_max.ipv6)
            }
        };
        let first = truncate(judged, len);
        let offset = how.offset().unwrap_or(0);
        let found = clients.find(first);
        let spot = match exceptions {
            Some(exceptions) if exceptions.hold_blocks_of(first, len) => exceptions.find(first),
            _ => Spot::Beside(0),
        };
        let (place, exception, beside) = match spot {
            Spot::Beside(beside) => (found.place, None, beside),
            Spot::In(number, len) => (place_of(clients, number), Some(len), 0),
        };
        Self {
            first,
            found,
            place,
            exception,
            beside,
            offset,
            len,
            joinable,
            by_first_address: scope_max.ipv4 <= 24,
        }
    }

    /// Scope of an answer that differs from block to block.
    pub(super) fn scope_of_block(&self) -> u8 {
        self.offset.saturating_add(self.len).max(1)
    }

    /// Scope of an answer that is the same for all with the same location: the widest prefix over
    /// which it is, `widest` where that is known, else that of the location; but no longer than the
    /// block.
    ///
    // RFC 7871 §7.3.1: a response with scope 0 "is suitable as a response for all networks", of
    // both families. An answer that depends on the client in any way says at least 1.
    pub(super) fn scope_of(&self, clients: &ClientMap, widest: Option<u8>) -> u8 {
        let alike = match self.exception {
            Some(len) => len,
            None => widest
                .unwrap_or_else(|| clients.alike(self.first, self.found))
                .max(self.beside),
        };
        self.offset.saturating_add(alike.min(self.len)).max(1)
    }

    /// Length of the exceptional prefix that it is in, in the family of `first`.
    pub(super) fn exception(&self) -> Option<u8> {
        self.exception
    }

    /// Whether it may be joined with other blocks.
    pub(super) fn is_joinable(&self) -> bool {
        self.joinable && self.exception.is_none()
    }

    /// The block in the family of the client's `address`.
    pub(super) fn net(&self, address: IpAddr) -> IpNet {
        let len = self.offset.saturating_add(self.len);
        IpNet::new(address, len).map_or_else(|_| IpNet::from(address), |net| net.trunc())
    }

    /// The block as PoPs draw lots for it: 16 octets, IPv4 in its mapped form, which no unfolded
    /// IPv6 block has.
    pub(super) fn hash(&self) -> u64 {
        hash::block(&match self.first {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        })
    }
}

/// The place of an exceptional prefix: they stand behind those of the map.
fn place_of(clients: &ClientMap, exception: usize) -> PlaceId {
    PlaceId(u32::try_from(clients.places().saturating_add(exception)).unwrap_or(u32::MAX))
}

/// The address with every bit beyond the first `len` zero.
pub(super) fn truncate(address: IpAddr, len: u8) -> IpAddr {
    let len = u32::from(len);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX
                .checked_shl(32_u32.saturating_sub(len))
                .unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX
                .checked_shl(128_u32.saturating_sub(len))
                .unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

/// Length of the shortest prefix with this (unfolded) address that holds no address with an IPv4
/// address inside. Such addresses are judged otherwise, so a block must not reach into them, even
/// where that makes it longer than `scope_max`: only beside `::ffff:0:0/96` and `64:ff9b::/96`,
/// in space that is not handed out, and beside 6to4 and Teredo with a `scope_max` below 32.
fn beside_embedded(address: Ipv6Addr) -> u8 {
    let bits = address.to_bits();
    let beyond = |base: u128| (bits ^ base).leading_zeros().saturating_add(1);
    let longest = EMBEDDED.iter().map(|(base, _, _)| beyond(*base)).max();
    u8::try_from(longest.unwrap_or(0)).unwrap_or(128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation() {
        let cut = |text: &str, len| truncate(text.parse().unwrap(), len).to_string();
        assert_eq!(cut("192.0.2.255", 24), "192.0.2.0");
        assert_eq!(cut("192.0.2.255", 0), "0.0.0.0");
        assert_eq!(cut("192.0.2.255", 32), "192.0.2.255");
        assert_eq!(cut("2001:db8:1:2ff::1", 56), "2001:db8:1:200::");
        assert_eq!(cut("2001:db8::1", 0), "::");
        assert_eq!(cut("2001:db8::1", 128), "2001:db8::1");
    }

    #[test]
    fn blocks_stay_beside_the_embedded_ranges() {
        let beside = |text: &str| beside_embedded(text.parse().unwrap());
        assert_eq!(beside("::1"), 81);
        assert_eq!(beside("64:ff9b::1:0:0"), 96);
        assert_eq!(beside("2001:db8::"), 21);
        assert_eq!(beside("2003::"), 16);
        assert_eq!(beside("8000::"), 1);
    }
}
