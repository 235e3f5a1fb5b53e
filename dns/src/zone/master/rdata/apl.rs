//! APL (RFC 3123): a list of address prefixes, perhaps empty.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    check::{RdataError, Wire},
    read::Input,
    scalar::decimal,
    write::push,
};
use crate::zone::master::problem::{Expected, Fault};

const IPV4: u16 = 1;
const IPV6: u16 = 2;

/// Octets and bits of an address of a family.
fn size(family: u16) -> Result<(usize, u8), RdataError> {
    match family {
        IPV4 => Ok((4, 32)),
        IPV6 => Ok((16, 128)),
        _ => Err(RdataError::Prefix),
    }
}

/// RFC 3123 §4: trailing zero octets of an address "MUST NOT" be sent, so each prefix has one form.
pub(super) fn check(wire: &mut Wire<'_>) -> Result<(), RdataError> {
    while !wire.0.is_empty() {
        item(wire)?;
    }
    Ok(())
}

struct Item {
    negated: bool,
    prefix: u8,
    address: IpAddr,
}

fn item(wire: &mut Wire<'_>) -> Result<Item, RdataError> {
    let family = wire.u16()?;
    let prefix = wire.u8()?;
    let length = wire.u8()?;
    let octets = wire.take(usize::from(length & 0x7f))?;
    let (most, bits) = size(family)?;
    if prefix > bits || octets.len() > most || octets.last() == Some(&0) {
        return Err(RdataError::Prefix);
    }
    let mut whole = [0; 16];
    for (slot, octet) in whole.iter_mut().zip(octets) {
        *slot = *octet;
    }
    let [a, b, c, d, ..] = whole;
    Ok(Item {
        negated: length & 0x80 != 0,
        prefix,
        address: match family {
            IPV4 => Ipv4Addr::new(a, b, c, d).into(),
            _ => Ipv6Addr::from(whole).into(),
        },
    })
}

/// RFC 3123 §5: `[!]afi:address/prefix`, any number of them.
pub(super) fn read(input: &mut Input<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    while input.peek().is_some() {
        out.extend(input.word(Expected::Prefix, parse)?);
    }
    Ok(())
}

fn parse(text: &str) -> Option<Vec<u8>> {
    let (negated, rest) = match text.strip_prefix('!') {
        Some(rest) => (0x80, rest),
        None => (0, text),
    };
    let (family, rest) = rest.split_once(':')?;
    let (address, prefix) = rest.rsplit_once('/')?;
    let family = u16::try_from(decimal(family, 65_535)?).ok()?;
    let (_, bits) = size(family).ok()?;
    let mut octets = match family {
        IPV4 => address.parse::<Ipv4Addr>().ok()?.octets().to_vec(),
        _ => address.parse::<Ipv6Addr>().ok()?.octets().to_vec(),
    };
    while octets.last() == Some(&0) {
        octets.pop();
    }
    let mut wire = family.to_be_bytes().to_vec();
    wire.push(u8::try_from(decimal(prefix, u32::from(bits))?).ok()?);
    wire.push(negated | u8::try_from(octets.len()).ok()?);
    wire.extend(octets);
    Some(wire)
}

/// The text of checked octets.
pub(super) fn write(wire: &mut Wire<'_>, out: &mut String) -> Result<(), RdataError> {
    let mut first = true;
    while !wire.0.is_empty() {
        let item = item(wire)?;
        if !std::mem::take(&mut first) {
            out.push(' ');
        }
        let sign = if item.negated { "!" } else { "" };
        let family = if item.address.is_ipv4() { IPV4 } else { IPV6 };
        push(
            out,
            format_args!("{sign}{family}:{}/{}", item.address, item.prefix),
        );
    }
    Ok(())
}
