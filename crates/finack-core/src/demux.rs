//! Four-tuple → slot in O(1), whatever the number of connections.
//!
//! An index by open addressing, in buckets that fill one line of the processor's cache each: a byte of each entry's hash,
//! which spares looking at records that are not meant, and the slot that it names. An entry whose bucket is full stands in
//! the next one with room; each bucket counts the entries that went by, so that a search knows where it ends and nothing has
//! to mark the places of entries that left.
//!
//! The index grows by half into a second table, a bucket with each insertion: no insertion pays for all that stand, and
//! what was moved is freed segment by segment. Whether an entry has moved already shows by its hash, so that a search looks
//! into one of the two tables only. Hashes are not kept: who inserts says how an entry's is found again.

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

/// An index into a slab has so many bits.
pub(crate) const INDEX_BITS: u32 = 29;

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

/// Places of a bucket.
const PLACES: usize = 12;
/// Entries for each bucket at which the index grows.
const LOAD: usize = 9;
const FIRST_BUCKETS: u32 = 2;

/// A line of the cache.
#[derive(Clone, Debug, Default)]
#[repr(align(64))]
struct Bucket {
    /// A byte of each entry's hash, 0 where the place is free; behind them the four of `passed`. So all are loaded at once.
    head: [u8; PLACES + 4],
    slots: [u32; PLACES],
}

/// One byte of a hash, never 0. Its home follows from the upper bits.
const fn tag_of(hash: u32) -> u8 {
    let tag = hash as u8;
    if tag == 0 { 0xff } else { tag }
}

impl Bucket {
    /// Entries that belong here or before and stand behind, for want of room.
    #[inline]
    fn passed(&self) -> u32 {
        let [.., a, b, c, d] = self.head;
        u32::from_le_bytes([a, b, c, d])
    }

    fn set_passed(&mut self, passed: u32) {
        self.head[PLACES..].copy_from_slice(&passed.to_le_bytes());
    }

    /// The places whose tag is this: the highest bit of each one's byte.
    #[inline]
    fn hits(&self, tag: u8) -> u128 {
        const LOW: u128 = 0x7f7f_7f7f_7f7f_7f7f_7f7f_7f7f;
        const HIGH: u128 = 0x8080_8080_8080_8080_8080_8080;
        let differing = u128::from_le_bytes(self.head) ^ (u128::from(tag) * 0x0101_0101_0101_0101_0101_0101);
        !(((differing & LOW) + LOW) | differing) & HIGH
    }

    /// The places whose tag is this.
    #[inline]
    fn places(&self, tag: u8) -> impl Iterator<Item = usize> + use<> {
        let mut hits = self.hits(tag);
        core::iter::from_fn(move || {
            let place = hits.trailing_zeros() as usize / 8;
            hits &= hits.wrapping_sub(1);
            (place < PLACES).then_some(place)
        })
    }
}

/// Buckets in the order of hashes. Those that nothing was put into yet need not be there; behind the last one stands what
/// found no room in it.
#[derive(Clone, Debug)]
struct Table {
    buckets: SegmentVec<Bucket>,
    count: u32,
}

impl Table {
    fn new(count: u32) -> Self {
        Self { buckets: SegmentVec::default(), count }
    }

    /// The bucket that an entry belongs to. Greater hashes never belong to lesser buckets, whatever the number of buckets.
    #[inline]
    const fn home(&self, hash: u32) -> usize {
        ((hash as u64 * self.count as u64) >> 32) as usize
    }

    fn bucket_mut(&mut self, at: usize) -> &mut Bucket {
        while self.buckets.len() <= at {
            self.buckets.push(Bucket::default());
        }
        &mut self.buckets[at as u32]
    }

    #[inline]
    fn find(&self, hash: u32, mut matches: impl FnMut(Slot) -> bool) -> Option<Slot> {
        let (tag, mut at) = (tag_of(hash), self.home(hash));
        while let Some(bucket) = self.buckets.get(at) {
            for place in bucket.places(tag) {
                let slot = Slot(bucket.slots[place]);
                if matches(slot) {
                    return Some(slot);
                }
            }
            if bucket.passed() == 0 {
                break;
            }
            at += 1;
        }
        None
    }

    fn insert(&mut self, hash: u32, slot: Slot) {
        let mut at = self.home(hash);
        loop {
            let bucket = self.bucket_mut(at);
            if let Some(place) = bucket.places(0).next() {
                bucket.head[place] = tag_of(hash);
                bucket.slots[place] = slot.0;
                return;
            }
            bucket.set_passed(bucket.passed() + 1);
            at += 1;
        }
    }

    /// Bucket and place of an entry.
    fn position(&self, hash: u32, slot: Slot) -> Option<(usize, usize)> {
        let (tag, mut at) = (tag_of(hash), self.home(hash));
        while let Some(bucket) = self.buckets.get(at) {
            if let Some(place) = bucket.places(tag).find(|&place| bucket.slots[place] == slot.0) {
                return Some((at, place));
            }
            if bucket.passed() == 0 {
                break;
            }
            at += 1;
        }
        None
    }

    /// Takes out what stands at `place` of bucket `at` and belongs to `home`.
    fn clear(&mut self, home: usize, at: usize, place: usize) {
        self.bucket_mut(at).head[place] = 0;
        for passed in home..at {
            let bucket = self.bucket_mut(passed);
            bucket.set_passed(bucket.passed() - 1);
        }
    }
}

/// The index.
#[derive(Clone, Debug)]
pub(crate) struct Demux {
    table: Table,
    /// The table before it, while entries move over.
    old: Option<Table>,
    /// What belongs to earlier buckets of the old table has moved.
    moved: usize,
    len: usize,
}

impl Demux {
    pub(crate) fn new() -> Self {
        Self { table: Table::new(FIRST_BUCKETS), old: None, moved: 0, len: 0 }
    }

    /// The table in which entries with this hash stand.
    #[inline]
    fn table_of(&self, hash: u32) -> &Table {
        match &self.old {
            Some(old) if old.home(hash) >= self.moved => old,
            _ => &self.table,
        }
    }

    fn table_of_mut(&mut self, hash: u32) -> &mut Table {
        match &mut self.old {
            Some(old) if old.home(hash) >= self.moved => old,
            _ => &mut self.table,
        }
    }

    /// Has the bucket fetched in which a search for this hash will begin.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        let table = self.table_of(hash as u32);
        if let Some(bucket) = table.buckets.get(table.home(hash as u32)) {
            finack_sum::prefetch(bucket);
        }
    }

    /// The first slot with this hash of which `matches` says yes; it is asked about few others.
    pub(crate) fn find(&self, hash: u64, matches: impl FnMut(Slot) -> bool) -> Option<Slot> {
        let hash = hash as u32;
        self.table_of(hash).find(hash, matches)
    }

    /// Adds a slot that is not in the index. `hash_of` tells the hashes of others that are.
    pub(crate) fn insert(&mut self, hash: u64, slot: Slot, hash_of: impl Fn(Slot) -> u64) {
        let hash = hash as u32;
        self.table_of_mut(hash).insert(hash, slot);
        self.len += 1;
        if self.old.is_some() {
            self.move_one(hash_of);
        } else if self.len > self.table.count as usize * LOAD {
            let count = self.table.count + self.table.count / 2;
            self.old = Some(core::mem::replace(&mut self.table, Table::new(count)));
            self.moved = 0;
        }
    }

    /// Takes a slot out; one that is not in the index is left alone.
    pub(crate) fn remove(&mut self, hash: u64, slot: Slot) -> bool {
        let hash = hash as u32;
        let table = self.table_of_mut(hash);
        let Some((at, place)) = table.position(hash, slot) else { return false };
        table.clear(table.home(hash), at, place);
        self.len -= 1;
        true
    }

    /// Has `new` take the place of `old`, of the same four-tuple; answers whether that was there.
    pub(crate) fn replace(&mut self, hash: u64, old: Slot, new: Slot) -> bool {
        let hash = hash as u32;
        let table = self.table_of_mut(hash);
        let Some((at, place)) = table.position(hash, old) else { return false };
        table.bucket_mut(at).slots[place] = new.0;
        true
    }

    /// Moves what belongs to the next bucket of the old table, wherever it stands there.
    fn move_one(&mut self, hash_of: impl Fn(Slot) -> u64) {
        let Some(old) = &mut self.old else { return };
        let home = self.moved;
        self.moved += 1;
        let mut at = home;
        while let Some(bucket) = old.buckets.get(at) {
            let (tags, slots) = (bucket.head, bucket.slots);
            // All of them first: the processor fetches the records that they name at once.
            let hashes: [u32; PLACES] = core::array::from_fn(|place| match tags[place] {
                0 => 0,
                _ => hash_of(Slot(slots[place])) as u32,
            });
            for place in 0..PLACES {
                if tags[place] != 0 && old.home(hashes[place]) == home {
                    old.clear(home, at, place);
                    self.table.insert(hashes[place], Slot(slots[place]));
                }
            }
            // What belongs to earlier buckets has left: those that went by are this one's own.
            if old.buckets[home as u32].passed() == 0 {
                break;
            }
            at += 1;
        }
        old.buckets.free_before(self.moved);
        if self.moved >= old.count as usize {
            self.old = None;
        }
    }

    /// Slots in the index.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn memory(&self) -> usize {
        self.table.buckets.memory() + self.old.as_ref().map_or(0, |old| old.buckets.memory())
    }
}

#[cfg(test)]
mod tests;
