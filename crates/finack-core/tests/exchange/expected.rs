//! Header prediction: the segment that is expected takes a short way in, whatever differs from it in anything the long one.
//! Both come to the same: the state, the answers, what is counted and what the application is told.

use core::time::Duration;

use finack_core::counters::Counters;
use finack_core::device::{Packet, Transmit};
use finack_core::options::{RecvFlags, SendFlags, Shutdown, SocketOptions};
use finack_core::stack::ConnId;
use finack_core::trace::DropReason;
use finack_core::{Event, Instant, Stack};
use finack_sim::packet::{Body, Opt, build};
use finack_sim::{Script, Setup};

/// What can be seen of a stack.
#[derive(PartialEq, Debug)]
struct Seen {
    state: u128,
    sent: Vec<Vec<u8>>,
    events: Vec<Event>,
    counted: Counters,
    traced: Vec<String>,
    wakes: Option<Instant>,
}

/// Gives the packets to a copy of the stack, which is observed or not.
fn after(t: &Script, packets: &[Vec<u8>], predicts: bool, observed: bool) -> (Seen, u64) {
    let mut stack: Stack = t.stack.clone();
    stack.set_prediction(predicts);
    if !observed {
        stack.set_tracing(0);
    }
    let now = t.now();
    let batch: Vec<Packet<'_>> = packets.iter().map(|bytes| Packet::borrowed(bytes)).collect();
    let before = stack.counters().tcp_expected;
    stack.handle_packets(now, &batch);
    let mut sent = Vec::new();
    while let Some(transmit) = stack.poll_transmit(now) {
        sent.push(whole(&transmit));
    }
    let events = core::iter::from_fn(|| stack.poll_event()).collect();
    let traced = core::iter::from_fn(|| stack.poll_trace()).map(|event| format!("{event:?}")).collect();
    let mut counted = stack.counters().clone();
    let expected = core::mem::take(&mut counted.tcp_expected) - before;
    (counted.tcp_ordinary, counted.tcp_expected_behind) = (0, 0);
    let state = stack.fingerprint(now, Default::default());
    (Seen { state, sent, events, counted, traced, wakes: stack.poll_timeout() }, expected)
}

fn whole(transmit: &Transmit<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    transmit.write_to(&mut bytes);
    bytes
}

/// Both ways come to the same; answers how many segments were taken for expected.
#[track_caller]
pub(super) fn both_ways(t: &Script, packets: &[Vec<u8>]) -> u64 {
    let mut expected = 0;
    for observed in [true, false] {
        let (short, count) = after(t, packets, true, observed);
        let (long, never) = after(t, packets, false, observed);
        assert_eq!(short, long, "observed: {observed}, {packets:02x?}");
        assert_eq!(never, 0);
        expected = count;
    }
    expected
}

/// The packet comes alone, twice, and with each of its bits flipped in turn.
#[track_caller]
fn bit_by_bit(t: &Script, packet: &[u8]) {
    both_ways(t, &[packet.to_vec()]);
    both_ways(t, &[packet.to_vec(), packet.to_vec()]);
    for bit in 0..packet.len() * 8 {
        let mut other = packet.to_vec();
        other[bit / 8] ^= 1 << (bit % 8);
        both_ways(t, &[other]);
    }
}

pub(super) fn bytes(t: &Script, text: &str) -> Vec<u8> {
    build(&t.segment(text))
}

/// The peer's segments of an established connection of which 100 bytes each way are acknowledged, and 1000 of ours out.
fn talking(timestamps: bool) -> (Script, ConnId) {
    let setup = if timestamps { Setup::new().timestamps() } else { Setup::new() };
    let mut t = setup.server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    t.read(c, 100);
    t.write(c, 100);
    t.take_sent();
    t.inject(". 101:101(0) ack 101");
    t.write(c, 1000);
    t.take_sent();
    (t, c)
}

/// RFC 1323 4.1 (Jacobson's header prediction): data in order and ACKs of what is out are what is expected.
#[test]
fn what_is_expected() {
    for timestamps in [false, true] {
        let (t, _) = talking(timestamps);
        for text in [
            "P. 101:201(100) ack 101",
            ". 101:1561(1460) ack 101",
            "P. 101:201(100) ack 1101",
            "P. 101:201(100) ack 501",
            ". 101:101(0) ack 1101",
            ". 101:101(0) ack 101",
            ". 101:101(0) ack 1101 win 0",
            ". 101:101(0) ack 101 win 4711",
            ". 101:201(100) ack 1101 ecn ect0",
        ] {
            assert_eq!(both_ways(&t, &[bytes(&t, text)]), 1, "{text}");
        }
    }
}

/// RFC 9293 3.10.7.4: whatever is out of the ordinary is handled step by step.
#[test]
fn what_is_not() {
    let (t, _) = talking(false);
    for text in [
        "P. 102:202(100) ack 101",
        "P. 100:201(101) ack 101",
        "P. 1:101(100) ack 101",
        "P. 101:201(100) ack 1102",
        "P. 101:201(100) ack 100",
        "F. 101:201(100) ack 101",
        "S. 101:201(100) ack 101",
        "R. 101:101(0) ack 101",
        "P 101:201(100)",
        "PU. 101:201(100) ack 101 urg 10",
        "PE. 101:201(100) ack 101",
        ". 101:101(0) ack 101 <nop,nop,sack 201:301>",
        ". 101:101(0) ack 101 <mss 1000>",
        ". 101:101(0) ack 101 <nop,nop,TS val 1 ecr 1>",
    ] {
        assert_eq!(both_ways(&t, &[bytes(&t, text)]), 0, "{text}");
    }
    let (t, _) = talking(true);
    for text in [
        "P. 101:201(100) ack 101 <>",
        "P. 101:201(100) ack 101 <nop,nop,TS val 0 ecr 0>",
        "P. 101:201(100) ack 101 <TS val 4000000000 ecr 0,nop,nop>",
    ] {
        assert_eq!(both_ways(&t, &[bytes(&t, text)]), 0, "{text}");
    }
}

/// RFC 3168 6.1: with classic feedback too, between marks; marks, what tells of them, and what comes while they are answered go
/// step by step.
#[test]
fn what_is_expected_between_marks() {
    let mut t = Setup::new().server();
    t.inject("SEW 0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.take_sent();
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    for (text, count) in [("P. 1:101(100) ack 1", 1), ("P. 1:101(100) ack 1 ecn ect0", 0)] {
        assert_eq!(both_ways(&t, &[bytes(&t, text)]), count, "nothing capable came yet: {text}");
    }
    t.inject("P. 1:101(100) ack 1 ecn ect0");
    t.read(c, 100);
    t.write(c, 2920);
    t.take_sent();
    let check = |t: &Script, what: &str, between: u64| {
        for (text, count) in [
            ("P. 101:201(100) ack 1 ecn ect0", between),
            ("P. 101:201(100) ack 2921 ecn ect0", between),
            ("P. 101:201(100) ack 1 ecn ect1", between),
            (". 101:101(0) ack 1461", between),
            (". 101:101(0) ack 2921 ecn ect0", between),
            (". 101:101(0) ack 2921 ecn ce", 0),
            ("P. 101:201(100) ack 2921", 0),
            ("P. 101:201(100) ack 2921 ecn ce", 0),
            ("PE. 101:201(100) ack 2921 ecn ect0", 0),
            ("PW. 101:201(100) ack 2921 ecn ect0", 0),
            ("E. 101:101(0) ack 2921", 0),
        ] {
            let packets = [bytes(t, text), bytes(t, "P. 201:301(100) ack 2921 ecn ect0")];
            assert_eq!(both_ways(t, &packets[..1]), count, "{what}: {text}");
            both_ways(t, &packets);
        }
    };
    check(&t, "nothing was marked", 1);
    t.inject("P. 101:101(0) ack 1 ecn ce");
    check(&t, "ECE goes out", 1);
    t.inject("E. 101:101(0) ack 1");
    t.take_sent();
    check(&t, "the window goes down", 0);
}

/// Whatever bit of the headers is flipped, and with checksums that are right again or not.
#[test]
fn a_bit_that_is_another() {
    for timestamps in [false, true] {
        let (t, _) = talking(timestamps);
        let right = bytes(&t, "P. 101:111(10) ack 1101");
        for at in 0..right.len() * 8 {
            let mut wrong = right.clone();
            wrong[at / 8] ^= 1 << (at % 8);
            both_ways(&t, &[wrong.clone()]);
            mend(&mut wrong);
            both_ways(&t, &[wrong]);
        }
    }
}

/// RFC 9293 MUST-3: data is copied while its checksum is verified, and was never there where that proves wrong.
#[test]
fn data_whose_checksum_is_wrong() {
    for len in [1, 127, 128, 129, 1000, 1459, 1460] {
        let mut t = Setup::new().server();
        let c = t.accepted();
        let mut packets = Vec::new();
        for i in 0..20 {
            let (from, to) = (1 + i * len, 1 + (i + 1) * len);
            let right = bytes(&t, &format!("P. {from}:{to}({len}) ack 1"));
            let mut wrong = right.clone();
            wrong[40 + (i * 67 % len) as usize] ^= 0x40;
            packets.extend([wrong, right]);
        }
        assert_eq!(both_ways(&t, &packets), 20, "of {len} bytes");
        let batch: Vec<Packet<'_>> = packets.iter().map(|bytes| Packet::borrowed(bytes)).collect();
        t.inject_batch(&batch);
        assert_eq!(t.stack.counters().dropped(DropReason::TcpChecksum), 20);
        t.read(c, 20 * len as usize);
        t.read_blocks(c);
        t.take_sent();
    }
}

/// Makes the checksums of an IPv4 packet with a TCP segment right.
pub(super) fn mend(packet: &mut [u8]) {
    let of = |parts: &[&[u8]]| !parts.iter().fold(0, |sum, part| finack_sum::add(sum, finack_sum::sum(part)));
    packet[10..12].fill(0);
    let ip = of(&[&packet[..20]]);
    packet[10..12].copy_from_slice(&ip.to_be_bytes());
    packet[36..38].fill(0);
    let len = (packet.len() - 20) as u16;
    let [high, low] = len.to_be_bytes();
    let tcp = of(&[&packet[12..20], &[0, 6, high, low], &packet[20..]]);
    packet[36..38].copy_from_slice(&tcp.to_be_bytes());
}

/// In any state of the connection, and of what the other end sent before.
#[test]
fn in_any_state() {
    type Change = fn(&mut Script, ConnId);
    let change: [(&str, Change); 9] = [
        ("our FIN, sent", |t, c| t.shutdown(c, Shutdown::Write)),
        ("nobody reads", |t, c| t.shutdown(c, Shutdown::Both)),
        ("nobody is there", |t, c| t.close(c)),
        ("a gap", |t, _| t.inject("P. 301:401(100) ack 101")),
        ("a gap, filled", |t, _| {
            t.inject("P. 301:401(100) ack 101");
            t.take_sent();
            t.inject("P. 101:301(200) ack 101");
        }),
        ("the peer's FIN behind a gap", |t, _| t.inject("F. 301:401(100) ack 101")),
        ("urgent data to come", |t, _| t.inject("U. 101:101(0) ack 101 urg 150")),
        ("the peer's FIN", |t, _| t.inject("F. 101:101(0) ack 101")),
        ("duplicate ACKs", |t, _| {
            for _ in 0..4 {
                t.inject(". 101:101(0) ack 101");
                t.take_sent();
            }
        }),
    ];
    for (what, change) in change {
        let (mut t, c) = talking(false);
        change(&mut t, c);
        t.take_sent();
        for text in [
            "P. 101:201(100) ack 101",
            "P. 101:301(200) ack 1101",
            ". 101:101(0) ack 1101",
            "P. 401:501(100) ack 1101",
            ". 102:102(0) ack 1101",
            ". 101:101(0) ack 1102",
            "P. 101:201(100) ack 1102",
        ] {
            println!("{what}: {text}");
            both_ways(&t, &[bytes(&t, text)]);
        }
    }
}

/// What the reader does with what came, step by step: the state after each, what is sent, what is told, and when to look again.
fn read_step_by_step(t: &Script, c: ConnId, packets: &[Vec<u8>], predicts: bool) -> Vec<Seen> {
    let mut stack = t.stack.clone();
    stack.set_prediction(predicts);
    let mut now = t.now();
    let batch: Vec<Packet<'_>> = packets.iter().map(|bytes| Packet::borrowed(bytes)).collect();
    stack.handle_packets(now, &batch);
    let mut seen = Vec::new();
    for (i, size) in [1, 0, 7, 300, 1, 5000, 100_000, 1].into_iter().enumerate() {
        let mut buf = vec![0; size];
        let flags = RecvFlags { peek: i == 2, ..RecvFlags::default() };
        let read = stack.tcp_recv(now, c, &mut buf, flags);
        if i == 4 {
            let _ = stack.tcp_send(now, c, b"answer", SendFlags::default());
        }
        let mut sent = Vec::new();
        while let Some(transmit) = stack.poll_transmit(now) {
            sent.push(whole(&transmit));
        }
        let events = core::iter::from_fn(|| stack.poll_event()).collect();
        let mut counted = stack.counters().clone();
        (counted.tcp_expected, counted.tcp_expected_behind, counted.tcp_ordinary) = (0, 0, 0);
        let state = stack.fingerprint(now, Default::default());
        let traced = vec![format!("{read:?} {:?}", stack.tcp_info(now, c))];
        seen.push(Seen { state, sent, events, counted, traced, wakes: stack.poll_timeout() });
        now += Duration::from_millis(3);
    }
    seen
}

/// A read after which there is nothing to do is seen to be one, and no other (RFC 9293 3.8.6.2.2, 3.8.6.3: what may be due is a
/// window update, or an ACK that was delayed).
#[test]
fn reading_what_came() {
    type Change = fn(&mut Script, ConnId);
    let change: [(&str, Change); 6] = [
        ("nothing special", |_, _| {}),
        ("all is acknowledged", |t, _| t.inject(". 101:101(0) ack 1101")),
        ("ACKs are held back", |t, c| {
            let now = t.now();
            t.stack.tcp_hold_acks(now, c, true).unwrap();
        }),
        ("the application waits for room", |t, c| {
            while t.try_write(c, 10_000, SendFlags::default()).is_ok() {}
            t.take_sent();
        }),
        ("it is told of room although it was refused nothing", |t, c| t.stack.tcp_await_room(c).unwrap()),
        ("our FIN, sent", |t, c| t.shutdown(c, Shutdown::Write)),
    ];
    for timestamps in [false, true] {
        for (what, change) in &change {
            let (mut t, c) = talking(timestamps);
            change(&mut t, c);
            t.take_sent();
            for (count, len) in [(1, 1), (1, 100), (2, 100), (1, 1400), (2, 1400), (3, 1400), (40, 1400)] {
                let texts = (0..count).map(|i| {
                    let from = 101 + i * len;
                    format!("P. {from}:{}({len}) ack 101", from + len)
                });
                let packets: Vec<Vec<u8>> = texts.map(|text| bytes(&t, &text)).collect();
                let ways = [true, false].map(|predicts| read_step_by_step(&t, c, &packets, predicts));
                assert_eq!(ways[0], ways[1], "{what}, {count} of {len} bytes");
            }
        }
    }
}

/// RFC 9293 3.10.7.4: what ends a connection that nobody owns any more is the ACK of our FIN, or the peer's FIN with it; and
/// whatever differs from that is handled step by step.
#[test]
fn the_last_segment_of_an_orphan() {
    type Change = fn(&mut Script, ConnId);
    let change: [(&str, Change); 8] = [
        ("FIN-WAIT-1", |_, _| {}),
        ("FIN-WAIT-2", |t, _| t.inject(". 101:101(0) ack 1102")),
        ("FIN-WAIT-1 and a gap", |t, _| t.inject("F. 301:301(0) ack 101")),
        ("FIN-WAIT-1 and a repetition", |t, _| drop(t.pass_ms(5000))),
        ("FIN-WAIT-1 and news of a loss", |t, _| t.inject(". 101:101(0) ack 101 <nop,nop,sack 1101:1102>")),
        ("CLOSING", |t, _| t.inject("F. 101:101(0) ack 1101")),
        ("FIN-WAIT-2 and data", |t, _| t.inject("P. 101:201(100) ack 1102")),
        ("FIN-WAIT-1 and marks", |t, _| t.inject(". 101:101(0) ack 101 ecn ce")),
    ];
    for timestamps in [false, true] {
        for (what, change) in change {
            let (mut t, c) = talking(timestamps);
            t.close(c);
            t.take_sent();
            change(&mut t, c);
            t.take_sent();
            last_segments(&t, what, 101);
        }
        let (mut t, c) = talking(timestamps);
        t.inject("F. 101:101(0) ack 1101");
        t.close(c);
        t.take_sent();
        last_segments(&t, "LAST-ACK", 102);
        t.pass_ms(3000);
        last_segments(&t, "LAST-ACK and a repetition", 102);
        t.inject(&format!(". 102:102(0) ack 1102{}", if timestamps { "" } else { " win 0" }));
        assert_eq!(t.connections(), 0);
    }
}

/// Segments that may be the last of a connection whose FIN has number 1101 and whose peer is at `next`.
fn last_segments(t: &Script, what: &str, next: u32) {
    for (flags, from, len, ack, rest) in [
        ("F.", 0, 0, 1102, ""),
        (".", 0, 0, 1102, ""),
        ("FP.", 0, 0, 1102, " win 0"),
        ("P.", 0, 0, 1102, ""),
        ("F.", 0, 0, 1101, ""),
        (".", 0, 0, 1101, ""),
        ("F.", 0, 0, 1103, ""),
        (".", 1, 0, 1102, ""),
        ("F.", 1, 0, 1102, ""),
        ("F.", 0, 10, 1102, ""),
        (".", 0, 10, 1102, ""),
        ("FE.", 0, 0, 1102, ""),
        ("F.", 0, 0, 1102, " ecn ce"),
        ("R.", 0, 0, 1102, ""),
        ("S.", 0, 0, 1102, ""),
        ("F.", 0, 0, 1102, " <nop,nop,TS val 1 ecr 1>"),
        ("F.", 0, 0, 1102, " <>"),
        ("F.", 0, 0, 1102, " <mss 1000>"),
    ] {
        let (start, end) = (next + from, next + from + len);
        let text = format!("{flags} {start}:{end}({len}) ack {ack}{rest}");
        println!("{what}: {text}");
        both_ways(t, &[bytes(t, &text)]);
    }
    // With a FIN before it, with one after it, and again.
    let texts = [("F.", next, 1101), ("F.", next, 1102), (".", next + 1, 1102), ("F.", next, 1102)];
    let packets = texts.map(|(flags, at, ack)| bytes(t, &format!("{flags} {at}:{at}(0) ack {ack}")));
    for from in 0..packets.len() {
        both_ways(t, &packets[from..]);
    }
}

/// The ACK of a SYN,ACK, and what may come in its place.
#[test]
fn the_end_of_a_handshake() {
    for timestamps in [false, true] {
        let setup = if timestamps { Setup::new().timestamps() } else { Setup::new() };
        let mut t = setup.server();
        t.inject("S 0:0(0) <mss 1460,nop,nop,sackOK>");
        t.take_sent();
        for text in [
            ". 1:1(0) ack 1",
            "P. 1:101(100) ack 1",
            "F. 1:1(0) ack 1",
            "F. 1:101(100) ack 1",
            ". 1:1(0) ack 2",
            ". 2:2(0) ack 1",
            ". 1:1(0) ack 1 win 0",
            ". 1:1(0) ack 1 ecn ce",
            ". 1:1(0) ack 1 <nop,nop,TS val 1 ecr 1>",
            ". 99999:99999(0) ack 1",
            "R. 1:1(0) ack 1",
        ] {
            println!("{text}");
            let mut right = bytes(&t, text);
            both_ways(&t, &[right.clone()]);
            both_ways(&t, &[right.clone(), right.clone()]);
            right[33] ^= 1;
            both_ways(&t, &[right.clone()]);
            mend(&mut right);
            both_ways(&t, &[right]);
        }
    }
}

/// RFC 1122 3.2.1.3: an address that no packet may come from is none that a known connection makes good.
#[test]
fn from_an_address_that_is_none() {
    let mut t = Setup::new().server();
    t.inject("S 0:0(0) <mss 1460>");
    t.take_sent();
    let right = bytes(&t, ". 1:1(0) ack 1");
    for source in [[127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255], [0, 0, 0, 0]] {
        let mut wrong = right.clone();
        wrong[12..16].copy_from_slice(&source);
        mend(&mut wrong);
        both_ways(&t, &[wrong]);
    }
}

/// RFC 9293 3.8.6.3: text that acknowledges nothing is delayed an ACK for, or answered, and told to who waits for as much: each
/// time, whoever heard of the text before it.
#[test]
fn text_and_nothing_else() {
    for lowat in [1, 150, 1000] {
        let (mut t, c) = talking(false);
        t.inject(". 101:101(0) ack 1101");
        t.take_sent();
        let options = SocketOptions { recv_lowat: lowat, ..t.stack.tcp_options(c).unwrap() };
        let now = t.now();
        t.stack.tcp_set_options(now, c, options).unwrap();
        for from in [101, 201, 301, 401, 501] {
            while t.stack.poll_event().is_some() {}
            let text = |from| format!("P. {from}:{}(100) ack 1101", from + 100);
            let packets: Vec<_> = (0..8).map(|i| bytes(&t, &text(from + 100 * i))).collect();
            for count in [1, 2, 8] {
                assert_eq!(both_ways(&t, &packets[..count]), count as u64, "{count} from {from} on");
            }
            t.inject(&text(from));
        }
        t.take_sent();
    }
}

/// Packets that come together are looked at together, and handled in their order.
#[test]
fn together() {
    let (t, _) = talking(false);
    let texts = [
        "P. 101:201(100) ack 101",
        "P. 201:301(100) ack 501",
        "P. 201:301(100) ack 501",
        "P. 401:501(100) ack 501",
        "P. 301:401(100) ack 1101",
        "P. 501:601(100) ack 1101",
        "F. 601:601(0) ack 1101",
        ". 602:602(0) ack 1101",
    ];
    let packets: Vec<Vec<u8>> = texts.iter().map(|text| bytes(&t, text)).collect();
    assert_eq!(both_ways(&t, &packets), 3);
    let many: Vec<Vec<u8>> =
        (0..40).map(|i| bytes(&t, &format!("P. {}:{}(100) ack 101", 101 + 100 * i, 201 + 100 * i))).collect();
    assert_eq!(both_ways(&t, &many), 40);
}

/// A device that says how many segments a packet stands for is counted so (RFC 1213 tcpInSegs).
#[test]
fn joined_segments() {
    let (mut t, _) = talking(false);
    let packet = bytes(&t, "P. 101:3021(2920) ack 101");
    let mut joined = Packet::borrowed(&packet);
    (joined.meta.segments, joined.meta.segment_size) = (2, 1460);
    let before = t.stack.counters().clone();
    t.inject_batch(&[joined]);
    let after = t.stack.counters();
    assert_eq!(after.tcp_in_segs - before.tcp_in_segs, 2);
    assert_eq!(after.tcp_expected - before.tcp_expected, 2);
    t.take_sent();
}

/// RFC 9293 3.10.7.2, RFC 2385 3: a SYN with nothing special about it is read at one go, whatever differs from that step by step.
#[test]
fn what_opens() {
    let t = Setup::new().server();
    let texts = [
        "S 0:0(0) win 1000 <mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7>",
        "S 0:0(0) win 1000 <mss 1460>",
        "S 0:0(0) win 1000",
        "S 0:0(0) win 1000 <mss 1460,nop,nop,sackOK>",
        "S 0:10(10) win 1000 <mss 1460>",
        "S. 0:0(0) ack 1 win 1000 <mss 1460>",
        "SF 0:0(0) win 1000",
        "SR 0:0(0) win 1000",
        "SE 0:0(0) win 1000",
        "SP 0:0(0) win 1000",
        "S 0:0(0) win 1000 ecn ect0",
    ];
    for text in texts {
        bit_by_bit(&t, &bytes(&t, text));
    }
    for (kind, len) in [(19, 16), (29, 12), (253, 4)] {
        // A signature that nobody asked for: dropped in silence (RFC 2385 3, RFC 5925 7.3).
        let mut packet = t.segment("S 0:0(0) win 1000 <mss 1460>");
        if let Body::Tcp(tcp) = &mut packet.body {
            tcp.options.push(Opt::Other(kind, vec![7; len]));
        }
        both_ways(&t, &[build(&packet)]);
    }
}

/// The same of a SYN,ACK (RFC 9293 3.10.7.3).
#[test]
fn what_answers_our_syn() {
    for timestamps in [false, true] {
        let setup = if timestamps { Setup::new().timestamps() } else { Setup::new() };
        let mut t = setup.bare();
        t.connect();
        t.take_sent();
        let texts = [
            "S. 0:0(0) ack 1 win 1000 <mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7>",
            "S. 0:0(0) ack 1 win 1000 <mss 1460>",
            "S. 0:0(0) ack 1 win 1000",
            "S. 0:0(0) ack 2 win 1000",
            "S. 0:10(10) ack 1 win 1000 <mss 1460>",
            "S 0:0(0) win 1000 <mss 1460>",
            "SF. 0:0(0) ack 1 win 1000",
            "SR. 0:0(0) ack 1 win 1000",
            "SE. 0:0(0) ack 1 win 1000",
        ];
        for text in texts {
            bit_by_bit(&t, &bytes(&t, text));
        }
    }
}
