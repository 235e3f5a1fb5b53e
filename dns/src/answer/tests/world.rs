//! A small server in memory, queries for it, and what every reply must satisfy.

use std::net::IpAddr;

use hickory_proto::op::Message;
use meridian_config::{Chaos, Family, Name, PopId};

use super::super::{
    Listed, Meta, Outcome, Summary, Transport, plan::Steer, reply::Data, respond_with,
};
use crate::{
    abuse::{
        Limits,
        cookie::{Cookies, Secret, Secrets},
    },
    client::Client,
    snapshot::Identity,
    steer::{Decision, Level, Reason},
    types::{ServiceId, UnixTime, rtype},
    zone::ZoneSet,
};

/// When every query comes.
pub(super) const NOW: UnixTime = UnixTime(1_700_000_000);

/// Zones, identity, and a steering that hands out fixed addresses.
pub(super) struct World {
    pub(super) zones: ZoneSet,
    pub(super) identity: Identity,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) reason: Reason,
    pub(super) scope: u8,
}

impl World {
    pub(super) fn new(zones: ZoneSet) -> Self {
        Self {
            zones,
            identity: Identity {
                nsid: Some(b"fra1"[..].into()),
                chaos: Chaos {
                    version: Some("meridian".to_owned()),
                    hostname: None,
                },
                stale: false,
                cookies: Cookies::on(Secrets::new(Secret::new([7; 16]), None), false),
                explain: Listed::default(),
                limits: Limits::OFF,
            },
            addresses: ["198.51.100.7", "2001:db8::7", "198.51.100.3"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
            reason: Reason::Nearest,
            scope: 20,
        }
    }

    /// Asks over UDP and checks the reply.
    pub(super) fn ask(&self, query: &Ask) -> Reply {
        self.ask_over(Transport::Udp, query)
    }

    pub(super) fn ask_over(&self, transport: Transport, query: &Ask) -> Reply {
        let octets = query.octets();
        let (summary, reply) = self.raw(transport, &octets).expect("a reply");
        let reply = Reply::read(&reply, summary);
        reply.check(query, &octets, transport);
        // What `dig +subnet=0` sends is unknown to hickory.
        if reply.option(8).is_none_or(|ecs| ecs[1] != 0) {
            Message::from_vec(&reply.octets).expect("hickory reads the reply");
        }
        reply
    }

    /// [`World::ask`] without hickory's opinion, for loops over everything.
    pub(super) fn ask_quick(&self, query: &Ask) -> Reply {
        let octets = query.octets();
        let (summary, reply) = self.raw(Transport::Udp, &octets).expect("a reply");
        let reply = Reply::read(&reply, summary);
        reply.check(query, &octets, Transport::Udp);
        reply
    }

    /// Any octets; `None` when nothing is answered.
    pub(super) fn raw(&self, transport: Transport, octets: &[u8]) -> Option<(Summary, Vec<u8>)> {
        let meta = Meta {
            source: "192.0.2.200:5300".parse().unwrap(),
            transport,
            now: NOW,
        };
        let mut out = vec![0xff; 3];
        match respond_with(self, self, octets, &meta, &mut out) {
            Outcome::Reply(summary) => Some((summary, out)),
            Outcome::Drop(_) => {
                assert!(out.is_empty());
                None
            }
        }
    }
}

impl Data for World {
    fn zones(&self) -> &ZoneSet {
        &self.zones
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl Steer for World {
    fn decide(&self, _: ServiceId, _: &Client, family: Family) -> Decision {
        let addresses = self.addresses.iter().copied();
        Decision {
            addresses: addresses.filter(|a| Family::of(*a) == family).collect(),
            pop: Some(PopId(1)),
            reason: self.reason,
            level: Level::Geo,
            ttl: 30,
            scope: self.scope,
        }
    }
}

/// A query to be put together.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) name: Vec<u8>,
    pub(super) qtype: u16,
    pub(super) qclass: u16,
    pub(super) flags: u16,
    /// UDP size and options.
    pub(super) edns: Option<(u16, Vec<u8>)>,
}

impl Ask {
    pub(super) fn new(name: &str, qtype: u16) -> Self {
        let name: Name = name.parse().unwrap();
        Self {
            name: name.as_wire().to_vec(),
            qtype,
            qclass: 1,
            flags: 0x0110,
            edns: None,
        }
    }

    pub(super) fn edns(mut self, size: u16) -> Self {
        self.edns = Some((size, Vec::new()));
        self
    }

    pub(super) fn option(mut self, code: u16, data: &[u8]) -> Self {
        let (_, options) = self.edns.get_or_insert((1232, Vec::new()));
        options.extend(code.to_be_bytes());
        options.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        options.extend(data);
        self
    }

    pub(super) fn class(mut self, qclass: u16) -> Self {
        self.qclass = qclass;
        self
    }

    pub(super) fn octets(&self) -> Vec<u8> {
        let mut m = vec![0xab, 0xcd];
        m.extend(self.flags.to_be_bytes());
        m.extend([0, 1, 0, 0, 0, 0, 0, u8::from(self.edns.is_some())]);
        m.extend(&self.name);
        m.extend(self.qtype.to_be_bytes());
        m.extend(self.qclass.to_be_bytes());
        if let Some((size, options)) = &self.edns {
            m.extend([0, 0, 41]);
            m.extend(size.to_be_bytes());
            m.extend([0, 0, 0x80, 0]);
            m.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
            m.extend(options);
        }
        m
    }
}

/// A record of a reply, its name and RDATA names uncompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) owner: Name,
    pub(super) rtype: u16,
    pub(super) class: u16,
    pub(super) ttl: u32,
    pub(super) rdata: Vec<u8>,
}

/// A reply, read by code that shares nothing with the writer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) octets: Vec<u8>,
    pub(super) summary: Summary,
    pub(super) question: Vec<u8>,
    pub(super) answer: Vec<Record>,
    pub(super) authority: Vec<Record>,
    pub(super) additional: Vec<Record>,
    pub(super) opt: Option<Record>,
}

impl Reply {
    pub(super) fn read(octets: &[u8], summary: Summary) -> Self {
        let count = |at: usize| u16::from_be_bytes([octets[at], octets[at + 1]]);
        let mut at = 12;
        if count(4) == 1 {
            read_name(octets, &mut at);
            at += 4;
        }
        let question = octets[12..at].to_vec();
        let mut section =
            |n: u16| -> Vec<Record> { (0..n).map(|_| read_record(octets, &mut at)).collect() };
        let (answer, authority) = (section(count(6)), section(count(8)));
        let all = section(count(10));
        assert_eq!(at, octets.len(), "octets after the last record");
        let (opts, additional): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|record| record.rtype == rtype::OPT);
        assert!(opts.len() <= 1, "one OPT");
        Self {
            octets: octets.to_vec(),
            summary,
            question,
            answer,
            authority,
            additional,
            opt: opts.into_iter().next(),
        }
    }

    pub(super) fn aa(&self) -> bool {
        self.octets[2] & 0x04 != 0
    }

    pub(super) fn tc(&self) -> bool {
        self.octets[2] & 0x02 != 0
    }

    pub(super) fn rcode(&self) -> u16 {
        let upper = self.opt.as_ref().map_or(0, |opt| (opt.ttl >> 24) << 4);
        u16::from(self.octets[3] & 0x0f) | u16::try_from(upper).unwrap()
    }

    /// Code and data of each EDNS option.
    pub(super) fn options(&self) -> Vec<(u16, Vec<u8>)> {
        let mut rest = self.opt.as_ref().map_or(&[][..], |opt| &opt.rdata);
        let mut found = Vec::new();
        while !rest.is_empty() {
            let code = u16::from_be_bytes([rest[0], rest[1]]);
            let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
            found.push((code, rest[4..4 + length].to_vec()));
            rest = &rest[4 + length..];
        }
        found
    }

    pub(super) fn option(&self, code: u16) -> Option<Vec<u8>> {
        let mut options = self.options().into_iter();
        options
            .find(|(other, _)| *other == code)
            .map(|(_, data)| data)
    }

    /// `TYPE TTL OWNER` of each record of a section.
    pub(super) fn lines(section: &[Record]) -> Vec<String> {
        section
            .iter()
            .map(|r| format!("{} {} {}", rtype::type_name(r.rtype), r.ttl, r.owner))
            .collect()
    }

    /// What holds of every reply to a well-formed query.
    fn check(&self, query: &Ask, octets: &[u8], transport: Transport) {
        assert_eq!(self.octets[..2], octets[..2], "ID");
        let hi = self.octets[2];
        assert_eq!(hi & 0xf9, 0x80 | (octets[2] & 0x79), "QR, opcode, RD");
        assert_eq!(
            self.octets[3] & 0xf0,
            octets[3] & 0x10,
            "RA, Z, AD clear; CD copied"
        );
        assert_eq!(
            self.question,
            octets[12..12 + query.name.len() + 4],
            "question, case kept"
        );
        assert_eq!(self.rcode(), self.summary.rcode);
        assert_eq!(self.tc(), self.summary.truncated);
        assert_eq!(self.summary.qtype, query.qtype);
        let limit = match (transport, &query.edns) {
            (Transport::Tcp, _) => 65_535,
            (Transport::Udp, None) => 512,
            (Transport::Udp, Some((size, _))) => usize::from(*size).clamp(512, 1232),
        };
        assert!(
            self.octets.len() <= limit,
            "{} > {limit}",
            self.octets.len()
        );
        self.check_opt(query);
        self.check_chain(query);
        self.check_rrsets();
    }

    fn check_opt(&self, query: &Ask) {
        assert_eq!(
            self.opt.is_some(),
            query.edns.is_some(),
            "OPT exactly when asked"
        );
        let Some(opt) = &self.opt else { return };
        assert!(opt.owner.is_root());
        assert_eq!(opt.class, 1232);
        assert_eq!(opt.ttl & 0x00ff_ffff, 0x8000, "version 0, DO copied");
    }

    /// Row 7: the chain of aliases stands first and in order; then one RRset at its end.
    fn check_chain(&self, query: &Ask) {
        let mut at = Name::from_wire(&query.name).unwrap();
        let mut records = self.answer.iter().peekable();
        let mut dnames: Vec<&Record> = Vec::new();
        while let Some(record) = records.peek() {
            if record.rtype == rtype::DNAME && record.owner != at {
                dnames.push(record);
            } else if record.rtype == rtype::CNAME && query.qtype != rtype::CNAME {
                assert_eq!(record.owner, at, "chain in order");
                at = Name::from_wire(&record.rdata).unwrap();
            } else {
                break;
            }
            records.next();
        }
        for dname in dnames {
            assert!(dname.rdata.len() <= 255);
        }
        let rest: Vec<_> = records.collect();
        for record in &rest {
            assert_eq!(record.owner, at, "data stands at the end of the chain");
            assert_eq!(record.rtype, rest[0].rtype, "one RRset");
            assert!(query.qtype == rtype::ANY || record.rtype == query.qtype);
        }
    }

    /// RFC 2181 §5: an RRset stands in one piece, with one TTL, no record twice.
    fn check_rrsets(&self) {
        let all: Vec<&Record> = self
            .answer
            .iter()
            .chain(&self.authority)
            .chain(&self.additional)
            .collect();
        let key = |r: &Record| (r.owner.clone(), r.rtype);
        let mut seen = std::collections::HashSet::new();
        let mut previous: Option<&Record> = None;
        for record in all {
            assert!(
                seen.insert((key(record), record.rdata.clone())),
                "twice: {record:?}"
            );
            if let Some(before) = previous.filter(|before| key(before) == key(record)) {
                assert_eq!(before.ttl, record.ttl);
            }
            previous = Some(record);
        }
    }
}

fn read_record(octets: &[u8], at: &mut usize) -> Record {
    let owner = read_name(octets, at);
    let fixed = &octets[*at..*at + 10];
    let short = |i: usize| u16::from_be_bytes([fixed[i], fixed[i + 1]]);
    let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    let (rtype, class, length) = (short(0), short(2), usize::from(short(8)));
    let start = *at + 10;
    *at = start + length;
    let rdata = match rtype {
        rtype::NS | rtype::CNAME | rtype::PTR => {
            let mut at = start;
            let name = read_name(octets, &mut at);
            assert_eq!(at, start + length);
            name.as_wire().to_vec()
        }
        _ => octets[start..start + length].to_vec(),
    };
    Record {
        owner,
        rtype,
        class,
        ttl,
        rdata,
    }
}

/// A name, its pointers followed: each strictly back, none to the header.
fn read_name(octets: &[u8], at: &mut usize) -> Name {
    let mut wire = Vec::new();
    let mut here = *at;
    let mut end = None;
    loop {
        let length = octets[here];
        if length >= 0xc0 {
            let target = usize::from(u16::from_be_bytes([length & 0x3f, octets[here + 1]]));
            assert!(
                (12..here).contains(&target),
                "pointer to {target} at {here}"
            );
            end.get_or_insert(here + 2);
            here = target;
            continue;
        }
        let next = here + 1 + usize::from(length);
        wire.extend(&octets[here..next]);
        here = next;
        if length == 0 {
            break;
        }
    }
    *at = end.unwrap_or(here);
    Name::from_wire(&wire).unwrap()
}
