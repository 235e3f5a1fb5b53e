//! Asks our own sockets, as a client would: a new socket for each question.
//!
//! The questions come from the very address that they go to. So they never leave this host: from an
//! anycast address that is not (or no longer) here, another site would answer for us.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, UdpSocket},
    time::timeout,
};

use super::judge::{Expected, Fault};

/// How a question travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// Why one question failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// Silence.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// Nothing was asked.
    #[error("{0} is no address of this host")]
    Absent(IpAddr),
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A wrong reply.
    #[error("{0}")]
    Wrong(#[from] Fault),
}

/// Asks over both transports at once.
///
/// # Errors
/// The first failure, as a sentence that names transport and address.
pub(super) async fn both(
    address: SocketAddr,
    expected: &Expected,
    id: u16,
    limit: Duration,
) -> Result<(), String> {
    let (udp, tcp) = tokio::join!(
        one(address, Transport::Udp, expected, id, limit),
        one(address, Transport::Tcp, expected, id, limit),
    );
    udp.and(tcp)
}

async fn one(
    address: SocketAddr,
    transport: Transport,
    expected: &Expected,
    id: u16,
    limit: Duration,
) -> Result<(), String> {
    let asked = async {
        match transport {
            Transport::Udp => udp(address, expected, id).await,
            Transport::Tcp => tcp(address, expected, id).await,
        }
    };
    let result = match timeout(limit, asked).await {
        Ok(result) => result,
        Err(_) => Err(AskError::Silent(limit)),
    };
    result.map_err(|error| format!("{} {address}: {error}", transport.as_str()))
}

async fn udp(address: SocketAddr, expected: &Expected, id: u16) -> Result<(), AskError> {
    let socket = UdpSocket::bind((address.ip(), 0))
        .await
        .map_err(|error| absent(address, error))?;
    socket.connect(address).await?;
    socket.send(&expected.query(id)).await?;
    let mut reply = [0; 4096];
    loop {
        let length = socket.recv(&mut reply).await?;
        let reply = reply.get(..length).unwrap_or_default();
        // A reply to an earlier question from a port that was ours before.
        if reply.get(..2) == Some(&id.to_be_bytes()) {
            return Ok(expected.judge(id, reply)?);
        }
    }
}

async fn tcp(address: SocketAddr, expected: &Expected, id: u16) -> Result<(), AskError> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket
        .bind(SocketAddr::new(address.ip(), 0))
        .map_err(|error| absent(address, error))?;
    let mut stream = socket.connect(address).await?;
    let query = expected.query(id);
    let length = u16::try_from(query.len()).unwrap_or(u16::MAX);
    // RFC 7766 §8: length and message in one write, so that they leave in one segment.
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(query);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut reply = vec![0; usize::from(length)];
    stream.read_exact(&mut reply).await?;
    Ok(expected.judge(id, &reply)?)
}

fn absent(address: SocketAddr, error: io::Error) -> AskError {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => AskError::Absent(address.ip()),
        _ => AskError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expected {
        Expected {
            zone: "example.com".parse().unwrap(),
            serial: None,
            nsid: None,
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_told_at_once() {
        // Nobody else gets its port, and it hears one other only: the kernel refuses what we send.
        let deaf = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        deaf.connect("127.0.0.2:9").unwrap();
        let address = deaf.local_addr().unwrap();
        let limit = Duration::from_secs(60);
        let error = both(address, &expected(), 1, limit).await.unwrap_err();
        assert!(error.starts_with(&format!("UDP {address}: ")), "{error}");
        assert!(error.contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn nobody_else_is_asked_for_an_address_that_is_not_here() {
        let address: SocketAddr = "192.0.2.53:53".parse().unwrap();
        let limit = Duration::from_secs(60);
        for transport in [Transport::Udp, Transport::Tcp] {
            let error = one(address, transport, &expected(), 1, limit).await;
            let text = format!(
                "{} {address}: 192.0.2.53 is no address of this host",
                transport.as_str()
            );
            assert_eq!(error, Err(text));
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_told() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let echo = async {
            let mut query = [0; 512];
            let (length, from) = server.recv_from(&mut query).await.unwrap();
            // First a stray datagram, then the question itself, which is no reply.
            server.send_to(&[9; 12], from).await.unwrap();
            server.send_to(&query[..length], from).await.unwrap();
        };
        let limit = Duration::from_secs(60);
        let expected = expected();
        let asked = one(address, Transport::Udp, &expected, 7, limit);
        let (_, error) = tokio::join!(echo, asked);
        let text = format!("UDP {address}: the reply cannot be read");
        assert_eq!(error, Err(text));
    }
}
