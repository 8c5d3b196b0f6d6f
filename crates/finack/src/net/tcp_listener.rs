//! A listening TCP socket.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use finack_core::Stack;
use finack_core::options::{BindOptions, SocketOptions};
use finack_core::stack::{ConnId, ListenerId};

use super::TcpStream;
use super::addr::{ToSocketAddrs, first_of, shown};
use crate::host::Net;
use crate::shard::{ACCEPT, Everywhere, Inner, Side};

/// The backlog that [`TcpListener::bind`] asks for, as tokio does.
const BACKLOG: u32 = 1024;

/// A listening TCP socket, with the methods of `tokio::net::TcpListener`.
///
/// Dropping it closes it: connections that wait to be accepted are reset, accepted ones stay.
pub struct TcpListener {
    pub(super) parts: Everywhere<ListenerId>,
    /// Made for IPv6: shows IPv4 peers as mapped addresses.
    v6: bool,
    /// What accepted connections inherit.
    options: Mutex<SocketOptions>,
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("TcpListener");
        if let Ok(local) = self.local_addr() {
            out.field("local", &local);
        }
        out.finish_non_exhaustive()
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        self.parts.close(|stack, now, listener| stack.tcp_close_listener(now, listener));
    }
}

impl TcpListener {
    pub(super) const fn new(parts: Everywhere<ListenerId>, v6: bool, options: SocketOptions) -> Self {
        Self { parts, v6, options: Mutex::new(options) }
    }

    /// Listens at the first of the addresses that can be had in the current network, with SO_REUSEADDR and a
    /// backlog of 1024, as tokio does. [`TcpSocket`](super::TcpSocket) gives the choice.
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
        Self::bind_now(net, addr)
    }

    /// What `bind` does: it never waits for anything.
    pub(crate) fn bind_now<A: ToSocketAddrs>(net: &Net, addr: A) -> io::Result<Self> {
        first_of(addr, |addr| {
            let bind = BindOptions { reuse_addr: true, ..BindOptions::default() };
            let options = SocketOptions { reuse_addr: true, ..SocketOptions::default() };
            let parts = net.shards.open_all(|stacks, now| {
                let binds = Stack::tcp_bind_all(stacks, now, addr, bind)?;
                let listeners = Stack::tcp_listen_all(stacks, now, &binds, BACKLOG, options);
                if listeners.is_err() {
                    // What was bound for nothing is given back; the first error is the one that counts.
                    for (stack, bind) in stacks.iter_mut().zip(binds) {
                        let _ = stack.tcp_unbind(bind);
                    }
                }
                listeners
            })?;
            Ok(Self::new(parts, addr.is_ipv6(), options))
        })
    }

    fn stream(&self, (shard, (conn, peer)): (usize, (ConnId, SocketAddr))) -> (TcpStream, SocketAddr) {
        (TcpStream::new(self.parts.home(shard), conn, self.v6), shown(peer, self.v6))
    }

    /// The next connection that is open, and its other end. Any number of tasks may wait here at once.
    ///
    /// # Errors
    /// `ConnectionAborted` and the like for the one connection (try again); the network was shut down.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accept = |inner: &mut Inner, now, listener| inner.accept(now, listener);
        Ok(self.stream(self.parts.any(ACCEPT, accept).await?))
    }

    /// Polls [`accept`](Self::accept); only the last task to do so is woken.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let accept = |inner: &mut Inner, now, listener| inner.accept(now, listener);
        let accepted = ready!(self.parts.poll_any(cx, Side::Read, accept))?;
        Poll::Ready(Ok(self.stream(accepted)))
    }

    /// The address that it listens at.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let addr = self.parts.first(|stack, _, listener| stack.tcp_listener_addr(listener))?;
        Ok(shown(addr, self.v6))
    }

    /// The options that accepted connections inherit.
    pub fn options(&self) -> SocketOptions {
        *self.options.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the options that accepted connections inherit. Those that concern the address
    /// (SO_REUSEADDR, SO_REUSEPORT, IPV6_V6ONLY) stay as they were bound with.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn set_options(&self, options: SocketOptions) -> io::Result<()> {
        let mut kept = self.options.lock().unwrap_or_else(PoisonError::into_inner);
        let options = SocketOptions {
            reuse_addr: kept.reuse_addr,
            reuse_port: kept.reuse_port,
            v6_only: kept.v6_only,
            ..options
        };
        self.parts.each(|stack, _, listener| stack.tcp_set_listener_options(listener, options))?;
        *kept = options;
        Ok(())
    }

    /// IP_TTL of accepted connections.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn ttl(&self) -> io::Result<u32> {
        match self.options().hop_limit {
            Some(ttl) => Ok(u32::from(ttl)),
            None => self.parts.first(|stack, _, _| {
                Ok(u32::try_from(stack.settings().ip_default_ttl).unwrap_or(u32::from(u8::MAX)))
            }),
        }
    }

    /// IP_TTL of accepted connections, 1 to 255.
    ///
    /// # Errors
    /// Out of that range (`InvalidInput`).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let ttl = u8::try_from(ttl).ok().filter(|&ttl| ttl > 0);
        let hop_limit = Some(ttl.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?);
        self.set_options(SocketOptions { hop_limit, ..self.options() })
    }
}
