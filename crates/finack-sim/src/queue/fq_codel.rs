//! A queue for each flow, each with a CoDel of its own, served in turn (RFC 8290).

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use finack_core::Instant;

use super::{CoDel, FULL_PACKET, Fifo, Waiting};

/// Queues that flows are spread over (RFC 8290 5.2.5).
const QUEUES: u64 = 1024;

#[derive(Clone, Debug)]
struct Flow<T> {
    codel: CoDel,
    fifo: Fifo<T>,
    /// Bytes that it may send before it is another's turn.
    credit: i64,
}

/// Flow queues at work.
#[derive(Clone, Debug)]
pub struct FqCoDel<T> {
    fresh: CoDel,
    flows: BTreeMap<u64, Flow<T>>,
    /// Flows that had nothing to send until now, and those that had: both in turn.
    new: VecDeque<u64>,
    old: VecDeque<u64>,
    packets: usize,
    bytes: u64,
}

impl<T> FqCoDel<T> {
    /// None; each will be controlled as CoDel does with these values.
    #[must_use]
    pub fn new(target: Duration, interval: Duration, ecn: bool) -> Self {
        Self {
            fresh: CoDel::new(target, interval, ecn),
            flows: BTreeMap::new(),
            new: VecDeque::new(),
            old: VecDeque::new(),
            packets: 0,
            bytes: 0,
        }
    }

    /// Packets that wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.packets
    }

    /// Whether none waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// Bytes that wait.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How long the oldest packet has waited.
    #[must_use]
    pub fn delay(&self, now: Instant) -> Duration {
        self.flows.values().map(|flow| flow.fifo.delay(now)).max().unwrap_or_default()
    }

    /// Puts a packet into its flow's queue (RFC 8290 4.1).
    pub fn push(&mut self, packet: Waiting<T>) {
        let key = packet.flow % QUEUES;
        let (size, fresh) = (packet.size, self.fresh);
        let flow = self.flows.entry(key).or_insert_with(|| {
            self.new.push_back(key);
            Flow { codel: fresh, fifo: Fifo::default(), credit: FULL_PACKET as i64 }
        });
        flow.fifo.push(packet);
        self.packets += 1;
        self.bytes += u64::from(size);
    }

    /// Drops the oldest packet of the flow that takes most room (RFC 8290 4.1.2).
    pub fn shorten(&mut self, dropped: &mut dyn FnMut(Waiting<T>)) {
        let Some(flow) = self.flows.values_mut().max_by_key(|flow| flow.fifo.bytes()) else { return };
        if let Some(packet) = flow.fifo.pop() {
            self.packets -= 1;
            self.bytes -= u64::from(packet.size);
            dropped(packet);
        }
    }

    /// Takes the packet that is sent next: new flows first, each flow for a full packet at a time (RFC 8290 4.2).
    pub fn pop(&mut self, now: Instant, dropped: &mut dyn FnMut(Waiting<T>)) -> Option<Waiting<T>> {
        loop {
            let is_new = !self.new.is_empty();
            let list = if is_new { &mut self.new } else { &mut self.old };
            let key = *list.front()?;
            let Some(flow) = self.flows.get_mut(&key) else {
                list.pop_front();
                continue;
            };
            if flow.credit <= 0 {
                flow.credit += FULL_PACKET as i64;
                list.pop_front();
                self.old.push_back(key);
                continue;
            }
            let (packets, bytes) = (&mut self.packets, &mut self.bytes);
            let packet = flow.codel.pop(&mut flow.fifo, now, &mut |packet| {
                *packets -= 1;
                *bytes -= u64::from(packet.size);
                dropped(packet);
            });
            if let Some(packet) = packet {
                flow.credit -= i64::from(packet.size);
                self.packets -= 1;
                self.bytes -= u64::from(packet.size);
                return Some(packet);
            }
            // A new flow that is empty becomes an old one, so that none can stay new by sending a little at a time.
            list.pop_front();
            if is_new {
                self.old.push_back(key);
            } else {
                self.flows.remove(&key);
            }
        }
    }
}
