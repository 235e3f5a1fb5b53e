//! Numbers of the DNS protocol that this crate speaks of by name, and the indices it gives out.

use serde::Serialize;

/// Index of a service over all zones, in configuration order: the services of the first
/// `[[zone]]` first, then those of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ServiceId(pub u32);

impl ServiceId {
    /// The index as a `usize`.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// RR types and QTYPEs (IANA "Resource Record (RR) TYPEs").
pub mod rtype {
    /// RFC 1035 §3.4.1
    pub const A: u16 = 1;
    /// RFC 1035 §3.3.11
    pub const NS: u16 = 2;
    /// RFC 1035 §3.3.4, obsolete
    pub const MD: u16 = 3;
    /// RFC 1035 §3.3.5, obsolete
    pub const MF: u16 = 4;
    /// RFC 1035 §3.3.1
    pub const CNAME: u16 = 5;
    /// RFC 1035 §3.3.13
    pub const SOA: u16 = 6;
    /// RFC 1035 §3.3.3
    pub const MB: u16 = 7;
    /// RFC 1035 §3.3.6
    pub const MG: u16 = 8;
    /// RFC 1035 §3.3.8
    pub const MR: u16 = 9;
    /// RFC 1035 §3.3.12
    pub const PTR: u16 = 12;
    /// RFC 1035 §3.3.2
    pub const HINFO: u16 = 13;
    /// RFC 1035 §3.3.7
    pub const MINFO: u16 = 14;
    /// RFC 1035 §3.3.9
    pub const MX: u16 = 15;
    /// RFC 1035 §3.3.14
    pub const TXT: u16 = 16;
    /// RFC 3596 §2.1
    pub const AAAA: u16 = 28;
    /// RFC 2782
    pub const SRV: u16 = 33;
    /// RFC 6672
    pub const DNAME: u16 = 39;
    /// RFC 6891 §6.1
    pub const OPT: u16 = 41;
    /// RFC 4034 §5
    pub const DS: u16 = 43;
    /// RFC 4034 §3
    pub const RRSIG: u16 = 46;
    /// RFC 9824 §3
    pub const NXNAME: u16 = 128;
    /// RFC 2930
    pub const TKEY: u16 = 249;
    /// RFC 8945
    pub const TSIG: u16 = 250;
    /// RFC 1995
    pub const IXFR: u16 = 251;
    /// RFC 5936
    pub const AXFR: u16 = 252;
    /// RFC 1035 §3.2.3
    pub const MAILB: u16 = 253;
    /// RFC 1035 §3.2.3
    pub const MAILA: u16 = 254;
    /// RFC 1035 §3.2.3, RFC 8482
    pub const ANY: u16 = 255;
}

/// Classes (RFC 1035 §3.2.4).
pub mod class {
    /// Internet
    pub const IN: u16 = 1;
    /// Chaos
    pub const CH: u16 = 3;
    /// RFC 1035 §3.2.5
    pub const ANY: u16 = 255;
}

/// Response codes (RFC 6895 §2.3).
pub mod rcode {
    /// RFC 1035 §4.1.1
    pub const NOERROR: u16 = 0;
    /// RFC 1035 §4.1.1
    pub const FORMERR: u16 = 1;
    /// RFC 1035 §4.1.1
    pub const SERVFAIL: u16 = 2;
    /// RFC 1035 §4.1.1
    pub const NXDOMAIN: u16 = 3;
    /// RFC 1035 §4.1.1
    pub const NOTIMP: u16 = 4;
    /// RFC 1035 §4.1.1
    pub const REFUSED: u16 = 5;
    /// RFC 6672 §2.2
    pub const YXDOMAIN: u16 = 6;
    /// RFC 8945 §5.2
    pub const NOTAUTH: u16 = 9;
    /// RFC 6891 §9
    pub const BADVERS: u16 = 16;
}
