//! Bidirectional Forwarding Detection towards BGP peers: asynchronous mode, single hop (RFC 5880,
//! RFC 5881), as quick eyes of the session (RFC 5882).
//!
//! ```text
//! runner (one thread: sockets, clock) → packet (decode, checks) → session (pure) → Liveness → speaker
//! ```
//!
//! # Why a thread of its own
//!
//! At 300 ms × 3 a pause of a second in whatever shares a thread with BFD takes the route away. The
//! runner waits in `poll(2)` and does nothing else.
//!
//! # Deadman
//!
//! Nothing is sent while the pulse of the DNS workers is missing: the neighbour then takes the path
//! as failed within its detection time, so a route never lives longer than the service behind it.

mod link;
mod packet;
mod runner;
mod session;
mod sockets;

#[cfg(test)]
mod tests;

pub use link::{Neighbor, Status};
pub use packet::{Diagnostic, Discard, Packet, State};
pub use runner::{Bfd, HandedOver, Pulse};
pub use session::{Change, Liveness, Portable, Session, Timing};
