//! Signed connections: MD5 signatures (RFC 2385) and TCP-AO (RFC 5925). See [`finack_core::auth`].

use std::io;

use finack_core::auth::{AuthInfo, Keys};

use super::{TcpListener, TcpSocket, TcpStream};

impl TcpSocket {
    /// Has the connection signed from its SYN on, or whatever is accepted from the peers that the keys name.
    /// Whether they do for the peer is told by [`connect`](Self::connect) (`EKEYREJECTED`).
    pub fn set_keys(&self, keys: Keys) {
        self.parts().keys = keys;
    }
}

impl TcpListener {
    /// Replaces the keys by which openings are checked and which accepted connections get; those that exist keep theirs.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn set_keys(&self, keys: &Keys) -> io::Result<()> {
        self.parts.each(|stack, _, listener| stack.tcp_set_listener_keys(listener, keys))
    }
}

impl TcpStream {
    /// The keys that name the peer.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn keys(&self) -> io::Result<Keys> {
        self.shard.query(|stack, _| stack.tcp_keys(self.conn))
    }

    /// Replaces the keys: see [`Stack::tcp_set_keys`](finack_core::Stack::tcp_set_keys).
    ///
    /// # Errors
    /// The connection can't do without a key that is not among them (`EKEYREJECTED`).
    pub fn set_keys(&self, keys: &Keys) -> io::Result<()> {
        self.shard.call(|stack, now| stack.tcp_set_keys(now, self.conn, keys))
    }

    /// What TCP-AO did so far, and which keys are in use.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn auth_info(&self) -> io::Result<AuthInfo> {
        self.shard.query(|stack, _| stack.tcp_auth_info(self.conn))
    }
}
