//! What a configuration may do to the server: nothing but be taken whole or refused whole.
//!
//! Failure classes 5 (a bad configuration is the old configuration), 6 (a blank or doubled field)
//! and 15 (a hostile name on its way to the terminal).

use std::path::Path;

use meridian_config::{Config, Diagnostics, PopId, parse};
use proptest::prelude::*;

/// Uses every kind of key at least once.
const GOOD: &str = include_str!("../testdata/good/everything.toml");

fn read(text: &str) -> Result<Config, Diagnostics> {
    let found = parse(text, Path::new("meridian.toml"));
    if let Err(mistakes) = &found {
        assert!(!mistakes.is_empty(), "refused without a reason: {text}");
        for mistake in &mistakes.0 {
            assert!(mistake.span.start <= mistake.span.end, "{mistake}");
            assert!(mistake.span.end <= mistake.source.len(), "{mistake}");
            assert!(!mistake.help.is_empty(), "{mistake}");
        }
        let printed = mistakes.render(true);
        assert!(!printed.is_empty());
    }
    if let Ok(config) = &found {
        assert_sound(config);
    }
    found
}

/// What the rest of the server relies on without looking.
fn assert_sound(config: &Config) {
    let is_pop = |pop: &PopId| pop.index() < config.pops.len();
    assert!(!config.zones.is_empty());
    for pool in &config.pools {
        assert!(
            !pool.pops.is_empty() && pool.pops.iter().all(is_pop),
            "{pool:?}"
        );
        assert!(
            pool.check
                .as_ref()
                .is_none_or(|c| c.checks.iter().all(|c| c.index() < config.checks.len())),
            "{pool:?}"
        );
    }
    for service in config.zones.iter().flat_map(|z| &z.services) {
        assert!(service.pool.index() < config.pools.len(), "{service:?}");
        assert!((1..=16).contains(&service.steering.answers), "{service:?}");
        // One of the two is in force for every pool.
        let (distance, latency) = (service.steering.distance, service.steering.latency);
        assert!(distance > 0.0 || latency > 0.0, "{service:?}");
    }
    for pop in &config.pops {
        assert!((1..=64).contains(&pop.endpoints.len()), "{pop:?}");
        assert!(pop.location.latitude.abs() <= 90.0, "{pop:?}");
        assert!(pop.location.longitude.abs() <= 180.0, "{pop:?}");
        assert!(pop.bias_ms.is_finite(), "{pop:?}");
    }
    for network in &config.geo.networks {
        assert_eq!(network.prefix, network.prefix.trunc());
        assert!(network.location.is_some() || network.pop.is_some());
        assert!(network.pop.iter().all(is_pop), "{network:?}");
    }
    for test in &config.tests {
        assert!(
            is_pop(&test.expect) && test.down.iter().all(is_pop),
            "{test:?}"
        );
    }
    for check in &config.checks {
        assert!(
            check.timeout <= check.interval && check.port > 0,
            "{check:?}"
        );
        assert!(
            check.fall > 0 && check.rise > 0 && !check.timeout.is_zero(),
            "{check:?}"
        );
    }
}

/// Byte ranges of words, numbers, strings and single marks.
fn tokens(text: &str) -> Vec<std::ops::Range<usize>> {
    let bytes = text.as_bytes();
    let word = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    let mut all = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'"' => {
                at += 1;
                while bytes[at] != b'"' {
                    at += 1;
                }
                at += 1;
            }
            b'#' => {
                while bytes[at] != b'\n' {
                    at += 1;
                }
                continue;
            }
            b if word(b) => {
                while word(bytes[at]) {
                    at += 1;
                }
            }
            _ => at += 1,
        }
        if !text[start..at].trim().is_empty() {
            all.push(start..at);
        }
    }
    all
}

#[test]
fn the_good_file_is_good() {
    read(GOOD).unwrap();
}

#[test]
fn failure_class_5_every_token_changed_or_gone() {
    let replacements = [
        "", "x", "0", "-1", "\"\"", "[]", "{}", "true", "\u{feff}", "9e999", "\"",
    ];
    let (mut accepted, mut refused) = (0, 0);
    for token in tokens(GOOD) {
        for replacement in replacements {
            let (before, after) = (&GOOD[..token.start], &GOOD[token.end..]);
            match read(&format!("{before}{replacement}{after}")) {
                Ok(_) => accepted += 1,
                Err(_) => refused += 1,
            }
        }
    }
    // Most changes are mistakes; some are other configurations (a weight of 0, an empty fence).
    assert!(
        refused > 10 * accepted,
        "{accepted} accepted, {refused} refused"
    );
    assert!(accepted > 0);
}

#[test]
fn failure_class_5_every_token_doubled_or_swapped() {
    let all = tokens(GOOD);
    for pair in all.windows(2) {
        let (one, two) = (&GOOD[pair[0].clone()], &GOOD[pair[1].clone()]);
        let between = &GOOD[pair[0].end..pair[1].start];
        let (before, after) = (&GOOD[..pair[0].start], &GOOD[pair[1].end..]);
        let _ = read(&format!("{before}{two}{between}{one}{after}"));
        let _ = read(&format!("{before}{one} {one}{between}{two}{after}"));
    }
}

#[test]
fn failure_class_5_cut_at_every_octet() {
    for end in (0..GOOD.len()).filter(|i| GOOD.is_char_boundary(*i)) {
        let _ = read(&GOOD[..end]);
    }
}

#[test]
fn failure_class_6_no_blank_string_is_taken() {
    let all = tokens(GOOD);
    let strings = all.iter().filter(|t| GOOD[(*t).clone()].starts_with('"'));
    for token in strings {
        for blank in ["\"\"", "\"  \"", "\"\\t\""] {
            let text = format!("{}{blank}{}", &GOOD[..token.start], &GOOD[token.end..]);
            let found = read(&text).expect_err(&GOOD[token.clone()]);
            let start = token.start;
            assert!(
                found
                    .0
                    .iter()
                    .any(|m| m.span.start == start && m.message.contains("blank")),
                "{found}"
            );
        }
    }
}

#[test]
fn failure_class_6_no_doubled_entry_is_taken() {
    // Every table and every line doubled: nothing may stand twice.
    let blocks: Vec<&str> = GOOD.split("\n\n").collect();
    for (i, block) in blocks.iter().enumerate() {
        let mut doubled = blocks.clone();
        doubled.insert(i, block);
        // A test may stand twice: it only asks the same question again.
        let harmless = block.contains("[[test]]") || !block.contains('=');
        assert_eq!(read(&doubled.join("\n\n")).is_ok(), harmless, "{block}");
    }
    let lines: Vec<&str> = GOOD.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        if line.contains(" = ") && !line.starts_with(['#', '[']) {
            let mut doubled = lines.clone();
            doubled.insert(i, line);
            assert!(read(&doubled.join("\n")).is_err(), "{line}");
        }
    }
}

#[test]
fn failure_class_6_huge_and_deep_values_are_refused() {
    let long = "x".repeat(1_000_000);
    let deep = "[".repeat(100_000);
    let wide = "{ a = ".repeat(100_000);
    let many: String = (0..5_000).map(|i| format!("key{i} = 1\n")).collect();
    for (value, text) in [
        ("long string", format!("server.nsid = \"{long}\"")),
        ("long key", format!("{long} = 1")),
        ("deep list", format!("server = {deep}")),
        ("deep table", format!("server = {wide}")),
        ("dotted key", format!("server.{} = 1", "a.".repeat(100_000))),
        ("many keys", many),
        (
            "long number",
            format!("server.workers = {}", "9".repeat(100_000)),
        ),
    ] {
        let found = read(&text).expect_err(value);
        assert!(found.0.len() <= 1001, "{value}");
        for line in found.render(false).lines() {
            assert!(
                line.chars().count() <= 1500,
                "{value}: {} characters",
                line.chars().count()
            );
        }
    }
}

/// Characters that terminals obey or hide.
const HOSTILE: [&str; 12] = [
    "\u{1b}[2J",
    "\u{9b}31m",
    "\u{7}",
    "\u{8}",
    "\u{202e}",
    "\u{200b}",
    "\u{2066}",
    "\u{7f}",
    "\r",
    "\u{feff}",
    "\u{e0041}",
    "\u{85}",
];

#[test]
fn failure_class_15_hostile_text_never_reaches_the_terminal() {
    let strings = tokens(GOOD)
        .into_iter()
        .filter(|t| GOOD[t.clone()].starts_with('"'));
    for token in strings {
        for hostile in HOSTILE {
            let escaped: String = hostile
                .chars()
                .map(|c| format!("\\U{:08x}", c as u32))
                .collect();
            for inside in [hostile, &escaped] {
                let (before, after) = (&GOOD[..token.start + 1], &GOOD[token.start + 1..]);
                let text = format!("{before}{inside}{after}");
                // Text for people and bodies may hold such characters; nothing else may.
                let Err(found) = read(&text) else {
                    continue;
                };
                for printed in [found.render(false), found.to_string()] {
                    let bad = printed.chars().find(|c| *c != '\n' && obeyed(*c));
                    assert_eq!(bad, None, "{printed:?}");
                }
            }
        }
    }
}

fn obeyed(c: char) -> bool {
    c.is_control()
        || HOSTILE
            .iter()
            .any(|h| h.chars().count() == 1 && h.contains(c))
}

proptest! {
    #[test]
    fn any_text_is_total(text in any::<String>()) {
        let _ = read(&text);
    }

    #[test]
    fn any_toml_like_text_is_total(
        parts in proptest::collection::vec(prop_oneof![
            Just("[server]\n"), Just("[[pop]]\n"), Just("[[pool]]\n"), Just("[[zone]]\n"),
            Just("[[zone.service]]\n"), Just("[check.a]\n"), Just("[[geo.network]]\n"),
            Just("[steering]\n"), Just("[[test]]\n"), Just("[admin]\n"), Just("[log]\n"),
            Just("name = \"a\"\n"), Just("name = \"*.a\"\n"), Just("pops = [\"a\"]\n"),
            Just("pool = \"a\"\n"), Just("type = \"https\"\n"), Just("file = \"a\"\n"),
            Just("endpoints = [\"::1\"]\n"), Just("latitude = 1e400\n"), Just("longitude = -0.0\n"),
            Just("prefix = \"::/0\"\n"), Just("prefix = \"2002::/17\"\n"), Just("pop = \"a\"\n"),
            Just("client = \"1.2.3.4\"\n"), Just("expect = \"a\"\n"), Just("down = [\"a\"]\n"),
            Just("ttl = \"1s\"\n"), Just("status = \"-\"\n"), Just("listen = [\"[::]:0\"]\n"),
            Just("name = \".\"\n"), Just("weight = 0x10\n"), Just("a.b.c = 1\n"), Just("{\n"),
        ], 0..24)
    ) {
        let _ = read(&parts.concat());
    }

    #[test]
    fn flipped_octets_are_total(at in 0..GOOD.len(), with in any::<char>()) {
        let mut text = GOOD.to_owned();
        let at = (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap();
        text.remove(at);
        text.insert(at, with);
        let _ = read(&text);
    }
}
