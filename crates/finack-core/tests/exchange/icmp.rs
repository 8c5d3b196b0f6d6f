//! ICMP errors to connections (RFC 9293 3.9.2.2, RFC 5927), path MTU discovery (RFC 1191, RFC 8201), echo.

use finack_core::Error;
use finack_core::stack::ConnId;
use finack_core::tcp::State;
use finack_core::trace::{DropReason, RetransmitReason, TraceEvent, TraceKind};
use finack_sim::packet::{Icmp, Pkt, build, v4, v6};
use finack_sim::{IcmpError, Script, Setup};

use crate::support::{drain, place, segment};

const SOFT: [IcmpError; 4] =
    [IcmpError::Network, IcmpError::Host, IcmpError::TimeExceeded, IcmpError::Parameter];

fn sending(setup: Setup) -> (Script, ConnId) {
    let mut t = setup.server();
    let c = t.accepted();
    t.write(c, 14_600);
    t.take_sent();
    (t, c)
}

/// RFC 1191, RFC 9293 SHLD-6: a genuine frag-needed lowers the MSS and what is in flight is sent again at once in smaller segments, and that is no
/// congestion signal.
#[test]
fn frag_needed() {
    let (mut t, c) = sending(Setup::new());
    let before = t.info(c);
    t.inject_icmp(IcmpError::TooBig(1400), ". 1:1461(1460) ack 1");
    let sent = t.take_sent();
    assert!(!sent.is_empty(), "at once");
    assert_eq!(place(&t, &sent[0]), (1, 1360));
    assert!(sent.iter().all(|s| s.bytes.len() <= 1400));
    let after = t.info(c);
    assert_eq!(after.snd_mss, 1360);
    assert_eq!(after.ssthresh, before.ssthresh, "no congestion response");
    assert!(after.cwnd >= before.cwnd / 1460 * 1360, "cwnd {} -> {}", before.cwnd, after.cwnd);
    assert!(t.stack.counters().retransmits(RetransmitReason::PathMtu) >= 1);
    drain(&mut t, 1, 14_601);
    t.pass_ms(500);
    assert_eq!(t.info(c).send_queue, 0);
}

/// RFC 5681 3.1: where segments turn out too large for the path, the window shrinks with them: the same number, not a burst of more.
#[test]
fn the_window_shrinks_with_the_segments() {
    let (mut t, c) = sending(Setup::new());
    let before = t.info(c).cwnd;
    t.inject_icmp(IcmpError::TooBig(770), ". 1:1461(1460) ack 1");
    t.take_sent();
    let after = t.info(c);
    assert_eq!(after.snd_mss, 730);
    assert_eq!(after.cwnd, before / 2);
}

/// RFC 8201: packet too big, over IPv6.
#[test]
fn packet_too_big() {
    let mut t = Setup::new().v6().server();
    let c = t.accepted();
    t.write(c, 14_400);
    assert_eq!(t.take_sent().len(), 10);
    t.inject_icmp(IcmpError::TooBig(1300), ". 1:1441(1440) ack 1");
    let sent = t.take_sent();
    assert_eq!(place(&t, &sent[0]), (1, 1240));
    assert_eq!(t.info(c).snd_mss, 1240);
}

/// The same over units of 64 KiB.
#[test]
fn frag_needed_over_units() {
    finack_sim::on_both_paths(|setup| {
        let (mut t, c) = sending(setup);
        t.inject_icmp(IcmpError::TooBig(1400), ". 1:1461(1460) ack 1");
        t.take_sent().iter().for_each(|s| assert!(s.bytes.len() <= 1400));
        drain(&mut t, 1, 14_601);
        t.pass_ms(500);
        assert_eq!(t.info(c).send_queue, 0);
    });
}

/// RFC 5927 4.1: frag-needed that quotes a sequence number outside what is in flight is ignored and counted.
#[test]
fn frag_needed_with_a_foreign_sequence() {
    let (mut t, c) = sending(Setup::new());
    for quoted in [". 14601:14601(0) ack 1", ". 20000:20000(0) ack 1", ". 4294000000:4294000000(0) ack 1"] {
        t.inject_icmp(IcmpError::TooBig(1000), quoted);
        t.expect_nothing();
    }
    assert_eq!(t.info(c).snd_mss, 1460);
    assert!(t.stack.counters().dropped(DropReason::IcmpUnproven) >= 2);
    t.inject(". 1:1(0) ack 14601");
    t.inject_icmp(IcmpError::TooBig(1000), ". 1:1461(1460) ack 1");
    t.expect_nothing();
    assert_eq!(t.info(c).snd_mss, 1460, "acknowledged: no longer in flight");
}

/// RFC 1191 3: a path MTU below route.min_pmtu is taken for that; one above the present MTU is ignored.
#[test]
fn absurd_path_mtus() {
    let (mut t, c) = sending(Setup::new());
    t.inject_icmp(IcmpError::TooBig(1500), ". 1:1461(1460) ack 1");
    t.inject_icmp(IcmpError::TooBig(9000), ". 1:1461(1460) ack 1");
    t.take_sent();
    assert_eq!(t.info(c).snd_mss, 1460);
    t.inject_icmp(IcmpError::TooBig(20), ". 1:1461(1460) ack 1");
    t.take_sent();
    assert_eq!(t.info(c).snd_mss, 552 - 40);
}

/// RFC 1191 5: an old router says nothing of its MTU (0): a plateau below the present one is tried, no division by zero.
#[test]
fn a_router_without_an_mtu() {
    let (mut t, c) = sending(Setup::new());
    t.inject_icmp(IcmpError::TooBig(0), ". 1:1461(1460) ack 1");
    t.take_sent();
    let mss = t.info(c).snd_mss;
    assert!((512..=1460).contains(&mss), "MSS {mss}");
}

/// RFC 8201 4: below 1280 IPv6 has no MTU: the message is ignored or counts as 1280.
#[test]
fn packet_too_big_below_1280() {
    let mut t = Setup::new().v6().server();
    let c = t.accepted();
    t.write(c, 14_400);
    t.take_sent();
    t.inject_icmp(IcmpError::TooBig(600), ". 1:1441(1440) ack 1");
    t.take_sent();
    assert!(t.info(c).snd_mss >= 1220, "MSS {}", t.info(c).snd_mss);
}

/// A learned path MTU holds for the next connection to the host, and expires after mtu_expires (600 s).
#[test]
fn a_path_mtu_is_remembered_and_expires() {
    let (mut t, _c) = sending(Setup::new());
    t.inject_icmp(IcmpError::TooBig(1400), ". 1:1461(1460) ack 1");
    t.take_sent();
    drain(&mut t, 1, 14_601);
    t.take_sent();
    t.peer(40_001);
    let d = t.accepted();
    t.write(d, 3000);
    assert_eq!(segment(&t.next_sent()).payload.len(), 1360);
    drain(&mut t, 1, 3001);
    t.take_sent();
    t.pass_ms(700_000);
    t.peer(40_002);
    let e = t.accepted();
    t.write(e, 3000);
    assert_eq!(segment(&t.next_sent()).payload.len(), 1460);
    t.take_sent();
}

/// RFC 9293 MUST-54, MUST-56: soft errors do not abort an established connection; the data goes through later. They are told all the
/// same (MUST-47, SHLD-25): as observations.
#[test]
fn soft_errors() {
    for error in SOFT {
        let (mut t, c) = sending(Setup::new());
        t.inject_icmp(error, ". 1:1461(1460) ack 1");
        t.expect_nothing();
        assert_eq!(t.state(c), State::Established, "{error:?}");
        let told = |e: &TraceEvent| matches!(e.kind, TraceKind::Icmp { hard: false, .. });
        assert_eq!(t.trace.iter().filter(|e| told(e)).count(), 1, "{error:?}");
        t.inject(". 1:1(0) ack 14601");
        assert_eq!(t.state(c), State::Established);
        assert_eq!(t.info(c).send_queue, 0);
    }
}

/// RFC 9293 MUST-54, Linux: where nothing else comes, the soft error is what the application is told in the end.
#[test]
fn a_soft_error_explains_the_end() {
    let (mut t, c) = sending(Setup::new().set("tcp_retries2", 3));
    t.pass_ms(300);
    t.inject_icmp(IcmpError::Host, ". 1:1461(1460) ack 1");
    t.pass_ms(60_000);
    assert_eq!(t.take_error(c), Some(Error::HostUnreachable));
}

/// RFC 5927 5.2: hard errors on a synchronized connection are taken for soft ones.
#[test]
fn hard_errors_on_an_established_connection() {
    for error in [IcmpError::Port, IcmpError::Protocol, IcmpError::Prohibited] {
        let (mut t, c) = sending(Setup::new());
        t.inject_icmp(error, ". 1:1461(1460) ack 1");
        t.expect_nothing();
        assert_eq!(t.state(c), State::Established, "{error:?}");
    }
}

/// RFC 9293 MUST-55: source quench is discarded in silence.
#[test]
fn source_quench() {
    let (mut t, c) = sending(Setup::new());
    let before = t.info(c).cwnd;
    t.inject_icmp(IcmpError::SourceQuench, ". 1:1461(1460) ack 1");
    t.expect_nothing();
    assert_eq!(t.info(c).cwnd, before);
}

/// SHLD-26: in SYN-SENT a hard error ends the attempt: ECONNREFUSED for the port, ENOPROTOOPT for the protocol.
#[test]
fn hard_errors_in_syn_sent() {
    for (error, told) in
        [(IcmpError::Port, Error::ConnectionRefused), (IcmpError::Protocol, Error::ProtocolUnreachable)]
    {
        let mut t = Setup::new().client();
        let c = t.connect();
        t.expect("S 0:0(0)");
        t.inject_icmp(error, "S 0:0(0)");
        assert_eq!(t.take_error(c), Some(told));
        assert_eq!(t.connections(), 0);
    }
}

/// Linux's profile: in SYN-SENT soft errors end the attempt as well: EHOSTUNREACH, ENETUNREACH.
#[test]
fn soft_errors_in_syn_sent() {
    for (error, told) in
        [(IcmpError::Host, Error::HostUnreachable), (IcmpError::Network, Error::NetworkUnreachable)]
    {
        let mut t = Setup::new().client();
        let c = t.connect();
        t.expect("S 0:0(0)");
        t.inject_icmp(error, "S 0:0(0)");
        assert_eq!(t.take_error(c), Some(told));
        assert_eq!(t.connections(), 0);
    }
}

/// RFC 9293 MUST-54: with `profile=rfc` they do not.
#[test]
fn soft_errors_in_syn_sent_by_the_rfc() {
    let mut t = Setup::new().rfc().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject_icmp(IcmpError::Host, "S 0:0(0)");
    assert_eq!(t.state(c), State::SynSent);
    t.await_packet(500..=5000, "the SYN again");
    t.expect("S 0:0(0)");
    t.inject("S. 0:0(0) ack 1 <mss 1460>");
    t.expect(". 1:1(0) ack 1");
    assert_eq!(t.state(c), State::Established);
}

/// RFC 5927 4.1: in SYN-SENT the quoted sequence number must be the SYN's.
#[test]
fn a_foreign_sequence_in_syn_sent() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject_icmp(IcmpError::Port, "S 5:5(0)");
    t.inject_icmp(IcmpError::Host, "S 4294967295:4294967295(0)");
    assert_eq!(t.state(c), State::SynSent);
}

/// An error for a connection that does not exist, or that quotes too little or nonsense, is ignored.
#[test]
fn errors_that_concern_nobody() {
    let (mut t, c) = sending(Setup::new());
    let quoted = t.quote(". 1:1461(1460) ack 1");
    for len in [0, 1, 19, 20, 24, 27] {
        t.inject_icmp_quoting(IcmpError::TooBig(1000), &quoted[..len]);
        t.expect_nothing();
    }
    let mut other = quoted.clone();
    other[21] ^= 1;
    t.inject_icmp_quoting(IcmpError::TooBig(1000), &other);
    let mut foreign = quoted;
    foreign[12..16].copy_from_slice(&[10, 0, 0, 77]);
    t.inject_icmp_quoting(IcmpError::TooBig(1000), &foreign);
    t.expect_nothing();
    assert_eq!(t.info(c).snd_mss, 1460);
}

/// An ICMP message with a wrong checksum is dropped and counted.
#[test]
fn a_bad_icmp_checksum() {
    let (mut t, c) = sending(Setup::new());
    let payload = t.quote(". 1:1461(1460) ack 1");
    let mut bytes = build(&Pkt::icmp(v4(9), v4(1), Icmp { kind: 3, code: 4, rest: [0, 0, 4, 0], payload }));
    bytes[22] ^= 0xff;
    t.inject_bytes(&bytes);
    t.expect_nothing();
    assert_eq!(t.info(c).snd_mss, 1460);
    assert!(t.stack.counters().dropped(DropReason::IcmpMalformed) >= 1);
}

/// RFC 1122 3.2.2.6, RFC 4443 4.2: an echo request is answered with the same identifier, sequence number and data.
#[test]
fn echo() {
    let data: Vec<u8> = (0..100).collect();
    for (from, to, request, reply) in [(v4(2), v4(1), 8, 0), (v6(2), v6(1), 128, 129)] {
        let mut t = Setup::new().bare();
        let icmp = Icmp { kind: request, code: 0, rest: [0x12, 0x34, 0, 7], payload: data.clone() };
        t.inject_packet(&Pkt::icmp(from, to, icmp.clone()));
        let sent = t.next_sent();
        assert_eq!((sent.packet.ip.src, sent.packet.ip.dst), (to, from));
        assert_eq!(sent.packet.as_icmp(), Some(&Icmp { kind: reply, ..icmp }));
    }
}

/// icmp_echo_ignore_all, and requests to broadcast addresses (RFC 1122 3.2.2.6), are not answered.
#[test]
fn echo_that_is_not_answered() {
    let icmp = Icmp { kind: 8, code: 0, rest: [0; 4], payload: vec![1, 2, 3] };
    let mut t = Setup::new().set("icmp_echo_ignore_all", 1).bare();
    t.inject_packet(&Pkt::icmp(v4(2), v4(1), icmp.clone()));
    t.expect_nothing();
    let mut t = Setup::new().bare();
    for to in ["255.255.255.255", "10.0.0.255", "224.0.0.1"] {
        t.inject_packet(&Pkt::icmp(v4(2), to.parse().unwrap(), icmp.clone()));
        t.expect_nothing();
    }
}

/// RFC 1122 3.2.2: no ICMP error is ever sent about an ICMP error, a RST'd segment or a fragment.
#[test]
fn no_errors_about_errors() {
    let mut t = Setup::new().bare();
    let inner = build(&Pkt::udp("10.0.0.1:9".parse().unwrap(), "10.0.0.2:9".parse().unwrap(), b"x"));
    for (kind, code) in [(3, 0), (3, 3), (11, 0), (12, 0), (5, 0), (42, 9)] {
        let icmp = Icmp { kind, code, rest: [0; 4], payload: inner.clone() };
        t.inject_packet(&Pkt::icmp(v4(2), v4(1), icmp));
        t.expect_nothing();
    }
}

/// RFC 1191 6.3: what one connection learns of a path holds for the others on it, also for one that has large segments out: its own
/// frag-needed says nothing new, and yet its segments must become smaller.
#[test]
fn frag_needed_for_two_connections() {
    let (mut t, c) = sending(Setup::new());
    t.peer(40_001);
    let d = t.accepted();
    t.write(d, 14_600);
    t.take_sent();
    t.inject_icmp(IcmpError::TooBig(1400), ". 1:1461(1460) ack 1");
    let sent = t.take_sent();
    assert_eq!(place(&t, &sent[0]), (1, 1360));
    t.peer(40_000);
    t.inject_icmp(IcmpError::TooBig(1400), ". 1:1461(1460) ack 1");
    assert_eq!(t.info(c).snd_mss, 1360);
    let sent = t.take_sent();
    assert_eq!(sent.first().map(|s| place(&t, s)), Some((1, 1360)));
}

/// The same where the router complained only once: the time-out finds the path's MTU.
#[test]
fn a_time_out_follows_the_path_mtu() {
    let (mut t, _c) = sending(Setup::new().set("tcp_early_retrans", "0"));
    t.peer(40_001);
    let d = t.accepted();
    t.write(d, 14_600);
    t.take_sent();
    t.inject_icmp(IcmpError::TooBig(1400), ". 1:1461(1460) ack 1");
    t.take_sent();
    t.peer(40_000);
    let sent = t.pass_ms(700);
    let mine: Vec<_> = sent.iter().filter(|s| segment(s).dport == 40_000).collect();
    assert!(!mine.is_empty() && mine.iter().all(|s| segment(s).payload.len() <= 1360), "{mine:?}");
}
