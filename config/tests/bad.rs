//! `testdata/bad/`: one file for each mistake, with the exact message that an operator sees.
//!
//! `NAME.toml` is read, and what it prints must equal `NAME.stderr`; what it includes stands in
//! `NAME.d/`. After a deliberate change of a message, `MERIDIAN_BLESS=1 cargo test -p
//! meridian-config` writes the new texts: read the difference before you commit it.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use meridian_config::{Diagnostics, load};

/// Relative, so that the printed paths are the same on every machine; tests start in the
/// folder of their crate.
const FOLDER: &str = "testdata/bad";

/// Files that hold more than one mistake on purpose.
const SEVERAL: [(&str, usize); 1] = [("many_at_once", 9)];

fn names(extension: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == extension) {
            all.insert(path.file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }
    all
}

fn path(name: &str, extension: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{name}.{extension}"))
}

/// What git keeps of a file's mode says nothing of who may read it.
fn set_modes() {
    for entry in fs::read_dir(Path::new(FOLDER).join("cookie_secrets")).unwrap() {
        let path = entry.unwrap().path();
        let mode = if path.ends_with("open.secrets") {
            0o644
        } else {
            0o600
        };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn mistakes(name: &str) -> Diagnostics {
    set_modes();
    match load(&path(name, "toml")) {
        Err(found) => found,
        Ok(_) => panic!("{name}.toml is accepted"),
    }
}

#[test]
fn each_file_prints_its_message() {
    let bless = std::env::var_os("MERIDIAN_BLESS").is_some();
    let mut wrong = Vec::new();
    for name in names("toml") {
        let printed = mistakes(&name).render(false);
        if bless {
            fs::write(path(&name, "stderr"), &printed).unwrap();
        }
        let expected = fs::read_to_string(path(&name, "stderr")).unwrap_or_default();
        if printed != expected {
            wrong.push(format!(
                "── {name}: expected\n{expected}\n── but printed\n{printed}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_message_has_its_file() {
    assert_eq!(names("toml"), names("stderr"));
    assert!(names("toml").len() >= 200);
    let with_file = names("toml");
    assert_eq!(names("d").difference(&with_file).count(), 0);
}

#[test]
fn one_mistake_is_reported_once() {
    let mut wrong = Vec::new();
    for name in names("toml") {
        let expected = SEVERAL
            .iter()
            .find(|(n, _)| *n == name)
            .map_or(1, |(_, count)| *count);
        let found = mistakes(&name);
        if found.0.len() != expected {
            wrong.push(format!("{name}: {found}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}",
        wrong.join(
            "

"
        )
    );
}

#[test]
fn each_mistake_has_file_line_key_and_remedy() {
    let whole_file = ["empty", "no_zone", "not_utf8", "included_not_utf8"];
    for name in names("toml") {
        for one in mistakes(&name).0 {
            assert!(one.file.starts_with(FOLDER), "{name}: {one}");
            assert!(!one.message.is_empty(), "{name}");
            assert!(!one.help.is_empty(), "{name}: {one}");
            let no_key = whole_file.contains(&name.as_str()) || name.contains("syntax");
            assert_eq!(one.key.is_empty(), no_key, "{name}: {one}");
            assert!(one.span.end <= one.source.len(), "{name}: {one}");
        }
    }
}

#[test]
fn nothing_that_a_terminal_obeys_is_printed() {
    for name in names("toml") {
        let found = mistakes(&name);
        let printed = found.render(false);
        let obeyed = |c: char| c.is_control() && c != '\n';
        assert!(!printed.contains(obeyed), "{name}: {printed:?}");
        assert!(!found.to_string().contains(obeyed), "{name}: {found}");
        // With colours nothing but the renderer's own sequences is added.
        let colored = found.render(true);
        let plain = strip_sgr(&colored);
        assert!(!plain.contains(obeyed), "{name}: {colored:?}");
    }
}

/// Removes `ESC [ … m`.
fn strip_sgr(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 2..];
        let end = tail
            .find(|c: char| !c.is_ascii_digit() && c != ';')
            .unwrap();
        assert_eq!(&tail[end..=end], "m");
        rest = &tail[end + 1..];
    }
    out + rest
}
