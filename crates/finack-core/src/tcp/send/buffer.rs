//! The send buffer: what the application wrote and the peer has not acknowledged.

use alloc::boxed::Box;
use alloc::collections::{VecDeque, vec_deque};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use bytes::buf::Limit;
use bytes::{BufMut, Bytes};
use finack_sum::Accumulator;

use crate::device::MAX_SLICES;
use crate::pool::{Pool, SMALL};
use crate::ring::Ring;
use crate::tcp::seq::Pos;

/// Bytes that stay until they are acknowledged.
#[derive(Clone)]
enum Data {
    /// Copied from the application.
    Own(Vec<u8>),
    /// The application's own buffer.
    Shared(Bytes),
    /// A small request or answer, copied too, where nothing else is in the buffer: no block of the pool need be fetched from
    /// memory for it, nor be kept until its ACK comes.
    Few { len: u8, bytes: [u8; FEW] },
}

/// So many bytes make a block a line of the processor's cache.
const FEW: usize = 54;

/// Where copied bytes stand does not show.
impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared(bytes) => f.debug_tuple("Shared").field(bytes).finish(),
            Self::Own(_) | Self::Few { .. } => f.debug_tuple("Own").field(&self.as_slice()).finish(),
        }
    }
}

impl Data {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Own(block) => block,
            Self::Shared(bytes) => bytes,
            Self::Few { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
        }
    }
}

/// A run of bytes of the stream.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    start: Pos,
    data: Data,
}

impl Block {
    fn as_slice(&self) -> &[u8] {
        self.data.as_slice()
    }

    fn end(&self) -> Pos {
        self.start + self.as_slice().len() as Pos
    }

    /// The block, where bytes can be appended to it.
    fn own(&mut self) -> Option<&mut Vec<u8>> {
        match &mut self.data {
            Data::Own(block) => Some(block),
            Data::Shared(_) | Data::Few { .. } => None,
        }
    }

    /// Bytes that can be appended.
    fn room(&self) -> usize {
        match &self.data {
            Data::Own(block) => block.capacity() - block.len(),
            Data::Shared(_) | Data::Few { .. } => 0,
        }
    }

    fn give_back(self, pool: &mut Pool) {
        if let Data::Own(block) = self.data {
            pool.give(block);
        }
    }

    fn memory(&self) -> usize {
        match &self.data {
            Data::Own(block) => block.capacity(),
            Data::Shared(bytes) => bytes.len(),
            Data::Few { .. } => 0,
        }
    }
}

/// Bytes in one block, which they name as long as nothing is let go of. Small enough to be handed on in registers; no block, and
/// no buffer of the application's that can be found, has 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    block: u32,
    at: u32,
    len: u32,
}

impl Place {
    /// Of the buffer's blocks the one that it lies in.
    #[inline]
    pub(crate) const fn block(self) -> usize {
        self.block as usize
    }

    /// Bytes.
    #[inline]
    pub(crate) const fn len(self) -> usize {
        self.len as usize
    }

    /// As many bytes behind it.
    #[inline]
    pub(crate) const fn next(self) -> Self {
        Self { at: self.at.wrapping_add(self.len), ..self }
    }

    #[inline(always)]
    fn new(block: usize, at: Pos, len: Pos) -> Option<Self> {
        let small = |number: Pos| u32::try_from(number).ok();
        Some(Self { block: u32::try_from(block).ok()?, at: small(at)?, len: small(len)? })
    }
}

/// What the end of a record counts for in the buffer, in bytes: about what a packet of its own costs on Linux, so that
/// records of one byte do not make more of them than the buffer's size allows.
const RECORD_COST: usize = 512;

/// Bytes `start..end` of the stream, in blocks of the pool.
#[derive(Clone, Debug)]
pub(crate) struct SendBuffer {
    blocks: Ring<Block>,
    start: Pos,
    end: Pos,
    /// What few connections have.
    extra: Option<Box<Extra>>,
}

/// What a buffer that was not copied counts for beside its bytes.
const SHARED_COST: usize = 64;
/// Most buffers of the application in one unit: Linux's MAX_SKB_FRAGS. With the next one a record begins.
const MOST_SHARED: usize = 17;
/// Most completions that wait, for their ACK or to be taken.
const MOST_COMPLETIONS: usize = 1024;

#[derive(Clone, Debug, Default)]
struct Extra {
    /// Where records end (MSG_EOR), in order.
    records: VecDeque<Pos>,
    /// Positions inside a write in front of which a segment carries PSH, in order.
    pushes: VecDeque<Pos>,
    /// Buffers held that were not copied.
    shared: usize,
    /// Completions that were asked for.
    completions: Completions,
}

impl Extra {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.pushes.is_empty() && self.shared == 0 && self.completions.next == 0
    }

    fn memory(&self) -> usize {
        let c = &self.completions;
        size_of::<Self>()
            + (self.records.capacity() + self.pushes.capacity() + c.waiting.capacity() + c.done.capacity())
                * size_of::<Pos>()
    }
}

/// Who asked to be told when bytes are done with (MSG_ZEROCOPY).
#[derive(Clone, Debug, Default)]
struct Completions {
    /// Number of the next one.
    next: u32,
    /// Behind the last byte that each is about.
    waiting: VecDeque<Pos>,
    /// What can be told: ranges of numbers that do not touch.
    done: VecDeque<Range<u32>>,
}

impl Completions {
    /// Everything before `upto` is done with; answers whether somebody can be told.
    fn reach(&mut self, upto: Pos) -> bool {
        let before = self.waiting.len();
        while self.waiting.front().is_some_and(|&end| end <= upto) {
            let number = self.next.wrapping_sub(self.waiting.len() as u32);
            self.waiting.pop_front();
            match self.done.back_mut() {
                Some(last) if last.end == number => last.end = number.wrapping_add(1),
                _ => self.done.push_back(number..number.wrapping_add(1)),
            }
        }
        self.waiting.len() < before
    }
}

/// Of `room` bytes from `end` on those up to the last end of a segment among them, as [`SendBuffer::append`] has it; all, where there is
/// none, or nothing is left of an empty block.
fn up_to_cut(end: Pos, room: usize, empty: bool, (from, each): (Pos, u16)) -> usize {
    let beyond = (end + room as Pos - from).rem_euclid(Pos::from(each.max(1))) as usize;
    if beyond > room || beyond == room && empty { room } else { room - beyond }
}

impl SendBuffer {
    /// Empty; the first byte written stands at `start`.
    pub(crate) const fn new(start: Pos) -> Self {
        Self { blocks: Ring::new(), start, end: start, extra: None }
    }

    #[inline]
    pub(crate) fn prefetch(&self) {
        self.blocks.prefetch();
    }

    #[inline]
    pub(crate) fn prefetch_front(&self) {
        if let Some(block) = self.blocks.front() {
            finack_sum::prefetch(block);
        }
    }

    /// Where the next byte written will stand.
    pub(crate) const fn end(&self) -> Pos {
        self.end
    }

    /// Bytes held.
    pub(crate) const fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Bytes held, and what the ends of records and shared buffers count for: what SO_SNDBUF bounds.
    pub(crate) fn footprint(&self) -> usize {
        self.len() + self.extra.as_ref().map_or(0, |e| e.records.len() * RECORD_COST + e.shared * SHARED_COST)
    }

    /// Nothing in it is a record, a shared buffer or waited for.
    #[inline]
    pub(crate) const fn is_plain(&self) -> bool {
        self.extra.is_none()
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

    /// A segment that ends at `pos` carries PSH.
    pub(crate) fn note_push(&mut self, pos: Pos) {
        self.extra.get_or_insert_default().pushes.push_back(pos);
    }

    /// Whether a segment that ends at `pos` carries PSH although more was written.
    pub(crate) fn is_push(&self, pos: Pos) -> bool {
        self.extra.as_ref().is_some_and(|e| e.pushes.binary_search(&pos).is_ok())
    }

    /// Appends all of `data`. Segments begin at `cut.0` and every `cut.1` bytes behind that: where it goes on beyond a block, that ends
    /// where a segment does, so that each is sent from a single block.
    pub(crate) fn append(&mut self, pool: &mut Pool, mut data: &[u8], cut: (Pos, u16)) {
        self.blocks.wake(&mut pool.blocks);
        if self.blocks.is_empty() && !data.is_empty() && data.len() <= FEW {
            return self.append_few(data);
        }
        self.make_room(pool);
        let mut full = self.blocks.back().is_none_or(|b| b.room() == 0);
        while !data.is_empty() {
            if full {
                self.blocks
                    .push_back(Block { start: self.end, data: Data::Own(pool.take_to_write(data.len())) });
            }
            let end = self.end;
            let Some(block) = self.blocks.back_mut().and_then(Block::own) else { return };
            let room = block.capacity() - block.len();
            let fits = if data.len() > room { up_to_cut(end, room, full, cut) } else { data.len() };
            let (now, later) = data.split_at(fits);
            block.extend_from_slice(now);
            self.end += now.len() as Pos;
            (data, full) = (later, true);
        }
    }

    /// Appends a few bytes to an empty buffer. They are written where they stay: a block that is written byte by byte and moved at once
    /// has the processor wait until all of it is written.
    fn append_few(&mut self, data: &[u8]) {
        const NOTHING: Block = Block { start: 0, data: Data::Few { len: 0, bytes: [0; FEW] } };
        self.blocks.push_back(NOTHING);
        if let Some(Block { start, data: Data::Few { len, bytes } }) = self.blocks.back_mut()
            && let Some(place) = bytes.get_mut(..data.len())
        {
            (*start, *len) = (self.end, data.len() as u8);
            place.copy_from_slice(data);
            self.end += data.len() as Pos;
        }
    }

    /// What was a few bytes stands in a block of the pool now, as if it had from the first: more can be appended.
    fn make_room(&mut self, pool: &mut Pool) {
        if let Some(Block { data, .. }) = self.blocks.back_mut()
            && let Data::Few { len, bytes } = data
        {
            let few = &bytes[..usize::from(*len)];
            let mut block = pool.take(few.len());
            block.extend_from_slice(few);
            *data = Data::Own(block);
        }
    }

    /// Appends the application's own buffer, which is not copied. `unsent` is where what was never sent begins.
    pub(crate) fn append_shared(&mut self, data: Bytes, unsent: Pos) {
        if data.is_empty() {
            return;
        }
        let fresh = unsent.max(self.extra.as_ref().and_then(|e| e.records.back().copied()).unwrap_or(unsent));
        let in_unit = self.blocks.iter().rev().take(MOST_SHARED).take_while(|b| b.start >= fresh);
        if in_unit.count() == MOST_SHARED {
            self.end_record();
        }
        self.extra.get_or_insert_default().shared += 1;
        let start = self.end;
        self.end += data.len() as Pos;
        self.blocks.push_back(Block { start, data: Data::Shared(data) });
    }

    /// Whether one more completion can be asked for.
    pub(crate) fn takes_completion(&self) -> bool {
        let waiting = |c: &Completions| c.waiting.len() + c.done.len();
        self.extra.as_ref().is_none_or(|e| waiting(&e.completions) < MOST_COMPLETIONS)
    }

    /// Asks to be told when all that was appended so far is done with; answers the number under which it will be, and
    /// whether that is now.
    pub(crate) fn ask_completion(&mut self) -> (u32, bool) {
        let (start, end) = (self.start, self.end);
        let completions = &mut self.extra.get_or_insert_default().completions;
        let number = completions.next;
        completions.next = number.wrapping_add(1);
        completions.waiting.push_back(end);
        (number, completions.reach(start))
    }

    /// Whether a completion can be taken.
    pub(crate) fn has_completion(&self) -> bool {
        self.extra.as_ref().is_some_and(|e| !e.completions.done.is_empty())
    }

    /// The oldest numbers of completions, in a row, that were not yet taken.
    pub(crate) fn take_completion(&mut self) -> Option<Range<u32>> {
        self.extra.as_mut()?.completions.done.pop_front()
    }

    /// Lets `fill` append up to `room` bytes to a block, or as many as that takes; answers how many it appended, and
    /// whether that was all that was offered.
    pub(crate) fn append_with<E>(
        &mut self,
        pool: &mut Pool,
        room: usize,
        fill: impl FnOnce(&mut Limit<&mut Vec<u8>>) -> Result<(), E>,
    ) -> Result<(usize, bool), E> {
        self.blocks.wake(&mut pool.blocks);
        self.make_room(pool);
        // A block that is nearly full would make for a tiny read: its rest is left empty then.
        if self.blocks.back().is_none_or(|b| b.room() < room.clamp(1, SMALL)) {
            self.blocks.push_back(Block { start: self.end, data: Data::Own(pool.take_to_write(room)) });
        }
        let Some(block) = self.blocks.back_mut().and_then(Block::own) else { return Ok((0, false)) };
        let before = block.len();
        let most = room.min(block.capacity() - before);
        let result = fill(&mut (&mut *block).limit(most));
        if result.is_err() {
            block.truncate(before);
        }
        // Whoever takes bytes out that were written before must not shift the stream.
        block.resize(block.len().max(before), 0);
        let appended = block.len() - before;
        self.end += appended as Pos;
        if block.is_empty()
            && let Some(block) = self.blocks.pop_back()
        {
            block.give_back(pool);
            self.blocks.rest(&mut pool.blocks);
        }
        result.map(|()| (appended, appended == most))
    }

    /// Lets go of everything before `upto`; answers whether that completes something.
    pub(crate) fn release(&mut self, pool: &mut Pool, upto: Pos) -> bool {
        let upto = upto.min(self.end);
        if upto <= self.start {
            return false;
        }
        self.start = upto;
        if let Some(extra) = &mut self.extra {
            while extra.records.front().is_some_and(|&end| end <= upto) {
                extra.records.pop_front();
            }
            while extra.pushes.front().is_some_and(|&end| end <= upto) {
                extra.pushes.pop_front();
            }
        }
        let mut shared = 0;
        while self.blocks.front().is_some_and(|b| b.end() <= upto) {
            if let Some(block) = self.blocks.pop_front() {
                shared += usize::from(matches!(block.data, Data::Shared(_)));
                block.give_back(pool);
            }
        }
        self.blocks.rest(&mut pool.blocks);
        let Some(extra) = &mut self.extra else { return false };
        extra.shared -= shared;
        // Only now: the buffers are let go of already when their owner hears of it.
        let completed = extra.completions.reach(upto);
        if extra.is_empty() {
            self.extra = None;
        }
        completed
    }

    /// Lets go of everything; answers whether that completes something.
    pub(crate) fn clear(&mut self, pool: &mut Pool) -> bool {
        let completed = self.release(pool, self.end);
        self.blocks.rest(&mut pool.blocks);
        completed
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
        for (slot, run) in out.iter_mut().zip(self.runs(from, to)) {
            *slot = run;
            count += 1;
            bytes += run.len();
        }
        (count, bytes)
    }

    /// Lends bytes `from..to`, block by block.
    pub(crate) fn runs(&self, from: Pos, to: Pos) -> Runs<'_> {
        let at = from.max(self.start);
        let first = self.blocks.partition_point(|b| b.end() <= at);
        Runs { blocks: self.blocks.range(first..), at, to: to.min(self.end) }
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

    /// Where bytes `from..to` stand, where one block holds them all, as it mostly does.
    #[inline]
    pub(crate) fn find(&self, from: Pos, to: Pos) -> Option<Place> {
        // There are few blocks, and what is sent for the first time stands in one of the last.
        let index = self.blocks.iter().rposition(|block| block.start <= from)?;
        let place = Place::new(index, from - self.blocks[index].start, (to - from).max(0))?;
        self.slice(place).map(|_| place)
    }

    /// [`find`](Self::find), beginning with a block that is likely to hold them.
    #[inline(always)]
    pub(crate) fn find_near(&self, block: usize, from: Pos, to: Pos) -> Option<Place> {
        match self.blocks.get(block) {
            Some(b) if b.start <= from && to <= b.end() => Place::new(block, from - b.start, to - from),
            _ => self.find(from, to),
        }
    }

    /// Where the block ends in which a place lies.
    pub(crate) fn end_of(&self, place: Place) -> Pos {
        self.blocks.get(place.block()).map_or(self.start, Block::end)
    }

    /// [`find`](Self::find) of what was appended last, from `from` on.
    #[inline(always)]
    pub(crate) fn find_last(&self, from: Pos) -> Option<Place> {
        let last = self.blocks.back()?;
        Place::new(self.blocks.len() - 1, from - last.start, self.end - from)
    }

    /// What stands there.
    #[inline]
    pub(crate) fn slice(&self, place: Place) -> Option<&[u8]> {
        let at = place.at as usize;
        self.blocks.get(place.block())?.as_slice().get(at..at + place.len())
    }

    /// Adds bytes `from..to` to a checksum.
    pub(crate) fn add_to(&self, from: Pos, to: Pos, sum: &mut Accumulator) {
        self.runs(from, to).for_each(|run| sum.add(run));
    }

    /// The byte at `pos`, for the urgent mark and tests.
    #[cfg(test)]
    pub(crate) fn byte(&self, pos: Pos) -> Option<u8> {
        let mut out = [&[][..]; MAX_SLICES];
        let (count, _) = self.slices(pos, pos + 1, &mut out);
        if count == 0 { None } else { out[0].first().copied() }
    }

    pub(crate) fn memory(&self) -> usize {
        self.blocks.iter().map(Block::memory).sum::<usize>()
            + self.blocks.memory()
            + self.extra.as_ref().map_or(0, |e| e.memory())
    }
}

/// What [`SendBuffer::runs`] lends.
#[derive(Clone, Debug)]
pub(crate) struct Runs<'a> {
    blocks: vec_deque::Iter<'a, Block>,
    at: Pos,
    to: Pos,
}

impl<'a> Iterator for Runs<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.at >= self.to {
            return None;
        }
        let block = self.blocks.next()?;
        let data = block.as_slice().get((self.at - block.start) as usize..)?;
        let run = &data[..data.len().min((self.to - self.at) as usize)];
        self.at += run.len() as Pos;
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of a byte: no block is left with room.
    const CUT: (Pos, u16) = (1, 1);

    #[test]
    fn slices_cover_what_was_written_across_blocks() {
        let (mut pool, mut buffer) = (Pool::default(), SendBuffer::new(1));
        let data: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        for piece in data.chunks(7_777) {
            buffer.append(&mut pool, piece, CUT);
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

    /// What a write after the first comes to is the same, however small the first was.
    #[test]
    fn a_few_bytes_take_no_block_until_more_follow() {
        let (mut pool, mut buffer) = (Pool::default(), SendBuffer::new(1));
        buffer.append(&mut pool, &[1; FEW], CUT);
        assert!(buffer.memory() < crate::pool::SMALL);
        let place = buffer.find(1, 1 + FEW as Pos).unwrap();
        assert_eq!(buffer.slice(place), Some(&[1; FEW][..]));
        let shown = alloc::format!("{buffer:?}");
        buffer.make_room(&mut pool);
        assert_eq!(alloc::format!("{buffer:?}"), shown);
        buffer.append(&mut pool, &[2; 2 * FEW], CUT);
        assert_eq!(buffer.slice(place), Some(&[1; FEW][..]), "the place is the same");
        let mut out = [&[][..]; MAX_SLICES];
        let (count, bytes) = buffer.slices(1, buffer.end(), &mut out);
        assert_eq!((count, bytes), (1, 3 * FEW), "in one piece");
        assert_eq!(out[0], [[1; FEW], [2; FEW], [2; FEW]].concat());
        buffer.release(&mut pool, buffer.end());
        assert_eq!((buffer.len(), buffer.memory()), (0, 0));
        buffer.append(&mut pool, &[3; FEW + 1], CUT);
        assert!(buffer.memory() >= crate::pool::SMALL);
        assert_eq!(size_of::<Block>(), 64);
    }

    #[test]
    fn slices_end_where_their_number_is_used_up() {
        let (mut pool, mut buffer) = (Pool::default(), SendBuffer::new(1));
        for _ in 0..40 {
            buffer.append(&mut pool, &[7; crate::pool::SMALL], CUT);
        }
        let mut out = [&[][..]; MAX_SLICES];
        let (count, bytes) = buffer.slices(1, buffer.end(), &mut out);
        assert_eq!((count, bytes), (MAX_SLICES, MAX_SLICES * crate::pool::SMALL));
    }

    /// What is written at one go lies in one block for each segment, wherever these begin.
    #[test]
    fn no_segment_lies_across_two_blocks() {
        const MSS: u16 = 1448;
        let data: Vec<u8> = (0..400_000u32).map(|i| (i % 251) as u8).collect();
        for from in [1, 701, 1449] {
            let (mut pool, mut buffer) = (Pool::default(), SendBuffer::new(1));
            buffer.append(&mut pool, &data[..700], (1, MSS));
            buffer.append(&mut pool, &data[700..], (from, MSS));
            assert_eq!(buffer.end(), 400_001);
            for at in (from..buffer.end() - Pos::from(MSS)).step_by(MSS.into()) {
                let place = buffer.find(at, at + Pos::from(MSS)).expect("it lies in one block");
                let written = &data[at as usize - 1..][..MSS.into()];
                assert_eq!(buffer.slice(place), Some(written), "at {at}, from {from}");
            }
            // Segments larger than blocks are no reason to leave any of these empty.
            let (mut pool, mut buffer) = (Pool::default(), SendBuffer::new(1));
            data.chunks(33_333).for_each(|call| buffer.append(&mut pool, call, (from, u16::MAX)));
            assert!(buffer.blocks.iter().all(|block| !block.as_slice().is_empty()));
            let mut lent = [&[][..]; MAX_SLICES];
            let (count, _) = buffer.slices(1, buffer.end(), &mut lent);
            assert_eq!(lent[..count].concat(), data);
        }
    }
}
