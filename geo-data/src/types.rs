//! What geo data says, in types of our own.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use meridian_config::{Coordinates, PopId};
use serde::{Serialize, Serializer};

/// Index of a cell in the [`ClientMap`](crate::ClientMap) that gave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct CellId(pub u32);

/// A small area (about 25 km) within one country whose clients are steered alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// Its centre.
    pub center: Coordinates,
    /// ISO 3166-1 alpha-2, upper case; `None` when the data does not say.
    #[serde(serialize_with = "as_text")]
    pub country: Option<[u8; 2]>,
    /// AF AN AS EU NA OC SA; `None` when neither data nor country says.
    #[serde(serialize_with = "as_text")]
    pub continent: Option<[u8; 2]>,
}

/// What makes a cell the same in other geo data: the bits of its centre's latitude and longitude,
/// country, continent.
pub type CellKey = (u64, u64, Option<[u8; 2]>, Option<[u8; 2]>);

impl Cell {
    /// By what it is known again in other geo data.
    pub fn key(&self) -> CellKey {
        let at = self.center;
        let (latitude, longitude) = (at.latitude.to_bits(), at.longitude.to_bits());
        (latitude, longitude, self.country, self.continent)
    }
}

/// Writes a code as people and scripts expect it: `"JP"`.
fn as_text<S: Serializer>(code: &Option<[u8; 2]>, to: S) -> Result<S::Ok, S::Error> {
    code.map(|code| String::from_utf8_lossy(&code).into_owned())
        .serialize(to)
}

/// What is known of an address as one number: its cell and what it is pinned to. Dense from 0, so
/// that it can index tables; [`ClientMap::place`](crate::ClientMap::place) says what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlaceId(pub u32);

/// Where an address stands in the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What is known of it.
    pub place: PlaceId,
    /// The range of blocks that it is in, counted from the first of its family.
    pub at: u32,
    /// Its block (/24 in IPv4, /64 in IPv6) holds several places.
    pub split: bool,
}

/// Neighbouring blocks of addresses of which the same is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRange {
    /// The first address of the first block.
    pub first: IpAddr,
    /// How many: /24s of IPv4, /64s of IPv6.
    pub blocks: u64,
    /// What is known of them.
    pub place: PlaceId,
}

/// What is known of one address. Every address in the same family that shares its first
/// `prefix_len` bits gets the same `cell` and the same `pinned`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// `None`: no location is known.
    pub cell: Option<CellId>,
    /// An operator network pins its clients to this PoP.
    pub pinned: Option<PopId>,
    /// Length of the widest prefix, in the address's own family, known to be judged alike.
    /// 0 is possible (no database for this family, no operator networks).
    pub prefix_len: u8,
    /// Longest scope that makes sense for this address, given `scope_max.ipv4`/`.ipv6`: for an
    /// IPv6 address with an IPv4 address inside it counts from where that address stands.
    pub fold: Fold,
}

/// How an address was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fold {
    /// As itself.
    None,
    /// `::ffff:0:0/96` (RFC 4291 §2.5.5.2), IPv4 at bit 96.
    Mapped,
    /// `64:ff9b::/96` (RFC 6052 §2.1), IPv4 at bit 96.
    Nat64,
    /// `2002::/16` (RFC 3056 §2), IPv4 at bit 16.
    SixToFour,
    /// `2001::/32` (RFC 4380 §4), client IPv4 at bit 96, every bit inverted.
    Teredo,
}

impl Fold {
    /// Bit at which the IPv4 address stands; `None` for [`Fold::None`].
    pub fn offset(self) -> Option<u8> {
        match self {
            Self::None => None,
            Self::Mapped | Self::Nat64 | Self::Teredo => Some(96),
            Self::SixToFour => Some(16),
        }
    }
}

/// Where a location came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "of")]
pub enum Source {
    /// `[[geo.network]]` with this prefix.
    Network(IpNet),
    /// A database file, by its name.
    Database(String),
    /// Nothing knows this address.
    Nothing,
}

/// Everything `meridian geo lookup` shows, and what `explain` quotes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// The address asked for.
    pub address: IpAddr,
    /// How it was folded.
    pub fold: Fold,
    /// The address that was judged (the IPv4 inside, or itself).
    pub judged: IpAddr,
    /// Where the location came from.
    pub source: Source,
    /// The prefix judged alike, in the family of `address`.
    pub prefix: IpNet,
    /// The cell.
    pub cell: Option<CellId>,
    /// The cell's contents.
    pub cell_data: Option<Cell>,
    /// Location as the source gives it, before it became a cell.
    pub location: Option<Coordinates>,
    /// City name, where the database has one.
    pub city: Option<String>,
    /// Autonomous system number, where an ASN database is configured.
    pub asn: Option<u32>,
    /// Holder of the autonomous system.
    pub as_name: Option<String>,
    /// PoP pinned by an operator network.
    pub pinned: Option<PopId>,
    /// Databases that have been overwritten in place since they were loaded, so that what they say
    /// in full (place, city, AS) cannot be shown. Clients are steered by what was loaded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details_gone: Vec<PathBuf>,
}

/// One open database, for metrics and `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DatabaseInfo {
    /// File, or `bundled`.
    pub file: PathBuf,
    /// `database_type` of its metadata.
    pub database_type: String,
    /// Seconds since the epoch at which it was built.
    pub build_epoch: u64,
    /// 4 or 6.
    pub ip_version: u16,
    /// `city` or `country` level, or `asn`.
    pub level: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_text_in_json() {
        let center = Coordinates {
            latitude: 35.5,
            longitude: 139.5,
        };
        let cell = Cell {
            center,
            country: Some(*b"JP"),
            continent: None,
        };
        let text = serde_json::to_string(&cell).unwrap();
        let expect =
            r#"{"center":{"latitude":35.5,"longitude":139.5},"country":"JP","continent":null}"#;
        assert_eq!(text, expect);
    }
}
