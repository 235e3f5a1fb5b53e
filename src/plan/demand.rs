//! Who asks how much: clients with amounts, taken from the geo data, a file or a server's counters.
//!
//! Places are the unit, not addresses: a place with many addresses is stood for by some of them,
//! evenly spread, so that PoPs that share a place by lot get about their shares.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use meridian_config::Family;
use meridian_geo_data::{BlockRange, CellId, ClientMap};

/// Clients that stand for all addresses of the geo data, beside the least number a place.
const SAMPLES: f64 = 100_000.0;

/// Clients that stand for a place at least, if it has that many blocks.
const LEAST: u64 = 4;

/// Clients that stand for one prefix of a traffic file at most; a power of two.
const PER_PREFIX: u32 = 64;

/// Clients that stand for all prefixes of a traffic file, where there are fewer prefixes.
const ALL_PREFIXES: usize = 1 << 22;

/// Some clients that are asked for as one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Asker {
    /// One of their addresses.
    pub(crate) address: IpAddr,
    /// What they ask for, in the unit of the demand.
    pub(crate) amount: f64,
    /// Where they are; `None`: nobody knows.
    pub(crate) cell: Option<CellId>,
}

/// All clients.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Demand {
    /// In a fixed order.
    pub(crate) askers: Vec<Asker>,
    /// Sum of their amounts; above 0.
    pub(crate) total: f64,
    /// Amount of clients whose location nobody knows.
    pub(crate) unlocated: f64,
}

impl Demand {
    /// Every block of the geo data counts alike: amounts are numbers of /24s, or of /48s for IPv6.
    /// What the geo data do not know is left out. Empty when they know nothing of the family.
    // Numbers of blocks are far below 2^53, but for IPv6, where the last bits have no say.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn by_addresses(clients: &ClientMap, family: Family) -> Self {
        let mut blocks = vec![0_u64; clients.places()];
        let known = |range: &BlockRange| clients.place(range.place) != (None, None);
        clients.each_range(family, |range| {
            if known(&range)
                && let Some(sum) = blocks.get_mut(range.place.0 as usize)
            {
                *sum = sum.saturating_add(range.blocks);
            }
        });
        let all: f64 = blocks.iter().map(|sum| *sum as f64).sum();
        let mut samplers: Vec<Sampler> = blocks.iter().map(|sum| Sampler::new(*sum, all)).collect();
        let per_unit = if family == Family::V4 { 1.0 } else { 65_536.0 };
        let mut askers = Vec::new();
        clients.each_range(family, |range| {
            if !known(&range) {
                return;
            }
            let (cell, _) = clients.place(range.place);
            let Some(sampler) = samplers.get_mut(range.place.0 as usize) else {
                return;
            };
            let amount = sampler.amount() / per_unit;
            sampler.pass(range.blocks, |block| {
                askers.push(Asker {
                    address: nth_block(range.first, block),
                    amount,
                    cell,
                });
            });
        });
        Self::new(askers)
    }

    /// Amounts by client prefix. A prefix that is wider than a /24 (/48 for IPv6) is stood for by up
    /// to 64 addresses, evenly spread; by fewer when there are more than 65,536 prefixes.
    pub(crate) fn by_prefixes(clients: &ClientMap, prefixes: &[(IpNet, f64)]) -> Self {
        let each = u32::try_from(ALL_PREFIXES / prefixes.len().max(1)).unwrap_or(PER_PREFIX);
        let each = 1 << each.clamp(1, PER_PREFIX).ilog2();
        let mut askers = Vec::new();
        for (prefix, amount) in prefixes.iter().copied() {
            let count = spread_of(prefix).min(each);
            for at in 0..count {
                let address = spread(prefix, at, count);
                askers.push(Asker {
                    address,
                    amount: amount / f64::from(count),
                    cell: clients.locate(address).cell,
                });
            }
        }
        Self::new(askers)
    }

    /// Amounts by cell, each told with an address in the cell. The cell's addresses share them alike, so
    /// that PoPs which share the cell by lot all get their part; where the geo data know no other address in
    /// it (or nothing at all of it), the one told stands for all.
    pub(crate) fn by_cells(clients: &ClientMap, family: Family, told: &[(IpAddr, f64)]) -> Self {
        let mut asked: BTreeMap<CellId, f64> = BTreeMap::new();
        for (address, amount) in told {
            if let Some(cell) = clients.locate(*address).cell {
                *asked.entry(cell).or_default() += amount;
            }
        }
        let mut askers = Self::by_addresses(clients, family).askers;
        let mut alike: BTreeMap<CellId, f64> = BTreeMap::new();
        for asker in &askers {
            if let Some(cell) = asker.cell {
                *alike.entry(cell).or_default() += asker.amount;
            }
        }
        askers.retain_mut(|asker| {
            let wanted = asker
                .cell
                .and_then(|cell| Some(asked.get(&cell)? / alike.get(&cell)?));
            asker.amount *= wanted.unwrap_or(0.0);
            wanted.is_some()
        });
        let lone = told.iter().filter_map(|(address, amount)| {
            let cell = clients.locate(*address).cell;
            let is_known = cell.is_some_and(|cell| alike.contains_key(&cell));
            (!is_known).then_some(Asker {
                address: *address,
                amount: *amount,
                cell,
            })
        });
        askers.extend(lone);
        Self::new(askers)
    }

    fn new(askers: Vec<Asker>) -> Self {
        // The sum of nothing is -0.0, which JSON shows.
        let sum =
            |some: &mut dyn Iterator<Item = &Asker>| some.map(|one| one.amount).sum::<f64>() + 0.0;
        Self {
            total: sum(&mut askers.iter()),
            unlocated: sum(&mut askers.iter().filter(|one| one.cell.is_none())),
            askers,
        }
    }

    /// Whether nobody asks for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.total <= 0.0
    }
}

/// Picks blocks of a place at even distances while its ranges pass by.
#[derive(Clone, Copy, Debug)]
struct Sampler {
    blocks: u64,
    samples: u64,
    passed: u64,
    taken: u64,
}

impl Sampler {
    // Rounding a number of samples; shares of at most 1.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    fn new(blocks: u64, all: f64) -> Self {
        let wanted = (blocks as f64 / all.max(1.0) * SAMPLES).ceil() as u64;
        Self {
            blocks,
            samples: wanted.max(LEAST).min(blocks),
            passed: 0,
            taken: 0,
        }
    }

    /// Blocks that one sample stands for.
    #[allow(clippy::cast_precision_loss)]
    fn amount(&self) -> f64 {
        self.blocks as f64 / self.samples.max(1) as f64
    }

    /// The next range passes: names the samples in it by their place in the range.
    fn pass(&mut self, blocks: u64, mut take: impl FnMut(u64)) {
        let end = self.passed.saturating_add(blocks);
        while self.taken < self.samples {
            let middle = (u128::from(self.taken) * 2 + 1) * u128::from(self.blocks);
            let at = middle / (u128::from(self.samples) * 2);
            let at = u64::try_from(at).unwrap_or(u64::MAX);
            if at >= end {
                break;
            }
            take(at - self.passed);
            self.taken += 1;
        }
        self.passed = end;
    }
}

/// The first address of a block (/24, /64) after the one that `first` starts.
fn nth_block(first: IpAddr, block: u64) -> IpAddr {
    match first {
        IpAddr::V4(v4) => {
            let beyond = u32::try_from(block << 8).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits().wrapping_add(beyond)))
        }
        IpAddr::V6(v6) => {
            let beyond = u128::from(block) << 64;
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits().wrapping_add(beyond)))
        }
    }
}

/// How many addresses stand for a prefix.
fn spread_of(prefix: IpNet) -> u32 {
    let block = if prefix.addr().is_ipv4() { 24_u8 } else { 48 };
    let wider = block.saturating_sub(prefix.prefix_len());
    1_u32
        .checked_shl(wider.into())
        .map_or(PER_PREFIX, |all| all.min(PER_PREFIX))
}

/// One of `count` addresses evenly spread over a prefix; `count` is a power of two.
fn spread(prefix: IpNet, at: u32, count: u32) -> IpAddr {
    let len = u32::from(prefix.prefix_len()) + count.trailing_zeros();
    match prefix.network() {
        IpAddr::V4(v4) => {
            let step = at.checked_shl(32_u32.saturating_sub(len)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() | step))
        }
        IpAddr::V6(v6) => {
            let step = u128::from(at)
                .checked_shl(128_u32.saturating_sub(len))
                .unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() | step))
        }
    }
}

#[cfg(test)]
mod tests {
    use meridian_config::Geo;
    use proptest::prelude::*;

    use super::*;

    fn bundled() -> ClientMap {
        let geo = Geo {
            city: Vec::new(),
            asn: Vec::new(),
            networks: Vec::new(),
        };
        ClientMap::open(&geo).unwrap()
    }

    #[test]
    fn addresses_stand_for_their_place() {
        let clients = bundled();
        for (family, least) in [(Family::V4, 10e6), (Family::V6, 1e6)] {
            let demand = Demand::by_addresses(&clients, family);
            assert!(demand.total > least, "{family:?}: {}", demand.total);
            assert_eq!(demand.unlocated.to_bits(), 0);
            assert!(demand.askers.len() < 300_000);
            for asker in &demand.askers {
                assert_eq!(clients.locate(asker.address).cell, asker.cell);
            }
        }
    }

    #[test]
    fn a_cell_is_shared_by_its_addresses() {
        let clients = bundled();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let told = [
            (address("133.11.0.0"), 9.0),
            (address("134.157.0.0"), 1.0),
            (address("10.0.0.1"), 2.0),
        ];
        let demand = Demand::by_cells(&clients, Family::V4, &told);
        assert!((demand.total - 12.0).abs() < 1e-6, "{}", demand.total);
        assert!((demand.unlocated - 2.0).abs() < 1e-9);
        let japan = clients.locate(told[0].0).cell;
        let there = demand.askers.iter().filter(|asker| asker.cell == japan);
        assert!(there.clone().count() > 100);
        assert!((there.map(|asker| asker.amount).sum::<f64>() - 9.0).abs() < 1e-6);
    }

    #[test]
    fn a_wide_prefix_is_spread() {
        let clients = bundled();
        let prefix = |text: &str| text.parse::<IpNet>().unwrap();
        let demand = Demand::by_prefixes(&clients, &[(prefix("133.0.0.0/8"), 64.0)]);
        assert_eq!(demand.askers.len(), 64);
        assert_eq!(demand.total, 64.0);
        assert_eq!(demand.askers[1].address.to_string(), "133.4.0.0");
        let one = Demand::by_prefixes(&clients, &[(prefix("133.11.0.0/24"), 3.0)]);
        assert_eq!(one.askers.len(), 1);
        let narrow = Demand::by_prefixes(&clients, &[(prefix("::/0"), 1.0)]);
        assert_eq!(narrow.askers.len(), 64);
        assert!(narrow.unlocated > 0.0);
    }

    proptest! {
        #[test]
        fn samples_are_as_many_as_said_and_inside(
            pieces in proptest::collection::vec(1..10_000_u64, 1..20), all in 1.0..1e7_f64,
        ) {
            let blocks = pieces.iter().sum();
            let mut sampler = Sampler::new(blocks, all.max(blocks as f64));
            let samples = sampler.samples;
            let mut seen = 0;
            for piece in pieces {
                sampler.pass(piece, |at| {
                    assert!(at < piece);
                    seen += 1;
                });
            }
            prop_assert_eq!(seen, samples);
            prop_assert!((sampler.amount() * samples as f64 - blocks as f64).abs() < 1e-3);
        }

        #[test]
        fn spread_addresses_are_inside_and_distinct(bits: u32, len in 0..=32_u8) {
            let prefix = IpNet::new(Ipv4Addr::from_bits(bits).into(), len).unwrap().trunc();
            let count = spread_of(prefix);
            let mut all: Vec<IpAddr> = (0..count).map(|at| spread(prefix, at, count)).collect();
            prop_assert!(all.iter().all(|address| prefix.contains(address)));
            all.dedup();
            prop_assert_eq!(all.len(), count as usize);
        }
    }
}
