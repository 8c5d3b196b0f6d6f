//! Simultaneous open and simultaneous close.

use finack_core::tcp::State;
use finack_sim::packet::flag;
use finack_sim::{Script, Setup};

use crate::support::{expect_gone, segment};

/// At most an ACK is sent in answer, never a RST.
#[track_caller]
fn at_most_an_ack(t: &mut Script) {
    for sent in t.take_sent() {
        let tcp = segment(&sent);
        assert_eq!((tcp.flags, tcp.payload.len()), (flag::ACK, 0), "nothing but an ACK");
    }
}

/// RFC 9293 MUST-10, figure 8: SYNs cross; each answers with SYN,ACK; the crossed SYN,ACK counts as the ACK and is not
/// challenged.
#[test]
fn simultaneous_open() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject("S 0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect("S. 0:0(0) ack 1 <mss 1460,sackOK,nop,wscale *>");
    assert_eq!(t.state(c), State::SynReceived);
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,nop,wscale 7>");
    at_most_an_ack(&mut t);
    assert_eq!(t.state(c), State::Established);
    assert_eq!(t.stack.counters().tcp_challenge_acks, 0);
    t.write(c, 10);
    t.expect("P. 1:11(10) ack 1");
    t.inject("P. 1:21(20) ack 11");
    t.read(c, 20);
    t.expect_after(0..=500, ". 11:11(0) ack 21");
}

/// RFC 9293 MUST-10: as above, but the peer's answer to our SYN is a pure ACK.
#[test]
fn simultaneous_open_ended_by_an_ack() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject("S 0:0(0) win 65535 <mss 1460>");
    t.expect("S. 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1");
    t.expect_nothing();
    assert_eq!(t.state(c), State::Established);
}

/// Our SYN,ACK of a simultaneous open is lost: it is sent again until the peer's arrives.
#[test]
fn simultaneous_open_with_loss() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject("S 0:0(0) win 65535 <mss 1460>");
    t.expect("S. 0:0(0) ack 1");
    t.expect_after(1000, "S. 0:0(0) ack 1");
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460>");
    at_most_an_ack(&mut t);
    assert_eq!(t.state(c), State::Established);
}

/// A simultaneous open's peer that resets: from SYN-RECEIVED of an *active* open the application is told ECONNREFUSED (MUST-11).
#[test]
fn reset_after_a_simultaneous_open() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject("S 0:0(0) win 65535 <mss 1460>");
    t.expect("S. 0:0(0) ack 1");
    t.inject("R 1:1(0)");
    assert_eq!(t.take_error(c), Some(finack_core::Error::ConnectionRefused));
    expect_gone(&t);
}

/// Self-connect (a socket connecting to its own address and port is a simultaneous open with itself): both sides are one.
#[test]
fn a_segment_that_looks_like_our_own_is_no_peer() {
    let mut t = Setup::new().server();
    let mut packet = t.segment("S 0:0(0) win 65535 <mss 1460>");
    packet.ip.src = packet.ip.dst;
    t.inject_packet(&packet);
    t.expect_nothing();
    expect_gone(&t);
}

/// RFC 9293 3.6, figure 13: FINs cross: FIN-WAIT-1, CLOSING, TIME-WAIT on both sides.
#[test]
fn simultaneous_close() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.close(c);
    t.expect("F. 1:1(0) ack 1");
    assert_eq!(t.count(State::FinWait1), 1);
    t.inject("F. 1:1(0) ack 1");
    t.expect(". 2:2(0) ack 2");
    assert_eq!(t.count(State::Closing), 1);
    t.inject(". 2:2(0) ack 2");
    t.expect_nothing();
    assert_eq!(t.count(State::TimeWait), 1);
    t.quiet_ms(60_500);
    expect_gone(&t);
}

/// Our FIN was lost in a simultaneous close: it is sent again from CLOSING.
#[test]
fn simultaneous_close_with_our_fin_lost() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.close(c);
    t.expect("F. 1:1(0) ack 1");
    t.inject("F. 1:1(0) ack 1");
    t.expect(". 2:2(0) ack 2");
    t.expect_after(100..=1000, "F. 1:1(0) ack 2");
    assert_eq!(t.count(State::Closing), 1);
    t.inject(". 2:2(0) ack 2");
    assert_eq!(t.count(State::TimeWait), 1);
}

/// The peer repeats its FIN in CLOSING: it is ACKed again.
#[test]
fn a_repeated_fin_in_closing() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.close(c);
    t.expect("F. 1:1(0) ack 1");
    t.inject("F. 1:1(0) ack 1");
    t.expect(". 2:2(0) ack 2");
    t.inject("F. 1:1(0) ack 1");
    t.expect(". 2:2(0) ack 2");
    assert_eq!(t.count(State::Closing), 1);
}

/// Simultaneous close with data in both FINs.
#[test]
fn simultaneous_close_with_data() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.shutdown(c, finack_core::options::Shutdown::Write);
    t.expect("F. 101:101(0) ack 1");
    t.inject("FP. 1:51(50) ack 1");
    t.expect(". 102:102(0) ack 52");
    assert_eq!(t.state(c), State::Closing);
    t.read(c, 50);
    t.read_eof(c);
    t.inject(". 52:52(0) ack 102");
    assert_eq!(t.count(State::TimeWait), 1);
}

/// A simultaneous open whose peer falls silent is given up, whether the application still holds the socket (ETIMEDOUT) or has closed it.
#[test]
fn a_simultaneous_open_is_given_up() {
    for closed in [false, true] {
        let mut t = Setup::new().client();
        let c = t.connect();
        t.expect("S 0:0(0)");
        t.inject("S 0:0(0) win 65535 <mss 1460>");
        t.expect("S. 0:0(0) ack 1");
        if closed {
            t.close(c);
        }
        t.pass_ms(3_600_000);
        if !closed {
            assert_eq!(t.take_error(c), Some(finack_core::Error::TimedOut));
            t.close(c);
        }
        expect_gone(&t);
    }
}
