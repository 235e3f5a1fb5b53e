//! Operator networks (`[[geo.network]]`): what the operator knows beats every database, and the
//! longest prefix beats the shorter ones.

use std::net::IpAddr;

use ipnet::IpNet;
use meridian_config::GeoNetwork;

use crate::ranges::{Address, Builder, NOTHING, Ranges};

/// The networks; the values of the ranges are indices into them.
#[derive(Debug)]
pub(crate) struct Networks(Vec<GeoNetwork>);

impl Networks {
    pub(crate) fn new(given: &[GeoNetwork]) -> Self {
        Self(given.to_vec())
    }

    pub(crate) fn all(&self) -> &[GeoNetwork] {
        &self.0
    }

    /// The longest network with a folded address in it; of two equal ones the later.
    pub(crate) fn longest(&self, judged: IpAddr) -> Option<&GeoNetwork> {
        let holding = self
            .0
            .iter()
            .filter(|network| network.prefix.contains(&judged));
        holding.max_by_key(|network| network.prefix.prefix_len())
    }

    /// The index of the longest network, for every IPv4 address.
    pub(crate) fn v4(&self) -> Ranges<u32> {
        lay_out(
            self.0
                .iter()
                .enumerate()
                .filter_map(|(index, network)| match network.prefix {
                    IpNet::V4(net) => {
                        Some((net.network().to_bits(), net.prefix_len(), number(index)))
                    }
                    IpNet::V6(_) => None,
                }),
        )
    }

    /// The index of the longest network, for every IPv6 address.
    pub(crate) fn v6(&self) -> Ranges<u128> {
        lay_out(
            self.0
                .iter()
                .enumerate()
                .filter_map(|(index, network)| match network.prefix {
                    IpNet::V6(net) => {
                        Some((net.network().to_bits(), net.prefix_len(), number(index)))
                    }
                    IpNet::V4(_) => None,
                }),
        )
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NOTHING)
}

/// Sweeps over prefixes, which nest or are apart but never cross: the innermost one open at an
/// address is the longest.
fn lay_out<A: Address>(prefixes: impl Iterator<Item = (A, u8, u32)>) -> Ranges<A> {
    let mut sorted: Vec<_> = prefixes.collect();
    sorted.sort_by_key(|(start, len, _)| (*start, *len));
    let mut out = Builder::new();
    let mut open: Vec<(A, u32)> = Vec::new();
    for (start, len, index) in sorted {
        while let Some((end, inner)) = open.pop_if(|(end, _)| *end < start) {
            out.push_to(end, inner);
        }
        if let Some(before) = start.previous() {
            out.push_to(before, open.last().map_or(NOTHING, |(_, outer)| *outer));
        }
        open.push((start.last_of(len), index));
    }
    while let Some((end, inner)) = open.pop() {
        out.push_to(end, inner);
    }
    out.finish(NOTHING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_wins() {
        let nets = [
            (0x0a00_0000_u32, 8, 0),
            (0x0a01_0000, 16, 1),
            (0x0a01_0100, 24, 2),
            (0x0b00_0000, 8, 3),
        ];
        let ranges = lay_out(nets.into_iter());
        let all: Vec<_> = ranges.iter().collect();
        let expect = [
            (0, NOTHING),
            (0x0a00_0000, 0),
            (0x0a01_0000, 1),
            (0x0a01_0100, 2),
            (0x0a01_0200, 1),
            (0x0a02_0000, 0),
            (0x0b00_0000, 3),
            (0x0c00_0000, NOTHING),
        ];
        assert_eq!(all, expect);
    }
}
