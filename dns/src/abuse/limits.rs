//! The settings of rate limiting, ready for use: rates as costs, prefixes as masks, the exempt
//! networks as ranges. Immutable, a part of the snapshot, so that a reload is one swap; what has
//! been counted stays in the [`Gate`](super::Gate).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use meridian_config::{RateLimit, RateLimitMode};

use super::Kind;

/// A second, in the unit that levels are kept in.
pub(super) const SECOND: u64 = 1_000_000_000;

/// What may be sent to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    mode: RateLimitMode,
    /// Nanoseconds of credit that a reply of each kind costs; 0: not limited.
    costs: [u64; Kind::ALL.len()],
    /// The same for replies of all kinds to one prefix together.
    pub(super) cost_of_all: u64,
    /// Most debt of an account, nanoseconds.
    pub(super) window: u64,
    /// Every how manyth limited reply is sent truncated, about; 0: none.
    pub(super) slip: u64,
    mask_v4: u32,
    mask_v6: u128,
    exempt: Exempt,
    /// Cells that the gate is to have.
    pub(super) table_size: usize,
}

impl Limits {
    /// Nothing is limited.
    pub const OFF: Self = Self {
        mode: RateLimitMode::Off,
        costs: [0; Kind::ALL.len()],
        cost_of_all: 0,
        window: 0,
        slip: 0,
        mask_v4: 0,
        mask_v6: 0,
        exempt: Exempt {
            v4: Vec::new(),
            v6: Vec::new(),
        },
        table_size: 0,
    };

    /// Whether nothing is limited, nor counted as such.
    #[inline]
    pub fn is_off(&self) -> bool {
        self.mode == RateLimitMode::Off
    }

    /// Whether limited replies are held back, not only counted.
    #[inline]
    pub fn is_enforced(&self) -> bool {
        self.mode == RateLimitMode::On
    }

    /// What a reply of this kind costs.
    #[inline]
    pub(super) fn cost(&self, kind: Kind) -> u64 {
        self.costs.get(kind as usize).copied().unwrap_or_default()
    }

    /// The prefix that an address is counted under, as two words. They tell families apart.
    #[inline]
    pub(super) fn prefix(&self, source: IpAddr) -> Prefix {
        match source {
            IpAddr::V4(address) => self.prefix_v4(address),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => self.prefix_v4(address),
                None => Prefix::V6(u128::from(address) & self.mask_v6),
            },
        }
    }

    fn prefix_v4(&self, address: Ipv4Addr) -> Prefix {
        Prefix::V4(u32::from(address) & self.mask_v4)
    }

    /// Whether the operator lets this address have everything.
    pub(super) fn exempts(&self, source: IpAddr) -> bool {
        match source.to_canonical() {
            IpAddr::V4(address) => contains(&self.exempt.v4, u32::from(address)),
            IpAddr::V6(address) => contains(&self.exempt.v6, u128::from(address)),
        }
    }
}

impl From<&RateLimit> for Limits {
    fn from(config: &RateLimit) -> Self {
        if config.mode == RateLimitMode::Off {
            return Self::OFF;
        }
        let cost = |per_second: u32| SECOND.checked_div(per_second.into()).unwrap_or_default();
        let costs = Kind::ALL.map(|kind| {
            cost(match kind {
                Kind::Answer => config.responses_per_second,
                Kind::NoData => config.nodata_per_second,
                Kind::NxDomain => config.nxdomains_per_second,
                Kind::Referral => config.referrals_per_second,
                Kind::Error => config.errors_per_second,
            })
        });
        let (v4, v6) = (config.prefix.ipv4, config.prefix.ipv6);
        Self {
            mode: config.mode,
            costs,
            cost_of_all: cost(config.all_per_second),
            window: u64::try_from(config.window.as_nanos()).unwrap_or(u64::MAX / 4),
            slip: config.slip.into(),
            mask_v4: u32::MAX
                .checked_shl(32_u32.saturating_sub(v4.into()))
                .unwrap_or(0),
            mask_v6: u128::MAX
                .checked_shl(128_u32.saturating_sub(v6.into()))
                .unwrap_or(0),
            exempt: Exempt::new(&config.exempt),
            table_size: config.table_size,
        }
    }
}

/// A client prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Prefix {
    V4(u32),
    V6(u128),
}

/// Addresses as ranges, sorted and apart from each other, so that a look-up halves.
#[derive(Clone, Debug, Default, PartialEq)]
struct Exempt {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Exempt {
    fn new(nets: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push((u32::from(net.network()), u32::from(net.broadcast()))),
                IpNet::V6(net) => {
                    let (first, last): (Ipv6Addr, Ipv6Addr) = (net.network(), net.broadcast());
                    v6.push((u128::from(first), u128::from(last)));
                }
            }
        }
        Self {
            v4: apart(v4),
            v6: apart(v6),
        }
    }
}

/// Sorts ranges; networks either hold one another or do not meet, so those inside others go.
fn apart<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable_by_key(|&(first, last)| (first, std::cmp::Reverse(last)));
    ranges.dedup_by(|inner, outer| inner.1 <= outer.1);
    ranges
}

fn contains<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= address);
    after
        .checked_sub(1)
        .and_then(|at| ranges.get(at))
        .is_some_and(|&(_, last)| address <= last)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prefixes_by_family_and_length() {
        let config = RateLimit {
            mode: RateLimitMode::On,
            ..RateLimit::default()
        };
        let limits = Limits::from(&config);
        let same = |one: &str, two: &str| {
            limits.prefix(one.parse().unwrap()) == limits.prefix(two.parse().unwrap())
        };
        assert!(same("192.0.2.1", "192.0.2.254"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.9"));
        assert!(!same("192.0.2.1", "192.0.3.1"));
        assert!(same("2001:db8:0:a00::1", "2001:db8:0:aff::2"));
        assert!(!same("2001:db8:0:a00::1", "2001:db8:0:b00::1"));
        assert!(!same("::1", "0.0.0.1"));
        let mut whole = config.clone();
        whole.prefix.ipv4 = 32;
        whole.prefix.ipv6 = 128;
        let limits = Limits::from(&whole);
        assert_eq!(
            limits.prefix("192.0.2.1".parse().unwrap()),
            Prefix::V4(0xc000_0201)
        );
        assert_eq!(
            limits.prefix("2::1".parse().unwrap()),
            Prefix::V6((2 << 112) + 1)
        );
    }

    #[test]
    fn off_is_off_whatever_the_rates_say() {
        let limits = Limits::from(&RateLimit::default());
        assert_eq!(limits, Limits::OFF);
        assert!(limits.is_off() && !limits.is_enforced());
    }

    /// An address with these octets in front.
    fn whole([a, b]: [u8; 2], v6: bool) -> IpAddr {
        if v6 {
            Ipv6Addr::from([a, b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).into()
        } else {
            Ipv4Addr::from([a, b, 0, 0]).into()
        }
    }

    proptest! {
        /// The ranges say what asking each network would say.
        #[test]
        fn exempt_networks(
            nets in prop::collection::vec((any::<[u8; 2]>(), 0..=16_u8, any::<bool>()), 0..20),
            address: [u8; 2], v6: bool,
        ) {
            let address = whole(address, v6);
            let nets: Vec<IpNet> = nets.into_iter().map(|(front, length, v6)| {

                IpNet::new(whole(front, v6), length).unwrap().trunc()
            }).collect();
            let config = RateLimit { mode: RateLimitMode::On, exempt: nets.clone(), ..RateLimit::default() };
            let expected = nets.iter().any(|net| net.contains(&address));
            prop_assert_eq!(Limits::from(&config).exempts(address), expected);
        }
    }
}
