//! Queues that are empty most of the time: an empty one is a pointer, and what a full one stood in is used again, by
//! whichever connection needs a queue next.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::ops::{Deref, DerefMut};

/// A queue that may be at rest: then it is empty, and takes no memory of its own.
#[derive(Clone)]
#[expect(clippy::box_collection, reason = "one at rest is a word in each connection, and not three")]
pub(crate) struct Ring<T>(Option<Box<VecDeque<T>>>);

/// Queues at rest that are kept; more are freed.
const MOST: usize = 1024;
/// A queue that grew beyond so many elements is freed when it is empty.
const MODEST: usize = 16;

/// Queues at rest.
#[derive(Clone, Debug)]
#[expect(clippy::vec_box, reason = "boxes go from here to a connection and back as they are")]
pub(crate) struct Spares<T>(Vec<Box<VecDeque<T>>>);

impl<T> Default for Spares<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Spares<T> {
    pub(crate) fn memory(&self) -> usize {
        let queues: usize = self.0.iter().map(|queue| memory(queue)).sum();
        queues + self.0.capacity() * size_of::<Box<VecDeque<T>>>()
    }

    /// What stayed in them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flat_map(|queue| queue.iter())
    }
}

fn memory<T>(queue: &VecDeque<T>) -> usize {
    size_of::<VecDeque<T>>() + queue.capacity() * size_of::<T>()
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether an empty one is at rest does not show.
impl<T: fmt::Debug> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().flat_map(|queue| queue.iter())).finish()
    }
}

impl<T> Ring<T> {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// What it stands in, unless it is at rest.
    #[inline]
    pub(crate) fn awake(&mut self) -> Option<&mut VecDeque<T>> {
        self.0.as_deref_mut()
    }

    /// Before something is put into it: allocates nothing where a queue is spare.
    #[inline]
    pub(crate) fn wake(&mut self, spares: &mut Spares<T>) {
        if self.0.is_none() {
            self.0 = Some(spares.0.pop().unwrap_or_default());
        }
    }

    /// Gives back what it stands in, if it is empty.
    #[inline]
    pub(crate) fn rest(&mut self, spares: &mut Spares<T>) {
        self.rest_with(0, spares);
    }

    /// The same where `left` elements may stay in it: who wakes up with it next finds them there.
    #[inline]
    pub(crate) fn rest_with(&mut self, left: usize, spares: &mut Spares<T>) {
        if let Some(queue) = self.0.take_if(|queue| queue.len() == left)
            && queue.capacity() <= MODEST
            && spares.0.len() < MOST
        {
            spares.0.push(queue);
        }
    }

    pub(crate) fn memory(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| memory(queue))
    }

    /// Has fetched what tells where its elements stand.
    #[inline]
    pub(crate) fn prefetch(&self) {
        if let Some(queue) = &self.0 {
            finack_sum::prefetch::<VecDeque<T>>(queue);
        }
    }

    // What changes nothing in an empty queue must not wake one up.

    pub(crate) fn back_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut()?.back_mut()
    }

    pub(crate) fn pop_front(&mut self) -> Option<T> {
        self.0.as_mut()?.pop_front()
    }

    pub(crate) fn pop_back(&mut self) -> Option<T> {
        self.0.as_mut()?.pop_back()
    }

    pub(crate) fn clear(&mut self) {
        if let Some(queue) = &mut self.0 {
            queue.clear();
        }
    }
}

impl<T: 'static> Deref for Ring<T> {
    type Target = VecDeque<T>;

    fn deref(&self) -> &VecDeque<T> {
        match &self.0 {
            Some(queue) => queue,
            None => const { &VecDeque::new() },
        }
    }
}

impl<T: 'static> DerefMut for Ring<T> {
    fn deref_mut(&mut self) -> &mut VecDeque<T> {
        self.0.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_at_rest_takes_no_memory_and_serves_another() {
        let (mut spares, mut a, mut b) = (Spares::default(), Ring::new(), Ring::new());
        assert_eq!((a.len(), a.front(), a.memory()), (0, None, 0));
        a.wake(&mut spares);
        a.push_back(1);
        a.rest(&mut spares);
        assert_eq!((a.len(), spares.0.len()), (1, 0), "it is not empty");
        a.pop_front();
        let taken = a.memory();
        a.rest(&mut spares);
        assert_eq!((a.memory(), spares.0.len()), (0, 1));
        assert!(spares.memory() >= taken);
        b.wake(&mut spares);
        assert_eq!((b.memory(), spares.0.len(), size_of_val(&b)), (taken, 0, 8));
    }

    #[test]
    fn a_queue_that_grew_is_freed() {
        let (mut spares, mut ring) = (Spares::default(), Ring::new());
        ring.extend(0..100);
        ring.clear();
        ring.rest(&mut spares);
        assert_eq!((ring.memory(), spares.0.len()), (0, 0));
    }
}
