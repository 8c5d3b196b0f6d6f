//! Applications of a world: small programs of socket calls, and what they were told.
//!
//! A program is one or two lists of calls, each taken in order and as late as it likes. A call that would block is taken
//! again only after the stack has announced something: a wake-up that never comes is a dead-lock, and is found.

use finack_core::options::{BindOptions, RecvFlags, SendFlags, Shutdown, SocketOptions};
use finack_core::stack::{ConnId, Event, ListenerId, Ready};
use finack_core::tcp::State;
use finack_core::trace::ResetReason;
use finack_core::{Error, Instant, Stack};

use super::world::HostSpec;

/// A socket call. Connections are named by their number on their host, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Binds to the host's address and port, and listens.
    Listen,
    /// Waits for connection N.
    Accept(u8),
    /// Closes the listener.
    Unlisten,
    /// Opens connection N to the other host's address and port, and waits until it is open or has failed.
    Connect(u8),
    /// Writes so many bytes.
    Send(u8, u16),
    /// Reads until so many bytes came in all.
    Recv(u8, u16),
    /// Reads to the end of the stream.
    RecvEof(u8),
    /// `shutdown(SHUT_WR)`.
    ShutWrite(u8),
    /// `close`.
    Close(u8),
    /// `close` with SO_LINGER and so many ticks: waits until all is acknowledged.
    Linger(u8, u8),
    /// `close` with SO_LINGER 0: a RST.
    Abort(u8),
}

impl Op {
    /// The connection that it is about.
    const fn conn(self) -> Option<u8> {
        match self {
            Self::Listen | Self::Unlisten => None,
            Self::Accept(n) | Self::Connect(n) | Self::Send(n, _) | Self::Recv(n, _) | Self::RecvEof(n) => {
                Some(n)
            }
            Self::ShutWrite(n) | Self::Close(n) | Self::Linger(n, _) | Self::Abort(n) => Some(n),
        }
    }

    /// As a person writes the call.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Listen => "listen".into(),
            Self::Accept(n) => format!("accept #{n}"),
            Self::Unlisten => "close the listener".into(),
            Self::Connect(n) => format!("connect #{n}"),
            Self::Send(n, len) => format!("send #{n}, {len} bytes"),
            Self::Recv(n, _) | Self::RecvEof(n) => format!("recv #{n}"),
            Self::ShutWrite(n) => format!("shutdown #{n}, SHUT_WR"),
            Self::Close(n) => format!("close #{n}"),
            Self::Linger(n, ticks) => format!("close #{n}, SO_LINGER {ticks} ticks"),
            Self::Abort(n) => format!("close #{n}, SO_LINGER 0"),
        }
    }
}

/// How far a connection has come, as its application sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not yet asked for.
    #[default]
    Unborn,
    /// `connect` was called.
    Opening,
    /// It can be used.
    Open,
    /// `close` waits for the last ACK, so many ticks more.
    Lingering(u8),
    /// Its handle was given back.
    Gone,
}

/// How the application let go of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Farewell {
    /// It did not.
    #[default]
    None,
    /// `close` with nothing unread.
    Close,
    /// `close` while something was unread.
    CloseUnread,
    /// `close` with linger, which said that all arrived.
    LingerDone,
    /// `close` with linger, whose time ran out.
    LingerTimeout,
    /// `close` with linger, which failed.
    LingerFailed,
    /// With a RST.
    Abort,
    /// Its host crashed.
    Crash,
}

/// What an application knows of a connection, and what its stack has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// How far it has come.
    pub phase: Phase,
    /// Connections of the other host (bits by number) whose segments opened it; 0 where it was not accepted.
    pub peers: u8,
    /// Bytes that the application wrote.
    pub sent: u16,
    /// Bytes that it read, and of which connection of the other host they were.
    pub got: u16,
    /// See `got`; 0 before the first.
    pub from: u8,
    /// It said that it will write no more.
    pub fin: bool,
    /// It was told that the stream has ended.
    pub eof: bool,
    /// The error that it was told.
    pub error: Option<Error>,
    /// How it let go.
    pub farewell: Farewell,
    /// Bytes that its stack has taken in order.
    pub arrived: u16,
    /// Its stack has taken the peer's FIN.
    pub fin_arrived: bool,
    /// A read, a write or a connect would block, and nothing was announced since.
    asleep: [bool; 2],
}

const READ: usize = 0;
const WRITE: usize = 1;

/// Most connections that a host's program may use, its lives together.
pub(crate) const MOST: usize = 4;
/// Most lists of calls of one program.
pub(crate) const TASKS: usize = 2;

/// The application of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct App {
    /// How often the host was started again.
    pub boots: u8,
    /// The host has crashed, now or in an earlier life.
    pub crashed: bool,
    /// Its connections, by number from 1.
    pub records: [Record; MOST],
    /// The next call of each list.
    pub at: [u8; TASKS],
    /// RSTs that the host sent, by the place of their reason.
    pub resets: u32,
    /// It gave a connection up because nothing came: the peer's FIN (RFC 9293 has no such end, Linux has), or any answer.
    pub gave_up: bool,
    /// Ticks that passed since it could have made a call, where that is bounded.
    pub waited: u8,
    /// `accept` would block, and nothing was announced since.
    deaf: bool,
    /// Whose SYN made the half-open record, and who completed the openings that wait to be accepted (bits).
    half_open: u8,
    ready: Vec<u8>,
}

/// What the handles of an application are; they are no part of what tells states apart, for they come in the order of
/// the connections' numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handles {
    conns: [Option<ConnId>; MOST],
    listener: Option<ListenerId>,
}

/// A call, as far as it shows.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// What it answered.
    pub(crate) text: String,
    /// What must not be.
    pub(crate) wrong: Option<String>,
}

impl Answer {
    fn of(result: &Result<impl core::fmt::Debug, Error>) -> Self {
        match result {
            Ok(value) => Self { text: format!("{value:?}"), wrong: None },
            Err(error) => Self { text: error.to_string(), wrong: None },
        }
    }
}

/// What a byte tells of its place: its index, modulo this.
const ROUND: u16 = 31;
/// Bytes that a read takes at most.
pub(crate) const READ_SIZE: usize = 2000;

/// The byte that connection `conn` writes at `index`.
fn tagged(conn: u8, index: u16) -> u8 {
    conn << 5 | (index % ROUND) as u8
}

/// The host's stack, its time and its handles.
pub(crate) struct Machine<'a> {
    pub(crate) stack: &'a mut Stack,
    pub(crate) now: Instant,
    pub(crate) handles: &'a mut Handles,
    pub(crate) spec: &'a HostSpec,
}

impl App {
    /// Whether call list `task` has come to its end.
    pub(crate) fn is_done(&self, task: usize, spec: &HostSpec) -> bool {
        self.op(task, spec).is_none()
    }

    /// All lists have.
    pub(crate) fn is_finished(&self, spec: &HostSpec) -> bool {
        (0..TASKS).all(|t| self.is_done(t, spec))
    }

    /// The next call of a list.
    pub(crate) fn op(&self, task: usize, spec: &HostSpec) -> Option<Op> {
        spec.life(self.boots).get(task)?.get(usize::from(self.at[task])).copied()
    }

    /// The record of connection `n`.
    pub(crate) fn record(&mut self, n: u8) -> &mut Record {
        &mut self.records[usize::from(n).clamp(1, MOST) - 1]
    }

    fn get(&self, n: u8) -> &Record {
        &self.records[usize::from(n).clamp(1, MOST) - 1]
    }

    /// The number of the newest connection that this host opened; 0 before the first.
    pub(crate) fn newest(&self) -> u8 {
        self.records.iter().rposition(|r| r.phase != Phase::Unborn).map_or(0, |i| i as u8 + 1)
    }

    /// Whether the next call of a list can be made and would not find what it found before.
    pub(crate) fn is_callable(&self, task: usize, m: &Machine<'_>) -> bool {
        let Some(op) = self.op(task, m.spec) else { return false };
        let record = op.conn().map(|n| *self.get(n));
        let handle = op.conn().and_then(|n| m.handles.conns[usize::from(n) - 1]);
        match (op, record) {
            (Op::Accept(_), _) => !self.deaf && m.handles.listener.is_some(),
            (Op::Connect(_), Some(r)) => match r.phase {
                Phase::Opening => !r.asleep[WRITE],
                _ => connect_would_start(m),
            },
            (Op::Send(..), Some(r)) => r.phase == Phase::Open && !r.asleep[WRITE],
            (Op::Recv(..) | Op::RecvEof(_), Some(r)) => r.phase == Phase::Open && !r.asleep[READ],
            (Op::Linger(..), Some(r)) => match r.phase {
                Phase::Lingering(left) => {
                    left == 0 || handle.is_some_and(|h| m.stack.tcp_unacknowledged(h) == Ok(false))
                }
                phase => phase == Phase::Open,
            },
            (Op::ShutWrite(_) | Op::Close(_) | Op::Abort(_), Some(r)) => r.phase == Phase::Open,
            _ => true,
        }
    }

    /// Calls that make no sense any more, because the connection failed, are passed over.
    pub(crate) fn pass_over(&mut self, spec: &HostSpec) {
        for task in 0..TASKS {
            while let Some(op) = self.op(task, spec) {
                let failed = op.conn().is_some_and(|n| {
                    let r = self.get(n);
                    let using = matches!(op, Op::Send(..) | Op::Recv(..) | Op::RecvEof(_) | Op::ShutWrite(_));
                    let reading = matches!(op, Op::Recv(..) | Op::RecvEof(_));
                    r.phase == Phase::Gone || using && r.error.is_some() || reading && r.eof
                });
                if !failed {
                    break;
                }
                self.at[task] += 1;
            }
        }
    }

    /// The next call of a list.
    pub(crate) fn call(&mut self, task: usize, m: &mut Machine<'_>) -> Answer {
        let Some(op) = self.op(task, m.spec) else { return Answer::default() };
        let (done, answer) = match op {
            Op::Listen => self.listen(m),
            Op::Unlisten => {
                let listener = m.handles.listener.take();
                let result = listener.map(|l| m.stack.tcp_close_listener(m.now, l));
                self.ready.clear();
                (true, Answer { text: format!("{result:?}"), wrong: None })
            }
            Op::Accept(n) => self.accept(n, m),
            Op::Connect(n) => self.connect(n, m),
            Op::Send(n, len) => self.send(n, len, m),
            Op::Recv(n, total) => self.recv(n, Some(total), m),
            Op::RecvEof(n) => self.recv(n, None, m),
            Op::ShutWrite(n) => {
                let result = self.handle(n, m).and_then(|h| m.stack.tcp_shutdown(m.now, h, Shutdown::Write));
                self.record(n).fin |= result.is_ok();
                (true, Answer::of(&result))
            }
            Op::Close(n) => (true, self.close(n, m, Farewell::Close)),
            Op::Linger(n, ticks) => self.linger(n, ticks, m),
            Op::Abort(n) => {
                let result = self.handle(n, m).and_then(|h| m.stack.tcp_abort(m.now, h));
                m.handles.conns[usize::from(n) - 1] = None;
                let record = self.record(n);
                (record.phase, record.farewell) = (Phase::Gone, Farewell::Abort);
                (true, Answer::of(&result))
            }
        };
        self.at[task] += u8::from(done);
        answer
    }

    /// `accept` is waited for no longer: nobody will come.
    pub(crate) fn give_up(&mut self, task: usize, spec: &HostSpec) {
        if let Some(n) = self.op(task, spec).and_then(Op::conn) {
            self.record(n).phase = Phase::Gone;
            self.at[task] += 1;
        }
    }

    fn handle(&self, n: u8, m: &Machine<'_>) -> Result<ConnId, Error> {
        m.handles.conns[usize::from(n) - 1].ok_or(Error::BadHandle)
    }

    fn listen(&mut self, m: &mut Machine<'_>) -> (bool, Answer) {
        let reuse = BindOptions { reuse_addr: true, ..BindOptions::default() };
        let bound = m.stack.tcp_bind(m.now, m.spec.local, reuse);
        let result = bound.and_then(|b| m.stack.tcp_listen(m.now, b, 4, m.spec.options));
        m.handles.listener = result.ok();
        self.deaf = true;
        let wrong = result.err().map(|e| format!("listen failed: {e}"));
        (true, Answer { wrong, ..Answer::of(&result.map(|_| ())) })
    }

    fn accept(&mut self, n: u8, m: &mut Machine<'_>) -> (bool, Answer) {
        let result = m.handles.listener.ok_or(Error::BadHandle).and_then(|l| m.stack.tcp_accept(m.now, l));
        if let Ok((handle, _)) = result {
            m.handles.conns[usize::from(n) - 1] = Some(handle);
            let peers = if self.ready.is_empty() { 0 } else { self.ready.remove(0) };
            let record = self.record(n);
            (record.phase, record.peers) = (Phase::Open, peers);
        }
        self.deaf = result == Err(Error::WouldBlock);
        (result.is_ok(), Answer::of(&result.map(|_| ())))
    }

    fn connect(&mut self, n: u8, m: &mut Machine<'_>) -> (bool, Answer) {
        if self.get(n).phase == Phase::Opening {
            return self.opened(n, m);
        }
        let reuse = BindOptions { reuse_addr: true, ..BindOptions::default() };
        let options = SocketOptions { reuse_addr: true, ..m.spec.options };
        let bound = m.stack.tcp_bind(m.now, m.spec.local, reuse);
        let result = bound.and_then(|b| m.stack.tcp_connect(m.now, Some(b), m.spec.remote, options));
        m.handles.conns[usize::from(n) - 1] = result.ok();
        let record = self.record(n);
        record.phase = if result.is_ok() { Phase::Opening } else { Phase::Gone };
        record.asleep[WRITE] = true;
        let wrong = result.err().map(|e| format!("connect failed at once: {e}"));
        (false, Answer { text: "in progress".into(), wrong })
    }

    fn opened(&mut self, n: u8, m: &mut Machine<'_>) -> (bool, Answer) {
        let error = self.handle(n, m).and_then(|h| m.stack.tcp_take_error(h)).ok().flatten();
        if let Some(error) = error {
            let _ = self.handle(n, m).and_then(|h| m.stack.tcp_close(m.now, h));
            m.handles.conns[usize::from(n) - 1] = None;
            let record = self.record(n);
            (record.phase, record.error) = (Phase::Gone, Some(error));
            return (true, Answer { text: error.to_string(), wrong: None });
        }
        let state = self.handle(n, m).and_then(|h| m.stack.tcp_state(h));
        let open = state.is_ok_and(State::is_synchronized);
        let wrong = (!open).then(|| format!("connect was told that it is over, in {state:?}"));
        self.record(n).phase = Phase::Open;
        (true, Answer { text: "open".into(), wrong })
    }

    fn send(&mut self, n: u8, len: u16, m: &mut Machine<'_>) -> (bool, Answer) {
        let sent = self.get(n).sent;
        let data: Vec<u8> = (sent..sent + len).map(|i| tagged(n, i)).collect();
        let result = self.handle(n, m).and_then(|h| m.stack.tcp_send(m.now, h, &data, SendFlags::default()));
        let record = self.record(n);
        match result {
            Ok(count) => record.sent += count as u16,
            Err(Error::WouldBlock) => record.asleep[WRITE] = true,
            Err(error) => record.error = record.error.or(Some(error)),
        }
        (result != Err(Error::WouldBlock), Answer::of(&result))
    }

    fn recv(&mut self, n: u8, total: Option<u16>, m: &mut Machine<'_>) -> (bool, Answer) {
        let mut buf = [0; READ_SIZE];
        let result =
            self.handle(n, m).and_then(|h| m.stack.tcp_recv(m.now, h, &mut buf, RecvFlags::default()));
        let mut answer = Answer::of(&result);
        let record = self.record(n);
        match result {
            Ok(0) => record.eof = true,
            Ok(count) => answer.wrong = record.take(&buf[..count]),
            Err(Error::WouldBlock) => record.asleep[READ] = true,
            Err(error) => record.error = record.error.or(Some(error)),
        }
        let enough = total.is_some_and(|t| record.got >= t) || record.eof || record.error.is_some();
        (enough, answer)
    }

    fn close(&mut self, n: u8, m: &mut Machine<'_>, farewell: Farewell) -> Answer {
        let handle = self.handle(n, m);
        let unread = handle.is_ok_and(|h| m.stack.tcp_info(m.now, h).is_ok_and(|i| i.recv_queue > 0));
        let result = handle.and_then(|h| m.stack.tcp_close(m.now, h));
        m.handles.conns[usize::from(n) - 1] = None;
        let record = self.record(n);
        record.phase = Phase::Gone;
        record.fin = true;
        record.farewell = if unread { Farewell::CloseUnread } else { farewell };
        Answer::of(&result)
    }

    /// As `close` with SO_LINGER: a FIN, then waiting for its ACK; where something is unread a RST at once.
    fn linger(&mut self, n: u8, ticks: u8, m: &mut Machine<'_>) -> (bool, Answer) {
        let handle = self.handle(n, m);
        let out = handle.and_then(|h| m.stack.tcp_unacknowledged(h)) == Ok(true);
        if let Phase::Lingering(_) = self.get(n).phase {
            let error = handle.and_then(|h| m.stack.tcp_take_error(h)).ok().flatten();
            let farewell = match (error, out) {
                (Some(_), _) => Farewell::LingerFailed,
                (None, true) => Farewell::LingerTimeout,
                (None, false) => Farewell::LingerDone,
            };
            self.record(n).error = self.get(n).error.or(error);
            self.close(n, m, farewell);
            let text = error.map_or_else(|| format!("{farewell:?}"), |e| e.to_string());
            return (true, Answer { text, wrong: None });
        }
        let unread = handle.is_ok_and(|h| m.stack.tcp_info(m.now, h).is_ok_and(|i| i.recv_queue > 0));
        let shut = handle.and_then(|h| m.stack.tcp_shutdown(m.now, h, Shutdown::Write));
        if unread || shut.is_err() {
            return (true, self.close(n, m, Farewell::Close));
        }
        let record = self.record(n);
        (record.phase, record.fin) = (Phase::Lingering(ticks), true);
        (false, Answer { text: "waits".into(), wrong: None })
    }

    /// A tick passes.
    pub(crate) fn tick(&mut self) {
        for record in &mut self.records {
            if let Phase::Lingering(left) = &mut record.phase {
                *left = left.saturating_sub(1);
            }
        }
    }

    /// The host loses all that it has, but for what is remembered to judge the others by.
    pub(crate) fn crash(&mut self) {
        for record in self.records.iter_mut().filter(|r| !matches!(r.phase, Phase::Unborn | Phase::Gone)) {
            (record.phase, record.farewell) = (Phase::Gone, Farewell::Crash);
        }
        (self.crashed, self.deaf, self.half_open) = (true, false, 0);
        self.ready.clear();
    }

    /// Starts its next life.
    pub(crate) fn reboot(&mut self) {
        self.boots += 1;
        self.at = [0; TASKS];
    }

    /// What the stack announced.
    pub(crate) fn on_event(&mut self, event: Event, handles: &Handles) {
        match event {
            Event::Accept { .. } => self.deaf = false,
            Event::Tcp { conn, ready } => {
                let known = handles.conns.iter().position(|h| *h == Some(conn));
                let Some(record) = known.and_then(|i| self.records.get_mut(i)) else { return };
                let over = ready.intersects(Ready::ERROR | Ready::READ_CLOSED);
                record.asleep[READ] &= !(over || ready.contains(Ready::READABLE));
                record.asleep[WRITE] &=
                    !ready.intersects(Ready::ERROR | Ready::WRITE_CLOSED | Ready::WRITABLE);
            }
            _ => {}
        }
    }

    /// A SYN of connection `whose` of the other host made a half-open record.
    pub(crate) fn on_half_open(&mut self, whose: u8) {
        self.half_open = 1 << whose;
    }

    /// A segment of connection `whose` completed it.
    pub(crate) fn on_complete(&mut self, whose: u8) {
        self.ready.push(self.half_open | 1 << whose);
        self.half_open = 0;
    }

    /// The half-open record is gone.
    pub(crate) fn on_half_open_end(&mut self) {
        self.half_open = 0;
    }

    /// A RST went out.
    pub(crate) fn on_reset(&mut self, reason: ResetReason) {
        let place = ResetReason::ALL.iter().position(|r| *r == reason).unwrap_or(31);
        self.resets |= 1 << place;
    }

    /// A connection changed its state: with a FIN of the peer, perhaps after the application let go of it.
    pub(crate) fn on_state(&mut self, to: State) {
        if matches!(to, State::CloseWait | State::Closing | State::TimeWait) && self.newest() > 0 {
            let newest = self.newest();
            self.record(newest).fin_arrived = true;
        }
    }

    /// Notes what the stack has taken for each connection.
    pub(crate) fn look(&mut self, m: &Machine<'_>) {
        for (record, handle) in self.records.iter_mut().zip(&m.handles.conns) {
            let Some(info) = handle.and_then(|h| m.stack.tcp_info(m.now, h).ok()) else { continue };
            record.arrived = record.arrived.max(info.bytes_received as u16);
            let ready = handle.and_then(|h| m.stack.tcp_ready(h).ok()).unwrap_or_default();
            record.fin_arrived |= ready.contains(Ready::READ_CLOSED) && !ready.contains(Ready::ERROR);
        }
    }
}

/// Whether `connect` would get its four-tuple now; the program tries again until it does.
fn connect_would_start(m: &Machine<'_>) -> bool {
    let mut trial = m.stack.clone();
    let reuse = BindOptions { reuse_addr: true, ..BindOptions::default() };
    let options = SocketOptions { reuse_addr: true, ..m.spec.options };
    let bound = trial.tcp_bind(m.now, m.spec.local, reuse);
    bound.and_then(|b| trial.tcp_connect(m.now, Some(b), m.spec.remote, options)).is_ok()
}

impl Record {
    /// Bytes were read; answers what is wrong with them.
    fn take(&mut self, bytes: &[u8]) -> Option<String> {
        for &byte in bytes {
            let (conn, index) = (byte >> 5, u16::from(byte & 31));
            if self.from != 0 && conn != self.from {
                return Some(format!(
                    "a read got a byte of the other host's connection #{conn} behind bytes of #{}",
                    self.from
                ));
            }
            if index != self.got % ROUND {
                return Some(format!("a read got byte {index} where byte {} was due", self.got));
            }
            (self.from, self.got) = (conn, self.got + 1);
        }
        None
    }
}
