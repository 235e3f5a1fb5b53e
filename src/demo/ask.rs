//! The demo asks its own server over UDP, as a resolver with EDNS client subnet would.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{net::UdpSocket, time::timeout};

use super::places::Sample;

/// Time for one answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// A resolver that asks on behalf of the sample clients.
pub(super) struct Resolver {
    socket: UdpSocket,
    id: u16,
}

impl Resolver {
    pub(super) async fn new(server: SocketAddr) -> io::Result<Self> {
        let local: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(local).await?;
        socket.connect(server).await?;
        Ok(Self { socket, id: 0 })
    }

    /// The address that a client gets; `None`: no answer, or one without an address.
    pub(super) async fn ask(&mut self, name: &str, client: &Sample) -> Option<Ipv4Addr> {
        self.id = self.id.wrapping_add(1);
        let query = query(self.id, name, client);
        self.socket.send(&query).await.ok()?;
        let mut buffer = [0; 1232];
        // An answer that comes too late belongs to an earlier id and is skipped.
        let answer = async {
            loop {
                let length = self.socket.recv(&mut buffer).await.ok()?;
                let reply = buffer.get(..length)?;
                if reply.get(..2) == Some(&self.id.to_be_bytes()[..]) {
                    return first_address(reply, query.len());
                }
            }
        };
        timeout(PATIENCE, answer).await.ok()?
    }
}

/// A query for the A record of `name` with the client's network (RFC 7871 §6).
fn query(id: u16, name: &str, client: &Sample) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend(id.to_be_bytes());
    // No flags; one question, no answer, no authority, one additional record.
    out.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap_or(63));
        out.extend(label.as_bytes());
    }
    out.extend([0, 0, 1, 0, 1]);
    let octets = usize::from(client.length.div_ceil(8));
    let network = client.network.octets();
    let network = network.get(..octets).unwrap_or(&network);
    let option = u8::try_from(4 + network.len()).unwrap_or(8);
    // OPT: root, type 41, 1232 octets, no extended flags, one option.
    out.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, option + 4]);
    // Option 8, family 1 (IPv4), source prefix length, scope 0.
    out.extend([0, 8, 0, option, 0, 1, client.length, 0]);
    out.extend(network);
    out
}

/// The first A record of a reply whose question is as long as the query's.
fn first_address(reply: &[u8], query_len: usize) -> Option<Ipv4Addr> {
    let answers = u16::from_be_bytes(reply.get(6..8)?.try_into().ok()?);
    if answers == 0 {
        return None;
    }
    // The OPT record stands after the question: 11 octets, then the option.
    let question_end = reply.get(12..)?.iter().position(|&b| b == 0)? + 12 + 5;
    debug_assert!(question_end < query_len);
    // The owner is a pointer to the question: C0 0C, then type, class, TTL, length.
    let record = reply.get(question_end..)?;
    let fixed = record.get(..12)?;
    if fixed.first()? & 0xc0 != 0xc0 || fixed.get(2..4)? != [0, 1] {
        return None;
    }
    let address: [u8; 4] = record.get(12..16)?.try_into().ok()?;
    Some(address.into())
}

#[cfg(test)]
mod tests {
    use super::{super::places::SAMPLES, *};

    #[test]
    fn the_query_is_well_formed() {
        let query = query(7, "www.demo.example", &SAMPLES[0]);
        let end = query.len();
        assert_eq!(query[..12], [0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        // Three octets of 133.11.0.0/24.
        assert_eq!(query[end - 11..], [0, 8, 0, 7, 0, 1, 24, 0, 133, 11, 0]);
        assert_eq!(query[end - 13..end - 11], [0, 11]);
    }

    #[test]
    fn the_first_address_is_found() {
        let mut reply = query(7, "a.b", &SAMPLES[0]);
        let question_end = 12 + 5 + 4;
        reply.truncate(question_end);
        reply[7] = 1;
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 127, 0, 0, 11]);
        let found = first_address(&reply, 100);
        assert_eq!(found, Some(Ipv4Addr::new(127, 0, 0, 11)));
        for end in 0..reply.len() {
            assert_eq!(first_address(&reply[..end], 100), None, "{end}");
        }
    }
}
