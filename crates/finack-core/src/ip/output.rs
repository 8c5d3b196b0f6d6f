//! Packets on their way out that belong to no connection: datagrams, ICMP messages, answers to strays.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::stack::UdpId;
use crate::tcp::emit::MAX_HEADERS;

#[cfg(test)]
mod tests;

/// Packets and bytes that may wait for the device.
const MOST_PACKETS: usize = 4096;
const MOST_BYTES: usize = 8 << 20;
/// Buffers kept for use again, and the largest of them.
const SPARES: usize = 64;
const SPARE_BYTES: usize = 4096;
/// Buffers of units that are kept.
const LARGE_SPARES: usize = 4;
const LARGE_SPARE_BYTES: usize = 66_000;

/// What a device must know of a packet that it is to cut into UDP datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Where the UDP header starts, whose checksum is to be finished.
    pub(crate) start: u16,
    /// Bytes of data of each datagram but the last.
    pub(crate) each: u16,
}

#[derive(Clone, Debug)]
struct Queued {
    packet: Vec<u8>,
    number: u64,
    owner: Option<UdpId>,
    unit: Option<Unit>,
}

/// A packet of headers alone, which needs no memory of its own where no other waits.
#[derive(Clone, Debug)]
struct Brief {
    bytes: [u8; MAX_HEADERS],
    /// How many of these are the packet; 0 where none waits.
    waits: usize,
    number: u64,
    /// How many of these the device is looking at; 0 where it looks at another packet.
    lent: usize,
}

impl Default for Brief {
    fn default() -> Self {
        Self { bytes: [0; MAX_HEADERS], waits: 0, number: 0, lent: 0 }
    }
}

/// Finished packets that wait for the device, at most 4096 of them and 8 MiB.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutQueue {
    queue: VecDeque<Queued>,
    /// In front of the queue, if it waits.
    brief: Brief,
    bytes: usize,
    /// The packet that the device is looking at, unless that is the brief one.
    lent: Vec<u8>,
    lent_number: u64,
    lent_unit: Option<Unit>,
    /// The number given last to a packet, queued or not.
    number: u64,
    spares: Vec<Vec<u8>>,
    large_spares: Vec<Vec<u8>>,
    dropped: u64,
}

impl OutQueue {
    /// An empty buffer to build a packet in.
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        self.spares.pop().unwrap_or_default()
    }

    /// A number for a packet on its way out.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Numbers from `first` on.
    pub(crate) const fn set_first_number(&mut self, first: u64) {
        self.number = first;
    }

    /// Queues a finished packet, checksums and all; false where the queue is full and the packet was dropped.
    #[cfg(test)]
    pub(crate) fn push(&mut self, packet: Vec<u8>) -> bool {
        self.push_owned(packet, None)
    }

    /// Queues a finished packet that counts against a socket's send buffer; false where the queue is full and the
    /// packet was dropped.
    pub(crate) fn push_owned(&mut self, packet: Vec<u8>, owner: Option<UdpId>) -> bool {
        let number = self.next_number();
        self.push_numbered(packet, number, owner)
    }

    /// [`push_owned`](Self::push_owned) of a packet that was numbered before.
    pub(crate) fn push_numbered(&mut self, packet: Vec<u8>, number: u64, owner: Option<UdpId>) -> bool {
        if !self.has_room(1, packet.len()) {
            self.dropped += 1;
            self.recycle(packet);
            return false;
        }
        self.bytes += packet.len();
        self.queue.push_back(Queued { packet, number, owner, unit: None });
        true
    }

    /// Queues a packet of headers alone, which `write` writes; it answers their length. Dropped where the queue is full.
    #[inline]
    pub(crate) fn push_headers(&mut self, write: impl FnOnce(&mut [u8; MAX_HEADERS]) -> usize) {
        if self.is_empty() {
            let len = write(&mut self.brief.bytes);
            (self.brief.waits, self.brief.number) = (len, self.next_number());
            self.bytes += len;
            return;
        }
        let (mut out, mut packet) = ([0; MAX_HEADERS], self.buffer());
        let len = write(&mut out);
        packet.extend_from_slice(&out[..len]);
        self.push_owned(packet, None);
    }

    /// Queues a packet that the device is to cut, for which there is [room](Self::has_room).
    pub(crate) fn push_unit(&mut self, packet: Vec<u8>, unit: Unit, owner: UdpId) {
        let number = self.next_number();
        self.bytes += packet.len();
        self.queue.push_back(Queued { packet, number, owner: Some(owner), unit: Some(unit) });
    }

    /// An empty buffer for a large packet.
    pub(crate) fn large_buffer(&mut self) -> Vec<u8> {
        self.large_spares.pop().unwrap_or_default()
    }

    /// Whether so many packets of `bytes` bytes together still fit.
    pub(crate) fn has_room(&self, packets: usize, bytes: usize) -> bool {
        self.len() + packets <= MOST_PACKETS && self.bytes + bytes <= MOST_BYTES
    }

    /// Whether at least half of the queue is free.
    pub(crate) fn is_half_free(&self) -> bool {
        self.len() <= MOST_PACKETS / 2 && self.bytes <= MOST_BYTES / 2
    }

    /// Whether nothing waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.brief.waits == 0 && self.queue.is_empty()
    }

    fn len(&self) -> usize {
        self.queue.len() + usize::from(self.brief.waits > 0)
    }

    /// Takes the first packet out. [`lent`](Self::lent) shows it until the next call; given back is whose it is, and
    /// its length.
    pub(crate) fn pop(&mut self) -> Option<(Option<UdpId>, usize)> {
        self.brief.lent = core::mem::take(&mut self.brief.waits);
        if self.brief.lent > 0 {
            self.lent_number = self.brief.number;
            self.lent_unit = None;
            self.bytes -= self.brief.lent;
            return Some((None, self.brief.lent));
        }
        let Queued { packet, number, owner, unit } = self.queue.pop_front()?;
        self.lent_number = number;
        self.lent_unit = unit;
        let len = packet.len();
        self.bytes -= len;
        let before = core::mem::replace(&mut self.lent, packet);
        self.recycle(before);
        Some((owner, len))
    }

    /// The packet that [`pop`](Self::pop) took out last.
    #[inline]
    pub(crate) fn lent(&self) -> &[u8] {
        if self.brief.lent > 0 { &self.brief.bytes[..self.brief.lent] } else { &self.lent }
    }

    /// How the device is to cut it.
    pub(crate) const fn lent_unit(&self) -> Option<Unit> {
        self.lent_unit
    }

    /// Its number.
    pub(crate) const fn lent_number(&self) -> u64 {
        self.lent_number
    }

    /// Packets dropped because the queue was full.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Bytes that the queue takes.
    pub(crate) fn memory(&self) -> usize {
        let spares: usize = self.spares.iter().chain(&self.large_spares).map(Vec::capacity).sum();
        self.bytes + spares + self.lent.capacity() + self.queue.capacity() * size_of::<Queued>()
    }

    /// Takes a buffer back that was not needed after all.
    pub(crate) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() > 0 && buffer.capacity() <= SPARE_BYTES && self.spares.len() < SPARES {
            buffer.clear();
            self.spares.push(buffer);
        } else if (SPARE_BYTES + 1..=LARGE_SPARE_BYTES).contains(&buffer.capacity())
            && self.large_spares.len() < LARGE_SPARES
        {
            buffer.clear();
            self.large_spares.push(buffer);
        }
    }
}
