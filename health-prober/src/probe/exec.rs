//! One run of a program that judges a target, as monitoring plugins do.
//!
//! | exit status | means | here |
//! |---|---|---|
//! | 0 | OK | pass |
//! | 1 | WARNING: works, someone should look | pass |
//! | 2 and others, or a signal | CRITICAL | failure |
//! | 3 | UNKNOWN: the program could not tell | not probed, moves no verdict |
//!
//! The program gets an environment of our own, no input, and the time of the probe. At its end, or
//! when the time is over, everything that it has left in its process group is killed.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use meridian_config::ExecCheck;
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};
use tokio::{
    io::AsyncReadExt,
    process::{Child, ChildStdout, Command},
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use super::{Clock, Trouble, tls::shorten};
use crate::{LocalReason, Phase, Reason, Target};

/// So much of what the program writes is read; the rest is thrown away.
const OUTPUT: usize = 4096;
const UNKNOWN: i32 = 3;

/// Time to read what an ended program has written, where a process that it left in another group
/// holds its output open.
const LEFT_OPEN: Duration = Duration::from_millis(50);

/// Runs the program and judges how it ended.
pub(super) async fn probe(target: &Target, exec: &ExecCheck, clock: Clock) -> Result<(), Trouble> {
    let cannot = |error: io::Error| Trouble::Local(LocalReason::Program(error.kind()));
    let mut group = Group::start(target, exec).map_err(cannot)?;
    let run = async {
        let mut output = Output::of(group.child.stdout.take());
        tokio::select! {
            ended = group.ended() => ended.map_err(cannot)?,
            failed = output.read_on() => return Err(cannot(failed)),
        }
        // The program has its say when it ends, not when the last of its children does.
        group.kill();
        let _ = timeout(LEFT_OPEN, output.read_to_end()).await;
        let status = group.child.wait().await.map_err(cannot)?;
        judge(status, &output.text)
    };
    clock.limit(Phase::Answer, run).await
}

/// What a program writes.
struct Output {
    pipe: Option<ChildStdout>,
    text: Vec<u8>,
}

impl Output {
    fn of(pipe: Option<ChildStdout>) -> Self {
        Self {
            pipe,
            text: Vec::new(),
        }
    }

    /// Reads as long as it is polled; ends with what made reading impossible only.
    async fn read_on(&mut self) -> io::Error {
        match self.read_to_end().await {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    }

    /// Keeps the beginning. Whoever writes more must not wait for a reader.
    async fn read_to_end(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(());
        };
        let mut octets = [0; 4096];
        loop {
            let length = pipe.read(&mut octets).await?;
            if length == 0 {
                return Ok(());
            }
            let room = OUTPUT.saturating_sub(self.text.len());
            let new = octets.get(..length.min(room)).unwrap_or_default();
            self.text.extend_from_slice(new);
        }
    }
}

/// A program with all its children. Dropped before its end, it is killed.
struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Group {
    fn start(target: &Target, exec: &ExecCheck) -> io::Result<Self> {
        let mut words = exec.command.iter().map(|word| fill_in(word, target));
        let program = words.next().ok_or(io::ErrorKind::NotFound)?;
        let child = Command::new(program)
            .args(words)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("MERIDIAN_ADDRESS", target.address.to_string())
            .env("MERIDIAN_PORT", target.check.port.to_string())
            .env("MERIDIAN_POP", &target.group.pop)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok());
        Ok(Self {
            child,
            leader: leader.map(Pid::from_raw),
        })
    }

    /// Waits for the end of the program, and leaves it to be waited for: its number stays its own.
    async fn ended(&self) -> io::Result<()> {
        let Some(leader) = self.leader else {
            return Ok(());
        };
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        // Heard from here on, so that an end between a look and the wait is not missed.
        let mut ends = signal(SignalKind::child())?;
        loop {
            match waitid(Id::Pid(leader), flags) {
                Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => ends.recv().await,
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
        }
    }

    /// Kills what is left of the group.
    fn kill(&self) {
        // Only while the leader has not been waited for is the number surely still its own.
        if let (Some(leader), Some(_)) = (self.leader, self.child.id()) {
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

fn fill_in(word: &str, target: &Target) -> String {
    word.replace("{address}", &target.address.to_string())
        .replace("{port}", &target.check.port.to_string())
        .replace("{pop}", &target.group.pop)
}

fn judge(status: ExitStatus, output: &[u8]) -> Result<(), Trouble> {
    let text = String::from_utf8_lossy(output);
    let text = shorten(text.lines().next().unwrap_or_default());
    match status.code() {
        Some(0 | 1) => Ok(()),
        Some(UNKNOWN) => Err(Trouble::Local(LocalReason::ProgramUnknown(text))),
        code => Err(Reason::Exit { code, text }.into()),
    }
}
