//! Listening: backlog and its overflow, SYN cookies, binding and sharing of ports.

use core::net::SocketAddr;
use core::time::Duration;

use finack_core::Error;
use finack_core::options::{BindOptions, SocketOptions};
use finack_core::tcp::State;
use finack_core::trace::ResetReason;
use finack_sim::packet::flag;
use finack_sim::{Script, Setup};

use crate::support::{expect_gone, segment};

const SYN: &str = "S 0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The backlog bounds how many connections wait to be accepted (Linux: one more); who comes later is not refused but waits, and
/// gets in once there is room.
#[test]
fn a_full_accept_queue() {
    let mut t = Setup::new().backlog(2).server();
    let mut established = 0;
    for port in 40_000..40_010 {
        t.peer(port);
        t.inject(SYN);
        if t.take_sent().iter().any(|s| segment(s).has(flag::SYN)) {
            t.inject(". 1:1(0) ack 1");
            assert!(t.take_sent().iter().all(|s| !segment(s).has(flag::RST)), "nobody is refused");
        }
        established = t.count(State::Established);
    }
    assert_eq!(established, 3);
    assert!(t.stack.counters().tcp_listen_overflows >= 1);
    for _ in 0..3 {
        t.accept();
    }
    t.pass_ms(100_000);
    // The last client repeats its SYN and gets in.
    t.flow().forget();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1");
    t.accept();
}

/// A client whose third ACK met a full queue is not lost: the SYN,ACK is repeated and it gets in later.
#[test]
fn a_third_ack_meets_a_full_queue() {
    let mut t = Setup::new().backlog(1).server();
    for port in 40_000..40_003 {
        t.peer(port);
        t.inject(SYN);
        t.expect("S. 0:0(0) ack 1");
    }
    for port in 40_000..40_003 {
        t.peer(port);
        t.inject(". 1:1(0) ack 1");
        t.expect_nothing();
    }
    assert_eq!(t.count(State::Established), 2);
    t.accept();
    t.accept();
    assert_eq!(t.try_accept(), Err(Error::WouldBlock));
    t.peer(40_002);
    t.expect_after(900..=3100, "S. 0:0(0) ack 1");
    t.inject(". 1:1(0) ack 1");
    t.accept();
}

/// tcp_abort_on_overflow answers with a RST instead.
#[test]
fn abort_on_overflow() {
    let mut t = Setup::new().set("tcp_abort_on_overflow", 1).backlog(1).server();
    for port in 40_000..40_003 {
        t.peer(port);
        t.inject(SYN);
        t.expect("S. 0:0(0) ack 1");
    }
    for port in 40_000..40_002 {
        t.peer(port);
        t.inject(". 1:1(0) ack 1");
    }
    t.peer(40_002);
    t.inject(". 1:1(0) ack 1");
    t.expect("R.? 1:1(0)");
    assert_eq!(t.stack.counters().resets_sent(ResetReason::Overflow), 1);
}

/// The SYN queue is bounded: beyond it SYN cookies take over, and no memory grows.
#[test]
fn a_syn_flood() {
    let mut t = Setup::new().set("tcp_max_syn_backlog", 64).server();
    let mut memory = 0;
    for i in 0..5000_u16 {
        t.peer(1000 + i);
        t.inject(SYN);
        assert_eq!(t.take_sent().len(), 1, "each gets a SYN,ACK");
        if i == 500 {
            memory = t.stack.memory();
        }
    }
    // Some are kept beside the cookies, so that a lost third ACK heals.
    assert!(t.count(State::SynReceived) <= 256, "{} embryos", t.count(State::SynReceived));
    assert!(t.stack.counters().tcp_syn_cookies_sent > 4000);
    assert!(t.stack.memory() <= memory + 65_536, "{memory} -> {}", t.stack.memory());
    // A real client among them, overrun by the flood before its ACK comes, opens with its cookie.
    t.peer(50_000);
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    for i in 0..1000_u16 {
        t.peer(20_000 + i);
        t.inject(SYN);
        t.take_sent();
    }
    t.peer(50_000);
    t.inject(". 1:1(0) ack 1");
    let c = t.accept();
    assert_eq!(t.stack.counters().tcp_syn_cookies_received, 1);
    t.inject("P. 1:101(100) ack 1");
    t.read(c, 100);
    t.pass_ms(500);
}

/// tcp_syncookies = 0: the flood is dropped beyond the bound, counted.
#[test]
fn a_syn_flood_without_cookies() {
    let mut t = Setup::new().set("tcp_max_syn_backlog", 64).set("tcp_syncookies", 0).server();
    for i in 0..1000_u16 {
        t.peer(1000 + i);
        t.inject(SYN);
        t.take_sent();
    }
    assert!(t.count(State::SynReceived) <= 129);
    assert_eq!(t.stack.counters().tcp_syn_cookies_sent, 0);
}

/// A cookie carries the MSS, and with timestamps window scale and SACK too.
#[test]
fn what_a_cookie_carries() {
    let mut t = Setup::new().set("tcp_syncookies", 2).timestamps().server();
    t.inject("S 0:0(0) win 65535 <mss 1460,sackOK,TS val +0 ecr 0,nop,wscale 5>");
    t.expect("S. 0:0(0) ack 1 <mss 1460,sackOK,TS val * ecr +0,nop,wscale *>");
    t.inject("P. 1:11(10) ack 1 win 100");
    let c = t.accept();
    let info = t.info(c);
    assert_eq!(info.snd_mss, 1448);
    assert!(info.sack && info.timestamps);
    assert_eq!(info.window_scale.map(|w| w.0), Some(5));
    assert_eq!(info.snd_wnd, 3200);
    t.read(c, 10);
    t.pass_ms(500);
}

/// A cookie's MSS is never above what the peer offered.
#[test]
fn a_cookies_mss() {
    for mss in [536, 1000, 1220, 1460, 9000] {
        let mut t = Setup::new().set("tcp_syncookies", 2).server();
        t.inject(&format!("S 0:0(0) win 65535 <mss {mss}>"));
        t.expect("S. 0:0(0) ack 1 <mss 1460>");
        t.inject(". 1:1(0) ack 1 win 65535");
        let c = t.accept();
        assert!(t.info(c).snd_mss <= mss && t.info(c).snd_mss >= 536, "{} of {mss}", t.info(c).snd_mss);
    }
}

/// A wrong cookie is answered by a RST and opens nothing; one that is minutes old is wrong.
#[test]
fn a_wrong_cookie() {
    let mut t = Setup::new().set("tcp_syncookies", 2).server();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    let cookie = t.stack_iss();
    t.inject(". 1:1(0) ack 2");
    t.expect("R 2:2(0)");
    t.pass_ms(600_000);
    t.flow().stack_iss = cookie;
    t.inject(". 1:1(0) ack 1");
    t.expect("R 1:1(0)");
    assert_eq!(t.try_accept(), Err(Error::WouldBlock));
}

/// Cookies of one connection open no other.
#[test]
fn a_stolen_cookie() {
    let mut t = Setup::new().set("tcp_syncookies", 2).server();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    let cookie = t.stack_iss();
    t.peer(40_001).stack_iss = cookie;
    t.inject(". 1:1(0) ack 1");
    t.expect("R 1:1(0)");
}

/// Closing the listener resets who waits to be accepted and forgets who is half open; who was accepted lives on.
#[test]
fn closing_the_listener() {
    let mut t = Setup::new().server();
    let first = t.accepted();
    t.peer(40_001);
    t.handshake();
    t.peer(40_002);
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    let listener = t.listener.take().unwrap();
    t.stack.tcp_close_listener(t.now(), listener).unwrap();
    t.pump();
    let sent = t.take_sent();
    let reset = |port: u16| sent.iter().any(|s| segment(s).dport == port && segment(s).has(flag::RST));
    assert!(reset(40_001));
    assert!(!reset(40_000));
    assert_eq!(t.state(first), State::Established);
    assert_eq!(t.connections(), 1);
    assert_eq!(t.stack.tcp_accept(t.now(), listener), Err(Error::BadHandle));
    t.peer(40_003);
    t.inject(SYN);
    t.expect("R. 0:0(0) ack 1");
}

/// A connection that is reset before it is accepted: accept gives the next one (or the dead one, which then reads ECONNRESET), and
/// nothing leaks.
#[test]
fn reset_before_accept() {
    let mut t = Setup::new().server();
    t.handshake();
    t.inject("R 1:1(0)");
    match t.try_accept() {
        Ok(c) => {
            t.read_fails(c, Error::ConnectionReset);
            t.close(c);
        }
        Err(e) => assert_eq!(e, Error::WouldBlock),
    }
    expect_gone(&t);
}

/// Accepted connections come in the order in which they were opened, with the listener's options.
#[test]
fn order_and_inheritance() {
    let mut t =
        Setup::new().options(|o| (o.nodelay, o.keepalive, o.reuse_addr) = (true, true, true)).server();
    for port in 40_000..40_003 {
        t.peer(port);
        t.handshake();
    }
    for port in 40_000..40_003 {
        let c = t.accept();
        assert_eq!(t.stack.tcp_remote_addr(c).unwrap().port(), port);
        let options = t.stack.tcp_options(c).unwrap();
        assert!(options.nodelay && options.keepalive && options.reuse_addr);
    }
}

fn bind(
    t: &mut Script,
    local: &str,
    reuse_addr: bool,
    reuse_port: bool,
) -> Result<finack_core::stack::BindId, Error> {
    t.stack.tcp_bind(t.now(), addr(local), BindOptions { reuse_addr, reuse_port, v6_only: false })
}

fn listen(t: &mut Script, local: &str, reuse_addr: bool, reuse_port: bool) -> Result<(), Error> {
    let bound = bind(t, local, reuse_addr, reuse_port)?;
    let options = SocketOptions { reuse_addr, reuse_port, ..SocketOptions::default() };
    t.stack.tcp_listen(t.now(), bound, 10, options).map(|_| ())
}

/// SO_REUSEADDR: never beside a listener on the same port; beside a bind that does not listen only where both set it.
#[test]
fn reuse_addr() {
    let mut t = Setup::new().bare();
    assert_eq!(listen(&mut t, "10.0.0.1:80", true, false), Ok(()));
    assert_eq!(bind(&mut t, "10.0.0.1:80", true, false).map(|_| ()), Err(Error::AddrInUse));
    assert_eq!(bind(&mut t, "0.0.0.0:80", true, false).map(|_| ()), Err(Error::AddrInUse));
    assert!(bind(&mut t, "10.0.0.1:81", true, false).is_ok());
    assert!(bind(&mut t, "10.0.0.1:81", true, false).is_ok());
    assert_eq!(bind(&mut t, "10.0.0.1:81", false, false).map(|_| ()), Err(Error::AddrInUse));
}

/// Two binds that share a port by SO_REUSEADDR: one may listen, not both.
#[test]
fn reuse_addr_listens_once() {
    let mut t = Setup::new().bare();
    let first = bind(&mut t, "10.0.0.1:80", true, false).unwrap();
    let second = bind(&mut t, "10.0.0.1:80", true, false).unwrap();
    let options = SocketOptions { reuse_addr: true, ..SocketOptions::default() };
    assert!(t.stack.tcp_listen(t.now(), first, 10, options).is_ok());
    assert_eq!(t.stack.tcp_listen(t.now(), second, 10, options).map(|_| ()), Err(Error::AddrInUse));
}

/// EADDRINUSE: plainly, and between a wildcard and an address; other addresses and families are free (MUST-42).
#[test]
fn address_in_use() {
    let mut t = Setup::new().any_address().bare();
    assert_eq!(listen(&mut t, "10.0.0.1:80", false, false), Ok(()));
    assert_eq!(listen(&mut t, "10.0.0.1:80", false, false), Err(Error::AddrInUse));
    assert_eq!(listen(&mut t, "0.0.0.0:80", false, false), Err(Error::AddrInUse));
    assert_eq!(listen(&mut t, "10.0.0.77:80", false, false), Ok(()));
    assert_eq!(listen(&mut t, "[fd00::1]:80", false, false), Ok(()));
    assert_eq!(listen(&mut t, "10.0.0.1:81", false, false), Ok(()));
}

/// SO_REUSEPORT: any number of listeners that all set it share a port, and connections are spread over them.
#[test]
fn reuse_port() {
    let mut t = Setup::new().bare();
    let mut listeners = Vec::new();
    for _ in 0..4 {
        let bound = bind(&mut t, "10.0.0.1:80", false, true).unwrap();
        let options = SocketOptions { reuse_port: true, ..SocketOptions::default() };
        listeners.push(t.stack.tcp_listen(t.now(), bound, 128, options).unwrap());
    }
    assert_eq!(bind(&mut t, "10.0.0.1:80", false, false).map(|_| ()), Err(Error::AddrInUse));
    for port in 40_000..40_100 {
        t.peer(port);
        t.handshake();
    }
    let counts: Vec<usize> = listeners
        .iter()
        .map(|&l| core::iter::from_fn(|| t.stack.tcp_accept(t.now(), l).ok()).count())
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 100);
    assert!(counts.iter().all(|&n| n >= 5), "spread over all: {counts:?}");
}

/// The most specific listener gets the connection.
#[test]
fn the_most_specific_listener() {
    let mut t = Setup::new().any_address().bare();
    let mut made = Vec::new();
    for local in ["0.0.0.0:80", "10.0.0.1:80"] {
        let bound = bind(&mut t, local, false, true).unwrap();
        let options = SocketOptions { reuse_port: true, ..SocketOptions::default() };
        made.push(t.stack.tcp_listen(t.now(), bound, 128, options).unwrap());
    }
    t.handshake();
    assert_eq!(t.stack.tcp_accept(t.now(), made[0]).map(|_| ()), Err(Error::WouldBlock));
    assert!(t.stack.tcp_accept(t.now(), made[1]).is_ok());
}

/// A listener on `::` takes IPv4 too, unless it is IPV6_V6ONLY.
#[test]
fn dual_stack() {
    for v6_only in [false, true] {
        let mut t = Setup::new().bare();
        let options = BindOptions { v6_only, ..BindOptions::default() };
        let bound = t.stack.tcp_bind(t.now(), addr("[::]:80"), options).unwrap();
        let options = SocketOptions { v6_only, ..SocketOptions::default() };
        let listener = t.stack.tcp_listen(t.now(), bound, 10, options).unwrap();
        t.inject(SYN);
        if v6_only {
            t.expect("R. 0:0(0) ack 1");
        } else {
            t.expect("S. 0:0(0) ack 1");
            t.inject(". 1:1(0) ack 1");
            let (_, from) = t.stack.tcp_accept(t.now(), listener).unwrap();
            assert_eq!(from.port(), 40_000);
        }
        assert_eq!(listen(&mut t, "0.0.0.0:80", false, false).is_ok(), v6_only);
    }
}

/// Port 0 takes a free port, which the application can ask for; giving the bind up frees it.
#[test]
fn port_0() {
    let mut t = Setup::new().set("ip_local_port_range", "50000 50001").bare();
    let first = bind(&mut t, "10.0.0.1:0", false, false).unwrap();
    let second = bind(&mut t, "10.0.0.1:0", false, false).unwrap();
    let mut ports =
        [t.stack.tcp_bound_addr(first).unwrap().port(), t.stack.tcp_bound_addr(second).unwrap().port()];
    ports.sort_unstable();
    assert_eq!(ports, [50_000, 50_001]);
    assert_eq!(bind(&mut t, "10.0.0.1:0", false, false).map(|_| ()), Err(Error::AddrInUse));
    t.stack.tcp_unbind(first).unwrap();
    assert!(bind(&mut t, "10.0.0.1:0", false, false).is_ok());
}

/// A backlog of 0 still lets one connection in; a huge one is cut to somaxconn.
#[test]
fn odd_backlogs() {
    let mut t = Setup::new().backlog(0).server();
    t.accepted();
    let mut t = Setup::new().set("somaxconn", 2).backlog(u32::MAX).server();
    for port in 40_000..40_010 {
        t.peer(port);
        t.inject(SYN);
        if !t.take_sent().is_empty() {
            t.inject(". 1:1(0) ack 1");
            t.take_sent();
        }
    }
    assert_eq!(t.count(State::Established), 3);
}

/// RFC 9293 MUST-41: a new passive open does not disturb established connections of the same port.
#[test]
fn a_new_listener_disturbs_nobody() {
    let mut t = Setup::new().options(|o| o.reuse_addr = true).server();
    let c = t.accepted();
    let listener = t.listener.take().unwrap();
    t.stack.tcp_close_listener(t.now(), listener).unwrap();
    t.pump();
    t.listen();
    t.inject("P. 1:11(10) ack 1");
    t.read(c, 10);
    t.pass_ms(500);
    t.peer(40_001);
    t.accepted();
}

/// RFC 9293 MUST-49: the listener's hop limit and TOS are those of its SYN,ACKs too (who checks the hop limit, as BGP does, checks it there).
#[test]
fn the_syn_ack_has_the_listeners_hop_limit() {
    let mut t = Setup::new().options(|o| (o.hop_limit, o.tos) = (Some(255), 0x28)).server();
    t.inject(SYN);
    let sent = t.next_sent();
    assert_eq!((sent.packet.ip.ttl, sent.packet.ip.tos), (255, 0x28));
}

/// The third ACK may carry data, or a FIN, or both.
#[test]
fn a_fin_in_the_third_ack() {
    for (text, len) in [("F. 1:1(0) ack 1", 0), ("FP. 1:101(100) ack 1", 100)] {
        let mut t = Setup::new().server();
        t.inject(SYN);
        t.expect("S. 0:0(0) ack 1");
        t.inject(text);
        let c = t.accept();
        assert_eq!(t.state(c), State::CloseWait);
        if len > 0 {
            t.read(c, len);
        }
        t.read_eof(c);
        t.take_sent();
        t.write(c, 10);
        t.expect(&format!("P. 1:11(10) ack {}", len + 2));
    }
}

/// RFC 4987 3.6: a cookie without timestamps can't tell the window scale or SACK, so the SYN,ACK grants neither: a peer that
/// believed in a scale which we forgot would overrun our window.
#[test]
fn a_cookie_without_timestamps_grants_no_options() {
    let mut t = Setup::new().set("tcp_syncookies", 2).server();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1 <mss 1460>");
    t.inject(". 1:1(0) ack 1 win 5000");
    let c = t.accept();
    let info = t.info(c);
    assert_eq!((info.window_scale, info.sack, info.snd_wnd), (None, false, 5000));
}

/// A client with a good cookie that meets a full accept queue is not refused: it gets in with what it sends again.
#[test]
fn a_cookie_meets_a_full_queue() {
    let mut t = Setup::new().set("tcp_syncookies", 2).backlog(0).server();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    for port in 1000..1100 {
        t.peer(port);
        t.inject(SYN);
        t.take_sent();
    }
    t.inject(". 1:1(0) ack 1");
    t.peer(40_000);
    t.inject(". 1:1(0) ack 1");
    t.expect_nothing();
    t.peer(1099);
    t.accept();
    t.peer(40_000);
    t.inject("P. 1:101(100) ack 1");
    let c = t.accept();
    t.read(c, 100);
    assert_eq!(t.info(c).srtt, Duration::ZERO, "when the SYN,ACK went out is forgotten: no sample");
    t.take_sent();
}

/// Openings that were given up make room in the queue of those that wait for a decision; nobody else is forgotten for them.
#[test]
fn an_opening_waits_while_others_are_given_up() {
    let mut t = Setup::new().bare();
    let listener = t.stack.tcp_listen_everywhere(1, SocketOptions::default()).unwrap();
    t.inject(SYN);
    for port in 1000..1050 {
        t.peer(port);
        t.inject(SYN);
        t.inject("R 1:1(0)");
    }
    let incoming = t.stack.tcp_incoming(listener).unwrap();
    assert_eq!(incoming.remote.port(), 40_000);
}

/// RFC 4987 3.6: cookies are taken only while some may be on their way; afterwards an ACK for a listener is a stray one, looked at no further.
#[test]
fn cookies_are_taken_for_a_while() {
    let mut t = Setup::new().set("tcp_syncookies", 2).server();
    t.inject(SYN);
    t.expect("S. 0:0(0) ack 1");
    t.peer(40_001);
    t.inject(". 1:1(0) ack 1");
    t.take_sent();
    assert_eq!(t.stack.counters().tcp_syn_cookies_failed, 1);
    t.pass_ms(200_000);
    t.inject(". 1:1(0) ack 1");
    t.expect("R 1:1(0)");
    assert_eq!(t.stack.counters().tcp_syn_cookies_failed, 1);
}

/// A program that gave up connecting says nothing (RFC 9293 3.10.4, SYN-SENT); when it tries again from the same port before anybody
/// decided about the first SYN, its new SYN takes the old one's place.
#[test]
fn a_new_syn_replaces_an_undecided_one() {
    let mut t = Setup::new().bare();
    let listener = t.stack.tcp_listen_everywhere(8, SocketOptions::default()).unwrap();
    t.inject(SYN);
    let old = t.stack.tcp_incoming(listener).unwrap();
    t.pass_ms(5000);
    t.flow().forget();
    t.flow().peer_iss = 7_000_000;
    t.inject(SYN);
    assert_eq!(t.stack.tcp_answer(t.now(), old.id), Err(Error::BadHandle));
    let new = t.stack.tcp_incoming(listener).unwrap();
    t.stack.tcp_answer(t.now(), new.id).unwrap();
    t.pump();
    t.expect("S. 0:0(0) ack 1");
}
