//! A snapshot of a small configuration, made the way the server makes it.

use std::sync::Arc;

use meridian_config::Config;
use meridian_dns::{
    build,
    snapshot::Snapshot,
    steer::{Standing, View},
};
use meridian_geo_data::ClientMap;
use meridian_health_prober::HealthSnapshot;

const CONFIG: &str = r#"
[server]
listen = ["127.0.0.1:0"]
nsid = "test1"
state_directory = "state"

[[pop]]
name = "fra"
latitude = 50.03
longitude = 8.57
endpoints = ["192.0.2.10", "2001:db8::10"]

[[pop]]
name = "iad"
latitude = 38.94
longitude = -77.46
endpoints = ["192.0.2.20", "2001:db8::20"]

[[pool]]
name = "edge"
pops = ["fra", "iad"]

[[zone]]
name = "example.com"
file = "example.com.zone"

[[zone.service]]
name = "www"
pool = "edge"
"#;

const ZONE: &str = r#"$ORIGIN example.com.
$TTL 3600
@      SOA   ns1 hostmaster 1 7200 3600 1209600 300
@      NS    ns1
@      MX    10 mail
@      TXT   "v=spf1 -all"
ns1    A     192.0.2.1
mail   AAAA  2001:db8::1
alias  CNAME www
*.wild A     192.0.2.2
a.b.c  TXT   "below an empty non-terminal"
old    DNAME new
sub    NS    ns.sub
ns.sub A     192.0.2.3
caa    CAA   0 issue "ca.example.net"
svc    HTTPS 1 . alpn=h2
"#;

/// The configuration and its snapshot.
pub(crate) fn snapshot() -> (Config, Snapshot) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meridian.toml");
    std::fs::write(&path, CONFIG).unwrap();
    std::fs::write(folder.path().join("example.com.zone"), ZONE).unwrap();
    let config = meridian_config::load(&path).unwrap();
    let clients = Arc::new(ClientMap::open(&config.geo).unwrap());
    let built = build::build(&config, clients).unwrap();
    let view = View::new(
        &built.steering,
        Arc::new(Standing::none()),
        Arc::new(HealthSnapshot::default()),
    );
    let snapshot = Snapshot {
        generation: 1,
        zones: built.zones,
        steering: built.steering,
        view: Arc::new(view),
        identity: built.identity,
    };
    (config, snapshot)
}
