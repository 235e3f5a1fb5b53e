//! A BIRD on loopback, without root: the router that all sites announce to.

use std::{fmt::Write as _, path::PathBuf, process::Command};

use meridian_tests::{PATIENCE, Running, eventually, own_port, peer, scratch};
use tempfile::TempDir;

/// Address of the router.
pub(crate) const ADDRESS: &str = "127.0.0.2";

/// What every site announces.
pub(crate) const PREFIX: &str = "198.51.100.53/32";

pub(crate) struct Bird {
    pub(crate) port: u16,
    control: PathBuf,
    client: PathBuf,
    _running: Running,
    _folder: TempDir,
}

/// One path that BIRD has to the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) next_hop: String,
    pub(crate) as_path: Vec<String>,
    pub(crate) med: u32,
    communities: String,
}

impl Path {
    /// It carries GRACEFUL_SHUTDOWN (RFC 8326).
    pub(crate) fn is_depreferenced(&self) -> bool {
        self.communities.contains("(65535,0)")
    }
}

impl Bird {
    /// `None`, told on stderr, where BIRD is not installed.
    pub(crate) fn start(sites: &[&str]) -> Option<Self> {
        let (program, client) = (peer("bird")?, peer("birdc")?);
        let port = own_port(&[ADDRESS.parse().expect("an address")]);
        let folder = scratch();
        let file = |name: &str| folder.path().join(name);
        let mut config = format!(
            "router id 127.0.0.2;\nprotocol device {{}}\n\
             template bgp site {{ local {ADDRESS} port {port} as 64500; passive on; multihop 2; \
             strict bind on; hold time 9; ipv4 {{ import all; export none; gateway recursive; }}; }}\n"
        );
        for (number, site) in sites.iter().enumerate() {
            let _ = writeln!(
                config,
                "protocol bgp site{number} from site {{ neighbor {site} as 64512; }}"
            );
        }
        std::fs::write(file("bird.conf"), config).expect("a file for the configuration");
        let mut command = Command::new(program);
        command.arg("-f").arg("-c").arg(file("bird.conf"));
        command
            .arg("-s")
            .arg(file("bird.ctl"))
            .arg("-P")
            .arg(file("bird.pid"));
        let running = Running::start("bird", &mut command);
        let control = file("bird.ctl");
        eventually("bird listens for its client", PATIENCE, || {
            control.exists().then_some(())
        });
        Some(Self {
            port,
            control,
            client,
            _running: running,
            _folder: folder,
        })
    }

    /// All paths to the prefix.
    pub(crate) fn paths(&self) -> Vec<Path> {
        let mut command = Command::new(&self.client);
        command.arg("-s").arg(&self.control);
        command.args(["show", "route", "for", PREFIX, "all"]);
        let out = command.output().expect("birdc runs");
        parse(&String::from_utf8_lossy(&out.stdout))
    }
}

fn parse(shown: &str) -> Vec<Path> {
    let mut paths = Vec::new();
    for line in shown.lines() {
        let Some((key, value)) = line.trim().split_once(": ") else {
            continue;
        };
        if key == "BGP.origin" {
            paths.push(Path {
                next_hop: String::new(),
                as_path: Vec::new(),
                med: 0,
                communities: String::new(),
            });
        }
        let Some(path) = paths.last_mut() else {
            continue;
        };
        match key {
            "BGP.as_path" => path.as_path = value.split_whitespace().map(str::to_owned).collect(),
            "BGP.next_hop" => value.clone_into(&mut path.next_hop),
            "BGP.med" => path.med = value.trim().parse().unwrap_or(0),
            "BGP.community" => value.clone_into(&mut path.communities),
            _ => {}
        }
    }
    paths
}
