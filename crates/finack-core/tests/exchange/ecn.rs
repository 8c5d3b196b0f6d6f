//! Explicit congestion notification (RFC 3168, RFC 9768): what packet scripts cannot show.

use core::time::Duration;

use finack_core::device::{Capabilities, ChecksumState, Packet, PacketBytes, PacketMeta};
use finack_core::stack::ConnId;
use finack_core::tcp::EcnMode;
use finack_sim::Setup;
use finack_sim::packet::{Body, build, flag};
use finack_sim::script::{Script, Sent};

use crate::support::segment;

/// An accepted connection with accurate ECN, and the option on both sides.
fn accurate(setup: Setup) -> (Script, ConnId) {
    let mut t = setup.set("tcp_ecn", 3).server();
    t.inject("SEWA 0:0(0) win 65535 <mss 1460,sackOK>");
    t.expect("SW. 0:0(0) ack 1");
    t.inject("W. 1:1(0) ack 1 win 65535 <opt 174 000001000000000001>");
    let c = t.accept();
    (t, c)
}

/// An accepted connection with classic ECN.
fn classic(setup: Setup) -> (Script, ConnId) {
    let mut t = setup.server();
    t.inject("SEW 0:0(0) win 65535 <mss 1460,sackOK>");
    t.expect("SE. 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1 win 65535");
    let c = t.accept();
    (t, c)
}

fn joined(t: &mut Script, text: &str, segments: u16, ce_marks: u16) {
    let bytes = build(&t.segment(text));
    let checksum = ChecksumState::Valid;
    let meta = PacketMeta { checksum, segments, segment_size: 1448, ce_marks, ..PacketMeta::default() };
    t.inject_batch(&[Packet { bytes: PacketBytes::Borrowed(&bytes), meta }]);
}

/// RFC 9768 3.2, 3.3.4: of a packet that a device joined each segment's mark counts, whether the device says how many they
/// were or only the header does.
#[test]
fn joined_packets_keep_their_marks() {
    let (mut t, c) = accurate(Setup::new());
    joined(&mut t, ".A 1:5793(5792) ack 1 ecn ce", 4, 4);
    // r.cep = 5 + 4: 0b001.
    t.expect("E. 1:1(0) ack 5793 ecn ect0");
    joined(&mut t, ".A 5793:8689(2896) ack 1 ecn ce", 2, 0);
    t.expect("EW. 1:1(0) ack 8689");
    let info = t.info(c).ecn;
    assert_eq!((info.mode, info.received_ce, info.received.ce), (EcnMode::Accurate, 6, 8688));
    assert_eq!(t.stack.counters().ip_in_ce_packets, 6);
}

/// RFC 9768 3.3.4: a device clears CWR, which is a bit of the ACE field, in all but the first segment of a unit. While the
/// bit is set segments go out one by one.
#[test]
fn units_are_cut_while_the_field_has_the_bit_that_devices_clear() {
    let device = Capabilities { max_unit: 65_535, checksum_tx: true, ..Capabilities::plain(1500) };
    let (mut t, c) = accurate(Setup::new().device(device));
    t.write(c, 5792);
    t.take_sent();
    t.inject("EA. 1:1(0) ack 5793 win 65535");
    // One mark: 6 is 0b110, with CWR.
    t.inject("EA. 1:101(100) ack 5793 win 65535 ecn ce");
    t.expect("WA. 5793:5793(0) ack 101");
    t.write(c, 2896);
    t.expect("P?WA. 5793:7241(1448) ack 101 ecn ect0");
    t.expect("P?WA. 7241:8689(1448) ack 101 ecn ect0");
}

/// RFC 3168 6.1.2: CWR is on the first segment of the first new data and on no other, unit or not.
#[test]
fn only_the_first_segment_after_a_reduction_has_cwr() {
    let (mut t, c) = classic(Setup::new());
    t.write(c, 1460);
    t.expect("P. 1:1461(1460) ack 1 ecn ect0");
    t.inject("E. 1:1(0) ack 1461 win 65535");
    t.write(c, 4380);
    t.expect("P?W. 1461:2921(1460) ack 1 ecn ect0");
    t.expect("P?. 2921:4381(1460) ack 1 ecn ect0");
    t.expect("P?. 4381:5841(1460) ack 1 ecn ect0");
}

/// RFC 3168 5.3: a TCP segment of which one fragment is CE is CE.
#[test]
fn a_marked_fragment_marks_the_segment() {
    let (mut t, c) = classic(Setup::new());
    let mut whole = t.segment("P. 1:1001(1000) ack 1 ecn ect0");
    whole.ip.tos = 2;
    let bytes = build(&whole);
    let (header, payload) = bytes.split_at(20);
    let cut = 512;
    for (start, end, tos, more) in [(0, cut, 2, true), (cut, payload.len(), 3, false)] {
        let mut fragment = header.to_vec();
        fragment.extend_from_slice(&payload[start..end]);
        fragment[1] = tos;
        let total = fragment.len() as u16;
        fragment[2..4].copy_from_slice(&total.to_be_bytes());
        let offset = (start / 8) as u16 | if more { 0x2000 } else { 0 };
        fragment[6..8].copy_from_slice(&offset.to_be_bytes());
        fragment[10..12].fill(0);
        let sum = !finack_sum::sum(&fragment[..20]);
        fragment[10..12].copy_from_slice(&sum.to_be_bytes());
        t.inject_bytes(&fragment);
    }
    t.expect("E. 1:1(0) ack 1001");
    assert_eq!(t.info(c).ecn.received_ce, 1);
}

/// RFC 3168 6.1.2 end, RFC 9438 4.6: a mark at a window of one segment makes the next segment wait for the retransmission
/// timer.
#[test]
fn at_one_segment_marks_leave_the_pace_to_the_timer() {
    let mut setup = Setup::new().set("tcp_initial_cwnd", 1);
    setup = setup.set("tcp_congestion_control", "reno");
    let (mut t, c) = classic(setup);
    t.write(c, 14_600);
    t.expect("P?. 1:1461(1460) ack 1");
    t.pass_ms(20);
    t.inject("E. 1:1(0) ack 1461 win 65535");
    assert_eq!(t.info(c).cwnd, 1460);
    t.quiet_ms(150);
    t.await_packet(0..=300, "P?W. 1461:2921(1460) ack 1 ecn ect0");
    t.pass_ms(20);
    // Without a mark it goes on at once.
    t.inject(". 1:1(0) ack 2921 win 65535");
    t.expect("P?. 2921:4381(1460) ack 1");
    t.expect("P?. 4381:5841(1460) ack 1");
}

/// The same where the peer closes its window meanwhile and opens it again: the update neither ends the wait nor makes it last for
/// ever.
#[test]
fn a_window_update_does_not_stop_the_timer_that_marks_wait_for() {
    let setup = Setup::new().set("tcp_initial_cwnd", 1).set("tcp_congestion_control", "reno");
    let (mut t, c) = classic(setup);
    t.write(c, 14_600);
    t.expect("P?. 1:1461(1460) ack 1");
    t.pass_ms(20);
    t.inject("E. 1:1(0) ack 1461 win 0");
    t.inject("E. 1:1(0) ack 1461 win 65535");
    t.quiet_ms(150);
    t.await_packet(0..=300, "P?W. 1461:2921(1460) ack 1 ecn ect0");
    t.take_sent();
}

/// RFC 8257 3.2: with DCTCP the receiver's ECE follows each mark, and what came before a change has an ACK of its own.
#[test]
fn with_dctcp_the_echo_follows_each_mark() {
    let setup = Setup::new().set("tcp_congestion_control", "dctcp").options(|o| o.quickack = false);
    let (mut t, c) = classic(setup);
    let edge = |p: &Sent| segment(p).ack.wrapping_add(segment(p).window.into());
    let (mut at, mut offered) = (1, 0);
    // Past the ACKs that are not delayed.
    for _ in 0..40 {
        t.inject(&format!(". {at}:{}(1460) ack 1 ecn ect0", at + 1460));
        offered = t.take_sent().last().map_or(offered, edge);
        at += 1460;
    }
    t.pass_ms(100);
    t.read(c, 58_400);
    t.pass_ms(100);
    t.take_sent();
    t.inject(&format!(". {at}:{}(1460) ack 1 ecn ect0", at + 1460));
    t.expect_nothing();
    t.inject(&format!(". {}:{}(1460) ack 1 ecn ce", at + 1460, at + 2920));
    let (prior, latest) = (t.next_sent(), t.next_sent());
    assert_eq!(segment(&latest).ack, segment(&prior).ack + 1460);
    assert_eq!([&prior, &latest].map(|p| segment(p).flags & flag::ECE != 0), [false, true]);
    // RFC 9293 SHLD-14: it offers no less than was offered.
    assert!(edge(&prior) >= offered, "{} {offered}", edge(&prior));
}

/// RFC 9768 3.1.2: both ends open at once, and both know accurate ECN.
#[test]
fn a_simultaneous_open_agrees_on_accurate_ecn() {
    let mut t = Setup::new().set("tcp_ecn", 3).client();
    let c = t.connect();
    t.expect("SEWA 0:0(0)");
    t.inject("SEWA 0:0(0) win 65535 <mss 1460,sackOK>");
    t.expect("SW. 0:0(0) ack 1");
    t.inject("SW. 0:0(0) ack 1 win 65535 <mss 1460,sackOK>");
    t.take_sent();
    t.write(c, 100);
    t.expect("PEA. 1:101(100) ack 1 ecn ect0");
    assert_eq!(t.info(c).ecn.mode, EcnMode::Accurate);
}

/// Both open, and one asks for classic feedback only: the other can't know that it would take the accurate one too.
#[test]
fn a_simultaneous_open_agrees_on_what_both_asked_for() {
    let mut t = Setup::new().set("tcp_ecn", 4).client();
    let c = t.connect();
    t.expect("SEW 0:0(0)");
    t.inject("SEWA 0:0(0) win 65535 <mss 1460,sackOK>");
    t.expect("SE. 0:0(0) ack 1");
    t.inject("SE. 0:0(0) ack 1 win 65535 <mss 1460,sackOK>");
    t.take_sent();
    assert_eq!(t.info(c).ecn.mode, EcnMode::Classic);
}

/// RFC 3168 6.1.4, 5.1: RSTs and ACKs of TIME-WAIT are Not-ECT.
#[test]
fn what_belongs_to_no_connection_is_not_ect() {
    let (mut t, c) = classic(Setup::new());
    t.inject("P. 1:11(10) ack 1 ecn ect0");
    t.pass_ms(100);
    t.take_sent();
    t.close(c);
    // Unread data: a RST.
    let reset = t.next_sent();
    assert_eq!(reset.packet.ip.tos & 3, 0);
    assert!(matches!(&reset.packet.body, Body::Tcp(tcp) if tcp.flags & finack_sim::packet::flag::RST != 0));
    t.pass_ms(Duration::from_secs(1).as_millis() as u64);
}
