//! Random worlds: PoPs, pools, services, networks, health, clients.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use ipnet::IpNet;
use meridian_config::{
    Check, CheckId, CheckKind, Config, Coordinates, Family, Fence, GeoNetwork, LoadKind,
    LoadSource, Place, Policy, Pool, PoolCheck, PoolId, Pop, PopId, Ratio, ScopeMax, Service,
    Steering as Parameters, Ttl, Weight, Zone,
};
use meridian_geo_data::{
    CellId, ClientMap,
    latency::{Basis, Latency, Measured, Parts},
};
use meridian_health_prober::{
    EndpointHealth, GroupKey, HealthSnapshot, Override, OverrideKind, PopHealth, Verdict,
};
use proptest::{prelude::*, sample::Index};
use tempfile::NamedTempFile;

use super::{
    super::{Demand, Inputs, Standing, Steering, View, balance::Price},
    mmdb::{self, Record},
};
use crate::client::Client;

pub(super) fn place() -> Place {
    let source = Arc::from("");
    Place {
        file: "meridian.toml".into(),
        source,
        span: 0..0,
        key: "test[0]".into(),
    }
}

/// The defaults of the contract.
pub(in crate::steer) fn parameters() -> Parameters {
    Parameters {
        distance: 0.3,
        latency: 0.4,
        load: 0.3,
        tolerance: Duration::from_millis(5),
        answers: 1,
        ttl: Ttl(30),
        ttl_min: None,
        min_health: Ratio(0.5),
        target_load: Ratio(0.7),
        policy: Policy::Score,
        scope_max: ScopeMax { ipv4: 24, ipv6: 56 },
    }
}

pub(super) fn check(name: &str) -> Check {
    Check {
        name: name.into(),
        kind: CheckKind::Tcp,
        port: 80,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        fall: 3,
        rise: 2,
        max_latency: None,
        hold_down: Duration::from_secs(60),
    }
}

pub(in crate::steer) fn pop(name: &str, latitude: f64, longitude: f64, endpoints: &[&str]) -> Pop {
    Pop {
        name: name.into(),
        location: Coordinates {
            latitude,
            longitude,
        },
        weight: Weight(100),
        bias_ms: 0.0,
        endpoints: endpoints.iter().map(|text| text.parse().unwrap()).collect(),
        serves: Fence::default(),
        capacity: None,
        load: None,
        ramp: Duration::ZERO,
    }
}

pub(in crate::steer) fn network(
    prefix: &str,
    place: Option<(f64, f64)>,
    pop: Option<u16>,
) -> GeoNetwork {
    GeoNetwork {
        prefix: prefix.parse().unwrap(),
        location: place.map(|(latitude, longitude)| Coordinates {
            latitude,
            longitude,
        }),
        pop: pop.map(PopId),
    }
}

/// A configuration with one zone `example.` of these services, all over the first pool.
pub(in crate::steer) fn config(
    pops: Vec<Pop>,
    pools: Vec<Pool>,
    services: Vec<Parameters>,
) -> Config {
    let service = |(index, steering): (usize, Parameters)| Service {
        name: format!("s{index}.example.").parse().unwrap(),
        pool: PoolId(0),
        steering,
        at: place(),
    };
    Config {
        zone_folders: Vec::new(),
        steering: parameters(),
        checks: vec![check("edge")],
        pops,
        pools,
        zones: vec![Zone {
            name: "example.".parse().unwrap(),
            file: "example.zone".into(),
            at: place(),
            services: services.into_iter().enumerate().map(service).collect(),
        }],
        ..BASE.clone()
    }
}

/// What no test here looks at, as the smallest configuration has it.
static BASE: LazyLock<Config> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("meridian.toml");
    fs::write(&file, SMALLEST).unwrap();
    fs::write(folder.path().join("example.zone"), "").unwrap();
    meridian_config::load(&file).unwrap()
});

const SMALLEST: &str = r#"
[[pop]]
name = "a"
latitude = 0
longitude = 0
endpoints = ["192.0.2.1"]

[[pool]]
name = "edge"
pops = ["a"]

[[zone]]
name = "example"
file = "example.zone"

[[zone.service]]
name = "www"
pool = "edge"
"#;

pub(in crate::steer) fn pool_of(pops: usize) -> Pool {
    Pool {
        name: "edge".into(),
        check: Some(PoolCheck::one(CheckId(0))),
        pops: (0..pops)
            .map(|at| PopId(u16::try_from(at).unwrap()))
            .collect(),
        fallback: Vec::new(),
        anycast: None,
    }
}

/// A configuration with everything made from it.
pub(in crate::steer) struct World {
    pub(in crate::steer) config: Config,
    pub(in crate::steer) steering: Steering,
    pub(in crate::steer) health: Arc<HealthSnapshot>,
    pub(in crate::steer) view: View,
    /// What was measured, tick by tick; empty: nothing ever.
    pub(in crate::steer) history: Vec<Inputs>,
    /// Kept for those who open it again.
    _database: Option<Arc<NamedTempFile>>,
}

impl World {
    pub(in crate::steer) fn new(config: Config, health: HealthSnapshot) -> Self {
        let clients = Arc::new(ClientMap::open(&config.geo).unwrap());
        let steering = Steering::new(&config, clients);
        let health = Arc::new(health);
        let view = View::new(&steering, Arc::new(Standing::none()), health.clone());
        Self {
            config,
            steering,
            health,
            view,
            _database: None,
            history: Vec::new(),
        }
    }

    /// The same after these ticks.
    pub(super) fn after(mut self, history: Vec<Inputs>) -> Self {
        let standing = lived(&self.steering, &self.health, &history);
        self.view = View::new(&self.steering, Arc::new(standing), self.health.clone());
        self.history = history;
        self
    }

    /// The same, with what the operator's networks leave open filled in by a database.
    pub(super) fn over(
        database: NamedTempFile,
        mut config: Config,
        health: HealthSnapshot,
    ) -> Self {
        config.geo.city = vec![database.path().to_owned()];
        Self {
            _database: Some(Arc::new(database)),
            ..Self::new(config, health)
        }
    }
}

/// The standing that a history of ticks leads to.
pub(in crate::steer) fn lived(
    steering: &Steering,
    health: &HealthSnapshot,
    history: &[Inputs],
) -> Standing {
    let first = Standing::none();
    let tick = |before: Standing, inputs| before.next(steering, health, inputs);
    history.iter().fold(first, tick)
}

/// Health with these verdicts by PoP index and endpoint index; a missing PoP is not yet tested.
pub(super) fn health(
    config: &Config,
    down: &[(usize, Vec<bool>)],
    drained: &[usize],
) -> HealthSnapshot {
    let group = |(at, down): &(usize, Vec<bool>)| {
        let pop = &config.pops[*at];
        let endpoints: Vec<EndpointHealth> = pop
            .endpoints
            .iter()
            .zip(down.iter().chain(std::iter::repeat(&false)))
            .map(|(address, down)| EndpointHealth {
                address: *address,
                verdict: if *down { Verdict::Down } else { Verdict::Up },
                reason: if *down {
                    "refused".into()
                } else {
                    "pass".into()
                },
                since: None,
                rtt: None,
                flips_in: None,
                checks: Vec::new(),
            })
            .collect();
        let usable = endpoints
            .iter()
            .filter(|one| one.verdict.is_usable())
            .count();
        let enough = usable > 0 && usable * 2 >= endpoints.len();
        let verdict = if enough { Verdict::Up } else { Verdict::Down };
        let key = GroupKey {
            pop: pop.name.clone(),
            check: "edge".into(),
        };
        (
            key,
            PopHealth {
                verdict,
                reason: "tested".into(),
                since: None,
                flips_in: None,
                took: None,
                endpoints,
            },
        )
    };
    let drain = |at: &usize| {
        let word = Override {
            kind: OverrideKind::Drain,
            reason: "maintenance".into(),
            since: SystemTime::UNIX_EPOCH,
            until: None,
        };
        (config.pops[*at].name.clone(), word)
    };
    HealthSnapshot {
        generation: 1,
        groups: down.iter().map(group).collect::<BTreeMap<_, _>>(),
        overrides: drained.iter().map(drain).collect(),
        ..HealthSnapshot::default()
    }
}

/// Prefixes that lie in each other, beside each other, and in the ranges with IPv4 inside.
const PREFIXES: [&str; 20] = [
    "10.0.0.0/8",
    "10.16.0.0/12",
    "10.16.32.0/19",
    "10.16.33.0/24",
    "10.16.33.128/25",
    "10.16.33.200/32",
    "10.200.0.0/22",
    "192.0.2.0/24",
    "192.0.2.64/26",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "0.0.0.0/5",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "2001:db8:1:100::/56",
    "2001:db8:1:1ff::/64",
    "2001:db8:1:1ff::42/128",
    "2001::/16",
    "fd00::/8",
    // An operator must write this one as IPv4.
    "2002:c633:6400::/40",
];

/// Places, two of them the same distance from everything else as each other.
const PLACES: [(f64, f64); 9] = [
    (50.1, 8.7),
    (50.1, 8.7),
    (50.4, 9.1),
    (48.9, 2.4),
    (38.9, -77.4),
    (35.7, 139.7),
    (-33.9, 151.2),
    (0.0, 0.0),
    (89.9, 179.9),
];

fn networks() -> impl Strategy<Value = Vec<GeoNetwork>> {
    let one = (
        0..PREFIXES.len() - 1,
        proptest::option::weighted(0.8, 0..PLACES.len()),
        any::<u16>(),
    );
    proptest::collection::vec(one, 0..14).prop_map(|all| {
        let make = |(prefix, place, pin): (usize, Option<usize>, u16)| {
            // One in five pins; one without a place always does.
            let pinned = place.is_none() || pin % 5 == 0;
            network(
                PREFIXES[prefix],
                place.map(|at| PLACES[at]),
                pinned.then_some(pin % 7),
            )
        };
        all.into_iter().map(make).collect()
    })
}

fn fence() -> impl Strategy<Value = Fence> {
    let code = |text: &str| <[u8; 2]>::try_from(text.as_bytes()).unwrap();
    prop_oneof![
        6 => Just(Fence::default()),
        1 => Just(Fence { continents: vec![code("EU")], ..Fence::default() }),
        1 => Just(Fence { countries: vec![code("US"), code("JP")], ..Fence::default() }),
        1 => Just(Fence { exclude_countries: vec![code("DE")], ..Fence::default() }),
    ]
}

/// Load that is told by the operator's own means.
pub(super) fn push() -> LoadSource {
    LoadSource {
        kind: LoadKind::Push,
        interval: Duration::from_secs(30),
        timeout: Duration::ZERO,
    }
}

fn some_pop() -> impl Strategy<Value = Pop> {
    let weight = prop_oneof![Just(0), Just(1), Just(100), Just(100), Just(300)];
    let bias = prop_oneof![4 => Just(0.0), 1 => Just(-20.0), 1 => Just(35.5)];
    // An address of group 0..3 is shared with other PoPs.
    let endpoints = proptest::collection::vec((any::<bool>(), 0..20_u16), 1..5);
    (
        0..PLACES.len(),
        weight,
        bias,
        endpoints,
        fence(),
        any::<bool>(),
    )
        .prop_map(|(place, weight, bias_ms, endpoints, serves, loaded)| Pop {
            name: String::new(),
            location: Coordinates {
                latitude: PLACES[place].0,
                longitude: PLACES[place].1,
            },
            weight: Weight(weight),
            bias_ms,
            endpoints: endpoints
                .into_iter()
                .map(|(v6, number)| address(v6, number))
                .collect(),
            serves,
            capacity: None,
            load: loaded.then(push),
            ramp: Duration::ZERO,
        })
}

fn address(v6: bool, number: u16) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, number))
    } else {
        IpAddr::V4(Ipv4Addr::from_bits(0xc633_6400 | u32::from(number)))
    }
}

fn some_parameters() -> impl Strategy<Value = Parameters> {
    let tolerance = prop_oneof![Just(0), Just(5), Just(40), Just(1_000_000)];
    let policy = prop_oneof![3 => Just(Policy::Score), 1 => Just(Policy::Failover)];
    let v4 = prop_oneof![4 => Just(24_u8), 1 => Just(32), 1 => 1..=32_u8];
    let v6 = prop_oneof![3 => Just(56_u8), 1 => Just(64), 1 => Just(128), 1 => 1..=128_u8];
    let min_health = prop_oneof![Just(0.1), Just(0.5), Just(1.0)];
    let ttl_min = proptest::option::of((0..=30_u32).prop_map(Ttl));
    (
        tolerance,
        1..=4_usize,
        policy,
        (v4, v6),
        min_health,
        ttl_min,
    )
        .prop_map(
            |(tolerance, answers, policy, (ipv4, ipv6), min_health, ttl_min)| Parameters {
                ttl_min,
                tolerance: Duration::from_millis(tolerance),
                answers,
                policy,
                scope_max: ScopeMax { ipv4, ipv6 },
                min_health: Ratio(min_health),
                ..parameters()
            },
        )
}

fn pops() -> impl Strategy<Value = Vec<Pop>> {
    prop_oneof![
        5 => proptest::collection::vec(some_pop(), 1..8),
        // More than an order keeps.
        1 => proptest::collection::vec(some_pop(), 18..30),
    ]
    .prop_map(|mut pops| {
        for (at, pop) in pops.iter_mut().enumerate() {
            // Names in another order than the list.
            pop.name = format!("p{}", at * 7 % 31);
            // Distinct but for the shared ones.
            let own = u16::try_from(at).unwrap() * 20;
            let mut seen = Vec::new();
            for endpoint in &mut pop.endpoints {
                *endpoint = match *endpoint {
                    IpAddr::V4(v4) if v4.octets()[3] > 2 => {
                        IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() + u32::from(own)))
                    }
                    IpAddr::V6(v6) if v6.segments()[7] > 2 => {
                        IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() + u128::from(own)))
                    }
                    shared => shared,
                };
            }
            pop.endpoints.retain(|address| {
                let new = !seen.contains(address);
                seen.push(*address);
                new
            });
        }
        pops
    })
}

/// Countries and places of the random databases.
const RECORDS: [Record; 8] = [
    ("DE", 50.1, 8.7),
    ("DE", 52.5, 13.4),
    ("FR", 48.9, 2.4),
    ("US", 38.9, -77.4),
    ("US", 37.8, -122.4),
    ("JP", 35.7, 139.7),
    ("AU", -33.9, 151.2),
    ("BR", -23.5, -46.6),
];

/// A database that knows some of the prefixes, and some space around them.
fn database() -> impl Strategy<Value = NamedTempFile> {
    let known = (0..PREFIXES.len(), -6..6_i8, 0..RECORDS.len());
    let anywhere = (any::<u128>(), 1..=128_u8, 0..RECORDS.len());
    let all = (
        proptest::collection::vec(known, 0..12),
        proptest::collection::vec(anywhere, 0..6),
    );
    all.prop_map(|(known, anywhere)| {
        let mut prefixes: Vec<(u128, u8, usize)> = Vec::new();
        for (prefix, longer, record) in known {
            let (base, len) = match PREFIXES[prefix].parse().unwrap() {
                IpNet::V4(net) => (u128::from(net.network().to_bits()), 96 + net.prefix_len()),
                IpNet::V6(net) => (net.network().to_bits(), net.prefix_len()),
            };
            prefixes.push((
                base,
                len.saturating_add_signed(longer).clamp(1, 128),
                record,
            ));
        }
        prefixes.extend(anywhere);
        // A database without any record is refused.
        prefixes.push((0x3ff0 << 112, 16, 0));
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(&mmdb::write(&prefixes, &RECORDS)).unwrap();
        file
    })
}

/// A database that knows these IPv4 networks.
pub(super) fn small_database(known: &[(&str, Record)]) -> NamedTempFile {
    let one = |(at, (text, _)): (usize, &(&str, Record))| {
        let net: ipnet::Ipv4Net = text.parse().unwrap();
        (
            u128::from(net.network().to_bits()),
            96 + net.prefix_len(),
            at,
        )
    };
    let prefixes: Vec<_> = known.iter().enumerate().map(one).collect();
    let records: Vec<Record> = known.iter().map(|(_, record)| *record).collect();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&mmdb::write(&prefixes, &records)).unwrap();
    file
}

/// Lets outcomes contradict verdicts of endpoints: how soon they could flip, in seconds.
fn doubt(health: &mut HealthSnapshot, doubted: &[(Index, Index, u64)]) {
    for (group, endpoint, seconds) in doubted {
        let count = health.groups.len().max(1);
        let Some(pop) = health.groups.values_mut().nth(group.index(count)) else {
            continue;
        };
        let at = endpoint.index(pop.endpoints.len());
        pop.endpoints[at].flips_in = Some(Duration::from_secs(*seconds));
    }
}

/// Everything random at once.
pub(in crate::steer) fn world() -> impl Strategy<Value = World> {
    let fallback = proptest::collection::vec((any::<bool>(), 900..904_u16), 0..3);
    let pool = (any::<Index>(), prop::bool::weighted(0.9), fallback);
    let down = proptest::collection::vec(
        (
            any::<Index>(),
            proptest::collection::vec(prop::bool::weighted(0.6), 5),
        ),
        0..8,
    );
    let drained = proptest::collection::vec(any::<Index>(), 0..3);
    let doubted = proptest::collection::vec((any::<Index>(), any::<Index>(), 1..40_u64), 0..4);
    let services = proptest::collection::vec(some_parameters(), 1..4);
    (
        pops(),
        pool,
        services,
        (networks(), database()),
        (down, drained, doubted),
    )
        .prop_map(
            |(
                pops,
                (rotate, checked, fallback),
                services,
                (networks, database),
                (down, drained, doubted),
            )| {
                let count = pops.len();
                let mut pool = pool_of(count);
                pool.pops.rotate_left(rotate.index(count));
                pool.pops.truncate(count.max(2) - 1 + rotate.index(2));
                pool.check = checked.then_some(PoolCheck::one(CheckId(0)));
                pool.fallback = fallback.into_iter().map(|(v6, n)| address(v6, n)).collect();
                let mut config = config(pops, vec![pool], services);
                config.geo.networks = networks;
                for network in &mut config.geo.networks {
                    let fold = |pop: PopId| PopId(pop.0 % u16::try_from(count).unwrap());
                    network.pop = network.pop.map(fold);
                }
                let down: Vec<_> = down
                    .into_iter()
                    .map(|(at, down)| (at.index(count), down))
                    .collect();
                let drained: Vec<_> = drained.into_iter().map(|at| at.index(count)).collect();
                let mut health = health(&config, &down, &drained);
                doubt(&mut health, &doubted);
                config.geo.city = vec![database.path().to_owned()];
                let world = World::new(config, health);
                World {
                    _database: Some(Arc::new(database)),
                    ..world
                }
            },
        )
}

/// What may be judged apart from its cell.
const EXCEPTIONS: [&str; 8] = [
    "10.16.33.0/24",
    "10.16.34.0/24",
    "10.200.1.0/24",
    "192.0.2.0/24",
    "198.51.100.0/24",
    "8.8.8.0/24",
    "2001:db8:1::/48",
    "2001:db8:7::/48",
];

/// Round trips to a few columns, some of them of PoPs.
fn row() -> impl Strategy<Value = Vec<Measured>> {
    let ms = prop_oneof![Just(1.0_f32), Just(40.0), 2.0..300.0_f32];
    proptest::collection::vec((0..8_u16, ms, 20..99_u32), 0..5).prop_map(|mut all| {
        all.sort_by_key(|(column, _, _)| *column);
        all.dedup_by_key(|(column, _, _)| *column);
        let one = |(column, ms, samples)| Measured {
            column,
            basis: Basis::Cell,
            p25_ms: ms,
            ms,
            samples,
            age_s: 7,
        };
        all.into_iter().map(one).collect()
    })
}

fn price() -> impl Strategy<Value = Price> {
    let price = prop_oneof![3 => Just(0.0_f32), 1 => 0.0..200.0_f32];
    let ramp = prop_oneof![6 => Just(1.0_f32), 1 => 0.02..1.0_f32];
    // Never known, silent, known.
    let own = prop_oneof![
        Just((false, false)),
        Just((false, true)),
        Just((true, true))
    ];
    (price, 0.1..1.0_f32, ramp, own).prop_map(|(price_ms, free, ramp, (known, own))| Price {
        price_ms,
        free,
        ramp,
        known,
        own,
    })
}

/// What a tick may find measured, for up to 30 PoPs and cells.
pub(in crate::steer) fn some_inputs() -> impl Strategy<Value = Inputs> {
    let columns = proptest::collection::vec(0..9_usize, 8);
    let cells = proptest::collection::vec((0..24_u32, row()), 0..24);
    let exceptions = proptest::collection::vec((0..EXCEPTIONS.len(), row()), 0..6);
    let prices = proptest::collection::vec(price(), 0..30);
    let demand = proptest::collection::vec(0.0..50.0_f32, 0..40);
    (columns, cells, exceptions, prices, demand).prop_map(
        |(columns, cells, mut exceptions, prices, demand)| {
            let column = |at: (usize, usize)| match at.1 {
                8 => format!("anycast:{}", at.0).into(),
                pop => format!("p{}", (at.0 * 8 + pop) * 7 % 31).into(),
            };
            exceptions.sort_by_key(|(at, _)| *at);
            exceptions.dedup_by_key(|(at, _)| *at);
            let prefix = |(at, row): (usize, Vec<Measured>)| {
                let prefix: IpNet = EXCEPTIONS[at].parse().unwrap();
                (prefix, row)
            };
            let entry = |(cell, row): (u32, Vec<Measured>)| {
                row.into_iter().map(move |one| (CellId(cell), one))
            };
            let latency = Latency::new(Parts {
                generation: 1,
                columns: columns.into_iter().enumerate().map(column).collect(),
                cells: cells.into_iter().flat_map(entry).collect(),
                exceptions: exceptions.into_iter().map(prefix).collect(),
                ..Parts::default()
            });
            Inputs {
                latency: Arc::new(latency),
                prices: prices.into(),
                demand: Arc::new(Demand::new(demand, Vec::new(), Vec::new())),
            }
        },
    )
}

/// A world in which something is measured, after up to three ticks.
pub(in crate::steer) fn moving_world() -> impl Strategy<Value = World> {
    let history = proptest::collection::vec(some_inputs(), 1..4);
    (world(), history).prop_map(|(world, history)| world.after(history))
}

/// With and without anything measured.
pub(super) fn any_world() -> impl Strategy<Value = World> {
    prop_oneof![world(), moving_world()]
}

/// Addresses where things change: in and beside the networks, in the ranges with IPv4 inside, and
/// anywhere.
pub(in crate::steer) fn some_address() -> impl Strategy<Value = IpAddr> {
    let beside = (0..PREFIXES.len(), any::<u128>(), 0..40_u32, any::<bool>()).prop_map(
        |(prefix, noise, shift, outside)| {
            let net: IpNet = PREFIXES[prefix].parse().unwrap();
            match net {
                IpNet::V4(net) => {
                    let noise = u32::try_from(noise & 0xffff_ffff).unwrap();
                    let host = noise.checked_shr(u32::from(net.prefix_len())).unwrap_or(0);
                    let bits = net.network().to_bits() | host;
                    let flip = u32::from(outside).checked_shl(shift.min(31)).unwrap_or(0);
                    IpAddr::V4(Ipv4Addr::from_bits(bits ^ flip))
                }
                IpNet::V6(net) => {
                    let host = noise.checked_shr(u32::from(net.prefix_len())).unwrap_or(0);
                    let bits = net.network().to_bits() | host;
                    IpAddr::V6(Ipv6Addr::from_bits(
                        bits ^ (u128::from(outside) << (shift * 3)),
                    ))
                }
            }
        },
    );
    let v4 = prop_oneof![
        any::<u32>(),
        (0..0x0040_0000_u32).prop_map(|low| 0x0a00_0000 | (low * 4))
    ];
    let inside = (v4, 0..4_u8, any::<u64>()).prop_map(|(v4, how, noise)| {
        let bits = u128::from(v4);
        IpAddr::V6(Ipv6Addr::from_bits(match how {
            0 => 0xffff_0000_0000 | bits,
            1 => 0x0064_ff9b << 96 | bits,
            2 => 0x2002 << 112 | bits << 80 | u128::from(noise),
            _ => 0x2001_0000 << 96 | u128::from(noise) << 32 | u128::from(!v4),
        }))
    });
    prop_oneof![
        4 => beside,
        1 => any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        1 => any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
        1 => any::<u64>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(u128::from(bits)))),
        2 => inside,
    ]
}

/// Clients as resolvers send them: prefixes of every length, host bits zero.
pub(super) fn some_client() -> impl Strategy<Value = Client> {
    let v4 = prop_oneof![3 => Just(24_u8), 1 => Just(32), 3 => 1..=32_u8];
    let v6 = prop_oneof![3 => Just(56_u8), 1 => Just(64), 1 => Just(128), 3 => 1..=128_u8];
    (some_address(), v4, v6, prop::bool::weighted(0.2)).prop_map(|(address, v4, v6, plain)| {
        if plain {
            return Client::from_source(address);
        }
        let len = if address.is_ipv4() { v4 } else { v6 };
        let cut = super::super::block::truncate(address, len);
        Client::from_ecs(cut, len, address)
    })
}

/// The client whose every bit is known.
pub(super) fn exactly(address: IpAddr) -> Client {
    Client::from_ecs(address, if address.is_ipv4() { 32 } else { 128 }, address)
}

/// `inside` with its first `len` bits exchanged for those of `address`.
pub(super) fn within(address: IpAddr, len: u8, inside: u128) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(len.into()).unwrap_or(0);
            let noise = u32::try_from(inside & 0xffff_ffff).unwrap();
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & !host | noise & host))
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(len.into()).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !host | inside & host))
        }
    }
}

pub(super) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
