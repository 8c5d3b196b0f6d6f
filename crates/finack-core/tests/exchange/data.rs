//! Data both ways: delivery in order, acknowledgements, segmentation.

use finack_core::device::{Capabilities, ChecksumState, Packet, PacketBytes, PacketMeta};
use finack_core::options::{RecvFlags, SendFlags, SocketOptions};
use finack_core::stack::Ready;
use finack_core::trace::DropReason;
use finack_core::{Error, Event};
use finack_sim::packet::{Body, Opt, build, flag};
use finack_sim::{Setup, on_both_paths};

use crate::support::{drain, place, segment};

/// RFC 9293 3.8.6.3: data in order is delivered, and acknowledged within 500 ms (MUST-40).
#[test]
fn in_order() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.read_blocks(c);
    t.inject("P. 1:101(100) ack 1");
    t.read(c, 100);
    t.read_blocks(c);
    t.expect_after(0..=499, ". 1:1(0) ack 101");
}

/// RFC 9293 SHLD-18: once the peer is known to send sparsely, the ACK of a single segment is delayed (40 ms at least on Linux), so that an
/// answer can carry it.
#[test]
fn a_delayed_ack() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    // A request and its answer make the connection interactive.
    t.inject("P. 1:101(100) ack 1");
    t.read(c, 100);
    t.write(c, 10);
    t.take_sent();
    t.inject(". 101:101(0) ack 11");
    t.quiet_ms(1000);
    t.inject("P. 101:201(100) ack 11");
    t.read(c, 100);
    t.expect_after(1..=499, ". 11:11(0) ack 201");
    assert!(t.stack.counters().tcp_delayed_acks >= 1);
}

/// RFC 9293 MUST-58: an answer that is written at once carries the ACK; no empty ACK precedes or follows it.
#[test]
fn an_answer_carries_the_ack() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    for i in 0..20_u32 {
        let (seq, ack) = (1 + i * 100, 1 + i * 10);
        t.inject(&format!("P. {seq}:{}(100) ack {ack}", seq + 100));
        t.read(c, 100);
        t.write(c, 10);
        if i < 17 {
            // The first segments of a connection may be acknowledged at once (Linux's quick ACKs).
            let last = t.take_sent().pop().expect("the answer");
            assert_eq!(place(&t, &last), (ack, 10));
        } else {
            t.expect(&format!("P. {ack}:{}(10) ack {}", ack + 10, seq + 100));
        }
        t.inject(&format!(". {}:{}(0) ack {}", seq + 100, seq + 100, ack + 10));
        t.quiet_ms(600);
    }
}

/// RFC 9293 SHLD-19: at least every second full-sized segment is acknowledged at once.
#[test]
fn every_second_full_segment_is_acknowledged() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let mut unacknowledged = 0;
    for i in 0..40_u32 {
        let seq = 1 + i * 1460;
        t.inject(&format!(". {seq}:{}(1460) ack 1", seq + 1460));
        t.read(c, 1460);
        unacknowledged += 1;
        for sent in t.take_sent() {
            assert_eq!(segment(&sent).ack.wrapping_sub(t.flow().peer_iss), seq + 1460);
            unacknowledged = 0;
        }
        assert!(unacknowledged < 2, "{unacknowledged} full segments wait for an ACK after segment {i}");
    }
    t.pass_ms(500);
}

/// RFC 9293 SHLD-19, RFC 5681 4.2: with `profile=rfc` also where nobody reads and the window only shrinks.
#[test]
fn every_second_full_segment_is_acknowledged_by_the_rfc() {
    let mut t = Setup::new().rfc().server();
    t.accepted();
    let mut unacknowledged = 0;
    for i in 0..20_u32 {
        let seq = 1 + i * 1460;
        t.inject(&format!(". {seq}:{}(1460) ack 1", seq + 1460));
        unacknowledged += 1;
        for sent in t.take_sent() {
            assert_eq!(segment(&sent).ack.wrapping_sub(t.flow().peer_iss), seq + 1460);
            unacknowledged = 0;
        }
        assert!(unacknowledged < 2, "{unacknowledged} full segments wait for an ACK after segment {i}");
    }
    t.pass_ms(500);
}

/// RFC 9293 SHLD-31, MAY-13, RFC 5681 4.2: a segment beyond a gap is kept and answered by a duplicate ACK at once; the one that fills the gap
/// is acknowledged at once with all that follows (MUST-59).
#[test]
fn out_of_order() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject(". 1461:2921(1460) ack 1");
    t.expect(". 1:1(0) ack 1 <sack 1461:2921>");
    t.inject(". 2921:4381(1460) ack 1");
    t.expect(". 1:1(0) ack 1 <sack 1461:4381>");
    t.read_blocks(c);
    t.inject(". 1:1461(1460) ack 1");
    t.expect(". 1:1(0) ack 4381 <>");
    t.read(c, 4380);
}

/// RFC 9293 3.10.7.4 (first): a segment that was received before is answered by an ACK, neither RST nor silence.
#[test]
fn a_duplicate_is_acknowledged() {
    let mut t = Setup::new().options(|o| o.quickack = true).server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    t.expect(". 1:1(0) ack 101");
    t.inject("P. 1:101(100) ack 1");
    t.expect(". 1:1(0) ack 101");
    t.read(c, 100);
    t.read_blocks(c);
}

/// RFC 9293 3.10.7.4: of a segment that overlaps what is there the new part is taken.
#[test]
fn overlap_to_the_left() {
    let mut t = Setup::new().options(|o| o.quickack = true).server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    t.expect(". 1:1(0) ack 101");
    t.inject("P. 51:201(150) ack 1");
    t.expect(". 1:1(0) ack 201");
    t.read(c, 200);
}

/// Out-of-order pieces that overlap, touch and repeat each other come out as one stream.
#[test]
fn overlaps_in_the_queue() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    for piece in
        ["300:400(100)", "100:200(100)", "150:350(200)", "100:400(300)", "390:500(110)", "200:201(1)"]
    {
        t.inject(&format!("P. {piece} ack 1"));
        t.expect(". 1:1(0) ack 1");
    }
    t.read_blocks(c);
    t.inject("P. 1:120(119) ack 1");
    // RFC 2883 4: what came twice is reported.
    t.expect(". 1:1(0) ack 500 <nop,nop,sack 100:120>");
    t.read(c, 499);
    t.read_blocks(c);
}

/// RFC 9293 3.10.7.4: data beyond the window is trimmed off, the segment's part inside is taken.
#[test]
fn data_beyond_the_window_is_trimmed() {
    let mut t = Setup::new()
        .set("profile", "rfc")
        .options(|o| (o.recv_buffer, o.quickack) = (Some(4096), true))
        .server();
    t.inject("S 0:0(0) win 65535 <mss 1460>");
    let window = u32::from(segment(&t.next_sent()).window);
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    assert!(window >= 1024, "a window of {window}");
    let mut seq = 1;
    while seq + 1000 <= window + 1 - 300 {
        t.inject(&format!(". {seq}:{}(1000) ack 1", seq + 1000));
        t.take_sent();
        seq += 1000;
    }
    t.inject(&format!(". {seq}:{}(1400) ack 1", seq + 1400));
    let sent = t.next_sent();
    let acked = segment(&sent).ack.wrapping_sub(t.flow().peer_iss);
    assert!(acked > seq, "the part inside the window is taken");
    assert!(acked <= window + 1, "and no byte beyond it");
    t.take_sent();
    t.read(c, acked as usize - 1);
    t.read_blocks(c);
    t.take_sent();
}

/// RFC 9293 3.10.7.4: a segment wholly beyond the window is answered by an ACK and its data is dropped.
#[test]
fn data_far_beyond_the_window() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("P. 80000001:80000101(100) ack 1");
    t.expect(". 1:1(0) ack 1 <>");
    t.read_blocks(c);
    assert!(t.stack.counters().dropped(DropReason::OutOfWindow) >= 1);
}

/// RFC 9293 SHLD-28, MUST-61, RFC 6928: a large write goes out in full segments, ten of them at first, the last of the buffer with PSH.
#[test]
fn a_large_write() {
    on_both_paths(|setup| {
        let mut t = setup.server();
        let c = t.accepted();
        t.write(c, 16_000);
        for i in 0..10_u32 {
            let seq = 1 + i * 1460;
            t.expect(&format!("P?. {seq}:{}(1460) ack 1", seq + 1460));
        }
        t.expect_nothing();
        t.inject(". 1:1(0) ack 14601");
        t.expect("P. 14601:16001(1400) ack 1");
    });
}

/// The same stream over single packets and over units; the whole arrives.
#[test]
fn a_long_write_over_both_paths() {
    on_both_paths(|setup| {
        let mut t = setup.options(|o| o.send_buffer = Some(400_000)).server();
        let c = t.accepted();
        t.write(c, 100_000);
        drain(&mut t, 1, 100_001);
        t.pass_ms(500);
        assert_eq!(t.info(c).send_queue, 0);
    });
}

/// RFC 5681 3.1: each ACK of new data lets the window grow, in slow start by what it acknowledges.
#[test]
fn slow_start() {
    let mut t = Setup::new().options(|o| o.send_buffer = Some(400_000)).server();
    let c = t.accepted();
    t.write(c, 100_000);
    assert_eq!(t.take_sent().len(), 10);
    t.inject(". 1:1(0) ack 2921");
    assert_eq!(t.take_sent().len(), 4, "two segments acknowledged: two more, and two of growth");
    t.inject(". 1:1(0) ack 5841");
    assert_eq!(t.take_sent().len(), 4);
    t.flow();
    let _ = c;
}

/// RFC 5681 3.1: with `profile=rfc` each ACK lets the window grow by a segment at most, however much it acknowledges.
#[test]
fn slow_start_by_the_rfc() {
    let mut t = Setup::new().rfc().options(|o| o.send_buffer = Some(400_000)).server();
    let c = t.accepted();
    t.write(c, 100_000);
    assert_eq!(t.take_sent().len(), 10);
    t.inject(". 1:1(0) ack 2921");
    assert_eq!(t.take_sent().len(), 3, "two segments acknowledged: two more, and one of growth");
    t.inject(". 1:1(0) ack 7301");
    assert_eq!(t.take_sent().len(), 4);
}

/// RFC 5681 3.1: the SYN,ACK and its ACK do not let the window grow, whoever opened: ten segments of RFC 6928 in either case.
#[test]
fn a_handshake_is_no_reason_to_grow() {
    let mut t = Setup::new().options(|o| o.send_buffer = Some(400_000)).client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    t.inject("S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect(". 1:1(0) ack 1");
    assert_eq!(t.info(c).cwnd, 14_600);
    t.write(c, 100_000);
    assert_eq!(t.take_sent().len(), 10);
    let mut t = Setup::new().server();
    let c = t.accepted();
    assert_eq!(t.info(c).cwnd, 14_600);
    assert_eq!(t.info(c).ssthresh, u64::MAX, "as high as can be, until something is lost");
}

/// tcp_initial_cwnd is the initial window (RFC 6928 by default).
#[test]
fn initial_window_can_be_set() {
    let mut t = Setup::new().set("tcp_initial_cwnd", 2).server();
    let c = t.accepted();
    t.write(c, 10_000);
    t.expect("P?. 1:1461(1460)");
    t.expect("P?. 1461:2921(1460)");
}

/// RFC 9293 3.10.7.4 (fifth): an ACK of what was never sent is answered by an ACK and changes nothing.
#[test]
fn an_ack_of_what_was_never_sent() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.inject(". 1:1(0) ack 102");
    t.expect(". 101:101(0) ack 1");
    assert_eq!(t.info(c).send_queue, 100);
    t.inject(". 1:1(0) ack 101");
    t.expect_nothing();
    assert_eq!(t.info(c).send_queue, 0);
}

/// RFC 9293 3.10.7.4 (fifth): an old ACK is ignored, but the data beside it is taken.
#[test]
fn an_old_ack() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.write(c, 100);
    t.expect("P. 1:101(100) ack 1");
    t.inject(". 1:1(0) ack 101");
    t.write(c, 100);
    t.expect("P. 101:201(100) ack 1");
    t.inject("P. 1:11(10) ack 1");
    t.read(c, 10);
    t.expect_after(0..=190, ". 201:201(0) ack 11");
    assert_eq!(t.info(c).send_queue, 100);
    t.inject(". 11:11(0) ack 201");
}

/// RFC 9293 MAY-12, RFC 5961 5.2: an ACK older than the largest window ever seen is answered by an ACK, its data is dropped.
#[test]
fn a_far_too_old_ack() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.flow().check_payload = false;
    let mut packet = t.segment("P. 1:11(10) ack 1");
    if let Body::Tcp(tcp) = &mut packet.body {
        tcp.ack = tcp.ack.wrapping_sub(1 << 28);
    }
    t.inject_packet(&packet);
    t.expect(". 1:1(0) ack 1");
    t.read_blocks(c);
    assert!(t.stack.counters().dropped(DropReason::AckTooOld) >= 1);
}

/// RFC 9293 3.10.7.4 (fifth): a segment without ACK is dropped.
#[test]
fn no_ack_no_data() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("P 1:101(100)");
    t.expect_nothing();
    t.read_blocks(c);
    assert_eq!(t.stack.counters().dropped(DropReason::NoAck), 1);
}

/// RFC 9293 MUST-3: a wrong checksum is dropped in silence and counted; MUST-2 is checked on every packet sent.
#[test]
fn a_bad_checksum() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let mut bytes = build(&t.segment("P. 1:101(100) ack 1"));
    bytes[60] ^= 1;
    t.inject_bytes(&bytes);
    t.expect_nothing();
    t.read_blocks(c);
    assert_eq!(t.stack.counters().dropped(DropReason::TcpChecksum), 1);
}

/// A device that vouches for the checksum is believed (a partial checksum was never on a wire).
#[test]
fn a_vouched_for_checksum() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let mut bytes = build(&t.segment("P. 1:101(100) ack 1"));
    bytes[36] ^= 0x55;
    let meta = PacketMeta { checksum: ChecksumState::Valid, ..PacketMeta::default() };
    t.inject_batch(&[Packet { bytes: PacketBytes::Borrowed(&bytes), meta }]);
    t.read(c, 100);
    t.pass_ms(500);
}

/// A packet joined of several (GRO) counts as so many segments: its ACK is not delayed (SHLD-19), and all its data is delivered.
#[test]
fn a_joined_packet() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let bytes = build(&t.segment("P. 1:8761(8760) ack 1"));
    let meta = PacketMeta {
        checksum: ChecksumState::Valid,
        segments: 6,
        segment_size: 1460,
        ..PacketMeta::default()
    };
    let before = t.stack.counters().tcp_in_segs;
    t.inject_batch(&[Packet { bytes: PacketBytes::Borrowed(&bytes), meta }]);
    t.expect(". 1:1(0) ack 8761");
    t.read(c, 8760);
    assert_eq!(t.stack.counters().tcp_in_segs - before, 6);
}

/// Packets given away instead of lent: the bytes are the same.
#[test]
fn shared_packets() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let first = build(&t.segment("P. 1:1461(1460) ack 1"));
    let second = build(&t.segment("P. 1461:1471(10) ack 1"));
    t.inject_batch(&[Packet::shared(second.into()), Packet::shared(first.into())]);
    t.read(c, 1470);
    t.pass_ms(500);
}

/// RFC 9293 3.9.1: SEND takes what fits into the buffer; then it would block until an ACK makes room, which an event tells.
#[test]
fn the_send_buffer_is_bounded() {
    let mut t = Setup::new().options(|o| o.send_buffer = Some(20_000)).server();
    let c = t.accepted();
    let mut total = 0;
    while let Ok(n) = t.try_write(c, 10_000, SendFlags::default()) {
        total += n;
        assert!(total <= 80_000, "no bound: {total}");
    }
    assert!(total >= 20_000, "{total} taken");
    assert_eq!(t.try_write(c, 1, SendFlags::default()), Err(Error::WouldBlock));
    assert!(!t.stack.tcp_ready(c).unwrap().contains(Ready::WRITABLE));
    t.events.clear();
    drain(&mut t, 1, 1 + total as u32);
    let writable = |e: &Event| matches!(e, Event::Tcp { ready, .. } if ready.contains(Ready::WRITABLE));
    assert!(t.events.iter().any(writable), "{:?} {:?} {total}", t.events, t.info(c));
    assert!(t.stack.tcp_ready(c).unwrap().contains(Ready::WRITABLE));
    t.take_sent();
}

/// MSG_PEEK leaves the data where it is.
#[test]
fn peek() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    let mut buf = [0; 40];
    let flags = RecvFlags { peek: true, oob: false };
    assert_eq!(t.stack.tcp_recv(t.now(), c, &mut buf, flags), Ok(40));
    assert_eq!(t.info(c).recv_queue, 100);
    t.read(c, 100);
    t.pass_ms(500);
}

/// SO_RCVLOWAT: readable only from so many bytes on, or at EOF.
#[test]
fn recv_lowat() {
    let mut t = Setup::new().options(|o| o.recv_lowat = 200).server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    assert!(!t.stack.tcp_ready(c).unwrap().contains(Ready::READABLE));
    t.take_sent();
    t.inject("P. 101:201(100) ack 1");
    assert!(t.stack.tcp_ready(c).unwrap().contains(Ready::READABLE));
    t.pass_ms(500);
}

/// RFC 9293 MUST-48, MUST-49, SHLD-21: the application sets the hop limit and the TOS, also while the connection stands.
#[test]
fn hop_limit_and_tos() {
    let mut t = Setup::new().options(|o| (o.hop_limit, o.tos) = (Some(9), 0x20)).server();
    let c = t.accepted();
    t.write(c, 1);
    let sent = t.next_sent();
    assert_eq!((sent.packet.ip.ttl, sent.packet.ip.tos), (9, 0x20));
    t.set_options(c, |o: &mut SocketOptions| o.hop_limit = Some(33));
    t.write(c, 1);
    t.inject(". 1:1(0) ack 2");
    t.expect("P. 2:3(1) ttl 33");
}

/// RFC 9293 3.4.1, appendix A.1: TOS and precedence of what arrives are of no concern.
#[test]
fn precedence_is_ignored() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let mut packet = t.segment("P. 1:101(100) ack 1");
    packet.ip.tos = 0xe0;
    t.inject_packet(&packet);
    t.read(c, 100);
    t.pass_ms(500);
}

/// RFC 9293 MUST-50: IP options that TCP does not understand are ignored.
#[test]
fn ip_options_are_ignored() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let plain = build(&t.segment("P. 1:101(100) ack 1"));
    let mut bytes = plain[..20].to_vec();
    bytes.extend_from_slice(&[1, 1, 0x44, 4, 5, 0, 0, 0]);
    bytes.extend_from_slice(&plain[20..]);
    bytes[0] = 0x47;
    let total = bytes.len() as u16;
    bytes[2..4].copy_from_slice(&total.to_be_bytes());
    bytes[10..12].copy_from_slice(&[0, 0]);
    let sum: u32 = bytes[..28].chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(p[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    t.inject_bytes(&bytes);
    t.read(c, 100);
    t.pass_ms(500);
}

/// Two connections of one listener do not mix their bytes.
#[test]
fn two_connections() {
    let mut t = Setup::new().server();
    let first = t.accepted();
    t.peer(40_001).peer_iss = 77;
    let second = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    t.pass_ms(500);
    t.read_blocks(first);
    t.read(second, 100);
    t.write(second, 7);
    t.expect("P. 1:8(7) ack 101");
    t.peer(40_000);
    t.write(first, 9);
    t.expect("P. 1:10(9) ack 1");
}

/// RFC 9293 3.1: the reserved bits of what arrives are ignored.
#[test]
fn reserved_bits_are_ignored() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let mut bytes = build(&t.segment("P. 1:101(100) ack 1"));
    bytes[32] |= 0x0e;
    let sum = u16::from_be_bytes([bytes[36], bytes[37]]);
    let fixed = !(!u32::from(sum) & 0xffff).wrapping_add(0x0e00);
    let folded = (!fixed & 0xffff) + (!fixed >> 16);
    bytes[36..38].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    t.inject_bytes(&bytes);
    t.read(c, 100);
    t.pass_ms(500);
}

/// RFC 9293 MUST-5, MUST-6, MUST-7: any option in any segment; unknown ones and MP_CAPABLE are skipped, illegal lengths do no harm.
#[test]
fn options_in_any_segment() {
    let mut t = Setup::new().options(|o| o.quickack = true).server();
    let c = t.accepted();
    let mut seq = 1;
    for raw in ["1e0c01818000112233445566", "fd04abcd", "0501", "0200", "08ff", "fe", "030300", "0101010103"]
    {
        let end = seq + 10;
        t.inject(&format!("P. {seq}:{end}(10) ack 1 <raw {raw}>"));
        seq = end;
        t.take_sent();
    }
    // A segment with malformed options may be dropped (RFC 9293 MUST-7: not crash); then it comes again.
    t.inject(&format!("P. 1:{seq}({}) ack 1", seq - 1));
    t.take_sent();
    t.read(c, seq as usize - 1);
    let plain = |o: &Opt| matches!(o, Opt::Nop | Opt::Eol);
    t.write(c, 1);
    let last = t.next_sent();
    assert!(segment(&last).options.iter().all(plain));
    assert_eq!(segment(&last).flags, flag::PSH | flag::ACK);
}

/// SO_RCVLOWAT above the buffer is no deadlock: once the window is used up the socket is readable all the same.
#[test]
fn a_recv_lowat_that_cannot_be_reached() {
    let mut t = Setup::new().options(|o| (o.recv_lowat, o.recv_buffer) = (1 << 20, Some(8192))).server();
    let c = t.accepted();
    let mut seq = 1;
    for _ in 0..50 {
        t.inject(&format!("P. {seq}:{}(500) ack 1", seq + 500));
        t.pass_ms(500);
        seq = 1 + t.info(c).recv_queue as u32;
        if t.info(c).rcv_wnd == 0 {
            break;
        }
    }
    assert!(t.stack.tcp_ready(c).unwrap().contains(Ready::READABLE), "{:?}", t.info(c));
    let readable = |e: &Event| matches!(e, Event::Tcp { ready, .. } if ready.contains(Ready::READABLE));
    assert!(t.events.iter().any(readable));
}

/// MTUs at the edges of what is possible: nothing that is sent exceeds them (checked on each packet), and the bytes arrive.
#[test]
fn extreme_mtus() {
    for mtu in [68, 88, 100, 576, 65_535] {
        let mut t = Setup::new().device(Capabilities::plain(mtu)).server();
        let c = t.accepted();
        t.write(c, 10_000);
        drain(&mut t, 1, 10_001);
        t.pass_ms(500);
        assert_eq!(t.info(c).send_queue, 0, "MTU {mtu}");
    }
}

/// TCP_NOTSENT_LOWAT: writable only while little is unsent, however large the buffer.
#[test]
fn notsent_lowat() {
    let mut t =
        Setup::new().options(|o| (o.notsent_lowat, o.send_buffer) = (Some(5000), Some(200_000))).server();
    let c = t.accepted();
    t.write(c, 14_600);
    assert!(t.stack.tcp_ready(c).unwrap().contains(Ready::WRITABLE), "all of it was sent");
    t.take_sent();
    t.write(c, 10_000);
    assert!(!t.stack.tcp_ready(c).unwrap().contains(Ready::WRITABLE), "10,000 bytes are unsent");
    t.stack.tcp_await_room(c).unwrap();
    t.events.clear();
    t.inject(". 1:1(0) ack 14601");
    t.take_sent();
    assert!(t.stack.tcp_ready(c).unwrap().contains(Ready::WRITABLE));
    let writable = |e: &Event| matches!(e, Event::Tcp { ready, .. } if ready.contains(Ready::WRITABLE));
    assert!(t.events.iter().any(writable));
}
