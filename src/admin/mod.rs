//! The admin listener: metrics, health of the process, and the API that the command line uses.
//!
//! ```text
//! accept (bounded) → TLS → HTTP/1.1 (bounded head, time) → access → routes → control
//! ```
//!
//! It shares no thread-blocking lock with the DNS path, and everything a peer can make it hold is
//! bounded: connections, request heads, bodies, time per request, followers of events.

mod access;
mod control;
mod dashboard;
mod events;
mod latency;
mod load;
mod openapi;
mod reply;
mod routes;
mod site;
mod tls;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use meridian_config::{Admin, Diagnostic};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use access::{Access, Peer, Token};
pub(crate) use control::{Boxed, Control, ControlError};
use tls::TlsError;

/// Connections open at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 128;

/// Time for a TLS handshake, and for the head of a request (also the next one on a kept
/// connection).
const HEAD_TIME: Duration = Duration::from_secs(10);

/// Unacknowledged data for longer than this ends a connection, so that readers who stop reading
/// cannot hold all of [`CONNECTIONS`].
const SEND_TIME: Duration = Duration::from_secs(30);

/// Time for open requests to end at shutdown.
const GRACE: Duration = Duration::from_secs(2);

/// Why the listener cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// The socket given cannot be used.
    #[error("admin.listen: {0}")]
    Socket(#[from] io::Error),
    /// `admin.token_file`.
    #[error("admin.token_file: cannot read {}: {source}", file.display())]
    Token {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An empty token would let everybody in who sends one.
    #[error("admin.token_file: {} holds fewer than 16 characters", .0.display())]
    ShortToken(PathBuf),
    /// `admin.tls`.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// Neither token nor client certificate on an address that others reach.
    #[error("admin.listen: {0} is not loopback, so token_file or tls.client_ca is needed")]
    Unprotected(SocketAddr),
}

impl AdminError {
    /// The same as a mistake about a file, for `check`; its key is found by
    /// [`meridian_config::Config::blame`].
    pub(crate) fn mistake(&self) -> Diagnostic {
        let readable = "check the path and its permissions";
        match self {
            Self::Token { file, source } | Self::Tls(TlsError::Read { file, source, .. }) => {
                Diagnostic::of_file(file, format!("cannot be read: {source}"), readable)
            }
            Self::ShortToken(file) => {
                let help = "make one with `head -c 24 /dev/urandom | base64`";
                Diagnostic::of_file(file, "holds fewer than 16 characters", help)
            }
            Self::Tls(TlsError::Pem { file, what, .. }) => {
                let message = format!("holds no usable PEM {what}");
                Diagnostic::of_file(file, message, "")
            }
            other => Diagnostic::of_file("", other.to_string(), ""),
        }
    }
}

/// A listener that is bound and has read its files, not yet serving.
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
    secrets: Arc<ArcSwap<Secrets>>,
}

/// What was read from files: replaced whole when they are read again.
pub(crate) struct Secrets {
    access: Access,
    tls: Option<TlsAcceptor>,
}

/// Reads token and certificates again while the server runs.
#[derive(Clone)]
pub(crate) struct Refresh {
    secrets: Arc<ArcSwap<Secrets>>,
}

impl Refresh {
    /// Takes over the files that `admin` names now.
    ///
    /// # Errors
    /// The old token and certificates stay in force.
    pub(crate) fn refresh(&self, admin: &Admin) -> Result<(), AdminError> {
        self.secrets.store(Arc::new(Secrets::read(admin)?));
        Ok(())
    }
}

impl Secrets {
    /// Reads token and certificates. Done before the server gives up its privileges: the files
    /// are often readable by root alone.
    pub(crate) fn read(admin: &Admin) -> Result<Self, AdminError> {
        let token = admin.token_file.as_deref().map(read_token).transpose()?;
        let tls = admin.tls.as_ref().map(tls::acceptor).transpose()?;
        let access = Access {
            loopback: admin.listen.ip().to_canonical().is_loopback(),
            token,
            certificates: admin.tls.as_ref().is_some_and(|t| t.client_ca.is_some()),
        };
        if !access.loopback && access.token.is_none() && !access.certificates {
            return Err(AdminError::Unprotected(admin.listen));
        }
        Ok(Self { access, tls })
    }
}

impl Secrets {
    /// Lets nobody in but to `/healthz` and `/readyz`, until the files can be read.
    pub(crate) fn nobody() -> Self {
        // Certificates are demanded, and without TLS nobody can show one.
        let access = Access {
            loopback: false,
            token: None,
            certificates: true,
        };
        Self { access, tls: None }
    }
}

fn read_token(file: &Path) -> Result<Token, AdminError> {
    let text = std::fs::read_to_string(file).map_err(|source| AdminError::Token {
        file: file.to_owned(),
        source,
    })?;
    let token = text.trim();
    if token.len() < 16 {
        return Err(AdminError::ShortToken(file.to_owned()));
    }
    Ok(Token(token.as_bytes().to_vec()))
}

impl Server {
    /// Takes a bound, listening socket in non-blocking mode.
    pub(crate) fn new(
        listener: std::net::TcpListener,
        secrets: Secrets,
    ) -> Result<Self, AdminError> {
        let listener = TcpListener::from_std(listener)?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            secrets: Arc::new(ArcSwap::from_pointee(secrets)),
        })
    }

    /// The address bound, with the port that the kernel chose for port 0.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle that reads the files again.
    pub(crate) fn refresher(&self) -> Refresh {
        Refresh {
            secrets: Arc::clone(&self.secrets),
        }
    }

    /// Serves until `stop`; then lets open requests end for a short while.
    pub(crate) async fn run(self, control: Arc<dyn Control>, stop: CancellationToken) {
        let router = routes::router(control, stop.clone());
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let tasks = TaskTracker::new();
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                break;
            };
            let (stream, address) = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok(pair) => pair,
                    Err(error) => {
                        // Out of file descriptors, for instance: wait, or this loop would spin.
                        tracing::warn!(%error, "admin: cannot accept");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        continue;
                    }
                },
            };
            let secrets = self.secrets.load_full();
            let (router, stop) = (router.clone(), stop.clone());
            tasks.spawn(async move {
                connection(stream, address, &secrets, router, stop).await;
                drop(permit);
            });
        }
        tasks.close();
        let _ = timeout(GRACE, tasks.wait()).await;
    }
}

/// One connection from accept to close.
async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    secrets: &Secrets,
    router: Router,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(SEND_TIME));
    let access = secrets.access.clone();
    let Some(tls) = &secrets.tls else {
        let peer = Peer {
            address,
            certificate: None,
        };
        return http(stream, peer, access, router, stop).await;
    };
    match timeout(HEAD_TIME, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates();
            let peer = Peer {
                address,
                certificate: certificates.and_then(|c| c.first()).map(tls::holder),
            };
            http(stream, peer, access, router, stop).await;
        }
        Ok(Err(error)) => tracing::debug!(%address, %error, "admin: no TLS"),
        Err(_) => tracing::debug!(%address, "admin: TLS handshake took too long"),
    }
}

async fn http<S>(stream: S, peer: Peer, access: Access, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let address = peer.address;
    let router = router
        .layer(Extension(peer))
        .layer(Extension(Arc::new(access)));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(64)
        .max_buf_size(32 << 10);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = std::pin::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%address, %error, "admin: connection ended");
    }
}
