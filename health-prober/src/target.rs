//! What is tested: an address and port under a check.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use meridian_config::{Check, CheckKind, CheckRule, Config, Pop};
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

/// What a published group rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) rule: CheckRule,
    /// Names of the checks, at least one.
    checks: Vec<String>,
}

impl Use {
    /// Whether one check decides alone.
    pub(crate) fn is_single(&self) -> bool {
        self.checks.len() == 1
    }

    /// The same PoP under each of the checks.
    pub(crate) fn parts(&self, group: &GroupKey) -> impl Iterator<Item = GroupKey> {
        self.checks.iter().map(|check| GroupKey {
            pop: group.pop.clone(),
            check: check.clone(),
        })
    }
}

/// Every group that a pool rests on: each PoP under the check, or the checks, of the pool.
pub(crate) fn uses(config: &Config) -> BTreeMap<GroupKey, Use> {
    let mut all = BTreeMap::new();
    for pool in &config.pools {
        let Some(check) = &pool.check else { continue };
        let name = config.check_name(check);
        let names = check.checks.iter().map(|id| config.check(*id).name.clone());
        let one = Use {
            rule: check.rule,
            checks: names.collect(),
        };
        for pop in &pool.pops {
            let group = GroupKey {
                pop: config.pop(*pop).name.clone(),
                check: name.clone(),
            };
            all.entry(group).or_insert_with(|| one.clone());
        }
    }
    all
}

/// Every target of a configuration, each once: pools that share a check share its targets.
pub(crate) fn targets(config: &Config) -> Vec<Target> {
    let checks: Vec<Arc<Check>> = config.checks.iter().cloned().map(Arc::new).collect();
    let mut pairs: Vec<_> = config
        .pools
        .iter()
        .filter_map(|pool| Some((pool.check.as_ref()?, &pool.pops)))
        .flat_map(|(check, pops)| {
            let each = check.checks.iter();
            each.flat_map(move |check| pops.iter().map(move |pop| (*check, *pop)))
        })
        .collect();
    pairs.sort_unstable();
    pairs.dedup();
    let mut targets = Vec::new();
    for (check, pop) in pairs {
        let pop = config.pop(pop);
        let check = &paced(&checks[check.index()], pop);
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

/// A passive check has the pace of the PoP's load source.
pub(crate) fn paced(check: &Arc<Check>, pop: &Pop) -> Arc<Check> {
    match (&check.kind, &pop.load) {
        (CheckKind::Passive(_), Some(load)) => Arc::new(Check {
            interval: load.interval,
            timeout: load.timeout,
            ..(**check).clone()
        }),
        _ => check.clone(),
    }
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
