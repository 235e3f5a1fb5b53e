//! Whole zones: directives, TTL rules, recovery, conflicts.

#![allow(clippy::panic)]

use proptest::prelude::*;

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

/// RFC 1035 §5.1, RFC 2308 §4: which TTL is in force.
#[test]
fn ttls() {
    for (text, right) in [
        ("a A 192.0.2.1", [3600].as_slice()),
        ("a 60 A 192.0.2.1\nb A 192.0.2.1", &[60, 3600]),
        (
            "$TTL 30\na A 192.0.2.1\n$TTL 1w\nb A 192.0.2.1",
            &[30, 604_800],
        ),
        ("a 0 A 192.0.2.1", &[0]),
        ("a 2147483647 A 192.0.2.1", &[0x7fff_ffff]),
        ("a 1H30m5S A 192.0.2.1", &[5405]),
        // RFC 2181 §5.2: one TTL for an RRset, but signatures are no RRset.
        ("a 9 A 192.0.2.1\na 7 A 192.0.2.2\na 8 TXT x", &[7, 7, 8]),
        (
            "a 9 RRSIG A 13 2 9 9 9 1 . AAAA\na 7 RRSIG TXT 13 2 9 9 9 1 . AAAA",
            &[9, 7],
        ),
    ] {
        let zone = parsed(&format!("{HEAD}{text}")).unwrap();
        let ttls: Vec<_> = zone.records.iter().skip(2).map(|r| r.ttl.0).collect();
        assert_eq!(ttls, right, "{text}");
    }
    let no_default = "@ SOA a b 1 2 3 4 300\n@ NS a\na 60 A 192.0.2.1\nb A 192.0.2.1";
    let zone = parsed(no_default).unwrap();
    let ttls: Vec<_> = zone.records.iter().map(|r| r.ttl.0).collect();
    assert_eq!(
        ttls,
        [300, 300, 60, 300],
        "the MINIMUM of an SOA without a TTL"
    );
    let stated = "@ 9 SOA a b 1 2 3 4 300\n@ NS a\na 60 A 192.0.2.1\nb A 192.0.2.1";
    let zone = parsed(stated).unwrap();
    let ttls: Vec<_> = zone.records.iter().map(|r| r.ttl.0).collect();
    assert_eq!(ttls, [9, 9, 60, 60], "the last stated one");
}

#[test]
fn duplicates_are_dropped_without_case_and_the_first_is_kept() {
    let text = "Www A 192.0.2.1\nwww 60 A 192.0.2.1\nm MX 1 Mail\nm MX 1 mail\nt TXT a\nt TXT A";
    assert_eq!(
        records(text),
        [
            "Www.example.com. 60 A 192.0.2.1",
            "m.example.com. 3600 MX 1 Mail.example.com.",
            "t.example.com. 3600 TXT \"a\"",
            "t.example.com. 3600 TXT \"A\"",
        ]
    );
}

#[test]
fn what_may_stand_together() {
    for text in [
        "a CNAME b\na RRSIG CNAME 13 2 9 9 9 1 . AAAA\na NSEC b CNAME RRSIG NSEC",
        "@ DNAME other.example.\nabc NSEC3 1 0 0 - 00 A",
        "d DNAME x\nd A 192.0.2.1\ndd A 192.0.2.1",
        "c NS ns.c\nns.c A 192.0.2.1\nhidden.c CNAME x\nc DS 1 8 200 aa",
        "m MX 1 alias\nalias CNAME b\n@ NS alias",
    ] {
        assert!(
            parsed(&format!("$TTL 9\n@ SOA a b 1 2 3 4 5\n@ NS x.\n{text}")).is_ok(),
            "{text}"
        );
    }
}

#[test]
fn a_mistake_does_not_hide_the_next_nor_make_new_ones() {
    let text = "@ SOA a b 1 2 3\n  NS\nx TXT ( \"a\n  b\\256 \"c )\n  A y\ny A z";
    let told = parsed(text).unwrap_err();
    let lines: Vec<_> = told
        .lines()
        .map(|l| l.split(" (").next().unwrap())
        .collect();
    assert_eq!(
        lines,
        [
            "zone:1:16: expected a period such as 3600 or 1h30m here",
            "zone:2:5: expected a domain name here",
            "zone:3:9: this quoted string is not closed on its line",
            "zone:6:5: `z` is not an IPv4 address",
        ],
        "nothing is said of the missing SOA, of the TTL, and of the line that repeats an owner"
    );
}

#[test]
fn generated_records_are_bounded_and_told_of_once() {
    assert_eq!(records("$GENERATE 1-10000 h$ 60 A 192.0.2.1").len(), 10_000);
    for (text, right) in [
        (
            "$GENERATE 0-10000 h$ A 192.0.2.1",
            "$GENERATE makes more than 10000 records in this zone",
        ),
        (
            "$GENERATE 1-6000 h$ A 192.0.2.1\n$GENERATE 1-6000 i$ A 192.0.2.1",
            "$GENERATE makes more than 10000 records in this zone",
        ),
        (
            "$GENERATE 250-9000 h$ A 192.0.2.$",
            "for 256: `192.0.2.256` is not an IPv4 address",
        ),
        ("$GENERATE 1-2", "expected an owner name here"),
        ("$GENERATE 1-2 h$ NOSUCH x", "expected a record type here"),
        (
            "$GENERATE 1-2 h$ ANY x",
            "for 1: ANY records cannot stand in a zone",
        ),
    ] {
        let told = parsed(&format!("{HEAD}{text}\n")).unwrap_err();
        assert!(told.contains(right) && told.lines().count() == 1, "{told}");
    }
    let wide = format!("$GENERATE 1-10000 h$ TXT {}", "${0,255} ".repeat(20));
    let told = parsed(&format!("{HEAD}{wide}")).unwrap_err();
    assert!(
        told.contains("$GENERATE makes more than 4194304 octets"),
        "{told}"
    );
}

/// A zone file and others beside it, read.
fn with_files(zone: &str, others: &[(&str, &str)]) -> Result<MasterFile, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in others {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let path = folder.path().join("zone");
    std::fs::write(&path, format!("{HEAD}{zone}")).unwrap();
    let shown = format!("{}/", folder.path().display());
    read(&path, &apex()).map_err(|told| told.to_string().replace(&shown, ""))
}

#[test]
fn includes() {
    let zone = with_files(
        "$ORIGIN o\n$INCLUDE sub/a.inc in\nx A 192.0.2.1\n$INCLUDE ./sub/a.inc",
        &[
            ("sub/a.inc", "@ TXT a\n$INCLUDE \"sub/b.inc\"\n"),
            ("sub/b.inc", "b TXT b"),
        ],
    )
    .unwrap();
    let owners: Vec<_> = zone
        .records
        .iter()
        .skip(2)
        .map(|r| r.owner.to_string())
        .collect();
    assert_eq!(
        owners,
        [
            "in.o.example.com.",
            "b.in.o.example.com.",
            "x.o.example.com.",
            "o.example.com.",
            "b.o.example.com.",
        ],
        "names are those below the folder of the zone; the origin is restored"
    );
    let names: Vec<_> = zone
        .files
        .iter()
        .map(|f| f.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(names, ["zone", "a.inc", "b.inc"]);
    let mistake = zone.mistake(zone.records[3].at, "m", "h");
    assert!(
        mistake.to_string().ends_with("sub/b.inc:1:1: m (h)"),
        "{mistake}"
    );
}

#[test]
fn includes_are_bounded() {
    let told = with_files("$INCLUDE a", &[("a", "$INCLUDE b"), ("b", "$INCLUDE a")]).unwrap_err();
    assert!(told.starts_with("b:1:10: `a` includes itself"), "{told}");
    let names: Vec<_> = (0..=10)
        .map(|i| (format!("f{i}"), format!("$INCLUDE f{}", i + 1)))
        .collect();
    let others: Vec<_> = names.iter().map(|(a, b)| (&a[..], &b[..])).collect();
    let told = with_files("$INCLUDE f0", &others).unwrap_err();
    assert!(
        told.starts_with("f9:1:10: files are included more than 10 deep"),
        "{told}"
    );
    // Each file includes the next ten times: without a bound, 10^6 readings.
    let names: Vec<_> = (0..6)
        .map(|i| (format!("f{i}"), format!("$INCLUDE f{}\n", i + 1).repeat(10)))
        .chain([("f6".to_string(), String::new())])
        .collect();
    let others: Vec<_> = names.iter().map(|(a, b)| (&a[..], &b[..])).collect();
    let told = with_files("$INCLUDE f0", &others).unwrap_err();
    assert!(told.contains("more than 1000 files are included"), "{told}");
    let told = parsed(&format!("{HEAD}$INCLUDE x")).unwrap_err();
    assert!(
        told.contains("$INCLUDE has no folder to read from here"),
        "{told}"
    );
}

#[cfg(unix)]
#[test]
fn symbolic_links_may_stay_inside_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("..2026");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("zone"), format!("{HEAD}$INCLUDE inc\n")).unwrap();
    std::fs::write(data.join("inc"), "a A 192.0.2.1").unwrap();
    for (to, link) in [
        ("..2026", "..data"),
        ("..data/zone", "zone"),
        ("..data/inc", "inc"),
    ] {
        std::os::unix::fs::symlink(to, folder.path().join(link)).unwrap();
    }
    let zone = read(&folder.path().join("zone"), &apex()).unwrap();
    assert_eq!(zone.records.len(), 3);
}

#[test]
fn files_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    // Without a writer, whoever opens it waits.
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for (path, right) in [
        (folder.path().join("nowhere"), "there is no such file"),
        (folder.path().to_path_buf(), "this is not a regular file"),
        (pipe, "this is not a regular file"),
    ] {
        let told = read(&path, &apex()).unwrap_err();
        let whole = format!("the zone file cannot be read: {right}");
        assert_eq!(told.0[0].message, whole);
    }
    let told = with_files("$INCLUDE nowhere", &[]).unwrap_err();
    assert!(
        told.contains("`nowhere` cannot be read: there is no such file"),
        "{told}"
    );
}

proptest! {
    /// Failure class 13: any octets are a zone or a list of mistakes.
    #[test]
    fn row_13_any_text_is_total(text: Vec<u8>) {
        let _ = parse(&text, Path::new("zone"), &apex());
    }

    /// The same for text that is nearly a zone.
    #[test]
    fn row_13_any_words_are_total(
        words in proptest::collection::vec(
            prop_oneof![
                "[a-z@*.\\\\0-9]{1,5}",
                proptest::sample::select(vec![
                    "\n", "\n", "\n ", "(", ")", "\"", ";", "\r\n", "$TTL", "$ORIGIN", "$GENERATE",
                    "1-9", "${1,2,x}", "$", "IN", "60", "1h", "A", "192.0.2.1", "TXT", "CNAME", "NS",
                    "SOA", "MX", "\\#", "4", "c0000201", "TYPE1", "DNAME", "SVCB", "alpn=\"h2\"", "\u{e4}",
                ]).prop_map(str::to_string),
            ],
            0..60,
        )
    ) {
        let text = format!("{HEAD}{}", words.join(" "));
        if let Ok(zone) = parsed(&text) {
            let lines: Vec<_> = zone.records.iter().map(shown).collect();
            let again = parsed(&lines.join("\n")).unwrap();
            prop_assert_eq!(again.records.iter().map(shown).collect::<Vec<_>>(), lines);
        }
    }

    /// Failure class 15: whatever an owner name holds, it cannot break out of its line.
    #[test]
    fn hostile_owner_names_read_back(label in proptest::collection::vec(any::<u8>(), 1..30)) {
        let mut wire = vec![label.len() as u8];
        wire.extend(&label);
        wire.extend(apex().as_wire());
        let owner = Name::from_wire(&wire).unwrap();
        let zone = parsed(&format!("{HEAD}{owner} A 192.0.2.1")).unwrap();
        prop_assert_eq!(zone.records[2].owner.as_wire(), &wire[..]);
    }
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
/// Names are compressed, so the reply itself is what counts: 65,524 octets less the header, the question and
/// OPT hold so many records and not one more.
#[test]
fn records_with_names_are_as_many_as_a_reply_holds() {
    use std::fmt::Write as _;
    for (data, most) in [("PTR h", 3274), ("MX 10 h", 2976), ("SRV 0 0 1 h", 1770)] {
        let zone = |count: usize| {
            let mut text = HEAD.to_owned();
            for number in 1000..1000 + count {
                writeln!(text, "many {data}{number}").unwrap();
            }
            parsed(&text).map(|zone| zone.records.len())
        };
        assert_eq!(zone(most), Ok(most + 2), "{data}");
        for count in [most + 1, 70_000] {
            let told = zone(count).unwrap_err();
            assert!(told.contains("data than a reply can hold"), "{told}");
        }
    }
}

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
