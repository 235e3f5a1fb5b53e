//! Writes a reply over its query: everything is measured first, so that a query that is left to
//! the slow path is still whole.

use std::net::IpAddr;

use super::found::{Found, Tail};
use crate::{
    abuse::cookie,
    answer::{
        opt::{COOKIE, ECS, EDE, Ede, NSID, UDP_SIZE},
        template::Template,
    },
    query::{Ecs, HEADER_LEN},
    types::{class, rtype},
    zone::image,
};

/// QR and AA.
const RESPONSE: u8 = 0x80;
const AUTHORITATIVE: u8 = 0x04;
/// RD, the only bit of its octet that a reply repeats.
const RECURSION_DESIRED: u8 = 0x01;
/// CD, the same.
const CHECKING_DISABLED: u8 = 0x10;
/// Octets of a record without RDATA, its owner a pointer.
const RECORD_HEAD: usize = 12;
/// Octets of an OPT record without options.
const OPT_HEAD: usize = 11;

/// The OPT record of the reply.
pub(super) struct Opt<'a> {
    pub(super) dnssec_ok: bool,
    pub(super) ecs: Option<Ecs>,
    pub(super) scope: u8,
    pub(super) nsid: Option<&'a [u8]>,
    pub(super) cookie: Option<[u8; cookie::REPLY_LEN]>,
    /// RFC 8914: the extended error that says so.
    pub(super) last_resort: bool,
}

/// Everything between the question and OPT.
pub(super) struct Body<'f> {
    found: &'f Found<'f>,
    /// Steered addresses and their TTL in seconds.
    addresses: Option<(&'f [IpAddr], u32)>,
    octets: usize,
    /// Records: answer, authority, additional.
    counts: [u16; 3],
}

impl<'f> Body<'f> {
    /// `None` where there are no addresses: NODATA that depends on the client.
    pub(super) fn new(
        found: &'f Found<'_>,
        addresses: Option<(&'f [IpAddr], u32)>,
    ) -> Option<Self> {
        let (mut octets, mut counts) = (0, [0; 3]);
        if let Some((template, _)) = &found.template {
            (octets, counts) = (template.octets.len(), template.counts);
        }
        let [answers, _, _] = &mut counts;
        match (&found.tail, addresses) {
            (Tail::Nothing, _) => {}
            (Tail::Static(stored), _) => {
                octets += stored.records.len();
                *answers = answers.checked_add(stored.count)?;
            }
            (Tail::Steered(..), Some((addresses @ [first, ..], _))) => {
                octets += addresses.len() * (RECORD_HEAD + address_len(first));
                *answers = answers.checked_add(u16::try_from(addresses.len()).ok()?)?;
            }
            (Tail::Steered(..), _) => return None,
        }
        Some(Self {
            found,
            addresses,
            octets,
            counts,
        })
    }

    /// Writes the reply after a question of this many octets; its length, or `None` when it would
    /// be longer than `limit` or the buffer: then nothing was written.
    pub(super) fn write(
        &self,
        slot: &mut [u8],
        question: usize,
        limit: usize,
        opt: Option<&Opt<'_>>,
    ) -> Option<usize> {
        let start = HEADER_LEN + question;
        let body = start + self.octets;
        let length = body + opt.map_or(0, Opt::len);
        if length > limit {
            return None;
        }
        let reply = slot.get_mut(..length)?;
        self.header(reply.first_chunk_mut()?, opt.is_some());
        let mut out = Cursor {
            rest: reply.get_mut(start..)?,
        };
        if let Some((template, by)) = &self.found.template {
            out.template(template, *by);
        }
        self.tail(&mut out);
        if let Some(opt) = opt {
            opt.write(&mut out);
        }
        Some(length)
    }

    fn header(&self, header: &mut [u8; HEADER_LEN], opt: bool) {
        let [_, _, flags, more, _, _, counts @ ..] = header;
        let template = self.found.template.as_ref();
        let authoritative = template.is_none_or(|(template, _)| template.authoritative);
        let aa = if authoritative { AUTHORITATIVE } else { 0 };
        *flags = RESPONSE | aa | (*flags & RECURSION_DESIRED);
        *more = (*more & CHECKING_DISABLED) | (self.found.rcode & 0x0f) as u8;
        let [an, ns, ar] = self.counts.map(u16::to_be_bytes);
        let [_, ar_lo] = ar;
        // Fewer additional records than 255 fit into a reply.
        let ar_lo = ar_lo.wrapping_add(u8::from(opt));
        let [an_hi, an_lo] = an;
        let [ns_hi, ns_lo] = ns;
        *counts = [an_hi, an_lo, ns_hi, ns_lo, 0, ar_lo];
    }

    fn tail(&self, out: &mut Cursor<'_>) {
        let owner = (0xc000 | self.found.owner).to_be_bytes();
        match (&self.found.tail, self.addresses) {
            (Tail::Static(stored), _) if self.found.template.is_none() => out.put(stored.records),
            (Tail::Static(stored), _) => {
                for record in image::records(stored.records) {
                    out.put(&owner);
                    out.put(record.get(2..).unwrap_or_default());
                }
            }
            (Tail::Steered(..), Some((addresses, ttl))) => {
                for address in addresses {
                    out.address(owner, *address, ttl);
                }
            }
            (Tail::Nothing | Tail::Steered(..), _) => {}
        }
    }
}

fn address_len(address: &IpAddr) -> usize {
    if address.is_ipv4() { 4 } else { 16 }
}

impl Opt<'_> {
    fn len(&self) -> usize {
        let nsid = self.nsid.map_or(0, |nsid| 4 + nsid.len());
        let ecs = self
            .ecs
            .map_or(0, |ecs| 8 + usize::from(ecs.source.div_ceil(8)));
        let cookie = self.cookie.map_or(0, |cookie| 4 + cookie.len());
        let error = if self.last_resort {
            6 + Ede::NoReachablePop.text().len()
        } else {
            0
        };
        OPT_HEAD + nsid + ecs + cookie + error
    }

    /// In the order of `answer/opt.rs`.
    fn write(&self, out: &mut Cursor<'_>) {
        let [size_hi, size_lo] = UDP_SIZE.to_be_bytes();
        let flags = if self.dnssec_ok { 0x80 } else { 0 };
        let length = u16::try_from(self.len() - OPT_HEAD).unwrap_or(0);
        let [hi, lo] = length.to_be_bytes();
        out.put(&[0, 0, 41, size_hi, size_lo, 0, 0, flags, 0, hi, lo]);
        if let Some(nsid) = self.nsid {
            out.option(NSID, nsid.len());
            out.put(nsid);
        }
        if let Some(ecs) = &self.ecs {
            self.write_ecs(ecs, out);
        }
        if let Some(cookie) = &self.cookie {
            out.option(COOKIE, cookie.len());
            out.put(cookie);
        }
        if self.last_resort {
            let text = Ede::NoReachablePop.text();
            out.option(EDE, 2 + text.len());
            out.put(&Ede::NoReachablePop.info_code().to_be_bytes());
            out.put(text.as_bytes());
        }
    }

    fn write_ecs(&self, ecs: &Ecs, out: &mut Cursor<'_>) {
        let octets = usize::from(ecs.source.div_ceil(8));
        // RFC 7871 §7.1.2: with SOURCE PREFIX-LENGTH 0 nothing of the client's address is used.
        let scope = if ecs.source == 0 { 0 } else { self.scope };
        let [hi, lo] = ecs.family.to_be_bytes();
        out.option(ECS, 4 + octets);
        out.put(&[hi, lo, ecs.source, scope]);
        match ecs.address {
            IpAddr::V4(v4) => out.put(v4.octets().get(..octets).unwrap_or_default()),
            IpAddr::V6(v6) => out.put(v6.octets().get(..octets).unwrap_or_default()),
        }
    }
}

/// The part of the reply that is not written yet; as long as was measured.
struct Cursor<'b> {
    rest: &'b mut [u8],
}

impl Cursor<'_> {
    fn put(&mut self, octets: &[u8]) {
        if let Some((place, rest)) =
            std::mem::take(&mut self.rest).split_at_mut_checked(octets.len())
        {
            place.copy_from_slice(octets);
            self.rest = rest;
        }
    }

    fn option(&mut self, code: u16, length: usize) {
        let [code_hi, code_lo] = code.to_be_bytes();
        let [hi, lo] = u16::try_from(length).unwrap_or(0).to_be_bytes();
        self.put(&[code_hi, code_lo, hi, lo]);
    }

    fn template(&mut self, template: &Template<'_>, by: usize) {
        let octets = template.octets;
        if let Some((place, rest)) =
            std::mem::take(&mut self.rest).split_at_mut_checked(octets.len())
        {
            place.copy_from_slice(octets);
            if by > 0 {
                template.shift(place, by);
            }
            self.rest = rest;
        }
    }

    fn address(&mut self, owner: [u8; 2], address: IpAddr, ttl: u32) {
        let [o0, o1] = owner;
        let [c0, c1] = class::IN.to_be_bytes();
        let [t0, t1, t2, t3] = ttl.to_be_bytes();
        match address {
            IpAddr::V4(v4) => {
                let [r0, r1] = rtype::A.to_be_bytes();
                let [a, b, c, d] = v4.octets();
                self.put(&[o0, o1, r0, r1, c0, c1, t0, t1, t2, t3, 0, 4, a, b, c, d]);
            }
            IpAddr::V6(v6) => {
                let [r0, r1] = rtype::AAAA.to_be_bytes();
                self.put(&[o0, o1, r0, r1, c0, c1, t0, t1, t2, t3, 0, 16]);
                self.put(&v6.octets());
            }
        }
    }
}
