//! Connections kept between probes.
//!
//! # Why
//! A connection per probe costs both sides far more than the probe itself. But a connection that
//! lives on says nothing about new ones, and a TLS connection nothing about a certificate that has
//! expired since: so each is used for [`MAX_USES`] probes and for [`MAX_AGE`], then a new one is
//! made.
//!
//! Nothing runs for a kept connection: it is polled only while a probe uses it. If the target
//! has closed it meanwhile, the first poll says so.

use std::{
    collections::{HashMap, HashSet},
    pin::{Pin, pin},
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::client::TlsStream;

use crate::TargetId;

/// Probes over one connection.
pub(super) const MAX_USES: u32 = 10;
/// Age at which a connection is no longer used.
pub(super) const MAX_AGE: Duration = Duration::from_secs(60);

/// An HTTP connection, driven by whoever uses it.
pub(crate) struct Kept {
    pub(super) sender: SendRequest<Empty<Bytes>>,
    connection: Option<Http>,
    pub(super) born: Instant,
    pub(super) uses: u32,
}

/// The side of a connection that has to be polled.
type Http = Connection<TokioIo<Transport>, Empty<Bytes>>;

/// What HTTP runs over.
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The connections of all targets, at most one each.
pub(super) struct Keep {
    kept: Mutex<HashMap<TargetId, Kept>>,
    most: usize,
}

impl Keep {
    pub(super) fn new(most: usize) -> Self {
        Self {
            kept: Mutex::new(HashMap::new()),
            most,
        }
    }

    /// Takes the connection of a target, unless it is worn out.
    pub(super) fn take(&self, id: TargetId, now: Instant) -> Option<Kept> {
        let kept = self.lock().remove(&id)?;
        (kept.uses < MAX_USES && now.duration_since(kept.born) < MAX_AGE).then_some(kept)
    }

    /// Keeps a connection, while there is room.
    pub(super) fn put(&self, id: TargetId, connection: Kept) {
        let mut kept = self.lock();
        if connection.uses < MAX_USES && (kept.len() < self.most || kept.contains_key(&id)) {
            kept.insert(id, connection);
        }
    }

    pub(super) fn retain(&self, live: &HashSet<TargetId>) {
        self.lock().retain(|id, _| live.contains(id));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TargetId, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    pub(super) fn new(sender: SendRequest<Empty<Bytes>>, connection: Http, born: Instant) -> Self {
        Self {
            sender,
            connection: Some(connection),
            born,
            uses: 0,
        }
    }

    /// Whether the connection can take another request right now.
    pub(super) async fn is_idle(&mut self) -> bool {
        if self.connection.is_none() {
            return false;
        }
        let Self {
            sender, connection, ..
        } = self;
        let mut ready = pin!(drive(connection, sender.ready()));
        std::future::poll_fn(|context| {
            Poll::Ready(matches!(ready.as_mut().poll(context), Poll::Ready(Ok(()))))
        })
        .await
    }

    /// Sender and connection apart, for [`drive`].
    pub(super) fn parts(&mut self) -> (&mut SendRequest<Empty<Bytes>>, &mut Option<Http>) {
        (&mut self.sender, &mut self.connection)
    }
}

/// Lets a step go on and the connection under it with it.
pub(super) async fn drive<T>(connection: &mut Option<Http>, step: impl Future<Output = T>) -> T {
    let mut step = pin!(step);
    std::future::poll_fn(|context| {
        // Its error, if any, reaches the step as well.
        if let Some(running) = connection.as_mut()
            && Pin::new(running).poll(context).is_ready()
        {
            *connection = None;
        }
        step.as_mut().poll(context)
    })
    .await
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, octets),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
