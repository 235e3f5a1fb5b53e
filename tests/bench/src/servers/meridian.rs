//! Meridian: the nearest PoP by coordinates.

use std::{fmt::Write as _, net::SocketAddrV4, path::Path, process::Command};

use super::{Child, Stage, TTL, ZONE, child::pinned, names, write, zone_file};
use crate::{error::BenchError, world::pops};

pub(super) fn start(
    stage: &Stage<'_>,
    home: &Path,
    address: SocketAddrV4,
) -> Result<(Child, String), BenchError> {
    if !stage.meridian.is_file() {
        return Err(BenchError::Unbuilt(stage.meridian.to_owned()));
    }
    let state = home.join("state");
    std::fs::create_dir_all(&state).map_err(BenchError::system("making a folder"))?;
    write(&home.join("zone"), &zone_file(""))?;
    write(&home.join("meridian.toml"), &config(stage, home, address))?;
    let mut command = pinned(stage.core, stage.meridian);
    command
        .arg("serve")
        .arg("--config")
        .arg(home.join("meridian.toml"));
    command.env("STATE_DIRECTORY", &state);
    Ok((
        Child::start("meridian", stage.core, &mut command),
        version(stage.meridian),
    ))
}

fn config(stage: &Stage<'_>, home: &Path, address: SocketAddrV4) -> String {
    let mut text = format!(
        "[server]\nlisten = [\"{address}\"]\nworkers = 1\nstate_directory = \"{home}/state\"\n\
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
