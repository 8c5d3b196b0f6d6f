//! Observations name the packet that they are about, so that a capture can tell why it was dropped or sent.

use std::collections::BTreeSet;

use finack_core::device::{Packet, PacketMeta};
use finack_core::options::SendFlags;
use finack_core::trace::{
    Direction, DropReason, PacketId, ResetReason, RetransmitReason, SendReason, TraceEvent, TraceKind,
};
use finack_sim::packet::{Pkt, build, parse};
use finack_sim::split::wire_packets;
use finack_sim::{Script, Setup};

/// A packet arrives that the device calls `number`.
fn arrive(t: &mut Script, packet: &Pkt, number: u64) {
    let bytes = build(packet);
    let meta = PacketMeta { number, ..PacketMeta::default() };
    let now = t.now();
    t.stack.handle_packets(now, &[Packet { meta, ..Packet::borrowed(&bytes) }]);
}

/// What goes out now: each packet's number and first segment.
fn leave(t: &mut Script) -> Vec<(u64, Pkt)> {
    let now = t.now();
    let mut sent = Vec::new();
    while let Some(transmit) = t.stack.poll_transmit(now) {
        sent.push((transmit.number, parse(&wire_packets(&transmit).unwrap()[0]).unwrap()));
    }
    sent
}

fn observed(t: &mut Script) -> Vec<TraceEvent> {
    let mut events = Vec::new();
    while let Some(event) = t.stack.poll_trace() {
        events.push(event);
    }
    events
}

/// Why the packet that left as `number` was sent.
fn reason(events: &[TraceEvent], number: u64) -> Option<SendReason> {
    events.iter().find_map(|e| match &e.kind {
        TraceKind::Segment(s) if s.dir == Direction::Out && e.packet == Some(PacketId::Out(number)) => {
            Some(s.reason)
        }
        _ => None,
    })
}

/// A RST names the reason; the event of it names the packet that is answered (RFC 9293 3.10.7.1).
#[test]
fn a_reset_is_told_of_the_packet_and_its_answer() {
    let mut t = Setup::new().bare();
    t.stack.set_tracing(100);
    let syn = t.segment("S 0:0(0)");
    arrive(&mut t, &syn, 7);
    let sent = leave(&mut t);
    let events = observed(&mut t);
    let provoked = events.iter().find(|e| e.kind == TraceKind::ResetSent(ResetReason::NoListener)).unwrap();
    assert_eq!(provoked.packet, Some(PacketId::In(7)));
    assert_eq!(reason(&events, sent[0].0), Some(SendReason::Reset(ResetReason::NoListener)));
}

/// Whichever order packets leave in, each observation finds its own: answers to strays wait in a queue of their own
/// while connections send data.
#[test]
fn each_segment_is_told_under_the_number_it_leaves_with() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    observed(&mut t);
    t.stack.set_tracing(100);
    let now = t.now();
    t.stack.tcp_send(now, c, &[1; 4000], SendFlags::default()).unwrap();
    let old = t.segment("P. 0:1(1) ack 1");
    arrive(&mut t, &old, 1);
    let stray =
        Pkt::tcp("192.0.2.9:9".parse().unwrap(), t.ends().0, t.segment("S 5:5(0)").as_tcp().unwrap().clone());
    arrive(&mut t, &stray, 2);
    let sent = leave(&mut t);
    let events = observed(&mut t);
    assert!(sent.len() >= 4, "three segments and answers");
    let numbers: BTreeSet<u64> = sent.iter().map(|(n, _)| *n).collect();
    assert_eq!(numbers.len(), sent.len(), "no number twice");
    for (number, packet) in &sent {
        let named = events.iter().find(|e| e.packet == Some(PacketId::Out(*number))).unwrap();
        assert_eq!(named.remote, Some(packet.to()), "{packet:?}");
        let TraceKind::Segment(segment) = &named.kind else { panic!("{named:?}") };
        assert_eq!(segment.seq, packet.as_tcp().unwrap().seq);
    }
    let dropped = events.iter().find(|e| matches!(e.kind, TraceKind::Dropped { .. })).unwrap();
    assert_eq!(dropped.packet, Some(PacketId::In(1)), "{dropped:?}");
    assert!(matches!(
        dropped.kind,
        TraceKind::Dropped { reason: DropReason::OutOfWindow | DropReason::Duplicate, .. }
    ));
}

/// What is sent again says why (RFC 6298 5.4).
#[test]
fn a_retransmission_carries_its_reason() {
    let mut t = Setup::new().set("tcp_early_retrans", "0").server();
    let c = t.accepted();
    observed(&mut t);
    t.stack.set_tracing(100);
    t.write(c, 1000);
    t.take_sent();
    t.trace.clear();
    t.pass_ms(400);
    let again = |e: &TraceEvent| match (&e.kind, e.packet) {
        (TraceKind::Segment(s), Some(PacketId::Out(_))) => Some(s.reason),
        _ => None,
    };
    let reasons: Vec<SendReason> = t.trace.iter().filter_map(again).collect();
    assert_eq!(reasons, [SendReason::Retransmission(RetransmitReason::Timeout)]);
    let told = t.trace.iter().find(|e| matches!(e.kind, TraceKind::Retransmit { .. })).unwrap();
    assert!(matches!(told.packet, Some(PacketId::Out(_))), "{told:?}");
}

/// What an application or a timer brings about concerns no packet.
#[test]
fn a_call_concerns_no_packet() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    observed(&mut t);
    t.stack.set_tracing(100);
    let now = t.now();
    let segment = t.segment("P. 1:2(1) ack 1");
    arrive(&mut t, &segment, 3);
    observed(&mut t);
    t.stack.tcp_close(now, c).unwrap();
    let events = observed(&mut t);
    assert!(!events.is_empty());
    assert!(events.iter().all(|e| !matches!(e.packet, Some(PacketId::In(_)))), "{events:?}");
}
