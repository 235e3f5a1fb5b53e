//! What is tested: an address and port under a check.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use meridian_config::{Check, CheckKind, Config};
use xxhash_rust::xxh3::xxh3_64;

use crate::GroupKey;

/// Names one target of this process; never given out twice. A target whose check or address
/// changes becomes another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TargetId(pub(crate) u64);

/// An endpoint of a PoP under one check.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// PoP and check.
    pub(crate) group: GroupKey,
    /// The service address.
    pub(crate) address: IpAddr,
    /// Its index among the PoP's endpoints.
    pub(crate) place: usize,
    /// The definition of the test.
    pub(crate) check: Arc<Check>,
}

impl Target {
    /// Where the probe connects to.
    pub(crate) fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.check.port)
    }

    /// A number that is the same at every start, so that the spread of probes is too.
    pub(crate) fn seed(&self) -> u64 {
        let GroupKey { pop, check } = &self.group;
        xxh3_64(format!("{pop}/{check}/{}", self.address).as_bytes())
    }

    /// Whether nothing is sent to it.
    pub(crate) fn is_passive(&self) -> bool {
        matches!(self.check.kind, CheckKind::Passive(_))
    }

    /// Whether a probe of one says the same as a probe of the other.
    pub(crate) fn same_test(&self, other: &Target) -> bool {
        self.address == other.address && self.check == other.check
    }
}

/// Every target of a configuration, each once: pools that share a check share its targets.
pub(crate) fn targets(config: &Config) -> Vec<Target> {
    let checks: Vec<Arc<Check>> = config.checks.iter().cloned().map(Arc::new).collect();
    let mut pairs: Vec<_> = config
        .pools
        .iter()
        .filter_map(|pool| pool.check.map(|check| (check, &pool.pops)))
        .flat_map(|(check, pops)| pops.iter().map(move |&pop| (check, pop)))
        .collect();
    pairs.sort_unstable();
    pairs.dedup();
    let mut targets = Vec::new();
    for (check, pop) in pairs {
        let check = &checks[check.index()];
        let pop = config.pop(pop);
        let group = GroupKey {
            pop: pop.name.clone(),
            check: check.name.clone(),
        };
        targets.extend(
            pop.endpoints
                .iter()
                .enumerate()
                .map(|(place, &address)| Target {
                    group: group.clone(),
                    address,
                    place,
                    check: check.clone(),
                }),
        );
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn pools_with_the_same_check_share_targets() {
        let mut config = testing::config(&[("fra", 2), ("iad", 1)]);
        config.pools.push(config.pools[0].clone());
        let targets = targets(&config);
        let places: Vec<_> = targets
            .iter()
            .map(|t| (t.group.pop.as_str(), t.place))
            .collect();
        assert_eq!(places, [("fra", 0), ("fra", 1), ("iad", 0)]);
        let mut seeds: Vec<_> = targets.iter().map(Target::seed).collect();
        seeds.dedup();
        assert_eq!(seeds.len(), 3);
    }

    #[test]
    fn a_pool_without_a_check_has_no_targets() {
        let mut config = testing::config(&[("fra", 2)]);
        config.pools[0].check = None;
        assert_eq!(targets(&config), []);
    }
}
