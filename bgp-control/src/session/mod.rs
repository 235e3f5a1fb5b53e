//! Sessions with routers: a native BGP-4 speaker that announces and imports nothing.
//!
//! ```text
//! Desired (watch) → rib: what to say → conn, peer: when to say it (sans-IO)
//!                                        ↑ task: a peer's runner ← socket: the kernel
//! ```
//!
//! | file | does |
//! |---|---|
//! | `codec` | the only one that names the codec and state machine crates |
//! | `rib` | Adj-RIB-Out: the difference between desired and sent, as UPDATEs |
//! | `conn` | one connection: state machine, buffers, timers |
//! | `peer` | one peer: dialling, collisions, closing, the deadman |
//! | `socket`, `sockopt` | TCP-MD5, TCP-AO, TTL security, listening |
//! | `task`, `speaker` | runners and the handle |
//! | `saved` | an established session between two processes |
//!
//! # The deadman
//!
//! While DNS is not served, keepalives are withheld; after a second of it, sessions are closed and
//! not opened again until it is served. This is below the guard on purpose: the guard decides
//! whether a site that serves may leave, and a site that does not serve has left already.

mod codec;
mod conn;
mod fuzz;
mod jitter;
mod peer;
mod rib;
mod saved;
mod settings;
mod socket;
mod sockopt;
mod speaker;
mod status;
mod task;
#[cfg(test)]
mod tests;

#[doc(hidden)] // For tests/fuzz.
pub use fuzz::drive;
pub use saved::{HandedOver, Inherited, MadeWith, SavedSession};
pub use settings::{Auth, BGP_PORT, MAX_SECRET, PeerSettings, Secret, SpeakerSettings};
pub use speaker::{Pulse, Speaker};
pub use status::{
    Agreed, Counters, InstalledRoute, PeerEvent, PeerEventKind, PeerStatus, RefusedRoute,
    SessionState,
};
