//! What steering knows from the configuration alone: services, pools, PoPs, and the orders of
//! PoPs by cell. Immutable but for the orders, which fill in as cells are asked for.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use meridian_config::{
    Config, Coordinates, Family, Fence, Name, Policy, PoolId, PopId, Ratio, ScopeMax, Weight,
};
use meridian_geo_data::{CellId, ClientMap, latency::Line};

use super::{
    build,
    choice::Choices,
    hash,
    order::{Vector, chord_ms},
    ranking::{Ranked, Slots},
    types::{LatencySource, TermWeights, Terms},
};
use crate::{metrics::Labels, types::ServiceId};

/// Kilometres that light in fibre covers there and back in one millisecond: 200,000 km/s one way.
pub const KM_PER_MS: f64 = 100.0;

/// Everything that steering knows apart from health. One per configuration and geo data; cheap
/// to share, expensive to build only in the size of the configuration, not of the cells.
#[derive(Debug)]
pub struct Steering {
    pub(super) clients: Arc<ClientMap>,
    pub(super) pops: Box<[Pop]>,
    pub(super) pools: Box<[Pool]>,
    pub(super) profiles: Box<[Profile]>,
    pub(super) rosters: Box<[Roster]>,
    /// Shared, so that a standing knows whom it was made for.
    pub(super) stands: Arc<[Stand]>,
    pub(super) tested: Box<[Tested]>,
    /// Indices into `tested` by name of the PoP, then of the check.
    pub(super) tested_by_name: Box<[u32]>,
    services: Box<[Service]>,
    by_name: HashMap<Name, ServiceId>,
    labels: Arc<Labels>,
    /// Octets of orders kept.
    pub(super) used: AtomicUsize,
    /// Number of plans: services of one plan answer alike.
    pub(super) plans: usize,
    /// How many tables of choices a view may have.
    room: usize,
    /// Octets of choices kept, by all views.
    chosen: Arc<AtomicUsize>,
    /// Stands in where no more may be kept.
    pub(super) unkept: Choices,
}

/// One service: `[[zone.service]]` with the steering parameters it ends up with.
#[derive(Clone, Debug)]
pub struct Service {
    /// Owner name, absolute.
    pub name: Name,
    /// Apex of its zone.
    pub zone: Name,
    /// The PoPs that may answer.
    pub pool: PoolId,
    /// Seconds.
    pub ttl: u32,
    /// How far it is lowered while a verdict may flip, in seconds; at most `ttl`.
    pub ttl_min: u32,
    /// Addresses per answer.
    pub answers: usize,
    /// How PoPs are ordered.
    pub policy: Policy,
    /// Configured weights of the score's terms.
    pub weights: TermWeights,
    /// PoPs this close to the best share clients, milliseconds.
    pub tolerance_ms: f32,
    /// Share of a PoP's endpoints that must be usable.
    pub min_health: Ratio,
    /// Longest scope.
    pub scope_max: ScopeMax,
    /// Services with the same plan give the same client the same answer, but for the TTL.
    pub(super) plan: usize,
    /// Index into the profiles.
    pub(super) profile: usize,
    /// Index into the rosters.
    pub(super) roster: usize,
    /// Index into the stands; `None`: measurements have no say in it.
    pub(super) stand: Option<usize>,
    /// Whether the answer is the same for every client whatever the health: A, AAAA.
    pub(super) uniform: [bool; 2],
}

impl Service {
    /// Tolerance of the groups of its order by score; there are none in the configured order.
    pub(super) fn grouping(&self) -> Option<f32> {
        match self.policy {
            Policy::Score => Some(self.tolerance_ms),
            Policy::Failover => None,
        }
    }

    /// The same for clients of a cell: of those without one there is no score.
    pub(super) fn grouping_in(&self, cell: Option<CellId>) -> Option<f32> {
        cell.and_then(|_| self.grouping())
    }

    /// Whether everyone gets the same answer of this family at any time.
    pub(super) fn is_uniform(&self, family: Family) -> bool {
        let [v4, v6] = self.uniform;
        if family == Family::V4 { v4 } else { v6 }
    }
}

/// A PoP, as far as steering goes.
#[derive(Clone, Debug)]
pub(super) struct Pop {
    pub(super) name: Box<str>,
    pub(super) location: Coordinates,
    pub(super) vector: Vector,
    pub(super) weight: Weight,
    pub(super) bias_ms: f32,
    pub(super) fence: Fence,
    pub(super) endpoints: Box<[IpAddr]>,
}

impl Pop {
    pub(super) fn new(pop: &meridian_config::Pop) -> Self {
        // Milliseconds as f32 are exact enough; see Terms::score.
        #[allow(clippy::cast_possible_truncation)]
        let bias_ms = pop.bias_ms as f32;
        Self {
            name: pop.name.as_str().into(),
            location: pop.location,
            vector: Vector::to(pop.location),
            weight: pop.weight,
            bias_ms,
            fence: pop.serves.clone(),
            endpoints: pop.endpoints.as_slice().into(),
        }
    }

    /// The distance term of its score for clients at `from`.
    // Milliseconds as f32 are exact enough; see TermWeights::free_of_load.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn distance_ms(&self, from: Vector) -> f32 {
        chord_ms(from.chord_squared(self.vector)) as f32
    }

    /// The terms of its score for clients at `from` while nothing is measured.
    pub(super) fn terms(&self, from: Vector, line: &Line) -> Terms {
        let distance_ms = self.distance_ms(from);
        Terms {
            distance_ms,
            latency_ms: line.at(distance_ms),
            latency_from: LatencySource::Estimate,
            load_ms: None,
            load_counted_ms: 0.0,
            bias_ms: self.bias_ms,
        }
    }
}

/// Whether a client of that country and continent may be served. Of an unknown country nobody
/// can say that it is among the allowed ones; but neither that it is an excluded one.
pub(super) fn is_inside(
    fence: &Fence,
    country: Option<[u8; 2]>,
    continent: Option<[u8; 2]>,
) -> bool {
    let among = |list: &[[u8; 2]], code: Option<[u8; 2]>| code.is_some_and(|c| list.contains(&c));
    let allowed = (fence.continents.is_empty() && fence.countries.is_empty())
        || among(&fence.continents, continent)
        || among(&fence.countries, country);
    allowed && !among(&fence.exclude_countries, country)
}

/// A pool, as far as steering goes.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub(super) name: Box<str>,
    pub(super) check: Option<Box<str>>,
    pub(super) members: Box<[PopId]>,
    /// What drawing lots among them takes, close together in memory.
    pub(super) lots: Box<[Lot]>,
    pub(super) fallback: Box<[IpAddr]>,
    /// What clients get unless a single PoP was measured to be better; empty: none.
    pub(super) anycast: Box<[IpAddr]>,
    /// By how much it must be, milliseconds.
    pub(super) anycast_margin_ms: f32,
    /// Families of which its PoPs have endpoints at all.
    pub(super) families: Vec<Family>,
    /// Whether any of its PoPs is fenced.
    pub(super) fenced: bool,
    /// Whether its PoPs differ in bias.
    pub(super) biased: bool,
    /// Bias of its PoPs where they do not.
    pub(super) bias_ms: f32,
    /// The operator's order, for clients of whom nothing is known.
    pub(super) configured: Box<[Ranked]>,
}

/// A PoP of a pool, as far as a decision looks at every one of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lot {
    pub(super) seed: u64,
    pub(super) weight: Weight,
    /// Whether it has endpoints of the family at all: A, AAAA.
    has: [bool; 2],
}

impl Lot {
    pub(super) fn new(pop: &meridian_config::Pop) -> Self {
        let has = |family| {
            pop.endpoints
                .iter()
                .any(|address| Family::of(*address) == family)
        };
        Self {
            seed: hash::seed(&pop.name),
            weight: pop.weight,
            has: [has(Family::V4), has(Family::V6)],
        }
    }

    /// Whether it has an endpoint of this family, usable or not.
    pub(super) fn has(&self, family: Family) -> bool {
        let [v4, v6] = self.has;
        if family == Family::V4 { v4 } else { v6 }
    }
}

/// Orders by cell of one pool under one way of scoring.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) pool: PoolId,
    pub(super) policy: Policy,
    /// Those in force.
    pub(super) weights: TermWeights,
    pub(super) slots: Slots,
    /// More of the order, where that did not suffice.
    pub(super) further: Slots,
}

/// What measurements are weighed for: services with the same stand share their clients alike.
#[derive(Clone, Debug)]
pub(super) struct Stand {
    /// Its services' own; pools with the same PoPs share a profile.
    pub(super) pool: PoolId,
    pub(super) profile: usize,
    pub(super) roster: usize,
    pub(super) tolerance_ms: f32,
    pub(super) key: StandKey,
}

impl Stand {
    /// What its scores take: profile and tolerance.
    pub(super) fn scoring(&self) -> (usize, f32) {
        (self.profile, self.tolerance_ms)
    }

    /// Whether both have the same rows as long as the same PoPs are usable.
    pub(super) fn rows_like(&self, other: &Self) -> bool {
        self.profile == other.profile
            && self.tolerance_ms.to_bits() == other.tolerance_ms.to_bits()
            && self.key.members == other.key.members
    }
}

/// By what a stand is known again after a reload.
#[derive(Clone, Debug)]
pub(super) struct StandKey {
    pub(super) pool: Box<str>,
    pub(super) min_health: f64,
    /// Numbers of the pool's PoPs.
    pub(super) members: Arc<[u16]>,
}

/// The health that counts for one pool under one `min_health`.
#[derive(Clone, Debug)]
pub(super) struct Roster {
    /// Index into `tested` for each PoP of the pool, in its order.
    pub(super) tested: Box<[u32]>,
}

/// A PoP under one check (or none) and one `min_health`: what has a verdict.
#[derive(Clone, Debug)]
pub(super) struct Tested {
    pub(super) pop: PopId,
    pub(super) check: Option<Box<str>>,
    pub(super) min_health: Ratio,
    /// Index of its first endpoint's bit in a view.
    pub(super) first_bit: usize,
}

impl Steering {
    /// Number of PoPs that may answer a service; 0: there is no such service.
    pub fn candidates(&self, service: ServiceId) -> usize {
        let pool = self.service(service).map(|service| service.pool.index());
        let pool = pool.and_then(|index| self.pools.get(index));
        pool.map_or(0, |pool| pool.members.len())
    }

    /// Takes what steering needs out of a checked configuration.
    pub fn new(config: &Config, clients: Arc<ClientMap>) -> Self {
        let parts = build::parts(config, clients.cells().len());
        let labels = Labels {
            services: parts
                .services
                .iter()
                .map(|s| s.name.to_string().into())
                .collect(),
            pops: parts.pops.iter().map(|pop| Arc::from(&*pop.name)).collect(),
        };
        Self {
            labels: Arc::new(labels),
            room: Choices::room(&clients),
            clients,
            pops: parts.pops,
            pools: parts.pools,
            profiles: parts.profiles,
            rosters: parts.rosters,
            stands: parts.stands,
            tested: parts.tested,
            tested_by_name: parts.tested_by_name,
            services: parts.services,
            by_name: parts.by_name,
            used: AtomicUsize::new(0),
            plans: parts.plans,
            chosen: Arc::default(),
            unkept: Choices::keeping_nothing(),
        }
    }

    /// The client map, to build another steering over the same one.
    pub fn shared_clients(&self) -> Arc<ClientMap> {
        self.clients.clone()
    }

    /// Every service; [`ServiceId`] indexes it.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The service of an index.
    pub fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.get(id.index())
    }

    /// The service of that very name. What answers a name, the zone tells: [`follow`](crate::answer::follow).
    pub fn service_by_name(&self, name: &Name) -> Option<ServiceId> {
        self.by_name.get(name).copied()
    }

    /// Names of services and PoPs for metrics.
    pub fn labels(&self) -> &Arc<Labels> {
        &self.labels
    }

    /// Where clients are.
    pub fn clients(&self) -> &ClientMap {
        &self.clients
    }

    /// Name of a PoP.
    pub fn pop_name(&self, pop: PopId) -> Option<&str> {
        self.pops.get(pop.index()).map(|pop| &*pop.name)
    }

    /// Octets that the orders kept so far take; at most 512 MiB.
    pub fn kept_octets(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Octets that the choices kept so far take, under all views, or are set aside for; at most 1 GiB.
    pub fn chosen_octets(&self) -> usize {
        self.chosen.load(Ordering::Relaxed)
    }

    /// Tables of choices in a view: two for each plan, A and AAAA, as far as there is room.
    pub(super) fn tables(&self) -> usize {
        self.room.min(2 * self.plans)
    }

    /// A place to keep choices for a view, of so many places more than the client map has; `None`
    /// when the budget is used up.
    pub(super) fn new_choices(&self, further: usize) -> Option<Choices> {
        Choices::new(&self.clients, further, self.chosen.clone())
    }

    /// Endpoints of all tested PoPs together.
    pub(super) fn endpoint_bits(&self) -> usize {
        let of = |one: &Tested| {
            self.pops
                .get(one.pop.index())
                .map_or(0, |pop| pop.endpoints.len())
        };
        self.tested
            .last()
            .map_or(0, |last| last.first_bit + of(last))
    }

    /// A PoP of a pool by its place in the pool's list.
    pub(super) fn member(&self, pool: &Pool, member: u16) -> Option<&Pop> {
        let pop = pool.members.get(usize::from(member))?;
        self.pops.get(pop.index())
    }
}
