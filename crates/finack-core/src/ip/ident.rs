//! IP identifications that an onlooker off the path can neither guess nor count (RFC 6864, RFC 7739).

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::hash::Key;

/// Counters; destinations share them by a keyed hash.
const COUNTERS: usize = 2048;

/// Counters of identifications for packets that may be fragmented. All others are atomic and bear 0 (RFC 6864 4.1).
#[derive(Clone, Debug)]
pub(crate) struct Ident {
    key: Key,
    /// Made when first needed.
    counters: Vec<u32>,
    /// Of several stacks that are one host each counts its own numbers: which it is of how many.
    part: (u32, u32),
}

impl Ident {
    pub(crate) fn new(key: Key) -> Self {
        Self { key, counters: Vec::new(), part: (0, 1) }
    }

    /// Counts as the stack `index` of `count` that are one host: what two of them send at a time never bears one number.
    pub(crate) fn set_part(&mut self, index: u32, count: u32) {
        self.part = (index, count.max(1));
    }

    /// The next identification for packets of `protocol` from `src` to `dst`: 32 bits in IPv6, the low 16 in IPv4.
    /// Each three of these count from an offset of their own.
    pub(crate) fn next(&mut self, src: IpAddr, dst: IpAddr, protocol: u8) -> u32 {
        if self.counters.is_empty() {
            self.counters = alloc::vec![0; COUNTERS];
        }
        let hash = self.key.wire().addr(src).addr(dst).u64(u64::from(protocol)).finish();
        let counter = &mut self.counters[(hash >> 32) as usize % COUNTERS];
        let (index, count) = self.part;
        *counter = counter.wrapping_add(count);
        (hash as u32).wrapping_add(*counter).wrapping_add(index)
    }
}
