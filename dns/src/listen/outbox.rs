//! Answers on their way out: as many as there are, in one system call.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    io::IoSlice,
    net::{IpAddr, SocketAddr},
    os::fd::RawFd,
};

use nix::{
    cmsg_space,
    errno::Errno,
    libc,
    sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg},
};

/// Answers in one system call.
const BATCH: usize = 32;
/// Most answers are far shorter; a buffer grows once if one is not.
const REPLY: usize = 512;

/// Answers to one address of ours, or to a socket that has only one.
pub(super) struct Outbox {
    replies: [Vec<u8>; BATCH],
    to: [Option<SockaddrStorage>; BATCH],
    filled: usize,
    /// Where all of them leave from; `None`: the socket has one address only.
    source: Option<IpAddr>,
    plain: MultiHeaders<SockaddrStorage>,
    from_v4: MultiHeaders<SockaddrStorage>,
    from_v6: MultiHeaders<SockaddrStorage>,
}

impl Outbox {
    /// Empty.
    pub(super) fn new() -> Self {
        Self {
            replies: std::array::from_fn(|_| Vec::with_capacity(REPLY)),
            to: [None; BATCH],
            filled: 0,
            source: None,
            plain: MultiHeaders::preallocate(BATCH, None),
            from_v4: MultiHeaders::preallocate(BATCH, Some(cmsg_space!(libc::in_pktinfo))),
            from_v6: MultiHeaders::preallocate(BATCH, Some(cmsg_space!(libc::in6_pktinfo))),
        }
    }

    /// Whether what is in it must be sent before an answer from `source` can go in.
    pub(super) fn must_go(&self, source: Option<IpAddr>) -> bool {
        self.filled == BATCH || (self.filled > 0 && self.source != source)
    }

    /// Where the next answer is written; it counts only once [`Self::add`] is called.
    pub(super) fn next(&mut self) -> Option<&mut Vec<u8>> {
        self.replies.get_mut(self.filled)
    }

    /// Takes the answer that was written to the place of [`Self::next`].
    pub(super) fn add(&mut self, to: SocketAddr, source: Option<IpAddr>) {
        if let Some(place) = self.to.get_mut(self.filled) {
            *place = Some(to.into());
            self.source = source;
            self.filled += 1;
        }
    }

    /// Sends everything without waiting; returns how many answers the kernel refused.
    pub(super) fn send(&mut self, socket: RawFd) -> usize {
        let filled = std::mem::take(&mut self.filled);
        let mut slices = [[IoSlice::new(&[])]; BATCH];
        for (slice, reply) in slices.iter_mut().zip(&self.replies) {
            *slice = [IoSlice::new(reply)];
        }
        let (v4, v6);
        let (headers, control) = match self.source {
            None => (&mut self.plain, None),
            Some(IpAddr::V4(source)) => {
                v4 = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from_ne_bytes(source.octets()),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                (&mut self.from_v4, Some(ControlMessage::Ipv4PacketInfo(&v4)))
            }
            Some(IpAddr::V6(source)) => {
                v6 = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: source.octets(),
                    },
                    ipi6_ifindex: 0,
                };
                (&mut self.from_v6, Some(ControlMessage::Ipv6PacketInfo(&v6)))
            }
        };
        let (mut first, mut refused) = (0, 0);
        while let (Some(slices @ [_, ..]), Some(to)) =
            (slices.get(first..filled), self.to.get(first..filled))
        {
            let flags = MsgFlags::MSG_DONTWAIT;
            match sendmmsg(socket, headers, slices, to, control.as_slice(), flags) {
                // An error is told only for the first of them: at least one went out.
                Ok(sent) => first += sent.count().max(1),
                Err(Errno::EINTR) => {}
                Err(_) => {
                    first += 1;
                    refused += 1;
                }
            }
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsRawFd};

    use super::*;

    fn fill(outbox: &mut Outbox, to: SocketAddr, source: Option<IpAddr>, count: usize) {
        for number in 0..count {
            let reply = outbox.next().unwrap();
            reply.clear();
            reply.push(u8::try_from(number).unwrap());
            outbox.add(to, source);
        }
    }

    #[test]
    fn a_full_box_arrives_whole_and_in_order_from_the_address_asked() {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = UdpSocket::bind("0.0.0.0:0").unwrap();
        let to = client.local_addr().unwrap();
        for source in [None, Some("127.0.0.9".parse().unwrap())] {
            let mut outbox = Outbox::new();
            fill(&mut outbox, to, source, BATCH);
            assert!(outbox.must_go(source) && outbox.next().is_none());
            assert_eq!(outbox.send(server.as_raw_fd()), 0);
            assert!(!outbox.must_go(source));
            for number in 0..BATCH {
                let mut octets = [0; 2];
                let (length, from) = client.recv_from(&mut octets).unwrap();
                assert_eq!((length, usize::from(octets[0])), (1, number));
                let expected = source.unwrap_or("127.0.0.1".parse().unwrap());
                assert_eq!(from.ip(), expected);
            }
        }
    }

    #[test]
    fn another_source_waits_for_the_next_box() {
        let mut outbox = Outbox::new();
        let to = "127.0.0.1:9".parse().unwrap();
        let source = Some("127.0.0.9".parse().unwrap());
        fill(&mut outbox, to, source, 1);
        assert!(!outbox.must_go(source));
        assert!(outbox.must_go(None));
    }

    #[test]
    fn what_the_kernel_refuses_is_counted_and_the_rest_goes_out() {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut outbox = Outbox::new();
        let good = client.local_addr().unwrap();
        // An IPv6 address cannot be reached from an IPv4 socket.
        for to in [good, "[::1]:9".parse().unwrap(), good] {
            fill(&mut outbox, to, None, 1);
        }
        assert_eq!(outbox.send(server.as_raw_fd()), 1);
        for _ in 0..2 {
            client.recv(&mut [0; 2]).unwrap();
        }
    }

    #[test]
    fn ipv6_leaves_from_the_address_asked() {
        let Ok(client) = UdpSocket::bind("[::1]:0") else {
            return;
        };
        let server = UdpSocket::bind("[::]:0").unwrap();
        let mut outbox = Outbox::new();
        let source = Some("::1".parse().unwrap());
        fill(&mut outbox, client.local_addr().unwrap(), source, 3);
        assert_eq!(outbox.send(server.as_raw_fd()), 0);
        for _ in 0..3 {
            client.recv(&mut [0; 2]).unwrap();
        }
    }
}
