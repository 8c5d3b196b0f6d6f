//! Closing: FIN both ways, half-close, orphans, linger, the errors that applications see.

use core::time::Duration;

use finack_core::options::Shutdown;
use finack_core::stack::Ready;
use finack_core::tcp::State;
use finack_core::{Error, Event};
use finack_sim::packet::flag;
use finack_sim::{Setup, on_both_paths};

use crate::support::{expect_gone, expect_spent, segment};

/// RFC 9293 3.6, figure 12: we close first: FIN-WAIT-1, FIN-WAIT-2, TIME-WAIT for 2 MSL (MUST-13), CLOSED.
#[test]
fn active_close() {
    on_both_paths(|setup| {
        let mut t = setup.server();
        let c = t.accepted();
        t.close(c);
        t.expect("F. 1:1(0) ack 1");
        assert_eq!(t.count(State::FinWait1), 1);
        t.inject(". 1:1(0) ack 2");
        assert_eq!(t.count(State::FinWait2), 1);
        t.inject("F. 1:1(0) ack 2");
        t.expect(". 2:2(0) ack 2");
        assert_eq!(t.count(State::TimeWait), 1);
        t.quiet_ms(59_900);
        assert_eq!(t.count(State::TimeWait), 1);
        t.quiet_ms(600);
        expect_gone(&t);
        expect_spent(&t, c);
    });
}

/// RFC 9293 3.6: the peer closes first: CLOSE-WAIT, LAST-ACK, CLOSED; the application reads EOF (and is told).
#[test]
fn passive_close() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("F. 1:1(0) ack 1");
    t.expect_after(0..=499, ". 1:1(0) ack 2");
    assert_eq!(t.state(c), State::CloseWait);
    let told = |e: &Event| matches!(e, Event::Tcp { ready, .. } if ready.contains(Ready::READ_CLOSED));
    assert!(t.events.iter().any(told), "{:?}", t.events);
    t.read_eof(c);
    t.close(c);
    t.expect("F. 1:1(0) ack 2");
    assert_eq!(t.count(State::LastAck), 1);
    t.inject(". 2:2(0) ack 2");
    t.expect_nothing();
    expect_gone(&t);
}

/// Three segments: our FIN goes out with the ACK of the peer's where the application closes at once; in any case the ACK of a FIN
/// that comes alone on a connection that carried data waits 40 ms at least for it, as on Linux.
#[test]
fn three_segment_close() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    t.read(c, 100);
    t.write(c, 10);
    t.take_sent();
    t.inject(". 101:101(0) ack 11");
    t.quiet_ms(500);
    t.inject("F. 101:101(0) ack 11");
    t.expect_nothing();
    t.read_eof(c);
    t.close(c);
    t.expect("F. 11:11(0) ack 102");
    t.inject(". 102:102(0) ack 12");
    expect_gone(&t);
}

/// As above where the application does not close: the ACK comes by itself, at the earliest after 40 ms.
#[test]
fn the_ack_of_a_fin_is_delayed() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    t.read(c, 100);
    t.write(c, 10);
    t.take_sent();
    t.inject(". 101:101(0) ack 11");
    t.quiet_ms(500);
    t.inject("F. 101:101(0) ack 11");
    t.expect_after(40..=300, ". 11:11(0) ack 102");
}

/// After our own FIN a FIN of the peer is acknowledged at once.
#[test]
fn the_ack_of_a_fin_after_ours_is_prompt() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    t.read(c, 100);
    t.write(c, 10);
    t.take_sent();
    t.inject(". 101:101(0) ack 11");
    t.shutdown(c, Shutdown::Write);
    t.expect("F. 11:11(0) ack 101");
    t.inject(". 101:101(0) ack 12");
    t.inject("F. 101:101(0) ack 12");
    t.expect(". 12:12(0) ack 102");
}

/// The FIN goes behind all data that was written (RFC 9293 3.10.4), in the same segment where it fits.
#[test]
fn fin_follows_the_data() {
    on_both_paths(|setup| {
        let mut t = setup.server();
        let c = t.accepted();
        t.write(c, 20_000);
        t.close(c);
        assert_eq!(t.take_sent().len(), 10);
        t.inject(". 1:1(0) ack 14601");
        t.expect("P?. 14601:16061(1460) ack 1");
        t.expect("P?. 16061:17521(1460) ack 1");
        t.expect("P?. 17521:18981(1460) ack 1");
        t.expect("FP. 18981:20001(1020) ack 1");
        t.inject("F. 1:1(0) ack 20002");
        t.expect(". 20002:20002(0) ack 2");
        assert_eq!(t.count(State::TimeWait), 1);
    });
}

/// A lost FIN is sent again (RFC 9293 3.6), with the data that it was sent with.
#[test]
fn a_lost_fin() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.close(c);
    t.expect("F. 101:101(0) ack 1");
    t.inject(". 1:1(0) ack 101");
    t.expect_after(100..=1000, "F. 101:101(0) ack 1");
    t.inject(". 1:1(0) ack 102");
    assert_eq!(t.count(State::FinWait2), 1);
}

/// A FIN before missing data: no EOF until the gap is filled, then data and EOF in order.
#[test]
fn a_fin_before_missing_data() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("FP. 101:201(100) ack 1");
    t.expect(". 1:1(0) ack 1 <sack 101:202>");
    t.read_blocks(c);
    assert_eq!(t.state(c), State::Established);
    assert!(!t.stack.tcp_ready(c).unwrap().intersects(Ready::READ_CLOSED));
    t.inject(". 1:101(100) ack 1");
    t.expect_after(0..=300, ". 1:1(0) ack 202 <>");
    t.read(c, 200);
    t.read_eof(c);
    assert_eq!(t.state(c), State::CloseWait);
}

/// A bare FIN beyond a gap, the same; the data comes in two pieces.
#[test]
fn a_bare_fin_before_missing_data() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("F. 201:201(0) ack 1");
    t.take_sent();
    t.read_blocks(c);
    t.inject("P. 101:201(100) ack 1");
    t.take_sent();
    t.read_blocks(c);
    t.inject("P. 1:101(100) ack 1");
    t.pass_ms(300);
    t.read(c, 200);
    if t.state(c) == State::Established {
        // The bare FIN was not kept: the peer sends it again.
        t.inject("F. 201:201(0) ack 1");
        t.pass_ms(300);
    }
    t.read_eof(c);
}

/// Data with a sequence beyond the peer's FIN is not delivered (RFC 9293 3.10.7.4, seventh and eighth).
#[test]
fn data_beyond_a_fin_is_ignored() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("FP. 1:101(100) ack 1");
    t.pass_ms(300);
    t.inject("P. 102:202(100) ack 1");
    t.take_sent();
    t.inject("P. 101:201(100) ack 1");
    t.take_sent();
    t.read(c, 100);
    t.read_eof(c);
    t.read_eof(c);
}

/// Half-close, ours: after `shutdown(Write)` the peer's data is still delivered, writing answers EPIPE (RFC 9293 3.6, MAY-1 not used).
#[test]
fn half_close_by_us() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.shutdown(c, Shutdown::Write);
    t.expect("F. 1:1(0) ack 1");
    t.inject(". 1:1(0) ack 2");
    assert_eq!(t.state(c), State::FinWait2);
    t.write_fails(c, Error::BrokenPipe);
    t.quiet_ms(100_000);
    t.inject("P. 1:101(100) ack 2");
    t.read(c, 100);
    t.expect_after(0..=499, ". 2:2(0) ack 101");
    t.inject("F. 101:101(0) ack 2");
    t.expect(". 2:2(0) ack 102");
    t.read_eof(c);
    assert_eq!(t.count(State::TimeWait), 1);
}

/// Half-close, the peer's: in CLOSE-WAIT our data still goes out.
#[test]
fn half_close_by_the_peer() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("F. 1:1(0) ack 1");
    t.pass_ms(300);
    t.read_eof(c);
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 2");
    t.inject(". 2:2(0) ack 101");
    t.write(c, 50);
    t.expect("P. 101:151(50) ack 2");
    t.inject(". 2:2(0) ack 151");
    t.close(c);
    t.expect("F. 151:151(0) ack 2");
    t.inject(". 2:2(0) ack 152");
    expect_gone(&t);
}

/// FIN-WAIT-2 has no timer while the application holds the socket: half-closed for 24 h the connection lives, both ways.
#[test]
fn half_closed_for_a_day() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.shutdown(c, Shutdown::Write);
    t.expect("F. 1:1(0) ack 1");
    t.inject(". 1:1(0) ack 2");
    t.peer(40_001);
    let d = t.accepted();
    t.inject("F. 1:1(0) ack 1");
    t.pass_ms(300);
    t.quiet_ms(24 * 3_600_000);
    t.write(d, 100);
    t.expect("P. 1:101(100) ack 2");
    t.inject(". 2:2(0) ack 101");
    t.peer(40_000);
    t.inject("P. 1:101(100) ack 2");
    t.read(c, 100);
    t.pass_ms(500);
    assert_eq!((t.state(c), t.state(d)), (State::FinWait2, State::CloseWait));
}

/// tcp_fin_timeout: an orphan waits 60 s in FIN-WAIT-2 for the peer's FIN, then it is gone; a FIN that comes later gets a RST.
#[test]
fn an_orphan_in_fin_wait_2_is_given_up() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.close(c);
    t.expect("F. 1:1(0) ack 1");
    t.inject(". 1:1(0) ack 2");
    t.quiet_ms(59_500);
    assert_eq!(t.connections(), 1);
    t.quiet_ms(1000);
    expect_gone(&t);
    t.inject("F. 1:1(0) ack 2");
    t.expect("R.? 2:2(0)");
}

/// TCP_LINGER2 sets that time for one socket.
#[test]
fn linger2() {
    let mut t = Setup::new().options(|o| o.fin_wait2_timeout = Some(Duration::from_secs(5))).server();
    let c = t.accepted();
    t.close(c);
    t.expect("F. 1:1(0) ack 1");
    t.inject(". 1:1(0) ack 2");
    t.quiet_ms(4500);
    assert_eq!(t.connections(), 1);
    t.quiet_ms(1000);
    expect_gone(&t);
}

/// `shutdown(Write)` first and close later: the FIN-WAIT-2 time runs from the close on.
#[test]
fn close_after_a_half_close() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.shutdown(c, Shutdown::Write);
    t.expect("F. 1:1(0) ack 1");
    t.inject(". 1:1(0) ack 2");
    t.quiet_ms(1_000_000);
    t.close(c);
    t.expect_nothing();
    assert_eq!(t.connections(), 1);
    t.quiet_ms(61_000);
    expect_gone(&t);
}

/// RFC 9293 3.6.1, RFC 1122 4.2.2.13: data for a closed socket is answered by a RST (SHLD-3).
#[test]
fn data_after_close() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.close(c);
    t.expect("F. 1:1(0) ack 1");
    t.inject("P. 1:101(100) ack 2");
    let sent = t.next_sent();
    assert!(segment(&sent).has(flag::RST), "{:?}", segment(&sent));
    assert_eq!(segment(&sent).seq, t.stack_iss().wrapping_add(2));
    t.take_sent();
    expect_gone(&t);
}

/// The same in FIN-WAIT-2.
#[test]
fn data_after_close_in_fin_wait_2() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.close(c);
    t.expect("F. 1:1(0) ack 1");
    t.inject(". 1:1(0) ack 2");
    t.inject("P. 1:101(100) ack 2");
    // RFC 9293 3.5.2: where the segment has an ACK, the RST takes its number from there and has none itself.
    t.expect("R 2:2(0)");
    expect_gone(&t);
}

/// RFC 1122 4.2.2.13, RFC 2525 2.17: closing with unread data resets.
#[test]
fn close_with_unread_data() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    t.take_sent();
    t.close(c);
    t.expect("R.? 1:1(0)");
    expect_gone(&t);
}

/// Closing after reading only part of the data resets too; what was written before is discarded.
#[test]
fn close_with_half_read_data() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    t.read(c, 50);
    t.take_sent();
    t.close(c);
    t.expect("R.? 1:1(0)");
    expect_gone(&t);
}

/// SO_LINGER 0: close aborts with a RST at SND.NXT (RFC 9293 3.10.5).
#[test]
fn linger_0() {
    let mut t = Setup::new().options(|o| o.linger = Some(Duration::ZERO)).server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.close(c);
    t.expect("R.? 101:101(0)");
    expect_gone(&t);
    expect_spent(&t, c);
}

/// Abort (RFC 9293 3.9.1.6) resets, whatever was queued.
#[test]
fn abort() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.write(c, 16_000);
    t.take_sent();
    t.abort(c);
    let sent = t.next_sent();
    assert!(segment(&sent).has(flag::RST));
    expect_gone(&t);
}

/// Linger-0 abort while data is lost: the peer, which has not seen the data, challenges our RST (RFC 5961 3.2); its challenge ACK is
/// answered at once with a RST at exactly the number it expects.
#[test]
fn abort_while_data_is_lost() {
    let mut t = Setup::new().options(|o| o.linger = Some(Duration::ZERO)).server();
    let c = t.accepted();
    t.write(c, 5000);
    assert_eq!(t.take_sent().len(), 4);
    t.close(c);
    t.expect("R.? 5001:5001(0)");
    // All four segments were lost: the peer is at 1, our RST lies inside its window, not at its edge.
    t.quiet_ms(30);
    t.inject(". 1:1(0) ack 1");
    t.expect("R.? 1:1(0)");
    expect_gone(&t);
}

/// SO_LINGER with a time: close sends FIN, and what is unacknowledged can be asked for (what a blocking close waits for).
#[test]
fn linger_with_a_time() {
    let mut t = Setup::new().options(|o| o.linger = Some(Duration::from_secs(5))).server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    assert_eq!(t.stack.tcp_unacknowledged(c), Ok(true));
    t.shutdown(c, Shutdown::Write);
    t.expect("F. 101:101(0) ack 1");
    t.inject(". 1:1(0) ack 101");
    assert_eq!(t.stack.tcp_unacknowledged(c), Ok(true));
    t.inject(". 1:1(0) ack 102");
    assert_eq!(t.stack.tcp_unacknowledged(c), Ok(false));
    t.close(c);
}

/// `shutdown(Read)` is local: nothing is sent, reading answers EOF.
#[test]
fn shutdown_read() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.shutdown(c, Shutdown::Read);
    t.expect_nothing();
    t.read_eof(c);
    t.write(c, 10);
    t.expect("P. 1:11(10) ack 1");
    assert_eq!(t.state(c), State::Established);
}

/// `shutdown(Both)` sends a FIN and reads EOF.
#[test]
fn shutdown_both() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.shutdown(c, Shutdown::Both);
    t.expect("F. 1:1(0) ack 1");
    t.read_eof(c);
    t.write_fails(c, Error::BrokenPipe);
}

/// The state machine's names are no excuse: shutdown twice sends one FIN.
#[test]
fn shutdown_twice() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.shutdown(c, Shutdown::Write);
    t.expect("F. 1:1(0) ack 1");
    let again = t.stack.tcp_shutdown(t.now(), c, Shutdown::Write);
    assert!(matches!(again, Ok(()) | Err(Error::NotConnected)), "{again:?}");
    t.pump();
    t.expect_nothing();
}

/// shutdown before the connection is there: ENOTCONN.
#[test]
fn shutdown_of_nothing() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    assert_eq!(t.stack.tcp_shutdown(t.now(), c, Shutdown::Write), Err(Error::NotConnected));
    t.pump();
    t.take_sent();
}

/// tcp_orphan_retries: an orphan whose FIN is never acknowledged is given up after 8 time-outs.
#[test]
fn an_orphan_is_given_up() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.close(c);
    t.expect("F. 1:1(0) ack 1");
    let sent = t.pass_ms(400_000);
    let fins = sent.iter().filter(|s| segment(s).has(flag::FIN)).count();
    assert!((7..=9).contains(&fins), "{fins} FINs sent again");
    expect_gone(&t);
}

/// A lost last ACK heals: the peer repeats its FIN and TIME-WAIT acknowledges it again.
#[test]
fn a_lost_last_ack() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.close(c);
    t.expect("F. 1:1(0) ack 1");
    t.inject("F. 1:1(0) ack 2");
    t.expect(". 2:2(0) ack 2");
    t.quiet_ms(1000);
    t.inject("F. 1:1(0) ack 2");
    t.expect(". 2:2(0) ack 2");
}

/// A FIN that also acknowledges our FIN leads from FIN-WAIT-1 straight to TIME-WAIT.
#[test]
fn fin_and_ack_at_once() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.close(c);
    t.expect("F. 1:1(0) ack 1");
    t.inject("F. 1:1(0) ack 2");
    t.expect(". 2:2(0) ack 2");
    assert_eq!(t.count(State::TimeWait), 1);
}

/// RFC 9293 3.10.7.4: an ACK of our FIN while data is still missing from the peer does not lose that data.
#[test]
fn data_in_fin_wait_1() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.shutdown(c, Shutdown::Write);
    t.expect("F. 1:1(0) ack 1");
    t.inject("P. 1:101(100) ack 1");
    t.read(c, 100);
    t.pass_ms(150);
    t.inject("P. 101:201(100) ack 2");
    t.read(c, 100);
    assert_eq!(t.state(c), State::FinWait2);
    t.pass_ms(500);
}

/// Closing in SYN-RECEIVED (a simultaneous open): the FIN goes out once it is established (RFC 9293 3.10.4).
#[test]
fn close_in_syn_received() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject("S 0:0(0) win 65535 <mss 1460>");
    t.expect("S. 0:0(0) ack 1");
    t.close(c);
    t.take_sent();
    t.inject(". 1:1(0) ack 1");
    t.pass_ms(1500);
    t.inject(". 1:1(0) ack 2");
    t.take_sent();
    t.inject("F. 1:1(0) ack 2");
    t.take_sent();
    assert!(t.count(State::TimeWait) == 1 || t.connections() == 0);
}

/// Linger 0 counts whenever the socket is closed, also after a half-close: the peer's direction is cut with a RST.
#[test]
fn linger_0_after_a_half_close() {
    let mut t = Setup::new().options(|o| o.linger = Some(Duration::ZERO)).server();
    let c = t.accepted();
    t.shutdown(c, Shutdown::Write);
    t.expect("F. 1:1(0) ack 1");
    t.inject(". 1:1(0) ack 2");
    t.close(c);
    t.expect("R.? 2:2(0)");
    expect_gone(&t);
}

/// A socket that was shut down for both directions takes no more data: it is answered by a RST (RFC 1122 4.2.2.13).
#[test]
fn data_after_shutdown_both() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.shutdown(c, Shutdown::Both);
    t.expect("F. 1:1(0) ack 1");
    t.inject("P. 1:101(100) ack 2");
    assert!(segment(&t.next_sent()).has(flag::RST));
    t.take_sent();
    assert_eq!(t.connections(), 0);
    t.close(c);
}

/// The FIN waits for the peer's window like data does, and an orphan does not wait for ever.
#[test]
fn a_fin_at_the_peers_zero_window() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.write(c, 1000);
    t.expect("P. 1:1001(1000) ack 1");
    t.inject(". 1:1(0) ack 1001 win 0");
    t.write(c, 500);
    t.close(c);
    let sent = t.pass_ms(3000);
    assert!(sent.iter().all(|s| segment(s).payload.len() <= 1));
    t.inject(". 1:1(0) ack 1001 win 1000");
    t.expect("FP. 1001:1501(500) ack 1");
    t.inject("F. 1:1(0) ack 1502");
    t.expect(". 1502:1502(0) ack 2");
}

/// RFC 9293 3.10.5: ABORT in LAST-ACK and CLOSING deletes the TCB without a RST, which could only end the peer's TIME-WAIT; unless
/// there is data that was never sent, of which the peer must learn that it is lost (Linux).
#[test]
fn abort_after_both_fins() {
    for first in ["peer", "both"] {
        let mut t = Setup::new().options(|o| o.linger = Some(Duration::ZERO)).server();
        let c = t.accepted();
        if first == "peer" {
            t.inject("F. 1:1(0) ack 1");
            t.pass_ms(300);
        }
        t.shutdown(c, Shutdown::Write);
        t.take_sent();
        if first == "both" {
            t.inject("F. 1:1(0) ack 1");
            t.take_sent();
        }
        assert!(matches!(t.state(c), State::LastAck | State::Closing));
        t.close(c);
        t.expect_nothing();
        expect_gone(&t);
    }
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("F. 1:1(0) ack 1 win 0");
    t.pass_ms(100);
    t.write(c, 100);
    t.shutdown(c, Shutdown::Write);
    t.abort(c);
    assert!(t.take_sent().iter().any(|s| segment(s).has(flag::RST)));
    expect_gone(&t);
}
