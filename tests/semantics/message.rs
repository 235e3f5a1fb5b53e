//! Replies, normalised: names in lower case and uncompressed, records of an RRset in order of
//! their data, the additional section as a set.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// An RRset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rrset {
    pub(crate) owner: String,
    pub(crate) rtype: u16,
    pub(crate) ttl: u32,
    pub(crate) rdata: BTreeSet<String>,
}

impl Rrset {
    /// Names that end the data of NS, MX and SRV records.
    pub(crate) fn targets(&self) -> Vec<String> {
        let last = |data: &String| data.rsplit(' ').next().map(str::to_owned);
        match self.rtype {
            2 | 15 | 33 => self.rdata.iter().filter_map(last).collect(),
            _ => Vec::new(),
        }
    }
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) rcode: u16,
    pub(crate) aa: bool,
    pub(crate) tc: bool,
    /// In the order of the reply.
    pub(crate) answer: Vec<Rrset>,
    pub(crate) authority: BTreeSet<Rrset>,
    pub(crate) additional: BTreeSet<Rrset>,
    pub(crate) has_opt: bool,
}

impl Message {
    pub(crate) fn read(octets: &[u8]) -> Self {
        let short = |at: usize| u16::from_be_bytes([octets[at], octets[at + 1]]);
        let mut at = 12;
        for _ in 0..short(4) {
            name(octets, &mut at);
            at += 4;
        }
        let mut section = |count: u16| -> Vec<Rrset> {
            let mut found: Vec<Rrset> = Vec::new();
            for _ in 0..count {
                let mut one = record(octets, &mut at);
                let same =
                    |r: &&mut Rrset| (&r.owner, r.rtype, r.ttl) == (&one.owner, one.rtype, one.ttl);
                match found.iter_mut().find(same) {
                    Some(rrset) => rrset.rdata.append(&mut one.rdata),
                    None => found.push(one),
                }
            }
            found
        };
        let answer = section(short(6));
        let authority = section(short(8)).into_iter().collect();
        let (opt, additional) = section(short(10))
            .into_iter()
            .partition::<Vec<_>, _>(|r| r.rtype == 41);
        let upper = opt.first().map_or(0, |opt| opt.ttl >> 24 << 4);
        Self {
            rcode: u16::from(octets[3] & 15) | u16::try_from(upper).unwrap_or(0),
            aa: octets[2] & 4 != 0,
            tc: octets[2] & 2 != 0,
            answer,
            authority,
            additional: additional.into_iter().collect(),
            has_opt: !opt.is_empty(),
        }
    }
}

fn record(octets: &[u8], at: &mut usize) -> Rrset {
    let owner = name(octets, at);
    let fixed = &octets[*at..*at + 10];
    let rtype = u16::from_be_bytes([fixed[0], fixed[1]]);
    let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
    let start = *at + 10;
    *at = start + length;
    Rrset {
        owner,
        rtype,
        ttl,
        rdata: BTreeSet::from([rdata(octets, rtype, start, *at)]),
    }
}

/// RDATA as text: octets, names, octets.
fn rdata(octets: &[u8], rtype: u16, start: usize, end: usize) -> String {
    let (fixed, names) = match rtype {
        2 | 5 | 12 | 39 => (0, 1),
        6 => (0, 2),
        15 => (2, 1),
        33 => (6, 1),
        _ => (0, 0),
    };
    let hex = |octets: &[u8]| {
        octets
            .iter()
            .map(|o| format!("{o:02x}"))
            .collect::<String>()
    };
    let mut at = start + fixed;
    let mut text = hex(&octets[start..at]);
    for _ in 0..names {
        text += &format!(" {}", name(octets, &mut at));
    }
    format!("{text} {}", hex(&octets[at..end]))
        .trim()
        .to_owned()
}

fn name(octets: &[u8], at: &mut usize) -> String {
    let mut text = String::new();
    let (mut here, mut end) = (*at, None);
    loop {
        let length = usize::from(octets[here]);
        if length >= 0xc0 {
            end.get_or_insert(here + 2);
            here = (length & 0x3f) << 8 | usize::from(octets[here + 1]);
            continue;
        }
        let label = &octets[here + 1..here + 1 + length];
        here += 1 + length;
        if length == 0 {
            break;
        }
        text += &String::from_utf8_lossy(label).to_ascii_lowercase();
        text.push('.');
    }
    *at = end.unwrap_or(here);
    if text.is_empty() {
        ".".to_owned()
    } else {
        text
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  rcode {} aa {} tc {} opt {}",
            self.rcode, self.aa, self.tc, self.has_opt
        )?;
        let sections: BTreeMap<_, Vec<&Rrset>> = BTreeMap::from([
            (0, self.answer.iter().collect()),
            (1, self.authority.iter().collect()),
            (2, self.additional.iter().collect()),
        ]);
        for (section, rrsets) in sections {
            for rrset in rrsets {
                let kind = ["answer", "authority", "additional"][section];
                let mut data: Vec<_> = rrset.rdata.iter().map(String::as_str).collect();
                data.truncate(4);
                writeln!(
                    f,
                    "  {kind} {} {} TYPE{} {data:?}",
                    rrset.owner, rrset.ttl, rrset.rtype
                )?;
            }
        }
        Ok(())
    }
}
