//! Timestamps and PAWS (RFC 7323).

use finack_core::Error;
use finack_core::tcp::State;
use finack_core::trace::DropReason;
use finack_sim::Setup;
use finack_sim::packet::{Body, Opt};

use crate::support::segment;

/// RFC 7323 5.3 R1: a segment with an older timestamp is dropped and answered by an ACK.
#[test]
fn an_old_timestamp() {
    let mut t = Setup::new().timestamps().server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1 <nop,nop,TS val +1000 ecr *>");
    t.read(c, 100);
    t.take_sent();
    t.inject("P. 101:201(100) ack 1 <nop,nop,TS val +999 ecr *>");
    t.expect(". 1:1(0) ack 101 <TS val * ecr +1000>");
    t.read_blocks(c);
    assert_eq!(t.stack.counters().dropped(DropReason::Paws), 1);
    t.inject("P. 101:201(100) ack 1 <nop,nop,TS val +1000 ecr *>");
    t.read(c, 100);
    t.pass_ms(500);
}

/// RFC 7323 5.2: PAWS never applies to a RST.
#[test]
fn a_reset_with_an_old_timestamp() {
    let mut t = Setup::new().timestamps().server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1 <nop,nop,TS val +1000 ecr *>");
    t.read(c, 100);
    t.take_sent();
    t.inject("R 101:101(0) <nop,nop,TS val +5 ecr 0>");
    assert_eq!(t.take_error(c), Some(Error::ConnectionReset));
}

/// A RST needs no timestamp.
#[test]
fn a_reset_without_a_timestamp() {
    let mut t = Setup::new().timestamps().server();
    let c = t.accepted();
    t.inject("R 1:1(0) <>");
    assert_eq!(t.take_error(c), Some(Error::ConnectionReset));
}

/// RFC 7323 5.5: after 24 days of idleness TS.Recent is no longer believed.
#[test]
fn an_outdated_ts_recent() {
    let mut t = Setup::new().timestamps().server();
    let c = t.accepted();
    t.quiet_ms(25 * 24 * 3_600_000);
    // The peer's clock seems to have gone back (it has wrapped its sign bit or the host was rebooted).
    t.inject("P. 1:101(100) ack 1 <nop,nop,TS val 5 ecr *>");
    t.read(c, 100);
    t.expect_after(0..=499, ". 1:1(0) ack 101 <TS val * ecr 5>");
}

/// The timestamp clock wraps: newer is newer modulo 2^32.
#[test]
fn the_timestamp_wraps() {
    let mut t = Setup::new().timestamps().server();
    t.flow().peer_ts = u32::MAX - 10;
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1 <nop,nop,TS val 4294967290 ecr *>");
    t.read(c, 100);
    t.take_sent();
    t.inject("P. 101:201(100) ack 1 <nop,nop,TS val 3 ecr *>");
    t.read(c, 100);
    t.pass_ms(500);
    t.inject("P. 201:301(100) ack 1 <nop,nop,TS val 4294967290 ecr *>");
    t.expect(". 1:1(0) ack 201 <TS val * ecr 3>");
    t.read_blocks(c);
}

/// RFC 7323 4.3 (2): TS.Recent is taken only from a segment that begins at or before the last ACK sent: a later one beyond a gap
/// is not echoed.
#[test]
fn ts_recent_is_not_taken_beyond_a_gap() {
    let mut t = Setup::new().timestamps().server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1 <nop,nop,TS val +100 ecr *>");
    t.pass_ms(500);
    t.inject("P. 201:301(100) ack 1 <nop,nop,TS val +900 ecr *>");
    t.expect(". 1:1(0) ack 101 <TS val * ecr +100,sack 201:301>");
    t.inject("P. 101:201(100) ack 1 <nop,nop,TS val +950 ecr *>");
    t.expect_after(0..=300, ". 1:1(0) ack 301 <TS val * ecr +950>");
    t.read(c, 300);
}

/// RFC 7323 4.3: of two segments that one delayed ACK acknowledges the first's timestamp is echoed.
#[test]
fn a_delayed_ack_echoes_the_first() {
    let mut t = Setup::new().timestamps().server();
    let c = t.accepted();
    let mut seq = 1;
    // Past the quick ACKs of the beginning.
    for _ in 0..40 {
        t.inject(&format!("P. {seq}:{}(1448) ack 1", seq + 1448));
        seq += 1448;
        t.read(c, 1448);
        t.pass_ms(300);
    }
    t.inject(&format!(". {seq}:{}(1448) ack 1 <nop,nop,TS val +20001 ecr *>", seq + 1448));
    if t.take_sent().is_empty() {
        seq += 1448;
        t.inject(&format!(". {seq}:{}(1448) ack 1 <nop,nop,TS val +20002 ecr *>", seq + 1448));
        t.expect(&format!(". 1:1(0) ack {} <TS val * ecr +20001>", seq + 1448));
    }
    t.pass_ms(500);
}

/// RFC 7323 3.2: every segment carries a timestamp once negotiated (checked on each); TSecr is the peer's last one, TSval runs in
/// milliseconds.
#[test]
fn tsval_is_a_clock() {
    let mut t = Setup::new().timestamps().server();
    let c = t.accepted();
    let first = t.flow().last_ts;
    t.quiet_ms(1000);
    t.write(c, 10);
    t.expect("P. 1:11(10) ack 1");
    let ticks = t.flow().last_ts.wrapping_sub(first);
    assert!((990..=1010).contains(&ticks), "{ticks} ticks in a second");
}

/// RFC 7323 4: with timestamps a retransmitted segment gives a sample all the same: the echo says which one arrived.
#[test]
fn samples_from_retransmissions() {
    let mut t = Setup::new().timestamps().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.quiet_ms(100);
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,TS val * ecr *,nop,wscale 7>");
    t.expect(". 1:1(0) ack 1");
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.expect_after(290..=310, "P. 1:101(100) ack 1");
    t.quiet_ms(60);
    t.inject(". 1:1(0) ack 101");
    let srtt = t.info(c).srtt.as_millis();
    assert!((94..=96).contains(&srtt), "7/8 * 100 + 1/8 * 60 = 95, not {srtt}");
}

/// An echo of what we never sent gives no sample: no absurd RTO.
#[test]
fn a_false_echo() {
    let mut t = Setup::new().timestamps().server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.inject(". 1:1(0) ack 101 <nop,nop,TS val * ecr 12345>");
    assert!(t.info(c).rto.as_secs() < 5, "RTO {:?}", t.info(c).rto);
    t.write(c, 100);
    t.expect("P. 101:201(100) ack 1");
    t.inject(". 1:1(0) ack 201 <nop,nop,TS val * ecr 0>");
    assert!(t.info(c).rto.as_secs() < 5, "RTO {:?}", t.info(c).rto);
}

fn tsval(seed: u8, port: u16) -> u32 {
    let mut t = Setup::new().seed(seed).timestamps().server();
    t.peer(port);
    t.handshake();
    t.flow().last_ts
}

/// The timestamp's offset is a keyed hash of the four-tuple: the same for the next connection of the tuple, unrelated for others.
#[test]
fn the_offset_belongs_to_the_four_tuple() {
    assert_eq!(tsval(1, 40_000), tsval(1, 40_000));
    assert_ne!(tsval(1, 40_000), tsval(1, 40_001));
    assert_ne!(tsval(1, 40_000), tsval(2, 40_000));
    let mut t = Setup::new().timestamps().server();
    let c = t.accepted();
    let first = t.flow().last_ts;
    t.abort(c);
    t.take_sent();
    t.quiet_ms(5000);
    t.flow().forget();
    t.flow().peer_iss += 100_000;
    t.handshake();
    let grown = t.flow().last_ts.wrapping_sub(first);
    assert!((4990..=5010).contains(&grown), "the clock went on by {grown}");
}

/// RFC 7323 3.2: a segment that lacks its timestamp is dropped or taken, but the connection lives and no byte is lost.
#[test]
fn a_segment_without_its_timestamp() {
    let mut t = Setup::new().timestamps().server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1 <>");
    t.pass_ms(500);
    t.inject("P. 1:101(100) ack 1");
    t.pass_ms(500);
    t.read(c, 100);
    t.read_blocks(c);
    assert_eq!(t.state(c), State::Established);
}

/// PAWS comes before everything else: an old duplicate inside the window, with SYN or FIN, changes nothing.
#[test]
fn paws_comes_first() {
    let mut t = Setup::new().timestamps().server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1 <nop,nop,TS val +1000 ecr *>");
    t.read(c, 100);
    t.take_sent();
    t.inject("F. 101:101(0) ack 1 <nop,nop,TS val +1 ecr *>");
    t.take_sent();
    t.read_blocks(c);
    assert_eq!(t.state(c), State::Established);
    t.quiet_ms(1000);
    let mut packet = t.segment("S 101:101(0) win 100 <>");
    if let Body::Tcp(tcp) = &mut packet.body {
        tcp.options = vec![Opt::Ts { val: 1, ecr: 0 }];
    }
    let bytes = finack_sim::packet::build(&packet);
    t.inject_bytes(&bytes);
    for sent in t.take_sent() {
        assert_eq!(segment(&sent).flags, finack_sim::packet::flag::ACK);
    }
    assert_eq!(t.state(c), State::Established);
}

/// RFC 5961 5.2, RFC 7323 4.3: a segment whose ACK proves nothing does not move TS.Recent: else one guessed sequence number would lock
/// the true peer out.
#[test]
fn a_bad_ack_does_not_move_ts_recent() {
    let mut t = Setup::new().timestamps().server();
    let c = t.accepted();
    t.inject(". 1:1(0) ack 5000 <nop,nop,TS val +1000000 ecr +0>");
    t.take_sent();
    t.inject("P 1:11(10) <nop,nop,TS val +1000000 ecr +0>");
    t.take_sent();
    t.inject("P. 1:11(10) ack 1");
    t.read(c, 10);
    t.take_sent();
}
