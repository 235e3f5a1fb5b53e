//! The fixed tables that turn what a query chose into a small index.

use crate::query::DropReason;

/// Why a datagram, frame or connection got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Shorter than a header.
    Short,
    /// A response, not a query.
    Response,
    /// The source has port 0 or is no unicast address: nobody could receive the answer.
    BadSource,
    /// The kernel did not take the answer (its buffer is full, no route).
    SendFailed,
    /// Answering panicked. A bug; the worker lives on.
    Panic,
    /// A TCP connection was closed to make room for another, or refused.
    ConnectionLimit,
    /// A TCP client did not read its answers in time.
    SlowReader,
    /// The client had more replies than it may (`[rate_limit]`).
    RateLimit,
    /// A TCP frame did not become whole in time, or cannot be a DNS message.
    BadFrame,
    /// The kernel had no room for a datagram: the receive buffer of the socket was full.
    KernelBuffer,
}

impl Dropped {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; 10] = [
        Self::Short,
        Self::Response,
        Self::BadSource,
        Self::SendFailed,
        Self::Panic,
        Self::ConnectionLimit,
        Self::SlowReader,
        Self::RateLimit,
        Self::BadFrame,
        Self::KernelBuffer,
    ];

    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Short => DropReason::Short.as_str(),
            Self::Response => DropReason::Response.as_str(),
            Self::BadSource => "bad_source",
            Self::SendFailed => "send_failed",
            Self::Panic => "panic",
            Self::ConnectionLimit => "connection_limit",
            Self::SlowReader => "slow_reader",
            Self::RateLimit => "rate_limit",
            Self::BadFrame => "bad_frame",
            Self::KernelBuffer => "kernel_buffer",
        }
    }
}

impl From<DropReason> for Dropped {
    fn from(reason: DropReason) -> Self {
        match reason {
            DropReason::Short => Self::Short,
            DropReason::Response => Self::Response,
        }
    }
}

/// QTYPEs with a label of their own; any other is `other`, the last.
pub(super) const QTYPES: [&str; 32] = [
    "A",
    "NS",
    "CNAME",
    "SOA",
    "PTR",
    "HINFO",
    "MX",
    "TXT",
    "AAAA",
    "LOC",
    "SRV",
    "NAPTR",
    "DNAME",
    "DS",
    "SSHFP",
    "RRSIG",
    "NSEC",
    "DNSKEY",
    "NSEC3",
    "NSEC3PARAM",
    "TLSA",
    "CDS",
    "CDNSKEY",
    "SVCB",
    "HTTPS",
    "SPF",
    "IXFR",
    "AXFR",
    "ANY",
    "URI",
    "CAA",
    "other",
];

/// Index of a QTYPE in [`QTYPES`].
pub(super) fn qtype_index(qtype: u16) -> usize {
    match qtype {
        1 => 0,
        2 => 1,
        5 => 2,
        6 => 3,
        12 => 4,
        13 => 5,
        15 => 6,
        16 => 7,
        28 => 8,
        29 => 9,
        33 => 10,
        35 => 11,
        39 => 12,
        43 => 13,
        44 => 14,
        46 => 15,
        47 => 16,
        48 => 17,
        50 => 18,
        51 => 19,
        52 => 20,
        59 => 21,
        60 => 22,
        64 => 23,
        65 => 24,
        99 => 25,
        251 => 26,
        252 => 27,
        255 => 28,
        256 => 29,
        257 => 30,
        _ => 31,
    }
}

/// RCODEs with a label of their own (RFC 6895 §2.3); any other is `other`, the last.
pub(super) const RCODES: [&str; 14] = [
    "NOERROR",
    "FORMERR",
    "SERVFAIL",
    "NXDOMAIN",
    "NOTIMP",
    "REFUSED",
    "YXDOMAIN",
    "YXRRSET",
    "NXRRSET",
    "NOTAUTH",
    "NOTZONE",
    "BADVERS",
    "BADCOOKIE",
    "other",
];

/// Index of an RCODE in [`RCODES`].
pub(super) fn rcode_index(rcode: u16) -> usize {
    match rcode {
        0..=10 => usize::from(rcode),
        16 => 11,
        23 => 12,
        _ => 13,
    }
}

/// Upper bounds of the duration buckets, in nanoseconds.
pub(super) const BOUNDS_NS: [u64; 14] = [
    500,
    1_000,
    2_000,
    4_000,
    8_000,
    16_000,
    32_000,
    64_000,
    128_000,
    256_000,
    512_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

/// Index of the bucket that a duration falls in; the last one has no bound.
pub(super) fn bucket_index(nanoseconds: u64) -> usize {
    BOUNDS_NS
        .iter()
        .position(|&bound| nanoseconds <= bound)
        .unwrap_or(BOUNDS_NS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_an_index_inside_its_table() {
        for number in 0..=u16::MAX {
            assert!(qtype_index(number) < QTYPES.len());
            assert!(rcode_index(number) < RCODES.len());
        }
        assert_eq!(QTYPES[qtype_index(65)], "HTTPS");
        assert_eq!(QTYPES[qtype_index(257)], "CAA");
        assert_eq!(QTYPES[qtype_index(65_280)], "other");
        assert_eq!(RCODES[rcode_index(16)], "BADVERS");
        assert_eq!(RCODES[rcode_index(5)], "REFUSED");
    }

    #[test]
    fn the_index_of_a_drop_is_its_place() {
        for (index, dropped) in Dropped::ALL.into_iter().enumerate() {
            assert_eq!(dropped as usize, index);
        }
    }

    #[test]
    fn bounds_belong_to_their_bucket() {
        assert_eq!(bucket_index(0), 0);
        assert_eq!(bucket_index(500), 0);
        assert_eq!(bucket_index(501), 1);
        assert_eq!(bucket_index(u64::MAX), BOUNDS_NS.len());
    }
}
