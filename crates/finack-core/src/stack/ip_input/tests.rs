//! One or two hosts, and the packets between them.

use super::*;
use alloc::vec;
use alloc::vec::Vec;
use finack_wire::icmp::{self, IcmpMessage};
use finack_wire::ip::{Fragment, IpEmit};
use finack_wire::tcp::{Flags, TcpEmit};
use proptest::prelude::*;

use crate::device::{Capabilities, TxChecksum};
use crate::options::{BindOptions, SocketOptions};
use crate::stack::{Config, Event, InterfaceAddress, Ready, Route};
use crate::tcp::State;
use crate::trace::TraceKind;
use crate::{Error, counters::Counters};

const NOW: Instant = Instant::from_secs(100);

fn at(s: &str) -> SocketAddr {
    s.parse().unwrap()
}

fn ip_of(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn config(addresses: &[(&str, u8)]) -> Config {
    let own = |&(addr, prefix_len): &(&str, u8)| InterfaceAddress { addr: ip_of(addr), prefix_len };
    let default =
        |network: &str| Route { network: ip_of(network), prefix_len: 0, mtu: None, advertised_mss: None };
    Config {
        settings: crate::settings::Settings::default(),
        device: Capabilities::plain(1500),
        addresses: addresses.iter().map(own).collect(),
        routes: vec![default("0.0.0.0"), default("::")],
        any_address: false,
        seed: [8; 32],
    }
}

fn a() -> Stack {
    let mut stack = Stack::new(NOW, config(&[("10.0.0.1", 24), ("fd00::1", 64), ("fe80::1", 64)]));
    stack.set_tracing(1000);
    stack
}

fn b() -> Stack {
    Stack::new(NOW, config(&[("10.0.0.2", 24), ("fd00::2", 64), ("fe80::2", 64)]))
}

fn transmit_at(stack: &mut Stack, now: Instant) -> Vec<Vec<u8>> {
    let mut packets = vec![];
    while let Some(t) = stack.poll_transmit(now) {
        assert_eq!(t.checksum, TxChecksum::Complete);
        let mut packet = vec![];
        t.write_to(&mut packet);
        packets.push(packet);
    }
    packets
}

fn transmit(stack: &mut Stack) -> Vec<Vec<u8>> {
    transmit_at(stack, NOW)
}

/// Hands in one packet and gives what comes back.
fn input(stack: &mut Stack, packet: &[u8]) -> Vec<Vec<u8>> {
    stack.handle_packets(NOW, &[Packet::borrowed(packet)]);
    transmit(stack)
}

/// An IP header, `payload` behind it.
fn packet_of(header: IpEmit, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; header.header_len()];
    IpEmit { payload_len: payload.len(), ..header }.emit(&mut packet);
    packet.extend_from_slice(payload);
    packet
}

fn header(src: &str, dst: &str, protocol: u8) -> IpEmit {
    let (src, dst) = (ip_of(src), ip_of(dst));
    IpEmit { src, dst, protocol, hop_limit: 64, tos: 0, ident: 0, dont_fragment: false, payload_len: 0 }
}

fn udp(from: &str, to: &str, data: &[u8]) -> Vec<u8> {
    let (from, to) = (at(from), at(to));
    let mut datagram = vec![0; 8];
    datagram.extend_from_slice(data);
    finack_wire::udp::emit(&mut datagram, from.port(), to.port(), data.len());
    let header = IpEmit {
        payload_len: datagram.len(),
        ..header(&from.ip().to_string(), &to.ip().to_string(), protocol::UDP)
    };
    let checksum = finack_wire::udp::checksum(header.pseudo_header_sum(), &datagram);
    finack_wire::udp::set_checksum(&mut datagram, checksum);
    packet_of(header, &datagram)
}

fn icmp_packet(src: &str, dst: &str, message: &IcmpMessage<'_>) -> Vec<u8> {
    let protocol = if ip_of(src).is_ipv6() { protocol::ICMPV6 } else { protocol::ICMP };
    let mut body = vec![0; message.encoded_len(ip_of(src).is_ipv6())];
    icmp::emit(&ip_of(src), &ip_of(dst), message, &mut body);
    packet_of(header(src, dst, protocol), &body)
}

/// The message in a packet, with what it says about.
fn parse_icmp(packet: &[u8]) -> (IpHeader, IcmpMessage<'_>) {
    let header = ip::parse(packet).expect("a good header");
    let body = packet.get(header.header_len..header.total_len()).expect("a whole packet");
    (header, icmp::parse(&header, body).expect("a good message"))
}

fn fragments(packet: &[u8], mtu: usize, id: u32) -> Vec<Vec<u8>> {
    let parsed = ip::parse(packet).unwrap();
    let payload = parsed.payload(packet);
    let header = IpEmit {
        payload_len: payload.len(),
        ..header(&parsed.src.to_string(), &parsed.dst.to_string(), parsed.protocol)
    };
    header
        .fragments(mtu)
        .map(|p| {
            let mut out = vec![0; header.fragment_header_len()];
            let fragment = Fragment { id, offset: p.offset as u32, more: p.more };
            IpEmit { payload_len: p.len, ..header }.emit_fragment(&fragment, &mut out);
            out.extend_from_slice(&payload[p.offset..p.offset + p.len]);
            out
        })
        .collect()
}

fn dropped(stack: &Stack) -> Vec<(DropReason, u64)> {
    let counters: &Counters = stack.counters();
    DropReason::ALL.iter().map(|&r| (r, counters.dropped(r))).filter(|(_, n)| *n > 0).collect()
}

/// The packet is dropped for this reason, counted, traced, and not answered.
fn silently_dropped(packet: &[u8], reason: DropReason) {
    let mut stack = a();
    assert_eq!(input(&mut stack, packet), Vec::<Vec<u8>>::new(), "{reason}");
    assert_eq!(dropped(&stack), [(reason, 1)]);
    let traced = core::iter::from_fn(|| stack.poll_trace())
        .filter(|e| matches!(e.kind, TraceKind::Dropped { reason: r, .. } if r == reason))
        .count();
    assert_eq!(traced, 1, "{reason}");
}

use alloc::string::ToString;

#[test]
fn datagrams_cross_between_two_hosts_whatever_their_size() {
    for (from, to) in [("10.0.0.1:0", "10.0.0.2:53"), ("[fd00::1]:0", "[fd00::2]:53")] {
        for len in [0, 1, 1472, 1473, 9000, 65_507] {
            let (mut a, mut b) = (a(), b());
            let client = a.udp_bind(at(from), BindOptions::default()).unwrap();
            let server = b.udp_bind(at(to), BindOptions::default()).unwrap();
            let data: Vec<u8> = (0..len).map(|i| (i % 253) as u8).collect();
            assert_eq!(a.udp_send(NOW, client, Some(at(to)), &data), Ok(len));
            for packet in transmit(&mut a).into_iter().rev() {
                assert!(packet.len() <= 1500);
                b.handle_packets(NOW, &[Packet::shared(packet.into())]);
            }
            assert_eq!(b.poll_event(), Some(Event::Udp { socket: server, ready: Ready::READABLE }));
            let mut buf = vec![0; 70_000];
            let got = b.udp_recv(server, &mut buf, false).unwrap();
            assert_eq!((&buf[..got.len], got.from), (&data[..], a.udp_local_addr(client).unwrap()));
            assert_eq!(b.counters().udp_in_datagrams, 1);
            assert_eq!(dropped(&b), []);
        }
    }
}

#[test]
fn datagrams_to_the_host_itself_stay_on_it() {
    let mut stack = Stack::new(NOW, config(&[("10.0.0.1", 24), ("127.0.0.1", 8), ("::1", 128)]));
    for (client, server) in
        [("10.0.0.1:0", "10.0.0.1:53"), ("127.0.0.1:0", "127.0.0.1:53"), ("[::1]:0", "[::1]:53")]
    {
        let c = stack.udp_bind(at(client), BindOptions::default()).unwrap();
        stack.udp_connect(c, Some(at(server))).unwrap();
        assert_eq!(stack.udp_send(NOW, c, None, b"anybody?"), Ok(8));
        assert_eq!(transmit(&mut stack), Vec::<Vec<u8>>::new());
        assert_eq!(stack.udp_take_error(c), Ok(Some(Error::ConnectionRefused)));
        let s = stack.udp_bind(at(server), BindOptions::default()).unwrap();
        assert_eq!(stack.udp_send(NOW, c, None, &[7; 9000]), Ok(9000));
        assert_eq!(transmit(&mut stack), Vec::<Vec<u8>>::new());
        assert_eq!(stack.udp_recv(s, &mut [0; 9000], false).map(|r| r.len), Ok(9000), "in fragments or not");
    }
}

#[test]
fn rfc1122_3_2_1_packets_that_make_no_sense_are_dropped_in_silence_and_counted() {
    let good = udp("10.0.0.2:9", "10.0.0.1:53", b"data");
    let mut version = good.clone();
    version[0] = 0x55;
    silently_dropped(&version, DropReason::IpMalformed);
    silently_dropped(&good[..10], DropReason::IpMalformed);
    silently_dropped(&[], DropReason::IpMalformed);
    let mut checksum = good.clone();
    checksum[8] ^= 1;
    silently_dropped(&checksum, DropReason::IpChecksum);
    silently_dropped(&udp("10.0.0.2:9", "10.0.0.3:53", b"data"), DropReason::NotForUs);
    silently_dropped(&udp("10.0.0.2:9", "239.1.2.3:53", b"data"), DropReason::NotForUs);
    silently_dropped(&udp("[fd00::2]:9", "[fd00::3]:53", b"data"), DropReason::NotForUs);
    silently_dropped(&udp("10.0.0.2:9", "127.0.0.1:53", b"data"), DropReason::NotForUs);
    let mut short = good.clone();
    short[25] = 7;
    silently_dropped(&short, DropReason::UdpMalformed);
    let mut corrupt = good;
    corrupt[30] ^= 1;
    silently_dropped(&corrupt, DropReason::UdpChecksum);
}

#[test]
fn rfc9293_must_63_segments_from_impossible_sources_are_dropped() {
    for source in
        ["255.255.255.255", "10.0.0.255", "224.0.0.1", "127.0.0.1", "0.0.0.0", "10.0.0.1", "240.0.0.1"]
    {
        silently_dropped(&syn(source, "10.0.0.1"), DropReason::BadSource);
    }
    for source in ["ff02::1", "::1", "::", "fd00::1"] {
        silently_dropped(&syn(source, "fd00::1"), DropReason::BadSource);
    }
}

#[test]
fn rfc9293_must_57_a_syn_to_many_hosts_is_ignored() {
    silently_dropped(&syn("10.0.0.2", "10.0.0.255"), DropReason::TcpNotUnicast);
    silently_dropped(&syn("10.0.0.2", "255.255.255.255"), DropReason::TcpNotUnicast);
    silently_dropped(&syn("10.0.0.2", "224.0.0.1"), DropReason::TcpNotUnicast);
    silently_dropped(&syn("fd00::2", "ff02::1"), DropReason::TcpNotUnicast);
}

fn syn(src: &str, dst: &str) -> Vec<u8> {
    tcp(src, dst, 40_000, 80, 1000, 0, Flags::SYN)
}

fn tcp(src: &str, dst: &str, src_port: u16, dst_port: u16, seq: u32, ack: u32, flags: Flags) -> Vec<u8> {
    let emit = TcpEmit { src_port, dst_port, seq, ack, flags, window: 65_535, urgent: 0, options: &[] };
    let mut segment = vec![0; 20];
    let ip = IpEmit { payload_len: 20, ..header(src, dst, protocol::TCP) };
    emit.emit(&mut segment);
    let checksum = !finack_sum::add(ip.pseudo_header_sum(), finack_sum::sum(&segment));
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    packet_of(ip, &segment)
}

#[test]
fn rfc1122_4_1_3_1_a_port_that_nobody_has_is_unreachable_and_the_sender_is_told() {
    for (from, to) in [("10.0.0.1:5000", "10.0.0.2:53"), ("[fd00::1]:5000", "[fd00::2]:53")] {
        let (mut a, mut b) = (a(), b());
        let s = a.udp_bind(at(from), BindOptions::default()).unwrap();
        a.udp_connect(s, Some(at(to))).unwrap();
        a.udp_send(NOW, s, None, b"hello?").unwrap();
        let question = transmit(&mut a).remove(0);
        let answer = input(&mut b, &question).remove(0);
        let (header, message) = parse_icmp(&answer);
        assert_eq!((header.src, header.dst), (at(to).ip(), at(from).ip()));
        assert_eq!(message, IcmpMessage::Unreachable { code: Unreachable::Port, quoted: &question });
        assert_eq!((b.counters().udp_no_ports, dropped(&b)), (1, vec![(DropReason::UdpNoPort, 1)]));
        assert_eq!(input(&mut a, &answer), Vec::<Vec<u8>>::new());
        assert_eq!(
            a.poll_event(),
            Some(Event::Udp { socket: s, ready: Ready::ERROR | Ready::READABLE | Ready::WRITABLE })
        );
        assert_eq!(a.udp_send(NOW, s, None, b"again"), Err(Error::ConnectionRefused));
        assert_eq!(a.udp_send(NOW, s, None, b"again"), Ok(5));
    }
}

#[test]
fn rfc1122_3_2_2_1_and_rfc4443_3_4_an_unknown_protocol_is_reported() {
    let mut stack = a();
    let packet = packet_of(header("10.0.0.2", "10.0.0.1", 99), b"what is this?");
    let answer = input(&mut stack, &packet).remove(0);
    assert_eq!(
        parse_icmp(&answer).1,
        IcmpMessage::Unreachable { code: Unreachable::Protocol, quoted: &packet }
    );
    let packet = packet_of(header("fd00::2", "fd00::1", 99), b"what is this?");
    let answer = input(&mut stack, &packet).remove(0);
    assert_eq!(parse_icmp(&answer).1, IcmpMessage::ParameterProblem { pointer: 6, code: 1, quoted: &packet });
    assert_eq!(dropped(&stack), [(DropReason::UnknownProtocol, 2)]);
    // "No next header" is no unknown one.
    let packet = packet_of(header("fd00::2", "fd00::1", protocol::NO_NEXT), &[]);
    assert_eq!(input(&mut stack, &packet), Vec::<Vec<u8>>::new());
}

#[test]
fn rfc1122_3_2_2_no_error_about_errors_nor_to_many_hosts_nor_about_later_fragments() {
    let mut stack = a();
    let quiet = |stack: &mut Stack, packet: &[u8], what: &str| {
        assert_eq!(input(stack, packet), Vec::<Vec<u8>>::new(), "{what}");
    };
    quiet(&mut stack, &udp("10.0.0.2:9", "10.0.0.255:53", b"x"), "about a broadcast");
    quiet(&mut stack, &udp("10.0.0.2:9", "255.255.255.255:53", b"x"), "about a broadcast");
    quiet(&mut stack, &udp("10.0.0.2:9", "224.0.0.1:53", b"x"), "about a multicast");
    quiet(&mut stack, &udp("[fd00::2]:9", "[ff02::1]:53", b"x"), "about a multicast");
    quiet(&mut stack, &udp("10.0.0.255:9", "10.0.0.1:53", b"x"), "to a broadcast source");
    let about = udp("10.0.0.1:1", "10.0.0.2:2", b"x");
    for message in [
        IcmpMessage::Unreachable { code: Unreachable::Port, quoted: &about },
        IcmpMessage::TimeExceeded { code: 0, quoted: &about },
        IcmpMessage::ParameterProblem { pointer: 0, code: 0, quoted: &about },
        IcmpMessage::SourceQuench { quoted: &about },
        IcmpMessage::Other { kind: 200, code: 0, body: &[0; 8] },
    ] {
        quiet(&mut stack, &icmp_packet("10.0.0.2", "10.0.0.1", &message), "about an ICMP error");
    }
    let unknown = packet_of(header("10.0.0.2", "10.0.0.1", 99), &[0; 3000]);
    let late = &fragments(&unknown, 1500, 7)[1];
    quiet(&mut stack, late, "about a fragment");
    stack.handle_timeout(NOW + Duration::from_secs(60));
    assert_eq!(transmit(&mut stack), Vec::<Vec<u8>>::new(), "the first fragment never came");
}

#[test]
fn cve_2020_25705_errors_are_limited_for_each_destination_by_itself() {
    let mut stack = a();
    let mut probe = |from: &str, count: u16| {
        (0..count)
            .map(|n| input(&mut stack, &udp(from, &alloc::format!("10.0.0.1:{}", 1000 + n), b"x")).len())
            .sum::<usize>()
    };
    assert_eq!(probe("10.0.0.2:9", 1000), 6);
    assert_eq!(probe("10.0.0.3:9", 1000), 6, "as many as if nobody had probed before");
}

#[test]
fn rfc1122_3_2_2_6_echoes_are_answered_with_their_data_whatever_the_size() {
    for (from, to) in [("10.0.0.2", "10.0.0.1"), ("fd00::2", "fd00::1")] {
        for len in [0, 56, 1472, 4000, 65_507] {
            let mut stack = a();
            let data: Vec<u8> = (0..len).map(|i| (i % 249) as u8).collect();
            let request = icmp_packet(from, to, &IcmpMessage::EchoRequest { ident: 77, seq: 3, data: &data });
            let pieces = if len > 1472 { fragments(&request, 1500, 9) } else { vec![request] };
            let mut peer = b();
            let mut answers = vec![];
            for piece in &pieces {
                answers.extend(input(&mut stack, piece));
            }
            assert!(answers.iter().all(|p| p.len() <= 1500) && !answers.is_empty());
            let limits = Limits { memory: 1 << 20, timeout: Duration::from_secs(30) };
            let whole = match answers.as_slice() {
                [one] => one.clone(),
                many => many
                    .iter()
                    .find_map(|p| peer.ip.reassembler.insert(NOW, &ip::parse(p).unwrap(), p, limits).unwrap())
                    .expect("all fragments"),
            };
            let (header, message) = parse_icmp(&whole);
            assert_eq!((header.src, header.dst), (ip_of(to), ip_of(from)));
            assert_eq!(message, IcmpMessage::EchoReply { ident: 77, seq: 3, data: &data }, "{len} bytes");
            assert_eq!(dropped(&stack), []);
        }
    }
}

#[test]
fn echoes_go_unanswered_where_that_is_asked_for_and_to_broadcasts() {
    let request =
        |to| icmp_packet("10.0.0.2", to, &IcmpMessage::EchoRequest { ident: 1, seq: 1, data: b"x" });
    let mut stack = a();
    assert_eq!(input(&mut stack, &request("10.0.0.255")), Vec::<Vec<u8>>::new());
    assert_eq!(input(&mut stack, &request("224.0.0.1")), Vec::<Vec<u8>>::new());
    stack.set_sysctl("icmp_echo_ignore_all", "1").unwrap();
    assert_eq!(input(&mut stack, &request("10.0.0.1")), Vec::<Vec<u8>>::new());
    // IPv6 has all nodes answer, each from its own address (RFC 4443 4.2).
    let mut stack = a();
    let all = icmp_packet("fe80::2", "ff02::1", &IcmpMessage::EchoRequest { ident: 1, seq: 1, data: b"x" });
    let answer = input(&mut stack, &all).remove(0);
    assert_eq!(parse_icmp(&answer).0.src, ip_of("fe80::1"));
}

#[test]
fn a_gateway_answers_for_every_address() {
    let mut stack =
        Stack::new(NOW, Config { any_address: true, ..config(&[("10.0.0.1", 24), ("fd00::1", 64)]) });
    for (from, to) in [("10.0.0.2", "93.184.216.34"), ("fd00::2", "2606:4700::1111")] {
        let request = icmp_packet(from, to, &IcmpMessage::EchoRequest { ident: 1, seq: 1, data: b"ping" });
        let answer = input(&mut stack, &request).remove(0);
        assert_eq!(parse_icmp(&answer).0.src, ip_of(to));
    }
    let probe = udp("10.0.0.2:9", "93.184.216.34:33434", b"traceroute");
    let answer = input(&mut stack, &probe).remove(0);
    assert_eq!(parse_icmp(&answer).0.src, ip_of("93.184.216.34"));
    assert_eq!(input(&mut stack, &udp("10.0.0.2:9", "10.0.0.255:53", b"x")), Vec::<Vec<u8>>::new());
}

#[test]
fn what_a_kernel_says_on_any_link_is_taken_in_silence() {
    let mut stack = a();
    let other = |src, dst, kind| icmp_packet(src, dst, &IcmpMessage::Other { kind, code: 0, body: &[0; 20] });
    let packets = [
        packet_of(header("10.0.0.2", "224.0.0.22", protocol::IGMP), &[0x22, 0, 0, 0, 0, 0, 0, 0]),
        packet_of(header("0.0.0.0", "224.0.0.22", protocol::IGMP), &[0x22, 0, 0, 0, 0, 0, 0, 0]),
        packet_of(header("10.0.0.2", "224.0.0.1", protocol::IGMP), &[0x11, 0, 0, 0, 0, 0, 0, 0]),
        other("fe80::2", "ff02::16", 143),
        other("::", "ff02::16", 143),
        other("fe80::2", "ff02::2", 133),
        other("::", "ff02::1:ff00:1", 135),
        other("fe80::2", "ff02::1:ff00:1", 135),
        other("fe80::2", "ff02::1", 134),
        other("fe80::2", "ff02::1", 136),
    ];
    for packet in packets {
        assert_eq!(input(&mut stack, &packet), Vec::<Vec<u8>>::new());
    }
    assert_eq!(dropped(&stack), []);
}

#[test]
fn rfc8200_4_2_unknown_options_are_reported_as_their_type_asks() {
    let with_option = |dst: &str, kind: u8| {
        packet_of(
            header("fd00::2", dst, protocol::HOP_BY_HOP),
            &[protocol::UDP, 0, kind, 4, 0, 0, 0, 0, 0, 1],
        )
    };
    let mut stack = a();
    for (kind, unicast, multicast) in [(0x4a, 0, 0), (0x8a, 1, 1), (0xca, 1, 0)] {
        let packet = with_option("fd00::1", kind);
        let answers = input(&mut stack, &packet);
        assert_eq!(answers.len(), unicast, "{kind:#x}");
        if let Some(answer) = answers.first() {
            assert_eq!(
                parse_icmp(answer).1,
                IcmpMessage::ParameterProblem { pointer: 42, code: 2, quoted: &packet }
            );
        }
        assert_eq!(input(&mut stack, &with_option("ff02::1", kind)).len(), multicast, "{kind:#x}");
        assert_eq!(input(&mut stack, &with_option("fd00::9", kind)).len(), 0, "not for us");
    }
}

#[test]
fn rfc1122_3_2_2_5_a_bad_ipv4_option_is_reported() {
    let mut stack = a();
    let mut packet = udp("10.0.0.2:9", "10.0.0.1:53", b"x");
    packet[0] = 0x46;
    packet.splice(20..20, [68, 44, 5, 0]);
    let total = packet.len() as u16;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[10..12].fill(0);
    let sum = !finack_sum::sum(&packet[..24]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let answer = input(&mut stack, &packet).remove(0);
    assert!(matches!(parse_icmp(&answer).1, IcmpMessage::ParameterProblem { code: 0, .. }));
    assert_eq!(dropped(&stack), [(DropReason::IpMalformed, 1)]);
}

#[test]
fn rfc1122_3_3_2_fragments_whose_others_do_not_come_are_reported_if_the_first_is_there() {
    let mut stack = a();
    let datagram = udp("10.0.0.2:9", "10.0.0.1:53", &[5; 4000]);
    let pieces = fragments(&datagram, 1500, 44);
    assert_eq!(input(&mut stack, &pieces[0]), Vec::<Vec<u8>>::new());
    let due = stack.poll_timeout().expect("the reassembly's timer");
    assert_eq!(due, NOW + Duration::from_secs(30));
    stack.handle_timeout(due);
    let answer = transmit_at(&mut stack, due).remove(0);
    let (_, message) = parse_icmp(&answer);
    let IcmpMessage::TimeExceeded { code: TIME_EXCEEDED_REASSEMBLY, quoted } = message else {
        panic!("{message:?}");
    };
    let quoted = icmp::parse_quoted(quoted).unwrap();
    assert_eq!((quoted.src_port, quoted.dst_port), (9, 53));
    assert_eq!(dropped(&stack), [(DropReason::FragmentTimeout, 1)]);
    assert_eq!((stack.counters().ip_reasm_fails, stack.poll_timeout()), (1, None));
}

#[test]
fn a_fragmented_tcp_segment_reaches_tcp() {
    let mut stack = a();
    let segment = tcp("10.0.0.2", "10.0.0.1", 40_000, 80, 1000, 0, Flags::SYN);
    // An IP option area would be needed to cut 20 bytes of TCP; RFC 1858 allows a first fragment of 16 and more.
    let pieces = fragments(&segment, 36, 5);
    assert_eq!(pieces.len(), 2);
    assert_eq!(input(&mut stack, &pieces[1]), Vec::<Vec<u8>>::new());
    let answer = input(&mut stack, &pieces[0]).remove(0);
    let header = ip::parse(&answer).unwrap();
    assert_eq!(
        (header.protocol, header.payload(&answer)[13]),
        (protocol::TCP, 0x14),
        "RST,ACK: nobody listens"
    );
    assert_eq!(stack.counters().ip_reasm_oks, 1);
}

fn frag_needed(quoted: &[u8], mtu: u32) -> Vec<u8> {
    icmp_packet("10.0.0.254", "10.0.0.1", &IcmpMessage::FragNeeded { mtu, quoted })
}

#[test]
fn rfc1191_a_narrow_path_makes_datagrams_go_in_fragments() {
    let mut stack = a();
    let s = stack.udp_bind(at("10.0.0.1:5000"), BindOptions::default()).unwrap();
    let send = |stack: &mut Stack| {
        stack.udp_send(NOW, s, Some(at("192.0.2.1:53")), &[1; 1400]).unwrap();
        transmit(stack)
    };
    let sent = send(&mut stack);
    assert_eq!(sent.len(), 1);
    assert!(ip::parse(&sent[0]).unwrap().dont_fragment);
    assert_eq!(input(&mut stack, &frag_needed(&sent[0][..28], 1300)), Vec::<Vec<u8>>::new());
    let lens: Vec<usize> = send(&mut stack).iter().map(Vec::len).collect();
    assert_eq!(lens, [1300, 148]);
    assert_eq!(dropped(&stack), []);
}

#[test]
fn rfc5927_icmp_about_what_was_never_sent_changes_nothing() {
    let mut stack = a();
    stack.udp_bind(at("10.0.0.1:5000"), BindOptions::default()).unwrap();
    let forged = [
        udp("10.0.0.1:5001", "192.0.2.1:53", &[0; 1400]),
        udp("10.0.0.9:5000", "192.0.2.1:53", &[0; 1400]),
        udp("10.0.0.1:5000", "224.0.0.5:53", &[0; 1400]),
        tcp("10.0.0.1", "192.0.2.1", 5000, 53, 1, 1, Flags::ACK),
        packet_of(header("10.0.0.1", "192.0.2.1", 99), &[0; 1400]),
    ];
    for quoted in &forged {
        input(&mut stack, &frag_needed(quoted, 600));
    }
    assert_eq!(stack.counters().dropped(DropReason::IcmpUnproven), forged.len() as u64);
    assert_eq!(stack.ip.path_mtu.len(), 0);
    let mut corrupt = frag_needed(&udp("10.0.0.1:5000", "192.0.2.1:53", &[0; 1400]), 600);
    *corrupt.last_mut().unwrap() ^= 1;
    input(&mut stack, &corrupt);
    assert_eq!(stack.counters().dropped(DropReason::IcmpMalformed), 1);
    assert_eq!(stack.ip.path_mtu.len(), 0);
}

/// A connection that is being opened, and its SYN.
fn opening(stack: &mut Stack) -> (crate::stack::ConnId, Vec<u8>) {
    let conn = stack.tcp_connect(NOW, None, at("192.0.2.1:80"), SocketOptions::default()).unwrap();
    let syn = transmit(stack).remove(0);
    (conn, syn)
}

fn established(stack: &mut Stack) -> crate::stack::ConnId {
    let (conn, syn) = opening(stack);
    let port = u16::from_be_bytes([syn[20], syn[21]]);
    let iss = u32::from_be_bytes([syn[24], syn[25], syn[26], syn[27]]);
    let answer = tcp("192.0.2.1", "10.0.0.1", 80, port, 7000, iss.wrapping_add(1), Flags::SYN | Flags::ACK);
    assert_eq!(input(stack, &answer).len(), 1, "the third segment");
    assert_eq!(stack.tcp_state(conn), Ok(State::Established));
    conn
}

fn unreachable(code: Unreachable, quoted: &[u8]) -> Vec<u8> {
    icmp_packet("10.0.0.254", "10.0.0.1", &IcmpMessage::Unreachable { code, quoted })
}

#[test]
fn linux_an_unreachable_ends_connect_at_once() {
    for (code, error) in [
        (Unreachable::Port, Error::ConnectionRefused),
        (Unreachable::Host, Error::HostUnreachable),
        (Unreachable::Network, Error::NetworkUnreachable),
    ] {
        let mut stack = a();
        let (conn, syn) = opening(&mut stack);
        assert_eq!(input(&mut stack, &unreachable(code, &syn)), Vec::<Vec<u8>>::new());
        assert_eq!(stack.tcp_take_error(conn), Ok(Some(error)));
        assert_eq!(stack.tcp_state(conn), Ok(State::Closed));
    }
}

#[test]
fn rfc1122_4_2_3_9_a_soft_error_does_not_end_connect_in_the_rfc_profile() {
    let mut stack = a();
    stack.set_sysctl("profile", "rfc").unwrap();
    let (conn, syn) = opening(&mut stack);
    input(&mut stack, &unreachable(Unreachable::Host, &syn));
    assert_eq!(stack.tcp_state(conn), Ok(State::SynSent));
    input(&mut stack, &unreachable(Unreachable::Port, &syn));
    assert_eq!(stack.tcp_take_error(conn), Ok(Some(Error::ConnectionRefused)));
}

#[test]
fn rfc5927_5_2_a_hard_error_does_not_end_an_established_connection() {
    let mut stack = a();
    let conn = established(&mut stack);
    stack.tcp_send(NOW, conn, b"hello", Default::default()).unwrap();
    let data = transmit(&mut stack).remove(0);
    input(&mut stack, &unreachable(Unreachable::Port, &data));
    assert_eq!(stack.tcp_state(conn), Ok(State::Established));
    assert_eq!(stack.tcp_take_error(conn), Ok(None));
    assert_eq!(dropped(&stack), []);
}

#[test]
fn rfc5927_4_1_an_error_that_quotes_a_foreign_sequence_is_ignored() {
    let mut stack = a();
    let (conn, mut syn) = opening(&mut stack);
    syn[27] = syn[27].wrapping_add(9);
    input(&mut stack, &unreachable(Unreachable::Port, &syn));
    input(&mut stack, &frag_needed(&syn, 600));
    assert_eq!(stack.tcp_state(conn), Ok(State::SynSent));
    assert_eq!(dropped(&stack), [(DropReason::IcmpUnproven, 2)]);
    assert_eq!(stack.ip.path_mtu.len(), 0);
}

#[test]
fn rfc1191_frag_needed_lowers_the_segment_size_and_the_data_goes_again() {
    let mut stack = a();
    let conn = established(&mut stack);
    let before = stack.tcp_info(NOW, conn).unwrap();
    stack.tcp_send(NOW, conn, &[7; 2000], Default::default()).unwrap();
    let sent = transmit(&mut stack);
    let largest = sent.iter().max_by_key(|p| p.len()).unwrap();
    let again = input(&mut stack, &frag_needed(&largest[..40], 560));
    assert!(
        !again.is_empty() && again.iter().all(|p| p.len() <= 560),
        "sent again at once, in smaller segments"
    );
    let after = stack.tcp_info(NOW, conn).unwrap();
    assert_eq!(after.snd_mss, 520);
    // The answer has no timestamps and no MSS: 536. Only what does not fit 560 bytes shrinks.
    assert!(before.snd_mss == 536 && after.cwnd >= after.snd_mss.into());
    assert_eq!(after.ssthresh, before.ssthresh, "no sign of congestion");
}

proptest! {
    #![proptest_config(crate::testing::cases(300))]

    /// Mutilated packets of every kind: no panic, no growth, and never more answers than packets.
    #[test]
    fn hostile_packets_do_no_harm(
        packets in proptest::collection::vec(
            (0usize..9, proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
             any::<bool>(), any::<prop::sample::Index>()), 1..60),
    ) {
        let mut stack = a();
        let s = stack.udp_bind(at("[::]:53"), BindOptions::default()).unwrap();
        stack.udp_join(s, ip_of("224.0.0.251")).unwrap();
        let (conn, syn) = opening(&mut stack);
        let long = udp("10.0.0.2:9", "10.0.0.1:53", &[5; 3000]);
        let mut kinds = vec![
            udp("10.0.0.2:9", "10.0.0.1:53", b"data"),
            udp("[fd00::2]:9", "[fd00::1]:53", b"data"),
            udp("10.0.0.2:9", "224.0.0.251:53", b"data"),
            icmp_packet("10.0.0.2", "10.0.0.1", &IcmpMessage::EchoRequest { ident: 1, seq: 1, data: b"x" }),
            unreachable(Unreachable::Host, &syn),
            frag_needed(&syn, 600),
            packet_of(header("fd00::2", "fd00::1", protocol::HOP_BY_HOP), &[17, 0, 5, 2, 0, 0, 1, 0, 1, 1]),
        ];
        kinds.extend(fragments(&long, 1500, 3).into_iter().take(2));
        let mut now = NOW;
        for (kind, changes, fix, cut) in packets {
            let mut packet = kinds[kind].clone();
            for (index, value) in changes {
                let at = index.index(packet.len());
                packet[at] = value;
            }
            if fix && packet[0] >> 4 == 4 {
                let len = (usize::from(packet[0] & 15) * 4).min(packet.len());
                if len >= 20 {
                    packet[10..12].fill(0);
                    let sum = !finack_sum::sum(&packet[..len]);
                    packet[10..12].copy_from_slice(&sum.to_be_bytes());
                }
            } else if !fix {
                packet.truncate(cut.index(packet.len()) + 1);
            }
            now += Duration::from_millis(100);
            stack.handle_packets(now, &[Packet::borrowed(&packet)]);
            let answers = transmit_at(&mut stack, now);
            prop_assert!(answers.len() <= 3);
            let mut buf = [0; 100];
            let _ = stack.udp_recv(s, &mut buf, false);
        }
        let _ = stack.tcp_take_error(conn);
        stack.handle_timeout(now + Duration::from_secs(31));
        prop_assert_eq!(stack.ip.reassembler.memory(), 0);
    }
}
