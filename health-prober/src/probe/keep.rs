//! Connections kept between probes.
//!
//! # Why
//! A connection per probe costs both sides far more than the probe itself. But a connection that
//! lives on says nothing about new ones, and a TLS connection nothing about a certificate that has
//! expired since: so each is used for [`MAX_USES`] probes and for [`MAX_AGE`], then a new one is
//! made.
//!
//! Nothing runs for a kept connection and nothing is buffered: only the socket (and the state of
//! TLS) is kept. If the target has closed it meanwhile, the next probe sees that at once.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

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

/// A connection over which nothing is under way.
pub(super) struct Kept {
    pub(super) transport: Transport,
    /// When it was made.
    pub(super) born: Instant,
    /// Probes that it has carried.
    pub(super) uses: u32,
}

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

    pub(super) fn forget(&self, gone: TargetId) {
        self.lock().remove(&gone);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TargetId, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
