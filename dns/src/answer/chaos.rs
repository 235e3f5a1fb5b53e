//! Class CHAOS: who answers here (RFC 4892). `version.bind` and `version.server`, `hostname.bind`
//! and `id.server`, as TXT; a value that the operator left out is REFUSED, like any other name.

use meridian_config::Chaos;

use crate::types::rtype;

/// What a question in class CHAOS gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChaosReply {
    /// One TXT record's RDATA.
    Txt(Vec<u8>),
    /// The name exists, the type does not.
    NoData,
    /// Not told.
    Refused,
}

/// Answers a question for `name` (lower-cased wire form).
pub(super) fn reply(chaos: &Chaos, name: &[u8], qtype: u16) -> ChaosReply {
    let value = match name {
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" => &chaos.version,
        b"\x08hostname\x04bind\0" | b"\x02id\x06server\0" => &chaos.hostname,
        _ => return ChaosReply::Refused,
    };
    match (value, qtype) {
        (None, _) => ChaosReply::Refused,
        (Some(text), rtype::TXT | rtype::ANY) => ChaosReply::Txt(character_strings(text)),
        (Some(_), _) => ChaosReply::NoData,
    }
}

/// RFC 1035 §3.3: a character string has at most 255 octets; more of them stand in a row.
fn character_strings(text: &str) -> Vec<u8> {
    let mut rdata = Vec::with_capacity(text.len() + 1);
    for chunk in text.as_bytes().chunks(255) {
        rdata.push(u8::try_from(chunk.len()).unwrap_or(u8::MAX));
        rdata.extend_from_slice(chunk);
    }
    if rdata.is_empty() {
        rdata.push(0);
    }
    rdata
}
