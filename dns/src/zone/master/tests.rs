//! Whole zones: directives, TTL rules, recovery, conflicts.

use super::*;

const HEAD: &str = "$TTL 1h\n@ SOA ns1 admin 1 2h 15m 2w 5m\n@ NS ns1\n";

fn apex() -> Name {
    "example.com.".parse().unwrap()
}

fn parsed(text: &str) -> Result<MasterFile, String> {
    parse(text.as_bytes(), Path::new("zone"), &apex()).map_err(|told| told.to_string())
}

/// All records behind the head, one a line.
fn records(text: &str) -> Vec<String> {
    let zone = parsed(&format!("{HEAD}{text}")).unwrap_or_else(|told| panic!("{told}"));
    zone.records.iter().skip(2).map(shown).collect()
}

fn shown(record: &RawRecord) -> String {
    format!(
        "{} {} {} {}",
        record.owner,
        record.ttl.0,
        rdata::type_name(record.rtype),
        rdata::to_text(record.rtype, &record.rdata)
    )
}

#[test]
fn first_zone() {
    let zone = parsed(&format!("{HEAD}www A 192.0.2.1\n\tAAAA 2001:db8::1")).unwrap();
    let lines: Vec<_> = zone.records.iter().map(shown).collect();
    assert_eq!(
        lines,
        [
            "example.com. 3600 SOA ns1.example.com. admin.example.com. 1 7200 900 1209600 300",
            "example.com. 3600 NS ns1.example.com.",
            "www.example.com. 3600 A 192.0.2.1",
            "www.example.com. 3600 AAAA 2001:db8::1",
        ]
    );
}

#[test]
fn generate() {
    assert_eq!(records("$GENERATE 1-2 h$ 60 A 192.0.2.$").len(), 2);
}

fn testdata(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/zone/master/testdata")
        .join(kind);
    let mut zones: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "zone"))
        .collect();
    zones.sort();
    zones
}

/// Each bad zone has its exact messages beside it, in a file that ends in `.txt`. With
/// `MERIDIAN_BLESS=1` those files are written anew: read them before you commit them.
#[test]
fn bad_zones_are_refused_with_exact_messages() {
    let mut wrong = Vec::new();
    for path in testdata("bad") {
        let folder = format!("{}/", path.parent().unwrap().display());
        let told = read(&path, &apex()).expect_err(&path.display().to_string());
        assert!(
            told.0
                .iter()
                .all(|one| !one.message.is_empty() && !one.help.is_empty())
        );
        let told = format!("{told}\n").replace(&folder, "");
        let right = path.with_extension("txt");
        if std::env::var("MERIDIAN_BLESS").is_ok_and(|v| v == "1") {
            std::fs::write(&right, &told).unwrap();
        }
        let right = std::fs::read_to_string(&right).unwrap_or_default();
        if told != right {
            wrong.push(format!(
                "{}\nwas:\n{told}should be:\n{right}",
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn good_zones_are_read_and_their_records_read_back() {
    for path in testdata("good") {
        let zone = read(&path, &apex()).unwrap_or_else(|told| panic!("{told}"));
        let text: Vec<_> = zone.records.iter().map(shown).collect();
        let again = parse(text.join("\n").as_bytes(), &path, &apex()).unwrap();
        let again: Vec<_> = again.records.iter().map(shown).collect();
        assert_eq!(again, text, "{}", path.display());
    }
}

/// Not a judgement of the machine: prints what a zone of a million names takes.
/// `cargo nextest run --release -p meridian-dns --run-ignored only --no-capture million`
#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods, reason = "measures elapsed time")]
fn a_million_names() {
    use std::fmt::Write as _;
    let mut text = HEAD.to_string();
    for i in 0..1_000_000_u32 {
        let [a, b, c, d] = i.to_be_bytes();
        writeln!(text, "host-{i} 300 IN A 10.{}.{c}.{d}", a ^ b).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zone");
    std::fs::write(&path, &text).unwrap();
    let start = std::time::Instant::now();
    let zone = read(&path, &apex()).unwrap();
    println!("{} records in {:?}", zone.records.len(), start.elapsed());
}
