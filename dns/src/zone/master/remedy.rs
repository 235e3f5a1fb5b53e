//! The remedy of each [`Problem`].

use super::{
    problem::{Expected, Problem, SvcParamProblem},
    rdata::form,
};
use crate::types::rtype::type_name;

/// What would be right.
pub(super) fn remedy(problem: &Problem) -> String {
    match problem {
        Problem::Not(_, expected) | Problem::Missing(expected) => expectation(*expected).into(),
        Problem::Generated(_, inner) => remedy(inner),
        Problem::Field { rtype, problem } => field(*rtype, problem),
        Problem::Data { error, .. } => error.remedy().into(),
        Problem::SvcParam(problem) => parameter(problem).into(),
        Problem::NoTextForm(rtype) => {
            format!("write it as TYPE{rtype} \\# LENGTH HEX (RFC 3597)")
        }
        Problem::BadName(..) => "labels have 1 to 63 octets, names at most 255; \
             write a dot inside a label as \\."
            .into(),
        other => fixed(other).into(),
    }
}

/// A field that is there but wrong is told how it is written itself, where that is worth a word;
/// everything else is told what fields there are.
fn field(rtype: u16, problem: &Problem) -> String {
    match problem {
        Problem::Not(
            _,
            Expected::Number(_) | Expected::Tag | Expected::Name | Expected::SvcParam,
        )
        | Problem::Missing(_)
        | Problem::Extra(_) => {
            format!("{} data is written {}", type_name(rtype), form(rtype))
        }
        other => remedy(other),
    }
}

fn fixed(problem: &Problem) -> &'static str {
    match problem {
        Problem::OpenQuote => "close it with \" on the same line",
        Problem::OpenParenthesis => "close it with ) at the end of the record",
        Problem::ClosingParenthesis => "remove it, or open one before it",
        Problem::LoneReturn => "end lines with a line feed, or with both",
        Problem::BadEscape => "write \\DDD with three decimal digits, or \\X for the character X",
        Problem::TooManyTokens => "a parenthesis is probably closed too late",
        Problem::UnknownDirective(_) => {
            "known are $ORIGIN, $TTL, $INCLUDE and $GENERATE; an owner name that starts with $ is \
             written \\$"
        }
        Problem::Extra(_) => "remove it, or put strings with blanks into double quotes",
        Problem::IncludeOutside(_) => {
            "name a file inside the folder of the zone file, without a leading /, without .. and \
             without symbolic links that lead out"
        }
        Problem::IncludeUnreadable(..) => "name a readable file, relative to the zone file",
        Problem::IncludeLoop(_) => "include each file from outside itself",
        Problem::IncludeDepth(_) | Problem::IncludeCount(_) => "include fewer files",
        Problem::IncludeNowhere => "put the records here instead",
        Problem::RangeBackwards(..) => "write the smaller number first",
        Problem::GenerateCount(_) | Problem::GenerateOctets(_) => {
            "narrow the range, or split the zone"
        }
        Problem::BadSubstitution(_) => {
            "write $, $$ for a dollar sign, or ${offset,width,base} with base d, o, x, X, n or N"
        }
        Problem::NoOwner => "start the line with an owner name",
        Problem::NoType(_) | Problem::MissingType => {
            "write OWNER [TTL] [IN] TYPE DATA; unknown types as TYPE4711"
        }
        Problem::TwoTtls | Problem::TwoClasses => "give it once",
        Problem::OtherClass(_) => "write IN, or leave the class out",
        Problem::TtlTooLarge(_) => "use at most 2147483647 (RFC 2181 section 8)",
        Problem::NoTtl => "write $TTL 1h at the top of the file",
        Problem::MetaType(_) => "remove it: the type stands in queries and messages only",
        Problem::GenericLength(..) => "write \\# LENGTH HEX with the number of octets as LENGTH",
        Problem::TooLong(_) => "shorten it",
        _ => "",
    }
}

fn expectation(expected: Expected) -> &'static str {
    match expected {
        Expected::Ipv4 => "write four numbers up to 255, such as 192.0.2.1",
        Expected::Ipv6 => "write an address such as 2001:db8::1",
        Expected::Text => "split longer texts into several strings",
        Expected::Owner => "write a name without quotes; @ is the origin, and \\032 a blank",
        Expected::Name => "write a name without quotes; @ is the origin",
        Expected::Period => "write seconds, or numbers with the units w, d, h, m and s",
        Expected::Time => "write YYYYMMDDHHmmSS in UTC, or seconds since 1970",
        Expected::Type => "write a mnemonic such as A, or TYPE4711",
        Expected::Algorithm => "write its number, or a mnemonic such as ECDSAP256SHA256",
        Expected::CertType => "write its number, or a mnemonic such as PKIX",
        Expected::Length => "write \\# LENGTH HEX (RFC 3597)",
        Expected::Range => "write START-STOP or START-STOP/STEP, with numbers up to 2147483647",
        Expected::Latitude | Expected::Longitude => {
            "write degrees, minutes and seconds, then N or S, E or W (RFC 1876)"
        }
        Expected::Hex | Expected::Salt => "write 0-9 and a-f, two for each octet",
        Expected::Base64 => "write A-Z, a-z, 0-9, + and /, padded with = to groups of four",
        Expected::Base32 => "write 0-9 and a-v without padding",
        _ => "see the RFC of the record type for its fields",
    }
}

fn parameter(problem: &SvcParamProblem) -> &'static str {
    match problem {
        SvcParamProblem::UnknownKey(_) => {
            "known are mandatory, alpn, no-default-alpn, port, ipv4hint, ech, ipv6hint, dohpath \
             and ohttp; others are written key4711"
        }
        SvcParamProblem::Twice(_) => "give it once",
        SvcParamProblem::Value("mandatory", _) => "list names of parameters, such as alpn,port",
        SvcParamProblem::Value("alpn", _) => "list protocols of 1 to 255 octets, such as h2,h3",
        SvcParamProblem::Value("port", _) => "write a number up to 65535",
        SvcParamProblem::Value("ipv4hint", _) => "list addresses such as 192.0.2.1,192.0.2.2",
        SvcParamProblem::Value("ipv6hint", _) => "list addresses such as 2001:db8::1,2001:db8::2",
        SvcParamProblem::Value("ech", _) => "write the ECHConfigList in base64",
        SvcParamProblem::Value(..) => "write octets, others than printable ones as \\DDD",
        SvcParamProblem::NoValue(_) => "write it as KEY=VALUE",
        SvcParamProblem::HasValue(_) => "write the key alone",
    }
}
