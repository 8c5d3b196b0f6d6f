//! What was received in order and not yet read.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use super::reorder::{Inserted, Reorder, extend};
use crate::device::MAX_SLICES;
use crate::pool::Pool;
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
            Some(owner) if payload.bytes.len() >= KEEP_SHARED => Self::Shared(owner.slice_ref(payload.bytes)),
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

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Compact(block) => block,
            Self::Shared(bytes) => bytes,
        }
    }

    /// Appends `bytes` if the chunk has room of its own for them.
    pub(super) fn append(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::Compact(block) if block.capacity() - block.len() >= bytes.len() => {
                block.extend_from_slice(bytes);
                true
            }
            _ => false,
        }
    }

    pub(super) fn memory(&self) -> usize {
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
    head: usize,
    /// Present only while something is missing.
    reorder: Option<Box<Reorder>>,
}

impl RecvQueue {
    /// Empty; the first byte will stand at `start`.
    pub(crate) const fn new(start: Pos) -> Self {
        Self { next: start, read: start, chunks: Ring::new(), head: 0, reorder: None }
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
    pub(crate) fn append(&mut self, pool: &mut Pool, mut payload: Payload<'_>) {
        self.chunks.wake(&mut pool.chunks);
        self.next += payload.bytes.len() as Pos;
        if payload.owner.is_some() && payload.bytes.len() >= KEEP_SHARED {
            self.chunks.push_back(Chunk::keep(payload, pool));
            return;
        }
        // A reader that lags behind gets large blocks, so that small segments share them.
        let queued = self.len();
        while !payload.bytes.is_empty() {
            if let Some(Chunk::Compact(block)) = self.chunks.back_mut() {
                let room = (block.capacity() - block.len()).min(payload.bytes.len());
                block.extend_from_slice(&payload.bytes[..room]);
                payload = payload.trim(room, usize::MAX);
            }
            if !payload.bytes.is_empty() {
                self.chunks.push_back(Chunk::Compact(pool.take(queued)));
            }
        }
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
                    self.chunks.push_back(Chunk::Shared(bytes.slice(skip..)));
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
    pub(crate) fn read(&mut self, pool: &mut Pool, buf: &mut [u8], upto: Pos, peek: bool) -> usize {
        let most = buf.len().min((upto.min(self.next) - self.read).max(0) as usize);
        let mut copied = 0;
        for (i, chunk) in self.chunks.iter().enumerate() {
            let slice = &chunk.as_slice()[if i == 0 { self.head } else { 0 }..];
            let take = slice.len().min(most - copied);
            buf[copied..copied + take].copy_from_slice(&slice[..take]);
            copied += take;
            if copied == most {
                break;
            }
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
            let slice = &chunk.as_slice()[if i == 0 { self.head } else { 0 }..];
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
    pub(crate) fn skip(&mut self, pool: &mut Pool, count: usize) {
        let count = count.min(self.len());
        self.read += count as Pos;
        self.head += count;
        while let Some(chunk) = self.chunks.front() {
            let len = chunk.as_slice().len();
            if self.head < len {
                break;
            }
            self.head -= len;
            if let Some(chunk) = self.chunks.pop_front() {
                chunk.give_back(pool);
            }
        }
        self.chunks.rest(&mut pool.chunks);
    }

    /// The byte at `pos`, if it was received in order and not read.
    pub(crate) fn byte(&self, pos: Pos) -> Option<u8> {
        let mut at = self.read - self.head as Pos;
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

    pub(crate) fn memory(&self) -> usize {
        self.chunks.iter().map(Chunk::memory).sum::<usize>()
            + self.chunks.memory()
            + self.reorder.as_ref().map_or(0, |r| r.memory())
    }
}

#[cfg(test)]
mod tests;
