//! User calls on a connection (RFC 9293 3.9.1): SEND, RECEIVE, CLOSE and their likes.

use alloc::vec::Vec;

use bytes::Bytes;
use bytes::buf::Limit;

use super::State;
use super::input::Outcome;
use super::seq::Pos;
use super::tcb::Connection;
use super::units::Room;
use crate::cx::Cx;
use crate::device::MAX_SLICES;
use crate::error::Error;
use crate::options::{RecvFlags, SendFlags};
use crate::stack::Ready;
use crate::time::Instant;
use crate::trace::{AppCall, EndCause, ResetReason, SendReason, TraceKind};

impl Connection {
    /// Appends what fits.
    pub(crate) fn send_bytes(&mut self, cx: &mut Cx, data: &[u8], flags: SendFlags) -> Result<usize, Error> {
        self.check_open_for_writing()?;
        if data.is_empty() {
            return Ok(0);
        }
        let room = self.room_for(cx, data.len());
        let count = room.bytes;
        // Who was told that all of it fitted asks before it waits for more room (`tcp_ready`, `tcp_await_room`).
        self.facts.set_wants_room(self.facts.wants_room() | (count < data.len()));
        if count == 0 {
            return Err(Error::WouldBlock);
        }
        self.send.append(&mut cx.pool, &data[..count], (self.snd_nxt, self.mss));
        self.after_write(&room, count == data.len(), flags);
        Ok(count)
    }

    /// Whether all that was written before is sent, and a write of `len` bytes fits a segment and the buffer: then
    /// [`append_at_once`](Self::append_at_once) does what [`send_bytes`](Self::send_bytes) would do.
    #[inline(always)]
    pub(crate) fn takes_at_once(&self, cx: &Cx, len: usize, flags: SendFlags) -> bool {
        let open = self.error.is_none() && self.state.may_send() && !self.facts.fin_queued();
        let small = len > 0 && len <= usize::from(self.mss) && !(flags.eor | flags.oob);
        open && small && self.send.is_plain() && self.begins_unit(cx)
    }

    /// See [`takes_at_once`](Self::takes_at_once).
    #[inline(always)]
    pub(crate) fn append_at_once(&mut self, cx: &mut Cx, data: &[u8], flags: SendFlags) {
        self.send.append(&mut cx.pool, data, (self.snd_nxt, self.mss));
        self.facts.set_more(flags.more);
        self.took_unit(data.len() as Pos);
    }

    /// Appends what fits of the application's own buffers, without copying them.
    pub(crate) fn send_shared(&mut self, cx: &Cx, data: &[Bytes], flags: SendFlags) -> Result<usize, Error> {
        self.check_open_for_writing()?;
        let all: usize = data.iter().map(Bytes::len).sum();
        let room = self.room_for(cx, all);
        self.facts.set_wants_room(self.facts.wants_room() | (room.bytes < all));
        if all > 0 && room.bytes == 0 {
            return Err(Error::WouldBlock);
        }
        let mut left = room.bytes;
        for piece in data {
            let part = piece.slice(..piece.len().min(left));
            left -= part.len();
            self.send.append_shared(part, self.snd_nxt);
        }
        if room.bytes > 0 {
            self.after_write(&room, room.bytes == all, flags);
        }
        Ok(room.bytes)
    }

    /// Bytes were appended, perhaps all that the application had.
    fn after_write(&mut self, room: &Room, all: bool, flags: SendFlags) {
        self.facts.set_more(flags.more && all);
        self.took(room, self.facts.more());
        if flags.eor && all {
            self.send.end_record();
            self.end_unit();
        }
        if flags.oob && all {
            let end = self.send.end();
            self.rare_mut().snd_up = Some(end);
        }
    }

    /// Whether something can be written at all, now or later.
    fn check_open_for_writing(&mut self) -> Result<(), Error> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        match self.state {
            State::SynSent | State::SynReceived if !self.sends_early() => {
                self.facts.set_wants_room(true);
                Err(Error::WouldBlock)
            }
            _ if self.facts.fin_queued() || !self.may_write() => Err(Error::BrokenPipe),
            _ => Ok(()),
        }
    }

    /// A fast open let the application in before the handshake is over (RFC 7413 4.2.2).
    fn sends_early(&self) -> bool {
        self.state == State::SynReceived && self.facts.fast_open()
    }

    fn may_write(&self) -> bool {
        self.state.may_send() || self.sends_early()
    }

    /// Copies what is there. `Ok(0)` is the end of the stream.
    #[inline]
    pub(crate) fn recv_bytes(
        &mut self,
        cx: &mut Cx,
        now: Instant,
        buf: &mut [u8],
        flags: RecvFlags,
    ) -> Result<usize, Error> {
        if flags.oob {
            return self.recv_urgent(buf, flags.peek);
        }
        if buf.is_empty() {
            return Ok(0);
        }
        // An empty queue must not move the urgent mark.
        let copied = if self.recv.len() > 0 { self.copy_around_mark(cx, buf, flags.peek) } else { 0 };
        if copied > 0 {
            if !flags.peek {
                self.acknowledge_reading(cx, now);
            }
            return Ok(copied);
        }
        if self.facts.fin_received() || self.facts.read_shut() {
            return Ok(0);
        }
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.state == State::Closed { Ok(0) } else { Err(Error::WouldBlock) }
    }

    /// A read stops in front of the urgent byte, and the next one passes over it unless it stays in the stream
    /// (SO_OOBINLINE).
    #[inline]
    fn copy_around_mark(&mut self, cx: &mut Cx, buf: &mut [u8], peek: bool) -> usize {
        let mut upto = Pos::MAX;
        if let Some(mark) = self.rare().urgent.mark {
            let read = self.recv.read_pos();
            if mark == read && !self.options.oob_inline {
                if self.recv.len() == 0 {
                    return 0;
                }
                if !peek {
                    self.recv.skip(&mut cx.pool, 1);
                    self.rare_mut().urgent.mark = None;
                } else if self.recv.len() == 1 {
                    return 0;
                }
            } else if mark == read {
                self.rare_mut().urgent.mark = Some(mark).filter(|_| peek);
            } else if mark > read {
                upto = mark;
            }
        }
        self.recv.read(&mut cx.pool, buf, upto, peek)
    }

    /// [`recv_bytes`](Self::recv_bytes) without a copy: `take` is lent what there is, and answers how much it took.
    pub(crate) fn recv_with<E>(
        &mut self,
        cx: &mut Cx,
        now: Instant,
        take: impl FnOnce(&[&[u8]]) -> Result<usize, E>,
    ) -> Result<Result<usize, E>, Error> {
        if self.recv.len() == 0 {
            // The end, an error, or nothing yet: told as to any reader.
            return self.recv_bytes(cx, now, &mut [0], RecvFlags::default()).map(Ok);
        }
        let read = self.recv.read_pos();
        if self.rare().urgent.mark == Some(read) {
            // A byte in line, or the one to pass over: rare enough to be copied.
            let mut byte = [0];
            let count = self.copy_around_mark(cx, &mut byte, true);
            return match take(&[&byte[..count]]) {
                Ok(taken) if taken >= count => {
                    self.recv_bytes(cx, now, &mut byte, RecvFlags::default()).map(|_| Ok(count))
                }
                other => Ok(other),
            };
        }
        let upto = self.rare().urgent.mark.filter(|&mark| mark > read).unwrap_or(Pos::MAX);
        let mut slices = [&[][..]; MAX_SLICES];
        let (count, bytes) = self.recv.slices(upto, &mut slices);
        let taken = match take(&slices[..count]) {
            Ok(taken) => taken.min(bytes),
            Err(error) => return Ok(Err(error)),
        };
        self.recv.skip(&mut cx.pool, taken);
        if taken > 0 {
            self.acknowledge_reading(cx, now);
        }
        Ok(Ok(taken))
    }

    /// [`send_bytes`](Self::send_bytes) without a copy: `fill` appends to a block of the send buffer.
    pub(crate) fn send_with<E>(
        &mut self,
        cx: &mut Cx,
        most: usize,
        fill: impl FnOnce(&mut Limit<&mut Vec<u8>>) -> Result<(), E>,
    ) -> Result<Result<usize, E>, Error> {
        self.check_open_for_writing()?;
        let most = self.up_to_unit(most.max(1));
        let room = self.room_for(cx, most);
        if room.bytes == 0 {
            self.facts.set_wants_room(true);
            return Err(Error::WouldBlock);
        }
        let appended = self.send.append_with(&mut cx.pool, room.bytes, fill);
        // Who had as much as was offered is likely to have more.
        self.facts.set_more(matches!(appended, Ok((_, true))));
        self.took(&room, self.facts.more());
        let appended = appended.map(|(count, _)| count);
        if !self.is_writable(cx) {
            self.facts.set_wants_room(true);
        }
        Ok(appended)
    }

    /// The application read: an ACK goes out if one is due and a message seems to be over, or if the peer should be told of
    /// the room (`tcp_cleanup_rbuf`).
    fn acknowledge_reading(&mut self, cx: &Cx, now: Instant) {
        let opened = self.after_read(cx, now);
        if opened {
            self.ack_now(SendReason::WindowUpdate);
        } else if self.ack.pending && self.rare().ack_hold == Pos::MAX {
            let over = self.ack.pushed > 1 || self.ack.pushed == 1 && !self.ack.interactive;
            if self.rcv_nxt() - self.rcv_acked() > Pos::from(self.rcv_mss) || over && self.recv.len() == 0 {
                self.ack_now(SendReason::Ack);
            }
        }
    }

    fn recv_urgent(&mut self, buf: &mut [u8], peek: bool) -> Result<usize, Error> {
        if self.options.oob_inline || self.rare().urgent.taken {
            return Err(Error::InvalidArgument);
        }
        let Some(byte) = self.rare().urgent.byte else {
            return Err(if self.rare().urgent.mark.is_some() {
                Error::WouldBlock
            } else {
                Error::InvalidArgument
            });
        };
        let Some(first) = buf.first_mut() else { return Ok(0) };
        *first = byte;
        if !peek {
            let urgent = &mut self.rare_mut().urgent;
            (urgent.taken, urgent.byte) = (true, None);
        }
        Ok(1)
    }

    /// Our FIN follows the data (RFC 9293 3.10.4).
    pub(crate) fn close_write(&mut self, cx: &mut Cx, now: Instant) {
        if self.facts.fin_queued() {
            return;
        }
        self.facts.set_fin_queued(true);
        self.facts.set_more(false);
        self.announce(Ready(Ready::WRITABLE.0 | Ready::WRITE_CLOSED.0));
        match self.state {
            State::Established => self.enter(cx, now, State::FinWait1),
            State::CloseWait => self.enter(cx, now, State::LastAck),
            _ => {}
        }
    }

    /// Nothing more will be read; the peer is not told (as on Linux).
    pub(crate) fn close_read(&mut self) {
        self.facts.set_read_shut(true);
        self.announce(Ready(Ready::READABLE.0 | Ready::READ_CLOSED.0));
    }

    /// The application lets go (RFC 9293 3.10.4, RFC 1122 4.2.2.13).
    pub(crate) fn release(&mut self, cx: &mut Cx, now: Instant) -> Outcome {
        let call = |kind| TraceKind::App(kind);
        let abort = self.options.linger.is_some_and(|l| l.is_zero());
        let unread = self.recv.len() > 0;
        cx.trace(now, self.trace_id, &self.tuple, call(if abort { AppCall::Abort } else { AppCall::Close }));
        self.facts.set_orphan(true);
        match self.state {
            State::Closed => Outcome::Closed(EndCause::Closed),
            State::SynSent => Outcome::Closed(EndCause::Dropped),
            _ if abort => self.abort(),
            _ if unread => Outcome::Reset(ResetReason::UnreadData),
            _ => {
                self.close_write(cx, now);
                self.timers.stop(super::timers::Timer::KeepAlive);
                if self.state == State::FinWait2 {
                    self.start_fin_wait2(cx, now);
                }
                Outcome::Keep
            }
        }
    }

    /// RFC 9293 3.10.5: the peer gets a RST, unless both FINs are out and ours has all in front of it sent: then a RST
    /// could only end the peer's TIME-WAIT (Linux's `tcp_need_reset`).
    pub(crate) fn abort(&self) -> Outcome {
        let closing = matches!(self.state, State::Closing | State::LastAck) && self.snd_nxt == self.snd_end();
        if closing || self.state == State::SynSent {
            return Outcome::Closed(EndCause::Dropped);
        }
        Outcome::Reset(ResetReason::Abort)
    }

    /// What the application can do now without being told to wait.
    pub(crate) fn readiness(&self, cx: &Cx) -> Ready {
        let mut ready = Ready::default();
        let over = self.state == State::Closed;
        let read_closed = self.facts.fin_received() || self.facts.read_shut() || over;
        if self.has_enough_to_read() || read_closed || self.error.is_some() {
            ready |= Ready::READABLE;
        }
        if read_closed {
            ready |= Ready::READ_CLOSED;
        }
        let opening = matches!(self.state, State::SynSent | State::SynReceived) && !self.sends_early();
        let write_closed = self.facts.fin_queued() || over;
        if write_closed {
            ready |= Ready::WRITE_CLOSED;
        }
        if write_closed || self.error.is_some() || (!opening && self.is_writable(cx)) {
            ready |= Ready::WRITABLE;
        }
        if self.error.is_some() {
            ready |= Ready::ERROR;
        }
        if self.rare().urgent.mark.is_some() && !self.rare().urgent.taken {
            ready |= Ready::PRIORITY;
        }
        if self.send.has_completion() {
            ready |= Ready::COMPLETED;
        }
        ready
    }
}
