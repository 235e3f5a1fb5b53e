//! The listener as a client meets it: routes, access, limits, events; over a fake server.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use ipnet::IpNet;
use jiff::Timestamp;
use meridian_config::{Admin, AdminTls, Diagnostic, Diagnostics, Family, Name};
use meridian_dns::answer::{End, NotSteered};
use meridian_geo_data::latency::{Refused, Reporter, Sample};
use meridian_health_prober::{Level, LoadState};
use prometheus::{IntCounterVec, Opts, Registry, proto::MetricFamily};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{AdminError, Boxed, Control, ControlError, Secrets, Server};
use crate::runtime::site::state::Announcements;
use crate::runtime::standing::DemandReport;
use crate::runtime::{
    events::{EventKind, EventLog, NewEvent},
    measure::{NotTaken, Outcomes},
    status::{LoadStatus, Status},
};

const HOSTILE: &str = "</script>\"\\\n\u{1b}[2J";

/// A server with two PoPs that remembers its drains.
struct Fake {
    events: EventLog,
    registry: Registry,
    drains: Mutex<Vec<String>>,
    reload_fails: bool,
}

impl Fake {
    fn new() -> Self {
        let registry = Registry::new();
        let counter = IntCounterVec::new(Opts::new("meridian_test_total", "help"), &["pop"]);
        let counter = counter.unwrap();
        counter.with_label_values(&[HOSTILE]).inc();
        registry.register(Box::new(counter)).unwrap();
        Self {
            events: EventLog::default(),
            registry,
            drains: Mutex::default(),
            reload_fails: false,
        }
    }

    fn event(&self, message: &str) {
        let new = NewEvent::new(EventKind::Pop, message).pop("fra");
        self.events.record(Timestamp::UNIX_EPOCH, new);
    }
}

impl Control for Fake {
    fn status(&self) -> Status {
        let pop = |name: &str| {
            json!({"name": name, "latitude": 0.0, "longitude": 0.0, "weight": 100,
                "state": "up", "verdict": "up", "reason": HOSTILE, "pools": ["edge"],
                "endpoints": []})
        };
        serde_json::from_value(json!({
            "version": "0.1.0", "started": "2026-01-01T00:00:00Z", "generation": 1,
            "config": {"file": "a.toml", "loaded": "2026-01-01T00:00:00Z",
                "last_reload_successful": true, "last_good": false},
            "pops": [pop("fra"), pop("iad")],
            "services": [{"name": "www.example.com.", "pool": "edge", "level": 1}],
            "geo": [], "alarms": []
        }))
        .unwrap()
    }

    fn events(&self) -> &EventLog {
        &self.events
    }

    fn is_ready(&self) -> bool {
        !self.reload_fails
    }

    fn metrics(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    fn explain(&self, name: &Name, family: Family, client: IpNet) -> Result<Value, NotSteered> {
        match name.to_string() == "www.example.com." {
            true => Ok(json!({"family": family, "client": client})),
            false => Err(NotSteered {
                aliases: Vec::new(),
                why: End::NoName,
            }),
        }
    }

    fn demand(&self) -> DemandReport {
        serde_json::from_value(json!({"per": "cell", "cells": [{"latitude": 35.5,
            "longitude": 139.5, "country": "JP", "client": "133.11.0.0", "queries": 2.5}]}))
        .unwrap()
    }

    fn drain(
        &self,
        pop: &str,
        reason: String,
        duration: Option<Duration>,
        who: &str,
    ) -> Boxed<'_, Result<Option<Timestamp>, ControlError>> {
        let pop = pop.to_owned();
        let line = format!("drain {pop} {reason:?} {duration:?} {who}");
        Box::pin(async move {
            match pop.as_str() {
                "zzz" => Err(ControlError::NotKept("disk full".into())),
                "fra" | "iad" => {
                    self.drains.lock().unwrap().push(line);
                    Ok(duration.map(|d| Timestamp::UNIX_EPOCH + d))
                }
                _ => Err(ControlError::UnknownPop(pop)),
            }
        })
    }

    fn push_load(&self, pop: &str, level: Level, who: &str) -> Result<LoadStatus, ControlError> {
        if pop == "iad" {
            return Err(ControlError::NotTaken("iad takes no pushed load".into()));
        }
        if pop != "fra" {
            return Err(ControlError::UnknownPop(pop.to_owned()));
        }
        let (value, ratio) = match level {
            Level::Value(value) => (Some(value), value / 100.0),
            Level::Ratio(ratio) => (None, ratio),
        };
        Ok(LoadStatus {
            state: LoadState::Fresh,
            ratio: Some(ratio),
            value,
            capacity: Some(100.0),
            what: "pushed".into(),
            source: format!("push by {who}"),
            at: Some(Timestamp::UNIX_EPOCH),
            problem: None,
        })
    }

    fn undrain(&self, pop: &str, who: &str) -> Boxed<'_, Result<(), ControlError>> {
        let (pop, line) = (pop.to_owned(), format!("undrain {pop} {who}"));
        Box::pin(async move {
            if pop == "iad" {
                return Err(ControlError::NotDrained(pop));
            }
            self.drains.lock().unwrap().push(line);
            Ok(())
        })
    }

    fn announcements(&self) -> Arc<Announcements> {
        Arc::default()
    }

    fn blackhole(
        &self,
        prefix: IpNet,
        wanted: Option<(Duration, String)>,
        _who: String,
    ) -> Boxed<'_, Result<(), String>> {
        Box::pin(async move {
            match wanted {
                Some((lasts, _)) if lasts > Duration::from_secs(3600) => Err("too long".into()),
                Some(_) => Ok(()),
                None => Err(format!("{prefix} is not blackholed")),
            }
        })
    }

    fn caller(&self, _party: &str) -> Reporter {
        Reporter::Caller(0)
    }

    fn take_round_trips<'a>(&'a self, who: &'a str, samples: Vec<Sample>) -> Boxed<'a, Outcomes> {
        let judge = move |sample: Sample| match &*sample.pop {
            "fra" => {
                let (prefix, ms) = (sample.prefix, sample.rtt_ms);
                let mut drains = self.drains.lock().unwrap();
                drains.push(format!("{prefix} {ms} {who}"));
                Ok(())
            }
            "busy" => Err(NotTaken::Rate),
            _ => Err(Refused::UnknownPop.into()),
        };
        Box::pin(async move { samples.into_iter().map(judge).collect() })
    }

    fn refuse_round_trip(&self, _why: &NotTaken) {}

    fn upgrade(&self, _who: String) -> Boxed<'_, Result<Value, String>> {
        Box::pin(async { Err("the new server does not start".to_owned()) })
    }

    fn reload(&self, who: String) -> Boxed<'_, Result<Value, Diagnostics>> {
        Box::pin(async move {
            if self.reload_fails {
                return Err(Diagnostic::of_file("a.toml", "it is broken", "mend it").into());
            }
            Ok(json!({"generation": 7, "who": who}))
        })
    }
}

fn plain() -> Admin {
    Admin {
        listen: "127.0.0.1:0".parse().unwrap(),
        token_file: None,
        tls: None,
    }
}

fn bind(admin: &Admin) -> Result<Server, AdminError> {
    let listener = std::net::TcpListener::bind(admin.listen).unwrap();
    listener.set_nonblocking(true).unwrap();
    Server::new(listener, Secrets::read(admin)?)
}

/// A running listener; stopped when dropped.
struct Running {
    address: SocketAddr,
    fake: Arc<Fake>,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn start(admin: &Admin, fake: Fake) -> Running {
    let server = bind(admin).unwrap();
    let address = server.address();
    let stop = CancellationToken::new();
    let fake = Arc::new(fake);
    tokio::spawn(server.run(Arc::clone(&fake) as Arc<dyn Control>, stop.clone()));
    Running {
        address,
        fake,
        stop,
    }
}

impl Running {
    /// Sends text as it is, reads until the server closes; status code and everything received.
    async fn raw(&self, text: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let _ = stream.write_all(text.as_bytes()).await;
        let mut got = Vec::new();
        let _ = timeout(Duration::from_secs(180), stream.read_to_end(&mut got)).await;
        let got = String::from_utf8_lossy(&got).into_owned();
        let status = got.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.unwrap_or(0), got)
    }

    async fn ask(&self, method: &str, path: &str, more: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Length: {length}\r\n{more}\r\n{body}",
            self.address
        );
        let (status, got) = self.raw(&text).await;
        let body = got.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let value = serde_json::from_str(body).unwrap_or_else(|_| Value::from(body));
        (status, value)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, "", "").await
    }
}

#[tokio::test]
async fn every_reading_route_answers() {
    let server = start(&plain(), Fake::new()).await;
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/status",
        "/api/v1/pops",
        "/api/v1/pops/fra",
        "/api/v1/events?follow=false",
        "/api/v1/openapi.json",
        "/api/v1/explain?name=www.example.com&client=192.0.2.1",
        "/api/v1/explain?name=www.example.com.&type=AAAA&client=2001:db8::/32",
    ] {
        assert_eq!(server.get(path).await.0, 200, "{path}");
    }
    let (_, explained) = server
        .get("/api/v1/explain?name=www.example.com&client=192.0.2.77/24&type=a")
        .await;
    assert_eq!(explained, json!({"family": "A", "client": "192.0.2.0/24"}));
}

#[tokio::test]
async fn the_page_for_browsers_may_run_nothing_but_its_own() {
    let server = start(&plain(), Fake::new()).await;
    for (path, kind) in [
        ("/", "text/html"),
        ("/dashboard.css", "text/css"),
        ("/dashboard.js", "text/javascript"),
        ("/dashboard.svg", "image/svg+xml"),
    ] {
        let host = server.address;
        let text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let (status, got) = server.raw(&text).await;
        let (head, body) = got.split_once("\r\n\r\n").unwrap();
        assert_eq!(status, 200, "{path}");
        assert!(
            head.contains(&format!("content-type: {kind}")),
            "{path}: {head}"
        );
        assert!(
            head.contains("content-security-policy: default-src 'none'"),
            "{head}"
        );
        assert!(head.contains("frame-ancestors 'none'"), "{head}");
        assert!(body.len() > 1000, "{path}");
    }
}

#[tokio::test]
async fn refusals_are_json_with_a_remedy() {
    let server = start(&plain(), Fake::new()).await;
    for (method, path, status, part) in [
        ("GET", "/index.html", 404, "openapi.json"),
        ("GET", "/?x=1", 400, "takes no parameters"),
        ("GET", "/api/v1/nothing", 404, "openapi.json"),
        ("POST", "/api/v1/pops", 405, "openapi.json"),
        ("GET", "/api/v1/pops/frq", 404, "did you mean fra?"),
        ("PUT", "/api/v1/pops/ida/drain", 404, "did you mean iad?"),
        ("PUT", "/api/v1/pops/zzz/drain", 500, "state_directory"),
        ("DELETE", "/api/v1/pops/iad/drain", 409, "status"),
        ("PUT", "/api/v1/pops/fra/load", 400, "value"),
        (
            "GET",
            "/api/v1/explain?name=w.example.com&client=::1",
            404,
            "did you mean www",
        ),
    ] {
        let (got, body) = server.ask(method, path, "", "").await;
        assert_eq!(got, status, "{method} {path}");
        assert!(body["error"].is_string(), "{path}: {body}");
        let help = body["help"].as_str().unwrap_or("");
        assert!(help.contains(part), "{path}: {help}");
    }
}

#[tokio::test]
async fn class_4_a_wrong_parameter_never_means_all() {
    let server = start(&plain(), Fake::new()).await;
    for (method, path) in [
        ("GET", "/healthz?x=1"),
        ("GET", "/readyz?x=1"),
        ("GET", "/metrics?name="),
        ("GET", "/api/v1/status?pop=fra"),
        ("GET", "/api/v1/pops?pop=fra"),
        ("GET", "/api/v1/pops/fra?x"),
        ("GET", "/api/v1/openapi.json?a=b"),
        ("GET", "/api/v1/events?follow="),
        ("GET", "/api/v1/events?follow=maybe"),
        ("GET", "/api/v1/events?since=1"),
        ("GET", "/api/v1/explain"),
        ("GET", "/api/v1/explain?name=www.example.com"),
        ("GET", "/api/v1/explain?client=::1"),
        ("GET", "/api/v1/explain?name=&client=::1"),
        ("GET", "/api/v1/explain?name=www.example.com&client="),
        ("GET", "/api/v1/explain?name=www.example.com&client=x"),
        ("GET", "/api/v1/explain?name=a..b&client=::1"),
        (
            "GET",
            "/api/v1/explain?name=www.example.com&client=::1&type=MX",
        ),
        (
            "GET",
            "/api/v1/explain?name=www.example.com&client=::1&type=",
        ),
        ("GET", "/api/v1/explain?name=a&name=b&client=::1"),
        ("PUT", "/api/v1/pops/fra/drain?for=2h"),
        ("PUT", "/api/v1/pops/fra/load?value=5"),
        ("DELETE", "/api/v1/pops/fra/drain?reason="),
        ("POST", "/api/v1/reload?force=1"),
    ] {
        let (status, body) = server.ask(method, path, "", "").await;
        assert_eq!(status, 400, "{method} {path}: {body}");
    }
    assert!(server.fake.drains.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_load_is_taken_or_refused_with_a_reason() {
    let server = start(&plain(), Fake::new()).await;
    let body = r#"{"value": 53}"#;
    let (status, load) = server.ask("PUT", "/api/v1/pops/fra/load", "", body).await;
    assert_eq!(status, 200);
    assert_eq!(load["load"]["ratio"], 0.53);
    assert_eq!(load["load"]["source"], "push by 127.0.0.1");
    for (pop, status, part) in [("iad", 409, "takes no pushed"), ("fre", 404, "fra?")] {
        let path = format!("/api/v1/pops/{pop}/load");
        let (got, body) = server.ask("PUT", &path, "", r#"{"ratio": 0.5}"#).await;
        assert_eq!(got, status, "{body}");
        assert!(body.to_string().contains(part), "{body}");
    }
}

#[tokio::test]
async fn a_drain_is_taken_only_when_all_of_it_is_understood() {
    let server = start(&plain(), Fake::new()).await;
    for body in [
        "{",
        "[]",
        "null",
        "\"x\"",
        r#"{"reason": ""}"#,
        r#"{"reason": " "}"#,
        r#"{"for": ""}"#,
        r#"{"for": "2"}"#,
        r#"{"for": "0s"}"#,
        r#"{"for": "9999 days"}"#,
        r#"{"for": 7}"#,
        r#"{"pop": "iad"}"#,
        r#"{"reason": "a", "reason": "b"}"#,
    ] {
        let answer = server.ask("PUT", "/api/v1/pops/fra/drain", "", body).await;
        assert_eq!(answer.0, 400, "{body}: {}", answer.1);
    }
    let long = format!(r#"{{"reason": "{}"}}"#, "x".repeat(513));
    let answer = server.ask("PUT", "/api/v1/pops/fra/drain", "", &long).await;
    assert_eq!(answer.0, 400);
    assert!(server.fake.drains.lock().unwrap().is_empty());

    let body = r#"{"reason": "switch", "for": "2h"}"#;
    let answer = server.ask("PUT", "/api/v1/pops/fra/drain", "", body).await;
    let expected = json!({"pop": "fra", "drained": true, "reason": "switch",
        "until": "1970-01-01T02:00:00Z"});
    assert_eq!(answer, (200, expected));
    assert_eq!(
        server.ask("PUT", "/api/v1/pops/iad/drain", "", "").await.0,
        200
    );
    assert_eq!(
        server
            .ask("DELETE", "/api/v1/pops/fra/drain", "", "")
            .await
            .0,
        200
    );
    assert_eq!(
        *server.fake.drains.lock().unwrap(),
        [
            "drain fra \"switch\" Some(7200s) 127.0.0.1",
            "drain iad \"\" None 127.0.0.1",
            "undrain fra 127.0.0.1",
        ]
    );
}

#[tokio::test]
async fn every_line_of_round_trips_is_taken_or_refused_with_its_number() {
    let server = start(&plain(), Fake::new()).await;
    let line =
        |pop: &str| format!("{{\"client\":\"203.0.113.0/24\",\"pop\":\"{pop}\",\"rtt_ms\":12.5}}");
    let body = [
        line("fra"),
        String::new(),
        line("far"),
        "x".to_owned(),
        line("fra"),
    ]
    .join("\n");
    let (status, told) = server.ask("POST", "/api/v1/latency", "", &body).await;
    assert_eq!(status, 200);
    assert_eq!((&told["taken"], &told["refused"]), (&json!(2), &json!(2)));
    assert_eq!(told["reasons"], json!({"json": 1, "unknown_pop": 1}));
    let numbers: Vec<&Value> = told["first"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["line"])
        .collect();
    assert_eq!(numbers, [3, 4]);
    let error = told["first"][0]["error"].as_str().unwrap();
    assert_eq!(error, "no PoP is called \"far\": did you mean fra?");
    let heard = server.fake.drains.lock().unwrap().clone();
    assert_eq!(heard, ["203.0.113.0/24 12.5 127.0.0.1"; 2]);
    for (body, status, part) in [
        (String::new(), 400, "empty"),
        ("\n\n".to_owned(), 400, "empty"),
        (line("far"), 400, "none of 1 lines"),
        (line("busy"), 429, "latency.rate"),
        ("x".repeat(5000), 400, "none of 1 lines"),
    ] {
        let (got, answer) = server.ask("POST", "/api/v1/latency", "", &body).await;
        assert_eq!(got, status, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(part), "{answer}");
        assert!(answer["help"].as_str().unwrap().contains("rtt_ms"));
    }
    assert_eq!(
        server
            .ask("POST", "/api/v1/latency?x=1", "", &line("fra"))
            .await
            .0,
        400
    );
    assert_eq!(server.get("/api/v1/latency").await.0, 405);
}

#[tokio::test]
async fn round_trips_are_bounded_in_lines_and_octets() {
    let server = start(&plain(), Fake::new()).await;
    let line = "{\"client\":\"203.0.113.0/24\",\"pop\":\"fra\",\"rtt_ms\":1}\n";
    let (status, told) = server
        .ask("POST", "/api/v1/latency", "", &line.repeat(2500))
        .await;
    assert_eq!((status, &told["taken"]), (200, &json!(2500)));
    let many = format!("{line}{}", "\n".repeat(100_000));
    let (status, answer) = server.ask("POST", "/api/v1/latency", "", &many).await;
    assert_eq!((status, &answer["taken"]), (413, &json!(1)));
    // Beyond the bound of the other routes, up to its own, and no farther.
    let wide = format!("{line}{}", " ".repeat(9 << 20));
    let (status, answer) = server.ask("POST", "/api/v1/latency", "", &wide).await;
    if status != 0 {
        // The server closes while we still send: the answer may be lost.
        assert_eq!((status, &answer["taken"]), (413, &json!(1)));
    }
    assert_eq!(server.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn a_refused_reload_says_why() {
    let fine = start(&plain(), Fake::new()).await;
    let answer = fine.ask("POST", "/api/v1/reload", "", "").await;
    assert_eq!(answer, (200, json!({"generation": 7, "who": "127.0.0.1"})));

    let mut fake = Fake::new();
    fake.reload_fails = true;
    let broken = start(&plain(), fake).await;
    let (status, body) = broken.ask("POST", "/api/v1/reload", "", "").await;
    assert_eq!(status, 422);
    assert!(body["help"].as_str().unwrap().contains("it is broken"));
    assert_eq!(broken.get("/readyz").await.0, 503);
}

#[tokio::test]
async fn class_15_hostile_text_is_escaped_in_json_and_metrics() {
    let server = start(&plain(), Fake::new()).await;
    let (_, pop) = server.get("/api/v1/pops/fra").await;
    assert_eq!(pop["reason"], HOSTILE);
    let (_, metrics) = server.get("/metrics").await;
    let line = r#"meridian_test_total{pop="</script>\"\\\n"#;
    assert!(metrics.as_str().unwrap().contains(line), "{metrics}");
    let (status, body) = server.get("/api/v1/pops/%1b%5b2J%22%3c").await;
    assert_eq!(status, 404);
    assert!(!body["error"].as_str().unwrap().contains('\u{1b}'));
}

#[tokio::test]
async fn heads_bodies_and_hosts_are_bounded() {
    let server = start(&plain(), Fake::new()).await;
    let big = "x".repeat((64 << 10) + 1);
    let answer = server.ask("PUT", "/api/v1/pops/fra/drain", "", &big).await;
    assert_eq!(answer.0, 413);
    let many: String = (0..65).map(|i| format!("x-{i}: y\r\n")).collect();
    assert_eq!(server.ask("GET", "/healthz", &many, "").await.0, 431);
    let long = format!("x: {}\r\n", "y".repeat(64 << 10));
    assert_eq!(server.ask("GET", "/healthz", &long, "").await.0, 431);
    let (status, _) = server
        .raw("GET /api/v1/pops HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(status, 403);
    let origin = "Origin: http://evil.example\r\n";
    assert_eq!(
        server.ask("POST", "/api/v1/reload", origin, "").await.0,
        403
    );
}

#[tokio::test]
async fn events_follow_without_a_gap_and_end_with_the_server() {
    let server = start(&plain(), Fake::new()).await;
    server.fake.event("one");
    server.fake.event("two\ndata: forged");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: {}\r\nLast-Event-ID: 1\r\nConnection: close\r\n\r\n",
        server.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut data = Vec::new();
    while let Ok(Ok(Some(line))) = timeout(Duration::from_secs(180), lines.next_line()).await {
        let Some(json) = line.strip_prefix("data: ") else {
            continue;
        };
        let event: Value = serde_json::from_str(json).unwrap();
        data.push(event["message"].as_str().unwrap().to_owned());
        match data.len() {
            1 => server.fake.event("three"),
            _ => server.stop.cancel(),
        }
    }
    assert_eq!(data, ["two\ndata: forged", "three"]);
}

#[tokio::test]
async fn followers_are_bounded() {
    let server = start(&plain(), Fake::new()).await;
    let mut open = Vec::new();
    for _ in 0..super::events::FOLLOWERS {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!(
            "GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n",
            server.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        open.push(stream);
    }
    let (status, body) = server.get("/api/v1/events").await;
    assert_eq!(status, 503, "{body}");
}

fn token_file(folder: &Path, token: &str) -> PathBuf {
    let file = folder.join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    file
}

#[tokio::test]
async fn a_configured_token_is_asked_for_and_can_be_changed() {
    let folder = TempDir::new().unwrap();
    let (server, refresh, admin) = with_token(folder.path(), "0123456789abcdef").await;
    let old = "Authorization: Bearer 0123456789abcdef\r\n";
    let new = "Authorization: Bearer fedcba9876543210\r\n";
    assert_eq!(server.get("/api/v1/pops").await.0, 401);
    assert_eq!(server.get("/healthz").await.0, 200);
    assert_eq!(server.ask("GET", "/api/v1/pops", old, "").await.0, 200);
    assert_eq!(server.ask("GET", "/api/v1/pops", new, "").await.0, 401);
    token_file(folder.path(), "short");
    assert!(refresh.refresh(&admin).is_err());
    assert_eq!(server.ask("GET", "/api/v1/pops", old, "").await.0, 200);
    token_file(folder.path(), "fedcba9876543210");
    refresh.refresh(&admin).unwrap();
    assert_eq!(server.ask("GET", "/api/v1/pops", old, "").await.0, 401);
    assert_eq!(server.ask("GET", "/api/v1/pops", new, "").await.0, 200);
    let put = server.ask("PUT", "/api/v1/pops/fra/drain", new, "").await;
    assert_eq!(put.0, 200);
    assert_eq!(
        *server.fake.drains.lock().unwrap(),
        ["drain fra \"\" None token from 127.0.0.1"]
    );
}

/// One request on a connection that stays open; the status, 0 when the server has closed it.
async fn on(stream: &mut TcpStream, path: &str, more: &str) -> u16 {
    let host = stream.peer_addr().unwrap();
    let text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n");
    let _ = stream.write_all(text.as_bytes()).await;
    let mut got = Vec::new();
    let mut octet = [0];
    while !got.ends_with(b"\r\n\r\n") {
        match stream.read(&mut octet).await {
            Ok(1) => got.push(octet[0]),
            _ => return 0,
        }
    }
    let head = String::from_utf8(got).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.unwrap();
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A listener with a token, and what reads the token again.
async fn with_token(folder: &Path, token: &str) -> (Running, super::Refresh, Admin) {
    let mut admin = plain();
    admin.token_file = Some(token_file(folder, token));
    let server = bind(&admin).unwrap();
    let refresh = server.refresher();
    let (address, stop) = (server.address(), CancellationToken::new());
    let fake = Arc::new(Fake::new());
    tokio::spawn(server.run(Arc::clone(&fake) as Arc<dyn Control>, stop.clone()));
    let running = Running {
        address,
        fake,
        stop,
    };
    (running, refresh, admin)
}

#[tokio::test]
async fn a_changed_token_ends_what_is_open_under_the_old_one() {
    let folder = TempDir::new().unwrap();
    let (server, refresh, admin) = with_token(folder.path(), "0123456789abcdef").await;
    let old = "Authorization: Bearer 0123456789abcdef\r\n";
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(on(&mut idle, "/api/v1/pops", old).await, 200);
    let mut follower = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(on(&mut follower, "/api/v1/events", old).await, 200);
    // The same files once more change nothing for anybody.
    refresh.refresh(&admin).unwrap();
    server.fake.event("one");
    let mut octet = [0];
    assert_eq!(follower.read(&mut octet).await.unwrap(), 1);
    assert_eq!(on(&mut idle, "/api/v1/pops", old).await, 200);
    token_file(folder.path(), "fedcba9876543210");
    refresh.refresh(&admin).unwrap();
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(180), follower.read_to_end(&mut rest)).await;
    ended.expect("it no longer follows").unwrap();
    let status = on(&mut idle, "/api/v1/pops", old).await;
    assert!(matches!(status, 0 | 401), "{status}");
}

/// Whoever can connect, and no more, takes nobody's place who can do more.
#[tokio::test]
async fn strangers_do_not_keep_operators_out() {
    let folder = TempDir::new().unwrap();
    let (server, _, _) = with_token(folder.path(), "0123456789abcdef").await;
    let right = "Authorization: Bearer 0123456789abcdef\r\n";
    let mut operator = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(on(&mut operator, "/api/v1/pops", right).await, 200);
    let mut held = Vec::new();
    for _ in 0..super::STRANGERS {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        assert_eq!(on(&mut stream, "/healthz", "").await, 200);
        held.push(stream);
    }
    let mut another = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(on(&mut another, "/api/v1/pops", right).await, 200);
    assert_eq!(on(&mut operator, "/api/v1/pops", right).await, 200);
    // In the place of the stranger who came first.
    assert_eq!(on(&mut held[0], "/healthz", "").await, 0);
    assert_eq!(on(&mut held[1], "/healthz", "").await, 200);
}

#[test]
fn files_are_bounded_and_nothing_but_files() {
    let folder = TempDir::new().unwrap();
    let refused = |admin: &Admin| Secrets::read(admin).err().unwrap();
    let mut admin = plain();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Nobody writes to it: who waits for that waits for ever.
    admin.token_file = Some(pipe.clone());
    let text = refused(&admin).to_string();
    assert!(text.ends_with("it is no regular file"), "{text}");
    admin.token_file = Some(token_file(folder.path(), &"x".repeat(4096)));
    let text = refused(&admin).to_string();
    assert!(text.ends_with("it is larger than 4 KiB"), "{text}");
    admin = plain();
    admin.tls = Some(AdminTls {
        certificate: pipe,
        key: folder.path().join("key.pem"),
        client_ca: None,
    });
    let text = refused(&admin).to_string();
    assert!(text.ends_with("it is no regular file"), "{text}");
}

#[test]
fn what_cannot_be_used_is_one_clear_line() {
    let folder = TempDir::new().unwrap();
    let refused = |admin: &Admin| Secrets::read(admin).err().unwrap();
    let mut admin = plain();
    admin.token_file = Some(folder.path().join("absent"));
    assert!(matches!(refused(&admin), AdminError::Token { .. }));
    admin.token_file = Some(token_file(folder.path(), ""));
    assert!(matches!(refused(&admin), AdminError::ShortToken(_)));
    admin = plain();
    admin.listen = "192.0.2.1:9153".parse().unwrap();
    let text = refused(&admin).to_string();
    assert!(text.contains("192.0.2.1:9153 is not loopback"), "{text}");
    let file = |name: &str| folder.path().join(name);
    admin.tls = Some(AdminTls {
        certificate: file("absent.pem"),
        key: file("absent.key"),
        client_ca: None,
    });
    let text = refused(&admin).to_string();
    assert!(
        text.starts_with("admin.tls.certificate: cannot read"),
        "{text}"
    );
}

/// Certificates of one test: a CA, a server for 127.0.0.1, a client, and a stranger's client.
struct Certificates {
    folder: TempDir,
    client: (String, String),
    stranger: (String, String),
}

impl Certificates {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let (ca, other) = (authority(), authority());
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write("ca.pem", &ca.pem()).unwrap();
        let (certificate, key) = signed(&ca, "127.0.0.1");
        write("cert.pem", &certificate).unwrap();
        write("key.pem", &key).unwrap();
        let client = signed(&ca, "ops.example");
        let stranger = signed(&other, "ops.example");
        Self {
            folder,
            client,
            stranger,
        }
    }

    fn admin(&self) -> Admin {
        let file = |name: &str| self.folder.path().join(name);
        Admin {
            tls: Some(AdminTls {
                certificate: file("cert.pem"),
                key: file("key.pem"),
                client_ca: Some(file("ca.pem")),
            }),
            ..plain()
        }
    }

    /// Status code of `GET /api/v1/pops` and of `/healthz`, with this client certificate.
    async fn ask(&self, address: SocketAddr, client: Option<&(String, String)>) -> Option<u16> {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
        let mut roots = rustls::RootCertStore::empty();
        let ca = std::fs::read(self.folder.path().join("ca.pem")).unwrap();
        roots
            .add(CertificateDer::from_pem_slice(&ca).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = connector.connect(name, stream).await.ok()?;
        let text = format!(
            "PUT /api/v1/pops/fra/drain HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Length: 0\r\n\r\n"
        );
        stream.write_all(text.as_bytes()).await.ok()?;
        let mut got = Vec::new();
        let _ = stream.read_to_end(&mut got).await;
        let got = String::from_utf8_lossy(&got).into_owned();
        got.split(' ').nth(1)?.parse().ok()
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn signed(ca: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_client_certificate_of_the_right_ca_opens_and_no_other() {
    let certificates = Certificates::new();
    let server = start(&certificates.admin(), Fake::new()).await;
    let ask = |client| certificates.ask(server.address, client);
    assert_eq!(ask(None).await, Some(401));
    assert_eq!(ask(Some(&certificates.client)).await, Some(200));
    assert_eq!(ask(Some(&certificates.stranger)).await, None);
    assert_eq!(
        *server.fake.drains.lock().unwrap(),
        ["drain fra \"\" None certificate ops.example from 127.0.0.1"]
    );
    // Plain HTTP gets nothing.
    assert_eq!(server.get("/healthz").await.0, 0);
}
