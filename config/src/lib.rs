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

mod bounded;
mod build;
mod diagnostic;
mod duration;
mod files;
mod model;
mod name;
mod names;
mod render;
mod scalar;
mod section;
mod syntax;
mod text;
mod walk;

pub use bounded::{CERTIFICATES_LIMIT, ReadError, open_file, read_file};
pub use diagnostic::{Diagnostic, Diagnostics};
pub use duration::{DurationError, parse_duration};
pub use model::*;
pub use name::{Name, NameError};

use std::path::Path;

use build::Include;
use walk::{Secrets, Sink};

/// Reads the configuration file and everything it includes.
///
/// # Errors
/// Every mistake found in any of the files, in reading order.
pub fn load(path: &Path) -> Result<Config, Diagnostics> {
    read(path, None)
}

/// Reads copies that stand below `root` in place of the files themselves. `path` and every path in
/// the result are the originals', except those of data that the copies include: geo databases and
/// CA files lead below `root`. Zone files are kept by their own paths.
///
/// # Errors
/// Every mistake found in any of the files, in reading order.
pub fn load_below(path: &Path, root: &Path) -> Result<Config, Diagnostics> {
    let mut config = read(path, Some(root))?;
    let geo = config.geo.city.iter_mut().chain(&mut config.geo.asn);
    let roots = config.checks.iter_mut().filter_map(Check::ca_file_mut);
    let pages = config.pops.iter_mut().filter_map(|pop| {
        let page = pop.load.as_mut()?.kind.page_mut()?;
        page.tls.as_mut()?.ca_file.as_mut()
    });
    let named = config.named_files.iter_mut().map(|named| &mut named.path);
    for file in geo.chain(roots).chain(pages).chain(named) {
        *file = files::below(Some(root), file);
    }
    Ok(config)
}

fn read(path: &Path, root: Option<&Path>) -> Result<Config, Diagnostics> {
    let files::Reading {
        files,
        patterns,
        found,
        incomplete,
    } = files::read_all(path, root)?;
    let sink = Sink::default();
    sink.incomplete.set(incomplete);
    // A key that has gone since must not keep the last good state from answering: without it the
    // session stays closed.
    sink.secrets.set(match root {
        Some(_) => Secrets::IfThere,
        None => Secrets::Required,
    });
    for mistake in found.0 {
        sink.push(files::order_of(&mistake, &files), mistake);
    }
    let mut config = build::build(&files, Include::Followed, &sink);
    config.include_patterns = patterns;
    finish(config, sink)
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn copies_below_a_root_stand_in_for_the_originals() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        let folder = root.join("etc/meridian/conf.d");
        fs::create_dir_all(&folder).unwrap();
        let main = "include = [\"conf.d/*.toml\", \"/etc/meridian/conf.d/b*.toml\"]\n\
            [server]\nstate_directory = \"state\"\n[geo]\ncity = [\"/geo/city.mmdb\"]\n\
            [[pop]]\nname = \"fra\"\nlatitude = 50\nlongitude = 8\nendpoints = [\"192.0.2.1\"]\n";
        let zone = "[[zone]]\nname = \"example.com\"\nfile = \"example.zone\"\n";
        fs::write(root.join("etc/meridian/meridian.toml"), main).unwrap();
        fs::write(folder.join("b.toml"), zone).unwrap();
        let config = load_below(Path::new("/etc/meridian/meridian.toml"), &root).unwrap();
        assert_eq!(
            config.files,
            ["/etc/meridian/meridian.toml", "/etc/meridian/conf.d/b.toml"].map(Path::new)
        );
        assert_eq!(
            config.include_patterns[0],
            Path::new("/etc/meridian/conf.d/*.toml")
        );
        assert_eq!(
            config.server.state_directory,
            Path::new("/etc/meridian/state")
        );
        assert_eq!(config.geo.city, [root.join("geo/city.mmdb")]);
        let zone = Path::new("/etc/meridian/example.zone");
        assert_eq!(config.zones[0].file, zone);
    }
}
