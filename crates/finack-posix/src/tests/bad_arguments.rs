//! What each call answers to arguments that do not fit: Linux 6.18's answers, taken down from one.

use super::*;

/// Descriptors of each kind: none, a new socket, a listener, a connection, a UDP socket, an epoll file, a pipe's end.
struct Kinds {
    none: Fd,
    fresh: Fd,
    listener: Fd,
    conn: Fd,
    udp: Fd,
    epoll: Fd,
    pipe: Fd,
}

impl Kinds {
    fn all(&self) -> [Fd; 7] {
        [self.none, self.fresh, self.listener, self.conn, self.udp, self.epoll, self.pipe]
    }
}

fn kinds(h: &mut Host) -> Kinds {
    let (listener, conn, _) = h.connected();
    let fresh = h.stream();
    let udp = h.fd(Call::Socket { domain: abi::AF_INET, kind: abi::SOCK_DGRAM, protocol: 0 });
    let epoll = h.fd(Call::EpollCreate { flags: 0 });
    let (pipe, _) = pipes::pipe(h, abi::O_NONBLOCK);
    for fd in [fresh, listener, conn, udp] {
        h.ok(Call::Fcntl(fd, abi::F_SETFL, abi::O_NONBLOCK));
    }
    Kinds { none: 99, fresh, listener, conn, udp, epoll, pipe }
}

/// 0 or what the call returned, or the name of its error.
fn said(h: &mut Host, call: Call) -> String {
    match h.done(call) {
        Ok(reply) => reply.returned().to_string(),
        Err(errno) => errno.name().unwrap_or("?").to_owned(),
    }
}

/// A call to each kind of descriptor, in [`Kinds`]'s order.
fn check(what: &str, call: impl Fn(Fd) -> Call, expected: [&str; 7]) {
    let mut h = Host::new();
    let all = kinds(&mut h).all();
    let seen: Vec<String> = all.iter().map(|fd| said(&mut h, call(*fd))).collect();
    assert_eq!(seen, expected, "{what}");
}

fn at_nowhere(fd: Fd, len: usize) -> Call {
    Call::Send(fd, Outgoing { data: vec![0; len], plain: true, fault: true, ..Outgoing::default() })
}

fn read_to_nowhere(fd: Fd, len: usize) -> Call {
    Call::Recv(fd, Incoming { len, plain: true, fault: true, ..Incoming::default() })
}

fn get(fd: Fd, level: i64, name: i64) -> Call {
    Call::GetOption { fd, level, name, len: 4 }
}

#[test]
#[rustfmt::skip]
fn each_call_on_each_kind_of_descriptor() {
    check("send", |fd| send(fd, b"hello", abi::MSG_NOSIGNAL),
        ["EBADF", "EPIPE", "EPIPE", "5", "EDESTADDRREQ", "ENOTSOCK", "ENOTSOCK"]);
    check("write at NULL", |fd| at_nowhere(fd, 5),
        ["EBADF", "EPIPE", "EPIPE", "EFAULT", "EDESTADDRREQ", "EINVAL", "EBADF"]);
    check("write of nothing at NULL", |fd| at_nowhere(fd, 0),
        ["EBADF", "EPIPE", "EPIPE", "0", "EDESTADDRREQ", "EINVAL", "EBADF"]);
    check("read to NULL", |fd| read_to_nowhere(fd, 5),
        ["EBADF", "ENOTCONN", "ENOTCONN", "EAGAIN", "EAGAIN", "EINVAL", "EAGAIN"]);
    check("read of nothing", |fd| read_to_nowhere(fd, 0),
        ["EBADF", "0", "0", "0", "0", "EINVAL", "0"]);
    check("recv", |fd| recv(fd, 5, 0),
        ["EBADF", "ENOTCONN", "ENOTCONN", "EAGAIN", "EAGAIN", "ENOTSOCK", "ENOTSOCK"]);
    check("recv MSG_ERRQUEUE", |fd| recv(fd, 5, abi::MSG_ERRQUEUE),
        ["EBADF", "EAGAIN", "EAGAIN", "EAGAIN", "EAGAIN", "ENOTSOCK", "ENOTSOCK"]);
    check("recv MSG_OOB", |fd| recv(fd, 5, abi::MSG_OOB),
        ["EBADF", "EINVAL", "ENOTCONN", "EINVAL", "EAGAIN", "ENOTSOCK", "ENOTSOCK"]);
    check("shutdown 3", |fd| Call::Shutdown(fd, 3),
        ["EBADF", "EINVAL", "EINVAL", "EINVAL", "EINVAL", "ENOTSOCK", "ENOTSOCK"]);
    check("getpeername", Call::PeerName,
        ["EBADF", "ENOTCONN", "ENOTCONN", "0", "ENOTCONN", "ENOTSOCK", "ENOTSOCK"]);
    check("getsockname", Call::SocketName,
        ["EBADF", "0", "0", "0", "0", "ENOTSOCK", "ENOTSOCK"]);
    check("accept", |fd| Call::Accept(fd, 0),
        ["EBADF", "EINVAL", "EAGAIN", "EINVAL", "EOPNOTSUPP", "ENOTSOCK", "ENOTSOCK"]);
    check("accept4 with another flag", |fd| Call::Accept(fd, 1),
        ["EBADF", "EINVAL", "EINVAL", "EINVAL", "EINVAL", "EINVAL", "EINVAL"]);
    check("listen", |fd| Call::Listen(fd, 1),
        ["EBADF", "0", "0", "EINVAL", "EOPNOTSUPP", "ENOTSOCK", "ENOTSOCK"]);
    check("connect", |fd| Call::Connect(fd, address("127.0.0.1:9")),
        ["EBADF", "EINPROGRESS", "EISCONN", "EISCONN", "0", "ENOTSOCK", "ENOTSOCK"]);
    check("bind", |fd| Call::Bind(fd, address("127.0.0.1:0")),
        ["EBADF", "0", "EINVAL", "EINVAL", "0", "ENOTSOCK", "ENOTSOCK"]);
    check("SIOCINQ", |fd| Call::Ioctl(fd, abi::SIOCINQ, 0),
        ["EBADF", "0", "EINVAL", "0", "0", "EINVAL", "0"]);
    check("SIOCOUTQ", |fd| Call::Ioctl(fd, abi::SIOCOUTQ, 0),
        ["EBADF", "0", "EINVAL", "0", "0", "EINVAL", "ENOTTY"]);
    check("SIOCOUTQNSD", |fd| Call::Ioctl(fd, abi::SIOCOUTQNSD, 0),
        ["EBADF", "0", "EINVAL", "0", "ENOTTY", "EINVAL", "ENOTTY"]);
    check("another ioctl", |fd| Call::Ioctl(fd, 0x1234, 0),
        ["EBADF", "ENOTTY", "ENOTTY", "ENOTTY", "ENOTTY", "EINVAL", "ENOTTY"]);
    check("another fcntl", |fd| Call::Fcntl(fd, 9999, 0),
        ["EBADF", "EINVAL", "EINVAL", "EINVAL", "EINVAL", "EINVAL", "EINVAL"]);
    check("dup to a number below 0", |fd| Call::Fcntl(fd, abi::F_DUPFD, -1),
        ["EBADF", "EINVAL", "EINVAL", "EINVAL", "EINVAL", "EINVAL", "EINVAL"]);
    check("epoll_wait", |fd| Call::EpollWait { epoll: fd, max: 1, timeout: Some(Duration::ZERO) },
        ["EBADF", "EINVAL", "EINVAL", "EINVAL", "EINVAL", "0", "EINVAL"]);
}

#[test]
#[rustfmt::skip]
fn options_that_are_not_there() {
    check("set an unknown TCP option", |fd| set(fd, abi::SOL_TCP, 999, 1),
        ["EBADF", "ENOPROTOOPT", "ENOPROTOOPT", "ENOPROTOOPT", "ENOPROTOOPT", "ENOTSOCK", "ENOTSOCK"]);
    check("get an unknown TCP option", |fd| get(fd, abi::SOL_TCP, 999),
        ["EBADF", "ENOPROTOOPT", "ENOPROTOOPT", "ENOPROTOOPT", "EOPNOTSUPP", "ENOTSOCK", "ENOTSOCK"]);
    check("set of an unknown level", |fd| set(fd, 77, 1, 1),
        ["EBADF", "ENOPROTOOPT", "ENOPROTOOPT", "ENOPROTOOPT", "ENOPROTOOPT", "ENOTSOCK", "ENOTSOCK"]);
    check("get of an unknown level", |fd| get(fd, 77, 1),
        ["EBADF", "EOPNOTSUPP", "EOPNOTSUPP", "EOPNOTSUPP", "EOPNOTSUPP", "ENOTSOCK", "ENOTSOCK"]);
    check("set an unknown socket option", |fd| set(fd, abi::SOL_SOCKET, 9999, 1),
        ["EBADF", "ENOPROTOOPT", "ENOPROTOOPT", "ENOPROTOOPT", "ENOPROTOOPT", "ENOTSOCK", "ENOTSOCK"]);
    check("set IPv6's on an IPv4 socket", |fd| set(fd, abi::SOL_IPV6, abi::IPV6_V6ONLY, 1),
        ["EBADF", "ENOPROTOOPT", "ENOPROTOOPT", "ENOPROTOOPT", "ENOPROTOOPT", "ENOTSOCK", "ENOTSOCK"]);
    check("get IPv6's of an IPv4 socket", |fd| get(fd, abi::SOL_IPV6, abi::IPV6_V6ONLY),
        ["EBADF", "EOPNOTSUPP", "EOPNOTSUPP", "EOPNOTSUPP", "EOPNOTSUPP", "ENOTSOCK", "ENOTSOCK"]);
    check("a type is not set", |fd| set(fd, abi::SOL_SOCKET, abi::SO_TYPE, 1),
        ["EBADF", "ENOPROTOOPT", "ENOPROTOOPT", "ENOPROTOOPT", "ENOPROTOOPT", "ENOTSOCK", "ENOTSOCK"]);
    check("a path MTU is not set", |fd| set(fd, abi::SOL_IP, abi::IP_MTU, 1500),
        ["EBADF", "ENOPROTOOPT", "ENOPROTOOPT", "ENOPROTOOPT", "ENOPROTOOPT", "ENOTSOCK", "ENOTSOCK"]);
}

/// Values beyond what an option takes: what Linux says to a new socket, a listener and a connection.
#[test]
fn values_that_options_do_not_take() {
    let (tcp, socket, ip) = (abi::SOL_TCP, abi::SOL_SOCKET, abi::SOL_IP);
    let mut h = Host::new();
    let k = kinds(&mut h);
    for (level, name, value, expected) in [
        (tcp, abi::TCP_MAXSEG, 87, "EINVAL EINVAL EINVAL"),
        (tcp, abi::TCP_MAXSEG, 40_000, "EINVAL EINVAL EINVAL"),
        (tcp, abi::TCP_KEEPIDLE, 0, "EINVAL EINVAL EINVAL"),
        (tcp, abi::TCP_KEEPIDLE, 40_000, "EINVAL EINVAL EINVAL"),
        (tcp, abi::TCP_KEEPINTVL, 0, "EINVAL EINVAL EINVAL"),
        (tcp, abi::TCP_KEEPCNT, 0, "EINVAL EINVAL EINVAL"),
        (tcp, abi::TCP_KEEPCNT, 128, "EINVAL EINVAL EINVAL"),
        (tcp, abi::TCP_SYNCNT, 0, "EINVAL EINVAL EINVAL"),
        (tcp, abi::TCP_SYNCNT, 128, "EINVAL EINVAL EINVAL"),
        (tcp, abi::TCP_USER_TIMEOUT, -1, "EINVAL EINVAL EINVAL"),
        (tcp, abi::TCP_FASTOPEN, -1, "EINVAL EINVAL EINVAL"),
        (tcp, abi::TCP_FASTOPEN, 5, "0 0 EINVAL"),
        (tcp, abi::TCP_FASTOPEN_CONNECT, 2, "EINVAL EINVAL EINVAL"),
        (tcp, abi::TCP_FASTOPEN_CONNECT, 1, "0 EINVAL EINVAL"),
        (tcp, abi::TCP_FASTOPEN_NO_COOKIE, 2, "EINVAL EINVAL EINVAL"),
        (tcp, abi::TCP_INQ, 2, "EINVAL EINVAL EINVAL"),
        (tcp, abi::TCP_THIN_LINEAR_TIMEOUTS, 2, "EINVAL EINVAL EINVAL"),
        (tcp, abi::TCP_ULP, 0x736c74, "ENOENT ENOENT ENOENT"),
        (tcp, abi::TCP_ULP, 0, "EINVAL EINVAL EINVAL"),
        (tcp, abi::TCP_INFO, 1, "ENOPROTOOPT ENOPROTOOPT ENOPROTOOPT"),
        (socket, abi::SO_ZEROCOPY, 2, "EINVAL EINVAL EINVAL"),
        (socket, abi::SO_TIMESTAMPING, 0x7fff_ffff, "EINVAL EINVAL EINVAL"),
        (socket, abi::SO_TIMESTAMPING, 0x80, "EINVAL EINVAL 0"),
        (socket, abi::SO_PEEK_OFF, -7, "0 0 0"),
        (ip, abi::IP_TTL, 0, "EINVAL EINVAL EINVAL"),
        (ip, abi::IP_TTL, 256, "EINVAL EINVAL EINVAL"),
        (ip, abi::IP_MTU_DISCOVER, 6, "EINVAL EINVAL EINVAL"),
        (ip, abi::IP_MTU_DISCOVER, -1, "EINVAL EINVAL EINVAL"),
        (ip, abi::IP_MTU_DISCOVER, 5, "0 0 0"),
        (ip, abi::IP_MINTTL, 256, "EINVAL EINVAL EINVAL"),
        (ip, abi::IP_FREEBIND, 1, "0 0 0"),
    ] {
        let seen = [k.fresh, k.listener, k.conn].map(|fd| said(&mut h, set(fd, level, name, value)));
        assert_eq!(seen.join(" "), expected, "option {name} of level {level} set to {value}");
    }
    assert_eq!(h.option(k.conn, ip, abi::IP_MTU_DISCOVER), 5);
    // The largest buffer is 6 MiB: no mark above half of it.
    assert_eq!(said(&mut h, set(k.conn, socket, abi::SO_RCVLOWAT, -1)), "0");
    assert_eq!(h.option(k.conn, socket, abi::SO_RCVLOWAT), 3 << 20);
    assert_eq!(said(&mut h, get(k.fresh, ip, abi::IP_MTU)), "ENOTCONN");
    assert_eq!(h.option(k.conn, ip, abi::IP_MTU), 1500);
}

#[test]
fn values_that_are_too_short() {
    let mut h = Host::new();
    let k = kinds(&mut h);
    let mut short = |fd, level, name, value: &[u8]| {
        said(&mut h, Call::SetOption { fd, level, name, value: value.to_vec() })
    };
    assert_eq!(short(k.conn, abi::SOL_TCP, abi::TCP_NODELAY, &[1, 0]), "EINVAL");
    assert_eq!(short(k.udp, abi::SOL_TCP, abi::TCP_NODELAY, &[1, 0]), "ENOPROTOOPT");
    assert_eq!(short(k.conn, abi::SOL_SOCKET, abi::SO_REUSEADDR, &[1, 0]), "EINVAL");
    assert_eq!(short(k.udp, abi::SOL_SOCKET, abi::SO_REUSEADDR, &[1, 0]), "EINVAL");
    assert_eq!(short(k.conn, abi::SOL_SOCKET, abi::SO_LINGER, &[1, 0, 0, 0]), "EINVAL");
    assert_eq!(short(k.conn, abi::SOL_SOCKET, abi::SO_RCVTIMEO, &[1, 0, 0, 0, 0, 0, 0, 0]), "EINVAL");
    let mut time = 1_i64.to_le_bytes().to_vec();
    time.extend(1_000_000_i64.to_le_bytes());
    assert_eq!(short(k.conn, abi::SOL_SOCKET, abi::SO_RCVTIMEO, &time), "EDOM");
    assert_eq!(short(k.conn, abi::SOL_TCP, abi::TCP_CONGESTION, b""), "EINVAL");
    assert_eq!(short(k.conn, abi::SOL_TCP, abi::TCP_CONGESTION, b"nonesuch"), "ENOENT");
    // An option of level IP may be one byte.
    assert_eq!(short(k.conn, abi::SOL_IP, abi::IP_TTL, &[9]), "0");
}

#[test]
fn sockets_pipes_and_epoll_files_that_can_not_be() {
    let mut h = Host::new();
    let mut socket = |domain, kind, protocol| said(&mut h, Call::Socket { domain, kind, protocol });
    assert_eq!(socket(99, 1, 0), "EAFNOSUPPORT");
    assert_eq!(socket(2, 9, 0), "ESOCKTNOSUPPORT");
    assert_eq!(socket(2, 5, 0), "ESOCKTNOSUPPORT");
    assert_eq!(socket(2, 1, 17), "EPROTONOSUPPORT");
    assert_eq!(socket(2, 2, 6), "EPROTONOSUPPORT");
    assert_eq!(socket(2, 1, 999), "EINVAL");
    assert_eq!(socket(2, 0x10001, 0), "EINVAL");
    assert_eq!(said(&mut h, Call::Pipe { flags: 5 }), "EINVAL");
    assert_eq!(said(&mut h, Call::EpollCreate { flags: 5 }), "EINVAL");
    assert_eq!(said(&mut h, Call::Open { path: "/nonesuch".into(), flags: 0 }), "ENOENT");
}

#[test]
fn epoll_refuses_what_makes_no_sense() {
    let mut h = Host::new();
    let k = kinds(&mut h);
    let control =
        |op, fd, events| Call::EpollControl { epoll: k.epoll, op, fd, event: EpollEvent { events, data: 0 } };
    let (add, modify, delete) = (abi::EPOLL_CTL_ADD, abi::EPOLL_CTL_MOD, abi::EPOLL_CTL_DEL);
    assert_eq!(said(&mut h, control(add, k.epoll, 1)), "EINVAL");
    assert_eq!(said(&mut h, control(9, k.conn, 1)), "EINVAL");
    assert_eq!(said(&mut h, control(modify, k.conn, 1)), "ENOENT");
    assert_eq!(said(&mut h, control(delete, k.conn, 1)), "ENOENT");
    assert_eq!(said(&mut h, control(add, k.none, 1)), "EBADF");
    assert_eq!(said(&mut h, control(add, k.conn, 1)), "0");
    assert_eq!(said(&mut h, control(add, k.conn, 1)), "EEXIST");
    let exclusive = abi::EPOLLEXCLUSIVE | abi::EPOLLIN;
    assert_eq!(said(&mut h, control(add, k.udp, exclusive | abi::EPOLLONESHOT)), "EINVAL");
    assert_eq!(said(&mut h, control(add, k.udp, exclusive)), "0");
    assert_eq!(said(&mut h, control(modify, k.udp, abi::EPOLLIN)), "EINVAL");
    assert_eq!(said(&mut h, control(modify, k.conn, exclusive)), "EINVAL");
    for max in [0, -1] {
        let wait = Call::EpollWait { epoll: k.epoll, max, timeout: None };
        assert_eq!(said(&mut h, wait), "EINVAL");
    }
}

#[test]
fn control_messages_of_a_send() {
    let mut h = Host::new();
    let k = kinds(&mut h);
    h.ok(Call::Connect(k.udp, address("127.0.0.1:9")));
    let mut message = |fd, level, kind, value| {
        let control = vec![Control { level, kind, data: ControlData::Number(value) }];
        let out = Outgoing { data: b"x".to_vec(), control, ..Outgoing::default() };
        let seen = said(&mut h, Call::Send(fd, out));
        // What nobody at the other end wants is told by the next call.
        h.option(fd, abi::SOL_SOCKET, abi::SO_ERROR);
        seen
    };
    for (fd, level, kind, value, expected) in [
        (k.conn, abi::SOL_SOCKET, 99, 1, "EINVAL"),
        (k.conn, abi::SOL_SOCKET, abi::SO_TIMESTAMPING, abi::SOF_TIMESTAMPING_TX_SOFTWARE, "1"),
        (k.conn, abi::SOL_SOCKET, abi::SO_TIMESTAMPING, abi::SOF_TIMESTAMPING_SOFTWARE, "EINVAL"),
        (k.conn, abi::SOL_SOCKET, abi::SO_MARK, 2, "1"),
        (k.conn, abi::SOL_SOCKET, abi::SCM_TXTIME, 2, "EINVAL"),
        // Messages of other levels are nothing to a stream.
        (k.conn, abi::SOL_IP, abi::IP_TOS, 2, "1"),
        (k.conn, abi::SOL_TCP, 1, 2, "1"),
        (k.udp, abi::SOL_SOCKET, 99, 1, "EINVAL"),
        (k.udp, abi::SOL_IP, abi::IP_TTL, 5, "1"),
        (k.udp, abi::SOL_IP, abi::IP_TTL, 0, "EINVAL"),
        (k.udp, abi::SOL_IP, abi::IP_TOS, 300, "EINVAL"),
        (k.udp, abi::SOL_IP, 77, 1, "EINVAL"),
        (k.udp, abi::SOL_IPV6, abi::IPV6_TCLASS, 2, "1"),
    ] {
        assert_eq!(message(fd, level, kind, value), expected, "message {kind} of level {level}: {value}");
    }
}
