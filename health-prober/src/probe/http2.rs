//! One HTTP/2 exchange (RFC 9113): over TLS by ALPN, over TCP by prior knowledge (§3.3). Each probe
//! has a connection of its own.

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{
    Request,
    client::conn::http2,
    header::{ACCEPT, USER_AGENT},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meridian_config::{HttpCheck, TlsCheck};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Clock, NetworkProbe, Trouble, connect,
    http::{self, AGENT, BODY_LIMIT, hyper_trouble},
    session::HEAD_LIMIT,
};
use crate::{LocalReason, Phase, ProtocolFault, Reason, Target, engine::Job};

/// What a server names itself by in ALPN (RFC 9113 §3.1).
const H2: &[u8] = b"h2";

impl NetworkProbe {
    /// A whole probe.
    pub(super) async fn http2(
        &self,
        job: &Job,
        check: &HttpCheck,
        tls: Option<&TlsCheck>,
        clock: Clock,
    ) -> Result<(), Trouble> {
        let request = request(check, &job.target, tls.is_some())
            .map_err(|_| Trouble::Local(LocalReason::Request))?;
        let stream = connect::tcp(job.target.socket_address(), clock).await?;
        let Some(tls) = tls else {
            return exchange(stream, request, check, clock).await;
        };
        let stream = self.tls.handshake(job, tls, stream, clock).await?;
        // A server without ALPN goes on without a word of it.
        if stream.get_ref().1.alpn_protocol() != Some(H2) {
            return Err(Reason::Protocol(ProtocolFault::NotHttp2).into());
        }
        exchange(stream, request, check, clock).await
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
    check: &HttpCheck,
    clock: Clock,
) -> Result<(), Trouble> {
    let trouble = |error: hyper::Error| hyper_trouble(&error, ProtocolFault::NotHttp2);
    // What the target may send without being asked for more.
    let window = u32::try_from(BODY_LIMIT).unwrap_or(u32::MAX);
    let limit = u32::try_from(HEAD_LIMIT).unwrap_or(u32::MAX);
    let start = http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(limit)
        .initial_stream_window_size(window)
        .initial_connection_window_size(window)
        .handshake(TokioIo::new(stream));
    let start = async { start.await.map_err(trouble) };
    let (mut sender, connection) = clock.limit(Phase::Headers, start).await?;
    let judged = async {
        let head = async { sender.send_request(request).await.map_err(trouble) };
        let response = clock.limit(Phase::Headers, head).await?;
        http::judge_status(check, response.status().as_u16())?;
        let body = async {
            let fault = |error| hyper_trouble(&error, ProtocolFault::Body);
            http::judge_body(check, response.into_body())
                .await
                .map_err(fault)
        };
        match clock.limit(Phase::Body, body).await? {
            true => Ok(()),
            false => Err(Reason::BodyMismatch.into()),
        }
    };
    drive(judged, connection, trouble).await
}

/// Drives a connection until the answer is judged. A target may close as soon as it has answered
/// (RFC 9113 §6.8: a server may finish what it has begun and go away); the answer then still counts.
pub(super) async fn drive(
    judged: impl Future<Output = Result<(), Trouble>>,
    connection: impl Future<Output = Result<(), hyper::Error>>,
    trouble: impl Fn(hyper::Error) -> Trouble,
) -> Result<(), Trouble> {
    tokio::pin!(judged);
    tokio::select! {
        biased;
        judged = &mut judged => judged,
        // What the answer lacks then will not come any more: this does not wait.
        ended = connection => match ended {
            Ok(()) => judged.await,
            Err(error) => Err(trouble(error)),
        },
    }
}

/// The request: scheme, authority and path are the pseudo-headers (§8.3.1).
fn request(
    check: &HttpCheck,
    target: &Target,
    tls: bool,
) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let scheme = if tls { "https" } else { "http" };
    let authority = http::host(check, target, tls);
    Request::builder()
        .method(http::method(check))
        .uri(format!("{scheme}://{authority}{}", check.path))
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .body(Empty::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On two threads the end of the connection may be seen before the answer that came with it.
    #[tokio::test]
    async fn an_answer_counts_that_is_seen_after_the_end() {
        let trouble = |error: hyper::Error| hyper_trouble(&error, ProtocolFault::NotHttp2);
        let late = async {
            tokio::task::yield_now().await;
            Ok(())
        };
        let ended = std::future::ready(Ok(()));
        assert!(drive(late, ended, trouble).await.is_ok());
    }
}
