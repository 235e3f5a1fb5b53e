//! Opening the sockets, and saying clearly why one cannot be opened.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    thread::available_parallelism,
};

use meridian_config::{Server, TcpLimits};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use super::udp::Prepared;

/// Connections that may wait in the kernel until they are accepted.
const BACKLOG: i32 = 1024;
/// Receive buffer asked of the kernel for each UDP socket: room for a burst of some thousand
/// queries. The kernel gives less where `net.core.rmem_max` says so.
const RECEIVE_BUFFER: usize = 4 << 20;
/// With port 0 the kernel chooses a port for UDP that may be taken for TCP.
const ATTEMPTS: usize = 20;

/// Open sockets that nobody reads yet.
#[derive(Debug)]
pub struct Bound {
    /// Per worker one socket for each address.
    pub(super) udp: Vec<Vec<Prepared>>,
    pub(super) tcp: Vec<TcpListener>,
    pub(super) limits: TcpLimits,
    addresses: Vec<SocketAddr>,
}

impl Bound {
    /// The addresses in the order of the configuration, with the ports that were chosen where the
    /// configuration said 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

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
    let workers = match config.workers {
        0 => available_parallelism().map_or(1, usize::from),
        given => given,
    };
    let mut bound = Bound {
        udp: (0..workers).map(|_| Vec::new()).collect(),
        tcp: Vec::new(),
        limits: config.tcp.clone(),
        addresses: Vec::new(),
    };
    for &address in &config.listen {
        let (actual, tcp, udp) = bind_both(address, workers)?;
        bound.addresses.push(actual);
        bound.tcp.push(tcp);
        for (worker, socket) in bound.udp.iter_mut().zip(udp) {
            let prepared = Prepared::new(socket).map_err(|error| ListenError {
                address,
                transport: "UDP",
                problem: ListenProblem::new(error, address.port()),
            })?;
            worker.push(prepared);
        }
    }
    Ok(bound)
}

type Both = (SocketAddr, TcpListener, Vec<UdpSocket>);

/// UDP and TCP on one address and the same port.
fn bind_both(address: SocketAddr, workers: usize) -> Result<Both, ListenError> {
    let error = |transport, error| ListenError {
        address,
        transport,
        problem: ListenProblem::new(error, address.port()),
    };
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
        let socket = udp_socket(actual)?;
        socket.set_reuse_port(true)?;
        socket.bind(&actual.into())?;
        sockets.push(socket.into());
    }
    Ok(sockets)
}

fn udp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    only_own_family(&socket, address)?;
    socket.set_nonblocking(true)?;
    // A wish, not a need.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    Ok(socket)
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
