//! TCP sockets.

use core::net::SocketAddr;

use finack_core::Error;
use finack_core::options::{BindOptions, RecvFlags, SendFlags, Shutdown, SocketOptions};
use finack_core::stack::{BindId, ConnId, ListenerId, Ready};
use finack_core::tcp::State;

use crate::error_queue::ErrorQueue;
use crate::file::{File, Kind};
use crate::names::{any, for_family, shown};
use crate::options::Common;
use crate::{
    Address, Answer, Call, Control, ControlData, Errno, Fd, Incoming, Os, Outgoing, Pending, Posix, Received,
    Reply, Step, abi, poll,
};

/// How far a socket came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Fresh,
    Bound(BindId),
    Listening(ListenerId),
    /// `connect` was called and has not yet told its result.
    Connecting(ConnId),
    Connected(ConnId),
}

/// A TCP socket.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) v6: bool,
    pub(crate) phase: Phase,
    /// What was set; the engine has a copy of it once there is something to set it on.
    pub(crate) options: SocketOptions,
    /// Keys that sign its segments, as far as they were set here.
    #[cfg(feature = "md5-ao")]
    pub(crate) keys: finack_core::auth::Keys,
    pub(crate) common: Common,
    pub(crate) errors: ErrorQueue,
    /// TCP_INQ.
    pub(crate) inq: bool,
    /// An error that the engine told while there were bytes to be told first.
    pub(crate) owed: Option<Errno>,
    /// SO_PEEK_OFF, where it is on.
    pub(crate) peek_offset: Option<usize>,
    /// TCP_FASTOPEN_KEY.
    pub(crate) fast_open_keys: Option<finack_core::settings::FastOpenKeys>,
    /// TCP_FASTOPEN_CONNECT.
    pub(crate) fast_open_connect: bool,
    /// Where `connect` goes once there is data to go with the SYN.
    pub(crate) deferred: Option<SocketAddr>,
}

impl Stream {
    pub(crate) fn new(v6: bool) -> Self {
        let options = SocketOptions::default();
        let (common, errors) = (Common::default(), ErrorQueue::default());
        Self {
            v6,
            phase: Phase::Fresh,
            options,
            #[cfg(feature = "md5-ao")]
            keys: finack_core::auth::Keys::new(),
            common,
            errors,
            inq: false,
            owed: None,
            peek_offset: None,
            fast_open_keys: None,
            fast_open_connect: false,
            deferred: None,
        }
    }

    /// The connection, opening or open.
    pub(crate) fn conn(&self) -> Option<ConnId> {
        match self.phase {
            Phase::Connecting(conn) | Phase::Connected(conn) => Some(conn),
            _ => None,
        }
    }

    /// Hands the options to what is there to have them.
    pub(crate) fn push_options(&self, os: &mut Os<'_>) -> Result<(), Errno> {
        match self.phase {
            Phase::Listening(listener) => {
                os.stack.tcp_set_listener_options(listener, self.options)?;
                if let Some(keys) = self.fast_open_keys {
                    os.stack.tcp_set_listener_fast_open_keys(listener, keys)?;
                }
            }
            Phase::Connecting(conn) | Phase::Connected(conn) => {
                os.stack.tcp_set_options(os.now, conn, self.options)?;
            }
            Phase::Fresh | Phase::Bound(_) => {}
        }
        Ok(())
    }

    fn bind(&mut self, os: &mut Os<'_>, local: SocketAddr) -> Result<BindId, Errno> {
        let SocketOptions { reuse_addr, reuse_port, v6_only, .. } = self.options;
        let bind = os.stack.tcp_bind(os.now, local, BindOptions { reuse_addr, reuse_port, v6_only })?;
        self.phase = Phase::Bound(bind);
        Ok(bind)
    }

    pub(crate) fn local(&self, os: &Os<'_>) -> Result<Option<SocketAddr>, Errno> {
        Ok(match self.phase {
            Phase::Fresh => None,
            Phase::Bound(bind) => Some(os.stack.tcp_bound_addr(bind)?),
            Phase::Listening(listener) => Some(os.stack.tcp_listener_addr(listener)?),
            Phase::Connecting(conn) | Phase::Connected(conn) => Some(os.stack.tcp_local_addr(conn)?),
        })
    }

    pub(crate) fn peer(&self, os: &Os<'_>) -> Result<Option<SocketAddr>, Errno> {
        let Some(conn) = self.conn() else { return Ok(None) };
        let gone = matches!(os.stack.tcp_state(conn)?, State::Closed | State::SynSent);
        Ok(if gone { None } else { Some(os.stack.tcp_remote_addr(conn)?) })
    }

    pub(crate) fn poll(&self, os: &Os<'_>) -> i64 {
        let errors = if self.errors.is_empty() { 0 } else { abi::EPOLLERR };
        errors
            | match self.phase {
                Phase::Fresh | Phase::Bound(_) if self.deferred.is_some() => abi::EPOLLOUT | abi::EPOLLWRNORM,
                Phase::Fresh | Phase::Bound(_) => abi::EPOLLOUT | abi::EPOLLWRNORM | abi::EPOLLHUP,
                Phase::Listening(listener) => match os.stack.tcp_accept_ready(listener) {
                    Ok(true) => abi::EPOLLIN | abi::EPOLLRDNORM,
                    _ => 0,
                },
                Phase::Connecting(conn) | Phase::Connected(conn) => {
                    os.stack.tcp_ready(conn).map_or(abi::EPOLLHUP, poll::mask_of)
                }
            }
    }

    /// One round of `connect`.
    fn connect(&mut self, os: &mut Os<'_>, address: Address, wait: bool) -> Result<Step, Errno> {
        match self.phase {
            Phase::Connected(conn) => {
                // Only once both ends are closed is a new attempt allowed, which Linux has by `AF_UNSPEC`.
                if address != Address::Unspecified {
                    return Err(Errno::EISCONN);
                }
                self.dissolve(os, conn)
            }
            Phase::Connecting(conn) if address == Address::Unspecified => self.dissolve(os, conn),
            Phase::Listening(_) => Err(Errno::EISCONN),
            Phase::Connecting(conn) => self.connecting(os, conn, wait, Errno::EALREADY),
            Phase::Fresh | Phase::Bound(_) => {
                if address == Address::Unspecified {
                    self.deferred = None;
                    return Ok(Step::Done(Ok(Reply::Number(0))));
                }
                if self.deferred.is_some() {
                    return Err(Errno::EISCONN);
                }
                let to = for_family(self.v6, address)?;
                self.owed = None;
                if self.fast_open_connect && self.needs_no_cookie_for(os, to) {
                    self.deferred = Some(to);
                    return Ok(Step::Done(Ok(Reply::Number(0))));
                }
                let bind = match self.phase {
                    Phase::Bound(bind) => Some(bind),
                    _ => None,
                };
                let conn = match self.fast_open_connect {
                    // It asks for a cookie.
                    true => os.stack.tcp_connect_with_data(os.now, bind, to, self.options, &[])?.0,
                    false => os.stack.tcp_connect(os.now, bind, to, self.options)?,
                };
                self.phase = Phase::Connecting(conn);
                self.sign(os)?;
                self.connecting(os, conn, wait, Errno::EINPROGRESS)
            }
        }
    }

    /// The keys that were set before go with the SYN. Where none fits the peer, nothing is sent.
    #[cfg(feature = "md5-ao")]
    fn sign(&mut self, os: &mut Os<'_>) -> Result<(), Errno> {
        let Some(conn) = self.conn().filter(|_| !self.keys.is_empty()) else { return Ok(()) };
        let signed = self.push_keys(os);
        if signed.is_err() {
            os.stack.tcp_close(os.now, conn)?;
            self.phase = Phase::Fresh;
        }
        signed
    }

    #[cfg(not(feature = "md5-ao"))]
    const fn sign(&mut self, _os: &mut Os<'_>) -> Result<(), Errno> {
        Ok(())
    }

    /// Ends the connection; the next call tells of it, as on Linux.
    fn dissolve(&mut self, os: &mut Os<'_>, conn: ConnId) -> Result<Step, Errno> {
        os.stack.tcp_abort(os.now, conn)?;
        self.phase = Phase::Fresh;
        self.owed = Some(Errno::ECONNRESET);
        Ok(Step::Done(Ok(Reply::Number(0))))
    }

    fn connecting(
        &mut self,
        os: &mut Os<'_>,
        conn: ConnId,
        wait: bool,
        not_yet: Errno,
    ) -> Result<Step, Errno> {
        match os.stack.tcp_state(conn)? {
            State::SynSent | State::SynReceived if wait => Ok(Step::Wait(self.common.send_timeout)),
            State::SynSent | State::SynReceived => Err(not_yet),
            State::Closed => {
                let error = os.stack.tcp_take_error(conn)?;
                os.stack.tcp_close(os.now, conn)?;
                self.phase = Phase::Fresh;
                Err(error.map_or(Errno::ECONNABORTED, Errno::from))
            }
            _ => {
                self.phase = Phase::Connected(conn);
                Ok(Step::Done(Ok(Reply::Number(0))))
            }
        }
    }

    /// Whether a SYN to `to` may carry data: there is a cookie for it, or none is needed (bit 2 of the sysctl,
    /// TCP_FASTOPEN_NO_COOKIE).
    fn needs_no_cookie_for(&self, os: &Os<'_>, to: SocketAddr) -> bool {
        os.stack.tcp_has_fast_open_cookie(to)
            || os.stack.settings().tcp_fastopen & 4 != 0
            || self.options.fast_open_no_cookie
    }

    /// A send that opens the connection (MSG_FASTOPEN, RFC 7413).
    fn open_with_data(&mut self, os: &mut Os<'_>, out: &Outgoing, sent: &mut usize) -> Result<(), Errno> {
        if out.fault && !out.data.is_empty() {
            return Err(Errno::EFAULT);
        }
        let to = match self.deferred {
            Some(to) => to,
            None => for_family(self.v6, out.to.ok_or(Errno::EINVAL)?)?,
        };
        let bind = match self.phase {
            Phase::Bound(bind) => Some(bind),
            Phase::Fresh => None,
            Phase::Connecting(_) => return Err(Errno::EALREADY),
            _ => return Err(Errno::EISCONN),
        };
        // Without a cookie the SYN asks for one, and no data is taken: it is to be sent once the handshake is over.
        let known = self.needs_no_cookie_for(os, to);
        let data = if known { out.data.as_slice() } else { &[] };
        let (conn, taken) = os.stack.tcp_connect_with_data(os.now, bind, to, self.options, data)?;
        self.phase = Phase::Connecting(conn);
        self.deferred = None;
        self.sign(os)?;
        *sent = taken;
        if known { Ok(()) } else { Err(Errno::EINPROGRESS) }
    }

    /// One round of a send; `sent` bytes are queued already.
    fn send(&mut self, os: &mut Os<'_>, out: &Outgoing, sent: &mut usize, wait: bool) -> Step {
        let opens = out.flags & abi::MSG_FASTOPEN != 0 || self.deferred.is_some();
        if opens && *sent == 0 && self.conn().is_none() {
            match self.open_with_data(os, out, sent) {
                // Who waits waits for the handshake.
                Ok(()) | Err(Errno::EINPROGRESS) if wait => {}
                Err(errno) => return Step::Done(Err(errno)),
                Ok(()) => return self.sent(os, *sent, out),
            }
        }
        let Some(conn) = self.conn() else {
            return Step::Done(Err(self.owed.take().unwrap_or(Errno::EPIPE)));
        };
        if let Err(errno) = self.errors.check(&out.control) {
            return Step::Done(Err(errno));
        }
        if let Some(errno) = self.owed.take().filter(|_| *sent == 0) {
            return Step::Done(Err(errno));
        }
        // Whoever waits for room is woken once there is a good deal of it (`sk_stream_write_space`).
        let ready = |ready: Ready| ready.intersects(Ready::WRITABLE | Ready::WRITE_CLOSED | Ready::ERROR);
        if wait && *sent > 0 && !os.stack.tcp_ready(conn).is_ok_and(ready) {
            let _ = os.stack.tcp_await_room(conn);
            return Step::Wait(self.common.send_timeout);
        }
        if out.fault && !out.data.is_empty() && !self.is_dead(os, conn) {
            return Step::Done(Err(Errno::EFAULT));
        }
        let zerocopy = self.errors.is_zerocopy(out.flags);
        if zerocopy && *sent == 0 && os.stack.tcp_takes_completion(conn) == Ok(false) {
            return Step::Done(Err(Errno::ENOBUFS));
        }
        let has = |flag| out.flags & flag != 0;
        let flags = SendFlags { more: has(abi::MSG_MORE), oob: has(abi::MSG_OOB), eor: has(abi::MSG_EOR) };
        let result = if zerocopy {
            os.stack.tcp_send_shared(os.now, conn, &out.rest(*sent), flags)
        } else {
            os.stack.tcp_send(os.now, conn, &out.data[(*sent).min(out.data.len())..], flags)
        };
        *sent += *result.as_ref().unwrap_or(&0);
        match result {
            Ok(_) if *sent >= out.data.len() => {}
            Ok(_) | Err(Error::WouldBlock) if wait => return Step::Wait(self.common.send_timeout),
            Err(error) if *sent == 0 || out.flags & abi::MSG_FASTOPEN != 0 => {
                return Step::Done(Err(error.into()));
            }
            // What was taken counts; an error is told by the next call.
            Err(error) => self.owed = (error != Error::WouldBlock).then(|| error.into()),
            Ok(_) => {}
        }
        self.sent(os, *sent, out)
    }

    /// A send is done with so many bytes.
    pub(crate) fn sent(&mut self, os: &mut Os<'_>, count: usize, out: &Outgoing) -> Step {
        let wanted = count > 0 && self.errors.is_zerocopy(out.flags);
        let told = self.conn().filter(|_| wanted).map(|conn| os.stack.tcp_ask_completion(os.now, conn));
        self.errors.sent(count, told.is_some_and(|number| number.is_ok()), &out.control);
        Step::Done(Ok(Reply::Number(i64::try_from(count).unwrap_or(i64::MAX))))
    }

    /// One round of a receive.
    fn recv(&mut self, os: &mut Os<'_>, asked: Incoming, got: &mut Vec<u8>, wait: bool) -> Step {
        if asked.flags & abi::MSG_ERRQUEUE != 0 {
            return Step::Done(self.recv_error(os));
        }
        let oob = asked.flags & abi::MSG_OOB != 0;
        let Some(conn) = self.conn() else {
            let none = oob && !matches!(self.phase, Phase::Listening(_));
            let usual = if none { Errno::EINVAL } else { Errno::ENOTCONN };
            return Step::Done(Err(self.owed.take_if(|_| !oob).unwrap_or(usual)));
        };
        let peek = asked.flags & abi::MSG_PEEK != 0;
        let flags = RecvFlags { peek, oob };
        if let (true, false, Some(offset)) = (peek, oob, self.peek_offset) {
            return self.peek_at(os, conn, asked, offset, wait);
        }
        let all = asked.flags & abi::MSG_WAITALL != 0 && !flags.oob;
        if wait && !flags.oob && asked.len > 0 && self.must_wait(os, conn, asked.len, all && peek) {
            return Step::Wait(self.common.recv_timeout);
        }
        if let Some(errno) = self.owed.take_if(|_| got.is_empty()) {
            return Step::Done(Err(errno));
        }
        if asked.fault && asked.len > 0 && os.stack.tcp_info(os.now, conn).is_ok_and(|i| i.recv_queue > 0) {
            return Step::Done(Err(Errno::EFAULT));
        }
        loop {
            let mut buffer = vec![0; asked.len.saturating_sub(got.len()).min(MOST_AT_ONCE)];
            match os.stack.tcp_recv(os.now, conn, &mut buffer, flags) {
                Ok(0) => break,
                Ok(count) => {
                    got.extend_from_slice(&buffer[..count]);
                    if peek || got.len() >= asked.len || !(all || count == MOST_AT_ONCE) {
                        break;
                    }
                }
                Err(Error::WouldBlock) if wait && !flags.oob && (all || got.is_empty()) => {
                    return Step::Wait(self.common.recv_timeout);
                }
                Err(Error::WouldBlock) if !got.is_empty() => break,
                Err(Error::WouldBlock) if self.is_dead(os, conn) => return Step::Done(Err(Errno::ENOTCONN)),
                // The bytes first; the error is told by the next call.
                Err(error) if !got.is_empty() => {
                    self.owed = Some(error.into());
                    break;
                }
                Err(error) => return Step::Done(Err(error.into())),
            }
        }
        self.received(os, conn, asked, got, flags)
    }

    /// A peek from SO_PEEK_OFF on, which moves it.
    fn peek_at(&mut self, os: &mut Os<'_>, conn: ConnId, asked: Incoming, offset: usize, wait: bool) -> Step {
        let queued = os.stack.tcp_info(os.now, conn).map_or(0, |info| info.recv_queue);
        let queued = usize::try_from(queued).unwrap_or(usize::MAX);
        let over = os.stack.tcp_ready(conn).is_ok_and(|r| r.intersects(Ready::READ_CLOSED | Ready::ERROR));
        if asked.len > 0 && queued <= offset && !over {
            return if wait { Step::Wait(self.common.recv_timeout) } else { Step::Done(Err(Errno::EAGAIN)) };
        }
        let mut buffer = vec![0; offset.saturating_add(asked.len).min(queued)];
        let flags = RecvFlags { peek: true, oob: false };
        match os.stack.tcp_recv(os.now, conn, &mut buffer, flags) {
            Ok(count) => {
                buffer.truncate(count);
                let mut got = buffer.split_off(offset.min(buffer.len()));
                self.peek_offset = Some(offset + got.len());
                self.received(os, conn, asked, &mut got, flags)
            }
            Err(error) => Step::Done(Err(error.into())),
        }
    }

    /// A blocking receive waits for SO_RCVLOWAT (or for all, where it peeks).
    fn must_wait(&self, os: &Os<'_>, conn: ConnId, len: usize, whole: bool) -> bool {
        let Ok(info) = os.stack.tcp_info(os.now, conn) else { return false };
        let ready = os.stack.tcp_ready(conn).unwrap_or(Ready::READ_CLOSED);
        let over = ready.intersects(Ready::READ_CLOSED | Ready::ERROR);
        let target = if whole { len } else { self.options.recv_lowat.clamp(1, len) } as u64;
        !over && info.recv_queue < target
    }

    fn is_dead(&self, os: &Os<'_>, conn: ConnId) -> bool {
        matches!(self.phase, Phase::Connecting(_)) && os.stack.tcp_state(conn) == Ok(State::Closed)
    }

    fn received(
        &mut self,
        os: &Os<'_>,
        conn: ConnId,
        asked: Incoming,
        got: &mut Vec<u8>,
        flags: RecvFlags,
    ) -> Step {
        if got.is_empty() && asked.len > 0 && self.is_dead(os, conn) {
            return Step::Done(Err(Errno::ENOTCONN));
        }
        if let (false, false, Some(offset)) = (flags.peek, flags.oob, self.peek_offset) {
            // What was read is in front of it no more.
            self.peek_offset = Some(offset.saturating_sub(got.len()));
        }
        let mut received = Received {
            count: got.len(),
            data: std::mem::take(got),
            flags: asked.flags & abi::MSG_ERRQUEUE,
            ..Received::default()
        };
        if flags.oob {
            received.flags |= abi::MSG_OOB;
        }
        if asked.flags & abi::MSG_TRUNC != 0 {
            received.data.clear();
        }
        if self.inq {
            received.control.push(self.inq_message(os, conn));
        }
        Step::Done(Ok(Reply::Received(received)))
    }

    /// How much is left to read; a FIN counts as one where nothing else is left.
    fn inq_message(&self, os: &Os<'_>, conn: ConnId) -> Control {
        let queue = os.stack.tcp_info(os.now, conn).map_or(0, |info| info.recv_queue);
        let closed = os.stack.tcp_ready(conn).is_ok_and(|ready| ready.contains(Ready::READ_CLOSED));
        let inq = if queue == 0 && closed { 1 } else { queue };
        let data = ControlData::Number(i64::try_from(inq).unwrap_or(i64::MAX));
        Control { level: abi::SOL_TCP, kind: abi::TCP_CM_INQ, data }
    }

    fn recv_error(&mut self, os: &mut Os<'_>) -> Answer {
        if let Some(conn) = self.conn() {
            self.errors.advance(os.stack, conn, os.now);
        }
        let (control, truncated) = self.errors.pop(self.v6).ok_or(Errno::EAGAIN)?;
        let flags = abi::MSG_ERRQUEUE | if truncated { abi::MSG_TRUNC } else { 0 };
        Ok(Reply::Received(Received { flags, control, ..Received::default() }))
    }
}

/// Most bytes that one round of a receive copies.
const MOST_AT_ONCE: usize = 1 << 20;

impl Posix {
    fn stream(&mut self, fd: Fd) -> Result<(usize, &mut Stream), Errno> {
        let index = self.files.index(fd)?;
        match self.files.get_mut(index) {
            Some(File { kind: Kind::Stream(stream), .. }) => Ok((index, stream)),
            Some(File { kind: Kind::Datagram(_), .. }) => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    pub(crate) fn bind(&mut self, os: &mut Os<'_>, fd: Fd, address: Address) -> Answer {
        let index = self.files.index(fd)?;
        let udp = match &mut self.files.file_mut(fd)?.kind {
            Kind::Stream(stream) if stream.phase == Phase::Fresh => {
                let local = for_family(stream.v6, address)?;
                stream.bind(os, local)?;
                None
            }
            Kind::Stream(_) => return Err(Errno::EINVAL),
            Kind::Datagram(datagram) => Some(datagram.bind(os, address)?),
            _ => return Err(Errno::ENOTSOCK),
        };
        if let Some(udp) = udp {
            self.files.own_udp(udp, index);
        }
        Ok(Reply::Number(0))
    }

    pub(crate) fn listen(&mut self, os: &mut Os<'_>, fd: Fd, backlog: i64) -> Answer {
        let (index, stream) = self.stream(fd)?;
        let bind = match stream.phase {
            Phase::Fresh => stream.bind(os, any(stream.v6))?,
            Phase::Bound(bind) => bind,
            // The backlog stays what it was.
            Phase::Listening(_) => return Ok(Reply::Number(0)),
            _ => return Err(Errno::EINVAL),
        };
        // A negative backlog is a large one, as on Linux.
        let listener =
            os.stack.tcp_listen(os.now, bind, u32::try_from(backlog).unwrap_or(u32::MAX), stream.options)?;
        stream.phase = Phase::Listening(listener);
        stream.push_options(os)?;
        #[cfg(feature = "md5-ao")]
        stream.push_keys(os)?;
        self.files.own_listener(listener, index);
        Ok(Reply::Number(0))
    }

    pub(crate) fn accept(&mut self, os: &mut Os<'_>, fd: Fd, flags: i64) -> Result<Step, Errno> {
        let nonblocking = self.files.file(fd)?.nonblocking;
        if flags & !(abi::SOCK_NONBLOCK | abi::SOCK_CLOEXEC) != 0 {
            return Err(Errno::EINVAL);
        }
        let (_, stream) = self.stream(fd)?;
        let Phase::Listening(listener) = stream.phase else { return Err(Errno::EINVAL) };
        let parent = stream.clone();
        self.files.has_room()?;
        let (conn, remote) = match os.stack.tcp_accept(os.now, listener) {
            Err(Error::WouldBlock) if !nonblocking => return Ok(Step::Wait(parent.common.recv_timeout)),
            other => other?,
        };
        let errors = ErrorQueue::of_child(&parent.errors);
        let options = os.stack.tcp_options(conn)?;
        let child = Stream {
            phase: Phase::Connected(conn),
            options,
            errors,
            owed: None,
            fast_open_connect: false,
            ..parent
        };
        let v6 = child.v6;
        let (nonblocking, cloexec) = (flags & abi::SOCK_NONBLOCK != 0, flags & abi::SOCK_CLOEXEC != 0);
        let (fd, index) = self.files.open(Kind::Stream(Box::new(child)), nonblocking, cloexec)?;
        self.files.own_conn(conn, index);
        Ok(Step::Done(Ok(Reply::Accepted(fd, shown(v6, remote)))))
    }

    pub(crate) fn connect(&mut self, os: &mut Os<'_>, fd: Fd, address: Address) -> Result<Step, Errno> {
        let index = self.files.index(fd)?;
        let file = self.files.file_mut(fd)?;
        let wait = !file.nonblocking;
        match &mut file.kind {
            Kind::Stream(stream) => {
                let step = stream.connect(os, address, wait);
                if let Some(conn) = stream.conn() {
                    self.files.own_conn(conn, index);
                }
                step
            }
            Kind::Datagram(datagram) => {
                let udp = datagram.connect(os, address)?;
                if let Some(udp) = udp {
                    self.files.own_udp(udp, index);
                }
                Ok(Step::Done(Ok(Reply::Number(0))))
            }
            _ => Err(Errno::ENOTSOCK),
        }
    }

    pub(crate) fn shutdown(&mut self, os: &mut Os<'_>, fd: Fd, how: i64) -> Answer {
        if !matches!(self.files.file(fd)?.kind, Kind::Stream(_) | Kind::Datagram(_)) {
            return Err(Errno::ENOTSOCK);
        }
        let closes = match how {
            abi::SHUT_RD => Shutdown::Read,
            abi::SHUT_WR => Shutdown::Write,
            abi::SHUT_RDWR => Shutdown::Both,
            _ => return Err(Errno::EINVAL),
        };
        if let Kind::Datagram(datagram) = &mut self.files.file_mut(fd)?.kind {
            return datagram.shutdown(os, closes);
        }
        let (_, stream) = self.stream(fd)?;
        match stream.phase {
            Phase::Fresh | Phase::Bound(_) => return Err(Errno::ENOTCONN),
            Phase::Listening(listener) if closes != Shutdown::Write => {
                os.stack.tcp_close_listener(os.now, listener)?;
                stream.phase = Phase::Fresh;
            }
            Phase::Listening(_) => {}
            Phase::Connecting(conn) if os.stack.tcp_state(conn)? == State::SynSent => {
                os.stack.tcp_close(os.now, conn)?;
                stream.phase = Phase::Fresh;
            }
            Phase::Connecting(conn) | Phase::Connected(conn) => {
                os.stack.tcp_shutdown(os.now, conn, closes)?
            }
        }
        Ok(Reply::Number(0))
    }

    pub(crate) fn send(&mut self, os: &mut Os<'_>, pending: &mut Pending) -> Step {
        let Call::Send(fd, out) = &pending.call else { return Step::Done(Err(Errno::EINVAL)) };
        let index = self.files.index(*fd);
        let file = match self.files.file_mut(*fd) {
            Ok(file) => file,
            Err(errno) => return Step::Done(Err(errno)),
        };
        let wait = !file.nonblocking && out.flags & abi::MSG_DONTWAIT == 0;
        match &mut file.kind {
            Kind::Stream(stream) => {
                let step = stream.send(os, out, &mut pending.sent, wait);
                if let (Some(conn), Ok(index)) = (stream.conn(), index) {
                    self.files.own_conn(conn, index);
                }
                step
            }
            Kind::Datagram(datagram) => {
                let step = datagram.send(os, out, wait);
                let udp = datagram.id();
                if let (Some(udp), Ok(index)) = (udp, index) {
                    self.files.own_udp(udp, index);
                }
                step
            }
            _ if out.plain => {
                let (fd, out) = (*fd, out.clone());
                self.write_file(fd, &out, &mut pending.sent).unwrap_or_else(|errno| Step::Done(Err(errno)))
            }
            _ => Step::Done(Err(Errno::ENOTSOCK)),
        }
    }

    /// A send that waited ended with so many bytes.
    pub(crate) fn sent(&mut self, os: &mut Os<'_>, fd: Fd, count: usize, out: &Outgoing) {
        if let Ok((_, stream)) = self.stream(fd) {
            let _ = stream.sent(os, count, out);
        }
    }

    pub(crate) fn recv(&mut self, os: &mut Os<'_>, pending: &mut Pending) -> Step {
        let Call::Recv(fd, asked) = &pending.call else { return Step::Done(Err(Errno::EINVAL)) };
        let file = match self.files.file_mut(*fd) {
            Ok(file) => file,
            Err(errno) => return Step::Done(Err(errno)),
        };
        let wait = !file.nonblocking && asked.flags & abi::MSG_DONTWAIT == 0;
        let socket = matches!(file.kind, Kind::Stream(_) | Kind::Datagram(_));
        if asked.plain && socket && asked.len == 0 {
            return Step::Done(Ok(Reply::Received(Received::default())));
        }
        match &mut file.kind {
            Kind::Stream(stream) => stream.recv(os, *asked, &mut pending.received, wait),
            Kind::Datagram(datagram) => datagram.recv(os, *asked, wait),
            _ if asked.plain => {
                let (fd, asked) = (*fd, *asked);
                self.read_file(fd, asked).unwrap_or_else(|errno| Step::Done(Err(errno)))
            }
            _ => Step::Done(Err(Errno::ENOTSOCK)),
        }
    }

    pub(crate) fn close(&mut self, os: &mut Os<'_>, fd: Fd, lingering: &mut Option<ConnId>) -> Step {
        if let Some(conn) = *lingering {
            if os.stack.tcp_unacknowledged(conn) == Ok(true) {
                return Step::Wait(None);
            }
            let _ = os.stack.tcp_close(os.now, conn);
            return Step::Done(Ok(Reply::Number(0)));
        }
        let (index, file) = match self.files.close(fd) {
            Ok(Some(closed)) => closed,
            Ok(None) => return Step::Done(Ok(Reply::Number(0))),
            Err(errno) => return Step::Done(Err(errno)),
        };
        self.forget_file(index, &file);
        let result = match file.kind {
            Kind::Stream(stream) => match (stream.phase, stream.options.linger) {
                (Phase::Fresh, _) => Ok(()),
                (Phase::Bound(bind), _) => os.stack.tcp_unbind(bind),
                (Phase::Listening(listener), _) => os.stack.tcp_close_listener(os.now, listener),
                (Phase::Connecting(conn) | Phase::Connected(conn), Some(linger))
                    if !linger.is_zero() && must_linger(os, conn) =>
                {
                    *lingering = Some(conn);
                    return Step::Wait(Some(linger));
                }
                (Phase::Connecting(conn) | Phase::Connected(conn), _) => os.stack.tcp_close(os.now, conn),
            },
            Kind::Datagram(datagram) => datagram.id().map_or(Ok(()), |udp| os.stack.udp_close(udp)),
            Kind::Pipe(end) => {
                if self.files.pipe(end.pipe).is_ok_and(|pipe| pipe.close(end.writes)) {
                    self.files.drop_pipe(end.pipe);
                }
                Ok(())
            }
            Kind::Epoll(_) | Kind::Regular(_) => Ok(()),
        };
        Step::Done(result.map(|()| Reply::Number(0)).map_err(Errno::from))
    }

    /// Several ioctls of sockets.
    pub(crate) fn ioctl(&mut self, os: &mut Os<'_>, fd: Fd, request: i64, argument: i64) -> Answer {
        let file = self.files.file_mut(fd)?;
        if request == abi::FIONBIO {
            file.nonblocking = argument != 0;
            return Ok(Reply::Number(0));
        }
        let count = |n: u64| Ok(Reply::Argument(i64::try_from(n).unwrap_or(i64::MAX)));
        match &file.kind {
            Kind::Stream(stream) => {
                let Some(conn) = stream.conn() else {
                    return match (request, stream.phase) {
                        (abi::SIOCINQ | abi::SIOCOUTQ | abi::SIOCOUTQNSD, Phase::Listening(_)) => {
                            Err(Errno::EINVAL)
                        }
                        (abi::SIOCINQ | abi::SIOCOUTQ | abi::SIOCOUTQNSD, _) => count(0),
                        _ => Err(Errno::ENOTTY),
                    };
                };
                let info = os.stack.tcp_info(os.now, conn)?;
                match request {
                    abi::SIOCINQ => count(info.recv_queue),
                    abi::SIOCOUTQ => count(info.send_queue),
                    abi::SIOCOUTQNSD => count(info.not_sent),
                    _ => Err(Errno::ENOTTY),
                }
            }
            Kind::Datagram(datagram) if request == abi::SIOCINQ => count(datagram.next_len(os)),
            // What was sent has left.
            Kind::Datagram(_) if request == abi::SIOCOUTQ => count(0),
            Kind::Pipe(end) if request == abi::SIOCINQ => {
                let pipe = end.pipe;
                count(self.files.pipe(pipe)?.queued() as u64)
            }
            Kind::Epoll(_) => Err(Errno::EINVAL),
            _ => Err(Errno::ENOTTY),
        }
    }
}

/// With SO_LINGER set, `close` sends the FIN and waits until all is acknowledged; data that nobody read resets at once.
fn must_linger(os: &mut Os<'_>, conn: ConnId) -> bool {
    let unread = os.stack.tcp_info(os.now, conn).is_ok_and(|info| info.recv_queue > 0);
    !unread
        && os.stack.tcp_shutdown(os.now, conn, Shutdown::Write).is_ok()
        && os.stack.tcp_unacknowledged(conn) == Ok(true)
}
