use super::*;

fn socket(domain: i64, kind: i64, protocol: i64) -> Call {
    Call::Socket { domain, kind, protocol }
}

#[test]
fn descriptors_are_the_lowest_that_are_free() {
    let mut h = Host::new();
    assert_eq!((h.stream(), h.stream(), h.stream()), (3, 4, 5));
    h.ok(Call::Close(4));
    assert_eq!(h.stream(), 4);
    assert_eq!(h.err(Call::Close(9)), Errno::EBADF);
    assert_eq!(h.err(Call::Close(-1)), Errno::EBADF);
    assert_eq!(h.err(read(2, 1)), Errno::EBADF);
    h.posix = Posix::new(0, 2);
    assert_eq!((h.stream(), h.stream()), (0, 1));
    assert_eq!(h.err(socket(abi::AF_INET, abi::SOCK_STREAM, 0)), Errno::EMFILE);
}

#[test]
fn sockets_that_do_not_exist() {
    let mut h = Host::new();
    for (domain, kind, protocol, errno) in [
        (abi::AF_UNIX, abi::SOCK_STREAM, 0, Errno::EAFNOSUPPORT),
        (abi::AF_INET, abi::SOCK_STREAM, abi::IPPROTO_UDP, Errno::EPROTONOSUPPORT),
        (abi::AF_INET, abi::SOCK_DGRAM, abi::IPPROTO_TCP, Errno::EPROTONOSUPPORT),
        (abi::AF_INET, abi::SOCK_STREAM, abi::IPPROTO_MPTCP, Errno::EPROTONOSUPPORT),
        (abi::AF_INET, abi::SOCK_RAW, abi::IPPROTO_ICMP, Errno::EPERM),
        (abi::AF_INET, 5, 0, Errno::ESOCKTNOSUPPORT),
    ] {
        assert_eq!(h.err(socket(domain, kind, protocol)), errno);
    }
}

#[test]
fn a_duplicate_shares_the_file_until_the_last_is_closed() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    let again = h.fd(Call::Dup(client));
    let high = h.fd(Call::Fcntl(client, abi::F_DUPFD, 20));
    assert_eq!((again, high), (6, 20));
    h.ok(Call::Fcntl(again, abi::F_SETFL, abi::O_NONBLOCK));
    assert_eq!(h.ok(Call::Fcntl(client, abi::F_GETFL, 0)), abi::O_RDWR | abi::O_NONBLOCK);
    h.ok(Call::Fcntl(high, abi::F_SETFD, abi::FD_CLOEXEC));
    assert_eq!(h.ok(Call::Fcntl(high, abi::F_GETFD, 0)), 1);
    assert_eq!(h.ok(Call::Fcntl(client, abi::F_GETFD, 0)), 0);
    h.ok(Call::Close(client));
    h.ok(Call::Close(high));
    assert_eq!(h.ok(write(again, b"x")), 1);
    h.run();
    assert_eq!(h.data(read(server, 9)), b"x");
    h.ok(Call::Close(again));
    h.run();
    assert_eq!(h.data(read(server, 9)), b"");
    assert_eq!(h.err(Call::Fcntl(server, 999, 0)), Errno::EINVAL);
}

/// RFC 9293 3.9.1.1, and what Linux answers at each stage of it.
#[test]
fn a_connect_that_does_not_wait_tells_how_far_it_is() {
    let mut h = Host::new();
    h.listener("127.0.0.1:80");
    let fd = h.nonblocking();
    let connect = || Call::Connect(fd, address("127.0.0.1:80"));
    assert_eq!(h.err(connect()), Errno::EINPROGRESS);
    assert_eq!(h.err(connect()), Errno::EALREADY);
    assert_eq!(h.err(read(fd, 1)), Errno::EAGAIN);
    assert_eq!(h.err(write(fd, b"x")), Errno::EAGAIN);
    assert_eq!(h.err(Call::PeerName(fd)), Errno::ENOTCONN);
    h.run();
    assert_eq!(h.ok(connect()), 0);
    assert_eq!(h.err(connect()), Errno::EISCONN);
    assert_eq!(h.done(Call::PeerName(fd)), Ok(Reply::Name(address("127.0.0.1:80"))));
}

#[test]
fn a_refused_connect_leaves_the_socket_as_new() {
    let mut h = Host::new();
    let fd = h.stream();
    let connecting = h.blocks(Call::Connect(fd, address("127.0.0.1:81")));
    h.run();
    assert_eq!(h.returns(connecting), Err(Errno::ECONNREFUSED));
    assert_eq!(h.err(read(fd, 1)), Errno::ENOTCONN);
    h.listener("127.0.0.1:81");
    let connecting = h.blocks(Call::Connect(fd, address("127.0.0.1:81")));
    h.run();
    assert_eq!(h.returns(connecting), Ok(Reply::Number(0)));
}

#[test]
fn so_error_tells_once_why_a_connect_failed() {
    let mut h = Host::new();
    let fd = h.nonblocking();
    assert_eq!(h.err(Call::Connect(fd, address("127.0.0.1:81"))), Errno::EINPROGRESS);
    h.run();
    assert_eq!(h.option(fd, abi::SOL_SOCKET, abi::SO_ERROR), Errno::ECONNREFUSED.0);
    assert_eq!(h.option(fd, abi::SOL_SOCKET, abi::SO_ERROR), 0);
    assert_eq!(h.err(Call::Connect(fd, address("127.0.0.1:81"))), Errno::ECONNABORTED);
    assert_eq!(h.err(Call::Connect(fd, address("127.0.0.1:81"))), Errno::EINPROGRESS);
}

#[test]
fn calls_that_do_not_fit_the_state() {
    let mut h = Host::new();
    let fresh = h.stream();
    assert_eq!(h.err(read(fresh, 1)), Errno::ENOTCONN);
    assert_eq!(h.err(write(fresh, b"x")), Errno::EPIPE);
    assert_eq!(h.err(Call::Shutdown(fresh, abi::SHUT_WR)), Errno::ENOTCONN);
    assert_eq!(h.err(Call::Accept(fresh, 0)), Errno::EINVAL);
    assert_eq!(h.err(Call::PeerName(fresh)), Errno::ENOTCONN);
    assert_eq!(h.done(Call::SocketName(fresh)), Ok(Reply::Name(address("0.0.0.0:0"))));
    let (listener, client, _) = h.connected();
    assert_eq!(h.err(read(listener, 1)), Errno::ENOTCONN);
    assert_eq!(h.err(Call::Listen(client, 1)), Errno::EINVAL);
    assert_eq!(h.err(Call::Bind(client, address("127.0.0.1:9"))), Errno::EINVAL);
    assert_eq!(h.err(Call::Bind(listener, address("127.0.0.1:9"))), Errno::EINVAL);
    assert_eq!(h.err(Call::Shutdown(client, 7)), Errno::EINVAL);
    assert_eq!(h.err(Call::Connect(listener, address("127.0.0.1:9"))), Errno::EISCONN);
    assert_eq!(h.err(Call::Accept(listener, 0x40)), Errno::EINVAL);
    let taken = h.stream();
    assert_eq!(h.err(Call::Bind(taken, address("127.0.0.1:80"))), Errno::EADDRINUSE);
    assert_eq!(h.err(Call::Bind(taken, address("10.1.1.1:80"))), Errno::EADDRNOTAVAIL);
    assert_eq!(h.err(Call::Bind(taken, address("[::1]:80"))), Errno::EAFNOSUPPORT);
    assert_eq!(h.err(Call::Bind(taken, Address::Unspecified)), Errno::EAFNOSUPPORT);
}

#[test]
fn listening_without_a_bind_takes_a_port() {
    let mut h = Host::new();
    let fd = h.stream();
    h.ok(Call::Listen(fd, -1));
    let Ok(Reply::Name(Address::Inet(local))) = h.done(Call::SocketName(fd)) else { panic!("no name") };
    assert!(local.ip().is_unspecified() && local.port() >= 32_768);
    assert_eq!(h.ok(Call::Listen(fd, 5)), 0);
    assert_eq!(h.option(fd, abi::SOL_SOCKET, abi::SO_ACCEPTCONN), 1);
    h.ok(Call::Shutdown(fd, abi::SHUT_RD));
    assert_eq!(h.err(Call::Accept(fd, 0)), Errno::EINVAL);
}

#[test]
fn an_accepted_socket_inherits_options_but_not_whether_it_blocks() {
    let mut h = Host::new();
    let listener = h.fd(socket(abi::AF_INET, abi::SOCK_STREAM | abi::SOCK_NONBLOCK, 0));
    h.ok(Call::Bind(listener, address("0.0.0.0:80")));
    h.ok(set(listener, abi::SOL_TCP, abi::TCP_NODELAY, 1));
    h.ok(set(listener, abi::SOL_SOCKET, abi::SO_RCVBUF, 10_000));
    h.ok(Call::Listen(listener, 8));
    assert_eq!(h.err(Call::Accept(listener, 0)), Errno::EAGAIN);
    let client = h.stream();
    h.blocks(Call::Connect(client, address("127.0.0.1:80")));
    h.run();
    let Ok(Reply::Accepted(server, peer)) = h.done(Call::Accept(listener, abi::SOCK_CLOEXEC)) else {
        panic!("nothing accepted")
    };
    assert_eq!(h.done(Call::SocketName(client)), Ok(Reply::Name(peer)));
    assert_eq!(h.option(server, abi::SOL_TCP, abi::TCP_NODELAY), 1);
    assert_eq!(h.option(server, abi::SOL_SOCKET, abi::SO_RCVBUF), 20_000);
    assert_eq!(h.ok(Call::Fcntl(server, abi::F_GETFL, 0)), abi::O_RDWR);
    assert_eq!(h.ok(Call::Fcntl(server, abi::F_GETFD, 0)), 1);
}

#[test]
fn an_ipv6_socket_shows_ipv4_peers_as_mapped() {
    let mut h = Host::new();
    let listener = h.fd(socket(abi::AF_INET6, abi::SOCK_STREAM, 0));
    assert_eq!(h.err(Call::Bind(listener, address("0.0.0.0:80"))), Errno::EINVAL);
    h.ok(Call::Bind(listener, address("[::]:80")));
    h.ok(Call::Listen(listener, 8));
    let client = h.stream();
    h.blocks(Call::Connect(client, address("127.0.0.1:80")));
    h.run();
    let server = h.fd(Call::Accept(listener, 0));
    assert_eq!(h.done(Call::SocketName(server)), Ok(Reply::Name(address("[::ffff:127.0.0.1]:80"))));
    let mapped = h.fd(socket(abi::AF_INET6, abi::SOCK_STREAM, 0));
    h.blocks(Call::Connect(mapped, address("[::ffff:127.0.0.1]:80")));
    h.run();
    assert_eq!(h.done(Call::PeerName(mapped)), Ok(Reply::Name(address("[::ffff:127.0.0.1]:80"))));
}

#[test]
fn flags_of_a_receive() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    h.ok(write(client, b"abcdefgh"));
    h.run();
    assert_eq!(h.data(recv(server, 3, abi::MSG_PEEK)), b"abc");
    assert_eq!(h.data(read(server, 3)), b"abc");
    let cut = h.received(recv(server, 2, abi::MSG_TRUNC));
    assert_eq!((cut.count, cut.data), (2, vec![]));
    assert_eq!(h.data(read(server, 0)), b"");
    assert_eq!(h.data(read(server, 9)), b"fgh");
    assert_eq!(h.err(recv(server, 9, abi::MSG_DONTWAIT)), Errno::EAGAIN);
    assert_eq!(h.err(recv(server, 9, abi::MSG_OOB)), Errno::EINVAL);
    assert_eq!(h.err(recv(server, 9, abi::MSG_ERRQUEUE)), Errno::EAGAIN);
}

/// RFC 9293 3.8.5, RFC 6093.
#[test]
fn the_urgent_byte_is_read_out_of_band() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    h.ok(send(client, b"abc", abi::MSG_OOB));
    h.run();
    let urgent = h.received(recv(server, 1, abi::MSG_OOB));
    assert_eq!((urgent.data, urgent.flags), (b"c".to_vec(), abi::MSG_OOB));
    assert_eq!(h.data(read(server, 9)), b"ab");
    assert_eq!(h.err(recv(server, 1, abi::MSG_OOB)), Errno::EINVAL);
}

#[test]
fn more_to_come_holds_a_small_segment_back() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    h.ok(send(client, b"ab", abi::MSG_MORE));
    h.run();
    assert_eq!(h.err(recv(server, 9, abi::MSG_DONTWAIT)), Errno::EAGAIN);
    h.ok(send(client, b"cd", 0));
    h.run();
    assert_eq!(h.data(read(server, 9)), b"abcd");
}

#[test]
fn after_a_reset_the_error_comes_once_and_then_the_end() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    let linger = [1_i32.to_le_bytes(), 0_i32.to_le_bytes()].concat();
    h.ok(Call::SetOption { fd: client, level: abi::SOL_SOCKET, name: abi::SO_LINGER, value: linger });
    h.ok(Call::Close(client));
    h.run();
    assert_eq!(h.err(read(server, 9)), Errno::ECONNRESET);
    assert_eq!(h.data(read(server, 9)), b"");
    assert_eq!(h.err(write(server, b"x")), Errno::EPIPE);
}

#[test]
fn the_queues_are_told_by_ioctl() {
    let mut h = Host::new();
    let (listener, client, server) = h.connected();
    let count = |h: &mut Host, fd, request| match h.done(Call::Ioctl(fd, request, 0)) {
        Ok(Reply::Argument(n)) => n,
        other => panic!("{other:?}"),
    };
    h.ok(write(client, b"abc"));
    assert_eq!(count(&mut h, client, abi::SIOCOUTQ), 3);
    assert_eq!(count(&mut h, client, abi::SIOCOUTQNSD), 3);
    h.run();
    assert_eq!(count(&mut h, client, abi::SIOCOUTQNSD), 0);
    assert_eq!(count(&mut h, server, abi::SIOCINQ), 3);
    assert_eq!(h.err(Call::Ioctl(listener, abi::SIOCINQ, 0)), Errno::EINVAL);
    assert_eq!(h.err(Call::Ioctl(server, 1, 0)), Errno::ENOTTY);
    h.ok(Call::Ioctl(server, abi::FIONBIO, 1));
    assert_eq!(h.ok(Call::Fcntl(server, abi::F_GETFL, 0)), abi::O_RDWR | abi::O_NONBLOCK);
}

#[test]
fn what_is_left_to_read_comes_with_each_receive() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    h.ok(set(server, abi::SOL_TCP, abi::TCP_INQ, 1));
    h.ok(write(client, &[1; 100]));
    h.ok(Call::Shutdown(client, abi::SHUT_WR));
    h.run();
    let inq = |n| vec![Control { level: abi::SOL_TCP, kind: abi::TCP_CM_INQ, data: ControlData::Number(n) }];
    assert_eq!(h.received(read(server, 40)).control, inq(60));
    // A FIN counts as one byte where nothing else is left, so that the reader goes on.
    assert_eq!(h.received(read(server, 60)).control, inq(1));
    assert_eq!(h.data(read(server, 1)), b"");
}

/// The error queue tells when the bytes of a zero-copy send may be used again.
#[test]
fn completions_of_zero_copy_are_merged() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    h.ok(send(client, b"uncounted", abi::MSG_ZEROCOPY));
    h.ok(set(client, abi::SOL_SOCKET, abi::SO_ZEROCOPY, 1));
    h.ok(send(client, b"first", abi::MSG_ZEROCOPY));
    h.ok(send(client, b"plain", 0));
    h.ok(send(client, b"second", abi::MSG_ZEROCOPY));
    assert_eq!(h.err(recv(client, 0, abi::MSG_ERRQUEUE)), Errno::EAGAIN);
    h.run();
    h.received(read(server, 99));
    h.pass(Duration::from_millis(50));
    let told = h.received(recv(client, 0, abi::MSG_ERRQUEUE));
    assert_eq!(told.flags, abi::MSG_ERRQUEUE);
    let error = ExtendedError {
        errno: 0,
        origin: abi::SO_EE_ORIGIN_ZEROCOPY,
        kind: 0,
        code: abi::SO_EE_CODE_ZEROCOPY_COPIED as u8,
        info: 0,
        data: 1,
    };
    let data = ControlData::Extended(error);
    assert_eq!(told.control, [Control { level: abi::SOL_IP, kind: abi::IP_RECVERR, data }]);
    assert_eq!(h.err(recv(client, 0, abi::MSG_ERRQUEUE)), Errno::EAGAIN);
}

#[test]
fn transmit_stamps_tell_when_the_last_byte_was_sent_and_acknowledged() {
    let mut h = Host::new();
    let (_, client, _) = h.connected();
    let flags = abi::SOF_TIMESTAMPING_TX_SOFTWARE
        | abi::SOF_TIMESTAMPING_TX_ACK
        | abi::SOF_TIMESTAMPING_SOFTWARE
        | abi::SOF_TIMESTAMPING_OPT_ID;
    h.ok(set(client, abi::SOL_SOCKET, abi::SO_TIMESTAMPING, flags as i32));
    h.ok(write(client, &[0; 500]));
    let sent = h.now;
    h.run();
    h.pass(Duration::from_millis(300));
    let mut stamp = || match h.received(recv(client, 0, abi::MSG_ERRQUEUE)).control.as_slice() {
        [Control { data: ControlData::Time(time), .. }, Control { data: ControlData::Extended(e), .. }] => {
            (*time, i64::from(e.info), e.data)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(stamp(), (sent, abi::SCM_TSTAMP_SND, 499));
    let (acked, kind, key) = stamp();
    assert!(acked >= sent);
    assert_eq!((kind, key), (abi::SCM_TSTAMP_ACK, 499));
}

fn fast_open(fd: Fd, data: &[u8]) -> Call {
    let to = Some(address("127.0.0.1:80"));
    Call::Send(fd, Outgoing { data: data.to_vec(), flags: abi::MSG_FASTOPEN, to, ..Outgoing::default() })
}

/// RFC 7413 4.1: the first time the SYN asks for a cookie, from then on data goes with it.
#[test]
fn a_send_may_open_the_connection() {
    let mut h = Host::new();
    h.stack.set_sysctl("tcp_fastopen", "3").unwrap();
    let listener = h.listener("127.0.0.1:80");
    h.ok(set(listener, abi::SOL_TCP, abi::TCP_FASTOPEN, 5));
    let first = h.nonblocking();
    assert_eq!(h.err(fast_open(first, b"abc")), Errno::EINPROGRESS);
    assert_eq!(h.err(fast_open(first, b"abc")), Errno::EAGAIN);
    h.run();
    let server = h.fd(Call::Accept(listener, 0));
    // Nothing was taken so far.
    assert_eq!(h.err(recv(server, 9, abi::MSG_DONTWAIT)), Errno::EAGAIN);
    assert_eq!(h.ok(write(first, b"abc")), 3);
    h.run();
    assert_eq!(h.data(read(server, 9)), b"abc");
    let second = h.nonblocking();
    assert_eq!(h.ok(fast_open(second, b"defg")), 4);
    h.run();
    let server = h.fd(Call::Accept(listener, 0));
    assert_eq!(h.data(read(server, 9)), b"defg");
    // Who waits returns once the handshake is over.
    let third = h.stream();
    let sending = h.blocks(fast_open(third, b"hij"));
    h.run();
    assert_eq!(h.returns(sending), Ok(Reply::Number(3)));
    h.stack.set_sysctl("tcp_fastopen", "0").unwrap();
    let fourth = h.nonblocking();
    assert_eq!(h.err(fast_open(fourth, b"k")), Errno::EOPNOTSUPP);
}
