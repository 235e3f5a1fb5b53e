//! One connection from accept to close, and what its requests are judged by.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    http::{HeaderMap, Uri},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    access::{Peer, Who, is_open},
    reply::Refusal,
    room::Seat,
    secrets::{Current, Secrets},
    tls,
};

/// Time for a TLS handshake, and for the head of a request (also the next one on a kept
/// connection).
const HEAD_TIME: Duration = Duration::from_secs(10);

/// Unacknowledged data for longer than this ends a connection, so that readers who stop reading
/// cannot hold their place.
const SEND_TIME: Duration = Duration::from_secs(30);

/// Time for a connection without a request that needed leave and had it.
const STRANGER_TIME: Duration = Duration::from_secs(30);

/// What a connection was accepted with.
pub(super) struct Accepted {
    pub(super) address: SocketAddr,
    pub(super) seat: Arc<Seat>,
    /// The secrets in force, whatever they are.
    pub(super) current: Current,
}

/// A connection as the guard of its requests sees it.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) peer: Peer,
    /// What it came in under.
    secrets: Arc<Secrets>,
    current: Current,
    seat: Arc<Seat>,
}

impl Line {
    /// Decides about one request, by the secrets that are in force now.
    pub(super) fn judge(&self, uri: &Uri, headers: &HeaderMap) -> Result<Who, Refusal> {
        let current = self.current.load();
        let mut peer = self.peer.clone();
        if !Arc::ptr_eq(&current, &self.secrets) {
            // Verified by what no longer counts.
            peer.certificate = None;
        }
        let who = current.access.judge(&peer, uri, headers)?;
        if !is_open(uri) {
            self.seat.make_known();
        }
        Ok(who)
    }

    /// Cancelled when others take the place of the secrets that the connection came in under.
    pub(super) fn retired(&self) -> CancellationToken {
        self.secrets.retired.clone()
    }
}

/// Serves until the peer goes, or has to.
pub(super) async fn serve(
    stream: TcpStream,
    accepted: Accepted,
    router: Router,
    stop: CancellationToken,
) {
    let leave = accepted.seat.leave.clone();
    let work = open(stream, accepted, router, stop);
    leave.run_until_cancelled(work).await;
}

async fn open(stream: TcpStream, accepted: Accepted, router: Router, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(SEND_TIME));
    let address = accepted.address;
    let secrets = accepted.current.load_full();
    let line = |certificate| Line {
        peer: Peer {
            address,
            certificate,
        },
        secrets: secrets.clone(),
        current: accepted.current,
        seat: accepted.seat,
    };
    let Some(tls) = &secrets.tls else {
        return http(stream, line(None), router, stop).await;
    };
    match timeout(HEAD_TIME, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates();
            let holder = certificates.and_then(|c| c.first()).map(tls::holder);
            http(stream, line(holder), router, stop).await;
        }
        Ok(Err(error)) => tracing::debug!(%address, %error, "admin: no TLS"),
        Err(_) => tracing::debug!(%address, "admin: TLS handshake too slow"),
    }
}

async fn http<S>(stream: S, line: Line, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let address = line.peer.address;
    let (seat, retired) = (line.seat.clone(), line.retired());
    let router = router.layer(Extension(line));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(64)
        .max_buf_size(32 << 10);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = std::pin::pin!(served);
    let last_request = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = retired.cancelled() => {}
            () = still_a_stranger(&seat) => {}
        }
    };
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = last_request => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%address, %error, "admin: connection ended");
    }
}

/// Ends after [`STRANGER_TIME`], unless it is known by then who it is.
async fn still_a_stranger(seat: &Seat) {
    tokio::time::sleep(STRANGER_TIME).await;
    if seat.is_known() {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;

    use super::*;
    use crate::admin::room::Room;

    /// A certificate counts under the authorities that it was verified by, and no others.
    #[test]
    fn a_certificate_does_not_outlive_what_verified_it() {
        let current = Arc::new(ArcSwap::from_pointee(Secrets::nobody()));
        let address: SocketAddr = "192.0.2.1:999".parse().unwrap();
        let seat = Arc::<Room>::default().enter(address.ip(), Duration::ZERO);
        let line = Line {
            peer: Peer {
                address,
                certificate: Some("ops".to_owned()),
            },
            secrets: current.load_full(),
            current: current.clone(),
            seat: Arc::new(seat.ok().unwrap()),
        };
        let mut headers = HeaderMap::new();
        headers.insert("host", "192.0.2.9:9153".parse().unwrap());
        let ask = |path: &str| line.judge(&path.parse().unwrap(), &headers);
        assert!(ask("/healthz").is_ok() && !line.seat.is_known());
        assert!(ask("/x").is_ok() && line.seat.is_known());
        current.store(Arc::new(Secrets::nobody()));
        assert_eq!(ask("/x").unwrap_err().status, 401);
    }
}
