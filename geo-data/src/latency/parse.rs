//! Round trips as they are told: lines of the API, lines of proxies' logs, datagrams of syslog.
//!
//! ```text
//! POST /api/v1/latency   {"client":"203.0.113.0/24","pop":"fra","rtt_ms":12.5}
//! log, short             203.0.113.9 12500 …                        address, microseconds
//! log, long              203.0.113.9 - - […] "GET / …" … rtt_us=12500
//! log, long              … client=203.0.113.9 rtt_us=12500
//! ```
//!
//! In a long line only the last one or two fields are looked at, and the first: what a client
//! writes into its request stands between them, or in quotes, and cannot pass for a measurement. Where
//! the quotes around it end with one of those fields, the field has a quote that it did not open. Where
//! nothing is quoted, two addresses that differ say that a client may have written one of them, and the
//! line tells nothing.

use std::{borrow::Cow, net::IpAddr};

use ipnet::IpNet;
use serde::Deserialize;
use thiserror::Error;

/// Longest line that is looked at, octets.
pub const MAX_LINE: usize = 16_384;
/// Longest line of the API, octets.
pub const MAX_JSON: usize = 1024;

/// A round trip, as it was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told<'a> {
    /// Whose.
    pub client: IpNet,
    /// To which column; a log does not say.
    pub pop: Option<Cow<'a, str>>,
    /// Milliseconds. Whether that is possible [`Matrix::record`](super::Matrix::record) says.
    pub rtt_ms: f32,
}

/// Why a line tells nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadLine {
    /// Nothing in it.
    #[error("the line is empty")]
    Empty,
    /// Longer than [`MAX_LINE`] or [`MAX_JSON`].
    #[error("the line is too long")]
    TooLong,
    /// Not text.
    #[error("the line is not UTF-8")]
    NotText,
    /// Not the object that is asked for.
    #[error("{0}")]
    Json(String),
    /// No address or prefix where one should be, or two that differ.
    #[error("no client address, or two")]
    Client,
    /// No number where the round trip should be: nginx writes `-` where the kernel does not say.
    #[error("no round-trip time")]
    Rtt,
}

impl BadLine {
    /// Stable snake_case name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong => "too_long",
            Self::NotText => "not_text",
            Self::Json(_) => "json",
            Self::Client => "client",
            Self::Rtt => "rtt",
        }
    }
}

/// A line of `POST /api/v1/latency`. `client` is an address or a prefix.
///
/// # Errors
/// What is wrong with it.
// Round trips need no more than seven digits.
#[allow(clippy::cast_possible_truncation)]
pub fn json(line: &[u8]) -> Result<Told<'_>, BadLine> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, expecting = "an object")]
    struct Line<'a> {
        #[serde(borrow)]
        client: Cow<'a, str>,
        #[serde(borrow)]
        pop: Cow<'a, str>,
        rtt_ms: f64,
    }
    let text = text(line, MAX_JSON)?;
    let line: Line<'_> =
        serde_json::from_str(text).map_err(|error| BadLine::Json(words(&error)))?;
    Ok(Told {
        client: client(&line.client)?,
        pop: Some(line.pop),
        rtt_ms: line.rtt_ms as f32,
    })
}

/// What is wrong with a line that is not the object, in words for those who do not know how we are made.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text
        .replace("expected f64", "expected a number")
        .replace(" at line 1 column ", " at column ");
    match error.is_data() {
        true => text,
        false => format!("this is no JSON: {text}"),
    }
}

/// A line of a proxy's log: nginx with `$remote_addr` and `$tcpinfo_rtt`, HAProxy with `%[src]` and
/// `%[fc_rtt(us)]`. See the module's text for its shapes.
///
/// # Errors
/// What is wrong with it.
pub fn log(line: &[u8]) -> Result<Told<'_>, BadLine> {
    let text = text(line, MAX_LINE)?;
    let mut fields = text.split_ascii_whitespace();
    let (first, second) = (fields.next().ok_or(BadLine::Empty)?, fields.next());
    let mut behind = text.split_ascii_whitespace().rev();
    let (last, before) = (behind.next().unwrap_or(""), behind.next());
    let (rtt_ms, address) = match named(last) {
        Some(rtt) => {
            let told = before.and_then(|field| value(field, "client="));
            if told.is_some_and(|told| contradicts(first, told)) {
                return Err(BadLine::Client);
            }
            (rtt?, told.unwrap_or(first))
        }
        None => (number(second.ok_or(BadLine::Rtt)?)? / 1000.0, first),
    };
    Ok(Told {
        client: client(bare(address))?,
        pop: None,
        rtt_ms,
    })
}

/// Whether a line that begins with an address names another one as its client's. HAProxy writes address
/// and port (`%ci:%cp`), which for IPv6 looks like an address.
fn contradicts(first: &str, told: &str) -> bool {
    let (first, told) = (bare(first), bare(told));
    let address = |text| client(text).ok().map(|net| net.addr().to_canonical());
    let with_port = first
        .strip_prefix(told)
        .is_some_and(|rest| rest.starts_with(':'));
    let differ = |(one, other)| one != other;
    !with_port && address(first).zip(address(told)).is_some_and(differ)
}

/// What a datagram of syslog says, without its header (RFC 5424, RFC 3164, or none). Total: what is no
/// header is taken for the message.
pub fn syslog(datagram: &[u8]) -> &[u8] {
    let all = datagram.trim_ascii_end();
    let Some(rest) = without_priority(all) else {
        return all;
    };
    match rest.strip_prefix(b"1 ") {
        Some(new) => rfc5424(new).unwrap_or(new),
        None => rfc3164(rest),
    }
}

/// RFC 5424 §6: TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA [MSG].
fn rfc5424(rest: &[u8]) -> Option<&[u8]> {
    let mut rest = rest;
    for _ in 0..5 {
        let at = rest.iter().position(|octet| *octet == b' ')?;
        rest = rest.get(at + 1..)?;
    }
    let (mut quoted, mut inside, mut escaped) = (false, false, false);
    let mut end = rest.len();
    for (at, octet) in rest.iter().enumerate() {
        match *octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if inside => quoted = !quoted,
            b'[' if !quoted => inside = true,
            b']' if !quoted => inside = false,
            b' ' if !inside => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    let message = rest.get(end..)?.trim_ascii_start();
    Some(message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message))
}

/// RFC 3164 §4.1: `Mmm dd hh:mm:ss`, a host, a tag with a colon; HAProxy leaves out the host, and what
/// is not there is not missed.
fn rfc3164(rest: &[u8]) -> &[u8] {
    let rest = without_time(rest);
    let mut after = rest;
    for _ in 0..2 {
        let word = after.split(|octet| *octet == b' ').next().unwrap_or(&[]);
        let Some(next) = after.get(word.len() + 1..) else {
            return rest;
        };
        after = next.trim_ascii_start();
        if word.ends_with(b":") && !is_address(word) {
            return after;
        }
    }
    rest
}

/// `<PRI>` (RFC 5424 §6.2.1): up to three digits.
fn without_priority(all: &[u8]) -> Option<&[u8]> {
    let rest = all.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|octet| *octet == b'>')?;
    let digits = rest.get(..end)?;
    let number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    rest.get(end + 1..).filter(|_| number)
}

/// RFC 3164 §4.1.2: `Nov 21 05:00:00 `, the day with a space for its tens.
fn without_time(rest: &[u8]) -> &[u8] {
    let shape = b"Aaa d9 99:99:99 ";
    let fits = |(octet, shape): (&u8, &u8)| match shape {
        b'A' => octet.is_ascii_uppercase(),
        b'a' => octet.is_ascii_lowercase(),
        b'd' => octet.is_ascii_digit() || *octet == b' ',
        b'9' => octet.is_ascii_digit(),
        other => octet == other,
    };
    let timed = rest.len() > shape.len() && rest.iter().zip(shape).all(fits);
    let end = if timed { shape.len() } else { 0 };
    rest.get(end..).unwrap_or(rest).trim_ascii_start()
}

fn is_address(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok_and(|word| word.parse::<IpAddr>().is_ok())
}

fn text(line: &[u8], longest: usize) -> Result<&str, BadLine> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Err(BadLine::Empty);
    }
    if line.len() > longest {
        return Err(BadLine::TooLong);
    }
    std::str::from_utf8(line).map_err(|_| BadLine::NotText)
}

/// `rtt_us=…` or `rtt_ms=…`; `None`: another field.
fn named(field: &str) -> Option<Result<f32, BadLine>> {
    let micros = value(field, "rtt_us=");
    let millis = || value(field, "rtt_ms=").map(number);
    micros
        .map(|text| number(text).map(|us| us / 1000.0))
        .or_else(millis)
}

/// What a named field says; `None`: it has another name, or is a piece of something quoted.
fn value<'a>(field: &'a str, name: &str) -> Option<&'a str> {
    let text = field.trim_matches([',', ';']).strip_prefix(name)?;
    let inside = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    let text = inside('"').or_else(|| inside('\'')).unwrap_or(text);
    (!text.contains(['"', '\''])).then_some(text)
}

/// Digits with at most one point: what proxies write.
fn number(text: &str) -> Result<f32, BadLine> {
    let text = bare(text);
    let digits = |octet: u8| octet.is_ascii_digit() || octet == b'.';
    if text.is_empty() || text.len() > 16 || !text.bytes().all(digits) {
        return Err(BadLine::Rtt);
    }
    text.parse().map_err(|_| BadLine::Rtt)
}

fn client(text: &str) -> Result<IpNet, BadLine> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| address())
        .map_err(|_| BadLine::Client)
}

fn bare(field: &str) -> &str {
    field.trim_matches(|letter| matches!(letter, '"' | '\'' | ',' | ';'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(told: Result<Told<'_>, BadLine>) -> String {
        match told {
            Ok(told) => format!("{} {}", told.client, told.rtt_ms),
            Err(bad) => bad.as_str().to_owned(),
        }
    }

    #[test]
    fn lines_of_the_api() {
        let table = [
            (
                r#"{"client":"203.0.113.0/24","pop":"fra","rtt_ms":12.5}"#,
                "203.0.113.0/24 12.5",
            ),
            (
                r#" {"pop":"fra","rtt_ms":3,"client":"2001:db8::1"} "#,
                "2001:db8::1/128 3",
            ),
            (r#"{"client":"203.0.113.0/24","pop":"fra"}"#, "json"),
            (
                r#"{"client":"203.0.113.0/24","pop":"fra","rtt_ms":"12"}"#,
                "json",
            ),
            (
                r#"{"client":"203.0.113.0/24","pop":"fra","rtt_ms":1e999}"#,
                "json",
            ),
            (
                r#"{"client":"203.0.113.0/24","pop":"fra","rtt_ms":1,"more":2}"#,
                "json",
            ),
            (r#"{"client":"Paris","pop":"fra","rtt_ms":1}"#, "client"),
            (
                r#"{"client":"203.0.113.0/33","pop":"fra","rtt_ms":1}"#,
                "client",
            ),
            ("[]", "json"),
            ("  ", "empty"),
        ];
        for (line, expect) in table {
            assert_eq!(shown(json(line.as_bytes())), expect, "{line}");
        }
        let escaped = json(br#"{"client":"203.0.113.1","pop":"\u0066ra","rtt_ms":1}"#);
        assert_eq!(escaped.unwrap().pop.as_deref(), Some("fra"));
        assert_eq!(shown(json(&[b'['; 2000])), "too_long");
        assert_eq!(shown(json(b"{\"client\":\"\xff\"}")), "not_text");
    }

    #[test]
    fn lines_of_logs() {
        let table = [
            ("203.0.113.9 12500", "203.0.113.9/32 12.5"),
            (
                "203.0.113.9 12500 GET /index.html rtt=7",
                "203.0.113.9/32 12.5",
            ),
            ("2001:db8::1\t800\r\n", "2001:db8::1/128 0.8"),
            ("::ffff:203.0.113.9 800", "::ffff:203.0.113.9/128 0.8"),
            (
                r#"203.0.113.9 - - [21/Nov/2026:05:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "a" rtt_us=12500"#,
                "203.0.113.9/32 12.5",
            ),
            (
                r#"host "GET /?client=9.9.9.9 rtt_us=1 HTTP/1.1" 200 client=203.0.113.9 rtt_us=12500"#,
                "203.0.113.9/32 12.5",
            ),
            ("x client=203.0.113.9 rtt_ms=12.5", "203.0.113.9/32 12.5"),
            (
                r#"x client="203.0.113.9" rtt_us="12500""#,
                "203.0.113.9/32 12.5",
            ),
            // Written by the client, within the quotes of the last field but one, or of the last.
            (
                r#"203.0.113.9 - [x] "GET / HTTP/1.1" "a client=9.9.9.9" rtt_us=12500"#,
                "203.0.113.9/32 12.5",
            ),
            (
                r#"203.0.113.9 - [x] "client=9.9.9.9" rtt_us=12500"#,
                "203.0.113.9/32 12.5",
            ),
            (
                r#"203.0.113.9 12500 "a client=9.9.9.9 rtt_us=1""#,
                "203.0.113.9/32 12.5",
            ),
            (
                r#"203.0.113.9 12500 "a client=9.9.9.9 rtt_us=1,""#,
                "203.0.113.9/32 12.5",
            ),
            // Address and port, as HAProxy writes them; not what a client wrote without quotes.
            (
                r#"2001:db8::1:4711 [x] "GET / HTTP/1.1" client=2001:db8::1 rtt_us=800"#,
                "2001:db8::1/128 0.8",
            ),
            (
                "203.0.113.9:4711 [x] client=203.0.113.9 rtt_us=800",
                "203.0.113.9/32 0.8",
            ),
            (
                "::ffff:203.0.113.9 x client=203.0.113.9 rtt_us=800",
                "203.0.113.9/32 0.8",
            ),
            ("203.0.113.9 - [x] client=9.9.9.9 rtt_us=800", "client"),
            ("203.0.113.9 - [x] client=\"9.9.9.9\" rtt_us=800", "client"),
            ("203.0.113.9 12500 a client=9.9.9.9 rtt_us=1", "client"),
            ("2001:db8::1 x client=2001:db8:1::1 rtt_us=800", "client"),
            (
                "203.0.113.9 - [x] /a?client=9.9.9.9 rtt_us=800",
                "203.0.113.9/32 0.8",
            ),
            ("203.0.113.9 -", "rtt"),
            ("203.0.113.9", "rtt"),
            ("203.0.113.9 - x rtt_us=", "rtt"),
            ("203.0.113.9 1e3", "rtt"),
            ("203.0.113.9 -5", "rtt"),
            ("unix: 12500", "client"),
            ("", "empty"),
        ];
        for (line, expect) in table {
            let got = shown(log(line.as_bytes()));
            assert_eq!(got, expect, "{line}");
        }
    }

    #[test]
    fn headers_of_syslog() {
        let table: [(&str, &str); 15] = [
            // Of HAProxy 2.6, `format rfc5424`, with the two log-formats of docs/latency.md.
            (
                "<134>1 2026-11-21T11:47:14.523254+00:00 - haproxy 4472 - - 203.0.113.9 12500\n",
                "203.0.113.9 12500",
            ),
            (
                "<134>1 2026-11-21T11:47:14.529917+00:00 - haproxy 4472 - - 203.0.113.9:49352 \
                 [21/Nov/2026:11:47:14.529] edge2 edge2/<NOSRV> 204 57 \"GET /x HTTP/1.1\" \
                 client=203.0.113.9 rtt_us=12500\n",
                "203.0.113.9:49352 [21/Nov/2026:11:47:14.529] edge2 edge2/<NOSRV> 204 57 \
                 \"GET /x HTTP/1.1\" client=203.0.113.9 rtt_us=12500",
            ),
            (
                "<190>Nov 21 05:00:00 edge1 nginx: 203.0.113.9 12500",
                "203.0.113.9 12500",
            ),
            (
                "<190>Nov  1 05:00:00 edge1 nginx: 203.0.113.9 12500\n",
                "203.0.113.9 12500",
            ),
            (
                "<134>Nov 21 05:00:00 haproxy[812]: 203.0.113.9 12500",
                "203.0.113.9 12500",
            ),
            ("<134>haproxy[812]: 203.0.113.9 12500", "203.0.113.9 12500"),
            ("<134>203.0.113.9 12500", "203.0.113.9 12500"),
            ("<134>2001:db8:: 12500", "2001:db8:: 12500"),
            ("203.0.113.9 12500", "203.0.113.9 12500"),
            (
                "<134>1 2026-11-21T05:00:00+00:00 lb haproxy 812 - - 203.0.113.9 12500",
                "203.0.113.9 12500",
            ),
            (
                r#"<134>1 2026-11-21T05:00:00Z lb haproxy 812 - [a@1 x="] [\" "][b] 203.0.113.9 5"#,
                "203.0.113.9 5",
            ),
            ("<134>1 - - - - - - \u{feff}203.0.113.9 5", "203.0.113.9 5"),
            ("<134>1 - -", "- -"),
            ("<>x", "<>x"),
            ("", ""),
        ];
        for (datagram, expect) in table {
            let got = String::from_utf8(syslog(datagram.as_bytes()).to_vec()).unwrap();
            assert_eq!(got, expect, "{datagram}");
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_them(line: Vec<u8>, text in "[<>0-9a-z:. \"=_{}\\[\\]\\\\-]{0,80}") {
            for octets in [&line[..], text.as_bytes()] {
                let _ = json(octets);
                let _ = log(octets);
                prop_assert!(syslog(octets).len() <= octets.len());
            }
        }

        #[test]
        fn what_a_client_writes_in_quotes_says_nothing(
            v4: u32,
            us in 1..10_000_000_u32,
            wrote in "([a-z]| |,|;|client=|rtt_us=|rtt_ms=|9\\.9\\.9\\.9|1|=){0,20}",
        ) {
            let address = std::net::Ipv4Addr::from_bits(v4);
            let expect = (IpNet::from(IpAddr::from(address)), us as f32 / 1000.0);
            for line in [
                format!("{address} {us} \"{wrote}\""),
                format!("{address} - [x] \"GET / HTTP/1.1\" \"{wrote}\" rtt_us={us}"),
                format!("x \"{wrote}\" client={address} rtt_us={us}"),
            ] {
                let told = log(line.as_bytes()).unwrap();
                prop_assert_eq!((told.client, told.rtt_ms), expect, "{}", line);
            }
        }

        /// Without quotes a client can spoil the line of its own request, and move nobody else's.
        #[test]
        fn what_a_client_writes_without_quotes_is_of_nobody_else(
            v4: u32,
            us in 1..10_000_000_u32,
            wrote in "([a-z]| |,|;|'|client=|rtt_us=|rtt_ms=|9\\.9\\.9\\.9|::1|1|=|/){0,20}",
        ) {
            let address = std::net::Ipv4Addr::from_bits(v4);
            for line in [
                format!("{address} - [x] {wrote} rtt_us={us}"),
                format!("{address} {us} {wrote}"),
            ] {
                if let Ok(told) = log(line.as_bytes()) {
                    prop_assert_eq!(told.client, IpNet::from(IpAddr::from(address)), "{}", line);
                }
            }
            let line = format!("{address} - [x] {wrote} rtt_us={us}");
            if let Ok(told) = log(line.as_bytes()) {
                prop_assert_eq!(told.rtt_ms, us as f32 / 1000.0, "{}", line);
            }
        }

        #[test]
        fn what_is_written_is_read(v4: u32, us in 1..10_000_000_u32, noise in "[ -~]{0,60}") {
            let address = std::net::Ipv4Addr::from_bits(v4);
            let expect = (IpNet::from(IpAddr::from(address)), us as f32 / 1000.0);
            for line in [
                format!("{address} {us}"),
                format!("{address} {noise} rtt_us={us}"),
                format!("{noise} client={address} rtt_us={us}"),
            ] {
                let told = log(line.as_bytes()).unwrap();
                prop_assert_eq!((told.client, told.rtt_ms), expect, "{}", line);
            }
        }
    }
}
