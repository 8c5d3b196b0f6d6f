//! The reassembly queue: segments that came before those in front of them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::queue::{Chunk, Payload};
use crate::pool::Pool;
use crate::tcp::seq::Pos;

/// What a stored segment costs beside its bytes, so that a flood of one-byte segments meets the limit.
const OVERHEAD: usize = 512;

/// Blocks remembered for SACK options; an option holds at most four (RFC 2018 3).
const BLOCKS: usize = 4;

/// What became of a segment's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// It was the next in order.
    InOrder,
    /// It was the next in order, and what waited behind it followed.
    FilledGap,
    /// It waits for what is missing before it.
    OutOfOrder,
    /// All of it was there already.
    Duplicate,
    /// No room.
    NoRoom,
}

/// Adds `start..end` to a run of what was here already, where it touches; only one can be told of (RFC 2883 4).
pub(super) fn extend(run: &mut Option<(Pos, Pos)>, start: Pos, end: Pos) {
    *run = match *run {
        None => Some((start, end)),
        Some((s, e)) if start <= e && s <= end => Some((s.min(start), e.max(end))),
        other => other,
    };
}

/// Present only while something is missing.
#[derive(Clone, Debug, Default)]
pub(super) struct Reorder {
    chunks: BTreeMap<Pos, Chunk>,
    cost: usize,
    bytes: usize,
    /// Ranges, the most recently changed first (RFC 2018 4).
    blocks: Vec<(Pos, Pos)>,
}

impl Reorder {
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What keeping the bytes costs beside them.
    pub(super) const fn overhead(&self) -> usize {
        self.cost.saturating_sub(self.bytes)
    }

    pub(super) fn blocks(&self) -> &[(Pos, Pos)] {
        &self.blocks
    }

    /// Stores what of the payload is new. What is there already stays: the first copy counts.
    pub(super) fn insert(
        &mut self,
        pool: &mut Pool,
        pos: Pos,
        payload: Payload<'_>,
        limit: usize,
        duplicate: &mut Option<(Pos, Pos)>,
    ) -> Inserted {
        let end = pos + payload.bytes.len() as Pos;
        self.note_overlap(pos, end, duplicate);
        let mut at = pos;
        let mut stored = false;
        if let Some((&start, chunk)) = self.chunks.range(..=pos).next_back() {
            at = at.max(start + chunk.as_slice().len() as Pos);
        }
        while at < end {
            let next = self.chunks.range(at..).next().map_or(Pos::MAX, |(&start, _)| start);
            let upto = end.min(next);
            if upto > at {
                let piece = payload.trim((at - pos) as usize, (upto - at) as usize);
                if !self.store(pool, at, piece, limit) {
                    return if stored { Inserted::OutOfOrder } else { Inserted::NoRoom };
                }
                self.report(at, upto);
                stored = true;
            }
            at = match self.chunks.range(upto..).next() {
                Some((&start, chunk)) if start == upto => start + chunk.as_slice().len() as Pos,
                _ => upto,
            };
        }
        if stored {
            return Inserted::OutOfOrder;
        }
        self.report(pos, end);
        Inserted::Duplicate
    }

    /// What of `start..end` is here already, as far as it is one run.
    fn note_overlap(&self, start: Pos, end: Pos, duplicate: &mut Option<(Pos, Pos)>) {
        let before = self.chunks.range(..start).next_back();
        for (&at, chunk) in before.into_iter().chain(self.chunks.range(start..end)) {
            let upto = at + chunk.as_slice().len() as Pos;
            if upto > start {
                extend(duplicate, at.max(start), upto.min(end));
            }
        }
    }

    fn store(&mut self, pool: &mut Pool, at: Pos, piece: Payload<'_>, limit: usize) -> bool {
        if let Some((&start, chunk)) = self.chunks.range_mut(..at).next_back()
            && start + chunk.as_slice().len() as Pos == at
            && chunk.append(piece.bytes)
        {
            self.bytes += piece.bytes.len();
            return true;
        }
        let chunk = Chunk::keep(piece, pool);
        let cost = chunk.memory() + OVERHEAD;
        if self.cost + cost > limit {
            chunk.give_back(pool);
            return false;
        }
        self.cost += cost;
        self.bytes += piece.bytes.len();
        self.chunks.insert(at, chunk);
        true
    }

    /// Puts the range first in the list of blocks, joined with those that it touches.
    fn report(&mut self, start: Pos, end: Pos) {
        let mut joined = (start, end);
        self.blocks.retain(|&(s, e)| {
            let touches = s <= joined.1 && joined.0 <= e;
            if touches {
                joined = (s.min(joined.0), e.max(joined.1));
            }
            !touches
        });
        self.blocks.insert(0, joined);
        self.blocks.truncate(BLOCKS);
    }

    /// Takes out the first chunk if it begins at or before `next`.
    pub(super) fn pop_reached(&mut self, next: Pos) -> Option<(Pos, Chunk)> {
        let entry = self.chunks.first_entry()?;
        if *entry.key() > next {
            return None;
        }
        let (start, chunk) = entry.remove_entry();
        self.cost = self.cost.saturating_sub(chunk.memory() + OVERHEAD);
        self.bytes = self.bytes.saturating_sub(chunk.as_slice().len());
        Some((start, chunk))
    }

    /// Forgets blocks that have become in order.
    pub(super) fn reached(&mut self, next: Pos) {
        self.blocks.retain(|&(start, _)| start > next);
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.cost
    }
}
