//! What the application is told, and when: `poll_event` as an edge-triggered epoll would have it, `tcp_ready` as a level.

use finack_core::options::Shutdown;
use finack_core::stack::{ConnId, Ready};
use finack_core::{Error, Event};
use finack_sim::{Script, Setup};

/// What the events since the last call said of `conn`, one entry an event.
fn told(t: &mut Script, conn: ConnId) -> Vec<Ready> {
    let of_it = |e: Event| match e {
        Event::Tcp { conn: c, ready } if c == conn => Some(ready),
        _ => None,
    };
    core::mem::take(&mut t.events).into_iter().filter_map(of_it).collect()
}

fn any(told: &[Ready], what: Ready) -> bool {
    told.iter().any(|r| r.contains(what))
}

/// New data is an event each time, read or not.
#[test]
fn each_arrival_is_told() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    told(&mut t, c);
    for i in 0..5 {
        t.inject(&format!("P. {}:{}(10) ack 1", 1 + i * 10, 11 + i * 10));
        t.take_sent();
        assert!(any(&told(&mut t, c), Ready::READABLE), "arrival {i}");
    }
    t.read(c, 50);
    t.pass_ms(1000);
    assert!(!any(&told(&mut t, c), Ready::READABLE), "nothing new came");
}

/// Data that waited before `accept` is told after it, as is that the connection is writable.
#[test]
fn what_was_there_before_accept_is_told() {
    let mut t = Setup::new().server();
    t.handshake();
    t.inject("P. 1:11(10) ack 1");
    t.take_sent();
    let c = t.accept();
    assert!(t.stack.tcp_ready(c).unwrap().contains(Ready::READABLE | Ready::WRITABLE));
    assert!(any(&told(&mut t, c), Ready::READABLE));
    t.read(c, 10);
    t.pass_ms(500);
}

/// Data out of order is no event; the segment that fills the gap is.
#[test]
fn data_beyond_a_gap_is_not_told() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    told(&mut t, c);
    t.inject("P. 101:201(100) ack 1");
    t.take_sent();
    assert!(!any(&told(&mut t, c), Ready::READABLE));
    assert!(!t.stack.tcp_ready(c).unwrap().contains(Ready::READABLE));
    t.inject("P. 1:101(100) ack 1");
    t.take_sent();
    assert!(any(&told(&mut t, c), Ready::READABLE));
}

/// EOF is told once as an event, and stays as a level.
#[test]
fn eof_is_told() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    told(&mut t, c);
    t.inject("F. 1:1(0) ack 1");
    assert!(any(&told(&mut t, c), Ready::READABLE | Ready::READ_CLOSED));
    t.pass_ms(1000);
    assert_eq!(told(&mut t, c), []);
    t.read_eof(c);
    assert!(t.stack.tcp_ready(c).unwrap().contains(Ready::READABLE | Ready::READ_CLOSED));
}

/// A reset wakes readers and writers and says that there is an error; the level lasts until the error was taken.
#[test]
fn a_reset_wakes_everybody() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    told(&mut t, c);
    t.inject("R 1:1(0)");
    let all = Ready::ERROR | Ready::READABLE | Ready::WRITABLE | Ready::READ_CLOSED | Ready::WRITE_CLOSED;
    assert!(any(&told(&mut t, c), all));
    assert!(t.stack.tcp_ready(c).unwrap().contains(Ready::ERROR));
    assert_eq!(t.take_error(c), Some(Error::ConnectionReset));
    let after = t.stack.tcp_ready(c).unwrap();
    assert!(!after.contains(Ready::ERROR));
    assert!(after.contains(Ready::READ_CLOSED | Ready::WRITE_CLOSED | Ready::READABLE | Ready::WRITABLE));
}

/// A failed connect: error and writable, as poll has it.
#[test]
fn a_refusal_wakes_connect() {
    let mut t = Setup::new().client();
    let c = t.connect();
    t.expect("S 0:0(0)");
    assert_eq!(told(&mut t, c), []);
    t.inject("R. 0:0(0) ack 1");
    assert!(any(&told(&mut t, c), Ready::ERROR | Ready::WRITABLE));
}

/// Nothing is said of connections whose handle is spent.
#[test]
fn nothing_is_told_of_what_was_closed() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.close(c);
    t.expect("F. 1:1(0) ack 1");
    told(&mut t, c);
    t.inject("F. 1:1(0) ack 2");
    t.expect(". 2:2(0) ack 2");
    t.pass_ms(61_000);
    assert_eq!(told(&mut t, c), []);
}

/// Our own shutdowns show at once in the level.
#[test]
fn shutdowns_show() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    let ready = |t: &Script| t.stack.tcp_ready(c).unwrap();
    assert!(!ready(&t).intersects(Ready::READ_CLOSED | Ready::WRITE_CLOSED));
    t.shutdown(c, Shutdown::Read);
    assert!(ready(&t).contains(Ready::READ_CLOSED | Ready::READABLE));
    assert!(!ready(&t).contains(Ready::WRITE_CLOSED));
    t.shutdown(c, Shutdown::Write);
    t.expect("F. 1:1(0) ack 1");
    assert!(ready(&t).contains(Ready::WRITE_CLOSED));
}

/// Of a segment that reaches beyond our window the FIN is cut off with the rest: no EOF before the bytes.
#[test]
fn a_fin_beyond_the_window_is_cut_off() {
    let mut t = Setup::new().options(|o| o.recv_buffer = Some(4096)).server();
    let c = t.accepted();
    let mut seq = 1_u32;
    for _ in 0..100 {
        let window = t.info(c).rcv_wnd as u32;
        if window < 400 {
            break;
        }
        let len = 300.min(window - 100);
        t.inject(&format!("P. {seq}:{}({len}) ack 1", seq + len));
        t.pass_ms(500);
        seq += len;
    }
    t.inject(&format!("FP. {seq}:{}(1400) ack 1", seq + 1400));
    t.pass_ms(500);
    let queued = t.info(c).recv_queue as usize;
    assert!(queued < seq as usize + 1400 - 1, "not all of it fits");
    t.read(c, queued);
    t.read_blocks(c);
    t.pass_ms(500);
    t.inject(&format!("FP. {seq}:{}(1400) ack 1", seq + 1400));
    t.pass_ms(500);
    t.read(c, seq as usize - 1 + 1400 - queued);
    t.read_eof(c);
}

/// Options that make room or lower a mark wake who waits for it, without waiting for the next packet.
#[test]
fn options_wake() {
    let mut t = Setup::new().options(|o| (o.send_buffer, o.recv_lowat) = (Some(20_000), 1000)).server();
    let c = t.accepted();
    while t.try_write(c, 10_000, Default::default()).is_ok() {}
    t.take_sent();
    told(&mut t, c);
    t.set_options(c, |o| o.send_buffer = Some(100_000));
    t.take_sent();
    assert!(any(&told(&mut t, c), Ready::WRITABLE));
    t.inject("P. 1:101(100) ack 1");
    t.take_sent();
    assert!(!any(&told(&mut t, c), Ready::READABLE));
    t.set_options(c, |o| o.recv_lowat = 50);
    assert!(any(&told(&mut t, c), Ready::READABLE));
    t.abort(c);
    t.take_sent();
}
