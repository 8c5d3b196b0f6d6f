//! A socket call as a future that any number of tasks may await on one socket at once.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use finack_core::stack::Ready;
use finack_core::{Error, Instant};

use super::waiters::Key;
use super::{Inner, Shard, SocketId};

/// Makes `call` again each time that the socket may have become ready, until it does not answer
/// [`Error::WouldBlock`]. Dropping it leaves no trace, and nothing is consumed before it is ready.
pub(crate) struct Wait<'a, I: SocketId, F> {
    shard: &'a Shard,
    id: I,
    mask: Ready,
    key: Option<Key>,
    call: F,
}

impl<'a, I: SocketId, F> Wait<'a, I, F> {
    pub(crate) const fn new(shard: &'a Shard, id: I, mask: Ready, call: F) -> Self {
        Self { shard, id, mask, key: None, call }
    }
}

impl<I: SocketId, F> Unpin for Wait<'_, I, F> {}

impl<I, F, R> Future for Wait<'_, I, F>
where
    I: SocketId,
    F: FnMut(&mut Inner, Instant) -> Result<R, Error>,
{
    type Output = io::Result<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (id, mask, key) = (this.id, this.mask, &mut this.key);
        this.shard.poll_with(cx, &mut this.call, |waiters, waker| waiters.park(id, mask, key, waker))
    }
}

impl<I: SocketId, F> Drop for Wait<'_, I, F> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.shard.unpark(self.id, key);
        }
    }
}
