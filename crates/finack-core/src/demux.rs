//! Four-tuple → slot in O(1), whatever the number of connections.
//!
//! A linear-hashing index: it grows by splitting one bucket at a time, so that no insertion ever
//! pays for the whole table. Entries with equal buckets are chained; each node keeps its hash, so
//! that a chain is walked without touching the records it does not mean.

use crate::slab::SegmentVec;

/// What a slot of the index names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    Connection = 0,
    Embryo = 1,
    TimeWait4 = 2,
    TimeWait6 = 3,
}

const KINDS: usize = 4;
const INDEX_BITS: u32 = 29;
const EMPTY: u32 = u32::MAX;

/// A kind and an index into its slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u32);

impl Slot {
    pub(crate) const fn new(kind: Kind, index: u32) -> Self {
        Self((kind as u32) << INDEX_BITS | index)
    }

    pub(crate) const fn kind(self) -> Kind {
        match self.0 >> INDEX_BITS {
            0 => Kind::Connection,
            1 => Kind::Embryo,
            2 => Kind::TimeWait4,
            _ => Kind::TimeWait6,
        }
    }

    pub(crate) const fn index(self) -> u32 {
        self.0 & ((1 << INDEX_BITS) - 1)
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    next: u32,
    hash: u32,
}

/// The index.
#[derive(Clone, Debug)]
pub(crate) struct Demux {
    heads: SegmentVec<u32>,
    nodes: [SegmentVec<Node>; KINDS],
    /// Buckets below this were already split in the present round.
    split: u32,
    /// Buckets at the start of the present round, a power of two.
    round: u32,
    len: usize,
}

const FIRST_BUCKETS: u32 = 16;

impl Demux {
    pub(crate) fn new() -> Self {
        let mut heads = SegmentVec::default();
        for _ in 0..FIRST_BUCKETS {
            heads.push(EMPTY);
        }
        Self { heads, nodes: Default::default(), split: 0, round: FIRST_BUCKETS, len: 0 }
    }

    const fn bucket(&self, hash: u32) -> u32 {
        let low = hash & (self.round - 1);
        if low < self.split { hash & (self.round * 2 - 1) } else { low }
    }

    fn node(&self, slot: Slot) -> Node {
        self.nodes[slot.kind() as usize][slot.index()]
    }

    fn node_mut(&mut self, slot: Slot) -> &mut Node {
        &mut self.nodes[slot.kind() as usize][slot.index()]
    }

    /// Looks at where a search for this hash will begin, so that the processor fetches it.
    pub(crate) fn touch(&self, hash: u64) -> u64 {
        u64::from(self.heads[self.bucket(hash as u32)])
    }

    /// The first slot with this hash of which `matches` says yes.
    pub(crate) fn find(&self, hash: u64, mut matches: impl FnMut(Slot) -> bool) -> Option<Slot> {
        let hash = hash as u32;
        let mut at = self.heads[self.bucket(hash)];
        while at != EMPTY {
            let slot = Slot(at);
            let node = self.node(slot);
            if node.hash == hash && matches(slot) {
                return Some(slot);
            }
            at = node.next;
        }
        None
    }

    /// Adds a slot that is not in the index.
    pub(crate) fn insert(&mut self, hash: u64, slot: Slot) {
        let hash = hash as u32;
        let bucket = self.bucket(hash);
        let node = Node { next: self.heads[bucket], hash };
        let nodes = &mut self.nodes[slot.kind() as usize];
        while nodes.len() <= slot.index() as usize {
            nodes.push(Node { next: EMPTY, hash: 0 });
        }
        nodes[slot.index()] = node;
        self.heads[bucket] = slot.0;
        self.len += 1;
        if self.len > self.heads.len() {
            self.split_one();
        }
    }

    /// Takes a slot out; one that is not in the index is left alone.
    pub(crate) fn remove(&mut self, slot: Slot) -> bool {
        let Some(node) = self.nodes[slot.kind() as usize].get(slot.index() as usize).copied() else {
            return false;
        };
        let bucket = self.bucket(node.hash);
        let mut at = self.heads[bucket];
        let mut previous = None;
        while at != EMPTY {
            let here = Slot(at);
            let next = self.node(here).next;
            if here == slot {
                match previous {
                    None => self.heads[bucket] = next,
                    Some(p) => self.node_mut(p).next = next,
                }
                self.len -= 1;
                return true;
            }
            previous = Some(here);
            at = next;
        }
        false
    }

    fn split_one(&mut self) {
        let old = self.split;
        self.heads.push(EMPTY);
        let new = old + self.round;
        self.split += 1;
        if self.split == self.round {
            self.round *= 2;
            self.split = 0;
        }
        let mut at = core::mem::replace(&mut self.heads[old], EMPTY);
        while at != EMPTY {
            let slot = Slot(at);
            let node = self.node(slot);
            let to = self.bucket(node.hash);
            debug_assert!(to == old || to == new);
            let head = core::mem::replace(&mut self.heads[to], at);
            self.node_mut(slot).next = head;
            at = node.next;
        }
    }

    /// Slots in the index.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn memory(&self) -> usize {
        self.heads.memory() + self.nodes.iter().map(SegmentVec::memory).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(i: u32) -> u64 {
        u64::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 17
    }

    #[test]
    fn every_entry_is_found_while_the_index_grows_and_after_removals() {
        let mut demux = Demux::new();
        for i in 0..5_000 {
            demux.insert(hash(i), Slot::new(Kind::Connection, i));
        }
        for i in (0..5_000).step_by(3) {
            assert!(demux.remove(Slot::new(Kind::Connection, i)));
            assert!(!demux.remove(Slot::new(Kind::Connection, i)));
        }
        for i in 0..5_000 {
            let slot = Slot::new(Kind::Connection, i);
            assert_eq!(demux.find(hash(i), |s| s == slot).is_some(), i % 3 != 0, "entry {i}");
        }
        assert_eq!(demux.len(), 5_000 - 1_667);
    }

    #[test]
    fn chains_stay_short() {
        let mut demux = Demux::new();
        for i in 0..10_000 {
            demux.insert(hash(i), Slot::new(Kind::TimeWait4, i));
        }
        let mut visited = 0;
        for i in 0..10_000 {
            let slot = Slot::new(Kind::TimeWait4, i);
            demux.find(hash(i), |s| {
                visited += 1;
                s == slot
            });
        }
        assert!(visited < 10_100, "records touched: {visited}");
    }

    #[test]
    fn kinds_with_equal_indexes_are_told_apart() {
        let mut demux = Demux::new();
        for kind in [Kind::Connection, Kind::Embryo, Kind::TimeWait4, Kind::TimeWait6] {
            demux.insert(7, Slot::new(kind, 3));
        }
        let found = demux.find(7, |s| s.kind() == Kind::TimeWait4);
        assert_eq!(found, Some(Slot::new(Kind::TimeWait4, 3)));
    }
}
