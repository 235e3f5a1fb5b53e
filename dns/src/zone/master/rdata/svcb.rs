//! The parameters of SVCB and HTTPS (RFC 9460, RFC 9461, RFC 9540).

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::{
    check::{RdataError, SvcbError, Wire},
    encoding,
    read::Input,
    scalar::decimal,
    write::{push, quoted},
};
use crate::zone::master::{
    lex::{Token, unescape},
    problem::{Expected, Fault, Problem, Shown, SvcParamProblem},
};

const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4HINT: u16 = 4;
const ECH: u16 = 5;
const IPV6HINT: u16 = 6;
const DOHPATH: u16 = 7;
const OHTTP: u16 = 8;
const RESERVED: u16 = u16::MAX;

/// IANA "Service Parameter Keys (SvcParamKeys)"; the index is the key.
const KEYS: [&str; 9] = [
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
];

fn key_name(key: u16) -> Option<&'static str> {
    KEYS.get(usize::from(key)).copied()
}

/// A key's name, or `key4711` without leading zeros (RFC 9460 §2.1).
fn read_key(text: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(key) = (0..).zip(KEYS).find(|(_, name)| *name == text) {
        return Some(key.0);
    }
    let digits = text.strip_prefix("key")?;
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    u16::try_from(decimal(digits, 65_535)?).ok()
}

/// Reads the parameters, in any order, and appends them in rising order of their keys
/// (RFC 9460 §2.2).
pub(super) fn read(input: &mut Input<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut params = BTreeMap::new();
    while input.peek().is_some() {
        let (token, text) = input.next(Expected::SvcParam)?;
        if token.quoted {
            return Err(Input::not(token, text, Expected::SvcParam));
        }
        let (name, value) = split(input, text)?;
        let fault = |problem| Fault::new(token.span(), Problem::SvcParam(problem));
        let key =
            read_key(name).ok_or_else(|| fault(SvcParamProblem::UnknownKey(Shown::new(name))))?;
        if params.contains_key(&key) {
            return Err(fault(SvcParamProblem::Twice(Shown::new(name))));
        }
        let generic = name.starts_with(b"key");
        let wire = match value {
            Some(raw) => decode(token, key, generic, raw)?,
            None if generic || takes_no_value(key) => Vec::new(),
            None => {
                let name = key_name(key).unwrap_or_default();
                return Err(fault(SvcParamProblem::NoValue(name)));
            }
        };
        params.insert(key, wire);
    }
    for (key, value) in params {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        out.extend(key.to_be_bytes());
        out.extend(length.to_be_bytes());
        out.extend(value);
    }
    Ok(())
}

fn takes_no_value(key: u16) -> bool {
    matches!(key, NO_DEFAULT_ALPN | OHTTP)
}

/// Key and raw value of one parameter; a quoted value is a token of its own that follows the `=`
/// directly.
fn split<'t>(input: &mut Input<'t>, text: &'t [u8]) -> Result<(&'t [u8], Option<&'t [u8]>), Fault> {
    let Some(equals) = text.iter().position(|&octet| octet == b'=') else {
        return Ok((text, None));
    };
    let (name, value) = text.split_at(equals);
    let value = value.get(1..).unwrap_or_default();
    match input.peek() {
        Some(next) if value.is_empty() && next.quoted && next.joined => {
            let (_, quoted) = input.next(Expected::SvcParam)?;
            Ok((name, Some(quoted)))
        }
        _ => Ok((name, Some(value))),
    }
}

/// The wire value of a parameter.
fn decode(token: Token, key: u16, generic: bool, raw: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut text = Vec::new();
    unescape(raw, &mut text).ok_or_else(|| Fault::new(token.span(), Problem::BadEscape))?;
    if text.len() > usize::from(u16::MAX) {
        return Err(Fault::new(token.span(), Problem::TooLong(text.len())));
    }
    let Some(name) = key_name(key).filter(|_| !generic) else {
        return Ok(text);
    };
    let fault = |problem| Fault::new(token.span(), Problem::SvcParam(problem));
    if takes_no_value(key) && !text.is_empty() {
        return Err(fault(SvcParamProblem::HasValue(name)));
    }
    if text.is_empty() && !takes_no_value(key) {
        return Err(fault(SvcParamProblem::NoValue(name)));
    }
    value(key, &text).ok_or_else(|| fault(SvcParamProblem::Value(name, Shown::new(&text))))
}

fn value(key: u16, text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match key {
        MANDATORY => {
            let mut keys = items(text, read_key)?;
            // RFC 9460 §8: in wire form "the keys MUST be in ascending order"; text may have any.
            keys.sort_unstable();
            out.extend(keys.into_iter().flat_map(u16::to_be_bytes));
        }
        ALPN => {
            for id in alpn_ids(text)? {
                out.push(u8::try_from(id.len()).ok().filter(|&length| length > 0)?);
                out.extend(id);
            }
        }
        PORT => {
            let port = decimal(std::str::from_utf8(text).ok()?, 65_535)?;
            out.extend(u16::try_from(port).ok()?.to_be_bytes());
        }
        IPV4HINT => {
            let hints = items(text, address::<Ipv4Addr>)?;
            out.extend(hints.iter().flat_map(Ipv4Addr::octets));
        }
        IPV6HINT => {
            let hints = items(text, address::<Ipv6Addr>)?;
            out.extend(hints.iter().flat_map(Ipv6Addr::octets));
        }
        ECH => encoding::read_base64(text, &mut out)?,
        _ => out.extend(text),
    }
    Some(out)
}

fn address<A: FromStr>(item: &[u8]) -> Option<A> {
    std::str::from_utf8(item).ok()?.parse().ok()
}

fn items<T>(text: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> Option<Vec<T>> {
    text.split(|&octet| octet == b',').map(read).collect()
}

/// RFC 9460 appendix A.1: a comma ends an item, `\,` and `\\` stand for themselves. This is a
/// second layer of escapes, beneath that of the `<character-string>`.
fn alpn_ids(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut ids = vec![Vec::new()];
    let mut octets = text.iter();
    while let Some(&octet) = octets.next() {
        match octet {
            b',' => ids.push(Vec::new()),
            b'\\' => {
                let escaped = *octets.next().filter(|o| matches!(o, b',' | b'\\'))?;
                ids.last_mut()?.push(escaped);
            }
            other => ids.last_mut()?.push(other),
        }
    }
    Some(ids)
}

/// Judges whole SVCB RDATA whose fixed fields are known to be right.
pub(super) fn check(rdata: &[u8]) -> Result<(), SvcbError> {
    let mut wire = Wire(rdata);
    let (Ok(priority), Ok(_)) = (wire.u16(), wire.name()) else {
        return Err(SvcbError::Order);
    };
    // RFC 9460 §2.4.2: "In AliasMode, records SHOULD NOT include any SvcParams".
    if priority == 0 && !wire.0.is_empty() {
        return Err(SvcbError::Alias);
    }
    let mut keys: Vec<u16> = Vec::new();
    let mut mandatory: &[u8] = &[];
    while !wire.0.is_empty() {
        let (key, value) = param(&mut wire)?;
        // RFC 9460 §2.2: "SvcParamKeys SHALL appear in increasing numeric order."
        if keys.last().is_some_and(|&last| key <= last) {
            return Err(SvcbError::Order);
        }
        check_value(key, value)?;
        if key == MANDATORY {
            mandatory = value;
        }
        keys.push(key);
    }
    // RFC 9460 §8: a record is malformed if a mandatory key is missing from it.
    let (listed, _) = mandatory.as_chunks();
    if listed
        .iter()
        .any(|&key| keys.binary_search(&u16::from_be_bytes(key)).is_err())
    {
        return Err(SvcbError::MandatoryAbsent);
    }
    if keys.contains(&NO_DEFAULT_ALPN) && !keys.contains(&ALPN) {
        return Err(SvcbError::NoAlpn);
    }
    Ok(())
}

fn param<'w>(wire: &mut Wire<'w>) -> Result<(u16, &'w [u8]), SvcbError> {
    let malformed = |_: RdataError| SvcbError::Value("length");
    let key = wire.u16().map_err(malformed)?;
    let length = wire.u16().map_err(malformed)?;
    let value = wire.take(usize::from(length)).map_err(malformed)?;
    Ok((key, value))
}

fn check_value(key: u16, value: &[u8]) -> Result<(), SvcbError> {
    let many = |size: usize| !value.is_empty() && value.len().is_multiple_of(size);
    let right = match key {
        RESERVED => return Err(SvcbError::ReservedKey),
        MANDATORY => {
            let (keys, rest) = value.as_chunks::<2>();
            // RFC 9460 §8: rising, and "mandatory" itself may not be listed.
            rest.is_empty()
                && keys.first().is_some_and(|first| *first != [0, 0])
                && keys.is_sorted_by(|a, b| a < b)
        }
        ALPN => check_alpn(value),
        NO_DEFAULT_ALPN | OHTTP => value.is_empty(),
        PORT => value.len() == 2,
        IPV4HINT => many(4),
        IPV6HINT => many(16),
        ECH => !value.is_empty(),
        DOHPATH => check_dohpath(value),
        _ => true,
    };
    match key_name(key) {
        Some(name) if !right => Err(SvcbError::Value(name)),
        _ => Ok(()),
    }
}

fn check_alpn(value: &[u8]) -> bool {
    let mut wire = Wire(value);
    while !wire.0.is_empty() {
        if !wire.counted().is_ok_and(|id| !id.is_empty()) {
            return false;
        }
    }
    !value.is_empty()
}

/// RFC 9461 §5: "a URI Template in relative form as described in Section 1.1 of [RFC6570]",
/// "MUST contain a "dns" variable".
fn check_dohpath(value: &[u8]) -> bool {
    let Ok(path) = std::str::from_utf8(value) else {
        return false;
    };
    let has_dns = path.split('{').skip(1).any(|rest| {
        rest.split_once('}').is_some_and(|(expression, _)| {
            expression
                .trim_start_matches(['?', '&', '/', '+', '#', '.', ';'])
                .split(',')
                .any(|variable| variable == "dns")
        })
    });
    path.starts_with('/') && has_dns
}

/// The text of checked parameters.
pub(super) fn write(octets: &[u8], out: &mut String) -> Result<(), RdataError> {
    let mut wire = Wire(octets);
    let mut first = true;
    while !wire.0.is_empty() {
        let (key, value) = param(&mut wire).map_err(RdataError::Svcb)?;
        if !std::mem::take(&mut first) {
            out.push(' ');
        }
        match key_name(key) {
            Some(name) => out.push_str(name),
            None => push(out, format_args!("key{key}")),
        }
        if !value.is_empty() {
            out.push('=');
            write_value(key, value, out);
        }
    }
    Ok(())
}

fn write_value(key: u16, value: &[u8], out: &mut String) {
    match key {
        MANDATORY => list(value, out, |&key: &[u8; 2], out| {
            let key = u16::from_be_bytes(key);
            match key_name(key) {
                Some(name) => out.push_str(name),
                None => push(out, format_args!("key{key}")),
            }
        }),
        ALPN => quoted(&alpn_list(value), out),
        PORT => list(value, out, |&port, out| push(out, u16::from_be_bytes(port))),
        IPV4HINT => list(value, out, |&octets: &[u8; 4], out| {
            push(out, Ipv4Addr::from(octets));
        }),
        IPV6HINT => list(value, out, |&octets: &[u8; 16], out| {
            push(out, Ipv6Addr::from(octets));
        }),
        ECH => encoding::write_base64(value, out),
        _ => quoted(value, out),
    }
}

fn list<const N: usize>(value: &[u8], out: &mut String, write: impl Fn(&[u8; N], &mut String)) {
    let (items, _) = value.as_chunks::<N>();
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(item, out);
    }
}

/// The inner layer of escapes (RFC 9460 appendix A.1).
fn alpn_list(value: &[u8]) -> Vec<u8> {
    let mut wire = Wire(value);
    let mut text = Vec::new();
    while let Ok(id) = wire.counted() {
        if !text.is_empty() {
            text.push(b',');
        }
        for &octet in id {
            if matches!(octet, b',' | b'\\') {
                text.push(b'\\');
            }
            text.push(octet);
        }
    }
    text
}
