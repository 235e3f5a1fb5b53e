//! Row 20 of the failure classes: whatever is done to the admin listener, DNS is answered.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use meridian_tests::{PATIENCE, Server, eventually, http};

use crate::{
    client::{Client, question},
    serve,
};

/// Connections that begin a request and never end it: half of what the listener takes while others
/// ask, then more than it takes.
const HELD: [usize; 2] = [64, 200];
/// Threads that ask without a pause, and the most that each asks.
const ASKING: usize = 4;
const REQUESTS: u32 = 400;
/// Queries meanwhile.
const QUERIES: u32 = 2_000;
/// KiB that the server may grow by.
const GROWTH: u64 = 96 << 10;

/// Sends one request of a kind, or rubbish; whatever comes back is read up to a bound.
fn ask(admin: SocketAddr, number: u32) {
    let Ok(mut stream) = TcpStream::connect(admin) else {
        return;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let large = "x".repeat(60_000);
    let text = match number % 6 {
        0 => format!("GET /metrics HTTP/1.0\r\nHost: {admin}\r\n\r\n"),
        1 => format!("GET /api/v1/status HTTP/1.0\r\nHost: {admin}\r\n\r\n"),
        2 => format!("GET /{large} HTTP/1.1\r\nHost: {admin}\r\n\r\n"),
        3 => format!(
            "POST /api/v1/latency HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 8000000\r\n\r\n{large}"
        ),
        4 => format!(
            "PUT /api/v1/pops/x/drain HTTP/1.0\r\nHost: {admin}\r\nContent-Length: 60000\r\n\r\n{large}"
        ),
        _ => "\u{0}\u{1}rubbish\r\n\r\n".to_owned(),
    };
    let _ = stream.write_all(text.as_bytes());
    // What is never finished is not waited for.
    if number % 6 != 3 {
        let _ = stream.take(1 << 20).read_to_end(&mut Vec::new());
    }
}

fn hold(admin: SocketAddr, count: usize) -> Vec<TcpStream> {
    let one = |_| {
        let mut stream = TcpStream::connect(admin)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127")?;
        Ok(stream)
    };
    let held: std::io::Result<Vec<TcpStream>> = (0..count).map(one).collect();
    held.expect("the kernel takes connections")
}

/// Asks the DNS, all of whose answers have to come; the slowest.
#[allow(clippy::disallowed_methods)] // real time is measured
fn ask_dns(server: &Server) -> Duration {
    let client = Client::at(Ipv4Addr::new(127, 66, 0, 1), server.dns);
    let mut slowest = Duration::ZERO;
    for number in 0..QUERIES {
        let begun = Instant::now();
        let reply = client.ask(&question(&format!("n{}", number % 100)));
        slowest = slowest.max(begun.elapsed());
        assert_eq!(reply.expect("an answer").answers.len(), 1, "query {number}");
    }
    slowest
}

#[test]
fn row_20_an_admin_flood_leaves_the_dns_alone() {
    let server = serve("");
    let resident = server.process.resident();
    let held = hold(server.admin, HELD[0]);
    let asked = std::thread::scope(|scope| {
        let ask_all = |first: usize| {
            let mut asked = 0;
            for number in (0..REQUESTS).skip(first).step_by(ASKING) {
                ask(server.admin, number);
                asked += 1;
            }
            asked
        };
        let asking: Vec<_> = (0..ASKING)
            .map(|first| scope.spawn(move || ask_all(first)))
            .collect();
        let slowest = ask_dns(&server);
        // Told, not asserted: the machine may be busy.
        eprintln!("slowest of {QUERIES} queries beside requests: {slowest:?}");
        asking
            .into_iter()
            .map(|one| one.join().expect("no panic"))
            .sum::<u32>()
    });
    assert_eq!(asked, REQUESTS);
    let more = hold(server.admin, HELD[1]);
    let slowest = ask_dns(&server);
    eprintln!("slowest of {QUERIES} queries beside held connections: {slowest:?}");
    drop((held, more));
    eventually("the admin listener answers again", PATIENCE, || {
        let ready = http::get(server.admin, "/readyz").is_ok_and(|reply| reply.status == 200);
        ready.then_some(())
    });
    let grown = server.process.resident().saturating_sub(resident);
    assert!(grown < GROWTH, "{grown} KiB");
}
