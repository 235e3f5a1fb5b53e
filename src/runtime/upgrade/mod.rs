//! Handing a running server over to another binary, without a lost query and without a session that
//! goes down.
//!
//! ```text
//! old                                   new (same arguments, its standard input is the channel)
//! Offer + DNS and admin sockets ──────→ reads everything, asks itself on sockets of its own,
//!                                       waits for the verdicts of its probes
//!                            ←───────── Ready
//! stops reading; Serve ───────────────→ reads: what waited in the kernel's queues is answered;
//!                                       asks itself through the real sockets
//!                            ←───────── Serving
//! Sessions + their sockets ───────────→ goes on with BGP and BFD
//!                            ←───────── Taken
//! ends without a word
//! ```
//!
//! # What can go wrong
//! Whatever fails, and whatever is silent for too long, before `Taken`: the new process is ended, and
//! the old one goes on with the sockets and sessions that it still holds. It keeps them open until the
//! very end.

mod channel;
mod new;
mod old;
mod words;

use std::{path::PathBuf, sync::OnceLock};

use serde::Serialize;

pub use channel::ChannelError;
pub use new::Successor;

/// Says in the environment that the standard input is a channel.
const VARIABLE: &str = "MERIDIAN_UPGRADE";

/// What an upgrade did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Upgraded {
    /// The process that has taken over.
    pub pid: u32,
    /// Its version.
    pub version: String,
}

/// Why the old server goes on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// One at a time.
    #[error("an upgrade is under way already")]
    Busy,
    /// Not every state can be handed over.
    #[error("{prefix} is {stage}: {why}; upgrade when it is up, or withdrawn by an operator")]
    Unsettled {
        /// The prefix.
        prefix: String,
        /// Its stage.
        stage: &'static str,
        /// Why it is there.
        why: String,
    },
    /// Its end is known to this process alone.
    #[error("{0} is blackholed; upgrade when that has ended")]
    Blackhole(String),
    /// The binary cannot be started.
    #[error("{} cannot be started: {source}", program.display())]
    Start {
        /// The binary.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The new server said why.
    #[error("the new server does not take over: {0}")]
    Failed(String),
    /// The new server broke off, and how.
    #[error("the new server {when}: {source}; {ended}")]
    Lost {
        /// At which step.
        when: &'static str,
        /// What happened to the channel.
        source: ChannelError,
        /// How the process ended.
        ended: String,
    },
    /// A socket cannot be copied.
    #[error("the sockets cannot be passed on: {0}")]
    Sockets(std::io::Error),
}

/// The path of this program as it was at the start: another file may stand there by now, and that one
/// is to be started. Call it early.
pub fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM
        .get_or_init(|| std::env::current_exe().unwrap_or_else(|_| PathBuf::from("meridian")))
        .clone()
}
