use super::*;
use crate::options::UNSUPPORTED;

#[test]
fn what_is_set_reads_back() {
    let mut h = Host::new();
    let (_, _, fd) = h.connected();
    for (level, name, value, reads) in [
        (abi::SOL_SOCKET, abi::SO_KEEPALIVE, 1, 1),
        (abi::SOL_SOCKET, abi::SO_REUSEADDR, 7, 1),
        (abi::SOL_SOCKET, abi::SO_OOBINLINE, 1, 1),
        (abi::SOL_SOCKET, abi::SO_SNDBUF, 20_000, 40_000),
        (abi::SOL_SOCKET, abi::SO_RCVBUF, 1, 2304),
        (abi::SOL_SOCKET, abi::SO_RCVLOWAT, 0, 1),
        (abi::SOL_SOCKET, abi::SO_RCVLOWAT, 9, 9),
        (abi::SOL_SOCKET, abi::SO_PRIORITY, 6, 6),
        (abi::SOL_SOCKET, abi::SO_MAX_PACING_RATE, 1_000_000, 1_000_000),
        (abi::SOL_SOCKET, abi::SO_MAX_PACING_RATE, -1, -1),
        (abi::SOL_SOCKET, abi::SO_ZEROCOPY, 1, 1),
        (abi::SOL_TCP, abi::TCP_NODELAY, 1, 1),
        (abi::SOL_TCP, abi::TCP_CORK, 1, 1),
        (abi::SOL_TCP, abi::TCP_KEEPIDLE, 9, 9),
        (abi::SOL_TCP, abi::TCP_KEEPINTVL, 8, 8),
        (abi::SOL_TCP, abi::TCP_KEEPCNT, 7, 7),
        (abi::SOL_TCP, abi::TCP_SYNCNT, 3, 3),
        (abi::SOL_TCP, abi::TCP_LINGER2, -1, -1),
        (abi::SOL_TCP, abi::TCP_LINGER2, 999, 120),
        (abi::SOL_TCP, abi::TCP_USER_TIMEOUT, 3000, 3000),
        (abi::SOL_TCP, abi::TCP_NOTSENT_LOWAT, 5000, 5000),
        (abi::SOL_TCP, abi::TCP_INQ, 1, 1),
        (abi::SOL_IP, abi::IP_TTL, 9, 9),
        (abi::SOL_IP, abi::IP_TTL, -1, 64),
        // The ECN bits belong to TCP.
        (abi::SOL_IP, abi::IP_TOS, 0x2b, 0x28),
        (abi::SOL_IP, abi::IP_RECVERR, 1, 1),
        (abi::SOL_IP, abi::IP_MTU_DISCOVER, 1, 1),
    ] {
        h.ok(set(fd, level, name, value));
        assert_eq!(h.option(fd, level, name), reads, "option {name} of level {level}");
    }
}

#[test]
fn defaults_are_those_of_the_sysctls() {
    let mut h = Host::new();
    let fd = h.stream();
    for (level, name, reads) in [
        (abi::SOL_SOCKET, abi::SO_TYPE, 1),
        (abi::SOL_SOCKET, abi::SO_PROTOCOL, 6),
        (abi::SOL_SOCKET, abi::SO_DOMAIN, 2),
        (abi::SOL_SOCKET, abi::SO_SNDBUF, 16_384),
        (abi::SOL_SOCKET, abi::SO_RCVBUF, 131_072),
        (abi::SOL_SOCKET, abi::SO_SNDLOWAT, 1),
        (abi::SOL_SOCKET, abi::SO_ERROR, 0),
        (abi::SOL_TCP, abi::TCP_MAXSEG, 536),
        (abi::SOL_TCP, abi::TCP_KEEPIDLE, 7200),
        (abi::SOL_TCP, abi::TCP_KEEPINTVL, 75),
        (abi::SOL_TCP, abi::TCP_KEEPCNT, 9),
        (abi::SOL_TCP, abi::TCP_SYNCNT, 6),
        (abi::SOL_TCP, abi::TCP_LINGER2, 60),
        (abi::SOL_IP, abi::IP_TTL, 64),
    ] {
        assert_eq!(h.option(fd, level, name), reads, "option {name} of level {level}");
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let mut h = Host::new();
    let fd = h.stream();
    for (level, name, value, errno) in [
        (abi::SOL_TCP, abi::TCP_MAXSEG, 87, Errno::EINVAL),
        (abi::SOL_TCP, abi::TCP_MAXSEG, 32_768, Errno::EINVAL),
        (abi::SOL_TCP, abi::TCP_KEEPIDLE, 0, Errno::EINVAL),
        (abi::SOL_TCP, abi::TCP_KEEPINTVL, 32_768, Errno::EINVAL),
        (abi::SOL_TCP, abi::TCP_KEEPCNT, 128, Errno::EINVAL),
        (abi::SOL_TCP, abi::TCP_SYNCNT, 0, Errno::EINVAL),
        (abi::SOL_TCP, abi::TCP_USER_TIMEOUT, -1, Errno::EINVAL),
        (abi::SOL_TCP, abi::TCP_INQ, 2, Errno::EINVAL),
        (abi::SOL_TCP, 999, 0, Errno::ENOPROTOOPT),
        (abi::SOL_SOCKET, 999, 0, Errno::ENOPROTOOPT),
        (abi::SOL_SOCKET, abi::SO_ZEROCOPY, 2, Errno::EINVAL),
        (abi::SOL_SOCKET, abi::SO_PRIORITY, 7, Errno::EPERM),
        (abi::SOL_SOCKET, abi::SO_TIMESTAMPING, 0x80, Errno::EINVAL),
        (abi::SOL_IP, abi::IP_TTL, 0, Errno::EINVAL),
        (abi::SOL_IP, abi::IP_TTL, 256, Errno::EINVAL),
        (999, 1, 0, Errno::ENOPROTOOPT),
    ] {
        assert_eq!(h.err(set(fd, level, name, value)), errno, "option {name} of level {level}");
    }
    let short = Call::SetOption { fd, level: abi::SOL_TCP, name: abi::TCP_NODELAY, value: vec![1] };
    assert_eq!(h.err(short), Errno::EINVAL);
    let cubic = |name: &[u8]| Call::SetOption {
        fd,
        level: abi::SOL_TCP,
        name: abi::TCP_CONGESTION,
        value: name.to_vec(),
    };
    h.ok(cubic(b"reno"));
    assert_eq!(h.err(cubic(b"nonesuch")), Errno::ENOENT);
}

/// Nothing that is missing is hidden: each refusal of the table is what the call answers.
#[test]
fn what_is_unsupported_is_refused_by_name() {
    let mut h = Host::new();
    let stream = h.stream();
    let datagram = h.fd(Call::Socket { domain: abi::AF_INET, kind: abi::SOCK_DGRAM, protocol: 0 });
    for u in UNSUPPORTED.iter().filter(|u| !u.name.starts_with("MSG_")) {
        let name = abi::lookup(u.name).unwrap_or_else(|| panic!("{} has no number", u.name));
        let (fd, level) = match u.name.split('_').next() {
            Some("SO") => (stream, abi::SOL_SOCKET),
            Some("TCP") => (stream, abi::SOL_TCP),
            Some("UDP") => (datagram, abi::SOL_UDP),
            _ => (stream, abi::SOL_IP),
        };
        assert_eq!(h.err(set(fd, level, name, 1)), u.errno, "{}", u.name);
    }
    let (_, client, _) = h.connected();
    for u in UNSUPPORTED.iter().filter(|u| u.name.starts_with("MSG_")) {
        assert_eq!(h.err(send(client, b"x", abi::lookup(u.name).unwrap())), u.errno, "{}", u.name);
    }
}

#[test]
fn tcp_info_lies_as_on_linux() {
    let mut h = Host::new();
    let (listener, client, _) = h.connected();
    let bytes = |h: &mut Host, fd, len| match h.done(Call::GetOption {
        fd,
        level: abi::SOL_TCP,
        name: abi::TCP_INFO,
        len,
    }) {
        Ok(Reply::Option(bytes)) => bytes,
        other => panic!("{other:?}"),
    };
    let whole = bytes(&mut h, client, 999);
    assert_eq!((whole.len(), whole[0]), (info::LEN, abi::TCP_ESTABLISHED as u8));
    // tcpi_options: timestamps, SACK, window scale.
    assert_eq!(whole[5], 7);
    assert_eq!(whole[6], 0x77);
    let word = |at: usize| u32::from_le_bytes(whole[at..at + 4].try_into().unwrap());
    assert!((200_000..210_000).contains(&word(8)), "tcpi_rto in microseconds");
    assert_eq!(word(80), 10, "tcpi_snd_cwnd in segments");
    assert_eq!(bytes(&mut h, listener, 1), [abi::TCP_LISTEN as u8]);
    let info = h.stack.tcp_info(h.now, h.posix.connection(client).unwrap()).unwrap();
    let unknown = info::fields(&info).iter().filter(|f| f.value.is_none()).count();
    assert!(unknown > 0, "the table of what is unknown is empty: say so in the documentation");
}

#[test]
fn every_errno_of_the_engine_has_a_name() {
    for (errno, name, text) in Errno::ALL {
        assert_eq!(Errno::from_name(name), Some(*errno));
        assert_eq!((errno.name(), errno.text()), (Some(*name), *text));
    }
    assert_eq!(Errno::from_name("EWOULDBLOCK"), Some(Errno::EAGAIN));
    assert_eq!(Errno(9999).to_string(), "errno 9999");
    assert_eq!(Errno::ECONNREFUSED.to_string(), "ECONNREFUSED (Connection refused)");
}
