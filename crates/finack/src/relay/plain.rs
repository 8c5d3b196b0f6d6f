//! Any of tokio's streams.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::RelayStream;

/// Makes any of tokio's streams fit for a [relay](super::relay): `DuplexStream`, TLS, a pipe in two halves.
///
/// Such a stream has no RST. That it broke is seen where it is read or written, and being reset means that it is
/// dropped without a `shutdown`: a TLS peer can tell that from an end, a `DuplexStream`'s can't.
pub struct Plain<S> {
    /// Never contended: a relay is one task.
    stream: Mutex<S>,
}

impl<S> Plain<S> {
    /// Wraps `stream`.
    pub const fn new(stream: S) -> Self {
        Self { stream: Mutex::new(stream) }
    }

    /// The stream itself.
    pub fn into_inner(self) -> S {
        self.stream.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, S> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> fmt::Debug for Plain<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> RelayStream for Plain<S> {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut *self.lock()).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut *self.lock()).poll_write(cx, buf))?;
        Poll::Ready(if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) })
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(cx)
    }

    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_shutdown(cx)
    }

    async fn broken(&self) -> io::Error {
        std::future::pending().await
    }

    fn unacknowledged(&self) -> usize {
        0
    }

    fn reset_on_drop(&self) {}
}
