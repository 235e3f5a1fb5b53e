//! From octets to a checked query.

use std::net::IpAddr;

/// EDNS Client Subnet option (RFC 7871 §6), checked: `address` has no bit set beyond `source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ecs {
    /// 1 for IPv4, 2 for IPv6; 0 only with `source` 0 (what `dig +subnet=0` sends).
    pub family: u16,
    /// SOURCE PREFIX-LENGTH in bits; 0 is the client's opt-out.
    pub source: u8,
    /// SCOPE PREFIX-LENGTH in bits; always 0 in a query.
    pub scope: u8,
    /// The client's prefix; `0.0.0.0` for family 0.
    pub address: IpAddr,
}
