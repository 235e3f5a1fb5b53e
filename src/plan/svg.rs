//! Text and numbers of the drawing, as SVG has them.

use super::palette::Color;

/// Pixels in tenths.
// A map is some thousand pixels wide.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn tenths(pixels: f64) -> i64 {
    (pixels * 10.0).round() as i64
}

/// A tenth as short as it can be written.
pub(super) fn tenth(tenths: i64) -> String {
    let sign = if tenths < 0 { "-" } else { "" };
    match (tenths.abs() / 10, tenths.abs() % 10) {
        (0, 0) => "0".to_owned(),
        (whole, 0) => format!("{sign}{whole}"),
        (0, part) => format!("{sign}.{part}"),
        (whole, part) => format!("{sign}{whole}.{part}"),
    }
}

/// At most so many characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

pub(super) fn hex([r, g, b]: Color) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The one way of text into the drawing: what would be markup, and what XML cannot hold, is replaced
/// (failure class 15).
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_15_no_text_becomes_markup() {
        assert_eq!(
            escape("<a href=\"x\">&\u{1}é"),
            "&lt;a href=&quot;x&quot;&gt;&amp;\u{fffd}é"
        );
        assert_eq!(cut("abcdef", 3), "abc…");
        assert_eq!(cut("äöü", 3), "äöü");
    }

    #[test]
    fn tenths_are_short() {
        for (tenths, text) in [
            (0, "0"),
            (5, ".5"),
            (-5, "-.5"),
            (120, "12"),
            (-123, "-12.3"),
        ] {
            assert_eq!(tenth(tenths), text);
        }
    }
}
