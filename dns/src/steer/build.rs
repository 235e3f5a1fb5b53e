//! From the configuration to the parts of [`Steering`](super::Steering): what several services
//! have in common is made once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use meridian_config::{Config, Family, Name, Policy, PoolCheck, PoolId, PopId, Ratio};

use super::{
    ranking::{Class, Ranked, Share, Slots},
    steering::{Lot, Pool, Pop, Profile, Roster, Service, Stand, StandKey, Tested, is_inside},
    types::TermWeights,
};
use crate::types::ServiceId;

/// The parts, each list referring to the others by index.
pub(super) struct Parts {
    pub(super) pops: Box<[Pop]>,
    pub(super) pools: Box<[Pool]>,
    pub(super) profiles: Box<[Profile]>,
    pub(super) rosters: Box<[Roster]>,
    pub(super) stands: Arc<[Stand]>,
    pub(super) tested: Box<[Tested]>,
    pub(super) tested_by_name: Box<[u32]>,
    pub(super) services: Box<[Service]>,
    /// Number of plans.
    pub(super) plans: usize,
    pub(super) by_name: HashMap<Name, ServiceId>,
}

/// Builds all parts. `cells` is the number of cells of the client map.
pub(super) fn parts(config: &Config, cells: usize) -> Parts {
    let pops: Box<[Pop]> = config.pops.iter().map(Pop::new).collect();
    let pools: Box<[Pool]> = config.pools.iter().map(|one| pool(config, one)).collect();
    let mut builder = Builder::new(config, cells);
    let mut services = Vec::new();
    let mut by_name = HashMap::new();
    for zone in &config.zones {
        for service in &zone.services {
            let id = ServiceId(u32::try_from(services.len()).unwrap_or(u32::MAX));
            by_name.entry(service.name.clone()).or_insert(id);
            services.push(builder.service(&zone.name, service));
        }
    }
    Parts {
        pops,
        pools,
        profiles: builder.profiles.into(),
        rosters: builder.rosters.into(),
        stands: builder.stands.into(),
        tested_by_name: sorted_by_name(config, &builder.tested),
        tested: builder.tested.into(),
        services: services.into(),
        plans: builder.plan_of.len(),
        by_name,
    }
}

fn pool(config: &Config, pool: &meridian_config::Pool) -> Pool {
    let has = |family: &Family| {
        let mut pops = pool.pops.iter().map(|pop| config.pop(*pop));
        pops.any(|pop| {
            pop.endpoints
                .iter()
                .any(|address| Family::of(*address) == *family)
        })
    };
    let fences = || pool.pops.iter().map(|pop| &config.pop(*pop).serves);
    // Milliseconds as f32 are exact enough; see Terms::score.
    #[allow(clippy::cast_possible_truncation)]
    let biases = || pool.pops.iter().map(|pop| config.pop(*pop).bias_ms as f32);
    let anycast = pool.anycast.as_ref();
    let bias_ms = biases().next().unwrap_or(0.0);
    Pool {
        name: pool.name.as_str().into(),
        check: pool
            .check
            .as_ref()
            .map(|check| config.check_name(check).into()),
        members: pool.pops.as_slice().into(),
        lots: pool
            .pops
            .iter()
            .map(|pop| Lot::new(config.pop(*pop)))
            .collect(),
        fallback: pool.fallback.as_slice().into(),
        anycast: anycast.map_or(&[][..], |one| &one.addresses).into(),
        anycast_margin_ms: anycast.map_or(0.0, |one| one.margin.as_secs_f32() * 1000.0),
        families: [Family::V4, Family::V6].into_iter().filter(has).collect(),
        fenced: fences().any(|fence| !fence.is_open()),
        biased: biases().any(|bias| bias.to_bits() != bias_ms.to_bits()),
        bias_ms,
        configured: configured_order(config, pool),
    }
}

/// The operator's order for a client of unknown country.
fn configured_order(config: &Config, pool: &meridian_config::Pool) -> Box<[Ranked]> {
    let mut order: Vec<Ranked> = (0_u16..)
        .zip(&pool.pops)
        .map(|(member, pop)| {
            let pop = config.pop(*pop);
            let inside = is_inside(&pop.serves, None, None);
            Ranked {
                score: 0.0,
                member,
                class: Class::of(inside, pop.weight.0),
            }
        })
        .collect();
    order.sort_by_key(|one| one.class);
    order.into()
}

/// Order in which the prober's groups are sorted, so that the two can be walked side by side.
fn sorted_by_name(config: &Config, tested: &[Tested]) -> Box<[u32]> {
    let mut order: Vec<u32> = (0_u32..).zip(tested).map(|(index, _)| index).collect();
    order.sort_by_key(|index| {
        let one = &tested[*index as usize];
        (config.pop(one.pop).name.as_str(), one.check.as_deref())
    });
    order.into()
}

/// Everything of a service that has a say in who is answered.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PlanKey {
    profile: usize,
    roster: usize,
    tolerance: u32,
    answers: usize,
    /// For IPv4 and IPv6 clients.
    scope_max: [u8; 2],
}

/// Profile, tolerance, roster.
type StandOf = (usize, u32, usize);
type RosterKey = (PoolId, u64);
type TestedKey = (PopId, Option<PoolCheck>, u64);

struct Builder<'a> {
    config: &'a Config,
    /// PoPs that operator networks pin clients to.
    pins: HashSet<PopId>,
    cells: usize,
    profiles: Vec<Profile>,
    rosters: Vec<Roster>,
    stands: Vec<Stand>,
    tested: Vec<Tested>,
    bits: usize,
    roster_of: HashMap<RosterKey, usize>,
    stand_of: HashMap<StandOf, usize>,
    tested_of: HashMap<TestedKey, u32>,
    plan_of: HashMap<PlanKey, usize>,
}

impl<'a> Builder<'a> {
    fn new(config: &'a Config, cells: usize) -> Self {
        Self {
            config,
            pins: config
                .geo
                .networks
                .iter()
                .filter_map(|net| net.pop)
                .collect(),
            cells,
            profiles: Vec::new(),
            rosters: Vec::new(),
            stands: Vec::new(),
            tested: Vec::new(),
            bits: 0,
            roster_of: HashMap::new(),
            stand_of: HashMap::new(),
            tested_of: HashMap::new(),
            plan_of: HashMap::new(),
        }
    }

    fn service(&mut self, zone: &Name, service: &meridian_config::Service) -> Service {
        let steering = &service.steering;
        let uniform =
            [Family::V4, Family::V6].map(|f| is_uniform(self.config, &self.pins, service, f));
        // Milliseconds as f32 are exact enough; see Terms::score.
        #[allow(clippy::cast_possible_truncation)]
        let tolerance_ms = (steering.tolerance.as_secs_f64() * 1000.0) as f32;
        let weights = TermWeights {
            distance: steering.distance,
            latency: steering.latency,
            load: steering.load,
        };
        let mut built = Service {
            name: service.name.clone(),
            zone: zone.clone(),
            pool: service.pool,
            ttl: steering.ttl.0,
            ttl_min: steering.ttl_min().0,
            answers: steering.answers,
            policy: steering.policy,
            weights,
            tolerance_ms,
            min_health: steering.min_health,
            scope_max: steering.scope_max,
            plan: 0,
            profile: 0,
            roster: self.roster(service.pool, steering.min_health),
            stand: None,
            uniform,
        };
        built.profile = self.profile(&built);
        built.stand = self.stand(&built);
        built.plan = self.plan(&built);
        built
    }

    /// The plan of a service; only its TTLs are not part of it.
    fn plan(&mut self, service: &Service) -> usize {
        let key = PlanKey {
            profile: service.profile,
            roster: service.roster,
            tolerance: service.tolerance_ms.to_bits(),
            answers: service.answers,
            scope_max: [service.scope_max.ipv4, service.scope_max.ipv6],
        };
        let next = self.plan_of.len();
        *self.plan_of.entry(key).or_insert(next)
    }

    /// The profile of a service.
    fn profile(&mut self, service: &Service) -> usize {
        let pops = |pool: PoolId| &self.config.pool(pool).pops;
        let mut all = pops(service.pool).iter();
        let load = all.any(|pop| self.config.pop(*pop).load.is_some());
        let weights = service.weights.in_force(load);
        // Pools with the same list of PoPs have the same orders, whatever checks them.
        let alike = |one: &Profile| {
            one.policy == service.policy
                && one.weights == weights
                && (one.pool == service.pool || pops(one.pool) == pops(service.pool))
        };
        let share = Share {
            tolerance: service.grouping(),
            answers: service.answers,
        };
        if let Some(at) = self.profiles.iter().position(alike) {
            self.profiles[at].slots.widen(share);
            return at;
        }
        let fenced = || {
            let pops = &self.config.pool(service.pool).pops;
            pops.iter()
                .any(|pop| !self.config.pop(*pop).serves.is_open())
        };
        // Failover without fences has one order for everyone: no slots.
        let by_cell = service.policy == Policy::Score || fenced();
        let cells = if by_cell { self.cells } else { 0 };
        self.profiles.push(Profile {
            pool: service.pool,
            policy: service.policy,
            weights,
            slots: Slots::new(cells, share),
            further: Slots::new(cells, share),
        });
        self.profiles.len() - 1
    }

    /// The stand of a service; in the configured order nothing is weighed.
    fn stand(&mut self, service: &Service) -> Option<usize> {
        if service.policy != Policy::Score {
            return None;
        }
        let tolerance = service.tolerance_ms;
        let of = (service.profile, tolerance.to_bits(), service.roster);
        if let Some(at) = self.stand_of.get(&of) {
            return Some(*at);
        }
        let pool = self.config.pool(service.pool);
        self.stands.push(Stand {
            pool: service.pool,
            profile: service.profile,
            roster: service.roster,
            tolerance_ms: tolerance,
            key: StandKey {
                pool: pool.name.as_str().into(),
                min_health: service.min_health.0,
                members: pool.pops.iter().map(|pop| pop.0).collect(),
            },
        });
        self.stand_of.insert(of, self.stands.len() - 1);
        Some(self.stands.len() - 1)
    }

    fn roster(&mut self, pool: PoolId, min_health: Ratio) -> usize {
        let key = (pool, min_health.0.to_bits());
        if let Some(at) = self.roster_of.get(&key) {
            return *at;
        }
        let config = self.config;
        let pool = config.pool(pool);
        let tested = pool
            .pops
            .iter()
            .map(|pop| self.tested(*pop, pool.check.as_ref(), min_health));
        let tested = tested.collect();
        self.rosters.push(Roster { tested });
        self.roster_of.insert(key, self.rosters.len() - 1);
        self.rosters.len() - 1
    }

    fn tested(&mut self, pop: PopId, check: Option<&PoolCheck>, min_health: Ratio) -> u32 {
        let key = (pop, check.cloned(), min_health.0.to_bits());
        if let Some(at) = self.tested_of.get(&key) {
            return *at;
        }
        let at = u32::try_from(self.tested.len()).unwrap_or(u32::MAX);
        self.tested.push(Tested {
            pop,
            check: check.map(|check| self.config.check_name(check).into()),
            min_health,
            first_bit: self.bits,
        });
        self.bits += self.config.pop(pop).endpoints.len();
        self.tested_of.insert(key, at);
        at
    }
}

/// Whether a service gives every client the same addresses of this family at any time, so that
/// scope 0 is the truth: nobody has any; or only one PoP has some, and it is not fenced; or the
/// order is the operator's, without fences and pins. PoPs without an address of the family never
/// show in the answer.
fn is_uniform(
    config: &Config,
    pins: &HashSet<PopId>,
    service: &meridian_config::Service,
    family: Family,
) -> bool {
    let pool = config.pool(service.pool);
    let with_family = || {
        let has = |pop: &&PopId| {
            config
                .pop(**pop)
                .endpoints
                .iter()
                .any(|a| Family::of(*a) == family)
        };
        pool.pops.iter().filter(has)
    };
    let open = with_family().all(|pop| config.pop(*pop).serves.is_open());
    let anycast = pool.anycast.iter().flat_map(|one| &one.addresses);
    let mut anycast = anycast.filter(|address| Family::of(**address) == family);
    match with_family().count() {
        0 => true,
        // For some a single PoP may be better.
        _ if anycast.next().is_some() => false,
        1 => open,
        _ => {
            let pinned = || with_family().any(|pop| pins.contains(pop));
            service.steering.policy == Policy::Failover && open && !pinned()
        }
    }
}
