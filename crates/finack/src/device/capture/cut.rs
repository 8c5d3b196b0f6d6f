//! Units cut into the packets that they stand for, with finished checksums, as a wire would show them.

use finack_core::device::{ChecksumState, PacketMeta, Transmit, TxChecksum};
use finack_wire::ip::{self, IpHeader};
use finack_wire::tcp::{self, Flags, TcpHeader};
use finack_wire::{ipv4, protocol, udp};

#[cfg(test)]
mod tests;

/// What is still to be done to a packet before a wire would show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unfinished {
    /// Payload bytes of each packet that the unit stands for; 0 where it is one packet.
    pub(super) segment_size: u16,
    /// The transport checksum is not there yet, or it is known to be right, so that it may be computed.
    pub(super) checksum: bool,
}

impl Unfinished {
    pub(super) fn received(meta: &PacketMeta) -> Self {
        Self { segment_size: meta.segment_size, checksum: meta.checksum == ChecksumState::Valid }
    }

    pub(super) fn sent(packet: &Transmit<'_>) -> Self {
        Self { segment_size: packet.segment_size, checksum: packet.checksum != TxChecksum::Complete }
    }
}

/// A packet or unit, and where to cut it.
pub(super) struct Cut<'a> {
    bytes: &'a [u8],
    /// What is written anew in each packet; without it the bytes are shown as they are.
    layout: Option<Layout>,
    /// Payload bytes of each packet but the last.
    size: usize,
    count: usize,
}

struct Layout {
    ip: IpHeader,
    transport: Transport,
    /// Bytes of all headers.
    front: usize,
}

enum Transport {
    Tcp(TcpHeader),
    Udp { length: u16, checksum: bool },
}

impl<'a> Cut<'a> {
    /// What makes no sense, and what needs nothing, is one packet as it is: a capture shows mistakes as they came.
    pub(super) fn of(bytes: &'a [u8], unfinished: Unfinished) -> Self {
        let size = usize::from(unfinished.segment_size);
        let as_it_is = Self { bytes, layout: None, size: 0, count: 1 };
        let Some(layout) = Layout::of(bytes) else { return as_it_is };
        let payload = layout.ip.total_len() - layout.front;
        let count = if size == 0 { 1 } else { payload.div_ceil(size).max(1) };
        if count == 1 && (!unfinished.checksum || !layout.is_consistent(payload)) {
            return as_it_is;
        }
        Self { bytes, layout: Some(layout), size: if count == 1 { payload } else { size }, count }
    }

    /// Packets that it is on the wire.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Bytes of the packet `index` on the wire.
    pub(super) fn len(&self, index: usize) -> usize {
        match &self.layout {
            None => self.bytes.len(),
            Some(layout) => layout.front + self.payload(layout, index).len(),
        }
    }

    fn payload(&self, layout: &Layout, index: usize) -> &'a [u8] {
        let payload = &self.bytes[layout.front..layout.ip.total_len()];
        let start = (index * self.size).min(payload.len());
        &payload[start..(start + self.size).min(payload.len())]
    }

    /// Appends the packet `index`, all of it.
    pub(super) fn write(&self, index: usize, out: &mut Vec<u8>) {
        let Some(layout) = &self.layout else {
            out.extend_from_slice(self.bytes);
            return;
        };
        let start = out.len();
        out.extend_from_slice(&self.bytes[..layout.front]);
        out.extend_from_slice(self.payload(layout, index));
        let packet = &mut out[start..];
        layout.fix_ip(packet, index);
        let segment = &mut packet[layout.ip.header_len..];
        let pseudo = layout.ip.pseudo_header_sum(segment.len());
        match &layout.transport {
            Transport::Tcp(header) => {
                fix_tcp(segment, header, index * self.size, index + 1 == self.count);
                tcp::set_checksum(segment, 0);
                let checksum = tcp::checksum(pseudo, segment);
                tcp::set_checksum(segment, checksum);
            }
            Transport::Udp { checksum, .. } => {
                let len = segment.len() as u16;
                segment[4..6].copy_from_slice(&len.to_be_bytes());
                if *checksum {
                    udp::set_checksum(segment, 0);
                    let checksum = udp::checksum(pseudo, segment);
                    udp::set_checksum(segment, checksum);
                }
            }
        }
    }
}

impl Layout {
    /// `None` for what is no TCP or UDP packet, and for fragments, whose checksums are about the whole.
    fn of(bytes: &[u8]) -> Option<Self> {
        let ip = ip::parse(bytes).ok().filter(|ip| ip.fragment.is_none())?;
        let segment = ip.payload(bytes);
        let (transport, header_len) = match ip.protocol {
            protocol::TCP => {
                let header = TcpHeader::parse(segment).ok()?;
                (Transport::Tcp(header), header.header_len)
            }
            protocol::UDP => {
                let header = segment.first_chunk::<{ udp::HEADER_LEN }>()?;
                let length = u16::from_be_bytes([header[4], header[5]]);
                // 0 over IPv4: the sender wanted none (RFC 768).
                let checksum = ip.is_v6() || header[6..8] != [0, 0];
                (Transport::Udp { length, checksum }, udp::HEADER_LEN)
            }
            _ => return None,
        };
        Some(Self { ip, transport, front: ip.header_len + header_len })
    }

    /// Whether a single packet's UDP length is that of what IP carries: if not, nobody knows what its checksum covers.
    fn is_consistent(&self, payload: usize) -> bool {
        match self.transport {
            Transport::Tcp(_) => true,
            Transport::Udp { length, .. } => usize::from(length) == udp::HEADER_LEN + payload,
        }
    }

    /// The packet's own length and, in IPv4, identification and checksum.
    fn fix_ip(&self, packet: &mut [u8], index: usize) {
        let total = packet.len();
        if self.ip.is_v6() {
            // The payload length counts extension headers too (RFC 8200 3).
            packet[4..6].copy_from_slice(&((total - 40) as u16).to_be_bytes());
            return;
        }
        packet[2..4].copy_from_slice(&(total as u16).to_be_bytes());
        // What cuts a unit counts up, as Linux does.
        let id = u16::from_be_bytes([packet[4], packet[5]]).wrapping_add(index as u16);
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        let header = &mut packet[..self.ip.header_len.max(ipv4::HEADER_LEN)];
        header[10..12].fill(0);
        let checksum = !finack_sum::sum(header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// What differs between the segments of a unit: the sequence number; FIN and PSH, which are the last one's; CWR, which
/// is the first one's (RFC 3168 6.1.2); the urgent pointer, which counts from each segment's own number.
fn fix_tcp(segment: &mut [u8], header: &TcpHeader, offset: usize, last: bool) {
    let seq = header.seq.wrapping_add(offset as u32);
    segment[4..8].copy_from_slice(&seq.to_be_bytes());
    let mut flags = header.flags;
    if !last {
        flags = flags.without(Flags::FIN | Flags::PSH);
    }
    if offset > 0 {
        flags = flags.without(Flags::CWR);
        if usize::from(header.urgent) > offset {
            segment[18..20].copy_from_slice(&(header.urgent - offset as u16).to_be_bytes());
        } else {
            flags = flags.without(Flags::URG);
            segment[18..20].fill(0);
        }
    }
    // The upper nibble is the data offset, and the bits that nobody has defined stay as they are.
    let kept = u16::from_be_bytes([segment[12], segment[13]]) & !Flags::ALL.0;
    segment[12..14].copy_from_slice(&(kept | flags.0).to_be_bytes());
}
