//! Large configurations: read in time that grows with their size, good or bad.

use std::{fmt::Write as _, path::Path};

use meridian_config::parse;

const POPS: usize = 2_000;
const ZONES: usize = 1_000;

/// Many PoPs in one pool, many zones with services and tests. `pops` names the pool's PoPs.
fn large(pop: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for i in 0..POPS {
        let (a, b) = (i / 250, i % 250 + 1);
        let _ = writeln!(
            text,
            "[[pop]]\nname = \"pop{i}\"\nlatitude = 1\nlongitude = 2\nendpoints = [\"10.0.{a}.{b}\"]"
        );
    }
    let pops: Vec<_> = (0..POPS).map(|i| format!("\"{}\"", pop(i))).collect();
    let _ = writeln!(
        text,
        "[[pool]]\nname = \"all\"\npops = [{}]",
        pops.join(", ")
    );
    for i in 0..ZONES {
        let _ = writeln!(
            text,
            "[[zone]]\nname = \"zone{i}.example\"\nfile = \"z\"\n[[zone.service]]\nname = \"www\"\n\
             pool = \"all\"\n[[test]]\nname = \"www.zone{i}.example\"\nclient = \"192.0.2.0/24\"\n\
             expect = \"pop0\""
        );
    }
    text
}

#[test]
fn a_large_configuration_is_read() {
    let config = parse(&large(|i| format!("pop{i}")), Path::new("large.toml")).unwrap();
    assert_eq!(
        (config.pops.len(), config.pools[0].pops.len()),
        (POPS, POPS)
    );
    assert_eq!((config.zones.len(), config.tests.len()), (ZONES, ZONES));
}

/// A mistake in each line takes no longer than that many lines: it was once looked up anew for each where
/// it stands.
#[test]
fn a_file_full_of_mistakes_is_refused() {
    for (line, first) in [("x = 1\n", "duplicate key"), ("x\n", "key with no value")] {
        let found = parse(&line.repeat(200_000), Path::new("full.toml")).unwrap_err();
        assert_eq!(found.0.len(), 1001);
        assert!(found.0[0].message.contains(first), "{}", found.0[0]);
        let last = found.0.last().unwrap().to_string();
        assert!(last.contains("more mistakes are not shown"), "{last}");
    }
}

#[test]
fn mistakes_beyond_a_thousand_are_counted() {
    let found = parse(&large(|i| format!("pip{i}")), Path::new("large.toml")).unwrap_err();
    assert_eq!(found.0.len(), 1001);
    let last = found.0.last().unwrap().to_string();
    assert!(last.contains("1000 more mistakes are not shown"), "{last}");
    assert!(
        found.0[0].help.contains("did you mean `pop0`?"),
        "{}",
        found.0[0]
    );
    assert!(!found.render(false).is_empty());
}
