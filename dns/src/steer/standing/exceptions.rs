//! Prefixes that are judged apart from their cell, since their latency is off it: /24s of IPv4 and
//! /48s of IPv6. Each is a place of its own, and no other answer's scope may hold one.
//!
//! A query meets one table of 65,536 octets for IPv4, which most often tells at once that there is
//! no exceptional prefix around.

use std::net::IpAddr;

use ipnet::IpNet;
use meridian_geo_data::{CellId, ClientMap, PlaceId, fold, latency::Latency};

/// Bits of an exceptional prefix of IPv4, and of IPv6.
const LENGTHS: (u8, u8) = (24, 48);
/// In the table of /16s: there are some inside, look closer.
const SOME: u8 = u8::MAX;

/// All of them; [`Exceptions::find`] gives numbers from 0.
#[derive(Debug, Default, PartialEq)]
pub(in crate::steer) struct Exceptions {
    /// The upper 24 bits, sorted.
    v4: Box<[u32]>,
    /// The upper 48 bits, sorted; numbered after those of IPv4.
    v6: Box<[u64]>,
    entries: Box<[Entry]>,
    /// For each /16 of IPv4 the length of the shortest prefix around it that holds none; empty
    /// where there are none at all.
    around: Box<[u8]>,
    unfit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Entry {
    prefix: IpNet,
    /// Row of the latency table.
    row: u32,
    place: PlaceId,
    cell: CellId,
}

/// Where an address stands among the exceptional prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::steer) enum Spot {
    /// In one of them: its number and length.
    In(usize, u8),
    /// In none; the length of the shortest prefix around the address that holds none.
    Beside(u8),
}

impl Exceptions {
    /// Those of a latency table that the client map takes for one place. The others are left out:
    /// their clients are told apart by something else already.
    pub(super) fn new(latency: &Latency, clients: &ClientMap) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let mut unfit = 0;
        for (prefix, row) in latency.exceptions() {
            let Some(entry) = entry(*prefix, *row, clients) else {
                unfit += 1;
                continue;
            };
            match prefix {
                IpNet::V4(net) => v4.push((net.network().to_bits() >> 8, entry)),
                IpNet::V6(net) => v6.push((upper48(net.network().to_bits()), entry)),
            }
        }
        v4.sort_by_key(|(bits, _)| *bits);
        v4.dedup_by_key(|(bits, _)| *bits);
        v6.sort_by_key(|(bits, _)| *bits);
        v6.dedup_by_key(|(bits, _)| *bits);
        let entries = v4.iter().map(|(_, entry)| *entry);
        let entries = entries.chain(v6.iter().map(|(_, entry)| *entry)).collect();
        let mut all = Self {
            v4: v4.into_iter().map(|(bits, _)| bits).collect(),
            v6: v6.into_iter().map(|(bits, _)| bits).collect(),
            entries,
            around: Box::default(),
            unfit,
        };
        if !all.v4.is_empty() {
            all.around = (0..1_u32 << 16).map(|high| all.around(high)).collect();
        }
        all
    }

    /// Whether there are any in the family of `first`, and a block of this length cannot hold one.
    pub(in crate::steer) fn hold_blocks_of(&self, first: IpAddr, len: u8) -> bool {
        match first {
            IpAddr::V4(_) => !self.v4.is_empty() && len >= LENGTHS.0,
            IpAddr::V6(_) => !self.v6.is_empty() && len >= LENGTHS.1,
        }
    }

    /// Where a folded address stands.
    pub(in crate::steer) fn find(&self, judged: IpAddr) -> Spot {
        match judged {
            IpAddr::V4(v4) => {
                let bits = v4.to_bits();
                match self.around.get((bits >> 16) as usize) {
                    None => Spot::Beside(0),
                    Some(&SOME) => self.near_v4(bits >> 8),
                    Some(len) => Spot::Beside(*len),
                }
            }
            IpAddr::V6(_) if self.v6.is_empty() => Spot::Beside(0),
            IpAddr::V6(v6) => {
                let wanted = upper48(v6.to_bits());
                let beyond = |one: u64| (one ^ wanted).leading_zeros().saturating_sub(16);
                match self.v6.binary_search(&wanted) {
                    Ok(at) => Spot::In(self.v4.len() + at, LENGTHS.1),
                    Err(at) => beside(&self.v6, at, beyond),
                }
            }
        }
    }

    fn near_v4(&self, wanted: u32) -> Spot {
        let beyond = |one: u32| (one ^ wanted).leading_zeros().saturating_sub(8);
        match self.v4.binary_search(&wanted) {
            Ok(at) => Spot::In(at, LENGTHS.0),
            Err(at) => beside(&self.v4, at, beyond),
        }
    }

    /// What the table says of a /16.
    fn around(&self, high: u32) -> u8 {
        let at = self.v4.partition_point(|one| one >> 8 < high);
        let inside = self.v4.get(at).is_some_and(|one| one >> 8 == high);
        match self.near_v4(high << 8) {
            Spot::Beside(len) if !inside => len,
            _ => SOME,
        }
    }

    pub(in crate::steer) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many of the latency table were left out.
    pub(in crate::steer) fn unfit(&self) -> usize {
        self.unfit
    }

    /// The place of the client map that one of them lies in.
    pub(super) fn place(&self, number: usize) -> Option<PlaceId> {
        self.entries.get(number).map(|one| one.place)
    }

    /// The cell of one of them, and its row in the latency table.
    pub(super) fn cell_and_row(&self, number: usize) -> Option<(CellId, u32)> {
        self.entries.get(number).map(|one| (one.cell, one.row))
    }

    pub(super) fn prefix(&self, number: usize) -> Option<IpNet> {
        self.entries.get(number).map(|one| one.prefix)
    }

    /// The number of a prefix.
    pub(super) fn number(&self, prefix: IpNet) -> Option<usize> {
        match self.find(prefix.network()) {
            Spot::In(number, len) if len == prefix.prefix_len() => Some(number),
            _ => None,
        }
    }

    pub(super) fn octets(&self) -> usize {
        size_of_val(&*self.v4)
            + size_of_val(&*self.v6)
            + size_of_val(&*self.entries)
            + self.around.len()
    }
}

/// Between the neighbours before and from `at` on.
fn beside<T: Copy>(sorted: &[T], at: usize, beyond: impl Fn(T) -> u32) -> Spot {
    let neighbours = [at.checked_sub(1), Some(at)];
    let common = neighbours
        .into_iter()
        .flatten()
        .filter_map(|at| sorted.get(at))
        .map(|one| beyond(*one));
    let len = common.max().map_or(0, |common| common + 1);
    Spot::Beside(u8::try_from(len).unwrap_or(SOME))
}

fn entry(prefix: IpNet, row: u32, clients: &ClientMap) -> Option<Entry> {
    let first = prefix.network();
    let expected = if first.is_ipv4() {
        LENGTHS.0
    } else {
        LENGTHS.1
    };
    let (_, judged) = fold(first);
    if prefix.prefix_len() != expected || judged != first {
        return None;
    }
    let found = clients.find(first);
    let cell = clients.place(found.place).0?;
    let whole = !found.split && clients.alike(first, found) <= expected;
    whole.then_some(Entry {
        prefix,
        row,
        place: found.place,
        cell,
    })
}

// The shift leaves 48 bits.
#[allow(clippy::cast_possible_truncation)]
fn upper48(bits: u128) -> u64 {
    (bits >> 80) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(v4: &[&str], v6: &[&str]) -> Exceptions {
        let entry = |text: &&str| Entry {
            prefix: text.parse().unwrap(),
            row: 0,
            place: PlaceId(0),
            cell: CellId(0),
        };
        let bits4 = |text: &&str| {
            let net: ipnet::Ipv4Net = text.parse().unwrap();
            net.network().to_bits() >> 8
        };
        let bits6 = |text: &&str| {
            let net: ipnet::Ipv6Net = text.parse().unwrap();
            upper48(net.network().to_bits())
        };
        let mut all = Exceptions {
            v4: v4.iter().map(bits4).collect(),
            v6: v6.iter().map(bits6).collect(),
            entries: v4.iter().chain(v6).map(entry).collect(),
            ..Exceptions::default()
        };
        all.around = (0..1_u32 << 16).map(|high| all.around(high)).collect();
        all
    }

    #[test]
    fn spots() {
        let all = of(
            &["10.0.0.0/24", "10.0.2.0/24", "192.0.2.0/24"],
            &["2001:db8::/48"],
        );
        let table = [
            ("10.0.0.7", Spot::In(0, 24)),
            ("10.0.2.255", Spot::In(1, 24)),
            ("192.0.2.1", Spot::In(2, 24)),
            ("10.0.1.0", Spot::Beside(24)),
            ("10.0.3.0", Spot::Beside(24)),
            ("10.0.4.0", Spot::Beside(22)),
            ("10.1.0.0", Spot::Beside(16)),
            ("11.0.0.0", Spot::Beside(8)),
            ("200.0.0.0", Spot::Beside(5)),
            ("64.0.0.0", Spot::Beside(2)),
            ("2001:db8::1", Spot::In(3, 48)),
            ("2001:db8:1::1", Spot::Beside(48)),
            ("2001:db9::", Spot::Beside(32)),
            ("8000::", Spot::Beside(1)),
        ];
        for (address, expect) in table {
            assert_eq!(all.find(address.parse().unwrap()), expect, "{address}");
        }
        let none = Exceptions::default();
        assert_eq!(none.find([192, 0, 2, 1].into()), Spot::Beside(0));
    }

    #[test]
    fn what_is_around_holds_none() {
        let all = of(&["10.0.0.0/24", "10.3.2.0/24", "192.0.2.0/24"], &[]);
        for n in 0..200_000_u32 {
            let address = std::net::Ipv4Addr::from_bits(n.wrapping_mul(2_654_435_761));
            let Spot::Beside(len) = all.find(address.into()) else {
                continue;
            };
            let holds = |len: u8| {
                let net = ipnet::Ipv4Net::new(address, len).unwrap();
                all.entries
                    .iter()
                    .any(|one| IpNet::V4(net).contains(&one.prefix))
            };
            assert!(!holds(len), "{address}/{len}");
            assert!(holds(len - 1), "{address}/{len}");
        }
    }
}
