//! Each rule is broken once by hand, in packets that no finack stack would send.

use core::net::SocketAddr;

use finack_core::Instant;
use finack_core::tcp::State;
use finack_core::trace::{TraceEvent, TraceId, TraceKind};

use super::{Checker, Rule};
use crate::packet::{Opt, Pkt, Tcp, build, flag, v4};
use crate::world::HostId;

const ME: HostId = HostId(0);

fn ends() -> (SocketAddr, SocketAddr) {
    (SocketAddr::new(v4(1), 5000), SocketAddr::new(v4(2), 80))
}

/// A host's edge, and what went over it.
struct Edge(Checker);

impl Edge {
    fn new() -> Self {
        let mut checker = Checker::new();
        checker.add_host(1500, 48);
        Self(checker)
    }

    /// The host has opened with these options, and its peer answered with those.
    fn opened(own: &[Opt], peers: &[Opt]) -> Self {
        let mut edge = Self::new();
        edge.sends(flag::SYN, 100, 0, 1000, own, b"");
        edge.hears(flag::SYN | flag::ACK, 300, 101, 1000, peers, b"");
        edge
    }

    fn sends(&mut self, flags: u16, seq: u32, ack: u32, window: u16, options: &[Opt], payload: &[u8]) {
        let tcp = Tcp {
            seq,
            ack,
            flags,
            window,
            options: options.to_vec(),
            payload: payload.to_vec(),
            ..Tcp::default()
        };
        let (local, remote) = ends();
        self.0.sent(ME, Instant::from_secs(1), 1, &build(&Pkt::tcp(local, remote, tcp)));
    }

    fn hears(&mut self, flags: u16, seq: u32, ack: u32, window: u16, options: &[Opt], payload: &[u8]) {
        let tcp = Tcp {
            seq,
            ack,
            flags,
            window,
            options: options.to_vec(),
            payload: payload.to_vec(),
            ..Tcp::default()
        };
        let (local, remote) = ends();
        self.0.arrives(ME, &build(&Pkt::tcp(remote, local, tcp)));
    }

    #[track_caller]
    fn expect(&self, rule: Option<Rule>) {
        assert_eq!(self.0.violation().map(|v| v.rule), rule, "{:?}", self.0.violation());
    }
}

/// An ordinary exchange breaks none: data both ways, a retransmission, a gap with SACK and DSACK, closing.
#[test]
fn what_is_right_passes() {
    let mut e = Edge::opened(&[Opt::Mss(1460), Opt::SackOk], &[Opt::Mss(1460), Opt::SackOk]);
    let all = flag::ACK;
    e.sends(all, 101, 301, 1000, &[], b"hello");
    e.sends(all, 101, 301, 1000, &[], b"hello");
    e.hears(all, 301, 106, 1000, &[], b"aa");
    e.sends(all, 106, 303, 998, &[], b"");
    e.hears(all, 305, 106, 1000, &[], b"cc");
    e.sends(all, 106, 303, 998, &[Opt::Nop, Opt::Nop, Opt::Sack(vec![(305, 307)])], b"");
    e.hears(all, 303, 106, 1000, &[], b"bb");
    e.sends(all, 106, 307, 994, &[], b"");
    e.hears(all, 303, 106, 1000, &[], b"bb");
    e.sends(all, 106, 307, 994, &[Opt::Nop, Opt::Nop, Opt::Sack(vec![(303, 305)])], b"");
    e.sends(all | flag::FIN, 106, 307, 994, &[], b"");
    e.hears(all | flag::FIN, 307, 107, 1000, &[], b"");
    e.sends(all, 107, 308, 994, &[], b"");
    e.sends(all | flag::FIN, 106, 308, 994, &[], b"");
    e.expect(None);
}

/// RFC 9293 3.4: SND.NXT advances by what is sent.
#[test]
fn a_jump_of_the_sequence_is_seen() {
    let mut e = Edge::opened(&[], &[]);
    e.sends(flag::ACK, 150, 301, 1000, &[], b"x");
    e.expect(Some(Rule::Sequence));
}

/// RFC 9293 MUST-34, MUST-36: a probe may be one byte beyond the window, and no more.
#[test]
fn data_beyond_the_window_is_seen() {
    let mut e = Edge::opened(&[], &[Opt::Mss(1460)]);
    e.sends(flag::ACK, 101, 301, 1000, &[], &[1; 1001]);
    e.expect(None);
    e.sends(flag::ACK, 1102, 301, 1000, &[], b"x");
    e.expect(Some(Rule::SendWindow));
}

/// RFC 9293 3.8.1: what is sent again is what was sent, however it is cut.
#[test]
fn other_bytes_in_a_retransmission_are_seen() {
    let mut e = Edge::opened(&[], &[]);
    e.sends(flag::ACK, 101, 301, 1000, &[], b"abcd");
    e.sends(flag::ACK, 103, 301, 1000, &[], b"cdef");
    e.expect(None);
    e.sends(flag::ACK, 102, 301, 1000, &[], b"bXd");
    e.expect(Some(Rule::SameBytes));
}

/// RFC 9293 3.6: a FIN is the last of its stream.
#[test]
fn data_behind_a_fin_is_seen() {
    let mut e = Edge::opened(&[], &[]);
    e.sends(flag::ACK | flag::FIN, 101, 301, 1000, &[], b"");
    e.sends(flag::ACK, 102, 301, 1000, &[], b"x");
    e.expect(Some(Rule::AfterFin));
}

/// RFC 9293 3.10.7.4: RCV.NXT covers what has arrived, whole, and never goes back.
#[test]
fn wrong_acks_are_seen() {
    let mut e = Edge::opened(&[], &[]);
    e.hears(flag::ACK, 302, 101, 1000, &[], b"b");
    e.sends(flag::ACK, 101, 303, 998, &[], b"");
    e.expect(Some(Rule::AckedUnseen));

    let mut e = Edge::opened(&[], &[]);
    e.hears(flag::ACK, 301, 101, 1000, &[], b"ab");
    e.sends(flag::ACK, 101, 303, 998, &[], b"");
    e.sends(flag::ACK, 101, 302, 999, &[], b"");
    e.expect(Some(Rule::AckBack));
}

/// RFC 9293 SHLD-14: the right edge stays where it was at least.
#[test]
fn a_window_that_shrinks_is_seen() {
    let mut e = Edge::opened(&[], &[]);
    e.hears(flag::ACK, 301, 101, 1000, &[], b"ab");
    e.sends(flag::ACK, 101, 303, 998, &[], b"");
    e.expect(None);
    e.sends(flag::ACK, 101, 303, 997, &[], b"");
    e.expect(Some(Rule::WindowShrunk));
}

/// RFC 2018 4: a block names what arrived; RFC 2883 4: only the first may lie below the ACK.
#[test]
fn invented_sack_blocks_are_seen() {
    let offers = [Opt::SackOk];
    for blocks in [vec![(305, 309)], vec![(303, 306), (295, 300)], vec![(306, 303)]] {
        let mut e = Edge::opened(&offers, &offers);
        e.hears(flag::ACK, 303, 101, 1000, &[], b"cde");
        e.sends(flag::ACK, 101, 301, 1000, &[Opt::Nop, Opt::Nop, Opt::Sack(blocks)], b"");
        e.expect(Some(Rule::Sack));
    }
}

/// RFC 7323 3.2: timestamps on every segment, never going back, echoing what came.
#[test]
fn wrong_timestamps_are_seen() {
    let ts = |val, ecr| [Opt::Nop, Opt::Nop, Opt::Ts { val, ecr }];
    for wrong in [Vec::new(), ts(9, 50).to_vec(), ts(11, 51).to_vec()] {
        let mut e = Edge::opened(&ts(10, 0), &ts(50, 10));
        e.sends(flag::ACK, 101, 301, 1000, &ts(10, 50), b"");
        e.expect(None);
        e.sends(flag::ACK, 101, 301, 1000, &wrong, b"");
        e.expect(Some(Rule::Timestamps));
    }
}

/// RFC 7323 2.2: a SYN,ACK offers only what the SYN did.
#[test]
fn an_option_that_nobody_offered_is_seen() {
    let mut e = Edge::new();
    e.hears(flag::SYN, 300, 0, 1000, &[], b"");
    e.sends(flag::SYN | flag::ACK, 100, 301, 1000, &[Opt::Wscale(7)], b"");
    e.expect(Some(Rule::Options));
}

/// RFC 9293 MUST-15, MUST-67: 536 bytes where the peer said nothing, options included; and never more than the MTU.
#[test]
fn segments_that_are_too_large_are_seen() {
    let mut e = Edge::opened(&[], &[]);
    e.sends(flag::ACK, 101, 301, 1000, &[], &[1; 536]);
    e.expect(None);
    e.sends(flag::ACK, 101, 301, 1000, &[], &[1; 537]);
    e.expect(Some(Rule::Mss));

    let mut e = Edge::opened(&[], &[Opt::Mss(9000)]);
    e.sends(flag::ACK, 101, 301, 1000, &[], &[1; 1461]);
    e.expect(Some(Rule::Mtu));
}

/// RFC 9293 3.10.7.1: CLOSED sends RSTs, and nothing else.
#[test]
fn a_segment_of_no_connection_is_seen() {
    let mut e = Edge::new();
    e.hears(flag::ACK, 5, 5, 1000, &[], b"");
    e.sends(flag::RST, 5, 0, 0, &[], b"");
    e.expect(None);
    e.sends(flag::ACK, 5, 5, 1000, &[], b"");
    e.expect(Some(Rule::NoConnection));
}

/// RFC 9293 3.3.2: only the figure's transitions, each from where the last one led.
#[test]
fn wrong_transitions_are_seen() {
    let wrong = [
        [(State::Closed, State::SynSent), (State::SynSent, State::CloseWait)],
        [(State::Closed, State::SynSent), (State::Established, State::FinWait1)],
    ];
    for steps in wrong {
        let mut e = Edge::new();
        for (from, to) in steps {
            e.expect(None);
            let kind = TraceKind::State { from, to };
            let (at, conn) = (Instant::from_secs(1), Some(TraceId(7)));
            e.0.traced(ME, &TraceEvent { at, conn, local: None, remote: None, packet: None, kind });
        }
        e.expect(Some(Rule::Transition));
    }
}

/// A damaged packet is none: nothing in it counts as arrived.
#[test]
fn damaged_packets_do_not_count() {
    let mut e = Edge::opened(&[], &[]);
    let tcp =
        Tcp { seq: 301, ack: 101, flags: flag::ACK, window: 1000, payload: b"ab".to_vec(), ..Tcp::default() };
    let mut bytes = build(&Pkt::tcp(ends().1, ends().0, tcp));
    bytes[41] ^= 4;
    e.0.arrives(ME, &bytes);
    e.sends(flag::ACK, 101, 303, 998, &[], b"");
    e.expect(Some(Rule::AckedUnseen));
}
