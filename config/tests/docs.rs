//! `docs/configuration.md` names every key, and its examples are right.

use std::{collections::BTreeSet, fs, path::Path};

use meridian_config::parse;

const PAGE: &str = "../docs/configuration.md";

/// Keys of every table, names of checks left out.
fn keys(table: &toml::Table, named: bool, into: &mut BTreeSet<String>) {
    for (key, value) in table {
        if !named {
            into.insert(key.clone());
        }
        match value {
            toml::Value::Table(inner) => keys(inner, key == "check", into),
            toml::Value::Array(list) => {
                for inner in list.iter().filter_map(toml::Value::as_table) {
                    keys(inner, false, into);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn every_key_is_described() {
    let page = fs::read_to_string(PAGE).unwrap();
    let text = fs::read_to_string("testdata/good/everything.toml").unwrap();
    let mut all = BTreeSet::from(["include".to_owned()]);
    keys(&text.parse().unwrap(), false, &mut all);
    let page: String = page.split("```").step_by(2).collect();
    // In code: as a cell of a table, a heading, or within a longer key or table.
    let code: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    let is_word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    for key in &all {
        let found = code
            .iter()
            .any(|c| c.split(is_word).any(|word| word == key));
        assert!(found, "docs/configuration.md does not describe `{key}`");
    }
}

#[test]
fn the_examples_hold_no_mistake_of_their_own() {
    let page = fs::read_to_string(PAGE).unwrap();
    let blocks: Vec<&str> = page
        .split("```toml\n")
        .skip(1)
        .filter_map(|b| b.split("```").next())
        .collect();
    assert!(blocks.len() >= 9);
    for block in blocks {
        let found = parse(block, Path::new("example.toml"))
            .err()
            .unwrap_or_default();
        for mistake in found.0 {
            // An excerpt refers to entries that it does not show.
            let elsewhere = [
                "there is no",
                "no zone is",
                "`include` cannot",
                "does not answer",
            ];
            assert!(
                elsewhere.iter().any(|e| mistake.message.starts_with(e)),
                "{mistake}\n{block}"
            );
        }
    }
}
