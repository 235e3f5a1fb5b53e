//! Our master file reader against BIND's and NSD's.
//!
//! Every zone of the corpus (`dns/src/zone/master/testdata`) and many generated ones are given to
//! `named-compilezone` and `nsd-checkzone -p` as well. What we accept, they must accept, and what
//! they print must read back as the same records; what we refuse, they must refuse. Where that is
//! not so, [`differences`] says why.

mod differences;
mod generated;
mod mutated;
mod peers;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use meridian_config::Name;
use meridian_dns::zone::master::{self, MasterFile, rdata};
use meridian_tests::workspace;

use differences::{ACCIDENTS, difference};
use peers::Peer;

fn apex() -> Name {
    "example.com.".parse().unwrap()
}

fn corpus(kind: &str) -> Vec<PathBuf> {
    let folder = workspace().join("dns/src/zone/master/testdata").join(kind);
    let mut zones: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "zone"))
        .collect();
    zones.sort();
    assert!(!zones.is_empty());
    zones
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// Records in one comparable form: owner, TTL, type, data. Without case, since NSD prints names in
/// lower case.
fn comparable(zone: &MasterFile) -> BTreeSet<String> {
    let line = |record: &master::RawRecord| {
        format!(
            "{} {} {} {}",
            record.owner,
            record.ttl.0,
            rdata::type_name(record.rtype),
            rdata::to_text(record.rtype, &record.rdata)
        )
        .to_ascii_lowercase()
    };
    zone.records.iter().map(line).collect()
}

/// What the peer printed, read by us.
fn reread(peer: Peer, printed: &[u8]) -> Result<BTreeSet<String>, String> {
    master::parse(printed, Path::new(peer.program()), &apex())
        .map(|zone| comparable(&zone))
        .map_err(|told| format!("what it prints is refused:\n{told}"))
}

/// What is wrong about a zone that we read.
fn compare_good(peer: Peer, path: &Path, ours: &MasterFile) -> Result<(), String> {
    let printed = peer
        .compile(path)
        .map_err(|said| format!("refused:\n{said}"))?;
    let theirs = reread(peer, &printed)?;
    let ours = comparable(ours);
    if ours == theirs {
        return Ok(());
    }
    let list = |from: &BTreeSet<String>, than: &BTreeSet<String>| {
        let lines: Vec<_> = from.difference(than).take(20).cloned().collect();
        lines.join("\n    ")
    };
    Err(format!(
        "different records:\n  only ours:\n    {}\n  only theirs:\n    {}",
        list(&ours, &theirs),
        list(&theirs, &ours)
    ))
}

#[test]
fn good_zones_are_read_alike() {
    let mut wrong = Vec::new();
    for path in corpus("good") {
        let name = file_name(&path);
        let ours = match master::read(&path, &apex()) {
            Ok(ours) => ours,
            Err(told) => {
                wrong.push(format!("{name}: we refuse it:\n{told}"));
                continue;
            }
        };
        for peer in Peer::installed() {
            let outcome = compare_good(peer, &path, &ours);
            match (outcome, difference(name, peer)) {
                (Ok(()), None) | (Err(_), Some(_)) => {}
                (Err(what), None) => wrong.push(format!("{name} with {}: {what}", peer.program())),
                (Ok(()), Some(_)) => wrong.push(format!(
                    "{name} with {}: listed as different, but alike",
                    peer.program()
                )),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}",
        wrong[..wrong.len().min(40)].join("\n")
    );
}

#[test]
fn bad_zones_are_refused_alike() {
    let mut wrong = Vec::new();
    for path in corpus("bad") {
        let name = file_name(&path);
        if master::read(&path, &apex()).is_ok() {
            wrong.push(format!("{name}: we read it"));
        }
        for peer in Peer::installed() {
            match (peer.compile(&path), difference(name, peer)) {
                (Err(_), None) | (Ok(_), Some(_)) => {}
                (Ok(_), None) => wrong.push(format!("{name}: {} reads it", peer.program())),
                (Err(_), Some(_)) => wrong.push(format!(
                    "{name} with {}: listed as different, but refused by both",
                    peer.program()
                )),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}",
        wrong[..wrong.len().min(40)].join("\n")
    );
}

#[test]
fn generated_zones_are_read_alike() {
    let folder = meridian_tests::scratch();
    let mut wrong = Vec::new();
    let mut records = 0;
    for seed in 0..150 {
        let path = folder.path().join(format!("{seed}.zone"));
        let text = generated::zone(seed);
        std::fs::write(&path, &text).unwrap();
        let ours = master::read(&path, &apex()).unwrap_or_else(|told| panic!("{told}"));
        records += ours.records.len();
        for peer in Peer::installed() {
            if let Err(what) = compare_good(peer, &path, &ours) {
                wrong.push(format!("seed {seed} with {}: {what}", peer.program()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}",
        wrong[..wrong.len().min(40)].join("\n")
    );
    println!("{records} records in 150 generated zones read alike");
}

/// The text that we write for a record is read by the peers as the same record.
#[test]
fn peers_read_what_we_write() {
    let folder = meridian_tests::scratch();
    let mut wrong = Vec::new();
    for path in corpus("good") {
        let Ok(ours) = master::read(&path, &apex()) else {
            continue;
        };
        let name = file_name(&path);
        let written = folder.path().join(name);
        let lines: String = ours
            .records
            .iter()
            .map(|record| {
                let data = rdata::to_text(record.rtype, &record.rdata);
                let rtype = rdata::type_name(record.rtype);
                format!("{} {} IN {rtype} {data}\n", record.owner, record.ttl.0)
            })
            .collect();
        std::fs::write(&written, lines).unwrap();
        for peer in Peer::installed() {
            if let Err(what) = compare_good(peer, &written, &ours)
                && difference(name, peer).is_none()
            {
                wrong.push(format!("{name} with {}: {what}", peer.program()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}",
        wrong[..wrong.len().min(40)].join("\n")
    );
}

/// One small accident in a good zone: both refuse it, or both read the same; else for one of the
/// reasons in [`differences::ACCIDENTS`].
#[test]
fn accidents_are_judged_alike() {
    let peer = Peer::Bind;
    if Peer::installed().all(|other| other != peer) {
        return;
    }
    let folder = meridian_tests::scratch();
    let path = folder.path().join("zone");
    let (mut both, mut wrong) = (0, Vec::new());
    for seed in 0..200 {
        let text = mutated::mutate(&generated::zone(seed), seed);
        std::fs::write(&path, &text).unwrap();
        let what = match (master::read(&path, &apex()), peer.compile(&path)) {
            (Ok(ours), Ok(_)) => {
                both += 1;
                compare_good(peer, &path, &ours).err()
            }
            (Err(_), Err(_)) => None,
            (Ok(_), Err(said)) => Some(format!("they refuse: {said}")),
            (Err(told), Ok(_)) => Some(format!("we refuse: {told}")),
        };
        let known = |what: &String| ACCIDENTS.iter().any(|(part, _)| what.contains(part));
        if let Some(what) = what.filter(|what| !known(what)) {
            wrong.push(format!("seed {seed}: {what}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("200 zones with an accident: {both} read alike, the others refused by both");
}
