//! Loss recovery: what is lost, and when to look again. It never reads the congestion window.

mod rate;
mod rtt;

pub(crate) use rate::RateSample;
pub(crate) use rtt::Rtt;

use super::send::RetransmitQueue;
use super::seq::Pos;
use crate::trace::RetransmitReason;

/// Whether losses are being repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is known to be lost.
    Open,
    /// Fast recovery (RFC 5681 3.2, RFC 6675).
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

/// Recovery's own state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery {
    pub(crate) phase: Phase,
    /// SND.NXT when the phase began ("recover" in RFC 6582).
    point: Pos,
    /// Why what is lost is sent again.
    pub(crate) reason: RetransmitReason,
    /// Duplicate ACKs in a row; with SACK those that reported something new (RFC 6675 2).
    duplicates: u32,
}

/// What an ACK brought, as far as recovery needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckEvent {
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
    /// The connection uses SACK.
    pub(crate) sack: bool,
    /// Segment size.
    pub(crate) mss: u64,
    /// Segments that may overtake one before it counts as lost.
    pub(crate) reordering: u64,
}

impl Recovery {
    pub(crate) const fn new() -> Self {
        Self { phase: Phase::Open, point: 0, reason: RetransmitReason::FastRetransmit, duplicates: 0 }
    }

    /// Bytes that duplicate ACKs say have left the network, where no SACK tells exactly (RFC 5681 3.2 step 4).
    pub(crate) fn left_network(&self, mss: u64) -> u64 {
        u64::from(self.duplicates) * mss
    }

    /// Marks what the ACK shows to be lost.
    pub(crate) fn on_ack(&mut self, queue: &mut RetransmitQueue, ack: &AckEvent) -> Verdict {
        if ack.acked > 0 && self.phase != Phase::Open && ack.una >= self.point {
            let phase = core::mem::replace(&mut self.phase, Phase::Open);
            self.duplicates = 0;
            // RFC 6582 3.2 deflates the window after fast recovery; after a time-out it was never inflated.
            return if phase == Phase::Recovery { Verdict::Left } else { Verdict::Nothing };
        }
        let newly_lost =
            if ack.sack { self.detect_by_sack(queue, ack) } else { self.detect_by_duplicates(queue, ack) };
        if newly_lost == 0 || self.phase != Phase::Open {
            return Verdict::Nothing;
        }
        self.phase = Phase::Recovery;
        self.reason = RetransmitReason::FastRetransmit;
        self.point = ack.nxt;
        Verdict::Entered
    }

    /// RFC 6675 4, IsLost: more than `DupThresh - 1` segments' worth of bytes above it are SACKed. Where segments are
    /// small, the third duplicate ACK tells it of the first one (RFC 6675 5 (1)).
    fn detect_by_sack(&mut self, queue: &mut RetransmitQueue, ack: &AckEvent) -> u64 {
        if ack.acked > 0 {
            self.duplicates = 0;
        } else {
            self.duplicates += u32::from(ack.newly_sacked > 0);
        }
        let threshold = (ack.reordering - 1) * ack.mss;
        let lost = queue.position_below_sacked(threshold).map_or(0, |limit| queue.mark_lost_before(limit));
        let third = self.phase == Phase::Open && u64::from(self.duplicates) >= ack.reordering;
        if lost == 0 && third { queue.mark_front_lost(ack.mss) } else { lost }
    }

    /// RFC 5681 3.2 and RFC 6582: the third duplicate, and then each partial ACK, loses the first segment.
    fn detect_by_duplicates(&mut self, queue: &mut RetransmitQueue, ack: &AckEvent) -> u64 {
        if ack.acked > 0 {
            self.duplicates = self.duplicates.saturating_sub((ack.acked / ack.mss.max(1)) as u32);
            return match self.phase {
                Phase::Recovery => {
                    self.reason = RetransmitReason::PartialAck;
                    queue.mark_front_lost(ack.mss)
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
        let outstanding = (ack.nxt - ack.una) as u64;
        if self.left_network(ack.mss) + ack.mss < outstanding {
            self.duplicates += 1;
        }
        let third = u64::from(self.duplicates) >= ack.reordering;
        // RFC 6582 4: duplicates below "recover" are echoes of the last recovery.
        if third && self.phase == Phase::Open && ack.una >= self.point {
            return queue.mark_front_lost(ack.mss);
        }
        0
    }

    /// The path takes smaller packets only: what is out must go again, but nothing was lost to congestion.
    pub(crate) fn on_path_change(&mut self, queue: &mut RetransmitQueue, nxt: Pos) {
        queue.mark_all_lost(false);
        self.reason = RetransmitReason::PathMtu;
        if self.phase == Phase::Open {
            self.phase = Phase::Loss;
            self.point = nxt;
        }
    }

    /// A retransmission time-out: everything that is not SACKed counts as lost.
    pub(crate) fn on_timeout(&mut self, queue: &mut RetransmitQueue, nxt: Pos) -> bool {
        let reneged = queue.front_is_sacked();
        queue.mark_all_lost(reneged);
        self.phase = Phase::Loss;
        self.reason = if reneged { RetransmitReason::Reneged } else { RetransmitReason::Timeout };
        self.point = nxt;
        self.duplicates = 0;
        reneged
    }
}

#[cfg(test)]
mod tests;
