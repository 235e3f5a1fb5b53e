//! LOC (RFC 1876): a position, its size and how exact it is.

use super::{
    check::{RdataError, Wire},
    encoding,
    read::Input,
    scalar::decimal,
    write::push,
};
use crate::zone::master::problem::{Expected, Fault};

/// The equator and the prime meridian, in thousandths of an arc second.
const ZERO: u32 = 1 << 31;
/// One degree in thousandths of an arc second.
const DEGREE: u32 = 3_600_000;
/// Altitudes are counted in centimetres from 100,000 m below the reference spheroid.
const ALTITUDE_ZERO: i64 = 10_000_000;

/// RFC 1876 §2, version 0. Others are only carried: "make no assumptions about the format of
/// unrecognized versions".
pub(super) fn check(octets: &[u8]) -> Result<(), RdataError> {
    let mut wire = Wire(octets);
    if wire.u8()? != 0 {
        return Ok(());
    }
    for &size in wire.take(3)? {
        let (base, exponent) = (size >> 4, size & 15);
        if base > 9 || exponent > 9 || (base == 0 && exponent != 0) {
            return Err(RdataError::Location);
        }
    }
    let (latitude, longitude) = (wire.u32()?, wire.u32()?);
    if latitude.abs_diff(ZERO) > 90 * DEGREE || longitude.abs_diff(ZERO) > 180 * DEGREE {
        return Err(RdataError::Location);
    }
    wire.u32()?;
    match wire.0.len() {
        0 => Ok(()),
        more => Err(RdataError::Trailing(more)),
    }
}

/// RFC 1876 §3: latitude, longitude, altitude, size, horizontal and vertical precision; the last
/// three may be left out and are then 1 m, 10,000 m and 10 m.
pub(super) fn read(input: &mut Input<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let latitude = angle(input, Expected::Latitude, 90, ("N", "S"))?;
    let longitude = angle(input, Expected::Longitude, 180, ("E", "W"))?;
    let altitude = input.word(Expected::Metres, |text| {
        let centimetres = match text.strip_prefix('-') {
            Some(below) => -metres(below)?,
            None => metres(text)?,
        };
        u32::try_from(centimetres + ALTITUDE_ZERO).ok()
    })?;
    let mut sizes = [0x12, 0x16, 0x13];
    for slot in &mut sizes {
        if input.peek().is_some() {
            *slot = input.word(Expected::Metres, |text| size(metres(text)?))?;
        }
    }
    out.push(0);
    out.extend(sizes);
    out.extend(latitude.to_be_bytes());
    out.extend(longitude.to_be_bytes());
    out.extend(altitude.to_be_bytes());
    Ok(())
}

/// Degrees, then minutes and seconds where they are given, then the hemisphere.
fn angle(
    input: &mut Input<'_>,
    expected: Expected,
    most: u32,
    (positive, negative): (&str, &str),
) -> Result<u32, Fault> {
    let hemisphere = |text: &str| {
        let north_or_east = text.eq_ignore_ascii_case(positive);
        (north_or_east || text.eq_ignore_ascii_case(negative)).then_some(north_or_east)
    };
    let first = input.peek();
    let mut sum = input.word(expected, |text| Some(decimal(text, most)? * DEGREE))?;
    let mut step = 0;
    let up = loop {
        // Either the hemisphere, or the next smaller unit.
        let (value, up) = input.word(expected, |text| match (hemisphere(text), step) {
            (Some(up), _) => Some((0, Some(up))),
            (None, 0) => Some((decimal(text, 59)? * 60_000, None)),
            (None, 1) => Some((thousandths(text)?, None)),
            _ => None,
        })?;
        sum += value;
        step += 1;
        if let Some(up) = up {
            break up;
        }
    };
    match first {
        Some(token) if sum > most * DEGREE => Err(Input::not(token, b"this position", expected)),
        _ if up => Ok(ZERO + sum),
        _ => Ok(ZERO - sum),
    }
}

/// Seconds below 60 with up to three decimal places, in thousandths.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    Some(decimal(whole, 59)? * 1000 + decimals(fraction, 3)?)
}

/// Metres with up to two decimal places and perhaps an `m`, in centimetres.
fn metres(text: &str) -> Option<i64> {
    let text = text.strip_suffix(['m', 'M']).unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = i64::from(decimal(whole, 90_000_000)?);
    Some(whole * 100 + i64::from(decimals(fraction, 2)?))
}

/// Digits behind a decimal point, as a whole number of `places` digits.
fn decimals(digits: &str, places: u32) -> Option<u32> {
    if digits.is_empty() {
        return Some(0);
    }
    let length = u32::try_from(digits.len()).ok().filter(|&l| l <= places)?;
    Some(decimal(digits, 999)? * 10_u32.pow(places - length))
}

/// One digit and a power of ten, in centimetres (RFC 1876 §2); what does not fit is rounded down.
fn size(centimetres: i64) -> Option<u8> {
    let mut base = u64::try_from(centimetres).ok()?;
    let mut exponent = 0;
    while base > 9 {
        base /= 10;
        exponent += 1;
    }
    (exponent <= 9).then_some((base as u8) << 4 | exponent)
}

/// The text of checked octets.
pub(super) fn write(octets: &[u8], out: &mut String) -> Result<(), RdataError> {
    let mut wire = Wire(octets);
    if wire.u8()? != 0 {
        push(out, format_args!("\\# {} ", octets.len()));
        encoding::write_hex(octets, out);
        return Ok(());
    }
    let sizes = wire.take(3)?;
    write_angle(wire.u32()?, ("N", "S"), out);
    write_angle(wire.u32()?, ("E", "W"), out);
    let altitude = i64::from(wire.u32()?) - ALTITUDE_ZERO;
    let sign = if altitude < 0 { "-" } else { "" };
    let centimetres = altitude.unsigned_abs();
    push(
        out,
        format_args!("{sign}{}.{:02}m", centimetres / 100, centimetres % 100),
    );
    for size in sizes {
        let centimetres = u64::from(size >> 4) * 10_u64.pow(u32::from(size & 15));
        push(
            out,
            format_args!(" {}.{:02}m", centimetres / 100, centimetres % 100),
        );
    }
    Ok(())
}

fn write_angle(value: u32, (positive, negative): (&str, &str), out: &mut String) {
    let hemisphere = if value >= ZERO { positive } else { negative };
    let angle = value.abs_diff(ZERO);
    let (degrees, rest) = (angle / DEGREE, angle % DEGREE);
    let (minutes, rest) = (rest / 60_000, rest % 60_000);
    let (seconds, thousandths) = (rest / 1000, rest % 1000);
    push(
        out,
        format_args!("{degrees} {minutes} {seconds}.{thousandths:03} {hemisphere} "),
    );
}
