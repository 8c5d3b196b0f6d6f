//! ProbeBW (5.3.3 of the draft): down, cruise, refill, up, and down again.

use core::time::Duration;

use super::{BETA, Bbr, HEADROOM, State, UNBOUNDED, gained};
use crate::tcp::congestion::Delivery;
use crate::time::Instant;

/// Rounds between probes at most, so that Reno and CUBIC get their share.
const MOST_ROUNDS: u64 = 63;
/// Time between probes: at least so much, and at random up to as much as the second more.
const LEAST_WAIT: Duration = Duration::from_secs(2);
const RANDOM_WAIT_US: u64 = 1_000_000;

/// How ACKs relate to probing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum AckPhase {
    #[default]
    Init,
    Refilling,
    ProbeStarting,
    ProbeFeedback,
    ProbeStopping,
}

/// Where the cycle of probing stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cycle {
    pub(super) phase: AckPhase,
    /// When it began, and how long it waits before it probes.
    since: Instant,
    wait: Duration,
    pub(super) rounds_since_up: u64,
    /// What is acknowledged was sent while probing.
    pub(super) samples: bool,
    /// The bound grows by a segment for each so many bytes acknowledged.
    acked_per_step: u64,
    acked: u64,
    up_rounds: u32,
    prev_too_high: bool,
    prev_precautionary: bool,
}

impl Bbr {
    /// StartProbeBW_DOWN.
    pub(super) fn start_down(&mut self, now: Instant) {
        self.latest.reset();
        self.cycle.acked_per_step = UNBOUNDED;
        // PickProbeWait.
        self.cycle.rounds_since_up = self.random_below(2);
        self.cycle.wait = LEAST_WAIT + Duration::from_micros(self.random_below(RANDOM_WAIT_US));
        self.cycle.since = now;
        self.cycle.phase = AckPhase::ProbeStopping;
        self.start_round();
        self.state = State::ProbeBwDown;
    }

    /// StartProbeBW_REFILL.
    pub(super) fn start_refill(&mut self, _now: Instant) {
        self.reset_short_term();
        self.cycle.up_rounds = 0;
        self.cycle.acked = 0;
        self.cycle.prev_precautionary = false;
        self.cycle.phase = AckPhase::Refilling;
        self.start_round();
        self.state = State::ProbeBwRefill;
    }

    /// StartProbeBW_UP.
    fn start_up(&mut self, rate: u64) {
        self.cycle.phase = AckPhase::ProbeStarting;
        self.start_round();
        self.full.reset();
        self.full.bw = rate;
        self.state = State::ProbeBwUp;
        self.raise_slope();
    }

    /// UpdateProbeBWCyclePhase.
    pub(super) fn update_probe_bw(&mut self, d: &Delivery) {
        if !self.full.reached || self.adapt_long_term(d) {
            return;
        }
        let rate = d.sample.map_or(0, |s| s.rate());
        match self.state {
            State::ProbeBwDown | State::ProbeBwCruise => {
                let probes = self.probes_if_due(d.now);
                if !probes && self.is_time_to_cruise() {
                    self.state = State::ProbeBwCruise;
                }
            }
            State::ProbeBwRefill if self.rounds.start => {
                self.cycle.samples = true;
                self.start_up(rate);
            }
            State::ProbeBwUp => {
                let over = self.is_time_to_go_down(rate);
                if over {
                    self.cycle.prev_too_high = false;
                    self.start_down(d.now);
                }
            }
            _ => {}
        }
    }

    /// IsTimeToProbeBW (5.3.3.8).
    fn probes_if_due(&mut self, now: Instant) -> bool {
        let rounds = (self.target_inflight() / self.mss).min(MOST_ROUNDS);
        let due = now > self.cycle.since + self.cycle.wait || self.cycle.rounds_since_up >= rounds;
        if due {
            self.start_refill(now);
        }
        due
    }

    /// IsTimeToCruise.
    fn is_time_to_cruise(&self) -> bool {
        let bdp = self.quantized(self.bdp(self.max_bw(), 100));
        self.in_flight <= self.inflight_with_headroom() && self.in_flight <= bdp
    }

    /// IsTimeToGoDown.
    fn is_time_to_go_down(&mut self, rate: u64) -> bool {
        if self.cycle.prev_too_high && self.in_flight >= self.inflight_long {
            self.cycle.prev_precautionary = true;
            return true;
        }
        if self.is_cwnd_limited() && self.cwnd >= self.inflight_long {
            // The bound keeps the rate from growing.
            self.full.reset();
            self.full.bw = rate;
            return false;
        }
        self.full.now
    }

    /// InflightWithHeadroom.
    pub(super) fn inflight_with_headroom(&self) -> u64 {
        if self.inflight_long == UNBOUNDED {
            return UNBOUNDED;
        }
        let headroom = gained(self.inflight_long, HEADROOM).max(self.mss);
        self.inflight_long.saturating_sub(headroom).max(self.least_cwnd())
    }

    /// RaiseInflightLongtermSlope.
    fn raise_slope(&mut self) {
        let growth = 1_u64 << self.cycle.up_rounds;
        self.cycle.up_rounds = (self.cycle.up_rounds + 1).min(30);
        self.cycle.acked_per_step = (self.cwnd / growth).max(self.mss);
    }

    /// ProbeInflightLongtermUpward.
    fn probe_upward(&mut self, acked: u64) {
        if !self.is_cwnd_limited() || self.cwnd < self.inflight_long {
            return;
        }
        self.cycle.acked += acked;
        let steps = self.cycle.acked / self.cycle.acked_per_step.max(1);
        self.cycle.acked -= steps * self.cycle.acked_per_step;
        self.inflight_long += steps * self.mss;
        if self.rounds.start {
            self.raise_slope();
        }
    }

    /// AdaptLongTermModel: whether it decided where to go.
    fn adapt_long_term(&mut self, d: &Delivery) -> bool {
        if self.cycle.phase == AckPhase::ProbeStarting && self.rounds.start {
            self.cycle.phase = AckPhase::ProbeFeedback;
        }
        if self.cycle.phase == AckPhase::ProbeStopping && self.rounds.start {
            self.cycle.samples = false;
            self.cycle.phase = AckPhase::Init;
            if self.state.is_probe_bw() {
                if d.sample.is_some_and(|s| !s.app_limited) {
                    self.advance_max_bw();
                }
                if self.cycle.prev_precautionary && !self.cycle.prev_too_high {
                    self.start_refill(d.now);
                    return true;
                }
            }
        }
        let Some(sample) = &d.sample else { return false };
        if self.is_inflight_too_high(d) {
            if self.cycle.samples && self.latest.marked_rounds > 0 {
                self.handle_inflight_too_high(sample.in_flight, sample.app_limited, d.now);
            }
        } else if self.inflight_long != UNBOUNDED {
            self.inflight_long = self.inflight_long.max(sample.in_flight);
            if self.state == State::ProbeBwUp {
                self.probe_upward(d.newly_delivered);
            }
        }
        false
    }

    /// HandleInflightTooHigh (5.5.10.2), with `in_flight` bytes.
    pub(super) fn handle_inflight_too_high(&mut self, in_flight: u64, app_limited: bool, now: Instant) {
        self.cycle.prev_too_high = true;
        self.cycle.samples = false;
        if !app_limited {
            self.inflight_long = in_flight.max(gained(self.target_inflight(), BETA));
        }
        if self.state == State::ProbeBwUp {
            self.undo.state = Some(State::ProbeBwUp);
            self.start_down(now);
        }
    }
}
