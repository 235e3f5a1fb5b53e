//! Walking a parsed TOML tree by hand, so that one mistake does not hide the next.
//!
//! A [`Table`] remembers which keys were asked for; [`Table::close`] reports the others. A
//! [`Value`] knows where it stands, so every converter in `scalar` can point at it. Converters
//! return `None` after they have put a mistake into the [`Sink`]; the caller goes on with a
//! placeholder, because a reading with a mistake never yields a model.

use std::{
    cell::{Cell, RefCell},
    ops::Range,
    path::PathBuf,
    sync::Arc,
};

use toml::de::{DeTable, DeValue};

use crate::{
    Diagnostic, Diagnostics, NamedFile, Place,
    text::{alternatives, nearest, quote},
};

/// Mistakes kept of one reading; a file with more has one cause, not a thousand.
const MISTAKES_KEPT: usize = 1000;

/// One file of the configuration.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// As the operator named it.
    pub(crate) path: PathBuf,
    /// Directory that its relative paths start from: the main file's.
    pub(crate) base: PathBuf,
    /// Its text.
    pub(crate) text: Arc<str>,
    /// Place in the reading order; 0 is the main file.
    pub(crate) order: usize,
}

/// What becomes of files that hold a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Secrets {
    /// They are only named.
    #[default]
    Named,
    /// They are read, and one that cannot be read is left out.
    IfThere,
    /// They are read, and one that cannot be read is a mistake.
    Required,
}

/// Collects mistakes.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    found: RefCell<Vec<(usize, Diagnostic)>>,
    /// Mistakes beyond those kept.
    dropped: Cell<usize>,
    /// Files that the configuration names, in the order they were read.
    named_files: RefCell<Vec<NamedFile>>,
    /// Something could not be read as entries: what seems to be missing may stand there.
    pub(crate) incomplete: Cell<bool>,
    /// What becomes of files that hold a secret.
    pub(crate) secrets: Cell<Secrets>,
}

impl Sink {
    /// Takes a mistake in the file of this order.
    pub(crate) fn push(&self, order: usize, mistake: Diagnostic) {
        let mut found = self.found.borrow_mut();
        if found.len() < MISTAKES_KEPT {
            found.push((order, mistake));
        } else {
            self.dropped.set(self.dropped.get() + 1);
        }
    }

    /// Remembers where a file is named.
    pub(crate) fn name_file(&self, path: PathBuf, at: Place) {
        self.named_files.borrow_mut().push(NamedFile { path, at });
    }

    /// The files named so far.
    pub(crate) fn take_named_files(&self) -> Vec<NamedFile> {
        self.named_files.take()
    }

    /// Whether so much is wrong that guessing what was meant costs more than it helps.
    pub(crate) fn is_crowded(&self) -> bool {
        self.found.borrow().len() > MISTAKES_KEPT / 10
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// Every mistake in reading order.
    pub(crate) fn into_diagnostics(self) -> Diagnostics {
        let mut found = self.found.into_inner();
        found.sort_by(|(o1, d1), (o2, d2)| {
            (o1, d1.span.start, d1.span.end).cmp(&(o2, d2.span.start, d2.span.end))
        });
        let mut all: Vec<Diagnostic> = found.into_iter().map(|(_, d)| d).collect();
        if let (dropped @ 1.., Some(last)) = (self.dropped.get(), all.last()) {
            let message = format!("{dropped} more mistakes are not shown");
            all.push(Diagnostic::of_file(&last.file, message, "mend these first"));
        }
        Diagnostics(all)
    }
}

/// A place in a file, with its key path.
#[derive(Clone, Debug)]
pub(crate) struct At<'a> {
    pub(crate) file: &'a SourceFile,
    pub(crate) sink: &'a Sink,
    pub(crate) span: Range<usize>,
    pub(crate) key: String,
}

impl<'a> At<'a> {
    /// Reports a mistake here.
    pub(crate) fn mistake(&self, message: impl Into<String>, help: impl Into<String>) {
        self.sink
            .push(self.file.order, self.place().mistake(message, help));
    }

    /// Owned form, for later stages.
    pub(crate) fn place(&self) -> Place {
        Place {
            file: self.file.path.clone(),
            source: self.file.text.clone(),
            span: self.span.clone(),
            key: self.key.clone(),
        }
    }

    /// `FILE:LINE`, to name this place in a message about another one.
    pub(crate) fn line(&self) -> String {
        let (line, _) = self.place().mistake("", "").position();
        let path = quote(&self.file.path.display().to_string());
        format!("{}:{line}", path.trim_matches('`'))
    }

    fn child(&self, key: &str, span: Range<usize>) -> Self {
        let bare = !key.is_empty()
            && key.len() <= 128
            && key
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let segment = if bare {
            key.to_owned()
        } else {
            format!("\"{}\"", quote(key).trim_matches('`'))
        };
        let key = if self.key.is_empty() {
            segment
        } else {
            format!("{}.{segment}", self.key)
        };
        Self {
            span,
            key,
            ..self.clone()
        }
    }

    fn item(&self, index: usize, span: Range<usize>) -> Self {
        Self {
            span,
            key: format!("{}[{index}]", self.key),
            ..self.clone()
        }
    }
}

/// A value with the place where it stands and an example of what would be right.
#[derive(Clone, Debug)]
pub(crate) struct Value<'a> {
    pub(crate) at: At<'a>,
    pub(crate) inner: &'a DeValue<'a>,
    /// The key that holds it (or holds the list it is in).
    pub(crate) name: &'a str,
    /// A right value for that key, as TOML.
    pub(crate) example: &'static str,
}

impl<'a> Value<'a> {
    /// Reports a mistake about this value.
    pub(crate) fn mistake(&self, message: impl Into<String>, help: impl Into<String>) {
        self.at.mistake(message, help);
    }

    /// "write for example `port = 80`".
    pub(crate) fn remedy(&self) -> String {
        format!("write for example `{} = {}`", self.name, self.example)
    }

    /// Reports that something of another type is wanted.
    pub(crate) fn wrong_type(&self, wanted: &str) {
        let found = match self.inner {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let message = format!("`{}` must be {wanted}, but {found} stands here", self.name);
        self.mistake(message, self.remedy());
    }

    /// The entries of a list.
    pub(crate) fn list(&self) -> Option<Vec<Value<'a>>> {
        let DeValue::Array(array) = self.inner else {
            self.wrong_type("a list");
            return None;
        };
        let entry = |(index, value): (usize, &'a toml::Spanned<DeValue<'a>>)| Value {
            at: self.at.item(index, value.span()),
            inner: value.get_ref(),
            name: self.name,
            example: self.example,
        };
        Some(array.iter().enumerate().map(entry).collect())
    }

    /// A table.
    pub(crate) fn table(&self) -> Option<Table<'a>> {
        let DeValue::Table(inner) = self.inner else {
            self.at.sink.incomplete.set(true);
            self.wrong_type("a table");
            return None;
        };
        Some(Table::new(self.at.clone(), inner))
    }

    /// The tables of `[[name]]`.
    pub(crate) fn tables(&self) -> Vec<Table<'a>> {
        match self.inner {
            DeValue::Array(_) => {
                let entries = self.list().unwrap_or_default();
                entries.iter().filter_map(Value::table).collect()
            }
            DeValue::Table(_) => {
                self.at.sink.incomplete.set(true);
                let message = format!(
                    "`{}` stands in single brackets, but it is a list",
                    self.name
                );
                self.mistake(
                    message,
                    format!("write `[[{}]]` above each entry", self.at.key),
                );
                Vec::new()
            }
            _ => {
                self.at.sink.incomplete.set(true);
                self.wrong_type("a list of tables");
                Vec::new()
            }
        }
    }
}

/// A table whose keys are taken one by one.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    pub(crate) at: At<'a>,
    pub(crate) inner: &'a DeTable<'a>,
    known: RefCell<Vec<&'static str>>,
    refused: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    /// A table at this place.
    pub(crate) fn new(at: At<'a>, inner: &'a DeTable<'a>) -> Self {
        Self {
            at,
            inner,
            known: RefCell::default(),
            refused: RefCell::default(),
        }
    }

    /// The value of a key, when it is there; the key is known from now on.
    pub(crate) fn get(&self, key: &'static str, example: &'static str) -> Option<Value<'a>> {
        self.known.borrow_mut().push(key);
        self.peek(key, example)
    }

    /// The value of a key, without making the key known.
    pub(crate) fn peek(&self, key: &str, example: &'static str) -> Option<Value<'a>> {
        let (found, value) = self.inner.get_key_value(key)?;
        Some(Value {
            at: self.at.child(key, value.span()),
            inner: value.get_ref(),
            name: found.get_ref(),
            example,
        })
    }

    /// The value of a key that must be there.
    pub(crate) fn required(&self, key: &'static str, example: &'static str) -> Option<Value<'a>> {
        let value = self.get(key, example);
        if value.is_none() {
            let at = self.at.child(key, self.at.span.clone());
            at.mistake(
                format!("`{key}` is missing"),
                format!("add for example `{key} = {example}`"),
            );
        }
        value
    }

    /// Refuses a key, when it is there, with a reason and a remedy.
    pub(crate) fn refuse(&self, key: &'static str, reason: &str, help: &str) {
        self.refused.borrow_mut().push(key);
        if let Some((found, _)) = self.inner.get_key_value(key) {
            self.at.child(key, found.span()).mistake(reason, help);
        }
    }

    /// All entries, for tables whose keys are names.
    pub(crate) fn entries(&self, example: &'static str) -> Vec<(&'a str, At<'a>, Value<'a>)> {
        let entry = |(key, value): (&'a toml::Spanned<_>, &'a toml::Spanned<DeValue<'a>>)| {
            let name: &'a str = AsRef::<std::borrow::Cow<'a, str>>::as_ref(key).as_ref();
            let at = self.at.child(name, value.span());
            let value = Value {
                at: at.clone(),
                inner: value.get_ref(),
                name,
                example,
            };
            (
                name,
                At {
                    span: key.span(),
                    ..at
                },
                value,
            )
        };
        let mut all: Vec<_> = self.inner.iter().map(entry).collect();
        all.sort_by_key(|(_, at, _)| at.span.start);
        all
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn close(self) {
        let known = self.known.borrow();
        let refused = self.refused.borrow();
        for (key, _) in self.inner.iter() {
            let name: &str = key.get_ref();
            if known.contains(&name) || refused.contains(&name) {
                continue;
            }
            let help = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "known here: {}",
                    alternatives(&known).replace(" or ", " and ")
                ),
            };
            self.at
                .child(name, key.span())
                .mistake(format!("unknown key {}", quote(name)), help);
        }
    }
}
