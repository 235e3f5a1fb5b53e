//! The command line: parse, do, say it in one line when it failed.

mod args;
mod check;
mod client;
mod explain;
mod geo;
mod live;
mod plan;
mod serve;
mod talk;
mod values;

use std::{io, process::ExitCode};

use clap::Parser;
use meridian_config::Diagnostics;

use crate::render::{self, Style};
use args::{Cli, Command, Geo};
pub(crate) use args::{Demo, Moment};
use client::ClientError;
pub(crate) use live::Live;
pub(crate) use plan::Planned;
pub(crate) use serve::Signals;

/// Runs the program that the process arguments ask for. Exit codes: 0 done, 1 the thing asked for
/// failed, 2 wrong usage.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprint!("{}", failure.render(Style::stderr()));
            match failure {
                Failure::Usage(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => crate::demo::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Status(args) => block_on(talk::status(&args)),
        Command::Drain(args) => block_on(talk::drain(&args)),
        Command::Undrain(args) => block_on(talk::undrain(&args)),
        Command::Announcements(args) => block_on(talk::announcements(&args)),
        Command::Blackhole(args) => block_on(talk::blackhole(&args)),
        Command::Unblackhole(args) => block_on(talk::unblackhole(&args)),
        Command::Upgrade(args) => block_on(talk::upgrade(&args)),
        Command::Events(args) => block_on(talk::events(&args)),
        Command::Geo(Geo::Lookup(args)) => geo::lookup(&args),
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Mistakes in files.
    #[error("{0}")]
    Mistakes(#[from] Diagnostics),
    /// The server could not be asked, or said no.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// Threads or signals could not be had.
    #[error("cannot start: {0}")]
    Start(io::Error),
    /// Any other reason, one sentence.
    #[error("{0}")]
    Message(String),
    /// Several reasons, each a line.
    #[error("{what}: {}", .lines.join("; "))]
    List {
        /// What failed.
        what: String,
        /// Why, in the order in which it was found.
        lines: Vec<String>,
    },
    /// The command line asks for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Everything was already said on standard output.
    #[error("failed")]
    Said,
}

impl Failure {
    /// What stands on standard error.
    fn render(&self, style: Style) -> String {
        match self {
            Self::Mistakes(mistakes) => mistakes.render(style.color()),
            Self::Said => String::new(),
            Self::List { what, lines } => {
                let error = style.paint(render::Paint::Bad, "error:");
                let lines = lines
                    .iter()
                    .map(|line| format!("  {}\n", render::clean(line)));
                let lines: String = lines.collect();
                format!("{error} {}:\n{lines}", render::clean(what))
            }
            other => {
                let error = style.paint(render::Paint::Bad, "error:");
                format!("{error} {}\n", render::clean(&other.to_string()))
            }
        }
    }
}

/// The threads of a server.
pub(crate) fn threads() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::Start)
}

/// Runs a short talk with a server on this thread.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Start)?
        .block_on(work)
}
