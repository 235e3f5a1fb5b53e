//! A server process: on one core, ended by its number.

use std::{
    fs,
    path::Path,
    process::{Command, ExitStatus},
    time::Duration,
};

use meridian_tests::Running;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{clock::Clock, proc};

/// How long a server may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// A server process. Dropping it ends it, and what it started.
#[derive(Debug)]
pub(crate) struct Child {
    running: Running,
    core: Option<usize>,
}

impl Child {
    /// Starts it; the command should come from [`pinned`] with the same core.
    pub(crate) fn start(name: &str, core: Option<usize>, command: &mut Command) -> Self {
        Self {
            running: Running::start(name, command),
            core,
        }
    }

    /// Puts every thread on its core again. Some servers choose cores for their threads themselves,
    /// counting from the first, which is the generator's.
    pub(crate) fn hold(&self) {
        let mut set = CpuSet::new();
        let Some(Ok(())) = self.core.map(|core| set.set(core)) else {
            return;
        };
        for pid in self.pids() {
            let threads = fs::read_dir(format!("/proc/{pid}/task"));
            for thread in threads.into_iter().flatten().flatten() {
                let number = thread.file_name().to_str().and_then(|n| n.parse().ok());
                // A thread that has just ended needs no core.
                if let Some(number) = number {
                    let _ = sched_setaffinity(Pid::from_raw(number), &set);
                }
            }
        }
    }

    /// It and everything it started.
    pub(crate) fn pids(&self) -> Vec<u32> {
        proc::family(self.running.pid())
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.running.exit_status()
    }

    /// The last lines of what it wrote.
    pub(crate) fn last_words(&self) -> String {
        let log = self.running.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(6)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.running.exit_status().is_some() {
            return;
        }
        let started = self.pids();
        self.running.signal(Signal::SIGTERM);
        let clock = Clock::new();
        while self.running.exit_status().is_none() && clock.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.running.exit_status().is_some() {
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

/// A command that runs `program` on `cores` (a list as `taskset` takes it), and ends with this process.
pub(crate) fn pinned(cores: Option<&str>, program: &Path) -> Command {
    let mut command = match cores {
        Some(cores) => {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", cores, "setpriv"]);
            command
        }
        None => Command::new("setpriv"),
    };
    command.args(["--pdeathsig", "TERM"]).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_held_on_its_core() {
        let mut command = Command::new("sleep");
        let child = Child::start("sleep", Some(0), command.arg("1000"));
        child.hold();
        for pid in child.pids() {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
        }
    }
}
