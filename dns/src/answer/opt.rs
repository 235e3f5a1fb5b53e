//! The OPT record of a reply (RFC 6891), with client subnet, NSID and extended errors.

use arrayvec::ArrayVec;

use crate::{abuse::cookie, query::Ecs};

/// UDP payload size that we announce and never exceed, in octets: what passes everywhere without
/// fragments (DNS flag day 2020).
pub(crate) const UDP_SIZE: u16 = 1232;

/// OPTION-CODE of NSID (RFC 5001 §2.3).
pub(crate) const NSID: u16 = 3;
/// OPTION-CODE of EDNS Client Subnet (RFC 7871 §6).
pub(crate) const ECS: u16 = 8;
/// OPTION-CODE of DNS cookies (RFC 7873 §4).
pub(crate) const COOKIE: u16 = 10;
/// OPTION-CODE of extended errors (RFC 8914 §2).
pub(crate) const EDE: u16 = 15;

/// An extended error (RFC 8914 §4): says why, changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ede {
    /// INFO-CODE 0, Other. None of the registered codes means "every PoP of this service is
    /// down, here is the last resort": 22 (No Reachable Authority) and 23 (Network Error) are
    /// defined as a resolver's trouble with name servers, and resolvers pass them on as such.
    /// So the text says it.
    NoReachablePop,
    /// INFO-CODE 3: answered from the last good state.
    Stale,
    /// INFO-CODE 18: not allowed, whoever asks (zone transfers).
    Prohibited,
    /// INFO-CODE 20: no zone of ours.
    NotAuthoritative,
    /// INFO-CODE 30 (RFC 9824).
    InvalidQueryType,
}

impl Ede {
    pub(crate) fn info_code(self) -> u16 {
        match self {
            Self::NoReachablePop => 0,
            Self::Stale => 3,
            Self::Prohibited => 18,
            Self::NotAuthoritative => 20,
            Self::InvalidQueryType => 30,
        }
    }

    /// EXTRA-TEXT, UTF-8.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NoReachablePop => "no reachable PoP, last resort served",
            Self::Stale => "last good configuration served",
            Self::Prohibited | Self::NotAuthoritative | Self::InvalidQueryType => "",
        }
    }
}

/// What the OPT record of a reply says.
#[derive(Clone, Debug)]
pub(super) struct Opt<'a> {
    pub(super) rcode: u16,
    pub(super) dnssec_ok: bool,
    /// The client's option and the scope of the answer.
    pub(super) ecs: Option<(Ecs, u8)>,
    pub(super) nsid: Option<&'a [u8]>,
    /// The client's cookie and ours.
    pub(super) cookie: Option<[u8; cookie::REPLY_LEN]>,
    pub(super) errors: ArrayVec<Ede, 2>,
    /// EXTRA-TEXT of one more extended error, INFO-CODE 0: why the answer is what it is.
    pub(super) explanation: Option<String>,
}

impl Opt<'_> {
    /// The record in wire form, at most `limit` octets where leaving out extended errors and
    /// NSID helps: those inform, the rest is needed.
    pub(super) fn encode(mut self, limit: usize) -> Vec<u8> {
        let mut record = self.write();
        if record.len() > limit {
            self.errors.clear();
            self.explanation = None;
            record = self.write();
        }
        if record.len() > limit {
            self.nsid = None;
            record = self.write();
        }
        record
    }

    fn write(&self) -> Vec<u8> {
        let mut record = Vec::with_capacity(64);
        let [udp_hi, udp_lo] = UDP_SIZE.to_be_bytes();
        let extended_rcode = (self.rcode >> 4) as u8;
        let flags = if self.dnssec_ok { 0x80 } else { 0 };
        record.extend([0, 0, 41, udp_hi, udp_lo, extended_rcode, 0, flags, 0, 0, 0]);
        if let Some(nsid) = self.nsid {
            option(&mut record, NSID, &[nsid]);
        }
        if let Some((ecs, scope)) = &self.ecs {
            write_ecs(&mut record, ecs, *scope);
        }
        if let Some(cookie) = &self.cookie {
            option(&mut record, COOKIE, &[cookie]);
        }
        for error in &self.errors {
            let code = error.info_code().to_be_bytes();
            option(&mut record, EDE, &[&code, error.text().as_bytes()]);
        }
        if let Some(text) = &self.explanation {
            option(&mut record, EDE, &[&[0, 0], text.as_bytes()]);
        }
        let length = u16::try_from(record.len() - 11).unwrap_or(u16::MAX);
        if let Some(field) = record.get_mut(9..11) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        record
    }
}

/// RFC 7871 §7.2.1: "FAMILY, SOURCE PREFIX-LENGTH, and ADDRESS in the response MUST match those in
/// the query."
fn write_ecs(record: &mut Vec<u8>, ecs: &Ecs, scope: u8) {
    let octets = usize::from(ecs.source.div_ceil(8));
    let (v4, v6);
    let address: &[u8] = match ecs.address {
        std::net::IpAddr::V4(address) => {
            v4 = address.octets();
            &v4
        }
        std::net::IpAddr::V6(address) => {
            v6 = address.octets();
            &v6
        }
    };
    let address = address.get(..octets).unwrap_or(address);
    let family = ecs.family.to_be_bytes();
    option(record, ECS, &[&family, &[ecs.source, scope], address]);
}

fn option(record: &mut Vec<u8>, code: u16, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let Ok(length) = u16::try_from(length) else {
        return;
    };
    record.extend(code.to_be_bytes());
    record.extend(length.to_be_bytes());
    for part in parts {
        record.extend_from_slice(part);
    }
}
