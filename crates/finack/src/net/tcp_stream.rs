//! A TCP connection.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut;
use finack_core::options::{RecvFlags, SendFlags, Shutdown, SocketOptions};
use finack_core::stack::{ConnId, Ready as CoreReady};
use finack_core::tcp::{State, TcpInfo};
use finack_core::{Error, Instant, Stack};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};

use super::addr::{ToSocketAddrs, no_address, shown};
use super::ready::{mask, to_tokio};
use super::tcp_split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use crate::error::to_io;
use crate::host::Net;
use crate::shard::{ANY, Home, Inner, READ, Side, WRITE, Wait};

/// Bytes that `try_read_buf` moves through the stack for buffers that can't be lent to the engine.
const BOUNCE: usize = 8 * 1024;

const PEEK: RecvFlags = RecvFlags { peek: true, oob: false };

/// A TCP connection, with the methods of `tokio::net::TcpStream`.
///
/// Dropping it closes it in the background: what was written is still delivered, then a FIN follows;
/// with unread data (RFC 1122 4.2.2.13) or a linger time of zero the connection is reset instead.
/// [`close`](Self::close) does the same and can wait for the end.
pub struct TcpStream {
    pub(super) shard: Home,
    pub(super) conn: ConnId,
    /// Made for IPv6: shows IPv4 addresses as mapped ones, as Linux does (RFC 4291 2.5.5.2).
    v6: bool,
    /// The engine still knows `conn` as ours.
    open: bool,
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("TcpStream");
        if let (Ok(local), Ok(peer)) = (self.local_addr(), self.peer_addr()) {
            out.field("local", &local).field("peer", &peer);
        }
        out.finish_non_exhaustive()
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        if self.open {
            // As with close(2) in a destructor: nobody is left to hear of an error.
            let _ = self.shard.close(self.conn, |stack, now| stack.tcp_close(now, self.conn));
        }
    }
}

/// Answers [`Error::WouldBlock`] for as long as the connection is being opened.
fn opened(stack: &mut Stack, conn: ConnId) -> Result<(), Error> {
    if let Some(error) = stack.tcp_take_error(conn)? {
        return Err(error);
    }
    match stack.tcp_state(conn)? {
        State::SynSent | State::SynReceived => Err(Error::WouldBlock),
        // Without an error of its own: shut down while it was being opened.
        State::Closed => Err(Error::ConnectionAborted),
        _ => Ok(()),
    }
}

/// What the connection is ready for, where that is something of `mask`.
fn ready_for(stack: &mut Stack, conn: ConnId, mask: CoreReady) -> Result<CoreReady, Error> {
    let ready = stack.tcp_ready(conn)?;
    if ready.intersects(mask) {
        return Ok(ready);
    }
    if mask.intersects(CoreReady::WRITABLE) {
        stack.tcp_await_room(conn)?;
    }
    Err(Error::WouldBlock)
}

/// Writes as much of all slices as fits; what follows a slice is announced, so that no partial segment
/// goes out between two of them.
fn send_all(stack: &mut Stack, now: Instant, conn: ConnId, slices: &[IoSlice<'_>]) -> Result<usize, Error> {
    let mut sent = 0;
    let mut rest = slices.iter().filter(|slice| !slice.is_empty()).peekable();
    while let Some(slice) = rest.next() {
        let flags = SendFlags { more: rest.peek().is_some(), ..SendFlags::default() };
        match stack.tcp_send(now, conn, slice, flags) {
            Ok(n) => {
                sent += n;
                if n < slice.len() {
                    break;
                }
            }
            Err(_) if sent > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// Reads into each slice in turn until nothing more is there.
fn recv_all(
    stack: &mut Stack,
    now: Instant,
    conn: ConnId,
    slices: &mut [IoSliceMut<'_>],
) -> Result<usize, Error> {
    let mut read = 0;
    for slice in slices.iter_mut().filter(|slice| !slice.is_empty()) {
        match stack.tcp_recv(now, conn, slice, RecvFlags::default()) {
            Ok(n) => {
                read += n;
                if n < slice.len() {
                    break;
                }
            }
            Err(_) if read > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

impl TcpStream {
    /// The stream of a connection that the engine just gave us.
    pub(super) const fn new(shard: Home, conn: ConnId, v6: bool) -> Self {
        Self { shard, conn, v6, open: true }
    }

    /// Opens a connection in the current network, trying each address until one answers.
    ///
    /// # Errors
    /// No network is current; no address succeeded: `ConnectionRefused`, `TimedOut`, `HostUnreachable`,
    /// `NetworkUnreachable`, `AddrNotAvailable` as the last of them failed.
    pub async fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<Self> {
        Self::connect_on(&Net::current()?, addr).await
    }

    /// [`connect`](Self::connect) in the network that is named.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_on<A: ToSocketAddrs>(net: &Net, addr: A) -> io::Result<Self> {
        let mut last = None;
        for addr in addr.to_socket_addrs()? {
            let started = net.shards.connect(net.pin, None, addr, SocketOptions::default(), |_, _, _| Ok(()));
            let result = match started {
                Ok((shard, conn)) => Self::new(shard, conn, addr.is_ipv6()).opened().await,
                Err(error) => Err(error),
            };
            match result {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_address))
    }

    /// Waits until the connection is open or failed. Dropping the future gives the attempt up.
    pub(super) async fn opened(self) -> io::Result<Self> {
        let conn = self.conn;
        Wait::new(&self.shard, conn, ANY, |inner: &mut Inner, _| opened(&mut inner.stack, conn)).await?;
        Ok(self)
    }

    /// Which [shard](crate::NetBuilder::shards) of the network it belongs to.
    pub const fn shard(&self) -> usize {
        self.shard.index()
    }

    fn call<R>(&self, call: impl FnOnce(&mut Stack, Instant) -> Result<R, Error>) -> io::Result<R> {
        self.shard.call(call)
    }

    fn set(&self, change: impl FnOnce(&mut SocketOptions)) -> io::Result<()> {
        self.call(|stack, now| {
            let mut options = stack.tcp_options(self.conn)?;
            change(&mut options);
            stack.tcp_set_options(now, self.conn, options)
        })
    }

    /// All options at once.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn options(&self) -> io::Result<SocketOptions> {
        self.shard.query(|stack, _| stack.tcp_options(self.conn))
    }

    /// Replaces all options at once; what they allow to be sent now is sent.
    ///
    /// # Errors
    /// A value makes no sense (`InvalidInput`).
    pub fn set_options(&self, options: SocketOptions) -> io::Result<()> {
        self.call(|stack, now| stack.tcp_set_options(now, self.conn, options))
    }

    /// This end's address.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let addr = self.shard.query(|stack, _| stack.tcp_local_addr(self.conn))?;
        Ok(shown(addr, self.v6))
    }

    /// The other end's address.
    ///
    /// # Errors
    /// The connection is not open yet, or is over (`NotConnected`).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let addr = self.shard.query(|stack, _| match stack.tcp_state(self.conn)? {
            State::SynSent | State::Closed => Err(Error::NotConnected),
            _ => stack.tcp_remote_addr(self.conn),
        })?;
        Ok(shown(addr, self.v6))
    }

    /// What Linux's `TCP_INFO` tells: state, round trip, windows, counts.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn tcp_info(&self) -> io::Result<TcpInfo> {
        self.shard.query(|stack, now| stack.tcp_info(now, self.conn))
    }

    /// SO_ERROR: the pending error, cleared by asking.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(self.call(|stack, _| stack.tcp_take_error(self.conn))?.map(to_io))
    }

    /// Waits until the connection is ready for something of `interest`, and says for what.
    ///
    /// # Errors
    /// The network was shut down.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        let (conn, mask) = (self.conn, mask(interest));
        let found = Wait::new(&self.shard, conn, mask | CoreReady::ERROR, move |inner: &mut Inner, _| {
            ready_for(&mut inner.stack, conn, mask)
        });
        Ok(to_tokio(found.await?, mask))
    }

    /// Waits until there is something to read: data, the end of the stream, or an error.
    ///
    /// # Errors
    /// The network was shut down.
    pub async fn readable(&self) -> io::Result<()> {
        self.ready(Interest::READABLE).await.map(drop)
    }

    /// Waits until something can be written, or an error is to be had.
    ///
    /// # Errors
    /// The network was shut down.
    pub async fn writable(&self) -> io::Result<()> {
        self.ready(Interest::WRITABLE).await.map(drop)
    }

    fn poll_ready(&self, cx: &mut Context<'_>, side: Side, interest: Interest) -> Poll<io::Result<()>> {
        let mask = mask(interest);
        self.shard
            .poll(cx, self.conn, side, |inner, _| ready_for(&mut inner.stack, self.conn, mask).map(drop))
    }

    /// Polls [`readable`](Self::readable); only the last task to do so, or to `poll_read`, is woken.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ready(cx, Side::Read, Interest::READABLE)
    }

    /// Polls [`writable`](Self::writable); only the last task to do so, or to `poll_write`, is woken.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ready(cx, Side::Write, Interest::WRITABLE)
    }

    /// Reads what is there. `Ok(0)` is the end of the stream (for a buffer that is not empty).
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there yet; `ConnectionReset`, `TimedOut` and the like once.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.call(|stack, now| stack.tcp_recv(now, self.conn, buf, RecvFlags::default()))
    }

    /// [`try_read`](Self::try_read) into several buffers, in order.
    ///
    /// # Errors
    /// As [`try_read`](Self::try_read).
    pub fn try_read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.call(|stack, now| recv_all(stack, now, self.conn, bufs))
    }

    /// [`try_read`](Self::try_read) to the end of `buf`, at most 8 KiB a call (they are copied once more
    /// than by `try_read`).
    ///
    /// # Errors
    /// As [`try_read`](Self::try_read).
    pub fn try_read_buf<B: BufMut>(&self, buf: &mut B) -> io::Result<usize> {
        let mut bounce = [0; BOUNCE];
        let room = buf.remaining_mut().min(BOUNCE);
        let n = self.try_read(&mut bounce[..room])?;
        buf.put_slice(&bounce[..n]);
        Ok(n)
    }

    /// Writes what fits into the send buffer.
    ///
    /// # Errors
    /// `WouldBlock` where nothing fits; `BrokenPipe` after `shutdown` or once a reset was reported.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.call(|stack, now| stack.tcp_send(now, self.conn, buf, SendFlags::default()))
    }

    /// [`try_write`](Self::try_write) from several buffers, in order.
    ///
    /// # Errors
    /// As [`try_write`](Self::try_write).
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.call(|stack, now| send_all(stack, now, self.conn, bufs))
    }

    /// Reads without taking, waiting for something to be there.
    ///
    /// # Errors
    /// As [`try_read`](Self::try_read), but for `WouldBlock`.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        let conn = self.conn;
        Wait::new(&self.shard, conn, READ, |inner: &mut Inner, now| {
            inner.stack.tcp_recv(now, conn, buf, PEEK)
        })
        .await
    }

    /// Polls [`peek`](Self::peek).
    pub fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let n = ready!(self.shard.poll(cx, self.conn, Side::Read, |inner, now| {
            inner.stack.tcp_recv(now, self.conn, buf.initialize_unfilled(), PEEK)
        }))?;
        buf.advance(n);
        Poll::Ready(Ok(n))
    }

    pub(crate) fn poll_read_into(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let n = ready!(self.shard.poll(cx, self.conn, Side::Read, |inner, now| {
            inner.stack.tcp_recv(now, self.conn, buf.initialize_unfilled(), RecvFlags::default())
        }))?;
        buf.advance(n);
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_write_from(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.shard.poll(cx, self.conn, Side::Write, |inner, now| {
            inner.stack.tcp_send(now, self.conn, buf, SendFlags::default())
        })
    }

    pub(super) fn poll_write_from_all(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.shard
            .poll(cx, self.conn, Side::Write, |inner, now| send_all(&mut inner.stack, now, self.conn, bufs))
    }

    /// Half-close: a FIN follows what was written, reading goes on (RFC 9293 3.6).
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.call(|stack, now| stack.tcp_shutdown(now, self.conn, Shutdown::Write))
    }

    /// Half-close as tokio's `poll_shutdown` has it: a connection that is over needs none.
    pub(crate) fn end_writing(&self) -> io::Result<()> {
        match self.shutdown_write() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }

    /// SHUT_RD: what is queued or still comes is not read any more; purely local, as on Linux.
    ///
    /// # Errors
    /// The connection is over (`NotConnected`).
    pub fn shutdown_read(&self) -> io::Result<()> {
        self.call(|stack, now| stack.tcp_shutdown(now, self.conn, Shutdown::Read))
    }

    /// Writes `buf`, its last byte as urgent data (MSG_OOB; RFC 9293 3.8.5, RFC 6093).
    ///
    /// # Errors
    /// As [`try_write`](Self::try_write), but for `WouldBlock`: it waits for room.
    pub async fn send_urgent(&self, buf: &[u8]) -> io::Result<usize> {
        let (conn, flags) = (self.conn, SendFlags { oob: true, ..SendFlags::default() });
        Wait::new(&self.shard, conn, WRITE, move |inner: &mut Inner, now| {
            inner.stack.tcp_send(now, conn, buf, flags)
        })
        .await
    }

    /// Reads the urgent byte (MSG_OOB); wait for one with [`ready`](Self::ready) and [`Interest::PRIORITY`].
    ///
    /// # Errors
    /// `InvalidInput` where none was sent, or it is read in line (SO_OOBINLINE); `WouldBlock` where it was
    /// announced and has not come yet.
    pub fn recv_urgent(&self) -> io::Result<u8> {
        let mut byte = [0];
        let flags = RecvFlags { peek: false, oob: true };
        match self.call(|stack, now| stack.tcp_recv(now, self.conn, &mut byte, flags))? {
            0 => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            _ => Ok(byte[0]),
        }
    }

    /// TCP_NODELAY.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn nodelay(&self) -> io::Result<bool> {
        Ok(self.options()?.nodelay)
    }

    /// TCP_NODELAY: small segments go out at once (switches Nagle's algorithm off).
    ///
    /// # Errors
    /// The network was shut down.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.set(|o| o.nodelay = nodelay)
    }

    /// TCP_QUICKACK.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn quickack(&self) -> io::Result<bool> {
        Ok(self.options()?.quickack)
    }

    /// TCP_QUICKACK: ACKs are not delayed.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        self.set(|o| o.quickack = quickack)
    }

    /// SO_LINGER.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        Ok(self.options()?.linger)
    }

    /// SO_LINGER: `None` closes in the background, zero closes with a RST, any other time is how long
    /// [`close`](Self::close) waits for the peer to acknowledge everything. Dropping never waits.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn set_linger(&self, dur: Option<Duration>) -> io::Result<()> {
        self.set(|o| o.linger = dur)
    }

    /// SO_LINGER with zero: closing resets the connection.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.set_linger(Some(Duration::ZERO))
    }

    /// IP_TTL.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn ttl(&self) -> io::Result<u32> {
        self.shard.query(|stack, _| {
            let options = stack.tcp_options(self.conn)?;
            let default = u8::try_from(stack.settings().ip_default_ttl).unwrap_or(u8::MAX);
            Ok(u32::from(options.hop_limit.unwrap_or(default)))
        })
    }

    /// IP_TTL: the hop limit of what is sent, 1 to 255.
    ///
    /// # Errors
    /// Out of that range (`InvalidInput`).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let ttl = u8::try_from(ttl).ok().filter(|&ttl| ttl > 0);
        let ttl = ttl.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        self.set(|o| o.hop_limit = Some(ttl))
    }

    /// Splits into halves that borrow the stream.
    pub const fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf::new(self), WriteHalf::new(self))
    }

    /// Splits into halves that may go to different tasks. Dropping the write half closes that direction.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        super::tcp_split::split_owned(self)
    }

    /// Closes the connection as `close(2)` does with the SO_LINGER that is set: without it the call returns
    /// at once and closing goes on in the background; with zero the connection is reset; with a time it
    /// waits until the peer has acknowledged all data and the FIN.
    ///
    /// The time counts from the call. Dropping the future goes on closing in the background.
    ///
    /// # Errors
    /// `TimedOut` where the linger time ran out (closing then goes on in the background); what the
    /// connection failed with while it was waited for. Data that was not read resets the connection
    /// (RFC 1122 4.2.2.13), which is no error here.
    pub async fn close(mut self) -> io::Result<()> {
        let lingers = self.options().ok().and_then(|o| o.linger).filter(|time| !time.is_zero());
        let waited = match lingers {
            Some(time) if !self.has_unread() => self.linger_for(time).await,
            _ => Ok(()),
        };
        self.open = false;
        let closed = self.shard.close(self.conn, |stack, now| stack.tcp_close(now, self.conn));
        waited.and(closed)
    }

    fn has_unread(&self) -> bool {
        let ready = self.shard.query(|stack, now| Ok(stack.tcp_info(now, self.conn)?.recv_queue > 0));
        ready.unwrap_or(false)
    }

    async fn linger_for(&self, time: Duration) -> io::Result<()> {
        self.end_writing()?;
        let conn = self.conn;
        let acknowledged = Wait::new(&self.shard, conn, ANY, |inner: &mut Inner, _| {
            if let Some(error) = inner.stack.tcp_take_error(conn)? {
                return Err(error);
            }
            if inner.stack.tcp_unacknowledged(conn)? { Err(Error::WouldBlock) } else { Ok(()) }
        });
        let timed = {
            // The timer is the driver's runtime's, whatever polls this future.
            let _entered = self.shard.runtime().enter();
            tokio::time::timeout(time, acknowledged)
        };
        match timed.await {
            Ok(result) => result,
            Err(_) => Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
        }
    }

    /// Resets the connection: what was not yet delivered is lost, the peer sees `ConnectionReset`.
    ///
    /// # Errors
    /// The connection is over already (`NotConnected`).
    pub fn abort(mut self) -> io::Result<()> {
        self.open = false;
        self.shard.close(self.conn, |stack, now| stack.tcp_abort(now, self.conn))
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_read_into(cx, buf)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_from(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_from_all(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing is held back here: what was written is the engine's.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Half-close: a FIN follows what was written, reading goes on. On a connection that is over it is done already.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.end_writing())
    }
}
