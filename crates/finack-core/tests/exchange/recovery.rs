//! Fast retransmit and NewReno (RFC 5681, RFC 6582, RFC 3042) without SACK.

use finack_core::device::Packet;
use finack_core::settings::Congestion;
use finack_core::stack::ConnId;
use finack_core::trace::RetransmitReason;
use finack_sim::packet::build;
use finack_sim::{Script, Setup};

use crate::support::{drain, place};

/// A server whose peer does not do SACK, after `len` bytes were written and sent as far as the window lets them.
fn sending(len: usize) -> (Script, ConnId) {
    sending_with(Setup::new(), len)
}

fn sending_with(setup: Setup, len: usize) -> (Script, ConnId) {
    let mut t = setup.options(|o| o.send_buffer = Some(1_000_000)).server();
    t.inject("S 0:0(0) win 65535 <mss 1460,nop,wscale 7>");
    t.expect("S. 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    t.write(c, len);
    for i in 0..10 {
        t.expect(&format!("P?. {}:{}(1460) ack 1", 1 + i * 1460, 1461 + i * 1460));
    }
    (t, c)
}

/// RFC 5681 3.2: the third duplicate ACK repeats the first unacknowledged segment, before the RTO.
#[test]
fn fast_retransmit() {
    let (mut t, c) = sending(14_600);
    t.inject(". 1:1(0) ack 1");
    t.expect_nothing();
    t.inject(". 1:1(0) ack 1");
    t.expect_nothing();
    t.inject(". 1:1(0) ack 1");
    t.expect("P?. 1:1461(1460) ack 1");
    t.expect_nothing();
    assert_eq!(t.stack.counters().retransmits(RetransmitReason::FastRetransmit), 1);
    t.inject(". 1:1(0) ack 14601");
    t.expect_nothing();
    // RFC 9438 4.6: seven tenths of what was in flight.
    let info = t.info(c);
    assert_eq!((info.congestion, info.ssthresh), ("cubic", 7 * 1460));
    assert!(info.cwnd <= 8 * 1460, "cwnd {}", info.cwnd);
}

/// RFC 9293 MAY-18, RFC 5681 3.2 (6): with tcp_congestion_control=reno the window is half of what was in flight.
#[test]
fn fast_retransmit_with_reno() {
    let (mut t, c) = sending_with(Setup::new().set("tcp_congestion_control", "reno"), 14_600);
    for _ in 0..3 {
        t.inject(". 1:1(0) ack 1");
    }
    t.expect("P?. 1:1461(1460) ack 1");
    t.inject(". 1:1(0) ack 14601");
    let info = t.info(c);
    assert_eq!((info.congestion, info.ssthresh), ("reno", 5 * 1460));
    assert!(info.cwnd <= 6 * 1460, "cwnd {}", info.cwnd);
}

/// RFC 5681 3.1 (3): one segment for each window acknowledged, also where its ACKs arrive together.
#[test]
fn acks_of_one_batch_all_count() {
    let (mut t, c) = sending_with(Setup::new().set("tcp_congestion_control", "reno"), 14_600);
    for _ in 0..3 {
        t.inject(". 1:1(0) ack 1");
    }
    t.expect("P?. 1:1461(1460) ack 1");
    t.inject(". 1:1(0) ack 14601");
    t.write(c, 100_000);
    t.take_sent();
    let before = t.info(c).cwnd / 1460;
    let acks: Vec<Vec<u8>> =
        (1..=before).map(|i| build(&t.segment(&format!(". 1:1(0) ack {}", 14_601 + i * 1460)))).collect();
    let batch: Vec<Packet<'_>> = acks.iter().map(|b| Packet::borrowed(b)).collect();
    t.inject_batch(&batch);
    t.take_sent();
    assert_eq!(t.info(c).cwnd / 1460, before + 1);
}

/// TCP_CONGESTION on a connection: the other controller goes on with the window and the threshold that there are, as Linux
/// does, also in the middle of a recovery, which ends at that threshold.
#[test]
fn another_controller_takes_over() {
    let (mut t, c) = sending(14_600);
    t.inject(". 1:1(0) ack 14601");
    let before = t.info(c);
    t.set_options(c, |o| o.congestion = Some(Congestion::Reno));
    let after = t.info(c);
    assert_eq!((after.congestion, after.cwnd, after.ssthresh), ("reno", before.cwnd, before.ssthresh));

    t.write(c, 29_200);
    t.take_sent();
    for _ in 0..3 {
        t.inject(". 1:1(0) ack 14601");
    }
    t.expect("P?. 14601:16061(1460) ack 1");
    t.take_sent();
    let halved = t.info(c).ssthresh;
    // RFC 9331 4.2: Prague needs accurate feedback of marks, which this peer does not give; CUBIC serves for it.
    let kinds = [(Congestion::Dctcp, "dctcp"), (Congestion::Prague, "cubic"), (Congestion::Cubic, "cubic")];
    for (kind, name) in kinds {
        t.set_options(c, |o| o.congestion = Some(kind));
        assert_eq!((t.info(c).congestion, t.info(c).ssthresh), (name, halved));
    }
    t.inject(". 1:1(0) ack 43801");
    assert_eq!(t.info(c).cwnd, halved);
    // The stack's own again.
    t.set_options(c, |o| o.congestion = None);
    assert_eq!(t.info(c).congestion, "cubic");
}

/// RFC 3042: the first two duplicate ACKs let one new segment out each.
#[test]
fn limited_transmit() {
    let (mut t, _) = sending(20_000);
    t.inject(". 1:1(0) ack 1");
    t.expect("P?. 14601:16061(1460) ack 1");
    t.inject(". 1:1(0) ack 1");
    t.expect("P?. 16061:17521(1460) ack 1");
    t.inject(". 1:1(0) ack 1");
    t.expect("P?. 1:1461(1460) ack 1");
    drain(&mut t, 1, 20_001);
    t.pass_ms(500);
}

/// RFC 5681 3.2 (2): what limited transmit sent is no part of what ssthresh is taken of.
#[test]
fn limited_transmit_is_not_counted() {
    let (mut t, c) = sending_with(Setup::new().set("tcp_congestion_control", "reno"), 20_000);
    for _ in 0..3 {
        t.inject(". 1:1(0) ack 1");
        assert!(t.info(c).cwnd <= 14_600, "limited transmit is no growth");
        assert_eq!(t.take_sent().len(), 1, "a new segment, another, and the lost one");
    }
    assert_eq!(t.info(c).ssthresh, 5 * 1460, "half of ten, not of twelve");
}

/// RFC 6582 3.2 (3): a partial ACK in recovery repeats the next hole at once.
#[test]
fn a_partial_ack() {
    let (mut t, _) = sending(14_600);
    for _ in 0..3 {
        t.inject(". 1:1(0) ack 1");
    }
    t.expect("P?. 1:1461(1460) ack 1");
    t.inject(". 1:1(0) ack 4381");
    t.expect("P?. 4381:5841(1460) ack 1");
    t.expect_nothing();
    t.inject(". 1:1(0) ack 14601");
    t.expect_nothing();
}

/// RFC 5681 2: an ACK with data, another window or a SYN or FIN is no duplicate ACK.
#[test]
fn what_is_no_duplicate_ack() {
    let (mut t, c) = sending(14_600);
    for i in 0..5 {
        let seq = 1 + i * 10;
        t.inject(&format!("P. {seq}:{}(10) ack 1", seq + 10));
        for sent in t.take_sent() {
            assert_eq!(place(&t, &sent).1, 0, "ACKs only");
        }
    }
    for i in 0..5 {
        t.inject(&format!(". 51:51(0) ack 1 win {}", 1030 + i));
        t.expect_nothing();
    }
    t.read(c, 50);
    t.pass_ms(100);
    assert_eq!(t.stack.counters().retransmits(RetransmitReason::FastRetransmit), 0);
}

/// RFC 6582 4: after a time-out, duplicate ACKs for what was sent before it do not start another fast retransmit.
#[test]
fn no_fast_retransmit_after_a_time_out() {
    let (mut t, _) = sending(14_600);
    t.expect_after(200..=300, "P?. 1:1461(1460) ack 1");
    for _ in 0..5 {
        t.inject(". 1:1(0) ack 1");
        t.expect_nothing();
    }
    drain(&mut t, 1, 14_601);
    t.pass_ms(2000);
    assert_eq!(t.stack.counters().retransmits(RetransmitReason::FastRetransmit), 0);
}

/// Duplicate ACKs while nothing is in flight mean nothing.
#[test]
fn duplicate_acks_of_nothing() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    for _ in 0..10 {
        t.inject(". 1:1(0) ack 1");
        t.expect_nothing();
    }
    t.write(c, 10);
    t.expect("P. 1:11(10) ack 1");
    t.inject(". 1:1(0) ack 11");
    for _ in 0..10 {
        t.inject(". 1:1(0) ack 11");
        t.expect_nothing();
    }
}

/// RFC 9937 6.2: a peer without SACK that makes up duplicate ACKs gets no more for them than was out.
#[test]
fn duplicate_acks_beyond_the_flight() {
    let (mut t, _) = sending(40_000);
    let mut sent = 0;
    for _ in 0..100 {
        t.inject(". 1:1(0) ack 1");
        sent += t.take_sent().iter().map(|s| place(&t, s).1 as usize).sum::<usize>();
    }
    assert!(sent <= 10 * 1460, "{sent} bytes for nothing");
}

/// The retransmission itself is lost too: the RTO repeats it.
#[test]
fn a_lost_retransmission() {
    let (mut t, _) = sending(14_600);
    for _ in 0..3 {
        t.inject(". 1:1(0) ack 1");
    }
    t.expect("P?. 1:1461(1460) ack 1");
    t.expect_after(150..=450, "P?. 1:1461(1460) ack 1");
    t.inject(". 1:1(0) ack 14601");
}

/// Many segments of a window are lost: all of it arrives in the end, nothing is sent for ever.
#[test]
fn a_whole_window_is_lost() {
    let (mut t, c) = sending(40_000);
    t.expect_after(200..=300, "P?. 1:1461(1460) ack 1");
    drain(&mut t, 1, 40_001);
    t.pass_ms(2000);
    assert_eq!(t.info(c).send_queue, 0);
    t.quiet_ms(10_000);
}

/// ACK division gains nothing (RFC 5681 3.1, RFC 3465): many ACKs for one segment open the window by one segment at most.
#[test]
fn ack_division() {
    let (mut t, c) = sending(60_000);
    let before = t.info(c).cwnd;
    for i in 1..=10 {
        t.inject(&format!(". 1:1(0) ack {}", 1 + i * 146));
        t.take_sent();
    }
    let grown = t.info(c).cwnd - before;
    assert!(grown <= 1460, "one segment was acknowledged, the window grew by {grown}");
    t.abort(c);
    t.take_sent();
}
