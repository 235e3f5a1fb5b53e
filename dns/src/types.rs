//! Numbers of the DNS protocol that this crate speaks of by name, and the indices it gives out.

use serde::Serialize;

pub mod rtype;

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
