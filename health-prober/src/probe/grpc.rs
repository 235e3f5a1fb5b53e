//! One call of the gRPC health checking protocol (`grpc.health.v1.Health/Check`) over HTTP/2.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{HeaderMap, Method, Request, Response, body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meridian_config::GrpcCheck;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Clock, NetworkProbe, Trouble, connect,
    http::{AGENT, default_host, hyper_trouble},
    http2::drive,
};
use crate::{LocalReason, Phase, ProtocolFault, Reason, Target, engine::Job};

/// A response is one short message.
const BODY: usize = 1024;
/// What the target may send without being asked for more: the least that a connection may have
/// (RFC 9113 §6.9.2).
const WINDOW: u32 = 65_535;
const SERVING: u64 = 1;

impl NetworkProbe {
    /// Connects, calls and judges.
    pub(super) async fn grpc(
        &self,
        job: &Job,
        grpc: &GrpcCheck,
        clock: Clock,
    ) -> Result<(), Trouble> {
        let stream = connect::tcp(job.target.socket_address(), clock).await?;
        match &grpc.tls {
            None => call(stream, &job.target, grpc, clock).await,
            Some(tls) => {
                let stream = self.tls.handshake(job, tls, stream, clock).await?;
                call(stream, &job.target, grpc, clock).await
            }
        }
    }
}

async fn call(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
    grpc: &GrpcCheck,
    clock: Clock,
) -> Result<(), Trouble> {
    let request = request(target, grpc).map_err(|_| Trouble::Local(LocalReason::Request))?;
    let trouble = |error: hyper::Error| hyper_trouble(&error, ProtocolFault::NotGrpc);
    let exchange = async {
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(16 << 10)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(trouble)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(trouble)?;
            judge(response).await
        };
        drive(answer, connection, trouble).await
    };
    clock.limit(Phase::Answer, exchange).await
}

fn request(target: &Target, grpc: &GrpcCheck) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let (scheme, standard) = match grpc.tls {
        Some(_) => ("https", 443),
        None => ("http", 80),
    };
    let authority = match &grpc.host {
        Some(host) => host.clone(),
        None => default_host(target.address, target.check.port, standard),
    };
    Request::builder()
        .method(Method::POST)
        .uri(format!(
            "{scheme}://{authority}/grpc.health.v1.Health/Check"
        ))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", AGENT)
        .body(Full::new(message(&grpc.service)))
}

/// `HealthCheckRequest { service }` in its frame: not compressed, length in four octets.
fn message(service: &str) -> Bytes {
    let mut body = Vec::new();
    if !service.is_empty() {
        // Field 1, length-delimited; the name has at most 255 octets, so two octets of length do.
        body.push(0x0a);
        let length = service.len();
        if length < 0x80 {
            body.push(length as u8);
        } else {
            body.extend([(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]);
        }
        body.extend(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend(u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
    frame.extend(body);
    frame.into()
}

async fn judge(response: Response<Incoming>) -> Result<(), Trouble> {
    let not_grpc = || Trouble::from(Reason::Protocol(ProtocolFault::NotGrpc));
    let status = response.status().as_u16();
    if status != 200 {
        return Err(Reason::Status(status).into());
    }
    // A call that fails at once has its status in the headers.
    check_status(response.headers())?;
    let body = Limited::new(response.into_body(), BODY).collect().await;
    let body = body.map_err(|_| not_grpc())?;
    if let Some(trailers) = body.trailers() {
        check_status(trailers)?;
    }
    match serving_status(&body.to_bytes()).ok_or_else(not_grpc)? {
        SERVING => Ok(()),
        other => Err(Reason::NotServing(other).into()),
    }
}

fn check_status(headers: &HeaderMap) -> Result<(), Trouble> {
    let Some(status) = headers.get("grpc-status") else {
        return Ok(());
    };
    match status.to_str().ok().and_then(|text| text.parse().ok()) {
        Some(0) => Ok(()),
        Some(code) => Err(Reason::Grpc(code).into()),
        None => Err(Reason::Protocol(ProtocolFault::NotGrpc).into()),
    }
}

/// `status` of a framed `HealthCheckResponse`: field 1, a varint; 0 when it is left out.
fn serving_status(frame: &[u8]) -> Option<u64> {
    let (&[compressed, a, b, c, d], body) = frame.split_first_chunk::<5>()?;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    let mut body = body.get(..length).filter(|_| compressed == 0)?;
    let mut status = 0;
    while !body.is_empty() {
        let tag = varint(&mut body)?;
        match tag & 7 {
            0 => {
                let value = varint(&mut body)?;
                if tag >> 3 == 1 {
                    status = value;
                }
            }
            1 => body = body.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut body)?).ok()?;
                body = body.get(length..)?;
            }
            5 => body = body.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(body: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&octet, rest) = body.split_first()?;
        *body = rest;
        value |= u64::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_framed() {
        assert_eq!(message("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(message("ab").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = message(&"x".repeat(200));
        assert_eq!(long[4..8], [203, 0x0a, 0xc8, 1]);
    }

    #[test]
    fn statuses_are_read() {
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(SERVING));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0), "left out");
        // An unknown field of each wire type before it.
        let body = [0x10, 0x96, 1, 0x1a, 2, 9, 9, 0x25, 1, 2, 3, 4, 8, 2];
        let mut frame = vec![0, 0, 0, 0, body.len() as u8];
        frame.extend(body);
        assert_eq!(serving_status(&frame), Some(2));
        for broken in [
            &[0, 0, 0, 0][..],
            &[0, 0, 0, 0, 3, 8, 1],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 1, 8],
        ] {
            assert_eq!(serving_status(broken), None, "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn no_octets_break_it(frame in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = serving_status(&frame);
        }
    }
}
