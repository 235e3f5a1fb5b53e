//! The ground truth: networks with places, made up or read from real files.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use meridian_config::Coordinates;
use meridian_geo_data::each_network;
use meridian_tests::mmdb_writer::{Value, Writer};

/// Networks with places, and the files that say so.
pub(crate) struct World {
    pub(crate) v4: Vec<Network<u32>>,
    pub(crate) v6: Vec<Network<u128>>,
    pub(crate) places: Vec<Place>,
    /// Operator networks, each pinned to a PoP, by its index; nested ones among them.
    pub(crate) pinned: Vec<(IpNet, usize)>,
    /// Databases for Meridian.
    pub(crate) city: Vec<PathBuf>,
    /// The same for gdnsd: MaxMind's schema, both families in one file.
    pub(crate) merged: PathBuf,
}

/// First address, last address, index of the place.
pub(crate) struct Network<A> {
    pub(crate) first: A,
    pub(crate) last: A,
    pub(crate) place: u32,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Place {
    pub(crate) at: Coordinates,
    pub(crate) country: [u8; 2],
}

/// splitmix64: the same sequence in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    /// In 0..1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl World {
    /// The one that `MERIDIAN_ORACLE_FILES` names, else a made-up one.
    pub(crate) fn given(folder: &Path, random: &mut Random) -> Self {
        match std::env::var_os("MERIDIAN_ORACLE_FILES") {
            Some(files) => {
                let files: Vec<PathBuf> = std::env::split_paths(&files).collect();
                Self::read(&files, folder)
            }
            None => Self::generate(folder, random),
        }
    }

    /// Makes up a world: the address space cut at random, towns around a few hundred centres, and
    /// neighbouring networks often in the same town, as in life.
    pub(crate) fn generate(folder: &Path, random: &mut Random) -> Self {
        let places = towns(random);
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        let mut place = 0;
        let pick = |random: &mut Random, place: &mut u32| {
            if random.below(3) == 0 {
                *place = random.below(places.len() as u64) as u32;
            }
            // Part of the space belongs to nobody.
            (random.below(12) != 0).then_some(*place)
        };
        cut(random, 0, 0, 26, &mut |random, bits, len| {
            if let Some(place) = pick(random, &mut place) {
                let first = (bits >> 96) as u32;
                v4.push(Network {
                    first,
                    last: first | u32::MAX.checked_shr(len.into()).unwrap_or(0),
                    place,
                });
            }
        });
        cut(random, 0x2000 << 112, 3, 64, &mut |random, bits, len| {
            if let Some(place) = pick(random, &mut place) {
                v6.push(Network {
                    first: bits,
                    last: bits | u128::MAX >> len,
                    place,
                });
            }
        });
        let merged = folder.join("GeoIP2-City.mmdb");
        let world = Self {
            v4,
            v6,
            places,
            pinned: Vec::new(),
            city: vec![merged.clone()],
            merged,
        };
        world.write_merged();
        world
    }

    /// Reads real databases of any schema.
    pub(crate) fn read(files: &[PathBuf], folder: &Path) -> Self {
        let mut world = Self {
            v4: Vec::new(),
            v6: Vec::new(),
            places: Vec::new(),
            pinned: Vec::new(),
            city: files.to_vec(),
            merged: folder.join("GeoIP2-City.mmdb"),
        };
        let mut known = std::collections::HashMap::new();
        for file in files {
            let read = each_network(file, |network, at, country| {
                let (Some(at), Some(country)) = (at, country) else {
                    return;
                };
                let key = (at.latitude.to_bits(), at.longitude.to_bits(), country);
                let place = *known.entry(key).or_insert_with(|| {
                    world.places.push(Place { at, country });
                    (world.places.len() - 1) as u32
                });
                match network {
                    IpNet::V4(net) => world.v4.push(Network {
                        first: net.network().to_bits(),
                        last: net.broadcast().to_bits(),
                        place,
                    }),
                    IpNet::V6(net) => world.v6.push(Network {
                        first: net.network().to_bits(),
                        last: net.broadcast().to_bits(),
                        place,
                    }),
                }
            });
            read.unwrap_or_else(|mistake| panic!("{mistake}"));
        }
        world.write_merged();
        world
    }

    fn write_merged(&self) {
        let mut writer = Writer::new(6, "GeoIP2-City");
        let records: Vec<Value> = self
            .places
            .iter()
            .map(|place| {
                let code = String::from_utf8_lossy(&place.country);
                // Continents do not matter to distances.
                Value::nested_city(&code, "EU", place.at.latitude, place.at.longitude)
            })
            .collect();
        for network in &self.v4 {
            let len = (network.first ^ network.last).leading_zeros() as u8;
            let net = Ipv4Net::new(Ipv4Addr::from_bits(network.first), len).expect("a prefix");
            writer.insert(net.into(), &records[network.place as usize]);
        }
        for network in &self.v6 {
            let len = (network.first ^ network.last).leading_zeros() as u8;
            let net = Ipv6Net::new(Ipv6Addr::from_bits(network.first), len).expect("a prefix");
            writer.insert(net.into(), &records[network.place as usize]);
        }
        println!(
            "{} IPv4 and {} IPv6 networks, {} places, {} nodes",
            self.v4.len(),
            self.v6.len(),
            self.places.len(),
            writer.node_count()
        );
        std::fs::write(&self.merged, writer.finish()).expect("the file is written");
    }

    /// Pins networks of all sizes to PoPs, half of them inside one another.
    pub(crate) fn pin(&mut self, pops: usize, random: &mut Random) {
        let mut known = std::collections::HashSet::new();
        let mut before: Option<IpNet> = None;
        for _ in 0..600 {
            let within = before.filter(|_| random.below(2) == 0);
            let address = match within {
                Some(outer) => outer.network(),
                None => {
                    let v4 = random.below(2) == 0;
                    self.address(random, v4)
                }
            };
            let (shortest, longest) = if address.is_ipv4() {
                (10, 30)
            } else {
                (20, 60)
            };
            let shortest = within.map_or(shortest, |outer| longest.min(outer.prefix_len() + 1));
            let len = shortest + random.below(u64::from(longest - shortest) + 1) as u8;
            let net = IpNet::new(address, len).expect("a prefix").trunc();
            before = Some(net);
            if known.insert(net) {
                self.pinned.push((net, random.below(pops as u64) as usize));
            }
        }
    }

    /// The PoP that an operator network gives an address.
    pub(crate) fn pinned(&self, address: IpAddr) -> Option<usize> {
        let holding = self.pinned.iter().filter(|(net, _)| net.contains(&address));
        holding
            .max_by_key(|(net, _)| net.prefix_len())
            .map(|(_, pop)| *pop)
    }

    /// Where an address is.
    pub(crate) fn place(&self, address: IpAddr) -> Option<Coordinates> {
        let place = match address {
            IpAddr::V4(v4) => find(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => find(&self.v6, v6.to_bits()),
        };
        place.map(|place| self.places[place as usize].at)
    }

    /// An address for a query: often within a network of any size, sometimes anywhere.
    pub(crate) fn address(&self, random: &mut Random, v4: bool) -> IpAddr {
        let pinned: Vec<_> = if random.below(5) == 0 {
            self.pinned
                .iter()
                .filter(|(net, _)| net.addr().is_ipv4() == v4)
                .collect()
        } else {
            Vec::new()
        };
        if !pinned.is_empty() {
            // In it or right beside it.
            let (net, _) = pinned[random.below(pinned.len() as u64) as usize];
            let near = net
                .supernet()
                .filter(|_| random.below(2) == 0)
                .unwrap_or(*net);
            return any_of(near, random);
        }
        if v4 {
            let anywhere = random.next() as u32;
            let network = &self.v4[random.below(self.v4.len() as u64) as usize];
            let bits = if random.below(4) == 0 {
                anywhere
            } else {
                network.first | anywhere & (network.first ^ network.last)
            };
            Ipv4Addr::from_bits(bits).into()
        } else {
            let network = &self.v6[random.below(self.v6.len() as u64) as usize];
            let bits = if random.below(6) == 0 {
                0x2000 << 112 | random.wide() >> 3
            } else {
                network.first | random.wide() & (network.first ^ network.last)
            };
            Ipv6Addr::from_bits(bits).into()
        }
    }
}

/// Any address of a network.
pub(crate) fn any_of(network: IpNet, random: &mut Random) -> IpAddr {
    match network {
        IpNet::V4(net) => {
            let host = u32::MAX.checked_shr(net.prefix_len().into()).unwrap_or(0);
            Ipv4Addr::from_bits(net.network().to_bits() | random.next() as u32 & host).into()
        }
        IpNet::V6(net) => {
            let host = u128::MAX.checked_shr(net.prefix_len().into()).unwrap_or(0);
            Ipv6Addr::from_bits(net.network().to_bits() | random.wide() & host).into()
        }
    }
}

fn find<A: Copy + Ord>(networks: &[Network<A>], address: A) -> Option<u32> {
    let at = networks.partition_point(|network| network.first <= address);
    let network = networks.get(at.checked_sub(1)?)?;
    (address <= network.last).then_some(network.place)
}

/// Towns within a few hundred kilometres of random centres.
fn towns(random: &mut Random) -> Vec<Place> {
    let mut out = Vec::new();
    for centre in 0..400_u64 {
        let latitude = (random.unit() * 2.0 - 1.0)
            .asin()
            .to_degrees()
            .clamp(-60.0, 75.0);
        let longitude = random.unit() * 360.0 - 180.0;
        let country = [b'A' + (centre / 26 % 26) as u8, b'A' + (centre % 26) as u8];
        for _ in 0..25 {
            let at = Coordinates {
                latitude: (latitude + random.unit() * 6.0 - 3.0).clamp(-90.0, 90.0),
                longitude: (longitude + random.unit() * 8.0 - 4.0).clamp(-180.0, 180.0),
            };
            out.push(Place { at, country });
        }
    }
    // Codes that mean "unknown" would lose their country.
    out.retain(|place| !matches!(&place.country, b"XX" | b"ZZ"));
    out
}

/// Cuts a prefix in two, again and again, more reluctantly the longer it is.
fn cut(
    random: &mut Random,
    bits: u128,
    len: u8,
    longest: u8,
    leaf: &mut impl FnMut(&mut Random, u128, u8),
) {
    let chance = match len {
        0..12 => 100,
        12..16 => 90,
        16..24 => 62,
        _ => 48,
    };
    if len == longest || random.below(100) >= chance {
        // An IPv6 prefix within the ranges that hold IPv4 addresses belongs to nobody.
        if bits >> 112 != 0x2002 && bits >> 96 != 0x2001_0000 {
            leaf(random, bits, len);
        }
        return;
    }
    let half = 1_u128 << (127 - len);
    cut(random, bits, len + 1, longest, leaf);
    cut(random, bits | half, len + 1, longest, leaf);
}
