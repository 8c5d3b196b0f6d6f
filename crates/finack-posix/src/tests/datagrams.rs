use super::*;

fn datagram(h: &mut Host, at: Option<&str>) -> Fd {
    let fd = h.fd(Call::Socket { domain: abi::AF_INET, kind: abi::SOCK_DGRAM, protocol: abi::IPPROTO_UDP });
    if let Some(at) = at {
        h.ok(Call::Bind(fd, address(at)));
    }
    fd
}

fn sendto(fd: Fd, data: &[u8], to: &str) -> Call {
    Call::Send(fd, Outgoing { data: data.to_vec(), to: Some(address(to)), ..Outgoing::default() })
}

#[test]
fn a_socket_gets_its_port_with_its_first_datagram() {
    let mut h = Host::new();
    let server = datagram(&mut h, Some("127.0.0.1:53"));
    let client = datagram(&mut h, None);
    assert_eq!(h.err(write(client, b"x")), Errno::EDESTADDRREQ);
    assert_eq!(h.ok(sendto(client, b"query", "127.0.0.1:53")), 5);
    h.run();
    let got = h.received(read(server, 100));
    assert_eq!(got.data, b"query");
    let Some(Address::Inet(from)) = got.from else { panic!("from nobody") };
    assert!(from.port() >= 32_768);
    h.ok(sendto(server, b"", &from.to_string()));
    h.run();
    let empty = h.received(read(client, 100));
    assert_eq!((empty.count, empty.data), (0, vec![]));
}

#[test]
fn what_does_not_fit_is_cut_and_said_to_be() {
    let mut h = Host::new();
    let server = datagram(&mut h, Some("127.0.0.1:53"));
    let client = datagram(&mut h, None);
    for _ in 0..3 {
        h.ok(sendto(client, b"abcdef", "127.0.0.1:53"));
    }
    h.run();
    assert!(matches!(h.done(Call::Ioctl(server, abi::SIOCINQ, 0)), Ok(Reply::Argument(6))));
    let peeked = h.received(recv(server, 2, abi::MSG_PEEK));
    assert_eq!((peeked.count, peeked.flags), (2, abi::MSG_TRUNC));
    assert_eq!(h.received(recv(server, 2, abi::MSG_TRUNC)).count, 6);
    assert_eq!(h.data(read(server, 3)), b"abc");
    assert_eq!(h.data(read(server, 9)), b"abcdef");
    assert_eq!(h.err(recv(server, 9, abi::MSG_DONTWAIT)), Errno::EAGAIN);
}

/// RFC 1122 4.1.3.3: errors by ICMP reach the application.
#[test]
fn a_connected_socket_is_told_that_nobody_is_there() {
    let mut h = Host::new();
    let client = datagram(&mut h, None);
    h.ok(Call::Connect(client, address("127.0.0.1:54")));
    assert_eq!(h.done(Call::PeerName(client)), Ok(Reply::Name(address("127.0.0.1:54"))));
    h.ok(write(client, b"x"));
    h.run();
    assert_eq!(h.err(recv(client, 9, abi::MSG_DONTWAIT)), Errno::ECONNREFUSED);
    assert_eq!(h.err(recv(client, 9, abi::MSG_DONTWAIT)), Errno::EAGAIN);
    h.ok(Call::Connect(client, Address::Unspecified));
    assert_eq!(h.err(Call::PeerName(client)), Errno::ENOTCONN);
}

#[test]
fn a_receive_waits_and_times_out() {
    let mut h = Host::new();
    let server = datagram(&mut h, Some("127.0.0.1:53"));
    let second = [1_i64.to_le_bytes(), 0_i64.to_le_bytes()].concat();
    let waiting = h.blocks(read(server, 9));
    h.ok(Call::SetOption { fd: server, level: abi::SOL_SOCKET, name: abi::SO_RCVTIMEO, value: second });
    let limited = h.blocks(read(server, 9));
    h.pass(Duration::from_secs(1));
    assert_eq!(h.returns(limited), Err(Errno::EAGAIN));
    let client = datagram(&mut h, None);
    h.ok(sendto(client, b"x", "127.0.0.1:53"));
    h.run();
    assert!(matches!(h.returns(waiting), Ok(Reply::Received(r)) if r.data == b"x"));
}

#[test]
fn control_messages_tell_how_it_came() {
    let mut h = Host::new();
    let server = datagram(&mut h, Some("0.0.0.0:53"));
    for name in [abi::IP_RECVTOS, abi::IP_RECVTTL, abi::IP_PKTINFO] {
        h.ok(set(server, abi::SOL_IP, name, 1));
        assert_eq!(h.option(server, abi::SOL_IP, name), 1);
    }
    let client = datagram(&mut h, None);
    h.ok(set(client, abi::SOL_IP, abi::IP_TOS, 0x28));
    h.ok(set(client, abi::SOL_IP, abi::IP_TTL, 9));
    h.ok(sendto(client, b"x", "127.0.0.1:53"));
    h.run();
    let control = h.received(read(server, 9)).control;
    let told = |kind, data| Control { level: abi::SOL_IP, kind, data };
    assert_eq!(
        control,
        [
            told(abi::IP_PKTINFO, ControlData::PacketInfo([127, 0, 0, 1].into())),
            told(abi::IP_TTL, ControlData::Number(9)),
            told(abi::IP_TOS, ControlData::Number(0x28)),
        ]
    );
}

#[test]
fn calls_that_are_for_streams_only() {
    let mut h = Host::new();
    let fd = datagram(&mut h, Some("127.0.0.1:53"));
    assert_eq!(h.err(Call::Listen(fd, 1)), Errno::EOPNOTSUPP);
    assert_eq!(h.err(Call::Accept(fd, 0)), Errno::EOPNOTSUPP);
    assert_eq!(h.err(Call::Shutdown(fd, abi::SHUT_WR)), Errno::ENOTCONN);
    // No datagram is urgent: the flag is nothing to a receive, and refused by a send.
    assert_eq!(h.err(recv(fd, 1, abi::MSG_OOB | abi::MSG_DONTWAIT)), Errno::EAGAIN);
    assert_eq!(h.err(Call::Bind(fd, address("127.0.0.1:54"))), Errno::EINVAL);
    assert_eq!(h.err(set(fd, abi::SOL_TCP, abi::TCP_NODELAY, 1)), Errno::ENOPROTOOPT);
    let other = datagram(&mut h, None);
    assert_eq!(h.err(Call::Bind(other, address("127.0.0.1:53"))), Errno::EADDRINUSE);
    assert_eq!(h.err(sendto(other, &vec![0; 70_000], "127.0.0.1:53")), Errno::EMSGSIZE);
}
