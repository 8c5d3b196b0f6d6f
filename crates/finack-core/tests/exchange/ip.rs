//! IP: headers, fragments and their bounds (RFC 791, RFC 815, RFC 1858, RFC 5722, RFC 8200).

use core::net::SocketAddr;

use finack_core::options::BindOptions;
use finack_core::stack::UdpId;
use finack_core::trace::DropReason;
use finack_sim::packet::{Body, Ip, Pkt, build, flag, proto, v4, v6};
use finack_sim::rng::Rng;
use finack_sim::{Script, Setup};

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn udp_socket(t: &mut Script, local: &str) -> UdpId {
    t.stack.udp_bind(addr(local), BindOptions::default()).unwrap()
}

fn recv(t: &mut Script, s: UdpId) -> Option<Vec<u8>> {
    let mut buf = vec![0; 70_000];
    let got = t.stack.udp_recv(s, &mut buf, false).ok()?;
    buf.truncate(got.len);
    Some(buf)
}

/// An IPv4 fragment of `payload` (the datagram's whole IP payload) at `offset`.
fn v4_fragment(id: u16, protocol: u8, payload: &[u8], offset: usize, len: usize) -> Vec<u8> {
    let mut ip = Ip::new(v4(2), v4(1));
    ip.id = id;
    ip.df = false;
    let end = payload.len().min(offset + len);
    let body = Body::Other { protocol, payload: payload[offset..end].to_vec() };
    let mut bytes = build(&Pkt { ip, body });
    let more = if end < payload.len() { 0x2000 } else { 0 };
    let field = more | (offset / 8) as u16;
    bytes[6..8].copy_from_slice(&field.to_be_bytes());
    bytes[10..12].copy_from_slice(&[0, 0]);
    let sum: u32 = bytes[..20].chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(p[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// The same with an IPv6 fragment header.
fn v6_fragment(id: u32, protocol: u8, payload: &[u8], offset: usize, len: usize) -> Vec<u8> {
    let end = payload.len().min(offset + len);
    let mut data = vec![protocol, 0];
    data.extend_from_slice(&(offset as u16 | u16::from(end < payload.len())).to_be_bytes());
    data.extend_from_slice(&id.to_be_bytes());
    data.extend_from_slice(&payload[offset..end]);
    let body = Body::Other { protocol: proto::FRAGMENT, payload: data };
    build(&Pkt { ip: Ip::new(v6(2), v6(1)), body })
}

fn udp_payload(v6_packet: bool, data: &[u8]) -> Vec<u8> {
    let packet = if v6_packet {
        Pkt::udp(addr("[fd00::2]:9"), addr("[fd00::1]:53"), data)
    } else {
        Pkt::udp(addr("10.0.0.2:9"), addr("10.0.0.1:53"), data)
    };
    build(&packet)[if v6_packet { 40 } else { 20 }..].to_vec()
}

fn data(len: usize) -> Vec<u8> {
    finack_sim::pattern::bytes(9, 0, len)
}

/// RFC 791 3.2: fragments in order, reversed and interleaved are put together.
#[test]
fn reassembly_v4() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut t = Setup::new().bare();
        let s = udp_socket(&mut t, "10.0.0.1:53");
        let payload = udp_payload(false, &data(3000));
        for i in order {
            assert_eq!(recv(&mut t, s), None);
            t.inject_bytes(&v4_fragment(7, proto::UDP, &payload, i * 1480, 1480));
        }
        assert_eq!(recv(&mut t, s), Some(data(3000)));
        assert_eq!(t.stack.counters().ip_reasm_oks, 1);
    }
}

/// RFC 8200 4.5: the same over IPv6.
#[test]
fn reassembly_v6() {
    for order in [[0, 1, 2], [2, 0, 1]] {
        let mut t = Setup::new().bare();
        let s = udp_socket(&mut t, "[fd00::1]:53");
        let payload = udp_payload(true, &data(3000));
        for i in order {
            t.inject_bytes(&v6_fragment(7, proto::UDP, &payload, i * 1448, 1448));
        }
        assert_eq!(recv(&mut t, s), Some(data(3000)));
    }
}

/// A TCP segment that was fragmented on its way is delivered.
#[test]
fn a_fragmented_segment() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let segment = build(&t.segment("P. 1:1001(1000) ack 1"))[20..].to_vec();
    t.inject_bytes(&v4_fragment(5, proto::TCP, &segment, 504, 600));
    t.inject_bytes(&v4_fragment(5, proto::TCP, &segment, 0, 504));
    t.read(c, 1000);
    t.pass_ms(500);
}

/// An identical duplicate of a fragment does no harm.
#[test]
fn a_duplicate_fragment() {
    let mut t = Setup::new().bare();
    let s = udp_socket(&mut t, "10.0.0.1:53");
    let payload = udp_payload(false, &data(2000));
    for offset in [0, 0, 1480] {
        t.inject_bytes(&v4_fragment(7, proto::UDP, &payload, offset, 1480));
    }
    assert_eq!(recv(&mut t, s), Some(data(2000)));
}

/// RFC 5722: overlapping fragments throw the whole datagram away, over IPv6 by rule, over IPv4 by prudence (as Linux does).
#[test]
fn overlapping_fragments() {
    let mut t = Setup::new().bare();
    let s = udp_socket(&mut t, "[fd00::1]:53");
    let payload = udp_payload(true, &data(2000));
    t.inject_bytes(&v6_fragment(7, proto::UDP, &payload, 0, 1448));
    t.inject_bytes(&v6_fragment(7, proto::UDP, &payload, 1440, 600));
    assert_eq!(recv(&mut t, s), None);
    assert!(t.stack.counters().dropped(DropReason::FragmentRejected) >= 1);
    t.take_sent();
    let mut t = Setup::new().bare();
    let s = udp_socket(&mut t, "10.0.0.1:53");
    let payload = udp_payload(false, &data(2000));
    t.inject_bytes(&v4_fragment(7, proto::UDP, &payload, 0, 1480));
    let mut forged = payload.clone();
    forged[1472] ^= 1;
    t.inject_bytes(&v4_fragment(7, proto::UDP, &forged, 1472, 600));
    assert_eq!(recv(&mut t, s), None);
}

/// RFC 1858, RFC 3128: a first fragment too small for the TCP header, or one that begins inside it, is rejected.
#[test]
fn tiny_fragments() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let segment = build(&t.segment("P. 1:101(100) ack 1"))[20..].to_vec();
    t.inject_bytes(&v4_fragment(5, proto::TCP, &segment, 0, 8));
    t.inject_bytes(&v4_fragment(5, proto::TCP, &segment, 8, 200));
    t.read_blocks(c);
    t.take_sent();
    assert!(t.stack.counters().dropped(DropReason::FragmentRejected) >= 1);
}

/// RFC 791: a fragment that ends beyond 65,535 bytes is rejected ("ping of death").
#[test]
fn an_oversized_datagram() {
    let mut t = Setup::new().bare();
    let payload = udp_payload(false, &data(2000));
    let mut bytes = v4_fragment(7, proto::UDP, &payload, 0, 1480);
    bytes[6..8].copy_from_slice(&0x1fff_u16.to_be_bytes());
    bytes[10..12].copy_from_slice(&[0, 0]);
    let sum: u32 = bytes[..20].chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(p[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    t.inject_bytes(&bytes);
    t.take_sent();
    let counters = t.stack.counters();
    assert!(counters.dropped(DropReason::FragmentRejected) + counters.dropped(DropReason::IpMalformed) >= 1);
}

/// ipfrag_time: fragments that wait for others are given up after 30 s, counted, and their memory comes back.
#[test]
fn reassembly_times_out() {
    let mut t = Setup::new().bare();
    let s = udp_socket(&mut t, "10.0.0.1:53");
    let payload = udp_payload(false, &data(2000));
    let mut after_the_first = 0;
    for id in 0..50 {
        let before = t.stack.memory();
        for other in 0..20 {
            t.inject_bytes(&v4_fragment(id * 20 + other, proto::UDP, &payload, 0, 1480));
        }
        assert!(t.stack.memory() > before + 20 * 1480);
        t.pass_ms(31_000);
        if id == 0 {
            after_the_first = t.stack.memory();
        }
    }
    assert!(t.stack.memory() <= after_the_first + 1024, "{after_the_first} -> {}", t.stack.memory());
    assert_eq!(t.stack.counters().ip_reasm_fails, 1000);
    t.inject_bytes(&v4_fragment(999, proto::UDP, &payload, 1480, 1480));
    assert_eq!(recv(&mut t, s), None);
    t.take_sent();
}

/// ipfrag_high_thresh: a flood of first fragments takes no more memory than it may; whole datagrams still come through.
#[test]
fn reassembly_is_bounded() {
    let mut t = Setup::new().set("ipfrag_high_thresh", 100_000).bare();
    let s = udp_socket(&mut t, "10.0.0.1:53");
    let before = t.stack.memory();
    let payload = udp_payload(false, &data(2000));
    for id in 0..5000 {
        t.inject_bytes(&v4_fragment(id, proto::UDP, &payload, 0, 1480));
        t.take_sent();
    }
    assert!(t.stack.memory() < before + 300_000, "{before} -> {}", t.stack.memory());
    t.inject_bytes(&v4_fragment(9999, proto::UDP, &payload, 0, 1480));
    t.inject_bytes(&v4_fragment(9999, proto::UDP, &payload, 1480, 1480));
    assert_eq!(recv(&mut t, s), Some(data(2000)));
}

/// Many fragments of one byte of substance each do not get around the bound.
#[test]
fn tiny_pieces_are_bounded() {
    let mut t = Setup::new().set("ipfrag_high_thresh", 100_000).bare();
    let before = t.stack.memory();
    let payload = udp_payload(false, &data(60_000));
    for id in 0..20 {
        for piece in 0..3000 {
            t.inject_bytes(&v4_fragment(id, proto::UDP, &payload, 8 + piece * 16, 8));
            t.take_sent();
        }
    }
    assert!(t.stack.memory() < before + 500_000, "{before} -> {}", t.stack.memory());
}

/// RFC 791, MUST: a wrong header checksum, a wrong version, impossible lengths: dropped, counted, not answered.
#[test]
fn malformed_headers() {
    let mut t = Setup::new().server();
    let good = build(&t.segment("S 0:0(0) win 1000 <mss 1460>"));
    let mut bad = good.clone();
    bad[10] ^= 1;
    t.inject_bytes(&bad);
    assert_eq!(t.stack.counters().dropped(DropReason::IpChecksum), 1);
    for (at, value) in [(0, 0x55), (0, 0x44), (0, 0x4f), (2, 0xff), (3, 10)] {
        let mut bad = good.clone();
        bad[at] = value;
        t.inject_bytes(&bad);
        t.expect_nothing();
    }
    for len in 0..good.len() {
        t.inject_bytes(&good[..len]);
        t.expect_nothing();
    }
    assert!(t.stack.counters().dropped(DropReason::IpMalformed) >= 5);
}

/// Bytes behind the IP total length (Ethernet padding) are no part of the packet.
#[test]
fn padding_is_ignored() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let mut bytes = build(&t.segment("P. 1:2(1) ack 1"));
    bytes.extend_from_slice(&[0xaa; 10]);
    t.inject_bytes(&bytes);
    t.read(c, 1);
    t.read_blocks(c);
    t.pass_ms(500);
}

/// An unknown protocol is dropped and counted (RFC 1122 3.2.2.1: ICMP protocol unreachable may be sent).
#[test]
fn an_unknown_protocol() {
    let mut t = Setup::new().bare();
    let body = Body::Other { protocol: 200, payload: vec![0; 20] };
    t.inject_packet(&Pkt { ip: Ip::new(v4(2), v4(1)), body });
    for sent in t.take_sent() {
        let icmp = sent.packet.as_icmp().expect("ICMP");
        assert_eq!((icmp.kind, icmp.code), (3, 2));
    }
    assert_eq!(t.stack.counters().dropped(DropReason::UnknownProtocol), 1);
}

/// IPv6 extension headers before TCP are passed over (RFC 8200 4).
#[test]
fn extension_headers() {
    let mut t = Setup::new().v6().server();
    let segment = build(&t.segment("S 0:0(0) win 65535 <mss 1440>"))[40..].to_vec();
    // Hop-by-hop with a PadN, then destination options with a PadN, then TCP.
    let mut payload = vec![60, 0, 1, 4, 0, 0, 0, 0, proto::TCP, 0, 1, 4, 0, 0, 0, 0];
    payload.extend_from_slice(&segment);
    let bytes = build(&Pkt { ip: Ip::new(v6(2), v6(1)), body: Body::Other { protocol: 0, payload } });
    t.inject_bytes(&bytes);
    let sent = t.next_sent();
    assert_eq!(sent.packet.as_tcp().unwrap().flags, flag::SYN | flag::ACK);
}

/// RFC 6864, RFC 7739: IPv4 identifications of atomic datagrams tell nothing, those of fragments differ and are not a global counter.
#[test]
fn identifications() {
    let mut t = Setup::new().bare();
    let s = udp_socket(&mut t, "10.0.0.1:53");
    let mut ids = Vec::new();
    for i in 0..10 {
        let to = SocketAddr::new(v4(2 + i % 2), 9);
        if t.stack.udp_send(t.now(), s, Some(to), &[0; 3000]).is_ok() {
            t.pump();
            let sent = t.take_sent();
            assert!(sent.iter().all(|p| p.packet.ip.id == sent[0].packet.ip.id));
            ids.push(sent[0].packet.ip.id);
        }
    }
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    // Seen from one destination the counter does not show what goes to the other.
    let steps: Vec<u16> =
        ids.chunks(2).map(|p| p[0]).collect::<Vec<_>>().windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    let others: Vec<u16> = ids.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    assert!(ids.is_empty() || others.iter().any(|&d| d != 1), "a global counter: {ids:?} {steps:?}");
}

/// Random bytes are no packet: nothing is answered, nothing panics.
#[test]
fn noise() {
    let mut t = Setup::new().server();
    let mut rng = Rng::new(1);
    for _ in 0..20_000 {
        let len = rng.below(100) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| rng.next_u32() as u8).collect();
        if let Some(first) = bytes.first_mut() {
            *first = if rng.one_in(2) { 0x45 } else { 0x60 };
        }
        t.inject_bytes(&bytes);
        t.take_sent();
    }
    t.accepted();
}
