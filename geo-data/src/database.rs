//! One database, read whole: every distinct record checked once and turned into a cell.

use std::{
    cell::OnceCell,
    collections::HashMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use meridian_config::{Coordinates, Diagnostic, Diagnostics};

use crate::{
    CellId, DatabaseInfo,
    bundled::Bundled,
    cells::{Area, Cells},
    countries::Countries,
    mmdb::{Leaf, Mmdb, MmdbError, Shelved, low},
    places::Places,
    ranges::{Address, Builder, NOTHING, Ranges},
    record::Record,
};

/// More distinct cells than squares of 25 km on Earth can only be nonsense.
const MAX_CELLS: u32 = 4_000_000;

/// The values of both families.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) v4: Ranges<u32>,
    pub(crate) v6: Ranges<u128>,
}

/// A database held open for `describe`.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) info: DatabaseInfo,
    content: Content,
}

/// What a file said is not to be had any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

#[derive(Debug)]
enum Content {
    /// Read again when asked for.
    File(Shelved),
    Bundled(Bundled),
}

/// Turns records into locations.
#[derive(Debug)]
pub(crate) struct Gazetteer {
    pub(crate) cells: Cells,
    pub(crate) countries: Countries,
    /// Unpacked when first needed: most databases name the country of every place.
    places: OnceCell<Places>,
}

impl Gazetteer {
    pub(crate) fn new() -> Self {
        Self {
            cells: Cells::default(),
            countries: Countries::bundled(),
            places: OnceCell::new(),
        }
    }

    /// The cell of a record; `None` when it says nothing of a place.
    fn cell(&mut self, record: &Record) -> Option<CellId> {
        let area = self.countries.complete(record.area);
        match record.place {
            Some(place) if area.country.is_none() => {
                let area = self.area(place, area);
                Some(self.cells.square(place, area))
            }
            Some(place) => Some(self.cells.square(place, area)),
            None => {
                let place = self.countries.center(area)?;
                Some(self.cells.point(place, area))
            }
        }
    }

    /// The cell of an operator network: exactly there, in the country of the nearest town.
    pub(crate) fn point(&mut self, place: Coordinates) -> CellId {
        let area = self.area(place, Area::default());
        self.cells.point(place, area)
    }

    /// `area` with the country of the nearest town, and that country's continent.
    fn area(&self, place: Coordinates, area: Area) -> Area {
        let country = self.places.get_or_init(Places::read).country(place);
        self.countries.complete(Area { country, ..area })
    }
}

impl Countries {
    /// `area` with the continent of its country where it names none.
    pub(crate) fn complete(&self, area: Area) -> Area {
        let of_country = area
            .country
            .and_then(|code| self.get(code))
            .map(|c| c.continent);
        Area {
            continent: area.continent.or(of_country),
            ..area
        }
    }

    /// Where the people of a country live, or of a continent when no country is known.
    pub(crate) fn center(&self, area: Area) -> Option<Coordinates> {
        match area.country.and_then(|code| self.get(code)) {
            Some(country) => Some(country.centroid),
            None => self.continent(area.continent?),
        }
    }
}

impl Database {
    /// Opens a city or country database, checks every record and lays its cells out.
    ///
    /// # Errors
    /// Anything in the file that is not as it should be.
    pub(crate) fn open(path: &Path, to: &mut Gazetteer) -> Result<(Self, Layer), MmdbError> {
        let (mmdb, shelved) = Mmdb::open(path)?;
        let mut places = 0_u64;
        let mut located = 0_u64;
        let mut found: Vec<String> = Vec::new();
        let layer = read(&mmdb, |record, other| {
            places += u64::from(record.place.is_some());
            let cell = to.cell(record);
            located += u64::from(cell.is_some());
            if found.is_empty() {
                found = other;
            }
            cell.map_or(NOTHING, |cell| cell.0)
        })?;
        if located == 0 {
            let wanted = "a country or a place";
            return Err(MmdbError::Useless {
                wanted,
                found: quoted(&found),
            });
        }
        let level = if places > 0 { "city" } else { "country" };
        Ok((Self::of_file(&mmdb, shelved, path, level), layer))
    }

    /// Opens an ASN database and checks every record.
    ///
    /// # Errors
    /// Anything in the file that is not as it should be.
    pub(crate) fn open_asn(path: &Path) -> Result<Self, MmdbError> {
        let (mmdb, shelved) = Mmdb::open(path)?;
        let mut systems = 0_u64;
        let mut found: Vec<String> = Vec::new();
        read(&mmdb, |record, other| {
            systems += u64::from(record.asn.is_some());
            if found.is_empty() {
                found = other;
            }
            NOTHING
        })?;
        if systems == 0 {
            let wanted = "the number of an autonomous system";
            return Err(MmdbError::Useless {
                wanted,
                found: quoted(&found),
            });
        }
        Ok(Self::of_file(&mmdb, shelved, path, "asn"))
    }

    /// The country database that is part of the program.
    ///
    /// # Errors
    /// The program was built from a damaged file.
    pub(crate) fn bundled(to: &mut Gazetteer) -> Result<(Self, Layer), MmdbError> {
        let bundled = Bundled::read().ok_or(MmdbError::Format("it is cut off".to_owned()))?;
        let layer = bundled.layer(|code| {
            let area = Area {
                country: Some(code),
                continent: None,
            };
            to.cell(&Record {
                area,
                ..Record::default()
            })
            .map_or(NOTHING, |cell| cell.0)
        });
        let info = DatabaseInfo {
            file: PathBuf::from("bundled"),
            database_type: "bundled-country".to_owned(),
            build_epoch: bundled.build_epoch(),
            ip_version: 6,
            level: "country",
        };
        Ok((
            Self {
                info,
                content: Content::Bundled(bundled),
            },
            layer,
        ))
    }

    fn of_file(mmdb: &Mmdb, shelved: Shelved, path: &Path, level: &'static str) -> Self {
        let info = DatabaseInfo {
            file: path.to_owned(),
            database_type: mmdb.database_type().to_owned(),
            build_epoch: mmdb.build_epoch(),
            ip_version: mmdb.ip_version(),
            level,
        };
        Self {
            info,
            content: Content::File(shelved),
        }
    }

    /// What the database says of an address. Reads the file and decodes: not for the query path.
    ///
    /// # Errors
    /// The file has been written to since it was loaded, or cannot be read any more.
    pub(crate) fn record(&self, address: IpAddr) -> Result<Option<Record>, Gone> {
        match &self.content {
            Content::File(_) if self.info.ip_version == 4 && address.is_ipv6() => Ok(None),
            Content::File(shelved) => {
                let mmdb = shelved.reopen().ok_or(Gone)?;
                Ok(mmdb.record(address))
            }
            Content::Bundled(bundled) => Ok(bundled.country(address).map(|country| Record {
                area: Area {
                    country: Some(country),
                    continent: None,
                },
                ..Record::default()
            })),
        }
    }
}

/// Calls `each` for every network of a city or country database, in rising order of addresses
/// within each family, with its place and country as the file gives them. For tools and tests: it
/// decodes every record anew.
///
/// # Errors
/// The first thing in the file that is not as it should be.
pub fn each_network(
    path: &Path,
    mut each: impl FnMut(IpNet, Option<Coordinates>, Option<[u8; 2]>),
) -> Result<(), Diagnostics> {
    let walked = Mmdb::open(path).and_then(|(mmdb, _)| {
        mmdb.walk(|leaf| {
            let (record, _) = check(&mmdb, &leaf)?;
            each(leaf.network(), record.place, record.area.country);
            Ok(())
        })
    });
    walked.map_err(|error| Diagnostic::of_file(path, error.to_string(), "").into())
}

/// Walks the tree, checks each distinct record once, and lays out what `value` makes of it.
fn read(
    mmdb: &Mmdb,
    mut value: impl FnMut(&Record, Vec<String>) -> u32,
) -> Result<Layer, MmdbError> {
    let mut seen: HashMap<u32, u32> = HashMap::new();
    let mut v4 = Builder::<u32>::new();
    let mut v6 = Builder::<u128>::new();
    mmdb.walk(|leaf| {
        let value = match seen.get(&leaf.offset) {
            Some(value) => *value,
            None => {
                let (record, other) = check(mmdb, &leaf)?;
                let fresh = value(&record, other);
                if fresh != NOTHING && fresh >= MAX_CELLS {
                    return Err(MmdbError::TooMany(MAX_CELLS));
                }
                seen.insert(leaf.offset, fresh);
                fresh
            }
        };
        if leaf.v4 {
            let base = low(leaf.base);
            v4.push(base, base.last_of(leaf.len), value);
        } else {
            // Nothing is known of IPv6 addresses below `::/96`, where the tree holds IPv4.
            v6.push(leaf.base.max(1 << 32), leaf.base.last_of(leaf.len), value);
        }
        Ok(())
    })?;
    Ok(Layer {
        v4: v4.finish(NOTHING),
        v6: v6.finish(NOTHING),
    })
}

fn check(mmdb: &Mmdb, leaf: &Leaf) -> Result<(Record, Vec<String>), MmdbError> {
    let Some(mut fields) = mmdb.fields(leaf)? else {
        return Ok((Record::default(), Vec::new()));
    };
    let other = std::mem::take(&mut fields.other);
    let record = fields.check().map_err(|reason| MmdbError::Record {
        network: leaf.to_string(),
        reason,
    })?;
    Ok((record, other))
}

fn quoted(fields: &[String]) -> String {
    if fields.is_empty() {
        return "empty".to_owned();
    }
    let quoted: Vec<String> = fields
        .iter()
        .map(|field| format!("`{}`", field.escape_debug()))
        .collect();
    quoted.join(", ")
}
