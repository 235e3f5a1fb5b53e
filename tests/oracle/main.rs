//! Meridian against gdnsd's geoip plugin: same PoPs, same database, same questions.
//!
//! Some clients are in operator networks, some are IPv4 addresses written as IPv6 ones.
//!
//! For every question the same PoP must be answered, or one so little farther from the client's
//! place that the cell explains it. Our scope must hold: every address inside it gets the identical
//! answer, and that answer is right for the address. Scopes need not be equal; how many there are is
//! compared in `scopes`.
//!
//! `MERIDIAN_ORACLE_FILES` (paths, separated by colons) takes real databases in place of the
//! made-up one; `MERIDIAN_ORACLE_QUERIES` sets the number of questions.

mod gdnsd;
mod scopes;
mod world;

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use gdnsd::Gdnsd;
use ipnet::IpNet;
use meridian_config::Coordinates;
use meridian_dns::{
    answer::{Meta, Outcome, Transport, respond},
    snapshot::Snapshot,
    steer::{Standing, View},
    types::UnixTime,
};
use meridian_geo_data::{ClientMap, distance::haversine_km, fold};
use meridian_health_prober::HealthSnapshot;
use meridian_tests::{dns, peer, scratch};
use world::{Random, World, any_of};

/// The zone both serve.
const ZONE: &str = "oracle.example";

/// Twice the side of a cell: two PoPs whose distances from a client differ by less may change
/// places when the client is moved to the centre of its cell.
const CELL_ERROR_KM: f64 = 50.0;

/// Addresses tried within each scope.
const SAMPLES: usize = 6;

/// A PoP as both know it.
pub(crate) struct Pop {
    name: &'static str,
    at: Coordinates,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

fn pops() -> Vec<Pop> {
    let places = [
        ("fra", 50.03, 8.57),
        ("iad", 38.95, -77.45),
        ("nrt", 35.77, 140.39),
        ("sin", 1.36, 103.99),
        ("gru", -23.43, -46.47),
        ("syd", -33.95, 151.18),
        ("jnb", -26.13, 28.24),
        ("sjc", 37.36, -121.93),
        ("bom", 19.09, 72.87),
        ("arn", 59.65, 17.92),
        ("mad", 40.47, -3.57),
        ("dfw", 32.90, -97.04),
    ];
    let numbered = places.into_iter().zip(1_u8..);
    numbered
        .map(|((name, latitude, longitude), number)| Pop {
            name,
            at: Coordinates {
                latitude,
                longitude,
            },
            v4: Ipv4Addr::new(192, 0, 2, number),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()),
        })
        .collect()
}

/// Meridian in this process.
struct Meridian(Snapshot);

impl Meridian {
    /// `steering` is what stands under `[steering]`.
    fn new(folder: &Path, world: &World, pops: &[Pop], steering: &str) -> Self {
        let mut text = format!("[geo]\ncity = {:?}\n[steering]\n{steering}\n", world.city);
        for pop in pops {
            text.push_str(&format!(
                "[[pop]]\nname = \"{}\"\nlatitude = {:?}\nlongitude = {:?}\nendpoints = [\"{}\", \"{}\"]\n",
                pop.name, pop.at.latitude, pop.at.longitude, pop.v4, pop.v6
            ));
        }
        for (net, pop) in &world.pinned {
            let pop = pops[*pop].name;
            text.push_str(&format!(
                "[[geo.network]]\nprefix = \"{net}\"\npop = \"{pop}\"\n"
            ));
        }
        let names: Vec<&str> = pops.iter().map(|pop| pop.name).collect();
        text.push_str(&format!("[[pool]]\nname = \"edge\"\npops = {names:?}\n"));
        text.push_str(&format!("[[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\n"));
        text.push_str("[[zone.service]]\nname = \"www\"\npool = \"edge\"\n");
        fs::write(
            folder.join("zone"),
            "@ 3600 SOA ns hostmaster 1 7200 1800 259200 900\n@ 3600 NS ns\nns 3600 A 127.0.0.1\n",
        )
        .expect("a zone");
        let path = folder.join("meridian.toml");
        fs::write(&path, text).expect("a configuration");
        let config = meridian_config::load(&path).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let clients = ClientMap::open(&config.geo).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        println!("{clients:?}");
        let built = meridian_dns::build::build(&config, Arc::new(clients))
            .unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let view = View::new(
            &built.steering,
            Arc::new(Standing::none()),
            Arc::new(HealthSnapshot::default()),
        );
        Self(Snapshot {
            generation: 1,
            zones: built.zones,
            steering: built.steering,
            view: Arc::new(view),
            identity: built.identity,
        })
    }

    fn ask(&self, query: &[u8]) -> Answer {
        let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 53_535));
        let mut out = Vec::new();
        let meta = Meta {
            source,
            transport: Transport::Udp,
            now: UnixTime::default(),
        };
        let outcome = respond(&self.0, query, &meta, &mut out);
        assert!(matches!(outcome, Outcome::Reply(_)), "{outcome:?}");
        Answer::of(&dns::decode(&out).expect("a reply"))
    }
}

/// What matters of a reply.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    addresses: Vec<IpAddr>,
    scope: u8,
}

impl Answer {
    fn of(reply: &hickory_proto::op::Message) -> Self {
        let (_, _, scope) = dns::subnet(reply).unwrap_or_else(|| panic!("no ECS in {reply}"));
        Self {
            addresses: dns::addresses(reply),
            scope,
        }
    }

    fn pop<'a>(&self, pops: &'a [Pop]) -> &'a Pop {
        let [one] = self.addresses[..] else {
            panic!("not one address: {:?}", self.addresses)
        };
        let found = pops
            .iter()
            .find(|pop| one == IpAddr::V4(pop.v4) || one == IpAddr::V6(pop.v6));
        found.unwrap_or_else(|| panic!("{one} is no PoP's"))
    }
}

/// One question: a client prefix and a type.
struct Question {
    prefix: IpNet,
    rtype: &'static str,
}

impl Question {
    fn random(world: &World, random: &mut Random) -> Self {
        let v4 = random.below(2) == 0;
        let address = world.address(random, v4);
        let shortest = if v4 { 8 } else { 16 };
        let longest = if v4 { 32 } else { 128 };
        // What resolvers send, half of the time.
        let len = match random.below(2) {
            0 => {
                if v4 {
                    24
                } else {
                    56
                }
            }
            _ => shortest + random.below(u64::from(longest - shortest) + 1) as u8,
        };
        let prefix = match embed(address, random) {
            Some((v6, offset)) => IpNet::new(v6, (offset + len).min(128)).expect("a prefix"),
            None => IpNet::new(address, len).expect("a prefix"),
        };
        let prefix = prefix.trunc();
        let rtype = if random.below(2) == 0 { "A" } else { "AAAA" };
        Self { prefix, rtype }
    }

    fn to_wire(&self) -> Vec<u8> {
        let text = format!("{}/{}", self.prefix.network(), self.prefix.prefix_len());
        dns::question(&format!("www.{ZONE}"), self.rtype)
            .ecs(&text)
            .to_wire()
    }
}

/// One IPv4 address in eight, written in one of the forms that hold it in an IPv6 address, with
/// the bit at which it stands.
fn embed(address: IpAddr, random: &mut Random) -> Option<(IpAddr, u8)> {
    let IpAddr::V4(v4) = address else { return None };
    if random.below(8) != 0 {
        return None;
    }
    let bits = u128::from(v4.to_bits());
    let (v6, offset) = match random.below(4) {
        0 => (0xffff << 32 | bits, 96),
        1 => (0x0064_ff9b << 96 | bits, 96),
        2 => (0x2002 << 112 | bits << 80, 16),
        _ => (0x2001_0000 << 96 | u128::from(!v4.to_bits()), 96),
    };
    Some((Ipv6Addr::from_bits(v6).into(), offset))
}

/// What was seen.
#[derive(Default)]
struct Tally {
    same: u64,
    explained: u64,
    unlocated: u64,
    pinned: u64,
    worst_km: f64,
    wrong: Vec<String>,
    ours: BTreeMap<u8, u64>,
    theirs: BTreeMap<u8, u64>,
}

#[test]
fn the_same_pop_as_gdnsd_and_no_scope_too_wide() {
    let Some(program) = peer("gdnsd") else { return };
    let folder = scratch();
    let mut random = Random(20_261_120);
    let mut world = World::given(folder.path(), &mut random);
    let pops = pops();
    world.pin(pops.len(), &mut random);
    let exact = "tolerance = \"0ms\"\nscope_max = { ipv4 = 32, ipv6 = 128 }";
    let meridian = Meridian::new(folder.path(), &world, &pops, exact);
    let gdnsd = Gdnsd::start(&program, folder.path(), &world, &pops, 1);
    let queries = std::env::var("MERIDIAN_ORACLE_QUERIES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(25_000);
    let mut tally = Tally::default();
    for _ in 0..queries {
        let question = Question::random(&world, &mut random);
        let ours = meridian.ask(&question.to_wire());
        let theirs = Answer::of(&gdnsd.ask(&question.to_wire()).expect("gdnsd answers"));
        compare(&mut tally, &world, &pops, &question, &ours, &theirs);
        judge_scope(
            &mut tally,
            &world,
            &pops,
            &meridian,
            &question,
            &ours,
            &mut random,
        );
    }
    report(&tally, queries);
    assert!(
        tally.wrong.is_empty(),
        "{} wrong, the first:\n{}",
        tally.wrong.len(),
        tally.wrong[..tally.wrong.len().min(10)].join("\n")
    );
    assert!(
        tally.explained * 100 <= queries,
        "more than one in a hundred differ"
    );
}

fn compare(
    tally: &mut Tally,
    world: &World,
    pops: &[Pop],
    question: &Question,
    ours: &Answer,
    theirs: &Answer,
) {
    let v4 = question.prefix.addr().is_ipv4();
    *tally.ours.entry(scope_class(ours.scope, v4)).or_default() += 1;
    *tally
        .theirs
        .entry(scope_class(theirs.scope, v4))
        .or_default() += 1;
    let (mine, other) = (ours.pop(pops), theirs.pop(pops));
    if let Some(pop) = world.pinned(judged(question.prefix)) {
        tally.pinned += 1;
        if mine.name != pops[pop].name || other.name != mine.name {
            tally.wrong.push(format!(
                "{}: {} and {} for a client pinned to {}",
                question.prefix, mine.name, other.name, pops[pop].name
            ));
        }
        return;
    }
    let Some(place) = world.place(judged(question.prefix)) else {
        // Both answer in configured order.
        tally.unlocated += 1;
        if mine.name != other.name {
            tally.wrong.push(format!(
                "{}: {} ≠ {} for a client without a place",
                question.prefix, mine.name, other.name
            ));
        }
        return;
    };
    if mine.name == other.name {
        tally.same += 1;
        return;
    }
    let km = (haversine_km(place, mine.at) - haversine_km(place, other.at)).abs();
    tally.explained += 1;
    tally.worst_km = tally.worst_km.max(km);
    if km >= CELL_ERROR_KM {
        tally.wrong.push(format!(
            "{}: {} ≠ {}, {km:.0} km apart",
            question.prefix, mine.name, other.name
        ));
    }
}

/// Tries addresses all over the scope of our answer.
fn judge_scope(
    tally: &mut Tally,
    world: &World,
    pops: &[Pop],
    meridian: &Meridian,
    question: &Question,
    ours: &Answer,
    random: &mut Random,
) {
    let scope = IpNet::new(question.prefix.network(), ours.scope)
        .expect("a prefix")
        .trunc();
    for sample in 0..SAMPLES {
        let address = inside(scope, sample, random);
        let len = if address.is_ipv4() { 32 } else { 128 };
        let exact = Question {
            prefix: IpNet::new(address, len).expect("a prefix"),
            rtype: question.rtype,
        };
        let again = meridian.ask(&exact.to_wire());
        if again != *ours {
            tally.wrong.push(format!(
                "{address} in scope {scope} of {}: {again:?} ≠ {ours:?}",
                question.prefix
            ));
        }
        if let Some(pop) = world.pinned(judged(exact.prefix)) {
            if ours.pop(pops).name != pops[pop].name {
                tally.wrong.push(format!(
                    "{address} in scope {scope} is pinned to {}",
                    pops[pop].name
                ));
            }
            continue;
        }
        let Some(place) = world.place(judged(exact.prefix)) else {
            continue;
        };
        let nearest = pops
            .iter()
            .map(|pop| haversine_km(place, pop.at))
            .fold(f64::INFINITY, f64::min);
        let km = haversine_km(place, ours.pop(pops).at) - nearest;
        if km >= CELL_ERROR_KM {
            tally.wrong.push(format!(
                "{address} in scope {scope}: {} is {km:.0} km too far",
                ours.pop(pops).name
            ));
        }
    }
}

/// An address of `network`: the first, the last, then any.
fn inside(network: IpNet, sample: usize, random: &mut Random) -> IpAddr {
    match sample {
        0 => network.network(),
        1 => network.broadcast(),
        _ => any_of(network, random),
    }
}

/// The address by which a client prefix is judged.
fn judged(prefix: IpNet) -> IpAddr {
    fold(prefix.network()).1
}

/// Scopes are counted by four bits; IPv6 above 100.
fn scope_class(scope: u8, v4: bool) -> u8 {
    let class = scope.div_ceil(4) * 4;
    if v4 { class } else { class + 100 }
}

fn report(tally: &Tally, queries: u64) {
    println!(
        "{queries} questions: {} the same PoP, {} another within the cell error (at most {:.1} km farther), {} without a place, {} in operator networks",
        tally.same, tally.explained, tally.worst_km, tally.unlocated, tally.pinned
    );
    for (who, scopes) in [("Meridian", &tally.ours), ("gdnsd", &tally.theirs)] {
        for (family, classes) in [("IPv4", 0..=99_u8), ("IPv6", 100..=255)] {
            let base = *classes.start();
            let shown = |(class, count): (&u8, &u64)| format!("≤/{}: {count}", class - base);
            let text: Vec<String> = scopes.range(classes).map(shown).collect();
            println!("scopes of {who}, {family}: {}", text.join("  "));
        }
    }
}
