//! Diagnostics for people: the source line, a marker under the mistake, the remedy.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::{
    Diagnostic, Diagnostics,
    text::{clean, push_clean},
};

/// Characters of a source line that are shown.
const LINE_SHOWN: usize = 240;

impl Diagnostics {
    /// Every mistake as rustc would print it, with ANSI colours when `color` is set. Nothing that
    /// stands in a file can reach the terminal as a control character.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut out = String::new();
        for (i, one) in self.0.iter().enumerate() {
            if i > 0 {
                out.push('\n');
            }
            out.push_str(&render_one(one, &renderer));
            out.push('\n');
        }
        out
    }
}

fn render_one(one: &Diagnostic, renderer: &Renderer) -> String {
    // Without a line to mark, the key stands before the message.
    let message = match one.key.as_str() {
        key if one.source.is_empty() && !key.is_empty() => format!("{key}: {}", one.message),
        _ => one.message.clone(),
    };
    let message = clean(&message);
    let path = clean(&one.file.display().to_string());
    let (key, help) = (clean(&one.key), clean(&one.help));
    let excerpt = Excerpt::of(one);
    let mut group: Group<'_> = Group::with_title(Level::ERROR.primary_title(&message));
    group = match &excerpt {
        Some(excerpt) => {
            let mark = AnnotationKind::Primary.span(excerpt.span.clone());
            let mark = if key.is_empty() {
                mark
            } else {
                mark.label(&key)
            };
            group.element(
                Snippet::source(&excerpt.line)
                    .path(&path)
                    .line_start(excerpt.number)
                    .annotation(mark),
            )
        }
        // A mistake of no single file, such as a key that does not fit a certificate.
        None if path.is_empty() => group,
        None => group.element(Origin::path(&path)),
    };
    if !help.is_empty() {
        group = group.element(Level::HELP.message(&help));
    }
    renderer.render(&[group])
}

/// One line of a file, fit for a terminal, with the marked part of it.
struct Excerpt {
    line: String,
    number: usize,
    span: std::ops::Range<usize>,
}

impl Excerpt {
    /// `None` when there is no text to show.
    fn of(one: &Diagnostic) -> Option<Self> {
        if one.source.is_empty() {
            return None;
        }
        let source: &str = &one.source;
        let start = floor(source, one.span.start);
        let end = floor(source, one.span.end.max(one.span.start));
        let begin = source[..start].rfind('\n').map_or(0, |i| i + 1);
        let stop = source[start..]
            .find('\n')
            .map_or(source.len(), |i| start + i);
        let (number, _) = one.position();
        // A very long line is shown around the mistake only.
        let from = back(source, begin, start, LINE_SHOWN / 2);
        let mut line = String::new();
        let mut span = None;
        for (i, c) in source[from..stop].char_indices().take(LINE_SHOWN) {
            let here = line.len();
            if c == '\t' {
                line.push(' ');
            } else if c == '\r' && from + i + 1 == stop {
                break;
            } else {
                push_clean(&mut line, c);
            }
            if from + i == start {
                span = Some(here..line.len());
            } else if from + i > start && from + i < end {
                span = span.map(|s| s.start..line.len());
            }
        }
        let length = line.len();
        let span = span.unwrap_or(length..length);
        // An empty place (a missing value, an empty table header) still gets its mark.
        let span = if start == end {
            span.start..span.start
        } else {
            span
        };
        Some(Self { line, number, span })
    }
}

/// The nearest character boundary at or before an index.
fn floor(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// Goes back from `at` by at most so many octets, not before `begin`.
fn back(text: &str, begin: usize, at: usize, octets: usize) -> usize {
    if at - begin <= octets {
        begin
    } else {
        floor(text, at - octets).max(begin)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn shown(source: &str, span: std::ops::Range<usize>) -> String {
        let one = Diagnostic {
            file: "a.zone".into(),
            source: Arc::from(source),
            span,
            key: String::new(),
            message: "it is wrong".to_owned(),
            help: "make it right".to_owned(),
        };
        Diagnostics(vec![one]).render(false)
    }

    #[test]
    fn the_line_and_the_mark() {
        let expected = "error: it is wrong\n --> a.zone:2:3\n  |\n2 | b ccc d\n  |   ^^^\n  |\n  \
                        = help: make it right\n";
        assert_eq!(shown("a\nb ccc d\ne\n", 4..7), expected);
    }

    #[test]
    fn a_mark_over_several_lines_stops_at_the_first() {
        let found = shown("a (\n b\n c )\n", 2..11);
        assert!(found.contains("1 | a (\n  |   ^\n"), "{found}");
    }

    #[test]
    fn tabs_are_one_column_wide() {
        let found = shown("\t\tweight\t= -1", 11..13);
        assert!(
            found.contains("1 |   weight = -1\n  |            ^^"),
            "{found}"
        );
    }

    #[test]
    fn the_end_of_a_file_is_a_place() {
        for source in ["abc", "abc\n", "abc\r\n"] {
            let found = shown(source, source.len()..source.len());
            assert!(found.contains('^'), "{source:?}: {found}");
        }
        assert!(shown("", 0..0).contains("--> a.zone\n"));
    }

    #[test]
    fn a_mistake_of_no_file_names_none() {
        let one = Diagnostic::of_file("", "they do not fit", "");
        let shown = Diagnostics::from(one).render(false);
        assert_eq!(shown, "error: they do not fit\n");
    }

    #[test]
    fn a_long_line_is_shown_around_the_mistake() {
        let source = format!("{} wrong {}", "x".repeat(100_000), "y".repeat(100_000));
        let found = shown(&source, 100_001..100_006);
        assert!(found.contains("wrong") && found.len() < 2000, "{found}");
    }

    proptest! {
        #[test]
        fn any_place_in_any_text_is_total(
            source in any::<String>(), start in 0..400_usize, end in 0..400_usize,
        ) {
            let found = shown(&source, start..end);
            prop_assert!(!found.contains(|c: char| c.is_control() && c != '\n'));
        }
    }
}
