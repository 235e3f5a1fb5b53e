//! Meridian in process, Knot and NSD on ports of their own.

use std::{
    cell::{Cell, RefCell},
    fmt::Write as _,
    io::Write,
    net::{SocketAddr, TcpStream, UdpSocket},
    path::Path,
    process::Command,
    sync::Arc,
    time::Duration,
};

use meridian_dns::{
    answer::{Meta, Outcome, Transport, respond},
    build::build,
    snapshot::Snapshot,
    steer::{Standing, View},
    types::UnixTime,
};
use meridian_geo_data::ClientMap;
use meridian_health_prober::HealthSnapshot;
use meridian_tests::{
    PATIENCE, Running,
    dns::{frame, read_frame},
    eventually, free_port,
};

use crate::generate::{Generated, Query};

/// A server that is compared with.
pub(crate) trait Peer {
    fn name(&self) -> &'static str;
    fn ask(&self, query: &Query) -> Vec<u8>;
}

/// Meridian, asked in process.
pub(crate) struct Ours(Snapshot);

impl Ours {
    pub(crate) fn load(folder: &Path, zones: &[Generated]) -> Self {
        let mut text = String::new();
        for Generated { apex, .. } in zones {
            let _ = writeln!(text, "[[zone]]\nname = \"{apex}\"\nfile = \"{apex}zone\"");
        }
        let path = folder.join("meridian.toml");
        std::fs::write(&path, text).expect("a configuration is written");
        Self(snapshot(&path))
    }

    pub(crate) fn ask(&self, query: &Query) -> Vec<u8> {
        let transport = if query.tcp {
            Transport::Tcp
        } else {
            Transport::Udp
        };
        let source = SocketAddr::from(([127, 0, 0, 1], 5300));
        let mut out = Vec::new();
        match respond(
            &self.0,
            &query.octets(),
            &Meta {
                source,
                transport,
                now: UnixTime::default(),
            },
            &mut out,
        ) {
            Outcome::Reply(_) => out,
            Outcome::Drop(reason) => panic!("{query} dropped: {reason:?}"),
        }
    }
}

/// What answers are made from, for a configuration file.
pub(crate) fn snapshot(path: &Path) -> Snapshot {
    let config = meridian_config::load(path).unwrap_or_else(|error| panic!("{error}"));
    let clients = Arc::new(ClientMap::open(&config.geo).expect("the bundled database"));
    let built = build(&config, clients).unwrap_or_else(|error| panic!("{error}"));
    let view = View::new(
        &built.steering,
        Arc::new(Standing::none()),
        Arc::new(HealthSnapshot::default()),
    );
    Snapshot {
        generation: 1,
        zones: built.zones,
        steering: built.steering,
        view: Arc::new(view),
        identity: built.identity,
    }
}

/// A process and sockets to it.
struct Remote {
    _process: Running,
    address: SocketAddr,
    udp: UdpSocket,
    buffer: RefCell<Vec<u8>>,
    next_id: Cell<u16>,
}

impl Remote {
    fn new(process: Running, port: u16, zones: &[Generated]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        udp.connect(address).expect("a route");
        udp.set_read_timeout(Some(Duration::from_millis(200)))
            .expect("a timeout");
        let remote = Self {
            _process: process,
            address,
            udp,
            buffer: RefCell::new(vec![0; 65_535]),
            next_id: Cell::new(0),
        };
        for Generated { apex, .. } in zones {
            let query = Query {
                name: apex.clone(),
                rtype: 6,
                edns: None,
                tcp: false,
            };
            let what = format!("an answer for {apex}");
            eventually(&what, PATIENCE, || {
                let reply = remote.try_udp(&query)?;
                (reply[3] & 15 == 0 && reply[7] == 1).then_some(())
            });
        }
        remote
            .udp
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout");
        remote
    }

    /// Asks once, under an ID of its own, and passes over replies to earlier questions.
    fn try_udp(&self, query: &Query) -> Option<Vec<u8>> {
        let id = self.next_id.get().wrapping_add(1);
        self.next_id.set(id);
        let mut octets = query.octets();
        octets[..2].copy_from_slice(&id.to_be_bytes());
        self.udp.send(&octets).ok()?;
        let mut buffer = self.buffer.borrow_mut();
        loop {
            let length = self.udp.recv(&mut buffer).ok()?;
            if buffer[..2] == octets[..2] {
                return Some(buffer[..length].to_vec());
            }
        }
    }

    fn ask(&self, query: &Query) -> Vec<u8> {
        if query.tcp {
            let mut stream = TcpStream::connect(self.address).expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            stream
                .write_all(&frame(&query.octets()))
                .expect("a query is sent");
            return read_frame(&mut stream).expect("a reply");
        }
        let reply = self.try_udp(query);
        reply.unwrap_or_else(|| panic!("no reply to {query}"))
    }
}

/// Knot DNS.
pub(crate) struct Knot(Remote);

impl Knot {
    pub(crate) fn start(program: &Path, zones_in: &Path, zones: &[Generated]) -> Self {
        let port = free_port();
        let folder = zones_in.join("knot");
        std::fs::create_dir(&folder).expect("a folder");
        let dir = folder.display();
        let mut text = format!(
            "server:\n  rundir: {dir}\n  listen: 127.0.0.1@{port}\n  udp-max-payload: 1232\n  \
             udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
             database:\n  storage: {dir}\n\
             control:\n  listen: {dir}/socket\n\
             log:\n  - target: stderr\n    any: info\n\
             template:\n  - id: default\n    storage: {}\n    journal-content: none\n\
             zone:\n",
            zones_in.display()
        );
        for Generated { apex, .. } in zones {
            let _ = writeln!(text, "  - domain: {apex}\n    file: {apex}zone");
        }
        let file = folder.join("knot.conf");
        std::fs::write(&file, text).expect("a configuration is written");
        let process = Running::start("knotd", Command::new(program).arg("-c").arg(&file));
        Self(Remote::new(process, port, zones))
    }
}

impl Peer for Knot {
    fn name(&self) -> &'static str {
        "knot"
    }

    fn ask(&self, query: &Query) -> Vec<u8> {
        self.0.ask(query)
    }
}

/// NSD.
pub(crate) struct Nsd(Remote);

impl Nsd {
    pub(crate) fn start(program: &Path, zones_in: &Path, zones: &[Generated]) -> Self {
        let port = free_port();
        let folder = zones_in.join("nsd");
        std::fs::create_dir(&folder).expect("a folder");
        let dir = folder.display();
        let mut text = format!(
            "server:\n  ip-address: 127.0.0.1@{port}\n  server-count: 1\n  username: \"\"\n  \
             chroot: \"\"\n  zonesdir: \"{}\"\n  database: \"\"\n  pidfile: \"{dir}/pid\"\n  \
             xfrdfile: \"{dir}/xfrd\"\n  zonelistfile: \"{dir}/zones\"\n  xfrdir: \"{dir}\"\n  \
             rrl-ratelimit: 0\n  ipv4-edns-size: 1232\n  verbosity: 1\n\
             remote-control:\n  control-enable: no\n",
            zones_in.display()
        );
        for Generated { apex, .. } in zones {
            let _ = writeln!(text, "zone:\n  name: {apex}\n  zonefile: {apex}zone");
        }
        let file = folder.join("nsd.conf");
        std::fs::write(&file, text).expect("a configuration is written");
        let process = Running::start("nsd", Command::new(program).arg("-d").arg("-c").arg(&file));
        Self(Remote::new(process, port, zones))
    }
}

impl Peer for Nsd {
    fn name(&self) -> &'static str {
        "nsd"
    }

    fn ask(&self, query: &Query) -> Vec<u8> {
        self.0.ask(query)
    }
}
