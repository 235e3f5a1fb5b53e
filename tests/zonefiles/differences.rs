//! Zones that a peer judges differently, each with the reason.

use crate::peers::Peer;

const DIFFERENCES: &[(&str, Peer, &str)] = &[
    (
        "amtrelay.zone",
        Peer::Nsd,
        "its release in Debian 12 does not know the type",
    ),
    (
        "bom.zone",
        Peer::Bind,
        "a byte order mark is how some editors save UTF-8, and no part of the text",
    ),
    ("bom.zone", Peer::Nsd, "as with BIND"),
    (
        "duplicates.zone",
        Peer::Nsd,
        "an identical SOA is a duplicate like any other (RFC 2181 section 5)",
    ),
    ("generate.zone", Peer::Nsd, "it has no $GENERATE"),
    ("generate_offset.zone", Peer::Nsd, "it has no $GENERATE"),
    (
        "generate_offset.zone",
        Peer::Bind,
        "it applies the offset of an earlier ${} to every later $ of the word; each stands for itself here",
    ),
    (
        "include.zone",
        Peer::Nsd,
        "it has no relative $ORIGIN and takes quotes for part of a file name",
    ),
    ("origin.zone", Peer::Nsd, "it has no relative $ORIGIN"),
    (
        "parens.zone",
        Peer::Nsd,
        "it refuses nested parentheses, which RFC 1035 does not",
    ),
    (
        "ttl_last.zone",
        Peer::Nsd,
        "it uses 3600 s where RFC 1035 section 5.1 says the last stated TTL",
    ),
    (
        "ttl_soa.zone",
        Peer::Nsd,
        "it uses 3600 s where no TTL is stated",
    ),
    (
        "ttl_mixed.zone",
        Peer::Bind,
        "it uses the TTL read first; RFC 2181 section 5.2 says the lowest",
    ),
    (
        "digest_length.zone",
        Peer::Nsd,
        "it does not compare the digest with its algorithm; such a record never matches",
    ),
    (
        "tlsa_length.zone",
        Peer::Bind,
        "it does not compare the digest with its algorithm; such a record never matches",
    ),
    (
        "tlsa_length.zone",
        Peer::Nsd,
        "it does not compare the digest with its algorithm; such a record never matches",
    ),
    (
        "dname_below.zone",
        Peer::Bind,
        "it hides what is below a DNAME; RFC 6672 section 2.4 says it must not exist",
    ),
    (
        "dname_ns.zone",
        Peer::Bind,
        "RFC 6672 section 2.3: not beside NS records below the apex",
    ),
    (
        "dname_ns.zone",
        Peer::Nsd,
        "RFC 6672 section 2.3: not beside NS records below the apex",
    ),
    (
        "dname_wildcard.zone",
        Peer::Bind,
        "RFC 4592 section 4.4: to be avoided or outright rejected",
    ),
    (
        "dname_wildcard.zone",
        Peer::Nsd,
        "RFC 4592 section 4.4: to be avoided or outright rejected",
    ),
    (
        "ns_wildcard.zone",
        Peer::Nsd,
        "RFC 4592 section 4.2: not defined",
    ),
    (
        "escape.zone",
        Peer::Nsd,
        "it takes \\256 and \\25 for something else; RFC 1035 section 5.1 has three digits of an octet",
    ),
    (
        "generic_length.zone",
        Peer::Nsd,
        "it only warns when the length is not that of the data (RFC 3597 section 5)",
    ),
    (
        "include_absolute.zone",
        Peer::Bind,
        "files outside the folder of the zone are not for a zone to read",
    ),
    (
        "include_absolute.zone",
        Peer::Nsd,
        "files outside the folder of the zone are not for a zone to read",
    ),
    (
        "include_link.zone",
        Peer::Bind,
        "files outside the folder of the zone are not for a zone to read",
    ),
    (
        "include_outside.zone",
        Peer::Bind,
        "files outside the folder of the zone are not for a zone to read",
    ),
    (
        "meta_opt.zone",
        Peer::Nsd,
        "OPT stands in messages only (RFC 6891 section 6.1.1)",
    ),
    (
        "meta_tsig.zone",
        Peer::Nsd,
        "TSIG stands in messages only (RFC 8945 section 4.2)",
    ),
    (
        "no_ns.zone",
        Peer::Nsd,
        "RFC 1035 section 5.2: a zone needs NS records at its apex",
    ),
    (
        "out_of_zone.zone",
        Peer::Bind,
        "it ignores such records with a warning; nearly always a dot is missing or too much",
    ),
    (
        "owner_none.zone",
        Peer::Nsd,
        "it gives the record to the apex, though no owner has been stated",
    ),
    (
        "paren_open.zone",
        Peer::Nsd,
        "it takes the end of the file for the closing parenthesis",
    ),
    (
        "quote_lines.zone",
        Peer::Nsd,
        "a line end in quotes is nearly always a forgotten quote, and would swallow the file",
    ),
    (
        "return_alone.zone",
        Peer::Bind,
        "a lone carriage return shows as one line and would be read as two",
    ),
    (
        "return_alone.zone",
        Peer::Nsd,
        "a lone carriage return shows as one line and would be read as two",
    ),
    (
        "svcb_alias.zone",
        Peer::Bind,
        "RFC 9460 section 2.4.2: AliasMode should have no parameters, and they are ignored",
    ),
    (
        "svcb_alias.zone",
        Peer::Nsd,
        "RFC 9460 section 2.4.2: AliasMode should have no parameters, and they are ignored",
    ),
    (
        "svcb_dohpath.zone",
        Peer::Nsd,
        "RFC 9461 section 5: the template needs the variable dns",
    ),
    (
        "svcb_no_alpn.zone",
        Peer::Nsd,
        "RFC 9460 section 7.1.1: no-default-alpn needs alpn",
    ),
    (
        "ttl_large.zone",
        Peer::Bind,
        "it uses 0 s instead; RFC 2181 section 8 has 31 bits",
    ),
    (
        "ttl_large.zone",
        Peer::Nsd,
        "RFC 2181 section 8 has 31 bits",
    ),
    (
        "ttl_none.zone",
        Peer::Nsd,
        "it uses 3600 s where no TTL is stated",
    ),
];

/// Parts of messages of which only one of BIND and us has the like, with the reasons.
pub(crate) const ACCIDENTS: &[(&str, &str)] = &[
    (
        "is not inside the zone",
        "it ignores such records with a warning; nearly always a dot is missing or too much",
    ),
    (
        "the digest is",
        "it does not compare the digest with its algorithm; such a record never matches",
    ),
    (
        "the flags are not made of letters and digits",
        "RFC 3403 section 4.1 has A-Z and 0-9",
    ),
    (
        "is not the length of the data in octets",
        "RFC 3597 section 5: \\# is special in front of all data, also of text",
    ),
    (
        "has no address records",
        "it judges whether name servers inside the zone have addresses; a service may give them",
    ),
];

/// The reason why a peer differs from us on a zone of the corpus.
pub(crate) fn difference(name: &str, peer: Peer) -> Option<&'static str> {
    DIFFERENCES
        .iter()
        .find(|(zone, who, _)| *zone == name && *who == peer)
        .map(|(_, _, why)| *why)
}
