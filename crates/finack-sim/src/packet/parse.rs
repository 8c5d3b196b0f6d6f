//! From bytes to values, accepting only what is right in every field.

use super::{Body, Icmp, Ip, Opt, Pkt, Tcp, Udp, ones_sum, proto, pseudo_header};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn be16(b: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([b[at], b[at + 1]])
}

fn be32(b: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

/// Takes a packet apart.
///
/// # Errors
/// What is wrong with it: a length that does not fit, a checksum, reserved bits that are set, options
/// that do not add up. Strict: this judges what a stack sends, it does not tolerate.
pub fn parse(bytes: &[u8]) -> Result<Pkt, String> {
    parse_ip(bytes, true)
}

/// Takes the beginning of a packet apart, as far as it is there: what is cut off counts as zeros, and no checksum is
/// looked at.
///
/// # Errors
/// As [`parse`].
pub fn glance(head: &[u8]) -> Result<Pkt, String> {
    let whole = match head.first().map(|b| b >> 4) {
        Some(4) if head.len() >= 20 => usize::from(be16(head, 2)),
        Some(6) if head.len() >= 40 => usize::from(be16(head, 4)) + 40,
        _ => head.len(),
    };
    let mut bytes = head.to_vec();
    bytes.resize(whole.max(head.len()), 0);
    parse_ip(&bytes, false)
}

fn parse_ip(bytes: &[u8], sums: bool) -> Result<Pkt, String> {
    match bytes.first().map(|b| b >> 4) {
        Some(4) => parse_v4(bytes, sums),
        Some(6) => parse_v6(bytes, sums),
        Some(v) => Err(format!("IP version {v}")),
        None => Err("an empty packet".into()),
    }
}

fn parse_v4(b: &[u8], sums: bool) -> Result<Pkt, String> {
    if b.len() < 20 {
        return Err(format!("{} bytes are no IPv4 header", b.len()));
    }
    let header = usize::from(b[0] & 15) * 4;
    let total = usize::from(be16(b, 2));
    if header < 20 || total < header || total != b.len() {
        return Err(format!("IPv4 lengths: header {header}, total {total}, packet {}", b.len()));
    }
    if sums && ones_sum(&[&b[..header]]) != 0xffff {
        return Err("IPv4 header checksum is wrong".into());
    }
    let fragment = be16(b, 6);
    if fragment & 0x8000 != 0 {
        return Err("IPv4 reserved flag is set".into());
    }
    let src = IpAddr::V4(Ipv4Addr::new(b[12], b[13], b[14], b[15]));
    let dst = IpAddr::V4(Ipv4Addr::new(b[16], b[17], b[18], b[19]));
    let ip = Ip { src, dst, ttl: b[8], tos: b[1], id: be16(b, 4), df: fragment & 0x4000 != 0 };
    let payload = &b[header..];
    let body = if fragment & 0x3fff != 0 {
        Body::Other { protocol: b[9], payload: payload.to_vec() }
    } else {
        parse_upper(&ip, b[9], payload, sums)?
    };
    Ok(Pkt { ip, body })
}

fn parse_v6(b: &[u8], sums: bool) -> Result<Pkt, String> {
    if b.len() < 40 {
        return Err(format!("{} bytes are no IPv6 header", b.len()));
    }
    if usize::from(be16(b, 4)) + 40 != b.len() {
        return Err(format!("IPv6 payload length {}, packet {}", be16(b, 4), b.len()));
    }
    let address = |at: usize| {
        let octets: [u8; 16] = core::array::from_fn(|i| b[at + i]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let tos = b[0] << 4 | b[1] >> 4;
    let ip = Ip { src: address(8), dst: address(24), ttl: b[7], tos, id: 0, df: true };
    let body = parse_upper(&ip, b[6], &b[40..], sums)?;
    Ok(Pkt { ip, body })
}

fn parse_upper(ip: &Ip, protocol: u8, b: &[u8], sums: bool) -> Result<Body, String> {
    Ok(match (protocol, ip.src) {
        (proto::TCP, _) => Body::Tcp(parse_tcp(ip, b, sums)?),
        (proto::UDP, _) => Body::Udp(parse_udp(ip, b, sums)?),
        (proto::ICMP, IpAddr::V4(_)) | (proto::ICMPV6, IpAddr::V6(_)) => Body::Icmp(parse_icmp(ip, b, sums)?),
        _ => Body::Other { protocol, payload: b.to_vec() },
    })
}

fn parse_tcp(ip: &Ip, b: &[u8], sums: bool) -> Result<Tcp, String> {
    if b.len() < 20 {
        return Err(format!("{} bytes are no TCP header", b.len()));
    }
    let header = usize::from(b[12] >> 4) * 4;
    if header < 20 || header > b.len() {
        return Err(format!("TCP data offset {header} of {} bytes", b.len()));
    }
    if b[12] & 0x0e != 0 {
        return Err("TCP reserved bits are set".into());
    }
    if sums && ones_sum(&[&pseudo_header(ip.src, ip.dst, proto::TCP, b.len()), b]) != 0xffff {
        return Err("TCP checksum is wrong".into());
    }
    Ok(Tcp {
        sport: be16(b, 0),
        dport: be16(b, 2),
        seq: be32(b, 4),
        ack: be32(b, 8),
        flags: be16(b, 12) & 0x1ff,
        window: be16(b, 14),
        urgent: be16(b, 18),
        options: parse_options(&b[20..header])?,
        payload: b[header..].to_vec(),
    })
}

fn parse_options(mut b: &[u8]) -> Result<Vec<Opt>, String> {
    let mut out = Vec::new();
    while let Some(&kind) = b.first() {
        match kind {
            0 => {
                if b.iter().any(|&x| x != 0) {
                    return Err("TCP option padding is not zero (RFC 9293 MUST-69)".into());
                }
                out.push(Opt::Eol);
                return Ok(out);
            }
            1 => {
                out.push(Opt::Nop);
                b = &b[1..];
                continue;
            }
            _ => {}
        }
        let len = usize::from(*b.get(1).ok_or("a TCP option without a length")?);
        if len < 2 || len > b.len() {
            return Err(format!("TCP option {kind} of length {len}, {} bytes left", b.len()));
        }
        let data = &b[2..len];
        out.push(match (kind, data.len()) {
            (2, 2) => Opt::Mss(be16(data, 0)),
            (3, 1) => Opt::Wscale(data[0]),
            (4, 0) => Opt::SackOk,
            (5, n) if n > 0 && n % 8 == 0 => {
                Opt::Sack(data.chunks(8).map(|c| (be32(c, 0), be32(c, 4))).collect())
            }
            (8, 8) => Opt::Ts { val: be32(data, 0), ecr: be32(data, 4) },
            (2..=5 | 8, _) => return Err(format!("TCP option {kind} of length {len}")),
            _ => Opt::Other(kind, data.to_vec()),
        });
        b = &b[len..];
    }
    Ok(out)
}

fn parse_udp(ip: &Ip, b: &[u8], sums: bool) -> Result<Udp, String> {
    if b.len() < 8 || usize::from(be16(b, 4)) != b.len() {
        return Err(format!("a UDP length that does not fit {} bytes", b.len()));
    }
    let sum = be16(b, 6);
    if sums && sum == 0 && ip.src.is_ipv6() {
        return Err("UDP over IPv6 without a checksum (RFC 8200 8.1)".into());
    }
    if sums && sum != 0 && ones_sum(&[&pseudo_header(ip.src, ip.dst, proto::UDP, b.len()), b]) != 0xffff {
        return Err("UDP checksum is wrong".into());
    }
    Ok(Udp { sport: be16(b, 0), dport: be16(b, 2), payload: b[8..].to_vec() })
}

fn parse_icmp(ip: &Ip, b: &[u8], sums: bool) -> Result<Icmp, String> {
    if b.len() < 8 {
        return Err(format!("{} bytes are no ICMP message", b.len()));
    }
    let pseudo = match ip.src {
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(_) => pseudo_header(ip.src, ip.dst, proto::ICMPV6, b.len()),
    };
    if sums && ones_sum(&[&pseudo, b]) != 0xffff {
        return Err("ICMP checksum is wrong".into());
    }
    Ok(Icmp { kind: b[0], code: b[1], rest: [b[4], b[5], b[6], b[7]], payload: b[8..].to_vec() })
}
