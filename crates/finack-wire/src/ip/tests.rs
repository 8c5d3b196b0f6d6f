use super::*;
use crate::samples::{self, hex, padded};
use crate::{protocol, tcp, udp};
use core::net::{Ipv4Addr, Ipv6Addr};
use std::string::ToString;
use std::vec;
use std::vec::Vec;

const HOST_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PEER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const HOST_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const PEER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));

fn emit_v4() -> IpEmit {
    IpEmit {
        src: HOST_V4,
        dst: PEER_V4,
        protocol: protocol::TCP,
        hop_limit: 64,
        tos: 0,
        ident: 0x0538,
        dont_fragment: true,
        payload_len: 40,
    }
}

fn emit_v6() -> IpEmit {
    IpEmit { src: HOST_V6, dst: PEER_V6, tos: 0xb9, ..emit_v4() }
}

/// Puts the right checksum in an IPv4 header.
fn fix(packet: &mut [u8]) {
    let len = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let checksum = !finack_sum::sum(&packet[..len]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// An IPv6 packet with that payload, which begins with a header of type `next`.
fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let ip = IpEmit { protocol: next, payload_len: payload.len(), ..emit_v6() };
    let mut packet = vec![0; 40];
    assert_eq!(ip.emit(&mut packet), 40);
    packet.extend_from_slice(payload);
    packet
}

#[test]
fn syn_v4() {
    let packet = hex(samples::SYN_V4);
    let ip = parse(&packet).unwrap();
    assert_eq!((ip.src, ip.dst), (HOST_V4, PEER_V4));
    assert_eq!((ip.protocol, ip.hop_limit, ip.tos), (6, 64, 0));
    assert_eq!((ip.header_len, ip.payload_len, ip.total_len()), (20, 40, 60));
    assert_eq!((ip.fragment, ip.dont_fragment, ip.has_options), (None, true, false));
    assert_eq!((ip.is_v6(), ip.flow_label, ip.next_header_offset), (false, 0, 9));
    assert_eq!(ip.payload(&packet), &packet[20..]);
    assert!(tcp::checksum_ok(&ip, ip.payload(&packet)));
    let mut out = [0xee; 24];
    assert_eq!(emit_v4().emit(&mut out), 20);
    assert_eq!(out[..20], packet[..20]);
    assert_eq!(out[20..], [0xee; 4]);
}

#[test]
fn syn_v6() {
    let packet = hex(samples::SYN_V6);
    let ip = parse(&packet).unwrap();
    assert_eq!((ip.src, ip.dst), (HOST_V6, PEER_V6));
    assert_eq!((ip.protocol, ip.hop_limit, ip.tos, ip.flow_label), (6, 64, 0, 0x8_fec7));
    assert_eq!((ip.header_len, ip.payload_len, ip.next_header_offset), (40, 40, 6));
    assert_eq!((ip.fragment, ip.dont_fragment, ip.has_options), (None, true, false));
    assert!(ip.is_v6());
    assert!(tcp::checksum_ok(&ip, ip.payload(&packet)));
    let mut out = [0; 40];
    let emit = IpEmit { tos: 0, ..emit_v6() };
    assert_eq!(emit.emit_with_flow_label(0x8_fec7, &mut out), 40);
    assert_eq!(out[..], packet[..40]);
}

#[test]
fn ecn_and_dscp() {
    let ip = parse(&hex(samples::DATA_ECT)).unwrap();
    assert_eq!((ip.ecn(), ip.dscp()), (Ecn::Ect0, 0));
    let mut packet = vec![0; 80];
    emit_v6().emit(&mut packet);
    let ip = parse(&packet).unwrap();
    assert_eq!((ip.tos, ip.ecn(), ip.dscp()), (0xb9, Ecn::Ect1, 46));
    for (bits, ecn) in [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce].into_iter().enumerate() {
        assert_eq!(usize::from(ecn.bits()), bits);
        assert_eq!(Ecn::from_bits(0xfc | bits as u8), ecn);
        assert_eq!(ecn.is_capable(), bits != 0);
    }
}

/// RFC 894: a short packet is padded by Ethernet; the padding is not part of it.
#[test]
fn padding_is_cut() {
    for sample in [samples::RST_V4, samples::UDP_V4, samples::UDP_V6] {
        let exact = hex(sample);
        let longer = padded(sample, exact.len() + 7);
        let ip = parse(&longer).unwrap();
        assert_eq!(ip, parse(&exact).unwrap());
        assert_eq!(ip.payload(&longer), ip.payload(&exact));
        assert_eq!(ip.total_len(), exact.len());
    }
}

#[test]
fn cut_packets_are_refused() {
    for sample in [samples::SYN_V4, samples::SYN_V6, samples::MLD] {
        let packet = hex(sample);
        let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
        for len in 0..packet.len() {
            let want = if len < header { IpError::Truncated } else { IpError::BadTotalLength };
            assert_eq!(parse(&packet[..len]), Err(want), "{len}");
        }
    }
}

/// RFC 1122 section 3.2.1.1: a datagram whose version is not known is discarded silently.
#[test]
fn versions() {
    for version in 0..16u8 {
        let mut packet = hex(samples::SYN_V4);
        packet[0] = version << 4 | 5;
        let result = parse(&packet);
        match version {
            4 => assert!(result.is_ok()),
            6 => assert_ne!(result, Err(IpError::BadVersion)),
            _ => assert_eq!(result, Err(IpError::BadVersion)),
        }
    }
    assert_eq!(ipv4::parse(&hex(samples::SYN_V6)), Err(IpError::BadVersion));
    assert_eq!(ipv6::parse(&hex(samples::SYN_V4)), Err(IpError::BadVersion));
    assert_eq!(parse(&[]), Err(IpError::Truncated));
}

/// RFC 1122 section 3.2.1.2: the checksum is verified, and a bad datagram discarded.
#[test]
fn every_header_bit_is_under_the_v4_checksum() {
    let good = hex(samples::UDP_V4);
    for bit in 0..160 {
        let mut packet = good.clone();
        packet[bit / 8] ^= 0x80 >> (bit % 8);
        assert!(parse(&packet).is_err(), "bit {bit}");
        if ![0, 2, 3].contains(&(bit / 8)) {
            assert_eq!(parse(&packet), Err(IpError::BadChecksum), "bit {bit}");
        }
    }
}

#[test]
fn v4_lengths() {
    let mut packet = hex(samples::UDP_V4);
    packet[0] = 0x44;
    fix(&mut packet);
    assert_eq!(parse(&packet), Err(IpError::BadHeaderLength));
    let mut packet = hex(samples::UDP_V4);
    packet[3] = 19;
    fix(&mut packet);
    assert_eq!(parse(&packet), Err(IpError::BadTotalLength));
    packet[3] = 20;
    fix(&mut packet);
    assert_eq!(parse(&packet).map(|ip| ip.payload_len), Ok(0));
    packet[3] = packet.len() as u8 + 1;
    fix(&mut packet);
    assert_eq!(parse(&packet), Err(IpError::BadTotalLength));
}

/// An IPv4 packet with those options, padded with the end of the list, and 4 bytes of payload.
fn with_options(options: &[u8]) -> Vec<u8> {
    let len = options.len().next_multiple_of(4);
    let mut packet = vec![0; 20];
    IpEmit { payload_len: len + 4, ..emit_v4() }.emit(&mut packet);
    packet[0] = 0x45 + (len / 4) as u8;
    packet.extend_from_slice(options);
    packet.resize(20 + len + 4, 0);
    fix(&mut packet);
    packet
}

/// RFC 1122 section 3.2.1.8: unknown options are ignored.
#[test]
fn v4_options() {
    let ip = parse(&with_options(&[1, 1, 222, 4, 9, 9])).unwrap();
    assert_eq!((ip.header_len, ip.payload_len, ip.has_options), (28, 4, true));
    assert_eq!((ip.source_routed, ip.router_alert), (false, false));
    let ip = parse(&with_options(&[148, 4, 0, 0])).unwrap();
    assert_eq!((ip.source_routed, ip.router_alert), (false, true));
    for kind in [131, 137] {
        let ip = parse(&with_options(&[1, kind, 7, 4, 192, 0, 2, 9])).unwrap();
        assert_eq!((ip.source_routed, ip.router_alert), (true, false));
    }
    // Nothing after the end of the list counts.
    let ip = parse(&with_options(&[0, 131, 7, 4, 192, 0, 2, 9])).unwrap();
    assert!(!ip.source_routed);
    for (options, pointer) in [
        (&[222, 1][..], 21),
        (&[222, 0], 21),
        (&[1, 222, 8], 22),
        (&[1, 1, 1, 222], 24),
        (&[1, 1, 1, 1, 1, 222, 4], 26),
    ] {
        let error = IpError::BadOption { pointer };
        assert_eq!(parse(&with_options(options)), Err(error), "{options:?}");
        let problem = Problem { code: 0, pointer, even_if_multicast: false };
        assert_eq!(error.problem(), Some(problem));
    }
    let mut packet = with_options(&[1; 40]);
    assert_eq!(parse(&packet).map(|ip| ip.header_len), Ok(60));
    packet[30] ^= 1;
    assert_eq!(parse(&packet), Err(IpError::BadChecksum));
}

#[test]
fn fragments_v4() {
    let packet = padded(samples::FRAGMENT_V4, 148);
    let ip = parse(&packet).unwrap();
    assert_eq!(ip.fragment, Some(Fragment { id: 0xab80, offset: 1480, more: false }));
    assert_eq!((ip.payload_len, ip.dont_fragment, ip.protocol), (128, false, 17));
    let emit = IpEmit { protocol: 17, payload_len: 128, ident: 0, ..emit_v4() };
    let mut out = [0; 20];
    let fragment = Fragment { id: 0xffff_ab80, offset: 1480, more: false };
    assert_eq!(emit.emit_fragment(&fragment, &mut out), 20);
    assert_eq!(out[..], packet[..20]);
}

/// RFC 791 section 3.2: all fragments but the last are of a multiple of 8 bytes, and none ends beyond
/// the largest datagram.
#[test]
fn bad_fragments_v4() {
    let make = |payload_len: usize, offset: u32, more: bool| {
        let mut packet = vec![0; 20 + payload_len];
        let fragment = Fragment { id: 1, offset, more };
        IpEmit { payload_len, ..emit_v4() }.emit_fragment(&fragment, &mut packet);
        parse(&packet).map(|ip| ip.fragment)
    };
    assert_eq!(make(16, 0, true), Ok(Some(Fragment { id: 1, offset: 0, more: true })));
    assert_eq!(make(12, 0, true), Err(IpError::BadFragmentLength { pointer: 2 }));
    assert!(make(12, 8, false).is_ok());
    assert_eq!(make(3, 65_512, false), Ok(Some(Fragment { id: 1, offset: 65_512, more: false })));
    assert_eq!(make(4, 65_512, false), Err(IpError::BadFragmentOffset { pointer: 6 }));
    assert_eq!(make(8, 65_528, true), Err(IpError::BadFragmentOffset { pointer: 6 }));
}

#[test]
fn fragments_v6() {
    let packet = padded(samples::FRAGMENT_V6, 1496);
    let ip = parse(&packet).unwrap();
    assert_eq!(ip.fragment, Some(Fragment { id: 0xe58e_12f0, offset: 0, more: true }));
    assert_eq!((ip.header_len, ip.payload_len, ip.protocol), (48, 1448, 17));
    assert_eq!((ip.next_header_offset, ip.has_options), (40, false));
    let emit = IpEmit { protocol: 17, payload_len: 1448, tos: 0, ..emit_v6() };
    let mut out = [0; 48];
    assert_eq!(emit.emit_fragment(&ip.fragment.unwrap(), &mut out), 48);
    // The kernel's flow label and reserved bits aside.
    assert_eq!(out[4..], packet[4..48]);

    let packet = padded(samples::FRAGMENT_V6_LAST, 208);
    let ip = parse(&packet).unwrap();
    assert_eq!(ip.fragment, Some(Fragment { id: 0xe58e_12f0, offset: 1448, more: false }));
    assert_eq!(ip.payload_len, 160);
}

/// Reassembles what the kernel has cut, and checks the UDP checksum over the whole.
#[test]
fn reassembled_v6() {
    let first = padded(samples::FRAGMENT_V6, 1496);
    let last = padded(samples::FRAGMENT_V6_LAST, 208);
    let header = parse(&first).unwrap();
    let mut payload = header.payload(&first).to_vec();
    payload.extend_from_slice(parse(&last).unwrap().payload(&last));
    let whole = header.reassembled(&payload).unwrap();
    assert_eq!((whole.fragment, whole.header_len, whole.payload_len), (None, 0, 1608));
    assert_eq!(udp::verify(&whole, whole.payload(&payload)), Ok(()));
}

/// RFC 8200 section 4.5: the fragmentable part may begin with extension headers.
#[test]
fn extensions_in_the_reassembled_part() {
    let mut payload = vec![17, 0, 1, 4, 0, 0, 0, 0];
    payload.extend_from_slice(&[0; 8]);
    let mut packet = vec![0; 64];
    let fragment = Fragment { id: 7, offset: 0, more: true };
    let emit = IpEmit { protocol: protocol::DEST_OPTS, payload_len: 16, ..emit_v6() };
    emit.emit_fragment(&fragment, &mut packet);
    packet[48..].copy_from_slice(&payload);
    let first = parse(&packet).unwrap();
    assert_eq!((first.protocol, first.header_len), (protocol::DEST_OPTS, 48));
    payload.extend_from_slice(&[1, 2, 3]);
    let whole = first.reassembled(&payload).unwrap();
    assert_eq!((whole.protocol, whole.header_len, whole.payload_len), (17, 8, 11));
    assert_eq!((whole.has_options, whole.next_header_offset), (true, 48));
    assert_eq!(whole.payload(&payload), &payload[8..]);
    // A fragment header in there is refused.
    payload[0] = protocol::IPV6_FRAGMENT;
    assert_eq!(first.reassembled(&payload), Err(IpError::NestedFragment));
    // In IPv4 there is nothing to walk.
    let v4 = parse(&padded(samples::FRAGMENT_V4, 148)).unwrap();
    let whole = v4.reassembled(&[1, 2, 3]).unwrap();
    assert_eq!((whole.fragment, whole.header_len, whole.payload_len), (None, 0, 3));
}

/// RFC 6946: a fragment that is the whole datagram is none.
#[test]
fn atomic_fragment() {
    let mut payload = vec![17, 0, 0, 0, 1, 2, 3, 4];
    payload.extend_from_slice(&[0; 12]);
    let ip = parse(&v6(protocol::IPV6_FRAGMENT, &payload)).unwrap();
    assert_eq!((ip.fragment, ip.protocol), (None, 17));
    assert_eq!((ip.header_len, ip.payload_len), (48, 12));
}

#[test]
fn bad_fragments_v6() {
    let make = |first: &[u8], offset: u16, more: bool, len: usize| {
        let mut payload = first.to_vec();
        payload.extend_from_slice(&[17, 0]);
        payload.extend_from_slice(&(offset | u16::from(more)).to_be_bytes());
        payload.extend_from_slice(&[0, 0, 0, 1]);
        payload.resize(payload.len() + len, 0);
        let next = if first.is_empty() { protocol::IPV6_FRAGMENT } else { protocol::DEST_OPTS };
        parse(&v6(next, &payload)).map(|ip| ip.fragment.unwrap().offset)
    };
    assert_eq!(make(&[], 0, true, 16), Ok(0));
    assert_eq!(make(&[], 0, true, 12), Err(IpError::BadFragmentLength { pointer: 4 }));
    assert_eq!(make(&[], 8, false, 12), Ok(8));
    // The payload length of the whole may be 65535 at most.
    assert_eq!(make(&[], 65_528, false, 7), Ok(65_528));
    assert_eq!(make(&[], 65_528, false, 8), Err(IpError::BadFragmentOffset { pointer: 42 }));
    // Headers in front of the fragment header count.
    let options = [protocol::IPV6_FRAGMENT, 0, 1, 4, 0, 0, 0, 0];
    assert_eq!(make(&options, 65_520, false, 7), Ok(65_520));
    assert_eq!(make(&options, 65_520, false, 8), Err(IpError::BadFragmentOffset { pointer: 50 }));
}

/// RFC 7112 section 5, RFC 8200 section 4.5.
#[test]
fn first_fragment_has_all_headers() {
    let make = |next: u8, rest: &[u8]| {
        let mut payload = vec![next, 0, 0, 1, 0, 0, 0, 1];
        payload.extend_from_slice(rest);
        parse(&v6(protocol::IPV6_FRAGMENT, &payload)).map(|ip| ip.protocol)
    };
    let incomplete = Err(IpError::IncompleteHeaderChain);
    assert_eq!(make(6, &[0; 16]), incomplete);
    assert_eq!(make(6, &[0; 24]), Ok(6));
    assert_eq!(make(17, &[0; 8]), Ok(17));
    assert_eq!(make(58, &[]), incomplete);
    // Destination options that go on beyond the fragment, and that end with it.
    assert_eq!(make(60, &[6, 1, 1, 4, 0, 0, 0, 0]), incomplete);
    assert_eq!(make(60, &[6, 0, 1, 4, 0, 0, 0, 0]), incomplete);
    assert_eq!(make(60, &[59, 0, 1, 4, 0, 0, 0, 0]), Ok(60));
    assert_eq!(make(44, &[6, 0, 0, 1, 0, 0, 0, 1]), Err(IpError::NestedFragment));
    assert_eq!(make(0, &[6, 0, 1, 4, 0, 0, 0, 0]), Err(IpError::MisplacedHopByHop { pointer: 40 }));
    let problem = IpError::IncompleteHeaderChain.problem().unwrap();
    assert_eq!((problem.code, problem.pointer), (3, 0));
}

#[test]
fn hop_by_hop_with_router_alert() {
    let packet = hex(samples::MLD);
    let ip = parse(&packet).unwrap();
    assert_eq!((ip.protocol, ip.header_len, ip.payload_len), (protocol::ICMPV6, 48, 28));
    assert_eq!((ip.router_alert, ip.has_options, ip.source_routed), (true, true, false));
    assert_eq!((ip.hop_limit, ip.next_header_offset), (1, 40));
    assert!(crate::icmp::parse(&ip, ip.payload(&packet)).is_ok());
}

/// RFC 8200 section 4.1: hop-by-hop options only directly after the IPv6 header.
#[test]
fn misplaced_hop_by_hop() {
    let chain = [0, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0];
    let error = IpError::MisplacedHopByHop { pointer: 40 };
    assert_eq!(parse(&v6(protocol::DEST_OPTS, &chain)), Err(error));
    assert_eq!(error.problem(), Some(Problem { code: 1, pointer: 40, even_if_multicast: false }));
}

/// RFC 8200 section 4.2: what an unknown option's upper two bits ask for.
#[test]
fn unknown_options_v6() {
    let with = |kind| parse(&v6(protocol::DEST_OPTS, &[17, 0, 1, 0, kind, 2, 0, 0]));
    assert_eq!(with(0x1e).map(|ip| ip.protocol), Ok(17));
    let unknown = |action| IpError::UnknownOption { pointer: 44, action };
    assert_eq!(with(0x5e), Err(unknown(OptionAction::Discard)));
    assert_eq!(with(0x9e), Err(unknown(OptionAction::Report)));
    assert_eq!(with(0xde), Err(unknown(OptionAction::ReportUnlessMulticast)));
    let problem = |even_if_multicast| Some(Problem { code: 2, pointer: 44, even_if_multicast });
    assert_eq!(unknown(OptionAction::Discard).problem(), None);
    assert_eq!(unknown(OptionAction::Report).problem(), problem(true));
    assert_eq!(unknown(OptionAction::ReportUnlessMulticast).problem(), problem(false));
}

#[test]
fn extension_lengths() {
    let bad = |pointer| Err(IpError::BadExtension { pointer });
    // The header is longer than the packet.
    assert_eq!(parse(&v6(60, &[17, 1, 1, 4, 0, 0, 0, 0])), bad(41));
    assert_eq!(parse(&v6(43, &[17, 1, 0, 0, 0, 0, 0, 0])), bad(41));
    // It has no length at all.
    assert_eq!(parse(&v6(60, &[17])), Err(IpError::Truncated));
    assert_eq!(parse(&v6(44, &[17, 0, 0, 0, 0, 0, 0])), Err(IpError::Truncated));
    // An option is longer than its header, even if not than the packet.
    let mut payload = vec![17, 0, 1, 5, 0, 0, 0, 0];
    payload.resize(32, 0);
    assert_eq!(parse(&v6(60, &payload)), bad(43));
    // An option's length would be behind the header.
    assert_eq!(parse(&v6(60, &[17, 0, 0, 0, 0, 0, 0, 1, 9, 9])), bad(48));
    // So would it be behind the packet.
    assert_eq!(parse(&v6(60, &[17, 0, 0, 0, 0, 0, 0, 1])), bad(48));
    // Single bytes of padding to the end.
    assert_eq!(parse(&v6(60, &[17, 0, 0, 0, 0, 0, 0, 0, 9, 9])).map(|ip| ip.payload_len), Ok(2));
}

/// RFC 8200 section 4.4; RFC 5095 takes type 0 away.
#[test]
fn routing_headers() {
    let with = |left| parse(&v6(protocol::ROUTING, &[17, 0, 0, left, 0, 0, 0, 0, 5]));
    let ip = with(0).unwrap();
    assert_eq!((ip.protocol, ip.source_routed, ip.has_options), (17, true, true));
    assert_eq!((ip.header_len, ip.payload_len), (48, 1));
    let error = IpError::UnsupportedRouting { pointer: 42 };
    assert_eq!(with(1), Err(error));
    assert_eq!(error.problem(), Some(Problem { code: 0, pointer: 42, even_if_multicast: false }));
}

/// RFC 2675: jumbo payloads are not supported.
#[test]
fn jumbo() {
    let mut packet = v6(protocol::HOP_BY_HOP, &[17, 0, 0xc2, 4, 0, 1, 0, 0]);
    assert_eq!(parse(&packet), Err(IpError::JumboUnsupported { pointer: 42 }));
    packet[4..6].fill(0);
    assert_eq!(parse(&packet), Err(IpError::JumboUnsupported { pointer: 42 }));
    // Without the option, a header that the length does not cover is an error.
    packet[42] = 1;
    assert_eq!(parse(&packet), Err(IpError::BadTotalLength));
    packet[6] = protocol::NO_NEXT;
    assert_eq!(parse(&packet).map(|ip| ip.payload_len), Ok(0));
}

#[test]
fn long_chains_are_refused() {
    let chain = |count: usize| {
        let mut payload: Vec<u8> = Vec::new();
        for left in (0..count).rev() {
            let next = if left == 0 { 17 } else { 60 };
            payload.extend_from_slice(&[next, 0, 1, 4, 0, 0, 0, 0]);
        }
        parse(&v6(60, &payload)).map(|ip| (ip.protocol, ip.header_len))
    };
    assert_eq!(chain(ipv6::MAX_EXTENSIONS), Ok((17, 40 + 8 * ipv6::MAX_EXTENSIONS)));
    assert_eq!(chain(ipv6::MAX_EXTENSIONS + 1), Err(IpError::TooManyExtensions));
}

/// A packet of nothing but fragment headers must not nest the walk as deep as it is long.
#[test]
fn chain_of_fragments() {
    let mut payload = Vec::new();
    for id in 0..8000u32 {
        payload.extend_from_slice(&[44, 0, 0, 1]);
        payload.extend_from_slice(&id.to_be_bytes());
    }
    assert_eq!(parse(&v6(44, &payload)), Err(IpError::NestedFragment));
}

#[test]
fn pseudo_headers() {
    for (ip, bytes) in [
        (emit_v4(), hex("c0000201c000020200060028")),
        (emit_v6(), hex("20010db800000000000000000000000120010db80000000000000000000000020000002800000006")),
    ] {
        assert_eq!(ip.pseudo_header_sum(), finack_sum::sum(&bytes));
        assert_eq!(pseudo_header_sum(&ip.src, &ip.dst, 6, 40), finack_sum::sum(&bytes));
    }
    // The second carry carries again.
    let ones = IpAddr::V4(Ipv4Addr::BROADCAST);
    assert_eq!(pseudo_header_sum(&ones, &ones, 0, 1), 1);
    let ones = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));
    assert_eq!(pseudo_header_sum(&ones, &ones, 255, 0xffff_ffff), finack_sum::add(0xffff, 255));
}

/// RFC 791 section 2.3 and the worked sizes of an Ethernet: 1480 and 1448 bytes of payload.
#[test]
fn cutting_into_fragments() {
    let v4 = IpEmit { payload_len: 3000, ..emit_v4() };
    let plan: Vec<_> = v4.fragments(1500).map(|piece| (piece.offset, piece.len, piece.more)).collect();
    assert_eq!(plan, [(0, 1480, true), (1480, 1480, true), (2960, 40, false)]);
    let v6 = IpEmit { payload_len: 2896, ..emit_v6() };
    let plan: Vec<_> = v6.fragments(1500).map(|piece| (piece.offset, piece.len, piece.more)).collect();
    assert_eq!(plan, [(0, 1448, true), (1448, 1448, false)]);
    assert_eq!(v4.fragments(27).count(), 0);
    assert_eq!(v4.fragments(28).count(), 375);
    assert_eq!(IpEmit { payload_len: 0, ..v4 }.fragments(1500).count(), 0);
    assert_eq!((v4.header_len(), v4.fragment_header_len()), (20, 20));
    assert_eq!((v6.header_len(), v6.fragment_header_len()), (40, 48));
}

#[test]
fn short_buffers_are_left_alone() {
    let fragment = Fragment { id: 1, offset: 8, more: true };
    for (ip, len, fragment_len) in [(emit_v4(), 20, 20), (emit_v6(), 40, 48)] {
        let mut out = [0xee; 48];
        assert_eq!(ip.emit(&mut out[..len - 1]), 0);
        assert_eq!(ip.emit_fragment(&fragment, &mut out[..fragment_len - 1]), 0);
        assert_eq!(out, [0xee; 48]);
        assert_eq!(ip.emit(&mut out[..len]), len);
        assert_eq!(ip.emit_fragment(&fragment, &mut out[..fragment_len]), fragment_len);
    }
}

#[test]
fn mixed_families_are_written_as_mapped() {
    let ip = IpEmit { dst: PEER_V6, ..emit_v4() };
    let mut out = [0; 80];
    assert_eq!((ip.header_len(), ip.emit(&mut out)), (40, 40));
    let parsed = parse(&out).unwrap();
    assert_eq!(parsed.src, "::ffff:192.0.2.1".parse::<IpAddr>().unwrap());
}

#[test]
fn errors_say_what_is_wrong() {
    assert_eq!(IpError::BadChecksum.to_string(), "IPv4 header checksum is wrong");
    assert_eq!(
        IpError::BadExtension { pointer: 41 }.to_string(),
        "IPv6 extension header has a bad length at byte 41"
    );
}

#[test]
fn payload_of_another_packet_is_empty() {
    let ip = parse(&hex(samples::SYN_V4)).unwrap();
    assert!(ip.payload(&[0; 30]).is_empty());
}
