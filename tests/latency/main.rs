//! Measured latency end to end: a real nginx, datagrams, the API, browsers as far as node plays one;
//! what is measured outlives a restart, and nothing that is sent hurts.

mod proxy;

use std::{
    net::{SocketAddr, UdpSocket},
    process::Command,
};

use meridian_tests::{
    PATIENCE, Server, ServerOptions, dns, eventually, free_port,
    http::{self, sample},
    peer, scratch,
    two_pops::{self, lines},
};
use proxy::Proxy;

fn start(latency: &str) -> Server {
    let config = two_pops::config("", "", latency);
    Server::start(ServerOptions::new(config).file("example.com.zone", two_pops::ZONE))
}

fn counted(server: &Server, source: &str, outcome: &str) -> f64 {
    let series =
        format!("meridian_latency_samples_total{{outcome=\"{outcome}\",source=\"{source}\"}}");
    sample(&server.metrics(), &series).unwrap_or(0.0)
}

/// Told at all, and not wrongly written. On loopback a round trip is often shorter than the 50 µs that
/// are believed, and one client counts once.
fn read(server: &Server, source: &str) -> f64 {
    ["taken", "out_of_range", "repeated"]
        .iter()
        .map(|outcome| counted(server, source, outcome))
        .sum()
}

fn wait_read(server: &Server, source: &str, count: f64) {
    eventually(&format!("{count} lines of {source}"), PATIENCE, || {
        (read(server, source) >= count).then_some(())
    });
    assert_eq!(read(server, source), count);
    for bad in ["rtt", "client", "empty", "too_long", "not_text"] {
        assert_eq!(counted(server, source, bad), 0.0, "{source} {bad}");
    }
}

#[test]
fn lines_of_a_real_nginx_are_read_over_a_rotation() {
    let folder = scratch();
    let log = folder.path().join("access.log");
    std::fs::write(&log, "").expect("a file");
    let syslog = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = start(&format!(
        "[[latency.log]]\nfile = \"{}\"\npop = \"fra\"\n\
         [latency.syslog]\nlisten = \"{syslog}\"\n\
         [[latency.syslog.sender]]\naddress = \"127.0.0.1\"\npop = \"fra\"\n",
        log.display()
    ));
    let series = format!("meridian_latency_log_up{{file=\"{}\"}}", log.display());
    eventually("the log is followed", PATIENCE, || {
        (sample(&server.metrics(), &series) == Some(1.0)).then_some(())
    });
    let Some(mut nginx) = Proxy::start(folder.path(), &log, syslog) else {
        return;
    };
    for n in 0..10 {
        // What a client asks for cannot pass for a measurement.
        nginx.ask(&format!("/{n}?rtt_us=1&client=203.0.113.9"));
    }
    wait_read(&server, "log", 10.0);
    wait_read(&server, "syslog", 10.0);
    nginx.rotate();
    for n in 0..10 {
        nginx.ask(&format!("/{n}"));
    }
    wait_read(&server, "log", 20.0);
    wait_read(&server, "syslog", 20.0);
}

#[test]
fn what_was_told_over_the_api_outlives_a_restart_and_a_damaged_file_does_not_stop_one() {
    let mut server = start("");
    let told = http::request(
        server.admin,
        "POST",
        "/api/v1/latency",
        &format!("{}{}x\n", lines("fra", 31.0, 60), lines("far", 1.0, 1)),
    );
    let told = told.expect("a reply");
    assert_eq!(told.status, 200, "{}", told.body);
    let told = told.json();
    assert_eq!((&told["taken"], &told["refused"]), (&60.into(), &2.into()));
    assert_eq!(told["reasons"]["unknown_pop"], 1);
    // In the order of lines: the one with a name that is unknown, then the one that is none.
    assert_eq!(told["first"][0]["line"], 61, "{told}");
    assert_eq!(told["first"][1]["line"], 62, "{told}");
    let series = "meridian_pop_latency_seconds{pop=\"fra\"}";
    let measured = |server: &Server| sample(&server.metrics(), series);
    let before = eventually("it is published", PATIENCE, || measured(&server));
    assert!((before - 0.031).abs() < 0.003, "{before}");
    let counter = "meridian_latency_rows{kind=\"prefix\"}";
    let rows = sample(&server.metrics(), counter);
    server.process.terminate();
    server.start_again();
    let after = eventually("it is known again", PATIENCE, || measured(&server));
    assert_eq!((after, sample(&server.metrics(), counter)), (before, rows));
    server.process.terminate();
    let file = server.folder().join("state/latency.bin");
    std::fs::write(&file, b"damaged").expect("a file");
    server.start_again();
    eventually("the alarm is shown", PATIENCE, || {
        let status = server.command(&["status"]).stdout;
        String::from_utf8_lossy(&status)
            .contains("it begins anew")
            .then_some(())
    });
    assert_eq!(measured(&server), None);
    let aside = file.with_extension("bin.damaged");
    assert_eq!(std::fs::read(aside).expect("put aside"), b"damaged");
}

#[test]
fn a_caller_that_is_not_trusted_has_one_voice() {
    let server = start("[latency]\ntrust_callers = false\n");
    let post = |ms: f64, count: usize| {
        let body = lines("fra", ms, count);
        let reply = http::request(server.admin, "POST", "/api/v1/latency", &body);
        reply.expect("a reply")
    };
    let first = post(31.0, 60);
    assert_eq!((first.status, &first.json()["taken"]), (200, &20.into()));
    // What one host may say of a cell is said; that is no mistake.
    let more = post(1.0, 50);
    let repeated = &more.json()["reasons"]["repeated"];
    assert_eq!((more.status, repeated), (200, &50.into()));
}

#[test]
fn round_trips_of_resolvers_over_tcp_are_measured() {
    let server = start("[latency.resolvers]\nenabled = true\npop = \"fra\"\n");
    for _ in 0..5 {
        let reply = dns::question("www.example.com", "A").tcp(server.dns);
        assert_eq!(dns::addresses(&reply.expect("a reply")).len(), 1);
    }
    wait_read(&server, "resolver", 5.0);
}

#[test]
fn floods_and_garbage_do_not_hurt() {
    let syslog = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let beacon = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = start(&format!(
        "[latency]\nrate = 10\nreporters = 16\n[latency.syslog]\nlisten = \"{syslog}\"\n\
         [[latency.syslog.sender]]\naddress = \"127.0.0.1\"\npop = \"fra\"\n\
         [latency.beacon]\nlisten = \"{beacon}\"\norigins = [\"*\"]\nproxies = [\"127.0.0.1\"]\n\
         urls = {{ fra = \"https://fra.example.com/tiny\" }}\n"
    ));
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let stranger = UdpSocket::bind("127.0.0.2:0").expect("a socket");
    let before = server.process.resident();
    for n in 0..20_000_u32 {
        // One address each: reporters without end.
        let line = format!(
            "<13>1 - - - - - - 198.{}.{}.{} 40000",
            51 + n % 2,
            n / 256,
            n % 256
        );
        let _ = sender.send_to(line.as_bytes(), syslog);
        let _ = sender.send_to(&n.to_be_bytes().repeat(300), syslog);
        let _ = stranger.send_to(line.as_bytes(), syslog);
    }
    let garbage =
        "{\"client\":\"198.51.100.1\",\"pop\":\"fra\",\"rtt_ms\":-1}\n\u{0}\n".repeat(20_000);
    let reply = http::request(server.admin, "POST", "/api/v1/latency", &garbage);
    assert_eq!(reply.expect("a reply").status, 400);
    // All lines of the second are over the rate of the first.
    let reply = http::request(
        server.admin,
        "POST",
        "/api/v1/latency",
        &lines("fra", 5.0, 1000),
    );
    // All, or nearly all where the machine took seconds from one to the other.
    let over = reply.expect("a reply").json()["reasons"]["rate"].as_u64();
    assert!(over.is_some_and(|over| over > 500), "{over:?}");
    for body in ["{\"fra\":1e39}", "[[[[", "{\"fra\":-5,\"x\":1}", ""] {
        let reply = http::request(beacon, "POST", "/beacon", body);
        let status = reply.expect("a reply").status;
        assert!([204, 400].contains(&status), "{body}: {status}");
    }
    eventually("strangers and floods are counted", PATIENCE, || {
        let counts = [("syslog", "sender"), ("syslog", "rate"), ("api", "rate")];
        let all = counts
            .iter()
            .all(|(source, why)| counted(&server, source, why) > 0.0);
        all.then_some(())
    });
    assert!(
        counted(&server, "syslog", "taken") + counted(&server, "syslog", "unroutable")
            <= 10.0 * 10.0 + 10.0 * 60.0
    );
    let reply = dns::question("www.example.com", "A").udp(server.dns);
    assert_eq!(dns::addresses(&reply.expect("a reply")).len(), 1);
    let grown = server.process.resident().saturating_sub(before);
    assert!(grown < 100 << 10, "grown by {grown} KiB");
}

#[test]
fn the_script_does_what_it_says_in_a_made_up_browser() {
    let beacon = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = start(&format!(
        "[latency.beacon]\nlisten = \"{beacon}\"\norigins = [\"https://www.example.com\"]\nshare = 0.5\n\
         urls = {{ fra = \"https://fra.example.com/tiny\", iad = \"https://iad.example.com/tiny\" }}\n"
    ));
    let script = http::get(beacon, "/beacon.js").expect("the script").body;
    let Some(node) = peer("node") else {
        return;
    };
    let file = server.folder().join("beacon.js");
    std::fs::write(&file, script).expect("a file");
    let browser = concat!(env!("CARGO_MANIFEST_DIR"), "/latency/browser.js");
    let output = Command::new(node).arg(browser).arg(file).output();
    let output = output.expect("node runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(printed.trim(), "ok", "{errors}");
}
