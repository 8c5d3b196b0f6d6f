//! The socket calls on a connection.

use core::net::SocketAddr;

use super::{ConnId, Ready, Stack};
use crate::error::Error;
use crate::options::{RecvFlags, SendFlags, Shutdown, SocketOptions};
use crate::stack::refresh::Agenda;
use crate::stack::tables::owner_of;
use crate::tcp::seq::Pos;
use crate::tcp::tcb::Connection;
use crate::tcp::{State, TcpInfo, output};
use crate::time::Instant;
use crate::timer::Owner;
use crate::trace::{AppCall, TraceKind};

impl Connection {
    /// Whether the application may use it by this handle.
    pub(super) fn is_held_by(&self, id: ConnId) -> bool {
        self.generation == id.generation && !self.facts.orphan() && !self.facts.unaccepted()
    }
}

impl Stack {
    pub(super) fn conn(&self, id: ConnId) -> Result<&Connection, Error> {
        self.connections.get(id.index).filter(|c| c.is_held_by(id)).ok_or(Error::BadHandle)
    }

    pub(super) fn conn_mut(&mut self, id: ConnId) -> Result<(&mut Connection, &mut crate::cx::Cx), Error> {
        let cx = &mut self.cx;
        let c = self.connections.get_mut(id.index).filter(|c| c.is_held_by(id));
        c.map(|c| (c, cx)).ok_or(Error::BadHandle)
    }

    /// Queues data; answers how many bytes were taken.
    ///
    /// # Errors
    /// `WouldBlock` where none fit (an event says WRITABLE later), `BrokenPipe` after our end was closed or the
    /// connection is gone, and once what ended the connection; `BadHandle`.
    pub fn tcp_send(
        &mut self,
        now: Instant,
        id: ConnId,
        data: &[u8],
        flags: SendFlags,
    ) -> Result<usize, Error> {
        let Self { connections, cx, wheel, ready_to_send, events, recent, goes, .. } = self;
        let c = connections.get_mut(id.index).ok_or(Error::BadHandle)?;
        finack_sum::prefetch(c);
        wheel.prefetch(Owner::connection(id.index));
        if !c.is_held_by(id) {
            return Err(Error::BadHandle);
        }
        // Perhaps the next packet answers it.
        *recent = id.index;
        let mut agenda = Agenda { wheel, ready_to_send, events };
        if cx.short_cuts && c.takes_at_once(cx, data.len(), flags) {
            let at_once = output::goes_at_once(c, cx, data.len() as Pos, flags.more);
            c.append_at_once(cx, data, flags);
            agenda.refresh_written(c, cx, now, id.index, at_once);
            *goes = at_once.then(|| (id.index, connections.touched()));
            return Ok(data.len());
        }
        let result = c.send_bytes(cx, data, flags);
        agenda.refresh(c, cx, now, id.index);
        result
    }

    /// Reads; answers how many bytes. `Ok(0)` into a non-empty buffer is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there yet, and once what ended the connection; `InvalidArgument` for MSG_OOB
    /// where there is no urgent byte; `BadHandle`.
    pub fn tcp_recv(
        &mut self,
        now: Instant,
        id: ConnId,
        buf: &mut [u8],
        flags: RecvFlags,
    ) -> Result<usize, Error> {
        let Self { connections, cx, wheel, ready_to_send, events, .. } = self;
        let c = connections.get_mut(id.index).filter(|c| c.is_held_by(id)).ok_or(Error::BadHandle)?;
        let result = c.recv_bytes(cx, now, buf, flags);
        Agenda { wheel, ready_to_send, events }.refresh_after_read(c, cx, now, id.index);
        result
    }

    /// Closes one direction or both; the handle stays. A half-closed connection lives for as long as either side likes.
    ///
    /// # Errors
    /// `NotConnected` before the connection is open or after it is gone, `BadHandle`.
    pub fn tcp_shutdown(&mut self, now: Instant, id: ConnId, how: Shutdown) -> Result<(), Error> {
        let (c, cx) = self.conn_mut(id)?;
        if matches!(c.state, State::Closed | State::SynSent) {
            return Err(Error::NotConnected);
        }
        let (trace_id, tuple) = (c.trace_id, c.tuple);
        if matches!(how, Shutdown::Write | Shutdown::Both) {
            cx.trace(now, trace_id, &tuple, TraceKind::App(AppCall::ShutdownWrite));
            c.close_write(cx, now);
        }
        if matches!(how, Shutdown::Read | Shutdown::Both) {
            cx.trace(now, trace_id, &tuple, TraceKind::App(AppCall::ShutdownRead));
            c.close_read();
        }
        self.refresh(now, id.index);
        Ok(())
    }

    /// The application lets go: FIN after what is queued, or RST where data is unread or linger is 0. The handle is spent.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_close(&mut self, now: Instant, id: ConnId) -> Result<(), Error> {
        let (c, cx) = self.conn_mut(id)?;
        if !c.facts.indexed() {
            c.facts.set_orphan(true);
            self.free_connection(id.index);
            return Ok(());
        }
        let outcome = c.release(cx, now);
        self.settle(now, id.index, outcome);
        self.note_orphan(now, id);
        Ok(())
    }

    /// RST, whatever is queued. The handle is spent.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_abort(&mut self, now: Instant, id: ConnId) -> Result<(), Error> {
        let (c, cx) = self.conn_mut(id)?;
        c.facts.set_orphan(true);
        if !c.facts.indexed() {
            self.free_connection(id.index);
            return Ok(());
        }
        let (trace_id, tuple) = (c.trace_id, c.tuple);
        cx.trace(now, trace_id, &tuple, TraceKind::App(AppCall::Abort));
        let outcome = c.abort();
        self.settle(now, id.index, outcome);
        Ok(())
    }

    /// Whether data or our FIN still wait for their ACK: what SO_LINGER with a time waits for.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_unacknowledged(&self, id: ConnId) -> Result<bool, Error> {
        self.conn(id).map(|c| c.facts.indexed() && c.snd_una < c.snd_end())
    }

    /// What the connection is ready for now.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_ready(&self, id: ConnId) -> Result<Ready, Error> {
        self.conn(id).map(|c| c.readiness(&self.cx))
    }

    /// Asks for an event once there is room to write, where [`tcp_ready`](Self::tcp_ready) saw none. A send that
    /// found no room has asked already; room may also go without one, when a loss shrinks the send buffer.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_await_room(&mut self, id: ConnId) -> Result<(), Error> {
        self.conn_mut(id).map(|(c, _)| c.facts.set_wants_room(true))
    }

    /// SO_ERROR: the pending error, cleared by asking.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_take_error(&mut self, id: ConnId) -> Result<Option<Error>, Error> {
        self.conn_mut(id).map(|(c, _)| c.error.take())
    }

    /// What a router last said of a connection that goes on, and of nothing acknowledged since); cleared by asking
    /// (RFC 9293 3.9.1.8, Linux's `sk_err_soft`).
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_take_soft_error(&mut self, id: ConnId) -> Result<Option<Error>, Error> {
        self.conn_mut(id).map(|(c, _)| c.soft_error.take())
    }

    /// The options in force.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_options(&self, id: ConnId) -> Result<SocketOptions, Error> {
        self.conn(id).map(|c| *c.options)
    }

    /// Replaces all options at once; what they allow to be sent now is sent.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_set_options(&mut self, now: Instant, id: ConnId, options: SocketOptions) -> Result<(), Error> {
        let (c, cx) = self.conn_mut(id)?;
        let (before, port, indexed) = (owner_of(c), c.tuple.local_port, c.facts.indexed());
        let old = core::mem::replace(&mut c.options, alloc::sync::Arc::new(options));
        if options.congestion != old.congestion {
            c.switch_congestion(cx, options.congestion.unwrap_or(cx.settings.congestion));
        }
        if options.congestion != old.congestion || options.max_pacing_rate != old.max_pacing_rate {
            // Another rate from now on, or none.
            c.forget_pacer();
        }
        if let Some(bytes) = options.recv_buffer.filter(|_| options.recv_buffer != old.recv_buffer) {
            c.rcv_buf = crate::tcp::window::fixed_buffer(bytes);
        }
        if options.recv_lowat > old.recv_lowat {
            c.make_room_for(options.recv_lowat, cx);
        }
        if options.quickack && !old.quickack {
            c.quick_acks();
            if c.ack.pending {
                c.ack_now(crate::trace::SendReason::Ack);
            }
        }
        if options.keepalive != old.keepalive || options.keepalive_idle != old.keepalive_idle {
            c.start_keepalive(cx, now);
        }
        // TCP_NODELAY pushes out what was held back, also by TCP_CORK or MSG_MORE; the end of TCP_CORK leaves it to
        // Nagle's rule.
        let released = options.nodelay && (!old.nodelay || c.facts.more());
        c.facts.set_push_small(c.facts.push_small() | (released && c.snd_end() > c.snd_nxt));
        // A larger send buffer or a lower mark may be what somebody waits for.
        if indexed && c.state.may_send() {
            c.announce_room(cx);
        }
        if options.recv_lowat < old.recv_lowat && c.has_enough_to_read() {
            c.announce(Ready::READABLE);
        }
        let after = owner_of(c);
        if indexed && before != after {
            self.ports.remove(port, &before);
            self.ports.add(port, after);
        }
        self.refresh(now, id.index);
        Ok(())
    }

    /// The state; CLOSED once the connection is over, also while TIME-WAIT runs in its record.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_state(&self, id: ConnId) -> Result<State, Error> {
        self.conn(id).map(|c| c.state)
    }

    /// This end.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_local_addr(&self, id: ConnId) -> Result<SocketAddr, Error> {
        self.conn(id).map(|c| c.tuple.local_addr())
    }

    /// The other end.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_remote_addr(&self, id: ConnId) -> Result<SocketAddr, Error> {
        self.conn(id).map(|c| c.tuple.remote_addr())
    }

    /// What is known of the connection.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn tcp_info(&self, now: Instant, id: ConnId) -> Result<TcpInfo, Error> {
        self.conn(id).map(|c| c.info(&self.cx, now))
    }
}
