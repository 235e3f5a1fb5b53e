//! A real `meridian serve` under load while it is reloaded, killed, restarted and stopped.
//!
//! The service `www.example.com` answers with the first PoP of its pool, so the address tells which
//! configuration an answer was made from.

mod geo;
mod load;

use std::{
    io::Write,
    net::{IpAddr, TcpStream, UdpSocket},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    time::Duration,
};

use meridian_tests::{
    PATIENCE, Server, ServerOptions, copy_program, dns, eventually, http, scratch,
};
use nix::sys::signal::Signal;

use load::Load;

const FRA: &str = "192.0.2.1";
const IAD: &str = "198.51.100.1";

const ZONE: &str = "\
$ORIGIN example.com.
$TTL 300
@ SOA ns hostmaster 1 7200 3600 1209600 300
@ NS ns
ns A 192.0.2.53
";

/// A configuration whose pool has these PoPs, in this order.
fn body(pops: &str) -> String {
    format!(
        r#"
[steering]
policy = "failover"

[[pop]]
name = "fra"
latitude = 50.03
longitude = 8.57
endpoints = ["{FRA}"]

[[pop]]
name = "iad"
latitude = 38.94
longitude = -77.46
endpoints = ["{IAD}"]

[[pool]]
name = "edge"
pops = [{pops}]

[[zone]]
name = "example.com"
file = "example.com.zone"

[[zone.service]]
name = "www"
pool = "edge"
"#
    )
}

fn old() -> String {
    body(r#""fra", "iad""#)
}

fn new() -> String {
    body(r#""iad", "fra""#)
}

fn options() -> ServerOptions {
    ServerOptions::new(old()).file("example.com.zone", ZONE)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn answer(server: &Server) -> Option<IpAddr> {
    let reply = dns::question("www.example.com", "A").udp(server.dns).ok()?;
    dns::addresses(&reply).first().copied()
}

fn wait_for_answer(server: &Server, expect: &str) {
    eventually(&format!("the answer is {expect}"), PATIENCE, || {
        (answer(server) == Some(ip(expect))).then_some(())
    });
}

/// Replaces a file the way most tools do: a new one is renamed over it.
fn rename_over(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, path).unwrap();
}

/// Turns the folder into what Kubernetes makes of a ConfigMap: the files in a hidden folder, a link
/// `..data` to it, and links through `..data` in place of the files.
fn like_kubernetes(folder: &Path) {
    std::fs::create_dir(folder.join("..v0")).unwrap();
    for name in ["meridian.toml", "example.com.zone"] {
        std::fs::rename(folder.join(name), folder.join("..v0").join(name)).unwrap();
        std::os::unix::fs::symlink(format!("..data/{name}"), folder.join(name)).unwrap();
    }
    std::os::unix::fs::symlink("..v0", folder.join("..data")).unwrap();
}

/// Swaps `..data` for a new folder.
fn swap_like_kubernetes(folder: &Path, version: usize, config: &str) {
    let name = format!("..v{version}");
    std::fs::create_dir(folder.join(&name)).unwrap();
    std::fs::write(folder.join(&name).join("meridian.toml"), config).unwrap();
    std::fs::write(folder.join(&name).join("example.com.zone"), ZONE).unwrap();
    std::os::unix::fs::symlink(&name, folder.join("..tmp")).unwrap();
    std::fs::rename(folder.join("..tmp"), folder.join("..data")).unwrap();
}

/// Changes the configuration back and forth by `change` while queries are asked without pause: none
/// is lost, and every answer is one of the two.
fn reload_under_load(options: ServerOptions, mut change: impl FnMut(&mut Server, usize, &str)) {
    let mut server = Server::start(options);
    wait_for_answer(&server, FRA);
    let load = Load::start(server.dns, "www.example.com");
    for turn in 1..=6 {
        let (text, expect) = if turn % 2 == 1 {
            (server.config_with(&new()), IAD)
        } else {
            (server.config_with(&old()), FRA)
        };
        change(&mut server, turn, &text);
        wait_for_answer(&server, expect);
    }
    let seen = load.stop();
    assert_eq!(seen.lost, 0, "{seen:?}");
    assert!(seen.answers.contains_key(&ip(FRA)) && seen.answers.contains_key(&ip(IAD)));
    assert_eq!(seen.answers.len(), 2, "{seen:?}");
    assert!(server.process.exit_status().is_none());
}

#[test]
fn sighup_loses_nothing() {
    reload_under_load(options(), |server, _, text| {
        rename_over(&server.config_path(), text);
        server.process.signal(Signal::SIGHUP);
    });
}

#[test]
fn the_api_loses_nothing() {
    reload_under_load(options(), |server, _, text| {
        rename_over(&server.config_path(), text);
        let reply = http::request(server.admin, "POST", "/api/v1/reload", "").unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
    });
}

#[test]
fn a_file_renamed_over_loses_nothing() {
    reload_under_load(options(), |server, _, text| {
        rename_over(&server.config_path(), text);
    });
}

#[test]
fn a_file_written_in_pieces_loses_nothing() {
    reload_under_load(options(), |server, _, text| {
        let mut file = std::fs::File::create(server.config_path()).unwrap();
        let (first, second) = text.split_at(text.len() / 2);
        file.write_all(first.as_bytes()).unwrap();
        file.flush().unwrap();
        file.write_all(second.as_bytes()).unwrap();
    });
}

#[test]
fn a_kubernetes_swap_loses_nothing() {
    let mut options = options();
    options.arrange = Some(like_kubernetes);
    reload_under_load(options, |server, turn, text| {
        swap_like_kubernetes(server.folder(), turn, text);
    });
}

/// Row 21 of the failure classes: reloads on top of each other, under load.
#[test]
fn row_21_a_storm_of_reloads_ends_with_what_the_file_says() {
    let mut server = Server::start(options());
    let load = Load::start(server.dns, "www.example.com");
    let (admin, path) = (server.admin, server.config_path());
    let texts = [
        server.config_with(&old()),
        "broken [".to_owned(),
        server.config_with(&new()),
    ];
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..10 {
                    // Refused or not: it must be answered.
                    http::request(admin, "POST", "/api/v1/reload", "").unwrap();
                }
            });
        }
        for text in texts.iter().cycle().take(60) {
            rename_over(&path, text);
            server.process.signal(Signal::SIGHUP);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    // The last text of a whole number of cycles is the new one.
    wait_for_answer(&server, IAD);
    let seen = load.stop();
    assert_eq!(seen.lost, 0, "{seen:?}");
    assert!(
        seen.answers.keys().all(|a| [ip(FRA), ip(IAD)].contains(a)),
        "{seen:?}"
    );
    let metrics = server.metrics();
    let panics = http::sample(&metrics, r#"meridian_dropped_total{reason="panic"}"#);
    assert_eq!(panics, Some(0.0));
}

#[test]
fn a_bad_reload_changes_nothing_and_shows() {
    let mut server = Server::start(options());
    let successful =
        |server: &Server| http::sample(&server.metrics(), "meridian_config_last_reload_successful");
    assert_eq!(successful(&server), Some(1.0));
    let load = Load::start(server.dns, "www.example.com");
    let bad = [
        "not TOML at all [",
        &server.config_with(&new().replace("pops", "pobs")),
        &server.config_with(&body(r#""nowhere""#)),
        "",
    ]
    .map(str::to_owned);
    for text in bad {
        rename_over(&server.config_path(), &text);
        let reply = http::request(server.admin, "POST", "/api/v1/reload", "").unwrap();
        assert!(reply.status >= 400, "{}", reply.body);
        assert_eq!(successful(&server), Some(0.0));
        assert_eq!(answer(&server), Some(ip(FRA)));
    }
    let good = server.config_with(&new());
    rename_over(&server.config_path(), &good);
    server.process.signal(Signal::SIGHUP);
    wait_for_answer(&server, IAD);
    eventually("the metric is 1 again", PATIENCE, || {
        (successful(&server) == Some(1.0)).then_some(())
    });
    let seen = load.stop();
    assert_eq!((seen.lost, seen.answers.len()), (0, 2), "{seen:?}");
}

#[test]
fn drains_and_the_last_good_state_survive_kill_9() {
    let mut server = Server::start(options());
    assert_eq!(answer(&server), Some(ip(FRA)));
    let drained = server.command(&["drain", "fra", "--reason", "maintenance"]);
    assert!(drained.status.success(), "{drained:?}");
    wait_for_answer(&server, IAD);
    // It is copied in the background, and a disk may be slow.
    eventually("the last good state is kept", PATIENCE, || {
        let current = server.folder().join("state/last-good/current");
        current.exists().then_some(())
    });
    server.process.kill();
    server.start_again();
    assert_eq!(answer(&server), Some(ip(IAD)));
    // The copy is made in the background.
    let kept = server.folder().join("state/last-good/current");
    eventually("the last good state is kept", PATIENCE, || {
        kept.exists().then_some(())
    });
    // Cut short in the middle of a table, then not a configuration at all, then gone.
    let text = std::fs::read_to_string(server.config_path()).unwrap();
    for broken in [&text[..text.len() / 2], "this is no configuration", ""] {
        server.process.kill();
        rename_over(&server.config_path(), broken);
        if broken.is_empty() {
            std::fs::remove_file(server.config_path()).unwrap();
        }
        server.start_again();
        assert_eq!(answer(&server), Some(ip(IAD)), "{broken}");
        let metrics = server.metrics();
        let successful = http::sample(&metrics, "meridian_config_last_reload_successful");
        assert_eq!(successful, Some(0.0), "{broken}");
    }
    let undrained = server.command(&["undrain", "fra"]);
    assert!(undrained.status.success(), "{undrained:?}");
    wait_for_answer(&server, FRA);
}

#[test]
fn sigterm_answers_what_was_received_and_exits_0() {
    let mut server = Server::start(options());
    let question = dns::question("www.example.com", "A").to_wire();
    let mut stream = TcpStream::connect(server.dns).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&dns::frame(&question)).unwrap();
    dns::read_frame(&mut stream).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.connect(server.dns).unwrap();
    udp.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..50 {
        stream.write_all(&dns::frame(&question)).unwrap();
        udp.send(&question).unwrap();
    }
    server.process.signal(Signal::SIGTERM);
    let mut buffer = [0; 2000];
    for _ in 0..50 {
        dns::decode(&dns::read_frame(&mut stream).unwrap()).unwrap();
        udp.recv(&mut buffer).unwrap();
    }
    let status = server.process.wait(PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", server.process.log());
}

#[test]
fn what_prevents_a_start_is_one_clear_line() {
    let first = Server::start(options());
    let text = std::fs::read_to_string(first.config_path()).unwrap();
    let folder = scratch();
    // The same DNS address, another admin address.
    let text = text.replace(
        &first.admin.to_string(),
        &format!("127.0.0.1:{}", meridian_tests::free_port()),
    );
    let text = text.replace(
        &first.folder().display().to_string(),
        &folder.path().display().to_string(),
    );
    std::fs::write(folder.path().join("meridian.toml"), text).unwrap();
    std::fs::write(folder.path().join("example.com.zone"), ZONE).unwrap();
    let in_use = serve(&folder.path().join("meridian.toml"));
    assert_one_line(&in_use, &[&first.dns.to_string(), "another program"]);

    let missing = serve(&folder.path().join("missing.toml"));
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("missing.toml"));
}

/// A port below 1024 for a user who may not have it.
#[test]
fn a_port_without_permission_names_the_remedy() {
    let threshold = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let threshold: u16 = threshold.map_or(0, |text| text.trim().parse().unwrap_or(0));
    if !nix::unistd::Uid::effective().is_root() || threshold <= 53 {
        eprintln!("SKIP needs root, to become nobody, and port 53 to be privileged");
        return;
    }
    let folder = scratch();
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), everybody).unwrap();
    let program = folder.path().join("meridian");
    copy_program(&meridian_tests::meridian(), &program);
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:53\"]\nstate_directory = \"state\"\n\
         [admin]\nlisten = \"127.0.0.1:{}\"\n{}",
        meridian_tests::free_port(),
        old()
    );
    std::fs::write(folder.path().join("meridian.toml"), config).unwrap();
    std::fs::write(folder.path().join("example.com.zone"), ZONE).unwrap();
    let output = std::process::Command::new(program)
        .arg("serve")
        .arg("--config")
        .arg(folder.path().join("meridian.toml"))
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    assert_one_line(&output, &["127.0.0.1:53", "CAP_NET_BIND_SERVICE", "`user`"]);
}

fn serve(config: &Path) -> std::process::Output {
    std::process::Command::new(meridian_tests::meridian())
        .arg("serve")
        .arg("--config")
        .arg(config)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

/// Exit status 1, and one line on standard error that contains all of `parts`.
fn assert_one_line(output: &std::process::Output, parts: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part} in {text}");
    }
}
