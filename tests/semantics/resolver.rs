//! Row 7 of the failure classes, with the resolver that was broken by it: glibc's `getaddrinfo`
//! must find the address at the end of a chain of aliases, plain, wildcard, rewritten and steered.
//!
//! The resolver reads `/etc/resolv.conf` and asks port 53, so it runs in a mount namespace with a
//! file of its own that names a loopback address of ours. Where that is not allowed the test is
//! skipped.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use meridian_dns::{
    answer::{Meta, Outcome, Transport, respond},
    types::UnixTime,
};

const CONFIG: &str = r#"
    [[pop]]
    name = "fra"
    latitude = 50.0
    longitude = 8.6
    endpoints = ["192.0.2.10"]
    [[pool]]
    name = "edge"
    pops = ["fra"]
    [[zone]]
    name = "chain.test"
    file = "zone"
    [[zone.service]]
    name = "svc"
    pool = "edge"
"#;

const ZONE: &str = "$TTL 300
@ SOA ns root 1 2 3 4 60
@ NS ns
ns A 192.0.2.53
end A 192.0.2.1
c CNAME end
b CNAME c
a CNAME b
*.wild CNAME a
old DNAME new
www.new CNAME a
tosvc CNAME hop
hop CNAME svc
";

#[test]
fn row_7_glibc_finds_the_end_of_a_chain() {
    let (Some(unshare), Some(getent)) = (
        meridian_tests::peer("unshare"),
        meridian_tests::peer("getent"),
    ) else {
        return;
    };
    let folder = meridian_tests::scratch();
    let Some(address) = serve(folder.path()) else {
        eprintln!("SKIP port 53 on loopback cannot be bound");
        return;
    };
    let resolv = folder.path().join("resolv.conf");
    let text = format!("nameserver {address}\noptions timeout:5 attempts:2\n");
    std::fs::write(&resolv, text).expect("a file");
    for (name, expected) in [
        ("end.chain.test", "192.0.2.1"),
        ("a.chain.test", "192.0.2.1"),
        ("x.y.wild.chain.test", "192.0.2.1"),
        ("www.old.chain.test", "192.0.2.1"),
        ("svc.chain.test", "192.0.2.10"),
        ("tosvc.chain.test", "192.0.2.10"),
    ] {
        let output = resolve(&unshare, &getent, &resolv, name);
        if output.status.code() == Some(77) {
            eprintln!("SKIP no mount namespace of its own: {output:?}");
            return;
        }
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.starts_with(expected), "{name}: {output:?}");
    }
}

/// Asks glibc for the IPv4 addresses of a name; exit code 77 when it cannot be set up.
fn resolve(unshare: &Path, getent: &Path, resolv: &Path, name: &str) -> Output {
    let script =
        "mount --bind \"$1\" /etc/resolv.conf || exit 77; exec \"$2\" -s dns ahostsv4 \"$3\"";
    let mut command = Command::new(unshare);
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([resolv, getent])
        .arg(name);
    let mut output = command.output().expect("unshare starts");
    if output.status.code() == Some(1) && output.stderr.starts_with(b"unshare:") {
        output.status = std::os::unix::process::ExitStatusExt::from_raw(77 << 8);
    }
    output
}

/// Answers on port 53 of a loopback address until the test process ends.
fn serve(folder: &Path) -> Option<Ipv4Addr> {
    let path = folder.join("meridian.toml");
    std::fs::write(&path, CONFIG).expect("a configuration");
    std::fs::write(folder.join("zone"), ZONE).expect("a zone");
    let snapshot = crate::peers::snapshot(&path);
    let [hi, lo, ..] = std::process::id().to_le_bytes();
    let address = Ipv4Addr::new(127, 53, hi, lo.max(1));
    let socket = UdpSocket::bind((address, 53)).ok()?;
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .ok()?;
    std::thread::spawn(move || {
        let mut query = [0; 4096];
        let mut reply = Vec::new();
        while let Ok((length, source)) = socket.recv_from(&mut query) {
            let source: SocketAddr = source;
            let meta = Meta {
                source,
                transport: Transport::Udp,
                now: UnixTime::default(),
            };
            let outcome = respond(&snapshot, &query[..length], &meta, &mut reply);
            if matches!(outcome, Outcome::Reply(_)) {
                let _ = socket.send_to(&reply, source);
            }
        }
    });
    Some(address)
}
