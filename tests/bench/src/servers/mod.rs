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

use crate::{error::BenchError, net::Transport, query::Traffic, world::World};

/// The zone of the steered names.
pub(crate) const ZONE: &str = "bench.example";

/// The zone of the static names: nothing is steered in it, so no module is asked.
pub(crate) const FIXED_ZONE: &str = "fixed.example";

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
    /// gdnsd, steered answers, with a cookie in every query.
    GdnsdCookie,
    /// Meridian, static answers over TCP.
    MeridianTcp,
    /// Knot DNS, static answers over TCP.
    KnotTcp,
    /// NSD, static answers over TCP.
    NsdTcp,
}

impl Subject {
    /// In the order of measuring and of the tables.
    pub(crate) const ALL: [Self; 12] = [
        Self::Echo,
        Self::Meridian,
        Self::Gdnsd,
        Self::Knot,
        Self::PowerDns,
        Self::MeridianStatic,
        Self::Nsd,
        Self::MeridianCookie,
        Self::GdnsdCookie,
        Self::MeridianTcp,
        Self::KnotTcp,
        Self::NsdTcp,
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
            Self::GdnsdCookie => "gdnsd-cookie",
            Self::MeridianTcp => "meridian-tcp",
            Self::KnotTcp => "knot-tcp",
            Self::NsdTcp => "nsd-tcp",
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
            Self::GdnsdCookie => "gdnsd, cookies",
            Self::MeridianTcp => "Meridian, TCP",
            Self::KnotTcp => "Knot, TCP",
            Self::NsdTcp => "NSD, TCP",
        }
    }

    /// What it is asked with.
    pub(crate) fn traffic(self) -> Traffic {
        let fixed = matches!(self, Self::MeridianStatic | Self::Nsd);
        Traffic {
            ecs: !fixed && self.transport() == Transport::Udp,
            cookie: matches!(self, Self::MeridianCookie | Self::GdnsdCookie),
        }
    }

    /// Over which transport.
    pub(crate) fn transport(self) -> Transport {
        match self {
            Self::MeridianTcp | Self::KnotTcp | Self::NsdTcp => Transport::Tcp,
            _ => Transport::Udp,
        }
    }

    /// The names it is asked for.
    pub(crate) fn names(self) -> Vec<String> {
        let (kind, zone) = match self.traffic().ecs {
            true => ("www", ZONE),
            false => ("static", FIXED_ZONE),
        };
        names(kind).map(|name| format!("{name}.{zone}")).collect()
    }

    /// The server that stands behind it: several subjects may share one.
    pub(crate) fn server(self) -> Self {
        match self {
            Self::MeridianStatic | Self::MeridianCookie | Self::MeridianTcp => Self::Meridian,
            Self::GdnsdCookie => Self::Gdnsd,
            Self::KnotTcp => Self::Knot,
            Self::NsdTcp => Self::Nsd,
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

impl Stage<'_> {
    /// The core as `taskset` takes it.
    fn core_list(&self) -> Option<String> {
        self.core.map(|core| core.to_string())
    }
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
            let mut command = child::pinned(stage.core_list().as_deref(), &own);
            command.args(["echo", "--listen", &address.to_string()]);
            let version = "recvmmsg/sendmmsg, batches of 64".to_owned();
            (Child::start("echo", stage.core, &mut command), version)
        }
        _ => meridian::start(stage, &home, address, 1)?,
    };
    Ok(Server {
        subject: subject.server(),
        version,
        address,
        child,
    })
}

/// Starts Meridian with so many workers on these cores.
///
/// # Errors
/// When it is not built or does not start.
pub(crate) fn start_workers(
    workers: usize,
    cores: &str,
    stage: &Stage<'_>,
) -> Result<Server, BenchError> {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, meridian_tests::free_port());
    let home = stage.folder.join(format!("workers-{workers}"));
    std::fs::create_dir_all(&home)
        .map_err(BenchError::system(format!("making {}", home.display())))?;
    let (child, version) = meridian::start_on(cores, stage, &home, address, workers)?;
    Ok(Server {
        subject: Subject::Meridian,
        version,
        address,
        child,
    })
}

/// The first labels of a kind of names.
fn names(kind: &str) -> impl Iterator<Item = String> {
    (0..NAMES).map(move |number| format!("{kind}{number}"))
}

/// The zone of the steered names as a master file. `extra` is more lines.
fn zone_file(extra: &str) -> String {
    format!(
        "$TTL {TTL}\n@ SOA ns hostmaster 1 7200 1800 259200 900\n@ NS ns\nns A 127.0.0.1\n{extra}"
    )
}

/// The zone of the static names as a master file.
fn fixed_zone_file() -> String {
    let mut lines = String::new();
    for (number, name) in names("static").enumerate() {
        let _ = writeln!(lines, "{name} A 198.51.100.{}", number + 1);
    }
    zone_file(&lines)
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
