//! Abuse, end to end: cookies beside those of other servers, and rate limits under a bounded flood from
//! many addresses of loopback.
//!
//! The flood binds sockets to addresses in 127.0.0.0/8; every packet stays on this machine.

mod admin;
mod client;
mod flood;
mod interop;
mod reload;

use meridian_tests::{Server, ServerOptions};

/// Secrets of cookies.
const SECRETS: [&str; 2] = [
    "e5e973e5a6b2a43f48e7dc849e37bfcf",
    "445536bcd2513298075a5d379663c962",
];

/// Names `n0` to `n99`, each with an address, and a wildcard.
fn zone() -> String {
    use std::fmt::Write as _;
    let mut text = "$TTL 300\n@ SOA ns root 1 2 3 4 60\n@ NS ns\nns A 192.0.2.53\n\
                    *.wild A 192.0.2.3\nsub NS ns.example.net.\n"
        .to_owned();
    for n in 0..100 {
        let _ = writeln!(text, "n{n} A 192.0.2.{n}");
    }
    text
}

/// A configuration with these tables in front.
fn body(tables: &str) -> String {
    format!("{tables}\n[[zone]]\nname = \"abuse.example\"\nfile = \"abuse.zone\"\n")
}

/// A server with these tables; its secret file is readable by its owner alone.
fn serve(tables: &str) -> Server {
    let mut options = ServerOptions::new(body(tables))
        .file("abuse.zone", zone())
        .file("cookie.secrets", format!("{}\n", SECRETS[0]));
    options.arrange = Some(|folder| close(&folder.join("cookie.secrets")));
    Server::start(options)
}

fn close(file: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(file, mode).expect("the mode is set");
}
