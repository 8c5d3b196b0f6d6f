//! Nagle's algorithm, TCP_NODELAY, TCP_CORK, MSG_MORE.

use finack_core::options::SendFlags;
use finack_sim::Setup;

const MORE: SendFlags = SendFlags { more: true, oob: false, eor: false };

/// RFC 9293 SHLD-7, SHLD-27, MUST-38: while a small segment is unacknowledged the next small ones wait, and go out together.
#[test]
fn small_writes_are_collected() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.write(c, 10);
    t.expect("P. 1:11(10) ack 1");
    t.write(c, 10);
    t.write(c, 10);
    t.expect_nothing();
    t.inject(". 1:1(0) ack 11");
    t.expect("P. 11:31(20) ack 1");
}

/// A full segment never waits.
#[test]
fn a_full_segment_does_not_wait() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.write(c, 10);
    t.expect("P. 1:11(10) ack 1");
    t.write(c, 2000);
    t.expect("P?. 11:1471(1460) ack 1");
    t.inject(". 1:1(0) ack 1471");
    t.expect("P. 1471:2011(540) ack 1");
}

/// RFC 9293 MUST-17: TCP_NODELAY switches it off, also for what waits already.
#[test]
fn nodelay() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.write(c, 10);
    t.expect("P. 1:11(10) ack 1");
    t.write(c, 10);
    t.expect_nothing();
    t.set_options(c, |o| o.nodelay = true);
    t.expect("P. 11:21(10) ack 1");
    t.write(c, 10);
    t.expect("P. 21:31(10) ack 1");
}

/// TCP_CORK holds back what does not fill a segment, for 200 ms at most.
#[test]
fn cork() {
    let mut t = Setup::new().options(|o| o.cork = true).server();
    let c = t.accepted();
    t.write(c, 1000);
    t.expect_nothing();
    t.write(c, 1000);
    t.expect("P?. 1:1461(1460) ack 1");
    t.inject(". 1:1(0) ack 1461");
    t.expect_nothing();
    t.expect_after(100..=210, "P. 1461:2001(540) ack 1");
}

/// Uncorking lets it go at once.
#[test]
fn uncork() {
    let mut t = Setup::new().options(|o| o.cork = true).server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect_nothing();
    t.set_options(c, |o| o.cork = false);
    t.expect("P. 1:101(100) ack 1");
}

/// A FIN does not wait for corked data: both go.
#[test]
fn close_uncorks() {
    let mut t = Setup::new().options(|o| o.cork = true).server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect_nothing();
    t.close(c);
    t.expect("FP. 1:101(100) ack 1");
}

/// MSG_MORE does the same for one call.
#[test]
fn msg_more() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    assert_eq!(t.try_write(c, 100, MORE), Ok(100));
    t.expect_nothing();
    t.write(c, 50);
    t.expect("P. 1:151(150) ack 1");
    t.inject(". 1:1(0) ack 151");
    assert_eq!(t.try_write(c, 100, MORE), Ok(100));
    t.expect_nothing();
    t.expect_after(100..=210, "P. 151:251(100) ack 1");
}

/// Nagle and delayed ACKs meet: a write of two small pieces is delayed by no more than the ACK, and is not lost.
#[test]
fn nagle_waits_no_longer_than_the_ack() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.write(c, 10);
    t.expect("P. 1:11(10) ack 1");
    t.write(c, 10);
    t.quiet_ms(40);
    t.inject(". 1:1(0) ack 11");
    t.expect("P. 11:21(10) ack 1");
}

/// RFC 9293 3.7.4: with `profile=rfc` a partial segment waits while anything at all is unacknowledged, not just a partial one.
#[test]
fn nagle_by_the_rfc() {
    for (rfc, at_once) in [(true, false), (false, true)] {
        let setup = Setup::new();
        let mut t = if rfc { setup.rfc() } else { setup }.server();
        let c = t.accepted();
        t.write(c, 2000);
        t.expect("P?. 1:1461(1460) ack 1");
        if at_once {
            t.expect("P. 1461:2001(540) ack 1");
        } else {
            t.expect_nothing();
            t.inject(". 1:1(0) ack 1461");
            t.expect("P. 1461:2001(540) ack 1");
        }
    }
}

/// RFC 9293 MUST-60: what is held back by TCP_CORK and never continued goes out all the same.
#[test]
fn corked_data_is_not_held_for_ever() {
    let mut t = Setup::new().options(|o| o.cork = true).server();
    let c = t.accepted();
    for i in 0..5 {
        t.write(c, 100);
        t.expect_after(100..=210, &format!("P. {}:{}(100) ack 1", 1 + i * 100, 101 + i * 100));
        t.inject(&format!(". 1:1(0) ack {}", 101 + i * 100));
    }
}
