//! A TCP socket that is neither connected nor listening yet.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use finack_core::Stack;
use finack_core::options::{BindOptions, SocketOptions};
use finack_core::stack::BindId;

use super::addr::shown;
use super::{TcpListener, TcpStream};
use crate::host::Net;

pub(super) struct Parts {
    options: SocketOptions,
    /// One on each shard.
    bind: Option<Vec<BindId>>,
    #[cfg(feature = "md5-ao")]
    pub(super) keys: finack_core::auth::Keys,
}

/// A TCP socket that is neither connected nor listening yet, with the methods of `tokio::net::TcpSocket`:
/// for options that count from the SYN on.
pub struct TcpSocket {
    net: Net,
    v6: bool,
    parts: Mutex<Parts>,
}

impl fmt::Debug for TcpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpSocket").field("v6", &self.v6).finish_non_exhaustive()
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        if let Some(binds) = self.parts().bind.take() {
            self.net.shards.unbind(&binds, None);
        }
    }
}

macro_rules! options {
    ($($(#[$meta:meta])* $get:ident, $set:ident: $t:ty = $field:ident;)+) => {$(
        $(#[$meta])*
        ///
        /// # Errors
        /// Never.
        pub fn $set(&self, value: $t) -> io::Result<()> {
            self.parts().options.$field = value;
            Ok(())
        }

        $(#[$meta])*
        ///
        /// # Errors
        /// Never.
        pub fn $get(&self) -> io::Result<$t> {
            Ok(self.parts().options.$field)
        }
    )+};
}

impl TcpSocket {
    /// An IPv4 socket in the current network.
    ///
    /// # Errors
    /// No network is current.
    pub fn new_v4() -> io::Result<Self> {
        Ok(Self::new_v4_on(&Net::current()?))
    }

    /// An IPv6 socket in the current network.
    ///
    /// # Errors
    /// No network is current.
    pub fn new_v6() -> io::Result<Self> {
        Ok(Self::new_v6_on(&Net::current()?))
    }

    /// An IPv4 socket in the network that is named.
    pub fn new_v4_on(net: &Net) -> Self {
        Self::new(net, false)
    }

    /// An IPv6 socket in the network that is named.
    pub fn new_v6_on(net: &Net) -> Self {
        Self::new(net, true)
    }

    fn new(net: &Net, v6: bool) -> Self {
        let parts = Parts {
            options: SocketOptions::default(),
            bind: None,
            #[cfg(feature = "md5-ao")]
            keys: finack_core::auth::Keys::new(),
        };
        Self { net: net.clone(), v6, parts: Mutex::new(parts) }
    }

    pub(super) fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    options! {
        /// SO_KEEPALIVE.
        keepalive, set_keepalive: bool = keepalive;
        /// SO_REUSEADDR.
        reuseaddr, set_reuseaddr: bool = reuse_addr;
        /// SO_REUSEPORT.
        reuseport, set_reuseport: bool = reuse_port;
        /// TCP_NODELAY.
        nodelay, set_nodelay: bool = nodelay;
        /// SO_LINGER; see [`TcpStream::set_linger`].
        linger, set_linger: Option<Duration> = linger;
    }

    /// SO_LINGER with zero: closing resets the connection.
    ///
    /// # Errors
    /// Never.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.set_linger(Some(Duration::ZERO))
    }

    /// SO_SNDBUF in bytes.
    ///
    /// # Errors
    /// Never.
    pub fn set_send_buffer_size(&self, size: u32) -> io::Result<()> {
        self.parts().options.send_buffer = Some(size as usize);
        Ok(())
    }

    /// SO_SNDBUF in bytes.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn send_buffer_size(&self) -> io::Result<u32> {
        let set = self.parts().options.send_buffer;
        self.buffer_size(set, |settings| settings.tcp_wmem_default)
    }

    /// SO_RCVBUF in bytes.
    ///
    /// # Errors
    /// Never.
    pub fn set_recv_buffer_size(&self, size: u32) -> io::Result<()> {
        self.parts().options.recv_buffer = Some(size as usize);
        Ok(())
    }

    /// SO_RCVBUF in bytes.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn recv_buffer_size(&self) -> io::Result<u32> {
        let set = self.parts().options.recv_buffer;
        self.buffer_size(set, |settings| settings.tcp_rmem_default)
    }

    fn buffer_size(
        &self,
        set: Option<usize>,
        default: impl FnOnce(&finack_core::settings::Settings) -> u64,
    ) -> io::Result<u32> {
        let size = match set {
            Some(size) => size as u64,
            None => default(&self.net.shards.settings()),
        };
        Ok(u32::try_from(size).unwrap_or(u32::MAX))
    }

    /// IP_TOS, or the traffic class of IPv6.
    ///
    /// # Errors
    /// Never.
    pub fn tos(&self) -> io::Result<u32> {
        Ok(u32::from(self.parts().options.tos))
    }

    /// IP_TOS, or the traffic class of IPv6: 0 to 255.
    ///
    /// # Errors
    /// Out of that range (`InvalidInput`).
    pub fn set_tos(&self, tos: u32) -> io::Result<()> {
        let tos = u8::try_from(tos).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        self.parts().options.tos = tos;
        Ok(())
    }

    /// All options at once, those that tokio's socket does not have among them.
    pub fn options(&self) -> SocketOptions {
        self.parts().options
    }

    /// Replaces all options at once. Those that concern the address (SO_REUSEADDR, SO_REUSEPORT,
    /// IPV6_V6ONLY) count if they are set before [`bind`](Self::bind).
    pub fn set_options(&self, options: SocketOptions) {
        self.parts().options = options;
    }

    /// The address bound to, or the unspecified one.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self.parts().bind.as_ref().and_then(|binds| binds.first()) {
            Some(&bind) => {
                let addr = self.net.shards.get(0).query(|stack, _| stack.tcp_bound_addr(bind))?;
                Ok(shown(addr, self.v6))
            }
            None => Ok(self.unspecified()),
        }
    }

    fn unspecified(&self) -> SocketAddr {
        match self.v6 {
            true => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            false => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        }
    }

    /// SO_ERROR: a socket that was not used yet has none.
    ///
    /// # Errors
    /// Never.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    /// Takes a local address; port 0 lets the engine choose one.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable`; bound already, or an address of the other family (`InvalidInput`,
    /// `EAFNOSUPPORT`).
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        self.check_family(addr)?;
        let mut parts = self.parts();
        if parts.bind.is_some() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let options = BindOptions {
            reuse_addr: parts.options.reuse_addr,
            reuse_port: parts.options.reuse_port,
            v6_only: parts.options.v6_only,
        };
        let bind = |stacks: &mut [&mut Stack], now| Stack::tcp_bind_all(stacks, now, addr, options);
        parts.bind = Some(self.net.shards.call_all(bind)?);
        Ok(())
    }

    fn check_family(&self, addr: SocketAddr) -> io::Result<()> {
        if addr.is_ipv6() == self.v6 {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// As [`TcpStream::connect`].
    pub async fn connect(self, addr: SocketAddr) -> io::Result<TcpStream> {
        self.check_family(addr)?;
        let stream = {
            let mut parts = self.parts();
            let options = parts.options;
            #[cfg(feature = "md5-ao")]
            let keys = parts.keys.clone();
            let sign = |_stack: &mut Stack, _now, _conn| {
                #[cfg(feature = "md5-ao")]
                _stack.tcp_set_keys(_now, _conn, &keys)?;
                Ok(())
            };
            let binds = parts.bind.as_deref();
            let (shard, conn) = self.net.shards.connect(self.net.pin, binds, addr, options, sign)?;
            parts.bind = None;
            TcpStream::new(shard, conn, self.v6)
        };
        stream.opened().await
    }

    /// Listens, at a port of the engine's choice where none was bound. At most `backlog` connections wait to
    /// be accepted (bounded by `net.core.somaxconn`).
    ///
    /// # Errors
    /// `AddrInUse`.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        if self.parts().bind.is_none() {
            self.bind(self.unspecified())?;
        }
        let mut parts = self.parts();
        let Some(binds) = &parts.bind else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        let options = parts.options;
        let listeners = self.net.shards.open_all(|stacks, now| {
            let listeners = Stack::tcp_listen_all(stacks, now, binds, backlog, options)?;
            #[cfg(feature = "md5-ao")]
            for (stack, &listener) in stacks.iter_mut().zip(&listeners) {
                stack.tcp_set_listener_keys(listener, &parts.keys)?;
            }
            Ok(listeners)
        })?;
        parts.bind = None;
        Ok(TcpListener::new(listeners, self.v6, options))
    }
}
