//! Openings that are decided one by one: what a gateway needs.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use finack_core::options::SocketOptions;
use finack_core::stack::{Incoming, ListenerId, Refusal};

use super::TcpStream;
use crate::host::Net;
use crate::shard::{ACCEPT, INCOMING, Inner, Shard, Wait};

/// Listens on every address and port that no [`TcpListener`](super::TcpListener) has, and leaves each SYN
/// unanswered until it is decided: a gateway asks the far side first, and then answers as that did.
///
/// It is of use in a network that takes [any address](crate::NetBuilder::any_address). Dropping it closes it.
pub struct TcpGate {
    shard: Arc<Shard>,
    listener: ListenerId,
}

impl fmt::Debug for TcpGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpGate").finish_non_exhaustive()
    }
}

impl Drop for TcpGate {
    fn drop(&mut self) {
        // Gone already is what was asked for.
        let _ = self.shard.close(self.listener, |stack, now| stack.tcp_close_listener(now, self.listener));
    }
}

impl TcpGate {
    /// Opens the gate of a network. At most `backlog` openings wait for a decision, and as many connections
    /// for [`accept`](Self::accept); beyond that SYNs are dropped, which their senders repeat.
    ///
    /// # Errors
    /// The network has one already (`AddrInUse`).
    pub fn open_on(net: &Net, backlog: u32, options: SocketOptions) -> io::Result<Self> {
        let listener = net.shard.open(|stack, _| stack.tcp_listen_everywhere(backlog, options))?;
        Ok(Self { shard: Arc::clone(&net.shard), listener })
    }

    /// The next opening that waits for a decision. Dropping the future loses none.
    ///
    /// # Errors
    /// The network was shut down.
    pub async fn opening(&self) -> io::Result<Opening> {
        let listener = self.listener;
        let next = |inner: &mut Inner, _| inner.stack.tcp_incoming(listener);
        let incoming = Wait::new(&self.shard, listener, INCOMING, next).await?;
        Ok(Opening { shard: Arc::clone(&self.shard), incoming, decided: false })
    }

    /// The next connection whose opening was answered and whose handshake is complete, in the order of
    /// completion; its own addresses tell which it is.
    ///
    /// # Errors
    /// The network was shut down.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let listener = self.listener;
        let accept = |inner: &mut Inner, now| inner.accept(now, listener);
        let (conn, peer) = Wait::new(&self.shard, listener, ACCEPT, accept).await?;
        Ok((TcpStream::new(Arc::clone(&self.shard), conn, false), peer))
    }
}

/// A SYN that waits for a decision. Dropped, it is forgotten as if it had never come: its sender repeats it.
pub struct Opening {
    shard: Arc<Shard>,
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
        Ok(Answered { shard: Arc::clone(&self.shard), incoming: self.incoming })
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
    shard: Arc<Shard>,
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
