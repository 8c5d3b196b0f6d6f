//! From values to bytes.

use super::{Body, Icmp, Ip, Opt, Pkt, Tcp, Udp, ones_sum, proto, pseudo_header};
use core::net::IpAddr;

/// The packet's bytes with all checksums right.
///
/// # Panics
/// Where the addresses are of two families, the options exceed 40 bytes or the packet 65535.
#[must_use]
pub fn build(packet: &Pkt) -> Vec<u8> {
    let (protocol, upper) = match &packet.body {
        Body::Tcp(tcp) => (proto::TCP, tcp_bytes(&packet.ip, tcp)),
        Body::Udp(udp) => (proto::UDP, udp_bytes(&packet.ip, udp)),
        Body::Icmp(icmp) if packet.ip.src.is_ipv4() => (proto::ICMP, icmp_bytes(&packet.ip, icmp)),
        Body::Icmp(icmp) => (proto::ICMPV6, icmp_bytes(&packet.ip, icmp)),
        Body::Other { protocol, payload } => (*protocol, payload.clone()),
    };
    let mut out = ip_bytes(&packet.ip, protocol, upper.len());
    out.extend_from_slice(&upper);
    out
}

fn ip_bytes(ip: &Ip, protocol: u8, len: usize) -> Vec<u8> {
    match (ip.src, ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let total = u16::try_from(len + 20).expect("an IPv4 packet holds at most 65535 bytes");
            let mut h = vec![0x45, ip.tos];
            h.extend_from_slice(&total.to_be_bytes());
            h.extend_from_slice(&ip.id.to_be_bytes());
            h.extend_from_slice(&[if ip.df { 0x40 } else { 0 }, 0, ip.ttl, protocol, 0, 0]);
            h.extend_from_slice(&src.octets());
            h.extend_from_slice(&dst.octets());
            let sum = !ones_sum(&[&h]);
            h[10..12].copy_from_slice(&sum.to_be_bytes());
            h
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let payload = u16::try_from(len).expect("an IPv6 payload holds at most 65535 bytes");
            let mut h = vec![0x60 | ip.tos >> 4, ip.tos << 4, 0, 0];
            h.extend_from_slice(&payload.to_be_bytes());
            h.extend_from_slice(&[protocol, ip.ttl]);
            h.extend_from_slice(&src.octets());
            h.extend_from_slice(&dst.octets());
            h
        }
        (src, dst) => panic!("addresses of two families in one packet: {src} and {dst}"),
    }
}

fn option_bytes(options: &[Opt]) -> Vec<u8> {
    let mut out = Vec::new();
    for option in options {
        match option {
            Opt::Eol => out.push(0),
            Opt::Nop => out.push(1),
            Opt::Mss(mss) => {
                out.extend_from_slice(&[2, 4]);
                out.extend_from_slice(&mss.to_be_bytes());
            }
            Opt::Wscale(shift) => out.extend_from_slice(&[3, 3, *shift]),
            Opt::SackOk => out.extend_from_slice(&[4, 2]),
            Opt::Sack(blocks) => {
                out.extend_from_slice(&[5, 2 + 8 * blocks.len() as u8]);
                for (left, right) in blocks {
                    out.extend_from_slice(&left.to_be_bytes());
                    out.extend_from_slice(&right.to_be_bytes());
                }
            }
            Opt::Ts { val, ecr } => {
                out.extend_from_slice(&[8, 10]);
                out.extend_from_slice(&val.to_be_bytes());
                out.extend_from_slice(&ecr.to_be_bytes());
            }
            Opt::Other(kind, data) => {
                out.extend_from_slice(&[*kind, 2 + data.len() as u8]);
                out.extend_from_slice(data);
            }
            Opt::Raw(bytes) => out.extend_from_slice(bytes),
        }
    }
    out.resize(out.len().next_multiple_of(4), 0);
    assert!(out.len() <= 40, "{} bytes of TCP options: at most 40 fit", out.len());
    out
}

fn tcp_bytes(ip: &Ip, tcp: &Tcp) -> Vec<u8> {
    let options = option_bytes(&tcp.options);
    let words = ((20 + options.len()) / 4) as u16;
    let mut out = Vec::with_capacity(20 + options.len() + tcp.payload.len());
    out.extend_from_slice(&tcp.sport.to_be_bytes());
    out.extend_from_slice(&tcp.dport.to_be_bytes());
    out.extend_from_slice(&tcp.seq.to_be_bytes());
    out.extend_from_slice(&tcp.ack.to_be_bytes());
    out.extend_from_slice(&(words << 12 | tcp.flags & 0x1ff).to_be_bytes());
    out.extend_from_slice(&tcp.window.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&tcp.urgent.to_be_bytes());
    out.extend_from_slice(&options);
    out.extend_from_slice(&tcp.payload);
    let sum = !ones_sum(&[&pseudo_header(ip.src, ip.dst, proto::TCP, out.len()), &out]);
    out[16..18].copy_from_slice(&sum.to_be_bytes());
    out
}

fn udp_bytes(ip: &Ip, udp: &Udp) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + udp.payload.len());
    out.extend_from_slice(&udp.sport.to_be_bytes());
    out.extend_from_slice(&udp.dport.to_be_bytes());
    out.extend_from_slice(&(8 + udp.payload.len() as u16).to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&udp.payload);
    let sum = match !ones_sum(&[&pseudo_header(ip.src, ip.dst, proto::UDP, out.len()), &out]) {
        0 => 0xffff,
        sum => sum,
    };
    out[6..8].copy_from_slice(&sum.to_be_bytes());
    out
}

fn icmp_bytes(ip: &Ip, icmp: &Icmp) -> Vec<u8> {
    let mut out = vec![icmp.kind, icmp.code, 0, 0];
    out.extend_from_slice(&icmp.rest);
    out.extend_from_slice(&icmp.payload);
    let pseudo = match ip.src {
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(_) => pseudo_header(ip.src, ip.dst, proto::ICMPV6, out.len()),
    };
    let sum = !ones_sum(&[&pseudo, &out]);
    out[2..4].copy_from_slice(&sum.to_be_bytes());
    out
}

/// Finishes a transport checksum as a device does that was told to sum from `start` and to store the
/// result `offset` bytes after it (where the pseudo-header's sum stands already).
///
/// # Errors
/// Where the two lead outside the packet.
pub fn finish_checksum(packet: &mut [u8], start: usize, offset: usize) -> Result<(), String> {
    let at = start + offset;
    if at + 2 > packet.len() {
        return Err(format!(
            "checksum at {start}+{offset} lies outside the packet of {} bytes",
            packet.len()
        ));
    }
    let mut sum = !ones_sum(&[&packet[start..]]);
    if sum == 0 && packet.get(udp_protocol_at(packet)) == Some(&proto::UDP) {
        sum = 0xffff;
    }
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

fn udp_protocol_at(packet: &[u8]) -> usize {
    if packet.first().is_some_and(|b| b >> 4 == 6) { 6 } else { 9 }
}
