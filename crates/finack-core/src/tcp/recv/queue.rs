//! What was received in order and not yet read.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;
use finack_sum::{Accumulator, append_and_sum};

use super::reorder::{Inserted, Reorder, extend};
use crate::device::MAX_SLICES;
use crate::pool::{Pool, SMALL};
use crate::ring::Ring;
use crate::tcp::seq::Pos;

/// From this size on a shared packet is kept as it is; a smaller one would pin more memory than it fills.
const KEEP_SHARED: usize = 16 << 10;

/// Payload of a received segment: lent bytes, and their owner where they may be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) owner: Option<&'a Bytes>,
}

impl Payload<'_> {
    /// Whether it stays where it is until it is read, instead of being copied.
    pub(crate) fn is_kept_whole(&self) -> bool {
        self.owner.is_some() && self.bytes.len() >= KEEP_SHARED
    }

    /// Without the first `front` bytes and at most `len` of the rest.
    pub(crate) fn trim(self, front: usize, len: usize) -> Self {
        let rest = self.bytes.get(front..).unwrap_or_default();
        Self { bytes: &rest[..len.min(rest.len())], owner: self.owner }
    }
}

/// Bytes that stay until they are read.
#[derive(Clone, Debug)]
pub(crate) enum Chunk {
    Compact(Vec<u8>),
    Shared(Bytes),
}

impl Chunk {
    pub(super) fn keep(payload: Payload<'_>, pool: &mut Pool) -> Self {
        match payload.owner {
            Some(owner) if payload.is_kept_whole() => Self::Shared(owner.slice_ref(payload.bytes)),
            _ => {
                let mut block = pool.take(payload.bytes.len());
                if block.capacity() < payload.bytes.len() {
                    block = Vec::with_capacity(payload.bytes.len());
                }
                block.extend_from_slice(payload.bytes);
                Self::Compact(block)
            }
        }
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Compact(block) => block,
            Self::Shared(bytes) => bytes,
        }
    }

    /// Appends `bytes` if the chunk has room of its own for them.
    #[inline]
    pub(super) fn append(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::Compact(block) if block.capacity() - block.len() >= bytes.len() => {
                block.extend_from_slice(bytes);
                true
            }
            _ => false,
        }
    }

    /// Forgets what is in it, if it is a small block that the next bytes may as well stand in.
    fn empty(&mut self) -> bool {
        match self {
            Self::Compact(block) if block.capacity() == SMALL => {
                block.clear();
                true
            }
            _ => false,
        }
    }

    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Compact(block) => block.capacity(),
            Self::Shared(bytes) => bytes.len(),
        }
    }

    pub(super) fn give_back(self, pool: &mut Pool) {
        if let Self::Compact(block) = self {
            pool.give(block);
        }
    }
}

/// The receive queue of a connection.
#[derive(Clone, Debug)]
pub(crate) struct RecvQueue {
    /// RCV.NXT, the FIN not counted.
    next: Pos,
    /// The next byte that the application reads.
    read: Pos,
    chunks: Ring<Chunk>,
    /// Bytes of the first chunk that were read.
    head: u32,
    /// Bytes at the end of the last chunks that were copied there before anybody knew whether they may stay.
    staged: u32,
    /// Present only while something is missing.
    reorder: Option<Box<Reorder>>,
}

impl RecvQueue {
    /// Empty; the first byte will stand at `start`.
    pub(crate) const fn new(start: Pos) -> Self {
        Self { next: start, read: start, chunks: Ring::new(), head: 0, staged: 0, reorder: None }
    }

    pub(crate) const fn next(&self) -> Pos {
        self.next
    }

    pub(crate) const fn read_pos(&self) -> Pos {
        self.read
    }

    /// Bytes that can be read.
    pub(crate) const fn len(&self) -> usize {
        (self.next - self.read) as usize
    }

    /// Bytes that are here, in order or not.
    pub(crate) fn held(&self) -> usize {
        self.len() + self.reorder.as_ref().map_or(0, |r| r.bytes())
    }

    pub(crate) fn has_gap(&self) -> bool {
        self.reorder.is_some()
    }

    /// What came before its time, most recently changed first.
    pub(crate) fn sack_blocks(&self) -> &[(Pos, Pos)] {
        self.reorder.as_ref().map_or(&[], |r| r.blocks())
    }

    /// Takes a segment's payload that begins at `pos` and lies within the window; `limit` bounds the memory
    /// of what is out of order, in bytes. `duplicate` gets what of it was here already: the first run of it.
    pub(crate) fn insert(
        &mut self,
        pool: &mut Pool,
        pos: Pos,
        payload: Payload<'_>,
        limit: usize,
        duplicate: &mut Option<(Pos, Pos)>,
    ) -> Inserted {
        let end = pos + payload.bytes.len() as Pos;
        if self.staged > 0 && pos != self.next {
            self.unstage(pool);
        }
        if end <= self.next {
            extend(duplicate, pos, end);
            return Inserted::Duplicate;
        }
        if pos > self.next {
            let reorder = self.reorder.get_or_insert_default();
            return reorder.insert(pool, pos, payload, limit, duplicate);
        }
        let skip = (self.next - pos) as usize;
        if skip > 0 {
            extend(duplicate, pos, self.next);
        }
        self.append(pool, payload.trim(skip, usize::MAX));
        let filled = self.drain_reorder(pool, duplicate);
        if filled { Inserted::FilledGap } else { Inserted::InOrder }
    }

    /// Takes what is next in order.
    #[inline]
    pub(crate) fn append(&mut self, pool: &mut Pool, payload: Payload<'_>) {
        if self.staged > 0 {
            if self.staged as usize == payload.bytes.len() {
                // It was copied when its checksum was verified.
                self.staged = 0;
                self.next += payload.bytes.len() as Pos;
                return;
            }
            self.unstage(pool);
        }
        self.next += payload.bytes.len() as Pos;
        if payload.is_kept_whole() {
            let chunk = Chunk::keep(payload, pool);
            self.push_whole(pool, chunk);
            return;
        }
        self.chunks.wake(&mut pool.chunks);
        if let Some(last) = self.chunks.back_mut()
            && last.append(payload.bytes)
        {
            return;
        }
        let queued = self.len();
        self.fill(pool, queued, payload.bytes, |block, bytes| block.extend_from_slice(bytes));
    }

    /// Puts a chunk behind the last one as it is.
    fn push_whole(&mut self, pool: &mut Pool, chunk: Chunk) {
        self.chunks.wake(&mut pool.chunks);
        self.drop_spare_block(pool);
        self.chunks.push_back(chunk);
    }

    /// Gives the block back that an empty queue woke up with: what comes needs another.
    fn drop_spare_block(&mut self, pool: &mut Pool) {
        if self.chunks.front().is_some_and(|chunk| chunk.as_slice().is_empty())
            && let Some(chunk) = self.chunks.pop_front()
        {
            chunk.give_back(pool);
        }
    }

    /// Copies bytes behind the last chunk, and to new ones where it has no room. `copy` appends to a block what fits it.
    fn fill(
        &mut self,
        pool: &mut Pool,
        queued: usize,
        mut bytes: &[u8],
        mut copy: impl FnMut(&mut Vec<u8>, &[u8]),
    ) {
        self.chunks.wake(&mut pool.chunks);
        if queued > SMALL {
            self.drop_spare_block(pool);
        }
        while !bytes.is_empty() {
            if let Some(Chunk::Compact(block)) = self.chunks.back_mut() {
                let (now, later) = bytes.split_at((block.capacity() - block.len()).min(bytes.len()));
                copy(block, now);
                bytes = later;
            }
            if !bytes.is_empty() {
                // A reader that lags behind gets large blocks, so that small segments share them.
                self.chunks.push_back(Chunk::Compact(pool.take(queued)));
            }
        }
    }

    /// Copies the payload of a segment that begins at [`next`](Self::next) to where [`insert`](Self::insert) would copy it, and
    /// adds it to `sum`: one pass over its bytes for both. To readers it is not there until `insert` is given the same payload,
    /// which then need not copy it; [`unstage`](Self::unstage) forgets it. Not while something is missing.
    pub(crate) fn stage(&mut self, pool: &mut Pool, bytes: &[u8], sum: &mut Accumulator) {
        debug_assert!(self.staged == 0 && self.reorder.is_none());
        self.staged = bytes.len() as u32;
        let queued = self.len() + bytes.len();
        self.fill(pool, queued, bytes, |block, bytes| sum.add_sum(append_and_sum(block, bytes), bytes.len()));
    }

    /// Appends the payload of a segment if with `ahead` its sum comes to all ones, in one pass over its bytes; answers whether it
    /// does. `None`, and nothing is done, where the last block has no room for all of it.
    #[inline]
    pub(crate) fn append_sound(&mut self, bytes: &[u8], mut ahead: Accumulator) -> Option<bool> {
        debug_assert!(self.staged == 0 && self.reorder.is_none());
        let Some(Chunk::Compact(block)) = self.chunks.back_mut() else { return None };
        let before = block.len();
        if block.capacity() - before < bytes.len() {
            return None;
        }
        ahead.add_sum(append_and_sum(block, bytes), bytes.len());
        let sound = ahead.folded() == 0xffff;
        if sound {
            self.next += bytes.len() as Pos;
        } else {
            block.truncate(before);
        }
        Some(sound)
    }

    /// Forgets what was staged and is still.
    pub(crate) fn unstage(&mut self, pool: &mut Pool) {
        let mut surplus = core::mem::take(&mut self.staged) as usize;
        while surplus > 0
            && let Some(Chunk::Compact(block)) = self.chunks.back_mut()
        {
            let kept = block.len().saturating_sub(surplus);
            surplus -= block.len() - kept;
            block.truncate(kept);
            if kept == 0
                && let Some(chunk) = self.chunks.pop_back()
            {
                chunk.give_back(pool);
            }
        }
        self.chunks.rest(&mut pool.chunks);
    }

    /// Moves what has become in order; answers whether anything did.
    fn drain_reorder(&mut self, pool: &mut Pool, duplicate: &mut Option<(Pos, Pos)>) -> bool {
        let Some(mut reorder) = self.reorder.take() else { return false };
        let before = self.next;
        while let Some((start, chunk)) = reorder.pop_reached(self.next) {
            let skip = ((self.next - start) as usize).min(chunk.as_slice().len());
            if start < before {
                extend(duplicate, start, (start + chunk.as_slice().len() as Pos).min(before));
            }
            let rest = chunk.as_slice().len() - skip;
            if rest == 0 {
                chunk.give_back(pool);
                continue;
            }
            match chunk {
                Chunk::Compact(block) => {
                    self.append(pool, Payload { bytes: &block[skip..], owner: None });
                    pool.give(block);
                }
                Chunk::Shared(bytes) => {
                    self.next += rest as Pos;
                    self.push_whole(pool, Chunk::Shared(bytes.slice(skip..)));
                }
            }
        }
        reorder.reached(self.next);
        if !reorder.is_empty() {
            self.reorder = Some(reorder);
        }
        self.next > before
    }

    /// Copies up to `buf.len()` bytes, at most up to position `upto`, and forgets them unless `peek`.
    #[inline]
    pub(crate) fn read(&mut self, pool: &mut Pool, buf: &mut [u8], upto: Pos, peek: bool) -> usize {
        if !peek
            && upto >= self.next
            && let Some(count) = self.read_whole(pool, buf)
        {
            return count;
        }
        self.read_some(pool, buf, upto, peek)
    }

    /// The same of all that is here where that stands in one small block and fits, as a request or an answer does.
    #[inline(always)]
    fn read_whole(&mut self, pool: &mut Pool, buf: &mut [u8]) -> Option<usize> {
        let chunks = self.chunks.awake().filter(|chunks| chunks.len() == 1)?;
        let Some(Chunk::Compact(block)) = chunks.front_mut() else { return None };
        if self.head > 0 || block.capacity() != SMALL {
            return None;
        }
        let count = block.len();
        buf.get_mut(..count)?.copy_from_slice(block);
        block.clear();
        self.read = self.next;
        self.chunks.rest_with(1, &mut pool.chunks);
        Some(count)
    }

    fn read_some(&mut self, pool: &mut Pool, buf: &mut [u8], upto: Pos, peek: bool) -> usize {
        let most = buf.len().min((upto.min(self.next) - self.read).max(0) as usize);
        let Some(chunks) = self.chunks.awake() else { return 0 };
        let (mut copied, mut at, mut head) = (0, 0, self.head as usize);
        while copied < most
            && let Some(chunk) = chunks.get(at)
        {
            let slice = &chunk.as_slice()[head..];
            let take = slice.len().min(most - copied);
            buf[copied..copied + take].copy_from_slice(&slice[..take]);
            copied += take;
            (at, head) = (at + 1, 0);
        }
        if !peek {
            self.skip(pool, copied);
        }
        copied
    }

    /// Lends what is there, at most up to position `upto`; answers how many slices, and how many bytes they hold.
    pub(crate) fn slices<'a>(&'a self, upto: Pos, out: &mut [&'a [u8]; MAX_SLICES]) -> (usize, usize) {
        let most = (upto.min(self.next) - self.read).max(0) as usize;
        let (mut count, mut bytes) = (0, 0);
        for (i, chunk) in self.chunks.iter().enumerate().take(MAX_SLICES) {
            let slice = &chunk.as_slice()[if i == 0 { self.head as usize } else { 0 }..];
            let slice = &slice[..slice.len().min(most - bytes)];
            if slice.is_empty() {
                break;
            }
            out[count] = slice;
            count += 1;
            bytes += slice.len();
        }
        (count, bytes)
    }

    /// Forgets the next `count` bytes (at most what is there).
    #[inline]
    pub(crate) fn skip(&mut self, pool: &mut Pool, count: usize) {
        let count = count.min(self.len());
        self.read += count as Pos;
        self.head += count as u32;
        let Some(chunks) = self.chunks.awake() else { return };
        loop {
            let last = chunks.len() == 1;
            let Some(chunk) = chunks.front_mut() else { break };
            let len = chunk.as_slice().len() as u32;
            if self.head < len {
                return;
            }
            self.head -= len;
            if last && chunk.empty() {
                return self.chunks.rest_with(1, &mut pool.chunks);
            }
            if let Some(chunk) = chunks.pop_front() {
                chunk.give_back(pool);
            }
        }
        self.chunks.rest(&mut pool.chunks);
    }

    /// The byte at `pos`, if it was received in order and not read.
    pub(crate) fn byte(&self, pos: Pos) -> Option<u8> {
        let mut at = self.read - Pos::from(self.head);
        if pos < self.read {
            return None;
        }
        for chunk in self.chunks.iter() {
            let slice = chunk.as_slice();
            if pos < at + slice.len() as Pos {
                return slice.get((pos - at) as usize).copied();
            }
            at += slice.len() as Pos;
        }
        None
    }

    /// Forgets everything, as a reset does under the RFC's profile.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        self.unstage(pool);
        self.skip(pool, self.len());
        self.drop_reorder(pool);
        self.chunks.clear();
        self.chunks.rest(&mut pool.chunks);
        self.head = 0;
    }

    /// Forgets what is out of order: nothing will fill the gap any more.
    pub(crate) fn drop_reorder(&mut self, pool: &mut Pool) {
        if let Some(mut reorder) = self.reorder.take() {
            while let Some((_, chunk)) = reorder.pop_reached(Pos::MAX) {
                chunk.give_back(pool);
            }
        }
    }

    /// What bytes out of order cost beside themselves, which a window promises no room for.
    pub(crate) fn reorder_overhead(&self) -> usize {
        self.reorder.as_ref().map_or(0, |r| r.overhead())
    }

    pub(crate) fn memory(&self) -> usize {
        self.chunks.iter().map(Chunk::memory).sum::<usize>()
            + self.chunks.memory()
            + self.reorder.as_ref().map_or(0, |r| r.memory())
    }
}

#[cfg(test)]
mod tests;
