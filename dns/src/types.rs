//! Numbers of the DNS protocol that this crate speaks of by name, and the indices it gives out.

use std::time::SystemTime;

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

/// Seconds since 1970 modulo 2^32, compared as serial numbers (RFC 1982): right across 2038 and 2106.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct UnixTime(pub u32);

impl UnixTime {
    /// Seconds from `earlier` to here, negative when it is later: right for any two times less than
    /// 68 years apart.
    pub fn since(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }
}

impl From<SystemTime> for UnixTime {
    #[allow(clippy::cast_possible_truncation)] // modulo 2^32 is meant
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        Self(since.unwrap_or_default().as_secs() as u32)
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
    /// RFC 7873 §8
    pub const BADCOOKIE: u16 = 23;
}
