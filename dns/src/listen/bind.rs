//! Opening the sockets, and saying clearly why one cannot be opened.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    thread::available_parallelism,
};

use meridian_config::Server;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tracing::warn;

use super::{
    mmsg,
    sockets::{Bound, Datagram, Sockets},
    udp::IDLE,
};

/// Connections that may wait in the kernel until they are accepted.
const BACKLOG: i32 = 1024;
/// Receive buffer asked of the kernel for each UDP socket: room for a burst of some thousand
/// queries. The kernel gives less where `net.core.rmem_max` says so.
const RECEIVE_BUFFER: usize = 4 << 20;
/// With port 0 the kernel chooses a port for UDP that may be taken for TCP.
const ATTEMPTS: usize = 20;

/// An address that cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address} ({transport}): {problem}")]
pub struct ListenError {
    /// As the configuration has it.
    pub address: SocketAddr,
    /// `UDP` or `TCP`.
    pub transport: &'static str,
    /// Why, and what would help.
    pub problem: ListenProblem,
}

/// Why an address cannot be listened on.
#[derive(Debug, Error)]
pub enum ListenProblem {
    /// EADDRINUSE
    #[error(
        "another program uses this address and port (`ss -lnptu sport = :{port}` shows which); \
         stop it, or choose another address in [server] listen"
    )]
    InUse {
        /// The port.
        port: u16,
    },
    /// EACCES or EPERM
    #[error(
        "no permission for this port; start as root with `user` set in [server], or give the \
         program the capability CAP_NET_BIND_SERVICE"
    )]
    NoPermission,
    /// EADDRNOTAVAIL
    #[error("this host has no such address (`ip address` shows those it has)")]
    NotAvailable,
    /// EAFNOSUPPORT
    #[error("this host does not speak this family of addresses; remove it from [server] listen")]
    NoFamily,
    /// Anything else.
    #[error("{0}")]
    Other(io::Error),
}

impl ListenProblem {
    fn new(error: io::Error, port: u16) -> Self {
        if error.raw_os_error() == Some(97) {
            return Self::NoFamily;
        }
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { port },
            io::ErrorKind::PermissionDenied => Self::NoPermission,
            io::ErrorKind::AddrNotAvailable => Self::NotAvailable,
            _ => Self::Other(error),
        }
    }
}

/// Opens everything that `config` asks for.
pub(super) fn bind(config: &Server) -> Result<Bound, ListenError> {
    adopt(config, Vec::new())
}

/// Uses the sockets of a predecessor, and opens what they lack. What `config` does not name is
/// closed.
pub(super) fn adopt(config: &Server, inherited: Vec<OwnedFd>) -> Result<Bound, ListenError> {
    let workers = match config.workers {
        0 => available_parallelism().map_or(1, usize::from),
        given => given,
    };
    let mut inherited = Inherited::sort(inherited);
    let mut sockets = Sockets::default();
    sockets.udp.resize_with(workers, Vec::new);
    let mut addresses = Vec::new();
    for &wanted in &config.listen {
        let (address, tcp, udp) = match inherited.take(wanted, workers)? {
            Some(both) => both,
            None => bind_both(wanted, workers)?,
        };
        addresses.push(address);
        sockets.tcp.push(tcp);
        // More sockets than workers come from a predecessor that had more of them: every socket must
        // be read by somebody.
        for (number, socket) in udp.into_iter().enumerate() {
            prepare(&socket, address).map_err(|error| listen_error(wanted, "UDP", error))?;
            if let Some(worker) = sockets.udp.get_mut(number % workers) {
                worker.push(Datagram { socket, address });
            }
        }
    }
    sockets.udp.retain(|worker| !worker.is_empty());
    Ok(Bound::new(sockets, config.tcp.clone(), addresses))
}

fn listen_error(address: SocketAddr, transport: &'static str, error: io::Error) -> ListenError {
    ListenError {
        address,
        transport,
        problem: ListenProblem::new(error, address.port()),
    }
}

/// An address with its sockets.
type Both = (SocketAddr, TcpListener, Vec<UdpSocket>);

/// Sockets of a predecessor.
#[derive(Default)]
struct Inherited {
    udp: Vec<(SocketAddr, UdpSocket)>,
    tcp: Vec<(SocketAddr, TcpListener)>,
}

impl Inherited {
    fn sort(sockets: Vec<OwnedFd>) -> Self {
        let mut sorted = Self::default();
        for socket in sockets.into_iter().map(Socket::from) {
            let address = socket.local_addr().ok().and_then(|a| a.as_socket());
            match (address, socket.r#type()) {
                (Some(address), Ok(Type::DGRAM)) => sorted.udp.push((address, socket.into())),
                (Some(address), Ok(Type::STREAM)) => sorted.tcp.push((address, socket.into())),
                _ => warn!("an inherited file descriptor is no socket of ours, closed"),
            }
        }
        sorted
    }

    /// What there is for an address of the configuration, completed; `None` when there is nothing.
    fn take(&mut self, wanted: SocketAddr, workers: usize) -> Result<Option<Both>, ListenError> {
        let fits = |has: &SocketAddr| {
            *has == wanted || (wanted.port() == 0 && has.ip() == wanted.ip() && has.port() != 0)
        };
        let mut all = self.udp.iter().map(|(has, _)| has);
        let Some(address) = all.find(|has| fits(has)).copied() else {
            return Ok(None);
        };
        let mut udp: Vec<_> = self
            .udp
            .extract_if(.., |(has, _)| *has == address)
            .map(|(_, socket)| socket)
            .collect();
        while udp.len() < workers {
            // A port that only root may open is not ours any more: as many sockets as there were.
            match join_udp(address) {
                Ok(socket) => udp.push(socket),
                Err(problem) => {
                    warn!(%address, %problem, "no UDP socket for each new worker until a restart");
                    break;
                }
            }
        }
        let listener = self.tcp.extract_if(.., |(has, _)| *has == address).next();
        let tcp = match listener {
            Some((_, listener)) => listener,
            None => bind_tcp(address).map_err(|error| listen_error(wanted, "TCP", error))?,
        };
        Ok(Some((address, tcp, udp)))
    }
}

/// UDP and TCP on one address and the same port.
fn bind_both(address: SocketAddr, workers: usize) -> Result<Both, ListenError> {
    let error = |transport, error| listen_error(address, transport, error);
    let mut attempt = 1;
    loop {
        let udp = bind_udp(address, workers).map_err(|e| error("UDP", e))?;
        let actual = match udp.first() {
            Some(socket) => socket.local_addr().map_err(|e| error("UDP", e))?,
            None => address,
        };
        match bind_tcp(actual) {
            Ok(tcp) => return Ok((actual, tcp, udp)),
            Err(_) if address.port() == 0 && attempt < ATTEMPTS => attempt += 1,
            Err(e) => return Err(error("TCP", e)),
        }
    }
}

/// One socket for each worker; the kernel spreads clients over them by their address and port.
fn bind_udp(address: SocketAddr, workers: usize) -> io::Result<Vec<UdpSocket>> {
    let first = udp_socket(address)?;
    // The first one is bound alone, so that a server which already shares this port is noticed
    // instead of being joined; from here on others may join.
    first.bind(&address.into())?;
    first.set_reuse_port(true)?;
    let first = UdpSocket::from(first);
    let actual = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(join_udp(actual)?);
    }
    Ok(sockets)
}

/// One more socket of an address that we have.
fn join_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = udp_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn udp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    only_own_family(&socket, address)?;
    Ok(socket)
}

/// What the workers' loop relies on.
fn prepare(socket: &UdpSocket, address: SocketAddr) -> io::Result<()> {
    let wildcard = address.ip().is_unspecified();
    match address {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4PacketInfo, &wildcard)?,
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &wildcard)?,
    }
    mmsg::leave_fragments_to_the_network(socket, address)?;
    // Reading is told each time whether it may wait, and never waits longer than this.
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(IDLE))?;
    // A wish, not a need; more than the kernel's `net.core.rmem_max` only for root.
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER);
    }
    Ok(())
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    only_own_family(&socket, address)?;
    // Connections of an earlier run that linger in TIME_WAIT do not keep the port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// `[::]:53` takes IPv6 only, so that it stands beside `0.0.0.0:53` and no client shows up as an
/// IPv4 address inside an IPv6 one.
fn only_own_family(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => Ok(()),
        SocketAddr::V6(_) => socket.set_only_v6(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::testing::config;

    #[test]
    fn both_families_share_a_port() {
        let v4 = bind(&config(&["0.0.0.0:0"], 2)).unwrap();
        let port = v4.addresses()[0].port();
        let both = bind(&config(&[&format!("[::]:{port}")], 2));
        assert!(both.is_ok(), "{both:?}");
    }

    #[test]
    fn a_port_in_use_is_one_clear_line() {
        let first = bind(&config(&["127.0.0.1:0"], 2)).unwrap();
        let taken = first.addresses()[0];
        let error = bind(&config(&[&taken.to_string()], 2)).unwrap_err();
        assert!(matches!(error.problem, ListenProblem::InUse { .. }));
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot listen on {taken} (UDP): another program")));
        assert!(!text.contains('\n'));
        drop(first);
        bind(&config(&[&taken.to_string()], 2)).unwrap();
    }

    #[test]
    fn a_tcp_port_in_use_is_noticed_too() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = other.local_addr().unwrap();
        let error = bind(&config(&[&taken.to_string()], 1)).unwrap_err();
        assert_eq!(error.transport, "TCP");
    }

    #[test]
    fn an_address_of_another_host_is_refused() {
        let error = bind(&config(&["192.0.2.1:0"], 1)).unwrap_err();
        assert!(matches!(error.problem, ListenProblem::NotAvailable));
        assert!(error.to_string().contains("no such address"));
    }

    #[test]
    fn a_missing_permission_names_the_remedy() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let text = ListenProblem::new(denied, 53).to_string();
        assert!(text.contains("CAP_NET_BIND_SERVICE") && text.contains("`user`"));
    }
}
