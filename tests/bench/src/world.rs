//! The geo database that every server reads, and the PoPs they choose from.
//!
//! One file in MaxMind's city schema: made up, or made from given files of any schema. All servers
//! read the same file.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use meridian_config::Coordinates;
use meridian_geo_data::{distance::haversine_km, each_network};
use meridian_tests::mmdb_writer::{Value, Writer};

use crate::{error::BenchError, query::Random};

/// A PoP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pop {
    /// Its name.
    pub(crate) name: &'static str,
    /// Where it stands.
    pub(crate) at: Coordinates,
    /// Its address.
    pub(crate) address: Ipv4Addr,
}

/// The PoPs: name, degrees north, degrees east.
const POPS: [(&str, f64, f64); 12] = [
    ("fra", 50.03, 8.56),
    ("lhr", 51.47, -0.45),
    ("arn", 59.65, 17.93),
    ("iad", 38.95, -77.46),
    ("dfw", 32.90, -97.04),
    ("sjc", 37.36, -121.93),
    ("gru", -23.43, -46.47),
    ("jnb", -26.13, 28.24),
    ("bom", 19.09, 72.87),
    ("sin", 1.36, 103.99),
    ("nrt", 35.77, 140.39),
    ("syd", -33.94, 151.18),
];

/// Where the clients of a made-up world live: country, degrees north, degrees east.
const COUNTRIES: [(&str, f64, f64); 40] = [
    ("US", 39.0, -95.0),
    ("CA", 50.0, -97.0),
    ("MX", 22.0, -101.0),
    ("BR", -14.0, -50.0),
    ("AR", -35.0, -64.0),
    ("CL", -33.0, -71.0),
    ("CO", 4.0, -73.0),
    ("PE", -10.0, -75.0),
    ("GB", 53.0, -1.5),
    ("IE", 53.3, -7.5),
    ("FR", 46.6, 2.4),
    ("DE", 51.0, 10.0),
    ("NL", 52.2, 5.3),
    ("ES", 40.2, -3.6),
    ("PT", 39.6, -8.0),
    ("IT", 42.8, 12.6),
    ("CH", 46.8, 8.2),
    ("AT", 47.6, 14.1),
    ("PL", 52.1, 19.4),
    ("CZ", 49.8, 15.5),
    ("SE", 60.0, 16.0),
    ("NO", 61.0, 9.0),
    ("FI", 62.5, 26.0),
    ("RO", 45.8, 25.0),
    ("GR", 39.0, 22.5),
    ("TR", 39.0, 35.0),
    ("UA", 49.0, 31.5),
    ("EG", 27.0, 30.0),
    ("NG", 9.0, 8.0),
    ("KE", 0.2, 37.8),
    ("ZA", -29.0, 25.0),
    ("SA", 24.0, 45.0),
    ("IN", 22.0, 79.0),
    ("PK", 30.0, 70.0),
    ("TH", 15.0, 101.0),
    ("ID", -6.5, 108.0),
    ("CN", 34.0, 108.0),
    ("JP", 36.0, 138.0),
    ("KR", 36.5, 127.8),
    ("AU", -30.0, 146.0),
];

/// Towns around the middle of each country of a made-up world.
const TOWNS: usize = 50;

/// The database and what the servers' configurations need to know of it.
#[derive(Debug)]
pub(crate) struct World {
    /// The file.
    pub(crate) database: PathBuf,
    /// What it is, in words.
    pub(crate) description: String,
    /// The nearest PoP of each country, for servers that know only countries.
    pub(crate) countries: BTreeMap<[u8; 2], Pop>,
}

/// All PoPs.
pub(crate) fn pops() -> Vec<Pop> {
    (10..)
        .zip(POPS)
        .map(|(last, (name, latitude, longitude))| Pop {
            name,
            at: Coordinates {
                latitude,
                longitude,
            },
            address: Ipv4Addr::new(192, 0, 2, last),
        })
        .collect()
}

impl World {
    /// Makes up a world of this many networks, three quarters of them IPv4.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn generate(folder: &Path, networks: u64, seed: u64) -> Result<Self, BenchError> {
        let mut random = Random(seed);
        let towns = towns(&mut random);
        let mut atlas = Atlas::default();
        let mut home = 0;
        each_made_up(networks, &mut random, |random, network| {
            // Neighbouring networks are often in the same town, as in life.
            if random.below(3) == 0 {
                home = random.below(towns.len() as u64) as usize;
            }
            let (country, at) = towns[home];
            atlas.add(network, country, at);
        });
        let description = format!("made up, {} networks", atlas.networks);
        atlas.finish(folder, description)
    }

    /// Reads city databases of any schema.
    ///
    /// # Errors
    /// When one is not readable, or the file cannot be written.
    pub(crate) fn read(folder: &Path, files: &[PathBuf]) -> Result<Self, BenchError> {
        let mut atlas = Atlas::default();
        let mut names = Vec::new();
        for file in files {
            let walked = each_network(file, |network, at, country| {
                if let (Some(at), Some(country)) = (at, country) {
                    atlas.add(network, country, at);
                }
            });
            walked.map_err(|mistakes| BenchError::Database {
                path: file.clone(),
                reason: mistakes.to_string(),
            })?;
            let name = file.file_name().unwrap_or_default();
            names.push(name.to_string_lossy().into_owned());
        }
        if atlas.networks == 0 {
            return Err(BenchError::Database {
                path: files.first().cloned().unwrap_or_default(),
                reason: "no network has both a place and a country; a city database is needed"
                    .to_owned(),
            });
        }
        let description = format!("{}, {} networks", names.join(" + "), atlas.networks);
        atlas.finish(folder, description)
    }
}

/// Networks with places on their way into a file.
struct Atlas {
    writer: Writer,
    records: HashMap<([u8; 2], u64, u64), Value>,
    /// Sums of latitudes and longitudes, and how many.
    middles: BTreeMap<[u8; 2], (f64, f64, f64)>,
    networks: u64,
}

impl Default for Atlas {
    fn default() -> Self {
        Self {
            // gdnsd tells a city database by this name.
            writer: Writer::new(6, "GeoIP2-City"),
            records: HashMap::new(),
            middles: BTreeMap::new(),
            networks: 0,
        }
    }
}

impl Atlas {
    fn add(&mut self, network: IpNet, country: [u8; 2], at: Coordinates) {
        let key = (country, at.latitude.to_bits(), at.longitude.to_bits());
        let middles = &mut self.middles;
        let record = self.records.entry(key).or_insert_with(|| {
            let middle = middles.entry(country).or_default();
            middle.0 += at.latitude;
            middle.1 += at.longitude;
            middle.2 += 1.0;
            // No server asks for the continent here.
            let code = String::from_utf8_lossy(&country);
            Value::nested_city(&code, "EU", at.latitude, at.longitude)
        });
        self.writer.insert(network, record);
        self.networks += 1;
    }

    fn finish(self, folder: &Path, description: String) -> Result<World, BenchError> {
        let database = folder.join("GeoIP2-City.mmdb");
        fs::write(&database, self.writer.finish()).map_err(BenchError::system(format!(
            "writing {}",
            database.display()
        )))?;
        let nearest = |(country, (north, east, count)): ([u8; 2], (f64, f64, f64))| {
            let middle = Coordinates {
                latitude: north / count,
                longitude: east / count,
            };
            let near = |pop: &Pop| haversine_km(pop.at, middle);
            let pop = pops()
                .into_iter()
                .min_by(|a, b| near(a).total_cmp(&near(b)));
            Some((country, pop?))
        };
        Ok(World {
            database,
            description,
            countries: self.middles.into_iter().filter_map(nearest).collect(),
        })
    }
}

fn towns(random: &mut Random) -> Vec<([u8; 2], Coordinates)> {
    let mut out = Vec::new();
    for (code, latitude, longitude) in COUNTRIES {
        for _ in 0..TOWNS {
            // Databases give places to four digits.
            let near = |middle: f64, random: &mut Random| {
                ((middle + random.unit() * 6.0 - 3.0) * 1e4).round() / 1e4
            };
            let at = Coordinates {
                latitude: near(latitude, random),
                longitude: near(longitude, random),
            };
            let mut country = [0; 2];
            country.copy_from_slice(code.as_bytes());
            out.push((country, at));
        }
    }
    out
}

/// Cuts the unicast space into exactly this many networks (at least one a block).
fn each_made_up(count: u64, random: &mut Random, mut each: impl FnMut(&mut Random, IpNet)) {
    let v4 = count - count / 4;
    // 0/1, 128/2 and 192/3 in proportion; nobody asks for 0/8.
    for (first, len, share) in [
        (0_u8, 1, v4 * 4 / 7),
        (128, 2, v4 * 2 / 7),
        (192, 3, v4 / 7),
    ] {
        let top = u128::from(first) << 120;
        cut(
            top,
            len,
            26,
            share.max(1),
            random,
            &mut |random, bits, len| {
                let address = Ipv4Addr::from_bits((bits >> 96) as u32);
                each(random, Ipv4Net::new_assert(address, len).into());
            },
        );
    }
    for block in [0x2400_u128, 0x2600, 0x2800, 0x2a00, 0x2c00] {
        let share = (count / 4 / 5).max(1);
        cut(
            block << 112,
            12,
            56,
            share,
            random,
            &mut |random, bits, len| {
                let address = Ipv6Addr::from_bits(bits);
                each(random, Ipv6Net::new_assert(address, len).into());
            },
        );
    }
}

/// Cuts a prefix into `count` prefixes of at most `longest` bits, of very different sizes.
fn cut(
    bits: u128,
    len: u8,
    longest: u8,
    count: u64,
    random: &mut Random,
    leaf: &mut impl FnMut(&mut Random, u128, u8),
) {
    if count <= 1 || len == longest {
        leaf(random, bits, len);
        return;
    }
    // Neither half may get more than it has room for.
    let room = 1_u64 << (longest - len - 1).min(62);
    let left = (count as f64 * (0.25 + random.unit() / 2.0)).round() as u64;
    let left = left
        .clamp(1, count - 1)
        .min(room)
        .max(count.saturating_sub(room));
    cut(bits, len + 1, longest, left, random, leaf);
    let half = 1_u128 << (127 - len);
    cut(bits | half, len + 1, longest, count - left, random, leaf);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_is_cut_into_as_many_networks_as_asked_for() {
        for wanted in [1_000, 20_000] {
            let mut seen = Vec::new();
            each_made_up(wanted, &mut Random(3), |_, network| seen.push(network));
            assert!(wanted.abs_diff(seen.len() as u64) < 10, "{}", seen.len());
            for pair in seen.windows(2) {
                assert!(!pair[0].contains(&pair[1]) && !pair[1].contains(&pair[0]));
            }
            assert!(seen.iter().any(|network| network.prefix_len() > 16));
        }
    }

    #[test]
    fn a_made_up_world_reads_back_with_every_country() {
        let folder = meridian_tests::scratch();
        let world = World::generate(folder.path(), 5_000, 1).unwrap();
        assert_eq!(world.countries.len(), COUNTRIES.len());
        assert_eq!(world.countries[b"DE"].name, "fra");
        assert_eq!(world.countries[b"JP"].name, "nrt");
        let again = folder.path().join("again");
        fs::create_dir(&again).unwrap();
        let read = World::read(&again, std::slice::from_ref(&world.database)).unwrap();
        assert_eq!(read.countries.len(), COUNTRIES.len());
        assert!(World::read(&again, &[folder.path().join("none")]).is_err());
        // A country database: nothing to steer by.
        let mut writer = Writer::new(4, "x");
        let record = Value::map([("country_code", Value::text("DE"))]);
        writer.insert("192.0.2.0/24".parse().unwrap(), &record);
        let placeless = folder.path().join("placeless.mmdb");
        fs::write(&placeless, writer.finish()).unwrap();
        let error = World::read(&again, &[placeless]).unwrap_err().to_string();
        assert!(error.contains("a city database is needed"), "{error}");
    }
}
