//! Worlds for a whole server: towns of client prefixes, PoPs that they fill, resolvers that keep answers.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use jiff::Timestamp;
use meridian_config::{Family, PopId};
use meridian_dns::{client::Client, types::ServiceId};

use crate::runtime::load::{self, Loaded};

/// SplitMix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn real(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(super) fn below(&mut self, most: usize) -> usize {
        (self.bits() % most.max(1) as u64) as usize
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.real(0.0, 1.0)).sum::<f64>() - 6.0
    }

    fn near(&mut self, (latitude, longitude): (f64, f64), spread: f64) -> (f64, f64) {
        let latitude = (latitude + spread * self.normal()).clamp(-80.0, 80.0);
        let longitude = longitude + spread * self.normal();
        (latitude, (longitude + 540.0).rem_euclid(360.0) - 180.0)
    }
}

/// What a world is drawn from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) seed: u64,
    pub(super) pops: usize,
    pub(super) towns: usize,
    /// Demand ÷ (target × capacity), in all.
    pub(super) filled: f64,
    /// Of the services, ms.
    pub(super) tolerance: [u32; 2],
    /// The second service's pool has an anycast address.
    pub(super) hybrid: bool,
}

/// Limits of the two services.
pub(super) const TARGETS: [f64; 2] = [0.7, 0.6];

/// Clients behind one resolver, all in one block of addresses.
pub(super) struct Crowd {
    pub(super) client: Client,
    pub(super) family: Family,
    pub(super) service: ServiceId,
    pub(super) demand: f64,
    /// For how many ticks the resolver keeps an answer, and when it asks first.
    pub(super) kept: usize,
    pub(super) phase: usize,
    /// Where BGP leads it.
    pub(super) nearest: PopId,
}

/// A configuration with its clients.
pub(super) struct World {
    pub(super) loaded: Loaded,
    pub(super) crowds: Vec<Crowd>,
    /// The second service has an anycast address.
    pub(super) hybrid: bool,
    pub(super) capacity: Vec<f64>,
    /// What each PoP must not stay above.
    pub(super) target: Vec<f64>,
    _folder: tempfile::TempDir,
}

/// A cell of clients.
struct Town {
    place: (f64, f64),
    /// /24s of it.
    blocks: usize,
    /// PoPs, the nearest first.
    near: Vec<usize>,
}

impl World {
    pub(super) fn new(size: Size) -> Self {
        let mut dice = Dice(size.seed);
        let metros: Vec<(f64, f64)> = (0..(size.pops / 2).clamp(3, 20))
            .map(|_| (dice.real(-40.0, 60.0), dice.real(-180.0, 180.0)))
            .collect();
        let mut near_metro = |spread| {
            let metro = metros[dice.below(metros.len())];
            dice.near(metro, spread)
        };
        let pops: Vec<(f64, f64)> = (0..size.pops).map(|_| near_metro(2.0)).collect();
        let places: Vec<(f64, f64)> = (0..size.towns).map(|_| near_metro(4.0)).collect();
        let towns: Vec<Town> = places
            .into_iter()
            .map(|place| {
                let pareto = dice.real(0.0, 1.0).max(1e-3).powf(-1.0 / 1.15);
                let blocks = (8.0 * pareto) as usize;
                let mut near: Vec<usize> = (0..pops.len()).collect();
                near.sort_by(|a, b| km(place, pops[*a]).total_cmp(&km(place, pops[*b])));
                Town {
                    place,
                    blocks: blocks.next_power_of_two().min(256),
                    near,
                }
            })
            .collect();
        let crowds = crowds(&mut dice, &towns);
        let target = targets(size.pops);
        let capacity = capacity(&mut dice, &towns, &crowds, &target, size.filled);
        let folder = tempfile::tempdir().unwrap();
        let text = text(size, &pops, &towns, &capacity);
        let loaded = load(&folder, &text);
        Self {
            loaded,
            crowds,
            hybrid: size.hybrid,
            capacity,
            target,
            _folder: folder,
        }
    }

    pub(super) fn pops(&self) -> usize {
        self.capacity.len()
    }
}

/// The PoPs of the second service: two of three.
pub(super) fn in_second(pop: usize) -> bool {
    pop % 3 != 2
}

/// A PoP without IPv6.
fn is_old(pop: usize) -> bool {
    pop == 1
}

fn targets(pops: usize) -> Vec<f64> {
    let of = |pop| {
        if in_second(pop) {
            TARGETS[1]
        } else {
            TARGETS[0]
        }
    };
    (0..pops).map(of).collect()
}

fn km(a: (f64, f64), b: (f64, f64)) -> f64 {
    let turn = (b.1 - a.1).to_radians();
    let (a, b) = (a.0.to_radians(), b.0.to_radians());
    let h = ((b - a) / 2.0).sin().powi(2) + a.cos() * b.cos() * (turn / 2.0).sin().powi(2);
    2.0 * 6371.0 * h.sqrt().min(1.0).asin()
}

/// Each block asks for both services, in one family; the second one is asked less.
fn crowds(dice: &mut Dice, towns: &[Town]) -> Vec<Crowd> {
    let mut all = Vec::new();
    for (at, town) in towns.iter().enumerate() {
        for block in 0..town.blocks {
            let v6 = block % 4 == 3;
            let (address, length, family) = if v6 {
                (six(at, block), 56, Family::V6)
            } else {
                (four(at, block), 24, Family::V4)
            };
            for (service, share) in [(0, 1.0), (1, 0.4)] {
                let kept = 3 + dice.below(28);
                let second = town.near.iter().find(|pop| in_second(**pop)).unwrap();
                let nearest = if service == 0 { town.near[0] } else { *second };
                all.push(Crowd {
                    client: Client::from_ecs(address, length, address),
                    family,
                    service: ServiceId(service),
                    demand: share * dice.real(0.5, 1.5),
                    kept,
                    phase: dice.below(kept),
                    nearest: PopId(nearest as u16),
                });
            }
        }
    }
    all
}

fn four(town: usize, block: usize) -> IpAddr {
    Ipv4Addr::new(20, town as u8, block as u8, 0).into()
}

fn six(town: usize, block: usize) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, town as u16, (block as u16) << 8, 0, 0, 0, 0).into()
}

/// Operators build in the middle of several towns, and not exactly as large as they should.
fn capacity(
    dice: &mut Dice,
    towns: &[Town],
    crowds: &[Crowd],
    target: &[f64],
    filled: f64,
) -> Vec<f64> {
    let blocks: usize = towns.iter().map(|town| town.blocks).sum();
    let mut near = vec![blocks as f64 / target.len() as f64 / 4.0; target.len()];
    for town in towns {
        for pop in town.near.iter().take(3) {
            near[*pop] += town.blocks as f64 / 3.0;
        }
    }
    let rough: Vec<f64> = near.iter().map(|one| one * dice.real(0.5, 1.5)).collect();
    let room: f64 = rough
        .iter()
        .zip(target)
        .map(|(one, target)| one * target)
        .sum();
    let demand: f64 = crowds.iter().map(|crowd| crowd.demand).sum();
    rough
        .iter()
        .map(|one| one * demand / filled / room)
        .collect()
}

fn text(size: Size, pops: &[(f64, f64)], towns: &[Town], capacity: &[f64]) -> String {
    let mut text = String::from("[server]\nlisten = [\"127.0.0.1:0\"]\n");
    for name in ["web", "api"] {
        writeln!(text, "[check.{name}]\ntype = \"tcp\"\nport = 80").unwrap();
    }
    for (at, town) in towns.iter().enumerate() {
        for prefix in [format!("20.{at}.0.0/16"), format!("2001:db8:{at:x}::/48")] {
            let (latitude, longitude) = town.place;
            writeln!(
                text,
                "[[geo.network]]\nprefix = \"{prefix}\"\nlatitude = {latitude:.4}\nlongitude = {longitude:.4}"
            )
            .unwrap();
        }
    }
    for (at, ((latitude, longitude), capacity)) in pops.iter().zip(capacity).enumerate() {
        let six = format!(", \"2001:db8:ffff::{:x}\"", at + 1);
        let six = if is_old(at) { "" } else { &six };
        writeln!(
            text,
            "[[pop]]\nname = \"p{at}\"\nlatitude = {latitude:.4}\nlongitude = {longitude:.4}\n\
             capacity = {capacity:.3}\nload = {{ push = true }}\nramp = \"10m\"\n\
             endpoints = [\"198.18.0.{}\"{six}]",
            at + 1
        )
        .unwrap();
    }
    let names = |listed: &dyn Fn(usize) -> bool| -> String {
        let listed = (0..pops.len()).filter(|at| listed(*at));
        listed.map(|at| format!("\"p{at}\",")).collect()
    };
    let anycast = "anycast = [\"198.19.0.1\", \"2001:db8:fffe::1\"]";
    writeln!(
        text,
        "[[pool]]\nname = \"web\"\ncheck = \"web\"\npops = [{}]\n\
         [[pool]]\nname = \"api\"\ncheck = \"api\"\npops = [{}]\n{}\n\
         [[zone]]\nname = \"example.com\"\nfile = \"example.com.zone\"\n\
         [[zone.service]]\nname = \"www\"\npool = \"web\"\ntolerance = \"{}ms\"\ntarget_load = {}\n\
         [[zone.service]]\nname = \"api\"\npool = \"api\"\ntolerance = \"{}ms\"\ntarget_load = {}",
        names(&|_| true),
        names(&in_second),
        if size.hybrid { anycast } else { "" },
        size.tolerance[0],
        TARGETS[0],
        size.tolerance[1],
        TARGETS[1],
    )
    .unwrap();
    text
}

fn load(folder: &tempfile::TempDir, text: &str) -> Loaded {
    let zone = "$TTL 300\n@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.53\n";
    fs::write(folder.path().join("example.com.zone"), zone).unwrap();
    let path = folder.path().join("meridian.toml");
    fs::write(&path, text).unwrap();
    load::load(&path, None, None, Timestamp::UNIX_EPOCH).unwrap()
}
