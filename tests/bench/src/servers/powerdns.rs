//! PowerDNS with its geoip backend: the PoP nearest to the middle of the client's country.

use std::{collections::BTreeSet, fmt::Write as _, net::SocketAddrV4, path::Path};

use super::{Child, Stage, TTL, ZONE, child::pinned, installed, names, package, write};
use crate::{error::BenchError, world::pops};

pub(super) fn start(
    stage: &Stage<'_>,
    home: &Path,
    address: SocketAddrV4,
) -> Result<(Child, String), BenchError> {
    let program = installed("pdns_server")?;
    write(&home.join("geo.yaml"), &zone(stage))?;
    write(&home.join("pdns.conf"), &config(stage, home, address))?;
    let mut command = pinned(stage.core_list().as_deref(), &program);
    command.arg(format!("--config-dir={}", home.display()));
    Ok((
        Child::start("powerdns", stage.core, &mut command),
        package("pdns-server"),
    ))
}

/// Records for each country under its code, and services that point there.
fn zone(stage: &Stage<'_>) -> String {
    let mut text = format!(
        "domains:\n- domain: {ZONE}\n  ttl: {TTL}\n  records:\n    {ZONE}:\n    \
         - soa: ns.{ZONE} hostmaster.{ZONE} 1 7200 1800 259200 900\n    - ns: ns.{ZONE}\n    \
         ns.{ZONE}:\n    - a: 127.0.0.1\n    unknown.{ZONE}:\n    - a: {}\n",
        pops()[0].address
    );
    let mut known = BTreeSet::new();
    for (country, pop) in &stage.world.countries {
        let code = String::from_utf8_lossy(country).to_lowercase();
        if known.insert(code.clone()) {
            let _ = writeln!(text, "    {code}.{ZONE}:\n    - a: {}", pop.address);
        }
    }
    // `%co`, the code of three letters, would be another table; unknown clients have the code `--`.
    let _ = writeln!(text, "    '--.{ZONE}':\n    - a: {}", pops()[0].address);
    text.push_str("  services:\n");
    for name in names("www") {
        let _ = writeln!(
            text,
            "    {name}.{ZONE}: [ '%cc.{ZONE}', 'unknown.{ZONE}' ]"
        );
    }
    text
}

fn config(stage: &Stage<'_>, home: &Path, address: SocketAddrV4) -> String {
    format!(
        "launch=geoip\ngeoip-zones-file={home}/geo.yaml\ngeoip-database-files=mmdb:{database}\n\
         edns-subnet-processing=yes\nlocal-address={ip}\nlocal-port={port}\nsocket-dir={home}\n\
         daemon=no\nguardian=no\nwebserver=no\napi=no\nreceiver-threads=1\n\
         distributor-threads=1\nsecurity-poll-suffix=\nloglevel=3\n",
        home = home.display(),
        ip = address.ip(),
        port = address.port(),
        database = stage.world.database.display(),
    )
}
