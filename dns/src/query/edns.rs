//! The OPT record (RFC 6891) and the options that are understood. Options are read once, in
//! order; an unknown one is skipped, and one that appears twice has a defined meaning.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Ecs,
    wire::{Record, u16_at},
};
use crate::types::rcode;

/// OPTION-CODE of NSID (RFC 5001 §2.3).
const NSID: u16 = 3;
/// OPTION-CODE of EDNS Client Subnet (RFC 7871 §6).
const ECS: u16 = 8;
/// OPTION-CODE of DNS cookies (RFC 7873 §4).
const COOKIE: u16 = 10;
/// OPTION-CODE of extended errors (RFC 8914 §2).
const EDE: u16 = 15;

/// What the OPT record of a query says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns<'a> {
    /// Requestor's UDP payload size in octets, as claimed.
    pub udp_size: u16,
    /// DO (RFC 3225), copied.
    pub dnssec_ok: bool,
    /// Client subnet.
    pub ecs: Option<Ecs>,
    /// Whether the name server identifier is asked for.
    pub nsid: bool,
    /// Whether the reasons of the answer are asked for: by an extended error with INFO-CODE 0 and no
    /// EXTRA-TEXT, or without either. RFC 8914 gives the option no meaning in queries.
    pub explain: bool,
    /// The first COOKIE option: "only the first (the one closest to the DNS header) is considered.
    /// All others are ignored" (RFC 7873 §5.2). Whether it is well-formed is judged where it is
    /// known whether this server has cookies.
    pub cookie: Option<&'a [u8]>,
}

impl<'a> Edns<'a> {
    /// The parts of an OPT record of version 0; `None` when an option is not in order.
    #[inline]
    pub(crate) fn read(udp_size: u16, dnssec_ok: bool, options: &'a [u8]) -> Option<Self> {
        let mut edns = Self {
            udp_size,
            dnssec_ok,
            ecs: None,
            nsid: false,
            explain: false,
            cookie: None,
        };
        read_options(options, &mut edns)?;
        Some(edns)
    }
}

/// Reads an OPT record into `edns`, which is filled as far as the record could be read, so that
/// a refusal carries an OPT record too.
///
/// # Errors
/// The response code: FORMERR or BADVERS.
pub(super) fn read<'a>(record: &Record<'a>, edns: &mut Option<Edns<'a>>) -> Result<(), u16> {
    // RFC 6891 §6.1.2: NAME "MUST be 0 (root domain)".
    if record.owner != [0] {
        return Err(rcode::FORMERR);
    }
    let [_extended_rcode, version, flags, _] = record.ttl;
    let opt = edns.insert(Edns {
        udp_size: record.class,
        dnssec_ok: flags & 0x80 != 0,
        ecs: None,
        nsid: false,
        explain: false,
        cookie: None,
    });
    // RFC 6891 §6.1.3: "If a responder does not implement the VERSION level of the request, then it
    // MUST respond with RCODE=BADVERS." Its options may mean anything, so they are not read.
    if version != 0 {
        return Err(rcode::BADVERS);
    }
    read_options(record.rdata, opt).ok_or(rcode::FORMERR)
}

fn read_options<'a>(mut rest: &'a [u8], edns: &mut Edns<'a>) -> Option<()> {
    while !rest.is_empty() {
        let code = u16_at(rest, 0)?;
        let length = usize::from(u16_at(rest, 2)?);
        let end = 4 + length;
        let data = rest.get(4..end)?;
        rest = rest.get(end..)?;
        match code {
            // Which of two client subnets would be meant? Neither: a format error.
            ECS if edns.ecs.is_some() => return None,
            ECS => edns.ecs = Some(read_ecs(data)?),
            NSID => edns.nsid = true,
            EDE => edns.explain |= matches!(data, [] | [0, 0]),
            COOKIE => {
                edns.cookie.get_or_insert(data);
            }
            // RFC 6891 §6.1.2: "Any OPTION-CODE values not understood by a responder or requestor
            // MUST be ignored."
            _ => {}
        }
    }
    Some(())
}

/// RFC 7871 §7.1.2: a query with a wrongly formatted option (unknown FAMILY, a prefix longer than
/// an address, octets missing or left over, bits set past the prefix) is answered FORMERR.
fn read_ecs(data: &[u8]) -> Option<Ecs> {
    let (head, octets) = data.split_first_chunk::<4>()?;
    let [family_hi, family_lo, source, scope] = *head;
    let family = u16::from_be_bytes([family_hi, family_lo]);
    // RFC 7871 §6: SCOPE PREFIX-LENGTH "MUST be set to 0" in queries.
    if scope != 0 {
        return None;
    }
    // RFC 7871 §6: ADDRESS is "truncated to the number of bits indicated by the SOURCE
    // PREFIX-LENGTH field, padding with 0 bits to pad to the end of the last octet needed."
    if octets.len() != usize::from(source.div_ceil(8)) {
        return None;
    }
    let unused = octets.len() * 8 - usize::from(source);
    if let Some(last) = octets.last()
        && u32::from(*last).trailing_zeros() < u32::try_from(unused).ok()?
    {
        return None;
    }
    let address = match family {
        // `dig +subnet=0` sends family 0; nothing is said about the client, which is an opt-out.
        0 if source == 0 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        1 => IpAddr::V4(Ipv4Addr::from(padded::<4>(octets)?)),
        2 => IpAddr::V6(Ipv6Addr::from(padded::<16>(octets)?)),
        _ => return None,
    };
    Some(Ecs {
        family,
        source,
        scope,
        address,
    })
}

/// `octets` with zeros after them; `None` when there are more than `N`.
fn padded<const N: usize>(octets: &[u8]) -> Option<[u8; N]> {
    let mut whole = [0; N];
    whole.get_mut(..octets.len())?.copy_from_slice(octets);
    Some(whole)
}
