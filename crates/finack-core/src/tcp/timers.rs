//! The timers of one connection. The wheel holds a single entry for all of them, re-armed lazily.

use crate::time::Instant;

/// Which timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Timer {
    /// A tail loss probe, or the end of RACK's reordering window (RFC 8985). Before the time-out, which it puts off.
    Loss = 0,
    /// Retransmission (RFC 6298), or the zero-window probe when nothing is out.
    Retransmit = 1,
    /// Delayed ACK (RFC 9293 3.8.6.3).
    DelayedAck = 2,
    /// Keep-alive (RFC 9293 3.8.4); for an orphan in FIN-WAIT-2, its end.
    KeepAlive = 3,
    /// A partial segment held back by CORK or MSG_MORE goes out.
    Cork = 4,
}

const COUNT: usize = 5;

impl Timer {
    pub(crate) const ALL: [Self; COUNT] =
        [Self::Loss, Self::Retransmit, Self::DelayedAck, Self::KeepAlive, Self::Cork];
}

/// Deadlines; `FAR_FUTURE` where a timer is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timers([Instant; COUNT]);

impl Timers {
    pub(crate) const OFF: Self = Self([Instant::FAR_FUTURE; COUNT]);

    pub(crate) fn arm(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = at;
    }

    /// Arms it unless it runs already and fires earlier.
    pub(crate) fn arm_earlier(&mut self, timer: Timer, at: Instant) {
        let slot = &mut self.0[timer as usize];
        *slot = (*slot).min(at);
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = Instant::FAR_FUTURE;
    }

    pub(crate) fn is_armed(&self, timer: Timer) -> bool {
        self.0[timer as usize] != Instant::FAR_FUTURE
    }

    pub(crate) fn is_due(&self, timer: Timer, now: Instant) -> bool {
        self.0[timer as usize] <= now
    }

    /// Time until it fires; `None` where it is off.
    pub(crate) fn remaining(&self, timer: Timer, now: Instant) -> Option<core::time::Duration> {
        self.is_armed(timer).then(|| self.0[timer as usize].since(now))
    }

    /// When it fires; `FAR_FUTURE` where it is off.
    pub(crate) fn deadline(&self, timer: Timer) -> Instant {
        self.0[timer as usize]
    }

    /// The earliest deadline; `FAR_FUTURE` where all are off.
    pub(crate) fn earliest(&self) -> Instant {
        self.0.iter().copied().fold(Instant::FAR_FUTURE, Instant::min)
    }

    pub(crate) fn stop_all(&mut self) {
        *self = Self::OFF;
    }
}
