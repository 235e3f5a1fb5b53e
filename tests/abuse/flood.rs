//! Row 23 of the failure classes, on real sockets: a flood from many prefixes is limited, and clients
//! elsewhere, or with a cookie, get every answer.

use std::net::Ipv4Addr;

use hickory_proto::op::Message;
use meridian_tests::{PATIENCE, Server, eventually, http::sample};

use crate::{
    client::{Client, cookie, question, with_cookie},
    serve,
};

/// Prefixes that flood, and queries of each.
const PREFIXES: u8 = 40;
const EACH: u32 = 50;

/// One answer a second: what a slow machine makes of the flood is over the rate all the same.
fn limits(mode: &str) -> String {
    format!("[rate_limit]\nmode = \"{mode}\"\nresponses_per_second = 1\n")
}

fn flooder(number: u8, server: &Server) -> Client {
    Client::at(Ipv4Addr::new(127, 77, number, 1), server.dns)
}

fn counted(server: &Server, name: &str) -> f64 {
    let metrics = server.metrics();
    sample(&metrics, name).unwrap_or_else(|| panic!("{name} in\n{metrics}"))
}

fn limited(server: &Server, action: &str) -> f64 {
    let name = format!("meridian_rate_limited_total{{action=\"{action}\",kind=\"answer\"}}");
    counted(server, &name)
}

/// Queries that the server has seen: answered, or dropped for their rate.
fn seen(server: &Server) -> f64 {
    let metrics = server.metrics();
    let answered: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("meridian_queries_total{"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum();
    answered + counted(server, "meridian_dropped_total{reason=\"rate_limit\"}")
}

/// Sends the flood, a prefix at a time, so that no buffer of the kernel overflows. A client that has
/// sent nothing before asks between the prefixes; how many answers it got.
fn flood(server: &Server) -> (Vec<Client>, u32) {
    let honest = Client::at(Ipv4Addr::new(127, 99, 0, 1), server.dns);
    let (mut sent, mut answered) = (seen(server), 0);
    let mut flooders = Vec::new();
    for number in 0..PREFIXES {
        let flooder = flooder(number, server);
        for _ in 0..EACH {
            flooder.send(&question("n0"));
        }
        // A name of its own each time: a rate of one a second is the flood's, not this client's.
        let reply = honest.ask(&question(&format!("n{}", number + 1)));
        answered += u32::from(reply.is_ok_and(|reply| reply.answers.len() == 1));
        flooders.push(flooder);
        sent += f64::from(EACH + 1);
        eventually("the server has seen all", PATIENCE, || {
            (seen(server) >= sent).then_some(())
        });
    }
    (flooders, answered)
}

#[test]
fn row_23_a_flood_is_limited_and_an_honest_client_is_not() {
    let server = serve(&limits("on"));
    let (flooders, answered) = flood(&server);
    assert_eq!(answered, u32::from(PREFIXES), "of a client elsewhere");
    let (mut whole, mut cut) = (0, 0);
    for flooder in &flooders {
        for reply in flooder.received() {
            if reply.metadata.truncation {
                assert!(reply.answers.is_empty() && reply.queries.len() == 1);
                cut += 1;
            } else {
                whole += 1;
            }
        }
    }
    let (slips, drops) = (limited(&server, "slip"), limited(&server, "drop"));
    let sent = f64::from(EACH) * f64::from(PREFIXES);
    assert!(
        whole < i32::from(PREFIXES) * 5,
        "{whole} whole answers of {sent}"
    );
    assert!(f64::from(cut) <= slips && slips > 0.0 && drops > 0.0);
    assert!(slips + drops >= 0.9 * sent, "{slips} + {drops} of {sent}");
    let dropped = counted(&server, "meridian_dropped_total{reason=\"rate_limit\"}");
    assert!((dropped - drops).abs() < f64::EPSILON);
    // Whoever is told TC comes by TCP, where the handshake shows that nobody is impersonated.
    let whole = question("n0").tcp(server.dns).expect("an answer over TCP");
    assert_eq!(whole.answers.len(), 1);
    let full = counted(&server, "meridian_rate_limit_table_full_ratio");
    assert!((0.0..0.01).contains(&full), "{full}");
}

#[test]
fn row_23_a_cookie_carries_a_client_through_a_flood_in_its_own_name() {
    let server = serve(&limits("on"));
    let source = Ipv4Addr::new(127, 88, 0, 1);
    let victim = Client::at(source, server.dns);
    let first = victim
        .ask(&with_cookie("n50", b"victim!!"))
        .expect("an answer");
    let known = cookie(&first).expect("a cookie");
    assert_eq!((known.len(), &known[..8]), (24, &b"victim!!"[..]));
    let spoofed = Client::at(Ipv4Addr::new(127, 88, 0, 200), server.dns);
    for _ in 0..20 {
        for _ in 0..EACH {
            spoofed.send(&question("n50"));
        }
        let reply = victim.ask(&with_cookie("n50", &known)).expect("an answer");
        assert!(!reply.metadata.truncation && reply.answers.len() == 1);
    }
    // A cookie made for one address is worth nothing at another.
    let thief = Client::at(Ipv4Addr::new(127, 88, 0, 2), server.dns);
    for _ in 0..10 {
        thief.send(&with_cookie("n50", &known));
    }
    let valid = "meridian_cookie_queries_total{state=\"valid\"}";
    eventually("the cookies are counted", PATIENCE, || {
        (counted(&server, valid) >= 20.0 && limited(&server, "drop") > 100.0).then_some(())
    });
    assert!((counted(&server, valid) - 20.0).abs() < f64::EPSILON);
}

#[test]
fn dry_run_counts_the_same_and_holds_nothing_back() {
    let server = serve(&limits("dry-run"));
    let (flooders, answered) = flood(&server);
    assert_eq!(answered, u32::from(PREFIXES));
    for flooder in &flooders {
        let whole = |reply: &Message| !reply.metadata.truncation;
        assert!(flooder.replies(EACH).iter().all(whole));
        assert!(flooder.received().is_empty());
    }
    let sent = f64::from(EACH) * f64::from(PREFIXES);
    let counted_limited = limited(&server, "slip") + limited(&server, "drop");
    assert!(counted_limited >= 0.9 * sent, "{counted_limited} of {sent}");
    let dropped = "meridian_dropped_total{reason=\"rate_limit\"}";
    assert!(counted(&server, dropped).abs() < f64::EPSILON);
}
