//! Datagrams in batches, `recvmmsg` and `sendmmsg`: the one module of the query path with unsafe code.
//!
//! A reply is written where its query stood, so one set of headers, iovecs and addresses serves both
//! directions: nothing is copied, and nothing is allocated after the beginning.
//!
//! ```text
//! headers[i] ──→ names[i]     where datagram i came from, and its reply goes
//!            ──→ iovecs[i]  ──→ octets[i]   the query, then the reply
//!            ──→ controls[i]  the address of ours that was asked (sockets of all addresses only)
//! ```
//!
//! The kernel is handed pointers, which is why this is unsafe: all of them point into one block of
//! memory ([`Memory`]) that lives as long as the [`Datagrams`] and never moves.

#![allow(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::undocumented_unsafe_blocks
)]

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket},
    os::fd::AsRawFd,
    ptr::{self, NonNull},
    time::Duration,
};

use super::packet::{Arrival, Slot};

/// Datagrams in one system call.
pub(super) const BATCH: usize = 64;
/// Octets of a datagram. Replies over UDP are at most 1232 octets, and so are queries of clients that
/// heed what we tell them. An odd number of cache lines, so that the beginnings of the slots spread
/// over the sets of the cache.
pub(super) const SLOT: usize = 25 * 64;
/// Of a query that did not fit only this much is looked at (RFC 1035 §4.1.1: the header), so that it
/// is answered FORMERR instead of what its first part would ask.
const HEADER: usize = 12;
/// Octets of control data: one `in_pktinfo` or `in6_pktinfo`.
const CONTROL: usize = 64;

/// An address as the kernel writes it. As small as can be: a batch of them stays in few cache lines.
#[repr(C)]
#[derive(Clone, Copy)]
union Name {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// Control data, aligned for `cmsghdr`.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// What the kernel reads and writes. All zeros are a valid value.
#[repr(C, align(64))]
struct Memory {
    headers: [libc::mmsghdr; BATCH],
    iovecs: [libc::iovec; BATCH],
    names: [Name; BATCH],
    controls: [Control; BATCH],
    octets: [[u8; SLOT]; BATCH],
}

/// Room for one batch: received, answered in place, sent.
pub(super) struct Datagrams {
    memory: NonNull<Memory>,
    /// Whether the destination address is received and the replies leave from it.
    tells_destination: bool,
    /// Datagrams received.
    received: usize,
    /// Replies queued.
    replies: usize,
    /// A header no longer points to the slot of its number.
    moved: bool,
}

impl Datagrams {
    /// Empty. `tells_destination`: for a socket of all addresses of the host.
    pub(super) fn new(tells_destination: bool) -> Self {
        let layout = Layout::new::<Memory>();
        // SAFETY: the layout of `Memory` is not of size zero.
        let octets = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(octets.cast::<Memory>()) else {
            handle_alloc_error(layout)
        };
        let mut new = Self {
            memory,
            tells_destination,
            received: BATCH,
            replies: 0,
            moved: true,
        };
        new.reset();
        new
    }

    /// Receives what is there, waiting for the first one (as long as the socket's timeout says) if
    /// `wait`. What was not sent of the batch before is forgotten.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` when nothing came.
    pub(super) fn receive(&mut self, socket: &UdpSocket, wait: bool) -> io::Result<usize> {
        self.reset();
        let flags = if wait {
            libc::MSG_WAITFORONE
        } else {
            libc::MSG_DONTWAIT
        };
        // SAFETY: `headers` holds BATCH headers, all of whose pointers and lengths `reset` has set to
        // parts of `memory`, which lives and does not move as long as `self`. No reference into it
        // exists during the call, which borrows `self` mutably.
        let count = unsafe {
            let headers = (&raw mut (*self.memory.as_ptr()).headers).cast();
            let no_timeout = ptr::null_mut();
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers,
                BATCH as libc::c_uint,
                flags as _,
                no_timeout,
            )
        };
        self.received = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok(self.received)
    }

    /// The datagram of this number, and the room for its reply. `None` beyond what was received, and
    /// for an address that is none of IP.
    pub(super) fn datagram(&mut self, at: usize) -> Option<(Arrival, Slot<'_>)> {
        if at >= self.received.min(BATCH) {
            return None;
        }
        // SAFETY: `at` is less than BATCH, so every element is inside its array. The kernel has
        // initialised what it says it has, and zeros are valid for the rest. The reference to the
        // octets borrows `self` mutably, so nothing else reads or writes them while it lives.
        let (header, name, control, buf) = unsafe {
            let memory = self.memory.as_ptr();
            let header = ptr::read(
                (&raw const (*memory).headers)
                    .cast::<libc::mmsghdr>()
                    .add(at),
            );
            let name = ptr::read((&raw const (*memory).names).cast::<Name>().add(at));
            let control = (&raw mut (*memory).controls).cast::<Control>().add(at);
            let buf = &mut *(&raw mut (*memory).octets).cast::<[u8; SLOT]>().add(at);
            (header, name, control, buf)
        };
        let source = name.address()?;
        let destination = if self.tells_destination {
            // SAFETY: `control` points to an element of `controls`, to which nothing refers.
            let control = unsafe { &mut *control };
            let length = header.msg_hdr.msg_controllen;
            control.destination(length)
        } else {
            None
        };
        let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let length = if truncated {
            HEADER
        } else {
            header.msg_len as usize
        };
        let arrival = Arrival {
            source,
            destination,
            max_reply: SLOT as u16,
        };
        let len = length.min(SLOT);
        Some((arrival, Slot { buf, len }))
    }

    /// The datagrams of this batch; of one that did not fit its slot, what did.
    pub(super) fn queries(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.received.min(BATCH)).map(|at| {
            // SAFETY: `at` is less than BATCH, so the elements are inside their arrays. `self` is
            // borrowed as long as the slice, so nothing writes the octets meanwhile. The kernel has
            // written as many of them as it says, and zeros are valid for the rest.
            let (length, octets) = unsafe {
                let memory = self.memory.as_ptr();
                let headers = (&raw const (*memory).headers).cast::<libc::mmsghdr>();
                let octets = &*(&raw const (*memory).octets).cast::<[u8; SLOT]>().add(at);
                ((*headers.add(at)).msg_len, octets)
            };
            octets.get(..length as usize).unwrap_or(octets)
        })
    }

    /// Queues the first `length` octets of the slot of datagram `at` as the reply to it. In rising
    /// order of `at`, each once.
    pub(super) fn reply(&mut self, at: usize, length: usize) {
        let to = self.replies;
        if at >= self.received.min(BATCH) || to > at {
            return;
        }
        // SAFETY: `at` and `to` are less than BATCH, so every element is inside its array; nothing
        // refers to them, and the slices that the pointers describe are those of `reset`.
        unsafe {
            let memory = self.memory.as_ptr();
            let headers = (&raw mut (*memory).headers).cast::<libc::mmsghdr>();
            let iovec = (&raw mut (*memory).iovecs).cast::<libc::iovec>().add(at);
            (*iovec).iov_len = length.min(SLOT);
            if to != at {
                // One before was dropped: the kernel wants the headers of what goes out in a row.
                *headers.add(to) = *headers.add(at);
                self.moved = true;
            }
        }
        self.replies += 1;
    }

    /// Sends the queued replies without waiting; returns how many the kernel refused.
    pub(super) fn send(&mut self, socket: &UdpSocket) -> usize {
        let (mut first, mut refused) = (0, 0);
        while first < self.replies {
            // SAFETY: `first` is less than `replies`, which is at most BATCH, so the headers are
            // inside the array; they describe parts of `memory`, see `receive`.
            let sent = unsafe {
                let headers = (&raw mut (*self.memory.as_ptr()).headers).cast::<libc::mmsghdr>();
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    headers.add(first),
                    (self.replies - first) as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                )
            };
            match usize::try_from(sent) {
                // An error is told only for the first of them: at least one went out.
                Ok(sent) => first += sent.max(1),
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    first += 1;
                    refused += 1;
                }
            }
        }
        self.replies = 0;
        refused
    }

    /// Makes ready to receive: lengths that the kernel and the replies have changed, and pointers if
    /// any was moved.
    fn reset(&mut self) {
        let control_length = if self.tells_destination { CONTROL } else { 0 };
        let used = if self.moved { BATCH } else { self.received };
        for at in 0..used.min(BATCH) {
            // SAFETY: `at` is less than BATCH, so every element is inside its array, and nothing
            // refers to them.
            unsafe {
                let memory = self.memory.as_ptr();
                let header = (&raw mut (*memory).headers).cast::<libc::mmsghdr>().add(at);
                let iovec = (&raw mut (*memory).iovecs).cast::<libc::iovec>().add(at);
                (*iovec).iov_len = SLOT;
                let header = &raw mut (*header).msg_hdr;
                (*header).msg_namelen = mem::size_of::<Name>() as libc::socklen_t;
                (*header).msg_controllen = control_length as _;
                if self.moved {
                    let octets = (&raw mut (*memory).octets).cast::<[u8; SLOT]>().add(at);
                    (*iovec).iov_base = octets.cast();
                    (*header).msg_name = (&raw mut (*memory).names).cast::<Name>().add(at).cast();
                    (*header).msg_iov = iovec;
                    (*header).msg_iovlen = 1;
                    (*header).msg_control = if self.tells_destination {
                        (&raw mut (*memory).controls)
                            .cast::<Control>()
                            .add(at)
                            .cast()
                    } else {
                        ptr::null_mut()
                    };
                }
            }
        }
        self.moved = false;
        self.received = 0;
        self.replies = 0;
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed only here. Nothing in it has a
        // destructor.
        unsafe { dealloc(self.memory.as_ptr().cast(), Layout::new::<Memory>()) }
    }
}

// SAFETY: the memory belongs to this value alone, like that of a `Box`.
unsafe impl Send for Datagrams {}

impl Name {
    fn address(&self) -> Option<SocketAddr> {
        // SAFETY: all fields begin with the family and are plain numbers, for which any octets are
        // valid; the family tells which one the kernel wrote.
        unsafe {
            match libc::c_int::from(self.family) {
                libc::AF_INET => {
                    let ip = Ipv4Addr::from(self.v4.sin_addr.s_addr.to_ne_bytes());
                    let port = u16::from_be(self.v4.sin_port);
                    Some(SocketAddrV4::new(ip, port).into())
                }
                libc::AF_INET6 => {
                    let ip = Ipv6Addr::from(self.v6.sin6_addr.s6_addr);
                    let port = u16::from_be(self.v6.sin6_port);
                    let (flow, scope) = (self.v6.sin6_flowinfo, self.v6.sin6_scope_id);
                    Some(SocketAddrV6::new(ip, port, flow, scope).into())
                }
                _ => None,
            }
        }
    }
}

impl Control {
    /// The address that was asked, from what the kernel wrote; and turns it into what makes the reply
    /// leave from that address, by whatever interface the route says.
    fn destination(&mut self, length: usize) -> Option<IpAddr> {
        let start = mem::size_of::<libc::cmsghdr>();
        if length < start {
            return None;
        }
        let header = self.0.as_mut_ptr().cast::<libc::cmsghdr>();
        // SAFETY: `Control` is aligned for `cmsghdr` and larger than it with either content; the
        // content follows the header at once, aligned to 4 octets, which is all it needs. Any octets
        // are valid values of these types.
        unsafe {
            let data = self.0.as_mut_ptr().add(start);
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>();
                    // `ipi_spec_dst` is the same address, or a unicast one of ours where the query
                    // came to a group.
                    (*info).ipi_ifindex = 0;
                    Some(Ipv4Addr::from((*info).ipi_addr.s_addr.to_ne_bytes()).into())
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>();
                    let asked = Ipv6Addr::from((*info).ipi6_addr.s6_addr);
                    (*info).ipi6_ifindex = 0;
                    if asked.is_multicast() {
                        (*info).ipi6_addr.s6_addr = [0; 16];
                    }
                    Some(asked.into())
                }
                _ => None,
            }
        }
    }
}

/// Waits until one of the sockets has something, at most `limit`; leaves in `ready` which have.
///
/// # Errors
/// What the system says.
pub(super) fn wait(sockets: &mut [libc::pollfd], limit: Duration) -> io::Result<()> {
    let limit = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: pointer and length are those of one slice, which nothing else refers to.
    let count = unsafe { libc::poll(sockets.as_mut_ptr(), sockets.len() as libc::nfds_t, limit) };
    match count {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What [`wait`] asks of a socket.
pub(super) fn readable(socket: &UdpSocket) -> libc::pollfd {
    libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    }
}

/// Replies go out without "don't fragment", and a forged "packet too big" changes nothing for them:
/// they are at most 1232 octets, which fit nearly every path.
///
/// # Errors
/// What the system says.
pub(super) fn leave_fragments_to_the_network(
    socket: &UdpSocket,
    address: SocketAddr,
) -> io::Result<()> {
    let (level, name, value) = match address {
        SocketAddr::V4(_) => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_OMIT,
        ),
        SocketAddr::V6(_) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_OMIT,
        ),
    };
    // SAFETY: the kernel reads an int from a pointer to an int of that size.
    let done = unsafe {
        let size = mem::size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Datagrams that the kernel has thrown away because nobody read the socket in time, since it was
/// opened.
pub(super) fn kernel_drops(socket: &UdpSocket) -> u64 {
    /// `SK_MEMINFO_DROPS` of linux/sock_diag.h
    const DROPS: usize = 8;
    let mut values = [0_u32; 9];
    let mut size = mem::size_of_val(&values) as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` octets of u32 to an array of that size.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    match (done, values.get(DROPS)) {
        (0, Some(&drops)) => drops.into(),
        _ => 0,
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn pair(server: &str) -> (UdpSocket, UdpSocket, SocketAddr) {
        let server = UdpSocket::bind(server).unwrap();
        let patience = Some(Duration::from_secs(30));
        server.set_read_timeout(patience).unwrap();
        let mut to = server.local_addr().unwrap();
        if to.ip().is_unspecified() {
            to.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        let client = UdpSocket::bind(SocketAddr::new(to.ip(), 0)).unwrap();
        client.set_read_timeout(patience).unwrap();
        (server, client, to)
    }

    /// Sends these, and receives them as one batch.
    fn batch(count: u8, datagrams: &mut Datagrams) -> (UdpSocket, UdpSocket) {
        let (server, client, to) = pair("127.0.0.1:0");
        for number in 0..count {
            client.send_to(&[number; 20], to).unwrap();
        }
        assert_eq!(
            datagrams.receive(&server, true).unwrap(),
            usize::from(count)
        );
        (server, client)
    }

    #[test]
    fn replies_go_out_in_place_without_those_that_were_dropped() {
        let mut datagrams = Datagrams::new(false);
        // A second batch finds everything in order again.
        for _ in 0..2 {
            let (server, client) = batch(BATCH as u8, &mut datagrams);
            let from = client.local_addr().unwrap();
            for at in 0..BATCH {
                let (arrival, slot) = datagrams.datagram(at).unwrap();
                assert_eq!((arrival.source, arrival.destination), (from, None));
                assert_eq!(slot.buf[..slot.len], [at as u8; 20]);
                slot.buf[20] = 99;
                if at % 3 != 1 {
                    datagrams.reply(at, 21);
                }
            }
            assert!(datagrams.datagram(BATCH).is_none());
            assert_eq!(datagrams.send(&server), 0);
            for at in (0..BATCH).filter(|at| at % 3 != 1) {
                let mut octets = [0; 30];
                assert_eq!(client.recv(&mut octets).unwrap(), 21);
                assert_eq!((usize::from(octets[0]), octets[20]), (at, 99));
            }
        }
    }

    #[test]
    fn nothing_comes_nothing_is_there() {
        let mut datagrams = Datagrams::new(false);
        let (server, client) = batch(3, &mut datagrams);
        assert!(datagrams.datagram(3).is_none());
        let error = datagrams.receive(&server, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(datagrams.datagram(0).is_none());
        datagrams.reply(0, 10);
        assert_eq!(datagrams.send(&server), 0);
        client.set_nonblocking(true).unwrap();
        assert!(client.recv(&mut [0; 9]).is_err());
    }

    #[test]
    fn a_datagram_that_does_not_fit_is_only_its_header() {
        let (server, client, to) = pair("127.0.0.1:0");
        let mut datagrams = Datagrams::new(false);
        for size in [SLOT, SLOT + 1, 60_000] {
            client.send_to(&vec![7; size], to).unwrap();
            datagrams.receive(&server, true).unwrap();
            let (_, slot) = datagrams.datagram(0).unwrap();
            assert_eq!(slot.len, if size == SLOT { SLOT } else { HEADER });
        }
        // A reply that would be longer than its slot is cut, not read beyond it.
        datagrams.reply(0, usize::MAX);
        assert_eq!(datagrams.send(&server), 0);
        assert_eq!(client.recv(&mut vec![0; 2 * SLOT]).unwrap(), SLOT);
    }

    #[test]
    fn what_the_kernel_refuses_is_counted_and_the_rest_goes_out() {
        let mut datagrams = Datagrams::new(false);
        let (server, client) = batch(3, &mut datagrams);
        for at in 0..3 {
            datagrams.reply(at, 20);
        }
        // SAFETY: the block lives, and nothing refers to it. Port 0 cannot be sent to.
        unsafe {
            let memory = datagrams.memory.as_ptr();
            (*(&raw mut (*memory).names).cast::<Name>().add(1))
                .v4
                .sin_port = 0;
        }
        assert_eq!(datagrams.send(&server), 1);
        for _ in 0..2 {
            client.recv(&mut [0; 30]).unwrap();
        }
    }

    #[test]
    fn full_buffers_are_seen() {
        let (server, client, to) = pair("127.0.0.1:0");
        assert_eq!(kernel_drops(&server), 0);
        for _ in 0..20_000 {
            client.send_to(&[0; 1000], to).unwrap();
        }
        assert!(kernel_drops(&server) > 0);
    }
}
