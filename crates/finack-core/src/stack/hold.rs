//! Openings that wait for a decision: what a gateway needs, which must know whether the far side answers before it
//! answers itself.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use finack_wire::icmp::{ErrorKind, Unreachable};
use finack_wire::ip;
use finack_wire::tcp::Flags;

use super::tcp_input::bare_head;
use super::{Event, EventSource, ListenerId, Stack};
use crate::error::Error;
use crate::options::SocketOptions;
use crate::ports::Owner;
use crate::tcp::Tuple;
use crate::tcp::emit::{self, Head};
use crate::tcp::listener::Listener;
use crate::time::Instant;
use crate::trace::{EndCause, ResetReason, SendReason};

/// How long an undecided opening is kept. A program's own SYN time-out is about as long, and each repeated SYN would
/// begin anew after it.
const UNDECIDED: Duration = Duration::from_secs(150);

/// An opening that was not answered yet.
///
/// Generation-tagged, as handles are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IncomingId {
    index: u32,
    generation: u32,
}

/// A SYN that waits for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Names it for [`Stack::tcp_answer`] and [`Stack::tcp_refuse`].
    pub id: IncomingId,
    /// Whom it is addressed to.
    pub local: SocketAddr,
    /// Who sent it.
    pub remote: SocketAddr,
}

/// How an opening is turned down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// RST: the program sees "connection refused".
    Reset,
    /// An ICMP error, as a router would send it.
    Unreachable(Unreachable),
    /// Nothing: the program waits until it gives up.
    Silence,
}

impl Stack {
    /// Listens on every address and port that no other listener has. Each SYN becomes an [`Event::Incoming`] and is not
    /// answered until [`tcp_answer`](Self::tcp_answer) or [`tcp_refuse`](Self::tcp_refuse) says how; at most `backlog` of
    /// them wait, the rest is dropped (their senders repeat them). There is one such listener.
    ///
    /// # Errors
    /// `AddrInUse` where there is one already.
    pub fn tcp_listen_everywhere(
        &mut self,
        backlog: u32,
        options: SocketOptions,
    ) -> Result<ListenerId, Error> {
        if self.listener_index.everywhere().is_some() {
            return Err(Error::AddrInUse);
        }
        let addr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let owner = Owner {
            addr,
            reuse_addr: options.reuse_addr,
            reuse_port: options.reuse_port,
            listening: true,
            v6_only: false,
            explicit: false,
        };
        let generation = self.next_generation();
        let index = self.listeners.insert(Listener {
            local: SocketAddr::new(addr, 0),
            owner,
            generation,
            options: Arc::new(options),
            backlog,
            ready: VecDeque::new(),
            event_queued: false,
            embryos: 0,
            cookies: VecDeque::new(),
            fast_open_keys: None,
            cookie_at: None,
            early: VecDeque::new(),
            undecided: Some(VecDeque::new()),
        });
        self.listener_index.set_everywhere(Some(index));
        Ok(ListenerId { index, generation })
    }

    /// The next opening that waits for a decision.
    ///
    /// # Errors
    /// `WouldBlock` until an [`Event::Incoming`], `BadHandle`.
    pub fn tcp_incoming(&mut self, listener: ListenerId) -> Result<Incoming, Error> {
        let l = self
            .listeners
            .get_mut(listener.index)
            .filter(|l| l.generation == listener.generation)
            .ok_or(Error::BadHandle)?;
        let queue = l.undecided.as_mut().ok_or(Error::InvalidArgument)?;
        while let Some((index, generation)) = queue.pop_front() {
            if let Some(e) = self.embryos.get(index).filter(|e| e.generation == generation && e.held) {
                let id = IncomingId { index, generation };
                return Ok(Incoming { id, local: e.tuple.local_addr(), remote: e.tuple.remote_addr() });
            }
        }
        Err(Error::WouldBlock)
    }

    /// Whether the opening is still there: held, or answered and its handshake not complete. Not so once its sender gave
    /// it up or began anew, once nobody decided or nobody answered for too long, and once it is a connection.
    pub fn tcp_is_opening(&self, id: IncomingId) -> bool {
        self.embryos.get(id.index).is_some_and(|e| e.generation == id.generation)
    }

    /// Goes on with the handshake: SYN,ACK now, and [`tcp_accept`](Self::tcp_accept) once it is complete.
    ///
    /// # Errors
    /// `BadHandle` where the opening is gone, because its sender gave it up or nobody decided for too long.
    pub fn tcp_answer(&mut self, now: Instant, id: IncomingId) -> Result<(), Error> {
        let e = self
            .embryos
            .get(id.index)
            .filter(|e| e.generation == id.generation && e.held)
            .ok_or(Error::BadHandle)?;
        self.embryos.update(id.index, |e| e.held = false);
        let timeout = e.timeout(&self.cx);
        self.send_syn_ack(now, id.index, SendReason::Open);
        self.arm_embryo(id.index, now + timeout);
        Ok(())
    }

    /// Turns the opening down.
    ///
    /// # Errors
    /// `BadHandle` where it is gone.
    pub fn tcp_refuse(&mut self, now: Instant, id: IncomingId, how: Refusal) -> Result<(), Error> {
        let e = self
            .embryos
            .get(id.index)
            .filter(|e| e.generation == id.generation && e.held)
            .ok_or(Error::BadHandle)?;
        let (trace_id, tuple, irs, window) = (e.trace_id, e.tuple, e.irs, e.peer_window);
        let cause = match how {
            Refusal::Reset => {
                let (ack, reason) = (Some(irs.wrapping_add(1)), ResetReason::Refused);
                self.send_reset(now, Some(trace_id), &tuple, 0, ack, None, reason);
                EndCause::ResetByUs(reason)
            }
            Refusal::Unreachable(code) => {
                self.report_syn(now, &tuple, irs, window, code);
                EndCause::Unreachable
            }
            Refusal::Silence => EndCause::Dropped,
        };
        self.drop_embryo(now, id.index, cause);
        Ok(())
    }

    /// An ICMP error about a SYN, which it quotes as far as it is remembered.
    fn report_syn(&mut self, now: Instant, tuple: &Tuple, seq: u32, window: u16, code: Unreachable) {
        let sender = Tuple {
            local: tuple.remote,
            remote: tuple.local,
            local_port: tuple.remote_port,
            remote_port: tuple.local_port,
        };
        let mut syn = alloc::vec::Vec::new();
        let head = Head { seq, window, flags: Flags::SYN, ..bare_head(&self.cx, &sender) };
        emit::bare(&head, None, &mut syn);
        if let Ok(header) = ip::parse(&syn) {
            self.report(now, &header, &syn, ErrorKind::Unreachable(code), false);
        }
    }

    /// Puts a SYN aside until somebody decides.
    pub(super) fn hold(&mut self, now: Instant, index: u32, generation: u32, listener: u32) {
        self.arm_embryo(index, now + UNDECIDED);
        let Some(l) = self.listeners.get_mut(listener) else { return };
        let most = l.backlog as usize + 8;
        let Some(queue) = &mut l.undecided else { return };
        if queue.len() >= most {
            let embryos = &self.embryos;
            queue.retain(|&(i, g)| embryos.get(i).is_some_and(|e| e.generation == g && e.held));
        }
        // What nobody asked for in time is forgotten first.
        while queue.len() >= most {
            queue.pop_front();
        }
        queue.push_back((index, generation));
        if queue.len() == 1 {
            self.events.push_back(EventSource::Incoming { index: listener, generation: l.generation });
        }
    }

    /// The event of a SYN that was put aside, unless it was taken already.
    pub(super) fn incoming_event(&self, index: u32, generation: u32) -> Option<Event> {
        let l = self.listeners.get(index).filter(|l| l.generation == generation)?;
        let waits = l.undecided.as_ref().is_some_and(|q| !q.is_empty());
        waits.then_some(Event::Incoming { listener: ListenerId { index, generation } })
    }
}

#[cfg(test)]
mod tests;
