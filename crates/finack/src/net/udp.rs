//! A UDP socket.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use finack_core::options::BindOptions;
use finack_core::stack::{Ready as CoreReady, UdpId, UdpRecv};
use finack_core::{Error, Instant, Stack};
use tokio::io::{Interest, ReadBuf, Ready};

use super::addr::{ToSocketAddrs, first_of, no_address};
use super::ready::{mask, to_tokio};
use crate::error::to_io;
use crate::host::Net;
use crate::shard::{Everywhere, Inner, READ, Side, WRITE};

/// The largest payload of a UDP datagram, in bytes.
const MAX_DATAGRAM: usize = 65_527;

/// Datagrams that go as one packet at most, and their bytes.
const RUN: usize = 64;
const RUN_BYTES: usize = 65_000;

/// What is no shard: a socket that is not connected belongs to all.
const NOWHERE: usize = usize::MAX;

/// A UDP socket, with the methods of `tokio::net::UdpSocket`.
///
/// A datagram larger than the buffer it is received into is cut, as with the kernel's sockets. Dropping
/// the socket closes it.
pub struct UdpSocket {
    parts: Everywhere<UdpId>,
    /// Once it is connected, the shard that all comes to and goes from.
    home: AtomicUsize,
    bound: SocketAddr,
    broadcast: AtomicBool,
    /// Hop limits that were set; 0 means the default.
    ttl: AtomicU8,
    multicast_ttl: AtomicU8,
    tos: AtomicU8,
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("UdpSocket");
        if let Ok(local) = self.local_addr() {
            out.field("local", &local);
        }
        out.finish_non_exhaustive()
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.parts.close(|stack, _, socket| stack.udp_close(socket));
    }
}

fn recv(inner: &mut Inner, socket: UdpId, buf: &mut [u8], peek: bool) -> Result<(usize, SocketAddr), Error> {
    let UdpRecv { len, from, .. } = inner.stack.udp_recv(socket, buf, peek)?;
    Ok((len, from))
}

/// The shards whose part of a socket can send.
#[derive(Default)]
struct Room([u64; 4]);

impl Room {
    fn set(&mut self, shard: usize, on: bool) {
        if let Some(word) = self.0.get_mut(shard / 64) {
            *word = *word & !(1 << (shard % 64)) | u64::from(on) << (shard % 64);
        }
    }

    fn has(&self, shard: usize) -> bool {
        self.0.get(shard / 64).is_some_and(|word| word >> (shard % 64) & 1 == 1)
    }
}

/// Sends `buf` as datagrams of `each` bytes, up to [`RUN`] of them in one packet; how many bytes went.
fn send_run(
    stack: &mut Stack,
    now: Instant,
    socket: UdpId,
    buf: &[u8],
    each: usize,
    to: SocketAddr,
) -> Result<usize, Error> {
    if each == 0 {
        return Err(Error::InvalidArgument);
    }
    let at_once = (RUN_BYTES / each).clamp(1, RUN);
    let mut sent = 0;
    for run in buf.chunks(each * at_once) {
        let mut parts: [&[u8]; RUN] = [&[]; RUN];
        let mut count = 0;
        for (slot, part) in parts.iter_mut().zip(run.chunks(each)) {
            *slot = part;
            count += 1;
        }
        match stack.udp_send_run(now, socket, Some(to), &parts[..count]) {
            Ok(went) => {
                sent += parts[..went].iter().map(|part| part.len()).sum::<usize>();
                if went < count {
                    break;
                }
            }
            Err(_) if sent > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

fn checked_ttl(ttl: u32) -> io::Result<u8> {
    let ttl = u8::try_from(ttl).ok().filter(|&ttl| ttl > 0);
    ttl.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

impl UdpSocket {
    /// Binds to the first of the addresses that can be had in the current network; port 0 lets the engine
    /// choose one.
    ///
    /// # Errors
    /// No network is current; `AddrInUse`, `AddrNotAvailable` as the last address failed.
    pub async fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<Self> {
        Self::bind_on(&Net::current()?, addr).await
    }

    /// [`bind`](Self::bind) in the network that is named.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub async fn bind_on<A: ToSocketAddrs>(net: &Net, addr: A) -> io::Result<Self> {
        Self::bind_with(net, addr, BindOptions::default())
    }

    /// [`bind`](Self::bind) with SO_REUSEADDR and the like.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_with<A: ToSocketAddrs>(net: &Net, addr: A, options: BindOptions) -> io::Result<Self> {
        first_of(addr, |addr| {
            let parts = net.shards.open_all(|stacks, _| Stack::udp_bind_all(stacks, addr, options))?;
            let bound = parts.first(|stack, _, socket| stack.udp_local_addr(socket))?;
            Ok(Self {
                parts,
                home: AtomicUsize::new(NOWHERE),
                bound,
                broadcast: AtomicBool::new(false),
                ttl: AtomicU8::new(0),
                multicast_ttl: AtomicU8::new(0),
                tos: AtomicU8::new(0),
            })
        })
    }

    /// A call on all parts.
    fn call(&self, mut call: impl FnMut(&mut Stack, UdpId) -> Result<(), Error>) -> io::Result<()> {
        self.parts.each(|stack, _, socket| call(stack, socket))
    }

    /// Sets the other end: [`send`](Self::send) goes there, and only what comes from there is received.
    ///
    /// # Errors
    /// No route leads there, or it is of the wrong family.
    pub async fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<()> {
        first_of(addr, |addr| self.call(|stack, socket| stack.udp_connect(socket, Some(addr))))?;
        let flow =
            |stack: &Stack, _, socket| Ok((stack.udp_local_addr(socket)?, stack.udp_remote_addr(socket)?));
        if let (local, Some(remote)) = self.parts.first(flow)? {
            self.home.store(self.parts.shards().of_flow(local, remote), Ordering::Relaxed);
        }
        Ok(())
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.parts.first(|stack, _, socket| stack.udp_local_addr(socket))
    }

    /// The other end.
    ///
    /// # Errors
    /// None is set (`NotConnected`).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.parts.first(|stack, _, socket| stack.udp_remote_addr(socket)?.ok_or(Error::NotConnected))
    }

    /// SO_ERROR: the pending error (an ICMP message that concerned this socket), cleared by asking.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        let taken = self
            .parts
            .try_any(|stack, _, socket| stack.udp_take_error(socket)?.map(to_io).ok_or(Error::WouldBlock));
        match taken {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            taken => taken.map(Some),
        }
    }

    /// Datagrams that were dropped because the receive buffer was full.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn drops(&self) -> io::Result<u64> {
        Ok(self.parts.look(|stack, socket| stack.udp_drops(socket))?.into_iter().sum())
    }

    /// SO_RCVBUF in bytes.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn set_recv_buffer_size(&self, size: u32) -> io::Result<()> {
        self.call(|stack, socket| stack.udp_set_buffers(socket, Some(size as usize), None))
    }

    /// SO_SNDBUF in bytes.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn set_send_buffer_size(&self, size: u32) -> io::Result<()> {
        self.call(|stack, socket| stack.udp_set_buffers(socket, None, Some(size as usize)))
    }
}

/// Readiness.
impl UdpSocket {
    /// Waits until the socket is ready for something of `interest`, and says for what.
    ///
    /// # Errors
    /// The network was shut down.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        let (mask, mut room) = (mask(interest), Room::default());
        let ready = self
            .parts
            .any(mask, |inner: &mut Inner, _, socket| self.ready_for(inner, socket, mask, &mut room));
        Ok(to_tokio(ready.await?.1, mask))
    }

    /// What one part is ready for, where that is something of `mask`. For writing all parts must have room from which
    /// the next datagram may go.
    fn ready_for(
        &self,
        inner: &Inner,
        socket: UdpId,
        mask: CoreReady,
        room: &mut Room,
    ) -> Result<CoreReady, Error> {
        let mut ready = inner.stack.udp_ready(socket)?;
        let (shard, count) = (inner.shard(), self.parts.shards().len());
        room.set(shard, ready.intersects(CoreReady::WRITABLE));
        let has_room = match self.home.load(Ordering::Relaxed) {
            NOWHERE => (0..count).all(|shard| room.has(shard)),
            home => room.has(home),
        };
        if !has_room {
            ready = CoreReady(ready.0 & !CoreReady::WRITABLE.0);
        }
        if ready.intersects(mask) { Ok(ready) } else { Err(Error::WouldBlock) }
    }

    /// Waits until there is a datagram or an error to receive.
    ///
    /// # Errors
    /// The network was shut down.
    pub async fn readable(&self) -> io::Result<()> {
        self.ready(Interest::READABLE).await.map(drop)
    }

    /// Waits until a datagram can be sent.
    ///
    /// # Errors
    /// The network was shut down.
    pub async fn writable(&self) -> io::Result<()> {
        self.ready(Interest::WRITABLE).await.map(drop)
    }

    fn poll_ready(&self, cx: &mut Context<'_>, side: Side, interest: Interest) -> Poll<io::Result<()>> {
        let (mask, mut room) = (mask(interest), Room::default());
        let ready = |inner: &mut Inner, _, socket| self.ready_for(inner, socket, mask, &mut room);
        self.parts.poll_any(cx, side, ready).map_ok(drop)
    }

    /// Polls [`readable`](Self::readable); only the last task to do so, or to `poll_recv`, is woken.
    pub fn poll_recv_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ready(cx, Side::Read, Interest::READABLE)
    }

    /// Polls [`writable`](Self::writable); only the last task to do so, or to `poll_send`, is woken.
    pub fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ready(cx, Side::Write, Interest::WRITABLE)
    }
}

/// Sending.
impl UdpSocket {
    /// The shard that answers to a datagram come to: sent from there, it is found there.
    fn sender(&self, to: Option<SocketAddr>) -> usize {
        let shards = self.parts.shards();
        if shards.len() == 1 {
            return 0;
        }
        match to {
            // Not connected: any part says so.
            None => self.home.load(Ordering::Relaxed),
            Some(to) => match shards.source(self.bound.ip(), to.ip()) {
                Some(source) => shards.of_flow(SocketAddr::new(source, self.bound.port()), to),
                // Which of the host's addresses it comes from is the engine's to say.
                None => {
                    self.parts.first(|stack, _, socket| Ok(stack.udp_shard_of(socket, Some(to)))).unwrap_or(0)
                }
            },
        }
    }

    fn try_send_any(&self, to: Option<SocketAddr>, buf: &[u8]) -> io::Result<usize> {
        self.parts.on(self.sender(to), |stack, now, socket| stack.udp_send(now, socket, to, buf))
    }

    async fn send_any(&self, to: Option<SocketAddr>, buf: &[u8]) -> io::Result<usize> {
        let send = |inner: &mut Inner, now, socket| inner.stack.udp_send(now, socket, to, buf);
        self.parts.wait_on(self.sender(to), WRITE, send).await
    }

    fn poll_send_any(
        &self,
        cx: &mut Context<'_>,
        to: Option<SocketAddr>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let send = |inner: &mut Inner, now, socket| inner.stack.udp_send(now, socket, to, buf);
        self.parts.poll_on(cx, self.sender(to), Side::Write, send)
    }

    /// Sends a datagram to the other end.
    ///
    /// # Errors
    /// None is set (`EDESTADDRREQ`); too long (`EMSGSIZE`); an ICMP error that came before (`ConnectionRefused`).
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.send_any(None, buf).await
    }

    /// Polls [`send`](Self::send).
    pub fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send_any(cx, None, buf)
    }

    /// [`send`](Self::send), now or never.
    ///
    /// # Errors
    /// As [`send`](Self::send); `WouldBlock` where the send buffer is full.
    pub fn try_send(&self, buf: &[u8]) -> io::Result<usize> {
        self.try_send_any(None, buf)
    }

    /// Sends a datagram to the first of the addresses.
    ///
    /// # Errors
    /// Too long (`EMSGSIZE`); no route (`NetworkUnreachable`); broadcast without
    /// [`set_broadcast`](Self::set_broadcast) (`PermissionDenied`).
    pub async fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], addr: A) -> io::Result<usize> {
        let to = addr.to_socket_addrs()?.next().ok_or_else(no_address)?;
        self.send_any(Some(to), buf).await
    }

    /// Polls [`send_to`](Self::send_to).
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.poll_send_any(cx, Some(target), buf)
    }

    /// [`send_to`](Self::send_to), now or never.
    ///
    /// # Errors
    /// As [`send_to`](Self::send_to); `WouldBlock` where the send buffer is full.
    pub fn try_send_to(&self, buf: &[u8], target: SocketAddr) -> io::Result<usize> {
        self.try_send_any(Some(target), buf)
    }
}

/// Many at once, which `tokio::net::UdpSocket` does not have.
impl UdpSocket {
    /// Sends `buf` to `target` as datagrams of `each` bytes, of which the last may be shorter (UDP_SEGMENT): with one call,
    /// and as packets of up to 64 datagrams to a device that cuts them. Answers the bytes sent, as many as there was room
    /// for.
    ///
    /// # Errors
    /// `each` is 0 or a datagram of that size can't be (`InvalidInput`, `EMSGSIZE`); as [`send_to`](Self::send_to).
    pub async fn send_run_to(&self, buf: &[u8], each: usize, target: SocketAddr) -> io::Result<usize> {
        let send =
            |inner: &mut Inner, now, socket| send_run(&mut inner.stack, now, socket, buf, each, target);
        self.parts.wait_on(self.sender(Some(target)), WRITE, send).await
    }

    /// [`send_run_to`](Self::send_run_to), now or never.
    ///
    /// # Errors
    /// As [`send_run_to`](Self::send_run_to); `WouldBlock` where the send buffer is full.
    pub fn try_send_run_to(&self, buf: &[u8], each: usize, target: SocketAddr) -> io::Result<usize> {
        let send = |stack: &mut Stack, now, socket| send_run(stack, now, socket, buf, each, target);
        self.parts.on(self.sender(Some(target)), send)
    }

    /// Receives the datagrams of one sender that are here, one after the other into `buf` (UDP_GRO): as many as fit and have
    /// the size of the first, but for a shorter one at the end; 64 at most. Answers the bytes of all, the size of the
    /// first, and the sender. What does not fit of the first is lost.
    ///
    /// # Errors
    /// As [`recv_from`](Self::recv_from).
    pub async fn recv_run_from(&self, buf: &mut [u8]) -> io::Result<(usize, usize, SocketAddr)> {
        let recv = |inner: &mut Inner, _, socket| inner.stack.udp_recv_run(socket, buf);
        let (_, (first, len)) = self.parts.any(READ, recv).await?;
        Ok((len, first.len, first.from))
    }

    /// [`recv_run_from`](Self::recv_run_from), now or never.
    ///
    /// # Errors
    /// As [`recv_run_from`](Self::recv_run_from); `WouldBlock` where nothing is there.
    pub fn try_recv_run_from(&self, buf: &mut [u8]) -> io::Result<(usize, usize, SocketAddr)> {
        let (first, len) = self.parts.try_any(|stack, _, socket| stack.udp_recv_run(socket, buf))?;
        Ok((len, first.len, first.from))
    }
}

/// Receiving.
impl UdpSocket {
    fn try_recv_any(&self, buf: &mut [u8], peek: bool) -> io::Result<(usize, SocketAddr)> {
        self.parts.try_any(|stack, _, socket| {
            let UdpRecv { len, from, .. } = stack.udp_recv(socket, buf, peek)?;
            Ok((len, from))
        })
    }

    async fn recv_any(&self, buf: &mut [u8], peek: bool) -> io::Result<(usize, SocketAddr)> {
        let recv = |inner: &mut Inner, _, socket| recv(inner, socket, buf, peek);
        self.parts.any(READ, recv).await.map(|(_, received)| received)
    }

    fn poll_recv_any(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        peek: bool,
    ) -> Poll<io::Result<SocketAddr>> {
        let (_, (n, from)) = ready!(self.parts.poll_any(cx, Side::Read, |inner, _, socket| {
            recv(inner, socket, buf.initialize_unfilled(), peek)
        }))?;
        buf.advance(n);
        Poll::Ready(Ok(from))
    }

    /// Receives a datagram.
    ///
    /// # Errors
    /// An ICMP error that concerns a connected socket (`ConnectionRefused` and the like), once.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.recv_any(buf, false).await?.0)
    }

    /// Polls [`recv`](Self::recv).
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_recv_any(cx, buf, false).map_ok(drop)
    }

    /// [`recv`](Self::recv), now or never.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `WouldBlock` where nothing is there.
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.try_recv_any(buf, false)?.0)
    }

    /// Receives a datagram and its sender.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.recv_any(buf, false).await
    }

    /// Polls [`recv_from`](Self::recv_from).
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        self.poll_recv_any(cx, buf, false)
    }

    /// [`recv_from`](Self::recv_from), now or never.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `WouldBlock` where nothing is there.
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.try_recv_any(buf, false)
    }

    /// Receives a datagram and all that its header told: also where it was addressed to, its TOS, its hop
    /// limit, and its length where the buffer was too small for it (what `recvmsg` is asked for).
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_msg(&self, buf: &mut [u8]) -> io::Result<UdpRecv> {
        let recv = |inner: &mut Inner, _, socket| inner.stack.udp_recv(socket, buf, false);
        self.parts.any(READ, recv).await.map(|(_, received)| received)
    }

    /// Looks at the next datagram and leaves it.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.recv_any(buf, true).await?.0)
    }

    /// Polls [`peek`](Self::peek).
    pub fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_recv_any(cx, buf, true).map_ok(drop)
    }

    /// [`peek`](Self::peek), now or never.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `WouldBlock` where nothing is there.
    pub fn try_peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.try_recv_any(buf, true)?.0)
    }

    /// Looks at the next datagram and its sender and leaves it.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.recv_any(buf, true).await
    }

    /// Polls [`peek_from`](Self::peek_from).
    pub fn poll_peek_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        self.poll_recv_any(cx, buf, true)
    }

    /// [`peek_from`](Self::peek_from), now or never.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `WouldBlock` where nothing is there.
    pub fn try_peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.try_recv_any(buf, true)
    }

    /// Who sent the next datagram, which is left.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn peek_sender(&self) -> io::Result<SocketAddr> {
        Ok(self.recv_any(&mut [], true).await?.1)
    }

    /// Polls [`peek_sender`](Self::peek_sender).
    pub fn poll_peek_sender(&self, cx: &mut Context<'_>) -> Poll<io::Result<SocketAddr>> {
        self.poll_recv_any(cx, &mut ReadBuf::new(&mut []), true)
    }

    /// [`peek_sender`](Self::peek_sender), now or never.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `WouldBlock` where nothing is there.
    pub fn try_peek_sender(&self) -> io::Result<SocketAddr> {
        Ok(self.try_recv_any(&mut [], true)?.1)
    }

    /// [`try_recv`](Self::try_recv) to the end of `buf`, which is copied once more.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv).
    pub fn try_recv_buf<B: BufMut>(&self, buf: &mut B) -> io::Result<usize> {
        Ok(self.try_recv_buf_from(buf)?.0)
    }

    /// [`try_recv_from`](Self::try_recv_from) to the end of `buf`, which is copied once more.
    ///
    /// # Errors
    /// As [`try_recv_from`](Self::try_recv_from).
    pub fn try_recv_buf_from<B: BufMut>(&self, buf: &mut B) -> io::Result<(usize, SocketAddr)> {
        let mut bounce = vec![0; buf.remaining_mut().min(MAX_DATAGRAM)];
        let (n, from) = self.try_recv_any(&mut bounce, false)?;
        buf.put_slice(&bounce[..n]);
        Ok((n, from))
    }

    /// [`recv`](Self::recv) to the end of `buf`, which is copied once more.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_buf<B: BufMut>(&self, buf: &mut B) -> io::Result<usize> {
        Ok(self.recv_buf_from(buf).await?.0)
    }

    /// [`recv_from`](Self::recv_from) to the end of `buf`, which is copied once more.
    ///
    /// # Errors
    /// As [`recv_from`](Self::recv_from).
    pub async fn recv_buf_from<B: BufMut>(&self, buf: &mut B) -> io::Result<(usize, SocketAddr)> {
        let mut bounce = vec![0; buf.remaining_mut().min(MAX_DATAGRAM)];
        let (n, from) = self.recv_any(&mut bounce, false).await?;
        buf.put_slice(&bounce[..n]);
        Ok((n, from))
    }
}

/// Options.
impl UdpSocket {
    /// SO_BROADCAST.
    ///
    /// # Errors
    /// Never.
    pub fn broadcast(&self) -> io::Result<bool> {
        Ok(self.broadcast.load(Ordering::Relaxed))
    }

    /// SO_BROADCAST: lets datagrams go to broadcast addresses.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn set_broadcast(&self, on: bool) -> io::Result<()> {
        self.call(|stack, socket| stack.udp_set_broadcast(socket, on))?;
        self.broadcast.store(on, Ordering::Relaxed);
        Ok(())
    }

    fn set_hop_limits(&self, unicast: u8, multicast: u8) -> io::Result<()> {
        let set = |ttl: u8| (ttl > 0).then_some(ttl);
        self.call(|stack, socket| stack.udp_set_hop_limit(socket, set(unicast), set(multicast)))?;
        self.ttl.store(unicast, Ordering::Relaxed);
        self.multicast_ttl.store(multicast, Ordering::Relaxed);
        Ok(())
    }

    /// IP_TTL.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn ttl(&self) -> io::Result<u32> {
        match self.ttl.load(Ordering::Relaxed) {
            0 => self.parts.first(|stack, _, _| {
                Ok(u32::try_from(stack.settings().ip_default_ttl).unwrap_or(u32::from(u8::MAX)))
            }),
            ttl => Ok(u32::from(ttl)),
        }
    }

    /// IP_TTL: the hop limit of what is sent, 1 to 255.
    ///
    /// # Errors
    /// Out of that range (`InvalidInput`).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.set_hop_limits(checked_ttl(ttl)?, self.multicast_ttl.load(Ordering::Relaxed))
    }

    /// IP_MULTICAST_TTL; 1 unless it was set.
    ///
    /// # Errors
    /// Never.
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        Ok(u32::from(self.multicast_ttl.load(Ordering::Relaxed).max(1)))
    }

    /// IP_MULTICAST_TTL: the hop limit of what is sent to groups, 1 to 255.
    ///
    /// # Errors
    /// Out of that range (`InvalidInput`).
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.set_hop_limits(self.ttl.load(Ordering::Relaxed), checked_ttl(ttl)?)
    }

    /// IP_TOS.
    ///
    /// # Errors
    /// Never.
    pub fn tos_v4(&self) -> io::Result<u32> {
        Ok(u32::from(self.tos.load(Ordering::Relaxed)))
    }

    /// IP_TOS of what is sent, 0 to 255.
    ///
    /// # Errors
    /// Out of that range (`InvalidInput`).
    pub fn set_tos_v4(&self, tos: u32) -> io::Result<()> {
        let tos = u8::try_from(tos).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        self.call(|stack, socket| stack.udp_set_tos(socket, tos))?;
        self.tos.store(tos, Ordering::Relaxed);
        Ok(())
    }

    /// IPV6_TCLASS, which is the same here as IP_TOS.
    ///
    /// # Errors
    /// Never.
    pub fn tclass_v6(&self) -> io::Result<u32> {
        self.tos_v4()
    }

    /// IPV6_TCLASS of what is sent, 0 to 255.
    ///
    /// # Errors
    /// Out of that range (`InvalidInput`).
    pub fn set_tclass_v6(&self, tclass: u32) -> io::Result<()> {
        self.set_tos_v4(tclass)
    }

    fn join(&self, group: IpAddr) -> io::Result<()> {
        self.call(|stack, socket| stack.udp_join(socket, group))
    }

    fn leave(&self, group: IpAddr) -> io::Result<()> {
        self.call(|stack, socket| stack.udp_leave(socket, group))
    }

    /// Receives what is sent to a group. The network has one interface: `interface` says nothing.
    ///
    /// # Errors
    /// No group address (`InvalidInput`), a member already (`AddrInUse`).
    pub fn join_multicast_v4(&self, multiaddr: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        let _ = interface;
        self.join(IpAddr::V4(multiaddr))
    }

    /// Receives what is sent to a group. The network has one interface: `interface` says nothing.
    ///
    /// # Errors
    /// No group address (`InvalidInput`), a member already (`AddrInUse`).
    pub fn join_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let _ = interface;
        self.join(IpAddr::V6(*multiaddr))
    }

    /// Undoes [`join_multicast_v4`](Self::join_multicast_v4).
    ///
    /// # Errors
    /// No member (`AddrNotAvailable`).
    pub fn leave_multicast_v4(&self, multiaddr: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        let _ = interface;
        self.leave(IpAddr::V4(multiaddr))
    }

    /// Undoes [`join_multicast_v6`](Self::join_multicast_v6).
    ///
    /// # Errors
    /// No member (`AddrNotAvailable`).
    pub fn leave_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let _ = interface;
        self.leave(IpAddr::V6(*multiaddr))
    }
}
