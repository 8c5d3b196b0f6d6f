//! Moving connections between the tables, and keeping timers, queues and budgets right after each step.

use core::net::SocketAddr;
use core::num::NonZeroU64;

use super::Stack;
use crate::cx::Cx;
use crate::demux::{Demux, Kind, Slot};
use crate::ports::Owner;
use crate::slab::Slab;
use crate::tcp::embryo::{Embryo, Embryos};
use crate::tcp::input::Outcome;
use crate::tcp::tcb::Connection;
use crate::tcp::time_wait::{self, Key4, Key6, TimeWait, TimeWaits, TwFlags};
use crate::tcp::timers::Timer;
use crate::tcp::{State, Tuple};
use crate::time::Instant;
use crate::timer;
use crate::trace::{EndCause, ResetReason, TraceKind};

/// An address and port that a socket took before it listened or connected.
#[derive(Clone, Debug)]
pub(super) struct Bind {
    pub(super) local: SocketAddr,
    pub(super) owner: Owner,
    pub(super) generation: u32,
}

/// Who holds the port of a connection.
pub(super) fn owner_of(c: &Connection) -> Owner {
    Owner {
        addr: c.tuple.local,
        reuse_addr: c.options.reuse_addr,
        reuse_port: c.options.reuse_port,
        listening: false,
        v6_only: c.options.v6_only,
        explicit: c.facts.explicit_port(),
    }
}

/// The hash by which the table of connections finds a four-tuple.
pub(super) fn hash_of(cx: &Cx, tuple: &Tuple) -> u64 {
    cx.secrets.demux.four_tuple(tuple)
}

/// What a four-tuple can lead to.
pub(super) struct Records<'a> {
    pub(super) connections: &'a Slab<Connection>,
    pub(super) embryos: &'a Embryos,
    pub(super) waits4: &'a TimeWaits<Key4>,
    pub(super) waits6: &'a TimeWaits<Key6>,
}

impl Records<'_> {
    /// Who has the four-tuple.
    pub(super) fn find(&self, demux: &Demux, hash: u64, tuple: &Tuple) -> Option<Slot> {
        demux.find(hash, |slot| match slot.kind() {
            Kind::Connection => {
                // It is the right one nearly always, and then all of it will be needed.
                self.connections.prefetch(slot.index());
                self.connections.get(slot.index()).is_some_and(|c| c.tuple == *tuple)
            }
            Kind::Embryo => self.embryos.tuple(slot.index()).is_some_and(|t| t == *tuple),
            Kind::TimeWait4 => self.waits4.is_of(slot.index(), tuple),
            Kind::TimeWait6 => self.waits6.is_of(slot.index(), tuple),
        })
    }

    /// The four-tuple that leads to a slot.
    fn tuple(&self, slot: Slot) -> Option<Tuple> {
        match slot.kind() {
            Kind::Connection => self.connections.get(slot.index()).map(|c| c.tuple),
            Kind::Embryo => self.embryos.tuple(slot.index()),
            Kind::TimeWait4 => self.waits4.tuple(slot.index()),
            Kind::TimeWait6 => self.waits6.tuple(slot.index()),
        }
    }

    /// The TIME-WAIT that a slot names, if it names one.
    pub(super) fn time_wait(&self, slot: Slot) -> Option<(TimeWait, Tuple)> {
        match slot.kind() {
            Kind::TimeWait4 => self.waits4.get(slot.index()),
            Kind::TimeWait6 => self.waits6.get(slot.index()),
            _ => None,
        }
    }
}

impl Stack {
    pub(super) fn hash(&self, tuple: &Tuple) -> u64 {
        hash_of(&self.cx, tuple)
    }

    /// Who has the four-tuple.
    pub(super) fn find(&self, hash: u64, tuple: &Tuple) -> Option<Slot> {
        let Self { demux, connections, embryos, waits4, waits6, wheel, .. } = self;
        let slot = Records { connections, embryos, waits4, waits6 }.find(demux, hash, tuple)?;
        if slot.kind() == Kind::Connection {
            wheel.prefetch(timer::Owner::connection(slot.index()));
        }
        Some(slot)
    }

    /// Has the four-tuple of this hash lead to `slot`.
    pub(super) fn index(&mut self, hash: u64, slot: Slot) {
        let Self { demux, connections, embryos, waits4, waits6, cx, .. } = self;
        let records = Records { connections, embryos, waits4, waits6 };
        demux.insert(hash, slot, |slot| records.tuple(slot).map_or(0, |tuple| hash_of(cx, &tuple)));
    }

    /// The same where it led to `before` so far.
    pub(super) fn reindex(&mut self, hash: u64, before: Slot, slot: Slot) {
        if !self.demux.replace(hash, before, slot) {
            self.index(hash, slot);
        }
    }

    /// Puts a new connection, which is in no other table yet, into the tables; the port's owner is registered with it. `hash`
    /// is its four-tuple's, `over` what that led to.
    pub(super) fn add_connection(&mut self, index: u32, hash: u64, over: Option<Slot>) {
        let Self { connections, ip, ports, .. } = self;
        let Some(c) = connections.get_mut(index) else { return };
        c.facts.set_indexed(true);
        c.facts.set_loopback(ip.routes.is_own(c.tuple.remote));
        c.facts
            .set_admits_afar(ip.routes.is_local(c.tuple.local) && ip.routes.is_valid_source(c.tuple.remote));
        ports.add(c.tuple.local_port, owner_of(c));
        // What comes next is often for it.
        self.recent = index;
        let slot = Slot::new(Kind::Connection, index);
        match over {
            Some(over) => self.reindex(hash, over, slot),
            None => self.index(hash, slot),
        }
    }

    /// Carries out what became of a connection, then brings its timers and queues up to date.
    pub(super) fn settle(&mut self, now: Instant, index: u32, outcome: Outcome) {
        match outcome {
            Outcome::Keep => {}
            Outcome::TimeWait => self.enter_time_wait(now, index),
            Outcome::Closed(cause) => self.end_connection(now, index, cause),
            Outcome::Reset(reason) => {
                self.reset_connection(now, index, reason);
                self.end_connection(now, index, EndCause::ResetByUs(reason));
            }
            Outcome::ResetSegment(reason) => self.end_connection(now, index, EndCause::ResetByUs(reason)),
            // The answers to the segment itself were sent where the segment was at hand.
            Outcome::RefuseSegment(_) => {}
        }
        self.refresh(now, index);
    }

    pub(super) fn connection_timeout(&mut self, now: Instant, index: u32) {
        let Some(c) = self.connections.get_mut(index) else { return };
        c.wheel_at = Instant::FAR_FUTURE;
        c.facts.forget_wheel();
        let earliest = c.earliest_deadline();
        if self.cx.short_cuts && earliest > now {
            // Most come too early: they were armed for what has been done since.
            if earliest < Instant::FAR_FUTURE {
                c.wheel_at = earliest;
                self.wheel.arm(timer::Owner::connection(index), earliest);
            }
            return;
        }
        if c.timers.is_due(Timer::Retransmit, now) {
            // Routers limit how often they complain: perhaps another connection was told why nothing comes through.
            self.follow_path_mtu(now, index);
        }
        let Some(c) = self.connections.get_mut(index) else { return };
        let outcome = c.on_timers(&mut self.cx, now);
        if c.facts.probe_due() {
            self.note_stuck(index);
        }
        self.settle(now, index, outcome);
    }

    /// Sends a RST at the number that the peer expects: SND.NXT, or the right edge where that lies before it.
    fn reset_connection(&mut self, now: Instant, index: u32, reason: ResetReason) {
        let Some(c) = self.connections.get(index) else { return };
        let pos = c.snd_nxt.min(c.snd_edge().max(c.snd_una));
        let (tuple, id, seq, ack) = (c.tuple, c.trace_id, c.snd_seq(pos), c.rcv_seq(c.ack_pos()));
        let stamps = c.agreed.timestamps.then(|| (c.ts_val(now), c.ts_recent));
        self.send_reset(now, Some(id), &tuple, seq, Some(ack), stamps, reason);
    }

    /// The connection is over: it leaves the tables. What the application has not read stays with its handle.
    pub(super) fn end_connection(&mut self, now: Instant, index: u32, cause: EndCause) {
        let Some(c) = self.connections.get_mut(index) else { return };
        match (c.state, cause) {
            (State::SynSent | State::SynReceived, _) => self.cx.counters.tcp_attempt_fails += 1,
            (State::Established | State::CloseWait, _) => self.cx.counters.tcp_estab_resets += 1,
            _ => {}
        }
        if c.facts.orphan() && matches!(cause, EndCause::TimedOut | EndCause::FinWait2TimedOut) {
            self.cx.counters.tcp_abort_on_orphan += 1;
        }
        c.enter(&mut self.cx, now, State::Closed);
        let (id, tuple) = (c.trace_id, c.tuple);
        self.cx.trace(now, id, &tuple, TraceKind::Ended(cause));
        self.detach(index);
    }

    /// Takes a connection out of all tables but the one of handles; an orphan is gone with that.
    pub(super) fn detach(&mut self, index: u32) {
        self.detach_for(index, None);
    }

    /// The same; what the TIME-WAIT that it leaves behind needs, its place in the index and its claim on the port, goes to that.
    fn detach_for(&mut self, index: u32, heir: Option<Slot>) {
        let Some(c) = self.connections.get_mut(index) else { return };
        if c.facts.indexed() {
            c.facts.set_indexed(false);
            self.expendable.orphans_left -= usize::from(c.facts.counted());
            c.facts.set_counted(false);
            c.timers.stop_all();
            if c.send.clear(&mut self.cx.pool) {
                c.announce(super::Ready::COMPLETED);
            }
            c.rtx.clear(&mut self.cx.pool);
            c.recv.drop_reorder(&mut self.cx.pool);
            c.wheel_at = Instant::FAR_FUTURE;
            self.wheel.disarm(timer::Owner::connection(index));
            let (owner, port) = (owner_of(c), c.tuple.local_port);
            let (hash, slot) = (hash_of(&self.cx, &c.tuple), Slot::new(Kind::Connection, index));
            // A TIME-WAIT may be taken over where the settings say so: as long as it stands nobody else has its port.
            let reusable = self.cx.settings.tcp_tw_reuse == 1 || c.facts.loopback();
            if heir.is_none() || reusable {
                self.ports.freed(&c.tuple);
            }
            if let Some(heir) = heir {
                self.reindex(hash, slot, heir);
            } else {
                self.demux.remove(hash, slot);
                self.ports.remove(port, &owner);
            }
            self.auth.forget_connection(index);
        }
        let Some(c) = self.connections.get(index) else { return };
        if c.facts.orphan() {
            self.free_connection(index);
        }
    }

    pub(super) fn free_connection(&mut self, index: u32) {
        if let Some(c) = self.connections.get_mut(index) {
            c.recv.clear(&mut self.cx.pool);
            self.cx.budget.replace(u64::from(c.charged), 0);
            self.connections.free(index);
        }
    }

    /// Both FINs are acknowledged: what must be remembered goes into a small record.
    fn enter_time_wait(&mut self, now: Instant, index: u32) {
        let Some(c) = self.connections.get_mut(index) else { return };
        c.enter(&mut self.cx, now, State::TimeWait);
        let window = c.advertise(&self.cx);
        let mut flags = TwFlags::default();
        let owner = owner_of(c);
        flags.set(TwFlags::TIMESTAMPS, c.agreed.timestamps);
        flags.set(TwFlags::REUSE_ADDR, owner.reuse_addr);
        flags.set(TwFlags::REUSE_PORT, owner.reuse_port);
        flags.set(TwFlags::EXPLICIT, owner.explicit);
        flags.set(TwFlags::V6_ONLY, owner.v6_only);
        let record = TimeWait {
            expires: now + time_wait::duration(&self.cx),
            trace_id: NonZeroU64::new(c.trace_id).unwrap_or(NonZeroU64::MIN),
            snd_nxt: c.snd_seq(c.snd_nxt),
            rcv_nxt: c.rcv_seq(c.rcv_nxt()),
            ts_recent: c.ts_recent,
            answered_ms: 0,
            window,
            flags,
        };
        let tuple = c.tuple;
        // The peer's FIN is acknowledged before the connection becomes a record.
        let acknowledges = c.ack.pending || c.ack.now.is_some();
        c.ack.now = None;
        c.state = State::Closed;
        let ts_offset = c.ts_offset;
        let signed = self.auth.retire(index, c);
        let heir = self.new_time_wait(now, &tuple, &record);
        self.detach_for(index, heir);
        if let Some(slot) = heir {
            self.auth.add_time_wait(slot, signed);
        }
        if acknowledges {
            self.answer_from_time_wait(now, &tuple, &record, ts_offset);
        }
    }

    /// Sends or takes over an embryo's timer.
    pub(super) fn arm_embryo(&mut self, index: u32, at: Instant) {
        if self.embryos.tuple(index).is_some() {
            self.wheel.arm(timer::Owner::embryo(index), at);
        }
    }

    /// Takes an embryo, which is given as it stands there, out of the tables. Where it led to nothing a TIME-WAIT under it
    /// comes back; where it `hatches`, the connection that it becomes takes its place in the index.
    pub(super) fn remove_embryo(&mut self, now: Instant, index: u32, e: &Embryo, hatches: bool) {
        self.embryos.free(index);
        self.ports.freed(&e.tuple);
        self.wheel.disarm(timer::Owner::embryo(index));
        let slot = Slot::new(Kind::Embryo, index);
        if !hatches {
            let hash = self.hash(&e.tuple);
            match e.under {
                Some(under) => self.uncover_time_wait(hash, slot, under),
                None => drop(self.demux.remove(hash, slot)),
            }
        }
        if let Some(l) = self.listeners.get_mut(e.listener) {
            if e.is_cookie {
                l.cookies.retain(|&(i, g)| (i, g) != (index, e.generation));
            } else {
                l.embryos = l.embryos.saturating_sub(1);
            }
        }
        if let Some(under) = e.under.filter(|_| hatches) {
            self.cx.counters.tcp_time_wait_reopened += 1;
            self.drop_time_wait(now, under, EndCause::Reopened);
        }
    }
}
