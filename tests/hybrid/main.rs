//! Hybrid anycast with the whole server: what was proven before a restart decides who gets a single
//! PoP, and what is reported shows in explanations.

use std::{fs::File, io::BufWriter, net::IpAddr, path::Path, sync::Arc};

use meridian_config::{Coordinates, Geo, GeoNetwork};
use meridian_geo_data::{
    ClientMap,
    latency::{Matrix, Race, Reporter, Rules, Sample, Site, anycast_column},
};
use meridian_tests::{PATIENCE, Server, ServerOptions, dns, eventually, http};
use serde_json::Value;

const ZONE: &str = "$TTL 60\n@ SOA ns.example.com. admin.example.com. 1 3600 600 86400 60\n\
    @ NS ns\nns A 127.0.0.1\n";
const CONFIG: &str = r#"
[[geo.network]]
prefix = "198.51.100.0/24"
latitude = 48.86
longitude = 2.35

[[geo.network]]
prefix = "203.0.113.0/24"
latitude = 40.71
longitude = -74.01

[[pop]]
name = "fra"
latitude = 50.03
longitude = 8.57
endpoints = ["192.0.2.10"]

[[pop]]
name = "iad"
latitude = 38.94
longitude = -77.46
endpoints = ["192.0.2.20"]

[[pool]]
name = "edge"
pops = ["fra", "iad"]
anycast = ["192.0.2.99", "2001:db8::99"]

[[zone]]
name = "example.com"
file = "example.com.zone"

[[zone.service]]
name = "www"
pool = "edge"
"#;

fn explained(server: &Server, client: &str) -> Value {
    let path = format!("/api/v1/explain?name=www.example.com&client={client}");
    http::get(server.admin, &path).expect("an answer").json()
}

/// What three hours of measurements of Paris have left: anycast takes 60 ms, fra 12 ms.
fn remember(folder: &Path) {
    let place = |latitude, longitude| Coordinates {
        latitude,
        longitude,
    };
    let geo = Geo {
        city: Vec::new(),
        asn: Vec::new(),
        networks: vec![GeoNetwork {
            prefix: "198.51.100.0/24".parse().expect("a prefix"),
            location: Some(place(48.86, 2.35)),
            pop: None,
        }],
    };
    let clients = Arc::new(ClientMap::open(&geo).expect("the bundled data"));
    let fra = Site {
        name: "fra".into(),
        at: Some(place(50.03, 8.57)),
    };
    let anycast = Site {
        name: anycast_column("edge"),
        at: None,
    };
    let mut matrix = Matrix::new(Rules::default(), clients, &[fra, anycast], 7);
    matrix.set_races(&[Race {
        anycast: anycast_column("edge"),
        pops: vec!["fra".into()],
        margin_ms: 10.0,
    }]);
    let now = jiff::Timestamp::now().as_second();
    let now = u64::try_from(now).expect("after 1970");
    for hours in (0..3).rev() {
        let then = now - hours * 3600;
        for (pop, rtt_ms) in [("anycast:edge", 60.0), ("fra", 12.0)] {
            let sample = Sample {
                prefix: "198.51.100.0/24".parse().expect("a prefix"),
                pop: pop.into(),
                rtt_ms,
                reporter: Reporter::Own,
            };
            (0..30).for_each(|_| matrix.record(then, &sample).expect("a sample"));
        }
        matrix.publish(then);
    }
    let state = folder.join("state");
    std::fs::create_dir_all(&state).expect("a folder");
    let file = File::create(state.join("latency.bin")).expect("a file");
    matrix
        .save(BufWriter::new(file), now)
        .expect("it is written");
}

#[test]
fn what_was_proven_outlives_a_restart() {
    let options = ServerOptions {
        arrange: Some(remember),
        ..ServerOptions::new(CONFIG).file("example.com.zone", ZONE)
    };
    let mut server = Server::start(options);
    // From the first answer on: nobody gets the anycast address until what was measured has been read.
    let first = |server: &Server| {
        let question = dns::question("www.example.com", "A").ecs("198.51.100.0/24");
        dns::addresses(&question.udp(server.dns).expect("a reply"))
    };
    let fra: IpAddr = [192, 0, 2, 10].into();
    assert_eq!(first(&server), [fra]);
    server.process.kill();
    server.start_again();
    assert_eq!(first(&server), [fra]);
    let paris = explained(&server, "198.51.100.0/24");
    assert_eq!(paris["reason"], "unicast");
    assert_eq!(paris["addresses"][0], "192.0.2.10");
    assert_eq!(paris["anycast"]["better"]["pop"], "fra");
    assert_eq!(paris["anycast"]["better"]["in_force"], true);
    let new_york = explained(&server, "203.0.113.0/24");
    assert_eq!(new_york["reason"], "anycast");
    assert_eq!(new_york["addresses"][0], "192.0.2.99");
    let output = server.command(&["explain", "www.example.com", "--client", "198.51.100.0/24"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("measured to be better"), "{text}");
    assert!(text.contains("192.0.2.99, 60.0 ms ("), "{text}");
}

#[test]
fn one_window_is_shown_and_not_enough() {
    let server = Server::start(ServerOptions::new(CONFIG).file("example.com.zone", ZONE));
    let line = |pop: &str, ms: f32| {
        format!("{{\"client\":\"198.51.100.0/24\",\"pop\":\"{pop}\",\"rtt_ms\":{ms}}}\n")
    };
    let body = line("anycast:edge", 60.0).repeat(30) + &line("fra", 12.0).repeat(30);
    let reply = http::request(server.admin, "POST", "/api/v1/latency", &body).expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.body);
    let told = eventually("the comparison shows", PATIENCE, || {
        let told = explained(&server, "198.51.100.0/24");
        (!told["anycast"]["better"].is_null()).then_some(told)
    });
    assert_eq!(told["reason"], "anycast", "{told}");
    assert_eq!(told["anycast"]["better"]["windows"], 1);
    assert_eq!(told["anycast"]["better"]["in_force"], false);
}
