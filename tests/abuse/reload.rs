//! Settings and secrets change while the server runs.

use std::{fs, net::Ipv4Addr};

use meridian_tests::{PATIENCE, Server, eventually, http};

use crate::{
    SECRETS, body,
    client::{Client, cookie, question, with_cookie},
    close, serve,
};

const COOKIES: &str = "[cookies]\nsecret_file = \"cookie.secrets\"\n";
const CLIENT: &[u8; 8] = b"rollover";

fn reload(server: &Server) -> u16 {
    http::request(server.admin, "POST", "/api/v1/reload", "")
        .expect("the admin API answers")
        .status
}

fn write_secrets(server: &Server, lines: &[&str]) {
    let path = server.folder().join("cookie.secrets");
    // Written beside and moved over, as careful operators do: never half a file.
    let new = path.with_extension("new");
    fs::write(&new, format!("# secrets\n{}\n", lines.join("\n"))).expect("a file");
    close(&new);
    fs::rename(&new, &path).expect("moved");
}

/// The cookie that comes back for this one.
fn exchange(client: &Client, sent: &[u8]) -> Vec<u8> {
    let reply = client.ask(&with_cookie("n1", sent)).expect("an answer");
    cookie(&reply).expect("a cookie")
}

#[test]
fn secrets_roll_over_and_a_bad_file_changes_nothing() {
    let mut server = serve(COOKIES);
    let client = Client::at(Ipv4Addr::LOCALHOST, server.dns);
    let old = exchange(&client, CLIENT);
    assert_eq!(exchange(&client, &old), old, "valid cookies are kept");
    // A file that cannot be used: refused, and the secret in force stays.
    write_secrets(&server, &["not a secret"]);
    assert_ne!(reload(&server), 200);
    assert_eq!(exchange(&client, &old), old);
    let refused = |server: &Server| {
        let metrics = server.metrics();
        http::sample(&metrics, "meridian_config_last_reload_successful") == Some(0.0)
    };
    assert!(refused(&server));
    // The change of the file alone is a reason to look again.
    write_secrets(&server, &[SECRETS[1], SECRETS[0]]);
    let new = eventually("the new secret is in force", PATIENCE, || {
        let got = exchange(&client, &old);
        (got != old).then_some(got)
    });
    assert_eq!(exchange(&client, &new), new);
    // The old one is gone: its cookie is unknown, and the new one's is not.
    write_secrets(&server, &[SECRETS[1]]);
    assert_eq!(reload(&server), 200);
    assert_eq!(exchange(&client, &new), new);
    assert_ne!(exchange(&client, &old), old);
    // With a file cookies outlive the process.
    server.process.terminate();
    server.start_again();
    assert_eq!(exchange(&client, &new), new);
    // No copy of a secret is kept.
    let state = server.folder().join("state");
    assert!(!holds(&state, SECRETS[1]), "{}", state.display());
}

/// Whether any file below a folder holds this text.
fn holds(folder: &std::path::Path, text: &str) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            return holds(&path, text);
        }
        let octets = fs::read(&path).unwrap_or_default();
        octets
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    })
}

#[test]
fn limits_come_and_go_without_a_restart() {
    let server = serve("");
    let client = Client::at(Ipv4Addr::new(127, 66, 0, 1), server.dns);
    let whole = |count: u32| {
        for _ in 0..count {
            let reply = client.ask(&question("n2"));
            assert!(reply.is_ok_and(|reply| reply.answers.len() == 1));
        }
    };
    whole(20);
    let tables = "[rate_limit]\nmode = \"on\"\nresponses_per_second = 1\nslip = 1\n";
    fs::write(server.config_path(), server.config_with(&body(tables))).expect("written");
    assert_eq!(reload(&server), 200);
    // All on their way before the first answer: however long the machine takes, no time passes between.
    (0..20).for_each(|_| client.send(&question("n2")));
    let replies = client.replies(20);
    let cut = replies.iter().filter(|reply| reply.metadata.truncation);
    assert!(cut.count() >= 10, "slip = 1 answers all, most of them cut");
    let exempt = format!("{tables}exempt = [\"127.66.0.0/16\"]\n");
    fs::write(server.config_path(), server.config_with(&body(&exempt))).expect("written");
    assert_eq!(reload(&server), 200);
    whole(20);
    fs::write(server.config_path(), server.config_with(&body(""))).expect("written");
    assert_eq!(reload(&server), 200);
    whole(20);
}
