//! One run of a program that judges a target, as monitoring plugins do.
//!
//! | exit status | means | here |
//! |---|---|---|
//! | 0 | OK | pass |
//! | 1 | WARNING: works, someone should look | pass |
//! | 2 and others, or a signal | CRITICAL | failure |
//! | 3 | UNKNOWN: the program could not tell | not probed, moves no verdict |
//!
//! The program gets an environment of our own, no input, and the time of the probe: then it and
//! everything that it started in its process group is killed.

use std::process::{ExitStatus, Stdio};

use meridian_config::ExecCheck;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
};

use super::{Clock, Trouble, tls::shorten};
use crate::{LocalReason, Phase, Reason, Target};

/// So much of what the program writes is read; the rest is thrown away.
const OUTPUT: u64 = 4096;
const UNKNOWN: i32 = 3;

/// Runs the program and judges how it ended.
pub(super) async fn probe(target: &Target, exec: &ExecCheck, clock: Clock) -> Result<(), Trouble> {
    let cannot = |error: std::io::Error| Trouble::Local(LocalReason::Program(error.kind()));
    let mut group = Group::start(target, exec).map_err(cannot)?;
    let run = async {
        let mut text = Vec::new();
        if let Some(output) = group.child.stdout.take() {
            let mut output = output.take(OUTPUT);
            output.read_to_end(&mut text).await.map_err(cannot)?;
            // Whoever writes more must not wait for a reader.
            tokio::io::copy(output.get_mut(), &mut tokio::io::sink())
                .await
                .map_err(cannot)?;
        }
        let status = group.child.wait().await.map_err(cannot)?;
        judge(status, &text)
    };
    clock.limit(Phase::Answer, run).await
}

/// A program with all its children. Dropped before its end, it is killed.
struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Group {
    fn start(target: &Target, exec: &ExecCheck) -> std::io::Result<Self> {
        let mut words = exec.command.iter().map(|word| fill_in(word, target));
        let program = words.next().ok_or(std::io::ErrorKind::NotFound)?;
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
}

impl Drop for Group {
    fn drop(&mut self) {
        // Only while the leader has not been waited for is the number surely still its own.
        if let (Some(leader), Some(_)) = (self.leader, self.child.id()) {
            let _ = killpg(leader, Signal::SIGKILL);
        }
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
