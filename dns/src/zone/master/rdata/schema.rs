//! The fields of each type's RDATA, in wire order. Reading, checking and writing all walk this
//! one table, so they cannot disagree.

use super::gateway::Kind;
use crate::types::rtype::*;

/// One field of RDATA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    U8,
    U16,
    U32,
    /// 32 bits of seconds; in text also with units.
    Period,
    /// 32 bits of seconds since 1970 modulo 2^32 (RFC 4034 §3.2).
    Time,
    /// A record type.
    Type,
    /// 8 bits, in text also a DNSSEC mnemonic.
    Algorithm,
    /// 16 bits, in text also a mnemonic (RFC 4398 §2.1).
    CertType,
    Ipv4,
    Ipv6,
    /// Uncompressed domain name.
    Name,
    /// `<character-string>`
    Text,
    /// One or more `<character-string>`s up to the end.
    Texts,
    /// The rest as one string without a length octet (RFC 7553 §4.4).
    Uri,
    /// `<character-string>` of letters and digits, written without quotes (RFC 8659 §4.1.1).
    Tag,
    /// The rest as one string without a length octet, may be empty (RFC 8659 §4.1.1).
    Value,
    /// The rest, at least one octet.
    Hex,
    /// The rest, at least one octet.
    Base64,
    /// Length octet and octets, in text hexadecimal or `-` (RFC 5155 §3.3).
    Salt,
    /// Length octet and octets, in text base32hex (RFC 5155 §3.3).
    Hash,
    /// Type bitmap up to the end; whether it may be empty (RFC 4034 §4.1.2).
    Bitmap(bool),
    Eui48,
    Eui64,
    /// Four groups of hexadecimal digits (RFC 6742 §2.2).
    Locator64,
    /// The whole RDATA (RFC 1876).
    Loc,
    /// The whole RDATA (RFC 3123).
    Apl,
    /// The whole RDATA (RFC 4025, RFC 8777).
    Gateway(Kind),
    /// The rest of SVCB (RFC 9460 §2.2).
    SvcParams,
}

/// The fields of a type; `None` where no text form is known here.
pub(super) fn fields(rtype: u16) -> Option<&'static [Field]> {
    use Field as F;
    Some(match rtype {
        A => &[F::Ipv4],
        AAAA => &[F::Ipv6],
        NS | CNAME | DNAME | PTR | MB | MG | MR => &[F::Name],
        SOA => &[
            F::Name,
            F::Name,
            F::U32,
            F::Period,
            F::Period,
            F::Period,
            F::Period,
        ],
        MX | AFSDB | KX | RT | LP => &[F::U16, F::Name],
        PX => &[F::U16, F::Name, F::Name],
        RP | MINFO | TALINK => &[F::Name, F::Name],
        TXT | SPF | NINFO | AVC | RESINFO | WALLET => &[F::Texts],
        HINFO => &[F::Text, F::Text],
        SRV => &[F::U16, F::U16, F::U16, F::Name],
        NAPTR => &[F::U16, F::U16, F::Text, F::Text, F::Text, F::Name],
        CAA => &[F::U8, F::Tag, F::Value],
        URI => &[F::U16, F::U16, F::Uri],
        SSHFP => &[F::U8, F::U8, F::Hex],
        TLSA | SMIMEA => &[F::U8, F::U8, F::U8, F::Hex],
        DS | CDS | DLV | TA => &[F::U16, F::Algorithm, F::U8, F::Hex],
        DNSKEY | CDNSKEY => &[F::U16, F::U8, F::Algorithm, F::Base64],
        CERT => &[F::CertType, F::U16, F::Algorithm, F::Base64],
        DHCID | OPENPGPKEY => &[F::Base64],
        RRSIG => &[
            F::Type,
            F::Algorithm,
            F::U8,
            F::U32,
            F::Time,
            F::Time,
            F::U16,
            F::Name,
            F::Base64,
        ],
        NSEC => &[F::Name, F::Bitmap(false)],
        NSEC3 => &[F::U8, F::U8, F::U16, F::Salt, F::Hash, F::Bitmap(true)],
        NSEC3PARAM => &[F::U8, F::U8, F::U16, F::Salt],
        CSYNC => &[F::U32, F::U16, F::Bitmap(true)],
        ZONEMD => &[F::U32, F::U8, F::U8, F::Hex],
        LOC => &[F::Loc],
        APL => &[F::Apl],
        IPSECKEY => &[F::Gateway(Kind::Ipsec)],
        AMTRELAY => &[F::Gateway(Kind::Amt)],
        EUI48 => &[F::Eui48],
        EUI64 => &[F::Eui64],
        NID | L64 => &[F::U16, F::Locator64],
        L32 => &[F::U16, F::Ipv4],
        SVCB | HTTPS => &[F::U16, F::Name, F::SvcParams],
        _ => return None,
    })
}

/// DNSSEC algorithm mnemonics (IANA "DNS Security Algorithm Numbers").
pub(super) const ALGORITHMS: &[(u8, &str)] = &[
    (0, "DELETE"),
    (1, "RSAMD5"),
    (2, "DH"),
    (3, "DSA"),
    (5, "RSASHA1"),
    (6, "DSA-NSEC3-SHA1"),
    (6, "NSEC3DSA"),
    (7, "RSASHA1-NSEC3-SHA1"),
    (7, "NSEC3RSASHA1"),
    (8, "RSASHA256"),
    (10, "RSASHA512"),
    (12, "ECC-GOST"),
    (13, "ECDSAP256SHA256"),
    (14, "ECDSAP384SHA384"),
    (15, "ED25519"),
    (16, "ED448"),
    (252, "INDIRECT"),
    (253, "PRIVATEDNS"),
    (254, "PRIVATEOID"),
];

/// Certificate types (RFC 4398 §2.1).
pub(super) const CERT_TYPES: &[(u16, &str)] = &[
    (1, "PKIX"),
    (2, "SPKI"),
    (3, "PGP"),
    (4, "IPKIX"),
    (5, "ISPKI"),
    (6, "IPGP"),
    (7, "ACPKIX"),
    (8, "IACPKIX"),
    (253, "URI"),
    (254, "OID"),
];
