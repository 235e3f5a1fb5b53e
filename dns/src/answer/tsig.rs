//! The TSIG record of a BADKEY reply (RFC 8945 §5.2.1): "If a non-forwarding server does not
//! recognize the key or algorithm used by the client …, the server MUST generate an error response
//! with RCODE 9 (NOTAUTH) and TSIG ERROR 17 (BADKEY)." §5.3.2: such a reply is not signed.

use crate::query::Tsig;

/// TSIG ERROR BADKEY (RFC 8945 §3).
const BADKEY: u16 = 17;

/// The record in wire form, names uncompressed.
pub(super) fn bad_key(tsig: &Tsig<'_>) -> Vec<u8> {
    let mut rdata = Vec::with_capacity(tsig.algorithm.len() + 16);
    rdata.extend_from_slice(tsig.algorithm);
    rdata.extend_from_slice(tsig.time_and_fudge);
    rdata.extend([0, 0]); // no MAC
    rdata.extend(tsig.original_id.to_be_bytes());
    rdata.extend(BADKEY.to_be_bytes());
    rdata.extend([0, 0]); // no other data
    let mut record = tsig.key.to_vec();
    record.extend([0, 250, 0, 255, 0, 0, 0, 0]);
    record.extend(u16::try_from(rdata.len()).unwrap_or(u16::MAX).to_be_bytes());
    record.extend(rdata);
    record
}
