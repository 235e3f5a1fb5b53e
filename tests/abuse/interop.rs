//! Cookies beside other implementations: the same secret, client and second give the same cookie (RFC
//! 9018 §4), each takes the other's, and clients of others call ours good.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use meridian_tests::{PATIENCE, Running, Server, eventually, free_port, peer, scratch};
use tempfile::TempDir;

use crate::{
    SECRETS,
    client::{Client, cookie, with_cookie},
    serve, zone,
};

const COOKIES: &str = "[cookies]\nsecret_file = \"cookie.secrets\"\n";
const CLIENT: &[u8; 8] = b"\x24\x64\xc4\xab\xcf\x10\xc9\x57";

/// Another server of the same zone with the same secret.
struct Other {
    address: SocketAddr,
    _process: Running,
    _folder: TempDir,
}

impl Other {
    fn start(name: &str, program: &Path, text: impl Fn(u16, &str) -> String, run: &[&str]) -> Self {
        let (folder, port) = (scratch(), free_port());
        fs::write(folder.path().join("abuse.zone"), zone()).expect("a zone file");
        let file = folder.path().join("conf");
        let text = text(port, &folder.path().display().to_string());
        fs::write(&file, text).expect("a configuration");
        let process = Running::start(name, Command::new(program).args(run).arg(&file));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually(&format!("{name} answers"), PATIENCE, || {
            meridian_tests::dns::question("n1.abuse.example", "A")
                .udp(address)
                .ok()
        });
        Self {
            address,
            _process: process,
            _folder: folder,
        }
    }

    fn nsd(program: &Path) -> Self {
        let text = |port, dir: &str| {
            format!(
                "server:\n  ip-address: 127.0.0.1@{port}\n  server-count: 1\n  username: \"\"\n  \
                 chroot: \"\"\n  zonesdir: \"{dir}\"\n  database: \"\"\n  pidfile: \"{dir}/pid\"\n  \
                 xfrdfile: \"{dir}/xfrd\"\n  zonelistfile: \"{dir}/zones\"\n  xfrdir: \"{dir}\"\n  \
                 rrl-ratelimit: 0\n  answer-cookie: yes\n  cookie-secret: \"{}\"\n  \
                 cookie-secret-file: \"{dir}/absent\"\nremote-control:\n  control-enable: no\n\
                 zone:\n  name: abuse.example\n  zonefile: abuse.zone\n",
                SECRETS[0]
            )
        };
        Self::start("nsd", program, text, &["-d", "-c"])
    }

    fn knot(program: &Path) -> Self {
        let text = |port, dir: &str| {
            format!(
                "server:\n  rundir: {dir}\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  \
                 tcp-workers: 1\n  background-workers: 1\ndatabase:\n  storage: {dir}\n\
                 control:\n  listen: {dir}/socket\nlog:\n  - target: stderr\n    any: info\n\
                 mod-cookies:\n  - id: default\n    secret: 0x{}\n    badcookie-slip: 1\n\
                 template:\n  - id: default\n    storage: {dir}\n    journal-content: none\n    \
                 global-module: mod-cookies/default\n\
                 zone:\n  - domain: abuse.example\n    file: abuse.zone\n",
                SECRETS[0]
            )
        };
        Self::start("knotd", program, text, &["-c"])
    }

    fn exchange(&self, sent: &[u8]) -> Vec<u8> {
        exchange(self.address, sent)
    }
}

/// The cookie that comes back for this one, from an address that both servers see alike.
fn exchange(server: SocketAddr, sent: &[u8]) -> Vec<u8> {
    let client = Client::at(Ipv4Addr::LOCALHOST, server);
    let reply = client.ask(&with_cookie("n1", sent)).expect("an answer");
    cookie(&reply).expect("a cookie")
}

/// Both are asked until they answer within one second.
fn same_cookie(ours: &Server, other: &Other) {
    let same = eventually("both answer in one second", PATIENCE, || {
        let (one, two) = (exchange(ours.dns, CLIENT), other.exchange(CLIENT));
        // Version, reserved octets, timestamp.
        (one[8..16] == two[8..16]).then_some((one, two))
    });
    assert_eq!(same.0, same.1);
    // Fresh cookies of ours' and theirs' are known to us, so they come back as they are.
    let theirs = other.exchange(CLIENT);
    assert_eq!(exchange(ours.dns, &theirs), theirs);
}

#[test]
fn nsd_makes_the_same_cookies() {
    let Some(nsd) = peer("nsd") else {
        return;
    };
    let (ours, other) = (serve(COOKIES), Other::nsd(&nsd));
    same_cookie(&ours, &other);
    let made = exchange(ours.dns, CLIENT);
    assert_eq!(other.exchange(&made), made, "NSD takes our cookie");
}

#[test]
fn knot_makes_the_same_cookies_and_takes_ours() {
    let Some(knotd) = peer("knotd") else {
        return;
    };
    let (ours, other) = (serve(COOKIES), Other::knot(&knotd));
    same_cookie(&ours, &other);
    // Knot answers BADCOOKIE to a cookie that it does not know.
    let ask = |sent: &[u8]| {
        let client = Client::at(Ipv4Addr::LOCALHOST, other.address);
        let reply = client.ask(&with_cookie("n1", sent)).expect("an answer");
        reply.answers.len()
    };
    assert_eq!(ask(&exchange(ours.dns, CLIENT)), 1, "Knot takes our cookie");
    assert_eq!(ask(&[&CLIENT[..], &[1; 16]].concat()), 0);
}

#[test]
fn dig_and_kdig_call_our_cookies_good() {
    for (require, tables) in [
        (false, COOKIES.to_owned()),
        (true, format!("{COOKIES}require = true\n")),
    ] {
        let server = serve(&tables);
        let port = server.dns.port().to_string();
        if let Some(dig) = peer("dig") {
            let asked = [
                "@127.0.0.1",
                "-p",
                &port,
                "n7.abuse.example",
                "A",
                "+cookie",
            ];
            let out = Command::new(dig).args(asked).output().expect("dig runs");
            let text = String::from_utf8_lossy(&out.stdout);
            assert!(text.contains("(good)"), "{text}");
            // With BADCOOKIE dig asks again with what it was given.
            assert!(text.contains("192.0.2.7"), "{text}");
            assert_eq!(text.contains("BADCOOKIE"), require, "{text}");
        }
        if let Some(kdig) = peer("kdig") {
            let asked = [
                "@127.0.0.1",
                "-p",
                &port,
                "n7.abuse.example",
                "A",
                "+cookie",
            ];
            let out = Command::new(kdig).args(asked).output().expect("kdig runs");
            let text = String::from_utf8_lossy(&out.stdout);
            assert!(text.contains("192.0.2.7"), "{text}");
            assert!(text.contains("COOKIE"), "{text}");
        }
    }
}
