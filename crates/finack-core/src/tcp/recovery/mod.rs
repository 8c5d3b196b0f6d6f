//! Loss recovery: what is lost, and when to look again. It never reads the congestion window.

mod probe;
mod rack;
mod rtt;
mod undo;

pub(crate) use probe::{Probe, wait as probe_wait};
pub(crate) use rack::{Rack, Situation};
pub(crate) use rtt::Rtt;
pub(crate) use undo::Undo;

use core::time::Duration;

use super::send::{Found, RetransmitQueue, SentState};
use super::seq::Pos;
use crate::time::Instant;
use crate::trace::RetransmitReason;

/// Whether losses are being repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is known to be lost.
    Open,
    /// Fast recovery (RFC 5681 3.2, RFC 8985).
    Recovery,
    /// After a retransmission time-out.
    Loss,
}

/// What an ACK means for recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No loss, or none that was not known.
    Nothing,
    /// The first sign of loss: the congestion controller is to be told.
    Entered,
    /// All that was out when the loss was seen is acknowledged.
    Left,
}

/// What recovery makes of an ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) verdict: Verdict,
    /// Nothing had been lost: the window is to be as before. What the verdict says came to light after that.
    pub(crate) undone: bool,
    /// Positions newly taken for lost.
    pub(crate) lost: u64,
    /// What the last of them remembers of when it was sent.
    pub(crate) last_lost: Option<SentState>,
    /// In fast recovery something that had been sent again is lost.
    pub(crate) lost_again: bool,
    /// After this time, what now seems late will count as lost (RFC 8985 6.2 step 5).
    pub(crate) wait: Option<Duration>,
}

impl Progress {
    const fn only(verdict: Verdict) -> Self {
        Self { verdict, undone: false, lost: 0, last_lost: None, lost_again: false, wait: None }
    }
}

/// F-RTO (RFC 5682 3.1): was the time-out needed?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frto {
    Off,
    /// What comes back will tell.
    Watching,
    /// New data goes instead of what is taken for lost, until the next ACK (step 2b).
    NewData,
}

/// What F-RTO makes of an ACK.
enum Frtoed {
    /// It came too early.
    Undone,
    /// New data is to show that.
    Waits,
    /// What is taken for lost is sent again.
    GoesOn,
}

/// Recovery's own state.
#[derive(Clone, Debug)]
pub(crate) struct Recovery {
    pub(crate) phase: Phase,
    frto: Frto,
    /// Why what is lost is sent again.
    pub(crate) reason: RetransmitReason,
    /// Duplicate ACKs in a row (RFC 5681 2); with SACK those that reported something new (RFC 6675 2).
    duplicates: u32,
    pub(crate) probe: Probe,
    pub(crate) rack: Rack,
}

/// What an ACK brought, as far as recovery needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckEvent<'a> {
    /// SND.UNA after the ACK.
    pub(crate) una: Pos,
    /// SND.NXT.
    pub(crate) nxt: Pos,
    /// Positions that the ACK acknowledged.
    pub(crate) acked: u64,
    /// Positions that SACK blocks reported for the first time.
    pub(crate) newly_sacked: u64,
    /// It is a duplicate in the sense of RFC 5681 2.
    pub(crate) duplicate: bool,
    /// It acknowledges nothing new and brings nothing, though its window may be another.
    pub(crate) stalls: bool,
    /// The connection uses SACK.
    pub(crate) sack: bool,
    /// RACK.segment is a later one than before.
    pub(crate) rack_advanced: bool,
    /// The least end of what arrived and was sent only once.
    pub(crate) original_end: Option<Pos>,
    /// A duplicate was reported (RFC 2883).
    pub(crate) reported: bool,
    /// The echoed timestamp.
    pub(crate) echo: Option<u32>,
    /// There is new data that the peer's window takes.
    pub(crate) has_new_data: bool,
    pub(crate) at: Situation<'a>,
}

impl Recovery {
    pub(crate) const fn new() -> Self {
        Self {
            phase: Phase::Open,
            frto: Frto::Off,
            reason: RetransmitReason::FastRetransmit,
            duplicates: 0,
            probe: Probe::new(),
            rack: Rack::new(),
        }
    }

    /// Nothing is lost, no probe is out, and no duplicate ACK came since SND.UNA went on.
    pub(crate) fn is_calm(&self) -> bool {
        self.phase == Phase::Open && self.duplicates == 0 && !self.probe.is_out()
    }

    /// Bytes that duplicate ACKs say have left the network, where no SACK tells exactly (RFC 5681 3.2 step 4).
    pub(crate) fn left_network(&self, mss: u64) -> u64 {
        u64::from(self.duplicates) * mss
    }

    /// What is taken for lost waits while F-RTO sends new data (RFC 5682 3.1 step 2b).
    pub(crate) fn holds_repeats(&self) -> bool {
        self.frto == Frto::NewData
    }

    /// Whether the flight at whose loss the phase began is still out.
    pub(crate) fn is_about(&self, queue: &RetransmitQueue, una: Pos) -> bool {
        self.phase != Phase::Open && una < queue.point
    }

    /// Marks what the ACK shows to be lost.
    pub(crate) fn on_ack(
        &mut self,
        queue: &mut RetransmitQueue,
        undo: Option<&Undo>,
        ack: &AckEvent<'_>,
    ) -> Progress {
        let answers_original = ack.acked > 0 && undo.is_some_and(|u| u.answers_original(ack.echo));
        let explained = undo.is_some_and(Undo::all_explained);
        if self.phase == Phase::Recovery && answers_original && ack.sack {
            // As Linux: what filled the gap was only late, though it had been sent again.
            self.rack.on_late(queue.fack, ack.una - ack.acked as Pos, ack.at.mss);
        }
        if self.phase != Phase::Open && ack.acked > 0 && ack.una >= queue.point {
            return self.leave(explained || answers_original);
        }
        let mut undone = true;
        match self.phase {
            Phase::Recovery if answers_original && queue.has_repeats_out() => {
                // What was sent again is still out: wait for what becomes of it, and send no more of it.
                return Progress::only(Verdict::Nothing);
            }
            Phase::Recovery if answers_original => self.undo_losses(queue),
            Phase::Recovery | Phase::Open if explained && ack.reported => self.phase = Phase::Open,
            Phase::Loss if ack.acked > 0 && (explained || answers_original) => self.undo_losses(queue),
            Phase::Loss => match self.watch_time_out(queue, ack) {
                Frtoed::Undone => self.undo_losses(queue),
                Frtoed::Waits => return Progress::only(Verdict::Nothing),
                Frtoed::GoesOn => undone = false,
            },
            _ => undone = false,
        }
        // Also after an undo: some of it may be lost all the same.
        let found = self.detect(queue, ack);
        Progress { undone, ..self.conclude(ack.sack, ack.nxt, ack.at.mss, queue, found) }
    }

    /// The reordering timer ran out (RFC 8985 6.2 step 5).
    pub(crate) fn on_reorder_timer(
        &mut self,
        queue: &mut RetransmitQueue,
        nxt: Pos,
        at: &Situation<'_>,
    ) -> Progress {
        let found = self.rack.detect(queue, self.phase != Phase::Open, self.duplicates, at);
        self.conclude(true, nxt, at.mss, queue, found)
    }

    fn conclude(
        &mut self,
        sack: bool,
        nxt: Pos,
        mss: u64,
        queue: &mut RetransmitQueue,
        found: Found,
    ) -> Progress {
        let begins = match self.phase {
            Phase::Open => true,
            // What was sent again after the time-out was lost too.
            Phase::Loss => found.again,
            Phase::Recovery => false,
        };
        let entered = found.lost > 0 && begins;
        if entered {
            self.phase = Phase::Recovery;
            self.frto = Frto::Off;
            self.probe = Probe::new();
            queue.set_point(nxt);
        }
        if found.lost > 0 && sack {
            let third = queue.sacked() >= 3 * mss || self.duplicates >= 3;
            self.reason = if found.again {
                RetransmitReason::LostAgain
            } else if third {
                RetransmitReason::FastRetransmit
            } else {
                RetransmitReason::Overtaken
            };
        } else if entered {
            self.reason = RetransmitReason::FastRetransmit;
        }
        let verdict = if entered { Verdict::Entered } else { Verdict::Nothing };
        Progress {
            verdict,
            undone: false,
            lost: found.lost,
            last_lost: found.last,
            lost_again: found.again && !entered,
            wait: found.wait,
        }
    }

    /// All that was out when the phase began is acknowledged.
    fn leave(&mut self, needless: bool) -> Progress {
        let phase = core::mem::replace(&mut self.phase, Phase::Open);
        self.duplicates = 0;
        self.frto = Frto::Off;
        if needless {
            return Progress { undone: true, ..Progress::only(Verdict::Nothing) };
        }
        self.rack.on_recovered();
        // After a time-out the window starts anew; there is nothing to come back to.
        Progress::only(if phase == Phase::Recovery { Verdict::Left } else { Verdict::Nothing })
    }

    fn undo_losses(&mut self, queue: &mut RetransmitQueue) {
        queue.forget_losses();
        self.phase = Phase::Open;
        self.frto = Frto::Off;
        self.duplicates = 0;
    }

    /// F-RTO, with SACK or without (RFC 5682 2.1, 3.1).
    fn watch_time_out(&mut self, queue: &mut RetransmitQueue, ack: &AckEvent<'_>) -> Frtoed {
        if self.frto == Frto::Off {
            return Frtoed::GoesOn;
        }
        // Step 3b: something arrived that was not sent again. The time-out came too early.
        // Without SACK the first ACK may cover what had arrived before the time-out, so that only the second tells (2.1 step 3b).
        let tells = ack.sack || ack.nxt > queue.point;
        if tells && ack.original_end.is_some_and(|end| end <= queue.point) {
            return Frtoed::Undone;
        }
        self.frto = Frto::Watching;
        if ack.nxt > queue.point {
            // Step 3a. A receiver whose window changes with each segment sends no duplicate in the strict sense.
            if ack.newly_sacked > 0 || ack.duplicate || (!ack.sack && ack.stalls) {
                self.frto = Frto::Off;
            }
        } else if ack.acked > 0 {
            // Step 2b.
            queue.set_point(ack.nxt);
            if ack.has_new_data {
                self.frto = Frto::NewData;
                return Frtoed::Waits;
            }
            self.frto = Frto::Off;
        }
        Frtoed::GoesOn
    }

    fn detect(&mut self, queue: &mut RetransmitQueue, ack: &AckEvent<'_>) -> Found {
        if !ack.sack {
            let lost = self.detect_by_duplicates(queue, ack);
            let last = queue.front().filter(|_| lost > 0).map(|front| front.state());
            return Found { lost, last, ..Found::default() };
        }
        self.duplicates = if ack.acked > 0 { 0 } else { self.duplicates + u32::from(ack.newly_sacked > 0) };
        if !ack.rack_advanced {
            return Found::default();
        }
        self.rack.detect(queue, self.phase != Phase::Open, self.duplicates, &ack.at)
    }

    /// RFC 5681 3.2 and RFC 6582: the third duplicate, and then each partial ACK, loses the first segment.
    fn detect_by_duplicates(&mut self, queue: &mut RetransmitQueue, ack: &AckEvent<'_>) -> u64 {
        let mss = ack.at.mss;
        if ack.acked > 0 {
            self.duplicates = self.duplicates.saturating_sub((ack.acked / mss.max(1)) as u32);
            return match self.phase {
                Phase::Recovery => {
                    self.reason = RetransmitReason::PartialAck;
                    queue.mark_front_lost(mss)
                }
                Phase::Open => {
                    self.duplicates = 0;
                    0
                }
                Phase::Loss => 0,
            };
        }
        // After a time-out duplicates are echoes of what was sent before it (RFC 6582 4).
        if !ack.duplicate || self.phase == Phase::Loss {
            return 0;
        }
        // RFC 9937 6.2: in recovery no more than was out at its beginning, or made-up duplicates would go on for ever.
        let end = if self.phase == Phase::Recovery { queue.point } else { ack.nxt };
        let outstanding = (end - ack.una).max(0) as u64;
        if self.left_network(mss) + mss < outstanding {
            self.duplicates += 1;
        }
        let third = u64::from(self.duplicates) >= ack.at.settings.tcp_reordering;
        // RFC 6582 4: duplicates below "recover" are echoes of the last recovery.
        if third && self.phase == Phase::Open && ack.una >= queue.point {
            return queue.mark_front_lost(mss);
        }
        0
    }

    /// The path takes smaller packets only: what is out must go again, but nothing was lost to congestion.
    pub(crate) fn on_path_change(&mut self, queue: &mut RetransmitQueue, nxt: Pos) {
        queue.mark_all_lost(false);
        self.reason = RetransmitReason::PathMtu;
        self.frto = Frto::Off;
        if self.phase == Phase::Open {
            self.phase = Phase::Loss;
            queue.set_point(nxt);
        }
    }

    /// A probe of the path's MTU is lost, which is no sign of congestion: as if nothing were (RFC 4821 7.6.2). Without SACK
    /// the duplicate ACKs that follow say no more than that, until all that is out is acknowledged.
    pub(crate) fn on_probe_lost(&mut self, queue: &mut RetransmitQueue, sack: bool, nxt: Pos) {
        self.reason = RetransmitReason::PathMtu;
        self.frto = Frto::Off;
        self.duplicates = 0;
        self.phase = if sack { Phase::Open } else { Phase::Loss };
        queue.set_point(nxt);
    }

    /// A retransmission time-out. `watch`: F-RTO is to find out whether it was needed. Answers whether the peer threw
    /// away what it had reported (RFC 2018 8).
    pub(crate) fn on_timeout(
        &mut self,
        queue: &mut RetransmitQueue,
        nxt: Pos,
        watch: bool,
        now: Instant,
    ) -> bool {
        let reneged = queue.front_is_sacked();
        if reneged {
            queue.mark_all_lost(true);
        } else {
            queue.mark_late_lost(now, self.rack.patience());
        }
        self.frto = if watch { Frto::Watching } else { Frto::Off };
        self.probe = Probe::new();
        self.phase = Phase::Loss;
        self.reason = if reneged { RetransmitReason::Reneged } else { RetransmitReason::Timeout };
        queue.set_point(nxt);
        self.duplicates = 0;
        reneged
    }
}

#[cfg(test)]
mod tests;
