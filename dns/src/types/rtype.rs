//! RR types and QTYPEs: numbers and mnemonics (IANA "Resource Record (RR) TYPEs").

use std::fmt;

macro_rules! types {
    ($($ident:ident = $code:literal $mnemonic:literal;)*) => {
        $(
            #[doc = concat!("Type `", $mnemonic, "`.")]
            pub const $ident: u16 = $code;
        )*

        /// Every type with a mnemonic, in rising order of numbers.
        const MNEMONICS: &[(u16, &str)] = &[$(($code, $mnemonic)),*];
    };
}

types! {
    A = 1 "A";
    NS = 2 "NS";
    MD = 3 "MD";
    MF = 4 "MF";
    CNAME = 5 "CNAME";
    SOA = 6 "SOA";
    MB = 7 "MB";
    MG = 8 "MG";
    MR = 9 "MR";
    NULL = 10 "NULL";
    WKS = 11 "WKS";
    PTR = 12 "PTR";
    HINFO = 13 "HINFO";
    MINFO = 14 "MINFO";
    MX = 15 "MX";
    TXT = 16 "TXT";
    RP = 17 "RP";
    AFSDB = 18 "AFSDB";
    X25 = 19 "X25";
    ISDN = 20 "ISDN";
    RT = 21 "RT";
    NSAP = 22 "NSAP";
    NSAP_PTR = 23 "NSAP-PTR";
    SIG = 24 "SIG";
    KEY = 25 "KEY";
    PX = 26 "PX";
    GPOS = 27 "GPOS";
    AAAA = 28 "AAAA";
    LOC = 29 "LOC";
    NXT = 30 "NXT";
    EID = 31 "EID";
    NIMLOC = 32 "NIMLOC";
    SRV = 33 "SRV";
    ATMA = 34 "ATMA";
    NAPTR = 35 "NAPTR";
    KX = 36 "KX";
    CERT = 37 "CERT";
    A6 = 38 "A6";
    DNAME = 39 "DNAME";
    SINK = 40 "SINK";
    OPT = 41 "OPT";
    APL = 42 "APL";
    DS = 43 "DS";
    SSHFP = 44 "SSHFP";
    IPSECKEY = 45 "IPSECKEY";
    RRSIG = 46 "RRSIG";
    NSEC = 47 "NSEC";
    DNSKEY = 48 "DNSKEY";
    DHCID = 49 "DHCID";
    NSEC3 = 50 "NSEC3";
    NSEC3PARAM = 51 "NSEC3PARAM";
    TLSA = 52 "TLSA";
    SMIMEA = 53 "SMIMEA";
    HIP = 55 "HIP";
    NINFO = 56 "NINFO";
    RKEY = 57 "RKEY";
    TALINK = 58 "TALINK";
    CDS = 59 "CDS";
    CDNSKEY = 60 "CDNSKEY";
    OPENPGPKEY = 61 "OPENPGPKEY";
    CSYNC = 62 "CSYNC";
    ZONEMD = 63 "ZONEMD";
    SVCB = 64 "SVCB";
    HTTPS = 65 "HTTPS";
    DSYNC = 66 "DSYNC";
    SPF = 99 "SPF";
    NID = 104 "NID";
    L32 = 105 "L32";
    L64 = 106 "L64";
    LP = 107 "LP";
    EUI48 = 108 "EUI48";
    EUI64 = 109 "EUI64";
    NXNAME = 128 "NXNAME";
    TKEY = 249 "TKEY";
    TSIG = 250 "TSIG";
    IXFR = 251 "IXFR";
    AXFR = 252 "AXFR";
    MAILB = 253 "MAILB";
    MAILA = 254 "MAILA";
    ANY = 255 "ANY";
    URI = 256 "URI";
    CAA = 257 "CAA";
    AVC = 258 "AVC";
    AMTRELAY = 260 "AMTRELAY";
    RESINFO = 261 "RESINFO";
    WALLET = 262 "WALLET";
    TA = 32768 "TA";
    DLV = 32769 "DLV";
}

/// Whether the type may never stand in a zone: questions and metadata only.
///
/// RFC 6895 §3.1: 128..=255 are "Q and Meta-TYPEs"; 0 and 65535 are reserved; OPT is metadata.
pub fn is_meta(rtype: u16) -> bool {
    matches!(rtype, 0 | OPT | 128..=255 | u16::MAX)
}

/// Shows a type by its mnemonic, or as `TYPE4711` (RFC 3597 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeName(u16);

impl TypeName {
    /// The mnemonic, where the type has one.
    pub fn mnemonic(self) -> Option<&'static str> {
        let at = MNEMONICS
            .binary_search_by_key(&self.0, |&(code, _)| code)
            .ok()?;
        MNEMONICS.get(at).map(|&(_, mnemonic)| mnemonic)
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(mnemonic) => f.write_str(mnemonic),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

/// How a type is written.
pub fn type_name(rtype: u16) -> TypeName {
    TypeName(rtype)
}

/// Reads a mnemonic or `TYPE4711` (RFC 3597 §5), in any case of letters.
pub fn parse_type(text: &str) -> Option<u16> {
    if let Some((code, _)) = MNEMONICS
        .iter()
        .find(|(_, mnemonic)| mnemonic.eq_ignore_ascii_case(text))
    {
        return Some(*code);
    }
    let (prefix, digits) = text.split_at_checked(4)?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if prefix.eq_ignore_ascii_case("TYPE") && plain {
        digits.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mnemonic_reads_back_and_the_table_is_sorted() {
        assert!(MNEMONICS.is_sorted_by(|a, b| a.0 < b.0));
        for &(code, mnemonic) in MNEMONICS {
            assert_eq!(parse_type(mnemonic), Some(code));
            assert_eq!(parse_type(&mnemonic.to_lowercase()), Some(code));
            assert_eq!(type_name(code).to_string(), mnemonic);
        }
    }

    #[test]
    fn numbered_types_rfc_3597_section_5() {
        assert_eq!(parse_type("TYPE65280"), Some(65280));
        assert_eq!(parse_type("type1"), Some(A));
        assert_eq!(type_name(65280).to_string(), "TYPE65280");
        for bad in [
            "TYPE",
            "TYPE65536",
            "TYPE+1",
            "TYPE-1",
            "TYP1",
            "",
            "TYPE1x",
        ] {
            assert_eq!(parse_type(bad), None, "{bad}");
        }
    }

    #[test]
    fn meta_types_rfc_6895_section_3_1() {
        for meta in [0, OPT, ANY, AXFR, IXFR, TSIG, TKEY, NXNAME, 65535] {
            assert!(is_meta(meta));
        }
        for data in [A, SPF, URI, 65280, EUI64] {
            assert!(!is_meta(data));
        }
    }
}
