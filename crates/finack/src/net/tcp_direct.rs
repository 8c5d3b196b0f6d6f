//! What a relay needs of a connection besides reading and writing: data that moves without a copy between, and ACKs that
//! wait until the far side has what they acknowledge.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::task::{Context, Poll};

use bytes::buf::Limit;
use bytes::{Buf, Bytes};
use finack_core::Error;
use finack_core::device::MAX_SLICES;
use finack_core::options::SendFlags;
use finack_core::stack::Ready;

use super::TcpStream;
use crate::shard::{Inner, READ, Side, WRITE, Wait};

/// Lends slices in the shape that system calls take.
fn lent_to(
    take: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
) -> impl FnOnce(&[&[u8]]) -> io::Result<usize> {
    |slices| {
        let mut lent = [IoSlice::new(&[]); MAX_SLICES];
        lent.iter_mut().zip(slices).for_each(|(to, slice)| *to = IoSlice::new(slice));
        take(&lent[..slices.len()])
    }
}

/// While one of the closures here runs, the network's lock is held: it must neither block nor use a socket of the same
/// [`Net`](crate::Net). A non-blocking system call is what it is for.
impl TcpStream {
    /// Lends what is there to read to `take`; as many bytes as that answers are read then, and where it fails, none
    /// are. `Ok(0)` without a call of `take` is the end of the stream. Where nothing is there, the task is woken
    /// later, as by `poll_read`.
    ///
    /// # Errors
    /// As `try_read`, but for `WouldBlock`, which only `take` answers; and whatever else `take` does.
    pub fn poll_recv_with(
        &self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let polled = self.shard.poll(cx, self.conn, Side::Read, |inner, now| {
            inner.stack.tcp_recv_with(now, self.conn, lent_to(take))
        });
        polled.map(|outer| outer.and_then(|taken| taken))
    }

    /// [`poll_recv_with`](Self::poll_recv_with) that also tells whether this was all for now: then the task is woken by what
    /// comes next, as if it had looked once more and found nothing.
    pub(crate) fn poll_recv_all_with(
        &self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Poll<io::Result<(usize, bool)>> {
        let (conn, waker) = (self.conn, cx.waker());
        let mut replaced = None;
        let polled = self.shard.poll(cx, conn, Side::Read, |inner, now| {
            let taken = inner.stack.tcp_recv_with(now, conn, lent_to(take))?;
            let all = matches!(taken, Ok(1..)) && !inner.stack.tcp_ready(conn)?.intersects(READ);
            if all {
                replaced = inner.waiters.set(conn, Side::Read, waker);
            }
            Ok(taken.map(|taken| (taken, all)))
        });
        // It may run anybody's code: not under the lock.
        drop(replaced);
        polled.map(|outer| outer.and_then(|taken| taken))
    }

    /// Lets `fill` append up to `most` bytes (or as many as there is room for) to the send buffer itself, and sends
    /// what it appended; `Ok(0)` where that is nothing. Where there is no room, the task is woken later, as by
    /// `poll_write`. Ask for 2 KiB at most where little is expected: such a block is small.
    ///
    /// Where `fill` appended all that it was let, more is expected: a partial segment at the end waits for it, up to
    /// 200 ms, or for [`push`](Self::push).
    ///
    /// # Errors
    /// As `try_write`, but for `WouldBlock`, which only `fill` answers; and whatever else `fill` does: then nothing of
    /// what it appended is sent.
    pub fn poll_send_with(
        &self,
        cx: &mut Context<'_>,
        most: usize,
        fill: impl FnOnce(&mut Limit<&mut Vec<u8>>) -> io::Result<()>,
    ) -> Poll<io::Result<usize>> {
        let polled = self.shard.poll(cx, self.conn, Side::Write, |inner, now| {
            inner.stack.tcp_send_with(now, self.conn, most, fill)
        });
        polled.map(|outer| outer.and_then(|filled| filled))
    }

    /// [`poll_send_with`](Self::poll_send_with), where `fill` may say that the source's end follows: what it appended is
    /// sent with the next call then, which is to be that end, so that both go in one segment.
    pub(crate) fn poll_send_before_end(
        &self,
        cx: &mut Context<'_>,
        most: usize,
        fill: impl FnOnce(&mut Limit<&mut Vec<u8>>) -> io::Result<bool>,
    ) -> Poll<io::Result<usize>> {
        let polled = self.shard.poll(cx, self.conn, Side::Write, |inner, now| {
            let mut ends = false;
            let filled = inner.stack.tcp_send_with(now, self.conn, most, |out| {
                ends = fill(out)?;
                Ok(())
            });
            inner.postpone(ends);
            filled
        });
        polled.map(|outer| outer.and_then(|filled| filled))
    }

    /// Sends what [`poll_send_with`](Self::poll_send_with) holds back for more to come: there is no more for now.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn push(&self) -> io::Result<()> {
        self.shard.call(|stack, now| stack.tcp_push(now, self.conn))
    }

    /// Queues what fits of `data` without copying it, as MSG_ZEROCOPY does; `data` is what is left then. Waits until some
    /// fits. Answers the number under which [`sent_shared`](Self::sent_shared) tells that these bytes are done with;
    /// numbers count from 0 on each connection.
    ///
    /// # Errors
    /// As `try_write`, but for `WouldBlock`; `ENOBUFS` where 1024 completions wait for their ACK or to be taken.
    pub async fn send_shared(&self, data: &mut Bytes) -> io::Result<u32> {
        let conn = self.conn;
        Wait::new(&self.shard, conn, WRITE, move |inner: &mut Inner, now| {
            if !inner.stack.tcp_takes_completion(conn)? {
                return Err(Error::NoBufferSpace);
            }
            let taken =
                inner.stack.tcp_send_shared(now, conn, std::slice::from_ref(data), SendFlags::default())?;
            data.advance(taken);
            inner.stack.tcp_ask_completion(now, conn)
        })
        .await
    }

    /// [`send_shared`](Self::send_shared) that tells how many bytes were queued, and never when they are done with: for
    /// data that may stay as it is for as long as anybody holds it. It costs no copy into the send buffer.
    ///
    /// # Errors
    /// As `try_write`, but for `WouldBlock`.
    pub async fn send_bytes(&self, data: &mut Bytes) -> io::Result<usize> {
        let conn = self.conn;
        Wait::new(&self.shard, conn, WRITE, move |inner: &mut Inner, now| {
            let flags = SendFlags::default();
            let taken = inner.stack.tcp_send_shared(now, conn, std::slice::from_ref(data), flags)?;
            data.advance(taken);
            Ok(taken)
        })
        .await
    }

    /// Waits until something that [`send_shared`](Self::send_shared) queued is done with: acknowledged by the peer, or
    /// given up with the connection. The network holds those bytes no more. Answers the numbers of all that are, as
    /// far as they follow each other.
    ///
    /// # Errors
    /// The network was shut down.
    pub async fn sent_shared(&self) -> io::Result<Range<u32>> {
        let conn = self.conn;
        Wait::new(&self.shard, conn, Ready::COMPLETED | Ready::ERROR, move |inner: &mut Inner, _| {
            inner.stack.tcp_take_completion(conn)?.ok_or(Error::WouldBlock)
        })
        .await
    }

    /// Holds back the acknowledgement of everything that the peer sends from now on, until
    /// [`ack_to`](Self::ack_to) allows it; `false` acknowledges all that is here. Then the peer's SO_LINGER and
    /// SIOCOUTQ tell what the far side of a relay has, not what the relay has. The peer sends again what is held for
    /// longer than its retransmission time-out. The FIN of a peer that closes last is acknowledged all the same.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn hold_acks(&self, hold: bool) -> io::Result<()> {
        self.shard.call(|stack, now| stack.tcp_hold_acks(now, self.conn, hold))
    }

    /// Allows to acknowledge the first `count` bytes of the peer's stream; the FIN behind them counts as one.
    ///
    /// # Errors
    /// ACKs are not [held](Self::hold_acks) (`InvalidInput`); the network was shut down.
    pub fn ack_to(&self, count: u64) -> io::Result<()> {
        self.shard.call(|stack, now| stack.tcp_ack_to(now, self.conn, count))
    }
}
