//! Text for people: tables, colours, times. Everything that came from outside (names, reasons of
//! probes, cities) goes through [`clean`] on its way to a terminal.

mod announcements;
mod event;
mod explain;
mod geo;
mod plan;
mod status;
mod table;

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    time::Duration,
};

pub(crate) use announcements::announcements;
pub(crate) use event::event;
pub(crate) use explain::{Explained, explanation};
pub(crate) use geo::{Lookup, Near, lookup};
pub(crate) use plan::plan;
pub(crate) use status::status;
pub(crate) use table::{Cell, Table};

/// Whether and how text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    color: bool,
}

impl Style {
    /// No colours.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { color: false };

    /// Colours when standard output is a terminal and `NO_COLOR` is unset or empty.
    pub(crate) fn stdout() -> Self {
        Self {
            color: wanted() && io::stdout().is_terminal(),
        }
    }

    /// Colours when standard error is a terminal and `NO_COLOR` is unset or empty.
    pub(crate) fn stderr() -> Self {
        Self {
            color: wanted() && io::stderr().is_terminal(),
        }
    }

    /// Whether there are colours.
    pub(crate) fn color(self) -> bool {
        self.color
    }

    /// Paints `text`, which must be clean already.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        match paint.code() {
            Some(code) if self.color => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

fn wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Meaning of a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Ordinary text.
    Plain,
    /// As it should be.
    Good,
    /// Broken.
    Bad,
    /// Worth a look.
    Warn,
    /// Less important.
    Dim,
    /// A heading.
    Bold,
}

impl Paint {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Bad => Some("31"),
            Self::Warn => Some("33"),
            Self::Dim => Some("2"),
            Self::Bold => Some("1"),
        }
    }

    /// The colour of a state such as `up` or `drained`.
    pub(crate) fn of_state(state: &str) -> Self {
        match state {
            "up" => Self::Good,
            "down" => Self::Bad,
            "drained" | "drain" => Self::Warn,
            _ => Self::Plain,
        }
    }
}

/// Text that cannot steer a terminal: control characters and those that reorder text
/// (Unicode bidirectional controls) are shown as `\u{…}`.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_hostile(c) {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Clean text in one line: the lines of a message (the mistakes of a refused reload, a reason
/// that somebody wrote over the API) are joined, so that none can pass for a line of its own.
pub(crate) fn one_line(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(clean).collect();
    lines.join("; ")
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{feff}' | '\u{61c}')
}

/// A span of time for people: `42s`, `5m 3s`, `2h 10m`, `3d 4h`.
pub(crate) fn span(time: Duration) -> String {
    let s = time.as_secs();
    let (m, h, d) = (s / 60, s / 3600, s / 86_400);
    match s {
        0..60 => format!("{s}s"),
        60..3600 if s.is_multiple_of(60) => format!("{m}m"),
        60..3600 => format!("{m}m {}s", s % 60),
        3600..86_400 if m.is_multiple_of(60) => format!("{h}h"),
        3600..86_400 => format!("{h}h {}m", m % 60),
        _ => format!("{d}d {}h", h % 24),
    }
}

/// Prints to standard output. When its reader went away (`meridian events --follow | head`) nobody
/// is left to work for, and the process ends.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if written.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
}

/// Prints a value as indented JSON with a final newline.
pub(crate) fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&format!("{text}\n")),
        Err(error) => print(&format!("{{\"error\": \"not expressible: {error}\"}}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_15_control_characters_never_reach_the_terminal() {
        assert_eq!(clean("plain ümlaut"), "plain ümlaut");
        assert_eq!(clean("\x1b]0;owned\x07\n"), "\\u{1b}]0;owned\\u{7}\\u{a}");
        assert_eq!(clean("a\u{202e}b\u{9b}c"), "a\\u{202e}b\\u{9b}c");
    }

    #[test]
    fn class_15_no_text_forges_a_line() {
        assert_eq!(
            one_line("a\nINFO forged\r\x1b[2J"),
            "a; INFO forged\\u{d}\\u{1b}[2J"
        );
        assert_eq!(one_line("a\u{85}b\u{2028}c"), "a\\u{85}b\\u{2028}c");
    }

    #[test]
    fn colours_only_when_asked_for() {
        assert_eq!(Style::PLAIN.paint(Paint::Bad, "x"), "x");
        let colored = Style { color: true };
        assert_eq!(colored.paint(Paint::Bad, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(colored.paint(Paint::Plain, "x"), "x");
    }

    #[test]
    fn spans_are_short() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (303, "5m 3s"),
            (7200, "2h"),
            (7860, "2h 11m"),
            (273_600, "3d 4h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
