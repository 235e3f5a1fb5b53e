//! How long a route stays at the peer after something broke: this server beside ExaBGP's
//! healthcheck, both against BIRD, one after the other on the same machine.
//!
//! ```text
//! cargo build --release --bin meridian && cargo run --release -p meridian-tests --example bgp-measure -- [RUNS]
//! ```
//!
//! Needs root, `bird2` and `exabgp`. The default of 3 runs takes under four minutes. Output: a
//! table in Markdown, milliseconds, measured at BIRD's control socket every millisecond.
//!
//! Both sides check every second and again at once after the first failure (ExaBGP: after 0.2 s),
//! two failures are a verdict. BFD is 300 ms × 3 where it runs; hold time 9 s.
#![allow(clippy::disallowed_methods)] // It measures.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use meridian_tests::{
    PATIENCE, Running,
    bgp::{Bed, Guard, HOST_V4, Kind, Router, RouterOptions},
    eventually, meridian, peer, scratch,
};
use nix::{
    sched::{CloneFlags, setns},
    sys::signal::Signal,
};

const SELF: &str = "192.0.2.53/32";
const BY_POP: &str = "198.51.100.53/32";
const EDGE_PORT: u16 = 8081;

type Row = (&'static str, &'static str, Vec<Duration>);

fn main() {
    let runs = std::env::args()
        .nth(1)
        .and_then(|runs| runs.parse().ok())
        .unwrap_or(3);
    let Some(exabgp) = peer("exabgp") else { return };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut rows = ours(runs).unwrap_or_default();
    rows.extend(theirs(runs, &exabgp).unwrap_or_default());
    println!("| event | speaker | runs, ms | median, ms |\n|---|---|---|---|");
    for (event, speaker, mut times) in rows {
        times.sort_unstable();
        let list: Vec<_> = times
            .iter()
            .map(|time| time.as_millis().to_string())
            .collect();
        let median = times.get(times.len() / 2).map_or(0, Duration::as_millis);
        println!("| {event} | {speaker} | {} | {median} |", list.join(", "));
    }
    println!("\nload average at the start: {load}");
}

/// Scenarios with this server.
fn ours(runs: usize) -> Option<Vec<Row>> {
    let bed = Bed::new("om")?;
    let mut options = RouterOptions::new(Kind::Bird, Guard::Plain);
    options.bfd = Some(300);
    let router = Router::start(&bed, options)?;
    let bird = Bird::connect(router.folder());
    let edge = Edge::start(&bed);
    let folder = scratch();
    configure(folder.path());
    let (mut own, mut pop, mut after) = (Vec::new(), Vec::new(), Vec::new());
    let (mut kill, mut stop, mut hole) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..runs {
        eprintln!("run {} of {runs}: meridian", run + 1);
        let mut server = serve(&bed, folder.path(), &bird);
        pause(run);
        let start = edge.fail(true);
        pop.push(bird.gone(BY_POP, start));
        after.extend(
            edge.second_failure()
                .map(|second| Instant::now().duration_since(second)),
        );
        edge.fail(false);
        bird.wait(BY_POP);

        pause(run);
        address(&bed, "del");
        own.push(bird.gone(SELF, Instant::now()));
        address(&bed, "add");
        bird.wait(SELF);
        settled(&bird);

        pause(run);
        server.signal(Signal::SIGSTOP);
        stop.push(bird.gone(SELF, Instant::now()));
        server.signal(Signal::SIGCONT);
        bird.wait(SELF);
        settled(&bird);

        pause(run);
        bed.blackhole(true);
        hole.push(bird.gone(SELF, Instant::now()));
        bed.blackhole(false);
        bird.wait(SELF);

        pause(run);
        server.signal(Signal::SIGKILL);
        kill.push(bird.gone(SELF, Instant::now()));
        server.kill();
    }
    Some(vec![
        ("PoP check fails → gone", "meridian", pop),
        ("second failed PoP check → gone", "meridian", after),
        ("own sockets do not answer → gone", "meridian", own),
        ("SIGKILL → gone", "meridian", kill),
        ("SIGSTOP → gone, BFD 300 ms × 3", "meridian", stop),
        ("silent blackhole → gone, BFD 300 ms × 3", "meridian", hole),
    ])
}

/// The same with ExaBGP and its healthcheck. It has no BFD, so that silence takes the hold time.
fn theirs(runs: usize, exabgp: &Path) -> Option<Vec<Row>> {
    let bed = Bed::new("em")?;
    let router = Router::start(&bed, RouterOptions::new(Kind::Bird, Guard::Plain))?;
    let bird = Bird::connect(router.folder());
    let folder = scratch();
    let alive = folder.path().join("alive");
    let config = folder.path().join("exabgp.conf");
    fs::write(&config, exabgp_config(&alive)).expect("a configuration");
    let (mut health, mut kill, mut stop, mut hole) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..runs {
        eprintln!("run {} of {runs}: exabgp", run + 1);
        fs::write(&alive, "").expect("a flag");
        let start = || {
            let mut command = bed.in_host(exabgp.to_str().expect("a path"));
            command.arg(&config);
            for (key, value) in [("exabgp.daemon.user", "root"), ("exabgp.api.cli", "false")] {
                command.env(key, value);
            }
            Running::start("exabgp", &mut command)
        };
        let mut speaker = start();
        bird.wait(SELF);

        pause(run);
        fs::remove_file(&alive).expect("the flag");
        health.push(bird.gone(SELF, Instant::now()));
        fs::write(&alive, "").expect("a flag");
        bird.wait(SELF);

        pause(run);
        speaker.signal(Signal::SIGSTOP);
        stop.push(bird.gone(SELF, Instant::now()));
        speaker.signal(Signal::SIGCONT);
        bird.wait(SELF);

        pause(run);
        bed.blackhole(true);
        hole.push(bird.gone(SELF, Instant::now()));
        bed.blackhole(false);
        bird.wait(SELF);

        pause(run);
        speaker.signal(Signal::SIGKILL);
        kill.push(bird.gone(SELF, Instant::now()));
        speaker.kill();
    }
    Some(vec![
        (
            "check fails → gone, 1 s and 0.2 s, fall 2",
            "ExaBGP healthcheck",
            health,
        ),
        ("SIGKILL → gone", "ExaBGP", kill),
        ("SIGSTOP → gone, hold time 9 s", "ExaBGP", stop),
        ("silent blackhole → gone, hold time 9 s", "ExaBGP", hole),
    ])
}

/// Different times in the rounds of probes and keepalives, as in real life.
fn pause(run: usize) {
    let step = u64::try_from(run % 4).unwrap_or_default();
    std::thread::sleep(Duration::from_millis(1000 + 270 * step));
}

/// Waits for BFD, which comes up after BGP.
fn settled(bird: &Bird) {
    eventually("BFD is up", PATIENCE, || {
        let said = bird.ask("show bfd sessions");
        let ours = said.lines().find(|line| line.contains(HOST_V4))?;
        ours.contains(" Up ").then_some(())
    });
}

fn address(bed: &Bed, what: &str) {
    let mut command = bed.in_host("ip");
    let done = command.args(["addr", what, SELF, "dev", "lo"]).status();
    assert!(done.is_ok_and(|status| status.success()), "ip addr {what}");
}

fn serve(bed: &Bed, folder: &Path, bird: &Bird) -> Running {
    // It may still be there from the run before.
    let _ = bed
        .in_host("ip")
        .args(["addr", "add", SELF, "dev", "lo"])
        .output();
    let _ = bed
        .in_host("ip")
        .args(["addr", "add", BY_POP, "dev", "lo"])
        .output();
    let mut command = bed.in_host(meridian().to_str().expect("a path"));
    command
        .args(["serve", "--config"])
        .arg(folder.join("meridian.toml"));
    let server = Running::start("meridian", &mut command);
    bird.wait(SELF);
    bird.wait(BY_POP);
    settled(bird);
    server
}

fn configure(folder: &Path) {
    let config = format!(
        r#"[server]
listen = ["0.0.0.0:53"]
workers = 1
nsid = "measure"
state_directory = "state"
[admin]
listen = "127.0.0.1:9153"
[check.edge]
type = "http"
port = {EDGE_PORT}
path = "/"
interval = "1s"
timeout = "500ms"
fall = 2
rise = 1
[[pop]]
name = "fra"
latitude = 50
longitude = 8
endpoints = ["{HOST_V4}"]
[[pool]]
name = "edge"
pops = ["fra"]
check = "edge"
[[zone]]
name = "example.com"
file = "example.zone"
[[zone.service]]
name = "www"
pool = "edge"
[bgp]
site = "fra"
local_as = 64512
router_id = "{HOST_V4}"
interface = "none"
startup_delay = "0s"
hold_down = "1s"
hold_down_max = "1s"
[[bgp.peer]]
name = "tor"
address = "10.99.0.1"
remote_as = 64500
bfd = {{ interval = "300ms", multiplier = 3 }}
[[bgp.announce]]
prefix = "{SELF}"
[[bgp.announce]]
prefix = "{BY_POP}"
health = "fra"
"#
    );
    fs::write(folder.join("meridian.toml"), config).expect("a configuration");
    let zone = "$ORIGIN example.com.\n$TTL 60\n@ SOA ns1 host 7 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.53\n";
    fs::write(folder.join("example.zone"), zone).expect("a zone");
}

fn exabgp_config(alive: &Path) -> String {
    format!(
        "process watch {{\n run /usr/bin/python3 -m exabgp healthcheck --cmd \"test -e {}\" --interval 1 --fast-interval 0.2 --fall 2 --rise 1 --withdraw-on-down --no-ip-setup --ip {SELF} --no-syslog;\n encoder text;\n}}\n\
         neighbor 10.99.0.1 {{\n router-id {HOST_V4}; local-address {HOST_V4}; local-as 64512; peer-as 64500; hold-time 9;\n family {{ ipv4 unicast; }}\n api {{ processes [ watch ]; }}\n}}\n",
        alive.display()
    )
}

/// BIRD's control socket.
struct Bird {
    path: PathBuf,
}

impl Bird {
    fn connect(folder: &Path) -> Self {
        let path = folder.join("ctl");
        eventually("BIRD listens", PATIENCE, || UnixStream::connect(&path).ok());
        Self { path }
    }

    fn ask(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(&self.path).expect("BIRD runs");
        reply(&mut stream);
        writeln!(stream, "{command}").expect("BIRD listens");
        reply(&mut stream)
    }

    /// Whether BIRD has the route.
    fn has(&self, prefix: &str) -> bool {
        self.ask(&format!("show route {prefix}"))
            .contains("[host4 ")
    }

    fn wait(&self, prefix: &str) {
        eventually(&format!("{prefix} is announced"), PATIENCE, || {
            self.has(prefix).then_some(())
        });
    }

    /// Since `start`, until the route is gone.
    fn gone(&self, prefix: &str, start: Instant) -> Duration {
        while self.has(prefix) {
            assert!(start.elapsed() < PATIENCE, "{prefix} stays");
            std::thread::sleep(Duration::from_millis(1));
        }
        start.elapsed()
    }
}

/// One answer of BIRD's: its last line begins with a code and a space.
fn reply(stream: &mut UnixStream) -> String {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).expect("BIRD answers");
        text.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let said = String::from_utf8_lossy(&text).into_owned();
        let last = said.lines().last().unwrap_or_default();
        let code = last
            .get(..4)
            .is_some_and(|code| code.bytes().all(|digit| digit.is_ascii_digit()));
        if count == 0 || said.ends_with('\n') && code && last.get(4..5) == Some(" ") {
            return said;
        }
    }
}

/// An edge that answers the check, or fails it and notes when.
struct Edge {
    failing: Arc<AtomicBool>,
    failures: Arc<Mutex<Vec<Instant>>>,
}

impl Edge {
    fn start(bed: &Bed) -> Self {
        let namespace =
            fs::File::open(format!("/var/run/netns/{}", bed.host())).expect("a namespace");
        let failing = Arc::new(AtomicBool::new(false));
        let failures: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let edge = Self {
            failing: Arc::clone(&failing),
            failures: Arc::clone(&failures),
        };
        let (ready, waits) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter");
            let listener = TcpListener::bind((HOST_V4, EDGE_PORT)).expect("a port");
            ready.send(()).expect("somebody waits");
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut buffer = [0; 2048];
                let _ = stream.read(&mut buffer);
                let status = if failing.load(Ordering::Relaxed) {
                    failures.lock().expect("no panic").push(Instant::now());
                    "503 Service Unavailable"
                } else {
                    "200 OK"
                };
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
        });
        waits.recv().expect("an edge");
        edge
    }

    fn fail(&self, failing: bool) -> Instant {
        self.failures.lock().expect("no panic").clear();
        self.failing.store(failing, Ordering::Relaxed);
        Instant::now()
    }

    fn second_failure(&self) -> Option<Instant> {
        self.failures.lock().expect("no panic").get(1).copied()
    }
}
