use super::*;
use crate::ip;
use crate::samples::{self, hex};
use core::net::{Ipv6Addr, SocketAddr};
use std::vec;
use std::vec::Vec;

fn body(sample: &str) -> (IpHeader, Vec<u8>) {
    let packet = hex(sample);
    let ip = ip::parse(&packet).unwrap();
    (ip, ip.payload(&packet).to_vec())
}

const V4: (IpAddr, IpAddr) =
    (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)));
const V6: (IpAddr, IpAddr) = (
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
);

/// Writes a message and parses it again.
fn emitted(ends: (IpAddr, IpAddr), message: &IcmpMessage<'_>) -> Vec<u8> {
    let mut out = [0xee; 2000];
    let len = emit(&ends.0, &ends.1, message, &mut out);
    assert_eq!(len, message.encoded_len(ends.0.is_ipv6()));
    assert!(out[len..].iter().all(|byte| *byte == 0xee));
    out[..len].to_vec()
}

fn parsed<'a>(ends: (IpAddr, IpAddr), body: &'a [u8]) -> IcmpMessage<'a> {
    if ends.0.is_ipv6() { parse_v6(&ends.0, &ends.1, body) } else { parse_v4(body) }.unwrap()
}

#[test]
fn echo_of_linux() {
    for sample in [samples::ECHO_REPLY_V4, samples::ECHO_REPLY_V6] {
        let (ip, bytes) = body(sample);
        let message = parse(&ip, &bytes).unwrap();
        assert_eq!(message, IcmpMessage::EchoReply { ident: 0x1234, seq: 7, data: b"ping" });
        assert_eq!(message.quoted(), None);
        let mut out = [0; 12];
        assert_eq!(emit_echo_reply(&ip.src, &ip.dst, 0x1234, 7, b"ping", &mut out), 12);
        assert_eq!(out[..], bytes);
    }
}

#[test]
fn port_unreachable_of_linux() {
    for sample in [samples::UNREACHABLE_V4, samples::UNREACHABLE_V6] {
        let (ip, bytes) = body(sample);
        let IcmpMessage::Unreachable { code: Unreachable::Port, quoted } = parse(&ip, &bytes).unwrap() else {
            panic!("not a port unreachable");
        };
        assert_eq!(quoted, &bytes[8..]);
        let packet = parse_quoted(quoted).unwrap();
        assert_eq!((packet.src, packet.dst), (ip.dst, ip.src));
        assert_eq!((packet.protocol, packet.src_port, packet.dst_port), (17, 5000, 9));
        assert_eq!((packet.tcp_seq, packet.total_len), (None, quoted.len()));
        assert_eq!(packet.header_len, if ip.is_v6() { 40 } else { 20 });
        assert_eq!(packet.flow().local, SocketAddr::new(ip.dst, 5000));
        assert_eq!(packet.flow().remote, SocketAddr::new(ip.src, 9));
        let mut out = [0; 80];
        let kind = ErrorKind::Unreachable(Unreachable::Port);
        let len = emit_error(&ip.src, &ip.dst, kind, quoted, &mut out);
        assert_eq!(out[..len], bytes);
    }
}

#[test]
fn parameter_problem_of_linux() {
    let (ip, bytes) = body(samples::PARAMETER_V6);
    let message = parse(&ip, &bytes).unwrap();
    let quoted = &bytes[8..];
    assert_eq!(message, IcmpMessage::ParameterProblem { pointer: 6, code: 1, quoted });
    assert_eq!(message.quoted(), Some(quoted));
    let packet = parse_quoted(quoted).unwrap();
    assert_eq!((packet.protocol, packet.src_port, packet.dst_port), (200, 0, 0));
    assert_eq!(emitted((ip.src, ip.dst), &message), bytes);
}

/// Every bit of a message is under its checksum; in IPv6 so are the addresses (RFC 4443 section 2.3).
#[test]
fn checksums() {
    for sample in [samples::UNREACHABLE_V4, samples::ECHO_REPLY_V6] {
        let (ip, mut bytes) = body(sample);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 0x80 >> (bit % 8);
            assert_eq!(parse(&ip, &bytes), Err(IcmpError::BadChecksum), "bit {bit}");
            bytes[bit / 8] ^= 0x80 >> (bit % 8);
        }
        let other = IpHeader { src: V6.0, dst: V6.0, ..ip };
        assert_eq!(parse(&other, &bytes), Err(IcmpError::BadChecksum));
    }
    assert_eq!(parse_v4(&[0; 8]), Err(IcmpError::BadChecksum));
}

#[test]
fn cut_messages() {
    for kind in [0, 3, 4, 5, 8, 11, 12] {
        let message = IcmpMessage::Other { kind, code: 0, body: &[0; 3] };
        assert_eq!(parse_v4(&emitted(V4, &message)), Err(IcmpError::Truncated), "{kind}");
    }
    for kind in [1, 2, 3, 4, 128, 129] {
        let message = IcmpMessage::Other { kind, code: 0, body: &[0; 3] };
        assert_eq!(parse_v6(&V6.0, &V6.1, &emitted(V6, &message)), Err(IcmpError::Truncated));
    }
    assert_eq!(parse_v4(&[8, 0, 0]), Err(IcmpError::Truncated));
    let message = IcmpMessage::Other { kind: 200, code: 9, body: &[] };
    assert_eq!(parsed(V4, &emitted(V4, &message)), message);
}

#[test]
fn layouts() {
    let quoted = &[1, 2, 3, 4, 5][..];
    let frag = IcmpMessage::FragNeeded { mtu: 1400, quoted };
    let bytes = emitted(V4, &frag);
    assert_eq!((bytes[..2].to_vec(), bytes[4..8].to_vec()), (vec![3, 4], vec![0, 0, 5, 120]));
    assert_eq!(parsed(V4, &bytes), frag);
    let bytes = emitted(V6, &frag);
    assert_eq!((bytes[..2].to_vec(), bytes[4..8].to_vec()), (vec![2, 0], vec![0, 0, 5, 120]));
    assert_eq!(parsed(V6, &bytes), frag);
    let large = IcmpMessage::FragNeeded { mtu: 0x0012_3456, quoted };
    assert_eq!(emitted(V4, &large)[4..8], [0, 0, 0xff, 0xff]);
    assert_eq!(parsed(V6, &emitted(V6, &large)), large);

    let time = IcmpMessage::TimeExceeded { code: TIME_EXCEEDED_REASSEMBLY, quoted };
    assert_eq!(emitted(V4, &time)[..2], [11, 1]);
    assert_eq!(emitted(V6, &time)[..2], [3, 1]);
    let problem = IcmpMessage::ParameterProblem { pointer: 20, code: 0, quoted };
    assert_eq!((emitted(V4, &problem)[0], &emitted(V4, &problem)[4..8]), (12, &[20, 0, 0, 0][..]));
    assert_eq!((emitted(V6, &problem)[0], &emitted(V6, &problem)[4..8]), (4, &[0, 0, 0, 20][..]));
    let request = IcmpMessage::EchoRequest { ident: 0x0102, seq: 0x0304, data: quoted };
    assert_eq!((emitted(V4, &request)[0], &emitted(V4, &request)[4..8]), (8, &[1, 2, 3, 4][..]));
    assert_eq!(emitted(V6, &request)[0], 128);
    for message in [time, problem, request] {
        assert_eq!(parsed(V4, &emitted(V4, &message)), message);
        assert_eq!(parsed(V6, &emitted(V6, &message)), message);
    }
    let quench = IcmpMessage::SourceQuench { quoted };
    let redirect = IcmpMessage::Redirect { code: 1, gateway: Ipv4Addr::new(192, 0, 2, 254), quoted };
    assert_eq!(
        emitted(V4, &redirect)[..8],
        [5, 1, emitted(V4, &redirect)[2], emitted(V4, &redirect)[3], 192, 0, 2, 254]
    );
    assert_eq!(emitted(V4, &quench)[0], 4);
    for message in [quench, redirect] {
        assert_eq!(parsed(V4, &emitted(V4, &message)), message);
        // ICMPv6 has no such message.
        assert_eq!(emitted(V6, &message), []);
        assert_eq!(message.quoted(), Some(quoted));
    }
}

#[test]
fn unreachable_codes_survive() {
    for code in 0..=255 {
        assert_eq!(Unreachable::from_v6(code).code_v6(), code);
        if code != v4::CODE_FRAG_NEEDED {
            assert_eq!(Unreachable::from_v4(code).code_v4(), code);
            let message = IcmpMessage::Unreachable { code: Unreachable::from_v4(code), quoted: &[] };
            assert_eq!(parsed(V4, &emitted(V4, &message)), message);
        }
    }
    // From one version to the other.
    assert_eq!(Unreachable::AddressUnreachable.code_v4(), 1);
    assert_eq!(Unreachable::HostProhibited.code_v6(), 1);
    assert_eq!(Unreachable::Port.code_v4(), 3);
    assert_eq!(Unreachable::Port.code_v6(), 4);
}

/// RFC 1122 section 4.2.3.9.
#[test]
fn hard_and_soft() {
    let hard: Vec<u8> = (0..=15).filter(|code| Unreachable::from_v4(*code).is_hard()).collect();
    assert_eq!(hard, [2, 3]);
    let hard: Vec<u8> = (0..=6).filter(|code| Unreachable::from_v6(*code).is_hard()).collect();
    assert_eq!(hard, [4]);
}

/// RFC 1812 section 4.3.2.3: at most 576 bytes in all; RFC 4443 section 2.4 (c): at most 1280.
#[test]
fn quotes_are_cut() {
    let packet = [7; 1500];
    for (ends, header, limit) in [(V4, 20, 576), (V6, 40, 1280)] {
        let mut out = [0; 1500];
        let kind = ErrorKind::TimeExceeded { code: TIME_EXCEEDED_HOP_LIMIT };
        let len = emit_error(&ends.0, &ends.1, kind, &packet, &mut out);
        assert_eq!(header + len, limit);
        assert_eq!(parsed(ends, &out[..len]).quoted(), Some(&packet[..limit - header - 8]));
        assert_eq!(max_quoted(ends.0.is_ipv6()), limit - header - 8);
        // Echoes are not.
        let len = emit_echo_reply(&ends.0, &ends.1, 1, 2, &packet[..1400], &mut out);
        assert_eq!(len, 1408);
    }
}

#[test]
fn kinds_of_errors() {
    let quoted = &[1][..];
    let about = |kind: ErrorKind| kind.about(quoted);
    let code = Unreachable::Host;
    assert_eq!(about(ErrorKind::Unreachable(code)), IcmpMessage::Unreachable { code, quoted });
    assert_eq!(about(ErrorKind::FragNeeded { mtu: 9 }), IcmpMessage::FragNeeded { mtu: 9, quoted });
    assert_eq!(
        about(ErrorKind::ParameterProblem { pointer: 1, code: 2 }),
        IcmpMessage::ParameterProblem { pointer: 1, code: 2, quoted }
    );
}

#[test]
fn short_buffers_are_left_alone() {
    let mut out = [0xee; 12];
    assert_eq!(emit_echo_reply(&V4.0, &V4.1, 1, 2, b"12345", &mut out), 0);
    assert_eq!(out, [0xee; 12]);
    assert_eq!(emit_echo_reply(&V4.0, &V4.1, 1, 2, b"1234", &mut out), 12);
}

/// RFC 792: the header and 8 bytes of a TCP segment, which have its ports and sequence number.
#[test]
fn quoted_tcp() {
    let syn = hex(samples::SYN_V4);
    let packet = parse_quoted(&syn[..28]).unwrap();
    assert_eq!((packet.protocol, packet.src_port, packet.dst_port), (6, 36_888, 80));
    assert_eq!((packet.tcp_seq, packet.total_len), (Some(0x747a_f138), 60));
    assert_eq!(parse_quoted(&syn[..27]).unwrap().tcp_seq, None);
    assert_eq!(parse_quoted(&syn[..24]).unwrap().dst_port, 80);
    for len in 0..24 {
        assert_eq!(parse_quoted(&syn[..len]), None, "{len}");
    }
    // Routers may have changed what is under the checksum.
    let mut changed = syn;
    changed[8] = 1;
    assert!(parse_quoted(&changed[..28]).is_some());
    let syn = hex(samples::SYN_V6);
    let packet = parse_quoted(&syn[..48]).unwrap();
    assert_eq!((packet.src, packet.dst, packet.src_port), (V6.0, V6.1, 34_662));
    assert_eq!((packet.tcp_seq, packet.total_len), (Some(0xd25b_fd0b), 80));
    assert_eq!(parse_quoted(&syn[..43]), None);
}

#[test]
fn quoted_fragments() {
    // Not the first: nobody knows whose.
    assert_eq!(parse_quoted(&crate::samples::padded(samples::FRAGMENT_V4, 60)), None);
    assert_eq!(parse_quoted(&crate::samples::padded(samples::FRAGMENT_V6_LAST, 80)), None);
    let first = hex(samples::FRAGMENT_V6);
    let packet = parse_quoted(&first).unwrap();
    assert_eq!((packet.protocol, packet.src_port, packet.header_len), (17, 4000, 48));
    assert_eq!(packet.total_len, 1496);
}

#[test]
fn quoted_extensions_and_echoes() {
    let packet = parse_quoted(&hex(samples::MLD)).unwrap();
    assert_eq!((packet.protocol, packet.header_len, packet.src_port), (58, 48, 0));
    let packet = parse_quoted(&hex(samples::ECHO_REPLY_V4)).unwrap();
    assert_eq!((packet.src_port, packet.dst_port), (0x1234, 7));
    let packet = parse_quoted(&hex(samples::ECHO_REPLY_V6)).unwrap();
    assert_eq!((packet.src_port, packet.dst_port), (0x1234, 7));
    let mut request = hex(samples::ECHO_REPLY_V4);
    request[20] = 8;
    assert_eq!(parse_quoted(&request).map(|packet| packet.src_port), Some(0x1234));
    let mut endless = vec![0x60, 0, 0, 0, 0, 0, 60, 64];
    endless.resize(40, 0);
    for _ in 0..20 {
        endless.extend_from_slice(&[60, 0, 1, 4, 0, 0, 0, 0]);
    }
    assert_eq!(parse_quoted(&endless), None);
    let mut options = hex(samples::SYN_V4);
    options[0] = 0x4f;
    assert_eq!(parse_quoted(&options).map(|packet| packet.header_len), None);
    options[0] = 0x44;
    assert_eq!(parse_quoted(&options), None);
    options[0] = 0x55;
    assert_eq!(parse_quoted(&options), None);
}

/// RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e).
#[test]
fn what_may_be_reported() {
    let udp_v4 = ip::parse(&hex(samples::UDP_V4)).unwrap();
    let udp_v6 = ip::parse(&hex(samples::UDP_V6)).unwrap();
    assert!(may_report(&udp_v4, &[], false) && may_report(&udp_v6, &[], false));
    let from = |ip: IpHeader, src: &str| may_report(&IpHeader { src: src.parse().unwrap(), ..ip }, &[], true);
    for src in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "240.0.0.1", "127.0.0.1"] {
        assert!(!from(udp_v4, src), "{src}");
    }
    for src in ["::", "ff02::1", "::1"] {
        assert!(!from(udp_v6, src), "{src}");
    }
    let to =
        |ip: IpHeader, dst: &str, even| may_report(&IpHeader { dst: dst.parse().unwrap(), ..ip }, &[], even);
    assert!(!to(udp_v4, "224.0.0.1", true) && !to(udp_v4, "255.255.255.255", true));
    assert!(!to(udp_v6, "ff02::1", false) && to(udp_v6, "ff02::1", true));
    let loopback = "127.0.0.1".parse().unwrap();
    assert!(may_report(&IpHeader { src: loopback, dst: loopback, ..udp_v4 }, &[], false));
    let fragment = |offset| Some(ip::Fragment { id: 1, offset, more: true });
    assert!(may_report(&IpHeader { fragment: fragment(0), ..udp_v4 }, &[], false));
    assert!(!may_report(&IpHeader { fragment: fragment(8), ..udp_v4 }, &[], false));

    let icmp_v4 = IpHeader { protocol: protocol::ICMP, ..udp_v4 };
    let reported: Vec<u8> = (0..=40).filter(|kind| may_report(&icmp_v4, &[*kind], false)).collect();
    assert_eq!(reported, [0, 8, 9, 10, 13, 14, 15, 16, 17, 18]);
    assert!(!may_report(&icmp_v4, &[], false));
    let icmp_v6 = IpHeader { protocol: protocol::ICMPV6, ..udp_v6 };
    let refused: Vec<u8> = (0..=255).filter(|kind| !may_report(&icmp_v6, &[*kind], false)).collect();
    assert_eq!(refused[..128], (0..128).collect::<Vec<u8>>());
    assert_eq!(refused[128..], [137]);
}
