use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::*;

fn eventually<T>(mut attempt: impl FnMut() -> io::Result<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match attempt() {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result.unwrap(),
        }
    }
}

fn loopback(is_v6: bool) -> IpAddr {
    if is_v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
}

#[test]
fn datagrams_go_both_ways_with_their_header_fields() {
    for is_v6 in [false, true] {
        let socket = HostSocket::open(Carries::Udp, is_v6, 0).unwrap();
        let peer = HostSocket::open(Carries::Udp, is_v6, 0).unwrap();
        let level = if is_v6 { libc::SOL_IPV6 } else { libc::SOL_IP };
        let wanted = if is_v6 {
            [(libc::IPV6_RECVHOPLIMIT, libc::IPV6_HOPLIMIT), (libc::IPV6_RECVTCLASS, libc::IPV6_TCLASS)]
        } else {
            [(libc::IP_RECVTTL, libc::IP_TTL), (libc::IP_RECVTOS, libc::IP_TOS)]
        };
        for (option, _) in wanted {
            peer.set_option(level, option, 1).unwrap();
        }
        let to = SocketAddr::new(loopback(is_v6), peer.port().unwrap());
        socket.send(to, b"hello", Fields { hop_limit: Some(7), tos: 0xb9, ..Fields::default() }).unwrap();

        let mut buf = [0; 16];
        let mut control = Control::default();
        let mut part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        let mut message = empty_message();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.bytes.as_mut_ptr().cast();
        message.msg_controllen = CONTROL;
        // SAFETY: as in the code under test.
        let len = unsafe { libc::recvmsg(peer.as_raw_fd(), &raw mut message, 0) };
        control.len = message.msg_controllen;
        assert_eq!(len, 5);
        assert_eq!(control.find(level, wanted[0].1).unwrap()[0], 7, "v6 {is_v6}");
        assert_eq!(control.find(level, wanted[1].1).unwrap()[0], 0xb9, "v6 {is_v6}");

        let back = SocketAddr::new(loopback(is_v6), socket.port().unwrap());
        peer.send(back, b"hi", Fields::default()).unwrap();
        assert_eq!(eventually(|| socket.recv(&mut buf)), (2, to));
    }
}

#[test]
fn a_refused_datagram_is_told_with_its_destination_and_its_data() {
    for is_v6 in [false, true] {
        let socket = HostSocket::open(Carries::Udp, is_v6, 0).unwrap();
        let nobody = UdpSocket::bind((loopback(is_v6), 0)).unwrap().local_addr().unwrap();
        socket.send(nobody, b"is there anybody?", Fields::default()).unwrap();
        let mut buf = [0; 64];
        let failed = eventually(|| socket.next_failed(&mut buf));
        assert_eq!(
            failed,
            Failed { len: 17, to: nobody, kind: ErrorKind::Unreachable(Unreachable::Port), reporter: None }
        );
        assert_eq!(&buf[..17], b"is there anybody?");
        let none = socket.next_failed(&mut buf).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn an_error_about_one_datagram_keeps_no_other_back() {
    let socket = HostSocket::open(Carries::Udp, false, 0).unwrap();
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..10u8 {
        socket.send(nobody, b"lost", Fields::default()).unwrap();
        socket.send(peer.local_addr().unwrap(), &[n], Fields::default()).unwrap();
        let mut buf = [0; 8];
        assert_eq!((peer.recv(&mut buf).unwrap(), buf[0]), (1, n));
    }
}

#[test]
fn many_datagrams_go_in_one_call() {
    let socket = HostSocket::open(Carries::Udp, false, 0).unwrap();
    if !socket.takes_segments() {
        return;
    }
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let data: Vec<u8> = (0..250).collect();
    let fields = Fields { segment: Some(100), ..Fields::default() };
    socket.send(peer.local_addr().unwrap(), &data, fields).unwrap();
    let mut buf = [0; 256];
    let lengths: Vec<usize> = (0..3).map(|_| peer.recv(&mut buf).unwrap()).collect();
    assert_eq!(lengths, [100, 100, 50]);
}

#[test]
fn the_port_is_kept_where_it_is_free() {
    let first = HostSocket::open(Carries::Udp, false, 0).unwrap();
    let port = first.port().unwrap();
    let other = HostSocket::open(Carries::Udp, false, port).unwrap();
    assert_ne!(other.port().unwrap(), port);
    // Of the other family it is another.
    assert_eq!(HostSocket::open(Carries::Udp, true, port).unwrap().port().unwrap(), port);
    drop(first);
    assert_eq!(HostSocket::open(Carries::Udp, false, port).unwrap().port().unwrap(), port);
}

/// What the kernel writes, by `linux/errqueue.h`: errno, origin, type, code, padding, info, data, offender.
#[test]
fn errors_of_routers_name_them() {
    let to: SocketAddr = "192.0.2.9:53".parse().unwrap();
    let router: SocketAddr = "198.51.100.1:0".parse().unwrap();
    let error = |errno: i32, origin: u8, kind: u8, code: u8, info: u32, offender: SocketAddr| {
        let mut bytes = errno.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&[origin, kind, code, 0]);
        bytes.extend_from_slice(&info.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&Name::of(offender).bytes);
        parse_error(&bytes, to, 1).map(|f| (f.kind, f.reporter))
    };
    let icmp = libc::SO_EE_ORIGIN_ICMP;
    let exceeded = error(libc::EHOSTUNREACH, icmp, 11, 0, 0, router).unwrap();
    assert_eq!(exceeded, (ErrorKind::TimeExceeded { code: 0 }, Some(router.ip())));
    let needed = error(libc::EMSGSIZE, icmp, 3, 4, 1400, router).unwrap();
    assert_eq!(needed, (ErrorKind::FragNeeded { mtu: 1400 }, Some(router.ip())));
    let itself = error(libc::ECONNREFUSED, icmp, 3, 3, 0, to).unwrap();
    assert_eq!(itself, (ErrorKind::Unreachable(Unreachable::Port), None));
    let local = error(libc::EMSGSIZE, libc::SO_EE_ORIGIN_LOCAL, 0, 0, 1280, to).unwrap();
    assert_eq!(local, (ErrorKind::FragNeeded { mtu: 1280 }, None));
    assert_eq!(error(libc::EPROTO, libc::SO_EE_ORIGIN_TIMESTAMPING, 0, 0, 0, to), None);
    assert_eq!(parse_error(&[0; 7], to, 1), None);
}
