//! Knot DNS with mod-geoip: the PoP nearest to the middle of the client's country.

use std::{fmt::Write as _, net::SocketAddrV4, path::Path};

use super::{
    Child, FIXED_ZONE, Stage, TTL, ZONE, child::pinned, fixed_zone_file, installed, names, package,
    write, zone_file,
};
use crate::{error::BenchError, world::pops};

pub(super) fn start(
    stage: &Stage<'_>,
    home: &Path,
    address: SocketAddrV4,
) -> Result<(Child, String), BenchError> {
    let program = installed("knotd")?;
    let module = package("knot-module-geoip");
    if module.ends_with("(version unknown)") && Path::new("/usr/bin/dpkg-query").exists() {
        return Err(BenchError::Missing("knot-module-geoip".to_owned()));
    }
    let (mut services, mut choices) = (String::new(), String::new());
    let first = pops()[0].address;
    for name in names("www") {
        // Clients of no known country get what the zone says.
        let _ = writeln!(services, "{name} A {first}");
        let _ = writeln!(choices, "{name}.{ZONE}:");
        for (country, pop) in &stage.world.countries {
            let code = String::from_utf8_lossy(country);
            let _ = writeln!(choices, "  - geo: \"{code}\"\n    A: {}", pop.address);
        }
    }
    write(&home.join("zone"), &zone_file(&services))?;
    write(&home.join("fixed"), &fixed_zone_file())?;
    write(&home.join("geo.conf"), &choices)?;
    write(&home.join("knot.conf"), &config(stage, home, address))?;
    let mut command = pinned(stage.core_list().as_deref(), &program);
    command.arg("-c").arg(home.join("knot.conf"));
    Ok((
        Child::start("knot", stage.core, &mut command),
        module.replace("-module-geoip", ""),
    ))
}

fn config(stage: &Stage<'_>, home: &Path, address: SocketAddrV4) -> String {
    format!(
        "server:\n    rundir: {home}\n    listen: {ip}@{port}\n    udp-workers: 1\n    \
         tcp-workers: 1\n    background-workers: 1\n    edns-client-subnet: on\n\
         database:\n    storage: {home}/db\n\
         log:\n  - target: stderr\n    any: warning\n\
         mod-geoip:\n  - id: world\n    config-file: {home}/geo.conf\n    ttl: {TTL}\n    \
         mode: geodb\n    geodb-file: {database}\n    geodb-key: country/iso_code\n\
         zone:\n  - domain: {ZONE}\n    file: {home}/zone\n    module: mod-geoip/world\n  \
         - domain: {FIXED_ZONE}\n    file: {home}/fixed\n",
        home = home.display(),
        ip = address.ip(),
        port = address.port(),
        database = stage.world.database.display(),
    )
}
