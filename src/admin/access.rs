//! Who may ask for what.
//!
//! ```text
//! /healthz, /readyz ─────────────────────────────────────────→ anybody
//! Origin of another host ────────────────────────────────────→ 403
//! listening on loopback, Host a name other than localhost ───→ 403 (DNS rebinding)
//! loopback, no token_file, no client_ca ─────────────────────→ anybody on this machine
//! client certificate signed by client_ca ────────────────────→ in
//! Authorization: Bearer TOKEN ───────────────────────────────→ in
//! otherwise ─────────────────────────────────────────────────→ 401
//! ```

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, StatusCode, Uri, header};
use subtle::ConstantTimeEq;

use super::reply::Refusal;
use crate::runtime::measure::host;

/// Paths that anybody may ask for: load balancers and process managers carry no token.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// The rule of one listener.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Nobody but this machine reaches the listener.
    pub(crate) loopback: bool,
    /// The bearer token.
    pub(crate) token: Option<Token>,
    /// Client certificates are asked for and verified by TLS.
    pub(crate) certificates: bool,
}

/// A bearer token; never shown.
#[derive(Clone)]
pub(crate) struct Token(pub(crate) Vec<u8>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// What its verified certificate says of it.
    pub(crate) certificate: Option<String>,
}

/// Who asked, for the log and for overrides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who(pub(crate) String);

impl Who {
    /// What all requests of one party have in common: its certificate, else its host. A token may be had
    /// by many.
    pub(crate) fn party(&self) -> String {
        let (name, address) = self.0.rsplit_once(" from ").unwrap_or(("", &self.0));
        match address.parse::<IpAddr>() {
            Ok(address) if !name.starts_with("certificate ") => host(address).to_string(),
            _ => name.to_owned(),
        }
    }
}

/// Whether anybody may ask for it.
pub(super) fn is_open(uri: &Uri) -> bool {
    OPEN.contains(&uri.path())
}

impl Access {
    /// Decides about one request.
    pub(crate) fn judge(
        &self,
        peer: &Peer,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Who, Refusal> {
        let address = peer.address.ip().to_canonical();
        if is_open(uri) {
            return Ok(Who(address.to_string()));
        }
        let host = host_of(uri, headers)?;
        same_origin(headers, &host)?;
        if self.loopback && !is_here(&host) {
            let help = "use the IP address or localhost: other names are refused because a web page \
                        could make one point here";
            let error = format!("the Host {host:?} is not this machine");
            return Err(Refusal::new(StatusCode::FORBIDDEN, error, help));
        }
        if self.loopback && self.token.is_none() && !self.certificates {
            return Ok(Who(address.to_string()));
        }
        if let Some(certificate) = peer.certificate.as_ref().filter(|_| self.certificates) {
            return Ok(Who(format!("certificate {certificate} from {address}")));
        }
        self.bearer(headers)
            .map(|()| Who(format!("token from {address}")))
    }

    fn bearer(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let given = headers.get(header::AUTHORIZATION).map(|v| v.as_bytes());
        let given = given.and_then(|value| {
            let (scheme, token) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
        });
        let fits = match (&self.token, given) {
            (Some(token), Some(given)) => bool::from(token.0.as_slice().ct_eq(given)),
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let (error, help) = match given {
            Some(_) => ("the token is not the right one", "see admin.token_file"),
            None => (
                "a token is needed",
                "send `Authorization: Bearer TOKEN`, or use --token-file",
            ),
        };
        Err(Refusal::new(StatusCode::UNAUTHORIZED, error, help))
    }
}

/// The host asked for, with its port. Of two sources the request target wins (RFC 9112 §3.2.2).
fn host_of(uri: &Uri, headers: &HeaderMap) -> Result<String, Refusal> {
    if let Some(authority) = uri.authority() {
        return Ok(authority.as_str().to_owned());
    }
    // RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1
    // request message that lacks a Host header field and to any request message that contains
    // more than one Host header field line".
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next().map(|h| h.to_str()), hosts.next()) {
        (Some(Ok(host)), None) => Ok(host.to_owned()),
        _ => Err(Refusal::bad("exactly one Host header is needed", "")),
    }
}

/// A browser names the page that asks; a page of another host has no business here.
fn same_origin(headers: &HeaderMap, host: &str) -> Result<(), Refusal> {
    for origin in headers.get_all(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("");
        let other = origin.split_once("://").map_or("", |(_, rest)| rest);
        if !other.eq_ignore_ascii_case(host) {
            let error = format!("requests from pages of {origin:?} are refused");
            return Err(Refusal::new(StatusCode::FORBIDDEN, error, ""));
        }
    }
    Ok(())
}

/// Whether a Host is an IP literal or `localhost`.
fn is_here(host: &str) -> bool {
    if host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if let Some(inside) = bracketed {
        return inside.parse::<IpAddr>().is_ok();
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_is_a_certificate_or_a_host() {
        let party = |who: &str| Who(who.to_owned()).party();
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "token from 192.0.2.1", true),
            ("token from 192.0.2.1", "token from 192.0.2.2", false),
            // One host has a whole /64.
            (
                "token from 2001:db8::1",
                "token from 2001:db8::ffff:1",
                true,
            ),
            (
                "token from 2001:db8::1",
                "token from 2001:db8:0:1::1",
                false,
            ),
            (
                "certificate CN=a from 192.0.2.1",
                "certificate CN=a from 192.0.2.2",
                true,
            ),
            (
                "certificate CN=a from 192.0.2.1",
                "certificate CN=b from 192.0.2.1",
                false,
            ),
        ] {
            assert_eq!(party(one) == party(other), same, "{one} | {other}");
        }
    }

    fn judge(
        access: &Access,
        path: &str,
        headers: &[(&str, &str)],
        certificate: Option<&str>,
    ) -> Result<String, u16> {
        let peer = Peer {
            address: "192.0.2.1:999".parse().unwrap(),
            certificate: certificate.map(str::to_owned),
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        access
            .judge(&peer, &path.parse().unwrap(), &map)
            .map(|who| who.0)
            .map_err(|refusal| refusal.status.as_u16())
    }

    fn access(loopback: bool, token: Option<&str>, certificates: bool) -> Access {
        Access {
            loopback,
            token: token.map(|t| Token(t.as_bytes().to_vec())),
            certificates,
        }
    }

    const HERE: (&str, &str) = ("host", "127.0.0.1:9153");

    #[test]
    fn the_matrix_of_loopback_token_and_certificate() {
        let right = ("authorization", "Bearer secret");
        let wrong = ("authorization", "Bearer secreT");
        let long = ("authorization", "Bearer secret2");
        let basic = ("authorization", "Basic secret");
        let lower = ("authorization", "bearer secret");
        for (loopback, token, certificates, header, certificate, code) in [
            (true, None, false, None, None, 200),
            (true, Some("secret"), false, None, None, 401),
            (true, Some("secret"), false, Some(wrong), None, 401),
            (true, Some("secret"), false, Some(right), None, 200),
            (false, None, false, None, None, 401),
            (false, None, false, Some(right), None, 401),
            (false, Some("secret"), false, None, None, 401),
            (false, Some("secret"), false, Some(wrong), None, 401),
            (false, Some("secret"), false, Some(long), None, 401),
            (false, Some("secret"), false, Some(basic), None, 401),
            (false, Some("secret"), false, Some(right), None, 200),
            (false, Some("secret"), false, Some(lower), None, 200),
            (false, None, true, None, None, 401),
            (false, None, true, None, Some("ops"), 200),
            (false, Some("secret"), true, None, Some("ops"), 200),
            (true, None, true, None, None, 401),
            (false, Some("secret"), false, None, Some("ops"), 401),
        ] {
            let headers: Vec<_> = [HERE].into_iter().chain(header).collect();
            let got = judge(
                &access(loopback, token, certificates),
                "/api/v1/pops",
                &headers,
                certificate,
            );
            let case = (loopback, token, certificates, header, certificate);
            assert_eq!(got.map_or_else(|e| e, |_| 200), code, "{case:?}");
        }
    }

    #[test]
    fn who_names_the_way_in() {
        let open = access(true, None, false);
        assert_eq!(judge(&open, "/x", &[HERE], None).unwrap(), "192.0.2.1");
        let closed = access(false, None, true);
        let who = judge(&closed, "/x", &[HERE], Some("ops")).unwrap();
        assert_eq!(who, "certificate ops from 192.0.2.1");
    }

    #[test]
    fn health_is_open_to_all_and_only_by_its_exact_path() {
        let closed = access(false, Some("secret"), false);
        assert!(judge(&closed, "/healthz", &[], None).is_ok());
        assert!(judge(&closed, "/readyz", &[], None).is_ok());
        assert_eq!(judge(&closed, "/healthz/", &[HERE], None), Err(401));
        assert_eq!(judge(&closed, "/metrics", &[HERE], None), Err(401));
    }

    #[test]
    fn a_rebound_name_is_refused_on_loopback() {
        let open = access(true, None, false);
        for host in [
            "127.0.0.1",
            "[::1]:9153",
            "[::1]",
            "localhost:9153",
            "LOCALHOST",
        ] {
            assert!(
                judge(&open, "/x", &[("host", host)], None).is_ok(),
                "{host}"
            );
        }
        for host in [
            "evil.example",
            "evil.example:9153",
            "localhost.evil.example",
            "",
            "::1x",
        ] {
            assert_eq!(
                judge(&open, "/x", &[("host", host)], None),
                Err(403),
                "{host}"
            );
        }
        assert_eq!(judge(&open, "/x", &[], None), Err(400));
        assert_eq!(judge(&open, "/x", &[HERE, HERE], None), Err(400));
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        let open = access(true, None, false);
        let same = ("origin", "http://127.0.0.1:9153");
        assert!(judge(&open, "/x", &[HERE, same], None).is_ok());
        for origin in ["http://evil.example", "null", "http://127.0.0.1:80", ""] {
            let headers = [HERE, ("origin", origin)];
            assert_eq!(judge(&open, "/x", &headers, None), Err(403), "{origin}");
        }
    }
}
