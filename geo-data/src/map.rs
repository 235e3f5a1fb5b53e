//! Everything known about addresses, laid over each other once at load and looked up per query.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use meridian_config::{Diagnostic, Diagnostics, Family, Geo, PopId};

use crate::{
    BlockRange, Cell, CellId, DatabaseInfo, Found, Located, PlaceId,
    blocks::{Blocks, Span, Spans},
    countries::Countries,
    database::{Database, Gazetteer, Layer},
    fold::{EMBEDDED, embedded_network, fold, range_of},
    mmdb::MmdbError,
    networks::Networks,
    ranges::{Builder, NOTHING, Ranges},
    runs::{Joining, Starts, widest},
};

/// Where every address is. Immutable; swapped whole when a file or the configuration changes.
///
/// Databases, operator networks and the embedded IPv4 ranges are merged at load into one table of
/// ranges per family, neighbours that are judged alike joined. A query searches the table of its
/// family once; the range's ends tell how wide a prefix is judged alike.
pub struct ClientMap {
    v4: Spans<u32>,
    v6: Spans<u128>,
    cells: Vec<Cell>,
    /// What the places after those of the cells stand for.
    pins: Vec<(Option<CellId>, PopId)>,
    pub(crate) networks: Networks,
    pub(crate) city: Vec<Database>,
    pub(crate) asn: Vec<Database>,
    pub(crate) countries: Countries,
    databases: Vec<DatabaseInfo>,
    files: Vec<PathBuf>,
}

/// Which ranges of a [`ClientMap`] are joined to one scope: filled in as scopes are asked for, a bit
/// and a little for each range.
#[derive(Debug)]
pub struct Runs {
    v4: Starts,
    v6: Starts,
}

impl Runs {
    /// Octets that it takes when everything is filled in.
    pub fn most_octets(&self) -> usize {
        self.v4.most_octets() + self.v6.most_octets()
    }
}

/// Set, while sources are laid over each other, in a value that is an index into `pins` instead of
/// a cell.
const PIN: u32 = 1 << 31;

/// Value of the embedded IPv4 ranges: no address there is ever looked up, but their neighbours'
/// prefixes must end at them.
const EMBEDDED_V4: u32 = u32::MAX - 1;

/// Its place, which is none.
const EMBEDDED_PLACE: u32 = (1 << 31) - 2;

impl ClientMap {
    /// Reads every database, checks every record in them, and lays everything out. Takes about a
    /// second for the largest city databases; without `geo.city` the bundled country database
    /// is used.
    ///
    /// # Errors
    /// Every file that cannot be used, with the reason. Nothing is taken from the others then.
    pub fn open(geo: &Geo) -> Result<Self, Diagnostics> {
        let mut mistakes = Diagnostics::default();
        let mut gazetteer = Gazetteer::new();
        let mut city = Vec::new();
        let mut below = Layer {
            v4: Ranges::filled(NOTHING),
            v6: Ranges::filled(NOTHING),
        };
        for (index, path) in geo.city.iter().enumerate() {
            match Database::open(path, &mut gazetteer) {
                Ok((database, layer)) => {
                    city.push(database);
                    // The first file that knows an address wins.
                    below = Layer {
                        v4: layer.v4.under(&below.v4),
                        v6: layer.v6.under(&below.v6),
                    };
                }
                Err(error) => mistakes
                    .0
                    .push(mistake(path.clone(), "city", index, &error)),
            }
        }
        let mut asn = Vec::new();
        for (index, path) in geo.asn.iter().enumerate() {
            match Database::open_asn(path) {
                Ok(database) => asn.push(database),
                Err(error) => mistakes.0.push(mistake(path.clone(), "asn", index, &error)),
            }
        }
        if geo.city.is_empty() {
            match Database::bundled(&mut gazetteer) {
                Ok((database, layer)) => {
                    city.push(database);
                    below = layer;
                }
                Err(error) => {
                    mistakes
                        .0
                        .push(mistake(PathBuf::from("bundled"), "city", 0, &error));
                }
            }
        }
        let given = geo.networks.iter().enumerate();
        mistakes
            .0
            .extend(given.filter_map(|(index, network)| embedded_mistake(index, network.prefix)));
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let files = geo.city.iter().chain(&geo.asn).cloned().collect();
        let networks = Networks::new(&geo.networks);
        Ok(Self::merge(
            gazetteer,
            below,
            networks,
            Databases { city, asn, files },
        ))
    }

    /// Where an address is, and over how wide a prefix that holds. Total; no allocation, no lock.
    pub fn locate(&self, address: IpAddr) -> Located {
        let (how, judged) = fold(address);
        let found = self.find(judged);
        let (cell, pinned) = self.place(found.place);
        let prefix_len = how
            .offset()
            .unwrap_or(0)
            .saturating_add(self.alike(judged, found));
        Located {
            cell,
            pinned,
            prefix_len,
            fold: how,
        }
    }

    /// What is known of an address that has been folded. Total; no allocation, no lock.
    pub fn find(&self, judged: IpAddr) -> Found {
        fn find<A: Blocks>(spans: &Spans<A>, address: A) -> Found {
            let span = spans.span(address);
            Found {
                place: PlaceId(spans.value(address, span)),
                at: u32::try_from(span.at).unwrap_or(u32::MAX),
                split: span.split,
            }
        }
        match judged {
            IpAddr::V4(v4) => find(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => find(&self.v6, v6.to_bits()),
        }
    }

    /// Says that [`find`](Self::find) will soon be asked for these folded addresses. The tables are
    /// far larger than the processor's caches; so their parts are waited for all at once instead of
    /// one after the other.
    pub fn expect(&self, v4: &[u32], v6: &[u128]) {
        self.v4.touch(v4);
        self.v6.touch(v6);
    }

    /// Length of the widest prefix with a folded address over which the same is known; `found` is
    /// what [`find`](Self::find) said of it.
    pub fn alike(&self, judged: IpAddr, found: Found) -> u8 {
        match judged {
            IpAddr::V4(v4) => self.v4.alike(v4.to_bits(), self.v4.at(found.at as usize)),
            IpAddr::V6(v6) => self.v6.alike(v6.to_bits(), self.v6.at(found.at as usize)),
        }
    }

    /// Length of the widest prefix with a folded address in which all places have the same `key`,
    /// as far as `runs` joins ranges; `found` is what [`find`](Self::find) said of the address.
    /// `None`: its range is joined with no other. The place found must have a key.
    ///
    /// The answer is a function of the map, the keys and the prefix alone. `key` must always say
    /// the same of a place, and `runs` be used with no other.
    ///
    /// A /24 of IPv4 that holds several places is judged by its first address where
    /// `by_first_address` says so, and joined with nothing otherwise.
    pub fn widest(
        &self,
        runs: &Runs,
        (judged, found): (IpAddr, Found),
        by_first_address: bool,
        key: impl Fn(PlaceId) -> Option<u64>,
    ) -> Option<u8> {
        let joins = |span: Span, split_too: bool| {
            (!span.split || split_too) && span.value != EMBEDDED_PLACE
        };
        let key_of = |span: Span, split_too: bool| {
            joins(span, split_too)
                .then(|| key(PlaceId(span.value)))
                .flatten()
        };
        let at = found.at as usize;
        match judged {
            IpAddr::V4(v4) => {
                let joining = Joining {
                    spans: &self.v4,
                    starts: &runs.v4,
                    key: |span| key_of(span, by_first_address),
                };
                let span = self.v4.at(at);
                joins(span, by_first_address).then(|| widest(&joining, v4.to_bits(), span))
            }
            IpAddr::V6(v6) => {
                let joining = Joining {
                    spans: &self.v6,
                    starts: &runs.v6,
                    key: |span| key_of(span, false),
                };
                let span = self.v6.at(at);
                joins(span, false).then(|| widest(&joining, v6.to_bits(), span))
            }
        }
    }

    /// Joins nothing yet; for [`widest`](Self::widest).
    pub fn runs(&self) -> Runs {
        Runs {
            v4: Starts::new(self.v4.len()),
            v6: Starts::new(self.v6.len()),
        }
    }

    /// Octets that the tables take which queries search.
    pub fn table_octets(&self) -> usize {
        self.v4.octets() + self.v6.octets()
    }

    /// Number of places: every [`PlaceId`] is below it.
    pub fn places(&self) -> usize {
        self.cells.len() + self.pins.len() + 1
    }

    /// What a place stands for: the cell, and the PoP that its clients are pinned to.
    pub fn place(&self, place: PlaceId) -> (Option<CellId>, Option<PopId>) {
        let index = place.0 as usize;
        match index.checked_sub(self.cells.len()) {
            None => (Some(CellId(place.0)), None),
            Some(beyond) => match self.pins.get(beyond) {
                Some((cell, pop)) => (*cell, Some(*pop)),
                None => (None, None),
            },
        }
    }

    /// Calls `each` for every range of blocks (/24 in IPv4, /64 in IPv6) of one family in order, with
    /// what is known of it; those that hold IPv4 addresses are left out. A block that holds several
    /// places counts whole for that of its first address, by which answers judge it.
    pub fn each_range(&self, family: Family, mut each: impl FnMut(BlockRange)) {
        let known = |value: u32| value != EMBEDDED_PLACE;
        match family {
            Family::V4 => {
                for (first, next, value) in self.v4.all().filter(|range| known(range.2)) {
                    each(BlockRange {
                        first: IpAddr::V4(first.into()),
                        blocks: (next.map_or(1 << 32, u64::from) - u64::from(first)) >> 8,
                        place: PlaceId(value),
                    });
                }
            }
            Family::V6 => {
                for (first, next, value) in self.v6.all().filter(|range| known(range.2)) {
                    // The whole space would be one block too many to count.
                    let blocks = next.map_or(u128::MAX, |next| next - 1) - first;
                    each(BlockRange {
                        first: IpAddr::V6(first.into()),
                        blocks: u64::try_from(blocks >> 64)
                            .unwrap_or(u64::MAX)
                            .saturating_add(1),
                        place: PlaceId(value),
                    });
                }
            }
        }
    }

    /// All cells; [`CellId`] is the index.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// What is open, for metrics and `status`.
    pub fn databases(&self) -> &[DatabaseInfo] {
        &self.databases
    }

    /// The same map, whose databases are called what `name` makes of the path that each was read from: of
    /// copies, the files that they are copies of. [`ClientMap::files`] stays.
    #[must_use]
    pub fn called(mut self, name: impl Fn(&Path) -> PathBuf) -> Self {
        let open = self.city.iter_mut().chain(&mut self.asn);
        let infos = open.map(|database| &mut database.info);
        for info in infos.chain(&mut self.databases) {
            // What is bundled was read from no file.
            if info.file.is_absolute() {
                info.file = name(&info.file);
            }
        }
        self
    }

    /// The files to watch for changes.
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    fn merge(
        mut gazetteer: Gazetteer,
        below: Layer,
        networks: Networks,
        databases: Databases,
    ) -> Self {
        let mut over = Over::new(&networks, &mut gazetteer);
        let v4 = below
            .v4
            .with(&networks.v4(), |cell, network| over.value(cell, network));
        let v6 = below
            .v6
            .with(&networks.v6(), |cell, network| over.value(cell, network));
        let v6 = v6.under(&embedded());
        let pins = over.pins;
        let cells = gazetteer.cells.finish();
        let place = |value| place_of(value, cells.len(), pins.len());
        let (v4, v6) = (v4.map(place), v6.map(place));
        let open = databases.city.iter().chain(&databases.asn);
        let infos = open.map(|database| database.info.clone()).collect();
        Self {
            v4: Spans::new(&v4),
            v6: Spans::new(&v6),
            cells,
            pins,
            networks,
            city: databases.city,
            asn: databases.asn,
            countries: gazetteer.countries,
            databases: infos,
            files: databases.files,
        }
    }
}

impl fmt::Debug for ClientMap {
    /// Sizes only: the tables have millions of entries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientMap")
            .field("ipv4_ranges", &self.v4.len())
            .field("ipv6_ranges", &self.v6.len())
            .field("ipv4_within_blocks", &self.v4.fine_len())
            .field("ipv6_within_blocks", &self.v6.fine_len())
            .field("octets", &self.table_octets())
            .field("cells", &self.cells.len())
            .field("networks", &self.networks.all().len())
            .field("databases", &self.databases)
            .finish_non_exhaustive()
    }
}

/// What was opened.
struct Databases {
    city: Vec<Database>,
    asn: Vec<Database>,
    files: Vec<PathBuf>,
}

/// Lays operator networks over cells.
struct Over<'a> {
    networks: &'a Networks,
    /// Cell of each network that has a location.
    cells: Vec<Option<CellId>>,
    pins: Vec<(Option<CellId>, PopId)>,
    known: HashMap<(Option<CellId>, PopId), u32>,
}

impl<'a> Over<'a> {
    fn new(networks: &'a Networks, gazetteer: &mut Gazetteer) -> Self {
        let cells = networks
            .all()
            .iter()
            .map(|network| network.location.map(|place| gazetteer.point(place)));
        Self {
            networks,
            cells: cells.collect(),
            pins: Vec::new(),
            known: HashMap::new(),
        }
    }

    /// Value of an address with this cell by the databases, in this network.
    fn value(&mut self, cell: u32, network: u32) -> u32 {
        let index = network as usize;
        let Some(found) = self.networks.all().get(index) else {
            return cell;
        };
        let by_database = (cell != NOTHING).then_some(CellId(cell));
        // A network without a location only pins: where it is, the database still knows.
        let cell = self.cells.get(index).copied().flatten().or(by_database);
        match found.pop {
            None => cell.map_or(NOTHING, |cell| cell.0),
            Some(pop) => self.pin(cell, pop),
        }
    }

    fn pin(&mut self, cell: Option<CellId>, pop: PopId) -> u32 {
        let pins = &mut self.pins;
        *self.known.entry((cell, pop)).or_insert_with(|| {
            let index = u32::try_from(pins.len()).unwrap_or(0);
            pins.push((cell, pop));
            index | PIN
        })
    }
}

/// The place that a value stands for when everything is laid over each other. Nobody asks for the
/// embedded ranges by themselves, and nothing is known of them.
fn place_of(value: u32, cells: usize, pins: usize) -> u32 {
    // Cells are far fewer than 2^31, and pins at most as many as there are networks.
    let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
    match value {
        NOTHING => number(cells + pins),
        EMBEDDED_V4 => EMBEDDED_PLACE,
        pin if pin & PIN != 0 => number(cells + (pin & !PIN) as usize),
        cell => cell,
    }
}

fn embedded() -> Ranges<u128> {
    let mut out = Builder::new();
    for (base, len, _) in EMBEDDED {
        let (first, last) = range_of(base, len);
        out.push(first, last, EMBEDDED_V4);
    }
    out.finish(NOTHING)
}

fn mistake(file: PathBuf, key: &str, index: usize, error: &MmdbError) -> Diagnostic {
    let help = match error {
        MmdbError::Io(_) | MmdbError::NoFile => "check the path and its permissions",
        MmdbError::Useless { .. } if key == "asn" => {
            "give an ASN database here; a city or country database goes to `geo.city`"
        }
        MmdbError::Useless { .. } => {
            "give a city or country database of MaxMind, DB-IP, ip-location-db or IPinfo"
        }
        _ => "download the file again; check that it was copied whole",
    };
    let message = format!("the geo database cannot be used: {error}");
    Diagnostic {
        key: format!("geo.{key}[{index}]"),
        ..Diagnostic::of_file(file, message, help)
    }
}

/// Refuses a network that could only be honoured against the folding of addresses.
fn embedded_mistake(index: usize, prefix: IpNet) -> Option<Diagnostic> {
    let embedded = embedded_network(prefix)?;
    let message = format!("the addresses of {prefix} are judged by the IPv4 address inside them");
    let help = match embedded.meant {
        Some(v4) => format!("write the IPv4 network instead: {v4}"),
        None => "write the IPv4 networks that are meant instead".to_owned(),
    };
    let key = format!("geo.network[{index}].prefix");
    Some(Diagnostic {
        key,
        ..Diagnostic::of_file(PathBuf::new(), message, help)
    })
}
