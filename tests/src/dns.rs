//! A small DNS client over real sockets, for tests.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, Query, ResponseCode},
    rr::{
        Name, RData, RecordType,
        rdata::opt::{ClientSubnet, EdnsCode, EdnsOption},
    },
};

use crate::PATIENCE;

/// A reply must arrive within this time, per attempt. Who asks again and again until the answer is right
/// does not wait longer for one that a server took with it when it was killed.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One question with its EDNS options.
#[derive(Clone, Debug)]
pub struct Question {
    message: Message,
    limit: Duration,
}

/// Asks for `name` and a type such as `A` or `TYPE65280`.
///
/// # Panics
/// When either cannot be read.
pub fn question(name: &str, rtype: &str) -> Question {
    let name = Name::from_ascii(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let rtype = match rtype.strip_prefix("TYPE") {
        Some(number) => RecordType::from(number.parse::<u16>().expect("a type number")),
        None => rtype.parse().unwrap_or_else(|_| panic!("no type {rtype}")),
    };
    let mut name = name;
    name.set_fqdn(true);
    let mut message = Message::query();
    message.add_query(Query::query(name, rtype));
    Question {
        message,
        limit: TIMEOUT,
    }
}

impl Question {
    /// Adds EDNS with this UDP payload size.
    #[must_use]
    pub fn edns(mut self, payload: u16) -> Self {
        let edns = self.message.edns.get_or_insert_with(Edns::new);
        edns.set_max_payload(payload);
        self
    }

    /// Adds an EDNS option.
    #[must_use]
    pub fn option(mut self, option: EdnsOption) -> Self {
        if self.message.edns.is_none() {
            self = self.edns(1232);
        }
        if let Some(edns) = &mut self.message.edns {
            edns.options_mut().insert(option);
        }
        self
    }

    /// Adds a client subnet (RFC 7871) written as `203.0.113.0/24`.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn ecs(self, prefix: &str) -> Self {
        let (address, length) = prefix.split_once('/').expect("ADDRESS/LENGTH");
        let address: IpAddr = address.parse().expect("an address");
        let length = length.parse().expect("a prefix length");
        self.option(EdnsOption::Subnet(ClientSubnet::new(address, length, 0)))
    }

    /// Waits for the reply as long as [`PATIENCE`]: where none may be lost, a machine that is busy for a
    /// while must not pass for a server that lost one.
    #[must_use]
    pub fn patiently(mut self) -> Self {
        self.limit = PATIENCE;
        self
    }

    /// The octets on the wire.
    ///
    /// # Panics
    /// When the message cannot be encoded.
    pub fn to_wire(&self) -> Vec<u8> {
        self.message.to_vec().expect("a query encodes")
    }

    /// Asks over UDP, once.
    ///
    /// # Errors
    /// When no reply comes in five seconds, or as long as was asked for, or it cannot be decoded.
    pub fn udp(&self, server: SocketAddr) -> io::Result<Message> {
        let socket = UdpSocket::bind((unspecified(server), 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(self.limit))?;
        socket.send(&self.to_wire())?;
        let mut buffer = [0; 65_535];
        loop {
            let length = socket.recv(&mut buffer)?;
            let reply = decode(&buffer[..length])?;
            if reply.metadata.id == self.message.metadata.id {
                return Ok(reply);
            }
        }
    }

    /// Asks over a TCP connection of its own.
    ///
    /// # Errors
    /// When no reply comes in five seconds, or as long as was asked for, or it cannot be decoded.
    pub fn tcp(&self, server: SocketAddr) -> io::Result<Message> {
        let mut stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(self.limit))?;
        stream.write_all(&frame(&self.to_wire()))?;
        decode(&read_frame(&mut stream)?)
    }
}

/// `octets` with their length in front (RFC 1035 §4.2.2).
///
/// # Panics
/// When they are longer than 65,535.
pub fn frame(octets: &[u8]) -> Vec<u8> {
    let length = u16::try_from(octets.len()).expect("a DNS message");
    [&length.to_be_bytes(), octets].concat()
}

/// Reads one framed message.
///
/// # Errors
/// As the stream gives them.
pub fn read_frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut octets)?;
    Ok(octets)
}

/// Decodes a message.
///
/// # Errors
/// When hickory cannot read it.
pub fn decode(octets: &[u8]) -> io::Result<Message> {
    Message::from_vec(octets)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

/// The A and AAAA addresses of the answer section, in order.
pub fn addresses(reply: &Message) -> Vec<IpAddr> {
    let address = |data: &RData| match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(a) => Some(IpAddr::V6(a.0)),
        _ => None,
    };
    reply
        .answers
        .iter()
        .filter_map(|r| address(&r.data))
        .collect()
}

/// The response code.
pub fn rcode(reply: &Message) -> ResponseCode {
    reply.metadata.response_code
}

/// The client subnet in a reply: address, source prefix length, scope prefix length.
pub fn subnet(reply: &Message) -> Option<(IpAddr, u8, u8)> {
    match reply.edns.as_ref()?.option(EdnsCode::Subnet)? {
        EdnsOption::Subnet(s) => Some((s.addr(), s.source_prefix(), s.scope_prefix())),
        _ => None,
    }
}

fn unspecified(server: SocketAddr) -> IpAddr {
    match server {
        SocketAddr::V4(_) => IpAddr::from([0, 0, 0, 0]),
        SocketAddr::V6(_) => IpAddr::from([0_u16; 8]),
    }
}
