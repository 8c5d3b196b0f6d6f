//! Frames and packets as bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use finack_core::device::{Transmit, TxChecksum};
use finack_sum::{Accumulator, copy_and_sum};
use finack_wire::ethernet::{HEADER_LEN, MacAddr};
use finack_wire::{ip, ndp, protocol, udp};

pub(super) const TYPE_IPV4: [u8; 2] = [0x08, 0x00];
pub(super) const TYPE_IPV6: [u8; 2] = [0x86, 0xdd];
pub(super) const TYPE_ARP: [u8; 2] = [0x08, 0x06];

/// Where TCP and UDP headers have their checksums.
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

pub(super) fn link_header(to: MacAddr, from: MacAddr, v6: bool) -> [u8; HEADER_LEN] {
    let mut link = [0; HEADER_LEN];
    link[..6].copy_from_slice(&to.0);
    link[6..12].copy_from_slice(&from.0);
    link[12..].copy_from_slice(if v6 { &TYPE_IPV6 } else { &TYPE_IPV4 });
    link
}

fn v4(packet: &[u8], at: usize) -> Option<IpAddr> {
    packet.get(at..)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into())
}

fn v6(packet: &[u8], at: usize) -> Option<IpAddr> {
    packet.get(at..)?.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into())
}

/// Where an IP packet is to go.
pub(super) fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => v4(packet, 16),
        6 => v6(packet, 24),
        _ => None,
    }
}

/// Where an IP packet says that it is from.
pub(super) fn source(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => v4(packet, 12),
        6 => v6(packet, 8),
        _ => None,
    }
}

/// Whether an IPv6 packet is worth a closer look: ICMPv6 of the two types.
pub(super) fn may_be_about_neighbours(packet: &[u8]) -> bool {
    packet.get(6) == Some(&protocol::ICMPV6)
        && matches!(packet.get(40), Some(&(ndp::SOLICITATION | ndp::ADVERTISEMENT)))
}

/// Whether a packet's transport checksum was left to hardware that was not there: where it belongs stands the
/// pseudo-header's sum, as the kernel puts it there for a card to go on from.
pub(super) fn has_partial_checksum(packet: &[u8]) -> bool {
    let Ok(header) = ip::parse(packet) else { return false };
    let at = match header.protocol {
        protocol::TCP => TCP_CHECKSUM,
        protocol::UDP => UDP_CHECKSUM,
        _ => return false,
    };
    let body = header.payload(packet);
    let field = body.get(at..).and_then(|field| field.first_chunk::<2>());
    let sum = header.pseudo_header_sum(body.len());
    header.fragment.is_none() && field.is_some_and(|field| u16::from_be_bytes(*field) == sum)
}

/// Writes a packet behind its link header, and finishes its checksum on the way. It must fit.
pub(super) fn write(frame: &mut [u8], link: &[u8; HEADER_LEN], packet: &Transmit<'_>) {
    let (front, rest) = frame.split_at_mut(HEADER_LEN);
    front.copy_from_slice(link);
    let (header, mut rest) = rest.split_at_mut(packet.header.len());
    header.copy_from_slice(packet.header);
    let TxChecksum::Partial { start, offset } = packet.checksum else {
        for slice in packet.payload() {
            let (part, behind) = rest.split_at_mut(slice.len());
            part.copy_from_slice(slice);
            rest = behind;
        }
        return;
    };
    let start = usize::from(start).min(header.len());
    let mut sum = Accumulator::new();
    sum.add(&header[start..]);
    for slice in packet.payload() {
        let (part, behind) = rest.split_at_mut(slice.len());
        sum.add_sum(copy_and_sum(part, slice), slice.len());
        rest = behind;
    }
    let offset = usize::from(offset);
    let checksum = if offset == UDP_CHECKSUM { udp::nonzero(sum.finish()) } else { sum.finish() };
    if let Some(field) = header.get_mut(start + offset..start + offset + 2) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use finack_core::device::Slices;

    /// A TCP segment of 10.0.0.1 to 10.0.0.2 whose checksum is left to the device.
    fn header(payload: usize) -> Vec<u8> {
        let mut header = vec![0; 40];
        header[0] = 0x45;
        header[2..4].copy_from_slice(&(40 + payload as u16).to_be_bytes());
        header[8] = 64;
        header[9] = protocol::TCP;
        header[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        let sum = !finack_sum::sum(&header[..20]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header[32] = 0x50;
        let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(10, 0, 0, 2).into());
        let sum = ip::pseudo_header_sum(&src, &dst, protocol::TCP, 20 + payload);
        header[36..38].copy_from_slice(&sum.to_be_bytes());
        header
    }

    #[test]
    fn a_frame_is_what_write_finished_writes_behind_the_link_header() {
        let header = header(12);
        for checksum in [TxChecksum::Complete, TxChecksum::Partial { start: 20, offset: 16 }] {
            // Slices of odd lengths: the second begins within a word.
            let payload = Slices::several(&[b"abc", b"defgh", b"ijkl"]);
            let packet = Transmit { header: &header, payload, segment_size: 0, checksum, number: 0 };
            let link = link_header(MacAddr([2; 6]), MacAddr([4; 6]), false);
            let mut frame = [0xaa; 100];
            write(&mut frame, &link, &packet);
            let mut expected = link.to_vec();
            packet.write_finished(&mut expected);
            assert_eq!(frame[..expected.len()], expected[..]);
            assert_eq!(frame[expected.len()..], [0xaa; 100][expected.len()..]);
        }
    }

    #[test]
    fn a_checksum_left_to_hardware_is_told_from_a_finished_one() {
        let mut packet = header(4);
        packet.extend_from_slice(b"data");
        assert!(has_partial_checksum(&packet));
        let sum = !finack_sum::sum(&packet[20..]);
        packet[36..38].copy_from_slice(&sum.to_be_bytes());
        assert!(!has_partial_checksum(&packet));
        assert!(!has_partial_checksum(&packet[..30]));
    }

    #[test]
    fn addresses_are_read_where_they_stand() {
        let packet = header(0);
        assert_eq!(destination(&packet), Some(Ipv4Addr::new(10, 0, 0, 2).into()));
        assert_eq!(source(&packet), Some(Ipv4Addr::new(10, 0, 0, 1).into()));
        assert_eq!((destination(&packet[..18]), destination(&[]), source(&[0; 40])), (None, None, None));
    }
}
