//! Every order of delivery and every fault (few at once) in the exchanges that are easiest to get wrong.

use core::net::SocketAddr;
use core::time::Duration;

use finack_core::device::Capabilities;
use finack_core::options::{BindOptions, RecvFlags, SendFlags, Shutdown, SocketOptions};
use finack_core::stack::{ConnId, InterfaceAddress};
use finack_core::tcp::State;
use finack_core::{Error, Instant, Stack};
use finack_sim::Setup;
use finack_sim::explore::{Explored, Pair, Step, explore};
use finack_sim::packet::v4;

const START: Instant = Instant::from_secs(1);

fn stack(host: u8) -> Stack {
    let mut config = Setup::new().device(Capabilities::plain(1500)).seed(host).config();
    config.addresses = vec![InterfaceAddress { addr: v4(host), prefix_len: 24 }];
    Stack::new(START, config)
}

fn end(host: u8) -> SocketAddr {
    SocketAddr::new(v4(host), 5000)
}

fn bind_connect(pair: &mut Pair, at: usize, from: SocketAddr, to: SocketAddr) -> ConnId {
    pair.with(at, |s, now| {
        let bind = s.tcp_bind(now, from, BindOptions::default()).unwrap();
        s.tcp_connect(now, Some(bind), to, SocketOptions::default()).unwrap()
    })
}

fn over(pair: &Pair) -> bool {
    let left = |s: &Stack| s.count_by_state().iter().any(|(state, n)| *state != State::Closed && *n > 0);
    !pair.stacks.iter().any(left)
}

fn established(pair: &Pair, conns: [ConnId; 2]) -> bool {
    (0..2).all(|i| pair.stacks[i].tcp_state(conns[i]) == Ok(State::Established))
}

/// RFC 9293 MUST-10: both sides connect at once; whatever is lost, repeated or overtaken (at most two packets) and in whatever order they arrive,
/// both are ESTABLISHED in the end, with no RST.
#[test]
fn simultaneous_open() {
    let mut pair = Pair::new(START, [stack(1), stack(2)], 2);
    let c = bind_connect(&mut pair, 0, end(1), end(2));
    let d = bind_connect(&mut pair, 1, end(2), end(1));
    let explored = explore(pair, 60, &mut |p| {
        for i in 0..2 {
            assert_eq!(p.stacks[i].counters().tcp_out_rsts, 0, "a RST after {:?}", p.path);
            assert_eq!(p.stacks[i].counters().tcp_attempt_fails, 0, "given up after {:?}", p.path);
        }
        established(p, [c, d]) && p.wires.iter().all(|w| w.is_empty())
    });
    expect_many(explored);
}

/// The same, with data from both sides right behind: it arrives whole.
#[test]
fn simultaneous_open_with_data() {
    let mut pair = Pair::new(START, [stack(1), stack(2)], 1);
    let conns = [bind_connect(&mut pair, 0, end(1), end(2)), bind_connect(&mut pair, 1, end(2), end(1))];
    let explored = explore(pair, 80, &mut |p| {
        let mut done = 0;
        for (i, conn) in conns.into_iter().enumerate() {
            if p.stacks[i].tcp_state(conn) == Ok(State::Established) {
                let info = p.stacks[i].tcp_info(p.now, conn).unwrap();
                if info.bytes_acked == 0 && info.send_queue == 0 {
                    let sent = p.with(i, |s, now| s.tcp_send(now, conn, b"hello", SendFlags::default()));
                    assert_eq!(sent, Ok(5));
                }
                let got = p.stacks[i].tcp_info(p.now, conn).unwrap();
                done += u32::from(got.bytes_received == 5 && got.bytes_acked == 5);
            }
        }
        done == 2
    });
    expect_many(explored);
}

/// An open pair of connections between the two stacks.
fn open_pair(faults: u32) -> (Pair, [ConnId; 2]) {
    let mut pair = Pair::new(START, [stack(1), stack(2)], 0);
    let listener = pair.with(1, |s, now| {
        let bind = s.tcp_bind(now, end(2), BindOptions::default()).unwrap();
        s.tcp_listen(now, bind, 5, SocketOptions::default()).unwrap()
    });
    let c = bind_connect(&mut pair, 0, end(1), end(2));
    flush(&mut pair);
    let d = pair.with(1, |s, now| {
        let (d, _) = s.tcp_accept(now, listener).unwrap();
        s.tcp_close_listener(now, listener).unwrap();
        d
    });
    pair.faults = faults;
    (pair, [c, d])
}

/// All that is on its way arrives, in order.
fn flush(pair: &mut Pair) {
    while pair.wires.iter().any(|w| !w.is_empty()) {
        for from in 0..2 {
            while let Some(bytes) = pair.wires[from].pop_front() {
                let packet = finack_core::device::Packet::borrowed(&bytes);
                pair.with(1 - from, |s, now| s.handle_packets(now, &[packet]));
            }
        }
    }
}

/// No RST, unless a segment came twice or late (and was sent again): what comes to a connection that has ended meanwhile is answered so.
#[track_caller]
fn expect_no_reset(p: &Pair) {
    let repeated = p.path.iter().any(|s| matches!(s, Step::Repeat(_) | Step::Overtake(_) | Step::Late));
    let resets: u64 = p.stacks.iter().map(|s| s.counters().tcp_out_rsts).sum();
    assert!(resets == 0 || repeated, "{resets} RSTs after {:?}", p.path);
}

fn expect_many(explored: Explored) {
    assert!(explored.ends > 10, "{explored:?}");
}

/// RFC 9293 3.6, figure 13: both close at once; at most two packets are lost, repeated or overtaken: both end CLOSED, without a RST.
#[test]
fn simultaneous_close() {
    let (mut pair, [c, d]) = open_pair(2);
    pair.with(0, |s, now| s.tcp_close(now, c)).unwrap();
    pair.with(1, |s, now| s.tcp_close(now, d)).unwrap();
    let explored = explore(pair, 80, &mut |p| {
        // A lost last ACK may find the other side's TIME-WAIT over after a long silence; within these losses it does not.
        expect_no_reset(p);
        over(p)
    });
    expect_many(explored);
}

/// One side writes and closes, the other reads to EOF and closes: at most two faults, every order; all bytes, then EOF.
#[test]
fn orderly_close_with_data() {
    let (mut pair, [c, d]) = open_pair(2);
    pair.with(0, |s, now| s.tcp_send(now, c, b"all of it", SendFlags::default())).unwrap();
    pair.with(0, |s, now| s.tcp_close(now, c)).unwrap();
    let explored = explore(pair, 80, &mut |p| {
        if p.stacks[1].tcp_state(d).is_ok() {
            let mut buf = [0; 100];
            let info = p.stacks[1].tcp_info(p.now, d).unwrap();
            assert!(info.bytes_received == 0 || info.bytes_received == 9);
            // Nothing is read before all is there, so that the stack's clone holds the stream.
            if p.stacks[1].tcp_state(d) == Ok(State::CloseWait) {
                let read = RecvFlags::default();
                assert_eq!(p.with(1, |s, now| s.tcp_recv(now, d, &mut buf, read)), Ok(9));
                assert_eq!(&buf[..9], b"all of it");
                assert_eq!(p.with(1, |s, now| s.tcp_recv(now, d, &mut buf, read)), Ok(0), "EOF");
                p.with(1, |s, now| s.tcp_close(now, d)).unwrap();
            }
        }
        expect_no_reset(p);
        over(p)
    });
    expect_many(explored);
}

/// A handshake with at most three faults: the client's ESTABLISHED is always followed by the server's, as the client speaks.
#[test]
fn handshake() {
    let mut pair = Pair::new(START, [stack(1), stack(2)], 3);
    let listener = pair.with(1, |s, now| {
        let bind = s.tcp_bind(now, end(2), BindOptions::default()).unwrap();
        s.tcp_listen(now, bind, 5, SocketOptions::default()).unwrap()
    });
    let c = bind_connect(&mut pair, 0, end(1), end(2));
    let explored = explore(pair, 80, &mut |p| {
        if p.stacks[0].tcp_state(c) == Ok(State::Established) {
            let info = p.stacks[0].tcp_info(p.now, c).unwrap();
            if info.bytes_sent == 0 {
                p.with(0, |s, now| s.tcp_send(now, c, b"x", SendFlags::default())).unwrap();
            }
        }
        match p.with(1, |s, now| s.tcp_accept(now, listener)) {
            Ok((d, _)) => {
                assert_eq!(p.stacks[1].tcp_state(d), Ok(State::Established));
                true
            }
            Err(e) => {
                assert_eq!(e, Error::WouldBlock);
                false
            }
        }
    });
    expect_many(explored);
}

/// Both sides write, then close, then read what came before the peer's FIN: at most one fault, every order.
#[test]
fn both_write_and_close() {
    let (mut pair, conns) = open_pair(1);
    for (i, conn) in conns.into_iter().enumerate() {
        pair.with(i, |s, now| s.tcp_send(now, conn, b"goodbye", SendFlags::default())).unwrap();
        pair.with(i, |s, now| s.tcp_shutdown(now, conn, Shutdown::Write)).unwrap();
    }
    let explored = explore(pair, 80, &mut |p| {
        for (i, conn) in conns.into_iter().enumerate() {
            let Ok(info) = p.stacks[i].tcp_info(p.now, conn) else { continue };
            let closed = !info.state.may_receive() && info.state != State::SynReceived;
            if closed {
                let mut buf = [0; 100];
                assert_eq!(p.with(i, |s, now| s.tcp_recv(now, conn, &mut buf, RecvFlags::default())), Ok(7));
                assert_eq!(&buf[..7], b"goodbye");
                assert_eq!(p.with(i, |s, now| s.tcp_recv(now, conn, &mut buf, RecvFlags::default())), Ok(0));
                p.with(i, |s, now| s.tcp_close(now, conn)).unwrap();
            }
        }
        expect_no_reset(p);
        over(p)
    });
    expect_many(explored);
}

/// One side aborts while data is under way both ways: at most two faults; both ends are gone in the end, the other side
/// knows why (or had ended before), and no storm of RSTs and ACKs goes on.
#[test]
fn abort_with_data_under_way() {
    let (mut pair, [c, d]) = open_pair(2);
    pair.with(0, |s, now| s.tcp_send(now, c, b"lost", SendFlags::default())).unwrap();
    pair.with(1, |s, now| s.tcp_send(now, d, b"lost too", SendFlags::default())).unwrap();
    pair.with(0, |s, now| s.tcp_abort(now, c)).unwrap();
    let explored = explore(pair, 120, &mut |p| {
        let ended = over(p);
        if ended {
            let told = p.with(1, |s, _| s.tcp_take_error(d));
            assert_eq!(told, Ok(Some(Error::ConnectionReset)), "{:?}", p.path);
        }
        ended
    });
    expect_many(explored);
}

/// A client closes, and opens the same four-tuple anew while the old FINs and ACKs may still be about: the new connection opens and carries
/// only its own data.
#[test]
fn the_same_four_tuple_again() {
    let mut pair = Pair::new(START, [stack(1), stack(2)], 0);
    let listener = pair.with(1, |s, now| {
        let bind = s.tcp_bind(now, end(2), BindOptions::default()).unwrap();
        s.tcp_listen(now, bind, 5, SocketOptions::default()).unwrap()
    });
    let c = bind_connect(&mut pair, 0, end(1), end(2));
    flush(&mut pair);
    let (d, _) = pair.with(1, |s, now| s.tcp_accept(now, listener)).unwrap();
    // The server closes first and holds TIME-WAIT.
    pair.with(1, |s, now| s.tcp_close(now, d)).unwrap();
    flush(&mut pair);
    pair.with(0, |s, now| s.tcp_close(now, c)).unwrap();
    flush(&mut pair);
    pair.now += Duration::from_secs(2);
    pair.faults = 2;
    let c = bind_connect(&mut pair, 0, end(1), end(2));
    let explored = explore(pair, 80, &mut |p| {
        let info = p.stacks[0].tcp_info(p.now, c).unwrap();
        if info.state == State::Established && info.bytes_sent == 0 {
            p.with(0, |s, now| s.tcp_send(now, c, b"new", SendFlags::default())).unwrap();
        }
        // The application accepts late: a copy of the server looks what it would get.
        let mut server = p.clone();
        let Ok((e, _)) = server.with(1, |s, now| s.tcp_accept(now, listener)) else { return false };
        let queued = server.stacks[1].tcp_info(p.now, e).unwrap().recv_queue;
        assert!(queued == 0 || queued == 3, "{queued} bytes");
        queued == 3
    });
    expect_many(explored);
}
