//! Datagrams in batches: `recvmmsg` and `sendmmsg` through nix.
//!
//! The floor and the load generator share it.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::AsRawFd,
};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use socket2::{Domain, Socket, Type};

use crate::query::LONGEST;

/// Datagrams in one system call.
pub(crate) const BATCH: usize = 32;

/// Octets asked of the kernel for each direction of a socket.
const BUFFER: usize = 1 << 20;

/// A socket with the buffers for one batch each way.
pub(crate) struct Batch {
    socket: UdpSocket,
    receive: MultiHeaders<SockaddrIn>,
    send: MultiHeaders<SockaddrIn>,
    /// What came in; the first `lengths[i]` octets count.
    pub(crate) inbox: Box<[[u8; LONGEST]; BATCH]>,
    /// Lengths of what came in.
    pub(crate) lengths: [usize; BATCH],
    from: [Option<SockaddrIn>; BATCH],
    /// What goes out.
    pub(crate) outbox: Box<[[u8; LONGEST]; BATCH]>,
    /// Lengths of what goes out.
    pub(crate) out_lengths: [usize; BATCH],
}

impl Batch {
    /// A socket of its own port that asks `server`.
    ///
    /// # Errors
    /// When the system gives no socket.
    pub(crate) fn connect(server: SocketAddrV4) -> io::Result<Self> {
        let batch = Self::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        batch.socket.connect(server)?;
        Ok(batch)
    }

    /// A socket on this address.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub(crate) fn bind(address: SocketAddrV4) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        // The kernel gives what it may; less is no reason to stop.
        let _ = socket.set_recv_buffer_size(BUFFER);
        let _ = socket.set_send_buffer_size(BUFFER);
        socket.bind(&address.into())?;
        Ok(Self {
            socket: socket.into(),
            receive: MultiHeaders::preallocate(BATCH, None),
            send: MultiHeaders::preallocate(BATCH, None),
            inbox: Box::new([[0; LONGEST]; BATCH]),
            lengths: [0; BATCH],
            from: [None; BATCH],
            outbox: Box::new([[0; LONGEST]; BATCH]),
            out_lengths: [0; BATCH],
        })
    }

    /// Takes what is there into `inbox`; 0 when nothing is.
    ///
    /// # Errors
    /// What the system says, an earlier "port unreachable" included.
    pub(crate) fn poll(&mut self) -> io::Result<usize> {
        match self.receive(MsgFlags::MSG_DONTWAIT) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    /// Waits for a datagram, and takes it and what else is there into `inbox`.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn wait(&mut self) -> io::Result<usize> {
        self.receive(MsgFlags::MSG_WAITFORONE)
    }

    /// Sends `count` datagrams of `outbox` from `first` on to the connected server; returns how many
    /// went out.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn send(&mut self, first: usize, count: usize) -> io::Result<usize> {
        let slices: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(|i| {
            let length = self.out_lengths[i];
            [IoSlice::new(&self.outbox[i][..length])]
        });
        let to = [None; BATCH];
        let sent = sendmmsg(
            self.socket.as_raw_fd(),
            &mut self.send,
            &slices[first..first + count],
            &to[..count],
            [],
            MsgFlags::MSG_DONTWAIT,
        )?;
        Ok(sent.count())
    }

    /// Sends the first `count` datagrams of `inbox` back to where they came from.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn reply(&mut self, count: usize) -> io::Result<()> {
        let mut first = 0;
        while first < count {
            let slices: [[IoSlice<'_>; 1]; BATCH] =
                std::array::from_fn(|i| [IoSlice::new(&self.inbox[i][..self.lengths[i]])]);
            let sent = sendmmsg(
                self.socket.as_raw_fd(),
                &mut self.send,
                &slices[first..count],
                &self.from[first..count],
                [],
                MsgFlags::empty(),
            )?;
            first += sent.count().max(1);
        }
        Ok(())
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// What the system says.
    #[cfg(test)]
    pub(crate) fn address(&self) -> io::Result<std::net::SocketAddr> {
        self.socket.local_addr()
    }

    fn receive(&mut self, flags: MsgFlags) -> io::Result<usize> {
        let mut slices = self
            .inbox
            .each_mut()
            .map(|buffer| [IoSliceMut::new(&mut buffer[..])]);
        let fd = self.socket.as_raw_fd();
        let mut count = 0;
        for message in recvmmsg(fd, &mut self.receive, slices.iter_mut(), flags, None)? {
            self.lengths[count] = message.bytes;
            self.from[count] = message.address;
            count += 1;
        }
        Ok(count)
    }
}

/// Answers every datagram with itself and the QR bit set, for ever: what the socket API alone costs.
///
/// # Errors
/// When the address cannot be had, or the socket breaks.
pub(crate) fn echo(address: SocketAddrV4) -> io::Result<()> {
    let mut batch = Batch::bind(address)?;
    loop {
        let count = batch.wait()?;
        for datagram in &mut batch.inbox[..count] {
            datagram[2] |= 0x80;
        }
        batch.reply(count)?;
    }
}
