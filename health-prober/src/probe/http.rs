//! One HTTP exchange and what the check says about it.

use std::{error::Error, io, net::IpAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Method, Request,
    body::{Body, Incoming},
    header::{ACCEPT, HOST, USER_AGENT},
};
use meridian_config::{HttpCheck, HttpMethod, StatusRange, TlsCheck};

use super::{
    Clock, NetworkProbe, Trouble, connect,
    keep::{Kept, Transport},
    session::Session,
    tls::tls_trouble,
};
use crate::{LocalReason, Phase, ProtocolFault, Reason, Target, engine::Job};

/// The body is looked at up to here.
pub(super) const BODY_LIMIT: usize = 64 << 10;
pub(super) const AGENT: &str = concat!("meridian-health-prober/", env!("CARGO_PKG_VERSION"));

impl NetworkProbe {
    /// A whole probe: over the kept connection where there is one. If that turns out to be closed,
    /// which is no failure of the target's, once more over a new one.
    pub(super) async fn http(
        &self,
        job: &Job,
        http: &HttpCheck,
        tls: Option<&TlsCheck>,
        clock: Clock,
    ) -> Result<(), Trouble> {
        if let Some(kept) = self.keep.take(job.id, clock.start) {
            match self.attempt(job, http, tls.is_some(), kept, clock).await {
                Err(Trouble::Target(reason)) if may_be_stale(&reason) => {}
                decided => return decided,
            }
        }
        let fresh = self.connect(job, tls, clock).await?;
        self.attempt(job, http, tls.is_some(), fresh, clock).await
    }

    async fn attempt(
        &self,
        job: &Job,
        http: &HttpCheck,
        tls: bool,
        Kept {
            transport,
            born,
            uses,
        }: Kept,
        clock: Clock,
    ) -> Result<(), Trouble> {
        let request =
            request(http, &job.target, tls).map_err(|_| Trouble::Local(LocalReason::Request))?;
        let mut session = Session::over(transport)
            .await
            .map_err(|error| hyper_trouble(&error, ProtocolFault::NotHttp))?;
        let whole = exchange(&mut session, request, http, clock).await?;
        if whole && let Some(transport) = session.into_idle().await {
            let uses = uses + 1;
            self.keep.put(
                job.id,
                Kept {
                    transport,
                    born,
                    uses,
                },
            );
        }
        Ok(())
    }

    async fn connect(
        &self,
        job: &Job,
        tls: Option<&TlsCheck>,
        clock: Clock,
    ) -> Result<Kept, Trouble> {
        let stream = connect::tcp(job.target.socket_address(), clock).await?;
        let transport = match tls {
            None => Transport::Plain(stream),
            Some(tls) => {
                let stream = self.tls.handshake(job, tls, stream, clock).await?;
                Transport::Tls(Box::new(stream))
            }
        };
        Ok(Kept {
            transport,
            born: clock.start,
            uses: 0,
        })
    }
}

/// Sends the request and judges the response; whether the body was read to its end.
async fn exchange(
    session: &mut Session,
    request: Request<Empty<Bytes>>,
    http: &HttpCheck,
    clock: Clock,
) -> Result<bool, Trouble> {
    let Session { sender, running } = session;
    let head = async {
        sender.ready().await?;
        sender.send_request(request).await
    };
    let head = async {
        let response = running.drive(head).await;
        response.map_err(|error| hyper_trouble(&error, ProtocolFault::NotHttp))
    };
    let response = clock.limit(Phase::Headers, head).await?;
    judge_status(http, response.status().as_u16())?;
    let mut search = Search::new(http.body.as_deref().unwrap_or(""));
    let body = async {
        let whole = running.drive(read(response.into_body(), &mut search)).await;
        whole.map_err(|error| hyper_trouble(&error, ProtocolFault::Body))
    };
    let whole = clock.limit(Phase::Body, body).await?;
    if search.found {
        Ok(whole)
    } else {
        Err(Reason::BodyMismatch.into())
    }
}

/// Refuses a status that the check does not list.
pub(super) fn judge_status(http: &HttpCheck, status: u16) -> Result<(), Trouble> {
    if http.status.iter().any(|range| contains(*range, status)) {
        Ok(())
    } else {
        Err(Reason::Status(status).into())
    }
}

/// Whether the text that the check wants stands in the body.
pub(super) async fn judge_body(http: &HttpCheck, body: Incoming) -> hyper::Result<bool> {
    let mut search = Search::new(http.body.as_deref().unwrap_or(""));
    read(body, &mut search).await?;
    Ok(search.found)
}

/// Whether a failure over a kept connection may come from the connection's age: it was closed, or
/// a proxy said good-bye on it (408) without being asked.
fn may_be_stale(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Closed | Reason::Reset | Reason::Protocol(_) | Reason::Tls(_)
    )
}

fn contains(range: StatusRange, status: u16) -> bool {
    (range.first..=range.last).contains(&status)
}

/// Reads the body to its end (then true) or to the limit.
async fn read(mut body: Incoming, search: &mut Search<'_>) -> hyper::Result<bool> {
    let mut room = BODY_LIMIT;
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else {
            break;
        };
        let octets = frame?.into_data().unwrap_or_default();
        search.feed(octets.get(..room).unwrap_or(&octets));
        if octets.len() > room {
            return Ok(false);
        }
        room -= octets.len();
    }
    Ok(true)
}

/// A text sought in a stream; keeps no more than the end that may hold its beginning.
struct Search<'a> {
    wanted: &'a [u8],
    tail: Vec<u8>,
    found: bool,
}

impl<'a> Search<'a> {
    fn new(wanted: &'a str) -> Self {
        Self {
            wanted: wanted.as_bytes(),
            tail: Vec::new(),
            found: wanted.is_empty(),
        }
    }

    fn feed(&mut self, octets: &[u8]) {
        if self.found {
            return;
        }
        self.tail.extend_from_slice(octets);
        self.found = self
            .tail
            .windows(self.wanted.len())
            .any(|window| window == self.wanted);
        let spare = self.tail.len().saturating_sub(self.wanted.len() - 1);
        self.tail.drain(..spare);
    }
}

fn request(
    http: &HttpCheck,
    target: &Target,
    tls: bool,
) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    Request::builder()
        .method(method(http))
        .uri(&http.path)
        .header(HOST, host(http, target, tls))
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .body(Empty::new())
}

pub(super) fn method(http: &HttpCheck) -> Method {
    match http.method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Head => Method::HEAD,
    }
}

/// The host that is asked for, with its port where that is not the standard one.
pub(super) fn host(http: &HttpCheck, target: &Target, tls: bool) -> String {
    let standard = if tls { 443 } else { 80 };
    match &http.host {
        Some(host) => host.clone(),
        None => default_host(target.address, target.check.port, standard),
    }
}

/// RFC 9110 §7.2: the host and port of the target; RFC 3986 §3.2.2: IPv6 in brackets.
pub(super) fn default_host(address: IpAddr, port: u16, standard: u16) -> String {
    let host = match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    if port == standard {
        host
    } else {
        format!("{host}:{port}")
    }
}

/// What an error of hyper's means; `fault` where it is one of syntax.
pub(super) fn hyper_trouble(error: &hyper::Error, fault: ProtocolFault) -> Trouble {
    // A request that was not sent: hyper puts what was wrong with the connection beneath.
    if let Some(cause) = error
        .source()
        .and_then(|e| e.downcast_ref::<hyper::Error>())
    {
        return hyper_trouble(cause, fault);
    }
    if error.is_parse_too_large() {
        return Reason::Protocol(ProtocolFault::HeadersTooLarge).into();
    }
    if let Some(io) = io_cause(error) {
        return match io.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
                if !io.get_ref().is_some_and(|e| e.is::<rustls::Error>()) =>
            {
                Reason::Protocol(fault).into()
            }
            _ => tls_trouble(io),
        };
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Reason::Closed.into();
    }
    Reason::Protocol(fault).into()
}

fn io_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    std::iter::successors(Some(error), |&e| e.source()).find_map(|e| e.downcast_ref())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_host_names_a_port_that_is_not_the_standard_one() {
        let v6 = "2001:db8::1".parse().unwrap();
        assert_eq!(default_host([192, 0, 2, 1].into(), 80, 80), "192.0.2.1");
        assert_eq!(
            default_host([192, 0, 2, 1].into(), 8080, 80),
            "192.0.2.1:8080"
        );
        assert_eq!(default_host(v6, 443, 443), "[2001:db8::1]");
        assert_eq!(default_host(v6, 80, 443), "[2001:db8::1]:80");
    }

    proptest! {
        #[test]
        fn a_text_is_found_however_the_stream_is_cut(
            text in "[ab]{0,40}",
            wanted in "[ab]{0,5}",
            cuts in proptest::collection::vec(0_usize..6, 0..30),
        ) {
            let mut search = Search::new(&wanted);
            let mut rest = text.as_bytes();
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                search.feed(now);
                prop_assert!(search.found || search.tail.len() < wanted.len());
                rest = later;
            }
            search.feed(rest);
            prop_assert_eq!(search.found, text.contains(&wanted));
        }
    }
}
