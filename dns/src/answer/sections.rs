//! Writes a plan: answer, authority, and what the additional section has room for.
//!
//! Choices of ours:
//!
//! * A positive answer has no NS RRset in the authority section: nobody needs it, and it would
//!   make small questions into large replies.
//! * Answers of type NS, MX and SRV bring the addresses of their targets along, when the zone has
//!   them as static data and they fit (RFC 1035 §3.3.9, §3.3.11, RFC 2782). Steered targets are
//!   left out: their addresses depend on the client and have a scope of their own.
//! * When a section does not fit, TC is set and writing ends: a client that sees TC asks again over
//!   TCP, and RRsets are whole either way (RFC 2181 §9).

use std::net::IpAddr;

use arrayvec::ArrayVec;

use super::{
    plan::{Authority, Body, Choice, Piece, Plan},
    writer::{Full, Head, Section, Writer},
};
use crate::{
    types::{class, rtype},
    zone::{Lookup, LowerName, Rrset, Zone},
};
use meridian_config::Family;

/// Most optional RRsets that are tried in vain.
const MAX_LEFT_OUT: usize = 8;
/// Most targets whose addresses go along with an MX, SRV or NS answer.
const MAX_TARGETS: usize = 16;

/// Writes all sections; whether the reply is truncated.
pub(super) fn write(writer: &mut Writer<'_>, plan: &Plan<'_>) -> bool {
    try_write(writer, plan).is_err()
}

fn try_write(writer: &mut Writer<'_>, plan: &Plan<'_>) -> Result<(), Full> {
    for piece in &plan.answer {
        write_piece(writer, plan, piece)?;
    }
    match plan.authority {
        Authority::Nothing => {}
        Authority::Negative => write_soa(writer, plan.zone)?,
        Authority::Referral { owner, ns } => {
            write_rrset(writer, Section::Authority, owner, &ns)?;
            return write_glue(writer, plan.zone, owner, &ns);
        }
    }
    if let Some(Body::Static(rrset)) = plan.answer.last().map(|piece| &piece.body) {
        write_additional(writer, plan.zone, rrset);
    }
    Ok(())
}

fn write_piece(writer: &mut Writer<'_>, plan: &Plan<'_>, piece: &Piece<'_>) -> Result<(), Full> {
    let head = |rtype, ttl| Head {
        owner: &piece.owner,
        rtype,
        class: class::IN,
        ttl,
    };
    match &piece.body {
        Body::Static(rrset) => write_rrset(writer, Section::Answer, &piece.owner, rrset),
        Body::Synthesised { ttl, target } => {
            writer.rrset(Section::Answer, &head(rtype::CNAME, *ttl), [target])
        }
        Body::Steered => match &plan.steered {
            Some(choice) => write_addresses_of(writer, &piece.owner, choice),
            None => Ok(()),
        },
    }
}

/// The steered RRset, in the order of the decision.
fn write_addresses_of(writer: &mut Writer<'_>, owner: &[u8], choice: &Choice) -> Result<(), Full> {
    let addresses = choice.decision.addresses.iter();
    let head = |rtype| Head {
        owner,
        rtype,
        class: class::IN,
        ttl: choice.decision.ttl,
    };
    match choice.family {
        Family::V4 => {
            let v4 = addresses.filter_map(|address| match address {
                IpAddr::V4(address) => Some(address.octets()),
                IpAddr::V6(_) => None,
            });
            writer.rrset(Section::Answer, &head(rtype::A), v4)
        }
        Family::V6 => {
            let v6 = addresses.filter_map(|address| match address {
                IpAddr::V4(_) => None,
                IpAddr::V6(address) => Some(address.octets()),
            });
            writer.rrset(Section::Answer, &head(rtype::AAAA), v6)
        }
    }
}

fn write_rrset(
    writer: &mut Writer<'_>,
    section: Section,
    owner: &[u8],
    rrset: &Rrset<'_>,
) -> Result<(), Full> {
    let head = Head {
        owner,
        rtype: rrset.rtype,
        class: class::IN,
        ttl: rrset.ttl,
    };
    writer.rrset(section, &head, rrset.rdata())
}

/// RFC 2308 §3: the SOA of the zone; "the TTL of this record is set from the minimum of the
/// MINIMUM field of the SOA record and the TTL of the SOA itself".
fn write_soa(writer: &mut Writer<'_>, zone: &Zone) -> Result<(), Full> {
    let Some(soa) = zone.soa() else {
        return Ok(());
    };
    let head = Head {
        owner: zone.apex_wire(),
        rtype: rtype::SOA,
        class: class::IN,
        ttl: zone.negative_ttl(),
    };
    writer.rrset(Section::Authority, &head, soa.rdata())
}

/// Addresses of a cut's name servers that the zone knows.
///
/// RFC 9471 §3.1: all glue of in-domain name servers goes along, or TC is set. What else the zone
/// knows comes after it and may be left out (§3.2).
fn write_glue(
    writer: &mut Writer<'_>,
    zone: &Zone,
    cut: &[u8],
    ns: &Rrset<'_>,
) -> Result<(), Full> {
    let targets = |in_domain: bool| {
        let named = |target| Some((target, LowerName::from_wire(target)?));
        ns.rdata()
            .filter_map(named)
            .filter(move |(_, name)| name.is_at_or_below(cut) == in_domain)
    };
    for (target, name) in targets(true) {
        for rrset in addresses_of(zone, &name) {
            write_rrset(writer, Section::Additional, target, &rrset)?;
        }
    }
    let mut left_out = 0;
    for (target, name) in targets(false) {
        write_optional(writer, zone, target, &name, &mut left_out);
    }
    Ok(())
}

/// Addresses of the targets of an answer, as far as they fit; leaving them out is no truncation
/// (RFC 2181 §9).
fn write_additional(writer: &mut Writer<'_>, zone: &Zone, rrset: &Rrset<'_>) {
    let skip = match rrset.rtype {
        rtype::NS => 0,
        rtype::MX => 2,
        rtype::SRV => 6,
        _ => return,
    };
    let mut seen: ArrayVec<LowerName, MAX_TARGETS> = ArrayVec::new();
    let mut left_out = 0;
    for target in rrset.rdata().filter_map(|rdata| rdata.get(skip..)) {
        let Some(name) = LowerName::from_wire(target) else {
            continue;
        };
        if seen.iter().any(|other| other.as_wire() == name.as_wire()) {
            continue;
        }
        write_optional(writer, zone, target, &name, &mut left_out);
        if seen.try_push(name).is_err() {
            return;
        }
    }
}

/// Writes the addresses of one name that fit. What does not fit costs time too, so that nothing
/// more is tried after [`MAX_LEFT_OUT`] of them.
fn write_optional(
    writer: &mut Writer<'_>,
    zone: &Zone,
    owner: &[u8],
    name: &LowerName,
    left_out: &mut usize,
) {
    if *left_out >= MAX_LEFT_OUT {
        return;
    }
    for rrset in addresses_of(zone, name) {
        if write_rrset(writer, Section::Additional, owner, &rrset).is_err() {
            *left_out += 1;
        }
    }
}

/// A and AAAA of a name as the zone has them: glue, its own data, or what a wildcard gives.
fn addresses_of<'z>(zone: &'z Zone, name: &LowerName) -> impl Iterator<Item = Rrset<'z>> + use<'z> {
    let find = |rtype| {
        // Glue first: below a cut a lookup would end in the referral.
        let exact = zone.exact(name, rtype);
        exact.or_else(|| match zone.lookup(name, rtype) {
            Lookup::Answer(rrset) => Some(rrset),
            _ => None,
        })
    };
    let found = if zone.contains(name) {
        [find(rtype::A), find(rtype::AAAA)]
    } else {
        [None, None]
    };
    found.into_iter().flatten()
}
