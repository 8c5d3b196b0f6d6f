//! What no socket takes: the datagrams and echo requests that a gateway carries on.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use finack_core::Stack;
use finack_core::stack::{Gate, UdpId, UdpRecv};
use finack_wire::icmp::ErrorKind;

use crate::error::to_io;
use crate::host::Net;
use crate::shard::{Everywhere, Inner, READ, WRITE};

/// Bytes that may wait in a gate, unless set otherwise: it stands for many sockets.
const BUFFER: usize = 4 << 20;

/// Where something came from and went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// Whom it was addressed to: not an address of this network.
    pub local: SocketAddr,
    /// Who sent it.
    pub peer: SocketAddr,
}

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Bytes of payload in the caller's buffer.
    pub len: usize,
    /// Bytes of payload that it had; more than `len` where the buffer was too small.
    pub full_len: usize,
    /// Both its ends. For an echo request the peer's port is the identifier, and the local port the sequence number.
    pub ends: Ends,
    /// Its TOS or traffic class.
    pub tos: u8,
    /// Its hop limit (TTL).
    pub hop_limit: u8,
    /// Whether it came whole and no router might have cut it (the DF bit, or IPv6): where it is too big for a link beyond, its
    /// sender wants to know.
    pub dont_fragment: bool,
}

impl From<UdpRecv> for Datagram {
    fn from(r: UdpRecv) -> Self {
        Self {
            len: r.len,
            full_len: r.full_len,
            ends: Ends { local: r.to, peer: r.from },
            tos: r.tos,
            hop_limit: r.hop_limit,
            dont_fragment: r.dont_fragment,
        }
    }
}

/// Receives UDP datagrams (or ICMP echo requests) to every address that is not this network's own, and sends answers
/// that seem to come from there.
///
/// It is of use in a network that takes [any address](crate::NetBuilder::any_address). At most 4 MiB wait in it; what
/// comes beyond is dropped and counted. Dropping it closes it.
pub struct UdpGate {
    parts: Everywhere<UdpId>,
}

impl fmt::Debug for UdpGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpGate").finish_non_exhaustive()
    }
}

impl Drop for UdpGate {
    fn drop(&mut self) {
        self.parts.close(|stack, _, gate| stack.udp_close(gate));
    }
}

impl UdpGate {
    /// Opens the gate for UDP datagrams.
    ///
    /// # Errors
    /// The network has one already (`AddrInUse`).
    pub fn open_on(net: &Net) -> io::Result<Self> {
        Self::open(net, Gate::Datagrams)
    }

    /// Opens the gate for ICMP echo requests: in each [`Datagram`] the peer's port is the identifier and the local port
    /// the sequence number. What is [sent](Self::try_send) through it becomes an echo reply.
    ///
    /// # Errors
    /// As [`open_on`](Self::open_on).
    pub fn open_for_echoes(net: &Net) -> io::Result<Self> {
        Self::open(net, Gate::Echoes)
    }

    fn open(net: &Net, gate: Gate) -> io::Result<Self> {
        let part = BUFFER / net.shards();
        let open = |stack: &mut &mut Stack| {
            let gate = stack.open_gate(gate)?;
            stack.udp_set_buffers(gate, Some(part), Some(part))?;
            Ok(gate)
        };
        // One that has a gate has it on all of them.
        let parts = net.shards.open_all(|stacks, _| stacks.iter_mut().map(open).collect())?;
        Ok(Self { parts })
    }

    fn shard_of(&self, ends: Ends) -> usize {
        self.parts.shards().of_flow(ends.local, ends.peer)
    }

    /// Waits for the next one. What does not fit into `buf` is lost. Dropping the future loses none.
    ///
    /// # Errors
    /// The network was shut down.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<Datagram> {
        let recv = |inner: &mut Inner, _, gate| inner.stack.udp_recv(gate, buf, false);
        self.parts.any(READ, recv).await.map(|(_, received)| Datagram::from(received))
    }

    /// [`recv`](Self::recv), now or never.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `WouldBlock` where nothing is there.
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<Datagram> {
        self.parts.try_any(|stack, _, gate| stack.udp_recv(gate, buf, false)).map(Datagram::from)
    }

    /// Sends a datagram (or echo reply) to `ends.peer` that seems to come from `ends.local`.
    ///
    /// # Errors
    /// `WouldBlock` while too much waits for the device, too long (`EMSGSIZE`), no route (`NetworkUnreachable`), port 0
    /// (`InvalidInput`), the network was shut down.
    pub fn try_send(&self, ends: Ends, data: &[u8]) -> io::Result<()> {
        self.parts.on(self.shard_of(ends), |stack, now, gate| {
            stack.gate_send(now, gate, ends.local, ends.peer, data)
        })
    }

    /// [`try_send`](Self::try_send), waiting for the device to have room.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send), but for `WouldBlock`.
    pub async fn send(&self, ends: Ends, data: &[u8]) -> io::Result<()> {
        let send =
            |inner: &mut Inner, now, gate| inner.stack.gate_send(now, gate, ends.local, ends.peer, data);
        self.parts.wait_on(self.shard_of(ends), WRITE, send).await
    }

    /// Sends as many of `datagrams` as the device takes, with the lock taken and the device called once for all of
    /// them; answers how many. One that can't be sent at all is counted and left out.
    ///
    /// # Errors
    /// `WouldBlock` where not even the first can be sent now; the network was shut down.
    pub fn try_send_all<'a>(
        &self,
        datagrams: impl IntoIterator<Item = (Ends, &'a [u8])>,
    ) -> io::Result<usize> {
        let (mut all, mut sent) = (datagrams.into_iter().peekable(), 0);
        while let Some(home) = all.peek().map(|&(ends, _)| self.shard_of(ends)) {
            let full = self.parts.on(home, |stack, now, gate| {
                while let Some((ends, data)) = all.next_if(|&(ends, _)| self.shard_of(ends) == home) {
                    match stack.gate_send(now, gate, ends.local, ends.peer, data) {
                        Err(finack_core::Error::WouldBlock) => return Ok(true),
                        // The others are not to wait for it.
                        Ok(()) | Err(_) => sent += 1,
                    }
                }
                Ok(false)
            })?;
            match full {
                true if sent == 0 => return Err(to_io(finack_core::Error::WouldBlock)),
                true => break,
                false => {}
            }
        }
        Ok(sent)
    }

    /// Tells the sender `ends.peer` by ICMP what became of what it had sent to `ends.local`, of which `data` is the
    /// payload as far as it is remembered. The message comes from `reporter` (a router on the way), or from the
    /// destination itself. Such messages are limited in rate (`icmp_ratelimit`).
    ///
    /// # Errors
    /// Addresses of two families; the network was shut down.
    pub fn report(
        &self,
        ends: Ends,
        data: &[u8],
        kind: ErrorKind,
        reporter: Option<IpAddr>,
    ) -> io::Result<()> {
        let (home, ends) = (self.shard_of(ends), (ends.local, ends.peer));
        self.parts.on(home, |stack, now, gate| stack.gate_report(now, gate, ends, data, kind, reporter))
    }

    /// How many were dropped because the gate was full.
    ///
    /// # Errors
    /// The network was shut down.
    pub fn drops(&self) -> io::Result<u64> {
        Ok(self.parts.look(|stack, gate| stack.udp_drops(gate))?.into_iter().sum())
    }
}
