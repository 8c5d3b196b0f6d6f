//! Calls and their answers as values.

use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;
use finack_core::Instant;

use crate::Errno;

/// A file descriptor: small, used again once closed.
pub type Fd = i32;

/// An address as a call names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `AF_UNSPEC`: no address; for `connect` it dissolves an association.
    Unspecified,
    /// `AF_INET` or `AF_INET6`.
    Inet(SocketAddr),
}

/// One call. Buffers are given as lengths and come back filled in the [`Reply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `socket`; the type may carry `SOCK_NONBLOCK` and `SOCK_CLOEXEC`.
    Socket {
        /// `AF_INET` or `AF_INET6`.
        domain: i64,
        /// `SOCK_STREAM` or `SOCK_DGRAM`.
        kind: i64,
        /// 0 or the type's own protocol.
        protocol: i64,
    },
    /// `bind`
    Bind(Fd, Address),
    /// `listen`
    Listen(Fd, i64),
    /// `accept` (flags 0) and `accept4`.
    Accept(Fd, i64),
    /// `connect`
    Connect(Fd, Address),
    /// `shutdown`
    Shutdown(Fd, i64),
    /// `close`
    Close(Fd),
    /// `write`, `writev`, `send`, `sendto`, `sendmsg`.
    Send(Fd, Outgoing),
    /// `read`, `readv`, `recv`, `recvfrom`, `recvmsg`.
    Recv(Fd, Incoming),
    /// `getsockopt`
    GetOption {
        /// Of which socket.
        fd: Fd,
        /// `SOL_SOCKET`, `IPPROTO_TCP`, ...
        level: i64,
        /// Which option.
        name: i64,
        /// Bytes that the caller has room for.
        len: usize,
    },
    /// `setsockopt`
    SetOption {
        /// Of which socket.
        fd: Fd,
        /// `SOL_SOCKET`, `IPPROTO_TCP`, ...
        level: i64,
        /// Which option.
        name: i64,
        /// The value's bytes, in the order of the machine's (little-endian).
        value: Vec<u8>,
    },
    /// `getsockname`
    SocketName(Fd),
    /// `getpeername`
    PeerName(Fd),
    /// `fcntl`
    Fcntl(Fd, i64, i64),
    /// `ioctl`; the argument is what the caller's memory holds, the answer what it holds then.
    Ioctl(Fd, i64, i64),
    /// `dup`
    Dup(Fd),
    /// `pipe` (flags 0) and `pipe2`.
    Pipe {
        /// `O_NONBLOCK` and `O_CLOEXEC`.
        flags: i64,
    },
    /// `open` of a file that [`Posix::put_file`](crate::Posix::put_file) made known.
    Open {
        /// Its whole name.
        path: String,
        /// `O_RDONLY`, `O_WRONLY` or `O_RDWR`, and others.
        flags: i64,
    },
    /// `sendfile`
    SendFile {
        /// The socket or pipe that gets the bytes.
        to: Fd,
        /// The file that has them.
        from: Fd,
        /// Where they begin; `None` begins where the file was read up to, and moves that.
        offset: Option<i64>,
        /// How many.
        count: usize,
    },
    /// `splice`
    Splice {
        /// Where bytes are taken from.
        from: Fd,
        /// From which place of a file.
        from_offset: Option<i64>,
        /// Where they go; one of the two is a pipe.
        to: Fd,
        /// To which place of a file.
        to_offset: Option<i64>,
        /// Most bytes.
        len: usize,
        /// `SPLICE_F_...`
        flags: i64,
    },
    /// `poll`; no time-out waits for ever.
    Poll(Vec<PollFd>, Option<Duration>),
    /// `epoll_create` and `epoll_create1`.
    EpollCreate {
        /// `EPOLL_CLOEXEC` or nothing.
        flags: i64,
    },
    /// `epoll_ctl`
    EpollControl {
        /// The epoll descriptor.
        epoll: Fd,
        /// `EPOLL_CTL_ADD`, `EPOLL_CTL_MOD` or `EPOLL_CTL_DEL`.
        op: i64,
        /// Of which descriptor.
        fd: Fd,
        /// What to wait for.
        event: EpollEvent,
    },
    /// `epoll_wait`
    EpollWait {
        /// The epoll descriptor.
        epoll: Fd,
        /// Most events that are answered.
        max: i64,
        /// `None` waits for ever.
        timeout: Option<Duration>,
    },
}

/// What a send says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Outgoing {
    /// The bytes of all buffers in a row.
    pub data: Vec<u8>,
    /// How long each of them is; empty where it is one.
    pub buffers: Vec<usize>,
    /// `MSG_...`
    pub flags: i64,
    /// `sendto`'s or `sendmsg`'s address.
    pub to: Option<Address>,
    /// Control messages.
    pub control: Vec<Control>,
    /// `write` and `writev`: files that are no sockets take them too.
    pub plain: bool,
    /// The bytes lie where the caller has no memory: `EFAULT`, once it comes to reading them.
    pub fault: bool,
}

impl Outgoing {
    /// What is behind the first `sent` bytes, buffer by buffer.
    pub(crate) fn rest(&self, sent: usize) -> Vec<Bytes> {
        let all = Bytes::copy_from_slice(&self.data);
        let whole = [self.data.len()];
        let lengths = if self.buffers.is_empty() { &whole } else { self.buffers.as_slice() };
        let mut end = 0;
        let ranges = lengths.iter().map(|len| {
            let start = end;
            end = self.data.len().min(start + len);
            start.max(sent).min(end)..end
        });
        ranges.map(|range| all.slice(range)).filter(|part| !part.is_empty()).collect()
    }
}

/// What a receive asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Incoming {
    /// Bytes of all buffers together.
    pub len: usize,
    /// `MSG_...`
    pub flags: i64,
    /// `read` and `readv`: files that are no sockets take them too, and no bytes are read at once.
    pub plain: bool,
    /// The caller has no memory there: `EFAULT`, once it comes to writing to it.
    pub fault: bool,
}

/// A control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// `cmsg_level`
    pub level: i64,
    /// `cmsg_type`
    pub kind: i64,
    /// Its data.
    pub data: ControlData,
}

/// What a control message holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlData {
    /// One number.
    Number(i64),
    /// A time: `SCM_TIMESTAMPING`.
    Time(Instant),
    /// `struct sock_extended_err`: what the error queue tells.
    Extended(ExtendedError),
    /// The same about an ICMP error, with the address of who sent it behind (`SO_EE_OFFENDER`).
    ExtendedFrom(ExtendedError, core::net::IpAddr),
    /// Where a datagram was addressed to: `IP_PKTINFO`, `IPV6_PKTINFO`.
    PacketInfo(core::net::IpAddr),
}

/// `struct sock_extended_err`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// `ee_errno`, 0 for none.
    pub errno: i32,
    /// `SO_EE_ORIGIN_...`
    pub origin: i64,
    /// `ee_type`
    pub kind: u8,
    /// `ee_code`
    pub code: u8,
    /// `ee_info`
    pub info: u32,
    /// `ee_data`
    pub data: u32,
}

/// `struct pollfd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollFd {
    /// Negative ones are passed over.
    pub fd: Fd,
    /// `POLL...` asked for.
    pub events: i64,
    /// `POLL...` that are so.
    pub revents: i64,
}

/// `struct epoll_event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EpollEvent {
    /// `EPOLL...`
    pub events: i64,
    /// What the caller wants told again.
    pub data: u64,
}

/// What a receive brought.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Received {
    /// The bytes.
    pub data: Vec<u8>,
    /// What the call returns: with `MSG_TRUNC` more than there are bytes.
    pub count: usize,
    /// `msg_flags`
    pub flags: i64,
    /// Who sent it (datagrams).
    pub from: Option<Address>,
    /// Control messages.
    pub control: Vec<Control>,
}

/// A call's answer when it succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A number: a descriptor, a count of bytes, 0.
    Number(i64),
    /// `accept`: the new descriptor, and who is there.
    Accepted(Fd, Address),
    /// `getsockname`, `getpeername`.
    Name(Address),
    /// A receive.
    Received(Received),
    /// `getsockopt`: the value's bytes, already cut to the caller's length.
    Option(Vec<u8>),
    /// `ioctl`: what the argument points to now.
    Argument(i64),
    /// `poll`: the descriptors with `revents`.
    Polled(Vec<PollFd>),
    /// `epoll_wait`
    Events(Vec<EpollEvent>),
    /// `pipe`: the end that is read, and the one that is written.
    Pipe(Fd, Fd),
}

impl Reply {
    /// What the call returns.
    pub fn returned(&self) -> i64 {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        match self {
            Self::Number(n) => *n,
            Self::Accepted(fd, _) => i64::from(*fd),
            Self::Name(_) | Self::Option(_) | Self::Argument(_) | Self::Pipe(..) => 0,
            Self::Received(r) => count(r.count),
            Self::Polled(list) => count(list.iter().filter(|p| p.revents != 0).count()),
            Self::Events(list) => count(list.len()),
        }
    }
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned.
    Done(Result<Reply, Errno>),
    /// It blocks: [`Posix::retry`](crate::Posix::retry) it after each event, and once its deadline has come.
    Blocked(Pending),
}

/// A call that blocks, as a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub(crate) call: Call,
    pub(crate) deadline: Option<Instant>,
    /// Bytes that a send has queued already.
    pub(crate) sent: usize,
    /// What a receive with `MSG_WAITALL` has already.
    pub(crate) received: Vec<u8>,
    /// The connection whose descriptor is closed, while SO_LINGER waits for it.
    pub(crate) lingering: Option<finack_core::stack::ConnId>,
    /// The file that a `sendfile` without an offset reads on.
    pub(crate) source: Option<Fd>,
}

impl Pending {
    pub(crate) fn new(call: Call) -> Self {
        Self { call, deadline: None, sent: 0, received: Vec::new(), lingering: None, source: None }
    }

    /// The call.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// When it gives up of its own.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}
