//! Startup and Drain (5.3.1, 5.3.2 of the draft).

use super::{Bbr, State};
use crate::tcp::congestion::Delivery;

/// Rounds without growth after which the pipe counts as full.
const ROUNDS: u32 = 3;
/// Growth of less than this, in percent, is none.
const GROWTH: u64 = 125;
/// BBRStartupFullLossCnt: so often in a round something must be lost.
const LOSS_EVENTS: u32 = 6;
/// Rounds with too many marks that end Startup.
const MARKED_ROUNDS: u32 = 2;
/// Rounds that Drain lasts at most.
const DRAIN_ROUNDS: u64 = 3;

/// The estimator of a full pipe (5.3.1.2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FullPipe {
    pub(super) bw: u64,
    rounds: u32,
    /// It is full now.
    pub(super) now: bool,
    /// It was full at some time.
    pub(super) reached: bool,
}

impl FullPipe {
    /// ResetFullBW.
    pub(super) const fn reset(&mut self) {
        self.bw = 0;
        self.rounds = 0;
        self.now = false;
    }
}

impl Bbr {
    /// CheckFullBWReached.
    pub(super) fn check_full_pipe(&mut self, d: &Delivery) {
        let Some(sample) = &d.sample else { return };
        let full = &mut self.full;
        if full.now || !self.rounds.start || sample.app_limited {
            return;
        }
        let rate = sample.rate();
        if rate >= super::gained(full.bw, GROWTH) {
            full.reset();
            full.bw = rate;
            return;
        }
        full.rounds += 1;
        full.now = full.rounds >= ROUNDS;
        full.reached |= full.now;
    }

    /// CheckStartupDone.
    pub(super) fn check_startup_done(&mut self, d: &Delivery) {
        if self.state != State::Startup {
            return;
        }
        if !self.full.reached && self.loses_much_in_startup(d) {
            self.undo.state = Some(State::Startup);
            self.full.reached = true;
            self.inflight_long = self.bdp(self.max_bw(), 100).max(self.latest.inflight);
        }
        if self.full.reached {
            self.state = State::Drain;
            self.drain_start = self.rounds.count;
        }
    }

    /// CheckStartupHighLoss (5.3.1.3), and the same of marks.
    fn loses_much_in_startup(&self, d: &Delivery) -> bool {
        let round_of_repair = self.latest.loss_round_start && d.repairing && self.repairing;
        // While the rate grows the pipe is not full, whatever is lost on the way.
        let losses =
            round_of_repair && self.full.rounds > 0 && (self.latest.loss_events >= LOSS_EVENTS || !d.sack);
        (losses && self.is_inflight_too_high(d)) || self.latest.marked_rounds >= MARKED_ROUNDS
    }

    /// CheckDrainDone.
    pub(super) fn check_drain_done(&mut self, d: &Delivery) {
        let drained = self.in_flight <= self.quantized(self.bdp(self.bw, 100));
        let late = self.rounds.count > self.drain_start + DRAIN_ROUNDS;
        if self.state == State::Drain && (drained || late) {
            self.start_down(d.now);
        }
    }
}
