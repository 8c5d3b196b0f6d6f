use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use finack_wire::icmp::IcmpMessage;
use finack_wire::tcp::TcpHeader;

use super::*;
use crate::device::{Capabilities, Packet};
use crate::settings::Settings;
use crate::stack::{Config, InterfaceAddress};
use crate::tcp::State;
use crate::trace::DropReason;

const PROGRAM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

struct Gateway {
    stack: Stack,
    listener: ListenerId,
}

fn gateway() -> Gateway {
    let own = InterfaceAddress { addr: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), prefix_len: 24 };
    let config = Config {
        settings: Settings::default(),
        device: Capabilities::plain(1500),
        addresses: vec![own],
        routes: vec![],
        any_address: true,
        seed: [9; 32],
    };
    let mut stack = Stack::new(Instant::ZERO, config);
    let listener = stack.tcp_listen_everywhere(4, SocketOptions::default()).unwrap();
    Gateway { stack, listener }
}

impl Gateway {
    fn segment(&mut self, port: u16, seq: u32, ack: u32, flags: Flags) {
        let tuple = Tuple { local: PROGRAM, remote: OUTSIDE, local_port: port, remote_port: 443 };
        let head = Head { seq, ack, flags, window: 1000, ..bare_head(&self.stack.cx, &tuple) };
        let mut packet = alloc::vec::Vec::new();
        emit::bare(&head, None, &mut packet);
        self.stack.handle_packets(Instant::ZERO, &[Packet::borrowed(&packet)]);
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut all = vec![];
        while let Some(t) = self.stack.poll_transmit(Instant::ZERO) {
            let mut packet = vec![];
            t.write_to(&mut packet);
            all.push(packet);
        }
        all
    }

    fn tcp_sent(&mut self) -> TcpHeader {
        let packet = self.sent().remove(0);
        TcpHeader::parse(&packet[20..]).unwrap()
    }
}

/// No SYN,ACK before the far side has answered; then the handshake goes on as always.
#[test]
fn an_opening_is_answered_when_it_is_said() {
    let mut g = gateway();
    g.segment(5000, 100, 0, Flags::SYN);
    g.segment(5000, 100, 0, Flags::SYN);
    assert!(g.sent().is_empty());
    assert_eq!(g.stack.counters().dropped(DropReason::Undecided), 1, "the repeated SYN says nothing new");
    assert_eq!(g.stack.poll_event(), Some(Event::Incoming { listener: g.listener }));
    let incoming = g.stack.tcp_incoming(g.listener).unwrap();
    assert_eq!((incoming.local.ip(), incoming.local.port()), (OUTSIDE, 443));
    assert_eq!(g.stack.tcp_incoming(g.listener), Err(Error::WouldBlock));
    g.stack.tcp_answer(Instant::ZERO, incoming.id).unwrap();
    let syn_ack = g.tcp_sent();
    assert_eq!((syn_ack.flags, syn_ack.ack), (Flags::SYN | Flags::ACK, 101));
    g.segment(5000, 101, syn_ack.seq.wrapping_add(1), Flags::ACK);
    let (c, remote) = g.stack.tcp_accept(Instant::ZERO, g.listener).unwrap();
    assert_eq!((g.stack.tcp_state(c), remote.ip()), (Ok(State::Established), PROGRAM));
    assert_eq!(g.stack.tcp_answer(Instant::ZERO, incoming.id), Err(Error::BadHandle));
}

/// Refused is a RST that the program's SYN-SENT takes: `<SEQ=0><ACK=SEG.SEQ+1><CTL=RST,ACK>`.
#[test]
fn refused_is_a_reset() {
    let mut g = gateway();
    g.segment(5000, 100, 0, Flags::SYN);
    let incoming = g.stack.tcp_incoming(g.listener).unwrap();
    g.stack.tcp_refuse(Instant::ZERO, incoming.id, Refusal::Reset).unwrap();
    let reset = g.tcp_sent();
    assert_eq!((reset.flags, reset.seq, reset.ack), (Flags::RST | Flags::ACK, 0, 101));
    assert_eq!(g.stack.count_by_state()[State::SynReceived as usize].1, 0);
}

/// Unreachable is ICMP, and it quotes the program's SYN so that it is believed (RFC 5927 4.1).
#[test]
fn unreachable_is_an_icmp_error_about_the_syn() {
    let mut g = gateway();
    g.segment(5000, 100, 0, Flags::SYN);
    let incoming = g.stack.tcp_incoming(g.listener).unwrap();
    let how = Refusal::Unreachable(Unreachable::Host);
    g.stack.tcp_refuse(Instant::ZERO, incoming.id, how).unwrap();
    let packet = g.sent().remove(0);
    let header = ip::parse(&packet).unwrap();
    let message = finack_wire::icmp::parse(&header, header.payload(&packet)).unwrap();
    let IcmpMessage::Unreachable { code, quoted } = message else { panic!("{message:?}") };
    let quoted = finack_wire::icmp::parse_quoted(quoted).unwrap();
    assert_eq!(
        (code, quoted.src, quoted.src_port, quoted.tcp_seq),
        (Unreachable::Host, PROGRAM, 5000, Some(100))
    );
}

/// Silence stays silence, also when the SYN comes again; what waits for a decision is bounded.
#[test]
fn silence_and_bounds() {
    let mut g = gateway();
    g.segment(5000, 100, 0, Flags::SYN);
    let incoming = g.stack.tcp_incoming(g.listener).unwrap();
    g.stack.tcp_refuse(Instant::ZERO, incoming.id, Refusal::Silence).unwrap();
    assert!(g.sent().is_empty());
    for port in 6000..6100 {
        g.segment(port, 1, 0, Flags::SYN);
    }
    let waiting = core::iter::from_fn(|| g.stack.tcp_incoming(g.listener).ok()).count();
    assert!((4..=8).contains(&waiting), "{waiting}");
    assert!(g.sent().is_empty());
    g.stack.handle_timeout(Instant::from_secs(151));
    assert_eq!(g.stack.count_by_state()[State::SynReceived as usize].1, 0);
}
