//! Sessions with routers: a native BGP-4 speaker that announces and imports nothing.
//!
//! ```text
//! Desired (watch) → rib: what to say → peer: when to say it (sans-IO) → task: a peer's runner
//!                                                                      → socket: the kernel
//! ```

mod settings;
mod speaker;
mod status;

pub use settings::{Auth, BGP_PORT, MAX_SECRET, PeerSettings, Secret, SpeakerSettings};
pub use speaker::{HandedOver, Inherited, Pulse, SavedSession, Speaker};
pub use status::{
    Agreed, Counters, InstalledRoute, PeerEvent, PeerEventKind, PeerStatus, RefusedRoute,
    SessionState,
};
