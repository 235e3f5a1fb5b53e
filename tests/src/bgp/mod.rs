//! Beds for BGP: two network namespaces with a link between, a router of another make in one, our
//! speaker in the other.
//!
//! ```text
//! host (10.99.0.2, fd00:99::2) ── veth ── router (10.99.0.1, fd00:99::1)
//! ```

mod bed;
mod host;
mod router;

pub use bed::Bed;
pub use host::Host;
pub use router::{Guard, Kind, RouteView, Router, RouterOptions, Via};

/// Our address, IPv4.
pub const HOST_V4: &str = "10.99.0.2";
/// Our address, IPv6.
pub const HOST_V6: &str = "fd00:99::2";
/// The router's address, IPv4.
pub const ROUTER_V4: &str = "10.99.0.1";
/// The router's address, IPv6.
pub const ROUTER_V6: &str = "fd00:99::1";
/// Our AS number.
pub const HOST_AS: u32 = 64512;
/// The router's AS number.
pub const ROUTER_AS: u32 = 64500;
