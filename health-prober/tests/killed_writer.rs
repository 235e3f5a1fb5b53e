//! Overrides survive `kill -9` at any moment: a child stores them without end and is killed again
//! and again; what is loaded after is always one whole set.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use meridian_health_prober::{Override, OverrideKind, overrides};

const DIRECTORY: &str = "MERIDIAN_TEST_STATE_DIRECTORY";

/// A set whose members all carry the number of its round, so that a mixture would show.
fn set(round: u64) -> BTreeMap<String, Override> {
    let drain = Override {
        kind: OverrideKind::Drain,
        reason: format!("round {round}"),
        since: SystemTime::UNIX_EPOCH + Duration::from_secs(round),
        until: None,
    };
    (0..round % 50)
        .map(|n| (format!("pop{n}"), drain.clone()))
        .collect()
}

/// The child's part; does nothing in an ordinary run.
#[test]
fn writer() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    for round in 1.. {
        overrides::store(Path::new(&directory), &set(round)).expect("it can be stored");
    }
}

fn start_writer(directory: &Path) -> Child {
    let program = std::env::current_exe().expect("this test");
    Command::new(program)
        .args(["--exact", "writer"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .spawn()
        .expect("a child")
}

#[test]
fn whatever_the_moment_of_the_kill_a_whole_set_is_loaded() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join(overrides::FILE);
    for kill in 0..20 {
        let before = std::fs::read(&file).unwrap_or_default();
        let mut child = start_writer(directory.path());
        // Not before it has begun to write; then at a moment that differs each time.
        while std::fs::read(&file).unwrap_or_default() == before {
            assert!(child.try_wait().expect("a child").is_none(), "it ended");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(kill * 137));
        child.kill().expect("it runs");
        child.wait().expect("it ended");
        let loaded = overrides::load(directory.path()).expect("a whole file");
        let round = loaded.values().next().map_or(0, |first| {
            let since = first.since.duration_since(SystemTime::UNIX_EPOCH);
            since.expect("after the epoch").as_secs()
        });
        assert!(loaded == set(round), "a mixture: {loaded:?}");
    }
}
