//! A socket of which every shard has a part: listeners, UDP sockets and gates. Who waits for it waits for any part.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use finack_core::stack::Ready;
use finack_core::{Error, Instant, Stack};

use super::waiters::Key;
use super::{Home, Inner, Shard, Shards, Side, SocketId};

/// The parts of one socket, and the shards that they belong to.
pub(crate) struct Everywhere<I: SocketId> {
    shards: Arc<Shards>,
    ids: Box<[I]>,
    /// Which part is asked first next time, so that none has to wait for others that always have something.
    turn: AtomicUsize,
}

impl<I: SocketId> Everywhere<I> {
    pub(super) fn new(shards: Arc<Shards>, ids: Vec<I>) -> Self {
        Self { shards, ids: ids.into(), turn: AtomicUsize::new(0) }
    }

    pub(crate) fn shards(&self) -> &Shards {
        &self.shards
    }

    /// One of the shards, to be kept.
    pub(crate) fn home(&self, shard: usize) -> Home {
        Home::new(Arc::clone(&self.shards), shard)
    }

    fn parts(&self) -> impl Iterator<Item = (&Shard, I)> {
        self.shards.iter().zip(self.ids.iter().copied())
    }

    fn part(&self, shard: usize) -> (usize, &Shard, I) {
        let shard = if shard < self.ids.len() { shard } else { 0 };
        (shard, self.shards.get(shard), self.ids[shard])
    }

    /// All parts, in turn.
    fn in_turn(&self) -> impl Iterator<Item = (usize, &Shard, I)> {
        let (count, first) = (self.ids.len(), self.turn.load(Ordering::Relaxed));
        (0..count).map(move |i| self.part((first + i) % count))
    }

    fn was(&self, shard: usize) {
        if self.ids.len() > 1 {
            self.turn.store((shard + 1) % self.ids.len(), Ordering::Relaxed);
        }
    }

    /// Looks at the first part: for what all of them have alike.
    pub(crate) fn first<R>(
        &self,
        query: impl FnOnce(&Stack, Instant, I) -> Result<R, Error>,
    ) -> io::Result<R> {
        let (_, shard, id) = self.part(0);
        shard.query(|stack, now| query(stack, now, id))
    }

    /// A call on every part. The first failure counts, else what the first part answers.
    pub(crate) fn each<R>(
        &self,
        mut call: impl FnMut(&mut Stack, Instant, I) -> Result<R, Error>,
    ) -> io::Result<R> {
        let (_, shard, id) = self.part(0);
        let result = shard.call(|stack, now| call(stack, now, id))?;
        for (shard, id) in self.parts().skip(1) {
            shard.call(|stack, now| call(stack, now, id))?;
        }
        Ok(result)
    }

    /// Looks at every part.
    pub(crate) fn look<R>(&self, mut query: impl FnMut(&Stack, I) -> Result<R, Error>) -> io::Result<Vec<R>> {
        self.parts().map(|(shard, id)| shard.query(|stack, _| query(stack, id))).collect()
    }

    /// A call on the part of one shard.
    pub(crate) fn on<R>(
        &self,
        shard: usize,
        call: impl FnOnce(&mut Stack, Instant, I) -> Result<R, Error>,
    ) -> io::Result<R> {
        let (_, shard, id) = self.part(shard);
        shard.call(|stack, now| call(stack, now, id))
    }

    /// A call on the part of one shard that leaves the task's waker where it would block.
    pub(crate) fn poll_on<R>(
        &self,
        cx: &mut Context<'_>,
        shard: usize,
        side: Side,
        call: impl FnOnce(&mut Inner, Instant, I) -> Result<R, Error>,
    ) -> Poll<io::Result<R>> {
        let (_, shard, id) = self.part(shard);
        shard.poll(cx, id, side, |inner, now| call(inner, now, id))
    }

    /// A call on the part of one shard that waits for as long as it would block.
    pub(crate) async fn wait_on<R>(
        &self,
        shard: usize,
        mask: Ready,
        mut call: impl FnMut(&mut Inner, Instant, I) -> Result<R, Error>,
    ) -> io::Result<R> {
        let (_, shard, id) = self.part(shard);
        super::Wait::new(shard, id, mask, move |inner: &mut Inner, now| call(inner, now, id)).await
    }

    /// A call on the first part that does not answer [`Error::WouldBlock`].
    pub(crate) fn try_any<R>(
        &self,
        mut call: impl FnMut(&mut Stack, Instant, I) -> Result<R, Error>,
    ) -> io::Result<R> {
        let mut last = None;
        for (i, shard, id) in self.in_turn() {
            match shard.call(|stack, now| call(stack, now, id)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => last = Some(error),
                result => {
                    self.was(i);
                    return result;
                }
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::WouldBlock.into()))
    }

    /// [`try_any`](Self::try_any) that leaves the task's waker with all parts where they would all block. Answers which
    /// shard it was.
    pub(crate) fn poll_any<R>(
        &self,
        cx: &mut Context<'_>,
        side: Side,
        mut call: impl FnMut(&mut Inner, Instant, I) -> Result<R, Error>,
    ) -> Poll<io::Result<(usize, R)>> {
        for (i, shard, id) in self.in_turn() {
            if let Poll::Ready(result) = shard.poll(cx, id, side, |inner, now| call(inner, now, id)) {
                self.was(i);
                return Poll::Ready(result.map(|result| (i, result)));
            }
        }
        Poll::Pending
    }

    /// [`try_any`](Self::try_any) that waits for as long as all parts would block. Any number of tasks may do so at once.
    pub(crate) const fn any<F>(&self, mask: Ready, call: F) -> WaitAny<'_, I, F> {
        WaitAny { socket: self, mask, first: None, others: Vec::new(), call }
    }

    /// Ends the socket. Nobody can be told of a failure: it is gone either way.
    pub(crate) fn close(&self, call: impl FnMut(&mut Stack, Instant, I) -> Result<(), Error>) {
        self.shards.close_all(&self.ids, call);
    }
}

/// See [`Everywhere::any`]. Dropping it leaves no trace, and nothing is consumed before it is ready.
pub(crate) struct WaitAny<'a, I: SocketId, F> {
    socket: &'a Everywhere<I>,
    mask: Ready,
    /// Its place in the list of the first shard, and of each other.
    first: Option<Key>,
    others: Vec<Option<Key>>,
    call: F,
}

impl<I: SocketId, F> Unpin for WaitAny<'_, I, F> {}

impl<I, F, R> Future for WaitAny<'_, I, F>
where
    I: SocketId,
    F: FnMut(&mut Inner, Instant, I) -> Result<R, Error>,
{
    /// Which shard it was, and what the call answered.
    type Output = io::Result<(usize, R)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { socket, mask, first, others, call } = &mut *self;
        others.resize(socket.ids.len() - 1, None);
        for (i, shard, id) in socket.in_turn() {
            let key = if i == 0 { &mut *first } else { &mut others[i - 1] };
            let polled = shard.poll_with(
                cx,
                |inner, now| call(inner, now, id),
                |waiters, waker| waiters.park(id, *mask, key, waker),
            );
            if let Poll::Ready(result) = polled {
                socket.was(i);
                return Poll::Ready(result.map(|result| (i, result)));
            }
        }
        Poll::Pending
    }
}

impl<I: SocketId, F> Drop for WaitAny<'_, I, F> {
    fn drop(&mut self) {
        let keys = std::iter::once(self.first).chain(self.others.iter().copied());
        for ((shard, id), key) in self.socket.parts().zip(keys) {
            if let Some(key) = key {
                shard.unpark(id, key);
            }
        }
    }
}
