//! Durations as operators write them: `"5s"`, `"1h30m"`, `"1.5s"`, `"-5ms"`.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing but a number.
    #[error("has no unit")]
    NoUnit,
    /// Not a number where one must stand.
    #[error("does not start with a number")]
    NoNumber,
    /// A minus sign, where time only goes on.
    #[error("is negative")]
    Negative,
    /// A unit that is none.
    #[error("has an unknown unit")]
    UnknownUnit,
    /// More than 100 years.
    #[error("is too long")]
    TooLong,
}

/// More than any timer needs; keeps sums of durations far from overflow.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Reads one or more numbers with units (`ns us ms s m h d w`), such as `1h30m` or `1.5s`.
///
/// # Errors
/// See [`DurationError`]; a bare number is one, `0` too.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(DurationError::NoNumber);
    }
    if rest.starts_with('-') {
        return Err(DurationError::Negative);
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = span(rest, |c| c.is_ascii_digit() || c == '.');
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let letters = span(tail, |c| c.is_alphabetic());
        let (unit, tail) = tail.split_at(letters);
        sum = sum
            .checked_add(one(number, unit)?)
            .filter(|s| *s <= LONGEST)
            .ok_or(DurationError::TooLong)?;
        rest = tail.trim_start();
    }
    Ok(sum)
}

/// [`parse_duration`] with an optional sign, in milliseconds.
///
/// # Errors
/// See [`DurationError`].
pub(crate) fn parse_signed_ms(text: &str) -> Result<f64, DurationError> {
    let text = text.trim();
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    Ok(sign * parse_duration(rest)?.as_secs_f64() * 1000.0)
}

/// The shortest exact way to write a duration.
pub(crate) fn write_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let units = [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
    ];
    for (unit, size) in units {
        if nanos > 0 && nanos.is_multiple_of(size) {
            return format!("{}{unit}", nanos / size);
        }
    }
    if nanos == 0 {
        "0s".to_owned()
    } else {
        format!("{nanos}ns")
    }
}

fn span(text: &str, keep: impl Fn(char) -> bool) -> usize {
    text.find(|c| !keep(c)).unwrap_or(text.len())
}

fn one(number: &str, unit: &str) -> Result<Duration, DurationError> {
    let nanos_per_unit: u64 = match unit {
        _ if !number.starts_with(|c: char| c.is_ascii_digit()) => {
            return Err(DurationError::NoNumber);
        }
        "" => return Err(DurationError::NoUnit),
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        "w" => 7 * 86_400_000_000_000,
        _ => return Err(DurationError::UnknownUnit),
    };
    if let Ok(whole) = number.parse::<u64>() {
        let nanos = u128::from(whole) * u128::from(nanos_per_unit);
        let nanos = u64::try_from(nanos).map_err(|_| DurationError::TooLong)?;
        return Ok(Duration::from_nanos(nanos));
    }
    let fraction: f64 = number.parse().map_err(|_| DurationError::NoNumber)?;
    #[allow(
        clippy::cast_precision_loss,
        reason = "a week in nanoseconds has 50 bits"
    )]
    let seconds = fraction * (nanos_per_unit as f64) / 1e9;
    Duration::try_from_secs_f64(seconds).map_err(|_| DurationError::TooLong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_table() {
        let ms = Duration::from_millis;
        for (text, expected) in [
            ("5s", Ok(ms(5000))),
            ("0s", Ok(ms(0))),
            ("1.5s", Ok(ms(1500))),
            ("1h30m", Ok(ms(5_400_000))),
            ("1h 30m", Ok(ms(5_400_000))),
            (" 250 ms ", Ok(ms(250))),
            ("2d", Ok(ms(172_800_000))),
            ("1w", Ok(ms(604_800_000))),
            ("5", Err(DurationError::NoUnit)),
            ("0", Err(DurationError::NoUnit)),
            ("1h30", Err(DurationError::NoUnit)),
            ("", Err(DurationError::NoNumber)),
            ("s", Err(DurationError::NoNumber)),
            (".5s", Err(DurationError::NoNumber)),
            ("-5s", Err(DurationError::Negative)),
            ("1.2.3s", Err(DurationError::NoNumber)),
            ("5 parsecs", Err(DurationError::UnknownUnit)),
            ("5S", Err(DurationError::UnknownUnit)),
            ("200000w", Err(DurationError::TooLong)),
            ("99999999999999999999999s", Err(DurationError::TooLong)),
            ("60000d60000d", Err(DurationError::TooLong)),
        ] {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
        assert_eq!(parse_signed_ms("-5ms"), Ok(-5.0));
        assert_eq!(parse_signed_ms("+1.5s"), Ok(1500.0));
        assert_eq!(parse_signed_ms("--5ms"), Err(DurationError::Negative));
    }

    proptest! {
        #[test]
        fn any_text_is_total(text in ".{0,40}") {
            let _ = parse_duration(&text);
            let _ = parse_signed_ms(&text);
        }

        #[test]
        fn written_and_read_back(nanos in 0..LONGEST.as_nanos() as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&write_duration(duration)), Ok(duration));
        }
    }
}
