//! Full segments that come together and go on one where the other ends are taken at one go. It comes to what it comes to
//! one by one, wherever something else stands among them.

use finack_core::device::Packet;
use finack_core::options::{SendFlags, Shutdown, SocketOptions};
use finack_core::stack::ConnId;
use finack_core::trace::DropReason;
use finack_sim::{Script, Setup};

use super::expected::{both_ways, bytes, mend};

/// What fits both families.
const MSS: u32 = 1440;

/// The peer's segment of so many bytes from a position on.
fn segment(t: &Script, flags: &str, from: u32, len: u32, rest: &str) -> Vec<u8> {
    bytes(t, &format!("{flags} {from}:{}({len}) ack 1{rest}", from + len))
}

/// Full segments from a position on.
fn run(t: &Script, from: u32, count: u32) -> Vec<Vec<u8>> {
    (0..count).map(|i| segment(t, ".", from + i * MSS, MSS, "")).collect()
}

fn inject(t: &mut Script, packets: &[Vec<u8>]) {
    let batch: Vec<Packet<'_>> = packets.iter().map(|bytes| Packet::borrowed(bytes)).collect();
    t.inject_batch(&batch);
}

/// A connection with windows that are scaled or not, whose reader has read for so long that the window does not grow any
/// more; and where the peer goes on.
fn streaming(setup: Setup, scales: bool) -> (Script, ConnId, u32) {
    let mut t = setup.options(|o| o.recv_buffer = Some(40_000)).server();
    if scales {
        t.handshake();
    } else {
        t.inject("S 0:0(0) win 65535 <mss 1460,sackOK,TS val * ecr *>");
        t.take_sent();
        t.inject(". 1:1(0) ack 1");
    }
    let c = t.accept();
    let mut from = 1;
    for _ in 0..25 {
        let packets = run(&t, from, 4);
        inject(&mut t, &packets);
        t.read(c, 4 * MSS as usize);
        t.take_sent();
        t.pass_ms(1);
        from += 4 * MSS;
    }
    (t, c, from)
}

/// How many of these packets are taken behind another.
fn behind(t: &Script, packets: &[Vec<u8>]) -> usize {
    let mut stack = t.stack.clone();
    stack.set_tracing(0);
    let before = stack.counters().tcp_expected_behind;
    let batch: Vec<Packet<'_>> = packets.iter().map(|bytes| Packet::borrowed(bytes)).collect();
    stack.handle_packets(t.now(), &batch);
    (stack.counters().tcp_expected_behind - before) as usize
}

fn kinds() -> [(Setup, bool); 6] {
    let new = Setup::new;
    [
        (new(), true),
        (new(), false),
        (new().timestamps(), true),
        (new().v6().timestamps(), true),
        (new().rfc(), true),
        (new().rfc().timestamps(), false),
    ]
}

/// RFC 9293 3.10.7.4, one by one or at one go: once two have come, of which the second makes an ACK due or shows that the reader
/// is behind, the others are taken with it.
#[test]
fn a_run() {
    for (setup, scales) in kinds() {
        let (t, _, from) = streaming(setup, scales);
        for count in [1, 2, 3, 10, 25] {
            let packets = run(&t, from, count);
            assert_eq!(both_ways(&t, &packets), u64::from(count));
            assert_eq!(behind(&t, &packets), count.saturating_sub(2) as usize, "of {count}");
        }
    }
}

/// Whatever stands in a run in place of one of its segments, it is seen to be something else.
#[test]
fn something_else_in_a_run() {
    for (setup, scales) in kinds() {
        let (t, _, from) = streaming(setup, scales);
        let whole = run(&t, from, 8);
        let others: [(&str, u32, u32, &str); 24] = [
            ("P.", 0, MSS, ""),
            ("F.", 0, MSS, ""),
            ("FP.", 0, 0, ""),
            (".", 0, 0, ""),
            (".", 0, 1, ""),
            (".", 0, 100, ""),
            (".", 0, MSS - 1, ""),
            ("P.", 0, MSS - 500, ""),
            (".", 0, MSS - 12, ""),
            (".", 0, MSS + 12, ""),
            (".", 1, MSS, ""),
            (".", MSS, MSS, ""),
            (".", 0, 2 * MSS, ""),
            (".", 0, MSS, " win 0"),
            (".", 0, MSS, " win 4711"),
            (".", 0, MSS, " ecn ect0"),
            (".", 0, MSS, " ecn ce"),
            ("U.", 0, MSS, " urg 7"),
            ("R.", 0, 0, ""),
            (".", 0, MSS, " <>"),
            (".", 0, MSS, " <nop,nop,TS val 1 ecr 1>"),
            (".", 0, MSS, " <nop,nop,TS val +5 ecr +0>"),
            (".", 0, MSS, " <nop,nop,TS val 1 ecr *>"),
            (".", 0, MSS, " <nop,nop,TS val 4000000000 ecr *>"),
        ];
        for (flags, gap, len, rest) in others {
            for at in [2, 5] {
                let start = from + at * MSS + gap;
                let other = segment(&t, flags, start, len, rest);
                let mut instead = whole.clone();
                instead[at as usize] = other.clone();
                both_ways(&t, &instead);
                let mut between = whole.clone();
                between.insert(at as usize, other.clone());
                both_ways(&t, &between);
                // And the run goes on behind it.
                let mut on = whole[..at as usize].to_vec();
                on.push(other);
                on.extend(run(&t, start + len, 3));
                both_ways(&t, &on);
            }
        }
        for (ack, at) in [(0, 3), (2, 3), (100_000, 5)] {
            let mut other = whole.clone();
            let from = from + at * MSS;
            other[at as usize] = bytes(&t, &format!(". {from}:{}({MSS}) ack {ack}", from + MSS));
            both_ways(&t, &other);
        }
    }
}

/// RFC 9293 MUST-3: a wrong checksum in a run is one of a packet that never was there.
#[test]
fn a_wrong_checksum_in_a_run() {
    let (mut t, c, from) = streaming(Setup::new(), true);
    let mut packets = run(&t, from, 20);
    for (at, byte) in [(1, 40), (2, 1000), (7, 1479), (8, 36), (13, 10), (19, 700)] {
        let right = packets[at].clone();
        packets[at][byte] ^= 0x20;
        both_ways(&t, &packets);
        let mut mended = packets.clone();
        mend(&mut mended[at]);
        both_ways(&t, &mended);
        mended[at] = packets[at].clone();
        mended.insert(at + 1, right.clone());
        assert_eq!(both_ways(&t, &mended), 20, "the next one is right");
        packets[at] = right;
    }
    packets.insert(9, packets[9].clone());
    packets[9][800] ^= 1;
    inject(&mut t, &packets);
    assert_eq!(t.stack.counters().dropped(DropReason::TcpChecksum), 1);
    t.read(c, 20 * MSS as usize);
    t.read_blocks(c);
    t.take_sent();
}

/// Where segments come in other sizes, or the state is another, or the application wants something else.
#[test]
fn in_any_state() {
    type Change = fn(&mut Script, ConnId);
    let change: [(&str, Change); 14] =
        [
            ("nothing special", |_, _| {}),
            ("a long pause", |t, _| drop(t.pass_ms(30_000))),
            ("a pause of a delayed ACK", |t, _| drop(t.pass_ms(35))),
            ("our data is out", |t, c| t.write(c, 100)),
            ("our data waits", |t, c| {
                let options = SocketOptions { cork: true, ..t.stack.tcp_options(c).unwrap() };
                let now = t.now();
                t.stack.tcp_set_options(now, c, options).unwrap();
                t.write(c, 100);
            }),
            ("the application waits for room", |t, c| {
                while t.try_write(c, 100_000, SendFlags::default()).is_ok() {}
            }),
            ("the reader wants a lot", |t, c| t.set_options(c, |o| o.recv_lowat = 5000)),
            ("the reader wants all", |t, c| t.set_options(c, |o| o.recv_lowat = 90_000)),
            ("quick ACKs", |t, c| t.set_options(c, |o| o.quickack = true)),
            ("ACKs are held back", |t, c| {
                let now = t.now();
                t.stack.tcp_hold_acks(now, c, true).unwrap();
            }),
            ("nobody reads", |t, c| t.shutdown(c, Shutdown::Read)),
            ("our FIN, sent", |t, c| t.shutdown(c, Shutdown::Write)),
            ("nobody is there", |t, c| t.close(c)),
            ("a larger buffer", |t, c| t.set_options(c, |o| o.recv_buffer = Some(400_000))),
        ];
    for (what, change) in change {
        for (setup, scales) in kinds() {
            let (mut t, c, from) = streaming(setup, scales);
            change(&mut t, c);
            t.take_sent();
            println!("{what}, {scales}");
            for len in [100, MSS] {
                let packets: Vec<_> = (0..10).map(|i| segment(&t, ".", from + i * len, len, "")).collect();
                both_ways(&t, &packets);
            }
            // Until nothing fits any more.
            both_ways(&t, &run(&t, from, 60));
            both_ways(&t, &run(&t, from + MSS, 5));
        }
    }
}
