//! The lists of sockets: every form that a connection can have stands in them once.

use core::time::Duration;
use std::net::SocketAddr;

use finack_core::options::{BindOptions, SocketOptions};
use finack_core::stack::{SocketCursor, TcpSocket, TimerInfo, TimerKind};
use finack_core::tcp::State;
use finack_sim::packet::{v4, v6};
use finack_sim::{Script, Setup};

/// The whole list, a few places at a time.
fn listed(t: &Script, places: usize) -> Vec<TcpSocket> {
    let (mut cursor, mut all) = (SocketCursor::default(), Vec::new());
    while t.stack.tcp_sockets(t.now(), &mut cursor, places, |s| all.push(s)) {}
    all
}

/// The only connection.
#[track_caller]
fn only(t: &Script) -> TcpSocket {
    let mut all: Vec<_> = listed(t, 3).into_iter().filter(|s| s.state != State::Listen).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    let socket = all.remove(0);
    // A look at one alone tells the same.
    let remote = socket.remote.unwrap();
    assert_eq!(t.stack.tcp_socket(t.now(), socket.local, remote), Some(socket.clone()));
    socket
}

fn timer(kind: TimerKind, remaining: Duration, retries: u32) -> Option<TimerInfo> {
    Some(TimerInfo { kind, remaining, retries })
}

/// A listener shows as `ss -l` has it: how many connections wait to be accepted, and how many may.
#[test]
fn a_listener_shows_its_queue() {
    let mut t = Setup::new().backlog(5).server();
    t.handshake();
    let all = listed(&t, 100);
    let l = all.iter().find(|s| s.state == State::Listen).unwrap();
    assert_eq!((l.local.port(), l.remote, l.recv_queue, l.send_queue), (80, None, 1, 5));
    assert_eq!((l.trace_id, l.timer, l.time_in_state, &l.info), (None, None, None, &None));
}

/// A half-open connection is a record of its own, with the timer of its SYN,ACK (RFC 6298 5.7: 1 s, then 2 s).
#[test]
fn a_half_open_connection_shows_the_timer_of_its_syn_ack() {
    let mut t = Setup::new().server();
    t.inject("S 0:0(0) win 65535 <mss 1460>");
    t.expect("S. 0:0(0) ack 1 <mss 1460>");
    t.quiet_ms(300);
    let s = only(&t);
    assert_eq!(s.state, State::SynReceived);
    assert_eq!(s.timer, timer(TimerKind::Retransmit, Duration::from_millis(700), 0));
    assert_eq!((s.time_in_state, s.held, s.info), (Some(Duration::from_millis(300)), false, None));
    t.expect_after(700, "S. 0:0(0) ack 1 <mss 1460>");
    assert_eq!(only(&t).timer, timer(TimerKind::Retransmit, Duration::from_secs(2), 1));
    assert_eq!(only(&t).time_in_state, Some(Duration::from_secs(1)));
}

/// One that waits for a gateway's decision is shown too, as what it is.
#[test]
fn an_opening_that_nobody_decided_on_is_held() {
    let mut t = Setup::new().any_address().bare();
    t.stack.tcp_listen_everywhere(8, SocketOptions::default()).unwrap();
    t.inject("S 0:0(0) win 65535 <mss 1460>");
    t.quiet_ms(2000);
    let s = only(&t);
    assert_eq!((s.state, s.held, s.timer), (State::SynReceived, true, None));
    assert_eq!(s.time_in_state, Some(Duration::from_secs(2)));
}

/// What only a full connection has is there with `tcp_info`, and is the same.
#[test]
fn an_established_connection_shows_its_queues_and_retransmission_timer() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject("P. 1:101(100) ack 1");
    t.expect(". 1:1(0) ack 101");
    t.write(c, 300);
    t.expect("P. 1:301(300) ack 101");
    t.quiet_ms(50);
    let s = only(&t);
    assert_eq!((s.state, s.recv_queue, s.send_queue, s.orphan), (State::Established, 100, 300, false));
    let TimerInfo { kind, remaining, retries } = s.timer.unwrap();
    assert_eq!((kind, retries), (TimerKind::Retransmit, 0));
    let info = s.info.unwrap();
    assert_eq!(remaining, info.rto.saturating_sub(Duration::from_millis(50)));
    assert_eq!(info, t.info(c));
    assert_eq!((info.path_mtu, info.since_sent), (1500, Duration::from_millis(50)));
}

/// A zero window is probed: `ss` calls the timer persist (RFC 9293 MUST-36).
#[test]
fn a_closed_window_shows_the_persist_timer() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.inject(". 1:1(0) ack 1 win 0");
    t.write(c, 10);
    let s = only(&t);
    assert_eq!((s.send_queue, s.timer.map(|t| (t.kind, t.retries))), (10, Some((TimerKind::Persist, 0))));
    t.pass_ms(700);
    assert!(only(&t).timer.is_some_and(|t| t.kind == TimerKind::Persist && t.retries >= 1));
}

/// Keep-alive (RFC 9293 MUST-24) shows when the next probe goes out.
#[test]
fn an_idle_connection_shows_its_keepalive_timer() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    assert_eq!(only(&t).timer, None);
    t.set_options(c, |o| o.keepalive = true);
    t.quiet_ms(10_000);
    assert_eq!(only(&t).timer, timer(TimerKind::KeepAlive, Duration::from_secs(7190), 0));
}

/// The closing states: an orphan says so, and its wait in FIN-WAIT-2 has an end; TIME-WAIT counts down 2 MSL.
#[test]
fn a_closed_connection_shows_when_it_will_be_gone() {
    for setup in [Setup::new(), Setup::new().v6()] {
        let mut t = setup.server();
        let c = t.accepted();
        t.close(c);
        t.expect("F. 1:1(0) ack 1");
        assert_eq!((only(&t).state, only(&t).orphan), (State::FinWait1, true));
        t.inject(". 1:1(0) ack 2");
        t.quiet_ms(1000);
        let s = only(&t);
        assert_eq!(s.state, State::FinWait2);
        assert_eq!(s.timer, timer(TimerKind::TimeWait, Duration::from_secs(59), 0));
        t.inject("F. 1:1(0) ack 2");
        t.expect(". 2:2(0) ack 2");
        t.quiet_ms(20_000);
        let s = only(&t);
        assert_eq!((s.state, s.info), (State::TimeWait, None));
        assert_eq!(s.timer, timer(TimerKind::TimeWait, Duration::from_secs(40), 0));
        assert_eq!(s.time_in_state, Some(Duration::from_secs(20)));
    }
}

/// A TIME-WAIT that a new opening stands over is not listed beside it (RFC 9293 MAY-2); it comes back with it.
#[test]
fn a_covered_time_wait_is_not_listed_twice() {
    let mut t = Setup::new().server();
    let c = t.accepted();
    t.close(c);
    t.expect("F. 1:1(0) ack 1");
    t.inject("F. 1:1(0) ack 2");
    t.expect(". 2:2(0) ack 2");
    t.inject("S 100000:100000(0) win 65535 <mss 1460>");
    assert_eq!(t.take_sent().len(), 1, "the SYN,ACK");
    assert_eq!(only(&t).state, State::SynReceived);
}

/// Whatever the size of a slice, the list is the same, and a slice looks at no more than was asked for.
#[test]
fn slices_of_any_size_make_the_same_list() {
    let mut t = Setup::new().server();
    for port in 10_000..10_060 {
        t.peer(port);
        let c = t.accepted();
        if port % 3 == 0 {
            t.close(c);
            t.take_sent();
        }
    }
    let all = listed(&t, usize::MAX);
    assert_eq!(all.len(), 61);
    for places in [1, 7, 16] {
        assert_eq!(listed(&t, places), all);
        let (mut cursor, mut seen) = (SocketCursor::default(), 0);
        assert!(t.stack.tcp_sockets(t.now(), &mut cursor, places, |_| seen += 1));
        assert!(seen <= places);
    }
}

/// UDP sockets: their ends as they were bound, and what waits to be read.
#[test]
fn udp_sockets_are_listed() {
    let mut t = Setup::new().bare();
    let bound = SocketAddr::new(v4(1), 53);
    t.stack.udp_bind(bound, BindOptions::default()).unwrap();
    let other = t.stack.udp_bind(SocketAddr::new(v6(1), 0), BindOptions::default()).unwrap();
    t.stack.udp_connect(other, Some(SocketAddr::new(v6(2), 53))).unwrap();
    let (mut cursor, mut all) = (SocketCursor::default(), Vec::new());
    while t.stack.udp_sockets(&mut cursor, 1, |s| all.push(s)) {}
    assert_eq!(all.len(), 2);
    assert_eq!((all[0].local, all[0].remote, all[0].recv_queue), (bound, None, 0));
    assert_eq!(all[1].remote, Some(SocketAddr::new(v6(2), 53)));
}
