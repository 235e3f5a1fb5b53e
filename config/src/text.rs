//! Words for messages: quoting of what the operator wrote, and the nearest known word.

use std::fmt::Write as _;

/// Longest excerpt of a value that a message repeats, in characters.
const EXCERPT: usize = 60;

/// What the operator wrote, between backticks, fit for a terminal and a log: control and
/// invisible characters are escaped, long text is cut.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("`");
    for (count, c) in text.chars().enumerate() {
        if count == EXCERPT {
            out.push('…');
            break;
        }
        if is_unprintable(c) {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out.push('`');
    out
}

/// What [`is_name`] asks for.
pub(crate) const NAME_RULE: &str = "1 to 63 of a-z, 0-9, `-` and `_`";

/// Whether a text may name a PoP, a pool or a check.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=63).contains(&text.len()) && text.bytes().all(allowed)
}

/// A text without anything that a terminal would obey: control characters become their pictures
/// (U+2400…), invisible ones their number.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push_clean(&mut out, c);
    }
    out
}

/// Adds one character, see [`clean`].
pub(crate) fn push_clean(out: &mut String, c: char) {
    match u32::from(c) {
        code @ 0..=0x1f => out.push(char::from_u32(0x2400 + code).unwrap_or('\u{fffd}')),
        0x7f => out.push('\u{2421}'),
        code if is_unprintable(c) => {
            let _ = write!(out, "<U+{code:04X}>");
        }
        _ => out.push(c),
    }
}

/// Whether a character moves the cursor, changes the terminal, reorders text or cannot be seen.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// The candidate that the operator most likely meant, if any is close.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    // A name longer than any that may exist is not a misspelling; the distance is quadratic.
    if word.len() > 128 {
        return None;
    }
    let lower = word.to_lowercase();
    let candidates: Vec<&str> = candidates.into_iter().filter(|c| c.len() <= 128).collect();
    let close = candidates
        .iter()
        .copied()
        .map(|c| (strsim::damerau_levenshtein(&lower, &c.to_lowercase()), c))
        .filter(|(distance, c)| *distance <= (c.len().max(lower.len()) / 3).max(1))
        .min()
        .map(|(_, c)| c);
    // A word cut short: `lat` for `latitude`.
    let cut = || {
        candidates
            .iter()
            .copied()
            .find(|c| lower.len() >= 3 && c.starts_with(&lower))
    };
    close.or_else(cut)
}

/// "`a`, `b` or `c`".
pub(crate) fn alternatives<S: AsRef<str>>(words: &[S]) -> String {
    let mut out = String::new();
    for (i, word) in words.iter().enumerate() {
        if i > 0 {
            out.push_str(if i + 1 == words.len() { " or " } else { ", " });
        }
        out.push_str(&quote(word.as_ref()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_shows_what_a_terminal_would_obey() {
        assert_eq!(quote("fra"), "`fra`");
        assert_eq!(
            quote("\x1b[31m\u{202e}x\u{9b}"),
            "`\\u{1b}[31m\\u{202e}x\\u{9b}`"
        );
        assert_eq!(quote(&"x".repeat(500)).chars().count(), EXCERPT + 3);
    }

    #[test]
    fn nearest_needs_to_be_near() {
        let known = ["latitude", "longitude", "name", "weight"];
        assert_eq!(nearest("lattitude", known), Some("latitude"));
        assert_eq!(nearest("Name", known), Some("name"));
        assert_eq!(nearest("wieght", known), Some("weight"));
        assert_eq!(nearest("lat", known), Some("latitude"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn alternatives_read_as_a_sentence() {
        assert_eq!(alternatives(&["a"]), "`a`");
        assert_eq!(alternatives(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
