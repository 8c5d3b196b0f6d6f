//! A hierarchical timing wheel: arming, re-arming and disarming cost the same however many entries stand.
//!
//! A tick is 2^16 ns (65.536 µs). Eight levels of 64 slots cover all of [`Instant`]. An entry's level is that
//! of the highest base-64 digit in which its tick differs from the wheel's, so within a level slots never wrap
//! around, and every entry of a lower level is due before any of a higher one. An entry moves down at most
//! once a level. Entries of the tick that the wheel stands at lie in a heap, which gives them out in order of
//! their exact deadlines and, among equal ones, in the order in which they were armed.

use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::time::Instant;

#[cfg(test)]
mod tests;

const TICK_BITS: u32 = 16;
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 8;
const NIL: u32 = u32::MAX;
/// Nodes are allocated in segments of this many, so that growing copies none.
const SEGMENT: usize = 256;

/// An armed entry. It is spent once [`Wheel::pop`] gave the entry out or [`Wheel::remove`] took it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimerKey(u32);

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Free,
    /// In the heap of the present tick.
    Due,
    Slot {
        level: u8,
        slot: u8,
    },
}

#[derive(Clone, Debug)]
struct Node {
    at: Instant,
    /// Unique for each arming: tells a live heap entry from a stale one, and orders equal deadlines.
    order: u64,
    token: u64,
    prev: u32,
    next: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    head: u32,
    tail: u32,
    /// Not later than any deadline in the slot: exact while nothing was taken out of it.
    earliest: Instant,
}

const EMPTY: Slot = Slot { head: NIL, tail: NIL, earliest: Instant::FAR_FUTURE };

/// The wheel. Tokens are the caller's.
#[derive(Clone, Debug)]
pub(crate) struct Wheel {
    /// The tick that the wheel stands at; entries in slots are all in later ticks.
    tick: u64,
    occupied: [u64; LEVELS],
    slots: Box<[Slot]>,
    due: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    /// How many of `due` are live.
    due_live: usize,
    segments: Vec<Box<[Node]>>,
    free: u32,
    len: usize,
    next_order: u64,
}

impl Wheel {
    /// An empty wheel at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            tick: now.as_nanos() >> TICK_BITS,
            occupied: [0; LEVELS],
            slots: alloc::vec![EMPTY; LEVELS * SLOTS].into_boxed_slice(),
            due: BinaryHeap::new(),
            due_live: 0,
            segments: Vec::new(),
            free: NIL,
            len: 0,
            next_order: 0,
        }
    }

    /// Arms an entry. A deadline that has passed is due at once.
    pub(crate) fn insert(&mut self, at: Instant, token: u64) -> TimerKey {
        let index = self.allocate();
        self.node_mut(index).token = token;
        self.place(index, at);
        self.len += 1;
        TimerKey(index)
    }

    /// Moves an armed entry to another deadline; among equal deadlines it comes last.
    pub(crate) fn rearm(&mut self, key: TimerKey, at: Instant) {
        if self.is_armed(key) {
            self.unlink(key.0);
            self.place(key.0, at);
        }
    }

    /// Disarms an entry.
    pub(crate) fn remove(&mut self, key: TimerKey) {
        if self.is_armed(key) {
            self.unlink(key.0);
            self.release(key.0);
        }
    }

    /// Takes out the first entry that is due at `now`: its token and its deadline. Entries come in order of
    /// their deadlines, equal ones in the order of arming; none comes before its deadline.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(u64, Instant)> {
        let target = now.as_nanos() >> TICK_BITS;
        loop {
            if let Some(&Reverse((at, _, index))) = self.due.peek() {
                if at > now {
                    return None;
                }
                let token = self.node(index).token;
                self.due.pop();
                self.due_live -= 1;
                self.release(index);
                self.settle_due();
                return Some((token, at));
            }
            let Some((level, slot, start)) = self.first_slot().filter(|&(_, _, start)| start <= target)
            else {
                self.tick = self.tick.max(target);
                return None;
            };
            self.tick = start;
            self.spread(level, slot);
        }
    }

    /// A time that is not later than the first deadline; `None` while nothing is armed.
    ///
    /// After `pop(now)` gave nothing it is later than `now`, so that a caller who sleeps until it never spins.
    pub(crate) fn next(&self) -> Option<Instant> {
        if let Some(&Reverse((at, ..))) = self.due.peek() {
            return Some(at);
        }
        let (level, slot, start) = self.first_slot()?;
        let earliest = self.slots[level * SLOTS + slot].earliest;
        Some(earliest.max(Instant::from_nanos(start << TICK_BITS)))
    }

    /// Armed entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that the wheel takes.
    pub(crate) fn memory(&self) -> usize {
        self.segments.len() * SEGMENT * size_of::<Node>()
            + self.slots.len() * size_of::<Slot>()
            + self.due.capacity() * size_of::<Reverse<(Instant, u64, u32)>>()
    }

    fn is_armed(&self, key: TimerKey) -> bool {
        let index = key.0 as usize;
        let node = self.segments.get(index / SEGMENT).and_then(|s| s.get(index % SEGMENT));
        node.is_some_and(|n| n.place != Place::Free)
    }

    /// The first occupied slot: level, slot and its first tick.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        let slot = self.occupied[level].trailing_zeros();
        let shift = level as u32 * LEVEL_BITS;
        let above = self.tick >> (shift + LEVEL_BITS);
        Some((level, slot as usize, (above << LEVEL_BITS | u64::from(slot)) << shift))
    }

    /// Moves a slot's entries to where they belong now that the wheel stands at the slot's first tick.
    fn spread(&mut self, level: usize, slot: usize) {
        let cell = &mut self.slots[level * SLOTS + slot];
        let mut index = cell.head;
        *cell = EMPTY;
        self.occupied[level] &= !(1 << slot);
        while index != NIL {
            let next = self.node(index).next;
            self.link(index);
            index = next;
        }
    }

    fn place(&mut self, index: u32, at: Instant) {
        let order = self.next_order;
        self.next_order += 1;
        let node = self.node_mut(index);
        node.at = at;
        node.order = order;
        self.link(index);
    }

    fn link(&mut self, index: u32) {
        let (at, order) = (self.node(index).at, self.node(index).order);
        let tick = at.as_nanos() >> TICK_BITS;
        if tick <= self.tick {
            self.node_mut(index).place = Place::Due;
            self.due.push(Reverse((at, order, index)));
            self.due_live += 1;
            return;
        }
        let level = (tick ^ self.tick).ilog2() / LEVEL_BITS;
        let slot = (tick >> (level * LEVEL_BITS)) as usize % SLOTS;
        let level = level as usize;
        self.occupied[level] |= 1 << slot;
        let cell = &mut self.slots[level * SLOTS + slot];
        let before = cell.tail;
        cell.tail = index;
        cell.earliest = cell.earliest.min(at);
        if before == NIL {
            cell.head = index;
        } else {
            self.node_mut(before).next = index;
        }
        let node = self.node_mut(index);
        node.prev = before;
        node.next = NIL;
        node.place = Place::Slot { level: level as u8, slot: slot as u8 };
    }

    fn unlink(&mut self, index: u32) {
        let (prev, next, place) = {
            let node = self.node_mut(index);
            (node.prev, node.next, core::mem::replace(&mut node.place, Place::Free))
        };
        match place {
            Place::Free => {}
            Place::Due => {
                self.due_live -= 1;
                // A new order makes the heap's entry stale.
                self.node_mut(index).order = u64::MAX;
                self.settle_due();
            }
            Place::Slot { level, slot } => {
                if prev != NIL {
                    self.node_mut(prev).next = next;
                }
                if next != NIL {
                    self.node_mut(next).prev = prev;
                }
                let cell = &mut self.slots[usize::from(level) * SLOTS + usize::from(slot)];
                if prev == NIL {
                    cell.head = next;
                }
                if next == NIL {
                    cell.tail = prev;
                }
                if cell.head == NIL {
                    *cell = EMPTY;
                    self.occupied[usize::from(level)] &= !(1 << slot);
                }
            }
        }
    }

    /// Drops stale entries until the heap's first is live, and all of them where they are the greater part.
    fn settle_due(&mut self) {
        if self.due.len() > 2 * self.due_live + SLOTS {
            let mut due = core::mem::take(&mut self.due).into_vec();
            due.retain(|&Reverse((_, order, index))| self.is_live(order, index));
            self.due = due.into();
        }
        while let Some(&Reverse((_, order, index))) = self.due.peek()
            && !self.is_live(order, index)
        {
            self.due.pop();
        }
    }

    fn is_live(&self, order: u64, index: u32) -> bool {
        let node = self.node(index);
        node.place == Place::Due && node.order == order
    }

    fn allocate(&mut self) -> u32 {
        if self.free == NIL {
            let first = (self.segments.len() * SEGMENT) as u32;
            let node = |i: u32| Node {
                at: Instant::ZERO,
                order: u64::MAX,
                token: 0,
                prev: NIL,
                next: if i as usize + 1 == SEGMENT { NIL } else { first + i + 1 },
                place: Place::Free,
            };
            self.segments.push((0..SEGMENT as u32).map(node).collect());
            self.free = first;
        }
        let index = self.free;
        self.free = self.node(index).next;
        index
    }

    fn release(&mut self, index: u32) {
        let free = self.free;
        let node = self.node_mut(index);
        node.place = Place::Free;
        node.order = u64::MAX;
        node.next = free;
        self.free = index;
        self.len -= 1;
    }

    fn node(&self, index: u32) -> &Node {
        &self.segments[index as usize / SEGMENT][index as usize % SEGMENT]
    }

    fn node_mut(&mut self, index: u32) -> &mut Node {
        &mut self.segments[index as usize / SEGMENT][index as usize % SEGMENT]
    }
}
