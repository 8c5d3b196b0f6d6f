//! What the engine and a device tell each other about packets.
//!
//! Everything here is an IP packet (no link-layer header). A *unit* is a packet of up to 64 KiB that
//! stands for several wire segments of `segment_size` bytes each, as the kernel's TSO and GRO have it.

use alloc::vec::Vec;

use bytes::Bytes;
use finack_sum::{Accumulator, append_and_sum, append_packet_and_sum};
use finack_wire::udp;

use crate::tcp::seq::Pos;
use crate::tcp::{Runs, SendBuffer};

/// Where a UDP header has its checksum, in which 0 would mean that there is none (RFC 768).
const UDP_CHECKSUM: usize = 6;

/// Most slices a payload is lent in; a unit is cut where its payload would need more.
pub const MAX_SLICES: usize = 18;

/// What a device can do for the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Largest IP packet on the wire, in bytes (68 for IPv4, 1280 for IPv6, up to 65535).
    pub mtu: usize,
    /// Largest unit (IP header included) that the device takes and splits itself, in bytes;
    /// equal to `mtu` for a device that splits nothing. At most 65535.
    pub max_unit: usize,
    /// The device finishes TCP and UDP checksums: the engine leaves the pseudo-header's sum there.
    pub checksum_tx: bool,
    /// The device takes UDP units too (USO).
    pub udp_units: bool,
}

impl Capabilities {
    /// A device that does nothing but carry packets of at most `mtu` bytes.
    pub const fn plain(mtu: usize) -> Self {
        Self { mtu, max_unit: mtu, checksum_tx: false, udp_units: false }
    }
}

/// What is known of a received packet's transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ChecksumState {
    /// Nothing: the engine verifies it.
    #[default]
    Unchecked,
    /// The device vouches for it: verified, or never put on a wire (a partial checksum).
    Valid,
}

/// What a device says about a packet that it received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketMeta {
    /// Whether the transport checksum must still be verified.
    pub checksum: ChecksumState,
    /// Wire segments that were joined into this packet, at least 1.
    pub segments: u16,
    /// Payload bytes of each joined segment but the last; 0 where nothing was joined.
    pub segment_size: u16,
    /// How many of the joined segments were marked CE.
    pub ce_marks: u16,
    /// What trace events about this packet call it ([`PacketId::In`](crate::trace::PacketId::In)); 0 where the device
    /// numbers nothing.
    pub number: u64,
}

impl Default for PacketMeta {
    fn default() -> Self {
        Self { checksum: ChecksumState::Unchecked, segments: 1, segment_size: 0, ce_marks: 0, number: 0 }
    }
}

/// The bytes of a received packet: lent, or given away so that payload need not be copied.
#[derive(Clone, Debug)]
pub enum PacketBytes<'a> {
    /// Valid for the call only; payload that must be kept is copied.
    Borrowed(&'a [u8]),
    /// The engine may keep slices of it until the application has read them.
    Shared(Bytes),
}

impl PacketBytes<'_> {
    /// The bytes, from the IP header on.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(b) => b,
            Self::Shared(b) => b,
        }
    }
}

/// A received IP packet.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// From the IP header on.
    pub bytes: PacketBytes<'a>,
    /// What the device knows of it.
    pub meta: PacketMeta,
}

impl<'a> Packet<'a> {
    /// A packet lent for the call, of which nothing is known.
    pub fn borrowed(bytes: &'a [u8]) -> Self {
        Self { bytes: PacketBytes::Borrowed(bytes), meta: PacketMeta::default() }
    }

    /// A packet given away, of which nothing is known.
    pub fn shared(bytes: Bytes) -> Self {
        Self { bytes: PacketBytes::Shared(bytes), meta: PacketMeta::default() }
    }
}

/// What is left to do for an outgoing packet's transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxChecksum {
    /// Nothing: it is finished (or the packet has none).
    Complete,
    /// The device sums from `start` (bytes from the packet's first) to its end and stores the
    /// result `offset` bytes after `start`; the pseudo-header's sum already stands there.
    Partial {
        /// First byte summed.
        start: u16,
        /// Where the checksum goes, counted from `start`.
        offset: u16,
    },
}

/// The payload of an outgoing packet, in order: mostly one slice, at most [`MAX_SLICES`].
#[derive(Clone, Copy, Debug)]
pub struct Slices<'a>(Lent<'a>);

/// A few words, for a packet is moved about as often as it is sent: what lies in pieces is looked up by who reads it.
#[derive(Clone, Copy, Debug)]
enum Lent<'a> {
    One(&'a [u8]),
    Several(&'a [&'a [u8]]),
    Queued { buffer: &'a SendBuffer, from: Pos, to: Pos },
}

impl<'a> Slices<'a> {
    /// A payload in one piece, which may be empty.
    #[inline]
    pub const fn one(slice: &'a [u8]) -> Self {
        Self(Lent::One(slice))
    }

    /// A payload in pieces, of which the first [`MAX_SLICES`] are taken.
    pub const fn several(pieces: &'a [&'a [u8]]) -> Self {
        Self(Lent::Several(pieces))
    }

    /// Bytes `from..to` of a send buffer.
    pub(crate) const fn queued(buffer: &'a SendBuffer, from: Pos, to: Pos) -> Self {
        Self(Lent::Queued { buffer, from, to })
    }

    /// The slices; none of no payload.
    #[inline]
    pub fn iter(&self) -> Pieces<'a> {
        Pieces(match self.0 {
            Lent::One(slice) => Walk::One(Some(slice).filter(|slice| !slice.is_empty())),
            Lent::Several(pieces) => Walk::Several(pieces[..pieces.len().min(MAX_SLICES)].iter()),
            Lent::Queued { buffer, from, to } => Walk::Queued(buffer.runs(from, to).take(MAX_SLICES)),
        })
    }
}

impl<'a> IntoIterator for &Slices<'a> {
    type Item = &'a [u8];
    type IntoIter = Pieces<'a>;

    fn into_iter(self) -> Pieces<'a> {
        self.iter()
    }
}

/// What [`Slices::iter`] walks along.
#[derive(Clone, Debug)]
pub struct Pieces<'a>(Walk<'a>);

#[derive(Clone, Debug)]
enum Walk<'a> {
    One(Option<&'a [u8]>),
    Several(core::slice::Iter<'a, &'a [u8]>),
    Queued(core::iter::Take<Runs<'a>>),
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match &mut self.0 {
            Walk::One(slice) => slice.take(),
            Walk::Several(pieces) => pieces.next().copied(),
            Walk::Queued(runs) => runs.next(),
        }
    }
}

/// An outgoing packet or unit, lent until the next call on the stack.
#[derive(Clone, Debug)]
pub struct Transmit<'a> {
    /// IP header and transport header.
    pub header: &'a [u8],
    /// What follows it.
    pub payload: Slices<'a>,
    /// Payload bytes of each wire segment; 0 where the packet is one segment.
    pub segment_size: u16,
    /// What the device must still do for the checksum.
    pub checksum: TxChecksum,
    /// What trace events about this packet call it ([`PacketId::Out`](crate::trace::PacketId::Out)): never twice the
    /// same from one stack, and in no particular order.
    pub number: u64,
}

impl<'a> Transmit<'a> {
    /// The payload's slices.
    #[inline]
    pub fn payload(&self) -> Pieces<'a> {
        self.payload.iter()
    }

    /// Bytes of the payload.
    #[inline]
    pub fn payload_len(&self) -> usize {
        if let Lent::One(slice) = self.payload.0 {
            slice.len()
        } else {
            self.payload().map(<[u8]>::len).sum()
        }
    }

    /// Bytes of the whole packet.
    #[inline]
    pub fn len(&self) -> usize {
        self.header.len() + self.payload_len()
    }

    /// Never: a packet has at least a header.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the whole packet to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        // At once: growing with each slice would copy what came before it.
        out.reserve(self.len());
        out.extend_from_slice(self.header);
        if let Lent::One(slice) = self.payload.0 {
            return out.extend_from_slice(slice);
        }
        for slice in self.payload() {
            out.extend_from_slice(slice);
        }
    }

    /// [`write_to`](Self::write_to) with the checksum finished: what [`TxChecksum::Partial`] leaves to the device is summed while
    /// it is copied, so that a device that copies and says `checksum_tx` reads each byte once for both. A unit gets the one
    /// checksum of a packet of its size: a device that cuts it must finish each segment's own.
    pub fn write_finished(&self, out: &mut Vec<u8>) {
        let TxChecksum::Partial { start, offset } = self.checksum else { return self.write_to(out) };
        let begun = out.len();
        let (start, offset) = (usize::from(start).min(self.header.len()), usize::from(offset));
        let sum = match self.payload.0 {
            Lent::One(slice) => append_packet_and_sum(out, self.header, start, slice),
            _ => {
                out.reserve(self.len());
                out.extend_from_slice(self.header);
                let mut sum = Accumulator::new();
                sum.add(&self.header[start..]);
                for slice in self.payload() {
                    sum.add_sum(append_and_sum(out, slice), slice.len());
                }
                sum.folded()
            }
        };
        let checksum = if offset == UDP_CHECKSUM { udp::nonzero(!sum) } else { !sum };
        let field = begun + start + offset;
        if let Some(field) = out.get_mut(field..field + 2) {
            field.copy_from_slice(&checksum.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
