//! The configuration as operators meet it: the examples pass, mistakes print as recorded, and a
//! running server takes a changed file whole or not at all.

use std::{
    fs,
    ops::Range,
    path::Path,
    process::{Command, Output},
};

use meridian_tests::{Server, ServerOptions, dns, http, meridian, scratch, workspace};
use serde_json::Value;

const BODY: &str = r#"
[geo]
[[geo.network]]
prefix = "198.51.100.0/24"
pop = "fra"

[steering]
ttl = "20s"
answers = 1

[[pop]]
name = "fra"
latitude = 50.03
longitude = 8.57
endpoints = ["192.0.2.10", "192.0.2.11"]

[[pop]]
name = "nrt"
latitude = 35.77
longitude = 140.39
weight = 50
endpoints = ["192.0.2.30"]

[[pool]]
name = "edge"
pops = ["fra", "nrt"]
fallback = ["192.0.2.250"]

[[zone]]
name = "example.com"
file = "example.com.zone"

[[zone.service]]
name = "www"
pool = "edge"

[[test]]
name = "www.example.com"
client = "133.11.0.0/24"
expect = "nrt"
"#;

const ZONE: &str = "@ 3600 IN SOA ns1 hostmaster 1 2h 30m 2w 5m\n\
                    @ 3600 IN NS ns1\nns1 3600 IN A 192.0.2.53\n";

const CLIENT: &str = "198.51.100.0/24";

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(meridian());
    command.args(arguments).current_dir(folder);
    command.output().expect("meridian runs")
}

/// Copies a folder with everything in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder to copy") {
        let from = entry.expect("an entry").path();
        let to = to.join(from.file_name().expect("a name"));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a copy");
        }
    }
}

/// What an operator supplies and no example should: a token, and a certificate with its key.
fn add_secrets(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["ns1.example.com".into()]).expect("a pair");
    fs::create_dir_all(folder).expect("a folder");
    for (name, text) in [
        (
            "admin.token",
            "0123456789abcdef0123456789abcdef\n".to_owned(),
        ),
        ("admin.pem", made.cert.pem()),
        ("admin.key", made.signing_key.serialize_pem()),
    ] {
        fs::write(folder.join(name), text).expect("a file");
    }
}

#[test]
fn the_examples_pass() {
    let scratch = scratch();
    for example in ["small", "split", "world"] {
        let folder = scratch.path().join(example);
        copy(&workspace().join("config/examples").join(example), &folder);
        add_secrets(&folder.join("secret"));
        let output = run(&folder, &["check", "--config", "meridian.toml"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{example}: {said}");
    }
}

#[test]
fn mistakes_are_printed_as_recorded() {
    let folder = workspace().join("config");
    for name in [
        "many_at_once",
        "unknown_key_hostile",
        "syntax_unclosed_string",
        "bgp_prefix_default",
    ] {
        let file = format!("testdata/bad/{name}.toml");
        let output = run(&folder, &["check", "--config", &file]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let recorded = folder.join(format!("testdata/bad/{name}.stderr"));
        let recorded = std::fs::read_to_string(recorded).expect("a recorded message");
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(said.contains(recorded.trim_end()), "{name}: {said}");
    }
}

/// Failure class 5: "bad config = old config, whole". Every token of the file is changed in turn
/// under a running server; it answers as before or as the new file says, never a third way.
#[test]
fn failure_class_5_a_changed_token_is_taken_whole_or_not_at_all() {
    let server = Server::start(ServerOptions::new(BODY).file("example.com.zone", ZONE));
    let before = ask(&server);
    assert_eq!(before, ["192.0.2.10"]);
    let (mut taken, mut refused) = (0, 0);
    for token in tokens(BODY) {
        for replacement in ["", "0", "\"192.0.2.77\""] {
            let (start, end) = (&BODY[..token.start], &BODY[token.end..]);
            let changed = format!("{start}{replacement}{end}");
            if reload(&server, &changed) {
                taken += 1;
                assert_eq!(ask(&server), explained(&server), "{changed}");
                assert!(reload(&server, BODY), "the good file was refused");
            } else {
                refused += 1;
            }
            assert_eq!(ask(&server), before, "{changed}");
        }
    }
    println!("{taken} changes taken, {refused} refused");
    assert!(refused > taken && taken > 0);
}

/// Puts a configuration in place by rename and asks for a reload.
fn reload(server: &Server, body: &str) -> bool {
    let next = server.folder().join("next.toml");
    std::fs::write(&next, server.config_with(body)).expect("a file");
    std::fs::rename(&next, server.config_path()).expect("a rename");
    let reply = http::request(server.admin, "POST", "/api/v1/reload", "").expect("a reply");
    reply.status < 300
}

fn ask(server: &Server) -> Vec<String> {
    let question = dns::question("www.example.com.", "A").ecs(CLIENT);
    let reply = question.udp(server.dns).expect("a reply");
    dns::addresses(&reply)
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// What the file itself says, read by another process; nothing when it has no such service.
fn explained(server: &Server) -> Vec<String> {
    let file = server.config_path();
    let file = file.to_str().expect("text");
    let arguments = [
        "explain",
        "www.example.com",
        "--client",
        CLIENT,
        "--config",
        file,
        "--json",
    ];
    let output = run(server.folder(), &arguments);
    let Ok(explained) = serde_json::from_slice::<Value>(&output.stdout) else {
        return Vec::new();
    };
    let all = explained["addresses"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    all.iter()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect()
}

/// Words, numbers, strings and single marks.
fn tokens(text: &str) -> Vec<Range<usize>> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let mut all: Vec<Range<usize>> = Vec::new();
    let mut rest = 0;
    while let Some(first) = text[rest..].chars().next() {
        let tail = &text[rest + 1..];
        let length = match first {
            '"' => tail.find('"').map_or(1, |end| end + 2),
            c if is_word(c) => 1 + tail.find(|c| !is_word(c)).unwrap_or(tail.len()),
            _ => 1,
        };
        if !first.is_whitespace() {
            all.push(rest..rest + length);
        }
        rest += length;
    }
    all
}
