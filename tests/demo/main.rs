//! `meridian demo` as a newcomer sees it: three clients, three PoPs; a killed edge moves its
//! clients and gets them back.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    process::Command,
};

use meridian_tests::{PATIENCE, Running, dns, eventually, free_port, http, meridian, own_port};
use nix::sys::signal::Signal;

const NAME: &str = "www.demo.example.";
const TOKYO: (&str, &str) = ("133.11.0.0/24", "127.0.0.13");
const PARIS: (&str, &str) = ("134.157.0.0/24", "127.0.0.11");
const NEW_YORK: (&str, &str) = ("128.59.0.0/24", "127.0.0.12");

struct Demo {
    process: Running,
    dns: SocketAddr,
    admin: String,
    edge_port: u16,
}

fn start(more: &[&str]) -> Demo {
    let dns = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let edges: Vec<IpAddr> = (11..=16).map(|host| [127, 0, 0, host].into()).collect();
    let edge_port = own_port(&edges).to_string();
    let mut command = Command::new(meridian());
    command
        .args(["demo", "--edge-port", &edge_port, "--admin", "127.0.0.1:0"])
        .args(["--listen", &dns.to_string()])
        .args(more);
    let process = Running::start("meridian demo", &mut command);
    process.wait_for_log("What happens from here on");
    let log = process.log();
    let after = |mark: &str| {
        let rest = log.split_once(mark).expect("the demo says it").1;
        let end = rest.find(|c: char| c.is_whitespace() || c == '/');
        rest[..end.unwrap_or(rest.len())].to_owned()
    };
    Demo {
        dns,
        admin: after("admin  http://"),
        edge_port: after("http://127.0.0.11:").parse().expect("a port"),
        process,
    }
}

impl Demo {
    fn answer(&self, client: &str) -> Option<String> {
        let reply = dns::question(NAME, "A").ecs(client).udp(self.dns).ok()?;
        Some(dns::addresses(&reply).first()?.to_string())
    }

    fn wait_for(&self, client: &str, what: &str, fits: impl Fn(&str) -> bool) {
        eventually(&format!("{client} {what}"), PATIENCE, || {
            self.answer(client).filter(|got| fits(got))
        });
    }
}

fn post(edge: SocketAddr, path: &str) {
    let reply = http::request(edge, "POST", path, "").expect("the edge answers");
    assert_eq!(reply.status, 200, "{}", reply.body);
}

#[test]
fn three_clients_get_three_pops_and_a_broken_edge_moves_only_its_own() {
    let mut demo = start(&[]);
    for (client, address) in [TOKYO, PARIS, NEW_YORK] {
        demo.wait_for(client, "is at home", |got| got == address);
    }
    let tokyo = SocketAddr::from(([127, 0, 0, 13], demo.edge_port));
    post(tokyo, "/fail");
    demo.wait_for(TOKYO.0, "leaves nrt", |got| got != TOKYO.1);
    for (client, address) in [PARIS, NEW_YORK] {
        demo.wait_for(client, "stays at home", |got| got == address);
    }
    let admin: SocketAddr = demo.admin.parse().expect("an address");
    // Clients leave at once; why is told by another task, maybe a moment later.
    eventually("an event says why", PATIENCE, || {
        let events = http::get(admin, "/api/v1/events?follow=false").ok()?;
        events.body.contains("503").then_some(())
    });
    post(tokyo, "/heal");
    demo.wait_for(TOKYO.0, "comes back", |got| got == TOKYO.1);
    demo.process.signal(Signal::SIGINT);
    assert!(demo.process.wait(PATIENCE).success());
    assert!(demo.process.log().contains("The demo is over"));
}

#[test]
fn a_script_fails_and_heals_and_the_story_is_told() {
    let demo = start(&["--fail", "fra@2s", "--heal", "fra@14s"]);
    let mut rest = 0;
    for part in [
        "is answered by fra",
        "fra is killed",
        "fra -> ",
        "fra is mended",
        "-> fra, 127.0.0.11",
    ] {
        // In this order.
        rest += eventually(&format!("the story says {part:?}"), PATIENCE, || {
            demo.process.log()[rest..]
                .find(part)
                .map(|at| at + part.len())
        });
    }
}

#[test]
fn it_ends_by_itself() {
    let mut demo = start(&["--duration", "1s"]);
    assert!(demo.process.wait(PATIENCE).success());
}

#[test]
fn a_port_in_use_is_one_line_with_a_remedy() {
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = held.local_addr().expect("an address").to_string();
    for option in ["--listen", "--admin"] {
        let mut command = Command::new(meridian());
        command.args(["demo", "--edge-port", "0"]);
        for name in ["--listen", "--admin"] {
            let free = format!("127.0.0.1:{}", free_port());
            command.args([name, if name == option { &taken } else { &free }]);
        }
        let output = command.output().expect("the demo runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        assert!(text.contains(&taken) && text.contains(option), "{text}");
    }
}

#[test]
fn a_script_with_an_unknown_pop_is_wrong_usage() {
    let output = Command::new(meridian())
        .args(["demo", "--fail", "lhr@1s"])
        .output()
        .expect("the demo runs");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("lhr") && text.contains("fra"), "{text}");
}
