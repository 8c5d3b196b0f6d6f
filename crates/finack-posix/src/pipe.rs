//! Pipes, files that can be read, and the calls that carry bytes between them and sockets.

use std::collections::VecDeque;

use finack_core::Error;
use finack_core::options::RecvFlags;
use finack_core::stack::Ready;

use crate::file::{File, Kind};
use crate::{Answer, Call, Errno, Fd, Incoming, Os, Outgoing, Pending, Posix, Received, Reply, Step, abi};

/// Bytes that a pipe holds, as on Linux.
const CAPACITY: usize = 65_536;

/// Most bytes of one `sendfile` or `splice`, as on Linux.
const MOST: usize = 0x7fff_f000;

/// What is in a pipe.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pipe {
    buffer: VecDeque<u8>,
    read_closed: bool,
    write_closed: bool,
}

/// One end of a pipe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// Which pipe, by its number.
    pub(crate) pipe: usize,
    pub(crate) writes: bool,
}

/// A file with contents.
#[derive(Clone, Debug)]
pub(crate) struct Regular {
    path: String,
    offset: usize,
    flags: i64,
}

impl Pipe {
    fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.buffer.len())
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        let count = most.min(self.buffer.len());
        self.buffer.drain(..count).collect()
    }

    pub(crate) fn poll(&self, writes: bool) -> i64 {
        match (writes, self.buffer.is_empty()) {
            (true, _) if self.read_closed => abi::EPOLLOUT | abi::EPOLLWRNORM | abi::EPOLLERR,
            (true, _) if self.room() > 0 => abi::EPOLLOUT | abi::EPOLLWRNORM,
            (true, _) => 0,
            (false, false) if self.write_closed => abi::EPOLLIN | abi::EPOLLRDNORM | abi::EPOLLHUP,
            (false, false) => abi::EPOLLIN | abi::EPOLLRDNORM,
            (false, true) if self.write_closed => abi::EPOLLHUP,
            (false, true) => 0,
        }
    }

    pub(crate) fn queued(&self) -> usize {
        self.buffer.len()
    }

    /// One end is closed for good; whether the other is too.
    pub(crate) fn close(&mut self, writes: bool) -> bool {
        if writes {
            self.write_closed = true;
        } else {
            self.read_closed = true;
        }
        self.read_closed && self.write_closed
    }
}

fn counted(count: usize) -> Step {
    Step::Done(Ok(Reply::Number(i64::try_from(count).unwrap_or(i64::MAX))))
}

impl Regular {
    pub(crate) fn flags(&self) -> i64 {
        self.flags
    }
}

impl Posix {
    pub(crate) fn make_pipe(&mut self, flags: i64) -> Answer {
        if flags & !(abi::O_NONBLOCK | abi::O_CLOEXEC) != 0 {
            return Err(Errno::EINVAL);
        }
        let (nonblocking, cloexec) = (flags & abi::O_NONBLOCK != 0, flags & abi::O_CLOEXEC != 0);
        let pipe = self.files.add_pipe(Pipe::default());
        let end = |writes| Kind::Pipe(End { pipe, writes });
        let (reads, _) = self.files.open(end(false), nonblocking, cloexec)?;
        match self.files.open(end(true), nonblocking, cloexec) {
            Ok((writes, _)) => Ok(Reply::Pipe(reads, writes)),
            Err(errno) => {
                let _ = self.files.close(reads);
                self.files.drop_pipe(pipe);
                Err(errno)
            }
        }
    }

    pub(crate) fn open_file(&mut self, path: &str, flags: i64) -> Answer {
        let known = self.contents.contains_key(path);
        match (known, flags & abi::O_CREAT != 0) {
            (false, false) => return Err(Errno::ENOENT),
            (true, true) if flags & abi::O_EXCL != 0 => return Err(Errno::EEXIST),
            (false, true) => self.put_file(path, Vec::new()).map_err(|_| Errno::ENFILE)?,
            (true, _) if flags & abi::O_TRUNC != 0 => {
                self.contents.insert(path.to_owned(), Vec::new());
            }
            (true, _) => {}
        }
        let kept = flags & (abi::O_ACCMODE | abi::O_APPEND | abi::O_NONBLOCK);
        let file = Regular { path: path.to_owned(), offset: 0, flags: kept };
        let opened = self.files.open(Kind::Regular(file), false, flags & abi::O_CLOEXEC != 0);
        opened.map(|(fd, _)| Reply::Number(fd.into()))
    }

    /// `read` of what is no socket.
    pub(crate) fn read_file(&mut self, fd: Fd, asked: Incoming) -> Result<Step, Errno> {
        let file = self.files.file_mut(fd)?;
        let nonblocking = file.nonblocking;
        let data = match &mut file.kind {
            Kind::Pipe(End { writes: true, .. }) => return Err(Errno::EBADF),
            Kind::Pipe(End { pipe, .. }) => {
                let pipe = *pipe;
                let pipe = self.files.pipe(pipe)?;
                if pipe.buffer.is_empty() && !pipe.write_closed && asked.len > 0 {
                    return if nonblocking { Err(Errno::EAGAIN) } else { Ok(Step::Wait(None)) };
                }
                if asked.fault && asked.len > 0 && !pipe.buffer.is_empty() {
                    return Err(Errno::EFAULT);
                }
                pipe.take(asked.len)
            }
            Kind::Regular(regular) => {
                if regular.flags & abi::O_ACCMODE == abi::O_WRONLY {
                    return Err(Errno::EBADF);
                }
                let whole = self.contents.get(&regular.path).map_or(&[][..], Vec::as_slice);
                let rest = whole.get(regular.offset..).unwrap_or(&[]);
                let data = rest[..rest.len().min(asked.len)].to_vec();
                if asked.fault && !data.is_empty() {
                    return Err(Errno::EFAULT);
                }
                regular.offset += data.len();
                data
            }
            _ => return Err(Errno::EINVAL),
        };
        Ok(Step::Done(Ok(Reply::Received(Received { count: data.len(), data, ..Received::default() }))))
    }

    /// `write` to what is no socket; `sent` bytes were taken already.
    pub(crate) fn write_file(&mut self, fd: Fd, out: &Outgoing, sent: &mut usize) -> Result<Step, Errno> {
        let file = self.files.file_mut(fd)?;
        let nonblocking = file.nonblocking;
        match &mut file.kind {
            Kind::Pipe(End { writes: false, .. }) => Err(Errno::EBADF),
            Kind::Pipe(End { pipe, .. }) => {
                let pipe = *pipe;
                let pipe = self.files.pipe(pipe)?;
                if pipe.read_closed {
                    return Err(Errno::EPIPE);
                }
                if out.fault && !out.data.is_empty() {
                    return Err(Errno::EFAULT);
                }
                let rest = out.data.get(*sent..).unwrap_or(&[]);
                let count = rest.len().min(pipe.room());
                pipe.buffer.extend(&rest[..count]);
                *sent += count;
                Ok(match *sent >= out.data.len() {
                    true => counted(*sent),
                    false if !nonblocking => Step::Wait(None),
                    false if *sent == 0 => return Err(Errno::EAGAIN),
                    false => counted(*sent),
                })
            }
            Kind::Regular(regular) => {
                if regular.flags & abi::O_ACCMODE == abi::O_RDONLY {
                    return Err(Errno::EBADF);
                }
                if out.fault && !out.data.is_empty() {
                    return Err(Errno::EFAULT);
                }
                let contents = self.contents.entry(regular.path.clone()).or_default();
                if regular.flags & abi::O_APPEND != 0 {
                    regular.offset = contents.len();
                }
                let end = regular.offset.saturating_add(out.data.len());
                if end > crate::MOST_CONTENTS {
                    return Err(Errno::EFBIG);
                }
                contents.resize(contents.len().max(end), 0);
                contents[regular.offset..end].copy_from_slice(&out.data);
                regular.offset = end;
                Ok(counted(out.data.len()))
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// `sendfile`: from here on it is a send of the file's bytes.
    pub(crate) fn begin_sendfile(&mut self, os: &mut Os<'_>, pending: &mut Pending) -> Result<Step, Errno> {
        let Call::SendFile { to, from, offset, count } = pending.call else { return Err(Errno::EINVAL) };
        let source = match &self.files.file(from)?.kind {
            Kind::Regular(regular) if regular.flags & abi::O_ACCMODE != abi::O_WRONLY => regular.clone(),
            Kind::Regular(_) => return Err(Errno::EBADF),
            _ => return Err(Errno::EINVAL),
        };
        match &self.files.file(to)?.kind {
            Kind::Stream(_) | Kind::Datagram(_) | Kind::Pipe(End { writes: true, .. }) => {}
            Kind::Regular(r) if r.flags & abi::O_ACCMODE != abi::O_RDONLY => {}
            Kind::Pipe(_) | Kind::Regular(_) => return Err(Errno::EBADF),
            Kind::Epoll(_) => return Err(Errno::EINVAL),
        }
        let start = match offset {
            Some(offset) => usize::try_from(offset).map_err(|_| Errno::EINVAL)?,
            None => source.offset,
        };
        let whole = self.contents.get(&source.path).map_or(&[][..], Vec::as_slice);
        let rest = whole.get(start..).unwrap_or(&[]);
        let data = rest[..rest.len().min(count).min(MOST)].to_vec();
        if data.is_empty() {
            return Ok(counted(0));
        }
        pending.source = offset.is_none().then_some(from);
        pending.call = Call::Send(to, Outgoing { data, plain: true, ..Outgoing::default() });
        Ok(self.send(os, pending))
    }

    /// Bytes that `sendfile` without an offset sent have been read.
    pub(crate) fn advance_file(&mut self, from: Fd, count: usize) {
        if let Ok(File { kind: Kind::Regular(regular), .. }) = self.files.file_mut(from) {
            regular.offset = regular.offset.saturating_add(count);
        }
    }

    /// One round of `splice`.
    pub(crate) fn splice(&mut self, os: &mut Os<'_>, call: &Call, sent: &mut usize) -> Result<Step, Errno> {
        let Call::Splice { from, from_offset, to, to_offset, len, flags } = *call else {
            return Err(Errno::EINVAL);
        };
        if len == 0 {
            return Ok(counted(0));
        }
        if flags & !0xf != 0 {
            return Err(Errno::EINVAL);
        }
        let (source, sink) = (self.files.file(from)?.kind.clone(), self.files.file(to)?.kind.clone());
        let reads = |kind: &Kind| !matches!(kind, Kind::Pipe(End { writes: true, .. }));
        let writes = |kind: &Kind| !matches!(kind, Kind::Pipe(End { writes: false, .. }));
        if !reads(&source) || !writes(&sink) {
            return Err(Errno::EBADF);
        }
        let at_once = flags & abi::SPLICE_F_NONBLOCK != 0;
        match (&source, &sink) {
            (Kind::Pipe(_), _) if from_offset.is_some() => Err(Errno::ESPIPE),
            (_, Kind::Pipe(_)) if to_offset.is_some() => Err(Errno::ESPIPE),
            (Kind::Pipe(a), Kind::Pipe(b)) if a.pipe == b.pipe => Err(Errno::EINVAL),
            (_, Kind::Pipe(end)) => {
                let pipe = self.files.pipe(end.pipe)?;
                if pipe.read_closed {
                    return Err(Errno::EPIPE);
                }
                let room = pipe.room().min(len);
                let nonblocking = at_once || self.files.file(to)?.nonblocking;
                if room == 0 {
                    return if nonblocking { Err(Errno::EAGAIN) } else { Ok(Step::Wait(None)) };
                }
                let data = match self.splice_from(os, from, from_offset, room, at_once)? {
                    Ok(data) => data,
                    Err(step) => return Ok(step),
                };
                self.files.pipe(end.pipe)?.buffer.extend(&data);
                Ok(counted(data.len()))
            }
            (Kind::Pipe(end), _) => {
                let nonblocking = at_once || self.files.file(from)?.nonblocking;
                let pipe = self.files.pipe(end.pipe)?;
                if *sent == 0 && pipe.buffer.is_empty() {
                    return match (pipe.write_closed, nonblocking) {
                        (true, _) => Ok(counted(0)),
                        (false, true) => Err(Errno::EAGAIN),
                        (false, false) => Ok(Step::Wait(None)),
                    };
                }
                self.splice_to(os, end.pipe, to, len, at_once)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// Bytes for a pipe; the step to take where there are none.
    fn splice_from(
        &mut self,
        os: &mut Os<'_>,
        from: Fd,
        offset: Option<i64>,
        most: usize,
        at_once: bool,
    ) -> Result<Result<Vec<u8>, Step>, Errno> {
        let file = self.files.file_mut(from)?;
        // The flag is for pipes alone: a socket waits as it always does.
        let blocks = !file.nonblocking;
        let wait = blocks && !at_once;
        let stream = match &mut file.kind {
            Kind::Pipe(End { pipe, .. }) => {
                let pipe = *pipe;
                let pipe = self.files.pipe(pipe)?;
                return match (pipe.buffer.is_empty(), pipe.write_closed) {
                    (true, false) if wait => Ok(Err(Step::Wait(None))),
                    (true, false) => Err(Errno::EAGAIN),
                    _ => Ok(Ok(pipe.take(most))),
                };
            }
            Kind::Regular(regular) => {
                let start = match offset {
                    Some(at) => usize::try_from(at).map_err(|_| Errno::EINVAL)?,
                    None => regular.offset,
                };
                let whole = self.contents.get(&regular.path).map_or(&[][..], Vec::as_slice);
                let rest = whole.get(start..).unwrap_or(&[]);
                let data = rest[..rest.len().min(most)].to_vec();
                if offset.is_none() {
                    regular.offset += data.len();
                }
                return Ok(Ok(data));
            }
            _ if offset.is_some() => return Err(Errno::EINVAL),
            Kind::Stream(stream) => stream,
            Kind::Datagram(_) => return Err(Errno::EAGAIN),
            Kind::Epoll(_) => return Err(Errno::EINVAL),
        };
        let Some(conn) = stream.conn() else { return Err(Errno::ENOTCONN) };
        let urgent = os.stack.tcp_ready(conn).is_ok_and(|ready| ready.contains(Ready::PRIORITY));
        if urgent && os.stack.tcp_info(os.now, conn).is_ok_and(|info| info.recv_queue == 1) {
            // The urgent byte is in the way: what is before it was taken.
            return if blocks { Ok(Ok(Vec::new())) } else { Err(Errno::EAGAIN) };
        }
        let mut buffer = vec![0; most];
        match os.stack.tcp_recv(os.now, conn, &mut buffer, RecvFlags::default()) {
            Ok(count) => {
                buffer.truncate(count);
                Ok(Ok(buffer))
            }
            Err(Error::WouldBlock) if blocks => Ok(Err(Step::Wait(stream.common.recv_timeout))),
            Err(error) => Err(error.into()),
        }
    }

    /// Bytes of a pipe for something else; what is not taken stays in the pipe.
    fn splice_to(
        &mut self,
        os: &mut Os<'_>,
        pipe: usize,
        to: Fd,
        len: usize,
        at_once: bool,
    ) -> Result<Step, Errno> {
        let data: Vec<u8> = self.files.pipe(pipe)?.buffer.iter().take(len).copied().collect();
        let flags = if at_once { abi::MSG_DONTWAIT } else { 0 };
        let out = Outgoing { data, flags, plain: true, ..Outgoing::default() };
        let mut sending = Pending::new(Call::Send(to, out));
        let step = self.send(os, &mut sending);
        let taken = match &step {
            Step::Done(Ok(reply)) => usize::try_from(reply.returned()).unwrap_or(0),
            Step::Done(Err(_)) => 0,
            Step::Wait(_) => sending.sent,
        };
        self.files.pipe(pipe)?.take(taken);
        // Some of it went: that is what splice tells.
        Ok(if matches!(step, Step::Wait(_)) && taken > 0 { counted(taken) } else { step })
    }
}
