//! A host that speaks with itself: nothing leaves it, and all is as between two.

use core::net::SocketAddr;

use finack_core::Error;
use finack_core::options::{BindOptions, RecvFlags, SendFlags, SocketOptions};
use finack_core::tcp::State;
use finack_sim::packet::{v4, v6};
use finack_sim::{Script, Setup};

use crate::support::expect_gone;

/// Time passes and packets that the host sends itself are delivered; none may leave.
fn settle(t: &mut Script, ms: u64) {
    t.pump();
    assert!(t.pass_ms(ms).is_empty(), "nothing leaves the host");
}

/// A connection from and to the host's own address, over both versions: opens, carries, closes.
#[test]
fn connect_accept_carry_close() {
    for ip in [v4(1), v6(1)] {
        let mut t = Setup::new().bare();
        let to = SocketAddr::new(ip, 80);
        let now = t.now();
        let bind = t.stack.tcp_bind(now, to, BindOptions::default()).unwrap();
        let listener = t.stack.tcp_listen(now, bind, 5, SocketOptions::default()).unwrap();
        let c = t.stack.tcp_connect(now, None, to, SocketOptions::default()).unwrap();
        settle(&mut t, 1);
        assert_eq!(t.stack.tcp_state(c), Ok(State::Established));
        let (s, from) = t.stack.tcp_accept(t.now(), listener).unwrap();
        assert_eq!(Ok(from), t.stack.tcp_local_addr(c));
        assert_eq!(t.stack.tcp_send(t.now(), c, b"hello", SendFlags::default()), Ok(5));
        settle(&mut t, 1);
        let mut buf = [0; 10];
        assert_eq!(t.stack.tcp_recv(t.now(), s, &mut buf, RecvFlags::default()), Ok(5));
        t.stack.tcp_close(t.now(), c).unwrap();
        settle(&mut t, 100);
        assert_eq!(t.stack.tcp_recv(t.now(), s, &mut buf, RecvFlags::default()), Ok(0));
        t.stack.tcp_close(t.now(), s).unwrap();
        t.stack.tcp_close_listener(t.now(), listener).unwrap();
        settle(&mut t, 70_000);
        expect_gone(&t);
    }
}

/// Nobody listens: refused, at once.
#[test]
fn refused() {
    let mut t = Setup::new().bare();
    let c = t.stack.tcp_connect(t.now(), None, SocketAddr::new(v4(1), 81), SocketOptions::default()).unwrap();
    settle(&mut t, 1);
    assert_eq!(t.stack.tcp_take_error(c), Ok(Some(Error::ConnectionRefused)));
    t.stack.tcp_close(t.now(), c).unwrap();
    expect_gone(&t);
}

/// RFC 9293 MUST-10 to the letter: a socket that connects to itself is its own simultaneous open (Linux: it succeeds); it neither
/// hangs nor storms, and what it writes it reads.
#[test]
fn connect_to_itself() {
    let mut t = Setup::new().bare();
    let own = SocketAddr::new(v4(1), 5000);
    let bind = t.stack.tcp_bind(t.now(), own, BindOptions::default()).unwrap();
    let c = t.stack.tcp_connect(t.now(), Some(bind), own, SocketOptions::default()).unwrap();
    settle(&mut t, 10);
    assert_eq!(t.stack.tcp_state(c), Ok(State::Established));
    assert_eq!(t.stack.tcp_send(t.now(), c, b"echo", SendFlags::default()), Ok(4));
    settle(&mut t, 300);
    let mut buf = [0; 10];
    assert_eq!(t.stack.tcp_recv(t.now(), c, &mut buf, RecvFlags::default()), Ok(4));
    assert_eq!(&buf[..4], b"echo");
    t.stack.tcp_close(t.now(), c).unwrap();
    settle(&mut t, 200_000);
    expect_gone(&t);
    assert!(t.stack.counters().tcp_out_segs < 100, "{} segments", t.stack.counters().tcp_out_segs);
}

/// Datagrams to itself arrive, and one to a port that nobody has is answered by ECONNREFUSED on the connected socket.
#[test]
fn datagrams() {
    let mut t = Setup::new().bare();
    let a = t.stack.udp_bind(SocketAddr::new(v4(1), 53), BindOptions::default()).unwrap();
    let b = t.stack.udp_bind(SocketAddr::new(v4(1), 54), BindOptions::default()).unwrap();
    t.stack.udp_send(t.now(), a, Some(SocketAddr::new(v4(1), 54)), b"hello").unwrap();
    settle(&mut t, 1);
    let mut buf = [0; 10];
    let got = t.stack.udp_recv(b, &mut buf, false).unwrap();
    assert_eq!((got.len, got.from), (5, SocketAddr::new(v4(1), 53)));
    t.stack.udp_connect(a, Some(SocketAddr::new(v4(1), 99))).unwrap();
    t.stack.udp_send(t.now(), a, None, b"anybody?").unwrap();
    settle(&mut t, 1);
    assert_eq!(t.stack.udp_recv(a, &mut buf, false).map(|_| ()), Err(Error::ConnectionRefused));
}
