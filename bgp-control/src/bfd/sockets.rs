//! Sockets of BFD (RFC 5881 §4, §5): one to receive for each local address, one to send for each
//! session.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
};

use nix::{
    cmsg_space, libc,
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt},
};
use socket2::{Domain, Protocol, Socket, Type};

/// RFC 5881 §4: "BFD Control packets MUST be transmitted in UDP packets with destination port 3784".
pub(super) const PORT: u16 = 3784;
/// RFC 5881 §5: sent with 255, and discarded when received with anything else (GTSM, RFC 5082).
const TTL: u8 = 255;
/// RFC 5881 §4: "The source port MUST be in the range 49152 through 65535."
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;
/// A control packet with the longest authentication section is shorter.
const RECEIVE: usize = 256;

/// A datagram that was sent with the right TTL.
pub(super) struct Datagram {
    pub(super) source: IpAddr,
    pub(super) octets: [u8; RECEIVE],
    pub(super) length: usize,
}

impl Datagram {
    pub(super) fn payload(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }
}

/// The address of ours from which a neighbour is reached.
///
/// # Errors
/// No route.
pub(super) fn local_towards(neighbor: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match neighbor {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a datagram socket sends nothing; the kernel only looks up the route.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((neighbor, PORT))?;
    Ok(socket.local_addr()?.ip())
}

/// Opens the socket that receives for one of our addresses.
///
/// # Errors
/// What the kernel says.
pub(super) fn receiver(local: IpAddr) -> io::Result<UdpSocket> {
    let socket = open(local, PORT)?;
    match local {
        IpAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?,
        IpAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?,
    }
    Ok(socket)
}

/// Opens the socket that sends for one session. `start` spreads the ports.
///
/// # Errors
/// What the kernel says; every port of the range is taken.
pub(super) fn sender(local: IpAddr, start: u16) -> io::Result<UdpSocket> {
    let span = SOURCE_PORTS.end() - SOURCE_PORTS.start();
    let mut problem = io::Error::from(io::ErrorKind::AddrInUse);
    for step in 0..64 {
        let port = SOURCE_PORTS.start() + start.wrapping_add(step * 251) % span;
        match open(local, port) {
            Err(busy) if busy.kind() == io::ErrorKind::AddrInUse => problem = busy,
            done => return done,
        }
    }
    Err(problem)
}

fn open(local: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(local, port);
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_unicast_hops_v6(TTL.into())?;
    } else {
        socket.set_ttl_v4(TTL.into())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Takes one datagram from a receiver; `None` when there is none that may be looked at.
///
/// # Errors
/// `WouldBlock` when the queue is empty; what the kernel says otherwise.
pub(super) fn receive(socket: &UdpSocket) -> io::Result<Option<Datagram>> {
    let mut octets = [0; RECEIVE];
    let mut control = cmsg_space!(libc::c_int);
    let (length, source, ttl) = {
        let mut slices = [IoSliceMut::new(&mut octets)];
        let message = recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let ttl = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => Some(ttl),
            _ => None,
        });
        (message.bytes, message.address.and_then(ip), ttl)
    };
    // RFC 5881 §5: "All received BFD Control packets that are demultiplexed to the session MUST be
    // discarded if the received TTL or Hop Limit is not equal to 255."
    Ok(match source {
        Some(source) if ttl == Some(TTL.into()) => Some(Datagram {
            source,
            octets,
            length,
        }),
        _ => None,
    })
}

fn ip(address: SockaddrStorage) -> Option<IpAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(v4.ip().into());
    }
    address.as_sockaddr_in6().map(|v6| v6.ip().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_ttl_is_looked_at() {
        let local: IpAddr = "127.77.1.1".parse().unwrap();
        let receiving = receiver(local).unwrap();
        let sending = sender(local, 7).unwrap();
        assert!(SOURCE_PORTS.contains(&sending.local_addr().unwrap().port()));
        sending.set_ttl(254).unwrap();
        sending.send_to(b"far", (local, PORT)).unwrap();
        sending.set_ttl(255).unwrap();
        sending.send_to(b"near", (local, PORT)).unwrap();
        assert!(receive(&receiving).unwrap().is_none());
        let near = receive(&receiving).unwrap().unwrap();
        assert_eq!((near.source, near.payload()), (local, b"near".as_slice()));
        let empty = receive(&receiving).err().unwrap();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_local_address_is_that_of_the_route() {
        let local = local_towards("127.0.0.9".parse().unwrap()).unwrap();
        assert!(local.is_loopback());
    }
}
