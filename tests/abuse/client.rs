//! A client with an address of its own on loopback.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
};

use hickory_proto::{
    op::Message,
    rr::rdata::opt::{EdnsCode, EdnsOption},
};
use meridian_tests::{
    PATIENCE,
    dns::{self, Question},
};

/// OPTION-CODE of DNS cookies (RFC 7873 §4).
const COOKIE: u16 = 10;

/// A socket bound to one address and connected to the server.
pub(crate) struct Client(UdpSocket);

impl Client {
    pub(crate) fn at(source: Ipv4Addr, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((source, 0)).expect("an address of loopback");
        socket.connect(server).expect("a route on loopback");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(socket)
    }

    /// Sends, and waits for nothing.
    pub(crate) fn send(&self, question: &Question) {
        self.0.send(&question.to_wire()).expect("loopback takes it");
    }

    /// Sends, and waits.
    pub(crate) fn ask(&self, question: &Question) -> io::Result<Message> {
        let query = question.to_wire();
        self.0.send(&query)?;
        loop {
            let reply = self.receive()?;
            if reply[..2] == query[..2] {
                return dns::decode(&reply);
            }
        }
    }

    /// So many replies: the server counts before it sends.
    pub(crate) fn replies(&self, count: u32) -> Vec<Message> {
        let reply = |_| self.receive().expect("one more reply");
        let replies = (0..count).map(reply);
        replies.map(|r| dns::decode(&r).expect("a reply")).collect()
    }

    /// Everything that has come so far.
    pub(crate) fn received(&self) -> Vec<Message> {
        self.0.set_nonblocking(true).expect("a flag is set");
        let replies = std::iter::from_fn(|| self.receive().ok());
        let all = replies.map(|r| dns::decode(&r).expect("a reply")).collect();
        self.0.set_nonblocking(false).expect("a flag is cleared");
        all
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 4096];
        let length = self.0.recv(&mut buffer)?;
        buffer.truncate(length);
        Ok(buffer)
    }
}

/// A question for an address in the zone.
pub(crate) fn question(name: &str) -> Question {
    dns::question(&format!("{name}.abuse.example"), "A")
}

/// The same with a cookie.
pub(crate) fn with_cookie(name: &str, cookie: &[u8]) -> Question {
    question(name).option(EdnsOption::Unknown(COOKIE, cookie.to_vec()))
}

/// The cookie of a reply.
pub(crate) fn cookie(reply: &Message) -> Option<Vec<u8>> {
    match reply.edns.as_ref()?.option(EdnsCode::Cookie)? {
        EdnsOption::Unknown(_, data) => Some(data.clone()),
        _ => None,
    }
}
