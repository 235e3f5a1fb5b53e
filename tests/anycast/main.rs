//! A whole server as an anycast site: BIRD as its router, a client behind that.

mod bed;
mod client;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use bed::{Bed, PREFIX, Site, SiteOptions};
use client::{Client, who};
use meridian_tests::{PATIENCE, copy_program, eventually, meridian};
use nix::sys::signal::Signal;

fn one(bgp: &str, announce: &str) -> [SiteOptions; 1] {
    [SiteOptions {
        bgp: bgp.to_owned(),
        announce: announce.to_owned(),
        ..SiteOptions::default()
    }]
}

const ON_LO: &str = "interface = \"lo\"";

fn established(bed: &Bed) -> String {
    let text = bed.birdc("show protocols site1");
    text.lines().last().unwrap_or_default().to_owned()
}

/// Whether two answers of BIRD tell of one and the same session. It computes anew with each answer
/// when a session began, from the time now and how long that was ago: milliseconds may differ.
fn is_same_session(before: &str, now: &str) -> bool {
    let since = |line: &str| {
        let time = line.split_whitespace().find(|word| word.contains(':'))?;
        let parts: Vec<f64> = time.split(':').filter_map(|p| p.parse().ok()).collect();
        let seconds = parts.iter().fold(0.0, |sum, part| sum * 60.0 + part);
        (parts.len() == 3 && line.contains("Established")).then_some(seconds)
    };
    let both = since(before).zip(since(now));
    both.is_some_and(|(before, now)| (before - now).abs() < 0.1)
}

#[test]
fn a_session_that_began_anew_is_another_one() {
    let line =
        |time: &str, state: &str| format!("site1      BGP        ---  up  {time}  {state}  ");
    let before = line("14:39:45.261", "Established");
    assert!(is_same_session(
        &before,
        &line("14:39:45.260", "Established")
    ));
    assert!(!is_same_session(
        &before,
        &line("14:39:47.261", "Established")
    ));
    assert!(!is_same_session(&before, &line("14:39:45.261", "Connect")));
    assert!(!is_same_session("", ""));
}

/// On a busy machine the figure says more of the machine than of the server.
fn assert_quick(what: &str, took: Duration, limit: Duration) {
    eprintln!("MEASURED {what}: {took:?}");
    let strict = std::env::var("MERIDIAN_TIMED").is_ok_and(|v| v == "1");
    let limit = if strict { limit } else { limit * 10 };
    assert!(took < limit, "{what}: {took:?} is not below {limit:?}");
}

#[test]
fn two_sites_answer_for_one_prefix_and_one_is_killed() {
    let options = [one(ON_LO, ""), one(ON_LO, "")].concat();
    let Some(mut bed) = Bed::new(&options) else {
        return;
    };
    bed.wait_for_route("via 10.99.1.2");
    bed.wait_for_route("via 10.99.2.2");
    let serving = eventually("an answer", PATIENCE, || who(&bed.client));
    let client = Client::start(&bed.client, Duration::from_millis(100));
    std::thread::sleep(Duration::from_millis(500));
    let victim = &mut bed.sites[usize::from(serving) - 1];
    victim.process.signal(Signal::SIGKILL);
    let other = 3 - serving;
    eventually("the other site answers", PATIENCE, || {
        (who(&bed.client) == Some(other)).then_some(())
    });
    std::thread::sleep(Duration::from_millis(300));
    let seen = client.finish();
    assert!(seen.answers.contains(&serving) && seen.answers.contains(&other));
    eprintln!(
        "MEASURED a killed site: {} answers, {} questions without one",
        seen.answers.len(),
        seen.lost
    );
    assert_quick(
        "the longest time without an answer when a site is killed",
        seen.longest_gap,
        Duration::from_secs(1),
    );
}

#[test]
#[allow(clippy::disallowed_methods)] // real processes are timed
fn row_08_a_site_that_cannot_answer_is_not_announced() {
    let Some(mut bed) = Bed::new(&one("interface = \"none\"", "")) else {
        return;
    };
    bed.sites[0].space.ip(&format!("addr add {PREFIX} dev lo"));
    bed.wait_for_route("via 10.99.1.2");
    // The process lives and its session is up, but nothing answers on the service address.
    bed.sites[0].space.ip(&format!("addr del {PREFIX} dev lo"));
    let began = Instant::now();
    bed.wait_for_no_route();
    assert_quick(
        "from a broken answer path to no route (probes every second)",
        began.elapsed(),
        Duration::from_secs(3),
    );
    assert!(established(&bed).contains("Established"));
    let explained = bed.sites[0].meridian(&["announcements", "--explain"]);
    let explained = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(explained.contains("our own probes fail"), "{explained}");
    bed.sites[0].space.ip(&format!("addr add {PREFIX} dev lo"));
    bed.wait_for_route("via 10.99.1.2");
    // A process that hangs holds no route either.
    bed.sites[0].process.signal(Signal::SIGSTOP);
    let began = Instant::now();
    bed.wait_for_no_route();
    assert_quick(
        "from SIGSTOP to no route (BFD 100 ms × 3)",
        began.elapsed(),
        Duration::from_secs(1),
    );
    bed.sites[0].process.signal(Signal::SIGCONT);
    bed.wait_for_route("via 10.99.1.2");
}

fn upgrade(site: &Site) -> (bool, String) {
    let output = site.meridian(&["upgrade"]);
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Puts a program in the place of the binary; the old file goes on living in its process.
fn replace_binary(site: &Site, program: &Path) {
    let new = site.folder.path().join("new");
    copy_program(program, &new);
    fs::rename(&new, site.binary()).expect("a rename");
}

/// The same with a script.
fn replace_by_script(site: &Site, script: &str) {
    let file = site.folder.path().join("script");
    fs::write(&file, script).expect("a file");
    replace_binary(site, &file);
}

#[test]
fn an_upgrade_loses_no_query_and_no_session_and_a_bad_one_changes_nothing() {
    let Some(mut bed) = Bed::new(&one(ON_LO, "")) else {
        return;
    };
    bed.wait_for_route("via 10.99.1.2");
    eventually("an answer", PATIENCE, || who(&bed.client));
    let since = established(&bed);
    let client = Client::start(&bed.client, PATIENCE);
    let site = &mut bed.sites[0];

    // It breaks: the old one goes on.
    replace_by_script(site, "#!/bin/sh\nexit 7\n");
    let (done, said) = upgrade(site);
    assert!(!done && said.contains("exit status: 7"), "{said}");
    replace_by_script(site, "#!/bin/sh\nkill -SEGV $$\n");
    let (done, said) = upgrade(site);
    assert!(!done && said.contains("it ended: signal: 11"), "{said}");
    replace_binary(site, &meridian());

    // Its configuration is bad: it says why.
    let config = fs::read_to_string(site.config()).expect("a file");
    fs::write(site.config(), config.replace("64500", "23456")).expect("a file");
    let (done, said) = upgrade(site);
    assert!(!done && said.contains("23456"), "{said}");
    fs::write(site.config(), &config).expect("a file");
    assert_eq!(site.process.exit_status(), None);

    // Twice, so that a successor is a predecessor too.
    for _ in 0..2 {
        let (done, said) = upgrade(site);
        assert!(done, "{said}\n{}", site.process.log());
    }
    eventually("the first process ends", PATIENCE, || {
        site.process.exit_status()
    });
    site.wait_for_stage("up");
    let seen = client.finish();
    eprintln!(
        "MEASURED upgrades under load: {} answers, {} lost, longest time without an answer {:?}",
        seen.answers.len(),
        seen.lost,
        seen.longest_gap
    );
    assert_eq!(seen.lost, 0);
    assert!(seen.answers.len() > 10);
    // Neither the session nor the route was away for a moment: BIRD notes since when they are.
    let now = established(&bed);
    assert!(is_same_session(&since, &now), "{since}\n{now}");
    assert!(
        !bed.bird_log().contains("site1: Received"),
        "{}",
        bed.bird_log()
    );
    // The last process may have taken its sessions over only just now.
    eventually("BFD goes on", PATIENCE, || {
        let said = bed.sites[0].announcements();
        (said["peers"][0]["bfd"] == "up").then_some(())
    });
}

#[test]
fn a_drain_is_seen_step_by_step_at_the_router() {
    let announce = "drain = { prepend = 2, med = 77, min_time = \"4s\", linger = \"2s\" }";
    let Some(bed) = Bed::new(&one(ON_LO, announce)) else {
        return;
    };
    bed.wait_for_route("(64512,100)");
    let site = &bed.sites[0];
    let drained = site.meridian(&["drain", "fra", "--reason", "switch upgrade"]);
    assert!(drained.status.success(), "{drained:?}");
    bed.wait_for_route("(65535,0)");
    let routes = bed.routes();
    assert!(
        routes.contains("BGP.as_path: 64512 64512 64512"),
        "{routes}"
    );
    assert!(routes.contains("BGP.med: 77"), "{routes}");
    bed.wait_for_no_route();
    // It still serves those who come late, then ends the session with the reason.
    eventually("Cease with its text", PATIENCE, || {
        bed.bird_log().contains("switch upgrade").then_some(())
    });
    let status = site.meridian(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("withdrawn"), "{status}");
    let back = site.meridian(&["undrain", "fra"]);
    assert!(back.status.success(), "{back:?}");
    bed.wait_for_route("BGP.as_path: 64512\n");
    let events = site.meridian(&["events"]);
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    for step in [
        "is draining",
        "GRACEFUL_SHUTDOWN",
        "is lingering",
        "is withdrawn",
        "is up",
    ] {
        assert!(events.contains(step), "{step}: {events}");
    }
}

#[test]
fn a_killed_server_is_gone_and_finds_its_addresses_again() {
    let Some(mut bed) = Bed::new(&one(ON_LO, "")) else {
        return;
    };
    bed.wait_for_route("via 10.99.1.2");
    bed.sites[0].process.kill();
    bed.wait_for_no_route();
    let here = |bed: &Bed| {
        let mut command = bed.sites[0].space.command("ip".as_ref());
        let output = command.args(["addr", "show", "dev", "lo"]).output();
        String::from_utf8_lossy(&output.expect("ip runs").stdout).contains("192.0.2.53")
    };
    assert!(here(&bed), "an address survives a crash");
    bed.sites[0].start_again();
    bed.wait_for_route("via 10.99.1.2");
    let ended = bed.sites[0].process.terminate();
    assert!(ended.success());
    bed.wait_for_no_route();
    assert!(!here(&bed), "a stop takes it off");
    assert!(bed.bird_log().contains("the server was told to stop"));
}

#[test]
fn a_dry_run_decides_and_sends_nothing() {
    let Some(bed) = Bed::new(&one("dry_run = true\ninterface = \"lo\"", "")) else {
        return;
    };
    let site = &bed.sites[0];
    site.space.ip(&format!("addr add {PREFIX} dev lo"));
    site.wait_for_stage("up");
    let said = site.announcements();
    assert_eq!(said["dry_run"], true);
    assert_eq!(
        said["prefixes"][0]["sent"].as_array().map(Vec::len),
        Some(0)
    );
    let why = said["prefixes"][0]["not_sent"].as_str().unwrap_or_default();
    assert!(why.contains("dry run"), "{said}");
    assert!(!established(&bed).contains("Established"));
    assert!(!bed.routes().contains("via "));
}
