//! RSTs in and out, challenge ACKs (RFC 5961), and what the application is told.

use finack_core::stack::Ready;
use finack_core::tcp::State;
use finack_core::trace::{DropReason, ResetReason};
use finack_core::{Error, Event};
use finack_sim::Setup;
use finack_sim::packet::{Body, flag};

use crate::support::{expect_gone, segment};

/// RFC 9293 3.10.7.4 (second), RFC 5961 3.2: a RST exactly at RCV.NXT resets, and the application is told (MUST-12):
/// ECONNRESET once, then EOF on reads and EPIPE on writes.
#[test]
fn an_exact_reset() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("R 1:1(0)");
    t.expect_nothing();
    let told = |e: &Event| matches!(e, Event::Tcp { ready, .. } if ready.contains(Ready::ERROR));
    assert!(t.events.iter().any(told), "{:?}", t.events);
    assert_eq!(t.connections(), 0);
    t.read_fails(c, Error::ConnectionReset);
    t.read_eof(c);
    t.write_fails(c, Error::BrokenPipe);
    t.write_fails(c, Error::BrokenPipe);
    t.close(c);
    t.expect_nothing();
}

/// As above, but the application writes first.
#[test]
fn a_reset_seen_by_a_writer() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("R. 1:1(0) ack 1");
    t.write_fails(c, Error::ConnectionReset);
    t.write_fails(c, Error::BrokenPipe);
    t.read_eof(c);
}

/// SO_ERROR takes the error; it is told once in all.
#[test]
fn a_reset_seen_by_so_error() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("R 1:1(0)");
    assert_eq!(t.take_error(c), Some(Error::ConnectionReset));
    assert_eq!(t.take_error(c), None);
    t.read_eof(c);
    t.write_fails(c, Error::BrokenPipe);
}

/// Linux's profile: data that was received in order before the RST can still be read; then ECONNRESET. (RFC 9293 3.10.7.4 flushes.)
#[test]
fn data_before_a_reset_stays_readable() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    t.take_sent();
    t.inject("R 101:101(0)");
    t.read(c, 100);
    t.read_fails(c, Error::ConnectionReset);
    t.read_eof(c);
}

/// RFC 9293 3.10.7.4: with `profile=rfc` the queues are flushed.
#[test]
fn data_before_a_reset_is_flushed_by_the_rfc() {
    let mut t = Setup::new().rfc().server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    t.take_sent();
    t.inject("R 101:101(0)");
    t.read_fails(c, Error::ConnectionReset);
}

/// RFC 9293 3.10.7.4: who loses bytes to the flush is told of the reset, not of the end of the stream (found by the swarm).
#[test]
fn flushed_data_is_no_end_of_the_stream() {
    let mut t = Setup::new().rfc().server();
    let c = t.accepted();
    t.inject("FP. 1:101(100) ack 1");
    t.take_sent();
    t.inject("R 102:102(0)");
    assert!(t.try_read(c, 100).is_err_and(|e| matches!(e, Error::BrokenPipe | Error::ConnectionReset)));
    t.read_eof(c);
}

/// RFC 5961 3.2: a RST elsewhere in the window is challenged, and the connection lives.
#[test]
fn a_reset_inside_the_window() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("R 2:2(0)");
    t.expect(". 1:1(0) ack 1");
    assert_eq!(t.state(c), State::Established);
    assert_eq!(t.stack.counters().tcp_challenge_acks, 1);
    assert_eq!(t.stack.counters().dropped(DropReason::ResetNotExact), 1);
    // A peer that really is gone answers the challenge with an exact RST.
    t.inject("R 1:1(0)");
    assert_eq!(t.take_error(c), Some(Error::ConnectionReset));
}

/// RFC 9293 3.10.7.4: a RST outside the window is dropped in silence.
#[test]
fn a_reset_outside_the_window() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("R 0:0(0)");
    t.expect_nothing();
    t.inject("R 90000000:90000000(0)");
    t.expect_nothing();
    assert_eq!(t.state(c), State::Established);
}

/// RFC 9293 SHLD-2: a RST may carry data.
#[test]
fn a_reset_with_data() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("R. 1:21(20) ack 1");
    t.expect_nothing();
    assert_eq!(t.take_error(c), Some(Error::ConnectionReset));
}

/// RFC 9293 3.10.7.4 (fourth), RFC 5961 4.2: a SYN on a synchronized connection is answered by a challenge ACK, wherever it lies.
#[test]
fn a_syn_in_established() {
    let mut t = Setup::new().set("tcp_invalid_ratelimit", 0).server();
    let c = t.accepted();
    for seq in ["0:0(0)", "1:1(0)", "5:5(0)", "90000000:90000000(0)"] {
        let mut packet = t.segment(&format!("S {seq} win 65535 <mss 1460>"));
        packet.ip.ttl = 64;
        let bytes = finack_sim::packet::build(&packet);
        t.inject_bytes(&bytes);
        t.expect(". 1:1(0) ack 1");
    }
    let bytes = finack_sim::packet::build(&t.segment("S. 0:0(0) ack 1 <mss 1460>"));
    t.inject_bytes(&bytes);
    t.expect(". 1:1(0) ack 1");
    assert_eq!(t.state(c), State::Established);
}

/// RFC 9293 3.5.1, figure 10: a peer that crashed and opens anew: SYN, challenge ACK, its RST, and the SYN again opens.
#[test]
fn a_crashed_peer_comes_back() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    t.read(c, 100);
    t.pass_ms(1000);
    let old = t.flow().peer_iss;
    let mut syn = t.segment("S 0:0(0) win 65535 <mss 1460>");
    if let Body::Tcp(tcp) = &mut syn.body {
        tcp.seq = old.wrapping_add(400_000_000);
    }
    let bytes = finack_sim::packet::build(&syn);
    t.inject_bytes(&bytes);
    t.expect(". 1:1(0) ack 101");
    t.inject("R 101:101(0)");
    assert_eq!(t.take_error(c), Some(Error::ConnectionReset));
    t.close(c);
    t.flow().forget();
    t.flow().peer_iss = old.wrapping_add(400_000_000);
    t.accepted();
}

/// RFC 9293 3.5.1, figure 11: our data to a peer that crashed comes back as a RST at SEG.ACK.
#[test]
fn our_data_to_a_crashed_peer() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.inject("R 1:1(0)");
    assert_eq!(t.take_error(c), Some(Error::ConnectionReset));
}

/// RFC 9293 3.5.1: we are the crashed side: a segment of a connection that we do not know gets <SEQ=SEG.ACK><CTL=RST>.
#[test]
fn a_segment_of_an_unknown_connection() {
    let mut t = Setup::new().server();
    t.inject("P. 500:600(100) ack 4711");
    t.expect("R 4711:4711(0) <>");
    assert_eq!(
        t.stack.counters().resets_sent(ResetReason::NoConnection)
            + t.stack.counters().resets_sent(ResetReason::HandshakeAck),
        1
    );
}

/// RFC 5961 7, 10 and CVE-2016-5696: challenge ACKs are limited per connection: one in 500 ms.
#[test]
fn challenge_acks_are_limited() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let mut sent = 0;
    for i in 0..20 {
        t.inject(&format!("R {0}:{0}(0)", 2 + i));
        sent += t.take_sent().len();
    }
    assert_eq!(sent, 1);
    t.quiet_ms(510);
    t.inject("R 2:2(0)");
    t.expect(". 1:1(0) ack 1");
    assert_eq!(t.state(c), State::Established);
}

/// CVE-2016-5696: the limit of one connection cannot be seen through another.
#[test]
fn the_limit_is_not_shared() {
    let mut t = Setup::new().server();
    let mut conns = Vec::new();
    for port in 40_000..40_200 {
        t.peer(port);
        conns.push(t.accepted());
    }
    for port in 40_000..40_200 {
        t.peer(port);
        t.inject("R 2:2(0)");
        t.expect(". 1:1(0) ack 1");
    }
}

/// The limit does not stand in the way of the ACK of data.
#[test]
fn data_is_acknowledged_in_spite_of_the_limit() {
    let mut t = Setup::new().options(|o| o.quickack = true).server();
    let c = t.accepted();
    t.inject("R 2:2(0)");
    t.expect(". 1:1(0) ack 1");
    t.inject("P. 1:101(100) ack 1");
    t.expect(". 1:1(0) ack 101");
    t.read(c, 100);
}

/// In each synchronized state a RST at RCV.NXT ends the connection: CLOSE-WAIT tells the application ECONNRESET (Linux: EPIPE), the orphaned states
/// vanish in silence.
#[test]
fn resets_in_all_closing_states() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("F. 1:1(0) ack 1");
    t.pass_ms(300);
    t.inject("R 2:2(0)");
    assert!(matches!(t.take_error(c), Some(Error::BrokenPipe | Error::ConnectionReset)));
    assert_eq!(t.connections(), 0);
    t.close(c);
    for (i, ack) in [(1_u16, "1"), (2, "2")] {
        // FIN-WAIT-1, FIN-WAIT-2.
        t.peer(41_000 + i);
        let c = t.accepted();
        t.close(c);
        t.expect("F. 1:1(0) ack 1");
        t.inject(&format!(". 1:1(0) ack {ack}"));
        t.inject("R 1:1(0)");
        assert_eq!(t.connections(), 0, "after FIN-WAIT-{i}");
    }
    // CLOSING.
    t.peer(41_010);
    let c = t.accepted();
    t.close(c);
    t.expect("F. 1:1(0) ack 1");
    t.inject("F. 1:1(0) ack 1");
    t.expect(". 2:2(0) ack 2");
    t.inject("R 2:2(0)");
    assert_eq!(t.connections(), 0, "after CLOSING");
    // LAST-ACK.
    t.peer(41_011);
    let c = t.accepted();
    t.inject("F. 1:1(0) ack 1");
    t.pass_ms(300);
    t.close(c);
    t.expect("F. 1:1(0) ack 2");
    t.inject("R 2:2(0)");
    expect_gone(&t);
}

/// A RST is never answered, not even a malformed one (RFC 9293 3.10.7.1).
#[test]
fn a_reset_is_never_answered() {
    let mut t = Setup::new().bare();
    for text in ["R 1:1(0)", "R. 1:1(0) ack 1", "SR 1:1(0)", "FR. 1:1(0) ack 1", "SFR. 1:101(100) ack 9"] {
        t.inject(text);
        t.expect_nothing();
    }
}

/// A reset connection's segments that are still under way are answered like any stranger's.
#[test]
fn after_our_reset() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.abort(c);
    t.expect("R.? 1:1(0)");
    t.inject("P. 1:101(100) ack 1");
    let sent = t.next_sent();
    assert_eq!(segment(&sent).flags, flag::RST);
    assert_eq!(t.stack.counters().resets_sent(ResetReason::Abort), 1);
}

/// A spent handle answers EBADF, never somebody else's connection.
#[test]
fn a_spent_handle() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.abort(c);
    t.take_sent();
    t.peer(40_001);
    let d = t.accepted();
    assert_ne!(c, d);
    assert_eq!(t.stack.tcp_close(t.now(), c), Err(Error::BadHandle));
    assert_eq!(t.stack.tcp_state(c), Err(Error::BadHandle));
    assert_eq!(t.stack.tcp_send(t.now(), c, b"x", Default::default()), Err(Error::BadHandle));
    assert_eq!(t.state(d), State::Established);
}
