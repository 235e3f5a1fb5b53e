//! The alert rules in config/prometheus: Prometheus reads them, each fires when it should, and what
//! they are written about exists.

use std::{collections::BTreeSet, path::PathBuf, process::Command};

use meridian_tests::{peer, workspace};

fn folder() -> PathBuf {
    workspace().join("config/prometheus")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(folder().join(file)).expect("a readable file")
}

fn promtool(arguments: &[&str]) {
    let Some(program) = peer("promtool") else {
        return;
    };
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder())
        .output()
        .expect("promtool runs");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{arguments:?}\n{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn prometheus_reads_the_rules() {
    promtool(&["check", "rules", "meridian.rules.yml"]);
}

#[test]
fn each_rule_fires_when_it_should() {
    promtool(&["test", "rules", "meridian.rules.test.yml"]);
}

/// The values of a key, wherever it stands.
fn values(text: &str, key: &str) -> BTreeSet<String> {
    let value = |line: &str| {
        let rest = line.trim().trim_start_matches("- ").strip_prefix(key)?;
        Some(rest.trim().to_owned())
    };
    text.lines().filter_map(value).collect()
}

#[test]
fn each_rule_has_its_test() {
    let rules = values(&read("meridian.rules.yml"), "alert:");
    let tested = values(&read("meridian.rules.test.yml"), "alertname:");
    assert!(rules.len() > 20, "{rules:?}");
    assert_eq!(rules, tested);
}

#[test]
fn each_metric_in_a_rule_is_documented() {
    let documented = std::fs::read_to_string(workspace().join("docs/metrics.md")).expect("a page");
    let letter = |c: char| c.is_ascii_lowercase() || c == '_';
    let mut names = BTreeSet::new();
    let rules = read("meridian.rules.yml");
    for (at, prefix) in rules.match_indices("meridian_") {
        let rest = &rules[at + prefix.len()..];
        let end = rest.find(|c| !letter(c)).unwrap_or(rest.len());
        // A histogram's series have endings of their own.
        names.insert(rest[..end].trim_end_matches("_bucket").to_owned());
    }
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(
            documented.contains(&format!("| `{name}` |")),
            "{name} is not in docs/metrics.md"
        );
    }
}
