//! The operator's own tests, judged as queries are answered.

#![allow(clippy::panic)]

use std::sync::Arc;

use meridian_config::Config;
use meridian_geo_data::ClientMap;

use super::super::run_tests;
use crate::build::{Built, build};

const CONFIG: &str = r#"
[check.edge]
type = "tcp"
port = 80

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
check = "edge"
pops = ["fra", "iad"]

[[pop]]
name = "nrt"
latitude = 35.76
longitude = 140.39
endpoints = ["192.0.2.30"]

[[pool]]
name = "far"
pops = ["nrt"]

[[geo.network]]
prefix = "198.51.100.0/24"
latitude = 48.86
longitude = 2.35

[[zone]]
name = "example"
file = "zone"

[[zone.service]]
name = "www"
pool = "edge"

[[zone.service]]
name = "*.geo"
pool = "edge"

[[zone.service]]
name = "far"
pool = "far"
"#;

/// Names below the wildcard service that the zone file answers, and one that leads back to it.
const ZONE: &str = "$TTL 300\n@ SOA ns root 1 2 3 4 60\n@ NS ns\nns A 192.0.2.53\n\
    static.geo A 192.0.2.99\nblank.geo TXT \"no address\"\nalias.geo CNAME www\nother.geo CNAME far\naway.geo CNAME www.example.net.\n\
    sub.geo NS ns\n";

fn world(tests: &[(&str, &str, &str)]) -> (Config, Built) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = CONFIG.to_owned();
    for (name, down, expect) in tests {
        config.push_str(&format!(
            "[[test]]\nname = {name:?}\nclient = \"198.51.100.0/24\"\ndown = {down}\nexpect = {expect:?}\n"
        ));
    }
    std::fs::write(folder.path().join("zone"), ZONE).unwrap();
    let path = folder.path().join("meridian.toml");
    std::fs::write(&path, config).unwrap();
    let config = meridian_config::load(&path).unwrap_or_else(|told| panic!("{told}"));
    let clients = Arc::new(ClientMap::open(&config.geo).unwrap());
    let built = build(&config, clients).unwrap_or_else(|told| panic!("{told}"));
    (config, built)
}

fn told((config, built): &(Config, Built)) -> Vec<String> {
    let mistakes = run_tests(config, &built.zones, &built.steering).0;
    let text = |one: &meridian_config::Diagnostic| {
        let text = one.to_string();
        let at = text.find(": ").map_or(0, |at| at + 2);
        let text = text.get(at..).unwrap_or_default();
        text.split_once(": ")
            .map_or(text, |(_, rest)| rest)
            .to_owned()
    };
    mistakes.iter().map(text).collect()
}

#[test]
fn what_holds_is_not_told() {
    let world = world(&[
        ("www.example", "[]", "fra"),
        ("WWW.Example", "[\"fra\"]", "iad"),
        ("www.example", "[\"fra\", \"iad\"]", "fra"),
        ("a.b.geo.example", "[]", "fra"),
        ("alias.geo.example", "[\"fra\"]", "iad"),
        // Not of the pool of the wildcard's service.
        ("other.geo.example", "[\"nrt\"]", "nrt"),
    ]);
    assert_eq!(told(&world), [] as [&str; 0]);
}

/// What a wildcard's service has no say in is told when the test is run.
#[test]
fn an_alias_under_a_wildcard_is_judged_by_the_pool_that_answers() {
    let world = world(&[
        ("other.geo.example", "[]", "fra"),
        ("a.geo.example", "[]", "nrt"),
    ]);
    let told = told(&world);
    assert_eq!(told.len(), 2);
    assert!(told[0].contains("fra is not in pool far"), "{told:?}");
    assert!(told[1].contains("nrt is not in pool edge"), "{told:?}");
}

#[test]
fn what_does_not_hold_is_told_with_what_stood_between() {
    let world = world(&[
        ("www.example", "[]", "iad"),
        ("www.example", "[\"fra\"]", "fra"),
    ]);
    assert_eq!(
        told(&world),
        [
            "A of www.example. for 198.51.100.0/24 is answered by fra, not by iad (fra 8.9 ms beats iad 82.5 ms; \
             the client is located at 48.86, 2.35)",
            "A of www.example. for 198.51.100.0/24 is answered by iad, not by fra (fra: down: taken as down; iad, \
             since fra (down: taken as down) would come first but may not be used; the client is located at \
             48.86, 2.35)",
        ]
    );
}

/// A wildcard covers names that the zone does not have, and no others (RFC 4592, section 2.2).
#[test]
fn a_name_of_the_zone_file_is_no_service() {
    let names = ["static", "blank", "away", "x.sub"].map(|name| format!("{name}.geo.example"));
    let tests: Vec<_> = names.iter().map(|name| (&**name, "[]", "fra")).collect();
    let mut world = world(&tests);
    let mut gone = world.0.tests[0].clone();
    gone.name = "ww.example".parse().unwrap();
    world.0.tests.push(gone);
    let near = |service: &str| format!(" (the nearest service is {service}.example.)");
    let told: Vec<String> = told(&world);
    let expected = [
        ("static.geo", "its addresses stand in the zone file and are the same for everyone", "*.geo"),
        ("blank.geo", "no service and no addresses of this family stand there", "*.geo"),
        (
            "away.geo",
            "it is an alias of www.example.net.; of that one: the answer ends there, since another zone has that \
             name or the chain has no end",
            "*.geo",
        ),
        ("x.sub.geo", "its zone delegates it to other name servers", "*.geo"),
        ("ww", "its zone has no such name", "www"),
    ]
    .map(|(name, why, nearest)| format!("no service answers A of {name}.example.: {why}{}", near(nearest)));
    assert_eq!(told, expected);
}
