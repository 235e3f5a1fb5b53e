//! How the data of each type is written, to show beside a mistake in it.

use crate::types::rtype::*;

/// The fields of a type in words; empty where no text form is known here.
pub(in crate::zone::master) fn form(rtype: u16) -> &'static str {
    match rtype {
        A | AAAA => "ADDRESS",
        NS | CNAME | DNAME | PTR | MB | MG | MR => "NAME",
        SOA => "PRIMARY MAILBOX SERIAL REFRESH RETRY EXPIRE MINIMUM",
        MX | KX | RT | LP => "PREFERENCE NAME",
        AFSDB => "SUBTYPE NAME",
        PX => "PREFERENCE MAP822 MAPX400",
        RP => "MAILBOX TEXT-NAME",
        MINFO => "MAILBOX ERROR-MAILBOX",
        TALINK => "PREVIOUS NEXT",
        TXT | SPF | NINFO | AVC | RESINFO | WALLET => "\"TEXT\" ...",
        HINFO => "CPU OS",
        SRV => "PRIORITY WEIGHT PORT TARGET",
        NAPTR => "ORDER PREFERENCE \"FLAGS\" \"SERVICE\" \"REGEXP\" REPLACEMENT",
        CAA => "FLAGS TAG \"VALUE\"",
        URI => "PRIORITY WEIGHT \"TARGET\"",
        SSHFP => "ALGORITHM HASH FINGERPRINT",
        TLSA | SMIMEA => "USAGE SELECTOR MATCHING DATA",
        DS | CDS | DLV | TA => "KEY-TAG ALGORITHM DIGEST-TYPE DIGEST",
        DNSKEY | CDNSKEY => "FLAGS PROTOCOL ALGORITHM KEY",
        CERT => "TYPE KEY-TAG ALGORITHM CERTIFICATE",
        DHCID | OPENPGPKEY => "BASE64",
        RRSIG => "TYPE ALGORITHM LABELS TTL EXPIRATION INCEPTION KEY-TAG SIGNER SIGNATURE",
        NSEC => "NEXT-NAME TYPE ...",
        NSEC3 => "HASH FLAGS ITERATIONS SALT NEXT-HASH TYPE ...",
        NSEC3PARAM => "HASH FLAGS ITERATIONS SALT",
        CSYNC => "SERIAL FLAGS TYPE ...",
        ZONEMD => "SERIAL SCHEME HASH DIGEST",
        LOC => "D M S N|S D M S E|W ALTITUDE [SIZE [HORIZONTAL [VERTICAL]]]",
        APL => "[!]FAMILY:ADDRESS/LENGTH ...",
        IPSECKEY => "PRECEDENCE GATEWAY-TYPE ALGORITHM GATEWAY [KEY]",
        AMTRELAY => "PRECEDENCE D RELAY-TYPE RELAY",
        EUI48 | EUI64 => "OCTETS",
        NID | L64 => "PREFERENCE ID",
        L32 => "PREFERENCE ADDRESS",
        SVCB | HTTPS => "PRIORITY TARGET [KEY=VALUE ...]",
        _ => "",
    }
}
