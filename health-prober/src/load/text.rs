//! The Prometheus text format (0.0.4), as far as values of named metrics go: one line at a time, so
//! that a page of any size needs the memory of one line.
//!
//! ```text
//! name{label="value",…} value [timestamp]      # anything: a comment
//! ```
//!
//! Lines of metrics that nobody asked for are passed over unread, so that what is new in a format
//! elsewhere on the page does no harm. OpenMetrics pages are read too: what follows the value
//! (timestamp, exemplar) is ignored.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{borrow::Cow, collections::BTreeMap};

use meridian_config::SeriesMatch;
use xxhash_rust::xxh3::xxh3_64;

use super::{Broken, Fault};

/// Octets of a page.
pub(crate) const PAGE_LIMIT: usize = 16 << 20;
/// Octets of a line that is looked at.
const LINE_LIMIT: usize = 16 << 10;
/// Series that one selector may match.
const SERIES_LIMIT: usize = 4096;

/// Values by series: the key is a hash of the labels as they stand on the page.
pub(crate) type Found = BTreeMap<u64, f64>;

/// Reads a page that comes in pieces.
pub(crate) struct Reader<'a> {
    wanted: &'a [SeriesMatch],
    found: Vec<Found>,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// Lines that have ended.
    lines: u64,
    /// The line is longer than [`LINE_LIMIT`]: the rest of it is passed over.
    long: bool,
    room: usize,
}

impl<'a> Reader<'a> {
    /// A reader that looks for these series.
    pub(crate) fn new(wanted: &'a [SeriesMatch]) -> Self {
        Self {
            wanted,
            found: vec![Found::new(); wanted.len()],
            line: Vec::new(),
            lines: 0,
            long: false,
            room: PAGE_LIMIT,
        }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// What is wrong with the page; the reading is then over.
    pub(crate) fn feed(&mut self, octets: &[u8]) -> Result<(), Fault> {
        self.room = self.room.checked_sub(octets.len()).ok_or(Fault::TooLarge)?;
        let mut lines = octets.split(|octet| *octet == b'\n');
        let last = lines.next_back().unwrap_or_default();
        for part in lines {
            self.extend(part);
            self.end_line()?;
        }
        self.extend(last);
        Ok(())
    }

    /// What was found on the whole page, for each of the wanted.
    ///
    /// # Errors
    /// What is wrong with its last line.
    pub(crate) fn finish(mut self) -> Result<Vec<Found>, Fault> {
        self.end_line()?;
        Ok(self.found)
    }

    fn extend(&mut self, part: &[u8]) {
        if self.long || self.line.len() + part.len() > LINE_LIMIT {
            self.long = true;
            // The name at its beginning tells whether the line is wanted.
            self.line.truncate(256);
            let rest = 256_usize.saturating_sub(self.line.len());
            self.line
                .extend_from_slice(part.get(..rest).unwrap_or(part));
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn end_line(&mut self) -> Result<(), Fault> {
        let line = std::mem::take(&mut self.line);
        let long = std::mem::take(&mut self.long);
        self.lines += 1;
        let (name, rest) = split_name(&line);
        for (wanted, found) in self.wanted.iter().zip(&mut self.found) {
            if wanted.metric.as_bytes() != name {
                continue;
            }
            let broken = |what| {
                Fault::Syntax(Box::new(Broken {
                    line: self.lines,
                    metric: wanted.metric.clone(),
                    what,
                }))
            };
            if long {
                return Err(broken("the line is longer than 16 KiB"));
            }
            let (labels, value) = split_labels(rest)
                .ok_or_else(|| broken("the braces of its labels do not close"))?;
            let meant = matches(labels, wanted);
            if !meant.ok_or_else(|| broken("a label is not written name=\"value\""))? {
                continue;
            }
            let value = read_value(value).ok_or_else(|| broken("its value is no number"))?;
            if !value.is_finite() || value < 0.0 {
                return Err(Fault::Absurd);
            }
            if found.len() >= SERIES_LIMIT {
                return Err(Fault::TooManySeries);
            }
            // Not −0.0.
            if found.insert(xxh3_64(labels), value.abs()).is_some() {
                return Err(Fault::Twice);
            }
        }
        Ok(())
    }
}

/// The name at the beginning of a line and what follows it; no name for comments.
fn split_name(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.trim_ascii_start();
    let letter = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b':');
    let end = line
        .iter()
        .position(|octet| !letter(octet))
        .unwrap_or(line.len());
    line.split_at_checked(end).unwrap_or_default()
}

/// What stands between the braces, which may be missing, and what follows them.
fn split_labels(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = rest.trim_ascii_start();
    let Some(inside) = rest.strip_prefix(b"{") else {
        return Some((&[], rest));
    };
    let mut quoted = false;
    let mut escaped = false;
    for (at, octet) in inside.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => {
                let (labels, end) = inside.split_at_checked(at)?;
                return Some((labels, end.strip_prefix(b"}")?));
            }
            _ => {}
        }
    }
    None
}

/// Whether every wanted label is there with a value that is meant; nothing for what are no labels.
fn matches(labels: &[u8], wanted: &SeriesMatch) -> Option<bool> {
    if wanted.labels.is_empty() {
        return Some(true);
    }
    let mut there = Vec::with_capacity(wanted.labels.len());
    let mut rest = labels.trim_ascii();
    while !rest.is_empty() {
        let (name, value, after) = next_label(rest)?;
        let meant = |label: &&meridian_config::LabelMatch| label.name.as_bytes() == name;
        if let Some(label) = wanted.labels.iter().find(meant) {
            if !label.accepts(&value) {
                return Some(false);
            }
            // One that stands twice does not stand in for another.
            if !there.contains(&name) {
                there.push(name);
            }
        }
        rest = after;
    }
    Some(there.len() == wanted.labels.len())
}

/// `name="value"` and what follows the comma after it.
fn next_label(rest: &[u8]) -> Option<(&[u8], Cow<'_, str>, &[u8])> {
    let equals = rest.iter().position(|octet| *octet == b'=')?;
    let (name, after) = rest.split_at_checked(equals)?;
    let inside = after
        .strip_prefix(b"=")?
        .trim_ascii_start()
        .strip_prefix(b"\"")?;
    let mut escaped = false;
    let mut escapes = false;
    let end = inside.iter().position(|octet| {
        let closes = *octet == b'"' && !escaped;
        escaped = *octet == b'\\' && !escaped;
        escapes |= escaped;
        closes
    })?;
    let (value, after) = inside.split_at_checked(end)?;
    let after = after.strip_prefix(b"\"")?.trim_ascii_start();
    let after = match after.strip_prefix(b",") {
        Some(more) => more.trim_ascii_start(),
        None if after.is_empty() => after,
        None => return None,
    };
    let text = String::from_utf8_lossy(value);
    let value = if escapes {
        Cow::Owned(unescape(&text))
    } else {
        text
    };
    Some((name.trim_ascii(), value, after))
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            other => out.push(other),
        }
    }
    out
}

/// The first word.
fn read_value(rest: &[u8]) -> Option<f64> {
    let mut words = rest
        .split(u8::is_ascii_whitespace)
        .filter(|w| !w.is_empty());
    std::str::from_utf8(words.next()?).ok()?.parse().ok()
}

/// Reads any octets as a page, in pieces and whole: for fuzzing.
///
/// # Panics
/// When the pieces give something else than the whole, or more than may be kept.
#[doc(hidden)]
#[allow(clippy::panic)] // that is its purpose
pub fn fuzz(page: &[u8], cut: usize) {
    let label = |name: &str, value: &str, prefix| meridian_config::LabelMatch {
        name: name.into(),
        value: value.into(),
        prefix,
    };
    let series = |labels| SeriesMatch {
        metric: "a".into(),
        labels,
    };
    let wanted = [
        series(Vec::new()),
        series(vec![label("b", "c", false), label("d", "5", true)]),
    ];
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut reader = Reader::new(&wanted);
        for piece in pieces {
            reader.feed(piece)?;
            assert!(reader.line.len() <= LINE_LIMIT);
        }
        reader.finish()
    };
    let whole = read(&mut std::iter::once(page));
    let pieces = read(&mut page.chunks(cut.max(1)));
    assert_eq!(whole, pieces);
    for found in whole.into_iter().flatten() {
        assert!(found.len() <= SERIES_LIMIT);
        assert!(found.values().all(|v| v.is_finite() && *v >= 0.0));
    }
    let _ = super::StubStatus::read(page);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use meridian_config::LabelMatch;
    use proptest::prelude::*;

    use super::*;

    fn series(metric: &str, labels: &[(&str, &str)]) -> SeriesMatch {
        let label = |(name, value): &(&str, &str)| {
            let prefix = value.ends_with('*');
            LabelMatch {
                name: (*name).into(),
                value: value.trim_end_matches('*').into(),
                prefix,
            }
        };
        SeriesMatch {
            metric: metric.into(),
            labels: labels.iter().map(label).collect(),
        }
    }

    fn values(page: &str, wanted: SeriesMatch) -> Result<Vec<f64>, Fault> {
        let wanted = [wanted];
        let mut reader = Reader::new(&wanted);
        reader.feed(page.as_bytes())?;
        let mut values: Vec<f64> = reader.finish()?.remove(0).into_values().collect();
        values.sort_by(f64::total_cmp);
        Ok(values)
    }

    const PAGE: &str = "# HELP requests Requests\n# TYPE requests counter\n\
        requests{server=\"a\",code=\"200\"} 10 1700000000000\n\
        requests{server=\"a\",code=\"503\"} 3\r\n\
        requests{server=\"b \\\"}{ \\\\ \\n\",code=\"500\",} 1e1\n  \
        active 7.5 # {trace=\"x\"} 1\n\
        requests_total 99\nrequests_created{server=\"a\"} NaN\n\nsad nan\nbelow -1\nmuch +Inf";

    #[test]
    fn a_page_of_everything() {
        for (wanted, right) in [
            (series("active", &[]), Ok(vec![7.5])),
            (series("requests", &[]), Ok(vec![3.0, 10.0, 10.0])),
            (series("requests", &[("server", "a")]), Ok(vec![3.0, 10.0])),
            (series("requests", &[("code", "5*")]), Ok(vec![3.0, 10.0])),
            (
                series("requests", &[("code", "5*"), ("server", "b \"}{ \\ \n")]),
                Ok(vec![10.0]),
            ),
            (series("requests", &[("zone", "a")]), Ok(vec![])),
            (series("requests", &[("code", "")]), Ok(vec![])),
            (series("request", &[]), Ok(vec![])),
            (series("sad", &[]), Err(Fault::Absurd)),
            (series("below", &[]), Err(Fault::Absurd)),
            (series("much", &[]), Err(Fault::Absurd)),
        ] {
            assert_eq!(values(PAGE, wanted.clone()), right, "{wanted:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_wanted_line_is_told() {
        for (page, line, what) in [
            ("a{", 1, "the braces"),
            ("# a\na{b=\"c\" 1", 2, "the braces"),
            ("a{b} 1", 1, "a label"),
            ("x 1\n\na{b=\"c\"d=\"e\"} 1\ny 2", 3, "a label"),
            ("a{b=c} 1", 1, "a label"),
            ("a{b=\"c\"} one", 1, "its value is no number"),
            ("a{b=\"c\"}", 1, "its value is no number"),
        ] {
            let fault = values(page, series("a", &[("b", "c")])).unwrap_err();
            let text = fault.to_string();
            let right = format!("line {line} of the page, metric a: {what}");
            assert!(text.starts_with(&right), "{page}: {text}");
            assert!(text.ends_with("or name another metric"), "{text}");
            assert_eq!(fault.label(), "syntax");
            // The same mistake in a metric that nobody asked for does not matter.
            assert_eq!(values(page, series("other", &[])), Ok(vec![]), "{page}");
        }
        for (page, fault) in [
            ("a{b=\"c\"} 1\na{b=\"c\"} 2", Fault::Twice),
            ("a{b=\"c\"} -1", Fault::Absurd),
        ] {
            let wanted = series("a", &[("b", "c")]);
            assert_eq!(values(page, wanted), Err(fault), "{page}");
            // The same mistake in a metric that nobody asked for does not matter.
            assert_eq!(values(page, series("other", &[])), Ok(vec![]), "{page}");
        }
    }

    #[test]
    fn a_label_that_stands_twice_is_not_two() {
        let both = series("a", &[("b", "c"), ("d", "e")]);
        let page = "a{b=\"c\",b=\"c\"} 1\na{b=\"c\",d=\"e\",b=\"c\"} 2\n";
        assert_eq!(values(page, both), Ok(vec![2.0]));
    }

    /// Row 6: every feed is bounded, whatever its size.
    #[test]
    fn row_6_a_page_of_any_size_is_bounded() {
        let many: String = (0..=SERIES_LIMIT)
            .map(|n| format!("a{{n=\"{n}\"}} 1\n"))
            .collect();
        assert_eq!(values(&many, series("a", &[])), Err(Fault::TooManySeries));
        let long = format!("a{{b=\"{}\"}} 1\nb 2\n", "x".repeat(LINE_LIMIT));
        let fault = values(&long, series("a", &[])).unwrap_err().to_string();
        assert!(fault.contains("longer than 16 KiB"), "{fault}");
        assert_eq!(values(&long, series("b", &[])), Ok(vec![2.0]));
        let wanted = [series("a", &[])];
        let mut reader = Reader::new(&wanted);
        let piece = vec![b'x'; 1 << 20];
        let fed = (0..40).take_while(|_| reader.feed(&piece).is_ok()).count();
        assert_eq!(fed, PAGE_LIMIT >> 20);
        assert!(reader.line.len() <= LINE_LIMIT);
    }

    proptest! {
        #[test]
        fn any_octets_in_any_pieces(
            page in "([ab]|\\{|\\}|\"|=|,|\\\\|\n|1| |NaN|-|5|c|d|#|a\\{b=\"c\",d=\"5\"\\} 1\n){0,60}",
            cut in 1_usize..20,
        ) {
            fuzz(page.as_bytes(), cut);
        }

        #[test]
        fn what_is_written_is_read(value in 0.0_f64..1e18, label in "[ -~\n\u{e9}]{0,20}") {
            let escaped = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let page = format!("x{{l=\"{escaped}\"}} {value}\n");
            let wanted = SeriesMatch {
                metric: "x".into(),
                labels: vec![LabelMatch { name: "l".into(), value: label, prefix: false }],
            };
            prop_assert_eq!(values(&page, wanted), Ok(vec![value]));
        }
    }
}
