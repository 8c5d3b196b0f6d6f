//! The receive buffer follows what the application reads in a round trip (RFC 9293 3.8.6.2 leaves the size to us).

use finack_core::stack::ConnId;
use finack_sim::{Script, Setup};

/// A connection with a round trip of 100 ms.
fn far(setup: Setup) -> (Script, ConnId) {
    let mut t = setup.server();
    t.inject("S 0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect("S. 0:0(0) ack 1");
    t.pass_ms(100);
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    (t, c)
}

/// `len` bytes come and are read; then `ms` milliseconds pass.
fn take(t: &mut Script, c: ConnId, at: usize, len: usize, ms: u64) {
    let mut pos = at;
    while pos < at + len {
        let end = (pos + 1460).min(at + len);
        t.inject(&format!(". {pos}:{end}({}) ack 1", end - pos));
        t.take_sent();
        pos = end;
    }
    t.read(c, len);
    t.take_sent();
    t.pass_ms(ms);
    t.take_sent();
}

/// SHLD-14: the window grows with a fast reader, up to tcp_rmem's most, and never retreats.
#[test]
fn a_fast_reader_gets_a_larger_window() {
    let (mut t, c) = far(Setup::new());
    assert_eq!(t.info(c).rcv_buf, 131_072);
    let (mut at, mut edge) = (1, 0);
    for _ in 0..8 {
        take(&mut t, c, at, 60_000, 100);
        at += 60_000;
        let now = at as u64 + t.info(c).rcv_wnd;
        assert!(now >= edge, "the right edge went from {edge} to {now}");
        edge = now;
    }
    let info = t.info(c);
    assert!(info.rcv_buf >= 2 * 60_000, "{} bytes", info.rcv_buf);
    assert!(info.rcv_buf <= 6_291_456, "{} bytes", info.rcv_buf);
    assert_eq!(info.rcv_space, 60_000);
}

/// The same bytes in a hundred times the time need no more room; SO_RCVBUF and tcp_moderate_rcvbuf = 0 forbid it.
#[test]
fn others_keep_theirs() {
    for (setup, ms) in [
        (Setup::new(), 10_000),
        (Setup::new().set("tcp_moderate_rcvbuf", 0), 100),
        (Setup::new().options(|o| o.recv_buffer = Some(65_536)), 100),
    ] {
        let (mut t, c) = far(setup);
        for i in 0..6 {
            take(&mut t, c, 1 + i * 5_000, 5_000, ms);
        }
        assert_eq!(t.info(c).rcv_buf, 131_072);
    }
}

/// TCP_WINDOW_CLAMP bounds the window of the SYN,ACK, its scale, and every window behind it.
#[test]
fn a_clamp_holds_for_every_window() {
    let mut t = Setup::new().options(|o| o.window_clamp = Some(10_000)).server();
    t.inject("S 0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect("S. 0:0(0) ack 1 win 8760 <mss 1460,nop,nop,sackOK,nop,wscale 0>");
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    for i in 0..20 {
        t.inject(&format!("P. {}:{}(1000) ack 1", 1 + i * 1000, 1001 + i * 1000));
        t.read(c, 1000);
        t.take_sent();
        assert!(t.info(c).rcv_wnd <= 10_000);
    }
}

/// RFC 9293 3.8.6.1: a window that is clamped below a segment opens again once all is read (found by the swarm: it stayed
/// shut, whatever the peer asked).
#[test]
fn a_clamp_below_a_segment_opens_again() {
    let mut t = Setup::new().options(|o| (o.window_clamp, o.recv_buffer) = (Some(516), Some(1027))).server();
    t.inject("S 0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect("S. 0:0(0) ack 1 win 516");
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    for at in [1, 517] {
        t.inject(&format!("P. {at}:{}(516) ack 1", at + 516));
        t.take_sent();
    }
    t.read(c, 1032);
    t.take_sent();
    // A probe asks whether it is open.
    t.inject(". 1032:1032(0) ack 1");
    t.expect(". 1:1(0) ack 1033 win 516");
}

/// RFC 9293 3.8.6.2.2: with `profile=rfc` too, half of a clamped window is worth telling.
#[test]
fn a_clamp_below_a_segment_opens_again_to_the_letter() {
    let mut t = Setup::new().rfc().options(|o| o.window_clamp = Some(515)).server();
    t.inject("S 0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>");
    t.expect("S. 0:0(0) ack 1 win 515");
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    t.inject("P. 1:516(515) ack 1");
    t.read(c, 515);
    t.take_sent();
    t.inject(". 515:515(0) ack 1");
    t.expect(". 1:1(0) ack 516 win 515");
}
