//! Helpers of the end-to-end tests.
//!
//! * [`meridian`] finds the binary under test, [`Server`] runs `meridian serve` on ports of its own;
//! * [`peer`] finds another program and skips, or fails, when it is missing;
//! * [`Running`] is a child process that is stopped by its pid when dropped;
//! * [`dns`] asks questions over UDP and TCP, [`http`] the admin API;
//! * [`bgp`] makes beds of routers in network namespaces;
//! * [`mmdb_writer`] writes geo databases, [`two_pops`] a small world;
//! * [`eventually`] waits for something, instead of sleeping.
//!
//! All traffic stays on loopback, or in namespaces of the test's own.

pub mod bgp;
pub mod dns;
pub mod http;
pub mod mmdb_writer;
mod ports;
mod process;
mod server;
pub mod two_pops;

use std::{
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

pub use ports::own_port;
pub use process::Running;
pub use server::{Server, ServerOptions, state_in_memory};
use tempfile::TempDir;

/// Long enough for anything on a busy machine, whose disk may keep everybody waiting for a minute; reached
/// only when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The binary under test: `MERIDIAN_BIN`, else the one beside this test's own target directory,
/// which is built when it is missing or older than what it is made of.
///
/// # Panics
/// When it cannot be built.
pub fn meridian() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(find_or_build).clone()
}

fn find_or_build() -> PathBuf {
    if let Some(given) = std::env::var_os("MERIDIAN_BIN") {
        return given.into();
    }
    let own = std::env::current_exe().expect("a test knows its own path");
    let profile = own
        .ancestors()
        .nth(2)
        .expect("tests run in target/PROFILE/deps");
    let binary = profile.join("meridian");
    if is_stale(&binary) {
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build
            .args(["build", "--quiet", "--bin", "meridian"])
            .current_dir(workspace());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        if let Some(target) = profile.parent() {
            build.arg("--target-dir").arg(target);
        }
        let status = build.status().expect("cargo runs");
        assert!(status.success(), "cargo build --bin meridian failed");
    }
    binary
}

/// Whether the binary is older than a source file that cargo noted beside it, or comes from another
/// tree.
fn is_stale(binary: &Path) -> bool {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let (Some(built), Ok(noted), Ok(tree)) = (
        modified(binary),
        std::fs::read_to_string(binary.with_extension("d")),
        workspace().canonicalize(),
    ) else {
        return true;
    };
    let sources = noted.split_once(": ").map_or("", |(_, sources)| sources);
    let mut sources = sources.split_whitespace().map(Path::new).peekable();
    sources.peek().is_none()
        || sources.any(|source| {
            !source.starts_with(&tree) || modified(source).is_none_or(|changed| changed > built)
        })
}

/// The root of the source tree.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Another program that a test compares with or runs against.
///
/// `None` after a line `SKIP …` when it is not installed; the caller returns.
///
/// # Panics
/// When it is not installed and `MERIDIAN_REQUIRE_PEERS=1`.
pub fn peer(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file());
    if found.is_none() {
        let required = std::env::var("MERIDIAN_REQUIRE_PEERS").is_ok_and(|v| v == "1");
        assert!(
            !required,
            "{program} is not installed (tests/run installs it)"
        );
        eprintln!("SKIP {program} is not installed (tests/run installs it)");
    }
    found
}

/// Puts a copy of a program, or of a script, where it can be run at once.
///
/// A process of its own writes it. What this one has open for writing is open, for a moment, in every
/// process that another thread is just starting, and until then it cannot be run (ETXTBSY).
///
/// # Panics
/// When it cannot be copied.
pub fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("cp").arg(from).arg(to).status();
    assert!(status.expect("cp runs").success(), "{}", to.display());
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(to, everybody).expect("permissions");
}

/// An empty folder that disappears when dropped.
///
/// # Panics
/// When the system gives none.
pub fn scratch() -> TempDir {
    tempfile::Builder::new()
        .prefix("meridian-test-")
        .tempdir()
        .expect("a temporary folder")
}

/// A port of `127.0.0.1` that nobody else gets: see [`own_port`].
pub fn free_port() -> u16 {
    own_port(&[IpAddr::V4(Ipv4Addr::LOCALHOST)])
}

/// Polls until `poll` gives something.
///
/// # Panics
/// After `limit`, naming what was waited for.
#[allow(clippy::disallowed_methods)] // a real process is watched
pub fn eventually<T>(what: &str, limit: Duration, mut poll: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(
            started.elapsed() < limit,
            "waited {limit:?} in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_peer_is_none_and_a_present_one_a_path() {
        if std::env::var_os("MERIDIAN_REQUIRE_PEERS").is_none() {
            assert_eq!(peer("no-such-program-as-this"), None);
        }
        assert!(peer("sh").is_some());
    }

    #[test]
    fn a_child_is_gone_after_drop_and_its_output_is_kept() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo to-out; echo to-err >&2; exec sleep 1000"]);
        let child = Running::start("shell", &mut shell);
        child.wait_for_log("to-err");
        assert!(child.log().contains("to-out"));
        let proc = PathBuf::from(format!("/proc/{}", child.pid()));
        assert!(proc.exists());
        drop(child);
        assert!(!proc.exists());
    }
}
