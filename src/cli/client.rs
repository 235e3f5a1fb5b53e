//! A small HTTP/1.1 client for the admin API: one connection, one request. Over TLS for `https`.

use std::{io, path::Path, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::args::Target;

/// Time to connect, and time until the answer's head and (unless followed) its body are there.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same for a write; the server answers within 30 s, and within 75 s when it is an upgrade.
const WRITE_PATIENCE: Duration = Duration::from_secs(80);

/// Largest body that is read; `status` of thousands of PoPs stays far below.
const BODY_LIMIT: usize = 64 << 20;

/// Where events are followed.
const EVENTS: &str = "/api/v1/events";

/// A server that can be asked.
pub(crate) struct Client {
    url: Uri,
    /// The URL for messages.
    shown: String,
    token: Option<String>,
    tls: Option<TlsConnector>,
}

/// Why the server gave no answer to use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// `--admin` is no URL of a server.
    #[error("--admin {0} is not a URL such as http://127.0.0.1:9153")]
    Url(String),
    /// `--token-file` or `--ca-file`.
    #[error("cannot read {file}: {source}")]
    File {
        /// As given.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// `--token-file` with something else in it.
    #[error("{0} holds no token: one line of visible ASCII, as `openssl rand -hex 32` prints it")]
    NoToken(String),
    /// `--ca-file` without a certificate in it.
    #[error("{0} holds no PEM certificate")]
    NoCertificate(String),
    /// Nobody listens there.
    #[error("no server answers at {url}: {source} (is `meridian serve` running?)")]
    Connect {
        /// Where.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// TLS or HTTP went wrong on the way.
    #[error("talking to {url} failed: {reason}")]
    Talk {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// The server said no.
    #[error("{message}{}", .help.as_deref().map(|h| format!(" ({h})")).unwrap_or_default())]
    Refused {
        /// Its sentence.
        message: String,
        /// Its remedy.
        help: Option<String>,
    },
}

/// What the server says of a failure.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    help: Option<String>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Client {
    /// Reads the token and the certificates; connects to nothing yet.
    pub(crate) fn new(target: &Target) -> Result<Self, ClientError> {
        let url: Uri = target
            .admin
            .parse()
            .map_err(|_| ClientError::Url(target.admin.clone()))?;
        // The API stands at the root: what is behind it would be left out.
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err(ClientError::Url(target.admin.clone()));
        }
        let tls = match (url.scheme_str(), url.host()) {
            (Some("http"), Some(_)) => None,
            (Some("https"), Some(_)) => Some(connector(target.ca_file.as_deref())?),
            _ => return Err(ClientError::Url(target.admin.clone())),
        };
        let token = match &target.token_file {
            None => None,
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|e| unreadable(file, e))?;
                let token = text.trim();
                if token.is_empty() || !token.chars().all(|c| matches!(c, ' '..='~')) {
                    return Err(ClientError::NoToken(file.display().to_string()));
                }
                Some(token.to_owned())
            }
        };
        Ok(Self {
            url,
            shown: target.admin.trim_end_matches('/').to_owned(),
            token,
            tls,
        })
    }

    /// `GET path`, the body read as JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let answer = self.ask(Method::GET, path, None).await?;
        let bytes = self.body(answer).await?;
        serde_json::from_slice(&bytes)
            .map_err(|e| self.talk(format!("the answer is not what was expected: {e}")))
    }

    /// `PUT`, `DELETE` or `POST`; the answer's text is given back.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<Bytes, ClientError> {
        let answer = self.ask(method, path, body).await?;
        self.body(answer).await
    }

    /// [`EVENTS`] as a stream of server-sent events, those kept first; ends when the server ends it.
    pub(crate) async fn follow(&self, mut each: impl FnMut(&str)) -> Result<(), ClientError> {
        let answer = self.ask(Method::GET, EVENTS, None).await?;
        let mut body = answer.into_body();
        let mut parser = EventStream::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| self.talk(chain(&e)))?;
            if let Some(bytes) = frame.data_ref() {
                parser.push(bytes, &mut each);
            }
        }
        Ok(())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.talk(chain(&e)))?;
        tokio::spawn(connection);
        let request = self.request(method, path, body)?;
        // A write may have to wait: a successor asks itself before it takes over.
        let patience = if request.method() == Method::GET {
            PATIENCE
        } else {
            WRITE_PATIENCE
        };
        let answer = timeout(patience, sender.send_request(request))
            .await
            .map_err(|_| self.talk(format!("no answer within {} s", patience.as_secs())))?
            .map_err(|e| self.talk(chain(&e)))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(self.refused(answer).await)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let authority = self.url.authority().map_or("", |a| a.as_str());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, "meridian-cli");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if path == EVENTS {
            // All that are kept, then what is new.
            request = request.header("last-event-id", "0");
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(ToString::to_string).unwrap_or_default();
        request
            .body(Full::from(bytes))
            .map_err(|e| self.talk(e.to_string()))
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        let host = self.url.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let standard = if self.tls.is_some() { 443 } else { 80 };
        let port = self.url.port_u16().unwrap_or(standard);
        let failed = |source| ClientError::Connect {
            url: self.shown.clone(),
            source,
        };
        let stream = timeout(PATIENCE, TcpStream::connect((host, port)))
            .await
            .map_err(|_| failed(io::ErrorKind::TimedOut.into()))?
            .map_err(failed)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|e| self.talk(e.to_string()))?;
        let stream = timeout(PATIENCE, tls.connect(name, stream))
            .await
            .map_err(|_| failed(io::ErrorKind::TimedOut.into()))?
            .map_err(|e| self.talk(e.to_string()))?;
        Ok(Box::new(stream))
    }

    async fn body(&self, answer: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = Limited::new(answer.into_body(), BODY_LIMIT);
        let read = timeout(PATIENCE, body.collect())
            .await
            .map_err(|_| self.talk("the answer did not end within 10 s".to_owned()))?
            .map_err(|e| self.talk(e.to_string()))?;
        Ok(read.to_bytes())
    }

    async fn refused(&self, answer: Response<Incoming>) -> ClientError {
        let status = answer.status();
        let bytes = self.body(answer).await.unwrap_or_default();
        match serde_json::from_slice::<Refusal>(&bytes) {
            Ok(refusal) => ClientError::Refused {
                message: refusal.error,
                help: refusal.help,
            },
            Err(_) if status == StatusCode::NOT_FOUND => {
                self.talk("404 Not Found: is this the admin address of a meridian?".to_owned())
            }
            Err(_) => self.talk(status.to_string()),
        }
    }

    fn talk(&self, reason: String) -> ClientError {
        ClientError::Talk {
            url: self.shown.clone(),
            reason,
        }
    }
}

/// An error with everything that caused it; hyper alone only says "connection error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

fn unreadable(file: &Path, source: io::Error) -> ClientError {
    ClientError::File {
        file: file.display().to_string(),
        source,
    }
}

fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, ClientError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let pem = std::fs::read(file).map_err(|e| unreadable(file, e))?;
            let certificates = CertificateDer::pem_slice_iter(&pem).flatten();
            roots.add_parsable_certificates(certificates);
            if roots.is_empty() {
                return Err(ClientError::NoCertificate(file.display().to_string()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Cuts a `text/event-stream` into the `data` of its events (WHATWG HTML §9.2.6). Comments and
/// other fields are skipped.
#[derive(Default)]
struct EventStream {
    pending: Vec<u8>,
    data: String,
}

impl EventStream {
    fn push(&mut self, bytes: &[u8], each: &mut impl FnMut(&str)) {
        self.pending.extend_from_slice(bytes);
        while let Some(end) = self.pending.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                if !self.data.is_empty() {
                    each(&self.data);
                    self.data.clear();
                }
            } else if let Some(data) = line.strip_prefix("data:") {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(admin: &str) -> Target {
        Target {
            admin: admin.to_owned(),
            token_file: None,
            ca_file: None,
        }
    }

    #[test]
    fn only_http_urls_are_servers() {
        assert!(Client::new(&target("http://127.0.0.1:9153")).is_ok());
        assert!(Client::new(&target("http://[::1]:9153/")).is_ok());
        for admin in [
            "127.0.0.1:9153",
            "ftp://a",
            "",
            "http://",
            "/x",
            "http://a/x",
            "http://a/?x",
        ] {
            let error = Client::new(&target(admin)).err().map(|e| e.to_string());
            assert!(error.is_some_and(|e| e.contains("--admin")), "{admin}");
        }
    }

    #[test]
    fn a_token_is_one_word() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let of = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            let target = Target {
                token_file: Some(file.path().to_owned()),
                ..target("http://127.0.0.1:9153")
            };
            Client::new(&target).map(|client| client.token)
        };
        assert_eq!(of(" s3cret\n").unwrap().as_deref(), Some("s3cret"));
        for text in ["", " \n", "two\nlines\n", "t\u{f6}ken"] {
            let told = of(text).unwrap_err().to_string();
            assert!(told.contains("holds no token"), "{told}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_one_clear_line() {
        // Bound, so that nobody else gets the port, and not listened on.
        let closed = tokio::net::TcpSocket::new_v4().unwrap();
        closed.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let port = closed.local_addr().unwrap().port();
        let client = Client::new(&target(&format!("http://127.0.0.1:{port}"))).unwrap();
        let error = client.get::<serde_json::Value>("/").await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("no server answers at http://127.0.0.1"),
            "{text}"
        );
        assert!(!text.contains('\n'));
    }

    #[test]
    fn events_are_cut_wherever_the_network_cuts() {
        let text = b": hello\n\nid: 1\ndata: {\"a\":1}\n\ndata: x\r\ndata: y\r\n\r\n";
        for step in 1..text.len() {
            let mut seen = Vec::new();
            let mut stream = EventStream::default();
            for piece in text.chunks(step) {
                stream.push(piece, &mut |data: &str| seen.push(data.to_owned()));
            }
            assert_eq!(seen, ["{\"a\":1}", "x\ny"]);
        }
    }
}
