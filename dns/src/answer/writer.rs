//! Writes a reply section by section, never past its limit, RRsets whole or not at all.

use super::compress::Compressor;
use crate::{
    query::Header,
    types::{class, rtype},
};

/// QR
const RESPONSE: u8 = 0x80;
/// AA
const AUTHORITATIVE: u8 = 0x04;
/// TC
const TRUNCATED: u8 = 0x02;
/// RD
const RECURSION_DESIRED: u8 = 0x01;
/// CD
const CHECKING_DISABLED: u8 = 0x10;

/// Where a record goes, as the index of its count in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Answer,
    Authority,
    Additional,
}

/// The RRset did not fit and was left out whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A reply while it grows.
pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// Most octets that sections may take; what OPT and TSIG need is kept back.
    limit: usize,
    compressor: Compressor,
    questions: u16,
    counts: [u16; 3],
}

/// What the header says beside the counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flags {
    pub(super) authoritative: bool,
    pub(super) truncated: bool,
    /// The whole response code; its upper bits stand in the OPT record.
    pub(super) rcode: u16,
}

/// Owner, type and TTL of an RRset about to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    /// Uncompressed wire form.
    pub(super) owner: &'a [u8],
    pub(super) rtype: u16,
    pub(super) class: u16,
    pub(super) ttl: u32,
}

impl<'o> Writer<'o> {
    /// Starts a reply in `out`, which is cleared.
    pub(super) fn new(out: &'o mut Vec<u8>, limit: usize) -> Self {
        out.clear();
        out.resize(crate::query::HEADER_LEN, 0);
        Self {
            out,
            limit,
            compressor: Compressor::new(),
            questions: 0,
            counts: [0; 3],
        }
    }

    /// Repeats the question: the name in the case it came in.
    pub(super) fn question(&mut self, name: &[u8], qtype: u16, qclass: u16) {
        self.compressor.write(self.out, name);
        self.out.extend_from_slice(&qtype.to_be_bytes());
        self.out.extend_from_slice(&qclass.to_be_bytes());
        self.questions = 1;
    }

    /// Number of octets written so far.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Number of name suffixes that are remembered for compression.
    pub(super) fn suffixes(&self) -> usize {
        self.compressor.len()
    }

    /// Records per section so far: answer, authority, additional.
    pub(super) fn counts(&self) -> [u16; 3] {
        self.counts
    }

    /// Most octets that sections may take.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Appends an RRset.
    ///
    /// # Errors
    /// [`Full`] when it does not fit; then nothing of it remains.
    pub(super) fn rrset<R: AsRef<[u8]>>(
        &mut self,
        section: Section,
        head: &Head<'_>,
        rdata: impl IntoIterator<Item = R>,
    ) -> Result<(), Full> {
        let start = self.out.len();
        let mut count = 0_u16;
        for one in rdata {
            self.record(head, one.as_ref());
            if self.out.len() > self.limit || count == u16::MAX {
                self.out.truncate(start);
                self.compressor.forget_from(start);
                return Err(Full);
            }
            count += 1;
        }
        if let Some(total) = self.counts.get_mut(section as usize) {
            *total = total.saturating_add(count);
        }
        Ok(())
    }

    fn record(&mut self, head: &Head<'_>, rdata: &[u8]) {
        self.compressor.write(self.out, head.owner);
        self.out.extend_from_slice(&head.rtype.to_be_bytes());
        self.out.extend_from_slice(&head.class.to_be_bytes());
        self.out.extend_from_slice(&head.ttl.to_be_bytes());
        let at = self.out.len();
        self.out.extend_from_slice(&[0, 0]);
        self.rdata(head.rtype, rdata);
        let length = u16::try_from(self.out.len() - at - 2).unwrap_or(u16::MAX);
        if let Some(field) = self.out.get_mut(at..at + 2) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }

    fn rdata(&mut self, rtype: u16, rdata: &[u8]) {
        let (fixed, names) = names_in(rtype);
        let (head, mut rest) = rdata.split_at_checked(fixed).unwrap_or((rdata, &[]));
        self.out.extend_from_slice(head);
        for _ in 0..names {
            let (name, tail) = rest.split_at(name_len(rest));
            self.compressor.write(self.out, name);
            rest = tail;
        }
        self.out.extend_from_slice(rest);
    }

    /// Appends a record that is already in wire form and for which room was kept (OPT, TSIG).
    pub(super) fn reserved(&mut self, record: &[u8]) {
        self.out.extend_from_slice(record);
        let [_, _, additional] = &mut self.counts;
        *additional = additional.saturating_add(1);
    }

    /// Fills in the header.
    pub(super) fn finish(self, header: &Header, flags: Flags) {
        let set = |on: bool, bit: u8| if on { bit } else { 0 };
        let hi = RESPONSE
            | header.opcode << 3
            | set(flags.authoritative, AUTHORITATIVE)
            | set(flags.truncated, TRUNCATED)
            | set(header.recursion_desired, RECURSION_DESIRED);
        // RA, Z and AD stay clear: no recursion, nothing validated.
        let lo = set(header.checking_disabled, CHECKING_DISABLED) | (flags.rcode & 0x0f) as u8;
        let [an, ns, ar] = self.counts;
        let fields = [
            header.id,
            u16::from_be_bytes([hi, lo]),
            self.questions,
            an,
            ns,
            ar,
        ];
        let octets = fields.iter().flat_map(|field| field.to_be_bytes());
        for (place, octet) in self.out.iter_mut().zip(octets) {
            *place = octet;
        }
    }
}

/// Whether a reply to a question for these records (owner and data in uncompressed wire form) holds all of
/// them, over TCP too.
pub(crate) fn fits<'r>(owner: &[u8], rtype: u16, rdata: impl Iterator<Item = &'r [u8]>) -> bool {
    // What OPT takes at least is kept back.
    const LONGEST: usize = 65_535 - 11;
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, LONGEST);
    writer.question(owner, rtype, class::IN);
    let head = Head {
        owner,
        rtype,
        class: class::IN,
        ttl: 0,
    };
    writer.rrset(Section::Answer, &head, rdata).is_ok()
}

/// Octets before the names in the RDATA of a type, and how many names there are that are
/// compressed.
///
/// RFC 3597 §4: "servers MUST NOT compress domain names embedded in the RDATA of types that are
/// class-specific or not well-known"; the well-known ones are those of RFC 1035.
pub(crate) fn names_in(rtype: u16) -> (usize, usize) {
    match rtype {
        rtype::NS
        | rtype::CNAME
        | rtype::PTR
        | rtype::MB
        | rtype::MD
        | rtype::MF
        | rtype::MG
        | rtype::MR => (0, 1),
        rtype::SOA | rtype::MINFO => (0, 2),
        rtype::MX => (2, 1),
        _ => (0, 0),
    }
}

/// Length of the uncompressed name at the start of `octets`; all of them when there is none.
pub(crate) fn name_len(octets: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&length) = octets.get(at) {
        at += 1 + usize::from(length);
        if length == 0 {
            return at.min(octets.len());
        }
    }
    octets.len()
}
