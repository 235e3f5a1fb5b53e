//! The check of RDATA in wire form: one judge for every way in.

use std::borrow::Cow;

use super::{
    apl, gateway, loc,
    schema::{Field, fields},
    svcb,
};
use crate::types::rtype::*;

/// Why octets are no RDATA of their type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RdataError {
    /// A field goes past the end.
    #[error("the data ends too early")]
    Short,
    /// Octets behind the last field.
    #[error("{0} octets follow the last field")]
    Trailing(usize),
    /// RFC 1035 §3.1; pointers may not stand in stored data.
    #[error("the data holds no valid domain name where one must stand")]
    Name,
    /// A field that takes the rest of the data needs at least one octet.
    #[error("the last field is empty")]
    Empty,
    /// RFC 8659 §4.1.
    #[error("the property tag is not made of letters and digits")]
    Tag,
    /// RFC 3403 §4.1.
    #[error("the flags are not made of letters and digits")]
    Flags,
    /// RFC 3402 §3.2.
    #[error("the regular expression does not have the form !EXPRESSION!REPLACEMENT!")]
    Regexp,
    /// RFC 4034 §4.1.2.
    #[error("the type bitmap is malformed")]
    Bitmap,
    /// RFC 1876 §2.
    #[error("a position or size is out of range")]
    Location,
    /// RFC 3123 §4.
    #[error("an address prefix is malformed")]
    Prefix,
    /// RFC 4025 §2.3, RFC 8777 §4.2.3.
    #[error("the type of the gateway is none of 0 to 3")]
    Gateway,
    /// A digest whose algorithm fixes its length.
    #[error("the digest is {found} octets long, but its algorithm makes {right}")]
    Digest {
        /// Octets found.
        found: usize,
        /// Octets the algorithm makes.
        right: usize,
    },
    /// RFC 8976 §2.2.4.
    #[error("the digest is shorter than 12 octets")]
    ShortDigest,
    /// RFC 9460 §2.2.
    #[error("{0}")]
    Svcb(SvcbError),
}

/// Why octets are no parameters of SVCB or HTTPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvcbError {
    /// RFC 9460 §2.2.
    #[error("parameters are repeated or not in rising order")]
    Order,
    /// RFC 9460 §2.4.2.
    #[error("priority 0 (AliasMode) takes no parameters")]
    Alias,
    /// RFC 9460 §14.3.2.
    #[error("the parameter key 65535 is reserved")]
    ReservedKey,
    /// The value of a parameter breaks the rules of its key.
    #[error("the value of the parameter `{0}` is malformed")]
    Value(&'static str),
    /// RFC 9460 §8.
    #[error("`mandatory` lists a parameter that is not there")]
    MandatoryAbsent,
    /// RFC 9460 §7.1.1.
    #[error("`no-default-alpn` stands without `alpn`")]
    NoAlpn,
}

impl RdataError {
    /// What would be right.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Short | Self::Trailing(_) => "see the RFC of the record type for its fields",
            Self::Name => "use an uncompressed name of at most 255 octets",
            Self::Empty => "give it at least one octet",
            Self::Tag => "use a tag such as issue, issuewild or iodef",
            Self::Flags => "use flags such as S, A, U or P",
            Self::Regexp => {
                "write it as !^.*$!sip:info@example.com!, or as \"\" where a replacement is given"
            }
            Self::Bitmap => "list each type once, in windows of rising order",
            Self::Location => {
                "latitudes end at 90 degrees, longitudes at 180, sizes at 90000000 metres"
            }
            Self::Prefix => "use families 1 and 2, without zeros at the end of an address",
            Self::Gateway => "0 is none, 1 IPv4, 2 IPv6, 3 a name",
            Self::Digest { .. } | Self::ShortDigest => {
                "copy the whole digest, and name the algorithm that made it"
            }
            Self::Svcb(error) => error.remedy(),
        }
    }
}

impl SvcbError {
    fn remedy(self) -> &'static str {
        match self {
            Self::Order => "give each parameter once",
            Self::Alias => "remove them, or use a priority above 0 (ServiceMode)",
            Self::ReservedKey => "use another key",
            Self::Value(_) => "see RFC 9460 section 7 for its form",
            Self::MandatoryAbsent => "add the parameter, or take it out of the list",
            Self::NoAlpn => "add alpn, or remove no-default-alpn",
        }
    }
}

/// Judges RDATA in wire form. Data of types without a text form here is opaque: always right.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(rtype: u16, rdata: &[u8]) -> Result<(), RdataError> {
    let Some(fields) = fields(rtype) else {
        return Ok(());
    };
    let mut wire = Wire(rdata);
    for &field in fields {
        wire.field(field)?;
    }
    if !wire.0.is_empty() {
        return Err(RdataError::Trailing(wire.0.len()));
    }
    match rtype {
        DS | CDS | DLV | TA | SSHFP | TLSA | SMIMEA | ZONEMD => digest(rtype, rdata),
        SVCB | HTTPS => svcb::check(rdata).map_err(RdataError::Svcb),
        NAPTR => naptr(rdata),
        _ => Ok(()),
    }
}

/// Checked RDATA with the names in it in lower case, to compare records by.
pub(in crate::zone::master) fn folded(rtype: u16, rdata: &[u8]) -> Cow<'_, [u8]> {
    let fields = fields(rtype).unwrap_or_default();
    if !fields.contains(&Field::Name) {
        return Cow::Borrowed(rdata);
    }
    let mut folded = rdata.to_vec();
    let mut wire = Wire(rdata);
    for &field in fields {
        let start = rdata.len() - wire.0.len();
        if wire.field(field).is_err() {
            break;
        }
        let end = rdata.len() - wire.0.len();
        if field == Field::Name
            && let Some(name) = folded.get_mut(start..end)
        {
            name.make_ascii_lowercase();
        }
    }
    Cow::Owned(folded)
}

/// Wire octets that are still unread.
pub(super) struct Wire<'w>(pub(super) &'w [u8]);

impl<'w> Wire<'w> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'w [u8], RdataError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(RdataError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, RdataError> {
        let (&first, rest) = self.0.split_first().ok_or(RdataError::Short)?;
        self.0 = rest;
        Ok(first)
    }

    pub(super) fn u16(&mut self) -> Result<u16, RdataError> {
        let (&octets, rest) = self.0.split_first_chunk().ok_or(RdataError::Short)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(octets))
    }

    pub(super) fn u32(&mut self) -> Result<u32, RdataError> {
        let (&octets, rest) = self.0.split_first_chunk().ok_or(RdataError::Short)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(octets))
    }

    /// A `<character-string>` or other field behind a length octet.
    pub(super) fn counted(&mut self) -> Result<&'w [u8], RdataError> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// An uncompressed name, its root label included.
    pub(super) fn name(&mut self) -> Result<&'w [u8], RdataError> {
        let mut length = 0;
        loop {
            let label = *self.0.get(length).ok_or(RdataError::Short)?;
            if label > 63 {
                return Err(RdataError::Name);
            }
            length += 1 + usize::from(label);
            if length > 255 {
                return Err(RdataError::Name);
            }
            if label == 0 {
                return self.take(length);
            }
        }
    }

    pub(super) fn rest(&mut self) -> &'w [u8] {
        std::mem::take(&mut self.0)
    }

    fn some_rest(&mut self) -> Result<(), RdataError> {
        if self.rest().is_empty() {
            Err(RdataError::Empty)
        } else {
            Ok(())
        }
    }

    fn field(&mut self, field: Field) -> Result<(), RdataError> {
        match field {
            Field::U8 | Field::Algorithm => self.take(1).map(drop),
            Field::U16 | Field::Type | Field::CertType => self.take(2).map(drop),
            Field::U32 | Field::Period | Field::Time | Field::Ipv4 => self.take(4).map(drop),
            Field::Eui48 => self.take(6).map(drop),
            Field::Eui64 | Field::Locator64 => self.take(8).map(drop),
            Field::Ipv6 => self.take(16).map(drop),
            Field::Name => self.name().map(drop),
            Field::Text | Field::Salt => self.counted().map(drop),
            Field::Texts => {
                self.counted()?;
                while !self.0.is_empty() {
                    self.counted()?;
                }
                Ok(())
            }
            Field::Uri | Field::Hex | Field::Base64 => self.some_rest(),
            Field::Value => {
                self.rest();
                Ok(())
            }
            Field::Tag => match self.counted()? {
                [] => Err(RdataError::Tag),
                tag if tag.iter().all(u8::is_ascii_alphanumeric) => Ok(()),
                _ => Err(RdataError::Tag),
            },
            Field::Hash => match self.counted()? {
                [] => Err(RdataError::Empty),
                _ => Ok(()),
            },
            Field::Bitmap(may_be_empty) => bitmap(self.rest(), may_be_empty),
            Field::Loc => loc::check(self.rest()),
            Field::Apl => apl::check(self),
            Field::Gateway(kind) => gateway::check(self, kind),
            Field::SvcParams => {
                self.rest();
                Ok(())
            }
        }
    }
}

/// RFC 4034 §4.1.2: windows in rising order, 1 to 32 octets each; "Blocks with no types present
/// MUST NOT be included. Trailing zero octets in the bitmap MUST be omitted."
fn bitmap(octets: &[u8], may_be_empty: bool) -> Result<(), RdataError> {
    if octets.is_empty() && !may_be_empty {
        return Err(RdataError::Bitmap);
    }
    let mut wire = Wire(octets);
    let mut last = None;
    while !wire.0.is_empty() {
        let window = wire.u8()?;
        let bits = wire.counted()?;
        let fits = (1..=32).contains(&bits.len()) && bits.last() != Some(&0);
        if !fits || last.is_some_and(|last| window <= last) {
            return Err(RdataError::Bitmap);
        }
        last = Some(window);
    }
    Ok(())
}

/// Digests whose algorithm says how long they are. Unknown algorithms pass.
fn digest(rtype: u16, rdata: &[u8]) -> Result<(), RdataError> {
    let (fixed, algorithm_at) = match rtype {
        SSHFP => (2, 1),
        TLSA | SMIMEA => (3, 2),
        ZONEMD => (6, 5),
        _ => (4, 3),
    };
    let algorithm = rdata.get(algorithm_at).copied().unwrap_or_default();
    let found = rdata.len().saturating_sub(fixed);
    let right = match (rtype, algorithm) {
        // RFC 4255 §3.1.2, RFC 6594
        (SSHFP, 1) => 20,
        (SSHFP, 2) => 32,
        // RFC 6698 §2.1.3
        (TLSA | SMIMEA, 1) => 32,
        (TLSA | SMIMEA, 2) => 64,
        // RFC 8976 §5.3
        (ZONEMD, 1) => 48,
        (ZONEMD, 2) => 64,
        // RFC 8976 §2.2.4: "digests shorter than 12 octets MUST NOT be used"
        (ZONEMD, _) if found < 12 => return Err(RdataError::ShortDigest),
        // IANA "DS RR Type Digest Algorithms"
        (DS | CDS | DLV | TA, 1) => 20,
        (DS | CDS | DLV | TA, 2 | 3) => 32,
        (DS | CDS | DLV | TA, 4) => 48,
        _ => return Ok(()),
    };
    if found == right {
        Ok(())
    } else {
        Err(RdataError::Digest { found, right })
    }
}

/// RFC 3403 §4.1: "Flags are single characters from the set A-Z and 0-9."
fn naptr(rdata: &[u8]) -> Result<(), RdataError> {
    let mut wire = Wire(rdata);
    wire.take(4)?;
    if !wire.counted()?.iter().all(u8::is_ascii_alphanumeric) {
        return Err(RdataError::Flags);
    }
    wire.counted()?;
    match wire.counted()? {
        [] => Ok(()),
        regexp if is_substitution(regexp) => Ok(()),
        _ => Err(RdataError::Regexp),
    }
}

/// RFC 3402 §3.2: `subst-expr = delim-char ere delim-char repl delim-char *flags`; the delimiter
/// is "any octet not in 'POS-DIGIT' or 'flags'", and the only flag is `i`.
fn is_substitution(regexp: &[u8]) -> bool {
    let Some((&delimiter, mut rest)) = regexp.split_first() else {
        return false;
    };
    if matches!(delimiter, 0 | b'1'..=b'9' | b'i' | b'\\') {
        return false;
    }
    let mut left = 2;
    while let Some((&octet, tail)) = rest.split_first() {
        rest = match octet {
            b'\\' => tail.get(1..).unwrap_or_default(),
            _ => tail,
        };
        if octet == delimiter {
            left -= 1;
            if left == 0 {
                return rest.iter().all(|&flag| flag == b'i');
            }
        }
    }
    false
}
