//! The demo's configuration and zone, written to a folder of their own and read back the ordinary
//! way: what the demo runs is what an operator would write.

use std::{
    fmt::Write as _,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::places::{PLACES, SAMPLES};

/// The zone of the demo.
pub(super) const ZONE: &str = "demo.example";

/// Writes both files; gives the path of the configuration.
pub(super) fn write(
    folder: &Path,
    listen: SocketAddr,
    admin: SocketAddr,
    edge_port: u16,
) -> io::Result<PathBuf> {
    let path = folder.join("meridian.toml");
    std::fs::write(folder.join("demo.example.zone"), zone())?;
    std::fs::write(&path, configuration(listen, admin, edge_port))?;
    Ok(path)
}

fn configuration(listen: SocketAddr, admin: SocketAddr, edge_port: u16) -> String {
    let mut out = format!(
        r#"# Written by `meridian demo`.
[server]
listen = ["{listen}"]
workers = 1
nsid = "demo"
state_directory = "state"

[admin]
listen = "{admin}"

[steering]
ttl = "5s"

[check.edge]
type = "http"
port = {edge_port}
path = "/healthz"
interval = "1s"
timeout = "1s"
fall = 3
rise = 2
"#
    );
    for place in &PLACES {
        let _ = write!(
            out,
            r#"
[[pop]]
name = "{}" # {}
latitude = {}
longitude = {}
endpoints = ["{}"]
"#,
            place.pop, place.city, place.latitude, place.longitude, place.address
        );
    }
    let names: Vec<String> = PLACES.iter().map(|p| format!("\"{}\"", p.pop)).collect();
    let _ = write!(
        out,
        r#"
[[pool]]
name = "edge"
check = "edge"
pops = [{}]

[[zone]]
name = "{ZONE}"
file = "demo.example.zone"

[[zone.service]]
name = "www"
pool = "edge"
"#,
        names.join(", ")
    );
    for sample in &SAMPLES {
        let _ = write!(
            out,
            "\n[[test]] # {}\nname = \"www.{ZONE}\"\nclient = \"{}/{}\"\nexpect = \"{}\"\n",
            sample.city, sample.network, sample.length, sample.home
        );
    }
    out
}

fn zone() -> String {
    format!(
        r#"; Written by `meridian demo`: everything that is the same for every client.
$ORIGIN {ZONE}.
$TTL 1h
@       IN SOA  ns1 hostmaster 2026112001 2h 30m 2w 5m
        IN NS   ns1
        IN MX   10 mail
        IN TXT  "steered: www; the same for everyone: all else"
ns1     IN A    127.0.0.1
mail    IN A    192.0.2.25
shop    IN CNAME www
"#
    )
}
