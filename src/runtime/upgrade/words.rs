//! What the two processes say to each other.

use std::net::IpAddr;

use ipnet::IpNet;
use meridian_bgp_control::{
    bfd::{self, Neighbor, Portable},
    session::{Inherited, SavedSession},
};
use serde::{Deserialize, Serialize};

use crate::runtime::site::Passed;

/// Rises when an old server could misunderstand a new one.
pub(super) const PROTOCOL: u32 = 1;

/// From the old process.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum FromOld {
    /// The files are the DNS sockets, and last the admin listener.
    Offer {
        /// See [`PROTOCOL`].
        protocol: u32,
        /// Prefixes that must stay announced.
        announced: Vec<IpNet>,
    },
    /// Read from the sockets now.
    Serve,
    /// The files are the connections of the sessions, then the sockets of BFD.
    Sessions {
        /// BGP, by position.
        bgp: Vec<SavedSession>,
        /// BFD.
        bfd: Option<SavedBfd>,
    },
}

/// From the new process.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum FromNew {
    /// Everything is read and answers, but not yet on the sockets.
    Ready {
        /// Its version.
        version: String,
    },
    /// It answers on the sockets.
    Serving,
    /// It goes on with the sessions.
    Taken,
    /// It cannot, and ends.
    Failed(String),
}

/// BFD sessions without their sockets.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct SavedBfd {
    sessions: Vec<(Neighbor, Portable)>,
    receivers: Vec<IpAddr>,
}

/// Sessions in words; their files go beside them, in the order of [`files`].
pub(super) fn saved(passed: &Passed) -> FromOld {
    FromOld::Sessions {
        bgp: passed.sessions.iter().map(|s| s.session.clone()).collect(),
        bfd: passed.bfd.as_ref().map(|bfd| SavedBfd {
            sessions: bfd.sessions.clone(),
            receivers: bfd.receivers.clone(),
        }),
    }
}

/// The files of sessions.
pub(super) fn files(passed: &Passed) -> Vec<std::os::fd::BorrowedFd<'_>> {
    use std::os::fd::AsFd as _;
    let bgp = passed.sessions.iter().map(|session| session.fd.as_fd());
    let bfd = passed.bfd.iter().flat_map(|bfd| &bfd.sockets);
    bgp.chain(bfd.map(|fd| fd.as_fd())).collect()
}

/// The other end of [`saved`] and [`files`].
pub(super) fn passed(
    bgp: Vec<SavedSession>,
    bfd: Option<SavedBfd>,
    files: Vec<std::os::fd::OwnedFd>,
) -> Passed {
    let mut files = files.into_iter();
    // Sessions first: with a file missing the last of them are lost, not mixed up.
    let sessions = bgp
        .into_iter()
        .zip(files.by_ref())
        .map(|(session, fd)| Inherited { fd, session })
        .collect();
    Passed {
        sessions,
        bfd: bfd.map(|bfd| bfd::HandedOver {
            sessions: bfd.sessions,
            receivers: bfd.receivers,
            sockets: files.collect(),
        }),
    }
}
