//! Failover end to end: real nginx edges, the real server; every way to fail is seen in DNS
//! answers, in metrics and in events, and so is the way back.

mod edge;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use edge::{Edge, Identity, Manner};
use jiff::Timestamp;
use meridian_tests::{
    PATIENCE, Server, ServerOptions, dns, eventually,
    http::{self, sample},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::Value;

const POPS: [&str; 3] = ["fra", "iad", "nrt"];

/// Three edges and a server in front of them that prefers them in order.
struct World {
    server: Server,
    edges: Vec<Edge>,
    /// The configuration without `[server]` and `[admin]`.
    body: String,
    /// The last event of earlier failovers.
    last_event: u64,
}

impl World {
    /// `None` when nginx is not installed.
    fn start(check: &str, identity: Option<&Identity>, ca: Option<&str>) -> Option<Self> {
        let (addresses, port) = edge::addresses(3);
        let edges: Vec<Edge> = addresses
            .iter()
            .map(|&address| Edge::start(address, port, identity))
            .collect::<Option<_>>()?;
        let mut config = format!(
            "[explain]\nclients = [\"127.0.0.0/8\"]\n\n\
             [steering]\npolicy = \"failover\"\nttl = \"1s\"\n\n\
             [check.edge]\n{check}\nport = {port}\ninterval = \"1s\"\nhold_down = \"0s\"\npath = \"/healthz\"\n\n"
        );
        for (name, address) in POPS.iter().zip(&addresses) {
            config.push_str(&format!(
                "[[pop]]\nname = \"{name}\"\nlatitude = 50\nlongitude = 8\n\
                 endpoints = [\"{address}\"]\n\n"
            ));
        }
        config.push_str(&format!(
            "[[pool]]\nname = \"edge\"\ncheck = \"edge\"\npops = {POPS:?}\n\n\
             [[zone]]\nname = \"example.com\"\nfile = \"example.com.zone\"\n\n\
             [[zone.service]]\nname = \"www\"\npool = \"edge\"\n"
        ));
        let zone = "$TTL 60\n@ SOA ns.example.com. admin.example.com. 1 3600 600 86400 60\n\
                    @ NS ns\nns A 127.0.0.1\n";
        let body = config.clone();
        let mut options = ServerOptions::new(config).file("example.com.zone", zone);
        if let Some(ca) = ca {
            options = options.file("ca.pem", ca);
        }
        let mut world = Self {
            server: Server::start(options),
            edges,
            body,
            last_event: 0,
        };
        for name in POPS {
            world.wait_for_metric(&format!("meridian_pop_up{{pop=\"{name}\"}}"), 1.0);
        }
        assert_eq!(world.answer(), world.edges[0].address);
        Some(world)
    }

    fn answer(&self) -> IpAddr {
        let reply = dns::question("www.example.com.", "A")
            .udp(self.server.dns)
            .expect("a reply");
        dns::addresses(&reply)[0]
    }

    /// Waits until clients are sent to this edge; how long it took.
    #[allow(clippy::disallowed_methods)] // a real process is timed
    fn wait_for_answer(&self, edge: usize) -> Duration {
        let start = Instant::now();
        let wanted = self.edges[edge].address;
        let what = format!("the answer is {wanted}");
        eventually(&what, PATIENCE, || (self.answer() == wanted).then_some(()));
        start.elapsed()
    }

    fn wait_for_metric(&mut self, series: &str, value: f64) {
        eventually(&format!("{series} is {value}"), PATIENCE, || {
            (sample(&self.server.metrics(), series) == Some(value)).then_some(())
        });
    }

    fn events(&self) -> Vec<Value> {
        let reply = http::get(self.server.admin, "/api/v1/events?follow=false").expect("events");
        match reply.json() {
            Value::Array(events) => events,
            other => panic!("no list of events: {other}"),
        }
    }

    /// Waits for a verdict of the first PoP in the events, with this in its text; when it was.
    fn wait_for_event(&self, kind: &str, text: &str) -> Timestamp {
        eventually(
            &format!("an event {kind} of fra with {text:?}"),
            PATIENCE,
            || {
                let events = self.events();
                let found = events.iter().rfind(|event| {
                    event["kind"] == kind
                        && event["pop"] == "fra"
                        && event["id"].as_u64() > Some(self.last_event)
                        && event["message"].as_str().is_some_and(|m| m.contains(text))
                });
                found?["time"].as_str()?.parse().ok()
            },
        )
    }

    /// The time that the failover took, beside the worst case.
    fn the_shift_is_measured(&self) {
        let metrics = self.server.metrics();
        let of = |series: &str| sample(&metrics, series).unwrap_or_else(|| panic!("no {series}"));
        let bound = of("meridian_service_shift_bound_seconds{service=\"www.example.com.\"}");
        let whole = of("meridian_service_shift_seconds{service=\"www.example.com.\"}");
        let published = of("meridian_pop_shift_seconds{pop=\"fra\"}");
        // An interval of 1 s, and a TTL of 1 s.
        assert!((2.0..6.0).contains(&bound), "{bound}");
        assert!(published > 0.0 && (whole - published - 1.0).abs() < 0.001);
        eprintln!("shifted within {whole:.2} s, at worst {bound:.2} s");
    }

    /// Clients on loopback are listed for explanations.
    fn the_dns_says_why(&self) {
        let reply = dns::question("_explain.www.example.com", "TXT")
            .edns(1232)
            .udp(self.server.dns)
            .expect("a reply");
        let told = reply.answers[0].data.to_string();
        for part in ["A iad: failed_over", "fra", "ttl ", "scope /"] {
            assert!(told.contains(part), "{told}");
        }
    }

    /// After the first edge has fallen ill: everything that must be seen, until it is healed.
    fn fails_over_and_back(
        &mut self,
        what: &str,
        outcome: &str,
        reason: &str,
        heal: impl Fn(&mut Edge),
    ) {
        let took = self.wait_for_answer(1);
        let changed = Timestamp::now();
        eprintln!("{what}: out of answers after {took:.2?}");
        let endpoint = self.edges[0].address;
        self.wait_for_metric("meridian_pop_up{pop=\"fra\"}", 0.0);
        self.wait_for_metric("meridian_pop_health_ratio{pop=\"fra\"}", 0.0);
        let series = format!("meridian_endpoint_up{{pop=\"fra\",endpoint=\"{endpoint}\"}}");
        self.wait_for_metric(&series, 0.0);
        let series = format!(
            "meridian_probes_total{{pop=\"fra\",endpoint=\"{endpoint}\",outcome=\"{outcome}\"}}"
        );
        eventually(&series, PATIENCE, || {
            sample(&self.server.metrics(), &series).filter(|&count| count >= 3.0)
        });
        self.wait_for_event("endpoint", reason);
        let verdict = self.wait_for_event("pop", reason);
        self.wait_for_event(
            "failover",
            "after the first failed probe; caches hold on for up to 1 s",
        );
        self.the_shift_is_measured();
        self.the_dns_says_why();
        eprintln!(
            "{what}: first changed answer seen {} ms after the verdict",
            changed.duration_since(verdict).as_millis()
        );
        assert_eq!(
            sample(&self.server.metrics(), "meridian_pop_up{pop=\"iad\"}"),
            Some(1.0)
        );

        let newest = self.events().last().and_then(|event| event["id"].as_u64());
        self.last_event = newest.unwrap_or_default();
        heal(&mut self.edges[0]);
        let took = self.wait_for_answer(0);
        eprintln!("{what}: back after {took:.2?}");
        self.wait_for_metric("meridian_pop_up{pop=\"fra\"}", 1.0);
    }
}

#[test]
fn killed_503_slow_and_frozen_edges_leave_the_answers_and_come_back() {
    let Some(mut world) = World::start("type = \"http\"", None, None) else {
        return;
    };
    world.edges[0].kill();
    world.fails_over_and_back("killed", "refused", "refused", Edge::launch);

    world.edges[0].change(Manner::Failing, None);
    let heal = |edge: &mut Edge| edge.change(Manner::Well, None);
    world.fails_over_and_back("503", "status", "503", heal);

    world.edges[0].change(Manner::Slow, None);
    world.fails_over_and_back("slow", "timeout", "timeout (headers)", heal);

    world.edges[0].freeze(true);
    let thaw = |edge: &mut Edge| edge.freeze(false);
    world.fails_over_and_back("frozen", "timeout", "timeout (headers)", thaw);
}

#[test]
fn when_every_edge_is_dead_answers_go_on_and_the_first_to_return_is_used() {
    let Some(mut world) = World::start("type = \"http\"", None, None) else {
        return;
    };
    for edge in &mut world.edges {
        edge.kill();
    }
    for name in POPS {
        world.wait_for_metric(&format!("meridian_pop_up{{pop=\"{name}\"}}"), 0.0);
    }
    // The last resort: as if healthy, in the usual order.
    world.wait_for_answer(0);
    world.edges[2].launch();
    let took = world.wait_for_answer(2);
    eprintln!("all dead: the first to return is used after {took:.2?}");
}

#[test]
fn a_reload_sends_nobody_to_a_dead_edge() {
    let Some(mut world) = World::start("type = \"http\"", None, None) else {
        return;
    };
    world.edges[0].kill();
    world.wait_for_answer(1);
    let changed = world.body.replace("[check.edge]", "[check.edge]\nrise = 3");
    let renamed = changed
        .replace("[check.edge]", "[check.other]")
        .replace("check = \"edge\"", "check = \"other\"");
    for body in [&world.body, &changed, &renamed] {
        let text = world.server.config_with(body);
        std::fs::write(world.server.config_path(), text).expect("a file");
        let reply = http::request(world.server.admin, "POST", "/api/v1/reload", "");
        assert_eq!(reply.expect("a reply").status, 200);
        // Longer than it takes to probe everything anew.
        for _ in 0..150 {
            assert_ne!(world.answer(), world.edges[0].address, "{body}");
            std::thread::sleep(Duration::from_millis(10));
        }
        let series = "meridian_pop_up{pop=\"fra\"}";
        assert_eq!(sample(&world.server.metrics(), series), Some(0.0), "{body}");
    }
}

#[test]
fn an_expired_certificate_takes_an_https_edge_out_of_the_answers() {
    let authority = Authority::new();
    let good = authority.issue("www.example.com", false);
    let expired = authority.issue("www.example.com", true);
    let check = "type = \"https\"\nserver_name = \"www.example.com\"\nca_file = \"ca.pem\"";
    let Some(mut world) = World::start(check, Some(&good), Some(&authority.pem)) else {
        return;
    };
    world.edges[0].change(Manner::Well, Some(&expired));
    let heal = |edge: &mut Edge| edge.change(Manner::Well, Some(&good));
    world.fails_over_and_back("expired", "certificate", "certificate expired", heal);
}

/// A certificate authority of this test.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "failover test");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, name: &str, expired: bool) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("a certificate")
            .pem();
        Identity {
            certificate,
            key: key.serialize_pem(),
        }
    }
}
