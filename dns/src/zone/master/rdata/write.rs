//! Wire to text (RFC 1035 §5.1, RFC 3597 §5).

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
};

use meridian_config::Name;

use super::{
    apl,
    check::{RdataError, Wire, check},
    encoding, gateway, loc,
    schema::{ALGORITHMS, CERT_TYPES, Field, fields},
    svcb,
};
use crate::types::rtype::type_name;

/// RDATA in presentation form on one line; as `\# LENGTH HEX` where the type has no text form
/// here, or the octets are no RDATA of it.
pub fn to_text(rtype: u16, rdata: &[u8]) -> String {
    fields(rtype)
        .filter(|_| check(rtype, rdata).is_ok())
        .and_then(|fields| known(fields, rdata).ok())
        .unwrap_or_else(|| generic(rdata))
}

/// RFC 3597 §5: "The special token \# (a backslash immediately followed by a hash sign)", the
/// length, and the octets in hexadecimal.
fn generic(rdata: &[u8]) -> String {
    let mut out = format!("\\# {}", rdata.len());
    if !rdata.is_empty() {
        out.push(' ');
        encoding::write_hex(rdata, &mut out);
    }
    out
}

fn known(fields: &[Field], rdata: &[u8]) -> Result<String, RdataError> {
    let mut out = String::new();
    let mut wire = Wire(rdata);
    for &field in fields {
        let before = out.len();
        write_field(field, &mut wire, &mut out)?;
        if out.len() > before {
            out.push(' ');
        }
    }
    out.pop();
    Ok(out)
}

fn write_field(field: Field, wire: &mut Wire<'_>, out: &mut String) -> Result<(), RdataError> {
    match field {
        Field::U8 | Field::Algorithm => push(out, wire.u8()?),
        Field::U16 | Field::CertType => push(out, wire.u16()?),
        Field::U32 | Field::Period => push(out, wire.u32()?),
        Field::Time => push(out, time(wire.u32()?)),
        Field::Type => push(out, type_name(wire.u16()?)),
        Field::Ipv4 => push(out, Ipv4Addr::from_bits(wire.u32()?)),
        Field::Ipv6 => push(out, ipv6(wire)?),
        Field::Name => push(out, name(wire)?),
        Field::Text => quoted(wire.counted()?, out),
        Field::Texts => {
            quoted(wire.counted()?, out);
            while !wire.0.is_empty() {
                out.push(' ');
                quoted(wire.counted()?, out);
            }
        }
        Field::Uri | Field::Value => quoted(wire.rest(), out),
        Field::Tag => out.extend(wire.counted()?.iter().copied().map(char::from)),
        Field::Hex => encoding::write_hex(wire.rest(), out),
        Field::Base64 => encoding::write_base64(wire.rest(), out),
        Field::Salt => match wire.counted()? {
            [] => out.push('-'),
            salt => encoding::write_hex(salt, out),
        },
        Field::Hash => encoding::write_base32hex(wire.counted()?, out),
        Field::Bitmap(_) => bitmap(wire.rest(), out),
        Field::Eui48 => groups(wire.take(6)?, 1, '-', out),
        Field::Eui64 => groups(wire.take(8)?, 1, '-', out),
        Field::Locator64 => groups(wire.take(8)?, 2, ':', out),
        Field::Loc => loc::write(wire.rest(), out)?,
        Field::Apl => apl::write(wire, out)?,
        Field::Gateway(kind) => gateway::write(wire, kind, out)?,
        Field::SvcParams => svcb::write(wire.rest(), out)?,
    }
    Ok(())
}

pub(super) fn push(out: &mut String, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{value}");
}

pub(super) fn ipv6(wire: &mut Wire<'_>) -> Result<Ipv6Addr, RdataError> {
    let octets: [u8; 16] = wire.take(16)?.try_into().map_err(|_| RdataError::Short)?;
    Ok(Ipv6Addr::from(octets))
}

pub(super) fn name(wire: &mut Wire<'_>) -> Result<Name, RdataError> {
    Name::from_wire(wire.name()?).map_err(|_| RdataError::Name)
}

/// A string in double quotes; `"` and `\` escaped, and everything that is not printable ASCII as
/// `\DDD`.
pub(super) fn quoted(octets: &[u8], out: &mut String) {
    out.push('"');
    for &octet in octets {
        match octet {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(octet));
            }
            0x20..=0x7e => out.push(char::from(octet)),
            _ => push(out, format_args!("\\{octet:03}")),
        }
    }
    out.push('"');
}

fn groups(octets: &[u8], size: usize, between: char, out: &mut String) {
    for (i, group) in octets.chunks(size).enumerate() {
        if i > 0 {
            out.push(between);
        }
        encoding::write_hex(group, out);
    }
}

fn bitmap(octets: &[u8], out: &mut String) {
    let mut wire = Wire(octets);
    let mut first = true;
    while let (Ok(window), Ok(bits)) = (wire.u8(), wire.counted()) {
        for (at, &octet) in (0_u16..).zip(bits) {
            for bit in (0..8).filter(|bit| octet & (0x80 >> bit) != 0) {
                if !std::mem::take(&mut first) {
                    out.push(' ');
                }
                push(out, type_name((u16::from(window) << 8) + at * 8 + bit));
            }
        }
    }
}

/// RFC 4034 §3.2: "YYYYMMDDHHmmSS in UTC".
fn time(seconds: u32) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

/// The date of a day counted from 1970-01-01, by whole years and months: at most 137 steps.
fn date(mut days: u32) -> (u32, u32, u32) {
    let mut year = 1970;
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let mut month = 1;
    while days >= days_of_month(year, month) {
        days -= days_of_month(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

pub(super) fn days_of_year(year: u32) -> u32 {
    365 + u32::from(is_leap(year))
}

pub(super) fn days_of_month(year: u32, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

/// The mnemonic tables are for reading; numbers are what every other server reads too.
pub(super) fn algorithm(text: &str) -> Option<u8> {
    let known = ALGORITHMS
        .iter()
        .find(|(_, mnemonic)| mnemonic.eq_ignore_ascii_case(text));
    known.map(|&(number, _)| number)
}

/// The number of a certificate type's mnemonic.
pub(super) fn cert_type(text: &str) -> Option<u16> {
    let known = CERT_TYPES
        .iter()
        .find(|(_, mnemonic)| mnemonic.eq_ignore_ascii_case(text));
    known.map(|&(number, _)| number)
}
