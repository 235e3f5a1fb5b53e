//! Reading: the main file, then the files that its `include` patterns match.
//!
//! Includes do not nest: an included file holds entries, never `include`. So the set of files can
//! be seen from the main file alone, and cannot form a circle.

use std::{
    collections::HashSet,
    io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use toml::de::DeTable;

use crate::{
    Diagnostic, Diagnostics, ReadError,
    bounded::read_file,
    text::quote,
    walk::{At, Sink, SourceFile, Table, Value},
};

/// Largest file that is read, in octets.
pub(crate) const FILE_LIMIT: u64 = 8 * 1024 * 1024;

/// Most files that the patterns may match together.
const FILES_LIMIT: usize = 4096;

/// What could be read, and what could not.
pub(crate) struct Reading {
    /// The main file first.
    pub(crate) files: Vec<SourceFile>,
    /// The patterns of `include`, joined to the main file's directory.
    pub(crate) patterns: Vec<PathBuf>,
    /// Mistakes in `include`, and files that cannot be read.
    pub(crate) found: Diagnostics,
    /// Some file is missing, and may hold what the others refer to.
    pub(crate) incomplete: bool,
}

/// Reads the main file and what it includes; with `root`, the copies that stand below it, while
/// every path in the result stays the original's.
///
/// # Errors
/// The main file cannot be read.
pub(crate) fn read_all(path: &Path, root: Option<&Path>) -> Result<Reading, Diagnostics> {
    let text = read_text(&below(root, path)).map_err(|e| e.into_diagnostic(path))?;
    let main = main_file(&text, path);
    let sink = Sink::default();
    let mut matches = Matches::default();
    let mut patterns_read = Vec::new();
    // What is wrong with `include` itself is reported when the file is walked as a whole.
    let scratch = Sink::default();
    for pattern in patterns(&main, &scratch) {
        patterns_read.push(PathBuf::from(pattern.whole(&main.base)));
        let at = At {
            sink: &sink,
            ..pattern.at
        };
        expand(
            &Pattern { at, ..pattern },
            &main.base,
            root,
            path,
            &mut matches,
        );
    }
    let mut included = Vec::new();
    for (path, at) in matches.list {
        match read_text(&below(root, &path)) {
            Ok(text) => included.push(SourceFile {
                path,
                base: main.base.clone(),
                text,
                order: included.len() + 1,
            }),
            Err(Unreadable::Os(error)) => at.mistake(
                format!(
                    "{} cannot be read: {error}",
                    quote(&path.display().to_string())
                ),
                "make the file readable, or change the pattern",
            ),
            Err(other) => sink.push(usize::MAX, other.into_diagnostic(&path)),
        }
    }
    let found = sink.into_diagnostics();
    let incomplete = !found.is_empty() || !scratch.is_empty();
    let mut files = vec![main];
    files.extend(included);
    Ok(Reading {
        files,
        patterns: patterns_read,
        found,
        incomplete,
    })
}

/// The path whose copy was found below `root`.
fn original(root: Option<&Path>, found: &Path) -> PathBuf {
    match root.and_then(|root| found.strip_prefix(root).ok()) {
        Some(rest) => Path::new("/").join(rest),
        None => found.to_owned(),
    }
}

/// Where the copy of `path` stands below `root`; `path` itself without one.
pub(crate) fn below(root: Option<&Path>, path: &Path) -> PathBuf {
    let Some(root) = root else {
        return path.to_owned();
    };
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part),
        _ => None,
    });
    root.iter().chain(parts).collect()
}

/// Where a mistake found while reading stands in the reading order.
pub(crate) fn order_of(mistake: &Diagnostic, files: &[SourceFile]) -> usize {
    files
        .iter()
        .find(|f| f.path == mistake.file)
        .map_or(usize::MAX, |f| f.order)
}

/// A main file from its text.
pub(crate) fn main_file(text: &str, path: &Path) -> SourceFile {
    let base = path.parent().unwrap_or(Path::new("")).to_owned();
    // A byte order mark is what some editors leave.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    SourceFile {
        path: path.to_owned(),
        base,
        text: Arc::from(text),
        order: 0,
    }
}

enum Unreadable {
    Os(io::Error),
    NoFile,
    TooLarge,
    NoText(Vec<u8>, usize),
}

impl Unreadable {
    fn into_diagnostic(self, path: &Path) -> Diagnostic {
        let (message, help) = match self {
            Self::Os(error) => (
                format!("cannot be read: {error}"),
                "check the path and its permissions",
            ),
            Self::NoFile => ("is no regular file".to_owned(), "name a file"),
            Self::TooLarge => (
                format!("is larger than {} MiB", FILE_LIMIT / 1024 / 1024),
                "split it into several included files",
            ),
            Self::NoText(bytes, at) => return no_text(&bytes, at, path),
        };
        let name = quote(&path.display().to_string());
        Diagnostic::of_file(path, format!("{name} {message}"), help)
    }
}

fn read_text(path: &Path) -> Result<Arc<str>, Unreadable> {
    let bytes = read_file(path, FILE_LIMIT).map_err(|error| match error {
        ReadError::Os(error) => Unreadable::Os(error),
        ReadError::NoFile => Unreadable::NoFile,
        ReadError::TooLarge(_) => Unreadable::TooLarge,
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Arc::from(text.strip_prefix('\u{feff}').unwrap_or(&text))),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(Unreadable::NoText(error.into_bytes(), at))
        }
    }
}

fn no_text(bytes: &[u8], at: usize, path: &Path) -> Diagnostic {
    let source: Arc<str> = Arc::from(String::from_utf8_lossy(bytes));
    let octet = bytes.get(at).copied().unwrap_or(0);
    // Up to here the octets are valid, so the replacement character starts at the same place.
    let end = at + char::REPLACEMENT_CHARACTER.len_utf8();
    Diagnostic {
        file: path.to_owned(),
        span: at..end.min(source.len()),
        source,
        key: String::new(),
        message: format!("the octet 0x{octet:02x} is not UTF-8"),
        help: "save the file as UTF-8".to_owned(),
    }
}

/// The patterns of `include`; nothing when the main file is no TOML, which is reported later.
fn patterns<'a>(main: &'a SourceFile, sink: &'a Sink) -> Vec<Pattern<'a>> {
    let Ok(root) = DeTable::parse(&main.text) else {
        return Vec::new();
    };
    let at = At {
        file: main,
        sink,
        span: 0..0,
        key: String::new(),
    };
    let root = root.into_inner();
    let table = Table::new(at, &root);
    let Some(list) = table
        .get("include", "[\"conf.d/*.toml\"]")
        .and_then(|v| v.list())
    else {
        return Vec::new();
    };
    let take = |value: Value<'_>| {
        let text = value.line(4096)?.to_owned();
        Some(Pattern {
            text,
            at: At {
                file: main,
                sink,
                span: value.at.span,
                key: value.at.key,
            },
        })
    };
    list.into_iter().filter_map(take).collect()
}

struct Pattern<'a> {
    text: String,
    at: At<'a>,
}

impl Pattern<'_> {
    /// The pattern joined to the main file's directory.
    fn whole(&self, base: &Path) -> String {
        let base = glob::Pattern::escape(&base.display().to_string());
        if Path::new(&self.text).is_absolute() || base.is_empty() {
            self.text.clone()
        } else {
            format!("{base}/{}", self.text)
        }
    }
}

/// The files matched so far, each with the first pattern that did.
#[derive(Default)]
struct Matches<'a> {
    list: Vec<(PathBuf, At<'a>)>,
    seen: HashSet<PathBuf>,
    /// What the patterns matched, with every name of a file that has several.
    entries: usize,
}

/// A file by its one true name: `./x` and `x`, and a symbolic link and its target, are the same.
fn real(path: &Path) -> PathBuf {
    let plain = || path.strip_prefix(".").unwrap_or(path).to_owned();
    path.canonicalize().unwrap_or_else(|_| plain())
}

/// Adds the files that a pattern matches, in alphabetical order, each once over all patterns.
fn expand<'a>(
    pattern: &Pattern<'a>,
    base: &Path,
    root: Option<&Path>,
    main: &Path,
    matches: &mut Matches<'a>,
) {
    let mut whole = pattern.whole(base);
    let root_text = root.map(|r| glob::Pattern::escape(&r.display().to_string()));
    if let Some(root) = root_text {
        whole = format!("{root}/{}", whole.trim_start_matches('/'));
    }
    // `*` matches no hidden file: editors leave such files behind.
    let options = glob::MatchOptions {
        require_literal_leading_dot: true,
        ..Default::default()
    };
    let found = match glob::glob_with(&whole, options) {
        Ok(found) => found,
        Err(error) => {
            let message = format!("{} is no pattern: {}", quote(&pattern.text), error.msg);
            pattern
                .at
                .mistake(message, "write for example `include = [\"conf.d/*.toml\"]`");
            return;
        }
    };
    let main = real(&below(root, main));
    let mut matched = false;
    for entry in found {
        matches.entries += 1;
        match entry {
            Ok(found) => {
                matched = true;
                let real = real(&found);
                if real != main && matches.seen.insert(real) {
                    let path = original(root, &found);
                    matches.list.push((path, pattern.at.clone()));
                }
            }
            Err(error) => {
                let path = quote(&error.path().display().to_string());
                let message = format!("{path} cannot be read: {}", error.error());
                pattern.at.mistake(
                    message,
                    "make the directory readable, or change the pattern",
                );
            }
        }
        // `**` follows links that lead in a circle as long as the kernel does.
        if matches.entries > FILES_LIMIT {
            let message = format!("the patterns match more than {FILES_LIMIT} files");
            pattern.at.mistake(message, "narrow the pattern");
            return;
        }
    }
    // An empty directory may be one that is not mounted: its zones must not vanish silently.
    if !matched {
        pattern.at.mistake(
            format!("{} matches no file", quote(&pattern.text)),
            "put a file there, or remove the pattern",
        );
    }
}
