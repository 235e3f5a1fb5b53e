//! A server process: on one core, ended by its number.

use std::{
    path::Path,
    process::{Command, ExitStatus},
    time::Duration,
};

use meridian_tests::Running;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{clock::Clock, proc};

/// How long a server may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// A server process. Dropping it ends it, and what it started.
#[derive(Debug)]
pub(crate) struct Child(Running);

impl Child {
    /// Starts it.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        Self(Running::start(name, command))
    }

    /// It and everything it started.
    pub(crate) fn pids(&self) -> Vec<u32> {
        proc::family(self.0.pid())
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.0.exit_status()
    }

    /// The last lines of what it wrote.
    pub(crate) fn last_words(&self) -> String {
        let log = self.0.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(6)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.0.exit_status().is_some() {
            return;
        }
        let started = self.pids();
        self.0.signal(Signal::SIGTERM);
        let clock = Clock::new();
        while self.0.exit_status().is_none() && clock.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.0.exit_status().is_some() {
            return;
        }
        // It does not listen: it and its children, by their numbers. `Running` reaps it.
        for pid in started {
            if let Ok(pid) = i32::try_from(pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

/// A command that runs `program` on `core`, and ends with this process.
pub(crate) fn pinned(core: Option<usize>, program: &Path) -> Command {
    let mut command = match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", &core.to_string(), "setpriv"]);
            command
        }
        None => Command::new("setpriv"),
    };
    command.args(["--pdeathsig", "TERM"]).arg(program);
    command
}
