//! What a relay asks of a stream.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::direct::Direct;

/// A two-way stream of bytes as a [relay](super::relay) needs it: with its breaks seen while nobody reads, and an end by
/// RST.
///
/// Implemented for finack's [`TcpStream`](crate::net::TcpStream), tokio's `TcpStream` and `UnixStream`, an [`Arc`] of any of them (the
/// relay must be its only reader and writer nevertheless), and every other stream of tokio through
/// [`Plain`](super::Plain).
///
/// All methods take `&self`, so that breaks can be waited for while bytes move. Only one task calls them.
pub trait RelayStream {
    /// Reads what is there into `buf`, which is not empty. `Ok(0)` is the end of the stream, and everything before it
    /// was read.
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes what fits of `buf`, which is not empty.
    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>>;

    /// Passes on what a stream that gathers its writes still holds back. Others have nothing to do.
    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Half-close: the peer sees the end of the stream after everything that was written. Called until it is ready.
    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// [`poll_end`](Self::poll_end) where the other direction is over: the stream is dropped next, which may be all that it
    /// takes.
    fn poll_end_last(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(cx)
    }

    /// Waits until the stream has failed: reset by the peer, timed out, ... also while nothing is read from it, and
    /// after its end was read. What was received before stays readable. A stream that can't tell waits for ever.
    ///
    /// The pending error is taken by this: reads after it give what is left, and then the end of the stream.
    fn broken(&self) -> impl Future<Output = io::Error> + Send;

    /// Bytes that were written and that the peer has not yet acknowledged: a RST now would lose them. Zero where
    /// that is unknown.
    fn unacknowledged(&self) -> usize;

    /// The connection itself, where bytes may move between finack's buffers and the kernel's without a copy in between:
    /// past [`poll_read`](Self::poll_read) and [`poll_write`](Self::poll_write), as if they had been called.
    fn direct(&self) -> Direct<'_> {
        Direct::No
    }

    /// Told that bytes are about to be written to [`direct`](Self::direct).
    fn will_write(&self) {}

    /// Told that `count` bytes were written to [`direct`](Self::direct).
    fn wrote_directly(&self, count: usize) {
        let _ = count;
    }

    /// From now on dropping the stream resets it, as far as it has a way to: the peer sees `ConnectionReset`.
    fn reset_on_drop(&self);
}

impl<S: RelayStream + Send + Sync> RelayStream for Arc<S> {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        (**self).poll_read(cx, buf)
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        (**self).poll_write(cx, buf)
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_flush(cx)
    }

    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_end(cx)
    }

    fn broken(&self) -> impl Future<Output = io::Error> + Send {
        (**self).broken()
    }

    fn unacknowledged(&self) -> usize {
        (**self).unacknowledged()
    }

    fn direct(&self) -> Direct<'_> {
        (**self).direct()
    }

    fn poll_end_last(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_end_last(cx)
    }

    fn will_write(&self) {
        (**self).will_write();
    }

    fn wrote_directly(&self, count: usize) {
        (**self).wrote_directly(count);
    }

    fn reset_on_drop(&self) {
        (**self).reset_on_drop();
    }
}
