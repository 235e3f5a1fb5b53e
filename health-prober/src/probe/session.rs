//! HTTP over a connection for the time of one probe, driven by the probe itself: no task of its own.

use std::{
    pin::{Pin, pin},
    task::Poll,
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use super::keep::Transport;

/// Status line and headers together, octets.
pub(super) const HEAD_LIMIT: usize = 16 << 10;
const MAX_HEADERS: usize = 100;

/// Both sides of an HTTP connection.
pub(super) struct Session {
    pub(super) sender: SendRequest<Empty<Bytes>>,
    pub(super) running: Running,
}

/// The side that has to be polled.
pub(super) struct Running {
    connection: Option<Connection<TokioIo<Transport>, Empty<Bytes>>>,
    error: Option<hyper::Error>,
}

impl Session {
    /// Starts HTTP over a connection, new or kept; sends nothing yet.
    pub(super) async fn over(transport: Transport) -> hyper::Result<Self> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_LIMIT)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(transport))
            .await?;
        Ok(Self {
            sender,
            running: Running {
                connection: Some(connection),
                error: None,
            },
        })
    }

    /// Gives the connection back if another request could be sent over it right now.
    pub(super) async fn into_idle(mut self) -> Option<Transport> {
        self.running.connection.as_ref()?;
        let idle = {
            let mut ready = pin!(self.running.drive(self.sender.ready()));
            std::future::poll_fn(|context| {
                let ready = ready.as_mut().poll(context);
                Poll::Ready(matches!(ready, Poll::Ready(Ok(()))))
            })
            .await
        };
        let parts = self.running.connection.filter(|_| idle)?.into_parts();
        parts.read_buf.is_empty().then(|| parts.io.into_inner())
    }
}

impl Running {
    /// Lets a step go on and the connection under it with it. Where the step only learns that
    /// the connection is gone, the error is the connection's own, which knows why.
    pub(super) async fn drive<T>(
        &mut self,
        step: impl Future<Output = hyper::Result<T>>,
    ) -> hyper::Result<T> {
        let mut step = pin!(step);
        let result = std::future::poll_fn(|context| {
            if let Some(running) = self.connection.as_mut()
                && let Poll::Ready(result) = Pin::new(running).poll(context)
            {
                self.connection = None;
                self.error = result.err();
            }
            step.as_mut().poll(context)
        })
        .await;
        result.map_err(|error| match self.error.take() {
            Some(cause) if error.is_canceled() || error.is_closed() => cause,
            _ => error,
        })
    }
}
