//! Receiving datagrams.

use core::net::SocketAddr;

use bytes::{Buf, Bytes};
use finack_wire::ip::IpHeader;
use finack_wire::udp::{self, UdpError};

use super::{Gate, Socket, Udp};
use crate::Error;
use crate::device::{ChecksumState, Packet, PacketBytes};
use crate::stack::{Ready, UdpId, UdpRecv};
use crate::trace::DropReason;

/// What a datagram counts against the receive buffer besides its bytes.
pub(super) const DATAGRAM_COST: usize = 256;
/// Most datagrams that are received or sent as one: what the kernel cuts a unit into (its `UDP_MAX_SEGMENTS`).
pub(crate) const MAX_RUN: usize = 64;

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
    /// Several that came joined stay together: `data` holds one after the other, all but the last of so many bytes.
    each: usize,
}

impl Datagram {
    /// Bytes of the first of them.
    fn first_len(&self) -> usize {
        self.data.len().min(self.each)
    }

    /// Whether `other` could have come in the same unit, sizes aside.
    fn is_alike(&self, other: &UdpRecv, socket: &Socket) -> bool {
        (self.tos, self.hop_limit, self.dont_fragment) == (other.tos, other.hop_limit, other.dont_fragment)
            && socket.shown(self.from) == other.from
            && socket.shown(self.to) == other.to
    }
}

/// How many datagrams of `each` bytes `len` bytes are; none with data is one.
const fn count(len: usize, each: usize) -> usize {
    if len <= each { 1 } else { len.div_ceil(each) }
}

impl Socket {
    /// Queues a datagram; false where the buffer is full. An empty buffer takes one of any size.
    fn take(&mut self, arrival: &Arrival, data: Bytes) -> bool {
        let cost = data.len() + DATAGRAM_COST;
        if !self.queue.is_empty() && self.queued + cost > self.recv_buffer {
            self.drops += 1;
            return false;
        }
        let each = data.len();
        self.push(arrival, data, each, cost);
        true
    }

    /// Queues joined datagrams as they are; false where not all of them fit.
    fn take_joined(&mut self, arrival: &Arrival, data: &Bytes, each: usize) -> bool {
        let cost = data.len() + count(data.len(), each) * DATAGRAM_COST;
        let fits = self.queued + cost <= self.recv_buffer;
        if fits {
            self.push(arrival, data.clone(), each, cost);
        }
        fits
    }

    /// Takes the first `len` bytes of the oldest entry away, which are `count` datagrams; what they cost.
    fn release(&mut self, len: usize, count: usize) -> usize {
        let cost = len + count * DATAGRAM_COST;
        match self.queue.front_mut() {
            Some(joined) if joined.data.len() > len => joined.data.advance(len),
            _ => drop(self.queue.pop_front()),
        }
        self.queued -= cost;
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue.shrink_to(16);
        }
        cost
    }

    fn push(&mut self, arrival: &Arrival, data: Bytes, each: usize, cost: usize) {
        self.queued += cost;
        let &Arrival { from, to, tos, hop_limit, dont_fragment, .. } = arrival;
        self.queue.push_back(Datagram { from, to, tos, hop_limit, dont_fragment, data, each });
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
        let each = if joined { usize::from(packet.meta.segment_size) } else { data.len() };
        let delivered = self.deliver(&arrival, keep(packet, data), each);
        if delivered == Delivered::default() { Err(DropReason::UdpNoPort) } else { Ok(delivered) }
    }

    /// Hands a datagram, or joined ones of `each` bytes, to whom they are for. Nobody took them and nobody was full: there
    /// is no such port.
    pub(crate) fn deliver(&mut self, arrival: &Arrival, data: Bytes, each: usize) -> Delivered {
        let mut delivered = Delivered::default();
        match arrival.cast {
            Cast::One => {
                let socket = self.table.unicast(arrival.to, arrival.from);
                let gate = || self.gates.get(Gate::Datagrams).filter(|_| !arrival.ours);
                if let Some(index) = socket.or_else(gate) {
                    self.deliver_to(index, arrival, data, each, &mut delivered);
                }
            }
            Cast::Many => {
                let members: alloc::vec::Vec<u32> = self.table.everyone(arrival.to).collect();
                for index in members {
                    self.deliver_to(index, arrival, data.clone(), each, &mut delivered);
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
        each: usize,
        delivered: &mut Delivered,
    ) {
        let Some(socket) = self.sockets.get_mut(index) else { return };
        let before = socket.queued;
        let all = count(data.len(), each);
        let mut taken = 0;
        if all == 1 {
            taken = u32::from(socket.take(arrival, data));
        } else if socket.take_joined(arrival, &data, each) {
            taken = all as u32;
        } else {
            // As many as fit, each by itself: the rest is not to hold the memory of all.
            for one in data.chunks(each) {
                taken += u32::from(socket.take(arrival, Bytes::copy_from_slice(one)));
            }
        }
        delivered.taken += taken;
        delivered.full += all as u32 - taken;
        if taken > 0 {
            self.queued += socket.queued - before;
            self.notify(index, Ready::READABLE);
        }
    }

    /// Bytes of the oldest datagram.
    pub(crate) fn next_len(&self, id: UdpId) -> Result<Option<usize>, Error> {
        Ok(self.get(id)?.queue.front().map(Datagram::first_len))
    }

    /// The oldest datagram, or the pending error first. What does not fit into `buf` is lost, unless it is only
    /// peeked at.
    pub(crate) fn recv(&mut self, id: UdpId, buf: &mut [u8], peek: bool) -> Result<UdpRecv, Error> {
        let socket = self.get_mut(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let datagram = socket.queue.front().ok_or(Error::WouldBlock)?;
        let full_len = datagram.first_len();
        let len = full_len.min(buf.len());
        buf[..len].copy_from_slice(&datagram.data[..len]);
        let received = UdpRecv {
            len,
            full_len,
            from: socket.shown(datagram.from),
            to: socket.shown(datagram.to),
            tos: datagram.tos,
            hop_limit: datagram.hop_limit,
            dont_fragment: datagram.dont_fragment,
        };
        if !peek {
            let freed = socket.release(full_len, 1);
            self.queued -= freed;
        }
        Ok(received)
    }

    /// The oldest datagrams of one sender, as many as fit into `buf` one after the other and have the size of the first,
    /// but for a shorter one at the end; [`MAX_RUN`] at most. Answers what is known of the first, and the bytes of all.
    pub(crate) fn recv_run(&mut self, id: UdpId, buf: &mut [u8]) -> Result<(UdpRecv, usize), Error> {
        let first = self.recv(id, buf, false)?;
        let (each, mut len) = (first.len, first.len);
        if first.full_len > each || each == 0 {
            return Ok((first, len));
        }
        let mut taken = 1;
        while taken < MAX_RUN {
            let socket = self.get_mut(id)?;
            let room = &mut buf[len..];
            let next = socket.queue.front().filter(|next| {
                let next_len = next.first_len();
                (1..=each).contains(&next_len) && next_len <= room.len() && next.is_alike(&first, socket)
            });
            let Some(next) = next.filter(|_| socket.error.is_none()) else { break };
            // Of joined ones of this size as many as there is room for, with one copy.
            let most = match next.each == each {
                true => each * (MAX_RUN - taken).min((room.len() / each).max(1)),
                false => next.first_len(),
            };
            let bytes = next.data.len().min(most);
            room[..bytes].copy_from_slice(&next.data[..bytes]);
            let count = count(bytes, next.each);
            let even = bytes == each * count;
            let freed = socket.release(bytes, count);
            self.queued -= freed;
            len += bytes;
            taken += count;
            if !even {
                break;
            }
        }
        Ok((first, len))
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
