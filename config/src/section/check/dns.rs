//! The DNS part of `[check.NAME]`.

use std::net::IpAddr;

use crate::{
    DnsCheck, Name, ProbeTransport, QueryType,
    section::zone::read_name,
    text::quote,
    walk::{Table, Value},
};

/// Keys that only DNS checks have.
pub(super) const KEYS: [&str; 5] = ["query", "query_type", "transport", "rcode", "answer"];

const TYPES: [(&str, QueryType); 6] = [
    ("A", QueryType::A),
    ("AAAA", QueryType::Aaaa),
    ("NS", QueryType::Ns),
    ("SOA", QueryType::Soa),
    ("TXT", QueryType::Txt),
    ("MX", QueryType::Mx),
];
/// RFC 6895 §2.3; what a healthy server may be expected to say.
const RCODES: [(&str, u16); 4] = [
    ("NOERROR", 0),
    ("SERVFAIL", 2),
    ("NXDOMAIN", 3),
    ("REFUSED", 5),
];

pub(super) fn read_dns(table: &Table<'_>) -> DnsCheck {
    let query = table.required("query", "\"www.example.com\"");
    let query = query.and_then(|v| read_name(&v, &Name::root()));
    let qtype = table.get("query_type", "\"A\"");
    let qtype = qtype.and_then(|v| v.choice(&TYPES)).unwrap_or(QueryType::A);
    let transports = [("udp", ProbeTransport::Udp), ("tcp", ProbeTransport::Tcp)];
    let transport = table.get("transport", "\"udp\"");
    let transport = transport.and_then(|v| v.choice(&transports));
    let rcode = table.get("rcode", "\"NOERROR\"");
    let rcode = rcode.and_then(|v| v.choice(&RCODES)).unwrap_or(0);
    let given = table.get("answer", "\"192.0.2.1\"");
    let answer = given.as_ref().and_then(|v| read_answer(v, qtype));
    if let (Some(value), true) = (&given, rcode != 0) {
        value.mistake(
            "only an answer with rcode NOERROR has addresses",
            "remove `answer`, or remove `rcode`",
        );
    }
    DnsCheck {
        query: query.unwrap_or_else(Name::root),
        qtype,
        transport: transport.unwrap_or(ProbeTransport::Udp),
        rcode,
        answer,
    }
}

/// An address that must be among the answers.
fn read_answer(value: &Value<'_>, qtype: QueryType) -> Option<IpAddr> {
    let text = value.text()?;
    let Ok(address) = text.parse::<IpAddr>() else {
        value.mistake(format!("{} is no address", quote(text)), value.remedy());
        return None;
    };
    let fits = match qtype {
        QueryType::A => address.is_ipv4(),
        QueryType::Aaaa => address.is_ipv6(),
        _ => false,
    };
    if !fits {
        value.mistake(
            format!("{address} cannot stand in an answer of this `query_type`"),
            "use `query_type = \"A\"` for an IPv4 address, \"AAAA\" for an IPv6 address",
        );
        return None;
    }
    Some(address)
}
