//! An ordinary client: asks again and again, and remembers when it was answered.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{JoinHandle, spawn},
    time::{Duration, Instant},
};

use meridian_tests::dns;

use crate::bed::Namespace;

/// The service address.
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 53)), 53);

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(5);

/// What a client saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Questions that were answered, each with its site.
    pub(crate) answers: Vec<u8>,
    /// Questions that never were.
    pub(crate) lost: usize,
    /// The longest time between two answers.
    pub(crate) longest_gap: Duration,
}

/// A client that asks until told to stop.
pub(crate) struct Client {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Client {
    /// Asks from within a namespace; a question counts as lost after `patience`.
    pub(crate) fn start(space: &Namespace, patience: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, name) = (stop.clone(), space.name.clone());
        let thread = spawn(move || {
            Namespace::enter(&name);
            ask_until(&ended, patience)
        });
        Self { stop, thread }
    }

    /// Stops, and says what it saw.
    pub(crate) fn finish(self) -> Seen {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("the client does not panic")
    }
}

/// Which site answers one question from within a namespace.
pub(crate) fn who(space: &Namespace) -> Option<u8> {
    let name = space.name.clone();
    let asked = spawn(move || {
        Namespace::enter(&name);
        ask(Duration::from_secs(1))
    });
    asked.join().expect("the client does not panic")
}

#[allow(clippy::disallowed_methods)] // real packets are timed
fn ask_until(stop: &AtomicBool, patience: Duration) -> Seen {
    let mut seen = Seen::default();
    let mut last: Option<Instant> = None;
    while !stop.load(Relaxed) {
        match ask(patience) {
            Some(site) => {
                let now = Instant::now();
                if let Some(last) = last {
                    seen.longest_gap = seen.longest_gap.max(now - last);
                }
                last = Some(now);
                seen.answers.push(site);
            }
            None => seen.lost += 1,
        }
        std::thread::sleep(PAUSE);
    }
    seen
}

/// One question from a port of its own; the last octet of the answer names the site.
fn ask(patience: Duration) -> Option<u8> {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.connect(SERVER).expect("a route");
    socket.set_read_timeout(Some(patience)).expect("a timeout");
    socket
        .send(&dns::question("who.example.com", "A").to_wire())
        .ok()?;
    let mut reply = [0; 1232];
    match socket.recv(&mut reply) {
        Ok(length) => {
            let reply = dns::decode(&reply[..length]).ok()?;
            match dns::addresses(&reply).first() {
                Some(IpAddr::V4(address)) => Some(address.octets()[3]),
                _ => None,
            }
        }
        Err(error) => {
            let expected = [
                ErrorKind::WouldBlock,
                ErrorKind::TimedOut,
                ErrorKind::ConnectionRefused,
                ErrorKind::HostUnreachable,
                ErrorKind::NetworkUnreachable,
            ];
            assert!(expected.contains(&error.kind()), "{error}");
            None
        }
    }
}
