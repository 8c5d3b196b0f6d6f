//! Receiving datagrams.

use core::net::SocketAddr;

use bytes::Bytes;
use finack_wire::ip::IpHeader;
use finack_wire::udp::{self, UdpError};

use super::{Gate, Socket, Udp};
use crate::Error;
use crate::device::{ChecksumState, Packet, PacketBytes};
use crate::stack::{Ready, UdpId, UdpRecv};
use crate::trace::DropReason;

/// What a datagram counts against the receive buffer besides its bytes.
pub(super) const DATAGRAM_COST: usize = 256;

/// For whom a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    /// This host alone: at most one socket gets it.
    One,
    /// Everybody (multicast, broadcast): every socket that matches gets it.
    Many,
}

/// What is known of a datagram besides its data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) tos: u8,
    pub(crate) hop_limit: u8,
    pub(crate) dont_fragment: bool,
    pub(crate) cast: Cast,
    /// It is addressed to this host by name: no gate takes it.
    pub(crate) ours: bool,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Delivered {
    /// Sockets that took it.
    pub(crate) taken: u32,
    /// Sockets that had no room.
    pub(crate) full: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    tos: u8,
    hop_limit: u8,
    dont_fragment: bool,
    data: Bytes,
}

impl Socket {
    /// Queues a datagram; false where the buffer is full. An empty buffer takes one of any size.
    fn take(&mut self, arrival: &Arrival, data: Bytes) -> bool {
        let cost = data.len() + DATAGRAM_COST;
        if !self.queue.is_empty() && self.queued + cost > self.recv_buffer {
            self.drops += 1;
            return false;
        }
        self.queued += cost;
        let &Arrival { from, to, tos, hop_limit, dont_fragment, .. } = arrival;
        self.queue.push_back(Datagram { from, to, tos, hop_limit, dont_fragment, data });
        true
    }
}

impl Udp {
    /// Takes a packet whose payload is a datagram, or several joined ones from one sender, for whoever it is for.
    ///
    /// # Errors
    /// [`DropReason::UdpMalformed`] and [`DropReason::UdpChecksum`] (RFC 1122 4.1.3.4),
    /// [`DropReason::UdpNoPort`] where no socket takes it.
    pub(crate) fn input(
        &mut self,
        ip: &IpHeader,
        packet: &Packet<'_>,
        cast: Cast,
        ours: bool,
    ) -> Result<Delivered, DropReason> {
        let bytes = packet.bytes.as_slice();
        let datagram = ip.payload(bytes);
        let header = udp::parse(datagram).map_err(|_| DropReason::UdpMalformed)?;
        if packet.meta.checksum == ChecksumState::Unchecked {
            udp::verify(ip, datagram).map_err(|e| match e {
                UdpError::ChecksumMissing | UdpError::BadChecksum => DropReason::UdpChecksum,
                _ => DropReason::UdpMalformed,
            })?;
        }
        let arrival = Arrival {
            from: SocketAddr::new(ip.src, header.src_port),
            to: SocketAddr::new(ip.dst, header.dst_port),
            tos: ip.tos,
            hop_limit: ip.hop_limit,
            dont_fragment: ip.dont_fragment,
            cast,
            ours,
        };
        let data = udp::payload(datagram, &header);
        let joined = packet.meta.segments > 1 && packet.meta.segment_size > 0;
        let each = if joined { usize::from(packet.meta.segment_size) } else { data.len().max(1) };
        let mut delivered = Delivered::default();
        let mut rest = data;
        loop {
            let (part, after) = rest.split_at(each.min(rest.len()));
            let one = self.deliver(&arrival, keep(packet, part));
            delivered.taken += one.taken;
            delivered.full += one.full;
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        if delivered == Delivered::default() { Err(DropReason::UdpNoPort) } else { Ok(delivered) }
    }

    /// Hands a datagram to whom it is for. Nobody took it and nobody was full: there is no such port.
    pub(crate) fn deliver(&mut self, arrival: &Arrival, data: Bytes) -> Delivered {
        let mut delivered = Delivered::default();
        match arrival.cast {
            Cast::One => {
                let socket = self.table.unicast(arrival.to, arrival.from);
                let gate = || self.gates.get(Gate::Datagrams).filter(|_| !arrival.ours);
                if let Some(index) = socket.or_else(gate) {
                    self.deliver_to(index, arrival, data, &mut delivered);
                }
            }
            Cast::Many => {
                let members: alloc::vec::Vec<u32> = self.table.everyone(arrival.to).collect();
                for index in members {
                    self.deliver_to(index, arrival, data.clone(), &mut delivered);
                }
            }
        }
        delivered
    }

    pub(super) fn deliver_to(
        &mut self,
        index: u32,
        arrival: &Arrival,
        data: Bytes,
        delivered: &mut Delivered,
    ) {
        let Some(socket) = self.sockets.get_mut(index) else { return };
        let before = socket.queued;
        if socket.take(arrival, data) {
            delivered.taken += 1;
            self.queued += socket.queued - before;
            self.notify(index, Ready::READABLE);
        } else {
            delivered.full += 1;
        }
    }

    /// Bytes of the oldest datagram.
    pub(crate) fn next_len(&self, id: UdpId) -> Result<Option<usize>, Error> {
        Ok(self.get(id)?.queue.front().map(|datagram| datagram.data.len()))
    }

    /// The oldest datagram, or the pending error first. What does not fit into `buf` is lost, unless it is only
    /// peeked at.
    pub(crate) fn recv(&mut self, id: UdpId, buf: &mut [u8], peek: bool) -> Result<UdpRecv, Error> {
        let socket = self.get_mut(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let datagram = socket.queue.front().ok_or(Error::WouldBlock)?;
        let len = datagram.data.len().min(buf.len());
        buf[..len].copy_from_slice(&datagram.data[..len]);
        let received = UdpRecv {
            len,
            full_len: datagram.data.len(),
            from: socket.shown(datagram.from),
            to: socket.shown(datagram.to),
            tos: datagram.tos,
            hop_limit: datagram.hop_limit,
            dont_fragment: datagram.dont_fragment,
        };
        if !peek {
            let cost = received.full_len + DATAGRAM_COST;
            socket.queue.pop_front();
            socket.queued -= cost;
            if socket.queue.is_empty() && socket.queue.capacity() > 64 {
                socket.queue.shrink_to(16);
            }
            self.queued -= cost;
        }
        Ok(received)
    }
}

/// The data by itself: shared where it is the greater part of what it lies in, else copied, so that a small datagram
/// does not pin a large buffer.
fn keep(packet: &Packet<'_>, data: &[u8]) -> Bytes {
    match &packet.bytes {
        PacketBytes::Shared(bytes) if data.len() > bytes.len() / 2 => bytes.slice_ref(data),
        _ => Bytes::copy_from_slice(data),
    }
}
