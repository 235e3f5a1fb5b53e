//! NSD, static answers.

use std::{net::SocketAddrV4, path::Path};

use super::{Child, FIXED_ZONE, Stage, child::pinned, fixed_zone_file, installed, package, write};
use crate::error::BenchError;

pub(super) fn start(
    stage: &Stage<'_>,
    home: &Path,
    address: SocketAddrV4,
) -> Result<(Child, String), BenchError> {
    let program = installed("nsd")?;
    write(&home.join("zone"), &fixed_zone_file())?;
    write(&home.join("nsd.conf"), &config(home, address))?;
    let mut command = pinned(stage.core_list().as_deref(), &program);
    command.arg("-d").arg("-c").arg(home.join("nsd.conf"));
    Ok((
        Child::start("nsd", stage.core, &mut command),
        package("nsd"),
    ))
}

/// Without `rrl-ratelimit: 0` it would answer a few thousand queries a second.
fn config(home: &Path, address: SocketAddrV4) -> String {
    format!(
        "server:\n  ip-address: {ip}@{port}\n  server-count: 1\n  username: \"\"\n  \
         chroot: \"\"\n  zonesdir: \"{home}\"\n  pidfile: \"{home}/nsd.pid\"\n  \
         database: \"\"\n  xfrdfile: \"{home}/xfrd.state\"\n  zonelistfile: \"{home}/zone.list\"\n  \
         cookie-secret-file: \"{home}/cookies\"\n  xfrdir: \"{home}\"\n  verbosity: 0\n  \
         rrl-ratelimit: 0\n  rrl-whitelist-ratelimit: 0\n\
         remote-control:\n  control-enable: no\n\
         zone:\n  name: {FIXED_ZONE}\n  zonefile: \"{home}/zone\"\n",
        home = home.display(),
        ip = address.ip(),
        port = address.port(),
    )
}
