//! Lists of all sockets, whatever form they have: what `ss` shows.
//!
//! A list is made a slice at a time, so that a million connections never keep whoever shares the stack waiting. What
//! changes between two slices may be missing from the list or stand in it twice; tables are gone through in the order
//! in which a connection passes them, so that one that lives all the while is not missed.

use core::net::SocketAddr;
use core::time::Duration;

use super::Stack;
use crate::demux::{Kind, Slot};
use crate::tcp::embryo::Embryo;
use crate::tcp::listener::Listener;
use crate::tcp::tcb::Connection;
use crate::tcp::time_wait::{self, TimeWait, TwFlags};
use crate::tcp::timers::Timer;
use crate::tcp::{State, TcpInfo, Tuple};
use crate::time::Instant;
use crate::trace::TraceId;

/// What a running timer is for, as `ss -o` tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimerKind {
    /// Something is sent again when it fires (RFC 6298).
    Retransmit,
    /// The peer's window is asked for (RFC 9293 3.8.6.1).
    Persist,
    /// The peer is asked whether it is still there (RFC 9293 3.8.4).
    KeepAlive,
    /// The connection is over then: 2 MSL, or the wait of a closed socket in FIN-WAIT-2.
    TimeWait,
}

/// A timer that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerInfo {
    /// What for.
    pub kind: TimerKind,
    /// Until it fires.
    pub remaining: Duration,
    /// How often it fired without an answer.
    pub retries: u32,
}

/// A TCP socket in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSocket {
    /// Names the connection in traces; a listener has none.
    pub trace_id: Option<TraceId>,
    /// Its state.
    pub state: State,
    /// This end.
    pub local: SocketAddr,
    /// The other end; a listener has none.
    pub remote: Option<SocketAddr>,
    /// Bytes received that the application has not read; of a listener, connections that wait to be accepted.
    pub recv_queue: u64,
    /// Bytes that the peer has not acknowledged, sent or not; of a listener, how many connections may wait.
    pub send_queue: u64,
    /// Which of its timers runs; of several the one that `ss` would show.
    pub timer: Option<TimerInfo>,
    /// Time in the present state. TIME-WAIT counts from the last time that it began anew; a listener has none.
    pub time_in_state: Option<Duration>,
    /// The application let go of it.
    pub orphan: bool,
    /// It was opened by the peer and is not answered until the application decides (see
    /// [`Stack::tcp_listen_everywhere`]).
    pub held: bool,
    /// The rest, which only a full connection has.
    pub info: Option<TcpInfo>,
}

/// A UDP socket in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpSocketInfo {
    /// This end.
    pub local: SocketAddr,
    /// The other end, where it is connected.
    pub remote: Option<SocketAddr>,
    /// Bytes that its received datagrams count.
    pub recv_queue: u64,
    /// Bytes that wait for the device.
    pub send_queue: u64,
    /// Datagrams that found no room.
    pub drops: u64,
}

/// How far a list has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SocketCursor {
    /// Which of several stacks that are one host is being listed.
    shard: u16,
    table: u8,
    next: u32,
}

impl SocketCursor {
    /// Which of several stacks that are one host is to be asked next.
    pub const fn shard(self) -> usize {
        self.shard as usize
    }

    /// Goes on with the next stack's first socket.
    pub const fn next_shard(&mut self) {
        *self = Self { shard: self.shard + 1, table: 0, next: 0 };
    }

    /// Leaves out listeners, which every stack has its part of; whether the list has only just begun.
    pub const fn skip_listeners(&mut self) -> bool {
        let begins = self.table == 0;
        if begins {
            (self.table, self.next) = (1, 0);
        }
        begins
    }
}

/// Tables in the order of a connection's life.
const TABLES: u8 = 5;

impl Stack {
    /// Goes on with a list of all TCP sockets: looks at up to `places` places of the tables and gives `each` what
    /// stands there. Begin with a default cursor; false says that the list is complete.
    pub fn tcp_sockets(
        &self,
        now: Instant,
        cursor: &mut SocketCursor,
        places: usize,
        mut each: impl FnMut(TcpSocket),
    ) -> bool {
        for _ in 0..places {
            while cursor.next >= self.table_places(cursor.table) {
                if cursor.table >= TABLES {
                    return false;
                }
                *cursor = SocketCursor { table: cursor.table + 1, next: 0, ..*cursor };
            }
            let index = cursor.next;
            cursor.next += 1;
            let socket = match cursor.table {
                0 => self.listeners.get(index).map(listener_socket),
                1 => self.embryos.get(index).map(|e| self.embryo_socket(now, &e)),
                2 => self.connections.get(index).and_then(|c| self.connection_socket(now, c)),
                3 => self.waits4.get(index).and_then(|(tw, tuple)| self.time_wait_socket(now, &tw, &tuple)),
                _ => self.waits6.get(index).and_then(|(tw, tuple)| self.time_wait_socket(now, &tw, &tuple)),
            };
            if let Some(socket) = socket {
                each(socket);
            }
        }
        true
    }

    /// All listeners, as [`tcp_sockets`](Self::tcp_sockets) shows them.
    pub fn tcp_listeners(&self, each: impl FnMut(TcpSocket)) {
        self.listeners.iter().map(|(_, listener)| listener_socket(listener)).for_each(each);
    }

    /// The one TCP socket with these two ends, in O(1).
    pub fn tcp_socket(&self, now: Instant, local: SocketAddr, remote: SocketAddr) -> Option<TcpSocket> {
        let tuple = Tuple::new(local, remote);
        let slot: Slot = self.find(self.hash(&tuple), &tuple)?;
        match slot.kind() {
            Kind::Connection => self.connection_socket(now, self.connections.get(slot.index())?),
            Kind::Embryo => self.embryos.get(slot.index()).map(|e| self.embryo_socket(now, &e)),
            Kind::TimeWait4 | Kind::TimeWait6 => {
                let (tw, tuple) = self.time_wait(slot)?;
                self.time_wait_socket(now, &tw, &tuple)
            }
        }
    }

    /// Goes on with a list of all UDP sockets, as [`tcp_sockets`](Self::tcp_sockets) does.
    pub fn udp_sockets(
        &self,
        cursor: &mut SocketCursor,
        places: usize,
        mut each: impl FnMut(UdpSocketInfo),
    ) -> bool {
        for _ in 0..places {
            if cursor.next >= self.udp.places() {
                return false;
            }
            let index = cursor.next;
            cursor.next += 1;
            if let Some(socket) = self.udp.info(index) {
                each(socket);
            }
        }
        true
    }

    fn table_places(&self, table: u8) -> u32 {
        match table {
            0 => self.listeners.places(),
            1 => self.embryos.places(),
            2 => self.connections.places(),
            3 => self.waits4.places(),
            4 => self.waits6.places(),
            _ => 0,
        }
    }

    fn embryo_socket(&self, now: Instant, e: &Embryo) -> TcpSocket {
        // Nothing runs for the peer while nobody has decided.
        let timer = (!e.held).then(|| TimerInfo {
            kind: TimerKind::Retransmit,
            remaining: (e.sent_at + e.timeout(&self.cx)).since(now),
            retries: u32::from(e.retries),
        });
        TcpSocket {
            timer,
            time_in_state: Some(now.since(e.created_at)),
            held: e.held,
            ..bare(State::SynReceived, Some(TraceId(e.trace_id)), &e.tuple)
        }
    }

    /// `None` for one that is over: what is left of it is the application's handle.
    fn connection_socket(&self, now: Instant, c: &Connection) -> Option<TcpSocket> {
        c.facts.indexed().then(|| TcpSocket {
            recv_queue: c.recv.len() as u64,
            send_queue: c.send.len() as u64,
            timer: connection_timer(c, now),
            time_in_state: Some(now.since(c.times.state_since)),
            orphan: c.facts.orphan(),
            info: Some(c.info(&self.cx, now)),
            ..bare(c.state, Some(TraceId(c.trace_id)), &c.tuple)
        })
    }

    /// `None` for one that a new opening stands over.
    fn time_wait_socket(&self, now: Instant, tw: &TimeWait, tuple: &Tuple) -> Option<TcpSocket> {
        let remaining = tw.expires.since(now);
        let kind = TimerKind::TimeWait;
        (!tw.flags.has(TwFlags::COVERED)).then(|| TcpSocket {
            timer: Some(TimerInfo { kind, remaining, retries: 0 }),
            time_in_state: Some(time_wait::duration(&self.cx).saturating_sub(remaining)),
            orphan: true,
            ..bare(State::TimeWait, Some(TraceId(tw.trace_id.get())), tuple)
        })
    }
}

fn bare(state: State, trace_id: Option<TraceId>, tuple: &Tuple) -> TcpSocket {
    TcpSocket {
        trace_id,
        state,
        local: tuple.local_addr(),
        remote: Some(tuple.remote_addr()),
        recv_queue: 0,
        send_queue: 0,
        timer: None,
        time_in_state: None,
        orphan: false,
        held: false,
        info: None,
    }
}

fn listener_socket(l: &Listener) -> TcpSocket {
    TcpSocket {
        trace_id: None,
        state: State::Listen,
        local: l.local,
        remote: None,
        recv_queue: l.ready.len() as u64,
        send_queue: u64::from(l.backlog),
        timer: None,
        time_in_state: None,
        orphan: false,
        held: false,
        info: None,
    }
}

fn connection_timer(c: &Connection, now: Instant) -> Option<TimerInfo> {
    let timer = |kind, timer, retries: u8| {
        let remaining = c.timers.remaining(timer, now)?;
        Some(TimerInfo { kind, remaining, retries: u32::from(retries) })
    };
    let retransmit = if c.rtx.is_empty() {
        timer(TimerKind::Persist, Timer::Retransmit, c.probes)
    } else {
        timer(TimerKind::Retransmit, Timer::Retransmit, c.retries)
    };
    let ends = c.facts.orphan() && c.state == State::FinWait2;
    let idle = if ends { TimerKind::TimeWait } else { TimerKind::KeepAlive };
    retransmit.or_else(|| timer(idle, Timer::KeepAlive, c.probes))
}
