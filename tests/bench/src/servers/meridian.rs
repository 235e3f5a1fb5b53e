//! Meridian: the nearest PoP by coordinates.

use std::{fmt::Write as _, net::SocketAddrV4, path::Path, process::Command};

use super::{
    Child, FIXED_ZONE, Stage, TTL, ZONE, child::pinned, fixed_zone_file, names, write, zone_file,
};
use crate::{error::BenchError, world::pops};

pub(super) fn start(
    stage: &Stage<'_>,
    home: &Path,
    address: SocketAddrV4,
    workers: usize,
) -> Result<(Child, String), BenchError> {
    let cores = stage.core_list();
    let mut command = prepare(cores.as_deref(), stage, home, address, workers)?;
    let child = Child::start("meridian", stage.core, &mut command);
    Ok((child, version(stage.meridian)))
}

/// On cores of its own choice among these.
pub(super) fn start_on(
    cores: &str,
    stage: &Stage<'_>,
    home: &Path,
    address: SocketAddrV4,
    workers: usize,
) -> Result<(Child, String), BenchError> {
    let mut command = prepare(Some(cores), stage, home, address, workers)?;
    let child = Child::start("meridian", None, &mut command);
    Ok((child, version(stage.meridian)))
}

fn prepare(
    cores: Option<&str>,
    stage: &Stage<'_>,
    home: &Path,
    address: SocketAddrV4,
    workers: usize,
) -> Result<Command, BenchError> {
    if !stage.meridian.is_file() {
        return Err(BenchError::Unbuilt(stage.meridian.to_owned()));
    }
    let state = home.join("state");
    std::fs::create_dir_all(&state).map_err(BenchError::system("making a folder"))?;
    write(&home.join("zone"), &zone_file(""))?;
    write(&home.join("fixed"), &fixed_zone_file())?;
    let text = config(stage, home, address, workers);
    write(&home.join("meridian.toml"), &text)?;
    let mut command = pinned(cores, stage.meridian);
    command
        .arg("serve")
        .arg("--config")
        .arg(home.join("meridian.toml"));
    command.env("STATE_DIRECTORY", &state);
    Ok(command)
}

fn config(stage: &Stage<'_>, home: &Path, address: SocketAddrV4, workers: usize) -> String {
    let mut text = format!(
        "[server]\nlisten = [\"{address}\"]\nworkers = {workers}\nstate_directory = \"{home}/state\"\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n[log]\nlevel = \"warn\"\n\
         [geo]\ncity = [\"{database}\"]\n\
         [steering]\ntolerance = \"0ms\"\nttl = \"{TTL}s\"\n",
        home = home.display(),
        admin = meridian_tests::free_port(),
        database = stage.world.database.display(),
    );
    let mut all = Vec::new();
    for pop in pops() {
        let _ = writeln!(
            text,
            "[[pop]]\nname = \"{}\"\nlatitude = {:.4}\nlongitude = {:.4}\nendpoints = [\"{}\"]",
            pop.name, pop.at.latitude, pop.at.longitude, pop.address
        );
        all.push(format!("\"{}\"", pop.name));
    }
    let _ = writeln!(
        text,
        "[[pool]]\nname = \"world\"\npops = [{}]",
        all.join(", ")
    );
    let _ = writeln!(
        text,
        "[[zone]]\nname = \"{ZONE}\"\nfile = \"{}/zone\"",
        home.display()
    );
    for name in names("www") {
        let _ = writeln!(
            text,
            "[[zone.service]]\nname = \"{name}\"\npool = \"world\""
        );
    }
    let _ = writeln!(
        text,
        "[[zone]]\nname = \"{FIXED_ZONE}\"\nfile = \"{}/fixed\"",
        home.display()
    );
    text
}

/// What `meridian --version` says, and the commit when `tests/bench/run` tells it.
fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output().ok();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let text = text.unwrap_or_else(|| "meridian".to_owned());
    match std::env::var("MERIDIAN_COMMIT") {
        Ok(commit) if !commit.is_empty() => format!("{text} ({commit})"),
        _ => text,
    }
}
