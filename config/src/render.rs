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
    let message = clean(&one.message);
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
