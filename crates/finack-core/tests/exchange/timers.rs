//! Retransmission time-outs (RFC 6298), their back-off, giving up, the user time-out.

use core::time::Duration;

use finack_core::Error;
use finack_core::tcp::State;
use finack_core::trace::RetransmitReason;
use finack_sim::Setup;
use finack_sim::packet::flag;

use crate::support::{expect_gone, place, segment};

/// Without tail loss probes, which would go before a time-out.
fn without_probes() -> Setup {
    Setup::new().set("tcp_early_retrans", "0")
}

/// RFC 6298 2.2: the first sample R of 100 ms gives SRTT = R, RTTVAR = R/2, RTO = 300 ms.
#[test]
fn the_first_sample() {
    let mut t = without_probes().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.quiet_ms(100);
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect(". 1:1(0) ack 1");
    let info = t.info(c);
    assert_eq!(info.srtt.as_millis(), 100);
    assert_eq!(info.rto.as_millis(), 300);
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.expect_after(295..=310, "P. 1:101(100) ack 1");
}

/// RFC 6298 2.3: further samples are smoothed by 1/8 and 1/4.
#[test]
fn further_samples() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.quiet_ms(100);
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect(". 1:1(0) ack 1");
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.quiet_ms(180);
    t.inject(". 1:1(0) ack 101");
    // SRTT = 7/8 * 100 + 1/8 * 180 = 110.
    let srtt = t.info(c).srtt.as_millis();
    assert!((109..=111).contains(&srtt), "SRTT {srtt} ms");
    assert_eq!(t.info(c).min_rtt.as_millis(), 100);
}

/// Linux's profile: the RTO is at least 200 ms. (RFC 6298 2.4 says 1 s.)
#[test]
fn the_least_rto() {
    let mut t = without_probes().server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.expect_after(200..=260, "P. 1:101(100) ack 1");
}

/// RFC 6298 2.4: with `profile=rfc` it is at least one second.
#[test]
fn the_least_rto_by_the_rfc() {
    let mut t = without_probes().rfc().server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.expect_after(1000..=1300, "P. 1:101(100) ack 1");
}

/// RFC 6298 5.5, MUST-19: each time-out doubles the RTO, up to 120 s; the same bytes are sent each time.
#[test]
fn exponential_back_off() {
    let mut t = without_probes().server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    let start = t.now();
    t.expect_after(200..=260, "P. 1:101(100) ack 1");
    let mut wait = t.now().since(start).as_millis() as u64;
    for _ in 0..8 {
        wait *= 2;
        t.expect_after(wait - 10..=wait + 10, "P. 1:101(100) ack 1");
    }
    t.expect_after(wait * 2 - 10..=120_010, "P. 1:101(100) ack 1");
    t.expect_after(119_900..=120_010, "P. 1:101(100) ack 1");
    assert_eq!(t.info(c).backoff, 11);
}

/// RFC 9293 MUST-20, SHLD-11: tcp_retries2 = 15 gives the connection up after some 924 s; the application is told ETIMEDOUT.
#[test]
fn giving_up() {
    let mut t = without_probes().server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    let sent = t.pass_ms(900_000);
    assert_eq!(t.state(c), State::Established, "R2 is at least 100 s, here over 900 s");
    assert!((13..=15).contains(&sent.len()), "{} retransmissions", sent.len());
    // As on Linux in silence: one that has not answered for so long is told nothing.
    let last = t.pass_ms(60_000);
    assert!(!last.iter().any(|s| segment(s).has(flag::RST)), "{last:?}");
    t.read_fails(c, Error::TimedOut);
    t.read_eof(c);
    t.write_fails(c, Error::BrokenPipe);
    assert_eq!(t.connections(), 0);
}

/// The same under the RFC's profile, where a RST tells the peer, should it be there after all.
#[test]
fn giving_up_by_the_rfc() {
    let mut t = Setup::new().rfc().server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    let sent = t.pass_ms(4_000_000);
    assert!(sent.last().is_some_and(|s| segment(s).has(flag::RST)));
    t.read_fails(c, Error::TimedOut);
}

/// MUST-21: the application sets R2: TCP_USER_TIMEOUT (RFC 5482).
#[test]
fn the_user_time_out() {
    let mut t = Setup::new().options(|o| o.user_timeout = Some(Duration::from_secs(5))).server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.pass_ms(4500);
    assert_eq!(t.state(c), State::Established);
    t.pass_ms(2500);
    assert_eq!(t.take_error(c), Some(Error::TimedOut));
    t.take_sent();
    assert_eq!(t.connections(), 0);
}

/// An idle connection lives for ever: the user time-out is about unacknowledged data.
#[test]
fn the_user_time_out_is_not_about_idleness() {
    let mut t = Setup::new().options(|o| o.user_timeout = Some(Duration::from_secs(5))).server();
    let c = t.accepted();
    t.quiet_ms(10_000_000);
    assert_eq!(t.state(c), State::Established);
}

/// MUST-18, Karn: an ACK of something that was sent twice gives no sample (no timestamps here), and the backed-off RTO stays
/// until a new one (RFC 6298 5.7).
#[test]
fn karn() {
    let mut t = without_probes().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.quiet_ms(100);
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect(". 1:1(0) ack 1");
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.expect_after(295..=310, "P. 1:101(100) ack 1");
    t.quiet_ms(5);
    t.inject(". 1:1(0) ack 101");
    assert_eq!(t.info(c).srtt.as_millis(), 100, "no sample of 5 ms, nor of 305 ms");
}

/// RFC 6298 5.3, 5.2: an ACK of new data restarts the timer, one of all data stops it.
#[test]
fn the_timer_restarts() {
    let mut t = without_probes().server();
    let c = t.accepted();
    t.write(c, 2920);
    t.expect("P?. 1:1461(1460) ack 1");
    t.expect("P. 1461:2921(1460) ack 1");
    t.quiet_ms(150);
    t.inject(". 1:1(0) ack 1461");
    t.quiet_ms(150);
    t.expect_after(20..=600, "P?. 1461:2921(1460) ack 1");
    t.inject(". 1:1(0) ack 2921");
    t.quiet_ms(100_000);
}

/// RFC 5681 3.1: after a time-out the congestion window is one segment, ssthresh half of what was in flight (RFC 9438 4.8: seven
/// tenths), and it grows again.
#[test]
fn a_time_out_collapses_the_window() {
    collapses("reno", 5 * 1460);
    collapses("cubic", 7 * 1460);
}

fn collapses(congestion: &str, ssthresh: u64) {
    let mut t = without_probes().set("tcp_frto", "0").set("tcp_congestion_control", congestion).server();
    let c = t.accepted();
    t.write(c, 16_000);
    assert_eq!(t.take_sent().len(), 10);
    t.expect_after(200..=300, "P?. 1:1461(1460) ack 1");
    let info = t.info(c);
    assert_eq!(info.cwnd, 1460);
    assert!((2 * 1460..=ssthresh).contains(&info.ssthresh), "ssthresh {}", info.ssthresh);
    t.expect_nothing();
    t.inject(". 1:1(0) ack 1461");
    assert_eq!(t.take_sent().len(), 2, "slow start from one: two now");
    assert!(t.stack.counters().retransmits(RetransmitReason::Timeout) >= 1);
}

/// RFC 5681 3.1: when the repetition is lost too, ssthresh stays, and the window is one segment again.
#[test]
fn the_second_time_out_keeps_ssthresh() {
    let mut t = Setup::new().set("tcp_congestion_control", "reno").server();
    let c = t.accepted();
    t.write(c, 14_600);
    assert_eq!(t.take_sent().len(), 10);
    let mut seen = Vec::new();
    for _ in 0..40 {
        t.pass_ms(100);
        let info = t.info(c);
        if info.backoff > 0 {
            assert_eq!(info.cwnd, 1460);
            seen.push((info.backoff, info.ssthresh));
        }
    }
    assert!(seen.last().is_some_and(|last| last.0 >= 3), "{seen:?}");
    assert!(seen.iter().all(|&(_, ssthresh)| ssthresh == 5 * 1460), "{seen:?}");
}

/// After a time-out what the peer had received after all is not sent once more: its cumulative ACK ends it.
#[test]
fn a_spurious_time_out() {
    let mut t = without_probes().server();
    let c = t.accepted();
    t.write(c, 14_600);
    assert_eq!(t.take_sent().len(), 10);
    t.expect_after(200..=300, "P?. 1:1461(1460) ack 1");
    t.inject(". 1:1(0) ack 14601");
    t.expect_nothing();
    assert_eq!(t.info(c).send_queue, 0);
    t.quiet_ms(10_000);
}

/// After idleness longer than the RTO the congestion window falls back to the initial one (RFC 5681 4.1).
#[test]
fn slow_start_after_idle() {
    let mut t = Setup::new().options(|o| o.send_buffer = Some(1_000_000)).server();
    let c = t.accepted();
    t.write(c, 100_000);
    crate::support::drain(&mut t, 1, 100_001);
    assert!(t.info(c).cwnd > 20 * 1460);
    t.quiet_ms(10_000);
    t.write(c, 100_000);
    assert_eq!(t.take_sent().len(), 10);
    t.abort(c);
    t.take_sent();
}

/// A retransmission carries the present ACK and window, not those of the first time.
#[test]
fn a_retransmission_is_up_to_date() {
    let mut t = Setup::new().options(|o| o.quickack = true).server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.inject("P. 1:51(50) ack 1");
    t.expect(". 101:101(0) ack 51");
    t.expect_after(150..=260, "P. 1:101(100) ack 51");
    t.read(c, 50);
    t.inject(". 51:51(0) ack 101");
}

/// Small segments that were sent apart may be sent again together, but the bytes stay in place.
#[test]
fn small_segments_are_repeated_in_place() {
    let mut t = without_probes().options(|o| o.nodelay = true).server();
    let c = t.accepted();
    for _ in 0..5 {
        t.write(c, 10);
    }
    assert_eq!(t.take_sent().len(), 5);
    let sent = t.pass_ms(290);
    assert_eq!(sent.len(), 1);
    let (seq, len) = place(&t, &sent[0]);
    assert!(seq == 1 && (len == 10 || len == 50), "{seq}+{len}");
    t.inject(". 1:1(0) ack 51");
    t.quiet_ms(10_000);
}

/// A handshake that was repeated gives no sample, and the RTO stays at 3 s at most (RFC 6298 5.7: if the SYN timed out, 3 s).
#[test]
fn the_rto_after_a_repeated_syn() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.expect_after(1000, "S 0:0(0)");
    t.quiet_ms(50);
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460>");
    t.expect(". 1:1(0) ack 1");
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.expect_after(900..=3100, "P. 1:101(100) ack 1");
    let sent = t.pass_ms(100);
    assert!(sent.iter().all(|s| segment(s).payload.len() == 100));
    t.abort(c);
    t.take_sent();
    expect_gone(&t);
}

/// What `tcp_info` counts as payload is payload: SYN and FIN are none, however often they are sent.
#[test]
fn syn_and_fin_are_no_payload() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.expect_after(1000, "S 0:0(0)");
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460>");
    t.expect(". 1:1(0) ack 1");
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.shutdown(c, finack_core::options::Shutdown::Write);
    t.expect("F. 101:101(0) ack 1");
    t.pass_ms(3100);
    let info = t.info(c);
    assert_eq!((info.bytes_sent, info.bytes_retrans), (200, 100));
    assert_eq!(info.send_queue, 100);
    t.inject(". 1:1(0) ack 102");
    assert_eq!(t.info(c).bytes_acked, 100);
}

/// TCP_USER_TIMEOUT 0 is none: connect goes on, and so does data.
#[test]
fn a_user_time_out_of_zero_is_none() {
    let mut t = Setup::new().options(|o| o.user_timeout = Some(Duration::ZERO)).client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.expect_after(1000, "S 0:0(0)");
    t.expect_after(1000, "S 0:0(0)");
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460>");
    t.expect(". 1:1(0) ack 1");
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.pass_ms(100_000);
    assert_eq!(t.state(c), State::Established);
    t.abort(c);
    t.take_sent();
}

/// RFC 5681 4.1: it is not sending *data* that makes a sender idle: ACKs of what the peer sends meanwhile do not keep its window.
#[test]
fn slow_start_after_receiving_for_long() {
    let mut t = Setup::new().options(|o| o.send_buffer = Some(1_000_000)).server();
    let c = t.accepted();
    t.write(c, 100_000);
    crate::support::drain(&mut t, 1, 100_001);
    assert!(t.info(c).cwnd > 20 * 1460);
    for i in 0..200_u32 {
        let seq = 1 + i * 100;
        t.inject(&format!("P. {seq}:{}(100) ack 100001", seq + 100));
        t.read(c, 100);
        t.pass_ms(100);
    }
    t.write(c, 100_000);
    assert_eq!(t.take_sent().len(), 10);
    t.abort(c);
    t.take_sent();
}

/// RFC 6298 5 (Karn): after a time-out the doubled RTO stays until something that was sent only once is acknowledged: else a path that
/// became slower than the RTO would see everything sent twice for ever.
#[test]
fn the_doubled_rto_stays_until_a_sample() {
    let mut t = without_probes().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.quiet_ms(100);
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect(". 1:1(0) ack 1");
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.expect_after(295..=310, "P. 1:101(100) ack 1");
    t.inject(". 1:1(0) ack 101");
    assert_eq!(t.info(c).rto.as_millis(), 600);
    t.write(c, 100);
    t.expect("P. 101:201(100) ack 1");
    t.quiet_ms(400);
    t.inject(". 1:1(0) ack 201");
    let rto = t.info(c).rto.as_millis();
    assert!(
        (500..=700).contains(&rto) && t.info(c).srtt.as_millis() > 100,
        "a sample of 400 ms: RTO {rto} ms"
    );
}

/// RFC 5681 3.1, RFC 6298 5.7: a SYN,ACK that was lost is a loss too: one segment at first, and 3 s of RTO.
#[test]
fn after_a_lost_syn_ack() {
    let mut t = Setup::new().rfc().server();
    t.inject("S 0:0(0) win 65535 <mss 1460>");
    t.expect("S. 0:0(0) ack 1");
    t.expect_after(1000, "S. 0:0(0) ack 1");
    t.quiet_ms(50);
    t.inject(". 1:1(0) ack 1 win 65535");
    let c = t.accept();
    assert_eq!(t.info(c).cwnd, 1460);
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.expect_after(2950..=3050, "P. 1:101(100) ack 1");
}

/// MUST-18, Karn: a SYN that came twice had two answers; which of them is acknowledged nobody knows.
#[test]
fn a_syn_ack_that_went_out_twice_gives_no_sample() {
    let mut t = Setup::new().server();
    t.inject("S 0:0(0) win 65535 <mss 1460>");
    t.expect("S. 0:0(0) ack 1");
    t.quiet_ms(800);
    t.inject("S 0:0(0) win 65535 <mss 1460>");
    t.expect("S. 0:0(0) ack 1");
    t.quiet_ms(5);
    t.inject(". 1:1(0) ack 1 win 65535");
    let c = t.accept();
    assert_eq!(t.info(c).srtt, Duration::ZERO);
    assert_eq!(t.info(c).cwnd, 14_600, "nothing was lost");
}

/// The first SYN,ACK of a simultaneous open repeats our SYN's number, but is no retransmission.
#[test]
fn a_crossed_syn_ack_is_no_retransmission() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject("S 0:0(0) win 65535 <mss 1460>");
    t.expect("S. 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1");
    assert_eq!((t.info(c).retrans_segs, t.info(c).cwnd), (0, 14_600));
    assert_eq!(t.stack.counters().tcp_retrans_segs, 0);
}

/// TCP_USER_TIMEOUT ends the connection when it is over, not when the next doubled RTO is; 0 stands for none.
#[test]
fn the_user_time_out_is_exact() {
    let mut t = without_probes().options(|o| o.user_timeout = Some(Duration::from_secs(10))).server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.pass_ms(9_900);
    assert_eq!(t.state(c), State::Established);
    t.pass_ms(200);
    assert_eq!(t.take_error(c), Some(Error::TimedOut));
    let mut t = Setup::new().options(|o| o.user_timeout = Some(Duration::ZERO)).client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.expect_after(1000, "S 0:0(0)");
    assert_eq!(t.state(c), State::SynSent);
}

/// tcp(7): the user time-out is also about data that a zero window holds back, although each probe is answered.
#[test]
fn the_user_time_out_and_a_zero_window() {
    let mut t = Setup::new().options(|o| o.user_timeout = Some(Duration::from_secs(5))).server();
    let c = t.accepted();
    t.inject(". 1:1(0) ack 1 win 0");
    t.write(c, 100);
    for _ in 0..20 {
        for _ in t.pass_ms(490) {
            t.inject(". 1:1(0) ack 1 win 0");
        }
    }
    assert_eq!(t.take_error(c), Some(Error::TimedOut));
    t.take_sent();
    assert_eq!(t.connections(), 0);
}
