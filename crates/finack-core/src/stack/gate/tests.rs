use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use finack_wire::icmp::{Unreachable, parse_quoted};

use super::*;
use crate::device::{Capabilities, Packet};
use crate::options::BindOptions;
use crate::settings::Settings;
use crate::stack::{Config, InterfaceAddress};

const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

fn gateway() -> Stack {
    let config = Config {
        settings: Settings::default(),
        device: Capabilities::plain(1500),
        addresses: vec![InterfaceAddress { addr: OWN, prefix_len: 24 }],
        routes: vec![],
        any_address: true,
        seed: [9; 32],
    };
    Stack::new(Instant::ZERO, config)
}

fn program(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), port)
}

fn outside(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), port)
}

fn arrives(stack: &mut Stack, gate: Gate, from: SocketAddr, to: SocketAddr, data: &[u8]) {
    let packet = quoted(gate, from, to, data);
    stack.handle_packets(Instant::ZERO, &[Packet::borrowed(&packet)]);
}

/// RFC 1122 4.1.3.1: joined datagrams to a port where nobody is are refused one by one, each with its own header, as far
/// as the limit on such messages lets them.
#[test]
fn each_of_joined_datagrams_that_nobody_takes_is_refused_by_itself() {
    let mut all = vec![];
    for joined in [true, false] {
        let mut stack = gateway();
        stack.set_sysctl("icmp_ratelimit", "0").unwrap();
        let own = SocketAddr::new(OWN, 9);
        if joined {
            let packet = quoted(Gate::Datagrams, program(5), own, b"aaaabbbbcc");
            let mut packet = Packet::shared(packet.into());
            (packet.meta.segments, packet.meta.segment_size) = (3, 4);
            packet.meta.checksum = crate::device::ChecksumState::Valid;
            stack.handle_packets(Instant::ZERO, &[packet]);
        } else {
            for data in [&b"aaaa"[..], b"bbbb", b"cc"] {
                arrives(&mut stack, Gate::Datagrams, program(5), own, data);
            }
        }
        assert_eq!(stack.counters().udp_no_ports, 3);
        let lens: Vec<usize> = sent(&mut stack).iter().map(Vec::len).collect();
        all.push(lens);
    }
    assert_eq!(all[0].len(), 3);
    assert_eq!(all[0], all[1]);
}

fn sent(stack: &mut Stack) -> Vec<Vec<u8>> {
    let mut all = vec![];
    while let Some(t) = stack.poll_transmit(Instant::ZERO) {
        let mut packet = vec![];
        t.write_to(&mut packet);
        all.push(packet);
    }
    all
}

/// What an ICMP error says, and about which ports.
fn error(packet: &[u8]) -> (IpAddr, Unreachable, SocketAddr, SocketAddr) {
    let ip = ip::parse(packet).unwrap();
    let message = icmp::parse(&ip, ip.payload(packet)).unwrap();
    let flow = parse_quoted(message.quoted().unwrap()).unwrap().flow();
    let IcmpMessage::Unreachable { code, .. } = message else { panic!("{message:?}") };
    (ip.src, code, flow.local, flow.remote)
}

#[test]
fn a_datagram_for_anybody_comes_through_the_gate_and_its_answer_seems_to_come_from_there() {
    let mut stack = gateway();
    let gate = stack.open_gate(Gate::Datagrams).unwrap();
    arrives(&mut stack, Gate::Datagrams, program(5000), outside(53), b"question");
    let mut buf = [0; 64];
    let got = stack.udp_recv(gate, &mut buf, false).unwrap();
    assert_eq!((&buf[..got.len], got.from, got.to), (&b"question"[..], program(5000), outside(53)));

    stack.gate_send(Instant::ZERO, gate, outside(53), program(5000), b"answer").unwrap();
    let packets = sent(&mut stack);
    let ip = ip::parse(&packets[0]).unwrap();
    let datagram = ip.payload(&packets[0]);
    udp::verify(&ip, datagram).unwrap();
    let header = udp::parse(datagram).unwrap();
    assert_eq!((ip.src, header.src_port), (outside(53).ip(), 53));
    assert_eq!((ip.dst, header.dst_port), (program(0).ip(), 5000));
    assert_eq!(udp::payload(datagram, &header), b"answer");
}

#[test]
fn what_a_socket_takes_and_what_is_for_the_host_itself_does_not_come_through_the_gate() {
    let mut stack = gateway();
    let gate = stack.open_gate(Gate::Datagrams).unwrap();
    let socket = stack.udp_bind(SocketAddr::new(OWN, 53), BindOptions::default()).unwrap();
    let mut buf = [0; 64];
    arrives(&mut stack, Gate::Datagrams, program(5000), SocketAddr::new(OWN, 53), b"name?");
    assert_eq!(stack.udp_recv(gate, &mut buf, false), Err(Error::WouldBlock));
    assert_eq!(stack.udp_recv(socket, &mut buf, false).map(|r| r.len), Ok(5));
    // RFC 1122 4.1.3.1: nobody has this port of the host's own.
    arrives(&mut stack, Gate::Datagrams, program(5000), SocketAddr::new(OWN, 54), b"?");
    assert_eq!(stack.udp_recv(gate, &mut buf, false), Err(Error::WouldBlock));
    assert_eq!(error(&sent(&mut stack)[0]).1, Unreachable::Port);
}

#[test]
fn a_refusal_outside_reaches_the_programs_socket_as_an_icmp_error_about_its_datagram() {
    let mut stack = gateway();
    let gate = stack.open_gate(Gate::Datagrams).unwrap();
    let kind = ErrorKind::Unreachable(Unreachable::Port);
    stack.gate_report(Instant::ZERO, gate, (outside(9), program(5000)), b"data", kind, None).unwrap();
    let packets = sent(&mut stack);
    assert_eq!(error(&packets[0]), (outside(9).ip(), Unreachable::Port, program(5000), outside(9)));
    // By a router on the way.
    let router = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
    let kind = ErrorKind::Unreachable(Unreachable::Host);
    stack.gate_report(Instant::ZERO, gate, (outside(9), program(5000)), b"data", kind, Some(router)).unwrap();
    assert_eq!(error(&sent(&mut stack)[0]).0, router);
}

#[test]
fn an_echo_request_to_anybody_waits_for_its_answer_and_one_to_the_host_is_answered_at_once() {
    let mut stack = gateway();
    let gate = stack.open_gate(Gate::Echoes).unwrap();
    arrives(&mut stack, Gate::Echoes, program(77), SocketAddr::new(OWN, 1), b"near");
    assert_eq!(sent(&mut stack).len(), 1, "RFC 1122 3.2.2.6");
    arrives(&mut stack, Gate::Echoes, program(77), outside(2), b"far");
    assert!(sent(&mut stack).is_empty());
    let mut buf = [0; 64];
    let got = stack.udp_recv(gate, &mut buf, false).unwrap();
    assert_eq!((&buf[..got.len], got.from, got.to), (&b"far"[..], program(77), outside(2)));

    stack.gate_send(Instant::ZERO, gate, outside(2), program(77), b"far").unwrap();
    let packets = sent(&mut stack);
    let ip = ip::parse(&packets[0]).unwrap();
    let reply = icmp::parse(&ip, ip.payload(&packets[0])).unwrap();
    assert_eq!(reply, IcmpMessage::EchoReply { ident: 77, seq: 2, data: b"far" });
    assert_eq!((ip.src, ip.dst), (outside(2).ip(), program(77).ip()));
    assert_eq!(stack.counters().udp_out_datagrams, 0, "an echo reply is no datagram");
}

#[test]
fn there_is_one_gate_of_a_kind_and_a_closed_one_makes_room_for_another() {
    let mut stack = gateway();
    let gate = stack.open_gate(Gate::Datagrams).unwrap();
    assert_eq!(stack.open_gate(Gate::Datagrams), Err(Error::AddrInUse));
    assert_eq!(stack.udp_connect(gate, Some(outside(1))), Err(Error::InvalidArgument));
    assert_eq!(stack.udp_send(Instant::ZERO, gate, Some(outside(1)), b"x"), Err(Error::InvalidArgument));
    stack.udp_close(gate).unwrap();
    stack.open_gate(Gate::Datagrams).unwrap();
}

#[test]
fn what_a_gate_holds_is_bounded_and_counted() {
    let mut stack = gateway();
    let gate = stack.open_gate(Gate::Datagrams).unwrap();
    stack.udp_set_buffers(gate, Some(10_000), None).unwrap();
    for _ in 0..100 {
        arrives(&mut stack, Gate::Datagrams, program(5000), outside(53), &[0; 1000]);
    }
    assert!(stack.udp_drops(gate).unwrap() > 80);
}
