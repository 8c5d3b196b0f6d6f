use super::*;

/// The end that is read, and the one that is written.
pub(super) fn pipe(h: &mut Host, flags: i64) -> (Fd, Fd) {
    match h.done(Call::Pipe { flags }) {
        Ok(Reply::Pipe(reads, writes)) => (reads, writes),
        other => panic!("{other:?}"),
    }
}

fn put(fd: Fd, data: &[u8]) -> Call {
    Call::Send(fd, Outgoing { data: data.to_vec(), plain: true, ..Outgoing::default() })
}

fn take(fd: Fd, len: usize) -> Call {
    Call::Recv(fd, Incoming { len, plain: true, ..Incoming::default() })
}

fn splice(from: Fd, to: Fd, len: usize) -> Call {
    Call::Splice { from, from_offset: None, to, to_offset: None, len, flags: abi::SPLICE_F_NONBLOCK }
}

#[test]
fn a_pipe_blocks_when_it_is_empty_or_full() {
    let mut h = Host::new();
    let (reads, writes) = pipe(&mut h, 0);
    let reading = h.blocks(take(reads, 10));
    assert_eq!(h.ok(put(writes, b"hello")), 5);
    assert_eq!(h.returns(reading).unwrap().returned(), 5);
    let writing = h.blocks(put(writes, &[7; 70_000]));
    assert_eq!(h.data(take(reads, 100_000)).len(), 65_536);
    assert_eq!(h.returns(writing), Ok(Reply::Number(70_000)));
    assert_eq!(h.data(take(reads, 100_000)).len(), 4464);
}

#[test]
fn the_ends_of_a_pipe_are_not_each_other() {
    let mut h = Host::new();
    let (reads, writes) = pipe(&mut h, abi::O_NONBLOCK);
    assert_eq!(h.err(take(writes, 1)), Errno::EBADF);
    assert_eq!(h.err(put(reads, b"x")), Errno::EBADF);
    assert_eq!(h.ok(Call::Fcntl(reads, abi::F_GETFL, 0)), abi::O_NONBLOCK);
    assert_eq!(h.ok(Call::Fcntl(writes, abi::F_GETFL, 0)), abi::O_NONBLOCK | abi::O_WRONLY);
    assert_eq!(h.err(take(reads, 1)), Errno::EAGAIN);
    h.ok(put(writes, b"xy"));
    h.ok(Call::Close(writes));
    assert_eq!(h.data(take(reads, 9)), b"xy");
    assert_eq!(h.data(take(reads, 9)), b"");
    let (reads, writes) = pipe(&mut h, 0);
    h.ok(Call::Close(reads));
    assert_eq!(h.err(put(writes, b"x")), Errno::EPIPE);
}

#[test]
fn splice_carries_bytes_between_sockets_and_pipes() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    let (reads, writes) = pipe(&mut h, 0);
    h.ok(Call::Fcntl(server, abi::F_SETFL, abi::O_NONBLOCK));
    h.ok(write(client, b"through a pipe"));
    h.run();
    assert_eq!(h.ok(splice(server, writes, 7)), 7);
    assert_eq!(h.ok(splice(server, writes, 100)), 7);
    assert_eq!(h.err(splice(server, writes, 100)), Errno::EAGAIN);
    assert_eq!(h.ok(splice(reads, server, 100)), 14);
    h.run();
    assert_eq!(h.data(read(client, 100)), b"through a pipe");
}

#[test]
fn splice_refuses_what_it_can_not_carry() {
    let mut h = Host::new();
    let (listener, client, server) = h.connected();
    let (reads, writes) = pipe(&mut h, 0);
    let epoll = h.fd(Call::EpollCreate { flags: 0 });
    let fresh = h.stream();
    h.ok(Call::Fcntl(client, abi::F_SETFL, abi::O_NONBLOCK));
    for (from, to, errno) in [
        (client, server, Errno::EINVAL),
        (client, reads, Errno::EBADF),
        (writes, client, Errno::EBADF),
        (99, writes, Errno::EBADF),
        (reads, writes, Errno::EINVAL),
        (listener, writes, Errno::ENOTCONN),
        (fresh, writes, Errno::ENOTCONN),
        (epoll, writes, Errno::EINVAL),
        (client, writes, Errno::EAGAIN),
    ] {
        assert_eq!(h.err(splice(from, to, 5)), errno, "{from} to {to}");
    }
    let with = |from, from_offset, to, to_offset, flags| Call::Splice {
        from,
        from_offset,
        to,
        to_offset,
        len: 5,
        flags,
    };
    assert_eq!(h.err(with(client, None, writes, Some(0), 2)), Errno::ESPIPE);
    assert_eq!(h.err(with(client, Some(0), writes, None, 2)), Errno::EINVAL);
    assert_eq!(h.err(with(client, None, writes, None, 0x100)), Errno::EINVAL);
    assert_eq!(h.ok(splice(client, writes, 0)), 0);
}

#[test]
fn sendfile_sends_what_a_file_holds() {
    let mut h = Host::new();
    let (listener, client, server) = h.connected();
    h.posix.put_file("/tmp/page", b"0123456789".to_vec()).unwrap();
    let file = h.fd(Call::Open { path: "/tmp/page".into(), flags: abi::O_RDONLY });
    let send = |to, from, offset, count| Call::SendFile { to, from, offset, count };
    assert_eq!(h.ok(send(client, file, Some(2), 3)), 3);
    assert_eq!(h.ok(send(client, file, None, 4)), 4);
    assert_eq!(h.ok(send(client, file, None, 100)), 6);
    assert_eq!(h.ok(send(client, file, Some(1 << 40), 5)), 0);
    h.run();
    assert_eq!(h.data(read(server, 100)), b"2340123456789");
    let (reads, _) = pipe(&mut h, 0);
    for (to, from, offset, errno) in [
        (client, server, None, Errno::EINVAL),
        (client, reads, None, Errno::EINVAL),
        (client, 99, None, Errno::EBADF),
        (file, file, Some(0), Errno::EBADF),
        (listener, file, Some(0), Errno::EPIPE),
        (client, file, Some(-1), Errno::EINVAL),
    ] {
        assert_eq!(h.err(send(to, from, offset, 5)), errno, "{from} to {to}");
    }
}

#[test]
fn files_are_read_and_written_where_they_were_opened_for_it() {
    let mut h = Host::new();
    let open = |path: &str, flags| Call::Open { path: path.into(), flags };
    let fd = h.fd(open("/tmp/new", abi::O_RDWR | abi::O_CREAT));
    assert_eq!(h.err(open("/tmp/new", abi::O_RDWR | abi::O_CREAT | abi::O_EXCL)), Errno::EEXIST);
    assert_eq!(h.ok(put(fd, b"abcdef")), 6);
    let other = h.fd(open("/tmp/new", abi::O_RDONLY));
    assert_eq!(h.data(take(other, 4)), b"abcd");
    assert_eq!(h.data(take(other, 4)), b"ef");
    assert_eq!(h.err(put(other, b"x")), Errno::EBADF);
    assert_eq!(h.err(recv(other, 1, 0)), Errno::ENOTSOCK);
    assert_eq!(h.posix.put_file("/tmp/large", vec![0; (16 << 20) + 1]), Err(Errno::EFBIG));
}

#[test]
fn a_peek_may_go_on_where_the_last_ended() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    h.ok(write(client, b"abcdefgh"));
    h.run();
    h.ok(set(server, abi::SOL_SOCKET, abi::SO_PEEK_OFF, 2));
    assert_eq!(h.data(recv(server, 3, abi::MSG_PEEK)), b"cde");
    assert_eq!(h.data(recv(server, 3, abi::MSG_PEEK)), b"fgh");
    assert_eq!(h.err(recv(server, 3, abi::MSG_PEEK | abi::MSG_DONTWAIT)), Errno::EAGAIN);
    assert_eq!(h.data(read(server, 5)), b"abcde");
    assert_eq!(h.option(server, abi::SOL_SOCKET, abi::SO_PEEK_OFF), 3);
    h.ok(set(server, abi::SOL_SOCKET, abi::SO_PEEK_OFF, -1));
    assert_eq!(h.data(recv(server, 9, abi::MSG_PEEK)), b"fgh");
}

#[test]
fn a_deferred_connect_waits_for_data_to_go_with_the_syn() {
    let mut h = Host::new();
    h.stack.set_sysctl("net.ipv4.tcp_fastopen", "1543").unwrap();
    let listener = h.listener("127.0.0.1:80");
    h.ok(set(listener, abi::SOL_TCP, abi::TCP_FASTOPEN, 5));
    let client = h.stream();
    h.ok(set(client, abi::SOL_TCP, abi::TCP_FASTOPEN_CONNECT, 1));
    assert_eq!(h.ok(Call::Connect(client, address("127.0.0.1:80"))), 0);
    assert_eq!(h.err(Call::Connect(client, address("127.0.0.1:80"))), Errno::EISCONN);
    assert_eq!(h.err(Call::PeerName(client)), Errno::ENOTCONN);
    assert_eq!(h.err(at_nowhere(client)), Errno::EFAULT);
    let sending = h.blocks(write(client, b"with the SYN"));
    h.run();
    assert_eq!(h.returns(sending), Ok(Reply::Number(12)));
    let server = h.fd(Call::Accept(listener, 0));
    assert_eq!(h.data(read(server, 100)), b"with the SYN");
}

fn at_nowhere(fd: Fd) -> Call {
    Call::Send(fd, Outgoing { data: vec![0], fault: true, ..Outgoing::default() })
}
