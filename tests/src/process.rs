//! A child process that ends with the test.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{PATIENCE, eventually};

/// A child process. Its output is captured; dropping it kills it by its pid, and shows the end of
/// its output when the test is failing.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    output: PathBuf,
    _folder: TempDir,
}

impl Running {
    /// Starts `command` with no input and its output captured.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let folder = crate::scratch();
        let output = folder.path().join("output");
        let file = File::create(&output).expect("a file for the output");
        let also = file.try_clone().expect("a second handle");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(also)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self {
            name: name.to_owned(),
            child,
            output,
            _folder: folder,
        }
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its memory in KiB.
    ///
    /// # Panics
    /// When it is gone.
    pub fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let text = std::fs::read_to_string(path).expect("status of the process");
        let line = text.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        let number = number.and_then(|number| number.parse().ok());
        number.expect("a number")
    }

    /// Everything it wrote so far, both streams.
    pub fn log(&self) -> String {
        let octets = std::fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }

    /// Waits until its output contains `text`.
    ///
    /// # Panics
    /// When it does not within [`PATIENCE`].
    pub fn wait_for_log(&self, text: &str) {
        eventually(&format!("{} writes {text:?}", self.name), PATIENCE, || {
            self.log().contains(text).then_some(())
        });
    }

    /// Sends a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.exit_status().is_none()
            && let Ok(pid) = i32::try_from(self.child.id())
        {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// How it ended; `None` while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(&what, limit, || self.exit_status())
    }

    /// SIGTERM, then waits.
    ///
    /// # Panics
    /// When it still runs after [`PATIENCE`].
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait(PATIENCE)
    }

    /// SIGKILL, then waits.
    ///
    /// # Panics
    /// When it still runs after [`PATIENCE`].
    pub fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::SIGKILL);
        self.wait(PATIENCE)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = lines.len().saturating_sub(60);
            eprintln!(
                "--- {} wrote:\n{}\n---",
                self.name,
                lines[tail..].join("\n")
            );
        }
    }
}
