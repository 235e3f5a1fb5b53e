//! What a running server has learned lasts: over a restart, an upgrade, other geo data under load, and a
//! disk that is full.

mod held;

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use held::HeldPage;
use meridian_tests::{
    PATIENCE, Server, ServerOptions, dns, eventually,
    http::{self, sample},
    peer,
    two_pops::{self, CLIENTS, lines},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const NEAR: &str = "192.0.2.1";
const FAR: &str = "192.0.2.2";
const PUSH: &str = "capacity = 100\nload = { push = true, interval = \"60s\" }";

fn start(of_pops: &str, of_pool: &str, more: &str, through: &[&str]) -> Server {
    let config = two_pops::config(of_pops, of_pool, more);
    let options = ServerOptions {
        through: through.iter().map(ToString::to_string).collect(),
        ..ServerOptions::new(config)
    };
    Server::start(options.file("example.com.zone", two_pops::ZONE))
}

/// What the clients that are told of get.
fn answer(dns: SocketAddr) -> Option<String> {
    let asked = dns::question("www.example.com", "A").ecs(CLIENTS);
    let reply = asked.patiently().udp(dns).ok()?;
    dns::addresses(&reply).first().map(ToString::to_string)
}

fn tell(admin: SocketAddr, lines: &str) {
    let reply = http::request(admin, "POST", "/api/v1/latency", lines);
    let reply = reply.expect("a reply");
    assert_eq!(reply.status, 200, "{}", reply.body);
}

fn push(admin: SocketAddr, pop: &str, value: u32) {
    let path = format!("/api/v1/pops/{pop}/load");
    let body = format!("{{\"value\": {value}}}");
    let reply = http::request(admin, "PUT", &path, &body).expect("a reply");
    assert_eq!(reply.status, 200, "{}", reply.body);
}

fn load(admin: SocketAddr, pop: &str) -> Value {
    let reply = http::get(admin, &format!("/api/v1/pops/{pop}"));
    reply.expect("a reply").json()["load"].clone()
}

/// The way to the near one is broken; the far one is as far as it is. Waits until that moved the answer.
fn move_away(server: &Server) {
    assert_eq!(answer(server.dns).as_deref(), Some(NEAR));
    let told = format!("{}{}", lines("fra", 400.0, 60), lines("iad", 95.0, 60));
    tell(server.admin, &told);
    // One publication and one tick. Asked of the API: queries from one client alone would be all the
    // demand that there is, of which a tick moves 5 %.
    let path = format!("/api/v1/explain?name=www.example.com&client={CLIENTS}");
    eventually("the answer has moved", PATIENCE, || {
        let explained = http::get(server.admin, &path).ok()?.json();
        (explained["chosen"] == "iad").then_some(())
    });
    assert_eq!(answer(server.dns).as_deref(), Some(FAR));
}

#[test]
fn the_first_answer_after_a_restart_is_that_of_before() {
    let mut server = start(PUSH, "", "", &[]);
    push(server.admin, "fra", 50);
    move_away(&server);
    server.process.terminate();
    server.start_again();
    assert_eq!(answer(server.dns).as_deref(), Some(FAR));
    let known = load(server.admin, "fra");
    assert_eq!(
        (&known["state"], &known["ratio"]),
        (&"fresh".into(), &0.5.into())
    );
    assert!(
        known["source"]
            .as_str()
            .is_some_and(|s| s.starts_with("push by"))
    );
    assert_eq!(load(server.admin, "iad")["state"], "unknown");
    // Ticks have run by then.
    eventually("a tick", PATIENCE, || {
        let took = sample(&server.metrics(), "meridian_standing_build_seconds");
        took.filter(|took| *took > 0.0)
    });
    assert_eq!(answer(server.dns).as_deref(), Some(FAR));

    // Killed, it has what was written at the last end; from damaged files it begins anew.
    server.process.kill();
    server.start_again();
    assert_eq!(answer(server.dns).as_deref(), Some(FAR));
    server.process.terminate();
    let state = server.folder().join("state");
    for file in ["steering.json", "latency.bin"] {
        std::fs::write(state.join(file), "meridian steering 2 x\n{").expect("a file");
    }
    server.start_again();
    assert_eq!(answer(server.dns).as_deref(), Some(NEAR));
    assert!(state.join("steering.json.damaged").exists());
    server.process.wait_for_log("the memory of steering in");
}

/// Never ended in order: what is written once a minute is found again.
#[test]
fn a_process_that_is_killed_leaves_what_it_wrote_while_it_ran() {
    let mut server = start(PUSH, "", "", &[]);
    push(server.admin, "fra", 50);
    let state = server.folder().join("state");
    let modified = |name: &str| std::fs::metadata(state.join(name)).ok()?.modified().ok();
    std::fs::write(state.join("told"), "").expect("a file");
    let told = modified("told");
    eventually("a write of what ticks remember", PATIENCE * 2, || {
        (modified("steering.json")? > told?).then_some(())
    });
    server.process.kill();
    server.start_again();
    let known = load(server.admin, "fra");
    assert_eq!(
        (&known["state"], &known["ratio"]),
        (&"fresh".into(), &0.5.into())
    );
    assert_eq!(load(server.admin, "iad")["state"], "unknown");
    assert!(!state.join("steering.json.damaged").exists());
}

/// The process that has taken over, which is no child of ours: ended with the test.
struct Successor(Pid);

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGTERM);
        eventually("the successor ends", PATIENCE, || {
            kill(self.0, None).is_err().then_some(())
        });
    }
}

#[test]
fn an_upgrade_keeps_what_came_while_the_new_process_began() {
    let page = HeldPage::start();
    let check = format!(
        "[check.edge]\ntype = \"http\"\nport = {}\ninterval = \"20s\"\ntimeout = \"20s\"\n",
        page.port
    );
    // These are probed, so they stand on loopback.
    let config = two_pops::config(PUSH, "check = \"edge\"", &check)
        .replace("\"192.0.2.1\"", "\"127.0.0.1\"")
        .replace("\"192.0.2.2\"", "\"127.0.0.2\"");
    let options = ServerOptions::new(config).file("example.com.zone", two_pops::ZONE);
    let mut server = Server::start(options);
    push(server.admin, "fra", 50);
    tell(server.admin, &lines("fra", 31.0, 60));
    page.hold();
    server.process.signal(Signal::SIGUSR2);
    let state = server.folder().join("state");
    eventually("the first write", PATIENCE, || {
        state.join("steering.json").exists().then_some(())
    });
    tell(server.admin, &lines("iad", 95.0, 60));
    push(server.admin, "iad", 20);
    page.release();
    assert!(
        server.process.wait(PATIENCE).success(),
        "{}",
        server.process.log()
    );
    let log = server.process.log();
    let pid = log.split("process ").find_map(|rest| {
        let (pid, rest) = rest.split_once(' ')?;
        rest.starts_with("has taken over")
            .then(|| pid.parse().ok())?
    });
    let _successor = Successor(Pid::from_raw(pid.expect("its number in the log")));
    for (pop, ratio) in [("fra", 0.5), ("iad", 0.2)] {
        let known = load(server.admin, pop);
        assert_eq!(known["ratio"], ratio, "{pop}: {known}");
    }
    eventually("both are known", PATIENCE, || {
        let metrics = server.metrics();
        let of = |pop| {
            sample(
                &metrics,
                &format!("meridian_pop_latency_seconds{{pop=\"{pop}\"}}"),
            )
        };
        let near = |found: f64, ms: f64| (found * 1000.0 - ms).abs() < 0.1 * ms;
        (near(of("fra")?, 31.0) && near(of("iad")?, 95.0)).then_some(())
    });
}

#[test]
fn other_geo_data_under_load_lose_no_answer_and_move_nobody() {
    let server = start("", "", "", &[]);
    move_away(&server);
    let (over, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    assert_eq!(answer(server.dns).as_deref(), Some(FAR));
                    asked.fetch_add(1, Relaxed);
                }
            });
        }
        let stop = Stop(&over);
        for n in 1..=5 {
            // Cells before those of the clients: everything is numbered anew.
            let more: String = (0..n).map(network).collect();
            let text = server.config_with(&two_pops::config("", "", &more));
            std::fs::write(server.config_path(), text).expect("a file");
            let reply = http::request(server.admin, "POST", "/api/v1/reload", "");
            let reply = reply.expect("a reply");
            assert_eq!(reply.status, 200, "{}", reply.body);
            let before = asked.load(Relaxed);
            eventually("answers after it", PATIENCE, || {
                (asked.load(Relaxed) > before + 50).then_some(())
            });
        }
        drop(stop);
    });
    // Not only the rows: what they come from is laid out for the new cells.
    let path = format!("/api/v1/explain?name=www.example.com&client={CLIENTS}");
    let explained = http::get(server.admin, &path).expect("a reply").json();
    assert!(explained.to_string().contains("measured"), "{explained}");
}

/// Lets the others end, however this ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn network(n: usize) -> String {
    format!(
        "[[geo.network]]\nprefix = \"2.0.{n}.0/24\"\nlatitude = {}\nlongitude = 10\n\n",
        10 + n
    )
}

/// Standard error is a pipe that nobody reads: a pager that waits, a journal that is stuck.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let folder = meridian_tests::scratch();
    let pipe = folder.path().join("log");
    let pipe = pipe.to_str().expect("a path");
    let through = [
        "sh",
        "-c",
        "mkfifo \"$0\" && exec 2<>\"$0\" && exec \"$@\"",
        pipe,
    ];
    let mut server = start("", "", "", &through);
    // Each writes a line or more of over 80 octets; a pipe holds 64 KiB.
    for _ in 0..500 {
        for method in ["PUT", "DELETE"] {
            let reply = http::request(server.admin, method, "/api/v1/pops/fra/drain", "{}");
            let reply = reply.expect("a reply");
            assert_eq!(reply.status, 200, "{}", reply.body);
        }
    }
    let reply = http::request(server.admin, "PUT", "/api/v1/pops/fra/drain", "{}");
    assert_eq!(reply.expect("a reply").status, 200);
    eventually("clients leave the drained PoP", PATIENCE, || {
        (answer(server.dns)? == FAR).then_some(())
    });
    let lost = sample(&server.metrics(), "meridian_log_lines_lost_total");
    assert!(lost.is_some());
    assert!(server.process.terminate().success());
}

#[test]
fn a_full_disk_keeps_what_was_written_before() {
    let Some(prlimit) = peer("prlimit") else {
        return;
    };
    // As on a full disk, writes past a size fail; without the trap the signal would end the process.
    let through = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];
    let mut server = start(PUSH, "", "", &through);
    push(server.admin, "fra", 50);
    tell(server.admin, &lines("fra", 31.0, 60));
    server.process.terminate();
    let state = server.folder().join("state");
    let files = ["steering.json", "latency.bin"].map(|file| state.join(file));
    let read = |path: &Path| std::fs::read(path).expect("a file");
    let before = files.clone().map(|path| read(&path));

    server.start_again();
    push(server.admin, "iad", 90);
    let many: String = (0..2000)
        .map(|n| {
            let (high, low) = (n / 256, n % 256);
            format!("{{\"client\":\"8.{high}.{low}.1\",\"pop\":\"iad\",\"rtt_ms\":95}}\n")
        })
        .collect();
    tell(server.admin, &many);
    let pid = server.process.pid().to_string();
    let limited = Command::new(prlimit)
        .args(["--pid", &pid, "--fsize=8192"])
        .status();
    assert!(limited.expect("prlimit runs").success());
    assert!(server.process.terminate().success());
    let log = server.process.log();
    assert!(log.contains("cannot be kept"), "{log}");
    assert_eq!(files.clone().map(|path| read(&path)), before);
    let beside = std::fs::read_dir(&state).expect("a folder");
    let beside = beside.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let half: Vec<_> = beside.filter(|name| name.ends_with(".new")).collect();
    assert!(half.is_empty(), "{half:?}");

    server.start_again();
    assert_eq!(load(server.admin, "fra")["ratio"], 0.5);
    eventually("it is known again", PATIENCE, || {
        sample(
            &server.metrics(),
            "meridian_pop_latency_seconds{pop=\"fra\"}",
        )
    });
}
