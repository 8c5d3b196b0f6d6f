//! Pacing: data leaves at a rate, not as fast as the window lets it (draft-ietf-ccwg-bbr 5.6.2, RFC 9937 6.4).
//!
//! Each unit takes its time: the next one may leave so much later as the rate needs for the bytes of this one. A host
//! whose timers fire late catches up, so that it never sends at less than the rate for want of a better timer; but what
//! was not sent because the window or the application left nothing to send is not made up for.

use alloc::boxed::Box;
use core::time::Duration;

use super::congestion::Control;
use super::seq::Pos;
use super::tcb::Connection;
use crate::cx::Cx;
use crate::time::Instant;

/// So late a timer may fire and no time be lost. More than that would make a burst that the path need not take.
const MOST_LATE: Duration = Duration::from_millis(4);
/// The first segments of a connection are not paced, as on Linux.
const UNPACED_SEGMENTS: u64 = 10;
const SECOND: u128 = 1_000_000_000;

/// When the next unit may leave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacer {
    next_at: Instant,
    /// Something waits for that, and nothing else.
    waiting: bool,
}

impl Pacer {
    const fn new(now: Instant) -> Self {
        Self { next_at: now, waiting: false }
    }

    /// `bytes` leave at `now`.
    fn on_sent(&mut self, now: Instant, bytes: u64, rate: u64) {
        let nanos = u128::from(bytes) * SECOND / u128::from(rate.max(1));
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let latest = Instant::from_nanos(now.as_nanos().saturating_sub(MOST_LATE.as_nanos() as u64));
        let from = if self.waiting { self.next_at.max(latest) } else { self.next_at.max(now) };
        self.next_at = from + takes;
    }
}

impl Connection {
    /// Bytes a second at which data leaves; `None` where nothing holds it back but windows.
    #[inline]
    pub(crate) fn paced_rate(&self, cx: &Cx) -> Option<u64> {
        let most = self.options.max_pacing_rate;
        let own = self.congestion.pacing_rate();
        if own.is_none() && most.is_none() && cx.settings.tcp_pacing == 0 {
            return None;
        }
        let rate = own.or_else(|| self.nominal_rate(cx));
        [rate, most].into_iter().flatten().filter(|&rate| rate > 0).min()
    }

    /// Until when what could be sent must wait.
    pub(crate) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.rare().pacer.as_ref().map(|pacer| pacer.next_at).filter(|&at| at > now)
    }

    /// When the first of all its timers fires; `FAR_FUTURE` where none is armed.
    pub(crate) fn earliest_deadline(&self) -> Instant {
        self.timers.earliest().min(self.pacing_deadline())
    }

    /// When the timer of pacing fires; `FAR_FUTURE` where nothing waits for it, or has its turn already.
    fn pacing_deadline(&self) -> Instant {
        match &self.rare().pacer {
            Some(pacer) if pacer.waiting && !self.facts.tx_queued() => pacer.next_at,
            _ => Instant::FAR_FUTURE,
        }
    }

    /// Whether something waits for its time, and for nothing else.
    pub(crate) fn note_held(&mut self, held: bool) {
        if let Some(pacer) = self.rare.as_deref_mut().and_then(|rare| rare.pacer.as_mut()) {
            pacer.waiting = held;
        }
    }

    /// Nothing holds it back any more, or another rate does from now on.
    pub(crate) fn forget_pacer(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.pacer = None;
        }
    }

    /// `start..end` leaves at `now`.
    #[inline]
    pub(crate) fn pace(&mut self, cx: &Cx, now: Instant, start: Pos, end: Pos) {
        match self.paced_rate(cx) {
            Some(rate) => self.pace_at(rate, now, start, end),
            None => self.forget_pacer(),
        }
    }

    fn pace_at(&mut self, rate: u64, now: Instant, start: Pos, end: Pos) {
        if end <= 1 + (UNPACED_SEGMENTS * u64::from(self.mss)) as Pos {
            return;
        }
        let pacer = self.rare_mut().pacer.get_or_insert_with(|| Box::new(Pacer::new(now)));
        pacer.on_sent(now, (end - start) as u64, rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    /// draft-ietf-ccwg-bbr 5.6.2: a thousand bytes at a megabyte a second take a millisecond, from when the one before was
    /// over, or from now.
    #[test]
    fn a_unit_takes_its_time() {
        let mut pacer = Pacer::new(at(0));
        pacer.on_sent(at(0), 1000, 1_000_000);
        assert_eq!(pacer.next_at, at(1000));
        pacer.on_sent(at(400), 1000, 1_000_000);
        assert_eq!(pacer.next_at, at(2000));
        pacer.on_sent(at(9000), 1000, 1_000_000);
        assert_eq!(pacer.next_at, at(10_000), "a pause of the application is not made up for");
    }

    /// A timer that fires late costs no rate, unless it is very late.
    #[test]
    fn a_late_timer_is_made_up_for() {
        let mut pacer = Pacer { next_at: at(1000), waiting: true };
        pacer.on_sent(at(2500), 1000, 1_000_000);
        assert_eq!(pacer.next_at, at(2000), "the next one may go at once");
        pacer.on_sent(at(50_000), 1000, 1_000_000);
        assert_eq!(pacer.next_at, at(47_000));
    }
}
