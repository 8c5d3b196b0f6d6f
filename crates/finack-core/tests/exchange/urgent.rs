//! Urgent data (RFC 9293 3.8.5, RFC 6093).

use finack_core::options::{RecvFlags, SendFlags};
use finack_core::stack::{ConnId, Ready};
use finack_core::{Error, Event};
use finack_sim::packet::flag;
use finack_sim::{Script, Setup};

use crate::support::{drain, segment};

const OOB: SendFlags = SendFlags { more: false, oob: true, eor: false };

fn read_oob(t: &mut Script, c: ConnId) -> Result<u8, Error> {
    let mut byte = [0];
    t.stack.tcp_recv(t.now(), c, &mut byte, RecvFlags { peek: false, oob: true }).map(|_| byte[0])
}

fn peer_byte(offset: u64) -> u8 {
    finack_sim::pattern::byte(2, offset)
}

/// RFC 9293 MUST-30, MUST-62: the urgent pointer names the octet after the urgent data, relative to SEG.SEQ; the last byte
/// of the write is urgent.
#[test]
fn sent() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    assert_eq!(t.try_write(c, 10, OOB), Ok(10));
    t.expect("UP. 1:11(10) ack 1 urg 10");
    t.inject(". 1:1(0) ack 11");
    t.write(c, 10);
    t.expect("P. 11:21(10) ack 1 urg 0");
}

/// tcp_stdurg = 1: the pointer names the last urgent octet itself.
#[test]
fn sent_with_stdurg() {
    let mut t = Setup::new().set("tcp_stdurg", 1).server();
    let c = t.accepted();
    assert_eq!(t.try_write(c, 10, OOB), Ok(10));
    t.expect("UP. 1:11(10) ack 1 urg 9");
}

/// A retransmission is urgent too, with the same place.
#[test]
fn sent_again() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    assert_eq!(t.try_write(c, 10, OOB), Ok(10));
    t.expect("UP. 1:11(10) ack 1 urg 10");
    t.expect_after(200..=260, "UP. 1:11(10) ack 1 urg 10");
}

/// In a long write all segments before the urgent byte point to it (or say nothing), none points elsewhere; also over units.
#[test]
fn sent_behind_much_data() {
    finack_sim::on_both_paths(|setup| {
        let mut t = setup.server();
        let c = t.accepted();
        assert_eq!(t.try_write(c, 10_001, OOB), Ok(10_001));
        let mut told = false;
        for sent in t.take_sent() {
            let tcp = segment(&sent);
            let rel = tcp.seq.wrapping_sub(t.stack_iss());
            if tcp.has(flag::URG) {
                assert_eq!(rel + u32::from(tcp.urgent), 10_002, "the pointer of the segment at {rel}");
                told = true;
            }
        }
        assert!(told);
        drain(&mut t, 1, 10_002);
    });
}

/// RFC 9293 MUST-32: the application is told when urgent data arrives; the byte before the pointer is read out of band, the
/// stream goes on without it.
#[test]
fn received() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    assert_eq!(read_oob(&mut t, c), Err(Error::InvalidArgument), "there is none");
    t.inject("UP. 1:11(10) ack 1 urg 10");
    let told = |e: &Event| matches!(e, Event::Tcp { ready, .. } if ready.contains(Ready::PRIORITY));
    assert!(t.events.iter().any(told), "{:?}", t.events);
    assert!(t.stack.tcp_ready(c).unwrap().contains(Ready::PRIORITY));
    assert_eq!(read_oob(&mut t, c), Ok(peer_byte(9)));
    assert!(!t.stack.tcp_ready(c).unwrap().contains(Ready::PRIORITY));
    t.read(c, 9);
    t.read_blocks(c);
    t.flow().read += 1;
    t.pass_ms(500);
    t.inject("P. 11:21(10) ack 1");
    t.read(c, 10);
    t.pass_ms(500);
}

/// RFC 9293 MUST-33: the application learns how much of the urgent data is still to be read: a read stops at the urgent byte; what is before it and what is behind it are two reads.
#[test]
fn a_read_stops_at_the_mark() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("UP. 1:21(20) ack 1 urg 10");
    assert_eq!(t.try_read(c, 100), Ok(9));
    t.flow().read += 1;
    assert_eq!(t.try_read(c, 100), Ok(10));
    t.pass_ms(500);
}

/// SO_OOBINLINE (RFC 6093 recommends it): the urgent byte stays in the stream.
#[test]
fn inline() {
    let mut t = Setup::new().options(|o| o.oob_inline = true).server();
    let c = t.accepted();
    t.inject("UP. 1:21(20) ack 1 urg 10");
    assert!(t.stack.tcp_ready(c).unwrap().contains(Ready::PRIORITY));
    assert_eq!(read_oob(&mut t, c), Err(Error::InvalidArgument));
    t.read(c, 20);
    t.read_blocks(c);
    t.pass_ms(500);
}

/// RFC 9293 MUST-31: urgent data of any length: the pointer may lie far beyond the segment; the application is told at once.
#[test]
fn the_pointer_runs_ahead() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("UP. 1:11(10) ack 1 urg 30");
    assert!(t.stack.tcp_ready(c).unwrap().contains(Ready::PRIORITY));
    assert_eq!(read_oob(&mut t, c), Err(Error::WouldBlock), "the byte itself has not come");
    t.read(c, 10);
    t.pass_ms(500);
    t.inject("UP. 11:41(30) ack 1 urg 20");
    assert_eq!(read_oob(&mut t, c), Ok(peer_byte(29)));
    assert_eq!(t.try_read(c, 100), Ok(19));
    t.flow().read += 1;
    assert_eq!(t.try_read(c, 100), Ok(10));
    t.pass_ms(500);
}

/// RFC 9293 MUST-32: each advance of the pointer is told by an event, also while the byte that it points to has not come; one that
/// stays where it was is no news.
#[test]
fn each_advance_is_told() {
    let mut t = Setup::new().server();
    t.accepted();
    let told = |e: &Event| matches!(e, Event::Tcp { ready, .. } if ready.contains(Ready::PRIORITY));
    for (text, news) in [
        ("UP. 1:11(10) ack 1 urg 30", true),
        ("UP. 11:21(10) ack 1 urg 20", false),
        ("UP. 21:31(10) ack 1 urg 40", true),
        ("UP. 31:41(10) ack 1 urg 50", true),
    ] {
        t.events.clear();
        t.inject_after_acks(text);
        assert_eq!(t.events.iter().any(told), news, "{text}: {:?}", t.events);
    }
}

/// A second urgent byte overtakes the first, which then belongs to the stream.
#[test]
fn a_second_one() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("UP. 1:11(10) ack 1 urg 10");
    t.inject_after_acks("UP. 11:21(10) ack 1 urg 10");
    assert_eq!(read_oob(&mut t, c), Ok(peer_byte(19)));
    let mut got = 0;
    while let Ok(n) = t.try_read(c, 100) {
        got += n;
    }
    assert_eq!(got, 19, "the stream without the last urgent byte");
}

trait AfterAcks {
    fn inject_after_acks(&mut self, text: &str);
}

impl AfterAcks for Script {
    fn inject_after_acks(&mut self, text: &str) {
        self.take_sent();
        self.inject(text);
        self.take_sent();
    }
}

/// RFC 9293 MUST-66: the urgent pointer counts even at our zero window.
#[test]
fn at_our_zero_window() {
    let mut t = Setup::new().options(|o| o.recv_buffer = Some(4096)).server();
    let c = t.accepted();
    let mut seq = 1;
    for _ in 0..100 {
        t.inject(&format!("P. {seq}:{}(500) ack 1", seq + 500));
        t.pass_ms(100);
        let queued = t.info(c).recv_queue as u32;
        if queued + 1 < seq + 500 || t.info(c).rcv_wnd == 0 {
            seq = queued + 1;
            break;
        }
        seq += 500;
    }
    t.events.clear();
    t.inject(&format!("UP. {seq}:{}(1) ack 1 urg 1", seq + 1));
    t.take_sent();
    assert!(t.stack.tcp_ready(c).unwrap().contains(Ready::PRIORITY));
    let told = |e: &Event| matches!(e, Event::Tcp { ready, .. } if ready.contains(Ready::PRIORITY));
    assert!(t.events.iter().any(told), "{:?}", t.events);
}

/// RFC 9293 3.8.5, 3.10.2: at the peer's zero window urgency is told all the same: with the next probe.
#[test]
fn at_the_peers_zero_window() {
    let mut t = Setup::new().server();
    t.inject("S 0:0(0) win 0 <mss 1460>");
    t.expect("S. 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1 win 0");
    let c = t.accept();
    assert_eq!(t.try_write(c, 10, OOB), Ok(10));
    t.await_packet(0..=1100, "a segment with URG");
    assert!(segment(&t.next_sent()).has(flag::URG));
    t.take_sent();
    t.inject(". 1:1(0) ack 1 win 1000");
    t.expect("UP. 1:11(10) ack 1 urg 10");
}

/// An urgent pointer of 0 or one that points behind what was read does no harm.
#[test]
fn pointers_into_the_past() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    t.read(c, 100);
    t.take_sent();
    t.inject("UP. 101:111(10) ack 1 urg 0");
    t.take_sent();
    t.inject("UP. 51:61(10) ack 1 urg 5");
    t.take_sent();
    let mut got = 0;
    t.flow().check_payload = false;
    while let Ok(n) = t.try_read(c, 100) {
        got += n;
    }
    assert!(got == 10 || got == 9, "{got} of 10 bytes (one may have been urgent)");
}

/// Urgent data and a FIN: EOF comes after both.
#[test]
fn urgent_and_fin() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("FUP. 1:11(10) ack 1 urg 10");
    t.pass_ms(300);
    t.read(c, 9);
    assert_eq!(read_oob(&mut t, c), Ok(peer_byte(9)));
    t.flow().read += 1;
    t.read_eof(c);
}
