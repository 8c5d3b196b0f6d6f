//! Buffers that are not copied (MSG_ZEROCOPY, as Linux has it): when they are done with, and how that is told.

use core::slice::from_ref;

use bytes::Bytes;
use finack_core::options::SendFlags;
use finack_core::stack::{ConnId, Ready};
use finack_core::{Error, Event};
use finack_sim::{Script, Setup, on_both_paths, pattern};

/// Whose bytes [`pattern`] is to make.
const STACK: u8 = 1;

/// The next `len` bytes that the stack is to send, in a buffer of their own, queued without being copied.
fn lend(t: &mut Script, c: ConnId, offset: u64, len: usize) -> Bytes {
    let buffer = Bytes::from(pattern::bytes(STACK, offset, len));
    let now = t.now();
    assert_eq!(t.stack.tcp_send_shared(now, c, from_ref(&buffer), SendFlags::default()), Ok(len));
    t.stack.tcp_ask_completion(now, c).unwrap();
    t.pump();
    buffer
}

/// The numbers told since the last look: the first of a range, and the one behind its last.
fn told(t: &mut Script, c: ConnId) -> Vec<(u32, u32)> {
    let mut numbers = Vec::new();
    while let Some(range) = t.stack.tcp_take_completion(c).unwrap() {
        numbers.push((range.start, range.end));
    }
    numbers
}

/// Whether events say that something is done with.
fn announced(t: &mut Script) -> bool {
    let done = |event: &Event| matches!(event, Event::Tcp { ready, .. } if ready.contains(Ready::COMPLETED));
    core::mem::take(&mut t.events).iter().any(done)
}

/// A buffer is done with once all of it is acknowledged; nobody but its owner holds it then.
#[test]
fn a_buffer_is_given_back_with_its_ack() {
    on_both_paths(|setup| {
        let mut t = setup.server();
        let c = t.accepted();
        let buffer = lend(&mut t, c, 0, 4000);
        t.expect(". 1:1461(1460) ack 1");
        t.expect(". 1461:2921(1460) ack 1");
        t.expect("P. 2921:4001(1080) ack 1");
        t.inject(". 1:1(0) ack 2921");
        assert!(!announced(&mut t));
        assert_eq!(told(&mut t, c), []);
        t.inject(". 1:1(0) ack 4001");
        assert!(announced(&mut t));
        assert!(buffer.is_unique(), "the engine still holds the buffer");
        assert!(t.stack.tcp_ready(c).unwrap().contains(Ready::COMPLETED));
        assert_eq!(told(&mut t, c), [(0, 1)]);
        assert!(!t.stack.tcp_ready(c).unwrap().contains(Ready::COMPLETED));
    });
}

/// What is sent again comes from the application's buffer too, so that it is not done with before the ACK.
#[test]
fn a_lost_segment_is_sent_again_from_the_buffer() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let buffer = lend(&mut t, c, 0, 1000);
    t.expect("P. 1:1001(1000) ack 1");
    t.expect_after(200..=201, "P. 1:1001(1000) ack 1");
    assert_eq!(told(&mut t, c), []);
    assert!(!buffer.is_unique());
    t.inject(". 1:1(0) ack 1001");
    assert_eq!(told(&mut t, c), [(0, 1)]);
    assert!(buffer.is_unique());
}

/// Calls are numbered from 0; what is told at once is told as one range. Copied data between them does not matter.
#[test]
fn completions_are_told_in_ranges() {
    let mut t = Setup::new().options(|o| o.nodelay = true).server();
    let c = t.accepted();
    lend(&mut t, c, 0, 100);
    lend(&mut t, c, 100, 100);
    let now = t.now();
    t.stack.tcp_send(now, c, &pattern::bytes(STACK, 200, 100), SendFlags::default()).unwrap();
    t.pump();
    lend(&mut t, c, 300, 100);
    for at in [1, 101, 201, 301] {
        t.expect(&format!("P. {at}:{}(100) ack 1", at + 100));
    }
    t.inject(". 1:1(0) ack 101");
    t.inject(". 1:1(0) ack 301");
    assert_eq!(told(&mut t, c), [(0, 2)]);
    t.inject(". 1:1(0) ack 401");
    assert_eq!(told(&mut t, c), [(2, 3)]);
}

/// A RST gives everything back, and says so (RFC 9293 3.10.7.4).
#[test]
fn a_reset_gives_everything_back() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let buffer = lend(&mut t, c, 0, 1000);
    t.expect("P. 1:1001(1000) ack 1");
    t.inject("R. 1:1(0) ack 1");
    assert!(announced(&mut t));
    assert_eq!(told(&mut t, c), [(0, 1)]);
    assert!(buffer.is_unique());
}

/// A peer that falls silent: with the connection the buffer is given up (RFC 9293 MUST-20).
#[test]
fn giving_up_gives_everything_back() {
    let mut t = Setup::new().options(|o| o.user_timeout = Some(core::time::Duration::from_secs(2))).server();
    let c = t.accepted();
    let buffer = lend(&mut t, c, 0, 1000);
    t.pass_ms(3000);
    assert_eq!(told(&mut t, c), [(0, 1)]);
    assert!(buffer.is_unique());
}

/// An abort drops what is queued; a close delivers it first. The handle is spent either way: nobody is told.
#[test]
fn abort_and_close_let_go() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let buffer = lend(&mut t, c, 0, 1000);
    t.expect("P. 1:1001(1000) ack 1");
    t.abort(c);
    t.expect("R. 1001:1001(0) ack 1");
    assert!(buffer.is_unique());

    let mut t = Setup::new().server();
    let c = t.accepted();
    let buffer = lend(&mut t, c, 0, 1000);
    t.expect("P. 1:1001(1000) ack 1");
    t.close(c);
    t.expect("F. 1001:1001(0) ack 1");
    assert!(!buffer.is_unique());
    t.inject(". 1:1(0) ack 1002");
    assert!(buffer.is_unique());
}

/// What does not fit the send buffer is not taken: the caller keeps it, and comes again.
#[test]
fn what_does_not_fit_stays_with_the_caller() {
    let mut t = Setup::new().options(|o| o.send_buffer = Some(1500)).server();
    t.inject("S 0:0(0) win 4000 <mss 1460>");
    t.expect("S. 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1 win 4000");
    let c = t.accept();
    let buffer = Bytes::from(pattern::bytes(STACK, 0, 4000));
    let now = t.now();
    let taken = t.stack.tcp_send_shared(now, c, from_ref(&buffer), SendFlags::default()).unwrap();
    assert_eq!(taken, 2920);
    let rest = [buffer.slice(taken..)];
    assert_eq!(t.stack.tcp_send_shared(now, c, &rest, SendFlags::default()), Err(Error::WouldBlock));
    t.pump();
    t.expect(". 1:1461(1460) ack 1");
    t.expect("P. 1461:2921(1460) ack 1");
    t.inject(". 1:1(0) ack 2921 win 4000");
    assert_eq!(t.stack.tcp_send_shared(t.now(), c, &rest, SendFlags::default()), Ok(1080));
    t.pump();
    t.expect("P. 2921:4001(1080) ack 1");
}

/// As on Linux a unit has room for 17 buffers. The next begins a segment of its own, and the one before says PSH.
#[test]
fn seventeen_buffers_share_a_segment() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let bytes = Bytes::from(pattern::bytes(STACK, 0, 40));
    let pieces: Vec<Bytes> = (0..40).map(|i| bytes.slice(i..=i)).collect();
    let now = t.now();
    assert_eq!(t.stack.tcp_send_shared(now, c, &pieces, SendFlags::default()), Ok(40));
    t.pump();
    t.expect("P. 1:18(17) ack 1");
    t.expect("P. 18:35(17) ack 1");
    t.expect_nothing();
    t.inject(". 1:1(0) ack 35");
    t.expect("P. 35:41(6) ack 1");
}

/// The bound: so many may wait to be taken, then none is asked for any more until some are.
#[test]
fn completions_are_bounded() {
    let mut t = Setup::new().options(|o| o.send_buffer = Some(1 << 20)).server();
    let c = t.accepted();
    t.write(c, 1);
    let now = t.now();
    for number in 0..1024 {
        assert_eq!(t.stack.tcp_ask_completion(now, c), Ok(number));
    }
    assert_eq!(t.stack.tcp_ask_completion(now, c), Err(Error::NoBufferSpace));
    t.expect("P. 1:2(1) ack 1");
    t.inject(". 1:1(0) ack 2");
    assert_eq!(told(&mut t, c), [(0, 1024)]);
    assert_eq!(t.stack.tcp_ask_completion(t.now(), c), Ok(1024));
    assert_eq!(told(&mut t, c), [(1024, 1025)]);
}
