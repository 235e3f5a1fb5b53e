//! Fetches the page of a load source: one GET over a connection of its own, everything bounded.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{
        ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, HOST, HeaderValue,
        USER_AGENT,
    },
};
use hyper_util::rt::TokioIo;
use meridian_config::{Config, LoadPage};
use rustls_pki_types::ServerName;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::{
    Clock, Trouble, connect,
    http::{AGENT, hyper_trouble},
    keep::Transport,
    names::Names,
    session::HEAD_LIMIT,
    tls::{TlsError, tls_trouble},
};
use crate::{
    LocalReason, Phase, ProtocolFault, Reason,
    load::{Fault, Fetch, Page, Reader, STUB_LIMIT, StubStatus},
};

/// Fetches pages over the network of this machine.
#[derive(Default)]
pub(crate) struct Fetcher {
    pub(super) names: Names,
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Target(reason) => Self::Source(reason),
            Trouble::Local(reason) => Self::Local(reason),
        }
    }
}

impl Fetcher {
    /// Forgets the hosts that this configuration does not have.
    pub(crate) fn retain(&self, config: &Config) {
        self.names.retain(config);
    }

    /// Fetches and reads one page, and ends by its deadline.
    ///
    /// # Errors
    /// Why there is nothing to read.
    #[allow(clippy::disallowed_methods)] // a runner: it measures the network
    pub(crate) async fn fetch(&self, fetch: &Fetch) -> Result<Page, Fault> {
        let start = Instant::now();
        let clock = Clock {
            start,
            end: start + fetch.timeout,
        };
        let login = login(fetch)?;
        let transport = self.connect(fetch, clock).await?;
        let request = request(&fetch.page, login);
        let request = request.map_err(|_| Fault::Local(LocalReason::Request))?;
        let exchange = async {
            let builder = http1::Builder::new()
                .max_buf_size(HEAD_LIMIT)
                .max_headers(100)
                .handshake(TokioIo::new(transport))
                .await;
            let (mut sender, running) = builder.map_err(|e| trouble(&e))?;
            let work = async {
                let response = sender.send_request(request).await;
                read(response.map_err(|e| trouble(&e))?, fetch).await
            };
            // The connection lives as long as its one exchange; no task of its own.
            let (mut work, running) = (pin!(work), pin!(running));
            tokio::select! {
                biased;
                done = work.as_mut() => done,
                ended = running => match ended {
                    Ok(()) => work.await,
                    Err(error) => Err(trouble(&error)),
                },
            }
        };
        match tokio::time::timeout_at(clock.end, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Fault::Source(Reason::Timeout(Phase::Answer))),
        }
    }

    /// Over the first of its addresses that answers. Each but the last has a share of the time, so that
    /// one that swallows everything leaves something to the others.
    async fn connect(&self, fetch: &Fetch, clock: Clock) -> Result<Transport, Fault> {
        let addresses = self.resolve(&fetch.page, clock).await;
        let mut last = Fault::Resolve;
        for (at, address) in addresses.iter().enumerate() {
            let clock = clock.part(addresses.len() - at);
            let address = SocketAddr::new(*address, fetch.page.port);
            match open(fetch, address, clock).await {
                Ok(transport) => return Ok(transport),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    async fn resolve(&self, page: &LoadPage, clock: Clock) -> Vec<IpAddr> {
        match page.host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.names.find(&page.host, clock).await,
        }
    }
}

async fn open(fetch: &Fetch, address: SocketAddr, clock: Clock) -> Result<Transport, Fault> {
    let stream = connect::tcp(address, clock).await?;
    if fetch.page.tls.is_none() {
        return Ok(Transport::Plain(stream));
    }
    let config = fetch.access.tls.clone().unwrap_or(Err(TlsError::Provider));
    let setup = |error: TlsError| Fault::Local(LocalReason::TlsSetup(error.to_string()));
    let config = config.map_err(setup)?;
    let name = ServerName::try_from(fetch.page.host.clone());
    let name = name.map_err(|_| Fault::Local(LocalReason::Request))?;
    let handshake = async {
        let stream = TlsConnector::from(config).connect(name, stream).await;
        stream.map_err(|error| tls_trouble(&error))
    };
    let stream = clock.limit(Phase::Tls, handshake).await?;
    Ok(Transport::Tls(Box::new(stream)))
}

/// The header for a page that asks for one.
fn login(fetch: &Fetch) -> Result<Option<HeaderValue>, Fault> {
    match (&fetch.page.login, &fetch.access.login) {
        (None, _) => Ok(None),
        (Some(_), Some(Ok(header))) => Ok(Some(header.clone())),
        (Some(_), Some(Err(error))) => Err(Fault::Login(error.to_string())),
        (Some(_), None) => Err(Fault::Login("no file was read".to_owned())),
    }
}

fn request(
    page: &LoadPage,
    login: Option<HeaderValue>,
) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let standard = if page.tls.is_some() { 443 } else { 80 };
    // RFC 3986 §3.2.2: IPv6 in brackets.
    let host = match page.host.contains(':') {
        true => format!("[{}]", page.host),
        false => page.host.clone(),
    };
    let host = match page.port == standard {
        true => host,
        false => format!("{host}:{}", page.port),
    };
    let login = login.into_iter().map(|value| (AUTHORIZATION, value));
    let mut request = Request::builder()
        .uri(&page.path)
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(
            ACCEPT,
            "text/plain;version=0.0.4, text/plain;q=0.5, */*;q=0.1",
        )
        // RFC 9110 §12.5.3: without it "any content coding is considered acceptable".
        .header(ACCEPT_ENCODING, "identity")
        .header(CONNECTION, "close")
        .body(Empty::new())?;
    request.headers_mut().extend(login);
    Ok(request)
}

fn trouble(error: &hyper::Error) -> Fault {
    hyper_trouble(error, ProtocolFault::NotHttp).into()
}

/// Reads the body to its end; one that is cut short is no page.
async fn read(response: Response<Incoming>, fetch: &Fetch) -> Result<Page, Fault> {
    match response.status() {
        StatusCode::OK => {}
        moved if moved.is_redirection() => return Err(Fault::Redirect(moved.as_u16())),
        who @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            return Err(Fault::Forbidden(who.as_u16()));
        }
        other => return Err(Fault::Source(Reason::Status(other.as_u16()))),
    }
    if let Some(coding) = response.headers().get(CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        let coding: String = String::from_utf8_lossy(coding.as_bytes())
            .chars()
            .take(32)
            .collect();
        return Err(Fault::Encoded(coding));
    }
    let mut body = response.into_body();
    let mut frame = async || match body.frame().await {
        None => Ok(None),
        Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
        Some(Err(error)) => Err(Fault::from(hyper_trouble(&error, ProtocolFault::Body))),
    };
    if let Some(wanted) = &fetch.wanted {
        let mut reader = Reader::new(wanted);
        while let Some(octets) = frame().await? {
            reader.feed(&octets)?;
        }
        return reader.finish().map(Page::Series);
    }
    let mut page = Vec::new();
    while let Some(octets) = frame().await? {
        if page.len() + octets.len() > STUB_LIMIT {
            return Err(Fault::TooLarge);
        }
        page.extend_from_slice(&octets);
    }
    StubStatus::read(&page).map(Page::Stub)
}
