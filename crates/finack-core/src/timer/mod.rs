//! A hierarchical timing wheel: arming, re-arming and disarming cost the same however many entries stand.
//!
//! A tick is 2^16 ns (65.536 µs). Eight levels of 64 slots cover all of [`Instant`]. An entry's level is that
//! of the highest base-64 digit in which its tick differs from the wheel's, so within a level slots never wrap
//! around, and every entry of a lower level is due before any of a higher one. An entry moves down at most
//! once a level. Entries of the tick that the wheel stands at lie in a heap, which gives them out in order of
//! their exact deadlines and, among equal ones, in the order in which they were armed.
//!
//! Who has an entry is numbered by the caller, small and dense, as the places of a table are: the entry is found by that
//! number and needs no key, no token and no list of free ones, and takes 16 bytes. An armed entry is in the list of a slot,
//! linked both ways; the ends of a list name their slot.

use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use crate::slab::SegmentVec;
use crate::time::Instant;

#[cfg(test)]
mod tests;

const TICK_BITS: u32 = 16;
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 8;

/// Who has an entry: one of two kinds, and its place in the table of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner(u32);

const KIND: u32 = 1 << 29;

impl Owner {
    pub(crate) const fn connection(index: u32) -> Self {
        Self(index)
    }

    pub(crate) const fn embryo(index: u32) -> Self {
        Self(KIND | index)
    }

    pub(crate) const fn is_embryo(self) -> bool {
        self.0 & KIND != 0
    }

    pub(crate) const fn index(self) -> u32 {
        self.0 & (KIND - 1)
    }
}

/// What stands beside an entry in its list: another entry, or the end of the list, which names the slot.
const END: u32 = 1 << 31;
/// In `prev`: the entry is off, or in the heap of the present tick, where `next` is the lower half of its order.
const OFF: u32 = u32::MAX;
const DUE: u32 = u32::MAX - 1;

#[derive(Clone, Copy, Debug)]
struct Node {
    at: Instant,
    prev: u32,
    next: u32,
}

const IDLE: Node = Node { at: Instant::FAR_FUTURE, prev: OFF, next: OFF };

#[derive(Clone, Copy, Debug)]
struct Slot {
    head: u32,
    tail: u32,
    /// Not later than any deadline in the slot: exact while nothing was taken out of it.
    earliest: Instant,
}

const EMPTY: Slot = Slot { head: OFF, tail: OFF, earliest: Instant::FAR_FUTURE };

/// What lies in the heap: deadline, order, and who has it.
type Due = Reverse<(Instant, u64, Owner)>;

/// The wheel.
#[derive(Clone, Debug)]
pub(crate) struct Wheel {
    /// The tick that the wheel stands at; entries in slots are all in later ticks.
    tick: u64,
    occupied: [u64; LEVELS],
    slots: Box<[Slot]>,
    /// Each entry comes into it once it is due within a tick. Entries that were moved meanwhile stay as stale ones.
    due: BinaryHeap<Due>,
    /// Some came into it when the wheel turned.
    fresh: bool,
    /// How many of `due` are live.
    due_live: usize,
    /// Of connections and of embryos.
    nodes: [SegmentVec<Node>; 2],
    len: usize,
    /// Unique for each that comes into the heap: tells a live entry from a stale one, and orders equal deadlines.
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
            fresh: false,
            due_live: 0,
            nodes: Default::default(),
            len: 0,
            next_order: 0,
        }
    }

    /// Arms the owner's entry, or moves it to another deadline; among equal deadlines it comes last. One that has passed is
    /// due at once.
    pub(crate) fn arm(&mut self, owner: Owner, at: Instant) {
        let nodes = &mut self.nodes[usize::from(owner.is_embryo())];
        while nodes.len() <= owner.index() as usize {
            nodes.push(IDLE);
        }
        if self.node(owner.0).prev == OFF {
            self.len += 1;
        } else {
            self.unlink(owner);
        }
        self.node_mut(owner.0).at = at;
        self.link(owner);
    }

    /// Disarms it; nothing where it is off.
    pub(crate) fn disarm(&mut self, owner: Owner) {
        if self.is_armed(owner) {
            self.unlink(owner);
            self.len -= 1;
        }
    }

    /// Whether the owner's entry is armed.
    pub(crate) fn is_armed(&self, owner: Owner) -> bool {
        let node = self.nodes[usize::from(owner.is_embryo())].get(owner.index() as usize);
        node.is_some_and(|node| node.prev != OFF)
    }

    /// Takes out the first entry that is due at `now`: whose it is and its deadline. Entries come in order of
    /// their deadlines, equal ones in the order of arming; none comes before its deadline.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Owner, Instant)> {
        let target = now.as_nanos() >> TICK_BITS;
        loop {
            if let Some(&Reverse((at, _, owner))) = self.due.peek() {
                if at > now {
                    return None;
                }
                self.due.pop();
                self.due_live -= 1;
                self.node_mut(owner.0).prev = OFF;
                self.len -= 1;
                self.settle_due();
                return Some((owner, at));
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

    /// Whether entries have come within a tick of their deadlines since the last question.
    pub(crate) fn take_fresh(&mut self) -> bool {
        core::mem::take(&mut self.fresh)
    }

    /// Who has an entry that is due within a tick, or had one, in no particular order.
    pub(crate) fn due(&self) -> impl Iterator<Item = Owner> {
        self.due.iter().map(|&Reverse((.., owner))| owner)
    }

    /// Has an owner's entry fetched, for somebody who may soon move it.
    #[inline]
    pub(crate) fn prefetch(&self, owner: Owner) {
        if let Some(node) = self.nodes[usize::from(owner.is_embryo())].get(owner.index() as usize) {
            finack_sum::prefetch(node);
        }
    }

    /// Armed entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that the wheel takes.
    pub(crate) fn memory(&self) -> usize {
        self.nodes.iter().map(SegmentVec::memory).sum::<usize>()
            + self.slots.len() * size_of::<Slot>()
            + self.due.capacity() * size_of::<Due>()
    }

    /// The first occupied slot: level, slot and its first tick.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        let slot = self.occupied[level].trailing_zeros();
        let shift = level as u32 * LEVEL_BITS;
        let above = self.tick >> (shift + LEVEL_BITS);
        Some((level, slot as usize, (above << LEVEL_BITS | u64::from(slot)) << shift))
    }

    /// Moves a slot's entries to where they belong now that the wheel stands at the slot's first tick. Their order stays.
    fn spread(&mut self, level: usize, slot: usize) {
        let cell = &mut self.slots[level * SLOTS + slot];
        let mut id = cell.head;
        *cell = EMPTY;
        self.occupied[level] &= !(1 << slot);
        self.fresh = true;
        while id & END == 0 {
            let next = self.node(id).next;
            if next & END == 0 {
                finack_sum::prefetch(self.node(next));
            }
            self.link(Owner(id));
            id = next;
        }
    }

    fn link(&mut self, owner: Owner) {
        let at = self.node(owner.0).at;
        let tick = at.as_nanos() >> TICK_BITS;
        if tick <= self.tick {
            let order = self.next_order;
            self.next_order += 1;
            *self.node_mut(owner.0) = Node { at, prev: DUE, next: order as u32 };
            self.due.push(Reverse((at, order, owner)));
            self.due_live += 1;
            return;
        }
        let level = (tick ^ self.tick).ilog2() / LEVEL_BITS;
        let slot = (tick >> (level * LEVEL_BITS)) as usize % SLOTS;
        self.occupied[level as usize] |= 1 << slot;
        let place = level as usize * SLOTS + slot;
        let end = END | place as u32;
        let cell = &mut self.slots[place];
        let before = core::mem::replace(&mut cell.tail, owner.0);
        cell.earliest = cell.earliest.min(at);
        if before == OFF {
            cell.head = owner.0;
        } else {
            self.node_mut(before).next = owner.0;
        }
        let prev = if before == OFF { end } else { before };
        *self.node_mut(owner.0) = Node { at, prev, next: end };
    }

    fn unlink(&mut self, owner: Owner) {
        let node = self.node_mut(owner.0);
        let (prev, next) = (core::mem::replace(&mut node.prev, OFF), node.next);
        if prev == DUE {
            // What the heap has of it is stale now.
            self.due_live -= 1;
            return self.settle_due();
        }
        match (prev & END != 0, next & END != 0) {
            (true, true) => {
                let place = (prev & !END) as usize;
                self.slots[place] = EMPTY;
                self.occupied[place / SLOTS] &= !(1 << (place % SLOTS));
            }
            (true, false) => {
                self.slots[(prev & !END) as usize].head = next;
                self.node_mut(next).prev = prev;
            }
            (false, true) => {
                self.slots[(next & !END) as usize].tail = prev;
                self.node_mut(prev).next = next;
            }
            (false, false) => {
                self.node_mut(prev).next = next;
                self.node_mut(next).prev = prev;
            }
        }
    }

    /// Drops stale entries until the heap's first is live, and all of them where they are the greater part.
    fn settle_due(&mut self) {
        if self.due.len() > 2 * self.due_live + SLOTS {
            let mut due = core::mem::take(&mut self.due).into_vec();
            due.retain(|&Reverse((_, order, owner))| self.is_live(order, owner));
            self.due = due.into();
        }
        while let Some(&Reverse((_, order, owner))) = self.due.peek()
            && !self.is_live(order, owner)
        {
            self.due.pop();
        }
    }

    fn is_live(&self, order: u64, owner: Owner) -> bool {
        let node = self.node(owner.0);
        node.prev == DUE && node.next == order as u32
    }

    fn node(&self, id: u32) -> &Node {
        &self.nodes[usize::from(id & KIND != 0)][id & (KIND - 1)]
    }

    fn node_mut(&mut self, id: u32) -> &mut Node {
        &mut self.nodes[usize::from(id & KIND != 0)][id & (KIND - 1)]
    }
}
