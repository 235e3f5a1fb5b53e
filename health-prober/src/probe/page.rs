//! Fetches the page of a load source: one GET over a connection of its own, everything bounded.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
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
use meridian_config::{Config, LoadPage, TlsCheck};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{net::lookup_host, time::Instant};
use tokio_rustls::TlsConnector;

use super::{
    Clock, Trouble, connect,
    http::{AGENT, hyper_trouble},
    keep::Transport,
    login::{LoginError, read_login},
    session::HEAD_LIMIT,
    tls::{TlsError, client_config, tls_trouble},
};
use crate::{
    LocalReason, Phase, ProtocolFault, Reason,
    load::{Fault, Fetch, Page, Reader, STUB_LIMIT, StubStatus},
};

/// Addresses of a host name that are tried, in the resolver's order.
const ADDRESSES: usize = 4;
/// Fetches pages over the network of this machine.
#[derive(Default)]
pub(crate) struct Fetcher {
    /// TLS settings by PoP.
    tls: Mutex<HashMap<String, Result<Arc<ClientConfig>, TlsError>>>,
    /// What to say of who asks, by PoP.
    logins: Mutex<HashMap<String, Result<HeaderValue, LoginError>>>,
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
    /// Reads the roots of every page over TLS, and every file with a token or password. Blocks on files. Where that fails and there were
    /// usable settings before, those stay.
    pub(crate) fn prepare(&self, config: &Config) {
        self.prepare_logins(config);
        let lock = || self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = lock().clone();
        let mut after = HashMap::new();
        // The system's roots are many: they are read once for all pages.
        let mut read: Vec<(&TlsCheck, Result<Arc<ClientConfig>, TlsError>)> = Vec::new();
        for pop in &config.pops {
            let page = pop.load.as_ref().and_then(|load| load.kind.page());
            let Some(tls) = page.and_then(|page| page.tls.as_ref()) else {
                continue;
            };
            let known = read.iter().find(|(settings, _)| *settings == tls);
            let mut setup = match known {
                Some((_, setup)) => setup.clone(),
                None => client_config(tls, &[b"http/1.1"]),
            };
            if known.is_none() {
                read.push((tls, setup.clone()));
            }
            if let (Err(_), Some(old @ Ok(_))) = (&setup, before.remove(&pop.name)) {
                setup = old;
            }
            after.insert(pop.name.clone(), setup);
        }
        *lock() = after;
    }

    fn prepare_logins(&self, config: &Config) {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *logins);
        for pop in &config.pops {
            let page = pop.load.as_ref().and_then(|load| load.kind.page());
            let Some(login) = page.and_then(|page| page.login.as_ref()) else {
                continue;
            };
            let mut read = read_login(login);
            if let (Err(_), Some(old @ Ok(_))) = (&read, before.remove(&pop.name)) {
                read = old;
            }
            logins.insert(pop.name.clone(), read);
        }
    }

    /// The header for a page that asks for one.
    fn login(&self, fetch: &Fetch) -> Result<Option<HeaderValue>, Fault> {
        if fetch.page.login.is_none() {
            return Ok(None);
        }
        let known = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&fetch.pop) {
            Some(Ok(header)) => Ok(Some(header.clone())),
            Some(Err(error)) => Err(Fault::Login(error.to_string())),
            None => Err(Fault::Login("no file was read".to_owned())),
        }
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
        let login = self.login(fetch)?;
        let transport = self.connect(&fetch.pop, &fetch.page, clock).await?;
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

    async fn connect(&self, pop: &str, page: &LoadPage, clock: Clock) -> Result<Transport, Fault> {
        let mut last = Fault::Resolve;
        for address in resolve(page, clock).await? {
            let stream = match connect::tcp(address, clock).await {
                Ok(stream) => stream,
                Err(trouble) => {
                    last = trouble.into();
                    continue;
                }
            };
            if page.tls.is_none() {
                return Ok(Transport::Plain(stream));
            }
            let setup = |error: TlsError| Fault::Local(LocalReason::TlsSetup(error.to_string()));
            let config = {
                let known = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
                known.get(pop).cloned().unwrap_or(Err(TlsError::Provider))
            };
            let config = config.map_err(setup)?;
            let name = ServerName::try_from(page.host.clone());
            let name = name.map_err(|_| Fault::Local(LocalReason::Request))?;
            let handshake = async {
                let stream = TlsConnector::from(config).connect(name, stream).await;
                stream.map_err(|error| tls_trouble(&error))
            };
            let stream = clock.limit(Phase::Tls, handshake).await?;
            return Ok(Transport::Tls(Box::new(stream)));
        }
        Err(last)
    }
}

async fn resolve(page: &LoadPage, clock: Clock) -> Result<Vec<SocketAddr>, Fault> {
    if let Ok(address) = page.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, page.port)]);
    }
    let lookup = lookup_host((page.host.as_str(), page.port));
    match tokio::time::timeout_at(clock.end, lookup).await {
        Ok(Ok(found)) => Ok(found.take(ADDRESSES).collect()),
        Ok(Err(_)) | Err(_) => Err(Fault::Resolve),
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
