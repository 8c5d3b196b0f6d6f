//! BSD socket calls over finack's engine, without I/O.
//!
//! [`Posix`] is a process's table of descriptors over a [`Stack`]: [`call`](Posix::call) makes a system call, with
//! Linux's numbers for options, flags and errors. A call that blocks does not: it comes back as a [`Pending`] value, to
//! be [retried](Posix::retry) after each event of the stack and once its deadline has come. So no thread sleeps, and
//! virtual time is as good as real time.
//!
//! Whoever drives the stack hands its events to [`Posix::notice`] (epoll's edges come from them) and calls
//! [`Posix::progress`] after packets were handled and sent (completions of `MSG_ZEROCOPY` and transmit time stamps).
//!
//! What the engine cannot do yet is refused, with `ENOPROTOOPT` or `EOPNOTSUPP`, and named in
//! [`UNSUPPORTED`](options::UNSUPPORTED).
#![forbid(unsafe_code)]

pub mod abi;
mod call;
mod datagram;
mod epoll;
mod errno;
mod error_queue;
mod file;
pub mod info;
mod names;
pub mod options;
mod pipe;
mod poll;
mod stream;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::collections::BTreeMap;

use finack_core::stack::{ConnId, UdpId};
use finack_core::{Event, Instant, Stack};

pub use call::{
    Address, Call, Control, ControlData, EpollEvent, ExtendedError, Fd, Incoming, Outcome, Outgoing, Pending,
    PollFd, Received, Reply,
};
pub use errno::Errno;
use file::{File, Files, Kind};

/// A call's answer.
pub type Answer = Result<Reply, Errno>;

/// How far a call came.
enum Step {
    Done(Answer),
    /// It waits: for ever, or so long from its beginning.
    Wait(Option<Duration>),
}

impl From<Answer> for Step {
    fn from(answer: Answer) -> Self {
        Self::Done(answer)
    }
}

/// A process's descriptors over a stack.
#[derive(Clone, Debug, Default)]
pub struct Posix {
    files: Files,
    /// What files hold that can be opened, by their names.
    contents: BTreeMap<String, Vec<u8>>,
}

/// Most files that can be known.
const MOST_FILES: usize = 256;

/// Most bytes of a file.
const MOST_CONTENTS: usize = 16 << 20;

/// Everything a call works with.
struct Os<'a> {
    stack: &'a mut Stack,
    now: Instant,
}

impl Posix {
    /// No descriptor is open; the first is `first`, and at most `most` are open at a time.
    pub fn new(first: Fd, most: usize) -> Self {
        Self { files: Files::new(first, most), contents: BTreeMap::new() }
    }

    /// Makes a file known, for `open`; one of that name is replaced.
    ///
    /// # Errors
    /// `ENFILE` beyond 256 files, `EFBIG` beyond 16 MiB.
    pub fn put_file(&mut self, path: &str, contents: Vec<u8>) -> Result<(), Errno> {
        if contents.len() > MOST_CONTENTS {
            return Err(Errno::EFBIG);
        }
        if self.contents.len() >= MOST_FILES && !self.contents.contains_key(path) {
            return Err(Errno::ENFILE);
        }
        self.contents.insert(path.to_owned(), contents);
        Ok(())
    }

    /// Makes a call.
    pub fn call(&mut self, stack: &mut Stack, now: Instant, call: Call) -> Outcome {
        let mut pending = Pending::new(call);
        let mut os = Os { stack, now };
        match self.attempt(&mut os, &mut pending) {
            Step::Done(answer) => Outcome::Done(answer),
            Step::Wait(limit) => {
                pending.deadline = limit.map(|limit| now + limit);
                self.settle(&mut os, pending)
            }
        }
    }

    /// Makes a call that blocked once more.
    pub fn retry(&mut self, stack: &mut Stack, now: Instant, mut pending: Pending) -> Outcome {
        let mut os = Os { stack, now };
        match self.attempt(&mut os, &mut pending) {
            Step::Done(answer) => Outcome::Done(answer),
            Step::Wait(_) => self.settle(&mut os, pending),
        }
    }

    /// A call that waits goes on waiting, unless its time is up.
    fn settle(&mut self, os: &mut Os<'_>, pending: Pending) -> Outcome {
        if pending.deadline.is_none_or(|deadline| os.now < deadline) {
            return Outcome::Blocked(pending);
        }
        let count = |n: usize| Ok(Reply::Number(i64::try_from(n).unwrap_or(i64::MAX)));
        Outcome::Done(match pending.call {
            Call::Poll(list, _) => Ok(Reply::Polled(list)),
            Call::EpollWait { .. } => Ok(Reply::Events(Vec::new())),
            Call::Connect(..) => Err(Errno::EINPROGRESS),
            Call::Close(_) => {
                if let Some(conn) = pending.lingering {
                    let _ = os.stack.tcp_close(os.now, conn);
                }
                count(0)
            }
            Call::Send(fd, ref out) if pending.sent > 0 => {
                self.sent(os, fd, pending.sent, out);
                count(pending.sent)
            }
            Call::Recv(..) if !pending.received.is_empty() => Ok(Reply::Received(Received {
                count: pending.received.len(),
                data: pending.received,
                ..Received::default()
            })),
            _ => Err(Errno::EAGAIN),
        })
    }

    fn attempt(&mut self, os: &mut Os<'_>, pending: &mut Pending) -> Step {
        let result = match &pending.call {
            Call::Send(..) => {
                let step = self.send(os, pending);
                return self.sent_from_file(pending, step);
            }
            Call::SendFile { .. } => {
                let step = self.begin_sendfile(os, pending).unwrap_or_else(|errno| Step::Done(Err(errno)));
                return self.sent_from_file(pending, step);
            }
            Call::Splice { .. } => {
                let (call, mut sent) = (pending.call.clone(), pending.sent);
                let step = self.splice(os, &call, &mut sent);
                pending.sent = sent;
                return step.unwrap_or_else(|errno| Step::Done(Err(errno)));
            }
            Call::Recv(..) => return self.recv(os, pending),
            Call::Close(fd) => {
                let fd = *fd;
                return self.close(os, fd, &mut pending.lingering);
            }
            Call::Connect(fd, address) => self.connect(os, *fd, *address),
            Call::Accept(fd, flags) => self.accept(os, *fd, *flags),
            Call::Poll(list, timeout) => self.poll(os, list, *timeout),
            Call::EpollWait { epoll, max, timeout } => self.epoll_wait(os, *epoll, *max, *timeout),
            other => return Step::Done(self.at_once(os, other)),
        };
        result.unwrap_or_else(|errno| Step::Done(Err(errno)))
    }

    /// What a `sendfile` has sent, it has read.
    fn sent_from_file(&mut self, pending: &Pending, step: Step) -> Step {
        if let (Some(from), Step::Done(Ok(reply))) = (pending.source, &step) {
            self.advance_file(from, usize::try_from(reply.returned()).unwrap_or(0));
        }
        step
    }

    /// The calls that never block.
    fn at_once(&mut self, os: &mut Os<'_>, call: &Call) -> Answer {
        match call {
            Call::Socket { domain, kind, protocol } => self.socket(*domain, *kind, *protocol),
            Call::Bind(fd, address) => self.bind(os, *fd, *address),
            Call::Listen(fd, backlog) => self.listen(os, *fd, *backlog),
            Call::Shutdown(fd, how) => self.shutdown(os, *fd, *how),
            Call::GetOption { fd, level, name, len } => self.get_option(os, *fd, *level, *name, *len),
            Call::SetOption { fd, level, name, value } => self.set_option(os, *fd, *level, *name, value),
            Call::SocketName(fd) => self.socket_name(os, *fd),
            Call::PeerName(fd) => self.peer_name(os, *fd),
            Call::Fcntl(fd, command, argument) => self.files.fcntl(*fd, *command, *argument),
            Call::Ioctl(fd, request, argument) => self.ioctl(os, *fd, *request, *argument),
            Call::Dup(fd) => self.files.dup(*fd, 0, false),
            Call::Pipe { flags } => self.make_pipe(*flags),
            Call::Open { path, flags } => self.open_file(path, *flags),
            Call::EpollCreate { flags } => self.epoll_create(*flags),
            Call::EpollControl { epoll, op, fd, event } => self.epoll_control(os, *epoll, *op, *fd, *event),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// An event of the stack: what waits for an edge of that socket is told.
    pub fn notice(&mut self, event: &Event) {
        let (file, mask) = match *event {
            Event::Tcp { conn, ready } => (self.files.of_conn(conn), poll::mask_of(ready)),
            Event::Accept { listener } => (self.files.of_listener(listener), abi::EPOLLIN | abi::EPOLLRDNORM),
            Event::Udp { socket, ready } => (self.files.of_udp(socket), poll::mask_of(ready)),
            _ => return,
        };
        if let Some(file) = file {
            self.wake(file, mask);
        }
    }

    /// Looks at what was acknowledged and sent since, for `MSG_ZEROCOPY` and transmit time stamps.
    pub fn progress(&mut self, stack: &mut Stack, now: Instant) {
        for file in self.files.watching_progress() {
            let Some(File { kind: Kind::Stream(stream), .. }) = self.files.get_mut(file) else { continue };
            let Some(conn) = stream.conn() else { continue };
            if stream.errors.advance(stack, conn, now) {
                self.wake(file, abi::EPOLLERR);
            }
        }
    }

    /// The connection behind a descriptor, where it is one: for looking at it from outside.
    ///
    /// # Errors
    /// `EBADF`, `ENOTSOCK`; `ENOTCONN` where it is no connection.
    pub fn connection(&self, fd: Fd) -> Result<ConnId, Errno> {
        match &self.files.file(fd)?.kind {
            Kind::Stream(stream) => stream.conn().ok_or(Errno::ENOTCONN),
            Kind::Datagram(_) => Err(Errno::ENOTCONN),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    /// The UDP socket behind a descriptor, once it has a port.
    ///
    /// # Errors
    /// `EBADF`, `ENOTSOCK`; `ENOTCONN` where it is none or has no port yet.
    pub fn datagram_socket(&self, fd: Fd) -> Result<UdpId, Errno> {
        match &self.files.file(fd)?.kind {
            Kind::Datagram(d) => d.id().ok_or(Errno::ENOTCONN),
            Kind::Stream(_) => Err(Errno::ENOTCONN),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    fn socket(&mut self, domain: i64, kind: i64, protocol: i64) -> Answer {
        let v6 = match domain {
            abi::AF_INET => false,
            abi::AF_INET6 => true,
            _ => return Err(Errno::EAFNOSUPPORT),
        };
        let flags = abi::SOCK_NONBLOCK | abi::SOCK_CLOEXEC;
        if kind & !(flags | 0xf) != 0 || !(0..abi::IPPROTO_MAX).contains(&protocol) {
            return Err(Errno::EINVAL);
        }
        let new = match (kind & !flags, protocol) {
            (abi::SOCK_STREAM, 0 | abi::IPPROTO_TCP) => Kind::Stream(Box::new(stream::Stream::new(v6))),
            (abi::SOCK_DGRAM, 0 | abi::IPPROTO_UDP) => Kind::Datagram(datagram::Datagram::new(v6)),
            (abi::SOCK_STREAM | abi::SOCK_DGRAM, _) => return Err(Errno::EPROTONOSUPPORT),
            (abi::SOCK_RAW, _) => return Err(Errno::EPERM),
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        };
        let (nonblocking, cloexec) = (kind & abi::SOCK_NONBLOCK != 0, kind & abi::SOCK_CLOEXEC != 0);
        self.files.open(new, nonblocking, cloexec).map(|(fd, _)| Reply::Number(fd.into()))
    }
}
