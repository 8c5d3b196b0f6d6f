//! UDP (RFC 768, RFC 1122 4.1, RFC 8200 8.1).

use core::net::SocketAddr;

use finack_core::options::BindOptions;
use finack_core::stack::{Ready, UdpId, UdpRecv};
use finack_core::trace::DropReason;
use finack_core::{Error, Event};
use finack_sim::packet::{Body, Icmp, Pkt, build, v4, v6};
use finack_sim::{Script, Setup};

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const PEER: &str = "10.0.0.2:9000";

fn bound(t: &mut Script, local: &str) -> UdpId {
    t.stack.udp_bind(addr(local), BindOptions::default()).unwrap()
}

fn datagram(t: &mut Script, from: &str, to: &str, payload: &[u8]) {
    t.inject_packet(&Pkt::udp(addr(from), addr(to), payload));
}

fn recv(t: &mut Script, socket: UdpId) -> Result<(Vec<u8>, UdpRecv), Error> {
    let mut buf = vec![0; 70_000];
    let got = t.stack.udp_recv(socket, &mut buf, false)?;
    buf.truncate(got.len);
    Ok((buf, got))
}

fn drops(t: &Script, reason: DropReason) -> u64 {
    t.stack.counters().dropped(reason)
}

/// RFC 1122 4.1.3.5: a datagram is delivered with its sender and the address that it was sent to.
#[test]
fn receive() {
    for (local, from) in [("10.0.0.1:53", PEER), ("[fd00::1]:53", "[fd00::2]:9000")] {
        let mut t = Setup::new().bare();
        let s = bound(&mut t, local);
        assert_eq!(recv(&mut t, s).map(|_| ()), Err(Error::WouldBlock));
        datagram(&mut t, from, local, b"hello");
        let told = |e: &Event| matches!(e, Event::Udp { socket, ready } if *socket == s && ready.contains(Ready::READABLE));
        assert!(t.events.iter().any(told), "{:?}", t.events);
        let (data, got) = recv(&mut t, s).unwrap();
        assert_eq!(data, b"hello");
        assert_eq!((got.from, got.to, got.full_len, got.hop_limit), (addr(from), addr(local), 5, 64));
        assert_eq!(recv(&mut t, s).map(|_| ()), Err(Error::WouldBlock));
    }
}

/// A datagram is sent with the socket's address and a checksum (RFC 1122 MUST generate; checked on every packet).
#[test]
fn send() {
    for (local, to) in [("10.0.0.1:53", PEER), ("[fd00::1]:53", "[fd00::2]:9000")] {
        let mut t = Setup::new().bare();
        let s = bound(&mut t, local);
        assert_eq!(t.stack.udp_send(t.now(), s, Some(addr(to)), b"hello"), Ok(5));
        t.pump();
        let sent = t.next_sent();
        assert_eq!((sent.packet.from(), sent.packet.to()), (addr(local), addr(to)));
        assert_eq!(sent.packet.as_udp().unwrap().payload, b"hello");
        assert_eq!(sent.packet.ip.ttl, 64);
    }
}

/// Empty datagrams exist, both ways.
#[test]
fn empty_datagrams() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "10.0.0.1:53");
    datagram(&mut t, PEER, "10.0.0.1:53", b"");
    assert_eq!(recv(&mut t, s).unwrap().1.full_len, 0);
    assert_eq!(t.stack.udp_send(t.now(), s, Some(addr(PEER)), b""), Ok(0));
    t.pump();
    assert_eq!(t.next_sent().packet.as_udp().unwrap().payload, b"");
}

/// RFC 768: a length below 8 or beyond the IP payload is dropped and counted; bytes behind the UDP length are no data.
#[test]
fn lengths() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "10.0.0.1:53");
    let good = build(&Pkt::udp(addr(PEER), addr("10.0.0.1:53"), b"hello"));
    for len in [0_u16, 1, 7, 14, 1000, 65_535] {
        let mut bad = good.clone();
        bad[24..26].copy_from_slice(&len.to_be_bytes());
        bad[26..28].copy_from_slice(&[0, 0]);
        t.inject_bytes(&bad);
    }
    assert_eq!(drops(&t, DropReason::UdpMalformed), 6);
    assert_eq!(recv(&mut t, s).map(|_| ()), Err(Error::WouldBlock));
    let mut short = good;
    short[24..26].copy_from_slice(&10_u16.to_be_bytes());
    short[26..28].copy_from_slice(&[0, 0]);
    t.inject_bytes(&short);
    assert_eq!(recv(&mut t, s).unwrap().0, b"he");
}

/// RFC 1122 4.1.3.4: a wrong checksum is dropped and counted; over IPv4 a zero one means none.
#[test]
fn checksums_v4() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "10.0.0.1:53");
    let mut bytes = build(&Pkt::udp(addr(PEER), addr("10.0.0.1:53"), b"hello"));
    bytes[27] ^= 1;
    t.inject_bytes(&bytes);
    assert_eq!(drops(&t, DropReason::UdpChecksum), 1);
    assert_eq!(recv(&mut t, s).map(|_| ()), Err(Error::WouldBlock));
    bytes[26..28].copy_from_slice(&[0, 0]);
    t.inject_bytes(&bytes);
    assert_eq!(recv(&mut t, s).unwrap().0, b"hello");
}

/// RFC 8200 8.1: over IPv6 a zero checksum is dropped and counted.
#[test]
fn checksums_v6() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "[fd00::1]:53");
    let mut bytes = build(&Pkt::udp(addr("[fd00::2]:9000"), addr("[fd00::1]:53"), b"hello"));
    bytes[46..48].copy_from_slice(&[0, 0]);
    t.inject_bytes(&bytes);
    assert_eq!(drops(&t, DropReason::UdpChecksum), 1);
    assert_eq!(recv(&mut t, s).map(|_| ()), Err(Error::WouldBlock));
}

/// A sum that comes out as zero is sent as 0xffff (RFC 768).
#[test]
fn a_sum_of_zero() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "10.0.0.1:53");
    let mut seen = 0;
    for i in 0..=u16::MAX {
        t.stack.udp_send(t.now(), s, Some(addr(PEER)), &i.to_be_bytes()).unwrap();
        t.pump();
        let sent = t.next_sent();
        let sum = &sent.bytes[26..28];
        assert_ne!(sum, [0, 0], "no checksum");
        seen += u32::from(sum == [0xff, 0xff]);
    }
    assert!(seen >= 1);
}

/// RFC 1122 4.1.3.1: nobody has the port: ICMP port unreachable, quoting the datagram; not to broadcasts.
#[test]
fn port_unreachable() {
    for (from, to, kind, code, header) in
        [(PEER, "10.0.0.1:53", 3, 3, 20), ("[fd00::2]:9000", "[fd00::1]:53", 1, 4, 40)]
    {
        let mut t = Setup::new().bare();
        let packet = Pkt::udp(addr(from), addr(to), b"anybody?");
        t.inject_packet(&packet);
        let sent = t.next_sent();
        let icmp = sent.packet.as_icmp().unwrap();
        assert_eq!((icmp.kind, icmp.code), (kind, code));
        assert_eq!(icmp.payload[..header + 8], build(&packet)[..header + 8]);
        assert_eq!(sent.packet.ip.dst, addr(from).ip());
        assert_eq!(t.stack.counters().udp_no_ports, 1);
    }
    let mut t = Setup::new().bare();
    datagram(&mut t, PEER, "10.0.0.255:53", b"anybody?");
    datagram(&mut t, PEER, "224.0.0.1:53", b"anybody?");
    t.expect_nothing();
}

/// ICMP errors are limited: a flood of datagrams to closed ports is not a flood of errors.
#[test]
fn icmp_errors_are_limited() {
    let mut t = Setup::new().bare();
    let mut sent = 0;
    for _ in 0..1000 {
        datagram(&mut t, PEER, "10.0.0.1:53", b"anybody?");
        sent += t.take_sent().len();
    }
    assert!((1..=20).contains(&sent), "{sent} errors at one instant");
}

/// The receive buffer is bounded; what does not fit is dropped and counted, and the socket works on.
#[test]
fn the_receive_buffer_is_bounded() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "10.0.0.1:53");
    t.stack.udp_set_buffers(s, Some(20_000), None).unwrap();
    let before = t.stack.memory();
    for _ in 0..1000 {
        datagram(&mut t, PEER, "10.0.0.1:53", &[7; 1000]);
    }
    assert!(t.stack.memory() < before + 100_000, "{} -> {}", before, t.stack.memory());
    let dropped = t.stack.udp_drops(s).unwrap();
    assert!((960..1000).contains(&dropped), "{dropped} dropped");
    assert_eq!(drops(&t, DropReason::UdpBufferFull), dropped);
    let mut got = 0;
    while recv(&mut t, s).is_ok() {
        got += 1;
    }
    assert_eq!(got + dropped, 1000);
    datagram(&mut t, PEER, "10.0.0.1:53", b"again");
    assert_eq!(recv(&mut t, s).unwrap().0, b"again");
}

/// Empty datagrams do not get around the bound.
#[test]
fn empty_datagrams_are_bounded() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "10.0.0.1:53");
    t.stack.udp_set_buffers(s, Some(20_000), None).unwrap();
    let before = t.stack.memory();
    for _ in 0..10_000 {
        datagram(&mut t, PEER, "10.0.0.1:53", b"");
    }
    assert!(t.stack.memory() < before + 200_000, "{} -> {}", before, t.stack.memory());
    assert!(t.stack.udp_drops(s).unwrap() > 5000);
}

/// A short buffer gets the beginning of a datagram, its rest is gone; the true length is told. Peeking leaves it there.
#[test]
fn truncation_and_peek() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "10.0.0.1:53");
    datagram(&mut t, PEER, "10.0.0.1:53", b"hello");
    let mut buf = [0; 3];
    for peek in [true, false] {
        let got = t.stack.udp_recv(s, &mut buf, peek).unwrap();
        assert_eq!((got.len, got.full_len, &buf), (3, 5, b"hel"));
    }
    assert_eq!(recv(&mut t, s).map(|_| ()), Err(Error::WouldBlock));
}

/// A connected socket takes only its peer's datagrams and needs no address to send to.
#[test]
fn connected() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "10.0.0.1:53");
    assert_eq!(t.stack.udp_send(t.now(), s, None, b"x"), Err(Error::DestinationRequired));
    t.stack.udp_connect(s, Some(addr(PEER))).unwrap();
    assert_eq!(t.stack.udp_remote_addr(s), Ok(Some(addr(PEER))));
    datagram(&mut t, "10.0.0.3:9000", "10.0.0.1:53", b"stranger");
    t.take_sent();
    datagram(&mut t, "10.0.0.2:9001", "10.0.0.1:53", b"stranger");
    t.take_sent();
    datagram(&mut t, PEER, "10.0.0.1:53", b"friend");
    assert_eq!(recv(&mut t, s).unwrap().0, b"friend");
    assert_eq!(recv(&mut t, s).map(|_| ()), Err(Error::WouldBlock));
    assert_eq!(t.stack.udp_send(t.now(), s, None, b"x"), Ok(1));
    t.pump();
    assert_eq!(t.next_sent().packet.to(), addr(PEER));
    t.stack.udp_connect(s, None).unwrap();
    assert_eq!(t.stack.udp_remote_addr(s), Ok(None));
    datagram(&mut t, "10.0.0.3:9000", "10.0.0.1:53", b"stranger");
    assert_eq!(recv(&mut t, s).unwrap().0, b"stranger");
}

fn icmp_about(t: &mut Script, kind: u8, code: u8, from: &str, to: &str) {
    let quoted = build(&Pkt::udp(addr(from), addr(to), b"hello"));
    let icmp = Icmp { kind, code, rest: [0; 4], payload: quoted[..28].to_vec() };
    t.inject_packet(&Pkt::icmp(v4(9), v4(1), icmp));
}

/// RFC 1122 4.1.3.3: an ICMP error reaches the connected socket that it concerns: ECONNREFUSED, once; no other socket.
#[test]
fn icmp_errors_to_a_connected_socket() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "10.0.0.1:53");
    let other = bound(&mut t, "10.0.0.1:54");
    t.stack.udp_connect(s, Some(addr(PEER))).unwrap();
    t.stack.udp_send(t.now(), s, None, b"hello").unwrap();
    t.pump();
    t.next_sent();
    icmp_about(&mut t, 3, 3, "10.0.0.1:53", "10.0.0.77:9000");
    assert_eq!(t.stack.udp_take_error(s), Ok(None), "a datagram that we did not send");
    icmp_about(&mut t, 3, 3, "10.0.0.1:53", PEER);
    assert!(t.stack.udp_ready(s).unwrap().contains(Ready::ERROR));
    assert_eq!(recv(&mut t, s).map(|_| ()), Err(Error::ConnectionRefused));
    assert_eq!(recv(&mut t, s).map(|_| ()), Err(Error::WouldBlock));
    icmp_about(&mut t, 3, 1, "10.0.0.1:53", PEER);
    assert_eq!(t.stack.udp_take_error(other), Ok(None));
}

/// An unconnected socket is not told of errors (as on Linux without IP_RECVERR).
#[test]
fn icmp_errors_to_an_unconnected_socket() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "10.0.0.1:53");
    icmp_about(&mut t, 3, 3, "10.0.0.1:53", PEER);
    assert_eq!(t.stack.udp_take_error(s), Ok(None));
    assert_eq!(recv(&mut t, s).map(|_| ()), Err(Error::WouldBlock));
}

/// Wildcard, address and connection: the most specific socket gets the datagram.
#[test]
fn the_most_specific_socket() {
    let mut t = Setup::new().bare();
    let shared = BindOptions { reuse_addr: true, reuse_port: true, v6_only: false };
    let wild = t.stack.udp_bind(addr("0.0.0.0:53"), shared).unwrap();
    let exact = t.stack.udp_bind(addr("10.0.0.1:53"), shared).unwrap();
    let connected = t.stack.udp_bind(addr("10.0.0.1:53"), shared).unwrap();
    t.stack.udp_connect(connected, Some(addr(PEER))).unwrap();
    datagram(&mut t, PEER, "10.0.0.1:53", b"1");
    datagram(&mut t, "10.0.0.3:1", "10.0.0.1:53", b"2");
    assert_eq!(recv(&mut t, connected).unwrap().0, b"1");
    assert_eq!(recv(&mut t, exact).unwrap().0, b"2");
    assert_eq!(recv(&mut t, wild).map(|_| ()), Err(Error::WouldBlock));
}

/// Binding: EADDRINUSE, EADDRNOTAVAIL, port 0.
#[test]
fn binding() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "10.0.0.1:53");
    let none = BindOptions::default();
    assert_eq!(t.stack.udp_bind(addr("10.0.0.1:53"), none), Err(Error::AddrInUse));
    assert_eq!(t.stack.udp_bind(addr("0.0.0.0:53"), none), Err(Error::AddrInUse));
    assert_eq!(t.stack.udp_bind(addr("10.99.0.1:53"), none), Err(Error::AddrNotAvailable));
    let free = t.stack.udp_bind(addr("0.0.0.0:0"), none).unwrap();
    assert!((32_768..=60_999).contains(&t.stack.udp_local_addr(free).unwrap().port()));
    t.stack.udp_close(s).unwrap();
    assert_eq!(t.stack.udp_local_addr(s), Err(Error::BadHandle));
    bound(&mut t, "10.0.0.1:53");
}

/// Multicast: members get a copy each, others nothing; after leaving nothing more.
#[test]
fn multicast() {
    let mut t = Setup::new().bare();
    let shared = BindOptions { reuse_addr: true, ..BindOptions::default() };
    let sockets: Vec<UdpId> =
        (0..3).map(|_| t.stack.udp_bind(addr("0.0.0.0:5353"), shared).unwrap()).collect();
    let group = "224.0.0.251".parse().unwrap();
    datagram(&mut t, PEER, "224.0.0.251:5353", b"early");
    t.stack.udp_join(sockets[0], group).unwrap();
    t.stack.udp_join(sockets[1], group).unwrap();
    t.pump();
    t.take_sent();
    datagram(&mut t, PEER, "224.0.0.251:5353", b"hello");
    t.expect_nothing();
    assert_eq!(recv(&mut t, sockets[0]).unwrap().0, b"hello");
    let (data, got) = recv(&mut t, sockets[1]).unwrap();
    assert_eq!((data.as_slice(), got.to), (&b"hello"[..], addr("224.0.0.251:5353")));
    assert_eq!(recv(&mut t, sockets[0]).map(|_| ()), Err(Error::WouldBlock));
    t.stack.udp_leave(sockets[0], group).unwrap();
    t.stack.udp_leave(sockets[1], group).unwrap();
    t.pump();
    t.take_sent();
    datagram(&mut t, PEER, "224.0.0.251:5353", b"late");
    assert_eq!(recv(&mut t, sockets[0]).map(|_| ()), Err(Error::WouldBlock));
}

/// Multicast over IPv6.
#[test]
fn multicast_v6() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "[::]:5353");
    t.stack.udp_join(s, "ff02::fb".parse().unwrap()).unwrap();
    t.pump();
    t.take_sent();
    datagram(&mut t, "[fd00::2]:5353", "[ff02::fb]:5353", b"hello");
    assert_eq!(recv(&mut t, s).unwrap().0, b"hello");
}

/// Broadcasts are received; sending one needs SO_BROADCAST.
#[test]
fn broadcast() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "0.0.0.0:67");
    for to in ["255.255.255.255:67", "10.0.0.255:67"] {
        datagram(&mut t, PEER, to, b"hello");
        assert_eq!(recv(&mut t, s).unwrap().0, b"hello", "{to}");
        assert_eq!(t.stack.udp_send(t.now(), s, Some(addr(to)), b"x"), Err(Error::AccessDenied), "{to}");
    }
    t.stack.udp_set_broadcast(s, true).unwrap();
    assert_eq!(t.stack.udp_send(t.now(), s, Some(addr("10.0.0.255:67")), b"x"), Ok(1));
    t.pump();
    assert_eq!(t.next_sent().packet.ip.dst, addr("10.0.0.255:67").ip());
}

/// A dual-stack socket shows an IPv4 sender and answers it.
#[test]
fn dual_stack() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "[::]:53");
    datagram(&mut t, PEER, "10.0.0.1:53", b"hello");
    let (_, got) = recv(&mut t, s).unwrap();
    assert_eq!(got.from.port(), 9000);
    t.stack.udp_send(t.now(), s, Some(got.from), b"reply").unwrap();
    t.pump();
    let sent = t.next_sent();
    assert_eq!((sent.packet.ip.src, sent.packet.ip.dst), (v4(1), v4(2)));
}

/// A datagram above 65,507 bytes (IPv4) is EMSGSIZE; one above the MTU is fragmented or EMSGSIZE, never sent too big.
#[test]
fn large_datagrams() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "10.0.0.1:53");
    assert_eq!(t.stack.udp_send(t.now(), s, Some(addr(PEER)), &[0; 65_508]), Err(Error::MessageTooLong));
    let sent = t.stack.udp_send(t.now(), s, Some(addr(PEER)), &[7; 4000]);
    t.pump();
    match sent {
        Ok(n) => {
            assert_eq!(n, 4000);
            let fragments = t.take_sent();
            assert!(fragments.len() >= 3);
            let bytes: usize = fragments.iter().map(|f| f.bytes.len() - 20).sum();
            assert_eq!(bytes, 4008, "all fragments together carry the datagram");
            assert!(fragments.iter().all(|f| matches!(f.packet.body, Body::Other { .. })));
        }
        Err(e) => {
            assert_eq!(e, Error::MessageTooLong);
            t.expect_nothing();
        }
    }
}

/// Hop limits: unicast and multicast apart (multicast 1 by default).
#[test]
fn hop_limits() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "10.0.0.1:53");
    let ttl = |t: &mut Script, to: &str| {
        t.stack.udp_send(t.now(), s, Some(addr(to)), b"x").unwrap();
        t.pump();
        t.next_sent().packet.ip.ttl
    };
    assert_eq!((ttl(&mut t, PEER), ttl(&mut t, "224.0.0.251:5353")), (64, 1));
    t.stack.udp_set_hop_limit(s, Some(9), Some(4)).unwrap();
    assert_eq!((ttl(&mut t, PEER), ttl(&mut t, "224.0.0.251:5353")), (9, 4));
}

/// A datagram from a source that nobody may have is dropped.
#[test]
fn bad_sources() {
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "10.0.0.1:53");
    for from in ["224.0.0.1:9", "255.255.255.255:9"] {
        datagram(&mut t, from, "10.0.0.1:53", b"x");
    }
    t.inject_packet(&Pkt::udp(SocketAddr::new(v6(2), 1), SocketAddr::new(v6(1), 9), b"x"));
    t.take_sent();
    assert_eq!(recv(&mut t, s).map(|_| ()), Err(Error::WouldBlock));
    assert!(drops(&t, DropReason::BadSource) >= 2);
}

/// A packet joined of several datagrams (GRO) is taken apart again: their borders are the application's.
#[test]
fn joined_datagrams() {
    use finack_core::device::{ChecksumState, Packet, PacketBytes, PacketMeta};
    let mut t = Setup::new().bare();
    let s = bound(&mut t, "10.0.0.1:53");
    let payload: Vec<u8> = (0..2500_u32).map(|i| (i / 1000) as u8).collect();
    let bytes = build(&Pkt::udp(addr(PEER), addr("10.0.0.1:53"), &payload));
    let meta = PacketMeta {
        checksum: ChecksumState::Valid,
        segments: 3,
        segment_size: 1000,
        ..PacketMeta::default()
    };
    t.inject_batch(&[Packet { bytes: PacketBytes::Borrowed(&bytes), meta }]);
    for (value, len) in [(0, 1000), (1, 1000), (2, 500)] {
        assert_eq!(recv(&mut t, s).unwrap().0, vec![value; len]);
    }
    assert_eq!(recv(&mut t, s).map(|_| ()), Err(Error::WouldBlock));
}

/// CVE-2020-25705: how many ICMP errors one destination got cannot be seen at another.
#[test]
fn the_limit_of_icmp_errors_is_not_shared() {
    let mut t = Setup::new().bare();
    for _ in 0..1000 {
        datagram(&mut t, PEER, "10.0.0.1:53", b"anybody?");
        t.take_sent();
    }
    for host in 3..40 {
        datagram(&mut t, &format!("10.0.0.{host}:9000"), "10.0.0.1:53", b"anybody?");
        assert_eq!(t.take_sent().len(), 1, "host {host}");
    }
}
