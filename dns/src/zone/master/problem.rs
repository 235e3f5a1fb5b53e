//! What can be wrong in a master file, each with its remedy.

use std::fmt;

use meridian_config::NameError;

use super::rdata::RdataError;
use crate::types::rtype::type_name;

/// A mistake and its place in the text being read (byte range).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) span: (usize, usize),
    pub(super) problem: Problem,
}

impl Fault {
    pub(super) fn new(span: (usize, usize), problem: Problem) -> Self {
        Self { span, problem }
    }
}

/// Text of the file's, made harmless and short for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown(String);

impl Shown {
    pub(super) fn new(text: &[u8]) -> Self {
        const MOST: usize = 60;
        let mut shown: String = text
            .iter()
            .take(MOST)
            .flat_map(|&octet| printable(octet))
            .collect();
        if text.len() > MOST {
            shown.push('…');
        }
        Self(shown)
    }
}

fn printable(octet: u8) -> Vec<char> {
    match octet {
        0x20..=0x7e => vec![char::from(octet)],
        _ => format!("\\{octet:03}").chars().collect(),
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What should have stood in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Expected {
    #[error("a number up to {0}")]
    Number(u32),
    #[error("an IPv4 address")]
    Ipv4,
    #[error("an IPv6 address")]
    Ipv6,
    #[error("a domain name")]
    Name,
    #[error("a string of at most 255 octets")]
    Text,
    #[error("a URI in double quotes")]
    Uri,
    #[error("hexadecimal digits in pairs")]
    Hex,
    #[error("hexadecimal digits in pairs, or `-` for none")]
    Salt,
    #[error("base64 text")]
    Base64,
    #[error("base32hex text")]
    Base32,
    #[error("a record type")]
    Type,
    #[error("a time such as 20261120230400")]
    Time,
    #[error("a period such as 3600 or 1h30m")]
    Period,
    #[error("a DNSSEC algorithm")]
    Algorithm,
    #[error("a certificate type")]
    CertType,
    #[error("a property tag of letters and digits")]
    Tag,
    #[error("six octets such as 00-00-5e-00-53-2a")]
    Eui48,
    #[error("eight octets such as 00-00-5e-ef-10-00-00-2a")]
    Eui64,
    #[error("four groups of hexadecimal digits such as 2001:0db8:1140:1000")]
    Locator64,
    #[error("a dot, which says that there is no gateway")]
    NoGateway,
    #[error("a prefix such as 1:192.0.2.0/24 or !2:2001:db8::/32")]
    Prefix,
    #[error("a latitude such as 52 22 23.000 N")]
    Latitude,
    #[error("a longitude such as 4 53 32.000 E")]
    Longitude,
    #[error("metres such as -2.00m")]
    Metres,
    #[error("a service parameter such as alpn=h2")]
    SvcParam,
    #[error("the length of the data in octets")]
    Length,
    #[error("a file name")]
    FileName,
    #[error("a range such as 1-100 or 0-250/10")]
    Range,
    #[error("an owner name")]
    Owner,
}

/// What is wrong, one sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("this quoted string is not closed on its line")]
    OpenQuote,
    #[error("this parenthesis is never closed")]
    OpenParenthesis,
    #[error("nothing is open that this parenthesis could close")]
    ClosingParenthesis,
    #[error("a carriage return stands alone")]
    LoneReturn,
    #[error("a backslash is not followed by a character or by three digits up to 255")]
    BadEscape,
    #[error("this record has more than 70,000 words")]
    TooManyTokens,

    #[error("`{0}` is no directive")]
    UnknownDirective(Shown),
    #[error("expected {0} here")]
    Missing(Expected),
    #[error("`{0}` is too much")]
    Extra(Shown),
    #[error("`{0}` is not {1}")]
    Not(Shown, Expected),
    #[error("`{0}` is no domain name: {1}")]
    BadName(Shown, NameError),

    #[error("`{0}` is included from outside the folder of the zone file")]
    IncludeOutside(Shown),
    #[error("`{0}` cannot be read: {1}")]
    IncludeUnreadable(Shown, String),
    #[error("`{0}` includes itself")]
    IncludeLoop(Shown),
    #[error("files are included more than {0} deep")]
    IncludeDepth(usize),
    #[error("more than {0} files are included")]
    IncludeCount(usize),
    #[error("$INCLUDE has no folder to read from here")]
    IncludeNowhere,

    #[error("the range {0}-{1} runs backwards")]
    RangeBackwards(u32, u32),
    #[error("$GENERATE makes more than {0} records in this zone")]
    GenerateCount(usize),
    #[error("$GENERATE makes more than {0} octets in this zone")]
    GenerateOctets(usize),
    #[error("`{0}` is no substitution of $GENERATE")]
    BadSubstitution(Shown),
    #[error("for {0}: {1}")]
    Generated(u32, Box<Problem>),

    #[error("no owner name stands before this line that it could repeat")]
    NoOwner,
    #[error("`{0}` is neither a TTL, a class nor a record type")]
    NoType(Shown),
    #[error("a record type is missing")]
    MissingType,
    #[error("the TTL is given twice")]
    TwoTtls,
    #[error("the class is given twice")]
    TwoClasses,
    #[error("the class is {0}, but only class IN is served")]
    OtherClass(Shown),
    #[error("the TTL {0} is above 2147483647 seconds")]
    TtlTooLarge(Shown),
    #[error("this record has no TTL, and none is set before it")]
    NoTtl,
    #[error("{} records cannot stand in a zone", type_name(*.0))]
    MetaType(u16),
    #[error("the text form of {} data is not known here", type_name(*.0))]
    NoTextForm(u16),
    #[error("{0} octets are announced, but {1} follow")]
    GenericLength(usize, usize),
    #[error("the data is {0} octets long; 65535 is the most")]
    TooLong(usize),
    #[error("{problem}")]
    Field { rtype: u16, problem: Box<Problem> },
    #[error("the {} data is wrong: {error}", type_name(*.rtype))]
    Data { rtype: u16, error: RdataError },
    #[error("{0}")]
    SvcParam(SvcParamProblem),
}

/// What is wrong with a parameter of SVCB or HTTPS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SvcParamProblem {
    #[error("`{0}` is no service parameter")]
    UnknownKey(Shown),
    #[error("the parameter `{0}` is given twice")]
    Twice(Shown),
    #[error("the value of `{0}` is wrong: `{1}`")]
    Value(&'static str, Shown),
    #[error("the parameter `{0}` needs a value")]
    NoValue(&'static str),
    #[error("the parameter `{0}` takes no value")]
    HasValue(&'static str),
}
