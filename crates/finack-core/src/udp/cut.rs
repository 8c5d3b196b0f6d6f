//! Joined datagrams as their sender had sent them.

use alloc::vec::Vec;

use finack_wire::ip::IpHeader;
use finack_wire::udp;

/// Cuts a packet that stands for several datagrams of `each` bytes into packets of one; their UDP checksums are not
/// finished.
pub(crate) fn cut<'a>(
    header: &'a IpHeader,
    packet: &'a [u8],
    each: usize,
) -> impl Iterator<Item = Vec<u8>> + 'a {
    let datagram = header.payload(packet);
    let start = packet.len().min(header.header_len);
    let front = packet.get(..start + udp::HEADER_LEN).unwrap_or_default();
    let data = datagram.get(udp::HEADER_LEN..).unwrap_or_default();
    data.chunks(each.max(1)).enumerate().filter(|_| !front.is_empty()).map(move |(index, part)| {
        let mut one = Vec::with_capacity(front.len() + part.len());
        one.extend_from_slice(front);
        one.extend_from_slice(part);
        let len = (udp::HEADER_LEN + part.len()) as u16;
        one[start + 4..start + 6].copy_from_slice(&len.to_be_bytes());
        fix_ip_header(&mut one, header.is_v6(), start, index as u16);
        one
    })
}

/// Writes the packet's length, and for IPv4 the identification of the `index`-th and the checksum.
fn fix_ip_header(packet: &mut [u8], v6: bool, header: usize, index: u16) {
    if v6 {
        let len = (packet.len() - 40) as u16;
        packet[4..6].copy_from_slice(&len.to_be_bytes());
        return;
    }
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    let ident = u16::from_be_bytes([packet[4], packet[5]]).wrapping_add(index);
    packet[4..6].copy_from_slice(&ident.to_be_bytes());
    packet[10..12].fill(0);
    let checksum = !finack_sum::sum(&packet[..header]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}
