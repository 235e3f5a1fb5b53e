//! Writes small and large MaxMind DB files, so that tests have databases of every schema without
//! shipping anybody's data. Follows the MaxMind DB file format, version 2.0. Texts that repeat are
//! written once and pointed to, as in real files.
//!
//! Networks may nest; a network inserted later beats what it overlaps.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

/// A value of a data record.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// UTF-8 text.
    Text(String),
    /// A double.
    Double(f64),
    /// An unsigned 16-bit number.
    U16(u16),
    /// An unsigned 32-bit number.
    U32(u32),
    /// An unsigned 64-bit number.
    U64(u64),
    /// A truth value.
    Bool(bool),
    /// Octets.
    Octets(Vec<u8>),
    /// Keys with values, written in this order.
    Map(Vec<(String, Value)>),
    /// A list.
    List(Vec<Value>),
}

impl Value {
    /// Text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// A map.
    pub fn map<const N: usize>(entries: [(&str, Value); N]) -> Self {
        Self::Map(
            entries
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        )
    }

    /// MaxMind's and DB-IP's nested city record.
    pub fn nested_city(country: &str, continent: &str, latitude: f64, longitude: f64) -> Self {
        Self::map([
            ("continent", Self::map([("code", Self::text(continent))])),
            ("country", Self::map([("iso_code", Self::text(country))])),
            (
                "location",
                Self::map([
                    ("latitude", Self::Double(latitude)),
                    ("longitude", Self::Double(longitude)),
                ]),
            ),
        ])
    }

    /// ip-location-db's flat city record.
    pub fn flat_city(country: &str, latitude: f64, longitude: f64) -> Self {
        Self::map([
            ("country_code", Self::text(country)),
            ("latitude", Self::Double(latitude)),
            ("longitude", Self::Double(longitude)),
        ])
    }

    /// Appends the value. Where `known` is given, `out` is the data section, and a text that
    /// stands there already is written as a pointer to it.
    fn encode(&self, out: &mut Vec<u8>, known: &mut Option<Texts>) {
        match self {
            Self::Text(text) => {
                if let Some(known) = known {
                    if let Some(at) = known.get(text) {
                        return pointer(out, *at);
                    }
                    // A pointer to less would be longer than the text.
                    if text.len() > 4 {
                        known.insert(text.clone(), out.len() as u32);
                    }
                }
                control(out, 2, text.len());
                out.extend_from_slice(text.as_bytes());
            }
            Self::Double(number) => {
                control(out, 3, 8);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::Octets(octets) => {
                control(out, 4, octets.len());
                out.extend_from_slice(octets);
            }
            Self::U16(number) => unsigned(out, 5, &number.to_be_bytes()),
            Self::U32(number) => unsigned(out, 6, &number.to_be_bytes()),
            Self::U64(number) => unsigned(out, 9, &number.to_be_bytes()),
            Self::Bool(truth) => control(out, 14, usize::from(*truth)),
            Self::Map(entries) => {
                control(out, 7, entries.len());
                for (key, value) in entries {
                    Self::text(key).encode(out, known);
                    value.encode(out, known);
                }
            }
            Self::List(values) => {
                control(out, 11, values.len());
                for value in values {
                    value.encode(out, known);
                }
            }
        }
    }
}

/// Where a text stands in the data section.
type Texts = HashMap<String, u32>;

/// A pointer into the data section: the more octets, the higher its range begins.
fn pointer(out: &mut Vec<u8>, to: u32) {
    let (size, rest, low): (u8, u32, usize) = match to {
        0..2048 => (0, to, 1),
        2048..526_336 => (1, to - 2048, 2),
        526_336..134_744_064 => (2, to - 526_336, 3),
        _ => (3, to, 4),
    };
    let octets = rest.to_be_bytes();
    let top = if size == 3 { 0 } else { octets[3 - low] };
    out.push(1 << 5 | size << 3 | top);
    out.extend_from_slice(&octets[4 - low..]);
}

/// Control octets: type and size.
fn control(out: &mut Vec<u8>, kind: u8, size: usize) {
    let (low, more): (u8, Vec<u8>) = match size {
        0..29 => (size as u8, Vec::new()),
        29..285 => (29, vec![(size - 29) as u8]),
        285..65_821 => (30, ((size - 285) as u16).to_be_bytes().to_vec()),
        _ => (31, ((size - 65_821) as u32).to_be_bytes()[1..].to_vec()),
    };
    if kind > 7 {
        out.extend([low, kind - 7]);
    } else {
        out.push(kind << 5 | low);
    }
    out.extend(more);
}

/// A number without its leading zero octets.
fn unsigned(out: &mut Vec<u8>, kind: u8, octets: &[u8]) {
    let skip = octets.iter().take_while(|octet| **octet == 0).count();
    control(out, kind, octets.len() - skip);
    out.extend_from_slice(&octets[skip..]);
}

/// What a record of the tree holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Slot {
    Empty,
    Node(u32),
    Data(u32),
}

/// A database under construction.
#[derive(Debug)]
pub struct Writer {
    ip_version: u16,
    database_type: String,
    record_size: Option<u16>,
    build_epoch: u64,
    nodes: Vec<[Slot; 2]>,
    data: Vec<u8>,
    offsets: HashMap<Vec<u8>, u32>,
    texts: Option<Texts>,
}

impl Writer {
    /// An empty database for IPv4 only (4), or for both (6; IPv4 stands below `::/96`).
    pub fn new(ip_version: u16, database_type: &str) -> Self {
        Self {
            ip_version,
            database_type: database_type.to_owned(),
            record_size: None,
            build_epoch: 1_790_000_000,
            nodes: vec![[Slot::Empty; 2]],
            data: Vec::new(),
            offsets: HashMap::new(),
            texts: Some(Texts::new()),
        }
    }

    /// Forces the size of a record: 24, 28 or 32 bits. Default: the smallest that fits.
    #[must_use]
    pub fn record_size(mut self, bits: u16) -> Self {
        self.record_size = Some(bits);
        self
    }

    /// Sets what the metadata says of the time of building, seconds since the epoch.
    #[must_use]
    pub fn build_epoch(mut self, seconds: u64) -> Self {
        self.build_epoch = seconds;
        self
    }

    /// Number of nodes so far.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Gives every address of `prefix` this record.
    ///
    /// # Panics
    /// For an IPv6 prefix in an IPv4 database, and for the whole address space.
    pub fn insert(&mut self, prefix: IpNet, record: &Value) {
        let (bits, len) = self.key(prefix);
        let data = Slot::Data(self.offset(record));
        self.place(bits, len, data);
    }

    /// Shows the IPv4 addresses once more below other prefixes, as MaxMind's files do for
    /// `::ffff:0:0/96`, `2001::/32` and `2002::/16`. Insert everything else first.
    ///
    /// # Panics
    /// When there are no IPv4 addresses, or the database is for IPv4 only.
    pub fn alias_ipv4(&mut self) {
        assert_eq!(self.ip_version, 6, "only an IPv6 tree has aliases");
        let mut slot = Slot::Node(0);
        for _ in 0..96 {
            let Slot::Node(node) = slot else {
                panic!("there are no IPv4 addresses")
            };
            slot = self.nodes[node as usize][0];
        }
        for prefix in ["::ffff:0:0/96", "2001::/32", "2002::/16"] {
            let (bits, len) = self.key(prefix.parse().expect("it is a prefix"));
            self.place(bits, len, slot);
        }
    }

    /// The file.
    ///
    /// # Panics
    /// When the forced record size is too small.
    pub fn finish(self) -> Vec<u8> {
        let count = self.nodes.len();
        let highest = count + 16 + self.data.len();
        let fits = |bits: u16| highest < 1_usize << bits;
        let bits = self.record_size.unwrap_or_else(|| {
            if fits(24) {
                24
            } else if fits(28) {
                28
            } else {
                32
            }
        });
        assert!(fits(bits), "a record of {bits} bits is too small");
        let mut out = Vec::with_capacity(count * usize::from(bits / 4) + self.data.len() + 1024);
        for node in &self.nodes {
            let [left, right] = node.map(|slot| match slot {
                Slot::Empty => count as u32,
                Slot::Node(node) => node,
                Slot::Data(offset) => (count + 16) as u32 + offset,
            });
            push_node(&mut out, bits, left, right);
        }
        out.extend([0; 16]);
        out.extend(&self.data);
        out.extend(b"\xab\xcd\xefMaxMind.com");
        let metadata = Value::map([
            ("binary_format_major_version", Value::U16(2)),
            ("binary_format_minor_version", Value::U16(0)),
            ("build_epoch", Value::U64(self.build_epoch)),
            ("database_type", Value::Text(self.database_type)),
            (
                "description",
                Value::map([("en", Value::text("made for a test"))]),
            ),
            ("ip_version", Value::U16(self.ip_version)),
            ("languages", Value::List(vec![Value::text("en")])),
            ("node_count", Value::U32(count as u32)),
            ("record_size", Value::U16(bits)),
        ]);
        metadata.encode(&mut out, &mut None);
        out
    }

    /// Offset of a record in the data section; equal records share one.
    fn offset(&mut self, record: &Value) -> u32 {
        let mut encoded = Vec::new();
        record.encode(&mut encoded, &mut None);
        if let Some(known) = self.offsets.get(&encoded) {
            return *known;
        }
        let offset = self.data.len() as u32;
        record.encode(&mut self.data, &mut self.texts);
        self.offsets.insert(encoded, offset);
        offset
    }

    /// The bits of a prefix from the top of the tree, and how many.
    fn key(&self, prefix: IpNet) -> (u128, u8) {
        match (prefix.network(), self.ip_version) {
            (IpAddr::V4(v4), 4) => (u128::from(v4.to_bits()) << 96, prefix.prefix_len()),
            (IpAddr::V4(v4), _) => (u128::from(v4.to_bits()), prefix.prefix_len() + 96),
            (IpAddr::V6(v6), 6) => (v6.to_bits(), prefix.prefix_len()),
            (IpAddr::V6(_), _) => panic!("{prefix} does not fit an IPv4 database"),
        }
    }

    fn place(&mut self, bits: u128, len: u8, what: Slot) {
        assert!(len > 0, "the root is always a node");
        let mut node = 0_usize;
        for depth in 0..len {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == len {
                self.nodes[node][side] = what;
                return;
            }
            node = match self.nodes[node][side] {
                Slot::Node(next) => next as usize,
                leaf => {
                    let next = self.nodes.len();
                    self.nodes.push([leaf; 2]);
                    self.nodes[node][side] = Slot::Node(next as u32);
                    next
                }
            };
        }
    }
}

/// One node of the tree.
///
/// # Panics
/// For a size other than 24, 28 or 32 bits.
pub fn push_node(out: &mut Vec<u8>, bits: u16, left: u32, right: u32) {
    let (l, r) = (left.to_be_bytes(), right.to_be_bytes());
    match bits {
        24 => out.extend([l[1], l[2], l[3], r[1], r[2], r[3]]),
        28 => out.extend([l[1], l[2], l[3], l[0] << 4 | r[0] & 15, r[1], r[2], r[3]]),
        32 => {
            out.extend(l);
            out.extend(r);
        }
        _ => panic!("a record has 24, 28 or 32 bits"),
    }
}
