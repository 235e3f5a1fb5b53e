//! Traffic from a file: who asks how much.
//!
//! ```text
//! # client prefix or address, amount; anything behind them is not read
//! 203.0.113.0/24   1200
//! 2001:db8::/48    3.5k
//! 198.51.100.7     12Mbit
//! ```
//!
//! Amounts are queries, or bits where a unit says so (`bit`, `bps`, `bit/s`); one file keeps to one
//! of the two. `k`, `M`, `G`, `T` are powers of 1,000. Blank lines and those that start with `#` say
//! nothing.

use std::{
    io::{self, BufRead, Read},
    net::IpAddr,
};

use ipnet::IpNet;
use serde::Serialize;

use super::svg::cut;

/// Most lines that are read.
pub(crate) const MAX_LINES: usize = 2_000_000;

/// Longest line that is read, octets.
const MAX_LINE: u64 = 512;

/// Mistakes that are told at most.
const MAX_MISTAKES: usize = 20;

/// Characters of a mistaken word that are told.
const SHOWN: usize = 60;

/// Units of amounts that are bits.
const BITS: [&str; 4] = ["bit/s", "bits", "bps", "bit"];

/// What amounts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TrafficUnit {
    /// Queries.
    Queries,
    /// Bits.
    Bits,
}

/// Why a traffic file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrafficError {
    /// The file cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Lines that say nothing usable, with their numbers.
    #[error("{}", .0.join("; "))]
    Lines(Vec<String>),
    /// No line with an amount.
    #[error("it holds no line with a client prefix and an amount above 0")]
    Empty,
    /// More lines than are read.
    #[error("it has more than {MAX_LINES} lines; sum them up by client prefix")]
    TooLong,
}

/// What a file says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Traffic {
    /// In the order of the file.
    pub(crate) prefixes: Vec<(IpNet, f64)>,
    /// What the amounts are.
    pub(crate) unit: TrafficUnit,
}

/// Reads a traffic file. Memory is bounded by the number of lines; a line is never held whole if
/// it is too long.
///
/// # Errors
/// [`TrafficError`]; all mistakes up to a number, each with its line.
pub(crate) fn read(mut file: impl BufRead) -> Result<Traffic, TrafficError> {
    let mut prefixes = Vec::new();
    let mut mistakes = Vec::new();
    let mut unit = None;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if file
            .by_ref()
            .take(MAX_LINE + 1)
            .read_until(b'\n', &mut line)?
            == 0
        {
            break;
        }
        if number > MAX_LINES {
            return Err(TrafficError::TooLong);
        }
        // A byte order mark is what some programs write first.
        if number == 1 && line.starts_with("\u{feff}".as_bytes()) {
            line.drain(..3);
        }
        let parsed = match line.ends_with(b"\n") || line.len() as u64 <= MAX_LINE {
            true => parse(&String::from_utf8_lossy(&line), &mut unit),
            false => {
                skip_line(&mut file)?;
                Err(format!("the line is longer than {MAX_LINE} octets"))
            }
        };
        match parsed {
            Ok(Some((prefix, amount))) if amount > 0.0 => prefixes.push((prefix, amount)),
            Ok(_) => {}
            Err(why) => mistakes.push(format!("line {number}: {why}")),
        }
        if mistakes.len() >= MAX_MISTAKES {
            mistakes.push("more lines were not looked at".to_owned());
            break;
        }
    }
    if !mistakes.is_empty() {
        return Err(TrafficError::Lines(mistakes));
    }
    if prefixes.is_empty() {
        return Err(TrafficError::Empty);
    }
    Ok(Traffic {
        prefixes,
        unit: unit.unwrap_or(TrafficUnit::Queries),
    })
}

fn skip_line(file: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|octet| *octet == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        file.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// One line; `None`: it says nothing.
fn parse(line: &str, unit: &mut Option<TrafficUnit>) -> Result<Option<(IpNet, f64)>, String> {
    let mut words = line.split_whitespace();
    let Some(client) = words.next().filter(|word| !word.starts_with('#')) else {
        return Ok(None);
    };
    let prefix = match client.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => client
            .parse::<IpNet>()
            .map_err(|_| no_client(client))?
            .trunc(),
    };
    let amount = words
        .next()
        .ok_or_else(|| format!("an amount is missing behind {client}"))?;
    // `12 Mbit` is not twelve queries.
    let spaced = words.next().filter(|word| is_unit(word));
    let whole = spaced.map_or_else(|| amount.to_owned(), |unit| format!("{amount}{unit}"));
    let (number, found) = quantity(&whole).ok_or_else(|| {
        let amount = cut(&whole, SHOWN);
        format!("{amount:?} is no amount, such as 1200, 3.5k or 12Mbit")
    })?;
    if unit.is_some_and(|known| known != found) {
        return Err("queries and bits in one file".to_owned());
    }
    *unit = Some(found);
    Ok(Some((prefix, number)))
}

fn no_client(word: &str) -> String {
    let hint = match word.contains([',', ';']) {
        true => "; blanks stand between it and the amount",
        false => "",
    };
    let word = cut(word, SHOWN);
    format!("{word:?} is neither a client prefix nor an address{hint}")
}

/// Whether a word is the unit of the amount before it.
fn is_unit(word: &str) -> bool {
    let powers = ["k", "M", "G", "T"];
    powers.contains(&word) || matches!(quantity(&format!("1{word}")), Some((_, TrafficUnit::Bits)))
}

/// A number with a power of 1,000 and a unit.
fn quantity(text: &str) -> Option<(f64, TrafficUnit)> {
    let (text, unit) = match BITS.iter().find_map(|name| text.strip_suffix(name)) {
        Some(rest) => (rest, TrafficUnit::Bits),
        None => (text, TrafficUnit::Queries),
    };
    let powers = [("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)];
    let (text, power) = powers
        .iter()
        .find_map(|(letter, power)| Some((text.strip_suffix(letter)?, *power)))
        .unwrap_or((text, 1.0));
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    if !text.chars().all(plain) {
        return None;
    }
    let number = text.parse::<f64>().ok()? * power;
    // Sums of two million of them stay finite.
    (0.0..1e300).contains(&number).then_some((number, unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Result<Traffic, TrafficError> {
        read(text.as_bytes())
    }

    #[test]
    fn lines_are_prefixes_with_amounts() {
        let file = "# who how much\n\n203.0.113.0/24 1200\n 2001:db8::1/48\t3.5k more words\n\
                    198.51.100.7 0\n192.0.2.1 2e2\n192.0.2.2 3 k # k\n192.0.2.3 4 bitter";
        let traffic = text(file).unwrap();
        let said: Vec<String> = traffic
            .prefixes
            .iter()
            .map(|(p, n)| format!("{p} {n}"))
            .collect();
        let right = [
            "203.0.113.0/24 1200",
            "2001:db8::/48 3500",
            "192.0.2.1/32 200",
            "192.0.2.2/32 3000",
            "192.0.2.3/32 4",
        ];
        assert_eq!(said, right);
        assert_eq!(traffic.unit, TrafficUnit::Queries);
        for bits in [
            "10.0.0.0/8 12Mbit\r\n",
            "10.0.0.0/8 12 Mbit/s\n",
            "\u{feff}10.0.0.0/8 12Mbit",
            "\u{feff}# who\n10.0.0.0/8 12Mbit",
        ] {
            let traffic = text(bits).unwrap();
            assert_eq!(traffic.unit, TrafficUnit::Bits);
            assert_eq!(traffic.prefixes[0].1, 12e6);
        }
    }

    #[test]
    fn mistakes_name_their_line() {
        for (file, right) in [
            ("\n10.0.0.0/33 1", "line 2: \"10.0.0.0/33\" is neither"),
            (
                "10.0.0.0/8,1",
                "line 1: \"10.0.0.0/8,1\" is neither a client prefix nor an address; blanks",
            ),
            (
                "10.0.0.0/8",
                "line 1: an amount is missing behind 10.0.0.0/8",
            ),
            ("10.0.0.0/8 many", "line 1: \"many\" is no amount"),
            ("10.0.0.0/8 -1", "line 1: \"-1\" is no amount"),
            ("10.0.0.0/8 inf", "line 1: \"inf\" is no amount"),
            ("10.0.0.0/8 1e301", "line 1: \"1e301\" is no amount"),
            (
                "10.0.0.0/8 1\n11.0.0.0/8 1bit",
                "line 2: queries and bits in one file",
            ),
        ] {
            let error = text(file).unwrap_err().to_string();
            assert!(error.starts_with(right), "{error}");
        }
        assert!(matches!(
            text("# nothing\n10.0.0.0/8 0\n"),
            Err(TrafficError::Empty)
        ));
        assert!(matches!(text(""), Err(TrafficError::Empty)));
        let many = "x\n".repeat(1000);
        let TrafficError::Lines(told) = text(&many).unwrap_err() else {
            panic!("lines are wrong");
        };
        assert_eq!(told.len(), MAX_MISTAKES + 1);
    }

    #[test]
    fn a_line_without_end_is_not_held() {
        let endless = io::repeat(b'7').take(50 << 20);
        let file = b"10.0.0.0/8 1\n".chain(endless).chain(&b"\nnonsense 1"[..]);
        let error = read(io::BufReader::new(file)).unwrap_err().to_string();
        assert_eq!(error.matches("line ").count(), 3, "{error}");
        assert!(error.starts_with("line 2: the line is longer than 512 octets"));
    }

    proptest! {
        #[test]
        fn no_text_panics(octets: Vec<u8>) {
            let _ = read(&octets[..]);
        }
    }
}
