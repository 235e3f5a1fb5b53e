//! The configuration of Meridian: TOML files in, one checked [`Config`] out.
//!
//! ```text
//! main file → include patterns → files            (files: size, UTF-8, globs)
//!   → TOML trees with byte ranges                 (toml)
//!   → tables, keys, values with their places      (walk, scalar)
//!   → sections, names first, then references      (build, section)
//!   → Config                                      (model)
//!         every mistake of every stage → Diagnostics (diagnostic, render)
//! ```
//!
//! The tree is walked by hand, because a derived reader stops at the first mistake. Nothing past
//! this crate sees a raw string, a bare number of seconds or a dangling name.

mod build;
mod diagnostic;
mod duration;
mod files;
mod model;
mod name;
mod render;
mod scalar;
mod section;
mod text;
mod walk;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use duration::{DurationError, parse_duration};
pub use model::*;
pub use name::{Name, NameError};

use std::path::Path;

use build::Include;
use walk::Sink;

/// Reads the configuration file and everything it includes.
///
/// # Errors
/// Every mistake found in any of the files, in reading order.
pub fn load(path: &Path) -> Result<Config, Diagnostics> {
    let files::Reading { files, found } = files::read_all(path)?;
    let sink = Sink::default();
    // A file that could not be read may hold what the others refer to.
    sink.incomplete.set(!found.is_empty());
    for mistake in found.0 {
        sink.push(files::order_of(&mistake, &files), mistake);
    }
    finish(build::build(&files, Include::Followed, &sink), sink)
}

/// Reads a configuration from text alone, as if it stood at `path`; the file system is not
/// touched, and `include` is refused.
///
/// # Errors
/// Every mistake found.
pub fn parse(text: &str, path: &Path) -> Result<Config, Diagnostics> {
    let files = [files::main_file(text, path)];
    let sink = Sink::default();
    finish(build::build(&files, Include::Refused, &sink), sink)
}

fn finish(config: Config, sink: Sink) -> Result<Config, Diagnostics> {
    let found = sink.into_diagnostics();
    if found.is_empty() {
        Ok(config)
    } else {
        Err(found)
    }
}
