//! Makes queries: mostly what resolvers send, and from that anything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use meridian_config::Name;
use meridian_dns::{
    abuse::cookie::{Secret, Secrets},
    types::{UnixTime, rtype},
    zone::ZoneSet,
};

use crate::world::KEY;

/// When every query comes.
pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);

/// Numbers that look random and repeat with the seed (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Less than `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next()).unwrap_or(0) % end.max(1)
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn octet(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Makes queries for one set of zones.
pub(crate) struct Generator {
    pub(crate) random: Random,
    names: Vec<Name>,
    secrets: Secrets,
    last: Vec<u8>,
}

const LABELS: [&str; 23] = [
    "_explain",
    "www",
    "ns1",
    "ns",
    "a",
    "x",
    "*",
    "mail",
    "wild",
    "child",
    "nothing",
    "hostmaster",
    "b",
    "apps",
    "hosted",
    "in",
    "deep",
    "d",
    "sub2",
    "WWW",
    "xn--bcher-kva",
    "_tcp",
    "walias2",
];

const TYPES: [u16; 16] = [
    rtype::A,
    rtype::AAAA,
    rtype::A,
    rtype::AAAA,
    rtype::TXT,
    rtype::MX,
    rtype::NS,
    rtype::SOA,
    rtype::CNAME,
    rtype::DS,
    rtype::SRV,
    rtype::PTR,
    rtype::ANY,
    rtype::DNAME,
    65,
    257,
];

impl Generator {
    pub(crate) fn new(zones: &ZoneSet, seed: u64) -> Self {
        let apexes: Vec<Name> = zones.iter().map(|zone| zone.apex()).collect();
        let known = include_str!("names");
        let known = known.lines().map(|line| line.parse().expect("a name"));
        let elsewhere = ["example.de", "com", "test", "."];
        let elsewhere = elsewhere.iter().map(|text| text.parse().expect("a name"));
        Self {
            random: Random(seed | 1),
            names: apexes.into_iter().chain(known).chain(elsewhere).collect(),
            secrets: Secrets::new(Secret::new(KEY), None),
            last: Vec::new(),
        }
    }

    /// One message, and where it comes from.
    pub(crate) fn query(&mut self) -> (Vec<u8>, SocketAddr) {
        let source = self.source();
        let octets = match self.random.below(20) {
            0 if !self.last.is_empty() => self.mutated(),
            1 if !self.last.is_empty() => self.spliced(source.ip()),
            _ => self.built(source.ip()),
        };
        self.last.clone_from(&octets);
        (octets, source)
    }

    fn source(&mut self) -> SocketAddr {
        let ip = match self.random.below(6) {
            0 => IpAddr::V6(Ipv6Addr::from_bits(
                0x2001_0db8 << 96 | u128::from(self.random.next()),
            )),
            1 => IpAddr::V6(Ipv4Addr::new(192, 0, 2, 200).to_ipv6_mapped()),
            2 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 200)),
            _ => IpAddr::V4(Ipv4Addr::from_bits(
                u32::try_from(self.random.next() & 0xffff_ffff).unwrap_or(0),
            )),
        };
        (ip, 5300).into()
    }

    fn built(&mut self, source: IpAddr) -> Vec<u8> {
        let random = &mut self.random;
        let mut message = vec![random.octet(), random.octet()];
        let flags = if random.once_in(8) { random.octet() } else { 1 };
        let more = if random.once_in(8) {
            random.octet()
        } else {
            0x10
        };
        message.extend([flags, more, 0, 1, 0, 0, 0, 0, 0, 0]);
        message.extend(self.name());
        let random = &mut self.random;
        let qtype = match random.below(12) {
            0 => u16::from_be_bytes([0, random.octet()]),
            1 => u16::from_be_bytes([random.octet(), random.octet()]),
            _ => *random.pick(&TYPES),
        };
        message.extend(qtype.to_be_bytes());
        let class = if random.once_in(40) {
            random.octet()
        } else {
            1
        };
        message.extend([0, class]);
        if !random.once_in(3) {
            message[11] = 1;
            let opt = self.opt(source);
            message.extend(opt);
        }
        message
    }

    /// A name at, below or beside one that is known, in any case.
    fn name(&mut self) -> Vec<u8> {
        let mut wire = self.random.pick(&self.names).as_wire().to_vec();
        if self.random.once_in(10) {
            let skip = 1 + usize::from(wire[0]);
            wire = wire
                .get(skip..)
                .filter(|rest| !rest.is_empty())
                .unwrap_or(&[0])
                .to_vec();
        }
        let more = match self.random.below(8) {
            0 => 2,
            1 => self.random.below(40),
            2..=4 => 1,
            _ => 0,
        };
        for _ in 0..more {
            let label = self.label();
            if 1 + label.len() + wire.len() <= 255 {
                let length = u8::try_from(label.len()).unwrap_or(0);
                wire = [&[length], label.as_slice(), &wire].concat();
            }
        }
        if self.random.once_in(2) {
            for octet in &mut wire {
                if octet.is_ascii_alphabetic() && self.random.once_in(2) {
                    *octet ^= 0x20;
                }
            }
        }
        wire
    }

    fn label(&mut self) -> Vec<u8> {
        if self.random.once_in(3) {
            let length = 1 + self
                .random
                .below(if self.random.0 & 3 == 0 { 63 } else { 3 });
            return (0..length)
                .map(|_| b'a' + self.random.octet() % 26)
                .collect();
        }
        self.random.pick(&LABELS).as_bytes().to_vec()
    }

    fn opt(&mut self, source: IpAddr) -> Vec<u8> {
        let mut options = Vec::new();
        if !self.random.once_in(3) {
            for _ in 0..1 + self.random.below(3) {
                let (code, data) = self.option(source);
                options.extend(code.to_be_bytes());
                options.extend(u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
                options.extend(data);
            }
        }
        let random = &mut self.random;
        let size: u16 = *random.pick(&[1232, 4096, 512, 0, 1400, 700, 600, 65535]);
        let flags = if random.once_in(2) {
            0x80
        } else {
            random.octet()
        };
        let version = u8::from(random.once_in(60));
        let mut record = vec![0, 0, 41];
        record.extend(size.to_be_bytes());
        record.extend([0, version, flags, 0]);
        record.extend(u16::try_from(options.len()).unwrap_or(0).to_be_bytes());
        record.extend(options);
        record
    }

    fn option(&mut self, source: IpAddr) -> (u16, Vec<u8>) {
        match self.random.below(10) {
            0 => (3, Vec::new()),
            1..=4 => (8, self.subnet()),
            5 | 6 => (10, self.cookie(source)),
            7 => (
                self.random.below(20).try_into().unwrap_or(0),
                vec![0; self.random.below(9)],
            ),
            8 if self.random.once_in(2) => (15, vec![0; self.random.below(3)]),
            8 => (12, vec![0; self.random.below(64)]),
            _ => (65001, vec![1; self.random.below(5)]),
        }
    }

    /// Client subnets, one in ten of them wrong.
    fn subnet(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let v6 = random.once_in(3);
        let (family, most) = if v6 { (2, 128) } else { (1, 32) };
        let source = match random.below(6) {
            0 => 0,
            1 => random.below(most + 1),
            _ => {
                if v6 {
                    56
                } else {
                    24
                }
            }
        };
        let octets = source.div_ceil(8);
        let mut data = vec![0, family, u8::try_from(source).unwrap_or(0), 0];
        data.extend((0..octets).map(|_| random.octet()));
        if v6 && octets > 3 {
            data[4..7].copy_from_slice(&[0x20, 0x01, 0x0d]);
        }
        if let Some(last) = data.get_mut(4..).and_then(<[u8]>::last_mut) {
            *last &= 0xff_u8 << (octets * 8 - source);
        }
        if random.once_in(10) {
            let at = random.below(data.len());
            data[at] = random.octet();
        }
        if random.once_in(30) {
            data.push(0);
        }
        data
    }

    fn cookie(&mut self, source: IpAddr) -> Vec<u8> {
        let client: [u8; 8] = std::array::from_fn(|_| self.random.octet());
        let mut cookie = client.to_vec();
        match self.random.below(5) {
            0 => {}
            1 => cookie.extend((0..self.random.below(34)).map(|at| u8::try_from(at).unwrap_or(0))),
            kind => {
                let age = [0, 3000, 7000][kind - 2];
                let then = UnixTime(NOW.0 - age);
                cookie.extend(self.secrets.make(client, source, then));
            }
        }
        cookie
    }

    /// The query before with a few octets changed, cut off or added.
    fn mutated(&mut self) -> Vec<u8> {
        let mut octets = self.last.clone();
        for _ in 0..1 + self.random.below(3) {
            let at = self.random.below(octets.len());
            match self.random.below(5) {
                0 => octets.truncate(at.max(1)),
                1 => octets.insert(at, self.random.octet()),
                2 => octets.push(self.random.octet()),
                3 => octets[at] ^= 1 << self.random.below(8),
                _ => octets[at] = self.random.octet(),
            }
        }
        octets
    }

    /// The query before with the tail of another one.
    fn spliced(&mut self, source: IpAddr) -> Vec<u8> {
        let other = self.built(source);
        let at = self.random.below(self.last.len());
        let from = self.random.below(other.len());
        [&self.last[..at], &other[from..]].concat()
    }
}
