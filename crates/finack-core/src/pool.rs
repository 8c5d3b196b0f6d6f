//! Blocks of payload memory, used again and again so that steady traffic allocates nothing.

use alloc::vec::Vec;

use crate::ring::Spares;
use crate::tcp::{Block, Chunk, Flights};

/// Room of a small block: what one request or answer needs.
pub(crate) const SMALL: usize = 2 << 10;
/// Room of a large block.
pub(crate) const LARGE: usize = 32 << 10;
/// Room of a block for those who write a lot: what the largest unit takes, so that filling and sending it is one call.
const WHOLE: usize = 64 << 10;

/// Spare blocks kept of each size; more are freed.
const SPARE_SMALL: usize = 1024;
const SPARE_LARGE: usize = 128;
const SPARE_WHOLE: usize = 64;

/// Spare blocks, and what empty queues stood in.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    whole: Vec<Vec<u8>>,
    /// Of send buffers, retransmission queues and receive queues; of the last with a small block each, empty, perhaps.
    pub(crate) blocks: Spares<Block>,
    pub(crate) flights: Flights,
    pub(crate) chunks: Spares<Chunk>,
}

impl Clone for Pool {
    /// An empty one: a copy of a block would have no room.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Pool {
    /// An empty block for at least a part of `wanted` bytes.
    pub(crate) fn take(&mut self, wanted: usize) -> Vec<u8> {
        let (spare, room) = if wanted <= SMALL { (&mut self.small, SMALL) } else { (&mut self.large, LARGE) };
        spare.pop().unwrap_or_else(|| Vec::with_capacity(room))
    }

    /// [`take`](Self::take) of a block that is written to, which may be a whole unit's.
    pub(crate) fn take_to_write(&mut self, wanted: usize) -> Vec<u8> {
        if wanted <= LARGE {
            return self.take(wanted);
        }
        self.whole.pop().unwrap_or_else(|| Vec::with_capacity(WHOLE))
    }

    /// Takes a block back.
    pub(crate) fn give(&mut self, mut block: Vec<u8>) {
        let (spare, most) = match block.capacity() {
            SMALL => (&mut self.small, SPARE_SMALL),
            LARGE => (&mut self.large, SPARE_LARGE),
            WHOLE => (&mut self.whole, SPARE_WHOLE),
            _ => return,
        };
        if spare.len() < most {
            block.clear();
            spare.push(block);
        }
    }

    pub(crate) fn memory(&self) -> usize {
        let queues = self.blocks.memory() + self.flights.memory() + self.chunks.memory();
        let in_queues: usize = self.chunks.iter().map(Chunk::memory).sum();
        let spare = self.small.len() * SMALL + self.large.len() * LARGE + self.whole.len() * WHOLE;
        spare + queues + in_queues
    }
}
