//! The kernel's side of a session: opening, listening, authentication, TTL security.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{
    settings::{Auth, PeerSettings, SpeakerSettings},
    sockopt,
};

/// With TCP-MD5 a closed port does not refuse, so that an attempt has to be given up early.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Octets that the kernel may hold for a peer that does not read.
const SEND_BUFFER: usize = 64 * 1024;
/// TTL and hop limit of RFC 5082.
const GTSM_TTL: u8 = 255;
/// CS6, network control (RFC 4594 §3.2).
const TRAFFIC_CLASS: u32 = 0xc0;

/// Opens a connection.
///
/// # Errors
/// With a text that says what an operator can look at.
pub(super) async fn dial(peer: PeerSettings, send_hold: Duration) -> Result<TcpStream, String> {
    let before = md5_drops();
    let attempt = async {
        let socket = prepared(&peer, send_hold).map_err(|error| error.to_string())?;
        let socket = TcpSocket::from_std_stream(socket.into());
        let connecting = socket.connect(peer.dial_address());
        match tokio::time::timeout(DIAL_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(format!(
                "cannot connect to {}: {error}",
                peer.dial_address()
            )),
            Err(_) => Err(format!("no answer from {} within 1 s", peer.dial_address())),
        }
    };
    attempt.await.map_err(|text| text + &hint(&peer, before))
}

/// What else an operator can look at when a connection could not be opened.
fn hint(peer: &PeerSettings, before: u64) -> String {
    let refused = md5_drops().saturating_sub(before);
    let seen = match refused {
        0 => String::new(),
        count => {
            format!("; meanwhile the kernel refused {count} segments for their TCP-MD5 signature")
        }
    };
    let guess = match peer.auth {
        Auth::None | Auth::Missing => "",
        Auth::Md5(_) => "; if the peer is up, its TCP-MD5 password differs from password_file",
        Auth::Ao { .. } => "; if the peer is up, its TCP-AO key differs",
    };
    format!("{guess}{seen}")
}

/// A socket towards `peer` with everything set but the connection.
fn prepared(peer: &PeerSettings, send_hold: Duration) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(peer.dial_address()),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    authenticate(&socket, peer)?;
    tune(&socket, peer, send_hold)?;
    if let Some(local) = peer.local_address {
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    Ok(socket)
}

/// Makes an accepted connection like a dialled one; its key came with the listening socket.
///
/// # Errors
/// Those of setsockopt(2).
pub(super) fn adopt(
    stream: &TcpStream,
    peer: &PeerSettings,
    send_hold: Duration,
) -> io::Result<()> {
    tune(&socket2::SockRef::from(stream), peer, send_hold)
}

/// A connection from a predecessor.
///
/// # Errors
/// Not a socket of the kind.
pub(super) fn inherit(fd: OwnedFd) -> io::Result<TcpStream> {
    let stream = std::net::TcpStream::from(fd);
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

fn tune(socket: &Socket, peer: &PeerSettings, send_hold: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    // RFC 9687 §5: the kernel's own buffer hides a peer that does not read; this does not.
    socket.set_tcp_user_timeout(Some(send_hold))?;
    match peer.address {
        IpAddr::V4(_) => socket.set_tos_v4(TRAFFIC_CLASS)?,
        IpAddr::V6(_) => socket.set_tclass_v6(TRAFFIC_CLASS)?,
    }
    if peer.gtsm {
        set_ttl(socket, peer.address.is_ipv4())?;
        sockopt::set_minimum_ttl(socket.as_fd(), peer.address, GTSM_TTL)?;
    }
    Ok(())
}

fn set_ttl(socket: &Socket, v4: bool) -> io::Result<()> {
    if v4 {
        socket.set_ttl_v4(u32::from(GTSM_TTL))
    } else {
        socket.set_unicast_hops_v6(u32::from(GTSM_TTL))
    }
}

fn authenticate(socket: &Socket, peer: &PeerSettings) -> io::Result<()> {
    match &peer.auth {
        Auth::None => Ok(()),
        Auth::Missing => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "its key could not be read",
        )),
        Auth::Md5(key) => sockopt::set_md5(socket.as_fd(), peer.address, key.octets()),
        Auth::Ao { key_id, key } => {
            sockopt::add_ao(socket.as_fd(), peer.address, *key_id, key.octets()).map_err(no_ao)
        }
    }
}

/// Fails closed: a session that was to be authenticated is never opened without it.
fn no_ao(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) => io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel has no TCP-AO (CONFIG_TCP_AO, Linux 6.7); use password_file (TCP-MD5) or another kernel",
        ),
        _ => error,
    }
}

/// Why no session with `peer` may be opened: its authentication does not work here. Others go on.
pub(super) fn refusal(peer: &PeerSettings) -> Option<String> {
    let domain = Domain::for_address(peer.dial_address());
    let tried = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))
        .and_then(|socket| authenticate(&socket, peer));
    tried
        .err()
        .map(|error| format!("the session stays closed: {error}"))
}

/// Where to listen: the addresses that peers are told to reach us at, or all of a family.
pub(super) fn listen_addresses(settings: &SpeakerSettings) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    if settings.listen_port == 0 {
        return addresses;
    }
    for v4 in [true, false] {
        let any: IpAddr = if v4 {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let of_family = settings
            .peers
            .iter()
            .filter(|peer| peer.address.is_ipv4() == v4);
        let mut wanted: Vec<_> = of_family
            .map(|peer| peer.local_address.unwrap_or(any))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.contains(&any) {
            wanted = vec![any];
        }
        addresses.extend(
            wanted
                .into_iter()
                .map(|ip| SocketAddr::new(ip, settings.listen_port)),
        );
    }
    addresses
}

/// Peers whose sessions may be opened at all.
pub(super) fn usable(settings: &SpeakerSettings) -> impl Iterator<Item = &PeerSettings> {
    settings.peers.iter().filter(|peer| refusal(peer).is_none())
}

/// Stops listening at once, whoever else still holds the socket.
pub(super) fn close(socket: &TcpListener) {
    // It fails only when it is closed already.
    let _ = socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Both);
}

/// A listening socket that knows the keys of the peers.
///
/// # Errors
/// The address is taken, or needs a capability.
pub(super) fn listen(address: SocketAddr, settings: &SpeakerSettings) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The handshake is answered before a connection can be told apart, so the TTL of RFC 5082 is
    // sent to everybody.
    set_ttl(&socket, address.is_ipv4())?;
    for peer in usable(settings).filter(|peer| peer.address.is_ipv4() == address.is_ipv4()) {
        authenticate(&socket, peer)?;
    }
    socket.bind(&address.into())?;
    socket.listen(16)?;
    TcpListener::from_std(socket.into())
}

/// Segments that the kernel dropped for their TCP-MD5 signature since it started, in this network
/// namespace.
fn md5_drops() -> u64 {
    let Ok(text) = std::fs::read_to_string("/proc/thread-self/net/netstat") else {
        return 0;
    };
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("TcpExt: "));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return 0;
    };
    let pairs = names.split(' ').zip(values.split(' '));
    let counters = ["TCPMD5NotFound", "TCPMD5Unexpected", "TCPMD5Failure"];
    let drops = pairs.filter(|(name, _)| counters.contains(name));
    drops
        .filter_map(|(_, value)| value.parse::<u64>().ok())
        .sum()
}
