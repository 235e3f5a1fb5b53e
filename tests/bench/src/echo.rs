//! The floor: what the socket API alone costs. Datagrams go back from where they were received, in
//! batches, with the system's own calls and nothing around them.
//!
//! An answer is a little longer than its query, so the echo makes it longer too.

#![allow(unsafe_code)] // the system calls, without what a wrapper would add to the floor

use std::{io, mem, net::SocketAddrV4, os::fd::AsRawFd, ptr};

use socket2::{Domain, Socket, Type};

use crate::net::BUFFER;

/// Datagrams in one system call: more gain nothing.
const BATCH: usize = 64;

/// Octets of a datagram, an odd number of cache lines.
const SLOT: usize = 25 * 64;

/// Octets that an answer with one address has more than its query.
const GROWTH: usize = 16;

/// A batch: what the kernel writes and reads again.
struct Buffers {
    headers: [libc::mmsghdr; BATCH],
    iovecs: [libc::iovec; BATCH],
    names: [libc::sockaddr_in; BATCH],
    octets: [[u8; SLOT]; BATCH],
}

/// Answers every datagram with itself and the QR bit set, for ever.
///
/// # Errors
/// When the address cannot be had, or the socket breaks.
pub(crate) fn run(address: SocketAddrV4) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // The kernel gives what it may; less is no reason to stop.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&address.into())?;
    // SAFETY: all zeros are a valid value of every part.
    let mut buffers: Box<Buffers> = unsafe { Box::new(mem::zeroed()) };
    let buffers: *mut Buffers = &raw mut *buffers;
    // SAFETY: `buffers` lives as long as this function, which alone uses it, through this pointer.
    unsafe {
        for at in 0..BATCH {
            (*buffers).iovecs[at].iov_base = (&raw mut (*buffers).octets[at]).cast();
            let header = &raw mut (*buffers).headers[at].msg_hdr;
            (*header).msg_name = (&raw mut (*buffers).names[at]).cast();
            (*header).msg_namelen = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
            (*header).msg_iov = &raw mut (*buffers).iovecs[at];
            (*header).msg_iovlen = 1;
            (*buffers).iovecs[at].iov_len = SLOT;
        }
        let headers: *mut libc::mmsghdr = (&raw mut (*buffers).headers).cast();
        loop {
            let received = call(|| {
                let (all, wait) = (BATCH as libc::c_uint, libc::MSG_WAITFORONE);
                libc::recvmmsg(socket.as_raw_fd(), headers, all, wait as _, ptr::null_mut())
            })?;
            for at in 0..received {
                (*buffers).octets[at][2] |= 0x80;
                let length = (*headers.add(at)).msg_len as usize;
                (*buffers).iovecs[at].iov_len = (length + GROWTH).min(SLOT);
            }
            let mut sent = 0;
            while sent < received {
                sent += call(|| {
                    let left = (received - sent) as libc::c_uint;
                    libc::sendmmsg(socket.as_raw_fd(), headers.add(sent), left, 0)
                })?;
            }
            for at in 0..received {
                (*buffers).iovecs[at].iov_len = SLOT;
            }
        }
    }
}

fn call(mut once: impl FnMut() -> libc::c_int) -> io::Result<usize> {
    loop {
        match usize::try_from(once()) {
            Ok(count) => return Ok(count),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}
