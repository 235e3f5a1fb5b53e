//! What the tests of this crate share.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests")]

#[path = "../../../tests/src/mmdb_writer.rs"]
pub mod mmdb_writer;

use std::net::IpAddr;

use meridian_config::{Coordinates, Diagnostics, Geo, GeoNetwork, PopId};
use meridian_geo_data::{Cell, ClientMap, Located};
use mmdb_writer::{Value, Writer};
use tempfile::TempDir;

/// A folder with database files, and the configuration that names them.
pub struct Files {
    pub folder: TempDir,
    pub geo: Geo,
}

impl Files {
    pub fn new() -> Self {
        let geo = Geo {
            city: Vec::new(),
            asn: Vec::new(),
            networks: Vec::new(),
        };
        Self {
            folder: tempfile::tempdir().unwrap(),
            geo,
        }
    }

    pub fn city(mut self, file: Vec<u8>) -> Self {
        let path = self
            .folder
            .path()
            .join(format!("city{}.mmdb", self.geo.city.len()));
        std::fs::write(&path, file).unwrap();
        self.geo.city.push(path);
        self
    }

    pub fn asn(mut self, file: Vec<u8>) -> Self {
        let path = self
            .folder
            .path()
            .join(format!("asn{}.mmdb", self.geo.asn.len()));
        std::fs::write(&path, file).unwrap();
        self.geo.asn.push(path);
        self
    }

    pub fn network(mut self, prefix: &str, location: Option<(f64, f64)>, pop: Option<u16>) -> Self {
        let location = location.map(|(latitude, longitude)| Coordinates {
            latitude,
            longitude,
        });
        let prefix = prefix.parse().unwrap();
        self.geo.networks.push(GeoNetwork {
            prefix,
            location,
            pop: pop.map(PopId),
        });
        self
    }

    pub fn open(&self) -> Result<ClientMap, Diagnostics> {
        ClientMap::open(&self.geo)
    }

    /// The messages of a refusal, without the folder.
    pub fn refusal(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let mistakes = self.open().unwrap_err().0;
        assert!(
            mistakes
                .iter()
                .all(|m| !m.help.is_empty() && m.key.starts_with("geo."))
        );
        mistakes
            .iter()
            .map(|m| format!("{}: {}", m.file.display(), m.message).replace(&folder, ""))
            .collect()
    }
}

/// A database with these networks.
pub fn database(ip_version: u16, networks: &[(&str, Value)]) -> Vec<u8> {
    let mut writer = Writer::new(ip_version, "Test-City");
    for (prefix, record) in networks {
        writer.insert(prefix.parse().unwrap(), record);
    }
    writer.finish()
}

pub fn at(map: &ClientMap, address: &str) -> Located {
    map.locate(address.parse::<IpAddr>().unwrap())
}

pub fn cell<'a>(map: &'a ClientMap, located: &Located) -> Option<&'a Cell> {
    located.cell.map(|id| &map.cells()[id.0 as usize])
}

/// Country of an address, `--` for none.
pub fn country(map: &ClientMap, address: &str) -> String {
    let code = cell(map, &at(map, address)).and_then(|cell| cell.country);
    String::from_utf8_lossy(&code.unwrap_or(*b"--")).into_owned()
}
