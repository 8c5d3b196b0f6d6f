//! What a relay needs: data that moves without a copy, and ACKs that wait until the far side has it.

use bytes::BufMut;
use finack_core::Error;
use finack_core::stack::ConnId;
use finack_sim::{Script, Setup};

use crate::support::{drain, place, segment};

fn peer_bytes(offset: u64, len: usize) -> Vec<u8> {
    finack_sim::pattern::bytes(2, offset, len)
}

fn stack_bytes(offset: u64, len: usize) -> Vec<u8> {
    finack_sim::pattern::bytes(1, offset, len)
}

/// Takes at most `most` of what is lent.
fn take(t: &mut Script, c: ConnId, most: usize) -> Result<Vec<u8>, Error> {
    let mut taken = vec![];
    let result = t.stack.tcp_recv_with(t.now(), c, |slices| {
        taken = slices.concat();
        taken.truncate(most);
        Ok::<_, ()>(taken.len())
    });
    t.pump();
    assert_eq!(result?, Ok(taken.len()));
    Ok(taken)
}

#[test]
fn what_is_lent_and_not_taken_is_lent_again() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    assert_eq!(take(&mut t, c, 10), Err(Error::WouldBlock));
    t.inject("P. 1:101(100) ack 1");
    t.expect(". 1:1(0) ack 101");
    assert_eq!(take(&mut t, c, 30), Ok(peer_bytes(0, 30)));
    t.inject("P. 101:1001(900) ack 1");
    t.expect(". 1:1(0) ack 1001");
    let refused = t.stack.tcp_recv_with(t.now(), c, |_| Err::<usize, _>("full"));
    assert_eq!(refused, Ok(Err("full")));
    assert_eq!(take(&mut t, c, usize::MAX), Ok(peer_bytes(30, 970)));
    t.inject("F. 1001:1001(0) ack 1");
    t.pass_ms(1000);
    assert_eq!(take(&mut t, c, 10), Ok(vec![]));
}

/// RFC 9293 MUST-39: what is taken makes room, as reading does, and the peer is told.
#[test]
fn taking_opens_the_window() {
    let mut t = Setup::new().options(|o| o.recv_buffer = Some(4000)).server();
    let c = t.accepted();
    t.flow().check_window = false;
    let mut seq = 1;
    while t.info(c).rcv_wnd > 0 {
        let window = t.info(c).rcv_wnd as u32;
        t.inject(&format!("P. {seq}:{}({window}) ack 1", seq + window));
        t.pass_ms(1000);
        seq += window;
    }
    assert_eq!(take(&mut t, c, usize::MAX).map(|d| d.len()), Ok(seq as usize - 1));
    t.expect(&format!(". 1:1(0) ack {seq}"));
    assert!(t.info(c).rcv_wnd >= 2000);
}

#[test]
fn what_a_filler_appends_is_sent_and_what_it_fails_with_is_not() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let filled = t.stack.tcp_send_with(t.now(), c, 5000, |out| {
        assert_eq!(out.remaining_mut(), 5000);
        out.put_slice(&stack_bytes(0, 700));
        Ok::<_, ()>(())
    });
    assert_eq!(filled, Ok(Ok(700)));
    t.pump();
    t.expect("P. 1:701(700) ack 1");
    let failed = t.stack.tcp_send_with(t.now(), c, 5000, |out| {
        out.put_slice(b"not this");
        Err("the other side failed")
    });
    assert_eq!(failed, Ok(Err("the other side failed")));
    let nothing = t.stack.tcp_send_with(t.now(), c, 5000, |_| Ok::<_, ()>(()));
    assert_eq!(nothing, Ok(Ok(0)));
    t.write(c, 0);
    t.pump();
    t.quiet_ms(100);
    t.inject(". 1:1(0) ack 701");
    t.flow().written = 700;
    t.write(c, 100);
    t.expect("P. 701:801(100) ack 1");
}

/// Who fills all that is offered has more: no partial segment goes out in between, until it is pushed or the peer is heard.
#[test]
fn a_full_fill_is_taken_to_have_more_behind_it() {
    let mut t = Setup::new().options(|o| o.nodelay = true).server();
    let c = t.accepted();
    let fill = |t: &mut Script, from: u64, len: usize| {
        let filled = t.stack.tcp_send_with(t.now(), c, 2000, |out| {
            out.put_slice(&stack_bytes(from, len));
            Ok::<_, ()>(())
        });
        assert_eq!(filled, Ok(Ok(len)));
        t.pump();
    };
    fill(&mut t, 0, 2000);
    t.expect(". 1:1461(1460) ack 1");
    t.quiet_ms(150);
    fill(&mut t, 2000, 100);
    t.expect("P. 1461:2101(640) ack 1");
    fill(&mut t, 2100, 2000);
    t.expect(". 2101:3561(1460) ack 1");
    t.stack.tcp_push(t.now(), c).unwrap();
    t.pump();
    t.expect("P. 3561:4101(540) ack 1");
    t.inject(". 1:1(0) ack 4101");
    fill(&mut t, 4100, 2000);
    t.expect(". 4101:5561(1460) ack 1");
    t.inject(". 1:1(0) ack 5561");
    t.expect(". 5561:6101(540) ack 1");
}

/// Many small fills go out in order and complete, in units and in single packets.
#[test]
fn many_fills_of_any_size_arrive_as_one_stream() {
    finack_sim::on_both_paths(|setup| {
        let mut t = setup.server();
        let c = t.accepted();
        let (mut written, mut acked) = (0_u64, 0_u32);
        for round in 0..400_usize {
            let len = 1 + round * 37 % 3000;
            let fill = t.stack.tcp_send_with(t.now(), c, if round % 3 == 0 { 1500 } else { 9000 }, |out| {
                out.put_slice(&stack_bytes(written, len.min(out.remaining_mut())));
                Ok::<_, ()>(())
            });
            match fill {
                Ok(Ok(n)) => written += n as u64,
                Err(Error::WouldBlock) => {}
                other => panic!("{other:?}"),
            }
            t.pump();
            // Each segment's payload is compared with the pattern by the script itself.
            for sent in t.take_sent() {
                let (seq, len) = place(&t, &sent);
                acked = acked.max(seq + len - 1);
            }
            t.inject(&format!(". 1:1(0) ack {}", acked + 1));
        }
        drain(&mut t, acked + 1, written as u32 + 1);
        assert!(written > 100_000);
    });
}

#[test]
fn a_held_ack_says_what_was_there_before_until_it_is_let_go() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.flow().check_window = false;
    t.stack.tcp_hold_acks(t.now(), c, true).unwrap();
    t.inject("P. 1:101(100) ack 1");
    t.read(c, 100);
    t.quiet_ms(2000);
    // The far side has 60 of them.
    t.stack.tcp_ack_to(t.now(), c, 60).unwrap();
    t.pump();
    t.expect(". 1:1(0) ack 61");
    // Data of our own says no more.
    t.write(c, 10);
    t.expect("P. 1:11(10) ack 61");
    t.stack.tcp_ack_to(t.now(), c, 100).unwrap();
    t.pump();
    t.expect(". 11:11(0) ack 101");
    // The FIN counts as one.
    t.inject("F. 101:101(0) ack 11");
    t.read_eof(c);
    t.quiet_ms(1000);
    t.stack.tcp_ack_to(t.now(), c, 101).unwrap();
    t.pump();
    t.expect(". 11:11(0) ack 102");
}

/// RFC 9293 SHLD-14: the right edge of the window stays where it was, counted from the held ACK.
#[test]
fn the_window_is_counted_from_the_held_ack() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.flow().check_window = false;
    t.stack.tcp_hold_acks(t.now(), c, true).unwrap();
    let before = t.info(c).rcv_wnd;
    t.inject("P. 1:1001(1000) ack 1");
    t.write(c, 10);
    let sent = t.take_sent().pop().unwrap();
    let scale = t.flow().stack_scale();
    let window = u32::from(segment(&sent).window) << scale;
    assert!(u64::from(window) >= before, "{window} after {before}");
}

/// A peer that sends again what is held gets an ACK of what was let go, no DSACK: it was not acknowledged before.
#[test]
fn a_repetition_of_what_is_held_is_no_duplicate() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.flow().check_window = false;
    t.stack.tcp_hold_acks(t.now(), c, true).unwrap();
    t.inject("P. 1:101(100) ack 1");
    t.read(c, 100);
    t.inject("P. 1:101(100) ack 1");
    t.expect(". 1:1(0) ack 1");
    t.stack.tcp_hold_acks(t.now(), c, false).unwrap();
    t.pump();
    t.expect(". 1:1(0) ack 101");
    assert_eq!(t.stack.tcp_ack_to(t.now(), c, 5), Err(Error::InvalidArgument));
}
