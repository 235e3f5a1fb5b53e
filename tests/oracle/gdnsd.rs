//! gdnsd with its geoip plugin, as another opinion on distances.

use std::{
    fmt::Write as _,
    fs,
    io::{Error, ErrorKind},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
    time::Duration,
};

use hickory_proto::op::Message;
use meridian_tests::{Running, dns, eventually, free_port};

use crate::{Pop, ZONE, world::World};

/// A running gdnsd.
pub(crate) struct Gdnsd {
    _process: Running,
    socket: UdpSocket,
}

/// Nobody: gdnsd needs no privilege.
const NOBODY: u32 = 65_534;

impl Gdnsd {
    /// Starts it on a free port of 127.0.0.1, and waits until it answers.
    /// `limit` is the number of PoPs that it keeps for each network, one for the best scopes.
    pub(crate) fn start(
        program: &Path,
        folder: &Path,
        world: &World,
        pops: &[Pop],
        limit: u8,
    ) -> Self {
        let port = free_port();
        let home = folder.join(format!("gdnsd-{limit}"));
        for part in ["zones", "geoip", "run", "state"] {
            fs::create_dir_all(home.join(part)).expect("a folder");
        }
        fs::write(home.join("config"), config(&home, world, pops, port, limit))
            .expect("its configuration");
        let zone = "@ SOA ns hostmaster 1 7200 1800 259200 900\n@ NS ns\nns A 127.0.0.1\n\
                    www 30 DYNA geoip!www\n";
        fs::write(home.join("zones").join(ZONE), zone).expect("its zone");
        let mut command = Command::new(program);
        command.arg("-c").arg(&home).arg("start");
        if nix::unistd::geteuid().is_root() {
            hand_over(folder);
            hand_over(&home);
            command.uid(NOBODY).gid(NOBODY);
        }
        let process = Running::start("gdnsd", &mut command);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket
            .connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .expect("an address");
        socket
            .set_read_timeout(Some(Duration::from_millis(500)))
            .expect("a timeout");
        let gdnsd = Self {
            _process: process,
            socket,
        };
        // A large database takes it a while.
        eventually("gdnsd answers", Duration::from_secs(300), || {
            gdnsd
                .ask(&dns::question(&format!("www.{ZONE}"), "A").to_wire())
                .ok()
        });
        gdnsd
    }

    /// Sends a query and waits for its reply, half a minute in all.
    pub(crate) fn ask(&self, query: &[u8]) -> Result<Message, Error> {
        let mut buffer = [0; 4096];
        for _ in 0..60 {
            self.socket.send(query)?;
            loop {
                match self.socket.recv(&mut buffer) {
                    Ok(length) if buffer[..2] == query[..2] => {
                        return dns::decode(&buffer[..length]);
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Err(ErrorKind::TimedOut.into())
    }
}

fn config(home: &Path, world: &World, pops: &[Pop], port: u16, limit: u8) -> String {
    let (mut names, mut places, mut addresses) = (String::new(), String::new(), String::new());
    for pop in pops {
        let _ = write!(names, "{} ", pop.name);
        let _ = writeln!(
            places,
            "{} => [ {:.4}, {:.4} ]",
            pop.name, pop.at.latitude, pop.at.longitude
        );
        let _ = writeln!(
            addresses,
            "{} => {{ addrs_v4 => [ {} ] addrs_v6 => [ \"{}\" ] }}",
            pop.name, pop.v4, pop.v6
        );
    }
    let mut nets = String::new();
    for (net, pop) in &world.pinned {
        let _ = writeln!(nets, "\"{net}\" => {}", pops[*pop].name);
    }
    format!(
        "options => {{ listen => [ \"127.0.0.1:{port}\" ] run_dir => \"{home}/run\" state_dir => \"{home}/state\" udp_threads => 1 tcp_threads => 1 }}\n\
         plugins => {{ geoip => {{\n\
         maps => {{ world => {{ geoip2_db => \"{database}\" datacenters => [ {names}] auto_dc_limit => {limit} nets => {{\n{nets}}}\n\
         auto_dc_coords => {{\n{places}}} }} }}\n\
         resources => {{ www => {{ map => world service_types => up dcmap => {{\n{addresses}}} }} }}\n\
         }} }}\n",
        home = home.display(),
        database = world.merged.display(),
    )
}

/// Lets the unprivileged user read and write a folder made by root.
fn hand_over(folder: &Path) {
    let owner = Some(nix::unistd::Uid::from_raw(NOBODY));
    for entry in walk(folder) {
        nix::unistd::chown(&entry, owner, None).expect("the folder changes hands");
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("the folder opens");
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() {
            all.extend(walk(&entry.path()));
        } else {
            all.push(entry.path());
        }
    }
    all
}
