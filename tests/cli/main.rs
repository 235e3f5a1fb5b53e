//! The command line and the documentation against real files and a real server: exit codes, text and JSON, tokens, TLS,
//! signals, and what systemd is told.

mod plan;

use std::{
    os::unix::net::UnixDatagram,
    process::{Command, Output},
    time::Duration,
};

use meridian_tests::{
    PATIENCE, Running, Server, ServerOptions, dns, eventually, free_port, http, meridian, scratch,
    workspace,
};
use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;

/// Two PoPs that nothing tests, so that a test never waits for a verdict.
const CONFIG: &str = r#"
[[pop]]
name = "fra"
latitude = 50.03
longitude = 8.57
endpoints = ["192.0.2.10", "2001:db8::10"]

[[pop]]
name = "nrt"
latitude = 35.77
longitude = 140.39
endpoints = ["192.0.2.30"]

[[pool]]
name = "edge"
pops = ["fra", "nrt"]

[[zone]]
name = "example.com"
file = "example.com.zone"

[[zone.service]]
name = "www"
pool = "edge"
"#;

const ZONE: &str = "@ 3600 IN SOA ns1 hostmaster 1 2h 30m 2w 5m\n\
                    @ 3600 IN NS ns1\nns1 3600 IN A 192.0.2.53\n";

const TOKYO: &str = "133.11.0.0/24";

fn options(config: &str) -> ServerOptions {
    ServerOptions::new(config).file("example.com.zone", ZONE)
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(meridian());
    command.args(arguments);
    command.output().expect("meridian runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}{}", out(output), err(output)))
}

#[test]
fn exit_codes_of_help_and_wrong_usage() {
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["drain", "--help"], 0),
        (&[], 2),
        (&["plan", "--weight", "fra"], 2),
        (&["explain", "www.example.com"], 2),
        (&["explain", "a..b", "--client", "::1"], 2),
        (&["status", "--admin", "http://127.0.0.1:1"], 1),
        (&["status", "--admin", "nonsense"], 1),
        (&["check", "--config", "/nonexistent"], 1),
        (&["serve", "--config", "/nonexistent"], 1),
        (&["geo", "lookup", "192.0.2.1"], 0),
    ] {
        assert_eq!(run(arguments).status.code(), Some(code), "{arguments:?}");
    }
    // No colour codes in a pipe.
    assert!(!out(&run(&["--help"])).contains('\x1b'));
}

#[test]
fn check_says_all_mistakes_at_once_and_explain_and_geo_work_from_files() {
    let folder = scratch();
    let path = folder.path().join("meridian.toml");
    std::fs::write(folder.path().join("example.com.zone"), ZONE).expect("a file");
    std::fs::write(&path, CONFIG).expect("a file");
    let file = path.to_str().expect("text");
    let fine = run(&["check", "--config", file]);
    assert!(fine.status.success(), "{}", err(&fine));
    assert!(out(&fine).contains("2 PoPs"), "{}", out(&fine));
    let fine = json(&run(&["check", "--config", file, "--json"]));
    assert_eq!((&fine["ok"], &fine["endpoints"]), (&true.into(), &3.into()));

    let explain = [
        "explain",
        "www.example.com",
        "--config",
        file,
        "--client",
        TOKYO,
    ];
    let shown = out(&run(&explain));
    assert!(
        shown.starts_with("www.example.com. A for 133.11.0.0/24: nrt\n"),
        "{shown}"
    );
    let shown = json(&run(&[&explain[..], &["--json", "--type", "AAAA"]].concat()));
    assert_eq!(shown["addresses"], serde_json::json!(["2001:db8::10"]));
    let unknown = run(&[
        "explain",
        "ftp.example.com",
        "--config",
        file,
        "--client",
        TOKYO,
    ]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        err(&unknown).contains("www.example.com."),
        "{}",
        err(&unknown)
    );
    let near = json(&run(&[
        "geo",
        "lookup",
        "133.11.0.1",
        "--config",
        file,
        "--json",
    ]));
    assert_eq!(near["nearest"][0]["pop"], "nrt");

    let broken = CONFIG
        .replace("\"nrt\"]", "\"nrx\"]")
        .replace("50.03", "500.3");
    std::fs::write(&path, broken).expect("a file");
    let refused = run(&["check", "--config", file]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(out(&refused).is_empty());
    for part in ["nrx", "did you mean", "500.3", "-->"] {
        assert!(err(&refused).contains(part), "{}", err(&refused));
    }
    let refused = run(&["check", "--config", file, "--json"]);
    assert_eq!(refused.status.code(), Some(1));

    assert!(
        json(&refused)["mistakes"]
            .as_array()
            .is_some_and(|m| m.len() >= 2)
    );
}

#[test]
fn a_running_server_is_asked_and_steered() {
    let mut server = Server::start(options(CONFIG));
    let ask = || {
        let reply = dns::question("www.example.com.", "A")
            .ecs(TOKYO)
            .udp(server.dns);
        dns::addresses(&reply.expect("an answer"))[0].to_string()
    };
    assert_eq!(ask(), "192.0.2.30");
    let status = server.command(&["status"]);
    assert!(
        out(&status).contains("nrt"),
        "{}{}",
        out(&status),
        err(&status)
    );
    assert_eq!(
        json(&server.command(&["status", "--json"]))["pops"][1]["name"],
        "nrt"
    );

    let unknown = server.command(&["drain", "ntr"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        err(&unknown).contains("did you mean nrt?"),
        "{}",
        err(&unknown)
    );
    let drained = server.command(&["drain", "nrt", "--reason", "switch", "--for", "2h"]);
    assert!(drained.status.success(), "{}", err(&drained));
    eventually("Tokyo moves", PATIENCE, || {
        (ask() == "192.0.2.10").then_some(())
    });
    let explain = ["explain", "www.example.com", "--client", TOKYO];
    let shown = out(&server.command(&explain));
    assert!(shown.contains("drained by an operator: switch"), "{shown}");

    // A drain survives kill -9.
    server.process.kill();
    server.start_again();
    let ask = || {
        let reply = dns::question("www.example.com.", "A")
            .ecs(TOKYO)
            .udp(server.dns);
        dns::addresses(&reply.expect("an answer"))[0].to_string()
    };
    assert_eq!(ask(), "192.0.2.10");
    assert!(server.command(&["undrain", "nrt"]).status.success());
    assert_eq!(server.command(&["undrain", "nrt"]).status.code(), Some(1));
    eventually("Tokyo is back", PATIENCE, || {
        (ask() == "192.0.2.30").then_some(())
    });
    let events = json(&server.command(&["events", "--json"]));
    let kinds: Vec<_> = events
        .as_array()
        .expect("a list")
        .iter()
        .map(|e| &e["kind"])
        .collect();
    assert!(kinds.contains(&&"override".into()), "{events}");
    assert!(server.process.terminate().success());
}

#[test]
fn a_broken_token_keeps_people_out_but_never_answers_back() {
    const TOKEN: &str = "0123456789abcdef-right";
    let mut server = Server::start(options(CONFIG).file("token", TOKEN));
    let kept = server.folder().join("state/last-good/current");
    eventually("the last good state is kept", PATIENCE, || {
        kept.exists().then_some(())
    });
    server.process.kill();
    let text = std::fs::read_to_string(server.config_path()).expect("the configuration");
    let text = text.replace("[admin]\n", "[admin]\ntoken_file = \"token\"\n");
    std::fs::write(server.config_path(), text).expect("a file");
    let token = server.folder().join("token");
    std::fs::write(&token, "short").expect("a file");

    server.start_again();
    let question = dns::question("www.example.com.", "A").ecs(TOKYO);
    assert!(question.udp(server.dns).is_ok());
    assert!(server.process.log().contains("lets nobody in"));
    let metrics = http::get(server.admin, "/metrics").expect("a reply");
    assert_eq!(metrics.status, 401);

    std::fs::write(&token, TOKEN).expect("a file");
    server.process.signal(Signal::SIGHUP);
    let file = token.to_str().expect("text");
    eventually("the mended token lets in", PATIENCE, || {
        let status = server.command(&["status", "--json", "--token-file", file]);
        let is_well = |status: &Output| json(status)["alarms"] == serde_json::json!([]);
        (status.status.success() && is_well(&status)).then_some(())
    });
    assert!(server.process.terminate().success());
}

#[test]
fn class_15_hostile_text_stays_text_in_every_sink() {
    // A quote, a backslash, ESC, a line feed and markup in an owner name, and in a reason.
    let hostile = r#"name = 'w\"\\\027\010<b>'"#;
    let config = CONFIG.replace("name = \"www\"", hostile);
    let server = Server::start(options(&config));
    let question = r#"w\"\\\027\010<b>.example.com."#;
    let explain = ["explain", question, "--client", TOKYO];
    let shown = server.command(&explain);
    assert!(shown.status.success(), "{}", err(&shown));
    let reason = "x\nERROR forged\u{1b}[2J";
    let drained = server.command(&["drain", "fra", "--reason", reason]);
    assert!(drained.status.success(), "{}", err(&drained));
    let texts = [
        out(&shown),
        out(&server.command(&["status"])),
        out(&server.command(&["events"])),
        server.process.log(),
        server.metrics(),
    ];
    for text in texts {
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(
            !text.lines().any(|line| line.starts_with("ERROR forged")),
            "{text}"
        );
    }
    let status = json(&server.command(&["status", "--json"]));
    assert_eq!(status["pops"][0]["override"]["reason"], reason);
    // Each sample of the metrics is still one line that ends with a number.
    for line in server
        .metrics()
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let value = line.rsplit_once(' ').expect("a value").1;
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn events_follow_until_the_server_stops() {
    let mut server = Server::start(options(CONFIG));
    let mut command = Command::new(meridian());
    let url = format!("http://{}", server.admin);
    command.args(["events", "--follow", "--json", "--admin", &url]);
    let mut follower = Running::start("meridian events", &mut command);
    follower.wait_for_log("\"started\"");
    assert!(server.command(&["drain", "fra"]).status.success());
    follower.wait_for_log("\"override\"");
    assert!(server.process.terminate().success());
    assert_eq!(follower.wait(PATIENCE).code(), Some(1));
    assert!(follower.log().contains("the server ended the stream"));
}

#[test]
fn signals_reload_and_stop() {
    let mut server = Server::start(options(CONFIG));
    let body = CONFIG.replace("192.0.2.30", "192.0.2.31");
    // Written whole before the signal; the change of the file may be noticed first.
    std::fs::write(server.config_path(), server.config_with(&body)).expect("a file");
    server.process.signal(Signal::SIGHUP);
    eventually("the new address is answered", PATIENCE, || {
        let reply = dns::question("www.example.com.", "A")
            .ecs(TOKYO)
            .udp(server.dns);
        (dns::addresses(&reply.ok()?).first()?.to_string() == "192.0.2.31").then_some(())
    });
    server.process.signal(Signal::SIGINT);
    assert!(server.process.wait(PATIENCE).success());
}

#[test]
fn a_port_in_use_and_an_unreadable_token_are_one_clear_line() {
    let server = Server::start(options(CONFIG));
    let start = |listen: &str, admin: &str| {
        let folder = scratch();
        std::fs::write(folder.path().join("example.com.zone"), ZONE).expect("a file");
        let path = folder.path().join("meridian.toml");
        let head = format!(
            "[server]\nlisten = [\"{listen}\"]\nstate_directory = \"state\"\n[admin]\n{admin}\n"
        );
        std::fs::write(&path, head + CONFIG).expect("a file");
        let output = run(&["serve", "--config", path.to_str().expect("text")]);
        assert_eq!(output.status.code(), Some(1));
        let text = err(&output);
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        text
    };
    let free = format!("127.0.0.1:{}", free_port());
    let other = format!("listen = \"127.0.0.1:{}\"", free_port());
    let taken = server.dns.to_string();
    assert!(start(&taken, &other).contains(&taken));
    let taken = server.admin.to_string();
    assert!(start(&free, &format!("listen = \"{taken}\"")).contains(&taken));
    assert!(start(&free, &format!("{other}\ntoken_file = \"absent\"")).contains("absent"));
}

fn signed(ca: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, ca).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn a_token_over_tls() {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let ca = CertifiedIssuer::self_signed(params, key).expect("a CA");
    let (certificate, key) = signed(&ca, "127.0.0.1");
    let admin = "token_file = \"token\"\ntls = { certificate = \"cert.pem\", key = \"key.pem\" }\n";
    let options = options(&format!("{admin}{CONFIG}"))
        .file("token", "0123456789abcdef\n")
        .file("wrong", "0123456789abcdeF\n")
        .file("cert.pem", certificate)
        .file("key.pem", key)
        .file("ca.pem", ca.pem());
    let mut server = Server::spawn(options);
    server.process.wait_for_log("ready");
    let file = |name: &str| server.folder().join(name).display().to_string();
    let url = format!("https://{}", server.admin);
    let status = |more: &[&str]| run(&[&["status", "--admin", &url], more].concat());
    let (ca, token, wrong) = (file("ca.pem"), file("token"), file("wrong"));

    let fine = status(&["--ca-file", &ca, "--token-file", &token]);
    assert!(fine.status.success(), "{}", err(&fine));

    // A new token is in force after a reload, the old one no longer.
    std::fs::write(&token, "fedcba9876543210\n").expect("a file");
    server.process.signal(Signal::SIGHUP);
    let new = || status(&["--ca-file", &ca, "--token-file", &token]);
    eventually("the new token opens", PATIENCE, || {
        new().status.success().then_some(())
    });
    std::fs::write(&wrong, "0123456789abcdef\n").expect("a file");
    for (more, part) in [
        (&["--ca-file", &*ca][..], "a token is needed"),
        (
            &["--ca-file", &ca, "--token-file", &wrong],
            "not the right one",
        ),
        (&["--token-file", &token], "certificate"),
        (
            &["--ca-file", &token, "--token-file", &token],
            "no PEM certificate",
        ),
        (
            &["--ca-file", &ca, "--token-file", "/nonexistent"],
            "cannot read",
        ),
    ] {
        let refused = status(more);
        assert_eq!(refused.status.code(), Some(1), "{more:?}");
        let text = err(&refused);
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn systemd_is_told_what_happens() {
    let folder = scratch();
    let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a time limit");
    let path = folder.path().join("meridian.toml");
    std::fs::write(folder.path().join("example.com.zone"), ZONE).expect("a file");
    let head = format!(
        "[server]\nlisten = [\"127.0.0.1:{}\"]\nstate_directory = \"state\"\n\
         [admin]\nlisten = \"127.0.0.1:{}\"\n",
        free_port(),
        free_port()
    );
    std::fs::write(&path, head + CONFIG).expect("a file");
    let mut command = Command::new(meridian());
    command
        .args(["serve", "--config"])
        .arg(&path)
        .env("NOTIFY_SOCKET", folder.path().join("notify"));
    let mut process = Running::start("meridian", &mut command);
    let next = || {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(next().trim_end(), "READY=1");
    process.signal(Signal::SIGHUP);
    let reloading = next();
    assert!(reloading.contains("RELOADING=1"), "{reloading}");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert_eq!(next().trim_end(), "READY=1");
    process.signal(Signal::SIGTERM);
    assert_eq!(next().trim_end(), "STOPPING=1");
    assert!(process.wait(PATIENCE + Duration::from_secs(5)).success());
}

fn document(name: &str) -> String {
    std::fs::read_to_string(workspace().join(name)).expect("a document")
}

/// The text of the first fenced block in `language` after `mark`.
fn block<'a>(text: &'a str, mark: &str, language: &str) -> &'a str {
    let (_, after) = text
        .split_once(mark)
        .unwrap_or_else(|| panic!("no {mark:?}"));
    let (_, start) = after
        .split_once(&format!("```{language}\n"))
        .expect("a block");
    start.split_once("```").expect("an end").0
}

#[test]
fn the_first_zone_of_the_readme_is_fine_and_has_ten_lines() {
    let folder = scratch();
    let readme = document("README.md");
    let toml = block(&readme, "## Your first zone", "toml");
    assert!(toml.lines().count() <= 10);
    let path = folder.path().join("meridian.toml");
    std::fs::write(&path, toml).expect("a file");
    std::fs::write(folder.path().join("example.com.zone"), ZONE).expect("a file");
    let fine = run(&["check", "--config", path.to_str().expect("text")]);
    assert!(fine.status.success(), "{}", err(&fine));
}

#[test]
fn the_tutorial_shows_what_happens() {
    let folder = scratch();
    let tutorial = document("docs/tutorial.md");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("a file");
    };
    let meridian = |line: &str| {
        let arguments = line
            .strip_prefix("$ meridian ")
            .expect("a command")
            .split(' ');
        let mut command = Command::new(meridian());
        let output = command.args(arguments).current_dir(folder.path()).output();
        let output = output.expect("meridian runs");
        out(&output) + &err(&output)
    };
    let zone = block(&tutorial, "## 2.", "text");
    let toml = block(&tutorial, "There is no `www` in it", "toml");
    // With the comment that names the file, as a reader copies it.
    write("example.com.zone", zone);
    write("meridian.toml", toml);
    let shows = |mark: &str| {
        let shown = block(&tutorial, mark, "console");
        let (command, expected) = shown.split_once('\n').expect("output");
        assert_eq!(meridian(command).trim_end(), expected.trim_end(), "{mark}");
    };
    shows("There is a mistake in it");
    let toml = toml.replace("\"nrd\"", "\"nrt\"");
    write("meridian.toml", &toml);
    shows("Mend it, and ask again");
    shows("Where would a client in Tokyo go");
    let tests = block(&tutorial, "Suppose you believe", "toml");
    let with_tests = format!("{toml}\n{tests}");
    write("meridian.toml", &with_tests);
    shows("Suppose you believe");
    write(
        "meridian.toml",
        &with_tests.replace("expect = \"iad\"", "expect = \"fra\""),
    );
    shows("Across the pole");
    shows("## 7.");
}

/// Whether a reply is what its schema says: types, required keys, and no key that it does not name.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#');
        let target = document.pointer(pointer).expect("a schema");
        return fits(document, target, value, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    let fitting = |t: &Value| t == kind || (t == "number" && kind == "integer");
    assert!(types.iter().any(fitting), "{at}: {value} is not {types:?}");
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{at}: {value}");
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        let key = required.as_str().expect("a key");
        assert!(value.get(key).is_some(), "{at}: {key} is missing");
    }
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        fits(document, &schema["items"], item, &format!("{at}[{i}]"));
    }
    if schema["properties"].is_object() {
        for (key, item) in value.as_object().into_iter().flatten() {
            let known = &schema["properties"][key];
            assert!(known.is_object(), "{at}.{key} is not documented");
            fits(document, known, item, &format!("{at}.{key}"));
        }
    }
}

#[test]
fn replies_are_what_the_openapi_document_says() {
    let server = Server::start(options(CONFIG));
    let ask = |method: &str, path: &str, body: &str| {
        http::request(server.admin, method, path, body).expect("a reply")
    };
    let document = ask("GET", "/api/v1/openapi.json", "").json();
    for (method, path, query, body, status) in [
        (
            "PUT",
            "/api/v1/pops/{pop}/drain",
            "",
            r#"{"reason": "r", "for": "2h"}"#,
            "200",
        ),
        ("GET", "/api/v1/status", "", "", "200"),
        ("GET", "/api/v1/pops", "", "", "200"),
        ("GET", "/api/v1/pops/{pop}", "", "", "200"),
        ("DELETE", "/api/v1/pops/{pop}/drain", "", "", "200"),
        ("DELETE", "/api/v1/pops/{pop}/drain", "", "", "409"),
        (
            "GET",
            "/api/v1/explain",
            "?name=www.example.com&client=::1",
            "",
            "200",
        ),
        (
            "GET",
            "/api/v1/explain",
            "?name=x.example.com&client=::1",
            "",
            "404",
        ),
        ("POST", "/api/v1/reload", "", "", "200"),
        ("GET", "/api/v1/events", "?follow=false", "", "200"),
        ("GET", "/api/v1/events", "?follow=no", "", "400"),
        ("GET", "/api/v1/openapi.json", "", "", "200"),
    ] {
        let reply = ask(method, &(path.replace("{pop}", "fra") + query), body);
        assert_eq!(reply.status.to_string(), status, "{path}: {}", reply.body);
        let mut described = &document["paths"][path][method.to_lowercase()]["responses"][status];
        if let Some(reference) = described["$ref"].as_str() {
            let pointer = reference.trim_start_matches('#');
            described = document.pointer(pointer).expect("a response");
        }
        let schema = &described["content"]["application/json"]["schema"];
        assert!(
            schema.is_object(),
            "{method} {path} {status} is not documented"
        );
        fits(&document, schema, &reply.json(), path);
    }
}

#[test]
fn every_metric_is_documented() {
    let server = Server::start(options(CONFIG));
    let page = document("docs/metrics.md");
    for line in server.metrics().lines() {
        let Some(name) = line.strip_prefix("# TYPE meridian_") else {
            continue;
        };
        let name = name.split(' ').next().unwrap_or(name);
        assert!(
            page.contains(&format!("| `{name}` |")),
            "{name} is not documented"
        );
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let docs = workspace().join("docs");
    let pages = std::fs::read_dir(&docs).expect("a folder");
    let pages = pages.map(|page| page.expect("a page").path());
    let pages = pages.chain([
        workspace().join("README.md"),
        workspace().join("CONTRIBUTING.md"),
    ]);
    for page in pages.filter(|page| page.extension().is_some_and(|e| e == "md")) {
        let text = std::fs::read_to_string(&page).expect("text");
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let found = page.parent().expect("a folder").join(target);
            assert!(found.exists(), "{}: {target}", page.display());
        }
    }
    let summary = document("docs/SUMMARY.md");
    for page in std::fs::read_dir(&docs).expect("a folder") {
        let name = page
            .expect("a page")
            .file_name()
            .into_string()
            .expect("text");
        if name.ends_with(".md") && name != "SUMMARY.md" {
            assert!(
                summary.contains(&format!("({name})")),
                "{name} is not in SUMMARY.md"
            );
        }
    }
}
