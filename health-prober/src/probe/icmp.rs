//! One echo request over a datagram socket, which needs no privilege where the system's
//! `net.ipv4.ping_group_range` holds our group (RFC 792, RFC 4443 §4).

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{IpAddr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::{Clock, Trouble, connect};
use crate::{LocalReason, Phase};

const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
/// Type, code, checksum, identifier, sequence number.
const HEAD: usize = 8;

/// Sends one request and waits for its reply.
pub(super) async fn probe(address: IpAddr, clock: Clock) -> Result<(), Trouble> {
    let nonce = RandomState::new().hash_one(0_u8).to_be_bytes();
    let (request, reply) = match address {
        IpAddr::V4(_) => (ECHO_REQUEST_V4, ECHO_REPLY_V4),
        IpAddr::V6(_) => (ECHO_REQUEST_V6, ECHO_REPLY_V6),
    };
    let ask = async {
        let trouble = |error: io::Error| connect::trouble(&error);
        let socket = open(address).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Trouble::Local(LocalReason::NoPing),
            _ => trouble(error),
        })?;
        // The kernel fills in the identifier and the checksum of a datagram socket.
        let mut message = [request, 0, 0, 0, 0, 0, 0, 1].to_vec();
        message.extend(nonce);
        socket.send(&message).await.map_err(trouble)?;
        let mut octets = [0; 256];
        loop {
            let length = socket.recv(&mut octets).await.map_err(trouble)?;
            let octets = octets.get(..length).unwrap_or_default();
            if octets.first() == Some(&reply) && octets.get(HEAD..) == Some(nonce.as_slice()) {
                return Ok(());
            }
        }
    };
    clock.limit(Phase::Answer, ask).await
}

fn open(address: IpAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.connect(&SocketAddr::new(address, 0).into())?;
    UdpSocket::from_std(socket.into())
}
