//! Configurations and health for the tests of this crate, and ports.

use std::net::SocketAddr;

use meridian_config::{Check, Config};
use tokio::net::TcpSocket;

use crate::{EndpointHealth, Verdict};

/// Keeps a port of this address: bound, so that nobody else is given it, and without listening, so that
/// connections are refused until a test listens there.
pub(crate) fn keep_port(host: [u8; 4]) -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    // Then a listener may join.
    socket.set_reuseaddr(true).unwrap();
    socket.bind((host, 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// 192.0.2.`last` of which only this is known.
pub(crate) fn endpoint(last: u8, verdict: Verdict) -> EndpointHealth {
    EndpointHealth {
        address: [192, 0, 2, last].into(),
        verdict,
        reason: String::new(),
        since: None,
        rtt: None,
        flips_in: None,
        checks: Vec::new(),
    }
}

/// One pool under one tcp check with the default times; PoP `n` has the endpoints 127.0.`n`.1 and
/// up.
pub(crate) fn config(pops: &[(&str, u8)]) -> Config {
    let mut text = String::from("[check.edge]\ntype = \"tcp\"\nport = 80\n");
    for (n, (name, endpoints)) in pops.iter().enumerate() {
        let endpoints: Vec<_> = (1..=*endpoints).map(|i| format!("127.0.{n}.{i}")).collect();
        text.push_str(&format!(
            "[[pop]]\nname = {name:?}\nlatitude = 0\nlongitude = 0\nendpoints = {endpoints:?}\n"
        ));
    }
    let names: Vec<_> = pops.iter().map(|(name, _)| name).collect();
    text.push_str(&format!(
        "[[pool]]\nname = \"edge\"\ncheck = \"edge\"\npops = {names:?}\n"
    ));
    read(&text)
}

/// One PoP with one endpoint, in one pool for each of these values of `check`; the checks `page` and
/// `ping` have the default times.
pub(crate) fn pools(checks: &[&str]) -> Config {
    let mut text = String::from(
        "[check.page]\ntype = \"tcp\"\nport = 80\n[check.ping]\ntype = \"icmp\"\n\
         [[pop]]\nname = \"fra\"\nlatitude = 0\nlongitude = 0\nendpoints = [\"127.0.0.1\"]\n",
    );
    for (n, check) in checks.iter().enumerate() {
        text.push_str(&format!(
            "[[pool]]\nname = \"p{n}\"\ncheck = {check}\npops = [\"fra\"]\n"
        ));
    }
    read(&text)
}

/// The one check of this text, the inside of a `[check.edge]`.
pub(crate) fn check(keys: &str) -> Check {
    read(&format!("[check.edge]\n{keys}")).checks.remove(0)
}

/// The configuration of this text, with a zone added.
pub(crate) fn read(text: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("meridian.toml");
    let zone = "[[zone]]\nname = \"example.com\"\nfile = \"example.com.zone\"\n";
    std::fs::write(directory.path().join("example.com.zone"), "").unwrap();
    std::fs::write(&path, format!("{text}\n{zone}")).unwrap();
    meridian_config::load(&path).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)))
}
