//! `docs/configuration.md` names every key, and every configuration shown in the docs is right.

use std::{collections::BTreeSet, fs};

use meridian_config::parse;

const PAGE: &str = "../docs/configuration.md";

/// Keys of every table, names that operators choose left out.
fn keys(table: &toml::Table, named: bool, into: &mut BTreeSet<String>) {
    for (key, value) in table {
        if !named {
            into.insert(key.clone());
        }
        match value {
            toml::Value::Table(inner) => {
                keys(inner, ["check", "urls"].contains(&key.as_str()), into)
            }
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
fn no_page_shows_a_configuration_with_a_mistake() {
    let mut pages = vec!["../README.md".into()];
    for entry in fs::read_dir("../docs").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "md") {
            pages.push(path);
        }
    }
    let mut blocks = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap_or("");
            blocks += 1;
            let found = parse(block, &page).err().unwrap_or_default();
            for mistake in found.0 {
                // An excerpt refers to entries that it does not show.
                let elsewhere = ["there is no", "no zone is", "`include` cannot"];
                let excused = elsewhere.iter().any(|e| mistake.message.starts_with(e));
                assert!(excused, "{mistake}\n{block}");
            }
        }
    }
    assert!(blocks >= 9);
}
