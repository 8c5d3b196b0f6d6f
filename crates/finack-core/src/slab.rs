//! Slabs that grow in segments: nothing ever copies a whole table.

use alloc::vec::Vec;

/// Elements of the first segment; each of the next ones doubles until `FULL`.
const FIRST: usize = 16;
/// How many segments double.
const DOUBLING: usize = 8;
/// Elements in the doubling segments together.
const DOUBLED: usize = FIRST * ((1 << DOUBLING) - 1);
/// Elements of every later segment.
const FULL: usize = FIRST << DOUBLING;

/// A vector whose elements never move.
#[derive(Clone, Debug)]
pub(crate) struct SegmentVec<T> {
    segments: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for SegmentVec<T> {
    fn default() -> Self {
        Self { segments: Vec::new(), len: 0 }
    }
}

#[inline]
const fn locate(index: usize) -> (usize, usize) {
    if index < DOUBLED {
        let shifted = index + FIRST;
        let segment = (shifted.ilog2() - FIRST.ilog2()) as usize;
        (segment, shifted - (FIRST << segment))
    } else {
        let rest = index - DOUBLED;
        (DOUBLING + rest / FULL, rest % FULL)
    }
}

const fn segment_size(segment: usize) -> usize {
    if segment < DOUBLING { FIRST << segment } else { FULL }
}

impl<T> SegmentVec<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        let (segment, offset) = locate(index);
        self.segments.get(segment)?.get(offset)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let (segment, offset) = locate(index);
        self.segments.get_mut(segment)?.get_mut(offset)
    }

    pub(crate) fn push(&mut self, value: T) {
        let (segment, _) = locate(self.len);
        if segment == self.segments.len() {
            self.segments.push(Vec::with_capacity(segment_size(segment)));
        }
        self.segments[segment].push(value);
        self.len += 1;
    }

    /// Gives back the segments of which all elements stand before `index`: nobody asks for them any more.
    pub(crate) fn free_before(&mut self, index: usize) {
        let (last, _) = locate(index);
        for segment in self.segments.iter_mut().take(last).rev() {
            if segment.capacity() == 0 {
                break;
            }
            *segment = Vec::new();
        }
    }

    /// Bytes held, spare room of the last segment included.
    pub(crate) fn memory(&self) -> usize {
        self.segments.iter().map(|s| s.capacity() * size_of::<T>()).sum()
    }
}

impl<T> core::ops::Index<u32> for SegmentVec<T> {
    type Output = T;
    #[inline]
    fn index(&self, index: u32) -> &T {
        let (segment, offset) = locate(index as usize);
        &self.segments[segment][offset]
    }
}

impl<T> core::ops::IndexMut<u32> for SegmentVec<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        let (segment, offset) = locate(index as usize);
        &mut self.segments[segment][offset]
    }
}

const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
enum Entry<T> {
    Free { next: u32 },
    Taken(T),
}

/// Values at stable indexes; freed indexes are used again, last freed first.
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    entries: SegmentVec<Entry<T>>,
    free: u32,
    len: usize,
    touched: u64,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: SegmentVec::default(), free: NONE, len: 0, touched: 0 }
    }
}

impl<T> Slab<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How often somebody may have changed a value: while it stays the same none has changed, come or gone.
    #[inline]
    pub(crate) const fn touched(&self) -> u64 {
        self.touched
    }

    /// What values depend on has changed, as good as they.
    pub(crate) const fn touch(&mut self) {
        self.touched += 1;
    }

    /// Places there are, free ones included: every index lies below.
    pub(crate) fn places(&self) -> u32 {
        self.entries.len() as u32
    }

    #[inline]
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.touch();
        self.len += 1;
        if self.free == NONE {
            // Caps keep every table below 2^29 entries.
            let index = self.entries.len() as u32;
            self.entries.push(Entry::Taken(value));
            return index;
        }
        let index = self.free;
        if let Entry::Free { next } = self.entries[index] {
            self.free = next;
        }
        self.entries[index] = Entry::Taken(value);
        index
    }

    /// [`remove`](Self::remove) where nobody needs the value: it is not moved before it is dropped.
    pub(crate) fn free(&mut self, index: u32) {
        self.touch();
        if let Some(entry @ Entry::Taken(_)) = self.entries.get_mut(index as usize) {
            *entry = Entry::Free { next: self.free };
            self.free = index;
            self.len -= 1;
        }
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        self.touch();
        let entry = self.entries.get_mut(index as usize)?;
        if matches!(entry, Entry::Free { .. }) {
            return None;
        }
        let old = core::mem::replace(entry, Entry::Free { next: self.free });
        self.free = index;
        self.len -= 1;
        match old {
            Entry::Taken(value) => Some(value),
            Entry::Free { .. } => None,
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        match self.entries.get(index as usize)? {
            Entry::Taken(value) => Some(value),
            Entry::Free { .. } => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.touch();
        self.get_to_count(index)
    }

    /// [`get_mut`](Self::get_mut) for somebody who only counts: it is not [`touched`](Self::touched) by that.
    #[inline]
    pub(crate) fn get_to_count(&mut self, index: u32) -> Option<&mut T> {
        match self.entries.get_mut(index as usize)? {
            Entry::Taken(value) => Some(value),
            Entry::Free { .. } => None,
        }
    }

    /// Has what stands at `index` fetched, for somebody who will soon look at it.
    #[inline]
    pub(crate) fn prefetch(&self, index: u32) {
        if let Some(entry) = self.entries.get(index as usize) {
            finack_sum::prefetch(entry);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..self.entries.len() as u32).filter_map(|i| self.get(i).map(|v| (i, v)))
    }

    pub(crate) fn memory(&self) -> usize {
        self.entries.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_map_to_segments_without_gap_or_overlap() {
        let mut expected = (0, 0);
        for index in 0..20_000 {
            assert_eq!(locate(index), expected, "index {index}");
            expected.1 += 1;
            if expected.1 == segment_size(expected.0) {
                expected = (expected.0 + 1, 0);
            }
        }
    }

    #[test]
    fn freed_indexes_are_used_again() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert("a"), slab.insert("b"));
        assert_eq!(slab.remove(a), Some("a"));
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.insert("c"), a);
        slab.free(a);
        slab.free(a);
        assert_eq!((slab.get(a), slab.len()), (None, 1));
        assert_eq!(slab.insert("c"), a);
        assert_eq!((slab.get(a), slab.get(b), slab.len()), (Some(&"c"), Some(&"b"), 2));
        assert_eq!(slab.iter().map(|(i, _)| i).collect::<Vec<_>>(), [a, b]);
    }

    #[test]
    fn whatever_may_change_a_value_counts() {
        let mut slab = Slab::default();
        let mut before = slab.touched();
        let mut changes = |slab: &Slab<_>| core::mem::replace(&mut before, slab.touched()) != slab.touched();
        let (a, b) = (slab.insert("a"), slab.insert("b"));
        assert!(changes(&slab), "insert");
        assert!(slab.get(a).is_some() && slab.iter().count() == slab.len() && !changes(&slab), "reading");
        assert!(slab.get_mut(a).is_some() && changes(&slab), "get_mut");
        assert!(slab.remove(a).is_some() && changes(&slab), "remove");
        slab.free(b);
        assert!(changes(&slab), "free");
    }
}
