//! A mistake of the operator's, and how it is shown: file, line, key path, what is wrong, what
//! would be right. Used for configuration files, zone files and geo databases alike.

use std::{fmt, ops::Range, path::PathBuf, sync::Arc};

use crate::text::clean;

/// One mistake in a file that the operator wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, as the operator named it (joined to the configuration's directory).
    pub file: PathBuf,
    /// The whole text of the file, shared between its diagnostics; empty for binary files.
    pub source: Arc<str>,
    /// Byte range of the mistake within `source`.
    pub span: Range<usize>,
    /// Key path such as `pop[2].latitude`; empty where the file has no keys (zone files).
    pub key: String,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What would be right; may be empty only when the message already says it.
    pub help: String,
}

impl Diagnostic {
    /// A mistake about a file as a whole (missing, unreadable, not text).
    pub fn of_file(
        file: impl Into<PathBuf>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            file: file.into(),
            source: Arc::from(""),
            span: 0..0,
            key: String::new(),
            message: message.into(),
            help: help.into(),
        }
    }

    /// 1-based line and column (in characters) at which the mistake starts.
    pub fn position(&self) -> (usize, usize) {
        let start = self.span.start.min(self.source.len());
        let before = self.source.get(..start).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }
}

impl fmt::Display for Diagnostic {
    /// One line: `FILE:LINE:COLUMN: KEY: MESSAGE (HELP)`, fit for a log and a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.position();
        let file = clean(&self.file.display().to_string());
        write!(f, "{file}:{line}:{column}: ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", clean(&self.key))?;
        }
        f.write_str(&clean(&self.message))?;
        if !self.help.is_empty() {
            write!(f, " ({})", clean(&self.help))?;
        }
        Ok(())
    }
}

/// Every mistake found in one reading. Never empty when returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Takes over all mistakes of another reading.
    pub fn extend(&mut self, other: Diagnostics) {
        self.0.extend(other.0);
    }

    /// Whether nothing was wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(one: Diagnostic) -> Self {
        Self(vec![one])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, one) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{one}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
