//! Text that is no TOML: the parser's words, with a remedy.

use crate::{Diagnostic, text::quote, walk::SourceFile};

/// What to do about the mistakes that operators make most; the parser's words start so.
const REMEDIES: [(&str, &str); 14] = [
    (
        "invalid boolean",
        "put text between double quotes, or write `true` or `false`",
    ),
    ("cannot recurse", "nest less deeply"),
    (
        "string values must be quoted",
        "put the value between double quotes",
    ),
    ("duplicate key", "remove one of the two"),
    ("invalid basic string", "close the string with `\"`"),
    ("invalid literal string", "close the string with `'`"),
    ("unexpected leading zero", "remove the zero"),
    ("unclosed array table", "write `[[NAME]]`"),
    ("unclosed table", "write `[NAME]`"),
    ("unclosed array", "close the list with `]`"),
    ("unclosed inline table", "close the table with `}`"),
    ("key with no value", "write `KEY = VALUE`"),
    ("missing value", "write `KEY = VALUE`"),
    ("missing comma", "put a comma between the entries"),
];

/// One mistake a line: what follows on the same line is most often its consequence.
pub(crate) fn mistakes(file: &SourceFile, errors: &[toml::de::Error]) -> Vec<Diagnostic> {
    let mut all: Vec<Diagnostic> = errors.iter().map(|e| mistake(file, e)).collect();
    all.sort_by_key(|d| (d.span.start, d.span.end));
    // A file may hold as many mistakes as lines, so lines are not counted anew for each.
    let (mut line, mut seen, mut last) = (0_usize, 0, None);
    all.retain(|d| {
        let start = d.span.start.clamp(seen, file.text.len());
        let between = file.text.as_bytes().get(seen..start).unwrap_or_default();
        line += between.iter().filter(|octet| **octet == b'\n').count();
        seen = start;
        last.replace(line) != Some(line)
    });
    drop_consequences(file, &mut all);
    all
}

/// The keys under a table header that stands twice are not mistakes of their own.
fn drop_consequences(file: &SourceFile, all: &mut Vec<Diagnostic>) {
    let mut header_until = 0;
    all.retain(|one| {
        let (start, duplicate) = (one.span.start, one.message.contains("duplicate key"));
        if duplicate && start < header_until {
            return false;
        }
        let line = file
            .text
            .get(..start)
            .map_or(0, |t| t.rfind('\n').map_or(0, |i| i + 1));
        if duplicate
            && file
                .text
                .get(line..)
                .is_some_and(|t| t.trim_start().starts_with('['))
        {
            let rest = file.text.get(start..).unwrap_or("");
            header_until = rest.find("\n[").map_or(file.text.len(), |i| start + i);
        }
        true
    });
}

fn mistake(file: &SourceFile, error: &toml::de::Error) -> Diagnostic {
    let (what, wanted) = match error.message().split_once(", expected ") {
        Some((what, wanted)) => (what, Some(wanted)),
        None => (error.message(), None),
    };
    let span = error.span().unwrap_or(0..0);
    let nothing = file
        .text
        .get(span.clone())
        .is_some_and(|t| t.trim().is_empty());
    let what = if nothing && what.starts_with("string values") {
        "missing value"
    } else {
        what
    };
    let known = REMEDIES.iter().find(|(start, _)| what.starts_with(start));
    let help = match (known, wanted) {
        (Some((_, help)), _) => (*help).to_owned(),
        (None, Some(wanted)) if wanted != "nothing" => format!("expected here: {wanted}"),
        _ => "write `KEY = VALUE`, `[TABLE]`, `[[LIST]]` or a comment; see https://toml.io"
            .to_owned(),
    };
    let what = quote(what);
    Diagnostic {
        file: file.path.clone(),
        source: file.text.clone(),
        span,
        key: String::new(),
        message: format!("this is not TOML: {}", what.trim_matches('`')),
        help,
    }
}
