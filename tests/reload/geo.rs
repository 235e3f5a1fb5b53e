//! Geo databases that change, break, and are broken at the start.

use std::{fs, path::Path};

use meridian_tests::{
    PATIENCE, Server, ServerOptions, dns, eventually, http,
    mmdb_writer::{Value, Writer},
};

use super::{FRA, IAD, ZONE, ip};

/// Where the database puts the one client that is asked for.
const FRANKFURT: (f64, f64) = (50.1, 8.7);
const ASHBURN: (f64, f64) = (39.0, -77.5);

fn database((latitude, longitude): (f64, f64)) -> Vec<u8> {
    let mut writer = Writer::new(4, "Test-City");
    let record = Value::flat_city("DE", latitude, longitude);
    writer.insert("203.0.113.0/24".parse().unwrap(), &record);
    writer.finish()
}

fn place(folder: &Path, contents: &[u8]) {
    fs::write(folder.join("next.mmdb"), contents).unwrap();
    fs::rename(folder.join("next.mmdb"), folder.join("city.mmdb")).unwrap();
}

fn start() -> Server {
    let body = super::body(r#""fra", "iad""#).replace(
        "[steering]\npolicy = \"failover\"",
        "[geo]\ncity = [\"city.mmdb\"]",
    );
    let mut options = ServerOptions::new(body).file("example.com.zone", ZONE);
    options.arrange = Some(|folder| place(folder, &database(FRANKFURT)));
    Server::start(options)
}

fn wait_for_answer(server: &Server, expect: &str) {
    eventually(&format!("the answer is {expect}"), PATIENCE, || {
        let question = dns::question("www.example.com", "A").ecs("203.0.113.0/24");
        let reply = question.udp(server.dns).ok()?;
        (dns::addresses(&reply).first() == Some(&ip(expect))).then_some(())
    });
}

fn wait_for_broken(server: &Server, expect: f64) {
    eventually(
        &format!("geo_database_broken is {expect}"),
        PATIENCE,
        || {
            let value = http::sample(&server.metrics(), "meridian_geo_database_broken");
            (value == Some(expect)).then_some(())
        },
    );
}

#[test]
fn a_changed_database_steers_and_a_broken_one_keeps_the_old() {
    let server = start();
    wait_for_answer(&server, FRA);
    place(server.folder(), &database(ASHBURN));
    wait_for_answer(&server, IAD);
    let whole = database(FRANKFURT);
    for broken in [&whole[..whole.len() / 2], b"rubbish", b""] {
        place(server.folder(), broken);
        wait_for_broken(&server, 1.0);
        wait_for_answer(&server, IAD);
        let status = http::get(server.admin, "/api/v1/status");
        assert!(status.is_ok());
        let said = server.command(&["status"]);
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("city.mmdb"), "{said}");
        // Another change is not held up by it.
        let mut text = fs::read_to_string(server.config_path()).unwrap();
        text.push('\n');
        fs::write(server.config_path(), text).unwrap();
        let reply = http::request(server.admin, "POST", "/api/v1/reload", "").unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
        wait_for_answer(&server, IAD);
        place(server.folder(), &database(ASHBURN));
        wait_for_broken(&server, 0.0);
    }
    place(server.folder(), &whole);
    wait_for_answer(&server, FRA);
}

#[test]
fn a_database_broken_at_the_start_is_replaced_by_its_last_good_copy() {
    let mut server = start();
    wait_for_answer(&server, FRA);
    eventually("the last good state is kept", PATIENCE, || {
        server
            .folder()
            .join("state/last-good/current")
            .exists()
            .then_some(())
    });
    server.process.kill();
    fs::remove_file(server.folder().join("city.mmdb")).unwrap();
    server.start_again();
    wait_for_answer(&server, FRA);
    wait_for_broken(&server, 1.0);
    // The configuration itself is the one on the disk, not the last good one.
    let metrics = server.metrics();
    let successful = http::sample(&metrics, "meridian_config_last_reload_successful");
    assert_eq!(successful, Some(1.0));
    // It is called by the file that is missing, not by the copy.
    let line = format!(
        "meridian_geo_database_build_timestamp_seconds{{database=\"{}\"}}",
        server.folder().join("city.mmdb").display()
    );
    assert!(metrics.contains(&line), "{metrics}");
    place(server.folder(), &database(ASHBURN));
    wait_for_answer(&server, IAD);
    wait_for_broken(&server, 0.0);
}
