//! From octets to a checked query. Total: every octet string is a query, a refusal with a
//! response code, or nothing to answer. Nothing is allocated; every loop is bounded by the
//! length of the message, each octet being looked at once.
//!
//! ```text
//! header → question → skip answer, authority → additional: OPT, TSIG → EDNS options
//! ```
//!
//! Choices of ours:
//!
//! * Octets after the last record that the counts announce are a format error.
//! * TSIG (RFC 8945 §5.2.1): no keys are configured, so every key is an unknown one; the query is
//!   answered NOTAUTH with BADKEY, never served as if it had not been signed. A TSIG that is not
//!   the last record, or of which there are two, is a format error (RFC 8945 §5.1).
//! * SIG(0) (RFC 2931 §3) may be ignored by a server that does not need it, and is.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod edns;
mod wire;

use std::net::IpAddr;

pub use edns::Edns;
pub use wire::Question;

use crate::types::{rcode, rtype};
use wire::Reader;

/// Length of the DNS header in octets (RFC 1035 §4.1.1).
pub const HEADER_LEN: usize = 12;

/// EDNS Client Subnet option (RFC 7871 §6), checked: `address` has no bit set beyond `source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ecs {
    /// 1 for IPv4, 2 for IPv6; 0 only with `source` 0 (what `dig +subnet=0` sends).
    pub family: u16,
    /// SOURCE PREFIX-LENGTH in bits; 0 is the client's opt-out.
    pub source: u8,
    /// SCOPE PREFIX-LENGTH in bits; always 0 in a query.
    pub scope: u8,
    /// The client's prefix; `0.0.0.0` for family 0.
    pub address: IpAddr,
}

/// The header of a query, as far as a reply repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// ID
    pub id: u16,
    /// OPCODE, 0..=15
    pub opcode: u8,
    /// RD, copied
    pub recursion_desired: bool,
    /// CD, copied (RFC 4035 §3.2.2)
    pub checking_disabled: bool,
}

/// A TSIG record that nobody here can verify; what the BADKEY reply repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tsig<'a> {
    /// Name of the key, uncompressed wire form.
    pub key: &'a [u8],
    /// Name of the algorithm, uncompressed wire form.
    pub algorithm: &'a [u8],
    /// Time signed (48 bits) and fudge (16 bits).
    pub time_and_fudge: &'a [u8],
    /// Original ID.
    pub original_id: u16,
}

/// A well-formed query for one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// What the reply repeats of the header.
    pub header: Header,
    /// The question.
    pub question: Question<'a>,
    /// EDNS, when the query has an OPT record.
    pub edns: Option<Edns<'a>>,
    /// TSIG, when the query has one.
    pub tsig: Option<Tsig<'a>>,
}

/// A message that gets a reply without anything being looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// What the reply repeats of the header.
    pub header: Header,
    /// The question, where one could be read.
    pub question: Option<Question<'a>>,
    /// Whether an OPT record was seen: then the reply has one too (RFC 6891 §6.1.1).
    pub edns: Option<Edns<'a>>,
    /// The response code, extended ones included.
    pub rcode: u16,
}

/// A query without a question, whose only purpose is to get a cookie (RFC 7873 §5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieOnly<'a> {
    /// What the reply repeats of the header.
    pub header: Header,
    /// EDNS, with a COOKIE option.
    pub edns: Edns<'a>,
}

/// Why nothing is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Shorter than a header: there is no ID to repeat.
    Short,
    /// QR is set. Answering responses would let two servers talk to each other for ever.
    Response,
}

impl DropReason {
    /// The value of the metric label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Response => "response",
        }
    }
}

/// What a message turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// To be looked up.
    Query(Query<'a>),
    /// To be answered with a response code only.
    Refuse(Refusal<'a>),
    /// To be answered with a cookie.
    CookieOnly(CookieOnly<'a>),
    /// Not to be answered.
    Drop(DropReason),
}

/// Reads one message.
pub fn parse(message: &[u8]) -> Parsed<'_> {
    let Some(fixed) = message.first_chunk::<HEADER_LEN>() else {
        return Parsed::Drop(DropReason::Short);
    };
    let [id0, id1, hi, lo, counts @ ..] = *fixed;
    if hi & 0x80 != 0 {
        return Parsed::Drop(DropReason::Response);
    }
    let header = Header {
        id: u16::from_be_bytes([id0, id1]),
        opcode: (hi >> 3) & 0x0f,
        recursion_desired: hi & 0x01 != 0,
        checking_disabled: lo & 0x10 != 0,
    };
    let mut seen = Seen::default();
    let outcome = read_body(message, counts, &mut seen);
    let refuse = |rcode| {
        Parsed::Refuse(Refusal {
            header,
            question: seen.question,
            edns: seen.edns,
            rcode,
        })
    };
    // RFC 1035 §4.1.1: "Not Implemented - The name server does not support the requested kind of
    // query." Nothing but QUERY is done; the rest of the message need not even be well-formed.
    if header.opcode != 0 {
        return refuse(rcode::NOTIMP);
    }
    match (outcome, seen.question) {
        (Ok(()), Some(question)) => Parsed::Query(Query {
            header,
            question,
            edns: seen.edns,
            tsig: seen.tsig,
        }),
        (Ok(()), None) => match (seen.edns, seen.tsig) {
            // RFC 7873 §5.4: queries with QDCOUNT zero are supported "provided that an OPT record is
            // present with a COOKIE option".
            (Some(edns), None) if edns.cookie.is_some() => {
                Parsed::CookieOnly(CookieOnly { header, edns })
            }
            _ => refuse(rcode::FORMERR),
        },
        (Err(rcode), _) => refuse(rcode),
    }
}

/// What was read before the first error.
#[derive(Default)]
struct Seen<'a> {
    question: Option<Question<'a>>,
    edns: Option<Edns<'a>>,
    tsig: Option<Tsig<'a>>,
}

/// Everything after the header. The error is a response code.
fn read_body<'a>(message: &'a [u8], counts: [u8; 8], seen: &mut Seen<'a>) -> Result<(), u16> {
    let [qd, an, ns, ar] = count_fields(counts);
    let mut reader = Reader::new(message, HEADER_LEN);
    for _ in 0..qd {
        let question = reader.question().ok_or(rcode::FORMERR)?;
        seen.question = (qd == 1).then_some(question);
    }
    for _ in 0..u32::from(an) + u32::from(ns) {
        let record = reader.record().ok_or(rcode::FORMERR)?;
        // RFC 6891 §6.1.1: "The OPT RR MAY be placed anywhere within the additional data section",
        // and nowhere else; the same holds for TSIG (RFC 8945 §5.1).
        if record.rtype == rtype::OPT || record.rtype == rtype::TSIG {
            return Err(rcode::FORMERR);
        }
    }
    for at in 0..ar {
        let record = reader.record().ok_or(rcode::FORMERR)?;
        match record.rtype {
            // RFC 6891 §6.1.1: "If a query message with more than one OPT RR is received, a FORMERR
            // (RCODE=1) MUST be returned."
            rtype::OPT if seen.edns.is_some() => return Err(rcode::FORMERR),
            rtype::OPT => edns::read(&record, &mut seen.edns)?,
            // RFC 8945 §5.1: "If multiple TSIG records are detected or a TSIG record is present in
            // any other position, the DNS message is dropped and a response with RCODE 1 (FORMERR)
            // MUST be returned."
            rtype::TSIG if at + 1 != ar => return Err(rcode::FORMERR),
            rtype::TSIG => seen.tsig = Some(record.tsig().ok_or(rcode::FORMERR)?),
            _ => {}
        }
    }
    // RFC 9619 §4: "A DNS message with OPCODE = 0 and QDCOUNT > 1 MUST be treated as an incorrectly
    // formatted message." Without a question there is nothing to answer but a cookie. Told only here,
    // for RFC 6891 §6.1.1 wants an OPT record in the reply to any request that has one.
    if qd <= 1 && reader.is_at_end() {
        Ok(())
    } else {
        Err(rcode::FORMERR)
    }
}

fn count_fields(octets: [u8; 8]) -> [u16; 4] {
    let [a, b, c, d, e, f, g, h] = octets;
    [[a, b], [c, d], [e, f], [g, h]].map(u16::from_be_bytes)
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests;
