//! Keep-alive (RFC 9293 3.8.4).

use core::time::Duration;

use finack_core::Error;
use finack_core::options::SocketOptions;
use finack_core::tcp::State;
use finack_sim::Setup;
use finack_sim::packet::flag;

use crate::support::segment;

fn keepalive(o: &mut SocketOptions) {
    o.keepalive = true;
}

/// MUST-25: off by default: silence for a week.
#[test]
fn off_by_default() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.quiet_ms(7 * 24 * 3_600_000);
    assert_eq!(t.state(c), State::Established);
}

/// MUST-24, MUST-28, SHLD-12: on request, after two hours of idleness, with no data, one below SND.NXT; each answer begins it anew.
#[test]
fn the_first_probe() {
    let mut t = Setup::new().options(keepalive).server();
    let c = t.accepted();
    t.expect_after(7_199_900..=7_200_100, ". 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1");
    t.expect_after(7_199_900..=7_200_100, ". 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1");
    assert_eq!(t.state(c), State::Established);
}

/// MUST-29: one lost answer kills nothing; nine do: 75 s apart, then ETIMEDOUT and a RST.
#[test]
fn nine_unanswered_probes() {
    let mut t = Setup::new().options(keepalive).server();
    let c = t.accepted();
    t.expect_after(7_199_900..=7_200_100, ". 0:0(0) ack 1");
    for _ in 0..8 {
        t.expect_after(74_900..=75_100, ". 0:0(0) ack 1");
        assert_eq!(t.state(c), State::Established);
    }
    let sent = t.pass_ms(75_100);
    assert!(sent.iter().all(|s| segment(s).has(flag::RST)), "at most a RST");
    assert_eq!(t.take_error(c), Some(Error::TimedOut));
    assert_eq!(t.connections(), 0);
    assert_eq!(t.stack.counters().tcp_abort_on_keepalive, 1);
}

/// MUST-27: the intervals can be set per socket.
#[test]
fn intervals_can_be_set() {
    let mut t = Setup::new()
        .options(|o| {
            o.keepalive = true;
            o.keepalive_idle = Some(Duration::from_secs(10));
            o.keepalive_interval = Some(Duration::from_secs(3));
            o.keepalive_count = Some(2);
        })
        .server();
    let c = t.accepted();
    t.expect_after(9_900..=10_100, ". 0:0(0) ack 1");
    t.expect_after(2_900..=3_100, ". 0:0(0) ack 1");
    t.pass_ms(3_100);
    assert_eq!(t.take_error(c), Some(Error::TimedOut));
}

/// MUST-27: and by sysctl.
#[test]
fn intervals_can_be_set_by_sysctl() {
    let mut t = Setup::new().set("tcp_keepalive_time", 20).options(keepalive).server();
    t.accepted();
    t.expect_after(19_900..=20_100, ". 0:0(0) ack 1");
}

/// MUST-26: only after idleness: data that arrives puts the probe off.
#[test]
fn data_puts_it_off() {
    let mut t = Setup::new().set("tcp_keepalive_time", 10).options(keepalive).server();
    let c = t.accepted();
    t.quiet_ms(8000);
    t.inject("P. 1:101(100) ack 1");
    t.read(c, 100);
    let start = t.now();
    t.pass_ms(500);
    t.await_packet(1..=10_100, "the probe");
    let waited = t.now().since(start).as_millis();
    assert!((9_900..=10_100).contains(&waited), "{waited} ms after the data");
    t.expect(". 0:0(0) ack 101");
}

/// MUST-26: no probe while data is in flight: its retransmission asks as well.
#[test]
fn no_probe_beside_data_in_flight() {
    let mut t = Setup::new().set("tcp_keepalive_time", 10).options(keepalive).server();
    let c = t.accepted();
    t.write(c, 100);
    t.take_sent();
    for sent in t.pass_ms(60_000) {
        assert_eq!(segment(&sent).payload.len(), 100, "only the data");
    }
}

/// Switched on later, it counts from then on.
#[test]
fn switched_on_later() {
    let mut t = Setup::new().set("tcp_keepalive_time", 10).server();
    let c = t.accepted();
    t.quiet_ms(100_000);
    t.set_options(c, keepalive);
    t.expect_after(0..=10_100, ". 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1");
    t.set_options(c, |o| o.keepalive = false);
    t.quiet_ms(1_000_000);
}

/// A peer's probe is answered (RFC 9293 3.8.4), in either form.
#[test]
fn a_peers_probe_is_answered() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("P. 1:11(10) ack 1");
    t.read(c, 10);
    t.pass_ms(1000);
    t.inject(". 10:10(0) ack 1");
    t.expect(". 1:1(0) ack 11");
    t.pass_ms(1000);
    t.inject(". 10:11(1) ack 1");
    t.expect(". 1:1(0) ack 11");
}

/// A peer that has forgotten us answers with a RST: the application is told.
#[test]
fn a_reset_in_answer() {
    let mut t = Setup::new().set("tcp_keepalive_time", 10).options(keepalive).server();
    let c = t.accepted();
    t.expect_after(9_900..=10_100, ". 0:0(0) ack 1");
    t.inject("R 1:1(0)");
    assert_eq!(t.take_error(c), Some(Error::ConnectionReset));
}

/// Times of 0 make no sense (Linux refuses them), and do no harm either: no endless loop, neither idle nor with data out.
#[test]
fn times_of_zero() {
    let mut t = Setup::new()
        .options(|o| {
            o.keepalive = true;
            o.keepalive_idle = Some(Duration::ZERO);
            o.keepalive_interval = Some(Duration::ZERO);
        })
        .server();
    let c = t.accepted();
    t.write(c, 100);
    t.take_sent();
    t.pass_ms(50);
    t.inject(". 1:1(0) ack 101");
    t.pass_ms(100);
    assert_eq!(t.take_error(c), Some(Error::TimedOut));
    t.take_sent();
}
