//! MaxMind DB files: the only file that names `maxminddb`.
//!
//! That crate reads the metadata and decodes records. The search tree is walked here, with every
//! read bounds-checked and the number of steps bounded, because a hostile tree (a cycle, or
//! nodes shared until 2^128 paths lead through them) must be refused, not followed.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use ipnet::IpNet;
use maxminddb::{MaxMindDbError, Reader};

use crate::{
    fields::Fields,
    record::{Record, RecordError},
};

/// Larger files are refused: the largest city databases sold have a tenth of this.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// How often nodes may be visited, per node of the tree. Exactly 1 in every file seen; some slack
/// for writers that share a few subtrees.
const MAX_VISITS_PER_NODE: u64 = 4;

/// Why a file is no usable database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MmdbError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is no regular file")]
    NoFile,
    #[error("it is larger than {} GiB", MAX_FILE_BYTES >> 30)]
    TooLarge,
    #[error("it is no MaxMind DB file, or is damaged: {0}")]
    Format(String),
    #[error("its search tree is damaged: {0}")]
    Tree(&'static str),
    #[error("the record of {network} is damaged: {reason}")]
    Data { network: String, reason: String },
    #[error("in the record of {network}, {reason}")]
    Record {
        network: String,
        reason: RecordError,
    },
    #[error("no record holds {wanted}; its fields are {found}")]
    Useless { wanted: &'static str, found: String },
    #[error("it holds more than {0} distinct locations")]
    TooMany(u32),
}

/// A database, wholly in memory: while it is loaded, and while one address is described.
#[derive(Debug)]
pub(crate) struct Mmdb {
    reader: Reader<Bytes>,
    bytes: Bytes,
}

/// A database that was read and checked, and is held open on the disk but not in memory. Whoever
/// replaces or removes the file does not change what is read here.
#[derive(Debug)]
pub(crate) struct Shelved {
    /// Locked while it is read: one reader at a time is enough, and bounds the memory.
    file: Mutex<File>,
    octets: u64,
    modified: Option<SystemTime>,
}

impl Shelved {
    fn new(file: File) -> Result<Self, MmdbError> {
        let metadata = file.metadata()?;
        Ok(Self {
            octets: metadata.len(),
            modified: metadata.modified().ok(),
            file: Mutex::new(file),
        })
    }

    /// Reads the database again. `None`: the file has been written to in the meantime, or cannot
    /// be read any more.
    pub(crate) fn reopen(&self) -> Option<Mmdb> {
        self.read().ok().filter(|_| self.is_unchanged())
    }

    fn is_unchanged(&self) -> bool {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let now = file.metadata().ok();
        now.is_some_and(|now| now.len() == self.octets && now.modified().ok() == self.modified)
    }

    fn read(&self) -> Result<Mmdb, MmdbError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::with_capacity(usize::try_from(self.octets).unwrap_or(0));
        file.rewind()?;
        // It may have grown since.
        let limit = MAX_FILE_BYTES + 1;
        file.by_ref().take(limit).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(MmdbError::TooLarge);
        }
        Mmdb::from_bytes(bytes)
    }
}

/// The octets of a file, shared by the reader and the walk of the tree.
#[derive(Clone, Debug)]
struct Bytes(Arc<Vec<u8>>);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A leaf of the search tree with data: a network, first address in IPv6 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf {
    /// First address; IPv4 addresses in the low 32 bits.
    pub(crate) base: u128,
    /// Prefix length in the family of `v4`.
    pub(crate) len: u8,
    pub(crate) v4: bool,
    /// Tells records apart: equal offsets, equal records.
    pub(crate) offset: u32,
}

impl Leaf {
    /// The network.
    pub(crate) fn network(&self) -> IpNet {
        let first: IpAddr = if self.v4 {
            Ipv4Addr::from_bits(low(self.base)).into()
        } else {
            Ipv6Addr::from_bits(self.base).into()
        };
        IpNet::new(first, self.len).unwrap_or_else(|_| IpNet::from(first))
    }

    /// The last address: no IPv6 leaf has it below `::/96`, where a reader looks for IPv4.
    fn last_address(&self) -> IpAddr {
        if self.v4 {
            let host = u32::MAX.checked_shr(self.len.into()).unwrap_or(0);
            Ipv4Addr::from_bits(low(self.base) | host).into()
        } else {
            let host = u128::MAX.checked_shr(self.len.into()).unwrap_or(0);
            Ipv6Addr::from_bits(self.base | host).into()
        }
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.network().fmt(f)
    }
}

/// The low 32 bits, where an IPv4 leaf has its address.
#[allow(clippy::cast_possible_truncation)] // is meant
pub(crate) fn low(bits: u128) -> u32 {
    bits as u32
}

impl Mmdb {
    /// Reads a file and checks its metadata and layout. Gives also what it takes to read it again.
    pub(crate) fn open(path: &Path) -> Result<(Self, Shelved), MmdbError> {
        // Looked at before it is opened: opening a pipe would wait for its writer.
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(MmdbError::NoFile);
        }
        if metadata.len() > MAX_FILE_BYTES {
            return Err(MmdbError::TooLarge);
        }
        let shelved = Shelved::new(File::open(path)?)?;
        let mmdb = shelved.read()?;
        Ok((mmdb, shelved))
    }

    /// The same for a file that is already in memory.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Result<Self, MmdbError> {
        let bytes = Bytes(Arc::new(bytes));
        let reader = Reader::from_source(bytes.clone())
            .map_err(|error| MmdbError::Format(error.to_string()))?;
        Ok(Self { reader, bytes })
    }

    pub(crate) fn database_type(&self) -> &str {
        &self.reader.metadata().database_type
    }

    pub(crate) fn build_epoch(&self) -> u64 {
        self.reader.metadata().build_epoch
    }

    pub(crate) fn ip_version(&self) -> u16 {
        self.reader.metadata().ip_version
    }

    /// Calls `each` for every leaf with data, in rising order of addresses within each family.
    ///
    /// # Errors
    /// A tree with a cycle, a path longer than an address or a pointer to nowhere; any error of
    /// `each`.
    pub(crate) fn walk(
        &self,
        mut each: impl FnMut(Leaf) -> Result<(), MmdbError>,
    ) -> Result<(), MmdbError> {
        let tree = Tree::of(&self.reader, self.bytes.as_ref());
        let mut visits = u64::from(tree.nodes) * MAX_VISITS_PER_NODE;
        // Depth first, left before right; never deeper than an address is long.
        let mut stack = vec![(0_u32, 0_u128, 0_u8)];
        while let Some((record, base, depth)) = stack.pop() {
            if record == tree.nodes || tree.is_alias(record, base, depth) {
                continue;
            }
            if record > tree.nodes {
                each(tree.leaf(record, base, depth)?)?;
                continue;
            }
            if depth >= tree.bits {
                return Err(MmdbError::Tree("a path is longer than an address"));
            }
            visits = visits
                .checked_sub(1)
                .ok_or(MmdbError::Tree("nodes are reached again and again"))?;
            let (left, right) = tree.node(record)?;
            let bit = 1_u128 << (tree.bits - 1 - depth);
            stack.push((right, base | bit, depth + 1));
            stack.push((left, base, depth + 1));
        }
        Ok(())
    }

    /// The record of a leaf.
    ///
    /// # Errors
    /// It is no map, or cannot be decoded.
    pub(crate) fn fields(&self, leaf: &Leaf) -> Result<Option<Fields>, MmdbError> {
        let damaged = |error: MaxMindDbError| MmdbError::Data {
            network: leaf.to_string(),
            reason: error.to_string(),
        };
        let found = self.reader.lookup(leaf.last_address()).map_err(damaged)?;
        found.decode::<Fields>().map_err(damaged)
    }

    /// The record at `address`, after every record was seen to be sound. An IPv6 address has none
    /// in an IPv4 database, nor below `::/96`, where the tree holds the IPv4 addresses.
    pub(crate) fn record(&self, address: IpAddr) -> Option<Record> {
        if let IpAddr::V6(v6) = address
            && (self.ip_version() == 4 || v6.to_bits() >> 32 == 0)
        {
            return None;
        }
        let found = self.reader.lookup(address).ok()?;
        // A record found above `::/96` is of IPv6 addresses only.
        if address.is_ipv4() && found.network().ok()?.is_ipv6() {
            return None;
        }
        found.decode::<Fields>().ok()??.check().ok()
    }
}

/// The search tree within the octets of a file.
struct Tree<'a> {
    bytes: &'a [u8],
    nodes: u32,
    record_bits: u16,
    /// Length of an address: 32 or 128.
    bits: u8,
    /// The node below which IPv4 addresses stand in an IPv6 tree.
    v4_root: Option<u32>,
}

impl<'a> Tree<'a> {
    fn of(reader: &Reader<Bytes>, bytes: &'a [u8]) -> Self {
        let metadata = reader.metadata();
        let bits = if metadata.ip_version == 4 { 32 } else { 128 };
        let mut tree = Self {
            bytes,
            nodes: metadata.node_count,
            record_bits: metadata.record_size,
            bits,
            v4_root: None,
        };
        tree.v4_root = (bits == 128).then(|| tree.walk_zeroes(96)).flatten();
        tree
    }

    /// The inner node reached by `depth` zero bits.
    fn walk_zeroes(&self, depth: u8) -> Option<u32> {
        let mut record = 0;
        for _ in 0..depth {
            (record, _) = self.node(record).ok()?;
        }
        (record < self.nodes).then_some(record)
    }

    /// Whether a subtree shows the IPv4 addresses once more under another prefix. Addresses there
    /// are folded before they are looked up, so what stands there is of no use.
    fn is_alias(&self, record: u32, base: u128, depth: u8) -> bool {
        self.v4_root == Some(record) && !(base == 0 && depth == 96)
    }

    /// Both records of a node.
    fn node(&self, node: u32) -> Result<(u32, u32), MmdbError> {
        let size = usize::from(self.record_bits / 4);
        let octets = usize::try_from(node)
            .ok()
            .filter(|_| node < self.nodes)
            .and_then(|node| node.checked_mul(size))
            .and_then(|at| self.bytes.get(at..at.checked_add(size)?));
        let word = |octets: &[u8]| {
            octets
                .iter()
                .fold(0_u32, |sum, o| (sum << 8) | u32::from(*o))
        };
        match octets {
            Some([a, b, c, d, e, f]) => Ok((word(&[*a, *b, *c]), word(&[*d, *e, *f]))),
            Some([a, b, c, mid, d, e, f]) => {
                Ok((word(&[mid >> 4, *a, *b, *c]), word(&[mid & 15, *d, *e, *f])))
            }
            Some([a, b, c, d, e, f, g, h]) => {
                Ok((word(&[*a, *b, *c, *d]), word(&[*e, *f, *g, *h])))
            }
            _ => Err(MmdbError::Tree("a node lies outside the tree")),
        }
    }

    /// The leaf of a record that points into the data section.
    fn leaf(&self, record: u32, base: u128, depth: u8) -> Result<Leaf, MmdbError> {
        // The first 16 octets after the tree are the separator.
        let offset = record
            .checked_sub(self.nodes)
            .and_then(|beyond| beyond.checked_sub(16))
            .ok_or(MmdbError::Tree("a leaf points into the separator"))?;
        let v4 = self.bits == 32 || (depth >= 96 && base >> 32 == 0);
        let len = if v4 && self.bits == 128 {
            depth - 96
        } else {
            depth
        };
        Ok(Leaf {
            base,
            len,
            v4,
            offset,
        })
    }
}
