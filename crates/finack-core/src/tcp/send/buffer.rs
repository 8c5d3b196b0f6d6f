//! The send buffer: what the application wrote and the peer has not acknowledged.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::BufMut;
use bytes::buf::Limit;
use finack_sum::Accumulator;

use crate::device::MAX_SLICES;
use crate::pool::{Pool, SMALL};
use crate::tcp::seq::Pos;

#[derive(Clone, Debug)]
struct Block {
    start: Pos,
    data: Vec<u8>,
}

/// What the end of a record counts for in the buffer, in bytes: about what a packet of its own costs on Linux, so that
/// records of one byte do not make more of them than the buffer's size allows.
const RECORD_COST: usize = 512;

/// Bytes `start..end` of the stream, in blocks of the pool.
#[derive(Clone, Debug)]
pub(crate) struct SendBuffer {
    blocks: VecDeque<Block>,
    start: Pos,
    end: Pos,
    /// What few connections have.
    extra: Option<Box<Extra>>,
}

#[derive(Clone, Debug, Default)]
struct Extra {
    /// Where records end (MSG_EOR), in order.
    records: VecDeque<Pos>,
}

impl SendBuffer {
    /// Empty; the first byte written stands at `start`.
    pub(crate) const fn new(start: Pos) -> Self {
        Self { blocks: VecDeque::new(), start, end: start, extra: None }
    }

    /// Where the next byte written will stand.
    pub(crate) const fn end(&self) -> Pos {
        self.end
    }

    /// Bytes held.
    pub(crate) const fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Bytes held, and what the ends of records count for: what SO_SNDBUF bounds.
    pub(crate) fn footprint(&self) -> usize {
        self.len() + self.extra.as_ref().map_or(0, |e| e.records.len() * RECORD_COST)
    }

    /// A record ends with what was appended last.
    pub(crate) fn end_record(&mut self) {
        let records = &mut self.extra.get_or_insert_default().records;
        if records.back() != Some(&self.end) {
            records.push_back(self.end);
        }
    }

    /// Where the record ends that holds the byte at `pos`, if an end is known.
    pub(crate) fn record_end(&self, pos: Pos) -> Option<Pos> {
        let records = &self.extra.as_ref()?.records;
        records.get(records.partition_point(|&end| end <= pos)).copied()
    }

    /// Whether a record ends in front of `pos`.
    pub(crate) fn is_record_end(&self, pos: Pos) -> bool {
        self.extra.as_ref().is_some_and(|e| e.records.binary_search(&pos).is_ok())
    }

    /// Appends all of `data`.
    pub(crate) fn append(&mut self, pool: &mut Pool, mut data: &[u8]) {
        while !data.is_empty() {
            let full = self.blocks.back().is_none_or(|b| b.data.len() == b.data.capacity());
            if full {
                self.blocks.push_back(Block { start: self.end, data: pool.take(data.len()) });
            }
            let Some(block) = self.blocks.back_mut() else { return };
            let room = block.data.capacity() - block.data.len();
            let (now, later) = data.split_at(room.min(data.len()));
            block.data.extend_from_slice(now);
            self.end += now.len() as Pos;
            data = later;
        }
    }

    /// Lets `fill` append up to `room` bytes to a block, or as many as that takes; answers how many it appended, and
    /// whether that was all that was offered.
    pub(crate) fn append_with<E>(
        &mut self,
        pool: &mut Pool,
        room: usize,
        fill: impl FnOnce(&mut Limit<&mut Vec<u8>>) -> Result<(), E>,
    ) -> Result<(usize, bool), E> {
        // A block that is nearly full would make for a tiny read: its rest is left empty then.
        let spacious =
            self.blocks.back().is_some_and(|b| b.data.capacity() - b.data.len() >= room.min(SMALL));
        if !spacious {
            self.blocks.push_back(Block { start: self.end, data: pool.take(room) });
        }
        let Some(block) = self.blocks.back_mut() else { return Ok((0, false)) };
        let before = block.data.len();
        let most = room.min(block.data.capacity() - before);
        let result = fill(&mut (&mut block.data).limit(most));
        if result.is_err() {
            block.data.truncate(before);
        }
        // Whoever takes bytes out that were written before must not shift the stream.
        block.data.resize(block.data.len().max(before), 0);
        let appended = block.data.len() - before;
        self.end = block.start + block.data.len() as Pos;
        if block.data.is_empty()
            && let Some(block) = self.blocks.pop_back()
        {
            pool.give(block.data);
        }
        result.map(|()| (appended, appended == most))
    }

    /// Lets go of everything before `upto`.
    pub(crate) fn release(&mut self, pool: &mut Pool, upto: Pos) {
        let upto = upto.min(self.end);
        if upto <= self.start {
            return;
        }
        self.start = upto;
        if let Some(extra) = &mut self.extra {
            while extra.records.front().is_some_and(|&end| end <= upto) {
                extra.records.pop_front();
            }
            if extra.records.is_empty() {
                self.extra = None;
            }
        }
        while let Some(block) = self.blocks.front() {
            if block.start + block.data.len() as Pos > upto {
                break;
            }
            if let Some(block) = self.blocks.pop_front() {
                pool.give(block.data);
            }
        }
        if self.blocks.is_empty() && self.blocks.capacity() > 16 {
            self.blocks = VecDeque::new();
        }
    }

    /// Lets go of everything.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        self.release(pool, self.end);
        self.blocks = VecDeque::new();
    }

    /// Lends bytes `from..to` in slices; answers how many slices, and how many bytes they hold, which is
    /// less than asked where the slices do not suffice.
    pub(crate) fn slices<'a>(
        &'a self,
        from: Pos,
        to: Pos,
        out: &mut [&'a [u8]; MAX_SLICES],
    ) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        let mut at = from.max(self.start);
        let to = to.min(self.end);
        let first = self.blocks.partition_point(|b| b.start + b.data.len() as Pos <= at);
        for block in self.blocks.range(first..) {
            if at >= to || count == MAX_SLICES {
                break;
            }
            let skip = (at - block.start) as usize;
            let take = (block.data.len() - skip).min((to - at) as usize);
            out[count] = &block.data[skip..skip + take];
            count += 1;
            bytes += take;
            at += take as Pos;
        }
        (count, bytes)
    }

    /// Bytes from `from` on that [`slices`](Self::slices) can lend at once, at most up to `to`.
    pub(crate) fn lendable(&self, from: Pos, to: Pos) -> usize {
        let wanted = (to.min(self.end) - from.max(self.start)).max(0) as usize;
        if self.blocks.len() <= MAX_SLICES {
            return wanted;
        }
        let mut slices = [&[][..]; MAX_SLICES];
        self.slices(from, to, &mut slices).1
    }

    /// Adds bytes `from..to` to a checksum.
    pub(crate) fn add_to(&self, from: Pos, to: Pos, sum: &mut Accumulator) {
        let mut at = from.max(self.start);
        let to = to.min(self.end);
        let first = self.blocks.partition_point(|b| b.start + b.data.len() as Pos <= at);
        for block in self.blocks.range(first..) {
            if at >= to {
                break;
            }
            let skip = (at - block.start) as usize;
            let take = (block.data.len() - skip).min((to - at) as usize);
            sum.add(&block.data[skip..skip + take]);
            at += take as Pos;
        }
    }

    /// The byte at `pos`, for the urgent mark and tests.
    #[cfg(test)]
    pub(crate) fn byte(&self, pos: Pos) -> Option<u8> {
        let mut out = [&[][..]; MAX_SLICES];
        let (count, _) = self.slices(pos, pos + 1, &mut out);
        if count == 0 { None } else { out[0].first().copied() }
    }

    pub(crate) fn memory(&self) -> usize {
        self.blocks.iter().map(|b| b.data.capacity()).sum::<usize>()
            + self.blocks.capacity() * size_of::<Block>()
            + self.extra.as_ref().map_or(0, |e| e.records.capacity() * size_of::<Pos>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cover_what_was_written_across_blocks() {
        let (mut pool, mut buffer) = (Pool::default(), SendBuffer::new(1));
        let data: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        for piece in data.chunks(7_777) {
            buffer.append(&mut pool, piece);
        }
        assert_eq!((buffer.len(), buffer.end()), (data.len(), 200_001));
        buffer.release(&mut pool, 50_001);
        let mut out = [&[][..]; MAX_SLICES];
        let (count, bytes) = buffer.slices(60_001, 125_001, &mut out);
        assert_eq!(bytes, 65_000);
        assert_eq!(out[..count].concat(), data[60_000..125_000]);
        assert_eq!(buffer.byte(50_001), Some(data[50_000]));
        buffer.clear(&mut pool);
        assert_eq!((buffer.len(), buffer.memory()), (0, 0));
    }

    #[test]
    fn slices_end_where_their_number_is_used_up() {
        let (mut pool, mut buffer) = (Pool::default(), SendBuffer::new(1));
        for _ in 0..40 {
            buffer.append(&mut pool, &[7; crate::pool::SMALL]);
        }
        let mut out = [&[][..]; MAX_SLICES];
        let (count, bytes) = buffer.slices(1, buffer.end(), &mut out);
        assert_eq!((count, bytes), (MAX_SLICES, MAX_SLICES * crate::pool::SMALL));
    }
}
