//! One DNS question, and what the check says about the answer.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RData, RecordType},
};
use meridian_config::{DnsCheck, ProbeTransport};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UdpSocket,
};

use super::{Clock, Trouble, connect};
use crate::{LocalReason, Phase, ProtocolFault, Reason};

/// No server answers with more over UDP when EDNS was not used (RFC 1035 §4.2.1).
const ANSWER: usize = 4096;
/// Datagrams that are not the answer before the probe gives up.
const STRAY: usize = 16;

/// Asks and judges.
pub(super) async fn probe(
    address: SocketAddr,
    check: &DnsCheck,
    clock: Clock,
) -> Result<(), Trouble> {
    let question = Question::new(check).ok_or(Trouble::Local(LocalReason::Request))?;
    match check.transport {
        ProbeTransport::Udp => udp(address, &question, check, clock).await,
        ProbeTransport::Tcp => tcp(address, &question, check, clock).await,
    }
}

/// A question with its octets.
struct Question {
    id: u16,
    query: Query,
    octets: Vec<u8>,
}

impl Question {
    fn new(check: &DnsCheck) -> Option<Self> {
        let name = Name::from_labels(check.query.labels()).ok()?;
        let query = Query::query(name, RecordType::from(check.qtype as u16));
        // Unpredictable, so that nobody off the path can answer for the target (RFC 5452 §4.3).
        let id = RandomState::new().hash_one(0_u8) as u16;
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.add_query(query.clone());
        let octets = message.to_vec().ok()?;
        Some(Self { id, query, octets })
    }

    /// RFC 5452 §9.1: the identifier, the question and QR must match.
    fn is_answered_by(&self, message: &Message) -> bool {
        message.metadata.id == self.id
            && message.metadata.message_type == MessageType::Response
            && message.queries == [self.query.clone()]
    }
}

async fn udp(
    address: SocketAddr,
    question: &Question,
    check: &DnsCheck,
    clock: Clock,
) -> Result<(), Trouble> {
    let trouble = |error: std::io::Error| connect::trouble(&error);
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let ask = async {
        let socket = UdpSocket::bind((any, 0)).await.map_err(trouble)?;
        // Connected: only the target's own datagrams come in, and a closed port is told at once.
        socket.connect(address).await.map_err(trouble)?;
        socket.send(&question.octets).await.map_err(trouble)?;
        let mut octets = [0; ANSWER];
        for _ in 0..STRAY {
            let length = socket.recv(&mut octets).await.map_err(trouble)?;
            let octets = octets.get(..length).unwrap_or_default();
            if let Ok(message) = Message::from_vec(octets)
                && question.is_answered_by(&message)
            {
                return judge(&message, check);
            }
        }
        Err(Reason::Protocol(ProtocolFault::NotDns).into())
    };
    clock.limit(Phase::Answer, ask).await
}

async fn tcp(
    address: SocketAddr,
    question: &Question,
    check: &DnsCheck,
    clock: Clock,
) -> Result<(), Trouble> {
    let trouble = |error: std::io::Error| connect::trouble(&error);
    let mut stream = connect::tcp(address, clock).await?;
    let ask = async {
        // RFC 1035 §4.2.2: "The message is prefixed with a two byte length field".
        let length = u16::try_from(question.octets.len()).unwrap_or(u16::MAX);
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend(&question.octets);
        stream.write_all(&framed).await.map_err(trouble)?;
        let length = usize::from(stream.read_u16().await.map_err(trouble)?);
        let mut octets = vec![0; length];
        stream.read_exact(&mut octets).await.map_err(trouble)?;
        match Message::from_vec(&octets) {
            Ok(message) if question.is_answered_by(&message) => judge(&message, check),
            _ => Err(Reason::Protocol(ProtocolFault::NotDns).into()),
        }
    };
    clock.limit(Phase::Answer, ask).await
}

fn judge(message: &Message, check: &DnsCheck) -> Result<(), Trouble> {
    let rcode = u16::from(message.metadata.response_code);
    if rcode != check.rcode {
        return Err(Reason::Rcode(rcode).into());
    }
    let Some(wanted) = check.answer else {
        return Ok(());
    };
    let addresses = message
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        });
    if addresses.into_iter().any(|address| address == wanted) {
        Ok(())
    } else {
        Err(Reason::AnswerMismatch.into())
    }
}
