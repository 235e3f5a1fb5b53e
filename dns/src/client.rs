//! Who asks: the client prefix of a query, from EDNS Client Subnet when present, else from the
//! address that the query came from.
//!
//! ```text
//! ECS, source > 0  → Ecs     judged by the prefix in the option
//! ECS, source = 0  → OptOut  judged by the address of the query, scope 0 in the reply
//! no ECS           → Source  judged by the address of the query, no ECS in the reply
//! ```
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{fmt, net::IpAddr};

use serde::Serialize;

/// The client of a query, as far as steering wants to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Client {
    /// First address of the client prefix, or the address that the query came from.
    pub address: IpAddr,
    /// SOURCE PREFIX-LENGTH in bits (RFC 7871 §6); all bits where there is no ECS.
    pub source_len: u8,
    /// Where the two come from.
    pub origin: Origin,
}

/// Where a client prefix comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// EDNS Client Subnet.
    Ecs,
    /// The address that the query came from.
    Source,
    /// EDNS Client Subnet with source prefix length 0.
    OptOut,
}

impl Client {
    /// The client of a query without ECS. An IPv4 address written as IPv6, as a socket bound to
    /// `::` reports it, becomes IPv4 again.
    pub fn from_source(source: IpAddr) -> Self {
        let address = source.to_canonical();
        Self {
            address,
            source_len: bits(address),
            origin: Origin::Source,
        }
    }

    /// The client of a query whose ECS option holds `address`/`source_len`.
    ///
    /// The option must have passed the parser: no bit of `address` beyond `source_len` is set.
    pub fn from_ecs(address: IpAddr, source_len: u8, source: IpAddr) -> Self {
        // RFC 7871 §7.1.2: "A SOURCE PREFIX-LENGTH value of 0 means that the Recursive Resolver
        // MUST NOT add the client's address information to its queries." What is left to judge
        // by is the resolver's own address.
        if source_len == 0 {
            return Self {
                origin: Origin::OptOut,
                ..Self::from_source(source)
            };
        }
        Self {
            address,
            source_len,
            origin: Origin::Ecs,
        }
    }

    /// The client of a query with or without an ECS option.
    pub fn of(ecs: Option<&crate::query::Ecs>, source: IpAddr) -> Self {
        match ecs {
            Some(ecs) => Self::from_ecs(ecs.address, ecs.source, source),
            None => Self::from_source(source),
        }
    }
}

impl fmt::Display for Client {
    /// `ADDRESS/LENGTH`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.source_len)
    }
}

/// Number of bits of an address.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_origins() {
        let source: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        let v4: IpAddr = "192.0.2.7".parse().unwrap();
        let prefix: IpAddr = "203.0.113.0".parse().unwrap();
        let client = |address, source_len, origin| Client {
            address,
            source_len,
            origin,
        };
        assert_eq!(Client::from_source(source), client(v4, 32, Origin::Source));
        assert_eq!(
            Client::from_ecs(prefix, 24, source),
            client(prefix, 24, Origin::Ecs)
        );
        assert_eq!(
            Client::from_ecs(prefix, 0, source),
            client(v4, 32, Origin::OptOut)
        );
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(Client::from_source(v6), client(v6, 128, Origin::Source));
    }
}
