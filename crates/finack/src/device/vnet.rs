//! The `virtio_net_hdr` that TUN and AF_PACKET put in front of a packet (Linux
//! `include/uapi/linux/virtio_net.h`, OASIS VIRTIO 1.2 §5.1.6), both ways.

use std::io;

use bytes::Bytes;
use finack_core::device::{ChecksumState, Packet, PacketBytes, PacketMeta, Transmit, TxChecksum};

/// Bytes of the header: without `num_buffers`, which neither device uses.
pub(super) const LEN: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// Offsets within the transport header.
const TCP_CHECKSUM: u16 = 16;
const UDP_CHECKSUM: u16 = 6;
const TCP_FLAGS: usize = 13;
const TCP_CWR: u8 = 0x80;
/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;

/// The header's fields, in the machine's byte order as both devices have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct VnetHeader {
    pub(super) flags: u8,
    pub(super) gso_type: u8,
    /// Bytes of all headers, from the first byte of the frame.
    pub(super) hdr_len: u16,
    /// Payload bytes of each segment.
    pub(super) gso_size: u16,
    /// First byte to sum, counted from the first byte of the frame.
    pub(super) csum_start: u16,
    /// Where the sum goes, counted from `csum_start`.
    pub(super) csum_offset: u16,
}

impl VnetHeader {
    pub(super) fn parse(b: &[u8; LEN]) -> Self {
        let u16_at = |i: usize| u16::from_ne_bytes([b[i], b[i + 1]]);
        Self {
            flags: b[0],
            gso_type: b[1],
            hdr_len: u16_at(2),
            gso_size: u16_at(4),
            csum_start: u16_at(6),
            csum_offset: u16_at(8),
        }
    }

    pub(super) fn emit(&self) -> [u8; LEN] {
        let mut b = [0; LEN];
        b[0] = self.flags;
        b[1] = self.gso_type;
        b[2..4].copy_from_slice(&self.hdr_len.to_ne_bytes());
        b[4..6].copy_from_slice(&self.gso_size.to_ne_bytes());
        b[6..8].copy_from_slice(&self.csum_start.to_ne_bytes());
        b[8..10].copy_from_slice(&self.csum_offset.to_ne_bytes());
        b
    }

    /// What to put in front of an outgoing packet whose IP header stands behind `link` bytes.
    ///
    /// # Errors
    /// `InvalidInput` for a unit that no device could cut: one with a finished checksum, or one
    /// that is neither TCP nor UDP.
    pub(super) fn for_transmit(t: &Transmit<'_>, link: u16) -> io::Result<Self> {
        let TxChecksum::Partial { start, offset } = t.checksum else {
            if is_unit(t) {
                return Err(invalid("a unit needs a partial checksum: each of its segments gets its own"));
            }
            return Ok(Self::default());
        };
        let mut h = Self {
            flags: NEEDS_CSUM,
            csum_start: start + link,
            csum_offset: offset,
            // Also for a single packet: AF_PACKET puts that many bytes in front and the rest in pages.
            hdr_len: t.header.len() as u16 + link,
            ..Self::default()
        };
        if is_unit(t) {
            h.gso_size = t.segment_size;
            let v6 = t.header.first().is_some_and(|b| b >> 4 == 6);
            h.gso_type = match offset {
                TCP_CHECKSUM if v6 => GSO_TCPV6,
                TCP_CHECKSUM => GSO_TCPV4,
                UDP_CHECKSUM => GSO_UDP_L4,
                _ => return Err(invalid("only TCP and UDP come in units")),
            };
            let flags = t.header.get(usize::from(start) + TCP_FLAGS);
            if offset == TCP_CHECKSUM && flags.is_some_and(|f| f & TCP_CWR != 0) {
                h.gso_type |= GSO_ECN;
            }
        }
        Ok(h)
    }

    /// Whether the packet stands for joined datagrams.
    pub(super) const fn is_datagrams(&self) -> bool {
        self.gso_type == GSO_UDP_L4
    }

    /// Hands an arrived IP packet over, with what this header says of it. `link` is the length
    /// of the link header that stood before it. Returns how many packets were appended to
    /// `batch`: 0 for one that contradicts its own header, else 1.
    pub(super) fn deliver(&self, packet: Bytes, link: u16, batch: &mut Vec<Packet<'static>>) -> usize {
        let checksum = match self.flags & (NEEDS_CSUM | DATA_VALID) {
            0 => ChecksumState::Unchecked,
            _ => ChecksumState::Valid,
        };
        let mut meta = PacketMeta { checksum, ..PacketMeta::default() };
        // What is not even an IP packet is for the engine to refuse and to count.
        let Some(ip) = IpLayout::of(&packet) else {
            batch.push(Packet { bytes: PacketBytes::Shared(packet), meta });
            return 1;
        };
        if self.gso_type != GSO_NONE {
            let transport = match self.flags & NEEDS_CSUM {
                0 => ip.header,
                _ => usize::from(self.csum_start).saturating_sub(usize::from(link)),
            };
            let size = usize::from(self.gso_size);
            let payload = match self.gso_type & !GSO_ECN {
                GSO_UDP_L4 => {
                    packet.len().checked_sub(transport + UDP_HEADER).filter(|_| transport >= ip.header)
                }
                _ => tcp_payload(&packet, transport),
            };
            let Some(payload) = payload.filter(|_| size != 0) else { return 0 };
            if payload > size {
                meta.segments = payload.div_ceil(size) as u16;
                meta.segment_size = self.gso_size;
            }
        }
        if ip.is_ce(&packet) {
            meta.ce_marks = meta.segments;
        }
        batch.push(Packet { bytes: PacketBytes::Shared(packet), meta });
        1
    }
}

/// Whether the packet stands for more than one wire segment.
fn is_unit(t: &Transmit<'_>) -> bool {
    t.segment_size != 0 && t.payload_len() > usize::from(t.segment_size)
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// As much of the IP header as a device must know.
#[derive(Clone, Copy)]
struct IpLayout {
    v6: bool,
    /// Bytes of the header, without IPv6 extension headers.
    header: usize,
}

impl IpLayout {
    fn of(packet: &[u8]) -> Option<Self> {
        let first = *packet.first()?;
        let (v6, header) = match first >> 4 {
            4 => (false, usize::from(first & 0xf) * 4),
            6 => (true, 40),
            _ => return None,
        };
        (header >= 20 && packet.len() >= header).then_some(Self { v6, header })
    }

    /// Congestion experienced (RFC 3168 §5): both bits of the ECN field.
    fn is_ce(self, packet: &[u8]) -> bool {
        let ecn = if self.v6 { packet[1] >> 4 } else { packet[1] };
        ecn & 3 == 3
    }
}

/// Payload bytes of the TCP segment whose header starts at `transport`.
fn tcp_payload(packet: &[u8], transport: usize) -> Option<usize> {
    let header = usize::from(packet.get(transport + 12)? >> 4) * 4;
    packet.len().checked_sub(transport + header)
}
