//! What every part of the engine needs beside a connection: settings, counters, traces, secrets, memory.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::counters::Counters;
use crate::device::Capabilities;
use crate::hash::{Rng, Secrets};
use crate::pool::Pool;
use crate::settings::Settings;
use crate::tcp::Tuple;
use crate::tcp::fast_open::Cookies;
use crate::time::Instant;
use crate::trace::{PacketId, TraceEvent, TraceId, TraceKind};

/// A bounded ring of observations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracer {
    capacity: usize,
    events: VecDeque<TraceEvent>,
    lost: u64,
    /// What is being taken in or sent just now.
    pub(crate) packet: Option<PacketId>,
}

impl Tracer {
    pub(crate) const fn is_on(&self) -> bool {
        self.capacity > 0
    }

    pub(crate) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.events.truncate(capacity);
    }

    pub(crate) fn push(&mut self, event: TraceEvent) {
        if self.events.len() < self.capacity {
            self.events.push_back(event);
        } else {
            self.lost += 1;
        }
    }

    /// The oldest event. What a full ring could not take is told once, where it was lost.
    pub(crate) fn pop(&mut self) -> Option<TraceEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        let lost = core::mem::take(&mut self.lost);
        (lost > 0).then_some(TraceEvent {
            at: Instant::ZERO,
            conn: None,
            local: None,
            remote: None,
            packet: None,
            kind: TraceKind::Lost(lost),
        })
    }

    /// Moves events to the end of `into` until it holds `most`, as [`pop`](Self::pop) gives them one by one.
    pub(crate) fn take(&mut self, most: usize, into: &mut Vec<TraceEvent>) {
        let room = most.saturating_sub(into.len());
        into.extend(self.events.drain(..room.min(self.events.len())));
        if into.len() < most {
            // None is left: only those that were lost are to be told.
            into.extend(self.pop());
        }
    }

    pub(crate) fn memory(&self) -> usize {
        self.events.capacity() * size_of::<TraceEvent>()
    }
}

/// The memory budget: bytes queued and bytes that advertised windows promise to take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) used: u64,
    pub(crate) limit: u64,
}

impl Budget {
    /// The most that one connection may have: as much as is left. A single connection comes to half of the budget, each of N
    /// that want more than there is to the (N + 1)th part of it (the dynamic thresholds of Choudhury and Hahne, 1998).
    pub(crate) const fn share(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    /// All of it is promised: who is there gets by with little.
    pub(crate) const fn is_spent(&self) -> bool {
        self.used >= self.limit
    }

    /// Twice as much is promised: nobody new is taken on.
    pub(crate) const fn is_overdrawn(&self) -> bool {
        self.used / 2 >= self.limit
    }

    pub(crate) fn replace(&mut self, old: u64, new: u64) {
        self.used = self.used.saturating_sub(old) + new;
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Cx {
    pub(crate) settings: Settings,
    pub(crate) device: Capabilities,
    pub(crate) counters: Counters,
    pub(crate) tracer: Tracer,
    pub(crate) pool: Pool,
    pub(crate) secrets: Secrets,
    pub(crate) rng: Rng,
    pub(crate) budget: Budget,
    pub(crate) next_trace_id: u64,
    /// Fast open cookies of servers.
    pub(crate) cookies: Cookies,
    /// What happens most may be done in fewer steps, which come to the same.
    pub(crate) short_cuts: bool,
}

impl Cx {
    pub(crate) fn new_trace_id(&mut self) -> u64 {
        self.next_trace_id += 1;
        self.next_trace_id
    }

    /// The hop limit of packets whose socket has none of its own.
    pub(crate) fn hop_limit(&self) -> u8 {
        self.settings.ip_default_ttl.min(255) as u8
    }

    /// Records an observation of a connection.
    pub(crate) fn trace(&mut self, at: Instant, id: u64, tuple: &Tuple, kind: TraceKind) {
        if self.tracer.is_on() {
            self.tracer.push(TraceEvent {
                at,
                conn: Some(TraceId(id)),
                local: Some(tuple.local_addr()),
                remote: Some(tuple.remote_addr()),
                packet: self.tracer.packet,
                kind,
            });
        }
    }

    /// Records an observation that belongs to no connection.
    pub(crate) fn trace_stray(
        &mut self,
        at: Instant,
        ends: Option<(SocketAddr, SocketAddr)>,
        kind: TraceKind,
    ) {
        if self.tracer.is_on() {
            let (local, remote) = ends.unzip();
            let packet = self.tracer.packet;
            self.tracer.push(TraceEvent { at, conn: None, local, remote, packet, kind });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full_ring() -> Tracer {
        let mut tracer = Tracer::default();
        tracer.set_capacity(3);
        for at in 0..5 {
            tracer.push(TraceEvent {
                at: Instant::from_millis(at),
                conn: None,
                local: None,
                remote: None,
                packet: None,
                kind: TraceKind::PathMtu { mtu: at as u32 },
            });
        }
        tracer
    }

    /// However many are wanted at once: what is told, of lost ones too, is what single calls tell.
    #[test]
    fn events_are_taken_together_as_one_by_one() {
        let mut tracer = full_ring();
        let one_by_one: Vec<TraceEvent> = core::iter::from_fn(|| tracer.pop()).collect();
        assert_eq!(one_by_one.len(), 4);
        assert_eq!(one_by_one[3].kind, TraceKind::Lost(2));
        for step in 1..6 {
            let (mut tracer, mut taken) = (full_ring(), Vec::new());
            while taken.len() < one_by_one.len() {
                let before = taken.len();
                tracer.take(before + step, &mut taken);
                assert!(taken.len() > before && taken.len() <= before + step);
            }
            assert_eq!(taken, one_by_one, "{step} at a time");
            assert!(tracer.pop().is_none());
        }
    }
}
