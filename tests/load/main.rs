//! Load end to end: pages of the test's own and of a real nginx, a source that dies, pushes, and
//! errors that take a PoP out of answers.

mod page;

use std::net::IpAddr;

use meridian_tests::{
    PATIENCE, Running, Server, ServerOptions, dns, eventually, free_port,
    http::{self, sample},
    peer, scratch,
};
use page::Page;
use serde_json::Value;

const ZONE: &str = "$TTL 60\n@ SOA ns.example.com. admin.example.com. 1 3600 600 86400 60\n\
    @ NS ns\nns A 127.0.0.1\n";

/// A server that prefers the PoPs in this order; `keys` are added to each.
fn start(check: &str, pops: &[(&str, String)]) -> Server {
    let rests_on = match check.is_empty() {
        true => "",
        false => "check = \"errors\"",
    };
    start_under(check, rests_on, pops)
}

fn start_under(check: &str, rests_on: &str, pops: &[(&str, String)]) -> Server {
    let mut config = format!("[steering]\npolicy = \"failover\"\nttl = \"1s\"\n\n{check}\n");
    for (at, (name, keys)) in pops.iter().enumerate() {
        config.push_str(&format!(
            "[[pop]]\nname = {name:?}\nlatitude = 50\nlongitude = 8\n\
             endpoints = [\"192.0.2.1{at}\"]\n{keys}\n\n"
        ));
    }
    let names: Vec<_> = pops.iter().map(|(name, _)| name).collect();
    config.push_str(&format!(
        "[[pool]]\nname = \"edge\"\n{rests_on}\npops = {names:?}\n\n\
         [[zone]]\nname = \"example.com\"\nfile = \"example.com.zone\"\n\n\
         [[zone.service]]\nname = \"www\"\npool = \"edge\"\n"
    ));
    Server::start(ServerOptions::new(config).file("example.com.zone", ZONE))
}

fn load(server: &Server, pop: &str) -> Value {
    let reply = http::get(server.admin, &format!("/api/v1/pops/{pop}")).expect("an answer");
    reply.json()["load"].clone()
}

/// Waits until the load of a PoP is so.
fn wait(server: &Server, pop: &str, state: &str, ratio: Option<f64>) -> Value {
    eventually(&format!("{pop} is {state} at {ratio:?}"), PATIENCE, || {
        let load = load(server, pop);
        let near = match (load["ratio"].as_f64(), ratio) {
            (Some(found), Some(ratio)) => (found - ratio).abs() < 1e-9,
            (found, ratio) => found.is_none() && ratio.is_none(),
        };
        (load["state"] == state && near).then_some(load)
    })
}

fn source(page: &Page) -> String {
    format!(
        "capacity = 100\nload = {{ prometheus = \"{}\", metric = \"active\", labels = {{ server = \"edge\" }}, \
         interval = \"200ms\" }}",
        page.url()
    )
}

#[test]
fn a_source_lives_dies_and_comes_back() {
    let page = Page::start();
    page.say("active{server=\"edge\"} 40\nactive{server=\"other\"} 9000\n");
    let server = start("", &[("fra", source(&page)), ("iad", String::new())]);
    let shown = wait(&server, "fra", "fresh", Some(0.4));
    assert_eq!(shown["source"], page.url());
    assert_eq!(shown["what"], "active{server=\"edge\"}");
    assert!(load(&server, "iad").is_null(), "it has no source");
    eventually("the metrics show it", PATIENCE, || {
        let metrics = server.metrics();
        let ratio = sample(&metrics, "meridian_pop_load_ratio{pop=\"fra\"}")?;
        ((ratio - 0.4).abs() < 1e-9).then_some(())
    });
    eventually("the page of the status shows it", PATIENCE, || {
        let page = server.command(&["status"]);
        let text = String::from_utf8_lossy(&page.stdout).into_owned();
        text.contains("40 of 100").then_some(())
    });

    // What makes no sense is no value: the last one stays.
    page.say("active{server=\"edge\"} NaN\n");
    eventually("stale with the last value", PATIENCE, || {
        let load = load(&server, "fra");
        assert!(load["ratio"].is_null() || load["ratio"] == 0.4, "{load}");
        // A reading may have come too late in between: that is the problem then.
        let problem = load["problem"].as_str().unwrap_or_default();
        (load["state"] != "fresh" && problem.contains("no number")).then_some(())
    });
    page.die();
    let unknown = wait(&server, "fra", "unknown", None);
    assert!(unknown["problem"].is_string(), "{unknown}");
    eventually("an unknown load is no zero", PATIENCE, || {
        let metrics = server.metrics();
        let gone = sample(&metrics, "meridian_pop_load_ratio{pop=\"fra\"}").is_none();
        let counted = "meridian_load_readings_total{pop=\"fra\",outcome=\"absurd\"}";
        (gone && sample(&metrics, counted)? > 0.0).then_some(())
    });
    page.say("active{server=\"edge\"} 250\n");
    wait(&server, "fra", "fresh", Some(2.5));
}

#[test]
fn a_load_is_pushed_and_grows_old() {
    let push = "capacity = 200\nload = { push = true, interval = \"300ms\" }".to_owned();
    let server = start("", &[("fra", push), ("iad", String::new())]);
    wait(&server, "fra", "unknown", None);
    let put = |pop: &str, body: &str| {
        let path = format!("/api/v1/pops/{pop}/load");
        http::request(server.admin, "PUT", &path, body).expect("an answer")
    };
    let reply = put("fra", "{\"value\": 50}");
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.json()["load"]["ratio"], 0.25);
    assert_eq!(put("iad", "{\"value\": 50}").status, 409);
    assert_eq!(put("frb", "{\"value\": 50}").status, 404);
    assert_eq!(put("fra", "{\"value\": -1}").status, 400);
    assert_eq!(put("fra", "").status, 400);
    wait(&server, "fra", "unknown", None);
    assert_eq!(put("fra", "{\"ratio\": 0.9}").json()["load"]["ratio"], 0.9);
    // By whatever name the admin API knows the one who pushes.
    let source = load(&server, "fra")["source"].clone();
    assert!(
        source
            .as_str()
            .is_some_and(|s| s.starts_with("push by 127.0.0.1")),
        "{source}"
    );
}

#[test]
fn an_explanation_shows_the_reading_and_its_source() {
    let page = Page::start();
    page.say("active{server=\"edge\"} 40\n");
    let server = start("", &[("fra", source(&page)), ("iad", String::new())]);
    let body = std::fs::read_to_string(server.config_path()).expect("a file");
    let by_score = body.replace("policy = \"failover\"", "policy = \"score\"");
    std::fs::write(server.config_path(), by_score).expect("a file");
    wait(&server, "fra", "fresh", Some(0.4));
    let path = "/api/v1/explain?name=www.example.com&client=203.0.113.0/24";
    let reading = eventually("the explanation shows it", PATIENCE, || {
        let told = http::get(server.admin, path).ok()?.json();
        let candidates = told["candidates"].as_array()?.clone();
        let fra = candidates.iter().find(|one| one["pop"] == "fra")?;
        // On a busy machine readings may be late for a while.
        let reading = fra["load"]["reading"].clone();
        (reading["state"] == "fresh").then_some(reading)
    });
    assert_eq!(reading["source"], page.url());
    assert_eq!(reading["ratio"], 0.4);
}

#[test]
fn nginx_tells_by_its_stub_status() {
    let Some(program) = peer("nginx") else {
        return;
    };
    let (folder, port) = (scratch(), free_port());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {};\nerror_log {};\nevents {{}}\nhttp {{\n\
         access_log off;\nclient_body_temp_path {};\nproxy_temp_path {};\n\
         fastcgi_temp_path {};\nuwsgi_temp_path {};\nscgi_temp_path {};\n\
         server {{ listen 127.0.0.1:{port}; location = /status {{ stub_status; }} }}\n}}\n",
        path("pid"),
        path("error.log"),
        path("t1"),
        path("t2"),
        path("t3"),
        path("t4"),
        path("t5"),
    );
    std::fs::write(folder.path().join("nginx.conf"), text).expect("a file");
    let mut command = std::process::Command::new(program);
    command.args([
        "-e",
        &path("error.log"),
        "-p",
        &path(""),
        "-c",
        &path("nginx.conf"),
    ]);
    let _nginx = Running::start("nginx", &mut command);
    let url = format!("http://127.0.0.1:{port}/status");
    let keys = |field: &str| {
        format!(
            "capacity = 4\nload = {{ stub_status = \"{url}\", field = \"{field}\", interval = \"200ms\" }}"
        )
    };
    let server = start("", &[("fra", keys("active")), ("iad", keys("requests"))]);
    // At least the connection of the one who asks.
    for (pop, what) in [("fra", "active"), ("iad", "rate(requests)")] {
        let shown = eventually("nginx has told", PATIENCE, || {
            let load = load(&server, pop);
            (load["state"] == "fresh").then_some(load)
        });
        assert_eq!(shown["what"], what);
        assert!(shown["ratio"].as_f64() > Some(0.0), "{shown}");
    }
}

const ERRORS: &str = "[check.errors]\ntype = \"passive\"\nmax_ratio = 0.1\nmin_requests = 10\n\
    hold_down = \"0s\"\nerrors = { metric = \"requests\", labels = { code = \"5*\" } }\n\
    requests = { metric = \"requests\" }\n";

fn wait_for_verdict(server: &Server, pop: &str, wanted: &str) -> Value {
    eventually(&format!("{pop} is {wanted}"), PATIENCE, || {
        let reply = http::get(server.admin, &format!("/api/v1/pops/{pop}")).ok()?;
        (reply.json()["verdict"] == wanted).then(|| reply.json())
    })
}

/// The same with another check beside it, and an exporter that dies while the PoP is out.
#[test]
fn a_dead_exporter_holds_no_pop_out() {
    let page = Page::start();
    page.serve(100, 0);
    let check = format!("{ERRORS}[check.runs]\ntype = \"exec\"\ncommand = [\"/bin/true\"]\n");
    let rests_on = "check = { all = [\"runs\", \"errors\"] }";
    let pops = [("fra", source(&page)), ("iad", source(&page))];
    let server = start_under(&check, rests_on, &pops);
    let verdict = |wanted: &str| wait_for_verdict(&server, "fra", wanted);
    verdict("up");
    page.serve(60, 40);
    verdict("down");
    page.die();
    let pop = verdict("up");
    let checks = &pop["endpoints"][0]["checks"];
    assert_eq!(checks[1]["verdict"], "up", "{pop}");
    assert_eq!(checks[0]["verdict"], "unknown", "{pop}");
    let reason = checks[0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("then silent for more than 2 s"), "{pop}");
    eventually("it is told", PATIENCE, || {
        let events = http::get(server.admin, "/api/v1/events?follow=false").ok()?;
        let told = "fra check errors is silent and does not count beside other checks";
        events.body.contains(told).then_some(())
    });
    page.serve(100, 0);
    eventually("it counts again", PATIENCE, || {
        let pop = http::get(server.admin, "/api/v1/pops/fra").ok()?.json();
        (pop["endpoints"][0]["checks"][0]["verdict"] == "up").then_some(())
    });
}

#[test]
fn errors_take_a_pop_out_of_answers_and_it_comes_back() {
    let page = Page::start();
    page.serve(100, 0);
    let well = Page::start();
    well.serve(100, 0);
    let server = start(ERRORS, &[("fra", source(&page)), ("iad", source(&well))]);
    let verdict = |pop: &str, wanted: &str| wait_for_verdict(&server, pop, wanted);
    let answer = |wanted: [u8; 4]| {
        eventually(&format!("the answer is {wanted:?}"), PATIENCE, || {
            let reply = dns::question("www.example.com.", "A")
                .udp(server.dns)
                .ok()?;
            (dns::addresses(&reply) == [IpAddr::from(wanted)]).then_some(())
        });
    };
    verdict("fra", "up");
    verdict("iad", "up");
    answer([192, 0, 2, 10]);
    page.serve(60, 40);
    verdict("fra", "down");
    let reason = eventually("fra is down for its errors", PATIENCE, || {
        let pop = http::get(server.admin, "/api/v1/pops/fra").ok()?.json();
        let reason = pop["endpoints"][0]["reason"].as_str()?.to_owned();
        reason.ends_with("requests failed").then_some(reason)
    });
    // Since the last reading; on a busy machine one may have come too late, and its requests count in the
    // next.
    let numbers: Vec<u64> = reason.split(' ').filter_map(|n| n.parse().ok()).collect();
    let [failed, all] = numbers[..] else {
        panic!("{reason}")
    };
    assert_eq!(reason, format!("{failed} of {all} requests failed"));
    assert!(failed > 0 && failed % 40 == 0 && all % 100 == 0, "{reason}");
    answer([192, 0, 2, 11]);
    // Out of answers it has hardly any traffic: that lets it come back.
    page.serve(1, 1);
    verdict("fra", "up");
    answer([192, 0, 2, 10]);
}
