//! Ports that nobody else gets.
//!
//! A port that the kernel has just given and that was let go again may be anybody's a moment later: any
//! socket of any test gets its port from the same range. So ports come from outside that range, and who
//! has one is noted under an abstract name of the kernel until this process ends.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    ops::RangeInclusive,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as Name, UnixListener},
    },
    sync::{Mutex, PoisonError},
};

/// Below are ports that well-known programs listen on.
const FIRST: u16 = 10_000;
/// Fewer ports than this are no range to draw from.
const ENOUGH: u16 = 2_000;

/// A port that is this process's own for UDP and TCP on all of these addresses, for as long as it lives.
///
/// # Panics
/// When no port is left.
pub fn own_port(addresses: &[IpAddr]) -> u16 {
    static MINE: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let range = range();
    let count = u64::from(range.end() - range.start()) + 1;
    let drawn = RandomState::new().hash_one(std::process::id());
    for step in 0..count {
        let offset = drawn.wrapping_add(step) % count;
        let port = range.start() + u16::try_from(offset).expect("within the range");
        let Ok(claim) = claim(port) else { continue };
        if addresses.iter().all(|at| is_free(*at, port)) {
            let mut mine = MINE.lock().unwrap_or_else(PoisonError::into_inner);
            mine.push(claim);
            return port;
        }
    }
    panic!("no port is free for both UDP and TCP on {addresses:?}");
}

/// The name, which ends with the process that has it.
fn claim(port: u16) -> io::Result<UnixListener> {
    let name = Name::from_abstract_name(format!("meridian-test-port-{port}"))?;
    UnixListener::bind_addr(&name)
}

fn is_free(address: IpAddr, port: u16) -> bool {
    let at = SocketAddr::new(address, port);
    TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok()
}

/// Ports that the kernel gives to nobody by itself; where that leaves too few, all.
fn range() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let text = text.unwrap_or_default();
    let mut given = text
        .split_whitespace()
        .filter_map(|port| port.parse::<u16>().ok());
    match (given.next(), given.next()) {
        (Some(first), _) if first >= FIRST + ENOUGH => FIRST..=first - 1,
        (_, Some(last)) if last < u16::MAX - ENOUGH => last.max(FIRST) + 1..=u16::MAX,
        _ => FIRST..=u16::MAX,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_are_given_once_and_outside_what_the_kernel_gives() {
        let home = IpAddr::from([127, 0, 0, 1]);
        let ports: BTreeSet<u16> = (0..50).map(|_| own_port(&[home])).collect();
        assert_eq!(ports.len(), 50);
        for port in ports {
            assert!(claim(port).is_err(), "{port} is not noted");
            assert!(range().contains(&port));
        }
    }
}
