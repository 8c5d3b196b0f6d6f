//! Just enough of IPv4, TCP and UDP for a bare loop: headers are read and written, and nothing is checked.

use std::net::Ipv4Addr;
use std::ops::Range;

/// Bytes of the `virtio_net_hdr` before each packet.
pub const FRONT: usize = 10;
/// Bytes of what stands before a TCP segment's data, and of a UDP datagram's.
pub const TCP_HEAD: usize = FRONT + 40;
pub const UDP_HEAD: usize = FRONT + 28;
/// Room for the largest packet.
pub const ROOM: usize = FRONT + 65_535;
/// Data of a full segment at MTU 1500, and of the largest unit of them.
pub const SEGMENT: usize = 1460;
pub const UNIT: usize = 44 * SEGMENT;
/// The window that is offered is as many times what the field says.
pub const SHIFT: u8 = 10;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

const TCP: u8 = 6;
const UDP: u8 = 17;
const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_UDP_L4: u8 = 5;

/// Both ends of what a packet belongs to, as the kernel's side sees them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    pub client: (Ipv4Addr, u16),
    pub server: (Ipv4Addr, u16),
}

/// What is read of a TCP segment.
pub struct Segment {
    pub ends: Ends,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    /// Of a SYN: by how much its sender's windows are to be shifted.
    pub shift: u8,
    /// Where the data stands in the packet.
    pub data: Range<usize>,
}

/// What is read of a UDP datagram, or of a unit of them.
pub struct Datagram {
    pub ends: Ends,
    /// Bytes of each datagram of a unit; 0 for a single one.
    pub each: usize,
    pub data: Range<usize>,
}

pub enum Seen {
    Tcp(Segment),
    Udp(Datagram),
}

fn u16_at(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

fn u32_at(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

fn ip_at(packet: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32_at(packet, at))
}

/// Looks at a packet with its device header; none of anything but IPv4.
pub fn see(packet: &[u8]) -> Option<Seen> {
    let ip = FRONT;
    if packet.len() < UDP_HEAD || packet[ip] >> 4 != 4 {
        return None;
    }
    let at = ip + usize::from(packet[ip] & 15) * 4;
    let ends = Ends {
        client: (ip_at(packet, ip + 12), u16_at(packet, at)),
        server: (ip_at(packet, ip + 16), u16_at(packet, at + 2)),
    };
    match packet[ip + 9] {
        UDP => {
            let each = usize::from(u16::from_ne_bytes([packet[4], packet[5]]));
            Some(Seen::Udp(Datagram { ends, each, data: at + 8..packet.len() }))
        }
        TCP if packet.len() >= at + 20 => {
            let data = at + usize::from(packet[at + 12] >> 4) * 4;
            let flags = packet[at + 13];
            let options = packet.get(at + 20..data)?;
            Some(Seen::Tcp(Segment {
                ends,
                seq: u32_at(packet, at + 4),
                ack: u32_at(packet, at + 8),
                flags,
                window: u16_at(packet, at + 14),
                shift: if flags & SYN != 0 { shift(options) } else { 0 },
                data: data..packet.len(),
            }))
        }
        _ => None,
    }
}

/// The window scale option's value.
fn shift(mut options: &[u8]) -> u8 {
    loop {
        match options {
            [1, rest @ ..] => options = rest,
            [3, 3, shift, ..] => return *shift,
            [2..=255, len, ..] if (2..=options.len()).contains(&usize::from(*len)) => {
                options = &options[usize::from(*len)..];
            }
            _ => return 0,
        }
    }
}

/// What goes before `data` bytes of a segment.
pub struct Head {
    pub ends: Ends,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub data: usize,
}

/// Writes a segment's headers to the beginning of `out`; answers how many bytes these are: [`TCP_HEAD`], and options
/// for a SYN.
pub fn write_tcp(out: &mut [u8], head: &Head) -> usize {
    const OPTIONS: [u8; 8] = [2, 4, (SEGMENT >> 8) as u8, SEGMENT as u8, 1, 3, 3, SHIFT];
    let options: &[u8] = if head.flags & SYN != 0 { &OPTIONS } else { &[] };
    let unit = if head.data > SEGMENT { (GSO_TCPV4, SEGMENT) } else { (0, 0) };
    front(out, unit, 40 + options.len(), 16);
    ip(out, &head.ends, TCP, 20 + options.len() + head.data);
    let tcp = &mut out[FRONT + 20..];
    ports(tcp, &head.ends);
    tcp[4..8].copy_from_slice(&head.seq.to_be_bytes());
    tcp[8..12].copy_from_slice(&head.ack.to_be_bytes());
    tcp[12] = (5 + options.len() as u8 / 4) << 4;
    tcp[13] = head.flags;
    tcp[14..16].copy_from_slice(&head.window.to_be_bytes());
    tcp[16..20].fill(0);
    tcp[20..20 + options.len()].copy_from_slice(options);
    TCP_HEAD + options.len()
}

/// Writes the headers of `data` bytes of datagrams, each of `each`.
pub fn write_udp(out: &mut [u8], ends: &Ends, data: usize, each: usize) {
    let unit = if data > each { (GSO_UDP_L4, each) } else { (0, 0) };
    front(out, unit, 28, 6);
    ip(out, ends, UDP, 8 + data);
    let udp = &mut out[FRONT + 20..];
    ports(udp, ends);
    udp[4..6].copy_from_slice(&((8 + data) as u16).to_be_bytes());
    udp[6..8].fill(0);
}

fn front(out: &mut [u8], (kind, each): (u8, usize), headers: usize, checksum: u16) {
    // The kernel takes a checksum that is still to be finished for a good one.
    out[0] = NEEDS_CSUM;
    out[1] = kind;
    out[2..4].copy_from_slice(&(headers as u16).to_ne_bytes());
    out[4..6].copy_from_slice(&(each as u16).to_ne_bytes());
    out[6..8].copy_from_slice(&20_u16.to_ne_bytes());
    out[8..10].copy_from_slice(&checksum.to_ne_bytes());
}

fn ports(out: &mut [u8], ends: &Ends) {
    out[0..2].copy_from_slice(&ends.server.1.to_be_bytes());
    out[2..4].copy_from_slice(&ends.client.1.to_be_bytes());
}

/// An IPv4 header, from the server to the client.
fn ip(out: &mut [u8], ends: &Ends, protocol: u8, payload: usize) {
    let ip = &mut out[FRONT..FRONT + 20];
    ip.copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    ip[2..4].copy_from_slice(&((20 + payload) as u16).to_be_bytes());
    ip[12..16].copy_from_slice(&ends.server.0.octets());
    ip[16..20].copy_from_slice(&ends.client.0.octets());
    let sum: u32 = ip.chunks_exact(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ip[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
