//! What the generator sends and receives: datagrams in batches (`recvmmsg` and `sendmmsg` through nix),
//! or frames of a TCP connection (RFC 7766), many in one write.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket},
    os::fd::AsRawFd,
};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use socket2::{Domain, SockRef, Socket, Type};

use crate::query::LONGEST;

/// Messages in one system call.
pub(crate) const BATCH: usize = 32;

/// Octets asked of the kernel for each direction of a socket.
pub(crate) const BUFFER: usize = 1 << 20;

/// Octets read at once from a connection.
const READ: usize = 1 << 16;

/// How queries travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Datagrams.
    Udp,
    /// Frames, many on their way at once on each connection.
    Tcp,
}

/// A socket with the buffers for one batch each way.
pub(crate) struct Batch {
    wire: Wire,
    /// What came in; the first `lengths[i]` octets count.
    pub(crate) inbox: Box<[[u8; LONGEST]; BATCH]>,
    /// Lengths of what came in.
    pub(crate) lengths: [usize; BATCH],
    /// What goes out.
    pub(crate) outbox: Box<[[u8; LONGEST]; BATCH]>,
    /// Lengths of what goes out.
    pub(crate) out_lengths: [usize; BATCH],
}

enum Wire {
    Udp {
        socket: UdpSocket,
        receive: MultiHeaders<SockaddrIn>,
        send: MultiHeaders<SockaddrIn>,
    },
    Tcp(Connection),
}

struct Connection {
    stream: TcpStream,
    /// Received, from `taken` on not yet looked at.
    input: Vec<u8>,
    taken: usize,
    /// Not yet taken by the kernel.
    output: Vec<u8>,
}

impl Batch {
    /// A socket of its own port that asks `server`.
    ///
    /// # Errors
    /// When the system gives no socket, or there is no connection.
    pub(crate) fn connect(server: SocketAddrV4, transport: Transport) -> io::Result<Self> {
        let wire = match transport {
            Transport::Udp => {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
                // The kernel gives what it may; less is no reason to stop.
                let _ = socket.set_recv_buffer_size(BUFFER);
                let _ = socket.set_send_buffer_size(BUFFER);
                socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into())?;
                socket.connect(&server.into())?;
                Wire::Udp {
                    socket: socket.into(),
                    receive: MultiHeaders::preallocate(BATCH, None),
                    send: MultiHeaders::preallocate(BATCH, None),
                }
            }
            Transport::Tcp => {
                let stream = TcpStream::connect(server)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Wire::Tcp(Connection {
                    stream,
                    input: Vec::with_capacity(READ),
                    taken: 0,
                    output: Vec::new(),
                })
            }
        };
        Ok(Self {
            wire,
            inbox: Box::new([[0; LONGEST]; BATCH]),
            lengths: [0; BATCH],
            outbox: Box::new([[0; LONGEST]; BATCH]),
            out_lengths: [0; BATCH],
        })
    }

    /// Takes what is there into `inbox`; 0 when nothing is.
    ///
    /// # Errors
    /// What the system says, an earlier "port unreachable" and the end of a connection included.
    pub(crate) fn poll(&mut self) -> io::Result<usize> {
        let count = match &mut self.wire {
            Wire::Udp {
                socket, receive, ..
            } => {
                let mut slices = self
                    .inbox
                    .each_mut()
                    .map(|buffer| [IoSliceMut::new(&mut buffer[..])]);
                let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
                recvmmsg(fd, receive, slices.iter_mut(), flags, None)
                    .map(|messages| {
                        let lengths = self.lengths.iter_mut().zip(messages);
                        lengths
                            .map(|(length, message)| *length = message.bytes)
                            .count()
                    })
                    .map_err(io::Error::from)
            }
            Wire::Tcp(connection) => connection.receive(&mut self.inbox, &mut self.lengths),
        };
        match count {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    /// Sends `count` messages of `outbox` from `first` on; returns how many went out.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn send(&mut self, first: usize, count: usize) -> io::Result<usize> {
        let (outbox, lengths) = (&self.outbox, &self.out_lengths);
        match &mut self.wire {
            Wire::Udp { socket, send, .. } => {
                let slices: [[IoSlice<'_>; 1]; BATCH] =
                    std::array::from_fn(|i| [IoSlice::new(&outbox[i][..lengths[i]])]);
                let to: [Option<SockaddrIn>; BATCH] = [None; BATCH];
                let sent = sendmmsg(
                    socket.as_raw_fd(),
                    send,
                    &slices[first..first + count],
                    &to[..count],
                    [],
                    MsgFlags::MSG_DONTWAIT,
                )?;
                Ok(sent.count())
            }
            Wire::Tcp(connection) => {
                for at in first..first + count {
                    connection.queue(&outbox[at][..lengths[at]]);
                }
                connection.write()?;
                Ok(count)
            }
        }
    }
}

impl Connection {
    fn queue(&mut self, message: &[u8]) {
        self.output
            .extend_from_slice(&(message.len() as u16).to_be_bytes());
        self.output.extend_from_slice(message);
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(octets) => drop(self.output.drain(..octets)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads only when no whole frame is left.
    fn receive(
        &mut self,
        inbox: &mut [[u8; LONGEST]; BATCH],
        lengths: &mut [usize; BATCH],
    ) -> io::Result<usize> {
        self.write()?;
        let mut count = self.take(inbox, lengths);
        if count == 0 {
            self.input.drain(..self.taken);
            self.taken = 0;
            let old = self.input.len();
            self.input.resize(old + READ, 0);
            let read = self.stream.read(&mut self.input[old..]);
            // A server that writes each answer by itself waits for this side's acknowledgement, which
            // the kernel would keep back for 40 ms. The kernel forgets the wish, so it is told again.
            let _ = SockRef::from(&self.stream).set_tcp_quickack(true);
            self.input
                .truncate(old + read.as_ref().map_or(0, |octets| *octets));
            if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            count = self.take(inbox, lengths);
        }
        Ok(count)
    }

    fn take(&mut self, inbox: &mut [[u8; LONGEST]; BATCH], lengths: &mut [usize; BATCH]) -> usize {
        let mut count = 0;
        while count < BATCH {
            let rest = &self.input[self.taken..];
            let Some((length, rest)) = rest.split_first_chunk::<2>() else {
                break;
            };
            let length = usize::from(u16::from_be_bytes(*length));
            let Some(message) = rest.get(..length) else {
                break;
            };
            let kept = length.min(LONGEST);
            inbox[count][..kept].copy_from_slice(&message[..kept]);
            lengths[count] = kept;
            self.taken += 2 + length;
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    #[test]
    fn frames_are_found_whatever_the_pieces() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(server) = listener.local_addr().unwrap() else {
            panic!("it was bound to IPv4")
        };
        let mut batch = Batch::connect(server, Transport::Tcp).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        for at in 0..3 {
            batch.outbox[at][..20].fill(at as u8);
            batch.out_lengths[at] = 20;
        }
        assert_eq!(batch.send(0, 3).unwrap(), 3);
        let mut octets = [0; 66];
        peer.read_exact(&mut octets).unwrap();
        assert_eq!(octets[..3], [0, 20, 0]);
        assert_eq!(octets[44..47], [0, 20, 2]);
        peer.set_nodelay(true).unwrap();
        let mut seen = Vec::new();
        for piece in octets.chunks(7) {
            peer.write_all(piece).unwrap();
            // Loopback hands it over before the call returns, or the next round finds it.
            let count = batch.poll().unwrap();
            seen.extend((0..count).map(|at| (batch.lengths[at], batch.inbox[at][0])));
        }
        drop(peer);
        while let Ok(count) = batch.poll() {
            seen.extend((0..count).map(|at| (batch.lengths[at], batch.inbox[at][0])));
        }
        assert_eq!(seen, [(20, 0), (20, 1), (20, 2)]);
    }
}
