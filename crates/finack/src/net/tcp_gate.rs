//! Openings that are decided one by one: what a gateway needs.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use finack_core::options::SocketOptions;
use finack_core::stack::{Incoming, ListenerId, Refusal};

use super::TcpStream;
use crate::host::Net;
use crate::shard::{ACCEPT, Everywhere, Home, INCOMING, Inner, Shard};

/// Listens on every address and port that no [`TcpListener`](super::TcpListener) has, and leaves each SYN
/// unanswered until it is decided: a gateway asks the far side first, and then answers as that did.
///
/// It is of use in a network that takes [any address](crate::NetBuilder::any_address). Dropping it closes it.
pub struct TcpGate {
    parts: Everywhere<ListenerId>,
}

impl fmt::Debug for TcpGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpGate").finish_non_exhaustive()
    }
}

impl Drop for TcpGate {
    fn drop(&mut self) {
        self.parts.close(|stack, now, listener| stack.tcp_close_listener(now, listener));
    }
}

impl TcpGate {
    /// Opens the gate of a network. At most `backlog` openings wait for a decision, and as many connections
    /// for [`accept`](Self::accept); beyond that SYNs are dropped, which their senders repeat.
    ///
    /// # Errors
    /// The network has one already (`AddrInUse`).
    pub fn open_on(net: &Net, backlog: u32, options: SocketOptions) -> io::Result<Self> {
        let part = backlog.div_ceil(u32::try_from(net.shards()).unwrap_or(u32::MAX));
        let parts = net.shards.open_all(|stacks, _| {
            // One that has a gate has it on all of them.
            stacks.iter_mut().map(|stack| stack.tcp_listen_everywhere(part, options)).collect()
        })?;
        Ok(Self { parts })
    }

    /// The next opening that waits for a decision. Dropping the future loses none.
    ///
    /// # Errors
    /// The network was shut down.
    pub async fn opening(&self) -> io::Result<Opening> {
        let next = |inner: &mut Inner, _, listener| inner.stack.tcp_incoming(listener);
        let (shard, incoming) = self.parts.any(INCOMING, next).await?;
        Ok(Opening { shard: self.parts.home(shard), incoming, decided: false })
    }

    /// The next connection whose opening was answered and whose handshake is complete, in the order of
    /// completion; its own addresses tell which it is.
    ///
    /// # Errors
    /// The network was shut down.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accept = |inner: &mut Inner, now, listener| inner.accept(now, listener);
        let (shard, (conn, peer)) = self.parts.any(ACCEPT, accept).await?;
        Ok((TcpStream::new(self.parts.home(shard), conn, false), peer))
    }
}

/// A SYN that waits for a decision. Dropped, it is forgotten as if it had never come: its sender repeats it.
pub struct Opening {
    shard: Home,
    incoming: Incoming,
    decided: bool,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("local", &self.incoming.local)
            .field("peer", &self.incoming.remote)
            .finish_non_exhaustive()
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if !self.decided {
            // Given up by its sender meanwhile: forgotten too.
            let _ = self.decide(Refusal::Silence);
        }
    }
}

impl Opening {
    /// Whom the SYN is addressed to.
    pub const fn local_addr(&self) -> SocketAddr {
        self.incoming.local
    }

    /// Who sent it.
    pub const fn peer_addr(&self) -> SocketAddr {
        self.incoming.remote
    }

    /// Whether somebody still waits for the decision: its sender may have given it up, or begun anew from the same port.
    pub fn stands(&self) -> bool {
        stands(&self.shard, self.incoming)
    }

    /// Goes on with the handshake; the connection comes out of [`TcpGate::accept`]. What is returned tells whether
    /// that can still happen.
    ///
    /// # Errors
    /// The opening is gone: its sender gave it up, or nobody decided for too long.
    pub fn answer(mut self) -> io::Result<Answered> {
        self.decided = true;
        self.shard.call(|stack, now| stack.tcp_answer(now, self.incoming.id))?;
        Ok(Answered { shard: self.shard.clone(), incoming: self.incoming })
    }

    /// Turns the opening down, in one of the ways in which the far side may have done so.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub fn refuse(mut self, how: Refusal) -> io::Result<()> {
        self.decided = true;
        self.decide(how)
    }

    fn decide(&self, how: Refusal) -> io::Result<()> {
        self.shard.call(|stack, now| stack.tcp_refuse(now, self.incoming.id, how))
    }
}

/// An opening that was answered and whose handshake goes on. Dropping it changes nothing.
pub struct Answered {
    shard: Home,
    incoming: Incoming,
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answered").field("incoming", &self.incoming).finish_non_exhaustive()
    }
}

impl Answered {
    /// Whether the handshake still goes on. Once it does not, the connection is with [`TcpGate::accept`], or there
    /// will be none.
    pub fn stands(&self) -> bool {
        stands(&self.shard, self.incoming)
    }
}

fn stands(shard: &Shard, incoming: Incoming) -> bool {
    shard.query(|stack, _| Ok(stack.tcp_is_opening(incoming.id))).unwrap_or(false)
}
