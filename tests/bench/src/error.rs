//! What can go wrong with a measurement.

use std::{io, path::PathBuf};

/// Why a server or the whole run was not measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program that is not there.
    #[error("{0} is not installed (tests/bench/run installs it when root on Debian)")]
    Missing(String),
    /// Meridian itself is not there.
    #[error("{} does not exist: cargo build --release --bin meridian", .0.display())]
    Unbuilt(PathBuf),
    /// A server that ended or never answered.
    #[error("{name} does not answer: {log}")]
    Silent {
        /// The server.
        name: String,
        /// The end of what it wrote.
        log: String,
    },
    /// A geo database that cannot be read.
    #[error("{}: {reason}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// Traffic that would leave this machine.
    #[error("{0} is not a loopback address; the generator asks no other")]
    NotLoopback(std::net::IpAddr),
    /// Nothing was left to measure.
    #[error("no server is left to measure")]
    Nothing,
}

impl BenchError {
    /// For `map_err`: what was tried.
    pub(crate) fn system<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::System {
            what,
            source: source.into(),
        }
    }
}
