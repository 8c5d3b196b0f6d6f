//! What holds for all bytes: nothing makes parsing panic, and what was emitted is what is parsed.

use finack_wire::arp::{ArpPacket, Operation};
use finack_wire::ethernet::{EtherType, EthernetHeader, MacAddr};
use finack_wire::flow::FourTuple;
use finack_wire::icmp::{self, IcmpMessage, Unreachable};
use finack_wire::ip::{self, Fragment, IpEmit};
use finack_wire::ndp::{self, NdpMessage};
use finack_wire::tcp::{self, Flags, TcpEmit, TcpHeader};
use finack_wire::tcp_options::{AccEcn, AuthOption, FastOpen, RawOptions, SackBlocks, TcpOptions};
use finack_wire::{ipv4, ipv6, udp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn ends() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<(u32, u32)>()
            .prop_map(|(a, b)| { (IpAddr::V4(Ipv4Addr::from_bits(a)), IpAddr::V4(Ipv4Addr::from_bits(b))) }),
        any::<(u128, u128)>()
            .prop_map(|(a, b)| { (IpAddr::V6(Ipv6Addr::from_bits(a)), IpAddr::V6(Ipv6Addr::from_bits(b))) }),
    ]
}

/// Headers whose payload is no extension header, of `payload_len` bytes.
fn ip_emit(payload_len: usize) -> impl Strategy<Value = IpEmit> {
    let protocol = prop_oneof![Just(6), Just(17), 61..=255u8];
    (ends(), protocol, any::<u8>(), any::<u8>(), any::<u16>(), any::<bool>()).prop_map(
        move |((src, dst), protocol, hop_limit, tos, ident, dont_fragment)| IpEmit {
            src,
            dst,
            protocol,
            hop_limit,
            tos,
            ident,
            dont_fragment,
            payload_len,
        },
    )
}

fn tcp_options() -> impl Strategy<Value = TcpOptions> {
    let sack = vec(any::<(u32, u32)>(), 0..=4).prop_map(|list| {
        let mut blocks = SackBlocks::new();
        for (start, end) in list {
            blocks.push(start, end);
        }
        blocks
    });
    let cookie = prop_oneof![Just(0usize), (2..=8usize).prop_map(|half| half * 2)]
        .prop_flat_map(|len| (vec(any::<u8>(), len), any::<bool>()))
        .prop_map(|(cookie, experimental)| {
            let mut option = FastOpen::new(&cookie).expect("a length that a cookie may have");
            option.experimental = experimental;
            option
        });
    let ao = any::<(u8, u8, u8)>().prop_map(|(key_id, rnext_key_id, mac_len)| AuthOption {
        key_id,
        rnext_key_id,
        mac_offset: 4,
        mac_len,
    });
    (
        option::of(any::<u16>()),
        option::of(any::<u8>()),
        any::<bool>(),
        option::of(any::<(u32, u32)>()),
        sack,
        option::of(cookie),
        option::of(any::<u16>()),
        option::weighted(0.2, any::<[u8; 16]>()),
        option::weighted(0.2, ao),
        option::weighted(0.3, (any::<bool>(), any::<[u32; 3]>(), 0..=3_usize)),
    )
        .prop_map(
            |(
                mss,
                window_scale,
                sack_permitted,
                timestamps,
                sack,
                fast_open,
                user_timeout,
                md5,
                ao,
                counters,
            )| {
                TcpOptions {
                    acc_ecn: counters.map(|(first, counters, len)| AccEcn::new(first, counters, len)),
                    mss,
                    window_scale,
                    sack_permitted,
                    timestamps,
                    sack,
                    fast_open,
                    user_timeout,
                    md5,
                    ao,
                    ..TcpOptions::default()
                }
            },
        )
}

/// Bytes that are often nearly a packet: version and lengths are set right half of the time.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    (vec(any::<u8>(), 0..200), any::<bool>(), any::<bool>(), option::of(0u8..4)).prop_map(
        |(mut bytes, v6, fix, extension)| {
            let len = bytes.len();
            if v6 && fix && len >= 40 {
                bytes[0] = 0x60;
                bytes[4..6].copy_from_slice(&(len as u16 - 40).to_be_bytes());
                if let Some(extension) = extension {
                    bytes[6] = [0, 43, 44, 60][usize::from(extension)];
                }
            } else if fix && len >= 60 {
                bytes[0] = 0x40 | (bytes[0] % 11 + 5);
                bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
                bytes[10..12].fill(0);
                let header = usize::from(bytes[0] & 15) * 4;
                let checksum = !finack_sum::sum(&bytes[..header]);
                bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_packet_panics(packet in packets()) {
        if let Ok(ip) = ip::parse(&packet) {
            let least = if ip.is_v6() { 40 } else { 20 };
            prop_assert!(ip.header_len >= least);
            prop_assert!(ip.total_len() <= packet.len());
            let payload = ip.payload(&packet);
            prop_assert_eq!(payload.len(), ip.payload_len);
            if let Some(fragment) = ip.fragment {
                prop_assert!(fragment.offset % 8 == 0 && (fragment.more || fragment.offset > 0));
                let _ = ip.reassembled(payload);
            }
            prop_assert!(ip.next_header_offset < ip.header_len);
            prop_assert_eq!(packet[ip.next_header_offset], ip.protocol);
            let _ = (icmp::parse(&ip, payload), icmp::may_report(&ip, payload, false));
            let _ = (udp::verify(&ip, payload), tcp::checksum_ok(&ip, payload), ndp::parse(&ip, payload));
            let _ = FourTuple::from_packet(&ip, payload);
        }
        if let Some(quoted) = icmp::parse_quoted(&packet) {
            prop_assert!(quoted.header_len <= packet.len());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..120)) {
        let _ = (ipv4::parse(&bytes), ipv6::parse(&bytes), icmp::parse_v4(&bytes));
        let unspecified = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let _ = icmp::parse_v6(&unspecified, &unspecified, &bytes);
        if let Ok(header) = TcpHeader::parse(&bytes) {
            let (options, payload) = (tcp::options_bytes(&bytes, &header), tcp::payload(&bytes, &header));
            prop_assert_eq!(20 + options.len() + payload.len(), bytes.len());
        }
        if let Ok(header) = udp::parse(&bytes) {
            prop_assert_eq!(udp::payload(&bytes, &header).len() + 8, usize::from(header.length));
        }
        let _ = TcpOptions::parse(&bytes);
        prop_assert!(RawOptions::new(&bytes).count() <= bytes.len());
        let _ = (ArpPacket::parse(&bytes), EthernetHeader::parse(&bytes));
    }

    /// Options made of kinds that are known, with lengths that are nearly right.
    #[test]
    fn options_nearly_right(
        parts in vec((prop_oneof![0u8..9, Just(19), 28u8..35, Just(254)], 0u8..20, any::<u64>()), 0..8)
    ) {
        let mut bytes = Vec::new();
        for (kind, len, data) in parts {
            bytes.extend_from_slice(&[kind, len]);
            bytes.extend_from_slice(&data.to_be_bytes()[..usize::from(len).saturating_sub(2).min(8)]);
        }
        let options = TcpOptions::parse(&bytes);
        let mut out = [0; 40];
        let len = options.emit(&mut out);
        prop_assert_eq!(len, options.encoded_len());
        prop_assert!(!TcpOptions::parse(&out[..len]).malformed);
        let bytes = &bytes[..bytes.len().min(40)];
        let mut raw = RawOptions::new(bytes);
        raw.by_ref().for_each(drop);
        prop_assert_eq!(options.malformed, raw.is_malformed());
    }

    #[test]
    fn ip_comes_back(ip in ip_emit(64), label in 0u32..1 << 20) {
        let mut packet = [0xee; 40 + 64];
        let len = ip.emit_with_flow_label(label, &mut packet);
        prop_assert_eq!(len, ip.header_len());
        let parsed = ip::parse(&packet).unwrap();
        prop_assert_eq!((parsed.src, parsed.dst, parsed.protocol), (ip.src, ip.dst, ip.protocol));
        prop_assert_eq!((parsed.hop_limit, parsed.tos, parsed.fragment), (ip.hop_limit, ip.tos, None));
        prop_assert_eq!((parsed.header_len, parsed.payload_len), (len, 64));
        prop_assert_eq!(parsed.dont_fragment, ip.dont_fragment || ip.src.is_ipv6());
        prop_assert_eq!(parsed.flow_label, if ip.src.is_ipv6() { label } else { 0 });
        prop_assert_eq!(parsed.pseudo_header_sum(64), ip.pseudo_header_sum());
    }

    #[test]
    fn pseudo_headers_are_their_bytes(
        (src, dst) in ends(), protocol in any::<u8>(), len in any::<u32>(),
    ) {
        let mut bytes = Vec::new();
        for address in [src, dst] {
            match address {
                IpAddr::V4(v4) => bytes.extend_from_slice(&v4.octets()),
                IpAddr::V6(v6) => bytes.extend_from_slice(&v6.octets()),
            }
        }
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0, protocol]);
        let sum = ip::pseudo_header_sum(&src, &dst, protocol, len as usize);
        prop_assert_eq!(sum, finack_sum::sum(&bytes));
    }

    #[test]
    fn fragments_come_back(ip in ip_emit(0), len in 1usize..6000, mtu in 68usize..2000, id in any::<u16>()) {
        let ip = IpEmit { payload_len: len, protocol: 99, ..ip };
        let mut at = 0;
        for piece in ip.fragments(mtu) {
            prop_assert_eq!(piece.offset, at);
            let header = IpEmit { payload_len: piece.len, ..ip };
            let fragment = Fragment { id: u32::from(id), offset: at as u32, more: piece.more };
            let mut packet = vec![0; mtu];
            prop_assert_eq!(header.emit_fragment(&fragment, &mut packet), ip.fragment_header_len());
            prop_assert!(ip.fragment_header_len() + piece.len <= mtu);
            let parsed = ip::parse(&packet).unwrap();
            let whole = at == 0 && !piece.more;
            prop_assert_eq!(parsed.fragment, if whole { None } else { Some(fragment) });
            prop_assert_eq!((parsed.protocol, parsed.payload_len), (99, piece.len));
            at += piece.len;
            prop_assert_eq!(piece.more, at < len);
        }
        prop_assert_eq!(at, len);
    }

    #[test]
    fn tcp_comes_back(
        ports in any::<(u16, u16)>(), numbers in any::<(u32, u32)>(), flags in 0u16..512,
        window in any::<u16>(), urgent in any::<u16>(), options in tcp_options(),
        data in vec(any::<u8>(), 0..50), ip in ip_emit(0),
    ) {
        let mut encoded = [0; 40];
        let len = options.emit(&mut encoded);
        let emit = TcpEmit {
            src_port: ports.0, dst_port: ports.1, seq: numbers.0, ack: numbers.1, flags: Flags(flags),
            window, urgent, options: &encoded[..len],
        };
        let mut segment = vec![0xee; 60];
        let header_len = emit.emit(&mut segment);
        prop_assert_eq!(header_len, 20 + len);
        segment.truncate(header_len);
        segment.extend_from_slice(&data);
        let pseudo = ip::pseudo_header_sum(&ip.src, &ip.dst, 6, segment.len());
        let checksum = tcp::checksum(pseudo, &segment);
        tcp::set_checksum(&mut segment, checksum);

        let ip = IpEmit { payload_len: segment.len(), protocol: 6, ..ip };
        let mut packet = vec![0; ip.header_len()];
        ip.emit(&mut packet);
        packet.extend_from_slice(&segment);
        let parsed_ip = ip::parse(&packet).unwrap();
        prop_assert!(tcp::checksum_ok(&parsed_ip, &segment));
        let header = TcpHeader::parse(&segment).unwrap();
        let want = TcpHeader {
            src_port: ports.0, dst_port: ports.1, seq: numbers.0, ack: numbers.1, flags: Flags(flags),
            window, urgent, checksum, header_len, reserved: 0,
        };
        prop_assert_eq!(header, want);
        prop_assert_eq!(tcp::payload(&segment, &header), &data[..]);
        prop_assert_eq!(tcp::options_bytes(&segment, &header), &encoded[..len]);
    }

    #[test]
    fn options_come_back_as_far_as_they_fit(options in tcp_options()) {
        let mut out = [0xee; 40];
        let len = options.emit(&mut out);
        prop_assert_eq!(len, options.encoded_len());
        prop_assert!(len.is_multiple_of(4));
        prop_assert!(out[len..].iter().all(|byte| *byte == 0xee));
        let parsed = TcpOptions::parse(&out[..len]);
        prop_assert!(!parsed.malformed && parsed.unknown == 0);
        // Each is there as it was, or not at all.
        prop_assert!(parsed.mss.is_none() || parsed.mss == options.mss);
        prop_assert!(parsed.window_scale.is_none() || parsed.window_scale == options.window_scale);
        prop_assert!(!parsed.sack_permitted || options.sack_permitted);
        prop_assert!(parsed.timestamps.is_none() || parsed.timestamps == options.timestamps);
        prop_assert!(parsed.fast_open.is_none() || parsed.fast_open == options.fast_open);
        prop_assert!(parsed.acc_ecn.is_none() || parsed.acc_ecn == options.acc_ecn);
        prop_assert!(parsed.user_timeout.is_none() || parsed.user_timeout == options.user_timeout);
        prop_assert!(parsed.md5.is_none() || parsed.md5 == options.md5);
        prop_assert!(parsed.ao.is_none() || options.ao.is_some());
        prop_assert!(options.sack.as_slice().starts_with(parsed.sack.as_slice()));
        // And if all of it fits, all of it is there.
        if parsed.sack.len() == options.sack.len() && len < 24 && options.ao.is_none() && options.md5.is_none() {
            prop_assert_eq!(parsed, options);
        }
    }

    #[test]
    fn udp_comes_back(
        ports in any::<(u16, u16)>(), data in vec(any::<u8>(), 0..100), ip in ip_emit(0),
    ) {
        let ip = IpEmit { protocol: 17, payload_len: 8 + data.len(), ..ip };
        let mut packet = vec![0; ip.header_len() + 8];
        let at = ip.emit(&mut packet);
        prop_assert_eq!(udp::emit(&mut packet[at..], ports.0, ports.1, data.len()), 8);
        packet.extend_from_slice(&data);
        let value = udp::checksum(ip.pseudo_header_sum(), &packet[at..]);
        prop_assert_ne!(value, 0);
        udp::set_checksum(&mut packet[at..], value);
        let parsed = ip::parse(&packet).unwrap();
        let datagram = parsed.payload(&packet);
        prop_assert_eq!(udp::verify(&parsed, datagram), Ok(()));
        let header = udp::parse(datagram).unwrap();
        prop_assert_eq!((header.src_port, header.dst_port, header.checksum), (ports.0, ports.1, value));
        prop_assert_eq!(udp::payload(datagram, &header), &data[..]);
        let flow = FourTuple::from_packet(&parsed, datagram).unwrap();
        prop_assert_eq!((flow.local.ip(), flow.local.port()), (ip.dst, ports.1));
        prop_assert_eq!((flow.remote.ip(), flow.remote.port()), (ip.src, ports.0));
    }

    #[test]
    fn icmp_comes_back(
        (src, dst) in ends(), words in any::<(u16, u16)>(), number in any::<u32>(), code in any::<u8>(),
        data in vec(any::<u8>(), 0..500),
    ) {
        let quoted = &data[..];
        let is_v6 = src.is_ipv6();
        let reason = if is_v6 { Unreachable::from_v6(code) } else { Unreachable::from_v4(code) };
        let small = number & if is_v6 { u32::MAX } else { 0xff };
        let mut messages = vec![
            IcmpMessage::EchoRequest { ident: words.0, seq: words.1, data: quoted },
            IcmpMessage::EchoReply { ident: words.0, seq: words.1, data: quoted },
            IcmpMessage::FragNeeded { mtu: small, quoted },
            IcmpMessage::TimeExceeded { code, quoted },
            IcmpMessage::ParameterProblem { pointer: small, code, quoted },
            IcmpMessage::Other { kind: 200, code, body: quoted },
        ];
        if is_v6 || code != 4 {
            messages.push(IcmpMessage::Unreachable { code: reason, quoted });
        }
        if !is_v6 {
            messages.push(IcmpMessage::SourceQuench { quoted });
            messages.push(IcmpMessage::Redirect { code, gateway: Ipv4Addr::from_bits(number), quoted });
        }
        for message in messages {
            let mut out = [0; 600];
            let len = icmp::emit(&src, &dst, &message, &mut out);
            prop_assert_eq!(len, message.encoded_len(is_v6));
            let body = &out[..len];
            let parsed = if is_v6 { icmp::parse_v6(&src, &dst, body) } else { icmp::parse_v4(body) };
            prop_assert_eq!(parsed, Ok(message));
        }
    }

    #[test]
    fn link_layer_comes_back(
        macs in any::<([u8; 6], [u8; 6])>(), ips in any::<(u32, u32)>(), kind in 0x600u16..,
        tag in option::of(any::<u16>()), operation in any::<u16>(),
    ) {
        prop_assume!(kind != EtherType::VLAN.0);
        let (dst, src) = (MacAddr(macs.0), MacAddr(macs.1));
        let header = EthernetHeader { dst, src, ethertype: EtherType(kind), tag };
        let mut frame = [0; 18];
        let len = header.emit(&mut frame);
        prop_assert_eq!(EthernetHeader::parse(&frame[..len]), Ok(header));
        let packet = ArpPacket {
            operation: Operation::from_number(operation),
            sender_mac: src,
            sender_ip: Ipv4Addr::from_bits(ips.0),
            target_mac: dst,
            target_ip: Ipv4Addr::from_bits(ips.1),
        };
        let mut out = [0; 28];
        prop_assert_eq!(packet.emit(&mut out), 28);
        prop_assert_eq!(ArpPacket::parse(&out), Ok(packet));
    }

    #[test]
    fn neighbours_come_back(
        target in any::<u128>(), src in 1u128.., link in option::of(any::<[u8; 6]>()), flags in any::<[bool; 3]>(),
    ) {
        let (target, src) = (Ipv6Addr::from_bits(target & !(1 << 127)), Ipv6Addr::from_bits(src));
        let dst = Ipv6Addr::LOCALHOST;
        let link = link.map(MacAddr);
        let [router, solicited, override_] = flags;
        for message in [
            NdpMessage::Solicitation { target, source_link: link },
            NdpMessage::Advertisement { target, router, solicited, override_, target_link: link },
        ] {
            let ip = IpEmit {
                src: src.into(), dst: dst.into(), protocol: 58, hop_limit: ndp::HOP_LIMIT, tos: 0, ident: 0,
                dont_fragment: true, payload_len: message.encoded_len(),
            };
            let mut packet = [0; 72];
            ip.emit(&mut packet);
            prop_assert_eq!(message.emit(&src, &dst, &mut packet[40..]), ip.payload_len);
            let parsed = ip::parse(&packet).unwrap();
            prop_assert_eq!(ndp::parse(&parsed, parsed.payload(&packet)), Ok(message));
        }
    }
}
