//! IPSECKEY (RFC 4025) and AMTRELAY (RFC 8777): a gateway whose form an earlier octet names.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{
    check::{RdataError, Wire},
    encoding,
    read::Input,
    scalar::decimal,
    write::{ipv6, name, push},
};
use crate::zone::master::problem::{Expected, Fault};

/// Which of the two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Precedence, gateway type, algorithm, gateway, public key.
    Ipsec,
    /// Precedence, D bit and relay type in one octet, relay.
    Amt,
}

/// RFC 4025 §2.3, RFC 8777 §4.2.3.
fn form(octet: u8, kind: Kind) -> u8 {
    match kind {
        Kind::Ipsec => octet,
        Kind::Amt => octet & 0x7f,
    }
}

/// Takes the whole data off `wire`.
pub(super) fn check(wire: &mut Wire<'_>, kind: Kind) -> Result<(), RdataError> {
    wire.u8()?;
    let form = form(wire.u8()?, kind);
    let algorithm = match kind {
        Kind::Ipsec => Some(wire.u8()?),
        Kind::Amt => None,
    };
    match form {
        0 => {}
        1 => drop(wire.take(4)?),
        2 => drop(wire.take(16)?),
        3 => drop(wire.name()?),
        _ => return Err(RdataError::Gateway),
    }
    // RFC 4025 §2.4: algorithm 0 "indicates that no key is present".
    match algorithm {
        None => Ok(()),
        Some(0) if wire.0.is_empty() => Ok(()),
        Some(0) => Err(RdataError::Trailing(wire.0.len())),
        Some(_) if wire.rest().is_empty() => Err(RdataError::Empty),
        Some(_) => Ok(()),
    }
}

pub(super) fn read(input: &mut Input<'_>, kind: Kind, out: &mut Vec<u8>) -> Result<(), Fault> {
    let precedence = octet(input, 255)?;
    let discovery = match kind {
        Kind::Ipsec => 0,
        Kind::Amt => octet(input, 1)? << 7,
    };
    let form = octet(input, 3)?;
    out.extend([precedence, discovery | form]);
    let algorithm = match kind {
        Kind::Ipsec => Some(octet(input, 255)?),
        Kind::Amt => None,
    };
    out.extend(algorithm);
    match form {
        0 => input.word(Expected::NoGateway, |text| (text == ".").then_some(()))?,
        1 => {
            let address: Ipv4Addr = input.word(Expected::Ipv4, |text| text.parse().ok())?;
            out.extend(address.octets());
        }
        2 => {
            let address: Ipv6Addr = input.word(Expected::Ipv6, |text| text.parse().ok())?;
            out.extend(address.octets());
        }
        _ => input.name(out)?,
    }
    if algorithm.is_some_and(|algorithm| algorithm != 0) {
        input.rest(Expected::Base64, out, encoding::read_base64)?;
    }
    Ok(())
}

fn octet(input: &mut Input<'_>, most: u8) -> Result<u8, Fault> {
    input.word(Expected::Number(u32::from(most)), |text| {
        u8::try_from(decimal(text, u32::from(most))?).ok()
    })
}

/// The text of checked octets.
pub(super) fn write(wire: &mut Wire<'_>, kind: Kind, out: &mut String) -> Result<(), RdataError> {
    push(out, wire.u8()?);
    let octet = wire.u8()?;
    if kind == Kind::Amt {
        push(out, format_args!(" {}", octet >> 7));
    }
    let form = form(octet, kind);
    push(out, format_args!(" {form} "));
    if kind == Kind::Ipsec {
        push(out, format_args!("{} ", wire.u8()?));
    }
    match form {
        0 => out.push('.'),
        1 => push(out, Ipv4Addr::from_bits(wire.u32()?)),
        2 => push(out, ipv6(wire)?),
        _ => push(out, name(wire)?),
    }
    let key = wire.rest();
    if !key.is_empty() {
        out.push(' ');
        encoding::write_base64(key, out);
    }
    Ok(())
}
