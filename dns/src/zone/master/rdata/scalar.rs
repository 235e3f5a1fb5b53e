//! Single words to numbers and fixed octets.

use super::{
    encoding,
    write::{days_of_month, days_of_year},
};

/// Digits and nothing else, up to `most`.
pub(super) fn decimal(text: &str, most: u32) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|&value| value <= most)
}

/// Seconds, plain or as numbers with the units `w`, `d`, `h`, `m` and `s` (each number needs one,
/// as in `1h30m`).
pub(in crate::zone::master) fn period(text: &[u8]) -> Option<u64> {
    let (mut sum, mut number, mut digits) = (0_u64, 0_u64, 0);
    let mut units = false;
    for &octet in text {
        let unit = match octet.to_ascii_lowercase() {
            b'0'..=b'9' => {
                digits += 1;
                number = number
                    .checked_mul(10)?
                    .checked_add(u64::from(octet - b'0'))?;
                continue;
            }
            b'w' => 604_800,
            b'd' => 86_400,
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        if digits == 0 {
            return None;
        }
        sum = sum.checked_add(number.checked_mul(unit)?)?;
        (number, digits, units) = (0, 0, true);
    }
    match (digits, units) {
        (0, true) => Some(sum),
        (1.., false) => Some(number),
        _ => None,
    }
}

/// RFC 4034 §3.2: YYYYMMDDHHmmSS, or seconds since 1970 in at most ten digits.
pub(super) fn time(text: &str) -> Option<u32> {
    if text.len() != 14 {
        return decimal(text, u32::MAX);
    }
    let part = |from: usize, to: usize| decimal(text.get(from..to)?, 9999);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    let sane = (1970..=2106).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !sane {
        return None;
    }
    let days = (1970..year).map(days_of_year).sum::<u32>()
        + (1..month)
            .map(|month| days_of_month(year, month))
            .sum::<u32>()
        + day
        - 1;
    u32::try_from(u64::from(days) * 86_400 + u64::from(hour * 3600 + minute * 60 + second)).ok()
}

pub(super) fn eui<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut octets = Vec::with_capacity(N);
    for group in text.split('-') {
        if group.len() != 2 {
            return None;
        }
        encoding::read_hex(group.as_bytes(), &mut octets)?;
    }
    octets.try_into().ok()
}

pub(super) fn locator64(text: &str) -> Option<[u8; 8]> {
    let mut octets = Vec::with_capacity(8);
    for group in text.split(':') {
        let plain = (1..=4).contains(&group.len()) && !group.starts_with('+');
        let value = u16::from_str_radix(group, 16).ok().filter(|_| plain)?;
        octets.extend(value.to_be_bytes());
    }
    octets.try_into().ok()
}
