//! The admin listener: metrics, health of the process, and the API that the command line uses.
//!
//! ```text
//! accept → room (bounded) → TLS → HTTP/1.1 (bounded head, time) → access → routes → control
//! ```
//!
//! It shares no thread-blocking lock with the DNS path, and everything a peer can make it hold is
//! bounded: connections, request heads, bodies, time per request, followers of events.

mod access;
mod connection;
mod control;
mod dashboard;
mod events;
mod latency;
mod load;
mod openapi;
mod reply;
mod room;
mod routes;
mod secrets;
mod site;
mod tls;

#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use meridian_config::{Diagnostic, ReadError};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::runtime::monotonic;
use connection::Accepted;
pub(crate) use control::{Boxed, Control, ControlError};
use room::{Full, KNOWN, Room, STRANGERS, Seat};
use secrets::Current;
pub(crate) use secrets::{Refresh, Secrets};
use tls::TlsError;

/// Connections open at once, with some that have been displaced and are about to end; more wait in the
/// kernel's queue.
const CONNECTIONS: usize = KNOWN + STRANGERS + 16;

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
        source: ReadError,
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
    secrets: Current,
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
        let limit = Arc::new(Semaphore::new(CONNECTIONS));
        let room = Arc::<Room>::default();
        let tasks = TaskTracker::new();
        let accept = async {
            while let Ok(permit) = Arc::clone(&limit).acquire_owned().await {
                let (stream, address) = self.accept().await;
                // Closed at once, if there is none.
                let Some(seat) = seat(&room, address).await else {
                    continue;
                };
                let accepted = Accepted {
                    address,
                    seat: Arc::new(seat),
                    current: self.secrets.clone(),
                };
                let work = connection::serve(stream, accepted, router.clone(), stop.clone());
                tasks.spawn(async move {
                    work.await;
                    drop(permit);
                });
            }
        };
        stop.run_until_cancelled(accept).await;
        tasks.close();
        let _ = timeout(GRACE, tasks.wait()).await;
    }

    async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    // Out of file descriptors, for instance: wait, or this loop would spin.
                    tracing::warn!(%error, "admin: cannot accept");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

/// A place in the room, when there is one.
async fn seat(room: &Arc<Room>, address: SocketAddr) -> Option<Seat> {
    loop {
        let now = monotonic();
        match room.enter(address.ip(), now) {
            Ok(seat) => return Some(seat),
            Err(Full::Refused) => {
                tracing::debug!(%address, "admin: too many connections");
                return None;
            }
            Err(Full::Until(then)) => {
                let _ = timeout(then.saturating_sub(now), room.freed()).await;
            }
        }
    }
}
