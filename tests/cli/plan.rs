//! `meridian plan`, the whole command: what it prints, what it draws, how it ends.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use meridian_tests::{PATIENCE, Server, dns, eventually, http, meridian, scratch, workspace};
use serde_json::Value;
use tempfile::TempDir;

use super::{err, json, out};

const CONFIG: &str = r#"
[[pop]]
name = "fra"
latitude = 50.03
longitude = 8.57
capacity = 1000
endpoints = ["192.0.2.10", "2001:db8::10"]

[[pop]]
name = "iad"
latitude = 38.95
longitude = -77.45
capacity = 1000
endpoints = ["192.0.2.20"]

[[pop]]
name = "nrt"
latitude = 35.77
longitude = 140.39
endpoints = ["192.0.2.30"]

[[pool]]
name = "edge"
pops = ["fra", "iad", "nrt"]

[[zone]]
name = "example.com"
file = "example.com.zone"

[[zone.service]]
name = "www"
pool = "edge"
"#;

/// A folder with the configuration.
struct Bed(TempDir);

impl Bed {
    fn new() -> Self {
        let bed = Self(scratch());
        bed.file("m.toml", CONFIG);
        bed
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("meridian runs")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(meridian());
        command.current_dir(self.0.path());
        command.args(["plan", "--config", "m.toml"]).args(arguments);
        command
    }
}

#[track_caller]
fn ends(output: &Output, code: i32, said: &str) {
    let error = err(output);
    assert_eq!(output.status.code(), Some(code), "{error}{}", out(output));
    assert!(error.contains(said), "{error}");
    assert!(!error.contains("panicked"), "{error}");
}

fn share(plan: &Value, pop: &str, when: &str) -> f64 {
    let rows = plan["pops"].as_array().expect("PoPs");
    let row = rows.iter().find(|row| row["pop"] == pop).expect("the PoP");
    row[format!("share_{when}")].as_f64().expect("a share")
}

#[test]
fn a_plan_without_a_change_tells_how_things_stand() {
    let bed = Bed::new();
    let output = bed.run(&[]);
    ends(&output, 0, "");
    let text = out(&output);
    for part in [
        "services  www.example.com., A",
        "change    none",
        "each address alike",
        "two fifths of all capacity",
        "within 100 ms",
        "No client moves.",
        "If one PoP more fails:",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let plan = json(&bed.run(&["--json"]));
    let sum: f64 = ["fra", "iad", "nrt"]
        .map(|pop| share(&plan, pop, "after"))
        .iter()
        .sum();
    assert!((sum - 1.0).abs() < 1e-9);
    assert_eq!(plan["moved"], 0.0);
    assert_eq!(plan["failures"].as_array().map(Vec::len), Some(3));
    assert_eq!(plan["demand"]["unit"], "/24s");
    let six = json(&bed.run(&["--json", "--type", "aaaa"]));
    assert_eq!(six["demand"]["unit"], "/48s");
    assert_eq!(
        share(&six, "fra", "after"),
        1.0,
        "only one has an IPv6 address"
    );
}

#[test]
fn a_drain_moves_its_clients_and_a_limit_refuses_it() {
    let bed = Bed::new();
    let plan = json(&bed.run(&["--drain", "fra", "--json"]));
    let moved = plan["moved"].as_f64().expect("a share");
    assert!((moved - share(&plan, "fra", "before")).abs() < 1e-9 && moved > 0.1);
    assert_eq!(share(&plan, "fra", "after"), 0.0);
    assert_eq!(plan["changes"][0], "drain fra");
    ends(
        &bed.run(&["--drain", "fra", "--max-moved", "5%"]),
        1,
        "of clients move, more than 5 %",
    );
    ends(&bed.run(&["--drain", "fra", "--max-moved", "90%"]), 0, "");
}

#[test]
fn two_configurations_are_compared() {
    let bed = Bed::new();
    bed.file("same.toml", CONFIG);
    bed.file(
        "other.toml",
        &CONFIG.replace("\"fra\", \"iad\", \"nrt\"", "\"fra\", \"iad\""),
    );
    let same = bed.run(&["--compare", "same.toml", "--max-moved", "0%"]);
    ends(&same, 0, "");
    assert!(out(&same).contains("No client moves."));
    let other = bed.run(&["--compare", "other.toml", "--max-moved", "1%"]);
    ends(&other, 1, "of clients move, more than 1 %");
    assert!(out(&other).contains("gone"), "{}", out(&other));
    ends(&bed.run(&["--compare", "missing.toml"]), 1, "missing.toml");
    bed.file(
        "none.toml",
        &CONFIG.replace("name = \"www\"", "name = \"web\""),
    );
    ends(
        &bed.run(&["--compare", "none.toml"]),
        1,
        "none.toml has none of the services",
    );
}

/// A PoP is added to the pools that the services have in the other configuration, whatever these are called.
#[test]
fn a_pop_is_added_to_the_configuration_that_is_compared_with() {
    let bed = Bed::new();
    bed.file("other.toml", &CONFIG.replace("\"edge\"", "\"front\""));
    let ber = "name=ber,lat=52.5,lon=13.4,capacity=1";
    let output = bed.run(&["--compare", "other.toml", "--add", ber]);
    ends(&output, 0, "");
    let text = out(&output);
    let mut rows = text.lines().filter(|line| line.starts_with("ber "));
    let row = rows.next().expect("a row");
    assert!(row.ends_with("  new, over capacity"), "{text}");
}

/// What was worked out is not lost with the picture of it.
#[test]
fn a_plan_is_shown_though_it_cannot_be_drawn() {
    let bed = Bed::new();
    for more in [&[][..], &["--max-moved", "0%", "--drain", "fra"]] {
        let output = bed.run(&[&["--svg", "missing/out.svg"], more].concat());
        ends(&output, 1, "cannot write missing/out.svg");
        assert!(out(&output).contains("ESTIMATED RTT"), "{}", out(&output));
    }
}

#[test]
fn traffic_comes_from_a_file() {
    let bed = Bed::new();
    let tokyo_and_paris = "# who\n133.11.0.0/24 300\n134.157.0.0/16 0.1k\n";
    bed.file("t", tokyo_and_paris);
    let plan = json(&bed.run(&["--traffic", "t", "--json"]));
    assert!((share(&plan, "nrt", "after") - 0.75).abs() < 1e-9);
    assert!((share(&plan, "fra", "after") - 0.25).abs() < 1e-9);
    assert_eq!(plan["demand"]["total"], 400.0);
    for (text, said) in [
        ("", "it holds no line with a client prefix"),
        ("# nothing\n", "it holds no line with a client prefix"),
        (
            "133.11.0.0/24 300\n133.11.0.0/44 3\n",
            "line 2: \"133.11.0.0/44\" is neither",
        ),
        ("133.11.0.0/24 x\n", "line 1: \"x\" is no amount"),
        (
            "10.0.0.0/8 5\n",
            "none of the clients is known to the geo data",
        ),
    ] {
        bed.file("t", text);
        ends(&bed.run(&["--traffic", "t"]), 1, said);
    }
    ends(
        &bed.run(&["--traffic", "gone"]),
        1,
        "cannot read the traffic file gone",
    );
}

#[test]
fn what_cannot_be_planned_for_is_told_in_a_line() {
    let bed = Bed::new();
    for (arguments, code, said) in [
        (
            &["--drain", "fro"][..],
            2,
            "there is no PoP named `fro`; did you mean `fra`?",
        ),
        (&["--fail", "IAD"], 2, "did you mean `iad`?"),
        (&["--weight", "nrd=5"], 2, "did you mean `nrt`?"),
        (
            &["--add", "name=fra,lat=1,lon=1"],
            2,
            "there is a PoP named `fra` already",
        ),
        (
            &["--service", "web.example.com"],
            2,
            "services are: www.example.com.",
        ),
        (&["--service", "a..b"], 2, "is no domain name"),
        (
            &["--svg", "missing/out.svg"],
            1,
            "cannot write missing/out.svg",
        ),
        (&["--max-moved", "x"], 2, "expected a share"),
        (
            &["--from-server", "here"],
            2,
            "--from-server here is not a URL such as http://",
        ),
    ] {
        let output = bed.run(arguments);
        ends(&output, code, said);
    }
    bed.file("m.toml", &CONFIG.replace("\"nrt\"]", "\"nrd\"]"));
    ends(&bed.run(&[]), 1, "did you mean `nrt`?");
    fs::remove_file(bed.0.path().join("m.toml")).expect("removed");
    ends(&bed.run(&[]), 1, "m.toml");
}

#[test]
fn loads_rest_on_the_pops_that_are_planned_for() {
    let bed = Bed::new();
    let load = |arguments: &[&str]| {
        let plan = json(&bed.run(&[arguments, &["--json"]].concat()));
        plan["demand"]["load"].as_f64().expect("a load")
    };
    assert_eq!(load(&[]), 800.0);
    // What is added carries more, and nobody asks for more because of it.
    assert_eq!(
        load(&["--add", "name=ber,lat=52.5,lon=13.4,capacity=8000"]),
        800.0
    );
    let more = "[[pop]]\nname = \"lab\"\nlatitude = 1\nlongitude = 1\ncapacity = 9000\nendpoints = [\"192.0.2.77\"]\n\
                [[pool]]\nname = \"lab\"\npops = [\"lab\"]\n[[zone]]\nname = \"example.net\"\nfile = \"example.com.zone\"\n\
                [[zone.service]]\nname = \"www\"\npool = \"lab\"\n";
    bed.file("m.toml", &format!("{CONFIG}{more}"));
    assert_eq!(load(&["--service", "www.example.com"]), 800.0);
    assert_eq!(load(&["--service", "www.example.net"]), 3600.0);
    assert_eq!(load(&[]), 4400.0);
}

#[test]
fn when_all_pops_fail_the_plan_says_so() {
    let bed = Bed::new();
    let output = bed.run(&[
        "--fail", "fra", "--fail", "iad", "--drain", "nrt", "--svg", "o.svg",
    ]);
    ends(&output, 0, "");
    assert!(
        out(&output).contains("100.00 % of clients get a last resort"),
        "{}",
        out(&output)
    );
    let drawn = fs::read_to_string(bed.0.path().join("o.svg")).expect("a drawing");
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let bed = Bed::new();
    let mut command = bed.command(&[]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("meridian runs");
    drop(child.stdout.take());
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("a pipe");
    stderr.read_to_string(&mut said).expect("text");
    assert_eq!(child.wait().expect("an end").code(), Some(0), "{said}");
    assert_eq!(said, "");
}

/// The same octets each time, so that drawings can be kept under version control.
#[test]
fn drawings_of_the_world_are_the_same_each_time() {
    let bed = Bed::new();
    let world = workspace().join("config/examples/world/meridian.toml");
    let draw = |name: &str| {
        let mut command = Command::new(meridian());
        command
            .arg("plan")
            .arg("--config")
            .arg(&world)
            .args(["--drain", "fra", "--json", "--svg"]);
        let output = command
            .arg(bed.0.path().join(name))
            .output()
            .expect("meridian runs");
        let plan = json(&output);
        assert_eq!(plan["pops"].as_array().map(Vec::len), Some(59));
        assert_eq!(plan["failures"].as_array().map(Vec::len), Some(58));
        read(&bed.0.path().join(name))
    };
    let drawn = draw("a.svg");
    assert!(drawn == draw("b.svg"));
    assert!(drawn.contains(">nrt</text>") && drawn.len() < 1 << 20);
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a drawing")
}

#[test]
fn a_server_tells_who_asked() {
    let bed = Bed::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answers = thread::spawn(move || {
        for body in [
            r#"{"per":"cell","cells":[{"latitude":35.6,"longitude":137.2,"country":"JP","client":"133.11.0.0","queries":9},
                {"latitude":46.5,"longitude":2.5,"country":"FR","client":"134.157.0.0","queries":1}]}"#,
            r#"[{"name":"fra","load":{"value":500}},{"name":"iad","load":{"ratio":0.5,"capacity":1000}},{"name":"nrt"}]"#,
        ] {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).expect("a request");
            let reply = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(reply.as_bytes()).expect("a reply");
        }
    });
    let plan = json(&bed.run(&["--from-server", &url, "--json"]));
    answers.join().expect("answers");
    assert!((share(&plan, "nrt", "after") - 0.9).abs() < 1e-9);
    assert_eq!(plan["demand"]["load"], 1000.0);
    let said = plan["demand"]["load_source"].as_str().expect("a source");
    assert!(said.starts_with("what 2 of 3 PoPs carry now"), "{said}");
    let nobody = bed.run(&["--from-server", &url]);
    ends(&nobody, 1, "no server answers at");
}

const LOADED: &str = r#"
[[pop]]
name = "fra"
latitude = 50.03
longitude = 8.57
capacity = 1000
load = { push = true }
endpoints = ["192.0.2.10"]

[[pop]]
name = "nrt"
latitude = 35.77
longitude = 140.39
capacity = 1000
load = { push = true }
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

/// A real server counts 300 answers to Japan and 100 to Germany, is told what its PoPs carry and how long
/// they take from there, and both come out of plans that ask it.
#[test]
fn a_running_server_tells_who_asked_and_what_it_measured() {
    let server = Server::start(super::options(LOADED));
    let ask = |prefix: &str| {
        let reply = dns::question("www.example.com", "A")
            .ecs(prefix)
            .udp(server.dns)
            .expect("an answer");
        assert_eq!(dns::addresses(&reply).len(), 1);
    };
    for round in 0..100 {
        ask(&format!("133.11.{round}.0/24"));
        ask("133.9.1.0/24");
        ask("133.5.0.0/16");
        ask(&format!("134.60.{round}.0/24"));
    }
    for (pop, value) in [("fra", 100), ("nrt", 300)] {
        let path = format!("/api/v1/pops/{pop}/load");
        let body = format!("{{\"value\": {value}}}");
        let reply = http::request(server.admin, "PUT", &path, &body).expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
    let told: String = (0..30)
        .map(|_| "{\"client\":\"133.11.1.0/24\",\"pop\":\"nrt\",\"rtt_ms\":77}\n")
        .collect();
    let reply = http::request(server.admin, "POST", "/api/v1/latency", &told).expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.body);

    let url = format!("http://{}", server.admin);
    let config = server.config_path();
    let plan = |more: &[&str]| {
        let mut command = Command::new(meridian());
        command.arg("plan").arg("--config").arg(&config);
        command.args(["--json", "--from-server", &url]).args(more);
        command.output().expect("meridian runs")
    };
    let planned = eventually("all answers are counted", PATIENCE, || {
        let output = plan(&[]);
        if !output.status.success() {
            assert!(err(&output).contains("nobody asks for anything"));
            return None;
        }
        let plan = json(&output);
        let demand = &plan["demand"];
        // Nothing is counted before a tick, and ticks go on while queries come in.
        let near = (share(&plan, "nrt", "after") - 0.75).abs() < 0.02;
        (demand["unit"] == "answers a second" && near).then_some(plan)
    });
    assert_eq!(planned["demand"]["load"], 400.0, "what was pushed");
    assert!(planned["measured"].is_null());
    let moved = json(&plan(&["--drain", "nrt"]));
    assert!((moved["moved"].as_f64().expect("a share") - 0.75).abs() < 0.05);

    // What it measured is on the disk once it has ended.
    let text = out(&plan(&["--drain", "nrt", "--total", "4000"]));
    assert!(text.contains("\"state\": \"settled\""), "{text}");
    let state = server.folder().join("state");
    let mut server = server;
    server.process.terminate();
    let mut offline = Command::new(meridian());
    offline.arg("plan").arg("--config").arg(&config);
    offline.args(["--json", "--state"]).arg(&state);
    let measured = json(&offline.output().expect("meridian runs"));
    let source = measured["measured"].as_str().expect("where from");
    assert!(
        source.starts_with("1 pair of cell and PoP, kept in "),
        "{source}"
    );
    assert_eq!(measured["settled"]["state"], "settled");
    let nothing = Bed::new();
    ends(
        &nothing.run(&["--state", "."]),
        1,
        "latency.bin cannot be used",
    );
}
