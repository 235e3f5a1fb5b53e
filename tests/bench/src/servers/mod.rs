//! The servers: child processes on free ports of 127.0.0.1, on a core of their own.
//!
//! Each module writes one server's configuration. What is equivalent among them: the zone, the
//! names, the PoPs and their addresses, the TTL, the database, one thread for UDP.

mod child;
mod gdnsd;
mod knot;
mod meridian;
mod nsd;
mod powerdns;

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
    process::Command,
};

pub(crate) use child::Child;

use crate::{error::BenchError, query::Traffic, world::World};

/// The zone that is asked.
pub(crate) const ZONE: &str = "bench.example";

/// Names of each kind.
const NAMES: usize = 16;

/// TTL of everything, seconds.
const TTL: u32 = 30;

/// What is measured: a server under one kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The floor: a loop that sends every datagram back.
    Echo,
    /// Meridian, steered answers.
    Meridian,
    /// gdnsd with its geoip plugin.
    Gdnsd,
    /// Knot DNS with mod-geoip.
    Knot,
    /// PowerDNS with its geoip backend.
    PowerDns,
    /// Meridian, static answers.
    MeridianStatic,
    /// NSD, static answers.
    Nsd,
    /// Meridian, steered answers, with a cookie in every query.
    MeridianCookie,
}

impl Subject {
    /// In the order of measuring and of the tables.
    pub(crate) const ALL: [Self; 8] = [
        Self::Echo,
        Self::Meridian,
        Self::Gdnsd,
        Self::Knot,
        Self::PowerDns,
        Self::MeridianStatic,
        Self::Nsd,
        Self::MeridianCookie,
    ];

    /// Its name on the command line.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Meridian => "meridian",
            Self::Gdnsd => "gdnsd",
            Self::Knot => "knot",
            Self::PowerDns => "powerdns",
            Self::MeridianStatic => "meridian-static",
            Self::Nsd => "nsd",
            Self::MeridianCookie => "meridian-cookie",
        }
    }

    /// Its name in tables.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Echo => "bare echo (floor)",
            Self::Meridian => "Meridian",
            Self::Gdnsd => "gdnsd geoip",
            Self::Knot => "Knot mod-geoip",
            Self::PowerDns => "PowerDNS geoip",
            Self::MeridianStatic => "Meridian, static",
            Self::Nsd => "NSD, static",
            Self::MeridianCookie => "Meridian, cookies",
        }
    }

    /// What it is asked with.
    pub(crate) fn traffic(self) -> Traffic {
        Traffic {
            ecs: !matches!(self, Self::MeridianStatic | Self::Nsd),
            cookie: self == Self::MeridianCookie,
        }
    }

    /// The names it is asked for.
    pub(crate) fn names(self) -> Vec<String> {
        let kind = if self.traffic().ecs { "www" } else { "static" };
        names(kind).map(|name| format!("{name}.{ZONE}")).collect()
    }

    /// The server that stands behind it: several subjects may share one.
    pub(crate) fn server(self) -> Self {
        match self {
            Self::MeridianStatic | Self::MeridianCookie => Self::Meridian,
            other => other,
        }
    }
}

/// What servers are started with.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// A folder that everyone may read.
    pub(crate) folder: &'a Path,
    /// The database.
    pub(crate) world: &'a World,
    /// `meridian`.
    pub(crate) meridian: &'a Path,
    /// The core of the servers; `None` where there is only one.
    pub(crate) core: Option<usize>,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    /// Which.
    pub(crate) subject: Subject,
    /// Name and version.
    pub(crate) version: String,
    /// Where it answers.
    pub(crate) address: SocketAddrV4,
    /// The process.
    pub(crate) child: Child,
}

/// Starts the server behind `subject` on a free port; it may need a while until it answers.
///
/// # Errors
/// When it is not installed or does not start.
pub(crate) fn start(subject: Subject, stage: &Stage<'_>) -> Result<Server, BenchError> {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, meridian_tests::free_port());
    let home = stage.folder.join(subject.key());
    std::fs::create_dir_all(&home)
        .map_err(BenchError::system(format!("making {}", home.display())))?;
    let (child, version) = match subject.server() {
        Subject::Gdnsd => gdnsd::start(stage, &home, address)?,
        Subject::Knot => knot::start(stage, &home, address)?,
        Subject::PowerDns => powerdns::start(stage, &home, address)?,
        Subject::Nsd => nsd::start(stage, &home, address)?,
        Subject::Echo => {
            let own =
                std::env::current_exe().map_err(BenchError::system("finding this program"))?;
            let mut command = child::pinned(stage.core, &own);
            command.args(["echo", "--listen", &address.to_string()]);
            let version = "recvmmsg/sendmmsg through nix".to_owned();
            (Child::start("echo", stage.core, &mut command), version)
        }
        _ => meridian::start(stage, &home, address)?,
    };
    Ok(Server {
        subject: subject.server(),
        version,
        address,
        child,
    })
}

/// The first labels of a kind of names.
fn names(kind: &str) -> impl Iterator<Item = String> {
    (0..NAMES).map(move |number| format!("{kind}{number}"))
}

/// The static part of the zone, as a master file. `extra` is more lines.
fn zone_file(extra: &str) -> String {
    let mut text = format!(
        "$TTL {TTL}\n@ SOA ns hostmaster 1 7200 1800 259200 900\n@ NS ns\nns A 127.0.0.1\n"
    );
    for (number, name) in names("static").enumerate() {
        let _ = writeln!(text, "{name} A 198.51.100.{}", number + 1);
    }
    text.push_str(extra);
    text
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    std::fs::write(path, text).map_err(BenchError::system(format!("writing {}", path.display())))
}

/// The path of a program of the system.
fn installed(program: &str) -> Result<PathBuf, BenchError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| BenchError::Missing(program.to_owned()))
}

/// Name and version of a Debian package.
fn package(name: &str) -> String {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Version}", name])
        .output();
    let version = output.ok().filter(|output| output.status.success());
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    format!(
        "{name} {}",
        version.as_deref().unwrap_or("(version unknown)")
    )
}
