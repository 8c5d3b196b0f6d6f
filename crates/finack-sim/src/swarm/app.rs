//! Applications: what each end of a connection has done so far, and what it does next.

use core::net::SocketAddr;

use finack_core::options::{RecvFlags, SendFlags, Shutdown};
use finack_core::stack::ConnId;
use finack_core::tcp::State;
use finack_core::{Error, Instant};

use super::plan::{End, Side, Step};
use super::run::{Runner, Todo};
use super::stream::{Key, bytes, mismatch};
use crate::checker::Rule;
use crate::world::HostId;

/// One application's end of one incarnation.
#[derive(Clone, Debug)]
pub(super) struct App {
    pub(super) incarnation: usize,
    pub(super) talk: usize,
    pub(super) side: usize,
    pub(super) host: HostId,
    pub(super) conn: ConnId,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) out: Key,
    pub(super) into: Key,
    pub(super) step: usize,
    pub(super) step_done: u64,
    pub(super) written: u64,
    pub(super) read: u64,
    /// The handshake is over, as far as this end knows.
    pub(super) opened: bool,
    /// It said that it writes nothing more.
    pub(super) shut: bool,
    pub(super) eof: bool,
    /// It let go of its connection.
    pub(super) closed: bool,
    /// It let go without care: the peer may be reset and miss something.
    pub(super) abandoned: bool,
    pub(super) error: Option<Error>,
    pub(super) writes_from: Option<Instant>,
    pub(super) reads_from: Instant,
    rest_at: u64,
    /// RSTs that had come for its four-tuple before it.
    pub(super) resets_before: u32,
}

/// What an application is made from.
pub(super) struct Birth {
    pub(super) incarnation: usize,
    pub(super) talk: usize,
    pub(super) side: usize,
    pub(super) host: HostId,
    pub(super) conn: ConnId,
    pub(super) ends: (SocketAddr, SocketAddr),
    pub(super) keys: (Key, Key),
    pub(super) resets_before: u32,
}

impl App {
    pub(super) fn new(birth: Birth) -> Self {
        let Birth { incarnation, talk, side, host, conn, ends, keys, .. } = birth;
        Self {
            incarnation,
            talk,
            side,
            host,
            conn,
            local: ends.0,
            remote: ends.1,
            out: keys.0,
            into: keys.1,
            step: 0,
            step_done: 0,
            written: 0,
            read: 0,
            opened: false,
            shut: false,
            eof: false,
            closed: false,
            abandoned: false,
            error: None,
            writes_from: None,
            reads_from: Instant::ZERO,
            rest_at: 0,
            resets_before: birth.resets_before,
        }
    }
}

/// Whether an application goes on at once, or waits for an event or its time.
#[derive(PartialEq, Eq)]
enum Next {
    On,
    Wait,
}

impl Runner<'_> {
    pub(super) fn side(&self, app: usize) -> &Side {
        let a = &self.apps[app];
        &self.plan.talks[a.talk].sides[a.side]
    }

    /// The other end, where there is one.
    pub(super) fn peer(&self, app: usize) -> Option<usize> {
        let a = &self.apps[app];
        self.incarnations[a.incarnation].ends[1 - a.side]
    }

    /// Does whatever this application can do now.
    pub(super) fn poll(&mut self, app: usize) {
        if self.apps[app].closed || !self.is_open(app) {
            return;
        }
        self.write(app);
        self.read(app);
        // What was read may be what the writer waits for, or the end of all.
        if !self.apps[app].closed {
            self.write(app);
        }
    }

    fn is_open(&mut self, app: usize) -> bool {
        if self.apps[app].opened {
            return true;
        }
        let (host, conn) = (self.apps[app].host, self.apps[app].conn);
        match self.world.stack(host).tcp_state(conn) {
            Ok(State::SynSent | State::SynReceived) => false,
            Ok(State::Closed) | Err(_) => {
                let told = self.world.with(host, |s, _| s.tcp_take_error(conn));
                match told {
                    Ok(Some(error)) => self.failed(app, error),
                    other => {
                        self.violate(app, Rule::WrongError, format!("CLOSED, and the error is {other:?}"))
                    }
                }
                false
            }
            Ok(_) => {
                self.opened(app);
                true
            }
        }
    }

    /// The connection is open.
    pub(super) fn opened(&mut self, app: usize) {
        let now = self.world.now();
        let (end, reads) = (self.side(app).end, self.side(app).reads);
        let a = &mut self.apps[app];
        a.opened = true;
        a.reads_from = now + reads.begin;
        self.progress();
        self.stats.opened += 1;
        if !reads.begin.is_zero() {
            self.at(now + reads.begin, Todo::Wake(app));
        }
        if let End::AbortAt(after) = end {
            self.at(now + after, Todo::Abort(app));
        }
    }

    fn write(&mut self, app: usize) {
        while let Some(&step) = self.side(app).steps.get(self.apps[app].step) {
            if self.take_step(app, step) == Next::Wait {
                return;
            }
            let a = &mut self.apps[app];
            (a.step, a.step_done) = (a.step + 1, 0);
        }
        self.finish(app);
    }

    fn take_step(&mut self, app: usize, step: Step) -> Next {
        let now = self.world.now();
        match step {
            Step::Gone => Next::On,
            Step::Await(n) => {
                let a = &self.apps[app];
                if a.read >= n || a.eof { Next::On } else { Next::Wait }
            }
            Step::Pause(time) => match self.apps[app].writes_from {
                None => {
                    self.apps[app].writes_from = Some(now + time);
                    self.at(now + time, Todo::Wake(app));
                    Next::Wait
                }
                Some(from) if now < from => Next::Wait,
                Some(_) => {
                    self.apps[app].writes_from = None;
                    self.progress();
                    Next::On
                }
            },
            Step::Write(n) => self.put(app, n, false),
            Step::Urgent => self.put(app, 1, true),
        }
    }

    fn put(&mut self, app: usize, n: u64, oob: bool) -> Next {
        let chunk = self.side(app).chunk;
        while self.apps[app].step_done < n {
            let a = &self.apps[app];
            let (host, conn) = (a.host, a.conn);
            let len = (n - a.step_done).min(chunk as u64) as usize;
            let data = bytes(a.out, a.written, len);
            let flags = SendFlags { oob, ..SendFlags::default() };
            match self.world.with(host, |s, now| s.tcp_send(now, conn, &data, flags)) {
                Ok(taken) if taken == 0 || taken > len => {
                    self.violate(app, Rule::Call, format!("send of {len} bytes took {taken}"));
                    return Next::Wait;
                }
                Ok(taken) => {
                    let a = &mut self.apps[app];
                    a.step_done += taken as u64;
                    a.written += taken as u64;
                    self.progress();
                }
                Err(Error::WouldBlock) => return Next::Wait,
                Err(error) => {
                    self.failed(app, error);
                    return Next::Wait;
                }
            }
        }
        Next::On
    }

    fn read(&mut self, app: usize) {
        let (reads, now) = (self.side(app).reads, self.world.now());
        let expected = self.peer_total(app);
        // However slow, it comes to an end.
        let (chunk, every) = (reads.chunk.max((expected / 512) as usize), reads.every.max(expected / 64 + 1));
        let mut buf = core::mem::take(&mut self.buf);
        buf.resize(chunk, 0);
        while !self.apps[app].closed && !self.apps[app].eof && now >= self.apps[app].reads_from {
            let (host, conn) = (self.apps[app].host, self.apps[app].conn);
            match self.world.with(host, |s, now| s.tcp_recv(now, conn, &mut buf, RecvFlags::default())) {
                Ok(0) => self.end_of_stream(app),
                Ok(n) => {
                    if !self.took(app, &buf[..n]) {
                        break;
                    }
                    let a = &mut self.apps[app];
                    if a.rest_at == 0 {
                        a.rest_at = every;
                    }
                    if a.read >= a.rest_at {
                        a.rest_at = a.read.saturating_add(every);
                        a.reads_from = now + reads.rest;
                        if !reads.rest.is_zero() {
                            self.at(now + reads.rest, Todo::Wake(app));
                        }
                    }
                }
                Err(Error::WouldBlock) => break,
                Err(error) => self.failed(app, error),
            }
        }
        self.buf = buf;
    }

    fn peer_total(&self, app: usize) -> u64 {
        let a = &self.apps[app];
        self.plan.talks[a.talk].sides[1 - a.side].total()
    }

    fn took(&mut self, app: usize, data: &[u8]) -> bool {
        let (read, into) = (self.apps[app].read, self.apps[app].into);
        if let Some(at) = mismatch(into, read, data) {
            self.violate(app, Rule::Stream, format!("byte {} is not what was sent", read + at as u64));
            return false;
        }
        self.apps[app].read += data.len() as u64;
        self.stats.bytes += data.len() as u64;
        self.progress();
        let (read, written) = (self.apps[app].read, self.peer(app).map(|p| self.apps[p].written));
        if written.is_some_and(|w| read > w) {
            self.violate(app, Rule::Stream, format!("{read} bytes read, {written:?} written"));
            return false;
        }
        true
    }

    fn end_of_stream(&mut self, app: usize) {
        let read = self.apps[app].read;
        let peer = self.peer(app).map(|p| &self.apps[p]);
        let Some((shut, written)) = peer.map(|p| (p.shut, p.written)) else {
            self.violate(app, Rule::Eof, "EOF, and there was no peer".into());
            return;
        };
        if !shut || read != written {
            let said = if shut { "is closed" } else { "is not closed" };
            self.violate(app, Rule::Eof, format!("EOF after {read} of {written} bytes, the peer {said}"));
        }
        self.apps[app].eof = true;
        self.progress();
    }

    /// All is written.
    fn finish(&mut self, app: usize) {
        let (host, conn, eof, shut) = {
            let a = &self.apps[app];
            (a.host, a.conn, a.eof, a.shut)
        };
        match self.side(app).end {
            End::HalfClose if !shut => {
                self.apps[app].shut = true;
                match self.world.with(host, |s, now| s.tcp_shutdown(now, conn, Shutdown::Write)) {
                    Ok(()) => {}
                    // Gone meanwhile: the next call says why.
                    Err(Error::NotConnected) => {
                        let told = self.world.with(host, |s, _| s.tcp_take_error(conn));
                        match told {
                            Ok(Some(error)) => self.failed(app, error),
                            other => {
                                self.violate(
                                    app,
                                    Rule::Call,
                                    format!("shutdown failed, and the error is {other:?}"),
                                );
                            }
                        }
                    }
                    Err(error) => self.violate(app, Rule::Call, format!("shutdown: {error}")),
                }
            }
            End::HalfClose | End::AfterPeer if eof => self.close(app, true),
            End::HalfClose | End::AfterPeer | End::AbortAt(_) => {}
            End::Early => {
                self.apps[app].abandoned = true;
                self.close(app, true);
            }
            End::Abort => self.abort(app),
            End::Linger => {
                let options = self.world.stack(host).tcp_options(conn);
                if let Ok(mut options) = options {
                    options.linger = Some(core::time::Duration::ZERO);
                    let set = self.world.with(host, |s, now| s.tcp_set_options(now, conn, options));
                    if let Err(error) = set {
                        self.violate(app, Rule::Call, format!("SO_LINGER: {error}"));
                    }
                }
                self.apps[app].abandoned = true;
                self.close(app, false);
            }
        }
    }

    fn close(&mut self, app: usize, shuts: bool) {
        let a = &mut self.apps[app];
        (a.closed, a.shut) = (true, a.shut || shuts);
        let (host, conn) = (a.host, a.conn);
        if let Err(error) = self.world.with(host, |s, now| s.tcp_close(now, conn)) {
            self.violate(app, Rule::Call, format!("close: {error}"));
        }
        self.over(app);
    }

    pub(super) fn abort(&mut self, app: usize) {
        if self.apps[app].closed {
            return;
        }
        let a = &mut self.apps[app];
        (a.closed, a.abandoned) = (true, true);
        let (host, conn) = (a.host, a.conn);
        if let Err(error) = self.world.with(host, |s, now| s.tcp_abort(now, conn)) {
            self.violate(app, Rule::Call, format!("abort: {error}"));
        }
        self.over(app);
    }

    /// The connection broke, and the application was told why.
    fn failed(&mut self, app: usize, error: Error) {
        self.apps[app].error = Some(error);
        self.judge_error(app, error);
        let a = &mut self.apps[app];
        a.closed = true;
        let (host, conn) = (a.host, a.conn);
        if let Err(error) = self.world.with(host, |s, now| s.tcp_close(now, conn)) {
            self.violate(app, Rule::Call, format!("close after an error: {error}"));
        }
        self.over(app);
    }
}
