//! Calls from values to the kernel, and its answers back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::RawFd;
use std::time::Duration;

use finack_posix::{
    Address, Answer, Call, Control, ControlData, EpollEvent, Errno, ExtendedError, Incoming, Outgoing,
    PollFd, Received, Reply, abi,
};

use crate::sys;

/// Bytes of a control message's header: its length, level and type.
const CONTROL_HEADER: usize = 16;

/// Bytes between two buffers of a send: the kernel would take adjoining ones for one.
const GAP: usize = 64;

/// A call, and the memory that its buffers lie in. The kernel may read there after the call (`MSG_ZEROCOPY`).
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) call: Call,
    memory: Vec<u8>,
    buffers: Vec<Range<usize>>,
}

impl Prepared {
    pub(crate) fn new(call: Call) -> Self {
        let (mut memory, mut buffers) = (Vec::new(), Vec::new());
        if let Call::Send(_, out) = &call {
            let whole = [out.data.len()];
            let lengths = if out.buffers.is_empty() { &whole } else { out.buffers.as_slice() };
            let mut rest = out.data.as_slice();
            for len in lengths {
                let (buffer, behind) = rest.split_at((*len).min(rest.len()));
                buffers.push(memory.len()..memory.len() + buffer.len());
                memory.extend_from_slice(buffer);
                memory.resize(memory.len() + GAP, 0);
                rest = behind;
            }
        }
        Self { call, memory, buffers }
    }

    /// Whether the kernel may read the memory after the call.
    pub(crate) fn lends(&self) -> bool {
        matches!(&self.call, Call::Send(_, out) if out.flags & abi::MSG_ZEROCOPY != 0)
    }

    fn send(&self, fd: RawFd, out: &Outgoing) -> Answer {
        let name = out.to.map(encoded).unwrap_or_default();
        let control: Vec<u8> = out.control.iter().flat_map(control_bytes).collect();
        let buffers: Vec<&[u8]> =
            self.buffers.iter().filter_map(|range| self.memory.get(range.clone())).collect();
        let sent = sys::send(fd, &buffers, out.flags, &name, &control)?;
        Ok(Reply::Number(i64::try_from(sent).unwrap_or(i64::MAX)))
    }
}

/// Makes a call, on this thread, for as long as it takes.
pub(crate) fn make(prepared: &Prepared) -> Answer {
    let number = |n: i64| Ok(Reply::Number(n));
    match &prepared.call {
        Call::Socket { domain, kind, protocol } => number(sys::socket(*domain, *kind, *protocol)?),
        Call::Bind(fd, to) => number(sys::bind(*fd, &encoded(*to))?),
        Call::Listen(fd, backlog) => number(sys::listen(*fd, *backlog)?),
        Call::Accept(fd, flags) => {
            let (new, name) = sys::accept(*fd, *flags)?;
            Ok(Reply::Accepted(new as RawFd, decoded(&name)))
        }
        Call::Connect(fd, to) => number(sys::connect(*fd, &encoded(*to))?),
        Call::Shutdown(fd, how) => number(sys::shutdown(*fd, *how)?),
        Call::Close(fd) => number(sys::close(*fd)?),
        Call::Send(fd, out) if out.plain || out.fault => write(*fd, out),
        Call::Send(fd, out) => prepared.send(*fd, out),
        Call::Recv(fd, what) if what.plain || what.fault => read(*fd, what),
        Call::Recv(fd, what) => receive(*fd, what.len, what.flags),
        Call::Pipe { flags } => sys::pipe(*flags).map(|[reads, writes]| Reply::Pipe(reads, writes)),
        // Whoever has the script's files opens them.
        Call::Open { .. } => Err(Errno::ENOENT),
        Call::SendFile { to, from, offset, count } => {
            let sent = sys::send_file(*to, *from, *offset, *count)?;
            number(i64::try_from(sent).unwrap_or(i64::MAX))
        }
        Call::Splice { from, from_offset, to, to_offset, len, flags } => {
            let count = sys::splice((*from, *from_offset), (*to, *to_offset), *len, *flags)?;
            number(i64::try_from(count).unwrap_or(i64::MAX))
        }
        Call::GetOption { fd, level, name, len } => {
            Ok(Reply::Option(sys::get_option(*fd, *level, *name, *len)?))
        }
        Call::SetOption { fd, level, name, value } => number(sys::set_option(*fd, *level, *name, value)?),
        Call::SocketName(fd) => Ok(Reply::Name(decoded(&sys::socket_name(*fd)?))),
        Call::PeerName(fd) => Ok(Reply::Name(decoded(&sys::peer_name(*fd)?))),
        Call::Fcntl(fd, command, argument) => number(sys::fcntl(*fd, *command, *argument)?),
        Call::Ioctl(fd, request, argument) => Ok(Reply::Argument(sys::ioctl(*fd, *request, *argument)?)),
        Call::Dup(fd) => number(sys::dup(*fd)?),
        Call::Poll(list, timeout) => poll(list, *timeout),
        Call::EpollCreate { flags } => number(sys::epoll_create(*flags)?),
        Call::EpollControl { epoll, op, fd, event } => {
            number(sys::epoll_control(*epoll, *op, *fd, event.events, event.data)?)
        }
        Call::EpollWait { epoll, max, timeout } => {
            let events = sys::epoll_wait(*epoll, *max, milliseconds(*timeout))?;
            let event = |(events, data)| EpollEvent { events, data };
            Ok(Reply::Events(events.into_iter().map(event).collect()))
        }
    }
}

/// Whether a call may wait for something, the socket's own mode aside.
pub(crate) fn may_block(call: &Call) -> bool {
    let flagged = |flags: i64| flags & abi::MSG_DONTWAIT != 0;
    let fd = match call {
        Call::Accept(fd, _) | Call::Connect(fd, _) | Call::Close(fd) => *fd,
        Call::Send(fd, out) if !flagged(out.flags) => *fd,
        Call::Recv(fd, what) if !flagged(what.flags) => *fd,
        Call::SendFile { to, .. } => *to,
        Call::Splice { flags, .. } => return flags & abi::SPLICE_F_NONBLOCK == 0,
        Call::Poll(_, timeout) | Call::EpollWait { timeout, .. } => return *timeout != Some(Duration::ZERO),
        _ => return false,
    };
    // A close waits for SO_LINGER whatever the mode.
    matches!(call, Call::Close(_))
        || sys::fcntl(fd, libc::F_GETFL.into(), 0).is_ok_and(|flags| flags & i64::from(libc::O_NONBLOCK) == 0)
}

fn milliseconds(timeout: Option<Duration>) -> libc::c_int {
    timeout.map_or(-1, |t| libc::c_int::try_from(t.as_millis()).unwrap_or(libc::c_int::MAX))
}

fn poll(list: &[PollFd], timeout: Option<Duration>) -> Answer {
    let asked: Vec<(RawFd, i64)> = list.iter().map(|p| (p.fd, p.events)).collect();
    let revents = sys::poll(&asked, milliseconds(timeout))?;
    let polled = list.iter().zip(revents).map(|(p, revents)| PollFd { revents, ..*p });
    Ok(Reply::Polled(polled.collect()))
}

/// `write`, and sends from no address.
fn write(fd: RawFd, out: &Outgoing) -> Answer {
    let sent = sys::write(fd, (!out.fault).then_some(&out.data[..]), out.data.len())?;
    Ok(Reply::Number(i64::try_from(sent).unwrap_or(i64::MAX)))
}

/// `read`, and receives to no address.
fn read(fd: RawFd, what: &Incoming) -> Answer {
    let mut data = if what.fault { Vec::new() } else { vec![0; what.len] };
    let count = sys::read(fd, (!what.fault).then_some(&mut data[..]), what.len)?;
    data.truncate(count);
    Ok(Reply::Received(Received { data, count, ..Received::default() }))
}

fn receive(fd: RawFd, room: usize, flags: i64) -> Answer {
    let message = sys::receive(fd, room, flags)?;
    let control = control_messages(&message.control).map(|(level, kind, data)| Control {
        level,
        kind,
        data: control_data(level, kind, data),
    });
    Ok(Reply::Received(Received {
        data: message.data,
        count: message.count,
        flags: message.flags,
        from: (!message.name.is_empty()).then(|| decoded(&message.name)),
        control: control.collect(),
    }))
}

/// `struct sockaddr_in`, `sockaddr_in6`, or of no family.
fn encoded(address: Address) -> Vec<u8> {
    let mut out = Vec::with_capacity(28);
    match address {
        Address::Unspecified => out.resize(16, 0),
        Address::Inet(SocketAddr::V4(to)) => {
            out.extend_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            out.extend_from_slice(&to.port().to_be_bytes());
            out.extend_from_slice(&to.ip().octets());
            out.resize(16, 0);
        }
        Address::Inet(SocketAddr::V6(to)) => {
            out.extend_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            out.extend_from_slice(&to.port().to_be_bytes());
            out.extend_from_slice(&to.flowinfo().to_be_bytes());
            out.extend_from_slice(&to.ip().octets());
            out.extend_from_slice(&to.scope_id().to_ne_bytes());
        }
    }
    out
}

fn decoded(bytes: &[u8]) -> Address {
    let family = bytes.get(..2).map_or(0, |b| i32::from(u16::from_ne_bytes([b[0], b[1]])));
    let port = bytes.get(2..4).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
    match family {
        libc::AF_INET => ipv4(bytes.get(4..8)).map(IpAddr::V4),
        libc::AF_INET6 => ipv6(bytes.get(8..24)).map(IpAddr::V6),
        _ => None,
    }
    .map_or(Address::Unspecified, |ip| Address::Inet(SocketAddr::new(ip, port)))
}

fn ipv4(bytes: Option<&[u8]>) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes?).ok().map(Ipv4Addr::from)
}

fn ipv6(bytes: Option<&[u8]>) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(bytes?).ok().map(Ipv6Addr::from)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes)
}

fn long(bytes: &[u8], at: usize) -> Option<i64> {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(i64::from_ne_bytes)
}

/// `struct timespec`
pub(crate) fn timespec(bytes: &[u8]) -> Option<Duration> {
    let (seconds, nanos) = (long(bytes, 0)?, long(bytes, 8)?);
    Some(Duration::new(seconds.try_into().ok()?, nanos.try_into().ok()?))
}

fn control_bytes(control: &Control) -> Vec<u8> {
    let data = match &control.data {
        // The time at which a packet is to leave is the one number of eight bytes.
        ControlData::Number(n) if (control.level, control.kind) == (abi::SOL_SOCKET, SCM_TXTIME) => {
            n.to_ne_bytes().to_vec()
        }
        ControlData::Number(n) => (*n as i32).to_ne_bytes().to_vec(),
        ControlData::PacketInfo(IpAddr::V4(ip)) => [&[0; 4][..], &ip.octets(), &[0; 4]].concat(),
        ControlData::PacketInfo(IpAddr::V6(ip)) => [&ip.octets()[..], &[0; 4]].concat(),
        // Nobody sends these.
        ControlData::Time(_) | ControlData::Extended(_) | ControlData::ExtendedFrom(..) => Vec::new(),
    };
    let mut out = (CONTROL_HEADER + data.len()).to_ne_bytes().to_vec();
    out.extend_from_slice(&(control.level as i32).to_ne_bytes());
    out.extend_from_slice(&(control.kind as i32).to_ne_bytes());
    out.extend_from_slice(&data);
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

const SCM_TXTIME: i64 = 61;

/// Level, type and data of each.
pub(crate) fn control_messages(bytes: &[u8]) -> impl Iterator<Item = (i64, i64, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::try_from(long(rest, 0)?).ok()?;
        let (level, kind) = (word(rest, 8)? as i32, word(rest, 12)? as i32);
        let data = rest.get(CONTROL_HEADER..length)?;
        rest = rest.get(length.next_multiple_of(8)..).unwrap_or(&[]);
        Some((level.into(), kind.into(), data))
    })
}

fn control_data(level: i64, kind: i64, data: &[u8]) -> ControlData {
    let number = match data {
        [byte] => i64::from(*byte),
        data => word(data, 0).map_or(0, |n| i64::from(n as i32)),
    };
    match (level, kind) {
        (abi::SOL_SOCKET, SCM_TIMESTAMPING | SCM_TIMESTAMPNS) => {
            let since_1970 = timespec(data).unwrap_or_default();
            let nanos = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
            ControlData::Time(finack_core::Instant::from_nanos(nanos))
        }
        (abi::SOL_IP, abi::IP_RECVERR) | (abi::SOL_IPV6, abi::IPV6_RECVERR) => {
            ControlData::Extended(extended(data).unwrap_or(ExtendedError {
                errno: 0,
                origin: 0,
                kind: 0,
                code: 0,
                info: 0,
                data: 0,
            }))
        }
        (abi::SOL_IP, IP_PKTINFO) => {
            ipv4(data.get(8..12)).map_or(ControlData::Number(number), |ip| ControlData::PacketInfo(ip.into()))
        }
        (abi::SOL_IPV6, IPV6_PKTINFO) => {
            ipv6(data.get(..16)).map_or(ControlData::Number(number), |ip| ControlData::PacketInfo(ip.into()))
        }
        _ => ControlData::Number(number),
    }
}

const SCM_TIMESTAMPNS: i64 = libc::SCM_TIMESTAMPNS as i64;
const SCM_TIMESTAMPING: i64 = libc::SCM_TIMESTAMPING as i64;
const IP_PKTINFO: i64 = libc::IP_PKTINFO as i64;
const IPV6_PKTINFO: i64 = libc::IPV6_PKTINFO as i64;

/// `struct sock_extended_err`
fn extended(data: &[u8]) -> Option<ExtendedError> {
    Some(ExtendedError {
        errno: word(data, 0)? as i32,
        origin: i64::from(*data.get(4)?),
        kind: *data.get(5)?,
        code: *data.get(6)?,
        info: word(data, 8)?,
        data: word(data, 12)?,
    })
}

/// A descriptor that a call opened, if it did.
pub(crate) fn opened(call: &Call, answer: &Answer) -> Vec<RawFd> {
    let duplicates = |command: i64| [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC].map(i64::from).contains(&command);
    match (call, answer) {
        (
            Call::Socket { .. } | Call::Dup(_) | Call::EpollCreate { .. } | Call::Open { .. },
            Ok(Reply::Number(fd)),
        ) => RawFd::try_from(*fd).into_iter().collect(),
        (Call::Fcntl(_, command, _), Ok(Reply::Number(fd))) if duplicates(*command) => {
            RawFd::try_from(*fd).into_iter().collect()
        }
        (_, Ok(Reply::Accepted(fd, _))) => vec![*fd],
        (_, Ok(Reply::Pipe(reads, writes))) => vec![*reads, *writes],
        _ => Vec::new(),
    }
}

/// The answer of a descriptor that is not the script's.
pub(crate) const NOT_OPEN: Errno = Errno::EBADF;

#[cfg(test)]
mod tests;
