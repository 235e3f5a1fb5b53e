//! One run from start to results.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    chart,
    cli::Run,
    error::BenchError,
    machine,
    report::{Form, Report},
    rounds::{self, Extent, Sample},
    scaling,
    servers::{self, Server, Stage, Subject},
    world::World,
};

/// Networks of the made-up database, and in a quick run.
const NETWORKS: (u64, u64) = (6_300_000, 20_000);

/// Runs the benchmark, and returns the folder with the results.
///
/// # Errors
/// When nothing can be measured, or results cannot be written.
pub(crate) fn run(options: &Run) -> Result<PathBuf, BenchError> {
    let extent = extent(options);
    let wanted = options
        .only
        .clone()
        .unwrap_or_else(|| Subject::ALL.to_vec());
    let started = load_warning();
    let core = pin(options.generator_core, options.server_core);
    let folder = meridian_tests::scratch();
    println!("preparing the geo database …");
    let world = world(options, folder.path())?;
    println!("geo database: {}", world.description);
    let stage = Stage {
        folder: folder.path(),
        world: &world,
        meridian: &options.meridian,
        core,
    };
    let mut skipped = Vec::new();
    let servers = start(&wanted, &stage, &mut skipped);
    let subjects: Vec<_> = wanted
        .into_iter()
        .filter(|subject| servers.iter().any(|s| s.subject == subject.server()))
        .collect();
    if subjects.is_empty() {
        return Err(BenchError::Nothing);
    }
    let subjects = without_cookies(subjects, &servers, &mut skipped)?;
    let agreement = agreement(&servers, &extent)?;
    let samples = rounds::run(&servers, &subjects, &extent, say)?;
    let header = header(options, &extent, &world, &servers, started, agreement, core);
    // The others would use the cores that this needs.
    drop(servers);
    let workers = match core {
        Some(core) if subjects.contains(&Subject::Meridian) => {
            scaling::run([options.generator_core, core], &stage, &extent)?
        }
        _ => Vec::new(),
    };
    let report = Report {
        header,
        skipped,
        subjects,
        quick: options.quick,
        rates: extent.rates.clone(),
        samples: &samples,
        workers: &workers,
    };
    write(&options.output, &report)?;
    Ok(options.output.clone())
}

fn extent(options: &Run) -> Extent {
    let (rounds, seconds, rates) = if options.quick {
        (1, 0.3, vec![5_000])
    } else {
        (5, 1.5, vec![50_000, 200_000])
    };
    Extent {
        rounds: options.rounds.unwrap_or(rounds),
        time: Duration::from_secs_f64(options.seconds.unwrap_or(seconds)),
        rates: options.rates.clone().unwrap_or(rates),
        sockets: options.shape.sockets.into(),
        window: options.shape.window.into(),
        seed: options.shape.seed,
    }
}

/// The load average before the run; says so when the machine is busy.
fn load_warning() -> Option<f64> {
    let load = machine::load();
    if let Some(load) = load.filter(|load| *load > 0.5) {
        eprintln!("WARNING load average {load:.2}: others are at work, figures mean little");
    }
    load
}

/// Puts this process on its core; gives the servers' core, `None` when both would be the same.
fn pin(generator: usize, server: usize) -> Option<usize> {
    let count = machine::count();
    if count < 2 || generator == server || generator >= count || server >= count {
        eprintln!("WARNING generator and servers have no core of their own each");
        return None;
    }
    pin_to(generator);
    Some(server)
}

/// Puts this process on a core, and says so when that fails.
pub(crate) fn pin_to(core: usize) {
    let mut set = CpuSet::new();
    let pinned = set
        .set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    if let Err(error) = pinned {
        eprintln!("WARNING the generator is not pinned to core {core}: {error}");
    }
}

fn world(options: &Run, folder: &Path) -> Result<World, BenchError> {
    if !options.mmdb.is_empty() {
        return World::read(folder, &options.mmdb);
    }
    let default = if options.quick {
        NETWORKS.1
    } else {
        NETWORKS.0
    };
    let networks = options.networks.unwrap_or(default);
    World::generate(folder, networks, options.shape.seed)
}

/// Starts what is needed, all at once, and waits until all answer; what does not is skipped.
fn start(wanted: &[Subject], stage: &Stage<'_>, skipped: &mut Vec<String>) -> Vec<Server> {
    let mut needed: Vec<_> = wanted.iter().map(|subject| subject.server()).collect();
    needed.sort_by_key(|subject| Subject::ALL.iter().position(|s| s == subject));
    needed.dedup();
    let mut skip = |subject: Subject, error: &BenchError| {
        let line = format!("{}: {error}", subject.label());
        eprintln!("SKIP {line}");
        skipped.push(line);
    };
    let mut servers = Vec::new();
    for subject in needed {
        match servers::start(subject, stage) {
            Ok(server) => servers.push(server),
            Err(error) => skip(subject, &error),
        }
    }
    servers.retain_mut(|server| {
        let ready = rounds::wait_ready(server, server.subject);
        if let Err(error) = &ready {
            skip(server.subject, error);
        }
        ready.is_ok()
    });
    servers
}

/// Leaves out the rows with cookies of servers that ignore cookies.
fn without_cookies(
    subjects: Vec<Subject>,
    servers: &[Server],
    skipped: &mut Vec<String>,
) -> Result<Vec<Subject>, BenchError> {
    let mut kept = Vec::new();
    for subject in subjects {
        let server = servers.iter().find(|s| s.subject == subject.server());
        let answers = match server {
            Some(server) if subject.traffic().cookie => rounds::answers_cookies(server, subject)?,
            _ => true,
        };
        if answers {
            kept.push(subject);
        } else {
            let line = format!("{}: the server ignores cookies", subject.label());
            eprintln!("SKIP {line}");
            skipped.push(line);
        }
    }
    Ok(kept)
}

/// On how many of the same queries each server gives the same address as Meridian: whether the
/// configurations are equivalent.
fn agreement(
    servers: &[Server],
    extent: &Extent,
) -> Result<BTreeMap<&'static str, f64>, BenchError> {
    let mut shares = BTreeMap::new();
    let steers = |s: &&Server| s.subject.traffic().ecs && s.subject != Subject::Echo;
    let Some(ours) = servers.iter().find(|s| s.subject == Subject::Meridian) else {
        return Ok(shares);
    };
    let expected = rounds::addresses(ours, ours.subject, extent.seed)?;
    for server in servers.iter().filter(steers) {
        let seen = rounds::addresses(server, server.subject, extent.seed)?;
        let same = |(a, b): &(&Option<_>, &Option<_>)| a.is_some() && a == b;
        let count = expected.iter().zip(&seen).filter(same).count();
        shares.insert(
            server.subject.key(),
            count as f64 / expected.len().max(1) as f64,
        );
    }
    Ok(shares)
}

fn say(sample: &Sample) {
    let pace = sample
        .rate
        .map_or_else(|| "closed".to_owned(), |rate| format!("{rate}/s"));
    println!(
        "round {} {:18} {pace:>9}  {:7.0} ns/answer  {:8.0} answers/s  p99 {:6.0} µs  lost {} wrong {}",
        sample.round + 1,
        sample.subject.label(),
        sample.cpu_ns,
        sample.answers_per_second,
        sample.latency.p99 as f64 / 1e3,
        sample.lost,
        sample.wrong
    );
}

fn header(
    options: &Run,
    extent: &Extent,
    world: &World,
    servers: &[Server],
    load: Option<f64>,
    agreement: BTreeMap<&'static str, f64>,
    core: Option<usize>,
) -> Vec<(String, String)> {
    let mut lines = vec![
        ("date", machine::date()),
        ("processor", machine::processors()),
        ("kernel", machine::kernel()),
        (
            "load before",
            load.map_or_else(|| "unknown".to_owned(), |l| format!("{l:.2}")),
        ),
        ("database", world.description.clone()),
        (
            "measured",
            format!(
                "{} rounds, {:.1} s each, {} sockets, window {}, seed {}; generator on core {}, {}",
                extent.rounds,
                extent.time.as_secs_f64(),
                extent.sockets,
                extent.window,
                extent.seed,
                options.generator_core,
                core.map_or_else(
                    || "SERVERS NOT ON A CORE OF THEIR OWN".to_owned(),
                    |core| format!("servers on core {core}")
                )
            ),
        ),
    ];
    if options.quick {
        lines.push(("CAUTION", "a quick run: these are no figures".to_owned()));
    }
    for server in servers {
        lines.push((server.subject.key(), server.version.clone()));
    }
    if !agreement.is_empty() {
        let shares = agreement
            .iter()
            .filter(|(key, _)| **key != Subject::Meridian.key());
        let shares: Vec<_> = shares
            .map(|(key, share)| format!("{key} {:.1} %", share * 100.0))
            .collect();
        lines.push(("same answers", shares.join(", ")));
    }
    lines
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn write(folder: &Path, report: &Report<'_>) -> Result<(), BenchError> {
    let lines: Vec<_> = report
        .header
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    let svg = chart::draw(&lines, &report.subjects, &report.rates, report.samples);
    let text = report.render(Form::Text);
    println!("\n{text}");
    fs::create_dir_all(folder).map_err(BenchError::system("making the output folder"))?;
    let files = [
        ("results.txt", text),
        ("results.md", report.render(Form::Markdown)),
        ("results.svg", svg),
        ("results.csv", report.csv()),
    ];
    for (name, content) in files {
        let path = folder.join(name);
        fs::write(&path, content)
            .map_err(BenchError::system(format!("writing {}", path.display())))?;
    }
    Ok(())
}
