//! `meridian check`: everything that `serve` would read, and the operator's steering tests.

use std::{fmt, path::Path, sync::Arc};

use meridian_config::{Config, Diagnostics, LoadKind, LoadSource, Pool};
use meridian_dns::{answer::run_tests, build, build::Built};
use meridian_geo_data::ClientMap;
use serde::Serialize;
use serde_json::json;

use super::{Failure, args::Check};
use crate::{
    admin::{AdminError, Secrets},
    render::{print, print_json},
    runtime::site,
};

/// Names that are shown of those of which the same is to be said.
const NAMES: usize = 5;

/// What was read, in numbers.
#[derive(Debug, Serialize)]
struct Summary {
    ok: bool,
    zones: usize,
    services: usize,
    pools: usize,
    pops: usize,
    endpoints: usize,
    checks: usize,
    tests: usize,
    files: usize,
    /// What nothing refers to, so that it has no effect; no mistake, as it may be meant for later.
    unused: Vec<String>,
    /// The same, with what is alike said once.
    #[serde(skip)]
    unused_folded: Vec<String>,
    /// What is no mistake, but may not be meant.
    notes: Vec<String>,
}

/// One mistake, for scripts.
#[derive(Debug, Serialize)]
struct Mistake<'a> {
    file: String,
    line: usize,
    column: usize,
    key: &'a str,
    message: &'a str,
    help: &'a str,
}

/// Runs the command.
pub(crate) fn run(args: &Check) -> Result<(), Failure> {
    let checked = read(&args.config, admin_files).and_then(|(config, built)| {
        let failed = run_tests(&config, &built.zones, &built.steering);
        if failed.is_empty() {
            Ok(summary(&config, &built))
        } else {
            Err(failed)
        }
    });
    match checked {
        Ok(summary) if args.output.json => {
            print_json(&summary);
            Ok(())
        }
        Ok(summary) => {
            print(&sentence(&args.config, &summary));
            Ok(())
        }
        Err(mistakes) if args.output.json => {
            print_json(&json!({ "ok": false, "mistakes": listed(&mistakes) }));
            Err(Failure::Said)
        }
        Err(mistakes) => Err(mistakes.into()),
    }
}

/// Reads a configuration with everything that it names, as the server does at start. Mistakes in
/// zones, checks and geo data are reported together with `more` of them.
pub(crate) fn read(
    path: &Path,
    more: impl FnOnce(&Config) -> Diagnostics,
) -> Result<(Config, Built), Diagnostics> {
    let config = meridian_config::load(path)?;
    let mut mistakes = meridian_health_prober::validate(&config)
        .err()
        .unwrap_or_default();
    mistakes.extend(more(&config));
    let clients = match ClientMap::open(&config.geo) {
        Ok(clients) => Some(clients),
        Err(more) => {
            mistakes.extend(more);
            // The zones can be judged with the bundled data too.
            let bundled = meridian_config::Geo {
                city: Vec::new(),
                asn: Vec::new(),
                networks: Vec::new(),
            };
            ClientMap::open(&bundled).ok()
        }
    };
    let built = clients.map(|clients| build::build(&config, Arc::new(clients)));
    match built {
        Some(Ok(built)) if mistakes.is_empty() => return Ok((config, built)),
        Some(Err(more)) => mistakes.extend(more),
        _ => {}
    }
    Err(config.blame(mistakes))
}

/// Token and certificates. Only `check` wants them: they are often readable by root alone.
fn admin_files(config: &Config) -> Diagnostics {
    let read = Secrets::read(&config.admin);
    Diagnostics(read.err().iter().map(AdminError::mistake).collect())
}

fn summary(config: &Config, built: &Built) -> Summary {
    let unused = unused(config);
    Summary {
        ok: true,
        zones: built.zones.len(),
        services: config.zones.iter().map(|z| z.services.len()).sum(),
        pools: config.pools.len(),
        pops: config.pops.len(),
        endpoints: config.pops.iter().map(|p| p.endpoints.len()).sum(),
        checks: config.checks.len(),
        tests: config.tests.len(),
        files: built.files.len() + built.files.included().len(),
        unused: unused.iter().map(Note::to_string).collect(),
        unused_folded: folded(&unused),
        notes: site::notes(config),
    }
}

/// Something of the configuration that has no effect, or not the one that one might think.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Note<'a> {
    /// `PoP`, `pool`, `check`.
    kind: &'static str,
    name: &'a str,
    /// What is to be said of one of them, and of several.
    says: [&'static str; 2],
}

impl fmt::Display for Note<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.kind, self.name, self.says[0])
    }
}

const IN_NO_POOL: [&str; 2] = ["stands in no pool", "stand in no pool"];
const NO_LOAD: [&str; 2] = [
    "has a capacity, but no load: only `meridian plan` uses it",
    "have a capacity, but no load: only `meridian plan` uses it",
];
const NEVER_FULL: [&str; 2] = [
    "has a load, but no capacity: it is never full",
    "have a load, but no capacity: they are never full",
];
const NO_SERVICE: [&str; 2] = ["answers for no service", "answer for no service"];
const TESTS_NOTHING: [&str; 2] = ["tests no pool", "test no pool"];

/// PoPs, pools and checks without effect.
fn unused(config: &Config) -> Vec<Note<'_>> {
    let services = || config.zones.iter().flat_map(|zone| &zone.services);
    let mut notes = Vec::new();
    let mut note = |kind, name, says| notes.push(Note { kind, name, says });
    for (number, pop) in config.pops.iter().enumerate() {
        let used = |pool: &Pool| pool.pops.iter().any(|pop| pop.index() == number);
        if !config.pools.iter().any(used) {
            note("PoP", &pop.name, IN_NO_POOL);
        }
    }
    for pop in &config.pops {
        if pop.load.is_none() && pop.capacity.is_some() {
            note("PoP", &pop.name, NO_LOAD);
        }
    }
    for pop in &config.pops {
        let read = |load: &LoadSource| !matches!(load.kind, LoadKind::Push);
        if pop.load.as_ref().is_some_and(read) && pop.capacity.is_none() {
            note("PoP", &pop.name, NEVER_FULL);
        }
    }
    for (number, pool) in config.pools.iter().enumerate() {
        if !services().any(|service| service.pool.index() == number) {
            note("pool", &pool.name, NO_SERVICE);
        }
    }
    for (number, check) in config.checks.iter().enumerate() {
        let used = |pool: &Pool| {
            pool.check
                .as_ref()
                .is_some_and(|one| one.checks.iter().any(|id| id.index() == number))
        };
        if !config.pools.iter().any(used) {
            note("check", &check.name, TESTS_NOTHING);
        }
    }
    notes
}

/// The same for people: what is to be said of several is said once, with the first of their names.
fn folded(notes: &[Note<'_>]) -> Vec<String> {
    let same = |a: &Note<'_>, b: &Note<'_>| a.kind == b.kind && a.says == b.says;
    let groups = notes.chunk_by(same);
    let line = |group: &[Note<'_>]| match group {
        [one] => one.to_string(),
        many => {
            let first: Vec<&str> = many.iter().take(NAMES).map(|one| one.name).collect();
            let more = match many.len() - first.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let (kind, says) = (many[0].kind, many[0].says[1]);
            format!("{} {kind}s ({}{more}) {says}", many.len(), first.join(", "))
        }
    };
    groups.map(line).collect()
}

fn sentence(path: &Path, s: &Summary) -> String {
    let counted = |n: usize, one: &str| match n {
        1 => format!("1 {one}"),
        _ => format!("{n} {one}s"),
    };
    let notes = s.unused_folded.iter().chain(&s.notes);
    let notes: String = notes.map(|line| format!("note: {line}\n")).collect();
    format!(
        "{} is fine: {}, {}, {}, {}, {}, {}, {}\n{notes}",
        path.display(),
        counted(s.zones, "zone"),
        counted(s.services, "service"),
        counted(s.pools, "pool"),
        counted(s.pops, "PoP"),
        counted(s.endpoints, "endpoint"),
        counted(s.checks, "check"),
        match s.tests {
            0 => "no steering test".to_owned(),
            n => format!("{} passed", counted(n, "steering test")),
        },
    )
}

fn listed(mistakes: &Diagnostics) -> Vec<Mistake<'_>> {
    let one = |d| {
        let d: &meridian_config::Diagnostic = d;
        let (line, column) = d.position();
        Mistake {
            file: d.file.display().to_string(),
            line,
            column,
            key: &d.key,
            message: &d.message,
            help: &d.help,
        }
    };
    mistakes.0.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_refers_to_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.toml");
        let pop = |name, address| {
            format!(
                "[[pop]]\nname = {name:?}\nlatitude = 1\nlongitude = 1\n\
                 endpoints = [\"192.0.2.{address}\"]\n"
            )
        };
        let text = [
            pop("in", 1),
            pop("out", 2),
            "capacity = 5\n".into(),
            pop("busy", 3),
            "load = { stub_status = \"http://127.0.0.1/\" }\n".into(),
            pop("told", 4),
            "load = { push = true }\n".into(),
            "[check.on]\ntype = \"tcp\"\nport = 1\n[check.off]\ntype = \"tcp\"\nport = 1\n".into(),
            "[[pool]]\nname = \"a\"\ncheck = \"on\"\npops = [\"in\", \"busy\", \"told\"]\n".into(),
            "[[pool]]\nname = \"b\"\npops = [\"in\"]\n".into(),
            "[[zone]]\nname = \"example.com\"\nfile = \"z\"\n".into(),
            "[[zone.service]]\nname = \"www\"\npool = \"a\"\n".into(),
        ];
        std::fs::write(&path, text.concat()).unwrap();
        let config = meridian_config::load(&path).unwrap();
        let right = [
            "PoP out stands in no pool",
            "PoP out has a capacity, but no load: only `meridian plan` uses it",
            "PoP busy has a load, but no capacity: it is never full",
            "pool b answers for no service",
            "check off tests no pool",
        ];
        let notes = unused(&config);
        let told: Vec<String> = notes.iter().map(Note::to_string).collect();
        assert_eq!(told, right);
        assert_eq!(folded(&notes), right);
    }

    #[test]
    fn what_is_alike_is_said_once() {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        let note = |name, says| Note {
            kind: "PoP",
            name,
            says,
        };
        let mut notes: Vec<_> = names.map(|name| note(name, NO_LOAD)).into();
        notes.extend(["a", "b"].map(|name| note(name, NEVER_FULL)));
        notes.push(note("z", IN_NO_POOL));
        let right = [
            "7 PoPs (a, b, c, d, e and 2 more) have a capacity, but no load: only `meridian plan` uses it",
            "2 PoPs (a, b) have a load, but no capacity: they are never full",
            "PoP z stands in no pool",
        ];
        assert_eq!(folded(&notes), right);
    }
}
