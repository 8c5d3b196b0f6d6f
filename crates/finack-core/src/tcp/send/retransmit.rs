//! Who has nothing out has no retransmission queue: a flight stands in a part of its own, which goes from a connection to
//! the next, and what an idle one keeps of it is a pointer.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;
use core::time::Duration;

use super::queue::{AckSummary, Deadline, Flight, Found};
use super::sent::{Sent, SentOrder, SentState};
use crate::pool::Pool;
use crate::tcp::seq::Pos;
use crate::time::Instant;

/// Flights at rest that are kept; more are freed.
const MOST: usize = 1024;

/// What a connection has out. What only reads takes one without for an empty [`Flight`].
#[derive(Clone, Default)]
pub(crate) struct RetransmitQueue(Option<Box<Flight>>);

/// Flights at rest.
#[derive(Clone, Debug, Default)]
#[expect(clippy::vec_box, reason = "boxes go from here to a connection and back as they are")]
pub(crate) struct Flights(Vec<Box<Flight>>);

impl Flights {
    pub(crate) fn memory(&self) -> usize {
        let flights: usize = self.0.iter().map(|flight| flight.memory()).sum();
        flights + self.0.capacity() * size_of::<Box<Flight>>()
    }
}

impl Deref for RetransmitQueue {
    type Target = Flight;

    #[inline]
    fn deref(&self) -> &Flight {
        match &self.0 {
            Some(flight) => flight,
            None => const { &Flight::NONE },
        }
    }
}

/// Whether an empty one is at rest does not show.
impl fmt::Debug for RetransmitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl RetransmitQueue {
    /// A flight that begins at `at`, before its first unit is pushed: allocates nothing where one is spare.
    #[inline]
    pub(crate) fn begin(&mut self, pool: &mut Pool, at: Instant) {
        let flight = self.0.get_or_insert_with(|| pool.flights.0.pop().unwrap_or_default());
        flight.begin(at);
    }

    /// Something was sent for the first time.
    #[inline]
    pub(crate) fn push(&mut self, pool: &mut Pool, unit: Sent) {
        self.0.get_or_insert_with(|| pool.flights.0.pop().unwrap_or_default()).push(unit);
    }

    /// Gives back what an empty queue stood in.
    #[inline]
    pub(crate) fn rest(&mut self, pool: &mut Pool) {
        if let Some(mut flight) = self.0.take_if(|flight| flight.is_empty())
            && flight.is_modest()
            && pool.flights.0.len() < MOST
        {
            flight.reset();
            pool.flights.0.push(flight);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        if let Some(flight) = &mut self.0 {
            flight.clear();
        }
        self.rest(pool);
    }

    /// Whether nothing is out.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|flight| flight.is_empty())
    }

    /// Units that are out.
    #[inline(always)]
    pub(crate) fn units(&self) -> usize {
        self.0.as_ref().map_or(0, |flight| flight.units())
    }

    /// Positions taken for lost and not sent again.
    #[inline(always)]
    pub(crate) fn lost(&self) -> u64 {
        self.0.as_ref().map_or(0, |flight| flight.lost())
    }

    /// What is out, unless nothing is.
    #[inline]
    pub(crate) fn awake(&mut self) -> Option<&mut Flight> {
        self.0.as_deref_mut()
    }

    pub(crate) fn memory(&self) -> usize {
        self.0.as_ref().map_or(0, |flight| flight.memory())
    }

    #[inline]
    pub(crate) fn prefetch(&self) {
        if let Some(flight) = &self.0 {
            finack_sum::prefetch::<Flight>(flight);
        }
    }

    /// Acknowledges everything before `una`.
    pub(crate) fn acknowledge(&mut self, una: Pos, summary: &mut AckSummary) {
        if let Some(flight) = &mut self.0 {
            flight.acknowledge(una, summary);
        }
    }

    /// See [`Flight::acknowledge_calmly`].
    #[inline(always)]
    pub(crate) fn acknowledge_calmly(&mut self, una: Pos) -> Option<(SentOrder, SentState)> {
        self.0.as_mut()?.acknowledge_calmly(una)
    }

    /// See [`Flight::sack`].
    pub(crate) fn sack(&mut self, start: Pos, end: Pos, mss: u64, summary: &mut AckSummary) {
        if let Some(flight) = &mut self.0 {
            flight.sack(start, end, mss, summary);
        }
    }

    /// Marks the first `bytes` of what is out as lost, sent again already or not.
    pub(crate) fn mark_front_lost(&mut self, bytes: u64) -> u64 {
        self.0.as_mut().map_or(0, |flight| flight.mark_front_lost(bytes))
    }

    /// Marks all between two positions as lost that is not SACKed.
    pub(crate) fn mark_lost_between(&mut self, start: Pos, end: Pos) {
        if let Some(flight) = &mut self.0 {
            flight.mark_lost_between(start, end);
        }
    }

    /// See [`Flight::mark_all_lost`].
    pub(crate) fn mark_all_lost(&mut self, renege: bool) {
        if let Some(flight) = &mut self.0 {
            flight.mark_all_lost(renege);
        }
    }

    /// See [`Flight::mark_late_lost`].
    pub(crate) fn mark_late_lost(&mut self, now: Instant, patience: Duration) {
        if let Some(flight) = &mut self.0 {
            flight.mark_late_lost(now, patience);
        }
    }

    /// See [`Flight::mark_overtaken`].
    pub(crate) fn mark_overtaken(&mut self, by: &Deadline) -> Found {
        self.0.as_mut().map_or_else(Found::default, |flight| flight.mark_overtaken(by))
    }

    /// Recovery's phase begins, with everything before `point` out.
    pub(crate) fn set_point(&mut self, point: Pos) {
        if let Some(flight) = &mut self.0 {
            flight.point = point;
        }
    }

    /// Nothing was lost after all: what was taken for it is on its way.
    pub(crate) fn forget_losses(&mut self) {
        if let Some(flight) = &mut self.0 {
            flight.forget_losses();
        }
    }

    /// `start..end` was sent again.
    pub(crate) fn resent(&mut self, start: Pos, end: Pos, state: &SentState) {
        if let Some(flight) = &mut self.0 {
            flight.resent(start, end, state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::send::Marks;

    fn unit(pool: &mut Pool, queue: &mut RetransmitQueue, start: Pos, end: Pos) {
        let at = Instant::from_millis(7);
        queue.begin(pool, at);
        let state = SentState {
            sent_at: at,
            delivered: 0,
            delivered_at: at,
            first_sent_at: at,
            in_flight: 0,
            lost: 0,
            app_limited: false,
        };
        queue.push(pool, Sent::new(start, end, Marks::default(), &state));
    }

    /// What one connection's flight left behind no other's shows.
    #[test]
    fn a_flight_that_is_over_serves_another() {
        let (mut pool, mut a, mut b) =
            (Pool::default(), RetransmitQueue::default(), RetransmitQueue::default());
        let none = alloc::format!("{a:?}");
        unit(&mut pool, &mut a, 1, 101);
        a.rest(&mut pool);
        assert_eq!(a.units(), 1, "it is not over");
        a.mark_front_lost(100);
        a.acknowledge(101, &mut AckSummary::default());
        if let Some(flight) = a.awake() {
            (flight.small, flight.fack) = (101, 101);
        }
        assert_eq!((a.lost_ever(), a.is_empty()), (100, true));
        let taken = a.memory();
        a.rest(&mut pool);
        assert_eq!((a.memory(), alloc::format!("{a:?}"), pool.flights.0.len()), (0, none, 1));
        assert!(pool.memory() >= taken);
        unit(&mut pool, &mut b, 1, 101);
        assert_eq!((b.memory(), b.lost_ever(), b.small, b.fack, pool.flights.0.len()), (taken, 0, 0, 0, 0));
        assert_eq!(size_of_val(&b), 8);
    }

    #[test]
    fn a_flight_that_grew_is_freed() {
        let (mut pool, mut queue) = (Pool::default(), RetransmitQueue::default());
        for n in 0..100 {
            unit(&mut pool, &mut queue, 1 + n, 2 + n);
        }
        queue.clear(&mut pool);
        assert_eq!((queue.memory(), pool.flights.0.len()), (0, 0));
    }
}
