//! Reads the queries that the fast path takes.

use crate::{
    answer::{LABEL, Transport, opt::UDP_SIZE},
    query::{Edns, HEADER_LEN},
    types::{class, rtype},
    zone::LowerName,
};

/// Largest UDP reply to a query without EDNS, in octets (RFC 1035 §2.3.4).
const UDP_MIN: usize = 512;

/// A query that may be answered fast.
pub(super) struct Asked<'q> {
    pub(super) name: &'q LowerName,
    /// Length of the whole question in octets.
    pub(super) question: usize,
    pub(super) qtype: u16,
    pub(super) edns: Option<Edns<'q>>,
    /// Most octets of the reply.
    pub(super) limit: usize,
}

impl Asked<'_> {
    /// Whether it asks for reasons, should the client be listed for them.
    pub(super) fn may_be_explained(&self) -> bool {
        let by_name = || self.qtype == rtype::TXT && self.name.as_wire().starts_with(LABEL);
        self.edns.is_some_and(|edns| edns.explain) || by_name()
    }
}

/// `None` for anything unusual. The name is put into `name`, which is the root.
#[inline]
pub(super) fn read<'q>(
    query: &'q [u8],
    transport: Transport,
    name: &'q mut LowerName,
) -> Option<Asked<'q>> {
    let (header, rest) = query.split_first_chunk::<HEADER_LEN>()?;
    // QR and opcode clear; one question, at most one record, in the additional section.
    let [_, _, flags, _, 0, 1, 0, 0, 0, 0, 0, additional @ 0..=1] = *header else {
        return None;
    };
    if flags & 0xf8 != 0 {
        return None;
    }
    name.read(rest)?;
    let rest = rest.get(name.as_wire().len()..)?;
    let (&[type_hi, type_lo, class_hi, class_lo], rest) = rest.split_first_chunk()?;
    let qtype = u16::from_be_bytes([type_hi, type_lo]);
    // The root is never compressed, so that replies about it look different.
    let usual = is_usual(qtype) && name.labels() > 0;
    if !usual || u16::from_be_bytes([class_hi, class_lo]) != class::IN {
        return None;
    }
    let edns = match (additional, rest) {
        (0, []) => None,
        (1, opt) => Some(read_opt(opt)?),
        _ => return None,
    };
    Some(Asked {
        question: name.as_wire().len() + 4,
        name,
        qtype,
        edns,
        limit: limit(transport, edns.as_ref()),
    })
}

/// The OPT record that is all of `octets`: at the root, version 0.
#[inline]
fn read_opt(octets: &[u8]) -> Option<Edns<'_>> {
    let (head, options) = octets.split_first_chunk::<11>()?;
    let [0, 0, 41, size_hi, size_lo, _, 0, flags, _, hi, lo] = *head else {
        return None;
    };
    if options.len() != usize::from(u16::from_be_bytes([hi, lo])) {
        return None;
    }
    let size = u16::from_be_bytes([size_hi, size_lo]);
    Edns::read(size, flags & 0x80 != 0, options)
}

/// As for every other reply: see `answer/reply.rs`.
fn limit(transport: Transport, edns: Option<&Edns<'_>>) -> usize {
    match (transport, edns) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => UDP_MIN,
        (Transport::Udp, Some(edns)) => usize::from(edns.udp_size.min(UDP_SIZE)).max(UDP_MIN),
    }
}

/// Types that are answered from what a zone has.
fn is_usual(qtype: u16) -> bool {
    !matches!(
        qtype,
        rtype::OPT
            | rtype::TSIG
            | rtype::TKEY
            | rtype::NXNAME
            | rtype::MAILA
            | rtype::MAILB
            | rtype::AXFR
            | rtype::IXFR
            | rtype::ANY
    )
}
