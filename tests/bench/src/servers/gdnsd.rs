//! gdnsd with its geoip plugin: the nearest PoP by coordinates.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddrV4,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
};

use super::{Child, Stage, TTL, ZONE, child::pinned, installed, names, package, write, zone_file};
use crate::{error::BenchError, world::pops};

/// Nobody: gdnsd needs no privilege.
const NOBODY: u32 = 65_534;

pub(super) fn start(
    stage: &Stage<'_>,
    home: &Path,
    address: SocketAddrV4,
) -> Result<(Child, String), BenchError> {
    let program = installed("gdnsd")?;
    for part in ["zones", "geoip", "run", "state"] {
        fs::create_dir_all(home.join(part)).map_err(BenchError::system("making a folder"))?;
    }
    write(&home.join("config"), &config(stage, home, address))?;
    let mut services = String::new();
    for name in names("www") {
        let _ = writeln!(services, "{name} {TTL} DYNA geoip!www");
    }
    write(&home.join("zones").join(ZONE), &zone_file(&services))?;
    let mut command = pinned(stage.core_list().as_deref(), &program);
    command.arg("-c").arg(home).arg("start");
    if nix::unistd::geteuid().is_root() {
        for path in walk(home) {
            nix::unistd::chown(&path, Some(nix::unistd::Uid::from_raw(NOBODY)), None)
                .map_err(BenchError::system("handing a folder to nobody"))?;
        }
        fs::set_permissions(stage.folder, fs::Permissions::from_mode(0o755))
            .map_err(BenchError::system("opening a folder"))?;
        command.uid(NOBODY).gid(NOBODY);
    }
    Ok((
        Child::start("gdnsd", stage.core, &mut command),
        package("gdnsd"),
    ))
}

fn config(stage: &Stage<'_>, home: &Path, address: SocketAddrV4) -> String {
    let (mut all, mut places, mut addresses) = (String::new(), String::new(), String::new());
    for pop in pops() {
        let _ = write!(all, "{} ", pop.name);
        let _ = writeln!(
            places,
            "{} => [ {:.4}, {:.4} ]",
            pop.name, pop.at.latitude, pop.at.longitude
        );
        let _ = writeln!(addresses, "{} => {}", pop.name, pop.address);
    }
    format!(
        "options => {{ listen => [ \"{address}\" ] run_dir => \"{home}/run\" \
         state_dir => \"{home}/state\" udp_threads => 1 tcp_threads => 1 }}\n\
         plugins => {{ geoip => {{\n\
         maps => {{ world => {{ geoip2_db => \"{database}\" datacenters => [ {all}] \
         auto_dc_limit => 1\nauto_dc_coords => {{\n{places}}} }} }}\n\
         resources => {{ www => {{ map => world service_types => up dcmap => {{\n{addresses}}} }} }}\n\
         }} }}\n",
        home = home.display(),
        database = stage.world.database.display(),
    )
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            all.extend(walk(&entry.path()));
        } else {
            all.push(entry.path());
        }
    }
    all
}
