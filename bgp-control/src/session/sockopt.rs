//! Socket options that no crate of ours has: TCP-MD5, TCP-AO, minimum TTL.
#![allow(unsafe_code)]

use std::{
    io, mem,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, BorrowedFd},
};

use libc::{c_int, c_void, socklen_t};
use socket2::SockAddr;

use super::settings::MAX_SECRET;

/// `linux/tcp.h`, Linux 6.7; not in libc yet.
const TCP_AO_ADD_KEY: c_int = 38;

/// `struct tcp_md5sig` of `linux/tcp.h`.
#[repr(C)]
struct TcpMd5Sig {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: c_int,
    key: [u8; MAX_SECRET],
}

/// `struct tcp_ao_add` of `linux/tcp.h`.
#[repr(C, align(8))]
struct TcpAoAdd {
    address: libc::sockaddr_storage,
    algorithm: [u8; 64],
    interface: i32,
    flags: u32,
    reserved: u16,
    prefix_length: u8,
    send_id: u8,
    receive_id: u8,
    mac_length: u8,
    key_flags: u8,
    key_length: u8,
    key: [u8; MAX_SECRET],
}

/// Sets, replaces or (with an empty key) removes the TCP-MD5 key for segments of `peer`.
///
/// # Errors
/// Those of setsockopt(2); `ENOENT` when there is no key to remove.
pub(super) fn set_md5(socket: BorrowedFd<'_>, peer: IpAddr, key: &[u8]) -> io::Result<()> {
    let (key_length, key) = padded(key)?;
    let value = TcpMd5Sig {
        address: storage(peer),
        flags: 0,
        prefix_length: 0,
        key_length: u16::from(key_length),
        interface: 0,
        key,
    };
    set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &value)
}

/// Adds a TCP-AO key, HMAC-SHA-1-96, for segments of `peer`.
///
/// # Errors
/// Those of setsockopt(2); `ENOPROTOOPT` where the kernel has no TCP-AO.
pub(super) fn add_ao(socket: BorrowedFd<'_>, peer: IpAddr, id: u8, key: &[u8]) -> io::Result<()> {
    let (key_length, key) = padded(key)?;
    let mut algorithm = [0; 64];
    algorithm[..10].copy_from_slice(b"hmac(sha1)");
    let value = TcpAoAdd {
        address: storage(peer),
        algorithm,
        interface: 0,
        flags: 0,
        reserved: 0,
        prefix_length: if peer.is_ipv4() { 32 } else { 128 },
        send_id: id,
        receive_id: id,
        mac_length: 0,
        key_flags: 0,
        key_length,
        key,
    };
    set(socket, libc::IPPROTO_TCP, TCP_AO_ADD_KEY, &value)
}

/// Lets only packets with at least this TTL or hop limit in (RFC 5082).
///
/// # Errors
/// Those of setsockopt(2).
pub(super) fn set_minimum_ttl(socket: BorrowedFd<'_>, peer: IpAddr, ttl: u8) -> io::Result<()> {
    let ttl = c_int::from(ttl);
    match peer {
        IpAddr::V4(_) => set(socket, libc::IPPROTO_IP, libc::IP_MINTTL, &ttl),
        IpAddr::V6(_) => set(socket, libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT, &ttl),
    }
}

fn padded(key: &[u8]) -> io::Result<(u8, [u8; MAX_SECRET])> {
    let mut padded = [0; MAX_SECRET];
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "key longer than 80 octets");
    padded
        .get_mut(..key.len())
        .ok_or_else(too_long)?
        .copy_from_slice(key);
    Ok((u8::try_from(key.len()).map_err(|_| too_long())?, padded))
}

fn storage(address: IpAddr) -> libc::sockaddr_storage {
    let address = SockAddr::from(SocketAddr::new(address, 0));
    // SAFETY: all zeroes is a valid `sockaddr_storage`, which has only integer fields.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    // SAFETY: `address` points to `address.len()` readable octets, `SockAddr` is never longer than
    // `sockaddr_storage`, and the two values do not overlap.
    unsafe {
        std::ptr::copy_nonoverlapping(
            address.as_ptr().cast::<u8>(),
            (&raw mut storage).cast::<u8>(),
            address.len() as usize,
        );
    }
    storage
}

fn set<T>(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` is a live reference to `size_of::<T>()` octets, which is the length told;
    // the kernel only reads them. Every caller passes the structure that the option expects.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast::<c_void>(),
            mem::size_of::<T>() as socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
