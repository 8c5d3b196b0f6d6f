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

/// Datagrams that are sent as one packet at most, and their bytes.
const RUN: usize = 64;
const RUN_BYTES: usize = 65_000;

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

/// Takes into `parts`, behind `first`, what follows between the same ends and goes with it in one packet.
fn gather<'a>(
    parts: &mut Vec<&'a [u8]>,
    ends: Ends,
    first: &'a [u8],
    all: &mut std::iter::Peekable<impl Iterator<Item = (Ends, &'a [u8])>>,
) {
    parts.clear();
    parts.push(first);
    let mut bytes = first.len();
    while parts.len() < RUN
        && parts.last().is_some_and(|last| last.len() == first.len())
        && let Some((_, next)) = all.next_if(|(other, next)| {
            *other == ends && (1..=first.len()).contains(&next.len()) && bytes + next.len() <= RUN_BYTES
        })
    {
        bytes += next.len();
        parts.push(next);
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

    /// Waits for the next ones that came from one end to another with the same header, and takes as many as fit into
    /// `buf`, one after the other: all but the last have the size of the first, which is told, and 64 is the most. The second
    /// number is the bytes of all. Dropping the future loses none.
    ///
    /// # Errors
    /// The network was shut down.
    pub async fn recv_run(&self, buf: &mut [u8]) -> io::Result<(Datagram, usize)> {
        let recv = |inner: &mut Inner, _, gate| inner.stack.udp_recv_run(gate, buf);
        self.parts.any(READ, recv).await.map(|(_, (first, len))| (first.into(), len))
    }

    /// [`recv_run`](Self::recv_run), now or never.
    ///
    /// # Errors
    /// As [`recv_run`](Self::recv_run); `WouldBlock` where nothing is there.
    pub fn try_recv_run(&self, buf: &mut [u8]) -> io::Result<(Datagram, usize)> {
        let received = self.parts.try_any(|stack, _, gate| stack.udp_recv_run(gate, buf));
        received.map(|(first, len)| (first.into(), len))
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

    /// Sends as many of `datagrams` as the device takes, with the lock taken once for all of them; answers how many. One
    /// that can't be sent at all is counted and left out. Neighbours between the same ends that have one size go as one
    /// packet to a device that cuts it.
    ///
    /// # Errors
    /// `WouldBlock` where not even the first can be sent now; the network was shut down.
    pub fn try_send_all<'a>(
        &self,
        datagrams: impl IntoIterator<Item = (Ends, &'a [u8])>,
    ) -> io::Result<usize> {
        let mut all = datagrams.into_iter().peekable();
        let (mut parts, mut sent) = (Vec::with_capacity(RUN), 0);
        while let Some(home) = all.peek().map(|&(ends, _)| self.shard_of(ends)) {
            let full = self.parts.on(home, |stack, now, gate| {
                while let Some((ends, first)) = all.next_if(|&(ends, _)| self.shard_of(ends) == home) {
                    gather(&mut parts, ends, first, &mut all);
                    match stack.gate_send_run(now, gate, ends.local, ends.peer, &parts) {
                        Ok(count) => {
                            sent += count;
                            if count < parts.len() {
                                return Ok(true);
                            }
                        }
                        Err(finack_core::Error::WouldBlock) => return Ok(true),
                        // The others are not to wait for it; of these the first alone is known to be at fault.
                        Err(_) => {
                            for data in &parts[1..] {
                                let _ = stack.gate_send(now, gate, ends.local, ends.peer, data);
                            }
                            sent += parts.len();
                        }
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
