//! How many sockets the prober may hold, derived from what the system allows this process.

use nix::sys::resource::{Resource, getrlimit};

/// Bounds on sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Probes under way; each holds at most one socket.
    pub(crate) in_flight: usize,
    /// Connections kept between probes.
    pub(crate) kept: usize,
}

impl Limits {
    /// From the soft limit of open files of this process.
    pub(crate) fn of_this_process() -> Self {
        let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        Self::of(files)
    }

    /// An eighth of the files for probes under way and a quarter for kept connections: the
    /// greater part stays with DNS over TCP, the admin API and the databases.
    fn of(files: u64) -> Self {
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        Self {
            in_flight: (files / 8).clamp(32, 4096),
            kept: (files / 4).min(16_384),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (files, in_flight, kept) in [
            (64, 32, 16),
            (1024, 128, 256),
            (20_000, 2500, 5000),
            (u64::MAX, 4096, 16_384),
        ] {
            assert_eq!(Limits::of(files), Limits { in_flight, kept });
        }
    }
}
