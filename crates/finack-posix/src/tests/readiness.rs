use super::*;

const IN: i64 = abi::POLLIN | abi::POLLRDNORM;
const OUT: i64 = abi::POLLOUT | abi::POLLWRNORM;

fn all(fd: Fd) -> PollFd {
    PollFd { fd, events: 0x3fff, revents: 0 }
}

fn mask(h: &mut Host, fd: Fd) -> i64 {
    match h.done(Call::Poll(vec![all(fd)], Some(Duration::ZERO))) {
        Ok(Reply::Polled(list)) => list[0].revents,
        other => panic!("{other:?}"),
    }
}

#[test]
fn poll_tells_each_stage_of_a_connection() {
    let mut h = Host::new();
    let fresh = h.stream();
    assert_eq!(mask(&mut h, fresh), OUT | abi::POLLHUP);
    assert_eq!(mask(&mut h, 77), abi::POLLNVAL);
    assert_eq!(mask(&mut h, -1), 0);
    let (listener, client, server) = h.connected();
    assert_eq!(mask(&mut h, listener), 0);
    assert_eq!(mask(&mut h, server), OUT);
    let other = h.nonblocking();
    assert_eq!(h.err(Call::Connect(other, address("127.0.0.1:80"))), Errno::EINPROGRESS);
    assert_eq!(mask(&mut h, other), 0);
    h.run();
    assert_eq!(mask(&mut h, other), OUT);
    assert_eq!(mask(&mut h, listener), IN);
    h.ok(write(client, b"abc"));
    h.run();
    assert_eq!(mask(&mut h, server), IN | OUT);
    h.ok(Call::Shutdown(client, abi::SHUT_WR));
    h.run();
    assert_eq!(mask(&mut h, server), IN | OUT | abi::POLLRDHUP);
    h.ok(Call::Shutdown(server, abi::SHUT_WR));
    h.run();
    assert_eq!(mask(&mut h, server), IN | OUT | abi::POLLRDHUP | abi::POLLHUP);
}

#[test]
fn a_failed_connect_is_an_error_and_a_hang_up() {
    let mut h = Host::new();
    let fd = h.nonblocking();
    assert_eq!(h.err(Call::Connect(fd, address("127.0.0.1:81"))), Errno::EINPROGRESS);
    h.run();
    let expected = IN | OUT | abi::POLLERR | abi::POLLHUP | abi::POLLRDHUP;
    assert_eq!(mask(&mut h, fd), expected);
}

#[test]
fn poll_waits_for_what_was_asked_or_its_time() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    let asked = vec![PollFd { fd: server, events: abi::POLLIN, revents: 0 }];
    let waiting = h.blocks(Call::Poll(asked.clone(), None));
    let limited = h.blocks(Call::Poll(asked.clone(), Some(Duration::from_millis(100))));
    h.pass(Duration::from_millis(100));
    assert_eq!(h.returns(limited), Ok(Reply::Polled(asked)));
    let waiting = h.still_blocks(waiting);
    h.ok(write(client, b"x"));
    h.run();
    let answer = h.returns(waiting).unwrap();
    assert_eq!(answer.returned(), 1);
    assert_eq!(answer, Reply::Polled(vec![PollFd { fd: server, events: abi::POLLIN, revents: abi::POLLIN }]));
}

fn add(h: &mut Host, epoll: Fd, fd: Fd, events: i64) {
    let event = EpollEvent { events, data: fd as u64 };
    h.ok(Call::EpollControl { epoll, op: abi::EPOLL_CTL_ADD, fd, event });
}

fn told(h: &mut Host, epoll: Fd) -> Vec<(i64, u64)> {
    match h.done(Call::EpollWait { epoll, max: 8, timeout: Some(Duration::ZERO) }) {
        Ok(Reply::Events(events)) => events.iter().map(|e| (e.events, e.data)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn levels_are_told_again_and_edges_once() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    let level = h.fd(Call::EpollCreate { flags: 0 });
    let edge = h.fd(Call::EpollCreate { flags: abi::EPOLL_CLOEXEC });
    add(&mut h, level, server, abi::EPOLLIN);
    add(&mut h, edge, server, abi::EPOLLIN | abi::EPOLLET);
    assert_eq!((told(&mut h, level), told(&mut h, edge)), (vec![], vec![]));
    h.ok(write(client, b"abc"));
    h.run();
    let event = vec![(abi::EPOLLIN, server as u64)];
    assert_eq!(told(&mut h, level), event);
    assert_eq!(told(&mut h, level), event);
    assert_eq!(told(&mut h, edge), event);
    assert_eq!(told(&mut h, edge), vec![]);
    // New data is a new edge, also where the old was not read.
    h.ok(write(client, b"d"));
    h.pass(Duration::from_millis(50));
    assert_eq!(told(&mut h, edge), event);
    assert_eq!(h.data(read(server, 9)), b"abcd");
    assert_eq!((told(&mut h, level), told(&mut h, edge)), (vec![], vec![]));
}

#[test]
fn room_to_write_is_an_edge_once_it_was_missing() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    let epoll = h.fd(Call::EpollCreate { flags: 0 });
    add(&mut h, epoll, client, abi::EPOLLOUT | abi::EPOLLET);
    let event = vec![(abi::EPOLLOUT, client as u64)];
    assert_eq!(told(&mut h, epoll), event);
    assert_eq!(told(&mut h, epoll), vec![]);
    while h.call(send(client, &[0; 65_536], abi::MSG_DONTWAIT)) != Outcome::Done(Err(Errno::EAGAIN)) {
        h.run();
    }
    assert_eq!(told(&mut h, epoll), vec![]);
    for _ in 0..200 {
        let _ = h.call(recv(server, 1 << 20, abi::MSG_DONTWAIT));
        h.pass(Duration::from_millis(1));
    }
    assert_eq!(told(&mut h, epoll), event);
    assert_eq!(told(&mut h, epoll), vec![]);
}

#[test]
fn one_shot_interests_fire_once_until_renewed() {
    let mut h = Host::new();
    let (_, _, server) = h.connected();
    let epoll = h.fd(Call::EpollCreate { flags: 0 });
    add(&mut h, epoll, server, abi::EPOLLOUT | abi::EPOLLONESHOT);
    assert_eq!(told(&mut h, epoll).len(), 1);
    assert_eq!(told(&mut h, epoll).len(), 0);
    let event = EpollEvent { events: abi::EPOLLOUT, data: 9 };
    h.ok(Call::EpollControl { epoll, op: abi::EPOLL_CTL_MOD, fd: server, event });
    assert_eq!(told(&mut h, epoll), vec![(abi::EPOLLOUT, 9)]);
}

#[test]
fn epoll_wait_blocks_is_fair_and_forgets_closed_files() {
    let mut h = Host::new();
    let (listener, client, server) = h.connected();
    let epoll = h.fd(Call::EpollCreate { flags: 0 });
    add(&mut h, epoll, listener, abi::EPOLLIN);
    let wait = |max, timeout| Call::EpollWait { epoll, max, timeout };
    let waiting = h.blocks(wait(1, Some(Duration::from_millis(10))));
    h.pass(Duration::from_millis(10));
    assert_eq!(h.returns(waiting), Ok(Reply::Events(vec![])));
    assert_eq!(h.err(wait(0, None)), Errno::EINVAL);
    add(&mut h, epoll, server, abi::EPOLLOUT);
    add(&mut h, epoll, client, abi::EPOLLOUT);
    let mut first = || match h.done(wait(1, None)) {
        Ok(Reply::Events(events)) => events[0].data,
        other => panic!("{other:?}"),
    };
    assert_eq!([first(), first(), first()], [server as u64, client as u64, server as u64]);
    h.ok(Call::Close(server));
    assert_eq!(told(&mut h, epoll), vec![(abi::EPOLLOUT, client as u64)]);
    h.ok(Call::Close(epoll));
    assert_eq!(h.err(wait(1, None)), Errno::EBADF);
}

#[test]
fn epoll_refuses_what_makes_no_sense() {
    let mut h = Host::new();
    let (_, client, server) = h.connected();
    let epoll = h.fd(Call::EpollCreate { flags: 0 });
    let second = h.fd(Call::EpollCreate { flags: 0 });
    let control = |epoll, op, fd| Call::EpollControl { epoll, op, fd, event: EpollEvent::default() };
    h.ok(control(epoll, abi::EPOLL_CTL_ADD, client));
    assert_eq!(h.err(control(epoll, abi::EPOLL_CTL_ADD, client)), Errno::EEXIST);
    assert_eq!(h.err(control(epoll, abi::EPOLL_CTL_MOD, server)), Errno::ENOENT);
    assert_eq!(h.err(control(epoll, abi::EPOLL_CTL_DEL, server)), Errno::ENOENT);
    assert_eq!(h.err(control(epoll, 9, client)), Errno::EINVAL);
    assert_eq!(h.err(control(epoll, abi::EPOLL_CTL_ADD, epoll)), Errno::EINVAL);
    assert_eq!(h.err(control(epoll, abi::EPOLL_CTL_ADD, second)), Errno::ELOOP);
    assert_eq!(h.err(control(client, abi::EPOLL_CTL_ADD, server)), Errno::EINVAL);
    assert_eq!(h.err(control(epoll, abi::EPOLL_CTL_ADD, 99)), Errno::EBADF);
    assert_eq!(h.err(Call::EpollCreate { flags: 1 }), Errno::EINVAL);
    assert_eq!(h.err(read(epoll, 1)), Errno::ENOTSOCK);
    h.ok(control(epoll, abi::EPOLL_CTL_DEL, client));
}

/// The kernel's rule: EPOLLERR of the error queue is told by each new entry.
#[test]
fn zero_copy_completions_are_edges_of_epollerr() {
    let mut h = Host::new();
    let (_, client, _) = h.connected();
    h.ok(set(client, abi::SOL_SOCKET, abi::SO_ZEROCOPY, 1));
    let epoll = h.fd(Call::EpollCreate { flags: 0 });
    add(&mut h, epoll, client, abi::EPOLLET);
    for _ in 0..2 {
        h.ok(send(client, b"abc", abi::MSG_ZEROCOPY));
        h.run();
        h.pass(Duration::from_millis(50));
        assert_eq!(told(&mut h, epoll), vec![(abi::EPOLLERR, client as u64)]);
        assert_eq!(told(&mut h, epoll), vec![]);
    }
    // Nobody read the queue in between: the two completions are one entry.
    assert_eq!(h.received(recv(client, 0, abi::MSG_ERRQUEUE)).control.len(), 1);
    assert_eq!(h.err(recv(client, 0, abi::MSG_ERRQUEUE)), Errno::EAGAIN);
}
