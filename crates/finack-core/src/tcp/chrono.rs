//! What kept the sender from sending, and for how long: `tcp_info`'s busy time and its parts (Linux's `tcp_chrono`).

use core::time::Duration;

use super::congestion::Control;
use super::seq::Pos;
use super::tcb::Connection;
use crate::time::Instant;

/// Time is counted in 16ths of a millisecond, which 32 bits hold three days of.
const TICKS_PER_MILLI: u64 = 16;
/// Nanoseconds of a tick.
const TICK: u64 = 1_000_000 / TICKS_PER_MILLI;

/// Why the sender has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// Nothing is out, and nothing waits.
    Idle,
    /// It sends, or waits for ACKs.
    Busy,
    /// The peer's window keeps it from sending.
    PeerWindow,
    /// The application would write more, and the send buffer has no room.
    SendBuffer,
}

/// How long each was so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chrono {
    now: Reason,
    since: Instant,
    spent: [u32; 3],
}

impl Chrono {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { now: Reason::Idle, since: now, spent: [0; 3] }
    }

    #[inline]
    fn enter(&mut self, reason: Reason, now: Instant) {
        if self.now == reason {
            return;
        }
        if let Some(spent) = place(self.now).and_then(|i| self.spent.get_mut(i)) {
            *spent = spent.saturating_add(ticks(now.nanos_since(self.since)));
        }
        (self.now, self.since) = (reason, now);
    }

    fn spent(&self, reason: Reason, now: Instant) -> Duration {
        let before = place(reason).and_then(|i| self.spent.get(i)).copied().unwrap_or(0);
        let before = Duration::from_micros(u64::from(before) * 1000 / TICKS_PER_MILLI);
        if self.now == reason { before + now.since(self.since) } else { before }
    }

    /// Time in which something was out or waited to be sent.
    pub(crate) fn busy(&self, now: Instant) -> Duration {
        [Reason::Busy, Reason::PeerWindow, Reason::SendBuffer].iter().map(|r| self.spent(*r, now)).sum()
    }

    /// Time in which the peer's window kept us from sending.
    pub(crate) fn by_peer_window(&self, now: Instant) -> Duration {
        self.spent(Reason::PeerWindow, now)
    }

    /// Time in which the send buffer kept the application from writing.
    pub(crate) fn by_send_buffer(&self, now: Instant) -> Duration {
        self.spent(Reason::SendBuffer, now)
    }
}

const fn place(reason: Reason) -> Option<usize> {
    match reason {
        Reason::Idle => None,
        Reason::Busy => Some(0),
        Reason::PeerWindow => Some(1),
        Reason::SendBuffer => Some(2),
    }
}

/// Rounded to the nearest.
fn ticks(nanos: u64) -> u32 {
    u32::try_from(nanos.saturating_add(TICK / 2) / TICK).unwrap_or(u32::MAX)
}

impl Connection {
    /// [`note_limit`](Self::note_limit) where all that was written is sent, and the connection is open.
    #[inline]
    pub(crate) fn note_all_sent(&mut self, now: Instant) {
        let reason = if self.send.len() == 0 {
            Reason::Idle
        } else if self.facts.wants_room() && self.in_flight() < self.congestion.cwnd() {
            Reason::SendBuffer
        } else {
            Reason::Busy
        };
        self.units.chrono.enter(reason, now);
    }

    /// Sending has come to a stop: notes why.
    pub(crate) fn note_limit(&mut self, now: Instant) {
        let unsent = self.send.end() - self.snd_nxt.max(1);
        let reason = if self.send.len() == 0 || !self.state.is_synchronized() {
            Reason::Idle
        } else if unsent > 0 && self.snd_edge() - self.snd_nxt < unsent.min(Pos::from(self.mss)) {
            Reason::PeerWindow
        } else if unsent <= 0 && self.facts.wants_room() && self.in_flight() < self.congestion.cwnd() {
            Reason::SendBuffer
        } else {
            Reason::Busy
        };
        self.units.chrono.enter(reason, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux: the parts count for the whole, what lasts counts up to now.
    #[test]
    fn parts_add_up() {
        let at = Instant::from_millis;
        let mut chrono = Chrono::new(at(0));
        for (reason, when) in
            [(Reason::Busy, 10), (Reason::PeerWindow, 30), (Reason::Busy, 130), (Reason::Idle, 140)]
        {
            chrono.enter(reason, at(when));
        }
        assert_eq!(chrono.busy(at(500)).as_millis(), 130);
        assert_eq!(chrono.by_peer_window(at(500)).as_millis(), 100);
        chrono.enter(Reason::SendBuffer, at(500));
        assert_eq!(chrono.by_send_buffer(at(520)).as_millis(), 20);
    }
}
