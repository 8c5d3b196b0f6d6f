//! A hierarchical timing wheel: arming, re-arming and disarming cost the same however many entries stand.
//!
//! A tick is 2^16 ns (65.536 µs). Eight levels of 64 slots cover all of [`Instant`]. An entry's level is that
//! of the highest base-64 digit in which its tick differs from the wheel's, so within a level slots never wrap
//! around, and every entry of a lower level is due before any of a higher one. An entry moves down at most
//! once a level. Entries of the tick that the wheel stands at lie in a heap, which gives them out in order of
//! their exact deadlines and, among equal ones, in the order in which they were armed.
//!
//! Who has an entry is numbered by the caller, small and dense, as the places of a table are: the entry is found by that
//! number and needs no key, no token and no list of free ones, and takes 12 bytes. Whose entries are in a slot stands in
//! chunks of a line of the processor's cache each, in the order in which they came: when the wheel comes to the slot the
//! entries of a chunk are fetched all at once. The place of one that left stays empty until its chunk does.

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

/// No entry, or no chunk.
const NONE: u32 = u32::MAX;
/// In `place`: the entry is off.
const OFF: u32 = u32::MAX;
/// It is in the heap of the present tick; the lower bits are those of its order.
const DUE: u32 = 1 << 31;
const ORDER: u32 = (1 << 30) - 1;

/// The place of an entry that is in the heap.
const fn due_place(order: u64) -> u32 {
    DUE | order as u32 & ORDER
}

/// A deadline, and where its owner stands: a chunk and a place in that.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// In halves, so that a node is no larger than its parts.
    at: [u32; 2],
    place: u32,
}

impl Node {
    const IDLE: Self = Self { at: [u32::MAX; 2], place: OFF };

    const fn at(&self) -> Instant {
        Instant::from_nanos(self.at[0] as u64 | (self.at[1] as u64) << 32)
    }

    const fn set_at(&mut self, at: Instant) {
        self.at = [at.as_nanos() as u32, (at.as_nanos() >> 32) as u32];
    }
}

/// Owners in a chunk.
const PLACES: usize = 13;
/// Bits of a place that say where in its chunk it is.
const PLACE_BITS: u32 = 4;

/// Who has entries in a slot, in the order in which they came there.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Chunk {
    /// The chunks beside it in its slot. Of a free one: `next` is another free one.
    prev: u32,
    next: u32,
    slot: u16,
    /// Places that were given away, and how many of these are not empty again.
    used: u8,
    live: u8,
    owners: [u32; PLACES],
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    head: u32,
    tail: u32,
    /// Not later than any deadline in the slot: exact while nothing was taken out of it.
    earliest: Instant,
}

const EMPTY: Slot = Slot { head: NONE, tail: NONE, earliest: Instant::FAR_FUTURE };

/// What lies in the heap: deadline, order, and who has it.
type Due = Reverse<(Instant, u64, Owner)>;

/// The wheel.
#[derive(Clone, Debug)]
pub(crate) struct Wheel {
    /// The tick that the wheel stands at; entries in slots are all in later ticks.
    tick: u64,
    occupied: [u64; LEVELS],
    slots: Box<[Slot]>,
    chunks: SegmentVec<Chunk>,
    /// The chunk that was freed last.
    free: u32,
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
            chunks: SegmentVec::default(),
            free: NONE,
            due: BinaryHeap::new(),
            fresh: false,
            due_live: 0,
            nodes: Default::default(),
            len: 0,
            next_order: 0,
        }
    }

    /// Arms the owner's entry, or moves it to another deadline, before `FAR_FUTURE`; among equal deadlines it comes last. One
    /// that has passed is due at once.
    pub(crate) fn arm(&mut self, owner: Owner, at: Instant) {
        let nodes = &mut self.nodes[usize::from(owner.is_embryo())];
        while nodes.len() <= owner.index() as usize {
            nodes.push(Node::IDLE);
        }
        if self.node(owner).place == OFF {
            self.len += 1;
        } else {
            self.unlink(owner);
        }
        self.node_mut(owner).set_at(at);
        self.link(owner);
    }

    /// Moves an armed entry to a later deadline, `FAR_FUTURE` for none: where it stands it stays until the wheel comes there, so
    /// that nothing but the entry itself is touched. Among equal deadlines it comes anywhere.
    #[inline]
    pub(crate) fn defer(&mut self, owner: Owner, at: Instant) {
        debug_assert!(self.is_armed(owner));
        self.node_mut(owner).set_at(at);
    }

    /// Disarms it; nothing where it is off.
    pub(crate) fn disarm(&mut self, owner: Owner) {
        if self.is_armed(owner) {
            self.unlink(owner);
            self.node_mut(owner).place = OFF;
            self.len -= 1;
        }
    }

    /// Whether the owner's entry is armed.
    pub(crate) fn is_armed(&self, owner: Owner) -> bool {
        let node = self.nodes[usize::from(owner.is_embryo())].get(owner.index() as usize);
        node.is_some_and(|node| node.place != OFF)
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
                let deferred = self.node(owner).at() > at;
                if deferred {
                    self.link(owner);
                } else {
                    self.node_mut(owner).place = OFF;
                    self.len -= 1;
                }
                self.settle_due();
                if deferred {
                    continue;
                }
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
            + self.chunks.memory()
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
        let mut id = core::mem::replace(&mut self.slots[level * SLOTS + slot], EMPTY).head;
        self.occupied[level] &= !(1 << slot);
        self.fresh = true;
        self.prefetch_owners(id);
        while id != NONE {
            let chunk = self.chunks[id];
            self.prefetch_owners(chunk.next);
            self.free(id);
            for &owner in chunk.owners.iter().take(usize::from(chunk.used)).filter(|&&owner| owner != NONE) {
                self.link(Owner(owner));
            }
            id = chunk.next;
        }
    }

    /// Has the entries fetched that a chunk names, and the chunk behind it.
    fn prefetch_owners(&self, id: u32) {
        let Some(chunk) = self.chunks.get(id as usize) else { return };
        if let Some(next) = self.chunks.get(chunk.next as usize) {
            finack_sum::prefetch(next);
        }
        for &owner in chunk.owners.iter().take(usize::from(chunk.used)).filter(|&&owner| owner != NONE) {
            finack_sum::prefetch(self.node(Owner(owner)));
        }
    }

    fn link(&mut self, owner: Owner) {
        let at = self.node(owner).at();
        if at == Instant::FAR_FUTURE {
            self.node_mut(owner).place = OFF;
            self.len -= 1;
            return;
        }
        let tick = at.as_nanos() >> TICK_BITS;
        if tick <= self.tick {
            let order = self.next_order;
            self.next_order += 1;
            self.node_mut(owner).place = due_place(order);
            self.due.push(Reverse((at, order, owner)));
            self.due_live += 1;
            return;
        }
        let level = (tick ^ self.tick).ilog2() / LEVEL_BITS;
        let slot = (tick >> (level * LEVEL_BITS)) as usize % SLOTS;
        self.occupied[level as usize] |= 1 << slot;
        let slot = level as usize * SLOTS + slot;
        let cell = &mut self.slots[slot];
        cell.earliest = cell.earliest.min(at);
        let mut id = cell.tail;
        if id == NONE || usize::from(self.chunks[id].used) == PLACES {
            id = self.append(slot);
        }
        let chunk = &mut self.chunks[id];
        let place = id << PLACE_BITS | u32::from(chunk.used);
        chunk.owners[usize::from(chunk.used)] = owner.0;
        chunk.used += 1;
        chunk.live += 1;
        self.node_mut(owner).place = place;
    }

    /// Takes the entry out of where it is; its `place` is the caller's to set.
    fn unlink(&mut self, owner: Owner) {
        let place = self.node(owner).place;
        if place & DUE != 0 {
            // What the heap has of it is stale now.
            self.node_mut(owner).place = OFF;
            self.due_live -= 1;
            return self.settle_due();
        }
        let id = place >> PLACE_BITS;
        let chunk = &mut self.chunks[id];
        chunk.owners[(place % (1 << PLACE_BITS)) as usize] = NONE;
        chunk.live -= 1;
        if chunk.live == 0 {
            return self.take_out(id);
        }
        while chunk.used > 0 && chunk.owners[usize::from(chunk.used) - 1] == NONE {
            chunk.used -= 1;
        }
    }

    /// An empty chunk at the end of a slot.
    fn append(&mut self, slot: usize) -> u32 {
        let cell = &mut self.slots[slot];
        let chunk = Chunk {
            prev: cell.tail,
            next: NONE,
            slot: slot as u16,
            used: 0,
            live: 0,
            owners: [NONE; PLACES],
        };
        let id = if self.free == NONE {
            self.chunks.push(chunk);
            self.chunks.len() as u32 - 1
        } else {
            let id = self.free;
            self.free = core::mem::replace(&mut self.chunks[id], chunk).next;
            id
        };
        match core::mem::replace(&mut cell.tail, id) {
            NONE => cell.head = id,
            before => self.chunks[before].next = id,
        }
        id
    }

    /// Takes a chunk without entries out of its slot.
    fn take_out(&mut self, id: u32) {
        let Chunk { prev, next, slot, .. } = self.chunks[id];
        let cell = &mut self.slots[usize::from(slot)];
        match prev {
            NONE => cell.head = next,
            prev => self.chunks[prev].next = next,
        }
        match next {
            NONE => cell.tail = prev,
            next => self.chunks[next].prev = prev,
        }
        if cell.head == NONE {
            *cell = EMPTY;
            self.occupied[usize::from(slot) / SLOTS] &= !(1 << (slot as usize % SLOTS));
        }
        self.free(id);
    }

    fn free(&mut self, id: u32) {
        self.chunks[id].next = self.free;
        self.free = id;
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
        self.node(owner).place == due_place(order)
    }

    fn node(&self, owner: Owner) -> &Node {
        &self.nodes[usize::from(owner.is_embryo())][owner.index()]
    }

    fn node_mut(&mut self, owner: Owner) -> &mut Node {
        &mut self.nodes[usize::from(owner.is_embryo())][owner.index()]
    }
}
